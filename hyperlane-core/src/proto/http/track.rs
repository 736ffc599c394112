//! Follows the raw bytes that a handler writes as its response (RFC 9112 §4, §6).
//!
//! Handlers (the program's functions for requests) may write HTTP/1.1 by hand. The server must still know whether the
//! handler has written a response, whether the response is complete, and whether the connection can serve another
//! request. Unlike the request parser, [`ResponseTracker`] is lenient. If the tracker cannot parse the bytes, the
//! server sends them unchanged and closes the connection afterwards.

#[cfg(feature = "http2")]
mod buffer;

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "http2")]
pub(crate) use self::buffer::TextHeadBuffer;

use super::{chunked::ChunkedDecoder, decimal, has_token, is_token_byte, list};

/// Maximum length, in bytes, of a response head that a handler writes in pieces. The tracker does not parse such a head
/// if it is longer. A head in a single write may have any length.
const MAX_HEAD: usize = 64 * 1024;

/// The first bytes of every HTTP/1 response.
const HTTP1: &[u8] = b"HTTP/1.";

/// The lengths of the three parts into which the tracker divides one write. The parts follow each other in the order of
/// the fields, and together are the whole write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// The number of leading bytes to send.
    pub wire: usize,
    /// The number of bytes after the `wire` part that belong to a forbidden body (HEAD, 204, 304). The server drops
    /// these bytes silently.
    pub muted: usize,
    /// The number of bytes at the end of the write that follow a complete response. The server drops these bytes and
    /// reports an error.
    pub excess: usize,
}

impl Tracked {
    /// Returns the part of the write to send. `bytes` is the whole write.
    pub fn to_wire<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(..self.wire).unwrap_or(bytes)
    }
}

/// The state of the response to one request.
///
/// ```
/// use hyperlane_core::proto::http::track::ResponseTracker;
///
/// let mut tracker = ResponseTracker::default();
/// tracker.begin(false);
/// let tracked = tracker.track(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!");
/// assert_eq!((tracked.wire, tracked.excess), (40, 1));
/// assert!(tracker.complete() && !tracker.must_close());
/// assert_eq!(tracker.status(), Some(200));
/// ```
#[derive(Debug, Default)]
pub struct ResponseTracker {
    state: State,
    /// The status of the final response, or 101; 0 until the head is complete.
    status: u16,
    head_request: bool,
    close: bool,
    event_stream: bool,
    /// True if the handler has ended. Atomic, because only a shared reference records it.
    handled: AtomicBool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Nothing,
    /// The handler has written only a part of the head.
    Head(Box<PartialHead>),
    Body {
        remaining: u64,
    },
    Chunked(ChunkedDecoder),
    UntilClose,
    Complete,
    /// The head is complete, and the response must not have a body. If the handler still writes a body, the server
    /// silently drops up to `remaining` bytes of the body.
    Muted {
        remaining: u64,
    },
    Switching,
    Garbage,
}

#[derive(Debug, Default)]
struct PartialHead {
    bytes: Vec<u8>,
    /// The position where the search for the empty line continues.
    checked: usize,
}

/// Returns the body of a response, given as one piece, whose type is that of event streams.
pub(crate) fn events_of(response: &[u8]) -> Option<&[u8]> {
    let mut tracker = ResponseTracker::default();
    tracker.track(response);
    let head = response.windows(4).position(|end| end == b"\r\n\r\n")?;
    match tracker.is_event_stream() {
        true => response.get(head + 4..),
        false => None,
    }
}

impl ResponseTracker {
    /// Resets the tracker for the next request. `head_request` is true for the method HEAD.
    ///
    /// The response to HEAD has no body, regardless of its fields (RFC 9110 §9.3.2).
    pub fn begin(&mut self, head_request: bool) {
        *self = Self {
            head_request,
            ..Self::default()
        };
    }

    /// Tracks the bytes of one write. Returns the parts to send and to drop.
    ///
    /// Allocates only if the handler writes a head in pieces.
    pub fn track(&mut self, bytes: &[u8]) -> Tracked {
        let mut rest = bytes;
        let mut tracked = Tracked::default();
        // Every iteration consumes bytes or changes the state, so the loop ends.
        while !rest.is_empty() {
            match &mut self.state {
                State::Nothing | State::Head(_) => {
                    let taken = self.track_head(rest);
                    tracked.wire += taken;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                State::Body { remaining } => {
                    let taken = take(remaining, rest.len());
                    if *remaining == 0 {
                        self.state = State::Complete;
                    }
                    tracked.wire += taken;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                State::Chunked(decoder) => match decoder.decode(rest) {
                    Ok(step) => {
                        tracked.wire += step.consumed;
                        rest = rest.get(step.consumed..).unwrap_or_default();
                        if step.done {
                            self.state = State::Complete;
                        }
                    }
                    Err(_) => self.state = State::Garbage,
                },
                State::Muted { remaining } => {
                    let taken = take(remaining, rest.len());
                    if *remaining == 0 {
                        self.state = State::Complete;
                    }
                    tracked.muted += taken;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                State::Complete => {
                    tracked.excess += rest.len();
                    rest = &[];
                }
                State::UntilClose | State::Switching | State::Garbage => {
                    tracked.wire += rest.len();
                    rest = &[];
                }
            }
        }
        tracked
    }

    /// Returns whether the handler has begun the final response. Ignores complete interim responses (RFC 9110 §15.2). A
    /// partial head counts as a begun response, because its status may be unknown.
    pub const fn started(&self) -> bool {
        !matches!(self.state, State::Nothing)
    }

    /// Returns whether the response is complete. A response that must not have a body is complete after its head.
    pub const fn complete(&self) -> bool {
        matches!(self.state, State::Complete | State::Muted { .. })
    }

    /// Returns whether the handler has written a 101. The connection no longer speaks HTTP after a 101.
    pub const fn switching(&self) -> bool {
        matches!(self.state, State::Switching)
    }

    /// Returns whether the connection must close if the handler writes nothing more.
    ///
    /// Returns true in each of these cases:
    ///
    /// - The head requires the close.
    /// - Only the close of the connection marks the end of the response.
    /// - The response is incomplete or not HTTP.
    /// - The connection has switched protocols.
    pub const fn must_close(&self) -> bool {
        self.close
            || !matches!(
                self.state,
                State::Nothing | State::Complete | State::Muted { .. }
            )
    }

    /// Returns the status code of the final response, or 101. Returns `None` until the head is complete.
    pub const fn status(&self) -> Option<u16> {
        match self.status {
            0 => None,
            status => Some(status),
        }
    }

    /// Records that the handler has ended.
    pub(crate) fn end_handler(&self) {
        self.handled.store(true, Ordering::Relaxed);
    }

    /// Returns whether the handler has ended.
    pub(crate) fn is_handled(&self) -> bool {
        self.handled.load(Ordering::Relaxed)
    }

    /// Returns whether the body is an event stream that ends with the connection. Returns false for a chunked body and
    /// for the response to HEAD.
    pub const fn is_event_stream(&self) -> bool {
        self.event_stream && matches!(self.state, State::UntilClose)
    }

    /// Consumes bytes of a head and returns their number. Consumes all of `bytes` if the head does not end within
    /// `bytes`, or if the tracker cannot parse it.
    fn track_head(&mut self, bytes: &[u8]) -> usize {
        let State::Head(partial) = &mut self.state else {
            return match ResponseHead::parse(bytes) {
                Parsed::Head(head) => {
                    self.after_head(&head);
                    head.length
                }
                Parsed::Partial if bytes.len() <= MAX_HEAD => {
                    let partial = PartialHead {
                        bytes: bytes.to_vec(),
                        checked: bytes.len(),
                    };
                    self.state = State::Head(Box::new(partial));
                    bytes.len()
                }
                Parsed::Partial | Parsed::Garbage => {
                    self.state = State::Garbage;
                    bytes.len()
                }
            };
        };
        let known = partial.bytes.len();
        let room = (MAX_HEAD + 1).saturating_sub(known);
        partial
            .bytes
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let may_be_http = could_be_http(&partial.bytes);
        // Every parse starts at the first byte of the head. The tracker therefore parses again only after the empty
        // line has arrived, or if the bytes are not HTTP.
        if may_be_http && !partial.ends() {
            if partial.bytes.len() > MAX_HEAD {
                self.state = State::Garbage;
            }
            return bytes.len();
        }
        match ResponseHead::parse(&partial.bytes) {
            Parsed::Head(head) => {
                self.after_head(&head);
                head.length.saturating_sub(known)
            }
            Parsed::Partial | Parsed::Garbage => {
                self.state = State::Garbage;
                bytes.len()
            }
        }
    }

    /// Chooses the state after a head (RFC 9112 §6.3).
    fn after_head(&mut self, head: &ResponseHead) {
        if matches!(head.status, 100 | 102..=199) {
            self.state = State::Nothing;
            return;
        }
        self.status = head.status;
        self.event_stream = head.event_stream;
        self.close = head.must_close();
        let framing = head.framing();
        self.state = match head.status {
            101 => State::Switching,
            204 | 304 => framing.muted(),
            _ if self.head_request => framing.muted(),
            _ => framing.sent(),
        };
    }
}

impl PartialHead {
    /// Returns whether the empty line at the end of the head has arrived. Searches only the new bytes.
    fn ends(&mut self) -> bool {
        // The empty line may have begun within the last three bytes of the previous call.
        let from = self.checked.saturating_sub(3);
        self.checked = self.bytes.len();
        let fresh = self.bytes.get(from..).unwrap_or_default();
        memchr::memchr_iter(b'\n', fresh)
            .filter_map(|at| fresh.get(at + 1..))
            .any(|after| after.starts_with(b"\n") || after.starts_with(b"\r\n"))
    }
}

/// Subtracts up to `available` from `remaining`. Returns the subtracted amount.
fn take(remaining: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*remaining)
        .unwrap_or(usize::MAX)
        .min(available);
    *remaining -= taken as u64;
    taken
}

fn could_be_http(bytes: &[u8]) -> bool {
    bytes.starts_with(HTTP1) || HTTP1.starts_with(bytes)
}

enum Parsed {
    Head(ResponseHead),
    Partial,
    Garbage,
}

/// The parts of a response head that determine the framing of the body and the reuse of the connection.
#[derive(Default)]
struct ResponseHead {
    /// Length of the head with its empty line, in bytes.
    length: usize,
    status: u16,
    http10: bool,
    content_length: Option<u64>,
    /// True if a `Content-Length` is not a number, or if two `Content-Length` fields differ.
    bad_length: bool,
    has_transfer_encoding: bool,
    /// True if the last transfer coding is `chunked`.
    chunked: bool,
    close: bool,
    keep_alive: bool,
    event_stream: bool,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    fn sent(self) -> State {
        match self {
            Self::Length(0) => State::Complete,
            Self::Length(remaining) => State::Body { remaining },
            Self::Chunked => State::Chunked(ChunkedDecoder::default()),
            Self::UntilClose => State::UntilClose,
        }
    }

    fn muted(self) -> State {
        match self {
            Self::Length(0) => State::Complete,
            Self::Length(remaining) => State::Muted { remaining },
            // The length of the forbidden body is unknown, so the server drops all further bytes.
            Self::Chunked | Self::UntilClose => State::Muted {
                remaining: u64::MAX,
            },
        }
    }
}

impl ResponseHead {
    /// Parses a head at the start of `bytes`.
    fn parse(bytes: &[u8]) -> Parsed {
        if !could_be_http(bytes) {
            return Parsed::Garbage;
        }
        let mut head = Self::default();
        let mut rest = bytes;
        let mut in_status_line = true;
        while let Some((line, after)) =
            memchr::memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at + 1))
        {
            rest = after;
            // A line may end with CRLF or LF: handlers write both, and browsers accept both.
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let understood = match line {
                [] if !in_status_line => {
                    head.length = bytes.len() - rest.len();
                    return Parsed::Head(head);
                }
                _ if in_status_line => head.status_line(line),
                _ => head.field(line),
            };
            if understood.is_none() {
                return Parsed::Garbage;
            }
            in_status_line = false;
        }
        Parsed::Partial
    }

    fn status_line(&mut self, line: &[u8]) -> Option<()> {
        let (minor, after) = line.strip_prefix(HTTP1)?.split_first()?;
        self.http10 = match minor {
            b'0' => true,
            b'1' => false,
            _ => return None,
        };
        let (code, reason) = after.strip_prefix(b" ")?.split_at_checked(3)?;
        let status = decimal(code).ok()?;
        self.status = u16::try_from(status).ok()?;
        (self.status >= 100 && matches!(reason, [] | [b' ', ..])).then_some(())
    }

    fn field(&mut self, line: &[u8]) -> Option<()> {
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = line.split_at_checked(colon)?;
        let value = value.get(1..)?;
        if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
            return None;
        }
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        match name.len() {
            10 if is("connection") => {
                self.close |= has_token(value, "close");
                self.keep_alive |= has_token(value, "keep-alive");
            }
            12 if is("content-type") => {
                let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default();
                self.event_stream = media_type
                    .trim_ascii()
                    .eq_ignore_ascii_case(b"text/event-stream");
            }
            14 if is("content-length") => match decimal(value.trim_ascii()) {
                Ok(length) => {
                    let before = self.content_length.replace(length);
                    self.bad_length |= before.is_some_and(|before| before != length);
                }
                Err(_) => self.bad_length = true,
            },
            17 if is("transfer-encoding") => {
                self.has_transfer_encoding = true;
                self.chunked = list(value)
                    .last()
                    .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            }
            _ => {}
        }
        Some(())
    }

    fn framing(&self) -> Framing {
        match self.content_length {
            _ if self.chunked => Framing::Chunked,
            Some(length)
                if !self.bad_length && !self.has_transfer_encoding && !self.event_stream =>
            {
                Framing::Length(length)
            }
            _ => Framing::UntilClose,
        }
    }

    /// Returns whether the connection must close after the response. Contradictory framing always closes the connection
    /// (RFC 9112 §6.1, §6.3): an invalid `Content-Length`, or `Transfer-Encoding` together with `Content-Length` or
    /// HTTP/1.0.
    fn must_close(&self) -> bool {
        let contradicts = self.bad_length
            || (self.has_transfer_encoding && (self.content_length.is_some() || self.http10));
        self.close || contradicts || (self.http10 && !self.keep_alive)
    }
}

#[cfg(test)]
mod tests;
