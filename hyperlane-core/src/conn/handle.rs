//! The program's handles to a connection. The program can keep a connection open after the connection's hook (the
//! program's function that handles the request) has returned. The connection then closes when the last handle is
//! dropped, so the handles are counted.

use std::{
    future::poll_fn,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
};

use super::{driver::signals, link::Link};

/// The number of handles. The highest bit ([`KEEP`]) says that the connection is kept open.
#[derive(Debug, Default)]
pub(crate) struct Handles(AtomicU32);

/// The bit for a connection that stays open after its hook has returned.
const KEEP: u32 = 1 << 31;

impl Handles {
    /// Sets whether the connection stays open after its hook has returned, until the last handle is dropped.
    pub(crate) fn set_kept_open(&self, keep: bool) {
        match keep {
            true => self.0.fetch_or(KEEP, Ordering::AcqRel),
            false => self.0.fetch_and(!KEEP, Ordering::AcqRel),
        };
    }
}

/// A handle of the program to a connection.
pub(crate) struct Handle(Arc<Link>);

impl Handle {
    pub(crate) fn new(connection: Arc<Link>) -> Self {
        connection.lane.handles.0.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }

    /// Returns the connection. A clone of this `Arc` does not count as a handle.
    pub(crate) fn shared(&self) -> &Arc<Link> {
        &self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // If this was the last handle of a connection that is kept open, the task now closes the connection.
        if self.0.lane.handles.0.fetch_sub(1, Ordering::AcqRel) == KEEP | 1 {
            self.0.driver.signal(signals::RECHECK);
        }
    }
}

impl Deref for Handle {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

impl Link {
    /// Waits until the last handle is dropped or the connection ends. Returns at once if the connection is not kept
    /// open. Only the connection's task may await this, after the hook has returned: the future stores no waker, and
    /// the drop of the last handle wakes only the connection's task.
    pub(crate) fn released(&self) -> impl Future<Output = ()> + Send {
        poll_fn(|_| {
            let handles = self.lane.handles.0.load(Ordering::Acquire);
            let is_held = handles & !KEEP > 0 && !self.lane.life.is_gone();
            match handles & KEEP != 0 {
                true if is_held => return Poll::Pending,
                false if is_held && self.lane.is_open() && self.lane.format().is_pushable() => {
                    tracing::debug!(
                        peer = %self.peer(),
                        "connection closed because its handler returned, although handles are left: call `keep_open` \
                         to keep it open"
                    );
                }
                _ => {}
            }
            Poll::Ready(())
        })
    }
}
