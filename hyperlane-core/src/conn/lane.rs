//! The lane of a connection: the part of the connection's state that all senders use.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    end::EndHooks, handle::Handles, lifecycle::Lifecycle, link::Link, out::Out, transport::Writer,
};
use crate::{
    env::timers::{TICK, Tick},
    wire::WireFormat,
};

/// The sending state of one stream of answers, messages or events on a connection ([`Link`]). A connection of HTTP/1.1
/// has one lane.
pub(crate) struct Lane {
    pub(crate) id: u64,
    pub(crate) life: Lifecycle,
    format: AtomicU8,
    /// The bits [`QUEUE`], [`HELD`] and [`BARRIERS`]. They change under the lock `out`.
    unsent: AtomicU8,
    /// False while an event stream that the program writes as raw bytes is in the middle of a line.
    at_line_end: AtomicBool,
    /// What the client waits for, as the index of an [`Awaited`].
    awaited: AtomicU8,
    pub(crate) handles: Handles,
    /// True after the end of the handler's side: the future that reads requests and runs hooks.
    pub(super) is_handler_done: AtomicBool,
    /// True if the lane is a stream of an HTTP/2 connection.
    pub(crate) is_stream: bool,
    /// True if the connection counts for the limits of connections. A stream of HTTP/2 does not, and neither does a
    /// connection that was handed over.
    is_admitted: AtomicBool,
    /// True if the lane belongs to the channel of a session.
    of_channel: AtomicBool,
    /// The interval of heartbeats, in ticks; 0 if the interval of the server's configuration applies.
    heartbeat: AtomicU32,
    /// Number of sent pings whose pongs are still expected.
    open_pings: AtomicU32,
    out: Mutex<Out>,
    pub(super) ends: EndHooks,
}

/// The queue is not empty. The connection's task has to flush it.
const QUEUE: u8 = 1;
/// Something is held behind a [barrier](super::barrier).
const HELD: u8 = 2;
/// The lane has barriers, or has had some.
const BARRIERS: u8 = 4;

/// What the client of a lane waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// There is no request, or its answer has begun.
    Nothing,
    /// The answer to a request.
    Answer,
    /// The answer to a WebSocket handshake.
    Handshake,
}

impl Lane {
    pub(super) fn new(id: u64, writer: Writer, is_stream: bool, now: Tick) -> Self {
        Self {
            id,
            is_stream,
            is_admitted: AtomicBool::new(!is_stream),
            life: Lifecycle::new(),
            format: AtomicU8::new(WireFormat::Http.to_index()),
            unsent: AtomicU8::new(0),
            at_line_end: AtomicBool::new(true),
            awaited: AtomicU8::new(Awaited::Nothing as u8),
            handles: Handles::default(),
            is_handler_done: AtomicBool::new(false),
            of_channel: AtomicBool::new(false),
            heartbeat: AtomicU32::new(0),
            open_pings: AtomicU32::new(0),
            out: Mutex::new(Out::new(writer, now)),
            ends: EndHooks::default(),
        }
    }

    /// Returns the format of this lane's messages.
    pub(crate) fn format(&self) -> WireFormat {
        WireFormat::from_index(self.format.load(Ordering::Relaxed))
    }

    pub(super) fn set_format(&self, format: WireFormat) {
        self.format.store(format.to_index(), Ordering::Relaxed);
    }

    /// Returns whether messages become WebSocket frames that are not compressed.
    pub(super) fn sends_plain_frames(&self) -> bool {
        self.format.load(Ordering::Relaxed) == const { WireFormat::WebSocket.to_index() }
    }

    /// Returns whether messages can still be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.life.is_open()
    }

    /// Returns whether the connection's task has to flush the queue.
    pub(crate) fn has_backlog(&self) -> bool {
        self.unsent.load(Ordering::Acquire) & QUEUE != 0
    }

    /// Records that the queue is not empty. Returns whether it was empty before.
    pub(super) fn begin_backlog(&self) -> bool {
        self.unsent.fetch_or(QUEUE, Ordering::AcqRel) & QUEUE == 0
    }

    pub(super) fn end_backlog(&self) {
        self.unsent.fetch_and(!QUEUE, Ordering::AcqRel);
    }

    /// Returns whether bytes are in the queue or held behind a barrier.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent.load(Ordering::Acquire) & (QUEUE | HELD) != 0
    }

    pub(super) fn has_held(&self) -> bool {
        self.unsent.load(Ordering::Acquire) & HELD != 0
    }

    pub(super) fn set_held(&self, is_held: bool) {
        match is_held {
            true => self.unsent.fetch_or(HELD, Ordering::AcqRel),
            false => self.unsent.fetch_and(!HELD, Ordering::AcqRel),
        };
    }

    /// Returns whether the lane may have barriers.
    pub(crate) fn has_barriers(&self) -> bool {
        self.unsent.load(Ordering::Acquire) & BARRIERS != 0
    }

    pub(super) fn set_has_barriers(&self) {
        self.unsent.fetch_or(BARRIERS, Ordering::AcqRel);
    }

    /// Returns whether the connection counts for the limits of connections.
    pub(super) fn is_admitted(&self) -> bool {
        self.is_admitted.load(Ordering::Relaxed)
    }

    /// Passes the place in the limits of connections on to another connection.
    #[cfg(feature = "http2")]
    pub(super) fn pass_admission(&self) {
        self.is_admitted.store(false, Ordering::Relaxed);
    }

    /// Returns whether the lane belongs to a session's channel. Only the channel may send on such a lane.
    pub(crate) fn is_of_channel(&self) -> bool {
        self.of_channel.load(Ordering::Acquire)
    }

    pub(crate) fn set_of_channel(&self) {
        self.of_channel.store(true, Ordering::Release);
    }

    /// Sets what the client waits for.
    pub(crate) fn set_awaited(&self, awaited: Awaited) {
        self.awaited.store(awaited as u8, Ordering::Relaxed);
    }

    /// Returns whether the current request is a WebSocket handshake without an answer.
    pub(crate) fn is_handshake(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) == Awaited::Handshake as u8
    }

    /// Returns whether there is a current request whose answer has not begun.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) != Awaited::Nothing as u8
    }

    /// Records whether `data`, which the program writes to an event stream as raw bytes, ends a line.
    pub(crate) fn track_line_end(&self, data: &[u8]) {
        if let Some(last) = data.last() {
            self.at_line_end.store(*last == b'\n', Ordering::Relaxed);
        }
    }

    /// Returns whether the next byte of the event stream begins a line.
    pub(crate) fn is_at_line_end(&self) -> bool {
        self.at_line_end.load(Ordering::Relaxed)
    }

    pub(super) fn heartbeat(&self, configured: Option<Duration>) -> Option<Duration> {
        match self.heartbeat.load(Ordering::Relaxed) {
            0 => configured,
            ticks => Some(TICK * ticks),
        }
    }

    pub(super) fn set_heartbeat(&self, every: Duration) {
        let ticks = every.as_millis().div_ceil(TICK.as_millis()).max(1);
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.heartbeat.store(ticks, Ordering::Relaxed);
    }

    /// Counts a ping, so the limit on control frames ignores the ping's pong. The caller sends the ping after this
    /// call, because the pong may arrive before the caller's thread continues.
    pub(super) fn open_ping(&self) {
        self.open_pings.fetch_add(1, Ordering::AcqRel);
    }

    /// Subtracts a ping from the count of pings without a pong. The caller calls this after a pong has arrived, or
    /// after the sending of a ping has failed. Returns false if the count was 0.
    pub(super) fn take_open_ping(&self) -> bool {
        self.open_pings
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
                open.checked_sub(1)
            })
            .is_ok()
    }

    pub(crate) fn lock_out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_lock_out(&self) -> Option<MutexGuard<'_, Out>> {
        self.out.try_lock().ok()
    }

    /// Returns the number of bytes in the queue and behind barriers.
    pub(crate) fn queued(&self) -> usize {
        match self.has_unsent() {
            true => self.lock_out().queued(),
            false => 0,
        }
    }
}

/// A lane together with its link. Its functions send on the lane.
#[derive(Clone, Copy)]
pub(crate) struct LaneRef<'a> {
    pub(super) lane: &'a Lane,
    pub(super) link: &'a Link,
}
