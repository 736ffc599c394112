//! Keeps a panic of the program's code within the hook in which it began.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs code of the program and contains its panic. Callers use this mostly for destructors, since a second panic
/// during unwinding aborts the process.
pub(crate) fn contain(what: &str, work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        tracing::error!("panic {what}");
        drop_payload(payload);
    }
}

/// Drops the payload of a panic. The payload is a value of the program, and its destructor may panic in turn.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // The second payload is leaked, since its destructor might panic with such a value again, without end.
        std::mem::forget(next);
    }
}
