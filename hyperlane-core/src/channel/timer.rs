//! Timers and tasks of a channel.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle};

use super::Channel;

/// A waiting task that stops when this is dropped.
pub(super) struct Timer(AbortHandle);

impl Timer {
    /// Tells whether the task has run, or its runtime is gone.
    pub(super) fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Channel {
    /// The runtime of the channel's waits and tasks. It is the server's, never the sender's, which may end at any
    /// time.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        match self.session.upgrade() {
            Some(session) => session.runtime(),
            None => Handle::try_current().ok(),
        }
    }

    /// Runs `work` after the grace, unless the timer is dropped before.
    pub(super) fn after_grace(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) + Send + 'static,
    ) -> Option<Timer> {
        self.after(self.settings.grace, work)
    }

    pub(super) fn after(
        self: &Arc<Self>,
        wait: Duration,
        work: impl FnOnce(Arc<Self>) + Send + 'static,
    ) -> Option<Timer> {
        // Without a server there are neither timers nor clients.
        let runtime = self.runtime()?;
        let channel = Arc::downgrade(self);
        let task = runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(channel) = channel.upgrade() {
                work(channel);
            }
        });
        Some(Timer(task.abort_handle()))
    }
}
