//! The fuzz targets of `fuzz/`, each for some minutes.
//!
//! Runs on a stable compiler: the coverage that libFuzzer steers by needs no nightly, and the address
//! sanitizer, which does, has nothing to find in a tree without unsafe code.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Outcome, process, tools};

/// The version that the command lines below were written for.
const CARGO_FUZZ: &str = "0.13.2";

const DEFAULT_MINUTES: f64 = 5.0;

/// The longest input, in bytes: many frames, or one in the 64-bit form of the length.
const MAX_LEN: usize = 70_000;

const USAGE: &str = "usage: cargo xtask fuzz [--minutes N] [TARGET..]";

pub(crate) fn run(args: &[String]) -> Outcome {
    let (minutes, mut targets) = options(args)?;
    let known = targets_of_the_crate()?;
    if let Some(unknown) = targets.iter().find(|target| !known.contains(target)) {
        return Err(format!(
            "no fuzz target {unknown}; there are {}",
            known.join(", ")
        ));
    }
    if targets.is_empty() {
        targets = known;
    }
    let cargo_fuzz = tools::install("cargo-fuzz", CARGO_FUZZ)?;
    let problems: Vec<String> = targets
        .iter()
        .filter_map(|target| run_target(&cargo_fuzz, target, minutes).err())
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

fn options(args: &[String]) -> Result<(f64, Vec<String>), String> {
    let mut minutes = DEFAULT_MINUTES;
    let mut targets = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--minutes" => {
                minutes = args
                    .next()
                    .and_then(|number| number.parse().ok())
                    .filter(|number| *number > 0.0)
                    .ok_or(USAGE)?;
            }
            option if option.starts_with('-') => return Err(USAGE.to_owned()),
            target => targets.push(target.to_owned()),
        }
    }
    Ok((minutes, targets))
}

/// Lists the targets, which are the files of one folder.
fn targets_of_the_crate() -> Result<Vec<String>, String> {
    let folder = crate_path().join("fuzz_targets");
    let failed = |error| format!("cannot read {}: {error}", folder.display());
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "rs")
            && let Some(name) = path.file_stem()
        {
            targets.push(name.to_string_lossy().into_owned());
        }
    }
    targets.sort_unstable();
    Ok(targets)
}

fn crate_path() -> PathBuf {
    process::top().join("fuzz")
}

/// Where builds, grown corpora, logs and findings go.
fn place() -> PathBuf {
    process::target().join("fuzz")
}

/// Runs one target and prints its line.
fn run_target(cargo_fuzz: &Path, target: &str, minutes: f64) -> Outcome {
    let corpus = place().join("corpus").join(target);
    let findings = place().join("artifacts").join(target);
    let log = place().join(format!("{target}.log"));
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    let before = inputs(&findings);
    let mut child = command(cargo_fuzz, target)
        // libFuzzer writes what it learns to the first corpus and only reads the others.
        .arg(&corpus)
        .arg(crate_path().join("corpus").join(target))
        .arg("--")
        .arg(format!("-max_total_time={}", (minutes * 60.0).ceil()))
        .arg(format!("-max_len={MAX_LEN}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .args(["-timeout=20", "-print_final_stats=1", "-verbosity=1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", cargo_fuzz.display()))?;
    let mut lines = Vec::new();
    if let Some(errors) = child.stderr.take() {
        // It may end in the middle of a character of an input that it shows.
        for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
    let status = child
        .wait()
        .map_err(|error| format!("cannot run {target}: {error}"))?;
    fs::write(&log, lines.join("\n"))
        .map_err(|error| format!("cannot write {}: {error}", log.display()))?;

    let executions = lines
        .iter()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .map_or("?", str::trim);
    if status.success() {
        println!("{target}: {executions} executions, no finding");
        return Ok(());
    }
    let fresh = inputs(&findings)
        .into_iter()
        .find(|input| !before.contains(input));
    let Some(input) = fresh else {
        println!("{target}: did not run");
        let end = lines.iter().rev().take(20).rev();
        let end: Vec<&str> = end.map(String::as_str).collect();
        return Err(format!(
            "{target}: {status}, see {}\n{}",
            log.display(),
            end.join("\n")
        ));
    };
    println!("{target}: {executions} executions, a finding");
    let reason = lines
        .iter()
        .position(|line| line.contains("panicked at"))
        .and_then(|at| lines.get(at..at + 2))
        .map_or_else(String::new, |lines| lines.join(" "));
    Err(format!(
        "{target}: {reason}\nsee {}; to reproduce:\n  {:?}",
        log.display(),
        command(cargo_fuzz, target).arg(input)
    ))
}

fn command(cargo_fuzz: &Path, target: &str) -> Command {
    let mut command = Command::new(cargo_fuzz);
    command
        .current_dir(process::top())
        .args(["fuzz", "run", "--sanitizer", "none", "--target-dir"])
        .arg(place())
        .arg("--fuzz-dir")
        .arg(crate_path())
        .arg(target);
    command
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
