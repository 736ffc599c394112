//! The oldest Rust that the published crates build with, which is `rust-version` in `Cargo.toml`.
//!
//! Three checks hold it. Clippy's `incompatible_msrv`, a part of `cargo xtask ci`, finds names of std that are younger.
//! This task compares it with the `rust-version` of every dependency, and checks the crates with that toolchain where
//! rustup has it. Tests, examples and tasks may need a newer Rust.

use crate::{Outcome, process, published::Published};

pub(crate) fn run() -> Outcome {
    let published = Published::read()?;
    let version = &published.rust_version;
    let younger = published.younger_dependencies()?;
    if !younger.is_empty() {
        return Err(format!(
            "above our `rust-version` {version}:\n  {}\nchoose an older one with `cargo update --precise`, or raise ours",
            younger.join("\n  ")
        ));
    }
    println!("no dependency needs a Rust above {version}");
    let Some(toolchain) = toolchain(version) else {
        println!(
            "not checked with Rust {version} itself, which rustup does not have here: \
             `rustup toolchain install {version} --profile minimal`"
        );
        return Ok(());
    };
    println!("checking with {toolchain}");
    let mut args = ["run", &toolchain, "cargo", "check", "--locked"]
        .map(str::to_owned)
        .to_vec();
    args.extend(published.options());
    process::run("rustup", args)
}

/// Finds an installed toolchain of this version, such as `1.88.0-x86_64-unknown-linux-gnu` for `1.88`.
fn toolchain(version: &str) -> Option<String> {
    // Rust of a distribution comes without rustup.
    let installed = process::read("rustup", ["toolchain", "list"]).ok()?;
    let names = installed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| {
            let rest = name.strip_prefix(version);
            rest.is_some_and(|rest| rest.starts_with(['-', '.']))
        })
        .map(str::to_owned)
        .next()
}
