//! The way of an answer: the hooks that run, the fields that it keeps, and the end of a connection whose hook fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use futures_util::StreamExt;
use hyperlane::prelude::*;
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use test_support::{CLOSE, Client, Memory, PING, PONG, TEXT, address, memory, start};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn note(ctx: &Context, what: &'static str) {
    ctx.state::<Log>().0.lock().unwrap().push(what);
}

/// Makes a hook of a block, which goes on unless it returns early.
macro_rules! hooks {
    ($($name:ident |$stream:pat_param, $ctx:ident| $body:block)*) => {$(
        struct $name;

        impl ServerHook for $name {
            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            #[allow(unreachable_code)]
            async fn handle(self, $stream: &mut Stream, $ctx: &mut Context) -> Status {
                $body
                Status::Continue
            }
        }
    )*};
}

hooks! {
    Before |_, ctx| {
        note(ctx, "before");
        let cache = ctx.get_request().get_query("cache");
        ctx.get_mut_response()
            .set_header("access-control-allow-origin", "https://app.example")
            .set_header("content-security-policy", "default-src 'self'")
            .set_header("cache-control", cache)
            .set_header("content-language", "de")
            .set_header("etag", "\"1\"");
        match ctx.get_request().get_query("before").as_str() {
            "reject" => return Status::Reject,
            "panic" => panic!("on purpose"),
            _ => {}
        }
    }
    After |_, ctx| {
        note(ctx, "after");
        let status = ctx.get_response().get_status_code();
        ctx.get_mut_response().set_header("x-status", status.to_string());
        match ctx.get_request().get_query("after").as_str() {
            "reject" => return Status::Reject,
            "panic" => panic!("on purpose"),
            "refuse" => {
                let _ = hyperlane::__private::refuse(RequestError::refused(401, "log in")).await;
            }
            "wait" => std::future::pending().await,
            _ => {}
        }
    }
    Last |_, ctx| {
        note(ctx, "last");
        ctx.get_mut_response().set_header("x-last", "1");
    }
    OnError |stream, ctx| {
        note(ctx, "error");
        assert!(ctx.try_get_request_error_data().is_some());
        match ctx.get_request().get_query("error").as_str() {
            "reject" => return Status::Reject,
            "panic" => panic!("on purpose"),
            "events" => {
                let events = ctx.event_stream(stream).await.unwrap();
                events.send("one").await.unwrap();
            }
            _ => {}
        }
    }
    OnPanic |_, ctx| {
        note(ctx, "panic");
        assert!(ctx.try_get_task_panic_data().is_some());
    }
    // Begins an answer, and then follows the query.
    Works |_, ctx| {
        ctx.get_mut_response()
            .set_header("x-route", "1")
            .set_header("location", "/elsewhere")
            .set_header("content-encoding", "gzip")
            .set_header("content-disposition", "attachment")
            .set_header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
            .set_header("expires", "0")
            .set_body("half");
        match ctx.get_request().get_query("do").as_str() {
            "reject" => return Status::Reject,
            "panic" => panic!("on purpose"),
            "refuse" => {
                let _ = hyperlane::__private::refuse(RequestError::refused(401, "log in")).await;
            }
            "session-panic" => {
                let _ = ctx.session().insert("a", &1);
                panic!("on purpose");
            }
            _ => {}
        }
    }
    // Sends the answer itself, as middleware of many programs does.
    Sends |stream, ctx| {
        note(ctx, "sends");
        #[send]
        async fn send(stream: &mut Stream, ctx: &mut Context) {}
        send(stream, ctx).await;
    }
    // Does the same by hand.
    SendsRaw |stream, ctx| {
        note(ctx, "sends");
        let whole = ctx.get_mut_response().build();
        stream.send(whole).await;
    }
}

#[get("/query")]
async fn query(Query(_): Query<Page>, ctx: &mut Context) {
    ctx.get_mut_response().set_body("fine");
}

#[derive(serde::Deserialize)]
struct Page {
    #[allow(dead_code)]
    page: u32,
}

#[get("/asks")]
async fn asks(ctx: &mut Context) -> Result<&'static str, Error> {
    let _: Page = ctx.query()?;
    Ok("fine")
}

/// Registers the hooks, which write into the log.
fn register(server: &mut Server, log: &Log) {
    server.state(log.clone());
    server.__register_all();
    server
        .route::<Works>("/works")
        .request_middleware::<Before>()
        .response_middleware::<After>()
        .response_middleware::<Last>()
        .request_error::<OnError>()
        .task_panic::<OnPanic>();
}

async fn client(configure: impl FnOnce(&mut Server)) -> (Client, Log) {
    let log = Log::default();
    let control = start(|server| {
        register(server, &log);
        configure(server);
    })
    .await;
    (Client::connect(address(&control)).await, log)
}

/// The same hooks in memory.
fn in_memory() -> (Memory, Log) {
    let log = Log::default();
    (memory(|server| register(server, &log)), log)
}

#[tokio::test]
async fn every_answer_keeps_what_middleware_set_and_passes_response_middleware_once() {
    let (mut client, log) = in_memory();
    for (method, target, status, ran) in [
        ("GET", "/query?page=1", 200, "before after last"),
        ("GET", "/query?page=x", 400, "before error after last"),
        ("GET", "/asks?page=x", 400, "before error after last"),
        ("GET", "/works", 200, "before after last"),
        ("GET", "/works?do=refuse", 401, "before error after last"),
        ("GET", "/works?do=panic", 500, "before panic after last"),
        ("GET", "/works?do=reject", 200, "before after last"),
        ("GET", "/works?before=reject", 403, "before after last"),
        ("GET", "/works?before=panic", 500, "before panic after last"),
        ("GET", "/works?after=reject", 200, "before after"),
        ("GET", "/works?after=panic", 500, "before after panic last"),
        ("GET", "/works?after=refuse", 401, "before after error last"),
        (
            "GET",
            "/works?do=panic&after=refuse",
            401,
            "before panic after error last",
        ),
        (
            "GET",
            "/works?do=refuse&after=refuse",
            401,
            "before error after last",
        ),
        (
            "GET",
            "/works?do=refuse&error=panic",
            500,
            "before error panic after last",
        ),
        (
            "GET",
            "/works?do=refuse&error=reject",
            401,
            "before error after last",
        ),
        (
            "GET",
            "/works?before=panic&after=panic",
            500,
            "before panic after last",
        ),
        ("GET", "/empty?after=reject", 403, "before after"),
        ("GET", "/events?after=panic", 500, "before after panic last"),
        (
            "GET",
            "/events?after=refuse",
            401,
            "before after error last",
        ),
        ("GET", "/stream?after=panic", 500, "before after panic last"),
        ("GET", "/breaks?do=0", 500, "before after last"),
        (
            "GET",
            "/works?do=session-panic",
            500,
            "before panic after last",
        ),
        ("GET", "/nothing", 404, "before after last"),
        ("POST", "/query", 405, "before after last"),
        ("GET", "/socket/plain", 426, "before after last"),
        ("GET", "/none", 404, "before after last"),
    ] {
        client.request(method, target, "").await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(log.take().join(" "), ran, "{target}");
        let origin = reply.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://app.example"), "{target}");
        let policy = reply.header("content-security-policy");
        assert_eq!(policy, Some("default-src 'self'"), "{target}");
        assert_eq!(
            reply.header("set-cookie").is_some(),
            target.contains("session"),
            "{target}"
        );
        let has_run = ran.ends_with("last");
        assert_eq!(reply.header("x-last"), has_run.then_some("1"), "{target}");
    }
}

#[tokio::test]
async fn a_refusal_keeps_no_field_of_the_body_that_is_lost() {
    let (mut client, _) = in_memory();
    let of_the_body = [
        "content-encoding",
        "content-language",
        "content-disposition",
        "content-location",
        "content-range",
        "etag",
        "expires",
        "last-modified",
        "location",
    ];
    for target in ["/works?do=panic", "/works?do=refuse", "/query?page=x"] {
        for (cache, kept) in [
            ("no-store", true),
            ("private, max-age=60", true),
            ("max-age=60", false),
        ] {
            let separator = "&cache=";
            let target = format!("{target}{separator}{}", cache.replace(' ', ""));
            let reply = client.get(&target).await;
            for name in of_the_body {
                assert_eq!(reply.header(name), None, "{target}: {name}");
            }
            // The fields of the route go, too: they described another answer.
            assert_eq!(reply.header("x-route"), None, "{target}");
            let said = reply.header("cache-control").is_some();
            assert_eq!(said, kept, "{target}");
            assert_eq!(
                reply.header("content-type"),
                Some("text/plain; charset=utf-8")
            );
        }
    }
}

#[tokio::test]
async fn a_request_that_fails_before_its_hooks_passes_response_middleware() {
    let (mut large, log) = client(|server| {
        server.get_mut_server_config().max_body = 10;
    })
    .await;
    large
        .send("POST /works HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n")
        .await;
    let reply = large.reply().await;
    assert_eq!((reply.status, reply.header("x-last")), (413, Some("1")));
    assert_eq!(log.take(), ["error", "after", "last"]);

    let (mut broken, log) = client(|_| {}).await;
    broken.send("GET / HTTP/1.1\r\nbad\r\n\r\n").await;
    let reply = broken.reply().await;
    assert_eq!((reply.status, reply.header("x-last")), (400, None));
    assert_eq!(log.take(), ["error"]);
}

#[get("/none")]
async fn none() -> Option<&'static str> {
    None
}

#[tokio::test]
async fn nothing_to_answer_with_looks_like_an_unknown_path() {
    let mut client = memory(|server| {
        server.state(Log::default());
        server.__register_all();
    });
    let (none, unknown) = (client.get("/none").await, client.get("/unknown").await);
    assert_eq!((none.status, unknown.status), (404, 404));
    assert_eq!(none.text(), unknown.text());
    assert_eq!(none.header("content-type"), unknown.header("content-type"));
}

#[get("/empty")]
async fn empty() {}

#[get("/phrase")]
async fn phrase(ctx: &mut Context) -> Result<(), Error> {
    ctx.get_mut_response()
        .set_status_code(201)
        .set_reason_phrase("All Good");
    Err(Error::new(404, "no such thing"))
}

#[tokio::test]
async fn an_error_has_the_reason_phrase_of_its_own_status() {
    let (mut client, _) = client(|_| {}).await;
    let reply = client.get("/phrase").await;
    assert!(
        reply.head.starts_with("HTTP/1.1 404 Not Found\r\n"),
        "{}",
        reply.head
    );
}

// ---------------------------------------------------------------- event streams and streamed bodies

/// Gives up an event stream before its head is out.
#[get("/cancels")]
async fn cancels(stream: &mut Stream, ctx: &mut Context) {
    tokio::select! {
        biased;
        _ = ctx.event_stream(stream) => {}
        () = std::future::ready(()) => {}
    }
    #[response_status_code(503)]
    #[response_body("later")]
    #[send]
    async fn later(stream: &mut Stream, ctx: &mut Context) {}
    later(stream, ctx).await;
}

#[tokio::test]
async fn a_hook_that_gives_up_the_wait_for_an_event_stream_can_still_answer() {
    let (mut client, log) = in_memory();
    let reply = client.get("/cancels?after=wait").await;
    assert_eq!((reply.status, reply.text()), (503, "later"));
    assert_eq!(log.take().join(" "), "before after last");
    assert_eq!(client.get("/query?page=1").await.status, 200);
}

/// A streamed body that panics at a piece.
#[get("/breaks")]
async fn breaks(ctx: &mut Context) {
    let at: usize = ctx.get_request().get_query("do").parse().unwrap();
    let pieces = futures_util::stream::iter(0..2).map(move |piece| {
        assert_ne!(piece, at, "on purpose");
        Ok::<_, io::Error>("one")
    });
    ctx.get_mut_response()
        .set_body(hyperlane::Body::stream(pieces));
}

type Custom = (HttpStatus, &'static str);

#[get("/custom/events")]
#[sse(events)]
async fn custom_events() -> Result<(), Custom> {
    let _ = events.send("one").await;
    Err((HttpStatus::Conflict, "taken"))
}

#[get("/custom/status")]
#[sse(events)]
async fn custom_status() -> Result<Status, Custom> {
    let _ = events.send("one").await;
    Err((HttpStatus::Conflict, "taken"))
}

#[get("/custom/socket")]
#[websocket(socket)]
async fn custom_socket() -> Result<Status, Custom> {
    let _ = &socket;
    Err((HttpStatus::Conflict, "taken"))
}

#[get("/custom/unit")]
#[websocket(socket)]
async fn custom_unit() -> Result<(), ()> {
    let _ = &socket;
    Err(())
}

#[get("/events")]
async fn events(stream: &mut Stream, ctx: &mut Context) -> Result<(), Error> {
    let events = ctx.event_stream(stream).await?;
    note(ctx, "events");
    events.send("one").await?;
    match ctx.get_request().get_query("do").as_str() {
        "fail" => Err(Error::new(500, "on purpose")),
        "panic" => panic!("on purpose"),
        _ => Ok(()),
    }
}

#[get("/stream")]
async fn stream_of_pieces(ctx: &mut Context) {
    let pieces = [Ok::<_, io::Error>("one"), Ok("two")];
    let fails = ctx.get_request().get_query("do") == "fail";
    let last = fails.then(|| Err(io::Error::other("on purpose")));
    let pieces = futures_util::stream::iter(pieces.into_iter().chain(last));
    ctx.get_mut_response()
        .set_body(hyperlane::Body::stream(pieces));
}

/// Returns the next head, as it stood on the wire.
async fn head(client: &mut Client) -> String {
    String::from_utf8(client.until(b"\r\n\r\n").await).unwrap()
}

/// Returns true if a chunked body came to its end.
async fn is_whole(client: &mut Client) -> bool {
    while client.fill().await {}
    let text = String::from_utf8_lossy(&client.buffer);
    assert!(text.contains("one"), "{text}");
    text.ends_with("0\r\n\r\n")
}

#[tokio::test]
async fn the_head_of_a_stream_has_the_fields_of_middleware_which_runs_once() {
    for sends in [None, Some(false), Some(true)] {
        for (target, ran) in [
            ("/events", "before after last sends events"),
            ("/stream", "before after last sends"),
        ] {
            let (mut client, log) = client(|server| {
                match sends {
                    Some(false) => server.response_middleware::<Sends>(),
                    Some(true) if target == "/events" => server.response_middleware::<SendsRaw>(),
                    _ => server,
                };
            })
            .await;
            client.request("GET", target, "connection: close\r\n").await;
            let head = head(&mut client).await;
            let (mut expected, head) = (ran.to_owned(), head.to_lowercase());
            if !matches!((sends, target), (Some(false), _) | (Some(true), "/events")) {
                expected = expected.replace(" sends", "");
            }
            for field in [
                "access-control-allow-origin: https://app.example",
                "x-status: 200",
                "x-last: 1",
                "transfer-encoding: chunked",
            ] {
                assert_eq!(head.matches(field).count(), 1, "{target}: {head}");
            }
            if target == "/events" {
                assert!(head.contains("content-type: text/event-stream"), "{head}");
            }
            assert!(is_whole(&mut client).await, "{target}");
            assert_eq!(log.take().join(" "), expected, "{target} {sends:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_whose_hook_fails_is_cut_without_its_last_chunk() {
    for (target, whole) in [
        ("/events", true),
        ("/events?do=fail", false),
        ("/events?do=panic", false),
        ("/stream", true),
        ("/stream?do=fail", false),
        ("/chunks", true),
        ("/chunks?do=fail", false),
        ("/chunks?do=refuse", false),
        ("/custom/events", false),
        ("/custom/status", false),
        ("/breaks?do=1", false),
        // The error hook answers with a stream of its own, which is whole.
        ("/query?page=x&error=events", true),
        ("/works?do=refuse&error=events", true),
    ] {
        let (mut client, _) = client(|_| {}).await;
        client.request("GET", target, "connection: close\r\n").await;
        assert_eq!(is_whole(&mut client).await, whole, "{target}");
    }
}

/// A response by hand, in pieces.
#[get("/chunks")]
async fn chunks(stream: &mut Stream, ctx: &mut Context) -> Result<Status, Error> {
    stream
        .try_send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        .await?;
    match ctx.get_request().get_query("do").as_str() {
        "fail" => return Err(Error::new(503, "on purpose")),
        "refuse" => {
            let _ = hyperlane::__private::refuse(RequestError::refused(401, "log in")).await;
        }
        _ => {}
    }
    stream.try_send("0\r\n\r\n").await?;
    Ok(Status::Continue)
}

// ---------------------------------------------------------------- WebSockets

#[get("/socket/{what}")]
#[is_ws_upgrade_type]
async fn socket(stream: &mut Stream, ctx: &mut Context) -> Result<Status, Error> {
    let what = ctx.get_route_param("what");
    match what.as_str() {
        "error" => return Err(Error::new(403, "not in this room")),
        "reject" => return Ok(Status::Reject),
        "panic" => panic!("on purpose"),
        "answer" => {
            ctx.get_mut_response()
                .set_status_code(302)
                .set_header("location", "/login");
        }
        "raw" => {
            stream
                .try_send("HTTP/1.1 409 Conflict\r\ncontent-length: 4\r\n\r\nno!\n")
                .await?
        }
        "raw-pieces" => {
            for piece in [
                "HT",
                "TP/1.1 409 Con",
                "flict\r\ncontent-length: 4\r\n\r\n",
                "no!\n",
            ] {
                stream.try_send(piece).await?;
            }
        }
        "raw-frame" => stream.try_send([0x81, 2, b'h', b'i']).await?,
        "events" => {
            ctx.event_stream(stream).await?.send("an event").await?;
        }
        "nothing" => {}
        "echo" => {
            let message = stream.try_get_websocket_request().await?;
            stream
                .send(WebSocketFrame::create_frame_list(&message).concat())
                .await;
        }
        "read" => drop(stream.try_get_websocket_request().await?),
        "cookie" => {
            let _ = ctx.session().insert("a", &1);
            stream.try_send([0x81, 2, b'h', b'i']).await?;
        }
        "late" => {
            stream.disconnected().await;
        }
        "streamed" => {
            ctx.get_mut_response().set_body(std::path::Path::new("/"));
            #[send]
            async fn send(stream: &mut Stream, ctx: &mut Context) {}
            send(stream, ctx).await;
        }
        "outbox-error" => {
            let _ = stream.outbox();
            return Err(Error::new(403, "too late"));
        }
        "origins" => {
            let upgrade = Upgrade::new().allowed_origins(["no origin"]);
            ctx.upgrade_with(stream, upgrade).await?;
        }
        "outbox" => {
            let outbox = stream.outbox();
            let _ = outbox.send(&Message::from("hi"));
        }
        _ => {
            let socket = ctx.upgrade(stream).await?;
            match what.as_str() {
                "then-error" => return Err(Error::new(403, "x".repeat(200))),
                "then-umlauts" => return Err(Error::new(403, "\u{e9}".repeat(100))),
                "then-internal" => return Err(io::Error::other("disk on fire").into()),
                "then-reject" => return Ok(Status::Reject),
                "then-panic" => panic!("on purpose"),
                "then-end" => loop {
                    socket.recv().await?;
                },
                _ => {}
            }
        }
    }
    Ok(Status::Continue)
}

#[get("/ask/{room}")]
#[is_ws_upgrade_type]
#[request_query("name" => name)]
#[response_body(&name)]
#[send]
async fn ask() {}

#[get("/status/{code}")]
#[is_ws_upgrade_type]
#[route_param("code" => code)]
#[response_status_code(code.parse::<usize>().unwrap())]
#[response_body("said")]
#[send]
async fn status() {}

const HANDSHAKE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn a_handshake_is_answered_when_the_handler_has_decided() {
    let (mut client, log) = client(|_| {}).await;
    for (path, status, text) in [
        ("/socket/error", 403, "403 Forbidden: not in this room\n"),
        ("/socket/reject", 403, "403 Forbidden\n"),
        ("/socket/panic", 500, "500 Internal Server Error\n"),
        ("/socket/origins", 500, "500 Internal Server Error\n"),
        ("/socket/answer", 302, ""),
        ("/socket/raw", 409, "no!\n"),
        ("/socket/raw-pieces", 409, "no!\n"),
        (
            "/ask/1",
            400,
            "400 Bad Request: query parameter `name` is missing\n",
        ),
        ("/status/400", 400, "said"),
        ("/status/503", 503, "said"),
    ] {
        client.request("GET", path, HANDSHAKE).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.text()), (status, text), "{path}");
        // A head by hand stays as it is.
        let by_hand = path.contains("raw");
        assert_eq!(
            reply.header("access-control-allow-origin").is_some(),
            !by_hand,
            "{path}"
        );
        let answered_in_route = by_hand || path.starts_with("/status");
        assert_eq!(
            reply.header("x-last").is_some(),
            !answered_in_route,
            "{path}"
        );
        // The connection goes on.
        assert_eq!(client.get("/query?page=1").await.status, 200, "{path}");
    }
    log.take();
}

#[tokio::test]
async fn a_handshake_that_fails_is_refused_before_the_handler_runs() {
    let (mut client, _) = client(|_| {}).await;
    for (fields, status) in [
        (HANDSHAKE.replace("13", "12"), 426),
        (HANDSHAKE.replace("dGhl", "dGh"), 400),
        (format!("{HANDSHAKE}origin: https://evil.example\r\n"), 403),
    ] {
        // The hook would answer 500 if it ran.
        client.request("GET", "/socket/panic", &fields).await;
        assert_eq!(client.reply().await.status, status, "{fields}");
    }
}

#[tokio::test]
async fn the_end_of_a_websocket_tells_how_its_handler_ended() {
    let (long, umlauts) = ("x".repeat(123), "\u{e9}".repeat(61));
    for (path, first, code, reason) in [
        ("/socket/nothing", None, 1000, ""),
        ("/socket/raw-frame", Some("hi"), 1000, ""),
        ("/socket/cookie", Some("hi"), 1000, ""),
        ("/socket/outbox", Some("hi"), 1000, ""),
        ("/ask/1?name=me", Some("me"), 1000, ""),
        ("/status/200", Some("said"), 1000, ""),
        ("/status/302", Some("said"), 1000, ""),
        ("/socket/then-return", None, 1000, ""),
        ("/socket/then-reject", None, 1008, ""),
        ("/socket/then-error", None, 1011, &*long),
        ("/socket/then-internal", None, 1011, "Internal Server Error"),
        ("/socket/then-umlauts", None, 1011, &*umlauts),
        // A file cannot be sent as a message.
        ("/socket/streamed", None, 1000, ""),
        ("/socket/outbox-error", None, 1011, "too late"),
        ("/custom/socket", None, 1011, "taken"),
        ("/custom/unit", None, 1011, "Internal Server Error"),
        ("/socket/then-panic", None, 1011, "Internal Server Error"),
    ] {
        let (mut client, log) = client(|_| {}).await;
        client.request("GET", path, HANDSHAKE).await;
        let head = head(&mut client).await.to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{path}: {head}");
        // The answer keeps fields, and no response middleware works on it.
        assert!(
            head.contains("access-control-allow-origin: https://app"),
            "{path}: {head}"
        );
        assert!(!head.contains("x-last"), "{path}: {head}");
        assert_eq!(
            head.contains("set-cookie"),
            path.contains("cookie"),
            "{path}: {head}"
        );
        if let Some(text) = first {
            assert_eq!(client.next_frame().await.text(), text, "{path}");
        }
        let frame = client.next_frame().await;
        assert_eq!(frame.opcode, CLOSE, "{path}");
        assert_eq!(frame.code(), code, "{path}");
        assert_eq!(&frame.payload[2..], reason.as_bytes(), "{path}");
        assert!(!log.take().contains(&"after"), "{path}");
    }
}

#[tokio::test]
async fn a_handler_that_takes_too_long_finds_its_handshake_answered() {
    let (mut client, _) = client(|server| {
        server.get_mut_server_config().handshake_timeout = Duration::from_millis(200);
    })
    .await;
    client.request("GET", "/socket/late", HANDSHAKE).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101"));
    client.say("hello").await;
    client.frame(PING, "").await;
    assert_eq!(client.next_frame().await.opcode, PONG);
}

#[tokio::test]
async fn bytes_behind_a_handshake_are_read_as_the_protocol_that_it_led_to() {
    let (mut client, _) = client(|_| {}).await;
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{HANDSHAKE}\r\n");
    let both = head("/socket/error") + "GET /query?page=1 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.send(both).await;
    assert_eq!(client.reply().await.status, 403);
    assert_eq!(client.reply().await.status, 200);
    let mut both = head("/socket/echo").into_bytes();
    both.extend(test_support::frame(true, TEXT, "hello"));
    client.send(both).await;
    assert_eq!(client.reply().await.status, 101);
    assert_eq!(client.next_frame().await.text(), "hello");
}

#[tokio::test]
async fn a_handshake_of_http_1_0_is_refused() {
    let (mut client, log) = client(|_| {}).await;
    client
        .send(format!("GET /socket/panic HTTP/1.0\r\n{HANDSHAKE}\r\n"))
        .await;
    let reply = client.reply().await;
    assert!(matches!(reply.status, 400 | 426 | 505), "{}", reply.head);
    assert_eq!(log.take(), ["before", "error", "after", "last"]);
}
