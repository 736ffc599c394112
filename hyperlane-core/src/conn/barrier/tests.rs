use std::{
    io,
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    super::testing::{Client, events, sockets, until},
    *,
};
use crate::{CloseCode, Outbox, PushError, ServerConfig, WebSocket, wire::WireFormat};

/// A path by which messages come to one connection: what a room is, but it delivers when the test says so.
struct Gate {
    outbox: Outbox,
    state: Mutex<GateState>,
}

#[derive(Default)]
struct GateState {
    is_on_its_way: bool,
    tickets: Vec<u64>,
}

impl Gate {
    fn new(outbox: &Outbox) -> Arc<Self> {
        let gate = Arc::new(Self {
            outbox: outbox.clone(),
            state: Mutex::default(),
        });
        outbox.__add_barrier(gate.clone());
        gate
    }

    fn publish(&self) {
        crate::hub::flush_current();
        self.state.lock().unwrap().is_on_its_way = true;
    }

    fn deliver(&self, text: &str) -> Result<(), Undelivered> {
        let message = Message::from(text);
        match self.outbox.format() {
            WireFormat::WebSocketTakeover => {
                self.outbox
                    .__deliver_message(&message, usize::MAX, PastHeld::Yes)
            }
            format => {
                self.outbox
                    .__deliver(&format.encode(&message).unwrap(), usize::MAX, PastHeld::Yes)
            }
        }
    }

    /// Nothing is on its way any more.
    fn settle(&self) -> Vec<u64> {
        let mut state = self.state.lock().unwrap();
        state.is_on_its_way = false;
        std::mem::take(&mut state.tickets)
    }

    fn arrive(&self, texts: &[&str]) {
        for text in texts {
            self.deliver(text).unwrap();
        }
        for ticket in self.settle() {
            self.outbox.__release(ticket);
        }
    }

    /// The number of tickets that the connection has asked for and not got back.
    fn held(&self) -> usize {
        self.state.lock().unwrap().tickets.len()
    }
}

impl Barrier for Gate {
    fn is_clear(&self) -> bool {
        !self.state.lock().unwrap().is_on_its_way
    }

    fn hold(&self, ticket: u64) {
        let mut state = self.state.lock().unwrap();
        if state.is_on_its_way {
            state.tickets.push(ticket);
        } else {
            drop(state);
            self.outbox.__release(ticket);
        }
    }
}

#[tokio::test]
async fn sends_wait_for_what_is_on_its_way() {
    let control = sockets(ServerConfig::default(), async |socket| {
        let gate = Gate::new(&socket.outbox());
        socket.send("before").await.unwrap();
        gate.publish();
        socket.send("own").await.unwrap();
        socket.send("l".repeat(60_000)).await.unwrap();
        tokio::task::yield_now().await;
        let outbox = socket.outbox();
        outbox.send(&Message::from("by another task")).unwrap();
        std::thread::spawn(move || {
            gate.deliver("room").unwrap();
            // Nothing is on its way any more, but sends still come after what is held.
            let tickets = gate.settle();
            assert_eq!(tickets.len(), 2);
            outbox.send(&Message::from("last")).unwrap();
            for ticket in tickets.into_iter().rev() {
                outbox.__release(ticket);
            }
        });
        let _ = socket.recv().await;
    })
    .await;
    let mut client = Client::websocket(&control).await;
    assert_eq!(
        client.texts().await,
        [
            "before",
            "room",
            "own",
            &"l".repeat(60_000),
            "by another task",
            "last"
        ]
    );
}

/// A server whose handler adds a gate, publishes, does as `script` says, and reads to the end of its WebSocket. The
/// test gets the gate and the WebSocket before that.
async fn behind_a_gate<F>(
    config: ServerConfig,
    script: impl Fn(WebSocket) -> F + Clone + Send + Sync + 'static,
) -> (Client, Arc<Gate>, WebSocket)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (tell, mut told) = mpsc::unbounded_channel();
    let control = sockets(config, move |socket| {
        let (tell, script) = (tell.clone(), script.clone());
        async move {
            let gate = Gate::new(&socket.outbox());
            gate.publish();
            script(socket.clone()).await;
            tell.send((gate, socket.clone())).unwrap();
            while socket.recv().await.is_ok() {}
        }
    })
    .await;
    let client = Client::websocket(&control).await;
    let (gate, socket) = told.recv().await.unwrap();
    (client, gate, socket)
}

fn kind(sent: io::Result<()>) -> Option<io::ErrorKind> {
    sent.err().map(|error| error.kind())
}

#[tokio::test]
async fn an_answer_comes_before_what_its_sender_publishes_afterwards() {
    let (mut client, gate, _socket) = behind_a_gate(ServerConfig::default(), async |socket| {
        socket.send("answer").await.unwrap();
        // Publishing again does this.
        crate::hub::flush_current();
    })
    .await;
    gate.deliver("published before").unwrap();
    let tickets = std::mem::take(&mut gate.state.lock().unwrap().tickets);
    assert_eq!(tickets.len(), 1, "asked for before the second message");
    gate.outbox.__release(tickets[0]);
    gate.deliver("published after").unwrap();
    assert_eq!(
        client.texts().await,
        ["published before", "answer", "published after"]
    );
}

#[tokio::test]
async fn a_close_waits_for_what_is_on_its_way() {
    let (mut client, gate, socket) = behind_a_gate(ServerConfig::default(), async |socket| {
        socket.send("own").await.unwrap();
        socket.close(CloseCode::new(4001), "bye").unwrap();
    })
    .await;
    assert_eq!(gate.held(), 1, "one ticket for both");
    let outbox = socket.outbox();
    let broken = Some(io::ErrorKind::BrokenPipe);
    assert!(!socket.is_open() && !outbox.is_open());
    assert_eq!(kind(socket.send("late").await), broken);
    assert_eq!(kind(socket.close(CloseCode::NORMAL, "again")), broken);
    let frame = WireFormat::WebSocket.encode(&"late".into()).unwrap();
    assert_eq!(outbox.push(&frame), Err(PushError::Closed));
    outbox.close(CloseCode::NORMAL, "again", false);
    gate.arrive(&["one", "two"]);
    assert_eq!(client.texts().await, ["one", "two", "own"]);
    assert_eq!(client.closed().await, (4001, "bye".to_owned()));
    assert_eq!(gate.deliver("late"), Err(Undelivered::Closed));
    client.say(0x88, &[]).await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn the_end_of_a_handler_waits_for_what_is_on_its_way() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let control = sockets(ServerConfig::default(), move |socket| {
        let gate = Gate::new(&socket.outbox());
        gate.publish();
        tell.send(gate).unwrap();
        std::future::ready(())
    })
    .await;
    let mut client = Client::websocket(&control).await;
    let gate = told.recv().await.unwrap();
    until(|| gate.held() == 1).await;
    std::thread::spawn(move || gate.arrive(&["room"]));
    assert_eq!(client.text().await, "room");
    assert_eq!(client.closed().await.0, 1000);
}

#[tokio::test]
async fn what_was_held_reaches_a_transport_that_only_the_task_can_write_to() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let control = sockets(ServerConfig::default(), move |socket| {
        let gate = Gate::new(&socket.outbox());
        gate.publish();
        tell.send(gate).unwrap();
        async move { socket.send("own").await.unwrap() }
    })
    .await;
    let (mut client, server) = tokio::io::duplex(1024);
    tokio::spawn(async move { control.serve(server, None).await });
    let head = "GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let gate = told.recv().await.unwrap();
    until(|| !gate.outbox.is_open()).await;
    std::thread::spawn(move || gate.arrive(&["room"]));
    let mut read = Vec::new();
    while !read.ends_with(b"\x81\x04room\x81\x03own\x88\x02\x03\xe8") {
        read.push(client.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_what_is_on_its_way() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let control = sockets(ServerConfig::default(), move |socket| {
        let gate = Gate::new(&socket.outbox());
        tell.send(gate).unwrap();
        async move { while socket.recv().await.is_ok() {} }
    })
    .await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let client = Client::websocket(&control).await;
        members.push((client, told.recv().await.unwrap()));
    }
    members.iter().for_each(|(_, gate)| gate.publish());
    let ending = tokio::spawn(async move { control.shutdown().await });
    for (mut client, gate) in members {
        until(|| gate.held() == 1).await;
        gate.arrive(&["announcement"]);
        assert_eq!(client.text().await, "announcement");
        assert_eq!(client.closed().await.0, 1001);
    }
    ending.await.unwrap();
}

#[tokio::test]
async fn the_end_of_an_event_stream_waits_for_what_is_on_its_way() {
    for (version, end) in [
        ("1.1", "return"),
        ("1.0", "return"),
        ("1.1", "close"),
        ("1.0", "close"),
        ("1.1", "shutdown"),
        ("1.0", "shutdown"),
    ] {
        let (tell, mut told) = mpsc::unbounded_channel();
        let control = events(ServerConfig::default(), move |events| {
            let tell = tell.clone();
            async move {
                let gate = Gate::new(&events.outbox());
                gate.publish();
                events.send("own").await.unwrap();
                tell.send(gate).unwrap();
                match end {
                    "return" => {}
                    "close" => {
                        events.close();
                        assert!(!events.is_open() && events.send("late").await.is_err());
                        // This has no effect.
                        events.close();
                        std::future::pending().await
                    }
                    _ => events.closed().await,
                }
            }
        })
        .await;
        let mut client = Client::request_as(&control, version, "").await;
        let gate = told.recv().await.unwrap();
        let shutdown = (end == "shutdown").then(|| {
            let control = control.clone();
            tokio::spawn(async move { control.shutdown().await })
        });
        until(|| !gate.outbox.is_open()).await;
        gate.arrive(&["room"]);
        let rest = client.rest().await;
        let (room, own) = ("data: room\n\n", "id: 0\ndata: own\n\n");
        let expected = match version {
            "1.0" => format!("{room}{own}"),
            _ => format!("c\r\n{room}\r\n11\r\n{own}\r\n0\r\n\r\n"),
        };
        assert_eq!(rest, expected, "{version} {end}");
        assert_eq!(gate.deliver("late"), Err(Undelivered::Closed));
        drop(client);
        if let Some(shutdown) = shutdown {
            shutdown.await.unwrap();
        }
    }
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn held_messages_are_compressed_in_wire_order() {
    use crate::proto::ws::{
        Compressed, Role, WebSocketOpcode,
        deflate::{DeflateConfig, negotiate},
    };
    let deflate = DeflateConfig::default()
        .server_context_takeover(true)
        .min_size(0);
    let config = ServerConfig::default().deflate(deflate);
    let (tell, mut told) = mpsc::unbounded_channel();
    let control = sockets(config, move |socket| {
        let tell = tell.clone();
        async move {
            let gate = Gate::new(&socket.outbox());
            gate.publish();
            socket.send("own message of the handler").await.unwrap();
            let outbox = socket.outbox();
            outbox.send(&"own message of a task".into()).unwrap();
            socket.close(CloseCode::NORMAL, "").unwrap();
            tell.send(gate).unwrap();
            while socket.recv().await.is_ok() {}
        }
    })
    .await;
    let offer = "permessage-deflate";
    let fields = format!("sec-websocket-extensions: {offer}\r\n");
    let mut client = Client::offering(&control, &fields).await;
    let gate = told.recv().await.unwrap();
    assert_eq!(gate.outbox.format(), WireFormat::WebSocketTakeover);
    gate.arrive(&["message of the room"]);
    let agreement = negotiate([offer], &deflate).unwrap().unwrap();
    let mut decompressor = agreement.decompressor(Role::Client, &deflate);
    for expected in [
        "message of the room",
        "own message of the handler",
        "own message of a task",
    ] {
        let (first, payload) = client.frame().await;
        assert_eq!(first, 0xc1);
        let (opcode, payload) = (WebSocketOpcode::Text, payload.into());
        let message = decompressor.decode(&Compressed { opcode, payload }, 1000);
        assert_eq!(message.unwrap(), Message::from(expected));
    }
    assert_eq!(client.closed().await.0, 1000);
}

#[tokio::test]
async fn held_bytes_fill_the_outbox_but_not_for_deliveries() {
    let config = ServerConfig::default().outbox_bytes(10_000);
    let (mut client, gate, socket) = behind_a_gate(config, async |_| {}).await;
    let outbox = socket.outbox();
    let tiny = WireFormat::WebSocket.encode(&"x".into()).unwrap();
    let mut count = 0;
    let refused = loop {
        match outbox.push(&tiny) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, PushError::Full);
    // Each entry counts its overhead.
    assert!((10_000 / 100..10_000 / 50).contains(&count), "{count}");
    assert!(outbox.queued() > 10_000);
    assert!(outbox.__poll_drained(0, std::task::Waker::noop()));
    {
        let mut waits = pin!(socket.send("after the wait"));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        let arrives = gate.clone();
        std::thread::spawn(move || arrives.arrive(&["room"]));
        waits.await.unwrap();
    }
    assert_eq!(client.text().await, "room");
    for _ in 0..count {
        assert_eq!(client.text().await, "x");
    }
    assert_eq!(client.text().await, "after the wait");
    assert_eq!(outbox.queued(), 0);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn deliveries_have_a_limit_of_their_own() {
    let (mut client, gate, _socket) = behind_a_gate(ServerConfig::default(), async |_| {}).await;
    gate.arrive(&[]);
    let payload = vec![b'x'; 60_000];
    let frame = WireFormat::WebSocket.encode(&payload.into()).unwrap();
    let outbox = gate.outbox.clone();
    let mut count = 0;
    while outbox.__deliver(&frame, 100_000, PastHeld::Yes) == Ok(()) {
        count += 1;
    }
    assert_eq!(
        outbox.__deliver(&frame, 100_000, PastHeld::Yes),
        Err(Undelivered::Full)
    );
    assert_eq!(outbox.__deliver(&frame, 1_000_000, PastHeld::Yes), Ok(()));
    count += 1;
    let (low, high) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
    assert!(!outbox.__poll_drained(50_000, &low.clone().into()));
    assert!(!outbox.__poll_drained(100_000, &high.clone().into()));
    assert!(outbox.__poll_drained(1_000_000, std::task::Waker::noop()));
    tokio::task::yield_now().await;
    assert_eq!((low.count(), high.count()), (0, 0));
    for _ in 0..count {
        assert_eq!(client.frame().await.1.len(), 60_000);
    }
    until(|| low.count() == 1 && high.count() == 1).await;
    // The end of the connection wakes as well.
    while outbox.__deliver(&frame, 0, PastHeld::Yes) == Ok(()) {}
    assert!(!outbox.__poll_drained(0, &low.clone().into()));
    drop(client);
    until(|| low.count() == 2).await;
    assert!(outbox.__poll_drained(0, std::task::Waker::noop()));
}

#[tokio::test]
async fn a_lost_connection_drops_what_it_holds() {
    let (client, gate, socket) = behind_a_gate(ServerConfig::default(), async |socket| {
        socket.send("own").await.unwrap();
        crate::hub::flush_current();
    })
    .await;
    let outbox = socket.outbox();
    assert!(outbox.queued() > 0);
    let closed = Arc::new(Wakes::default());
    let on_closed = closed.clone();
    outbox.__on_closed(move || on_closed.wake());
    drop(client);
    until(|| closed.count() == 1).await;
    assert_eq!(outbox.queued(), 0);
    assert_eq!(gate.deliver("late"), Err(Undelivered::Closed));
    // The barrier owns an outbox of its connection, so the connection must not own the barrier any longer.
    let unowned = Arc::downgrade(&gate);
    for ticket in gate.settle() {
        outbox.__release(ticket);
    }
    drop(gate);
    assert!(unowned.upgrade().is_none());
    let late = Gate::new(&outbox);
    late.publish();
    assert_eq!(Arc::strong_count(&late), 1);
}

#[tokio::test]
async fn a_send_waits_for_every_barrier() {
    let (mut client, one, socket) = behind_a_gate(ServerConfig::default(), async |_| {}).await;
    let outbox = socket.outbox();
    outbox.send(&"first".into()).unwrap();
    let other = Gate::new(&outbox);
    outbox.__add_barrier(other.clone());
    other.publish();
    outbox.send(&"second".into()).unwrap();
    assert_eq!((one.held(), other.held()), (2, 1));
    one.arrive(&["of one"]);
    other.deliver("of the other").unwrap();
    assert!(outbox.queued() > 0);
    assert_eq!(
        client.texts().await,
        ["of one", "first", "of the other"],
        "the second barrier came after the first send"
    );
    other.arrive(&[]);
    assert_eq!(client.text().await, "second");
    assert_eq!(outbox.queued(), 0);
    // Unknown tickets have no effect.
    for ticket in [0, 1, 7, u64::MAX] {
        outbox.__release(ticket);
    }
}

#[tokio::test]
async fn a_barrier_that_never_releases_holds_nothing_for_ever() {
    let config = ServerConfig::default()
        .close_timeout(Duration::from_millis(300))
        .outbox_stall(Duration::from_millis(300));
    let (mut client, _gate, socket) = behind_a_gate(config, async |socket| {
        socket.send("own").await.unwrap();
    })
    .await;
    assert_eq!(client.text().await, "own");
    socket.outbox().send(&"more".into()).unwrap();
    socket.close(CloseCode::new(4001), "bye").unwrap();
    assert_eq!(client.text().await, "more");
    assert_eq!(client.closed().await, (4001, "bye".to_owned()));
}

#[tokio::test]
async fn a_close_that_drops_what_is_unsent_does_not_wait() {
    for promised in [false, true] {
        let (mut client, gate, socket) =
            behind_a_gate(ServerConfig::default(), move |socket| async move {
                socket.send("own").await.unwrap();
                if promised {
                    socket.close(CloseCode::new(4001), "bye").unwrap();
                }
            })
            .await;
        let code = CloseCode::TRY_AGAIN_LATER;
        socket.outbox().close(code, "reads too slowly", true);
        let closed = client.closed().await;
        match promised {
            true => assert_eq!(closed, (4001, "bye".to_owned())),
            false => assert_eq!(closed, (1013, "reads too slowly".to_owned())),
        }
        assert_eq!(socket.outbox().queued(), 0);
        assert_eq!(gate.deliver("late"), Err(Undelivered::Closed));
    }
}

#[tokio::test]
async fn pings_and_pongs_do_not_wait() {
    let config = ServerConfig::default().ping_interval(Duration::from_millis(100));
    let (mut client, gate, _socket) = behind_a_gate(config, async |socket| {
        socket.send("own").await.unwrap();
    })
    .await;
    let (first, heartbeat) = client.frame().await;
    assert_eq!(first, 0x89);
    client.say(0x8a, &heartbeat).await;
    client.say(0x89, b"alive?").await;
    loop {
        let (first, payload) = client.frame().await;
        if first != 0x89 {
            assert_eq!((first, &*payload), (0x8a, &b"alive?"[..]));
            break;
        }
    }
    gate.arrive(&[]);
    loop {
        let (first, payload) = client.frame().await;
        if first != 0x89 {
            assert_eq!((first, &*payload), (0x81, &b"own"[..]));
            break;
        }
    }
}

#[tokio::test]
async fn the_close_of_the_peer_ends_the_wait() {
    let (mut client, _gate, socket) = behind_a_gate(ServerConfig::default(), async |socket| {
        socket.send("own").await.unwrap();
        socket.close(CloseCode::new(4001), "bye").unwrap();
    })
    .await;
    client.say(0x88, &1000u16.to_be_bytes()).await;
    assert_eq!(client.text().await, "own");
    assert_eq!(client.closed().await, (4001, "bye".to_owned()));
    assert_eq!(client.rest().await, "");
    assert_eq!(socket.outbox().queued(), 0);
}

#[tokio::test]
async fn a_connection_tells_when_it_takes_no_more_messages() {
    let hook = |outbox: &Outbox| {
        let closed = Arc::new(Wakes::default());
        let wakes = closed.clone();
        outbox.__on_closed(move || wakes.wake());
        closed
    };
    for end in ["close", "held", "by the peer", "violation", "events"] {
        let (mut client, gate, socket) = behind_a_gate(ServerConfig::default(), async |_| {}).await;
        let outbox = socket.outbox();
        let closed = hook(&outbox);
        assert_eq!(closed.count(), 0);
        match end {
            "held" => {
                outbox.close(CloseCode::NORMAL, "", false);
                assert_eq!((gate.held(), closed.count()), (1, 0));
                gate.arrive(&[]);
            }
            "by the peer" => client.say(0x88, &[]).await,
            "violation" => client.say(0xff, &[]).await,
            _ => {
                gate.arrive(&[]);
                outbox.close(CloseCode::NORMAL, "", false);
                assert_eq!(closed.count(), 1, "at once");
            }
        }
        until(|| closed.count() == 1).await;
        assert_eq!(hook(&outbox).count(), 1, "at once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_handler_can_flush_and_defer() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let control = sockets(ServerConfig::default(), move |socket| {
        let tell = tell.clone();
        async move {
            let gate = Gate::new(&socket.outbox());
            socket.send("flushed").await.unwrap();
            let deferred = Arc::new(Wakes::default());
            let (resume, resumed) = std::sync::mpsc::channel();
            tokio::task::block_in_place(|| {
                gate.publish();
                let outbox = socket.outbox();
                outbox.send(&"held".into()).unwrap();
                assert_eq!(crate::hub::polled_connection(), Some(outbox.id()));
                let wakes = deferred.clone();
                crate::hub::defer(move || wakes.wake());
                tell.send((gate, deferred.clone(), resume)).unwrap();
                resumed.recv().unwrap();
            });
            assert_eq!(deferred.count(), 0, "the poll goes on");
            socket.send("after").await.unwrap();
            let _ = socket.recv().await;
        }
    })
    .await;
    let mut client = Client::websocket(&control).await;
    let (gate, deferred, resume) = told.recv().await.unwrap();
    // The handler blocks, and its client gets all of this.
    assert_eq!(client.text().await, "flushed");
    gate.arrive(&["room"]);
    assert_eq!(client.texts().await, ["room", "held"]);
    assert_eq!(deferred.count(), 0);
    resume.send(()).unwrap();
    assert_eq!(client.text().await, "after");
    until(|| deferred.count() == 1).await;
}
