//! The body of a request as its handler reads it.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use super::Incoming;
use crate::{conn::input::Wait, error::RequestError, http::Headers};

/// The body of a request, piece by piece.
///
/// [`Context::body_stream`](crate::Context::body_stream) returns this type. On a route that reads its body as a stream
/// ([`ServerHook::BODY`](crate::ServerHook::BODY), `#[body_stream(x)]`), the server reads the body at the pace of the
/// handler. The server buffers about 64 KiB ahead of the handler at most (with the default of
/// [`ServerConfig::inbox_bytes`](crate::ServerConfig)), and then the client has to wait. The first wait for a piece
/// sends `100 Continue` if the client expects it (RFC 9110 §10.1.1). On other routes the stream yields the body that
/// the server has read before.
///
/// A `BodyStream` may be moved to another task. After the request is over, the rest of the body cannot be read. The
/// server drops a rest of at most 64 KiB and keeps the connection. If more is unread when the answer begins, or the end
/// of a chunked body has not arrived, the answer says `connection: close`. There is one exception: the program may
/// still read the request while it produces an answer whose own body is a stream. Such an answer keeps the connection
/// if a `BodyStream` of the request exists when the answer begins.
///
/// As a `futures_core::Stream`, a `BodyStream` ends after an error.
///
/// ```
/// use hyperlane_core::{BodyMode, Context, RequestError, ServerHook, Status, Stream};
///
/// struct Count;
///
/// impl ServerHook for Count {
///     const BODY: BodyMode = BodyMode::Stream;
///
///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
///         Self
///     }
///
///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
///         let mut body = ctx.body_stream();
///         let mut count = 0;
///         while let Ok(Some(piece)) = body.next_chunk().await {
///             count += piece.len();
///         }
///         ctx.get_mut_response().set_body(format!("{count} bytes"));
///         Status::Continue
///     }
/// }
/// ```
pub struct BodyStream {
    pub(super) source: Source,
    pub(super) ended: bool,
}

pub(super) enum Source {
    /// The bytes that were not returned, and the trailers.
    Buffered(Bytes, Headers),
    Incoming(Reader),
}

/// The access of one [`BodyStream`] to the body. [`State::readers`] counts these values: the head of an answer says
/// `connection: close` or not depending on whether one exists.
pub(super) struct Reader(pub(super) Arc<Incoming>);

impl Reader {
    fn new(incoming: Arc<Incoming>) -> Self {
        incoming.lock().readers += 1;
        Self(incoming)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().readers -= 1;
    }
}

impl BodyStream {
    pub(crate) fn of_bytes(bytes: Bytes, trailers: Headers) -> Self {
        Self {
            source: Source::Buffered(bytes, trailers),
            ended: false,
        }
    }

    pub(crate) fn of_incoming(incoming: Arc<Incoming>) -> Self {
        Self {
            source: Source::Incoming(Reader::new(incoming)),
            ended: false,
        }
    }

    /// Waits for the next piece; `None` after the last. A piece is never empty.
    ///
    /// # Errors
    /// [`RequestError::BodyTimeout`], [`RequestError::ClientDisconnected`], [`RequestError::Chunked`],
    /// [`RequestError::BodyTooLarge`] beyond the route's limit, [`RequestError::BodyUnavailable`] after the request is
    /// over. Later calls return the same error.
    ///
    /// # Cancel safety
    /// Cancel safe: no byte is lost.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        poll_fn(|cx| self.poll_source(cx)).await.transpose()
    }

    /// Reads the rest of the body.
    ///
    /// # Errors
    /// [`RequestError::BodyTooLarge`] beyond `limit` bytes, and the errors of [`next_chunk`](Self::next_chunk).
    ///
    /// # Cancel safety
    /// Not cancel safe: bytes that were read are lost.
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Bytes, RequestError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next_chunk().await? {
            if whole.len() + piece.len() > limit {
                return Err(RequestError::BodyTooLarge { limit });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Returns the fields that the client has sent after the body (RFC 9110 §6.5): a checksum, for example. Empty before
    /// [`next_chunk`](Self::next_chunk) has returned `None`, and if the client has sent none.
    ///
    /// The client may have sent any field, so the program reads the names that it knows. They are no header fields: the
    /// server has never merged them. [`RequestError::Chunked`] ends a body whose trailers exceed 8 KiB over HTTP/1.1,
    /// [`max_header_bytes`](crate::ServerConfig) over HTTP/2, or the maximum number of header fields.
    ///
    /// ```
    /// use hyperlane_core::{BodyStream, RequestError};
    ///
    /// async fn sum(mut body: BodyStream) -> Result<Option<String>, RequestError> {
    ///     while let Some(piece) = body.next_chunk().await? {
    ///         // Store the piece.
    /// #       drop(piece);
    ///     }
    ///     Ok(body.trailers().get("x-checksum").map(str::to_owned))
    /// }
    /// # let _ = sum;
    /// ```
    pub fn trailers(&self) -> Headers {
        match &self.source {
            Source::Buffered(bytes, trailers) if bytes.is_empty() => trailers.clone(),
            Source::Buffered(..) => Headers::new(),
            Source::Incoming(reader) => reader.0.lock().trailers.clone(),
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RequestError>>> {
        match &mut self.source {
            Source::Buffered(bytes, _) if bytes.is_empty() => Poll::Ready(None),
            Source::Buffered(bytes, _) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Source::Incoming(reader) => reader.0.poll_piece(cx, Wait::Body),
        }
    }
}

impl futures_core::Stream for BodyStream {
    type Item = Result<Bytes, RequestError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.poll_source(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.ended = true;
        }
        polled
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStream").finish_non_exhaustive()
    }
}
