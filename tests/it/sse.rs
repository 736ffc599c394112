//! Event streams on the wire: their form, life and end.

use std::{process::Stdio, time::Duration};

use hyperlane::prelude::*;
use test_support::{Client, Gate, Notes, address, eventually, handler, notes, start};

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

// ---------------------------------------------------------------- the typed form

handler!(Fields, |stream, ctx| {
    let events = ctx.event_stream(stream).await.unwrap();
    assert!(events.is_open());
    events.send("first").await.unwrap();
    events.send("two\nlines\r\nor\rmore").await.unwrap();
    events.send_json(&[1, 2]).await.unwrap();
    assert_eq!(events.id(), 3);
    events
        .send_event(
            Event::new()
                .event("move")
                .id("x7")
                .retry(Duration::from_secs(3))
                .comment("seen by nobody")
                .data("")
                .data("last"),
        )
        .await
        .unwrap();
    for refused in [
        events.send_event(Event::new().id("1\ndata: forged")).await,
        events.send_event(Event::new().event("a\rb")).await,
        events.send(b"\xff\xfe".to_vec()).await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }
    assert_eq!(events.id(), 3);
    ctx.state::<Notes>().note("done");
});

const FIELDS: &str = "id: 0\ndata: first\n\n\
    id: 1\ndata: two\ndata: lines\ndata: or\ndata: more\n\n\
    id: 2\ndata: [1,2]\n\n\
    event: move\nid: x7\nretry: 3000\n: seen by nobody\ndata: \ndata: last\n\n";

#[tokio::test]
async fn typed_events_go_in_chunks_or_until_the_close_by_version() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<Fields>("/");
    })
    .await;
    for version in ["1.1", "1.0"] {
        let mut client = Client::connect(address(&control)).await;
        client
            .send(format!("GET / HTTP/{version}\r\nhost: localhost\r\n\r\n"))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        assert_eq!(reply.header("cache-control"), Some("no-cache"));
        assert_eq!(reply.header("x-accel-buffering"), Some("no"));
        assert_eq!(reply.header("content-length"), None);
        let chunked = (version == "1.1").then_some("chunked");
        assert_eq!(reply.header("transfer-encoding"), chunked);
        assert_eq!(reply.text(), FIELDS);
        assert!(client.ends().await, "nothing follows the stream");
        assert_eq!(noted.next().await, "done");
    }
}

handler!(Waits, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let room = ctx.room("events").unwrap();
    let events = ctx.event_stream(stream).await.unwrap();
    room.join(&events).await.unwrap();
    notes.note("open");
    events.closed().await;
    assert!(!events.is_open());
    let late = events.send("late").await.unwrap_err();
    notes.note(format!("{:?}", late.kind()));
});

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once() {
    let (says, mut noted) = notes();
    let rooms = Rooms::new();
    let room = rooms.room("events").unwrap();
    let control = start(|server| {
        server.state(says).state(rooms).route::<Waits>("/");
    })
    .await;
    for end in ["reset", "drop", "half"] {
        let mut client = Client::connect(address(&control)).await;
        client.request("GET", "/", "").await;
        client.until(b"\r\n\r\n").await;
        assert_eq!(noted.next().await, "open");
        assert_eq!(room.len(), 1);
        match end {
            "reset" => client.reset(),
            "drop" => drop(client),
            // A client that ends its side of an event stream no longer listens.
            _ => tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
                .await
                .unwrap(),
        }
        assert_eq!(noted.next().await, "BrokenPipe", "{end}");
        eventually("it left its room", || room.is_empty()).await;
        eventually("the connection ends", || control.connections() == 0).await;
    }
}

#[tokio::test]
async fn heartbeats_are_comments_while_nothing_is_sent() {
    let (says, mut noted) = notes();
    let rooms = Rooms::new();
    let room = rooms.room("events").unwrap();
    let control = start(|server| {
        server.state(says).state(rooms).route::<Waits>("/");
        server.get_mut_server_config().sse_heartbeat = Some(Duration::from_millis(200));
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/", "").await;
    client.until(b"\r\n\r\n").await;
    assert_eq!(noted.next().await, "open");
    for _ in 0..3 {
        assert_eq!(client.chunk().await, b":\n");
    }
    assert_eq!(room.broadcast("x").await.unwrap().members, 1);
    loop {
        match &client.chunk().await[..] {
            b":\n" => {}
            event => break assert_eq!(event, b"data: x\n\n"),
        }
    }
    assert_eq!(client.chunk().await, b":\n");

    let mut old = Client::connect(address(&control)).await;
    old.send("GET / HTTP/1.0\r\nhost: localhost\r\n\r\n").await;
    old.until(b"\r\n\r\n").await;
    assert_eq!(old.exactly(4).await, b":\n:\n");
}

#[tokio::test]
async fn input_on_an_event_stream_is_ignored() {
    let (says, mut noted) = notes();
    let rooms = Rooms::new();
    let room = rooms.room("events").unwrap();
    let control = start(|server| {
        server.state(says).state(rooms).route::<Waits>("/");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    client.until(b"\r\n\r\n").await;
    assert_eq!(noted.next().await, "open");
    client.send("x".repeat(1 << 20)).await;
    assert_eq!(room.broadcast("still").await.unwrap().members, 1);
    assert_eq!(client.chunk().await, b"data: still\n\n");
    assert!(noted.is_empty());
}

handler!(Pours, |stream, ctx| {
    let events = ctx.event_stream(stream).await.unwrap();
    let filler = "x".repeat(20_000);
    for number in 0..400 {
        events
            .send_event(Event::new().data(format!("{number} {filler}")))
            .await
            .unwrap();
    }
});

#[tokio::test]
async fn a_client_that_reads_late_gets_all_events_and_the_last_chunk() {
    let control = start(|server| {
        server.route::<Pours>("/");
        server.get_mut_server_config().outbox_bytes = 50_000;
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/").await;
    let events: Vec<_> = reply.text().split_terminator("\n\n").collect();
    assert_eq!(events.len(), 400);
    for (number, event) in events.iter().enumerate() {
        assert!(event.starts_with(&format!("data: {number} x")) && event.len() > 20_000);
    }
    assert!(client.ends().await);
}

handler!(Twice, |stream, ctx| {
    let _events = ctx.event_stream(stream).await.unwrap();
    assert!(ctx.event_stream(stream).await.is_err());
    assert!(ctx.upgrade(stream).await.is_err());
});

handler!(Panics, |stream, ctx| {
    let events = ctx.event_stream(stream).await.unwrap();
    events.send("x").await.unwrap();
    let calm = ctx.get_request().get_method().as_str() == "POST";
    assert!(calm, "on purpose");
});

#[tokio::test]
async fn a_stream_starts_once_and_breaks_off_in_a_panic() {
    let control = start(|server| {
        server.route::<Twice>("/twice").route::<Panics>("/panics");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/twice").await.text(), "");
    assert!(client.ends().await);

    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/panics", "").await;
    let whole = text_of(client.rest().await);
    // Without the last chunk the client knows that something is missing.
    assert!(!whole.ends_with("0\r\n\r\n"), "{whole}");
    assert!(!whole.contains(" 500 "), "{whole}");
}

// ---------------------------------------------------------------- the raw form

handler!(Raw, |stream, ctx| {
    ctx.get_mut_response()
        .set_header("content-type", "text/event-stream")
        .set_body(Vec::new());
    let head = ctx.get_mut_response().build();
    stream.try_send(&head).await.unwrap();
    for number in 0..10 {
        let event = format!("data: {number}\n\n");
        stream.try_send(&event).await.unwrap();
    }
});

handler!(Appends, |stream, ctx| {
    // The program sends every answer, as middleware of many programs does.
    ctx.get_mut_response().set_body("another response");
    let bytes = ctx.get_mut_response().build();
    let refused = stream.try_send(&bytes).await.is_err();
    ctx.state::<Notes>().note(refused);
});

const TEN: &str = "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n\
    data: 5\n\ndata: 6\n\ndata: 7\n\ndata: 8\n\ndata: 9\n\n";

#[tokio::test]
async fn a_raw_stream_is_nothing_but_its_events_and_a_clean_end() {
    let control = start(|server| {
        server.route::<Raw>("/");
    })
    .await;
    for version in ["1.1", "1.0"] {
        let mut client = Client::connect(address(&control)).await;
        client
            .send(format!("GET / HTTP/{version}\r\nhost: localhost\r\n\r\n"))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.header("content-length"), None);
        assert_eq!(reply.header("transfer-encoding"), None);
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(reply.text(), TEN);
    }
}

handler!(RawSlow, |stream, ctx| {
    let gate = ctx.state::<Gate>();
    ctx.get_mut_response()
        .set_header("content-type", "text/event-stream");
    let head = ctx.get_mut_response().build();
    stream.try_send(&head).await.unwrap();
    stream.try_send("data: in the middle").await.unwrap();
    gate.pass().await;
    stream.try_send("").await.unwrap();
    // Inside a line this is data like any other.
    stream.try_send("HTTP/1.1 of a line\n\n").await.unwrap();
    stream.try_send("").await.unwrap();
    gate.pass().await;
});

#[tokio::test]
async fn a_heartbeat_never_lands_inside_a_line() {
    let gate = Gate::default();
    let control = start(|server| {
        server.state(gate.clone()).route::<RawSlow>("/");
        server.get_mut_server_config().sse_heartbeat = Some(Duration::from_millis(100));
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/", "").await;
    client.until(b"\r\n\r\n").await;
    let begun = b"data: in the middle";
    assert_eq!(client.exactly(begun.len()).await, begun);
    // Time for a heartbeat that must not come.
    tokio::time::sleep(Duration::from_millis(400)).await;
    gate.open();
    let ended = b"HTTP/1.1 of a line\n\n:\n:\n";
    assert_eq!(client.exactly(ended.len()).await, ended);
    gate.open();
    client.rest().await;
}

#[tokio::test]
async fn the_answer_to_head_is_a_head_only() {
    let (says, _noted) = notes();
    let gate = Gate::default();
    let control = start(|server| {
        server
            .state(says)
            .state(gate.clone())
            .state(Rooms::new())
            .route::<Waits>("/typed")
            .route::<Raw>("/raw")
            .route::<RawSlow>("/slow");
        server.get_mut_server_config().sse_heartbeat = Some(Duration::from_millis(100));
    })
    .await;
    for path in ["/raw", "/slow"] {
        let mut client = Client::connect(address(&control)).await;
        client.request("HEAD", path, "").await;
        let reply = client.reply_to(true).await;
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        if path == "/slow" {
            // Time for a heartbeat that must not come.
            tokio::time::sleep(Duration::from_millis(400)).await;
            gate.open();
            tokio::task::yield_now().await;
            gate.open();
            eventually("the handler took both", || {
                gate.open();
                control.connections() <= 1
            })
            .await;
        }
        assert!(client.ends().await, "{path}");
    }
}

handler!(TypedHead, |stream, ctx| {
    let events = ctx.event_stream(stream).await.unwrap();
    let sent = events.send("x").await;
    ctx.state::<Notes>().note(sent.is_ok());
    events.closed().await;
    ctx.state::<Notes>().note("closed");
});

#[tokio::test]
async fn a_typed_stream_for_head_ends_after_the_head() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<TypedHead>("/");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client.request("HEAD", "/", "").await;
    let reply = client.reply_to(true).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(client.ends().await);
    assert_eq!(noted.next().await, "false");
    assert_eq!(noted.next().await, "closed");
}

#[tokio::test]
async fn nothing_is_appended_to_a_stream_by_middleware() {
    for path in ["/raw", "/typed"] {
        let (says, mut noted) = notes();
        let control = start(|server| {
            server
                .state(says)
                .route::<Fields>("/typed")
                .route::<Raw>("/raw")
                .response_middleware::<Appends>();
        })
        .await;
        let mut client = Client::connect(address(&control)).await;
        let reply = client.get(path).await;
        assert_eq!(noted.next().await, "true", "{path}");
        if path == "/typed" {
            // Response middleware runs before the head of such a stream, once.
            assert_eq!(noted.next().await, "done");
        }
        assert!(noted.is_empty(), "{path}");
        let expected = if path == "/typed" { FIELDS } else { TEN };
        assert_eq!(reply.text(), expected, "{path}");
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn curl_reads_streams_to_a_clean_end() {
    let (says, _noted) = notes();
    let control = start(|server| {
        server
            .state(says)
            .route::<Fields>("/typed")
            .route::<Raw>("/raw");
    })
    .await;
    for (path, expected) in [("typed", FIELDS), ("raw", TEN)] {
        for version in ["--http1.1", "--http1.0"] {
            let curl = tokio::process::Command::new("curl")
                .args(["-sS", "-N", "--noproxy", "*", "--max-time", "20", version])
                .arg(format!("http://{}/{path}", address(&control)))
                .stderr(Stdio::inherit())
                .output()
                .await;
            let output = curl.expect("this test runs curl: `apt-get install curl`");
            assert!(output.status.success(), "{path} {version}");
            assert_eq!(text_of(output.stdout), expected, "{path} {version}");
        }
    }
}
