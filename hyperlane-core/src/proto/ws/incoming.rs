//! The output of the WebSocket decoder: complete messages and control frames.

use bytes::Bytes;

use super::{CloseFrame, Message, Utf8Bytes, WebSocketOpcode};

/// The result of one call of [`Decoder::next`](super::Decoder::next).
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The number of input bytes consumed. If there is no event, this is the length of the whole input.
    pub consumed: usize,
    /// The message or control frame that the input completed.
    pub event: Option<Incoming>,
}

/// A message or control frame from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// A complete text message.
    Text(Utf8Bytes),
    /// A complete binary message.
    Binary(Bytes),
    /// A complete compressed message. The caller must inflate the message.
    Compressed(Compressed),
    /// A close frame. The decoder discards all input after the close frame (RFC 6455 §1.4).
    Close(Option<CloseFrame>),
    /// A ping. The answer is a pong with the same payload (RFC 6455 §5.5.2).
    Ping(Bytes),
    /// A pong (RFC 6455 §5.5.3).
    Pong(Bytes),
}

/// A message with RSV1, in its compressed form (RFC 7692 §6).
///
/// The payload may exceed the message limit by an eighth of the limit and 64 bytes, because compression makes some
/// messages longer. `deflate::Decompressor` (feature `deflate`) inflates the message, limits the length of the result,
/// and checks that text is UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a compressed message of {} bytes was not inflated", payload.len())]
pub struct Compressed {
    /// `Text` or `Binary`.
    pub opcode: WebSocketOpcode,
    /// The compressed bytes.
    pub payload: Bytes,
}

impl TryFrom<Incoming> for Message {
    type Error = Compressed;

    fn try_from(event: Incoming) -> Result<Self, Compressed> {
        Ok(match event {
            Incoming::Text(text) => Self::Text(text),
            Incoming::Binary(bytes) => Self::Binary(bytes),
            Incoming::Ping(bytes) => Self::Ping(bytes),
            Incoming::Pong(bytes) => Self::Pong(bytes),
            Incoming::Close(frame) => Self::Close(frame),
            Incoming::Compressed(message) => return Err(message),
        })
    }
}
