//! Development tasks: `cargo xtask NAME`.
//!
//! Each says what is missing, or installs it into the target directory; none needs a setup.

mod browser;
mod clients;
mod process;
mod tidy;

use std::process::ExitCode;

/// What a task ends with: nothing, or a sentence that says what went wrong.
type Outcome = Result<(), String>;

const USAGE: &str = "usage: cargo xtask TASK

  ci        everything that must be green before a change lands
  browser   headless Chromium: the chat (two members, a follower, a server restart), compression
  clients   the bench server against Python websockets, node ws and undici, and curl
  tidy      rules of the tree that no compiler checks";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let outcome = match task.as_str() {
        "ci" => process::run("bash", [".ci/run"]),
        "browser" => browser::run(),
        "clients" => clients::run(),
        "tidy" => tidy::run(),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
