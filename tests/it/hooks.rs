//! The pipeline of hooks: order, refusals, panics, errors, state, handlers told apart.

use std::sync::{Arc, Mutex};

use hyperlane::{
    __private::{Guard, GuardKind, guard_upgrade, refuse},
    prelude::*,
};
use test_support::{CLOSE, Client, address, hook, start};

/// Names of the steps that ran, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn log(ctx: &Context, text: impl Into<String>) {
    ctx.state::<Log>().0.lock().unwrap().push(text.into());
}

fn rejected(ctx: &Context, place: &str) -> bool {
    ctx.get_request().get_query("reject") == place
}

fn panics(ctx: &Context, place: &str) {
    assert!(
        ctx.get_request().get_query("panic") != place,
        "panic in {place}"
    );
}

/// Makes hooks that note their run, and follow the query.
macro_rules! steps {
    ($($name:ident $text:literal)*) => {$(
        hook! {
            $name |_, ctx| {
                log(ctx, $text);
                panics(ctx, $text);
                if rejected(ctx, $text) {
                    Status::Reject
                } else {
                    Status::Continue
                }
            }
        }
    )*};
}

steps! {
    First "first"
    Second "second"
    Route "route"
    After "after"
    Last "last"
}

fn die(text: &str) {
    panic!("{text}");
}

/// Panics while it is constructed.
struct Unmade;

impl ServerHook for Unmade {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        panic!("panic in new")
    }

    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        unreachable!()
    }
}

hook! {
    Answering |_, ctx| {
        ctx.get_mut_response().set_status_code(401).set_body("own answer");
        Status::Reject
    }
    SendingAndRejecting |stream, ctx| {
        let data = ctx.get_mut_response().set_body("sent").build();
        stream.try_send(data).await.unwrap();
        Status::Reject
    }
    OnPanic |_, ctx| {
        let data = ctx.get_task_panic_data().unwrap();
        log(ctx, format!("panic: {}", data.try_get_message().unwrap_or_default()));
    }
    ReplacingPanic |_, ctx| {
        assert_eq!(ctx.get_response().get_status_code(), 500);
        ctx.get_mut_response().set_status_code(503).set_body("replaced");
    }
    PanickingAgain |_, _| {
        die("secret of the second panic");
    }
    OnError |_, ctx| {
        let error = ctx.get_request_error_data().unwrap();
        log(ctx, format!("error: {error:?}"));
    }
    ReplacingError |_, ctx| {
        let status = ctx.get_response().get_status_code();
        ctx.get_mut_response().set_status_code(status).set_body("replaced");
    }
    SendingError |stream, ctx| {
        let data = ctx.get_mut_response().set_body("sent by hook").build();
        stream.try_send(data).await.unwrap();
    }
    WaitsThenPanics |_, _| {
        tokio::task::yield_now().await;
        die("panic with an owned text");
    }
    HeadThenPanics |stream, _| {
        stream.try_send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await.unwrap();
        die("in the middle");
    }
    WholeThenPanics |stream, ctx| {
        let data = ctx.get_mut_response().set_body("whole").build();
        stream.try_send(data).await.unwrap();
        die("after the answer");
    }
    LargeCloseThenPanics |stream, _| {
        let mut data = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8000000\r\n\r\n".to_vec();
        data.resize(data.len() + 8_000_000, b'x');
        // Above the mark it would wait for the client. The send is dropped; its bytes are on their way.
        drop(tokio::time::timeout(std::time::Duration::ZERO, stream.try_send(data)).await);
        die("after the answer");
    }
    PanickingSocket |stream, ctx| {
        let socket = ctx.upgrade(stream).await.unwrap();
        socket.recv().await.unwrap();
        die("in the socket");
    }
    EventsThenPanic |stream, ctx| {
        let events = ctx.event_stream(stream).await.unwrap();
        events.send("one").await.unwrap();
        die("in the events");
    }
    Refusing |_, _| {
        let _ = refuse(RequestError::missing("header", "x-token")).await;
    }
    Attribute |_, ctx| {
        let seen = ctx.try_get_attribute::<String>("user");
        ctx.get_mut_response().set_body(seen.unwrap_or_else(|| "nobody".to_owned()));
    }
    SetAttribute |_, ctx| {
        let user = ctx.get_request().get_query("user");
        if !user.is_empty() {
            ctx.set_attribute("user", user);
        }
    }
    UnknownState |_, ctx| {
        let _ = ctx.state::<Vec<u8>>();
    }
    Counter |_, ctx| {
        let count = ctx.state_or_default::<std::sync::atomic::AtomicUsize>();
        let before = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        ctx.get_mut_response().set_body(before.to_string());
    }
    Params |_, ctx| {
        let text: Vec<_> =
            ctx.get_route_params().iter().map(|(name, value)| format!("{name}={value}")).collect();
        ctx.get_mut_response().set_body(text.join(","));
    }
    Catcher |_, ctx| {
        log(ctx, format!("after {}", ctx.get_response().get_status_code()));
        ctx.get_mut_response().set_header("x-seen", "1");
    }
}

/// Makes a handler with guards, which answers with its name.
macro_rules! guarded {
    ($($name:ident $guards:expr)*) => {$(
        struct $name;

        impl ServerHook for $name {
            const GUARDS: &'static [Guard] = $guards;

            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
                ctx.get_mut_response().set_body(stringify!($name));
                Status::Continue
            }
        }
    )*};
}

const fn method(names: &'static [&'static str]) -> Guard {
    Guard {
        kind: GuardKind::Method(names),
        check: |_| true,
    }
}

guarded! {
    Get &[method(&["GET"])]
    Post &[method(&["POST", "PUT"])]
    PostOnly &[method(&["POST"])]
    Any &[]
    Socket &[
        Guard { kind: GuardKind::Upgrade("websocket"), check: |ctx| guard_upgrade(ctx, "websocket") },
        method(&["GET"]),
    ]
    AtHome &[Guard { kind: GuardKind::Host, check: |ctx| ctx.get_request().get_host() == "home" }]
}

async fn logged(configure: impl FnOnce(&mut Server)) -> (Client, Log) {
    let log = Log::default();
    let control = start(|server| {
        server.state(log.clone());
        configure(server);
    })
    .await;
    (Client::connect(address(&control)).await, log)
}

// ---------------------------------------------------------------- the pipeline

#[tokio::test]
async fn hooks_run_in_the_order_of_the_pipeline() {
    let (mut client, log) = logged(|server| {
        server
            .response_middleware::<After>()
            .route::<Route>("/")
            .request_middleware::<First>()
            .request_middleware::<Second>()
            .response_middleware::<Last>();
    })
    .await;
    for (target, status, ran) in [
        ("/", 200, &["first", "second", "route", "after", "last"][..]),
        ("/other", 404, &["first", "second", "after", "last"]),
        ("/?reject=first", 403, &["first", "after", "last"]),
        (
            "/?reject=second",
            403,
            &["first", "second", "after", "last"],
        ),
        (
            "/?reject=route",
            403,
            &["first", "second", "route", "after", "last"],
        ),
        (
            "/?reject=after",
            403,
            &["first", "second", "route", "after"],
        ),
        ("/other?reject=first", 404, &["first", "after", "last"]),
        ("/?panic=first", 500, &["first", "after", "last"]),
        (
            "/?panic=route",
            500,
            &["first", "second", "route", "after", "last"],
        ),
        (
            "/?panic=after",
            500,
            &["first", "second", "route", "after", "last"],
        ),
        // The connection goes on after each of these.
        ("/", 200, &["first", "second", "route", "after", "last"]),
    ] {
        let reply = client.get(target).await;
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(reply.header("connection"), None, "{target}");
        assert_eq!(log.take(), ran, "{target}");
        assert!(
            !reply.text().contains("panic"),
            "nothing internal: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn a_hook_that_rejects_may_send_the_answer_itself() {
    let (mut client, log) = logged(|server| {
        server
            .route::<Answering>("/answer")
            .route::<SendingAndRejecting>("/send")
            .response_middleware::<After>();
    })
    .await;
    let reply = client.get("/answer").await;
    assert_eq!((reply.status, reply.text()), (401, "own answer"));
    let reply = client.get("/send").await;
    assert_eq!((reply.status, reply.text()), (200, "sent"));
    let reply = client.get("/nothing").await;
    assert_eq!(reply.status, 404);
    assert_eq!(log.take(), ["after", "after", "after"]);
}

#[tokio::test]
async fn response_middleware_sees_and_changes_every_answer() {
    let (mut client, log) = logged(|server| {
        server.route::<Get>("/get").response_middleware::<Catcher>();
    })
    .await;
    for (method, target, status) in [
        ("GET", "/get", 200),
        ("GET", "/x", 404),
        ("POST", "/get", 405),
    ] {
        client.request(method, target, "").await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("x-seen")), (status, Some("1")));
        assert_eq!(log.take(), [format!("after {status}")]);
    }
}

// ---------------------------------------------------------------- panics

#[tokio::test]
async fn task_panic_hooks_see_the_panic() {
    let (mut client, log) = logged(|server| {
        server
            .request_middleware::<First>()
            .route::<Route>("/route")
            .route::<Unmade>("/new")
            .route::<WaitsThenPanics>("/later")
            .response_middleware::<After>()
            .task_panic::<OnPanic>();
    })
    .await;
    for (target, message) in [
        ("/route?panic=first", "panic in first"),
        ("/route?panic=route", "panic in route"),
        ("/route?panic=after", "panic in after"),
        ("/new", "panic in new"),
        ("/later", "panic with an owned text"),
    ] {
        let reply = client.get(target).await;
        assert_eq!(
            (reply.status, reply.text()),
            (500, "500 Internal Server Error\n"),
            "{target}"
        );
        let log = log.take();
        let at = log
            .iter()
            .position(|line| *line == format!("panic: {message}"));
        let after = log.iter().position(|line| line == "after");
        assert!(at.is_some(), "{target}: {log:?}");
        // Panic hooks come first, then response middleware, unless that panicked.
        assert_eq!(target.contains("after"), after < at, "{target}: {log:?}");
    }
    assert_eq!(client.get("/route").await.status, 200);
}

#[tokio::test]
async fn task_panic_hooks_can_replace_the_answer() {
    let (mut client, _) = logged(|server| {
        server.route::<Unmade>("/").task_panic::<ReplacingPanic>();
    })
    .await;
    let reply = client.get("/").await;
    assert_eq!((reply.status, reply.text()), (503, "replaced"));
}

#[tokio::test]
async fn a_panic_in_a_task_panic_hook_ends_the_handling() {
    let (mut client, log) = logged(|server| {
        server
            .route::<Unmade>("/")
            .task_panic::<PanickingAgain>()
            .task_panic::<OnPanic>();
    })
    .await;
    for _ in 0..2 {
        let reply = client.get("/").await;
        assert_eq!(
            (reply.status, reply.text()),
            (500, "500 Internal Server Error\n")
        );
    }
    assert!(log.take().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_leaves_other_connections_alone() {
    let control = start(|server| {
        server.state(Log::default()).route::<Route>("/");
    })
    .await;
    let mut bystander = Client::connect(address(&control)).await;
    assert_eq!(bystander.get("/").await.status, 200);
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/?panic=route").await.status, 500);
    assert_eq!(bystander.get("/").await.status, 200);
}

/// Value of a program whose drop panics.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        die("a destructor panics");
    }
}

fn set_traps(ctx: &mut Context) {
    for name in ["one", "other"] {
        ctx.set_attribute(name, Arc::new(PanicsWhenDropped));
    }
}

hook! {
    LeavesTraps |_, ctx| {
        set_traps(ctx);
        ctx.get_mut_response().set_body("answered");
    }
    // Two of them at once would end the process.
    RefusesWithATrap |_, ctx| {
        set_traps(ctx);
        let _trap = PanicsWhenDropped;
        let _ = refuse(RequestError::missing("header", "x-token")).await;
    }
}

#[tokio::test]
async fn a_destructor_that_panics_costs_no_client_its_answer() {
    let control = start(|server| {
        server
            .route::<LeavesTraps>("/attributes")
            .route::<RefusesWithATrap>("/refused");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for _ in 0..2 {
        let reply = client.get("/attributes").await;
        assert_eq!((reply.status, reply.text()), (200, "answered"));
        assert_eq!(client.get("/refused").await.status, 400);
    }
    let last = "connection: close\r\n";
    client.request("GET", "/attributes", last).await;
    assert_eq!(client.reply().await.status, 200);
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_panic_in_the_middle_of_an_answer_ends_the_connection() {
    let (mut client, log) = logged(|server| {
        server.route::<HeadThenPanics>("/").task_panic::<OnPanic>();
    })
    .await;
    client.request("GET", "/", "").await;
    let bytes = client.rest().await;
    assert!(
        bytes.ends_with(b"\r\n\r\nhe"),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    assert_eq!(log.take(), ["panic: in the middle"]);
}

#[tokio::test]
async fn a_panic_after_a_whole_answer_changes_nothing_for_the_client() {
    let (mut client, log) = logged(|server| {
        server
            .route::<WholeThenPanics>("/")
            .route::<LargeCloseThenPanics>("/large")
            .task_panic::<OnPanic>();
    })
    .await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.text(), "whole");
        assert_eq!(log.take(), ["panic: after the answer"]);
    }
    client.request("GET", "/large", "").await;
    test_support::eventually("the handler panicked", || !log.0.lock().unwrap().is_empty()).await;
    assert_eq!(client.reply().await.body.len(), 8_000_000);
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_panic_in_a_websocket_handler_closes_with_1011() {
    let (mut client, log) = logged(|server| {
        server.route::<PanickingSocket>("/").task_panic::<OnPanic>();
    })
    .await;
    assert_eq!(client.upgrade("/", "").await.status, 101);
    client.say("go").await;
    let frame = client.next_frame().await;
    assert_eq!((frame.opcode, frame.code()), (CLOSE, 1011));
    client.frame(CLOSE, 1011u16.to_be_bytes()).await;
    assert!(client.ends().await);
    assert_eq!(log.take(), ["panic: in the socket"]);
}

#[tokio::test]
async fn a_panic_in_an_event_stream_cuts_it() {
    let (mut client, _) = logged(|server| {
        server.route::<EventsThenPanic>("/");
    })
    .await;
    client.request("GET", "/", "").await;
    let text = String::from_utf8(client.rest().await).unwrap();
    assert!(text.contains("data: one\n"), "{text}");
    // Without the last chunk the client sees that the stream was cut.
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}

// ---------------------------------------------------------------- errors

#[tokio::test]
async fn request_error_hooks_see_the_typed_error() {
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n", 400, "error: Head(MissingHost)"),
        (
            "GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n",
            400,
            "error: InvalidPath",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n",
            413,
            "error: BodyTooLarge { limit: 2097152 }; after",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nz",
            400,
            "error: Chunked(InvalidSize { byte: 122 }); after",
        ),
    ];
    for (request, status, error) in cases {
        let (mut client, log) = logged(|server| {
            server
                .request_middleware::<First>()
                .response_middleware::<After>()
                .request_error::<OnError>()
                .request_error::<ReplacingError>();
        })
        .await;
        client.send(request).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.text()), (status, "replaced"));
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(client.ends().await);
        // Response middleware has nothing to work on if there is no request.
        assert_eq!(log.take().join("; "), error);
    }
}

#[tokio::test]
async fn request_error_hooks_can_send_the_answer_themselves() {
    for before in ["", "GET /raw HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let (mut client, _) = logged(|server| {
            server
                .route::<SendingAndRejecting>("/raw")
                .request_error::<SendingError>();
        })
        .await;
        client.send(format!("{before}GET / HTTP/1.1\r\n\r\n")).await;
        if !before.is_empty() {
            assert_eq!(client.reply().await.text(), "sent");
        }
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.text()), (400, "sent by hook"));
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn a_hook_that_refuses_is_answered_by_the_error_and_the_connection_goes_on() {
    let (mut client, log) = logged(|server| {
        server
            .route::<Refusing>("/refuse")
            .route::<Route>("/")
            .response_middleware::<After>()
            .request_error::<OnError>();
    })
    .await;
    let reply = client.get("/refuse").await;
    assert_eq!(
        (reply.status, reply.text()),
        (400, "400 Bad Request: header `x-token` is missing\n")
    );
    assert_eq!(
        log.take(),
        [
            r#"error: Missing { part: "header", name: "x-token" }"#,
            "after"
        ]
    );
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn ordinary_ends_of_connections_are_no_errors() {
    use tokio::io::AsyncWriteExt;

    let log = Log::default();
    let control = start(|server| {
        server
            .state(log.clone())
            .route::<Any>("/")
            .route::<PanickingSocket>("/socket")
            .request_error::<OnError>()
            .task_panic::<OnPanic>();
    })
    .await;
    let address = address(&control);
    for (sent, reset) in [
        ("", false),
        ("", true),
        ("GET / HT", false),
        ("GET / HT", true),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf",
            false,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf",
            true,
        ),
    ] {
        let mut client = Client::connect(address).await;
        client.send(sent).await;
        if reset {
            client.stream.set_zero_linger().unwrap();
        } else {
            client.stream.shutdown().await.unwrap();
            client.rest().await;
        }
    }
    test_support::eventually("all are gone", || control.connections() == 0).await;
    assert!(log.take().is_empty());
}

// ---------------------------------------------------------------- shared values

#[tokio::test]
async fn attributes_last_for_one_request() {
    let (mut client, _) = logged(|server| {
        server
            .request_middleware::<SetAttribute>()
            .route::<Attribute>("/");
    })
    .await;
    for (target, seen) in [
        ("/?user=ada", "ada"),
        ("/", "nobody"),
        ("/?user=bob", "bob"),
    ] {
        assert_eq!(client.get(target).await.text(), seen);
    }
}

#[tokio::test]
async fn state_is_one_for_the_server_and_unknown_state_is_500() {
    let control = start(|server| {
        server
            .route::<UnknownState>("/unknown")
            .route::<Counter>("/counter");
    })
    .await;
    let mut one = Client::connect(address(&control)).await;
    let mut other = Client::connect(address(&control)).await;
    assert_eq!(one.get("/counter").await.text(), "0");
    assert_eq!(other.get("/counter").await.text(), "1");
    assert_eq!(one.get("/unknown").await.status, 500);
    assert_eq!(one.get("/counter").await.text(), "2");
}

#[tokio::test]
async fn route_parameters_are_decoded_once() {
    let (mut client, _) = logged(|server| {
        server
            .route::<Params>("/one/:name")
            .route::<Params>("/two/{a}/{b:\\d+}")
            .route::<Params>("/rest/{*path}");
    })
    .await;
    for (target, params) in [
        ("/one/plain", "name=plain"),
        ("/one/a%20b", "name=a b"),
        ("/one/a%2Fb", "name=a/b"),
        ("/one/100%2525", "name=100%25"),
        ("/one/%C3%A4+", "name=ä+"),
        ("/two/x/12", "a=x,b=12"),
        ("/two/x/%31%32", "a=x,b=12"),
        ("/rest/a/b%2Fc//d", "path=a/b/c//d"),
    ] {
        assert_eq!(client.get(target).await.text(), params, "{target}");
    }
    for target in ["/one/", "/one/a/b", "/two/x/y", "/rest/"] {
        assert_eq!(client.get(target).await.status, 404, "{target}");
    }
}

// ---------------------------------------------------------------- several handlers

#[tokio::test]
async fn guards_choose_among_the_handlers_of_a_path() {
    let (mut client, _) = logged(|server| {
        server
            .route::<Get>("/both")
            .route::<Post>("/both")
            .route::<Post>("/post")
            .route::<Socket>("/socket")
            .route::<AtHome>("/home")
            .route::<Get>("/order")
            .route::<Any>("/order");
    })
    .await;
    for (method, target, status, text, allow) in [
        ("GET", "/both", 200, "Get", None),
        ("POST", "/both", 200, "Post", None),
        ("PUT", "/both", 200, "Post", None),
        (
            "DELETE",
            "/both",
            405,
            "405 Method Not Allowed\n",
            Some("GET, POST, PUT, HEAD"),
        ),
        (
            "BREW",
            "/both",
            405,
            "405 Method Not Allowed\n",
            Some("GET, POST, PUT, HEAD"),
        ),
        (
            "GET",
            "/post",
            405,
            "405 Method Not Allowed\n",
            Some("POST, PUT"),
        ),
        ("GET", "/socket", 426, "426 Upgrade Required\n", None),
        (
            "POST",
            "/socket",
            405,
            "405 Method Not Allowed\n",
            Some("GET, HEAD"),
        ),
        ("GET", "/home", 421, "421 Misdirected Request\n", None),
        ("GET", "/order", 200, "Get", None),
        ("POST", "/order", 200, "Any", None),
    ] {
        client.request(method, target, "").await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.text()),
            (status, text),
            "{method} {target}"
        );
        assert_eq!(reply.header("allow"), allow, "{method} {target}");
        if status == 426 {
            assert_eq!(reply.header("upgrade"), Some("websocket"));
            assert_eq!(reply.header("connection"), Some("upgrade"));
        }
    }
    client.request("HEAD", "/both", "").await;
    assert_eq!(
        client.reply_to(true).await.header("content-length"),
        Some("3")
    );
    client
        .send("GET /home HTTP/1.1\r\nhost: home\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "AtHome");
}

#[tokio::test]
async fn handlers_that_cannot_be_told_apart_are_refused_at_start() {
    type Add = fn(&mut Server) -> (u32, u32);
    let refused: [(&str, Add); 5] = [
        ("two without guards", |server| {
            server.route::<Any>("/x").route::<Route>("/x");
            (line!() - 1, line!() - 1)
        }),
        ("one that takes all first", |server| {
            server.route::<Any>("/x");
            server.route::<Get>("/x");
            (line!() - 2, line!() - 1)
        }),
        ("the same method twice", |server| {
            server.route::<Post>("/x");
            server.route::<PostOnly>("/x");
            (line!() - 2, line!() - 1)
        }),
        ("other names of parameters", |server| {
            server.route::<Any>("/{a}");
            server.route::<Any>("/:b");
            (line!() - 2, line!() - 1)
        }),
        ("a third", |server| {
            server.route::<Get>("/x").route::<Post>("/x");
            server.route::<PostOnly>("/x");
            (line!() - 2, line!() - 1)
        }),
    ];
    for (case, add) in refused {
        let mut server = Server::new();
        server.bind("127.0.0.1:0");
        let (first, second) = add(&mut server);
        let Err(ServerError::Ambiguous {
            first: one,
            second: other,
            ..
        }) = server.run().await
        else {
            panic!("{case}: not refused");
        };
        assert_eq!((one.line, other.line), (first, second), "{case}");
        let error = server.run().await.err().expect("refused again").to_string();
        for line in [first, second] {
            assert!(error.contains(&format!("hooks.rs:{line}")), "{error}");
        }
    }
    let mut server = Server::new();
    server
        .bind("127.0.0.1:0")
        .route::<Get>("/x")
        .route::<Post>("/x")
        .route::<Any>("/x");
    assert!(server.run().await.is_ok());
}

#[tokio::test]
async fn a_pattern_that_cannot_be_served_is_refused_at_start() {
    for pattern in ["no-slash", "/{a}/{a}", "/{*rest}/x", "/{", "/{a:[}"] {
        let mut server = Server::new();
        server.bind("127.0.0.1:0").route::<Any>(pattern);
        let error = server
            .run()
            .await
            .err()
            .unwrap_or_else(|| panic!("{pattern:?} is served"));
        let error = error.to_string();
        assert!(
            error.contains("hooks.rs:") && error.contains(pattern),
            "{error}"
        );
    }
}

#[test]
fn routes_are_listed_with_what_runs_for_them() {
    let mut server = Server::new();
    server
        .response_middleware::<OnError>()
        .route::<Get>("/both/{id:\\d+}")
        .request_middleware::<Any>()
        .route::<Post>("/both/{id:\\d+}")
        .route::<Socket>("/socket/:room");
    let line = line!() - 1;
    let routes = server.routes().unwrap();
    let shown: Vec<_> = routes
        .iter()
        .map(|route| (route.pattern.as_str(), route.methods.clone(), route.upgrade))
        .collect();
    assert_eq!(
        shown,
        [
            ("/both/{id:\\d+}", vec!["GET"], None),
            ("/both/{id:\\d+}", vec!["POST", "PUT"], None),
            ("/socket/{room}", vec!["GET"], Some("websocket")),
        ]
    );
    assert_eq!(
        routes[0].hooks,
        ["it::hooks::Any", "it::hooks::Get", "it::hooks::OnError"]
    );
    assert_eq!(
        (routes[2].place.file, routes[2].place.line),
        (file!(), line)
    );

    server.route::<Get>("/both/{id:\\d+}");
    let error = server.routes().unwrap_err();
    assert!(matches!(error, ServerError::Ambiguous { .. }), "{error}");
    assert!(server.print_routes().is_err());
}
