//! One order: what a task publishes, and then does to a member's connection, reaches the member in that order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use hyperlane::broadcast::{RoomLimits, RoomsConfig};
use hyperlane::prelude::*;
use test_support::{CLOSE, Client, PATIENCE, address, eventually, handler, start};

use super::hall::{Hall, Handle};

/// Members of these tests: WebSockets and event streams.
const SOCKETS: usize = 3;
const EVENTS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_leaves_and_joins_again_sees_the_order_of_the_room() {
    const ROUNDS: usize = 300;
    let mut hall = Hall::new().await;
    let room = hall.rooms.room("lobby").unwrap();
    // There are so many members that the room uses all its shards (each has its own hub). A member that joins again
    // could get another shard.
    let others = hall.members(&room, 40, 0).await;
    let mut member = hall.socket().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut noise = Vec::new();
    for (at, mut other) in others.into_iter().enumerate() {
        let (room, is_over) = (room.clone(), is_over.clone());
        // Some of the others come and go, and some publish.
        if at < 3 {
            let outbox = other.handle.outbox();
            let (room, is_over) = (room.clone(), is_over.clone());
            noise.push(tokio::spawn(async move {
                while !is_over.load(Ordering::Acquire) {
                    assert!(room.leave(&outbox).await);
                    tokio::task::yield_now().await;
                    room.join(&outbox).await.unwrap();
                }
            }));
        } else if at < 5 {
            let (room, is_over) = (room.clone(), is_over.clone());
            noise.push(tokio::spawn(async move {
                for number in 0.. {
                    if is_over.load(Ordering::Acquire) {
                        return;
                    }
                    let text = format!("noise{at} {number}");
                    room.broadcast(text).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }));
        }
        tokio::spawn(async move { while other.next().await.is_some() {} });
    }
    let outbox = member.handle.outbox();
    for round in 0..ROUNDS {
        room.join(&outbox).await.unwrap();
        for number in 0..20 {
            room.broadcast(format!("{round}: {number}")).await.unwrap();
        }
        room.leave(&outbox).await;
        room.join(&outbox).await.unwrap();
        for number in 20..40 {
            room.broadcast(format!("{round}: {number}")).await.unwrap();
        }
        room.leave(&outbox).await;
        member.handle.send("over").await;
        let (mut expected, mut noise) = (0, [0; 5]);
        loop {
            let text = member.next().await.unwrap();
            if text == "over" {
                break;
            }
            match text.split_once(": ") {
                Some((_, number)) => {
                    assert_eq!(text, format!("{round}: {expected}"), "{number}");
                    expected += 1;
                }
                None => {
                    let (who, number) = text.split_once(' ').unwrap();
                    let number: u64 = number.parse().unwrap();
                    let last =
                        &mut noise[who.strip_prefix("noise").unwrap().parse::<usize>().unwrap()];
                    assert!(number + 1 > *last, "{text} after {last}");
                    *last = number + 1;
                }
            }
        }
        assert_eq!(expected, 40, "round {round}");
    }
    is_over.store(true, Ordering::Release);
    for task in noise {
        task.await.unwrap();
    }
}

async fn a_farewell_of_the_server_comes_before_the_close() {
    for _ in 0..30 {
        let mut hall = Hall::new().await;
        let room = hall.rooms.room("lobby").unwrap();
        let mut members = hall.members(&room, SOCKETS, EVENTS).await;
        room.broadcast("bye").await.unwrap();
        for member in &members {
            member.handle.close();
        }
        for member in &mut members {
            assert_eq!(member.all().await, ["bye"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_published_before_a_close_comes_before_it() {
    a_farewell_of_the_server_comes_before_the_close().await;
}

#[tokio::test]
async fn what_is_published_before_a_close_comes_before_it_on_one_thread() {
    a_farewell_of_the_server_comes_before_the_close().await;
}

async fn an_announcement_comes_before_the_end_of_the_server() {
    for _ in 0..20 {
        let mut hall = Hall::new().await;
        let room = hall.rooms.room("lobby").unwrap();
        let mut members = hall.members(&room, SOCKETS, EVENTS).await;
        room.broadcast("the server restarts").await.unwrap();
        let control = hall.control.clone();
        let shutdown = tokio::spawn(async move { control.shutdown().await });
        for member in &mut members {
            assert_eq!(member.all().await, ["the server restarts"]);
            if let Handle::Socket(_) = member.handle {
                member.client.frame(CLOSE, 1001u16.to_be_bytes()).await;
            }
        }
        drop(members);
        shutdown.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_published_before_a_shutdown_reaches_every_member() {
    an_announcement_comes_before_the_end_of_the_server().await;
}

#[tokio::test]
async fn what_is_published_before_a_shutdown_reaches_every_member_on_one_thread() {
    an_announcement_comes_before_the_end_of_the_server().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn history_comes_before_what_is_sent_after_the_join() {
    for _ in 0..30 {
        let mut hall = Hall::new().await;
        let room = hall.rooms.room("lobby").unwrap();
        for text in ["a", "b", "c"] {
            room.broadcast(text).await.unwrap();
        }
        let members = [hall.socket().await, hall.events().await];
        for mut member in members {
            let join = Join::new().history(3);
            room.join_with(&member.handle.outbox(), join).await.unwrap();
            member.handle.send("end").await;
            assert_eq!(member.take(4).await, ["a", "b", "c", "end"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_published_in_several_rooms_comes_before_a_send() {
    const ROOMS: usize = 7;
    let mut hall = Hall::new().await;
    let lobby = hall.rooms.room("lobby").unwrap();
    let mut members = hall.members(&lobby, SOCKETS, EVENTS).await;
    let mut rooms = Vec::new();
    for at in 0..ROOMS {
        let room = hall.rooms.room(format!("room {at}")).unwrap();
        for member in &members {
            room.join(&member.handle.outbox()).await.unwrap();
        }
        rooms.push(room);
    }
    for round in 0..100 {
        for (at, room) in rooms.iter().enumerate() {
            room.broadcast(format!("{at} {round}")).await.unwrap();
        }
        for member in &members {
            member.handle.send("sent").await;
        }
        for member in &mut members {
            let mut texts = member.take(ROOMS + 1).await;
            assert_eq!(texts.pop().unwrap(), "sent");
            texts.sort();
            let expected: Vec<_> = (0..ROOMS).map(|at| format!("{at} {round}")).collect();
            assert_eq!(texts, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_published_before_a_leave_comes_before_a_send_after_it() {
    let mut hall = Hall::new().await;
    let room = hall.rooms.room("lobby").unwrap();
    let mut members = [hall.socket().await, hall.events().await];
    for _ in 0..100 {
        for member in &mut members {
            let outbox = member.handle.outbox();
            room.join(&outbox).await.unwrap();
            room.broadcast("before").await.unwrap();
            room.leave(&outbox).await;
            room.broadcast("not for it").await.unwrap();
            member.handle.send("after").await;
            assert_eq!(member.take(2).await, ["before", "after"]);
        }
    }
}

/// The number of messages, and the length of each in bytes. Together they are more than the buffers of a loopback
/// connection hold, and less than a slow member may be behind.
const MANY: usize = 160;
const LARGE: usize = 32 * 1024;

fn patient(config: &mut ServerConfig) {
    config.outbox_bytes = 64 * 1024;
    config.close_timeout = PATIENCE;
    config.outbox_stall = PATIENCE;
}

fn roomy() -> RoomsConfig {
    let limits = RoomLimits::default().slow_bytes(64 << 20);
    RoomsConfig::default().limits(limits.slow_stall(PATIENCE))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_member_gets_what_was_published_before_its_close() {
    let mut hall = Hall::with(roomy(), patient).await;
    let room = hall.rooms.room("lobby").unwrap();
    let mut members = hall.members(&room, 2, 2).await;
    let filler = ".".repeat(LARGE);
    for number in 0..MANY {
        room.broadcast(format!("{number}{filler}")).await.unwrap();
    }
    room.broadcast("bye").await.unwrap();
    for member in &members {
        member.handle.close();
    }
    for member in &mut members {
        let texts = member.all().await;
        let short: Vec<_> = texts
            .iter()
            .map(|text| text.trim_end_matches('.'))
            .collect();
        let mut expected: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
        expected.push("bye".to_owned());
        assert_eq!(short, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_member_that_leaves_gets_what_is_sent_to_it_afterwards() {
    let mut hall = Hall::with(roomy(), patient).await;
    let room = hall.rooms.room("lobby").unwrap();
    let mut members = hall.members(&room, 2, 2).await;
    let filler = ".".repeat(LARGE);
    for number in 0..MANY {
        room.broadcast(format!("{number}{filler}")).await.unwrap();
    }
    let mut sending = Vec::new();
    for member in &members {
        let (room, handle) = (room.clone(), member.handle.clone());
        sending.push(tokio::spawn(async move {
            // The outbox is full or about to be, so the send may have to be tried until the client has read.
            assert!(room.leave(&handle.outbox()).await);
            while let Err(error) = handle.outbox().send(&Message::from("after")) {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                tokio::task::yield_now().await;
            }
        }));
    }
    for member in &mut members {
        for expected in 0.. {
            let text = member.next().await.unwrap();
            if text == "after" {
                break;
            }
            assert_eq!(text.trim_end_matches('.'), expected.to_string());
        }
    }
    for task in sending {
        task.await.unwrap();
    }
}

handler!(PublishesAndReturns, |stream, ctx| {
    let room = ctx.room("lobby").unwrap();
    let rounds = ctx.get_request().get_query("events") == "1";
    if rounds {
        let events = ctx.event_stream(stream).await.unwrap();
        room.join(&events).await.unwrap();
        room.broadcast("last").await.unwrap();
        return Status::Continue;
    }
    let socket = ctx.upgrade(stream).await.unwrap();
    room.join(&socket).await.unwrap();
    room.broadcast("last").await.unwrap();
});

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_handler_publishes_before_it_returns_reaches_its_own_client() {
    let control = start(|server| {
        server.state(Rooms::new()).route::<PublishesAndReturns>("/");
    })
    .await;
    for _ in 0..50 {
        let mut client = Client::websocket(address(&control), "/?events=0").await;
        assert_eq!(client.next_message().await.text(), "last");
        assert_eq!(client.next_message().await.code(), 1000);
        let mut client = Client::connect(address(&control)).await;
        client.request("GET", "/?events=1", "").await;
        client.until(b"\r\n\r\n").await;
        assert_eq!(client.chunk().await, b"data: last\n\n");
        assert_eq!(client.chunk().await, b"");
    }
}

/// State of the server: the gate at which a handler blocks its thread, and a count of steps for the test.
#[derive(Clone)]
struct Blocked(Arc<std::sync::Mutex<Receiver<()>>>, Arc<AtomicU64>);

impl Blocked {
    /// Blocks the thread until the test has seen the message.
    fn pass(&self) {
        let is_seen = self.0.lock().unwrap().recv_timeout(PATIENCE).is_ok();
        self.1.fetch_add(u64::from(is_seen), Ordering::AcqRel);
    }
}

handler!(PublishesAndBlocks, |stream, ctx| {
    let blocked = ctx.state::<Blocked>();
    let in_place = ctx.get_request().get_query("in_place") == "1";
    let room = ctx.room("lobby").unwrap();
    let socket = ctx.upgrade(stream).await.unwrap();
    room.join(&socket).await.unwrap();
    while socket.recv().await.is_ok() {
        room.broadcast("now").await.unwrap();
        match in_place {
            true => tokio::task::block_in_place(|| blocked.pass()),
            // This blocks the thread like a handler that computes for long.
            false => blocked.pass(),
        }
    }
});

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_published_does_not_wait_for_a_handler_that_blocks_its_thread() {
    const ROUNDS: u64 = 25;
    for in_place in [1, 0] {
        let (seen, gate) = channel();
        let passed = Arc::new(AtomicU64::new(0));
        let gate = Blocked(Arc::new(std::sync::Mutex::new(gate)), passed.clone());
        let control = start(|server| {
            server
                .state(gate)
                .state(Rooms::new())
                .route::<PublishesAndBlocks>("/");
        })
        .await;
        let target = format!("/?in_place={in_place}");
        let mut client = Client::websocket(address(&control), &target).await;
        for round in 1..=ROUNDS {
            client.say("go").await;
            assert_eq!(client.next_message().await.text(), "now");
            seen.send(()).unwrap();
            eventually("the handler goes on", || {
                passed.load(Ordering::Acquire) == round
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_published_before_the_last_member_leaves_a_room_without_history_arrives() {
    let mut hall = Hall::with(RoomsConfig::default().history_messages(0), |_| {}).await;
    let mut members = [hall.socket().await, hall.events().await];
    for _ in 0..100 {
        for member in &mut members {
            let outbox = member.handle.outbox();
            // No other handle keeps the room, so it ends when this one is dropped.
            let room = hall.rooms.room("lobby").unwrap();
            room.join(&outbox).await.unwrap();
            room.broadcast("before").await.unwrap();
            room.leave(&outbox).await;
            drop(room);
            member.handle.send("after").await;
            assert_eq!(member.take(2).await, ["before", "after"]);
        }
    }
    eventually("no room is left", || hall.rooms.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_member_that_leaves_and_joins_again_gets_both_stays() {
    let mut hall = Hall::with(roomy(), patient).await;
    let room = hall.rooms.room("lobby").unwrap();
    let mut members = hall.members(&room, 2, 2).await;
    let filler = ".".repeat(LARGE);
    for number in 0..MANY {
        room.broadcast(format!("{number}{filler}")).await.unwrap();
    }
    for stay in 1..4 {
        for member in &members {
            assert!(room.leave(&member.handle.outbox()).await);
        }
        for _ in 0..3 {
            room.broadcast("not for them").await.unwrap();
        }
        for member in &members {
            room.join(&member.handle.outbox()).await.unwrap();
        }
        room.broadcast(format!("stay {stay}")).await.unwrap();
    }
    for member in &mut members {
        let texts = member.take(MANY + 3).await;
        let short = texts.iter().map(|text| text.trim_end_matches('.'));
        let stays = (1..4).map(|stay| format!("stay {stay}"));
        let expected = (0..MANY).map(|number| number.to_string()).chain(stays);
        assert!(short.eq(expected));
    }
    // The members have caught up. They receive at once, and leave as usual.
    room.broadcast("on").await.unwrap();
    for member in &mut members {
        assert_eq!(member.next().await.unwrap(), "on");
        assert!(room.leave(&member.handle.outbox()).await);
    }
    assert!(room.is_empty());
}

/// Blocks the thread until the test lets it go on. The runtime moves the other tasks of the thread to another one.
fn block(gate: &std::sync::Mutex<Receiver<()>>) {
    tokio::task::block_in_place(|| gate.lock().unwrap().recv_timeout(PATIENCE).unwrap());
}

// Accepts the request, so that the head can leave, and tells the test. Then it blocks its thread until the test has
// checked that the client has not received the head yet, and joins.
handler!(BlocksAndJoins, |stream, ctx| {
    let room = ctx.room("lobby").unwrap();
    let Blocked(gate, passed) = &*ctx.try_state::<Blocked>().unwrap();
    if ctx.get_request().try_get_query_front("events").is_some() {
        let events = ctx.event_stream(stream).await.unwrap();
        passed.fetch_add(1, Ordering::AcqRel);
        block(gate);
        room.join(&events).await.unwrap();
        // The thread stays blocked, and the head leaves nevertheless.
        block(gate);
        events.closed().await;
    } else {
        let socket = ctx.upgrade(stream).await.unwrap();
        passed.fetch_add(1, Ordering::AcqRel);
        block(gate);
        room.join(&socket).await.unwrap();
        block(gate);
        while socket.recv().await.is_ok() {}
    }
});

/// If the head left before the join, a client that publishes as soon as it has the head could miss its own message.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_has_received_the_head_is_a_member() {
    for (target, fields) in [
        (
            "/",
            "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
        ("/?events", ""),
    ] {
        let (seen, gate) = channel();
        let sent = Arc::new(AtomicU64::new(0));
        let gate = Blocked(Arc::new(std::sync::Mutex::new(gate)), sent.clone());
        let rooms = Rooms::new();
        let room = rooms.room("lobby").unwrap();
        let control = start(|server| {
            server.state(gate).state(rooms).route::<BlocksAndJoins>("/");
        })
        .await;
        let mut client = Client::connect(address(&control)).await;
        client.request("GET", target, fields).await;
        eventually("the handler has sent the head", || {
            sent.load(Ordering::Acquire) == 1
        })
        .await;
        let early = tokio::time::timeout(Duration::from_millis(50), client.fill()).await;
        assert!(
            early.is_err(),
            "the head has left before the join: {target}"
        );
        seen.send(()).unwrap();
        let head = client.reply_to(true).await;
        assert!(head.status == 101 || head.status == 200, "{}", head.head);
        room.broadcast("welcome").await.unwrap();
        let received = client.until(b"welcome").await;
        assert!(received.len() < 40, "{received:?}");
        seen.send(()).unwrap();
    }
}
