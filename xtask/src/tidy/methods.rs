//! A type that programs hold has few enough methods to know them all.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    baseline::Exception,
    modules::{Target, Tree},
    syntax,
};

/// Types and how many methods each may have; `None`: only counted.
const TYPES: [(&str, Option<usize>); 6] = [
    ("Link", Some(40)),
    ("Lane", Some(40)),
    ("LaneRef", Some(40)),
    ("Exchange", Some(40)),
    ("Stream", Some(40)),
    ("Context", None),
];

/// What a comment or the docs of an `impl` block say whose methods are not counted.
const LEGACY: &str = "Methods under the names that published Hyperlane programs call";

/// Names of the functions of a type in all its `impl` blocks, those of traits of the same crate included.
///
/// Variants of one function for several features count once.
pub(super) fn of_types(tree: &Tree) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut methods = BTreeMap::<&str, BTreeSet<String>>::new();
    for (id, module) in tree.modules.iter().enumerate() {
        let lines: Vec<&str> = tree
            .files
            .get(module.file)
            .map(|file| file.text.lines().collect())
            .unwrap_or_default();
        for item in &module.items {
            let syn::Item::Impl(item) = item else {
                continue;
            };
            let Some(known) = known_type(&item.self_ty) else {
                continue;
            };
            let from_trait = match &item.trait_ {
                Some((path, _)) => match trait_methods(tree, id, path) {
                    Some(names) => names,
                    // What another crate asks for is not the type's own.
                    None => continue,
                },
                None => Vec::new(),
            };
            if !is_legacy(item, &lines) {
                let own = item.items.iter().filter_map(|item| match item {
                    syn::ImplItem::Fn(item) if !syntax::is_test(&item.attrs) => {
                        Some(item.sig.ident.to_string())
                    }
                    _ => None,
                });
                methods
                    .entry(known)
                    .or_default()
                    .extend(own.chain(from_trait));
            }
        }
    }
    methods
}

/// Types of the list without a method, as problems: a limit on a type that is gone holds nothing.
pub(super) fn missing(methods: &BTreeMap<&'static str, BTreeSet<String>>) -> Vec<String> {
    TYPES
        .iter()
        .filter(|(name, _)| !methods.contains_key(name))
        .map(|(name, _)| {
            format!("xtask/src/tidy/methods.rs limits the methods of `{name}`, a type that core does not have")
        })
        .collect()
}

/// Types over their limit.
pub(super) fn over(methods: &BTreeMap<&'static str, BTreeSet<String>>) -> Vec<Exception> {
    TYPES
        .iter()
        .filter_map(|(name, limit)| {
            let (limit, number) = ((*limit)?, methods.get(name)?.len());
            (number > limit).then(|| Exception {
                key: format!("methods {name}"),
                number,
                places: vec![format!(
                    "at most {limit}, apart from `impl` blocks under the comment `{LEGACY}`"
                )],
            })
        })
        .collect()
}

fn known_type(self_type: &syn::Type) -> Option<&'static str> {
    let syn::Type::Path(path) = self_type else {
        return None;
    };
    let name = &path.path.segments.last()?.ident;
    TYPES
        .iter()
        .map(|(known, _)| *known)
        .find(|known| name == known)
}

/// Names of the functions of a trait of this crate, which its implementors have whether they write them or not.
fn trait_methods(tree: &Tree, module: usize, path: &syn::Path) -> Option<Vec<String>> {
    let names: Vec<String> = path
        .segments
        .iter()
        .map(|part| part.ident.to_string())
        .collect();
    let owners = tree.resolve(module, &names, &mut Vec::new());
    owners.into_iter().find_map(|owner| {
        let Target::Item(owner) = owner else {
            return None;
        };
        let items = &tree.modules.get(owner)?.items;
        let item = items.iter().find_map(|item| match item {
            syn::Item::Trait(item) if Some(&item.ident.to_string()) == names.last() => Some(item),
            _ => None,
        })?;
        let functions = item.items.iter().filter_map(|item| match item {
            syn::TraitItem::Fn(item) => Some(item.sig.ident.to_string()),
            _ => None,
        });
        Some(functions.collect())
    })
}

/// Tells whether the comments directly above a block, or at its top, say so.
fn is_legacy(item: &syn::ItemImpl, lines: &[&str]) -> bool {
    let start = item
        .attrs
        .first()
        .map_or_else(|| item.impl_token.span.start().line, syntax::line);
    let above = lines.get(..start.saturating_sub(1)).unwrap_or_default();
    let above = above.iter().rev();
    let inside = lines.get(start.saturating_sub(1)..).unwrap_or_default();
    let head = inside
        .iter()
        .position(|line| line.ends_with('{'))
        .unwrap_or_default();
    let comment = |line: &&&str| line.trim().starts_with("//");
    above
        .take_while(comment)
        .chain(inside.iter().take(head).filter(comment))
        .chain(inside.iter().skip(head + 1).take_while(comment))
        .any(|line| line.contains(LEGACY))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tree, *};

    fn streams(text: &str) -> usize {
        of_types(&tree(&[("lib.rs", text)]))
            .get("Stream")
            .map_or(0, BTreeSet::len)
    }

    #[test]
    fn all_blocks_of_a_type_count_together() {
        assert_eq!(
            streams("struct Stream; impl Stream { fn a() {} } impl Stream { fn b(&self) {} }"),
            2
        );
    }

    #[test]
    fn blocks_in_other_modules_count() {
        let files = [
            (
                "lib.rs",
                "mod a; pub struct Stream; impl Stream { fn a() {} }",
            ),
            ("a.rs", "impl crate::Stream { fn b() {} }"),
        ];
        assert_eq!(of_types(&tree(&files)).get("Stream").unwrap().len(), 2);
    }

    #[test]
    fn traits_of_the_crate_count_with_their_defaults() {
        let text = "struct Stream; trait T { fn a(); fn b() {} } impl T for Stream { fn a() {} }";
        assert_eq!(streams(text), 2);
    }

    #[test]
    fn traits_of_other_crates_do_not_count() {
        assert_eq!(
            streams("struct Stream; impl Drop for Stream { fn drop(&mut self) {} }"),
            0
        );
    }

    #[test]
    fn spellings_of_published_programs_do_not_count() {
        for text in [
            "// Methods under the names that published Hyperlane programs call.\nimpl Stream {\n fn a() {}\n}",
            "/// Methods under the names that published Hyperlane programs call.\nimpl Stream {\n fn a() {}\n}",
            "impl Stream {\n // Methods under the names that published Hyperlane programs call.\n fn a() {}\n}",
        ] {
            assert_eq!(streams(text), 0, "{text}");
        }
    }

    #[test]
    fn variants_of_one_method_count_once() {
        let text = "impl Stream { #[cfg(feature = \"x\")] fn a() {} #[cfg(not(feature = \"x\"))] fn a() {} }";
        assert_eq!(streams(text), 1);
    }

    #[test]
    fn a_type_that_is_gone_is_a_problem() {
        let all = TYPES.map(|(name, _)| (name, BTreeSet::from(["a".to_owned()])));
        let mut methods = BTreeMap::from(all);
        assert_eq!(missing(&methods), [""; 0]);
        methods.remove("Stream");
        let problems = missing(&methods);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("`Stream`"), "{problems:?}");
    }

    #[test]
    fn a_type_over_its_limit_is_an_exception() {
        let names = |number: usize| (0..number).map(|name| name.to_string()).collect();
        assert_eq!(over(&[("Stream", names(40))].into()), []);
        let found = over(&[("Stream", names(41)), ("Context", names(99))].into());
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.key.as_str(), found.number))
            .collect();
        assert_eq!(found, [("methods Stream", 41)]);
    }
}
