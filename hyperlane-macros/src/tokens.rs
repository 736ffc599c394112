//! Helpers on tokens: their spans, their hygiene, and the words among them.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// Gives the tokens of a path another span, at which the compiler then reports errors.
pub(crate) fn respan(path: &TokenStream, place: Span) -> TokenStream {
    let tokens = path.clone().into_iter().map(|mut token| {
        // The span of `$crate` decides which crate it means.
        if token.to_string() != "$crate" {
            token.set_span(place);
        }
        token
    });
    tokens.collect()
}

/// Returns a span at a place of the user's code with the hygiene of the expansion.
pub(crate) fn hygienic(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// Returns the name of a local variable of the expansion.
pub(crate) fn local(name: &str, span: Span) -> Ident {
    Ident::new(&format!("__hl_{name}"), hygienic(span))
}

/// Returns whether one of the words or signs is among the tokens, at any depth.
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
