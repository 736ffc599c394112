//! The end-to-end tests over HTTP/2 and TLS, and the Autobahn suite over HTTP/2 with prior knowledge, through the bridge of
//! `test-support`.
//!
//! The tests are clients of HTTP/1.1. `differences.txt` names those that do not hold over another protocol, by the reason.

use std::{collections::BTreeMap, fs};

use crate::{Outcome, autobahn, process};

const DIFFERENCES: &str = "xtask/http2/differences.txt";

/// The page that explains the reasons.
const PAGE: &str = "docs/http2.md";

/// The variable that `test-support` reads.
const OVER: &str = "HYPERLANE_TEST_OVER";

const USAGE: &str =
    "usage: cargo xtask http2 [--suite [h2c|tls|tls-h2]|--autobahn|--differences [h2c|tls|tls-h2]]";

/// The protocols beside HTTP/1.1 without TLS, as `test-support` names them.
const PROTOCOLS: [&str; 3] = ["h2c", "tls", "tls-h2"];

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

/// The tests that do not hold over a protocol, by their binary.
type Differences = BTreeMap<String, Vec<String>>;

pub(crate) fn run(args: &[String]) -> Outcome {
    let (part, over) = match args {
        [] => ("", &PROTOCOLS[..]),
        [part] => (part.as_str(), &PROTOCOLS[..]),
        [part, over] => {
            let known = PROTOCOLS.iter().find(|known| *known == over);
            (part.as_str(), std::slice::from_ref(known.ok_or(USAGE)?))
        }
        _ => return Err(USAGE.to_owned()),
    };
    match part {
        "" => each(over, suite).and_then(|()| autobahn()),
        "--suite" => each(over, suite),
        "--autobahn" => autobahn(),
        "--differences" => each(over, still_differ),
        _ => Err(USAGE.to_owned()),
    }
}

/// Runs a part over each protocol, although it may fail over one of them.
fn each(protocols: &[&'static str], part: fn(&'static str) -> Outcome) -> Outcome {
    let problems: Vec<String> = protocols
        .iter()
        .filter_map(|over| part(over).err())
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

fn autobahn() -> Outcome {
    autobahn::run(&["--http2".to_owned()])
}

/// Runs all tests but those that differ. Each of these has to exist, so that the list does not outlive them.
fn suite(over: &'static str) -> Outcome {
    let differences = differences(over)?;
    let mut problems = Vec::new();
    let (mut ran, mut all) = (0, 0);
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
        let count = known.len() - skipped.len();
        println!("{binary}: {count} of {} over {over}", known.len());
        (ran, all) = (ran + count, all + known.len());
        let outcome = process::run_with("cargo", args, [(OVER, over)]);
        problems.extend(
            outcome
                .err()
                .map(|problem| format!("{binary} over {over}: {problem}")),
        );
    }
    println!("{ran} of {all} tests over {over}");
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

/// Runs the tests that differ, one by one, and names those that pass.
fn still_differ(over: &'static str) -> Outcome {
    let mut same = Vec::new();
    for (binary, tests) in differences(over)? {
        for test in tests {
            let args = ["test", "--quiet", "--test", &binary, "--", "--exact", &test];
            if process::run_with("cargo", args, [(OVER, over)]).is_ok() {
                same.push(format!("{binary} {test} holds over {over} as well"));
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

/// Reads the list of a protocol: lines `[kind]` of HTTP/2, or `[kind: protocol ..]`, each with tests `binary name` below it.
/// The page explains each kind.
fn differences(over: &str) -> Result<Differences, String> {
    let read = |name: &str| {
        fs::read_to_string(process::top().join(name))
            .map_err(|error| format!("cannot read {name}: {error}"))
    };
    let page = read(PAGE)?;
    let mut differences = Differences::new();
    let mut is_meant = false;
    for line in read(DIFFERENCES)?.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(kind) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            let (kind, protocols) = line_of_kind(kind);
            is_meant = protocols.contains(&over);
            if let Some(unknown) = protocols.iter().find(|name| !PROTOCOLS.contains(name)) {
                return Err(format!("{DIFFERENCES}: no protocol `{unknown}`"));
            }
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
        let tests = differences.entry(binary.to_owned()).or_default();
        if is_meant && !tests.iter().any(|known| known == test) {
            tests.push(test.to_owned());
        }
    }
    Ok(differences)
}

/// Takes a kind and its protocols apart.
fn line_of_kind(line: &str) -> (&str, Vec<&str>) {
    match line.split_once(':') {
        Some((kind, protocols)) => (kind, protocols.split_whitespace().collect()),
        None => (line, vec!["h2c", "tls-h2"]),
    }
}
