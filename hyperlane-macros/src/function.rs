//! Expands all macros on a function at once. The new code has the guards, reads, extractors, conditions and setters,
//! then the user's body, then the macros that run after it.

mod body;
mod conflicts;
mod epilogue;
pub(crate) mod middleware;
mod param_names;
mod read_loop;
mod route;
mod validate;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    AttrStyle, Attribute, Error, Item, ItemFn, ReceiverKind, Result, ReturnType, Stmt, Type,
    parse_quote_spanned,
};

use crate::emit::Emitter;
use crate::model::{Applied, Args, BodyRule, Handle, Role};
use crate::params::{Params, last_segment};
use crate::phases::Phases;
use crate::table;
use crate::tokens::{contains_word, hygienic};

/// Marks the body of an expanded function. A macro that the compiler expands later finds the mark and reports an error.
const EXPANDED_MARK: &str = "hyperlane: expanded";

/// Expands the macros `applied` on the function `item`. Adds errors to `errors`. After an error, the returned code is
/// incomplete.
pub(crate) fn expand(
    private: &TokenStream,
    mut item: ItemFn,
    applied: Vec<Applied>,
    errors: &mut Vec<Error>,
) -> TokenStream {
    let unmarked = applied
        .iter()
        .all(|applied| matches!(applied.row.role, Role::Declare | Role::Import));
    if let (false, true, Some(late)) = (unmarked, is_marked(&item), applied.first()) {
        errors.push(late.error(format!(
            "`#[{}]` was expanded after the attributes above it; import it under its own name, or put its `cfg_attr` first",
            late.name
        )));
        return TokenStream::new();
    }
    if applied.iter().any(middleware::is_middleware) {
        return middleware::expand(private, &item, &applied, errors);
    }
    let phases = Phases::sort(applied, errors);
    let params = Params::find(&mut item.sig);
    // The user's body becomes a block inside the body of the function. If both had the span of the user's braces, a
    // lint would report redundant braces.
    item.block.brace_token = syn::token::Brace(hygienic(item.block.brace_token.span.join()));
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

/// The return type of a function, as its tokens show it.
enum Returns {
    Unit,
    Status(Box<Type>),
    /// Any other type. `named` is the type if a variable can be declared with it.
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
                // `ServerHook::handle` must return `Status`, so a type with another name can only be an alias of
                // `Status`.
                _ if is_handler(item) => Self::Status(ty.clone()),
                // A variable cannot be declared with the type `impl Trait` or `!`.
                _ if contains_word(ty.to_token_stream(), &["impl", "!"]) => {
                    Self::Other { named: None }
                }
                _ => Self::Other {
                    named: Some(ty.clone()),
                },
            },
        }
    }

    /// Returns the type for the declaration of a variable. Returns `None` if no variable can be declared with the type.
    fn declared_type(&self) -> Option<TokenStream> {
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
        self.add_websocket_guard();
        let (in_constant, in_body) = self.split_guards();
        // A route may return a value that becomes the response. If macros run after the body, they work on the
        // response. The function must then convert its value before they run. `needs_conversion` lists all such cases.
        let converts = self.is_route()
            && matches!(self.returns, Returns::Other { .. })
            && self.needs_conversion(&in_body);
        if self.is_route() {
            self.add_missing_params(!in_body.is_empty());
        }
        let guards = self.constant_guards(&in_constant);
        let constants = self.hook_constants(&guards);
        let code = match self.body(&in_body, converts, errors) {
            Ok(body) => body,
            Err(error) => {
                errors.push(error);
                return Ok(TokenStream::new());
            }
        };
        if converts {
            let (private, span) = (self.private, hygienic(self.item.sig.output.span()));
            self.item.sig.output = parse_quote_spanned!(span=> -> #private::Status);
        }
        let registrations = self.registrations(&guards, converts);
        let (vis, sig) = (&self.item.vis, &self.item.sig);
        // syn stores the inner attributes (`#![…]`) of the body in the attributes of the item.
        let (outer, inner): (Vec<_>, Vec<_>) = self
            .item
            .attrs
            .iter()
            .partition(|attr| matches!(attr.style, AttrStyle::Outer));
        let default = &self.item.modifiers.defaultness;
        Ok(quote! {
            #constants
            #(#outer)*
            #vis #default #sig { #(#inner)* #code }
            #registrations
        })
    }

    /// Writes the associated constants next to `handle` or `new`. The server and the registration read the constants.
    fn hook_constants(&self, guards: &[TokenStream]) -> TokenStream {
        let cfgs: Vec<_> = self
            .item
            .attrs
            .iter()
            .filter(|attr| attr.path().is_ident("cfg"))
            .collect();
        let guards = (self.is_handler && !guards.is_empty()).then(|| {
            let (private, span) = (self.private, hygienic(self.item.sig.ident.span()));
            quote_spanned! {span=>
                #(#cfgs)*
                #[doc(hidden)]
                const GUARDS: &'static [#private::Guard] = &[#(#guards),*];
            }
        });
        let body_rules = self.is_handler.then(|| self.body_constants(&cfgs));
        let params = self.param_constant(&cfgs);
        quote!(#guards #body_rules #params)
    }

    /// Returns whether the server calls the function to answer a request.
    fn is_dispatched(&self) -> bool {
        self.is_handler || self.is_route()
    }

    fn is_route(&self) -> bool {
        !self.phases.registers.is_empty()
    }

    /// Returns whether a route function must convert its value to the response itself. This is the case if generated
    /// code runs around the body, or if the value may borrow from the context.
    fn needs_conversion(&self, in_body: &[usize]) -> bool {
        self.phases.has_code_around_body()
            || !in_body.is_empty()
            || self.phases.early_upgrade().is_some()
            || matches!(self.returns, Returns::Other { named: None })
    }

    /// Returns the macro `body_stream` and the macro `max_body` if the function has them.
    fn body_rules(&self) -> (Option<&Applied>, Option<&Applied>) {
        let stream = self
            .phases
            .extractors
            .iter()
            .find(|applied| applied.row.role == Role::Body(BodyRule::Stream));
        (stream, self.phases.limits.first())
    }

    /// Writes the constants about the request body, and the constant that marks a WebSocket.
    fn body_constants(&self, cfgs: &[&Attribute]) -> TokenStream {
        let private = self.private;
        let (stream, max) = self.body_rules();
        let stream = stream.map(|applied| {
            let span = hygienic(applied.name.span());
            quote_spanned! {span=>
                #(#cfgs)*
                const BODY: #private::BodyMode = #private::BodyMode::Stream;
            }
        });
        let max = max.map(|applied| {
            let (span, limit) = (hygienic(applied.name.span()), applied.values().first());
            quote_spanned! {span=>
                #(#cfgs)*
                const MAX_BODY: ::core::option::Option<usize> = ::core::option::Option::Some(#limit);
            }
        });
        let websocket = self.phases.websocket_macro().map(|applied| {
            let span = hygienic(applied.name.span());
            quote_spanned! {span=>
                #(#cfgs)*
                #[doc(hidden)]
                const WEBSOCKET: bool = true;
            }
        });
        quote!(#stream #max #websocket)
    }

    /// Adds the guard `is_ws_upgrade_type` to a function with the macro `websocket`. The guard declines requests that
    /// do not ask for a WebSocket. Another handler may therefore serve a page at the same path.
    fn add_websocket_guard(&mut self) {
        let phases = &mut self.phases;
        if !phases.opens(Handle::WebSocket) || phases.websocket_guard().is_some() {
            return;
        }
        let guard = phases.opener().zip(table::find("is_ws_upgrade_type"));
        let guard = guard.filter(|_| self.is_handler || !phases.registers.is_empty());
        if let Some((applied, row)) = guard {
            let guard = Applied {
                row,
                name: applied.name.clone(),
                args: Args::Nothing,
                scope: None,
            };
            phases.guards.push(guard);
        }
    }

    /// Returns the indices of two groups of guards. The server checks the first group before it calls the function. The
    /// second group runs inside the function.
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
            detaches: false,
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
}

/// Appends the code of a step to `code`, or its error to `errors`.
fn push_or_report(code: &mut TokenStream, errors: &mut Vec<Error>, step: Result<TokenStream>) {
    match step {
        Ok(step) => code.extend(step),
        // If two macros lack the same parameter, the error is reported once.
        Err(error) if errors.iter().any(|other| same_message(other, &error)) => {}
        Err(error) => errors.push(error),
    }
}

fn same_message(left: &Error, right: &Error) -> bool {
    left.to_string() == right.to_string()
}

/// Returns whether the tokens of the function look like `ServerHook::handle`.
fn is_handler(item: &ItemFn) -> bool {
    let by_value = item
        .sig
        .receiver()
        .is_some_and(|receiver| matches!(receiver.kind, ReceiverKind::Value));
    by_value && item.sig.ident == "handle" && item.sig.inputs.len() == 3
}

/// Returns whether the function contains the mark of an earlier expansion.
fn is_marked(item: &ItemFn) -> bool {
    let Some(Stmt::Item(Item::Const(mark))) = item.block.stmts.first() else {
        return false;
    };
    matches!(mark.expr.as_ref(), syn::Expr::Lit(literal) if matches!(&literal.lit, syn::Lit::Str(text) if text.value() == EXPANDED_MARK))
}
