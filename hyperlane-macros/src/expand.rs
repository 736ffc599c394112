//! Expands an attribute macro: parses its arguments and its item, and takes the other attributes of this crate from the
//! item. Then `function` or `register` writes the code of all these attributes.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Error, Item, ItemFn, Meta, Path, Result, parse_quote};

use crate::model::{Applied, Row};
use crate::{args, crate_path, function, register, table, tokens};

/// Expands the macro `name` together with its siblings: the other attributes of this crate on the item. After an error,
/// the expansion contains the item without the attributes of this crate.
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

/// Parses an item. A method is parsed as a function, because syn accepts `self` in functions.
fn parse_item(tokens: TokenStream) -> Result<Item> {
    const OTHERS: [&str; 9] = [
        "struct", "enum", "union", "impl", "mod", "trait", "use", "static", "type",
    ];
    // The search skips groups of tokens, such as `(..)`. Before the keyword of an item, groups occur only in attributes
    // and in `pub(..)`.
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
    let mut add = |parsed: Result<(Applied, Option<Path>)>, errors: &mut Vec<Error>| match parsed {
        Ok((one, path)) => {
            applied.push(one);
            chosen_crate = chosen_crate.take().or(path);
        }
        Err(error) => errors.push(error),
    };
    // The compiler does not pass the name of the attribute that it expands. The new token for this name has the span of
    // the call site, and the call site is the location of the attribute.
    add(
        args::parse(row, Ident::new(row.name, Span::call_site()), args),
        &mut errors,
    );
    for sibling in take_siblings(&mut item) {
        add(parse_sibling(sibling), &mut errors);
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
    // The item is parsed a second time only after an error.
    let kept = match parse_item(original.clone()) {
        Ok(mut item) => {
            take_siblings(&mut item);
            keep_broken(&item)
        }
        Err(_) => original,
    };
    quote!(#kept #(#errors)*)
}

/// Writes an item whose macros have errors, so that other code of the program can still use the item. The body of a
/// function is kept for rust-analyzer only, because the compiler would report false errors in a body without its
/// macros. Only a function that returns `impl Trait` is kept with its body.
fn keep_broken(item: &Item) -> TokenStream {
    let Item::Fn(function) = item else {
        return item.to_token_stream();
    };
    let output = function.sig.output.to_token_stream();
    if tokens::contains_word(output, &["impl"]) {
        // The compiler cannot infer the type of `impl Trait` from the body `loop {}`, so the function keeps its body.
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

/// An attribute of this crate that is removed from an item.
struct Sibling {
    row: &'static Row,
    name: Ident,
    meta: Meta,
}

/// Removes the attributes of this crate from an item and returns them.
fn take_siblings(item: &mut Item) -> Vec<Sibling> {
    let attrs = match item {
        Item::Fn(item) => &mut item.attrs,
        Item::Struct(item) => &mut item.attrs,
        Item::Enum(item) => &mut item.attrs,
        _ => return Vec::new(),
    };
    let mut siblings = Vec::new();
    let mut others = Vec::new();
    for attribute in std::mem::take(attrs) {
        match recognise(attribute.path()) {
            Some((row, name)) => {
                let name = name.clone();
                let meta = attribute.meta;
                siblings.push(Sibling { row, name, meta });
            }
            None => others.push(attribute),
        }
    }
    *attrs = others;
    siblings
}

/// Recognizes a macro of this crate by its bare name, or by a path that contains the name of a hyperlane crate. The
/// path may also begin with the name under which the program's manifest lists the library.
fn recognise(path: &Path) -> Option<(&'static Row, &Ident)> {
    const CRATES: [&str; 3] = ["hyperlane", "hyperlane_core", "hyperlane_macros"];
    let last = &path.segments.last()?.ident;
    // The name is compared before the path. The names of most attributes are not in the table, and `library_name` is
    // slow, because it reads the manifest.
    let row = table::find(&last.to_string())?;
    let bare = path.segments.len() == 1 && path.leading_colon.is_none();
    // The name of the crate may be in the middle of the path, as in `$crate::hyperlane::get`.
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

fn parse_sibling(sibling: Sibling) -> Result<(Applied, Option<Path>)> {
    let Sibling { row, name, meta } = sibling;
    match meta {
        Meta::Path(_) => args::parse(row, name, TokenStream::new()),
        Meta::List(list) => args::parse(row, name, list.tokens),
        Meta::NameValue(pair) => {
            let message = format!("arguments go in parentheses, as in `#[{name}(…)]`");
            Err(Error::new_spanned(pair.eq_token, message))
        }
    }
}
