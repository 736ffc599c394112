//! A ratchet for speed: what an operation costs, in instructions, beside what it cost at a base commit.
//!
//! Time varies with the machine and with its other load; the number of instructions hardly does. The task builds
//! `bench_server` twice, of the base (in a git worktree below the target directory, removed afterwards) and of the
//! checkout as it is, with one profile. Callgrind counts what each program executes, and a client in this process
//! drives both in turn. The task fails if a row is more than 3 % above its base.
//!
//! The count is repeatable because
//!
//! - the runtime has one worker thread, and the client works in lock step: it sends what belongs to a round, and
//!   waits for all answers before the next round;
//! - a preloaded `getrandom` gives the same numbers in every run: the seeds of hash maps, and with them the order of
//!   `select!`, are fixed;
//! - a row is the difference of two runs, of N and of 2N rounds, so start, warm-up and end drop out;
//! - the smallest of three such differences counts.
//!
//! The clock of the server remains: its ticks come with time, not with operations. The column `noise` shows what the
//! three measurements of one binary differ by (the larger of both binaries).
//!
//! The last rows are memory: by how many bytes the server grows with an idle WebSocket, without valgrind.

pub(crate) mod client;
mod measure;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use client::Scenario;

use crate::{Outcome, process};

const USAGE: &str = "usage: cargo xtask perf [BASE] [--only ROW,..] [--alone]";

/// How much more than at the base a row may cost, in percent.
const ALLOWED: f64 = 3.0;

/// Measurements of a row, of which the smallest counts.
const REPEATS: usize = 3;

const PROGRAM: &str = "bench_server";

const PROFILE: &str = "bench-server";

/// A line of the outcome.
struct Row {
    name: &'static str,
    /// The thing that costs so much.
    per: &'static str,
    cost: Cost,
}

/// The way in which a row is measured.
#[derive(Clone, Copy)]
enum Cost {
    /// Instructions of a scenario, over so many rounds and as many again.
    Instructions(Scenario, u32),
    /// Bytes of memory of an idle WebSocket at this path.
    Idle(&'static str),
}

const ROWS: [Row; 10] = [
    Row {
        name: "plaintext",
        per: "request",
        cost: Cost::Instructions(Scenario::Requests(1), 5000),
    },
    Row {
        name: "pipelined",
        per: "request, 16 at once",
        cost: Cost::Instructions(Scenario::Requests(16), 500),
    },
    Row {
        name: "echo",
        per: "message",
        cost: Cost::Instructions(Scenario::Messages(1), 5000),
    },
    Row {
        name: "window",
        per: "message, 16 at once",
        cost: Cost::Instructions(Scenario::Messages(16), 1000),
    },
    Row {
        name: "fan-out",
        per: "delivery to 32 members",
        cost: Cost::Instructions(Scenario::FanOut(32), 500),
    },
    Row {
        name: "events",
        per: "event to 32 streams",
        cost: Cost::Instructions(Scenario::Events(32), 500),
    },
    Row {
        name: "connect",
        per: "WebSocket, opened and closed",
        cost: Cost::Instructions(Scenario::Connect, 1000),
    },
    Row {
        name: "idle",
        per: "idle WebSocket, in bytes",
        cost: Cost::Idle("/echo"),
    },
    Row {
        name: "in a room",
        per: "idle WebSocket in a room, in bytes",
        cost: Cost::Idle("/room"),
    },
    Row {
        name: "session",
        per: "idle WebSocket with a session and a channel, in bytes",
        cost: Cost::Idle("/channel"),
    },
];

pub(crate) fn run(args: &[String]) -> Outcome {
    let options = Options::read(args)?;
    let place = process::top().join(process::target()).join("perf");
    fs::create_dir_all(&place)
        .map_err(|error| format!("cannot make {}: {error}", place.display()))?;
    let tools = measure::Tools::ready(&place)?;
    let base = match options.alone {
        true => None,
        false => Some(build_base(&base_commit(options.base)?, &place)?),
    };
    let head = build_head(&place)?;

    println!(
        "{:<10}|{:>10} |{:>10} |{:>8} |{:>8} | instructions per",
        "row", "base", "head", "change", "noise"
    );
    let mut problems = Vec::new();
    for row in ROWS.iter().filter(|row| options.wants(row.name)) {
        let (mut of_base, mut of_head) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            if let Some(base) = &base {
                of_base.push(cost(&tools, base, row)?);
            }
            of_head.push(cost(&tools, &head, row)?);
        }
        let noise = spread(&of_base).max(spread(&of_head));
        let now = smallest(&of_head);
        let before = base.as_ref().map(|_| smallest(&of_base));
        let change = before.map(|before| (now / before - 1.0) * 100.0);
        println!(
            "{:<10}|{:>10} |{now:>10.0} |{:>8} |{noise:>6.2} % | {}",
            row.name,
            before.map_or_else(String::new, |before| format!("{before:.0}")),
            change.map_or_else(String::new, |change| format!("{change:+.2} %")),
            row.per
        );
        if let Some(change) = change.filter(|change| *change > ALLOWED) {
            problems.push(format!(
                "{}: {change:+.2} % is above +{ALLOWED} %",
                row.name
            ));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

fn cost(tools: &measure::Tools, program: &Path, row: &Row) -> Result<f64, String> {
    match row.cost {
        Cost::Instructions(scenario, rounds) => tools.instructions(program, scenario, rounds),
        Cost::Idle(path) => measure::idle_bytes(program, path),
    }
    .map_err(|problem| format!("{}: {problem}", row.name))
}

fn smallest(costs: &[f64]) -> f64 {
    costs.iter().copied().fold(f64::INFINITY, f64::min)
}

/// What the costs of one binary differ by, in percent of the smallest.
fn spread(costs: &[f64]) -> f64 {
    match costs.is_empty() {
        true => 0.0,
        false => (costs.iter().copied().fold(0.0, f64::max) / smallest(costs) - 1.0) * 100.0,
    }
}

#[derive(Default)]
struct Options<'a> {
    base: Option<&'a str>,
    /// Names of rows; all if there are none.
    only: Vec<&'a str>,
    alone: bool,
}

impl<'a> Options<'a> {
    fn read(args: &'a [String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--alone" => options.alone = true,
                "--only" => options.only.extend(args.next().ok_or(USAGE)?.split(',')),
                base if options.base.is_none() && !base.starts_with('-') => {
                    options.base = Some(base);
                }
                _ => return Err(USAGE.to_owned()),
            }
        }
        let known = |name: &&str| ROWS.iter().any(|row| row.name == *name);
        match options.only.iter().find(|name| !known(name)) {
            Some(name) => {
                let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
                Err(format!("no row `{name}`: there are {}", names.join(", ")))
            }
            None if options.alone && options.base.is_some() => Err(USAGE.to_owned()),
            None => Ok(options),
        }
    }

    fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.contains(&row)
    }
}

// ---------------------------------------------------------------- builds

/// Returns the commit to compare with: the one asked for, else where this branch left `origin/main`, else the parent
/// of HEAD (on `main` itself, and where there is no such remote).
fn base_commit(asked: Option<&str>) -> Result<String, String> {
    let commit = |name: &str| git(&["rev-parse", "--verify", &format!("{name}^{{commit}}")]);
    if let Some(asked) = asked {
        return commit(asked);
    }
    let head = commit("HEAD")?;
    match git(&["merge-base", "HEAD", "origin/main"]) {
        Ok(base) if base != head => Ok(base),
        _ => commit("HEAD^"),
    }
}

/// Builds the program of a commit and returns where it is.
fn build_base(commit: &str, place: &Path) -> Result<PathBuf, String> {
    println!("base: {}", git(&["log", "-1", "--format=%h %s", commit])?);
    let tree = Worktree::new(place.join("base"), commit)?;
    let source = Path::new("examples").join(PROGRAM).join("main.rs");
    let own = tree.path.join(&source);
    // A base whose program lacks an endpoint, or does not print where it listens, is measured with today's program.
    let serves = |text: &str| {
        text.contains("local_addr") && client::PATHS.iter().all(|path| text.contains(path))
    };
    if !fs::read_to_string(&own).is_ok_and(|text| serves(&text)) {
        println!("base: {} of the checkout", source.display());
        let folder = own.parent().unwrap_or(&tree.path);
        fs::create_dir_all(folder)
            .and_then(|()| fs::copy(process::top().join(&source), &own))
            .map_err(|error| format!("cannot copy {}: {error}", source.display()))?;
    }
    // Cargo tells the crates of two checkouts apart by the time of their files alone, so each has a directory.
    build(&tree.path, &place.join("build"), &place.join("base-server"))
}

/// Builds the program of the checkout as it is and returns where it is.
fn build_head(place: &Path) -> Result<PathBuf, String> {
    println!("head: {}", git(&["log", "-1", "--format=%h %s", "HEAD"])?);
    if !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        println!("head: with changes that are not committed");
    }
    let target = process::top().join(process::target());
    build(&process::top(), &target, &place.join("head-server"))
}

/// Builds the bench server of the checkout and returns where it is.
pub(crate) fn bench_server() -> Result<PathBuf, String> {
    build_program(&process::top(), &process::top().join(process::target()))
}

/// Builds the program of a checkout and copies it, so that no later build changes it.
fn build(top: &Path, target: &Path, to: &Path) -> Result<PathBuf, String> {
    let built = build_program(top, target)?;
    fs::copy(&built, to).map_err(|error| format!("cannot copy {}: {error}", built.display()))?;
    Ok(to.to_owned())
}

/// Builds the program of a checkout and returns where it is.
fn build_program(top: &Path, target: &Path) -> Result<PathBuf, String> {
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--profile", PROFILE])
        .args(["--example", PROGRAM])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(top)
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err(format!("cannot build {PROGRAM} in {}", top.display()));
    }
    Ok(target.join(PROFILE).join("examples").join(PROGRAM))
}

/// A checkout of another commit that ends with this value.
struct Worktree {
    path: PathBuf,
}

impl Worktree {
    fn new(path: PathBuf, commit: &str) -> Result<Self, String> {
        let tree = Self { path };
        // A run that was killed has left its own.
        if tree.path.exists() {
            tree.remove()?;
        }
        git(&["worktree", "prune"])?;
        let path = tree.path.to_string_lossy();
        git(&["worktree", "add", "--quiet", "--detach", &path, commit])?;
        Ok(tree)
    }

    fn remove(&self) -> Outcome {
        let path = self.path.to_string_lossy();
        git(&["worktree", "remove", "--force", &path]).map(drop)
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        if let Err(problem) = self.remove() {
            eprintln!("{problem}");
        }
    }
}

fn git(args: &[&str]) -> Result<String, String> {
    process::read("git", args)
}
