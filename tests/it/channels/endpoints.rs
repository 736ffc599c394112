//! Requests to endpoints: origins, methods, versions.

use super::*;

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let control = server(ws().origin("https://friend.example"), sse()).await;
    let mut browser = Browser::new(&control);
    browser.socket("/ws").await;
    let evil = "origin: https://evil.example\r\n";
    for target in ["/sse", "/ws"] {
        let fields = format!("accept: text/event-stream\r\n{evil}");
        assert_eq!(
            browser.request("GET", target, &fields, "").await.status,
            403,
            "{target}"
        );
    }
    assert_eq!(browser.request("POST", "/ws", evil, "x").await.status, 403);
    let mut client = Client::connect(browser.address).await;
    assert_eq!(client.upgrade("/ws", evil).await.status, 403);
    let friend = "origin: https://friend.example\r\n";
    assert_eq!(
        browser.request("POST", "/ws", friend, "x").await.status,
        204
    );
    let mut client = Client::connect(browser.address).await;
    assert_eq!(client.upgrade("/ws", friend).await.status, 101);
}

#[tokio::test]
async fn a_post_needs_an_open_channel() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let reply = browser.request("POST", "/ws", "", "x").await;
    assert_eq!(reply.status, 409);
    assert!(
        reply.all("set-cookie").is_empty(),
        "nothing is begun for it"
    );
    browser.get("/open").await;
    assert_eq!(browser.request("POST", "/ws", "", "x").await.status, 409);
    browser.follow("/ws", "").await.id().await;
    assert_eq!(browser.request("POST", "/ws", "", "x").await.status, 204);
    let mut client = Client::connect(browser.address).await;
    client
        .request(
            "POST",
            "/ws",
            &format!("{}content-length: 1\r\n", browser.fields()),
        )
        .await;
    client.send(b"\xff").await;
    assert_eq!(client.reply().await.status, 400);
}

#[tokio::test]
async fn a_plain_get_of_a_websocket_endpoint_is_426() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let reply = browser.get("/ws").await;
    assert_eq!(
        (reply.status, reply.header("upgrade")),
        (426, Some("websocket"))
    );
    assert_eq!(browser.request("PUT", "/ws", "", "").await.status, 405);
}

#[tokio::test]
async fn a_head_request_opens_no_stream() {
    let control = plain().await;
    for path in ["/sse", "/ws"] {
        let mut client = Client::connect(address(&control)).await;
        client
            .request(
                "HEAD",
                path,
                "accept: text/event-stream\r\nconnection: close\r\n",
            )
            .await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(client.rest().await, b"", "{path}");
    }
    eventually("all are gone", || control.connections() == 0).await;
    // The refused request takes no waiting message, and the connection goes on.
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-sse?t=one").await, "sent");
    let mut client = Client::connect(browser.address).await;
    client.request("HEAD", "/sse", &browser.fields()).await;
    assert_eq!(client.reply_to(true).await.status, 200);
    client.request("HEAD", "/sse", &browser.fields()).await;
    assert_eq!(client.reply_to(true).await.status, 200);
    assert_eq!(browser.send("/open").await, "false false");
    assert_eq!(browser.follow("/sse", "").await.text().await, "one");
}

#[tokio::test]
async fn an_event_stream_over_http_1_0_is_the_channel() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    browser.get("/open").await;
    let mut client = Client::connect(browser.address).await;
    client
        .send(format!(
            "GET /sse HTTP/1.0\r\nhost: x\r\n{}\r\n",
            browser.fields()
        ))
        .await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(!head.contains("transfer-encoding"), "{head}");
    client.until(b"\n\n").await;
    assert_eq!(browser.send("/send-sse?t=one").await, "sent");
    let event = String::from_utf8(client.until(b"\n\n").await).unwrap();
    assert!(event.contains("data: one"), "{event}");
}
