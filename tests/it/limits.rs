//! Limits of time, size and number, as a client runs into them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyperlane::prelude::*;
use test_support::{Client, PATIENCE, address, eventually, hook, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{sleep, timeout},
};

/// Long enough for the server's clock to tick, short enough to wait for.
const SHORT: Duration = Duration::from_millis(200);

/// More than the buffers of a loopback connection and an outbox hold.
const LARGE: usize = 32 * 1024 * 1024;

/// Count of what a handler did.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

hook! {
    Hello |_, ctx| {
        ctx.get_mut_response().set_body("hello");
    }
    Echo |_, ctx| {
        let body = ctx.get_request().get_body().to_vec();
        ctx.get_mut_response().set_body(body);
    }
    // Works for longer than every limit on waiting.
    Slow |_, ctx| {
        sleep(3 * SHORT).await;
        ctx.get_mut_response().set_body("slow");
    }
    Large |_, ctx| {
        ctx.get_mut_response().set_body(vec![b'x'; LARGE]);
    }
    // Sends a large response in pieces and counts the pieces that were taken.
    Pieces |stream, ctx| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
        stream.try_send(head).await.unwrap();
        let taken = ctx.state::<Count>();
        let piece = vec![b'x'; 64 * 1024];
        while stream.try_send(&piece).await.is_ok() {
            taken.add(piece.len());
        }
    }
    // Does the same with the body of a response.
    Streamed |_, ctx| {
        let taken = ctx.state::<Count>();
        let piece = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
        let pieces = futures_util::stream::repeat_with(move || {
            taken.add(piece.len());
            Ok::<_, std::io::Error>(piece.clone())
        });
        ctx.get_mut_response().set_body(Body::stream(pieces));
    }
    // Answers with 100 KB, and counts.
    Counted |_, ctx| {
        ctx.state::<Count>().add(1);
        ctx.get_mut_response().set_body(vec![b'x'; 100_000]);
    }
}

hook! {
    // Takes its body as a stream and does not read it.
    @Stream Unread |_, ctx| {
        ctx.get_mut_response().set_body("unread");
    }
}

async fn server(configure: impl FnOnce(&mut ServerConfig)) -> (ServerControlHook, Count) {
    let count = Count::default();
    let control = start(|server| {
        server
            .state(count.clone())
            .route::<Hello>("/hello")
            .route::<Echo>("/echo")
            .route::<Unread>("/unread")
            .route::<Slow>("/slow")
            .route::<Large>("/large")
            .route::<Pieces>("/pieces")
            .route::<Streamed>("/streamed")
            .route::<Counted>("/counted");
        configure(server.get_mut_server_config());
    })
    .await;
    (control, count)
}

// ---------------------------------------------------------------- time

#[tokio::test]
async fn a_connection_without_a_request_is_closed_silently() {
    let (control, _) = server(|config| config.header_timeout = SHORT).await;
    for sent in ["", "\r\n", "\r\n\r\n", "\r", "\r\n\r"] {
        let mut client = Client::connect(address(&control)).await;
        client.send(sent).await;
        let rest = client.rest().await;
        assert_eq!(String::from_utf8_lossy(&rest), "", "{sent:?}");
    }
}

/// Sends a request with a line end behind its body, as old clients do.
async fn post_with(client: &mut Client, behind: &str) {
    client
        .send(format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody{behind}"
        ))
        .await;
    assert_eq!(client.reply().await.text(), "body");
}

#[tokio::test]
async fn empty_lines_begin_no_request() {
    // The head's limit, which is answered with 408, is far off for those that come later.
    for (header, idle) in [(SHORT, 4 * SHORT), (3 * PATIENCE, SHORT)] {
        let (control, _) = server(|config| {
            config.header_timeout = header;
            config.keep_alive_timeout = idle;
        })
        .await;
        for behind in ["\r\n", "\r\n\r\n", "\r", "\r\n\r"] {
            let mut client = Client::connect(address(&control)).await;
            post_with(&mut client, behind).await;
            let rest = client.rest().await;
            assert_eq!(String::from_utf8_lossy(&rest), "", "{behind:?}");
            // The next request may follow; half a line end is no line end.
            let mut client = Client::connect(address(&control)).await;
            post_with(&mut client, behind).await;
            if behind.ends_with('\r') {
                client.send("\n").await;
            }
            assert_eq!(client.get("/hello").await.text(), "hello", "{behind:?}");
            post_with(&mut client, "\r").await;
            client.request("GET", "/hello", "").await;
            assert_eq!(client.reply().await.status, 400);
        }
        // Line ends do not keep an idle connection.
        let mut client = Client::connect(address(&control)).await;
        post_with(&mut client, "").await;
        while control.connections() > 0 && client.stream.write_all(b"\r\n").await.is_ok() {
            sleep(SHORT / 8).await;
        }
        let rest = client.rest().await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

#[tokio::test]
async fn a_shutdown_does_not_wait_behind_half_a_line_end() {
    let (control, _) = server(|config| config.shutdown_timeout = 3 * PATIENCE).await;
    let mut client = Client::connect(address(&control)).await;
    post_with(&mut client, "\r").await;
    timeout(PATIENCE, control.shutdown())
        .await
        .expect("it ends");
    assert!(client.ends().await);
}

#[tokio::test]
async fn half_a_head_is_answered_with_408() {
    let (control, _) = server(|config| config.header_timeout = SHORT).await;
    for before in ["", "/hello"] {
        let mut client = Client::connect(address(&control)).await;
        if !before.is_empty() {
            assert_eq!(client.get(before).await.status, 200);
        }
        client.send("GET /hello HTTP/1.1\r\nhost").await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.header("connection")),
            (408, Some("close"))
        );
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn a_head_byte_by_byte_is_cut_at_the_limit() {
    let (control, _) = server(|config| config.header_timeout = SHORT).await;
    let mut client = Client::connect(address(&control)).await;
    client.send("GET /hello HTTP/1.1\r\nhost: ").await;
    let answered = async {
        while client.buffer.is_empty() {
            client.send("a").await;
            let _ = timeout(
                Duration::from_millis(10),
                client.stream.read_buf(&mut client.buffer),
            )
            .await;
        }
    };
    timeout(PATIENCE, answered)
        .await
        .expect("it is cut although bytes come in");
    assert_eq!(client.reply().await.status, 408);
}

#[tokio::test]
async fn an_idle_connection_is_closed_silently() {
    let (control, _) = server(|config| config.keep_alive_timeout = SHORT).await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/hello").await.status, 200);
    assert!(client.ends().await);
    eventually("it is gone", || control.connections() == 0).await;
}

#[tokio::test]
async fn a_body_that_stops_is_answered_with_408() {
    let (control, _) = server(|config| config.body_timeout = SHORT).await;
    for request in [
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe",
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = Client::connect(address(&control)).await;
        client.send(request).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.header("connection")),
            (408, Some("close")),
            "{request:?}"
        );
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn a_body_may_take_longer_than_its_limit_on_silence() {
    let (control, _) = server(|config| config.body_timeout = 2 * SHORT).await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n")
        .await;
    for _ in 0..12 {
        sleep(SHORT / 4).await;
        client.send("x").await;
    }
    assert_eq!(client.reply().await.text(), "x".repeat(12));
}

#[tokio::test]
async fn an_unread_rest_may_not_take_longer_than_a_head() {
    let (control, _) = server(|config| config.header_timeout = 2 * SHORT).await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send("POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 50000\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "unread");
    // The upload takes many times that limit, and is never quiet for as long.
    let mut sent = 0;
    while sent < 80 && client.stream.write_all(b"x").await.is_ok() {
        sent += 1;
        sleep(SHORT / 4).await;
    }
    assert_eq!(control.connections(), 0, "after {sent} bytes");
}

#[tokio::test]
async fn no_limit_on_waiting_cuts_a_handler_at_work() {
    let (control, _) = server(|config| {
        config.header_timeout = SHORT;
        config.keep_alive_timeout = SHORT;
        config.body_timeout = SHORT;
        config.write_timeout = SHORT;
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for _ in 0..2 {
        assert_eq!(client.post("/slow", "body").await.text(), "slow");
    }
}

// ---------------------------------------------------------------- clients that do not read

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_cut() {
    for target in ["/large", "/pieces", "/streamed"] {
        let (control, count) = server(|config| config.write_timeout = SHORT).await;
        let mut client = Client::connect(address(&control)).await;
        client.request("GET", target, "").await;
        eventually("the request is there", || control.connections() == 1).await;
        eventually("the connection is over", || control.connections() == 0).await;
        assert!(
            count.get() < LARGE / 2,
            "what waits is bounded: {}",
            count.get()
        );
        assert!(client.rest().await.len() < LARGE, "{target}");
    }
}

/// Room in the socket's buffer raises no event and is no sign of life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_in_the_socket_keeps_no_client_that_takes_nothing() {
    let (control, _) = server(|config| config.write_timeout = 12 * SHORT).await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/streamed", "").await;
    eventually("the request is there", || control.connections() == 1).await;
    eventually("the connection is over", || control.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_requests_and_does_not_read_is_not_served_on() {
    const REQUESTS: usize = 1000;
    let (control, count) = server(|config| config.write_timeout = SHORT).await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send("GET /counted HTTP/1.1\r\nhost: a\r\n\r\n".repeat(REQUESTS))
        .await;
    eventually("the requests are there", || control.connections() == 1).await;
    eventually("the connection is over", || control.connections() == 0).await;
    assert!(
        count.get() < REQUESTS / 2,
        "answers wait for room: {} were made",
        count.get()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_late_gets_every_pipelined_answer() {
    const REQUESTS: usize = 300;
    let (control, count) = server(|_| {}).await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send("GET /counted HTTP/1.1\r\nhost: a\r\n\r\n".repeat(REQUESTS))
        .await;
    eventually("it is at work", || count.get() > 10).await;
    for _ in 0..REQUESTS {
        assert_eq!(client.reply().await.body.len(), 100_000);
    }
}

#[tokio::test]
async fn a_slow_reader_gets_a_large_response_whole() {
    let (control, _) = server(|config| {
        config.write_timeout = 2 * SHORT;
        config.keep_alive_timeout = SHORT;
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client
        .request("GET", "/large", "connection: close\r\n")
        .await;
    // The client reads for longer than every limit, each time less than what makes a socket writable.
    for _ in 0..15 {
        let some = client.buffer.len() + 150_000;
        while client.buffer.len() < some {
            let mut piece = [0; 10_000];
            let count = timeout(PATIENCE, client.stream.read(&mut piece))
                .await
                .unwrap()
                .unwrap();
            assert_ne!(count, 0, "cut after {} bytes", client.buffer.len());
            client.buffer.extend(&piece[..count]);
        }
        sleep(SHORT / 2).await;
    }
    assert_eq!(client.reply().await.body.len(), LARGE);
    assert!(client.ends().await);
}

// ---------------------------------------------------------------- size

#[tokio::test]
async fn a_head_is_cut_at_its_limit_wherever_it_would_end() {
    let (control, _) = server(|config| {
        config.max_request_line = 100;
        config.max_header_bytes = 1000;
        config.max_header_count = 5;
    })
    .await;
    let line = |path: usize| {
        format!(
            "GET /{} HTTP/1.1\r\n",
            "x".repeat(path - "GET / HTTP/1.1".len())
        )
    };
    let cases = [
        (404, format!("{}host: a\r\n\r\n", line(100))),
        (414, format!("{}host: a\r\n\r\n", line(101))),
        // The refusal comes without a further byte.
        (414, "x".repeat(101)),
        (414, format!("GET /{}", "x".repeat(5000))),
        (
            404,
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
                "x".repeat(1000 - 16)
            ),
        ),
        (
            431,
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
                "x".repeat(1001 - 16)
            ),
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(1000)),
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}", "x".repeat(1000)),
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}", "x: 1\r\n".repeat(170)),
        ),
        (
            404,
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(4)),
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(5)),
        ),
    ];
    for (status, sent) in cases {
        let mut client = Client::connect(address(&control)).await;
        client.send(&sent).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{sent:?}");
        if status != 404 {
            assert_eq!(reply.header("connection"), Some("close"));
            assert!(client.ends().await);
        }
    }
}

#[tokio::test]
async fn a_refusal_arrives_although_the_client_still_sends() {
    const CHUNKED: &str = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let (control, _) = server(|_| {}).await;
    for (status, head, again) in [
        (414, "GET /".to_owned(), "x"),
        (431, "GET / HTTP/1.1\r\nhost: a\r\nx: ".to_owned(), "x"),
        (431, "GET / HTTP/1.1\r\nhost: a\r\n".to_owned(), "x: y\r\n"),
        (
            413,
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n".to_owned(),
            "x",
        ),
        (413, CHUNKED.to_owned(), "8\r\nxxxxxxxx\r\n"),
        (413, format!("{CHUNKED}fffffff\r\n"), "x"),
        (400, CHUNKED.to_owned(), "0"),
        (400, format!("{CHUNKED}1;"), "x"),
        (400, CHUNKED.to_owned(), "1;xxxxxxxx\r\nx\r\n"),
        (431, format!("{CHUNKED}0\r\n"), "x: y\r\n"),
        (431, format!("{CHUNKED}0\r\nx: "), "y"),
    ] {
        let mut client = Client::connect(address(&control)).await;
        client.send(&head).await;
        client.send(again.repeat(4_000_000 / again.len())).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{head:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{head:?}");
    }
}

#[tokio::test]
async fn limits_may_be_as_large_as_numbers_go() {
    let largest = RequestConfig::new(
        usize::MAX,
        usize::MAX,
        usize::MAX,
        usize::MAX,
        usize::MAX,
        usize::MAX,
        u64::MAX,
    );
    let mut server = Server::new();
    server
        .request_config(largest)
        .bind("127.0.0.1:0")
        .route::<Echo>("/echo");
    let control = server.run().await.unwrap();
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.post("/echo", "hello").await.text(), "hello");
}

// ---------------------------------------------------------------- number

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_later() {
    let (control, _) = server(|config| config.max_connections = Some(2)).await;
    let address = address(&control);
    let mut one = Client::connect(address).await;
    let mut two = Client::connect(address).await;
    assert_eq!(one.get("/hello").await.status, 200);
    assert_eq!(two.get("/hello").await.status, 200);
    // The system accepts the connection; the server does not.
    let mut three = Client::connect(address).await;
    three.request("GET", "/hello", "").await;
    assert_eq!(one.get("/hello").await.status, 200);
    assert_eq!(control.connections(), 2);
    let nothing = three
        .stream
        .try_read(&mut [0])
        .expect_err("nothing to read");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    drop(one);
    assert_eq!(three.reply().await.status, 200);
    assert_eq!(two.get("/hello").await.status, 200);
}

#[tokio::test]
async fn loopback_is_exempt_from_the_limit_by_address() {
    let (control, _) = server(|config| config.max_connections_per_address = 1).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(address(&control)).await);
    }
    for client in &mut clients {
        assert_eq!(client.get("/hello").await.status, 200);
    }
}

#[tokio::test]
async fn connections_that_come_too_fast_wait_and_are_served_later() {
    const CLIENTS: u32 = 15;
    const RATE: u32 = 10;
    let (control, _) = server(|config| config.max_accepts_per_second = RATE).await;
    let start = std::time::Instant::now();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(address(&control)).await);
    }
    for client in &mut clients {
        assert_eq!(client.get("/hello").await.status, 200);
    }
    assert_eq!(control.connections(), clients.len());
    // Two come at once: one is free, and the one after it is accepted before the wait.
    let least = Duration::from_secs(1) * (CLIENTS - 2) / RATE;
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
}

/// Connects in memory, from a chosen address.
async fn connect_from(control: &ServerControlHook, peer: &str) -> DuplexStream {
    let (client, server) = tokio::io::duplex(1024);
    let peer: SocketAddr = peer.parse().unwrap();
    control.serve(server, Some(peer)).await;
    client
}

/// Returns true if the connection is served.
async fn is_served(stream: &mut DuplexStream) -> bool {
    let request = b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello") {
        match timeout(PATIENCE, stream.read_buf(&mut seen)).await.unwrap() {
            Ok(1..) => {}
            _ => return false,
        }
    }
    true
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let (control, _) = server(|config| config.max_connections_per_address = 2).await;
    let mut one = connect_from(&control, "192.0.2.1:1").await;
    let mut two = connect_from(&control, "192.0.2.1:2").await;
    let mut three = connect_from(&control, "192.0.2.1:3").await;
    let mut other = connect_from(&control, "192.0.2.2:1").await;
    assert!(is_served(&mut one).await && is_served(&mut two).await);
    assert!(!is_served(&mut three).await);
    assert!(is_served(&mut other).await);
    assert_eq!(control.connections(), 3);
    drop(two);
    eventually("one is gone", || control.connections() == 2).await;
    assert!(is_served(&mut connect_from(&control, "192.0.2.1:4").await).await);
}
