//! Passes: a pass delivers the messages in the queue of one shard to the shard's seats.
//!
//! A shard is the part of a room that one hub (a task that delivers messages) serves. A seat is a member in a shard. A
//! member is *slow* if its outbox, the send queue of its connection, was full when a message came.

use std::sync::Arc;

use crate::{
    core::RoomCore,
    seat::{Batch, Seat},
    shard::{Shard, Work},
};

/// Maximum number of deliveries in one turn of a pass. A delivery is one batch of messages for one seat. After a turn
/// the hub continues with the pass of the next room.
const DELIVERIES_PER_TURN: usize = 256;

/// The delivery of the messages in one shard's queue.
///
/// A pass takes the seats (the members) out of the shard and puts them back at its end. A runtime that shuts down may
/// drop a pass before its end. The drop also puts the seats back, and marks each member that has not received the
/// current batch as slow. The next pass delivers this batch to these members from the room's history.
pub(crate) struct Pass {
    pub(crate) core: Arc<RoomCore>,
    /// Index of the shard.
    shard: usize,
    /// The seats of the shard while the pass runs.
    seats: Vec<Seat>,
    /// The messages that the pass delivers at present.
    batch: Option<Batch>,
    /// Index of the next seat that receives the batch.
    next_seat: usize,
    /// True if some members were slow at the end of the previous pass. This pass then delivers the messages that these
    /// members have missed: at its start if the queue is empty, and otherwise together with the messages of the queue.
    retries_slow: bool,
    /// True if some members are slow at the end of this pass.
    pub(crate) has_slow: bool,
    /// Number of delivered messages that the pass has not added to the metrics yet. A message for several members
    /// counts once per member.
    delivered: u64,
    /// True after the pass has put the seats back into the shard.
    is_done: bool,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(shard) = self.core.shards.get(self.shard).filter(|_| !self.is_done) else {
            return;
        };
        if let Some(batch) = self.batch.take() {
            for seat in self.seats.iter_mut().skip(self.next_seat) {
                seat.position
                    .get_or_insert(batch.first().max(seat.caught_up_to));
            }
        }
        shard.put_back(std::mem::take(&mut self.seats));
    }
}

impl Pass {
    pub(crate) fn new(core: Arc<RoomCore>, shard: usize) -> Self {
        let seats = core
            .shards
            .get(shard)
            .map(Shard::take_seats)
            .unwrap_or_default();
        Self {
            core,
            shard,
            seats: seats.list,
            batch: None,
            next_seat: 0,
            retries_slow: seats.has_slow,
            has_slow: false,
            delivered: 0,
            is_done: false,
        }
    }

    /// Delivers messages for one turn. Returns true if the pass needs another turn.
    pub(crate) fn run_turn(&mut self) -> bool {
        let has_more = self.deliver();
        let metrics = &self.core.metrics;
        // All hubs share the counter. One update per turn keeps contention low.
        metrics.delivered(std::mem::take(&mut self.delivered));
        has_more
    }

    fn deliver(&mut self) -> bool {
        let mut left = DELIVERIES_PER_TURN;
        if std::mem::take(&mut self.retries_slow) && self.is_shard_empty() {
            for seat in &mut self.seats {
                catch_up(seat, &self.core, &mut self.delivered);
            }
        }
        loop {
            if let Some(batch) = &mut self.batch {
                while let Some(seat) = self.seats.get_mut(self.next_seat) {
                    if left == 0 {
                        return true;
                    }
                    left -= 1;
                    self.next_seat += 1;
                    if seat.position.is_some() {
                        // The messages of the batch are in the history too. `catch_up` delivers them after the older
                        // messages that this member has missed.
                        catch_up(seat, &self.core, &mut self.delivered);
                    } else {
                        seat.deliver(batch, &mut self.delivered);
                    }
                }
                self.batch = None;
            }
            if !self.take_work() {
                return false;
            }
        }
    }

    fn is_shard_empty(&self) -> bool {
        self.core.shards.get(self.shard).is_none_or(Shard::is_empty)
    }

    /// Takes the next work from the shard's queue. Returns false if the queue is empty.
    fn take_work(&mut self) -> bool {
        let Some(shard) = self.core.shards.get(self.shard) else {
            return false;
        };
        match shard.take_work(&mut self.seats) {
            Work::Posts(posts) => {
                self.batch = Some(Batch::new(posts));
                self.next_seat = 0;
            }
            Work::Replay(replay) => {
                if let Some(seat) = self.seats.last_mut() {
                    seat.deliver(&mut Batch::new(replay), &mut self.delivered);
                }
            }
            Work::Done { has_slow } => {
                self.has_slow = has_slow;
                self.is_done = true;
            }
        }
        !self.is_done
    }
}

/// Delivers the messages that a slow member has missed, until its outbox is full. If the history has dropped some of
/// these messages, closes the member's connection instead. Does nothing if the member is not slow or its connection has
/// ended.
fn catch_up(seat: &mut Seat, core: &RoomCore, delivered: &mut u64) {
    let Some(position) = seat.position else {
        return;
    };
    if !seat.outbox.is_open() {
        seat.position = None;
        return;
    }
    let Some(missed) = core.messages_since(position) else {
        core.metrics.slow_member_closed();
        tracing::debug!(room = %core.name, member = %seat.id, "slow room member closed");
        seat.close_slow();
        return;
    };
    seat.deliver_missed(&missed, delivered);
}
