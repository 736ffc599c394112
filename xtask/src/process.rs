//! Running other programs.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
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
    run_with(program, args, Vec::<(&str, &str)>::new())
}

/// As [`run`], with variables of the environment.
pub(crate) fn run_with<A: AsRef<OsStr>, V: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = A>,
    variables: impl IntoIterator<Item = (&'static str, V)>,
) -> Outcome {
    let program = program.as_ref();
    let status = Command::new(program)
        .args(args)
        .envs(variables)
        .current_dir(top())
        .status()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} failed: {status}", program.display()))
    }
}

/// Runs a program in the top directory and returns what it prints.
pub(crate) fn read<A: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = A>,
) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(top())
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// Runs a command in the top directory to its end, and ends it if it takes longer.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Outcome {
    let program = command.get_program().display().to_string();
    let mut child = command
        .current_dir(top())
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    let start = Instant::now();
    while start.elapsed() < limit {
        match child.try_wait() {
            Ok(None) => thread::sleep(Duration::from_millis(50)),
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{program} failed: {status}")),
            Err(error) => return Err(format!("cannot wait for {program}: {error}")),
        }
    }
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("{program} was ended after {limit:?}"))
}

/// Builds an example and returns its path.
pub(crate) fn example(name: &str) -> Result<PathBuf, String> {
    run("cargo", ["build", "--quiet", "--example", name])?;
    Ok(examples().join(name))
}

/// Where [`example`] builds.
pub(crate) fn examples() -> PathBuf {
    target().join("debug").join("examples")
}

/// Builds an example as users run it and returns its path.
pub(crate) fn release_example(name: &str) -> Result<PathBuf, String> {
    run("cargo", ["build", "--release", "--example", name])?;
    Ok(target().join("release").join("examples").join(name))
}

/// Builds the bridge from HTTP/1.1 to HTTP/2 and returns its path.
pub(crate) fn bridge() -> Result<PathBuf, String> {
    run(
        "cargo",
        [
            "build",
            "--release",
            "-p",
            "test-support",
            "--bin",
            "bridge",
        ],
    )?;
    Ok(target().join("release").join("bridge"))
}

/// Raises this process's limit of open files as far as the system allows: all sockets of a client are in one process.
pub(crate) fn raise_descriptor_limit() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: maximum,
            maximum,
        };
        // If this fails, the client cannot open all sockets, and reports that.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// The longest time that a server may take until it listens.
const STARTING: Duration = Duration::from_secs(60);

/// The longest time that a server may take to end.
const ENDING: Duration = Duration::from_secs(30);

/// A server that ends with this value.
pub(crate) struct Server {
    child: Child,
    /// Where it listens, as `host:port`.
    pub(crate) address: String,
}

impl Server {
    /// Returns the CPU time that the server has used, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/stat", self.id());
        let text =
            fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
        // The name of the program may have blanks. It ends with a parenthesis.
        let fields = text.rsplit(')').next().unwrap_or_default();
        let ticks: u32 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u32>().ok())
            .sum();
        Ok(f64::from(ticks) / 100.0)
    }

    /// Returns a number of bytes in the status of the server's process, such as `VmRSS:`.
    pub(crate) fn status(&self, name: &str) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.id());
        let text =
            fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| format!("{path} has no {name}"))
    }

    /// Starts a server that prints `http://host:port` when it listens.
    pub(crate) fn start(program: &Path, args: &[&str]) -> Result<Self, String> {
        Self::start_command(program, Command::new(program).args(args))
    }

    /// Starts it with what it says on its standard error in a file.
    pub(crate) fn start_logged(program: &Path, args: &[&str], log: &Path) -> Result<Self, String> {
        let log = std::fs::File::create(log)
            .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        Self::start_command(program, Command::new(program).args(args).stderr(log))
    }

    /// Starts it by a command that the caller has prepared; errors name the program.
    pub(crate) fn start_command(program: &Path, command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let output = child.stdout.take();
        let mut server = Self {
            child,
            address: String::new(),
        };
        let (said, heard) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = output.map_or(Ok(0), |output| BufReader::new(output).read_line(&mut line));
            // The server may have been given up in between.
            let _ = said.send(read.map(|_| line));
        });
        let line = heard
            .recv_timeout(STARTING)
            .map_err(|_| format!("{} does not say where it listens", program.display()))?
            .map_err(|error| format!("the server says nothing: {error}"))?;
        server.address = line.trim().trim_start_matches("http://").to_owned();
        match server.address.is_empty() {
            true => Err(format!("{} does not listen", program.display())),
            false => Ok(server),
        }
    }

    /// Gives the id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server by a signal, on which valgrind writes what it has counted, and waits until it has ended.
    pub(crate) fn terminate(mut self) -> Outcome {
        run("kill", ["-TERM", &self.id().to_string()])?;
        let start = Instant::now();
        while start.elapsed() < ENDING {
            if self.is_gone() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("the server still runs after {ENDING:?}"))
    }

    /// Tells whether the server has ended by itself.
    pub(crate) fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
