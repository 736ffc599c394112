//! Subcommands of cargo that a task needs, installed below the target directory.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use crate::process;

/// The longest time that a build of a tool may take.
const BUILDING: Duration = Duration::from_secs(30 * 60);

/// Installs a tool at this version, unless it is there, and returns its program.
pub(crate) fn install(name: &str, version: &str) -> Result<PathBuf, String> {
    let root = process::target().join("tools");
    let program = root.join("bin").join(name);
    // Cargo's own list of what it has installed at a root.
    let installed = fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
    if program.exists() && installed.contains(&format!("\"{name} {version} (")) {
        return Ok(program);
    }
    println!("installing {name} {version}, which takes some minutes");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["install", "--quiet", "--locked", "--version", version])
        .arg("--root")
        .arg(root)
        .arg(name);
    match process::run_within(&mut cargo, BUILDING) {
        Ok(()) => Ok(program),
        Err(problem) => Err(format!(
            "{problem}\nthis task needs {name}, and a network to install it"
        )),
    }
}
