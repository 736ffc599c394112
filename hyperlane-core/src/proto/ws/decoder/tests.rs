use proptest::prelude::*;

use super::super::{CloseCode, CloseFrame, encode_frame, encode_masked_message, encode_message};
use super::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Feeds `parts` to the decoder, one after the other. For each part, calls `next` until it returns no event. Returns
/// all events, and the error that ended the decoding, if any.
fn feed<'a>(
    decoder: &mut Decoder,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Incoming>, Option<ProtocolError>) {
    let mut events = Vec::new();
    for mut part in parts {
        loop {
            let whole = take_whole(decoder, part);
            let decoded = decoder.next(part);
            if let Some(whole) = whole {
                assert_eq!(decoded, Ok(whole), "the short way and `next`");
            }
            match decoded {
                Ok(Decoded { consumed, event }) => {
                    part = &part[consumed..];
                    match event {
                        Some(event) => events.push(event),
                        None => break,
                    }
                }
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(
            part.is_empty(),
            "no event means that everything was taken in"
        );
    }
    (events, None)
}

/// Takes the short way of a whole frame, if the input allows it.
fn take_whole(decoder: &Decoder, input: &[u8]) -> Option<Decoded> {
    let (message, consumed) = decoder.whole_message(input, || true)?;
    let event = match message {
        Message::Text(text) => Incoming::Text(text),
        Message::Binary(bytes) => Incoming::Binary(bytes),
        control => panic!("a control frame: {control}"),
    };
    Some(Decoded {
        consumed,
        event: Some(event),
    })
}

/// Decodes `bytes` as one piece, byte by byte, and in two pieces at every cut. All results must be equal.
fn decode(role: Role, limits: Limits, bytes: &[u8]) -> (Vec<Incoming>, Option<ProtocolError>) {
    let new = || Decoder::new(role, limits);
    let whole = feed(&mut new(), [bytes]);
    assert_eq!(feed(&mut new(), bytes.chunks(1)), whole, "byte by byte");
    for cut in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(cut);
        assert_eq!(feed(&mut new(), [head, tail]), whole, "cut at {cut}");
    }
    whole
}

fn check(bytes: &[u8], events: &[Incoming]) {
    assert_eq!(
        decode(Role::Server, Limits::default(), bytes),
        (events.to_vec(), None)
    );
}

fn refuse(bytes: &[u8], error: ProtocolError, code: CloseCode) {
    refuse_under(Limits::default(), bytes, error, code);
}

fn refuse_under(limits: Limits, bytes: &[u8], error: ProtocolError, code: CloseCode) {
    let (_, refused) = decode(Role::Server, limits, bytes);
    assert_eq!(refused, Some(error), "{bytes:x?}");
    assert_eq!(error.close_code(), code);
}

/// Returns one masked frame as a client sends it.
fn frame(fin: bool, opcode: WebSocketOpcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(fin, false, opcode, payload, Some(KEY), &mut out);
    out
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame(true, Text, payload)
}

fn cat(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

use WebSocketOpcode::{Binary, Close, Continuation, Ping, Pong, Text};

fn bytes(payload: &[u8]) -> Bytes {
    Bytes::copy_from_slice(payload)
}

#[test]
fn whole_frames_become_events() {
    check(b"", &[]);
    check(&text(b"Hello"), &[Incoming::Text("Hello".into())]);
    check(&text(b""), &[Incoming::Text("".into())]);
    check(
        &text("grüße 🎉".as_bytes()),
        &[Incoming::Text("grüße 🎉".into())],
    );
    check(
        &frame(true, Binary, b"\xff\0"),
        &[Incoming::Binary(bytes(b"\xff\0"))],
    );
    check(&frame(true, Binary, b""), &[Incoming::Binary(Bytes::new())]);
    check(
        &frame(true, Binary, &[7; 300]),
        &[Incoming::Binary(bytes(&[7; 300]))],
    );
    check(&frame(true, Ping, b"p"), &[Incoming::Ping(bytes(b"p"))]);
    check(
        &frame(true, Ping, &[1; 125]),
        &[Incoming::Ping(bytes(&[1; 125]))],
    );
    check(&frame(true, Pong, b""), &[Incoming::Pong(Bytes::new())]);
    check(&frame(true, Close, b""), &[Incoming::Close(None)]);
    check(
        &frame(true, Close, b"\x03\xe9bye"),
        &[Incoming::Close(Some(CloseFrame::new(1001, "bye")))],
    );
}

#[test]
fn the_short_way_takes_whole_data_frames_within_the_limits() {
    let takes = |role, limits, wire: &[u8]| {
        let decoder = Decoder::new(role, limits);
        take_whole(&decoder, wire).map(|decoded| decoded.consumed)
    };
    let limits = Limits::default();
    for length in [0, 1, 125, 126, 127, 4096, 4097, 65535] {
        for opcode in [Text, Binary] {
            let wire = frame(true, opcode, &vec![b'a'; length]);
            let longer = [&wire[..], b"\x81"].concat();
            assert_eq!(takes(Role::Server, limits, &longer), Some(wire.len()));
            assert_eq!(takes(Role::Server, limits, &wire[..wire.len() - 1]), None);
            assert_eq!(takes(Role::Client, limits, &wire), None);
            for limits in [limits.frame(length), limits.message(length)] {
                assert_eq!(takes(Role::Server, limits, &wire), Some(wire.len()));
            }
            let below = length.saturating_sub(1);
            for limits in [limits.frame(below), limits.message(below)] {
                assert_eq!(takes(Role::Server, limits, &wire).is_some(), length == 0);
            }
            assert_eq!(takes(Role::Server, limits.fragments(0), &wire), None);
        }
    }
    for other in [
        frame(true, Binary, &[0; 65536]),
        frame(false, Text, b"x"),
        frame(true, Continuation, b"x"),
        frame(true, Ping, b"x"),
        frame(true, Close, b""),
        text(b"\xff"),
        b"\xc1\x80\0\0\0\0".to_vec(),
        b"\x81\x01x".to_vec(),
        b"\x82\xfe\0\x01\0\0\0\0x".to_vec(),
    ] {
        assert_eq!(takes(Role::Server, limits, &other), None, "{other:x?}");
    }
    let decoder = Decoder::new(Role::Server, limits);
    assert_eq!(decoder.whole_message(&text(b"x"), || false), None);
    let mut decoder = Decoder::new(Role::Server, limits);
    decoder.next(&frame(false, Text, b"x")).unwrap();
    assert_eq!(take_whole(&decoder, &text(b"x")), None, "within a message");
    let mut decoder = Decoder::new(Role::Server, limits);
    decoder.next(&frame(true, Close, b"")).unwrap();
    assert_eq!(take_whole(&decoder, &text(b"x")), None, "after a Close");
}

#[test]
fn several_frames_in_one_read_keep_their_order() {
    check(
        &cat(&[
            text(b"a"),
            frame(true, Ping, b"b"),
            text(b"c"),
            frame(true, Binary, b"d"),
        ]),
        &[
            Incoming::Text("a".into()),
            Incoming::Ping(bytes(b"b")),
            Incoming::Text("c".into()),
            Incoming::Binary(bytes(b"d")),
        ],
    );
}

#[test]
fn fragments_are_joined_and_control_frames_between_them_come_at_once() {
    check(
        &cat(&[
            frame(false, Text, b"He"),
            frame(true, Ping, b"now"),
            frame(false, Continuation, b""),
            frame(false, Continuation, b"l"),
            frame(true, Pong, b""),
            frame(true, Continuation, b"lo"),
            text(b"next"),
        ]),
        &[
            Incoming::Ping(bytes(b"now")),
            Incoming::Pong(Bytes::new()),
            Incoming::Text("Hello".into()),
            Incoming::Text("next".into()),
        ],
    );
    check(
        &cat(&[frame(false, Binary, b""), frame(true, Continuation, b"")]),
        &[Incoming::Binary(Bytes::new())],
    );
}

#[test]
fn a_character_may_be_cut_by_fragments() {
    let party = "🎉".as_bytes();
    for cut in 0..=party.len() {
        check(
            &cat(&[
                frame(false, Text, &party[..cut]),
                frame(true, Ping, b""),
                frame(true, Continuation, &party[cut..]),
            ]),
            &[Incoming::Ping(Bytes::new()), Incoming::Text("🎉".into())],
        );
    }
}

#[test]
fn what_follows_a_close_is_swallowed() {
    check(
        &cat(&[frame(true, Close, b""), b"\xff\xff".to_vec()]),
        &[Incoming::Close(None)],
    );
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    assert!(decoder.next(b"\xff").is_err());
    assert_eq!(
        decoder.next(&text(b"x")),
        Ok(Decoded {
            consumed: 7,
            event: None
        })
    );
}

#[test]
fn masks_are_demanded_of_clients_and_refused_from_servers() {
    refuse(
        b"\x81\x00",
        ProtocolError::UnmaskedFrame,
        CloseCode::PROTOCOL_ERROR,
    );
    refuse(
        b"\x89\x00",
        ProtocolError::UnmaskedFrame,
        CloseCode::PROTOCOL_ERROR,
    );
    let (events, error) = decode(Role::Client, Limits::default(), &text(b"x"));
    assert_eq!((events, error), (vec![], Some(ProtocolError::MaskedFrame)));
    let (events, error) = decode(Role::Client, Limits::default(), b"\x81\x01x");
    assert_eq!((events, error), (vec![Incoming::Text("x".into())], None));
}

#[test]
fn broken_frames_close_1002() {
    let code = CloseCode::PROTOCOL_ERROR;
    for first in [0xA1, 0x91, 0xC1, 0xC9, 0xC0] {
        refuse(
            &[first, 0x80, 0, 0, 0, 0],
            ProtocolError::ReservedBits,
            code,
        );
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        refuse(
            &[0x80 | opcode, 0x80],
            ProtocolError::ReservedOpcode(opcode),
            code,
        );
    }
    for opcode in [Close, Ping, Pong] {
        refuse(
            &frame(false, opcode, b""),
            ProtocolError::FragmentedControl,
            code,
        );
        refuse(
            &frame(true, opcode, &[0; 126]),
            ProtocolError::OversizedControl,
            code,
        );
    }
    refuse(
        b"\x82\xfe\x00\x7d\0\0\0\0",
        ProtocolError::NonMinimalLength,
        code,
    );
    refuse(
        b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0",
        ProtocolError::NonMinimalLength,
        code,
    );
    refuse(
        &[[0x82].as_slice(), &[0xff; 13]].concat(),
        ProtocolError::LengthHighBit,
        code,
    );
}

#[test]
fn fragments_out_of_order_close_1002() {
    let code = CloseCode::PROTOCOL_ERROR;
    let cont = |fin| frame(fin, Continuation, b"x");
    refuse(&cont(true), ProtocolError::UnexpectedContinuation, code);
    refuse(&cont(false), ProtocolError::UnexpectedContinuation, code);
    refuse(
        &cat(&[text(b"x"), cont(true)]),
        ProtocolError::UnexpectedContinuation,
        code,
    );
    let ended = [frame(false, Text, b"x"), cont(true), cont(true)];
    refuse(&cat(&ended), ProtocolError::UnexpectedContinuation, code);
    for opcode in [Text, Binary] {
        for fin in [true, false] {
            let inside = [frame(false, Binary, b"x"), frame(fin, opcode, b"y")];
            refuse(&cat(&inside), ProtocolError::InterruptedMessage, code);
        }
    }
}

#[test]
fn broken_close_frames_close_1002_and_1007() {
    let protocol = CloseCode::PROTOCOL_ERROR;
    refuse(
        &frame(true, Close, b"\x03"),
        ProtocolError::TruncatedCloseCode,
        protocol,
    );
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535_u16,
    ] {
        let payload = code.to_be_bytes();
        refuse(
            &frame(true, Close, &payload),
            ProtocolError::InvalidCloseCode(code),
            protocol,
        );
    }
    for code in [
        1000, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999_u16,
    ] {
        let close = Incoming::Close(Some(CloseFrame::new(code, "")));
        check(&frame(true, Close, &code.to_be_bytes()), &[close]);
    }
    refuse(
        &frame(true, Close, b"\x03\xe8\xff"),
        ProtocolError::InvalidCloseReason,
        CloseCode::INVALID_PAYLOAD,
    );
}

#[test]
fn text_that_is_not_utf8_closes_1007() {
    let code = CloseCode::INVALID_PAYLOAD;
    // The inputs, in this order: a stray continuation byte, `(` in place of a continuation byte, an overlong form, a
    // surrogate, a character beyond U+10FFFF, and a text that ends within a character.
    for bad in [
        &b"\x80"[..],
        b"\xc3(",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"ok\xe2\x82",
    ] {
        refuse(&text(bad), ProtocolError::InvalidUtf8, code);
        refuse(
            &cat(&[frame(false, Text, b"fine"), frame(true, Continuation, bad)]),
            ProtocolError::InvalidUtf8,
            code,
        );
    }
}

#[test]
fn invalid_text_is_refused_before_its_frame_ends() {
    // The last byte of each input is the first that is invalid. The byte 0xff never occurs in UTF-8. The other last
    // bytes are invalid after the byte before them.
    for bad in [
        &b"abc\xff"[..],
        b"abc\xf4\x90",
        b"abc\xed\xa0",
        b"abc\xe0\x80",
    ] {
        let declared = [bad, &[b'x'; 100]].concat();
        let wire = text(&declared);
        let header = 2 + 4;
        let mut decoder = Decoder::new(Role::Server, Limits::default());
        let fine = &wire[..header + bad.len() - 1];
        assert_eq!(
            decoder.next(fine),
            Ok(Decoded {
                consumed: fine.len(),
                event: None
            })
        );
        let next = &wire[fine.len()..=fine.len()];
        assert_eq!(
            decoder.next(next),
            Err(ProtocolError::InvalidUtf8),
            "{bad:x?}"
        );
    }
}

#[test]
fn limits_hold_at_the_header() {
    let limits = Limits::default().frame(10).message(15).fragments(3);
    let big = CloseCode::MESSAGE_TOO_BIG;
    let (first, rest) = (frame(false, Binary, &[1; 10]), |len| vec![1; len]);

    let fits = cat(&[first.clone(), frame(true, Continuation, &rest(5))]);
    let (events, error) = decode(Role::Server, limits, &fits);
    assert_eq!(
        (events, error),
        (vec![Incoming::Binary(bytes(&[1; 15]))], None)
    );

    let header = &frame(true, Binary, &rest(11))[..6];
    refuse_under(
        limits,
        header,
        ProtocolError::FrameTooBig { limit: 10 },
        big,
    );
    let message = cat(&[first, frame(true, Continuation, &rest(6))]);
    refuse_under(
        limits,
        &message,
        ProtocolError::MessageTooBig { limit: 15 },
        big,
    );
    let one = |opcode| frame(false, opcode, b"");
    let many = cat(&[
        one(Binary),
        one(Continuation),
        one(Continuation),
        one(Continuation),
    ]);
    let error = ProtocolError::TooManyFragments { limit: 3 };
    refuse_under(limits, &many, error, CloseCode::POLICY_VIOLATION);
    // The limits on data do not apply to control frames: a ping of 100 bytes is longer than `limits` allows for data.
    let (events, error) = decode(Role::Server, limits, &frame(true, Ping, &rest(100)));
    assert_eq!((events.len(), error), (1, None));
}

#[test]
fn rsv1_marks_the_first_frame_of_a_compressed_message() {
    let limits = Limits::default().rsv1_allowed(true);
    let marked = |fin, opcode, payload: &[u8]| {
        let mut out = Vec::new();
        encode_frame(fin, true, opcode, payload, Some(KEY), &mut out);
        out
    };
    // The decoder must not check a compressed message for UTF-8.
    let compressed = |payload: &[u8]| {
        Incoming::Compressed(Compressed {
            opcode: Text,
            payload: bytes(payload),
        })
    };
    for wire in [
        marked(true, Text, b"\xff\xfe"),
        cat(&[
            marked(false, Text, b"\xff"),
            frame(true, Continuation, b"\xfe"),
        ]),
    ] {
        let (events, error) = decode(Role::Server, limits, &wire);
        assert_eq!((events, error), (vec![compressed(b"\xff\xfe")], None));
    }
    let twice = cat(&[marked(false, Text, b""), marked(true, Continuation, b"")]);
    refuse_under(
        limits,
        &twice,
        ProtocolError::ReservedBits,
        CloseCode::PROTOCOL_ERROR,
    );
    let ping = marked(true, Ping, b"");
    refuse_under(
        limits,
        &ping,
        ProtocolError::ReservedBits,
        CloseCode::PROTOCOL_ERROR,
    );
    assert!(Message::try_from(compressed(b"x")).is_err());
}

#[test]
fn a_declared_length_allocates_no_more_than_twice_what_came() {
    let limits = Limits::default().frame(usize::MAX).message(usize::MAX);
    for length in [1_u64 << 40, 1 << 62] {
        let mut decoder = Decoder::new(Role::Server, limits);
        let header = frame::encode_header(true, false, Binary, length, Some(KEY));
        let mut arrived = 0;
        assert_eq!(decoder.next(&header).unwrap().event, None);
        for chunk in [1, 5, 1000, 64 * 1024, 3, 64 * 1024, 200_000] {
            assert_eq!(decoder.next(&vec![0; chunk]).unwrap().consumed, chunk);
            arrived += chunk;
            if let Some(target) = decoder.direct_target(usize::MAX) {
                assert!((1..=arrived).contains(&target.remaining_mut()));
            }
            let capacity = decoder.partial.as_ref().unwrap().capacity();
            assert!(
                (arrived..=2 * arrived.max(64)).contains(&capacity),
                "{arrived}: {capacity}"
            );
        }
    }
}

#[test]
fn a_large_frame_ends_in_a_buffer_of_its_size() {
    let payload: Vec<u8> = (0..100_000).map(|i| (i % 251) as u8).collect();
    let wire = frame(true, Binary, &payload);
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let (last, most) = wire.split_last().unwrap();
    for part in most.chunks(1 << 14) {
        assert_eq!(decoder.next(part).unwrap().event, None);
    }
    let partial = decoder.partial.as_ref().unwrap();
    assert_eq!(partial.capacity(), payload.len());
    assert_eq!(
        decoder.next(&[*last]).unwrap().event,
        Some(Incoming::Binary(payload.into()))
    );
}

#[test]
fn many_fragments_grow_the_buffer_by_doubling_and_leave_little_room() {
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let (mut capacity, mut growths) = (0, 0);
    for n in 0..10_000 {
        let opcode = if n == 0 { Binary } else { Continuation };
        let event = decoder.next(&frame(false, opcode, &[1; 7])).unwrap().event;
        assert_eq!(event, None);
        let now = decoder.partial.as_ref().unwrap().capacity();
        growths += usize::from(now != capacity);
        capacity = now;
    }
    assert!(growths <= 14, "{growths}");
    assert!(capacity >= 70_000 + 70_000 / 4);
    let event = decoder.next(&frame(true, Continuation, b"")).unwrap().event;
    let Some(Incoming::Binary(message)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(message.len(), 70_000);
    assert!(Vec::from(message).capacity() <= 70_000 + 70_000 / 4);
}

#[test]
fn the_rest_of_a_large_frame_can_be_read_into_its_message() {
    let payload = "grüße 🎉 ".repeat(20_000);
    let wire = cat(&[text(payload.as_bytes()), text(b"next")]);
    for first in [5000, 5001, 5002, 5003] {
        let mut decoder = Decoder::new(Role::Server, Limits::default().frame(1 << 22));
        let (head, mut socket) = wire.split_at(first);
        let mut events = feed(&mut decoder, [head]).0;
        let mut direct = 0;
        while let Some(mut target) = decoder.direct_target(10_007) {
            assert!(events.is_empty() && target.remaining_mut() <= 10_007);
            let (read, rest) = socket.split_at(target.remaining_mut());
            target.put_slice(read);
            socket = rest;
            direct += 1;
            events.extend(decoder.direct_filled().unwrap());
        }
        assert!(direct > 10);
        events.extend(feed(&mut decoder, [socket]).0);
        let expected = [
            Incoming::Text(payload.as_str().into()),
            Incoming::Text("next".into()),
        ];
        assert!(events == expected);
        assert!(decoder.is_idle());
    }
}

#[test]
fn direct_reads_are_checked_and_survive_misuse() {
    let payload = [&[b'a'; 5000][..], &[0xff; 10_000]].concat();
    let wire = text(&payload);
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    assert!(decoder.direct_target(1 << 16).is_none(), "between frames");
    assert_eq!(decoder.next(&wire[..100]).unwrap().event, None);
    assert!(decoder.direct_target(1 << 16).is_none(), "too little came");
    assert_eq!(decoder.next(&wire[100..5000]).unwrap().event, None);
    decoder
        .direct_target(1 << 16)
        .unwrap()
        .get_mut()
        .truncate(17);
    assert_eq!(decoder.direct_filled(), Ok(None));
    assert_eq!(decoder.next(&wire[5000..5006]).unwrap().event, None);
    assert!(
        decoder.direct_target(1 << 16).is_none(),
        "the message was cut"
    );

    let mut decoder = Decoder::new(Role::Server, Limits::default());
    assert_eq!(decoder.next(&wire[..5006]).unwrap().event, None);
    let mut target = decoder.direct_target(1 << 16).unwrap();
    target.put_slice(&wire[5006..5007]);
    // The caller does not call `direct_filled` here. `next` must check the bytes of the direct read all the same.
    assert_eq!(
        decoder.next(&wire[5007..5009]),
        Err(ProtocolError::InvalidUtf8)
    );

    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let wire = frame(true, Binary, &[1; 10_000]);
    assert_eq!(decoder.next(&wire[..6006]).unwrap().event, None);
    decoder.next(&[]).unwrap();
    assert!(decoder.direct_target(1 << 16).is_none(), "little is left");
}

#[test]
fn two_reads_announced_as_one_stay_within_the_frame() {
    let wire = cat(&[frame(true, Binary, &[1; 20_000]), text(b"next")]);
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let (head, mut socket) = wire.split_at(12_000);
    assert_eq!(decoder.next(head).unwrap().event, None);
    for _ in 0..3 {
        let mut target = decoder.direct_target(5_000).unwrap();
        let (read, rest) = socket.split_at(target.remaining_mut());
        target.put_slice(read);
        socket = rest;
    }
    let event = decoder.direct_filled().unwrap();
    assert_eq!(event, Some(Incoming::Binary(bytes(&[1; 20_000]))));
    assert_eq!(
        feed(&mut decoder, [socket]).0,
        [Incoming::Text("next".into())]
    );
}

#[test]
fn writing_past_the_frame_loses_the_surplus() {
    let wire = frame(true, Binary, &[1; 20_000]);
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    assert_eq!(decoder.next(&wire[..8192]).unwrap().event, None);
    let mut target = decoder.direct_target(1 << 16).unwrap();
    target.get_mut().extend_from_slice(&wire[8192..]);
    target.get_mut().extend_from_slice(b"surplus");
    let event = decoder.direct_filled().unwrap();
    assert_eq!(event, Some(Incoming::Binary(bytes(&[1; 20_000]))));
}

#[test]
fn an_idle_decoder_is_small_and_holds_nothing() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let wire = cat(&[
        frame(false, Text, b"a"),
        frame(true, Ping, b"p"),
        frame(true, Continuation, b"b"),
    ]);
    for (at, byte) in wire.iter().enumerate() {
        assert_eq!(decoder.is_idle(), at == 0);
        decoder.next(&[*byte]).unwrap();
    }
    assert!(decoder.is_idle());
    decoder.next(&[]).unwrap();
    assert!(decoder.is_idle());
}

/// A message, the positions that cut the payload into fragments, and the control frames after each fragment.
type Sent = (Message, Vec<(usize, Vec<Message>)>);

fn control() -> impl Strategy<Value = Message> {
    let payload = prop::collection::vec(any::<u8>(), 0..=125).prop_map(Bytes::from);
    (any::<bool>(), payload).prop_map(|(is_ping, payload)| match is_ping {
        true => Message::Ping(payload),
        false => Message::Pong(payload),
    })
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let message = prop_oneof![
        4 => ".{0,200}".prop_map(Message::from),
        1 => ".{3000,5000}".prop_map(Message::from),
        3 => prop::collection::vec(any::<u8>(), 0..500).prop_map(Message::from),
        2 => prop::collection::vec(any::<u8>(), 0..70_000).prop_map(Message::from),
        1 => control(),
    ];
    let cuts = prop::collection::vec(
        (0_usize..70_000, prop::collection::vec(control(), 0..3)),
        0..6,
    );
    prop::collection::vec((message, cuts), 0..6)
}

/// Returns a sequence of read sizes. The test repeats the sequence.
fn reads() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        prop::collection::vec(1_usize..20, 1..20),
        prop::collection::vec(1_usize..30_000, 1..20),
    ]
}

/// Encodes messages in fragments. Masks each frame with the next key of `keys`. Returns the messages in the order of
/// their last frames.
fn encode_fragmented(
    sent: Vec<Sent>,
    mut keys: impl Iterator<Item = Option<[u8; 4]>>,
    out: &mut Vec<u8>,
) -> Vec<Message> {
    let mut completed = Vec::new();
    for (message, mut cuts) in sent {
        let mut rest = message.as_bytes();
        let mut opcode = message.opcode();
        if message.is_control() {
            cuts.clear();
        }
        for (cut, controls) in cuts {
            let (fragment, after) = rest.split_at(cut % (rest.len() + 1));
            encode_frame(false, false, opcode, fragment, keys.next().unwrap(), out);
            (rest, opcode) = (after, Continuation);
            for control in controls {
                match keys.next().unwrap() {
                    Some(key) => encode_masked_message(&control, key, out),
                    None => encode_message(&control, out),
                }
                completed.push(control);
            }
        }
        encode_frame(true, false, opcode, rest, keys.next().unwrap(), out);
        completed.push(message);
    }
    completed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_survive_fragments_masks_and_cuts(
        sent in sent(),
        keys in prop::collection::vec(any::<[u8; 4]>(), 1..20),
        sizes in reads(),
        from_client: bool,
        read_direct: bool,
    ) {
        let role = if from_client { Role::Server } else { Role::Client };
        let keys = keys.into_iter().cycle().map(|key| from_client.then_some(key));
        let mut wire = Vec::new();
        let expected = encode_fragmented(sent, keys, &mut wire);

        let mut decoder = Decoder::new(role, Limits::default());
        let (mut socket, mut sizes, mut got) = (&wire[..], sizes.iter().cycle(), Vec::new());
        while !socket.is_empty() {
            let size = *sizes.next().unwrap();
            if let Some(mut target) = decoder.direct_target(size).filter(|_| read_direct) {
                prop_assert!((1..=size).contains(&target.remaining_mut()));
                let (read, rest) = socket.split_at(target.remaining_mut());
                target.put_slice(read);
                socket = rest;
                got.extend(decoder.direct_filled().unwrap());
            } else {
                let (read, rest) = socket.split_at(size.min(socket.len()));
                socket = rest;
                let (events, error) = feed(&mut decoder, [read]);
                prop_assert_eq!(error, None);
                got.extend(events);
            }
        }
        let got: Vec<Message> = got.into_iter().map(|event| event.try_into().unwrap()).collect();
        prop_assert!(decoder.is_idle());
        prop_assert!(got == expected);
    }

    #[test]
    fn any_bytes_give_the_same_outcome_however_they_are_cut(
        mut bytes in prop::collection::vec(any::<u8>(), 0..60),
        masked: bool,
        cut in 0_usize..60,
    ) {
        // With these changes, most headers pass the first checks.
        if let Some(first) = bytes.first_mut() {
            *first &= 0x8F;
        }
        if let Some(second) = bytes.get_mut(1) {
            *second = (*second % 40) | if masked { 0x80 } else { 0 };
        }
        let role = if masked { Role::Server } else { Role::Client };
        let new = || Decoder::new(role, Limits::default());
        let whole = feed(&mut new(), [&bytes[..]]);
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(feed(&mut new(), [head, tail]), whole.clone());
        prop_assert_eq!(feed(&mut new(), bytes.chunks(1)), whole);
    }
}
