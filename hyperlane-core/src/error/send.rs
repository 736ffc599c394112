//! Errors of sending, and how a connection ended.

use std::io;

use super::{RequestError, handler};
use crate::{
    http::{IntoResponse, Response},
    proto::ws::{CloseFrame, ProtocolError},
};

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// More than the outbox's high-water mark is waiting already; nothing was queued.
    #[error("the outbox is above its high-water mark: the peer does not read fast enough")]
    Full,
    /// The connection is over, or a Close was sent on it.
    #[error("the connection is closed")]
    Closed,
    /// The connection belongs to the channel of a session, whose clients would lose count.
    #[error(
        "the connection belongs to a channel: send by `ctx.ws()` or `ctx.sse()` themselves, not by their outbox"
    )]
    Channel,
}

/// Why something could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The connection is over, or a Close was sent on it.
    #[error("the connection is closed")]
    ConnectionClosed,
    /// The bytes after a complete response were not sent: one request has one response.
    #[error("the response is complete already: nothing can be sent after it")]
    AlreadyComplete,
    /// A file or a stream was to be sent where only messages can be: on a WebSocket or an event stream.
    #[error("a file or a stream is no message")]
    NotAMessage,
    /// An event stream was to begin with a status that has no content: 1xx, 204, 205 or 304.
    #[error("a response of this status has no content, so that no stream can begin with it")]
    NoContent,
    /// The peer reads too slowly and the sender must not wait.
    #[error("the outbox is above its high-water mark: the peer does not read fast enough")]
    Full,
    /// The connection belongs to the channel of a session, which alone may send on it.
    #[error(
        "the connection belongs to a channel: send by `ctx.ws()` or `ctx.sse()` themselves, not by their outbox"
    )]
    Channel,
}

impl From<PushError> for ResponseError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full => Self::Full,
            PushError::Closed => Self::ConnectionClosed,
            PushError::Channel => Self::Channel,
        }
    }
}

impl From<ResponseError> for io::Error {
    fn from(error: ResponseError) -> Self {
        let kind = match error {
            ResponseError::ConnectionClosed => io::ErrorKind::BrokenPipe,
            ResponseError::AlreadyComplete
            | ResponseError::NotAMessage
            | ResponseError::NoContent
            | ResponseError::Channel => io::ErrorKind::InvalidInput,
            ResponseError::Full => io::ErrorKind::WouldBlock,
        };
        io::Error::new(kind, error)
    }
}

impl IntoResponse for ResponseError {
    fn into_response(self, response: &mut Response) {
        let is_end = self == Self::ConnectionClosed;
        handler::answer(response, 500, &self, is_end);
    }
}

/// The Close of the client, as the source of the error that [`WebSocket::recv`](crate::WebSocket::recv) ends with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("closed by the client{}", .frame.as_ref().map_or(String::new(), |frame| format!(": {} {}", frame.code, frame.reason)))]
pub struct ClosedByClient {
    /// Code and reason, if the client gave any.
    pub frame: Option<CloseFrame>,
}

/// The client left without a Close.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client left without a Close")]
pub(crate) struct LeftWithoutClose;

/// Tells whether an error, or what it was made of, says that a connection has ended.
pub(super) fn is_end(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<ClosedByClient>()
            || error.is::<LeftWithoutClose>()
            || error.is::<ProtocolError>()
            || error.downcast_ref() == Some(&PushError::Closed)
            || error.downcast_ref() == Some(&ResponseError::ConnectionClosed)
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<RequestError>() {
            return error.is_disconnect() || matches!(error, RequestError::WebSocketProtocol(_));
        }
        // The source of such an error is the source of what it holds, not what it holds.
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    false
}
