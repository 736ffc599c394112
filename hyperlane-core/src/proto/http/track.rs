//! Follows the raw bytes that a handler writes as its response (RFC 9112 §4, §6).
//!
//! Handlers may write HTTP/1.1 by hand. The server must still know whether they answered, whether the answer is
//! complete, and whether the connection can be used again. So unlike the request parser this one is lenient: what it does
//! not understand it lets pass, and says that the connection must close.

use super::{chunked::ChunkedDecoder, decimal, has_token, is_token_byte, list};

/// A response head larger than this is not followed any more.
const MAX_HEAD: usize = 64 * 1024;

/// What every HTTP/1 response begins with.
const HTTP1: &[u8] = b"HTTP/1.";

/// What becomes of the bytes of one write; the three parts are in this order and add up to all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// How many bytes, from the first, go to the wire.
    pub wire: usize,
    /// How many bytes after those are a body that the response must not have (HEAD, 204, 304): silently dropped.
    pub muted: usize,
    /// How many bytes at the end go beyond a complete response: dropped, and worth a warning.
    pub excess: usize,
}

impl Tracked {
    /// Gives what goes to the wire, of the bytes that were tracked.
    pub fn to_wire<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(..self.wire).unwrap_or(bytes)
    }
}

/// Knows how far the response to one request has got.
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
    /// The status of the final response; 0 before there is one.
    status: u16,
    head_request: bool,
    close: bool,
    event_stream: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Nothing,
    /// A part of a head is out.
    Head(Box<PartialHead>),
    Body {
        remaining: u64,
    },
    Chunked(ChunkedDecoder),
    UntilClose,
    Complete,
    /// Complete without its body, of which so much may still be written and dropped.
    Muted {
        remaining: u64,
    },
    Switching,
    Garbage,
}

#[derive(Debug, Default)]
struct PartialHead {
    bytes: Vec<u8>,
    /// Where to look on for the empty line.
    checked: usize,
}

impl ResponseTracker {
    /// Starts over for the next request.
    ///
    /// The response to a HEAD request has no body, whatever its fields say (RFC 9110 §9.3.2).
    pub fn begin(&mut self, head_request: bool) {
        *self = Self {
            head_request,
            ..Self::default()
        };
    }

    /// Takes the bytes of one write, and says which of them go to the wire.
    ///
    /// Allocates only where a head comes in pieces.
    pub fn track(&mut self, bytes: &[u8]) -> Tracked {
        let mut rest = bytes;
        let mut tracked = Tracked::default();
        // Every turn takes all of the rest, or goes on to another state.
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

    /// Tells whether any byte of a final response is out; interim responses do not count (RFC 9110 §15.2).
    pub const fn started(&self) -> bool {
        !matches!(self.state, State::Nothing)
    }

    /// Tells whether a whole response is out, so that the connection may go on to the next request.
    pub const fn complete(&self) -> bool {
        matches!(self.state, State::Complete | State::Muted { .. })
    }

    /// Tells whether a 101 is out, after which the connection no longer speaks HTTP.
    pub const fn switching(&self) -> bool {
        matches!(self.state, State::Switching)
    }

    /// Tells whether the connection must close, if nothing more is written.
    ///
    /// That is so when the response says it, when only the close ends it, when it is incomplete or no HTTP, and after a
    /// switch of protocols.
    pub const fn must_close(&self) -> bool {
        self.close
            || !matches!(
                self.state,
                State::Nothing | State::Complete | State::Muted { .. }
            )
    }

    /// Gives the status code of the final response, or 101, once its head is out.
    pub const fn status(&self) -> Option<u16> {
        match self.status {
            0 => None,
            status => Some(status),
        }
    }

    /// Tells whether bytes that are written now are Server-Sent Events on the wire as they are: not those of a body in
    /// chunks, and none in the answer to HEAD.
    pub const fn is_event_stream(&self) -> bool {
        self.event_stream && matches!(self.state, State::UntilClose)
    }

    /// Takes what belongs to a head; all of `bytes` unless the head ends before.
    fn track_head(&mut self, bytes: &[u8]) -> usize {
        let State::Head(partial) = &mut self.state else {
            return match Meaning::of(bytes) {
                Parsed::Head(meaning) => {
                    self.conclude(&meaning);
                    meaning.length
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
        // Reading the whole again is worth it only if it may have become complete.
        if may_be_http && !partial.ends() {
            if partial.bytes.len() > MAX_HEAD {
                self.state = State::Garbage;
            }
            return bytes.len();
        }
        match Meaning::of(&partial.bytes) {
            Parsed::Head(meaning) => {
                self.conclude(&meaning);
                meaning.length.saturating_sub(known)
            }
            Parsed::Partial | Parsed::Garbage => {
                self.state = State::Garbage;
                bytes.len()
            }
        }
    }

    /// Goes on after a head (RFC 9112 §6.3).
    fn conclude(&mut self, meaning: &Meaning) {
        if matches!(meaning.status, 100 | 102..=199) {
            self.state = State::Nothing;
            return;
        }
        self.status = meaning.status;
        self.event_stream = meaning.event_stream;
        self.close = meaning.must_close();
        let framing = meaning.framing();
        self.state = match meaning.status {
            101 => State::Switching,
            204 | 304 => framing.muted(),
            _ if self.head_request => framing.muted(),
            _ => framing.sent(),
        };
    }
}

impl PartialHead {
    /// Looks for an empty line where it has not looked yet.
    fn ends(&mut self) -> bool {
        // The end of the line before may be among the bytes of the last call.
        let from = self.checked.saturating_sub(3);
        self.checked = self.bytes.len();
        let fresh = self.bytes.get(from..).unwrap_or_default();
        memchr::memchr_iter(b'\n', fresh)
            .filter_map(|at| fresh.get(at + 1..))
            .any(|after| after.starts_with(b"\n") || after.starts_with(b"\r\n"))
    }
}

/// Takes at most what remains, and says how much.
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
    Head(Meaning),
    Partial,
    Garbage,
}

/// What a response head says about its body and the connection.
#[derive(Default)]
struct Meaning {
    /// Bytes in the head, with its empty line.
    length: usize,
    status: u16,
    http10: bool,
    content_length: Option<u64>,
    /// The `Content-Length` is no number, or there are several that differ.
    bad_length: bool,
    has_transfer_encoding: bool,
    /// The last transfer coding is `chunked`.
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
            // Where such a body would end is nobody's concern.
            Self::Chunked | Self::UntilClose => State::Muted {
                remaining: u64::MAX,
            },
        }
    }
}

impl Meaning {
    /// Reads a head from the front of the bytes.
    fn of(bytes: &[u8]) -> Parsed {
        if !could_be_http(bytes) {
            return Parsed::Garbage;
        }
        let mut meaning = Self::default();
        let mut rest = bytes;
        let mut in_status_line = true;
        while let Some((line, after)) =
            memchr::memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at + 1))
        {
            rest = after;
            // Only the line feed must be there: browsers take both, so what hooks write may have either.
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let understood = match line {
                [] if !in_status_line => {
                    meaning.length = bytes.len() - rest.len();
                    return Parsed::Head(meaning);
                }
                _ if in_status_line => meaning.status_line(line),
                _ => meaning.field(line),
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

    /// Tells whether the connection ends with this response; contradictory lengths are never reused (RFC 9112 §6.3).
    fn must_close(&self) -> bool {
        let contradicts = self.bad_length
            || (self.has_transfer_encoding && (self.content_length.is_some() || self.http10));
        self.close || contradicts || (self.http10 && !self.keep_alive)
    }
}

#[cfg(test)]
mod tests;
