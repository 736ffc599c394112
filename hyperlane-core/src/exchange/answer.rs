//! State of the answer to a request.

use std::mem;

use super::Exchange;
use crate::{error::RequestError, http::Request, proto::http::track::ResponseTracker};

/// State of the answer to one request.
///
/// | from | by | to |
/// |---|---|---|
/// | `None`, `Raw` with only interim answers (1xx) | a guard or `upgrade` accepts a WebSocket handshake | `Accepted` |
/// | `None`, `Raw` with only interim answers | a hook opens an event stream; middleware runs | `Opening` |
/// | `None` | the program sends raw bytes | `Raw` |
/// | `None`, `Raw` with only interim answers | the server sends a response with a complete body | `Typed` |
/// | `None`, `Raw` with only interim answers | the server sends a head, and a body in pieces follows | `Streaming` |
/// | `None`, `Opening`, `Raw` with only interim answers | the server sends the head of an event stream | `Events` |
/// | `Opening` | the opening fails, or the hook drops the future that opens the event stream | `None` |
/// | `Accepted` | the handler answers by HTTP | `None` |
/// | `Accepted`, `Raw` with a 101 | the handler reads, sends, upgrades or returns | `Switched` |
/// | `Streaming` | the server sends the end of the body | `Typed` |
/// | `None` | the server refuses a request that a hook reads itself | `Refused` |
/// | `Refused` | as from `None`, for an answer of the hook; or the pipeline takes the refusal | as from `None` |
///
/// A state is final if no row leads from it. There is one exception: if a mounted tower service fails without an
/// answer, any state becomes `Streaming`, and the server cuts the connection. A new request begins with `None`.
///
/// A hook is a function of the program that handles requests. The handler is the hook of the route. A guard is a check
/// of the route that runs before the handler.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing was sent.
    None,
    /// A WebSocket handshake is accepted. Its 101 is pending, or a timer has sent it because the handler did not answer
    /// within `ServerConfig::handshake_timeout`.
    Accepted,
    /// Response middleware works on the head of an event stream.
    Opening,
    /// The program writes the response as raw bytes, and the tracker parses them. Boxed, because every idle connection
    /// has an `Answer`.
    Raw(Box<ResponseTracker>),
    /// A response was sent completely.
    Typed { closes: bool },
    /// The head of a response was sent, and its body is incomplete.
    Streaming { closes: bool, chunked: bool },
    /// An event stream of typed events. `chunked` is false if the client speaks HTTP/1.0, or if the response has this
    /// version.
    Events { chunked: bool },
    /// The connection is a WebSocket.
    Switched,
    /// Nothing was sent, and the server has refused the request, which a hook has read itself. If the hook does not
    /// answer, the pipeline answers with the error.
    Refused(Box<Refused>),
}

/// A request that a hook has read itself and that the server has refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) request: Request,
    pub(crate) error: RequestError,
}

impl Refused {
    /// Records that the server refuses the current request, which a hook has read itself. The connection reads no
    /// further request. Does nothing if there is no such request or if its answer has begun.
    pub(crate) fn record(exchange: &mut Exchange, request: &Request, error: &RequestError) {
        let is_over = error.is_disconnect() || *error == RequestError::Upgraded;
        if !is_over && matches!(exchange.answer, Answer::None) {
            exchange.wire.closes = true;
            exchange.answer = Answer::Refused(Box::new(Self {
                request: request.clone(),
                error: error.clone(),
            }));
        }
    }

    /// Removes and returns the refusal of a request that a hook has read itself and not answered.
    #[inline]
    pub(crate) fn take(exchange: &mut Exchange) -> Option<Box<Self>> {
        match &exchange.answer {
            Answer::Refused(_) => match mem::replace(&mut exchange.answer, Answer::None) {
                Answer::Refused(refused) => Some(refused),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Progress of an answer. It decides what the server can send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was sent except interim answers (1xx). For [`Answer::Accepted`], a timer may also have sent the 101.
    Unanswered,
    /// The end of the body is missing. If the server cannot send the end, it cuts the connection: HTTP/1.1 has no other
    /// sign of an incomplete body.
    Partial,
    /// The end of the connection ends the answer: an event stream, or raw bytes that are not a complete response yet.
    Open,
    /// The answer is complete, and another request may follow.
    Whole,
    /// The answer is complete, and the connection closes after it.
    Last,
    /// The connection is a WebSocket, or the program has sent a 101 of its own.
    Switched,
}

impl Answer {
    pub(crate) fn progress(&self) -> Progress {
        match self {
            Self::None | Self::Opening | Self::Accepted | Self::Refused(_) => Progress::Unanswered,
            Self::Raw(tracker) if tracker.switching() => Progress::Switched,
            Self::Raw(tracker) if !tracker.started() => Progress::Unanswered,
            Self::Raw(tracker) => match (tracker.complete(), tracker.must_close()) {
                (true, false) => Progress::Whole,
                (true, true) => Progress::Last,
                (false, _) => Progress::Open,
            },
            Self::Typed { closes: false } => Progress::Whole,
            Self::Typed { closes: true } => Progress::Last,
            Self::Streaming { .. } => Progress::Partial,
            Self::Events { .. } => Progress::Open,
            Self::Switched => Progress::Switched,
        }
    }

    /// Returns whether a head can still be sent.
    pub(crate) fn can_begin(&self) -> bool {
        match self {
            Self::None | Self::Opening | Self::Refused(_) => true,
            Self::Raw(tracker) => !tracker.started(),
            _ => false,
        }
    }

    /// Returns whether a handshake is accepted and the exchange has not sent its 101.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted)
    }

    /// Returns whether the connection is a WebSocket.
    pub(crate) fn is_switched(&self) -> bool {
        matches!(self, Self::Switched)
    }

    /// Returns whether response middleware works on the head of an event stream.
    pub(crate) fn is_opening(&self) -> bool {
        matches!(self, Self::Opening)
    }

    /// Records that the handler has ended. Later hooks then add nothing to an event stream that it has written itself.
    #[inline]
    pub(crate) fn end_handler(&self) {
        if let Self::Raw(tracker) = self {
            tracker.end_handler();
        }
    }

    /// Returns whether the answer is an event stream of typed events.
    pub(crate) fn is_typed_events(&self) -> bool {
        matches!(self, Self::Events { .. })
    }

    /// Returns whether the program has sent a 101 of its own and the connection has not switched yet.
    pub(crate) fn is_switching_raw(&self) -> bool {
        matches!(self, Self::Raw(tracker) if tracker.switching())
    }

    /// Returns whether the answer is an event stream, of typed events or of raw bytes.
    pub(crate) fn is_event_stream(&self) -> bool {
        match self {
            Self::Events { .. } => true,
            Self::Raw(tracker) => tracker.is_event_stream(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(bytes: &[u8]) -> Answer {
        let mut tracker = Box::<ResponseTracker>::default();
        tracker.track(bytes);
        Answer::Raw(tracker)
    }

    #[test]
    fn interim_answers_are_no_answer() {
        for bytes in [&b""[..], b"HTTP/1.1 103 Early Hints\r\n\r\n"] {
            let answer = raw(bytes);
            assert_eq!(answer.progress(), Progress::Unanswered);
            assert!(answer.can_begin());
        }
        assert!(!raw(b"HTTP/1.1 1").can_begin(), "a part of a head was sent");
    }

    #[test]
    fn raw_bytes_decide_the_progress() {
        for (bytes, progress) in [
            (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], Progress::Whole),
            (
                b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
                Progress::Last,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na",
                Progress::Open,
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n", Progress::Open),
            (
                b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                Progress::Switched,
            ),
        ] {
            assert_eq!(raw(bytes).progress(), progress);
        }
    }
}
