//! A coarse clock and a timer wheel that all connections of a server share.
//!
//! A tick is 100 ms. The time limits of connections are seconds long, so this precision suffices. Reading the clock is
//! a single relaxed load.
//!
//! An entry of the wheel wakes one connection at one tick. A connection has at most one live entry. If a deadline of
//! the connection moves to a later time, the entry stays as it is. When the entry fires, the connection compares its
//! own timestamps with the clock, and adds a new entry if a deadline is still ahead. A deadline that moves to an
//! earlier time adds a new entry at once. The old entry then fires without effect. One task per server drives the
//! wheel.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// A moment in ticks since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u32);

/// Length of a tick.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Number of slots. One turn of the wheel takes 102 s. If the deadline is further away, the entry fires after one turn,
/// and the connection adds a new entry.
const SLOTS: usize = 1024;

impl Tick {
    /// Returns the tick that is the duration `after` later than this tick. Rounds the duration up to whole ticks, and
    /// adds one tick because the current tick has already begun. So no entry fires too early.
    pub(crate) fn after(self, after: Duration) -> Self {
        let ticks = after.as_millis().div_ceil(TICK.as_millis());
        Self(
            self.0
                .saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX))
                .saturating_add(1),
        )
    }
}

/// A tick, or none, in the space of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaybeTick(Tick);

impl MaybeTick {
    pub(crate) const NONE: Self = Self(Tick(u32::MAX));

    pub(crate) fn get(self) -> Option<Tick> {
        (self != Self::NONE).then_some(self.0)
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    pub(crate) fn set(&mut self, tick: Tick) {
        self.0 = tick;
    }

    /// Sets the tick if there is none.
    pub(crate) fn set_first(&mut self, tick: Tick) {
        if self.is_none() {
            self.set(tick);
        }
    }

    pub(crate) fn take(&mut self) -> Option<Tick> {
        std::mem::replace(self, Self::NONE).get()
    }
}

impl Default for MaybeTick {
    fn default() -> Self {
        Self::NONE
    }
}

/// The key of a connection in the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    /// The index in the registry.
    pub(crate) slot: u32,
    /// The id of the connection at that index when the entry was added. The registry reuses indexes. The id shows
    /// whether the entry belongs to an earlier connection.
    pub(crate) id: u64,
}

/// The clock and the wheel.
pub(crate) struct Timers {
    /// The time at which the server started.
    started: Instant,
    now: AtomicU32,
    slots: Mutex<Vec<Vec<TimerKey>>>,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            now: AtomicU32::new(1),
            slots: Mutex::new(vec![Vec::new(); SLOTS]),
        }
    }

    /// Returns the exact time since the server started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the current tick.
    pub(crate) fn now(&self) -> Tick {
        Tick(self.now.load(Ordering::Relaxed))
    }

    /// Adds an entry that fires at `at` or after one turn of the wheel, whichever is sooner. If `at` is not in the
    /// future, the entry fires at the next tick. Returns the tick at which the entry fires.
    pub(crate) fn arm(&self, key: TimerKey, at: Tick) -> Tick {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // `advance` moves the clock under the same lock. So the clock cannot pass the slot of the new entry before the
        // entry is added.
        let now = self.now.load(Ordering::Relaxed);
        let last = now.saturating_add(SLOTS as u32 - 1);
        let at = at.0.clamp(now.saturating_add(1), last);
        if let Some(slot) = slots.get_mut(at as usize % SLOTS) {
            slot.push(key);
        }
        Tick(at)
    }

    /// Advances the clock to `now` and moves the due entries into `due`.
    pub(crate) fn advance(&self, now: Tick, due: &mut Vec<TimerKey>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.now.load(Ordering::Relaxed);
        // After a long sleep of the machine, `now` may be many turns ahead. One visit drains a slot, so each slot is
        // visited only once.
        let from = before
            .saturating_add(1)
            .max(now.0.saturating_sub(SLOTS as u32 - 1));
        for tick in from..=now.0 {
            if let Some(slot) = slots.get_mut(tick as usize % SLOTS) {
                due.append(slot);
                // After a burst of entries, the slot gives its memory back.
                if slot.capacity() > 4096 {
                    *slot = Vec::new();
                }
            }
        }
        self.now.store(now.0.max(before), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u64) -> TimerKey {
        TimerKey { slot: 0, id }
    }

    #[test]
    fn entries_fire_at_their_tick_and_never_before() {
        let timers = Timers::new();
        let at = timers.arm(key(7), timers.now().after(Duration::from_secs(1)));
        let mut due = Vec::new();
        timers.advance(Tick(at.0 - 1), &mut due);
        assert!(due.is_empty());
        timers.advance(at, &mut due);
        assert_eq!(due, [key(7)]);
        timers.advance(Tick(at.0 + 5000), &mut due);
        assert_eq!(due.len(), 1);
    }

    #[test]
    fn far_deadlines_are_looked_at_after_one_turn() {
        let timers = Timers::new();
        let at = timers.arm(key(1), timers.now().after(Duration::from_secs(10_000)));
        assert!(at.0 <= SLOTS as u32);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let timers = Timers::new();
        let mut due = Vec::new();
        timers.advance(Tick(500), &mut due);
        timers.arm(key(2), Tick(3));
        timers.advance(Tick(501), &mut due);
        assert_eq!(due, [key(2)]);
    }

    #[test]
    fn a_jump_over_many_turns_fires_all() {
        let timers = Timers::new();
        for id in 0..3000u64 {
            timers.arm(key(id), Tick(id as u32));
        }
        let mut due = Vec::new();
        timers.advance(Tick(1_000_000), &mut due);
        assert_eq!(due.len(), 3000);
    }
}
