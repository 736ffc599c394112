//! Valid and refused requests (RFC 9112): every case of `rfc9112/cases.txt`, and request smuggling.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyperlane::prelude::*;
use test_support::{Client, address, case_lines, collect_log, expand, hook, start};
use tokio::io::AsyncWriteExt;

/// Follows every case: answered if the connection goes on, and never if it does not.
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nhost: a\r\n\r\n";

/// Inputs up to this length are sent byte by byte as well.
const SHORT: usize = 300;

/// Number of requests that came to a handler which no refused request may reach.
#[derive(Clone, Default)]
struct Probed(Arc<AtomicUsize>);

impl Probed {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

hook! {
    Hello |_, ctx| {
        ctx.get_mut_response().set_body("hello");
    }
    Echo |_, ctx| {
        let body = ctx.get_request().get_body().to_vec();
        ctx.get_mut_response().set_body(body);
    }
    Probe |_, ctx| {
        ctx.state::<Probed>().0.fetch_add(1, Ordering::SeqCst);
        ctx.get_mut_response().set_body("probe");
    }
    // Answers with the lengths that the program sees.
    SeenLengths |_, ctx| {
        let lengths: Vec<String> = ctx
            .get_request()
            .get_headers()
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map(|(_, value)| format!("{value:?}"))
            .collect();
        ctx.get_mut_response().set_body(lengths.join(" "));
    }
}

hook! {
    // Takes its body as a stream, and reads it if the path says so.
    @Stream Streamed |_, ctx| {
        let is_read = ctx.get_request().get_path() == "/read";
        let mut body = ctx.body_stream();
        if is_read && let Err(error) = body.read_to_end(1000).await {
            error.into_response(ctx.get_mut_response());
        }
    }
}

async fn server() -> (ServerControlHook, Probed) {
    let probed = Probed::default();
    let control = start(|server| {
        server
            .state(probed.clone())
            .route::<Hello>("/hello")
            .route::<Echo>("/echo")
            .route::<SeenLengths>("/length")
            .route::<Streamed>("/read")
            .route::<Streamed>("/unread")
            .route::<Probe>("/probe");
        let config = server.get_mut_server_config();
        config.max_body = 1000;
        // A server that speaks only HTTP/1.1 refuses the preface of HTTP/2.
        config.protocol = hyperlane::ServerProtocol::Http1;
    })
    .await;
    (control, probed)
}

/// Outcome for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Answered with this status; the next request is served.
    Accept(u16),
    /// Answered with this status; the connection ends as the request asks.
    Last(u16),
    /// Answered with this status and `Connection: close`; the connection ends.
    Refuse(u16),
    /// Ended without a byte.
    Close,
}

// ---------------------------------------------------------------- the table

struct Case {
    /// The number of the line.
    line: usize,
    section: &'static str,
    class: Class,
    bytes: Vec<u8>,
}

fn cases() -> Vec<Case> {
    case_lines(include_str!("rfc9112/cases.txt"))
        .map(|case| {
            let (line, [section, class, bytes]) = (case.number, case.columns);
            let class = match class.split_once(' ') {
                Some(("accept", status)) => Class::Accept(status.parse().unwrap()),
                Some(("last", status)) => Class::Last(status.parse().unwrap()),
                Some(("refuse", status)) => Class::Refuse(status.parse().unwrap()),
                None if class == "close" => Class::Close,
                _ => panic!("line {line}: no such class: {class}"),
            };
            Case {
                line,
                section,
                class,
                bytes: expand(bytes),
            }
        })
        .collect()
}

/// Way in which the bytes are sent.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Alone,
    BeforeProbe,
    ByteByByte,
}

/// Sends a case and returns the problem with the answer.
async fn problem(to: SocketAddr, probed: &Probed, case: &Case, sent: Sent) -> Option<String> {
    let mut client = Client::connect(to).await;
    let before = probed.get();
    let goes_on = matches!(case.class, Class::Accept(_));
    // The server may have refused, and even closed, before the last byte.
    match sent {
        Sent::Alone => drop(client.stream.write_all(&case.bytes).await),
        Sent::BeforeProbe => {
            drop(
                client
                    .stream
                    .write_all(&[&case.bytes, PROBE].concat())
                    .await,
            );
        }
        Sent::ByteByByte => {
            for byte in &case.bytes {
                drop(client.stream.write_all(&[*byte]).await);
                tokio::task::yield_now().await;
            }
        }
    }
    if goes_on && !matches!(sent, Sent::BeforeProbe) {
        drop(client.stream.write_all(PROBE).await);
    }
    let mut replies = Vec::new();
    let mut count = match case.class {
        Class::Accept(_) => 2,
        Class::Last(_) | Class::Refuse(_) => 1,
        Class::Close => 0,
    };
    while count > 0 {
        count -= 1;
        // Without any answer there is nothing to parse.
        if client.buffer.is_empty() && !client.fill().await {
            break;
        }
        replies.push(client.reply().await);
    }
    let rest = match goes_on {
        true => std::mem::take(&mut client.buffer),
        false => client.rest().await,
    };
    let says_close = |at: usize| {
        replies
            .get(at)?
            .header("connection")
            .map(|value| value == "close")
    };
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    let is_right = match case.class {
        Class::Accept(status) => {
            statuses == [status, 200]
                && says_close(0).is_none_or(|close| !close)
                && replies[1].text() == "probe"
                && probed.get() == before + 1
        }
        Class::Last(status) => {
            statuses == [status] && says_close(0) == Some(true) && probed.get() == before
        }
        Class::Refuse(status) => {
            statuses == [status]
                && says_close(0) == Some(true)
                && replies[0].text().starts_with(&status.to_string())
                && probed.get() == before
        }
        Class::Close => probed.get() == before,
    };
    (!is_right || !rest.is_empty()).then(|| {
        format!(
            "cases.txt:{}: RFC {}: wanted {:?} ({sent:?}), got {statuses:?} and {:?}, probed {}: {:.200}",
            case.line,
            case.section,
            case.class,
            String::from_utf8_lossy(&rest),
            probed.get() - before,
            case.bytes.escape_ascii().to_string(),
        )
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_is_answered_as_the_table_says() {
    let (control, probed) = server().await;
    let cases = cases();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let mut problems = Vec::new();
    for case in &cases {
        problems.extend(problem(address(&control), &probed, case, Sent::Alone).await);
        problems.extend(problem(address(&control), &probed, case, Sent::BeforeProbe).await);
        if case.bytes.len() <= SHORT {
            problems.extend(problem(address(&control), &probed, case, Sent::ByteByByte).await);
        }
    }
    assert!(
        problems.is_empty(),
        "{} of {} cases:\n{}",
        problems.len(),
        cases.len(),
        problems.join("\n")
    );
}

#[tokio::test]
async fn a_program_sees_one_length_however_often_it_was_sent() {
    let (control, _) = server().await;
    for lengths in [
        "content-length: 1, 1\r\n",
        "content-length: 1\r\nCONTENT-LENGTH: 1,1\r\n",
    ] {
        let mut client = Client::connect(address(&control)).await;
        client
            .send(format!(
                "POST /length HTTP/1.1\r\nhost: a\r\n{lengths}\r\nx"
            ))
            .await;
        assert_eq!(client.reply().await.text(), "\"1\"", "{lengths:?}");
    }
}

// ---------------------------------------------------------------- smuggling

/// Fields that give a body's length, as good and bad clients write them, with the length that is meant.
const LENGTHS: [(&str, Option<Length>); 14] = [
    ("", None),
    ("Content-Length: {}\r\n", Some(Length::Whole)),
    ("Content-Length: {}, {}\r\n", Some(Length::Whole)),
    (
        "Content-Length: {}\r\nContent-Length: {}\r\n",
        Some(Length::Whole),
    ),
    ("Content-Length: 5, {}\r\n", Some(Length::Bad)),
    (
        "Content-Length: 5\r\nContent-Length: {}\r\n",
        Some(Length::Bad),
    ),
    (
        "Content-Length: {}\r\ncontent-length: 0\r\n",
        Some(Length::Bad),
    ),
    ("Content-Length: +{}\r\n", Some(Length::Bad)),
    ("Content-Length: 0x5\r\n", Some(Length::Bad)),
    ("Content-Length : {}\r\n", Some(Length::Bad)),
    ("Content-Length:\r\n {}\r\n", Some(Length::Bad)),
    ("Content-Length: {}\x0b\r\n", Some(Length::Bad)),
    ("Content-Length\0: {}\r\n", Some(Length::Bad)),
    ("x: 1\nContent-Length: {}\r\n", Some(Length::Bad)),
];

const CODINGS: [(&str, Option<Coding>); 22] = [
    ("", None),
    ("Transfer-Encoding: chunked\r\n", Some(Coding::Chunked)),
    ("transfer-encoding:\tChunKed \r\n", Some(Coding::Chunked)),
    ("Transfer-Encoding: chunked, chunked\r\n", Some(Coding::Bad)),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        Some(Coding::Bad),
    ),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        Some(Coding::Bad),
    ),
    (
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        Some(Coding::Bad),
    ),
    ("Transfer-Encoding: identity\r\n", Some(Coding::Bad)),
    (
        "Transfer-Encoding: identity, chunked\r\n",
        Some(Coding::Bad),
    ),
    (
        "Transfer-Encoding: chunked, identity\r\n",
        Some(Coding::Bad),
    ),
    ("Transfer-Encoding: gzip, chunked\r\n", Some(Coding::Bad)),
    ("Transfer-Encoding: xchunked\r\n", Some(Coding::Bad)),
    ("Transfer-Encoding: chunkedx\r\n", Some(Coding::Bad)),
    ("Transfer-Encoding: chunked;a=b\r\n", Some(Coding::Bad)),
    ("Transfer-Encoding: \"chunked\"\r\n", Some(Coding::Bad)),
    ("Transfer-Encoding: ,chunked\r\n", Some(Coding::Bad)),
    ("Transfer-Encoding:\r\n", Some(Coding::Bad)),
    ("Transfer-Encoding : chunked\r\n", Some(Coding::Bad)),
    ("Transfer-Encoding:\r\n chunked\r\n", Some(Coding::Bad)),
    ("Transfer-Encoding: \x0bchunked\r\n", Some(Coding::Bad)),
    ("x: 1\rTransfer-Encoding: chunked\r\n", Some(Coding::Bad)),
    ("x: 1\nTransfer-Encoding: chunked\r\n", Some(Coding::Bad)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    /// The body is all that follows.
    Whole,
    Bad,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// The body is its chunks.
    Chunked,
    Bad,
}

/// Ends a chunked body at once; a reader that goes by the length takes the rest for the body.
const EMPTY: &str = "0\r\n\r\n";

/// Number of requests that `/probe` should see, in the body and behind it.
fn expected(version: &str, length: Option<Length>, coding: Option<Coding>) -> Option<usize> {
    match (length, coding) {
        (Some(Length::Bad), _) | (_, Some(Coding::Bad)) => None,
        (Some(_), Some(_)) => None,
        (None, Some(_)) if version == "1.0" => None,
        (None, Some(Coding::Chunked)) => Some(2),
        (Some(Length::Whole), None) => Some(1),
        (None, None) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_request_is_never_answered_after_a_bad_first_one() {
    let (control, probed) = server().await;
    let probe = str::from_utf8(PROBE).unwrap();
    let mut problems = Vec::new();
    let mut combinations = 0;
    for (version, keep) in [("1.1", ""), ("1.0", "Connection: keep-alive\r\n")] {
        for (length, meant_length) in LENGTHS {
            for (coding, meant_coding) in CODINGS {
                // Without either, the rest is no body but malformed requests.
                let body = format!("{EMPTY}{probe}");
                let length = length.replace("{}", &body.len().to_string());
                for fields in [format!("{length}{coding}"), format!("{coding}{length}")] {
                    combinations += 1;
                    let request = format!(
                        "POST /hello HTTP/{version}\r\nHost: a\r\n{keep}{fields}\r\n{body}{probe}"
                    );
                    let before = probed.get();
                    let mut client = Client::connect(address(&control)).await;
                    client.send(&request).await;
                    client.finish().await;
                    let answers = client.rest().await;
                    let answers = String::from_utf8_lossy(&answers);
                    let good = answers.matches("HTTP/1.1 200 ").count();
                    let all = answers.matches("HTTP/1.1 ").count();
                    let seen = probed.get() - before;
                    let is_right = match expected(version, meant_length, meant_coding) {
                        Some(probes) => seen == probes && good == probes + 1 && all == good,
                        // The first request is whole, and the line behind it is none.
                        None if meant_length.is_none() && meant_coding.is_none() => {
                            seen == 0 && good == 1 && all == 2
                        }
                        None => seen == 0 && good == 0 && all == 1,
                    };
                    if !is_right {
                        problems.push(format!("{seen} probes, {good} of {all} good: {request:?}"));
                    }
                }
            }
        }
    }
    assert!(
        problems.is_empty(),
        "{} of {combinations}:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

/// Chunked bodies that break a rule, after which the beginning of the next request is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_behind_a_bad_chunk_is_a_request() {
    let (control, probed) = server().await;
    let probe = str::from_utf8(PROBE).unwrap();
    for bad in [
        "0\n\n",
        "0\r\n\n",
        "0\n\r\n",
        "\r\n0\r\n\r\n",
        "1\r\nx0\r\n\r\n",
        "1\r\nxx\r\n0\r\n\r\n",
        "1;\n0\r\n\r\n",
        "0;\nx: 1\r\n\r\n",
        "0 \r\n\r\n",
        " 0\r\n\r\n",
        "0x0\r\n\r\n",
        "-0\r\n\r\n",
        "0\r\nx: 1\n\r\n",
        "0\r\n x: 1\r\n\r\n",
        "0\r\nx : 1\r\n\r\n",
        "0\r\n:\r\n\r\n",
        "0\r\nx: \0\r\n\r\n",
        "00000000000000000\r\n\r\n",
        "10000000000000000\r\nx\r\n0\r\n\r\n",
        "1\rx\r\n0\r\n\r\n",
        "0\r\r\n\r\n",
        "0;a\rb\r\n\r\n",
        "0;\0\r\n\r\n",
    ] {
        // Handlers that read the body, and one that does not.
        for (target, statuses) in [
            ("/echo", &[400][..]),
            ("/read", &[400]),
            ("/unread", &[200, 400]),
        ] {
            let mut client = Client::connect(address(&control)).await;
            client
                .send(format!(
                    "POST {target} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{bad}{probe}{probe}"
                ))
                .await;
            let reply = client.reply().await;
            assert!(
                statuses.contains(&reply.status),
                "{target} {bad:?}: {}",
                reply.head
            );
            assert!(client.ends().await, "{target} {bad:?}");
        }
    }
    assert_eq!(probed.get(), 0);
}

// ---------------------------------------------------------------- the wrong protocol

#[tokio::test]
async fn a_client_hello_on_a_plain_port_is_logged_and_closed() {
    let (log, _guard) = collect_log();
    let (control, _) = server().await;
    let hello = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03";
    for before in [false, true] {
        let mut client = Client::connect(address(&control)).await;
        if before {
            assert_eq!(client.get("/hello").await.text(), "hello");
        }
        client.send(hello).await;
        assert!(client.ends().await);
    }
    // The line comes once for an address, however often the client comes.
    let lines = log.with("a TLS ClientHello on a plain port");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN"), "{lines:?}");
}
