//! Timers and tasks of a channel.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle};

use super::Channel;

/// The handle of a task that waits for some time and then does its work. Dropping the handle stops the task.
pub(super) struct Timer(AbortHandle);

impl Timer {
    /// Returns whether the task has finished or its runtime has shut down.
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
    /// Returns the runtime for the channel's timers and tasks: the server's runtime. A sender's runtime is unsuitable,
    /// because it may end at any time. If the session is gone, returns the current runtime.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        match self.session.upgrade() {
            Some(session) => session.runtime(),
            None => Handle::try_current().ok(),
        }
    }

    /// Runs `work` after the channel's grace time. Dropping the timer cancels `work`.
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
        // Without a runtime there is no server, so there are no clients to wait for.
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
