//! The test kit: a server in memory, its clients, virtual time and cuts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyperlane::{
    prelude::*,
    proto::sse::ReceivedEvent,
    sse,
    test::{
        TestClient, TestError, TestRequest, TestServer, advance, assert_closed, assert_push, call,
        refute_push,
    },
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

// ---------------------------------------------------------------- the program

#[get("/hello/{name}")]
#[route_param("name" => name)]
async fn hello(ctx: &mut Context) -> String {
    format!("hello {name}")
}

#[post("/sum")]
async fn sum(Json(numbers): Json<Vec<u32>>) -> Json<u32> {
    Json(numbers.iter().sum())
}

#[get("/admin")]
#[request_header("x-token" => token)]
#[response_header("x-kit" => "yes")]
async fn admin(_stream: &mut Stream, ctx: &mut Context) -> String {
    format!("token {}", token)
}

/// Counts the visits of a browser by a cookie.
#[get("/visits")]
async fn visits(ctx: &mut Context) -> String {
    let count = ctx.cookies().get("visits").map_or(1, |cookie| {
        cookie.value().parse::<u32>().unwrap_or_default() + 1
    });
    ctx.set_cookie(("visits", count.to_string()));
    count.to_string()
}

#[get("/peer")]
async fn peer(stream: &mut Stream, ctx: &mut Context) -> String {
    format!("{:?} on {}", ctx.peer_addr(), stream.outbox().id())
}

#[get("/echo")]
async fn echo(stream: &mut Stream, ctx: &mut Context) -> Status {
    let ends = ctx.state::<Ends>().0.clone();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    loop {
        match socket.recv().await {
            Ok(Message::Text(text)) if &*text == "bye" => {
                let _ = socket.close(CloseCode::new(4000), "as told");
            }
            Ok(message) => drop(socket.send(message).await),
            Err(error) => break ends.send(format!("{error:?}")).unwrap(),
        }
    }
    Status::Continue
}

#[get("/ticks")]
async fn ticks(stream: &mut Stream, ctx: &mut Context) -> Status {
    let Ok(events) = ctx.event_stream(stream).await else {
        return Status::Reject;
    };
    for id in 1..=3 {
        let tick = Event::new().event("tick").id(id.to_string());
        let _ = events
            .send_event(tick.data(format!("{{\"id\":{id}}}")))
            .await;
    }
    events.closed().await;
    Status::Continue
}

/// A line for each WebSocket that has ended.
struct Ends(mpsc::UnboundedSender<String>);

#[hyperlane(server: Server)]
async fn start_with(config: ServerConfig) -> (TestClient, mpsc::UnboundedReceiver<String>) {
    let (ends, ended) = mpsc::unbounded_channel();
    server.server_config(config).state(Ends(ends));
    (TestServer::start(&server).unwrap().client(), ended)
}

async fn client() -> TestClient {
    start_with(ServerConfig::default()).await.0
}

// ---------------------------------------------------------------- requests

#[tokio::test]
async fn requests_reach_the_programs_routes_without_a_port() {
    let client = client().await;
    let response = client.get("/hello/Ada Lovelace").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.text(), "hello Ada Lovelace");
    assert_eq!(response.header("Content-Length"), Some("18"));
    let sum = client.post("/sum").json(&[1, 2, 3]).await;
    assert_eq!(sum.json::<u32>(), 6);
    let broken = client
        .post("/sum")
        .header("content-type", "application/json");
    assert_eq!(broken.body("[").await.status(), 400);
    let admin = client.get("/admin").header("X-Token", "7").await;
    assert_eq!(
        (admin.text(), admin.header("x-kit")),
        ("token 7", Some("yes"))
    );
    assert_eq!(client.get("/nowhere").await.status(), 404);
    let head = client.head("/hello/ada").await;
    assert_eq!(
        (head.header("content-length"), head.text()),
        (Some("9"), "")
    );
}

#[tokio::test]
async fn a_client_keeps_its_cookies_and_its_connection() {
    let client = client().await;
    for count in ["1", "2", "3"] {
        assert_eq!(client.get("/visits").await.text(), count);
    }
    assert_eq!(client.cookie("visits").as_deref(), Some("3"));
    client.set_cookie("visits", "41");
    assert_eq!(client.get("/visits").await.text(), "42");
    let first = client.get("/peer").await;
    assert_eq!(client.get("/peer").await.text(), first.text());
    let far = client.clone().with_peer("192.0.2.1:80".parse().unwrap());
    assert!(
        far.get("/peer")
            .await
            .text()
            .starts_with("Some(192.0.2.1:80)")
    );
}

#[tokio::test]
async fn an_invalid_request_says_why() {
    let client = client().await;
    let invalid = client.get("/").header("a b", "c").send().await;
    assert!(matches!(invalid, Err(TestError::Header(_))));
    assert!(matches!(
        TestRequest::get("/").send().await,
        Err(TestError::NoClient)
    ));
    assert_eq!(
        client
            .send(TestRequest::get("/peer"))
            .await
            .unwrap()
            .status(),
        200
    );
    let refused = client.get("/peer").try_socket().await;
    assert!(matches!(refused, Err(TestError::Refused(response)) if response.status() == 200));
    let refused = client.get("/nowhere").try_events().await;
    assert!(matches!(refused, Err(TestError::Refused(response)) if response.status() == 404));
}

#[tokio::test]
#[should_panic(expected = "GET /hello/ada, at tests/kit.rs")]
async fn a_failed_request_panics_with_its_line() {
    client().await.get("/hello/ada").cut_after_received(5).await;
}

// ---------------------------------------------------------------- WebSockets and event streams

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum Shape {
    Circle { radius: u32 },
    Square { side: u32 },
}

#[tokio::test(start_paused = true)]
async fn pushes_are_found_in_any_order_and_kept() {
    let client = client().await;
    let mut socket = client.socket("/echo").await;
    for text in ["one", "two", "three"] {
        socket.send(text).await;
    }
    socket.send_json(&Shape::Circle { radius: 7 }).await;
    socket.send(vec![1, 2]).await;
    assert_push!(socket, json Shape::Circle { radius } if radius > 6);
    assert_push!(socket, Message::Binary(bytes) if bytes[..] == [1, 2]);
    let found = assert_push!(socket, Message::Text(text) if text.starts_with("t"));
    assert_eq!(found.to_str(), Ok("two"));
    refute_push!(socket, "two");
    refute_push!(socket, json Shape::Square { side: 1.. });
    refute_push!(socket, Message::Binary(_));
    assert_push!(socket, "three");
    assert_eq!(socket.recv_text().await, "one");
    socket.send_json(&Shape::Square { side: 2 }).await;
    assert!(matches!(
        socket.recv_json().await,
        Shape::Square { side: 2 }
    ));
    socket.send("bye").await;
    assert_closed!(socket, 4000);
    assert!(matches!(socket.recv().await, Err(TestError::Closed { .. })));
}

#[tokio::test(start_paused = true)]
#[should_panic(
    expected = "no push is \"never\": nothing arrived within 10s; other messages arrived: [Text("
)]
async fn a_push_that_never_comes_fails_and_names_the_others() {
    let mut socket = client().await.socket("/echo").await;
    socket.send("other").await;
    assert_push!(socket, "never");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a push matches `Message")]
async fn a_push_that_must_not_come_fails() {
    let mut socket = client().await.socket("/echo").await;
    socket.send("hi").await;
    refute_push!(socket, Message::Text(_));
}

#[tokio::test]
#[should_panic(expected = "closed with code 4000 instead of 1000")]
async fn another_close_code_fails() {
    let mut socket = client().await.socket("/echo").await;
    socket.send("bye").await;
    assert_closed!(socket, CloseCode::NORMAL);
}

#[tokio::test]
async fn a_client_closes_and_the_handler_notices() {
    let (client, mut ended) = start_with(ServerConfig::default()).await;
    let mut socket = client.socket("/echo").await;
    assert_eq!(socket.close(1000, "done").await.unwrap(), CloseCode::NORMAL);
    assert!(ended.recv().await.unwrap().contains("1000"));
}

#[tokio::test(start_paused = true)]
async fn events_are_found_and_end_with_the_server() {
    #[derive(Deserialize)]
    struct Tick {
        id: u32,
    }
    let mut server = Server::new();
    server.at("/ticks").get(ticks);
    let server = TestServer::start(&server).unwrap();
    let mut events = server.client().events("/ticks").await;
    assert_push!(events, ReceivedEvent { event, id, .. } if event == "tick" && id == "2");
    assert_push!(events, json Tick { id: 3 });
    assert_push!(events, "{\"id\":1}");
    refute_push!(events, ReceivedEvent { .. });
    assert_eq!(events.last_event_id(), "3");
    server.shutdown().await;
    assert_closed!(events);
    assert!(!server.control().is_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_live_in_tasks_of_several_threads() {
    let client = client().await;
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let hello = client.get(&format!("/hello/{number}")).await;
                assert_eq!(hello.text(), format!("hello {number}"));
                let mut socket = client.socket("/echo").await;
                socket.send(format!("from {number}")).await;
                assert_push!(socket, Message::Text(text) if text.ends_with(&number.to_string()));
                let mut events = client.events("/ticks").await;
                assert_push!(events, ReceivedEvent { id, .. } if id == "2");
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_test_makes_a_slow_client() {
    let mut server = Server::new();
    server
        .at("/flood")
        .get(async |stream: &mut Stream, ctx: &mut Context| {
            let Ok(socket) = ctx.upgrade(stream).await else {
                return Status::Reject;
            };
            for number in 0..5000 {
                let _ = socket.send(number.to_string()).await;
            }
            Status::Continue
        });
    let client = TestServer::start(&server).unwrap().client();
    let mut socket = client.socket("/flood").await;
    advance(Duration::from_millis(50)).await;
    for number in 0..5000 {
        assert_eq!(socket.recv_text().await, number.to_string());
    }
    assert_closed!(socket, CloseCode::NORMAL);
}

// ---------------------------------------------------------------- virtual time

#[tokio::test(start_paused = true)]
async fn an_hour_of_heartbeats_steps_without_sleeping() {
    let config = ServerConfig::default()
        .ping_interval(Duration::from_secs(30))
        .sse_heartbeat(Duration::from_secs(15));
    let (client, _ended) = start_with(config).await;
    let mut socket = client.socket("/echo").await;
    let mut events = client.events("/ticks").await;
    assert_push!(events, ReceivedEvent { id, .. } if id == "3");
    let (real, start) = (Instant::now(), tokio::time::Instant::now());
    advance(Duration::from_secs(3600)).await;
    assert_eq!(start.elapsed().as_secs(), 3600);
    assert!(
        real.elapsed() < Duration::from_secs(60),
        "{:?}",
        real.elapsed()
    );
    // Both connections live. The client has answered every ping.
    let pings = socket.pings();
    assert!((110..=120).contains(&pings), "{pings} pings");
    socket.send("still here").await;
    assert_push!(socket, "still here");
    let before = events.received();
    refute_push!(events, ReceivedEvent { event, .. } if event != "tick");
    // A heartbeat is a comment of two bytes.
    let heartbeats = (events.received() - before) / 2;
    assert!((220..=241).contains(&heartbeats), "{heartbeats} comments");
}

#[tokio::test(start_paused = true)]
async fn a_client_without_pongs_and_an_idle_connection_time_out() {
    let (client, mut ended) = start_with(ServerConfig::default()).await;
    let mut socket = client.socket("/echo").await;
    let first = client.get("/peer").await;
    socket.answer_pings(false).await;
    advance(Duration::from_secs(600)).await;
    assert!(
        ended.try_recv().is_ok(),
        "the server gives the silent client up"
    );
    assert!(socket.recv().await.is_err());
    // The keep-alive time of the connection has passed as well; the client connects again.
    assert_ne!(client.get("/peer").await.text(), first.text());
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_waits_for_files() {
    let mut server = Server::new();
    server.at("/slow").get(async || {
        let work = || std::thread::sleep(Duration::from_millis(30));
        tokio::task::spawn_blocking(work).await.unwrap();
    });
    let client = TestServer::start(&server).unwrap().client();
    let start = tokio::time::Instant::now();
    assert_eq!(client.get("/slow").await.status(), 200);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
#[should_panic(expected = "time is not frozen")]
async fn a_running_clock_does_not_advance() {
    advance(Duration::from_secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn the_grace_of_a_channel_passes() {
    let mut server = Server::new();
    server
        .at("/events")
        .get(sse().grace(Duration::from_secs(60)));
    server
        .at("/say")
        .post(async |ctx: &mut Context, text: String| drop(ctx.sse().send(text).await));
    let client = TestServer::start(&server).unwrap().client();
    // The cookie of this request makes the event stream one of the same session.
    client.post("/say").body("one").await;
    let mut events = client.events("/events").await;
    assert_push!(events, "one");
    let id = events.last_event_id().to_owned();
    let resume = || client.get("/events").header("last-event-id", &id).events();
    events.cut();
    client.post("/say").body("two").await;
    advance(Duration::from_secs(50)).await;
    let mut events = resume().await;
    assert_push!(events, "two");
    events.cut();
    advance(Duration::from_secs(70)).await;
    let mut events = resume().await;
    assert_push!(events, ReceivedEvent { event, .. } if event == "reset");
    refute_push!(events, "two");
}

// ---------------------------------------------------------------- cuts

#[tokio::test(start_paused = true)]
async fn a_request_can_be_cut_at_any_byte() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let mut server = Server::new();
    server.at("/upload").post(move |body: String| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { body }
    });
    let client = TestServer::start(&server).unwrap().client();
    let request = || client.post("/upload").body("some text");
    let length =
        "POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nsome text".len();
    for bytes in 0..length {
        let cut = request().cut_after_sent(bytes).send().await;
        assert!(matches!(cut, Err(TestError::Cut)), "{bytes}: {cut:?}");
    }
    advance(Duration::from_secs(60)).await;
    assert_eq!(runs.load(Ordering::Relaxed), 0, "no request was whole");
    let whole = request().await;
    let sent = request().cut_after_received(1).send().await;
    assert!(matches!(sent, Err(TestError::Cut)));
    assert_eq!(whole.text(), "some text");
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_websocket_can_be_cut_at_any_byte() {
    let (client, mut ended) = start_with(ServerConfig::default()).await;
    // A frame of 5 bytes with its header and mask.
    for bytes in 0..=11 {
        let mut socket = client.socket("/echo").await;
        socket.cut_after_sent(bytes).await;
        if bytes > 0 {
            socket.send("hello").await;
        }
        assert!(
            matches!(socket.recv().await, Err(TestError::Cut)),
            "{bytes}"
        );
        let end = ended.recv().await.unwrap();
        assert!(!end.contains("1000"), "{bytes}: {end}");
    }
    let mut socket = client.socket("/echo").await;
    socket.send("a").await;
    assert_push!(socket, "a");
    // Two bytes of header and "hel".
    socket.cut_after_received(5).await;
    socket.send("hello").await;
    assert!(matches!(socket.recv().await, Err(TestError::Cut)));
    ended.recv().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_can_be_cut_at_any_byte() {
    let client = client().await;
    // Whatever the cut leaves, the last id is that of a whole event.
    let mut ids = Vec::new();
    for bytes in 0.. {
        let cut = client.get("/ticks").cut_after_received(bytes);
        let mut events = match cut.try_events().await {
            Ok(events) => events,
            Err(error) => {
                assert!(matches!(error, TestError::Cut), "{bytes}: {error}");
                continue;
            }
        };
        let mut last = String::new();
        let error = loop {
            match events.recv().await {
                Ok(event) => last = event.id,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, TestError::Cut), "{bytes}: {error}");
        assert_eq!(events.last_event_id(), last, "{bytes}");
        ids.push(last.clone());
        if last == "3" {
            break;
        }
    }
    ids.dedup();
    assert_eq!(ids, ["", "1", "2", "3"]);
    let mut events = client.events("/ticks").await;
    events.cut();
    // Events that had arrived before the cut remain.
    let error = loop {
        match events.recv().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, TestError::Cut));
}

// ---------------------------------------------------------------- one handler

#[tokio::test]
async fn call_runs_a_handler_with_bound_or_typed_arguments() {
    // Bound by a macro, from the parameters of the route.
    let hello = call(hello, TestRequest::get("/hello/ada")).route("/hello/{name}");
    assert_eq!(hello.await.text(), "hello ada");
    // Typed.
    let sum = call(sum, TestRequest::post("/").json(&[4, 5])).await;
    assert_eq!(sum.json::<u32>(), 9);
    // Bound by a macro, with the stream; another attribute sets a field.
    let admin = call(admin, TestRequest::get("/any/path").header("x-token", "t")).await;
    assert_eq!(
        (admin.text(), admin.header("x-kit")),
        ("token t", Some("yes"))
    );
    // A closure with a state.
    let text = async |State(text): State<String>| text.to_string();
    let answer = call(text, TestRequest::get("/"))
        .state("kept".to_owned())
        .await;
    assert_eq!(answer.text(), "kept");
    let lacks = call(text, TestRequest::get("/")).send().await;
    assert!(matches!(lacks, Err(TestError::Server(_))));
}
