//! Keeps a panic of the program's code within the hook that it comes from.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs code of the program whose panic must not spread: above all a destructor, as a second panic while one unwinds ends
/// the process.
pub(crate) fn contain(what: &str, work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        tracing::error!("panic {what}");
        dispose(payload);
    }
}

/// Drops the payload of a panic: a value of the program's, whose destructor may panic in turn.
pub(crate) fn dispose(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Its destructor may panic with a value of the same kind, and so on without an end.
        std::mem::forget(next);
    }
}
