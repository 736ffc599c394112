//! Every macro has a program that must compile and one that must not.

use std::fs;
use std::path::Path;

/// Reads all programs of a folder.
fn programs(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/ui")
        .join(folder);
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let programs = files.filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    programs
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// The names of the declared macros.
fn names() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let code = fs::read_to_string(path).unwrap();
    let declared = code.rsplit_once("declare! {").unwrap().1;
    let lines = declared.lines().map(str::trim);
    let entries = lines.filter(|line| !line.starts_with("///") && line.ends_with(';'));
    let names = entries.map(|line| line.trim_end_matches(';').split(' ').next().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn every_macro_has_a_passing_and_a_failing_case() {
    let names = names();
    assert!(names.len() > 80, "{names:?}");
    for folder in ["pass", "fail"] {
        let programs = programs(folder);
        let words: Vec<&str> = programs
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .collect();
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !words.contains(&name.as_str()))
            .collect();
        assert!(missing.is_empty(), "{folder}: {missing:?}");
    }
}
