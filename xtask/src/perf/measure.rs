//! What a program costs: instructions by callgrind, memory by the system.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use super::client::{self, Scenario};
use crate::{Outcome, process};

/// Random numbers that are the same in every run; programs look for this function before the system's.
const GETRANDOM: &str = "
#include <stddef.h>
#include <sys/types.h>

ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
    static unsigned long state = 0x9e3779b97f4a7c15;
    unsigned char *bytes = buffer;
    (void)flags;
    for (size_t at = 0; at < length; at++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[at] = state >> 24;
    }
    return length;
}
";

/// Idle WebSockets that are measured, and those that are open before, so that what all share is there.
const IDLE: usize = 2000;
const IDLE_BEFORE: usize = 200;

/// What counting needs.
pub(super) struct Tools {
    place: PathBuf,
    /// The library with [`GETRANDOM`].
    seeds: PathBuf,
}

impl Tools {
    /// Installs valgrind where it is missing and builds the rest.
    pub(super) fn ready(place: &Path) -> Result<Self, String> {
        let there = || Command::new("valgrind").arg("--version").output().is_ok();
        if !there() {
            install_valgrind().map_err(|problem| {
                format!("{problem}\nthis task needs valgrind: `apt-get install valgrind`")
            })?;
        }
        let source = place.join("getrandom.c");
        let seeds = place.join("getrandom.so");
        fs::write(&source, GETRANDOM)
            .map_err(|error| format!("cannot write {}: {error}", source.display()))?;
        let options = ["-shared", "-fPIC", "-O1", "-o"].map(Path::new);
        process::run("cc", options.into_iter().chain([&*seeds, &*source]))?;
        Ok(Self {
            place: place.to_owned(),
            seeds,
        })
    }

    /// Counts the instructions of an operation.
    pub(super) fn instructions(
        &self,
        program: &Path,
        scenario: Scenario,
        rounds: u32,
    ) -> Result<f64, String> {
        let (short, long) = thread::scope(|scope| {
            let short = scope.spawn(|| self.count(program, scenario, rounds, "short"));
            let long = self.count(program, scenario, 2 * rounds, "long");
            let short = short.join();
            (
                short.unwrap_or_else(|_| Err("the client panicked".to_owned())),
                long,
            )
        });
        let operations = f64::from(rounds) * f64::from(scenario.operations());
        Ok((long? - short?) / operations)
    }

    /// Counts the instructions of a whole run.
    fn count(
        &self,
        program: &Path,
        scenario: Scenario,
        rounds: u32,
        name: &str,
    ) -> Result<f64, String> {
        let counts = self.place.join(format!("callgrind.{name}"));
        // The counts of an earlier run must not stand for this one's.
        let _ = fs::remove_file(&counts);
        let mut option = std::ffi::OsString::from("--callgrind-out-file=");
        option.push(&counts);
        let server = process::Server::start_command(
            program,
            Command::new("valgrind")
                .args(["--quiet", "--tool=callgrind"])
                .arg(option)
                .arg(program)
                .arg("0")
                .env("TOKIO_WORKER_THREADS", "1")
                .env("LD_PRELOAD", &self.seeds),
        )?;
        let connections = scenario
            .run(address(&server)?, rounds)
            .map_err(|error| format!("the client: {error}"))?;
        server.terminate()?;
        drop(connections);
        let text = fs::read_to_string(&counts)
            .map_err(|error| format!("cannot read {}: {error}", counts.display()))?;
        text.lines()
            .find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
            .ok_or_else(|| format!("no totals in {}", counts.display()))
    }
}

fn install_valgrind() -> Outcome {
    let root = Command::new("id").arg("-u").output();
    let root = root.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let apt = |args: &[&str]| match root {
        true => process::run("apt-get", args),
        false => process::run("sudo", [&["apt-get"], args].concat()),
    };
    apt(&["update"])?;
    apt(&["install", "-y", "--no-install-recommends", "valgrind"])
}

/// Measures by how many bytes the server grows with an idle WebSocket at `path`.
pub(super) fn idle_bytes(program: &Path, path: &str) -> Result<f64, String> {
    process::raise_descriptor_limit();
    let failed = |error| format!("the client: {error}");
    let server = process::Server::start_command(
        program,
        Command::new(program)
            .arg("0")
            .env("TOKIO_WORKER_THREADS", "1"),
    )?;
    let address = address(&server)?;
    let open = |count| client::idle(address, path, count);
    let earlier = open(IDLE_BEFORE).map_err(failed)?;
    let before = settled_memory(&server)?;
    let sockets = open(IDLE).map_err(failed)?;
    let after = settled_memory(&server)?;
    server.terminate()?;
    drop((earlier, sockets));
    Ok(after.saturating_sub(before) as f64 / IDLE as f64)
}

fn address(server: &process::Server) -> Result<SocketAddr, String> {
    let address = server.address.parse();
    address.map_err(|_| format!("no address: {}", server.address))
}

/// Returns the bytes of memory of a server once they no longer change, or after a second.
fn settled_memory(server: &process::Server) -> Result<u64, String> {
    let mut last = server.status("RssAnon:")?;
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(200));
        let now = server.status("RssAnon:")?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}
