//! permessage-deflate: a byte of settings, an offer, then messages as they come and as they are sent.
//!
//! Whatever comes, nothing exceeds the limit, and another library reads the same out of it; whatever is
//! compressed is inflated to itself.

#![no_main]

use bytes::Bytes;
use hyperlane_core::{DeflateConfig, proto::ws::deflate::negotiate};
use hyperlane_core::{
    Message, WebSocketOpcode,
    proto::ws::{Compressed, Decoder, Incoming, Limits, Role},
};
use hyperlane_fuzz::Source;
use libfuzzer_sys::fuzz_target;
use miniz_oxide::inflate::decompress_slice_iter_to_slice;

const SERVER_KEEPS: u8 = 0x01;
const CLIENT_KEEPS: u8 = 0x02;
const TIGHT: u8 = 0x04;
const OWN_OFFER: u8 = 0x08;

/// How far a message may be inflated, in bytes.
const LIMIT: usize = 100_000;

fuzz_target!(|input: &[u8]| {
    let mut source = Source(input);
    let flags = source.byte();
    let bits = 8 + (flags >> 4) % 8;
    let config = DeflateConfig::default()
        .level(1 + bits % 9)
        .min_size(0)
        .server_context_takeover(flags & SERVER_KEEPS != 0)
        .client_context_takeover(flags & CLIENT_KEEPS != 0)
        .server_max_window_bits(bits)
        .client_max_window_bits(bits);
    let limit = match flags & TIGHT {
        0 => LIMIT,
        _ => 100,
    };

    let offer = match flags & OWN_OFFER {
        0 => "permessage-deflate; client_max_window_bits".into(),
        _ => String::from_utf8_lossy(source.chunk()),
    };
    let Ok(Some(agreement)) = negotiate([offer.as_ref()], &config) else {
        return;
    };
    // The answer, read as an offer by one who accepts anything, is the same agreement.
    let anything = DeflateConfig::default()
        .server_context_takeover(true)
        .client_context_takeover(true);
    let answer = agreement.to_string();
    assert_eq!(negotiate([answer.as_str()], &anything), Ok(Some(agreement)));

    let mut hostile = agreement.decompressor(Role::Server, &config);
    let mut compressor = agreement.compressor(Role::Server, &config);
    let mut decompressor = agreement.decompressor(Role::Client, &config);
    let mut is_first = true;
    while !source.is_empty() {
        let bytes = Bytes::copy_from_slice(source.chunk());

        let message = Compressed {
            opcode: WebSocketOpcode::Binary,
            payload: bytes.clone(),
        };
        if let Ok(inflated) = hostile.decode(&message, limit) {
            assert!(inflated.len() <= limit);
            if is_first || !agreement.client_context_takeover() {
                compare(&bytes, inflated.as_bytes());
            }
        } else {
            // As a connection does after an error.
            hostile = agreement.decompressor(Role::Server, &config);
        }
        is_first = false;

        let repeated = bytes.repeat(1 + usize::from(source.byte()) % 32);
        let message = Message::from(repeated);
        let mut frame = Vec::new();
        compressor.encode(&message, None, &mut frame);
        let limits = Limits::default().rsv1_allowed(true);
        let decoded = Decoder::new(Role::Client, limits).next(&frame);
        let read = match decoded.ok().and_then(|decoded| decoded.event) {
            Some(Incoming::Compressed(packed)) => decompressor
                .decode(&packed, LIMIT)
                .expect("our own message"),
            Some(plain) => Message::try_from(plain).expect("a plain message"),
            None => panic!("not a whole frame: {frame:?}"),
        };
        assert_eq!(read, message);
    }
});

/// Up to the first block that calls itself the last, another inflater sees the same.
fn compare(packed: &[u8], ours: &[u8]) {
    let mut theirs = vec![0; LIMIT + 1];
    let parts = [packed, &[0x00, 0x00, 0xff, 0xff]];
    let read = decompress_slice_iter_to_slice(&mut theirs, parts.into_iter(), false, true);
    // Without a last block it waits for more, and does not tell how much there was.
    if let Ok(len) = read {
        assert_eq!(ours.get(..len), theirs.get(..len));
    }
}
