//! What documents list exists, and what exists is listed.

use std::fs;

use super::source_files;
use crate::process;

/// Documents whose code paths are followed.
const WITH_PATHS: [&str; 5] = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/rfc6455.md",
    "docs/rfc9112.md",
    "docs/rfc9113.md",
];

/// Folders from which their paths may begin.
const BASES: [&str; 6] = [
    "",
    "hyperlane-core/src/",
    "hyperlane-core/src/proto/",
    "hyperlane-core/src/proto/http/",
    "hyperlane-core/src/proto/ws/",
    "hyperlane-macros/src/",
];

/// The document that lists every metric, and the log lines.
const METRICS: &str = "docs/observability.md";

pub(super) fn problems() -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for document in [
        "docs/cross-site.md",
        "docs/errors.md",
        "docs/rfc6455.md",
        "docs/rfc9112.md",
        "docs/rfc9113.md",
        "docs/sessions.md",
    ] {
        problems.extend(missing_tests(document)?);
    }
    for document in WITH_PATHS {
        problems.extend(missing_files(document)?);
    }
    problems.extend(missing_metrics()?);
    problems.extend(missing_log_lines()?);
    Ok(problems)
}

/// Log lines in the table of events of [`METRICS`] that no source has. `..` stands for more text.
fn missing_log_lines() -> Result<Vec<String>, String> {
    let mut source = String::new();
    for folder in ["hyperlane-core/src", "hyperlane-broadcast/src"] {
        for (_, text) in source_files(folder)? {
            source.push_str(&text);
        }
    }
    let text = fs::read_to_string(process::top().join(METRICS))
        .map_err(|error| format!("cannot read {METRICS}: {error}"))?;
    let rows = text
        .lines()
        .enumerate()
        .skip_while(|(_, line)| !line.starts_with("| event |"))
        .take_while(|(_, line)| line.starts_with('|'));
    let mut problems = Vec::new();
    for (number, row) in rows {
        let events = row.split('|').nth(1).unwrap_or_default();
        for event in events.split('`').skip(1).step_by(2) {
            if !source.contains(event.trim_end_matches("..").trim_end()) {
                problems.push(format!(
                    "{METRICS}:{}: no such log line: {event}",
                    number + 1
                ));
            }
        }
    }
    Ok(problems)
}

/// Files of source that a document names in backticks and that do not exist.
fn missing_files(document: &str) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(process::top().join(document))
        .map_err(|error| format!("cannot read {document}: {error}"))?;
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = line.split('`').skip(1).step_by(2);
        let paths = words.filter(|word| word.ends_with(".rs") && !word.contains(['{', '*', ' ']));
        for path in paths {
            let exists = |base: &&str| process::top().join(format!("{base}{path}")).is_file();
            if !BASES.iter().any(exists) {
                problems.push(format!("{document}:{}: no such file: {path}", number + 1));
            }
        }
    }
    Ok(problems)
}

/// Metrics that the code names and [`METRICS`] does not.
fn missing_metrics() -> Result<Vec<String>, String> {
    let read = |path: &str| {
        fs::read_to_string(process::top().join(path))
            .map_err(|error| format!("cannot read {path}: {error}"))
    };
    let told = read(METRICS)?;
    let mut problems = Vec::new();
    for file in [
        "hyperlane-core/src/observe/metrics.rs",
        "hyperlane-broadcast/src/metrics.rs",
    ] {
        // Names are the only string literals that begin so.
        for (number, line) in read(file)?.lines().enumerate() {
            let names = line.split('"').skip(1).step_by(2);
            for name in names.filter(|name| name.starts_with("hyperlane_")) {
                if !told.contains(&format!("| `{name}` |")) {
                    problems.push(format!("{file}:{}: not in {METRICS}: {name}", number + 1));
                }
            }
        }
    }
    Ok(problems)
}

/// Tests that the tables of a document name and that do not exist: in a last column headed `test`, each as
/// `file::name`, where a file without a folder is one of `tests/it` or `tests`, or a folder in `tests/it`.
fn missing_tests(document: &str) -> Result<Vec<String>, String> {
    let read = |path: &str| {
        let path = process::top().join(path);
        fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let mut problems = Vec::new();
    // Whether the table around has such a column; its head decides.
    let mut names_tests = None;
    for (number, line) in read(document)?.lines().enumerate() {
        let mut cells = line.rsplit('|').skip(1).map(str::trim);
        let (Some(test), Some(place)) = (cells.next(), cells.next()) else {
            names_tests = None;
            continue;
        };
        if !*names_tests.get_or_insert(test == "test") {
            continue;
        }
        let name = test
            .strip_prefix('`')
            .and_then(|test| test.strip_suffix('`'));
        let exists = match name.and_then(|name| name.rsplit_once("::")) {
            Some((file, name)) => {
                let declared = format!("fn {name}(");
                let mut texts = test_files(file)
                    .into_iter()
                    .filter_map(|file| read(&file).ok());
                texts.any(|text| text.contains(&declared))
            }
            // The head of a table, the line below it, and what does not apply.
            None => test == "test" || test == "---" || place.starts_with("not applicable"),
        };
        if !exists {
            problems.push(format!("{document}:{}: no such test: {test}", number + 1));
        }
    }
    Ok(problems)
}

/// The files that may hold a test that a document names.
fn test_files(file: &str) -> Vec<String> {
    if file.contains('/') {
        return vec![file.to_owned()];
    }
    let mut files = vec![format!("tests/it/{file}.rs"), format!("tests/{file}.rs")];
    let folder = format!("tests/it/{file}");
    let entries = fs::read_dir(process::top().join(&folder))
        .into_iter()
        .flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    files.extend(names.map(|name| format!("{folder}/{name}")));
    files
}
