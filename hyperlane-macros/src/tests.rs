//! Unit tests that expand token streams and inspect the resulting tokens. The integration tests in the directory
//! `tests/` of the crate compile and run expansions with the library.

mod arguments;
mod conflicts;
mod functions;
mod fuzz;
mod phases;
mod rows;

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};

use crate::expand::expand;
use crate::model::{Register, Role, Row, Shape};

/// Parses Rust code into tokens.
fn tokens(code: &str) -> TokenStream {
    code.parse()
        .unwrap_or_else(|error| panic!("{code}: {error}"))
}

/// Expands the macro `name` on `item`, as the compiler expands the first attribute of an item. `args` are the arguments
/// without parentheses.
fn expanded(name: &str, args: &str, item: &str) -> String {
    expand(name, tokens(args), tokens(item)).to_string()
}

/// Returns the messages of every `compile_error!` in an expansion.
fn errors(code: &str) -> Vec<String> {
    struct Messages(Vec<String>);
    impl<'ast> Visit<'ast> for Messages {
        fn visit_macro(&mut self, node: &'ast syn::Macro) {
            if node
                .path
                .segments
                .last()
                .is_some_and(|last| last.ident == "compile_error")
            {
                self.0
                    .push(node.parse_body::<syn::LitStr>().unwrap().value());
            }
            visit::visit_macro(self, node);
        }
    }
    let mut messages = Messages(Vec::new());
    // A method with `self` can be parsed only inside an `impl`.
    match syn::parse_str::<syn::File>(code) {
        Ok(file) => messages.visit_file(&file),
        Err(_) => messages.visit_file(&syn::parse_str(&format!("impl X {{ {code} }}")).unwrap()),
    }
    messages.0
}

/// Asserts that the code contains the parts in this order, without overlaps. Ignores white space.
fn in_order(code: &str, parts: &[&str]) {
    let solid = code.replace(char::is_whitespace, "");
    let mut rest = solid.as_str();
    for part in parts {
        let part = part.replace(char::is_whitespace, "");
        let at = rest
            .find(&part)
            .unwrap_or_else(|| panic!("`{part}` is missing or too early in\n{code}"));
        rest = &rest[at + part.len()..];
    }
}

const HANDLE: &str = "async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status { body(); Status::Continue }";

/// Returns arguments that are valid for the shape.
fn good_arguments(shape: Shape) -> &'static str {
    match shape {
        Shape::Nothing | Shape::MaybeName | Shape::MaybeValue | Shape::Order => "",
        Shape::Methods => "get, post",
        Shape::Name => "mut a",
        Shape::Names => "a, mut b,",
        Shape::TypedNames => "a: A, b: Vec<B>",
        Shape::KeyedNames => "\"a\" => a, KEY => b",
        Shape::KeyedTypedNames => "\"a\" => a: Map<A, B>",
        Shape::Value => "1 + 1",
        Shape::Values => "one, two",
        Shape::Header => "\"a\" => value",
        Shape::Macros => "flush, send(x)",
        Shape::Pattern => "\"/a/{b}\"",
        Shape::Declarations => "server: Server, other: Vec<u8>",
    }
}

/// Returns an item on which the macro of `row` works.
fn good_item(row: &Row) -> &'static str {
    match row.role {
        Role::Register(Register::Middleware) => {
            "async fn f(ctx: &mut Context, next: Next) -> Status { next.run(ctx).await }"
        }
        Role::Register(_) => "struct Hook;",
        Role::With => "#[get(\"/\")] async fn f() -> Status { Status::Continue }",
        _ => HANDLE,
    }
}

/// Splits an attribute `#[name(args)]` into its name and its arguments.
fn split(attribute: &str) -> (&str, &str) {
    let inner = attribute.trim_start_matches("#[").trim_end_matches(']');
    let (name, args) = inner.split_once('(').unwrap_or((inner, ""));
    (name, args.strip_suffix(')').unwrap_or(args))
}
