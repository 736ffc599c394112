//! Running other programs.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Outcome;

/// The top of the checkout.
pub(crate) fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where builds and downloads go.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}

/// Runs a program in the top directory to its end.
pub(crate) fn run<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = A>,
) -> Outcome {
    let program = program.as_ref();
    let status = Command::new(program)
        .args(args)
        .current_dir(top())
        .status()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} failed: {status}", program.display()))
    }
}

/// Builds an example and returns its path.
pub(crate) fn example(name: &str) -> Result<PathBuf, String> {
    run("cargo", ["build", "--quiet", "--example", name])?;
    Ok(target().join("debug").join("examples").join(name))
}

/// Installs npm packages into a directory of their own below the target directory.
pub(crate) fn npm(packages: &[&str]) -> Result<PathBuf, String> {
    let place = target().join("npm");
    let missing = packages
        .iter()
        .any(|package| !place.join("node_modules").join(package).is_dir());
    if missing {
        std::fs::create_dir_all(&place)
            .map_err(|error| format!("cannot make {}: {error}", place.display()))?;
        let prefix = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        let mut args: Vec<&OsStr> = prefix.iter().map(OsStr::new).collect();
        args.push(place.as_os_str());
        args.extend(packages.iter().map(OsStr::new));
        run("npm", args).map_err(|problem| {
            format!("{problem}\nthis task needs node and npm: `apt-get install nodejs npm`")
        })?;
    }
    Ok(place)
}
