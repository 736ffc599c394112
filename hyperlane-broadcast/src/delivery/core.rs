//! State of one room: members, the order of messages, the log, the shards.

// Long: a room and the state under its lock are read together: each method of the one takes the lock for methods of the other.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use hyperlane_core::Message;
use tokio::time::Instant;

use super::{
    hub::Hub,
    membership::{MemberRef, Membership},
    shard::{Command, Shard},
    shards::Shards,
    users::Users,
    waiters::Waiters,
};
use crate::{
    config::{RoomLimits, SlowPolicy},
    conflated::Conflated,
    error::PublishError,
    ledger::{Ledger, Totals},
    locks::{Locked, lock},
    log::{Log, Part, READ_MESSAGES},
    member::{Member, MemberId, Start},
    metrics::RoomMetrics,
    offset::Offset,
    post::{Audience, Draft, Dropped, Post, Recipients, Unpublished},
};

/// The part of a room's state that the room's lock protects.
#[derive(Default)]
pub(crate) struct RoomState {
    pub(crate) log: Log,
    /// The newest messages of each key, if the room conflates.
    pub(crate) conflated: Conflated,
    pub(crate) members: HashSet<MemberRef>,
    /// The members that joined with a user name, by that name.
    users: HashMap<Arc<str>, Vec<u64>>,
    /// Members that have left: the index of their shard, and the number of commands in it after which they are gone.
    /// Until then a connection that joins again gets a seat in the same shard. In another one it could receive new
    /// messages before the shard that it has left delivers the last old ones.
    departed: HashMap<u64, (usize, u64)>,
    /// Number of entries of `departed` from which those that are out of date are dropped.
    purge_at: usize,
    /// Number of members in each shard.
    seats_per_shard: Vec<usize>,
}

/// A room. Its handles, the hubs and the registry (the map of all rooms) share it.
pub(crate) struct RoomCore {
    pub(crate) name: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) limits: Arc<RoomLimits>,
    state: Mutex<RoomState>,
    pub(crate) shards: Shards,
    this: Weak<Self>,
    pub(crate) ledger: Ledger,
    users: Arc<Users>,
    /// Number of times that messages were removed.
    removals: AtomicU64,
    cleared_before: AtomicU64,
    /// The number of the oldest message in the log.
    log_first: AtomicU64,
    /// A slow member before this number has lost its place, because too much waited for slow members.
    given_up_before: AtomicU64,
    /// True while the room is in the table of rooms. It changes under the lock of the table.
    pub(crate) is_listed: AtomicBool,
    /// True if the registry lists this room among those in which something waits for slow members.
    pub(crate) is_listed_waiting: AtomicBool,
    /// Publishers and joins that wait for room in the queue.
    pub(super) waiters: OnceLock<Box<Waiters>>,
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
        users: &Arc<Users>,
        metrics: RoomMetrics,
    ) -> Arc<Self> {
        Arc::new_cyclic(|core| Self {
            name,
            epoch,
            state: Mutex::new(RoomState {
                seats_per_shard: vec![0; hubs.len()],
                ..RoomState::default()
            }),
            shards: Shards::new(hubs.len()),
            this: core.clone(),
            limits,
            ledger: Ledger::new(totals.clone()),
            users: users.clone(),
            removals: AtomicU64::new(0),
            cleared_before: AtomicU64::new(0),
            log_first: AtomicU64::new(1),
            given_up_before: AtomicU64::new(0),
            is_listed: AtomicBool::new(false),
            is_listed_waiting: AtomicBool::new(false),
            waiters: OnceLock::new(),
            farewells: Arc::default(),
            idle_since: AtomicU64::new(0),
            metrics,
        })
    }

    pub(crate) fn lock(&self) -> Locked<'_, RoomState> {
        lock(&self.state)
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// Returns the shard that a hub serves, and makes it if the room does not have it yet. Returns `None` if there is no
    /// such hub.
    pub(crate) fn shard(&self, hubs: &[Arc<Hub>], index: usize) -> Option<&Arc<Shard>> {
        let hub = hubs.get(index)?;
        self.shards.get_or_make(index, || {
            let totals = self.ledger.totals.clone();
            Shard::new(self.weak(), hub.clone(), index, totals, &self.limits)
        })
    }

    /// Returns the offset of the message with this number.
    pub(crate) fn offset(&self, number: u64) -> Offset {
        Offset {
            epoch: self.epoch,
            number,
        }
    }

    /// Returns the offset of the last message.
    pub(crate) fn last_offset(&self) -> Offset {
        self.offset(self.lock().log.last())
    }

    /// Publishes a message. Does not wait.
    ///
    /// The call holds the room's lock until the message is in the queues of all shards that have members. Concurrent
    /// calls therefore queue their messages in every shard in the same order: the order of the numbers.
    ///
    /// # Errors
    /// [`PublishError::Full`] with the message if the queue of a shard is full; other errors if the room cannot take the
    /// message at all.
    pub(crate) fn publish(
        &self,
        mut message: Unpublished,
    ) -> Result<Receipt, (PublishError, Unpublished)> {
        let limit = self.limits.message_bytes();
        let draft = message.draft();
        let length = draft.len() + draft.key.as_ref().map_or(0, |key| key.len());
        if length > limit {
            return Err((PublishError::TooLong { length, limit }, message));
        }
        if matches!(draft.message, Message::Close(_)) {
            return Err((PublishError::Close, message));
        }
        let bytes = draft.weight() + Post::OVERHEAD;
        let is_volatile = draft.is_volatile;
        let now = Instant::now();
        let mut dropped = Dropped::default();
        let mut state = self.lock();
        let seats = state.seats_per_shard.iter().enumerate();
        // A bit for each shard that has members.
        let seated = seats.fold(0u32, |mask, (index, seats)| {
            mask | u32::from(*seats > 0) << index
        });
        let seated = || {
            self.shards
                .iter()
                .filter(move |shard| seated & 1 << shard.index() != 0)
        };
        if seated().any(|shard| !shard.has_room(bytes, &self.limits)) {
            return Err((PublishError::Full, message));
        }
        let number = state.log.last() + u64::from(!is_volatile);
        let draft = message.draft_mut();
        state.resolve(draft, self.offset(number));
        let members = state.count(&draft.audience);
        let post = message.publish(number);
        if !is_volatile {
            state.log.push(post.clone(), now, &self.ledger);
            self.trim_state(&mut state, now, Some(&post), &mut dropped);
        }
        for shard in seated() {
            shard.enqueue(Command::Post(post.clone()));
        }
        drop(state);
        drop(dropped);
        let mut is_delivered = true;
        for shard in seated() {
            is_delivered &= self.wake(shard);
        }
        match is_delivered {
            true => Ok(Receipt {
                offset: self.offset(number),
                members,
            }),
            false => {
                if !is_volatile {
                    self.remove(self.offset(number));
                }
                Err((PublishError::NoHub, Unpublished::new(post.draft.clone())))
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

    /// Drops the messages for which neither the history nor a member has a place. `newest` is a message that was
    /// published now.
    fn trim_state(
        &self,
        state: &mut RoomState,
        now: Instant,
        newest: Option<&Arc<Post>>,
        dropped: &mut Dropped,
    ) {
        let needed = self.needed(state);
        let (limits, ledger) = (&*self.limits, &self.ledger);
        if limits.slow == SlowPolicy::Conflate {
            let claimed = self.shards.iter().map(|shard| shard.claimed()).min();
            let (claimed, first) = (claimed.unwrap_or(u64::MAX), state.log.first());
            let conflated = &mut state.conflated;
            match newest {
                Some(post) => conflated.push(post, claimed, first, limits, ledger, dropped),
                None => conflated.trim(claimed, first, limits, ledger, dropped),
            }
        }
        let from = dropped.len();
        state.log.trim(now, limits, needed, ledger, dropped);
        if limits.slow == SlowPolicy::Conflate {
            let dropped = dropped.iter().skip(from);
            state.conflated.settle(dropped, ledger);
        }
        self.log_first.store(state.log.first(), Ordering::Release);
    }

    /// Returns the number of the oldest message of the log that a member may still need, within the limits for slow
    /// members.
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
        let mut dropped = Dropped::default();
        let mut state = self.lock();
        state.purge_departed(self);
        self.trim_state(&mut state, Instant::now(), None, &mut dropped);
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

    /// Takes their place from the slow members in the farthest quarter of the messages that are kept for slow members.
    /// Returns the number of bytes that this has freed.
    pub(crate) fn drop_farthest(&self) -> usize {
        let waiting = self.ledger.waiting();
        let mut dropped = Dropped::default();
        {
            let mut state = self.lock();
            let state = &mut *state;
            let (first, next) = (state.log.first(), state.log.history_first());
            let before = first + (next - first).div_ceil(4);
            self.given_up_before.fetch_max(before, Ordering::Relaxed);
            state
                .conflated
                .drop_farthest(first, &self.ledger, &mut dropped);
            self.trim_state(state, Instant::now(), None, &mut dropped);
        }
        if dropped.len() > 0 {
            for shard in &self.shards {
                self.wake(shard);
            }
        }
        waiting.saturating_sub(self.ledger.waiting())
    }

    /// Closes the connections of slow members, those that are farthest behind first, until their outboxes have freed
    /// about `bytes`. The hubs do it: first the hub of the shard `from`, which passes on what is left.
    pub(crate) fn close_farthest(&self, bytes: usize, from: usize) {
        if let Some(shard) = self.shards.iter().find(|shard| shard.index() >= from) {
            shard.close_farthest(bytes);
            self.wake(shard);
        }
    }

    /// Returns the messages from `from` to `until` that the room keeps for slow members, at most so many as one read
    /// may return.
    pub(crate) fn read_conflated(&self, from: u64, until: u64) -> Vec<Arc<Post>> {
        self.lock().conflated.read(from, until, READ_MESSAGES)
    }

    /// Returns the number of the oldest message in the history, or of the next message if the history is empty.
    pub(crate) fn history_first(&self) -> u64 {
        self.lock().log.history_first()
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

    /// Removes one message from the log. Members that have not received it yet do not receive it. Returns false if the
    /// log does not have it.
    pub(crate) fn remove(&self, offset: Offset) -> bool {
        if offset.epoch != self.epoch {
            return false;
        }
        // The message is dropped after the lock is released.
        let mut dropped = Dropped::default();
        let removed = {
            let mut state = self.lock();
            let first = state.log.first();
            let removed = state.log.remove(offset.number, &self.ledger);
            state
                .conflated
                .remove(offset.number, first, &self.ledger, &mut dropped);
            removed
        };
        removed.into_iter().for_each(|post| dropped.push(post));
        self.set_removed(dropped.iter());
        dropped.len() > 0
    }

    /// Removes all messages from the log. Members that have not received them yet do not receive them. Returns the number
    /// of messages.
    pub(crate) fn clear(&self) -> usize {
        let removed = self.take_log();
        self.set_removed(removed.iter());
        // A message may be in the log and be the newest of its key.
        let numbers: HashSet<_> = removed.iter().map(|post| post.number).collect();
        numbers.len()
    }

    /// Gives back the memory of the log of a room that is not in the table any more. What is on its way to members is
    /// delivered all the same.
    pub(crate) fn forget(&self) {
        drop(self.take_log());
    }

    fn take_log(&self) -> Vec<Arc<Post>> {
        let mut state = self.lock();
        let mut posts = state.log.clear(&self.ledger);
        posts.extend(state.conflated.clear(&self.ledger));
        let next = state.log.first();
        self.cleared_before.store(next, Ordering::Release);
        self.log_first.store(next, Ordering::Release);
        posts
    }

    /// Keeps messages from all members that have not received them yet.
    fn set_removed<'a>(&self, posts: impl Iterator<Item = &'a Arc<Post>>) {
        posts.for_each(|post| post.set_removed());
        self.removals.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the number before which the program has removed all messages. A slow member passes over them.
    pub(crate) fn cleared_before(&self) -> u64 {
        self.cleared_before.load(Ordering::Acquire)
    }

    /// Returns a number that changes when messages are removed.
    pub(crate) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
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
        let is_idle = |shard: &Arc<Shard>| shard.is_clear() && shard.claimed() == u64::MAX;
        self.is_empty() && self.shards.iter().all(is_idle)
    }

    /// Returns true if the room is idle and has no history. The registry then removes the room if no handle to it is
    /// left.
    pub(crate) fn is_vacant(&self) -> bool {
        self.is_idle() && !self.lock().log.has_history()
    }

    /// Returns whether the queues have room for a join beside `promised` ones, and not too many farewells wait.
    pub(crate) fn has_room_for_joins(&self, promised: usize) -> bool {
        let mut shards = self.shards.iter();
        self.farewells.load(Ordering::Acquire) < self.limits.queue_messages.max(1)
            && shards.all(|shard| shard.has_room_for_joins(promised, &self.limits))
    }

    /// Notes that a farewell waits for room in the queue, as long as the result lives.
    pub(crate) fn await_farewell(&self) -> Farewell {
        self.farewells.fetch_add(1, Ordering::AcqRel);
        Farewell(self.farewells.clone())
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
            Audience::Only(members) | Audience::User { members, .. } => count_of(members),
            Audience::Others(members) => self.members.len() - count_of(members),
        }
    }

    /// Sets the members in the audience of a message that gets this offset. For a message to several rooms, these are
    /// the members that no earlier room has sent it to.
    fn resolve(&self, draft: &mut Draft, offset: Offset) {
        if let Audience::User { name, members } = &mut draft.audience {
            *members = self.members_of(name);
        }
        let Some(recipients) = draft.recipients.take() else {
            return;
        };
        let mut sent = recipients.lock();
        let numbers: Vec<u64> = match &mut draft.audience {
            Audience::User { members, .. } => {
                let is_new = |member: &MemberId| !sent.members.contains(&member.number());
                *members = members.iter().copied().filter(is_new).collect();
                members.iter().map(|member| member.number()).collect()
            }
            audience => {
                let (others, new): (Vec<_>, Vec<_>) = self
                    .members
                    .iter()
                    .map(|member| member.0.id)
                    .partition(|id| sent.members.contains(id));
                if !others.is_empty() {
                    let mut others: Vec<_> = others.into_iter().map(MemberId::local).collect();
                    others.sort_unstable();
                    *audience = Audience::Others(others.into());
                }
                new
            }
        };
        draft.earlier = sent.offsets.as_slice().into();
        sent.members.extend(numbers);
        sent.offsets.push(offset);
    }

    /// Returns whether a message to a user would reach a member to which it has not been sent yet.
    pub(crate) fn has_new_member_of(&self, user: &str, recipients: &Recipients) -> bool {
        let ids = self.users.get(user).map(Vec::as_slice).unwrap_or_default();
        let sent = recipients.lock();
        ids.iter().any(|id| !sent.members.contains(id))
    }

    /// Returns the members that have joined with this user name, sorted.
    fn members_of(&self, user: &str) -> Box<[MemberId]> {
        let ids = self.users.get(user).map(Vec::as_slice).unwrap_or_default();
        let mut members: Vec<_> = ids.iter().map(|id| MemberId::local(*id)).collect();
        members.sort_unstable();
        members.into()
    }

    /// Returns the place for a new member.
    ///
    /// A small room puts each new member into the shard `home`, so that a message to the room wakes a single hub. A
    /// large room puts each new member into the shard with the fewest members.
    /// `departing` is the shard that the connection has left and that still delivers to it.
    pub(crate) fn place(
        &mut self,
        core: &RoomCore,
        member: &Member,
        home: usize,
        departing: Option<usize>,
        start: Start,
    ) -> Placement {
        /// Number of members from which a room uses all its shards.
        const SHARE_FROM: usize = 32;
        let is_leaving = |(shard, gone_at): &(usize, u64)| {
            core.shards
                .get(*shard)
                .is_some_and(|shard| !shard.has_done(*gone_at))
        };
        let departed = self.departed.remove(&member.id.number());
        let departed = departed.filter(is_leaving);
        let fewest = || {
            let shards = self.seats_per_shard.iter().enumerate();
            shards
                .min_by_key(|(_, seats)| **seats)
                .map_or(home, |(shard, _)| shard)
        };
        let shard = match departing.or(departed.map(|(shard, _)| shard)) {
            Some(shard) => shard,
            None if self.members.len() < SHARE_FROM => home,
            None => fewest(),
        };
        let next = self.log.last() + 1;
        let has = |number: u64| number >= self.log.history_first() && number <= next;
        let (from, is_gap) = match start {
            Start::Next => (next, false),
            Start::Last(count) => {
                let is_for = |post: &Post| {
                    let audience = post.audience();
                    audience.includes(member.id) || audience.includes_user(&member.user)
                };
                (self.log.start_of_last(count, is_for), false)
            }
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
        core: &RoomCore,
        membership: &Arc<Membership>,
        shard: usize,
        user: &Arc<str>,
    ) {
        if let Some(seats) = self.seats_per_shard.get_mut(shard) {
            *seats += 1;
        }
        self.members.insert(MemberRef(membership.clone()));
        self.add_user(core, membership.id, user);
    }

    /// Removes a member. Returns false if the connection is not a member.
    pub(crate) fn remove_member(
        &mut self,
        core: &RoomCore,
        id: u64,
        shard: &Shard,
        user: &str,
    ) -> bool {
        if !self.members.remove(&id) {
            return false;
        }
        if let Some(seats) = self.seats_per_shard.get_mut(shard.index()) {
            *seats -= 1;
        }
        if self.members.is_empty() {
            self.members = HashSet::new();
        }
        self.remove_user(core, id, user);
        true
    }

    /// Notes the shard that a member has left, after the command for it is in the shard's queue.
    pub(crate) fn note_departed(&mut self, core: &RoomCore, id: u64, shard: &Shard) {
        /// Least number of notes from which those that are out of date are dropped.
        const PURGE_FROM: usize = 32;
        if self.departed.len() >= self.purge_at.max(PURGE_FROM) {
            self.purge_departed(core);
            // Doubling keeps the average cost of a departure constant.
            self.purge_at = 2 * self.departed.len();
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

    pub(crate) fn add_user(&mut self, core: &RoomCore, id: u64, user: &Arc<str>) {
        if user.is_empty() {
            return;
        }
        let ids = self.users.entry(user.clone()).or_default();
        ids.push(id);
        if ids.len() == 1 {
            core.users.add(user, core);
        }
    }

    pub(crate) fn remove_user(&mut self, core: &RoomCore, id: u64, user: &str) {
        if let Some(ids) = self.users.get_mut(user) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                self.users.remove(user);
                core.users.remove(user, core);
            }
        }
    }
}
