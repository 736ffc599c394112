//! Writes the code that registers routes and other hooks. The crate `inventory` collects the registrations of the whole
//! program.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;
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
    let mut code = TokenStream::new();
    for applied in applied {
        match applied.row.role {
            Role::Register(_) if !generics.params.is_empty() => errors.push(generic_item(applied, generics)),
            Role::Register(register) => {
                let kind = hook_kind(private, applied, register);
                let methods = register.methods();
                code.extend(submit(private, name, attrs, |place| {
                    let span = hygienic(name.span());
                    let text = name.to_string();
                    quote_spanned! {span=>
                        #private::Registration::of_hook::<#name>(#kind, #text, #place, &[#(#methods),*])
                    }
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
        (Register::Ordered(kind), order) => {
            let kind = Ident::new(kind, span);
            match order {
                Some(order) => quote_spanned! {span=>
                    #private::HookKind::#kind(::core::option::Option::Some(#order))
                },
                None => {
                    quote_spanned!(span=> #private::HookKind::#kind(::core::option::Option::None))
                }
            }
        }
    }
}
