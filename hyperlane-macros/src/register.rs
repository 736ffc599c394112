//! Writes the code that registers routes and other hooks. The crate `inventory` collects the registrations of the whole
//! program.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Generics, Item};

use crate::model::{Applied, Register, Role};
use crate::tokens::hygienic;

/// Writes the registrations of a hook type. Adds an error to `errors` for each macro that does not work on a type.
pub(crate) fn hook_type(
    private: &TokenStream,
    item: &Item,
    applied: &[Applied],
    errors: &mut Vec<Error>,
) -> TokenStream {
    let (name, generics, attrs) = match item {
        Item::Struct(item) => (&item.ident, &item.generics, &item.attrs),
        Item::Enum(item) => (&item.ident, &item.generics, &item.attrs),
        _ => {
            errors.extend(applied.iter().map(|applied| {
                let message = format!(
                    "`#[{}]` cannot stand on this item; put it on a struct or a function",
                    applied.name
                );
                applied.error(message)
            }));
            return TokenStream::new();
        }
    };
    let is_route =
        |applied: &Applied| matches!(applied.row.role, Role::Register(Register::Route(_)));
    let has_route = applied.iter().any(is_route);
    let wraps: Vec<&Applied> = applied
        .iter()
        .filter(|applied| applied.row.role == Role::With)
        .collect();
    let mut code = TokenStream::new();
    for applied in applied {
        match applied.row.role {
            Role::Register(_) if !generics.params.is_empty() => errors.push(generic_item(applied, generics)),
            Role::Register(Register::Middleware) => errors.push(applied.error(
                "`#[middleware]` cannot stand on a type; put it on `async fn name(ctx: &mut Context, next: Next<'_>) -> Status`",
            )),
            Role::With => match has_route {
                true => {}
                false => errors.push(applied.error(
                    "`#[with]` wraps a route; add a route attribute such as `#[get(\"/path\")]`",
                )),
            },
            Role::Register(register) => {
                let kind = hook_kind(private, applied, register);
                let methods = register.methods();
                code.extend(submit(private, name, attrs, |place| {
                    let span = hygienic(name.span());
                    let text = name.to_string();
                    let registration = quote_spanned! {span=>
                        #private::Registration::of_hook::<#name>(#kind, #text, #place, &[#(#methods),*])
                    };
                    let wraps = if is_route(applied) { wrapped(wraps.iter().copied()) } else { TokenStream::new() };
                    let registration = placed(private, registration, applied, name);
                    quote_spanned!(span=> #registration.hook_params::<#name>() #wraps)
                }));
            }
            Role::Import => {
                let (span, paths) = (hygienic(applied.name.span()), applied.values());
                code.extend(quote_spanned!(span=> #(#[allow(unused_imports)] use #paths as _;)*));
            }
            Role::Declare => errors.push(applied.error("`#[hyperlane]` cannot stand on a type; put it on a function, usually `main`")),
            _ => errors.push(applied.error(format!(
                "`#[{}]` cannot stand on a type; move it to `handle` or `new` in the `impl ServerHook`",
                applied.name
            ))),
        }
    }
    code
}

/// Returns the error about a generic item. Such an item cannot be registered, because a registration names no values
/// for the generic parameters.
pub(crate) fn generic_item(applied: &Applied, generics: &Generics) -> Error {
    let message = format!(
        "`#[{}]` cannot register a generic item, as nothing here names its parameters; remove them",
        applied.name
    );
    Error::new_spanned(generics, message)
}

/// Writes one registration of an item. The function `value` gets the code of the item's source location, and returns
/// the code of the value to register.
pub(crate) fn submit(
    private: &TokenStream,
    name: &Ident,
    attrs: &[Attribute],
    value: impl FnOnce(TokenStream) -> TokenStream,
) -> TokenStream {
    let here = name.span();
    let (span, value) = (hygienic(here), value(source_place(private, here)));
    // The registration gets the `cfg` attributes of the item. The compiler then keeps or removes both together.
    let cfgs = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    // The inner braces make the value a single group of tokens. `submit!` copies each token of its input several times.
    // A group counts as one token, so `submit!` has less to copy.
    quote_spanned!(span=> #(#cfgs)* #private::inventory::submit! {{ #value }})
}

/// Adds the module of an item, and the scope that its attribute names, to the code of a registration.
pub(crate) fn placed(
    private: &TokenStream,
    registration: TokenStream,
    applied: &Applied,
    name: &Ident,
) -> TokenStream {
    let span = hygienic(name.span());
    let scope = applied.scope.as_ref().map(|scope| {
        let at = hygienic(scope.span());
        // The type is named, so that the compiler reports another value at the scope.
        quote_spanned!(at=> .scope({ let scope: &'static #private::Scope = &#scope; scope }))
    });
    quote_spanned!(span=> #registration.module(::core::module_path!()) #scope)
}

/// Writes the call that adds the middleware of a route to its registration.
pub(crate) fn wrapped<'a>(wraps: impl Iterator<Item = &'a Applied>) -> TokenStream {
    let functions: Vec<_> = wraps
        .flat_map(Applied::values)
        .map(|function| quote_spanned!(hygienic(function.span())=> &#function))
        .collect();
    match functions.is_empty() {
        true => TokenStream::new(),
        false => quote!(.with(&[#(#functions),*])),
    }
}

/// Puts registrations of a function into the array length of a hidden struct.
///
/// A struct is used because of one mistake: a registering attribute on a function in an `impl`. Such a function cannot
/// be registered. For a struct in an `impl`, the compiler reports one clear error: the struct must move out of the
/// `impl`. For a `const _`, the error would be about the name `_`. A function instead of the struct would compile, and
/// could register a free function of the same name.
pub(crate) fn holder(name: &Ident, attrs: &[Attribute], code: &TokenStream) -> TokenStream {
    if code.is_empty() {
        return TokenStream::new();
    }
    let span = hygienic(name.span());
    let holder = Ident::new(&format!("__hl_route_{}", name.unraw()), span);
    let cfgs = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    quote_spanned! {span=>
        #(#cfgs)*
        #[doc(hidden)]
        #[allow(dead_code, non_camel_case_types)]
        struct #holder([(); { #code 0 }]);
    }
}

/// Writes the source location of an item. The tokens have the span `here`, so that `line!` returns the line of the
/// item.
pub(crate) fn source_place(private: &TokenStream, here: Span) -> TokenStream {
    quote_spanned! {here=>
        #private::Place { file: ::core::file!(), line: ::core::line!(), column: ::core::column!() }
    }
}

/// Writes the `HookKind` of a registration.
pub(crate) fn hook_kind(
    private: &TokenStream,
    applied: &Applied,
    register: Register,
) -> TokenStream {
    let span = hygienic(applied.name.span());
    match (register, applied.values().first()) {
        (Register::Route(_), pattern) => quote_spanned!(span=> #private::HookKind::Route(#pattern)),
        (Register::Ordered(kind), _) => {
            let (kind, order) = (Ident::new(kind, span), order(applied));
            quote_spanned!(span=> #private::HookKind::#kind(#order))
        }
        (Register::Middleware, _) => {
            let order = order(applied);
            quote_spanned!(span=> #private::HookKind::Middleware(#order))
        }
    }
}

/// Writes the order of a registration, as an `Option`.
pub(crate) fn order(applied: &Applied) -> TokenStream {
    let span = hygienic(applied.name.span());
    match applied.values().first() {
        Some(order) => quote_spanned!(span=> ::core::option::Option::Some(#order)),
        None => quote_spanned!(span=> ::core::option::Option::None),
    }
}
