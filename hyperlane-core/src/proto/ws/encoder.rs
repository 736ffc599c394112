//! Encoding of messages into bytes. Each message becomes one unfragmented frame (RFC 6455 §5). Only [`encode_frame`]
//! can also encode a fragment.

use bytes::Bytes;

use super::frame::{EncodedHeader, MAX_CONTROL_PAYLOAD, encode_header};
use super::{CloseCode, CloseFrame, Message, WebSocketOpcode, close, mask};

/// Appends a message to `out` as a server sends it, unmasked.
///
/// Shortens the payload of a ping or pong to at most 125 bytes. Shortens a close reason to at most 123 bytes, without
/// cutting a character. If the close code must not be sent, encodes a close frame without code and reason.
pub fn encode_message(message: &Message, out: &mut Vec<u8>) {
    encode_with(message, None, out);
}

/// Appends a message to `out` as a client sends it, masked with `key`. Treats control frames like [`encode_message`].
///
/// A client needs a fresh, unpredictable key for every frame (RFC 6455 §5.3).
pub fn encode_masked_message(message: &Message, key: [u8; 4], out: &mut Vec<u8>) {
    encode_with(message, Some(key), out);
}

/// Encodes a message as a server sends it, into bytes that many connections can share.
///
/// Returns the same bytes as [`encode_message`], in one allocation of exactly the frame's size.
///
/// ```
/// use hyperlane_core::{Message, proto::ws::encode_to_bytes};
///
/// let frame = encode_to_bytes(&Message::from("Hello"));
/// assert_eq!(frame.as_ref(), b"\x81\x05Hello");
/// ```
pub fn encode_to_bytes(message: &Message) -> Bytes {
    let mut out = Vec::new();
    encode_with(message, None, &mut out);
    Bytes::from(out)
}

/// Encodes the header of a server's unfragmented frame. The caller can then send a large payload without a copy.
pub fn frame_head(opcode: WebSocketOpcode, payload_len: usize) -> EncodedHeader {
    encode_header(true, false, opcode, payload_len as u64, None)
}

/// Appends one frame of any kind, for fragments and extensions. The caller must follow the rules of RFC 6455.
pub fn encode_frame(
    fin: bool,
    rsv1: bool,
    opcode: WebSocketOpcode,
    payload: &[u8],
    key: Option<[u8; 4]>,
    out: &mut Vec<u8>,
) {
    let header = encode_header(fin, rsv1, opcode, payload.len() as u64, key);
    // An empty buffer grows to exactly the length of this frame. A buffer with earlier frames grows by doubling.
    let len = header.len() + payload.len();
    match out.is_empty() {
        true => out.reserve_exact(len),
        false => out.reserve(len),
    }
    out.extend_from_slice(&header);
    match key {
        Some(key) => mask::copy(payload, key, 0, out),
        None => out.extend_from_slice(payload),
    }
}

/// Appends a server's close frame to `out`. Like [`encode_message`], shortens the reason, and omits code and reason if
/// the code must not be sent.
pub fn encode_close(code: impl Into<CloseCode>, reason: &str, out: &mut Vec<u8>) {
    encode_close_frame(code.into(), reason, None, out);
}

/// Appends a message. Without a `key`, encodes the message as a server sends it. With a `key`, encodes the message as a
/// client sends it.
pub(super) fn encode_with(message: &Message, key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let payload = match message {
        Message::Close(Some(CloseFrame { code, reason })) => {
            return encode_close_frame(*code, reason, key, out);
        }
        Message::Close(None) => &[],
        Message::Ping(bytes) | Message::Pong(bytes) => {
            bytes.get(..MAX_CONTROL_PAYLOAD).unwrap_or(bytes)
        }
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
    };
    encode_frame(true, false, message.opcode(), payload, key, out);
}

fn encode_close_frame(code: CloseCode, reason: &str, key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    if code.is_sendable() {
        payload.extend_from_slice(&code.get().to_be_bytes());
        payload.extend_from_slice(close::fit_reason(reason).as_bytes());
    }
    encode_frame(true, false, WebSocketOpcode::Close, &payload, key, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: impl Into<Message>, expected: &[u8]) {
        let message = message.into();
        let mut out = b"kept".to_vec();
        encode_message(&message, &mut out);
        assert_eq!(out, [b"kept", expected].concat());
        assert_eq!(encode_to_bytes(&message), expected);
    }

    #[test]
    fn messages_become_one_unmasked_frame() {
        check("Hello", b"\x81\x05Hello");
        check("", b"\x81\x00");
        check(b"\x01\x02", b"\x82\x02\x01\x02");
        check(vec![7; 256], &[b"\x82\x7e\x01\x00", &[7; 256][..]].concat());
        check(
            vec![7; 65536],
            &[b"\x82\x7f\0\0\0\0\0\x01\0\0", &[7; 65536][..]].concat(),
        );
        check(Message::Ping(Bytes::from_static(b"p")), b"\x89\x01p");
        check(Message::Pong(Bytes::new()), b"\x8a\x00");
        check(Message::Close(None), b"\x88\x00");
        check(
            Message::Close(Some(CloseFrame::new(1001, "bye"))),
            b"\x88\x05\x03\xe9bye",
        );
    }

    #[test]
    fn a_clients_frame_is_masked_as_in_the_standard() {
        let mut out = Vec::new();
        encode_masked_message(&"Hello".into(), [0x37, 0xfa, 0x21, 0x3d], &mut out);
        assert_eq!(out, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    fn control_frames_never_exceed_125_bytes() {
        let long = Message::Ping(Bytes::from(vec![1; 200]));
        assert_eq!(encode_to_bytes(&long).len(), 2 + 125);
        let mut out = Vec::new();
        encode_close(CloseCode::NORMAL, &"é".repeat(100), &mut out);
        assert_eq!(out.len(), 2 + 2 + 122);
    }

    #[test]
    fn a_code_that_must_not_be_sent_is_left_out() {
        for code in [0, 999, 1005, 1006, 1015, 2999, 5000] {
            check(
                Message::Close(Some(CloseFrame::new(code, "reason"))),
                b"\x88\x00",
            );
        }
    }

    #[test]
    fn a_head_and_its_payload_make_the_frame() {
        let frame = encode_to_bytes(&Message::from(vec![9; 300]));
        let head = frame_head(WebSocketOpcode::Binary, 300);
        assert_eq!(frame, [&head[..], &[9; 300][..]].concat());
    }
}
