//! Waits with a time limit, for callers in another runtime than the server's, or in none.
//!
//! A program may use a handle of this library on a thread without a runtime, in a runtime that ends soon, or in a
//! runtime without timers. So the timer of a wait runs as a task on the server's runtime. The timer fires early only if
//! the server's runtime ends. The caller itself polls the work that it waits for.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle};

/// A timer that fires after a given time, or when its runtime ends.
pub(crate) struct Timer {
    /// The receiver of a channel without values. The timer fires by dropping the sender.
    fired: oneshot::Receiver<()>,
    task: AbortHandle,
}

impl Timer {
    pub(crate) fn new(runtime: &Handle, after: Duration) -> Self {
        let (fire, fired) = oneshot::channel();
        let task = runtime.spawn(async move {
            tokio::time::sleep(after).await;
            drop(fire);
        });
        // A worker thread of tokio keeps the last task that it spawned in a slot from which other workers do not steal.
        // If the caller blocks its worker (for example in an executor within a handler), the timer in that slot could
        // not run. A second task replaces the timer in the slot, and other workers can then run the timer.
        runtime.spawn(std::future::ready(()));
        Self {
            fired,
            task: task.abort_handle(),
        }
    }

    fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.fired).poll(cx).map(drop)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for `work` at most `limit` by the clock of `runtime`. The wait also ends if `runtime` ends. Without a runtime,
/// polls `work` only once. Returns `None` if `work` did not finish.
pub(crate) async fn within<F: Future>(
    runtime: Option<Handle>,
    limit: Duration,
    work: F,
) -> Option<F::Output> {
    let mut timer = None;
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let Some(runtime) = &runtime else {
            return Poll::Ready(None);
        };
        let timer = timer.get_or_insert_with(|| Timer::new(runtime, limit));
        timer.poll_fired(cx).map(|()| None)
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

    /// Polls a future to its end, like an executor that is independent of tokio.
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
