//! Finds the expressions that leave a function's body before its end.
//!
//! A read macro, such as `try_get_websocket_request`, runs the user's body as a block inside a loop. Macros such as
//! `send` run after this block, even if the body leaves the block early. The expansion therefore rewrites the `break`
//! and `continue` of the body: the new code leaves only the block. If the body contains `return` or `?`, the expansion
//! puts the body into an async block. Then `return` and `?` leave only the async block, and not the function.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Block, Error, Expr, ExprAsync, ExprBreak, ExprClosure, ExprConst, ExprContinue, ExprForLoop,
    ExprLoop,
};
use syn::{ExprReturn, ExprTry, ExprWhile, Item, Macro, Path, Result};

use crate::tokens::{contains_word, hygienic};

/// Macros of the standard library. They leave a body only by a panic, or by an expression in their arguments. A name
/// counts only alone (`write!`) or in one of [`TRUSTED_CRATES`] (`std::write!`), because other modules may have macros
/// of the same name.
const TRUSTED_MACROS: [&str; 22] = [
    "assert",
    "assert_eq",
    "assert_ne",
    "concat",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "env",
    "eprint",
    "eprintln",
    "format",
    "format_args",
    "matches",
    "panic",
    "print",
    "println",
    "todo",
    "unreachable",
    "vec",
    "write",
    "writeln",
];

/// The crates of the standard library that export [`TRUSTED_MACROS`].
const TRUSTED_CRATES: [&str; 3] = ["std", "core", "alloc"];

/// Returns whether the macro call adds no `return` to its arguments.
fn is_trusted(path: &Path) -> bool {
    let mut names = path
        .segments
        .iter()
        .map(|segment| segment.ident.to_string());
    let is = |list: &[&str], name: &String| list.contains(&name.as_str());
    match (names.next(), names.next(), names.next()) {
        (Some(name), None, _) => is(&TRUSTED_MACROS, &name),
        (Some(krate), Some(name), None) => {
            is(&TRUSTED_CRATES, &krate) && is(&TRUSTED_MACROS, &name)
        }
        _ => false,
    }
}

/// The early exits of a body.
#[derive(Default)]
pub(crate) struct Jumps {
    /// True if the body contains `return` or `?`, or a macro call whose code may leave the body.
    pub(crate) may_return: bool,
    /// The span of each `break` and of each `continue` that applies to the loop around the body.
    pub(crate) loop_jumps: Vec<Span>,
    /// The number of loops in the body that contain the expression that is being visited.
    depth: usize,
}

impl Jumps {
    /// Finds the early exits of a body.
    pub(crate) fn of(block: &Block) -> Self {
        let mut jumps = Self::default();
        jumps.visit_block(block);
        jumps
    }

    fn inside_loop(&mut self, visit: impl FnOnce(&mut Self)) {
        self.depth += 1;
        visit(self);
        self.depth -= 1;
    }
}

impl<'ast> Visit<'ast> for Jumps {
    fn visit_expr_return(&mut self, node: &'ast ExprReturn) {
        self.may_return = true;
        visit::visit_expr_return(self, node);
    }

    fn visit_expr_try(&mut self, node: &'ast ExprTry) {
        self.may_return = true;
        visit::visit_expr_try(self, node);
    }

    fn visit_macro(&mut self, node: &'ast Macro) {
        // The code that a macro call expands to is unknown here. It may contain a `return`, as the code of `bail!`
        // does. Only `TRUSTED_MACROS` are known to add no `return` to their arguments. A `break` or `continue` in the
        // arguments counts as well, because `rewrite` does not look into macro calls.
        self.may_return |= !is_trusted(&node.path)
            || contains_word(node.tokens.clone(), &["return", "?", "break", "continue"]);
    }

    fn visit_expr_break(&mut self, node: &'ast ExprBreak) {
        if self.depth == 0 && node.label.is_none() {
            self.loop_jumps.push(node.span());
        }
        visit::visit_expr_break(self, node);
    }

    fn visit_expr_continue(&mut self, node: &'ast ExprContinue) {
        if self.depth == 0 && node.label.is_none() {
            self.loop_jumps.push(node.span());
        }
    }

    fn visit_expr_loop(&mut self, node: &'ast ExprLoop) {
        self.inside_loop(|this| visit::visit_expr_loop(this, node));
    }

    fn visit_expr_while(&mut self, node: &'ast ExprWhile) {
        self.inside_loop(|this| visit::visit_expr_while(this, node));
    }

    fn visit_expr_for_loop(&mut self, node: &'ast ExprForLoop) {
        self.visit_expr(&node.expr);
        self.inside_loop(|this| this.visit_block(&node.body));
    }

    // A jump inside a closure, an async block or an item does not leave the body.
    fn visit_expr_closure(&mut self, _: &'ast ExprClosure) {}
    fn visit_expr_async(&mut self, _: &'ast ExprAsync) {}
    fn visit_expr_const(&mut self, _: &'ast ExprConst) {}
    fn visit_item(&mut self, _: &'ast Item) {}
}

/// Replaces each `break` in `block` by `on_break` and each `continue` by `on_continue`, if they apply to the loop
/// around `block`. Returns an error for a `break` with a value.
pub(crate) fn rewrite(
    block: &mut Block,
    on_break: TokenStream,
    on_continue: TokenStream,
) -> Result<()> {
    let mut rewriter = Rewriter {
        on_break,
        on_continue,
        depth: 0,
        error: None,
    };
    rewriter.visit_block_mut(block);
    rewriter.error.map_or(Ok(()), Err)
}

struct Rewriter {
    on_break: TokenStream,
    on_continue: TokenStream,
    depth: usize,
    error: Option<Error>,
}

impl Rewriter {
    fn inside_loop(&mut self, visit: impl FnOnce(&mut Self)) {
        self.depth += 1;
        visit(self);
        self.depth -= 1;
    }
}

impl VisitMut for Rewriter {
    fn visit_expr_mut(&mut self, node: &mut Expr) {
        visit_mut::visit_expr_mut(self, node);
        if self.depth > 0 {
            return;
        }
        let jump = match node {
            Expr::Break(jump) if jump.label.is_none() => {
                if let Some(value) = &jump.expr {
                    let message = "this loop reads messages and has no value; write `break` alone, or `return`";
                    self.error
                        .get_or_insert_with(|| Error::new_spanned(value, message));
                }
                &self.on_break
            }
            Expr::Continue(jump) if jump.label.is_none() => &self.on_continue,
            _ => return,
        };
        let span = hygienic(node.span());
        *node = Expr::Verbatim(quote_spanned!(span=> { #jump }));
    }

    fn visit_expr_loop_mut(&mut self, node: &mut ExprLoop) {
        self.inside_loop(|this| visit_mut::visit_expr_loop_mut(this, node));
    }

    fn visit_expr_while_mut(&mut self, node: &mut ExprWhile) {
        self.inside_loop(|this| visit_mut::visit_expr_while_mut(this, node));
    }

    fn visit_expr_for_loop_mut(&mut self, node: &mut ExprForLoop) {
        self.visit_expr_mut(&mut node.expr);
        self.inside_loop(|this| this.visit_block_mut(&mut node.body));
    }

    fn visit_expr_closure_mut(&mut self, _: &mut ExprClosure) {}
    fn visit_expr_async_mut(&mut self, _: &mut ExprAsync) {}
    fn visit_expr_const_mut(&mut self, _: &mut ExprConst) {}
    fn visit_item_mut(&mut self, _: &mut Item) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_macros_of_the_standard_library_are_trusted() {
        for (text, may_return) in [
            ("write!(text)", false),
            ("std::write!(text)", false),
            ("::core::write!(text)", false),
            ("alloc::vec![1]", false),
            ("std::write!(text)?", true),
            ("std::dbg!(text?)", true),
            ("bail!(text)", true),
            ("foo::write!(text)", true),
            ("crate::std::write!(text)", true),
            ("std::foo::write!(text)", true),
        ] {
            let block = syn::parse_str(&format!("{{ {text}; }}")).unwrap();
            assert_eq!(Jumps::of(&block).may_return, may_return, "{text}");
        }
    }
}
