//! Clients of HTTP/2 that cost much and ask for little, against the bench server: what each costs the server and a normal
//! client.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    Outcome,
    http2_frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
        RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, field, frame, request,
    },
    process, slow,
};

const USAGE: &str = "usage: cargo xtask http2-attacks";

/// The number of times that an attack sends its frames.
const TIMES: u32 = 10_000;

/// The duration of a measurement of the normal client. For each attack there are [`ROUNDS`] measurements with it, and
/// as many without it. The smallest value of each kind counts, because other load of the machine only adds to it.
const MEASURED: Duration = Duration::from_millis(1_500);
const ROUNDS: usize = 3;

/// An attacker comes back after this time, until the measurement of the normal client has ended.
const PAUSE: Duration = Duration::from_millis(500);

/// What an attack may cost: seconds of the processor, and bytes.
const MOST_SECONDS: f64 = 1.0;
const MOST_BYTES: u64 = 20 * 1000 * 1000;

/// The factor by which the 99th percentile of the normal client may grow.
const MOST_GROWTH: u32 = 2;

/// The end that an attack has to meet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// `GOAWAY` with `ENHANCE_YOUR_CALM`.
    Calm,
    /// The connection stays open: the client gets its answers, or its streams wait.
    Open,
}

struct Attack {
    name: &'static str,
    /// The initial window of streams in the client's settings.
    window: u32,
    /// What comes first, once.
    begin: Vec<u8>,
    /// Maximum number of times that the frames are sent.
    times: u32,
    frames: fn(u32) -> Vec<u8>,
    end: End,
}

pub(crate) fn run(args: &[String]) -> Outcome {
    if !args.is_empty() {
        return Err(USAGE.to_owned());
    }
    let program = process::release_example("bench_server")?;
    let mut problems = Vec::new();
    println!(
        "{:<28}|{:>8} |{:>8} |{:>10} |{:>10} | end",
        "attack", "CPU s", "MB", "p99 alone", "p99"
    );
    for attack in attacks() {
        let server = process::Server::start(&program, &["0"])?;
        let address: SocketAddr = server
            .address
            .parse()
            .map_err(|_| format!("no address: {}", server.address))?;
        problems.extend(measure(&attack, &server, address)?);
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

/// Runs an attack while a normal client sends requests. Returns the bars that were missed.
fn measure(
    attack: &Attack,
    server: &process::Server,
    address: SocketAddr,
) -> Result<Vec<String>, String> {
    // One attack without the normal client shows what it costs the server.
    let (cpu, memory) = (server.cpu_seconds()?, server.status("VmRSS:")?);
    reset_peak(server)?;
    let end = send(attack, address)?;
    let cpu = server.cpu_seconds()? - cpu;
    let memory = server.status("VmHWM:")?.saturating_sub(memory);
    // Further attacks show what they cost the normal client.
    let (mut alone, mut beside) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        alone = alone.min(slow::percentile(&slow::latencies(address, MEASURED)?, 99));
        let client = thread::spawn(move || slow::latencies(address, MEASURED));
        let attacked = attack_until(attack, address, || client.is_finished());
        let taken = client
            .join()
            .map_err(|_| "the normal client panicked".to_owned())??;
        attacked?;
        beside = beside.min(slow::percentile(&taken, 99));
    }
    println!(
        "{:<28}|{cpu:>8.2} |{:>8.1} |{:>10} |{:>10} | {end}",
        attack.name,
        memory as f64 / 1e6,
        format!("{alone:.0?}"),
        format!("{beside:.0?}"),
    );
    let expected = match attack.end {
        End::Calm => "ENHANCE_YOUR_CALM",
        End::Open => "open",
    };
    let mut problems = Vec::new();
    for (is_missed, what) in [
        (end != expected, "ended otherwise"),
        (cpu >= MOST_SECONDS, "took too much of the processor"),
        (memory >= MOST_BYTES, "took too much memory"),
        (beside > alone * MOST_GROWTH, "slowed a normal client down"),
    ] {
        if is_missed {
            problems.push(format!("{}: {what}", attack.name));
        }
    }
    Ok(problems)
}

fn attack_until(attack: &Attack, address: SocketAddr, is_over: impl Fn() -> bool) -> Outcome {
    while !is_over() {
        send(attack, address)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Attacks once, and returns how the connection ends.
fn send(attack: &Attack, address: SocketAddr) -> Result<&'static str, String> {
    let failed = |error| format!("{}: {error}", attack.name);
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .map_err(failed)?;
    let mut reader = stream.try_clone().map_err(failed)?;
    // A thread reads all that the server sends, so that the server never waits.
    let reads = thread::spawn(move || read(&mut reader));
    let mut bytes = PREFACE.to_vec();
    let mut settings = vec![0, 4];
    settings.extend(attack.window.to_be_bytes());
    bytes.extend(frame(SETTINGS, 0, 0, &settings));
    bytes.extend(&attack.begin);
    for number in 0..attack.times {
        bytes.extend((attack.frames)(number));
        if bytes.len() >= 16 * 1024 {
            // The server may have ended the connection.
            if stream.write_all(&bytes).is_err() {
                bytes.clear();
                break;
            }
            bytes.clear();
        }
    }
    let _ = stream.write_all(&bytes);
    reads.join().map_err(|_| "the reader panicked".to_owned())
}

/// Reads until the end, or until nothing comes for a while. Returns how the connection ended.
fn read(stream: &mut TcpStream) -> &'static str {
    let mut last = Vec::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                last.extend(buffer.get(..count).unwrap_or_default());
                // Only the last bytes matter.
                let old = last.len().saturating_sub(1024);
                last.drain(..old);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return "open",
            Err(_) => break,
        }
    }
    // The code is searched, because the last frame, a GOAWAY, may have a text behind the code.
    let is_calm = last
        .windows(17)
        .any(|bytes| matches!(bytes, [0, _, _, GOAWAY, 0, 0, 0, 0, 0, .., 0, 0, 0, 0xB]));
    match is_calm {
        true => "ENHANCE_YOUR_CALM",
        false => "closed",
    }
}

// ---------------------------------------------------------------- the attacks

// Long: a table.
fn attacks() -> Vec<Attack> {
    let attack = |name, begin, frames| Attack {
        name,
        window: 65_535,
        begin,
        times: TIMES,
        frames,
        end: End::Calm,
    };
    let post = || frame(HEADERS, END_HEADERS, 1, &request("POST", "/publish"));
    let open = |name, window, times, frames| Attack {
        window,
        times,
        end: End::Open,
        ..attack(name, vec![], frames)
    };
    vec![
        attack("rapid reset", vec![], |number| {
            let reset = frame(RST_STREAM, 0, stream(number), &[0, 0, 0, 8]);
            [get(number, "/plaintext"), reset].concat()
        }),
        attack("rapid reset of event streams", vec![], |number| {
            let reset = frame(RST_STREAM, 0, stream(number), &[0, 0, 0, 8]);
            [get(number, "/sse"), reset].concat()
        }),
        attack("resets by the server", vec![], |number| {
            frame(HEADERS, WHOLE, stream(number), &field("x", b"no request"))
        }),
        attack(
            "CONTINUATION",
            frame(HEADERS, END_STREAM, 1, &request("GET", "/plaintext")),
            |_| frame(CONTINUATION, 0, 1, &field("x", b"1")),
        ),
        attack(
            "empty CONTINUATION",
            frame(HEADERS, END_STREAM, 1, &request("GET", "/plaintext")),
            |_| frame(CONTINUATION, 0, 1, &[]),
        ),
        attack("SETTINGS", vec![], |_| frame(SETTINGS, 0, 0, &[])),
        attack(
            "SETTINGS of windows",
            (0..100).flat_map(|number| get(number, "/sse")).collect(),
            |number| {
                let [.., last] = (1 + number % 2).to_be_bytes();
                frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, last])
            },
        ),
        attack("PING", vec![], |_| frame(PING, 0, 0, &[0; 8])),
        attack("empty DATA", post(), |_| frame(DATA, 0, 1, &[])),
        attack("padded DATA", post(), |_| frame(DATA, 8, 1, &[3, 0, 0, 0])),
        attack("small window updates", vec![], |_| {
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])
        }),
        attack("priority churn", vec![], |number| {
            let [a, b, c, d] = stream(number + 1).to_be_bytes();
            frame(PRIORITY, 0, stream(number), &[a, b, c, d, 7])
        }),
        attack("unknown frames", vec![], |_| frame(0xEE, 0, 0, &[])),
        attack("header bomb", vec![], |number| {
            // The block adds an entry of 4000 bytes to the table, and then refers to it 10 000 times.
            let mut block = request("GET", "/plaintext");
            block.extend(b"\x40\x01x\x7f\x81\x1e");
            block.extend([b'a'; 4000]);
            block.extend([0xBE; 10_000]);
            frame(HEADERS, WHOLE, stream(number), &block)
        }),
        open("100 streams, window 0", 0, 100, |number| {
            get(number, "/plaintext")
        }),
        open("100 streams, window 1", 1, 100, |number| {
            get(number, "/plaintext")
        }),
        open("32 KiB of fields x 100", 65_535, 100, |number| {
            let large = field("a", &[b'x'; 15_000]);
            let block = [request("GET", "/plaintext"), large.clone()].concat();
            let rest = frame(CONTINUATION, END_HEADERS, stream(number), &large);
            [frame(HEADERS, END_STREAM, stream(number), &block), rest].concat()
        }),
        open("table churn", 65_535, 1_000, |number| {
            let mut block = b"\x20\x3f\xe1\x1f".to_vec();
            block.extend(request("GET", "/plaintext"));
            for part in 0..20_u32 {
                block.extend(b"\x40\x01x\x08");
                block.extend(number.to_be_bytes());
                block.extend(part.to_be_bytes().map(|byte| byte | 0x40));
            }
            // A value may contain no control character, so the high bit of each of its bytes is set.
            let printable = block.len() - 20 * 12;
            for value in block
                .get_mut(printable..)
                .unwrap_or_default()
                .chunks_mut(12)
            {
                for byte in value.iter_mut().skip(4) {
                    *byte |= 0x80;
                }
            }
            frame(HEADERS, WHOLE, stream(number), &block)
        }),
    ]
}

fn stream(number: u32) -> u32 {
    2 * number + 1
}

fn get(number: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream(number), &request("GET", path))
}

// ---------------------------------------------------------------- the server's process

/// Resets the peak of the server's memory to what it uses now.
fn reset_peak(server: &process::Server) -> Outcome {
    let path = format!("/proc/{}/clear_refs", server.id());
    fs::write(&path, "5").map_err(|error| format!("cannot write {path}: {error}"))
}
