//! Room in the memory of sessions: the order of eviction, and the memory that the channels of a session use.

use std::sync::{Arc, MutexGuard, atomic::Ordering};

use super::{
    ENDED_ID_BYTES, NO_SLOT, SLICE, Table,
    slots::{Index, Rank},
};
use crate::session::entry::SessionEntry;

/// Guaranteed part of the memory for newcomers, as a divisor.
pub(super) const NEWCOMERS_PART: usize = 5;

/// Limit of ended ids before sessions with a user are evicted, as a divisor of the memory.
const ENDED_IDS_PART: usize = 64;

/// Result of making room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    None,
    /// There will be room after further slices of evictions.
    Later,
}

impl Table {
    /// Locks the table once there is room for `bytes` more of a session, or if there can be none. The caller ends
    /// evicted sessions outside of all locks.
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

    /// Makes room for `bytes` more of a session: drops ended ids, and evicts expired and least recently used sessions,
    /// never the session itself.
    ///
    /// Newcomers are evicted first while they have more than their part. So a flood of newcomers evicts newcomers and
    /// never a user's session, and users always leave newcomers room to log in.
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
            // A flood of logouts logs no other users out.
            if first == Rank::Known
                && index.ended_by_time.len() * ENDED_ID_BYTES > limit / ENDED_IDS_PART
                && let Some((_, id)) = index.ended_by_time.pop_front()
            {
                index.ended_ids.remove(&id);
                continue;
            }
            // If that segment has no candidate, the session's own segment has to make room.
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

    /// Charges a session for bytes of its channels; false if there is no room. This is no use of the session.
    pub(in crate::session) fn charge(&self, entry: &Arc<SessionEntry>, bytes: usize) -> bool {
        // A session that lasts for its request alone has no client to wait for.
        if entry.slot_key() == NO_SLOT {
            return false;
        }
        let mut evicted = Vec::new();
        let (mut index, has_room) = self.lock_with_room(entry, bytes, &mut evicted);
        let key = entry.slot_key();
        let fits = key != NO_SLOT && has_room;
        if fits {
            entry.state().waiting += bytes;
            index.recount(entry, key);
        }
        drop(index);
        end_all(evicted);
        fits
    }

    pub(in crate::session) fn discharge(&self, entry: &Arc<SessionEntry>, bytes: usize) {
        let mut index = self.lock();
        let mut state = entry.state();
        state.waiting = state.waiting.saturating_sub(bytes);
        drop(state);
        index.recount(entry, entry.slot_key());
    }
}

/// Ends evicted sessions. Call this outside of all locks.
pub(super) fn end_all(evicted: impl IntoIterator<Item = Arc<SessionEntry>>) {
    for entry in evicted {
        entry.attachment().end();
    }
}
