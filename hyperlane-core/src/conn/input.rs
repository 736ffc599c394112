//! The reading side of a connection.
//!
//! Only the connection's task polls the socket. While the handler reads, it gets bytes straight from the thread's
//! buffer. While the handler awaits something else, the task reads ahead into a bounded inbox, so that pings are
//! answered, and a Close or the end of the stream is noticed at once.

use std::{
    io,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use super::{
    buffer::ReadBuffer, cork, handshake::Handshake, lifecycle::Transport, link::Link,
    transport::Reader, wakers::Wakers, websocket::WsInput,
};
use crate::{env::timers::Tick, wire::WireFormat};

/// The protocol of the bytes that come in.
pub(crate) enum Mode {
    /// HTTP requests. They are only buffered here; the exchange parses them.
    Http,
    /// Still HTTP: a WebSocket handshake is accepted, and its 101 was not sent.
    Handshake(Box<Handshake>),
    /// WebSocket frames, which are decoded here.
    WebSocket(Box<WsInput>),
    /// Bytes to discard: the client's side of an event stream.
    Discard,
}

/// The input that a connection waits for, which decides its time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The first byte of the next request.
    Idle,
    /// The rest of a head.
    Head,
    /// More of a body.
    Body,
    /// The rest of a body, to drop it.
    Drain,
    /// No input: the handler works.
    Nothing,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Bytes,
    /// The peer has ended its side, or the transport failed.
    End,
    /// The buffer holds as many bytes as it may.
    Full,
    /// The time limit of this wait passed.
    TimedOut(Wait),
}

/// The state behind the lock `input`.
pub(crate) struct Input {
    pub(crate) reader: Reader,
    pub(crate) buffer: ReadBuffer,
    pub(crate) mode: Mode,
    pub(crate) wait: Wait,
    pub(crate) wait_since: Tick,
    pub(crate) timed_out: bool,
    pub(crate) last_received: Tick,
    /// Tick at which the transport is closed at the latest, once the end has begun.
    pub(crate) close_by: Option<Tick>,
    /// Other tasks, and futures within this task, that wait for input.
    pub(super) readers: Wakers,
}

impl Input {
    pub(crate) fn new(reader: Reader, now: Tick) -> Self {
        Self {
            reader,
            buffer: ReadBuffer::default(),
            mode: Mode::Http,
            wait: Wait::Head,
            wait_since: now,
            timed_out: false,
            last_received: now,
            close_by: None,
            readers: Wakers::default(),
        }
    }

    pub(crate) fn wait_for(&mut self, wait: Wait, now: Tick) {
        if self.wait != wait {
            self.wait = wait;
            self.wait_since = now;
            // The limit that passed was that of the previous wait.
            self.timed_out = false;
        }
    }

    pub(crate) fn wake_readers(&mut self) {
        std::mem::take(&mut self.readers).wake();
    }

    pub(crate) fn websocket(&mut self) -> Option<&mut WsInput> {
        match &mut self.mode {
            Mode::WebSocket(websocket) => Some(websocket),
            _ => None,
        }
    }

    /// Reads once from the transport. Called only while the task is polled.
    pub(super) fn poll_fill(&mut self, link: &Link, limit: usize) -> Poll<Fill> {
        if link.lane.life.has_input_ended() {
            return Poll::Ready(Fill::End);
        }
        let Some(waker) = link.driver.waker() else {
            return Poll::Pending;
        };
        if link.driver.is_budget_spent() {
            // Other tasks run first; the runtime queues this task behind them.
            waker.wake_by_ref();
            return Poll::Pending;
        }
        let mut cx = Context::from_waker(waker);
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
            let read = match direct {
                Some(mut target) => reader.poll_read_buf(&mut cx, &mut target),
                None => {
                    let space = buffer.space(limit);
                    if space.is_empty() {
                        return Poll::Ready(Fill::Full);
                    }
                    reader.poll_read(&mut cx, space)
                }
            };
            match read {
                Poll::Pending => {
                    link.driver.read_armed.store(true, Ordering::Relaxed);
                    return Poll::Pending;
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

    /// Registers `cx` to be woken by input, unless it is the task's own waker.
    pub(super) fn await_input(&mut self, link: &Link, cx: &Context<'_>) {
        if !link.driver.is_own_waker(cx) {
            self.readers.add(cx.waker());
        }
    }

    /// Ends all waits for input after the peer has ended its side.
    pub(super) fn end(&mut self, link: &Link) {
        self.wake_readers();
        if let Some(websocket) = self.websocket() {
            websocket.set_lost();
        }
        // A client of plain HTTP may end its side and still wait for the response. A client of a WebSocket or an event
        // stream has left.
        if link.lane.format() != WireFormat::Http {
            link.lane.life.set_transport(Transport::Closed);
        }
    }
}

impl Link {
    /// Waits until more bytes than now are buffered, for the reader of requests.
    pub(crate) fn poll_more(&self, cx: &mut Context<'_>, wait: Wait, limit: usize) -> Poll<Fill> {
        let mut input = self.lock_input();
        let known = input.buffer.len();
        input.wait_for(wait, self.now());
        // The limit on a body is on silence, so bytes that came late still count.
        if input.timed_out && wait != Wait::Body {
            input.timed_out = false;
            return Poll::Ready(Fill::TimedOut(wait));
        }
        let fill = if cork::is_polling(self.id()) {
            input.poll_fill(self, limit)
        } else if known > 0 && wait == Wait::Body {
            // The task has read ahead since the caller's last check.
            Poll::Ready(Fill::Bytes)
        } else if self.lane.life.has_input_ended() {
            Poll::Ready(Fill::End)
        } else {
            Poll::Pending
        };
        match fill {
            Poll::Ready(Fill::Bytes) if wait == Wait::Body => {
                input.wait_since = self.now();
                input.timed_out = false;
                Poll::Ready(Fill::Bytes)
            }
            Poll::Ready(fill) => Poll::Ready(fill),
            Poll::Pending if input.timed_out && !self.driver.is_budget_spent() => {
                input.timed_out = false;
                Poll::Ready(Fill::TimedOut(wait))
            }
            // The connection is between requests. A request whose bytes have come in is still answered.
            Poll::Pending
                if (wait == Wait::Idle || wait == Wait::Head && known == 0)
                    && self.env.is_shutting_down() =>
            {
                Poll::Ready(Fill::End)
            }
            Poll::Pending => {
                debug_assert_eq!(known, input.buffer.len());
                input.await_input(self, cx);
                if let Some(limit) = self.wait_limit(input.wait) {
                    self.arm(input.wait_since.after(limit));
                }
                Poll::Pending
            }
        }
    }

    /// Reads while the handler does something else. Called by the task alone.
    pub(super) fn read_ahead(&self) {
        if self.driver.read_armed.load(Ordering::Relaxed) {
            return;
        }
        let mut input = self.lock_input();
        let limit = match input.wait {
            // A hook waits for the whole head, though not in this poll.
            Wait::Head => self.env.head_space().max(self.env.config.inbox_bytes),
            _ => self.env.config.inbox_bytes,
        };
        loop {
            match &input.mode {
                Mode::WebSocket(_) => {
                    if !input.fill_inbox(self) {
                        return;
                    }
                }
                Mode::Discard => input.buffer.discard(),
                Mode::Http | Mode::Handshake(_) => {}
            }
            let before = input.buffer.len();
            match input.poll_fill(self, limit) {
                Poll::Ready(Fill::Bytes) => {
                    if matches!(input.mode, Mode::Http | Mode::Handshake(_))
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

    /// Returns the buffer to the thread at the end of a poll, since idle connections hold none.
    pub(super) fn settle_input(&self) {
        // With a spent budget the task runs again at once, and the buffer stays.
        if !self.driver.is_budget_spent() {
            self.lock_input().buffer.settle();
        }
    }
}
