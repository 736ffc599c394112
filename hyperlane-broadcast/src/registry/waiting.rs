//! The limit of what waits for slow members in all rooms together.

use std::{
    collections::BinaryHeap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::RoomRegistry;
use crate::delivery::core::RoomCore;

/// Memory is freed when what waits has grown by one of so many parts of its limit since the last time. So a publish
/// rarely pays for it, even if the limit cannot be kept for a moment because connections close slowly.
const STEPS: usize = 64;

#[derive(Default)]
pub(super) struct State {
    /// The rooms in which something may wait for slow members.
    rooms: Mutex<Vec<Weak<RoomCore>>>,
    /// The size from which memory is freed again, if it is above the limit.
    next: AtomicUsize,
    /// Held by the thread that frees memory.
    turn: Mutex<()>,
}

impl RoomRegistry {
    /// Lists a room in which something waits for slow members.
    pub(super) fn list_waiting(&self, core: &Arc<RoomCore>) {
        if core.is_listed_waiting.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut rooms = self.waiting_rooms();
        if rooms.len() == rooms.capacity() {
            // The list doubles only if most of its rooms still exist.
            rooms.retain(|core| core.strong_count() > 0);
        }
        rooms.push(Arc::downgrade(core));
    }

    fn waiting_rooms(&self) -> std::sync::MutexGuard<'_, Vec<Weak<RoomCore>>> {
        let rooms = self.waiting.rooms.lock();
        rooms.unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees memory if too much waits for slow members.
    pub(super) fn bound_waiting(&self) {
        let waiting = self.totals.waiting();
        let next = &self.waiting.next;
        if waiting <= self.config.waiting_bytes {
            if next.load(Ordering::Relaxed) > 0 {
                next.store(0, Ordering::Relaxed);
            }
        } else if waiting >= next.load(Ordering::Relaxed) {
            self.free_waiting();
        }
    }

    /// Takes their place from the slow members that are farthest behind, until what waits is at seven eighths of its
    /// limit. If that does not free enough, closes connections of slow members, whose outboxes count as well.
    #[cold]
    fn free_waiting(&self) {
        let Ok(_turn) = self.waiting.turn.try_lock() else {
            return;
        };
        let limit = self.config.waiting_bytes;
        let goal = limit / 8 * 7;
        let rooms = self.rooms_with_waiting();
        let mut farthest: BinaryHeap<(usize, usize)> = rooms
            .iter()
            .enumerate()
            .map(|(at, core)| (core.ledger.waiting(), at))
            .collect();
        let excess = || self.totals.waiting().saturating_sub(goal);
        while excess() > 0
            && let Some((_, at)) = farthest.pop()
            && let Some(core) = rooms.get(at)
        {
            if core.drop_farthest() > 0 {
                farthest.push((core.ledger.waiting(), at));
            }
        }
        let mut left = excess();
        let mut by_waiting: Vec<_> = rooms.iter().collect();
        by_waiting.sort_unstable_by_key(|core| std::cmp::Reverse(core.ledger.waiting()));
        for core in by_waiting {
            let bytes = core.ledger.waiting().min(left);
            if bytes == 0 {
                break;
            }
            left -= bytes;
            core.close_farthest(bytes, 0);
        }
        let next = self.totals.waiting() + limit / STEPS;
        self.waiting.next.store(next, Ordering::Relaxed);
        for core in rooms {
            self.release(core);
        }
    }

    /// Returns the listed rooms, and removes those in which nothing waits any more from the list.
    fn rooms_with_waiting(&self) -> Vec<Arc<RoomCore>> {
        let listed = std::mem::take(&mut *self.waiting_rooms());
        let mut rooms = Vec::with_capacity(listed.len());
        for core in listed.iter().filter_map(Weak::upgrade) {
            core.is_listed_waiting.store(false, Ordering::Release);
            match core.ledger.waiting() > 0 {
                true => {
                    self.list_waiting(&core);
                    rooms.push(core);
                }
                false => self.release(core),
            }
        }
        rooms
    }
}
