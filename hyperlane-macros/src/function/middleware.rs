//! Registers a function as middleware that wraps routes.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, ReturnType};

use super::validate::first_borrow;

use crate::model::{Applied, Register, Role};
use crate::register;
use crate::tokens::hygienic;

/// Returns whether a macro registers its function as middleware.
pub(crate) fn is_middleware(applied: &Applied) -> bool {
    applied.row.role == Role::Register(Register::Middleware)
}

/// Writes a function with the attribute `middleware`, and its registrations. Adds errors to `errors`.
pub(super) fn expand(
    private: &TokenStream,
    item: &ItemFn,
    applied: &[Applied],
    errors: &mut Vec<Error>,
) -> TokenStream {
    let signature = &item.sig;
    for other in applied.iter().filter(|applied| !is_middleware(applied)) {
        errors.push(other.error(format!(
            "`#[{}]` cannot stand beside `#[middleware]`; write the step in the function",
            other.name
        )));
    }
    if signature.asyncness.is_none() {
        errors.push(Error::new(
            signature.fn_token.span,
            "`#[middleware]` needs an `async fn`; add `async`",
        ));
    }
    if let Some(receiver) = signature.receiver() {
        errors.push(Error::new_spanned(
            receiver,
            "`#[middleware]` registers free functions only; move the function out of the `impl`",
        ));
    } else if signature.inputs.len() != 2 {
        errors.push(Error::new(
            signature.paren_token.span.join(),
            "middleware takes two arguments: `ctx: &mut Context, next: Next<'_>`",
        ));
    }
    if let ReturnType::Type(_, ty) = &signature.output
        && let Some(borrow) = first_borrow(ty.to_token_stream())
    {
        let message = "middleware cannot return a borrowed value; return `Status`, `String` or `&'static str`";
        errors.push(Error::new(borrow, message));
    }
    if let Some(first) = applied.first()
        && (signature.generics.type_params().next().is_some()
            || signature.generics.const_params().next().is_some())
    {
        errors.push(register::generic_item(first, &signature.generics));
    }
    if !errors.is_empty() {
        return TokenStream::new();
    }
    let name = &signature.ident;
    let mut code = TokenStream::new();
    for applied in applied {
        let order = register::order(applied);
        code.extend(register::submit(private, name, &[], |place| {
            // An error about the signature stands at the arguments.
            let arguments = signature
                .inputs
                .iter()
                .next()
                .map_or(name.span(), FnArg::span);
            let (span, text) = (hygienic(name.span()), name.to_string());
            let function = quote_spanned!(hygienic(arguments)=> &#name);
            let registration = quote_spanned! {span=>
                #private::Registration::of_middleware(#order, #text, #place, #function)
            };
            register::placed(private, registration, applied, name)
        }));
    }
    let code = register::holder(name, &item.attrs, &code);
    quote!(#item #code)
}
