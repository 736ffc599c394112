//! Middleware that limits the time of requests, and their number per client.

use std::time::Duration;

use hyperlane::{Middleware, RateLimit, Timeout, prelude::*};
use test_support::{Client, address, start};

const SHORT: Duration = Duration::from_millis(50);

/// A wait that the limit of the test always ends first.
const LONG: Duration = Duration::from_secs(60);

async fn client(configure: impl FnOnce(&mut Server)) -> Client {
    Client::connect(address(&start(configure).await)).await
}

/// Sends a message when it is dropped.
struct Dropped(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_dropped() {
    let (sender, mut dropped) = tokio::sync::mpsc::unbounded_channel();
    let mut client = client(|server| {
        server.at("/slow").with(Timeout::new(SHORT)).get(move || {
            let guard = Dropped(sender.clone());
            async move {
                tokio::time::sleep(LONG).await;
                drop(guard);
                "too late"
            }
        });
        server
            .at("/quick")
            .with(Timeout::new(LONG))
            .get(async || "in time");
    })
    .await;
    let reply = client.get("/slow").await;
    assert_eq!(
        (reply.status, reply.text()),
        (503, "503 Service Unavailable\n")
    );
    dropped.recv().await.expect("the handler is dropped");
    assert_eq!(client.get("/quick").await.text(), "in time");
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_limited() {
    let control = start(|server| {
        server.scope("", |limited| {
            limited.with(Timeout::new(SHORT));
            limited
                .at("/socket")
                .get(async |stream: &mut Stream, ctx: &mut Context| {
                    if let Ok(socket) = ctx.upgrade(stream).await {
                        while let Ok(message) = socket.recv().await {
                            let _ = socket.send(message).await;
                        }
                    }
                    Status::Continue
                });
            limited
                .at("/events")
                .get(async |stream: &mut Stream, ctx: &mut Context| {
                    if let Ok(events) = ctx.event_stream(stream).await {
                        let _ = events.send("one").await;
                        tokio::time::sleep(4 * SHORT).await;
                        let _ = events.send("two").await;
                    }
                    Status::Continue
                });
        });
    })
    .await;
    let mut events = Client::connect(address(&control)).await;
    events.request("GET", "/events", "").await;
    let mut socket = Client::websocket(address(&control), "/socket").await;
    events.until(b"data: one").await;
    events.until(b"data: two").await;
    socket.say("after the limit").await;
    assert_eq!(socket.next_message().await.text(), "after the limit");
    socket.close().await;
}

#[tokio::test]
async fn a_client_gets_429_above_its_rate() {
    static SHARED: RateLimit = RateLimit::per_minute(2);

    async fn limited(ctx: &mut Context, next: Next<'_>) -> Status {
        Middleware::handle(&SHARED, ctx, next).await
    }

    let control = start(|server| {
        server.at("/a").with(limited).get(async || "a");
        server.at("/b").with(limited).get(async || "b");
        server.at("/free").get(async || "free");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/a").await.status, 200);
    assert_eq!(client.get("/b").await.status, 200);
    for path in ["/a", "/b"] {
        let reply = client.get(path).await;
        assert_eq!(
            (reply.status, reply.text()),
            (429, "429 Too Many Requests: too many requests\n")
        );
        let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
    }
    // Another connection of the same client has the same count, and other routes have none.
    let mut again = Client::connect(address(&control)).await;
    assert_eq!(again.get("/a").await.status, 429);
    assert_eq!(client.get("/free").await.status, 200);
}

#[tokio::test]
async fn clients_may_be_named_by_a_key() {
    fn key(ctx: &Context) -> Option<&str> {
        ctx.get_request().get_headers().get("x-key")
    }

    let mut client = client(|server| {
        let limit = RateLimit::per_minute(1).burst(2).by(key).most_clients(2);
        server.at("/").with(limit).get(async || "in");
    })
    .await;
    let mut ask = async |key: &str| {
        client
            .request("GET", "/", &format!("x-key: {key}\r\n"))
            .await;
        client.reply().await.status
    };
    assert_eq!(
        [ask("one").await, ask("one").await, ask("one").await],
        [200, 200, 429]
    );
    assert_eq!(ask("two").await, 200);
    // The table is full: further clients share one count.
    assert_eq!(
        [ask("three").await, ask("four").await, ask("five").await],
        [200, 200, 429]
    );
    assert_eq!(ask("two").await, 200);
    assert_eq!(ask("two").await, 429);
}
