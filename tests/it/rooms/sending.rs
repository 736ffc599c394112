//! Messages to several rooms and to users; removal of messages.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context as TaskContext, Poll, Waker},
    thread,
};

use hyperlane::{
    broadcast::{
        Broker, BrokerRoom, Publication, PublishError, Publishing, Removal, Removing, RoomsConfig,
    },
    prelude::*,
};
use test_support::{Client, address, eventually, handler, start};

use super::{in_room, server, server_with};

// Joins the rooms of its query, in their order, under the user name of its path. A text `a=eve` joins the room `a` again
// with another name; `a` leaves it.
handler!(JoinsAll, |stream, ctx| {
    let user = ctx.get_route_param("user").to_owned();
    let rooms = ctx.rooms();
    let names = ctx.get_request().get_query_front("rooms").to_owned();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    for name in names.split(',') {
        let room = rooms.room(name).unwrap();
        room.join_with(&socket, Join::new().user(&user))
            .await
            .unwrap();
    }
    socket.send("joined").await.unwrap();
    while let Ok(message) = socket.recv().await {
        let text = message.to_str().unwrap();
        match text.split_once('=') {
            Some((room, user)) => {
                let room = rooms.room(room).unwrap();
                room.join_with(&socket, Join::new().user(user))
                    .await
                    .unwrap();
            }
            None => _ = rooms.room(text).unwrap().leave(&socket).await,
        }
        socket.send("done").await.unwrap();
    }
});

async fn users_server(rooms: &Rooms) -> ServerControlHook {
    start(|server| {
        server.state(rooms.clone()).route::<JoinsAll>("/{user}");
    })
    .await
}

async fn user(control: &ServerControlHook, user: &str, rooms: &str) -> Client {
    let target = format!("/{user}?rooms={rooms}");
    let mut client = Client::websocket(address(control), &target).await;
    assert_eq!(client.next_frame().await.text(), "joined");
    client
}

/// Runs a future on this thread, without a runtime, by polling it again and again.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future
            .as_mut()
            .poll(&mut TaskContext::from_waker(Waker::noop()))
        {
            return done;
        }
        thread::yield_now();
    }
}

fn members(published: &[hyperlane::broadcast::Published]) -> Vec<usize> {
    published
        .iter()
        .map(|published| published.members)
        .collect()
}

#[tokio::test]
async fn a_member_of_several_rooms_receives_a_message_to_them_once_at_its_place_in_the_first() {
    let rooms = Rooms::new();
    let control = users_server(&rooms).await;
    let mut ada = user(&control, "ada", "a,b,c").await;
    let mut bob = user(&control, "bob", "b,c").await;
    let mut eve = user(&control, "eve", "d").await;
    let (a, b) = (rooms.room("a").unwrap(), rooms.room("b").unwrap());
    a.broadcast("1").await.unwrap();
    b.broadcast("2").await.unwrap();
    let published = rooms.to(["a", "b", "a", "c"]).broadcast("x").await.unwrap();
    assert_eq!(members(&published), [1, 1, 0]);
    assert_eq!(published[0].offset, a.offset());
    assert_eq!(published[1].offset, b.offset());
    a.broadcast("3").await.unwrap();
    b.broadcast("4").await.unwrap();
    let of_a: Vec<_> = ada.texts(5).await;
    let of_room = |texts: &[&str]| -> Vec<String> {
        of_a.iter()
            .filter(|text| texts.contains(&text.as_str()))
            .cloned()
            .collect()
    };
    assert_eq!(of_room(&["1", "x", "3"]), ["1", "x", "3"]);
    assert_eq!(of_room(&["2", "4"]), ["2", "4"]);
    assert_eq!(bob.texts(3).await, ["2", "x", "4"]);

    // A publisher for several rooms has the methods of one for a single room.
    let everywhere = rooms.to(["a", "b"]).volatile();
    let published = everywhere.broadcast_event("n", &7).await.unwrap();
    assert_eq!(members(&published), [1, 1]);
    assert_eq!(published[0].offset, a.offset(), "volatile");
    let text = r#"{"event":"n","data":7}"#;
    assert_eq!(ada.next_frame().await.text(), text);
    assert_eq!(bob.next_frame().await.text(), text);
    let others = rooms.to(["a", "b"]).except(a.members()[0].id);
    assert_eq!(members(&others.try_broadcast("y").unwrap()), [0, 1]);
    assert_eq!(bob.next_frame().await.text(), "y");
    // From a plain thread.
    let sender = rooms.clone();
    let thread = thread::spawn(move || block_on(sender.to(["d", "a"]).broadcast_json(&[1])));
    assert_eq!(members(&thread.join().unwrap().unwrap()), [1, 1]);
    assert_eq!(ada.next_frame().await.text(), "[1]");
    assert_eq!(eve.next_frame().await.text(), "[1]");
}

#[tokio::test]
async fn a_room_that_refuses_does_not_keep_a_message_from_the_others() {
    let rooms = Rooms::with_config(RoomsConfig::default().history_bytes(400));
    let long = "x".repeat(256);
    let control = users_server(&rooms).await;
    let mut ada = user(&control, "ada", "a,b").await;
    let error = rooms
        .to(["a", long.as_str(), "b"])
        .broadcast("x")
        .await
        .unwrap_err();
    assert_eq!(members(&error.published), [1, 0]);
    assert_eq!(&*error.refused[0].0, &*long);
    assert!(matches!(
        error.refused[0].1,
        PublishError::Room(RoomError::Name { length: 256, .. })
    ));
    assert_eq!(ada.next_frame().await.text(), "x");
    let error = rooms
        .to(["a", "b"])
        .try_broadcast("y".repeat(101))
        .unwrap_err();
    assert_eq!((error.published.len(), error.refused.len()), (0, 2));
    assert!(
        error.to_string().contains("`a`: a message of 101 bytes"),
        "{error}"
    );
    // The member is in both rooms, and the first refuses the message. The second must then deliver it.
    let config = RoomsConfig::default().limits_for(
        "small",
        hyperlane::broadcast::RoomLimits::default().history_bytes(40),
    );
    let rooms = Rooms::with_config(config);
    let control = users_server(&rooms).await;
    let mut ada = user(&control, "ada", "small,b").await;
    let error = rooms
        .to(["small", "b"])
        .broadcast("y".repeat(11))
        .await
        .unwrap_err();
    assert_eq!(members(&error.published), [1]);
    assert_eq!(ada.next_frame().await.text(), "y".repeat(11));
    let error = rooms
        .to(["a", "b"])
        .broadcast_json(&f64::NAN)
        .await
        .map(drop);
    assert_eq!(error, Ok(()), "JSON has a null");
}

#[tokio::test]
async fn a_user_receives_a_message_once_per_device_in_whatever_rooms() {
    let rooms = Rooms::new();
    let control = users_server(&rooms).await;
    let mut phone = user(&control, "ada", "a,b").await;
    let mut desk = user(&control, "ada", "b,c").await;
    let mut bob = user(&control, "bob", "a,c").await;
    let sum = |published: Vec<_>| members(&published).iter().sum::<usize>();
    let sent = rooms.send_to_user("ada", "1").await.unwrap();
    assert!(sent.iter().all(|published| published.members > 0));
    assert_eq!(sum(sent), 2);
    assert_eq!(phone.next_frame().await.text(), "1");
    assert_eq!(desk.next_frame().await.text(), "1");
    for (user, count) in [("", 0), ("eve", 0), ("bob", 1)] {
        let sent = rooms.send_to_user(user, "to bob").await.unwrap();
        assert_eq!(sum(sent), count, "{user}");
    }
    // To the user's other devices.
    let first = rooms.room("a").unwrap().members()[0].id;
    let sent = rooms.to_user("ada").except(first).broadcast("2").await;
    assert_eq!(sum(sent.unwrap()), 1);
    assert_eq!(desk.next_frame().await.text(), "2");

    // The index of users notices new names and leaves.
    for (text, user, count) in [
        ("a=eve", "ada", 2),
        ("b", "ada", 1),
        ("a", "eve", 0),
        ("c=ada", "ada", 2),
        ("c=", "ada", 1),
    ] {
        phone.say(text).await;
        loop {
            let next = phone.next_frame().await.text().to_owned();
            if next == "done" {
                break;
            }
        }
        let sent = rooms.send_to_user(user, "later").await.unwrap();
        assert_eq!(sum(sent), count, "{text}");
    }
    desk.close().await;
    eventually("the device leaves", || rooms.room("c").unwrap().len() == 2).await;
    assert!(rooms.send_to_user("ada", "x").await.unwrap().is_empty());
    assert_eq!(bob.next_frame().await.text(), "to bob");
}

/// What a broker has seen.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Broker for Seen {
    fn publish(&self, room: &BrokerRoom<'_>, publication: Publication) -> Publishing {
        let text = publication.message().to_str().unwrap().to_owned();
        let is_local = publication.is_local_only();
        self.0
            .lock()
            .unwrap()
            .push(format!("{} {text} {is_local}", room.name()));
        Publishing::Done(room.append(publication))
    }

    fn remove(&self, room: &BrokerRoom<'_>, removal: Removal) -> Removing {
        self.0
            .lock()
            .unwrap()
            .push(format!("{} {removal:?}", room.name()));
        let removed = room.remove(removal);
        Removing::Later(Box::pin(async move { Ok(removed) }))
    }
}

#[tokio::test]
async fn a_broker_sees_what_is_local_and_what_is_removed() {
    let seen = Seen::default();
    let rooms = Rooms::builder().broker(seen.clone()).build();
    let room = rooms.room("a").unwrap();
    room.broadcast("1").await.unwrap();
    room.local_only().broadcast("2").await.unwrap();
    rooms
        .to(["a", "b"])
        .local_only()
        .broadcast("3")
        .await
        .unwrap();
    assert!(room.remove(room.offset()).await.unwrap());
    assert!(!room.remove(room.offset()).await.unwrap());
    assert_eq!(room.clear_history().await.unwrap(), 2);
    let seen = seen.0.lock().unwrap();
    assert_eq!(seen[..4], ["a 1 false", "a 2 true", "a 3 true", "b 3 true"]);
    assert!(seen[4].starts_with("a One(Offset"), "{seen:?}");
    assert_eq!(seen[6], "a All");
}

// ---------------------------------------------------------------- removal

#[tokio::test]
async fn a_removed_message_is_not_delivered_from_a_queue() {
    // The hub does not run until the test runs its runtime.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let rooms = Rooms::on(runtime.handle().clone());
    let control = users_server(&rooms).await;
    let target = "/ada?rooms=a";
    let mut plain = Client::websocket(address(&control), target).await;
    let room = rooms.room("a").unwrap();
    in_room(&room, 1).await;
    let mut offsets = Vec::new();
    for number in 0..6 {
        let published = room.broadcast(number.to_string()).await.unwrap();
        offsets.push(published.offset);
    }
    for at in [0, 3] {
        assert!(room.remove(offsets[at]).await.unwrap());
    }
    let foreign = hyperlane::broadcast::Offset {
        epoch: offsets[1].epoch + 1,
        ..offsets[1]
    };
    assert!(!room.remove(foreign).await.unwrap());
    let hub = thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    assert_eq!(plain.next_message().await.text(), "joined");
    assert_eq!(plain.texts(4).await, ["1", "2", "4", "5"]);
    drop(hub);
    let page = room.history().page().await.unwrap();
    assert_eq!(page.messages.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_member_does_not_receive_what_was_removed_and_keeps_its_place() {
    let config = RoomsConfig::default().history_bytes(64 << 20);
    let (control, rooms) = server_with(config, |config| config.outbox_bytes = 64 * 1024).await;
    let room = rooms.room("lobby").unwrap();
    for clears in [false, true] {
        let mut slow = Client::websocket(address(&control), "/lobby").await;
        in_room(&room, 1).await;
        // All messages together are far more than the outbox and the system's buffers hold.
        let filler = ".".repeat(100_000);
        let mut offsets = Vec::new();
        for number in 0..90 {
            let published = room.broadcast(format!("{number}{filler}")).await.unwrap();
            offsets.push(published.offset);
        }
        let expected = match clears {
            false => {
                for offset in &offsets[80..85] {
                    assert!(room.remove(*offset).await.unwrap());
                }
                85
            }
            true => {
                assert!(room.clear_history().await.unwrap() >= 90);
                room.broadcast("89").await.unwrap();
                0
            }
        };
        let mut numbers = Vec::new();
        while numbers.last() != Some(&89) {
            let message = slow.next_message().await;
            numbers.push(message.text().trim_end_matches('.').parse::<u32>().unwrap());
        }
        let is_ascending = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(is_ascending, "{numbers:?}");
        match clears {
            false => {
                assert_eq!(numbers.len(), expected);
                assert!(!numbers.iter().any(|number| (80..85).contains(number)));
            }
            true => assert!(numbers.len() < 90, "{numbers:?}"),
        }
        assert_eq!(room.len(), 1, "the member has not lost its place");
        slow.close().await;
        in_room(&room, 0).await;
    }
}

#[tokio::test]
async fn a_removed_message_leaves_the_memory() {
    struct Dropped(Arc<()>);
    impl AsRef<[u8]> for Dropped {
        fn as_ref(&self) -> &[u8] {
            match Arc::strong_count(&self.0) {
                0 => b"",
                _ => b"secret",
            }
        }
    }
    let (_control, rooms) = server().await;
    let room = rooms.room("lobby").unwrap();
    let alive = Arc::new(());
    let payload = || bytes::Bytes::from_owner(Dropped(alive.clone()));
    let published = room.broadcast(payload()).await.unwrap();
    assert_eq!(Arc::strong_count(&alive), 2);
    room.remove(published.offset).await.unwrap();
    assert_eq!(Arc::strong_count(&alive), 1);
    room.broadcast(payload()).await.unwrap();
    room.broadcast(payload()).await.unwrap();
    assert_eq!(room.clear_history().await.unwrap(), 2);
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(room.offset().number, 3, "numbers go on");
}
