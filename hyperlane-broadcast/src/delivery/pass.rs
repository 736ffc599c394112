//! Passes: a pass delivers what is in the queue of one shard to the shard's seats.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    task::Wake,
};

use tokio::time::Instant;

use super::{
    core::RoomCore,
    membership::Release,
    seat::{Batch, Behind, Courier, Delivery, Seats},
    shard::{Shard, Work},
};

mod slow;

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
        self.close_farthest();
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
            let limits = self.core.limits.clone();
            // A pause does not help a member whose missed messages are not kept.
            let may_pause = self.due.is_empty() && limits.keeps_missed();
            let pause = |seats: &Seats| slow::pause_for(seats).filter(|_| may_pause);
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
        let mut courier = Courier::new(&self.core, &self.shard);
        let mut left = VecDeque::new();
        let (mut full, mut held) = (Vec::new(), Vec::new());
        while let Some(seat) = self.seats.live.get(self.next_seat) {
            if *budget == 0 {
                break;
            }
            *budget -= 1;
            let delivery = match self.releases.is_empty() {
                true => courier.deliver_live(seat, &mut batch),
                false => {
                    left.extend(self.releases.remove(&seat.id()).into_iter().flatten());
                    courier.deliver_with_releases(seat, &mut batch, &mut left)
                }
            };
            match delivery {
                Delivery::Done => self.next_seat += 1,
                Delivery::Held(number) => {
                    let seat = self.seats.live.swap_remove(self.next_seat);
                    let mut behind = Behind::new(seat, number, false);
                    for (after, release) in left.drain(..) {
                        behind.add_release(batch.number_before(after), release);
                    }
                    held.push(behind.seat.id());
                    self.seats.add_behind(behind);
                }
                Delivery::Full(number) => {
                    // The last seat takes the place of this one, and receives the batch next.
                    let seat = self.seats.live.swap_remove(self.next_seat);
                    let mut behind = Behind::new(seat, number, false);
                    for (after, release) in left.drain(..) {
                        behind.add_release(batch.number_before(after), release);
                    }
                    full.push(behind.seat.id());
                    self.seats.add_behind(behind);
                }
            }
        }
        self.delivered += courier.delivered;
        for id in full {
            self.set_slow(id);
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
            let mut behind = self.seats.behind.get_mut(&id);
            for (after, release) in releases {
                match &mut behind {
                    Some(behind) => behind.add_release(batch.number_before(after), release),
                    None => release.pass(),
                }
            }
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
}
