//! The driver of a connection's task: its waker, its signals, and the budget of its polls.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    task::{Context, Waker},
};

use super::cork;

/// Reasons for waking the task, besides readiness.
pub(crate) mod signals {
    /// The timer fired.
    pub(crate) const TIMER: u8 = 1;
    /// The server shuts down.
    pub(crate) const SHUTDOWN: u8 = 2;
    /// Writing failed.
    pub(crate) const LOST: u8 = 4;
    /// The drain time has ended, or the connection was aborted.
    pub(crate) const ABORT: u8 = 8;
    /// Another task sent the last word or made room in the inbox.
    pub(crate) const RECHECK: u8 = 16;
}

/// Work that one poll may do before other tasks run: about 100 us.
const POLL_BUDGET: u32 = 32 * 1024;

/// Failed sends after which a hook is taken to ignore the end of its connection. A few last messages are normal.
const MAX_FAILED_SENDS: u8 = 8;

/// Wakes the task of a connection, and counts the work of its poll.
#[derive(Default)]
pub(crate) struct Driver {
    /// The task's waker, which tokio never changes.
    waker: OnceLock<Waker>,
    signals: AtomicU8,
    /// Work of this poll; see [`charge`](Self::charge).
    spent: AtomicU32,
    /// The last read of this poll found no bytes, so the socket wakes the task.
    pub(super) read_armed: AtomicBool,
    /// Sends of the connection's own hook after its end, up to 255.
    failed_sends: AtomicU8,
}

impl Driver {
    /// Begins a poll of the task; returns the signals since the last one.
    pub(super) fn begin_poll(&self, cx: &Context<'_>) -> u8 {
        let _ = self.waker.get_or_init(|| cx.waker().clone());
        self.read_armed.store(false, Ordering::Relaxed);
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

    /// Returns whether `cx` wakes the task itself.
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

    /// Wakes the task for a reason.
    pub(crate) fn signal(&self, signal: u8) {
        self.signals.fetch_or(signal, Ordering::AcqRel);
        self.wake();
    }

    /// Counts work towards the budget of this poll. Tokio's own budget does not count bytes that are buffered
    /// already, so a client that floods could otherwise occupy its thread.
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

    /// Counts a send that failed because the connection has ended, if its own hook sent it. The send is charged as
    /// work, so that other tasks run while a hook sends in a loop.
    pub(crate) fn count_failed_send(&self, id: u64) {
        if cork::is_polling(id) {
            self.charge(1024);
            let times = self.failed_sends.load(Ordering::Relaxed);
            self.failed_sends
                .store(times.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Returns whether the hook goes on sending although its connection has ended.
    pub(super) fn is_end_ignored(&self) -> bool {
        self.failed_sends.load(Ordering::Relaxed) >= MAX_FAILED_SENDS
    }
}
