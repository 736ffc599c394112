//! Answers of HTTP/2 that the program writes as text of HTTP/1.1.

use crate::conn::{driver::signals, link::Link};
use crate::proto::http::chunked::ChunkedDecoder;

use super::head::TextHead;

/// Maximum length of a head that the program writes as text, in bytes.
const MAX_TEXT_HEAD: usize = 64 * 1024;

/// The answer of a program that writes it as text of HTTP/1.1.
#[derive(Default)]
pub(crate) struct RawAnswer {
    /// The part of a head that was written so far.
    head: Vec<u8>,
    body: RawBody,
}

/// The framing of the body that the program writes.
#[derive(Default)]
enum RawBody {
    /// The final head is not complete.
    #[default]
    NotBegun,
    /// The data of the stream is what the program writes.
    Plain,
    /// The program writes chunks, whose data is the data of the stream.
    Chunked(ChunkedDecoder),
    /// The stream has ended.
    Ended,
}

impl Link {
    /// Sends bytes that the program has written as an answer of HTTP/1.1: a head becomes the head of the stream, and the
    /// body becomes its data. `is_head` is true for the method HEAD.
    pub(crate) fn write_text_http2(&self, mut bytes: &[u8], is_head: bool) {
        let Some(mut raw) = self
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
                    let taken = take_text_head(&mut answer.head, bytes);
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if !answer.head.ends_with(b"\r\n\r\n") {
                        if answer.head.len() > MAX_TEXT_HEAD || !could_be_http(&answer.head) {
                            return refuse_text(self);
                        }
                        continue;
                    }
                    let text = std::mem::take(&mut answer.head);
                    match send_text_head(self, text, is_head) {
                        Some(Some(body)) => answer.body = body,
                        Some(None) => {}
                        None => return refuse_text(self),
                    }
                }
                RawBody::Plain => {
                    write_data(self, bytes);
                    bytes = &[];
                }
                RawBody::Chunked(decoder) => {
                    let Ok(step) = decoder.decode(bytes) else {
                        return refuse_text(self);
                    };
                    write_data(self, step.data);
                    let (consumed, is_done) = (step.consumed, step.done);
                    bytes = bytes.get(consumed..).unwrap_or_default();
                    if is_done {
                        answer.body = RawBody::Ended;
                    }
                }
                RawBody::Ended => bytes = &[],
            }
        }
        if let Some(stream) = self.lock_input().reader.http2() {
            stream.raw = raw;
        }
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
        head.status = http::StatusCode::OK;
        stream.set_tunnel();
        let _ = stream.send_head(head.into_response(), false, None);
        return Some(Some(RawBody::Plain));
    }
    if head.status.is_informational() {
        stream.send_interim(head.status, head.fields);
        return Some(None);
    }
    let ends = is_head || matches!(status, 204 | 304) || head.length == Some(0);
    let body = match head.is_chunked {
        _ if ends => RawBody::Ended,
        true => RawBody::Chunked(ChunkedDecoder::default()),
        false => RawBody::Plain,
    };
    // A stream that the client has cancelled is found by the next read.
    let _ = stream.send_head(head.into_response(), ends, None);
    Some(Some(body))
}

/// Moves the bytes of a head from `bytes` to `head`, up to its empty line. Returns their number.
fn take_text_head(head: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let known = head.len();
    let room = (MAX_TEXT_HEAD + 1).saturating_sub(known);
    head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    let from = known.saturating_sub(3);
    let end = memchr::memmem::find(head.get(from..).unwrap_or_default(), b"\r\n\r\n");
    match end {
        Some(at) => {
            head.truncate(from + at + 4);
            head.len() - known
        }
        None => bytes.len().min(room),
    }
}

fn could_be_http(bytes: &[u8]) -> bool {
    const HTTP: &[u8] = b"HTTP/1.";
    bytes.starts_with(HTTP) || HTTP.starts_with(bytes)
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
        "the handler wrote bytes that are no HTTP/1.1 response: HTTP/2 cannot send them, and the stream is reset"
    );
    link.driver.signal(signals::ABORT);
}
