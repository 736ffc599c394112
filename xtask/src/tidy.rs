//! Rules of the tree that no compiler checks.

use std::{fs, path::Path};

use crate::{Outcome, process};

/// Words that a pure codec has no use for.
const IMPURE: [&str; 5] = [
    "tokio::",
    "TcpStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
];

/// Marks of unfinished work.
const UNFINISHED: [&str; 3] = ["todo!(", "unimplemented!(", "FIXME"];

/// The document that lists every metric.
const METRICS: &str = "docs/observability.md";

pub(crate) fn run() -> Outcome {
    let mut problems = Vec::new();
    for folder in [
        "src",
        "hyperlane-core/src",
        "hyperlane-macros/src",
        "hyperlane-broadcast/src",
        "examples",
        "tests",
    ] {
        visit(&process::top().join(folder), &mut |path, text| {
            let pure = path.components().any(|part| part.as_os_str() == "proto");
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let found = UNFINISHED
                    .iter()
                    .chain(IMPURE.iter().filter(|_| pure))
                    .find(|word| code.contains(**word));
                if let Some(word) = found {
                    problems.push(format!("{}:{}: `{word}`", path.display(), number + 1));
                }
            }
        })?;
    }
    for document in [
        "docs/errors.md",
        "docs/rfc6455.md",
        "docs/rfc9112.md",
        "docs/sessions.md",
    ] {
        problems.extend(missing_tests(document)?);
    }
    problems.extend(missing_metrics()?);
    if problems.is_empty() {
        println!("tidy");
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
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
/// `file::name`, where a file without a folder is one of `tests`.
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
                let file = match file.contains('/') {
                    true => file.to_owned(),
                    false => format!("tests/{file}.rs"),
                };
                read(&file).is_ok_and(|text| text.contains(&format!("fn {name}(")))
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

fn visit(folder: &Path, look: &mut impl FnMut(&Path, &str)) -> Outcome {
    let failed = |error| format!("cannot read {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            visit(&path, look)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).map_err(failed)?;
            look(&path, &text);
        }
    }
    Ok(())
}
