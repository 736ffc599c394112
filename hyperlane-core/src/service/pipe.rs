//! An in-memory pipe between the outer server (the HTTP server that calls the service) and the hooks. It carries one
//! request and its response.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncWrite, DuplexStream};

use super::{
    BoxError,
    response::{Event, Head, ParseError, ResponseParser},
};
use crate::{
    conn::memory::{self, Afterwards, Ends, InMemory, READ_SIZE},
    proto::http::chunked::{CHUNK_END, LAST_CHUNK, encode_chunk_head},
};

/// The maximum time for which the service holds back the head of a response, if the hooks have requested the body of
/// the request. The outer server sends `100 Continue` when the service polls the body, but can no longer send it after
/// the head. The service therefore holds back the head until the first part of the body arrives. The time is limited,
/// because the client may wait for the head before it sends a body.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// The reason why the body of a response is incomplete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The hooks ended before the response was complete, or they wrote an invalid response. The reason for an early end
    /// is a timeout, or a failure that the log names. The outer stack must then abort its response to the client, too.
    #[error("the response was cut: {0}")]
    Cut(#[source] BoxError),
    /// The body of the request failed. This failure also ends the response.
    #[error("the body of the request failed: {0}")]
    Request(#[source] BoxError),
}

impl From<ParseError> for ServiceError {
    fn from(error: ParseError) -> Self {
        Self::Cut(error.into())
    }
}

/// The pieces of a request's body, as a boxed stream.
pub(super) type AnyPieces = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// The framing of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadFraming {
    /// The declared length. The value is the number of bytes that remain to be sent.
    Length(u64),
    Chunked,
}

/// A request that is being sent to the connection.
pub(super) struct Upload {
    /// Encoded bytes that were not yet written into the pipe.
    pub(super) pending: VecDeque<Bytes>,
    pub(super) body: Option<AnyPieces>,
    pub(super) framing: UploadFraming,
    pub(super) demand: Demand,
}

/// Whether the hooks need the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// The hooks have not requested the body. The client may wait for `100 Continue` (RFC 9110 §10.1.1), so the body is
    /// not polled.
    Held,
    /// The hooks have requested the body, and no part of it has arrived.
    Asked,
    /// The body is polled whenever the pipe has space.
    Free,
}

impl Upload {
    /// Polls the next piece of the body and encodes it into `pending`. Returns `None` after the last piece.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), BoxError>>> {
        if self.demand == Demand::Held {
            return Poll::Pending;
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let piece = ready!(body.as_mut().poll_next(cx));
        self.demand = Demand::Free;
        let piece = match piece {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {
                self.body = None;
                return Poll::Ready(match self.framing {
                    UploadFraming::Length(0) => None,
                    UploadFraming::Length(_) => {
                        Some(Err("the body is shorter than its length".into()))
                    }
                    UploadFraming::Chunked => {
                        self.pending.push_back(Bytes::from_static(LAST_CHUNK));
                        Some(Ok(()))
                    }
                });
            }
        };
        match &mut self.framing {
            UploadFraming::Length(left) => match left.checked_sub(piece.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    self.pending.push_back(piece);
                }
                None => return Poll::Ready(Some(Err("the body is longer than its length".into()))),
            },
            UploadFraming::Chunked => {
                let mut head = Vec::new();
                encode_chunk_head(piece.len(), &mut head);
                self.pending.push_back(head.into());
                self.pending.push_back(piece);
                self.pending.push_back(Bytes::from_static(CHUNK_END));
            }
        }
        Poll::Ready(Some(Ok(())))
    }
}

/// The outer end of the pipe, with the request that is being sent and the response that is being received. If the outer
/// end is dropped, the hooks see a disconnected client.
pub(super) struct Pipe {
    io: DuplexStream,
    ends: Ends,
    upload: Upload,
    response: ResponseParser,
}

impl Pipe {
    /// Creates a pipe for a request. Returns the outer end and the connection's end.
    pub(super) fn new(upload: Upload, head_request: bool) -> (Self, InMemory) {
        let (io, ends, server) = memory::connect(Afterwards::Reset);
        let pipe = Self {
            io,
            ends,
            upload,
            response: ResponseParser::new(head_request),
        };
        (pipe, server)
    }

    /// Waits for the head of the final response.
    pub(super) async fn head(&mut self) -> Result<Head, ServiceError> {
        let head = loop {
            if let Event::Head(head) = poll_fn(|cx| self.poll_event(cx)).await? {
                break head;
            }
        };
        if self.upload.demand == Demand::Asked && !self.response.is_whole() {
            let mut late = pin!(tokio::time::sleep(CONTINUE_WAIT));
            let asked = poll_fn(|cx| match self.poll_asked(cx) {
                Ok(Poll::Pending) => late.as_mut().poll(cx).map(Ok),
                Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error)),
            });
            asked.await?;
        }
        if !self.response.is_whole() {
            // No `100 Continue` can follow the head, so there is no more reason to wait. From now on, the body is
            // polled.
            self.upload.demand = Demand::Free;
        }
        Ok(head)
    }

    /// Reads ahead until the requested body begins to arrive, or until the response is complete or the pipe has ended.
    fn poll_asked(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ServiceError> {
        loop {
            self.poll_upload(cx).map_err(ServiceError::Request)?;
            if self.upload.demand != Demand::Asked
                || self.upload.body.is_none()
                || self.response.is_whole()
            {
                return Ok(Poll::Ready(()));
            }
            if self.response.buffer.len() >= READ_SIZE {
                return Ok(Poll::Pending);
            }
            self.response.buffer.reserve(READ_SIZE);
            match pin!(self.io.read_buf(&mut self.response.buffer)).poll(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(1..)) => {}
                // The stream has ended or failed. The next read in `poll_event` detects this again.
                Poll::Ready(_) => return Ok(Poll::Ready(())),
            }
        }
    }

    /// Returns the pipe, and the bytes that were read after the head of the response.
    pub(super) fn into_parts(self) -> (DuplexStream, Bytes) {
        (self.io, self.response.buffer.freeze())
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, ServiceError>> {
        loop {
            match self.response.next()? {
                Event::More => {}
                Event::Continue => {
                    if self.upload.demand == Demand::Held {
                        self.upload.demand = Demand::Asked;
                    }
                    // The body is polled before the next bytes are parsed. These bytes may contain the head, and the
                    // outer server sends `100 Continue` only before the head.
                    if let Err(error) = self.poll_upload(cx) {
                        return Poll::Ready(Err(ServiceError::Request(error)));
                    }
                    continue;
                }
                event => return Poll::Ready(Ok(event)),
            }
            if let Err(error) = self.poll_upload(cx) {
                return Poll::Ready(Err(ServiceError::Request(error)));
            }
            self.response.buffer.reserve(READ_SIZE);
            let read = pin!(self.io.read_buf(&mut self.response.buffer)).poll(cx);
            match ready!(read) {
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    let in_order = self.ends.is_shut_down();
                    return Poll::Ready(Ok(self.response.end(in_order)?));
                }
            }
        }
    }

    /// Writes as much of the request as the pipe accepts.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        loop {
            while let Some(front) = self.upload.pending.front_mut() {
                match Pin::new(&mut self.io).poll_write(cx, front) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(written @ 1..)) => front.advance(written),
                    Poll::Ready(_) => {
                        // The connection has stopped reading, but its response may still arrive.
                        self.upload.body = None;
                        self.upload.pending.clear();
                        return Ok(());
                    }
                }
                if front.is_empty() {
                    self.upload.pending.pop_front();
                }
            }
            match self.upload.poll_more(cx) {
                Poll::Ready(Some(more)) => more?,
                Poll::Ready(None) | Poll::Pending => return Ok(()),
            }
        }
    }
}

/// The response body of a [`HyperlaneService`](super::HyperlaneService).
///
/// The data that the hooks send is available as soon as they flush it. If the outer stack does not read the data, the
/// hooks wait. If the outer stack drops the body before its end, the hooks see a disconnected client.
///
/// ```
/// use http_body::Body;
/// use hyperlane_core::service::ServiceBody;
///
/// let body = ServiceBody::default();
/// assert!(body.is_end_stream());
/// ```
#[derive(Default)]
pub struct ServiceBody(Source);

#[derive(Default)]
enum Source {
    #[default]
    Over,
    Here(Bytes),
    Pipe(Box<Pipe>),
}

impl ServiceBody {
    pub(super) fn of_pipe(pipe: Pipe) -> Self {
        let mut body = Self(Source::Pipe(Box::new(pipe)));
        body.settle();
        body
    }

    pub(super) fn of_text(text: &'static str) -> Self {
        Self(Source::Here(Bytes::from_static(text.as_bytes())))
    }

    /// Drops the pipe as soon as the response is complete.
    fn settle(&mut self) {
        if let Source::Pipe(pipe) = &self.0
            && pipe.response.left() == Some(0)
        {
            pipe.ends.set(Afterwards::Nothing);
            self.0 = Source::Over;
        }
    }
}

impl Body for ServiceBody {
    type Data = Bytes;
    type Error = ServiceError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ServiceError>>> {
        let pipe = match &mut self.0 {
            Source::Over => return Poll::Ready(None),
            Source::Here(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Source::Over;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Source::Pipe(pipe) => pipe,
        };
        Poll::Ready(match ready!(pipe.poll_event(cx)) {
            Ok(Event::Data(data)) => {
                self.settle();
                Some(Ok(Frame::data(data)))
            }
            // After the head, the only other event is the end of the response.
            Ok(_) => {
                pipe.ends.set(Afterwards::Nothing);
                self.0 = Source::Over;
                None
            }
            Err(error) => {
                self.0 = Source::Over;
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Source::Over)
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.0 {
            Source::Over => Some(0),
            Source::Here(bytes) => Some(bytes.len() as u64),
            Source::Pipe(pipe) => pipe.response.left(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for ServiceBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBody").finish_non_exhaustive()
    }
}
