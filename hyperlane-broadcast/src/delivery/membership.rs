//! Memberships: what the rooms keep for each connection.

use std::{
    borrow::Borrow,
    collections::VecDeque,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use hyperlane_core::hub::Barrier;

use super::{
    core::RoomCore,
    positions::{Ids, Positions},
    shard::{Command, Shard},
};
use crate::{
    ledger::Totals,
    locks::{Locked, assert_unlocked, lock},
    outlet::Outlet,
    panics::guarded,
    post::Draft,
};

/// What all rooms keep for one connection.
///
/// It is also the connection's barrier. The connection's own sends wait until the hubs have delivered what is on its way
/// to the connection.
pub(crate) struct Membership {
    /// The number of the connection.
    pub(crate) id: u64,
    pub(crate) outlet: Outlet,
    this: Weak<Self>,
    rooms: Mutex<RoomList>,
    /// Number of rooms in which the connection is behind: a slow member, or a new one that receives the history.
    behind: AtomicU32,
    totals: Arc<Totals>,
    /// For an event stream that follows rooms: its position in each.
    followed: OnceLock<Box<Positions>>,
}

/// The rooms of a connection.
#[derive(Default)]
pub(crate) struct RoomList {
    pub(crate) entries: Vec<RoomEntry>,
    /// The shards that the connection has left, whose hub has not delivered yet what was published before. The
    /// connection's own sends wait for these messages too.
    leaving: Vec<Arc<Shard>>,
    /// The shards that the connection has left while it was behind, and that still deliver to it what was published
    /// before.
    departing: Vec<Arc<Shard>>,
    /// The connection's own sends that wait, in their order.
    tickets: VecDeque<Ticket>,
    /// True after the connection has closed. It joins no room any more.
    pub(crate) is_closed: bool,
}

impl RoomList {
    /// Notes that the connection has left the shard. Returns the shards that it has left before and that have nothing for
    /// it any more. The caller drops them without the lock, because the last reference to a shard may drop a connection.
    #[must_use]
    pub(crate) fn note_leaving(&mut self, shard: Arc<Shard>) -> Vec<Arc<Shard>> {
        let is_known = |known: &mut Arc<Shard>| known.is_clear() || Arc::ptr_eq(known, &shard);
        let mut cleared: Vec<_> = self.leaving.extract_if(.., is_known).collect();
        if !shard.is_clear() {
            self.leaving.push(shard);
        } else {
            cleared.push(shard);
        }
        if self.leaving.is_empty() {
            self.leaving = Vec::new();
        }
        cleared
    }

    /// Returns the number of rooms that the connection is in, or has left and still receives messages of.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.departing.len()
    }

    /// Returns the index of the room's shard that the connection has left and that still delivers to it.
    pub(crate) fn departing_from(&self, core: &RoomCore) -> Option<usize> {
        let mut departing = self.departing.iter();
        departing
            .find(|shard| shard.is_of(core))
            .map(|shard| shard.index())
    }

    /// Returns the index of the first ticket that does not come before `number`.
    fn index_of(&self, number: u64) -> usize {
        self.tickets
            .partition_point(|ticket| ticket.number < number)
    }

    /// Notes a send that waits. It may come after a later one if several threads send.
    fn add_ticket(&mut self, ticket: Ticket) {
        let at = self.index_of(ticket.number);
        self.tickets.insert(at, ticket);
    }

    /// Notes that a shard has delivered what was published before a send. Returns the last of the sends that wait for no
    /// shard any more, if there is one. Their tickets stay until [`forget`](Self::forget).
    fn pass(&mut self, number: u64, shard: &Arc<Shard>) -> Option<u64> {
        let at = self.index_of(number);
        if let Some(ticket) = self.tickets.get_mut(at)
            && ticket.number == number
        {
            ticket.shards.retain(|waiting| !Arc::ptr_eq(waiting, shard));
        }
        let tickets = self.tickets.iter();
        let done = tickets.take_while(|ticket| ticket.shards.is_empty());
        done.last().map(|ticket| ticket.number)
    }

    /// Forgets the sends up to `made`, which the connection has made. Returns the shards for which the next send waits.
    fn forget(&mut self, made: u64) -> Vec<Arc<Shard>> {
        let is_made = |ticket: &Ticket| ticket.number <= made && ticket.shards.is_empty();
        while self.tickets.front().is_some_and(is_made) {
            self.tickets.pop_front();
        }
        let next = self.tickets.front();
        let shards = next.map(|ticket| ticket.shards.clone()).unwrap_or_default();
        if self.tickets.is_empty() {
            self.tickets = VecDeque::new();
        }
        shards
    }

    /// Returns the shards that may have messages for the connection.
    fn shards(&self) -> impl Iterator<Item = &Arc<Shard>> {
        self.entries
            .iter()
            .map(|entry| &entry.shard)
            .chain(&self.leaving)
            .chain(&self.departing)
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
    pub(crate) farewell: Option<Draft>,
}

/// A send of a connection that waits until the connection has received what was published before.
pub(crate) struct Release {
    membership: Arc<Membership>,
    shard: Arc<Shard>,
    ticket: u64,
}

/// The shards that have not yet delivered what was published before a send of the connection.
struct Ticket {
    number: u64,
    shards: Vec<Arc<Shard>>,
}

impl Release {
    /// Returns the number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.membership.id
    }

    /// Tells the connection that this shard has delivered what was published before. Dropping the value does the same:
    /// nothing may hold the connection's sends for longer, also if a hub panics.
    pub(crate) fn pass(self) {}

    fn tell(&self) {
        let released = self.membership.lock().pass(self.ticket, &self.shard);
        let Some(last) = released else {
            return;
        };
        // This releases the earlier ones too.
        self.membership.outlet.release(last);
        // The tickets stay until here: a message that was published after the sends must not overtake them meanwhile.
        let next = self.membership.lock().forget(last);
        for shard in next {
            // Its messages may overtake the next send, and it could not know this before.
            shard.drained(self.membership.id);
        }
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        assert_unlocked();
        guarded("the release of a send", || self.tell());
    }
}

impl Membership {
    pub(crate) fn new(outlet: Outlet, totals: Arc<Totals>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            id: outlet.id(),
            outlet,
            rooms: Mutex::default(),
            behind: AtomicU32::new(0),
            totals,
            followed: OnceLock::new(),
        })
    }

    /// Returns the positions of the connection in the rooms that it follows.
    pub(crate) fn followed(&self) -> &Positions {
        self.followed.get_or_init(Box::default)
    }

    /// Notes that the connection misses messages of a room that it may follow, from the message `next` on or later.
    pub(crate) fn set_gap(&self, epoch: u64, next: u64) {
        if let Some(followed) = self.followed.get() {
            followed.set_gap(epoch, next);
        }
    }

    /// Returns the ids that the messages of a room have for this connection.
    pub(crate) fn ids_in(&self, epoch: u64) -> Ids<'_> {
        match self.followed.get() {
            Some(followed) => followed.ids_in(epoch),
            None => Ids::None,
        }
    }

    /// Locks the list of the connection's rooms. No thread takes a lock of a connection while it holds this lock.
    pub(crate) fn lock(&self) -> Locked<'_, RoomList> {
        lock(&self.rooms)
    }

    pub(crate) fn set_behind(&self) {
        self.behind.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn set_caught_up(&self) {
        self.behind.fetch_sub(1, Ordering::AcqRel);
    }

    /// Notes whether the shard still delivers to the connection, which has left it.
    pub(crate) fn set_departing(&self, shard: &Arc<Shard>, is_departing: bool) {
        let mut list = self.lock();
        let is_known = |known: &mut Arc<Shard>| Arc::ptr_eq(known, shard);
        // Another reference to the shard is left, so none of them is the last.
        let known: Vec<_> = list.departing.extract_if(.., is_known).collect();
        if is_departing {
            list.departing.push(shard.clone());
        } else if list.departing.is_empty() {
            list.departing = Vec::new();
        }
        drop(list);
        drop(known);
    }

    /// Returns the user name with which the connection has joined the room; empty if it gave none.
    pub(crate) fn user_in(&self, room: &RoomCore) -> Arc<str> {
        let rooms = self.lock();
        let entry = rooms.entries.iter().find(|entry| entry.shard.is_of(room));
        let extra = entry.and_then(|entry| entry.extra.as_ref());
        extra.map(|extra| extra.user.clone()).unwrap_or_default()
    }

    /// Returns whether the messages that the shard has now were on their way before the connection's first send that
    /// waits. Such a message may overtake the send.
    ///
    /// The connection may hold a send whose ticket is not here yet. The thread that sends has not returned then, so no
    /// message that it publishes afterwards can be in the shard.
    pub(crate) fn may_overtake(&self, shard: &Arc<Shard>) -> bool {
        let list = self.lock();
        let first = list.tickets.front();
        first.is_none_or(|ticket| ticket.shards.iter().any(|known| Arc::ptr_eq(known, shard)))
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

    fn hold(&self, number: u64) {
        let (shards, membership) = {
            let mut list = self.lock();
            let pending = list.shards().filter(|shard| self.is_pending(shard));
            let mut shards: Vec<_> = pending.cloned().collect();
            shards.sort_unstable_by_key(Arc::as_ptr);
            shards.dedup_by(|a, b| Arc::ptr_eq(a, b));
            let membership = self.this.upgrade().filter(|_| !shards.is_empty());
            if membership.is_some() {
                let shards = shards.clone();
                list.add_ticket(Ticket { number, shards });
            }
            (shards, membership)
        };
        let Some(membership) = membership else {
            return self.outlet.release(number);
        };
        for shard in shards {
            shard.enqueue(Command::Release(Release {
                membership: membership.clone(),
                shard: shard.clone(),
                ticket: number,
            }));
            // The hub may have tried to deliver after the connection began to hold the send, and before the shard knew of
            // the ticket. It tries again.
            shard.drained(self.id);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::RoomLimits, delivery::tests::idle_shard};

    /// A list with these tickets. Each waits for both shards.
    fn list(numbers: &[u64], shards: &[Arc<Shard>]) -> RoomList {
        let mut list = RoomList::default();
        for number in numbers {
            list.add_ticket(Ticket {
                number: *number,
                shards: shards.to_vec(),
            });
        }
        list
    }

    #[test]
    fn sends_go_on_in_their_order_when_all_shards_have_delivered() {
        let limits = RoomLimits::default();
        let shards = [idle_shard(&limits), idle_shard(&limits)];
        // Several threads have sent: the tickets come in another order.
        let mut list = list(&[20, 10, 40, 30], &shards);
        assert_eq!(list.pass(20, &shards[0]), None);
        assert_eq!(list.pass(20, &shards[1]), None, "10 comes first");
        assert_eq!(list.pass(10, &shards[1]), None);
        assert_eq!(list.pass(15, &shards[1]), None, "no such send");
        assert_eq!(list.pass(10, &shards[0]), Some(20));
        // Another shard passes before the sends are forgotten.
        assert_eq!(list.pass(30, &shards[0]), Some(20));
        let next = list.forget(20);
        assert!(next.len() == 1 && Arc::ptr_eq(&next[0], &shards[1]));
        assert!(list.forget(20).len() == 1, "30 waits");
        assert_eq!(list.pass(40, &shards[0]), None);
        assert_eq!(list.pass(40, &shards[1]), None);
        assert_eq!(list.pass(30, &shards[1]), Some(40));
        assert!(list.forget(30).is_empty(), "40 is made by another thread");
        assert_eq!(list.tickets.len(), 1);
        assert!(list.forget(40).is_empty() && list.tickets.is_empty());
    }
}
