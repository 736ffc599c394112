//! The body of a request: read whole before the hooks, or piece by piece by the handler.

#[cfg(feature = "tower")]
mod frames;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use super::Exchange;
use crate::{
    conn::{
        buffer::READ_BUFFER,
        cork,
        driver::signals,
        input::{Fill, Input, Wait},
        link::Link,
        send::{Limit, Order, Payload},
    },
    error::RequestError,
    http::Request,
    proto::http::{chunked::ChunkedDecoder, head::BodyFraming, write::CONTINUE},
};

/// The largest rest of a body that is read and dropped so that the connection can go on. More costs more than a new
/// connection.
const MAX_DRAIN: u64 = 64 * 1024;

/// How a route takes the body of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyMode {
    /// Read whole before the hooks run.
    #[default]
    Whole,
    /// Read by the handler, piece by piece.
    Stream,
}

/// How a route takes the body, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BodyPlan {
    pub(crate) mode: BodyMode,
    pub(crate) max: Option<usize>,
}

/// What the head says about the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyHead {
    pub(super) framing: BodyFraming,
    pub(super) expects_continue: bool,
}

impl BodyHead {
    /// Whether there is no body.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self.framing, BodyFraming::None | BodyFraming::Length(0))
    }
}

/// A body that is not, or not wholly, read.
pub(crate) struct Incoming {
    connection: Arc<Link>,
    state: Mutex<State>,
}

struct State {
    rest: Rest,
    /// Bytes given out.
    read: u64,
    limit: Option<usize>,
    expect: Expect,
    /// Why no more can be read.
    failed: Option<RequestError>,
    /// The request is over: the bytes that come are no longer the handler's.
    request_over: bool,
    /// How many [`BodyStream`]s of it there are.
    readers: usize,
}

enum Rest {
    Length(u64),
    Chunked(ChunkedDecoder),
    Done,
}

/// Whether the client waits for leave to send its body (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    No,
    /// It waits for `100 Continue`.
    Pending,
    /// It got a final answer instead, and may send the body or not: what comes next has no certain meaning.
    Answered,
}

impl State {
    fn new(head: BodyHead, limit: Option<usize>) -> Self {
        Self {
            rest: match head.framing {
                BodyFraming::None | BodyFraming::Length(0) => Rest::Done,
                BodyFraming::Length(length) => Rest::Length(length),
                BodyFraming::Chunked => Rest::Chunked(ChunkedDecoder::default()),
            },
            read: 0,
            limit,
            expect: if head.expects_continue {
                Expect::Pending
            } else {
                Expect::No
            },
            failed: None,
            request_over: false,
            readers: 0,
        }
    }

    /// Takes what is here of the body off the buffer.
    fn take(&mut self, input: &mut Input) -> Result<Bytes, RequestError> {
        let taken = match &mut self.rest {
            Rest::Done => return Ok(Bytes::new()),
            Rest::Length(rest) => {
                let unread = input.buffer.unread();
                let count = usize::try_from(*rest)
                    .unwrap_or(usize::MAX)
                    .min(unread.len());
                let piece = Bytes::copy_from_slice(unread.get(..count).unwrap_or_default());
                input.buffer.consume(count);
                *rest -= count as u64;
                if *rest == 0 {
                    self.rest = Rest::Done;
                }
                Ok(piece)
            }
            Rest::Chunked(decoder) => {
                let mut piece = BytesMut::new();
                let end = loop {
                    let step = match decoder.decode(input.buffer.unread()) {
                        Ok(step) => step,
                        Err(error) => break Err(error),
                    };
                    piece.extend_from_slice(step.data);
                    let (consumed, done) = (step.consumed, step.done);
                    input.buffer.consume(consumed);
                    if done || input.buffer.is_empty() {
                        break Ok(done);
                    }
                };
                match end {
                    Ok(true) => self.rest = Rest::Done,
                    Ok(false) => {}
                    Err(error) if piece.is_empty() => return Err(error.into()),
                    // What came before the mistake is still given out.
                    Err(error) => self.failed = Some(error.into()),
                }
                Ok(piece.freeze())
            }
        };
        if let Ok(piece) = &taken {
            self.read += piece.len() as u64;
            if let Some(limit) = self.limit
                && self.read > limit as u64
            {
                return Err(RequestError::BodyTooLarge { limit });
            }
        }
        taken
    }

    fn is_done(&self) -> bool {
        matches!(self.rest, Rest::Done)
    }

    /// Whether all that is left may be dropped. What waits in the buffer counts like what is still to come, so the
    /// answer is the same whenever the rest arrives.
    fn can_drain(&self, unread: &[u8]) -> bool {
        match &self.rest {
            Rest::Done => true,
            Rest::Length(rest) => *rest <= MAX_DRAIN,
            // How long it is shows only where its end is here.
            Rest::Chunked(decoder) => ends_within_limit(decoder.clone(), unread),
        }
    }
}

/// Whether a body in chunks ends within `unread`, and after few bytes.
fn ends_within_limit(mut decoder: ChunkedDecoder, mut unread: &[u8]) -> bool {
    let mut length = 0;
    while let Ok(step) = decoder.decode(unread) {
        length += step.data.len() as u64;
        unread = unread.get(step.consumed..).unwrap_or_default();
        if step.done || unread.is_empty() {
            return step.done && length <= MAX_DRAIN;
        }
    }
    false
}

impl Incoming {
    fn new(connection: Arc<Link>, state: State) -> Self {
        Self {
            connection,
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next piece; `None` after the last. What waits for [`Wait::Body`] is the handler's, which gets
    /// nothing after the request is over.
    fn poll_piece(
        &self,
        cx: &mut Context<'_>,
        wait: Wait,
    ) -> Poll<Option<Result<Bytes, RequestError>>> {
        let connection = &self.connection;
        let mut state = self.lock();
        loop {
            // Asked under the lock, or what the end of the request drops could look like the end of the body.
            if state.request_over && wait == Wait::Body {
                return Poll::Ready(Some(Err(RequestError::BodyUnavailable)));
            }
            if let Some(error) = &state.failed {
                return Poll::Ready(Some(Err(error.clone())));
            }
            if state.is_done() {
                return Poll::Ready(None);
            }
            let mut input = connection.lock_input();
            if !input.buffer.is_empty() {
                // A client that sends does not wait.
                state.expect = Expect::No;
                let taken = state.take(&mut input);
                if wait == Wait::Body {
                    // While the handler works on it, no time runs against the client.
                    input.wait_for(Wait::Nothing, connection.now());
                    input.timed_out = false;
                }
                drop(input);
                if !cork::is_polling(connection.id()) {
                    // There is room in the inbox: the task reads on.
                    connection.driver.signal(signals::RECHECK);
                }
                match taken {
                    Ok(piece) if piece.is_empty() => continue,
                    Ok(piece) => return Poll::Ready(Some(Ok(piece))),
                    Err(error) => {
                        state.failed = Some(error);
                        continue;
                    }
                }
            }
            drop(input);
            if state.expect == Expect::Pending {
                // The body is wanted now.
                state.expect = Expect::No;
                // Errors show in the next look at the connection.
                let _ = connection
                    .lane()
                    .send(Payload::Copied(CONTINUE), Order::Own, Limit::None);
            }
            match connection.poll_more(cx, wait, READ_BUFFER) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Fill::Bytes | Fill::Full) => {}
                Poll::Ready(Fill::End) => state.failed = Some(RequestError::ClientDisconnected),
                Poll::Ready(Fill::TimedOut(_)) => state.failed = Some(RequestError::BodyTimeout),
            }
        }
    }

    /// Whether the request is over.
    pub(crate) fn is_request_over(&self) -> bool {
        self.lock().request_over
    }

    async fn read_whole(&self) -> Result<Bytes, RequestError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = poll_fn(|cx| self.poll_piece(cx, Wait::Body)).await {
            let piece = piece?;
            if whole.is_empty() && self.lock().is_done() {
                return Ok(piece);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// A final answer goes out: `100 Continue` may not follow it.
    pub(super) fn end_expectation(&self) {
        let mut state = self.lock();
        if state.expect == Expect::Pending {
            state.expect = Expect::Answered;
        }
    }

    /// Whether the connection cannot go on after an answer that is sent now. Where it says no, [`drain`](Self::drain)
    /// reads the rest, however long it has become.
    ///
    /// `may_read`: the body of the answer is still to be made, maybe of this one.
    pub(super) fn requires_close(&self, may_read: bool) -> bool {
        let state = self.lock();
        if state.is_done() || state.failed.is_some() {
            return state.failed.is_some();
        }
        let input = self.connection.lock_input();
        if state.expect != Expect::No && input.buffer.is_empty() {
            // The client may send the body or not (RFC 9110 §10.1.1).
            return true;
        }
        let is_read_on = may_read && state.readers > 0;
        !is_read_on && !state.can_drain(input.buffer.unread())
    }

    /// Reads and drops the rest, which an answer that lets the connection go on has promised; only the time for it has
    /// a limit. False if the connection cannot go on.
    async fn drain(&self) -> bool {
        {
            let mut state = self.lock();
            // Bytes that are dropped are not too many for the route.
            state.limit = None;
            if let Some(RequestError::BodyTooLarge { .. }) = state.failed {
                state.failed = None;
            }
            // After a final answer, the client that waited for 100 may send the body or not.
            let waits = state.expect != Expect::No;
            if waits && !state.is_done() && self.connection.lock_input().buffer.is_empty() {
                return false;
            }
        }
        loop {
            match poll_fn(|cx| self.poll_piece(cx, Wait::Drain)).await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(_)) => {}
            }
        }
    }
}

impl Exchange {
    /// Decides what becomes of the body before the hooks run. False if it has to be waited for by
    /// [`read_rest`](Self::read_rest).
    pub(crate) fn start_body(
        &mut self,
        request: &mut Request,
        head: BodyHead,
        plan: BodyPlan,
    ) -> Result<bool, RequestError> {
        if head.is_empty() {
            return Ok(true);
        }
        let limit = match plan.mode {
            BodyMode::Whole => Some(plan.max.unwrap_or(self.connection().env.config.max_body)),
            // As long as the program likes.
            BodyMode::Stream => plan.max,
        };
        if let (BodyFraming::Length(length), Some(limit)) = (head.framing, limit)
            && length > limit as u64
        {
            self.closes = true;
            return Err(RequestError::BodyTooLarge { limit });
        }
        let mut state = State::new(head, limit);
        if plan.mode == BodyMode::Whole {
            // The usual small body came with its head.
            let mut input = self.connection().lock_input();
            let whole = match head.framing {
                BodyFraming::Length(length) => input.buffer.len() as u64 >= length,
                _ => false,
            };
            if whole {
                let body = state.take(&mut input)?;
                drop(input);
                request.set_body(body);
                return Ok(true);
            }
        }
        if state.expect == Expect::Pending && plan.mode == BodyMode::Stream {
            // Another task may ask for the body: `100 Continue` must not overtake earlier answers.
            self.connection().lane().flush();
        }
        self.body = Some(Arc::new(Incoming::new(self.connection().clone(), state)));
        Ok(plan.mode == BodyMode::Stream)
    }

    /// Waits for what is left of the body.
    pub(crate) async fn read_rest(&mut self) -> Result<Bytes, RequestError> {
        let Some(incoming) = &self.body else {
            return Ok(Bytes::new());
        };
        match incoming.read_whole().await {
            Ok(body) => {
                self.body = None;
                Ok(body)
            }
            Err(error) => {
                self.closes = true;
                Err(error)
            }
        }
    }

    /// The body that the hooks may read.
    pub(crate) fn incoming(&self) -> Option<Arc<Incoming>> {
        self.body.clone()
    }

    /// Whether a body is not known to be read to its end.
    pub(crate) fn has_body_left(&self) -> bool {
        self.body.is_some()
    }

    /// Takes the body from the handler; what it left is dropped, or the connection closes.
    pub(crate) async fn finish_body(&mut self) {
        // It stays until its end is read: a hook may drop this wait, and the rest is no request.
        let Some(incoming) = self.body.clone() else {
            return;
        };
        incoming.lock().request_over = true;
        {
            let mut input = self.connection().lock_input();
            input.timed_out = false;
            // Another task may wait for a piece that is no longer its own.
            input.wake_readers();
        }
        if !self.keeps_alive() || !incoming.drain().await {
            self.closes = true;
        }
        self.body = None;
        let now = self.connection().now();
        let mut input = self.connection().lock_input();
        input.timed_out = false;
        input.wait_for(Wait::Nothing, now);
    }
}

/// The body of a request, piece by piece.
///
/// Made by [`Context::body_stream`](crate::Context::body_stream). On a route that takes its body as a stream
/// ([`ServerHook::BODY`](crate::ServerHook::BODY), `#[body_stream(x)]`) the socket is read only when a piece is asked
/// for; at most 64 KiB more wait in the connection's inbox, and then the client has to wait. `100 Continue` is sent
/// when the first piece is asked for (RFC 9110 §10.1.1). Elsewhere it gives the body that was read before.
///
/// It may be moved to another task. When the request is over, what is left of the body can no longer be read: the server
/// drops it where it has at most 64 KiB, and the connection serves further requests. An answer that leaves more of it,
/// or a body in chunks whose end is not here, says `connection: close`. An answer whose own body is a stream lets the
/// connection go on while a `BodyStream` of the request is left, which it may read.
///
/// As a `futures_core::Stream` it ends after an error.
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
    source: Source,
    ended: bool,
}

enum Source {
    Buffered(Bytes),
    Incoming(Reader),
}

/// Counted, so that the head of an answer can tell whether the rest is still wanted.
struct Reader(Arc<Incoming>);

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
    pub(crate) fn of_bytes(bytes: Bytes) -> Self {
        Self {
            source: Source::Buffered(bytes),
            ended: false,
        }
    }

    pub(crate) fn of_incoming(incoming: Arc<Incoming>) -> Self {
        Self {
            source: Source::Incoming(Reader::new(incoming)),
            ended: false,
        }
    }

    /// Waits for the next piece, which is never empty; `None` after the last.
    ///
    /// # Errors
    /// [`RequestError::BodyTimeout`], [`RequestError::ClientDisconnected`], [`RequestError::Chunked`],
    /// [`RequestError::BodyTooLarge`] beyond the route's limit, [`RequestError::BodyUnavailable`] after the request is
    /// over. The same again for every further call.
    ///
    /// # Cancel safety
    /// Cancel safe: no byte is lost.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        poll_fn(|cx| self.poll_source(cx)).await.transpose()
    }

    /// Reads all that is left.
    ///
    /// # Errors
    /// [`RequestError::BodyTooLarge`] beyond `limit` bytes, else as [`next_chunk`](Self::next_chunk).
    ///
    /// # Cancel safety
    /// Not cancel safe: what was read is lost.
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

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RequestError>>> {
        match &mut self.source {
            Source::Buffered(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Buffered(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
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
