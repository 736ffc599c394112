//! Other people's clients: against the bench server's echo, room and event stream, and compressed.

use std::path::{Path, PathBuf};

use crate::{Outcome, process};

pub(crate) fn run() -> Outcome {
    let packages = process::npm(&["ws", "undici"])?;
    let python = python()?;
    let program = process::example("bench_server")?;
    let server = process::Server::start(&program, &["0"])?;
    let address = server.address.as_str();
    process::run(
        &python,
        [Path::new("xtask/clients/client.py"), Path::new(address)],
    )?;
    process::run(
        "node",
        [
            Path::new("xtask/clients/client.mjs"),
            Path::new(address),
            &packages,
        ],
    )?;
    process::run("bash", ["xtask/clients/client.sh", address])?;
    let program = process::example("compression")?;
    for takeover in ["", "takeover"] {
        let server = process::Server::start(&program, &["127.0.0.1:0", takeover])?;
        process::run(
            &python,
            [
                Path::new("xtask/clients/deflate.py"),
                Path::new(&server.address),
            ],
        )?;
    }
    Ok(())
}

/// A Python with the `websockets` package, in an environment of its own.
fn python() -> Result<PathBuf, String> {
    let place = process::target().join("python");
    let python = place.join("bin").join("python");
    if !place.join("ready").exists() {
        process::run("python3", [Path::new("-m"), Path::new("venv"), &place]).map_err(
            |problem| format!("{problem}\nthis task needs Python: `apt-get install python3-venv`"),
        )?;
        process::run(&python, ["-m", "pip", "install", "--quiet", "websockets"])?;
        std::fs::write(place.join("ready"), "")
            .map_err(|error| format!("cannot write to {}: {error}", place.display()))?;
    }
    Ok(python)
}
