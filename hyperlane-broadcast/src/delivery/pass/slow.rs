//! The part of a pass that concerns members that are behind: slow ones, and new ones that receive the history first.

use std::sync::Arc;

use hyperlane_core::{CloseCode, hub::Undelivered};
use tokio::time::{Duration, Instant};

use super::Pass;
use crate::{
    config::SlowPolicy,
    delivery::{
        seat::{Batch, Behind, Courier, Delivery, Seats},
        shard::Pause,
    },
    post::{Draft, Post},
};

/// Maximum time for which a flooded room waits for members that are nearly as fast. Also the least time between two
/// looks at the same stalled member.
const PAUSE: Duration = Duration::from_millis(100);

impl Pass {
    /// Delivers a part of what a member has missed. The member's outbox has room, or the member is new.
    pub(super) fn catch_up(&mut self, id: u64, budget: &mut usize) {
        let cursor = self.seats.cursor;
        let policy = self.core.limits.slow;
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        // A connection that is about to close still takes what was published before.
        if behind.position == u64::MAX {
            return behind.pass_releases();
        }
        behind.position = behind.position.max(self.core.cleared_before());
        if behind.count_outbox(&self.core.ledger) {
            behind.progress = Instant::now();
        }
        behind.pass_due_releases();
        let is_in_log = behind.needs_log(self.core.limits.keeps_missed());
        let (last, end) = (behind.last(cursor), behind.until.min(cursor));
        if !is_in_log && policy == SlowPolicy::DropNewest {
            self.skip_to(id, end + 1);
        }
        let is_behind = |behind: &Behind| behind.position <= last;
        let is_behind = self.seats.behind.get(&id).is_some_and(is_behind);
        if is_behind && !is_in_log {
            // The notice comes after the newest messages: what they replace is known only then.
            return self.catch_up_conflated(id, budget);
        }
        if !self.deliver_notice(id, budget) {
            return;
        }
        match is_behind {
            true => self.catch_up_from_log(id, budget),
            false => self.end_stay(id),
        }
    }

    /// Ends the stay of a member that has received all messages of it: the member is live, or goes on with its next stay,
    /// or has left.
    fn end_stay(&mut self, id: u64) {
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        if behind.until == u64::MAX {
            return self.set_live(id);
        }
        match behind.begin_next_stay() {
            true => self.due.push_back(id),
            false => self.depart(id),
        }
    }

    /// Removes a member that has left while it was behind.
    fn depart(&mut self, id: u64) {
        if let Some(mut behind) = self.seats.take_behind(id, &self.core.ledger) {
            behind.seat.membership().set_departing(&self.shard, false);
            behind.pass_releases();
            self.has_progressed = true;
        }
    }

    fn catch_up_from_log(&mut self, id: u64, budget: &mut usize) {
        let Some(behind) = self.seats.behind.get(&id) else {
            return;
        };
        let (from, last) = (behind.position, behind.last(self.seats.cursor));
        if !self.fetch_part(from, last) {
            self.lose_place(id);
            return self.due.push_back(id);
        }
        let mut courier = Courier::of_log(&self.core, &self.shard, *budget);
        let behind = self.seats.behind.get_mut(&id);
        let Some((behind, (_, next, batch))) = behind.zip(self.part.as_mut()) else {
            return;
        };
        let delivery = match batch.posts.is_empty() {
            true => Delivery::Done,
            false => courier.deliver(&behind.seat, batch),
        };
        let delivered = courier.delivered;
        *budget = courier.budget().saturating_sub(1);
        self.delivered += delivered;
        match delivery {
            Delivery::Done => {
                behind.position = *next;
                behind.progress = Instant::now();
                self.go_on(id);
            }
            Delivery::Paused(at) => {
                behind.position = batch.number_before(at) + 1;
                behind.progress = Instant::now();
                self.due.push_back(id);
            }
            Delivery::Held(number) => {
                behind.position = number;
                self.await_release(id);
            }
            Delivery::Full(number) => {
                if delivered > 0 {
                    behind.progress = Instant::now();
                }
                behind.position = number;
                self.set_slow(id);
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

    /// Delivers some of the messages that the room keeps for slow members: the newest of each key.
    fn catch_up_conflated(&mut self, id: u64, budget: &mut usize) {
        let cursor = self.seats.cursor;
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        let last = behind.last(cursor);
        let newest = self.core.read_conflated(behind.position, last);
        let mut courier = Courier::of_log(&self.core, &self.shard, *budget);
        let mut refused = None;
        let mut next = newest.last().map_or(last + 1, |last| last.number + 1);
        if next.saturating_sub(behind.position) > newest.len() as u64 {
            // The client learns of the gap before it has an id after it.
            let member = behind.seat.membership();
            member.set_gap(self.core.epoch, behind.position);
        }
        for post in &newest {
            let sent = courier.deliver_post(&behind.seat, post);
            if let Err(reason @ (Undelivered::Full | Undelivered::Held)) = sent {
                (refused, next) = (Some(reason), post.number);
                break;
            }
        }
        let passed = next.saturating_sub(behind.position);
        let missed = passed.saturating_sub(courier.delivered);
        behind.position = next;
        if courier.delivered > 0 {
            behind.progress = Instant::now();
        }
        self.delivered += courier.delivered;
        *budget = courier.budget().saturating_sub(1);
        self.note_missed(id, missed);
        match refused {
            Some(Undelivered::Held) => self.await_release(id),
            Some(_) => self.await_room(id),
            None => self.go_on(id),
        }
    }

    /// Goes on with a member whose outbox has room: it is live if it has caught up, and receives more later if not.
    fn go_on(&mut self, id: u64) {
        let cursor = self.seats.cursor;
        if let Some(behind) = self.seats.behind.get_mut(&id) {
            behind.pass_due_releases();
        }
        let has_caught_up =
            |behind: &Behind| behind.position > behind.until.min(cursor) && behind.missed == 0;
        match self.seats.behind.get(&id).is_some_and(has_caught_up) {
            true => self.end_stay(id),
            false => self.due.push_back(id),
        }
    }

    /// Sets the position of a member. The member misses the messages before it.
    fn skip_to(&mut self, id: u64, position: u64) {
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        let missed = position.saturating_sub(behind.position);
        if missed > 0 {
            let member = behind.seat.membership();
            member.set_gap(self.core.epoch, behind.position);
        }
        behind.position = position.max(behind.position);
        self.note_missed(id, missed);
    }

    fn note_missed(&mut self, id: u64, missed: u64) {
        if missed == 0 {
            return;
        }
        self.core.metrics.missed(missed);
        tracing::debug!(room = %self.core.name, member = id, missed, "slow room member missed messages");
        if let Some(behind) = self.seats.behind.get_mut(&id) {
            behind.missed += missed;
        }
    }

    /// Tells a member how many messages it has missed, if the room's limits say so. Returns false if the outbox has no
    /// room for the notice. The member receives it later.
    fn deliver_notice(&mut self, id: u64, budget: &mut usize) -> bool {
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return true;
        };
        if behind.missed == 0 {
            return true;
        }
        *budget = budget.saturating_sub(1);
        let mut courier = Courier::of_log(&self.core, &self.shard, *budget);
        let mut sent = courier.deliver_gap(&behind.seat);
        let notice = self.core.limits.missed_notice.as_ref();
        if sent.is_ok()
            && let Some(message) = notice.and_then(|notice| notice.message(behind.missed))
        {
            // Volatile: an event stream must not take it for a message of the room, which has an offset.
            let mut draft = Draft::new(message);
            draft.is_volatile = true;
            let post = Arc::new(Post::new(0, draft));
            sent = courier.deliver_post(&behind.seat, &post);
        }
        match sent {
            Err(Undelivered::Held) => {
                self.await_release(id);
                false
            }
            Err(Undelivered::Full) => {
                self.set_slow(id);
                self.await_room(id);
                false
            }
            Ok(()) | Err(Undelivered::Closed) => {
                behind.missed = 0;
                true
            }
        }
    }

    /// Notes that the outbox of a member has refused a message.
    pub(super) fn set_slow(&mut self, id: u64) {
        let limits = &self.core.limits;
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        if behind.is_slow {
            return;
        }
        behind.is_slow = true;
        behind.count_outbox(&self.core.ledger);
        self.core.metrics.member_slow();
        tracing::debug!(room = %self.core.name, member = id, "room member is slow");
        if limits.keeps_missed() {
            self.seats.note_slow(Instant::now() + limits.slow_stall);
        }
    }

    /// Registers for the time when the outbox of a slow member has room again.
    pub(super) fn await_room(&mut self, id: u64) {
        let limit = self.core.limits.outbox_limit() / 2;
        if let Some(behind) = self.seats.behind.get_mut(&id)
            && behind.await_room(&self.shard, limit)
        {
            self.due.push_back(id);
        }
    }

    /// Registers for the time when a connection holds nothing any more.
    pub(super) fn await_release(&mut self, id: u64) {
        if let Some(behind) = self.seats.behind.get_mut(&id)
            && behind.await_release(&self.shard)
        {
            self.due.push_back(id);
        }
    }

    /// Finds the members whose place the log no longer keeps.
    pub(super) fn drop_lost(&mut self) {
        let first = self.core.log_first();
        if self.seats.behind.is_empty() || self.shard.needed() >= first {
            return;
        }
        let keeps_missed = self.core.limits.keeps_missed();
        let cleared = self.core.cleared_before();
        let is_lost = |behind: &Behind| {
            behind.position.max(cleared) < first && behind.needs_log(keeps_missed)
        };
        for id in self.ids_of(is_lost) {
            self.lose_place(id);
        }
    }

    fn ids_of(&self, is_wanted: impl Fn(&Behind) -> bool) -> Vec<u64> {
        let behind = self.seats.behind.iter();
        let wanted = behind.filter(|(_, behind)| is_wanted(behind));
        wanted.map(|(id, _)| *id).collect()
    }

    /// Acts on a member whose place the log no longer keeps, as the room's policy says.
    fn lose_place(&mut self, id: u64) {
        match self.core.limits.slow {
            SlowPolicy::Disconnect => self.disconnect(id),
            _ => self.skip_to(id, self.core.log_first()),
        }
    }

    /// Ends the earlier stays of a member that has left and joined too often while it was behind, as the room's policy
    /// says.
    pub(super) fn lose_stays(&mut self, id: u64) {
        if self.core.limits.slow == SlowPolicy::Disconnect {
            return self.disconnect(id);
        }
        if let Some(behind) = self.seats.behind.get_mut(&id) {
            let from = behind.end_earlier_stays();
            self.skip_to(id, from);
        }
    }

    /// Closes the connection of a slow member: a WebSocket with code 1013. The member leaves when the connection has
    /// closed. A connection that has left already stays open, and loses the rest.
    fn disconnect(&mut self, id: u64) {
        let Some(behind) = self.seats.behind.get_mut(&id) else {
            return;
        };
        if behind.has_left() {
            return self.depart(id);
        }
        behind.position = u64::MAX;
        self.core.metrics.slow_member_closed();
        tracing::debug!(room = %self.core.name, member = id, "slow room member closed");
        let outlet = behind.seat.outlet();
        outlet.close(CloseCode::TRY_AGAIN_LATER, "reads too slowly", true);
        behind.pass_releases();
    }

    /// Acts on slow members that have taken nothing for too long.
    pub(super) fn close_stalled(&mut self) {
        let now = Instant::now();
        if self.seats.stall_at.is_none_or(|at| now < at) {
            return;
        }
        let stall = self.core.limits.slow_stall;
        let ledger = &self.core.ledger;
        for behind in self.seats.behind.values_mut() {
            // A slow client may read for a long time until its outbox has room again.
            if behind.is_kept_slow() && behind.count_outbox(ledger) {
                behind.progress = now;
            }
        }
        let is_stalled = |behind: &Behind| behind.is_kept_slow() && behind.progress + stall <= now;
        let stalled = self.ids_of(is_stalled);
        let history_first = self.core.history_first();
        for id in stalled {
            match self.core.limits.slow {
                SlowPolicy::Disconnect => self.disconnect(id),
                _ => self.skip_to(id, history_first),
            }
            if let Some(behind) = self.seats.behind.get_mut(&id) {
                behind.progress = now;
            }
        }
        let kept = self.seats.behind.values();
        let kept = kept.filter(|behind| behind.is_kept_slow());
        self.seats.stall_at = kept
            .map(|behind| (behind.progress + stall).max(now + PAUSE))
            .min();
    }

    /// Closes the connections of the slow members that are farthest behind, if too much waits for slow members in all
    /// rooms together.
    pub(super) fn close_farthest(&mut self) {
        let mut bytes = self.shard.take_to_close();
        if bytes == 0 {
            return;
        }
        let slow = self.seats.behind.iter();
        let slow = slow.filter(|(_, behind)| behind.is_kept_slow());
        let mut slow: Vec<_> = slow
            .map(|(id, behind)| (behind.position, behind.progress, *id, behind.waiting))
            .collect();
        slow.sort_unstable();
        for (_, _, id, waiting) in slow {
            if bytes == 0 {
                return;
            }
            bytes = bytes.saturating_sub(waiting);
            self.disconnect(id);
        }
        if bytes > 0 {
            self.core.close_farthest(bytes, self.shard.index() + 1);
        }
    }
}

/// Returns the pause that a flooded room makes: some members are behind, but have taken messages a moment ago.
pub(super) fn pause_for(seats: &Seats) -> Option<Pause> {
    /// The pause is for a few if it helps a smaller part of the members than one of this many.
    const FEW: usize = 8;
    let now = Instant::now();
    let slow = seats.behind.values();
    let progress = slow
        .filter(|behind| behind.is_kept_slow() && behind.progress + PAUSE > now)
        .map(|behind| behind.progress);
    let (count, last) = progress.fold((0, None), |(count, last), progress| {
        (count + 1, last.max(Some(progress)))
    });
    Some(Pause {
        now,
        until: last? + PAUSE,
        is_for_few: count < (seats.live.len() + seats.behind.len()).div_ceil(FEW),
    })
}
