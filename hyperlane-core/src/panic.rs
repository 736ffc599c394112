//! Keeps a panic of the program's code within the hook in which it began.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// Runs code of the program, such as a destructor, and catches its panic. `what` says in the log where the panic
/// happened. The catch is necessary because a destructor may run while an earlier panic unwinds: a second panic would
/// then abort the process.
pub(crate) fn contain(what: &str, work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        tracing::error!("panic {what}");
        drop_payload(payload);
    }
}

/// Drops the payload of a panic. The payload is a value of the program, and its destructor may panic as well.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // The payload of the second panic is leaked, because its destructor might panic with another such payload, and
        // so on without end.
        std::mem::forget(next);
    }
}

/// The future of a hook. If the server stops the hook early, the future still owns values of the program, so the panics
/// of their destructors are caught.
pub(crate) struct Contained<F> {
    /// `None` after the end.
    future: Option<F>,
}

impl<F> Contained<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Some(future),
        }
    }

    /// Drops the future.
    pub(crate) fn end(&mut self) {
        if let Some(future) = self.future.take() {
            contain("while a hook was dropped", || drop(future));
        }
    }
}

impl<F: Future + Unpin> Future for Contained<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match &mut self.future {
            Some(future) => Pin::new(future).poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Contained<F> {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}
