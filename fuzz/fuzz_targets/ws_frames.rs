//! A stream of frames: eight bytes that say how it is read, then any bytes.
//!
//! The outcome does not depend on how the stream is cut into reads, what is understood can be written
//! again, and nothing exceeds the limits.

#![no_main]

use hyperlane_core::{
    Message,
    proto::ws::{Incoming, Limits, Role, encode_masked_message, encode_message},
};
use hyperlane_fuzz::{Reads, Source, decode, decode_whole};
use libfuzzer_sys::fuzz_target;

const CLIENT: u8 = 0x01;
const RSV1: u8 = 0x02;
const TIGHT: u8 = 0x04;
const LARGE_READS: u8 = 0x08;

fuzz_target!(|input: &[u8]| {
    let mut source = Source(input);
    let flags = source.byte();
    let sizes = source.take(7);
    let stream = source.0;

    let role = match flags & CLIENT {
        0 => Role::Server,
        _ => Role::Client,
    };
    let limits = match flags & TIGHT {
        0 => Limits::default(),
        _ => Limits::default().frame(40).message(60).fragments(4),
    }
    .rsv1_allowed(flags & RSV1 != 0);
    let scale = match flags & LARGE_READS {
        0 => 1,
        _ => 64,
    };

    let whole = decode_whole(role, limits, stream);
    for direct in [false, true] {
        let reads = Reads {
            sizes,
            scale,
            direct,
        };
        assert_eq!(decode(role, limits, stream, &reads), whole);
    }
    let bytewise = Reads {
        sizes: &[1],
        scale: 1,
        direct: false,
    };
    assert_eq!(decode(role, limits, stream, &bytewise), whole);

    let (events, error) = whole;
    if let Some(error) = error {
        assert!(error.close_code().is_sendable());
        assert!(!error.to_string().is_empty());
    }
    let mut again = Vec::new();
    let mut messages = Vec::new();
    for event in events {
        match &event {
            Incoming::Compressed(_) => assert!(limits.rsv1_allowed),
            Incoming::Ping(payload) | Incoming::Pong(payload) => assert!(payload.len() <= 125),
            Incoming::Close(frame) => {
                assert!(frame.as_ref().is_none_or(|frame| frame.code.is_sendable()));
            }
            Incoming::Text(_) | Incoming::Binary(_) => {}
            other => panic!("{other:?} is not known here"),
        }
        let Ok(message) = Message::try_from(event.clone()) else {
            continue;
        };
        assert!(message.len() <= limits.message.max(125));
        // Text is taken for UTF-8 without another look from here on.
        if let Message::Text(text) = &message {
            assert!(std::str::from_utf8(text.as_bytes()).is_ok());
        }
        match role {
            Role::Server => encode_masked_message(&message, [0x37, 0xfa, 0x21, 0x3d], &mut again),
            Role::Client => encode_message(&message, &mut again),
        }
        messages.push(event);
    }
    // What came in fragments is one frame now.
    let limits = limits.frame(limits.message.max(limits.frame));
    assert_eq!(decode_whole(role, limits, &again), (messages, None));
});
