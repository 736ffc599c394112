//! Rooms over real sockets: membership, one order, history, farewells, slow members, vanished connections.

mod follow;
mod history;
mod sending;

use std::{collections::BTreeSet, time::Duration};

use hyperlane::{broadcast::RoomsConfig, prelude::*};
use test_support::{
    BINARY, CLOSE, Client, Notes, PING, PONG, Reply, TEXT, address, eventually, frame, handler,
    hook, notes, start,
};

mod bounds;
mod ends;
mod hall;
mod order;

// Joins the room of its path as the query says. Then it does what the messages of its client ask for.
handler!(Joins, |stream, ctx| {
    let room = ctx.room(ctx.get_route_param("room")).unwrap();
    let query = |name: &str| ctx.get_request().try_get_query_front(name);
    let mut join = Join::new();
    if let Some(user) = query("user") {
        join = join.user(user);
    }
    if let Some(history) = query("history") {
        join = join.history(history.parse().unwrap());
    }
    if let Some(farewell) = query("farewell") {
        join = join.farewell(farewell);
    }
    if query("events").is_some() {
        let events = ctx.event_stream(stream).await.unwrap();
        room.join_with(&events, join).await.unwrap();
        events.closed().await;
        return Status::Continue;
    }
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    room.join_with(&socket, join).await.unwrap();
    while let Ok(message) = socket.recv().await {
        let text = message.to_str().unwrap_or_default();
        match text.split_once(' ') {
            Some(("except-me", text)) => _ = room.broadcast_except(&socket, text).await,
            Some((user, text)) if user.starts_with('@') => {
                room.send_to(&user[1..], text).await.unwrap();
            }
            _ if text == "leave" => {
                let left = [room.leave(&socket).await, room.leave(&socket).await];
                socket.send(format!("left {left:?}")).await.unwrap();
            }
            _ if text == "return" => break,
            _ => _ = room.broadcast(message).await,
        }
    }
});

/// Starts a server. The test uses the same rooms as the server.
async fn server_with(
    config: RoomsConfig,
    configure: impl FnOnce(&mut ServerConfig),
) -> (ServerControlHook, Rooms) {
    let rooms = Rooms::with_config(config);
    let control = start(|server| {
        server.state(rooms.clone()).route::<Joins>("/{room}");
        configure(server.get_mut_server_config());
    })
    .await;
    (control, rooms)
}

async fn server() -> (ServerControlHook, Rooms) {
    server_with(RoomsConfig::default(), |_| {}).await
}

async fn in_room(room: &Room, count: usize) {
    eventually("members come and go", || room.len() == count).await;
}

/// Opens an event stream and reads its head.
async fn events(control: &ServerControlHook, target: &str) -> Client {
    let mut client = Client::connect(address(control)).await;
    client.request("GET", target, "").await;
    client.until(b"\r\n\r\n").await;
    client
}

// ---------------------------------------------------------------- membership

#[tokio::test]
async fn members_are_those_who_joined_and_have_not_left() {
    let (control, rooms) = server().await;
    let room = rooms.room("lobby").unwrap();
    assert!(room.is_empty() && room.members().is_empty());
    let mut ada = Client::websocket(address(&control), "/lobby?user=ada").await;
    in_room(&room, 1).await;
    let bob = Client::websocket(address(&control), "/lobby?user=bob").await;
    in_room(&room, 2).await;
    let anonymous = events(&control, "/lobby?events=1").await;
    in_room(&room, 3).await;
    let users: Vec<_> = room
        .members()
        .iter()
        .map(|member| member.user.to_string())
        .collect();
    assert_eq!(users, ["ada", "bob", ""]);
    let ids: BTreeSet<_> = room.members().iter().map(|member| member.id).collect();
    assert_eq!(ids.len(), 3);

    drop(anonymous);
    in_room(&room, 2).await;
    bob.close().await;
    in_room(&room, 1).await;
    ada.say("leave").await;
    assert_eq!(ada.next_frame().await.text(), "left [true, false]");
    assert!(room.is_empty());
    // The member left the room, not the connection.
    assert_eq!(room.broadcast("unheard").await.unwrap().members, 0);
    ada.frame(PING, "x").await;
    assert_eq!(ada.next_frame().await.opcode, PONG);
}

#[tokio::test]
async fn broadcast_reaches_all_or_all_but_one_or_one_user() {
    let (control, rooms) = server().await;
    let room = rooms.room("lobby").unwrap();
    let mut ada = Client::websocket(address(&control), "/lobby?user=ada").await;
    let mut ada_too = Client::websocket(address(&control), "/lobby?user=ada").await;
    let mut bob = Client::websocket(address(&control), "/lobby?user=bob").await;
    in_room(&room, 3).await;
    bob.say("to all").await;
    bob.say("except-me to the others").await;
    bob.say("@ada to ada").await;
    bob.say("@bob to bob").await;
    bob.say("@nobody lost").await;
    bob.frame(BINARY, b"\xff\x00").await;
    bob.say("end").await;
    for member in [&mut ada, &mut ada_too] {
        assert_eq!(member.texts(3).await, ["to all", "to the others", "to ada"]);
        let binary = member.next_frame().await;
        assert_eq!(
            (binary.opcode, &binary.payload[..]),
            (BINARY, &b"\xff\x00"[..])
        );
        assert_eq!(member.next_frame().await.text(), "end");
    }
    assert_eq!(bob.texts(2).await, ["to all", "to bob"]);
    assert_eq!(bob.next_frame().await.opcode, BINARY);
    assert_eq!(bob.next_frame().await.text(), "end");

    assert_eq!(room.broadcast("3").await.unwrap().members, 3);
    assert_eq!(room.send_to("ada", "2").await.unwrap().members, 2);
    assert_eq!(room.send_to("nobody", "0").await.unwrap().members, 0);
    let first = room.members()[0].id;
    assert_eq!(room.broadcast_from(first, "2").await.unwrap().members, 2);
}

#[tokio::test]
async fn websockets_and_event_streams_share_a_room() {
    let (control, rooms) = server().await;
    let room = rooms.room("lobby").unwrap();
    let mut socket = Client::websocket(address(&control), "/lobby").await;
    let mut stream = events(&control, "/lobby?events=1").await;
    let mut old = Client::connect(address(&control)).await;
    old.send("GET /lobby?events=1 HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await;
    old.until(b"\r\n\r\n").await;
    in_room(&room, 3).await;
    socket.say("one\ntwo").await;
    // An event stream cannot carry these bytes, so only the WebSocket receives them.
    socket.frame(BINARY, b"\xff\xfe").await;
    socket.say("end").await;
    assert_eq!(socket.next_frame().await.text(), "one\ntwo");
    assert_eq!(socket.next_frame().await.opcode, BINARY);
    assert_eq!(socket.next_frame().await.text(), "end");
    let expected = b"data: one\ndata: two\n\ndata: end\n\n";
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        seen.extend(stream.chunk().await);
    }
    assert_eq!(seen, expected);
    assert_eq!(old.exactly(expected.len()).await, expected);
}

#[tokio::test]
async fn a_farewell_is_sent_however_the_member_leaves() {
    let (control, rooms) = server().await;
    let room = rooms.room("lobby").unwrap();
    let mut stays = Client::websocket(address(&control), "/lobby?farewell=never").await;
    in_room(&room, 1).await;
    for end in [
        "close",
        "reset",
        "drop",
        "leave",
        "return",
        "violation",
        "events",
    ] {
        let target = format!("/lobby?user=x&farewell={end}");
        let mut leaves = if end == "events" {
            events(&control, &format!("{target}&events=1")).await
        } else {
            Client::websocket(address(&control), &target).await
        };
        in_room(&room, 2).await;
        match end {
            "close" => leaves.close().await,
            "reset" => leaves.reset(),
            "leave" => {
                leaves.say("leave").await;
                // The member that leaves does not receive its own farewell.
                assert_eq!(leaves.next_frame().await.text(), "left [true, false]");
            }
            "return" => {
                leaves.say("return").await;
                assert_eq!(leaves.next_frame().await.code(), 1000);
                leaves.frame(CLOSE, 1000u16.to_be_bytes()).await;
            }
            "violation" => leaves.send(b"\x00\x00").await,
            _ => drop(leaves),
        }
        assert_eq!(stays.next_frame().await.text(), end);
        in_room(&room, 1).await;
    }
}

#[tokio::test]
async fn two_servers_do_not_share_rooms_unless_the_program_says_so() {
    let mut clients = Vec::new();
    let mut controls = Vec::new();
    for _ in 0..2 {
        let control = start(|server| {
            server.route::<Joins>("/{room}");
        })
        .await;
        clients.push(Client::websocket(address(&control), "/lobby").await);
        controls.push(control);
    }
    for (at, client) in clients.iter_mut().enumerate() {
        client.say(&format!("own {at}")).await;
        assert_eq!(client.next_frame().await.text(), format!("own {at}"));
    }
    let rooms = Rooms::new();
    let mut shared = Vec::new();
    for _ in 0..2 {
        let control = start(|server| {
            server.state(rooms.clone()).route::<Joins>("/{room}");
        })
        .await;
        shared.push(Client::websocket(address(&control), "/lobby").await);
        controls.push(control);
    }
    in_room(&rooms.room("lobby").unwrap(), 2).await;
    shared[0].say("across").await;
    for client in &mut shared {
        assert_eq!(client.next_frame().await.text(), "across");
    }
}

// ---------------------------------------------------------------- limits

handler!(JoinsMany, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let rooms = ctx.rooms();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    for round in 0..3 {
        for at in 0..3 {
            let room = rooms.room(format!("{round} {at}")).unwrap();
            room.join(&socket).await.unwrap();
            // A second join of the same room does not count again.
            room.join(&socket).await.unwrap();
        }
        let refused = rooms.room("more").unwrap().join(&socket).await;
        notes.note(format!("{:?}", refused.unwrap_err()));
        for at in 0..3 {
            rooms
                .room(format!("{round} {at}"))
                .unwrap()
                .leave(&socket)
                .await;
        }
    }
    socket.close(CloseCode::NORMAL, "").unwrap();
    let closed = rooms.room("late").unwrap().join(&socket).await;
    notes.note(format!("{:?}", closed.unwrap_err()));
});

#[tokio::test]
async fn a_connection_may_be_in_a_bounded_number_of_rooms() {
    let (says, mut noted) = notes();
    let rooms = Rooms::with_config(RoomsConfig::default().rooms_per_connection(3));
    let control = start(|server| {
        server
            .state(says)
            .state(rooms.clone())
            .route::<JoinsMany>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    for _ in 0..3 {
        assert_eq!(noted.next().await, "TooManyMemberships { limit: 3 }");
    }
    assert_eq!(noted.next().await, "NotConnected");
    assert_eq!(client.next_frame().await.code(), 1000);
    client.frame(CLOSE, 1000u16.to_be_bytes()).await;
    assert!(client.ends().await);
    eventually("no room is left", || rooms.is_empty()).await;
}

hook! {
    JoinsByChannels |_, ctx| {
        let room = ctx.room("lobby").unwrap();
        let (ws, sse) = (ctx.ws(), ctx.sse());
        let refused = [
            room.join(&ws).await,
            room.join_with(&sse, Join::new().user("ada")).await.map(|joined| joined.member),
            room.join(&ws.outbox()).await,
            room.join(&sse.outbox()).await,
        ];
        let mut text = String::new();
        for refused in refused {
            text += &format!("{}\n", refused.unwrap_err());
        }
        for sent in [
            ws.outbox().send(&Message::from("beside the channel")),
            sse.outbox().send(&Message::from("beside the channel")),
        ] {
            text += &format!("{:?}\n", sent.unwrap_err().kind());
        }
        ctx.get_mut_response().set_body(text);
    }
}

#[tokio::test]
async fn a_channel_of_a_session_cannot_join_and_is_told_what_can() {
    let rooms = Rooms::new();
    let control = start(|server| {
        server
            .state(rooms.clone())
            .route::<JoinsByChannels>("/join");
        server.at("/ws").get(hyperlane::ws().resume_ids());
        server.at("/sse").get(hyperlane::sse());
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    let is_told = |reply: &Reply| {
        let lines: Vec<_> = reply.text().lines().collect();
        assert_eq!(lines.len(), 6, "{lines:?}");
        for line in &lines[..4] {
            assert!(line.contains("a channel"), "{line}");
            for way in ["ctx.upgrade(stream)", "ctx.event_stream(stream)"] {
                assert!(line.contains(way), "{line}");
            }
        }
        assert_eq!(lines[4..], ["InvalidInput"; 2]);
    };
    let reply = client.get("/join").await;
    is_told(&reply);
    let cookie = reply.all("set-cookie")[0]
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let fields = format!("cookie: {cookie}\r\n");
    let mut socket = Client::connect(address(&control)).await;
    assert_eq!(socket.upgrade("/ws", &fields).await.status, 101);
    socket.next_message().await;
    let mut events = Client::connect(address(&control)).await;
    events.request("GET", "/sse", &fields).await;
    events.until(b"\n\n").await;
    client.request("GET", "/join", &fields).await;
    is_told(&client.reply().await);
    assert!(rooms.room("lobby").unwrap().is_empty());
}

#[tokio::test]
async fn names_have_one_to_255_bytes() {
    let rooms = Rooms::new();
    assert!(matches!(
        rooms.room(""),
        Err(RoomError::Name {
            length: 0,
            limit: 255
        })
    ));
    assert!(matches!(
        rooms.room("x".repeat(256)),
        Err(RoomError::Name { length: 256, .. })
    ));
    assert!(matches!(
        rooms.room("ä".repeat(128)),
        Err(RoomError::Name { length: 256, .. })
    ));
    assert!(rooms.is_empty());
    for name in ["x", "a b/c\n", &"x".repeat(255)] {
        assert_eq!(rooms.room(name).unwrap().name(), name);
    }
}

#[tokio::test]
async fn publishing_to_an_empty_room_reaches_no_member_and_rooms_without_history_vanish() {
    let (control, rooms) = server_with(RoomsConfig::default().history_messages(0), |_| {}).await;
    assert_eq!(
        rooms
            .room("empty")
            .unwrap()
            .broadcast("x")
            .await
            .unwrap()
            .members,
        0
    );
    assert_eq!(rooms.len(), 0);
    for _ in 0..3 {
        let mut clients = Vec::new();
        for at in 0..50 {
            clients.push(Client::websocket(address(&control), &format!("/room-{at}")).await);
        }
        eventually("all rooms are there", || rooms.len() == 50).await;
        for client in &mut clients {
            client.say("x").await;
            assert_eq!(client.next_frame().await.text(), "x");
        }
        for (at, client) in clients.into_iter().enumerate() {
            if at % 2 == 0 {
                client.reset()
            } else {
                client.close().await
            }
        }
        eventually("all rooms are gone", || rooms.is_empty()).await;
    }
}

#[tokio::test]
async fn a_room_with_history_outlives_its_members() {
    let (control, rooms) = server().await;
    let mut client = Client::websocket(address(&control), "/kept").await;
    client.say("kept").await;
    assert_eq!(client.next_frame().await.text(), "kept");
    client.close().await;
    eventually("the connection ends", || control.connections() == 0).await;
    assert_eq!(rooms.len(), 1);
    let mut client = Client::websocket(address(&control), "/kept?history=5").await;
    assert_eq!(client.next_frame().await.text(), "kept");
}

// ---------------------------------------------------------------- order and history

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_member_sees_the_same_sequence() {
    const MEMBERS: usize = 40;
    const EACH: usize = 150;
    let (control, rooms) = server().await;
    let room = rooms.room("lobby").unwrap();
    let mut readers = Vec::new();
    let mut sequences = Vec::new();
    for member in 0..MEMBERS {
        let mut client = Client::websocket(address(&control), "/lobby").await;
        // Some of the members publish.
        if member < 4 {
            for number in 0..EACH {
                readers.push(frame(true, TEXT, format!("member{member} {number}")));
            }
            client.buffer.reserve(1 << 16);
        }
        sequences.push(client);
    }
    in_room(&room, MEMBERS).await;
    let publishers: Vec<_> = (0..4)
        .map(|task| {
            let room = room.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    assert_eq!(
                        room.broadcast(format!("task{task} {number}"))
                            .await
                            .unwrap()
                            .members,
                        MEMBERS
                    );
                    if number % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    let frames: Vec<Vec<u8>> = readers.chunks(EACH).map(<[_]>::concat).collect();
    let mut tasks = Vec::new();
    for (at, mut client) in sequences.into_iter().enumerate() {
        let frames = frames.get(at).cloned().unwrap_or_default();
        tasks.push(tokio::spawn(async move {
            client.send(frames).await;
            client.texts(8 * EACH).await
        }));
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let mut first: Option<Vec<String>> = None;
    for task in tasks {
        let seen = task.await.unwrap();
        assert!(*first.get_or_insert_with(|| seen.clone()) == seen);
    }
    // Each publisher's own order is kept.
    let first = first.unwrap();
    for publisher in ["member0", "member3", "task0", "task3"] {
        let own: Vec<usize> = first
            .iter()
            .filter_map(|text| text.strip_prefix(publisher)?.trim().parse().ok())
            .collect();
        assert_eq!(own, (0..EACH).collect::<Vec<_>>(), "{publisher}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn history_is_replayed_without_gap_or_duplicate_while_others_publish() {
    let (control, rooms) = server().await;
    let room = rooms.room("lobby").unwrap();
    let publisher = tokio::spawn({
        let room = room.clone();
        async move {
            for number in 0.. {
                room.broadcast(format!("{number}")).await.unwrap();
                if number % 8 == 0 {
                    tokio::time::sleep(Duration::from_micros(100)).await;
                }
            }
        }
    });
    eventually("the history is full", || room.offset().number > 100).await;
    for round in 0..50 {
        let history = round * 2;
        let target = format!("/lobby?history={history}");
        let mut client = Client::websocket(address(&control), &target).await;
        let seen: Vec<u64> = client
            .texts(150)
            .await
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let expected: Vec<_> = (seen[0]..seen[0] + 150).collect();
        assert_eq!(seen, expected, "history of {history}");
        client.reset();
    }
    publisher.abort();
}

#[tokio::test]
async fn history_gives_the_last_messages_that_were_for_the_one_who_asks() {
    let (control, rooms) = server_with(RoomsConfig::default().history_messages(8), |_| {}).await;
    let room = rooms.room("lobby").unwrap();
    let mut ada = Client::websocket(address(&control), "/lobby?user=ada").await;
    in_room(&room, 1).await;
    for number in 0..6 {
        room.broadcast(number.to_string()).await.unwrap();
        room.send_to("ada", "secret").await.unwrap();
    }
    room.broadcast_except(room.members()[0].id, "6")
        .await
        .unwrap();
    assert_eq!(ada.texts(12).await[9..], ["secret", "5", "secret"]);
    // The history holds eight: secret 3 secret 4 secret 5 secret 6.
    for (history, expected) in [(0, ""), (2, "56"), (4, "3456"), (99, "3456")] {
        let target = format!("/lobby?user=eve&history={history}");
        let mut eve = Client::websocket(address(&control), &target).await;
        for number in expected.chars() {
            assert_eq!(eve.next_frame().await.text(), number.to_string());
        }
        eve.say("leave").await;
        assert_eq!(eve.next_frame().await.text(), "left [true, false]");
        eve.close().await;
    }
}

// ---------------------------------------------------------------- slow members

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_lags_reads_on_from_the_history() {
    const COUNT: usize = 400;
    let history = RoomsConfig::default()
        .history_messages(COUNT)
        .history_bytes(64 << 20);
    let (control, rooms) = server_with(history, |config| config.outbox_bytes = 64 * 1024).await;
    let room = rooms.room("lobby").unwrap();
    let mut slow = Client::websocket(address(&control), "/lobby").await;
    let mut slow_events = events(&control, "/lobby?events=1").await;
    let mut quick = Client::websocket(address(&control), "/lobby").await;
    in_room(&room, 3).await;
    let reader = tokio::spawn(async move {
        for number in 0..COUNT {
            assert_eq!(
                quick.next_message().await.text().trim_end_matches('.'),
                number.to_string()
            );
        }
        quick
    });
    // All messages together are far more than the outbox and the system's buffers hold.
    let filler = ".".repeat(32 * 1024);
    for number in 0..COUNT {
        room.broadcast(format!("{number}{filler}")).await.unwrap();
        if number % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let _quick = reader.await.unwrap();
    assert_eq!(room.len(), 3);
    for number in 0..COUNT {
        assert_eq!(
            slow.next_message().await.text().trim_end_matches('.'),
            number.to_string()
        );
    }
    let mut text = String::new();
    for number in 0..COUNT {
        while !text.contains("\n\n") {
            text.push_str(std::str::from_utf8(&slow_events.chunk().await).unwrap());
        }
        let (event, rest) = text.split_once("\n\n").unwrap();
        assert_eq!(event.trim_end_matches('.'), format!("data: {number}"));
        text = rest.to_owned();
    }
    assert_eq!(room.len(), 3);
}

#[tokio::test]
async fn a_member_that_takes_nothing_for_the_stall_time_is_let_go() {
    let (control, rooms) = server_with(RoomsConfig::default().history_bytes(64 << 20), |config| {
        config.outbox_bytes = 64 * 1024;
        config.outbox_stall = Duration::from_millis(200);
        config.close_timeout = Duration::from_millis(200);
    })
    .await;
    let room = rooms.room("lobby").unwrap();
    let _socket = Client::websocket(address(&control), "/lobby").await;
    let _stream = events(&control, "/lobby?events=1").await;
    in_room(&room, 2).await;
    let payload = "x".repeat(100_000);
    for _ in 0..90 {
        room.broadcast(payload.as_str()).await.unwrap();
    }
    in_room(&room, 0).await;
    eventually("the connections end", || control.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_lags_in_a_quiet_room_catches_up_while_another_room_is_busy() {
    let history = RoomsConfig::default().history_bytes(64 << 20);
    let (control, rooms) = server_with(history, |config| config.outbox_bytes = 64 * 1024).await;
    let quiet = rooms.room("quiet").unwrap();
    let mut slow = Client::websocket(address(&control), "/quiet").await;
    in_room(&quiet, 1).await;
    // The many rooms keep every hub busy.
    let mut busy = Vec::new();
    for at in 0..32 {
        let target = format!("/busy-{at}");
        let mut client = Client::websocket(address(&control), &target).await;
        let room = rooms.room(&target[1..]).unwrap();
        in_room(&room, 1).await;
        busy.push(tokio::spawn(async move {
            loop {
                room.broadcast("x").await.unwrap();
                client.next_message().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }));
    }
    let payload = "x".repeat(100_000);
    for _ in 0..90 {
        quiet.broadcast(payload.as_str()).await.unwrap();
    }
    for _ in 0..90 {
        assert_eq!(slow.next_message().await.payload.len(), payload.len());
    }
    for task in busy {
        task.abort();
    }
}

// ---------------------------------------------------------------- ghosts

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_vanish_leave_no_member_behind() {
    let (control, rooms) = server_with(RoomsConfig::default().history_messages(0), |_| {}).await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let address = address(&control);
            tokio::spawn(async move {
                for round in 0..250 {
                    let target = format!("/room-{}", (task + round) % 5);
                    let mut client = Client::connect(address).await;
                    match round % 4 {
                        // The client vanishes right after its request, after the head of the answer (of a WebSocket or
                        // an event stream), or after a message.
                        0 => {
                            let handshake = format!(
                                "GET {target} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
                                 connection: upgrade\r\nsec-websocket-version: 13\r\n\
                                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                            );
                            client.send(handshake).await;
                        }
                        1 => assert_eq!(client.upgrade(&target, "").await.status, 101),
                        2 => {
                            client
                                .request("GET", &format!("{target}?events=1"), "")
                                .await;
                            client.until(b"\r\n\r\n").await;
                        }
                        _ => {
                            client.upgrade(&target, "").await;
                            client.say("hello").await;
                        }
                    }
                    if round % 3 == 0 {
                        drop(client)
                    } else {
                        client.reset()
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    eventually("all connections end", || control.connections() == 0).await;
    eventually("all rooms are gone", || rooms.is_empty()).await;
}
