//! The types, traits and crates of others that the public API of a crate names.
//!
//! `external-types.toml` lists them with a reason each. The source is read as text, so that neither a nightly compiler nor its
//! JSON of docs is needed:
//!
//! - An item is public if it is `pub`, not `#[doc(hidden)]`, and in no hidden module: the compiler's lint `unreachable_pub` finds others. Fields, signatures, generics and bounds count, and types in `impl` blocks of traits.
//! - A type has the path by which the module imports it: `serde::Serialize`, whatever crate defines it.
//! - An alias that is not public counts by what it stands for.
//! - Code of macros is not seen, apart from `pin_project!`. A derive of `serde` counts as its trait.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use syn::{Item, visit::Visit};

use super::{
    modules::{Module, Target, Tree},
    syntax::{attributes, is_hidden, is_public, is_test, leaves, line},
};

/// The lists by crate, with reasons.
pub(super) const FILE: &str = "external-types.toml";

/// A macro whose tokens are items.
const PIN_PROJECT: &str = "pin_project";

/// Derives whose traits are those of std.
const STD_DERIVES: [&str; 1] = ["thiserror"];

/// Imports that a path may pass on its way to its crate.
const MAX_STEPS: usize = 16;

/// The paths that a crate names, each with the places that name it.
pub(super) type Names = BTreeMap<String, Vec<String>>;

/// The names of the dependencies that a manifest lists, as paths spell them.
pub(super) fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section == "dependencies"
                || (section.starts_with("target.") && section.ends_with(".dependencies"));
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            // The workspace's own crates have lists of their own.
            if !name.is_empty() && !name.starts_with("hyperlane") {
                found.insert(name.replace('-', "_"));
            }
        }
    }
    found
}

/// Differences between what a crate names and what [`FILE`] lists for it.
pub(super) fn differences(krate: &str, names: &Names, lists: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut listed = BTreeSet::new();
    let mut inside = false;
    for (number, line) in lists.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']') == krate;
        }
        let Some((path, reason)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        let unquoted = |text: &str| text.trim().trim_matches('"').to_owned();
        let path = unquoted(path);
        if unquoted(reason).is_empty() {
            problems.push(format!("{FILE}:{}: `{path}` needs a reason", number + 1));
        }
        if !names.contains_key(&path) {
            let line = number + 1;
            problems.push(format!(
                "{FILE}:{line}: {krate} has no public `{path}` any more"
            ));
        }
        listed.insert(path);
    }
    for (path, places) in names {
        if !listed.contains(path) {
            let place = places.first().map_or("", String::as_str);
            problems.push(format!(
                "{place}: `{path}` is public in {krate}, and {FILE} does not list it"
            ));
        }
    }
    problems
}

/// All names of other crates in the public API.
pub(super) fn names(tree: &Tree, externs: &BTreeSet<String>) -> Names {
    let mut finder = Finder {
        tree,
        externs,
        module: 0,
        found: Names::new(),
    };
    for (id, module) in tree.modules.iter().enumerate() {
        if !tree.is_shown(id) {
            continue;
        }
        finder.module = id;
        for item in &module.items {
            finder.item(item);
        }
    }
    finder.found
}

struct Finder<'a> {
    tree: &'a Tree,
    /// Other crates.
    externs: &'a BTreeSet<String>,
    /// The module that is looked at.
    module: usize,
    found: Names,
}

impl<'a> Finder<'a> {
    fn item(&mut self, item: &Item) {
        let attrs = attributes(item);
        if is_test(attrs) || is_hidden(attrs) {
            return;
        }
        match item {
            Item::Const(item) if is_public(&item.vis) => self.visit_type(&item.ty),
            Item::Static(item) if is_public(&item.vis) => self.visit_type(&item.ty),
            Item::Fn(item) if is_public(&item.vis) => self.visit_signature(&item.sig),
            Item::Type(item) if is_public(&item.vis) => {
                self.visit_generics(&item.generics);
                self.visit_type(&item.ty);
            }
            Item::Struct(item) if is_public(&item.vis) => {
                self.derives(&item.attrs);
                self.visit_generics(&item.generics);
                for field in item.fields.iter().filter(|field| is_public(&field.vis)) {
                    self.visit_type(&field.ty);
                }
            }
            Item::Enum(item) if is_public(&item.vis) => {
                self.derives(&item.attrs);
                self.visit_generics(&item.generics);
                for field in item.variants.iter().flat_map(|variant| &variant.fields) {
                    self.visit_type(&field.ty);
                }
            }
            Item::Trait(item) if is_public(&item.vis) => {
                self.visit_generics(&item.generics);
                for bound in &item.supertraits {
                    self.visit_type_param_bound(bound);
                }
                for item in &item.items {
                    self.trait_item(item);
                }
            }
            Item::Impl(item) => self.implementation(item),
            Item::Use(item) if is_public(&item.vis) => {
                leaves(&item.tree, &mut Vec::new(), &mut |path, _, line| {
                    if let Some(path) = self.foreign(self.module, path) {
                        self.add(path, line);
                    }
                });
            }
            Item::Macro(item) if ends_in(&item.mac.path, PIN_PROJECT) => {
                // The macro's output has the same fields.
                if let Ok(file) = syn::parse2::<syn::File>(item.mac.tokens.clone()) {
                    for item in &file.items {
                        self.item(item);
                    }
                }
            }
            _ => {}
        }
    }

    fn trait_item(&mut self, item: &syn::TraitItem) {
        match item {
            syn::TraitItem::Fn(item) if !is_hidden(&item.attrs) => self.visit_signature(&item.sig),
            syn::TraitItem::Const(item) if !is_hidden(&item.attrs) => self.visit_type(&item.ty),
            syn::TraitItem::Type(item) if !is_hidden(&item.attrs) => {
                for bound in &item.bounds {
                    self.visit_type_param_bound(bound);
                }
            }
            _ => {}
        }
    }

    fn implementation(&mut self, item: &syn::ItemImpl) {
        if !self.is_public_type(&item.self_ty) {
            return;
        }
        let Some((path, _)) = &item.trait_ else {
            let methods = item.items.iter().filter_map(|item| match item {
                syn::ImplItem::Fn(item) => Some(item),
                _ => None,
            });
            let shown = |item: &&syn::ImplItemFn| {
                is_public(&item.vis) && !is_hidden(&item.attrs) && !is_test(&item.attrs)
            };
            let mut any = false;
            for method in methods.filter(shown) {
                any = true;
                self.visit_signature(&method.sig);
            }
            if any {
                self.visit_generics(&item.generics);
            }
            return;
        };
        if !self.is_public_name(path) {
            return;
        }
        self.visit_generics(&item.generics);
        self.visit_path(path);
        self.visit_type(&item.self_ty);
        for item in &item.items {
            if let syn::ImplItem::Type(item) = item {
                self.visit_type(&item.ty);
            }
        }
    }

    fn derives(&mut self, attrs: &[syn::Attribute]) {
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("derive")) {
            let paths = attr.parse_args_with(
                syn::punctuated::Punctuated::<syn::Path, syn::Token![,]>::parse_terminated,
            );
            for path in paths.into_iter().flatten() {
                let root = self.foreign(self.module, &segments(&path));
                if let Some(named) = root
                    && !STD_DERIVES.contains(&named.split("::").next().unwrap_or_default())
                {
                    self.add(named, line(&path));
                }
            }
        }
    }

    /// Tells whether programs can name a type: one of this crate that is `pub`, a parameter, or one of another crate.
    fn is_public_type(&self, ty: &syn::Type) -> bool {
        match ty {
            syn::Type::Path(path) => self.is_public_name(&path.path),
            syn::Type::Reference(reference) => self.is_public_type(&reference.elem),
            _ => true,
        }
    }

    fn is_public_name(&self, path: &syn::Path) -> bool {
        let path = segments(path);
        let Some(name) = path.last() else {
            return true;
        };
        let owners = self.tree.resolve(self.module, &path, &mut Vec::new());
        owners.iter().all(|owner| match owner {
            Target::Item(owner) => self.module_of(*owner).is_none_or(|module| {
                let declared = module.items.iter().find_map(|item| declared(item, name));
                declared.unwrap_or(true)
            }),
            _ => true,
        })
    }

    fn module_of(&self, id: usize) -> Option<&'a Module> {
        self.tree.modules.get(id)
    }

    /// Follows a path of a module to another crate.
    fn foreign(&self, module: usize, path: &[String]) -> Option<String> {
        self.follow(module, path.to_vec(), MAX_STEPS)
    }

    fn follow(&self, module: usize, path: Vec<String>, steps: usize) -> Option<String> {
        let first = path.first().filter(|_| steps > 0)?;
        if let Some(import) = self.imports(module).remove(first) {
            let is_itself = import.first() == Some(first);
            let whole: Vec<String> = import
                .into_iter()
                .chain(path.iter().skip(1).cloned())
                .collect();
            return match is_itself {
                true => self.crate_path(&whole),
                false => self.follow(module, whole, steps - 1),
            };
        }
        let is_own = matches!(first.as_str(), "crate" | "self" | "super");
        if !is_own && !self.tree.declares(module, first) {
            return self.crate_path(&path);
        }
        // A module of this crate may pass the name on.
        for split in (1..path.len()).rev() {
            let (inside, rest) = path.split_at(split);
            let targets = self.tree.resolve(module, inside, &mut Vec::new());
            if let Some(Target::Module(next)) = targets.first() {
                return self.follow(*next, rest.to_vec(), steps - 1);
            }
        }
        None
    }

    fn crate_path(&self, path: &[String]) -> Option<String> {
        let first = path.first()?;
        self.externs.contains(first).then(|| path.join("::"))
    }

    /// The imports of a module by name.
    fn imports(&self, module: usize) -> HashMap<String, Vec<String>> {
        let mut imports = HashMap::new();
        for item in self.module_of(module).into_iter().flat_map(|it| &it.items) {
            let Item::Use(item) = item else { continue };
            leaves(&item.tree, &mut Vec::new(), &mut |path, name, _| {
                if let Some(name) = name {
                    imports.insert(name.to_owned(), path.to_vec());
                }
            });
        }
        imports
    }

    fn add(&mut self, path: String, line: usize) {
        let file = self.tree.file(self.module).map(|file| file.path.display());
        let place = file.map_or_else(String::new, |file| format!("{file}:{line}"));
        self.found.entry(path).or_default().push(place);
    }

    /// Counts an alias that is not public by what it stands for.
    fn alias(&mut self, path: &[String]) {
        let Some(name) = path.last() else {
            return;
        };
        for target in self.tree.resolve(self.module, path, &mut Vec::new()) {
            let Target::Item(owner) = target else {
                continue;
            };
            let aliases = self.module_of(owner).into_iter().flat_map(|it| &it.items);
            for item in aliases {
                if let Item::Type(item) = item
                    && item.ident == name
                    && !is_public(&item.vis)
                {
                    let back = std::mem::replace(&mut self.module, owner);
                    self.visit_type(&item.ty);
                    self.module = back;
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = segments(path);
        match self.foreign(self.module, &names) {
            Some(named) => self.add(named, line(path)),
            None => self.alias(&names),
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_type_path(&mut self, ty: &'ast syn::TypePath) {
        let Some(of) = &ty.qself else {
            return self.visit_path(&ty.path);
        };
        self.visit_type(&of.ty);
        // `<T as a::Trait>::Item`: the first names are those of the trait.
        let names: Vec<String> = segments(&ty.path).into_iter().take(of.position).collect();
        if let Some(named) = self.foreign(self.module, &names) {
            self.add(named, line(&ty.path));
        }
        for part in &ty.path.segments {
            self.visit_path_arguments(&part.arguments);
        }
    }

    // Attributes of parameters name no types.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    // Lengths of arrays are values.
    fn visit_expr(&mut self, _: &'ast syn::Expr) {}
}

fn segments(path: &syn::Path) -> Vec<String> {
    path.segments
        .iter()
        .map(|part| part.ident.to_string())
        .collect()
}

fn ends_in(path: &syn::Path, name: &str) -> bool {
    path.segments.last().is_some_and(|last| last.ident == name)
}

/// Tells whether an item of this name is public, if this is the item.
fn declared(item: &Item, name: &str) -> Option<bool> {
    let (ident, visibility) = match item {
        Item::Struct(item) => (&item.ident, &item.vis),
        Item::Enum(item) => (&item.ident, &item.vis),
        Item::Trait(item) => (&item.ident, &item.vis),
        Item::Type(item) => (&item.ident, &item.vis),
        Item::Union(item) => (&item.ident, &item.vis),
        _ => return None,
    };
    (ident == name).then(|| is_public(visibility) && !is_hidden(attributes(item)))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tree, *};

    fn found(text: &str) -> Vec<String> {
        let externs = BTreeSet::from(["bytes".to_owned(), "serde".to_owned(), "http".to_owned()]);
        let tree = tree(&[("lib.rs", text), ("m.rs", "pub(crate) use bytes::Bytes;")]);
        names(&tree, &externs).into_keys().collect()
    }

    #[test]
    fn signatures_fields_and_aliases_count() {
        for text in [
            "use bytes::Bytes; pub fn f() -> Option<Bytes> {}",
            "pub fn f(_: bytes::Bytes) {}",
            "use bytes::Bytes as B; pub struct S { pub a: B }",
            "use bytes::Bytes; pub struct S(pub Bytes);",
            "use bytes::Bytes; pub enum E { A(Bytes) }",
            "use bytes::Bytes; pub type T = Vec<Bytes>;",
            "use bytes::Bytes; type P = Vec<Bytes>; pub fn f(_: P) {}",
            "use bytes::Bytes; pub struct S; impl S { pub fn f(&self, _: &Bytes) {} }",
            "use bytes::Bytes; pub struct S; impl From<Bytes> for S {}",
            "use bytes::Bytes; pub struct S; impl Iterator for S { type Item = Bytes; }",
            "use bytes::Bytes; pub trait T {} impl T for Bytes {}",
            "pub use bytes::Bytes;",
            "mod m; pub fn f(_: crate::m::Bytes) {}",
            "mod m; use crate::m::Bytes; pub fn f(_: Bytes) {}",
            "mod m; use m::Bytes as B; pub struct S<T> { pub a: T } impl S<B> { pub fn f(_: B) {} }",
            "pin_project_lite::pin_project! { pub struct S { #[pin] pub a: bytes::Bytes } }",
        ] {
            assert_eq!(found(text), ["bytes::Bytes"], "{text}");
        }
    }

    #[test]
    fn bounds_and_derives_count() {
        for text in [
            "use serde::Serialize; pub fn f<T: Serialize>(_: T) {}",
            "use serde::Serialize; pub fn f<T>(_: T) where T: Serialize {}",
            "use serde::Serialize; pub fn f(_: impl Serialize) {}",
            "use serde::Serialize; pub trait T: Serialize {}",
            "use serde::Serialize; pub struct S; impl Serialize for S {}",
            "#[derive(Clone, serde::Serialize)] pub struct S;",
        ] {
            assert_eq!(found(text), ["serde::Serialize"], "{text}");
        }
    }

    #[test]
    fn names_that_programs_do_not_see_do_not_count() {
        for text in [
            "use bytes::Bytes; fn f(_: Bytes) {}",
            "use bytes::Bytes; pub(crate) fn f(_: Bytes) {}",
            "use bytes::Bytes; pub struct S { a: Bytes }",
            "use bytes::Bytes; struct S; impl From<Bytes> for S {}",
            "use bytes::Bytes; trait T {} impl T for Bytes {}",
            "use bytes::Bytes; pub fn f() { let _: Bytes; }",
            "use bytes::Bytes; #[doc(hidden)] pub fn f(_: Bytes) {}",
            "#[doc(hidden)] pub mod hub { pub fn f(_: bytes::Bytes) {} }",
            "use bytes::Bytes; #[cfg(test)] pub fn f(_: Bytes) {}",
            "mod http { pub struct Own; } use http::Own; pub fn f(_: Own) {}",
            "#[derive(thiserror::Error)] pub struct S;",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn dependencies_are_those_of_the_library() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nhyperlane-core.workspace = true\n# Why.\nhttp-body = \"1\"\n\
                        [target.'cfg(unix)'.dependencies]\nrustix.workspace = true\n[dev-dependencies]\nproptest = \"1\"\n";
        let names = dependencies(manifest);
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["http_body", "rustix"]
        );
    }

    #[test]
    fn lists_and_source_agree() {
        let names = Names::from([("bytes::Bytes".to_owned(), vec!["a.rs:1".to_owned()])]);
        let problems = |lists| differences("a", &names, lists).len();
        assert_eq!(problems("[a]\n\"bytes::Bytes\" = \"shared bytes\"\n"), 0);
        assert_eq!(problems("[a]\n"), 1, "not listed");
        assert_eq!(
            problems("[b]\n\"bytes::Bytes\" = \"x\"\n"),
            1,
            "of another crate"
        );
        assert_eq!(problems("[a]\n\"bytes::Bytes\" = \"\"\n"), 1, "no reason");
        let stale = "[a]\n\"bytes::Bytes\" = \"x\"\n\"http::Uri\" = \"x\"\n";
        assert_eq!(problems(stale), 1, "gone");
    }
}
