//! Our server inside other stacks.

use super::*;

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
