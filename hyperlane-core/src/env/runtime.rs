//! Time and tasks of the server, for those who may stand in another runtime, or in none.
//!
//! A handle may be used on a thread of the program's own, in a runtime that ends tomorrow, or in one without timers. So
//! what waits or outlives its call is spawned on the server's runtime, by its handle; only that one's end ends it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle};

/// Rings after a while, or when its runtime is gone.
pub(crate) struct Alarm {
    /// Never gets anything but its end.
    rings: oneshot::Receiver<()>,
    task: AbortHandle,
}

impl Alarm {
    pub(crate) fn new(runtime: &Handle, after: Duration) -> Self {
        let (ring, rings) = oneshot::channel();
        let task = runtime.spawn(async move {
            tokio::time::sleep(after).await;
            drop(ring);
        });
        // The task that a worker has spawned last waits for that worker alone, which may be blocked by the one who waits here: an
        // executor inside a handler. Tasks before it are taken by other workers.
        runtime.spawn(std::future::ready(()));
        Self {
            rings,
            task: task.abort_handle(),
        }
    }

    fn poll_rings(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.rings).poll(cx).map(drop)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for `work`, by the clock of `runtime` at most `limit`; without a runtime it does not wait. `None` when it took
/// longer.
pub(crate) async fn within<F: Future>(
    runtime: Option<Handle>,
    limit: Duration,
    work: F,
) -> Option<F::Output> {
    let mut alarm = None;
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let Some(runtime) = &runtime else {
            return Poll::Ready(None);
        };
        let alarm = alarm.get_or_insert_with(|| Alarm::new(runtime, limit));
        alarm.poll_rings(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        task::{Wake, Waker},
        thread::{self, Thread},
    };

    use super::*;

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// As executors do that know nothing of tokio.
    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut work = pin!(work);
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                return done;
            }
            thread::park();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_wait_needs_no_runtime_around_it() {
        let runtime = Handle::current();
        let (says, hears) = mpsc::channel();
        thread::spawn(move || {
            let never = std::future::pending::<()>;
            let short = Duration::from_millis(1);
            says.send(block_on(within(Some(runtime.clone()), short, never())))
                .unwrap();
            says.send(block_on(within(None, Duration::MAX, never())))
                .unwrap();
            let done = within(Some(runtime), Duration::MAX, std::future::ready(()));
            says.send(block_on(done)).unwrap();
        });
        let heard = tokio::task::spawn_blocking(move || hears.iter().collect::<Vec<_>>());
        assert_eq!(heard.await.unwrap(), [None, None, Some(())]);
    }

    #[test]
    fn a_wait_ends_with_the_runtime_that_counts_its_time() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let handle = runtime.handle().clone();
        let waiting = thread::spawn(move || {
            block_on(within(
                Some(handle),
                Duration::MAX,
                std::future::pending::<()>(),
            ))
        });
        drop(runtime);
        assert_eq!(waiting.join().unwrap(), None);
    }
}
