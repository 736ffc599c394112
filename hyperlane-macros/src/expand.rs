//! Expands an attribute and its item: parses both, takes the sibling attributes, and hands all of them on.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Error, Item, ItemFn, Meta, Path, Result, parse_quote};

use crate::model::{Applied, Row};
use crate::{args, crate_path, function, register, table, tokens};

/// Expands the macro `name` with all its siblings on the item. On error the item is kept, without the attributes of this
/// crate.
pub(crate) fn expand(name: &str, args: TokenStream, item: TokenStream) -> TokenStream {
    let Some(row) = table::find(name) else {
        let error = Error::new(
            Span::call_site(),
            format!("`{name}` has no row in the table"),
        )
        .into_compile_error();
        return quote!(#item #error);
    };
    match parse_item(item.clone()) {
        Ok(parsed) => expand_item(row, args, parsed, item),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error)
        }
    }
}

/// Parses an item. Methods are parsed as functions, since syn accepts their `self`.
fn parse_item(tokens: TokenStream) -> Result<Item> {
    const OTHERS: [&str; 9] = [
        "struct", "enum", "union", "impl", "mod", "trait", "use", "static", "type",
    ];
    // The keyword of an item comes before any group but those of attributes and `pub(..)`.
    let is_other = tokens.clone().into_iter().find_map(|token| match token {
        TokenTree::Ident(word) if word == "fn" => Some(false),
        TokenTree::Ident(word) => OTHERS.iter().any(|other| word == other).then_some(true),
        _ => None,
    });
    match is_other {
        Some(true) => syn::parse2::<Item>(tokens),
        _ => syn::parse2::<ItemFn>(tokens).map(Item::Fn),
    }
}

fn expand_item(
    row: &'static Row,
    args: TokenStream,
    mut item: Item,
    original: TokenStream,
) -> TokenStream {
    let mut errors = Vec::new();
    let mut chosen_crate = None;
    let mut applied = Vec::new();
    // The compiler passes no token of the attribute's name; the call site is the attribute.
    let mut add = |parsed: Result<(Applied, Option<Path>)>, errors: &mut Vec<Error>| match parsed {
        Ok((one, path)) => {
            applied.push(one);
            chosen_crate = chosen_crate.take().or(path);
        }
        Err(error) => errors.push(error),
    };
    add(
        args::parse(row, Ident::new(row.name, Span::call_site()), args),
        &mut errors,
    );
    for attribute in take_siblings(&mut item) {
        add(parse_sibling(attribute), &mut errors);
    }
    let private = crate_path::private(chosen_crate.as_ref());
    let code = match item {
        _ if !errors.is_empty() => TokenStream::new(),
        Item::Fn(function) => function::expand(&private, function, applied, &mut errors),
        item => {
            let code = register::hook_type(&private, &item, &applied, &mut errors);
            quote!(#item #code)
        }
    };
    if errors.is_empty() {
        return code;
    }
    let errors = errors.into_iter().map(Error::into_compile_error);
    // Parsing again costs nothing in the usual case, an item without errors.
    let kept = match parse_item(original.clone()) {
        Ok(mut item) => {
            take_siblings(&mut item);
            keep_broken(&item)
        }
        Err(_) => original,
    };
    quote!(#kept #(#errors)*)
}

/// Writes a broken item so that the rest of the program still finds it. Its body is kept for rust-analyzer only, since the
/// compiler would report false errors in a body without its macros.
fn keep_broken(item: &Item) -> TokenStream {
    let Item::Fn(function) = item else {
        return item.to_token_stream();
    };
    let output = function.sig.output.to_token_stream();
    if tokens::contains_word(output, &["impl"]) {
        // A body that never ends has no type from which `impl Trait` could be inferred.
        return item.to_token_stream();
    }
    let mut stub = function.clone();
    let block = &function.block;
    *stub.block = parse_quote!({
        #[cfg(rust_analyzer)]
        return #block;
        loop {}
    });
    quote!(#[allow(warnings)] #stub)
}

/// Removes the attributes of this crate from an item and returns them.
fn take_siblings(item: &mut Item) -> Vec<Attribute> {
    let attrs = match item {
        Item::Fn(item) => &mut item.attrs,
        Item::Struct(item) => &mut item.attrs,
        Item::Enum(item) => &mut item.attrs,
        _ => return Vec::new(),
    };
    attrs
        .extract_if(.., |attribute| recognise(attribute.path()).is_some())
        .collect()
}

/// Recognises a macro of this crate by its bare name, or by a path through one of hyperlane's crates.
fn recognise(path: &Path) -> Option<(&'static Row, &Ident)> {
    const CRATES: [&str; 3] = ["hyperlane", "hyperlane_core", "hyperlane_macros"];
    let last = &path.segments.last()?.ident;
    // The name is compared first: few attributes share one, and reading the manifest costs more.
    let row = table::find(&last.to_string())?;
    let bare = path.segments.len() == 1 && path.leading_colon.is_none();
    // The crate may be inside the path, as in `$crate::hyperlane::get`.
    let mut names = path.segments.iter().map(|segment| &segment.ident);
    names.next_back();
    let mut known = names.clone();
    let ours = bare
        || known.any(|ident| CRATES.iter().any(|name| ident == name))
        || names
            .next()
            .is_some_and(|first| *first == crate_path::library_name());
    ours.then_some((row, last))
}

fn parse_sibling(attribute: Attribute) -> Result<(Applied, Option<Path>)> {
    let Some((row, name)) = recognise(attribute.path()) else {
        return Err(Error::new_spanned(
            attribute,
            "expected a macro of hyperlane",
        ));
    };
    let name = name.clone();
    match attribute.meta {
        Meta::Path(_) => args::parse(row, name, TokenStream::new()),
        Meta::List(list) => args::parse(row, name, list.tokens),
        Meta::NameValue(pair) => {
            let message = format!("arguments go in parentheses, as in `#[{name}(…)]`");
            Err(Error::new_spanned(pair.eq_token, message))
        }
    }
}
