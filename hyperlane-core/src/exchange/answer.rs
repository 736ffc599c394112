//! How far the answer to a request has got.

use crate::proto::http::track::ResponseTracker;

/// The answer to one request, as far as it has got.
///
/// | from | by | to |
/// |---|---|---|
/// | `None` | a route's guard accepts a WebSocket handshake | `Accepted` |
/// | `None` | a hook asks for an event stream, and response middleware runs first | `Opening` |
/// | `None` | raw bytes | `Raw` |
/// | `None`, `Raw` with interim answers alone | a response with its body in hand | `Typed` |
/// | `None`, `Raw` with interim answers alone | the head of a response whose body follows | `Streaming` |
/// | `None`, `Opening`, `Raw` with interim answers alone | the head of an event stream | `Events` |
/// | `Opening` | the hook gives up the wait | `None` |
/// | `Accepted` | the handler answers by HTTP | `None` |
/// | `Accepted`, `Raw` with a 101 | the handler reads, sends or upgrades; or it returns | `Switched` |
/// | `Streaming` | the end of the body | `Typed` |
///
/// Each other state is final. A new request begins at `None`.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing was sent.
    None,
    /// A WebSocket handshake is accepted. Its 101 waits with the connection, or the timer has sent it since.
    Accepted,
    /// Response middleware works on the head of an event stream.
    Opening,
    /// The program writes HTTP itself; the tracker follows its bytes.
    Raw(ResponseTracker),
    /// A response is out, whole.
    Typed { closes: bool },
    /// The head of a response is out, and not all of its body.
    Streaming { closes: bool, chunked: bool },
    /// Typed events; `chunked` unless the client speaks HTTP/1.0.
    Events { chunked: bool },
    /// The connection is a WebSocket.
    Switched,
}

/// What can follow an answer; the pipeline asks once per step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was sent, interim answers aside.
    Unanswered,
    /// The head is out and the body has an end that is not out: without it, only a cut tells the client.
    Partial,
    /// Something is out that ends with the connection: events, or raw bytes whose end is not known.
    Open,
    /// The answer is whole, and another request may follow.
    Whole,
    /// The answer is whole, and the connection ends with it.
    Last,
    /// The connection is a WebSocket.
    Switched,
}

impl Answer {
    pub(crate) fn progress(&self) -> Progress {
        match self {
            Self::None | Self::Opening | Self::Accepted => Progress::Unanswered,
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

    /// Whether a head can still go out.
    pub(crate) fn can_begin(&self) -> bool {
        match self {
            Self::None | Self::Opening => true,
            Self::Raw(tracker) => !tracker.started(),
            _ => false,
        }
    }

    /// Whether a handshake is accepted whose 101 was not seen to go out.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted)
    }

    /// Whether the connection was made a WebSocket.
    pub(crate) fn is_switched(&self) -> bool {
        matches!(self, Self::Switched)
    }

    /// Whether response middleware works on the head of an event stream.
    pub(crate) fn is_opening(&self) -> bool {
        matches!(self, Self::Opening)
    }

    /// Whether typed events go out.
    pub(crate) fn is_typed_events(&self) -> bool {
        matches!(self, Self::Events { .. })
    }

    /// Whether the program has promised another protocol by a 101 of its own, and nothing has used it yet.
    pub(crate) fn is_switching_raw(&self) -> bool {
        matches!(self, Self::Raw(tracker) if tracker.switching())
    }

    /// Whether events go out, typed or written by the program.
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
        let mut tracker = ResponseTracker::default();
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
        assert!(!raw(b"HTTP/1.1 1").can_begin(), "a part of a head is out");
    }

    #[test]
    fn what_follows_raw_bytes_is_what_they_say() {
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
