//! Writes the code that each macro adds to a function. The generated tokens have the locations of the user's code, so
//! compiler errors point to that code. They have the hygiene of the expansion, so their names do not clash with the
//! user's names, and lints for user code skip them.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, Result};

use crate::model::{Applied, Args, Binding, BodyRule, Check, Handle, Role};
use crate::params::{Params, Part};
use crate::tokens::{contains_word, hygienic, local};

/// Writes the code that the macros on one function add to this function.
pub(crate) struct Emitter<'a> {
    /// The path to the module `__private`, which contains all items that generated code uses.
    pub(crate) private: &'a TokenStream,
    pub(crate) params: &'a Params,
    /// True if the values of macros may borrow from the context. The code then copies a value before it borrows the
    /// context mutably.
    pub(crate) detaches: bool,
}

impl Emitter<'_> {
    /// Writes the code of a macro that runs before or after the body. If the macro is a condition (`filter`, `reject`)
    /// that fails, or a guard that refuses, the code runs `decline`.
    pub(crate) fn step(&self, applied: &Applied, decline: &TokenStream) -> Result<TokenStream> {
        match applied.row.role {
            Role::Extract(call) => self.bindings(applied, call, false),
            Role::Require(call) => self.bindings(applied, call, true),
            Role::Body(BodyRule::Stream) => self.bindings(applied, "body_stream", false),
            Role::Open(handle) => self.open_handle(applied, handle),
            Role::Condition { runs_when } => Ok(condition(applied, runs_when, decline)),
            Role::Guard(_) => {
                let ctx = self.params.require(Part::Ctx, false, applied)?;
                let span = hygienic(applied.name.span());
                let check = self.guard_test(applied, &quote_spanned!(span=> &*#ctx));
                Ok(quote_spanned!(span=> if !#check { #decline }))
            }
            Role::SetStatus => {
                let (private, span) = (self.private, hygienic(applied.name.span()));
                let ctx = self.params.require(Part::Ctx, true, applied)?;
                let code = applied.values().iter().map(|value| {
                    if !may_use_context(value, ctx) {
                        return quote_spanned!(span=> #private::set_status(&mut *#ctx, #value););
                    }
                    evaluate_first(
                        value,
                        |value| quote_spanned!(span=> #private::set_status(&mut *#ctx, #value);),
                    )
                });
                Ok(code.collect())
            }
            Role::SetHeader => self.set_header(applied),
            Role::Set(method) => self.call_setter(applied, method),
            Role::Send { bare, value } => self.send(applied, bare, value),
            Role::Flush(call) => {
                let (private, span) = (self.private, hygienic(applied.name.span()));
                let stream = self.params.require(Part::Stream, true, applied)?;
                let call = Ident::new(call, span);
                Ok(quote_spanned!(span=> let _ = #private::#call(&mut *#stream).await;))
            }
            Role::OwnTask => {
                let (private, span) = (self.private, hygienic(applied.name.span()));
                let stream = self.params.require(Part::Stream, true, applied)?;
                Ok(quote_spanned!(span=> #private::spawned(&mut *#stream).await;))
            }
            Role::Close => {
                let (private, span) = (self.private, hygienic(applied.name.span()));
                let stream = self.params.require(Part::Stream, true, applied)?;
                Ok(quote_spanned!(span=> #private::closed(&mut *#stream);))
            }
            Role::Hooks(_) => {
                let stream = self.params.require(Part::Stream, true, applied)?;
                let ctx = self.params.require(Part::Ctx, true, applied)?;
                let calls = applied.values().iter().map(|hook| {
                    let span = hygienic(hook.span());
                    quote_spanned!(span=> let _ = #hook(&mut *#stream, &mut *#ctx).await;)
                });
                Ok(calls.collect())
            }
            // Other functions write the code of these macros.
            Role::Register(_)
            | Role::With
            | Role::Declare
            | Role::Import
            | Role::Read(_)
            | Role::Body(BodyRule::Max)
            | Role::Macros(_) => Ok(quote!()),
        }
    }

    /// Writes a guard (a check that a request must pass) that runs inside the function. If `is_dispatched` is true, the
    /// server calls the function to answer a request. The guard then also sets the status of the refusal.
    pub(crate) fn guard_in_body(
        &self,
        applied: &Applied,
        is_dispatched: bool,
    ) -> Result<TokenStream> {
        let ctx = self.params.require(Part::Ctx, is_dispatched, applied)?;
        let (private, span) = (self.private, hygienic(applied.name.span()));
        let check = self.guard_test(applied, &quote_spanned!(span=> &*#ctx));
        let decline = is_dispatched.then(|| {
            let kind = guard_kind(applied, span);
            quote_spanned!(span=> #private::decline(&mut *#ctx, #private::GuardKind::#kind);)
        });
        Ok(quote_spanned!(span=> if !#check { #decline return #private::skip(); }))
    }

    /// Writes a guard for the list of guards that the server checks before it calls the function.
    pub(crate) fn guard_const(&self, applied: &Applied) -> TokenStream {
        let (private, span) = (self.private, hygienic(applied.name.span()));
        // The parameter of the check has the name that the user's function gives to the context, so the guard's
        // expression can use this name.
        let ctx = self.params.ctx.as_ref().and_then(|ctx| ctx.name()).cloned();
        let ctx = ctx.unwrap_or_else(|| local("ctx", applied.name.span()));
        match applied.row.role {
            Role::Guard(Check::Method(methods)) => {
                return quote_spanned!(span=> #private::Guard::method(&[#(#methods),*]));
            }
            Role::Guard(Check::Methods) => {
                let methods = applied.methods();
                return quote_spanned!(span=> #private::Guard::method(&[#(#methods),*]));
            }
            Role::Guard(Check::Upgrade("websocket")) => {
                return quote_spanned!(span=> #private::Guard::asks_for("websocket", #private::guard_websocket));
            }
            _ => {}
        }
        let check = self.guard_test(applied, &quote_spanned!(span=> #ctx));
        let kind = guard_kind(applied, span);
        quote_spanned!(span=> #private::Guard { kind: #private::GuardKind::#kind, check: |#ctx| #check })
    }

    /// Returns whether a guard must run inside the function: its expression uses `self` or the stream, or awaits.
    pub(crate) fn needs_body(&self, applied: &Applied) -> bool {
        let stream = self
            .params
            .stream
            .as_ref()
            .and_then(|stream| stream.name())
            .map(|name| name.unraw().to_string());
        let words = ["self", "await", stream.as_deref().unwrap_or("self")];
        applied
            .values()
            .iter()
            .any(|value| contains_word(value.to_token_stream(), &words))
    }

    /// Writes an expression that is true if the guard accepts the request.
    fn guard_test(&self, applied: &Applied, ctx: &TokenStream) -> TokenStream {
        let (private, span) = (self.private, hygienic(applied.name.span()));
        let any = |call: &str, accepts: bool| {
            let call = Ident::new(call, span);
            let tests = applied.values().iter().map(|value| {
                let span = hygienic(value.span());
                quote_spanned!(span=> #private::#call(#ctx, #value))
            });
            let tests = quote_spanned!(span=> (#(#tests)||*));
            if accepts {
                tests
            } else {
                quote_spanned!(span=> (!#tests))
            }
        };
        match applied.row.role {
            Role::Guard(Check::Method(methods)) => {
                quote_spanned!(span=> #private::guard_method(#ctx, &[#(#methods),*]))
            }
            Role::Guard(Check::Methods) => {
                let methods = applied.methods();
                quote_spanned!(span=> #private::guard_method(#ctx, &[#(#methods),*]))
            }
            Role::Guard(Check::Upgrade(protocol)) => {
                quote_spanned!(span=> #private::guard_upgrade(#ctx, #protocol))
            }
            Role::Guard(Check::NoUpgrade) => {
                quote_spanned!(span=> #private::guard_no_upgrade(#ctx))
            }
            Role::Guard(Check::Version { is, .. }) => {
                let is = Ident::new(is, span);
                quote_spanned!(span=> #private::guard_version(#ctx, #private::HttpVersion::#is))
            }
            Role::Guard(Check::Host { accepts }) => any("guard_host", accepts),
            Role::Guard(Check::Referer { accepts }) => any("guard_referer", accepts),
            _ => quote!(true),
        }
    }

    /// Writes one `let` per variable. With `require`, an `Err` ends the function, and the program's `request_error`
    /// hooks (functions for refused requests) get the error.
    fn bindings(&self, applied: &Applied, call: &str, require: bool) -> Result<TokenStream> {
        let private = self.private;
        let ctx = self.params.require(Part::Ctx, false, applied)?;
        let code = applied.bindings().iter().map(
            |Binding {
                 key,
                 mutability,
                 name,
                 ty,
             }| {
                let span = hygienic(name.span());
                let call = Ident::new(call, hygienic(applied.name.span()));
                let key = key.as_ref().map(|key| quote_spanned!(span=> , #key));
                let read = quote_spanned!(span=> #private::#call(&*#ctx #key));
                let allow = quote_spanned!(span=> #[allow(unused_variables, unused_mut)]);
                match (require, ty) {
                    (true, _) => {
                        let ty = ty.as_ref().map(|ty| quote_spanned!(span=> : #ty));
                        quote_spanned! {span=>
                            #allow
                            let #mutability #name #ty = #private::need(#read).await;
                        }
                    }
                    (false, Some(ty)) if call.to_string().starts_with("try_") => {
                        quote_spanned! {span=>
                            #allow
                            let #mutability #name: ::core::option::Option<#ty> = #read;
                        }
                    }
                    (false, Some(ty)) => quote_spanned! {span=>
                        #allow
                        let #mutability #name: ::core::result::Result<#ty, _> = #read;
                    },
                    (false, None) => quote_spanned!(span=> #allow let #mutability #name = #read;),
                }
            },
        );
        Ok(code.collect())
    }

    /// Writes the statement `let name = ..` that opens a WebSocket or an event stream and binds its handle.
    fn open_handle(&self, applied: &Applied, handle: Handle) -> Result<TokenStream> {
        let private = self.private;
        let stream = self.params.require(Part::Stream, true, applied)?;
        let ctx = self.params.require(Part::Ctx, true, applied)?;
        let code = applied.bindings().iter().map(
            |Binding {
                 mutability, name, ..
             }| {
                let span = hygienic(name.span());
                let call = Ident::new(handle.call(), hygienic(applied.name.span()));
                quote_spanned! {span=>
                    #[allow(unused_variables, unused_mut)]
                    let #mutability #name = #private::#call(&mut *#stream, &mut *#ctx).await;
                }
            },
        );
        Ok(code.collect())
    }

    fn set_header(&self, applied: &Applied) -> Result<TokenStream> {
        let ctx = self.params.require(Part::Ctx, true, applied)?;
        let Args::Header {
            key,
            value,
            replaces,
        } = &applied.args
        else {
            return Ok(quote!());
        };
        let span = hygienic(applied.name.span());
        let method = Ident::new(
            if *replaces {
                "set_header"
            } else {
                "add_header"
            },
            span,
        );
        let (private, detaches) = (self.private, self.detaches);
        let detached = |value: &Expr| match value {
            Expr::Lit(_) => value.to_token_stream(),
            _ if detaches => quote_spanned!(span=> #private::text(#value)),
            _ => value.to_token_stream(),
        };
        if !detaches && !may_use_context(key, ctx) && !may_use_context(value, ctx) {
            return Ok(
                quote_spanned!(span=> let _ = #ctx.get_mut_response().#method(#key, #value);),
            );
        }
        let (first, second) = (local("key", key.span()), local("value", value.span()));
        let (key, value) = (detached(key), detached(value));
        // The expressions of the key and the value may read the context. They are evaluated before the code borrows the
        // context mutably.
        Ok(quote_spanned! {span=>
            match (#key, #value) {
                (#first, #second) => { let _ = #ctx.get_mut_response().#method(#first, #second); }
            }
        })
    }

    fn call_setter(&self, applied: &Applied, method: &str) -> Result<TokenStream> {
        let ctx = self.params.require(Part::Ctx, true, applied)?;
        let (private, span) = (self.private, hygienic(applied.name.span()));
        let copy = match method {
            "set_body" => Some("body"),
            "set_reason_phrase" => Some("text"),
            _ => None,
        };
        let method = Ident::new(method, span);
        Ok(match applied.values().first() {
            Some(value) if self.detaches && copy.is_some() && !matches!(value, Expr::Lit(_)) => {
                let (copy, copied) = (
                    Ident::new(copy.unwrap_or_default(), span),
                    local("value", value.span()),
                );
                quote_spanned! {span=>
                    match #private::#copy(#value) {
                        #copied => { let _ = #ctx.get_mut_response().#method(#copied); }
                    }
                }
            }
            Some(value) if !may_use_context(value, ctx) => {
                quote_spanned!(span=> let _ = #ctx.get_mut_response().#method(#value);)
            }
            Some(value) => evaluate_first(
                value,
                |value| quote_spanned!(span=> let _ = #ctx.get_mut_response().#method(#value);),
            ),
            None => quote_spanned!(span=> let _ = #ctx.get_mut_response().#method();),
        })
    }

    fn send(&self, applied: &Applied, bare: &str, bytes: &str) -> Result<TokenStream> {
        let (private, span) = (self.private, hygienic(applied.name.span()));
        let stream = self.params.require(Part::Stream, true, applied)?;
        Ok(match applied.values().first() {
            Some(value) => {
                let call = Ident::new(bytes, span);
                evaluate_first(
                    value,
                    |value| quote_spanned!(span=> let _ = #private::#call(&mut *#stream, #value).await;),
                )
            }
            None => {
                let ctx = self.params.require(Part::Ctx, true, applied)?;
                let call = Ident::new(bare, span);
                quote_spanned!(span=> let _ = #private::#call(&mut *#stream, &mut *#ctx).await;)
            }
        })
    }
}

/// Writes the `GuardKind` of a guard.
fn guard_kind(applied: &Applied, span: Span) -> TokenStream {
    match applied.row.role {
        Role::Guard(Check::Method(methods)) => quote_spanned!(span=> Method(&[#(#methods),*])),
        Role::Guard(Check::Methods) => {
            let methods = applied.methods();
            quote_spanned!(span=> Method(&[#(#methods),*]))
        }
        Role::Guard(Check::Upgrade(protocol)) => quote_spanned!(span=> Upgrade(#protocol)),
        Role::Guard(Check::NoUpgrade) => quote_spanned!(span=> NoUpgrade),
        Role::Guard(Check::Referer { .. }) => quote_spanned!(span=> Referer),
        Role::Guard(Check::Version { .. }) => quote_spanned!(span=> Version),
        _ => quote_spanned!(span=> Host),
    }
}

/// Writes a condition. If the condition fails, the code runs `decline`.
fn condition(applied: &Applied, runs_when: bool, decline: &TokenStream) -> TokenStream {
    let code = applied.values().iter().map(|value| {
        let span = hygienic(value.span());
        // The code is not `if !value`: for a value of a wrong type, the compiler reports `expected bool` in `if value`,
        // and its error for `!value` is less clear.
        if runs_when {
            quote_spanned!(span=> if (#value) {} else { #decline })
        } else {
            quote_spanned!(span=> if (#value) { #decline })
        }
    });
    code.collect()
}

/// Returns whether an expression awaits or may read the context. Searches the text of the expression, because a format
/// string may contain the name of the context too.
fn may_use_context(value: &Expr, ctx: &Ident) -> bool {
    let text = value.to_token_stream().to_string();
    text.contains(&ctx.unraw().to_string()) || text.contains("await")
}

/// Writes a `match` that evaluates `value` and then runs `code` with the result. `code` borrows nothing before `value`
/// is evaluated. The `match` keeps temporaries of `value` alive until `code` has run.
fn evaluate_first(value: &Expr, code: impl FnOnce(&Ident) -> TokenStream) -> TokenStream {
    let name = local("value", value.span());
    let code = code(&name);
    let span = hygienic(value.span());
    // The parentheses allow `value` to be a struct literal.
    quote_spanned!(span=> match (#value) { #name => { #code } })
}
