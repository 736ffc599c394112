//! Refuses macros that do not work on their function. Also refuses route functions with a signature that the server
//! cannot call.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Error, Item, ItemFn, Path, ReturnType, Type};

use super::{Function, Returns};
use crate::model::{Applied, Register, Role};
use crate::register;
use crate::tokens::contains_word;

impl Function<'_> {
    pub(super) fn validate(&self, errors: &mut Vec<Error>) {
        self.validate_async(errors);
        self.conflicts(errors);
        self.unknown_params(errors);
        self.validate_registrations(errors);
        if self.is_route() {
            self.validate_route_signature(errors);
        }
        self.validate_constructor(errors);
        self.validate_limits(errors);
        if let (Some(read), Returns::Other { .. }, false) =
            (&self.phases.read, &self.returns, self.is_route())
        {
            errors.push(read.error(format!(
                "`#[{}]` repeats the body, so the function must return `Status` or nothing",
                read.name
            )));
        }
    }

    /// Refuses a function that is not `async` if it has a macro other than `hyperlane` and `import`.
    fn validate_async(&self, errors: &mut Vec<Error>) {
        let signature = &self.item.sig;
        let phases = &self.phases;
        let all = [
            &phases.registers,
            &phases.guards,
            &phases.extractors,
            &phases.limits,
            &phases.conditions,
            &phases.setup,
        ];
        let first = all
            .into_iter()
            .flatten()
            .chain(phases.epilogue.iter().map(|late| &late.applied))
            .chain(&phases.read)
            .chain(&phases.open)
            .chain(&phases.close)
            .next();
        if let (None, Some(applied)) = (signature.asyncness, first) {
            let message = format!("`#[{}]` needs an `async fn`; add `async`", applied.name);
            errors.push(Error::new(signature.fn_token.span, message));
        }
    }

    /// Refuses every attribute that registers the function with the server, except a route attribute on a free function
    /// without type and const parameters.
    fn validate_registrations(&self, errors: &mut Vec<Error>) {
        let signature = &self.item.sig;
        if self.phases.registers.is_empty() {
            errors.extend(self.phases.wraps.iter().map(|applied| {
                applied.error(
                    "`#[with]` wraps a route; add a route attribute such as `#[get(\"/path\")]`",
                )
            }));
        }
        for applied in &self.phases.registers {
            if let Some(receiver) = signature.receiver() {
                errors.push(Error::new_spanned(receiver, not_in_impl(applied)));
            } else if let Some(span) = find_self_type(&self.item) {
                errors.push(Error::new(span, not_in_impl(applied)));
            } else if !matches!(applied.row.role, Role::Register(Register::Route(_))) {
                errors.push(applied.error(format!(
                    "`#[{}]` cannot stand on a function; put it on a struct that implements `ServerHook`",
                    applied.name
                )));
            } else if signature.generics.type_params().next().is_some()
                || signature.generics.const_params().next().is_some()
            {
                errors.push(register::generic_item(applied, &signature.generics));
            }
        }
    }

    /// Refuses arguments of a route function that the server cannot construct, and a return value that borrows.
    fn validate_route_signature(&self, errors: &mut Vec<Error>) {
        let unclear = self.params.unclear();
        // An unclear parameter could be the stream or the context, or is a second stream or context. `others` contains
        // this parameter too, so the loop could report it a second time. The loop is therefore empty if there is an
        // unclear parameter.
        let others = self.params.others.iter().filter(|_| unclear.is_none());
        for other in others {
            let message = if contains_word(other.ty.to_token_stream(), &["impl"]) {
                "an argument of a route function needs a type with a name, as in `Path<u32>`"
            } else if matches!(other.ty.as_ref(), Type::Reference(_)) {
                "an argument of a route function must own its value, as `String` does; only the stream and the context are borrowed"
            } else {
                continue;
            };
            errors.push(Error::new_spanned(&other.ty, message));
        }
        errors.extend(unclear);
        if let ReturnType::Type(_, ty) = &self.item.sig.output
            && let Some(borrow) = first_borrow(ty.to_token_stream())
        {
            let message =
                "a route cannot return a borrowed value; return `String` or `&'static str`";
            errors.push(Error::new(borrow, message));
        }
    }

    /// Refuses guards and conditions on `new`. They could skip the body, but `new` must return a value.
    fn validate_constructor(&self, errors: &mut Vec<Error>) {
        let makes_value = self.item.sig.ident == "new"
            && matches!(self.returns, Returns::Other { .. })
            && !self.is_route();
        if !makes_value {
            return;
        }
        for applied in self.phases.guards.iter().chain(&self.phases.conditions) {
            errors.push(applied.error(format!(
                "`#[{}]` can decline, but `new` must make a value; move it to `handle`",
                applied.name
            )));
        }
    }

    /// Refuses a second `max_body`, and a `max_body` on a function that is neither `handle` nor a route.
    fn validate_limits(&self, errors: &mut Vec<Error>) {
        let limits = &self.phases.limits;
        if let (Some(first), Some(second)) = (limits.first(), limits.get(1)) {
            errors.push(second.error(format!(
                "`#[{}]` stands here already; remove one of the two",
                first.name
            )));
        }
        if let (Some(limit), false) = (limits.first(), self.is_dispatched()) {
            errors.push(limit.error(format!(
                "`#[{}]` has no effect here; move it to `handle` or to a route function",
                limit.name
            )));
        }
    }
}

fn not_in_impl(applied: &Applied) -> String {
    format!(
        "`#[{}]` cannot stand inside an `impl`; move it to a free function, or to a struct that implements `ServerHook`",
        applied.name
    )
}

/// Returns the span of the first `Self` in the function. A `Self` shows that the function is inside an `impl` or a
/// `trait`. The search skips the items inside the function, because they may have a `Self` of their own.
fn find_self_type(item: &ItemFn) -> Option<Span> {
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

/// Returns the span of the first reference whose lifetime is not `'static`.
pub(super) fn first_borrow(tokens: TokenStream) -> Option<Span> {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                if let Some(span) = first_borrow(group.stream()) {
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
