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

/// Limit of a session's valid former ids; older ones end.
pub(super) const MAX_FORMER_IDS: usize = 4;

/// Overhead of a value: its place in a list that doubles, and the allocator's share. Measured in a flood of sessions,
/// which fragments the heap.
const VALUE_BYTES: usize = 192;
/// Initial size of the list of values.
const VALUES_BYTES: usize = 96;
/// Overhead of a user, including its place among the users.
const USER_BYTES: usize = 160;

/// A session. Its holders may use it even when it is no longer in the table.
pub(crate) struct SessionEntry {
    table: Weak<Table>,
    /// The key of its slot in the table.
    pub(super) slot: AtomicU32,
    /// In seconds since 1970.
    pub(super) created: u64,
    state: Mutex<SessionState>,
    attachment: AttachmentSlot,
}

/// Mutable state of a session. Its lock is held for moments only: texts are shared, not copied, and values are parsed
/// and dropped outside of it.
pub(super) struct SessionState {
    pub(super) id: SessionId,
    pub(super) user: Option<Arc<str>>,
    values: Values,
    /// Size of the values, in bytes.
    value_bytes: usize,
    /// Former ids that are still valid.
    pub(super) former: Vec<Former>,
    /// The user has changed since the id was given out.
    pub(super) user_changed: bool,
    /// The request that has changed the user, until its head is out, and the second until which this counts at most.
    pub(super) changing: Option<(Weak<SessionFields>, u64)>,
    /// The session was destroyed: it is neither saved nor found again.
    pub(super) ended: bool,
    /// The store does not have the latest changes.
    pub(super) unsaved: bool,
    /// Former ids whose end the store does not know yet.
    pub(super) unsaved_ids: Vec<SessionId>,
    /// Number of changes and saves: data that was loaded before them is outdated.
    pub(super) version: u32,
    /// The store has the session.
    pub(super) stored: bool,
    /// Alive during a save.
    save_lock: Weak<tokio::sync::Mutex<()>>,
    /// Bytes that its channels keep for clients that are not connected.
    pub(super) waiting: usize,
}

/// A former id of a session.
pub(super) struct Former {
    pub(super) id: SessionId,
    /// The second from which it is invalid.
    pub(super) until: u64,
    /// Dropped with the id, which ends the connections that the id opened.
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

    /// The current id.
    pub(crate) fn id(&self) -> SessionId {
        self.state().id
    }

    /// The user that the session is bound to.
    pub(crate) fn user(&self) -> Option<Arc<str>> {
        self.state().user.clone()
    }

    /// Returns a value as JSON.
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

    /// Adds a former id that another server has replaced.
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

    /// Waits until a former id of the session ends. The current id counts from its renewal on.
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

    /// The attachment of the layer above. It ends when the session is destroyed, expires, or is evicted.
    pub(crate) fn attachment(&self) -> &AttachmentSlot {
        &self.attachment
    }

    /// Returns whether the session was destroyed.
    pub(crate) fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// Keeps the session from eviction and from expiring unused, as long as the guard lives: while a channel of it is
    /// in use.
    pub(crate) fn keep_alive(self: &Arc<Self>) -> KeptAlive {
        if let Some(table) = self.table.upgrade() {
            table.keep(self);
        }
        KeptAlive(self.clone())
    }

    /// Charges the session for messages to clients that are not connected; false if there is no room.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> bool {
        self.table
            .upgrade()
            .is_some_and(|table| table.charge(self, bytes))
    }

    /// The server's runtime; `None` if there is none, or the server is gone.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        self.table.upgrade()?.runtime()
    }

    /// Takes back a charge.
    pub(crate) fn discharge(self: &Arc<Self>, bytes: usize) {
        if let Some(table) = self.table.upgrade() {
            table.discharge(self, bytes);
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock that serializes saves of the session.
    pub(super) fn save_lock(&self) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.state();
        let known = state.save_lock.upgrade();
        known.unwrap_or_else(|| {
            let save_lock = Arc::default();
            state.save_lock = Arc::downgrade(&save_lock);
            save_lock
        })
    }

    /// Returns whether a client can find the session.
    pub(super) fn is_in_table(&self) -> bool {
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
    /// Variable size of the session, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let list = if self.values.is_empty() {
            0
        } else {
            VALUES_BYTES
        };
        let user = self.user.as_ref().map_or(0, |user| user.len() + USER_BYTES);
        self.value_bytes + list + user + self.waiting
    }

    /// Returns whether a request other than that of `fields` has changed the user and may still renew the session. Until
    /// that request has answered, a client with the old id, which it may have planted, must not decide anything.
    pub(super) fn is_user_changing_elsewhere(&self, fields: &Arc<SessionFields>, now: u64) -> bool {
        self.changing.as_ref().is_some_and(|(changing, until)| {
            let changing = changing.upgrade();
            now < *until
                && changing.is_some_and(|changing| {
                    !Arc::ptr_eq(&changing, fields) && !changing.is_written()
                })
        })
    }

    /// The second until which a former id is valid.
    pub(super) fn former_until(&self, id: &SessionId) -> Option<u64> {
        let former = self.former.iter().find(|former| former.id == *id)?;
        Some(former.until)
    }

    /// Sets a value and returns the old one. The caller drops it outside of all locks.
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

    /// Removes a value and returns it. The caller drops it outside of all locks.
    pub(super) fn remove_value(&mut self, key: &str) -> Option<(Arc<str>, Arc<str>)> {
        let at = self.values.iter().position(|(known, _)| **known == *key)?;
        let (key, value) = self.values.remove(at);
        let taken = key.len() + value.len() + VALUE_BYTES;
        self.value_bytes = self.value_bytes.saturating_sub(taken);
        Some((key, value))
    }

    /// Replaces all values, of this size, and returns the old ones. The caller drops them outside of all locks.
    pub(super) fn replace_values(&mut self, values: Values, bytes: usize) -> Values {
        self.value_bytes = bytes;
        std::mem::replace(&mut self.values, values)
    }

    pub(super) fn touch(&mut self) {
        self.version = self.version.wrapping_add(1);
        self.unsaved = true;
    }
}

/// Size of values, in bytes.
pub(super) fn bytes_of(values: &Values) -> usize {
    values
        .iter()
        .map(|(key, value)| key.len() + value.len() + VALUE_BYTES)
        .sum()
}

/// Keeps a session in the table.
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
