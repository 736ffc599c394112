//! Shards: the part of a room that one hub serves.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::time::Instant;

use super::{
    core::RoomCore,
    hub::Hub,
    membership::{Membership, Release},
    seat::{Batch, Behind, Gone, Seat, Seats},
    waiters::Load,
};
use crate::{
    config::{RoomLimits, SlowPolicy},
    ledger::{Ledger, Totals},
    locks::{Locked, lock},
    post::Post,
};

mod queue;

pub(crate) use self::queue::Pause;
use self::queue::{ShardQueue, WakeState};

/// Maximum size of the messages that a pass merges into one write, in bytes. Each message counts with its overhead. The
/// last message of a batch may exceed the limit.
const BATCH_BYTES: usize = 64 * 1024;

/// Maximum number of joins and leaves that a pass takes from the queue in one call.
const CHANGES_PER_TURN: usize = 256;

/// Number of commands for which an empty queue keeps the memory. It spares rooms an allocation for each message.
const COMMANDS_KEPT: usize = 4;

/// An entry of a shard's queue.
pub(crate) enum Command {
    Join {
        membership: Arc<Membership>,
        /// The number of the first message that the member receives.
        from: u64,
        /// The number of the room's last message when the member joined.
        last: u64,
    },
    Leave(u64),
    Post(Arc<Post>),
    Release(Release),
}

/// The part of a room that one hub serves: the seats of members, and a queue of messages, joins and leaves. The
/// messages are in the queue in the order of their numbers.
pub(crate) struct Shard {
    core: Weak<RoomCore>,
    hub: Arc<Hub>,
    index: usize,
    queue: Mutex<ShardQueue>,
    /// The seats of members. Only the shard's hub locks the seats, so the lock is never contended. While a pass runs,
    /// the pass holds the seats, and this field is empty. Two passes over one shard must therefore not run at the same
    /// time.
    seats: Mutex<Seats>,
    /// Number of commands that were ever in the queue.
    begun: AtomicU64,
    /// Number of commands that were carried out: all live members have received the messages among them.
    done: AtomicU64,
    /// Size and number of the messages in the queue.
    queued_bytes: AtomicUsize,
    queued_posts: AtomicUsize,
    /// Number of the joins and leaves in the queue.
    queued_changes: AtomicUsize,
    /// The number of the oldest message of the log that a member may still need.
    needed: AtomicU64,
    /// The number of the oldest message that a member has not received.
    claimed: AtomicU64,
    /// Size of the outboxes of slow members that have to be freed by closing their connections, in bytes.
    to_close: AtomicUsize,
    /// True if the log keeps for slow members what they have not received.
    keeps_missed: bool,
    /// Size of the messages that a pass merges into one write.
    batch_bytes: usize,
    totals: Arc<Totals>,
}

/// The work that a pass takes from a shard's queue in one call.
pub(crate) enum Work {
    /// Messages for the live members.
    Batch(Batch),
    /// Members have joined or left; or sends that waited for no message can go on.
    Changes(Gone),
    /// No work, and `take_work` has put the seats back into the shard.
    Done,
    /// The queue has messages, but the hub pauses. `take_work` has put the seats back into the shard.
    Paused(Instant),
}

impl Shard {
    pub(crate) fn new(
        core: Weak<RoomCore>,
        hub: Arc<Hub>,
        index: usize,
        totals: Arc<Totals>,
        limits: &RoomLimits,
    ) -> Self {
        Self {
            core,
            hub,
            index,
            queue: Mutex::default(),
            seats: Mutex::default(),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            queued_bytes: AtomicUsize::new(0),
            queued_posts: AtomicUsize::new(0),
            queued_changes: AtomicUsize::new(0),
            needed: AtomicU64::new(u64::MAX),
            claimed: AtomicU64::new(u64::MAX),
            to_close: AtomicUsize::new(0),
            keeps_missed: limits.keeps_missed(),
            // What a room that conflates has merged can no longer be replaced by newer messages.
            batch_bytes: match limits.slow {
                SlowPolicy::Conflate => BATCH_BYTES / 8,
                _ => BATCH_BYTES,
            },
            totals,
        }
    }

    fn lock_queue(&self) -> Locked<'_, ShardQueue> {
        lock(&self.queue)
    }

    fn lock_seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the room. Returns `None` if the room is being dropped.
    pub(crate) fn core(&self) -> Option<Arc<RoomCore>> {
        self.core.upgrade()
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn is_of(&self, core: &RoomCore) -> bool {
        std::ptr::eq(self.core.as_ptr(), core)
    }

    /// Returns whether all commands were carried out.
    pub(crate) fn is_clear(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.begun.load(Ordering::Acquire)
    }

    /// Returns the number of commands that were ever in the queue.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Returns whether the first `count` commands were carried out.
    pub(crate) fn has_done(&self, count: u64) -> bool {
        self.done.load(Ordering::Acquire) >= count
    }

    /// Returns the number of the oldest message of the log that a member may still need.
    pub(crate) fn needed(&self) -> u64 {
        self.needed.load(Ordering::Acquire)
    }

    /// Returns the number of the oldest message that a member has not received.
    pub(crate) fn claimed(&self) -> u64 {
        self.claimed.load(Ordering::Acquire)
    }

    /// Notes that connections of slow members have to be closed until their outboxes have freed `bytes`. The caller
    /// wakes the hub.
    pub(crate) fn close_farthest(&self, bytes: usize) {
        self.to_close.store(bytes, Ordering::Release);
    }

    /// Takes the note of [`close_farthest`](Self::close_farthest).
    pub(crate) fn take_to_close(&self) -> usize {
        match self.to_close.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.to_close.swap(0, Ordering::AcqRel),
        }
    }

    /// Returns whether the queue has room for a message of `bytes`. Only the thread that holds the room's lock adds
    /// messages, so the answer stays true while it holds the lock.
    pub(crate) fn has_room(&self, bytes: usize, limits: &RoomLimits) -> bool {
        self.has_room_beside(Load::default(), bytes, limits)
    }

    /// Returns whether the queue has room for a message of `bytes` beside what is promised to others.
    pub(crate) fn has_room_beside(
        &self,
        promised: Load,
        bytes: usize,
        limits: &RoomLimits,
    ) -> bool {
        let posts = self.queued_posts.load(Ordering::Acquire) + promised.count;
        let queued = self.queued_bytes.load(Ordering::Acquire) + promised.bytes;
        posts == 0 || posts < limits.queue_messages && queued + bytes <= limits.queue_bytes
    }

    /// Returns whether the queue has room for a join beside `promised` ones. Leaves always find room, because each of
    /// them follows a join.
    pub(crate) fn has_room_for_joins(&self, promised: usize, limits: &RoomLimits) -> bool {
        self.queued_changes.load(Ordering::Acquire) + promised < limits.queue_messages.max(1)
    }

    /// Returns whether the queue is more than half full: messages are published faster than the hub delivers them.
    fn is_flooded(&self, limits: &RoomLimits) -> bool {
        self.queued_posts.load(Ordering::Acquire) > limits.queue_messages / 2
            || self.queued_bytes.load(Ordering::Acquire) > limits.queue_bytes / 2
    }

    /// Appends a command. The caller wakes the hub after it has released its locks.
    pub(crate) fn enqueue(&self, command: Command) {
        let mut queue = self.lock_queue();
        match &command {
            Command::Post(post) => {
                self.queued_posts.fetch_add(1, Ordering::AcqRel);
                self.queued_bytes
                    .fetch_add(post.queue_bytes(), Ordering::AcqRel);
            }
            Command::Join { from, .. } => {
                self.queued_changes.fetch_add(1, Ordering::AcqRel);
                queue.push_need(*from);
                self.needed.fetch_min(*from, Ordering::AcqRel);
                self.claimed.fetch_min(*from, Ordering::AcqRel);
            }
            Command::Leave(_) => {
                self.queued_changes.fetch_add(1, Ordering::AcqRel);
            }
            Command::Release(_) => {}
        }
        self.begun.fetch_add(1, Ordering::AcqRel);
        queue.commands.push_back(command);
    }

    /// Wakes the hub for this shard. Returns false if no task can run the hub.
    pub(crate) fn wake(self: &Arc<Self>) -> bool {
        self.hub.wake(self)
    }

    /// Notes that the outbox of a member has room again, and wakes the hub.
    pub(crate) fn drained(self: &Arc<Self>, id: u64) {
        {
            let mut queue = self.lock_queue();
            // Often the same member is named again and again: each of its own sends does.
            if queue.drained.last() != Some(&id) {
                queue.drained.push(id);
            }
            queue.paused_until = None;
        }
        self.hub.enqueue(self);
    }

    /// Returns the end of the current pause.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.lock_queue().paused_until
    }

    /// Ends a pause at once. The caller wakes the hub.
    pub(super) fn end_pause(&self) {
        self.lock_queue().paused_until = None;
    }

    /// Discards the queue, because no task can run the hub or the room is dropped. Passes on the sends that wait in it.
    pub(crate) fn clear(&self) {
        let commands = {
            let mut queue = self.lock_queue();
            self.queued_posts.store(0, Ordering::Release);
            self.queued_bytes.store(0, Ordering::Release);
            self.queued_changes.store(0, Ordering::Release);
            self.done.store(self.begun(), Ordering::Release);
            queue.joins_need = VecDeque::new();
            queue.wake = WakeState::Idle;
            if std::mem::take(&mut queue.is_busy) {
                self.totals.shard_ended();
            }
            std::mem::take(&mut queue.commands)
        };
        for command in commands {
            if let Command::Release(release) = command {
                release.pass();
            }
        }
    }

    /// Marks the hub as woken for this shard. Returns false if the hub was woken already, or if the shard is paused.
    pub(super) fn mark_woken(&self, now: impl FnOnce() -> Instant) -> bool {
        let mut queue = self.lock_queue();
        if queue.wake == WakeState::Woken {
            return false;
        }
        if let Some(until) = queue.paused_until {
            if now() < until {
                return false;
            }
            queue.paused_until = None;
        }
        queue.wake = WakeState::Woken;
        if !std::mem::replace(&mut queue.is_busy, true) {
            self.totals.shard_began();
        }
        true
    }

    fn set_idle(&self, queue: &mut ShardQueue, seats: Seats) {
        queue.wake = WakeState::Idle;
        // A shard that pauses stays busy: sends of the members wait for its queue.
        if queue.commands.is_empty() && std::mem::take(&mut queue.is_busy) {
            self.totals.shard_ended();
        }
        self.set_needed(queue, &seats);
        // The seats are put back under the queue's lock. The next pass can start only after the lock is released, and
        // therefore finds the seats.
        *self.lock_seats() = seats;
    }

    fn set_needed(&self, queue: &ShardQueue, seats: &Seats) {
        let joins_need = queue.joins_need.front().copied().unwrap_or(u64::MAX);
        let (needed, claimed) = seats.needed(self.keeps_missed);
        let store = |place: &AtomicU64, needed: u64| {
            place.store(needed.min(joins_need), Ordering::Release);
        };
        store(&self.needed, needed);
        store(&self.claimed, claimed);
    }

    /// Returns the time when the first of the slow members will have taken nothing for too long.
    pub(crate) fn stall_at(&self) -> Option<Instant> {
        self.lock_seats().stall_at
    }

    pub(crate) fn take_seats(&self) -> Seats {
        std::mem::take(&mut *self.lock_seats())
    }

    /// Puts back the seats of a pass that is dropped before its end. The next pass runs over all members that are
    /// behind.
    pub(crate) fn put_back(self: &Arc<Self>, seats: Seats) {
        let has_work = {
            let mut queue = self.lock_queue();
            queue.drained.extend(seats.behind.keys());
            self.set_idle(&mut queue, seats);
            self.set_done(&queue);
            !queue.commands.is_empty() || !queue.drained.is_empty()
        };
        if has_work {
            self.hub.enqueue(self);
        }
    }

    /// Returns the members that are behind and whose outbox has room again.
    pub(crate) fn take_drained(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock_queue().drained)
    }

    /// Notes that the live members have received all messages that were taken from the queue.
    pub(crate) fn set_delivered(&self, seats: &Seats) {
        let queue = self.lock_queue();
        self.set_needed(&queue, seats);
        self.set_done(&queue);
    }

    /// Notes that all commands were carried out except those in the queue.
    fn set_done(&self, queue: &ShardQueue) {
        let done = self.begun() - queue.commands.len() as u64;
        self.done.store(done, Ordering::Release);
    }

    pub(crate) fn is_queue_empty(&self) -> bool {
        self.lock_queue().commands.is_empty()
    }

    /// Carries out the joins and leaves at the front of the queue. Otherwise takes the messages there, up to the next
    /// join or leave and up to [`BATCH_BYTES`]. `pause` gives the pause to make if the queue is more than half full.
    pub(crate) fn take_work(
        self: &Arc<Self>,
        seats: &mut Seats,
        limits: &RoomLimits,
        ledger: &Ledger,
        pause: impl FnOnce(&Seats) -> Option<Pause>,
    ) -> Work {
        let mut queue = self.lock_queue();
        match queue.commands.front() {
            None => {
                if queue.commands.capacity() > COMMANDS_KEPT {
                    queue.commands = VecDeque::new();
                }
                self.set_done(&queue);
                if !queue.drained.is_empty() {
                    return Work::Changes(Gone::default());
                }
                self.set_idle(&mut queue, std::mem::take(seats));
                Work::Done
            }
            Some(Command::Post(_)) => {
                if self.is_flooded(limits)
                    && queue.drained.is_empty()
                    && let Some(pause) = pause(seats)
                    && queue.pause(pause)
                {
                    self.set_idle(&mut queue, std::mem::take(seats));
                    return Work::Paused(pause.until);
                }
                Work::Batch(self.take_batch(&mut queue))
            }
            Some(_) => {
                let is_change = |command: &Command| !matches!(command, Command::Post(_));
                let front = queue.commands.iter().take(CHANGES_PER_TURN);
                let count = front.take_while(|command| is_change(command)).count();
                let changes: Vec<_> = queue.commands.drain(..count).collect();
                drop(queue);
                Work::Changes(self.carry_out(changes, seats, ledger))
            }
        }
    }

    fn take_batch(&self, queue: &mut ShardQueue) -> Batch {
        let (mut posts, mut releases) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        while bytes < self.batch_bytes {
            match queue.commands.pop_front() {
                Some(Command::Post(post)) => {
                    bytes += post.queue_bytes();
                    posts.push(post);
                }
                Some(Command::Release(release)) => releases.push((posts.len(), release)),
                Some(change) => {
                    queue.commands.push_front(change);
                    break;
                }
                None => break,
            }
        }
        self.queued_posts.fetch_sub(posts.len(), Ordering::AcqRel);
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        Batch::new(posts, releases)
    }

    /// Carries out joins, leaves and releases that were taken from the queue. Returns what is left of members that have
    /// left, and the releases that wait for no message.
    fn carry_out(
        self: &Arc<Self>,
        changes: Vec<Command>,
        seats: &mut Seats,
        ledger: &Ledger,
    ) -> Gone {
        let mut leaving = Vec::new();
        let mut gone = Gone {
            changes: changes.len(),
            ..Gone::default()
        };
        let (mut behind, mut needs) = (Vec::new(), Vec::new());
        let mut count = 0;
        for change in changes {
            match change {
                Command::Join {
                    membership,
                    from,
                    last,
                } => {
                    count += 1;
                    needs.push(from);
                    if leaving.contains(&membership.id) {
                        // The connection has left and joins again.
                        seats.remove(&leaving, ledger, &mut gone);
                        leaving.clear();
                    }
                    behind.extend(self.seat(seats, membership, from, last, &mut gone));
                }
                Command::Leave(id) => {
                    count += 1;
                    match seats.behind.get_mut(&id) {
                        // It still receives what was published before.
                        Some(member) if member.position != u64::MAX => {
                            member.leave_after(seats.cursor);
                            member.seat.membership().set_departing(self, true);
                            behind.push(id);
                        }
                        _ => leaving.push(id),
                    }
                }
                Command::Release(release) => {
                    let cursor = seats.cursor;
                    match seats.behind.get_mut(&release.id()) {
                        Some(behind) if !leaving.contains(&release.id()) => {
                            behind.add_release(cursor, release);
                        }
                        _ => gone.releases.push(release),
                    }
                }
                // The caller has taken none.
                Command::Post(_) => {}
            }
        }
        seats.remove(&leaving, ledger, &mut gone);
        self.queued_changes.fetch_sub(count, Ordering::AcqRel);
        let mut queue = self.lock_queue();
        queue.drained.extend(behind);
        self.set_done(&queue);
        for need in needs {
            queue.pop_need(need);
        }
        gone
    }

    /// Gives a member a seat. Returns its number if it is behind from now on.
    fn seat(
        self: &Arc<Self>,
        seats: &mut Seats,
        membership: Arc<Membership>,
        from: u64,
        last: u64,
        gone: &mut Gone,
    ) -> Option<u64> {
        let id = membership.id;
        seats.cursor = seats.cursor.max(last);
        if let Some(member) = seats.behind.get_mut(&id) {
            // The connection has left while it was behind, and joins again.
            if !member.join_again(from, last) {
                gone.overflowed.push(id);
            }
            membership.set_departing(self, false);
            return None;
        }
        let seat = Seat::new(membership);
        if from > seats.cursor {
            seats.add_live(seat);
            return None;
        }
        let mut member = Behind::new(seat, from, false);
        member.replay_until = last;
        seats.add_behind(member);
        Some(id)
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let queue = self.queue.get_mut();
        if queue.unwrap_or_else(PoisonError::into_inner).is_busy {
            self.totals.shard_ended();
        }
    }
}

#[cfg(test)]
mod tests;
