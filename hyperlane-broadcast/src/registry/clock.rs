//! The clock: a thread that ticks while publishers wait for room, or while a connection's poll delays a hub.
//!
//! It is no task of a runtime, because a runtime may be blocked: a handler may compute for long on the thread that would
//! run the task, or a program may run all hubs on a runtime with a single thread.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use tokio::time::Instant;

use super::RoomRegistry;
use crate::{delivery::core::RoomCore, error::RoomError};

/// Time between two ticks. A wait may take longer than its limit by this time.
const TICK: Duration = Duration::from_millis(5);

/// Number of ticks without anything to look at after which the thread sleeps.
const QUIET_TICKS: u32 = 40;

/// The part of the clock that other threads see.
#[derive(Default)]
pub(super) struct Clock {
    /// False while the thread sleeps.
    is_ticking: AtomicBool,
    /// True if there was something to look at since the last tick.
    is_roused: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The thread, which starts when it is needed first.
    thread: Option<Thread>,
    /// The rooms in which publishers or joins wait.
    waited_for: Vec<Weak<RoomCore>>,
}

impl Clock {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the clock tick for a while. Returns false if the system cannot start the thread.
    pub(super) fn rouse(self: &Arc<Self>, registry: &Arc<RoomRegistry>) -> bool {
        // The thread checks in the opposite order before it sleeps.
        if !self.is_roused.load(Ordering::SeqCst) {
            self.is_roused.store(true, Ordering::SeqCst);
        }
        if self.is_ticking.load(Ordering::SeqCst) {
            return true;
        }
        let mut state = self.lock();
        if let Some(thread) = &state.thread {
            thread.unpark();
            return true;
        }
        let (clock, registry) = (self.clone(), Arc::downgrade(registry));
        let started = thread::Builder::new()
            .name("hyperlane-clock".to_owned())
            .spawn(move || clock.run(&registry));
        match started {
            Ok(thread) => {
                state.thread = Some(thread.thread().clone());
                true
            }
            Err(error) => {
                tracing::error!(%error, "cannot start a thread for rooms");
                false
            }
        }
    }

    /// Makes the thread notice that the registry is dropped.
    pub(super) fn stop(&self) {
        if let Some(thread) = &self.lock().thread {
            thread.unpark();
        }
    }

    /// Ticks until the registry is dropped.
    fn run(&self, registry: &Weak<RoomRegistry>) {
        let mut quiet_ticks = 0;
        self.is_ticking.store(true, Ordering::SeqCst);
        loop {
            if quiet_ticks < QUIET_TICKS {
                thread::sleep(TICK);
            } else {
                self.is_ticking.store(false, Ordering::SeqCst);
                if !self.is_roused.load(Ordering::SeqCst) && registry.strong_count() > 0 {
                    thread::park();
                }
                self.is_ticking.store(true, Ordering::SeqCst);
                quiet_ticks = 0;
            }
            let was_roused = self.is_roused.swap(false, Ordering::SeqCst);
            let Some(registry) = registry.upgrade() else {
                return;
            };
            quiet_ticks = match self.tick(&registry) || was_roused {
                true => 0,
                false => quiet_ticks + 1,
            };
        }
    }

    /// Wakes hubs whose wakeup is overdue, and publishers and joins whose time may be over. Returns true if one of them
    /// waits.
    fn tick(&self, registry: &RoomRegistry) -> bool {
        for hub in registry.hubs.get().into_iter().flatten() {
            hub.nudge();
        }
        let cores: Vec<_> = {
            let mut state = self.lock();
            let cores = state.waited_for.iter().filter_map(Weak::upgrade);
            let cores: Vec<_> = cores.collect();
            let is_waited_for = |known: &Weak<RoomCore>| {
                let mut cores = cores.iter();
                cores.any(|core| is_same(core, known) && core.has_waiters())
            };
            state.waited_for.retain(is_waited_for);
            cores
        };
        let has_waiters = !cores.is_empty();
        let now = Instant::now();
        for core in cores {
            core.tick_waiters(now);
            registry.release(core);
        }
        has_waiters
    }
}

impl RoomRegistry {
    /// Makes the clock wake those who wait for room in this room, so that they see that their time is over. Returns
    /// false if the system cannot start the clock's thread.
    pub(crate) fn watch_waiters(self: &Arc<Self>, core: &Arc<RoomCore>) -> bool {
        {
            let mut state = self.clock.lock();
            if !state.waited_for.iter().any(|known| is_same(core, known)) {
                state.waited_for.push(Arc::downgrade(core));
            }
        }
        self.clock.rouse(self)
    }

    /// Waits while the queue of joins and leaves is full.
    pub(crate) async fn admit_join(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
    ) -> Result<(), RoomError> {
        if core.has_room_for_joins(0) {
            return Ok(());
        }
        let after = self.config.publish_timeout;
        let until = Instant::now() + after;
        let mut place = core.wait_to_join(until);
        loop {
            // A wake-up counts from here on. The queue may have got room since the last look.
            place.enter();
            if core.has_room_for_joins(0) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(RoomError::Busy { after });
            }
            if !self.watch_waiters(core) {
                return Err(RoomError::NoHub);
            }
            (&mut place).await;
        }
    }
}

fn is_same(core: &Arc<RoomCore>, other: &Weak<RoomCore>) -> bool {
    std::ptr::eq(other.as_ptr(), Arc::as_ptr(core))
}
