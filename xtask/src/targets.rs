//! The published crates checked for Windows and macOS, where rustup has a std of these.
//!
//! Checking needs no linker and no C compiler, so any machine can do it for any target.

use crate::{Outcome, process, published::Published};

/// Other systems: how the names of their targets are recognised, and the target to install.
const SYSTEMS: [(&str, &str); 2] = [
    ("-windows-", "x86_64-pc-windows-msvc"),
    ("-apple-darwin", "aarch64-apple-darwin"),
];

pub(crate) fn run() -> Outcome {
    let published = Published::read()?;
    // Rust of a distribution comes without rustup.
    let installed = process::read("rustup", ["target", "list", "--installed"]).unwrap_or_default();
    for (system, proposal) in SYSTEMS {
        let mut targets = installed
            .lines()
            .filter(|target| target.contains(system))
            .peekable();
        if targets.peek().is_none() {
            println!("not checked for {proposal}: `rustup target add {proposal}`");
        }
        for target in targets {
            println!("checking for {target}");
            let mut args = ["check", "--locked", "--target", target]
                .map(str::to_owned)
                .to_vec();
            args.extend(published.options());
            process::run("cargo", args)?;
        }
    }
    Ok(())
}
