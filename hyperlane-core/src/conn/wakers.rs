//! Tasks that wait for something of a connection.

use std::task::Waker;

/// Tasks to wake, each once. Takes one word while nobody waits, which is almost always.
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

    /// Wakes them all, and forgets them.
    pub(crate) fn wake(self) {
        for waker in self.0.into_iter().flat_map(|waiting| *waiting) {
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
