//! Evictions: the choice of the sessions that the table removes when the memory is full. A *newcomer* is a session
//! without a user ([`Rank`]).

use std::sync::{Arc, MutexGuard, atomic::Ordering};

use super::{
    ENDED_ID_BYTES, SLICE, Table, end_all,
    slots::{Index, Rank},
};
use crate::session::SessionEntry;

/// Newcomers have a guaranteed share: the memory divided by this number.
pub(super) const NEWCOMERS_PART: usize = 5;

/// If ended ids (ids that the table remembers after their end) take more than the memory divided by this number, they
/// are dropped before sessions with a user are evicted.
const ENDED_IDS_PART: usize = 64;

/// The result of [`Table::make_room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    None,
    /// The call has removed as many sessions and ended ids as one call may remove. Further calls may make room.
    Later,
}

impl Table {
    /// Makes room for a session to grow by `bytes`. Returns the locked table, and whether there is room. Releases the
    /// lock between slices of evictions. The caller ends the sessions in `evicted` outside of all locks.
    pub(super) fn lock_with_room(
        &self,
        entry: &SessionEntry,
        bytes: usize,
        evicted: &mut Vec<Arc<SessionEntry>>,
    ) -> (MutexGuard<'_, Index>, bool) {
        let now = self.now();
        loop {
            let mut index = self.lock();
            match self.make_room(&mut index, entry, bytes, now, evicted) {
                Room::Enough => return (index, true),
                Room::None => return (index, false),
                Room::Later => {}
            }
            drop(index);
            end_all(std::mem::take(evicted));
        }
    }

    /// Makes room for a session to grow by `bytes`. Drops ended ids that are due or too many, and evicts expired
    /// sessions. If this is not enough, also evicts the least recently used sessions. Never evicts the session itself.
    ///
    /// Newcomers are evicted first while they use more than their guaranteed share. Beyond this share, a flood of
    /// newcomers therefore evicts only newcomers. While newcomers use less than their share, sessions with a user are
    /// evicted, so that newcomers find room to log in.
    pub(super) fn make_room(
        &self,
        index: &mut Index,
        entry: &SessionEntry,
        bytes: usize,
        now: u64,
        evicted: &mut Vec<Arc<SessionEntry>>,
    ) -> Room {
        let limit = self.limit.load(Ordering::Relaxed);
        for _ in 0..SLICE {
            let Some((until, id)) = index.ended_by_time.front().copied() else {
                break;
            };
            let too_many = index.ended_by_time.len() * ENDED_ID_BYTES > limit / 8;
            if now < until && !too_many {
                break;
            }
            index.ended_by_time.pop_front();
            index.ended_ids.remove(&id);
        }
        if bytes > limit {
            return Room::None;
        }
        let itself = entry.slot_key();
        let own = Rank::of(&entry.state());
        for rank in [Rank::Newcomer, Rank::Known] {
            for _ in 0..SLICE / 2 {
                let next = index.next_to_evict(rank, itself);
                let Some(expired) = next.filter(|key| self.is_expired(index, *key, now)) else {
                    break;
                };
                evicted.extend(index.remove(expired));
            }
        }
        for _ in 0..SLICE {
            let taken = index.bytes() + index.ended_by_time.len() * ENDED_ID_BYTES;
            if taken + bytes <= limit {
                return Room::Enough;
            }
            let asked = if own == Rank::Newcomer { bytes } else { 0 };
            let have_more = index.newcomers.bytes + asked > limit / NEWCOMERS_PART;
            let first = if have_more {
                Rank::Newcomer
            } else {
                Rank::Known
            };
            // A flood of logouts makes many ended ids. The table forgets the ended ids before it evicts sessions with a
            // user.
            if first == Rank::Known
                && index.ended_by_time.len() * ENDED_ID_BYTES > limit / ENDED_IDS_PART
                && let Some((_, id)) = index.ended_by_time.pop_front()
            {
                index.ended_ids.remove(&id);
                continue;
            }
            // If no session of the rank `first` can be evicted, sessions of the rank `own` (the rank of the session
            // that grows) have to make room.
            let goes = index
                .next_to_evict(first, itself)
                .or_else(|| index.next_to_evict(own, itself));
            match goes {
                Some(key) => evicted.extend(index.remove(key)),
                None => return Room::None,
            }
        }
        Room::Later
    }
}
