//! Passes: a pass delivers what is in the queue of one shard to the shard's seats.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
};

use hyperlane_core::CloseCode;
use tokio::time::Instant;

use super::{
    core::RoomCore,
    membership::Release,
    seat::{Batch, Behind, Courier, Delivery, Seats},
    shard::{Shard, Work},
};
use crate::panics::guarded;

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
    /// Index of the next message of the batch for this seat. The seats after it have received none of them.
    next_post: usize,
    /// Sends of this seat's connection that wait for a part of the batch.
    left: VecDeque<(usize, Release)>,
    /// The member to which the pass delivers at present.
    serving: Serving,
    /// Members that are behind and whose outbox has room.
    due: VecDeque<u64>,
    /// Number of these members that receive a part of what they have missed before the next batch is delivered.
    round: usize,
    /// True if the numbers of the messages that members need have changed since the shard was told.
    has_progressed: bool,
    /// The last part that a member has received from the log, with the numbers from and after it. Often the next member
    /// needs the same.
    part: Option<(u64, u64, Batch)>,
    delivered: u64,
    /// True after the pass has put the seats back into the shard.
    is_done: bool,
}

/// The member to which a pass delivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Serving {
    #[default]
    None,
    /// The live member at [`Pass::next_seat`].
    Live,
    /// The member with this number, which is behind.
    Behind(u64),
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
            let (mut from, mut left) = (self.next_post, mem::take(&mut self.left));
            for seat in missed {
                match batch.first_kept(mem::take(&mut from)) {
                    Some(number) => {
                        let mut behind = Behind::new(seat, number, false);
                        behind.add_releases(&batch, &mut left);
                        self.seats.add_behind(behind);
                    }
                    None => self.seats.add_live(seat),
                }
                // What waits for volatile messages alone waits for nothing.
                left.clear();
            }
            self.finish_batch(&batch);
        }
        self.shard.put_back(std::mem::take(&mut self.seats));
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
            next_post: 0,
            left: VecDeque::new(),
            serving: Serving::None,
            due: VecDeque::new(),
            round: 0,
            has_progressed: false,
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

    /// Delivers until the budget is spent. The budget pays for each write to an outbox, for the bytes that it copies or
    /// compresses, and for each message and each member at which the pass looks alone.
    pub(crate) fn run_turn(&mut self, budget: &mut usize) -> Turn {
        *budget = budget.saturating_sub(1);
        self.drop_lost();
        self.close_stalled();
        self.close_farthest();
        let turn = self.deliver(budget);
        if turn == Turn::More && mem::take(&mut self.has_progressed) {
            self.shard.set_delivered(&self.seats);
        }
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
            if self.batch.is_some() {
                self.serving = Serving::Live;
                self.deliver_batch(budget);
                self.serving = Serving::None;
                continue;
            }
            if self.round > 0 {
                self.round -= 1;
                if let Some(id) = self.due.pop_front() {
                    self.serving = Serving::Behind(id);
                    self.catch_up(id, budget);
                    self.serving = Serving::None;
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
                    (self.next_seat, self.next_post) = (0, 0);
                    self.batch = Some(batch);
                }
                Work::Changes(mut gone) => {
                    *budget = budget.saturating_sub(1 + gone.changes);
                    let overflowed = mem::take(&mut gone.overflowed);
                    gone.finish();
                    for id in overflowed {
                        self.lose_stays(id);
                    }
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
    fn deliver_batch(&mut self, budget: &mut usize) {
        let Some(batch) = &mut self.batch else {
            return;
        };
        let mut courier = Courier::new(&self.core, &self.shard, *budget);
        let (mut full, mut held) = (Vec::new(), Vec::new());
        // A member that has begun the batch in an earlier turn goes on with its next message.
        let mut is_whole = self.releases.is_empty() && self.left.is_empty() && self.next_post == 0;
        loop {
            if is_whole {
                courier.deliver_ready(&self.seats.live, &mut self.next_seat, batch);
            }
            if !courier.has_budget() {
                break;
            }
            let Some(seat) = self.seats.live.get(self.next_seat) else {
                break;
            };
            let delivery = match is_whole {
                true => courier.deliver(seat, batch),
                false => {
                    let releases = self.releases.remove(&seat.id());
                    self.left.extend(releases.into_iter().flatten());
                    let begin = mem::take(&mut self.next_post);
                    courier.deliver_from(seat, batch, begin, &mut self.left)
                }
            };
            let (slow, number) = match delivery {
                Delivery::Done => {
                    self.next_seat += 1;
                    is_whole = is_whole || self.releases.is_empty();
                    continue;
                }
                Delivery::Paused(at) => {
                    self.next_post = at;
                    break;
                }
                Delivery::Full(number) => (&mut full, number),
                Delivery::Held(number) => (&mut held, number),
            };
            // The last seat takes the place of this one, and receives the batch next.
            let seat = self.seats.live.swap_remove(self.next_seat);
            let mut behind = Behind::new(seat, number, false);
            behind.add_releases(batch, &mut self.left);
            slow.push(behind.seat.id());
            self.seats.add_behind(behind);
            is_whole = is_whole || self.releases.is_empty();
        }
        *budget = courier.budget();
        self.delivered += courier.delivered;
        for id in full {
            self.set_slow(id);
            self.await_room(id);
        }
        for id in held {
            self.await_release(id);
        }
        if self.next_seat < self.seats.live.len() {
            return;
        }
        if let Some(batch) = self.batch.take() {
            self.finish_batch(&batch);
        }
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
            // The shard is told once per turn, because this looks at all members that are behind.
            self.has_progressed = true;
        }
    }

    /// Goes on after a panic in a turn. What the member at work has received is not known, so its connection is closed: a
    /// WebSocket with code 1011. The other members still receive everything. Returns false if no member was at work.
    pub(crate) fn recover(&mut self) -> bool {
        let id = match mem::take(&mut self.serving) {
            Serving::None => return false,
            Serving::Live if self.next_seat < self.seats.live.len() => {
                let seat = self.seats.live.swap_remove(self.next_seat);
                let id = seat.id();
                self.seats.add_behind(Behind::new(seat, u64::MAX, false));
                self.next_post = 0;
                // Dropping a release passes it on.
                self.left.clear();
                id
            }
            Serving::Live => return false,
            Serving::Behind(id) => id,
        };
        if let Some(behind) = self.seats.behind.get_mut(&id) {
            behind.position = u64::MAX;
            tracing::error!(room = %self.core.name, member = id, "room member closed after a panic");
            let outlet = behind.seat.outlet().clone();
            guarded("the end of a room member", || {
                outlet.close(CloseCode::INTERNAL_ERROR, "internal error", true);
            });
            behind.pass_releases();
        }
        // Those that became slow in this turn may not have registered with their outboxes.
        self.due.extend(self.seats.behind.keys());
        true
    }
}
