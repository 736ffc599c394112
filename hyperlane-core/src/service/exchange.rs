//! One request and its response through a connection in memory.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};

use super::{
    BoxError,
    answer::{Answer, AnswerError, Event, Head},
};
use crate::proto::http::chunked::{CHUNK_END, LAST_CHUNK, encode_chunk_head};

/// Bytes that wait in each direction for whoever reads; beyond, who writes waits.
const PIPE: usize = 64 * 1024;

/// Room for one read.
const READ: usize = 16 * 1024;

/// How long the head of a response waits for the body that its hooks have asked for. A server around us says
/// `100 Continue` only before the head, and only once it has seen that the body is wanted; what then comes of the body
/// shows that it has. Not for ever: a client may wait for the head before it sends anything.
const ASKED: Duration = Duration::from_secs(1);

/// Why the body of a response comes to no end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The hooks ended in the middle, by a failure that the server has logged or by a limit of time. Whoever sends the
    /// response on has to cut it, too.
    #[error("the response was cut: {0}")]
    Cut(#[source] BoxError),
    /// The body of the request failed, so that the request is over.
    #[error("the body of the request failed: {0}")]
    Request(#[source] BoxError),
}

impl From<AnswerError> for ServiceError {
    fn from(error: AnswerError) -> Self {
        Self::Cut(error.into())
    }
}

/// What the two sides of the pipe tell each other besides bytes.
#[derive(Default)]
struct Flags {
    /// The response is whole: our leaving is no loss to the hooks.
    answered: AtomicBool,
    /// The connection has ended its side in order.
    ended: AtomicBool,
}

/// The side of the pipe that the connection holds.
pub(super) struct InMemory {
    io: DuplexStream,
    flags: Arc<Flags>,
}

impl AsyncRead for InMemory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = target.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, target))?;
        if target.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        // The other side never ends its half alone: it was dropped.
        if !self.flags.answered.load(Ordering::Acquire) {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        } else if self.flags.ended.load(Ordering::Acquire) {
            Poll::Ready(Ok(()))
        } else {
            // The hooks may have more to do. Nobody is told of more input, as there will be none.
            Poll::Pending
        }
    }
}

impl AsyncWrite for InMemory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flags.ended.store(true, Ordering::Release);
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The pieces of a request's body, without its types.
pub(super) type AnyPieces = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// How the end of a request's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadFraming {
    /// So many bytes are left to send.
    Length(u64),
    Chunked,
}

/// A request on its way in.
pub(super) struct Upload {
    /// Made, and not yet in the pipe.
    pub(super) pending: VecDeque<Bytes>,
    pub(super) body: Option<AnyPieces>,
    pub(super) framing: UploadFraming,
    pub(super) demand: Demand,
}

/// Whether the body of a request is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Not yet: its sender may wait for that, too (RFC 9110 §10.1.1).
    Held,
    /// The hooks have asked for it, and nothing has come.
    Asked,
    /// It comes as it likes.
    Free,
}

impl Upload {
    /// Takes the next piece of the body; `None` when there is nothing more to send.
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
                    UploadFraming::Length(_) => Some(Err("it is shorter than its length".into())),
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
                None => return Poll::Ready(Some(Err("it is longer than its length".into()))),
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

/// Our side of the pipe, with what is on its way in both directions. Dropped, the client is gone.
pub(super) struct Exchange {
    io: DuplexStream,
    flags: Arc<Flags>,
    upload: Upload,
    answer: Answer,
}

impl Exchange {
    /// Makes a pipe for a request; the other side is the connection's.
    pub(super) fn new(upload: Upload, head_request: bool) -> (Self, InMemory) {
        let (io, inner) = tokio::io::duplex(PIPE);
        let flags = Arc::new(Flags::default());
        let exchange = Self {
            io,
            flags: flags.clone(),
            upload,
            answer: Answer::new(head_request),
        };
        (exchange, InMemory { io: inner, flags })
    }

    /// Waits for the head of the final response.
    pub(super) async fn head(&mut self) -> Result<Head, ServiceError> {
        let head = loop {
            if let Event::Head(head) = poll_fn(|cx| self.poll_event(cx)).await? {
                break head;
            }
        };
        if self.upload.demand == Demand::Asked && !self.answer.is_whole() {
            let mut late = pin!(tokio::time::sleep(ASKED));
            let asked = poll_fn(|cx| match self.poll_asked(cx) {
                Ok(Poll::Pending) => late.as_mut().poll(cx).map(Ok),
                Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error)),
            });
            asked.await?;
        }
        if !self.answer.is_whole() {
            // The hooks may read the body from now on without asking: no `100 Continue` follows a head.
            self.upload.demand = Demand::Free;
        }
        Ok(head)
    }

    /// Waits for the body that was asked for, or for an answer that does not need it.
    fn poll_asked(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ServiceError> {
        loop {
            self.poll_upload(cx).map_err(ServiceError::Request)?;
            if self.upload.demand != Demand::Asked
                || self.upload.body.is_none()
                || self.answer.is_whole()
            {
                return Ok(Poll::Ready(()));
            }
            if self.answer.buffer.len() >= READ {
                return Ok(Poll::Pending);
            }
            self.answer.buffer.reserve(READ);
            match pin!(self.io.read_buf(&mut self.answer.buffer)).poll(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(1..)) => {}
                // The next read finds the end again.
                Poll::Ready(_) => return Ok(Poll::Ready(())),
            }
        }
    }

    /// Gives up the pipe, and what of the response was read beyond its head.
    pub(super) fn into_parts(self) -> (DuplexStream, Bytes) {
        (self.io, self.answer.buffer.freeze())
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, ServiceError>> {
        loop {
            match self.answer.next()? {
                Event::More => {}
                Event::Continue => {
                    if self.upload.demand == Demand::Held {
                        self.upload.demand = Demand::Asked;
                    }
                    // The head may follow at once: the body is asked for before.
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
            self.answer.buffer.reserve(READ);
            let read = pin!(self.io.read_buf(&mut self.answer.buffer)).poll(cx);
            match ready!(read) {
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    let in_order = self.flags.ended.load(Ordering::Acquire);
                    return Poll::Ready(Ok(self.answer.end(in_order)?));
                }
            }
        }
    }

    /// Sends on as much of the request as the pipe takes.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        loop {
            while let Some(front) = self.upload.pending.front_mut() {
                match Pin::new(&mut self.io).poll_write(cx, front) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(written @ 1..)) => front.advance(written),
                    Poll::Ready(_) => {
                        // The connection reads no more; its answer may be on its way all the same.
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

/// The body of a response of a server that serves as a service.
///
/// What hooks send is here as soon as they flush it; what is not read makes them wait. Dropped before its end, the
/// client is gone for the hooks.
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
    Exchange(Box<Exchange>),
}

impl ServiceBody {
    pub(super) fn of_exchange(exchange: Exchange) -> Self {
        let mut body = Self(Source::Exchange(Box::new(exchange)));
        body.settle();
        body
    }

    pub(super) fn of_text(text: &'static str) -> Self {
        Self(Source::Here(Bytes::from_static(text.as_bytes())))
    }

    /// Lets the connection go as soon as the response is whole.
    fn settle(&mut self) {
        if let Source::Exchange(exchange) = &self.0
            && exchange.answer.left() == Some(0)
        {
            exchange.flags.answered.store(true, Ordering::Release);
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
        let exchange = match &mut self.0 {
            Source::Over => return Poll::Ready(None),
            Source::Here(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Source::Over;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Source::Exchange(exchange) => exchange,
        };
        Poll::Ready(match ready!(exchange.poll_event(cx)) {
            Ok(Event::Data(data)) => {
                self.settle();
                Some(Ok(Frame::data(data)))
            }
            // Nothing else can come after a head.
            Ok(_) => {
                exchange.flags.answered.store(true, Ordering::Release);
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
            Source::Exchange(exchange) => exchange.answer.left(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for ServiceBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBody").finish_non_exhaustive()
    }
}
