//! Browsers: tests of the examples that have a page, in Chromium, and of what must hold in every engine.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use crate::{Outcome, process};

const USAGE: &str = "usage: cargo xtask browser [--engine chromium|firefox|webkit]";

/// A program that an engine needs.
struct Program {
    /// The variable that names it, for us and for the scripts.
    variable: &'static str,
    /// Where Debian's package puts it; `*` stands for a version.
    path: &'static str,
    package: &'static str,
}

struct Engine {
    name: &'static str,
    programs: &'static [Program],
    /// The npm package that drives it, if there is one.
    drivers: &'static [&'static str],
}

const ENGINES: [Engine; 3] = [
    Engine {
        name: "chromium",
        programs: &[Program {
            variable: "CHROMIUM",
            path: "/usr/bin/chromium",
            package: "chromium",
        }],
        drivers: &["playwright-core"],
    },
    Engine {
        name: "firefox",
        programs: &[Program {
            variable: "FIREFOX",
            path: "/usr/bin/firefox-esr",
            package: "firefox-esr",
        }],
        drivers: &["ws"],
    },
    Engine {
        name: "webkit",
        programs: &[
            Program {
                variable: "WEBKIT_DRIVER",
                path: "/usr/bin/WebKitWebDriver",
                package: "webkit2gtk-driver",
            },
            Program {
                variable: "MINIBROWSER",
                // The program belongs to the library on which the driver depends.
                path: "/usr/lib/*/webkit2gtk-4.*/MiniBrowser",
                package: "webkit2gtk-driver",
            },
            Program {
                variable: "XVFB",
                path: "/usr/bin/Xvfb",
                package: "xvfb",
            },
        ],
        drivers: &[],
    },
];

impl Program {
    fn find(&self) -> Result<PathBuf, String> {
        let found = match std::env::var_os(self.variable) {
            Some(path) => Some(PathBuf::from(path)).filter(|path| path.exists()),
            None => newest(self.path),
        };
        found.ok_or_else(|| {
            let Self {
                variable,
                path,
                package,
            } = self;
            let wanted = std::env::var(variable).unwrap_or_else(|_| (*path).to_owned());
            format!("there is no {wanted}: `apt-get install {package}`, or set {variable} to the program")
        })
    }
}

/// The file that a pattern names; the last one by name, if there are several.
fn newest(pattern: &str) -> Option<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let Some((head, tail)) = part.split_once('*') else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let is_meant = |path: &Path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.starts_with(head) && name.ends_with(tail)
        };
        let folders = found.iter().filter_map(|path| path.read_dir().ok());
        let entries = folders
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()));
        found = entries.filter(|path| is_meant(path)).collect();
    }
    found.into_iter().filter(|path| path.exists()).max()
}

pub(crate) fn run(args: &[String]) -> Outcome {
    let name = match args {
        [] => "chromium",
        [option, name] if option == "--engine" => name,
        _ => return Err(USAGE.to_owned()),
    };
    let engine = ENGINES.iter().find(|engine| engine.name == name);
    let engine = engine.ok_or(USAGE)?;
    let mut programs = Vec::new();
    for program in engine.programs {
        programs.push((program.variable, program.find()?));
    }
    let packages = process::npm(engine.drivers)?;
    if engine.name == "chromium" {
        examples(&packages)?;
    }
    for name in ["channels", "chat"] {
        process::example(name)?;
    }
    let script = [
        Path::new("xtask/browser/engines.mjs"),
        Path::new(engine.name),
        &process::examples(),
        &packages,
    ];
    process::run_with("node", script, programs)
}

/// Tests the examples that have a page, in Chromium.
fn examples(packages: &Path) -> Outcome {
    let chat = process::example("chat")?;
    let shots = process::target().join("shots");
    process::run(
        "node",
        [
            Path::new("xtask/browser/chat.mjs"),
            &chat,
            Path::new("--playwright"),
            packages,
            Path::new("--shots"),
            &shots,
        ],
    )?;
    process::run(
        "node",
        [Path::new("xtask/browser/shared.mjs"), &chat, packages],
    )?;
    let compression = process::example("compression")?;
    process::run(
        "node",
        [
            Path::new("xtask/browser/compression.mjs"),
            &compression,
            packages,
        ],
    )?;
    let sites = process::example("cross_site")?;
    process::run(
        "node",
        [Path::new("xtask/browser/sites.mjs"), &sites, packages],
    )?;
    for name in ["channels", "llm_stream", "notifications"] {
        process::example(name)?;
    }
    process::run(
        "node",
        [
            Path::new("xtask/browser/channels.mjs"),
            &process::examples(),
            packages,
        ],
    )
}
