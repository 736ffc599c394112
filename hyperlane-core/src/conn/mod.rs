//! One connection: its shared state, and the task that drives it.
//!
//! [`Conn`] is what every handle to a connection points at: the connection's own task
//! ([`ConnectionTask`](task::ConnectionTask)), the [`Stream`](crate::Stream) lent to hooks, and the
//! cheap handles that other tasks send through. Two locks, both held for moments and never across an
//! await: `input` (the reading side; in practice the task's alone) and `out` (the outbox). Where
//! both are needed, `input` comes first.

pub(crate) mod acks;
pub(crate) mod buffer;
pub(crate) mod cork;
pub(crate) mod extensions;
pub(crate) mod handshake;
mod heartbeat;
pub(crate) mod held;
pub(crate) mod inbox;
pub(crate) mod input;
pub(crate) mod out;
pub(crate) mod outbox;
mod rates;
pub(crate) mod task;
pub(crate) mod transport;
pub(crate) mod upkeep;
pub(crate) mod wakers;
pub(crate) mod websocket;

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use self::{
    handshake::Subprotocol,
    held::Handles,
    input::Input,
    out::{Out, Sending},
    transport::{Reader, Writer},
};
use crate::{
    env::{
        Env,
        ids::next_id,
        peer::{Peer, Via},
        timers::{Tick, TimerKey},
    },
    panic::contain,
    wire::WireFormat,
};

/// Why the task was woken, besides readiness.
pub(crate) mod signals {
    /// Its timer fired.
    pub(crate) const TIMER: u8 = 1;
    /// The server shuts down.
    pub(crate) const SHUTDOWN: u8 = 2;
    /// Writing failed.
    pub(crate) const LOST: u8 = 4;
    /// The drain time is over, or the connection was aborted.
    pub(crate) const ABORT: u8 = 8;
    /// Somebody else sent the last word, or made room in the inbox.
    pub(crate) const LOOK: u8 = 16;
}

/// What others say of a connection before its first request.
enum Told {
    /// Whom a load balancer speaks for.
    #[cfg(feature = "proxy-protocol")]
    Source(Peer),
    /// What the stack around the server says of the only request.
    #[cfg(feature = "tower")]
    Extensions(http::Extensions),
}

/// Runs when a connection is over.
pub(crate) type EndHook = Box<dyn FnOnce() + Send>;

/// A panic in one hook, or in what it drops, neither skips the others nor takes the connection's task along.
fn run_end(hook: EndHook) {
    contain("in a hook on the end of a connection", hook);
}

/// The shared state of a connection.
pub(crate) struct Conn {
    pub(crate) id: u64,
    pub(crate) slot: u32,
    /// At the other end of the socket.
    socket_peer: Peer,
    pub(crate) via: Via,
    told: OnceLock<Box<Told>>,
    pub(crate) env: Arc<Env>,
    /// Wakes the task; tokio's is the same for a task's whole life.
    task: OnceLock<Waker>,
    signals: AtomicU8,
    format: AtomicU8,
    /// Something waits in the outbox.
    backlog: AtomicBool,
    /// Messages can still be sent.
    open: AtomicBool,
    /// The peer can no longer be reached (or has ended its side).
    gone: AtomicBool,
    /// When the wheel will look here next.
    armed_at: AtomicU32,
    /// A raw event stream stands at the start of a line.
    at_line_end: AtomicBool,
    /// The current request is a WebSocket handshake that nothing has answered.
    handshake: AtomicBool,
    /// What the connection's own hook has sent in vain since its end, up to 255 times.
    sent_in_vain: AtomicU8,
    handles: Handles,
    /// It is one of those that a session's channel has.
    of_channel: AtomicBool,
    /// The last read of this poll found nothing, so the socket's waker is set.
    pub(crate) read_armed: AtomicBool,
    /// In ticks; 0 for what the configuration says.
    heartbeat: AtomicU32,
    /// Pings that went out and that no pong has used up.
    open_pings: AtomicU32,
    /// Work done in this poll; see [`Conn::charge`].
    spent: AtomicU32,
    /// The subprotocol of a WebSocket, if one was agreed on.
    subprotocol: OnceLock<Box<Subprotocol>>,
    out: Mutex<Out>,
    input: Mutex<Input>,
    ends: Mutex<Vec<(u64, EndHook)>>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        // What a task that was dropped with its runtime has left.
        let queued = self.lock_out().queued();
        self.env.metrics.outbox_changed(queued, 0);
    }
}

/// Work that one poll may do before it lets others run: about 100 us.
const POLL_BUDGET: u32 = 32 * 1024;

impl Conn {
    pub(crate) fn new(
        key: TimerKey,
        (peer, via): (Peer, Via),
        (reader, writer): (Reader, Writer),
        env: Arc<Env>,
    ) -> Self {
        let now = env.timers.now();
        Self {
            id: key.id,
            slot: key.slot,
            socket_peer: peer,
            via,
            told: OnceLock::new(),
            env,
            task: OnceLock::new(),
            signals: AtomicU8::new(0),
            format: AtomicU8::new(WireFormat::Http.to_index()),
            backlog: AtomicBool::new(false),
            open: AtomicBool::new(true),
            gone: AtomicBool::new(false),
            armed_at: AtomicU32::new(u32::MAX),
            at_line_end: AtomicBool::new(true),
            handshake: AtomicBool::new(false),
            sent_in_vain: AtomicU8::new(0),
            handles: Handles::default(),
            of_channel: AtomicBool::new(false),
            read_armed: AtomicBool::new(false),
            heartbeat: AtomicU32::new(0),
            open_pings: AtomicU32::new(0),
            spent: AtomicU32::new(0),
            subprotocol: OnceLock::new(),
            out: Mutex::new(Out::new(writer, now)),
            input: Mutex::new(Input::new(reader, now)),
            ends: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn now(&self) -> Tick {
        self.env.timers.now()
    }

    /// The client, or the last proxy in front of the load balancer.
    pub(crate) fn peer(&self) -> Peer {
        match self.told.get().map(|told| &**told) {
            #[cfg(feature = "proxy-protocol")]
            Some(Told::Source(source)) => *source,
            _ => self.socket_peer,
        }
    }

    /// Takes the address over that a load balancer has told; false if it has too many connections already.
    #[cfg(feature = "proxy-protocol")]
    pub(crate) fn set_source(&self, source: Peer) -> bool {
        let is_admitted = self.env.admit(source);
        if is_admitted {
            // Told once, before anything else is read.
            let _ = self.told.set(Box::new(Told::Source(source)));
            tracing::Span::current().record("source", tracing::field::display(source));
        } else {
            self.env.metrics.connection_refused("refused_source");
        }
        is_admitted
    }

    /// How this connection's messages are encoded.
    pub(crate) fn format(&self) -> WireFormat {
        WireFormat::from_index(self.format.load(Ordering::Relaxed))
    }

    pub(crate) fn set_format(&self, format: WireFormat) {
        let before = self.format();
        self.format.store(format.to_index(), Ordering::Relaxed);
        self.env.metrics.format_changed(before, format);
    }

    /// The subprotocol that was agreed on.
    pub(crate) fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.get()?.name(&self.env.config)
    }

    pub(crate) fn set_subprotocol(&self, subprotocol: Subprotocol) {
        // A connection is upgraded once.
        let _ = self.subprotocol.set(Box::new(subprotocol));
    }

    #[cfg(feature = "tower")]
    pub(crate) fn extensions(&self) -> Option<&http::Extensions> {
        match &**self.told.get()? {
            Told::Extensions(extensions) => Some(extensions),
            #[cfg(feature = "proxy-protocol")]
            Told::Source(_) => None,
        }
    }

    #[cfg(feature = "tower")]
    pub(crate) fn set_extensions(&self, extensions: http::Extensions) {
        // Before anybody can ask.
        let _ = self.told.set(Box::new(Told::Extensions(extensions)));
    }

    /// Whether messages can still be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    fn set_not_open(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Whether the peer is known to be gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether the peer has ended the connection or its side of it, or we have.
    pub(crate) fn has_ended(&self) -> bool {
        let mut input = self.lock_input();
        let is_closed = input
            .websocket()
            .is_some_and(|websocket| websocket.has_ended());
        is_closed || input.ended || !self.is_open()
    }

    /// Whether nothing at all can be sent any more.
    fn is_lost(&self) -> bool {
        !self.is_open() && self.lock_out().sending == Sending::Over
    }

    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog.load(Ordering::Acquire)
    }

    /// Whether a session's channel writes to it, so that nothing else may.
    pub(crate) fn is_of_channel(&self) -> bool {
        self.of_channel.load(Ordering::Acquire)
    }

    pub(crate) fn set_of_channel(&self) {
        self.of_channel.store(true, Ordering::Release);
    }

    /// Wakes the connection's task.
    pub(crate) fn wake(&self) {
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    /// Tells the task something.
    pub(crate) fn signal(&self, signal: u8) {
        self.signals.fetch_or(signal, Ordering::AcqRel);
        self.wake();
    }

    fn take_signals(&self) -> u8 {
        if self.signals.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.signals.swap(0, Ordering::AcqRel)
    }

    /// Counts work towards the budget of this poll; true when it is used up and the handler should
    /// let others run. Bytes that are buffered already cost tokio's own budget nothing, so without
    /// this a flooding client would hold its thread.
    pub(crate) fn charge(&self, work: usize) -> bool {
        let work = u32::try_from(work).unwrap_or(u32::MAX);
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(work);
        self.spent.store(spent, Ordering::Relaxed);
        spent >= POLL_BUDGET
    }

    fn budget_is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed) >= POLL_BUDGET
    }

    /// A hook sends although the connection is over. Counted as work, so that one that goes on in a loop lets others run.
    pub(crate) fn note_sent_in_vain(&self) {
        if cork::is_polling(self.id) {
            self.charge(1024);
            let times = self.sent_in_vain.load(Ordering::Relaxed);
            self.sent_in_vain
                .store(times.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Whether the hook has been told again and again that the connection is over, and does not listen.
    fn has_deaf_hook(&self) -> bool {
        /// More than a hook that says a few last words.
        const OFTEN: u8 = 8;
        self.sent_in_vain.load(Ordering::Relaxed) >= OFTEN
    }

    /// Notes whether the current request is a WebSocket handshake without an answer.
    pub(crate) fn set_handshake(&self, is_open: bool) {
        self.handshake.store(is_open, Ordering::Relaxed);
    }

    /// Whether the current request is a WebSocket handshake without an answer.
    pub(crate) fn is_handshake(&self) -> bool {
        self.handshake.load(Ordering::Relaxed)
    }

    /// Makes sure that the wheel looks here at `at` or before.
    pub(crate) fn arm(&self, at: Tick) {
        if at.0 < self.armed_at.load(Ordering::Relaxed) {
            let key = TimerKey {
                slot: self.slot,
                id: self.id,
            };
            let at = self.env.timers.arm(key, at);
            // Another thread may have armed it for an earlier tick meanwhile.
            self.armed_at.fetch_min(at.0, Ordering::Relaxed);
        }
    }

    /// The wheel looks here. An entry that was overtaken by an earlier one changes nothing.
    pub(crate) fn timer_fired(&self, now: Tick) {
        if self.armed_at.load(Ordering::Relaxed) <= now.0 {
            self.armed_at.store(u32::MAX, Ordering::Relaxed);
            self.signal(signals::TIMER);
        }
    }

    /// How long the peer may take nothing while something waits for it.
    fn stall_time(&self) -> Duration {
        match self.format() {
            WireFormat::Http => self.env.config.write_timeout,
            _ => self.env.config.outbox_stall,
        }
    }

    /// Runs `hook` when the connection is over; at once if it is. Returns a key to take it back.
    pub(crate) fn on_end(&self, hook: EndHook) -> Option<u64> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_gone() {
            drop(ends);
            run_end(hook);
            return None;
        }
        // Of no other hook, of whatever connection: a key that is kept too long takes back nothing.
        let key = next_id();
        ends.push((key, hook));
        Some(key)
    }

    /// Takes back a hook of [`on_end`](Self::on_end).
    pub(crate) fn cancel_end(&self, key: u64) {
        let hook = {
            let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            let at = ends.iter().position(|(known, _)| *known == key);
            let hook = at.map(|at| ends.remove(at));
            if ends.is_empty() {
                *ends = Vec::new();
            }
            hook
        };
        // Dropped outside the lock: what it holds may come back here.
        contain(
            "while a hook on the end of a connection was dropped",
            || {
                drop(hook);
            },
        );
    }

    /// The peer is gone: tells everyone who waits for it.
    pub(crate) fn set_gone(&self) {
        let hooks = {
            let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            if self.gone.swap(true, Ordering::AcqRel) {
                return;
            }
            std::mem::take(&mut *ends)
        };
        self.set_not_open();
        if !hooks.is_empty() {
            cork::tell_end(&self.env, || {
                hooks.into_iter().for_each(|(_, hook)| run_end(hook));
            });
        }
        let waiters = self.lock_out().take_waiters();
        waiters.wake();
    }

    /// Waits until the peer has ended its side or is gone, or the server shuts down.
    pub(crate) fn poll_over(&self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let mut input = self.lock_input();
        if input.ended {
            return Poll::Ready(());
        }
        // The end of input wakes its readers, the end of the connection everybody.
        self.await_end(&mut input, cx);
        drop(input);
        self.poll_closed(cx)
    }

    /// Waits until the peer has ended its side or is gone.
    pub(crate) fn poll_disconnected(&self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let mut input = self.lock_input();
        if input.ended || self.is_gone() {
            return Poll::Ready(());
        }
        // The end of input wakes its readers, the end of the connection everybody.
        self.await_end(&mut input, cx);
        drop(input);
        self.lock_out().add_waiter(cx.waker());
        // It may have ended between the look and the entry.
        if self.is_gone() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Waits until the peer is gone or the server shuts down.
    pub(crate) fn poll_closed(&self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let over = || self.is_gone() || !self.is_open() || self.env.is_shutting_down();
        if over() {
            return Poll::Ready(());
        }
        self.lock_out().add_waiter(cx.waker());
        // It may have ended between the look and the entry.
        if over() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
