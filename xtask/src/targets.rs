//! Checks the published crates for Windows and macOS, if rustup has installed the standard library of such a target.
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
    // The Rust of a Linux distribution comes without rustup. Then no target counts as installed.
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
