//! Questions to the syntax tree that several rules ask.

use std::{collections::HashSet, ops::Range};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, UseTree, spanned::Spanned};

/// Calls `each` for every name that a `use` brings in, with its path, its name (`None`: a glob) and its line.
pub(super) fn leaves(
    tree: &UseTree,
    path: &mut Vec<String>,
    each: &mut impl FnMut(&[String], Option<&str>, usize),
) {
    match tree {
        UseTree::Path(tree) => {
            path.push(tree.ident.to_string());
            leaves(&tree.tree, path, each);
            path.pop();
        }
        UseTree::Group(tree) => {
            for tree in &tree.items {
                leaves(tree, path, each);
            }
        }
        UseTree::Glob(glob) => each(path, None, line(glob)),
        UseTree::Name(tree) if tree.ident == "self" => {
            each(path, path.last().map(String::as_str), line(&tree.ident));
        }
        UseTree::Name(tree) => {
            let name = tree.ident.to_string();
            path.push(name.clone());
            each(path, Some(&name), line(&tree.ident));
            path.pop();
        }
        UseTree::Rename(tree) => {
            let itself = tree.ident == "self";
            if !itself {
                path.push(tree.ident.to_string());
            }
            each(path, Some(&tree.rename.to_string()), line(&tree.ident));
            if !itself {
                path.pop();
            }
        }
    }
}

/// The line on which something begins.
pub(super) fn line(place: &impl Spanned) -> usize {
    place.span().start().line
}

/// Lines of an item, its attributes included, from 0.
pub(super) fn lines(item: &Item) -> Range<usize> {
    let span = item.span();
    span.start().line.saturating_sub(1)..span.end().line
}

pub(super) fn words(tokens: TokenStream, into: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => words(group.stream(), into),
            TokenTree::Ident(word) => {
                into.insert(word.to_string());
            }
            _ => {}
        }
    }
}

/// Tells whether `cfg` leaves something out of all but tests.
pub(super) fn is_test(attrs: &[Attribute]) -> bool {
    fn only_tests(meta: &syn::Meta) -> bool {
        match meta {
            syn::Meta::Path(path) => path.is_ident("test"),
            syn::Meta::List(list) if list.path.is_ident("all") => list
                .parse_args_with(
                    syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated,
                )
                .is_ok_and(|parts| parts.iter().any(only_tests)),
            _ => false,
        }
    }
    attrs.iter().any(|attr| {
        attr.path().is_ident("cfg")
            && attr
                .parse_args::<syn::Meta>()
                .is_ok_and(|meta| only_tests(&meta))
    })
}

/// Tells whether something is `pub`, without a restriction.
pub(super) fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

/// Tells whether `#[doc(hidden)]` leaves something out of the docs.
pub(super) fn is_hidden(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::List(list) if list.path.is_ident("doc") => {
            let mut found = HashSet::new();
            words(list.tokens.clone(), &mut found);
            found.contains("hidden")
        }
        _ => false,
    })
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Files that attributes name for a module: always, and under a condition.
pub(super) fn named_paths(attrs: &[Attribute]) -> (Vec<String>, Vec<String>) {
    let path = |meta: &syn::Meta| match meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => text(&pair.value),
        _ => None,
    };
    let always = attrs.iter().filter_map(|attr| path(&attr.meta)).collect();
    let conditional = attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg_attr"))
        .filter_map(|attr| {
            attr.parse_args_with(
                syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated,
            )
            .ok()
        })
        .flat_map(|parts| parts.iter().skip(1).filter_map(path).collect::<Vec<_>>())
        .collect();
    (always, conditional)
}

/// First sentence of docs, on one line.
pub(super) fn summary(attrs: &[Attribute]) -> Option<String> {
    let mut paragraph = String::new();
    for attr in attrs {
        let syn::Meta::NameValue(pair) = &attr.meta else {
            continue;
        };
        let Some(line) = text(&pair.value).filter(|_| pair.path.is_ident("doc")) else {
            continue;
        };
        if line.trim().is_empty() {
            break;
        }
        paragraph.push_str(line.trim());
        paragraph.push(' ');
    }
    let end = paragraph.find(". ").unwrap_or(paragraph.len());
    let sentence = paragraph.get(..end).unwrap_or_default().trim();
    (!sentence.is_empty()).then(|| sentence.trim_end_matches('.').to_owned())
}

fn text(value: &syn::Expr) -> Option<String> {
    match value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}
