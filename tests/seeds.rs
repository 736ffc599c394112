//! The texts that this library grew from. Rust code of them is held to the letter, other text to its sense.
//!
//! Every Rust snippet of *WebSocket and SSE in Hyperlane* stands below as printed, inside a handler where it is a
//! fragment, and runs over a real socket; so do the functions of the blog on a hand-written WebSocket server, with our
//! handles in the place of its own sockets. What *Tide Channels* asks for and is not there yet is marked `open`.
//!
//! | seed | snippet | test |
//! |---|---|---|
//! | article | Basic WebSocket Handler | `article_handler_*` |
//! | article | How It Works: detection of upgrades | `article_handler_refuses_plain_requests_with_426` |
//! | article | Attribute Macros for Sending | `article_sending_macros_all_run` |
//! | article | Creating Frame Lists, Sending Frames (`send_list`) | `article_frame_list_is_one_frame_of_the_message` |
//! | article | Sending Frames: `try_send`, `send`, `try_send_list`, `try_flush` | `article_sends_reach_the_client_in_order` |
//! | article | Connection Management: `set_closed`, `is_keep_alive` | `article_set_closed_ends_the_connection` |
//! | article | Connection Management: the request loop | `article_request_loop_reads_on_without_answering_twice` |
//! | article | Broadcasting with WebSocket | `blog_*` |
//! | article | Setting Up the SSE Response, Sending SSE Events | `article_event_stream_is_ten_events_and_nothing_else` |
//! | article | SSE Event Format Details | `event_fields_of_the_article_arrive` |
//! | article | WebSocket Client (JavaScript) | `a_browsers_websocket_sees_open_message_and_close` |
//! | article | SSE Client (JavaScript) | `a_browsers_event_source_sees_ten_events_and_reconnects` |
//! | blog | the commands, the thread that owns the sessions | `blog_commands_reach_everyone_or_everyone_else` |
//! | blog | `handle_web_sockets`, no key | `blog_request_without_a_key_is_not_upgraded` |
//! | blog | `WebSocketHandShake::handshake` | `blog_handshake_by_hand_is_respected` |
//! | blog | a new uuid per session | `blog_ids_are_never_the_same` |
//! | blog | "Type aaaaaa => does nothing" | `blog_messages_arrive_at_once_and_not_staggered` |
//! | blog | "only the first session would work" | `blog_a_flooding_session_does_not_keep_others_out` |
//! | blog | messages on connect and disconnect, to the others | `blog_others_are_told_who_joins_and_leaves` |
//! | blog | keeping the socket alive: empty messages | `blog_empty_messages_are_answered_by_empty_messages` |
//! | blog | keeping the socket alive: a client that never sends | `blog_a_client_that_only_listens_is_pinged_and_stays` |
//! | tide | `Message`, its conversions, `Display` | `tide_messages_convert_as_drawn` |
//! | tide | `WebSocket`: `is_open`, `send`, `send_json`, `recv`, `recv_json`, `Stream` | `tide_websocket_handle_does_what_was_drawn` |
//! | tide | `ServerSentEvents`: `id`, `is_open`, `send`, `send_json` | `tide_event_stream_handle_does_what_was_drawn` |
//! | tide | heartbeat: comments, pings | `tide_heartbeats_are_comments_on_event_streams`, `blog_a_client_that_only_listens_is_pinged_and_stays` |
//! | tide | errors are `io::Error` once the remote is gone | `tide_websocket_handle_does_what_was_drawn` |
//! | tide | `req.ws()`, `req.sse()`: the channel of this client's session | `tide_a_page_sends_to_the_channel_it_will_connect_to`, `tide_a_socket_is_accessed_from_another_request`, `tide_nothing_is_sent_unless_a_client_is_connected`; in a browser: `cargo xtask browser` |
//! | tide | `ws()`, `sse()`, `timeout(..)` | `tide_endpoints_have_a_timeout` |
//! | tide | `ws_with(f)`, `sse_with(f)` | `tide_functions_meet_each_new_channel` |
//! | tide | `WebSocketEndpoint`, `ServerSentEventsEndpoint`: `new`, `with`, `set_timeout` | `tide_functions_meet_each_new_channel`, `tide_endpoints_have_a_timeout` |
//! | tide | disconnects: waiting for a reconnect, `is_open` meanwhile | `tide_a_channel_awaits_its_client_and_fails_in_the_end` |
//! | tide | `forwarded`, `x-forwarded-for` | `tests/it/client_address.rs` |
//! | tide | `join_group`, `broadcast(group, ..)` on a channel | open (rooms: `blog_*`) |
//! | tide | `my_app::RequestExt` over groups | open |
//! | tide | `res.set_body(Path::new(..))` | `tide_a_path_is_a_body` |
//! | tide | `res.push(..)` | open |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use hyperlane::proto::sse::EventReader;
use test_support::{BINARY, CLOSE, Client, Frame, PING, PONG, TEXT, address, eventually, frame};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

// ------------------------------------------------------------------------------------------------ the article

/// The snippets as printed.
#[rustfmt::skip]
#[allow(unused_must_use, unused_variables, reason = "the article's own")]
mod article {
    use hyperlane::*;
    use test_support::BindLocal as _;

#[route("/ws_upgrade_type")]
struct Websocket;
impl ServerHook for Websocket {
async fn new(_: &mut Stream, _: &mut Context) -> Self {
Self
}
#[is_ws_upgrade_type]
#[try_get_websocket_request(body)]
async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
let body_list: Vec<ResponseBody> = WebSocketFrame::create_frame_list(&body);
stream.send_list(body_list).await;
Status::Continue
}
}

    /// "Attribute Macros for Sending", on one handler and in the order printed.
    #[route("/sending_macros")]
    struct SendingMacros;

    impl ServerHook for SendingMacros {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

#[try_send]
#[send]
#[try_flush]
#[flush]
#[closed]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            ctx.get_mut_response().set_body("once");
            Status::Continue
        }
    }

    /// "Creating Frame Lists" and "Sending Frames".
    #[route("/frame_list")]
    struct FrameList;

    impl ServerHook for FrameList {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[try_get_websocket_request(body)]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
let body_list: Vec<ResponseBody> = WebSocketFrame::create_frame_list(&body);
            assert_eq!(body_list.len(), 1);
stream.send_list(body_list).await;
        }
    }

    /// "For individual frame sending": each line is a way of its own, as `data` moves into the first.
    #[route("/sends/http/{which}")]
    struct Sends;

    impl ServerHook for Sends {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[route_param("which" => which)]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            ctx.get_mut_response().set_body(&which);
let data: Vec<u8> = ctx.get_mut_response().build();
            match which.as_str() {
                "try_send" => {
stream.try_send(data).await;
                }
                "send" => {
stream.send(data).await;
                }
                _ => {
                    let frame_list: Vec<ResponseBody> = vec![data];
stream.try_send_list(&frame_list).await;
                }
            }
stream.try_flush().await;
            Status::Continue
        }
    }

    #[route("/sends/ws")]
    struct SendsFrames;

    impl ServerHook for SendsFrames {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        #[try_get_websocket_request(body)]
        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let frame_list: Vec<ResponseBody> = WebSocketFrame::create_frame_list(&body);
            let data = frame_list.concat();
stream.try_send(data).await;
            let data = frame_list.concat();
stream.send(data).await;
stream.try_send_list(&frame_list).await;
stream.try_flush().await;
            Status::Continue
        }
    }

    /// "Connection Management", its first two lines.
    #[route("/set_closed")]
    struct SetClosed;

    impl ServerHook for SetClosed {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let before = stream.is_keep_alive(ctx.get_request().is_enable_keep_alive());
stream.set_closed(true);
let keep_alive: bool = stream.is_keep_alive(ctx.get_request().is_enable_keep_alive());
            ctx.get_mut_response().set_body(format!("{before} {keep_alive}"));
            Status::Continue
        }
    }

    /// "Connection Management", its loop, after an answer.
    #[route("/request_loop")]
    struct RequestLoop;

    impl ServerHook for RequestLoop {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let data: Vec<u8> = ctx.get_mut_response().set_body("first").build();
            stream.try_send(data).await;
while stream.try_get_http_request().await.is_ok() {
if !ctx.get_request().is_enable_keep_alive() {
stream.set_closed(true);
break;
}
}
            Status::Continue
        }
    }

    /// All of "Connection Management" in one piece.
    #[route("/connection_management")]
    struct ConnectionManagement;

    impl ServerHook for ConnectionManagement {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
stream.set_closed(true);
let keep_alive: bool = stream.is_keep_alive(ctx.get_request().is_enable_keep_alive());
while stream.try_get_http_request().await.is_ok() {
if !ctx.get_request().is_enable_keep_alive() {
stream.set_closed(true);
break;
}
}
            ctx.get_mut_response().set_body(format!("kept alive: {keep_alive}"));
            Status::Continue
        }
    }

    /// "Setting Up the SSE Response" and "Sending SSE Events".
    #[route("/sse")]
    struct Sse;

    impl ServerHook for Sse {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
let data: Vec<u8> = ctx
.get_mut_response()
.set_header(CONTENT_TYPE, TEXT_EVENT_STREAM)
.set_body(Vec::new())
.build();
stream.try_send(data).await;
for i in 0..10 {
let body: String = format!("data:{i}{HTTP_DOUBLE_BR}");
stream.try_send(&body).await;
}
            Status::Continue
        }
    }

    /// "SSE Event Format Details".
    #[route("/sse_fields")]
    struct SseFields;

    impl ServerHook for SseFields {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let data: Vec<u8> = ctx
                .get_mut_response()
                .set_header(CONTENT_TYPE, TEXT_EVENT_STREAM)
                .set_body(Vec::new())
                .build();
            stream.try_send(data).await;
            for field in ["data:", "event:", "id:", "retry:"] {
                let value = if field == "retry:" { "250" } else { "it" };
                stream.try_send(format!("{field}{value}{HTTP_BR}")).await;
            }
            stream.try_send(HTTP_BR).await;
            Status::Continue
        }
    }

    /// Every hook of this file, on a port the system chose.
    #[hyperlane(server: Server)]
    pub(super) async fn start() -> ServerControlHook {
        server.bind_local();
        server.run().await.expect("the server starts")
    }
}

#[tokio::test]
async fn article_handler_echoes_text_as_text_and_binary_as_binary() {
    let control = article::start().await;
    let mut client = Client::websocket(address(&control), "/ws_upgrade_type").await;
    let long = "é".repeat(40_000);
    let cases: [(u8, &[u8]); 7] = [
        (TEXT, b"Hello Server!"),
        (BINARY, b"Hello Server!"),
        (BINARY, &[0, 159, 255]),
        (TEXT, "äöü 漢字".as_bytes()),
        (TEXT, b""),
        (BINARY, b""),
        (TEXT, long.as_bytes()),
    ];
    for (opcode, payload) in cases {
        client.frame(opcode, payload).await;
        let expected = Frame {
            fin: true,
            opcode,
            payload: payload.to_vec(),
        };
        assert_eq!(client.next_frame().await, expected);
    }
    client.close().await;
}

#[tokio::test]
async fn article_handler_joins_fragments_around_pings() {
    let control = article::start().await;
    let mut client = Client::websocket(address(&control), "/ws_upgrade_type").await;
    for opcode in [TEXT, BINARY] {
        client.send(frame(false, opcode, "he")).await;
        client.frame(PING, "still there?").await;
        client.send(frame(false, 0, "")).await;
        client.send(frame(true, 0, "llo")).await;
        let pong = client.next_frame().await;
        assert_eq!(
            (pong.opcode, pong.payload.as_slice()),
            (PONG, &b"still there?"[..])
        );
        let whole = client.next_frame().await;
        assert_eq!(
            (whole.fin, whole.opcode, whole.payload.as_slice()),
            (true, opcode, &b"hello"[..])
        );
    }
    client.close().await;
}

#[tokio::test]
async fn article_handler_answers_a_close_with_its_code() {
    let control = article::start().await;
    for (sent, answered) in [
        (Some(1000), Some(1000)),
        (Some(1001), Some(1001)),
        (Some(3456), Some(3456)),
        (None, None),
    ] {
        let mut client = Client::websocket(address(&control), "/ws_upgrade_type").await;
        client.say("a").await;
        assert_eq!(client.next_frame().await.text(), "a");
        let payload = sent.map_or(Vec::new(), |code: u16| code.to_be_bytes().to_vec());
        client.frame(CLOSE, payload).await;
        let close = client.next_frame().await;
        assert_eq!(close.opcode, CLOSE);
        match answered {
            Some(code) => assert_eq!(close.code(), code),
            // No code in, none out, or a plain goodbye (RFC 6455 §5.5.1).
            None => assert!(
                close.payload.is_empty() || close.code() == 1000,
                "{close:?}"
            ),
        }
        assert!(client.ends().await, "nothing follows a Close");
    }
}

#[tokio::test]
async fn article_handler_refuses_plain_requests_with_426() {
    let control = article::start().await;
    let mut client = Client::connect(address(&control)).await;
    for _ in 0..2 {
        // The answer comes at once, and the rest is the next request: nothing is read as frames.
        let reply = client.get("/ws_upgrade_type").await;
        assert_eq!(reply.status, 426);
        assert_eq!(reply.header("upgrade"), Some("websocket"));
        assert!(!reply.text().is_empty());
    }
    assert_eq!(client.get("/nowhere").await.status, 404);
    let reply = client.upgrade("/nowhere", "").await;
    assert_eq!(reply.status, 404, "no upgrade on an unknown path");
}

#[tokio::test]
async fn article_sending_macros_all_run() {
    let control = article::start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/sending_macros").await;
    assert_eq!((reply.status, reply.text()), (200, "once"));
    // The second send found the response complete, and `closed` closed.
    assert!(client.ends().await, "one response and no more");
}

#[tokio::test]
async fn article_frame_list_is_one_frame_of_the_message() {
    let control = article::start().await;
    let mut client = Client::websocket(address(&control), "/frame_list").await;
    for size in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
        let text = "x".repeat(size);
        client.say(&text).await;
        let echo = client.next_frame().await;
        assert!(echo.fin && echo.text() == text, "{size}");
    }
    client.close().await;
}

#[tokio::test]
async fn article_sends_reach_the_client_in_order() {
    let control = article::start().await;
    let mut client = Client::connect(address(&control)).await;
    for which in ["try_send", "send", "try_send_list"] {
        let reply = client.get(&format!("/sends/http/{which}")).await;
        assert_eq!((reply.status, reply.text()), (200, which));
    }
    let mut client = Client::websocket(address(&control), "/sends/ws").await;
    for word in ["one", "two"] {
        client.say(word).await;
        for _ in 0..3 {
            assert_eq!(client.next_frame().await.text(), word);
        }
    }
    client.close().await;
}

#[tokio::test]
async fn article_set_closed_ends_the_connection() {
    let control = article::start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/set_closed").await;
    assert_eq!((reply.status, reply.text()), (200, "true false"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(client.ends().await);

    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/connection_management").await;
    assert_eq!((reply.status, reply.text()), (200, "kept alive: false"));
    assert!(client.ends().await, "one request, one response");
}

#[tokio::test]
async fn article_request_loop_reads_on_without_answering_twice() {
    let control = article::start().await;
    // A client closes after its first request.
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/request_loop", "").await;
    assert_eq!(client.reply().await.text(), "first");
    client.finish().await;
    assert!(client.ends().await, "there was no second request to answer");
    // A client asks for the end right away: the loop has nothing to read for it.
    let mut client = Client::connect(address(&control)).await;
    client
        .request("GET", "/request_loop", "connection: close\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "first");
    client.finish().await;
    assert!(client.ends().await);
}

#[tokio::test]
async fn article_event_stream_is_ten_events_and_nothing_else() {
    let control = article::start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/sse").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("content-length"), None);
    assert_eq!(reply.header("connection"), Some("close"), "{}", reply.head);
    // Neither caches nor proxies hold events back.
    assert_eq!(
        reply.header("cache-control"),
        Some("no-cache"),
        "{}",
        reply.head
    );
    assert_eq!(
        reply.header("x-accel-buffering"),
        Some("no"),
        "{}",
        reply.head
    );
    let expected: String = (0..10).map(|i| format!("data:{i}\r\n\r\n")).collect();
    assert_eq!(reply.text(), expected);
}

#[tokio::test]
async fn event_fields_of_the_article_arrive() {
    let control = article::start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/sse_fields").await;
    let mut reader = EventReader::new();
    let events = read_events(&mut reader, &reply.body);
    assert_eq!(
        events,
        [("it".to_owned(), "it".to_owned(), "it".to_owned())]
    );
    assert_eq!(reader.retry(), Some(Duration::from_millis(250)));
}

/// Type, data and id of each event.
fn read_events(reader: &mut EventReader, bytes: &[u8]) -> Vec<(String, String, String)> {
    let mut events = Vec::new();
    reader.push(bytes, &mut events).expect("a short stream");
    events
        .into_iter()
        .map(|event| (event.event, event.data, event.id))
        .collect()
}

/// Acts as a browser's page with `new WebSocket('ws://localhost:8080/ws_upgrade_type')`.
#[tokio::test]
async fn a_browsers_websocket_sees_open_message_and_close() {
    let control = article::start().await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send(
            "GET /ws_upgrade_type HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive, Upgrade\r\n\
             Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0\r\nUpgrade: websocket\r\n\
             Origin: http://localhost:8080\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\n\
             Accept-Language: en\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        )
        .await;
    let reply = client.reply().await;
    // `onopen`: what a browser checks (RFC 6455 §4.1).
    assert_eq!(reply.status, 101);
    assert!(
        reply
            .header("upgrade")
            .unwrap()
            .eq_ignore_ascii_case("websocket")
    );
    assert!(
        reply
            .header("connection")
            .unwrap()
            .eq_ignore_ascii_case("upgrade")
    );
    assert_eq!(
        reply.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    for absent in [
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "content-length",
        "content-type",
    ] {
        assert_eq!(reply.header(absent), None, "{absent}");
    }
    client.say("Hello Server!").await;
    // `onmessage`.
    assert_eq!(client.next_frame().await.text(), "Hello Server!");
    // `onclose`, clean.
    client.close().await;
}

#[tokio::test]
async fn a_page_of_another_origin_gets_no_websocket() {
    let control = article::start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client
        .upgrade("/ws_upgrade_type", "origin: https://evil.example\r\n")
        .await;
    assert_eq!(reply.status, 403);
}

/// Acts as a browser's page with `new EventSource('http://localhost:8080/sse')`.
#[tokio::test]
async fn a_browsers_event_source_sees_ten_events_and_reconnects() {
    let control = article::start().await;
    // The end of the stream is `onerror`; the browser connects again and gets the same.
    for _ in 0..2 {
        let mut client = Client::connect(address(&control)).await;
        client
            .send(
                "GET /sse HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive\r\nAccept: text/event-stream\r\n\
                 Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0\r\nOrigin: http://localhost:8080\r\n\r\n",
            )
            .await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.to_ascii_lowercase()
                .contains("\r\ncontent-type: text/event-stream\r\n")
                || head
                    .to_ascii_lowercase()
                    .contains("\r\ncontent-type:text/event-stream\r\n"),
            "{head}"
        );
        let body = client.rest().await;
        let mut reader = EventReader::new();
        let events = read_events(&mut reader, &body);
        let data: Vec<_> = events.iter().map(|(_, data, _)| data.as_str()).collect();
        assert_eq!(data, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert!(events.iter().all(|(kind, ..)| kind == "message"));
    }
}

// ------------------------------------------------------------------------------------------------ the blog

/// The blog's server: one task owns the sessions, handlers send it commands.
mod blog {
    use super::*;
    use hyperlane::{WebSocket, *};

    /// A session's id: the connection's, which is never used again.
    pub(super) type Uuid = u64;

    #[allow(clippy::enum_variant_names, reason = "the blog's own")]
    pub(super) enum WebSocketCommands {
        WebSocketAddConn(Uuid, WebSocket),
        WebSocketRemoveConn(Uuid),
        WebSocketBroadcast(Vec<u8>),
        WebSocketBroadcastExcept(Uuid, Vec<u8>),
    }

    #[derive(Default)]
    pub(super) struct WebSockets {
        sessions: HashMap<Uuid, WebSocket>,
    }

    impl WebSockets {
        async fn add_session(&mut self, uuid: Uuid, sender: WebSocket) {
            self.sessions.insert(uuid, sender);
        }

        async fn remove_session(&mut self, uuid: Uuid) {
            self.sessions.remove(&uuid);
        }

        async fn broadcast(&mut self, items: Vec<u8>) {
            self.broadcast_except(Uuid::MAX, items).await;
        }

        async fn broadcast_except(&mut self, uuid: Uuid, items: Vec<u8>) {
            let text = String::from_utf8_lossy(&items).into_owned();
            for (id, session) in &self.sessions {
                if *id != uuid {
                    let _ = session.send(text.as_str()).await;
                }
            }
        }
    }

    /// The snippet as printed, with its own names.
    #[rustfmt::skip]
    pub(super) fn commands() -> UnboundedSender<WebSocketCommands> {
// Webs socket stuff
let (tx, mut rx): (
UnboundedSender<WebSocketCommands>,
UnboundedReceiver<WebSocketCommands>,
) = mpsc::unbounded_channel();
// Web socket thread. This socket stores uuids as keys and a channel to contact each active session as values.
tokio::spawn(async move {
let mut socket_session: WebSockets = WebSockets::default();
while let Some(command) = rx.recv().await {
match command {
WebSocketCommands::WebSocketAddConn(uuid, sender) => {
socket_session.add_session(uuid, sender).await
}
WebSocketCommands::WebSocketRemoveConn(uuid) => {
socket_session.remove_session(uuid).await
}
WebSocketCommands::WebSocketBroadcast(items) => {
socket_session.broadcast(items).await
}
WebSocketCommands::WebSocketBroadcastExcept(uuid, items) => {
socket_session.broadcast_except(uuid, items).await
}
}
}
});
        tx
    }

    /// `handle_web_sockets`: `all ..` goes to everyone, anything else to everyone else.
    pub(super) struct HandleWebSockets;

    impl ServerHook for HandleWebSockets {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            use WebSocketCommands::*;
            let sender = ctx.state::<UnboundedSender<WebSocketCommands>>();
            let Ok(socket) = ctx.upgrade(stream).await else {
                return Status::Reject;
            };
            let uuid = socket.connection_id();
            let _ = sender.send(WebSocketAddConn(uuid, socket.clone()));
            let _ = sender.send(WebSocketBroadcastExcept(
                uuid,
                b"someone connected".to_vec(),
            ));
            while let Ok(message) = socket.recv().await {
                let items = message.into_bytes().to_vec();
                let _ = sender.send(if items.starts_with(b"all ") {
                    WebSocketBroadcast(items)
                } else {
                    WebSocketBroadcastExcept(uuid, items)
                });
            }
            let _ = sender.send(WebSocketRemoveConn(uuid));
            let _ = sender.send(WebSocketBroadcastExcept(
                uuid,
                b"someone disconnected".to_vec(),
            ));
            Status::Continue
        }
    }

    /// The same with this library's means: a room in the place of the thread.
    pub(super) struct Room;

    impl ServerHook for Room {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            use hyperlane::broadcast::{Join, RoomExt};
            let name = ctx.get_request().try_get_query("name").unwrap_or_default();
            let Ok(socket) = ctx.upgrade(stream).await else {
                return Status::Reject;
            };
            let Ok(room) = ctx.room("blog") else {
                return Status::Reject;
            };
            let join = Join::new()
                .user(&name)
                .farewell(format!("{name} disconnected"));
            let Ok(member) = room.join_with(&socket, join).await else {
                return Status::Reject;
            };
            let connected = room
                .broadcast_except(&member, format!("{name} connected"))
                .await;
            if connected.is_err() {
                return Status::Reject;
            }
            while let Ok(message) = socket.recv().await {
                if message.is_empty() {
                    // The page sends a dummy message every 20 s.
                    let _ = socket.send("").await;
                    continue;
                }
                if room.broadcast_except(&socket, message).await.is_err() {
                    break;
                }
            }
            Status::Continue
        }
    }

    /// Answers the handshake itself, from the key.
    pub(super) struct HandShake;

    impl ServerHook for HandShake {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let key = match ctx.get_request().try_get_header_back(SEC_WEBSOCKET_KEY) {
                Some(x) => x,
                None => {
                    ctx.get_mut_response().set_status_code(404);
                    return Status::Reject;
                }
            };
            let response = ctx
                .get_mut_response()
                .set_status_code(101)
                .set_header(UPGRADE, WEBSOCKET)
                .set_header(CONNECTION, UPGRADE)
                .set_header(
                    SEC_WEBSOCKET_ACCEPT,
                    WebSocketFrame::generate_accept_key(&key),
                )
                .set_header("x-by", "hand")
                .build();
            if stream.try_send(response).await.is_err() {
                return Status::Reject;
            }
            while let Ok(body) = stream.try_get_websocket_request().await {
                stream
                    .send_list(WebSocketFrame::create_frame_list(&body))
                    .await;
            }
            Status::Continue
        }
    }

    /// Sends its id.
    pub(super) struct Id;

    impl ServerHook for Id {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            if let Ok(socket) = ctx.upgrade(stream).await {
                let _ = socket.send(socket.connection_id().to_string()).await;
            }
            Status::Continue
        }
    }

    pub(super) async fn start() -> ServerControlHook {
        test_support::start(|server| {
            server
                .state(commands())
                .route::<HandleWebSockets>("/commands")
                .route::<Room>("/room")
                .route::<HandShake>("/handshake")
                .route::<Id>("/id");
        })
        .await
    }
}

#[tokio::test]
async fn blog_commands_reach_everyone_or_everyone_else() {
    let control = blog::start().await;
    let at = address(&control);
    let mut ada = Client::websocket(at, "/commands").await;
    ada.say("all I am here").await;
    assert_eq!(ada.next_message().await.text(), "all I am here");
    let mut bob = Client::websocket(at, "/commands").await;
    assert_eq!(ada.next_message().await.text(), "someone connected");
    bob.say("all hello").await;
    for client in [&mut ada, &mut bob] {
        assert_eq!(client.next_message().await.text(), "all hello");
    }
    ada.say("not to myself").await;
    assert_eq!(bob.next_message().await.text(), "not to myself");
    bob.close().await;
    assert_eq!(ada.next_message().await.text(), "someone disconnected");
    ada.say("all alone").await;
    assert_eq!(ada.next_message().await.text(), "all alone");
    ada.close().await;
}

#[tokio::test]
async fn blog_request_without_a_key_is_not_upgraded() {
    let control = blog::start().await;
    for (target, status) in [("/handshake", 404), ("/room?name=x", 400)] {
        let mut client = Client::connect(address(&control)).await;
        client
            .request(
                "GET",
                target,
                "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n",
            )
            .await;
        assert_eq!(client.reply().await.status, status, "{target}");
    }
    // The reason decides the status, not that the hook rejects.
    let mut client = Client::connect(address(&control)).await;
    client
        .request(
            "GET",
            "/room?name=x",
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 8\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        )
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("sec-websocket-version")),
        (426, Some("13"))
    );
}

#[tokio::test]
async fn blog_handshake_by_hand_is_respected() {
    let control = blog::start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.upgrade("/handshake", "").await;
    assert_eq!((reply.status, reply.header("x-by")), (101, Some("hand")));
    assert_eq!(
        reply.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(reply.header("content-length"), None);
    client.frame(BINARY, "x").await;
    assert_eq!(client.next_frame().await.opcode, BINARY);
    client.close().await;
}

#[tokio::test]
async fn blog_ids_are_never_the_same() {
    let control = blog::start().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let mut client = Client::websocket(address(&control), "/id").await;
        ids.push(client.next_message().await.text().to_owned());
        // The handler ends, so the server closes.
        assert_eq!(client.next_message().await.code(), 1000);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn blog_messages_arrive_at_once_and_not_staggered() {
    let control = blog::start().await;
    let at = address(&control);
    let mut ada = Client::websocket(at, "/room?name=ada").await;
    let mut bob = Client::websocket(at, "/room?name=bob").await;
    assert_eq!(ada.next_message().await.text(), "bob connected");
    for word in ["aaaaaa", "bbbbbb", "cccccc"] {
        // Each message is seen before anything else is typed.
        ada.say(word).await;
        assert_eq!(bob.next_message().await.text(), word);
        bob.say(word).await;
        assert_eq!(ada.next_message().await.text(), word);
    }
}

#[tokio::test]
async fn blog_a_flooding_session_does_not_keep_others_out() {
    let control = blog::start().await;
    let at = address(&control);
    let mut flood = Client::websocket(at, "/room?name=flood").await;
    let flooding = tokio::spawn(async move {
        let burst = frame(true, TEXT, "").repeat(1000);
        loop {
            // It reads, or else its own reads would stop it.
            use tokio::io::AsyncWriteExt;
            let mut answers = [0; 64 * 1024];
            tokio::select! {
                written = flood.stream.write_all(&burst) => if written.is_err() { return },
                _ = std::future::ready(()) => {}
            }
            while flood
                .stream
                .try_read(&mut answers)
                .is_ok_and(|count| count > 0)
            {}
            tokio::task::yield_now().await;
        }
    });
    let mut ada = Client::websocket(at, "/room?name=ada").await;
    let mut bob = Client::websocket(at, "/room?name=bob").await;
    assert_eq!(ada.next_message().await.text(), "bob connected");
    bob.say("through").await;
    assert_eq!(ada.next_message().await.text(), "through");
    flooding.abort();
}

#[tokio::test]
async fn blog_others_are_told_who_joins_and_leaves() {
    let control = blog::start().await;
    let at = address(&control);
    let mut ada = Client::websocket(at, "/room?name=ada").await;
    ada.say("").await;
    assert_eq!(ada.next_message().await.text(), "", "no notice of oneself");
    let bob = Client::websocket(at, "/room?name=bob").await;
    assert_eq!(ada.next_message().await.text(), "bob connected");
    // One leaves with a Close, and one vanishes.
    bob.close().await;
    assert_eq!(ada.next_message().await.text(), "bob disconnected");
    let cy = Client::websocket(at, "/room?name=cy").await;
    assert_eq!(ada.next_message().await.text(), "cy connected");
    drop(cy);
    assert_eq!(ada.next_message().await.text(), "cy disconnected");
    ada.close().await;
}

#[tokio::test]
async fn blog_empty_messages_are_answered_by_empty_messages() {
    let control = blog::start().await;
    let mut client = Client::websocket(address(&control), "/room?name=ada").await;
    for _ in 0..3 {
        client.say("").await;
        let answer = client.next_frame().await;
        assert_eq!((answer.fin, answer.text()), (true, ""));
    }
    client.close().await;
}

#[tokio::test]
async fn blog_a_client_that_only_listens_is_pinged_and_stays() {
    let control = test_support::start(|server| {
        let config = server.get_mut_server_config();
        config.ping_interval = Some(Duration::from_millis(300));
        config.pong_timeout = Some(Duration::from_millis(200));
        server.route::<blog::Room>("/room");
    })
    .await;
    let at = address(&control);
    let mut ada = Client::websocket(at, "/room?name=ada").await;
    for _ in 0..3 {
        let ping = ada.next_frame().await;
        assert_eq!(ping.opcode, PING);
        ada.frame(PONG, ping.payload).await;
    }
    let _bob = Client::websocket(at, "/room?name=bob").await;
    assert_eq!(ada.next_message().await.text(), "bob connected");
}

// ------------------------------------------------------------------------------------------------ tide

mod tide {
    use super::*;
    use hyperlane::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Cat {
        pub(super) name: String,
    }

    /// Results of the last handler, for the test.
    pub(super) static ENDED: OnceLock<(std::io::ErrorKind, std::io::ErrorKind, bool)> =
        OnceLock::new();

    pub(super) struct Socket;

    impl ServerHook for Socket {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let Ok(mut socket) = ctx.upgrade(stream).await else {
                return Status::Reject;
            };
            let run = async {
                assert!(socket.is_open());
                assert!(socket.peer_addr().is_some());
                socket.send(b"hello chashu").await?;
                let msg = socket.recv().await?;
                socket.send(format!("message received: {msg}")).await?;
                let cat: Cat = socket.recv_json().await?;
                socket.send_json(&cat).await?;
                // The handle is a stream of messages.
                let next = socket.next().await.map(|message| message.to_string());
                socket.send(next.unwrap_or_default()).await?;
                std::io::Result::Ok(())
            };
            run.await.expect("the client plays along");
            let received = socket.recv().await.expect_err("the client closes").kind();
            let sent = socket.send("late").await.expect_err("it is closed").kind();
            let _ = ENDED.set((received, sent, socket.is_open()));
            Status::Continue
        }
    }

    /// The first lines of the text.
    #[get("/tide/chashu")]
    async fn page(req: &mut Context) -> Result<Response, Error> {
        req.sse().send(b"hello Chashu").await?; // Send a message over the SSE channel.
        Ok(Response::default())
    }

    /// "Using channels inside endpoints", the first snippet.
    #[get("/tide/socket")]
    async fn access(req: &mut Context) -> Result<Response, Error> {
        let socket = req.ws(); // access the socket

        socket.send(b"hello chashu").await?; // send a message
        let msg = socket.recv().await?; // receive a message
        println!("message received: {}", msg); // print a message

        let mut res = Response::default();
        res.set_body(msg.to_string());
        Ok(res)
    }

    /// "Using channels inside endpoints", the second snippet.
    #[get("/tide/nori")]
    async fn if_open(req: &mut Context) -> Result<Response, Error> {
        let sse = req.sse();

        if sse.is_open() {
            sse.send(b"hello Nori").await?;
        }

        let mut res = Response::default();
        res.set_body(sse.is_open().to_string());
        Ok(res)
    }

    /// Every hook of this file, and the endpoints of a test.
    pub(super) async fn start(endpoints: impl FnOnce(&mut Server)) -> ServerControlHook {
        test_support::start(|app| {
            app.__register_all();
            endpoints(app);
        })
        .await
    }

    /// Number of event streams that have ended.
    pub(super) static LEFT: AtomicUsize = AtomicUsize::new(0);

    pub(super) struct Events;

    impl ServerHook for Events {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
            let Ok(sse) = ctx.event_stream(stream).await else {
                return Status::Reject;
            };
            assert_eq!(sse.id(), 0);
            if sse.is_open() {
                sse.send(b"hello Nori").await.expect("sent");
            }
            sse.send_json(&Cat {
                name: "Nori".to_owned(),
            })
            .await
            .expect("sent");
            let refused = sse.send(vec![0xff]).await.expect_err("not UTF-8").kind();
            assert_eq!(refused, std::io::ErrorKind::InvalidData);
            assert_eq!(sse.id(), 2);
            sse.closed().await;
            assert!(!sse.is_open());
            LEFT.fetch_add(1, Ordering::SeqCst);
            Status::Continue
        }
    }
}

#[test]
fn tide_messages_convert_as_drawn() {
    use hyperlane::Message;
    assert_eq!(Message::from("a".to_owned()), Message::text("a"));
    assert_eq!(Message::from(vec![1u8]), Message::binary(vec![1]));
    assert_eq!(String::try_from(Message::text("a")).unwrap(), "a");
    assert_eq!(Vec::<u8>::try_from(Message::binary(vec![1])).unwrap(), [1]);
    assert!(String::try_from(Message::binary(vec![0xff])).is_err());
    assert!(matches!(
        Message::Ping(Default::default()),
        Message::Ping(_)
    ));
    assert_eq!(
        format!("message received: {}", Message::text("hi")),
        "message received: hi"
    );
}

#[tokio::test]
async fn tide_websocket_handle_does_what_was_drawn() {
    let control = test_support::start(|server| {
        server.route::<tide::Socket>("/ws");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/ws").await;
    let hello = client.next_frame().await;
    assert_eq!(
        (hello.opcode, hello.payload.as_slice()),
        (BINARY, &b"hello chashu"[..])
    );
    client.say("hi").await;
    assert_eq!(client.next_frame().await.text(), "message received: hi");
    client.say(r#"{"name":"Chashu"}"#).await;
    assert_eq!(client.next_frame().await.text(), r#"{"name":"Chashu"}"#);
    client.say("streamed").await;
    assert_eq!(client.next_frame().await.text(), "streamed");
    client.close().await;
    eventually("the handler's end", || tide::ENDED.get().is_some()).await;
    let expected = (
        std::io::ErrorKind::ConnectionAborted,
        std::io::ErrorKind::BrokenPipe,
        false,
    );
    assert_eq!(tide::ENDED.get(), Some(&expected));
}

#[tokio::test]
async fn tide_event_stream_handle_does_what_was_drawn() {
    let control = test_support::start(|server| {
        server.route::<tide::Events>("/sse");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client
        .request("GET", "/sse", "accept: text/event-stream\r\n")
        .await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(head.contains("text/event-stream"), "{head}");
    let mut reader = EventReader::new();
    let mut events = Vec::new();
    while events.len() < 2 {
        let chunk = client.chunk().await;
        events.extend(read_events(&mut reader, &chunk));
    }
    let expected = [
        ("message", "hello Nori", "0"),
        ("message", r#"{"name":"Nori"}"#, "1"),
    ]
    .map(|(kind, data, id)| (kind.to_owned(), data.to_owned(), id.to_owned()));
    assert_eq!(events, expected);
    drop(client);
    // The end of the client ends the handler's wait, without a further write.
    eventually("the handler's end", || {
        tide::LEFT.load(Ordering::SeqCst) == 1
    })
    .await;
}

/// A browser of one cookie.
struct Browser {
    address: std::net::SocketAddr,
    cookie: String,
}

impl Browser {
    /// Makes a browser that has a session.
    async fn new(control: &hyperlane::ServerControlHook) -> Self {
        let mut browser = Self {
            address: address(control),
            cookie: String::new(),
        };
        let (_, reply) = browser.ask("/tide/nori", "").await;
        let cookie = reply.header("set-cookie").unwrap();
        browser.cookie = cookie.split(';').next().unwrap().to_owned();
        browser
    }

    /// Sends a request on a connection of its own and reads the answer.
    async fn ask(&self, target: &str, fields: &str) -> (Client, test_support::Reply) {
        let mut client = Client::connect(self.address).await;
        let fields = format!("cookie: {}\r\n{fields}", self.cookie);
        client.request("GET", target, &fields).await;
        let reply = client.reply().await;
        (client, reply)
    }

    async fn events(&self, target: &str) -> (Client, EventReader) {
        let mut client = Client::connect(self.address).await;
        let fields = format!("cookie: {}\r\naccept: text/event-stream\r\n", self.cookie);
        client.request("GET", target, &fields).await;
        let head = client.until(b"\r\n\r\n").await;
        assert!(head.starts_with(b"HTTP/1.1 200 "));
        (client, EventReader::new())
    }

    async fn socket(&self, target: &str) -> Client {
        let mut client = Client::connect(self.address).await;
        let cookie = format!("cookie: {}\r\n", self.cookie);
        assert_eq!(client.upgrade(target, &cookie).await.status, 101);
        client
    }
}

/// Returns the data of the next event.
async fn next_event((client, reader): &mut (Client, EventReader)) -> String {
    loop {
        let chunk = client.chunk().await;
        let mut events = read_events(reader, &chunk);
        events.retain(|(name, ..)| name != "position");
        if let Some((_, data, _)) = events.pop() {
            return data;
        }
    }
}

#[tokio::test]
async fn tide_a_page_sends_to_the_channel_it_will_connect_to() {
    let app = tide::start(|app| {
        app.at("/tide/sse").get(hyperlane::sse()); // Endpoint to connect new SSE channels on.
    })
    .await;
    let [ann, bob] = [Browser::new(&app).await, Browser::new(&app).await];
    // No client is connected, and a reload never waits for itself.
    for _ in 0..20 {
        let page = "sec-fetch-mode: navigate\r\n";
        assert_eq!(ann.ask("/tide/chashu", page).await.1.status, 200);
    }
    let mut events = ann.events("/tide/sse").await;
    assert_eq!(next_event(&mut events).await, "hello Chashu");
    // Another client's channel is a different one.
    let mut others = bob.events("/tide/sse").await;
    assert_eq!(bob.ask("/tide/nori", "").await.1.text(), "true");
    assert_eq!(next_event(&mut others).await, "hello Nori");
}

#[tokio::test]
async fn tide_a_socket_is_accessed_from_another_request() {
    let app = tide::start(|app| {
        app.at("/tide/ws").get(hyperlane::ws()); // endpoint to establish a websocket connection on
    })
    .await;
    let browser = Browser::new(&app).await;
    let mut socket = browser.socket("/tide/ws").await;
    let other = async {
        assert_eq!(socket.next_frame().await.payload, b"hello chashu");
        socket.say("hello server").await;
    };
    let ((_, reply), ()) = tokio::join!(browser.ask("/tide/socket", ""), other);
    assert_eq!(reply.text(), "hello server");
}

#[tokio::test]
async fn tide_nothing_is_sent_unless_a_client_is_connected() {
    let app = tide::start(|app| {
        app.at("/tide/sse").get(hyperlane::sse());
    })
    .await;
    let browser = Browser::new(&app).await;
    assert_eq!(browser.ask("/tide/nori", "").await.1.text(), "false");
    let mut events = browser.events("/tide/sse").await;
    // Messages that were sent without a client would come before it.
    assert_eq!(browser.ask("/tide/nori", "").await.1.text(), "true");
    assert_eq!(next_event(&mut events).await, "hello Nori");
}

#[tokio::test]
async fn tide_functions_meet_each_new_channel() {
    use hyperlane::*;

    let app = tide::start(|app| {
        let ws = hyperlane::ws_with(async |ws: WebSocket, _state| {
            ws.send("new websocket created").await.unwrap();
        });
        app.at("/tide/ws").get(ws);
        app.at("/tide/sse").get(hyperlane::sse_with(
            async |sse: ServerSentEvents, _state| {
                sse.send("new event stream created").await.unwrap();
            },
        ));
        app.at("/tide/ws/struct")
            .get(WebSocketEndpoint::with(async |ws: WebSocket, _state| {
                ws.send("as a struct").await.unwrap();
            }));
        app.at("/tide/sse/struct")
            .get(ServerSentEventsEndpoint::with(
                async |sse: ServerSentEvents, _state| {
                    sse.send("as a struct").await.unwrap();
                },
            ));
    })
    .await;
    for (path, expected) in [
        ("", ["new websocket created", "new event stream created"]),
        ("/struct", ["as a struct"; 2]),
    ] {
        let browser = Browser::new(&app).await;
        let mut socket = browser.socket(&format!("/tide/ws{path}")).await;
        assert_eq!(socket.next_frame().await.text(), expected[0]);
        let mut events = browser.events(&format!("/tide/sse{path}")).await;
        assert_eq!(next_event(&mut events).await, expected[1]);
    }
}

#[tokio::test]
async fn tide_endpoints_have_a_timeout() {
    use hyperlane::*;

    for (endpoint, expected) in [
        (hyperlane::ws().timeout(Duration::from_millis(100)), true),
        (
            WebSocketEndpoint::new().set_timeout(Duration::from_millis(100)),
            true,
        ),
        (hyperlane::ws().timeout(Duration::from_secs(3600)), false),
    ] {
        let mut channels = None;
        let app = tide::start(|app| {
            let ws = endpoint.buffer(1);
            app.at("/tide/ws").get(ws);
            app.at("/tide/sse")
                .get(ServerSentEventsEndpoint::new().set_timeout(Duration::from_secs(5)));
            channels = Some(app.channels());
        })
        .await;
        let _browser = Browser::new(&app).await;
        let socket = channels.unwrap().all()[0].ws();
        socket.send("fills the buffer").await.unwrap();
        if expected {
            let error = socket.send("one too many").await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        } else {
            // The send waits; the test does not measure how long.
            assert!(socket.send("one too many").now_or_never().is_none());
        }
    }
}

#[tokio::test]
async fn tide_a_channel_awaits_its_client_and_fails_in_the_end() {
    let mut channels = None;
    let app = tide::start(|app| {
        let sse = hyperlane::sse().grace(Duration::from_secs(2)).buffer(2);
        app.at("/tide/sse").get(sse);
        channels = Some(app.channels());
    })
    .await;
    let browser = Browser::new(&app).await;
    let sse = channels.unwrap().all()[0].sse();
    let mut events = browser.events("/tide/sse").await;
    sse.send("connected").await.unwrap();
    assert_eq!(next_event(&mut events).await, "connected");
    drop(events);
    eventually("the end of the connection", || app.connections() == 0).await;
    assert!(sse.is_open(), "it awaits a reconnection");
    // "the senders will remain waiting and might eventually end"
    let mut sent = 0;
    let error = loop {
        match sse.send("into the gap").await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}");
    assert_eq!(sent, 2, "what the buffer holds");
    assert!(!sse.is_open());
}

#[tokio::test]
async fn tide_heartbeats_are_comments_on_event_streams() {
    struct Quiet;

    impl hyperlane::ServerHook for Quiet {
        async fn new(_: &mut hyperlane::Stream, _: &mut hyperlane::Context) -> Self {
            Self
        }

        async fn handle(
            self,
            stream: &mut hyperlane::Stream,
            ctx: &mut hyperlane::Context,
        ) -> hyperlane::Status {
            if let Ok(sse) = ctx.event_stream(stream).await {
                sse.closed().await;
            }
            hyperlane::Status::Continue
        }
    }

    let control = test_support::start(|server| {
        server.get_mut_server_config().sse_heartbeat = Some(Duration::from_millis(100));
        server.route::<Quiet>("/sse");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/sse", "").await;
    client.until(b"\r\n\r\n").await;
    for _ in 0..2 {
        let chunk = client.chunk().await;
        assert!(
            chunk.starts_with(b":"),
            "{:?}",
            String::from_utf8_lossy(&chunk)
        );
        assert!(read_events(&mut EventReader::new(), &chunk).is_empty());
    }
}

#[hyperlane::get("/tide/index.html")]
async fn tide_index() -> hyperlane::Response {
    let mut res = hyperlane::Response::default();
    res.set_body(Path::new("./examples/files/page.html"));
    res
}

#[tokio::test]
async fn tide_a_path_is_a_body() {
    let control = test_support::start(|server| {
        server.__register_all();
    })
    .await;
    let reply = Client::connect(address(&control))
        .await
        .get("/tide/index.html")
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(reply.text(), include_str!("../examples/files/page.html"));
}
