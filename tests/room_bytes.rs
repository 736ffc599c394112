//! Bytes that subscriptions and rooms hold, counted by an allocator.
//!
//! A binary of its own, because the crate that counts replaces the allocator of its process. It counts per thread, so the
//! server, the hub and the calls run on the thread of the test. The clients are a thread of their own.
//!
//! `ROOM_CONNECTIONS=9500 cargo test --release --test room_bytes -- --nocapture --test-threads=1` runs it at full size.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use hyperlane::{broadcast::RoomsConfig, outbox::Outbox, prelude::*};
use test_support::{address, eventually, handler, start};
use tokio::runtime::{Builder, Runtime};

/// Number of connections. A connection takes two descriptors.
fn connections_asked_for() -> usize {
    let asked = std::env::var("ROOM_CONNECTIONS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(1000)
}

/// The most that a subscription may hold, in bytes.
const MOST: i64 = 64;

/// State of the server: the connections.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<Vec<Outbox>>>);

handler!(Opens, |stream, ctx| {
    let connections = ctx.state::<Connections>();
    let socket = ctx.upgrade(stream).await.unwrap();
    connections.0.lock().unwrap().push(socket.outbox());
    while socket.recv().await.is_ok() {}
});

/// Connects `count` clients and leaves them open until the sender is dropped.
fn connect(address: SocketAddr, count: usize) -> std::sync::mpsc::Sender<()> {
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || {
        let clients: Vec<_> = (0..count)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
                    connection: upgrade\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
                stream.write_all(request).unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                stream
            })
            .collect();
        let _ = is_over.recv();
        drop(clients);
    });
    over
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs work on this thread. Returns how many bytes more are live after it.
fn live(runtime: &Runtime, work: impl Future<Output = ()>) -> i64 {
    allocation_counter::measure(|| runtime.block_on(work)).bytes_current
}

/// Joins all connections to all rooms, and waits until the hub has carried it out.
async fn join_all(rooms: &[Room], connections: &[Outbox]) {
    for (at, room) in rooms.iter().enumerate() {
        for connection in connections {
            room.join(connection).await.unwrap();
        }
        carried_out(room).await;
        assert_eq!(room.len(), connections.len(), "room {at}");
    }
}

/// Waits until the hub has carried out what is in the room's queue: a message behind it is dropped last.
async fn carried_out(room: &Room) {
    let (dropped, is_dropped) = tokio::sync::oneshot::channel::<()>();
    struct Payload(#[expect(dead_code, reason = "it is dropped")] tokio::sync::oneshot::Sender<()>);
    impl AsRef<[u8]> for Payload {
        fn as_ref(&self) -> &[u8] {
            b"x"
        }
    }
    let payload = bytes::Bytes::from_owner(Payload(dropped));
    let message = Message::binary(payload);
    // A user of this name has not joined.
    room.send_to("nobody", message).await.unwrap();
    assert!(is_dropped.await.is_err());
}

#[test]
fn a_subscription_holds_few_bytes_and_gives_them_back() {
    const ROOMS: usize = 100;
    let count = connections_asked_for();
    let runtime = one_thread();
    let connections = Connections::default();
    let rooms = Rooms::with_config(RoomsConfig::default().history_messages(0));
    let control = runtime.block_on(start(|server| {
        server.state(connections.clone()).route::<Opens>("/");
        server.get_mut_server_config().ping_interval = None;
    }));
    let clients = connect(address(&control), count);
    let open = connections.clone();
    runtime.block_on(eventually("all are connected", || {
        open.0.lock().unwrap().len() == count
    }));
    let outboxes = connections.0.lock().unwrap().clone();
    let names = |from: usize| -> Vec<Room> {
        let name = |at: usize| rooms.room(format!("room {}", from + at)).unwrap();
        (0..ROOMS).map(name).collect()
    };
    // Hubs, tables and threads have their size after the first round, and so do the buffers of the connections.
    let mut handles = names(0);
    runtime.block_on(join_all(&handles, &outboxes));
    runtime.block_on(async {
        for room in &handles {
            for outbox in &outboxes {
                assert!(room.leave(outbox).await);
            }
            carried_out(room).await;
        }
    });
    handles.clear();
    let held = live(&runtime, async {
        handles = names(1000);
        join_all(&handles, &outboxes).await;
    });
    let subscriptions = i64::try_from(count * ROOMS).unwrap();
    println!("{} bytes for each subscription", held / subscriptions);
    assert!(
        held <= MOST * subscriptions,
        "{} bytes each",
        held / subscriptions
    );
    let left = live(&runtime, async {
        for room in &handles {
            for outbox in &outboxes {
                assert!(room.leave(outbox).await);
            }
            carried_out(room).await;
        }
        handles.clear();
        eventually("no room is left", || rooms.is_empty()).await;
    });
    println!("{left} of {held} bytes came back");
    assert!(held + left < held / 100, "{left} of {held} bytes came back");
    // The same when the connections end.
    let held = live(&runtime, async {
        handles = names(2000);
        join_all(&handles, &outboxes).await;
        handles.clear();
    });
    let left = live(&runtime, async {
        drop(clients);
        eventually("no room is left", || rooms.is_empty()).await;
        eventually("no connection is left", || control.connections() == 0).await;
    });
    assert!(held + left < held / 100, "{left} of {held} bytes came back");
}

#[test]
fn rooms_that_were_made_and_left_leave_nothing() {
    const ROOMS: usize = 10_000;
    let runtime = one_thread();
    let connections = Connections::default();
    let rooms = Rooms::with_config(RoomsConfig::default().history_messages(0));
    let control = runtime.block_on(start(|server| {
        server.state(connections.clone()).route::<Opens>("/");
        server.get_mut_server_config().ping_interval = None;
    }));
    let clients = connect(address(&control), 1);
    let open = connections.clone();
    runtime.block_on(eventually("it is connected", || {
        open.0.lock().unwrap().len() == 1
    }));
    let outbox = connections.0.lock().unwrap()[0].clone();
    let round = async || {
        for at in 0..ROOMS {
            let room = rooms.room(format!("room {at}")).unwrap();
            room.join(&outbox).await.unwrap();
            room.broadcast_except(&outbox, "nobody hears it")
                .await
                .unwrap();
            assert!(room.leave(&outbox).await);
            if at % 100 == 0 {
                carried_out(&room).await;
            }
        }
        eventually("no room is left", || rooms.is_empty()).await;
    };
    runtime.block_on(round());
    let left = live(&runtime, round());
    println!("{left} bytes left by {ROOMS} rooms");
    assert!(left < 64 * 1024, "{left} bytes");
    drop(clients);
}

#[test]
fn a_room_with_one_member_holds_few_bytes_with_many_hubs() {
    const ROOMS: usize = 5000;
    /// The most that such a room may hold, in bytes.
    const MOST: i64 = 1800;
    let runtime = one_thread();
    // A hub for each worker. What the hubs free for this thread still counts, so the result is too high.
    let hubs = Builder::new_multi_thread()
        .worker_threads(16)
        .enable_all()
        .build()
        .unwrap();
    let connections = Connections::default();
    let config = RoomsConfig::default()
        .history_messages(0)
        .rooms_per_connection(ROOMS);
    let rooms = Rooms::builder()
        .config(config)
        .on(hubs.handle().clone())
        .build();
    let control = runtime.block_on(start(|server| {
        server.state(connections.clone()).route::<Opens>("/");
        server.get_mut_server_config().ping_interval = None;
    }));
    let clients = connect(address(&control), 1);
    let open = connections.clone();
    runtime.block_on(eventually("it is connected", || {
        open.0.lock().unwrap().len() == 1
    }));
    let outbox = connections.0.lock().unwrap()[0].clone();
    let held = live(&runtime, async {
        for at in 0..ROOMS {
            let room = rooms.room(format!("room {at}")).unwrap();
            room.join(&outbox).await.unwrap();
        }
    });
    assert_eq!(rooms.len(), ROOMS);
    let each = held / i64::try_from(ROOMS).unwrap();
    println!("{each} bytes for each room");
    assert!(each <= MOST, "{each} bytes for each room");
    drop(clients);
}
