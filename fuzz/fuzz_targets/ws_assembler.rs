//! Sequences of messages in fragments, held against tungstenite.
//!
//! The first byte sets flags, the second seeds the mask keys, four say how the stream is read. Then come
//! either messages, cut into fragments with control frames between, or single frames in any order.
//!
//! Both must give the same messages and control frames and agree whether the peer broke a rule. They
//! differ on purpose in these:
//!
//! - A close code that must not be sent is an error to us (RFC 6455 §7.4); tungstenite hands out a Close
//!   with 1002 in its place. It does the same with 1014, which is registered by now.
//! - We refuse as soon as the byte that breaks a rule is there (RFC 6455 §8.1), tungstenite when the
//!   frame is whole. So where the stream ends within a frame we may refuse what it still waits for.
//! - What follows a Close is not compared: we swallow it, tungstenite counts it as an error.
//!
//! Lengths that are not in their shortest form are refused by us and taken by tungstenite; the encoder
//! here makes none.

#![no_main]

use std::io::{Cursor, Read, Result, Write};

use hyperlane_core::{
    CloseCode, CloseFrame, WebSocketOpcode,
    proto::ws::{Incoming, Limits, ProtocolError, Role, encode_frame},
};
use hyperlane_fuzz::{Reads, Source, decode};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::{Message as Theirs, Role as TheirRole, WebSocket, WebSocketConfig};

const CLIENT: u8 = 0x01;
const TIGHT: u8 = 0x02;
const FRAMES: u8 = 0x04;
const CUT: u8 = 0x08;
const LARGE_READS: u8 = 0x10;

/// In messages: kinds, and what comes with them.
const BINARY: u8 = 0x01;
const CONTROL: u8 = 0x02;
const LONG: u8 = 0x04;
const CLOSE: u8 = 0x08;

/// In frames, beside the opcode's four bits: FIN and RSV1 as on the wire, and
const WRONG_MASK: u8 = 0x20;
const LONG_FRAME: u8 = 0x10;

/// What makes a payload of up to 255 bytes long enough for every form of the length.
const LONG_FACTOR: usize = 300;

fuzz_target!(|input: &[u8]| {
    let mut source = Source(input);
    let flags = source.byte();
    let mut writer = Writer {
        is_masked: flags & CLIENT == 0,
        seed: source.byte(),
        wire: Vec::new(),
    };
    let sizes = source.take(4);
    let cut = match flags & CUT {
        0 => 0,
        _ => usize::from(source.byte()),
    };
    let mut sent = Some(Vec::new());
    while !source.is_empty() {
        match flags & FRAMES {
            0 => message(&mut source, &mut writer, sent.get_or_insert_default()),
            _ => {
                sent = None;
                frame(&mut source, &mut writer);
            }
        }
    }
    let mut wire = writer.wire;
    wire.truncate(wire.len().saturating_sub(cut));

    let (role, their_role) = match flags & CLIENT {
        0 => (Role::Server, TheirRole::Server),
        _ => (Role::Client, TheirRole::Client),
    };
    let limits = match flags & TIGHT {
        0 => Limits::default(),
        // They apply the limit of frames to control frames as well.
        _ => Limits::default().frame(150).message(300),
    }
    .fragments(u32::MAX);
    let reads = Reads {
        sizes,
        scale: if flags & LARGE_READS == 0 { 1 } else { 256 },
        direct: true,
    };
    let (mut ours, error) = decode(role, limits, &wire, &reads);
    let (theirs, their_end) = read_theirs(their_role, &limits, wire.clone());

    let received = ours.clone();
    // What they hand out in place of a Close whose code displeases them.
    let stand_in = CloseFrame::new(CloseCode::PROTOCOL_ERROR, "Protocol violation");
    match (&error, &their_end, ours.last_mut()) {
        // With a bad reason besides, they refuse it as we do.
        (Some(ProtocolError::InvalidCloseCode(_)), End::Cut, _) => {
            ours.push(Incoming::Close(Some(stand_in)));
        }
        (None, _, Some(Incoming::Close(Some(frame)))) if frame.code == CloseCode::BAD_GATEWAY => {
            *frame = stand_in;
        }
        _ => {}
    }
    assert_eq!(ours, theirs, "{error:?}, {their_end:?}");
    let closed = matches!(ours.last(), Some(Incoming::Close(_)));
    match (error, their_end) {
        _ if closed => {}
        (None, End::Cut) | (Some(_), End::Refused(_)) => {}
        (Some(error), End::Cut) => assert!(cut > 0, "only we refuse: {error}"),
        (None, End::Refused(reason)) => panic!("only they refuse: {reason}"),
    }

    // Whole messages within the limits are what was sent; text may have been no UTF-8.
    if let Some(sent) = sent.filter(|_| error.is_none() && cut == 0) {
        let until_close = sent
            .iter()
            .position(|event| matches!(event, Incoming::Close(_)));
        let sent = until_close.map_or(&sent[..], |close| &sent[..=close]);
        assert_eq!(received, sent);
    }
});

/// Encodes frames one after the other.
struct Writer {
    is_masked: bool,
    seed: u8,
    wire: Vec<u8>,
}

impl Writer {
    fn frame(&mut self, fin: bool, rsv1: bool, opcode: WebSocketOpcode, payload: &[u8]) {
        self.seed = self.seed.wrapping_mul(5).wrapping_add(7);
        let seed = self.seed;
        let key = self
            .is_masked
            .then_some([seed, !seed, seed.rotate_left(3), seed ^ 0x55]);
        encode_frame(fin, rsv1, opcode, payload, key, &mut self.wire);
    }
}

/// Writes a message: its kind, a payload, and the lengths of its first fragments.
fn message(source: &mut Source<'_>, writer: &mut Writer, sent: &mut Vec<Incoming>) {
    let kind = source.byte();
    if kind & CLOSE != 0 {
        // The encoder would leave out a bad code, which is what is tried here.
        let payload = source.chunk();
        writer.frame(
            true,
            false,
            WebSocketOpcode::Close,
            &payload[..payload.len().min(125)],
        );
        sent.push(close_event(payload));
        return;
    }
    let chunk = source.chunk();
    let payload = match kind & LONG {
        0 => chunk.to_vec(),
        _ => chunk.repeat(LONG_FACTOR),
    };
    let mut rest = &payload[..];
    let mut opcode = match kind & BINARY {
        0 => WebSocketOpcode::Text,
        _ => WebSocketOpcode::Binary,
    };
    for len in source.chunk() {
        let scale = if kind & LONG == 0 { 1 } else { LONG_FACTOR };
        let (fragment, after) = rest.split_at((usize::from(*len) * scale).min(rest.len()));
        writer.frame(false, false, opcode, fragment);
        (rest, opcode) = (after, WebSocketOpcode::Continuation);
        if kind & CONTROL != 0 {
            let payload = &payload[..payload.len().min(usize::from(*len) % 126)];
            let payload = bytes::Bytes::copy_from_slice(payload);
            let (control, event) = match len % 2 {
                0 => (WebSocketOpcode::Ping, Incoming::Ping(payload.clone())),
                _ => (WebSocketOpcode::Pong, Incoming::Pong(payload.clone())),
            };
            writer.frame(true, false, control, &payload);
            sent.push(event);
        }
    }
    writer.frame(true, false, opcode, rest);
    sent.push(match String::from_utf8(payload) {
        Ok(text) if kind & BINARY == 0 => Incoming::Text(text.into()),
        Ok(text) => Incoming::Binary(text.into()),
        Err(error) => Incoming::Binary(error.into_bytes().into()),
    });
}

/// Writes one frame: its first byte with two bits of our own, and a payload.
fn frame(source: &mut Source<'_>, writer: &mut Writer) {
    let first = source.byte();
    let chunk = source.chunk();
    let payload = match first & LONG_FRAME {
        0 => chunk.to_vec(),
        _ => chunk.repeat(LONG_FACTOR),
    };
    let is_masked = writer.is_masked;
    writer.is_masked ^= first & WRONG_MASK != 0;
    let opcode = WebSocketOpcode::from_u8(first & 0x0F);
    writer.frame(first & 0x80 != 0, first & 0x40 != 0, opcode, &payload);
    writer.is_masked = is_masked;
}

/// What a sent close payload is received as, if it is a good one.
fn close_event(payload: &[u8]) -> Incoming {
    let frame = payload.split_first_chunk().map(|(code, reason)| {
        let reason = String::from_utf8_lossy(&reason[..reason.len().min(123)]).into_owned();
        CloseFrame::new(u16::from_be_bytes(*code), reason)
    });
    Incoming::Close(frame)
}

/// How tungstenite's reading ended.
#[derive(Debug)]
enum End {
    /// A Close came, or there was nothing more to read.
    Cut,
    Refused(tungstenite::Error),
}

fn read_theirs(role: TheirRole, limits: &Limits, wire: Vec<u8>) -> (Vec<Incoming>, End) {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError;

    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_frame_size(Some(limits.frame))
        .max_message_size(Some(limits.message));
    let mut socket = WebSocket::from_raw_socket(Wire(Cursor::new(wire)), role, Some(config));
    let mut events = Vec::new();
    loop {
        events.push(match socket.read() {
            Ok(Theirs::Text(text)) => Incoming::Text(text.as_str().into()),
            Ok(Theirs::Binary(bytes)) => Incoming::Binary(bytes),
            Ok(Theirs::Ping(bytes)) => Incoming::Ping(bytes),
            Ok(Theirs::Pong(bytes)) => Incoming::Pong(bytes),
            Ok(Theirs::Close(frame)) => {
                let frame = frame.map(|frame| {
                    let code = u16::from(frame.code);
                    CloseFrame::new(code, frame.reason.as_str())
                });
                events.push(Incoming::Close(frame));
                return (events, End::Cut);
            }
            Ok(Theirs::Frame(_)) => unreachable!("only written, never read"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, End::Cut);
            }
            Err(error) => return (events, End::Refused(error)),
        });
    }
}

/// Gives the stream and swallows what is answered.
struct Wire(Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
