//! Ends of members, and destructors of payloads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use hyperlane::{
    broadcast::{RoomLimits, RoomsConfig},
    prelude::*,
};
use test_support::{CLOSE, PATIENCE, collect_log, eventually};

use super::hall::{Hall, Handle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_closed_by_the_server_is_no_member_any_more() {
    // The clients answer no Close, and the time limit for the answer is long, so the connections live on.
    let mut hall = Hall::with(RoomsConfig::default(), |config| {
        config.close_timeout = 10 * PATIENCE;
    })
    .await;
    let room = hall.rooms.room("lobby").unwrap();
    let mut members = hall.members(&room, 2, 2).await;
    room.broadcast("hello").await.unwrap();
    for member in &mut members {
        assert_eq!(member.next().await.unwrap(), "hello");
    }
    for (left, member) in members.iter().enumerate() {
        member.handle.close();
        let others = members.len() - left - 1;
        eventually("it has left", || room.len() == others).await;
    }
    assert_eq!(room.broadcast("unheard").await.unwrap().members, 0);
    // The same holds while a message is on its way.
    let mut members = hall.members(&room, 2, 2).await;
    room.broadcast("last").await.unwrap();
    for member in &members {
        member.handle.close();
    }
    eventually("they have left", || room.is_empty()).await;
    assert!(
        hall.control.connections() >= 4,
        "the sockets wait for a Close"
    );
    for member in &mut members {
        assert_eq!(member.all().await, ["last"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_stream_that_is_let_go_gets_nothing_after_the_hole() {
    for round in 0..20 {
        let limits = RoomLimits::default()
            .slow_bytes(256 * 1024)
            .history_bytes(1 << 20)
            .history_messages(4);
        let mut hall = Hall::with(RoomsConfig::default().limits(limits), |config| {
            config.outbox_bytes = 32 * 1024;
            config.close_timeout = PATIENCE;
        })
        .await;
        let room = hall.rooms.room("lobby").unwrap();
        let mut members = hall.members(&room, 1, 2).await;
        let filler = ".".repeat(100_000);
        let mut count = 0;
        while !room.is_empty() {
            room.broadcast(format!("{count}{filler}")).await.unwrap();
            count += 1;
            assert!(count < 10_000, "round {round}: nobody is let go");
        }
        for _ in 0..20 {
            room.broadcast(format!("{count}.")).await.unwrap();
            count += 1;
        }
        for member in &mut members {
            match member.handle {
                Handle::Socket(_) => {
                    let mut expected = 0;
                    loop {
                        let frame = member.client.next_message().await;
                        if frame.opcode == CLOSE {
                            assert_eq!(frame.code(), 1013);
                            break;
                        }
                        assert_eq!(frame.text().trim_end_matches('.'), expected.to_string());
                        expected += 1;
                    }
                }
                Handle::Events(_) => {
                    // The last chunk of the body must be missing, because it would say that the body is complete.
                    let bytes = member.client.rest().await;
                    let text = String::from_utf8(bytes).unwrap();
                    let numbers = text.split("data: ").skip(1);
                    let mut numbers: Vec<_> = numbers
                        .map(|event| event.split('.').next().unwrap().parse::<usize>().unwrap())
                        .collect();
                    let last = numbers.pop().unwrap();
                    assert!(
                        numbers.iter().copied().eq(0..last),
                        "round {round}: {numbers:?} {last}"
                    );
                    assert!(last < count - 1);
                    assert!(!text.ends_with("\r\n0\r\n\r\n"));
                }
            }
        }
    }
}

#[tokio::test]
async fn nobody_has_the_empty_name() {
    let mut hall = Hall::new().await;
    let room = hall.rooms.room("lobby").unwrap();
    let mut anonymous = hall.socket().await;
    room.join(&anonymous.handle.outbox()).await.unwrap();
    let mut named = hall.socket().await;
    let join = Join::new().user("");
    room.join_with(&named.handle.outbox(), join).await.unwrap();
    assert_eq!(room.send_to("", "for nobody").await.unwrap().members, 0);
    room.broadcast("for all").await.unwrap();
    for member in [&mut anonymous, &mut named] {
        assert_eq!(member.next().await.unwrap(), "for all");
    }
}

/// A payload whose destructor runs code of the program.
struct Payload<F: Fn()>(Vec<u8>, F);

impl<F: Fn()> AsRef<[u8]> for Payload<F> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<F: Fn()> Drop for Payload<F> {
    fn drop(&mut self) {
        (self.1)();
    }
}

fn message(text: &str, destructor: impl Fn() + Send + 'static) -> Message {
    let bytes = text.as_bytes().to_vec();
    Message::binary(Bytes::from_owner(Payload(bytes, destructor)))
}

/// Publishes messages that are dropped in different ways: beyond the limit of the history, as volatile ones after their
/// delivery, as farewells, and together with their room.
async fn drop_in_every_way(hall: &mut Hall, make: impl Fn(&str) -> Message) {
    let room = hall.rooms.room("lobby").unwrap();
    let mut member = hall.socket().await;
    room.join(&member.handle.outbox()).await.unwrap();
    for number in 0..20 {
        room.broadcast(make(&number.to_string())).await.unwrap();
        room.volatile().broadcast(make("volatile")).await.unwrap();
    }
    for number in 0..20 {
        let frame = member.client.next_message().await;
        assert_eq!(frame.payload, number.to_string().as_bytes());
        assert_eq!(member.client.next_message().await.payload, b"volatile");
    }
    // The first two farewells are replaced by the next one. No member is left to receive the third.
    let outbox = member.handle.outbox();
    for _ in 0..3 {
        let join = Join::new().farewell(make("farewell"));
        room.join_with(&outbox, join).await.unwrap();
    }
    room.leave(&outbox).await;
    // The other rooms displace this room and its history, because only 8 rooms may exist.
    drop(room);
    for at in 0..40 {
        let room = hall.rooms.room(format!("room {at}")).unwrap();
        room.broadcast(make(&"x".repeat(1000))).await.unwrap();
    }
    assert!(hall.rooms.len() <= 8);
}

fn few_rooms() -> RoomsConfig {
    let limits = RoomLimits::default().history_messages(5);
    RoomsConfig::default().rooms(8).limits(limits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_destructor_of_a_payload_may_call_the_rooms() {
    let mut hall = Hall::with(few_rooms(), |_| {}).await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let (rooms, count) = (hall.rooms.clone(), dropped.clone());
    // If the destructor ran under a lock of the rooms, one of these calls would wait for that lock without end.
    let make = move |text: &str| {
        let (rooms, count) = (rooms.clone(), count.clone());
        message(text, move || {
            if let Ok(room) = rooms.room("lobby") {
                let _ = room.volatile().try_broadcast("dropped");
                let _ = (room.len(), room.members(), room.offset());
            }
            let _ = rooms.room("another").map(|room| room.try_broadcast("x"));
            count.fetch_add(1, Ordering::AcqRel);
        })
    };
    let room = hall.rooms.room("lobby").unwrap();
    let mut member = hall.socket().await;
    room.join(&member.handle.outbox()).await.unwrap();
    for number in 0..20 {
        room.broadcast(make(&number.to_string())).await.unwrap();
        let volatile = make("volatile");
        room.volatile().broadcast(volatile).await.unwrap();
    }
    let (mut numbers, mut others) = (0, 0);
    while numbers < 20 || others < 20 {
        let frame = member.client.next_message().await;
        match &frame.payload[..] {
            b"volatile" | b"dropped" => others += 1,
            number => {
                assert_eq!(number, numbers.to_string().as_bytes());
                numbers += 1;
            }
        }
    }
    let outbox = member.handle.outbox();
    for _ in 0..3 {
        let join = Join::new().farewell(make("farewell"));
        room.join_with(&outbox, join).await.unwrap();
    }
    eventually("35 messages and 2 farewells are dropped", || {
        dropped.load(Ordering::Acquire) == 15 + 20 + 2
    })
    .await;
    room.leave(&outbox).await;
    drop(room);
    for at in 0..20 {
        if let Ok(room) = hall.rooms.room(format!("room {at}")) {
            room.broadcast(make("x")).await.unwrap();
        }
    }
    eventually("the first room is displaced", || {
        dropped.load(Ordering::Acquire) > 15 + 20 + 2 + 5
    })
    .await;
}

#[tokio::test]
async fn the_destructor_of_a_payload_may_panic() {
    let (log, _guard) = collect_log();
    let mut hall = Hall::with(few_rooms(), |_| {}).await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let make = move |text: &str| {
        let count = count.clone();
        message(text, move || {
            count.fetch_add(1, Ordering::AcqRel);
            panic!("a destructor of the program");
        })
    };
    drop_in_every_way(&mut hall, make).await;
    assert!(dropped.load(Ordering::Acquire) > 60);
    assert!(!log.with("a destructor of the program").is_empty());
    // The hubs still deliver after the panics.
    let room = hall.rooms.room("lobby").unwrap();
    let mut member = hall.socket().await;
    room.join(&member.handle.outbox()).await.unwrap();
    room.broadcast("alive").await.unwrap();
    assert_eq!(member.next().await.unwrap(), "alive");
}
