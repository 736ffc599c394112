//! Expands all macros on a function at once: guards, reads, extractors, conditions, setters, the body, epilogues.

mod body;
mod conflicts;
mod param_names;
mod route;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    AttrStyle, Error, Item, ItemFn, Path, ReceiverKind, Result, ReturnType, Stmt, Type,
    parse_quote_spanned,
};

use crate::emit::Emitter;
use crate::model::{Applied, Args, BodyRule, Handle, Register, Role, values};
use crate::params::{self, Params, last_segment};
use crate::phases::Phases;
use crate::tokens::{at, mentions};
use crate::{register, table};

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
        .all(|applied| matches!(applied.row.role, Role::Declare | Role::Import));
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
        self.imply_guard();
        let (in_constant, in_body) = self.split_guards();
        // The value of a route is turned into the response before the epilogues, so they move into one function.
        let converts = self.is_route()
            && matches!(self.returns, Returns::Other { .. })
            && self.needs_conversion(&in_body);
        if self.is_route() {
            self.add_missing_params(!in_body.is_empty());
        }
        let constants = self.constant_guards(&in_constant);
        let cfgs: Vec<_> = self
            .item
            .attrs
            .iter()
            .filter(|attr| attr.path().is_ident("cfg"))
            .collect();
        let body_rules = self.is_handler.then(|| self.body_constants(&cfgs));
        let params = self.param_constant(&cfgs);
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
        let (vis, sig) = (&self.item.vis, &self.item.sig);
        // syn keeps `#![…]` at the top of the body with the others.
        let (outer, inner): (Vec<_>, Vec<_>) = self
            .item
            .attrs
            .iter()
            .partition(|attr| matches!(attr.style, AttrStyle::Outer));
        let default = &self.item.modifiers.defaultness;
        let sibling = (self.is_handler && !constants.is_empty()).then(|| {
            let (private, span) = (self.private, at(sig.ident.span()));
            let cfgs = outer.iter().filter(|attr| attr.path().is_ident("cfg"));
            quote_spanned! {span=>
                #(#cfgs)*
                #[doc(hidden)]
                const GUARDS: &'static [#private::Guard] = &[#(#constants),*];
            }
        });
        Ok(quote! {
            #sibling
            #body_rules
            #params
            #(#outer)*
            #vis #default #sig { #(#inner)* #code }
            #registrations
        })
    }

    /// Whether the function may be what dispatch has chosen to answer.
    fn answers(&self) -> bool {
        self.is_handler || self.is_route()
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
            &phases.limits,
            &phases.conditions,
            &phases.setup,
            &phases.epilogue,
        ];
        let first = all
            .into_iter()
            .flatten()
            .chain(&phases.read)
            .chain(&phases.open)
            .chain(&phases.close)
            .next();
        if let (None, Some(applied)) = (signature.asyncness, first) {
            let message = format!("`#[{}]` needs an `async fn`; add `async`", applied.name);
            errors.push(Error::new(signature.fn_token.span, message));
        }
        self.conflicts(errors);
        self.unknown_params(errors);
        for applied in &phases.registers {
            if let Some(receiver) = signature.receiver() {
                errors.push(Error::new_spanned(receiver, not_in_impl(applied)));
            } else if let Some(span) = own_self(&self.item) {
                errors.push(Error::new(span, not_in_impl(applied)));
            } else if !matches!(applied.row.role, Role::Register(Register::Route(_))) {
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
            let unclear = self.params.unclear();
            // What could not be told apart is among the others.
            let others = self.params.others.iter().filter(|_| unclear.is_none());
            for other in others {
                let message = if mentions(other.ty.to_token_stream(), &["impl"]) {
                    "an argument of a route function needs a type with a name, as in `Path<u32>`"
                } else if matches!(other.ty.as_ref(), Type::Reference(_)) {
                    "an argument of a route function owns its value, as `String` does; only the stream and the context are lent"
                } else {
                    continue;
                };
                errors.push(Error::new_spanned(&other.ty, message));
            }
            errors.extend(unclear);
            if let ReturnType::Type(_, ty) = &signature.output
                && let Some(lent) = lent(ty.to_token_stream())
            {
                let message =
                    "a route owns what it answers with: return `String`, or a `&'static str`";
                errors.push(Error::new(lent, message));
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
        if let (Some(first), Some(second)) = (phases.limits.first(), phases.limits.get(1)) {
            errors.push(second.error(format!("`#[{}]` stands here already", first.name)));
        }
        if let (Some(limit), false) = (phases.limits.first(), self.is_handler || self.is_route()) {
            errors.push(limit.error(format!(
                "`#[{}]` stands on `handle` or on a route function, where dispatch sees it",
                limit.name
            )));
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

    /// How the route takes the body of its requests: the macro that makes it a stream, and its limit.
    fn body_rules(&self) -> (Option<&Applied>, Option<&Applied>) {
        let stream = self
            .phases
            .extractors
            .iter()
            .find(|applied| applied.row.role == Role::Body(BodyRule::Stream));
        (stream, self.phases.limits.first())
    }

    /// Writes the associated constants that dispatch reads before the hook runs.
    fn body_constants(&self, cfgs: &[&syn::Attribute]) -> TokenStream {
        let private = self.private;
        let (stream, max) = self.body_rules();
        let stream = stream.map(|applied| {
            let span = at(applied.name.span());
            quote_spanned! {span=>
                #(#cfgs)*
                const BODY: #private::BodyMode = #private::BodyMode::Stream;
            }
        });
        let max = max.map(|applied| {
            let (span, limit) = (at(applied.name.span()), values(applied).first());
            quote_spanned! {span=>
                #(#cfgs)*
                const MAX_BODY: ::core::option::Option<usize> = ::core::option::Option::Some(#limit);
            }
        });
        let websocket = self.phases.speaks_websocket().map(|applied| {
            let span = at(applied.name.span());
            quote_spanned! {span=>
                #(#cfgs)*
                #[doc(hidden)]
                const WEBSOCKET: bool = true;
            }
        });
        quote!(#stream #max #websocket)
    }

    /// Has dispatch decline what `websocket` could only refuse, so that a page may stand at the same path.
    fn imply_guard(&mut self) {
        let phases = &mut self.phases;
        if !phases.opens_a(Handle::WebSocket) || phases.asks_for_websocket().is_some() {
            return;
        }
        let guard = phases.opens().zip(table::find("is_ws_upgrade_type"));
        let guard = guard.filter(|_| self.is_handler || !phases.registers.is_empty());
        if let Some((applied, row)) = guard {
            let guard = Applied {
                row,
                name: applied.name.clone(),
                args: Args::Nothing,
            };
            phases.guards.push(guard);
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

fn not_in_impl(applied: &Applied) -> String {
    format!(
        "`#[{}]` stands on a free function or on a struct that implements `ServerHook`, not inside an `impl`: move it out",
        applied.name
    )
}

/// Returns the place of a `Self` that is the type of an `impl` around the function; items inside have theirs.
fn own_self(item: &ItemFn) -> Option<Span> {
    struct Search(Option<Span>);

    impl<'ast> Visit<'ast> for Search {
        fn visit_path(&mut self, path: &'ast Path) {
            let first = path.segments.first().map(|segment| &segment.ident);
            if let Some(first) = first.filter(|first| *first == "Self") {
                self.0.get_or_insert(first.span());
            }
            visit::visit_path(self, path);
        }

        fn visit_item(&mut self, _: &'ast Item) {}
    }

    let mut search = Search(None);
    search.visit_signature(&item.sig);
    search.visit_block(&item.block);
    search.0
}

/// Returns the place of the first reference that need not live as long as the program.
fn lent(tokens: TokenStream) -> Option<Span> {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                if let Some(span) = lent(group.stream()) {
                    return Some(span);
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let tick = tokens.next_if(
                    |token| matches!(token, TokenTree::Punct(tick) if tick.as_char() == '\''),
                );
                let name = tick.and_then(|_| tokens.next());
                let is_static = matches!(&name, Some(TokenTree::Ident(name)) if name == "static");
                if !is_static {
                    return Some(punct.span());
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether macros were expanded on this function before.
fn is_marked(item: &ItemFn) -> bool {
    let Some(Stmt::Item(Item::Const(mark))) = item.block.stmts.first() else {
        return false;
    };
    matches!(mark.expr.as_ref(), syn::Expr::Lit(literal) if matches!(&literal.lit, syn::Lit::Str(text) if text.value() == MARK))
}
