//! Rules for the dependencies of the published crates, by cargo-deny and `deny.toml`: licences, duplicates, sources,
//! and known vulnerabilities where a database of them is at hand.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{Outcome, process, tools};

/// The version that the command lines below and `deny.toml` were written for.
const CARGO_DENY: &str = "0.20.2";

/// The longest time that the database of advisories may take to arrive.
const FETCHING: Duration = Duration::from_secs(60);

pub(crate) fn run() -> Outcome {
    let cargo_deny = tools::install("cargo-deny", CARGO_DENY)?;
    process::run(
        &cargo_deny,
        ["--locked", "check", "licenses", "bans", "sources"],
    )?;
    let fetched = process::run_within(
        Command::new(&cargo_deny)
            .args(["fetch", "db"])
            .stderr(Stdio::null()),
        FETCHING,
    );
    if fetched.is_err() {
        if !has_database() {
            println!(
                "advisories: not checked, since the database of RustSec is neither here nor within reach; \
                 run this task again with a network"
            );
            return Ok(());
        }
        println!("advisories: checked by the database at hand, since it cannot be fetched anew");
    }
    process::run(&cargo_deny, ["--offline", "check", "advisories"])
}

/// Tells whether a database is where cargo-deny keeps it.
fn has_database() -> bool {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let databases = home.and_then(|home| home.join("advisory-dbs").read_dir().ok());
    databases
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.path().join(".git").join("index").exists())
}
