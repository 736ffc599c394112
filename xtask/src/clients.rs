//! Tests with clients of other projects: against the bench server (echo, room, event stream and plain text), against
//! the example `hello`, and against the example `compression`.

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
    process::run("bash", ["xtask/clients/http2.sh", address])?;
    process::run(
        &python,
        [Path::new("xtask/clients/http2.py"), Path::new(address)],
    )?;
    let hello = process::example("hello")?;
    let hello = process::Server::start(&hello, &["127.0.0.1:0"])?;
    process::run(
        &python,
        [
            "xtask/clients/client_http.py",
            address,
            hello.address.as_str(),
        ],
    )?;
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

/// What the Python clients need.
const PYTHON_PACKAGES: [&str; 4] = ["websockets", "httpx[http2]", "h2", "wsproto"];

/// Returns a Python with these packages, in an environment of its own.
pub(crate) fn python() -> Result<PathBuf, String> {
    let place = process::target().join("python");
    let python = place.join("bin").join("python");
    let ready = place.join("ready");
    let installed = PYTHON_PACKAGES.join(" ");
    if std::fs::read_to_string(&ready).unwrap_or_default() != installed {
        process::run("python3", [Path::new("-m"), Path::new("venv"), &place]).map_err(
            |problem| format!("{problem}\nthis task needs Python: `apt-get install python3-venv`"),
        )?;
        let install = ["-m", "pip", "install", "--quiet"];
        process::run(&python, install.iter().chain(&PYTHON_PACKAGES))?;
        std::fs::write(&ready, installed)
            .map_err(|error| format!("cannot write to {}: {error}", place.display()))?;
    }
    Ok(python)
}
