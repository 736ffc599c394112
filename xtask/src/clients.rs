//! Other people's clients: against the bench server's echo, room and event stream, and compressed.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{Outcome, process};

/// A server that ends with this value.
struct Server(Child);

impl Server {
    /// Starts an example and waits for the line with its address.
    fn start(example: &str, args: &[&str]) -> Result<(Self, String), String> {
        let program = process::example(example)?;
        let mut child = Command::new(&program)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let output = child.stdout.take();
        let server = Self(child);
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(|error| format!("the server says nothing: {error}"))?;
        }
        let address = line.trim().trim_start_matches("http://").to_owned();
        Ok((server, address))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run() -> Outcome {
    let packages = process::npm(&["ws", "undici"])?;
    let python = python()?;
    let (_server, address) = Server::start("bench_server", &["0"])?;
    process::run(
        &python,
        [Path::new("xtask/clients/client.py"), Path::new(&address)],
    )?;
    process::run(
        "node",
        [
            Path::new("xtask/clients/client.mjs"),
            Path::new(&address),
            &packages,
        ],
    )?;
    process::run("bash", ["xtask/clients/client.sh", &address])?;
    for takeover in ["", "takeover"] {
        let (_server, address) = Server::start("compression", &["127.0.0.1:0", takeover])?;
        process::run(
            &python,
            [Path::new("xtask/clients/deflate.py"), Path::new(&address)],
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
