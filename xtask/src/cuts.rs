//! Clients of channels that are cut at any byte: the tests `reconnect`, for long.

use std::process::Command;

use crate::{Outcome, process};

const USAGE: &str = "usage: cargo xtask cuts [--cuts N] [--seed N]";

/// Cuts when the caller says nothing.
const CUTS: &str = "10000";

pub(crate) fn run(args: &[String]) -> Outcome {
    let mut test = Command::new("cargo");
    test.args([
        "test",
        "--release",
        "--test",
        "it",
        "--",
        "reconnect::",
        "--nocapture",
    ])
    .env("HYPERLANE_CUTS", CUTS)
    .current_dir(process::top());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let number = args.next().filter(|number| number.parse::<u64>().is_ok());
        let number = number.ok_or(USAGE)?;
        match arg.as_str() {
            "--cuts" => test.env("HYPERLANE_CUTS", number),
            "--seed" => test.env("HYPERLANE_SEED", number),
            _ => return Err(USAGE.to_owned()),
        };
    }
    let status = test
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("a client missed something: {status}"))
    }
}
