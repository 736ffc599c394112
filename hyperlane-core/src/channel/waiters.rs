//! Futures and tasks that wait for a channel.

use std::task::{Context, Waker};

use super::Channel;
use crate::env::ids::next_id;

/// The registration of a waiting future. Its drop removes the future's wakers from the channel.
pub(crate) struct Waiter<'a> {
    pub(super) channel: &'a Channel,
    /// The number of the future; 0 before the future first waits.
    pub(super) number: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.number != 0 {
            let mut inner = self.channel.lock();
            let receiver = inner.receivers.remove(self.number);
            let sender = inner.senders.remove(self.number);
            drop(inner);
            drop((receiver, sender));
        }
    }
}

/// Wakers, each with the number of its future. A waker without a [`Waiter`] has the number 0.
#[derive(Default)]
pub(super) struct Waiters(pub(super) Vec<(u64, Waker)>);

impl Waiters {
    /// Adds the waker of a future or task. The list has at most one waker per future or task.
    pub(super) fn add(&mut self, cx: &Context<'_>, waiter: Option<&mut Waiter<'_>>) {
        let number = waiter.map_or(0, |waiter| {
            if waiter.number == 0 {
                waiter.number = next_id();
            }
            waiter.number
        });
        let known = self.0.iter_mut().find(|(known, waker)| {
            *known == number && (number != 0 || waker.will_wake(cx.waker()))
        });
        match known {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => self.0.push((number, cx.waker().clone())),
        }
    }

    /// Removes and returns a waker. The caller drops the waker outside of all locks.
    fn remove(&mut self, number: u64) -> Option<Waker> {
        let at = self.0.iter().position(|(known, _)| *known == number)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Removes and returns all wakers. The caller wakes them outside of all locks.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Waker> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|(_, waker)| waker)
    }
}
