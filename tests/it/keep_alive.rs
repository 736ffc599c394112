//! Requests of one connection that a hook reads itself, and reads that were dropped.

use std::{future::Future, pin::pin, sync::Arc, task::Poll, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyperlane::prelude::*;
use test_support::{Client, address, hook, start};
use tokio::sync::Notify;

/// Signals between the test and the hooks.
#[derive(Default)]
struct Steps {
    pending: Notify,
    dropped: Notify,
    go_on: Notify,
}

impl Steps {
    /// Signals each poll that leaves the future pending.
    async fn told<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            if polled.is_pending() {
                self.pending.notify_one();
            }
            polled
        })
        .await
    }
}

/// Polls a future once and drops it: the shortest race that it can lose.
async fn try_once(future: impl Future) -> bool {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

/// Answers, and gives up the wait for the next request at once.
struct AnswersAndPeeks;

impl ServerHook for AnswersAndPeeks {
    const BODY: BodyMode = BodyMode::Stream;

    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        let response = ctx.get_mut_response().set_body("answer").build();
        stream.send(response).await;
        assert!(!try_once(stream.try_get_http_request()).await);
        ctx.state::<Arc<Steps>>().dropped.notify_one();
        Status::Continue
    }
}

hook! {
    Plain |_, ctx| {
        let target = ctx.get_request().get_target().to_owned();
        ctx.get_mut_response().set_body(target);
    }
    // Gives up the next request at once, and answers late.
    PeeksAndAnswers |stream, ctx| {
        let steps = ctx.state::<Arc<Steps>>();
        assert!(!try_once(stream.try_get_http_request()).await);
        steps.dropped.notify_one();
        steps.go_on.notified().await;
        ctx.get_mut_response().set_body("first");
    }
    // Reads the next request as a part of a larger future, which wakes its parts one by one.
    ReadsAsAPart |stream, ctx| {
        let steps = ctx.state::<Arc<Steps>>();
        let mut parts = FuturesUnordered::new();
        parts.push(async {
            let request = steps.told(stream.try_get_http_request()).await;
            request.map_or(0, |request| request.get_headers().get("x-long").map_or(0, str::len))
        });
        let length = parts.next().await.unwrap();
        drop(parts);
        ctx.get_mut_response().set_body(length.to_string());
    }
    AnswersTheSecond |stream, _| {
        let mut answers = 0;
        while let Ok(request) = stream.try_get_http_request().await {
            let target = request.get_target().to_owned();
            let mut response = Response::default();
            stream.send(response.set_body(target).build()).await;
            answers += 1;
        }
        assert_eq!(answers, 1);
    }
    AnswersAndReadsOn |stream, ctx| {
        let response = ctx.get_mut_response().set_body("first").build();
        stream.send(response).await;
        if let Ok(request) = stream.try_get_http_request().await {
            let target = request.get_target().to_owned();
            let mut response = Response::default();
            stream.send(response.set_body(target).build()).await;
        }
    }
}

async fn server(configure: impl FnOnce(&mut Server)) -> (Client, Arc<Steps>) {
    let steps = Arc::<Steps>::default();
    let shared = steps.clone();
    let control = start(|server| {
        server
            .state(shared)
            .route::<Plain>("/plain/{rest:.*}")
            .route::<AnswersAndPeeks>("/peek")
            .route::<PeeksAndAnswers>("/late")
            .route::<ReadsAsAPart>("/part")
            .route::<AnswersTheSecond>("/second")
            .route::<AnswersAndReadsOn>("/on");
        configure(server);
    })
    .await;
    (Client::connect(address(&control)).await, steps)
}

const SMUGGLED: &str = "GET /plain/smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn a_body_is_no_request_after_a_read_that_was_dropped() {
    let (mut client, steps) = server(|_| {}).await;
    let length = format!("content-length: {}\r\n", SMUGGLED.len());
    client.request("POST", "/peek", &length).await;
    assert_eq!(client.reply().await.text(), "answer");
    steps.dropped.notified().await;
    client.send(SMUGGLED).await;
    assert_eq!(client.get("/plain/next").await.text(), "/plain/next");
}

#[tokio::test]
async fn a_request_that_was_read_and_dropped_gets_no_other_answer() {
    let (mut client, steps) = server(|_| {}).await;
    // The second head comes with the first, its body later.
    client
        .send(
            "GET /late HTTP/1.1\r\nhost: a\r\n\r\n\
             POST /plain/dropped HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n",
        )
        .await;
    steps.dropped.notified().await;
    steps.go_on.notify_one();
    client.send("body").await;
    client.request("GET", "/plain/third", "").await;
    let reply = client.reply().await;
    assert_eq!(reply.text(), "first");
    // The dropped request cannot be answered any more, and this answer is not its own.
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(client.ends().await);
}

#[tokio::test]
async fn the_time_of_a_read_that_was_dropped_does_not_run_on() {
    let (mut client, steps) = server(|server| {
        let config = server.get_mut_server_config();
        config.keep_alive_timeout = Duration::from_millis(300);
    })
    .await;
    client.request("GET", "/late", "").await;
    steps.dropped.notified().await;
    // The handler works for longer.
    tokio::time::sleep(Duration::from_millis(800)).await;
    steps.go_on.notify_one();
    let reply = client.reply().await;
    assert_eq!((reply.text(), reply.header("connection")), ("first", None));
    assert_eq!(client.get("/plain/next").await.text(), "/plain/next");
}

#[tokio::test]
async fn a_head_beyond_the_inbox_reaches_a_reader_that_is_a_part_of_a_future() {
    let (mut client, steps) = server(|server| {
        let config = server.get_mut_server_config();
        config.inbox_bytes = 1024;
    })
    .await;
    client.request("GET", "/part", "").await;
    let long = "x".repeat(6000);
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n");
    let (first, second) = head.split_at(3000);
    steps.pending.notified().await;
    client.send(first).await;
    steps.pending.notified().await;
    client.send(second).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (200, "6000"));
}

#[tokio::test]
async fn nothing_is_read_behind_a_request_that_closes() {
    for first in [
        "GET /on HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "GET /on HTTP/1.0\r\n\r\n",
    ] {
        let (mut client, _) = server(|_| {}).await;
        client.send(format!("{first}{SMUGGLED}")).await;
        assert_eq!(client.reply().await.text(), "first");
        assert!(client.rest().await.is_empty(), "{first:?}");
    }
}

#[tokio::test]
async fn no_answer_follows_where_one_is_missing() {
    let (mut client, _) = server(|_| {}).await;
    let next = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
    let first = next.replace("next", "second");
    client.send(first + &next.repeat(3)).await;
    assert_eq!(client.reply().await.text(), "/next");
    assert!(client.rest().await.is_empty());
}
