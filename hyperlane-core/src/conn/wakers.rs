//! Lists of tasks that wait for an event of a connection.

use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::{lifecycle::Until, link::Link};

/// Maximum length of a list that keeps stale wakers (the wakers of dropped waits). A longer list removes a stale waker
/// when the wait is dropped, and each removal costs a wake. A short list keeps the stale waker and saves the wake: most
/// tasks soon wait again, and then use the same entry.
const MAX_STALE: usize = 8;

/// Tasks to wake, each once. Most lists are empty, so an empty list takes only one word.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "every connection has two of these, and a `Vec` takes three words"
)]
pub(crate) struct Wakers(Option<Box<Vec<Waker>>>);

impl Wakers {
    pub(crate) fn add(&mut self, waker: &Waker) {
        let waiting = self.0.get_or_insert_default();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// Removes the waker of a dropped wait if the list is long. Returns whether a waker was removed. The task must then
    /// be woken, because the same entry may have served other waits of the task.
    fn forget(&mut self, waker: &Waker) -> bool {
        let Some(waiting) = self.0.as_mut().filter(|waiting| waiting.len() > MAX_STALE) else {
            return false;
        };
        let before = waiting.len();
        waiting.retain(|known| !known.will_wake(waker));
        waiting.len() < before
    }

    /// Wakes all tasks.
    pub(crate) fn wake(self) {
        for waker in self.0.into_iter().flat_map(|waiting| *waiting) {
            waker.wake();
        }
    }
}

/// A future that waits, possibly for long, for the end of a connection. On drop, it removes its waker from long lists.
pub(crate) struct UntilEnd<C: Deref<Target = Link>> {
    connection: C,
    until: Until,
    waker: Option<Waker>,
}

impl<C: Deref<Target = Link>> UntilEnd<C> {
    pub(crate) fn new(connection: C, until: Until) -> Self {
        Self {
            connection,
            until,
            waker: None,
        }
    }
}

impl<C: Deref<Target = Link> + Unpin> Future for UntilEnd<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.connection.poll_until(self.until, cx);
        // The connection's own task lives as long as the connection. Its waker may therefore stay in the lists.
        if polled.is_pending() && !self.connection.driver.is_own_waker(cx) {
            match &mut self.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                unknown => *unknown = Some(cx.waker().clone()),
            }
        }
        polled
    }
}

impl<C: Deref<Target = Link>> Drop for UntilEnd<C> {
    fn drop(&mut self) {
        let Some(waker) = self.waker.take() else {
            return;
        };
        // This thread may already hold one of these locks: the future is perhaps dropped by a wake that is called under
        // the lock. `lock` would then wait forever, so the code uses `try_lock`. If it fails, the stale waker stays in
        // the list, and does no harm.
        let reads = self.connection.try_lock_input();
        let mut woken = reads.is_some_and(|mut input| input.readers.forget(&waker));
        let waits = self.connection.lane.try_lock_out();
        woken |= waits.is_some_and(|mut out| out.waiters.forget(&waker));
        if woken {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_is_woken_once() {
        let (one, other) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let mut wakers = Wakers::default();
        assert_eq!(size_of_val(&wakers), size_of::<usize>());
        let waker = Waker::from(one.clone());
        wakers.add(&waker);
        wakers.add(&waker);
        wakers.add(&waker.clone());
        wakers.add(&Waker::from(other.clone()));
        std::mem::take(&mut wakers).wake();
        wakers.wake();
        assert_eq!(one.0.load(Ordering::Relaxed), 1);
        assert_eq!(other.0.load(Ordering::Relaxed), 1);
    }
}
