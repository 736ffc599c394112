//! The published crates checked with no feature, with each, and with every two. `cargo xtask ci` checks them with all.

use crate::{Outcome, process, published::Published, tools};

/// The version that the command line below was written for.
const CARGO_HACK: &str = "0.6.46";

pub(crate) fn run() -> Outcome {
    let cargo_hack = tools::install("cargo-hack", CARGO_HACK)?;
    // Clippy without its own lints is `cargo check` that takes warnings of our crates, and of no others, for errors.
    let mut args = [
        "hack",
        "clippy",
        "--locked",
        "--lib",
        "--feature-powerset",
        "--depth",
        "2",
    ]
    .map(str::to_owned)
    .to_vec();
    args.extend(Published::read()?.packages());
    args.extend(["--", "-A", "clippy::all", "-D", "warnings"].map(str::to_owned));
    // The tool prints a line for each set; cargo says something only of a set that fails.
    process::run_with(cargo_hack, args, [("CARGO_TERM_QUIET", "true")])
}
