//! Answers of HTTP/2 that the program writes as text of HTTP/1.1.

use super::head::TextHead;
use crate::{
    conn::{driver::signals, link::Link},
    proto::http::{chunked::ChunkedDecoder, track::TextHeadBuffer},
};

/// The answer of a program that writes it as text of HTTP/1.1.
#[derive(Default)]
pub(crate) struct RawAnswer {
    /// The part of a head that was written so far.
    head: TextHeadBuffer,
    body: RawBody,
}

/// The framing of the body that the program writes.
#[derive(Default)]
enum RawBody {
    /// The final head is not complete.
    #[default]
    NotBegun,
    /// The data of the stream is what the program writes. `left` is the part of its length that was not written; `None`
    /// for a body without a length, and for a WebSocket.
    Plain { left: Option<u64> },
    /// The program writes chunks, whose data is the data of the stream.
    Chunked(ChunkedDecoder),
    /// The stream has ended.
    Ended,
}

impl RawAnswer {
    /// Returns whether the program has written an answer of known length to its end.
    fn is_whole(&self) -> bool {
        matches!(self.body, RawBody::Plain { left: Some(0) } | RawBody::Ended)
    }

    /// Returns whether a part of the body that the head announces was not written.
    pub(super) fn is_incomplete(&self) -> bool {
        match &self.body {
            RawBody::Plain { left } => left.is_some_and(|left| left > 0),
            RawBody::Chunked(_) => true,
            RawBody::NotBegun | RawBody::Ended => false,
        }
    }
}

/// Sends bytes that the program has written as an answer of HTTP/1.1: a head becomes the head of the stream, and the
/// body becomes its data. `is_head` is true for the method HEAD.
pub(crate) fn write_text(link: &Link, mut bytes: &[u8], is_head: bool) {
    let Some(mut raw) = link
        .lock_input()
        .reader
        .http2()
        .map(|stream| std::mem::take(&mut stream.raw))
    else {
        return;
    };
    let answer = raw.get_or_insert_default();
    while !bytes.is_empty() {
        match &mut answer.body {
            RawBody::NotBegun => {
                let taken = answer.head.take(bytes);
                bytes = bytes.get(taken..).unwrap_or_default();
                if !answer.head.is_complete() {
                    if !answer.head.could_be_http() {
                        return refuse_text(link);
                    }
                    continue;
                }
                let text = answer.head.take_text();
                match send_text_head(link, text, is_head) {
                    Some(Some(body)) => answer.body = body,
                    Some(None) => {}
                    None => return refuse_text(link),
                }
            }
            RawBody::Plain { left } => {
                write_data(link, bytes);
                if let Some(left) = left {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                bytes = &[];
            }
            RawBody::Chunked(decoder) => {
                let Ok(step) = decoder.decode(bytes) else {
                    return refuse_text(link);
                };
                write_data(link, step.data);
                let (consumed, is_done) = (step.consumed, step.done);
                bytes = bytes.get(consumed..).unwrap_or_default();
                if is_done {
                    answer.body = RawBody::Ended;
                }
            }
            RawBody::Ended => bytes = &[],
        }
    }
    let is_whole = raw.as_ref().is_some_and(|raw| raw.is_whole());
    if let Some(stream) = link.lock_input().reader.http2() {
        stream.raw = raw;
        if is_whole {
            stream.set_whole();
        }
    }
    if is_whole {
        link.lane.begin_backlog();
    }
}

/// Sends the head that the program has written. Returns the framing of the body that follows: `Some(None)` after an interim
/// head, `None` for text that is no head.
fn send_text_head(link: &Link, text: Vec<u8>, is_head: bool) -> Option<Option<RawBody>> {
    let mut head = TextHead::parse(text.into())?;
    let mut input = link.lock_input();
    let stream = input.reader.http2()?;
    let status = head.status.as_u16();
    if status == 101 {
        // Only an extended CONNECT opens a tunnel, and HTTP/2 has no 101 (RFC 9113 §8.6).
        if !stream.is_connect() {
            return None;
        }
        head.status = http::StatusCode::OK;
        stream.set_tunnel();
        let _ = stream.send_head(head.into_response(), false, None);
        return Some(Some(RawBody::Plain { left: None }));
    }
    if head.status.is_informational() {
        stream.send_interim(head.status, head.fields);
        return Some(None);
    }
    let ends = is_head || matches!(status, 204 | 304) || head.length == Some(0);
    let body = match head.is_chunked {
        _ if ends => RawBody::Ended,
        true => RawBody::Chunked(ChunkedDecoder::default()),
        false => RawBody::Plain { left: head.length },
    };
    // A stream that the client has cancelled is found by the next read.
    let _ = stream.send_head(head.into_response(), ends, None);
    Some(Some(body))
}

fn write_data(link: &Link, data: &[u8]) {
    if !data.is_empty() {
        // An error is ignored here. The next read or send reports it.
        let _ = link
            .lane()
            .compose(|cork| cork.bytes().extend_from_slice(data));
    }
}

/// Ends a stream whose program writes bytes that are no response.
#[cold]
fn refuse_text(link: &Link) {
    tracing::error!(
        peer = %link.peer(),
        "the handler wrote bytes that are no response: HTTP/2 cannot send them, and the stream is reset"
    );
    // The handler may end in this poll, before the signal is handled.
    if let Some(stream) = link.lock_input().reader.http2() {
        stream.set_cut();
    }
    link.driver.signal(signals::ABORT);
}
