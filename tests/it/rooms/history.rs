//! Reading the history, its limits by pattern, and joining since an offset.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use hyperlane::{
    broadcast::{Joined, Offset, Page, RoomLimits, RoomsConfig},
    prelude::*,
};
use test_support::{Client, address, eventually, handler, start};

fn texts(page: &Page) -> Vec<&str> {
    let texts = page.messages.iter();
    texts
        .map(|stored| stored.message.to_str().unwrap())
        .collect()
}

async fn room_with(config: RoomsConfig, count: u64) -> Room {
    let room = Rooms::with_config(config).room("lobby").unwrap();
    for number in 1..=count {
        room.broadcast(number.to_string()).await.unwrap();
    }
    room
}

#[tokio::test]
async fn a_history_is_read_by_range_and_in_pages() {
    let room = room_with(RoomsConfig::default().history_messages(200), 250).await;
    let at = |number| Offset {
        number,
        ..room.offset()
    };
    // (page, first number, number of messages, gap, next)
    let pages = [
        (room.history().limit(1000), 51, 200, false, None),
        (room.history(), 51, 100, false, Some(150)),
        (room.history().last(3), 248, 3, false, None),
        (room.history().last(150), 101, 100, false, Some(200)),
        (room.history().last(999).limit(2), 51, 2, false, Some(52)),
        (room.history().since(at(248)), 249, 2, false, None),
        (room.history().since(at(250)), 0, 0, false, None),
        (
            room.history().since(at(50)).limit(1),
            51,
            1,
            false,
            Some(51),
        ),
        (room.history().since(at(49)).limit(1), 51, 1, true, Some(51)),
        (
            room.history().since(at(251)).limit(1),
            51,
            1,
            true,
            Some(51),
        ),
        (
            room.history().since(at(u64::MAX)).limit(0),
            51,
            1,
            true,
            Some(51),
        ),
        (
            room.history().since(at(60)).until(at(62)),
            61,
            2,
            false,
            None,
        ),
        (
            room.history().since(at(60)).until(at(60)),
            0,
            0,
            false,
            None,
        ),
        (room.history().until(at(20)), 0, 0, false, None),
        (room.history().until(at(999)).last(1), 250, 1, false, None),
    ];
    for (reader, first, count, is_gap, next) in pages {
        let page = reader.page().await.unwrap();
        let numbers: Vec<_> = page
            .messages
            .iter()
            .map(|stored| stored.offset.number)
            .collect();
        let expected: Vec<_> = (first..first + count).collect();
        assert_eq!(numbers, expected, "{reader:?}");
        assert_eq!(
            (page.is_gap, page.next),
            (is_gap, next.map(at)),
            "{reader:?}"
        );
    }
    let foreign = Offset {
        epoch: 0,
        number: 200,
    };
    let page = room.history().since(foreign).limit(1).page().await.unwrap();
    assert!(page.is_gap && page.messages[0].offset == at(51));
    let page = room.history().until(foreign).page().await.unwrap();
    assert!(page.is_gap && page.messages.is_empty() && page.next.is_none());

    // Pages lead on without a gap while others publish and the history moves.
    let publisher = tokio::spawn({
        let room = room.clone();
        async move {
            for number in 251..2000 {
                room.broadcast(number.to_string()).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    let mut expected = 251;
    let mut next = at(250);
    while expected < 2000 {
        let page = room.history().since(next).limit(17).page().await.unwrap();
        assert!(!page.is_gap);
        for stored in &page.messages {
            assert_eq!(stored.message.to_str().unwrap(), expected.to_string());
            expected += 1;
            next = stored.offset;
        }
        tokio::task::yield_now().await;
    }
    publisher.await.unwrap();
}

#[tokio::test]
async fn a_page_has_names_times_and_only_what_the_reader_may_see() {
    let before = SystemTime::now();
    let room = room_with(RoomsConfig::default(), 1).await;
    room.broadcast_event("price", &42).await.unwrap();
    room.send_to("ada", "to ada").await.unwrap();
    room.volatile().broadcast("gone").await.unwrap();
    let page = room.history().page().await.unwrap();
    assert_eq!(texts(&page), ["1", r#"{"event":"price","data":42}"#]);
    assert_eq!(page.messages[0].event, None);
    assert_eq!(page.messages[1].event.as_deref(), Some("price"));
    for stored in &page.messages {
        let slack = Duration::from_secs(5);
        assert!(stored.at > before - slack && stored.at < SystemTime::now() + slack);
    }
    let of_ada = room.history().of_user("ada").last(2).page().await.unwrap();
    assert_eq!(texts(&of_ada)[1], "to ada");
    assert_eq!(
        room.history()
            .of_user("")
            .page()
            .await
            .unwrap()
            .messages
            .len(),
        2
    );
}

// Joins, publishes to the others and to itself alone, and sends its client two pages: what the member may read, and
// what all may read.
handler!(Privately, |stream, ctx| {
    let room = ctx.room("lobby").unwrap();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    room.join(&socket).await.unwrap();
    room.broadcast_except(&socket, "to the others")
        .await
        .unwrap();
    let only = room.publisher().only([&socket]);
    only.broadcast("to me").await.unwrap();
    let mine = room.history().of_member(&socket).page().await.unwrap();
    let all = room.history().page().await.unwrap();
    socket
        .send(format!("{:?} {:?}", texts(&mine), texts(&all)))
        .await
        .unwrap();
    socket.closed().await;
});

#[tokio::test]
async fn a_page_of_a_member_has_what_it_may_receive() {
    let control = start(|server| {
        server.route::<Privately>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    assert_eq!(client.next_frame().await.text(), "to me");
    assert_eq!(
        client.next_frame().await.text(),
        r#"["to me"] ["to the others"]"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_history_survives_an_empty_room_until_its_age_and_its_limits_go_by_pattern() {
    let config = RoomsConfig::default()
        .limits_for(
            "log:*",
            RoomLimits::default().history_age(Duration::from_secs(3600)),
        )
        .limits_for("log:short", RoomLimits::default().history_messages(1))
        .limits_for("*:short", RoomLimits::default().history_messages(2))
        .limits_for("*:small", RoomLimits::default().history_bytes(2000));
    let rooms = Rooms::builder()
        .config(config)
        .on(tokio::runtime::Handle::current())
        .build();
    for name in ["log:short", "a:short", "a:small", "other"] {
        for number in 1..=5 {
            let text = format!("{number}{}", ".".repeat(300));
            rooms.room(name).unwrap().broadcast(text).await.unwrap();
        }
    }
    let counts = async || {
        let mut counts = Vec::new();
        for name in ["log:short", "a:short", "a:small", "other"] {
            let page = rooms.room(name).unwrap().history().page().await.unwrap();
            counts.push(page.messages.len());
        }
        counts
    };
    let first = counts().await;
    assert_eq!((first[0], first[1], first[3]), (5, 2, 5));
    assert!((1..5).contains(&first[2]), "{first:?}");
    assert_eq!(rooms.len(), 4);
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(counts().await, first);
    // A message that is too old is not read, even before the sweep that removes it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(counts().await, [5, 0, 0, 0]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rooms.len(), 1, "the keeper has removed the empty rooms");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(rooms.is_empty());
}

// ---------------------------------------------------------------- since

/// What the joins have returned.
type Seen = Arc<Mutex<Vec<Joined>>>;

// Joins since the offset of its query.
handler!(JoinsSince, |stream, ctx| {
    let room = ctx.room("lobby").unwrap();
    let since = ctx.get_request().get_query_front("since").to_owned();
    let seen = ctx.state::<Seen>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let join = Join::new().since(since.parse().unwrap());
    let joined = room.join_with(&socket, join).await.unwrap();
    seen.lock().unwrap().push(joined);
    socket.closed().await;
});

async fn since_server(rooms: &Rooms) -> (ServerControlHook, Seen) {
    let seen = Seen::default();
    let control = start(|server| {
        server
            .state(seen.clone())
            .state(rooms.clone())
            .route::<JoinsSince>("/");
    })
    .await;
    (control, seen)
}

/// Joins since an offset. Returns the client, the number after which it receives, and whether there was a gap.
async fn since(control: &ServerControlHook, seen: &Seen, offset: Offset) -> (Client, u64, bool) {
    let target = format!("/?since={offset}");
    let client = Client::websocket(address(control), &target).await;
    eventually("the client joins", || !seen.lock().unwrap().is_empty()).await;
    let joined = seen.lock().unwrap().pop().unwrap();
    (client, joined.after.number, joined.is_gap)
}

#[tokio::test]
async fn a_join_since_an_offset_gives_all_or_an_explicit_gap() {
    let rooms = Rooms::with_config(RoomsConfig::default().history_messages(10));
    let (control, seen) = since_server(&rooms).await;
    let room = rooms.room("lobby").unwrap();
    for number in 1..=30 {
        room.broadcast(number.to_string()).await.unwrap();
    }
    let epoch = room.offset().epoch;
    for round in 0..10 {
        let last = room.offset().number;
        // The history has ten messages.
        let first = last - 9;
        room.remove(Offset {
            epoch,
            number: last - 5,
        })
        .await
        .unwrap();
        let (number, is_gap) = [
            (last, false),
            (last - 1, false),
            (last - 6, false),
            (first, false),
            (first - 1, false),
            (first - 2, true),
            (0, true),
            (last + 1, true),
            (u64::MAX, true),
            (last - 1, true),
        ][round];
        let epoch = if round == 9 { !epoch } else { epoch };
        let offset = Offset { epoch, number };
        let (mut client, after, gap) = since(&control, &seen, offset).await;
        assert_eq!(gap, is_gap, "{offset} of {first} to {last}");
        let from = if is_gap { last } else { number };
        assert_eq!(after, from, "{offset} of {first} to {last}");
        room.broadcast((last + 1).to_string()).await.unwrap();
        // Each round so far has removed one message, this one too.
        let is_removed = |number: &u64| (last - 5 - round as u64..=last - 5).contains(number);
        for number in (from + 1..=last + 1).filter(|number| !is_removed(number)) {
            let text = client.next_frame().await.text().to_owned();
            assert_eq!(text, number.to_string(), "{offset} of {first} to {last}");
        }
        client.close().await;
    }
}

#[tokio::test]
async fn a_cleared_or_recreated_room_is_a_gap() {
    let rooms = Rooms::with_config(RoomsConfig::default());
    let (control, seen) = since_server(&rooms).await;
    let room = rooms.room("lobby").unwrap();
    room.broadcast("1").await.unwrap();
    let first = room.offset();
    room.broadcast("2").await.unwrap();
    room.clear_history().await.unwrap();
    let (client, after, is_gap) = since(&control, &seen, first).await;
    assert!(is_gap && after == 2);
    client.close().await;
    eventually("the room is empty", || room.is_empty()).await;
    drop(room);
    eventually("the room is gone", || rooms.is_empty()).await;
    let room = rooms.room("lobby").unwrap();
    assert_ne!(room.offset().epoch, first.epoch);
    let (mut client, after, is_gap) = since(&control, &seen, first).await;
    assert!(is_gap && after == 0);
    room.broadcast("new").await.unwrap();
    assert_eq!(client.next_frame().await.text(), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_websocket_that_is_cut_again_and_again_misses_nothing() {
    const COUNT: u64 = 6000;
    let config = RoomsConfig::default()
        .history_messages(COUNT as usize)
        .history_bytes(64 << 20);
    let rooms = Rooms::with_config(config);
    let (control, seen) = since_server(&rooms).await;
    let room = rooms.room("lobby").unwrap();
    let start = room.offset();
    let publishers: Vec<_> = (0..3)
        .map(|_| {
            let room = room.clone();
            tokio::spawn(async move {
                for number in 0..COUNT / 3 {
                    room.broadcast("x").await.unwrap();
                    if number % 20 == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            })
        })
        .collect();
    let mut received = 0;
    let mut cuts = 0;
    while received < COUNT {
        let offset = Offset {
            number: received,
            ..start
        };
        let (mut client, after, is_gap) = since(&control, &seen, offset).await;
        assert!(!is_gap && after == received);
        let count = (COUNT - received).min(1 + cuts * 37 % 400);
        for _ in 0..count {
            assert_eq!(client.next_frame().await.text(), "x");
        }
        received += count;
        cuts += 1;
        client.reset();
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert_eq!(room.offset().number, COUNT, "as many as were received");
    assert!(cuts > 10);
}
