use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::proto::ws::handshake::HandshakeError;
use crate::proto::ws::{
    Compressed, Decoder, Incoming, Limits, Message, ProtocolError, Role, WebSocketOpcode,
};

const LIMIT: usize = 1024 * 1024;

fn takeover() -> DeflateConfig {
    DeflateConfig::default()
        .min_size(0)
        .server_context_takeover(true)
        .client_context_takeover(true)
}

fn agree(offer: &str, config: &DeflateConfig) -> Agreement {
    negotiate([offer], config).unwrap().expect("an agreement")
}

fn answer(offer: &str, config: &DeflateConfig) -> Option<String> {
    negotiate([offer], config)
        .unwrap()
        .map(|agreement| agreement.to_string())
}

/// Decodes a frame that contains a whole message, compressed or not.
fn open(frame: &[u8], role: Role) -> Incoming {
    let limits = Limits::default().rsv1_allowed(true);
    let decoded = Decoder::new(role, limits).next(frame).unwrap();
    assert_eq!(decoded.consumed, frame.len());
    decoded.event.expect("a whole message")
}

fn compressed(opcode: WebSocketOpcode, payload: &[u8]) -> Compressed {
    Compressed {
        opcode,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn inflate(decompressor: &mut Decompressor, payload: &[u8]) -> Result<Message, ProtocolError> {
    decompressor.decode(&compressed(WebSocketOpcode::Text, payload), LIMIT)
}

/// Returns incompressible bytes. The bytes are the same in every run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn the_answer_depends_on_offer_and_settings() {
    let plain = DeflateConfig::default();
    let both = takeover();
    let small = plain.server_max_window_bits(10).client_max_window_bits(9);
    const NO: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (config, offer, expected) in [
        (&plain, "permessage-deflate", NO),
        (&plain, "permessage-deflate; client_max_window_bits", NO),
        (&both, "permessage-deflate", "permessage-deflate"),
        (
            &both,
            "permessage-deflate;client_max_window_bits=15",
            "permessage-deflate",
        ),
        (
            &both,
            "permessage-deflate; client_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=10",
        ),
        (
            &both,
            "permessage-deflate; server_max_window_bits=\"8\"",
            "permessage-deflate; server_max_window_bits=8",
        ),
        (
            &both,
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            &both,
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
        ),
    ] {
        assert_eq!(answer(offer, config).as_deref(), Some(expected), "{offer}");
    }
    assert_eq!(
        answer("permessage-deflate; client_max_window_bits", &small).unwrap(),
        format!("{NO}; server_max_window_bits=10; client_max_window_bits=9"),
    );
    assert_eq!(
        answer("permessage-deflate; server_max_window_bits=12", &small).unwrap(),
        format!("{NO}; server_max_window_bits=10"),
        "a client that cannot be told its window is not told"
    );
}

#[test]
fn an_offer_that_cannot_be_met_is_declined_and_the_next_one_taken() {
    let config = takeover();
    for declined in [
        "x-webkit-deflate-frame",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=\"true\"",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=300",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    ] {
        assert_eq!(answer(declined, &config), None, "{declined}");
        assert_eq!(
            answer(&format!("{declined}, permessage-deflate"), &config).unwrap(),
            "permessage-deflate",
        );
    }
    assert_eq!(negotiate([], &config), Ok(None));
    assert_eq!(
        negotiate(["foo", "permessage-deflate"], &config).map(|agreed| agreed.is_some()),
        Ok(true)
    );
    assert_eq!(
        negotiate(["permessage-deflate", ";"], &config),
        Err(HandshakeError::Extensions)
    );
}

#[test]
fn the_examples_of_the_standard_are_read() {
    // RFC 7692 §7.2.3.1 to §7.2.3.6.
    let agreement = agree("permessage-deflate", &takeover());
    for (payload, text) in [
        (&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], "Hello"),
        (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"),
        (
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
            "Hello",
        ),
        (b"\x00", ""),
    ] {
        let mut decompressor = agreement.decompressor(Role::Server, &takeover());
        for _ in 0..3 {
            let message = inflate(&mut decompressor, payload).unwrap();
            assert_eq!(message, Message::from(text), "{payload:02x?}");
        }
    }
    // §7.2.3.2: the second message refers back to the first message.
    let mut decompressor = agreement.decompressor(Role::Server, &takeover());
    for payload in [
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\xf2\x00\x11\x00\x00",
    ] {
        assert_eq!(inflate(&mut decompressor, payload).unwrap(), "Hello".into());
    }
}

#[test]
fn a_message_that_looks_back_needs_context_takeover() {
    let mut decompressor = agree("permessage-deflate", &DeflateConfig::default())
        .decompressor(Role::Server, &takeover());
    assert!(inflate(&mut decompressor, b"\xf2\x48\xcd\xc9\xc9\x07\x00").is_ok());
    assert_eq!(
        inflate(&mut decompressor, b"\xf2\x00\x11\x00\x00"),
        Err(ProtocolError::InvalidDeflate)
    );
    // After an error, the decompressor still inflates a valid message.
    assert!(inflate(&mut decompressor, b"\xf2\x48\xcd\xc9\xc9\x07\x00").is_ok());
}

#[test]
fn with_takeover_the_second_message_is_shorter() {
    let config = takeover();
    let text = Message::from("a line that is said twice, word by word, in one conversation");
    let sizes = |agreement: Agreement| {
        let mut compressor = agreement.compressor(Role::Server, &config);
        [(); 2].map(|()| {
            let mut frame = Vec::new();
            compressor.encode(&text, None, &mut frame);
            frame.len()
        })
    };
    let [first, second] = sizes(agree("permessage-deflate", &config));
    assert!(second < first / 3, "{first}, {second}");
    let [first, second] = sizes(agree(
        "permessage-deflate;server_no_context_takeover",
        &config,
    ));
    assert_eq!(first, second);
}

#[test]
fn what_compression_does_not_serve_goes_out_as_it_is() {
    let config = DeflateConfig::default().min_size(100);
    let mut compressor = Compressor::shared(15, &config);
    for message in [
        Message::from("x".repeat(99)),
        Message::from(noise(5000)),
        Message::Ping(Bytes::from(vec![b'x'; 120])),
        Message::Close(None),
    ] {
        let mut frame = Vec::new();
        compressor.encode(&message, None, &mut frame);
        assert_eq!(Message::try_from(open(&frame, Role::Client)), Ok(message));
    }
}

#[test]
fn no_compressor_looks_back_beyond_the_smallest_window() {
    // A window of 8 bits has 256 bytes. The compressor uses a window of 9 bits, the minimum of `flate2`, but must not
    // refer back by more than 256 bytes.
    for level in 1..=9 {
        let config = takeover().level(level).server_max_window_bits(8);
        for distance in [256, 257, 260, 300, 400, 511, 512] {
            let block = noise(distance);
            let message = Message::from([&block[..], &block[..]].concat());
            let mut frame = Vec::new();
            agree("permessage-deflate", &config)
                .compressor(Role::Server, &config)
                .encode(&message, None, &mut frame);
            let grew = frame.len() >= 2 * distance;
            assert!(
                grew || distance == 256,
                "level {level} found a repetition {distance} bytes back"
            );
        }
    }
}

#[test]
fn a_bomb_is_refused_at_the_limit_of_message_or_ratio() {
    let zeros = |len: usize| {
        let mut frame = Vec::new();
        let config = DeflateConfig::default().level(9);
        Compressor::shared(15, &config).encode(&Message::from(vec![0; len]), None, &mut frame);
        match open(&frame, Role::Client) {
            Incoming::Compressed(compressed) => compressed,
            other => panic!("not compressed: {other:?}"),
        }
    };
    let mut decompressor = agree("permessage-deflate", &DeflateConfig::default())
        .decompressor(Role::Server, &DeflateConfig::default());
    let bomb = zeros(20 * LIMIT);
    assert!(bomb.payload.len() < 20 * LIMIT / 900, "a real bomb");
    assert_eq!(
        decompressor.decode(&bomb, LIMIT),
        Err(ProtocolError::MessageTooBig { limit: LIMIT })
    );
    assert_eq!(
        decompressor.decode(&bomb, 100 * LIMIT),
        Err(ProtocolError::Inflation { ratio: 100 })
    );
    // A message of at most 1 MiB may have any ratio.
    let harmless = zeros(LIMIT);
    assert!(decompressor.decode(&harmless, 100 * LIMIT).is_ok());
    assert!(decompressor.decode(&harmless, LIMIT).is_ok());
    assert_eq!(
        decompressor.decode(&harmless, LIMIT - 1),
        Err(ProtocolError::MessageTooBig { limit: LIMIT - 1 })
    );
}

#[test]
fn what_is_no_deflate_or_no_text_is_refused() {
    let mut decompressor =
        agree("permessage-deflate", &takeover()).decompressor(Role::Server, &takeover());
    assert_eq!(
        inflate(&mut decompressor, b"\xff\xff\xff\xff"),
        Err(ProtocolError::InvalidDeflate)
    );
    let mut decompressor =
        agree("permessage-deflate", &takeover()).decompressor(Role::Server, &takeover());
    let not_text = b"\x00\x02\x00\xfd\xff\xc3\x28\x00";
    assert_eq!(
        inflate(&mut decompressor, not_text),
        Err(ProtocolError::InvalidUtf8)
    );
    assert_eq!(
        decompressor.decode(&compressed(WebSocketOpcode::Binary, not_text), LIMIT),
        Ok(Message::from(b"\xc3\x28"))
    );
}

#[test]
fn a_message_at_the_limit_may_be_longer_on_the_wire() {
    // Compressed data of incompressible bytes is longer than the bytes themselves by the headers of the blocks.
    let payload = noise(LIMIT);
    let config = takeover();
    let agreement = agree("permessage-deflate", &config);
    let mut frame = Vec::new();
    agreement.compressor(Role::Client, &config).encode(
        &Message::from(payload.clone()),
        Some([1, 2, 3, 4]),
        &mut frame,
    );
    assert!(frame.len() > LIMIT + 14);
    let Incoming::Compressed(compressed) = open(&frame, Role::Server) else {
        panic!("not compressed")
    };
    let message = agreement
        .decompressor(Role::Server, &config)
        .decode(&compressed, LIMIT);
    assert_eq!(message, Ok(Message::from(payload)));
}

#[test]
fn settings_out_of_range_are_named() {
    let good = DeflateConfig::default();
    assert_eq!(good.validate(), Ok(()));
    for bad in [
        good.level(0),
        good.level(10),
        good.server_max_window_bits(7),
        good.client_max_window_bits(16),
        good.max_ratio(0),
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
}

fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let random = prop::collection::vec(any::<u8>(), 0..2000);
    let regular = (prop::collection::vec(any::<u8>(), 1..40), 1..200usize)
        .prop_map(|(piece, times)| piece.repeat(times));
    prop::collection::vec(prop_oneof![random, regular], 1..12)
}

proptest! {
    #[test]
    fn whatever_is_compressed_is_inflated(
        messages in messages(),
        level in 1..=9u8,
        bits in 8..=15u8,
        keep in any::<bool>(),
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
    ) {
        let config = DeflateConfig::default()
            .level(level)
            .min_size(0)
            .server_max_window_bits(bits)
            .client_max_window_bits(bits)
            .server_context_takeover(keep)
            .client_context_takeover(keep);
        let agreement = agree("permessage-deflate; client_max_window_bits", &config);
        let (peer, key) = match role {
            Role::Server => (Role::Client, None),
            Role::Client => (Role::Server, Some([9, 8, 7, 6])),
        };
        let mut compressor = agreement.compressor(role, &config);
        let mut decompressor = agreement.decompressor(peer, &config);
        for payload in messages {
            let message = Message::from(payload);
            let mut frame = Vec::new();
            compressor.encode(&message, key, &mut frame);
            let read = match open(&frame, peer) {
                Incoming::Compressed(compressed) => decompressor.decode(&compressed, LIMIT).unwrap(),
                plain => Message::try_from(plain).unwrap(),
            };
            prop_assert_eq!(read, message);
        }
    }

    #[test]
    fn no_input_makes_it_exceed_its_limit(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decompressor =
            agree("permessage-deflate", &takeover()).decompressor(Role::Server, &takeover());
        let message = compressed(WebSocketOpcode::Binary, &payload);
        if let Ok(message) = decompressor.decode(&message, 1000) {
            prop_assert!(message.len() <= 1000);
        }
    }
}

#[test]
fn blocks_that_are_each_the_last_cannot_keep_the_decompressor_busy() {
    let config = DeflateConfig::default();
    let mut decompressor = agree("permessage-deflate", &config).decompressor(Role::Server, &config);
    // Some senders flush each character in a separate final block (RFC 7692 §7.2.3.4).
    let letters = |count| [0x4b, 0x04, 0x00].repeat(count);
    assert_eq!(
        inflate(&mut decompressor, &letters(1000)),
        Ok("a".repeat(1000).into()),
    );
    for packed in [letters(300_000), [0x03, 0x00].repeat(450_000)] {
        let inflated = inflate(&mut decompressor, &packed).map(|message| message.len());
        assert_eq!(inflated, Err(ProtocolError::TooManyFinalBlocks));
    }
    // 1000 large final blocks do not exceed the limit.
    let large: Vec<u8> = std::iter::repeat_n([1, 0xe8, 0x03, 0x17, 0xfc], 1000)
        .flat_map(|head| head.into_iter().chain([b'x'; 1000]))
        .collect();
    let inflated = inflate(&mut decompressor, &large).map(|message| message.len());
    assert_eq!(inflated, Ok(1_000_000));
}

/// Compresses a message as a sender with context takeover does. `earlier` has the bytes of all earlier messages. If
/// `is_final`, the message is a final block (RFC 7692 §7.2.3.4).
fn packed(earlier: &[u8], plain: &[u8], bits: u8, is_final: bool) -> Vec<u8> {
    let mut compressor =
        flate2::Compress::new_with_window_bits(flate2::Compression::new(9), false, bits);
    let window = earlier.len().saturating_sub(1 << bits);
    if !earlier.is_empty() {
        compressor.set_dictionary(&earlier[window..]).unwrap();
    }
    let mut packed = Vec::with_capacity(plain.len() + 1000);
    let flush = match is_final {
        true => flate2::FlushCompress::Finish,
        false => flate2::FlushCompress::Sync,
    };
    compressor.compress_vec(plain, &mut packed, flush).unwrap();
    match is_final {
        true => packed.push(0),
        false => packed.truncate(packed.len() - TAIL.len()),
    }
    packed
}

#[test]
fn after_a_final_block_the_window_of_earlier_messages_stays() {
    let config = takeover();
    for (bits, length) in [(9, 1), (9, 2), (9, 5), (9, 100), (15, 4000), (15, 16_000)] {
        let offer = format!("permessage-deflate; client_max_window_bits={bits}");
        let agreement = agree(&offer, &config);
        // True stands for a message that is a final block.
        for order in [
            &[false, true, true, false, false, true, false][..],
            &[true, false, true, false],
            &[false, false, true, false],
        ] {
            let mut decompressor = agreement.decompressor(Role::Server, &config);
            let mut earlier = Vec::new();
            // There are two blocks, and messages have them in turn. Each message thus repeats the block of the message
            // two places before.
            let blocks = noise(2 * length);
            let mut blocks = blocks.chunks(length).cycle();
            for (number, is_final) in order.iter().enumerate() {
                let mut plain = blocks.next().unwrap().to_vec();
                plain.push(number as u8);
                let packed = packed(&earlier, &plain, bits, *is_final);
                assert!(number < 2 || length < 100 || packed.len() < length);
                let message = compressed(WebSocketOpcode::Binary, &packed);
                let inflated = decompressor.decode(&message, LIMIT);
                assert!(
                    inflated == Ok(Message::from(plain.clone())),
                    "{bits} {order:?}"
                );
                earlier.extend_from_slice(&plain);
            }
        }
    }
}

#[test]
fn a_final_block_within_a_message_keeps_the_window_of_earlier_messages() {
    let config = takeover();
    let mut decompressor = agree("permessage-deflate", &config).decompressor(Role::Server, &config);
    let text = noise(9000);
    let mut earlier = Vec::new();
    for _ in 0..3 {
        // Each message has three flushes, and each flush is a final block.
        let mut message = Vec::new();
        for part in text.chunks(3000) {
            let mut flushed = packed(&earlier, part, 15, true);
            flushed.pop();
            message.extend_from_slice(&flushed);
            earlier.extend_from_slice(part);
        }
        message.push(0);
        let message = compressed(WebSocketOpcode::Binary, &message);
        let inflated = decompressor.decode(&message, LIMIT);
        assert!(inflated == Ok(Message::from(text.clone())));
    }
}
