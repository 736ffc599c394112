//! A session as this process holds it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::runtime::Handle;

use super::{
    SessionId,
    store::{SessionData, Values},
    table::{NOWHERE, Table},
};
use crate::channel::Slots;

/// Former ids of a session that are still valid, at most; earlier ones are not.
pub(super) const FORMER: usize = 4;

/// What a value costs beside its bytes: its place in a list that doubles, and what the allocator adds. These are as a flood
/// of sessions measured, which leaves holes.
const VALUE_BYTES: usize = 160;
/// What the list of values costs at first.
const VALUES_BYTES: usize = 96;
/// What a user costs beside its bytes, with its place among the users.
const USER_BYTES: usize = 160;

/// A session. Whoever holds it may use it, also when it is no longer in the table.
pub(crate) struct Entry {
    table: Weak<Table>,
    /// Its place in the table.
    pub(super) slot: AtomicU32,
    queue: u8,
    state: Mutex<State>,
    /// Taken before the table and before its own state.
    pub(crate) channels: Mutex<Slots>,
}

pub(super) struct State {
    pub(super) id: SessionId,
    /// In seconds since 1970.
    pub(super) created: u64,
    pub(super) user: Option<Arc<str>>,
    pub(super) values: Values,
    /// Ids it had, each with the second from which it is not valid any more.
    pub(super) former: Vec<(SessionId, u64)>,
    /// The user is another than when the id was given out.
    pub(super) user_changed: bool,
    /// Destroyed: nothing of it is saved or found again.
    pub(super) ended: bool,
    /// Another store has not been told of its changes.
    pub(super) unsaved: bool,
    /// Nor that these ids lead to it no more, or for a while only.
    pub(super) left: Vec<SessionId>,
    /// Counts changes and saves, so that what was loaded before them is not believed after them.
    pub(super) version: u32,
    /// A store has it.
    pub(super) stored: bool,
    /// What its channels keep for clients that are not connected, in bytes.
    pub(super) waiting: usize,
}

impl Entry {
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
            slot: AtomicU32::new(NOWHERE),
            queue: id.as_bytes().first().copied().unwrap_or_default(),
            state: Mutex::new(State {
                id,
                created: data.created,
                user: data.user.as_deref().map(Arc::from),
                values: data.values.clone(),
                former: Vec::new(),
                user_changed: false,
                ended: false,
                unsaved: false,
                left: Vec::new(),
                version: 0,
                stored: false,
                waiting: 0,
            }),
            channels: Mutex::default(),
        })
    }

    /// The id it has now.
    pub(crate) fn id(&self) -> SessionId {
        self.state().id
    }

    /// The user it is bound to.
    pub(crate) fn user(&self) -> Option<Arc<str>> {
        self.state().user.clone()
    }

    /// Whether it was destroyed.
    pub(crate) fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// Keeps it from being evicted and from expiring unused, for as long as the guard lives: while a channel of it is
    /// in use.
    pub(crate) fn keep_alive(self: &Arc<Self>) -> KeptAlive {
        if let Some(table) = self.table.upgrade() {
            table.keep(self);
        }
        KeptAlive(self.clone())
    }

    /// Counts what a channel is about to keep for clients that are not connected; false where there is no room.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> bool {
        self.table
            .upgrade()
            .is_some_and(|table| table.charge(self, bytes))
    }

    /// The server's runtime; `None` where there is none, or the server is gone.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        self.table.upgrade()?.runtime()
    }

    /// Takes back what was counted.
    pub(crate) fn discharge(self: &Arc<Self>, bytes: usize) {
        if let Some(table) = self.table.upgrade() {
            table.discharge(self, bytes);
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of some queues is its own.
    pub(super) fn queue(&self) -> u8 {
        self.queue
    }

    pub(super) fn place(&self) -> u32 {
        self.slot.load(Ordering::Acquire)
    }

    /// Ends its channels. Not to be called with the table locked.
    pub(super) fn end_channels(&self) {
        self.channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .end();
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({})", self.id())
    }
}

impl State {
    /// Bytes beside those that every session takes.
    pub(super) fn bytes(&self) -> usize {
        let values: usize = self
            .values
            .iter()
            .map(|(key, value)| key.len() + value.len() + VALUE_BYTES)
            .sum();
        let list = if self.values.is_empty() {
            0
        } else {
            VALUES_BYTES
        };
        let user = self.user.as_ref().map_or(0, |user| user.len() + USER_BYTES);
        values + list + user + self.waiting
    }

    pub(super) fn touch(&mut self) {
        self.version = self.version.wrapping_add(1);
        self.unsaved = true;
    }

    pub(super) fn data(&self) -> SessionData {
        SessionData {
            created: self.created,
            user: self.user.as_deref().map(str::to_owned),
            values: self.values.clone(),
            ..SessionData::default()
        }
    }
}

/// Keeps a session in the table.
#[must_use]
#[derive(Debug)]
pub(crate) struct KeptAlive(Arc<Entry>);

impl Drop for KeptAlive {
    fn drop(&mut self) {
        if let Some(table) = self.0.table.upgrade() {
            table.release(&self.0);
        }
    }
}
