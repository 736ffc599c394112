//! The end of WebSockets whose clients do not read.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    time::Duration,
};

use futures_util::{Sink, SinkExt};
use hyperlane::prelude::*;
use test_support::{
    CLOSE, Client, Gate, Notes, PATIENCE, address, eventually, frame, handler, notes, start,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// More than the buffers of a loopback connection hold.
const LARGE: usize = 16 * 1024 * 1024;

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
    connection: upgrade\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

// Sends a short message and a long one in the same poll, and then a Close that does not wait for them.
handler!(LetsGo, |stream, ctx| {
    let gate = ctx.state::<Gate>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let outbox = socket.outbox();
    socket.send("a".repeat(100)).await.unwrap();
    socket.send("b".repeat(10_000)).await.unwrap();
    socket.send("c").await.unwrap();
    gate.pass().await;
    outbox.close(CloseCode::TRY_AGAIN_LATER, "reads too slowly", true);
    socket.closed().await;
});

// Sends more than the buffers take from a client that does not read.
handler!(Pours, |stream, ctx| {
    let notes = Notes::clone(&ctx.state::<Notes>());
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    socket.send(vec![0; LARGE]).await.unwrap();
    notes.note("poured");
    while socket.recv().await.is_ok() {}
    socket.closed().await;
});

// Two tasks are told that there is room, and both use it.
handler!(Shares, |stream, ctx| {
    let notes = Notes::clone(&ctx.state::<Notes>());
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let (mut one, mut other) = (socket.clone(), socket.clone());
    tokio::spawn(async move {
        poll_fn(|cx| Pin::new(&mut one).poll_ready(cx))
            .await
            .unwrap();
        poll_fn(|cx| Pin::new(&mut other).poll_ready(cx))
            .await
            .unwrap();
        for (sink, name) in [(&mut one, "one"), (&mut other, "other")] {
            let sent = Pin::new(sink).start_send(name.repeat(100).into());
            notes.note(format!("{name}: {:?}", sent.map_err(|error| error.kind())));
        }
        let mut one = pin!(one);
        one.flush().await.unwrap();
        notes.note("flushed");
    });
    socket.closed().await;
});

/// The sockets that handlers leave to the test.
#[derive(Clone, Default)]
struct Handles(std::sync::Arc<std::sync::Mutex<Vec<WebSocket>>>);

impl Handles {
    fn take(&self) -> Vec<WebSocket> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

// Hands the socket to a task and returns.
handler!(HandsOver, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let name = ctx.get_request().try_get_query("as").unwrap_or_default();
    let other = socket.clone();
    let handles = ctx.state::<Handles>();
    match name.as_str() {
        // The setting holds for the connection, whichever handle made it.
        "task" => other.keep_open(),
        "not" => {}
        _ => socket.keep_open(),
    }
    drop(other);
    match name.as_str() {
        "clones" => handles
            .0
            .lock()
            .unwrap()
            .extend([socket.clone(), socket.clone()]),
        "panic" | "reject" => handles.0.lock().unwrap().push(socket.clone()),
        _ => {}
    }
    match name.as_str() {
        "clones" | "none" => {}
        "panic" => panic!("a handler's own"),
        "reject" => return Status::Reject,
        // The task neither reads nor lets go.
        "deaf" => handles.0.lock().unwrap().push(socket),
        _ => drop(tokio::spawn(async move {
            while let Ok(message) = socket.recv().await {
                if message.to_str() == Ok("go") {
                    return;
                }
                socket.send(message).await.unwrap();
            }
        })),
    }
});

// Does the same with an event stream.
handler!(HandsEventsOver, |stream, ctx| {
    let gate = Gate::clone(&ctx.state::<Gate>());
    let events = ctx.event_stream(stream).await.unwrap();
    events.keep_open();
    tokio::spawn(async move {
        events.send("first").await.unwrap();
        gate.pass().await;
        events.send("last").await.unwrap();
        gate.pass().await;
    });
});

/// Notes its drop.
struct Last(Notes, &'static str);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

/// Panics when it is dropped.
struct Bad;

impl Drop for Bad {
    fn drop(&mut self) {
        panic!("a bad destructor");
    }
}

/// Panics with another of its kind when it is dropped.
struct Worse;

impl Drop for Worse {
    fn drop(&mut self) {
        std::panic::panic_any(Worse);
    }
}

handler!(PanicsWithWorse, |_stream, ctx| {
    if ctx.get_request().get_method().is_get() {
        std::panic::panic_any(Worse);
    }
});

// Shuts its server down in an end hook and waits for that.
handler!(ShutsDownAtTheEnd, |stream, ctx| {
    let cell = ctx.state::<Control>();
    let notes = Notes::clone(&ctx.state::<Notes>());
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let control = cell.0.get().unwrap().clone();
    socket.outbox().on_end(move || {
        futures_util::FutureExt::now_or_never(async {
            control.shutdown().await;
            control.wait().await;
            notes.note(format!("ready: {}", control.is_ready()));
        });
    });
    socket.closed().await;
});

/// The server's own control hook, set when it runs.
struct Control(std::sync::Arc<std::sync::OnceLock<ServerControlHook>>);

// Registers end hooks, some of which panic, and works on after them.
handler!(EndsBadly, |stream, ctx| {
    let notes = Notes::clone(&ctx.state::<Notes>());
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let outbox = socket.outbox();
    for name in ["first", "second"] {
        outbox.on_end(|| panic!("a bad hook"));
        outbox.on_end(|| std::panic::panic_any(Bad));
        outbox.on_end(|| std::panic::panic_any(Worse));
        let bad = Bad;
        outbox.on_end(move || drop(bad));
        let bad = Bad;
        outbox.on_end(move || {
            let _bad = &bad;
        });
        let notes = notes.clone();
        outbox.on_end(move || notes.note(name));
    }
    let bad = Bad;
    let taken_back = outbox.on_end(move || drop(bad)).unwrap();
    outbox.cancel_end(taken_back);
    socket.closed().await;
    outbox.on_end(|| panic!("a bad hook that comes late"));
    tokio::task::yield_now().await;
    notes.note("handler");
});

// Takes end hooks back, and registers new ones.
handler!(TakesBack, |stream, ctx| {
    let notes = Notes::clone(&ctx.state::<Notes>());
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let outbox = socket.outbox();
    let stale = outbox.on_end(|| {}).unwrap();
    outbox.cancel_end(stale);
    let noted = notes.clone();
    let key = outbox.on_end(move || noted.note("stays")).unwrap();
    assert_ne!(stale, key);
    outbox.cancel_end(stale);
    // The value of the hook goes back to the connection, and so does the key.
    let (again, held) = (outbox.clone(), Last(notes.clone(), "dropped"));
    let nested = outbox.on_end(move || drop(held)).unwrap();
    let inner = Last(notes.clone(), "dropped, too");
    struct ComesBack(hyperlane::outbox::Outbox, u64, Option<Last>);
    impl Drop for ComesBack {
        fn drop(&mut self) {
            self.0.cancel_end(self.1);
            let last = self.2.take();
            self.0.on_end(move || drop(last));
        }
    }
    let back = ComesBack(again, nested, Some(inner));
    let key = outbox.on_end(move || drop(back)).unwrap();
    outbox.cancel_end(key);
    notes.note("ready");
    socket.closed().await;
});

/// A connection in memory, with a buffer as small as the test needs.
async fn connect(control: &ServerControlHook, holds: usize) -> DuplexStream {
    let (mut stream, served) = duplex(holds);
    control.serve(served, None).await;
    stream.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

async fn next_frame(stream: &mut DuplexStream) -> (u8, Vec<u8>) {
    let opcode = stream.read_u8().await.unwrap();
    let length = match stream.read_u8().await.unwrap() {
        126 => usize::from(stream.read_u16().await.unwrap()),
        127 => stream.read_u64().await.unwrap() as usize,
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    (opcode, payload)
}

#[tokio::test]
async fn a_close_that_drops_waiting_messages_cuts_none_in_two() {
    let gate = Gate::default();
    let control = start(|server| {
        server.state(gate.clone()).route::<LetsGo>("/");
    })
    .await;
    let mut stream = connect(&control, 16).await;
    gate.open();
    // The first message is partly out by now, and the head of the second went with it.
    assert_eq!(next_frame(&mut stream).await, (0x81, vec![b'a'; 100]));
    let mut next = next_frame(&mut stream).await;
    if next.0 == 0x81 {
        assert_eq!(next.1, vec![b'b'; 10_000]);
        next = next_frame(&mut stream).await;
    }
    assert_eq!(next.0, 0x80 | CLOSE);
    assert_eq!(next.1[..2], 1013u16.to_be_bytes());
}

async fn ends_without_reading(last: &[u8]) {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<Pours>("/");
        let config = server.get_mut_server_config();
        config.close_timeout = Duration::from_millis(200);
        config.outbox_stall = Duration::from_secs(3600);
        config.ping_interval = None;
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    assert_eq!(noted.next().await, "poured");
    client.send(last).await;
    eventually("the server closes", || control.connections() == 0).await;
}

#[tokio::test]
async fn the_close_timeout_holds_after_a_violation_by_a_client_that_does_not_read() {
    ends_without_reading(b"\x81\x00").await;
}

#[tokio::test]
async fn the_close_timeout_holds_after_a_close_by_a_client_that_does_not_read() {
    ends_without_reading(&frame(true, CLOSE, 1000u16.to_be_bytes())).await;
}

#[tokio::test]
async fn a_sink_takes_what_it_said_it_had_room_for() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<Shares>("/");
        server.get_mut_server_config().outbox_bytes = 1;
    })
    .await;
    let mut stream = connect(&control, 16).await;
    assert_eq!(noted.next().await, "one: Ok(())");
    assert_eq!(noted.next().await, "other: Ok(())");
    assert_eq!(
        next_frame(&mut stream).await.1,
        "one".repeat(100).as_bytes()
    );
    assert_eq!(
        next_frame(&mut stream).await.1,
        "other".repeat(100).as_bytes()
    );
    assert_eq!(noted.next().await, "flushed");
}

#[tokio::test]
async fn a_panic_in_one_end_hook_skips_no_other_and_leaves_the_handler() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<EndsBadly>("/");
    })
    .await;
    Client::websocket(address(&control), "/")
        .await
        .close()
        .await;
    assert_eq!(noted.next().await, "first");
    assert_eq!(noted.next().await, "second");
    assert_eq!(noted.next().await, "handler");
    eventually("it is counted out", || control.connections() == 0).await;
}

#[tokio::test]
async fn the_key_of_an_end_hook_that_was_taken_back_takes_back_no_other() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<TakesBack>("/");
    })
    .await;
    let client = Client::websocket(address(&control), "/").await;
    assert_eq!(noted.next().await, "dropped");
    assert_eq!(noted.next().await, "ready");
    client.close().await;
    assert_eq!(noted.next().await, "stays");
    assert_eq!(noted.next().await, "dropped, too");
}

#[tokio::test]
async fn a_panic_with_a_value_that_panics_when_dropped_is_a_panic_like_any_other() {
    let control = start(|server| {
        server.route::<PanicsWithWorse>("/");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.status, 500);
    }
}

#[tokio::test]
async fn an_end_hook_that_shuts_its_server_down_does_not_wait_for_itself() {
    let (notes, mut noted) = notes();
    let cell = std::sync::Arc::new(std::sync::OnceLock::new());
    let control = start(|server| {
        server
            .state(notes)
            .state(Control(cell.clone()))
            .route::<ShutsDownAtTheEnd>("/");
    })
    .await;
    assert!(cell.set(control.clone()).is_ok());
    let client = Client::websocket(address(&control), "/").await;
    drop(client);
    assert_eq!(noted.next().await, "ready: false");
    control.wait().await;
}

// ---------------------------------------------------------------- kept open

async fn keeper() -> (ServerControlHook, Handles, Gate) {
    let (handles, gate) = (Handles::default(), Gate::default());
    let control = start(|server| {
        server
            .state(handles.clone())
            .state(gate.clone())
            .route::<HandsOver>("/")
            .route::<HandsEventsOver>("/events");
        let config = server.get_mut_server_config();
        config.shutdown_timeout = 8 * PATIENCE;
        config.handler_linger = 8 * PATIENCE;
    })
    .await;
    (control, handles, gate)
}

async fn closes(client: &mut Client, code: u16) {
    let frame = client.next_message().await;
    assert_eq!((frame.opcode, frame.code()), (CLOSE, code));
    client.frame(CLOSE, code.to_be_bytes()).await;
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_socket_that_is_kept_open_outlives_its_handler_and_ends_with_its_task() {
    let (control, ..) = keeper().await;
    let mut client = Client::websocket(address(&control), "/?as=task").await;
    for text in ["one", "two"] {
        client.say(text).await;
        assert_eq!(client.next_message().await.text(), text);
        assert_eq!(control.connections(), 1);
    }
    client.say("go").await;
    closes(&mut client, 1000).await;
    eventually("it is counted out", || control.connections() == 0).await;
}

#[tokio::test]
async fn a_socket_that_is_not_kept_open_closes_when_its_handler_returns() {
    let (control, ..) = keeper().await;
    let mut client = Client::websocket(address(&control), "/?as=not").await;
    closes(&mut client, 1000).await;
    let mut client = Client::websocket(address(&control), "/?as=none").await;
    closes(&mut client, 1000).await;
}

#[tokio::test]
async fn a_socket_that_is_kept_open_ends_with_the_last_of_its_handles() {
    let (control, handles, _) = keeper().await;
    let mut client = Client::websocket(address(&control), "/?as=clones").await;
    let mut held = Vec::new();
    eventually("the handler has handed them over", || {
        held.append(&mut handles.take());
        held.len() == 2
    })
    .await;
    let (one, other) = (held.pop().unwrap(), held.pop().unwrap());
    drop(one);
    // An outbox keeps no socket open, and neither does a room of it; a clone does.
    let outbox = other.outbox();
    let last = other.clone();
    drop(other);
    client.say("still there").await;
    assert_eq!(last.recv().await.unwrap().to_str().unwrap(), "still there");
    last.send("so am I").await.unwrap();
    assert_eq!(client.next_message().await.text(), "so am I");
    drop(last);
    closes(&mut client, 1000).await;
    assert!(!outbox.is_open());
    eventually("it is counted out", || control.connections() == 0).await;
}

#[tokio::test]
async fn a_handler_that_fails_closes_what_it_wanted_to_keep() {
    let (control, _handles, _) = keeper().await;
    for name in ["panic", "reject"] {
        let mut client = Client::websocket(address(&control), &format!("/?as={name}")).await;
        let frame = client.next_message().await;
        assert_eq!(frame.opcode, CLOSE, "{name}");
        client.frame(CLOSE, frame.payload).await;
        assert!(client.ends().await);
        eventually("it is counted out", || control.connections() == 0).await;
    }
}

#[tokio::test]
async fn handles_keep_no_connection_whose_client_has_gone() {
    let (control, handles, _) = keeper().await;
    for end in ["close", "drop", "reset"] {
        let client = Client::websocket(address(&control), "/?as=deaf").await;
        let mut held = Vec::new();
        eventually("the handler has handed it over", || {
            held.append(&mut handles.take());
            !held.is_empty()
        })
        .await;
        match end {
            "close" => client.close().await,
            "drop" => drop(client),
            _ => client.reset(),
        }
        eventually(end, || control.connections() == 0).await;
        assert!(!held[0].is_open());
        assert!(held[0].recv().await.is_err());
        assert!(held[0].send("late").await.is_err());
    }
}

#[tokio::test]
async fn a_shutdown_closes_what_is_kept_open_and_waits_for_no_handle() {
    let (control, handles, gate) = keeper().await;
    let mut client = Client::websocket(address(&control), "/?as=deaf").await;
    let mut events = Client::connect(address(&control)).await;
    events.request("GET", "/events", "").await;
    events.until(b"data: first\n\n").await;
    let shutdown = tokio::time::timeout(PATIENCE, control.shutdown());
    let (ended, (), rest) = tokio::join!(shutdown, closes(&mut client, 1001), events.rest());
    ended.expect("the shutdown ends");
    assert!(rest.ends_with(b"0\r\n\r\n"));
    assert_eq!(handles.take().len(), 1);
    gate.open();
}

#[tokio::test]
async fn an_event_stream_that_is_kept_open_outlives_its_handler_and_ends_with_its_task() {
    let (control, _, gate) = keeper().await;
    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/events", "").await;
    client.until(b"data: first\n\n").await;
    gate.open();
    client.until(b"data: last\n\n").await;
    assert_eq!(control.connections(), 1);
    gate.open();
    assert!(client.rest().await.ends_with(b"0\r\n\r\n"));
    eventually("it is counted out", || control.connections() == 0).await;
}
