//! Frames as values, for handlers that write frames to the stream themselves.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::{WebSocketOpcode, encode_frame, frame, handshake, mask};

/// A frame with its unmasked payload. The type also has functions that encode frames.
///
/// ```
/// use hyperlane_core::WebSocketFrame;
///
/// let frames = WebSocketFrame::create_frame_list("Hello");
/// assert_eq!(frames, [b"\x81\x05Hello"]);
/// let (frame, len) = WebSocketFrame::decode_ws_frame(&frames[0]).unwrap();
/// assert_eq!((frame.get_payload_data(), len), (&b"Hello"[..], 7));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketFrame {
    fin: bool,
    opcode: WebSocketOpcode,
    mask: bool,
    payload_data: Vec<u8>,
}

/// A value that can be the payload of a data frame.
pub trait FramePayload {
    /// Borrows the bytes.
    fn payload(&self) -> &[u8];

    /// Returns whether the frame with this payload is binary. Default: true if the bytes are not UTF-8.
    fn is_binary(&self) -> bool {
        simdutf8::basic::from_utf8(self.payload()).is_err()
    }
}

macro_rules! frame_payload {
    ($($payload:ty),*) => {$(
        impl FramePayload for $payload {
            fn payload(&self) -> &[u8] {
                self.as_ref()
            }
        }
    )*};
}

frame_payload!(
    [u8],
    Vec<u8>,
    str,
    String,
    bytes::Bytes,
    Box<[u8]>,
    std::borrow::Cow<'_, [u8]>
);

impl<const N: usize> FramePayload for [u8; N] {
    fn payload(&self) -> &[u8] {
        self
    }
}

impl<T: FramePayload + ?Sized> FramePayload for &T {
    fn payload(&self) -> &[u8] {
        (**self).payload()
    }

    fn is_binary(&self) -> bool {
        (**self).is_binary()
    }
}

impl WebSocketFrame {
    /// Encodes `data` as a server sends it, always as one frame with FIN. The frame is binary if
    /// [`FramePayload::is_binary`] returns true, and otherwise a text frame. For the types of this library, that is:
    ///
    /// - A [`RequestBody`](crate::RequestBody) becomes a binary frame if it is a received binary message or is not
    ///   UTF-8.
    /// - Any other type becomes a binary frame if the bytes are not UTF-8.
    ///
    /// The function never splits a message into fragments, because other tasks may write to the same connection. They
    /// could send another message between two fragments, but RFC 6455 §5.4 forbids this.
    pub fn create_frame_list(data: impl FramePayload) -> Vec<Vec<u8>> {
        let opcode = if data.is_binary() {
            WebSocketOpcode::Binary
        } else {
            WebSocketOpcode::Text
        };
        let data = data.payload();
        let mut out = Vec::new();
        encode_frame(true, false, opcode, data, None, &mut out);
        vec![out]
    }

    /// Decodes the first frame of `data`. Returns the frame and its length on the wire, or `None` if the frame is
    /// incomplete or breaks RFC 6455 §5.2.
    pub fn decode_ws_frame(data: impl AsRef<[u8]>) -> Option<(Self, usize)> {
        let data = data.as_ref();
        let (header, header_len) = frame::parse(data).ok()??;
        let len = header_len.checked_add(usize::try_from(header.length).ok()?)?;
        let mut payload_data = data.get(header_len..len)?.to_vec();
        if let Some(key) = header.mask {
            mask::apply(&mut payload_data, key, 0);
        }
        let frame = Self {
            fin: header.fin,
            opcode: header.opcode,
            mask: header.mask.is_some(),
            payload_data,
        };
        Some((frame, len))
    }

    /// Computes the `Sec-WebSocket-Accept` value for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
    ///
    /// Accepts any string as the key. [`try_generate_accept_key`](Self::try_generate_accept_key) checks the key.
    pub fn generate_accept_key(key: impl AsRef<str>) -> String {
        handshake::accept_key(key.as_ref())
            .into_iter()
            .map(char::from)
            .collect()
    }

    /// Computes the `Sec-WebSocket-Accept` value; `None` if `key` is not 16 bytes in base64 (RFC 6455 §4.1).
    pub fn try_generate_accept_key(key: impl AsRef<str>) -> Option<String> {
        let key = key.as_ref();
        handshake::is_valid_key(key.as_bytes()).then(|| Self::generate_accept_key(key))
    }

    /// Returns the SHA-1 hash of `data`, for the handshake. SHA-1 is not secure for other uses.
    pub fn sha1(data: impl AsRef<[u8]>) -> [u8; 20] {
        Sha1::digest(data).into()
    }

    /// Encodes `data` in base64 with padding (RFC 4648 §4).
    pub fn base64_encode(data: impl AsRef<[u8]>) -> String {
        STANDARD.encode(data)
    }

    /// Returns the payload, unmasked.
    pub fn into_payload_data(self) -> Vec<u8> {
        self.payload_data
    }
}

/// Methods under the names that published Hyperlane programs call.
impl WebSocketFrame {
    /// Returns the same text as [`base64_encode`](Self::base64_encode). Never returns `None`.
    pub fn try_base64_encode(data: impl AsRef<[u8]>) -> Option<String> {
        Some(Self::base64_encode(data))
    }

    /// Returns whether the frame is the last of its message.
    pub const fn get_fin(&self) -> bool {
        self.fin
    }

    /// Returns the opcode.
    pub const fn get_opcode(&self) -> WebSocketOpcode {
        self.opcode
    }

    /// Returns whether the frame was masked on the wire.
    pub const fn get_mask(&self) -> bool {
        self.mask
    }

    /// Borrows the payload, unmasked.
    pub fn get_payload_data(&self) -> &[u8] {
        &self.payload_data
    }

    /// Returns whether this is a continuation frame.
    pub const fn is_continuation_opcode(&self) -> bool {
        self.opcode.is_continuation()
    }

    /// Returns whether this is a text frame.
    pub const fn is_text_opcode(&self) -> bool {
        self.opcode.is_text()
    }

    /// Returns whether this is a binary frame.
    pub const fn is_binary_opcode(&self) -> bool {
        self.opcode.is_binary()
    }

    /// Returns whether this is a close frame.
    pub const fn is_close_opcode(&self) -> bool {
        self.opcode.is_close()
    }

    /// Returns whether this is a ping.
    pub const fn is_ping_opcode(&self) -> bool {
        self.opcode.is_ping()
    }

    /// Returns whether this is a pong.
    pub const fn is_pong_opcode(&self) -> bool {
        self.opcode.is_pong()
    }

    /// Returns whether the opcode is reserved. A decoded frame never has a reserved opcode.
    pub const fn is_reserved_opcode(&self) -> bool {
        self.opcode.is_reserved()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_becomes_one_frame_of_its_kind() {
        for (data, expected) in [
            (&b""[..], &b"\x81\x00"[..]),
            (b"text", b"\x81\x04text"),
            (b"\xff", b"\x82\x01\xff"),
        ] {
            assert_eq!(WebSocketFrame::create_frame_list(data), [expected]);
        }
        let large = WebSocketFrame::create_frame_list("é".repeat(100_000));
        assert_eq!(large.len(), 1);
        assert_eq!(large[0].len(), 10 + 200_000);
    }

    #[test]
    fn decoding_unmasks_and_needs_a_whole_frame() {
        let wire = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58rest";
        let (frame, len) = WebSocketFrame::decode_ws_frame(wire).unwrap();
        assert!(frame.get_fin() && frame.get_mask() && frame.is_text_opcode());
        assert_eq!((frame.into_payload_data(), len), (b"Hello".to_vec(), 11));
        for cut in 0..11 {
            assert_eq!(WebSocketFrame::decode_ws_frame(&wire[..cut]), None);
        }
        for length in [0xFF, 0x7F] {
            let huge = [&[0x82, 0xFF, length], &[0xFF; 11][..]].concat();
            assert_eq!(WebSocketFrame::decode_ws_frame(huge), None);
        }
    }

    #[test]
    fn accept_keys_never_panic() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert_eq!(WebSocketFrame::generate_accept_key(key), accept);
        assert_eq!(
            WebSocketFrame::try_generate_accept_key(key).as_deref(),
            Some(accept)
        );
        assert_eq!(WebSocketFrame::generate_accept_key("").len(), 28);
        assert_eq!(WebSocketFrame::try_generate_accept_key("short"), None);
        let hash = WebSocketFrame::sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        assert_eq!(WebSocketFrame::base64_encode(hash), accept);
        assert_eq!(
            WebSocketFrame::try_base64_encode(hash).as_deref(),
            Some(accept)
        );
    }
}
