//! Tests that run for long: clients of channels that are cut at any byte, and rooms under a random load.

use std::process::Command;

use crate::{Outcome, process};

/// A test that runs for longer if an environment variable says so.
struct LongTest {
    usage: &'static str,
    /// The arguments of `cargo test --release`.
    test: &'static [&'static str],
    option: &'static str,
    variable: &'static str,
    /// The value of the variable when the caller says nothing.
    default: &'static str,
}

const CUTS: LongTest = LongTest {
    usage: "usage: cargo xtask cuts [--cuts N] [--seed N]",
    test: &["it", "--", "reconnect::"],
    option: "--cuts",
    variable: "HYPERLANE_CUTS",
    default: "10000",
};

/// A round that has begun is ended, and there is at least one: 500 000 messages to 50 rooms, and 500 members, each in five
/// of the rooms.
const SOAK: LongTest = LongTest {
    usage: "usage: cargo xtask soak [--minutes N] [--seed N]",
    test: &["soak", "--"],
    option: "--minutes",
    variable: "HYPERLANE_SOAK_MINUTES",
    default: "1",
};

/// Runs the tests `reconnect`.
pub(crate) fn run(args: &[String]) -> Outcome {
    CUTS.run(args)
}

/// Runs the test `soak`.
pub(crate) fn soak(args: &[String]) -> Outcome {
    SOAK.run(args)
}

impl LongTest {
    fn run(&self, args: &[String]) -> Outcome {
        let mut test = Command::new("cargo");
        test.args(["test", "--release", "--test"])
            .args(self.test)
            .arg("--nocapture")
            .env(self.variable, self.default)
            .current_dir(process::top());
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let number = args.next().filter(|number| number.parse::<u64>().is_ok());
            let number = number.ok_or(self.usage)?;
            match arg.as_str() {
                option if option == self.option => test.env(self.variable, number),
                "--seed" => test.env("HYPERLANE_SEED", number),
                _ => return Err(self.usage.to_owned()),
            };
        }
        let status = test
            .status()
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("a client missed something: {status}")),
        }
    }
}
