//! Writes the code of a function with a read macro, such as `try_get_websocket_request`. The code runs the body once
//! per message: a WebSocket message, or an HTTP request in the case of `try_get_http_request`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Error, Lifetime, Result};

use super::epilogue::Epilogue;
use super::{Function, Returns};
use crate::jumps::{self, Jumps};
use crate::model::{Applied, Role};
use crate::params::Part;
use crate::tokens::{hygienic, local};

impl Function<'_> {
    pub(super) fn read_loop(
        &mut self,
        read: &Applied,
        converts: bool,
        errors: &mut Vec<Error>,
    ) -> Result<TokenStream> {
        let span = self.name_span();
        let (head, bind) = self.read_head(read)?;
        let jumps = Jumps::of(&self.item.block);
        let has_jumps = !jumps.loop_jumps.is_empty();
        let epilogue = self.epilogue(converts, jumps.may_return || has_jumps, errors);
        let close = self.close(errors);
        let in_async = jumps.may_return && (converts || !epilogue.is_empty() || !close.is_empty());
        // `break`, `return` and `?` in the body end the loop. After `continue` and after the end of the body, the loop
        // reads the next message.
        let may_end = in_async || has_jumps;
        let over = local("over", span);
        let goes_on = may_end.then(|| quote_spanned!(span=> #over = false;));
        if has_jumps {
            self.rewrite_jumps(&jumps.loop_jumps, goes_on.as_ref())?;
        }
        let run = self.message_run(has_jumps, goes_on.as_ref(), &epilogue);
        let run = match in_async {
            true => self.in_async_block(&run),
            false => run,
        };
        let [value, end] = ["value", "end"].map(|name| local(name, span));
        let conversion = converts.then(|| self.conversion(&value)).transpose()?;
        let private = self.private;
        // In a function that returns a `Status`, the body may also evaluate to `()`, or never return. The trait
        // `UnitTurn` converts `()` to a status.
        let unit_turn = matches!(self.returns, Returns::Status(_))
            .then(|| quote_spanned!(span=> #[allow(unused_imports)] use #private::UnitTurn as _;));
        let has_status = !matches!(self.returns, Returns::Unit);
        let end_start =
            has_status.then(|| quote_spanned!(span=> let mut #end = #private::Status::Continue;));
        let end_value = has_status.then(|| end.to_token_stream());
        let over_start = may_end.then(|| quote_spanned!(span=> let mut #over = true;));
        let exit = self.loop_exit(may_end, has_status);
        let allow_unreachable = self.allow_unreachable();
        let before = self.before(&quote_spanned!(span=> continue;), errors);
        let (flags, after) = (epilogue.flags(span), epilogue.after(span));
        Ok(quote! {
            #unit_turn
            #end_start
            #head {
                #bind
                #before
                #over_start
                #flags
                let #value = #run;
                #allow_unreachable
                #conversion
                #after
                #exit
            }
            #close
            #end_value
        })
    }

    fn name_span(&self) -> Span {
        hygienic(self.item.sig.ident.span())
    }

    /// Rewrites each `break` and `continue` of the loop. The new code leaves only the labelled block around the body.
    /// The variable `over` then decides whether the loop ends.
    fn rewrite_jumps(&mut self, jumps: &[Span], goes_on: Option<&TokenStream>) -> Result<()> {
        let (private, span) = (self.private, self.name_span());
        let neutral = match &self.returns {
            Returns::Unit => quote_spanned!(span=> ()),
            Returns::Status(_) => quote_spanned!(span=> #private::Status::Continue),
            Returns::Other { .. } => {
                let message = "`break` and `continue` leave this message without a value; write `return`, or let the route return nothing";
                let errors = jumps.iter().map(|jump| Error::new(*jump, message));
                return errors.reduce(combine).map_or(Ok(()), Err);
            }
        };
        let label = body_label(span);
        let leave = quote_spanned!(span=> break #label #neutral;);
        let go_on = quote_spanned!(span=> #goes_on #leave);
        jumps::rewrite(&mut self.item.block, leave, go_on)
    }

    /// Writes the block that runs the user's body for one message and returns its value.
    fn message_run(
        &self,
        has_jumps: bool,
        goes_on: Option<&TokenStream>,
        epilogue: &Epilogue,
    ) -> TokenStream {
        let (private, span) = (self.private, self.name_span());
        // A body in a function that returns a `Status` may have the type `()`, so its type is unknown here.
        let declared = self.returns.declared_type();
        let declared = declared.filter(|_| !matches!(self.returns, Returns::Status(_)));
        let block = self.user_block(epilogue, declared.as_ref());
        let allow_unreachable = self.allow_unreachable();
        let body = local("body", span);
        let run = match &self.returns {
            Returns::Status(_) => quote! {
                let #body = #block;
                #allow_unreachable
                #goes_on
                #private::Turn(#body).status()
            },
            _ => {
                let ty = self.returns.declared_type().map(|ty| quote!(: #ty));
                quote!(let #body #ty = #block; #allow_unreachable #goes_on #body)
            }
        };
        match has_jumps {
            true => {
                let label = body_label(span);
                quote!(#label: { #run })
            }
            false => quote!({ #run }),
        }
    }

    /// Writes the code that ends the loop after a message. The loop ends if the body has left the loop or has returned
    /// `Status::Reject`.
    fn loop_exit(&self, may_end: bool, has_status: bool) -> Option<TokenStream> {
        let (private, span) = (self.private, self.name_span());
        let [over, end, value] = ["over", "end", "value"].map(|name| local(name, span));
        let rejected = quote_spanned!(span=> ::core::matches!(#value, #private::Status::Reject));
        Some(match (may_end, has_status) {
            (true, true) => {
                quote_spanned!(span=> if #over || #rejected { #end = #value; break; })
            }
            (false, true) => quote_spanned!(span=> if #rejected { #end = #value; break; }),
            (true, false) => quote_spanned!(span=> if #over { break; }),
            (false, false) => return None,
        })
    }

    /// Writes two parts: the head `while let Some(message) = read(..)`, and the `let` that binds the message inside the
    /// loop.
    fn read_head(&self, read: &Applied) -> Result<(TokenStream, TokenStream)> {
        let Role::Read(call) = read.row.role else {
            return Ok((quote!(), quote!()));
        };
        let (private, span) = (self.private, hygienic(read.name.span()));
        let stream = self.params.require(Part::Stream, true, read)?;
        let ctx = self.params.require(Part::Ctx, true, read)?;
        let (call, message) = (Ident::new(call, span), local("message", span));
        let head = quote_spanned! {span=>
            while let ::core::option::Option::Some(#message) = #private::#call(&mut *#stream, &mut *#ctx).await
        };
        let bind = match read.bindings().first() {
            Some(binding) => {
                let (mutability, name) = (&binding.mutability, &binding.name);
                quote_spanned!(span=> #[allow(unused_variables, unused_mut)] let #mutability #name = #message;)
            }
            None => quote_spanned!(span=> let _ = #message;),
        };
        Ok((head, bind))
    }
}

/// Returns the label of the block around the user's body.
fn body_label(span: Span) -> Lifetime {
    Lifetime::new("'__hl_body", span)
}

fn combine(mut all: Error, error: Error) -> Error {
    all.combine(error);
    all
}
