//! Bodies of requests and responses as a client sees them, byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    future::poll_fn,
    path::Path,
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::StreamExt;
use hyperlane::prelude::*;
use test_support::{Client, address, eventually, hook, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

hook! {
    // Takes its body as a stream and answers with its pieces, joined.
    @Stream Streamed |_, ctx| {
        assert!(ctx.get_request().get_body().is_empty());
        let mut body = ctx.body_stream();
        let mut whole = Vec::new();
        loop {
            match body.next_chunk().await {
                Ok(Some(piece)) => {
                    assert!(!piece.is_empty());
                    whole.extend_from_slice(&piece);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(body.next_chunk().await.unwrap_err(), error);
                    error.into_response(ctx.get_mut_response());
                    return Status::Continue;
                }
            }
        }
        ctx.get_mut_response().set_body(whole);
    }
}

hook! {
    // Answers without reading.
    @Stream Unread |_, ctx| {
        ctx.get_mut_response().set_body("unread");
    }
}

hook! {
    // Reads one piece and leaves the rest.
    @Stream HalfRead |_, ctx| {
        let mut body = ctx.body_stream();
        let _ = body.next_chunk().await;
        ctx.get_mut_response().set_body("half");
    }
    // Does the same, and answers with a stream that has nothing to do with the body.
    @Stream HalfReadThenStreams |_, ctx| {
        let mut body = ctx.body_stream();
        let _ = body.next_chunk().await;
        ctx.get_mut_response().set_body(two_pieces());
    }
    // Sends the first piece back and leaves the rest.
    @Stream EchoesOne |_, ctx| {
        let body = ctx.body_stream().take(1);
        ctx.get_mut_response().set_body(Body::stream(body));
    }
    // Does the same by hand.
    @Stream RawUnread |stream, _| {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nraw";
        stream.try_send(answer).await.unwrap();
    }
}

hook! {
    // Answers through the raw stream before it reads.
    @Stream RawThenRead |stream, ctx| {
        let mut body = ctx.body_stream();
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        stream.try_send(head).await.unwrap();
        let bytes = body.read_to_end(100).await.unwrap();
        stream.try_send(bytes).await.unwrap();
    }
}

static TOLD: Mutex<Option<RequestError>> = Mutex::new(None);

hook! {
    // Lets another task read, and does not wait for it.
    @Stream LeavesReading |_, ctx| {
        let mut body = ctx.body_stream();
        let (waits, waiting) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut next = pin!(body.next_chunk());
            let first = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
            assert!(first.is_pending());
            waits.send(()).unwrap();
            *TOLD.lock().unwrap() = next.await.err();
        });
        waiting.await.unwrap();
        ctx.get_mut_response().set_body("left");
    }
}

hook! {
    // Lets another task ask for its body before this poll is over.
    @Stream AskedElsewhere |_, ctx| {
        let mut body = ctx.body_stream();
        let (asks, asked) = std::sync::mpsc::channel();
        let reading = tokio::spawn(async move {
            let mut next = pin!(body.next_chunk());
            poll_fn(|cx| {
                let polled = next.as_mut().poll(cx);
                // The receiver is gone at the second poll.
                let _ = asks.send(());
                polled
            })
            .await
        });
        // The handler works on this thread for a while; the other task runs meanwhile.
        tokio::task::block_in_place(|| asked.recv()).unwrap();
        let piece = reading.await.unwrap().unwrap().unwrap();
        ctx.get_mut_response().set_body(piece);
    }
}

static ENTERED: AtomicUsize = AtomicUsize::new(0);
static GO_ON: Notify = Notify::const_new();
static KEPT: Mutex<Option<BodyStream>> = Mutex::new(None);
static POLLS: AtomicUsize = AtomicUsize::new(0);
static LEFT: AtomicBool = AtomicBool::new(false);

hook! {
    // Reads only when the test lets it.
    @Stream Slow |_, ctx| {
        ENTERED.fetch_add(1, Ordering::SeqCst);
        GO_ON.notified().await;
        let mut body = ctx.body_stream();
        let mut count = 0;
        while let Ok(Some(piece)) = body.next_chunk().await {
            count += piece.len();
        }
        ctx.get_mut_response().set_body(count.to_string());
    }
}

hook! {
    // Keeps its body for later.
    @Stream Keeps |_, ctx| {
        *KEPT.lock().unwrap() = Some(ctx.body_stream());
        ctx.get_mut_response().set_body("kept");
    }
}

hook! {
    // Lets another task read.
    @Stream Elsewhere |_, ctx| {
        let body = ctx.body_stream();
        let count = tokio::spawn(body.fold(0, async |count, piece| count + piece.unwrap().len()))
            .await
            .unwrap();
        ctx.get_mut_response().set_body(count.to_string());
    }
}

/// Reads its body under limits of its own.
struct Small;

impl ServerHook for Small {
    const MAX_BODY: Option<usize> = Some(4);

    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        let body = ctx.body_stream().read_to_end(4).await.unwrap();
        assert_eq!(ctx.get_request().get_body(), &body[..]);
        ctx.get_mut_response().set_body(body);
        Status::Continue
    }
}

/// Allows less than it gets, and reads nothing.
struct UnreadSmall;

impl ServerHook for UnreadSmall {
    const BODY: BodyMode = BodyMode::Stream;
    const MAX_BODY: Option<usize> = Some(4);

    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ctx.get_mut_response().set_body("unread");
        Status::Continue
    }
}

struct SmallStream;

impl ServerHook for SmallStream {
    const BODY: BodyMode = BodyMode::Stream;
    const MAX_BODY: Option<usize> = Some(4);

    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        Streamed.handle(stream, ctx).await
    }
}

fn two_pieces() -> Body {
    Body::stream(futures_util::stream::iter(
        ["one", "two"].map(Ok::<_, std::io::Error>),
    ))
}

hook! {
    // Answers with HTTP/1.0.
    Old |_, ctx| {
        let response = ctx.get_mut_response();
        response.set_version(HttpVersion::Http1_0);
        response.set_body(two_pieces());
    }
    Reset |_, ctx| {
        let is_file = ctx.get_route_param("body") == "file";
        let response = ctx.get_mut_response();
        response.set_status_code(205);
        match is_file {
            true => response.set_body(Path::new("Cargo.toml")),
            false => response.set_body(two_pieces()),
        };
    }
    Events |stream, ctx| {
        let status = ctx.get_route_param("status").parse().unwrap();
        ctx.get_mut_response().set_status_code(status);
        if let Ok(events) = ctx.event_stream(stream).await {
            events.send("event").await.unwrap();
        }
    }
    Whole |_, ctx| {
        let body = ctx.get_request().get_body().to_vec();
        ctx.get_mut_response().set_body(body);
    }
    // Sends much to a client that reads nothing, and waits for its end.
    Backlog |stream, ctx| {
        let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 33554432\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + (32 << 20), b'x');
        stream.try_send(bytes).await.unwrap();
        let told = ctx.get_route_param("by") == "told";
        let mut disconnected = pin!(stream.disconnected());
        let mut closed = pin!(stream.closed());
        poll_fn(|cx| {
            POLLS.fetch_add(1, Ordering::SeqCst);
            if told {
                disconnected.as_mut().poll(cx)
            } else {
                closed.as_mut().poll(cx)
            }
        })
        .await;
    }
    Waits |stream, _| {
        ENTERED.fetch_add(1, Ordering::SeqCst);
        tokio::select! {
            _ = stream.disconnected() => LEFT.store(true, Ordering::SeqCst),
            _ = std::future::pending::<()>() => {}
        }
    }
}

#[post("/by-macro")]
#[max_body(6)]
#[body_stream(mut body)]
async fn by_macro() -> Result<String, RequestError> {
    let bytes = body.read_to_end(100).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn server() -> ServerControlHook {
    start(|server| {
        server
            .__register_all()
            .route::<Streamed>("/streamed")
            .route::<Unread>("/unread")
            .route::<RawThenRead>("/raw")
            .route::<HalfRead>("/half-read")
            .route::<HalfReadThenStreams>("/half-read-then-streams")
            .route::<EchoesOne>("/echoes-one")
            .route::<RawUnread>("/raw-unread")
            .route::<Slow>("/slow")
            .route::<Keeps>("/keeps")
            .route::<Elsewhere>("/elsewhere")
            .route::<LeavesReading>("/leaves-reading")
            .route::<AskedElsewhere>("/asked-elsewhere")
            .route::<Old>("/old")
            .route::<Reset>("/reset/{body}")
            .route::<Events>("/events/{status}")
            .route::<Small>("/small")
            .route::<SmallStream>("/small-stream")
            .route::<UnreadSmall>("/unread-small")
            .route::<Whole>("/whole")
            .route::<Waits>("/waits")
            .route::<Backlog>("/backlog/{by}");
        let config = server.get_mut_server_config();
        config.max_body = 1000;
        config.outbox_bytes = 64 << 20;
        config.body_timeout = Duration::from_millis(500);
    })
    .await
}

async fn client() -> Client {
    Client::connect(address(&server().await)).await
}

fn post(target: &str, fields: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n{body}")
}

fn with_length(target: &str, body: &str) -> String {
    post(target, &format!("content-length: {}\r\n", body.len()), body)
}

const CHUNKED: &str = "transfer-encoding: chunked\r\n";
const WAITING: &str = "content-length: 5\r\nexpect: 100-continue\r\n";

#[tokio::test]
async fn a_streamed_body_arrives_in_pieces_however_it_is_framed() {
    let mut client = client().await;
    for _ in 0..2 {
        assert_eq!(client.post("/streamed", "hello").await.text(), "hello");
        client
            .send(post(
                "/streamed",
                CHUNKED,
                "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            ))
            .await;
        assert_eq!(client.reply().await.text(), "hello");
        assert_eq!(client.post("/streamed", "").await.text(), "");
        assert_eq!(client.get("/streamed").await.text(), "");
    }
    for byte in with_length("/streamed", "slowly").bytes() {
        client.send([byte]).await;
    }
    assert_eq!(client.reply().await.text(), "slowly");
    // Streams have no limit unless the route sets one.
    let long = "x".repeat(300_000);
    assert_eq!(client.post("/streamed", &long).await.text(), long);
    assert_eq!(client.post("/elsewhere", &long).await.text(), "300000");
}

#[tokio::test]
async fn a_task_that_waits_for_a_body_is_told_that_the_request_is_over() {
    let mut client = client().await;
    client
        .send(post("/leaves-reading", "content-length: 5\r\n", ""))
        .await;
    assert_eq!(client.reply().await.text(), "left");
    client.send("hello").await;
    eventually("it is told", || TOLD.lock().unwrap().is_some()).await;
    assert_eq!(*TOLD.lock().unwrap(), Some(RequestError::BodyUnavailable));
    assert_eq!(client.post("/streamed", "next").await.text(), "next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_100_does_not_overtake_the_answer_before_it() {
    let mut client = client().await;
    let first = with_length("/whole", "first");
    client
        .send(first + &post("/asked-elsewhere", WAITING, ""))
        .await;
    assert_eq!(client.reply().await.text(), "first");
    assert_eq!(client.reply().await.status, 100);
    client.send("hello").await;
    assert_eq!(client.reply().await.text(), "hello");
}

#[tokio::test]
async fn a_stream_in_a_response_of_http_1_0_has_no_chunks() {
    let mut client = client().await;
    client.request("GET", "/old", "").await;
    let reply = client.reply().await;
    assert!(reply.head.starts_with("HTTP/1.0 200 "), "{}", reply.head);
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(reply.text(), "onetwo");
}

#[tokio::test]
async fn a_205_has_no_content_whatever_its_body_is() {
    let mut client = client().await;
    for body in ["file", "stream"] {
        let reply = client.get(&format!("/reset/{body}")).await;
        assert_eq!(reply.status, 205);
        assert_eq!(reply.header("content-length"), Some("0"), "{}", reply.head);
    }
}

#[tokio::test]
async fn no_event_stream_begins_with_a_status_without_content() {
    let mut client = client().await;
    for (status, answered) in [(101, 500), (103, 500), (204, 204), (205, 205), (304, 304)] {
        let reply = client.get(&format!("/events/{status}")).await;
        assert_eq!(reply.status, answered, "{}", reply.head);
        assert_eq!(reply.header("content-type").is_some(), answered == 500);
    }
    assert_eq!(client.get("/events/200").await.status, 200);
}

#[tokio::test]
async fn pipelined_requests_after_a_streamed_body_are_answered() {
    let mut client = client().await;
    let mut all = String::new();
    for body in ["one", "two", "three"] {
        all += &with_length("/streamed", body);
        all += &with_length("/unread", body);
        all += &post("/unread", CHUNKED, "1\r\nx\r\n0\r\n\r\n");
    }
    client.send(all).await;
    for body in ["one", "two", "three"] {
        assert_eq!(client.reply().await.text(), body);
        assert_eq!(client.reply().await.text(), "unread");
        assert_eq!(client.reply().await.text(), "unread");
    }
}

#[tokio::test]
async fn nothing_is_read_before_the_hook_and_little_while_it_does_not_read() {
    let control = server().await;
    let mut client = Client::connect(address(&control)).await;
    let before = ENTERED.load(Ordering::SeqCst);
    let length = 64 << 20;
    client
        .send(post("/slow", &format!("content-length: {length}\r\n"), ""))
        .await;
    eventually("the hook runs", || ENTERED.load(Ordering::SeqCst) > before).await;
    // The client sends until the socket's buffers are full: the server reads no more.
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    let stuck = async {
        while sent < length {
            client.stream.writable().await.unwrap();
            match client
                .stream
                .try_write(&piece[..piece.len().min(length - sent)])
            {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(1), stuck)
            .await
            .is_err()
    );
    assert!(sent < length / 2, "{sent} bytes were taken");
    GO_ON.notify_one();
    client.send(vec![b'x'; length - sent]).await;
    assert_eq!(client.reply().await.text(), length.to_string());
}

#[tokio::test]
async fn continue_is_sent_at_the_first_read_and_never_without_one() {
    let mut client = client().await;
    client.send(post("/streamed", WAITING, "")).await;
    assert_eq!(
        client.until(b"\r\n\r\n").await,
        b"HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.send("hello").await;
    assert_eq!(client.reply().await.text(), "hello");
    client.send(post("/whole", WAITING, "")).await;
    assert_eq!(client.reply().await.status, 100);
    client.send("hello").await;
    assert_eq!(client.reply().await.text(), "hello");
    // A client that does not wait needs no 100.
    client.send(post("/streamed", WAITING, "hello")).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (200, "hello"));
    // The client may send the body now or not, so nothing may follow.
    client.send(post("/unread", WAITING, "")).await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    client.send("hello").await;
    assert!(client.ends().await);
}

#[tokio::test]
async fn refusals_come_without_continue() {
    for (target, fields, status) in [
        (
            "/whole",
            "content-length: 1001\r\nexpect: 100-continue\r\n",
            413,
        ),
        ("/small", WAITING, 413),
        ("/small-stream", WAITING, 413),
        ("/nowhere", WAITING, 404),
        (
            "/by-macro",
            "content-length: 7\r\nexpect: 100-continue\r\n",
            413,
        ),
    ] {
        let mut client = client().await;
        client.send(post(target, fields, "")).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(reply.header("connection"), Some("close"), "{target}");
        assert!(client.ends().await, "{target}");
    }
}

#[tokio::test]
async fn a_final_answer_is_not_followed_by_continue() {
    let mut client = client().await;
    client.send(post("/raw", WAITING, "")).await;
    let head = client.until(b"\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 200"));
    client.send("hello").await;
    assert_eq!(client.exactly(5).await, b"hello");
}

#[tokio::test]
async fn limits_of_a_route_hold_for_whole_and_streamed_bodies() {
    let mut client = client().await;
    assert_eq!(client.post("/small", "four").await.text(), "four");
    assert_eq!(client.post("/small-stream", "four").await.text(), "four");
    assert_eq!(client.post("/by-macro", "macros").await.text(), "macros");
    for target in ["/small", "/small-stream", "/by-macro"] {
        let mut client = self::client().await;
        client
            .send(post(target, CHUNKED, "4\r\nfour\r\n4\r\nfive\r\n0\r\n\r\n"))
            .await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.header("connection")),
            (413, Some("close"))
        );
        assert!(client.ends().await);
    }
}

/// The largest rest that is dropped.
const DRAINED: usize = 64 * 1024;

fn in_chunks(body: &str) -> String {
    let chunks: String = body
        .as_bytes()
        .chunks(30_000)
        .map(|chunk| {
            let data = std::str::from_utf8(chunk).unwrap();
            format!("{:x}\r\n{data}\r\n", data.len())
        })
        .collect();
    chunks + "0\r\n\r\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_or_ends_as_its_answer_says() {
    let control = server().await;
    for (method, target) in [
        ("POST", "/nosuch"),
        // 405: there is a POST.
        ("PUT", "/by-macro"),
        ("POST", "/unread"),
        ("POST", "/half-read"),
        ("POST", "/half-read-then-streams"),
        ("POST", "/echoes-one"),
        ("POST", "/raw-unread"),
    ] {
        for size in [0, 1, DRAINED - 1, DRAINED, DRAINED + 1, 80_000, 2 << 20] {
            let body = "x".repeat(size);
            let length = format!("content-length: {size}\r\n");
            let bodies = [(length.as_str(), body.clone()), (CHUNKED, in_chunks(&body))];
            for (fields, body) in bodies {
                for in_one in [true, false] {
                    let what = format!("{method} {target} {size} {fields:?} in one: {in_one}");
                    let client = Client::connect(address(&control)).await;
                    let head = format!("{method} {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
                    let next = with_length("/streamed", "next");
                    let body = body.clone();
                    let (mut reading, mut writing) = client.stream.into_split();
                    let sending = tokio::spawn(async move {
                        // Bytes behind a closing answer are lost.
                        if in_one {
                            let all = format!("{head}{body}{next}");
                            let _ = writing.write_all(all.as_bytes()).await;
                        } else {
                            let _ = writing.write_all(head.as_bytes()).await;
                            for piece in body.as_bytes().chunks(10_000) {
                                tokio::task::yield_now().await;
                                let _ = writing.write_all(piece).await;
                            }
                            let _ = writing.write_all(next.as_bytes()).await;
                        }
                        // The client goes on listening.
                        writing
                    });
                    let mut answers = Vec::new();
                    let mut ended = false;
                    while !answers.ends_with(b"next") && !ended {
                        let read = reading.read_buf(&mut answers);
                        let read = tokio::time::timeout(test_support::PATIENCE, read).await;
                        ended = matches!(read.expect(&what), Ok(0) | Err(_));
                    }
                    drop(sending.await.unwrap());
                    let answers = String::from_utf8(answers).unwrap();
                    let (first, _) = answers.split_once("\r\n\r\n").expect(&what);
                    let closes = first.contains("connection: close");
                    assert_eq!(closes, ended, "{what}: {answers}");
                    assert_eq!(!closes, answers.ends_with("next"), "{what}: {answers}");
                    // The part that is already here does not count.
                    let is_unread = ["/nosuch", "/by-macro", "/unread"].contains(&target);
                    if is_unread && fields != CHUNKED {
                        assert_eq!(closes, size > DRAINED, "{what}: {answers}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_short_rest_is_dropped_and_a_long_one_closes() {
    let mut client = client().await;
    let short = "x".repeat(60_000);
    assert_eq!(
        client.post("/unread", &short).await.header("connection"),
        None
    );
    // The length of the rest counts, whether it is here or to come.
    client
        .send(post("/unread", "content-length: 60000\r\n", ""))
        .await;
    assert_eq!(client.reply().await.header("connection"), None);
    client.send(&short).await;
    client
        .send(post("/unread", CHUNKED, "5\r\nhello\r\n0\r\n\r\n"))
        .await;
    assert_eq!(client.reply().await.header("connection"), None);
    // The body is beyond the limit of the route, which does not read it.
    let unread = post("/unread-small", CHUNKED, "5\r\nhello\r\n0\r\n\r\n");
    client.send(unread).await;
    assert_eq!(client.reply().await.header("connection"), None);
    assert_eq!(client.get("/unread").await.text(), "unread");
    client
        .send(post("/unread", "content-length: 1000000\r\n", "x"))
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.text(), reply.header("connection")),
        ("unread", Some("close"))
    );
    // Further bytes are not taken for a request.
    let _ = client.stream.write_all(&vec![b'x'; 200_000]).await;
    assert!(client.ends().await);
    // The end of these chunks is not here.
    for chunks in ["", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n"] {
        let mut client = self::client().await;
        client.send(post("/unread", CHUNKED, chunks)).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.text(), reply.header("connection")),
            ("unread", Some("close"))
        );
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn errors_of_a_streamed_body_are_typed_and_close() {
    for (body, status, text) in [
        ("2\r\nhex", 400, "not followed by a line end"),
        ("zz\r\n", 400, "not a hexadecimal digit"),
        ("5\r\nhe", 408, "stopped arriving"),
    ] {
        let mut client = client().await;
        client.send(post("/streamed", CHUNKED, body)).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.header("connection")),
            (status, Some("close"))
        );
        assert!(reply.text().contains(text), "{}", reply.text());
        assert!(client.ends().await);
    }
    let mut client = client().await;
    client
        .send(post("/streamed", "content-length: 10\r\n", "half"))
        .await;
    client.finish().await;
    let reply = client.reply().await;
    assert!(reply.text().contains("the client left"), "{}", reply.text());
}

#[tokio::test]
async fn a_body_kept_beyond_its_request_reads_nothing_of_the_next() {
    let control = server().await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.post("/keeps", "secret").await.text(), "kept");
    let mut kept = KEPT.lock().unwrap().take().unwrap();
    client
        .send("POST /streamed HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe")
        .await;
    assert_eq!(kept.next_chunk().await, Err(RequestError::BodyUnavailable));
    assert!(kept.next().await.unwrap().is_err());
    assert!(kept.next().await.is_none());
    client.send("llo").await;
    assert_eq!(client.reply().await.text(), "hello");
}

#[tokio::test]
async fn a_waiting_hook_is_told_when_its_client_leaves() {
    let control = server().await;
    let mut client = Client::connect(address(&control)).await;
    let before = ENTERED.load(Ordering::SeqCst);
    client.request("GET", "/waits", "").await;
    eventually("the hook runs", || ENTERED.load(Ordering::SeqCst) > before).await;
    assert!(!LEFT.load(Ordering::SeqCst));
    drop(client);
    eventually("the hook is told", || LEFT.load(Ordering::SeqCst)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_task_may_read_the_body_while_the_connection_reads_ahead() {
    let mut client = client().await;
    let body = vec![b'x'; 8 << 20];
    let head = post(
        "/elsewhere",
        &format!("content-length: {}\r\n", body.len()),
        "",
    );
    client.send(head).await;
    client.send(&body).await;
    assert_eq!(client.reply().await.text(), body.len().to_string());
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536)).repeat(64);
    client
        .send(post("/elsewhere", CHUNKED, &(chunk + "0\r\n\r\n")))
        .await;
    assert_eq!(client.reply().await.text(), (64 * 65_536).to_string());
}

#[tokio::test]
async fn a_hook_that_waits_beside_a_backlog_rests() {
    for by in ["told", "closed"] {
        let mut client = client().await;
        let start = POLLS.load(Ordering::SeqCst);
        client.request("GET", &format!("/backlog/{by}"), "").await;
        client.until(b"\r\n\r\n").await;
        let (mut before, mut same) = (start, 0);
        eventually("the hook rests", || {
            let now = POLLS.load(Ordering::SeqCst);
            same = if now == before && now > start {
                same + 1
            } else {
                0
            };
            before = now;
            same > 10
        })
        .await;
    }
}
