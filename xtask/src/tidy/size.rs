//! Files and functions have a length that a reader keeps in mind, or say why they are longer.

use syn::{spanned::Spanned, visit::Visit};

use super::{
    baseline::Exception,
    modules::{SourceFile, Tree},
    shown, syntax,
};

/// Lines of a file, docs included and unit tests not.
const FILE: usize = 600;

/// Lines of a function, from its signature to its end.
const FUNCTION: usize = 80;

/// What a comment begins with that gives the reason.
const REASON: &str = "// Long: ";

/// Files over the limit without a reason above their first item.
pub(super) fn files(tree: &Tree) -> Vec<Exception> {
    let long = |file: &&SourceFile| file.length() > FILE && !has_reason_at_top(&file.text);
    tree.files
        .iter()
        .filter(long)
        .map(|file| Exception {
            key: format!("file {}", shown(&file.path)),
            number: file.length(),
            places: vec![format!("over {FILE} lines without `{REASON}..` at the top")],
        })
        .collect()
}

fn has_reason_at_top(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with("//") || line.starts_with("#!"))
        .any(|line| line.starts_with(REASON))
}

/// Functions over the limit without a reason directly above.
pub(super) fn functions(tree: &Tree) -> Vec<Exception> {
    let mut found: Vec<Exception> = Vec::new();
    for module in &tree.modules {
        let Some(file) = tree.files.get(module.file) else {
            continue;
        };
        let mut functions = Functions {
            lines: file.text.lines().collect(),
            long: Vec::new(),
        };
        for item in &module.items {
            functions.visit_item(item);
        }
        for (name, line, length) in functions.long {
            let key = format!("function {} {name}", shown(&file.path));
            let place = format!("line {line}: over {FUNCTION} lines without `{REASON}..` above");
            // Methods of two types may have one name.
            match found.iter_mut().find(|exception| exception.key == key) {
                Some(exception) => {
                    exception.number = exception.number.max(length);
                    exception.places.push(place);
                }
                None => found.push(Exception {
                    key,
                    number: length,
                    places: vec![place],
                }),
            }
        }
    }
    found
}

struct Functions<'a> {
    lines: Vec<&'a str>,
    /// Name, first line and length.
    long: Vec<(String, usize, usize)>,
}

impl Functions<'_> {
    fn look(&mut self, attrs: &[syn::Attribute], signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let length = (block.span().end().line + 1).saturating_sub(first);
        if length <= FUNCTION {
            return;
        }
        let top = attrs.first().map_or(first, syntax::line);
        let above = self.lines.get(..top.saturating_sub(1)).unwrap_or_default();
        let comments = above
            .iter()
            .rev()
            .take_while(|line| line.trim().starts_with("//"));
        let between = self
            .lines
            .get(top.saturating_sub(1)..first.saturating_sub(1));
        let mut lines = comments.chain(between.unwrap_or_default());
        if !lines.any(|line| line.trim().starts_with(REASON)) {
            self.long.push((signature.ident.to_string(), first, length));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !syntax::is_test(syntax::attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.look(&item.attrs, &item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.look(&item.attrs, &item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.look(&item.attrs, &item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tree, *};

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(lines - 2))
    }

    fn long_functions(text: &str) -> Vec<usize> {
        let found = functions(&tree(&[("lib.rs", text)]));
        found.iter().map(|exception| exception.number).collect()
    }

    fn long_files(text: &str) -> Vec<usize> {
        let found = files(&tree(&[("lib.rs", text)]));
        found.iter().map(|exception| exception.number).collect()
    }

    #[test]
    fn a_function_of_80_lines_is_short_enough() {
        assert_eq!(long_functions(&function(80)), [0; 0]);
        assert_eq!(long_functions(&function(81)), [81]);
    }

    #[test]
    fn docs_and_attributes_do_not_make_a_function_longer() {
        let text = format!("/// Docs.\n#[inline]\n{}", function(80));
        assert_eq!(long_functions(&text), [0; 0]);
    }

    #[test]
    fn a_reason_directly_above_allows_a_long_function() {
        let above = format!("// Long: a table.\n/// Docs.\n{}", function(90));
        let between = format!("/// Docs.\n// Long: a table.\n#[inline]\n{}", function(90));
        let elsewhere = format!("// Long: a table.\n\n/// Docs.\n{}", function(90));
        assert_eq!(long_functions(&above), [0; 0]);
        assert_eq!(long_functions(&between), [0; 0]);
        assert_eq!(long_functions(&elsewhere), [90]);
    }

    #[test]
    fn methods_are_functions() {
        let text = format!("struct A;\nimpl A {{\n{}}}\n", function(81));
        assert_eq!(long_functions(&text), [81]);
    }

    #[test]
    fn a_file_of_600_lines_is_short_enough() {
        assert_eq!(long_files(&"// a\n".repeat(600)), [0; 0]);
        assert_eq!(long_files(&"// a\n".repeat(601)), [601]);
    }

    #[test]
    fn a_reason_at_the_top_allows_a_long_file() {
        let rest = "const A: u8 = 0;\n".repeat(700);
        let top = format!("//! Docs.\n\n// Long: a table.\n\n{rest}");
        let late = format!("//! Docs.\n{rest}// Long: a table.\n");
        assert_eq!(long_files(&top), [0; 0]);
        assert_eq!(long_files(&late), [702]);
    }

    #[test]
    fn unit_tests_do_not_make_a_file_longer() {
        let test = "    const A: u8 = 0;\n".repeat(700);
        assert_eq!(
            long_files(&format!("#[cfg(test)]\nmod tests {{\n{test}}}\n")),
            [0; 0]
        );
    }
}
