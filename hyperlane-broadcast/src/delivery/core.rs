//! State of one room: members, the order of messages, the log, the shards.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use hyperlane_core::Message;
use tokio::{sync::Notify, time::Instant};

use super::{
    hub::Hub,
    membership::{MemberRef, Membership},
    shard::{Command, Shard},
};
use crate::{
    config::{RoomLimits, SlowPolicy},
    error::PublishError,
    ledger::{Ledger, Totals},
    log::{Log, Part},
    member::{MemberId, Start},
    metrics::RoomMetrics,
    offset::Offset,
    post::{Audience, Draft, Post},
};

/// The part of a room's state that the room's lock protects.
#[derive(Default)]
pub(crate) struct RoomState {
    pub(crate) log: Log,
    pub(crate) members: HashSet<MemberRef>,
    /// The members that joined with a user name, by that name.
    users: HashMap<Arc<str>, Vec<u64>>,
    /// Members that have left: the index of their shard, and the number of commands in it after which they are gone.
    /// Until then a connection that joins again gets a seat in the same shard. In another one it could receive new
    /// messages before the shard that it has left delivers the last old ones.
    departed: HashMap<u64, (usize, u64)>,
    /// Number of members in each shard.
    seats_per_shard: Vec<usize>,
}

/// A room. Its handles, the hubs and the registry (the map of all rooms) share it.
pub(crate) struct RoomCore {
    pub(crate) name: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) limits: Arc<RoomLimits>,
    state: Mutex<RoomState>,
    pub(crate) shards: Vec<Arc<Shard>>,
    pub(crate) ledger: Ledger,
    /// The number of the oldest message in the log.
    log_first: AtomicU64,
    /// A slow member before this number has lost its place, because too much waited for slow members.
    given_up_before: AtomicU64,
    /// Publishers and joins that wait for room in the queue.
    waiters: AtomicUsize,
    pub(crate) has_room: Notify,
    /// Farewells of members that have left, which wait for room in the queue.
    farewells: Arc<AtomicUsize>,
    /// A stamp of the registry's clock: when the room became empty. 0 if it has members or handles.
    pub(crate) idle_since: AtomicU64,
    pub(crate) metrics: RoomMetrics,
}

/// What a publish has done.
pub(crate) struct Receipt {
    pub(crate) offset: Offset,
    /// Number of members in the audience.
    pub(crate) members: usize,
}

/// Where a new member gets its seat, and which messages it receives.
pub(crate) struct Placement {
    pub(crate) shard: usize,
    /// The number of the first message that the member receives.
    pub(crate) from: u64,
    pub(crate) is_gap: bool,
}

/// Marks a publisher or a join as waiting for room in the queue.
pub(crate) struct Waiting<'a>(&'a RoomCore);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Marks a farewell as waiting for room in the queue.
pub(crate) struct Farewell(Arc<AtomicUsize>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl RoomCore {
    pub(crate) fn new(
        name: Arc<str>,
        epoch: u64,
        limits: Arc<RoomLimits>,
        hubs: &[Arc<Hub>],
        totals: &Arc<Totals>,
        metrics: RoomMetrics,
    ) -> Arc<Self> {
        Arc::new_cyclic(|core| Self {
            name,
            epoch,
            limits,
            state: Mutex::new(RoomState {
                seats_per_shard: vec![0; hubs.len()],
                ..RoomState::default()
            }),
            shards: hubs
                .iter()
                .enumerate()
                .map(|(index, hub)| {
                    Arc::new(Shard::new(core.clone(), hub.clone(), index, totals.clone()))
                })
                .collect(),
            ledger: Ledger::new(totals.clone()),
            log_first: AtomicU64::new(1),
            given_up_before: AtomicU64::new(0),
            waiters: AtomicUsize::new(0),
            has_room: Notify::new(),
            farewells: Arc::default(),
            idle_since: AtomicU64::new(0),
            metrics,
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the offset of the message with this number.
    pub(crate) fn offset(&self, number: u64) -> Offset {
        Offset {
            epoch: self.epoch,
            number,
        }
    }

    /// Publishes a message. Does not wait.
    ///
    /// The call holds the room's lock until the message is in the queues of all shards that have members. Concurrent
    /// calls therefore queue their messages in every shard in the same order: the order of the numbers.
    ///
    /// # Errors
    /// [`PublishError::Full`] with the draft if the queue of a shard is full; other errors if the room cannot take the
    /// message at all.
    pub(crate) fn publish(&self, draft: Draft) -> Result<Receipt, Box<(PublishError, Draft)>> {
        let limit = self.limits.message_bytes();
        if draft.len() > limit {
            let length = draft.len();
            return Err(Box::new((PublishError::TooLong { length, limit }, draft)));
        }
        if matches!(draft.message, Message::Close(_)) {
            return Err(Box::new((PublishError::Close, draft)));
        }
        let bytes = draft.len() + Post::OVERHEAD;
        let now = Instant::now();
        let mut dropped = Vec::new();
        let mut state = self.lock();
        let seated = |state: &RoomState, shard: &Shard| {
            state
                .seats_per_shard
                .get(shard.index())
                .is_some_and(|seats| *seats > 0)
        };
        let is_full =
            |shard: &&Arc<Shard>| seated(&state, shard) && !shard.has_room(bytes, &self.limits);
        if self.shards.iter().any(|shard| is_full(&shard)) {
            return Err(Box::new((PublishError::Full, draft)));
        }
        let members = state.count(&draft.audience);
        let is_volatile = draft.is_volatile;
        let number = state.log.last() + u64::from(!is_volatile);
        let post = Arc::new(Post::new(number, draft));
        if !is_volatile {
            state.log.push(post.clone(), now, &self.ledger);
            let needed = self.needed(&state);
            state
                .log
                .trim(now, &self.limits, needed, &self.ledger, &mut dropped);
            self.log_first.store(state.log.first(), Ordering::Release);
        }
        for shard in &self.shards {
            if seated(&state, shard) {
                shard.enqueue(Command::Post(post.clone()));
            }
        }
        let seats_per_shard: u32 = state
            .seats_per_shard
            .iter()
            .enumerate()
            .filter(|(_, seats)| **seats > 0)
            .fold(0, |mask, (index, _)| mask | 1 << index);
        drop(state);
        drop(dropped);
        let mut is_delivered = true;
        for shard in &self.shards {
            if seats_per_shard & 1 << shard.index() != 0 {
                is_delivered &= self.wake(shard);
            }
        }
        match is_delivered {
            true => Ok(Receipt {
                offset: self.offset(number),
                members,
            }),
            false => {
                self.remove(number);
                Err(Box::new((PublishError::NoHub, post.draft.clone())))
            }
        }
    }

    /// Wakes a shard's hub. If no task can run the hub, discards the shard's queue, which would grow without limit, and
    /// returns false.
    pub(crate) fn wake(&self, shard: &Arc<Shard>) -> bool {
        if shard.wake() {
            return true;
        }
        shard.clear();
        false
    }

    /// Returns the number of the oldest message that a member may still need, within the limits for slow members.
    fn needed(&self, state: &RoomState) -> u64 {
        let needed = self.shards.iter().map(|shard| shard.needed()).min();
        let needed = needed.unwrap_or(u64::MAX);
        match needed < state.log.history_first() {
            true => needed
                .max(state.log.slow_limit(&self.limits))
                .max(self.given_up_before.load(Ordering::Relaxed)),
            false => needed,
        }
    }

    /// Ends the time in the history of messages that are too old, and drops those that no member needs.
    pub(crate) fn trim(&self) {
        let mut dropped = Vec::new();
        let mut state = self.lock();
        state.purge_departed(self);
        let needed = self.needed(&state);
        state.log.trim(
            Instant::now(),
            &self.limits,
            needed,
            &self.ledger,
            &mut dropped,
        );
        self.log_first.store(state.log.first(), Ordering::Release);
        drop(state);
        drop(dropped);
    }

    /// Ends the time in the history of the oldest messages, until they have freed `bytes`. Returns the number of bytes
    /// that were freed.
    pub(crate) fn give_up(&self, bytes: usize) -> usize {
        let freed = self.lock().log.give_up(bytes, &self.ledger);
        self.trim();
        freed
    }

    /// Takes their place from the slow members in the farthest quarter.
    pub(crate) fn drop_farthest(&self) {
        let needed = self.shards.iter().map(|shard| shard.needed()).min();
        let needed = needed.unwrap_or(u64::MAX);
        {
            let state = self.lock();
            let next = state.log.history_first();
            let quarter = next.saturating_sub(needed).div_ceil(4);
            let before = needed.saturating_add(quarter).min(next);
            self.given_up_before.fetch_max(before, Ordering::Relaxed);
        }
        self.trim();
        for shard in &self.shards {
            self.wake(shard);
        }
    }

    /// Returns the number of the oldest message in the log.
    pub(crate) fn log_first(&self) -> u64 {
        self.log_first.load(Ordering::Acquire)
    }

    /// Returns a part of the messages with numbers from `from` to `until`. Returns `None` if the room has dropped the
    /// first of them.
    pub(crate) fn read(&self, from: u64, until: u64) -> Option<Part> {
        self.lock().log.read(from, until)
    }

    /// Returns the length of the messages from `number` on, in bytes.
    pub(crate) fn bytes_from(&self, number: u64) -> u64 {
        self.lock().log.bytes_from(number)
    }

    /// Removes one message from the log. Members that have not received it yet do not receive it.
    pub(crate) fn remove(&self, number: u64) -> bool {
        // The message is dropped after the lock is released.
        let removed = self.lock().log.remove(number, &self.ledger);
        removed.is_some()
    }

    /// Removes all messages from the log.
    pub(crate) fn clear(&self) {
        let removed = {
            let mut state = self.lock();
            let removed = state.log.clear(&self.ledger);
            self.log_first.store(state.log.first(), Ordering::Release);
            removed
        };
        drop(removed);
    }

    /// Returns the number of members.
    pub(crate) fn member_count(&self) -> usize {
        self.lock().members.len()
    }

    /// Returns whether the room has no members.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().members.is_empty()
    }

    /// Returns whether the room has no members, and nothing on its way to members that have left.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && self.shards.iter().all(|shard| shard.is_clear())
    }

    /// Returns true if the room is idle and has no history. The registry then removes the room if no handle to it is
    /// left.
    pub(crate) fn is_vacant(&self) -> bool {
        self.is_idle() && !self.lock().log.has_history()
    }

    /// Returns whether the queues have room for a join, and not too many farewells wait.
    pub(crate) fn has_room_for_join(&self) -> bool {
        let mut shards = self.shards.iter();
        self.farewells.load(Ordering::Acquire) < self.limits.queue_messages.max(1)
            && shards.all(|shard| shard.has_room_for_join(&self.limits))
    }

    /// Notes that a farewell waits for room in the queue, as long as the result lives.
    pub(crate) fn await_farewell(&self) -> Farewell {
        self.farewells.fetch_add(1, Ordering::AcqRel);
        Farewell(self.farewells.clone())
    }

    /// Notes that a publisher or a join waits for room in the queue.
    pub(crate) fn wait_for_room(&self) -> Waiting<'_> {
        self.waiters.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// Wakes the publishers and joins that wait for room in the queue.
    pub(crate) fn wake_waiters(&self) {
        if self.waiters.load(Ordering::Acquire) > 0 {
            self.has_room.notify_waiters();
        }
    }

    pub(crate) fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::Acquire) > 0
    }

    /// Returns whether a slow member's missed messages are kept for it.
    pub(crate) fn keeps_missed(&self) -> bool {
        self.limits.slow != SlowPolicy::DropNewest
    }
}

impl RoomState {
    /// Returns the number of members in an audience.
    fn count(&self, audience: &Audience) -> usize {
        let is_member =
            |member: &MemberId| member.is_local() && self.members.contains(&member.number());
        let count_of =
            |members: &[MemberId]| members.iter().filter(|member| is_member(member)).count();
        match audience {
            Audience::All => self.members.len(),
            Audience::Except(member) => self.members.len() - usize::from(is_member(member)),
            Audience::Only(members) => count_of(members),
            Audience::Others(members) => self.members.len() - count_of(members),
        }
    }

    /// Returns the members that have joined with this user name, sorted.
    pub(crate) fn members_of(&self, user: &str) -> Box<[MemberId]> {
        let ids = self.users.get(user).map(Vec::as_slice).unwrap_or_default();
        let mut members: Vec<_> = ids.iter().map(|id| MemberId::local(*id)).collect();
        members.sort_unstable();
        members.into()
    }

    /// Returns the place for a new member.
    ///
    /// A small room puts each new member into the shard `home`, so that a message to the room wakes a single hub. A
    /// large room puts each new member into the shard with the fewest members.
    pub(crate) fn place(
        &mut self,
        core: &RoomCore,
        id: u64,
        home: usize,
        start: Start,
    ) -> Placement {
        /// Number of members from which a room uses all its shards.
        const SHARE_FROM: usize = 32;
        let is_leaving = |(shard, gone_at): &(usize, u64)| {
            core.shards
                .get(*shard)
                .is_some_and(|shard| !shard.has_done(*gone_at))
        };
        let departed = self.departed.remove(&id).filter(is_leaving);
        let fewest = || {
            let shards = self.seats_per_shard.iter().enumerate();
            shards
                .min_by_key(|(_, seats)| **seats)
                .map_or(home, |(shard, _)| shard)
        };
        let shard = match departed {
            Some((shard, _)) => shard,
            None if self.members.len() < SHARE_FROM => home,
            None => fewest(),
        };
        let next = self.log.last() + 1;
        let has = |number: u64| number >= self.log.history_first() && number <= next;
        let (from, is_gap) = match start {
            Start::Next => (next, false),
            Start::Last(count) => (self.log.start_of_last(count, MemberId::local(id)), false),
            Start::After(offset) => match offset.number.checked_add(1) {
                Some(from) if offset.epoch == core.epoch && has(from) => (from, false),
                _ => (next, true),
            },
        };
        Placement {
            shard,
            from,
            is_gap,
        }
    }

    /// Adds a member whose seat is in the shard of index `shard`.
    pub(crate) fn add_member(
        &mut self,
        membership: &Arc<Membership>,
        shard: usize,
        user: &Arc<str>,
    ) {
        if let Some(seats) = self.seats_per_shard.get_mut(shard) {
            *seats += 1;
        }
        self.members.insert(MemberRef(membership.clone()));
        self.add_user(membership.id, user);
    }

    /// Removes a member. Returns false if the connection is not a member.
    pub(crate) fn remove_member(&mut self, id: u64, shard: &Shard, user: &str) -> bool {
        if !self.members.remove(&id) {
            return false;
        }
        if let Some(seats) = self.seats_per_shard.get_mut(shard.index()) {
            *seats -= 1;
        }
        if self.members.is_empty() {
            self.members = HashSet::new();
        }
        self.remove_user(id, user);
        true
    }

    /// Notes the shard that a member has left, after the command for it is in the shard's queue.
    pub(crate) fn note_departed(&mut self, core: &RoomCore, id: u64, shard: &Shard) {
        /// Number of notes from which those that are out of date are dropped.
        const PURGE_FROM: usize = 32;
        if self.departed.len() >= PURGE_FROM {
            self.purge_departed(core);
        }
        self.departed.insert(id, (shard.index(), shard.begun()));
    }

    /// Drops the notes on members that are gone.
    fn purge_departed(&mut self, core: &RoomCore) {
        self.departed.retain(|_, (shard, gone_at)| {
            let shard = core.shards.get(*shard);
            shard.is_some_and(|shard| !shard.has_done(*gone_at))
        });
        if self.departed.is_empty() {
            self.departed = HashMap::new();
        }
    }

    pub(crate) fn add_user(&mut self, id: u64, user: &Arc<str>) {
        if !user.is_empty() {
            self.users.entry(user.clone()).or_default().push(id);
        }
    }

    pub(crate) fn remove_user(&mut self, id: u64, user: &str) {
        if let Some(ids) = self.users.get_mut(user) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                self.users.remove(user);
            }
        }
    }
}
