//! The index of the sessions. It finds sessions by id and by user, and keeps the order of eviction.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use slab::Slab;

use super::{IdEnd, NO_SLOT};
use crate::session::{
    SessionId,
    entry::{SessionEntry, SessionState},
};

/// Size of a session without values, in bytes: its entry with reference counts, its slots in tables that grow by
/// doubling, and the allocator's overhead.
pub(super) const ENTRY_BYTES: usize =
    size_of::<SessionEntry>() + 32 + 2 * size_of::<Slot>() + 3 * ID_BYTES;
/// Size of an id in a table, in bytes.
pub(super) const ID_BYTES: usize = size_of::<(SessionId, u32)>() + 4;

#[derive(Default)]
pub(super) struct Index {
    /// The keys of slots by id. The ids include the former ids of each session.
    pub(super) ids: HashMap<SessionId, u32>,
    pub(super) users: BTreeSet<(Arc<str>, u32)>,
    pub(super) slots: Slab<Slot>,
    /// The sessions without a user.
    pub(super) newcomers: Segment,
    /// The sessions with a user.
    pub(super) known: Segment,
    /// Ids that have ended recently. Each has the reason, and the time until which the table remembers the id, in
    /// seconds since 1970.
    pub(super) ended_ids: HashMap<SessionId, (IdEnd, u64)>,
    pub(super) ended_by_time: VecDeque<(u64, SessionId)>,
}

pub(super) struct Slot {
    pub(super) entry: Arc<SessionEntry>,
    /// Last use, in seconds since 1970.
    pub(super) used: u64,
    pub(super) newer: u32,
    pub(super) older: u32,
    /// Number of guards that keep the session alive. Each channel in use has one guard.
    pub(super) kept: u16,
    pub(super) rank: Rank,
    pub(super) bytes: u32,
}

/// The rank of a session. Newcomers are evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// A session without a user. Any request without a cookie can begin such a session.
    Newcomer,
    /// A session with a user. After an eviction the user would have to log in again.
    Known,
}

impl Rank {
    pub(super) fn of(state: &SessionState) -> Self {
        match state.user {
            Some(_) => Self::Known,
            None => Self::Newcomer,
        }
    }
}

/// The sessions of one rank.
#[derive(Default)]
pub(super) struct Segment {
    /// The newest session of a linked list. The list has the sessions of this rank that may be evicted (`kept` is 0),
    /// in the order of last use.
    pub(super) newest: Option<u32>,
    pub(super) oldest: Option<u32>,
    /// Size of all sessions of this rank, in bytes.
    pub(super) bytes: usize,
}

impl Index {
    /// Returns the size of all sessions, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.newcomers.bytes + self.known.bytes
    }

    pub(super) fn segment(&mut self, rank: Rank) -> &mut Segment {
        match rank {
            Rank::Newcomer => &mut self.newcomers,
            Rank::Known => &mut self.known,
        }
    }

    /// Returns the key of the least recently used session that has the rank `rank` and may be evicted. Skips the
    /// session with the key `but`.
    pub(super) fn next_to_evict(&self, rank: Rank, but: u32) -> Option<u32> {
        let oldest = match rank {
            Rank::Newcomer => self.newcomers.oldest?,
            Rank::Known => self.known.oldest?,
        };
        if oldest != but {
            return Some(oldest);
        }
        let newer = self.slots.get(oldest as usize)?.newer;
        (newer != NO_SLOT).then_some(newer)
    }

    /// Updates the recorded size of a session, and moves the session to the segment of its rank.
    pub(super) fn recount(&mut self, entry: &SessionEntry, key: u32) {
        let (bytes, rank) = {
            let state = entry.state();
            let bytes = ENTRY_BYTES + state.bytes() + state.former.len() * ID_BYTES * 2;
            (bytes, Rank::of(&state))
        };
        let Some(slot) = self.slots.get(key as usize) else {
            return;
        };
        let (before, old_rank, is_kept) = (slot.bytes as usize, slot.rank, slot.kept > 0);
        if rank != old_rank && !is_kept {
            self.unlink(key);
        }
        let segment = self.segment(old_rank);
        segment.bytes = segment.bytes.saturating_sub(before);
        self.segment(rank).bytes += bytes;
        if let Some(slot) = self.slots.get_mut(key as usize) {
            slot.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            slot.rank = rank;
        }
        if rank != old_rank && !is_kept {
            self.link(key);
        }
    }

    pub(super) fn touch(&mut self, key: u32, now: u64) {
        let Some(slot) = self.slots.get_mut(key as usize) else {
            return;
        };
        slot.used = now;
        let (rank, is_kept) = (slot.rank, slot.kept > 0);
        if !is_kept && self.segment(rank).newest != Some(key) {
            self.unlink(key);
            self.link(key);
        }
    }

    /// Puts a session at the newest end of its segment's list.
    pub(super) fn link(&mut self, key: u32) {
        let Some(slot) = self.slots.get(key as usize) else {
            return;
        };
        let before = self.segment(slot.rank).newest.replace(key);
        if let Some(slot) = self.slots.get_mut(key as usize) {
            slot.newer = NO_SLOT;
            slot.older = before.unwrap_or(NO_SLOT);
            let rank = slot.rank;
            match before.and_then(|before| self.slots.get_mut(before as usize)) {
                Some(before) => before.newer = key,
                None => self.segment(rank).oldest = Some(key),
            }
        }
    }

    pub(super) fn unlink(&mut self, key: u32) {
        let Some(slot) = self.slots.get_mut(key as usize) else {
            return;
        };
        let (newer, older, rank) = (slot.newer, slot.older, slot.rank);
        let place = |key: u32| (key != NO_SLOT).then_some(key);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.segment(rank).newest = place(older),
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.segment(rank).oldest = place(newer),
        }
    }

    pub(super) fn remove(&mut self, key: u32) -> Option<Arc<SessionEntry>> {
        if self.slots.get(key as usize)?.kept == 0 {
            self.unlink(key);
        }
        let slot = self.slots.try_remove(key as usize)?;
        let segment = self.segment(slot.rank);
        segment.bytes = segment.bytes.saturating_sub(slot.bytes as usize);
        let state = slot.entry.state();
        self.ids.remove(&state.id);
        for former in &state.former {
            self.ids.remove(&former.id);
        }
        if let Some(user) = state.user.clone() {
            self.users.remove(&(user, key));
        }
        drop(state);
        slot.entry.slot.store(NO_SLOT, Ordering::Release);
        Some(slot.entry)
    }

    pub(super) fn end_id(&mut self, id: SessionId, over: IdEnd, until: u64) {
        if self.ended_ids.insert(id, (over, until)).is_none() {
            self.ended_by_time.push_back((until, id));
        }
    }
}
