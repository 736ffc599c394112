//! Event streams that follow rooms: ids, resumption, gaps.

use std::{collections::BTreeMap, time::Duration};

use hyperlane::{
    broadcast::{Follow, Offset, RoomLimits, RoomsConfig, SlowPolicy},
    prelude::*,
    proto::sse::{EventReader, ReceivedEvent},
};
use test_support::{Client, address, eventually, handler, start};
use tokio::net::TcpSocket;

// Follows the rooms of its query.
handler!(Follows, |stream, ctx| {
    let query = |name: &str| ctx.get_request().get_query_front(name).to_owned();
    let rooms = query("rooms");
    let mut follow = Follow::new(rooms.split(',').filter(|name| !name.is_empty()));
    if let Some(user) = ctx.get_request().try_get_query_front("user") {
        follow = follow.user(user);
    }
    if let Some(history) = ctx.get_request().try_get_query_front("history") {
        follow = follow.history(history.parse().unwrap());
    }
    let events = ctx.event_stream(stream).await.unwrap();
    match ctx.follow(&events, follow).await {
        Ok(_) => events.closed().await,
        Err(error) => events.send(format!("{error:?}")).await.unwrap(),
    }
});

async fn server(config: RoomsConfig) -> (ServerControlHook, Rooms) {
    let rooms = Rooms::with_config(config);
    let control = start(|server| {
        server.state(rooms.clone()).route::<Follows>("/");
    })
    .await;
    (control, rooms)
}

/// A client that reads an event stream, as a browser does.
struct Browser {
    client: Client,
    reader: EventReader,
    events: Vec<ReceivedEvent>,
}

impl Browser {
    async fn open(control: &ServerControlHook, query: &str, last_event_id: &str) -> Self {
        let client = Client::connect(address(control)).await;
        Self::of(client, query, last_event_id).await
    }

    async fn of(mut client: Client, query: &str, last_event_id: &str) -> Self {
        let field = match last_event_id {
            "" => String::new(),
            id => format!("last-event-id: {id}\r\n"),
        };
        client.request("GET", &format!("/?{query}"), &field).await;
        client.until(b"\r\n\r\n").await;
        Self {
            client,
            reader: EventReader::new(),
            events: Vec::new(),
        }
    }

    async fn next(&mut self) -> ReceivedEvent {
        while self.events.is_empty() {
            let chunk = self.client.chunk().await;
            self.reader.push(&chunk, &mut self.events).unwrap();
        }
        self.events.remove(0)
    }

    /// Reads the next event. Returns its name, data and id.
    async fn parts(&mut self) -> (String, String, String) {
        let event = self.next().await;
        (event.event, event.data, event.id)
    }

    async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            let event = self.next().await;
            assert_eq!(event.event, "message", "{event:?}");
            texts.push(event.data);
        }
        texts
    }
}

#[tokio::test]
async fn one_room_has_its_offsets_as_ids_and_a_stream_resumes() {
    let (control, rooms) = server(RoomsConfig::default()).await;
    let news = rooms.room("news").unwrap();
    news.broadcast("before").await.unwrap();
    let mut browser = Browser::open(&control, "rooms=news", "").await;
    let first = news.offset().to_string();
    let expected = ("position".to_owned(), first.clone(), first.clone());
    assert_eq!(
        browser.parts().await,
        expected,
        "a new client has an id at once"
    );
    let published = news.broadcast("1").await.unwrap();
    news.volatile().broadcast("volatile").await.unwrap();
    news.broadcast_event("price", &42).await.unwrap();
    let id = published.offset.to_string();
    let message = |data: &str, id: &str| ("message".to_owned(), data.to_owned(), id.to_owned());
    assert_eq!(browser.parts().await, message("1", &id));
    assert_eq!(browser.parts().await, message("volatile", &id));
    let (event, data, last) = browser.parts().await;
    assert_eq!((event.as_str(), data.as_str()), ("price", "42"));
    assert_eq!(last, news.offset().to_string());
    browser.client.reset();

    for number in 0..3 {
        news.broadcast(number.to_string()).await.unwrap();
    }
    let mut browser = Browser::open(&control, "rooms=news", &last).await;
    assert_eq!(browser.texts(3).await, ["0", "1", "2"]);
    news.broadcast("live").await.unwrap();
    assert_eq!(browser.texts(1).await, ["live"]);
    // A client that has received no message resumes by its first id.
    let mut browser =
        Browser::open(&control, &format!("rooms=news&last_event_id={first}"), "").await;
    assert_eq!(browser.next().await.data, "1");
    // New clients may ask for the history.
    let mut browser = Browser::open(&control, "rooms=news&history=2", "").await;
    assert_eq!(browser.next().await.event, "position");
    assert_eq!(browser.texts(2).await, ["2", "live"]);
    // The last id of the stream is the offset of the last message.
    assert_eq!(browser.reader.last_event_id(), news.offset().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_of_several_rooms_is_cut_anywhere_and_receives_each_message_once() {
    const COUNT: usize = 1500;
    let names = ["a", "b", "c", "d"];
    let config = RoomsConfig::default()
        .history_messages(COUNT)
        .history_bytes(64 << 20);
    let (control, rooms) = server(config).await;
    let handles = names.map(|name| rooms.room(name).unwrap());
    let mut browser = Browser::open(&control, "rooms=a,b,c,d", "").await;
    let mut id = browser.next().await.id;
    let publishers = handles.map(|room| {
        tokio::spawn(async move {
            for number in 0..COUNT {
                let text = format!("{} {number}", room.name());
                room.broadcast(text).await.unwrap();
                if number % 20 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        })
    });
    let mut next: BTreeMap<String, usize> = names.map(|name| (name.to_owned(), 0)).into();
    let mut cuts = 0;
    while next.values().sum::<usize>() < names.len() * COUNT {
        let left = names.len() * COUNT - next.values().sum::<usize>();
        for _ in 0..left.min(1 + cuts * 31 % 300) {
            let event = browser.next().await;
            assert_eq!(event.event, "message", "{event:?}");
            let (room, number) = event.data.split_once(' ').unwrap();
            let expected = next.get_mut(room).unwrap();
            assert_eq!(
                number,
                expected.to_string(),
                "room {room} after {cuts} cuts"
            );
            *expected += 1;
            assert!(event.id.len() <= 1024);
            id = event.id;
        }
        cuts += 1;
        browser.client.reset();
        // The order of the rooms in the request does not matter.
        let query = ["rooms=a,b,c,d", "rooms=d,b,a,c"][cuts % 2];
        browser = Browser::open(&control, query, &id).await;
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert!(cuts > 10);
}

#[tokio::test]
async fn an_id_that_is_foreign_old_or_hostile_is_a_gap_and_the_stream_goes_on() {
    let config = RoomsConfig::default().history_messages(5);
    let (control, rooms) = server(config).await;
    let (a, b) = (rooms.room("a").unwrap(), rooms.room("b").unwrap());
    let mut browser = Browser::open(&control, "rooms=a,b", "").await;
    let old = browser.next().await.id;
    let foreign = {
        let (control, _rooms) = server(RoomsConfig::default()).await;
        Browser::open(&control, "rooms=a,b", "")
            .await
            .next()
            .await
            .id
    };
    let of_a = a.offset().to_string();
    for number in 0..10 {
        a.broadcast(number.to_string()).await.unwrap();
    }
    b.broadcast("b").await.unwrap();
    let future = format!("{:016x}-99", a.offset().epoch);
    let long = format!("r1.{}", "A".repeat(2000));
    let cases = [
        (old.as_str(), vec!["a"]),
        (&of_a, vec!["a", "b"]),
        (&foreign, vec!["a", "b"]),
        (&future, vec!["a", "b"]),
        (&long, vec!["a", "b"]),
        (&old[..old.len() - 1], vec!["a", "b"]),
        ("r1.\u{fffd}\u{1f600}", vec!["a", "b"]),
        ("0000000000000000-18446744073709551615", vec!["a", "b"]),
        ("18446744073709551616", vec!["a", "b"]),
        ("' or 1=1 --", vec!["a", "b"]),
    ];
    for (id, gaps) in cases {
        let mut browser = Browser::open(&control, "rooms=a,b", id).await;
        let mut missing = Vec::new();
        while missing.len() < gaps.len() {
            let event = browser.next().await;
            if event.event == "message" {
                assert_eq!((event.data.as_str(), gaps.len()), ("b", 1), "{id}");
                continue;
            }
            assert_eq!(event.event, "reset", "{id}");
            let data: hyperlane::serde_json::Value =
                hyperlane::serde_json::from_str(&event.data).unwrap();
            let rooms = data["rooms"].as_array().unwrap();
            missing.extend(rooms.iter().map(|room| room.as_str().unwrap().to_owned()));
        }
        assert_eq!(missing, gaps, "{id}");
        let last = loop {
            a.broadcast("next").await.unwrap();
            let event = browser.next().await;
            if event.data == "next" {
                break event.id;
            }
        };
        // A client that resumes by the id of a later event has no gap.
        browser.client.reset();
        a.broadcast("after").await.unwrap();
        let mut browser = Browser::open(&control, "rooms=a,b", &last).await;
        assert_eq!(browser.next().await.event, "message", "{id}");
    }
    for missing in ["", " ", "null", "undefined"] {
        let mut browser = Browser::open(&control, "rooms=a,b", missing).await;
        assert_eq!(browser.next().await.event, "position", "{missing:?}");
    }
}

#[tokio::test]
async fn a_recreated_room_is_a_gap_and_a_room_that_is_new_to_the_client_is_none() {
    let (control, rooms) = server(RoomsConfig::default().history_messages(5)).await;
    let a = rooms.room("a").unwrap();
    a.broadcast("1").await.unwrap();
    let mut browser = Browser::open(&control, "rooms=a,b", "").await;
    let id = browser.next().await.id;
    browser.client.reset();
    eventually("the client leaves", || a.is_empty()).await;
    a.clear_history().await.unwrap();
    let epoch = a.offset().epoch;
    drop(a);
    eventually("the rooms are gone", || rooms.is_empty()).await;
    let a = rooms.room("a").unwrap();
    assert_ne!(a.offset().epoch, epoch);
    let mut browser = Browser::open(&control, "rooms=a,c", &id).await;
    let event = browser.next().await;
    assert_eq!(
        (event.event.as_str(), event.data.as_str()),
        ("reset", r#"{"rooms":["a"]}"#)
    );
    rooms.to(["a", "c"]).broadcast("x").await.unwrap();
    assert_eq!(browser.texts(1).await, ["x"]);
}

#[tokio::test]
async fn a_stream_takes_as_many_rooms_as_fit_into_an_id() {
    let (control, rooms) = server(RoomsConfig::default()).await;
    let names = |count: usize| -> String {
        let names: Vec<_> = (0..count).map(|at| format!("room-{at}")).collect();
        format!("rooms={}", names.join(","))
    };
    // Without these handles, the rooms would vanish while no client is in them.
    let handles: Vec<_> = (0..32)
        .map(|at| rooms.room(format!("room-{at}")).unwrap())
        .collect();
    let mut browser = Browser::open(&control, &names(32), "").await;
    let first = browser.next().await;
    assert_eq!(first.event, "position");
    assert!(first.id.len() <= 1024);
    handles[31].broadcast("x").await.unwrap();
    browser.client.reset();
    let mut browser = Browser::open(&control, &names(32), &first.id).await;
    assert_eq!(browser.texts(1).await, ["x"]);
    let mut browser = Browser::open(&control, &names(33), "").await;
    assert_eq!(browser.next().await.data, "TooManyFollowed { limit: 32 }");
    let mut browser = Browser::open(&control, &format!("rooms=ok,{}", "x".repeat(256)), "").await;
    assert!(browser.next().await.data.starts_with("Name"));
    assert!(rooms.room("ok").unwrap().is_empty());

    let (control, rooms) = server(RoomsConfig::default().rooms_per_connection(2)).await;
    let mut browser = Browser::open(&control, &names(3), "").await;
    assert_eq!(browser.next().await.data, "TooManyMemberships { limit: 2 }");
    eventually("the stream is in no room", || rooms.is_empty()).await;
}

handler!(FollowsBadly, |stream, ctx| {
    if ctx.get_request().get_upgrade_type().is_ws() {
        let Ok(socket) = ctx.upgrade(stream).await else {
            return Status::Reject;
        };
        let refused = ctx.follow(&socket, "a").await.unwrap_err();
        socket.send(format!("{refused:?}")).await.unwrap();
        return Status::Continue;
    }
    let room = ctx.room("joined").unwrap();
    let events = ctx.event_stream(stream).await.unwrap();
    room.join(&events).await.unwrap();
    for names in [vec!["joined"], vec!["a", "b"], vec!["c"]] {
        let followed = ctx
            .follow(&events, names)
            .await
            .map(|followed| followed.joined.len());
        events
            .send_event(Event::new().event("result").data(format!("{followed:?}")))
            .await
            .unwrap();
    }
    events.closed().await;
});

#[tokio::test]
async fn only_an_event_stream_follows_once_and_other_rooms_of_it_have_no_ids() {
    let rooms = Rooms::new();
    let control = start(|server| {
        server.state(rooms.clone()).route::<FollowsBadly>("/");
    })
    .await;
    let mut socket = Client::websocket(address(&control), "/").await;
    assert_eq!(socket.next_frame().await.text(), "NotEvents");
    let mut browser = Browser::open(&control, "", "").await;
    let mut results = Vec::new();
    while results.len() < 3 {
        let event = browser.next().await;
        if event.event == "result" {
            results.push(event.data);
        }
    }
    // The first call has failed, and the stream keeps its positions.
    assert_eq!(
        results,
        ["Err(AlreadyMember)", "Ok(2)", "Err(AlreadyMember)"]
    );
    let id = browser.reader.last_event_id().to_owned();
    rooms
        .room("joined")
        .unwrap()
        .broadcast("no id")
        .await
        .unwrap();
    assert_eq!(browser.parts().await.2, id);
    rooms.room("a").unwrap().broadcast("id").await.unwrap();
    assert_ne!(browser.parts().await.2, id);
    assert!(rooms.room("c").unwrap().is_empty());
}

#[tokio::test]
async fn a_user_that_resumes_receives_its_private_messages_and_no_others() {
    let (control, rooms) = server(RoomsConfig::default()).await;
    let room = rooms.room("a").unwrap();
    let _other = rooms.room("b").unwrap();
    let mut ada = Browser::open(&control, "rooms=a,b&user=ada", "").await;
    let id = ada.next().await.id;
    room.send_to("ada", "live").await.unwrap();
    assert_eq!(ada.texts(1).await, ["live"]);
    ada.client.reset();
    eventually("ada leaves", || room.is_empty()).await;
    room.send_to("ada", "away").await.unwrap();
    room.broadcast("to all").await.unwrap();
    let mut ada = Browser::open(&control, "rooms=a,b&user=ada", &id).await;
    assert_eq!(ada.texts(3).await, ["live", "away", "to all"]);
    for query in ["rooms=a,b&user=eve", "rooms=a,b", "rooms=a,b&user="] {
        let mut eve = Browser::open(&control, query, &id).await;
        assert_eq!(eve.texts(1).await, ["to all"], "{query}");
    }
    let mut eve = Browser::open(&control, "rooms=a&user=eve&history=99", "").await;
    assert_eq!(eve.next().await.event, "position");
    assert_eq!(eve.texts(1).await, ["to all"]);
}

#[tokio::test]
async fn a_message_to_several_rooms_is_not_received_again_on_resumption() {
    let (control, rooms) = server(RoomsConfig::default()).await;
    let query = "rooms=b,a&user=ada";
    let mut browser = Browser::open(&control, query, "").await;
    let start = browser.next().await.id;
    let mut ids = vec![start];
    for number in 0..4 {
        let to = rooms.to(["a", "b"]);
        to.broadcast(format!("all {number}")).await.unwrap();
        let sent = rooms.send_to_user("ada", format!("ada {number}")).await;
        assert_eq!(sent.unwrap().len(), 1);
        for _ in 0..2 {
            ids.push(browser.next().await.id);
        }
    }
    browser.client.reset();
    for (at, id) in ids.iter().enumerate() {
        let mut browser = Browser::open(&control, query, id).await;
        for room in ["a", "b"] {
            let end = format!("end {room} {at}");
            rooms.room(room).unwrap().broadcast(end).await.unwrap();
        }
        let (mut texts, mut ends) = (Vec::new(), 0);
        while ends < 2 {
            let text = browser.next().await.data;
            match text.starts_with("end") {
                true => ends += usize::from(text.ends_with(&format!(" {at}"))),
                false => texts.push(text),
            }
        }
        texts.sort_unstable();
        let before = texts.len();
        texts.dedup();
        assert_eq!(
            (before, texts.len()),
            (8 - at, 8 - at),
            "from {at}: {texts:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_stream_learns_of_the_gap_before_it_has_an_id_after_it() {
    const COUNT: u64 = 300;
    let policies = [
        SlowPolicy::DropOldest,
        SlowPolicy::DropNewest,
        SlowPolicy::Conflate,
    ];
    for (policy, rooms_of_stream) in policies
        .into_iter()
        .flat_map(|policy| [(policy, "a"), (policy, "a,b")])
    {
        let limits = RoomLimits::default()
            .history_messages(0)
            .outbox_bytes(16 * 1024)
            .slow_messages(20)
            .slow(policy);
        let rooms = Rooms::with_config(RoomsConfig::default().limits(limits));
        let control = start(|server| {
            server.state(rooms.clone()).route::<Follows>("/");
            server.get_mut_server_config().send_buffer = Some(4 * 1024);
        })
        .await;
        let room = rooms.room("a").unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let stream = socket.connect(address(&control)).await.unwrap();
        let client = Client {
            stream,
            buffer: Vec::new(),
        };
        let mut browser = Browser::of(client, &format!("rooms={rooms_of_stream}"), "").await;
        assert_eq!(browser.next().await.event, "position");
        let filler = "x".repeat(4 * 1024);
        for number in 0..COUNT {
            let publisher = room.publisher().key("key");
            let text = format!("{number}:{filler}");
            publisher.broadcast(text).await.unwrap();
        }
        // The number of each message is one more than that of the message before it, unless a notice of a gap came in
        // between.
        let (mut next, mut knows_gap, mut published) = (0, false, COUNT);
        loop {
            let event = browser.next().await;
            if event.event == "reset" {
                assert_eq!(event.data, r#"{"rooms":["a"]}"#);
                if rooms_of_stream == "a" {
                    let number = event.id.parse::<Offset>().unwrap().number;
                    // If the stream falls behind again before it receives a message, another notice follows. The id of
                    // that notice may be inside the gap, because the client already knows of the gap.
                    match knows_gap {
                        true => assert!(number >= next, "{policy:?}: {number}"),
                        false => assert_eq!(number, next, "{policy:?}"),
                    }
                }
                knows_gap = true;
                assert!(next > 0, "{policy:?}");
                // This message shows where the stream continues. The stream may still be slow and lose it. Then another
                // notice follows.
                room.broadcast(format!("{published}:")).await.unwrap();
                published += 1;
                continue;
            }
            let (number, _) = event.data.split_once(':').unwrap();
            let number: u64 = number.parse().unwrap();
            match std::mem::take(&mut knows_gap) {
                true => assert!(number > next, "{policy:?}: {number}"),
                false => assert_eq!(number, next, "{policy:?}"),
            }
            next = number + 1;
            if number >= COUNT {
                break;
            }
        }
    }
}
