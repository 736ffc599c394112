//! The keeper: a task that looks after all rooms from time to time.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{RoomRegistry, spawn_thread};
use crate::delivery::core::RoomCore;

/// Time between two sweeps. A sweep drops the expired messages of each room. It removes the room if the room then has
/// no members and no history, and the program has no handle to it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Time between two looks at the hubs and at waiting publishers, while there is something to look at.
const TICK: Duration = Duration::from_millis(5);

/// Number of ticks without anything to look at after which the keeper sleeps until the next sweep.
const QUIET_TICKS: u32 = 40;

/// The part of the keeper that other tasks see.
#[derive(Default)]
pub(super) struct State {
    /// True while a [`Keeper`] runs.
    is_running: AtomicBool,
    /// True while the keeper ticks.
    is_ticking: AtomicBool,
    /// True if there was something to look at since the last tick.
    is_roused: AtomicBool,
    rouse: Notify,
    /// The rooms in which publishers wait.
    waited_for: Mutex<Vec<Weak<RoomCore>>>,
}

impl State {
    /// Makes the keeper tick for a while.
    pub(super) fn rouse(&self) {
        if !self.is_roused.load(Ordering::Relaxed) {
            self.is_roused.store(true, Ordering::Release);
        }
        if !self.is_ticking.load(Ordering::Acquire) {
            self.rouse.notify_one();
        }
    }

    /// Makes the keeper notice that the registry is dropped.
    pub(super) fn stop(&self) {
        self.rouse.notify_one();
    }

    fn waited_for(&self) -> MutexGuard<'_, Vec<Weak<RoomCore>>> {
        self.waited_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoomRegistry {
    /// Makes the keeper wake the publishers that wait in this room, so that they see that their time is over.
    pub(crate) fn watch_waiters(self: &Arc<Self>, core: &Arc<RoomCore>) {
        let mut waited_for = self.keeper.waited_for();
        let is_known = |known: &Weak<RoomCore>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(core));
        if !waited_for.iter().any(is_known) {
            waited_for.push(Arc::downgrade(core));
        }
        drop(waited_for);
        self.keeper.rouse();
        self.start_keeper();
    }

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
        let mut sweep_at = Instant::now() + SWEEP_INTERVAL;
        let mut quiet_ticks = QUIET_TICKS;
        loop {
            if quiet_ticks < QUIET_TICKS {
                tokio::time::sleep(TICK).await;
            } else {
                self.sleep_until_roused(sweep_at).await;
                quiet_ticks = 0;
            }
            let Some(registry) = self.registry.upgrade() else {
                return;
            };
            let was_roused = self.state.is_roused.swap(false, Ordering::AcqRel);
            quiet_ticks = match tick(&registry) || was_roused {
                true => 0,
                false => quiet_ticks + 1,
            };
            if Instant::now() >= sweep_at {
                sweep(&registry).await;
                sweep_at = Instant::now() + SWEEP_INTERVAL;
            }
        }
    }

    async fn sleep_until_roused(&self, sweep_at: Instant) {
        self.state.is_ticking.store(false, Ordering::Release);
        if !self.state.is_roused.load(Ordering::Acquire) {
            // The result is not needed: the keeper looks at the time itself. `Notify` keeps a permit, so a rouse just
            // before this call is not lost.
            let _ = tokio::time::timeout_at(sweep_at, self.state.rouse.notified()).await;
        }
        self.state.is_ticking.store(true, Ordering::Release);
    }
}

/// Wakes hubs whose wakeup is overdue, and publishers whose time may be over. Returns true if publishers wait.
fn tick(registry: &RoomRegistry) -> bool {
    for hub in registry.hubs.get().into_iter().flatten() {
        hub.nudge();
    }
    let mut waited_for = registry.keeper.waited_for();
    waited_for.retain(|core| core.upgrade().is_some_and(|core| core.has_waiters()));
    let cores: Vec<_> = waited_for.iter().filter_map(Weak::upgrade).collect();
    drop(waited_for);
    let has_waiters = !cores.is_empty();
    for core in cores {
        core.wake_waiters();
        registry.release(core);
    }
    has_waiters
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
