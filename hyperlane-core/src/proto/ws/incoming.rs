//! What a decoder gives out.

use bytes::Bytes;

use super::{CloseFrame, Message, Utf8Bytes, WebSocketOpcode};

/// Tells what one call to [`Decoder::next`](super::Decoder::next) did.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the input are done with; all of them when there is no event.
    pub consumed: usize,
    /// The message or control frame that became complete.
    pub event: Option<Incoming>,
}

/// Carries what a peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// A whole text message.
    Text(Utf8Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A whole message that an extension has to inflate.
    Compressed(Compressed),
    /// The closing handshake; nothing after it is read (RFC 6455 §5.5.1).
    Close(Option<CloseFrame>),
    /// A ping to answer with its payload (RFC 6455 §5.5.2).
    Ping(Bytes),
    /// A pong (RFC 6455 §5.5.3).
    Pong(Bytes),
}

/// Carries a message that came with RSV1, as it was on the wire (RFC 7692 §6).
///
/// It may be an eighth longer than the message limit, as compression makes some messages longer. Whoever
/// inflates it (`deflate::Decompressor`, with feature `deflate`) bounds the result, and checks that text
/// is UTF-8.
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
