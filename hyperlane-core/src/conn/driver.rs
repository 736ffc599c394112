//! The driver of a connection's task: its waker, its signals, and the budget of its polls.

#[cfg(feature = "http2")]
use std::task::Poll;
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering},
    },
    task::{Context, Waker},
};

use super::cork;

/// Reasons to wake the task, other than a socket that is ready.
pub(crate) mod signals {
    /// The timer fired.
    pub(crate) const TIMER: u8 = 1;
    /// The server shuts down.
    pub(crate) const SHUTDOWN: u8 = 2;
    /// Writing to the transport failed.
    pub(crate) const LOST: u8 = 4;
    /// The drain time has ended, or the connection was aborted.
    pub(crate) const ABORT: u8 = 8;
    /// The connection has changed in one of these ways, so the task has to check it again:
    /// - A Close frame or a last chunk was sent.
    /// - The connection began to close.
    /// - The last handle was dropped.
    /// - A reader made room in the inbox or in the read buffer.
    pub(crate) const RECHECK: u8 = 16;
}

/// The states of a stream of HTTP/2 that may get a task of its own.
#[cfg(feature = "http2")]
mod own_task {
    /// The handler waits for it. 0 means that it has not asked.
    pub(super) const WANTS: u8 = 1;
    /// The stream has it.
    pub(super) const HAS: u8 = 2;
}

/// Maximum work of one poll, in the units of [`charge`](Driver::charge). This much work takes about 100 us. After it,
/// the task lets other tasks run.
const POLL_BUDGET: u32 = 32 * 1024;

/// Number of failed sends after which a hook counts as ignoring the end of its connection. A hook that has not yet
/// noticed the end may send a few messages.
const MAX_FAILED_SENDS: u8 = 8;

/// The waker and the signals of a connection's task, and the work of its current poll.
#[derive(Default)]
pub(crate) struct Driver {
    /// The task's waker. Tokio passes the same waker to every poll of the task.
    waker: OnceLock<Waker>,
    signals: AtomicU8,
    /// Work of this poll; see [`charge`](Self::charge).
    spent: AtomicU32,
    /// True if the last read of this poll found no bytes. The socket then wakes the task when bytes arrive.
    pub(super) read_armed: AtomicBool,
    /// True if a read of this poll has found fewer bytes than it had space for. The next read probably finds none.
    pub(super) drained: AtomicBool,
    /// Whose task polls a stream of HTTP/2.
    #[cfg(feature = "http2")]
    own_task: AtomicU8,
    /// True if the connection may hold a read buffer, which it returns to its thread at the end of a poll.
    pub(super) has_buffer: AtomicBool,
    /// Number of sends by the connection's own hook after the end of the connection, up to 255.
    failed_sends: AtomicU8,
    /// Number of requests that hooks have read themselves. The number starts again at 0 after 255.
    further_requests: AtomicU8,
    /// The rules for further requests that a hook reads itself, as an index in the rules of the server.
    rules: AtomicU16,
}

impl Driver {
    /// Returns the index of the rules for further requests that a hook reads itself.
    pub(crate) fn rules(&self) -> u16 {
        self.rules.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_rules(&self, rules: u16) {
        self.rules.store(rules, Ordering::Relaxed);
    }

    /// Returns a number that changes with each request that a hook reads itself.
    pub(crate) fn further_requests(&self) -> u8 {
        self.further_requests.load(Ordering::Relaxed)
    }

    pub(crate) fn count_further_request(&self) {
        self.further_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Begins a poll of the task. Returns the signals that were set since the last poll.
    pub(crate) fn begin_poll(&self, cx: &Context<'_>) -> u8 {
        let _ = self.waker.get_or_init(|| cx.waker().clone());
        self.read_armed.store(false, Ordering::Relaxed);
        self.drained.store(false, Ordering::Relaxed);
        self.renew_budget();
        if self.signals.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.signals.swap(0, Ordering::AcqRel)
    }

    /// Returns the waker of the task; `None` before its first poll.
    pub(super) fn waker(&self) -> Option<&Waker> {
        self.waker.get()
    }

    /// Returns whether the waker of `cx` is the waker of the connection's task.
    pub(super) fn is_own_waker(&self, cx: &Context<'_>) -> bool {
        self.waker
            .get()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Wakes the task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Sets a signal and wakes the task.
    pub(crate) fn signal(&self, signal: u8) {
        self.signals.fetch_or(signal, Ordering::AcqRel);
        self.wake();
    }

    /// Asks for a task of its own for a stream of HTTP/2. Ready once the stream has it, and at once for a connection.
    #[cfg(feature = "http2")]
    pub(crate) fn poll_own_task(&self) -> Poll<()> {
        match self.own_task.load(Ordering::Relaxed) {
            own_task::HAS => Poll::Ready(()),
            _ => {
                self.own_task.store(own_task::WANTS, Ordering::Relaxed);
                Poll::Pending
            }
        }
    }

    /// Returns whether the handler waits for a task of its own.
    #[cfg(feature = "http2")]
    pub(crate) fn wants_own_task(&self) -> bool {
        self.own_task.load(Ordering::Relaxed) == own_task::WANTS
    }

    /// Records that the stream has a task of its own.
    #[cfg(feature = "http2")]
    pub(crate) fn set_own_task(&self) {
        self.own_task.store(own_task::HAS, Ordering::Relaxed);
    }

    /// Adds work to the sum for this poll. 32 units stand for about 100 ns. Tokio's own budget does not count work on
    /// bytes that are already in a buffer. Without the budget of this driver, a client that floods the server could
    /// occupy a thread.
    pub(crate) fn charge(&self, work: usize) {
        let work = u32::try_from(work).unwrap_or(u32::MAX);
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(work);
        self.spent.store(spent, Ordering::Relaxed);
    }

    /// Returns whether the budget is spent and other tasks should run.
    pub(super) fn is_budget_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed) >= POLL_BUDGET
    }

    pub(super) fn renew_budget(&self) {
        self.spent.store(0, Ordering::Relaxed);
    }

    /// Counts a send that failed because the connection has ended. Only sends by the connection's own hook count. Such
    /// a send is also charged as work, so a hook that sends in a loop lets other tasks run.
    pub(crate) fn count_failed_send(&self, id: u64) {
        if cork::is_polling(id) {
            self.charge(1024);
            let times = self.failed_sends.load(Ordering::Relaxed);
            self.failed_sends
                .store(times.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Returns whether the hook counts as ignoring the end of its connection: it has sent [`MAX_FAILED_SENDS`] times
    /// since.
    pub(super) fn is_end_ignored(&self) -> bool {
        self.failed_sends.load(Ordering::Relaxed) >= MAX_FAILED_SENDS
    }
}
