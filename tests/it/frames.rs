//! Frames in masses and in odd places: floods, rates, declared lengths, many fragments, torn streams.

use std::time::Duration;

use hyperlane::prelude::*;
use test_support::{
    BINARY, CLOSE, Client, Frame, Gate, Noted, Notes, PATIENCE, PING, PONG, TEXT, address, frame,
    handler, notes, start,
};

const CONTINUATION: u8 = 0;

handler!(Echo, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    loop {
        match socket.recv().await {
            Ok(message) => {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                notes.note(format!("{:?}: {error}", error.kind()));
                break;
            }
        }
    }
});

handler!(Waits, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let gate = ctx.state::<Gate>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    gate.pass().await;
    let mut count = 0;
    while socket.recv().await.is_ok() {
        count += 1;
    }
    notes.note(count);
});

async fn server(configure: impl FnOnce(&mut ServerConfig)) -> (ServerControlHook, Noted, Gate) {
    let (says, noted) = notes();
    let gate = Gate::default();
    let control = start(|server| {
        server
            .state(says)
            .state(gate.clone())
            .route::<Echo>("/")
            .route::<Waits>("/waits");
        configure(server.get_mut_server_config());
    })
    .await;
    (control, noted, gate)
}

/// Sends `bytes` while it reads, and returns the frames up to the Close.
async fn flood(client: Client, bytes: Vec<u8>) -> (Vec<Frame>, Client) {
    let (mut reader, mut writer) = client.stream.into_split();
    let write = tokio::spawn(async move {
        // The server may refuse before the end.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes).await;
        writer
    });
    let mut buffer = client.buffer;
    let mut frames = Vec::new();
    loop {
        while buffer.len() >= 2 && buffer.len() >= 2 + usize::from(buffer[1]) {
            assert!(buffer[1] < 126, "a short frame");
            let rest = buffer.split_off(2 + usize::from(buffer[1]));
            frames.push(Frame {
                fin: buffer[0] & 0x80 != 0,
                opcode: buffer[0] & 0x0f,
                payload: buffer[2..].to_vec(),
            });
            buffer = rest;
        }
        if frames.last().is_some_and(|frame| frame.opcode == CLOSE) {
            break;
        }
        let read = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut buffer);
        let read = tokio::time::timeout(PATIENCE, read).await.unwrap();
        assert!(read.unwrap() > 0, "it ended without a Close");
    }
    let stream = reader.reunite(write.await.unwrap()).unwrap();
    (frames, Client { stream, buffer })
}

// ---------------------------------------------------------------- floods

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_is_closed_with_1008_and_a_neighbour_goes_on() {
    let (control, mut noted, _) = server(|_| {}).await;
    let mut neighbour = Client::websocket(address(&control), "/").await;
    for opcode in [PING, PONG] {
        let client = Client::websocket(address(&control), "/").await;
        let (frames, mut client) =
            flood(client, frame(true, opcode, "flood").repeat(100_000)).await;
        let (close, pongs) = frames.split_last().unwrap();
        assert_eq!(close.code(), 1008);
        assert_eq!(
            &close.payload[2..],
            b"more than 1000 control frames a second"
        );
        // The server answers a second's worth at once, and more while it reads the flood.
        assert!(pongs.len() < 10_000, "{}", pongs.len());
        assert_eq!(pongs.len() >= 1000, opcode == PING, "{}", pongs.len());
        assert!(
            pongs
                .iter()
                .all(|pong| pong.opcode == PONG && pong.payload == b"flood")
        );
        assert!(client.ends().await);
        assert_eq!(
            noted.next().await,
            "InvalidData: more than 1000 control frames a second"
        );
        neighbour.say("still served").await;
        assert_eq!(neighbour.next_frame().await.text(), "still served");
    }
    neighbour.close().await;
}

#[tokio::test]
async fn messages_above_their_rate_are_closed_with_1008() {
    let (control, mut noted, _) = server(|config| config.max_messages_per_second = 50).await;
    let client = Client::websocket(address(&control), "/").await;
    let fragmented = [frame(false, TEXT, "a"), frame(true, CONTINUATION, "b")].concat();
    let (frames, mut client) = flood(client, fragmented.repeat(5_000)).await;
    let (close, echoes) = frames.split_last().unwrap();
    assert_eq!(close.code(), 1008);
    assert!((50..5_000).contains(&echoes.len()), "{}", echoes.len());
    assert!(client.ends().await);
    assert_eq!(
        noted.next().await,
        "InvalidData: more than 50 messages a second"
    );
    // Neither fragments nor control frames count as messages.
    let mut client = Client::websocket(address(&control), "/").await;
    client.send(frame(false, TEXT, "x")).await;
    client
        .send(frame(false, CONTINUATION, "x").repeat(500))
        .await;
    client.send(frame(true, PING, "").repeat(100)).await;
    client.send(frame(true, CONTINUATION, "x")).await;
    assert_eq!(client.next_message().await.text(), "x".repeat(502));
    client.close().await;
}

#[tokio::test]
async fn messages_sent_while_reading_was_paused_are_no_flood() {
    const COUNT: usize = 40;
    let (control, mut noted, gate) = server(|config| {
        config.max_messages_per_second = 20;
        config.inbox_bytes = 100;
    })
    .await;
    let mut client = Client::websocket(address(&control), "/waits").await;
    // The client stays below twenty a second (there is nothing to wait for), but the inbox is full after two.
    for part in 0..COUNT / 5 {
        client
            .send(frame(true, BINARY, [part as u8; 50]).repeat(5))
            .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    gate.open();
    client.frame(CLOSE, 1000u16.to_be_bytes()).await;
    assert_eq!(client.next_frame().await.code(), 1000);
    assert_eq!(noted.next().await, COUNT.to_string());
}

// ---------------------------------------------------------------- lengths

/// The address space of this process, in bytes.
#[cfg(target_os = "linux")]
fn address_space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmSize"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_declared_length_allocates_nothing() {
    let (control, _noted, _) = server(|config| {
        config.max_frame = usize::MAX;
        config.max_message = usize::MAX;
    })
    .await;
    let before = address_space();
    let mut clients = Vec::new();
    for length in [1u64 << 40, (1 << 63) - 1] {
        for opcode in [TEXT, BINARY] {
            let mut client = Client::websocket(address(&control), "/").await;
            // The answer shows that the server reads.
            client.frame(PING, "before").await;
            assert_eq!(client.next_frame().await.opcode, PONG);
            let head = [&[0x80 | opcode, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
            client.send(head).await;
            client.send([b'x'; 10_000]).await;
            clients.push(client);
        }
    }
    // The frames are permitted, and half of each is read.
    let mut other = Client::websocket(address(&control), "/").await;
    other.say("x").await;
    assert_eq!(other.next_frame().await.text(), "x");
    let grown = address_space().saturating_sub(before);
    assert!(
        grown < 1 << 36,
        "{grown} bytes for lengths of 2^40 and more"
    );
    for mut client in clients {
        client.finish().await;
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn a_length_that_is_not_permitted_is_refused_by_the_head_alone() {
    let (control, mut noted, _) = server(|_| {}).await;
    for (length, code) in [
        (1u64 << 40, 1009),
        ((1 << 63) - 1, 1009),
        (1 << 63, 1002),
        (u64::MAX, 1002),
    ] {
        let mut client = Client::websocket(address(&control), "/").await;
        let head = [&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
        client.send(head).await;
        assert_eq!(client.next_frame().await.code(), code, "{length:#x}");
        assert!(client.ends().await);
        assert!(noted.next().await.starts_with("InvalidData"));
    }
}

#[tokio::test]
async fn sixteen_mebibytes_come_back_as_they_were() {
    let (control, _noted, _) = server(|config| {
        config.max_frame = 16 << 20;
        config.max_message = 16 << 20;
    })
    .await;
    let payload: Vec<u8> = (0..16u32 << 20).map(|at| (at % 251) as u8).collect();
    let mut client = Client::websocket(address(&control), "/").await;
    client.frame(BINARY, &payload).await;
    assert!(client.next_frame().await.payload == payload);
    client.close().await;
}

#[tokio::test]
async fn data_in_and_behind_a_large_frame_is_checked_like_any_other() {
    let (control, mut noted, _) = server(|_| {}).await;
    let text = "stra\u{df}e ".repeat(60_000);
    let mut client = Client::websocket(address(&control), "/").await;
    // The text is large enough to be read into a buffer of its own, wherever the reads end.
    for _ in 0..5 {
        let (first, second) = text.as_bytes().split_at(300_001);
        let bytes = [
            frame(true, TEXT, &text),
            frame(true, PING, "behind"),
            frame(false, TEXT, first),
            frame(true, PING, "between"),
            frame(true, CONTINUATION, second),
            frame(true, TEXT, "last"),
        ]
        .concat();
        client.send(bytes).await;
        assert!(client.next_message().await.text() == text);
        assert!(client.next_message().await.text() == text);
        assert_eq!(client.next_message().await.text(), "last");
    }
    let mut broken = text.into_bytes();
    broken[400_000] = 0xff;
    // The server refuses before the frame ends.
    client.send(&frame(true, TEXT, &broken)[..450_000]).await;
    assert_eq!(client.next_message().await.code(), 1007);
    assert!(client.ends().await);
    assert!(noted.next().await.starts_with("InvalidData"));

    let mut client = Client::websocket(address(&control), "/").await;
    client.send(&frame(true, BINARY, &broken)[..450_000]).await;
    client.finish().await;
    assert!(client.ends().await);
    assert!(noted.next().await.starts_with("ConnectionReset"));
}

// ---------------------------------------------------------------- fragments

#[tokio::test]
async fn sixty_five_thousand_fragments_make_one_message() {
    const COUNT: usize = 65_536;
    let (control, _noted, _) = server(|config| {
        config.max_message = 4 << 20;
        config.max_fragments = COUNT as u32;
    })
    .await;
    let mut client = Client::websocket(address(&control), "/").await;
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        let opcode = if number == 0 { BINARY } else { CONTINUATION };
        bytes.extend(frame(number + 1 == COUNT, opcode, [number as u8; 64]));
        if number % 1000 == 0 {
            bytes.extend(frame(true, PING, (number as u32).to_be_bytes()));
        }
    }
    client.send(bytes).await;
    for number in (0..COUNT).step_by(1000) {
        let pong = client.next_frame().await;
        assert_eq!(pong.opcode, PONG);
        assert_eq!(pong.payload, (number as u32).to_be_bytes());
    }
    let echo = client.next_frame().await.payload;
    assert_eq!(echo.len(), 4 << 20);
    for (number, part) in echo.chunks(64).enumerate() {
        assert!(part.iter().all(|byte| *byte == number as u8), "{number}");
    }
    client.close().await;
}

#[tokio::test]
async fn fragments_beyond_their_limit_close_1008() {
    let (control, _noted, _) = server(|config| config.max_fragments = 3).await;
    let mut client = Client::websocket(address(&control), "/").await;
    let part = frame(false, CONTINUATION, "b");
    let three = [
        &frame(false, TEXT, "a")[..],
        &part,
        &frame(true, CONTINUATION, "c"),
    ]
    .concat();
    client.send(three).await;
    assert_eq!(client.next_frame().await.text(), "abc");
    client
        .send([&frame(false, TEXT, "a")[..], &part, &part, &part].concat())
        .await;
    assert_eq!(client.next_frame().await.code(), 1008);
    assert!(client.ends().await);
}

#[tokio::test]
async fn text_that_cannot_become_utf8_is_refused_before_its_end() {
    let (control, mut noted, _) = server(|_| {}).await;
    // Only the beginning of a frame of 100 bytes comes.
    let begun = |bytes: &[u8]| {
        let whole = frame(true, TEXT, [bytes, &vec![b'x'; 100 - bytes.len()]].concat());
        whole[..6 + bytes.len()].to_vec()
    };
    for (what, bytes) in [
        ("a byte that never is", begun(b"ok \xff")),
        ("a surrogate, cut", begun(b"\xed\xa0")),
        ("too long a form", begun(b"\xe0\x80")),
        ("above the last character", begun(b"\xf4\x90")),
        (
            "a character broken by a fragment",
            [
                frame(false, TEXT, b"\xf0\x9f"),
                frame(false, CONTINUATION, "x"),
            ]
            .concat(),
        ),
        (
            "a surrogate over fragments",
            [
                frame(false, TEXT, b"\xed"),
                frame(false, CONTINUATION, b"\xa0"),
            ]
            .concat(),
        ),
    ] {
        let mut client = Client::websocket(address(&control), "/").await;
        client.send(bytes).await;
        assert_eq!(client.next_frame().await.code(), 1007, "{what}");
        assert!(client.ends().await, "{what}");
        assert!(noted.next().await.starts_with("InvalidData"), "{what}");
    }
}

// ---------------------------------------------------------------- torn streams

#[tokio::test]
async fn a_client_that_ends_its_side_or_resets_is_gone() {
    let (control, mut noted, _) = server(|_| {}).await;
    for half_read in [
        &b""[..],
        &frame(true, TEXT, "begun")[..8],
        &frame(false, TEXT, "a"),
    ] {
        let mut client = Client::websocket(address(&control), "/").await;
        client.send(half_read).await;
        client.finish().await;
        assert!(
            client.ends().await,
            "without a Close there is nothing to answer"
        );
        assert!(noted.next().await.starts_with("ConnectionReset"));

        let mut client = Client::websocket(address(&control), "/").await;
        client.send(half_read).await;
        client.reset();
        assert!(noted.next().await.starts_with("ConnectionReset"));
    }
    // A Close and the end of the client's side in one go are answered all the same.
    let mut client = Client::websocket(address(&control), "/").await;
    client.frame(CLOSE, 1000u16.to_be_bytes()).await;
    client.finish().await;
    assert_eq!(client.next_frame().await.code(), 1000);
    assert!(client.ends().await);
    assert!(noted.next().await.starts_with("ConnectionAborted"));
}

#[tokio::test]
async fn a_whole_session_may_come_byte_by_byte() {
    let (control, mut noted, _) = server(|_| {}).await;
    let mut client = Client::connect(address(&control)).await;
    let mut bytes = b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    bytes.extend(frame(false, TEXT, "gr\u{fc}"));
    bytes.extend(frame(true, PING, "?"));
    bytes.extend(frame(true, CONTINUATION, "\u{df}e"));
    bytes.extend(frame(true, BINARY, [7; 200]));
    bytes.extend(frame(
        true,
        CLOSE,
        [&1000u16.to_be_bytes()[..], b"bye"].concat(),
    ));
    for byte in bytes {
        client.send([byte]).await;
        // Each byte gets a segment of its own.
        tokio::task::yield_now().await;
    }
    assert_eq!(client.reply().await.status, 101);
    assert_eq!(client.next_frame().await.opcode, PONG);
    assert_eq!(client.next_frame().await.text(), "gr\u{fc}\u{df}e");
    assert_eq!(client.next_frame().await.payload, [7; 200]);
    assert_eq!(client.next_frame().await.code(), 1000);
    assert!(client.ends().await);
    assert_eq!(
        noted.next().await,
        "ConnectionAborted: closed by the client: 1000 (normal closure) bye"
    );
}
