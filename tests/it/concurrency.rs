//! Busy handlers, and connections that keep the server busy.

use std::{sync::Arc, time::Duration};

use hyperlane::prelude::*;
use test_support::{
    BINARY, CLOSE, Client, Gate, Noted, Notes, PING, PONG, TEXT, address, eventually, frame,
    handler, notes, start,
};
use tokio::sync::Notify;

/// Notes its drop.
struct Dropped(Notes);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.note("dropped");
    }
}

// Joins a room, waits for the test, then notes everything that has arrived.
handler!(Sleeps, |stream, ctx| {
    let notes = Notes::clone(&ctx.state::<Notes>());
    let gate = ctx.state::<Gate>();
    let room = ctx.room("sleepers").unwrap();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let _dropped = Dropped(notes.clone());
    room.join(&socket).await.unwrap();
    notes.note("sleeps");
    gate.pass().await;
    notes.note("wakes");
    loop {
        match socket.recv().await {
            Ok(message) => notes.note(message.len()),
            Err(error) => {
                notes.note(format!("{:?}", error.kind()));
                break;
            }
        }
    }
});

struct Sleeper {
    control: ServerControlHook,
    noted: Noted,
    gate: Gate,
    room: Room,
    client: Client,
}

/// A server with one connection whose handler sleeps.
async fn sleeper(configure: impl FnOnce(&mut ServerConfig)) -> Sleeper {
    let (says, mut noted) = notes();
    let gate = Gate::default();
    let rooms = Rooms::new();
    let room = rooms.room("sleepers").unwrap();
    let control = start(|server| {
        server
            .state(says)
            .state(gate.clone())
            .state(rooms)
            .route::<Sleeps>("/");
        configure(server.get_mut_server_config());
    })
    .await;
    let client = Client::websocket(address(&control), "/").await;
    assert_eq!(noted.next().await, "sleeps");
    Sleeper {
        control,
        noted,
        gate,
        room,
        client,
    }
}

// ---------------------------------------------------------------- a busy handler

#[tokio::test]
async fn pings_are_answered_and_broadcasts_arrive_while_the_handler_sleeps() {
    let mut sleeper = sleeper(|_| {}).await;
    for number in 0..20 {
        sleeper.client.frame(PING, number.to_string()).await;
        let pong = sleeper.client.next_frame().await;
        assert_eq!(
            (pong.opcode, pong.payload),
            (PONG, number.to_string().into_bytes())
        );
        assert_eq!(
            sleeper
                .room
                .broadcast(number.to_string())
                .await
                .unwrap()
                .members,
            1
        );
        assert_eq!(sleeper.client.next_frame().await.text(), number.to_string());
        // Data in between is kept for the handler.
        sleeper.client.frame(BINARY, vec![0; number]).await;
    }
    sleeper.gate.open();
    assert_eq!(sleeper.noted.next().await, "wakes");
    for number in 0..20 {
        assert_eq!(sleeper.noted.next().await, number.to_string());
    }
    sleeper.client.close().await;
    assert_eq!(sleeper.noted.next().await, "ConnectionAborted");
}

#[tokio::test]
async fn the_server_pings_while_the_handler_sleeps() {
    let mut sleeper = sleeper(|config| {
        config.ping_interval = Some(Duration::from_millis(200));
        config.pong_timeout = Some(Duration::from_millis(100));
    })
    .await;
    for _ in 0..3 {
        assert_eq!(sleeper.client.next_frame().await.opcode, PING);
        sleeper.client.frame(PONG, "").await;
    }
    // From here on the client is silent.
    loop {
        if sleeper.client.buffer.is_empty() && !sleeper.client.fill().await {
            break;
        }
        assert_eq!(sleeper.client.next_frame().await.opcode, PING);
    }
    eventually("it left its room", || sleeper.room.is_empty()).await;
}

#[tokio::test]
async fn a_close_is_answered_and_rooms_are_left_while_the_handler_sleeps() {
    for end in ["close", "reset", "end of file", "violation"] {
        let mut sleeper = sleeper(|_| {}).await;
        assert_eq!(sleeper.room.len(), 1);
        sleeper.client.say("before").await;
        match end {
            "close" => sleeper.client.close().await,
            "reset" => sleeper.client.reset(),
            "end of file" => drop(sleeper.client),
            _ => {
                sleeper.client.send(b"\xff\xff").await;
                assert_eq!(sleeper.client.next_frame().await.code(), 1002);
                assert!(sleeper.client.ends().await);
                drop(sleeper.client);
            }
        }
        eventually("it left its room", || sleeper.room.is_empty()).await;
        assert!(sleeper.noted.is_empty());
        sleeper.gate.open();
        assert_eq!(sleeper.noted.next().await, "wakes");
        // Messages from before the end are still delivered.
        assert_eq!(sleeper.noted.next().await, "6", "{end}");
        let expected = match end {
            "close" => "ConnectionAborted",
            "violation" => "InvalidData",
            _ => "ConnectionReset",
        };
        assert_eq!(sleeper.noted.next().await, expected, "{end}");
        assert_eq!(sleeper.noted.next().await, "dropped");
        eventually("the task ends", || sleeper.control.connections() == 0).await;
    }
}

#[tokio::test]
async fn a_sleeping_handler_is_dropped_some_time_after_its_peer() {
    let mut sleeper = sleeper(|config| config.handler_linger = Duration::from_millis(200)).await;
    sleeper.client.close().await;
    assert_eq!(sleeper.noted.next().await, "dropped");
    eventually("the task ends", || sleeper.control.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_pauses_while_the_inbox_is_full_and_nothing_is_lost() {
    const LENGTH: usize = 10_000;
    const COUNT: usize = 1000;
    let mut sleeper = sleeper(|_| {}).await;
    let flood = frame(true, BINARY, [1; LENGTH]).repeat(COUNT);
    let mut sent = 0;
    // The loop stops when the system's buffers are full as well: the server has stopped reading.
    loop {
        let taken = tokio::time::timeout(Duration::from_millis(300), async {
            sleeper.client.stream.writable().await.unwrap();
            sleeper.client.stream.try_write(&flood[sent..])
        })
        .await;
        match taken {
            Ok(Ok(count)) => sent += count,
            Ok(Err(_)) => {}
            Err(_) => break,
        }
        assert!(sent < flood.len(), "all of it was taken");
    }
    // The rest of the connection works meanwhile.
    assert_eq!(
        sleeper.room.broadcast("still here").await.unwrap().members,
        1
    );
    assert_eq!(sleeper.client.next_frame().await.text(), "still here");
    sleeper.gate.open();
    assert_eq!(sleeper.noted.next().await, "wakes");
    sleeper.client.send(&flood[sent..]).await;
    for _ in 0..COUNT {
        assert_eq!(sleeper.noted.next().await, LENGTH.to_string());
    }
    sleeper.client.close().await;
    assert_eq!(sleeper.noted.next().await, "ConnectionAborted");
}

handler!(Delegates, |stream, ctx| {
    let notes = Notes::clone(&ctx.state::<Notes>());
    let gate = ctx.state::<Gate>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    tokio::spawn(async move {
        loop {
            match socket.recv().await {
                Ok(message) => {
                    // More than the inbox holds comes in, so it must make room.
                    socket.send(message).await.unwrap();
                }
                Err(error) => break notes.note(format!("{:?}", error.kind())),
            }
        }
    });
    gate.pass().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_task_receives_while_the_handler_sleeps() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server
            .state(says)
            .state(Gate::default())
            .route::<Delegates>("/");
        server.get_mut_server_config().inbox_bytes = 5_000;
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    for length in [1, 4_000, 6_000, 100_000] {
        let frames = frame(true, BINARY, vec![1; length]).repeat(30);
        client.send(frames).await;
        for _ in 0..30 {
            assert_eq!(client.next_frame().await.payload.len(), length);
        }
    }
    client.close().await;
    assert_eq!(noted.next().await, "ConnectionAborted");
}

// ---------------------------------------------------------------- order

handler!(AnswersThenPublishes, |stream, ctx| {
    let room = ctx.room("order").unwrap();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    room.join(&socket).await.unwrap();
    while let Ok(message) = socket.recv().await {
        socket.send(format!("own {message}")).await.unwrap();
        room.broadcast(format!("room {message}")).await.unwrap();
    }
});

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sent_message_arrives_before_one_that_is_published_after_it() {
    let rooms = Rooms::new();
    let room = rooms.room("order").unwrap();
    let control = start(|server| {
        server.state(rooms).route::<AnswersThenPublishes>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    // Another publisher keeps the room's deliveries going, so that they can overtake.
    let noise = tokio::spawn(async move {
        loop {
            room.broadcast("noise").await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    // Messages come one at a time, and in bursts.
    for burst in [1, 1, 1, 5, 100] {
        for first in (0..200).step_by(burst) {
            let numbers: Vec<_> = (first..first + burst).collect();
            let frames: Vec<_> = numbers
                .iter()
                .map(|number| frame(true, TEXT, number.to_string()))
                .collect();
            client.send(frames.concat()).await;
            let mut seen = Vec::with_capacity(2 * burst);
            while seen.len() < 2 * burst {
                let text = client.next_message().await.text().to_owned();
                if text != "noise" {
                    seen.push(text);
                }
            }
            for number in numbers {
                let place = |text: String| seen.iter().position(|seen| *seen == text).unwrap();
                assert!(place(format!("own {number}")) < place(format!("room {number}")));
            }
        }
    }
    noise.abort();
}

handler!(Echo, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    while let Ok(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
});

#[tokio::test]
async fn ten_thousand_frames_in_one_write_are_answered_in_order() {
    let control = start(|server| {
        server.route::<Echo>("/");
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    let frames: Vec<_> = (0..10_000)
        .map(|number| frame(true, TEXT, number.to_string()))
        .collect();
    client.send(frames.concat()).await;
    for number in 0..10_000 {
        assert_eq!(client.next_frame().await.text(), number.to_string());
    }
    client.close().await;
}

// ---------------------------------------------------------------- floods

#[tokio::test]
async fn flooding_clients_do_not_starve_another() {
    // One thread serves all connections: one that does not yield blocks the others.
    let (sender, control) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let control = start(|server| {
                server.route::<Echo>("/");
            })
            .await;
            let _ = sender.send(control.clone());
            control.wait().await;
        });
    });
    let control = control.await.unwrap();
    let stop = Arc::new(Notify::new());
    let mut floods = Vec::new();
    for _ in 0..8 {
        let address = address(&control);
        let stop = stop.clone();
        // The floods have threads of their own, so that there is always more to read.
        floods.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = Client::websocket(address, "/").await;
                let flood = frame(true, TEXT, "x").repeat(10_000);
                let (mut reader, mut writer) = client.stream.into_split();
                let write = async {
                    while tokio::io::AsyncWriteExt::write_all(&mut writer, &flood)
                        .await
                        .is_ok()
                    {}
                };
                let mut sink = vec![0; 1 << 16];
                let read = async {
                    while tokio::io::AsyncReadExt::read(&mut reader, &mut sink)
                        .await
                        .is_ok_and(|count| count > 0)
                    {}
                };
                tokio::select! {
                    () = write => {}
                    () = read => {}
                    () = stop.notified() => {}
                }
            });
        }));
    }
    eventually("all floods run", || control.connections() == 8).await;
    let mut client = Client::websocket(address(&control), "/").await;
    for number in 0..20 {
        client.say(&number.to_string()).await;
        assert_eq!(client.next_frame().await.text(), number.to_string());
    }
    client.close().await;
    while !floods.iter().all(std::thread::JoinHandle::is_finished) {
        stop.notify_waiters();
        tokio::task::yield_now().await;
    }
    control.shutdown().await;
}

handler!(SleepsInPlainHttp, |stream, ctx| {
    let gone = stream.closed();
    ctx.state::<Notes>().note("waits");
    gone.await;
    ctx.state::<Notes>().note("gone");
});

#[tokio::test]
async fn a_handler_of_plain_http_notices_that_its_client_is_gone() {
    let (says, mut noted) = notes();
    let control = start(|server| {
        server.state(says).route::<SleepsInPlainHttp>("/");
    })
    .await;
    for reset in [false, true] {
        let mut client = Client::connect(address(&control)).await;
        client.request("GET", "/", "").await;
        assert_eq!(noted.next().await, "waits");
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        assert_eq!(noted.next().await, "gone");
    }
    eventually("both end", || control.connections() == 0).await;
}

// ---------------------------------------------------------------- time limits

#[tokio::test]
async fn a_client_whose_data_waits_unread_is_not_taken_for_dead() {
    let mut sleeper = sleeper(|config| {
        config.ping_interval = Some(Duration::from_millis(200));
        config.pong_timeout = Some(Duration::from_millis(100));
        config.inbox_bytes = 1_000;
    })
    .await;
    // The inbox is full, so no pong could be read: the clock stands still.
    sleeper.client.frame(BINARY, [1; 2_000]).await;
    sleeper.client.frame(BINARY, [1; 3_000]).await;
    // The time is longer than ping and pong take together; no event marks its end.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(sleeper.room.len(), 1);
    sleeper.gate.open();
    for expected in ["wakes", "2000", "3000"] {
        assert_eq!(sleeper.noted.next().await, expected);
    }
    assert_eq!(sleeper.room.broadcast("alive").await.unwrap().members, 1);
    assert_eq!(sleeper.client.next_message().await.text(), "alive");
    sleeper.client.frame(CLOSE, "").await;
    assert_eq!(sleeper.noted.next().await, "ConnectionAborted");
}
