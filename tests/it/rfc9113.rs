//! Frames, streams and requests of HTTP/2 (RFC 9113, RFC 7541, RFC 8441): every case of `rfc9113/cases.txt`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyperlane::prelude::*;
use test_support::{
    ACK, Client, END_HEADERS, END_STREAM, Http2Frame, PREFACE, address, case_lines, expand, hook,
    http2_field, http2_frame, http2_get, http2_request, http2_settings, http2_socket, kind, start,
};
use tokio::time::timeout;

/// The stream of the request behind a case. No case may use it.
const PROBE: u32 = 0x0FFF_FFFF;

/// Inputs up to this length are sent byte by byte as well.
const SHORT: usize = 300;

/// The time after which a case has no other outcome.
const LIMIT: Duration = Duration::from_secs(5);

/// Number of servers that run cases at the same time.
const LANES: usize = 8;

/// Error codes (RFC 9113 §7), in order of their numbers.
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// Types of frames (RFC 9113 §6), in order of their numbers.
const KINDS: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

/// Number of requests that came to a handler which no request behind an error may reach.
#[derive(Clone, Default)]
struct Probed(Arc<AtomicUsize>);

hook! {
    Hello |_, ctx| {
        ctx.get_mut_response().set_body("hello");
    }
    Echo |_, ctx| {
        let body = ctx.get_request().get_body().to_vec();
        ctx.get_mut_response().set_body(body);
    }
    Big |_, ctx| {
        ctx.get_mut_response().set_body("b".repeat(100_000));
    }
    Probe |_, ctx| {
        ctx.state::<Probed>().0.fetch_add(1, Ordering::SeqCst);
        ctx.get_mut_response().set_body("probe");
    }
    // Answers with the method, the target and the fields that the program sees.
    Seen |_, ctx| {
        let request = ctx.get_request();
        let mut seen = format!("{} {}", request.get_method(), request.get_path());
        for (name, value) in request.get_headers().iter() {
            seen.push_str(&format!(" {name}={value}"));
        }
        ctx.get_mut_response().set_body(seen);
    }
    // Answers never.
    Waits |stream, _ctx| {
        stream.disconnected().await;
    }
    Socket |stream, ctx| {
        let Ok(socket) = ctx.upgrade(stream).await else {
            return Status::Continue;
        };
        while let Ok(message) = socket.recv().await {
            let _ = socket.send(message).await;
        }
        Status::Continue
    }
}

async fn server() -> (ServerControlHook, Probed) {
    let probed = Probed::default();
    let control = start(|server| {
        server
            .state(probed.clone())
            .route::<Hello>("/hello")
            .route::<Echo>("/echo")
            .route::<Big>("/big")
            .route::<Seen>("/seen")
            .route::<Waits>("/wait")
            .route::<Socket>("/ws")
            .route::<Probe>("/probe");
        let config = server.get_mut_server_config();
        config.max_body = 100_000;
        config.http2_stream_window = 65_535;
        config.http2_streams = 10;
    })
    .await;
    (control, probed)
}

// ---------------------------------------------------------------- the table

struct Case {
    /// The number of the line.
    line: usize,
    section: &'static str,
    wanted: Vec<Wanted>,
    steps: Vec<Step>,
    /// The client sends no preface of its own.
    is_bare: bool,
}

/// What the server has to do.
#[derive(Clone, Debug)]
enum Wanted {
    /// GOAWAY with one of these codes, and the end of the connection.
    GoAway(Vec<u32>),
    /// The end of the connection, with or without GOAWAY.
    Close,
    /// The end of the connection, before or after the answer to the probe.
    End,
    /// RST_STREAM with this code.
    Reset(u32, u32),
    /// A whole answer with this status, and with this body if there is one.
    Answer(u32, u16, Option<Vec<u8>>),
    /// The head of an answer with this status that has not ended.
    Open(u32, u16),
    /// The first DATA of the stream has this length.
    Data(u32, usize),
    /// This frame.
    Frame(Http2Frame),
    /// No frame of this type.
    No(u8),
    /// Nothing else than that the connection goes on.
    Alive,
}

enum Step {
    Send(Vec<u8>),
    /// Waits until the stream has ended on the side of the server.
    Ended(u32),
    /// Waits until the server has followed all frames.
    Sync,
}

fn cases() -> Vec<Case> {
    case_lines(include_str!("rfc9113/cases.txt"))
        .map(|case| {
            let (line, [section, wanted, steps]) = (case.number, case.columns);
            let is_bare = steps.starts_with("bare");
            Case {
                line,
                section,
                wanted: wanted.split(", ").map(wish).collect(),
                steps: steps
                    .split(" ; ")
                    .filter(|step| *step != "bare")
                    .flat_map(step)
                    .collect(),
                is_bare,
            }
        })
        .collect()
}

fn code(name: &str) -> u32 {
    let at = CODES.iter().position(|code| *code == name);
    u32::try_from(at.unwrap_or_else(|| panic!("no such code: {name}"))).unwrap()
}

fn kind_of(name: &str) -> u8 {
    match KINDS.iter().position(|kind| *kind == name) {
        Some(at) => u8::try_from(at).unwrap(),
        None => u8::try_from(number(name)).unwrap(),
    }
}

fn number(text: &str) -> u32 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("no number: {text}"))
}

fn wish(text: &str) -> Wanted {
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["goaway", codes] => Wanted::GoAway(codes.split('/').map(code).collect()),
        ["close"] => Wanted::Close,
        ["end"] => Wanted::End,
        ["reset", stream, name] => Wanted::Reset(number(stream), code(name)),
        ["answer", stream, status] => Wanted::Answer(number(stream), status.parse().unwrap(), None),
        ["answer", stream, status, body] => {
            Wanted::Answer(number(stream), status.parse().unwrap(), Some(expand(body)))
        }
        ["open", stream, status] => Wanted::Open(number(stream), status.parse().unwrap()),
        ["data", stream, length] => Wanted::Data(number(stream), length.parse().unwrap()),
        ["frame", ..] => {
            let bytes = frame(&words[1..]);
            Wanted::Frame(Http2Frame {
                kind: bytes[3],
                flags: bytes[4],
                stream: u32::from_be_bytes(bytes[5..9].try_into().unwrap()),
                payload: bytes[9..].to_vec(),
            })
        }
        ["no", name] => Wanted::No(kind_of(name)),
        ["alive"] => Wanted::Alive,
        _ => panic!("no such wish: {text}"),
    }
}

fn step(text: &str) -> Vec<Step> {
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["ended", stream] => vec![Step::Ended(number(stream))],
        ["sync"] => vec![Step::Sync],
        ["raw", bytes] => vec![Step::Send(expand(bytes))],
        ["preface"] => vec![Step::Send(PREFACE.to_vec())],
        ["times", count, ..] => vec![Step::Send(
            frame(&words[2..]).repeat(count.parse().unwrap()),
        )],
        // One frame for each stream from A to B.
        ["each", from, to, ..] => (number(from)..=number(to))
            .step_by(2)
            .map(|stream| {
                let stream = stream.to_string();
                let mut words = words[3..].to_vec();
                words[1] = &stream;
                Step::Send(frame(&words))
            })
            .collect(),
        _ => vec![Step::Send(frame(&words))],
    }
}

/// Makes a frame of `TYPE STREAM [+FLAG..] PART..`.
fn frame(words: &[&str]) -> Vec<u8> {
    let (mut flags, mut payload, mut length) = (0, Vec::new(), None);
    for word in &words[2..] {
        if let Some(names) = word.strip_prefix('+') {
            for name in names.split('+') {
                flags |= match name {
                    "ES" => END_STREAM,
                    "ACK" => ACK,
                    "EH" => END_HEADERS,
                    "PADDED" => 0x8,
                    "PRIORITY" => 0x20,
                    other => u8::try_from(number(other)).unwrap(),
                };
            }
            continue;
        }
        match word.split_once(':') {
            Some(("get", path)) => payload.extend(http2_request("GET", path)),
            Some(("post", path)) => payload.extend(http2_request("POST", path)),
            Some(("hex", digits)) => payload.extend(hex(digits)),
            Some(("text", text)) => payload.extend(expand(text)),
            Some(("u8", value)) => payload.push(u8::try_from(number(value)).unwrap()),
            Some(("u32", value)) => payload.extend(number(value).to_be_bytes()),
            Some(("length", value)) => length = Some(number(value)),
            Some(("set", setting)) => {
                let (id, value) = setting.split_once('=').unwrap();
                let id = u16::try_from(number(id)).unwrap();
                payload.extend(http2_settings(&[(id, number(value))]));
            }
            _ => {
                // The name of a pseudo-field begins with a colon.
                let at = word.find('=').unwrap_or_else(|| panic!("no part: {word}"));
                payload.extend(http2_field(expand(&word[..at]), expand(&word[at + 1..])));
            }
        }
    }
    let mut bytes = http2_frame(kind_of(words[0]), flags, number(words[1]), payload);
    if let Some(length) = length {
        bytes[..3].copy_from_slice(&length.to_be_bytes()[1..]);
    }
    bytes
}

fn hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

// ---------------------------------------------------------------- a run

/// A connection, and what the server has sent on it.
struct Run {
    client: Client,
    frames: Vec<Http2Frame>,
    has_ended: bool,
}

impl Run {
    /// Reads until the condition holds, or to the end of the connection.
    async fn read_until(&mut self, mut is_enough: impl FnMut(&[Http2Frame]) -> bool) {
        while !self.has_ended && !is_enough(&self.frames) {
            match self.client.next_http2().await {
                Some(frame) => self.frames.push(frame),
                None => self.has_ended = true,
            }
        }
    }

    async fn read_to_end_of(&mut self, stream: u32) {
        self.read_until(|frames| frames.iter().any(|frame| ends(frame, stream)))
            .await;
    }

    /// Sends bytes. The server may have closed the connection before the last.
    async fn send(&mut self, bytes: &[u8], is_slow: bool) {
        if !is_slow {
            self.client.try_send(bytes).await;
            return;
        }
        for byte in bytes {
            if !self.client.try_send([*byte]).await {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn sync(&mut self, mark: &mut u64) {
        *mark += 1;
        let payload = (0x5359_4E43_0000_0000 | *mark).to_be_bytes();
        let ping = http2_frame(kind::PING, 0, 0, payload);
        self.client.try_send(&ping).await;
        self.read_until(|frames| {
            frames
                .iter()
                .any(|frame| frame.kind == kind::PING && frame.payload == payload)
        })
        .await;
    }
}

fn ends(frame: &Http2Frame, stream: u32) -> bool {
    frame.stream == stream && (frame.ends_stream() || frame.kind == kind::RST_STREAM)
}

/// Returns the status and the body of a stream, and whether it has ended.
fn answer(frames: &[Http2Frame], stream: u32) -> (Option<u16>, Vec<u8>, bool) {
    let of_stream = || frames.iter().filter(|frame| frame.stream == stream);
    let status = of_stream().find_map(Http2Frame::status);
    let data = of_stream().filter(|frame| frame.kind == kind::DATA);
    let body = data.flat_map(|frame| frame.payload.clone()).collect();
    (status, body, of_stream().any(Http2Frame::ends_stream))
}

fn holds(wanted: &Wanted, run: &Run) -> bool {
    let frames = &run.frames;
    match wanted {
        Wanted::GoAway(codes) => {
            let last = frames.iter().rfind(|frame| frame.kind == kind::GOAWAY);
            run.has_ended
                && last
                    .and_then(Http2Frame::code)
                    .is_some_and(|code| codes.contains(&code))
        }
        Wanted::Close | Wanted::End => run.has_ended,
        Wanted::Reset(stream, code) => frames.iter().any(|frame| {
            frame.stream == *stream && frame.kind == kind::RST_STREAM && frame.code() == Some(*code)
        }),
        Wanted::Answer(stream, status, body) => {
            let (seen, text, has_ended) = answer(frames, *stream);
            seen == Some(*status) && has_ended && body.as_ref().is_none_or(|body| *body == text)
        }
        Wanted::Open(stream, status) => {
            let (seen, _, has_ended) = answer(frames, *stream);
            seen == Some(*status) && !has_ended
        }
        Wanted::Data(stream, length) => frames
            .iter()
            .find(|frame| frame.stream == *stream && frame.kind == kind::DATA)
            .is_some_and(|frame| frame.payload.len() == *length),
        Wanted::Frame(frame) => frames.contains(frame),
        Wanted::No(kind) => frames.iter().all(|frame| frame.kind != *kind),
        Wanted::Alive => !run.has_ended,
    }
}

/// Sends a case and returns the problem with what the server does.
async fn problem(to: SocketAddr, probed: &Probed, case: &Case, is_slow: bool) -> Option<String> {
    let before = probed.0.load(Ordering::SeqCst);
    let mut run = Run {
        client: Client::on(http2_socket(to).await.unwrap()),
        frames: Vec::new(),
        has_ended: false,
    };
    if !case.is_bare {
        let settings = http2_frame(kind::SETTINGS, 0, 0, []);
        run.send(&[PREFACE, &settings].concat(), false).await;
        run.read_until(|frames| frames.len() == 2).await;
        run.send(&http2_frame(kind::SETTINGS, ACK, 0, []), false)
            .await;
    }
    let mut mark = 0;
    // What belongs together goes out in one write.
    let mut waiting = Vec::new();
    for step in &case.steps {
        if let Step::Send(bytes) = step {
            waiting.extend(bytes);
            continue;
        }
        run.send(&std::mem::take(&mut waiting), is_slow).await;
        match step {
            Step::Ended(stream) => run.read_to_end_of(*stream).await,
            _ => run.sync(&mut mark).await,
        }
    }
    let is_fatal = case
        .wanted
        .iter()
        .any(|wanted| matches!(wanted, Wanted::GoAway(_) | Wanted::Close));
    // The probe stands behind the case at once if it must not be answered.
    if is_fatal {
        waiting.extend(http2_get(PROBE, "/probe"));
    }
    run.send(&waiting, is_slow && waiting.len() < SHORT).await;
    if !is_fatal {
        run.send(&http2_get(PROBE, "/probe"), false).await;
    }
    // Without an outcome in this time there is none.
    let _ = timeout(LIMIT, async {
        run.read_to_end_of(PROBE).await;
        while !run.has_ended && !case.wanted.iter().all(|wanted| holds(wanted, &run)) {
            let known = run.frames.len();
            run.read_until(|frames| frames.len() > known).await;
        }
    })
    .await;
    let probes = probed.0.load(Ordering::SeqCst) - before;
    let may_end = case
        .wanted
        .iter()
        .any(|wanted| matches!(wanted, Wanted::End));
    let is_right = case.wanted.iter().all(|wanted| holds(wanted, &run))
        && (may_end || probes == usize::from(!is_fatal))
        && (may_end || is_fatal == run.has_ended);
    (!is_right).then(|| {
        format!(
            "cases.txt:{}: {}: wanted {:?}{}, got {}",
            case.line,
            case.section,
            case.wanted,
            if is_slow { " byte by byte" } else { "" },
            shown(&run),
        )
    })
}

/// Returns what the server has sent, in short.
fn shown(run: &Run) -> String {
    let mut parts: Vec<String> = Vec::new();
    for frame in &run.frames {
        let name = KINDS.get(usize::from(frame.kind)).unwrap_or(&"?");
        let mut part = format!("{name} {} +{:x}", frame.stream, frame.flags);
        if let Some(status) = frame.status() {
            part.push_str(&format!(" {status}"));
        } else if let Some(code) = frame.code() {
            part.push_str(&format!(" {}", CODES[usize::try_from(code).unwrap()]));
        } else if frame.kind == kind::DATA {
            part.push_str(&format!(
                " {:.100}",
                String::from_utf8_lossy(&frame.payload)
            ));
        }
        parts.push(part);
    }
    parts.push(if run.has_ended { "end" } else { "no end" }.to_owned());
    parts.join(", ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_ends_as_the_table_says() {
    let cases = Arc::new(cases());
    let mut runs = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        let cases = cases.clone();
        runs.spawn(async move {
            // Each lane counts the probes of its own server.
            let (control, probed) = server().await;
            let mut problems = Vec::new();
            for case in cases.iter().skip(lane).step_by(LANES) {
                for is_slow in [false, true] {
                    problems.extend(problem(address(&control), &probed, case, is_slow).await);
                }
            }
            problems
        });
    }
    let problems = runs.join_all().await.concat();
    let mut sections = BTreeMap::<_, usize>::new();
    for case in cases.iter() {
        *sections.entry(case.section).or_default() += 1;
    }
    assert!(cases.len() >= 146, "{} cases: {sections:?}", cases.len());
    assert!(
        problems.is_empty(),
        "{} problems in {} cases:\n{}",
        problems.len(),
        cases.len(),
        problems.join("\n")
    );
}
