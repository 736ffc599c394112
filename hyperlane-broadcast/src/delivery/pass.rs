//! Passes: a pass delivers what is in the queue of one shard to the shard's seats.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Weak},
    task::{Wake, Waker},
};

use hyperlane_core::{Outbox, hub::Undelivered};
use tokio::time::{Duration, Instant};

use super::{
    core::RoomCore,
    membership::Release,
    seat::{Batch, Behind, Courier, Delivery, Seats},
    shard::{Shard, Work},
};
use crate::{config::SlowPolicy, post::Post};

/// Maximum time for which a flooded room waits for members that are nearly as fast.
const PAUSE: Duration = Duration::from_millis(100);

/// The delivery of the messages in one shard's queue.
///
/// A pass takes the seats (the members) out of the shard and puts them back at its end. A runtime that shuts down may
/// drop a pass before its end, and so does a panic. The drop also puts the seats back, and notes that each member which
/// has not received the current batch is behind. The next pass delivers this batch to these members from the room's log.
pub(crate) struct Pass {
    core: Arc<RoomCore>,
    shard: Arc<Shard>,
    /// The seats of the shard while the pass runs.
    seats: Seats,
    /// The messages that the pass delivers at present.
    batch: Option<Batch>,
    /// Sends that wait for a part of the batch, by connection.
    releases: HashMap<u64, Vec<(usize, Release)>>,
    /// Index of the next seat that receives the batch.
    next_seat: usize,
    /// Members that are behind and whose outbox has room.
    due: VecDeque<u64>,
    /// Number of these members that receive a part of what they have missed before the next batch is delivered.
    round: usize,
    /// The last part that a member has received from the log, with the numbers from and after it. Often the next member
    /// needs the same.
    part: Option<(u64, u64, Batch)>,
    delivered: u64,
    /// True after the pass has put the seats back into the shard.
    is_done: bool,
}

/// The result of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The pass needs another turn.
    More,
    /// The pass is over. If there is a time, the hub wakes the shard then.
    Done(Option<Instant>),
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        if let Some(batch) = self.batch.take() {
            let missed: Vec<_> = self
                .seats
                .live
                .drain(self.next_seat.min(self.seats.live.len())..)
                .collect();
            for seat in missed {
                match batch.first_kept(0) {
                    Some(number) => self.seats.add_behind(Behind::new(seat, number, false)),
                    None => self.seats.add_live(seat),
                }
            }
            self.finish_batch(&batch);
        }
        self.shard.put_back(std::mem::take(&mut self.seats));
    }
}

/// Wakes the hub when the outbox of a member that is behind can take messages again.
struct Drained {
    shard: Weak<Shard>,
    id: u64,
}

impl Wake for Drained {
    fn wake(self: Arc<Self>) {
        if let Some(shard) = self.shard.upgrade() {
            shard.drained(self.id);
        }
    }
}

impl Pass {
    /// Begins a pass. Returns `None` if the room is being dropped.
    pub(crate) fn new(shard: Arc<Shard>) -> Option<Self> {
        let Some(core) = shard.core() else {
            shard.clear();
            return None;
        };
        Some(Self {
            core,
            seats: shard.take_seats(),
            shard,
            batch: None,
            releases: HashMap::new(),
            next_seat: 0,
            due: VecDeque::new(),
            round: 0,
            part: None,
            delivered: 0,
            is_done: false,
        })
    }

    pub(crate) fn core(&self) -> &Arc<RoomCore> {
        &self.core
    }

    pub(crate) fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Delivers until the budget is spent. One delivery to one member costs one unit of the budget.
    pub(crate) fn run_turn(&mut self, budget: &mut usize) -> Turn {
        *budget = budget.saturating_sub(1);
        self.drop_lost();
        self.close_stalled();
        let turn = self.deliver(budget);
        // All hubs share the counter. One update per turn keeps contention low.
        self.core
            .metrics
            .delivered(std::mem::take(&mut self.delivered));
        turn
    }

    fn deliver(&mut self, budget: &mut usize) -> Turn {
        loop {
            if *budget == 0 {
                return Turn::More;
            }
            if let Some(batch) = self.batch.take() {
                self.deliver_batch(batch, budget);
                continue;
            }
            if self.round > 0 {
                self.round -= 1;
                if let Some(id) = self.due.pop_front() {
                    self.catch_up(id, budget);
                }
                continue;
            }
            self.due.extend(self.shard.take_drained());
            self.round = self.due.len();
            if self.round > 0 && self.shard.is_queue_empty() {
                continue;
            }
            let is_idle = self.due.is_empty();
            let limits = self.core.limits.clone();
            let pause = |seats: &Seats| pause_for(seats).filter(|_| is_idle);
            match self
                .shard
                .take_work(&mut self.seats, &limits, &self.core.ledger, pause)
            {
                Work::Batch(mut batch) => {
                    for (after, release) in batch.releases.drain(..) {
                        self.releases
                            .entry(release.id())
                            .or_default()
                            .push((after, release));
                    }
                    self.next_seat = 0;
                    self.batch = Some(batch);
                }
                Work::Changes(gone) => {
                    *budget = budget.saturating_sub(1);
                    gone.finish();
                    self.core.wake_waiters();
                }
                Work::Done => return self.end(None),
                Work::Paused(until) => return self.end(Some(until)),
            }
        }
    }

    fn end(&mut self, resume_at: Option<Instant>) -> Turn {
        self.is_done = true;
        self.core.wake_waiters();
        if self.core.ledger.waiting() > 0 {
            self.core.trim();
        }
        let stall_at = self.shard.stall_at();
        Turn::Done(resume_at.into_iter().chain(stall_at).min())
    }

    /// Delivers the batch to the next live members.
    fn deliver_batch(&mut self, mut batch: Batch, budget: &mut usize) {
        let mut courier = Courier {
            ledger: &self.core.ledger,
            shard: &self.shard,
            outbox_bytes: self.core.limits.outbox_bytes,
            delivered: 0,
        };
        let mut left = VecDeque::new();
        let (mut full, mut held) = (Vec::new(), Vec::new());
        while let Some(seat) = self.seats.live.get(self.next_seat) {
            if *budget == 0 {
                break;
            }
            *budget -= 1;
            let delivery = match self.releases.is_empty() {
                true => courier.deliver(seat, &mut batch),
                false => {
                    left.extend(
                        self.releases
                            .remove(&seat.membership.id)
                            .into_iter()
                            .flatten(),
                    );
                    courier.deliver_with_releases(seat, &mut batch, &mut left)
                }
            };
            match delivery {
                Delivery::Done => self.next_seat += 1,
                Delivery::Held(number) => {
                    let seat = self.seats.live.swap_remove(self.next_seat);
                    let mut behind = Behind::new(seat, number, false);
                    behind
                        .releases
                        .extend(left.drain(..).map(|(_, release)| release));
                    held.push(behind.seat.membership.id);
                    self.seats.add_behind(behind);
                }
                Delivery::Full(number) => {
                    // The last seat takes the place of this one, and receives the batch next.
                    let seat = self.seats.live.swap_remove(self.next_seat);
                    let mut behind = Behind::new(seat, number, true);
                    behind.waiting = behind.seat.outbox.queued();
                    self.core.ledger.add_waiting(behind.waiting);
                    behind
                        .releases
                        .extend(left.drain(..).map(|(_, release)| release));
                    let id = behind.seat.membership.id;
                    self.core.metrics.member_slow();
                    self.seats.add_behind(behind);
                    self.seats
                        .note_slow(Instant::now() + self.core.limits.slow_stall);
                    full.push(id);
                }
            }
        }
        self.delivered += courier.delivered;
        for id in full {
            self.await_room(id);
        }
        for id in held {
            self.await_release(id);
        }
        if self.next_seat < self.seats.live.len() {
            self.batch = Some(batch);
            return;
        }
        self.finish_batch(&batch);
        self.shard.set_delivered(&self.seats);
        self.core.wake_waiters();
        self.drop_lost();
    }

    /// Ends a batch that all live members have received.
    fn finish_batch(&mut self, batch: &Batch) {
        if let Some(last) = batch.posts.last() {
            self.seats.cursor = self.seats.cursor.max(last.number);
        }
        for (id, releases) in std::mem::take(&mut self.releases) {
            let releases = releases.into_iter().map(|(_, release)| release);
            match self.seats.behind.get_mut(&id) {
                Some(behind) => behind.releases.extend(releases),
                None => releases.for_each(Release::pass),
            }
        }
    }

    /// Delivers a part of what a member has missed.
    fn catch_up(&mut self, id: u64, budget: &mut usize) {
        let cursor = self.seats.cursor;
        let policy = self.core.limits.slow;
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        if behind.position == u64::MAX {
            // Its connection closes.
            return behind.pass_releases();
        }
        if behind.is_slow && policy == SlowPolicy::DropNewest {
            behind.missed += (cursor + 1).saturating_sub(behind.position);
            behind.position = cursor + 1;
        }
        if behind.position > cursor {
            return self.set_live(id);
        }
        if behind.is_slow && policy == SlowPolicy::Conflate {
            return self.catch_up_conflated(id, budget);
        }
        let (from, is_slow) = (behind.position, behind.is_slow);
        if !self.fetch_part(from, cursor) {
            return self.lose_place(id);
        }
        let mut courier = Courier {
            ledger: &self.core.ledger,
            shard: &self.shard,
            outbox_bytes: self.core.limits.outbox_bytes,
            delivered: 0,
        };
        let Some((behind, (_, next, batch))) =
            self.seats.behind.get_mut(&id).zip(self.part.as_mut())
        else {
            return;
        };
        *budget = budget.saturating_sub(1 + batch.posts.len() / 16);
        let delivery = match batch.posts.is_empty() {
            true => Delivery::Done,
            false => courier.deliver(&behind.seat, batch),
        };
        self.delivered += courier.delivered;
        match delivery {
            Delivery::Done => {
                behind.position = *next;
                behind.progress = Instant::now();
                match behind.position > cursor {
                    true => self.set_live(id),
                    false => self.due.push_back(id),
                }
            }
            Delivery::Held(number) => {
                behind.position = number;
                self.await_release(id);
            }
            Delivery::Full(number) => {
                if number > behind.position || courier.delivered > 0 {
                    behind.progress = Instant::now();
                }
                behind.position = number;
                if !is_slow {
                    behind.is_slow = true;
                    behind.waiting = behind.seat.outbox.queued();
                    self.core.ledger.add_waiting(behind.waiting);
                    self.core.metrics.member_slow();
                    self.seats
                        .note_slow(Instant::now() + self.core.limits.slow_stall);
                }
                self.await_room(id);
            }
        }
    }

    /// Makes [`part`](Self::part) the messages from `from` on. Returns false if the log has dropped the first of them.
    fn fetch_part(&mut self, from: u64, until: u64) -> bool {
        let is_known = |(known, next, _): &(u64, u64, Batch)| *known == from && *next <= until + 1;
        if self.part.as_ref().is_some_and(is_known) && self.core.log_first() <= from {
            return true;
        }
        let part = self.core.read(from, until);
        self.part = part.map(|part| (from, part.next, Batch::new(part.posts, Vec::new())));
        self.part.is_some()
    }

    /// Delivers the newest message of each key that a slow member has missed.
    fn catch_up_conflated(&mut self, id: u64, budget: &mut usize) {
        let cursor = self.seats.cursor;
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        let first = self.core.log_first();
        behind.missed += first.saturating_sub(behind.position);
        let mut from = behind.position.max(first);
        let begin = from;
        let mut missed: Vec<Arc<Post>> = Vec::new();
        while from <= cursor
            && let Some(part) = self.core.read(from, cursor)
        {
            if part.next == from {
                break;
            }
            from = part.next;
            missed.extend(part.posts);
        }
        *budget = budget.saturating_sub(1 + missed.len() / 64);
        let mut keys = HashSet::new();
        let mut newest: Vec<_> = missed
            .iter()
            .rev()
            .filter(|post| {
                post.draft
                    .key
                    .as_ref()
                    .is_none_or(|key| keys.insert(&**key))
            })
            .cloned()
            .collect();
        newest.reverse();
        behind.missed += (missed.len() - newest.len()) as u64;
        behind.position = begin;
        let mut courier = Courier {
            ledger: &self.core.ledger,
            shard: &self.shard,
            outbox_bytes: self.core.limits.outbox_bytes,
            delivered: 0,
        };
        let mut sent = Ok(());
        for post in newest {
            *budget = budget.saturating_sub(1);
            sent = courier.deliver_post(&behind.seat, &post);
            if let Err(Undelivered::Full | Undelivered::Held) = sent {
                behind.position = post.number;
                break;
            }
        }
        self.delivered += courier.delivered;
        if courier.delivered > 0 {
            behind.progress = Instant::now();
        }
        match sent {
            Err(Undelivered::Full) => self.await_room(id),
            Err(Undelivered::Held) => self.await_release(id),
            Ok(()) | Err(Undelivered::Closed) => self.set_live(id),
        }
    }

    /// Moves a member that has caught up to the live members.
    fn set_live(&mut self, id: u64) {
        if let Some(mut behind) = self.seats.take_behind(id, &self.core.ledger) {
            behind.pass_releases();
            self.seats.add_live(behind.seat);
            self.shard.set_delivered(&self.seats);
        }
    }

    /// Registers for the time when the outbox of a slow member has room again.
    fn await_room(&mut self, id: u64) {
        let limit = self.core.limits.outbox_bytes / 2;
        self.await_outbox(id, |outbox, waker| outbox.__poll_drained(limit, waker));
    }

    /// Registers for the time when a connection holds nothing any more.
    fn await_release(&mut self, id: u64) {
        self.await_outbox(id, Outbox::__poll_released);
    }

    fn await_outbox(&mut self, id: u64, is_ready: impl FnOnce(&Outbox, &Waker) -> bool) {
        let Some(behind) = self.seats.behind.get(&id) else {
            return;
        };
        let waker = Waker::from(Arc::new(Drained {
            shard: Arc::downgrade(&self.shard),
            id,
        }));
        if is_ready(&behind.seat.outbox, &waker) {
            self.due.push_back(id);
        }
    }

    /// Finds the slow members whose place the log no longer keeps.
    fn drop_lost(&mut self) {
        if self.seats.behind.is_empty() || !self.core.keeps_missed() {
            return;
        }
        let first = self.core.log_first();
        let is_lost = |behind: &Behind| behind.position < first;
        let lost = self
            .seats
            .behind
            .iter()
            .filter(|(_, behind)| is_lost(behind));
        let lost: Vec<_> = lost.map(|(id, _)| *id).collect();
        for id in lost {
            self.lose_place(id);
        }
    }

    /// Acts on a slow member whose place the log no longer keeps, as the room's policy says.
    fn lose_place(&mut self, id: u64) {
        let first = self.core.log_first();
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        match self.core.limits.slow {
            SlowPolicy::Disconnect => self.disconnect(id),
            _ => {
                behind.missed += first.saturating_sub(behind.position);
                behind.position = first.max(behind.position);
                if !behind.is_slow {
                    self.due.push_back(id);
                }
            }
        }
    }

    /// Closes the connection of a slow member. The member leaves when the connection has closed.
    fn disconnect(&mut self, id: u64) {
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        behind.position = u64::MAX;
        self.core.metrics.slow_member_closed();
        tracing::debug!(room = %self.core.name, member = id, "slow room member closed");
        behind.seat.close_slow();
        behind.pass_releases();
    }

    /// Closes the connections of slow members that have taken nothing for too long.
    fn close_stalled(&mut self) {
        let now = Instant::now();
        if self.seats.stall_at.is_none_or(|at| now < at) {
            return;
        }
        let stall = self.core.limits.slow_stall;
        let is_stalled = |behind: &Behind| {
            behind.is_slow && behind.position != u64::MAX && behind.progress + stall <= now
        };
        let stalled = self
            .seats
            .behind
            .iter()
            .filter(|(_, behind)| is_stalled(behind));
        let stalled: Vec<_> = stalled.map(|(id, _)| *id).collect();
        if self.core.limits.slow == SlowPolicy::Disconnect {
            for id in stalled {
                self.disconnect(id);
            }
        }
        let slow = self
            .seats
            .behind
            .values()
            .filter(|behind| behind.is_slow && behind.position != u64::MAX);
        self.seats.stall_at = slow
            .map(|behind| (behind.progress + stall).max(now + PAUSE))
            .min();
    }
}

/// Returns the time until which a flooded room pauses: some members are behind, but have taken messages a moment ago.
fn pause_for(seats: &Seats) -> Option<Instant> {
    let slow = seats
        .behind
        .values()
        .filter(|behind| behind.is_slow && behind.position != u64::MAX);
    let until = slow.map(|behind| behind.progress + PAUSE).max()?;
    (until > Instant::now()).then_some(until)
}
