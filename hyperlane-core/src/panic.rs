//! Keeps a panic of the program's code within the hook in which it began.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
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
