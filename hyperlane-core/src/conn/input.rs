//! The reading side of a connection.
//!
//! Only the connection's task polls the socket. While the handler itself reads, bytes go straight
//! from the thread's buffer to it. While the handler awaits something else, the task reads ahead
//! into a bounded inbox, so that pings are answered and a Close or the end of the stream is noticed
//! at once.

use std::{
    io,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    task::{Context, Poll},
};

use super::{
    Conn, buffer::ReadBuffer, handshake::Handshake, transport::Reader, wakers::Wakers,
    websocket::WsInput,
};
use crate::{env::timers::Tick, wire::WireFormat};

/// What the bytes that come in are.
pub(crate) enum Mode {
    /// HTTP requests; understood by the reader of requests, only kept here.
    Http,
    /// HTTP still: a WebSocket handshake is accepted, and its 101 not out.
    Handshake(Box<Handshake>),
    /// WebSocket frames; understood here.
    WebSocket(Box<WsInput>),
    /// Nothing that anybody wants (the client's side of an event stream).
    Discard,
}

/// What the connection waits for, as far as a limit of time hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The next request, nothing of it is here.
    Idle,
    /// The rest of a head.
    Head,
    /// More of a body.
    Body,
    /// The rest of a body that nobody wants.
    Drain,
    /// Nothing: the handler works.
    Nothing,
}

/// How the transport comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// In use.
    Open,
    /// What is queued still goes out; then the end, or first a wait for the peer's.
    Flushing { linger: bool },
    /// Our side has ended; what the peer still sends is read and dropped, so that the close does
    /// not turn into a reset which would destroy our last words on their way (RFC 9112 §9.6).
    Lingering,
    /// Closed.
    Closed,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Bytes,
    /// The peer has ended its side, or the transport failed.
    End,
    /// As much as may wait is waiting.
    Full,
    /// A time limit passed while waiting.
    TimedOut(Wait),
}

/// The state behind the lock.
pub(crate) struct Input {
    pub(crate) reader: Reader,
    pub(crate) buffer: ReadBuffer,
    pub(crate) mode: Mode,
    pub(crate) transport: Transport,
    pub(crate) wait: Wait,
    pub(crate) wait_since: Tick,
    pub(crate) timed_out: bool,
    pub(crate) last_received: Tick,
    /// Nothing more will come.
    pub(crate) ended: bool,
    /// When the transport has to be closed (while closing), or was (afterwards).
    pub(crate) close_by: Option<Tick>,
    /// Tasks other than ours, or parts of ours, that wait for input.
    pub(super) readers: Wakers,
}

impl Input {
    pub(crate) fn new(reader: Reader, now: Tick) -> Self {
        Self {
            reader,
            buffer: ReadBuffer::default(),
            mode: Mode::Http,
            transport: Transport::Open,
            wait: Wait::Head,
            wait_since: now,
            timed_out: false,
            last_received: now,
            ended: false,
            close_by: None,
            readers: Wakers::default(),
        }
    }

    pub(crate) fn wait_for(&mut self, wait: Wait, now: Tick) {
        if self.wait != wait {
            self.wait = wait;
            self.wait_since = now;
            // A limit that has passed was that of the wait before.
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
}

impl Conn {
    pub(crate) fn lock_input(&self) -> MutexGuard<'_, Input> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads once from the transport. Only while the task is polled.
    pub(super) fn poll_fill(&self, input: &mut Input, limit: usize) -> Poll<Fill> {
        if input.ended {
            return Poll::Ready(Fill::End);
        }
        let Some(task) = self.task.get() else {
            return Poll::Pending;
        };
        if self.budget_is_spent() {
            // Others first; the task comes back at the end of the queue.
            task.wake_by_ref();
            return Poll::Pending;
        }
        let mut cx = Context::from_waker(task);
        loop {
            let Input {
                mode,
                buffer,
                reader,
                ..
            } = &mut *input;
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
                    self.read_armed.store(true, Ordering::Relaxed);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => {
                    input.ended = true;
                    return Poll::Ready(Fill::End);
                }
                Poll::Ready(Ok(count)) => {
                    match input.websocket() {
                        Some(websocket) if is_direct => websocket.direct_filled(),
                        _ => input.buffer.filled(count),
                    }
                    input.last_received = self.now();
                    self.charge(count / 4);
                    return Poll::Ready(Fill::Bytes);
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(_)) => {
                    input.ended = true;
                    self.lost_by_read();
                    return Poll::Ready(Fill::End);
                }
            }
        }
    }

    /// Waits for more bytes than are here, for the reader of requests.
    pub(crate) fn poll_more(&self, cx: &mut Context<'_>, wait: Wait, limit: usize) -> Poll<Fill> {
        let mut input = self.lock_input();
        let known = input.buffer.len();
        input.wait_for(wait, self.now());
        // The limit on a body is on silence: what has come meanwhile, though late, breaks it.
        if input.timed_out && wait != Wait::Body {
            input.timed_out = false;
            return Poll::Ready(Fill::TimedOut(wait));
        }
        let polled = super::cork::is_polling(self.id);
        let fill = if polled {
            self.poll_fill(&mut input, limit)
        } else if known > 0 && wait == Wait::Body {
            // The task has read ahead since the caller looked.
            Poll::Ready(Fill::Bytes)
        } else if input.ended {
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
            Poll::Pending if input.timed_out && !self.budget_is_spent() => {
                input.timed_out = false;
                Poll::Ready(Fill::TimedOut(wait))
            }
            // Between requests; what has come in is still answered.
            Poll::Pending
                if (wait == Wait::Idle || wait == Wait::Head && known == 0)
                    && self.env.is_shutting_down() =>
            {
                Poll::Ready(Fill::End)
            }
            Poll::Pending => {
                debug_assert_eq!(known, input.buffer.len());
                self.await_input(&mut input, cx);
                self.arm_wait(&input);
                Poll::Pending
            }
        }
    }

    /// Whether `cx` wakes the connection's task itself.
    pub(super) fn is_own_waker(&self, cx: &Context<'_>) -> bool {
        self.task
            .get()
            .is_some_and(|task| task.will_wake(cx.waker()))
    }

    /// Has `cx` woken when input comes, unless the task's own waker does it already.
    pub(super) fn await_input(&self, input: &mut Input, cx: &Context<'_>) {
        if self.is_own_waker(cx) {
            return;
        }
        input.readers.add(cx.waker());
    }

    /// Has `cx` woken when the client's side ends.
    pub(crate) fn await_end(&self, input: &mut Input, cx: &Context<'_>) {
        input.readers.add(cx.waker());
    }

    fn arm_wait(&self, input: &Input) {
        if let Some(limit) = self.wait_limit(input.wait) {
            self.arm(input.wait_since.after(limit));
        }
    }

    /// Reads while the handler does something else. Only the task calls this.
    pub(super) fn read_ahead(&self) {
        if self.read_armed.load(Ordering::Relaxed) {
            return;
        }
        let mut input = self.lock_input();
        let limit = match input.wait {
            // A hook waits for the whole of it, though not in this poll.
            Wait::Head => self.env.head_space().max(self.env.config.inbox_bytes),
            _ => self.env.config.inbox_bytes,
        };
        loop {
            match &input.mode {
                Mode::WebSocket(_) => {
                    if !self.take_in(&mut input) {
                        return;
                    }
                }
                Mode::Discard => input.buffer.discard(),
                Mode::Http | Mode::Handshake(_) => {}
            }
            let before = input.buffer.len();
            match self.poll_fill(&mut input, limit) {
                Poll::Ready(Fill::Bytes) => {
                    if matches!(input.mode, Mode::Http | Mode::Handshake(_))
                        && input.buffer.len() > before
                    {
                        input.wake_readers();
                    }
                }
                Poll::Ready(Fill::End) => {
                    self.input_ended(&mut input);
                    return;
                }
                Poll::Ready(_) | Poll::Pending => return,
            }
        }
    }

    /// Nothing more will come from the peer.
    pub(super) fn input_ended(&self, input: &mut Input) {
        input.wake_readers();
        if let Some(websocket) = input.websocket() {
            websocket.ended_without_close();
        }
        // A client of plain HTTP may end its side and still wait for the response. Whoever listens
        // to a WebSocket or an event stream is gone.
        if self.format() != WireFormat::Http {
            input.transport = Transport::Closed;
        }
    }

    fn lost_by_read(&self) {
        let mut out = self.lock_out();
        self.lost(&mut out);
    }

    /// At the end of a poll: nothing is held while idle.
    pub(super) fn settle_input(&self) {
        if self.budget_is_spent() {
            // It runs again at once; the buffer stays.
            return;
        }
        self.lock_input().buffer.settle();
    }
}
