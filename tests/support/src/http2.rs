//! A client of HTTP/2 at frame level (RFC 9113): each byte that it sends is the test's.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;

use crate::{Client, bridge::http2_socket};

/// The first bytes of a client (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub mod kind {
    #![allow(missing_docs, reason = "the names of RFC 9113")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// `END_STREAM` of DATA and HEADERS, `ACK` of SETTINGS and PING.
pub const END_STREAM: u8 = 0x1;
/// `ACK` of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// `END_HEADERS` of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 0x4;

/// A frame that the server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream, 0 for the connection.
    pub stream: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Http2Frame {
    /// Returns whether the frame ends its stream.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    /// Returns the status of a HEADERS frame. The server's encoder writes it first.
    pub fn status(&self) -> Option<u16> {
        let mut payload = self.payload.as_slice();
        // A change of the size of the table comes before everything.
        while let [first @ 0x20..=0x3f, rest @ ..] = payload {
            let more = match first {
                0x3f => rest.iter().position(|byte| byte & 0x80 == 0)? + 1,
                _ => 0,
            };
            payload = rest.get(more..)?;
        }
        match (self.kind, payload) {
            (kind::HEADERS, [first @ 0x88..=0x8e, ..]) => {
                Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)])
            }
            // A literal value of the name `:status`, which is one of the static table.
            (kind::HEADERS, [0x48 | 0x08, length, value @ ..]) => {
                let value = value.get(..usize::from(length & 0x7F))?;
                match length & 0x80 {
                    0 => std::str::from_utf8(value).ok()?.parse().ok(),
                    _ => digits(value),
                }
            }
            _ => None,
        }
    }

    /// Returns the error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let from = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(
            self.payload.get(from..from + 4)?.try_into().ok()?,
        ))
    }
}

/// Decodes three digits in Huffman code (RFC 7541, appendix B).
fn digits(bytes: &[u8]) -> Option<u16> {
    let bits = bytes
        .iter()
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = bytes.len() * 8;
    let mut number = 0;
    for _ in 0..3 {
        let five = bits >> left.checked_sub(5)? & 0x1F;
        let (digit, length) = match five {
            0..=2 => (five, 5),
            _ => (
                (bits >> left.checked_sub(6)? & 0x3F).checked_sub(0x19)? + 3,
                6,
            ),
        };
        number = number * 10 + u16::try_from(digit).ok()?;
        left -= length;
    }
    Some(number)
}

/// Returns a frame of these parts.
pub fn http2_frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Returns a payload of SETTINGS.
pub fn http2_settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, value) in settings {
        bytes.extend(id.to_be_bytes());
        bytes.extend(value.to_be_bytes());
    }
    bytes
}

/// Returns a field as a literal that enters no table (RFC 7541 §6.2.2).
pub fn http2_field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = vec![0];
    for string in [name.as_ref(), value.as_ref()] {
        hpack_integer(&mut bytes, string.len());
        bytes.extend(string);
    }
    bytes
}

/// Appends an integer with a prefix of 7 bits (RFC 7541 §5.1).
fn hpack_integer(bytes: &mut Vec<u8>, number: usize) {
    let Some(mut rest) = number.checked_sub(0x7F) else {
        return bytes.push(u8::try_from(number).unwrap_or_default());
    };
    bytes.push(0x7F);
    while rest >= 0x80 {
        bytes.push(0x80 | u8::try_from(rest & 0x7F).unwrap_or_default());
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap_or_default());
}

/// Returns the fields of a request for a path of the host `a`.
pub fn http2_request(method: &str, path: &str) -> Vec<u8> {
    [
        http2_field(":method", method),
        http2_field(":scheme", "http"),
        http2_field(":path", path),
        http2_field(":authority", "a"),
    ]
    .concat()
}

/// Returns a GET as a frame.
pub fn http2_get(stream: u32, path: &str) -> Vec<u8> {
    let fields = http2_request("GET", path);
    http2_frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, fields)
}

impl Client {
    /// Connects and sends the preface of HTTP/2 with these settings.
    pub async fn http2(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::on(http2_socket(address).await.expect("connect"));
        let settings = http2_frame(kind::SETTINGS, 0, 0, http2_settings(settings));
        client.send([PREFACE, &settings].concat()).await;
        client
    }

    /// Reads a frame of HTTP/2; `None` at the end of the connection.
    pub async fn next_http2(&mut self) -> Option<Http2Frame> {
        while self.buffer.len() < 9 {
            if !self.fill().await {
                return None;
            }
        }
        let length = usize::from(self.buffer[0]) << 16
            | usize::from(self.buffer[1]) << 8
            | usize::from(self.buffer[2]);
        while self.buffer.len() < 9 + length {
            if !self.fill().await {
                return None;
            }
        }
        let bytes: Vec<u8> = self.buffer.drain(..9 + length).collect();
        let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
        Some(Http2Frame {
            kind: bytes[3],
            flags: bytes[4],
            stream,
            payload: bytes[9..].to_vec(),
        })
    }

    /// Sends a GET and returns status and body of its answer. Skips the frames of other streams.
    pub async fn get_http2(&mut self, stream: u32, path: &str) -> (u16, Vec<u8>) {
        self.send(http2_get(stream, path)).await;
        let (mut status, mut body) = (0, Vec::new());
        while let Some(frame) = self.next_http2().await {
            if frame.stream != stream {
                assert_ne!(frame.kind, kind::GOAWAY, "{frame:?}");
                continue;
            }
            match frame.kind {
                kind::HEADERS => status = frame.status().unwrap_or_default(),
                kind::DATA => body.extend(&frame.payload),
                other => panic!("frame {other} instead of an answer"),
            }
            if frame.ends_stream() {
                return (status, body);
            }
        }
        panic!("ended before the answer");
    }

    /// Sends bytes; returns false if the server has closed the connection.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }
}
