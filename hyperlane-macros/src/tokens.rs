//! Helpers on tokens: where they point, whose hygiene they have, and which words they hold.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// Moves the tokens of a path to a place, where the compiler then points.
pub(crate) fn respan(path: &TokenStream, place: Span) -> TokenStream {
    let tokens = path.clone().into_iter().map(|mut token| {
        // This one means the crate that its span comes from.
        if token.to_string() != "$crate" {
            token.set_span(place);
        }
        token
    });
    tokens.collect()
}

/// Moves the expansion's hygiene to a place in the user's code.
pub(crate) fn hygienic(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// Makes a local of the expansion.
pub(crate) fn local(name: &str, span: Span) -> Ident {
    Ident::new(&format!("__hl_{name}"), hygienic(span))
}

/// Whether a stream holds one of these words, at any depth.
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
