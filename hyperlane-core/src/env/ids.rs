//! Ids of connections, requests and hooks.

use std::sync::atomic::{AtomicU64, Ordering};

/// The next id. Ids are unique in the process, not only in a server. The reason is the cork, a thread's buffer for the
/// bytes that a hook sends during one poll: a thread may serve several servers but has only one cork, and the cork
/// names its connection only by the id.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Returns a number that is higher than all earlier ones in this process.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}
