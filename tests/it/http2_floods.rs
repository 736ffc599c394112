//! Clients of HTTP/2 that cost much and ask for little. The server ends a flood by `GOAWAY`, and still answers another
//! client (the neighbour).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyperlane::prelude::*;
use test_support::{
    Client, END_HEADERS, END_STREAM, Http2Frame, PREFACE, address, eventually, hook, http2_field,
    http2_frame, http2_get, http2_request, http2_settings, http2_socket, kind, start,
};

const ENHANCE_YOUR_CALM: u32 = 0xB;

/// The number of requests to `/wait` whose handler runs.
#[derive(Clone, Default)]
struct Running(Arc<AtomicUsize>);

struct Runs(Running);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Running {
    fn enter(&self) -> Runs {
        self.0.fetch_add(1, Ordering::SeqCst);
        Runs(self.clone())
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

hook! {
    Hello |_, ctx| {
        ctx.get_mut_response().set_body("hello");
    }
    Waits |stream, ctx| {
        let _runs = ctx.state::<Running>().enter();
        stream.disconnected().await;
    }
    Big |_, ctx| {
        ctx.get_mut_response().set_body("b".repeat(1024 * 1024));
    }
    Empty |_, ctx| {
        ctx.get_mut_response().set_body("");
    }
}

async fn server(configure: impl FnOnce(&mut ServerConfig)) -> (ServerControlHook, Running) {
    let running = Running::default();
    let control = start(|server| {
        server
            .state(running.clone())
            .route::<Hello>("/hello")
            .route::<Waits>("/wait")
            .route::<Big>("/big")
            .route::<Empty>("/empty");
        configure(server.get_mut_server_config());
    })
    .await;
    (control, running)
}

/// Sends pieces until all are sent or the server closes, and meanwhile reads what the server sends. Returns the last
/// `GOAWAY`.
async fn flood(
    client: &mut Client,
    count: usize,
    piece: impl Fn(u32) -> Vec<u8>,
) -> Option<Http2Frame> {
    let mut sent = 0;
    'sending: while sent < count {
        let mut bytes = Vec::new();
        for number in sent..(sent + 100).min(count) {
            bytes.extend(piece(u32::try_from(number).unwrap()));
        }
        sent += 100;
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            // The client reads meanwhile, so that the server never waits for it.
            let _ = client.stream.try_read_buf(&mut client.buffer);
            let ready = client.stream.ready(tokio::io::Interest::WRITABLE).await;
            match ready.and_then(|_| client.stream.try_write(left)) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break 'sending,
            }
        }
    }
    let mut last = None;
    while let Some(frame) = client.next_http2().await {
        if frame.kind == kind::GOAWAY {
            last = Some(frame);
        }
    }
    last
}

fn stream_of(number: u32) -> u32 {
    2 * number + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_with_goaway_and_a_neighbour_is_answered() {
    let (control, running) = server(|_| {}).await;
    let mut neighbour = Client::http2(address(&control), &[]).await;
    let mut stream = 1;
    let small = |name: &str| http2_frame(kind::CONTINUATION, 0, 1, http2_field(name, "1"));
    type Piece = Box<dyn Fn(u32) -> Vec<u8>>;
    let floods: Vec<(&str, Vec<u8>, Piece)> = vec![
        (
            "rapid reset",
            vec![],
            Box::new(|number| {
                let reset = http2_frame(kind::RST_STREAM, 0, stream_of(number), [0, 0, 0, 8]);
                [http2_get(stream_of(number), "/wait"), reset].concat()
            }),
        ),
        (
            "rapid reset of answered requests",
            vec![],
            Box::new(|number| {
                let reset = http2_frame(kind::RST_STREAM, 0, stream_of(number), [0, 0, 0, 8]);
                [http2_get(stream_of(number), "/hello"), reset].concat()
            }),
        ),
        (
            "streams reset by the server",
            vec![],
            Box::new(|number| {
                let fields = http2_field("x", "no request");
                http2_frame(
                    kind::HEADERS,
                    END_STREAM | END_HEADERS,
                    stream_of(number),
                    fields,
                )
            }),
        ),
        (
            "resets by overflowing windows",
            vec![],
            Box::new(|number| {
                let increment = http2_frame(
                    kind::WINDOW_UPDATE,
                    0,
                    stream_of(number),
                    0x7FFF_FFFF_u32.to_be_bytes(),
                );
                [http2_get(stream_of(number), "/wait"), increment].concat()
            }),
        ),
        (
            "CONTINUATION",
            http2_frame(kind::HEADERS, END_STREAM, 1, http2_request("GET", "/hello")),
            Box::new(move |_| small("x")),
        ),
        (
            "empty CONTINUATION",
            http2_frame(kind::HEADERS, END_STREAM, 1, http2_request("GET", "/hello")),
            Box::new(|_| http2_frame(kind::CONTINUATION, 0, 1, [])),
        ),
        (
            "SETTINGS",
            vec![],
            Box::new(|_| http2_frame(kind::SETTINGS, 0, 0, [])),
        ),
        (
            "SETTINGS of the window",
            http2_get(1, "/wait"),
            Box::new(|number| {
                http2_frame(kind::SETTINGS, 0, 0, http2_settings(&[(4, 1 + number % 2)]))
            }),
        ),
        (
            "PING",
            vec![],
            Box::new(|_| http2_frame(kind::PING, 0, 0, [0; 8])),
        ),
        (
            "empty DATA",
            http2_frame(
                kind::HEADERS,
                END_HEADERS,
                1,
                http2_request("POST", "/wait"),
            ),
            Box::new(|_| http2_frame(kind::DATA, 0, 1, [])),
        ),
        (
            "padded DATA without data",
            http2_frame(
                kind::HEADERS,
                END_HEADERS,
                1,
                http2_request("POST", "/wait"),
            ),
            Box::new(|_| http2_frame(kind::DATA, 8, 1, [3, 0, 0, 0])),
        ),
        (
            "DATA of one byte",
            http2_frame(
                kind::HEADERS,
                END_HEADERS,
                1,
                http2_request("POST", "/wait"),
            ),
            Box::new(|_| http2_frame(kind::DATA, 0, 1, [0])),
        ),
        (
            "WINDOW_UPDATE",
            http2_get(1, "/wait"),
            Box::new(|_| http2_frame(kind::WINDOW_UPDATE, 0, 0, [0, 0, 0, 1])),
        ),
        (
            "PRIORITY",
            vec![],
            Box::new(|number| {
                http2_frame(kind::PRIORITY, 0, stream_of(number), [0x80, 0, 0, 0, 7])
            }),
        ),
        (
            "unknown frames",
            vec![],
            Box::new(|_| http2_frame(0xEE, 0, 0, [])),
        ),
        (
            "a header bomb",
            http2_frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, {
                // The block adds an entry of 4000 bytes to the table, and then refers to it 10 000 times.
                let mut block = http2_request("GET", "/hello");
                block.extend(b"\x40\x01x\x7f\x81\x1e");
                block.extend([b'a'; 4000]);
                block.extend([0xBE; 10_000]);
                block
            }),
            Box::new(|_| http2_frame(kind::PING, 0, 0, [0; 8])),
        ),
    ];
    for (name, before, piece) in floods {
        let mut client = Client::http2(address(&control), &[]).await;
        client.send(&before).await;
        // The inbox takes the first 64 KiB, whatever their frames.
        let count = match name {
            "DATA of one byte" => 100_000,
            _ => 10_000,
        };
        let last = flood(&mut client, count, piece).await;
        let code = last.as_ref().and_then(Http2Frame::code);
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name}: {last:?}");
        let (status, body) = neighbour.get_http2(stream, "/hello").await;
        stream += 2;
        assert_eq!((status, body.as_slice()), (200, &b"hello"[..]), "{name}");
        eventually(name, || running.get() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_never_read_are_cut_and_hold_up_no_neighbour() {
    let (control, _) = server(|config| config.write_timeout = Duration::from_secs(1)).await;
    let mut neighbour = Client::http2(address(&control), &[]).await;
    for window in [0, 1, 100] {
        let mut client = Client::http2(address(&control), &[(4, window)]).await;
        for number in 0..100 {
            client.send(http2_get(stream_of(number), "/big")).await;
        }
        let (status, _) = neighbour.get_http2(2 * window + 1, "/hello").await;
        assert_eq!(status, 200, "window of {window}");
        // Each stream is reset after `write_timeout`.
        let mut resets = 0;
        while resets < 100 {
            let frame = client.next_http2().await.expect("the connection goes on");
            resets += usize::from(frame.kind == kind::RST_STREAM);
        }
        let (status, _) = client.get_http2(1001, "/empty").await;
        assert_eq!(status, 200, "window of {window}");
    }
}

#[tokio::test]
async fn a_connection_that_stays_without_a_request_is_closed() {
    let (control, _) = server(|config| {
        config.header_timeout = Duration::from_secs(1);
        config.keep_alive_timeout = Duration::from_secs(1);
    })
    .await;
    let settings = http2_frame(kind::SETTINGS, 0, 0, []);
    let hello = [PREFACE, &settings].concat();
    let cases: [(&str, Vec<u8>); 6] = [
        ("nothing", vec![]),
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface", PREFACE.to_vec()),
        ("settings", hello.clone()),
        ("half a frame", [&hello[..], &[0, 0, 8]].concat()),
        (
            "half a field block",
            [
                hello.clone(),
                http2_frame(kind::HEADERS, END_STREAM, 1, http2_request("GET", "/hello")),
            ]
            .concat(),
        ),
    ];
    for (name, bytes) in cases {
        let mut client = Client::on(http2_socket(address(&control)).await.unwrap());
        client.send(&bytes).await;
        // The client answers no PING, and the server closes the connection without an answer.
        while client.fill().await {}
        assert!(
            !client.buffer.is_empty() || bytes.len() < hello.len(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_field_block_that_stays_incomplete_ends_a_connection_with_streams() {
    let (control, running) = server(|config| config.header_timeout = Duration::from_secs(1)).await;
    let mut client = Client::http2(address(&control), &[]).await;
    client.send(http2_get(1, "/wait")).await;
    let fields = http2_request("GET", "/hello");
    client
        .send(http2_frame(kind::HEADERS, END_STREAM, 3, fields))
        .await;
    let mut last = None;
    while let Some(frame) = client.next_http2().await {
        last = Some(frame);
    }
    assert_eq!(last.and_then(|frame| frame.code()), Some(ENHANCE_YOUR_CALM));
    eventually("the handler ends", || running.get() == 0).await;
}

#[tokio::test]
async fn a_hundred_requests_with_large_fields_are_answered() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::http2(address(&control), &[]).await;
    let large = http2_field("a", "x".repeat(15_000));
    for number in 0..100 {
        let stream = stream_of(number);
        let fields = [http2_request("GET", "/hello"), large.clone()].concat();
        let rest = http2_frame(kind::CONTINUATION, END_HEADERS, stream, &large);
        client
            .send([http2_frame(kind::HEADERS, END_STREAM, stream, fields), rest].concat())
            .await;
    }
    let mut ended = 0;
    while ended < 100 {
        let frame = client.next_http2().await.expect("100 answers");
        assert_ne!(frame.kind, kind::GOAWAY, "{frame:?}");
        ended += usize::from(frame.ends_stream());
    }
}

#[tokio::test]
async fn a_table_that_changes_with_each_request_is_followed() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::http2(address(&control), &[]).await;
    for number in 0..2_000 {
        let stream = stream_of(number);
        let mut block = http2_request("GET", "/hello");
        // Each field enters the table.
        for field in 0..10 {
            let value = format!("{number:08}{field:08}");
            block.extend([&b"\x40\x01x\x10"[..], value.as_bytes()].concat());
        }
        // The block sets the size of the table to 0, so that all entries leave it, and then to the former size again.
        let block = [&b"\x20\x3f\xe1\x1f"[..], &block].concat();
        let flags = END_STREAM | END_HEADERS;
        client
            .send(http2_frame(kind::HEADERS, flags, stream, block))
            .await;
        loop {
            let frame = client.next_http2().await.expect("an answer");
            if frame.stream == stream && frame.ends_stream() {
                break;
            }
        }
    }
}
