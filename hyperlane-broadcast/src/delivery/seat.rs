//! Seats: the members of a shard, and the delivery of messages to one member.

// Long: a seat, a batch and the courier between them are one step, which is read as a whole.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use bytes::{Bytes, BytesMut};
use hyperlane_core::{
    Message, Outbox, WireFormat,
    hub::{PastHeld, Undelivered},
};
use tokio::time::Instant;

use super::{
    core::RoomCore,
    membership::{Membership, Release, grow_by_an_eighth},
    positions::{Ids, Positions},
    shard::Shard,
};
use crate::{
    ledger::Ledger,
    member::MemberId,
    outlet::{Outlet, SinkQueue},
    post::{Audience, Post},
};

/// A member in a shard. A connection's outbox is beside its membership, because each delivery needs it.
pub(crate) enum Seat {
    Connection(Outbox, Arc<Membership>),
    Sink(Arc<Membership>),
}

/// The members of a shard.
#[derive(Default)]
pub(crate) struct Seats {
    /// The members that have received all messages up to [`cursor`](Self::cursor).
    pub(crate) live: Vec<Seat>,
    /// The members that are behind: slow ones, and new ones that receive the history first.
    pub(crate) behind: HashMap<u64, Behind>,
    /// The number of the last message that was delivered to the live members.
    pub(crate) cursor: u64,
    /// The time when the first of the slow members will have taken nothing for too long.
    pub(crate) stall_at: Option<Instant>,
}

/// A member that is behind.
pub(crate) struct Behind {
    pub(crate) seat: Seat,
    /// The number of the first message that it has not received.
    pub(crate) position: u64,
    /// The number of the last message that it receives: it leaves after it. `u64::MAX` while it is a member.
    pub(crate) until: u64,
    /// What it receives after that, because it has joined again.
    later: VecDeque<Span>,
    /// True after its outbox has refused a message. False for a new member that receives the history.
    pub(crate) is_slow: bool,
    /// The number of the last message of the history that a new member receives.
    pub(crate) replay_until: u64,
    /// The time when the outbox last took a message or was found empty enough.
    pub(crate) progress: Instant,
    /// Number of messages that the member has lost and does not know of yet.
    pub(crate) missed: u64,
    /// Bytes of its outbox that count as waiting.
    pub(crate) waiting: usize,
    /// Sends of the connection that wait, each with the number of the last message that comes before it.
    releases: VecDeque<(u64, Release)>,
    /// The wakers for the times when its outbox has room again, and when its connection holds nothing any more.
    drained: Option<Arc<Drained>>,
    released: Option<Arc<Drained>>,
}

/// Wakes the hub when the outbox of a member that is behind can take messages again. A member has one for each reason,
/// which the outbox has at most once.
pub(crate) struct Drained {
    shard: Weak<Shard>,
    id: u64,
    /// True from the registration in the outbox until the outbox wakes it.
    is_registered: AtomicBool,
}

impl Wake for Drained {
    fn wake(self: Arc<Self>) {
        self.is_registered.store(false, Ordering::Release);
        if let Some(shard) = self.shard.upgrade() {
            shard.drained(self.id);
        }
    }
}

impl Drained {
    /// Registers in the outbox by `poll`, unless it is registered. Returns true if the outbox is ready.
    fn register(self: &Arc<Self>, poll: impl FnOnce(&Waker) -> bool) -> bool {
        if self.is_registered.swap(true, Ordering::AcqRel) {
            return false;
        }
        let is_ready = poll(&Waker::from(self.clone()));
        if is_ready {
            self.is_registered.store(false, Ordering::Release);
        }
        is_ready
    }
}

/// Maximum number of later stays of a member that is behind. Between two of them, messages were published.
const MAX_STAYS: usize = 16;

/// The messages of one stay in the room.
struct Span {
    from: u64,
    replay_until: u64,
    until: u64,
}

/// What is left of members that have left. The hub drops the seats and passes the releases on when it holds no lock: the
/// last reference to a connection may run destructors of the program.
#[derive(Default)]
pub(crate) struct Gone {
    pub(crate) seats: Vec<Seat>,
    pub(crate) releases: Vec<Release>,
    /// Number of the joins, leaves and releases that were carried out.
    pub(crate) changes: usize,
    /// Members that are behind and have left and joined too often meanwhile.
    pub(crate) overflowed: Vec<u64>,
}

impl Gone {
    pub(crate) fn finish(self) {
        for release in self.releases {
            release.pass();
        }
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Done,
    /// The outbox was full. The member has not received the message with this number and those that follow.
    Full(u64),
    /// The connection holds sends of its own that the message with this number may not overtake. The member has not
    /// received it and those that follow.
    Held(u64),
    /// The budget is spent. The member has not received the message at this index of the batch and those that follow.
    Paused(usize),
}

impl Seats {
    /// Adds a member that has received all messages up to the cursor.
    pub(crate) fn add_live(&mut self, seat: Seat) {
        grow_by_an_eighth(&mut self.live);
        self.live.push(seat);
    }

    /// Adds a member that is behind.
    pub(crate) fn add_behind(&mut self, behind: Behind) {
        behind.seat.membership().set_behind();
        self.behind.insert(behind.seat.id(), behind);
    }

    /// Notes a slow member that will have taken nothing for too long at this time.
    pub(crate) fn note_slow(&mut self, stall_at: Instant) {
        self.stall_at = Some(self.stall_at.map_or(stall_at, |known| known.min(stall_at)));
    }

    /// Takes out a member that was behind. The caller passes its releases on.
    pub(crate) fn take_behind(&mut self, id: u64, ledger: &Ledger) -> Option<Behind> {
        let behind = self.behind.remove(&id)?;
        ledger.sub_waiting(behind.waiting);
        behind.seat.membership().set_caught_up();
        if self.behind.is_empty() {
            self.behind = HashMap::new();
            self.stall_at = None;
        }
        Some(behind)
    }

    /// Removes members, given the numbers of their connections. Appends their seats to `gone`.
    pub(crate) fn remove(&mut self, leaving: &[u64], ledger: &Ledger, gone: &mut Gone) {
        let mut leaving: Vec<_> = leaving.to_vec();
        leaving.retain(|id| match self.take_behind(*id, ledger) {
            Some(behind) => {
                let releases = behind.releases.into_iter();
                gone.releases.extend(releases.map(|(_, release)| release));
                gone.seats.push(behind.seat);
                false
            }
            None => true,
        });
        match leaving.as_slice() {
            [] => {}
            [id] => {
                let at = self.live.iter().position(|seat| seat.id() == *id);
                gone.seats.extend(at.map(|at| self.live.swap_remove(at)));
            }
            _ => {
                leaving.sort_unstable();
                let leaves = |seat: &mut Seat| leaving.binary_search(&seat.id()).is_ok();
                gone.seats.extend(self.live.extract_if(.., leaves));
            }
        }
        if self.live.len() < self.live.capacity() / 2 {
            self.live.shrink_to(self.live.len() + self.live.len() / 8);
        }
    }

    /// Returns the number of the oldest message of the log that a member may still need, and the number of the oldest
    /// message that a member has not received. They differ if the log does not keep what slow members have missed.
    pub(crate) fn needed(&self, keeps_missed: bool) -> (u64, u64) {
        let live = match self.live.is_empty() {
            true => u64::MAX,
            false => self.cursor + 1,
        };
        let behind = self.behind.values();
        behind.fold((live, live), |(needed, claimed), behind| {
            let needed = match behind.needs_log(keeps_missed) {
                true => needed.min(behind.position),
                false => needed,
            };
            (needed, claimed.min(behind.position))
        })
    }
}

impl Behind {
    pub(crate) fn new(seat: Seat, position: u64, is_slow: bool) -> Self {
        Self {
            seat,
            position,
            until: u64::MAX,
            later: VecDeque::new(),
            is_slow,
            replay_until: 0,
            progress: Instant::now(),
            missed: 0,
            waiting: 0,
            releases: VecDeque::new(),
            drained: None,
            released: None,
        }
    }

    /// Registers for the time when the outbox has at most `limit` bytes. Returns true if it has.
    pub(crate) fn await_room(&mut self, shard: &Arc<Shard>, limit: usize) -> bool {
        let (id, outlet) = (self.seat.id(), self.seat.outlet());
        let drained = self.drained.get_or_insert_with(|| drained(shard, id));
        drained.register(|waker| outlet.poll_drained(limit, waker))
    }

    /// Registers for the time when the connection holds nothing any more. Returns true if it does not.
    pub(crate) fn await_release(&mut self, shard: &Arc<Shard>) -> bool {
        let (id, outlet) = (self.seat.id(), self.seat.outlet());
        let released = self.released.get_or_insert_with(|| drained(shard, id));
        released.register(|waker| outlet.poll_released(waker))
    }

    /// Notes sends that wait for a part of a batch.
    pub(crate) fn add_releases(
        &mut self,
        batch: &Batch,
        releases: &mut VecDeque<(usize, Release)>,
    ) {
        for (after, release) in releases.drain(..) {
            self.add_release(batch.number_before(after), release);
        }
    }

    /// Notes a send that waits until the member has received the messages up to `last`.
    pub(crate) fn add_release(&mut self, last: u64, release: Release) {
        self.releases.push_back((last, release));
    }

    /// Passes on the sends for which the member has received all messages. Call it without a lock.
    pub(crate) fn pass_due_releases(&mut self) {
        while let Some((last, _)) = self.releases.front()
            && *last < self.position
            && let Some((_, release)) = self.releases.pop_front()
        {
            release.pass();
        }
    }

    /// Returns the number of the last message that the member may receive now. `cursor` is that of the live members. What
    /// was published after a send that waits comes after the send.
    pub(crate) fn last(&self, cursor: u64) -> u64 {
        let before_send = self.releases.front().map_or(u64::MAX, |(last, _)| *last);
        self.until.min(cursor).min(before_send)
    }

    /// Notes that the member joins again. It receives the messages from `from` on after those of its earlier stay.
    /// Returns false if it has left and joined too often: the caller then ends the earlier stays.
    #[must_use]
    pub(crate) fn join_again(&mut self, from: u64, last: u64) -> bool {
        let (replay_until, until) = match self.later.back_mut() {
            Some(span) => (&mut span.replay_until, &mut span.until),
            None => (&mut self.replay_until, &mut self.until),
        };
        if from <= until.saturating_add(1) {
            // Nothing was published between the two stays, or the member asks for the history: they are one.
            *replay_until = last;
            *until = u64::MAX;
            return true;
        }
        self.later.push_back(Span {
            from,
            replay_until: last,
            until: u64::MAX,
        });
        self.later.len() <= MAX_STAYS
    }

    /// Ends all stays but the last. Returns the number of the first message that the member now receives.
    pub(crate) fn end_earlier_stays(&mut self) -> u64 {
        let Some(last) = self.later.pop_back() else {
            return self.position;
        };
        self.later = VecDeque::new();
        self.replay_until = last.replay_until;
        self.until = last.until;
        last.from
    }

    /// Notes that the member leaves. It still receives the messages up to `last`, which were published before.
    pub(crate) fn leave_after(&mut self, last: u64) {
        match self.later.back_mut() {
            // Nothing was published during the stay.
            Some(span) if span.from > last => drop(self.later.pop_back()),
            Some(span) => span.until = last,
            None => self.until = last,
        }
    }

    /// Returns whether the connection has left, and is not a member again.
    pub(crate) fn has_left(&self) -> bool {
        let last = self.later.back().map_or(self.until, |span| span.until);
        last != u64::MAX
    }

    /// Goes on with the next stay. Returns false if there is none.
    pub(crate) fn begin_next_stay(&mut self) -> bool {
        let Some(span) = self.later.pop_front() else {
            return false;
        };
        self.position = span.from.max(self.position);
        self.replay_until = span.replay_until;
        self.until = span.until;
        true
    }

    /// Returns whether the member receives the history that it has asked for.
    pub(crate) fn is_replaying(&self) -> bool {
        self.position <= self.replay_until
    }

    /// Returns whether the member receives what it has missed from the log. `keeps_missed` tells whether the log keeps it
    /// for slow members.
    pub(crate) fn needs_log(&self, keeps_missed: bool) -> bool {
        keeps_missed || !self.is_slow || self.is_replaying()
    }

    /// Returns whether the member is slow, and its connection is not about to close.
    pub(crate) fn is_kept_slow(&self) -> bool {
        self.is_slow && self.position != u64::MAX
    }

    /// Counts the outbox of a slow member as waiting. Returns true if the member has taken something since the last
    /// call.
    pub(crate) fn count_outbox(&mut self, ledger: &Ledger) -> bool {
        if !self.is_slow {
            return false;
        }
        let before = std::mem::replace(&mut self.waiting, self.seat.outlet().queued());
        ledger.add_waiting(self.waiting);
        ledger.sub_waiting(before);
        self.waiting < before
    }

    /// Passes on all sends that wait for this member. Call it without a lock.
    pub(crate) fn pass_releases(&mut self) {
        for (_, release) in self.releases.drain(..) {
            release.pass();
        }
    }
}

/// Messages that are delivered together.
pub(crate) struct Batch {
    pub(crate) posts: Vec<Arc<Post>>,
    /// Sends that wait for a part of the messages, each with the number of messages in that part. In the order of the
    /// parts.
    pub(crate) releases: Vec<(usize, Release)>,
    /// True if at least one message is not for all members.
    is_selective: bool,
    /// What a delivery of all messages as one buffer costs.
    cost: usize,
    /// The encoded messages as one buffer, for each form in use.
    merged: Vec<Merged>,
    /// The count of removals in the room for which `merged` is valid.
    removals: u64,
}

/// The messages of a batch in one form.
struct Merged {
    format: WireFormat,
    /// True if each message is an event with its offset as the id.
    has_ids: bool,
    bytes: Bytes,
    /// Number of messages in `bytes`.
    count: u64,
}

impl Batch {
    pub(crate) fn new(posts: Vec<Arc<Post>>, releases: Vec<(usize, Release)>) -> Self {
        let is_for_all = |post: &Arc<Post>| matches!(post.audience(), Audience::All);
        Self {
            is_selective: !posts.iter().all(is_for_all),
            cost: 1 + bytes_of(&posts) / COPIED_BYTES,
            posts,
            releases,
            merged: Vec::new(),
            removals: 0,
        }
    }

    /// Returns the number of the message before the index `at`.
    pub(crate) fn number_before(&self, at: usize) -> u64 {
        let before = at.checked_sub(1).and_then(|at| self.posts.get(at));
        let first = || {
            self.posts
                .first()
                .map_or(0, |post| post.number.saturating_sub(1))
        };
        before.map_or_else(first, |post| post.number)
    }

    /// Returns the number of the first message that is kept, from the index `at` on. Returns `None` if all of them are
    /// volatile.
    pub(crate) fn first_kept(&self, at: usize) -> Option<u64> {
        let mut rest = self.posts.iter().skip(at);
        rest.find(|post| !post.is_volatile())
            .map(|post| post.number)
    }

    /// Returns what became of a delivery of the messages from the index `at` on. A member misses no volatile message.
    fn delivery(&self, at: usize, sent: Result<(), Undelivered>) -> Delivery {
        let missed = match sent {
            Err(Undelivered::Full) => self.first_kept(at).map(Delivery::Full),
            Err(Undelivered::Held) => self.first_kept(at).map(Delivery::Held),
            Ok(()) | Err(Undelivered::Closed) => None,
        };
        missed.unwrap_or(Delivery::Done)
    }

    /// Returns the encoded messages in the wire format of `outbox`, as one buffer, and the number of messages in
    /// the buffer. All outboxes of the same form share the buffer.
    fn merged(&mut self, outbox: &Outbox, has_ids: bool, core: &RoomCore) -> (&Bytes, u64) {
        let removals = core.removals();
        if self.removals != removals {
            // A buffer may have a message that was removed since.
            self.merged.clear();
            self.removals = removals;
        }
        let format = outbox.format();
        let is_known = |known: &Merged| known.format == format && known.has_ids == has_ids;
        let known = self.merged.iter().position(is_known);
        let at = known.unwrap_or_else(|| {
            let (bytes, count) = self.merge(outbox, has_ids, core);
            self.merged.push(Merged {
                format,
                has_ids,
                bytes,
                count,
            });
            self.merged.len() - 1
        });
        static NONE: Bytes = Bytes::new();
        match self.merged.get(at) {
            Some(merged) => (&merged.bytes, merged.count),
            None => (&NONE, 0),
        }
    }

    /// Returns the encoded messages if they are ready for WebSockets of one format, and for all of them.
    fn ready(&self) -> Option<&Merged> {
        let first = self.merged.first().filter(|_| !self.is_selective);
        first.filter(|merged| merged.format.is_websocket() && !merged.bytes.is_empty())
    }

    /// Encodes the messages in the wire format of `outbox`, as one buffer. Returns the buffer and the number of
    /// messages in it.
    #[inline(never)]
    fn merge(&self, outbox: &Outbox, has_ids: bool, core: &RoomCore) -> (Bytes, u64) {
        let encoded = |post: &'_ Arc<Post>| match has_ids {
            _ if post.is_removed() => None,
            true => post
                .encoded_with_id(outbox, core.epoch, &core.ledger)
                .cloned(),
            false => post.encoded(outbox, &core.ledger).cloned(),
        };
        match self.posts.as_slice() {
            [one] => match encoded(one) {
                Some(bytes) => (bytes, 1),
                None => (Bytes::new(), 0),
            },
            many => {
                let parts: Vec<_> = many.iter().filter_map(encoded).collect();
                let mut merged = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
                parts.iter().for_each(|part| merged.extend_from_slice(part));
                (merged.freeze(), parts.len() as u64)
            }
        }
    }
}

/// The means of delivering to the members of one room.
pub(crate) struct Courier<'a> {
    core: &'a RoomCore,
    shard: &'a Arc<Shard>,
    /// True if the messages come from the log.
    is_replay: bool,
    /// Size of an outbox from which it is full, in bytes.
    outbox_bytes: usize,
    /// What the turn may spend, and what it has spent.
    budget: usize,
    spent: usize,
    /// Number of delivered messages. A message for several members counts once for each.
    pub(crate) delivered: u64,
}

/// Number of bytes to copy that cost as much as a write to an outbox.
const COPIED_BYTES: usize = 16 * 1024;

/// Number of bytes to compress that cost as much as a write to an outbox.
const COMPRESSED_BYTES: usize = 32;

fn bytes_of(posts: &[Arc<Post>]) -> usize {
    posts.iter().map(|post| post.draft.len()).sum()
}

fn drained(shard: &Arc<Shard>, id: u64) -> Arc<Drained> {
    Arc::new(Drained {
        shard: Arc::downgrade(shard),
        id,
        is_registered: AtomicBool::new(false),
    })
}

impl<'a> Courier<'a> {
    /// Returns a courier for the live members of a room.
    pub(crate) fn new(core: &'a RoomCore, shard: &'a Arc<Shard>, budget: usize) -> Self {
        Self {
            core,
            shard,
            is_replay: false,
            outbox_bytes: core.limits.outbox_limit(),
            budget,
            spent: 0,
            delivered: 0,
        }
    }

    /// Returns a courier for members that are behind. It delivers messages from the room's log.
    pub(crate) fn of_log(core: &'a RoomCore, shard: &'a Arc<Shard>, budget: usize) -> Self {
        Self {
            is_replay: true,
            ..Self::new(core, shard, budget)
        }
    }

    fn spend(&mut self, cost: usize) {
        self.spent += cost;
    }

    /// Returns whether something of the budget is left.
    pub(crate) fn has_budget(&self) -> bool {
        self.spent < self.budget
    }

    /// Returns what is left of the budget.
    pub(crate) fn budget(&self) -> usize {
        self.budget.saturating_sub(self.spent)
    }

    /// Delivers a batch to the live members from the index `next` on, as long as it is ready for them and their outboxes
    /// take it. Stops before the first other member. This is the usual case by itself, in a loop without other calls.
    pub(crate) fn deliver_ready(&mut self, seats: &[Seat], next: &mut usize, batch: &Batch) {
        let Some(ready) = batch.ready() else {
            return;
        };
        for seat in seats.iter().skip(*next) {
            if !self.has_budget() || batch.removals != self.core.removals() {
                break;
            }
            match seat {
                Seat::Connection(outbox, _)
                    if outbox.format() == ready.format
                        && outbox
                            .__deliver(&ready.bytes, self.outbox_bytes, PastHeld::No)
                            .is_ok() => {}
                _ => break,
            }
            // The index is exact at any time, because a panic may end the loop.
            *next += 1;
            self.spend(batch.cost);
            self.delivered += ready.count;
        }
    }

    /// Delivers a batch to a member.
    #[inline(never)]
    pub(crate) fn deliver(&mut self, seat: &Seat, batch: &mut Batch) -> Delivery {
        let Seat::Connection(outbox, _) = seat else {
            return self.deliver_each(seat, batch, 0..batch.posts.len());
        };
        let ids = self.ids_of(seat, outbox);
        if let Ids::Of(followed) = ids {
            let sent = self.deliver_followed(seat, outbox, followed, &batch.posts);
            return batch.delivery(0, sent);
        }
        if batch.is_selective || !outbox.format().is_shared() {
            return self.deliver_each(seat, batch, 0..batch.posts.len());
        }
        self.spend(batch.cost);
        let (bytes, count) = batch.merged(outbox, ids.are_offsets(), self.core);
        if bytes.is_empty() {
            return Delivery::Done;
        }
        let mut sent = outbox.__deliver(bytes, self.outbox_bytes, PastHeld::No);
        if sent == Err(Undelivered::Held) && seat.membership().may_overtake(self.shard) {
            sent = outbox.__deliver(bytes, self.outbox_bytes, PastHeld::Yes);
        }
        if sent.is_ok() {
            self.delivered += count;
            return Delivery::Done;
        }
        batch.delivery(0, sent)
    }

    /// Returns the ids that messages have for this member. Only event streams have ids, so a WebSocket costs no look at
    /// its membership.
    fn ids_of<'s>(&self, seat: &'s Seat, outbox: &Outbox) -> Ids<'s> {
        match outbox.format().is_websocket() {
            true => Ids::None,
            false => seat.membership().ids_in(self.core.epoch),
        }
    }

    /// Delivers messages to an event stream whose ids cover several rooms. With an error, the stream has received none
    /// of them.
    #[inline(never)]
    fn deliver_followed(
        &mut self,
        seat: &Seat,
        outbox: &Outbox,
        followed: &Positions,
        posts: &[Arc<Post>],
    ) -> Result<(), Undelivered> {
        // For a message that no event can carry, `encoded` logs this once.
        let is_event = |post: &Post| {
            matches!(post.draft.message, Message::Text(_))
                || post.encoded(outbox, &self.core.ledger).is_some()
        };
        self.spend(posts.len() + bytes_of(posts) / COPIED_BYTES);
        let posts = posts.iter().map(|post| &**post);
        let posts: Vec<_> = posts
            .filter(|post| self.is_for(seat, post) && is_event(post))
            .collect();
        if posts.is_empty() {
            return Ok(());
        }
        let sent = self.send_followed(seat, outbox, followed, &posts);
        self.delivered += if sent.is_ok() { posts.len() as u64 } else { 0 };
        sent
    }

    fn send_followed(
        &self,
        seat: &Seat,
        outbox: &Outbox,
        followed: &Positions,
        posts: &[&Post],
    ) -> Result<(), Undelivered> {
        let (epoch, format) = (self.core.epoch, outbox.format());
        let limit = self.outbox_bytes;
        let encode = || followed.encode(epoch, format, posts);
        let send = |past| outbox.__deliver_with(limit, past, encode);
        let mut sent = send(PastHeld::No);
        if sent == Err(Undelivered::Held) && seat.membership().may_overtake(self.shard) {
            sent = send(PastHeld::Yes);
        }
        sent
    }

    /// Tells an event stream that follows the room of a gap that it does not know of yet. Does nothing for other
    /// members.
    pub(crate) fn deliver_gap(&self, seat: &Seat) -> Result<(), Undelivered> {
        if let Seat::Connection(outbox, _) = seat
            && let Ids::Of(followed) = self.ids_of(seat, outbox)
        {
            return self.send_followed(seat, outbox, followed, &[]);
        }
        Ok(())
    }

    /// Returns whether a member receives a message.
    fn is_for(&self, seat: &Seat, post: &Post) -> bool {
        let audience = post.audience();
        let is_for_user = || audience.includes_user(&seat.membership().user_in(self.core));
        !post.is_removed()
            && (audience.includes(MemberId::local(seat.id()))
                || self.is_replay && audience.is_private() && is_for_user())
    }

    /// Delivers the messages of a batch from the index `begin` on to a live member, and passes on each release after the
    /// messages for which it waits. If the member does not receive all of them, the releases that could not be passed on
    /// stay in `left`.
    #[cold]
    pub(crate) fn deliver_from(
        &mut self,
        seat: &Seat,
        batch: &mut Batch,
        mut begin: usize,
        left: &mut VecDeque<(usize, Release)>,
    ) -> Delivery {
        if left.is_empty() && begin == 0 {
            return self.deliver(seat, batch);
        }
        while let Some((after, _)) = left.front() {
            let delivery = self.deliver_each(seat, batch, begin..*after);
            if delivery != Delivery::Done {
                return delivery;
            }
            begin = *after;
            if let Some((_, release)) = left.pop_front() {
                release.pass();
            }
        }
        self.deliver_each(seat, batch, begin..batch.posts.len())
    }

    /// Delivers a range of the messages of a batch one by one, until the budget is spent: at least one of them.
    #[inline(never)]
    pub(crate) fn deliver_each(
        &mut self,
        seat: &Seat,
        batch: &Batch,
        range: std::ops::Range<usize>,
    ) -> Delivery {
        let begin = range.start;
        if range.is_empty() {
            self.spend(1);
        }
        for at in range {
            let Some(post) = batch.posts.get(at) else {
                break;
            };
            if !self.has_budget() && at > begin {
                return Delivery::Paused(at);
            }
            let delivery = batch.delivery(at, self.deliver_post(seat, post));
            if delivery != Delivery::Done {
                return delivery;
            }
        }
        Delivery::Done
    }

    /// Delivers one message if the member is in its audience.
    pub(crate) fn deliver_post(
        &mut self,
        seat: &Seat,
        post: &Arc<Post>,
    ) -> Result<(), Undelivered> {
        let ids = match seat {
            Seat::Connection(outbox, _) => self.ids_of(seat, outbox),
            Seat::Sink(_) => Ids::None,
        };
        if let (Seat::Connection(outbox, _), Ids::Of(followed)) = (seat, &ids) {
            return self.deliver_followed(seat, outbox, followed, std::slice::from_ref(post));
        }
        #[cfg(test)]
        super::tests::panic_if_wanted(seat.id(), post.number);
        self.spend(1);
        if !self.is_for(seat, post) {
            return Ok(());
        }
        self.spend(post.draft.len() / seat.bytes_per_unit());
        let (ledger, limit) = (&self.core.ledger, self.outbox_bytes);
        let message = &post.draft.message;
        let send = |past| match seat {
            Seat::Connection(outbox, _) if outbox.format().is_shared() => {
                let encoded = match ids.are_offsets() {
                    true => post.encoded_with_id(outbox, self.core.epoch, ledger),
                    false => post.encoded(outbox, ledger),
                };
                match encoded {
                    Some(bytes) => outbox.__deliver(bytes, limit, past),
                    None => Ok(()),
                }
            }
            Seat::Connection(outbox, _) => outbox.__deliver_message(message, limit, past),
            Seat::Sink(membership) => {
                let deliver = |sink: &SinkQueue| sink.deliver(message, limit, past);
                membership.outlet.sink().map_or(Ok(()), deliver)
            }
        };
        let mut sent = send(PastHeld::No);
        if sent == Err(Undelivered::Held) && seat.membership().may_overtake(self.shard) {
            sent = send(PastHeld::Yes);
        }
        self.delivered += u64::from(sent.is_ok());
        sent
    }
}

impl Seat {
    pub(crate) fn new(membership: Arc<Membership>) -> Self {
        match membership.outlet.connection() {
            Some(outbox) => Self::Connection(outbox.clone(), membership),
            None => Self::Sink(membership),
        }
    }

    pub(crate) fn membership(&self) -> &Arc<Membership> {
        match self {
            Self::Connection(_, membership) | Self::Sink(membership) => membership,
        }
    }

    /// Returns the number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.membership().id
    }

    pub(crate) fn outlet(&self) -> &Outlet {
        &self.membership().outlet
    }

    /// Returns the number of bytes of a message that cost as much as a write to an outbox.
    fn bytes_per_unit(&self) -> usize {
        match self {
            Self::Connection(outbox, _) if !outbox.format().is_shared() => COMPRESSED_BYTES,
            _ => COPIED_BYTES,
        }
    }
}
