//! What HTTP/2 costs the server: time of the processor for a request and for an event, writes, and memory, beside hyper and
//! axum in the same run.
//!
//! The peer is built from `xtask/http2/peer`, which is no member of the workspace. `h2load` sends the requests. This process
//! follows event streams and publishes in lock step: the next event once all streams have the last one. `strace` counts the
//! writes, in a part of its own, because it slows a server down.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    Outcome,
    http2_frames::{ACK, DATA, HEADERS, PREFACE, SETTINGS, WHOLE, WINDOW_UPDATE, frame, request},
    perf, process,
};

const USAGE: &str = "usage: cargo xtask http2-cost [requests|events|memory]";

/// Connections and streams of each, of `h2load`.
const LOADS: [(u32, u32); 3] = [(10, 1), (10, 10), (10, 100)];

/// The paths of answers, and the bytes of each.
const ANSWERS: [(&str, u32); 2] = [("/plaintext", 13), ("/kilobyte", 1024)];

/// Seconds for which requests are sent, and before that to warm up.
const SECONDS: u32 = 4;
const WARM_UP: u32 = 1;

/// Event streams: connections, streams of each, bytes of an event, and events.
const CONNECTIONS: usize = 200;
const STREAMS: usize = 5;
const SIZES: [usize; 3] = [64, 512, 2048];
const EVENTS: usize = 300;
/// Events while writes are counted.
const COUNTED: usize = 20;

/// Connections of which the memory is measured.
const IDLE: usize = 1_000;

/// The bars: of hyper's time at many streams and at one, of axum's time per delivery, bytes.
const MOST_OF_HYPER: f64 = 0.5;
const MOST_OF_AXUM: f64 = 0.3;
const MOST_OF_CONNECTION: f64 = 24.0 * 1024.0;
const MOST_OF_STREAM: f64 = 2.0 * 1024.0;
/// Writes of an event for each connection.
const MOST_WRITES: f64 = 1.1;

/// The largest window, beyond the one that a connection begins with.
const WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: u32 = 65_535;

/// The mark of an event in its stream.
const MARK: u8 = b'E';

/// The programs that are compared.
struct Programs {
    ours: PathBuf,
    peer: PathBuf,
}

pub(crate) fn run(args: &[String]) -> Outcome {
    let part = match args {
        [] => "",
        [part] if ["requests", "events", "memory"].contains(&part.as_str()) => part,
        _ => return Err(USAGE.to_owned()),
    };
    process::raise_descriptor_limit();
    let programs = Programs {
        ours: perf::bench_server()?,
        peer: build_peer()?,
    };
    let mut problems = Vec::new();
    for (name, measure) in [
        ("requests", requests as fn(&Programs) -> _),
        ("events", events),
        ("memory", memory),
    ] {
        if part.is_empty() || part == name {
            let missed: Vec<String> = measure(&programs)?;
            problems.extend(missed);
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

fn build_peer() -> Result<PathBuf, String> {
    let target = process::top().join(process::target()).join("peer");
    let manifest = Path::new("xtask/http2/peer/Cargo.toml");
    let args = ["build", "--quiet", "--release", "--manifest-path"].map(Path::new);
    let args = args.into_iter().chain([manifest]);
    process::run_with("cargo", args, [("CARGO_TARGET_DIR", &target)])?;
    Ok(target.join("release").join("http2-peer"))
}

/// Returns an error that names what failed.
fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

// ---------------------------------------------------------------- requests

/// Measures microseconds of the server's processor for a request.
fn requests(programs: &Programs) -> Result<Vec<String>, String> {
    let mut missed = Vec::new();
    println!(
        "{:<12}|{:>8} |{:>8} |{:>8} |{:>7}",
        "us/request", "load", "ours", "hyper", "ratio"
    );
    for (path, bytes) in ANSWERS {
        for (connections, streams) in LOADS {
            let ours = request_cost(&programs.ours, "0", path, connections, streams)?;
            let hyper = request_cost(&programs.peer, "hyper", path, connections, streams)?;
            let ratio = ours / hyper;
            let load = format!("{connections}x{streams}");
            println!("{bytes:>10} B|{load:>8} |{ours:>8.2} |{hyper:>8.2} |{ratio:>7.2}");
            let most = if streams == 1 { 1.0 } else { MOST_OF_HYPER };
            if ratio > most {
                missed.push(format!(
                    "{bytes} B, {load}: {ratio:.2} of hyper's time is above {most}"
                ));
            }
        }
    }
    Ok(missed)
}

fn request_cost(
    program: &Path,
    arg: &str,
    path: &str,
    connections: u32,
    streams: u32,
) -> Result<f64, String> {
    let server = process::Server::start(program, &[arg])?;
    let url = format!("http://{}{path}", server.address);
    let load = |seconds: u32| {
        let numbers = [seconds, connections, streams].map(|number| number.to_string());
        let [seconds, connections, streams] = &numbers;
        process::read(
            "h2load",
            ["-D", seconds, "-c", connections, "-m", streams, &url],
        )
    };
    load(WARM_UP)?;
    let before = server.cpu_seconds()?;
    let report = load(SECONDS)?;
    let cost = server.cpu_seconds()? - before;
    let number = |name: &str| {
        let line = report.lines().find(|line| line.starts_with("requests:"))?;
        let part = line.split(", ").find(|part| part.ends_with(name))?;
        part.split_whitespace().rev().nth(1)?.parse::<f64>().ok()
    };
    match (number(" succeeded"), number(" failed")) {
        (Some(done), Some(0.0)) if done > 0.0 => Ok(cost * 1e6 / done),
        _ => Err(format!(
            "{}: not all requests succeeded:\n{report}",
            program.display()
        )),
    }
}

// ---------------------------------------------------------------- events

/// Measures microseconds of the server's processor for a delivery, and the writes of an event.
fn events(programs: &Programs) -> Result<Vec<String>, String> {
    let mut missed = Vec::new();
    println!(
        "{:<12}|{:>8} |{:>8} |{:>7} |{:>18} |{:>12}",
        "us/delivery", "ours", "axum", "ratio", "writes/event, ours", "axum"
    );
    for size in SIZES {
        let ours = event_cost(&programs.ours, "0", size)?;
        let axum = event_cost(&programs.peer, "axum", size)?;
        let ratio = ours.time / axum.time;
        println!(
            "{size:>10} B|{:>8.2} |{:>8.2} |{ratio:>7.2} |{:>18.0} |{:>12.0}",
            ours.time, axum.time, ours.writes, axum.writes
        );
        if ratio > MOST_OF_AXUM {
            missed.push(format!(
                "{size} B: {ratio:.2} of axum's time is above {MOST_OF_AXUM}"
            ));
        }
        let each = ours.writes / CONNECTIONS as f64;
        if each > MOST_WRITES {
            missed.push(format!(
                "{size} B: {each:.2} writes for a connection and event"
            ));
        }
    }
    Ok(missed)
}

struct EventCost {
    /// Microseconds for a delivery.
    time: f64,
    /// Writes for an event.
    writes: f64,
}

fn event_cost(program: &Path, arg: &str, size: usize) -> Result<EventCost, String> {
    let server = process::Server::start(program, &[arg])?;
    let mut followers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut follower = Connection::open(&server.address)?;
        for _ in 0..STREAMS {
            follower.get("/sse")?;
        }
        follower.wait(|seen| seen.heads >= STREAMS)?;
        followers.push(follower);
    }
    let mut publish = |count: usize| -> Outcome {
        for _ in 0..count {
            post(&server.address, size)?;
            for follower in &mut followers {
                let next = follower.seen.marks + STREAMS;
                follower.wait(|seen| seen.marks >= next)?;
            }
        }
        Ok(())
    };
    publish(COUNTED)?;
    let before = server.cpu_seconds()?;
    publish(EVENTS)?;
    let time = (server.cpu_seconds()? - before) * 1e6 / (EVENTS * CONNECTIONS * STREAMS) as f64;
    let writes = count_writes(&server, || publish(COUNTED))? as f64 / COUNTED as f64;
    Ok(EventCost { time, writes })
}

/// Publishes an event over a connection of HTTP/1.1 of its own.
fn post(address: &str, size: usize) -> Outcome {
    let mut text = vec![b'x'; size];
    if let Some(first) = text.first_mut() {
        *first = MARK;
    }
    let head = format!(
        "POST /publish HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n"
    );
    let mut answer = Vec::new();
    TcpStream::connect(address)
        .and_then(|mut socket| {
            socket.write_all(&[head.as_bytes(), &text].concat())?;
            socket.read_to_end(&mut answer)
        })
        .map_err(failed("cannot publish"))?;
    match answer.starts_with(b"HTTP/1.1 204") {
        true => Ok(()),
        false => Err(format!("publishing: {}", String::from_utf8_lossy(&answer))),
    }
}

/// Counts the system calls that write, of all threads of a server, while `work` runs.
fn count_writes(server: &process::Server, work: impl FnOnce() -> Outcome) -> Result<u64, String> {
    let calls = "trace=write,writev,sendto,sendmsg";
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-e", calls, "-p", &server.id().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("cannot run strace"))?;
    // Until it has attached to all threads: the kernel names the tracer of each.
    while !is_traced(server)? {
        if let Ok(Some(status)) = strace.try_wait() {
            return Err(format!("strace: {status}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    let outcome = work();
    process::run("kill", ["-INT", &strace.id().to_string()])?;
    let output = strace.wait_with_output().map_err(failed("strace"))?;
    outcome?;
    let report = String::from_utf8_lossy(&output.stderr);
    // `% time  seconds  usecs/call  calls  [errors]  syscall`
    let total = report.lines().find(|line| line.ends_with(" total"));
    total
        .and_then(|line| line.split_whitespace().nth(3)?.parse().ok())
        .ok_or_else(|| format!("strace has counted nothing:\n{report}"))
}

fn is_traced(server: &process::Server) -> Result<bool, String> {
    let folder = format!("/proc/{}/task", server.id());
    let threads = fs::read_dir(&folder).map_err(failed(&folder))?;
    Ok(threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    }))
}

// ---------------------------------------------------------------- memory

/// Measures by how many bytes the server grows (resident memory) for an idle connection and an open event stream.
fn memory(programs: &Programs) -> Result<Vec<String>, String> {
    let mut missed = Vec::new();
    println!(
        "{:<28}|{:>8} |{:>8}",
        "KiB of resident memory", "ours", "peer"
    );
    let rows = [
        ("idle connection", "hyper", None, MOST_OF_CONNECTION),
        ("open event stream", "axum", Some("/sse"), MOST_OF_STREAM),
    ];
    for (name, peer, path, most) in rows {
        let ours = growth(&programs.ours, "0", path)?;
        let other = growth(&programs.peer, peer, path)?;
        println!(
            "{name:<28}|{:>8.2} |{:>8.2} ({peer})",
            ours / 1024.0,
            other / 1024.0
        );
        if ours > most {
            missed.push(format!("{name}: {ours:.0} bytes are more than {most}"));
        }
    }
    Ok(missed)
}

/// Returns the growth for an idle connection that has had an answer, or for each further stream with `path`.
fn growth(program: &Path, arg: &str, path: Option<&str>) -> Result<f64, String> {
    let server = process::Server::start(program, &[arg])?;
    let mut open = Vec::new();
    let idle = |count: usize, open: &mut Vec<Connection>| -> Outcome {
        for _ in 0..count {
            let mut connection = Connection::open(&server.address)?;
            connection.get("/plaintext")?;
            connection.wait(|seen| seen.heads > 0)?;
            open.push(connection);
        }
        Ok(())
    };
    // The first ones bring what the process needs once.
    idle(IDLE / 10, &mut open)?;
    let Some(path) = path else {
        let before = settled(&server)?;
        idle(IDLE, &mut open)?;
        return Ok((settled(&server)? - before) / IDLE as f64);
    };
    idle(CONNECTIONS, &mut open)?;
    let stream = |open: &mut Vec<Connection>| -> Outcome {
        for connection in open {
            let heads = connection.seen.heads;
            connection.get(path)?;
            connection.wait(|seen| seen.heads > heads)?;
        }
        Ok(())
    };
    stream(&mut open)?;
    let before = settled(&server)?;
    for _ in 0..STREAMS {
        stream(&mut open)?;
    }
    Ok((settled(&server)? - before) / (STREAMS * open.len()) as f64)
}

/// Returns the resident memory once the server's tasks have come to rest.
fn settled(server: &process::Server) -> Result<f64, String> {
    let mut last = server.cpu_seconds()?;
    loop {
        thread::sleep(Duration::from_millis(500));
        let now = server.cpu_seconds()?;
        if now - last < 0.02 {
            return Ok(server.status("VmRSS:")? as f64);
        }
        last = now;
    }
}

// ---------------------------------------------------------------- the client

/// What a connection has received.
#[derive(Default)]
struct Seen {
    heads: usize,
    /// Events, by their mark.
    marks: usize,
}

/// A client of HTTP/2 that knows frames, and of the heads nothing but that they have come.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    next: u32,
    seen: Seen,
}

impl Connection {
    fn open(address: &str) -> Result<Self, String> {
        let socket = TcpStream::connect(address).map_err(failed("cannot connect"))?;
        let limit = Some(Duration::from_secs(20));
        socket
            .set_nodelay(true)
            .and_then(|()| socket.set_read_timeout(limit))
            .map_err(failed("a socket"))?;
        let mut connection = Self {
            socket,
            buffer: Vec::new(),
            next: 1,
            seen: Seen::default(),
        };
        // 2 is ENABLE_PUSH, 4 is INITIAL_WINDOW_SIZE.
        let mut settings = vec![0, 2, 0, 0, 0, 0, 0, 4];
        settings.extend(WINDOW.to_be_bytes());
        let more = (WINDOW - FIRST_WINDOW).to_be_bytes();
        let settings = frame(SETTINGS, 0, 0, &settings);
        let update = frame(WINDOW_UPDATE, 0, 0, &more);
        connection.send(&[PREFACE, &settings, &update].concat())?;
        Ok(connection)
    }

    fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.socket.write_all(bytes).map_err(failed("cannot send"))
    }

    /// Sends a GET.
    fn get(&mut self, path: &str) -> Outcome {
        let bytes = frame(HEADERS, WHOLE, self.next, &request("GET", path));
        self.next += 2;
        self.send(&bytes)
    }

    /// Reads until `is_there`.
    fn wait(&mut self, is_there: impl Fn(&Seen) -> bool) -> Outcome {
        while !is_there(&self.seen) {
            let mut bytes = [0; 32 * 1024];
            let count = self
                .socket
                .read(&mut bytes)
                .map_err(failed("cannot read"))?;
            if count == 0 {
                return Err("the server has closed a connection".to_owned());
            }
            self.buffer.extend(bytes.iter().take(count));
            self.take()?;
        }
        Ok(())
    }

    /// Takes the whole frames of the buffer.
    fn take(&mut self) -> Outcome {
        while let [high, middle, low, kind, flags, _, _, _, _, rest @ ..] = &self.buffer[..] {
            let (kind, flags) = (*kind, *flags);
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            let Some(payload) = rest.get(..length) else {
                break;
            };
            match kind {
                HEADERS => self.seen.heads += 1,
                DATA => self.seen.marks += payload.iter().filter(|byte| **byte == MARK).count(),
                _ => {}
            }
            self.buffer.drain(..9 + length);
            if kind == SETTINGS && flags & ACK == 0 {
                self.send(&frame(SETTINGS, ACK, 0, &[]))?;
            }
        }
        Ok(())
    }
}
