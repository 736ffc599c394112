//! Ids of connections, requests and hooks.

use std::sync::atomic::{AtomicU64, Ordering};

/// The next id. Ids are unique in the process, since a cork belongs to a thread, and a thread may serve several
/// servers.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Returns a number that is unique in the process and higher than all earlier ones.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}
