//! The waker that an HTTP/2 connection and its streams get.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// A waker that only sets a flag while its task is being polled. The task looks at the flag itself. Otherwise each frame
/// that a stream sends would wake the task again, and often on another thread.
#[derive(Default)]
pub(super) struct Quiet {
    is_polling: AtomicBool,
    is_woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Quiet {
    /// Begins a poll of the task, and returns the waker to pass on.
    pub(super) fn begin(self: &Arc<Self>, task: &Waker) -> Waker {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) => known.clone_from(task),
            None => *known = Some(task.clone()),
        }
        drop(known);
        self.is_polling.store(true, Ordering::SeqCst);
        Waker::from(self.clone())
    }

    pub(super) fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::SeqCst)
    }

    pub(super) fn take_woken(&self) -> bool {
        self.is_woken.swap(false, Ordering::SeqCst)
    }

    /// Ends a poll. Returns whether there is more to do, so that the task has to wake itself.
    #[must_use]
    pub(super) fn end(&self) -> bool {
        self.is_polling.store(false, Ordering::SeqCst);
        self.take_woken()
    }
}

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.is_polling.load(Ordering::SeqCst) {
            let task = self
                .task
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Some(task) = task {
                task.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_wake_during_a_poll_stays_with_the_task() {
        let woken = Arc::<Woken>::default();
        let quiet = Arc::<Quiet>::default();
        let waker = quiet.begin(&Waker::from(woken.clone()));
        waker.wake_by_ref();
        assert!(!woken.0.load(Ordering::SeqCst));
        assert!(quiet.take_woken());
        waker.wake_by_ref();
        assert!(quiet.end(), "the wake is not lost");
        waker.wake_by_ref();
        assert!(woken.0.load(Ordering::SeqCst));
    }
}
