//! Functions that give tokens a span or hygiene, and that search tokens for words.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// Gives the tokens of a path another span. The compiler reports errors in the path at this span.
pub(crate) fn respan(path: &TokenStream, place: Span) -> TokenStream {
    let tokens = path.clone().into_iter().map(|mut token| {
        // `$crate` keeps its span, because the span tells the compiler which crate `$crate` means.
        if token.to_string() != "$crate" {
            token.set_span(place);
        }
        token
    });
    tokens.collect()
}

/// Returns a span with the location of `span` and the hygiene of the expansion. If a token has this span, errors about
/// it point to the user's code. If the token is the name of a variable, it does not clash with the user's variables.
pub(crate) fn hygienic(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// Returns the identifier of a local variable that the expansion declares.
pub(crate) fn local(name: &str, span: Span) -> Ident {
    Ident::new(&format!("__hl_{name}"), hygienic(span))
}

/// Returns whether the tokens contain one of `words`. Each word is an identifier or a single punctuation character.
/// Also searches inside groups such as `(..)`, at any depth.
pub(crate) fn contains_word(tokens: TokenStream, words: &[&str]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => {
            let ident = ident.unraw();
            words.iter().any(|word| ident == word)
        }
        TokenTree::Punct(punct) => words
            .iter()
            .any(|word| word.len() == 1 && word.starts_with(punct.as_char())),
        TokenTree::Group(group) => contains_word(group.stream(), words),
        TokenTree::Literal(_) => false,
    })
}
