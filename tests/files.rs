//! Files and streams as the bodies of responses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{self, Poll},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyperlane::{Body, FileBody, prelude::*};
use test_support::{Client, address, eventually, hook, start};

/// A folder of this test run, with a few files.
fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{}", std::process::id()));
        fs::create_dir_all(root.join("folder")).unwrap();
        fs::write(root.join("page.html"), "<p>page</p>").unwrap();
        fs::write(root.join("empty.bin"), "").unwrap();
        fs::write(root.join("large.bin"), large()).unwrap();
        fs::write(root.parent().unwrap().join("outside.txt"), "outside").unwrap();
        root
    })
}

fn large() -> Vec<u8> {
    (0..1_000_003_u32).map(|at| (at % 251) as u8).collect()
}

static DROPPED: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Records its drop.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        DROPPED.store(true, Ordering::SeqCst);
    }
}

/// Yields pieces without end, as fast as they are asked for.
struct Endless;

impl futures_util::Stream for Endless {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        ASKED.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 16 * 1024]))))
    }
}

fn words(
    words: &'static [&'static str],
) -> impl futures_util::Stream<Item = Result<&'static str, Infallible>> {
    // Each piece comes after a turn of the executor.
    stream::iter(words).then(async |word| {
        tokio::task::yield_now().await;
        Ok(*word)
    })
}

fn failing(
    words: &'static [&'static str],
) -> impl futures_util::Stream<Item = Result<&'static str, io::Error>> {
    stream::iter(words).then(async |word| {
        tokio::task::yield_now().await;
        match *word {
            "!" => Err(io::Error::other("a secret")),
            "panic" => panic!("a secret"),
            word => Ok(word),
        }
    })
}

hook! {
    Files |_, ctx| {
        let path = ctx.get_route_param("path");
        match FileBody::within(root(), path) {
            Some(file) => file.into_response(ctx.get_mut_response()),
            None => HttpStatus::NotFound.into_response(ctx.get_mut_response()),
        }
    }
    // Sends a file by its path, as the seed does.
    ByPath |_, ctx| {
        let res = ctx.get_mut_response();
        res.set_body(root().join("page.html").as_path());
    }
    OwnFields |_, ctx| {
        ctx.get_mut_response()
            .set_status_code(404)
            .set_header("content-type", "text/x-own")
            .set_header("etag", "\"own\"")
            .set_body(root().join("page.html"));
    }
    Missing |_, ctx| {
        ctx.get_mut_response()
            .set_header("content-encoding", "gzip")
            .set_header("content-disposition", "attachment")
            .set_header("cache-control", "public, immutable")
            .set_header("etag", "\"v1\"")
            .set_header("x-own", "stays")
            .set_body(root().join("missing.gz"));
    }
    Unstored |_, ctx| {
        ctx.get_mut_response()
            .set_header("cache-control", "no-store")
            .set_body(root().join("missing.gz"));
    }
    Sends |stream, ctx| {
        ctx.get_mut_response().set_body(root().join("page.html"));
        hyperlane::__private::send(stream, ctx).await;
        ctx.get_mut_response().set_body("never");
    }
    Words |_, ctx| {
        ctx.get_mut_response().set_body(Body::stream(words(&["one ", "", "two ", "three"])));
    }
    NoWords |_, ctx| {
        ctx.get_mut_response().set_body(Body::stream(stream::empty::<Result<Bytes, Infallible>>()));
    }
    Sized |_, ctx| {
        ctx.get_mut_response().set_body(Body::sized_stream(words(&["one ", "two"]), 7));
    }
    TooShort |_, ctx| {
        ctx.get_mut_response().set_body(Body::sized_stream(words(&["one"]), 7));
    }
    TooLong |_, ctx| {
        ctx.get_mut_response().set_body(Body::sized_stream(words(&["one", "two"]), 4));
    }
    Fails |_, ctx| {
        ctx.get_mut_response().set_body(Body::stream(failing(&["one", "!", "two"])));
    }
    Panics |_, ctx| {
        ctx.get_mut_response().set_body(Body::stream(failing(&["one", "panic"])));
    }
    FailsAtOnce |_, ctx| {
        let failed = stream::iter([Err::<Bytes, _>("a secret")]);
        ctx.get_mut_response().set_body(Body::stream(failed));
    }
    Unending |_, ctx| {
        ctx.get_mut_response().set_body(Body::stream(Endless));
    }
    Silent |_, ctx| {
        let guard = Guard;
        let silent = stream::once(async move {
            let _guard = guard;
            std::future::pending::<Result<Bytes, Infallible>>().await
        });
        ctx.get_mut_response().set_body(Body::stream(silent));
    }
    // Sets all fields that the server sets, by every way there is.
    Automatic |_, ctx| {
        let kind = ctx.get_route_param("kind");
        let response = ctx.get_mut_response();
        match kind.as_str() {
            "bytes" => response.set_body("text"),
            "file" => response.set_body(root().join("page.html")),
            "stream" => response.set_body(Body::stream(words(&["one"]))),
            _ => response.set_body(Body::sized_stream(words(&["one"]), 3)),
        };
        for name in AUTOMATIC {
            let value = match *name {
                "connection" => "keep-alive",
                "content-length" => "1",
                "transfer-encoding" => "chunked",
                _ => "x",
            };
            let _ = response.get_mut_headers().try_set(name, value);
            response.set_header(name.to_uppercase(), value).add_header(name, value);
        }
    }
    NoContent |_, ctx| {
        ctx.get_mut_response().set_status_code(204).set_body(Body::stream(words(&["one"])));
    }
}

/// Fields that the server sets by itself.
const AUTOMATIC: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "date",
    "content-type",
    "etag",
    "last-modified",
];

hook! {
    // Sends its body back as it comes.
    @Stream Echo |_, ctx| {
        let body = ctx.body_stream();
        ctx.get_mut_response().set_body(Body::stream(body));
    }
}

#[get("/macro")]
async fn by_macro() -> PathBuf {
    root().join("page.html")
}

async fn server() -> ServerControlHook {
    start(|server| {
        server
            .__register_all()
            .route::<Files>("/files/{*path}")
            .route::<ByPath>("/page")
            .route::<OwnFields>("/own")
            .route::<Sends>("/sends")
            .route::<Words>("/words")
            .route::<NoWords>("/no-words")
            .route::<Sized>("/sized")
            .route::<TooShort>("/too-short")
            .route::<TooLong>("/too-long")
            .route::<Fails>("/fails")
            .route::<Panics>("/panics")
            .route::<FailsAtOnce>("/fails-at-once")
            .route::<Unending>("/unending")
            .route::<Silent>("/silent")
            .route::<NoContent>("/no-content")
            .route::<Automatic>("/automatic/{kind}")
            .route::<Echo>("/echo");
    })
    .await
}

async fn client() -> Client {
    Client::connect(address(&server().await)).await
}

#[tokio::test]
async fn a_file_has_length_type_and_validators() {
    let mut client = client().await;
    for target in ["/files/page.html", "/page", "/sends", "/macro"] {
        let reply = client.get(target).await;
        assert_eq!(
            (reply.status, reply.text()),
            (200, "<p>page</p>"),
            "{target}"
        );
        assert_eq!(reply.header("content-length"), Some("11"));
        assert_eq!(
            reply.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(reply.header("accept-ranges"), Some("bytes"));
        assert!(reply.header("last-modified").unwrap().ends_with(" GMT"));
        let etag = reply.header("etag").unwrap();
        assert!(etag.starts_with('"') && etag.ends_with("-b\""), "{etag}");
        assert!(reply.header("date").is_some());
    }
    assert_eq!(client.get("/files/large.bin").await.body, large());
    assert_eq!(client.get("/files/empty.bin").await.body, b"");
    let reply = client.get("/own").await;
    assert_eq!((reply.status, reply.text()), (404, "<p>page</p>"));
    assert_eq!(reply.header("etag"), Some("\"own\""));
    assert_eq!(reply.header("content-type"), Some("text/x-own"));
}

#[tokio::test]
async fn head_of_a_file_is_that_of_get_without_the_body() {
    let mut client = client().await;
    for target in ["/files/large.bin", "/words", "/sized"] {
        client.request("HEAD", target, "").await;
        let head = client.reply_to(true).await;
        let get = client.get(target).await;
        let without_date = |head: &str| {
            head.lines()
                .filter(|line| !line.starts_with("date:"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(without_date(&head.head), without_date(&get.head));
    }
}

#[tokio::test]
async fn a_path_without_a_file_is_not_found_and_none_leads_outside() {
    let mut client = client().await;
    for path in [
        "none",
        "folder",
        "page.html/x",
        "../outside.txt",
        "%2e%2e/outside.txt",
        "a/%2E%2E/%2E%2E/outside.txt",
        "%2Fetc/passwd",
        "folder/../page.html",
    ] {
        let reply = client.get(&format!("/files/{path}")).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.text().contains("outside"), "{path}");
        assert!(
            !reply.text().contains(env!("CARGO_TARGET_TMPDIR")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_answer_in_place_of_a_file_has_none_of_its_fields() {
    let control = start(|server| {
        server
            .route::<Missing>("/missing")
            .route::<Unstored>("/unstored");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/missing").await;
    assert_eq!((reply.status, reply.text()), (404, "404 Not Found\n"));
    for name in [
        "content-encoding",
        "content-disposition",
        "cache-control",
        "etag",
    ] {
        assert_eq!(reply.header(name), None);
    }
    assert_eq!(reply.header("x-own"), Some("stays"));
    let reply = client.get("/unstored").await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_stream_goes_out_in_chunks_and_the_connection_goes_on() {
    let mut client = client().await;
    for _ in 0..2 {
        client.request("GET", "/words", "").await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        assert!(
            head.contains("transfer-encoding: chunked\r\n") && !head.contains("content-length")
        );
        assert!(head.contains("content-type: application/octet-stream\r\n"));
        for word in ["one ", "two ", "three", ""] {
            assert_eq!(client.chunk().await, word.as_bytes());
        }
        let reply = client.get("/sized").await;
        assert_eq!(
            (reply.header("content-length"), reply.text()),
            (Some("7"), "one two")
        );
        assert_eq!(
            client.get("/no-words").await.header("content-length"),
            Some("0")
        );
        client.request("GET", "/no-content", "").await;
        assert_eq!(client.reply().await.status, 204);
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_stream_until_the_close() {
    for (fields, target) in [("", "/words"), ("connection: keep-alive\r\n", "/words")] {
        let mut client = client().await;
        client
            .send(format!("GET {target} HTTP/1.0\r\n{fields}\r\n"))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.header("transfer-encoding"), None);
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(reply.text(), "one two three");
    }
}

#[tokio::test]
async fn a_stream_that_fails_is_cut_and_says_nothing() {
    for target in ["/fails", "/panics", "/too-short", "/too-long"] {
        let mut client = client().await;
        client.request("GET", target, "").await;
        let all = String::from_utf8(client.rest().await).unwrap();
        assert!(
            !all.contains("0\r\n\r\n") && !all.contains("secret") && !all.contains("onetwo"),
            "{target}: {all}"
        );
    }
    let mut client = client().await;
    let reply = client.get("/fails-at-once").await;
    assert_eq!(
        (reply.status, reply.text()),
        (500, "500 Internal Server Error\n")
    );
    assert_eq!(client.get("/words").await.text(), "one two three");
}

#[tokio::test]
async fn a_stream_is_asked_only_as_the_client_takes_it() {
    let mut client = client().await;
    client.request("GET", "/unending", "").await;
    client.until(b"\r\n\r\n").await;
    // The client reads nothing: after a while no piece is asked for.
    let (mut before, mut same) = (0, 0);
    eventually("the stream rests", || {
        let now = ASKED.load(Ordering::SeqCst);
        same = if now == before { same + 1 } else { 0 };
        before = now;
        same > 20
    })
    .await;
    // The system's buffers are full, and little more was asked for.
    assert!(before * 16 * 1024 < 16 << 20, "{before} pieces");
    // The client reads, rests, and reads: nothing gets stuck in between.
    for _ in 0..64 {
        client.exactly(1 << 20).await;
    }
    eventually("the stream goes on", || {
        ASKED.load(Ordering::SeqCst) > before
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_dropped_when_its_client_leaves() {
    let mut client = client().await;
    client.request("GET", "/silent", "").await;
    client.until(b"\r\n\r\n").await;
    assert!(!DROPPED.load(Ordering::SeqCst));
    drop(client);
    eventually("the stream is dropped", || DROPPED.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_body_can_be_sent_back_as_it_comes() {
    let mut client = client().await;
    for (fields, first) in [
        ("transfer-encoding: chunked\r\n", ""),
        (
            "transfer-encoding: chunked\r\nexpect: 100-continue\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ),
    ] {
        client
            .send(format!("POST /echo HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
            .await;
        assert_eq!(client.exactly(first.len()).await, first.as_bytes());
        client.send("3\r\none\r\n").await;
        assert!(client.until(b"\r\n\r\n").await.starts_with(b"HTTP/1.1 200"));
        assert_eq!(client.chunk().await, b"one");
        client.send("3\r\ntwo\r\n").await;
        assert_eq!(client.chunk().await, b"two");
        client.send("0\r\n\r\n").await;
        assert_eq!(client.chunk().await, b"");
    }
    // The body is longer than one that is dropped unread.
    let long = "x".repeat(300_000);
    let reply = client.post("/echo", &long).await;
    assert_eq!(
        (reply.header("connection"), reply.text()),
        (None, long.as_str())
    );
    assert_eq!(client.get("/words").await.text(), "one two three");
}

#[tokio::test]
async fn no_automatic_field_stands_twice_whatever_the_program_sets() {
    for kind in ["bytes", "file", "stream", "sized"] {
        for (method, version, fields) in [
            ("GET", "1.1", ""),
            ("HEAD", "1.1", ""),
            ("GET", "1.1", "connection: close\r\n"),
            ("GET", "1.1", "range: bytes=0-1\r\n"),
            ("GET", "1.1", "if-none-match: *\r\n"),
            ("GET", "1.0", "connection: keep-alive\r\n"),
        ] {
            let mut client = client().await;
            client
                .send(format!(
                    "{method} /automatic/{kind} HTTP/{version}\r\nhost: a\r\n{fields}\r\n"
                ))
                .await;
            let reply = client.reply_to(method == "HEAD").await;
            // There is one of each at most, and one statement about the end of the body.
            for name in AUTOMATIC.iter().chain(&["connection"]) {
                reply.header(name);
            }
            let framings = [
                reply.header("content-length"),
                reply.header("transfer-encoding"),
            ];
            assert!(framings.iter().flatten().count() <= 1, "{}", reply.head);
            assert_ne!(reply.header("content-length"), Some("1"), "{}", reply.head);
        }
    }
}
