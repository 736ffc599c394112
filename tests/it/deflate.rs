//! Compression of WebSocket messages from outside (RFC 7692).

use hyperlane::{
    prelude::*,
    proto::ws::{
        Decoder, Incoming, Limits, Role,
        deflate::{Agreement, Compressor, Decompressor, negotiate},
    },
    server::DeflateConfig,
};
use test_support::{BINARY, CLOSE, Client, PING, TEXT, address, eventually, frame, handler, start};

const OFFER: &str = "permessage-deflate; client_max_window_bits";

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

handler!(Joins, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    ctx.room("room").unwrap().join(&socket).await.unwrap();
    socket.closed().await;
});

handler!(Follows, |stream, ctx| {
    let events = ctx.event_stream(stream).await.unwrap();
    ctx.room("room").unwrap().join(&events).await.unwrap();
    events.closed().await;
});

// Two tasks send beside each other while the handler answers.
handler!(Chatter, |stream, ctx| {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let senders: Vec<_> = ["left", "right"]
        .map(|name| {
            let socket = socket.clone();
            tokio::spawn(async move {
                for count in 0..200 {
                    let text = format!("{name} says the same words again and again, {count}");
                    socket.send(text).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .into();
    for count in 0..200 {
        let message = socket.recv().await.unwrap();
        socket
            .send(format!("answer {count} to {message}"))
            .await
            .unwrap();
    }
    for sender in senders {
        sender.await.unwrap();
    }
});

async fn server(deflate: impl Into<Option<DeflateConfig>>) -> (ServerControlHook, Rooms) {
    let rooms = Rooms::default();
    let control = start(|server| {
        server.state(rooms.clone());
        server.route::<Echo>("/echo").route::<Chatter>("/chatter");
        server.route::<Joins>("/room").route::<Follows>("/events");
        server.get_mut_server_config().deflate = deflate.into();
    })
    .await;
    (control, rooms)
}

fn takeover() -> DeflateConfig {
    DeflateConfig::default()
        .min_size(0)
        .server_context_takeover(true)
        .client_context_takeover(true)
}

/// A client that compresses, by the codec's client side.
struct Packed {
    client: Client,
    agreement: Option<Agreement>,
    decoder: Decoder,
    compressor: Compressor,
    decompressor: Decompressor,
    /// Bytes of data frames that came over the wire.
    received: usize,
}

impl Packed {
    async fn connect(control: &ServerControlHook, path: &str, offer: &str) -> Self {
        let mut client = Client::connect(address(control)).await;
        let fields = match offer {
            "" => String::new(),
            offer => format!("sec-websocket-extensions: {offer}\r\n"),
        };
        let reply = client.upgrade(path, &fields).await;
        assert_eq!(reply.status, 101, "{}", reply.head);
        // The answer has the form of an offer, so that it can be read as one.
        let config = takeover();
        let agreement = reply
            .header("sec-websocket-extensions")
            .and_then(|answer| negotiate([answer], &config).unwrap());
        let known = agreement.unwrap_or_else(|| negotiate([OFFER], &config).unwrap().unwrap());
        Self {
            client,
            agreement,
            decoder: Decoder::new(
                Role::Client,
                Limits::default().rsv1_allowed(agreement.is_some()),
            ),
            compressor: known.compressor(Role::Client, &config),
            decompressor: known.decompressor(Role::Client, &config),
            received: 0,
        }
    }

    async fn send(&mut self, message: impl Into<Message>) {
        let mut frame = Vec::new();
        self.compressor
            .encode(&message.into(), Some([3, 1, 4, 1]), &mut frame);
        self.client.send(frame).await;
    }

    async fn next(&mut self) -> Message {
        loop {
            let decoded = self.decoder.next(&self.client.buffer).unwrap();
            self.client.buffer.drain(..decoded.consumed);
            self.received += decoded.consumed;
            match decoded.event {
                None => assert!(self.client.fill().await, "the stream ended"),
                Some(Incoming::Compressed(message)) => {
                    return self.decompressor.decode(&message, 1 << 20).unwrap();
                }
                Some(Incoming::Ping(_)) => {}
                Some(plain) => return plain.try_into().unwrap(),
            }
        }
    }
}

fn verse(count: usize) -> String {
    format!("the {count}th verse of a song that goes on and on, and on and on, ").repeat(8)
}

/// A masked frame with RSV1.
fn packed_frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame(fin, opcode, payload);
    frame[0] |= 0x40;
    frame
}

/// The payload of a compressed message of zeros.
fn zeros(len: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let config = DeflateConfig::default().level(9);
    Compressor::shared(15, &config).encode(&Message::from(vec![0; len]), None, &mut frame);
    let mut decoder = Decoder::new(Role::Client, Limits::default().rsv1_allowed(true));
    match decoder.next(&frame).unwrap().event {
        Some(Incoming::Compressed(message)) => message.payload.into(),
        other => panic!("not compressed: {other:?}"),
    }
}

// ---------------------------------------------------------------- negotiation

#[tokio::test]
async fn nothing_is_compressed_unless_it_is_configured_and_offered() {
    let (off, _) = server(None).await;
    let mut client = Packed::connect(&off, "/echo", OFFER).await;
    assert_eq!(client.agreement, None);
    client
        .client
        .send(packed_frame(true, TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00"))
        .await;
    assert_eq!(client.client.next_frame().await.code(), 1002);
    assert!(client.client.ends().await);

    let (on, _) = server(DeflateConfig::default()).await;
    let mut client = Packed::connect(&on, "/echo", "").await;
    assert_eq!(client.agreement, None);
    client.client.say(&verse(1)).await;
    assert_eq!(client.client.next_frame().await.text(), verse(1));
}

#[tokio::test]
async fn the_answer_meets_the_offer() {
    let (control, _) = server(takeover().client_max_window_bits(12)).await;
    for (offer, answer) in [
        ("permessage-deflate", Some("permessage-deflate")),
        (OFFER, Some("permessage-deflate; client_max_window_bits=12")),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
            ),
        ),
        (
            "permessage-deflate; nonsense, permessage-deflate",
            Some("permessage-deflate"),
        ),
        ("permessage-deflate; server_max_window_bits=99", None),
        ("permessage-bzip2, x-other; a=\"b\"", None),
    ] {
        let mut client = Client::connect(address(&control)).await;
        let fields = format!("sec-websocket-extensions: {offer}\r\n");
        let reply = client.upgrade("/echo", &fields).await;
        assert_eq!(reply.status, 101);
        assert_eq!(reply.header("sec-websocket-extensions"), answer, "{offer}");
    }
    let mut client = Client::connect(address(&control)).await;
    let fields =
        "sec-websocket-extensions: foo\r\nsec-websocket-extensions: permessage-deflate\r\n";
    let reply = client.upgrade("/echo", fields).await;
    assert_eq!(
        reply.header("sec-websocket-extensions"),
        Some("permessage-deflate")
    );
}

#[tokio::test]
async fn a_malformed_offer_is_refused_with_400_and_the_connection_goes_on() {
    for deflate in [None, Some(DeflateConfig::default())] {
        let (control, _) = server(deflate).await;
        let mut client = Client::connect(address(&control)).await;
        for offer in ["permessage-deflate; =1", "permessage-deflate; a=\"", "a b"] {
            let fields = format!("sec-websocket-extensions: {offer}\r\n");
            assert_eq!(
                client.upgrade("/echo", &fields).await.status,
                400,
                "{offer}"
            );
        }
        assert_eq!(client.upgrade("/echo", "").await.status, 101);
    }
}

// ---------------------------------------------------------------- messages

#[tokio::test]
async fn the_examples_of_the_standard_are_understood() {
    let (control, _) = server(takeover()).await;
    let mut client = Packed::connect(&control, "/echo", "permessage-deflate").await;
    // RFC 7692 §7.2.3.1, §7.2.3.2 (refers to the message before), and with a final block, §7.2.3.4.
    for payload in [
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\xf2\x00\x11\x00\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
    ] {
        client.client.send(packed_frame(true, TEXT, payload)).await;
        assert_eq!(client.next().await, "Hello".into());
    }
    // The message comes in fragments with a ping between them: only the first has the mark.
    client
        .client
        .send(
            [
                packed_frame(false, TEXT, b"\xf2\x48\xcd"),
                frame(true, PING, b"here?"),
                frame(true, 0, b"\xc9\xc9\x07\x00"),
            ]
            .concat(),
        )
        .await;
    assert_eq!(
        client.next().await,
        Message::Pong(bytes::Bytes::from_static(b"here?"))
    );
    assert_eq!(client.next().await, "Hello".into());
    // A client may send a message uncompressed.
    client.client.say("plain").await;
    assert_eq!(client.next().await, "plain".into());
}

#[tokio::test]
async fn every_combination_of_takeover_echoes_everything() {
    for (server_keeps, client_keeps) in [(false, false), (false, true), (true, false), (true, true)]
    {
        let config = DeflateConfig::default()
            .server_context_takeover(server_keeps)
            .client_context_takeover(client_keeps);
        let (control, _) = server(config).await;
        let mut client = Packed::connect(&control, "/echo", OFFER).await;
        let agreement = client.agreement.unwrap();
        assert_eq!(agreement.server_context_takeover(), server_keeps);
        assert_eq!(agreement.client_context_takeover(), client_keeps);
        let mut plain = 0;
        for count in 0..50 {
            client.send(verse(count)).await;
            client.send(verse(count).into_bytes()).await;
            assert_eq!(client.next().await, verse(count).into());
            assert_eq!(client.next().await, verse(count).into_bytes().into());
            plain += 2 * verse(count).len();
        }
        assert!(
            client.received < plain / 4,
            "{} of {plain}",
            client.received
        );
        if server_keeps {
            assert!(client.received < plain / 20, "{}", client.received);
        }
    }
}

#[tokio::test]
async fn several_tasks_share_one_window_without_a_mistake() {
    let (control, _) = server(takeover()).await;
    let mut client = Packed::connect(&control, "/chatter", OFFER).await;
    let mut next = [0; 3];
    let mut asked = 0;
    for _ in 0..600 {
        if asked < 200 {
            client.send(format!("question {asked}")).await;
            asked += 1;
        }
        let text = String::try_from(client.next().await).unwrap();
        let (who, count) = match text.split(' ').collect::<Vec<_>>()[..] {
            ["left", .., count] => (0, count),
            ["right", .., count] => (1, count),
            ["answer", count, "to", "question", same] if count == same => (2, count),
            _ => panic!("{text}"),
        };
        assert_eq!(count, next[who].to_string(), "{text}");
        next[who] += 1;
    }
    assert_eq!(next, [200; 3]);
}

// ---------------------------------------------------------------- rooms

#[tokio::test]
async fn a_room_reaches_members_of_every_agreement_in_one_order() {
    let (control, rooms) = server(takeover()).await;
    let mut members = Vec::new();
    for offer in [
        "",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
        "permessage-deflate",
    ] {
        members.push(Packed::connect(&control, "/room", offer).await);
    }
    let mut follower = Client::connect(address(&control)).await;
    follower.request("GET", "/events", "").await;
    follower.until(b"\r\n\r\n").await;
    let room = rooms.room("room").unwrap();
    eventually("all are in", || room.len() == members.len() + 1).await;
    for count in 0..20 {
        room.broadcast(verse(count)).await.unwrap();
    }
    for count in 0..20 {
        for member in &mut members {
            assert_eq!(member.next().await, verse(count).into());
        }
        let event = String::from_utf8(follower.chunk().await).unwrap();
        assert!(event.contains(&verse(count)));
    }
    let [plain, alone, same, small, keeps] = [0, 1, 2, 3, 4].map(|at| members[at].received);
    assert_eq!(alone, same, "one encoding serves both");
    assert!(
        alone < plain / 3 && small < plain / 3,
        "{alone}, {small} of {plain}"
    );
    assert!(keeps < alone / 2, "{keeps}, {alone}");
}

#[tokio::test]
async fn a_member_with_takeover_that_reads_late_gets_everything_in_order() {
    let (control, rooms) = server(takeover()).await;
    let mut member = Packed::connect(&control, "/room", "permessage-deflate").await;
    let room = rooms.room("room").unwrap();
    eventually("it is in", || room.len() == 1).await;
    // This is far more than its socket and outbox hold: it reads on from the history.
    let noise = |count: u32| {
        let mut state = count.wrapping_mul(0x9e37_79b9) | 1;
        let next = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        std::iter::repeat_with(next).take(9000).collect::<Vec<u8>>()
    };
    for count in 0..90 {
        room.broadcast(noise(count)).await.unwrap();
    }
    for count in 0..90 {
        assert_eq!(member.next().await, noise(count).into(), "{count}");
    }
}

// ---------------------------------------------------------------- hostile input

#[tokio::test]
async fn a_bomb_is_refused_and_its_neighbour_untouched() {
    let (control, _) = server(DeflateConfig::default()).await;
    let mut neighbour = Packed::connect(&control, "/echo", OFFER).await;
    let bomb = zeros(64 << 20);
    assert!(bomb.len() < (64 << 20) / 900, "a thousand to one");
    for cut in [1, 4] {
        let mut client = Packed::connect(&control, "/echo", OFFER).await.client;
        let pieces: Vec<&[u8]> = bomb.chunks(bomb.len().div_ceil(cut)).collect();
        for (at, piece) in pieces.iter().enumerate() {
            let fin = at + 1 == pieces.len();
            let bytes = match at {
                0 => packed_frame(fin, BINARY, piece),
                _ => frame(fin, 0, piece),
            };
            client.send(bytes).await;
        }
        assert_eq!(client.next_frame().await.code(), 1009);
        assert!(client.ends().await);
    }
    neighbour.send(verse(7)).await;
    assert_eq!(neighbour.next().await, verse(7).into());
}

#[tokio::test]
async fn a_repetitive_message_within_its_limits_is_no_bomb() {
    let (control, _) = server(DeflateConfig::default()).await;
    let mut client = Packed::connect(&control, "/echo", OFFER).await;
    client.send("-".repeat(1 << 20)).await;
    assert_eq!(client.next().await, "-".repeat(1 << 20).into());
}

#[tokio::test]
async fn data_that_cannot_be_inflated_closes_with_the_fitting_code() {
    let (control, _) = server(takeover()).await;
    for (what, bytes, code) in [
        (
            "no DEFLATE data",
            packed_frame(true, TEXT, b"\xff\xff\xff"),
            1007,
        ),
        (
            "no UTF-8 after inflating",
            packed_frame(true, TEXT, b"\x00\x02\x00\xfd\xff\xc3\x28\x00"),
            1007,
        ),
        (
            "RSV1 on a continuation",
            [
                packed_frame(false, TEXT, b"\xf2"),
                packed_frame(true, 0, b"\x48"),
            ]
            .concat(),
            1002,
        ),
        ("RSV1 on a ping", packed_frame(true, PING, b""), 1002),
        (
            "a look back at nothing",
            packed_frame(true, TEXT, b"\xf2\x00\x11\x00\x00"),
            1007,
        ),
    ] {
        let mut client = Packed::connect(&control, "/echo", OFFER).await.client;
        client.send(bytes).await;
        assert_eq!(client.next_frame().await.code(), code, "{what}");
        assert!(client.ends().await, "{what}");
    }
}

#[tokio::test]
async fn close_and_shutdown_are_said_on_compressed_connections_too() {
    for config in [DeflateConfig::default(), takeover()] {
        let (control, _) = server(config).await;
        let mut leaves = Packed::connect(&control, "/echo", OFFER).await;
        leaves.send(verse(0)).await;
        assert_eq!(leaves.next().await, verse(0).into());
        leaves.client.close().await;
        let mut stays = Packed::connect(&control, "/echo", OFFER).await.client;
        let client = async {
            let close = stays.next_frame().await;
            assert_eq!((close.opcode, close.code()), (CLOSE, 1001));
            stays.frame(CLOSE, 1001u16.to_be_bytes()).await;
            assert!(stays.ends().await);
        };
        tokio::join!(client, control.shutdown());
    }
}

#[tokio::test]
async fn a_close_is_no_message_for_a_room() {
    let (control, rooms) = server(takeover()).await;
    let room = rooms.room("room").unwrap();
    for offer in [
        "",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate",
    ] {
        let mut member = Packed::connect(&control, "/room", offer).await;
        eventually("it is in", || room.len() == 1).await;
        // A member to which it were sent could be sent nothing after it (RFC 6455 §5.5.1).
        let refused = room.broadcast(Message::Close(None)).await;
        assert_eq!(refused, Err(PublishError::Close));
        room.broadcast("after").await.unwrap();
        assert_eq!(member.next().await, "after".into(), "{offer}");
        member.client.close().await;
        eventually("it is out", || room.is_empty()).await;
    }
}
