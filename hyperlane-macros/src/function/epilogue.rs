//! Writes the code of the macros that run after the body.
//!
//! Most of this code stands after the body. An entry may also name a variable that a `let` of the body's outermost block
//! binds. The code of all entries then stands inside this block, after its tail. If the body can be left early, a flag
//! records that its end was reached. Without the end, only the entries that name no variable of the body run.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Error, Expr, ExprAsync, ExprClosure, Lifetime, Local, Stmt};

use super::{Function, push_or_report};
use crate::emit::Emitter;
use crate::model::{Applied, Role};
use crate::phases::Late;
use crate::tokens::{contains_word, hygienic, local};
use crate::variables;

/// The code of the macros that run after the body.
#[derive(Default)]
pub(super) struct Epilogue {
    /// Code for the end of the body's outermost block. `None` if no entry names a variable of the body.
    inside: Option<TokenStream>,
    /// Code for a body that was left early. It runs instead of `inside`.
    missed: TokenStream,
    /// Code after the body and after the conversion of its value.
    after: TokenStream,
    /// True if a guard in `inside` or `missed` can end a list whose last entries are in `after`.
    may_end: bool,
}

impl Epilogue {
    pub(super) fn is_empty(&self) -> bool {
        self.inside.is_none() && self.after.is_empty()
    }

    /// Writes the flags that the other code sets.
    pub(super) fn flags(&self, span: Span) -> TokenStream {
        let (early, ended) = (local("early", span), local("ended", span));
        let allow = quote_spanned!(span=> #[allow(unused_mut, unused_assignments)]);
        let early = (!self.missed.is_empty()).then(|| quote!(#allow let mut #early = true;));
        let ended = self.may_end.then(|| quote!(#allow let mut #ended = false;));
        quote!(#early #ended)
    }

    /// Writes the code that runs after the body and after the conversion of its value.
    pub(super) fn after(&self, span: Span) -> TokenStream {
        let (early, missed, after) = (local("early", span), &self.missed, &self.after);
        let missed = (!missed.is_empty()).then(|| quote_spanned!(span=> if #early { #missed }));
        quote!(#missed #after)
    }
}

impl Function<'_> {
    /// Writes the code of the macros that run after the body. `left_early` says whether the body can be left before its
    /// end.
    pub(super) fn epilogue(
        &self,
        converts: bool,
        left_early: bool,
        errors: &mut Vec<Error>,
    ) -> Epilogue {
        let entries: Vec<&Late> = self.phases.epilogue.iter().collect();
        let block = &self.item.block;
        let users = variables::users(&variables::bound(block), &entries);
        if users.iter().all(Option::is_none) {
            return Epilogue {
                after: self.lists(&self.emitter(), &entries, None, errors),
                ..Epilogue::default()
            };
        }
        // A returned value becomes the response before the response is sent.
        let sends = |late: &&Late| sends_response(&late.applied);
        let split = entries.iter().position(sends).filter(|_| converts);
        let split = split.unwrap_or(entries.len());
        let (first, rest) = entries.split_at_checked(split).unwrap_or((&entries, &[]));
        for (late, name) in rest.iter().zip(users.iter().skip(split)) {
            if let (Some(name), Some(send)) = (name, rest.first()) {
                errors.push(late.applied.error(format!(
                    "`{name}` is a variable of the body, and the body has ended when `{}` sends the returned value; move `{}` before `{}`",
                    send.applied.name, late.applied.name, send.applied.name
                )));
            }
        }
        let is_check = |late: &&&Late| is_check(&late.applied);
        let straddles = first.last().zip(rest.first());
        let straddles = straddles
            .filter(|(before, after)| before.list == after.list)
            .map(|(before, _)| before.list)
            .filter(|list| first.iter().filter(is_check).any(|late| late.list == *list));
        let outer = self.outer_names();
        let params = self.params.renamed(&outer.hidden());
        let emitter = Emitter {
            private: self.private,
            params: &params,
            detaches: true,
        };
        let inside = self.lists(&emitter, first, straddles, errors);
        let missed = match left_early {
            true => {
                let others = first.iter().zip(&users);
                let others: Vec<&Late> = others
                    .filter(|(_, name)| name.is_none())
                    .map(|(late, _)| *late)
                    .collect();
                self.lists(&self.emitter(), &others, straddles, errors)
            }
            false => TokenStream::new(),
        };
        Epilogue {
            inside: Some(quote!(#inside)),
            missed,
            after: self.lists(&self.emitter(), rest, straddles, errors),
            may_end: straddles.is_some(),
        }
    }

    /// Writes the code of some entries, in order. A guard or condition that refuses ends its list. If the list is
    /// `straddles`, the guard also sets a flag, because other code contains the end of the list.
    fn lists(
        &self,
        emitter: &Emitter<'_>,
        entries: &[&Late],
        straddles: Option<usize>,
        errors: &mut Vec<Error>,
    ) -> TokenStream {
        let mut code = TokenStream::new();
        for list in entries.chunk_by(|first, second| first.list == second.list) {
            let span = hygienic(
                list.first()
                    .map_or_else(Span::call_site, |late| late.applied.name.span()),
            );
            let label = Lifetime::new("'__hl_list", span);
            let flag = list
                .first()
                .filter(|late| Some(late.list) == straddles)
                .map(|_| local("ended", span));
            let checks = list.iter().any(|late| is_check(&late.applied));
            let mut steps = TokenStream::new();
            for late in list {
                let span = hygienic(late.applied.name.span());
                let end = flag
                    .as_ref()
                    .map(|flag| quote_spanned!(span=> #flag = true;));
                let decline = quote_spanned!(span=> { #end break #label; });
                push_or_report(&mut steps, errors, emitter.step(&late.applied, &decline));
            }
            if checks {
                steps = quote_spanned!(span=> let () = #label: { #steps };);
            }
            if let (Some(flag), true) =
                (&flag, list.iter().any(|late| sends_response(&late.applied)))
            {
                steps = quote_spanned!(span=> if !#flag { #steps });
            }
            code.extend(steps);
        }
        code
    }

    /// Writes the user's body as a block with the code of the epilogue that belongs inside the block. `ty` is the type of
    /// the block's value if a variable can be declared with the type.
    pub(super) fn user_block(&self, epilogue: &Epilogue, ty: Option<&TokenStream>) -> TokenStream {
        let Some(inside) = &epilogue.inside else {
            return self.reborrowed(&self.item.block.to_token_stream(), &Outer::default());
        };
        let span = hygienic(self.item.sig.ident.span());
        let (early, tail) = (local("early", span), local("tail", span));
        let reached = (!epilogue.missed.is_empty()).then(|| quote_spanned!(span=> #early = false;));
        let outer = self.outer_names();
        let again = outer.moved.iter().map(|(name, alias)| {
            let span = hygienic(name.span());
            quote_spanned!(span=> #[allow(unused_variables)] let #name = &mut *#alias;)
        });
        let (statements, value) = split_tail(&self.item.block.stmts);
        let allow_unreachable = self.allow_unreachable();
        let ty = ty.map(|ty| quote!(: #ty));
        let (bind, end) = match value {
            Some(value) => (Some(quote!(let #tail #ty = #value;)), quote!(#tail)),
            None => (None, allow_unreachable.clone()),
        };
        let code = quote! {{
            #(#statements)*
            #bind
            #allow_unreachable
            #reached
            #(#again)*
            #inside
            #end
        }};
        self.reborrowed(&code, &outer)
    }

    /// Wraps the user's body into a block that reborrows the stream and the context, because code after the body uses
    /// them again. If the body moves the variable, it moves only the reborrow.
    fn reborrowed(&self, code: &TokenStream, outer: &Outer) -> TokenStream {
        let body = self.item.block.to_token_stream();
        let names = self.params.mutable_names();
        let borrows = names
            .filter(|name| contains_word(body.clone(), &[&name.unraw().to_string()]))
            .map(|name| {
                let span = hygienic(name.span());
                let alias = outer.alias(name);
                let source = alias.unwrap_or(name);
                let alias = alias.map(|alias| quote_spanned!(span=> let #alias = &mut *#name;));
                quote_spanned!(span=> #alias #[allow(unused_variables)] let #name = &mut *#source;)
            });
        quote!({ #(#borrows)* #code })
    }

    /// Finds the variables of the stream and the context that the body hides or moves.
    fn outer_names(&self) -> Outer {
        let block = &self.item.block;
        let bound = variables::bound(block);
        let mut outer = Outer::default();
        for name in self.params.mutable_names() {
            let text = name.unraw().to_string();
            let alias = local(&format!("outer_{text}"), name.span());
            let mut moves = Moves { name, found: false };
            moves.visit_block(block);
            if bound.contains(&text) {
                outer.hidden.push((name.clone(), alias));
            } else if moves.found {
                outer.moved.push((name.clone(), alias));
            }
        }
        outer
    }
}

/// The variables of the stream and the context that the body makes unusable, each with a variable of the expansion that
/// has the same value.
#[derive(Default)]
struct Outer {
    /// Variables that a `let` of the body hides.
    hidden: Vec<(Ident, Ident)>,
    /// Variables that the body may move.
    moved: Vec<(Ident, Ident)>,
}

impl Outer {
    fn alias(&self, name: &Ident) -> Option<&Ident> {
        let mut all = self.hidden.iter().chain(&self.moved);
        all.find(|(outer, _)| outer == name).map(|(_, alias)| alias)
    }

    fn hidden(&self) -> impl Fn(&Ident) -> Option<Ident> {
        |name| {
            let found = self.hidden.iter().find(|(outer, _)| outer == name);
            found.map(|(_, alias)| alias.clone())
        }
    }
}

/// Finds out whether a body moves a reference: `let mine = ctx;`, or a closure or async block with `move`.
struct Moves<'a> {
    name: &'a Ident,
    found: bool,
}

impl<'ast> Visit<'ast> for Moves<'_> {
    fn visit_local(&mut self, node: &'ast Local) {
        let value = node.init.as_ref().map(|init| init.expr.as_ref());
        self.found |= matches!(value, Some(Expr::Path(path)) if path.path.is_ident(self.name))
            && !matches!(node.pat, syn::Pat::Type(_));
        visit::visit_local(self, node);
    }

    fn visit_expr_closure(&mut self, node: &'ast ExprClosure) {
        self.found |= node.capture.is_some() && self.is_in(node.to_token_stream());
    }

    fn visit_expr_async(&mut self, node: &'ast ExprAsync) {
        self.found |= node.capture.is_some() && self.is_in(node.to_token_stream());
    }
}

impl Moves<'_> {
    fn is_in(&self, tokens: TokenStream) -> bool {
        contains_word(tokens, &[&self.name.unraw().to_string()])
    }
}

/// Splits the statements of a block into those before its tail, and the tail.
fn split_tail(statements: &[Stmt]) -> (&[Stmt], Option<TokenStream>) {
    match statements.split_last() {
        Some((Stmt::Expr(tail, None), before)) => (before, Some(tail.to_token_stream())),
        Some((Stmt::Macro(tail), before)) if tail.semi_token.is_none() => {
            (before, Some(tail.to_token_stream()))
        }
        _ => (statements, None),
    }
}

/// Returns whether the entry sends the response, or waits until it is sent.
fn sends_response(applied: &Applied) -> bool {
    match applied.row.role {
        Role::Send { .. } => applied.values().is_empty(),
        Role::Flush(_) => true,
        _ => false,
    }
}

/// Returns whether the entry can end its list.
fn is_check(applied: &Applied) -> bool {
    matches!(applied.row.role, Role::Guard(_) | Role::Condition { .. })
}
