//! Parts of reading a body that need no state of it.

use std::str;

use crate::{
    conn::{
        link::Link,
        send::{Limit, Order, Payload},
    },
    http::Headers,
    proto::http::{chunked::ChunkedDecoder, write::CONTINUE},
};

/// Maximum number of unread bytes of a body with which an answer still keeps the connection. The server reads and drops
/// these bytes later. To drop more bytes would cost more than a new connection.
pub(super) const MAX_DRAIN: u64 = 64 * 1024;

/// Returns whether a chunked body ends within `unread` after at most [`MAX_DRAIN`] bytes of data.
pub(super) fn ends_within_limit(mut decoder: ChunkedDecoder, mut unread: &[u8]) -> bool {
    let mut length = 0;
    while let Ok(step) = decoder.decode(unread) {
        length += step.data.len() as u64;
        unread = unread.get(step.consumed..).unwrap_or_default();
        if step.done || unread.is_empty() {
            return step.done && length <= MAX_DRAIN;
        }
    }
    false
}

/// Returns the fields of a trailer section. The decoder has checked its lines.
pub(super) fn fields(section: &[u8]) -> Headers {
    let mut fields = Headers::new();
    for line in section.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        if let (Some(Ok(name)), Some(value)) = (parts.next().map(str::from_utf8), parts.next()) {
            fields.append_parsed(name, value.trim_ascii());
        }
    }
    fields
}

/// Tells the client to send the body (RFC 9110 §15.2.1). An error is ignored here: the next read or send reports it.
pub(super) fn send_continue(connection: &Link) {
    #[cfg(feature = "http2")]
    if connection.lane.is_stream {
        if let Some(stream) = connection.lock_input().reader.http2() {
            stream.send_interim(http::StatusCode::CONTINUE, http::HeaderMap::new());
        }
        return;
    }
    let _ = connection
        .lane()
        .send(Payload::Copied(CONTINUE), Order::Own, Limit::None);
}
