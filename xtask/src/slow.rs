//! Slow and endless clients against a server with its default limits: what they cost it and everybody else.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Outcome, process};

const USAGE: &str = "usage: cargo xtask slow [--connections N] [--seconds N]";

/// The default of `ServerConfig::header_timeout`.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How much earlier and later a connection may seem to be cut: the client begins to count after the server, the
/// server's clock ticks coarsely, and the clients leave the processors to the server.
const EARLY: Duration = Duration::from_millis(200);
const LATE: Duration = Duration::from_secs(2);

/// Connections are opened over this time, so that the crowd itself is not the load.
const OPENING: Duration = Duration::from_secs(5);

/// How often a slow client sends a field, and a normal one a request.
const SLOW_PACE: Duration = Duration::from_secs(1);
const NORMAL_PACE: Duration = Duration::from_millis(2);

/// How long the normal client is measured without the others.
const QUIET: Duration = Duration::from_secs(10);

/// What slow connections may cost all together.
const SLOW_GROWTH: u64 = 100 * MB;

/// What an endless message may cost: a head, a body and buffers, many times over.
const ENDLESS_GROWTH: u64 = 16 * MB;

/// Endless messages are given up after this many bytes.
const ENDLESS: usize = 256 * 1024 * 1024;

const MB: u64 = 1024 * 1024;

pub(crate) fn run(args: &[String]) -> Outcome {
    let (connections, seconds) = options(args)?;
    let program = process::release_example("bench_server")?;
    let server = process::Server::start(&program, &["0"])?;
    let address: SocketAddr = server
        .address
        .parse()
        .map_err(|_| format!("no address: {}", server.address))?;
    let mut problems = Vec::new();
    slow_heads(
        &server,
        address,
        connections,
        Duration::from_secs(seconds),
        &mut problems,
    )?;
    endless(&server, address, &mut problems)?;
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

fn options(args: &[String]) -> Result<(usize, u64), String> {
    let (mut connections, mut seconds) = (5000, 30);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let number = args.next().and_then(|number| number.parse::<u32>().ok());
        let number = number.filter(|number| *number > 0).ok_or(USAGE)?;
        match arg.as_str() {
            "--connections" => connections = usize::try_from(number).map_err(|_| USAGE)?,
            "--seconds" => seconds = u64::from(number),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok((connections, seconds))
}

// ---------------------------------------------------------------- slow heads

/// What became of the slow connections.
#[derive(Default)]
struct Slow {
    opened: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    /// After how long those that were cut were, in order of their ends; with 408 and the end of the stream.
    cut: Mutex<Vec<Duration>>,
    /// Ended in any other way.
    other: Mutex<Vec<String>>,
    over: AtomicBool,
}

fn slow_heads(
    server: &process::Server,
    address: SocketAddr,
    connections: usize,
    time: Duration,
    problems: &mut Vec<String>,
) -> Outcome {
    let quiet = latencies(address, QUIET)?;
    let before = server.status("VmRSS:")?;
    let slow = Arc::new(Slow::default());
    let crowd = {
        let slow = slow.clone();
        thread::spawn(move || crowd(address, connections, &slow))
    };
    let busy = thread::spawn(move || latencies(address, time));
    let mut most = before;
    while !busy.is_finished() {
        most = most.max(server.status("VmRSS:")?);
        thread::sleep(Duration::from_millis(100));
    }
    let busy = busy
        .join()
        .map_err(|_| "the normal client panicked".to_owned())??;
    slow.over.store(true, Ordering::Relaxed);
    crowd
        .join()
        .map_err(|_| "the slow clients panicked".to_owned())??;

    let cut = slow.cut.lock().unwrap_or_else(PoisonError::into_inner);
    let other = slow.other.lock().unwrap_or_else(PoisonError::into_inner);
    let first = cut.iter().min().copied().unwrap_or_default();
    let last = cut.iter().max().copied().unwrap_or_default();
    let most_open = slow.most_open.load(Ordering::Relaxed);
    let growth = most.saturating_sub(before);
    println!(
        "slow heads: {} opened, {most_open} at once, {} cut with 408 after {:.1} to {:.1} s, {} ended otherwise",
        slow.opened.load(Ordering::Relaxed),
        cut.len(),
        first.as_secs_f64(),
        last.as_secs_f64(),
        other.len(),
    );
    println!(
        "memory: {:.1} MB before, {:.1} MB more at most, {:.2} kB a connection",
        before as f64 / MB as f64,
        growth as f64 / MB as f64,
        growth as f64 / 1024.0 / most_open.max(1) as f64
    );
    println!(
        "normal client: quiet p50 {:?} p99 {:?} ({} requests); beside them p50 {:?} p99 {:?} ({} requests)",
        percentile(&quiet, 50),
        percentile(&quiet, 99),
        quiet.len(),
        percentile(&busy, 50),
        percentile(&busy, 99),
        busy.len()
    );
    if let Some(way) = other.first() {
        problems.push(format!(
            "slow heads: {} ended otherwise: {way}",
            other.len()
        ));
    }
    if cut.is_empty() || first + EARLY < HEADER_TIMEOUT || last > HEADER_TIMEOUT + LATE {
        problems.push("slow heads: not cut by the header timeout".to_owned());
    }
    if most_open < connections {
        problems.push(format!("slow heads: only {most_open} at once"));
    }
    if growth >= SLOW_GROWTH {
        problems.push("slow heads: they cost too much memory".to_owned());
    }
    if percentile(&busy, 99) > 2 * percentile(&quiet, 99) {
        problems.push("slow heads: a normal client's p99 more than doubles".to_owned());
    }
    Ok(())
}

/// Keeps so many slow connections open until it is over.
fn crowd(address: SocketAddr, connections: usize, slow: &Arc<Slow>) -> Outcome {
    // What they cost is to be seen at the server; elsewhere they would run on machines of their own.
    #[cfg(target_os = "linux")]
    yield_to_all()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    runtime.block_on(async {
        let each = OPENING / u32::try_from(connections).unwrap_or(u32::MAX);
        let start = tokio::time::Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..connections {
            let slow = slow.clone();
            tokio::time::sleep_until(start + each * u32::try_from(number).unwrap_or(u32::MAX))
                .await;
            tasks.spawn(async move {
                while !slow.over.load(Ordering::Relaxed) {
                    if let Err(way) = slow_head(address, &slow).await {
                        let mut other = slow.other.lock().unwrap_or_else(PoisonError::into_inner);
                        other.push(way);
                    }
                }
            });
        }
        // Those that are left are dropped: the time is over.
        while !slow.over.load(Ordering::Relaxed) {
            tokio::time::sleep(SLOW_PACE / 10).await;
        }
    });
    Ok(())
}

/// Runs this thread only while the processor is idle. A thread that is merely nice is not preempted at once, and
/// would delay the thread that wakes beside it.
#[cfg(target_os = "linux")]
pub(crate) fn yield_to_all() -> Outcome {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let changed = std::process::Command::new("chrt")
        .args(["--idle", "--pid", "0", &thread])
        .status()
        .map_err(|error| format!("cannot run chrt: {error}"))?;
    match changed.success() {
        true => Ok(()),
        false => Err("chrt: the thread keeps its priority".to_owned()),
    }
}

/// One connection, from its beginning until it is cut.
async fn slow_head(address: SocketAddr, slow: &Slow) -> Result<(), String> {
    let failed = |what: &str, error| format!("{what}: {error}");
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .map_err(|error| failed("connect", error))?;
    let start = Instant::now();
    slow.opened.fetch_add(1, Ordering::Relaxed);
    let open = slow.open.fetch_add(1, Ordering::Relaxed) + 1;
    slow.most_open.fetch_max(open, Ordering::Relaxed);
    let ended = send_slowly(&mut stream).await;
    slow.open.fetch_sub(1, Ordering::Relaxed);
    let answer = ended?;
    match answer.starts_with(b"HTTP/1.1 408 ") {
        true => {
            let mut cut = slow.cut.lock().unwrap_or_else(PoisonError::into_inner);
            cut.push(start.elapsed());
            Ok(())
        }
        false => Err(format!("answered {}", answer.escape_ascii())),
    }
}

/// Sends a head without end and gives what comes back up to the end of the stream.
async fn send_slowly(stream: &mut tokio::net::TcpStream) -> Result<Vec<u8>, String> {
    stream
        .write_all(b"GET /plaintext HTTP/1.1\r\nhost: localhost\r\n")
        .await
        .map_err(|error| format!("first write: {error}"))?;
    let mut answer = Vec::new();
    loop {
        match tokio::time::timeout(SLOW_PACE, stream.read_buf(&mut answer)).await {
            Ok(Ok(0)) => return Ok(answer),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("read: {error}")),
            Err(_) => {
                // It may have been cut in between; the next read tells.
                let _ = stream.write_all(b"x: y\r\n").await;
            }
        }
    }
}

/// Sends a request at a time over one connection for a while, and gives what each took, in order of size.
pub(crate) fn latencies(address: SocketAddr, time: Duration) -> Result<Vec<Duration>, String> {
    let failed = |error| format!("the normal client: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut taken = Vec::new();
    let mut buffer = [0; 4096];
    let start = Instant::now();
    while start.elapsed() < time {
        let sent = Instant::now();
        stream
            .write_all(b"GET /plaintext HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .map_err(failed)?;
        let mut length = 0;
        while !buffer
            .get(..length)
            .is_some_and(|answer| answer.ends_with(b"Hello, World!"))
        {
            let room = buffer.get_mut(length..).unwrap_or_default();
            match stream.read(room).map_err(failed)? {
                0 => return Err("the normal client: cut".to_owned()),
                count => length += count,
            }
        }
        taken.push(sent.elapsed());
        thread::sleep(NORMAL_PACE);
    }
    taken.sort_unstable();
    Ok(taken)
}

pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = sorted.len() * percent / 100;
    sorted.get(at).copied().unwrap_or_default()
}

// ---------------------------------------------------------------- endless messages

/// A message that never ends: how it begins, what is repeated, and the answer that cuts it.
const ENDLESS_MESSAGES: [(&str, &str, &str, &str); 8] = [
    ("request line", "GET /", "x", "414"),
    (
        "header value",
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: ",
        "x",
        "431",
    ),
    (
        "header name",
        "GET / HTTP/1.1\r\nhost: localhost\r\n",
        "x",
        "431",
    ),
    (
        "header fields",
        "GET / HTTP/1.1\r\nhost: localhost\r\n",
        "x: y\r\n",
        "431",
    ),
    (
        "chunk extension",
        "POST /publish HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1;",
        "x",
        "400",
    ),
    (
        "chunk extensions",
        "POST /publish HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
        "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nx\r\n",
        "400",
    ),
    (
        "trailers",
        "POST /publish HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
        "x: y\r\n",
        "431",
    ),
    (
        "body",
        "POST /publish HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
        "10\r\nxxxxxxxxxxxxxxxx\r\n",
        "413",
    ),
];

fn endless(server: &process::Server, address: SocketAddr, problems: &mut Vec<String>) -> Outcome {
    for (name, begin, again, status) in ENDLESS_MESSAGES {
        let before = server.status("VmRSS:")?;
        let sender = thread::spawn(move || send_endless(address, begin, again));
        let mut most = before;
        while !sender.is_finished() {
            most = most.max(server.status("VmRSS:")?);
            thread::sleep(Duration::from_millis(5));
        }
        let sent = sender.join().map_err(|_| "a client panicked".to_owned())?;
        let (sent, answer) = sent.map_err(|error| format!("endless {name}: {error}"))?;
        let growth = most.saturating_sub(before);
        let line = answer.lines().next().unwrap_or_default().to_owned();
        println!(
            "endless {name}: {line}; {:.1} MB sent until the end, {:.1} MB more memory",
            sent as f64 / MB as f64,
            growth as f64 / MB as f64
        );
        if !line.starts_with(&format!("HTTP/1.1 {status} ")) {
            problems.push(format!("endless {name}: {line:?} instead of {status}"));
        }
        if growth >= ENDLESS_GROWTH || sent >= ENDLESS {
            problems.push(format!("endless {name}: not cut"));
        }
    }
    Ok(())
}

/// Sends until the server answers or the connection breaks; gives how much, and the answer.
fn send_endless(address: SocketAddr, begin: &str, again: &str) -> std::io::Result<(usize, String)> {
    let mut stream = TcpStream::connect(address)?;
    let mut reader = stream.try_clone()?;
    let answered = Arc::new(AtomicBool::new(false));
    let listener = {
        let answered = answered.clone();
        thread::spawn(move || {
            let mut answer = Vec::new();
            // A reset after the answer leaves the answer.
            let _ = reader.read_to_end(&mut answer);
            answered.store(true, Ordering::Relaxed);
            String::from_utf8_lossy(&answer).into_owned()
        })
    };
    stream.write_all(begin.as_bytes())?;
    let block = again.repeat(64 * 1024 / again.len());
    let mut sent = begin.len();
    while sent < ENDLESS && !answered.load(Ordering::Relaxed) {
        if stream.write_all(block.as_bytes()).is_err() {
            break;
        }
        sent += block.len();
    }
    drop(stream);
    Ok((sent, listener.join().unwrap_or_default()))
}
