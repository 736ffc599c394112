//! The body of a request. The server reads the whole body before the hooks (the program's functions for a request) run,
//! or the handler (the hook of the route) reads the body piece by piece.

#[cfg(feature = "tower")]
mod frames;
mod parts;
mod stream;

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use self::parts::{MAX_DRAIN, ends_within_limit, send_continue};
pub use self::stream::BodyStream;
use super::Exchange;
use crate::{
    conn::{
        buffer::READ_BUFFER,
        cork,
        driver::signals,
        input::{Fill, Input, Wait},
        link::Link,
    },
    error::RequestError,
    http::{Headers, Request},
    proto::http::{
        chunked::{ChunkedDecoder, ChunkedError},
        head::BodyFraming,
    },
};

/// The way in which a route reads the body of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyMode {
    /// The server reads the whole body before the hooks run.
    #[default]
    Whole,
    /// The handler reads the body piece by piece.
    Stream,
}

/// The way in which a route reads the body, and the maximum length of the body in bytes. Without a maximum of the
/// route, `ServerConfig::max_body` applies to a whole body, and a streamed body has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BodyPlan {
    pub(crate) mode: BodyMode,
    pub(crate) max: Option<usize>,
}

/// What the head of a request says about the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyHead {
    pub(super) framing: BodyFraming,
    pub(super) expects_continue: bool,
}

impl BodyHead {
    /// Returns whether there is no body.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self.framing, BodyFraming::None | BodyFraming::Length(0))
    }
}

/// A request body that was not yet read to its end.
pub(crate) struct Incoming {
    connection: Arc<Link>,
    state: Mutex<State>,
}

struct State {
    rest: Rest,
    /// Bytes read so far.
    read: u64,
    limit: Option<usize>,
    expect: Expect,
    /// The error that ended the reading of the body.
    failed: Option<RequestError>,
    /// The request is over, so the handler may read no more.
    request_over: bool,
    /// Number of [`BodyStream`]s of this body.
    readers: usize,
    /// The part of the trailer section of a chunked body that was read.
    section: Vec<u8>,
    /// The fields after the body. Empty before its end.
    trailers: Headers,
    /// Maximum number of these fields.
    max_trailers: usize,
    /// True for a stream of HTTP/2. Its end ends the body, and trailers may precede it.
    is_stream: bool,
}

enum Rest {
    Length(u64),
    Chunked(ChunkedDecoder),
    /// The end of the stream ends the body.
    UntilEnd,
    Done,
}

/// State of `Expect: 100-continue` (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    No,
    /// The client waits for `100 Continue`.
    Pending,
    /// The client got a final answer instead of `100 Continue`. The client may now send the body or omit it, so its
    /// next bytes are ambiguous.
    Answered,
}

impl State {
    fn new(head: BodyHead, limit: Option<usize>, link: &Link) -> Self {
        Self {
            rest: match head.framing {
                BodyFraming::None | BodyFraming::Length(0) => Rest::Done,
                BodyFraming::Length(length) => Rest::Length(length),
                BodyFraming::Chunked => Rest::Chunked(ChunkedDecoder::default()),
                BodyFraming::UntilEnd => Rest::UntilEnd,
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
            section: Vec::new(),
            trailers: Headers::new(),
            max_trailers: link.env.head_limits.header_count,
            is_stream: link.lane.is_stream,
        }
    }

    /// Removes the buffered part of the body from the input and returns it.
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
                    self.rest = match self.is_stream {
                        true => Rest::UntilEnd,
                        false => Rest::Done,
                    };
                }
                Ok(piece)
            }
            Rest::UntilEnd => {
                let piece = Bytes::copy_from_slice(input.buffer.unread());
                input.buffer.consume(piece.len());
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
                    self.section.extend_from_slice(step.trailers);
                    let (consumed, done) = (step.consumed, step.done);
                    input.buffer.consume(consumed);
                    if done || input.buffer.is_empty() {
                        break Ok(done);
                    }
                };
                match end {
                    Ok(true) => {
                        self.rest = Rest::Done;
                        let section = std::mem::take(&mut self.section);
                        self.set_trailers(parts::fields(&section));
                    }
                    Ok(false) => {}
                    Err(error) if piece.is_empty() => return Err(error.into()),
                    // The part before the error is still returned. The next read returns the error.
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

    /// Ends the body of a stream of HTTP/2.
    fn end_stream(&mut self, input: &mut Input) {
        self.rest = Rest::Done;
        if let Some(trailers) = input.take_trailers() {
            self.set_trailers(trailers);
        }
    }

    fn set_trailers(&mut self, trailers: Headers) {
        if trailers.len() > self.max_trailers {
            self.failed = Some(ChunkedError::TrailersTooLarge.into());
        } else {
            self.trailers = trailers;
        }
    }

    /// Returns whether the unread rest of the body is short enough for the server to read and drop it. `unread` has the
    /// bytes that are already buffered. They are a part of the rest, and the rest of a body with a length is known
    /// without them.
    fn can_drain(&self, unread: &[u8]) -> bool {
        match &self.rest {
            Rest::Done => true,
            Rest::Length(rest) => *rest <= MAX_DRAIN,
            // The length of a chunked body is known only if its end is buffered.
            Rest::Chunked(decoder) => ends_within_limit(decoder.clone(), unread),
            // A stream carries one request, so nothing follows the rest.
            Rest::UntilEnd => true,
        }
    }
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

    /// Waits for the next piece; `None` after the last. `wait` says what the pieces are for. [`Wait::Body`] means that
    /// the hooks use them, and the result is an error after the request is over. [`Wait::Drain`] means that the server
    /// drops them.
    fn poll_piece(
        &self,
        cx: &mut Context<'_>,
        wait: Wait,
    ) -> Poll<Option<Result<Bytes, RequestError>>> {
        let connection = &self.connection;
        let mut state = self.lock();
        loop {
            // After the request, the server reads the rest of the body and drops it. Without this check, a task of the
            // program that still reads would then get `None`, and would take the body for complete. The check needs the
            // lock, because that task may run at the same time as the server.
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
                // The client already sends the body, so it does not wait for `100 Continue`.
                state.expect = Expect::No;
                let taken = state.take(&mut input);
                if wait == Wait::Body {
                    // While the handler works on the piece, the client need not send, so the timer for its input stops.
                    input.wait_for(Wait::Nothing, connection.now());
                    input.timed_out = false;
                }
                drop(input);
                if !cork::is_polling(connection.id()) {
                    // A task other than the connection's reads this body. The read buffer has room again, so the
                    // connection's task must read on.
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
            if matches!(state.rest, Rest::UntilEnd) && input.has_read_all() {
                state.end_stream(&mut input);
                continue;
            }
            drop(input);
            if state.expect == Expect::Pending {
                // The handler waits for the body, or the server waits for the whole body before the hooks run. The
                // client sends the body only after `100 Continue`.
                state.expect = Expect::No;
                send_continue(connection);
            }
            match connection.poll_more(cx, wait, READ_BUFFER) {
                // The wait may have found the end of the stream.
                Poll::Pending
                    if matches!(state.rest, Rest::UntilEnd)
                        && connection.lock_input().has_read_all() => {}
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Fill::Bytes | Fill::Full) => {}
                Poll::Ready(Fill::End) => state.failed = Some(RequestError::ClientDisconnected),
                Poll::Ready(Fill::TimedOut(_)) => state.failed = Some(RequestError::BodyTimeout),
            }
        }
    }

    /// Returns whether the request is over.
    pub(crate) fn is_request_over(&self) -> bool {
        self.lock().request_over
    }

    async fn read_whole(&self) -> Result<Bytes, RequestError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = poll_fn(|cx| self.poll_piece(cx, Wait::Body)).await {
            let piece = piece?;
            let has_all = {
                let state = self.lock();
                state.is_done() && state.failed.is_none()
            };
            if whole.is_empty() && has_all {
                return Ok(piece);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Ends the expectation of `100 Continue`: the client gets a final answer instead.
    pub(super) fn end_expectation(&self) {
        let mut state = self.lock();
        if state.expect == Expect::Pending {
            state.expect = Expect::Answered;
        }
    }

    /// Returns whether the unread rest of the body requires the connection to close after an answer that is sent now.
    /// If not, the answer keeps the connection, and [`drain`](Self::drain) later reads and drops the rest.
    ///
    /// `may_read` is true if the body of the answer is still to be sent, and the program may read the body of the
    /// request to produce it.
    pub(super) fn requires_close(&self, may_read: bool) -> bool {
        let state = self.lock();
        if state.is_done() || state.failed.is_some() {
            return state.failed.is_some();
        }
        let input = self.connection.lock_input();
        if state.expect != Expect::No && input.buffer.is_empty() {
            // The client may send the body or omit it (RFC 9110 §10.1.1), so its next bytes would be ambiguous.
            return true;
        }
        let is_read_on = may_read && state.readers > 0;
        !is_read_on && !state.can_drain(input.buffer.unread())
    }

    /// Reads and drops the rest of the body. The rest has a time limit, but no maximum length, because the answer has
    /// promised to keep the connection. Returns false if the connection has to close.
    async fn drain(&self) -> bool {
        {
            let mut state = self.lock();
            // The route's limit does not apply to dropped bytes.
            state.limit = None;
            if let Some(RequestError::BodyTooLarge { .. }) = state.failed {
                state.failed = None;
            }
            // A client that waited for `100 Continue` and got a final answer may send the body or omit it. Its next
            // bytes would be ambiguous.
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
    /// Prepares the body before the hooks run. Returns false if [`read_rest`](Self::read_rest) has to wait for the
    /// whole body.
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
            // A streamed body has a limit only if the route sets one.
            BodyMode::Stream => plan.max,
        };
        if let (BodyFraming::Length(length), Some(limit)) = (head.framing, limit)
            && length > limit as u64
        {
            self.wire.closes = true;
            return Err(RequestError::BodyTooLarge { limit });
        }
        let mut state = State::new(head, limit, self.connection());
        if plan.mode == BodyMode::Whole {
            // A small body usually comes with its head.
            let mut input = self.connection().lock_input();
            let whole = match head.framing {
                BodyFraming::Length(length) => {
                    !state.is_stream && input.buffer.len() as u64 >= length
                }
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
            // Another task may read the body, and the first read sends `100 Continue`. Earlier answers must be sent
            // before this `100`, so they are flushed now.
            self.connection().lane().flush();
        }
        self.body = Some(Arc::new(Incoming::new(self.connection().clone(), state)));
        Ok(plan.mode == BodyMode::Stream)
    }

    /// Waits for the rest of the body, and sets the whole body and its trailers in the request.
    pub(crate) async fn read_rest(&mut self, request: &mut Request) -> Result<(), RequestError> {
        let Some(incoming) = &self.body else {
            return Ok(());
        };
        match incoming.read_whole().await {
            Ok(body) => {
                request.set_body(body);
                request.set_trailers(std::mem::take(&mut incoming.lock().trailers));
                self.body = None;
                Ok(())
            }
            Err(error) => {
                self.wire.closes = true;
                Err(error)
            }
        }
    }

    /// Returns the body that the hooks may read.
    pub(crate) fn incoming(&self) -> Option<Arc<Incoming>> {
        self.body.clone()
    }

    /// Returns whether a part of the body may be unread.
    pub(crate) fn has_body_left(&self) -> bool {
        self.body.is_some()
    }

    /// Ends the handler's access to the body. Then the server reads and drops the rest of the body, or the connection
    /// closes.
    pub(crate) async fn finish_body(&mut self) {
        // `self.body` stays set until the end of the body is read. A hook may drop this future earlier, and the server
        // must not parse the rest of the body as a request.
        let Some(incoming) = self.body.clone() else {
            return;
        };
        incoming.lock().request_over = true;
        {
            let mut input = self.connection().lock_input();
            input.timed_out = false;
            // Another task may wait for a piece. It now gets an error.
            input.wake_readers();
        }
        if !self.keeps_alive() || !incoming.drain().await {
            self.wire.closes = true;
        }
        self.body = None;
        let now = self.connection().now();
        let mut input = self.connection().lock_input();
        input.timed_out = false;
        input.wait_for(Wait::Nothing, now);
    }
}
