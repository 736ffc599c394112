//! HTTP/1.1 text is written by one folder: `proto/http` of core.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use super::{baseline::Exception, modules::Tree, shown, syntax};

/// Text by which a literal is known as a piece of HTTP/1.1.
const TEXT: [&str; 2] = ["HTTP/1.1", "\\r\\n"];

/// The modules that may hold it.
const OWNER: &str = "proto::http";

/// Files whose literals are no HTTP/1.1 text, although they look so.
const OTHERS: [(&str, &str); 3] = [
    ("src/http/constants.rs", "names that published programs use"),
    ("src/http/version.rs", "the name of a version"),
    ("src/proto/proxy.rs", "the signature of another protocol"),
];

/// Literals outside of [`OWNER`], by file.
pub(super) fn outside(tree: &Tree) -> Vec<Exception> {
    let mut found: Vec<Exception> = Vec::new();
    for (id, module) in tree.modules.iter().enumerate() {
        let path = tree.path(id);
        let inside = path.strip_prefix(OWNER);
        if inside.is_some_and(|rest| rest.is_empty() || rest.starts_with("::")) {
            continue;
        }
        let mut literals = Literals::default();
        for item in &module.items {
            literals.visit_item(item);
        }
        let Some(file) = tree.file(id).filter(|_| !literals.found.is_empty()) else {
            continue;
        };
        if OTHERS.iter().any(|(other, _)| file.path.ends_with(other)) {
            continue;
        }
        let key = format!("http {}", shown(&file.path));
        let places = literals
            .found
            .iter()
            .map(|(line, text)| format!("line {line}: {text}"));
        match found.iter_mut().find(|exception| exception.key == key) {
            Some(exception) => {
                exception.places.extend(places);
                exception.number = exception.places.len();
            }
            None => found.push(Exception {
                key,
                number: literals.found.len(),
                places: places.collect(),
            }),
        }
    }
    found
}

#[derive(Default)]
struct Literals {
    found: Vec<(usize, String)>,
}

impl Literals {
    fn look(&mut self, literal: &impl ToString, line: usize) {
        let text = literal.to_string();
        if TEXT.iter().any(|piece| text.contains(piece)) {
            self.found.push((line, text));
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        // Docs and attributes inside of macros are none either.
        let mut is_attribute = false;
        for token in tokens {
            match &token {
                TokenTree::Group(group) if !is_attribute => self.tokens(group.stream()),
                TokenTree::Literal(literal) => self.look(literal, literal.span().start().line),
                _ => {}
            }
            is_attribute = matches!(&token, TokenTree::Punct(sign) if sign.as_char() == '#');
        }
    }
}

impl<'ast> Visit<'ast> for Literals {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !syntax::is_test(syntax::attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !syntax::is_test(&item.attrs) {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.look(&literal.token(), syntax::line(literal));
    }

    fn visit_lit_byte_str(&mut self, literal: &'ast syn::LitByteStr) {
        self.look(&literal.token(), syntax::line(literal));
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tree, *};

    fn count(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        outside(&tree(files))
            .into_iter()
            .map(|exception| (exception.key, exception.number))
            .collect()
    }

    #[test]
    fn literals_are_found_in_code_and_macros() {
        let text = r#"
            const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";
            fn write(out: &mut Vec<u8>) { out.extend(b"0\r\n\r\n"); write!(out, "{:x}\r\n", 1); }
        "#;
        assert_eq!(count(&[("lib.rs", text)]), [("http lib.rs".to_owned(), 3)]);
    }

    #[test]
    fn docs_attributes_and_tests_are_left_out() {
        let text = r#"
            /// Not "HTTP/1.1\r\n".
            #[error("HTTP/1.1")]
            const A: u8 = 1;
            #[cfg(test)]
            mod tests { const B: &str = "\r\n"; }
            made! { /** "\r\n" */ const C: u8 = 1; }
        "#;
        assert_eq!(count(&[("lib.rs", text)]), []);
    }

    #[test]
    fn the_owner_may_write_it() {
        let files = [
            ("lib.rs", "mod proto;"),
            ("proto/mod.rs", "mod http; mod https;"),
            ("proto/http.rs", "mod head; const A: &str = \"\\r\\n\";"),
            ("proto/http/head.rs", "const A: &str = \"\\r\\n\";"),
            ("proto/https.rs", "const A: &str = \"\\r\\n\";"),
        ];
        assert_eq!(count(&files), [("http proto/https.rs".to_owned(), 1)]);
    }
}
