//! A session in this process's memory.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    AttachmentSlot, SessionId,
    store::{SessionData, Values},
    table::{NO_SLOT, Table},
};
use crate::http::SessionFields;

/// Limit of a session's valid former ids. A former id is an id from before a renewal. Beyond the limit the oldest
/// former id ends.
pub(super) const MAX_FORMER_IDS: usize = 4;

/// Overhead of a value, in bytes: its slot in a list that grows by doubling, and the allocator's overhead. Measured in
/// a flood of sessions, which fragments the heap.
const VALUE_BYTES: usize = 192;
/// Initial size of the list of values, in bytes.
const VALUES_BYTES: usize = 96;
/// Overhead of a user's name, in bytes. It includes the entry in the table's index of users.
const USER_BYTES: usize = 160;

/// A session. It stays usable after the [`Table`] of all sessions has removed it.
pub(crate) struct SessionEntry {
    table: Weak<Table>,
    /// The key of the session's slot in the table; [`NO_SLOT`] if the table does not have the session.
    pub(super) slot: AtomicU32,
    /// The time of creation, in seconds since 1970.
    pub(super) created: u64,
    state: Mutex<SessionState>,
    attachment: AttachmentSlot,
}

/// The mutable state of a session. The lock is held only briefly: code under the lock shares texts instead of copying
/// them. Values are parsed and dropped after the lock is released.
pub(super) struct SessionState {
    pub(super) id: SessionId,
    pub(super) user: Option<Arc<str>>,
    values: Values,
    /// Size of the values, in bytes.
    value_bytes: usize,
    /// Former ids that may still be valid.
    pub(super) former: Vec<Former>,
    /// The user has changed since the client learned the current id.
    pub(super) user_changed: bool,
    /// Set after a request has changed the user: the session fields of that request, and a second since 1970. No other
    /// request may renew the session or choose its user until one of three events: this second is reached, the head of
    /// the answer to that request is written, or that request is over.
    pub(super) changing: Option<(Weak<SessionFields>, u64)>,
    /// The session was destroyed. No request finds it any more, and the store deletes it.
    pub(super) ended: bool,
    /// The store does not have the latest changes.
    pub(super) unsaved: bool,
    /// Ids that have been replaced or have ended since the last save.
    pub(super) unsaved_ids: Vec<SessionId>,
    /// Number of changes and saves. Data from the store is outdated if the number has changed since the store was
    /// asked.
    pub(super) version: u32,
    /// The store has the session.
    pub(super) stored: bool,
    /// The lock that serializes saves. It exists only during a save.
    save_lock: Weak<tokio::sync::Mutex<()>>,
    /// Bytes of the messages that the session's [channels](crate::channel) keep while no client is connected.
    pub(super) waiting: usize,
}

/// A former id of a session.
pub(super) struct Former {
    pub(super) id: SessionId,
    /// The second since 1970 from which the id is invalid.
    pub(super) until: u64,
    /// Dropping this sender signals the end of the id. The connections that were opened with the id then close.
    end: Option<watch::Sender<()>>,
}

impl Former {
    pub(super) fn new(id: SessionId, until: u64) -> Self {
        Self {
            id,
            until,
            end: None,
        }
    }
}

impl SessionEntry {
    pub(super) fn new(table: &Arc<Table>, id: SessionId, created: u64) -> Arc<Self> {
        Self::of_data(
            table,
            id,
            &SessionData {
                created,
                ..SessionData::default()
            },
        )
    }

    pub(super) fn of_data(table: &Arc<Table>, id: SessionId, data: &SessionData) -> Arc<Self> {
        Arc::new(Self {
            table: Arc::downgrade(table),
            slot: AtomicU32::new(NO_SLOT),
            created: data.created,
            state: Mutex::new(SessionState {
                id,
                user: data.user.as_deref().map(Arc::from),
                values: data.values.clone(),
                value_bytes: bytes_of(&data.values),
                former: Vec::new(),
                user_changed: false,
                changing: None,
                ended: false,
                unsaved: false,
                unsaved_ids: Vec::new(),
                version: 0,
                stored: false,
                save_lock: Weak::new(),
                waiting: 0,
            }),
            attachment: AttachmentSlot::default(),
        })
    }

    /// Returns the current id.
    pub(crate) fn id(&self) -> SessionId {
        self.state().id
    }

    /// Returns the user that the session is bound to.
    pub(crate) fn user(&self) -> Option<Arc<str>> {
        self.state().user.clone()
    }

    /// Returns the value of a key, as JSON.
    pub(super) fn value(&self, key: &str) -> Option<Arc<str>> {
        let state = self.state();
        let (_, value) = state.values.iter().find(|(known, _)| **known == *key)?;
        Some(value.clone())
    }

    /// Returns the session in the form for stores.
    pub(super) fn data(&self) -> SessionData {
        let (user, values) = {
            let state = self.state();
            (state.user.clone(), state.values.clone())
        };
        SessionData {
            created: self.created,
            user: user.as_deref().map(str::to_owned),
            values,
            ..SessionData::default()
        }
    }

    /// Adds a former id that another server has replaced by a newer id.
    pub(super) fn note_former(&self, id: SessionId, until: u64) {
        let mut state = self.state();
        let is_known = state.former.iter().any(|former| former.id == id);
        if state.id != id && !is_known {
            state.former.push(Former::new(id, until));
            if state.former.len() > MAX_FORMER_IDS {
                state.former.remove(0);
            }
        }
    }

    /// Waits until a former id of the session has ended. Returns at once for any other id.
    pub(crate) async fn former_is_over(&self, id: SessionId) {
        let Some(table) = self.table.upgrade() else {
            return;
        };
        let (until, mut end) = {
            let mut state = self.state();
            let Some(former) = state.former.iter_mut().find(|former| former.id == id) else {
                return;
            };
            let end = former.end.get_or_insert_with(|| watch::channel(()).0);
            (former.until, end.subscribe())
        };
        let left = Duration::from_secs(until.saturating_sub(table.now()));
        // The sender never sends: it is dropped when the id ends.
        let _ = timeout(left, end.changed()).await;
    }

    /// Returns the attachment, a value of a higher layer (the session's channels). The attachment ends when the session
    /// is destroyed, expires, or is evicted.
    pub(crate) fn attachment(&self) -> &AttachmentSlot {
        &self.attachment
    }

    /// Returns whether the session was destroyed.
    pub(crate) fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// Returns a guard. While the guard lives, the session is not evicted, and does not expire for lack of use. Each
    /// channel in use keeps one guard.
    pub(crate) fn keep_alive(self: &Arc<Self>) -> KeptAlive {
        if let Some(table) = self.table.upgrade() {
            table.keep(self);
        }
        KeptAlive(self.clone())
    }

    /// Adds `bytes` to the counted memory of the session, for messages to clients that are not connected. Returns false
    /// if the limit of the memory for sessions leaves no room, or if the server is gone.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> bool {
        self.table
            .upgrade()
            .is_some_and(|table| table.charge(self, bytes))
    }

    /// Returns the server's runtime, or the caller's runtime before the server runs. Returns `None` if there is no
    /// runtime, or if the server is gone.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        self.table.upgrade()?.runtime()
    }

    /// Subtracts `bytes` from the memory that [`charge`](Self::charge) has counted.
    pub(crate) fn discharge(self: &Arc<Self>, bytes: usize) {
        if let Some(table) = self.table.upgrade() {
            table.discharge(self, bytes);
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the lock that serializes saves of the session.
    pub(super) fn save_lock(&self) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.state();
        let known = state.save_lock.upgrade();
        known.unwrap_or_else(|| {
            let save_lock = Arc::default();
            state.save_lock = Arc::downgrade(&save_lock);
            save_lock
        })
    }

    /// Returns whether requests can find the session in the table.
    pub(crate) fn is_in_table(&self) -> bool {
        self.slot_key() != NO_SLOT
    }

    pub(super) fn slot_key(&self) -> u32 {
        self.slot.load(Ordering::Acquire)
    }
}

impl fmt::Debug for SessionEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionEntry({})", self.id())
    }
}

impl SessionState {
    /// Returns the size of the session's values, user and waiting messages, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let list = if self.values.is_empty() {
            0
        } else {
            VALUES_BYTES
        };
        let user = self.user.as_ref().map_or(0, |user| user.len() + USER_BYTES);
        self.value_bytes + list + user + self.waiting
    }

    /// Returns whether a request other than the one with `fields` has changed the user and may still renew the session.
    ///
    /// Until that other request is answered, an attacker may know the current id, for example because the attacker
    /// planted it. A request with this id must then not renew the session or choose its user.
    pub(super) fn is_user_changing_elsewhere(&self, fields: &Arc<SessionFields>, now: u64) -> bool {
        self.changing.as_ref().is_some_and(|(changing, until)| {
            let changing = changing.upgrade();
            now < *until
                && changing.is_some_and(|changing| {
                    !Arc::ptr_eq(&changing, fields) && !changing.is_written()
                })
        })
    }

    /// Returns the second since 1970 until which a former id is valid.
    pub(super) fn former_until(&self, id: &SessionId) -> Option<u64> {
        let former = self.former.iter().find(|former| former.id == *id)?;
        Some(former.until)
    }

    /// Sets a value and returns the old value. The caller drops the old value outside of all locks.
    pub(super) fn set_value(&mut self, key: Arc<str>, value: Arc<str>) -> Option<Arc<str>> {
        let taken = value.len();
        match self.values.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => {
                let old = std::mem::replace(known, value);
                self.value_bytes = (self.value_bytes + taken).saturating_sub(old.len());
                Some(old)
            }
            None => {
                self.value_bytes += key.len() + taken + VALUE_BYTES;
                self.values.push((key, value));
                None
            }
        }
    }

    /// Removes a value and returns it with its key. The caller drops both outside of all locks.
    pub(super) fn remove_value(&mut self, key: &str) -> Option<(Arc<str>, Arc<str>)> {
        let at = self.values.iter().position(|(known, _)| **known == *key)?;
        let (key, value) = self.values.remove(at);
        let taken = key.len() + value.len() + VALUE_BYTES;
        self.value_bytes = self.value_bytes.saturating_sub(taken);
        Some((key, value))
    }

    /// Replaces all values and returns the old values. `bytes` is the size of the new values. The caller drops the old
    /// values outside of all locks.
    pub(super) fn replace_values(&mut self, values: Values, bytes: usize) -> Values {
        self.value_bytes = bytes;
        std::mem::replace(&mut self.values, values)
    }

    pub(super) fn touch(&mut self) {
        self.version = self.version.wrapping_add(1);
        self.unsaved = true;
    }
}

/// Returns the size of values, in bytes.
pub(super) fn bytes_of(values: &Values) -> usize {
    values
        .iter()
        .map(|(key, value)| key.len() + value.len() + VALUE_BYTES)
        .sum()
}

/// A guard that keeps a session in the table.
#[must_use]
#[derive(Debug)]
pub(crate) struct KeptAlive(Arc<SessionEntry>);

impl Drop for KeptAlive {
    fn drop(&mut self) {
        if let Some(table) = self.0.table.upgrade() {
            table.release(&self.0);
        }
    }
}
