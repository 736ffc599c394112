//! Whole messages and control frames: the values that programs send and receive.

use std::borrow::Cow;
use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};

use super::{CloseFrame, Utf8Bytes, WebSocketOpcode};

/// A WebSocket message or control frame (RFC 6455 §5.5, §5.6).
///
/// Strings convert to text messages and byte strings to binary messages. Clones share the payload.
///
/// ```
/// use hyperlane_core::Message;
///
/// assert!(Message::from("hello").is_text());
/// assert!(Message::from(b"hello").is_binary());
/// assert_eq!(String::try_from(Message::from(b"hello")).unwrap(), "hello");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text message, always UTF-8.
    Text(Utf8Bytes),
    /// A binary message of any bytes.
    Binary(Bytes),
    /// A ping with at most 125 bytes of payload.
    Ping(Bytes),
    /// A pong with at most 125 bytes of payload.
    Pong(Bytes),
    /// A close frame. The value is `None` if the frame has no code and no reason.
    Close(Option<CloseFrame>),
}

impl Message {
    /// Creates a text message.
    pub fn text(text: impl Into<Utf8Bytes>) -> Self {
        Self::Text(text.into())
    }

    /// Creates a binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// Returns the opcode of the message's frame.
    pub const fn opcode(&self) -> WebSocketOpcode {
        match self {
            Self::Text(_) => WebSocketOpcode::Text,
            Self::Binary(_) => WebSocketOpcode::Binary,
            Self::Ping(_) => WebSocketOpcode::Ping,
            Self::Pong(_) => WebSocketOpcode::Pong,
            Self::Close(_) => WebSocketOpcode::Close,
        }
    }

    /// Borrows the payload, or the reason of a close frame.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes,
            Self::Close(frame) => frame.as_ref().map_or(&[], |frame| frame.reason.as_bytes()),
        }
    }

    /// Returns the payload, or the reason of a close frame, without a copy.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes,
            Self::Close(frame) => frame.map_or_else(Bytes::new, |frame| frame.reason.into_bytes()),
        }
    }

    /// Borrows the payload, or the reason of a close frame, as text.
    ///
    /// # Errors
    ///
    /// Returns [`MessageError::NotUtf8`] if the payload is not UTF-8. A text message never returns this error.
    pub fn to_str(&self) -> Result<&str, MessageError> {
        simdutf8::basic::from_utf8(self.as_bytes()).map_err(|_| MessageError::NotUtf8)
    }

    /// Returns the length of the payload, or of the reason of a close frame, in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Returns whether the payload, or the reason of a close frame, is empty.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Returns whether this is `Text`.
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Returns whether this is `Binary`.
    pub const fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_))
    }

    /// Returns whether this is `Ping`.
    pub const fn is_ping(&self) -> bool {
        matches!(self, Self::Ping(_))
    }

    /// Returns whether this is `Pong`.
    pub const fn is_pong(&self) -> bool {
        matches!(self, Self::Pong(_))
    }

    /// Returns whether this is `Close`.
    pub const fn is_close(&self) -> bool {
        matches!(self, Self::Close(_))
    }

    /// Returns whether this is `Text` or `Binary`.
    pub const fn is_data(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Binary(_))
    }

    /// Returns whether this is `Ping`, `Pong` or `Close`.
    pub const fn is_control(&self) -> bool {
        !self.is_data()
    }
}

/// Writes the payload of a text message, and of a binary message that is UTF-8. Writes the length of other binary
/// messages. Writes the kind of a control frame, with the code and reason of a close frame.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Binary(bytes) => match self.to_str() {
                Ok(text) => f.pad(text),
                Err(_) => write!(f, "<{} bytes>", bytes.len()),
            },
            Self::Ping(_) => f.pad("ping"),
            Self::Pong(_) => f.pad("pong"),
            Self::Close(None) => f.pad("close"),
            Self::Close(Some(frame)) => write!(f, "close {frame}"),
        }
    }
}

/// The reason why a message cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The bytes are not UTF-8.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// The message is a ping, pong or close frame.
    #[error("a control frame carries no message")]
    NotData,
}

impl From<MessageError> for io::Error {
    fn from(error: MessageError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

macro_rules! from {
    ($variant:ident: $($source:ty),+ $(,)?) => {
        $(impl From<$source> for Message {
            fn from(source: $source) -> Self {
                Self::$variant(source.into())
            }
        })+
    };
}

from!(Text: String, &str, &String, Box<str>, Cow<'_, str>, Utf8Bytes);
from!(Binary: Vec<u8>, Box<[u8]>, Bytes, BytesMut);

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl From<&Vec<u8>> for Message {
    fn from(bytes: &Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<[u8; N]> for Message {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl TryFrom<Message> for Bytes {
    type Error = MessageError;

    fn try_from(message: Message) -> Result<Self, MessageError> {
        match message.is_data() {
            true => Ok(message.into_bytes()),
            false => Err(MessageError::NotData),
        }
    }
}

impl TryFrom<Message> for Vec<u8> {
    type Error = MessageError;

    fn try_from(message: Message) -> Result<Self, MessageError> {
        Bytes::try_from(message).map(Self::from)
    }
}

impl TryFrom<Message> for Utf8Bytes {
    type Error = MessageError;

    fn try_from(message: Message) -> Result<Self, MessageError> {
        match message {
            Message::Text(text) => Ok(text),
            other => Bytes::try_from(other)?.try_into(),
        }
    }
}

impl TryFrom<Message> for String {
    type Error = MessageError;

    fn try_from(message: Message) -> Result<Self, MessageError> {
        Utf8Bytes::try_from(message).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_text_and_byte_strings_are_binary() {
        let texts: [Message; 3] = ["x".into(), String::from("x").into(), Cow::from("x").into()];
        for text in texts {
            assert_eq!(text, Message::Text("x".into()));
        }
        let binaries: [Message; 4] = [
            b"x".into(),
            (&b"x"[..]).into(),
            vec![b'x'].into(),
            Bytes::from("x").into(),
        ];
        for binary in binaries {
            assert_eq!(binary, Message::Binary(Bytes::from_static(b"x")));
        }
    }

    #[test]
    fn data_converts_back_and_control_frames_do_not() {
        assert_eq!(String::try_from(Message::from("a")), Ok("a".into()));
        assert_eq!(Vec::try_from(Message::from("a")), Ok(b"a".to_vec()));
        assert_eq!(
            String::try_from(Message::from(b"\xff")),
            Err(MessageError::NotUtf8)
        );
        for control in [Message::Ping(Bytes::new()), Message::Close(None)] {
            assert_eq!(Vec::try_from(control.clone()), Err(MessageError::NotData));
            assert_eq!(String::try_from(control), Err(MessageError::NotData));
        }
    }

    #[test]
    fn display_shows_what_a_log_needs() {
        let close = Message::Close(Some(CloseFrame::new(1000, "done")));
        for (message, shown) in [
            (Message::from("text"), "text"),
            (Message::from(b"text"), "text"),
            (Message::from(b"\xff\x00"), "<2 bytes>"),
            (Message::Ping(Bytes::from_static(b"x")), "ping"),
            (Message::Close(None), "close"),
            (close, "close 1000 (normal closure): done"),
        ] {
            assert_eq!(message.to_string(), shown);
        }
    }
}
