//! Expands all macros on a function at once: guards, reads, extractors, conditions, setters, the body, epilogues.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, Item, ItemFn, ReceiverKind, Result, ReturnType, Stmt, Type, parse_quote_spanned};

use crate::args::{Applied, Args, mentions};
use crate::emit::{Emitter, at, local};
use crate::jumps::{self, Jumps};
use crate::params::{self, Param, Params, Part, last_segment};
use crate::phases::Phases;
use crate::register;
use crate::table::Role;

/// Stands in every body that was expanded, so that a macro that comes too late notices.
const MARK: &str = "hyperlane: expanded";

/// Expands `applied` on `item`; errors go to `errors`, and the code is then of no use.
pub(crate) fn expand(
    private: &TokenStream,
    mut item: ItemFn,
    applied: Vec<Applied>,
    errors: &mut Vec<Error>,
) -> TokenStream {
    let unmarked = applied
        .iter()
        .all(|applied| applied.row.role == Role::Declare);
    if let (false, true, Some(late)) = (unmarked, is_marked(&item), applied.first()) {
        errors.push(late.error(format!(
            "`#[{}]` came after the attributes above it were expanded; import it under its own name, \
             or put the `cfg_attr` it stands in first",
            late.name
        )));
        return TokenStream::new();
    }
    let phases = Phases::sort(applied, errors);
    let params = params::find(&mut item.sig);
    // The body becomes a block inside the function's own; with the user's braces it would look like one too many.
    item.block.brace_token = syn::token::Brace(at(item.block.brace_token.span.join()));
    let mut function = Function {
        private,
        returns: Returns::of(&item),
        is_handler: is_handler(&item),
        phases,
        params,
        item,
    };
    match function.expand(errors) {
        Ok(code) => code,
        Err(error) => {
            errors.push(error);
            TokenStream::new()
        }
    }
}

/// What a function returns, as far as its tokens tell.
enum Returns {
    Unit,
    Status(Box<Type>),
    /// Anything else; `named` where a variable can be declared with it.
    Other {
        named: Option<Box<Type>>,
    },
}

impl Returns {
    fn of(item: &ItemFn) -> Self {
        match &item.sig.output {
            ReturnType::Default => Self::Unit,
            ReturnType::Type(_, ty) => match ty.as_ref() {
                Type::Tuple(tuple) if tuple.elems.is_empty() => Self::Unit,
                _ if last_segment(ty).is_some_and(|ident| ident == "Status") => {
                    Self::Status(ty.clone())
                }
                // The hook trait asks for it, under whatever name.
                _ if is_handler(item) => Self::Status(ty.clone()),
                // Neither `impl Trait` nor `!` can be a variable's type.
                _ if mentions(ty.to_token_stream(), &["impl", "!"]) => Self::Other { named: None },
                _ => Self::Other {
                    named: Some(ty.clone()),
                },
            },
        }
    }

    /// Returns the type to declare a variable with.
    fn named(&self) -> Option<TokenStream> {
        match self {
            Self::Unit => Some(quote!(())),
            Self::Status(ty) => Some(ty.to_token_stream()),
            Self::Other { named } => named.as_ref().map(|ty| ty.to_token_stream()),
        }
    }
}

struct Function<'a> {
    private: &'a TokenStream,
    item: ItemFn,
    phases: Phases,
    params: Params,
    returns: Returns,
    is_handler: bool,
}

impl Function<'_> {
    fn expand(&mut self, errors: &mut Vec<Error>) -> Result<TokenStream> {
        let before = errors.len();
        self.validate(errors);
        if errors.len() > before {
            return Ok(TokenStream::new());
        }
        let (in_constant, in_body) = self.split_guards();
        // The value of a route is turned into the response before the epilogues, so they move into one function.
        let converts = self.is_route()
            && matches!(self.returns, Returns::Other { .. })
            && self.needs_conversion(&in_body);
        if self.is_route() {
            self.add_missing_params(!in_body.is_empty());
        }
        let constants = self.constant_guards(&in_constant);
        let code = match self.body(&in_body, converts, errors) {
            Ok(body) => body,
            Err(error) => {
                errors.push(error);
                return Ok(TokenStream::new());
            }
        };
        if converts {
            let (private, span) = (self.private, at(self.item.sig.output.span()));
            self.item.sig.output = parse_quote_spanned!(span=> -> #private::Status);
        }
        let registrations = self.registrations(&constants, converts);
        let (attrs, vis, sig) = (&self.item.attrs, &self.item.vis, &self.item.sig);
        let default = &self.item.modifiers.defaultness;
        let sibling = (self.is_handler && !constants.is_empty()).then(|| {
            let (private, span) = (self.private, at(sig.ident.span()));
            let cfgs = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
            quote_spanned! {span=>
                #(#cfgs)*
                #[doc(hidden)]
                const GUARDS: &'static [#private::Guard] = &[#(#constants),*];
            }
        });
        Ok(quote! {
            #sibling
            #(#attrs)*
            #vis #default #sig { #code }
            #registrations
        })
    }

    fn is_route(&self) -> bool {
        !self.phases.registers.is_empty()
    }

    /// Whether generated code runs around the body of a route, or the value could borrow from the context.
    fn needs_conversion(&self, in_body: &[usize]) -> bool {
        self.phases.wrap_body()
            || !in_body.is_empty()
            || self.phases.upgrades().is_some()
            || matches!(self.returns, Returns::Other { named: None })
    }

    fn validate(&self, errors: &mut Vec<Error>) {
        let signature = &self.item.sig;
        let phases = &self.phases;
        let all = [
            &phases.registers,
            &phases.guards,
            &phases.extractors,
            &phases.conditions,
            &phases.setup,
            &phases.epilogue,
        ];
        let first = all
            .into_iter()
            .flatten()
            .chain(&phases.read)
            .chain(&phases.close)
            .next();
        if let (None, Some(applied)) = (signature.asyncness, first) {
            let message = format!("`#[{}]` needs an `async fn`; add `async`", applied.name);
            errors.push(Error::new(signature.fn_token.span, message));
        }
        for applied in &phases.registers {
            if let Some(receiver) = signature.receiver() {
                let message = format!(
                    "`#[{}]` stands on a struct or a free function, not on a method",
                    applied.name
                );
                errors.push(Error::new_spanned(receiver, message));
            } else if !matches!(
                applied.row.role,
                Role::Register(crate::table::Register::Route(_))
            ) {
                errors.push(applied.error(format!(
                    "`#[{}]` stands on a struct that implements `ServerHook`",
                    applied.name
                )));
            } else if signature.generics.type_params().next().is_some()
                || signature.generics.const_params().next().is_some()
            {
                errors.push(register::generic(applied, &signature.generics));
            }
        }
        if self.is_route() {
            errors.extend(self.params.unclear());
            let message = "a route function takes the stream and the context only; read the rest with an extractor";
            if self.params.unclear().is_none() {
                errors.extend(
                    self.params
                        .others
                        .iter()
                        .map(|other| Error::new_spanned(other, message)),
                );
            }
        }
        if signature.ident == "new"
            && matches!(self.returns, Returns::Other { .. })
            && !self.is_route()
        {
            for applied in phases.guards.iter().chain(&phases.conditions) {
                errors.push(applied.error(format!(
                    "`#[{}]` can decline, but `new` must make a value; move it to `handle`",
                    applied.name
                )));
            }
        }
        if let (Some(read), Returns::Other { .. }, false) =
            (&phases.read, &self.returns, self.is_route())
        {
            errors.push(read.error(format!(
                "`#[{}]` repeats the body, so the function must return `Status` or nothing",
                read.name
            )));
        }
    }

    /// Splits the guards into those for a constant and those for the body.
    fn split_guards(&self) -> (Vec<usize>, Vec<usize>) {
        let constant = self.is_handler || self.is_route();
        let emitter = self.emitter();
        let guards = self.phases.guards.iter().enumerate();
        let (in_body, in_constant): (Vec<_>, Vec<_>) =
            guards.partition(|(_, guard)| !constant || emitter.needs_body(guard));
        let places =
            |guards: Vec<(usize, &Applied)>| guards.into_iter().map(|(at, _)| at).collect();
        (places(in_constant), places(in_body))
    }

    fn emitter(&self) -> Emitter<'_> {
        Emitter {
            private: self.private,
            params: &self.params,
        }
    }

    fn constant_guards(&self, places: &[usize]) -> Vec<TokenStream> {
        let emitter = self.emitter();
        places
            .iter()
            .filter_map(|place| self.phases.guards.get(*place))
            .map(|guard| emitter.guard_const(guard))
            .collect()
    }

    /// Gives a route function the parameters that its macros need and its author left out.
    fn add_missing_params(&mut self, guards_in_body: bool) {
        let phases = &self.phases;
        let converts = matches!(self.returns, Returns::Other { .. });
        let any = phases.wrap_body()
            || guards_in_body
            || phases.upgrades().is_some()
            || (converts && self.needs_conversion(&[]));
        if !any {
            return;
        }
        let span = at(self.item.sig.ident.span());
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

    /// Writes everything inside the function's braces.
    fn body(
        &mut self,
        in_body: &[usize],
        converts: bool,
        errors: &mut Vec<Error>,
    ) -> Result<TokenStream> {
        let private = self.private;
        let span = at(self.item.sig.ident.span());
        let decline = quote_spanned!(span=> return #private::skip(););
        let mut once = quote_spanned!(span=> const _: &str = #MARK;);
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
            let declined = at(guard.name.span());
            let decline = quote_spanned!(declined=> return #private::skip(););
            collect(&mut once, errors, emitter.guard_in_body(guard, &decline));
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
        let turn = match self.phases.read.is_some() {
            true => self.read_loop(converts, errors)?,
            false => self.single_turn(converts, &decline, errors)?,
        };
        Ok(quote!(#once #turn))
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
                    code.extend(quote_spanned!(span=> #name.__register_all();));
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
    fn conversion(&self, value: &syn::Ident) -> Result<TokenStream> {
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
    fn read_loop(&mut self, converts: bool, errors: &mut Vec<Error>) -> Result<TokenStream> {
        let (private, span) = (self.private, at(self.item.sig.ident.span()));
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
                // The inherent method wins where the body's type is open, that is for a body that never ends; the
                // trait's is found for `()` alone. So a body may end in a status, in `()` or not at all.
                Some(quote_spanned! {span=>
                    struct __HlTurn<T>(T);
                    impl __HlTurn<#private::Status> {
                        fn status(self) -> #private::Status { self.0 }
                    }
                    trait __HlUnit: ::core::marker::Sized {
                        fn status(self) -> #private::Status { #private::Status::Continue }
                    }
                    impl __HlUnit for __HlTurn<()> {}
                }),
                quote! {
                    let #body = #block;
                    #calm
                    #goes_on
                    __HlTurn(#body).status()
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
        let head = self.read_head()?;
        let before = self.before(&quote_spanned!(span=> continue;), errors);
        Ok(quote! {
            #declared
            #end_start
            #head {
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

    /// Writes `while let Some(message) = read(..)`.
    fn read_head(&self) -> Result<TokenStream> {
        let Some(read) = &self.phases.read else {
            return Ok(TokenStream::new());
        };
        let Role::Read(call) = read.row.role else {
            return Ok(TokenStream::new());
        };
        let (private, span) = (self.private, at(read.name.span()));
        let stream = self.params.need(Part::Stream, true, read)?;
        let ctx = self.params.need(Part::Ctx, true, read)?;
        let call = syn::Ident::new(call, span);
        let pattern = match &read.args {
            Args::Bindings(bindings) => {
                let names = bindings.iter().map(|binding| {
                    let (mutability, name) = (&binding.mutability, &binding.name);
                    quote!(#mutability #name)
                });
                quote!(#(#names)*)
            }
            _ => quote_spanned!(span=> _),
        };
        Ok(quote_spanned! {span=>
            #[allow(unused_variables, unused_mut)]
            while let ::core::option::Option::Some(#pattern) = #private::#call(&mut *#stream, &mut *#ctx).await
        })
    }

    /// Registers a route function, once per route attribute.
    fn registrations(&self, guards: &[TokenStream], converts: bool) -> TokenStream {
        let (private, name) = (self.private, &self.item.sig.ident);
        let mut code = TokenStream::new();
        for applied in &self.phases.registers {
            let Role::Register(role) = applied.row.role else {
                continue;
            };
            let kind = register::kind(private, applied, role);
            let method = match register::methods_of(role) {
                [] => None,
                methods => {
                    let span = at(applied.name.span());
                    Some(quote_spanned! {span=>
                        #private::Guard {
                            kind: #private::GuardKind::Method(&[#(#methods),*]),
                            check: |ctx| #private::guard_method(ctx, &[#(#methods),*]),
                        },
                    })
                }
            };
            let run = self.runner(converts);
            code.extend(register::submit(private, name, &self.item.attrs, |place| {
                let (span, text) = (at(name.span()), name.to_string());
                quote_spanned! {span=>
                    #private::Registration::of_function(#kind, #text, #place, &[#method #(#guards),*], #run)
                }
            }));
        }
        code
    }

    /// Writes the function pointer that dispatch calls.
    fn runner(&self, converts: bool) -> TokenStream {
        let (private, name) = (self.private, &self.item.sig.ident);
        let span = at(name.span());
        let [stream, ctx, value] = ["stream", "ctx", "value"].map(|name| local(name, span));
        let arguments = self.item.sig.inputs.iter().enumerate().map(|(index, _)| {
            let is_stream = self.params.stream_index(&self.item.sig) == Some(index);
            if is_stream {
                quote_spanned!(span=> &mut *#stream)
            } else {
                quote_spanned!(span=> &mut *#ctx)
            }
        });
        let call = quote_spanned!(span=> #name(#(#arguments),*).await);
        let run = match (&self.returns, converts) {
            (Returns::Unit, _) => quote_spanned!(span=> #call; #private::Status::Continue),
            (Returns::Status(_), _) | (_, true) => call,
            (Returns::Other { .. }, false) => {
                let out = at(self.item.sig.output.span());
                let respond = quote_spanned!(out=> #private::respond_value(&mut *#ctx, #value));
                quote_spanned!(span=> let #value = #call; #respond)
            }
        };
        quote_spanned!(span=> |#stream, #ctx| ::std::boxed::Box::pin(async move {
            #run
        }))
    }
}

/// Adds code, or the error that stands in its way.
fn collect(code: &mut TokenStream, errors: &mut Vec<Error>, step: Result<TokenStream>) {
    match step {
        Ok(step) => code.extend(step),
        // A parameter that two macros lack is reported once.
        Err(error) if errors.iter().any(|other| same(other, &error)) => {}
        Err(error) => errors.push(error),
    }
}

fn same(left: &Error, right: &Error) -> bool {
    left.to_string() == right.to_string()
}

/// Whether the function is `ServerHook::handle`, as far as its tokens tell.
fn is_handler(item: &ItemFn) -> bool {
    let by_value = item
        .sig
        .receiver()
        .is_some_and(|receiver| matches!(receiver.kind, ReceiverKind::Value));
    by_value && item.sig.ident == "handle" && item.sig.inputs.len() == 3
}

/// Whether macros were expanded on this function before.
fn is_marked(item: &ItemFn) -> bool {
    let Some(Stmt::Item(Item::Const(mark))) = item.block.stmts.first() else {
        return false;
    };
    matches!(mark.expr.as_ref(), syn::Expr::Lit(literal) if matches!(&literal.lit, syn::Lit::Str(text) if text.value() == MARK))
}
