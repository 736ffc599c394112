//! Heads of a server whose clients compare the names of fields byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::path::Path;

use hyperlane::{Upgrade, prelude::*};
use test_support::{Client, address, hook, start};

hook! {
    Plain |_, ctx| {
        ctx.session().insert("known", &true).unwrap();
        ctx.get_mut_response()
            .set_header("x-own-name", "as-it-is: lower")
            .set_header("www-authenticate", "Basic")
            .set_body("plain");
    }
    File |_, ctx| { ctx.get_mut_response().set_body(Path::new("Cargo.toml")); }
    Streamed |_, ctx| {
        let pieces = ["one", "two"].map(Ok::<_, std::io::Error>);
        ctx.get_mut_response().set_body(Body::stream(futures_util::stream::iter(pieces)));
    }
    Events |stream, ctx| {
        let events = ctx.event_stream(stream).await.unwrap();
        events.send("content-type: event").await.unwrap();
    }
    Raw |stream, _| {
        stream.try_send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\nX-lower: 1\r\n\r\nraw").await.unwrap();
    }
    Socket |stream, ctx| {
        ctx.session().insert("known", &true).unwrap();
        ctx.get_mut_response().set_header("x-own-name", "1");
        let upgrade = Upgrade::new().protocols(["chat"]).header("etag", "\"added\"");
        let socket = ctx.upgrade_with(stream, upgrade).await.unwrap();
        socket.send("content-type: message").await.unwrap();
    }
    Panics |_, ctx| { assert!(ctx.get_request().get_body().len() > 9, "as it shall"); }
}

#[get("/read")]
async fn read() -> &'static str {
    "read"
}

async fn server(title_case: bool) -> ServerControlHook {
    start(|server| {
        server
            .__register_all()
            .route::<Plain>("/plain")
            .route::<File>("/file")
            .route::<Streamed>("/streamed")
            .route::<Events>("/events")
            .route::<Raw>("/raw")
            .route::<Panics>("/panics")
            .route::<Socket>("/socket");
        let config = server.get_mut_server_config();
        config.title_case_headers = title_case;
        config.max_body = 10;
        config.header_timeout = std::time::Duration::from_millis(200);
    })
    .await
}

/// Returns the names in a head, without those that every answer has.
fn names(head: &str) -> Vec<&str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .filter(|name| !["Date", "Content-Length"].contains(name))
        .collect()
}

const HANDSHAKE: &str = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: chat\r\n";

/// Returns requests, and the names in the heads of their answers.
fn cases() -> Vec<(String, Vec<&'static str>)> {
    let get =
        |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    vec![
        (
            get("/plain", ""),
            vec![
                "Content-Type",
                "Set-Cookie",
                "Cache-Control",
                "X-Own-Name",
                "WWW-Authenticate",
            ],
        ),
        (
            get("/plain", "connection: close\r\n"),
            vec![
                "Content-Type",
                "Connection",
                "Set-Cookie",
                "Cache-Control",
                "X-Own-Name",
                "WWW-Authenticate",
            ],
        ),
        (
            get("/file", ""),
            vec!["Content-Type", "ETag", "Last-Modified", "Accept-Ranges"],
        ),
        (
            get("/streamed", ""),
            vec!["Transfer-Encoding", "Content-Type"],
        ),
        (
            get("/events", ""),
            vec![
                "Transfer-Encoding",
                "Connection",
                "Content-Type",
                "Cache-Control",
                "X-Accel-Buffering",
            ],
        ),
        (
            get("/socket", HANDSHAKE),
            vec![
                "Upgrade",
                "Connection",
                "Sec-WebSocket-Accept",
                "Sec-WebSocket-Protocol",
                "Set-Cookie",
                "X-Own-Name",
                "ETag",
            ],
        ),
        (get("/nosuch", ""), vec!["Content-Type", "Vary"]),
        (get("/panics", ""), vec!["Content-Type", "Vary"]),
        (
            "POST /read HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            vec!["Allow", "Content-Type", "Vary"],
        ),
        // The server refuses this before any hook.
        (
            "BAD\r\n\r\n".to_owned(),
            vec!["Connection", "Content-Type", "Vary"],
        ),
        (
            "GET / HTTP/1.1\r\n".to_owned(),
            vec!["Connection", "Content-Type", "Vary"],
        ),
        (
            "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n".to_owned(),
            vec!["Connection", "Content-Type", "Vary"],
        ),
    ]
}

#[tokio::test]
async fn names_of_fields_are_spelled_as_the_configuration_says() {
    for title_case in [true, false] {
        let control = server(title_case).await;
        for (request, mut expected) in cases() {
            let mut client = Client::connect(address(&control)).await;
            client.send(&request).await;
            let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
            if title_case {
                let mut found = names(&head);
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected, "{request:?}: {head}");
            } else {
                let names = names(&head).concat();
                assert_eq!(names, names.to_ascii_lowercase(), "{request:?}");
            }
            // Values are not names.
            let is_own = head.contains(": as-it-is: lower\r\n");
            assert_eq!(is_own, request.starts_with("GET /plain"), "{head}");
        }
        let mut client = Client::connect(address(&control)).await;
        client
            .request(
                "POST",
                "/plain",
                "content-length: 5\r\nexpect: 100-continue\r\n",
            )
            .await;
        assert_eq!(client.reply().await.head, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("hello").await;
        assert_eq!(client.reply().await.text(), "plain");
        // These are bytes of the program's own.
        let raw = client.get("/raw").await;
        assert_eq!(names(&raw.head), ["content-length", "X-lower"]);
        let mut client = Client::connect(address(&control)).await;
        client.request("GET", "/events", "").await;
        client.until(b"\r\n\r\n").await;
        let event = String::from_utf8(client.chunk().await).unwrap();
        assert!(event.contains("data: content-type: event\n"), "{event}");
        let mut client = Client::websocket(address(&control), "/socket").await;
        assert_eq!(client.next_frame().await.text(), "content-type: message");
    }
}
