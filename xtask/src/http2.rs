//! The end-to-end tests and the Autobahn suite over HTTP/2 with prior knowledge, through the bridge of `test-support`.
//!
//! The clients of the tests speak HTTP/1.1. `differences.txt` lists the tests that hold over HTTP/1.1 only, by the
//! reason.

use std::{collections::BTreeMap, fs};

use crate::{Outcome, autobahn, process};

const DIFFERENCES: &str = "xtask/http2/differences.txt";

/// The page that explains the reasons.
const PAGE: &str = "docs/http2.md";

/// The variable that `test-support` reads.
const OVER: &str = "HYPERLANE_TEST_OVER";

const USAGE: &str = "usage: cargo xtask http2 [--suite|--autobahn|--differences]";

/// The test binaries whose clients go through the bridge.
const BINARIES: [&str; 12] = [
    "it",
    "answers",
    "bodies",
    "compat",
    "conditional",
    "files",
    "functions",
    "macros",
    "scopes",
    "seeds",
    "upload",
    "vocabulary",
];

/// The tests that hold over HTTP/1.1 only, by their binary.
type Differences = BTreeMap<String, Vec<String>>;

pub(crate) fn run(args: &[String]) -> Outcome {
    let part = match args {
        [] => "",
        [part] => part,
        _ => return Err(USAGE.to_owned()),
    };
    match part {
        "" => suite().and_then(|()| autobahn()),
        "--suite" => suite(),
        "--autobahn" => autobahn(),
        "--differences" => still_differ(),
        _ => Err(USAGE.to_owned()),
    }
}

fn autobahn() -> Outcome {
    autobahn::run(&["--http2".to_owned()])
}

/// Runs all tests except those in the list of differences. Each test in the list must exist, so that the list names no
/// deleted tests.
fn suite() -> Outcome {
    let differences = differences()?;
    let mut problems = Vec::new();
    for binary in BINARIES {
        let skipped = differences.get(binary).map_or(&[][..], Vec::as_slice);
        let known = known(binary)?;
        let lost = skipped.iter().filter(|test| !known.contains(test));
        problems
            .extend(lost.map(|test| format!("{DIFFERENCES}: there is no test {binary} {test}")));
        let mut args: Vec<&str> = vec!["test", "--test", binary, "--", "--exact"];
        for test in skipped {
            args.extend(["--skip", test]);
        }
        println!(
            "{binary}: {} of {} over h2c",
            known.len() - skipped.len(),
            known.len()
        );
        problems.extend(process::run_with("cargo", args, [(OVER, "h2c")]).err());
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

/// Runs the tests in the list of differences, one by one. Returns an error that names those that pass.
fn still_differ() -> Outcome {
    let mut same = Vec::new();
    for (binary, tests) in differences()? {
        for test in tests {
            let args = ["test", "--quiet", "--test", &binary, "--", "--exact", &test];
            if process::run_with("cargo", args, [(OVER, "h2c")]).is_ok() {
                same.push(format!("{binary} {test} holds over HTTP/2 as well"));
            }
        }
    }
    match same.is_empty() {
        true => Ok(()),
        false => Err(same.join("\n")),
    }
}

/// Returns the names of the tests of a binary.
fn known(binary: &str) -> Result<Vec<String>, String> {
    let args = [
        "test", "--quiet", "--test", binary, "--", "--list", "--format", "terse",
    ];
    let list = process::read("cargo", args)?;
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// Reads the list: lines `[kind]`, each with tests `binary name` below it. The page must explain each kind.
fn differences() -> Result<Differences, String> {
    let read = |name: &str| {
        fs::read_to_string(process::top().join(name))
            .map_err(|error| format!("cannot read {name}: {error}"))
    };
    let page = read(PAGE)?;
    let mut differences = Differences::new();
    for line in read(DIFFERENCES)?.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(kind) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            if !page.contains(&format!("| {kind} |")) {
                return Err(format!("{PAGE} does not explain `{kind}`"));
            }
            continue;
        }
        let Some((binary, test)) = line.split_once(' ') else {
            return Err(format!("{DIFFERENCES}: `{line}` is no `binary test`"));
        };
        if !BINARIES.contains(&binary) {
            return Err(format!("{DIFFERENCES}: no binary `{binary}`"));
        }
        differences
            .entry(binary.to_owned())
            .or_default()
            .push(test.to_owned());
    }
    Ok(differences)
}
