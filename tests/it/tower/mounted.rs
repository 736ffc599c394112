//! Services under a path of ours.

use test_support::BindLocal as _;

use super::*;

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
    server.bind_local();
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
