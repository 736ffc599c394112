//! Barriers: the order between a connection's own sends and messages that other tasks deliver to the connection.
//!
//! A room delivers its messages by tasks of its own. A task may publish a message in a room, and then send to one of
//! the room's members, or close its connection. The send would overtake the message, which is still on its way. So the
//! room adds a [`Barrier`] to the connection. While something is on its way, the connection does not write its own
//! bytes. It *holds* them under a ticket, and asks the barrier to release the ticket. Messages that the room delivers
//! ([`Outbox::__deliver`](crate::Outbox::__deliver)) pass.
//!
//! - A ticket stands for the bytes of one write, or for a last word: a Close frame, or the end of an event stream.
//!   Everything that is written after held bytes is held as well. A release sends what is held up to its ticket.
//! - Held bytes count as queued: they fill the outbox up to its high-water mark. They do not count against the limit of
//!   a delivery, because the delivery has to come first.
//! - Control frames that the connection sends by itself pass, because their order does not matter. These are pongs,
//!   the pings of the heartbeat and the comments of an event stream.
//! - A barrier that neither delivers nor releases holds bytes for at most
//!   [`outbox_stall`](crate::ServerConfig::outbox_stall), and a last word for at most
//!   [`close_timeout`](crate::ServerConfig::close_timeout). The connection then sends what it holds.

// Long: the barrier of a connection is one set of states. What is held, who waits for it and who passes it are read together.

use std::{collections::VecDeque, mem, sync::Arc, task::Waker};

use bytes::Bytes;

use super::{
    cork::{Piece, Pieces, SHARE_FROM, SPILL},
    driver::signals,
    end::{EndHook, HookList},
    lane::LaneRef,
    lifecycle::Sending,
    link::Link,
    out::Out,
    wakers::Wakers,
};
use crate::{
    env::timers::{MaybeTick, Tick},
    proto::ws::Message,
};

/// Number of bytes that each held entry counts in addition to its payload. So many small sends reach the high-water
/// mark as well.
const OVERHEAD: usize = 64;

/// A ticket is the number of a held write, times this number, plus the index of the barrier that it is for.
const INDEXES: u64 = 1 << 16;

/// Messages on their way to a connection by another path than the connection's own sends.
///
/// The connection calls [`is_clear`](Self::is_clear) under a lock of its own. The implementation must therefore not
/// call the connection's [`Outbox`](crate::Outbox) there, and must not wait for a thread that calls it. No other method
/// is called under a lock of the connection.
///
/// The connection drops its barriers as soon as it takes no more messages. Until then, a barrier may own an `Outbox` of
/// its connection.
pub trait Barrier: Send + Sync + 'static {
    /// Returns whether nothing is on its way to the connection. The connection calls this method once per write of its
    /// own bytes, so the method must be cheap.
    fn is_clear(&self) -> bool;

    /// Requests a call of [`Outbox::__release`](crate::Outbox::__release) with `ticket`, once everything that is on its
    /// way at the time of this call has been delivered or given up. The implementation may call `__release` at once,
    /// within `hold`. A ticket may come after a later one if several threads send.
    ///
    /// If the implementation releases a ticket before it delivers what was published after this call, then a send also
    /// comes before the messages that its sender publishes afterwards.
    fn hold(&self, ticket: u64);
}

/// Whether a delivery may overtake what the connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastHeld {
    /// It may: the message was on its way before the connection's own sends that are held.
    Yes,
    /// It may not: these sends may have come first.
    No,
}

/// The reason why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The outbox has too many bytes.
    Full,
    /// The connection holds sends of its own, which the delivery may not overtake.
    Held,
    /// The connection takes no more messages, or belongs to a channel.
    Closed,
}

/// What a connection keeps for code that delivers to it: its barriers, what they hold, and who waits. A connection in
/// no room has none of it.
#[derive(Default)]
pub(super) struct Barriers {
    list: Box<[Listed]>,
    /// The number of the last held write.
    last: u64,
    held: Option<Box<Held>>,
    /// Wakers of tasks that wait until the queue has at most this number of bytes.
    #[expect(
        clippy::box_collection,
        reason = "rarely used, and a `Vec` takes three words"
    )]
    draining: Option<Box<Vec<(usize, Waker)>>>,
    on_closed: HookList,
}

struct Listed {
    barrier: Arc<dyn Barrier>,
    /// The number of the last held write that this barrier has released.
    released: u64,
}

/// What a connection holds, in wire order. Never empty.
struct Held {
    entries: VecDeque<(u64, Item)>,
    /// The length of all entries, without [`OVERHEAD`].
    bytes: usize,
    /// The tick of the last progress: of the first entry, of a release or of a delivery.
    since: Tick,
    /// The tick by which the last word is sent; none if no last word is held.
    last_by: MaybeTick,
    /// Wakers of tasks whose messages may not overtake what is held.
    waiters: Vec<Waker>,
}

enum Item {
    Bytes {
        bytes: Bytes,
        is_continued: bool,
    },
    /// A message for a compressor that has to see the messages in wire order.
    Message(Message),
    Last {
        bytes: Bytes,
        after: AfterLast,
    },
}

/// What the connection does after its last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterLast {
    /// Waits for the Close frame of the peer.
    AwaitClose,
    /// Closes the transport.
    Close,
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Bytes { bytes, .. } | Self::Last { bytes, .. } => bytes.len(),
            Self::Message(message) => message.len(),
        }
    }
}

impl Held {
    /// Returns the number of bytes that count as queued.
    fn weight(&self) -> usize {
        self.bytes + self.entries.len() * OVERHEAD
    }
}

impl Barriers {
    /// Returns whether the connection has to hold what it would write now.
    #[inline]
    fn blocks(&self) -> bool {
        self.held.is_some() || self.list.iter().any(|listed| !listed.barrier.is_clear())
    }

    /// Returns the number of held bytes, as they count in the outbox.
    pub(super) fn weight(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.weight())
    }

    /// Returns the number of held bytes without the overhead of the entries.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.bytes)
    }

    /// Adds a barrier. Ignores one that the connection has already. Also ignores a barrier after the first 65 536,
    /// because tickets have no number for it.
    fn add(&mut self, barrier: Arc<dyn Barrier>) {
        let is_known = |listed: &Listed| Arc::ptr_eq(&listed.barrier, &barrier);
        if self.list.iter().any(is_known) || self.list.len() as u64 >= INDEXES {
            return;
        }
        let mut list = mem::take(&mut self.list).into_vec();
        list.push(Listed {
            barrier,
            released: self.last,
        });
        self.list = list.into_boxed_slice();
    }

    /// Records the release of a ticket. Returns the number up to which all barriers have released.
    fn release(&mut self, ticket: u64) -> Option<u64> {
        let index = usize::try_from(ticket % INDEXES).ok()?;
        let listed = self.list.get_mut(index)?;
        listed.released = listed.released.max((ticket / INDEXES).min(self.last));
        self.list.iter().map(|listed| listed.released).min()
    }

    /// Moves the wakers whose limit the queue has reached to `wakers`.
    pub(super) fn take_drained(&mut self, queued: usize, wakers: &mut Wakers) {
        let Some(draining) = &mut self.draining else {
            return;
        };
        draining.retain(|(limit, waker)| {
            let stays = queued > *limit;
            if !stays {
                wakers.add(waker);
            }
            stays
        });
        if draining.is_empty() {
            self.draining = None;
        }
    }

    fn await_drained(&mut self, limit: usize, waker: &Waker) {
        let draining = self.draining.get_or_insert_default();
        match draining.iter_mut().find(|(_, it)| it.will_wake(waker)) {
            // The higher limit is reached first. A task that also waits for the lower one registers again then.
            Some((known, _)) => *known = limit.max(*known),
            None => draining.push((limit, waker.clone())),
        }
    }

    /// Runs the hooks and wakes all waiting tasks, after the connection has ended to take messages.
    fn end(self) {
        for (_, waker) in self.draining.into_iter().flat_map(|draining| *draining) {
            waker.wake();
        }
        self.on_closed.run();
    }
}

impl Out {
    /// Returns whether a write has to be held.
    #[inline]
    pub(super) fn is_barred(&self) -> bool {
        self.barriers
            .as_ref()
            .is_some_and(|barriers| barriers.blocks())
    }

    /// Holds entries as one write. Returns the number of the write, for [`LaneRef::ask`].
    fn hold(&mut self, lane: LaneRef<'_>, items: impl FnOnce(&mut dyn FnMut(Item))) -> u64 {
        let link = lane.link;
        let before = self.held_weight();
        let barriers = self.barriers.get_or_insert_default();
        barriers.last += 1;
        let number = barriers.last;
        let held = barriers.held.get_or_insert_with(|| {
            Box::new(Held {
                entries: VecDeque::new(),
                bytes: 0,
                since: link.now(),
                last_by: MaybeTick::NONE,
                waiters: Vec::new(),
            })
        });
        items(&mut |item| {
            held.bytes += item.len();
            if let Item::Last { .. } = item {
                let by = link.now().after(link.env.config.close_timeout);
                held.last_by.set(by);
                link.arm(by);
            }
            held.entries.push_back((number, item));
        });
        link.arm(held.since.after(link.env.config.outbox_stall));
        lane.lane.set_held(true);
        let after = self.held_weight();
        link.env.metrics.outbox_changed(before, after);
        number
    }

    /// Holds a piece of the connection's own bytes.
    #[cold]
    pub(super) fn hold_bytes(&mut self, lane: LaneRef<'_>, bytes: Bytes) -> u64 {
        self.hold(lane, |push| {
            push(Item::Bytes {
                bytes,
                is_continued: false,
            });
        })
    }

    /// Holds the pieces of a cork.
    #[cold]
    pub(super) fn hold_pieces(&mut self, lane: LaneRef<'_>, pieces: Pieces<'_>) -> u64 {
        self.hold(lane, |push| {
            pieces.for_each(|piece| {
                push(Item::Bytes {
                    bytes: piece.keep_from(0),
                    is_continued: piece.is_continued(),
                });
            });
        })
    }

    /// Holds a message that has to be compressed in wire order.
    #[cold]
    pub(super) fn hold_message(&mut self, lane: LaneRef<'_>, message: Message) -> u64 {
        self.hold(lane, |push| push(Item::Message(message)))
    }

    /// Holds the last word.
    #[cold]
    pub(super) fn hold_last(&mut self, lane: LaneRef<'_>, bytes: &[u8], after: AfterLast) -> u64 {
        let bytes = Bytes::copy_from_slice(bytes);
        let number = self.hold(lane, |push| push(Item::Last { bytes, after }));
        lane.lane.life.advance(Sending::Held);
        number
    }

    /// Wakes the tasks whose messages might not overtake what was held. They try again: what is still held may be newer
    /// than their messages.
    fn wake_held_back(&mut self) {
        let held = self
            .barriers
            .as_mut()
            .and_then(|barriers| barriers.held.as_mut());
        if let Some(held) = held {
            let waiters = mem::take(&mut held.waiters);
            self.add_waiters(waiters);
        }
    }

    fn add_waiters(&mut self, waiters: Vec<Waker>) {
        for waiter in &waiters {
            self.add_waiter(waiter);
        }
    }

    /// Returns whether something is held.
    #[inline]
    fn is_holding(&self) -> bool {
        self.barriers
            .as_ref()
            .is_some_and(|barriers| barriers.held.is_some())
    }

    pub(super) fn held_weight(&self) -> usize {
        self.barriers
            .as_ref()
            .map_or(0, |barriers| barriers.weight())
    }

    /// Sends what is held up to the write `number`. Returns what follows if the last word was sent.
    pub(super) fn send_held(&mut self, lane: LaneRef<'_>, number: u64) -> Option<AfterLast> {
        let before = self.held_weight();
        if before == 0 {
            return None;
        }
        let mut after = None;
        let mut run = Run::default();
        let was_empty = self.queue_bytes() == 0;
        while let Some(item) = self.pop_held(number) {
            match item {
                Item::Bytes {
                    bytes,
                    is_continued,
                } => run.add(self, lane, bytes, is_continued),
                Item::Message(message) => {
                    let frame = self.encode(&message);
                    run.add(self, lane, frame.into(), false);
                }
                Item::Last { bytes, after: then } => {
                    run.enqueue(self, lane);
                    self.enqueue(lane, bytes, false);
                    lane.lane.life.advance(Sending::LastWord);
                    after = Some(then);
                }
            }
        }
        run.enqueue(self, lane);
        self.wake_held_back();
        let left = self.held_weight();
        lane.link.env.metrics.outbox_changed(before, left);
        if left == 0 {
            lane.lane.set_held(false);
        }
        self.note_progress(lane.link);
        self.set_drained();
        self.write_queue(lane, was_empty);
        after
    }

    fn pop_held(&mut self, number: u64) -> Option<Item> {
        let slot = &mut self.barriers.as_mut()?.held;
        let held = slot.as_mut()?;
        held.entries.front().filter(|(at, _)| *at <= number)?;
        let (_, item) = held.entries.pop_front()?;
        held.bytes -= item.len();
        if held.entries.is_empty() {
            let waiters = slot.take().map(|held| held.waiters).unwrap_or_default();
            self.add_waiters(waiters);
        }
        Some(item)
    }

    /// Drops what is held. Returns the Close frame that was held, if there was one.
    pub(super) fn drop_held(&mut self, lane: LaneRef<'_>) -> Option<Bytes> {
        let mut held = self.barriers.as_mut()?.held.take()?;
        lane.link.env.metrics.outbox_changed(held.weight(), 0);
        lane.lane.set_held(false);
        self.add_waiters(mem::take(&mut held.waiters));
        self.set_drained();
        match held.entries.pop_back() {
            Some((_, Item::Last { bytes, .. })) => Some(bytes),
            _ => None,
        }
    }

    /// Records that a message was delivered or a ticket released: the barriers work.
    pub(super) fn note_progress(&mut self, link: &Link) {
        if let Some(barriers) = &mut self.barriers
            && let Some(held) = &mut barriers.held
        {
            held.since = link.now();
        }
    }

    /// Returns the tick at which the connection no longer waits for its barriers; `None` if nothing is held.
    fn held_until(&self, link: &Link) -> Option<Tick> {
        let held = self.barriers.as_ref()?.held.as_ref()?;
        let by = held.since.after(link.env.config.outbox_stall);
        Some(held.last_by.get().map_or(by, |last| last.min(by)))
    }
}

/// Small entries on their way to the queue. They are joined, because each entry of the queue costs a part of a system
/// call.
#[derive(Default)]
struct Run {
    /// The only entry, which is not copied.
    only: Bytes,
    joined: Vec<u8>,
    is_continued: bool,
}

impl Run {
    fn add(&mut self, out: &mut Out, lane: LaneRef<'_>, bytes: Bytes, is_continued: bool) {
        let length = self.only.len() + self.joined.len();
        let is_large = bytes.len() >= SHARE_FROM;
        if is_large || length + bytes.len() > SPILL {
            self.enqueue(out, lane);
        }
        if self.only.is_empty() && self.joined.is_empty() {
            self.only = bytes;
        } else {
            self.joined.extend_from_slice(&mem::take(&mut self.only));
            self.joined.extend_from_slice(&bytes);
        }
        self.is_continued = is_continued;
        if is_large {
            self.enqueue(out, lane);
        }
    }

    /// Moves the bytes to the queue.
    fn enqueue(&mut self, out: &mut Out, lane: LaneRef<'_>) {
        let run = mem::take(self);
        let bytes = match run.joined.is_empty() {
            true => run.only,
            false => run.joined.into(),
        };
        out.enqueue(lane, bytes, run.is_continued);
    }
}

impl LaneRef<'_> {
    /// Asks the barriers to release the write `number`. Not called under a lock of the connection.
    #[cold]
    pub(super) fn ask(self, number: u64) {
        for index in 0..INDEXES {
            let barrier = {
                let out = self.lane.lock_out();
                let barriers = out.barriers.as_ref();
                let listed = usize::try_from(index)
                    .ok()
                    .and_then(|index| barriers?.list.get(index));
                match listed {
                    Some(listed) if listed.released < number => listed.barrier.clone(),
                    // This barrier was added later, or has released a later write.
                    Some(_) => continue,
                    None => return,
                }
            };
            barrier.hold(number * INDEXES + index);
        }
    }

    /// Sends whole messages past the barriers. `limit` is the maximum size of the queue at which this succeeds, in
    /// bytes, besides the outbox's high-water mark.
    ///
    /// # Errors
    /// [`Undelivered::Full`] if the queue is above the limit, [`Undelivered::Held`] if the lane holds sends that the
    /// message may not overtake, [`Undelivered::Closed`] if the last word of the lane was sent.
    pub(super) fn deliver(
        self,
        bytes: &Bytes,
        limit: usize,
        past: PastHeld,
    ) -> Result<(), Undelivered> {
        self.deliver_by(limit, past, |out| out.write(self, Piece::Shared(bytes)))
    }

    /// Encodes a message, compressed in wire order, and sends it like [`deliver`](Self::deliver).
    pub(super) fn deliver_message(
        self,
        message: &Message,
        limit: usize,
        past: PastHeld,
    ) -> Result<(), Undelivered> {
        self.deliver_by(limit, past, |out| {
            let bytes = Bytes::from(out.encode(message));
            out.write(self, Piece::Shared(&bytes));
        })
    }

    /// Sends what `encode` returns like [`deliver`](Self::deliver). Calls it under the lock of the lane, and only if the
    /// lane takes the messages.
    pub(super) fn deliver_with(
        self,
        limit: usize,
        past: PastHeld,
        encode: impl FnOnce() -> Bytes,
    ) -> Result<(), Undelivered> {
        self.deliver_by(limit, past, |out| {
            let bytes = encode();
            if !bytes.is_empty() {
                out.write(self, Piece::Shared(&bytes));
            }
        })
    }

    #[inline]
    fn deliver_by(
        self,
        limit: usize,
        past: PastHeld,
        write: impl FnOnce(&mut Out),
    ) -> Result<(), Undelivered> {
        let mut out = self.lane.lock_out();
        if !self.lane.life.takes_deliveries() {
            return Err(Undelivered::Closed);
        }
        if out.queue_bytes() > limit.min(self.link.env.config.outbox_bytes) {
            return Err(Undelivered::Full);
        }
        if past == PastHeld::No && out.is_holding() {
            return Err(Undelivered::Held);
        }
        write(&mut out);
        out.note_progress(self.link);
        match self.lane.life.is_lost() {
            true => Err(Undelivered::Closed),
            false => Ok(()),
        }
    }

    pub(super) fn add_barrier(self, barrier: Arc<dyn Barrier>) {
        let mut out = self.lane.lock_out();
        if self.lane.life.takes_deliveries() {
            out.barriers.get_or_insert_default().add(barrier);
            self.lane.set_has_barriers();
        } else {
            drop(out);
            drop(barrier);
        }
    }

    /// Sends what was held for a ticket.
    pub(super) fn release(self, ticket: u64) {
        let (after, waiters) = {
            let mut out = self.lane.lock_out();
            let barriers = out.barriers.as_mut();
            let Some(number) = barriers.and_then(|barriers| barriers.release(ticket)) else {
                return;
            };
            let after = out.send_held(self, number);
            (after, out.take_ready_waiters(self))
        };
        waiters.wake();
        self.follow_last(after);
    }

    /// Sends everything that is held if the barriers have taken too long. Returns the tick for the next check; `None`
    /// if nothing is held.
    pub(super) fn check_held(self, now: Tick) -> Option<Tick> {
        let until = self.lane.lock_out().held_until(self.link)?;
        if until > now {
            return Some(until);
        }
        tracing::debug!(
            peer = %self.link.peer(),
            "messages on their way were not delivered in time: the connection sends its own messages"
        );
        let (after, waiters) = {
            let mut out = self.lane.lock_out();
            let after = out.send_held(self, u64::MAX);
            (after, out.take_ready_waiters(self))
        };
        waiters.wake();
        self.follow_last(after);
        None
    }

    fn follow_last(self, after: Option<AfterLast>) {
        match after {
            None => {}
            Some(AfterLast::AwaitClose) => self.await_close(),
            Some(AfterLast::Close) => self.link.signal_close(),
        }
    }

    /// Limits the time of the closing handshake, after the server has sent its Close.
    pub(super) fn await_close(self) {
        let by = self.link.now().after(self.link.env.config.close_timeout);
        self.link.lock_input().close_by.set(by);
        self.link.arm(by);
        self.link.driver.signal(signals::RECHECK);
        self.settle_closed();
    }

    /// See [`Outbox::__poll_drained`](crate::Outbox::__poll_drained).
    pub(super) fn poll_drained(self, limit: usize, waker: &Waker) -> bool {
        let limit = limit.min(self.link.env.config.outbox_bytes);
        let mut out = self.lane.lock_out();
        if !self.lane.life.takes_deliveries() || out.queue_bytes() <= limit {
            return true;
        }
        out.barriers
            .get_or_insert_default()
            .await_drained(limit, waker);
        false
    }

    /// See [`Outbox::__poll_released`](crate::Outbox::__poll_released).
    pub(super) fn poll_released(self, waker: &Waker) -> bool {
        let mut out = self.lane.lock_out();
        let barriers = out.barriers.as_mut();
        match barriers.and_then(|barriers| barriers.held.as_mut()) {
            Some(held) if self.lane.life.takes_deliveries() => {
                held.waiters.push(waker.clone());
                false
            }
            _ => true,
        }
    }

    /// See [`Outbox::__on_closed`](crate::Outbox::__on_closed).
    pub(super) fn on_closed(self, hook: EndHook) {
        let mut out = self.lane.lock_out();
        if self.lane.life.takes_deliveries() {
            let barriers = out.barriers.get_or_insert_default();
            barriers.on_closed.push(0, hook);
        } else {
            drop(out);
            super::end::run_end_hook(hook);
        }
    }

    /// If the connection takes no more messages, drops its barriers, runs the hooks of `on_closed` and wakes the tasks
    /// that wait until the queue has drained. Not called under a lock of the connection.
    pub(super) fn settle_closed(self) {
        if self.lane.life.takes_deliveries() {
            return;
        }
        let barriers = {
            let mut out = self.lane.lock_out();
            out.drop_held(self);
            out.barriers.take()
        };
        if let Some(barriers) = barriers {
            barriers.end();
        }
    }
}

#[cfg(test)]
mod tests;
