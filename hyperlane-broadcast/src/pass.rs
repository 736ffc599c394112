//! A hub's way through a lane.

use std::sync::Arc;

use crate::{
    core::RoomCore,
    lane::{Lane, Work},
    seat::{Batch, Seat},
};

/// Deliveries of one room before the next room has its turn.
const DELIVERIES: usize = 256;

/// A hub's way through one lane. Dropped on the way, with the runtime, it leaves the seats to the next one: who has not got
/// a message reads on from the history.
pub(crate) struct Pass {
    pub(crate) core: Arc<RoomCore>,
    lane: usize,
    seats: Vec<Seat>,
    batch: Option<Batch>,
    /// The next seat of the batch.
    at: usize,
    /// Some seats lag: they are looked at although nothing new waits.
    retry: bool,
    pub(crate) lags: bool,
    /// Messages that were handed to members and are not counted yet.
    delivered: u64,
    is_over: bool,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(lane) = self.core.lanes.get(self.lane).filter(|_| !self.is_over) else {
            return;
        };
        if let Some(batch) = self.batch.take() {
            for seat in self.seats.iter_mut().skip(self.at) {
                seat.behind.get_or_insert(batch.first().max(seat.from));
            }
        }
        lane.abandon(std::mem::take(&mut self.seats));
    }
}

impl Pass {
    pub(crate) fn new(core: Arc<RoomCore>, lane: usize) -> Self {
        let seats = core
            .lanes
            .get(lane)
            .map(Lane::take_seats)
            .unwrap_or_default();
        Self {
            core,
            lane,
            seats: seats.list,
            batch: None,
            at: 0,
            retry: seats.lag,
            lags: false,
            delivered: 0,
            is_over: false,
        }
    }

    /// Works for a turn; true if there is more to do.
    pub(crate) fn step(&mut self) -> bool {
        let goes_on = self.deliver();
        let metrics = &self.core.metrics;
        // Once a turn: hubs would contend for the number.
        metrics.delivered(std::mem::take(&mut self.delivered));
        goes_on
    }

    fn deliver(&mut self) -> bool {
        let mut left = DELIVERIES;
        if std::mem::take(&mut self.retry) && self.nothing_waits() {
            for seat in &mut self.seats {
                catch_up(seat, &self.core, &mut self.delivered);
            }
        }
        loop {
            if let Some(batch) = &mut self.batch {
                while let Some(seat) = self.seats.get_mut(self.at) {
                    if left == 0 {
                        return true;
                    }
                    left -= 1;
                    self.at += 1;
                    if seat.behind.is_some() {
                        // What it lacks stands in the history, this batch included.
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

    fn nothing_waits(&self) -> bool {
        self.core.lanes.get(self.lane).is_none_or(Lane::is_empty)
    }

    /// Takes joins and leaves up to the next messages; false when the lane is empty.
    fn take_work(&mut self) -> bool {
        let Some(lane) = self.core.lanes.get(self.lane) else {
            return false;
        };
        match lane.take_work(&mut self.seats) {
            Work::Posts(posts) => {
                self.batch = Some(Batch::new(posts));
                self.at = 0;
            }
            Work::Replay(replay) => {
                if let Some(seat) = self.seats.last_mut() {
                    seat.deliver(&mut Batch::new(replay), &mut self.delivered);
                }
            }
            Work::Done { lag } => {
                self.lags = lag;
                self.is_over = true;
            }
        }
        !self.is_over
    }
}

/// Reads on from the history; a member that the history has moved past is let go.
fn catch_up(seat: &mut Seat, core: &RoomCore, delivered: &mut u64) {
    let Some(behind) = seat.behind else { return };
    if !seat.outbox.is_open() {
        seat.behind = None;
        return;
    }
    let Some(missed) = core.missed(behind) else {
        core.metrics.member_dropped();
        tracing::debug!(room = %core.name, member = %seat.id, "reads too slowly: let go");
        seat.let_go();
        return;
    };
    seat.deliver_missed(&missed, delivered);
}
