//! The ends of streams and connections: what a client that cancels, floods or stops gets, and what it leaves behind.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use test_support::{http2_get, kind};

use super::*;

/// Counts the handlers that run at the same time.
#[derive(Clone, Default)]
struct Running(Arc<(AtomicUsize, AtomicUsize)>);

hook! {
    // Answers, and works on until the test lets it end.
    AnswersEarly |stream, ctx| {
        let running = ctx.state::<Running>();
        let now = running.0.0.fetch_add(1, Ordering::AcqRel) + 1;
        running.0.1.fetch_max(now, Ordering::AcqRel);
        let answer = ctx.get_mut_response().build();
        stream.try_send(answer).await.unwrap();
        ctx.state::<Gate>().pass().await;
        running.0.0.fetch_sub(1, Ordering::AcqRel);
    }
    BadChunk |stream, _| {
        let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n";
        let _ = stream.try_send(text).await;
    }
    Switches |stream, _| {
        let text = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let _ = stream.try_send(text).await;
    }
}

hook! {
    // Reads nothing, and learns of the end of its client.
    @Stream IgnoresBody |stream, ctx| {
        ctx.state::<Notes>().note("begun");
        stream.disconnected().await;
        ctx.state::<Notes>().note("gone");
    }
}

handler!(IgnoresMessages, |stream, ctx| {
    let socket = ctx.upgrade(stream).await.unwrap();
    ctx.state::<Notes>().note("begun");
    socket.closed().await;
    ctx.state::<Notes>().note("gone");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handlers_of_a_connection_are_bounded_though_they_have_answered() {
    const MOST: u32 = 10;
    let running = Running::default();
    let state = running.clone();
    let (control, shared) = server(|server| {
        server.state(state).route::<AnswersEarly>("/early");
        server.get_mut_server_config().http2_streams = MOST;
    })
    .await;
    let mut client = Client::connect(&control).await;
    // From then on, the client knows how many streams it may open.
    assert_eq!(client.get("/facts").await.0, 200);
    let mut further = Vec::new();
    for number in 0..2 * MOST {
        let request = client.request_to(Method::GET, "/early").body(()).unwrap();
        let (answer, _) = client.send(request, true).await;
        match number < MOST {
            true => assert_eq!(within(answer).await.unwrap().status(), 200),
            // The earlier streams have ended on the wire, so the client may open these.
            false => further.push(answer),
        }
    }
    // A server that begins them at once has time for it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for answer in further {
        shared.gate.open();
        assert_eq!(within(answer).await.unwrap().status(), 200);
    }
    assert_eq!(running.0.1.load(Ordering::Acquire), MOST as usize);
}

#[tokio::test]
async fn a_client_that_cancels_an_upload_that_nobody_reads_gives_its_window_back() {
    let (control, mut shared) = server(|server| {
        server.route::<IgnoresBody>("/ignores");
    })
    .await;
    let mut client = Client::connect(&control).await;
    // Four of them fill the window of the connection.
    for _ in 0..6 {
        let request = client
            .request_to(Method::POST, "/ignores")
            .body(())
            .unwrap();
        let (answer, mut stream) = client.send(request, false).await;
        assert_eq!(shared.noted.next().await, "begun");
        let mut sent = 0;
        while sent < 256 * 1024 {
            stream.reserve_capacity(256 * 1024 - sent);
            within(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
            let count = stream.capacity();
            stream.send_data(vec![b'x'; count].into(), false).unwrap();
            sent += count;
        }
        // All of it has left before the reset.
        assert_eq!(client.get("/facts").await.0, 200);
        stream.send_reset(Reason::CANCEL);
        assert_eq!(shared.noted.next().await, "gone");
        drop(answer);
    }
    let length = client.post("/echo", vec![b'y'; 60_000]).await.1.len();
    assert_eq!(length, 60_000);
}

#[tokio::test]
async fn a_websocket_whose_messages_nobody_reads_learns_that_its_client_is_gone() {
    let (control, mut shared) = server(|server| {
        server.route::<IgnoresMessages>("/ignores");
    })
    .await;
    for ends_connection in [false, true] {
        let mut client = Client::connect(&control).await;
        let mut socket = client.websocket("/ignores", HeaderMap::new()).await;
        assert_eq!(shared.noted.next().await, "begun");
        // More than the inbox takes, and less than the window of the stream.
        for _ in 0..12 {
            socket.frame(BINARY, vec![b'x'; 10_000]);
        }
        assert_eq!(client.get("/facts").await.0, 200);
        match ends_connection {
            true => client.connection.abort(),
            false => socket.send.send_reset(Reason::CANCEL),
        }
        assert_eq!(shared.noted.next().await, "gone");
        drop((socket, client));
    }
    eventually("both are counted out", || control.connections() == 0).await;
}

#[tokio::test]
async fn an_answer_with_a_bad_chunk_is_a_reset() {
    let (control, _) = server(|server| {
        server.route::<BadChunk>("/bad-chunk");
    })
    .await;
    let mut client = Client::connect(&control).await;
    let request = client
        .request_to(Method::GET, "/bad-chunk")
        .body(())
        .unwrap();
    let (answer, _) = client.send(request, true).await;
    // The head may be lost in the reset.
    if let Ok(answer) = within(answer).await {
        assert!(read(answer.into_body()).await.is_err());
    }
    assert_eq!(client.get("/facts").await.0, 200);
}

#[tokio::test]
async fn a_switch_of_protocols_answers_no_plain_request() {
    let (control, _) = server(|server| {
        server.route::<Switches>("/switches");
    })
    .await;
    let mut client = Client::connect(&control).await;
    let request = client
        .request_to(Method::GET, "/switches")
        .body(())
        .unwrap();
    let (answer, _) = client.send(request, true).await;
    assert!(within(answer).await.unwrap_err().is_reset());
    assert_eq!(client.get("/facts").await.0, 200);
}

#[tokio::test]
async fn the_pieces_of_a_cookie_are_one_field() {
    let (control, _) = server(|_| {}).await;
    let mut client = Client::connect(&control).await;
    for (pieces, others, status) in [(200, 0, 200), (200, 97, 200), (1, 120, 431)] {
        let mut request = client.request_to(Method::GET, "/facts");
        for piece in 0..pieces {
            request = request.header("cookie", format!("c{piece}=1"));
        }
        for other in 0..others {
            request = request.header(format!("x-{other}"), "1");
        }
        assert_eq!(client.answer(request).await.status(), status, "{pieces}");
    }
}

#[tokio::test]
async fn a_connection_that_lives_long_may_have_many_refused_streams() {
    let (control, mut shared) = server(|server| {
        server.get_mut_server_config().http2_streams = 1;
    })
    .await;
    let mut client = test_support::Client::http2(address(&control), &[]).await;
    client.send(http2_get(1, "/waits")).await;
    assert_eq!(shared.noted.next().await, "waits");
    let mut stream = 1;
    for round in 0..13 {
        for _ in 0..100 {
            stream += 2;
            client.send(http2_get(stream, "/facts")).await;
        }
        for refused in 0..100 {
            let frame = loop {
                let frame = client.next_http2().await.expect("the connection lives");
                if frame.stream != 0 || frame.kind == kind::GOAWAY {
                    break frame;
                }
            };
            assert_eq!(frame.kind, kind::RST_STREAM, "{round}: {refused}");
        }
    }
    shared.gate.open();
    let mut ends = false;
    while !ends {
        let frame = client.next_http2().await.expect("the connection lives");
        ends = frame.stream == 1 && frame.ends_stream();
    }
}

hook! {
    // Answers with more than the window of the client, and works on.
    AnswersAtLength |stream, ctx| {
        let length: usize = ctx.get_request().get_query("length").parse().unwrap();
        if ctx.get_request().get_query("raw") == "yes" {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.try_send(head).await.unwrap();
            stream.try_send(vec![b'x'; length]).await.unwrap();
        } else {
            let body = vec![b'x'; length];
            match &*ctx.get_request().get_query("raw").to_owned() {
                "stream" => {
                    let piece = Ok::<_, std::io::Error>(Bytes::from(body));
                    let pieces = futures_util::stream::iter([piece]);
                    ctx.get_mut_response().set_body(Body::stream(pieces));
                }
                _ => _ = ctx.get_mut_response().set_body(body),
            }
            hyperlane::__private::send(stream, ctx).await;
        }
        ctx.state::<Gate>().pass().await;
    }
}

#[tokio::test]
async fn a_whole_answer_ends_its_stream_whatever_its_handler_does() {
    let (control, _) = server(|server| {
        server.route::<AnswersAtLength>("/length");
    })
    .await;
    let mut settings = Builder::new();
    settings.initial_window_size(1000);
    let mut client = Client::with(&control, &settings).await;
    for length in [10, 1000, 1001, 300_000] {
        for raw in ["yes", "no", "stream"] {
            let target = format!("/length?length={length}&raw={raw}");
            let answer = client.answer(client.request_to(Method::GET, &target)).await;
            // The end of the body is the end of the stream, for which the handler does not wait.
            let body = within(read(answer.into_body())).await.unwrap();
            assert_eq!(body.len(), length, "{target}");
        }
    }
}

#[tokio::test]
async fn an_early_refusal_lets_the_client_finish_its_upload() {
    let (control, _) = server(|server| {
        server.get_mut_server_config().max_body = 1000;
    })
    .await;
    let mut client = Client::connect(&control).await;
    let request = client
        .request_to(Method::POST, "/echo")
        .header("content-length", LARGE.to_string())
        .body(())
        .unwrap();
    let (answer, mut stream) = client.send(request, false).await;
    let mut answer = within(answer).await.unwrap();
    assert_eq!(answer.status(), 413);
    while let Some(data) = within(answer.body_mut().data()).await {
        data.unwrap();
    }
    // Far more than the windows, which open as the server drops what comes.
    let mut sent = 0;
    while sent < LARGE {
        stream.reserve_capacity(LARGE - sent);
        let room = within(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        room.expect("the stream is open").unwrap();
        let count = stream.capacity();
        stream
            .send_data(vec![b'x'; count].into(), sent + count == LARGE)
            .unwrap();
        sent += count;
    }
    assert_eq!(client.get("/facts").await.0, 200);
}
