//! Errors of sending, and errors that describe how a connection ended.

use std::io;

use super::{RequestError, handler};
use crate::{
    http::{IntoResponse, Response},
    proto::ws::{CloseFrame, ProtocolError},
};

/// The reason why an [`Outbox`](crate::Outbox), the handle to the sending side of a connection, refused a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The outbox is above its high-water mark. The message was not queued.
    #[error("the outbox is above its high-water mark: the peer does not read fast enough")]
    Full,
    /// The connection has ended, or the server has begun to close it, for example by a Close frame.
    #[error("the connection is closed")]
    Closed,
    /// The connection belongs to a channel of a session (messages that are kept across lost connections). The client
    /// counts the messages on this connection, so a message from outside of the channel would make the count wrong.
    #[error(
        "the connection belongs to a channel: send by `ctx.ws()` or `ctx.sse()` themselves, not by their outbox"
    )]
    Channel,
}

/// The reason why a value could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The connection has ended, or the server has begun to close it, for example by a Close frame.
    #[error("the connection is closed")]
    ConnectionClosed,
    /// The response is already complete. Each request has one response, so further bytes were not sent.
    #[error("the response is already complete: nothing can be sent after it")]
    AlreadyComplete,
    /// A file or a stream cannot be sent on a WebSocket or an event stream. These connections carry only messages.
    #[error("cannot send a file or stream as a message")]
    NotAMessage,
    /// The status allows no content (1xx, 204, 205 or 304), so no event stream can begin.
    #[error("a response of this status has no content, so that no stream can begin with it")]
    NoContent,
    /// The outbox is full because the peer reads too slowly, and this sender does not wait for space.
    #[error("the outbox is above its high-water mark: the peer does not read fast enough")]
    Full,
    /// The connection belongs to a channel of a session. Only the channel may send on this connection.
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

/// The client closed the WebSocket. [`WebSocket::recv`](crate::WebSocket::recv) on this connection then returns an
/// [`io::Error`] that wraps this error; [`io::Error::get_ref`] returns it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("closed by the client{}", .frame.as_ref().map_or(String::new(), |frame| format!(": {} {}", frame.code, frame.reason)))]
pub struct ClosedByClient {
    /// The code and reason, if the client sent them.
    pub frame: Option<CloseFrame>,
}

/// The client disconnected without a Close frame.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client left without a Close")]
pub(crate) struct LeftWithoutClose;

/// Returns whether the error, or an error in its chain of sources, means that the connection has ended.
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
        // `io::Error::source` skips the error that the `io::Error` wraps.
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
