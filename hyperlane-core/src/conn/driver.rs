//! The task of a connection, as others reach it, and the work that its poll may do.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    task::{Context, Waker},
};

use super::cork;

/// Reasons for which the task is woken, besides readiness.
pub(crate) mod signals {
    /// Its timer fired.
    pub(crate) const TIMER: u8 = 1;
    /// The server shuts down.
    pub(crate) const SHUTDOWN: u8 = 2;
    /// Writing failed.
    pub(crate) const LOST: u8 = 4;
    /// The drain time is over, or the connection was aborted.
    pub(crate) const ABORT: u8 = 8;
    /// Another task sent the last word, or made room in the inbox.
    pub(crate) const RECHECK: u8 = 16;
}

/// Work that one poll may do before it lets others run: about 100 us.
const POLL_BUDGET: u32 = 32 * 1024;

/// Sends that fail before a hook counts as one that does not listen: more than a few last words.
const MAX_FAILED_SENDS: u8 = 8;

/// Wakes the task of a connection, and counts the work of its poll.
#[derive(Default)]
pub(crate) struct Driver {
    /// Tokio's waker is the same for a task's whole life.
    waker: OnceLock<Waker>,
    signals: AtomicU8,
    /// Work done in this poll; see [`charge`](Self::charge).
    spent: AtomicU32,
    /// The last read of this poll found nothing, so the socket's waker is set.
    pub(super) read_armed: AtomicBool,
    /// Sends of the connection's own hook since its end, up to 255.
    failed_sends: AtomicU8,
}

impl Driver {
    /// Begins a poll of the task; returns the signals that have come.
    pub(super) fn begin_poll(&self, cx: &Context<'_>) -> u8 {
        let _ = self.waker.get_or_init(|| cx.waker().clone());
        self.read_armed.store(false, Ordering::Relaxed);
        self.renew_budget();
        if self.signals.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.signals.swap(0, Ordering::AcqRel)
    }

    /// The waker of the task; `None` before its first poll.
    pub(super) fn waker(&self) -> Option<&Waker> {
        self.waker.get()
    }

    /// Whether `cx` wakes the task itself.
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

    /// Counts work towards the budget of this poll. Bytes that are buffered already cost tokio's own budget nothing, so that
    /// a flooding client would hold its thread without this.
    pub(crate) fn charge(&self, work: usize) {
        let work = u32::try_from(work).unwrap_or(u32::MAX);
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(work);
        self.spent.store(spent, Ordering::Relaxed);
    }

    /// Whether the budget is used up, so that the handler should let others run.
    pub(super) fn is_budget_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed) >= POLL_BUDGET
    }

    pub(super) fn renew_budget(&self) {
        self.spent.store(0, Ordering::Relaxed);
    }

    /// Counts a send of the connection's own hook after the end as work, so that a hook that sends in a loop lets others run.
    pub(crate) fn count_failed_send(&self, id: u64) {
        if cork::is_polling(id) {
            self.charge(1024);
            let times = self.failed_sends.load(Ordering::Relaxed);
            self.failed_sends
                .store(times.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Whether the hook was told again and again that the connection is over, and does not listen.
    pub(super) fn is_end_ignored(&self) -> bool {
        self.failed_sends.load(Ordering::Relaxed) >= MAX_FAILED_SENDS
    }
}
