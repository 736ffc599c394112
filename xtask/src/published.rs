//! The crates that are published and what they depend on, as `cargo metadata` lists them.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::process;

/// Features that need a Rust above `rust-version`; their docs say so.
const YOUNGER: [&str; 1] = ["nats"];

/// The published crates.
pub(crate) struct Published {
    /// Their names.
    pub(crate) names: Vec<String>,
    /// All their features but [`YOUNGER`], as `crate/feature`.
    pub(crate) features: Vec<String>,
    /// Their `rust-version`.
    pub(crate) rust_version: String,
}

impl Published {
    pub(crate) fn read() -> Result<Self, String> {
        let metadata = metadata(&["--no-deps"])?;
        let mut published = Self {
            names: Vec::new(),
            features: Vec::new(),
            rust_version: String::new(),
        };
        for package in list(&metadata, "packages").filter(|package| is_published(package)) {
            let name = text(package, "name");
            let features = package.get("features").and_then(Value::as_object);
            for feature in features.into_iter().flat_map(|features| features.keys()) {
                if !YOUNGER.contains(&feature.as_str()) {
                    published.features.push(format!("{name}/{feature}"));
                }
            }
            published.names.push(name.to_owned());
            text(package, "rust_version").clone_into(&mut published.rust_version);
        }
        match published.rust_version.is_empty() {
            true => Err("no published crate states its `rust-version`".to_owned()),
            false => Ok(published),
        }
    }

    /// Returns the options that select these crates and, of their features, those that `rust-version` builds.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = self.packages();
        options.extend(["--features".to_owned(), self.features.join(",")]);
        options
    }

    /// Returns the options that select these crates.
    pub(crate) fn packages(&self) -> Vec<String> {
        let names = self.names.iter();
        names
            .flat_map(|name| ["--package".to_owned(), name.clone()])
            .collect()
    }

    /// Lists the dependencies, on every platform, whose own `rust-version` is above that of our crates.
    ///
    /// Dependencies of tests and tasks may be younger: no program gets them from us.
    pub(crate) fn younger_dependencies(&self) -> Result<Vec<String>, String> {
        let metadata = metadata(&["--features", &self.features.join(",")])?;
        let packages: HashMap<&str, &Value> = list(&metadata, "packages")
            .map(|package| (text(package, "id"), package))
            .collect();
        let nodes: HashMap<&str, &Value> = metadata
            .get("resolve")
            .into_iter()
            .flat_map(|resolve| list(resolve, "nodes"))
            .map(|node| (text(node, "id"), node))
            .collect();
        let ours = number(&self.rust_version);
        let mut younger = Vec::new();
        let mut left: Vec<&str> = packages
            .iter()
            .filter(|(_, package)| is_published(package))
            .map(|(id, _)| *id)
            .collect();
        let mut seen: HashSet<&str> = left.iter().copied().collect();
        while let Some(id) = left.pop() {
            if let Some(package) = packages.get(id)
                && number(text(package, "rust_version")) > ours
            {
                younger.push(format!(
                    "{} {} needs Rust {}",
                    text(package, "name"),
                    text(package, "version"),
                    text(package, "rust_version")
                ));
            }
            let dependencies = nodes
                .get(id)
                .into_iter()
                .flat_map(|node| list(node, "deps"));
            for dependency in dependencies.filter(|dependency| is_built(dependency)) {
                let id = text(dependency, "pkg");
                if seen.insert(id) {
                    left.push(id);
                }
            }
        }
        younger.sort_unstable();
        Ok(younger)
    }
}

fn metadata(options: &[&str]) -> Result<Value, String> {
    let args = ["metadata", "--format-version", "1", "--locked"];
    let printed = process::read("cargo", args.iter().chain(options))?;
    serde_json::from_str(&printed).map_err(|error| format!("cargo metadata: {error}"))
}

/// Tells whether a package of the workspace is published: its `publish` is not an empty list.
fn is_published(package: &Value) -> bool {
    let is_ours = package.get("source").is_none_or(Value::is_null);
    is_ours && package.get("publish").is_none_or(Value::is_null)
}

/// Tells whether a dependency is part of a program, or of its build.
fn is_built(dependency: &Value) -> bool {
    list(dependency, "dep_kinds")
        .map(|kind| text(kind, "kind"))
        .any(|kind| kind != "dev")
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.get(name).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Returns major, minor and patch; parts that are left out are 0.
fn number(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    [0; 3].map(|missing| parts.next().unwrap_or(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(number("1.100") > number("1.88.1"));
        assert_eq!(number("1.88"), number("1.88.0"));
        assert!(number("") < number("1.0"));
    }
}
