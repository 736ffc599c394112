//! Handles outside the server's runtime: on plain threads, and in runtimes that end or have no timers.

use std::{
    io,
    pin::pin,
    sync::{Arc, mpsc},
    task::{Context as TaskContext, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use hyperlane::{
    ServerError, ServerSentEvents, ServerSentEventsEndpoint,
    broadcast::{RoomLimits, RoomsConfig},
    prelude::*,
    session::Channels,
    sse,
};
use test_support::{Client, PATIENCE, address, eventually, hook, notes, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, Handle, Runtime},
    time::timeout,
};

const SHORT: Duration = Duration::from_millis(200);

/// More than the buffers of a loopback connection hold, in messages of [`LARGE`].
const MANY: usize = 64;
const LARGE: usize = 256 * 1024;

// ---------------------------------------------------------------- elsewhere

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future as executors do that know nothing of tokio.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            return done;
        }
        thread::park();
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Elsewhere {
    Thread,
    /// A runtime without drivers, which ends with the work.
    BareRuntime,
    /// A runtime that ends with the work.
    OtherRuntime,
}

pub(crate) const ELSEWHERE: [Elsewhere; 3] = [
    Elsewhere::Thread,
    Elsewhere::BareRuntime,
    Elsewhere::OtherRuntime,
];

impl Elsewhere {
    /// Runs work there, on a thread of its own.
    pub(crate) async fn run<T, F>(self, work: impl FnOnce() -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let done = tokio::task::spawn_blocking(move || {
            let thread = thread::spawn(move || match self {
                Self::Thread => block_on(work()),
                Self::BareRuntime => {
                    let runtime = Builder::new_current_thread().build().unwrap();
                    runtime.block_on(async { work().await })
                }
                Self::OtherRuntime => {
                    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async { work().await })
                }
            });
            thread.join()
        });
        match timeout(PATIENCE, done).await.expect("it ends").unwrap() {
            Ok(done) => done,
            Err(_) => panic!("it panicked: {self:?}"),
        }
    }
}

// ---------------------------------------------------------------- channels

async fn server(endpoint: ServerSentEventsEndpoint) -> (ServerControlHook, Channels) {
    let mut channels = None;
    let control = start(|server| {
        server.at("/sse").get(endpoint);
        server.get_mut_server_config().outbox_bytes = 1024;
        channels = Some(server.channels());
    })
    .await;
    (control, channels.unwrap())
}

/// Connects with this cookie, and returns the one for the next connection.
async fn follow(control: &ServerControlHook, cookie: &str) -> (Client, String) {
    let mut client = Client::connect(address(control)).await;
    let fields = format!("cookie: {cookie}\r\n");
    client.request("GET", "/sse", &fields).await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let cookie = head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .map_or(cookie, |cookie| cookie.split(';').next().unwrap());
    let cookie = cookie.to_owned();
    (client, cookie)
}

/// Returns the next data of an event stream.
async fn next_data(client: &mut Client) -> String {
    loop {
        let chunk = String::from_utf8(client.chunk().await).unwrap();
        assert!(!chunk.is_empty(), "the stream has ended");
        let is_message = !chunk.contains("event: position");
        let data = chunk.lines().find_map(|line| line.strip_prefix("data: "));
        if let Some(data) = data.filter(|_| is_message) {
            return data.to_owned();
        }
    }
}

fn only(channels: &Channels) -> ServerSentEvents {
    let all = channels.all();
    assert_eq!(all.len(), 1);
    all[0].sse()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_gets_all_that_was_sent_elsewhere() {
    for elsewhere in ELSEWHERE {
        let endpoint = sse().buffer(2 * MANY).buffer_bytes(2 * MANY * LARGE);
        let (control, channels) = server(endpoint).await;
        let (mut client, _) = follow(&control, "").await;
        let handle = only(&channels);
        let sender = handle.clone();
        elsewhere
            .run(async move || {
                for number in 0..MANY {
                    let text = format!("{number} {}", "x".repeat(LARGE));
                    sender.send(text).await.unwrap();
                }
            })
            .await;
        // The thread or runtime has ended, and the client reads only now.
        for number in 0..MANY {
            let data = next_data(&mut client).await;
            assert!(data.starts_with(&format!("{number} ")), "{elsewhere:?}");
        }
        handle.send("after").await.unwrap();
        assert_eq!(next_data(&mut client).await, "after");
        drop(client);
        control.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_elsewhere_waits_for_room_as_long_as_it_may_and_jams_nothing() {
    for elsewhere in ELSEWHERE {
        let (control, channels) = server(sse().buffer(2).timeout(SHORT)).await;
        let (client, cookie) = follow(&control, "").await;
        drop(client);
        eventually("it is cut", || control.connections() == 0).await;
        let handle = only(&channels);
        let sender = handle.clone();
        let sent = elsewhere
            .run(async move || {
                sender.send("a").await.unwrap();
                sender.send("b").await.unwrap();
                sender.send("c").await
            })
            .await;
        assert_eq!(
            sent.map_err(|error| error.kind()),
            Err(io::ErrorKind::TimedOut),
            "{elsewhere:?}"
        );
        let (mut client, _) = follow(&control, &cookie).await;
        handle.send("d").await.unwrap();
        for text in ["a", "b", "d"] {
            assert_eq!(next_data(&mut client).await, text, "{elsewhere:?}");
        }
        drop(client);
        control.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_elsewhere_goes_on_when_there_is_room() {
    for elsewhere in ELSEWHERE {
        let (control, channels) = server(sse().buffer(1).timeout(2 * PATIENCE)).await;
        let (client, cookie) = follow(&control, "").await;
        drop(client);
        eventually("it is cut", || control.connections() == 0).await;
        let handle = only(&channels);
        handle.send("a").await.unwrap();
        let (says, mut noted) = notes();
        let sending = tokio::spawn(elsewhere.run(async move || {
            let mut sending = pin!(handle.send("b"));
            std::future::poll_fn(|cx| {
                let sent = sending.as_mut().poll(cx);
                says.note("waits");
                sent
            })
            .await
        }));
        assert_eq!(noted.next().await, "waits");
        let (mut client, _) = follow(&control, &cookie).await;
        assert_eq!(next_data(&mut client).await, "a");
        assert_eq!(next_data(&mut client).await, "b");
        sending.await.unwrap().unwrap();
        drop(client);
        control.shutdown().await;
    }
}

hook! {
    // Blocks a thread of the server's runtime on its sends, as no handler should.
    Blocks |_, ctx| {
        let count = ctx.get_request().get_query("count").parse::<usize>().unwrap();
        let sse = ctx.sse();
        let sent = block_on(async move {
            for number in 0..count {
                sse.send(format!("{number} {}", "x".repeat(1000))).await?;
            }
            io::Result::Ok(())
        });
        ctx.get_mut_response().set_body(format!("{:?}", sent.map_err(|error| error.kind())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_waits_as_long_as_it_may() {
    let control = start(|server| {
        server.route::<Blocks>("/blocks");
        server.at("/sse").get(sse().buffer(2).timeout(SHORT));
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/blocks?count=3").await.text(), "Err(TimedOut)");
    let control = start(|server| {
        server.route::<Blocks>("/blocks");
        server.at("/sse").get(sse().buffer(2).timeout(PATIENCE));
        server.get_mut_server_config().outbox_bytes = 1024;
    })
    .await;
    let (mut events, cookie) = follow(&control, "").await;
    let mut client = Client::connect(address(&control)).await;
    let fields = format!("cookie: {cookie}\r\n");
    client.request("GET", "/blocks?count=200", &fields).await;
    for number in 0..200 {
        let data = next_data(&mut events).await;
        assert!(data.starts_with(&format!("{number} ")), "{data}");
    }
    assert_eq!(client.reply().await.text(), "Ok(())");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_was_made_elsewhere_ends_after_its_grace() {
    for elsewhere in ELSEWHERE {
        let (control, channels) = server(sse().grace(SHORT)).await;
        let (client, _) = follow(&control, "").await;
        only(&channels).close();
        drop(client);
        let handle = elsewhere
            .run(async move || {
                let handle = only(&channels);
                handle.send("for a client that never comes").await.unwrap();
                handle
            })
            .await;
        let over = timeout(PATIENCE, handle.closed()).await;
        over.unwrap_or_else(|_| panic!("it waits for ever: {elsewhere:?}"));
        control.shutdown().await;
    }
}

struct Panics;

impl serde::Serialize for Panics {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("a value that cannot be told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_is_dropped_or_panics_jams_nothing() {
    let (control, channels) = server(sse().buffer(2).timeout(2 * PATIENCE)).await;
    let (client, cookie) = follow(&control, "").await;
    drop(client);
    eventually("it is cut", || control.connections() == 0).await;
    let handle = only(&channels);
    let sender = handle.clone();
    let panicked = tokio::spawn(async move { sender.send_json(&Panics).await }).await;
    assert!(panicked.is_err());
    handle.send("a").await.unwrap();
    handle.send("b").await.unwrap();
    for _ in 0..10 {
        let sender = handle.clone();
        Elsewhere::Thread
            .run(async move || {
                let mut sending = pin!(sender.send("dropped"));
                std::future::poll_fn(|cx| {
                    assert!(sending.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
            })
            .await;
    }
    let (mut client, _) = follow(&control, &cookie).await;
    handle.send("c").await.unwrap();
    for text in ["a", "b", "c"] {
        assert_eq!(next_data(&mut client).await, text);
    }
}

// ---------------------------------------------------------------- the server

hook! {
    Hello |_, ctx| {
        ctx.get_mut_response().set_body("hello");
    }
    Joins |stream, ctx| {
        let socket = ctx.upgrade(stream).await.unwrap();
        ctx.room("lobby").unwrap().join(&socket).await.unwrap();
        socket.send("joined").await.unwrap();
        while socket.recv().await.is_ok() {}
    }
}

#[tokio::test]
async fn a_server_starts_only_inside_a_runtime_and_says_so() {
    let started = Elsewhere::Thread
        .run(async || Server::new().bind("127.0.0.1:0").run().await.err())
        .await;
    let error = started.expect("nothing runs it");
    assert!(matches!(error, ServerError::NoRuntime), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_and_shut_down_elsewhere_runs_on_the_servers_runtime() {
    for elsewhere in ELSEWHERE {
        let control = start(|server| {
            server.route::<Hello>("/hello");
        })
        .await;
        let (mut client, end) = tokio::io::duplex(1024);
        let serving = control.clone();
        elsewhere
            .run(async move || serving.serve(end, None).await)
            .await;
        let request = b"GET /hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut reply = String::new();
        let read = client.read_to_string(&mut reply);
        timeout(PATIENCE, read).await.unwrap().unwrap();
        assert!(reply.ends_with("hello"), "{elsewhere:?}: {reply}");
        elsewhere.run(async move || control.shutdown().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_called_and_shut_down_anywhere() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    for elsewhere in ELSEWHERE {
        let mut server = Server::new();
        server.route::<Hello>("/hello");
        let service = server.into_service().unwrap();
        let called = service.clone();
        let body = elsewhere
            .run(async move || {
                let request = http::Request::get("/hello").body(String::new()).unwrap();
                let reply = called.oneshot(request).await.unwrap();
                reply.into_body().collect().await.unwrap().to_bytes()
            })
            .await;
        assert_eq!(body, "hello", "{elsewhere:?}");
        elsewhere.run(async move || service.shutdown().await).await;
    }
}

#[test]
fn a_service_whose_runtime_has_ended_is_not_ready() {
    use tower::ServiceExt;

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let make = || {
        let mut server = Server::new();
        server.route::<Hello>("/hello");
        runtime.block_on(async { server.into_service().unwrap() })
    };
    let (service, ended) = (make(), make());
    assert!(service.is_ready() && ended.is_ready());
    runtime.block_on(ended.shutdown());
    assert!(service.is_ready() && !ended.is_ready());
    drop(runtime);
    assert!(!service.is_ready());
    let request = http::Request::get("/hello").body(String::new()).unwrap();
    let reply = block_on(service.oneshot(request)).unwrap();
    assert_eq!(reply.status(), 503);
}

// ---------------------------------------------------------------- rooms

async fn join(rooms: &Rooms) -> (ServerControlHook, Client) {
    let control = start(|server| {
        server.state(rooms.clone()).route::<Joins>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    assert_eq!(client.next_frame().await.text(), "joined");
    (control, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_are_used_anywhere() {
    for elsewhere in ELSEWHERE {
        let rooms = Rooms::new();
        // The rooms are first used before there is a server.
        let early = rooms.clone();
        let reached = elsewhere
            .run(async move || early.room("lobby").unwrap().broadcast("early").await)
            .await;
        assert_eq!(reached.unwrap().members, 0);
        let (control, mut client) = join(&rooms).await;
        for text in ["one", "two"] {
            let rooms = rooms.clone();
            let reached = elsewhere
                .run(async move || rooms.room("lobby").unwrap().broadcast(text).await)
                .await;
            assert_eq!(reached.unwrap().members, 1);
            assert_eq!(client.next_frame().await.text(), text, "{elsewhere:?}");
        }
        drop(client);
        eventually("it has left", || control.connections() == 0).await;
        eventually("the room is empty", || {
            rooms.room("lobby").unwrap().is_empty()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_outlive_the_server_that_they_began_with() {
    let rooms = Rooms::new();
    let theirs = rooms.clone();
    Elsewhere::OtherRuntime
        .run(async move || {
            let (_control, mut client) = join(&theirs).await;
            theirs
                .room("lobby")
                .unwrap()
                .broadcast("first")
                .await
                .unwrap();
            assert_eq!(client.next_frame().await.text(), "first");
        })
        .await;
    let room = rooms.room("lobby").unwrap();
    assert!(room.is_empty(), "its members have gone with its runtime");
    let (_control, mut client) = join(&rooms).await;
    room.broadcast("second").await.unwrap();
    assert_eq!(client.next_frame().await.text(), "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_stay_when_the_runtime_that_delivers_ends() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let rooms = Rooms::on(runtime.handle().clone());
    let (_control, mut client) = join(&rooms).await;
    let room = rooms.room("lobby").unwrap();
    room.broadcast("there").await.unwrap();
    assert_eq!(client.next_frame().await.text(), "there");
    runtime.shutdown_background();
    // One message may be on its way at that moment; from then on a thread of the rooms' own delivers.
    let (room, mut number) = (room.clone(), 0);
    let (says, mut noted) = notes();
    let publishing = tokio::spawn(async move {
        loop {
            number += 1;
            room.broadcast(number.to_string()).await.unwrap();
            says.note(number);
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(noted.next().await, "1");
    for expected in 1..200 {
        assert_eq!(client.next_frame().await.text(), expected.to_string());
    }
    publishing.abort();
}

/// A runtime with one thread, on which the rooms deliver.
fn delivering() -> (Runtime, Rooms) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = RoomsConfig::default().limits(RoomLimits::default().slow_bytes(64 << 20));
    let builder = Rooms::builder().config(config);
    let rooms = builder.on(runtime.handle().clone()).build();
    (runtime, rooms)
}

/// Blocks the thread of a runtime until the sender is dropped.
fn block(runtime: &Runtime) -> mpsc::Sender<()> {
    let (release, blocked) = mpsc::channel::<()>();
    let (is_blocked, blocks) = mpsc::channel();
    runtime.spawn(async move {
        is_blocked.send(()).unwrap();
        let _ = blocked.recv();
    });
    blocks.recv().unwrap();
    release
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_message_before_the_end_of_the_runtime_that_delivers_arrives() {
    let (runtime, rooms) = delivering();
    let (_control, mut client) = join(&rooms).await;
    let room = rooms.room("lobby").unwrap();
    room.broadcast("there").await.unwrap();
    assert_eq!(client.next_frame().await.text(), "there");
    // The hub cannot deliver it any more, and nobody publishes later.
    let release = block(&runtime);
    room.broadcast("last").await.unwrap();
    runtime.shutdown_background();
    drop(release);
    assert_eq!(client.next_frame().await.text(), "last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_joins_while_the_runtime_that_delivers_ends_is_a_member() {
    for is_over in [false, true] {
        let (runtime, rooms) = delivering();
        let release = block(&runtime);
        let end = |runtime: Runtime| {
            runtime.shutdown_background();
            drop(release);
        };
        let (_control, mut client) = if is_over {
            end(runtime);
            join(&rooms).await
        } else {
            let joined = join(&rooms).await;
            end(runtime);
            joined
        };
        let room = rooms.room("lobby").unwrap();
        room.broadcast("hello").await.unwrap();
        assert_eq!(client.next_frame().await.text(), "hello", "{is_over}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_members_catch_up_after_the_end_of_the_runtime_that_delivers() {
    let (runtime, rooms) = delivering();
    let (_control, mut client) = join(&rooms).await;
    let room = rooms.room("lobby").unwrap();
    // More than its outbox and the system take.
    for number in 0..4 * MANY {
        let text = format!("{number} {}", "x".repeat(LARGE / 8));
        room.broadcast(text).await.unwrap();
    }
    runtime.shutdown_background();
    for number in 0..4 * MANY {
        let frame = client.next_message().await;
        assert!(frame.text().starts_with(&format!("{number} ")));
    }
    room.broadcast("on").await.unwrap();
    assert_eq!(client.next_message().await.text(), "on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_that_were_first_used_on_a_runtime_that_ended_go_on() {
    for elsewhere in ELSEWHERE {
        let rooms = Rooms::new();
        let early = rooms.clone();
        // Histories are kept, and the members come later.
        elsewhere
            .run(async move || {
                for text in ["a", "b"] {
                    early.room("lobby").unwrap().broadcast(text).await.unwrap();
                }
            })
            .await;
        let theirs = rooms.clone();
        Elsewhere::OtherRuntime
            .run(async move || {
                let (_control, _client) = join(&theirs).await;
                theirs.room("lobby").unwrap().broadcast("c").await.unwrap();
            })
            .await;
        let room = rooms.room("lobby").unwrap();
        eventually("their member has left", || room.is_empty()).await;
        assert_eq!(room.offset().number, 3, "{elsewhere:?}");
        let (_control, mut client) = join(&rooms).await;
        room.broadcast("d").await.unwrap();
        assert_eq!(client.next_frame().await.text(), "d", "{elsewhere:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_deliver_where_the_program_says() {
    let rooms = Rooms::on(Handle::current());
    let (_control, mut client) = join(&rooms).await;
    rooms
        .room("lobby")
        .unwrap()
        .broadcast("here")
        .await
        .unwrap();
    assert_eq!(client.next_frame().await.text(), "here");
}
