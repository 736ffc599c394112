//! The sessions in this process's memory, within a bound of bytes.
//!
//! Those that may go are in a list by their last use, which is also the order in which they expire; those that are kept alive
//! are in none. So everything takes the same time however many there are.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use slab::Slab;
use tokio::{runtime::Handle, time::Instant};

use super::{
    SessionData, SessionError, SessionId,
    entry::{Entry, FORMER, State},
};

/// The place of what is not in the table, and the end of the list.
pub(super) const NOWHERE: u32 = u32::MAX;

/// How long the id before a renewal is valid, in seconds: requests in flight still count.
pub(super) const FORMER_FOR: u64 = 60;

/// What a session without values takes: itself with its counts, and its places in tables that double when they are full,
/// with what the allocator adds.
const ENTRY_BYTES: usize = size_of::<Entry>() + 32 + 2 * size_of::<Slot>() + 3 * ID_BYTES;
/// What an id takes in a table.
const ID_BYTES: usize = size_of::<(SessionId, u32)>() + 4;
/// What an id that is over takes.
const OVER_BYTES: usize = 4 * (size_of::<(u64, SessionId)>() + ID_BYTES);

/// All sessions of a server.
pub(crate) struct Table {
    all: Mutex<All>,
    /// Seconds since 1970 at `start`. From there the runtime's clock counts, which never jumps.
    epoch: Duration,
    start: Instant,
    /// In bytes.
    limit: AtomicUsize,
    /// In seconds.
    ttl: AtomicU64,
    max_age: AtomicU64,
    /// Another store is to be told of changes.
    pub(super) external: AtomicBool,
    full_is_logged: AtomicBool,
    /// Of the last run.
    runtime: Mutex<Option<Handle>>,
}

#[derive(Default)]
struct All {
    /// Former ids included.
    ids: HashMap<SessionId, u32>,
    users: BTreeSet<(Arc<str>, u32)>,
    slots: Slab<Slot>,
    /// The list by last use.
    newest: Option<u32>,
    oldest: Option<u32>,
    bytes: usize,
    /// Ids that are worth nothing any more, for a while.
    over: HashMap<SessionId, (Over, u64)>,
    over_by_time: VecDeque<(u64, SessionId)>,
}

/// Why an id is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Its session was given another when the user changed, which its client has or is about to get.
    Renewed,
    Destroyed,
}

struct Slot {
    entry: Arc<Entry>,
    /// Last use, in seconds since 1970.
    used: u64,
    newer: u32,
    older: u32,
    /// Guards that keep it.
    kept: u32,
    bytes: u32,
}

/// What an id leads to.
#[derive(Debug)]
pub(super) enum Found {
    Session(Arc<Entry>),
    Over(Over),
    Unknown,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            epoch: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            start: Instant::now(),
            limit: AtomicUsize::new(0),
            ttl: AtomicU64::new(0),
            max_age: AtomicU64::new(0),
            external: AtomicBool::new(false),
            full_is_logged: AtomicBool::new(false),
            runtime: Mutex::default(),
        }
    }
}

impl Table {
    pub(super) fn configure(&self, limit: usize, ttl: u64, max_age: u64, external: bool) {
        self.limit.store(limit, Ordering::Relaxed);
        self.ttl.store(ttl, Ordering::Relaxed);
        self.max_age.store(max_age, Ordering::Relaxed);
        self.external.store(external, Ordering::Relaxed);
        *self.lock_runtime() = Handle::try_current().ok();
    }

    fn lock_runtime(&self) -> MutexGuard<'_, Option<Handle>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the server runs that its sessions belong to; before it does, where the caller is.
    pub(super) fn runtime(&self) -> Option<Handle> {
        let known = self.lock_runtime().clone();
        known.or_else(|| Handle::try_current().ok())
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> u64 {
        (self.epoch + self.start.elapsed()).as_secs()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of an id that is valid now, one it had before included. This is a use of the session.
    pub(crate) fn find(&self, id: &SessionId) -> Option<Arc<Entry>> {
        match self.look_up(id) {
            Found::Session(entry) => Some(entry),
            Found::Over(_) | Found::Unknown => None,
        }
    }

    pub(super) fn look_up(&self, id: &SessionId) -> Found {
        let now = self.now();
        let mut all = self.lock();
        let Some(&key) = all.ids.get(id) else {
            return match all.over.get(id) {
                Some((over, until)) if now < *until => Found::Over(*over),
                _ => Found::Unknown,
            };
        };
        if self.is_expired(&all, key, now) {
            let gone = all.remove(key);
            drop(all);
            end(gone);
            return Found::Unknown;
        }
        let Some(entry) = all.slots.get(key as usize).map(|slot| slot.entry.clone()) else {
            return Found::Unknown;
        };
        let mut state = entry.state();
        if state.id != *id {
            let is_valid = state
                .former
                .iter()
                .any(|(former, until)| former == id && now < *until);
            if !is_valid {
                state.former.retain(|(former, _)| former != id);
                all.ids.remove(id);
                return Found::Unknown;
            }
        }
        drop(state);
        all.touch(key, now);
        Found::Session(entry)
    }

    fn is_expired(&self, all: &All, key: u32, now: u64) -> bool {
        all.slots.get(key as usize).is_none_or(|slot| {
            let created = slot.entry.state().created;
            self.is_too_old(created, now)
                || slot.kept == 0 && now >= slot.used + self.ttl.load(Ordering::Relaxed)
        })
    }

    pub(super) fn is_too_old(&self, created: u64, now: u64) -> bool {
        now >= created.saturating_add(self.max_age.load(Ordering::Relaxed))
    }

    /// The sessions of a user.
    pub(crate) fn of_user(&self, user: &str) -> Vec<Arc<Entry>> {
        let user: Arc<str> = user.into();
        let all = self.lock();
        all.users
            .range((user.clone(), 0)..=(user, NOWHERE))
            .filter_map(|(_, key)| all.slots.get(*key as usize))
            .map(|slot| slot.entry.clone())
            .collect()
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let all = self.lock();
        all.slots
            .iter()
            .map(|(_, slot)| slot.entry.clone())
            .collect()
    }

    /// Puts a session in; false where there is no room, as all others are kept alive.
    pub(super) fn insert(&self, entry: &Arc<Entry>) -> bool {
        let now = self.now();
        let mut gone = Vec::new();
        let mut all = self.lock();
        let state = entry.state();
        let (id, user) = (state.id, state.user.clone());
        let bytes = ENTRY_BYTES + state.bytes();
        drop(state);
        let mut fits = !all.ids.contains_key(&id) && entry.place() == NOWHERE;
        fits = fits && self.make_room(&mut all, bytes, now, None, &mut gone);
        if let (true, Ok(key)) = (fits, u32::try_from(all.slots.vacant_key())) {
            all.slots.insert(Slot {
                entry: entry.clone(),
                used: now,
                newer: NOWHERE,
                older: NOWHERE,
                kept: 0,
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            });
            all.link(key);
            all.ids.insert(id, key);
            if let Some(user) = user {
                all.users.insert((user, key));
            }
            all.bytes += bytes;
            entry.slot.store(key, Ordering::Release);
        }
        drop(all);
        gone.into_iter().for_each(|entry| entry.end_channels());
        if !fits && !self.full_is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "session_memory is full of sessions that are in use: new ones last for their request"
            );
        }
        fits
    }

    /// Makes room for `bytes` more by dropping what is over, expired, or was used least recently; never `but`.
    fn make_room(
        &self,
        all: &mut All,
        bytes: usize,
        now: u64,
        but: Option<u32>,
        gone: &mut Vec<Arc<Entry>>,
    ) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        while let Some((until, id)) = all.over_by_time.front().copied() {
            let too_many = all.over_by_time.len() * OVER_BYTES > limit / 8;
            if now < until && !too_many {
                break;
            }
            all.over_by_time.pop_front();
            all.over.remove(&id);
        }
        if bytes > limit {
            return false;
        }
        loop {
            let oldest = all.oldest.filter(|oldest| but != Some(*oldest));
            let taken = all.bytes + all.over_by_time.len() * OVER_BYTES;
            match oldest {
                Some(oldest) if taken + bytes > limit || self.is_expired(all, oldest, now) => {
                    gone.extend(all.remove(oldest));
                }
                _ => return taken + bytes <= limit,
            }
        }
    }

    /// Changes a session, if there is room for it afterwards. The change is told what it may do beyond.
    pub(super) fn change<R>(
        &self,
        entry: &Arc<Entry>,
        more: usize,
        change: impl FnOnce(&mut State) -> R,
    ) -> Result<R, SessionError> {
        let now = self.now();
        let mut gone = Vec::new();
        let mut all = self.lock();
        let key = entry.place();
        if key == NOWHERE {
            // It lasts for its request alone, and so does what it takes.
            drop(all);
            let limit = self.limit.load(Ordering::Relaxed);
            let mut state = entry.state();
            return match state.bytes() + more <= limit {
                true => {
                    state.touch();
                    Ok(change(&mut state))
                }
                false => Err(SessionError::Full),
            };
        }
        all.touch(key, now);
        let fits = more == 0 || self.make_room(&mut all, more, now, Some(key), &mut gone);
        let changed = fits.then(|| {
            let mut state = entry.state();
            let user = state.user.clone();
            let changed = change(&mut state);
            state.touch();
            if user != state.user {
                if let Some(user) = user {
                    all.users.remove(&(user, key));
                }
                if let Some(user) = state.user.clone() {
                    all.users.insert((user, key));
                }
            }
            drop(state);
            all.recount(entry, key);
            changed
        });
        drop(all);
        gone.into_iter().for_each(|entry| entry.end_channels());
        changed.ok_or(SessionError::Full)
    }

    /// Binds a session to a user. `is_told`: the client has the id that the session has.
    pub(super) fn set_user(
        &self,
        entry: &Arc<Entry>,
        user: Option<Arc<str>>,
        is_told: bool,
    ) -> Result<(), SessionError> {
        let more = user.as_ref().map_or(0, |user| user.len() + ENTRY_BYTES);
        let left = self.change(entry, more, |state| {
            if state.user == user {
                return Vec::new();
            }
            state.user = user;
            state.user_changed |= is_told;
            std::mem::take(&mut state.former)
        })?;
        // Who knows an id from before the login knows nothing now.
        let left: Vec<SessionId> = left.into_iter().map(|(id, _)| id).collect();
        if !left.is_empty() {
            self.end_ids(entry, &left, Over::Renewed);
        }
        Ok(())
    }

    /// Takes over what another server has made of a session.
    pub(super) fn replace(&self, entry: &Arc<Entry>, data: &SessionData) {
        let more = data
            .values
            .iter()
            .map(|(key, value)| key.len() + value.len() + 256)
            .sum();
        let user: Option<Arc<str>> = data.user.as_deref().map(Arc::from);
        let replaced = self.change(entry, more, |state| {
            state.values = data.values.clone();
            state.user = user;
        });
        match replaced {
            Ok(()) => entry.state().unsaved = false,
            Err(error) => {
                tracing::warn!(%error, "what another server has changed is not seen here")
            }
        }
    }

    fn end_ids(&self, entry: &Entry, ids: &[SessionId], over: Over) {
        let now = self.now();
        let mut all = self.lock();
        for id in ids {
            all.ids.remove(id);
            all.end_id(*id, over, now + FORMER_FOR);
        }
        if self.external.load(Ordering::Relaxed) {
            entry.state().left.extend(ids);
        }
    }

    /// Gives a session another id, unless somebody has since the one that the request came with.
    pub(super) fn renew(
        &self,
        entry: &Arc<Entry>,
        presented: Option<SessionId>,
    ) -> Result<SessionId, SessionError> {
        let id = SessionId::random().map_err(|_| SessionError::Random)?;
        let now = self.now();
        let mut all = self.lock();
        let mut state = entry.state();
        if state.ended {
            return Err(SessionError::Ended);
        }
        if presented.is_some_and(|presented| presented != state.id) {
            return Ok(state.id);
        }
        let old = std::mem::replace(&mut state.id, id);
        state.touch();
        if self.external.load(Ordering::Relaxed) {
            state.left.push(old);
        }
        let key = entry.place();
        if key == NOWHERE {
            return Ok(id);
        }
        all.ids.insert(id, key);
        if std::mem::take(&mut state.user_changed) {
            all.ids.remove(&old);
            all.end_id(old, Over::Renewed, now + FORMER_FOR);
        } else {
            state.former.push((old, now + FORMER_FOR));
            let is_over = |(_, until): &(SessionId, u64)| *until <= now;
            while state.former.len() > FORMER || state.former.first().is_some_and(is_over) {
                let (dropped, _) = state.former.remove(0);
                all.ids.remove(&dropped);
            }
        }
        drop(state);
        all.recount(entry, key);
        Ok(id)
    }

    /// Ends a session for good.
    pub(super) fn destroy(&self, entry: &Arc<Entry>) {
        let now = self.now();
        let mut all = self.lock();
        let mut state = entry.state();
        if state.ended {
            return;
        }
        state.ended = true;
        state.touch();
        let mut ids: Vec<SessionId> = state.former.iter().map(|(id, _)| *id).collect();
        ids.push(state.id);
        state.values = Vec::new();
        if self.external.load(Ordering::Relaxed) {
            state.left.extend(&ids);
        }
        drop(state);
        all.remove(entry.place());
        entry.state().user = None;
        for id in ids {
            all.end_id(id, Over::Destroyed, now + FORMER_FOR);
        }
        // What is over takes room as well.
        let mut gone = Vec::new();
        self.make_room(&mut all, 0, now, None, &mut gone);
        drop(all);
        entry.end_channels();
        gone.into_iter().for_each(|entry| entry.end_channels());
    }

    /// Counts bytes of a session's channels; false where there is no room for them. This is no use of the session.
    pub(super) fn charge(&self, entry: &Arc<Entry>, bytes: usize) -> bool {
        let now = self.now();
        let mut gone = Vec::new();
        let mut all = self.lock();
        let key = entry.place();
        // One that lasts for its request alone has nobody to wait for.
        let fits = key != NOWHERE && self.make_room(&mut all, bytes, now, Some(key), &mut gone);
        if fits {
            entry.state().waiting += bytes;
            all.recount(entry, key);
        }
        drop(all);
        gone.into_iter().for_each(|entry| entry.end_channels());
        fits
    }

    pub(super) fn discharge(&self, entry: &Arc<Entry>, bytes: usize) {
        let mut all = self.lock();
        let mut state = entry.state();
        state.waiting = state.waiting.saturating_sub(bytes);
        drop(state);
        all.recount(entry, entry.place());
    }

    pub(super) fn keep(&self, entry: &Arc<Entry>) {
        let mut all = self.lock();
        let key = entry.place();
        if let Some(slot) = all.slots.get_mut(key as usize) {
            slot.kept += 1;
            if slot.kept == 1 {
                all.unlink(key);
            }
        }
    }

    pub(super) fn release(&self, entry: &Arc<Entry>) {
        let now = self.now();
        let mut all = self.lock();
        let key = entry.place();
        if let Some(slot) = all.slots.get_mut(key as usize)
            && slot.kept > 0
        {
            slot.kept -= 1;
            if slot.kept == 0 {
                slot.used = now;
                all.link(key);
            }
        }
    }

    /// Forgets a session that another server has ended.
    pub(super) fn forget(&self, entry: &Arc<Entry>) {
        let gone = self.lock().remove(entry.place());
        end(gone);
    }

    /// How many sessions there are, and the bytes they are counted with.
    #[cfg(test)]
    pub(super) fn usage(&self) -> (usize, usize) {
        let all = self.lock();
        (
            all.slots.len(),
            all.bytes + all.over_by_time.len() * OVER_BYTES,
        )
    }
}

fn end(gone: Option<Arc<Entry>>) {
    if let Some(entry) = gone {
        entry.end_channels();
    }
}

impl All {
    /// Counts anew what a session takes.
    fn recount(&mut self, entry: &Entry, key: u32) {
        let state = entry.state();
        let bytes = ENTRY_BYTES + state.bytes() + state.former.len() * ID_BYTES * 2;
        drop(state);
        if let Some(slot) = self.slots.get_mut(key as usize) {
            let before = slot.bytes as usize;
            slot.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.bytes = self.bytes + bytes - before;
        }
    }

    fn touch(&mut self, key: u32, now: u64) {
        if let Some(slot) = self.slots.get_mut(key as usize) {
            slot.used = now;
            if slot.kept == 0 && self.newest != Some(key) {
                self.unlink(key);
                self.link(key);
            }
        }
    }

    /// Makes it the one used last.
    fn link(&mut self, key: u32) {
        let before = self.newest.replace(key);
        if let Some(slot) = self.slots.get_mut(key as usize) {
            slot.newer = NOWHERE;
            slot.older = before.unwrap_or(NOWHERE);
        }
        match before.and_then(|before| self.slots.get_mut(before as usize)) {
            Some(before) => before.newer = key,
            None => self.oldest = Some(key),
        }
    }

    fn unlink(&mut self, key: u32) {
        let Some(slot) = self.slots.get_mut(key as usize) else {
            return;
        };
        let (newer, older) = (slot.newer, slot.older);
        let place = |key: u32| (key != NOWHERE).then_some(key);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = place(older),
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = place(newer),
        }
    }

    fn remove(&mut self, key: u32) -> Option<Arc<Entry>> {
        if self.slots.get(key as usize)?.kept == 0 {
            self.unlink(key);
        }
        let slot = self.slots.try_remove(key as usize)?;
        self.bytes = self.bytes.saturating_sub(slot.bytes as usize);
        let state = slot.entry.state();
        self.ids.remove(&state.id);
        for (id, _) in &state.former {
            self.ids.remove(id);
        }
        if let Some(user) = state.user.clone() {
            self.users.remove(&(user, key));
        }
        drop(state);
        slot.entry.slot.store(NOWHERE, Ordering::Release);
        Some(slot.entry)
    }

    fn end_id(&mut self, id: SessionId, over: Over, until: u64) {
        if self.over.insert(id, (over, until)).is_none() {
            self.over_by_time.push_back((until, id));
        }
    }
}

#[cfg(test)]
mod tests;
