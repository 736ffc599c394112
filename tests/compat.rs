//! Programs written for the published library, against this one.
//!
//! The first is a whole program that was, with two words changed: what is read is a `RequestBody` and no `Vec<u8>`,
//! so a channel of vectors takes it with `.into()`. The others use every name such programs are known to use, and the
//! imports they begin with.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{sync::Arc, time::Duration};

use test_support::{BINARY, Client, TEXT, address, eventually};

/// The program. Its `main` takes a port and waits; here it hands the server's control over.
#[allow(unused_variables, reason = "the program's own")]
mod published {
    use std::sync::OnceLock;

    use hyperlane::{tokio::sync::broadcast::Receiver, *};
    use hyperlane_broadcast::*;

    const ROOM: &str = "room";
    const CAPACITY: Capacity = 1024;

    static ROOMS: OnceLock<BroadcastMap<Vec<u8>>> = OnceLock::new();

    fn rooms() -> &'static BroadcastMap<Vec<u8>> {
        ROOMS.get_or_init(|| {
            let map: BroadcastMap<Vec<u8>> = BroadcastMap::new();
            // Inserted once up front: `subscribe_or_insert` races with itself on first use.
            map.insert(ROOM, CAPACITY);
            map
        })
    }

    #[request_middleware]
    struct Upgrade;

    impl ServerHook for Upgrade {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            if !ctx.get_request().is_ws_upgrade_type() {
                return Status::Continue;
            }
            if let Some(key) = &ctx.get_request().try_get_header_back(SEC_WEBSOCKET_KEY) {
                let accept_key: String = WebSocketFrame::generate_accept_key(key);
                let data: Vec<u8> = ctx
                    .get_mut_response()
                    .set_version(HttpVersion::Http1_1)
                    .set_status_code(101)
                    .set_header(UPGRADE, WEBSOCKET)
                    .set_header(CONNECTION, UPGRADE)
                    .set_header(SEC_WEBSOCKET_ACCEPT, &accept_key)
                    .set_body(Vec::new())
                    .build();
                if stream.try_send(data).await.is_err() {
                    stream.set_closed(true);
                    return Status::Reject;
                }
            }
            Status::Continue
        }
    }

    #[route("/plaintext")]
    struct Plaintext;

    impl ServerHook for Plaintext {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[response_version(HttpVersion::Http1_1)]
        #[response_status_code(200)]
        #[response_header(CONTENT_TYPE => TEXT_PLAIN)]
        #[response_body("Hello, World!")]
        #[try_send]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }

    #[route("/echo")]
    struct Echo;

    impl ServerHook for Echo {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[is_ws_upgrade_type]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            while let Ok(body) = stream.try_get_websocket_request().await {
                let frames: Vec<ResponseBody> = WebSocketFrame::create_frame_list(&body);
                if stream.try_send_list(&frames).await.is_err() {
                    break;
                }
            }
            stream.set_closed(true);
            Status::Reject
        }
    }

    #[route("/room")]
    struct Room;

    impl ServerHook for Room {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[is_ws_upgrade_type]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let mut receiver: Receiver<Vec<u8>> = rooms().subscribe_or_insert(ROOM, CAPACITY);
            loop {
                tokio::select! {
                    request = stream.try_get_websocket_request() => {
                        let Ok(body) = request else { break };
                        if rooms().try_send(ROOM, body.into()).is_err() {
                            break;
                        }
                    }
                    message = receiver.recv() => {
                        let Ok(message) = message else { break };
                        let frames: Vec<ResponseBody> = WebSocketFrame::create_frame_list(&message);
                        if stream.try_send_list(&frames).await.is_err() {
                            break;
                        }
                    }
                }
            }
            stream.set_closed(true);
            Status::Reject
        }
    }

    #[route("/sse")]
    struct Sse;

    impl ServerHook for Sse {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let mut receiver: Receiver<Vec<u8>> = rooms().subscribe_or_insert(ROOM, CAPACITY);
            let head: Vec<u8> = ctx
                .get_mut_response()
                .set_version(HttpVersion::Http1_1)
                .set_status_code(200)
                .set_header(CONTENT_TYPE, TEXT_EVENT_STREAM)
                .set_body(Vec::new())
                .build();
            if stream.try_send(head).await.is_ok() {
                while let Ok(message) = receiver.recv().await {
                    let body: String = format!(
                        "data: {}{HTTP_DOUBLE_BR}",
                        String::from_utf8_lossy(&message)
                    );
                    if stream.try_send(&body).await.is_err() {
                        break;
                    }
                }
            }
            stream.set_closed(true);
            Status::Reject
        }
    }

    #[route("/publish")]
    struct Publish;

    impl ServerHook for Publish {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[request_body(body)]
        #[response_version(HttpVersion::Http1_1)]
        #[response_status_code(200)]
        #[try_send]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            drop(rooms().try_send(ROOM, body.clone().into()));
            Status::Continue
        }
    }

    #[hyperlane(server: Server)]
    pub(super) async fn start() -> ServerControlHook {
        let port: u16 = 0;
        let mut config: ServerConfig = ServerConfig::default();
        config
            .set_address(Server::format_bind_address("127.0.0.1", port))
            .set_nodelay(Some(true));
        server.server_config(config);
        server.request_config(RequestConfig::low_security());
        let control: ServerControlHook = server.run().await.expect("run");
        control
    }

    pub(super) fn listeners() -> usize {
        rooms().receiver_count(ROOM).unwrap_or_default()
    }
}

#[tokio::test]
async fn the_published_program_answers_in_plain_text() {
    let control = published::start().await;
    let mut client = Client::connect(address(&control)).await;
    for _ in 0..3 {
        let reply = client.get("/plaintext").await;
        assert_eq!((reply.status, reply.text()), (200, "Hello, World!"));
        assert_eq!(reply.header("content-type"), Some("text/plain"));
    }
    assert_eq!(client.get("/echo").await.status, 426);
    assert_eq!(client.get("/nowhere").await.status, 404);
}

#[tokio::test]
async fn the_published_programs_own_101_is_the_only_one() {
    let control = published::start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.upgrade("/echo", "").await;
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("upgrade"), Some("websocket"));
    assert_eq!(
        reply.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    for absent in ["content-length", "content-type"] {
        assert_eq!(reply.header(absent), None, "{}", reply.head);
    }
    for (opcode, payload) in [
        (TEXT, &b"hello"[..]),
        (BINARY, b"hello"),
        (TEXT, b""),
        (BINARY, &[0xff]),
    ] {
        client.frame(opcode, payload).await;
        let frame = client.next_frame().await;
        assert_eq!((frame.opcode, frame.payload.as_slice()), (opcode, payload));
    }
    client.close().await;
    // Its middleware answers on any path; without a route there is no more.
    let mut client = Client::websocket(address(&control), "/nowhere").await;
    assert_eq!(client.next_message().await.code(), 1000);
    client
        .frame(test_support::CLOSE, 1000u16.to_be_bytes())
        .await;
    assert!(client.ends().await);
}

/// One test for all: the program's room is one per process.
#[tokio::test]
async fn the_published_room_reaches_sockets_and_event_streams() {
    let control = published::start().await;
    let at = address(&control);
    let mut ada = Client::websocket(at, "/room").await;
    let mut bob = Client::websocket(at, "/room").await;
    let mut events = Client::connect(at).await;
    events.request("GET", "/sse", "").await;
    let head = String::from_utf8(events.until(b"\r\n\r\n").await).unwrap();
    assert!(
        head.contains("text/event-stream") && !head.contains("content-length"),
        "{head}"
    );
    eventually("three listeners", || published::listeners() == 3).await;

    ada.say("from ada").await;
    for socket in [&mut ada, &mut bob] {
        assert_eq!(socket.next_message().await.text(), "from ada");
    }
    assert_eq!(events.until(b"\r\n\r\n").await, b"data: from ada\r\n\r\n");

    let reply = Client::connect(at)
        .await
        .post("/publish", "published")
        .await;
    assert_eq!((reply.status, reply.text()), (200, ""));
    for socket in [&mut ada, &mut bob] {
        assert_eq!(socket.next_message().await.text(), "published");
    }
    assert_eq!(events.until(b"\r\n\r\n").await, b"data: published\r\n\r\n");

    ada.close().await;
    eventually("ada has left", || published::listeners() == 2).await;
    bob.close().await;
}

/// Uses each known name at least once, in a hook that answers with its findings.
mod names {
    use hyperlane::*;
    #[allow(
        unused_imports,
        reason = "programs have both, and neither hides the other"
    )]
    use hyperlane_macros::*;

    pub(super) struct Uses;

    impl ServerHook for Uses {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let request: &Request = ctx.get_request();
            let method: &RequestMethod = request.get_method();
            let version: &RequestVersion = request.get_version();
            let path: &str = request.get_path();
            let host: &str = request.get_host();
            let querys: &RequestQuerys = request.get_querys();
            let headers: &RequestHeaders = request.get_headers();
            let body: &RequestBody = request.get_body();
            assert!(method.is_post() && !method.is_get() && !method.is_unknown());
            assert!(version.is_http1_1() && version.is_http1_1_or_higher() && version.is_http());
            assert_eq!((path, host), ("/names/7", "localhost"));
            assert_eq!(
                (querys.len(), headers.is_empty(), body.len()),
                (1, false, 4)
            );
            assert_eq!(request.try_get_query("q").as_deref(), Some("1"));
            assert_eq!(request.get_query("none"), "");
            assert_eq!(
                request.try_get_query_front("q"),
                request.try_get_query_back("q")
            );
            assert_eq!(
                request
                    .try_get_header(CONTENT_LENGTH)
                    .map(|values| values.len()),
                Some(1)
            );
            assert_eq!(
                request.try_get_header_front("CONTENT-Length").as_deref(),
                Some("4")
            );
            assert_eq!(
                request.try_get_header_back(CONTENT_LENGTH).as_deref(),
                Some("4")
            );
            assert_eq!(request.get_header_back("none"), "");
            assert!(request.has_header(HOST) && !request.has_header(ORIGIN));
            assert_eq!(request.get_body_string(), "body");
            let upgrade: UpgradeType = request.get_upgrade_type();
            assert!(
                !upgrade.is_ws() && !upgrade.is_h2c() && !upgrade.is_tls() && upgrade.is_unknown()
            );
            assert!(!request.is_ws_upgrade_type());
            assert!(request.is_enable_keep_alive() && !request.is_disable_keep_alive());
            let copy: Request = request.clone();
            ctx.get_mut_request().set_body("changed");
            ctx.set_request(copy);

            let params: &RouteParams = ctx.get_route_params();
            assert_eq!(params.get("id"), Some("7"));
            assert_eq!(ctx.try_get_route_param("id").as_deref(), Some("7"));
            assert_eq!(ctx.get_route_param("id"), "7");
            ctx.set_attribute("count", 1usize)
                .set_attribute("text", String::new());
            assert_eq!(ctx.try_get_attribute::<usize>("count"), Some(1));
            ctx.remove_attribute("count");
            assert_eq!(ctx.try_get_attribute::<usize>("count"), None);
            ctx.clear_attribute();
            assert!(ctx.try_get_attribute::<String>("text").is_none());
            let panicked: Option<PanicData> = ctx.try_get_task_panic_data();
            let refused: Option<RequestError> = ctx.try_get_request_error_data();
            assert!(panicked.is_none() && refused.is_none());

            let date = "today";
            let response: &mut Response = ctx.get_mut_response();
            response
                .set_version(HttpVersion::Http1_1)
                .set_status_code(500)
                .set_header("x-dropped", "1")
                .clear_headers()
                .set_status_code(200)
                .set_header(SERVER, HYPERLANE)
                .set_header(CONNECTION, KEEP_ALIVE)
                .set_header(CONTENT_TYPE, TEXT_HTML)
                .set_header("Date", date)
                .set_header(ACCESS_CONTROL_ALLOW_ORIGIN, WILDCARD_ANY)
                .set_header(ACCESS_CONTROL_ALLOW_METHODS, ALL_METHODS)
                .set_header(ACCESS_CONTROL_ALLOW_HEADERS, WILDCARD_ANY)
                .add_header(SET_COOKIE, "a=1")
                .add_header(SET_COOKIE, "b=2")
                .set_header("x-version", HttpVersion::Http1_1.to_string())
                .set_body(format!(
                    "{}{COLON}{}",
                    HttpStatus::Ok,
                    HttpStatus::Ok.code()
                ));
            let data: ResponseBody = response.build();
            assert!(data.ends_with(b"OK:200"));
            assert_eq!(ctx.get_response().get_body_string(), "OK:200");
            assert_eq!(ctx.get_response().get_body(), b"OK:200");
            let code: ResponseStatusCode = ctx.get_response().get_status_code();
            assert_eq!(code, 200);

            let sent: Result<(), ResponseError> = stream.try_send(data).await;
            assert!(sent.is_ok());
            let again = stream.try_send_list(&[b"once more"]).await;
            assert!(again.is_err());
            assert!(stream.try_flush().await.is_ok());
            assert!(stream.is_keep_alive(true) && !stream.get_closed());
            stream.set_closed(true);
            Status::Continue
        }
    }

    /// Uses macros of the crate that is imported by its own name.
    pub(super) struct Macros;

    impl ServerHook for Macros {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[prologue_macros(
            is_get_method,
            response_status_code(201),
            response_header(CONTENT_TYPE => TEXT_PLAIN),
            response_body("macros")
        )]
        #[epilogue_macros(try_send, try_flush, closed)]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }

    pub(super) struct Fails;

    impl ServerHook for Fails {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
            panic!("on purpose")
        }
    }

    pub(super) struct OnPanic;

    impl ServerHook for OnPanic {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[response_version(HttpVersion::Http1_1)]
        #[response_status_code(500)]
        #[task_panic_data(data)]
        #[response_body(data.to_string())]
        #[try_send]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }

    pub(super) struct OnError;

    impl ServerHook for OnError {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[request_error_data(error)]
        #[response_status_code(error.get_http_status_code())]
        #[response_body(error.to_string())]
        #[try_send]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }

    pub(super) struct Passes;

    impl ServerHook for Passes {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
            let status = Status::Continue;
            assert!(status.is_continue() && Status::Reject.is_reject());
            status
        }
    }

    /// Configures a server by every name there is.
    pub(super) fn server() -> Server {
        fn send_and_sync<T: Send + Sync>(_: &T) {}
        let mut config: ServerConfig = ServerConfig::default();
        config
            .set_address(Server::format_bind_address("127.0.0.1", 0))
            .set_nodelay(Some(true))
            .set_ttl(Some(64));
        assert_eq!(
            (config.get_nodelay(), config.try_get_nodelay()),
            (Some(true), Some(true))
        );
        let mut request: RequestConfig = RequestConfig::default();
        request
            .set_buffer_size(KB_1)
            .set_max_path_size(4 * KB_1)
            .set_max_header_count(50)
            .set_max_header_key_size(KB_1)
            .set_max_header_value_size(KB_1)
            .set_max_body_size(64 * KB_1)
            .set_read_timeout_ms(6000);
        assert_eq!(request.get_max_body_size(), 64 * KB_1);
        assert!(
            RequestConfig::high_security().get_max_path_size()
                < RequestConfig::low_security().get_max_path_size()
        );
        let _: Server = Server::from(request);
        let mut server: Server = Server::from(config.clone());
        server
            .server_config(config.clone())
            .set_server_config(config)
            .request_config(RequestConfig::low_security())
            .set_request_config(request)
            .request_middleware::<Passes>()
            .response_middleware::<Passes>()
            .task_panic::<OnPanic>()
            .request_error::<OnError>()
            .route::<Uses>("/names/{id}")
            .route::<Macros>("/macros")
            .route::<Fails>("/fails");
        send_and_sync(&server);
        assert_eq!(server.get_server_config().max_body, 64 * KB_1);
        Server::flush_stdout();
        Server::flush_stderr();
        Server::flush_stdout_and_stderr();
        assert!(Server::try_flush_stdout().is_ok() && Server::try_flush_stderr().is_ok());
        assert!(Server::try_flush_stdout_and_stderr().is_ok());
        assert_eq!(
            (ROOT_PATH, DEFAULT_HOST, EMPTY_STR, HTTP_BR, UTF8),
            ("/", "0.0.0.0", "", "\r\n", "utf-8")
        );
        server
    }
}

#[tokio::test]
async fn the_names_that_programs_use_are_there_and_work() {
    use hyperlane::ServerControlHook;
    let control: ServerControlHook = names::server().run().await.unwrap_or_default();
    let at = address(&control);
    let mut client = Client::connect(at).await;
    let reply = client.post("/names/7?q=1", "body").await;
    assert_eq!((reply.status, reply.text()), (200, "OK:200"));
    assert_eq!(reply.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(
        (reply.header("server"), reply.header("x-dropped")),
        (Some("hyperlane"), None)
    );
    assert_eq!(reply.header("date"), Some("today"));
    assert!(client.ends().await);

    let reply = Client::connect(at).await.get("/macros").await;
    assert_eq!((reply.status, reply.text()), (201, "macros"));

    let reply = Client::connect(at).await.get("/fails").await;
    assert_eq!(reply.status, 500);
    assert!(reply.text().contains("on purpose"));

    let mut client = Client::connect(at).await;
    client.send("GET /names/7 HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 400);

    drop(client);
    // A clone ends the wait of another.
    let waits: ServerControlHook = control.clone();
    let waiting = tokio::spawn(async move { waits.wait().await });
    control.shutdown().await;
    tokio::time::timeout(test_support::PATIENCE, waiting)
        .await
        .expect("in time")
        .expect("no panic");
}

#[tokio::test]
async fn errors_of_a_start_are_told_by_name() {
    use hyperlane::{RouteError, Server, ServerError};
    let mut server = Server::default();
    server.bind("127.0.0.1:0").route::<names::Passes>("");
    match server.run().await {
        Err(ServerError::Route {
            source: RouteError::EmptyPattern,
            ..
        }) => {}
        other => panic!("{:?}", other.map(|_| ())),
    }
    let mut server = Server::default();
    server.bind("127.0.0.1:0").route::<names::Passes>("/{id:(}");
    match server.run().await {
        Err(ServerError::Route {
            source: RouteError::InvalidRegexPattern { .. },
            ..
        }) => {}
        other => panic!("{:?}", other.map(|_| ())),
    }
    let mut server = Server::default();
    server
        .bind("127.0.0.1:0")
        .route::<names::Passes>("/a")
        .route::<names::Passes>("/a");
    let error = server
        .run()
        .await
        .map(|_| ())
        .expect_err("two that nothing tells apart");
    let text = error.to_string();
    assert_eq!(text.matches("compat.rs:").count(), 2, "both places: {text}");
    // Another listener has the port.
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut server = Server::default();
    server.bind(taken.local_addr().unwrap().to_string());
    let error = server
        .run()
        .await
        .map(|_| ())
        .expect_err("the port is taken");
    assert!(
        matches!(error, ServerError::Bind { .. }) && error.to_string().contains("127.0.0.1"),
        "{error}"
    );
}

/// An explicit import of the futures crates' `Stream` wins over ours from the glob.
mod beside_futures {
    use futures_util::{Stream, StreamExt};
    use hyperlane::*;

    pub(super) struct Counts;

    async fn sum(numbers: impl Stream<Item = u32>) -> u32 {
        numbers.fold(0, async |sum, number| sum + number).await
    }

    impl ServerHook for Counts {
        async fn new(_: &mut hyperlane::Stream, _: &mut Context) -> Self {
            Self
        }

        #[response_body(sum(futures_util::stream::iter([1, 2, 3])).await.to_string())]
        #[send]
        async fn handle(self, stream: &mut hyperlane::Stream, ctx: &mut Context) -> Status {
            Status::Continue
        }
    }
}

#[tokio::test]
async fn our_stream_stays_out_of_the_way_of_another() {
    let control = test_support::start(|server| {
        server.route::<beside_futures::Counts>("/sum");
    })
    .await;
    assert_eq!(
        Client::connect(address(&control))
            .await
            .get("/sum")
            .await
            .text(),
        "6"
    );
}

/// A channel by name as the published crate of channels has it.
#[tokio::test]
async fn broadcast_maps_keep_their_names() {
    use hyperlane_broadcast::{
        Broadcast, BroadcastMap, BroadcastMapReceiver, BroadcastReceiver, BroadcastType,
    };
    let news: Broadcast<Arc<str>> = Broadcast::new(4);
    let mut reader: BroadcastReceiver<Arc<str>> = news.subscribe();
    assert_eq!(news.send("a".into()).unwrap(), 1);
    assert_eq!(
        (&*reader.recv().await.unwrap(), news.receiver_count()),
        ("a", 1)
    );

    let map: BroadcastMap<u32> = BroadcastMap::default();
    assert!(map.subscribe("k").is_none());
    assert!(map.insert("k", 4).is_none());
    let mut one: BroadcastMapReceiver<u32> = map.subscribe("k").unwrap();
    let mut two = map.subscribe_or_insert("k", 4);
    assert_eq!(map.receiver_count("k"), Some(2));
    assert_eq!(map.try_send("k", 7).unwrap(), Some(2));
    assert_eq!(
        (one.recv().await.unwrap(), two.recv().await.unwrap()),
        (7, 7)
    );
    assert_eq!(map.send("none", 7), None);
    assert!(map.unsubscribe("k").is_some());
    let ended = tokio::time::timeout(Duration::from_secs(20), one.recv()).await;
    assert!(
        ended.expect("at once").is_err(),
        "the entry is gone, and so is its channel"
    );

    let key = |a, b| BroadcastType::PointToPoint(a, b).get_key();
    assert_eq!(key("a", "b"), key("b", "a"));
    assert_ne!(key("a-b", "c"), key("a", "b-c"));
}

/// Queries that programs make of a server, a control hook and a connection.
mod asked {
    use hyperlane::*;

    pub(super) struct Peer;

    impl ServerHook for Peer {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let peer: String = stream
                .get_stream()
                .peer_addr()
                .map(|address| address.ip().to_string())
                .unwrap_or_default();
            assert_eq!(
                stream.get_peer_addr().ok(),
                stream.get_stream().peer_addr().ok()
            );
            let local: String = stream
                .get_local_addr()
                .map(|address| address.to_string())
                .unwrap_or_default();
            let mut cookie: CookieBuilder = CookieBuilder::new("a", "b");
            cookie.set_path("/").set_max_age(60).secure().http_only();
            ctx.get_mut_response()
                .set_header(SET_COOKIE, cookie.build())
                .set_header("x-local", local)
                .set_header(
                    CONTENT_TYPE,
                    ContentType::format_content_type_with_charset(TEXT_PLAIN, UTF8),
                )
                .set_body(peer);
            Status::Continue
        }
    }

    /// Uses `?` on errors of the program's own beside those of the server.
    pub(super) async fn start(
        server: &Server,
        file: &str,
    ) -> Result<ServerControlHook, ServerError> {
        std::fs::metadata(file)?;
        server.run().await
    }
}

#[tokio::test]
async fn servers_tell_what_programs_ask_them() {
    use hyperlane::{
        HttpStatus, RequestConfig, RequestError, Server, ServerControlHookHandler, ServerError,
    };
    let mut server = Server::default();
    server.bind("127.0.0.1:0");
    server.request_config(RequestConfig::high_security());
    assert_eq!(server.get_request_config(), RequestConfig::high_security());
    assert!(server.get_route_matcher().get_static_route().is_empty());
    server
        .route::<asked::Peer>("/peer")
        .route::<asked::Peer>("/peer/{id}")
        .route::<asked::Peer>("/digits/{id:\\d+}")
        .task_panic::<names::OnPanic>()
        .request_error::<names::OnError>()
        .request_middleware::<names::Passes>()
        .request_middleware::<names::Passes>()
        .response_middleware::<names::Passes>();
    let mut found = Vec::new();
    for path in server.get_route_matcher().get_static_route().keys() {
        found.push(path.clone());
    }
    for routes in server.get_route_matcher().get_dynamic_route().values() {
        for (pattern, _) in routes {
            found.push(pattern.to_string());
        }
    }
    for routes in server.get_route_matcher().get_regex_route().values() {
        for (pattern, _) in routes {
            found.push(pattern.to_string());
        }
    }
    assert_eq!(found, ["/peer", "/peer/{id}", "/digits/{id:\\d+}"]);
    assert_eq!(
        [
            server.get_task_panic().len(),
            server.get_request_error().len(),
            server.get_request_middleware().len(),
            server.get_response_middleware().len(),
        ],
        [1, 1, 2, 1]
    );
    assert!(server.get_task_panic()[0].name.ends_with("OnPanic"));

    let refused = asked::start(&server, "/no/such/file").await.map(|_| ());
    assert!(matches!(refused, Err(ServerError::Io(_))), "{refused:?}");
    let control = server.run().await.unwrap();
    let reply = Client::connect(address(&control)).await.get("/peer").await;
    assert_eq!(reply.text(), "127.0.0.1");
    let local = address(&control).to_string();
    assert_eq!(reply.header("x-local"), Some(local.as_str()));
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(
        reply.header("set-cookie"),
        Some("a=b; Max-Age=60; Path=/; Secure; HttpOnly")
    );

    let wait: ServerControlHookHandler<()> = control.get_wait_hook().clone();
    let shutdown: &ServerControlHookHandler<()> = control.get_shutdown_hook();
    let waiting = tokio::spawn(async move { wait().await });
    shutdown().await;
    waiting.await.unwrap();

    let error = RequestError::missing("header", "x");
    assert_eq!(error.get_http_status(), HttpStatus::BadRequest);
}
