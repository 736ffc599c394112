//! WebSocket handshakes and the decisions of programs: subprotocols, header fields, origins, refusals.

use std::time::Duration;

use hyperlane::prelude::*;
use test_support::{Client, address, handler, start};

/// Tells the selected subprotocol, and then waits for the end.
async fn tell(socket: WebSocket) {
    let protocol = socket.protocol().unwrap_or("none").to_owned();
    let _ = socket.send(protocol).await;
    socket.closed().await;
}

handler!(Plain, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    tell(socket).await;
});

handler!(Listed, |stream, ctx| {
    let upgrade = Upgrade::new().protocols(["v2.chat", "chat"]);
    let Ok(socket) = ctx.upgrade_with(stream, upgrade).await else {
        return Status::Reject;
    };
    tell(socket).await;
});

handler!(Chosen, |stream, ctx| {
    let upgrade = Upgrade::new().choose_protocol(|offered| offered.last().copied());
    let Ok(socket) = ctx.upgrade_with(stream, upgrade).await else {
        return Status::Reject;
    };
    tell(socket).await;
});

handler!(Stubborn, |stream, ctx| {
    let upgrade = Upgrade::new().choose_protocol(|_| Some("mine"));
    let Ok(socket) = ctx.upgrade_with(stream, upgrade).await else {
        return Status::Reject;
    };
    tell(socket).await;
});

handler!(InResponse, |stream, ctx| {
    ctx.get_mut_response()
        .set_header("sec-websocket-protocol", "set")
        .set_header("sec-websocket-extensions", "permessage-deflate")
        .set_header("x-set", "too");
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    tell(socket).await;
});

#[tokio::test]
async fn the_subprotocol_is_one_that_the_client_offered_or_none() {
    let control = start(|server| {
        server
            .route::<Plain>("/plain")
            .route::<Listed>("/listed")
            .route::<Chosen>("/chosen")
            .route::<InResponse>("/response");
        server.get_mut_server_config().subprotocols = vec!["b".to_owned(), "a".to_owned()];
    })
    .await;
    for (path, offered, expected) in [
        ("/plain", &[][..], None),
        ("/plain", &["x, y"], None),
        ("/plain", &["a, b"], Some("b")),
        ("/plain", &["a", "x"], Some("a")),
        ("/plain", &["A"], None),
        ("/listed", &["chat, v2.chat"], Some("v2.chat")),
        ("/listed", &["x", "chat"], Some("chat")),
        ("/listed", &["a, b"], None),
        ("/listed", &[], None),
        ("/chosen", &["one,two", "three"], Some("three")),
        ("/chosen", &[], None),
        ("/response", &["a, set"], Some("set")),
        ("/response", &["x"], None),
        // An empty list offers nothing.
        ("/plain", &[""], None),
        ("/plain", &[" , \t,"], None),
        ("/plain", &["", "a"], Some("a")),
        ("/listed", &[","], None),
        ("/chosen", &[""], None),
        ("/response", &[", ,"], None),
    ] {
        let fields: String = offered
            .iter()
            .map(|list| format!("sec-websocket-protocol: {list}\r\n"))
            .collect();
        let mut client = Client::connect(address(&control)).await;
        let reply = client.upgrade(path, &fields).await;
        assert_eq!(reply.status, 101, "{path} {offered:?}");
        assert_eq!(
            reply.header("sec-websocket-protocol"),
            expected,
            "{path} {offered:?}"
        );
        assert_eq!(
            client.next_frame().await.text(),
            expected.unwrap_or("none"),
            "{path} {offered:?}"
        );
        client.close().await;
    }
}

#[tokio::test]
async fn unknown_extensions_are_declined_by_silence() {
    let control = start(|server| {
        server.route::<Plain>("/").route::<InResponse>("/response");
    })
    .await;
    for path in ["/", "/response"] {
        for offered in [
            "x-unknown",
            "x-unknown; a=1; b=\"2\", x-other",
            "",
            " , \t,",
            "bbf-usp-protocol, mux; max-channels=4",
        ] {
            let mut client = Client::connect(address(&control)).await;
            let fields = format!("sec-websocket-extensions: {offered}\r\n");
            let reply = client.upgrade(path, &fields).await;
            assert_eq!(reply.status, 101);
            assert_eq!(
                reply.header("sec-websocket-extensions"),
                None,
                "{path} {offered}"
            );
            assert_eq!(client.next_frame().await.text(), "none");
            client.close().await;
        }
    }
}

handler!(WithFields, |stream, ctx| {
    ctx.get_mut_response()
        .set_header("x-set", "by the response");
    let upgrade = Upgrade::new()
        .header("X-Region", "north")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2");
    let Ok(socket) = ctx.upgrade_with(stream, upgrade).await else {
        return Status::Reject;
    };
    tell(socket).await;
});

handler!(Injects, |stream, ctx| {
    let upgrade = Upgrade::new().header("x-note", "a\r\nset-cookie: stolen=1");
    match ctx.upgrade_with(stream, upgrade).await {
        Ok(_) => {}
        Err(error) => {
            assert!(matches!(error, RequestError::Header(_)), "{error:?}");
            return Status::Reject;
        }
    }
});

handler!(Takes, |stream, ctx| {
    let upgrade = Upgrade::new().header("Sec-WebSocket-Accept", "forged");
    if ctx.upgrade_with(stream, upgrade).await.is_err() {
        return Status::Reject;
    }
});

#[tokio::test]
async fn fields_of_the_program_go_along_and_bad_ones_never_reach_the_wire() {
    let control = start(|server| {
        server
            .route::<WithFields>("/fields")
            .route::<Injects>("/injects")
            .route::<Takes>("/takes")
            .route::<Stubborn>("/stubborn");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for path in ["/injects", "/takes", "/stubborn"] {
        let reply = client
            .upgrade(path, "sec-websocket-protocol: yours\r\n")
            .await;
        assert_eq!(reply.status, 500, "{path} {}", reply.head);
        for absent in ["set-cookie", "sec-websocket-accept", "upgrade"] {
            assert_eq!(reply.header(absent), None, "{path}");
        }
        assert!(!reply.text().contains("mine"), "nothing internal is told");
    }
    // The connection is still one of HTTP, and can become a WebSocket.
    let reply = client.upgrade("/fields", "").await;
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("x-region"), Some("north"));
    assert_eq!(reply.header("x-set"), Some("by the response"));
    assert_eq!(reply.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(client.next_frame().await.text(), "none");
    client.close().await;
}

handler!(OneOrigin, |stream, ctx| {
    let upgrade = Upgrade::new().allowed_origins(["https://app.example"]);
    let Ok(socket) = ctx.upgrade_with(stream, upgrade).await else {
        return Status::Reject;
    };
    tell(socket).await;
});

handler!(AnyOrigin, |stream, ctx| {
    let upgrade = Upgrade::new().dangerous_allow_any_origin();
    let Ok(socket) = ctx.upgrade_with(stream, upgrade).await else {
        return Status::Reject;
    };
    tell(socket).await;
});

#[tokio::test]
async fn a_route_may_accept_pages_that_others_do_not() {
    let control = start(|server| {
        server
            .route::<Plain>("/own")
            .route::<OneOrigin>("/one")
            .route::<AnyOrigin>("/any");
        server.get_mut_server_config().allowed_origins = vec!["https://both.example".to_owned()];
    })
    .await;
    for (path, origin, status) in [
        ("/own", "http://localhost", 101),
        ("/own", "https://both.example", 101),
        ("/own", "https://app.example", 403),
        ("/one", "http://localhost", 101),
        ("/one", "https://both.example", 101),
        ("/one", "https://app.example", 101),
        ("/one", "https://evil.example", 403),
        ("/any", "https://evil.example", 101),
        ("/any", "null", 101),
        // All of them have to be allowed: the client does not say which one counts.
        ("/own", "http://localhost\r\norigin: http://localhost", 101),
        (
            "/own",
            "http://localhost\r\norigin: https://evil.example",
            403,
        ),
        (
            "/own",
            "https://evil.example\r\norigin: http://localhost",
            403,
        ),
    ] {
        let mut client = Client::connect(address(&control)).await;
        let fields = format!("origin: {origin}\r\n");
        assert_eq!(
            client.upgrade(path, &fields).await.status,
            status,
            "{path} {origin}"
        );
    }
}

handler!(Guards, |stream, ctx| {
    if ctx.get_request().get_headers().get("authorization") != Some("Bearer good") {
        ctx.get_mut_response()
            .set_status_code(401)
            .set_header("www-authenticate", "Bearer")
            .set_header("content-type", "application/json")
            .set_body(r#"{"error":"who are you?"}"#);
        return Status::Reject;
    }
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    tell(socket).await;
});

#[tokio::test]
async fn a_hook_can_refuse_with_any_answer_and_the_connection_goes_on() {
    let control = start(|server| {
        server.route::<Guards>("/");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for fields in ["", "authorization: Bearer bad\r\n"] {
        let reply = client.upgrade("/", fields).await;
        assert_eq!(reply.status, 401);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert_eq!(reply.text(), r#"{"error":"who are you?"}"#);
    }
    let reply = client.upgrade("/", "authorization: Bearer good\r\n").await;
    assert_eq!(reply.status, 101);
    assert_eq!(client.next_frame().await.text(), "none");
    client.close().await;
}

#[tokio::test]
async fn lists_that_break_their_grammar_are_400() {
    let control = start(|server| {
        server.route::<Plain>("/");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for field in [
        "sec-websocket-protocol: one, t w o",
        "sec-websocket-protocol: \"chat\"",
        "sec-websocket-protocol: , a b",
        "sec-websocket-protocol: \r\nsec-websocket-protocol: a b",
        "sec-websocket-extensions: ;;, =",
        "sec-websocket-extensions: ;",
        "sec-websocket-extensions: x; a=\"b c\"",
        "sec-websocket-extensions: x-fine\r\nsec-websocket-extensions: x y",
    ] {
        let reply = client.upgrade("/", &format!("{field}\r\n")).await;
        assert_eq!(reply.status, 400, "{field}");
    }
    assert_eq!(client.upgrade("/", "").await.status, 101);
}

#[tokio::test]
async fn a_handshake_without_a_host_is_400() {
    let control = start(|server| {
        server.route::<Plain>("/");
    })
    .await;
    for hosts in ["", "host: a\r\nhost: b\r\n"] {
        let mut client = Client::connect(address(&control)).await;
        client
            .send(format!(
                "GET / HTTP/1.1\r\n{hosts}upgrade: websocket\r\nconnection: upgrade\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ))
            .await;
        assert_eq!(client.reply().await.status, 400, "{hosts:?}");
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut() {
    let control = start(|server| {
        server.route::<Plain>("/");
        server.get_mut_server_config().header_timeout = Duration::from_millis(300);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send("GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upg")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (408, Some("close"))
    );
    assert!(client.ends().await);
}
