//! The reading side of a connection.
//!
//! Only the connection's task polls the socket. A handler (a function of the program for a request) that reads gets
//! bytes straight from the read buffer. While the handler awaits something else, the task reads ahead into a bounded
//! inbox. Thus the task answers pings and notices a Close or the end of the stream at once.

use std::{
    io,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

#[cfg(feature = "http2")]
use super::http2::Http2Stream;
use super::{
    buffer::ReadBuffer, cork, handshake::Handshake, lifecycle::Transport, link::Link,
    transport::Reader, wakers::Wakers, websocket::WsInput,
};
use crate::{
    env::timers::{MaybeTick, Tick},
    http::Headers,
    proto::http::head::HeadScanner,
    wire::WireFormat,
};

/// The protocol of the bytes that come in.
pub(crate) enum Mode {
    /// HTTP requests. The connection only buffers the bytes. [`Exchange`](crate::exchange::Exchange) parses them. The
    /// scanner is the one of a head that arrives in pieces. It is `None` while no piece has arrived.
    Http(Option<Box<HeadScanner>>),
    /// HTTP, with an accepted WebSocket handshake whose 101 was not sent yet.
    Handshake(Box<Handshake>),
    /// WebSocket frames. The connection decodes them.
    WebSocket(Box<WsInput>),
    /// Bytes to discard. A client sends them although it receives an event stream on this connection.
    Discard,
}

/// The input that a connection waits for. It determines the time limit of the wait ([`Link::wait_limit`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The first byte of the next request.
    Idle,
    /// The rest of a head.
    Head,
    /// More of a body.
    Body,
    /// The rest of a body that no hook reads. The server drops it.
    Drain,
    /// No input, because the handler works. There is no time limit.
    Nothing,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Bytes,
    /// The peer has ended its sending direction, or the transport has failed. During a shutdown, also the result of a
    /// wait for a request that has not begun to arrive.
    End,
    /// The buffer has reached its limit.
    Full,
    /// The time limit of this wait passed.
    TimedOut(Wait),
}

/// The state that the lock `input` of a [`Link`] protects.
pub(crate) struct Input {
    pub(crate) reader: Reader,
    pub(crate) buffer: ReadBuffer,
    pub(crate) mode: Mode,
    pub(crate) wait: Wait,
    pub(crate) wait_since: Tick,
    pub(crate) timed_out: bool,
    pub(crate) last_received: Tick,
    /// Tick at which the task closes the transport at the latest; none before the connection begins to close.
    pub(crate) close_by: MaybeTick,
    /// Tick at which the task drops the handler's side if it still runs then; none until the peer is gone.
    pub(super) abandon_at: MaybeTick,
    /// The wakers of futures that wait for input. Most of these futures belong to other tasks. A future inside the
    /// connection's task is listed only if it is polled with another waker than the waker of the task.
    pub(super) readers: Wakers,
}

impl Input {
    pub(crate) fn new(reader: Reader, now: Tick) -> Self {
        Self {
            reader,
            buffer: ReadBuffer::default(),
            mode: Mode::Http(None),
            wait: Wait::Head,
            wait_since: now,
            timed_out: false,
            last_received: now,
            close_by: MaybeTick::NONE,
            abandon_at: MaybeTick::NONE,
            readers: Wakers::default(),
        }
    }

    pub(crate) fn wait_for(&mut self, wait: Wait, now: Tick) {
        if self.wait != wait {
            self.wait = wait;
            self.wait_since = now;
            // If a time limit has expired, it was the limit of the previous wait.
            self.timed_out = false;
        }
    }

    pub(crate) fn wake_readers(&mut self) {
        std::mem::take(&mut self.readers).wake();
    }

    /// Returns whether a client of HTTP/2 has ended its direction and all its data was read. Over HTTP/1.1, the framing
    /// of a body says where it ends.
    pub(crate) fn has_read_all(&mut self) -> bool {
        #[cfg(feature = "http2")]
        if let Some(stream) = self.reader.http2() {
            return stream.has_read_all() && self.buffer.is_empty();
        }
        false
    }

    /// Takes the fields that a client of HTTP/2 has sent after its data. Over HTTP/1.1, they are a part of the body's framing.
    pub(crate) fn take_trailers(&mut self) -> Option<Headers> {
        #[cfg(feature = "http2")]
        if let Some(fields) = self.reader.http2().and_then(Http2Stream::take_trailers) {
            let mut trailers = Headers::new();
            for (name, value) in &*fields {
                trailers.append_parsed(name.as_str(), value.as_bytes());
            }
            return Some(trailers);
        }
        None
    }

    /// Returns whether the client may still send something that should be read and dropped after the end of the answer. Some
    /// clients of HTTP/2 lose an answer if their stream is reset while they upload.
    pub(super) fn may_linger(&mut self) -> bool {
        #[cfg(feature = "http2")]
        if let Some(stream) = self.reader.http2() {
            return !stream.is_tunnel() && !stream.has_read_all();
        }
        true
    }

    pub(crate) fn websocket(&mut self) -> Option<&mut WsInput> {
        match &mut self.mode {
            Mode::WebSocket(websocket) => Some(websocket),
            _ => None,
        }
    }

    /// Reads once from the transport. Only the connection's task calls this.
    pub(super) fn poll_fill(&mut self, link: &Link, limit: usize) -> Poll<Fill> {
        if link.lane.life.has_input_ended() {
            return Poll::Ready(Fill::End);
        }
        let Some(waker) = link.driver.waker() else {
            return Poll::Pending;
        };
        if link.driver.is_budget_spent() {
            // Other tasks run first: the runtime puts this task behind them.
            waker.wake_by_ref();
            return Poll::Pending;
        }
        let mut cx = Context::from_waker(waker);
        if link.driver.drained.load(Ordering::Relaxed)
            && self.reader.poll_readable(&mut cx).is_pending()
        {
            return self.arm_read(link);
        }
        loop {
            let Self {
                mode,
                buffer,
                reader,
                ..
            } = &mut *self;
            let direct = match mode {
                Mode::WebSocket(websocket) if buffer.is_empty() => websocket.direct_target(),
                _ => None,
            };
            let is_direct = direct.is_some();
            let (read, room) = match direct {
                Some(mut target) => {
                    let room = target.limit();
                    (reader.poll_read_buf(&mut cx, &mut target), room)
                }
                None => {
                    link.driver.has_buffer.store(true, Ordering::Relaxed);
                    let space = buffer.space(limit);
                    if space.is_empty() {
                        return Poll::Ready(self.full(link, &mut cx));
                    }
                    let room = space.len();
                    (reader.poll_read(&mut cx, space), room)
                }
            };
            match read {
                Poll::Pending => {
                    if self.reader.take_end_news() {
                        self.wake_readers();
                    }
                    return self.arm_read(link);
                }
                Poll::Ready(Ok(0)) => {
                    link.lane.life.set_input_ended();
                    return Poll::Ready(Fill::End);
                }
                Poll::Ready(Ok(count)) => {
                    match self.websocket() {
                        Some(websocket) if is_direct => websocket.direct_filled(),
                        _ => self.buffer.filled(count),
                    }
                    self.last_received = link.now();
                    link.driver.drained.store(count < room, Ordering::Relaxed);
                    link.driver.charge(count / 4);
                    return Poll::Ready(Fill::Bytes);
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(_)) => {
                    link.lane.life.set_input_ended();
                    link.lane.lock_out().lose(link.lane());
                    return Poll::Ready(Fill::End);
                }
            }
        }
    }

    /// Returns whether the client has cancelled a stream of HTTP/2 whose inbox is full, so that nothing is read.
    fn is_cancelled_while_full(&mut self, link: &Link) -> bool {
        if !link.lane.is_stream || link.lane.life.has_input_ended() {
            return false;
        }
        let Some(waker) = link.driver.waker() else {
            return false;
        };
        matches!(self.full(link, &mut Context::from_waker(waker)), Fill::End)
    }

    /// Handles a full buffer. A stream of HTTP/2 learns of its end all the same: its client may cancel it, and a stream
    /// that keeps unread data holds up the others.
    #[cold]
    fn full(&mut self, link: &Link, cx: &mut Context<'_>) -> Fill {
        if !self.reader.is_cancelled(cx) {
            return Fill::Full;
        }
        link.lane.life.set_input_ended();
        link.lane.lock_out().lose(link.lane());
        Fill::End
    }

    /// Handles a read that found no bytes. The socket wakes the task when bytes arrive.
    fn arm_read(&mut self, link: &Link) -> Poll<Fill> {
        link.driver.read_armed.store(true, Ordering::Relaxed);
        if self.buffer.is_empty() {
            // The caller holds the lock already, so the buffer settles now. `settle_input` would have to take the lock
            // again.
            self.buffer.settle();
            link.driver.has_buffer.store(false, Ordering::Relaxed);
        }
        Poll::Pending
    }

    /// Registers the waker of `cx` for input. The task's own waker needs no registration, because the socket wakes the
    /// task.
    pub(super) fn await_input(&mut self, link: &Link, cx: &Context<'_>) {
        if !link.driver.is_own_waker(cx) {
            self.readers.add(cx.waker());
        }
    }

    /// Ends all waits for input after the peer has ended its sending direction.
    pub(super) fn end(&mut self, link: &Link) {
        self.wake_readers();
        if let Some(websocket) = self.websocket() {
            websocket.set_lost();
        }
        // A client of plain HTTP may end its sending direction and still wait for the response. A client of a WebSocket
        // or of an event stream has left.
        if link.lane.format() != WireFormat::Http {
            link.lane.life.set_transport(Transport::Closed);
        }
    }

    /// Waits until more bytes are buffered. The exchange (the state of one request and its answer) calls this to read a
    /// head or a body.
    pub(crate) fn poll_more(
        &mut self,
        link: &Link,
        cx: &mut Context<'_>,
        wait: Wait,
        limit: usize,
    ) -> Poll<Fill> {
        let known = self.buffer.len();
        self.wait_for(wait, link.now());
        // The time limit of a body is a limit on the time without bytes. Bytes that have arrived after this limit are
        // still accepted, so the check for a body comes after the read.
        if self.timed_out && wait != Wait::Body {
            self.timed_out = false;
            return Poll::Ready(Fill::TimedOut(wait));
        }
        let fill = if cork::is_polling(link.id()) {
            self.poll_fill(link, limit)
        } else if known > 0 && wait == Wait::Body {
            // The caller runs outside of the connection's task and cannot read. It gets the bytes of the body that the
            // task has read ahead.
            Poll::Ready(Fill::Bytes)
        } else if link.lane.life.has_input_ended() {
            Poll::Ready(Fill::End)
        } else {
            Poll::Pending
        };
        match fill {
            Poll::Ready(Fill::Bytes) if wait == Wait::Body => {
                self.wait_since = link.now();
                self.timed_out = false;
                Poll::Ready(Fill::Bytes)
            }
            Poll::Ready(fill) => Poll::Ready(fill),
            Poll::Pending if self.timed_out && !link.driver.is_budget_spent() => {
                self.timed_out = false;
                Poll::Ready(Fill::TimedOut(wait))
            }
            // During a shutdown, no further request is read. A request that has begun to arrive is still answered.
            Poll::Pending
                if (wait == Wait::Idle || wait == Wait::Head && known == 0)
                    && link.env.is_shutting_down() =>
            {
                Poll::Ready(Fill::End)
            }
            Poll::Pending => {
                debug_assert_eq!(known, self.buffer.len());
                self.await_input(link, cx);
                if let Some(limit) = link.wait_limit(self.wait) {
                    link.arm(self.wait_since.after(limit));
                }
                Poll::Pending
            }
        }
    }
}

impl Link {
    /// Locks the input and calls [`Input::poll_more`].
    pub(crate) fn poll_more(&self, cx: &mut Context<'_>, wait: Wait, limit: usize) -> Poll<Fill> {
        self.lock_input().poll_more(self, cx, wait, limit)
    }

    /// Reads while the handler does something else. Only the connection's task calls this.
    pub(super) fn read_ahead(&self) {
        if self.driver.read_armed.load(Ordering::Relaxed) {
            return;
        }
        let mut input = self.lock_input();
        let limit = match input.wait {
            // Some code waits for a head, but has not read in this poll. The buffer must have room for the whole head.
            Wait::Head => self.env.head_space().max(self.env.config.inbox_bytes),
            _ => self.env.config.inbox_bytes,
        };
        loop {
            match &input.mode {
                Mode::WebSocket(_) => {
                    if !input.fill_inbox(self) {
                        if input.is_cancelled_while_full(self) {
                            input.end(self);
                        }
                        return;
                    }
                }
                Mode::Discard => input.buffer.discard(),
                Mode::Http(_) | Mode::Handshake(_) => {}
            }
            let before = input.buffer.len();
            match input.poll_fill(self, limit) {
                Poll::Ready(Fill::Bytes) => {
                    if matches!(input.mode, Mode::Http(_) | Mode::Handshake(_))
                        && input.buffer.len() > before
                    {
                        input.wake_readers();
                    }
                }
                Poll::Ready(Fill::End) => {
                    input.end(self);
                    return;
                }
                Poll::Ready(_) | Poll::Pending => return,
            }
        }
    }

    /// Returns the read buffer to the thread at the end of a poll, so that an idle connection has no buffer.
    pub(super) fn settle_input(&self) {
        // If the budget of the poll is spent, the task runs again soon, and so keeps the buffer.
        let has_buffer = self.driver.has_buffer.load(Ordering::Relaxed);
        if has_buffer && !self.driver.is_budget_spent() {
            let mut input = self.lock_input();
            input.buffer.settle();
            // Unread bytes are in an allocation of their own, which a later poll has to free.
            let holds = !input.buffer.is_empty();
            self.driver.has_buffer.store(holds, Ordering::Relaxed);
        }
    }
}
