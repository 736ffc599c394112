//! The order of the top-level modules of a crate: a module imports only from modules below it.
//!
//! Every spelling of an import counts: `use` trees, paths in expressions, types, attributes and the tokens of macros,
//! from `crate`, `$crate`, `self`, `super` or a name that an import brought in. A name that the root re-exports counts
//! for the module that owns it. The root lies above all modules. A method call is not an import: its type was imported
//! where its value was made.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::Visit;

use super::{
    baseline::Exception,
    modules::{ROOT_NAME, Target, Tree},
    syntax,
};

/// The lists, bottom to top, by crate.
pub(super) const LISTS: &str = include_str!("order.txt");

/// One use of a name of another top-level module.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    file: PathBuf,
    line: usize,
    path: String,
}

/// The names that [`LISTS`] has for a crate, bottom to top.
pub(super) fn list<'a>(lists: &'a str, krate: &str) -> Vec<&'a str> {
    let head = format!("[{krate}]");
    lists
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != head)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// Modules that the crate lacks and the list has, as problems.
pub(super) fn missing(tree: &Tree, krate: &str, list: &[&str]) -> Vec<String> {
    let tops = tree.tops();
    list.iter()
        .filter(|listed| !tops.iter().any(|module| module.name == **listed))
        .map(|listed| {
            format!("{krate}: xtask/src/tidy/order.txt lists `{listed}`, which is not a module; remove the line")
        })
        .collect()
}

/// Modules that the list lacks, as problems.
pub(super) fn unlisted(tree: &Tree, krate: &str, list: &[&str]) -> Vec<String> {
    tree.tops()
        .iter()
        .filter(|module| !list.contains(&module.name.as_str()))
        .map(|module| {
            format!(
                "{krate}: module `{}` is not listed in xtask/src/tidy/order.txt",
                module.name
            )
        })
        .collect()
}

/// Imports that go upward, by pair of modules.
pub(super) fn upward(edges: &[Edge], krate: &str, list: &[&str]) -> Vec<Exception> {
    let height = |name: &str| list.iter().position(|listed| *listed == name);
    let mut pairs = BTreeMap::<String, Vec<String>>::new();
    for edge in edges {
        // A module that is not listed is a problem of its own.
        let goes_up = match (height(&edge.from), height(&edge.to)) {
            (Some(from), Some(to)) => to > from,
            (Some(_), None) => edge.to == ROOT_NAME,
            _ => false,
        };
        if goes_up {
            let key = format!("order {krate}: {} -> {}", edge.from, edge.to);
            let place = format!("{}:{}: `{}`", edge.file.display(), edge.line, edge.path);
            pairs.entry(key).or_default().push(place);
        }
    }
    pairs
        .into_iter()
        .map(|(key, places)| Exception {
            key,
            number: places.len(),
            places,
        })
        .collect()
}

/// The pairs of modules that import each other, and the modules of the largest circle.
///
/// A pair counts where each of the two has an import of the other. A circle is a set of modules, each of which reaches
/// all others of it over imports: it may have no such pair. Without imports that go upward there is neither.
pub(super) fn cycles(edges: &[Edge]) -> (usize, Vec<&str>) {
    let direct: BTreeSet<(&str, &str)> = edges
        .iter()
        .map(|edge| (edge.from.as_str(), edge.to.as_str()))
        .collect();
    let pairs = direct
        .iter()
        .filter(|(from, to)| from < to && direct.contains(&(*to, *from)))
        .count();
    let mut reach = direct.clone();
    loop {
        let more: Vec<_> = reach
            .iter()
            .flat_map(|(from, over)| {
                let onward = direct.iter().filter(move |(start, _)| start == over);
                onward.map(move |(_, to)| (*from, *to))
            })
            .filter(|step| !reach.contains(step))
            .collect();
        if more.is_empty() {
            break;
        }
        reach.extend(more);
    }
    let names: BTreeSet<&str> = direct.iter().map(|(from, _)| *from).collect();
    let largest = names
        .iter()
        .map(|name| {
            let both = |other: &&&str| {
                reach.contains(&(*name, **other)) && reach.contains(&(**other, *name))
            };
            names.iter().filter(both).copied().collect::<Vec<_>>()
        })
        .max_by_key(Vec::len)
        .unwrap_or_default();
    (pairs, largest)
}

/// All uses of names of other top-level modules, and the paths whose owner was not found, as problems.
pub(super) fn edges(tree: &Tree) -> (Vec<Edge>, Vec<String>) {
    let mut finder = Finder {
        tree,
        module: 0,
        edges: Vec::new(),
        problems: Vec::new(),
    };
    for (id, module) in tree.modules.iter().enumerate() {
        // The root may import everything.
        if id == 0 {
            continue;
        }
        finder.module = id;
        for item in &module.items {
            finder.visit_item(item);
        }
    }
    (finder.edges, finder.problems)
}

struct Finder<'a> {
    tree: &'a Tree,
    /// The module that is looked at.
    module: usize,
    edges: Vec<Edge>,
    problems: Vec<String>,
}

impl Finder<'_> {
    fn name(&self, module: usize) -> &str {
        let module = self.tree.modules.get(module);
        module.map_or(ROOT_NAME, |module| module.name.as_str())
    }

    fn import(&mut self, path: &[String], is_glob: bool, line: usize) {
        let mut passed = Vec::new();
        let targets = self.tree.resolve(self.module, path, &mut passed);
        self.add(path, targets, passed, is_glob, line);
    }

    /// A path outside of `use`.
    fn inline(&mut self, path: &[String], line: usize) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        if rest.is_empty() || first == "Self" {
            return;
        }
        if !matches!(first.as_str(), "crate" | "self" | "super") {
            // The import of an item has been counted; only a module leads on to more names.
            let start = std::slice::from_ref(first);
            let starts = self
                .tree
                .resolve(self.module, start, &mut Vec::new())
                .into_iter();
            if !starts
                .into_iter()
                .any(|start| matches!(start, Target::Module(_)))
            {
                return;
            }
        }
        let mut passed = Vec::new();
        let mut targets = self.tree.resolve(self.module, path, &mut passed);
        let is_module = |target: &Target| matches!(target, Target::Module(_));
        if !targets.iter().all(is_module) {
            targets.retain(|target| !is_module(target));
        }
        self.add(path, targets, passed, false, line);
    }

    fn add(
        &mut self,
        path: &[String],
        targets: Vec<Target>,
        passed: Vec<usize>,
        is_glob: bool,
        line: usize,
    ) {
        let tree = self.tree;
        let file = tree.file(self.module).map(|file| file.path.clone());
        let file = file.unwrap_or_default();
        let shown = path.join("::");
        if targets.is_empty() {
            let place = file.display();
            self.problems
                .push(format!("{place}:{line}: no owner found for `{shown}`"));
        }
        let owners = targets.iter().filter_map(|target| match target {
            // A module that is no top-level one was passed, too.
            Target::Item(owner) => Some(tree.top(*owner)),
            Target::Module(module) if *module == 0 => is_glob.then_some(0),
            Target::Module(_) | Target::External => None,
        });
        let from = tree.top(self.module);
        let owners: BTreeSet<&str> = passed
            .into_iter()
            .filter(|module| *module != 0)
            .chain(owners)
            .map(|owner| self.name(owner))
            .filter(|owner| *owner != self.name(from))
            .collect();
        let edges: Vec<Edge> = owners
            .into_iter()
            .map(|to| Edge {
                from: self.name(from).to_owned(),
                to: to.to_owned(),
                file: file.clone(),
                line,
                path: shown.clone(),
            })
            .collect();
        self.edges.extend(edges);
    }

    fn tokens(&mut self, tokens: &TokenStream) {
        for (path, line) in paths(tokens.clone()) {
            self.inline(&path, line);
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
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

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            syntax::leaves(&item.tree, &mut Vec::new(), &mut |path, name, line| {
                self.import(path, name.is_none(), line);
            });
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names = path.segments.iter().map(|part| part.ident.to_string());
            self.inline(&names.collect::<Vec<_>>(), syntax::line(path));
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(&call.tokens);
    }

    fn visit_attribute(&mut self, attr: &'ast syn::Attribute) {
        match &attr.meta {
            syn::Meta::Path(path) => self.visit_path(path),
            syn::Meta::List(list) => {
                self.visit_path(&list.path);
                self.tokens(&list.tokens);
                // Such as `#[serde(with = "crate::..")]`.
                for path in quoted_paths(list.tokens.clone()) {
                    self.inline(&path, syntax::line(list));
                }
            }
            syn::Meta::NameValue(_) => {}
        }
    }

    // `pub(in path)` names a module around, not one that is used.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

/// Paths among the tokens of a macro, with their lines.
fn paths(tokens: TokenStream) -> Vec<(Vec<String>, usize)> {
    let mut found = Vec::new();
    collect(tokens, &[], &mut found);
    found
}

fn collect(tokens: TokenStream, prefix: &[String], found: &mut Vec<(Vec<String>, usize)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut rest = tokens.as_slice();
    // The sign before, which decides whether a name begins a path.
    let mut before = None;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        match token {
            TokenTree::Group(group) => {
                collect(group.stream(), &[], found);
                before = None;
            }
            TokenTree::Literal(_) => before = None,
            TokenTree::Punct(sign) => before = Some(sign.as_char()),
            TokenTree::Ident(word) => {
                let starts = match before {
                    // Variables of macros, methods, lifetimes, raw names; after `::`, names of other crates.
                    Some('$') => word == "crate",
                    Some('#' | '.' | '\'' | ':') => {
                        before == Some(':') && !follows_path(&tokens, rest)
                    }
                    _ => true,
                };
                before = None;
                let mut path = prefix.to_vec();
                path.push(word.to_string());
                let mut inside = None;
                while let Some((next, after)) = path_step(rest) {
                    match next {
                        TokenTree::Ident(name) => {
                            path.push(name.to_string());
                            rest = after;
                        }
                        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                            inside = Some(group.stream());
                            rest = after;
                            break;
                        }
                        _ => break,
                    }
                }
                if !starts {
                    continue;
                }
                match inside {
                    Some(inside) => collect(inside, &path, found),
                    None => found.push((path, word.span().start().line)),
                }
            }
        }
    }
}

/// Tells whether the word before `rest` has `::` before it, not a single colon.
fn follows_path(tokens: &[TokenTree], rest: &[TokenTree]) -> bool {
    let word = tokens.len().saturating_sub(rest.len() + 1);
    let colon = |back: usize| {
        let place = word.checked_sub(back).and_then(|place| tokens.get(place));
        matches!(place, Some(TokenTree::Punct(sign)) if sign.as_char() == ':')
    };
    colon(1) && colon(2)
}

/// What stands behind `::`, and the tokens after it.
fn path_step(tokens: &[TokenTree]) -> Option<(&TokenTree, &[TokenTree])> {
    let [
        TokenTree::Punct(one),
        TokenTree::Punct(two),
        next,
        rest @ ..,
    ] = tokens
    else {
        return None;
    };
    (one.as_char() == ':' && two.as_char() == ':').then_some((next, rest))
}

/// Paths of this crate in string literals.
fn quoted_paths(tokens: TokenStream) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => found.extend(quoted_paths(group.stream())),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let text = text.trim_matches('"');
                if text.starts_with("crate::") || text.starts_with("super::") {
                    found.push(text.split("::").map(ToOwned::to_owned).collect());
                }
            }
            _ => {}
        }
    }
    found
}
