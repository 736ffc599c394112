//! The keeper: a task that looks after all rooms from time to time.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{RoomRegistry, spawn_thread};

/// Time between two sweeps. A sweep drops the expired messages of each room. It removes the room if the room then has
/// no members and no history, and the program has no handle to it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// The part of the keeper that other tasks see.
#[derive(Default)]
pub(super) struct State {
    /// True while a [`Keeper`] runs.
    is_running: AtomicBool,
    stopped: Notify,
}

impl State {
    /// Makes the keeper notice that the registry is dropped.
    pub(super) fn stop(&self) {
        self.stopped.notify_one();
    }
}

impl RoomRegistry {
    /// Starts the keeper if it does not run.
    pub(super) fn start_keeper(self: &Arc<Self>) {
        if self.keeper.is_running.load(Ordering::Relaxed) {
            return;
        }
        let runtime = self.lock_runtime().clone();
        if let Some(runtime) = runtime
            && let Some(keeper) = Keeper::new(Arc::downgrade(self))
        {
            runtime.spawn(keeper.run());
        }
        // No keeper runs yet if no runtime is known, or if the runtime has shut down: such a runtime drops the spawned
        // keeper at once. In both cases, a new thread runs the keeper.
        if let Some(keeper) = Keeper::new(Arc::downgrade(self)) {
            spawn_thread(keeper.run());
        }
    }
}

/// The task that looks after all rooms. At most one keeper runs.
///
/// Dropping the keeper allows another one to start. A runtime that shuts down drops the keeper too.
struct Keeper {
    registry: Weak<RoomRegistry>,
    state: Arc<State>,
}

impl Keeper {
    /// Returns `None` if a keeper runs, or if the registry is dropped.
    fn new(registry: Weak<RoomRegistry>) -> Option<Self> {
        let state = registry.upgrade()?.keeper.clone();
        let was_running = state.is_running.swap(true, Ordering::AcqRel);
        (!was_running).then(|| Self { registry, state })
    }

    /// Looks after the rooms until the registry is dropped.
    async fn run(self) {
        loop {
            let sweep_at = Instant::now() + SWEEP_INTERVAL;
            let stopped = timeout_at(sweep_at, self.state.stopped.notified()).await;
            match self.registry.upgrade() {
                Some(registry) if stopped.is_err() => sweep(&registry).await,
                Some(_) => {}
                None => return,
            }
        }
    }
}

async fn sweep(registry: &RoomRegistry) {
    for core in registry.all_rooms() {
        core.trim();
        registry.release(core);
        // A sweep of thousands of rooms yields to other tasks of the runtime.
        tokio::task::consume_budget().await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.state.is_running.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{broker::InProcess, config::RoomsConfig};

    #[test]
    fn a_keeper_runs_without_a_runtime() {
        let registry = RoomRegistry::new(RoomsConfig::default(), Box::new(InProcess), None);
        registry.start_keeper();
        assert!(registry.keeper.is_running.load(Ordering::Acquire));
    }
}
