//! WebSockets over real sockets: valid frames, handshake, life, end, and the handle.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use hyperlane::prelude::*;
use serde::{Deserialize, Serialize};
use test_support::{
    BINARY, CLOSE, Client, Notes, PATIENCE, PING, PONG, TEXT, address, eventually, frame, handler,
    notes, start,
};

const CONTINUATION: u8 = 0;

/// A task that wakers can wake, and that does nothing.
struct Asleep;

impl std::task::Wake for Asleep {
    fn wake(self: Arc<Self>) {}
}

handler!(WaitsForTheEndOften, |stream, ctx| {
    let socket = ctx.upgrade(stream).await.unwrap();
    let held = socket.clone();
    let waits = tokio::spawn(async move { held.closed().await });
    let mut tasks = Vec::new();
    for _ in 0..1000 {
        let task = Arc::new(Asleep);
        tasks.push(Arc::downgrade(&task));
        let waker = task.into();
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(std::pin::pin!(socket.closed()).poll(&mut cx).is_pending());
        assert!(std::pin::pin!(stream.closed()).poll(&mut cx).is_pending());
        let disconnected = std::pin::pin!(stream.disconnected());
        assert!(disconnected.poll(&mut cx).is_pending());
    }
    let kept = tasks.iter().filter(|task| task.strong_count() > 0).count();
    socket.send(kept.to_string()).await.unwrap();
    // The task that waits all the time is still told.
    waits.await.unwrap();
    ctx.state::<Arc<tokio::sync::Notify>>().notify_one();
});

#[tokio::test]
async fn waits_for_the_end_that_were_dropped_pile_up_nowhere() {
    let ended = Arc::new(tokio::sync::Notify::new());
    let shared = ended.clone();
    let control = start(|server| {
        server.state(shared).route::<WaitsForTheEndOften>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    let kept = client.next_message().await;
    assert!(
        kept.text().parse::<usize>().unwrap() < 32,
        "{}",
        kept.text()
    );
    client.close().await;
    tokio::time::timeout(PATIENCE, ended.notified())
        .await
        .unwrap();
}

handler!(Echo, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    while let Ok(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
});

handler!(RawEcho, |stream, ctx| {
    if ctx.upgrade(stream).await.is_err() {
        return Status::Reject;
    }
    while let Ok(body) = stream.try_get_websocket_request().await {
        stream
            .send_list(WebSocketFrame::create_frame_list(body))
            .await;
    }
});

/// Both ways of reading and sending messages.
const ECHOES: [&str; 2] = ["/echo", "/raw"];

async fn echo_server(configure: impl FnOnce(&mut ServerConfig)) -> ServerControlHook {
    start(|server| {
        server.route::<Echo>("/echo").route::<RawEcho>("/raw");
        configure(server.get_mut_server_config());
    })
    .await
}

fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

// ---------------------------------------------------------------- messages

#[tokio::test]
async fn kind_and_content_of_messages_are_kept() {
    let control = echo_server(|_| {}).await;
    for path in ECHOES {
        let mut client = Client::websocket(address(&control), path).await;
        for (opcode, payload) in [
            (TEXT, "Grüße, 世界".as_bytes()),
            (TEXT, b"".as_slice()),
            (BINARY, b"".as_slice()),
            (BINARY, b"abc".as_slice()),
            (BINARY, b"\xff\x00\xfe".as_slice()),
            (TEXT, &[b'x'; 125]),
            (TEXT, &[b'x'; 126]),
            (BINARY, &[0xee; 65_535]),
            (BINARY, &[0xee; 65_536]),
            (TEXT, &[b'y'; 300_000]),
        ] {
            client.frame(opcode, payload).await;
            let frame = client.next_frame().await;
            assert_eq!((frame.fin, frame.opcode), (true, opcode), "{path}");
            assert!(frame.payload == payload, "{path} {}", payload.len());
        }
        client.close().await;
    }
}

#[tokio::test]
async fn fragments_are_joined_with_control_frames_between() {
    let control = echo_server(|_| {}).await;
    for path in ECHOES {
        for (opcode, whole) in [(TEXT, "fünf Teile"), (BINARY, "fünf Teile"), (TEXT, "")] {
            let mut client = Client::websocket(address(&control), path).await;
            let bytes = whole.as_bytes();
            // The cut falls inside a character.
            let cut = bytes.len().min(2);
            client.send(frame(false, opcode, &bytes[..cut])).await;
            client.frame(PING, "between").await;
            client.send(frame(false, CONTINUATION, "")).await;
            client.frame(PONG, "unasked").await;
            client.send(frame(true, CONTINUATION, &bytes[cut..])).await;
            let pong = client.next_frame().await;
            assert_eq!((pong.opcode, &pong.payload[..]), (PONG, &b"between"[..]));
            let echo = client.next_frame().await;
            assert_eq!((echo.opcode, &echo.payload[..]), (opcode, bytes), "{path}");
            client.close().await;
        }
    }
}

#[tokio::test]
async fn ping_is_answered_with_its_payload() {
    let control = echo_server(|_| {}).await;
    for path in ECHOES {
        let mut client = Client::websocket(address(&control), path).await;
        for payload in [&b""[..], b"p", &[0xff; 125]] {
            client.frame(PING, payload).await;
            let pong = client.next_frame().await;
            assert_eq!((pong.opcode, &pong.payload[..]), (PONG, payload));
        }
        client.close().await;
    }
}

#[tokio::test]
async fn three_mebibytes_are_echoed_where_limits_allow() {
    let control = echo_server(|config| {
        config.max_frame = 4 << 20;
        config.max_message = 4 << 20;
    })
    .await;
    let payload: Vec<u8> = (0..3u32 << 20).map(|at| (at % 251) as u8).collect();
    for path in ECHOES {
        let mut client = Client::websocket(address(&control), path).await;
        client.frame(BINARY, &payload).await;
        assert!(client.next_frame().await.payload == payload);
        let chunks: Vec<_> = payload.chunks(50_000).collect();
        for (at, chunk) in chunks.iter().enumerate() {
            let opcode = if at == 0 { BINARY } else { CONTINUATION };
            client
                .send(frame(at + 1 == chunks.len(), opcode, chunk))
                .await;
        }
        assert!(client.next_frame().await.payload == payload);
        client.close().await;
    }
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_answered() {
    let control = echo_server(|_| {}).await;
    let mut client = Client::connect(address(&control)).await;
    let mut bytes = b"GET /echo HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    bytes.extend(frame(true, TEXT, "early"));
    bytes.extend(frame(true, PING, "bird"));
    bytes.extend(frame(true, CLOSE, close_payload(4001, b"")));
    client.send(bytes).await;
    assert_eq!(client.reply().await.status, 101);
    assert_eq!(client.next_frame().await.text(), "early");
    assert_eq!(client.next_frame().await.opcode, PONG);
    assert_eq!(client.next_frame().await.code(), 4001);
    assert!(client.ends().await);
}

#[tokio::test]
async fn frames_may_come_byte_by_byte() {
    let control = echo_server(|_| {}).await;
    for path in ECHOES {
        let mut client = Client::websocket(address(&control), path).await;
        let mut bytes = frame(false, TEXT, "sl");
        bytes.extend(frame(true, PING, "?"));
        bytes.extend(frame(true, CONTINUATION, "ow"));
        bytes.extend(frame(true, BINARY, [7; 200]));
        for byte in bytes {
            client.send([byte]).await;
            // Each byte gets a segment of its own.
            tokio::task::yield_now().await;
        }
        assert_eq!(client.next_frame().await.opcode, PONG);
        assert_eq!(client.next_frame().await.text(), "slow");
        assert_eq!(client.next_frame().await.payload, [7; 200]);
        client.close().await;
    }
}

// ---------------------------------------------------------------- violations

/// Returns bytes after which the server must close with a code, and the fault in them.
fn violations() -> Vec<(String, Vec<u8>, u16)> {
    let mut cases: Vec<(String, Vec<u8>, u16)> = Vec::new();
    let mut case = |what: &str, bytes: Vec<u8>, code| cases.push((what.to_owned(), bytes, code));
    case("unmasked", b"\x81\x02hi".to_vec(), 1002);
    case("unmasked and empty", b"\x82\x00".to_vec(), 1002);
    for (name, bit) in [("RSV1", 0x40), ("RSV2", 0x20), ("RSV3", 0x10)] {
        let mut bytes = frame(true, TEXT, "hi");
        bytes[0] |= bit;
        case(name, bytes, 1002);
    }
    for opcode in (3..=7).chain(0xb..=0xf) {
        let what = format!("reserved opcode {opcode:#x}");
        case(&what, frame(true, opcode, "hi"), 1002);
    }
    for opcode in [CLOSE, PING, PONG] {
        case("oversized control", frame(true, opcode, [b'x'; 126]), 1002);
        case("fragmented control", frame(false, opcode, ""), 1002);
    }
    case("nothing continued", frame(true, CONTINUATION, "x"), 1002);
    for opcode in [TEXT, BINARY] {
        let bytes = [frame(false, TEXT, "a"), frame(true, opcode, "b")].concat();
        case("message inside another", bytes, 1002);
    }
    for length in [1 << 63, u64::MAX, u64::MAX - 13] {
        let bytes = [&b"\x82\xff"[..], &length.to_be_bytes(), &[0; 4]].concat();
        case("length of 2^63 and more", bytes, 1002);
    }
    for length in [(1 << 63) - 1, 1 << 40, (1 << 20) + 1] {
        let length: u64 = length;
        let bytes = [&b"\x82\xff"[..], &length.to_be_bytes(), &[0; 4]].concat();
        case("length above the limit", bytes, 1009);
    }
    case(
        "16 bits for 5",
        b"\x82\xfe\0\x05\0\0\0\0hello".to_vec(),
        1002,
    );
    case("Close of one byte", frame(true, CLOSE, [3]), 1002);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let what = format!("close code {code}");
        case(&what, frame(true, CLOSE, close_payload(code, b"")), 1002);
    }
    let reason = frame(true, CLOSE, close_payload(1000, b"\xff"));
    case("reason is not UTF-8", reason, 1007);
    for text in [
        &b"\xff"[..],
        b"abc\xc3",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
    ] {
        case("text is not UTF-8", frame(true, TEXT, text), 1007);
    }
    case(
        "bad from its first fragment",
        frame(false, TEXT, b"a\xffb"),
        1007,
    );
    let cut = [
        frame(false, TEXT, b"\xe2\x82"),
        frame(true, CONTINUATION, "x"),
    ]
    .concat();
    case("bad across fragments", cut, 1007);
    cases
}

#[tokio::test]
async fn violations_close_with_the_fitting_code() {
    let control = echo_server(|_| {}).await;
    for path in ECHOES {
        for (what, bytes, code) in violations() {
            let mut client = Client::websocket(address(&control), path).await;
            client
                .send([frame(true, TEXT, "before"), bytes].concat())
                .await;
            assert_eq!(client.next_frame().await.text(), "before", "{path} {what}");
            assert_eq!(client.next_frame().await.code(), code, "{path} {what}");
            assert!(client.ends().await, "{path} {what}");
        }
    }
}

#[tokio::test]
async fn permitted_close_codes_are_echoed_and_the_server_ends_the_stream() {
    let control = echo_server(|_| {}).await;
    for path in ECHOES {
        for code in [1000, 1001, 1003, 1007, 1013, 3000, 4999] {
            let mut client = Client::websocket(address(&control), path).await;
            client
                .frame(CLOSE, close_payload(code, "Ende".as_bytes()))
                .await;
            assert_eq!(client.next_frame().await.code(), code);
            assert!(client.ends().await);
        }
        let mut client = Client::websocket(address(&control), path).await;
        client.frame(CLOSE, "").await;
        let answer = client.next_frame().await;
        assert_eq!((answer.opcode, answer.payload.len()), (CLOSE, 0));
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn frames_and_messages_above_their_limits_close_1009() {
    let control = echo_server(|config| {
        config.max_frame = 1000;
        config.max_message = 2000;
    })
    .await;
    for path in ECHOES {
        let mut client = Client::websocket(address(&control), path).await;
        client.frame(BINARY, [1; 1000]).await;
        assert_eq!(client.next_frame().await.payload.len(), 1000);
        client.send(frame(false, BINARY, [1; 1000])).await;
        client.send(frame(true, CONTINUATION, [2; 1000])).await;
        assert_eq!(client.next_frame().await.payload.len(), 2000);
        // The server refuses it by its head alone.
        client.send(&frame(true, BINARY, [1; 1001])[..8]).await;
        assert_eq!(client.next_frame().await.code(), 1009);
        assert!(client.ends().await);

        let mut client = Client::websocket(address(&control), path).await;
        client.send(frame(false, TEXT, [b'a'; 800])).await;
        client.send(frame(false, CONTINUATION, [b'a'; 800])).await;
        client.send(frame(false, CONTINUATION, [b'a'; 800])).await;
        assert_eq!(client.next_frame().await.code(), 1009);
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn frames_behind_a_close_are_ignored() {
    let control = echo_server(|_| {}).await;
    let mut client = Client::websocket(address(&control), "/echo").await;
    let bytes = [
        frame(true, CLOSE, close_payload(1000, b"")),
        frame(true, TEXT, "late"),
        b"\xff\xff\xff".to_vec(),
    ];
    client.send(bytes.concat()).await;
    assert_eq!(client.next_frame().await.code(), 1000);
    assert!(client.ends().await);
}

// ---------------------------------------------------------------- handshake

#[tokio::test]
async fn handshakes_that_break_a_rule_are_refused_and_the_connection_goes_on() {
    let control = echo_server(|_| {}).await;
    const UPGRADE: &str = "upgrade: websocket\r\n";
    const CONNECTION: &str = "connection: upgrade\r\n";
    const VERSION: &str = "sec-websocket-version: 13\r\n";
    const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let all = [UPGRADE, CONNECTION, VERSION, KEY].concat();
    let cases = [
        ("plain GET", "GET", String::new(), 426),
        (
            "no Upgrade",
            "GET",
            [CONNECTION, VERSION, KEY].concat(),
            426,
        ),
        (
            "another protocol",
            "GET",
            ["upgrade: h2c\r\n", CONNECTION, VERSION, KEY].concat(),
            426,
        ),
        (
            "no Connection",
            "GET",
            [UPGRADE, VERSION, KEY].concat(),
            400,
        ),
        (
            "no version",
            "GET",
            [UPGRADE, CONNECTION, KEY].concat(),
            426,
        ),
        (
            "version 8",
            "GET",
            [UPGRADE, CONNECTION, "sec-websocket-version: 8\r\n", KEY].concat(),
            426,
        ),
        (
            "no key",
            "GET",
            [UPGRADE, CONNECTION, VERSION].concat(),
            400,
        ),
        (
            "a short key",
            "GET",
            [
                UPGRADE,
                CONNECTION,
                VERSION,
                "sec-websocket-key: c2hvcnQ=\r\n",
            ]
            .concat(),
            400,
        ),
        ("two keys", "GET", [&all, KEY].concat(), 400),
        (
            "POST",
            "POST",
            [&all, "content-length: 0\r\n"].concat(),
            405,
        ),
        (
            "a foreign origin",
            "GET",
            [&all, "origin: http://evil.example\r\n"].concat(),
            403,
        ),
        (
            "no origin at all",
            "GET",
            [&all, "origin: null\r\n"].concat(),
            403,
        ),
    ];
    for path in ECHOES {
        let mut client = Client::connect(address(&control)).await;
        for (what, method, fields, status) in &cases {
            client.request(method, path, fields).await;
            let reply = client.reply().await;
            assert_eq!(reply.status, *status, "{path} {what}: {}", reply.head);
            if *status == 426 {
                assert_eq!(reply.header("upgrade"), Some("websocket"), "{what}");
                assert_eq!(reply.header("sec-websocket-version"), Some("13"), "{what}");
            }
            if *status == 405 {
                assert_eq!(reply.header("allow"), Some("GET"), "{what}");
            }
        }
        // The same connection can still become a WebSocket.
        assert_eq!(client.upgrade(path, "").await.status, 101);
        client.say("after all").await;
        assert_eq!(client.next_frame().await.text(), "after all");
        client.close().await;

        let mut client = Client::connect(address(&control)).await;
        client
            .send(format!(
                "GET {path} HTTP/1.0\r\nhost: localhost\r\n{all}\r\n"
            ))
            .await;
        assert_eq!(client.reply().await.status, 505);
    }
}

#[tokio::test]
async fn handshakes_in_unusual_but_permitted_forms_are_accepted() {
    let control = echo_server(|config| {
        config.allowed_origins = vec!["https://app.example".to_owned()];
    })
    .await;
    for fields in [
        "upgrade: h2c, WebSocket\r\nconnection: keep-alive, Upgrade\r\n",
        "upgrade: h2c\r\nupgrade: websocket\r\nconnection: keep-alive\r\nconnection: upgrade\r\n",
        "UPGRADE: websocket\r\nCONNECTION: UPGRADE\r\norigin: http://localhost\r\n",
        "upgrade: websocket\r\nconnection: upgrade\r\norigin: http://LOCALHOST:80\r\n",
        "upgrade: websocket\r\nconnection: upgrade\r\norigin: https://app.example\r\n",
    ] {
        let mut client = Client::connect(address(&control)).await;
        let fields = format!(
            "{fields}sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        client.request("GET", "/echo", &fields).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 101, "{fields}");
        for absent in ["content-length", "content-type", "transfer-encoding"] {
            assert_eq!(reply.header(absent), None, "{}", reply.head);
        }
        assert!(
            reply
                .header("upgrade")
                .unwrap()
                .eq_ignore_ascii_case("websocket")
        );
        client.say("x").await;
        assert_eq!(client.next_frame().await.text(), "x");
        client.close().await;
    }
}

#[tokio::test]
async fn any_origin_is_accepted_where_the_configuration_says_so() {
    let control = echo_server(|config| config.dangerous_allow_any_origin = true).await;
    for origin in ["http://evil.example", "null"] {
        let mut client = Client::connect(address(&control)).await;
        let reply = client
            .upgrade("/echo", &format!("origin: {origin}\r\n"))
            .await;
        assert_eq!(reply.status, 101);
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_never_upgraded() {
    let control = echo_server(|_| {}).await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.upgrade("/nowhere", "").await.status, 404);
    assert_eq!(client.upgrade("/echo", "").await.status, 101);
}

handler!(OwnHandshake, |stream, ctx| {
    let headers = ctx.get_request().get_headers();
    let Some(key) = headers.get("sec-websocket-key").map(str::to_owned) else {
        return Status::Continue;
    };
    let response = ctx.get_mut_response();
    response.set_status_code(101);
    response.set_header("upgrade", "websocket");
    response.set_header("connection", "upgrade");
    response.set_header("x-own", "yes");
    response.set_header(
        "sec-websocket-accept",
        WebSocketFrame::generate_accept_key(&key),
    );
    let head = response.build();
    stream.send(&head).await;
});

handler!(ReadsOnly, |stream, _ctx| {
    while let Ok(body) = stream.try_get_websocket_request().await {
        stream
            .send_list(WebSocketFrame::create_frame_list(body))
            .await;
    }
});

handler!(Ignores, |_stream, _ctx| {});

#[tokio::test]
async fn a_handshake_answered_by_the_program_is_respected() {
    let control = start(|server| {
        server
            .request_middleware::<OwnHandshake>()
            .route::<Echo>("/echo")
            .route::<RawEcho>("/raw")
            .route::<ReadsOnly>("/reads");
    })
    .await;
    for path in ["/echo", "/raw", "/reads"] {
        let mut client = Client::connect(address(&control)).await;
        let reply = client.upgrade(path, "").await;
        assert_eq!((reply.status, reply.header("x-own")), (101, Some("yes")));
        client.say("mine").await;
        assert_eq!(client.next_frame().await.text(), "mine", "{path}");
        client.close().await;
    }
}

#[tokio::test]
async fn a_connection_that_the_program_switched_and_left_ends() {
    let control = start(|server| {
        server
            .request_middleware::<OwnHandshake>()
            .route::<Ignores>("/ignored");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.upgrade("/ignored", "").await.status, 101);
    client.rest().await;
}

// ---------------------------------------------------------------- life and end

handler!(Listens, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    loop {
        match socket.recv().await {
            Ok(message) => notes.note(message),
            Err(error) => {
                notes.note(format!("{:?}", error.kind()));
                break;
            }
        }
    }
});

#[tokio::test]
async fn a_client_that_only_listens_is_pinged_and_kept() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<Listens>("/");
        let config = server.get_mut_server_config();
        config.ping_interval = Some(Duration::from_millis(200));
        config.pong_timeout = Some(Duration::from_millis(100));
        config.header_timeout = Duration::from_millis(300);
        config.keep_alive_timeout = Duration::from_millis(300);
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    for _ in 0..5 {
        let ping = client.next_frame().await;
        assert_eq!(ping.opcode, PING);
        client.frame(PONG, ping.payload).await;
    }
    client.say("still here").await;
    assert_eq!(noted.next().await, "still here");
    client.close().await;
    assert_eq!(noted.next().await, "ConnectionAborted");
}

#[tokio::test]
async fn a_client_that_never_answers_pings_is_dropped() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<Listens>("/");
        let config = server.get_mut_server_config();
        config.ping_interval = Some(Duration::from_millis(200));
        config.pong_timeout = Some(Duration::from_millis(100));
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    assert_eq!(client.next_frame().await.opcode, PING);
    assert!(client.ends().await);
    assert_eq!(noted.next().await, "ConnectionReset");
}

handler!(SpeaksHttp, |stream, ctx| {
    ctx.get_mut_response().set_body("not into a WebSocket");
    let body = ctx.get_mut_response().build();
    // After a WebSocket it must be refused.
    let _ = stream.try_send(&body).await;
});

handler!(CountsErrors, |_stream, ctx| {
    ctx.state::<Arc<AtomicUsize>>()
        .fetch_add(1, Ordering::SeqCst);
});

#[tokio::test]
async fn nothing_but_frames_is_ever_sent_and_ordinary_ends_are_no_errors() {
    let errors = Arc::new(AtomicUsize::new(0));
    let (says, mut noted) = notes();
    let control = start(|server| {
        server
            .state(errors.clone())
            .state(says)
            .route::<Listens>("/")
            .response_middleware::<SpeaksHttp>()
            .request_error::<CountsErrors>();
    })
    .await;
    for round in 0..30 {
        let mut client = Client::websocket(address(&control), "/").await;
        client.say("x").await;
        assert_eq!(noted.next().await, "x");
        let end = match round % 3 {
            0 => {
                client.close().await;
                "ConnectionAborted"
            }
            1 => {
                client.reset();
                "ConnectionReset"
            }
            _ => {
                drop(client);
                "ConnectionReset"
            }
        };
        assert_eq!(noted.next().await, end);
    }
    eventually("all connections end", || control.connections() == 0).await;
    assert_eq!(errors.load(Ordering::SeqCst), 0);
}

handler!(Returns, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let _ = socket.send("last words").await;
});

handler!(Panics, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let _ = socket.send("last words").await;
    let happy = ctx.get_request().get_method().as_str() == "POST";
    assert!(happy, "on purpose");
});

#[tokio::test]
async fn the_end_of_the_handler_closes_1000_and_a_panic_1011() {
    let control = start(|server| {
        server
            .route::<Returns>("/returns")
            .route::<Panics>("/panics");
    })
    .await;
    for (path, code) in [("/returns", 1000), ("/panics", 1011)] {
        let mut client = Client::websocket(address(&control), path).await;
        assert_eq!(client.next_frame().await.text(), "last words");
        assert_eq!(client.next_frame().await.code(), code);
        client.frame(CLOSE, close_payload(code, b"")).await;
        assert!(client.ends().await);
    }
}

handler!(Closes, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let refused = socket.close(CloseCode::new(999), "").unwrap_err();
    notes.note(format!("{:?}", refused.kind()));
    socket.send("before").await.unwrap();
    socket.close(CloseCode::new(4000), "go away").unwrap();
    assert!(!socket.is_open());
    for failed in [
        socket.send("after").await,
        socket.ping("").await,
        socket.close(CloseCode::NORMAL, ""),
    ] {
        notes.note(format!("{:?}", failed.unwrap_err().kind()));
    }
    loop {
        match socket.recv().await {
            Ok(message) => notes.note(message),
            Err(error) => {
                notes.note(format!("{:?}", error.kind()));
                break;
            }
        }
    }
    socket.closed().await;
    notes.note("closed");
});

#[tokio::test]
async fn a_close_of_the_server_waits_for_the_answer_up_to_its_limit() {
    for answers in [true, false] {
        let (says, mut noted) = notes();
        let control = start(|server| {
            server.state(says).route::<Closes>("/");
            server.get_mut_server_config().close_timeout = if answers {
                PATIENCE * 2
            } else {
                Duration::from_millis(200)
            };
        })
        .await;
        let mut client = Client::websocket(address(&control), "/").await;
        assert_eq!(client.next_frame().await.text(), "before");
        let close = client.next_frame().await;
        assert_eq!((close.code(), &close.payload[2..]), (4000, &b"go away"[..]));
        assert_eq!(noted.next().await, "InvalidInput");
        for _ in 0..3 {
            assert_eq!(noted.next().await, "BrokenPipe");
        }
        // A message that was on its way is still received.
        client.say("crossing").await;
        assert_eq!(noted.next().await, "crossing");
        if answers {
            client.frame(CLOSE, close_payload(4000, b"")).await;
        }
        assert!(client.ends().await);
        let end = if answers {
            "ConnectionAborted"
        } else {
            "ConnectionReset"
        };
        assert_eq!(noted.next().await, end);
        assert_eq!(noted.next().await, "closed");
    }
}

// ---------------------------------------------------------------- the handle

handler!(Shares, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (socket, notes) = (socket.clone(), Notes::clone(&notes));
            tokio::spawn(async move {
                while let Ok(message) = socket.recv().await {
                    notes.note(&message);
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
            })
        })
        .collect();
    // One of the receivers is the handler itself.
    while let Ok(message) = socket.recv().await {
        notes.note(&message);
        if socket.send(message).await.is_err() {
            break;
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    notes.note("all ended");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_message_is_received_by_exactly_one_clone() {
    const MESSAGES: usize = 3000;
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<Shares>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    let mut bytes = Vec::new();
    for number in 0..MESSAGES {
        bytes.extend(frame(true, TEXT, number.to_string()));
    }
    for part in bytes.chunks(777) {
        client.send(part).await;
    }
    let mut echoed = client.texts(MESSAGES).await;
    let mut received = Vec::new();
    for _ in 0..MESSAGES {
        received.push(noted.next().await);
    }
    client.close().await;
    assert_eq!(noted.next().await, "all ended");
    for list in [&mut echoed, &mut received] {
        list.sort_by_key(|number| number.parse::<usize>().unwrap());
        let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
        assert_eq!(*list, expected);
    }
}

handler!(Selects, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    loop {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            message = socket.recv() => match message {
                Ok(message) => drop(socket.send(message).await),
                Err(_) => break,
            },
        }
        // The receive that lost a race is dropped again and again.
        tokio::select! {
            message = socket.recv() => match message {
                Ok(message) => drop(socket.send(message).await),
                Err(_) => break,
            },
            () = tokio::time::sleep(Duration::from_micros(10)) => {}
        }
    }
});

#[tokio::test]
async fn a_dropped_recv_loses_no_message() {
    let control = start(|server| {
        server.route::<Selects>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    let mut bytes = Vec::new();
    for number in 0..1000 {
        bytes.extend(frame(true, TEXT, number.to_string()));
    }
    for part in bytes.chunks(61) {
        client.send(part).await;
        tokio::task::yield_now().await;
    }
    let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(client.texts(1000).await, expected);
    client.close().await;
}

handler!(Forwards, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let mut sink = socket.clone();
    let mut messages = socket.take(3);
    while let Some(message) = messages.next().await {
        sink.feed(message).await.unwrap();
    }
    sink.flush().await.unwrap();
    SinkExt::close(&mut sink).await.unwrap();
    let late = Message::from("late");
    let refused = SinkExt::send(&mut sink, late).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    ctx.state::<Notes>().note("done");
});

#[tokio::test]
async fn the_handle_is_a_stream_and_a_sink() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<Forwards>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    for number in 0..3 {
        client.say(&number.to_string()).await;
    }
    assert_eq!(client.texts(3).await, ["0", "1", "2"]);
    assert_eq!(client.next_frame().await.code(), 1000);
    assert_eq!(noted.next().await, "done");
    client.frame(CLOSE, close_payload(1000, b"")).await;
    assert!(client.ends().await);
}

#[derive(Serialize, Deserialize)]
struct Move {
    x: i32,
    y: i32,
}

handler!(Json, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    loop {
        match socket.recv_json::<Move>().await {
            Ok(Move { x, y }) => socket.send_json(&Move { x: y, y: x }).await.unwrap(),
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                socket.send("not a move").await.unwrap();
            }
            Err(_) => break,
        }
    }
});

#[tokio::test]
async fn json_goes_both_ways_and_bad_json_leaves_the_socket_open() {
    let control = start(|server| {
        server.route::<Json>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    for (sent, expected) in [
        (r#"{"x":1,"y":2}"#, r#"{"x":2,"y":1}"#),
        ("{", "not a move"),
        (r#"{"x":"1"}"#, "not a move"),
        (r#"{"y":4,"x":3}"#, r#"{"x":4,"y":3}"#),
    ] {
        client.say(sent).await;
        assert_eq!(client.next_frame().await.text(), expected);
    }
    client.close().await;
}

handler!(SendsForever, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let task = tokio::spawn({
        let socket = socket.clone();
        async move {
            let payload = vec![0u8; 64 * 1024];
            loop {
                if let Err(error) = socket.send(payload.clone()).await {
                    return error.kind();
                }
            }
        }
    });
    let outbox = socket.outbox();
    while outbox.queued() == 0 {
        tokio::task::yield_now().await;
    }
    notes.note("full");
    let sent = task.await.unwrap();
    notes.note(format!("{sent:?}"));
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_waits_for_room_ends_with_the_connection() {
    // The connection ends in every way: lost, closed by the client, by a violation, by stalling.
    for end in ["reset", "close", "violation", "stall"] {
        let (says, mut noted) = notes();
        let control = start(|server| {
            server.state(says).route::<SendsForever>("/");
            let config = server.get_mut_server_config();
            config.outbox_bytes = 64 * 1024;
            config.outbox_stall = Duration::from_millis(300);
            config.close_timeout = Duration::from_millis(300);
        })
        .await;
        let mut client = Client::websocket(address(&control), "/").await;
        assert_eq!(noted.next().await, "full");
        let mut kept = None;
        match end {
            "reset" => client.reset(),
            "close" => {
                client.frame(CLOSE, close_payload(1000, b"")).await;
                kept = Some(client);
            }
            "violation" => {
                client.send(b"\xff\xff\xff\xff").await;
                kept = Some(client);
            }
            _ => kept = Some(client),
        }
        assert_eq!(noted.next().await, "BrokenPipe", "{end}");
        drop(kept);
    }
}

handler!(Pours, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    // The payloads are copied, shared and large in turn, far more than the system buffers.
    for number in 0..600u32 {
        let length = [10, 7_000, 60_000][number as usize % 3];
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(length, number as u8);
        if let Err(error) = socket.send(payload).await {
            notes.note(error);
            return Status::Continue;
        }
        if number == 0 {
            notes.note("begun");
        }
    }
    notes.note("sent");
});

#[tokio::test]
async fn a_client_that_reads_late_gets_everything_in_order() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<Pours>("/");
        server.get_mut_server_config().outbox_bytes = 100_000;
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    assert_eq!(noted.next().await, "begun");
    for number in 0..600u32 {
        let payload = client.next_message().await.payload;
        assert_eq!(payload[..4], number.to_be_bytes());
        assert!(payload[4..].iter().all(|byte| *byte == number as u8));
        assert_eq!(payload.len(), [10, 7_000, 60_000][number as usize % 3]);
    }
    assert_eq!(noted.next().await, "sent");
    assert_eq!(client.next_frame().await.code(), 1000);
}

handler!(GivesUpSending, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let mut sent = Vec::new();
    for number in 0..3000u32 {
        let payload = [number.to_be_bytes(); 2000].concat();
        tokio::select! {
            biased;
            done = socket.send(payload) => match done {
                Ok(()) => sent.push(number),
                Err(_) => break,
            },
            // While the outbox is full, the send that waits is dropped again and again.
            () = tokio::task::yield_now() => {}
        }
    }
    notes.note(sent.len());
    for number in sent {
        notes.note(number);
    }
});

#[tokio::test]
async fn a_dropped_send_sends_the_whole_message_or_nothing() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<GivesUpSending>("/");
        server.get_mut_server_config().outbox_bytes = 20_000;
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    let mut received = Vec::new();
    loop {
        let frame = client.next_message().await;
        if frame.opcode == CLOSE {
            break;
        }
        let number: [u8; 4] = frame.payload[..4].try_into().unwrap();
        assert!(frame.payload == [number; 2000].concat(), "torn");
        received.push(u32::from_be_bytes(number));
    }
    let count: usize = noted.next().await.parse().unwrap();
    assert!(count < 3000, "some were dropped while they waited");
    assert_eq!(received.len(), count);
    for number in received {
        assert_eq!(noted.next().await, number.to_string());
    }
}

handler!(OneReadsOthersSend, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let socket = socket.clone();
            tokio::spawn(async move {
                for number in 0..500 {
                    socket.send(format!("{sender} {number}")).await.unwrap();
                }
            })
        })
        .collect();
    for expected in 0..500 {
        let message = socket.recv().await.unwrap();
        assert_eq!(message.to_str(), Ok(expected.to_string().as_str()));
    }
    for sender in senders {
        sender.await.unwrap();
    }
});

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_task_receives_while_others_send() {
    let control = start(|server| {
        server.route::<OneReadsOthersSend>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    let messages: Vec<_> = (0..500)
        .map(|number| frame(true, TEXT, number.to_string()))
        .collect();
    client.send(messages.concat()).await;
    let mut next = [0; 4];
    for text in client.texts(2000).await {
        let (sender, number) = text.split_once(' ').unwrap();
        let next = &mut next[sender.parse::<usize>().unwrap()];
        assert_eq!(number.parse(), Ok(*next), "each sender's own order");
        *next += 1;
    }
    assert_eq!(next, [500; 4]);
    assert_eq!(client.next_frame().await.code(), 1000);
}

handler!(Pings, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let refused = socket.ping(vec![0; 126]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let unspeakable = std::collections::HashMap::from([([1u8], 1u8)]);
    let refused = socket.send_json(&unspeakable).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidData);
    socket.ping(vec![7; 125]).await.unwrap();
    assert!(socket.is_open());
    socket.closed().await;
    assert!(!socket.is_open());
    ctx.state::<Notes>().note("over");
});

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_refused_and_the_socket_stays_open() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<Pings>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    let ping = client.next_frame().await;
    assert_eq!((ping.opcode, &ping.payload[..]), (PING, &[7; 125][..]));
    client.close().await;
    assert_eq!(noted.next().await, "over");
}

/// Pushes a message from another thread, and blocks on it as no handler should.
fn push_from_elsewhere(outbox: hyperlane::outbox::Outbox) {
    let pushed = std::thread::spawn(move || {
        let bytes = outbox.format().encode(&Message::from("pushed")).unwrap();
        outbox.push(&bytes)
    });
    pushed.join().unwrap().unwrap();
}

handler!(SharesAtOnce, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    push_from_elsewhere(socket.outbox());
});

handler!(StreamsAtOnce, |stream, ctx| {
    let events = ctx.event_stream(stream).await.unwrap();
    push_from_elsewhere(events.outbox());
});

#[tokio::test]
async fn nothing_overtakes_the_answer_to_the_handshake() {
    let control = start(|server| {
        server
            .route::<SharesAtOnce>("/socket")
            .route::<StreamsAtOnce>("/events");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/socket").await;
    assert_eq!(client.next_frame().await.text(), "pushed");
    assert_eq!(client.next_frame().await.code(), 1000);

    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/events").await;
    assert_eq!((reply.status, reply.text()), (200, "data: pushed\n\n"));
}
