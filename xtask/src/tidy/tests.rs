//! Small crates, in which every spelling of an import is found.

use std::path::Path;

use super::{
    modules::Tree,
    order::{cycles, edges, list, missing, unlisted, upward},
};

/// A crate of these files, the first of which is its root.
pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned())
    };
    Tree::load(Path::new(files[0].0), &read).unwrap()
}

/// Pairs `from -> to` in a crate whose module `low` has this text, below `mid` and `high`.
fn pairs(low: &str) -> Vec<String> {
    let root = "
        extern crate self as own;
        mod low; mod mid; mod high;
        pub use high::{Top, inner::Deep};
        pub use mid::*;
        pub use tokio;
        pub fn at_root() {}
    ";
    let high = "
        pub mod inner { pub struct Deep; made! { Made } }
        pub struct Top; pub enum Kind { A }
        pub fn top() {}
        #[macro_export] macro_rules! shout { () => {} }
        pub use crate::mid::Middle;
        pub use inner::Made;
    ";
    let mid = "pub struct Middle; constants! { ACCEPT = 1 }";
    let files = [
        ("lib.rs", root),
        ("low.rs", low),
        ("high.rs", high),
        ("mid.rs", mid),
    ];
    let (edges, problems) = edges(&tree(&files));
    assert_eq!(problems, [""; 0], "{low}");
    edges
        .iter()
        .filter(|edge| edge.from == "low")
        .map(|edge| format!("{} -> {}", edge.from, edge.to))
        .collect()
}

fn check(low: &str, to: &[&str]) {
    let expected: Vec<String> = to.iter().map(|to| format!("low -> {to}")).collect();
    assert_eq!(pairs(low), expected, "{low}");
}

#[test]
fn uses_are_found() {
    check("use crate::high::Top;", &["high"]);
    check(
        "use crate::{high::{self, Top}, mid::Middle};",
        &["high", "high", "mid"],
    );
    check("use crate::high::*;", &["high"]);
    check("use crate::high::Top as _;", &["high"]);
    check(
        "use crate::high as h; fn f(_: h::Top) {}",
        &["high", "high"],
    );
    check("fn f() { use crate::high::top; }", &["high"]);
    check("#[doc(hidden)] pub use crate::high::Top;", &["high"]);
}

#[test]
fn names_of_the_root_count_for_their_owner() {
    check("use crate::Top;", &["high"]);
    check("use crate::{Deep, Middle};", &["high", "mid"]);
    check("use own::Top;", &["high"]);
    check("use super::Deep;", &["high"]);
    check("fn f() { crate::at_root() }", &["lib"]);
    check("use crate::*;", &["lib"]);
    check("use super::*;", &["lib"]);
}

#[test]
fn names_that_macros_define_have_an_owner() {
    check("use crate::ACCEPT;", &["mid"]);
    check("use crate::high::inner::Made;", &["high"]);
    check("use crate::high::Made;", &["high"]);
    check("crate::shout!();", &["high"]);
}

#[test]
fn a_name_of_another_module_counts_for_both() {
    check("use crate::high::Middle;", &["high", "mid"]);
}

#[test]
fn paths_out_of_modules_within_are_found() {
    check("mod a { use super::super::high::Top; }", &["high"]);
    check(
        "mod a { mod b { fn f() -> crate::Top { crate::high::Top } } }",
        &["high", "high"],
    );
    check("use self::super::high::Top;", &["high"]);
    check(
        "mod a { pub struct A; } use self::a::A; mod b { use super::a::A; }",
        &[],
    );
}

#[test]
fn inline_paths_are_found() {
    check("fn f() { crate::high::top(); }", &["high"]);
    check(
        "fn f(_: &crate::high::Top) -> Vec<super::mid::Middle> {}",
        &["high", "mid"],
    );
    check(
        "impl<T: Into<crate::Top>> Clone for crate::Middle {}",
        &["high", "mid"],
    );
    check(
        "fn f(k: u8) { match k { crate::high::Kind::A => {} } }",
        &["high"],
    );
    check("fn f() { <crate::Top as Clone>::clone() }", &["high"]);
    check(
        "struct A { pub(in crate::low) a: u8, pub(super) b: u8 }",
        &[],
    );
}

#[test]
fn tokens_of_macros_are_found() {
    check("call!(crate::high::top(), 1);", &["high"]);
    check(
        "fn f() { format!(\"{}\", [crate::Top, super::Middle]); }",
        &["high", "mid"],
    );
    check(
        "macro_rules! m { ($a:ident) => { $crate::high::$a; $a::b() } }",
        &["high"],
    );
    check(
        "m! { use crate::{high::{Top, Kind}, Middle}; }",
        &["high", "high", "mid"],
    );
    check("quote!(#krate::high::Top ::high::Top);", &[]);
}

#[test]
fn attributes_are_found() {
    check(
        "#[cfg_attr(all(), derive(crate::high::Top))] struct A;",
        &["high"],
    );
    check(
        "struct A { #[serde(with = \"crate::high::inner\")] a: u8 }",
        &["high"],
    );
    check("/// See [`crate::high::Top`].\nstruct A;", &[]);
}

#[test]
fn other_crates_do_not_count() {
    check(
        "use std::fmt; use crate::tokio::spawn; use ::high::Top; fn f() { tokio::spawn() }",
        &[],
    );
}

#[test]
fn tests_do_not_count() {
    check("#[cfg(test)] mod tests { use crate::high::Top; }", &[]);
    check("#[cfg(all(test, unix))] mod tests;", &[]);
    check(
        "struct A; impl A { #[cfg(test)] fn f() { crate::high::top() } }",
        &[],
    );
    check(
        "#[cfg(feature = \"x\")] mod a { use crate::high::Top; }",
        &["high"],
    );
}

#[test]
fn a_path_without_an_owner_is_a_problem() {
    let files = [("lib.rs", "mod low;"), ("low.rs", "use crate::Missing;")];
    let (_, problems) = edges(&tree(&files));
    assert_eq!(problems, ["low.rs:1: no owner found for `crate::Missing`"]);
}

#[test]
fn both_files_of_a_module_with_a_condition_are_read() {
    let root = "#[cfg_attr(not(x), path = \"no_low.rs\")] mod low; mod high;";
    let files = [
        ("lib.rs", root),
        ("low.rs", "//! The file without a condition."),
        ("no_low.rs", "use crate::high::Top;"),
        ("high.rs", "pub struct Top;"),
    ];
    let tree = tree(&files);
    assert_eq!(edges(&tree).0.len(), 1);
    // The list of modules shows the docs of the first.
    assert_eq!(
        tree.tops()[0].summary.as_deref(),
        Some("The file without a condition")
    );
}

const LISTS: &str = "# A comment.\n[one]\nlow\n# Another.\nmid\nlater\nhigh\n\n[two]\nb\na\n";

#[test]
fn a_list_is_the_lines_below_the_name_of_its_crate() {
    assert_eq!(list(LISTS, "one"), ["low", "mid", "later", "high"]);
    assert_eq!(list(LISTS, "two"), ["b", "a"]);
}

#[test]
fn imports_that_go_upward_are_exceptions_by_pair() {
    let files = [
        ("lib.rs", "mod low; mod mid; mod high;"),
        ("low.rs", "use crate::high::{A, B}; use crate::mid::C;"),
        ("mid.rs", "use crate::low::D;"),
        ("high.rs", "use crate::{low::D, mid::C};"),
    ];
    let (edges, _) = edges(&tree(&files));
    let found: Vec<_> = upward(&edges, "one", &list(LISTS, "one"))
        .into_iter()
        .map(|exception| (exception.key, exception.number))
        .collect();
    let expected = [("order one: low -> high", 2), ("order one: low -> mid", 1)];
    assert_eq!(
        found,
        expected.map(|(key, number)| (key.to_owned(), number))
    );
    assert_eq!(cycles(&edges), (2, vec!["high", "low", "mid"]));
}

#[test]
fn a_circle_without_a_pair_is_one() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::c::C;"),
        ("c.rs", "use crate::a::A;"),
        ("d.rs", "use crate::a::A;"),
    ];
    let (edges, _) = edges(&tree(&files));
    assert_eq!(cycles(&edges), (0, vec!["a", "b", "c"]));
}

#[test]
fn a_listed_module_that_is_gone_is_a_problem() {
    let files = [("lib.rs", "mod a;"), ("a.rs", "")];
    assert_eq!(missing(&tree(&files), "two", &["a"]), [""; 0]);
    let problems = missing(&tree(&files), "two", &["a", "gone"]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("`gone`"), "{problems:?}");
}

#[test]
fn a_module_that_is_not_listed_is_a_problem() {
    let files = [("lib.rs", "mod a; mod new;"), ("a.rs", ""), ("new.rs", "")];
    let problems = unlisted(&tree(&files), "two", &list(LISTS, "two"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("`new`"), "{problems:?}");
}
