//! Macros that hand over whole parts of a request, a WebSocket or an event stream, and guards by what few requests
//! are: over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use hyperlane::*;
use test_support::{BindLocal as _, Client, address};

/// Every hook of this file, on a port the system chose.
#[hyperlane(server: Server)]
async fn start() -> ServerControlHook {
    server.bind_local();
    server.get_mut_server_config().allowed_hosts = test_support::hosts();
    server.run().await.expect("the server starts")
}

// ------------------------------------------------------------------------------------------------ handles

#[closed]
#[websocket(socket)]
#[response_header("x-room" => &name)]
#[filter(name != "nobody")]
#[request_query("key" => key)]
#[route_param("name" => name)]
#[get("/chat/{name}")]
async fn chat() {
    socket
        .send(format!("welcome to {name} with {key}"))
        .await
        .unwrap();
    while let Ok(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

#[get("/chat/{name}")]
async fn page() -> &'static str {
    "a page"
}

#[route("/hook/{name}")]
struct Hook {
    name: String,
}

impl ServerHook for Hook {
    #[route_param("name" => name)]
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self { name }
    }

    #[send]
    #[websocket(mut socket)]
    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        let other = socket.clone();
        socket = other;
        socket.send(self.name).await.unwrap();
        ctx.get_mut_response().set_body("last");
        Status::Continue
    }
}

/// Uses the handle beside a read loop: the same connection for each message.
#[get("/beside")]
#[websocket(socket)]
#[try_get_websocket_request(message)]
async fn beside() {
    socket
        .send(format!("handle {}", message.len()))
        .await
        .unwrap();
    drop(socket);
}

#[get("/listed")]
#[prologue_macros(response_header("x-listed" => "1"), websocket(socket), response_body("listed"), send)]
async fn listed() {
    socket.send("body").await.unwrap();
}

#[get("/events/{name}")]
#[sse(events)]
#[response_header("x-name" => &name)]
#[reject(name == "nobody")]
#[request_query("count" => count)]
#[route_param("name" => name)]
async fn events() -> Result<(), (HttpStatus, String)> {
    let count = count
        .parse::<u8>()
        .map_err(|error| (HttpStatus::BadRequest, error.to_string()))?;
    for number in 0..count {
        events.send(format!("{name} {number}")).await.unwrap();
    }
    Ok(())
}

#[get("/late")]
#[prologue_macros(response_body("first"), send, sse(events))]
async fn late() {
    let _ = events;
    unreachable!("something was answered already");
}

struct Helper;

impl Helper {
    #[websocket(socket)]
    async fn greet(&self, _: &mut Stream, _: &mut Context) -> Status {
        let _ = socket.send("from a helper").await;
        Status::Continue
    }
}

#[get("/helper")]
async fn helper(stream: &mut Stream, ctx: &mut Context) -> Status {
    Helper.greet(stream, ctx).await
}

/// Takes over every connection to its path.
#[request_middleware]
struct Takeover;

impl ServerHook for Takeover {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[host("takeover.example")]
    #[websocket(socket)]
    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        socket.send("taken over").await.unwrap();
        Status::Reject
    }
}

#[tokio::test]
async fn a_page_and_a_websocket_share_a_path() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/chat/den").await.text(), "a page");
    let reply = client.upgrade("/chat/den?key=k", "").await;
    assert_eq!((reply.status, reply.header("x-room")), (101, Some("den")));
    assert_eq!(client.next_frame().await.text(), "welcome to den with k");
    client.say("hi").await;
    assert_eq!(client.next_frame().await.text(), "hi");
    client.close().await;
}

#[tokio::test]
async fn a_refusal_before_the_upgrade_is_an_http_answer() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.upgrade("/chat/den", "").await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.text().contains("`key` is missing"),
        "{}",
        reply.text()
    );
    let mut client = Client::connect(address(&control)).await;
    let reply = client.upgrade("/chat/nobody?key=k", "").await;
    assert_eq!((reply.status, reply.header("x-room")), (200, None));
    // The same handler takes a request that asks for no WebSocket.
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/hook/a").await;
    assert_eq!(
        (reply.status, reply.header("upgrade")),
        (426, Some("websocket"))
    );
}

#[tokio::test]
async fn a_handle_is_bound_wherever_it_is_asked_for() {
    let control = start().await;
    let cases: [(&str, &[&str], &[&str]); 4] = [
        ("/hook/den", &[], &["den", "last"]),
        ("/beside", &["", "four"], &["handle 0", "handle 4"]),
        ("/listed", &[], &["listed", "body"]),
        ("/helper", &[], &["from a helper"]),
    ];
    for (path, says, hears) in cases {
        let mut client = Client::websocket(address(&control), path).await;
        for text in says {
            client.say(text).await;
        }
        for text in hears {
            assert_eq!(client.next_frame().await.text(), *text, "{path}");
        }
    }
    let mut client = Client::connect(address(&control)).await;
    client
        .send(
            "GET /nowhere HTTP/1.1\r\nhost: takeover.example\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    assert_eq!(client.reply().await.status, 101);
    assert_eq!(client.next_frame().await.text(), "taken over");
}

#[tokio::test]
async fn an_event_stream_starts_after_all_that_refuses() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/events/den").await;
    assert_eq!(reply.status, 400);
    let reply = client.get("/events/nobody?count=1").await;
    assert_eq!((reply.status, reply.header("x-name")), (403, None));
    assert_eq!(
        reply
            .header("content-type")
            .filter(|value| value.contains("event")),
        None
    );
    let reply = client.get("/events/den?count=2").await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("x-name"), Some("den"));
    assert_eq!(reply.text(), "id: 0\ndata: den 0\n\nid: 1\ndata: den 1\n\n");
    let reply = Client::connect(address(&control)).await.get("/late").await;
    assert_eq!((reply.status, reply.text()), (200, "first"));
}

// ------------------------------------------------------------------------------------------------ whole parts

#[get("/parts/{a}/{b}")]
#[request_version(version)]
#[request_path(path)]
#[request_querys(querys)]
#[request_headers(headers)]
#[request_cookies(cookies)]
#[route_params(params)]
#[attributes(attributes)]
async fn parts(ctx: &mut Context) -> String {
    // Bound values are owned.
    ctx.set_attribute("late", 1_u8);
    let querys: Vec<_> = querys
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let cookie = cookies.get("c").map_or("", |cookie| cookie.value());
    let params: Vec<_> = params.iter().collect();
    format!(
        "{version} {path} {querys:?} {} {cookie} {params:?} {}",
        headers.get("x-a").unwrap_or_default(),
        attributes.len()
    )
}

#[tokio::test]
async fn whole_parts_of_a_request_are_bound() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    client
        .request("GET", "/parts/1%202/3?q=4&r=5", "x-a: 6\r\ncookie: c=7\r\n")
        .await;
    assert_eq!(
        client.reply().await.text(),
        r#"HTTP/1.1 /parts/1 2/3 ["q=4", "r=5"] 6 7 [("a", "1 2"), ("b", "3")] 0"#
    );
}

// ------------------------------------------------------------------------------------------------ guards

macro_rules! guarded {
    ($($path:literal $guard:ident)*) => {$(
        mod $guard {
            use hyperlane::*;

            #[route($path)]
            #[$guard]
            async fn handler() -> &'static str {
                stringify!($guard)
            }
        }
    )*};
}

guarded! {
    "/is/unknown_method" is_unknown_method
    "/is/no_upgrade" is_unknown_upgrade_type
    "/is/0.9" is_http0_9_version
    "/is/2" is_http2_version
    "/is/3" is_http3_version
    "/is/higher" is_http1_1_or_higher_version
    "/is/http" is_http_version
    "/is/unknown_version" is_unknown_version
}

#[tokio::test]
async fn guards_decline_by_their_kind() {
    let control = start().await;
    /// Method, path, version, fields; status.
    type Case = (&'static str, &'static str, &'static str, &'static str, u16);
    let cases: &[Case] = &[
        ("PURGE", "/is/unknown_method", "1.1", "", 200),
        ("GET", "/is/unknown_method", "1.1", "", 405),
        ("GET", "/is/no_upgrade", "1.1", "", 200),
        (
            "GET",
            "/is/no_upgrade",
            "1.1",
            "connection: upgrade\r\nupgrade: mystery\r\n",
            200,
        ),
        (
            "GET",
            "/is/no_upgrade",
            "1.1",
            "connection: upgrade\r\nupgrade: websocket\r\n",
            400,
        ),
        ("GET", "/is/0.9", "1.1", "", 505),
        ("GET", "/is/2", "1.1", "", 505),
        ("GET", "/is/3", "1.1", "", 505),
        ("GET", "/is/higher", "1.1", "", 200),
        ("GET", "/is/higher", "1.0", "", 505),
        ("GET", "/is/http", "1.0", "", 200),
        ("GET", "/is/unknown_version", "1.1", "", 505),
    ];
    for (method, path, version, fields, status) in cases {
        let mut client = Client::connect(address(&control)).await;
        client
            .send(format!(
                "{method} {path} HTTP/{version}\r\nhost: h\r\n{fields}\r\n"
            ))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, *status, "{method} {path} {version} {fields}");
        if *status == 405 {
            assert_eq!(reply.header("allow"), Some(""));
        }
    }
}

#[test]
fn a_context_is_lent_again() {
    fn path(ctx: &Context) -> String {
        ctx.get_request().get_path().to_owned()
    }
    let mut owned = Context::default();
    let ctx = &mut owned;
    let before = path(context!(ctx));
    let lent: &mut Context = context!(ctx: &mut Context);
    lent.get_mut_response().set_body("lent");
    assert_eq!(ctx.get_response().get_body(), b"lent");
    assert_eq!(path(ctx), before);
}
