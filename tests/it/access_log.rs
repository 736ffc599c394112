//! The access log: one line per request, without secrets.

use hyperlane::{prelude::*, server::AccessLog};
use test_support::{Client, address, collect_log, eventually, start};

fn routes(server: &mut Server) {
    server.at("/hello").get(async || "hello");
    server
        .at("/echo")
        .get(async |stream: &mut Stream, ctx: &mut Context| {
            if let Ok(socket) = ctx.upgrade(stream).await {
                let _ = socket.recv().await;
            }
            Status::Continue
        });
}

#[tokio::test]
async fn requests_are_logged_in_the_common_format() {
    let (log, _guard) = collect_log();
    let control = start(|server| {
        server.access_log();
        routes(server);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client
        .request(
            "GET",
            "/hello?a=1&token=s3cret&access_token=s3cret&q=%22\"",
            "authorization: Bearer s3cret\r\ncookie: session=s3cret\r\n",
        )
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 200);
    client.get("/nowhere").await;
    client.send("broken\r\n\r\n").await;
    client.reply().await;
    let mut socket = Client::websocket(address(&control), "/echo?token=s3cret").await;
    socket.say("bye").await;
    socket.close().await;
    eventually("four lines", || log.with("hyperlane::access").len() == 4).await;
    let lines = log.with("hyperlane::access");
    let has = |line: usize, parts: &[&str]| {
        let line = &lines[line];
        assert!(
            parts.iter().all(|part| line.contains(part)),
            "{line}: {parts:?}"
        );
        assert!(line.contains(" INFO "), "{line}");
        assert!(line.contains("127.0.0.1 - - ["), "{line}");
    };
    let request = "\"GET /hello?a=1&token=***&access_token=***&q=%22%22 HTTP/1.1\" 200 ";
    has(0, &[request, " +0000]"]);
    has(1, &["\"GET /nowhere HTTP/1.1\" 404 "]);
    has(2, &["\"-\" 400 "]);
    has(3, &["\"GET /echo?token=*** HTTP/1.1\" 101 "]);
    assert!(log.with("s3cret").is_empty());
}

#[tokio::test]
async fn requests_are_logged_by_fields() {
    let (log, _guard) = collect_log();
    let control = start(|server| {
        server.get_mut_server_config().access_log = Some(AccessLog::Fields);
        server.get_mut_server_config().trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        routes(server);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client
        .request(
            "GET",
            "/hello?token=s3cret",
            "x-forwarded-for: 192.0.2.7\r\n",
        )
        .await;
    client.reply().await;
    eventually("a line", || log.with("hyperlane::access").len() == 1).await;
    let line = log.with("hyperlane::access").remove(0);
    for part in [
        "client=\"192.0.2.7\"",
        "method=\"GET\"",
        "target=\"/hello?token=***\"",
        "version=\"HTTP/1.1\"",
        "status=200",
        "bytes=",
        "time_us=",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn nothing_is_logged_by_default() {
    let (log, _guard) = collect_log();
    let control = start(routes).await;
    Client::connect(address(&control)).await.get("/hello").await;
    control.shutdown().await;
    assert!(log.with("hyperlane::access").is_empty());
}
