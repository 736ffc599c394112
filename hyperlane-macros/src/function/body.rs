//! Writes a function's body: what runs once, and what runs once per message.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, Result};

use super::{Function, MARK, Returns, collect};
use crate::jumps::{self, Jumps};
use crate::model::{Applied, Args, Role, values};
use crate::params::{Part, last_segment};
use crate::register;
use crate::tokens::{at, local, mentions};

impl Function<'_> {
    /// Writes everything inside the function's braces.
    pub(super) fn body(
        &mut self,
        in_body: &[usize],
        converts: bool,
        errors: &mut Vec<Error>,
    ) -> Result<TokenStream> {
        let private = self.private;
        let span = at(self.item.sig.ident.span());
        let skip = quote_spanned!(span=> return #private::skip(););
        let mut once = quote_spanned!(span=> const _: &str = #MARK;);
        once.extend(self.imports());
        once.extend(self.declarations());
        if self.is_handler && in_body.len() < self.phases.guards.len() {
            // Outside an `impl ServerHook` nothing would look at the guards; this refuses to compile there.
            once.extend(quote_spanned!(span=> let _ = <Self as #private::ServerHook>::GUARDS;));
        }
        let emitter = self.emitter();
        for guard in in_body
            .iter()
            .filter_map(|place| self.phases.guards.get(*place))
        {
            collect(
                &mut once,
                errors,
                emitter.guard_in_body(guard, self.answers()),
            );
        }
        if let Some(upgrade) = self
            .phases
            .upgrades()
            .filter(|_| self.is_handler || self.is_route())
        {
            let stream = self.params.need(Part::Stream, true, upgrade)?;
            let ctx = self.params.need(Part::Ctx, true, upgrade)?;
            let span = at(upgrade.name.span());
            once.extend(quote_spanned!(span=> #private::upgrade(&mut *#stream, &mut *#ctx).await;));
        }
        let turn = match self.phases.read.take() {
            Some(read) => self.read_loop(&read, converts, errors)?,
            None => {
                // A value that is not made is no answer, so the request is declined.
                let decline = match (&self.returns, self.phases.conditions.first()) {
                    (Returns::Other { .. }, Some(condition)) if self.is_route() => {
                        let ctx = self.params.need(Part::Ctx, true, condition)?;
                        quote_spanned!(span=> return #private::decline_by_condition(&mut *#ctx);)
                    }
                    _ => skip,
                };
                self.single_turn(converts, &decline, errors)?
            }
        };
        Ok(quote!(#once #turn))
    }

    fn imports(&self) -> TokenStream {
        let code = self.phases.imports.iter().map(|applied| {
            let (span, paths) = (at(applied.name.span()), values(applied));
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
                let span = at(ty.span());
                code.extend(quote_spanned! {span=>
                    #[allow(unused_variables, unused_mut)]
                    let mut #name: #ty = <#ty as ::core::default::Default>::default();
                });
                if last_segment(ty).is_some_and(|ident| ident == "Server") {
                    let (private, place) = (self.private, register::place(self.private, ty.span()));
                    // So that a server without them knows that another one has them.
                    code.extend(quote_spanned! {span=>
                        #name.__register_all();
                        #private::inventory::submit! {{ #private::Taker { place: #place } }}
                    });
                }
            }
        }
        code
    }

    /// Writes the macros before the body.
    fn before(&self, decline: &TokenStream, errors: &mut Vec<Error>) -> TokenStream {
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
            let span = at(applied.name.span());
            // `return` and `continue` at the macro that declines, where a type error then points.
            let decline: TokenStream = decline
                .clone()
                .into_iter()
                .map(|mut token| {
                    token.set_span(span);
                    token
                })
                .collect();
            collect(&mut code, errors, emitter.step(applied, &decline));
        }
        code
    }

    /// Writes the macros after the body.
    fn after(&self, errors: &mut Vec<Error>) -> TokenStream {
        let emitter = self.emitter();
        let mut code = TokenStream::new();
        for applied in &self.phases.epilogue {
            collect(
                &mut code,
                errors,
                emitter.step(applied, &TokenStream::new()),
            );
        }
        code
    }

    fn close(&self, errors: &mut Vec<Error>) -> TokenStream {
        let mut code = TokenStream::new();
        if let Some(applied) = &self.phases.close {
            collect(
                &mut code,
                errors,
                self.emitter().step(applied, &TokenStream::new()),
            );
        }
        code
    }

    /// Writes the user's body as a block of its own. `shared` lends it the parameters, which later code uses again.
    fn block(&self, shared: bool) -> TokenStream {
        let block = &self.item.block;
        if !shared {
            return block.to_token_stream();
        }
        let tokens = block.to_token_stream();
        let names = self.params.mutable_names();
        // By its own name: a body that moves it out moves the loan.
        let lent = names
            .filter(|name| mentions(tokens.clone(), &[&name.unraw().to_string()]))
            .map(|name| {
                let span = at(name.span());
                quote_spanned!(span=> #[allow(unused_variables)] let #name = &mut *#name;)
            });
        quote!({ #(#lent)* #block })
    }

    /// Takes the blame for being unreachable after a body that never ends, once for all that follows.
    fn calm(&self) -> TokenStream {
        let span = at(self.item.sig.ident.span());
        quote_spanned!(span=> #[allow(unreachable_code)] let () = ();)
    }

    /// Tells an async block its value's type, by a return that never happens.
    fn hint(&self) -> Option<TokenStream> {
        let ty = self.returns.named()?;
        let span = at(self.item.sig.output.span());
        let hint = local("hint", span);
        Some(quote_spanned! {span=>
            if let ::core::option::Option::Some(#hint) = ::core::option::Option::None::<#ty> { return #hint; }
        })
    }

    /// Turns a route's value into the response, and leaves a status.
    fn conversion(&self, value: &Ident) -> Result<TokenStream> {
        let (private, span) = (self.private, at(self.item.sig.output.span()));
        let ctx = self
            .phases
            .registers
            .first()
            .map(|applied| self.params.need(Part::Ctx, true, applied))
            .transpose()?;
        Ok(quote_spanned!(span=> let #value = #private::respond_value(&mut *#ctx, #value);))
    }

    /// Writes a function that runs its body once.
    fn single_turn(
        &self,
        converts: bool,
        decline: &TokenStream,
        errors: &mut Vec<Error>,
    ) -> Result<TokenStream> {
        let before = self.before(decline, errors);
        let mut after = self.after(errors);
        after.extend(self.close(errors));
        if after.is_empty() && !converts {
            let block = self.block(false);
            return Ok(quote!(#before #block));
        }
        let value = local("value", self.item.sig.ident.span());
        let ty = self.returns.named().map(|ty| quote!(: #ty));
        let block = self.block(true);
        let run = match Jumps::of(&self.item.block).leaves {
            true => {
                let hint = self.hint();
                quote!(async { #hint #block }.await)
            }
            false => block,
        };
        let conversion = if converts {
            Some(self.conversion(&value)?)
        } else {
            None
        };
        let calm = self.calm();
        Ok(quote! {
            #before
                        let #value #ty = #run;
            #calm
            #conversion
            #after
            #value
        })
    }

    /// Writes a function that runs its body once per message.
    fn read_loop(
        &mut self,
        read: &Applied,
        converts: bool,
        errors: &mut Vec<Error>,
    ) -> Result<TokenStream> {
        let (private, span) = (self.private, at(self.item.sig.ident.span()));
        let (head, bind) = self.read_head(read)?;
        let (after, close) = (self.after(errors), self.close(errors));
        let jumps = Jumps::of(&self.item.block);
        let in_async = jumps.leaves && (converts || !after.is_empty() || !close.is_empty());
        let [over, end, value, body] =
            ["over", "end", "value", "body"].map(|name| local(name, span));
        let label = syn::Lifetime::new("'__hl_body", span);
        // Left by `break`, `return` or `?`, the loop is over; `continue` and the end of the body go on.
        let tracks = in_async || !jumps.loop_jumps.is_empty();
        let goes_on = tracks.then(|| quote_spanned!(span=> #over = false;));
        if !jumps.loop_jumps.is_empty() {
            let neutral = match &self.returns {
                Returns::Unit => quote_spanned!(span=> ()),
                Returns::Status(_) => quote_spanned!(span=> #private::Status::Continue),
                Returns::Other { .. } => {
                    let message = "a message of this route needs a value; use `return`, or let the route return nothing";
                    errors.extend(
                        jumps
                            .loop_jumps
                            .iter()
                            .map(|span| Error::new(*span, message)),
                    );
                    return Ok(TokenStream::new());
                }
            };
            let leave = quote_spanned!(span=> break #label #neutral;);
            jumps::rewrite(
                &mut self.item.block,
                leave.clone(),
                quote_spanned!(span=> #goes_on #leave),
            )?;
        }
        let block = self.block(true);
        let calm = self.calm();
        let (declared, run) = match &self.returns {
            Returns::Status(_) => (
                // The trait's method is found for `()` alone, so a body may end in a status, in `()` or not at all.
                Some(quote_spanned!(span=> #[allow(unused_imports)] use #private::UnitTurn as _;)),
                quote! {
                    let #body = #block;
                    #calm
                    #goes_on
                    #private::Turn(#body).status()
                },
            ),
            _ => {
                let ty = self.returns.named().map(|ty| quote!(: #ty));
                (None, quote!(let #body #ty = #block; #calm #goes_on #body))
            }
        };
        let run = if jumps.loop_jumps.is_empty() {
            quote!({ #run })
        } else {
            quote!(#label: { #run })
        };
        let run = match in_async {
            true => {
                let hint = self.hint();
                quote!(async { #hint #run }.await)
            }
            false => run,
        };
        let conversion = if converts {
            Some(self.conversion(&value)?)
        } else {
            None
        };
        let has_status = !matches!(self.returns, Returns::Unit);
        let start = tracks.then(|| quote_spanned!(span=> let mut #over = true;));
        let rejected = has_status
            .then(|| quote_spanned!(span=> ::core::matches!(#value, #private::Status::Reject)));
        let stop = match (tracks, rejected) {
            (true, Some(rejected)) => {
                Some(quote_spanned!(span=> if #over || #rejected { #end = #value; break; }))
            }
            (false, Some(rejected)) => {
                Some(quote_spanned!(span=> if #rejected { #end = #value; break; }))
            }
            (true, None) => Some(quote_spanned!(span=> if #over { break; })),
            (false, None) => None,
        };
        let end_start =
            has_status.then(|| quote_spanned!(span=> let mut #end = #private::Status::Continue;));
        let end_value = has_status.then(|| quote!(#end));

        let before = self.before(&quote_spanned!(span=> continue;), errors);
        Ok(quote! {
            #declared
            #end_start
            #head {
                #bind
                #before
                #start
                                let #value = #run;
                #calm
                #conversion
                #after
                #stop
            }
            #close
            #end_value
        })
    }

    /// Writes `while let Some(message) = read(..)`, and what binds the message inside.
    fn read_head(&self, read: &Applied) -> Result<(TokenStream, TokenStream)> {
        let Role::Read(call) = read.row.role else {
            return Ok((quote!(), quote!()));
        };
        let (private, span) = (self.private, at(read.name.span()));
        let stream = self.params.need(Part::Stream, true, read)?;
        let ctx = self.params.need(Part::Ctx, true, read)?;
        let (call, message) = (Ident::new(call, span), local("message", span));
        let head = quote_spanned! {span=>
            while let ::core::option::Option::Some(#message) = #private::#call(&mut *#stream, &mut *#ctx).await
        };
        let bind = match &read.args {
            Args::Bindings(bindings) => {
                let names = bindings.iter().map(|binding| {
                    let (mutability, name) = (&binding.mutability, &binding.name);
                    quote_spanned!(span=> #[allow(unused_variables, unused_mut)] let #mutability #name = #message;)
                });
                names.collect()
            }
            _ => quote_spanned!(span=> let _ = #message;),
        };
        Ok((head, bind))
    }
}
