//! Expands every macro with random tokens. An expansion must not panic. If the item can be parsed as Rust, the expanded
//! code can be parsed too.

use proc_macro2::TokenStream;

use super::{good_arguments, good_item};
use crate::expand::expand;
use crate::table::ROWS;

/// Pieces of Rust code. The tests build arguments and items from them.
const PIECES: &[&str] = &[
    "a",
    "self",
    "crate",
    "mut",
    "_",
    "r#fn",
    "fn",
    "async",
    "struct",
    "impl",
    "return",
    "break",
    "continue",
    "loop",
    "if",
    "match",
    "await",
    "const",
    "dyn",
    "where",
    "ctx",
    "stream",
    "Stream",
    "Context",
    "Status",
    "send",
    "route",
    "get",
    "filter",
    "prologue_macros",
    "=",
    "=>",
    ",",
    ",",
    ":",
    "::",
    ";",
    "-",
    "&",
    "?",
    "!",
    "#",
    "<",
    ">",
    "|",
    ".",
    "..",
    "->",
    "*",
    "'a",
    "'x'",
    "1",
    "-1",
    "1.5",
    "99999999999999999999",
    "0xff",
    "\"/\"",
    "\"/{a}\"",
    "\"{\"",
    "\"\"",
    "b\"x\"",
    "r\"\\d\"",
    "()",
    "[]",
    "{}",
    "( a , b )",
    "{ a ? ; }",
    "[ 1 ]",
    "( \"k\" => v : T )",
    "|x| x",
];

/// Valid and invalid items. The tests expand macros on them.
const ITEMS: &[&str] = &[
    "struct S;",
    "struct S<T>(T);",
    "enum E { A }",
    "union U { a: u8 }",
    "impl S { fn f() {} }",
    "use a::b;",
    "fn f() {}",
    "async fn f() -> impl X { return a? }",
    "async fn f(ctx: &mut Context) -> Result<(), E> { a?; Ok(()) }",
    "async fn f(_: &mut A, _: &mut B) { loop { break } continue; break }",
    "async fn handle(self, _: &mut Stream, _: &mut Context) -> Status { select!{ return } Status::Continue }",
    "async fn new(_: &mut Stream, _: &mut Context) -> Self { Self }",
    "fn f(&self);",
    "async fn f(mut self, (a, b): (u8, u8), s: &'a mut Stream) -> ! { loop {} }",
    "",
];

/// A linear congruential generator. Each test run gets the same numbers.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn words(&mut self, most: usize) -> String {
        (0..self.below(most + 1))
            .map(|_| self.pick(PIECES))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Returns a variation of the valid arguments `good`, with one or two random changes. A change inserts, removes or
    /// doubles a token; at the end of the arguments, it may also do nothing.
    fn nearly(&mut self, good: &str) -> String {
        let mut tokens: Vec<String> = good
            .parse::<TokenStream>()
            .unwrap()
            .into_iter()
            .map(|token| token.to_string())
            .collect();
        for _ in 0..=self.below(2) {
            let at = self.below(tokens.len() + 1);
            match self.below(3) {
                0 => tokens.insert(at, self.pick(PIECES).into()),
                1 if at < tokens.len() => drop(tokens.remove(at)),
                _ if at < tokens.len() => tokens.insert(at, tokens[at].clone()),
                _ => {}
            }
        }
        tokens.join(" ")
    }
}

/// Expands a macro. If the expansion panics, the test fails with a message that shows the input. The same happens if
/// the item can be parsed and the expanded code cannot. Input that is no sequence of tokens is skipped.
fn survives(name: &str, args: &str, item: &str) {
    let (Ok(args_tokens), Ok(item_tokens)) =
        (args.parse::<TokenStream>(), item.parse::<TokenStream>())
    else {
        return;
    };
    let code = std::panic::catch_unwind(|| expand(name, args_tokens, item_tokens).to_string());
    let code = code.unwrap_or_else(|_| panic!("#[{name}({args})] {item}"));
    let is_item = syn::parse_str::<syn::File>(item).is_ok();
    let whole = syn::parse_str::<syn::File>(&code).is_ok()
        || syn::parse_str::<syn::ItemImpl>(&format!("impl X {{ {code} }}")).is_ok();
    assert!(whole || !is_item, "#[{name}({args})] {item} gave {code}");
}

#[test]
fn random_arguments_never_panic() {
    let mut random = Random(1);
    for row in ROWS {
        for _ in 0..60 {
            let args = random.words(8);
            survives(row.name, &args, good_item(row));
        }
    }
}

#[test]
fn nearly_right_arguments_never_panic() {
    let mut random = Random(2);
    for row in ROWS {
        for _ in 0..60 {
            let args = random.nearly(good_arguments(row.shape));
            survives(row.name, &args, good_item(row));
        }
    }
}

#[test]
fn random_items_never_panic() {
    let mut random = Random(3);
    for row in ROWS {
        for item in ITEMS {
            survives(row.name, good_arguments(row.shape), item);
        }
        for _ in 0..20 {
            let item = random.words(12);
            survives(row.name, good_arguments(row.shape), &item);
        }
    }
}

#[test]
fn random_stacks_never_panic() {
    let mut random = Random(4);
    for row in ROWS {
        for _ in 0..30 {
            let mut item = String::new();
            for _ in 0..random.below(5) {
                let sibling = &ROWS[random.below(ROWS.len())];
                let args = match random.below(4) {
                    0 => random.words(4),
                    1 => random.nearly(good_arguments(sibling.shape)),
                    _ => good_arguments(sibling.shape).into(),
                };
                item.push_str(&format!("#[{}({args})] ", sibling.name));
            }
            item.push_str(random.pick(ITEMS));
            survives(row.name, good_arguments(row.shape), &item);
        }
    }
}
