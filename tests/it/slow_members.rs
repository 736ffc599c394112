//! Slow members of rooms over real sockets: each policy in each wire format, the limits, and what waits in all rooms
//! together.
//!
//! Clients and servers have small buffers here, so that a client which stops reading is slow after some messages.

use std::time::Duration;

use hyperlane::{
    broadcast::{RoomLimits, RoomsConfig, SlowPolicy},
    prelude::*,
    proto::ws::{
        Decoder, Incoming, Limits, Role,
        deflate::{Decompressor, negotiate},
    },
    server::DeflateConfig,
};
use test_support::{Client, PING, address, eventually, frame, handler, start};
use tokio::net::TcpSocket;

/// Length of a message, beside its number.
const FILLER: usize = 4 * 1024;

handler!(Joins, |stream, ctx| {
    let room = ctx.room(ctx.get_route_param("room")).unwrap();
    let query = ctx.get_request().try_get_query_front("history");
    let history = query.map_or(0, |history| history.parse().unwrap());
    let socket = ctx.upgrade(stream).await.unwrap();
    let join = Join::new().history(history);
    room.join_with(&socket, join).await.unwrap();
    // Reads on, so that the connection answers pings.
    while socket.recv().await.is_ok() {}
});

handler!(Follows, |stream, ctx| {
    let room = ctx.room(ctx.get_route_param("room")).unwrap();
    let events = ctx.event_stream(stream).await.unwrap();
    room.join(&events).await.unwrap();
    events.closed().await;
});

/// The ways in which a member receives messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Plain,
    Deflate,
    Takeover,
    Events,
}

const WIRES: [Wire; 4] = [Wire::Plain, Wire::Deflate, Wire::Takeover, Wire::Events];

fn deflate() -> DeflateConfig {
    DeflateConfig::default()
        .min_size(0)
        .server_context_takeover(true)
        .client_context_takeover(true)
}

async fn server(config: RoomsConfig) -> (ServerControlHook, Rooms) {
    let rooms = Rooms::with_config(config);
    let control = start(|server| {
        server.state(rooms.clone());
        server.route::<Joins>("/ws/{room}");
        server.route::<Follows>("/events/{room}");
        let config = server.get_mut_server_config();
        config.send_buffer = Some(4 * 1024);
        config.deflate = Some(deflate());
    })
    .await;
    (control, rooms)
}

fn limits(policy: SlowPolicy) -> RoomLimits {
    RoomLimits::default()
        .history_messages(0)
        .outbox_bytes(16 * 1024)
        .slow(policy)
        .missed_notice(|missed| format!("missed {missed}"))
}

/// What a client reads.
#[derive(Debug, PartialEq)]
enum Got {
    Text(String),
    Close(u16),
    End,
}

/// A client with a small receive buffer.
struct Reader {
    wire: Wire,
    client: Client,
    codec: Option<(Decoder, Decompressor)>,
    events: String,
    pongs: usize,
}

impl Reader {
    async fn connect(control: &ServerControlHook, room: &str, wire: Wire) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut client = Client {
            stream: socket.connect(address(control)).await.unwrap(),
            buffer: Vec::new(),
        };
        let offer = match wire {
            Wire::Events => {
                client.request("GET", &format!("/events/{room}"), "").await;
                client.until(b"\r\n\r\n").await;
                return Self {
                    wire,
                    client,
                    codec: None,
                    events: String::new(),
                    pongs: 0,
                };
            }
            Wire::Plain => "",
            Wire::Deflate => {
                "sec-websocket-extensions: permessage-deflate; server_no_context_takeover\r\n"
            }
            Wire::Takeover => "sec-websocket-extensions: permessage-deflate\r\n",
        };
        let reply = client.upgrade(&format!("/ws/{room}"), offer).await;
        assert_eq!(reply.status, 101, "{}", reply.head);
        let answer = reply.header("sec-websocket-extensions");
        assert_eq!(answer.is_some(), wire != Wire::Plain);
        let keeps = wire == Wire::Takeover;
        let agreement = answer.and_then(|answer| negotiate([answer], &deflate()).unwrap());
        if let Some(agreement) = agreement {
            assert_eq!(agreement.server_context_takeover(), keeps);
        }
        let known = agreement.unwrap_or_else(|| {
            negotiate(["permessage-deflate"], &deflate())
                .unwrap()
                .unwrap()
        });
        let limits = Limits::default().rsv1_allowed(wire != Wire::Plain);
        let decoder = Decoder::new(Role::Client, limits);
        let decompressor = known.decompressor(Role::Client, &deflate());
        Self {
            wire,
            client,
            codec: Some((decoder, decompressor)),
            events: String::new(),
            pongs: 0,
        }
    }

    async fn next(&mut self) -> Got {
        let Some((decoder, decompressor)) = &mut self.codec else {
            return self.next_event().await;
        };
        loop {
            let decoded = decoder.next(&self.client.buffer).unwrap();
            self.client.buffer.drain(..decoded.consumed);
            let message = match decoded.event {
                None if self.client.fill().await => continue,
                None => return Got::End,
                Some(Incoming::Compressed(packed)) => {
                    decompressor.decode(&packed, 1 << 20).unwrap()
                }
                Some(plain) => plain.try_into().unwrap(),
            };
            match message {
                Message::Pong(_) => self.pongs += 1,
                Message::Close(frame) => return Got::Close(frame.unwrap().code.into()),
                text => return Got::Text(text.to_str().unwrap().to_owned()),
            }
        }
    }

    async fn next_event(&mut self) -> Got {
        loop {
            if let Some((event, rest)) = self.events.split_once("\n\n") {
                let text = event.strip_prefix("data: ").unwrap().to_owned();
                self.events = rest.to_owned();
                return Got::Text(text);
            }
            // A stream that is let go ends without its last chunk.
            while !self.client.buffer.windows(2).any(|two| two == b"\r\n") {
                if !self.client.fill().await {
                    assert_eq!(self.events, "", "the stream ends between two events");
                    assert!(self.client.buffer.is_empty());
                    return Got::End;
                }
            }
            let chunk = self.client.chunk().await;
            self.events.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads a message. Returns its text without the filler.
    async fn text(&mut self) -> String {
        match self.next().await {
            Got::Text(text) => text.split(':').next().unwrap().to_owned(),
            other => panic!("{:?}: {other:?}", self.wire),
        }
    }

    /// Reads the messages from `first` on in their order, until another text comes. Returns that text and the number of
    /// messages before it.
    async fn numbers(&mut self, first: usize) -> (usize, String) {
        let mut next = first;
        loop {
            let text = self.text().await;
            if text != next.to_string() {
                return (next - first, text);
            }
            next += 1;
        }
    }
}

/// A message with a filler that does not compress well.
fn filled(text: impl ToString) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut message = text.to_string();
    message.push(':');
    let mut state = message.bytes().fold(0x9e37_79b9_u32, |state, byte| {
        (state ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    for _ in 0..FILLER {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        message.push(char::from(LETTERS[state as usize % 64]));
    }
    message
}

/// A room with a member of each wire format that does not read, and one that does.
struct Stage {
    _control: ServerControlHook,
    room: Room,
    slow: Vec<Reader>,
    quick: Reader,
}

impl Stage {
    async fn new(limits: RoomLimits) -> Self {
        let (control, rooms) = server(RoomsConfig::default().limits(limits)).await;
        let room = rooms.room("room").unwrap();
        let mut slow = Vec::new();
        for wire in WIRES {
            slow.push(Reader::connect(&control, "room", wire).await);
        }
        let quick = Reader::connect(&control, "room", Wire::Plain).await;
        eventually("all have joined", || room.len() == 5).await;
        Self {
            _control: control,
            room,
            slow,
            quick,
        }
    }

    /// Publishes numbered messages, each when the quick member has received the one before.
    async fn publish(&mut self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.room.broadcast(filled(number)).await.unwrap();
            assert_eq!(self.quick.text().await, number.to_string());
        }
    }

    /// Publishes a message and checks that all members receive it next.
    async fn all_receive(&mut self, text: &str) {
        self.room.broadcast(text).await.unwrap();
        assert_eq!(self.quick.text().await, text);
        for reader in &mut self.slow {
            assert_eq!(reader.text().await, text, "{:?}", reader.wire);
        }
    }
}

// ---------------------------------------------------------------- policies

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnect_closes_with_1013_also_who_reads_late() {
    let mut stage = Stage::new(limits(SlowPolicy::Disconnect).slow_messages(50)).await;
    stage.publish(0..300).await;
    eventually("the slow ones have left", || stage.room.len() == 1).await;
    for mut reader in stage.slow {
        let mut next = 0;
        let end = loop {
            match reader.next().await {
                Got::Text(text) => assert!(text.starts_with(&format!("{next}:"))),
                end => break end,
            }
            next += 1;
        };
        assert!((1..250).contains(&next), "{:?}: {next}", reader.wire);
        match reader.wire {
            Wire::Events => assert_eq!(end, Got::End),
            _ => assert_eq!(end, Got::Close(1013), "{:?}", reader.wire),
        }
    }
    stage.room.broadcast(filled("last")).await.unwrap();
    assert_eq!(stage.quick.text().await, "last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_the_limits_a_slow_member_receives_everything() {
    for policy in [SlowPolicy::Disconnect, SlowPolicy::DropOldest] {
        let mut stage = Stage::new(limits(policy)).await;
        stage.publish(0..300).await;
        stage.room.broadcast("end").await.unwrap();
        for mut reader in stage.slow {
            assert_eq!(reader.numbers(0).await, (300, "end".to_owned()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drop_oldest_goes_on_with_the_oldest_that_is_left() {
    for limits in [
        limits(SlowPolicy::DropOldest).slow_messages(20),
        limits(SlowPolicy::DropOldest).slow_bytes(20 * FILLER),
    ] {
        let mut stage = Stage::new(limits).await;
        stage.publish(0..300).await;
        for reader in &mut stage.slow {
            let (before, notice) = reader.numbers(0).await;
            let missed: usize = notice.strip_prefix("missed ").unwrap().parse().unwrap();
            let left = 300 - before - missed;
            assert!((10..=20).contains(&left), "{:?}: {left}", reader.wire);
            for number in before + missed..300 {
                assert_eq!(reader.text().await, number.to_string());
            }
        }
        stage.all_receive("next").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drop_newest_goes_on_with_what_is_published_later() {
    let mut stage = Stage::new(limits(SlowPolicy::DropNewest)).await;
    stage.publish(0..300).await;
    for reader in &mut stage.slow {
        if reader.wire != Wire::Events {
            // Control frames are never dropped.
            let ping = frame(true, PING, "here?");
            reader.client.send(ping).await;
        }
        let (before, notice) = reader.numbers(0).await;
        assert!(before < 250, "{:?}: {before}", reader.wire);
        assert_eq!(notice, format!("missed {}", 300 - before));
    }
    stage.all_receive("next").await;
    for reader in &stage.slow {
        let pongs = usize::from(reader.wire != Wire::Events);
        assert_eq!(reader.pongs, pongs, "{:?}", reader.wire);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflate_gives_the_newest_of_each_key_even_if_the_log_has_dropped_it() {
    let mut stage = Stage::new(limits(SlowPolicy::Conflate).slow_messages(1)).await;
    let publish = async |stage: &mut Stage, key: &str, number: usize| {
        let publisher = stage.room.publisher();
        let publisher = match key {
            "" => publisher,
            key => publisher.key(key),
        };
        publisher.broadcast(filled(number)).await.unwrap();
        assert_eq!(stage.quick.text().await, number.to_string());
    };
    for number in 0..100 {
        publish(&mut stage, "a", number).await;
    }
    publish(&mut stage, "early", 100).await;
    publish(&mut stage, "", 101).await;
    for number in 102..300 {
        let key = if number % 2 == 0 { "a" } else { "b" };
        publish(&mut stage, key, number).await;
    }
    for reader in &mut stage.slow {
        let (before, newest) = reader.numbers(0).await;
        assert!((1..40).contains(&before), "{:?}: {before}", reader.wire);
        assert_eq!(newest, "100", "{:?}", reader.wire);
        for expected in ["101", "298", "299"] {
            assert_eq!(reader.text().await, expected);
        }
        assert_eq!(reader.text().await, format!("missed {}", 296 - before));
    }
    stage.all_receive("next").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_member_never_receives_volatile_messages() {
    for policy in [SlowPolicy::DropOldest, SlowPolicy::Conflate] {
        let mut stage = Stage::new(limits(policy)).await;
        stage.publish(0..100).await;
        for number in 100..110 {
            let volatile = stage.room.volatile().key("v");
            let published = volatile.broadcast(filled("volatile")).await.unwrap();
            assert_eq!(published.members, 5);
            assert_eq!(stage.quick.text().await, "volatile");
            stage.publish(number..number + 1).await;
        }
        stage.room.broadcast("end").await.unwrap();
        for mut reader in stage.slow {
            let (count, end) = reader.numbers(0).await;
            assert_eq!((count, &*end), (110, "end"), "{:?}", reader.wire);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_receives_its_history_whatever_the_policy() {
    for policy in [
        SlowPolicy::Disconnect,
        SlowPolicy::DropOldest,
        SlowPolicy::DropNewest,
        SlowPolicy::Conflate,
    ] {
        let limits = limits(policy).history_messages(100).slow_messages(200);
        let (control, rooms) = server(RoomsConfig::default().limits(limits)).await;
        let room = rooms.room("room").unwrap();
        let publisher = room.publisher().key("same");
        for number in 0..100 {
            publisher.broadcast(filled(number)).await.unwrap();
        }
        let mut reader = Reader::connect(&control, "room?history=80", Wire::Plain).await;
        eventually("it has joined", || room.len() == 1).await;
        for number in 20..100 {
            assert_eq!(reader.text().await, number.to_string(), "{policy:?}");
        }
    }
}

// ---------------------------------------------------------------- limits

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_takes_nothing_for_the_stall_time_is_closed_though_nothing_new_comes() {
    let stall = Duration::from_millis(300);
    let mut stage = Stage::new(limits(SlowPolicy::Disconnect).slow_stall(stall)).await;
    stage.publish(0..100).await;
    eventually("the stalled ones have left", || stage.room.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_reads_slowly_has_not_stalled() {
    let limits = limits(SlowPolicy::Disconnect)
        .outbox_bytes(1 << 20)
        .slow_stall(Duration::from_secs(3));
    let mut stage = Stage::new(limits).await;
    let mut reader = stage.slow.swap_remove(0);
    stage.publish(0..400).await;
    // It takes longer than the stall time until the outbox is half empty.
    for number in 0..400 {
        assert_eq!(reader.text().await, number.to_string());
        if number < 200 {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
    eventually("the others have left", || stage.room.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_farthest_behind_go_first_when_too_much_waits_in_all_rooms() {
    const BUDGET: usize = 1 << 20;
    let config = RoomsConfig::default()
        .limits(limits(SlowPolicy::DropOldest))
        .waiting_bytes(BUDGET);
    let (control, rooms) = server(config).await;
    let mut far = Reader::connect(&control, "far", Wire::Plain).await;
    let mut near = Reader::connect(&control, "near", Wire::Plain).await;
    let names = ["far", "near"];
    let [far_room, near_room] = names.map(|name| rooms.room(name).unwrap());
    eventually("both have joined", || far_room.len() + near_room.len() == 2).await;
    for number in 0..60 {
        near_room.broadcast(filled(number)).await.unwrap();
    }
    for number in 0..500 {
        far_room.broadcast(filled(number)).await.unwrap();
    }
    near_room.broadcast("end").await.unwrap();
    assert_eq!(near.numbers(0).await, (60, "end".to_owned()));
    let (before, notice) = far.numbers(0).await;
    let missed: usize = notice.strip_prefix("missed ").unwrap().parse().unwrap();
    let kept = 500 - before - missed;
    assert!(kept * FILLER < BUDGET, "{kept} messages were kept");
    assert!(kept * FILLER > BUDGET / 4, "only {kept} messages were kept");
    for number in 500 - kept..500 {
        assert_eq!(far.text().await, number.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_closed_when_their_outboxes_alone_are_too_much() {
    for policy in [SlowPolicy::DropNewest, SlowPolicy::DropOldest] {
        let config = RoomsConfig::default()
            .limits(limits(policy))
            .waiting_bytes(64 * 1024);
        let (control, rooms) = server(config).await;
        let room = rooms.room("room").unwrap();
        let mut readers = Vec::new();
        for _ in 0..10 {
            readers.push(Reader::connect(&control, "room", Wire::Plain).await);
        }
        eventually("all have joined", || room.len() == 10).await;
        // Each of them has more than 16 KiB in its outbox.
        let mut number = 0;
        eventually("only three are left", || {
            room.try_broadcast(filled(number)).unwrap();
            number += 1;
            room.len() <= 3
        })
        .await;
        assert!(!room.is_empty());
        let mut closed = 0;
        for reader in &mut readers[..7] {
            loop {
                match reader.next().await {
                    Got::Text(text) if text == "end" => break,
                    Got::Text(_) => {}
                    end => {
                        assert_eq!(end, Got::Close(1013));
                        closed += 1;
                        break;
                    }
                }
                room.try_broadcast("end").unwrap();
            }
        }
        assert!(closed > 3, "{closed} of the first seven were closed");
    }
}
