//! The echo example against the Autobahn test suite, which judges a server by RFC 6455 and RFC 7692.
//!
//! The suite is a Python 2 program. It runs in parts, each in a time of its own, since it writes its
//! report only when it is through. What each case ended with is held against `expected.json`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Outcome, process};

/// The version whose cases `expected.json` lists.
const SUITE: &str = "autobahntestsuite==25.10.1";

/// The last that makes environments of Python 2.
const VIRTUALENV: &str = "virtualenv<20.22";

const USAGE: &str = "usage: cargo xtask autobahn [--cases 1.*,2.*] [--accept] [--http2]";

const EXPECTED: &str = "xtask/autobahn/expected.json";

/// Case patterns that run together. Each of the 216 cases of sections 12 and 13 sends 1000 messages.
const PARTS: [&[&str]; 16] = [
    &["1.*", "2.*", "3.*", "4.*"],
    &["5.*", "6.*", "7.*", "10.*"],
    &["9.1.*", "9.2.*", "9.3.*", "9.4.*"],
    &["9.5.*", "9.6.*", "9.7.*", "9.8.*"],
    &["12.1.*"],
    &["12.2.*"],
    &["12.3.*"],
    &["12.4.*"],
    &["12.5.*"],
    &["13.1.*"],
    &["13.2.*"],
    &["13.3.*"],
    &["13.4.*"],
    &["13.5.*"],
    &["13.6.*"],
    &["13.7.*"],
];

/// How long one part may take.
const PART_LIMIT: Duration = Duration::from_secs(10 * 60);

/// How often a running part is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// What a case ended with: how it went, and how the connection closed.
type Verdict = (String, String);

/// Verdicts by case, in the order of the suite.
type Verdicts = BTreeMap<CaseId, Verdict>;

/// The number of a case, such as 9.1.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CaseId(Vec<u32>);

impl CaseId {
    fn parse(text: &str) -> Option<Self> {
        let numbers: Result<_, _> = text.split('.').map(str::parse).collect();
        numbers.ok().map(Self)
    }

    fn matches(&self, pattern: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some(prefix) => self.to_string().starts_with(prefix),
            None => self.to_string() == pattern,
        }
    }
}

impl std::fmt::Display for CaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

pub(crate) fn run(args: &[String]) -> Outcome {
    let Options {
        parts,
        accept,
        http2,
    } = options(args)?;
    let suite = install()?;
    let program = process::release_example("echo")?;
    let mut server = process::Server::start(&program, &["127.0.0.1:0"])?;
    // The suite speaks HTTP/1.1.
    let bridge = match http2 {
        true => Some(process::Server::start(
            &process::bridge()?,
            &[&server.address],
        )?),
        false => None,
    };
    let address = bridge
        .as_ref()
        .map_or(&server.address, |bridge| &bridge.address);
    let address = address.clone();

    let expected = expected()?;
    let mut got = Verdicts::new();
    let mut problems = Vec::new();
    for patterns in &parts {
        let started = Instant::now();
        let outcome = run_part(&suite, &address, patterns);
        let verdicts = match outcome {
            Ok(verdicts) => verdicts,
            Err(problem) => {
                problems.push(problem);
                Verdicts::new()
            }
        };
        let seconds = started.elapsed().as_secs();
        println!(
            "{}: {} cases in {seconds} s",
            patterns.join(" "),
            verdicts.len()
        );
        got.extend(verdicts);
        if server.is_gone() {
            return Err(format!("the server ended while {} ran", patterns.join(" ")));
        }
    }

    println!("{}", summary(&got));
    if accept {
        return write_expected(expected, got).and_then(|()| all_well(&problems));
    }
    let patterns: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
    problems.extend(differences(&expected, &got, &patterns));
    all_well(&problems)
}

fn all_well(problems: &[String]) -> Outcome {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

/// The command line.
struct Options {
    /// The parts to run.
    parts: Vec<Vec<String>>,
    /// The outcome is the expected one from now on.
    accept: bool,
    /// The suite runs over HTTP/2.
    http2: bool,
}

fn options(args: &[String]) -> Result<Options, String> {
    let owned = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
    let mut parts: Vec<Vec<String>> = PARTS.map(owned).into();
    let (mut accept, mut http2) = (false, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.as_slice().first()) {
            ("--accept", _) => accept = true,
            ("--http2", _) => http2 = true,
            ("--cases", Some(list)) => {
                parts = list.split(',').map(|part| vec![part.to_owned()]).collect();
                args.next();
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(Options {
        parts,
        accept,
        http2,
    })
}

/// Makes an environment of Python 2 with the suite below the target directory and returns its program.
fn install() -> Result<PathBuf, String> {
    let place = process::target().join("autobahn");
    let env = place.join("env");
    let suite = env.join("bin").join("wstest");
    let ready = place.join("ready");
    if fs::read_to_string(&ready).is_ok_and(|version| version == SUITE) {
        return Ok(suite);
    }
    let python2 = python2()?;
    let tool = place.join("tool");
    println!("installing {SUITE} for {}", python2.display());
    process::run("python3", [Path::new("-m"), Path::new("venv"), &tool]).map_err(|problem| {
        format!("{problem}\nthis task needs Python 3: `apt-get install python3-venv`")
    })?;
    let bin = tool.join("bin");
    process::run(
        bin.join("python"),
        ["-m", "pip", "install", "--quiet", VIRTUALENV],
    )?;
    process::run(
        bin.join("virtualenv"),
        [Path::new("--quiet"), Path::new("--python"), &python2, &env],
    )?;
    process::run(
        env.join("bin").join("python"),
        ["-m", "pip", "install", "--quiet", SUITE],
    )?;
    fs::write(&ready, SUITE).map_err(|error| cannot("write", &ready, &error))?;
    Ok(suite)
}

/// Finds a CPython 2.7: the one in `PYTHON2`, on the path, or among pyenv's.
fn python2() -> Result<PathBuf, String> {
    let home = |dir: &str| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(dir));
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| home(".pyenv"))
        .and_then(|root| fs::read_dir(root.join("versions")).ok());
    let of_pyenv = pyenv
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin").join("python2.7"));
    let named = std::env::var_os("PYTHON2").map(PathBuf::from);
    named
        .into_iter()
        .chain(["python2.7".into(), "python2".into()])
        .chain(of_pyenv)
        .find(|candidate| is_python2(candidate))
        .ok_or_else(|| {
            "the suite needs a CPython 2.7, and none is here: `pyenv install 2.7.18`, or set \
             PYTHON2 to one"
                .to_owned()
        })
}

/// Tells whether a program is a Python 2.7; a stand-in of pyenv on the path may not be.
fn is_python2(program: &Path) -> bool {
    Command::new(program)
        .args(["-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs the cases of `patterns` to their end or to the time limit.
fn run_part(suite: &Path, address: &str, patterns: &[String]) -> Result<Verdicts, String> {
    let name = patterns.join(" ");
    let place = process::target()
        .join("autobahn")
        .join("reports")
        .join(name.replace(['*', ' '], "_"));
    // A report of an earlier run must not pass for this one's.
    if place.exists() {
        fs::remove_dir_all(&place).map_err(|error| cannot("clear", &place, &error))?;
    }
    fs::create_dir_all(&place).map_err(|error| cannot("make", &place, &error))?;
    let spec = place.join("spec.json");
    let content = json!({
        "outdir": place,
        "servers": [{ "agent": "hyperlane", "url": format!("ws://{address}") }],
        "cases": patterns,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    fs::write(&spec, content.to_string()).map_err(|error| cannot("write", &spec, &error))?;

    let log = place.join("log");
    let output = File::create(&log).map_err(|error| cannot("write", &log, &error))?;
    let errors = output
        .try_clone()
        .map_err(|error| cannot("write", &log, &error))?;
    let mut child = Command::new(suite)
        .args(["--mode", "fuzzingclient", "--spec"])
        .arg(&spec)
        .current_dir(&place)
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|error| cannot("run", suite, &error))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < PART_LIMIT => thread::sleep(GLANCE),
            _ => {
                // It may end right now by itself.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "{name} did not end within {} s; {}",
                    PART_LIMIT.as_secs(),
                    last_case(&log)
                ));
            }
        }
    };
    if !status.success() {
        return Err(format!("{name}: {status}, see {}", log.display()));
    }
    report(&place.join("index.json")).map_err(|problem| format!("{problem}; {}", last_case(&log)))
}

/// Tells from the suite's output which case came last.
fn last_case(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let case = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("Running test case ID "))
        .and_then(|line| line.split(' ').next())
        .unwrap_or("none");
    format!("the last case was {case}, see {}", log.display())
}

/// Reads what the suite says of the cases that it ran.
fn report(path: &Path) -> Result<Verdicts, String> {
    let cases = read(path)?;
    let cases = cases.get("hyperlane").unwrap_or(&Value::Null);
    verdicts(cases).ok_or_else(|| format!("{} is no report", path.display()))
}

fn expected() -> Result<Verdicts, String> {
    let path = process::top().join(EXPECTED);
    verdicts(&read(&path)?).ok_or_else(|| format!("{EXPECTED} is no list of cases"))
}

fn verdicts(cases: &Value) -> Option<Verdicts> {
    let word = |case: &Value, name: &str| Some(case.get(name)?.as_str()?.to_owned());
    let verdict = |(id, case): (&String, &Value)| {
        let verdict = (word(case, "behavior")?, word(case, "behaviorClose")?);
        Some((CaseId::parse(id)?, verdict))
    };
    cases.as_object()?.iter().map(verdict).collect()
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| cannot("read", path, &error))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Takes new verdicts into the expected ones, a line for each case.
fn write_expected(mut expected: Verdicts, got: Verdicts) -> Outcome {
    expected.extend(got);
    let lines: Vec<String> = expected
        .iter()
        .map(|(id, (behavior, close))| {
            format!(
                "  \"{id}\": {{ \"behavior\": \"{behavior}\", \"behaviorClose\": \"{close}\" }}"
            )
        })
        .collect();
    let path = process::top().join(EXPECTED);
    fs::write(&path, format!("{{\n{}\n}}\n", lines.join(",\n")))
        .map_err(|error| cannot("write", &path, &error))
}

/// Names every case that did not end as expected, did not run, or is not known.
fn differences(expected: &Verdicts, got: &Verdicts, patterns: &[&str]) -> Vec<String> {
    let chosen = |id: &CaseId| patterns.iter().any(|pattern| id.matches(pattern));
    let show = |(behavior, close): &Verdict| format!("{behavior}, closed {close}");
    let missed = expected
        .iter()
        .filter(|(id, _)| chosen(id) && !got.contains_key(id))
        .map(|(id, _)| format!("case {id} did not run"));
    let differs = got.iter().filter_map(|(id, verdict)| {
        let shown = show(verdict);
        match expected.get(id) {
            None => Some(format!("case {id} is not in {EXPECTED}: {shown}")),
            Some(wanted) if wanted != verdict => {
                Some(format!("case {id}: {shown}; expected {}", show(wanted)))
            }
            Some(_) => None,
        }
    });
    missed.chain(differs).collect()
}

/// Counts the cases by how they went, and those whose connection closed in a wrong way.
fn summary(got: &Verdicts) -> String {
    const BEHAVIORS: [&str; 5] = [
        "OK",
        "NON-STRICT",
        "INFORMATIONAL",
        "UNIMPLEMENTED",
        "FAILED",
    ];
    let count = |wanted: &str| {
        got.values()
            .filter(|(behavior, _)| behavior == wanted)
            .count()
    };
    let counts = BEHAVIORS.map(|behavior| format!("{behavior} {}", count(behavior)));
    let is_wrong = |close: &str| !matches!(close, "OK" | "INFORMATIONAL" | "UNIMPLEMENTED");
    let wrong = got.values().filter(|(_, close)| is_wrong(close)).count();
    format!(
        "{} run: {}; closed wrongly {wrong}",
        got.len(),
        counts.join(", ")
    )
}

fn cannot(verb: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {verb} {}: {error}", path.display())
}
