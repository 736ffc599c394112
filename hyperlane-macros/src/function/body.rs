//! Writes the new body of a function that has the attribute macros of this crate.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, Result};

use super::{EXPANDED_MARK, Function, Returns, push_or_report};
use crate::jumps::Jumps;
use crate::model::Args;
use crate::params::{Part, last_segment};
use crate::register;
use crate::tokens::{hygienic, local};

impl Function<'_> {
    /// Writes the code inside the braces of the function.
    pub(super) fn body(
        &mut self,
        in_body: &[usize],
        converts: bool,
        errors: &mut Vec<Error>,
    ) -> Result<TokenStream> {
        let private = self.private;
        let span = hygienic(self.item.sig.ident.span());
        let skip = quote_spanned!(span=> return #private::skip(););
        let mut once = quote_spanned!(span=> const _: &str = #EXPANDED_MARK;);
        once.extend(self.imports());
        once.extend(self.declarations());
        if self.is_handler && in_body.len() < self.phases.guards.len() {
            // The server reads the constant `GUARDS` through `ServerHook`. If `handle` is not in an `impl ServerHook`,
            // the generated line is a compile error. Without this error, the program would compile, and its guards
            // would have no effect.
            once.extend(quote_spanned!(span=> let _ = <Self as #private::ServerHook>::GUARDS;));
        }
        let emitter = self.emitter();
        for guard in in_body
            .iter()
            .filter_map(|place| self.phases.guards.get(*place))
        {
            push_or_report(
                &mut once,
                errors,
                emitter.guard_in_body(guard, self.is_dispatched()),
            );
        }
        if let Some(upgrade) = self.phases.early_upgrade()
            && self.is_dispatched()
        {
            let stream = self.params.require(Part::Stream, true, upgrade)?;
            let ctx = self.params.require(Part::Ctx, true, upgrade)?;
            let span = hygienic(upgrade.name.span());
            once.extend(quote_spanned!(span=> #private::upgrade(&mut *#stream, &mut *#ctx).await;));
        }
        let run = match self.phases.read.take() {
            Some(read) => self.read_loop(&read, converts, errors)?,
            None => {
                // A condition that fails skips the body. A route that returns a value then has no value for its answer,
                // so the generated code answers with a 403.
                let decline = match (&self.returns, self.phases.conditions.first()) {
                    (Returns::Other { .. }, Some(condition)) if self.is_route() => {
                        let ctx = self.params.require(Part::Ctx, true, condition)?;
                        quote_spanned!(span=> return #private::decline_by_condition(&mut *#ctx);)
                    }
                    _ => skip,
                };
                self.single_run(converts, &decline, errors)?
            }
        };
        Ok(quote!(#once #run))
    }

    fn imports(&self) -> TokenStream {
        let code = self.phases.imports.iter().map(|applied| {
            let (span, paths) = (hygienic(applied.name.span()), applied.values());
            quote_spanned!(span=> #(#[allow(unused_imports)] use #paths as _;)*)
        });
        code.collect()
    }

    fn declarations(&self) -> TokenStream {
        let mut code = TokenStream::new();
        for applied in &self.phases.declarations {
            let Args::Declarations(declarations) = &applied.args else {
                continue;
            };
            for (name, ty) in declarations {
                let span = hygienic(ty.span());
                code.extend(quote_spanned! {span=>
                    #[allow(unused_variables, unused_mut)]
                    let mut #name: #ty = <#ty as ::core::default::Default>::default();
                });
                if last_segment(ty).is_some_and(|ident| ident == "Server") {
                    let text = name.unraw().to_string();
                    let (private, place) = (
                        self.private,
                        register::source_place(self.private, ty.span()),
                    );
                    // The `Taker` records that a server of the program takes all registered hooks, the functions that
                    // handle requests. Another server without routes then starts with a warning instead of an error.
                    code.extend(quote_spanned! {span=>
                        #name.name(#text).__register_all();
                        #private::inventory::submit! {{ #private::Taker { place: #place, name: #text } }}
                    });
                }
            }
        }
        code
    }

    /// Writes the code of the macros that run before the body.
    pub(super) fn before(&self, decline: &TokenStream, errors: &mut Vec<Error>) -> TokenStream {
        let emitter = self.emitter();
        let mut code = TokenStream::new();
        let phases = &self.phases;
        for applied in phases
            .extractors
            .iter()
            .chain(&phases.conditions)
            .chain(&phases.setup)
            .chain(&phases.open)
        {
            let span = hygienic(applied.name.span());
            // The tokens of `decline` get the span of the macro, so that the compiler reports a type error of `return`
            // or `continue` at the macro.
            let decline: TokenStream = decline
                .clone()
                .into_iter()
                .map(|mut token| {
                    token.set_span(span);
                    token
                })
                .collect();
            push_or_report(&mut code, errors, emitter.step(applied, &decline));
        }
        code
    }

    pub(super) fn close(&self, errors: &mut Vec<Error>) -> TokenStream {
        let mut code = TokenStream::new();
        if let Some(applied) = &self.phases.close {
            push_or_report(
                &mut code,
                errors,
                self.emitter().step(applied, &TokenStream::new()),
            );
        }
        code
    }

    /// Writes a statement that silences the lint `unreachable_code` after a body that never returns.
    pub(super) fn allow_unreachable(&self) -> TokenStream {
        let span = hygienic(self.item.sig.ident.span());
        quote_spanned!(span=> #[allow(unreachable_code)] let () = ();)
    }

    /// Writes code inside an async block. A `return` or `?` in the code leaves only this block. The block begins with a
    /// `return` that never runs. The type of the value in this `return` tells the compiler the type of the block.
    pub(super) fn in_async_block(&self, code: &TokenStream) -> TokenStream {
        let hint = self.returns.declared_type().map(|ty| {
            let span = hygienic(self.item.sig.output.span());
            let hint = local("hint", span);
            quote_spanned! {span=>
                if let ::core::option::Option::Some(#hint) = ::core::option::Option::None::<#ty> { return #hint; }
            }
        });
        quote!(async { #hint #code }.await)
    }

    /// Writes the code that converts a route's value to the response and to a status.
    pub(super) fn conversion(&self, value: &Ident) -> Result<TokenStream> {
        let (private, span) = (self.private, hygienic(self.item.sig.output.span()));
        let ctx = self
            .phases
            .registers
            .first()
            .map(|applied| self.params.require(Part::Ctx, true, applied))
            .transpose()?;
        Ok(quote_spanned!(span=> let #value = #private::respond_value(&mut *#ctx, #value);))
    }

    /// Writes the code of a function without a read macro. The code runs the body once. (A read macro runs the body
    /// once per message.)
    fn single_run(
        &self,
        converts: bool,
        decline: &TokenStream,
        errors: &mut Vec<Error>,
    ) -> Result<TokenStream> {
        let before = self.before(decline, errors);
        let may_return = Jumps::of(&self.item.block).may_return;
        let epilogue = self.epilogue(converts, may_return, errors);
        let close = self.close(errors);
        if epilogue.is_empty() && close.is_empty() && !converts {
            let block = &self.item.block;
            return Ok(quote!(#before #block));
        }
        let span = hygienic(self.item.sig.ident.span());
        let value = local("value", self.item.sig.ident.span());
        let declared = self.returns.declared_type();
        let ty = declared.as_ref().map(|ty| quote!(: #ty));
        let block = self.user_block(&epilogue, declared.as_ref());
        let run = match may_return {
            true => self.in_async_block(&block),
            false => block,
        };
        let conversion = converts.then(|| self.conversion(&value)).transpose()?;
        let allow_unreachable = self.allow_unreachable();
        let (flags, after) = (epilogue.flags(span), epilogue.after(span));
        Ok(quote! {
            #before
            #flags
            let #value #ty = #run;
            #allow_unreachable
            #conversion
            #after
            #close
            #value
        })
    }
}
