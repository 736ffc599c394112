//! Memberships: what the rooms keep for each connection.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use hyperlane_core::{Message, Outbox, hub::Barrier};

use super::{
    core::RoomCore,
    shard::{Command, Shard},
};
use crate::ledger::Totals;

/// What all rooms keep for one connection.
///
/// It is also the connection's barrier. The connection's own sends wait until the hubs have delivered what is on its way
/// to the connection.
pub(crate) struct Membership {
    /// The number of the connection.
    pub(crate) id: u64,
    outbox: Outbox,
    rooms: Mutex<RoomList>,
    /// Number of rooms in which the connection is behind: a slow member, or a new one that receives the history.
    behind: AtomicU32,
    totals: Arc<Totals>,
}

/// The rooms of a connection.
#[derive(Default)]
pub(crate) struct RoomList {
    pub(crate) entries: Vec<RoomEntry>,
    /// The shards that the connection has left, whose hub has not delivered yet what was published before. The
    /// connection's own sends wait for these messages too.
    leaving: Vec<Arc<Shard>>,
    /// True after the connection has closed. It joins no room any more.
    pub(crate) is_closed: bool,
}

impl RoomList {
    /// Notes that the connection has left the shard.
    pub(crate) fn note_leaving(&mut self, shard: Arc<Shard>) {
        self.leaving.retain(|shard| !shard.is_clear());
        self.leaving.push(shard);
    }

    /// Returns the shards that may have messages for the connection.
    fn shards(&self) -> impl Iterator<Item = &Arc<Shard>> {
        self.entries
            .iter()
            .map(|entry| &entry.shard)
            .chain(&self.leaving)
    }
}

/// A room of a connection.
pub(crate) struct RoomEntry {
    /// The shard that has the connection's seat. It also leads to the room.
    pub(crate) shard: Arc<Shard>,
    /// Boxed, because most members have neither a user name nor a farewell.
    pub(crate) extra: Option<Box<Extra>>,
}

/// What a member may have told when it joined.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) user: Arc<str>,
    /// The message that the other members receive when this member leaves.
    pub(crate) farewell: Option<Message>,
}

/// A send that waits until a connection has received what was published before.
pub(crate) struct Release {
    pub(crate) id: u64,
    outbox: Outbox,
    ticket: u64,
    /// Number of shards that still have to pass the release on; `None` if there is only one.
    left: Option<Arc<AtomicUsize>>,
}

impl Release {
    /// Passes the release on to the connection, if this was the last shard.
    pub(crate) fn pass(self) {
        let is_last = |left: &Arc<AtomicUsize>| left.fetch_sub(1, Ordering::AcqRel) == 1;
        if self.left.as_ref().is_none_or(is_last) {
            self.outbox.__release(self.ticket);
        }
    }
}

impl Membership {
    pub(crate) fn new(outbox: Outbox, totals: Arc<Totals>) -> Self {
        Self {
            id: outbox.id(),
            outbox,
            rooms: Mutex::default(),
            behind: AtomicU32::new(0),
            totals,
        }
    }

    /// Locks the list of the connection's rooms. No thread takes a lock of a connection while it holds this lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, RoomList> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_behind(&self) {
        self.behind.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn set_caught_up(&self) {
        self.behind.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns the user name with which the connection has joined the room; empty if it gave none.
    pub(crate) fn user_in(&self, room: &RoomCore) -> Arc<str> {
        let rooms = self.lock();
        let entry = rooms.entries.iter().find(|entry| entry.shard.is_of(room));
        let extra = entry.and_then(|entry| entry.extra.as_ref());
        extra.map(|extra| extra.user.clone()).unwrap_or_default()
    }

    fn is_pending(&self, shard: &Shard) -> bool {
        !shard.is_clear() || self.behind.load(Ordering::Acquire) > 0
    }
}

impl Barrier for Membership {
    fn is_clear(&self) -> bool {
        self.behind.load(Ordering::Acquire) == 0
            && (!self.totals.is_busy() || self.lock().shards().all(|shard| shard.is_clear()))
    }

    fn hold(&self, ticket: u64) {
        let pending: Vec<_> = self
            .lock()
            .shards()
            .filter(|shard| self.is_pending(shard))
            .cloned()
            .collect();
        let left = (pending.len() > 1).then(|| Arc::new(AtomicUsize::new(pending.len())));
        let release = || Release {
            id: self.id,
            outbox: self.outbox.clone(),
            ticket,
            left: left.clone(),
        };
        if pending.is_empty() {
            return release().pass();
        }
        for shard in pending {
            shard.enqueue(Command::Release(release()));
            shard.wake();
        }
    }
}

/// A membership in the set of a room's members. The set finds it by the number of the connection.
pub(crate) struct MemberRef(pub(crate) Arc<Membership>);

impl Borrow<u64> for MemberRef {
    fn borrow(&self) -> &u64 {
        &self.0.id
    }
}

impl Hash for MemberRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for MemberRef {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for MemberRef {}

/// Makes room for one more entry of a list that is long-lived and rarely grows. A `Vec` would double instead, and the
/// lists of many members would waste almost half of their memory.
pub(crate) fn grow_by_an_eighth<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 8);
    }
}
