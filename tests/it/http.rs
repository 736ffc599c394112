//! HTTP/1.1 as a client sees it, byte by byte.

use std::time::Duration;

use hyperlane::{
    __private,
    constants::{CONTENT_TYPE, HTTP_DOUBLE_BR, TEXT_EVENT_STREAM},
    prelude::*,
};
use test_support::{Client, Reply, address, hook, start};
use tokio::io::AsyncWriteExt;

hook! {
    Hello |_, ctx| {
        ctx.get_mut_response().set_body("hello");
    }
    // Answers with the body of the request.
    Echo |_, ctx| {
        let body = ctx.get_request().get_body().to_vec();
        ctx.get_mut_response().set_body(body);
    }
    // Answers with the target of the request.
    Target |_, ctx| {
        let request = ctx.get_request();
        let text = format!(
            "{} {} {} {}",
            request.get_method(),
            request.get_host(),
            request.get_path(),
            request.get_query("q")
        );
        ctx.get_mut_response().set_body(text);
    }
    // Answers with the status that the path names, and a body.
    WithStatus |_, ctx| {
        let status = ctx.get_route_param("status").parse().unwrap();
        ctx.get_mut_response().set_status_code(status).set_body("body");
    }
    // Sets fields that the server would set, and fields that must not be set.
    Fields |_, ctx| {
        ctx.get_mut_response()
            .set_header("Content-Length", "999")
            .set_header("CONTENT-TYPE", "text/html")
            .set_header("Date", "Thu, 01 Jan 1970 00:00:00 GMT")
            .set_header("Transfer-Encoding", "chunked")
            .set_header("x-split", "a\r\nx-evil: 1")
            .set_header("x-split-2", "a\nx-evil: 1")
            .set_header("x-nul", "a\0b")
            .set_header("x-bad\r\nx-evil", "1")
            .set_header("x-good", "1")
            .set_body("hello");
    }
    // Asks for a kept connection whatever the client says.
    KeepAlive |_, ctx| {
        ctx.get_mut_response().set_header("connection", "keep-alive").set_body("hello");
    }
    Closing |_, ctx| {
        ctx.get_mut_response().set_header("Connection", "close").set_body("hello");
    }
    ClosedByStream |stream, ctx| {
        stream.set_closed(true);
        ctx.get_mut_response().set_body("hello");
    }
    RawBuild |stream, ctx| {
        let data = ctx.get_mut_response().set_body("raw").build();
        stream.try_send(data).await.unwrap();
        ctx.get_mut_response().set_body("never");
    }
    RawIncomplete |stream, _| {
        stream.try_send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").await.unwrap();
    }
    RawTwice |stream, ctx| {
        let data = ctx.get_mut_response().set_body("one").build();
        stream.try_send(data).await.unwrap();
        let data = ctx.get_mut_response().set_body("two").build();
        assert_eq!(stream.try_send(data).await, Err(ResponseError::AlreadyComplete));
    }
    RawTwiceInOne |stream, ctx| {
        let mut data = ctx.get_mut_response().set_body("one").build();
        data.extend(ctx.get_mut_response().set_body("two").build());
        assert_eq!(stream.try_send(data).await, Err(ResponseError::AlreadyComplete));
    }
    RawPieces |stream, ctx| {
        for byte in ctx.get_mut_response().set_body("in pieces").build() {
            stream.try_send([byte]).await.unwrap();
        }
    }
    RawChunked |stream, _| {
        stream
            .try_send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .await
            .unwrap();
        stream.try_send("0\r\n\r\n").await.unwrap();
    }
    RawEvents |stream, ctx| {
        let data = ctx
            .get_mut_response()
            .set_header(CONTENT_TYPE, TEXT_EVENT_STREAM)
            .set_body(Vec::new())
            .build();
        stream.try_send(data).await.unwrap();
        for i in 0..10 {
            let body = format!("data:{i}{HTTP_DOUBLE_BR}");
            stream.try_send(&body).await.unwrap();
        }
    }
    // Sends events in chunks that the program makes itself, far enough apart for heartbeats.
    RawChunkedEvents |stream, _| {
        stream
            .try_send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        for _ in 0..2 {
            stream.try_send("9\r\ndata: 1\n\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        stream.try_send("0\r\n\r\n").await.unwrap();
    }
    // Answers every further request of the connection itself, in a loop.
    Loop |stream, ctx| {
        let data = ctx.get_mut_response().set_body("first").build();
        stream.try_send(data).await.unwrap();
        while let Ok(request) = stream.try_get_http_request().await {
            let data = ctx.get_mut_response().set_body(request.get_path()).build();
            stream.try_send(data).await.unwrap();
            if !request.is_enable_keep_alive() {
                stream.set_closed(true);
                break;
            }
        }
    }
    // Does the same with the bare form of sending.
    BareLoop |stream, ctx| {
        ctx.get_mut_response().set_body("first");
        __private::try_send(stream, ctx).await;
        while let Ok(request) = stream.try_get_http_request().await {
            ctx.get_mut_response().set_body(request.get_path());
            __private::try_send(stream, ctx).await;
        }
    }
    // Reads on without an answer, as the article does.
    ArticleLoop |stream, ctx| {
        ctx.get_mut_response().set_body("only");
        while stream.try_get_http_request().await.is_ok() {
            if !ctx.get_request().is_enable_keep_alive() {
                stream.set_closed(true);
                break;
            }
        }
    }
}

async fn server() -> ServerControlHook {
    start(|server| {
        server
            .route::<Hello>("/hello")
            .route::<Echo>("/echo")
            .route::<Target>("/target/{*rest}")
            .route::<WithStatus>("/status/{status}")
            .route::<Fields>("/fields")
            .route::<KeepAlive>("/keep-alive")
            .route::<Closing>("/closing")
            .route::<ClosedByStream>("/closed-by-stream")
            .route::<RawBuild>("/raw")
            .route::<RawIncomplete>("/raw-incomplete")
            .route::<RawTwice>("/raw-twice")
            .route::<RawTwiceInOne>("/raw-twice-in-one")
            .route::<RawPieces>("/raw-pieces")
            .route::<RawChunked>("/raw-chunked")
            .route::<RawEvents>("/raw-events")
            .route::<RawChunkedEvents>("/raw-chunked-events")
            .route::<Loop>("/loop")
            .route::<BareLoop>("/bare-loop")
            .route::<ArticleLoop>("/article-loop");
        let config = server.get_mut_server_config();
        config.max_body = 1000;
        config.sse_heartbeat = Some(Duration::from_millis(100));
    })
    .await
}

async fn client() -> Client {
    Client::connect(address(&server().await)).await
}

/// Sends `bytes`, reads one response, and asserts that nothing follows before the end.
async fn last_reply(bytes: impl AsRef<[u8]>) -> Reply {
    let mut client = client().await;
    client.send(&bytes).await;
    let reply = client.reply().await;
    let what = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    assert!(client.ends().await, "one answer only to {what}");
    assert_eq!(
        reply.header("connection"),
        Some("close"),
        "{what}: {}",
        reply.head
    );
    reply
}

/// Returns true if the connection still serves requests.
async fn goes_on(client: &mut Client) -> bool {
    client.get("/hello").await.text() == "hello"
}

// ---------------------------------------------------------------- refusals

#[tokio::test]
async fn malformed_requests_are_refused_once_and_the_connection_ends() {
    let long_target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(9000));
    let long_field = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    let many_fields = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: 1\r\n".repeat(101)
    );
    let cases: &[(u16, &str)] = &[
        (400, "GET /hello HTTP/1.1\r\n\r\n"),
        (400, "GET /hello HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        (400, "GET /hello HTTP/1.1\r\nhost: a b\r\n\r\n"),
        (400, "GET  /hello HTTP/1.1\r\nhost: a\r\n\r\n"),
        (400, "GET /hello\r\nhost: a\r\n\r\n"),
        (400, "GET /hello HTTP/1.1\nhost: a\n\n"),
        (400, "GET hello HTTP/1.1\r\nhost: a\r\n\r\n"),
        (400, "GET /hello#x HTTP/1.1\r\nhost: a\r\n\r\n"),
        (400, "GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n"),
        (400, "GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n"),
        (400, "GET /%ff HTTP/1.1\r\nhost: a\r\n\r\n"),
        (400, "GET * HTTP/1.1\r\nhost: a\r\n\r\n"),
        (400, "GET http://u:p@a/ HTTP/1.1\r\nhost: a\r\n\r\n"),
        (400, "GET /hello HTTP/1.1\r\nhost: a\r\nx : 1\r\n\r\n"),
        (400, "GET /hello HTTP/1.1\r\nhost: a\r\nx: 1\r\n y\r\n\r\n"),
        (400, "GET /hello HTTP/1.1\r\nhost: a\r\nx\r\n\r\n"),
        (
            400,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        ),
        (
            400,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx",
        ),
        (
            400,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 2\r\n\r\nx",
        ),
        (
            400,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nx",
        ),
        (
            400,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST /echo HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
        ),
        (
            400,
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
        ),
        (
            413,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n",
        ),
        (
            413,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551615\r\n\r\n",
        ),
        (
            413,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\nexpect: 100-continue\r\n\r\n",
        ),
        (414, &long_target),
        (
            417,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nexpect: tea\r\n\r\nx",
        ),
        (431, &long_field),
        (431, &many_fields),
        (
            501,
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (505, "GET /hello HTTP/2.0\r\nhost: a\r\n\r\n"),
        (505, "GET /hello HTTP/1.2\r\nhost: a\r\n\r\n"),
    ];
    for (status, request) in cases {
        // A request behind a refused one is never answered: its beginning is not known.
        for behind in ["", "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n"] {
            let reply = last_reply(format!("{request}{behind}")).await;
            assert_eq!(reply.status, *status, "{request:?}");
            assert!(
                reply.text().starts_with(&status.to_string()),
                "{:?}",
                reply.text()
            );
            assert!(reply.header("date").is_some());
        }
    }
}

#[tokio::test]
async fn a_bad_request_after_good_ones_is_refused_as_well() {
    for before in ["/hello", "/raw", "/raw-pieces"] {
        for method in ["GET", "HEAD"] {
            let mut client = client().await;
            client.request(method, before, "").await;
            let reply = client.reply_to(method == "HEAD").await;
            assert_eq!(reply.status, 200, "{method} {before}");
            client.send("GET / HTTP/1.1\r\n\r\n").await;
            let reply = client.reply().await;
            assert_eq!(reply.status, 400, "after {method} {before}");
            assert!(reply.text().starts_with("400"));
            assert!(client.ends().await);
        }
    }
}

#[tokio::test]
async fn a_refusal_of_head_has_no_body() {
    for request in [
        "HEAD /%zz HTTP/1.1\r\nhost: a\r\n\r\n",
        "HEAD /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n",
    ] {
        let mut client = client().await;
        client.send(request).await;
        assert!(client.reply_to(true).await.status >= 400);
        assert!(client.ends().await, "{request:?}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_the_connection_goes_on() {
    let mut client = client().await;
    for (method, target) in [
        ("GET", "/nothing"),
        ("GET", "/hello/"),
        ("GET", "//hello"),
        ("GET", "/hello//"),
        ("DELETE", "/"),
    ] {
        client.request(method, target, "").await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 404, "{method} {target}");
        assert_eq!(reply.text(), "404 Not Found\n");
        assert_eq!(reply.header("connection"), None);
    }
    // `*` asks for the server as a whole.
    client.request("OPTIONS", "*", "").await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (204, Some(ALL_METHODS))
    );
    assert!(goes_on(&mut client).await);
}

#[tokio::test]
async fn bytes_behind_connect_are_no_request() {
    let mut client = client().await;
    client.request("CONNECT", "example.com:80", "").await;
    // These bytes are for the other end of the tunnel, which a client may take for granted.
    client.request("GET", "/hello", "").await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (501, "501 Not Implemented\n"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(client.ends().await);
}

// ---------------------------------------------------------------- responses

#[tokio::test]
async fn head_is_answered_by_the_get_handler_without_a_body() {
    let mut client = client().await;
    for (target, length) in [("/hello", "5"), ("/raw", "3"), ("/nothing", "14")] {
        client.request("HEAD", target, "").await;
        let reply = client.reply_to(true).await;
        assert_eq!(reply.header("content-length"), Some(length), "{target}");
    }
    assert!(goes_on(&mut client).await);
}

#[tokio::test]
async fn statuses_without_content_have_none() {
    let mut client = client().await;
    for (status, length) in [(204, None), (304, None), (205, Some("0")), (200, Some("4"))] {
        let reply = client.get(&format!("/status/{status}")).await;
        assert_eq!(
            (reply.status, reply.header("content-length")),
            (status, length)
        );
        assert_eq!(reply.header("transfer-encoding"), None);
    }
    assert!(goes_on(&mut client).await);
}

#[tokio::test]
async fn an_interim_status_is_no_answer() {
    for status in [100, 101, 103, 199] {
        let mut client = client().await;
        let reply = client.get(&format!("/status/{status}")).await;
        assert_eq!(reply.status, 500, "{status}");
        assert!(goes_on(&mut client).await);
    }
}

#[tokio::test]
async fn no_field_is_sent_twice_and_none_is_split() {
    let mut client = client().await;
    let reply = client.get("/fields").await;
    assert_eq!(reply.text(), "hello");
    for (name, value) in [
        ("content-length", Some("5")),
        ("content-type", Some("text/html")),
        ("date", Some("Thu, 01 Jan 1970 00:00:00 GMT")),
        ("transfer-encoding", None),
        ("x-split", None),
        ("x-split-2", None),
        ("x-nul", None),
        ("x-evil", None),
        ("x-good", Some("1")),
    ] {
        assert_eq!(reply.header(name), value, "{}", reply.head);
    }
    assert!(!reply.head.contains("evil"));
    assert!(goes_on(&mut client).await);
}

#[tokio::test]
async fn the_date_is_now() {
    let reply = client().await.get("/hello").await;
    let date = reply.header("date").expect("a date");
    assert_eq!(date.len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
    assert!(date.ends_with(" GMT"));
}

// ---------------------------------------------------------------- connections

#[tokio::test]
async fn the_connection_is_kept_as_both_sides_want() {
    // Version, fields, path, what the answer says, whether the connection goes on.
    let cases = [
        ("1.1", "", "/hello", None, true),
        ("1.1", "connection: keep-alive\r\n", "/hello", None, true),
        (
            "1.1",
            "connection: close\r\n",
            "/hello",
            Some("close"),
            false,
        ),
        (
            "1.1",
            "connection: Close, TE\r\nte: trailers\r\n",
            "/hello",
            Some("close"),
            false,
        ),
        (
            "1.1",
            "connection: TE\r\nconnection: close\r\n",
            "/hello",
            Some("close"),
            false,
        ),
        ("1.0", "", "/hello", Some("close"), false),
        (
            "1.0",
            "connection: keep-alive\r\n",
            "/hello",
            Some("keep-alive"),
            true,
        ),
        (
            "1.0",
            "connection: Keep-Alive, close\r\n",
            "/hello",
            Some("close"),
            false,
        ),
        ("1.1", "", "/closing", Some("close"), false),
        ("1.1", "", "/closed-by-stream", Some("close"), false),
        ("1.1", "", "/keep-alive", Some("keep-alive"), true),
        (
            "1.1",
            "connection: close\r\n",
            "/keep-alive",
            Some("close"),
            false,
        ),
        ("1.0", "", "/keep-alive", Some("close"), false),
        (
            "1.1",
            "connection: close\r\n",
            "/nothing",
            Some("close"),
            false,
        ),
    ];
    for (version, fields, path, says, kept) in cases {
        let case = format!("{version} {fields:?} {path}");
        let mut client = client().await;
        client
            .send(format!(
                "GET {path} HTTP/{version}\r\nhost: a\r\n{fields}\r\n"
            ))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.header("connection"), says, "{case}");
        if kept {
            assert!(goes_on(&mut client).await, "{case}");
        } else {
            assert!(client.ends().await, "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order() {
    let mut client = client().await;
    let mut requests = String::new();
    for i in 0..300 {
        let body = "x".repeat(i % 7);
        requests.push_str(&match i % 3 {
            0 => format!("GET /target/{i} HTTP/1.1\r\nhost: a\r\n\r\n"),
            1 => format!(
                "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
            _ => "HEAD /hello HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        });
    }
    client.send(requests).await;
    for i in 0..300 {
        let reply = client.reply_to(i % 3 == 2).await;
        match i % 3 {
            0 => assert_eq!(reply.text(), format!("GET a /target/{i} ")),
            1 => assert_eq!(reply.text(), "x".repeat(i % 7)),
            _ => assert_eq!(reply.header("content-length"), Some("5")),
        }
    }
    assert!(goes_on(&mut client).await);
}

#[tokio::test]
async fn requests_behind_a_closing_one_are_not_answered() {
    let reply = last_reply(
        "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    .await;
    assert_eq!(reply.text(), "hello");
}

#[tokio::test]
async fn a_client_that_ends_its_side_is_still_answered() {
    let mut client = client().await;
    client.request("GET", "/hello", "").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.reply().await.text(), "hello");
    assert!(client.ends().await);
}

#[tokio::test]
async fn half_a_request_is_not_answered() {
    for part in [
        "",
        "\r\n",
        "GET /hello HT",
        "GET /hello HTTP/1.1\r\nhost: a\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel",
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
    ] {
        let mut client = client().await;
        client.send(part).await;
        client.stream.shutdown().await.unwrap();
        assert!(client.ends().await, "{part:?}");
    }
}

// ---------------------------------------------------------------- bodies

/// Requests with the same body, however it is framed.
const HELLO_BODIES: [&str; 4] = [
    "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world",
    "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\nB;x=\"1\"\r\nhello world\r\n00\r\nt: 1\r\n\r\n",
    "\r\nPOST /echo HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 11\r\n\r\nhello world",
];

#[tokio::test]
async fn bodies_arrive_whole_however_they_are_cut() {
    let server = server().await;
    for request in HELLO_BODIES {
        let mut client = Client::connect(address(&server)).await;
        for at in 1..request.len() {
            let (one, other) = request.split_at(at);
            client.send(one).await;
            // The server mostly reads the first part by itself.
            tokio::task::yield_now().await;
            client.send(other).await;
            assert_eq!(
                client.reply().await.text(),
                "hello world",
                "cut at {at}: {request:?}"
            );
        }
        for byte in request.bytes() {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.reply().await.text(), "hello world", "{request:?}");
    }
}

#[tokio::test]
async fn a_body_of_the_largest_size_fits_and_one_byte_more_does_not() {
    let largest = "x".repeat(1000);
    assert_eq!(client().await.post("/echo", &largest).await.text(), largest);
    let chunked = |body: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let mut client = client().await;
    client.send(chunked(&largest)).await;
    assert_eq!(client.reply().await.text(), largest);
    assert_eq!(
        last_reply(chunked(&format!("{largest}x"))).await.status,
        413
    );
}

#[tokio::test]
async fn a_continue_is_sent_only_where_the_body_is_still_to_come() {
    let head = |length| {
        format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    // The client waits for it.
    let mut waiting = client().await;
    waiting.send(head(5)).await;
    assert_eq!(waiting.reply().await.status, 100);
    waiting.send("hello").await;
    assert_eq!(waiting.reply().await.text(), "hello");
    // The same body comes in chunks.
    waiting
        .send("POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(waiting.reply().await.status, 100);
    waiting.send("1\r\nx\r\n0\r\n\r\n").await;
    assert_eq!(waiting.reply().await.text(), "x");
    // The client does not wait.
    waiting.send(format!("{}hello", head(5))).await;
    assert_eq!(waiting.reply().await.text(), "hello");
    // The client has nothing to send.
    waiting.send(head(0)).await;
    assert_eq!(waiting.reply().await.status, 200);
    // A client of HTTP/1.0 does not know it.
    waiting
        .send("POST /echo HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
        .await;
    waiting.send("x").await;
    assert_eq!(waiting.reply().await.text(), "x");
    assert!(waiting.ends().await);
}

// ---------------------------------------------------------------- targets

#[tokio::test]
async fn targets_are_understood_in_every_form() {
    let mut client = client().await;
    for (target, seen) in [
        ("/target/a", "GET localhost /target/a "),
        ("/target/a%20b?q=c%20d", "GET localhost /target/a b c d"),
        ("/target/%c3%a4?q=%C3%A4+x", "GET localhost /target/ä ä x"),
        ("/target/a%2fb", "GET localhost /target/a/b "),
        ("/target//a//", "GET localhost /target//a// "),
        ("/%74arget/a", "GET localhost /target/a "),
        (
            "http://example.com:81/target/a?q=1",
            "GET example.com:81 /target/a 1",
        ),
        ("HTTP://example.com/target/a", "GET example.com /target/a "),
        ("/target/a?", "GET localhost /target/a "),
        ("/target/a?q=1&q=2", "GET localhost /target/a 1"),
        ("/target/a?q=1?2", "GET localhost /target/a 1?2"),
    ] {
        assert_eq!(client.get(target).await.text(), seen, "{target}");
    }
}

// ---------------------------------------------------------------- raw responses

#[tokio::test]
async fn a_complete_raw_response_leaves_the_connection_open() {
    let mut client = client().await;
    for (target, body) in [
        ("/raw", "raw"),
        ("/raw-twice", "one"),
        ("/raw-twice-in-one", "one"),
        ("/raw-pieces", "in pieces"),
        ("/raw-chunked", "hello"),
    ] {
        assert_eq!(client.get(target).await.text(), body, "{target}");
        assert!(goes_on(&mut client).await, "{target}");
    }
    client.request("HEAD", "/raw-chunked", "").await;
    client.reply_to(true).await;
    assert!(goes_on(&mut client).await);
}

#[tokio::test]
async fn an_incomplete_raw_response_ends_the_connection() {
    let mut client = client().await;
    client.request("GET", "/raw-incomplete", "").await;
    let bytes = client.rest().await;
    assert!(
        bytes.ends_with(b"\r\n\r\n12345"),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
}

#[tokio::test]
async fn a_raw_event_stream_ends_with_the_hook() {
    let mut client = client().await;
    let reply = client.get("/raw-events").await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    assert_eq!(reply.header("content-length"), None);
    assert_eq!(reply.header("connection"), Some("close"));
    let events: String = (0..10).map(|i| format!("data:{i}\r\n\r\n")).collect();
    assert_eq!(
        reply.text().replace("\r\n", "\n"),
        events.replace("\r\n", "\n")
    );
    assert!(client.ends().await);
}

#[tokio::test]
async fn no_heartbeat_lands_between_chunks_of_the_program() {
    let mut client = client().await;
    let reply = client.get("/raw-chunked-events").await;
    assert_eq!(reply.text(), "data: 1\n\ndata: 1\n\n");
    assert!(goes_on(&mut client).await);
}

#[tokio::test]
async fn a_raw_event_stream_to_head_is_its_head() {
    let mut client = client().await;
    client.request("HEAD", "/raw-events", "").await;
    assert_eq!(client.reply_to(true).await.status, 200);
    assert!(client.ends().await);
}

// ---------------------------------------------------------------- handlers that read on

#[tokio::test]
async fn a_handler_can_read_the_next_requests_itself() {
    for target in ["/loop", "/bare-loop"] {
        let mut client = client().await;
        assert_eq!(client.get(target).await.text(), "first");
        // The request is not routed: the handler has the connection.
        assert_eq!(client.get("/nothing").await.text(), "/nothing");
        client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\nPOST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx").await;
        assert_eq!(client.reply().await.text(), "/a");
        assert_eq!(client.reply().await.text(), "/b");
        client.stream.shutdown().await.unwrap();
        assert!(
            client.ends().await,
            "{target}: every request has one answer"
        );
    }
}

#[tokio::test]
async fn a_handler_that_reads_on_ends_with_a_closing_request() {
    for target in ["/loop", "/bare-loop"] {
        let mut client = client().await;
        assert_eq!(client.get(target).await.text(), "first");
        client
            .request("GET", "/last", "connection: close\r\n")
            .await;
        assert_eq!(client.reply().await.text(), "/last");
        if target == "/bare-loop" {
            client.stream.shutdown().await.unwrap();
        }
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn the_loop_of_the_article_ends_with_one_answer() {
    let mut client = client().await;
    client.request("GET", "/article-loop", "").await;
    client.request("GET", "/article-loop", "").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.reply().await.text(), "only");
    assert!(client.ends().await);
}
