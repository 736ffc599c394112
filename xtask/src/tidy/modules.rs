//! The modules of a crate, read from its source, and the owners of the names that its paths lead to.
//!
//! Tests are left out: items under `#[cfg(test)]`, and the files that such items bring in.

use std::{
    collections::HashSet,
    ops::Range,
    path::{Path, PathBuf},
};

use syn::{Attribute, Item, visit::Visit};

use super::syntax::{
    attributes, is_hidden, is_public, is_test, leaves, lines, named_paths, summary, words,
};

/// Position of the crate's root among the modules.
const ROOT: usize = 0;

/// Name of the root in lists of top-level modules.
pub(super) const ROOT_NAME: &str = "lib";

/// A crate: its modules, the root first, and the files that they come from.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) modules: Vec<Module>,
    pub(super) files: Vec<SourceFile>,
    /// Macros that `#[macro_export]` puts into the root, with the modules that define them.
    exported: Vec<(String, usize)>,
    /// Names under which the crate knows itself (`extern crate self as ..`).
    own_names: Vec<String>,
}

pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// Lines that belong to unit tests, from 0.
    tests: Vec<Range<usize>>,
}

impl SourceFile {
    /// Number of lines that are not unit tests.
    pub(super) fn length(&self) -> usize {
        let tests: usize = self.tests.iter().map(ExactSizeIterator::len).sum();
        self.text.lines().count().saturating_sub(tests)
    }
}

pub(super) struct Module {
    pub(super) name: String,
    /// Position of its file in [`Tree::files`].
    pub(super) file: usize,
    /// Items apart from tests and from inline modules, which are modules of their own.
    pub(super) items: Vec<Item>,
    /// First sentence of its docs.
    pub(super) summary: Option<String>,
    /// Declared `pub`.
    public: bool,
    /// Left out of the docs.
    hidden: bool,
    parent: usize,
    children: Vec<(String, usize)>,
    defined: HashSet<String>,
    /// Words in macros and their calls, which may define items of these names.
    generated: HashSet<String>,
    imports: Vec<Import>,
}

struct Import {
    /// `None`: a glob.
    name: Option<String>,
    path: Vec<String>,
    /// Stands inside a function.
    local: bool,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Module(usize),
    /// An item, by the module that owns it.
    Item(usize),
    /// Another crate, a local name, or a name of the prelude.
    External,
}

/// Imports that are being followed, so that circles of them end.
type Seen = HashSet<(usize, usize, String)>;

/// How a file of source is read: `None` if it does not exist.
pub(super) type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

impl Tree {
    /// Reads a crate, from the file of its root.
    pub(super) fn load(root: &Path, read: Read<'_>) -> Result<Self, String> {
        let mut tree = Self::default();
        tree.add_file(root, ROOT_NAME, ROOT, true, read)?;
        Ok(tree)
    }

    /// Adds the module of a file. `own_folder`: its children lie beside it, not in a folder of its name.
    fn add_file(
        &mut self,
        path: &Path,
        name: &str,
        parent: usize,
        own_folder: bool,
        read: Read<'_>,
    ) -> Result<usize, String> {
        let text = read(path).ok_or_else(|| format!("cannot read {}", path.display()))?;
        let parsed = syn::parse_file(&text)
            .map_err(|error| format!("cannot parse {}: {error}", path.display()))?;
        let file = self.files.len();
        self.files.push(SourceFile {
            path: path.to_owned(),
            text,
            tests: Vec::new(),
        });
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let folder = match own_folder {
            true => folder,
            false => folder.join(path.file_stem().unwrap_or_default()),
        };
        self.add(
            name,
            parent,
            file,
            &parsed.attrs,
            parsed.items,
            &folder,
            read,
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn add(
        &mut self,
        name: &str,
        parent: usize,
        file: usize,
        attrs: &[Attribute],
        items: Vec<Item>,
        folder: &Path,
        read: Read<'_>,
    ) -> Result<usize, String> {
        let id = self.modules.len();
        self.modules.push(Module {
            name: name.to_owned(),
            file,
            items: Vec::new(),
            summary: summary(attrs),
            public: id == ROOT,
            hidden: false,
            parent,
            children: Vec::new(),
            defined: HashSet::new(),
            generated: HashSet::new(),
            imports: Vec::new(),
        });
        for item in items {
            if is_test(attributes(&item)) {
                if let Some(file) = self.files.get_mut(file) {
                    file.tests.push(lines(&item));
                }
                continue;
            }
            if let Item::Mod(module) = item {
                let name = module.ident.to_string();
                let (public, hidden) = (is_public(&module.vis), is_hidden(&module.attrs));
                let mut children = Vec::new();
                match module.content {
                    Some((_, items)) => {
                        let folder = folder.join(&name);
                        let attrs = &module.attrs;
                        children.push(self.add(&name, id, file, attrs, items, &folder, read)?);
                    }
                    None => {
                        // A `cfg_attr` names a second file for the same module: both count.
                        let (always, more) = named_paths(&module.attrs);
                        let beside = self.files.get(file).and_then(|file| file.path.parent());
                        let beside = beside.unwrap_or(Path::new("")).to_owned();
                        if always.is_empty() {
                            let flat = folder.join(format!("{name}.rs"));
                            let nested = folder.join(&name).join("mod.rs");
                            if read(&flat).is_some() {
                                children.push(self.add_file(&flat, &name, id, false, read)?);
                            } else if more.is_empty() || read(&nested).is_some() {
                                children.push(self.add_file(&nested, &name, id, true, read)?);
                            }
                        }
                        for path in always.iter().chain(&more) {
                            let path = beside.join(path);
                            children.push(self.add_file(&path, &name, id, true, read)?);
                        }
                    }
                }
                for child in &children {
                    if let Some(child) = self.modules.get_mut(*child) {
                        (child.public, child.hidden) = (public, hidden);
                    }
                }
                if let Some(parent) = self.modules.get_mut(id) {
                    parent
                        .children
                        .extend(children.into_iter().map(|child| (name.clone(), child)));
                }
            } else {
                self.add_item(id, item);
            }
        }
        Ok(id)
    }

    fn add_item(&mut self, id: usize, item: Item) {
        let Some(module) = self.modules.get_mut(id) else {
            return;
        };
        let name = match &item {
            Item::Const(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Fn(item) => Some(&item.sig.ident),
            Item::Static(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::TraitAlias(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            Item::Macro(item) => {
                let exported = |attr: &Attribute| attr.path().is_ident("macro_export");
                if let Some(name) = &item.ident
                    && item.attrs.iter().any(exported)
                {
                    self.exported.push((name.to_string(), id));
                }
                words(item.mac.tokens.clone(), &mut module.generated);
                item.ident.as_ref()
            }
            Item::ExternCrate(item) => {
                if let Some((_, name)) = &item.rename
                    && item.ident == "self"
                {
                    self.own_names.push(name.to_string());
                }
                None
            }
            _ => None,
        };
        module.defined.extend(name.map(ToString::to_string));
        let mut uses = Uses {
            imports: &mut module.imports,
            local: !matches!(item, Item::Use(_)),
        };
        uses.visit_item(&item);
        module.items.push(item);
    }

    /// Follows a path of a module to what it names.
    ///
    /// Puts the top-level modules that the path itself goes through into `passed`. An empty answer: the path begins in
    /// this crate and its end was not found.
    pub(super) fn resolve(
        &self,
        from: usize,
        path: &[String],
        passed: &mut Vec<usize>,
    ) -> Vec<Target> {
        self.walk(from, path, &mut Seen::new(), passed)
    }

    fn walk(
        &self,
        from: usize,
        path: &[String],
        seen: &mut Seen,
        passed: &mut Vec<usize>,
    ) -> Vec<Target> {
        let Some((first, rest)) = path.split_first() else {
            return Vec::new();
        };
        let mut current = match first.as_str() {
            "crate" => vec![Target::Module(ROOT)],
            "self" => vec![Target::Module(from)],
            "super" => vec![Target::Module(self.parent(from))],
            name => {
                let found = self.lookup(from, name, true, seen);
                match found.is_empty() {
                    true if self.own_names.iter().any(|own| own == name) => {
                        vec![Target::Module(ROOT)]
                    }
                    true => return vec![Target::External],
                    false => found,
                }
            }
        };
        self.note(&current, passed);
        for name in rest {
            // Only modules have names inside, as far as owners matter.
            if current
                .iter()
                .any(|target| matches!(target, Target::Module(_)))
            {
                current.retain(|target| matches!(target, Target::Module(_)));
            }
            let mut next = Vec::new();
            for target in current {
                let Target::Module(module) = target else {
                    next.push(target);
                    continue;
                };
                match name.as_str() {
                    "self" => next.push(target),
                    "super" => next.push(Target::Module(self.parent(module))),
                    name => {
                        let found = self.lookup(module, name, false, seen);
                        // The compiler has found it, so a macro must have defined it.
                        let made = found.is_empty() && module != ROOT && seen.is_empty();
                        next.extend(found);
                        next.extend(made.then_some(Target::Item(module)));
                    }
                }
            }
            self.note(&next, passed);
            current = next;
        }
        current
    }

    fn note(&self, targets: &[Target], passed: &mut Vec<usize>) {
        for target in targets {
            if let Target::Module(module) = target {
                passed.push(self.top(*module));
            }
        }
    }

    /// All that a name is in a module. `inside`: asked by the module's own code.
    fn lookup(&self, module: usize, name: &str, inside: bool, seen: &mut Seen) -> Vec<Target> {
        let found = self.lookup_certain(module, name, inside, seen);
        if !found.is_empty() {
            return found;
        }
        let mut at = HashSet::new();
        self.lookup_generated(module, name, seen, &mut at)
            .into_iter()
            .collect()
    }

    fn lookup_certain(&self, id: usize, name: &str, inside: bool, seen: &mut Seen) -> Vec<Target> {
        let Some(module) = self.modules.get(id) else {
            return Vec::new();
        };
        let mut found: Vec<Target> = module
            .children
            .iter()
            .filter(|(child, _)| child == name)
            .map(|(_, child)| Target::Module(*child))
            .collect();
        if module.defined.contains(name) {
            found.push(Target::Item(id));
        }
        if id == ROOT {
            let exported = self.exported.iter().filter(|(macro_, _)| macro_ == name);
            found.extend(exported.map(|(_, owner)| Target::Item(*owner)));
        }
        let named = |import: &Import, name| import.name.as_deref() == name;
        for only_named in [Some(name), None] {
            if only_named.is_none() && !found.is_empty() {
                break;
            }
            for (number, import) in module.imports.iter().enumerate() {
                if !named(import, only_named) || (import.local && !inside) {
                    continue;
                }
                let step = (id, number, name.to_owned());
                if !seen.insert(step.clone()) {
                    continue;
                }
                let targets = self.walk(id, &import.path, seen, &mut Vec::new());
                if only_named.is_some() {
                    found.extend(targets);
                } else {
                    for target in targets {
                        if let Target::Module(target) = target {
                            found.extend(self.lookup_certain(target, name, false, seen));
                        }
                    }
                }
                seen.remove(&step);
            }
        }
        found.dedup();
        found
    }

    /// A module that has a call of a macro with this word, among those that a module's names come from.
    fn lookup_generated(
        &self,
        id: usize,
        name: &str,
        seen: &mut Seen,
        at: &mut HashSet<usize>,
    ) -> Option<Target> {
        let module = self.modules.get(id).filter(|_| at.insert(id))?;
        if module.generated.contains(name) {
            return Some(Target::Item(id));
        }
        let globs = module.imports.iter().filter(|import| import.name.is_none());
        globs
            .flat_map(|glob| self.walk(id, &glob.path, seen, &mut Vec::new()))
            .collect::<Vec<_>>()
            .into_iter()
            .find_map(|target| match target {
                Target::Module(target) => self.lookup_generated(target, name, seen, at),
                _ => None,
            })
    }

    /// Tells whether a module has a child or an item of this name, those of macros left out.
    pub(super) fn declares(&self, id: usize, name: &str) -> bool {
        self.modules.get(id).is_some_and(|module| {
            module.defined.contains(name) || module.children.iter().any(|(child, _)| child == name)
        })
    }

    /// Tells whether the docs leave out neither a module nor a module around it.
    pub(super) fn is_shown(&self, id: usize) -> bool {
        self.upward(id).all(|module| !module.hidden)
    }

    /// Tells whether a module and all modules around it are public and shown in the docs.
    pub(super) fn is_public(&self, id: usize) -> bool {
        self.upward(id)
            .all(|module| module.public && !module.hidden)
    }

    /// A module and the modules around it, the root last.
    fn upward(&self, id: usize) -> impl Iterator<Item = &Module> {
        let up = |id: &usize| (*id != ROOT).then(|| self.parent(*id));
        std::iter::successors(Some(id), up).filter_map(|id| self.modules.get(id))
    }

    fn parent(&self, id: usize) -> usize {
        self.modules.get(id).map_or(ROOT, |module| module.parent)
    }

    /// The top-level module that a module lies in; the root itself for the root.
    pub(super) fn top(&self, mut id: usize) -> usize {
        while self.parent(id) != ROOT {
            id = self.parent(id);
        }
        id
    }

    /// Names of the modules from the root to a module, such as `proto::http`; empty for the root.
    pub(super) fn path(&self, mut id: usize) -> String {
        let mut names = Vec::new();
        while let Some(module) = self.modules.get(id).filter(|_| id != ROOT) {
            names.insert(0, module.name.as_str());
            id = module.parent;
        }
        names.join("::")
    }

    pub(super) fn file(&self, id: usize) -> Option<&SourceFile> {
        self.files.get(self.modules.get(id)?.file)
    }

    /// Top-level modules in the order of the source, each once.
    pub(super) fn tops(&self) -> Vec<&Module> {
        let mut tops: Vec<&Module> = Vec::new();
        for (name, id) in self.modules.iter().take(1).flat_map(|root| &root.children) {
            if let Some(module) = self.modules.get(*id)
                && !tops.iter().any(|top| top.name == *name)
            {
                tops.push(module);
            }
        }
        tops
    }
}

/// Collects imports, those inside functions included.
struct Uses<'a> {
    imports: &'a mut Vec<Import>,
    local: bool,
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_some() {
            return;
        }
        leaves(&item.tree, &mut Vec::new(), &mut |path, name, _| {
            self.imports.push(Import {
                name: name.map(ToOwned::to_owned),
                path: path.to_vec(),
                local: self.local,
            });
        });
    }
}
