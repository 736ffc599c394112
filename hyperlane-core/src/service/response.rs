//! An incremental parser for the bytes of a response (RFC 9112 §4, §6, §7). The program's functions (hooks) write these
//! bytes. The service (`HyperlaneService`) parses the bytes, and passes the response on to the outer server, the HTTP
//! server that calls the service. Hooks may write a response as raw bytes, so bytes are the only form that all
//! responses have in common.
//!
//! The server trusts the hooks, so it checks their raw responses only leniently (`proto::http::track`). The parser is
//! equally lenient.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{HopByHop, stated_length};
use crate::{
    http::list_items,
    proto::http::chunked::{ChunkedDecoder, ChunkedError},
};

/// Maximum length of a response head, in bytes. Outer servers would not forward a longer head.
const MAX_HEAD: usize = 256 * 1024;

/// Number of header fields for which the first attempt to parse a head has room.
const USUAL_FIELDS: usize = 32;

/// The next event in the bytes of a response.
#[derive(Debug)]
pub(super) enum Event {
    /// More bytes are needed.
    More,
    /// The hooks have sent `100 Continue`: they are ready to read the body of the request.
    Continue,
    Head(Head),
    Data(Bytes),
    /// The response is complete.
    End,
}

/// The head of a final response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// The reason why the bytes are not a valid response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    #[error("the hooks sent invalid HTTP: {0}")]
    Head(httparse::Error),
    #[error("the head of a response is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    #[error("{0} is not a status code")]
    Status(u16),
    #[error("the chunks of a response are malformed: {0}")]
    Chunked(ChunkedError),
    #[error("the response is incomplete")]
    Incomplete,
}

enum State {
    Head,
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
    /// The response is complete, or its status is 101 and the bytes after its head are no longer HTTP.
    Done,
}

/// An incremental parser of one response.
pub(super) struct ResponseParser {
    state: State,
    head_request: bool,
    /// The bytes that were read and not parsed yet.
    pub(super) buffer: BytesMut,
}

impl ResponseParser {
    pub(super) fn new(head_request: bool) -> Self {
        Self {
            state: State::Head,
            head_request,
            buffer: BytesMut::new(),
        }
    }

    /// Parses the bytes up to the next event.
    pub(super) fn next(&mut self) -> Result<Event, ParseError> {
        match &mut self.state {
            State::Head => self.next_head(),
            State::Done | State::Length(0) => Ok(Event::End),
            _ if self.buffer.is_empty() => Ok(Event::More),
            State::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX);
                let data = self.buffer.split_to(here.min(self.buffer.len()));
                *left -= data.len() as u64;
                Ok(Event::Data(data.freeze()))
            }
            State::UntilClose => Ok(Event::Data(self.buffer.split().freeze())),
            State::Chunked(decoder) => {
                while !self.buffer.is_empty() {
                    let step = decoder.decode(&self.buffer).map_err(ParseError::Chunked)?;
                    let (consumed, length, done) = (step.consumed, step.data.len(), step.done);
                    let mut data = self.buffer.split_to(consumed);
                    if done {
                        self.state = State::Done;
                        return Ok(Event::End);
                    }
                    // The decoder consumes framing first and data last, so the data is at the end of the consumed
                    // bytes.
                    data.advance(consumed.saturating_sub(length));
                    if !data.is_empty() {
                        return Ok(Event::Data(data.freeze()));
                    }
                }
                Ok(Event::More)
            }
        }
    }

    /// Handles the end of the bytes. `in_order` is false if the connection was cut. Returns an error unless the body
    /// lasts until the connection closes and `in_order` is true.
    pub(super) fn end(&mut self, in_order: bool) -> Result<Event, ParseError> {
        match self.state {
            State::UntilClose if in_order => {
                self.state = State::Done;
                Ok(Event::End)
            }
            _ => Err(ParseError::Incomplete),
        }
    }

    /// Returns whether the whole response has arrived.
    pub(super) fn is_whole(&self) -> bool {
        match &self.state {
            State::Head | State::UntilClose => false,
            State::Done => true,
            State::Length(left) => self.buffer.len() as u64 >= *left,
            State::Chunked(decoder) => {
                let mut decoder = decoder.clone();
                let mut rest: &[u8] = &self.buffer;
                loop {
                    match decoder.decode(rest) {
                        Ok(step) if step.done => return true,
                        Ok(step) if step.consumed > 0 => {
                            rest = rest.get(step.consumed..).unwrap_or_default();
                        }
                        // More bytes are needed, or a chunk is malformed. A later call of `next` returns the error of a
                        // malformed chunk.
                        Ok(_) | Err(_) => return false,
                    }
                }
            }
        }
    }

    /// Returns the number of bytes of the body that [`next`](Self::next) has not returned yet. Returns `None` if the
    /// number is unknown.
    pub(super) fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    fn next_head(&mut self) -> Result<Event, ParseError> {
        loop {
            let Some((length, head)) = parse(&self.buffer)? else {
                return match self.buffer.len() {
                    0..=MAX_HEAD => Ok(Event::More),
                    _ => Err(ParseError::HeadTooLarge),
                };
            };
            self.buffer.advance(length);
            match head.status.as_u16() {
                100 => return Ok(Event::Continue),
                // The service does not forward other interim responses.
                102..=199 => {}
                _ => return Ok(Event::Head(self.after_head(head))),
            }
        }
    }

    /// Chooses how to parse the body that follows `head`. Removes the fields that the outer server must not send.
    fn after_head(&mut self, mut head: Head) -> Head {
        let headers = &mut head.headers;
        let length = stated_length(headers);
        let encodings = headers
            .get_all(header::TRANSFER_ENCODING)
            .iter()
            .next_back();
        let is_chunked = encodings
            .and_then(|value| list_items(value.to_str().ok()?).last())
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let is_encoded = encodings.is_some();
        let is_events = is_event_stream(headers);
        let has_no_body = self.head_request || matches!(head.status.as_u16(), 101 | 204 | 304);
        self.state = match length {
            _ if has_no_body => State::Done,
            _ if is_chunked => State::Chunked(ChunkedDecoder::default()),
            Some(length) if !is_encoded && !is_events => State::Length(length),
            _ => State::UntilClose,
        };
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            let of_connection = HopByHop::of(headers);
            let upgrade = headers.get(header::UPGRADE).cloned();
            let gone: Vec<HeaderName> = headers
                .keys()
                .filter(|name| of_connection.has(name))
                .cloned()
                .collect();
            for name in gone {
                headers.remove(name);
            }
            if let (StatusCode::UPGRADE_REQUIRED, Some(protocol)) = (head.status, upgrade) {
                // A 426 names the required protocol (RFC 9110 §15.5.22).
                headers.insert(header::UPGRADE, protocol);
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            }
        }
        let counts = matches!(self.state, State::Length(_)) || (has_no_body && length.is_some());
        if !counts {
            headers.remove(header::CONTENT_LENGTH);
        }
        head
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok()?.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Parses a complete head and returns it with its length. Returns `None` if the head is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Head)>, ParseError> {
    let mut fields = vec![httparse::EMPTY_HEADER; USUAL_FIELDS];
    loop {
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(bytes) {
            Ok(httparse::Status::Partial) => return Ok(None),
            Ok(httparse::Status::Complete(length)) => {
                let code = response.code.unwrap_or_default();
                let status = StatusCode::from_u16(code).map_err(|_| ParseError::Status(code))?;
                let mut headers = HeaderMap::with_capacity(response.headers.len());
                for field in response.headers.iter() {
                    let name = HeaderName::from_bytes(field.name.as_bytes());
                    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
                        headers.append(name, value);
                    }
                }
                return Ok(Some((length, Head { status, headers })));
            }
            Err(httparse::Error::TooManyHeaders) => {
                // This loop ends, because a head has fewer fields than bytes, and `next_head` limits the bytes of an
                // incomplete head (`MAX_HEAD`).
                let more = fields.len() * 4;
                fields = vec![httparse::EMPTY_HEADER; more];
            }
            Err(error) => return Err(ParseError::Head(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `bytes` in pieces of `size`. Returns the heads, the data, and whether the response is complete.
    fn read(bytes: &[u8], size: usize, head_request: bool) -> (Vec<Head>, Vec<u8>, bool) {
        let mut parser = ResponseParser::new(head_request);
        let (mut heads, mut data) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            parser.buffer.extend_from_slice(piece);
            loop {
                match parser.next().unwrap() {
                    Event::More => break,
                    Event::Continue => {}
                    Event::Head(head) => heads.push(head),
                    Event::Data(piece) => {
                        assert!(!piece.is_empty());
                        data.extend_from_slice(&piece);
                    }
                    Event::End => return (heads, data, true),
                }
            }
        }
        (heads, data, false)
    }

    #[test]
    fn responses_are_read_at_any_cut() {
        let cases: [(&[u8], &[u8], bool); 5] = [
            (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello", true),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
                b"hello",
                true,
            ),
            (b"HTTP/1.1 200 OK\ncontent-type: text/plain\n\nhello", b"hello", false),
            (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b"", true),
            (
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 1\r\n\r\nhello",
                b"hello",
                false,
            ),
        ];
        for (bytes, body, is_whole) in cases {
            for size in 1..=bytes.len() {
                let (heads, data, ended) = read(bytes, size, false);
                assert_eq!((heads.len(), ended), (1, is_whole));
                assert_eq!(data, body);
                for name in ["transfer-encoding", "connection"] {
                    assert!(!heads[0].headers.contains_key(name));
                }
                let has_length = heads[0].headers.contains_key("content-length");
                assert_eq!(has_length, size_of_body(bytes).is_some());
            }
        }
    }

    /// Returns the value of `Content-Length` if the parser must keep this field. The parser must remove the field from
    /// the event stream above, whose stated length is 1.
    fn size_of_body(bytes: &[u8]) -> Option<u64> {
        let text = str::from_utf8(bytes).unwrap();
        (text.contains("content-length: 5")).then_some(5)
    }

    #[test]
    fn a_response_to_head_keeps_its_length_and_has_no_body() {
        let (heads, data, ended) = read(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 7, true);
        assert_eq!(heads[0].headers["content-length"], "5");
        assert!(data.is_empty() && ended);
    }

    #[test]
    fn any_number_of_interim_responses_is_skipped() {
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100_000);
        bytes.extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
        let (heads, _, ended) = read(&bytes, bytes.len(), false);
        assert_eq!((heads.len(), ended), (1, true));
    }

    #[test]
    fn a_cut_is_told_from_an_end() {
        let mut parser = ResponseParser::new(false);
        parser.buffer.extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(matches!(parser.next(), Ok(Event::Head(_))));
        assert_eq!(parser.end(false).unwrap_err(), ParseError::Incomplete);
        assert!(matches!(parser.end(true), Ok(Event::End)));
        let mut parser = ResponseParser::new(false);
        parser
            .buffer
            .extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi");
        assert!(matches!(parser.next(), Ok(Event::Head(_))));
        assert!(matches!(parser.next(), Ok(Event::Data(_))));
        assert_eq!(parser.end(true).unwrap_err(), ParseError::Incomplete);
    }

    #[test]
    fn many_fields_are_read_and_noise_is_refused() {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        for number in 0..300 {
            bytes.extend_from_slice(format!("x-{number}: y\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        assert_eq!(read(&bytes, bytes.len(), false).0[0].headers.len(), 300);
        let mut parser = ResponseParser::new(false);
        parser.buffer.extend_from_slice(b"hello\r\n\r\n");
        assert!(matches!(parser.next(), Err(ParseError::Head(_))));
    }
}
