//! The names that programs see: by lists instead of globs, each under one path.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::Item;

use super::{
    modules::{Target, Tree},
    shown,
    syntax::{attributes, is_hidden, is_public, leaves, line, words},
};

/// Modules that repeat names of others on purpose.
const REPEATING: [&str; 1] = ["prelude"];

/// Globs among the exports of a crate.
pub(super) fn globs(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for (id, module) in tree.modules.iter().enumerate() {
        for item in &module.items {
            let Item::Use(item) = item else { continue };
            if !is_public(&item.vis) {
                continue;
            }
            leaves(&item.tree, &mut Vec::new(), &mut |path, name, line| {
                if name.is_none() {
                    let place = place(tree, id, line);
                    let path = path.join("::");
                    problems.push(format!(
                        "{place}: `pub use {path}::*` hides what it exports; list the names"
                    ));
                }
            });
        }
    }
    problems
}

/// Items that programs find under more than one path.
///
/// Exports that the docs leave out do not count, nor does a `prelude`.
pub(super) fn repeated(tree: &Tree) -> Vec<String> {
    let mut paths = BTreeMap::<String, BTreeSet<String>>::new();
    let mut shown_at = exported_modules(tree);
    shown_at.extend(
        (0..tree.modules.len())
            .filter(|id| tree.is_public(*id))
            .map(|id| (id, tree.path(id))),
    );
    for (id, at) in shown_at {
        let Some(module) = tree.modules.get(id) else {
            continue;
        };
        if REPEATING.contains(&module.name.as_str()) {
            continue;
        }
        let path = |name: &str| match at.is_empty() {
            true => name.to_owned(),
            false => format!("{at}::{name}"),
        };
        for item in module
            .items
            .iter()
            .filter(|item| !is_hidden(attributes(item)))
        {
            match item {
                Item::Use(item) if is_public(&item.vis) => {
                    leaves(&item.tree, &mut Vec::new(), &mut |from, name, _| {
                        let (Some(name), Some(last)) = (name, from.last()) else {
                            return;
                        };
                        let owner = match tree.resolve(id, from, &mut Vec::new()).first() {
                            Some(Target::Item(owner)) => format!("{}::{last}", tree.path(*owner)),
                            Some(Target::External) => from.join("::"),
                            _ => return,
                        };
                        paths.entry(owner).or_default().insert(path(name));
                    });
                }
                item => {
                    if let Some(name) = public_name(item) {
                        let owner = format!("{}::{name}", tree.path(id));
                        paths.entry(owner).or_default().insert(path(&name));
                    }
                }
            }
        }
    }
    paths
        .into_iter()
        .filter(|(_, paths)| paths.len() > 1)
        .map(|(_, paths)| {
            let paths: Vec<String> = paths.into_iter().collect();
            format!("one item has the public paths {}", paths.join(", "))
        })
        .collect()
}

/// Modules that an export makes public, with the paths of the exports.
fn exported_modules(tree: &Tree) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (id, module) in tree.modules.iter().enumerate() {
        for item in &module.items {
            let Item::Use(item) = item else { continue };
            if !is_public(&item.vis) || !tree.is_public(id) || is_hidden(&item.attrs) {
                continue;
            }
            leaves(&item.tree, &mut Vec::new(), &mut |from, name, _| {
                let target = tree.resolve(id, from, &mut Vec::new()).into_iter().next();
                if let (Some(Target::Module(target)), Some(name)) = (target, name) {
                    found.push((target, name.to_owned()));
                }
            });
        }
    }
    found
}

fn public_name(item: &Item) -> Option<String> {
    let (name, visibility) = match item {
        Item::Const(item) => (&item.ident, &item.vis),
        Item::Enum(item) => (&item.ident, &item.vis),
        Item::Fn(item) => (&item.sig.ident, &item.vis),
        Item::Static(item) => (&item.ident, &item.vis),
        Item::Struct(item) => (&item.ident, &item.vis),
        Item::Trait(item) => (&item.ident, &item.vis),
        Item::Type(item) => (&item.ident, &item.vis),
        _ => return None,
    };
    is_public(visibility).then(|| name.to_string())
}

fn place(tree: &Tree, module: usize, line: usize) -> String {
    let file = tree.file(module).map(|file| shown(&file.path));
    format!("{}:{line}", file.unwrap_or_default())
}

/// The file whose macros list what the facade's root and its prelude share.
pub(super) const LISTS: &str = "src/lists.rs";

/// The files whose macros declare those names: constants, and attribute macros.
pub(super) const DECLARING: [&str; 2] = [
    "hyperlane-core/src/http/constants.rs",
    "hyperlane-macros/src/lib.rs",
];

/// Names that a file of [`DECLARING`] declares and [`LISTS`] lacks.
pub(super) fn unlisted(lists: &str, file: &str, declaring: &str) -> Result<Vec<String>, String> {
    let parse = |name: &str, text: &str| {
        syn::parse_file(text).map_err(|error| format!("cannot parse {name}: {error}"))
    };
    let mut listed = HashSet::new();
    for item in parse(LISTS, lists)?.items {
        if let Item::Macro(item) = item {
            words(item.mac.tokens, &mut listed);
        }
    }
    let mut problems = Vec::new();
    for item in parse(file, declaring)?.items {
        let line = line(&item);
        let names = match item {
            Item::Const(item) if is_public(&item.vis) => vec![item.ident.to_string()],
            // Not the definition of a macro, which has a name.
            Item::Macro(item) if item.ident.is_none() => declared(item.mac.tokens),
            _ => Vec::new(),
        };
        for name in names.into_iter().filter(|name| !listed.contains(name)) {
            problems.push(format!("{file}:{line}: {LISTS} does not list `{name}`"));
        }
    }
    Ok(problems)
}

/// The names that a macro's input declares: `NAME = "..";`, `name;` and `name at "..";`.
fn declared(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => found.extend(declared(group.stream())),
            TokenTree::Ident(name) => {
                let ends = match tokens.peek() {
                    Some(TokenTree::Punct(sign)) => match sign.as_char() {
                        ';' => true,
                        // A doc comment is `doc = ".."`.
                        '=' => name != "doc",
                        _ => false,
                    },
                    Some(TokenTree::Ident(next)) => next == "at",
                    _ => false,
                };
                if ends {
                    found.push(name.to_string());
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tree, *};

    #[test]
    fn exported_globs_are_problems() {
        let files = [
            ("lib.rs", "mod a; pub use a::*; use std::fmt::*;"),
            ("a.rs", ""),
        ];
        assert_eq!(globs(&tree(&files)).len(), 1);
    }

    #[test]
    fn each_item_has_one_path() {
        let check = |root: &str, expected: usize| {
            let files = [
                ("lib.rs", root),
                ("a.rs", "mod b; pub use b::B; pub struct A;"),
                ("a/b.rs", "pub struct B;"),
            ];
            assert_eq!(repeated(&tree(&files)).len(), expected, "{root}");
        };
        check("mod a; pub use a::{A, B};", 0);
        check("pub mod a;", 0);
        check("pub mod a; pub use a::A;", 1);
        check("pub mod a; pub use a::{A, B};", 2);
        check("pub mod a; #[doc(hidden)] pub use a::A;", 0);
        check("#[doc(hidden)] pub mod a; pub use a::A;", 0);
        check(
            "mod a; pub use a::A; pub mod prelude { pub use crate::a::A; }",
            0,
        );
        check(
            "mod a; pub use a::A; pub mod more { pub use crate::a::A; }",
            1,
        );
        check(
            "pub use core_crate::A; pub mod more { pub use core_crate::A; }",
            1,
        );
    }

    #[test]
    fn declared_names_are_listed() {
        let lists = "macro_rules! names { () => { pub use a::{A, get}; }; }";
        let check = |declaring, expected: usize| {
            assert_eq!(
                unlisted(lists, "a.rs", declaring).unwrap().len(),
                expected,
                "{declaring}"
            );
        };
        check("texts! { A = \"a\"; }", 0);
        check("texts! { A = \"a\"; B = \"b\"; }", 1);
        check("pub const C: u8 = 1;", 1);
        check(
            "declare! { part \"x\" { /// Docs; and more.\n get; /// Docs.\n put at \"/\"; } }",
            1,
        );
        check("macro_rules! texts { ($name:ident) => { other; } }", 0);
    }
}
