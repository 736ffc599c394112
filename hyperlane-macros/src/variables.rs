//! Finds the variables of a function's body, and the macros that name them.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ExprClosure, ExprPath, Macro, PatIdent, Stmt};

use crate::model::{Applied, Args};
use crate::phases::Late;

/// Returns the names that a `let` of the block binds. Ignores the blocks inside the block.
pub(crate) fn bound(block: &Block) -> Vec<String> {
    let mut names = Names::default();
    for statement in &block.stmts {
        if let Stmt::Local(local) = statement {
            names.visit_pat(&local.pat);
        }
    }
    names.0
}

/// Returns for each entry the first variable of the body that the entry names. `variables` are the variables of the
/// body. An entry that binds a variable hides a variable of the body with the same name from the entries after it.
pub(crate) fn users(variables: &[String], entries: &[&Late]) -> Vec<Option<String>> {
    let mut variables = variables.to_vec();
    let users = entries.iter().map(|late| {
        let found = named(&late.applied, &variables);
        for binding in late.applied.bindings() {
            let name = binding.name.unraw().to_string();
            variables.retain(|variable| *variable != name);
            if found.is_some() {
                // The entry does not run without the body's variables, so its own variable depends on them too.
                variables.push(name);
            }
        }
        found
    });
    users.collect()
}

/// Returns the first of `variables` that the arguments of the macro name.
fn named(applied: &Applied, variables: &[String]) -> Option<String> {
    let mut search = Search {
        variables: variables.to_vec(),
        found: None,
    };
    match &applied.args {
        Args::Values(values) => values.iter().for_each(|value| search.visit_expr(value)),
        Args::Header { key, value, .. } => {
            search.visit_expr(key);
            search.visit_expr(value);
        }
        Args::Bindings(bindings) => {
            let keys = bindings.iter().filter_map(|binding| binding.key.as_ref());
            keys.for_each(|key| search.visit_expr(key));
        }
        Args::Nothing | Args::Methods(_) | Args::Macros(_) | Args::Declarations(_) => {}
    }
    search.found
}

/// Collects the names that patterns bind.
#[derive(Default)]
struct Names(Vec<String>);

impl<'ast> Visit<'ast> for Names {
    fn visit_pat_ident(&mut self, node: &'ast PatIdent) {
        let name = node.ident.unraw().to_string();
        // A name such as `None` is a constant or a variant, and binds nothing.
        if !name.starts_with(char::is_uppercase) {
            self.0.push(name);
        }
        visit::visit_pat_ident(self, node);
    }

    // An expression in a pattern has patterns of its own.
    fn visit_expr(&mut self, _: &'ast Expr) {}
}

/// Finds the first of some variables in an expression.
struct Search {
    variables: Vec<String>,
    found: Option<String>,
}

impl Search {
    fn note(&mut self, name: &str) {
        if self.found.is_none() && self.variables.iter().any(|variable| variable == name) {
            self.found = Some(name.to_owned());
        }
    }

    /// Searches the arguments of a macro call. Which of them are expressions is unknown, so every identifier counts that
    /// can be a variable.
    fn search_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: Option<usize>, sign: char| {
            let token = at.and_then(|at| tokens.get(at));
            matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
        };
        // The names of arguments: `format!("{a}", a = b)`.
        let mut arguments: Vec<String> = Vec::new();
        let mut text = None;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(ident) => {
                    let (before, after) = (at.checked_sub(1), at + 1);
                    let is_field = is(before, '.') && !is(at.checked_sub(2), '.');
                    let is_path = is(Some(after), ':') && is(Some(after + 1), ':');
                    let is_macro = is(Some(after), '!') && !is(Some(after + 1), '=');
                    let is_argument =
                        is(before, ',') && is(Some(after), '=') && !is(Some(after + 1), '=');
                    if is_argument {
                        arguments.push(ident.unraw().to_string());
                    } else if !is_field && !is_path && !is_macro {
                        self.note(&ident.unraw().to_string());
                    }
                }
                TokenTree::Group(group) => self.search_tokens(group.stream()),
                TokenTree::Literal(literal) if text.is_none() => {
                    text = syn::parse_str::<syn::LitStr>(&literal.to_string()).ok();
                }
                TokenTree::Literal(_) | TokenTree::Punct(_) => {}
            }
        }
        for name in text.map_or_else(Vec::new, |text| format_names(&text.value())) {
            if !arguments.contains(&name) {
                self.note(&name);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Search {
    fn visit_expr_path(&mut self, node: &'ast ExprPath) {
        if let (None, Some(name)) = (&node.qself, node.path.get_ident()) {
            self.note(&name.unraw().to_string());
        }
    }

    fn visit_expr_closure(&mut self, node: &'ast ExprClosure) {
        let mut names = Names::default();
        node.inputs.iter().for_each(|input| names.visit_pat(input));
        let kept = self.variables.clone();
        self.variables.retain(|name| !names.0.contains(name));
        self.visit_expr(&node.body);
        self.variables = kept;
    }

    fn visit_macro(&mut self, node: &'ast Macro) {
        self.search_tokens(node.tokens.clone());
    }
}

/// Returns the names in a format string: `{name}`, `{name:?}`, and the names of a width or precision, as in
/// `{:width$.precision$}`.
fn format_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        if let Some(escaped) = after.strip_prefix('{') {
            rest = escaped;
            continue;
        }
        let Some((inside, after)) = after.split_once('}') else {
            break;
        };
        let (argument, format) = inside.split_once(':').unwrap_or((inside, ""));
        names.push(argument.trim().to_owned());
        let parts = format.split('$');
        let parts = parts.clone().take(parts.count().saturating_sub(1));
        names.extend(parts.map(|part| {
            let mut words = part.rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let word = words.next().unwrap_or_default();
            // The flag `0` may stand before the name.
            word.trim_start_matches('0').to_owned()
        }));
        rest = after;
    }
    names.retain(|name| syn::parse_str::<Ident>(name).is_ok());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_strings_name_arguments_widths_and_precisions() {
        for (text, names) in [
            ("{a} {b:?} {{c}} {0} {}", &["a", "b"][..]),
            ("{a:>width$.precision$}", &["a", "width", "precision"]),
            ("{:#0w$x} {:.p$}", &["w", "p"]),
            ("{open", &[]),
            ("}} {ä}", &["ä"]),
        ] {
            assert_eq!(format_names(text), names, "{text}");
        }
    }

    #[test]
    fn only_outer_lets_bind() {
        let block = syn::parse_str(
            "{ let a = 1; let (b, S { c, d: ref e, .. }) = f(|x| { let y = x; }); let Some(g) = h else { let i = 1; return };
             let None = j else { return }; if let Some(k) = l { let m = k; } const N: u8 = 1; let r#type: u8 = 1; }",
        );
        assert_eq!(bound(&block.unwrap()), ["a", "b", "c", "e", "g", "type"]);
    }

    #[test]
    fn an_expression_names_variables_but_not_fields_paths_and_arguments() {
        for (expr, named) in [
            ("text", true),
            ("&text", true),
            ("text.len()", true),
            ("f(text)", true),
            ("S { text }", true),
            ("[0; 2][text]", true),
            ("1..text", true),
            ("format!(\"{text}\")", true),
            ("format!(\"{:text$}\", 1)", true),
            ("format!(\"{}\", text)", true),
            ("concat!(format!(\"{text:?}\"))", true),
            ("vec![0..text]", true),
            ("text!()", false),
            ("self.text", false),
            ("a.text()", false),
            ("text::f()", false),
            ("a::text", false),
            ("S { text: a }", false),
            ("|text| text", false),
            ("\"{text}\"", false),
            ("format!(\"{{text}}\")", false),
            ("format!(\"{text}\", text = a)", false),
            ("format!(\"{}\", a.text)", false),
            ("format!(\"{}\", \"{text}\")", false),
        ] {
            let mut search = Search {
                variables: vec!["text".to_owned()],
                found: None,
            };
            search.visit_expr(&syn::parse_str(expr).unwrap());
            assert_eq!(search.found.is_some(), named, "{expr}");
        }
    }
}
