//! Bounds: full queues, the number of rooms, the memory of all histories.

use std::{
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use hyperlane::{
    broadcast::{PublishError, RoomLimits, RoomsConfig},
    prelude::*,
};
use test_support::{CLOSE, Client, PATIENCE, address, eventually, handler, notes, start};
use tokio::runtime::{Builder, Runtime};

use super::hall::Hall;
use crate::runtimes::ELSEWHERE;

// ---------------------------------------------------------------- the queue

/// Returns a runtime whose only thread is blocked until the sender is dropped.
fn blocked_runtime() -> (Runtime, Sender<()>) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (release, blocked) = channel::<()>();
    let (is_blocked, blocks) = channel();
    runtime.spawn(async move {
        is_blocked.send(()).unwrap();
        // The sender is dropped instead of used.
        let _ = blocked.recv();
    });
    blocks.recv().unwrap();
    (runtime, release)
}

const SHORT: Duration = Duration::from_millis(200);
const QUEUE: usize = 10;

fn short_queue() -> RoomsConfig {
    let limits = RoomLimits::default().queue_messages(QUEUE);
    RoomsConfig::default().limits(limits).publish_timeout(SHORT)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once_or_after_the_timeout_anywhere() {
    let (runtime, release) = blocked_runtime();
    let rooms = Rooms::builder()
        .config(short_queue())
        .on(runtime.handle().clone())
        .build();
    let mut hall = Hall::of(rooms, |_| {}).await;
    let room = hall.rooms.room("lobby").unwrap();
    let mut members = hall.members(&room, 2, 1).await;
    for number in 0..QUEUE {
        assert_eq!(room.try_broadcast(number.to_string()).unwrap().members, 3);
    }
    assert_eq!(room.try_broadcast("full"), Err(PublishError::Full));
    let refused = Err(PublishError::Timeout { after: SHORT });
    assert_eq!(room.broadcast("full").await, refused);
    for elsewhere in ELSEWHERE {
        let room = room.clone();
        let refusals = elsewhere
            .run(async move || (room.try_broadcast("full"), room.broadcast("full").await))
            .await;
        assert_eq!(
            refusals,
            (Err(PublishError::Full), refused),
            "{elsewhere:?}"
        );
    }
    // A room without members needs no queue, so it never refuses.
    let empty = hall.rooms.room("empty").unwrap();
    for _ in 0..2 * QUEUE {
        empty.broadcast("unheard").await.unwrap();
    }
    drop(release);
    for member in &mut members {
        let expected: Vec<_> = (0..QUEUE).map(|number| number.to_string()).collect();
        assert_eq!(member.take(QUEUE).await, expected, "what was accepted");
    }
    eventually("the queue has room", || room.try_broadcast("on").is_ok()).await;
    for member in &mut members {
        assert_eq!(member.next().await.unwrap(), "on");
    }
    runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_waits_for_room_anywhere_and_a_dropped_one_leaves_nothing() {
    for elsewhere in ELSEWHERE {
        let (runtime, release) = blocked_runtime();
        let rooms = Rooms::builder()
            .config(short_queue().publish_timeout(PATIENCE))
            .on(runtime.handle().clone())
            .build();
        let mut hall = Hall::of(rooms, |_| {}).await;
        let room = hall.rooms.room("lobby").unwrap();
        let mut members = hall.members(&room, 2, 1).await;
        for number in 0..QUEUE {
            room.try_broadcast(number.to_string()).unwrap();
        }
        let dropped = room.clone();
        let dropped = tokio::spawn(async move { dropped.broadcast("dropped").await });
        let (says, mut noted) = notes();
        let waiting = room.clone();
        let waiting = tokio::spawn(elsewhere.run(async move || {
            let mut publish = std::pin::pin!(waiting.broadcast("waits"));
            std::future::poll_fn(|cx| {
                let done = publish.as_mut().poll(cx);
                says.note("polled");
                done
            })
            .await
        }));
        assert_eq!(noted.next().await, "polled");
        dropped.abort();
        assert!(dropped.await.is_err());
        drop(release);
        assert_eq!(waiting.await.unwrap().unwrap().members, 3);
        for member in &mut members {
            let texts = member.take(QUEUE + 1).await;
            assert_eq!(texts.last().unwrap(), "waits", "{elsewhere:?}");
        }
        runtime.shutdown_background();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_wait_for_room_as_well() {
    let (runtime, release) = blocked_runtime();
    let rooms = Rooms::builder()
        .config(short_queue())
        .on(runtime.handle().clone())
        .build();
    let mut hall = Hall::of(rooms, |_| {}).await;
    let room = hall.rooms.room("lobby").unwrap();
    let mut member = hall.socket().await;
    let outbox = member.handle.outbox();
    let mut count = 0;
    // Each round takes two places in the queue: one for the join and one for the leave.
    let refused = loop {
        match room.join(&outbox).await {
            Ok(_) => assert!(room.leave(&outbox).await),
            Err(error) => break error,
        }
        count += 1;
        assert!(count < 10_000, "joins fill the memory");
    };
    assert_eq!(refused, RoomError::Busy { after: SHORT });
    assert!(room.is_empty());
    drop(release);
    eventually("the hub goes on", || room.is_empty()).await;
    room.join(&outbox).await.unwrap();
    room.broadcast("joined").await.unwrap();
    assert_eq!(member.next().await.unwrap(), "joined");
    runtime.shutdown_background();
}

// ---------------------------------------------------------------- rooms and histories

#[tokio::test]
async fn the_empty_rooms_that_were_used_least_recently_go_first() {
    let rooms = Rooms::with_config(RoomsConfig::default().rooms(3));
    let mut hall = Hall::of(rooms, |_| {}).await;
    let rooms = hall.rooms.clone();
    let names = |names: [&str; 3]| {
        assert_eq!(rooms.len(), 3);
        for name in names {
            // If the room had gone, this call would make a new one, whose offset is 0.
            assert!(rooms.room(name).unwrap().offset().number > 0, "{name}");
        }
    };
    for name in ["a", "b", "c"] {
        rooms.room(name).unwrap().broadcast("kept").await.unwrap();
    }
    names(["a", "b", "c"]);
    rooms.room("a").unwrap().broadcast("again").await.unwrap();
    rooms.room("d").unwrap().broadcast("kept").await.unwrap();
    // `b` was used least recently.
    names(["c", "a", "d"]);
    // A room with a member or a handle stays.
    let member = hall.socket().await;
    let joined = rooms.room("c").unwrap();
    joined.join(&member.handle.outbox()).await.unwrap();
    drop(joined);
    let held = rooms.room("a").unwrap();
    rooms.room("e").unwrap().broadcast("kept").await.unwrap();
    names(["c", "a", "e"]);
    let last = rooms.room("e").unwrap();
    let refused = rooms.room("f").unwrap_err();
    assert_eq!(refused, RoomError::TooManyRooms { limit: 3 });
    drop((held, last));
    assert!(rooms.room("f").is_ok());
}

// Joins the room that each message names, posts what follows the name there, and leaves the room.
handler!(Posts, |stream, ctx| {
    let rooms = ctx.rooms();
    let socket = ctx.upgrade(stream).await.unwrap();
    while let Ok(message) = socket.recv().await {
        let (name, _) = message.to_str().unwrap().split_once(' ').unwrap();
        let room = rooms.room(name).unwrap();
        room.join(&socket).await.unwrap();
        room.broadcast(message).await.unwrap();
        room.leave(&socket).await;
    }
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_posts_in_many_rooms_leaves_no_more_than_the_limit_of_all_histories() {
    const ROOMS: usize = 400;
    const LENGTH: usize = 1_000_000;
    const LIMIT: usize = 16 << 20;
    let rooms = Rooms::with_config(RoomsConfig::default().histories_bytes(LIMIT));
    let control = start(|server| {
        server
            .state(rooms.clone())
            .route::<Posts>("/posts")
            .route::<super::Joins>("/{room}");
        server.get_mut_server_config().outbox_bytes = 64 << 20;
    })
    .await;
    let mut client = Client::websocket(address(&control), "/posts").await;
    for number in 0..ROOMS {
        let text = format!("{number} {}", ".".repeat(LENGTH));
        client.say(&text).await;
        assert_eq!(client.next_message().await.text(), text);
    }
    client.frame(CLOSE, 1000u16.to_be_bytes()).await;
    assert_eq!(client.next_message().await.code(), 1000);
    eventually("the rest has gone", || rooms.len() < ROOMS / 2).await;
    // Each message counts with the frame that its sender received: 2 MB.
    assert!(rooms.len() <= LIMIT / (2 * LENGTH), "{} rooms", rooms.len());
    assert!(
        rooms.len() >= LIMIT / (2 * LENGTH) / 2,
        "{} rooms",
        rooms.len()
    );
    // The newest message is still there.
    let target = format!("/{}?history=1", ROOMS - 1);
    let mut reader = Client::websocket(address(&control), &target).await;
    assert_eq!(reader.next_message().await.payload.len(), LENGTH + 4);
}

#[tokio::test]
async fn the_longest_histories_are_cut_if_no_room_is_empty() {
    let limits = RoomLimits::default().history_messages(1000);
    let config = RoomsConfig::default()
        .limits(limits)
        .histories_bytes(1 << 20);
    let mut hall = Hall::with(config, |_| {}).await;
    let names = ["long", "short"];
    let rooms = names.map(|name| hall.rooms.room(name).unwrap());
    let [long, short] = &rooms;
    short.broadcast("kept").await.unwrap();
    for number in 0..200 {
        long.broadcast(format!("{number}{}", ".".repeat(10_000)))
            .await
            .unwrap();
    }
    let mut late = hall.socket().await;
    let join = || Join::new().history(1000);
    short
        .join_with(&late.handle.outbox(), join())
        .await
        .unwrap();
    assert_eq!(late.next().await.unwrap(), "kept");
    long.join_with(&late.handle.outbox(), join()).await.unwrap();
    long.broadcast("end").await.unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "end") {
        seen.push(late.next().await.unwrap().trim_end_matches('.').to_owned());
    }
    // One mebibyte holds about a hundred of the long messages. The newest are kept.
    assert!((40..105).contains(&seen.len()), "{} messages", seen.len());
    let expected = (0..200).map(|number| number.to_string());
    let expected: Vec<_> = expected
        .skip(201 - seen.len())
        .chain(["end".into()])
        .collect();
    assert_eq!(seen, expected);
}
