//! Sessions in this process's memory, within a limit of bytes.
//!
//! The table has two segments: sessions without a user, and sessions with a user. Each segment has a list of the
//! sessions that may be evicted. The list has the order of last use, in which unused sessions also expire. The next
//! session to evict, or to expire for lack of use, is therefore at the end of a list, and the table finds it in the
//! same time for any number of sessions. A session with a channel in use is *kept alive*, and is in no list.
//!
//! All requests with a session take the table's lock, so the lock must be held only briefly. Code of the program never
//! runs under the lock, and nothing large is parsed, copied or freed under it. An operation handles at most [`SLICE`]
//! sessions before it releases the lock.

mod eviction;
mod slots;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{runtime::Handle, time::Instant};

use self::slots::{ENTRY_BYTES, ID_BYTES, Index, Rank, Slot};
use super::{
    AttachmentSlot, SessionData, SessionId,
    entry::{Former, MAX_FORMER_IDS, SessionEntry, SessionState, bytes_of},
};
use crate::{error::SessionError, http::SessionFields};

/// A value in place of the key of a slot, which is the place of a session in the table. It means that a session is not
/// in the table, or that a list ends.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// Lifetime of a former id after a renewal, in seconds. Requests in flight with the former id succeed during this time.
pub(super) const FORMER_ID_SECONDS: u64 = 60;

/// Size of an id that has ended and that the table still remembers, in bytes.
const ENDED_ID_BYTES: usize = 4 * (size_of::<(u64, SessionId)>() + ID_BYTES);

/// Number of sessions that an operation handles before it releases the lock for other tasks.
const SLICE: usize = 256;

/// All sessions of a server.
pub(crate) struct Table {
    index: Mutex<Index>,
    /// The time since 1970 at `start`. To this time, the table adds the time that has passed since `start` by the
    /// runtime's clock, which never jumps.
    epoch: Duration,
    start: Instant,
    /// Limit of the memory for sessions, in bytes.
    limit: AtomicUsize,
    /// Lifetime of an unused session, in seconds.
    ttl: AtomicU64,
    max_age: AtomicU64,
    /// True if the server has a store that must save changes.
    pub(super) has_store: AtomicBool,
    full_is_logged: AtomicBool,
    attachment: AttachmentSlot,
    /// The runtime on which the server was last started.
    runtime: Mutex<Option<Handle>>,
}

/// The reason why an id has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdEnd {
    /// The user has changed, and the session has a new id. The client has the new id, or is about to receive it.
    Renewed,
    Destroyed,
}

/// The result of looking up an id.
#[derive(Debug)]
pub(super) enum Found {
    Session(Arc<SessionEntry>),
    Ended(IdEnd),
    Unknown,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            index: Mutex::default(),
            epoch: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            start: Instant::now(),
            limit: AtomicUsize::new(0),
            ttl: AtomicU64::new(0),
            max_age: AtomicU64::new(0),
            has_store: AtomicBool::new(false),
            full_is_logged: AtomicBool::new(false),
            attachment: AttachmentSlot::default(),
            runtime: Mutex::default(),
        }
    }
}

impl Table {
    pub(super) fn configure(&self, limit: usize, ttl: u64, max_age: u64, has_store: bool) {
        self.limit.store(limit, Ordering::Relaxed);
        self.ttl.store(ttl, Ordering::Relaxed);
        self.max_age.store(max_age, Ordering::Relaxed);
        self.has_store.store(has_store, Ordering::Relaxed);
        *self.lock_runtime() = Handle::try_current().ok();
    }

    fn lock_runtime(&self) -> MutexGuard<'_, Option<Handle>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the server's runtime. Before the server runs, returns the caller's runtime.
    pub(super) fn runtime(&self) -> Option<Handle> {
        let known = self.lock_runtime().clone();
        known.or_else(|| Handle::try_current().ok())
    }

    /// Returns the attachment of the table: a value that a higher layer (the channels) keeps for all sessions.
    pub(crate) fn attachment(&self) -> &AttachmentSlot {
        &self.attachment
    }

    /// Returns the time in seconds since 1970.
    pub(super) fn now(&self) -> u64 {
        (self.epoch + self.start.elapsed()).as_secs()
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the session with this id. Former ids are accepted while they are valid. The call counts as a use of the
    /// session.
    pub(crate) fn find(&self, id: &SessionId) -> Option<Arc<SessionEntry>> {
        match self.look_up(id) {
            Found::Session(entry) => Some(entry),
            Found::Ended(_) | Found::Unknown => None,
        }
    }

    pub(super) fn look_up(&self, id: &SessionId) -> Found {
        let now = self.now();
        let mut index = self.lock();
        let Some(&key) = index.ids.get(id) else {
            return match index.ended_ids.get(id) {
                Some((over, until)) if now < *until => Found::Ended(*over),
                _ => Found::Unknown,
            };
        };
        if self.is_expired(&index, key, now) {
            let evicted = index.remove(key);
            drop(index);
            end_all(evicted);
            return Found::Unknown;
        }
        let Some(entry) = index.slots.get(key as usize).map(|slot| slot.entry.clone()) else {
            return Found::Unknown;
        };
        let mut state = entry.state();
        let is_valid = state.id == *id || state.former_until(id).is_some_and(|until| now < until);
        if !is_valid {
            state.former.retain(|former| former.id != *id);
        }
        drop(state);
        if !is_valid {
            index.ids.remove(id);
            return Found::Unknown;
        }
        index.touch(key, now);
        Found::Session(entry)
    }

    fn is_expired(&self, index: &Index, key: u32, now: u64) -> bool {
        index.slots.get(key as usize).is_none_or(|slot| {
            self.is_too_old(slot.entry.created, now)
                || slot.kept == 0 && now >= slot.used + self.ttl.load(Ordering::Relaxed)
        })
    }

    pub(super) fn is_too_old(&self, created: u64, now: u64) -> bool {
        now >= created.saturating_add(self.max_age.load(Ordering::Relaxed))
    }

    /// Finds the sessions of a user.
    pub(crate) fn of_user(&self, user: &str) -> Vec<Arc<SessionEntry>> {
        let user: Arc<str> = user.into();
        let mut found = Vec::new();
        let mut from = Some(0);
        while let Some(first) = from {
            let index = self.lock();
            let keys = index
                .users
                .range((user.clone(), first)..(user.clone(), NO_SLOT));
            let mut last = None;
            for (_, key) in keys.take(SLICE) {
                let slot = index.slots.get(*key as usize);
                found.extend(slot.map(|slot| slot.entry.clone()));
                last = Some(*key);
            }
            // The next slice begins after the last key. The loop ends when a slice is empty.
            from = last.map(|last| last + 1);
        }
        found
    }

    /// Returns all sessions.
    pub(crate) fn all(&self) -> Vec<Arc<SessionEntry>> {
        let mut found = Vec::new();
        let mut at = 0;
        loop {
            let index = self.lock();
            if at >= index.slots.capacity() {
                return found;
            }
            let slots = (at..at + SLICE).filter_map(|key| index.slots.get(key));
            found.extend(slots.map(|slot| slot.entry.clone()));
            at += SLICE;
        }
    }

    /// Inserts a session. Returns false if there is no room and the table cannot evict enough other sessions, or if the
    /// table already has the session or its id.
    pub(super) fn insert(&self, entry: &Arc<SessionEntry>) -> bool {
        let now = self.now();
        let mut evicted = Vec::new();
        let bytes = ENTRY_BYTES + entry.state().bytes();
        let (mut index, has_room) = self.lock_with_room(entry, bytes, &mut evicted);
        let (id, user, rank, bytes) = {
            let state = entry.state();
            let bytes = ENTRY_BYTES + state.bytes();
            (state.id, state.user.clone(), Rank::of(&state), bytes)
        };
        let fits = has_room && !index.ids.contains_key(&id) && entry.slot_key() == NO_SLOT;
        if let (true, Ok(key)) = (fits, u32::try_from(index.slots.vacant_key())) {
            index.slots.insert(Slot {
                entry: entry.clone(),
                used: now,
                newer: NO_SLOT,
                older: NO_SLOT,
                kept: 0,
                rank,
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            });
            index.link(key);
            index.ids.insert(id, key);
            if let Some(user) = user {
                index.users.insert((user, key));
            }
            index.segment(rank).bytes += bytes;
            entry.slot.store(key, Ordering::Release);
        }
        drop(index);
        end_all(evicted);
        if !has_room && !self.full_is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "`session_memory` is full of sessions in use: new sessions last for their request"
            );
        }
        fits
    }

    /// Changes a session if there is room for the change. `more` is the maximum number of bytes by which the session
    /// grows. `change` must call [`SessionState::touch`] if it changes the session. The caller drops the result outside
    /// of all locks.
    pub(super) fn change<R>(
        &self,
        entry: &Arc<SessionEntry>,
        more: usize,
        change: impl FnOnce(&mut SessionState) -> R,
    ) -> Result<R, SessionError> {
        let mut evicted = Vec::new();
        let locked = match entry.slot_key() {
            NO_SLOT => None,
            _ => Some(self.lock_with_room(entry, more, &mut evicted)),
        };
        let key = entry.slot_key();
        let changed = match locked {
            Some((mut index, has_room)) if key != NO_SLOT => {
                index.touch(key, self.now());
                let changed = (has_room || more == 0).then(|| {
                    let mut state = entry.state();
                    let user = state.user.clone();
                    let changed = change(&mut state);
                    if user != state.user {
                        if let Some(user) = user {
                            index.users.remove(&(user, key));
                        }
                        if let Some(user) = state.user.clone() {
                            index.users.insert((user, key));
                        }
                    }
                    drop(state);
                    index.recount(entry, key);
                    changed
                });
                drop(index);
                changed
            }
            // The session is not in the table. It lasts for its request only, so the table does not count its memory,
            // and only compares its size with the limit.
            locked => {
                drop(locked);
                let limit = self.limit.load(Ordering::Relaxed);
                let mut state = entry.state();
                (more == 0 || state.bytes() + more <= limit).then(|| change(&mut state))
            }
        };
        end_all(evicted);
        changed.ok_or(SessionError::Full)
    }

    /// Binds a session to a user, or to none. `client_knows_id` says whether the client has the current id. `by`
    /// describes the request: the id that the request knows, and the session fields of its answer.
    ///
    /// Fails with [`SessionError::Former`] if the call would bind the session to another user although the request has
    /// a former id or another request is logging a user in.
    pub(super) fn set_user(
        &self,
        entry: &Arc<SessionEntry>,
        user: Option<Arc<str>>,
        client_knows_id: bool,
        by: Option<(SessionId, &Arc<SessionFields>)>,
    ) -> Result<(), SessionError> {
        let more = user.as_ref().map_or(0, |user| user.len() + ENTRY_BYTES);
        let now = self.now();
        let left = self.change(entry, more, |state| {
            if state.user == user {
                return Ok(Vec::new());
            }
            if let (Some((known, fields)), Some(_)) = (by, &user)
                && (known != state.id || state.is_user_changing_elsewhere(fields, now))
            {
                return Err(SessionError::Former);
            }
            state.touch();
            state.user = user;
            state.user_changed |= client_knows_id;
            state.changing = by
                .filter(|(_, fields)| client_knows_id && !fields.is_written())
                .map(|(_, fields)| (Arc::downgrade(fields), now + FORMER_ID_SECONDS));
            Ok(std::mem::take(&mut state.former))
        })??;
        // Ids from before the change of the user end now. The connections that were opened with these ids end as well.
        let left: Vec<SessionId> = left.into_iter().map(|former| former.id).collect();
        if !left.is_empty() {
            self.end_ids(entry, &left, IdEnd::Renewed);
        }
        Ok(())
    }

    /// Replaces a session's content by `data`, which another server has changed. Does nothing if this process has
    /// changed the session since `version`.
    pub(super) fn replace(&self, entry: &Arc<SessionEntry>, data: &SessionData, version: u32) {
        let more = data
            .values
            .iter()
            .map(|(key, value)| key.len() + value.len() + 256)
            .sum();
        let user: Option<Arc<str>> = data.user.as_deref().map(Arc::from);
        let (values, bytes) = (data.values.clone(), bytes_of(&data.values));
        let replaced = self.change(entry, more, |state| {
            if state.version != version {
                return None;
            }
            // The changes of another server are in the store already, so they do not mark the session as unsaved.
            let was_unsaved = state.unsaved;
            state.touch();
            state.unsaved = was_unsaved;
            state.user = user;
            Some(state.replace_values(values, bytes))
        });
        if let Err(error) = replaced {
            tracing::warn!(%error, "no room for changes that another server has made to a session");
        }
    }

    fn end_ids(&self, entry: &SessionEntry, ids: &[SessionId], over: IdEnd) {
        let now = self.now();
        let mut index = self.lock();
        for id in ids {
            index.ids.remove(id);
            index.end_id(*id, over, now + FORMER_ID_SECONDS);
        }
        if self.has_store.load(Ordering::Relaxed) {
            entry.state().unsaved_ids.extend(ids);
        }
    }

    /// Gives a session a new id, and returns the new id. Returns `None` and changes nothing if the session's id is no
    /// longer `known`. Also returns `None` if another request has changed the user and is about to renew the session.
    pub(super) fn renew(
        &self,
        entry: &Arc<SessionEntry>,
        known: SessionId,
        fields: &Arc<SessionFields>,
    ) -> Result<Option<SessionId>, SessionError> {
        let id = SessionId::random().map_err(|_| SessionError::Random)?;
        let now = self.now();
        // This list is dropped outside of all locks.
        let mut over = Vec::new();
        let mut index = self.lock();
        let mut state = entry.state();
        if state.ended {
            return Err(SessionError::Ended);
        }
        if state.id != known || state.is_user_changing_elsewhere(fields, now) {
            return Ok(None);
        }
        state.id = id;
        state.changing = None;
        state.touch();
        if self.has_store.load(Ordering::Relaxed) {
            state.unsaved_ids.push(known);
        }
        let key = entry.slot_key();
        if key == NO_SLOT {
            return Ok(Some(id));
        }
        index.ids.insert(id, key);
        if std::mem::take(&mut state.user_changed) {
            index.ids.remove(&known);
            index.end_id(known, IdEnd::Renewed, now + FORMER_ID_SECONDS);
        } else {
            state
                .former
                .push(Former::new(known, now + FORMER_ID_SECONDS));
            let is_over = |former: &Former| former.until <= now;
            while state.former.len() > MAX_FORMER_IDS || state.former.first().is_some_and(is_over) {
                let dropped = state.former.remove(0);
                index.ids.remove(&dropped.id);
                over.push(dropped);
            }
        }
        drop(state);
        index.recount(entry, key);
        drop(index);
        Ok(Some(id))
    }

    /// Ends a session for good.
    pub(super) fn destroy(&self, entry: &Arc<SessionEntry>) {
        let now = self.now();
        let mut evicted = Vec::new();
        let mut index = self.lock();
        let mut state = entry.state();
        if state.ended {
            return;
        }
        state.ended = true;
        state.touch();
        let mut ids: Vec<SessionId> = state.former.iter().map(|former| former.id).collect();
        ids.push(state.id);
        if self.has_store.load(Ordering::Relaxed) {
            state.unsaved_ids.extend(&ids);
        }
        drop(state);
        // `Index::remove` uses the session's user to find the entry in the index of users. So the user is cleared
        // afterwards.
        evicted.extend(index.remove(entry.slot_key()));
        let dropped = {
            let mut state = entry.state();
            state.user = None;
            let former = std::mem::take(&mut state.former);
            (state.replace_values(Vec::new(), 0), former)
        };
        for id in ids {
            index.end_id(id, IdEnd::Destroyed, now + FORMER_ID_SECONDS);
        }
        // Ended ids use memory as well, so the table may have to evict sessions.
        self.make_room(&mut index, entry, 0, now, &mut evicted);
        drop(index);
        drop(dropped);
        entry.attachment().end();
        end_all(evicted);
    }

    /// Adds `bytes` to the counted memory of the session, for messages that wait in its channels. Returns false if
    /// there is no room. The call does not count as a use of the session.
    pub(super) fn charge(&self, entry: &Arc<SessionEntry>, bytes: usize) -> bool {
        // A session outside of the table lasts for its request only, so no client can come back for the messages.
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

    pub(super) fn discharge(&self, entry: &Arc<SessionEntry>, bytes: usize) {
        let mut index = self.lock();
        let mut state = entry.state();
        state.waiting = state.waiting.saturating_sub(bytes);
        drop(state);
        index.recount(entry, entry.slot_key());
    }

    pub(super) fn keep(&self, entry: &Arc<SessionEntry>) {
        let mut index = self.lock();
        let key = entry.slot_key();
        if let Some(slot) = index.slots.get_mut(key as usize) {
            slot.kept = slot.kept.saturating_add(1);
            if slot.kept == 1 {
                index.unlink(key);
            }
        }
    }

    pub(super) fn release(&self, entry: &Arc<SessionEntry>) {
        let now = self.now();
        let mut index = self.lock();
        let key = entry.slot_key();
        if let Some(slot) = index.slots.get_mut(key as usize)
            && slot.kept > 0
        {
            slot.kept -= 1;
            if slot.kept == 0 {
                slot.used = now;
                index.link(key);
            }
        }
    }

    /// Removes a session that another server has ended.
    pub(super) fn forget(&self, entry: &Arc<SessionEntry>) {
        let evicted = self.lock().remove(entry.slot_key());
        end_all(evicted);
    }

    /// Returns the number of sessions, and the counted bytes of sessions and ended ids.
    #[cfg(test)]
    pub(crate) fn usage(&self) -> (usize, usize) {
        let index = self.lock();
        (
            index.slots.len(),
            index.bytes() + index.ended_by_time.len() * ENDED_ID_BYTES,
        )
    }
}

/// Ends evicted sessions. Call this outside of all locks.
fn end_all(evicted: impl IntoIterator<Item = Arc<SessionEntry>>) {
    for entry in evicted {
        entry.attachment().end();
    }
}

#[cfg(test)]
mod tests;
