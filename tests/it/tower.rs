//! The border to the tower ecosystem: services under a path of ours, and our server inside other stacks.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use axum::{Extension, Json, Router, extract::Path, routing};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, Request as HttpRequest, Response as HttpResponse, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyperlane::{
    __private::{Guard, GuardKind},
    BodyStream, RouteParams,
    prelude::*,
    service::{ClientAddr, HyperlaneService, OriginalUri, PeerAddr},
};
use test_support::{CLOSE, Client, PATIENCE, address, eventually, hook, start};
use tokio::{sync::Notify, time::timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    compression::CompressionLayer, cors::CorsLayer, limit::RequestBodyLimitLayer,
    services::ServeDir,
};

const MIB: usize = 1024 * 1024;

/// Size of one piece of a test's body.
const PIECE: usize = 64 * 1024;

/// A body of pieces that counts the pieces that were asked for.
struct Counted {
    left: usize,
    length: Option<u64>,
    given: Arc<AtomicUsize>,
}

impl Counted {
    fn new(total: usize, given: &Arc<AtomicUsize>) -> Self {
        Self {
            left: total,
            length: None,
            given: given.clone(),
        }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let count = self.left.min(PIECE);
        self.left -= count;
        self.given.fetch_add(count, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(vec![b'x'; count].into()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A body that never yields anything.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

type Answer = HttpResponse<Full<Bytes>>;

fn answer(text: impl Into<String>) -> Answer {
    HttpResponse::new(Full::from(text.into()))
}

/// Answers with the parts of the request.
async fn tell(request: HttpRequest<BodyStream>) -> Result<Answer, Infallible> {
    let original = &request.extensions().get::<OriginalUri>().unwrap().0;
    let client = request.extensions().get::<ClientAddr>().unwrap().0;
    let peer = request.extensions().get::<PeerAddr>().unwrap().0;
    assert!(client.is_loopback() && peer.ip() == client);
    assert_eq!(request.headers()["host"], "localhost");
    Ok(answer(format!(
        "{} {} of {original}",
        request.method(),
        request.uri()
    )))
}

/// Runs every task of this runtime that is ready.
async fn settle() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

hook! {
    Hello |_, ctx| { ctx.get_mut_response().set_body("hello"); }
    Before |_, ctx| { ctx.get_mut_response().set_header("x-before", "ours").set_header("vary", "a").set_header("x-both", "ours"); }
    After |_, ctx| { ctx.get_mut_response().set_header("x-after", "ours"); }
}

// -------------------------------------------------------------------- services under a path

#[tokio::test]
async fn a_mount_takes_its_prefix_and_what_is_below() {
    let control = start(|server| {
        server
            .mount("/static", service_fn(tell))
            .mount("/deep/{id}/er/", service_fn(tell))
            .route::<Hello>("/static/own");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for (target, text) in [
        ("/static", "GET / of /static"),
        ("/static/", "GET / of /static/"),
        ("/static?a=b/c", "GET /?a=b/c of /static?a=b/c"),
        ("/static/a/b?c=d", "GET /a/b?c=d of /static/a/b?c=d"),
        ("/static/a%2Fb/", "GET /a%2Fb/ of /static/a%2Fb/"),
        ("/%73tatic/%20", "GET /%20 of /%73tatic/%20"),
        ("/static//x", "GET //x of /static//x"),
        ("/deep/7/er/x", "GET /x of /deep/7/er/x"),
        ("/static/own", "hello"),
    ] {
        let reply = client.get(target).await;
        assert_eq!((reply.status, reply.text()), (200, text));
    }
    for target in ["/staticfoo", "/stati", "/", "/deep/7"] {
        assert_eq!(client.get(target).await.status, 404, "{target}");
    }
    for method in ["POST", "DELETE", "OPTIONS", "BREW"] {
        client
            .request(method, "/static/x", "content-length: 0\r\n")
            .await;
        assert_eq!(
            client.reply().await.text(),
            format!("{method} /x of /static/x")
        );
    }
    control.shutdown().await;
}

#[test]
fn a_mount_is_listed_once_under_a_short_name() {
    let mut server = Server::new();
    server
        .mount("/files/", ServeDir::new("."))
        .mount("/", ServiceBuilder::new().service(ServeDir::new(".")));
    let shown = server.routes().unwrap();
    let shown: Vec<_> = shown
        .iter()
        .map(|route| (route.pattern.as_str(), route.hooks.as_slice()))
        .collect();
    assert_eq!(
        shown,
        [
            ("/files/{*rest}", ["ServeDir"].as_slice()),
            ("/{*rest}", &["ServeDir"]),
        ]
    );
    assert_eq!(server.get_route_matcher().get_dynamic_route().len(), 2);
}

#[tokio::test]
async fn a_service_that_names_no_type_is_given_none() {
    let control = start(|server| {
        server.mount(
            "/",
            service_fn(async |request: HttpRequest<BodyStream>| {
                let body = match request.uri().path() {
                    "/known" => axum::body::Body::from("known"),
                    _ => axum::body::Body::from_stream(futures_util::stream::iter([Ok::<
                        _,
                        Infallible,
                    >(
                        "piece"
                    )])),
                };
                Ok::<_, Infallible>(http::Response::new(body))
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for (target, text) in [("/known", "known"), ("/", "piece")] {
        client.request("HEAD", target, "").await;
        let head = client.reply_to(true).await;
        assert_eq!((head.status, head.header("content-type")), (200, None));
        let reply = client.get(target).await;
        assert_eq!((reply.status, reply.text()), (200, text));
        assert_eq!(reply.header("content-type"), None, "{target}");
    }
    control.shutdown().await;
}

#[tokio::test]
async fn the_parameters_of_a_prefix_are_an_extension() {
    let control = start(|server| {
        server.mount(
            "/{tenant}/files",
            service_fn(|request: HttpRequest<BodyStream>| async move {
                let params = request.extensions().get::<RouteParams>().unwrap();
                let tenant = params.get("tenant").unwrap();
                Ok::<_, Infallible>(answer(format!("{} of {tenant}", request.uri())))
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for (target, text) in [("/a%20b/files", "/ of a b"), ("/c/files/x/y", "/x/y of c")] {
        assert_eq!(client.get(target).await.text(), text);
    }
}

#[tokio::test]
async fn a_mount_at_the_root_leaves_routes_alone() {
    let control = start(|server| {
        server.mount("/", service_fn(tell)).route::<Hello>("/hello");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/").await.text(), "GET / of /");
    assert_eq!(client.get("/a/b").await.text(), "GET /a/b of /a/b");
    assert_eq!(client.get("/hello").await.text(), "hello");
}

#[tokio::test]
async fn two_mounts_of_one_path_are_refused() {
    let mut server = Server::new();
    server.bind("127.0.0.1:0");
    server
        .mount("/a", service_fn(tell))
        .mount("/a/", service_fn(tell));
    assert!(matches!(
        server.run().await,
        Err(ServerError::Ambiguous { .. })
    ));
}

#[tokio::test]
async fn head_passes_as_head_and_keeps_the_length() {
    let router = Router::new()
        .route("/plain", routing::get(|| async { "12345" }))
        .route(
            "/stream",
            routing::get(|| async { axum::body::Body::new(Counted::new(10, &Arc::default())) }),
        );
    let control = start(|server| {
        server.mount("/api", router).mount(
            "/tell",
            service_fn(|request: HttpRequest<BodyStream>| async move {
                assert_eq!(request.method(), "HEAD");
                tell(request).await
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for (target, length) in [
        ("/api/plain", Some("5")),
        ("/api/stream", None),
        ("/tell", Some("15")),
    ] {
        client.request("HEAD", target, "").await;
        let reply = client.reply_to(true).await;
        assert_eq!(
            (reply.status, reply.header("content-length")),
            (200, length),
            "{target}"
        );
    }
    // No byte of a body has come in between.
    assert_eq!(client.get("/api/plain").await.text(), "12345");
}

#[tokio::test]
async fn a_fallback_takes_what_no_route_takes() {
    struct Own;
    impl ServerHook for Own {
        const GUARDS: &'static [Guard] = &[Guard {
            kind: GuardKind::Method(&["GET"]),
            check: |_| true,
        }];
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }
        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            ctx.get_mut_response().set_body("own");
            Status::Continue
        }
    }
    let control = start(|server| {
        server.route::<Own>("/own").response_middleware::<After>();
        server.fallback_service(service_fn(|_: HttpRequest<BodyStream>| async {
            Ok::<_, Infallible>(answer("never: a later one was given"))
        }));
        server.fallback_service(service_fn(tell));
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/own").await.text(), "own");
    assert_eq!(client.post("/own", "").await.status, 405);
    let reply = client.get("/else?x=1").await;
    assert_eq!(reply.text(), "GET /else?x=1 of /else?x=1");
    assert_eq!(reply.header("x-after"), Some("ours"));
    client.request("OPTIONS", "*", "").await;
    assert_eq!(client.reply().await.text(), "OPTIONS * of *");
}

#[tokio::test]
async fn an_axum_application_works_under_a_path() {
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Item {
        name: String,
        count: u32,
    }
    let router = Router::new()
        .route(
            "/items/{id}",
            routing::get(|Path(id): Path<u32>| async move { format!("item {id}") }),
        )
        .route(
            "/items",
            routing::post(|Json(mut item): Json<Item>| async move {
                item.count += 1;
                (StatusCode::CREATED, [("location", "/items/1")], Json(item))
            }),
        )
        .route(
            "/peer",
            routing::get(
                |Extension(peer): Extension<PeerAddr>| async move { peer.0.ip().to_string() },
            ),
        );
    let control = start(|server| {
        server
            .request_middleware::<Before>()
            .response_middleware::<After>()
            .mount("/api", router);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/api/items/7").await.text(), "item 7");
    assert_eq!(client.get("/api/peer").await.text(), "127.0.0.1");
    client
        .send("POST /api/items HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
               8\r\n{\"name\":\r\n10\r\n\"axle\",\"count\":1\r\n1\r\n}\r\n0\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.text()),
        (201, r#"{"name":"axle","count":2}"#)
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("location"), Some("/items/1"));
    assert_eq!(reply.header("x-before"), Some("ours"));
    assert_eq!(reply.header("x-after"), Some("ours"));
    // Axum answers mistakes of the client.
    assert_eq!(client.get("/api/items/seven").await.status, 400);
    assert_eq!(client.get("/api/nothing").await.status, 404);
    client.request("DELETE", "/api/items/7", "").await;
    assert_eq!(client.reply().await.status, 405);
}

#[tokio::test]
async fn automatic_fields_stand_once_whatever_the_service_sets() {
    let control = start(|server| {
        server.request_middleware::<Before>().mount(
            "/",
            service_fn(|_: HttpRequest<BodyStream>| async {
                let mut response = answer("hello");
                let headers = response.headers_mut();
                for (name, value) in [
                    ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
                    ("transfer-encoding", "chunked"),
                    ("connection", "x-own"),
                    ("x-own", "of the connection"),
                    ("keep-alive", "timeout=5"),
                    ("trailer", "x-sum"),
                    ("upgrade", "h2c"),
                    ("x-both", "theirs"),
                    ("vary", "b"),
                    ("set-cookie", "a=1"),
                    ("set-cookie", "b=2"),
                ] {
                    headers.append(name, value.parse().unwrap());
                }
                Ok::<_, Infallible>(response)
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for _ in 0..2 {
        let reply = client.get("/").await;
        assert_eq!(reply.text(), "hello");
        assert_eq!(reply.header("content-length"), Some("5"));
        assert_eq!(reply.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(reply.header("x-both"), Some("theirs"));
        assert_eq!(reply.all("vary"), ["a", "b"]);
        assert_eq!(reply.all("set-cookie"), ["a=1", "b=2"]);
        for name in [
            "transfer-encoding",
            "connection",
            "x-own",
            "keep-alive",
            "trailer",
            "upgrade",
        ] {
            assert!(reply.all(name).is_empty(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_status_without_a_body_has_none_and_no_type_of_one() {
    let control = start(|server| {
        server.mount(
            "/",
            service_fn(|request: HttpRequest<BodyStream>| async move {
                let mut response = HttpResponse::new(Counted::new(PIECE, &Arc::default()));
                *response.status_mut() = request.uri().path()[1..].parse().unwrap();
                Ok::<_, Infallible>(response)
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for (status, length) in [("204", None), ("205", Some("0")), ("304", None)] {
        client.request("GET", &format!("/{status}"), "").await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        // A cache would take it for the type of what it has stored (RFC 9111 §3.2).
        assert!(!head.contains("content-type"), "{head}");
        let found = head.split_once("content-length: ");
        assert_eq!(found.map(|(_, rest)| &rest[..1]), length, "{head}");
    }
    assert_eq!(client.get("/200").await.body.len(), PIECE);
}

#[tokio::test]
async fn a_service_can_end_the_connection() {
    let control = start(|server| {
        server.mount(
            "/",
            service_fn(|_: HttpRequest<BodyStream>| async {
                let mut response = answer("bye");
                response
                    .headers_mut()
                    .insert("connection", "close".parse().unwrap());
                Ok::<_, Infallible>(response)
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/").await.header("connection"), Some("close"));
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_body_that_breaks_its_promise_cuts_the_connection() {
    let control = start(|server| {
        server.mount(
            "/",
            service_fn(|request: HttpRequest<BodyStream>| async move {
                let (stated, given) = match request.uri().path() {
                    "/short" => (PIECE + 1, PIECE),
                    "/long" => (PIECE - 1, PIECE),
                    "/empty" => (1, 0),
                    _ => (0, PIECE),
                };
                let mut response = HttpResponse::new(Counted::new(given, &Arc::default()));
                response
                    .headers_mut()
                    .insert("content-length", stated.into());
                Ok::<_, Infallible>(response)
            }),
        );
    })
    .await;
    for target in ["/short", "/long", "/empty"] {
        let mut client = Client::connect(address(&control)).await;
        client.request("GET", target, "").await;
        let length: usize = {
            let head = client.until(b"\r\n\r\n").await;
            let head = String::from_utf8(head).unwrap();
            let (_, length) = head.split_once("content-length: ").unwrap();
            length.split("\r\n").next().unwrap().parse().unwrap()
        };
        let body = client.rest().await;
        assert!(
            body.len() < length,
            "{target}: the client sees that it was cut"
        );
    }
    let mut client = Client::connect(address(&control)).await;
    assert!(client.get("/none").await.body.is_empty());
    assert!(
        client.get("/none").await.body.is_empty(),
        "no byte went beyond the length"
    );
}

/// A body that panics in an unexpected place.
enum Panicking {
    Asked,
    ErrorRead,
    Dropped,
}

#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("an error that cannot be read");
    }
}

impl std::error::Error for Unspeakable {}

impl http_body::Body for Panicking {
    type Data = Bytes;
    type Error = Unspeakable;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unspeakable>>> {
        match *self {
            Self::Asked => panic!("a body that cannot be asked"),
            Self::ErrorRead => Poll::Ready(Some(Err(Unspeakable))),
            Self::Dropped => Poll::Ready(None),
        }
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        assert!(
            !matches!(self, Self::Dropped),
            "a body that cannot be dropped"
        );
    }
}

#[tokio::test]
async fn a_body_that_panics_is_answered_for_wherever_it_does() {
    let control = start(|server| {
        server.mount(
            "/",
            service_fn(|request: HttpRequest<BodyStream>| async move {
                Ok::<_, Infallible>(HttpResponse::new(match request.uri().path() {
                    "/asked" => Panicking::Asked,
                    "/error" => Panicking::ErrorRead,
                    _ => Panicking::Dropped,
                }))
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for target in ["/asked", "/error"] {
        let reply = client.get(target).await;
        assert_eq!(
            (reply.status, reply.text()),
            (500, "500 Internal Server Error\n"),
            "{target}"
        );
    }
    // Its answer was whole by then.
    let reply = client.get("/dropped").await;
    assert_eq!((reply.status, reply.text()), (200, ""));
    client.request("HEAD", "/dropped", "").await;
    let head = client.until(b"\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(client.get("/error").await.status, 500);
}

#[tokio::test]
async fn a_failing_service_is_answered_for_without_internals() {
    let control = start(|server| {
        server
            .mount(
                "/error",
                service_fn(|_: HttpRequest<BodyStream>| async {
                    Err::<Answer, _>(io::Error::other("secret"))
                }),
            )
            .mount(
                "/panic",
                service_fn(|request: HttpRequest<BodyStream>| async move {
                    assert!(request.uri().path() == "/", "secret");
                    Ok::<_, Infallible>(answer("calm"))
                }),
            )
            .mount(
                "/body",
                service_fn(|_: HttpRequest<BodyStream>| async {
                    struct Bad;
                    impl http_body::Body for Bad {
                        type Data = Bytes;
                        type Error = io::Error;
                        fn poll_frame(
                            self: Pin<&mut Self>,
                            _: &mut TaskContext<'_>,
                        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
                            Poll::Ready(Some(Err(io::Error::other("secret"))))
                        }
                    }
                    let response = HttpResponse::builder()
                        .header("content-encoding", "gzip")
                        .header("content-length", "7")
                        .header("cache-control", "public, max-age=31536000")
                        .header("etag", "\"v1\"")
                        .header("vary", "origin");
                    Ok::<_, Infallible>(response.body(Bad).unwrap())
                }),
            )
            .response_middleware::<After>();
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for target in ["/error", "/panic/x", "/body"] {
        let reply = client.get(target).await;
        assert_eq!(reply.status, 500, "{target}");
        assert!(!reply.text().contains("secret"));
        // The fields that the service set are not true of this body.
        for name in ["content-encoding", "cache-control", "etag"] {
            assert_eq!(reply.header(name), None, "{target}");
        }
        assert_eq!(reply.text(), "500 Internal Server Error\n", "{target}");
    }
    assert_eq!(client.get("/body").await.header("vary"), Some("origin"));
    assert_eq!(client.get("/panic").await.text(), "calm");
}

#[tokio::test]
async fn a_service_is_called_when_it_is_ready() {
    #[derive(Clone)]
    struct Slow {
        gate: Arc<(AtomicBool, Notify)>,
        ready: bool,
    }
    impl Service<HttpRequest<BodyStream>> for Slow {
        type Response = Answer;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Answer, Infallible>>;
        fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
            if !self.gate.0.load(Ordering::Acquire) {
                self.gate.1.notify_one();
                // The future is polled again until the gate is open.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.ready = true;
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: HttpRequest<BodyStream>) -> Self::Future {
            assert!(
                std::mem::take(&mut self.ready),
                "called before it was ready"
            );
            std::future::ready(Ok(answer("ready")))
        }
    }
    let gate = Arc::new((AtomicBool::new(false), Notify::new()));
    let service = Slow {
        gate: gate.clone(),
        ready: false,
    };
    let control = start(|server| {
        server.mount("/", service);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/", "").await;
    timeout(PATIENCE, gate.1.notified())
        .await
        .expect("it is asked");
    gate.0.store(true, Ordering::Release);
    assert_eq!(client.reply().await.text(), "ready");
}

#[tokio::test]
async fn a_mounted_service_cannot_switch_protocols() {
    let control = start(|server| {
        server.mount(
            "/",
            service_fn(|request: HttpRequest<BodyStream>| async move {
                assert_eq!(request.headers()["upgrade"], "websocket");
                let mut response = answer("");
                *response.status_mut() = match request.uri().path() {
                    "/hints" => StatusCode::EARLY_HINTS,
                    "/required" => StatusCode::UPGRADE_REQUIRED,
                    _ => StatusCode::SWITCHING_PROTOCOLS,
                };
                response
                    .headers_mut()
                    .insert("upgrade", "websocket".parse().unwrap());
                Ok::<_, Infallible>(response)
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.upgrade("/", "").await.status, 501);
    assert_eq!(client.upgrade("/hints", "").await.status, 500);
    let reply = client.upgrade("/required", "").await;
    assert_eq!(
        (reply.status, reply.header("upgrade")),
        (426, Some("websocket"))
    );
}

#[tokio::test]
async fn files_are_served_with_ranges_and_conditions() {
    let folder = std::env::temp_dir().join(format!("hyperlane-tower-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("digits.txt"), "0123456789").unwrap();
    std::fs::write(folder.join("sub/index.html"), "<p>index").unwrap();
    let control = start(|server| {
        server.mount("/static", ServeDir::new(&folder));
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    let whole = client.get("/static/digits.txt").await;
    assert_eq!((whole.status, whole.text()), (200, "0123456789"));
    assert_eq!(whole.header("content-length"), Some("10"));
    assert_eq!(whole.header("content-type"), Some("text/plain"));
    let modified = whole.header("last-modified").expect("a time").to_owned();
    client
        .request("GET", "/static/digits.txt", "range: bytes=2-4\r\n")
        .await;
    let part = client.reply().await;
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    client
        .request("GET", "/static/digits.txt", "range: bytes=20-\r\n")
        .await;
    assert_eq!(client.reply().await.status, 416);
    client
        .request(
            "GET",
            "/static/digits.txt",
            &format!("if-modified-since: {modified}\r\n"),
        )
        .await;
    assert_eq!(client.reply().await.status, 304);
    client.request("HEAD", "/static/digits.txt", "").await;
    let head = client.reply_to(true).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("10"))
    );
    assert_eq!(client.get("/static/sub/").await.text(), "<p>index");
    let to_folder = client.get("/static/sub").await;
    assert_eq!(to_folder.status, 307);
    for target in [
        "/static/none",
        "/static/..%2Fetc",
        "/static/%2e%2e/%2e%2e/etc/passwd",
    ] {
        assert_eq!(client.get(target).await.status, 404, "{target}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn layers_work_around_a_mounted_service() {
    let text = "all work and no play ".repeat(200);
    let body = text.clone();
    let router = Router::new().route("/text", routing::get(move || async move { body }));
    let stack = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(CompressionLayer::new())
        .service(router);
    let control = start(|server| {
        server.mount("/api", stack);
    })
    .await;
    check_layers(
        &mut Client::connect(address(&control)).await,
        "/api/text",
        &text,
    )
    .await;
}

/// Checks CORS and compression, on either side of the border.
async fn check_layers(client: &mut Client, target: &str, text: &str) {
    client
        .request(
            "OPTIONS",
            target,
            "origin: https://example.org\r\naccess-control-request-method: GET\r\n",
        )
        .await;
    let preflight = client.reply().await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("*"));
    client
        .request(
            "GET",
            target,
            "origin: https://example.org\r\naccept-encoding: gzip\r\n",
        )
        .await;
    let packed = client.reply().await;
    assert_eq!(packed.header("access-control-allow-origin"), Some("*"));
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("content-length"), None);
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < text.len() / 4);
    assert_eq!(client.get(target).await.text(), text);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_body_of_a_service() {
    const TOTAL: usize = 64 * MIB;
    let given = Arc::new(AtomicUsize::new(0));
    let count = given.clone();
    let control = start(|server| {
        server.route::<Hello>("/hello").mount(
            "/large",
            service_fn(move |_: HttpRequest<BodyStream>| {
                let body = Counted::new(TOTAL, &count);
                async move { Ok::<_, Infallible>(HttpResponse::new(body)) }
            }),
        );
    })
    .await;
    let mut slow = Client::connect(address(&control)).await;
    slow.request("GET", "/large", "").await;
    let head = slow.until(b"\r\n\r\n").await;
    assert!(
        String::from_utf8(head)
            .unwrap()
            .contains("transfer-encoding: chunked")
    );
    let mut other = Client::connect(address(&control)).await;
    for _ in 0..300 {
        other.get("/hello").await;
    }
    // The system's buffers are full, and little more was asked for.
    assert!(given.load(Ordering::Relaxed) < TOTAL / 2);
    let mut received = 0;
    loop {
        let chunk = slow.chunk().await;
        if chunk.is_empty() {
            break;
        }
        received += chunk.len();
    }
    assert_eq!((received, given.load(Ordering::Relaxed)), (TOTAL, TOTAL));
}

#[tokio::test]
async fn a_service_that_does_not_read_stops_the_client() {
    const TOTAL: usize = 64 * MIB;
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let control = start(|server| {
        server.route::<Hello>("/hello").mount(
            "/sink",
            service_fn(move |request: HttpRequest<BodyStream>| {
                let released = released.clone();
                async move {
                    let mut body = request.into_body();
                    assert_eq!(
                        http_body::Body::size_hint(&body).exact(),
                        Some(TOTAL as u64)
                    );
                    released.notified().await;
                    let mut count = 0;
                    while let Some(frame) = body.frame().await {
                        count += frame.unwrap().into_data().unwrap().len();
                    }
                    Ok::<_, Infallible>(answer(count.to_string()))
                }
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send(format!(
            "POST /sink HTTP/1.1\r\nhost: localhost\r\ncontent-length: {TOTAL}\r\n\r\n"
        ))
        .await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let sender = tokio::spawn(async move {
        let piece = vec![b'x'; PIECE];
        for _ in 0..TOTAL / PIECE {
            client.send(&piece).await;
            counter.fetch_add(PIECE, Ordering::Relaxed);
        }
        client
    });
    let mut other = Client::connect(address(&control)).await;
    for _ in 0..300 {
        other.get("/hello").await;
    }
    assert!(sent.load(Ordering::Relaxed) < TOTAL / 2);
    release.notify_one();
    let mut client = timeout(PATIENCE, sender).await.unwrap().unwrap();
    assert_eq!(client.reply().await.text(), TOTAL.to_string());
}

#[tokio::test]
async fn a_service_can_send_the_body_of_the_request_back() {
    let control = start(|server| {
        server.mount(
            "/echo",
            service_fn(|request: HttpRequest<BodyStream>| async move {
                Ok::<_, Infallible>(HttpResponse::new(request.into_body()))
            }),
        );
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client
        .request(
            "POST",
            "/echo",
            "transfer-encoding: chunked\r\nexpect: 100-continue\r\n",
        )
        .await;
    assert_eq!(client.reply().await.status, 100);
    client.send("3\r\nabc\r\n").await;
    client.until(b"\r\n\r\n").await;
    // The answer comes before the end of the request.
    assert_eq!(client.chunk().await, b"abc");
    client.send("3\r\ndef\r\n0\r\n\r\n").await;
    assert_eq!(client.chunk().await, b"def");
    assert_eq!(client.chunk().await, b"");
    assert_eq!(client.post("/echo", "again").await.text(), "again");
}

#[tokio::test]
async fn a_body_that_a_service_drops_half_read_lets_the_connection_go_on_only_if_its_answer_says_so()
 {
    let control = start(|server| {
        server.mount(
            "/half",
            service_fn(|request: HttpRequest<BodyStream>| async move {
                let streams = request.uri().query() == Some("streams");
                let mut body = request.into_body();
                body.next_chunk().await.unwrap();
                drop(body);
                let pieces = ["one", "two"].map(Ok::<_, Infallible>);
                Ok::<_, Infallible>(HttpResponse::new(match streams {
                    true => axum::body::Body::from_stream(futures_util::stream::iter(pieces)),
                    false => axum::body::Body::from("half"),
                }))
            }),
        );
        server.mount(
            "/unread",
            service_fn(|_| async { Ok::<_, Infallible>(HttpResponse::new("unread".to_owned())) }),
        );
        server.mount(
            "/read",
            service_fn(|request: HttpRequest<BodyStream>| async move {
                let mut body = request.into_body();
                let whole = body.read_to_end(MIB).await.unwrap();
                Ok::<_, Infallible>(HttpResponse::new(whole.len().to_string()))
            }),
        );
    })
    .await;
    let next = "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nnext";
    for target in ["/half", "/half?streams", "/unread", "/read"] {
        for size in [1, 1000, 60_000, 80_000, 300_000] {
            let mut client = Client::connect(address(&control)).await;
            let body = "x".repeat(size);
            client
                .send(format!(
                    "POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n{body}{next}"
                ))
                .await;
            let reply = client.reply().await;
            assert_eq!(reply.status, 200, "{target} {size}: {}", reply.head);
            match reply.header("connection") {
                Some("close") => {
                    assert!(size > 65_536 && target != "/read", "{target} {size}");
                    assert!(client.ends().await, "{target} {size}");
                }
                _ => {
                    assert!(size <= 65_536 || target != "/unread", "{target} {size}");
                    assert_eq!(client.reply().await.text(), "4", "{target} {size}");
                }
            }
        }
    }
}

// -------------------------------------------------------------------- a server inside another stack

/// The shared place of hooks and tests.
#[derive(Default)]
struct Probe {
    go_on: Notify,
    left: Notify,
    given: Arc<AtomicUsize>,
}

struct Pieces(Counted);

impl futures_util::Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        http_body::Body::poll_frame(Pin::new(&mut self.0), cx)
            .map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
    }
}

hook! {
    @Stream Sink |_, ctx| {
        if ctx.get_request().has_query("wait") {
            ctx.state::<Arc<Probe>>().go_on.notified().await;
        }
        let mut body = ctx.body_stream();
        let mut count = 0;
        while let Ok(Some(piece)) = body.next_chunk().await {
            count += piece.len();
        }
        ctx.get_mut_response().set_body(count.to_string());
    }
}

hook! {
    Echo |_, ctx| {
        let body = ctx.get_request().get_body().to_vec();
        ctx.get_mut_response().set_body(body);
    }
    Tell |_, ctx| {
        let request = ctx.get_request();
        let text = format!("{} {} {} {:?}", request.get_method(), request.get_target(), request.get_host(), ctx.peer_addr());
        ctx.get_mut_response().set_body(text);
    }
    Large |_, ctx| {
        let given = ctx.state::<Arc<Probe>>().given.clone();
        ctx.get_mut_response().set_body(Body::stream(Pieces(Counted::new(16 * MIB, &given))));
    }
    Events |stream, ctx| {
        let probe = ctx.state::<Arc<Probe>>();
        let events = ctx.event_stream(stream).await.unwrap();
        // For HEAD there is nothing more to send.
        let Ok(()) = events.send("first").await else { return Status::Continue };
        probe.go_on.notified().await;
        events.send("second").await.unwrap();
    }
    Raw |stream, ctx| {
        let probe = ctx.state::<Arc<Probe>>();
        stream.try_send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").await.unwrap();
        stream.try_flush().await.unwrap();
        probe.go_on.notified().await;
        stream.try_send("data: 2\n\n").await.unwrap();
    }
    Broken |stream, _| {
        stream.try_send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        stream.try_flush().await.unwrap();
        assert!(stream.get_closed(), "in the middle");
    }
    AndThen |stream, ctx| {
        let probe = ctx.state::<Arc<Probe>>();
        stream.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        tokio::select! {
            () = stream.disconnected() => panic!("a whole answer is no loss"),
            () = probe.go_on.notified() => probe.left.notify_one(),
        }
    }
    Waits |stream, ctx| {
        let probe = ctx.state::<Arc<Probe>>();
        probe.go_on.notify_one();
        stream.disconnected().await;
        probe.left.notify_one();
    }
    EventsUntilGone |stream, ctx| {
        let probe = ctx.state::<Arc<Probe>>();
        let events = ctx.event_stream(stream).await.unwrap();
        events.send("first").await.unwrap();
        stream.disconnected().await;
        probe.left.notify_one();
    }
    Socket |stream, ctx| {
        let socket = ctx.upgrade(stream).await.unwrap();
        socket.send("welcome").await.unwrap();
        while let Ok(message) = stream.try_get_websocket_request().await {
            let text = message.to_string_lossy().into_owned();
            socket.send(&*text).await.unwrap();
        }
    }
    Sign |_, ctx| { ctx.get_mut_response().set_header("x-from", "hyperlane"); }
}

fn routes(server: &mut Server) {
    server
        .response_middleware::<Sign>()
        .route::<Hello>("/hello")
        .route::<Echo>("/echo")
        .route::<Tell>("/tell")
        .route::<Sink>("/sink")
        .route::<Large>("/large")
        .route::<Events>("/events")
        .route::<Raw>("/raw")
        .route::<Broken>("/broken")
        .route::<AndThen>("/and-then")
        .route::<Waits>("/waits")
        .route::<EventsUntilGone>("/until-gone")
        .route::<Socket>("/ws");
}

/// A server that is a service, and what its hooks share with the test.
fn guest(configure: impl FnOnce(&mut Server)) -> (HyperlaneService, Arc<Probe>) {
    let probe = Arc::<Probe>::default();
    let mut server = Server::new();
    server.state(probe.clone());
    routes(&mut server);
    configure(&mut server);
    (server.into_service().expect("the server is sound"), probe)
}

/// An axum server on a port of its own; ends with the runtime.
async fn outside(router: Router) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::connect(address).await
}

fn get(target: &str) -> HttpRequest<Empty<Bytes>> {
    HttpRequest::get(target).body(Empty::new()).unwrap()
}

async fn text<B>(response: HttpResponse<B>) -> String
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Returns the next piece of a body.
async fn piece<B>(body: &mut B) -> Option<String>
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let frame = timeout(PATIENCE, body.frame()).await.expect("in time")?;
    let data = frame.unwrap().into_data().unwrap();
    Some(String::from_utf8(data.to_vec()).unwrap())
}

#[tokio::test]
async fn a_server_serves_inside_an_axum_server() {
    let (service, _) = guest(|_| {});
    let router = Router::new()
        .route("/axum", routing::get(|| async { "axum" }))
        .fallback_service(service);
    let mut client = outside(router).await;
    assert_eq!(client.get("/axum").await.text(), "axum");
    let reply = client.get("/hello").await;
    assert_eq!(reply.text(), "hello");
    assert_eq!(reply.header("content-length"), Some("5"));
    assert_eq!(reply.all("date").len(), 1);
    assert!(
        reply.all("connection").is_empty(),
        "the outer connection goes on"
    );
    assert_eq!(
        client.get("/tell?a=b").await.text(),
        "GET /tell?a=b localhost None"
    );
    assert_eq!(
        client.post("/echo", "to and fro").await.text(),
        "to and fro"
    );
    client
        .request("POST", "/echo", "transfer-encoding: chunked\r\n")
        .await;
    client.send("3\r\nto \r\n3\r\nand\r\n0\r\n\r\n").await;
    assert_eq!(client.reply().await.text(), "to and");
    client.request("HEAD", "/hello", "").await;
    let head = client.reply_to(true).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("5"))
    );
    let lost = client.get("/nowhere").await;
    assert_eq!(
        (lost.status, lost.header("x-from")),
        (404, Some("hyperlane"))
    );
    assert_eq!(client.get("/hello").await.text(), "hello");
}

#[tokio::test]
async fn an_event_arrives_before_the_handler_ends() {
    let (service, probe) = guest(|_| {});
    let mut client = outside(Router::new().fallback_service(service)).await;
    client.request("GET", "/events", "").await;
    let head = client.until(b"\r\n\r\n").await;
    assert!(
        String::from_utf8(head)
            .unwrap()
            .contains("text/event-stream")
    );
    client.until(b"data: first\n\n").await;
    probe.go_on.notify_one();
    client.until(b"data: second\n\n").await;
    client.until(b"0\r\n\r\n").await;
    client.request("GET", "/raw", "").await;
    client.until(b"data: 1\n\n").await;
    probe.go_on.notify_one();
    client.until(b"data: 2\n\n").await;
    client.until(b"0\r\n\r\n").await;
    assert_eq!(client.get("/hello").await.text(), "hello");
}

#[tokio::test]
async fn a_websocket_works_inside_an_axum_server() {
    let (service, _) = guest(|_| {});
    let handle = service.clone();
    let mut client = outside(Router::new().nest_service("/inner", service)).await;
    let reply = client.upgrade("/inner/ws", "").await;
    assert_eq!(reply.status, 101, "{}", reply.head);
    assert_eq!(
        reply.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(client.next_message().await.text(), "welcome");
    for text in ["one", "two", &"three".repeat(50_000)] {
        client.say(text).await;
        assert_eq!(client.next_message().await.text(), text);
    }
    assert_eq!(handle.connections(), 1);
    client.close().await;
    eventually("the connection ends", || handle.connections() == 0).await;
}

/// Accepts a handshake by its guard, and refuses it afterwards.
struct Refuses;

impl ServerHook for Refuses {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[is_ws_upgrade_type]
    #[request_query("name" => name)]
    #[response_body(name)]
    #[send]
    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        Status::Continue
    }
}

#[tokio::test]
async fn a_handshake_inside_an_axum_server_is_answered_when_its_handler_has_decided() {
    let (service, _) = guest(|server| {
        server.route::<Refuses>("/refuses");
    });
    let mut client = outside(Router::new().fallback_service(service)).await;
    let reply = client.upgrade("/refuses", "").await;
    assert_eq!(
        (reply.status, reply.header("x-from")),
        (400, Some("hyperlane"))
    );
    assert_eq!(client.get("/hello").await.text(), "hello");
    let reply = client.upgrade("/refuses?name=me", "").await;
    assert_eq!((reply.status, reply.header("x-from")), (101, None));
    assert_eq!(client.next_message().await.text(), "me");
}

#[tokio::test]
async fn a_websocket_ends_when_its_client_goes_or_the_server_does() {
    let (service, _) = guest(|_| {});
    let handle = service.clone();
    let router = Router::new().fallback_service(service);
    let mut client = outside(router.clone()).await;
    assert_eq!(client.upgrade("/ws", "").await.status, 101);
    drop(client);
    eventually("the connection ends", || handle.connections() == 0).await;
    let mut client = outside(router).await;
    assert_eq!(client.upgrade("/ws", "").await.status, 101);
    let ending = tokio::spawn(async move {
        handle.shutdown().await;
        handle
    });
    assert_eq!(client.next_message().await.text(), "welcome");
    assert_eq!(client.next_message().await.code(), 1001);
    client.frame(CLOSE, 1001u16.to_be_bytes()).await;
    assert!(client.ends().await);
    let handle = timeout(PATIENCE, ending).await.unwrap().unwrap();
    let refused = handle.oneshot(get("/hello")).await.unwrap();
    assert_eq!(refused.status(), 503);
}

#[tokio::test]
async fn a_handshake_without_a_connection_to_hand_over_is_refused() {
    let (service, _) = guest(|_| {});
    let handshake = |version| {
        HttpRequest::get("/ws")
            .version(version)
            .header("upgrade", "websocket")
            .header("connection", "Upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let request = handshake(Version::HTTP_11);
    let response = service.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 501);
    // An ordinary request to such a route gets the answer that it gets everywhere.
    let ordinary = service.clone().oneshot(get("/ws")).await.unwrap();
    assert!(ordinary.status().is_client_error() || ordinary.status().is_server_error());
    // HTTP/1.0 has no upgrade, so that nothing is wrong with the stack.
    let request = handshake(Version::HTTP_10);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), ordinary.status());
}

#[tokio::test]
async fn answers_to_http_2_have_no_fields_of_a_connection() {
    hook! {
        Upgrade |_, ctx| {
            ctx.get_mut_response()
                .set_status_code(426)
                .set_header("upgrade", "websocket")
                .set_header("connection", "upgrade");
        }
    }

    let (service, _) = guest(|server| {
        server.route::<Upgrade>("/upgrade");
    });
    for (version, has) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
        let mut request = get("/upgrade");
        *request.version_mut() = version;
        let response = service.clone().oneshot(request).await.unwrap();
        for name in ["connection", "upgrade"] {
            let fields = response.headers();
            assert_eq!(fields.contains_key(name), has, "{version:?} {name}");
        }
    }
}

#[tokio::test]
async fn hooks_see_what_layers_have_put_into_the_extensions() {
    #[derive(Clone)]
    struct User(&'static str);

    hook! {
        Me |_, ctx| {
            let user = ctx.extension::<User>().map_or("nobody", |User(name)| name);
            ctx.get_mut_response().set_body(user);
        }
    }

    let (service, _) = guest(|server| {
        server.route::<Me>("/me");
    });
    let response = service.clone().oneshot(get("/me")).await.unwrap();
    assert_eq!(text(response).await, "nobody");
    let mut client = outside(
        Router::new()
            .fallback_service(service)
            .layer(Extension(User("ann"))),
    )
    .await;
    for _ in 0..2 {
        assert_eq!(client.get("/me").await.text(), "ann");
    }
    let control = start(|server| {
        server.route::<Me>("/me");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/me").await.text(), "nobody");
}

#[tokio::test]
async fn layers_work_around_a_whole_server() {
    struct Text;
    impl ServerHook for Text {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }
        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            ctx.get_mut_response()
                .set_body("all work and no play ".repeat(200));
            Status::Continue
        }
    }
    let (service, _) = guest(|server| {
        server.route::<Text>("/text");
    });
    let stack = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(CompressionLayer::new())
        .service(service);
    let mut client = outside(Router::new().fallback_service(stack)).await;
    check_layers(&mut client, "/text", &"all work and no play ".repeat(200)).await;
}

#[tokio::test]
async fn a_server_serves_in_process() {
    let (service, _) = guest(|_| {});
    let response = service.clone().oneshot(get("/hello")).await.unwrap();
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(5));
    assert_eq!(text(response).await, "hello");
    let mut request = get("http://user@example.org:81/tell?x");
    request
        .extensions_mut()
        .insert(PeerAddr("192.0.2.7:9".parse().unwrap()));
    request
        .headers_mut()
        .insert("host", "other.example".parse().unwrap());
    let response = service.clone().oneshot(request).await.unwrap();
    assert_eq!(
        text(response).await,
        "GET /tell?x example.org:81 Some(192.0.2.7:9)"
    );
    let request = HttpRequest::post("/echo")
        .body(Full::<Bytes>::from("body"))
        .unwrap();
    assert_eq!(
        text(service.clone().oneshot(request).await.unwrap()).await,
        "body"
    );
    eventually("connections end", || service.connections() == 0).await;
}

#[tokio::test]
async fn a_body_of_another_length_than_stated_is_refused() {
    let (service, _) = guest(|_| {});
    for stated in [3, 5] {
        let request = HttpRequest::post("/echo")
            .header("content-length", stated)
            .body(Full::<Bytes>::from("body"))
            .unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 400, "{stated}");
    }
}

#[tokio::test]
async fn a_response_that_is_not_read_stops_the_hook() {
    let (service, probe) = guest(|_| {});
    let response = service.oneshot(get("/large")).await.unwrap();
    settle().await;
    let held = probe.given.load(Ordering::Relaxed);
    assert!(held <= MIB, "{held} bytes wait");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        (body.len(), probe.given.load(Ordering::Relaxed)),
        (16 * MIB, 16 * MIB)
    );
}

#[tokio::test]
async fn a_hook_that_does_not_read_stops_the_request() {
    let (service, probe) = guest(|_| {});
    let given = Arc::new(AtomicUsize::new(0));
    let request = HttpRequest::post("/sink?wait=1")
        .body(Counted::new(16 * MIB, &given))
        .unwrap();
    let call = tokio::spawn(service.oneshot(request));
    settle().await;
    let held = given.load(Ordering::Relaxed);
    assert!(held > 0 && held <= MIB, "{held} bytes wait");
    probe.go_on.notify_one();
    let response = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
    assert_eq!(text(response).await, (16 * MIB).to_string());
}

#[tokio::test]
async fn the_body_is_asked_for_when_the_hook_reads() {
    let mut server = Server::new();
    server.route::<Sink>("/sink");
    let service = server.into_service().unwrap();
    let given = Arc::new(AtomicUsize::new(0));
    let request = |target: &str| {
        HttpRequest::post(target)
            .header("expect", "100-continue")
            .body(Counted::new(PIECE, &given))
            .unwrap()
    };
    let refused = service
        .clone()
        .oneshot(request("/sink/nowhere"))
        .await
        .unwrap();
    assert_eq!(
        (refused.status().as_u16(), given.load(Ordering::Relaxed)),
        (404, 0)
    );
    let taken = service.clone().oneshot(request("/sink")).await.unwrap();
    assert_eq!(text(taken).await, PIECE.to_string());
    // The client cannot take a field off the request by naming it in `Connection`.
    let mut named = request("/sink");
    named
        .headers_mut()
        .insert("connection", HeaderValue::from_static("expect"));
    let taken = timeout(PATIENCE, service.oneshot(named)).await;
    assert_eq!(text(taken.unwrap().unwrap()).await, PIECE.to_string());
}

hook! {
    // Answers with its input.
    @Stream EchoBack |_, ctx| {
        let body = ctx.body_stream();
        ctx.get_mut_response().set_body(Body::stream(body));
    }
    // Reads only after its head has gone out.
    @Stream EchoLate |_, ctx| {
        let body = StreamExt::map(ctx.body_stream(), |piece| piece.map_err(io::Error::other));
        let first = futures_util::stream::iter([Ok(Bytes::from("first "))]);
        ctx.get_mut_response().set_body(Body::stream(first.chain(body)));
    }
    // Asks for the body and does not wait for it.
    @Stream AsksAndRefuses |_, ctx| {
        let mut body = ctx.body_stream();
        let mut next = std::pin::pin!(body.next_chunk());
        std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
        let response = ctx.get_mut_response();
        response.set_status_code(403);
        match ctx.get_request().has_query("streams") {
            false => ctx.get_mut_response().set_body("refused"),
            true => ctx.get_mut_response().set_body(Body::stream(futures_util::stream::iter([Ok::<_, io::Error>("refused")]))),
        };
    }
}

#[tokio::test]
async fn a_body_that_the_answer_is_made_of_is_asked_for_before_the_head() {
    let (service, _) = guest(|server| {
        server
            .route::<EchoBack>("/echo-back")
            .route::<EchoLate>("/echo-late")
            .route::<AsksAndRefuses>("/refuses");
    });
    // The service runs on hyper's task, and behind a task of its own.
    let inner = service.clone();
    let apart = service_fn(move |request: HttpRequest<axum::body::Body>| {
        let call = tokio::spawn(inner.clone().oneshot(request));
        async move { call.await.unwrap() }
    });
    for router in [
        Router::new().fallback_service(service.clone()),
        Router::new().fallback_service(apart),
    ] {
        for (fields, body) in [
            ("content-length: 4\r\n", "body"),
            (
                "transfer-encoding: chunked\r\n",
                "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
            ),
        ] {
            let fields = format!("{fields}expect: 100-continue\r\n");
            let mut client = outside(router.clone()).await;
            client.request("POST", "/echo-back", &fields).await;
            assert_eq!(client.reply().await.status, 100, "{fields}");
            client.send(body).await;
            let reply = client.reply().await;
            assert_eq!((reply.status, reply.text()), (200, "body"), "{fields}");
            // The client does not wait for `100 Continue`.
            client.request("POST", "/echo-back", &fields).await;
            client.send(body).await;
            let mut reply = client.reply().await;
            if reply.status == 100 {
                reply = client.reply().await;
            }
            assert_eq!((reply.status, reply.text()), (200, "body"), "{fields}");
            // The head comes first, as without a stack around, and the client may send all the same.
            client.request("POST", "/echo-late", &fields).await;
            let head = client.until(b"\r\n\r\n").await;
            assert!(head.starts_with(b"HTTP/1.1 200 "), "{fields}");
            assert_eq!(client.chunk().await, b"first ");
            client.send(body).await;
            let mut echoed = Vec::new();
            while echoed.len() < 4 {
                echoed.extend(client.chunk().await);
            }
            assert_eq!(echoed, b"body");
            // A whole answer needs no body.
            for target in ["/refuses", "/refuses?streams"] {
                let mut client = outside(router.clone()).await;
                client.request("POST", target, &fields).await;
                let mut reply = client.reply().await;
                if reply.status == 100 {
                    reply = client.reply().await;
                }
                assert_eq!((reply.status, reply.text()), (403, "refused"));
            }
            // A client that waits for the head receives it.
            let mut client = outside(router.clone()).await;
            client.request("POST", "/echo-back", &fields).await;
            assert_eq!(client.reply().await.status, 100);
            let head = client.until(b"\r\n\r\n").await;
            assert!(head.starts_with(b"HTTP/1.1 200 "), "{fields}");
        }
    }
}

#[tokio::test]
async fn a_large_body_that_was_asked_for_is_not_gathered() {
    let (service, _) = guest(|server| {
        server.route::<EchoBack>("/echo-back");
    });
    let given = Arc::new(AtomicUsize::new(0));
    let request = HttpRequest::post("/echo-back")
        .header("expect", "100-continue")
        .body(Counted::new(16 * MIB, &given))
        .unwrap();
    let response = timeout(PATIENCE, service.oneshot(request)).await.unwrap();
    let held = given.load(Ordering::Relaxed);
    assert!(held > 0 && held <= MIB, "{held} bytes wait");
    let body = response.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes().len(), 16 * MIB);
}

#[tokio::test]
async fn a_limit_that_a_layer_sets_on_the_body_is_answered_with_413() {
    let sink = || {
        let mut server = Server::new();
        server.route::<Sink>("/sink");
        server.into_service().unwrap()
    };
    let given = Arc::new(AtomicUsize::new(0));
    let limited = ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(PIECE))
        .service(sink());
    for (size, status) in [(PIECE, 200), (2 * PIECE, 413)] {
        // Without a length, the layer sees the size as the server reads.
        let request = HttpRequest::post("/sink")
            .body(Counted::new(size, &given))
            .unwrap();
        let response = limited.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{size} bytes");
    }
    let broken = Counted::new(PIECE, &given);
    let broken = broken.with_trailers(async { Some(Err(io::Error::other("cut"))) });
    let request = HttpRequest::post("/sink").body(broken).unwrap();
    assert_eq!(sink().oneshot(request).await.unwrap().status(), 400);
}

#[tokio::test]
async fn hooks_notice_that_the_caller_is_gone() {
    let (service, probe) = guest(|_| {});
    // The future is dropped.
    let call = tokio::spawn(service.clone().oneshot(get("/waits")));
    timeout(PATIENCE, probe.go_on.notified())
        .await
        .expect("it began");
    call.abort();
    timeout(PATIENCE, probe.left.notified())
        .await
        .expect("it noticed");
    // The body is dropped.
    let response = service.clone().oneshot(get("/until-gone")).await.unwrap();
    let mut body = response.into_body();
    let first = piece(&mut body).await.expect("an event");
    assert!(first.ends_with("data: first\n\n"), "{first:?}");
    drop(body);
    timeout(PATIENCE, probe.left.notified())
        .await
        .expect("it noticed");
    eventually("connections end", || service.connections() == 0).await;
}

#[tokio::test]
async fn a_hook_may_go_on_after_a_whole_answer() {
    let (service, probe) = guest(|_| {});
    let response = service.clone().oneshot(get("/and-then")).await.unwrap();
    assert_eq!(text(response).await, "ok");
    settle().await;
    assert_eq!(service.connections(), 1);
    probe.go_on.notify_one();
    timeout(PATIENCE, probe.left.notified())
        .await
        .expect("it went on");
    eventually("the connection ends", || service.connections() == 0).await;
}

#[tokio::test]
async fn a_response_that_is_cut_is_an_error_of_its_body() {
    let (service, _) = guest(|_| {});
    let response = service.oneshot(get("/broken")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn limits_of_time_hold() {
    let (service, _) = guest(|server| {
        server.get_mut_server_config().body_timeout = Duration::from_millis(100);
    });
    let request = HttpRequest::post("/echo").body(Silent).unwrap();
    let response = timeout(PATIENCE, service.oneshot(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(response.status(), 408);
}

#[tokio::test]
async fn calls_wait_for_a_place() {
    let (service, probe) = guest(|server| {
        server.get_mut_server_config().max_connections = Some(1);
    });
    let first = tokio::spawn(service.clone().oneshot(get("/waits")));
    timeout(PATIENCE, probe.go_on.notified())
        .await
        .expect("it began");
    let second = tokio::spawn(service.clone().oneshot(get("/hello")));
    settle().await;
    assert!(!second.is_finished());
    first.abort();
    let response = timeout(PATIENCE, second).await.unwrap().unwrap().unwrap();
    assert_eq!(text(response).await, "hello");
}

#[test]
fn a_server_outside_of_a_runtime_is_refused() {
    assert!(matches!(
        Server::new().into_service(),
        Err(ServerError::NoRuntime)
    ));
}

#[tokio::test]
async fn a_server_can_be_mounted_on_another() {
    let (inner, _) = guest(|_| {});
    let control = start(|server| {
        server.mount("/inner", inner);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/inner/tell").await;
    assert!(
        reply
            .text()
            .starts_with("GET /tell localhost Some(127.0.0.1:"),
        "{}",
        reply.text()
    );
    assert_eq!(client.post("/inner/echo", "both").await.text(), "both");
    assert_eq!(client.upgrade("/inner/ws", "").await.status, 501);
}

#[tokio::test]
async fn a_panic_while_a_service_is_copied_is_caught() {
    struct Fragile(bool);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert!(!self.0, "secret");
            Self(true)
        }
    }
    impl Service<HttpRequest<BodyStream>> for Fragile {
        type Response = Answer;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Answer, Infallible>>;
        fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: HttpRequest<BodyStream>) -> Self::Future {
            std::future::ready(Ok(answer("never")))
        }
    }
    let control = start(|server| {
        server
            .fallback_service(Fragile(true))
            .route::<Hello>("/hello");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/").await.status, 500);
    assert_eq!(client.get("/").await.status, 500);
    assert_eq!(client.get("/hello").await.text(), "hello");
}

#[tokio::test]
async fn a_service_is_dropped_when_its_client_leaves() {
    /// Signals its drop.
    struct Guard(Arc<Notify>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let shared = (began.clone(), dropped.clone());
    let control = start(|server| {
        server.mount(
            "/",
            service_fn(move |request: HttpRequest<BodyStream>| {
                let (began, dropped) = shared.clone();
                async move {
                    let guard = Guard(dropped);
                    began.notify_one();
                    if request.uri().path() == "/future" {
                        std::future::pending::<()>().await;
                    }
                    let body = Silent.map_err(move |never| {
                        let _ = &guard;
                        never
                    });
                    Ok::<_, Infallible>(HttpResponse::new(body))
                }
            }),
        );
    })
    .await;
    for target in ["/future", "/body"] {
        let mut client = Client::connect(address(&control)).await;
        client.request("GET", target, "").await;
        timeout(PATIENCE, began.notified()).await.expect("it began");
        drop(client);
        timeout(PATIENCE, dropped.notified())
            .await
            .expect("it is dropped");
        eventually("the connection ends", || control.connections() == 0).await;
    }
}

#[tokio::test]
async fn an_upload_that_is_too_large_is_answered_all_the_same() {
    let (service, _) = guest(|server| {
        server.get_mut_server_config().max_body = MIB;
    });
    for length in [None, Some(16 * MIB as u64)] {
        let given = Arc::new(AtomicUsize::new(0));
        let mut body = Counted::new(16 * MIB, &given);
        body.length = length;
        let request = HttpRequest::post("/echo").body(body).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 413);
        assert!(text(response).await.starts_with("413"));
        assert!(
            given.load(Ordering::Relaxed) < 3 * MIB,
            "the rest is not sent"
        );
    }
}

#[tokio::test]
async fn heads_of_streams_have_no_body() {
    let (service, _) = guest(|_| {});
    for target in ["/events", "/large", "/hello"] {
        let request = HttpRequest::head(target)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = timeout(PATIENCE, service.clone().oneshot(request)).await;
        let response = response.unwrap().unwrap();
        assert_eq!(response.status(), 200, "{target}");
        assert!(http_body::Body::is_end_stream(response.body()));
    }
}
