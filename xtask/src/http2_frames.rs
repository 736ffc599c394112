//! Frames of HTTP/2 (RFC 9113 §4) and fields of HPACK, for the clients of the tasks.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;
pub(crate) const ACK: u8 = 1;

/// Returns a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len())
        .unwrap_or_default()
        .to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Returns the fields of a request.
pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    [
        field(":method", method.as_bytes()),
        field(":scheme", b"http"),
        field(":path", path.as_bytes()),
        field(":authority", b"localhost"),
    ]
    .concat()
}

/// Returns a literal field that enters no table.
pub(crate) fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name.as_bytes(), value] {
        // An integer with a prefix of seven bits.
        match text.len().checked_sub(0x7F) {
            None => bytes.extend(u8::try_from(text.len())),
            Some(mut rest) => {
                bytes.push(0x7F);
                while rest >= 0x80 {
                    bytes.extend(u8::try_from(0x80 | (rest & 0x7F)));
                    rest >>= 7;
                }
                bytes.extend(u8::try_from(rest));
            }
        }
        bytes.extend(text);
    }
    bytes
}
