//! Makes a plain function a route: adds the parameters that its macros need, and registers the function.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, PatType, parse_quote_spanned};

use super::{Function, Returns};
use crate::literals;
use crate::model::Role;
use crate::params::{Param, Part};
use crate::register;
use crate::tokens::{hygienic, local, respan};

impl Function<'_> {
    /// Adds the missing parameters for the stream and the context to a route function. Adds them only if the code of
    /// the function's macros needs them.
    pub(super) fn add_missing_params(&mut self, guards_in_body: bool) {
        let phases = &self.phases;
        let converts = matches!(self.returns, Returns::Other { .. });
        let any = phases.has_code_around_body()
            || guards_in_body
            || phases.early_upgrade().is_some()
            || (converts && self.needs_conversion(&[]));
        if !any {
            return;
        }
        let span = hygienic(self.item.sig.ident.span());
        let private = self.private;
        if self.params.stream.is_none() {
            let name = local("stream", span);
            self.item
                .sig
                .inputs
                .insert(0, parse_quote_spanned!(span=> #name: &mut #private::Stream));
            self.params.stream = Some(Param::added(name));
        }
        if self.params.ctx.is_none() {
            let name = local("ctx", span);
            self.item
                .sig
                .inputs
                .push(parse_quote_spanned!(span=> #name: &mut #private::Context));
            self.params.ctx = Some(Param::added(name));
        }
    }

    /// Writes one registration per route attribute.
    pub(super) fn registrations(&self, guards: &[TokenStream], converts: bool) -> TokenStream {
        let (private, name) = (self.private, &self.item.sig.ident);
        let mut code = TokenStream::new();
        for applied in &self.phases.registers {
            let Role::Register(role) = applied.row.role else {
                continue;
            };
            let kind = register::hook_kind(private, applied, role);
            let method = match role.methods() {
                [] => None,
                methods => {
                    let span = hygienic(applied.name.span());
                    Some(quote_spanned! {span=>
                        #private::Guard::method(&[#(#methods),*]),
                    })
                }
            };
            let run = self.runner(converts);
            let (stream, max) = self.body_rules();
            let stream = stream
                .map(|applied| quote_spanned!(hygienic(applied.name.span())=> .body_stream()));
            let max = max.map(|applied| {
                let limit = applied.values().first();
                quote_spanned!(hygienic(applied.name.span())=> .max_body(#limit))
            });
            // `unknown_params` has already compared the names of the path parameters with literal patterns. If the
            // pattern is a constant, or if the attribute names a scope, the registration compares the names at compile
            // time.
            let names = self.required_params();
            let is_checked =
                literals::string_argument(applied).is_some() && applied.scope.is_none();
            let params = (!is_checked && !names.is_empty())
                .then(|| quote_spanned!(hygienic(applied.name.span())=> .params(&[#(#names),*])));
            let arguments = self.argument_rules();
            let wraps = register::wrapped(self.phases.wraps.iter());
            code.extend(register::submit(private, name, &[], |place| {
                let (span, text) = (hygienic(name.span()), name.to_string());
                let registration = quote_spanned! {span=>
                    #private::Registration::of_function(#kind, #text, #place, &[#method #(#guards),*], #run)
                };
                let registration = register::placed(private, registration, applied, name);
                quote!(#registration #params #stream #max #arguments #wraps)
            }));
        }
        register::holder(name, &self.item.attrs, &code)
    }

    /// Writes the function pointer that the server calls for a request.
    fn runner(&self, converts: bool) -> TokenStream {
        let (private, name) = (self.private, &self.item.sig.ident);
        let span = hygienic(name.span());
        let [stream, ctx, value] = ["stream", "ctx", "value"].map(|name| local(name, span));
        let mut made = TokenStream::new();
        let mut arguments = Vec::new();
        for (index, argument) in self.typed_inputs().enumerate() {
            arguments.push(if self.params.is(Part::Stream, argument) {
                quote_spanned!(span=> &mut *#stream)
            } else if self.params.is(Part::Ctx, argument) {
                quote_spanned!(span=> &mut *#ctx)
            } else {
                // The code has the span of the argument's type, so that the compiler reports an unusable type there.
                let (ty, span) = (&argument.ty, argument.ty.span());
                let argument = local(&format!("argument{index}"), span);
                // All tokens get the same span, so that the compiler reports an error only once.
                let private = respan(private, span);
                made.extend(quote_spanned!(span=> let #argument: #ty = #private::argument(&mut *#ctx).await;));
                argument.to_token_stream()
            });
        }
        let call = quote_spanned!(span=> #name(#(#arguments),*));
        if made.is_empty() && (converts || matches!(self.returns, Returns::Status(_))) {
            // The server polls the future of the function directly. An async block around the future would only
            // increase the compile time.
            return quote_spanned!(span=> |#stream, #ctx| ::std::boxed::Box::pin(#call));
        }
        let call = quote_spanned!(span=> #call.await);
        let run = match (&self.returns, converts) {
            (Returns::Unit, _) => quote_spanned!(span=> #call; #private::Status::Continue),
            (Returns::Status(_), _) | (_, true) => call,
            (Returns::Other { .. }, false) => {
                let out = hygienic(self.item.sig.output.span());
                let respond = quote_spanned!(out=> #private::respond_value(&mut *#ctx, #value));
                quote_spanned!(span=> let #value = #call; #respond)
            }
        };
        quote_spanned!(span=> |#stream, #ctx| ::std::boxed::Box::pin(async move {
            #made
            #run
        }))
    }

    fn typed_inputs(&self) -> impl Iterator<Item = &PatType> {
        self.item.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(argument) => Some(argument),
            FnArg::Receiver(_) => None,
        })
    }

    /// Writes the rules about the arguments other than the stream and the context. One rule per argument tells the
    /// server how the argument reads the request body. The last rule is a function. When a server starts, it calls this
    /// function to check whether the route provides what the arguments need.
    fn argument_rules(&self) -> TokenStream {
        let rules = self.params.others.iter().map(|argument| {
            let (ty, span) = (&argument.ty, argument.ty.span());
            // The code has the span of the argument's type, so that the compiler reports a missing trait only once.
            let private = respan(self.private, span);
            quote_spanned!(span=> .argument(#private::body_of(|_: #ty| ())))
        });
        let mut rules: TokenStream = rules.collect();
        let span = hygienic(self.item.sig.ident.span());
        let needs = self.params.others.iter().map(|argument| {
            let (ty, here) = (&argument.ty, argument.ty.span());
            let private = respan(self.private, here);
            let setup = local("setup", here);
            quote_spanned!(here=> #private::needs(#setup, |_: #ty| ())?;)
        });
        let needs: TokenStream = needs.collect();
        if !needs.is_empty() {
            let setup = local("setup", span);
            rules.extend(
                quote_spanned!(span=> .needs(|#setup| { #needs ::core::result::Result::Ok(()) })),
            );
        }
        rules
    }
}
