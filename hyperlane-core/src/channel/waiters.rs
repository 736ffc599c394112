//! Those who wait for a channel.

use std::task::{Context, Waker};

use super::Channel;
use crate::conn::registry::next_id;

/// A future that waits: what is dropped while it waits leaves nothing behind.
pub(crate) struct Waiter<'a> {
    pub(super) channel: &'a Channel,
    /// 0 before it has to wait.
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

/// Those who wait: futures by their numbers, and tasks as 0.
#[derive(Default)]
pub(super) struct Wakers(pub(super) Vec<(u64, Waker)>);

impl Wakers {
    /// Has a waker woken later; the same one once.
    pub(super) fn enlist(&mut self, cx: &Context<'_>, waiter: Option<&mut Waiter<'_>>) {
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

    /// Takes one out, to be dropped where nothing is locked.
    fn remove(&mut self, number: u64) -> Option<Waker> {
        let at = self.0.iter().position(|(known, _)| *known == number)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Gives all of them, to be woken where nothing is locked.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Waker> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|(_, waker)| waker)
    }
}
