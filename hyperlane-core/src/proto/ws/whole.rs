//! The short way from a frame to a message: for a text or binary message of a client that is whole in the read buffer,
//! in one frame and not compressed.
//!
//! Nearly all messages are of this kind. The short way has only the checks that they need. It leaves everything else to
//! [`Decoder::next`](super::Decoder::next), also all violations.

use bytes::Bytes;

use super::frame::{FIN, LENGTH_16, MASKED};
use super::{Message, Utf8Bytes, WebSocketOpcode, mask};

/// Decodes a message at the start of the input. Returns the message and the length of its frame.
///
/// Returns `None` for a frame of another kind, for a violation, for a length of 64 bits, for a payload of `below` or
/// more bytes, if the frame is not complete, and if `admit` returns false. `admit` is called after all checks except
/// that of the text.
// Inlined, the message is not moved.
#[inline(always)]
pub(super) fn decode(
    input: &[u8],
    below: u32,
    admit: impl FnOnce() -> bool,
) -> Option<(Message, usize)> {
    const TEXT: u8 = FIN | WebSocketOpcode::Text.to_u8();
    const BINARY: u8 = FIN | WebSocketOpcode::Binary.to_u8();
    let (&[first, second], rest) = input.split_first_chunk()?;
    let is_text = match first {
        TEXT => true,
        BINARY => false,
        _ => return None,
    };
    // The length of an unmasked frame has no bit `MASKED`, and so becomes larger than `LENGTH_16`.
    let (length, rest) = match second ^ MASKED {
        short @ ..LENGTH_16 => (u32::from(short), rest),
        LENGTH_16 => {
            let (length, rest) = rest.split_first_chunk()?;
            let length = u16::from_be_bytes(*length);
            if length < u16::from(LENGTH_16) {
                return None;
            }
            (u32::from(length), rest)
        }
        _ => return None,
    };
    let (&key, rest) = rest.split_first_chunk()?;
    let payload = rest.get(..length as usize)?;
    if length >= below || !admit() {
        return None;
    }
    let plain = mask::copied(payload, key);
    if is_text && simdutf8::basic::from_utf8(&plain).is_err() {
        return None;
    }
    let plain = Bytes::from(plain);
    let message = match is_text {
        true => Message::Text(Utf8Bytes::checked(plain)),
        false => Message::Binary(plain),
    };
    Some((message, input.len() - rest.len() + length as usize))
}
