//! Bodies of requests and messages of WebSockets as one type.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    str,
};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::proto::ws::{FramePayload, Message};

/// The body of a response, as returned by [`Response::get_body`](super::Response::get_body), or the encoded bytes of a
/// whole response, head included, as returned by [`Response::build`](super::Response::build).
pub type ResponseBody = Vec<u8>;

/// The body of a request, or one message of a WebSocket.
///
/// Clones share the bytes, so a clone is cheap.
///
/// ```
/// use hyperlane_core::RequestBody;
///
/// let body = RequestBody::from("[1, 2]");
/// assert_eq!(body.len(), 6);
/// assert_eq!(body.json::<Vec<u8>>()?, [1, 2]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct RequestBody {
    bytes: Bytes,
    /// True for a binary WebSocket message. If the program sends this body to a WebSocket, the new message is binary
    /// too, even if the bytes are UTF-8.
    binary: bool,
}

impl RequestBody {
    /// Creates an empty body without an allocation.
    pub const fn new() -> Self {
        Self {
            bytes: Bytes::new(),
            binary: false,
        }
    }

    /// Returns whether this is the value of [`new`](Self::new).
    pub(super) fn is_unset(&self) -> bool {
        self.bytes.is_empty() && !self.binary
    }

    /// Creates a body from a WebSocket message.
    pub(crate) fn from_message(message: Message) -> Self {
        Self {
            binary: message.is_binary(),
            bytes: message.into_bytes(),
        }
    }

    /// Returns whether the body is a binary WebSocket message.
    pub const fn is_binary_message(&self) -> bool {
        self.binary
    }

    /// Borrows the body as text.
    ///
    /// # Errors
    /// Returns [`str::Utf8Error`] if the body is not UTF-8.
    pub fn to_str(&self) -> Result<&str, str::Utf8Error> {
        str::from_utf8(&self.bytes)
    }

    /// Returns the body as text; invalid UTF-8 becomes U+FFFD.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// Deserializes the body as JSON.
    ///
    /// # Errors
    /// Returns the error of `serde_json` if the body is not JSON or does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }
}

impl Deref for RequestBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for RequestBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        Self {
            bytes,
            binary: false,
        }
    }
}

impl From<Vec<u8>> for RequestBody {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for RequestBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for RequestBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<RequestBody> for Bytes {
    fn from(body: RequestBody) -> Self {
        body.bytes
    }
}

impl From<RequestBody> for Vec<u8> {
    fn from(body: RequestBody) -> Self {
        body.bytes.into()
    }
}

/// Compares the bytes.
impl PartialEq for RequestBody {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for RequestBody {}

impl Hash for RequestBody {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl FramePayload for RequestBody {
    fn payload(&self) -> &[u8] {
        &self.bytes
    }

    fn is_binary(&self) -> bool {
        // The body of a request can have any bytes, but a text frame must be UTF-8 (RFC 6455 §5.6). A body that is not
        // UTF-8 therefore becomes a binary frame.
        self.binary || self.to_str().is_err()
    }
}

impl PartialEq<[u8]> for RequestBody {
    fn eq(&self, other: &[u8]) -> bool {
        self.bytes == other
    }
}

impl PartialEq<&[u8]> for RequestBody {
    fn eq(&self, other: &&[u8]) -> bool {
        self.bytes == *other
    }
}

impl PartialEq<str> for RequestBody {
    fn eq(&self, other: &str) -> bool {
        self.bytes == other
    }
}

impl PartialEq<&str> for RequestBody {
    fn eq(&self, other: &&str) -> bool {
        self.bytes == *other
    }
}

impl PartialEq<Vec<u8>> for RequestBody {
    fn eq(&self, other: &Vec<u8>) -> bool {
        self.bytes == other
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_and_conversions_share_the_bytes() {
        let body = RequestBody::from(vec![1, 2, 3]);
        let start = body.as_ptr();
        assert_eq!(body.clone().as_ptr(), start);
        assert_eq!(Bytes::from(body).as_ptr(), start);
    }

    #[test]
    fn compares_with_bytes_and_text() {
        let body = RequestBody::from("abc".to_owned());
        assert_eq!(body, "abc");
        assert_eq!(body, *"abc");
        assert_eq!(body, b"abc"[..]);
        assert_eq!(body, vec![b'a', b'b', b'c']);
        assert!(body != "abd" && body != RequestBody::new());
        assert_eq!(format!("{body:?}"), "b\"abc\"");
    }

    #[test]
    fn bytes_that_are_no_text_make_a_binary_frame() {
        assert!(RequestBody::from(vec![b'a', 0xFF]).is_binary());
        assert!(!RequestBody::from("ä".to_owned()).is_binary());
        assert!(!RequestBody::new().is_binary());
    }

    #[test]
    fn text_and_json_report_what_is_wrong() {
        let body = RequestBody::from(vec![b'a', 0xFF]);
        assert!(body.to_str().is_err());
        assert_eq!(body.to_string_lossy(), "a\u{FFFD}");
        assert!(body.json::<u8>().is_err());
        assert_eq!(RequestBody::from("7").json::<u8>().unwrap(), 7);
    }
}
