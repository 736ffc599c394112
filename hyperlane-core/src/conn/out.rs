//! The sending side of a lane: its queue, and the writes to the socket.
//!
//! Bytes that the socket does not accept at once go into the queue. Senders use the functions in [`send`](super::send).

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};

use super::{
    barrier::Barriers,
    cork::{Piece, Pieces},
    driver::signals,
    lane::LaneRef,
    lifecycle::Sending,
    link::Link,
    transport::Writer,
    wakers::Wakers,
};
use crate::{
    env::timers::Tick,
    observe::{ByteCounter, metrics::Metrics},
    proto::ws::{Message, encode_message},
};

/// Maximum number of buffers per system call.
const VECTORED: usize = 16;

/// The task fetches more of a streamed body only while the queue has at most this many bytes. This is enough to keep a
/// fast client busy, and costs little memory per slow client.
pub(super) const BODY_MARK: usize = 128 * 1024;

/// A piece in the queue.
struct Entry {
    bytes: Bytes,
    /// True if this entry ends with the head of a frame whose payload is the next entry. This entry then ends with a
    /// frame head. The next entry is the large payload, which is not copied.
    is_continued: bool,
}

/// The queued pieces in wire order. An empty queue takes one word.
#[derive(Default)]
struct Queue(Option<Box<Waiting>>);

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Queue {
    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.bytes)
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn front(&self) -> Option<&Entry> {
        self.0.as_ref()?.entries.front()
    }

    fn push(&mut self, entry: Entry) {
        let waiting = self.0.get_or_insert_default();
        waiting.bytes += entry.bytes.len();
        waiting.entries.push_back(entry);
    }

    /// Removes the first `written` bytes.
    fn advance(&mut self, mut written: usize) {
        let Some(waiting) = &mut self.0 else {
            return;
        };
        waiting.bytes = waiting.bytes.saturating_sub(written);
        while let Some(front) = waiting.entries.front_mut() {
            if front.bytes.len() > written {
                front.bytes.advance(written);
                return;
            }
            written -= front.bytes.len();
            waiting.entries.pop_front();
        }
        self.0 = None;
    }

    /// Keeps the first entry and its continuation, and drops all other entries. The socket may have accepted a part of
    /// the first entry already.
    fn keep_first(&mut self) {
        let Some(waiting) = &mut self.0 else {
            return;
        };
        let entries = &mut waiting.entries;
        let last = entries.iter().position(|entry| !entry.is_continued);
        entries.truncate(last.map_or(entries.len(), |at| at + 1));
        waiting.bytes = entries.iter().map(|entry| entry.bytes.len()).sum();
    }

    /// Fills `slices` for one write; returns the number of filled slices.
    fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; VECTORED]) -> usize {
        let entries = self.0.iter().flat_map(|waiting| &waiting.entries);
        let mut count = 0;
        for (slot, entry) in slices.iter_mut().zip(entries) {
            *slot = IoSlice::new(&entry.bytes);
            count += 1;
        }
        count
    }
}

/// The state that the lock `out` protects.
pub(crate) struct Out {
    writer: Writer,
    queue: Queue,
    /// Number of bytes that the socket has accepted.
    sent: u64,
    /// The tick since which the socket has accepted nothing although the queue is not empty, or since which the transport
    /// holds bytes that the socket has not accepted.
    stalled_since: Tick,
    /// True while the transport itself, such as TLS, holds bytes that have left the queue.
    is_unflushed: bool,
    last_sent: Tick,
    /// The barriers of a connection that is in rooms, with what they hold.
    pub(super) barriers: Option<Box<Barriers>>,
    /// Tasks that wait for room in the queue or for the end of the connection.
    pub(super) waiters: Wakers,
    /// True if the connection's task waits for room for more of a streamed body.
    awaits_body_room: bool,
    /// True if bytes have left the queue since the waiters were last woken.
    has_drained: bool,
    /// True if the queue was filled from the cork, and no write has been tried since. The socket may accept its bytes.
    is_fresh: bool,
    /// True if writes call the operating system even when tokio has not reported the socket as writable. The first
    /// write that fails clears this flag; see [`try_write_more`](Self::try_write_more).
    skips_readiness: bool,
    /// The compressor of a connection that uses context takeover: it refers to earlier messages. It has to compress
    /// messages in wire order, so the lock `out` protects it.
    #[cfg(feature = "deflate")]
    pub(super) compressor: Option<Box<crate::proto::ws::deflate::Compressor>>,
}

impl Out {
    pub(super) fn new(writer: Writer, now: Tick) -> Self {
        Self {
            writer,
            queue: Queue::default(),
            sent: 0,
            stalled_since: now,
            is_unflushed: false,
            last_sent: now,
            barriers: None,
            waiters: Wakers::default(),
            awaits_body_room: false,
            has_drained: false,
            is_fresh: false,
            skips_readiness: false,
            #[cfg(feature = "deflate")]
            compressor: None,
        }
    }

    /// Returns the number of bytes in the queue and behind barriers.
    pub(crate) fn queued(&self) -> usize {
        self.queue.bytes() + self.held_weight()
    }

    /// Returns the number of bytes in the queue.
    pub(super) fn queue_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Returns the number of bytes that the socket will get: those in the queue and those behind barriers.
    pub(super) fn unsent(&self) -> usize {
        let held = self.barriers.as_ref();
        self.queue.bytes() + held.map_or(0, |barriers| barriers.held_bytes())
    }

    /// Records that bytes have left the outbox.
    pub(super) fn set_drained(&mut self) {
        self.has_drained = true;
    }

    /// Returns the number of bytes that the socket has accepted.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Counts bytes that were sent beside the queue.
    #[cfg(feature = "http2")]
    pub(crate) fn count_sent(&mut self, count: usize) {
        self.sent += count as u64;
    }

    pub(super) fn last_sent(&self) -> Tick {
        self.last_sent
    }

    /// Returns the tick since which the socket has accepted nothing; `None` while nothing waits for it.
    pub(super) fn stalled_since(&self) -> Option<Tick> {
        (!self.queue.is_empty() || self.is_unflushed).then_some(self.stalled_since)
    }

    /// Returns whether the queue is empty, and the transport itself holds the last bytes.
    pub(super) fn is_flushing(&self) -> bool {
        self.is_unflushed && self.queue.is_empty()
    }

    /// Records whether the transport holds bytes that have left the queue.
    fn set_unflushed(&mut self, is_unflushed: bool, now: Tick) {
        if is_unflushed && !self.is_unflushed {
            self.stalled_since = now;
        }
        self.is_unflushed = is_unflushed;
    }

    pub(super) fn take_waiters(&mut self) -> Wakers {
        std::mem::take(&mut self.waiters)
    }

    pub(super) fn add_waiter(&mut self, waker: &Waker) {
        self.waiters.add(waker);
    }

    /// Requests a wake of the connection's task. The task is woken as soon as the queue holds at most [`BODY_MARK`]
    /// bytes, or at most `outbox_bytes` if that is lower. The queue then has room for more of a streamed body.
    pub(super) fn set_awaits_body_room(&mut self) {
        self.awaits_body_room = true;
    }

    /// Changes the queue and the metric of its size. No other function changes the queue.
    fn change_queue(&mut self, metrics: &Metrics, change: impl FnOnce(&mut Queue)) {
        let before = self.queue.bytes();
        change(&mut self.queue);
        metrics.outbox_changed(before, self.queue.bytes());
    }

    pub(super) fn enqueue(&mut self, lane: LaneRef<'_>, bytes: Bytes, is_continued: bool) {
        if bytes.is_empty() {
            return;
        }
        if self.queue.is_empty() {
            self.stalled_since = lane.link.now();
        }
        self.change_queue(&lane.link.env.metrics, |queue| {
            queue.push(Entry {
                bytes,
                is_continued,
            });
        });
    }

    /// Counts `written` bytes as sent, and removes them from the front of the queue.
    fn advance(&mut self, written: usize, link: &Link) {
        self.has_drained = true;
        self.sent += written as u64;
        self.stalled_since = link.now();
        self.change_queue(&link.env.metrics, |queue| queue.advance(written));
    }

    pub(super) fn encode(&mut self, message: &Message) -> Vec<u8> {
        let mut frame = Vec::new();
        #[cfg(feature = "deflate")]
        if let Some(compressor) = &mut self.compressor {
            compressor.encode(message, None, &mut frame);
            return frame;
        }
        encode_message(message, &mut frame);
        frame
    }

    /// Frees the compressor with its window of earlier messages. The program may keep handles long after the connection
    /// has ended, and each handle keeps this `Out` in memory.
    pub(super) fn drop_window(&mut self) {
        #[cfg(feature = "deflate")]
        {
            self.compressor = None;
        }
    }

    /// Drops the queue except its first entry and the continuation of this entry. The socket may have accepted a part
    /// of the first entry already.
    pub(super) fn drop_unsent(&mut self, metrics: &Metrics) {
        self.has_drained = true;
        self.change_queue(metrics, Queue::keep_first);
    }

    /// Writes a piece; queues the part that the socket does not accept.
    pub(super) fn write(&mut self, lane: LaneRef<'_>, piece: Piece<'_>) {
        let bytes = piece.as_slice();
        let taken = self.write_now(lane, &[IoSlice::new(bytes)]);
        if taken < bytes.len() && !lane.lane.life.is_lost() {
            self.enqueue(lane, piece.keep_from(taken), false);
            lane.set_backlog();
        }
    }

    /// Tries to write bytes, and returns the number of bytes that the socket has accepted. Leaves an error to the next
    /// write, which meets it again.
    #[inline]
    pub(super) fn try_write(&mut self, lane: LaneRef<'_>, bytes: &[u8]) -> usize {
        if !self.queue.is_empty() {
            return 0;
        }
        self.last_sent = lane.link.now();
        let slices = &[IoSlice::new(bytes)];
        let taken = write_some(&self.writer, &mut self.skips_readiness, slices).unwrap_or(0);
        self.sent += taken as u64;
        taken
    }

    /// Writes pieces in one system call; queues the part that the socket does not accept.
    pub(super) fn write_pieces(&mut self, lane: LaneRef<'_>, pieces: Pieces<'_>) {
        if pieces.shared.is_empty() {
            return self.write(lane, Piece::copied(pieces.bytes));
        }
        let mut slices = [IoSlice::new(&[]); VECTORED];
        let mut count = 0;
        pieces.for_each(|piece| {
            if let Some(slot) = slices.get_mut(count) {
                *slot = IoSlice::new(piece.as_slice());
                count += 1;
            }
        });
        let taken = self.write_now(lane, slices.get(..count).unwrap_or_default());
        if !lane.lane.life.is_lost() {
            self.keep(lane, pieces, taken);
        }
    }

    /// Queues the pieces of the cork. The next flush writes them.
    pub(super) fn queue_cork(&mut self, lane: LaneRef<'_>, pieces: Pieces<'_>) {
        self.is_fresh |= self.queue.is_empty();
        self.keep(lane, pieces, 0);
    }

    /// Writes the queue if it was filled from the cork, and no write has been tried since.
    pub(super) fn write_fresh(&mut self, lane: LaneRef<'_>) {
        if self.is_fresh {
            self.write_queue(lane, true);
        }
    }

    /// Queues the pieces without their first `taken` bytes, which the socket has accepted.
    pub(super) fn keep(&mut self, lane: LaneRef<'_>, pieces: Pieces<'_>, mut taken: usize) {
        pieces.for_each(|piece| {
            let length = piece.as_slice().len();
            if taken < length {
                self.enqueue(lane, piece.keep_from(taken), piece.is_continued());
            }
            taken = taken.saturating_sub(length);
        });
        if !self.queue.is_empty() {
            lane.set_backlog();
        }
    }

    /// Writes as much as the socket accepts now, and returns the number of bytes. Writes nothing if the queue is not
    /// empty.
    fn write_now(&mut self, lane: LaneRef<'_>, slices: &[IoSlice<'_>]) -> usize {
        self.last_sent = lane.link.now();
        if !self.queue.is_empty() {
            return 0;
        }
        loop {
            match write_some(&self.writer, &mut self.skips_readiness, slices) {
                Ok(taken) => {
                    self.sent += taken as u64;
                    return taken;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return 0,
                    _ => {
                        self.lose(lane);
                        return 0;
                    }
                },
            }
        }
    }

    /// Marks the sending side as lost after an error of the transport, drops the queue and signals the task.
    pub(super) fn lose(&mut self, lane: LaneRef<'_>) {
        lane.lane.life.advance(Sending::Lost);
        self.has_drained = true;
        self.change_queue(&lane.link.env.metrics, |queue| *queue = Queue::default());
        self.drop_held(lane);
        lane.link.driver.signal(signals::LOST);
    }

    /// Ends the socket's sending direction.
    pub(super) fn shut_down(&mut self) {
        self.writer.shutdown();
    }

    /// Takes the socket's sending half.
    #[cfg(feature = "http2")]
    pub(super) fn take_writer(&mut self) -> Writer {
        std::mem::replace(&mut self.writer, Writer::Closed)
    }

    /// Frees the socket's sending half.
    pub(super) fn close(&mut self) {
        self.writer.close();
    }

    /// Writes as much from the front of the queue as the socket accepts.
    fn write_front(&mut self) -> io::Result<usize> {
        self.is_fresh = false;
        let Self {
            queue,
            writer,
            skips_readiness,
            ..
        } = self;
        let mut slices = [IoSlice::new(&[]); VECTORED];
        let count = queue.gather(&mut slices);
        write_some(
            writer,
            skips_readiness,
            slices.get(..count).unwrap_or_default(),
        )
    }

    /// Writes as much of the queue as the socket accepts now, if the queue was empty before. The task writes the rest.
    pub(super) fn write_queue(&mut self, lane: LaneRef<'_>, was_empty: bool) {
        self.last_sent = lane.link.now();
        while was_empty && !self.queue.is_empty() {
            match self.write_front() {
                Ok(written) => self.advance(written, lane.link),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => break,
                    _ => self.lose(lane),
                },
            }
        }
        if !self.queue.is_empty() {
            lane.set_backlog();
        }
    }

    /// Flushes the queue into a socket. Ready when the queue is empty.
    fn poll_flush(&mut self, lane: LaneRef<'_>, cx: &mut Context<'_>) -> Poll<()> {
        while !self.queue.is_empty() {
            match self.write_front() {
                Ok(written) => self.advance(written, lane.link),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => match self.writer.poll_writable(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => self.lose(lane),
                    },
                    _ => self.lose(lane),
                },
            }
        }
        lane.lane.end_backlog();
        Poll::Ready(())
    }

    /// Returns the waiters to wake if the outbox is at most the high-water mark `outbox_bytes`. Also wakes the
    /// connection's task if the task waits for room for a body, and the queue is at most at its own, lower mark.
    ///
    /// Waiters are returned only after bytes have left the queue. Otherwise a future that waits inside the connection's
    /// task would be a busy loop: each flush would wake the task, and the task would flush again, while the client
    /// reads nothing.
    pub(super) fn take_ready_waiters(&mut self, lane: LaneRef<'_>) -> Wakers {
        let queued = self.queued();
        if self.awaits_body_room && queued <= lane.body_mark() {
            self.awaits_body_room = false;
            lane.link.driver.wake();
        }
        let mut ready = Wakers::default();
        if self.has_drained && queued <= lane.link.env.config.outbox_bytes {
            self.has_drained = false;
            ready = self.take_waiters();
        }
        if let Some(barriers) = &mut self.barriers {
            barriers.take_drained(self.queue.bytes(), &mut ready);
        }
        ready
    }

    /// Writes a part of the queue even if tokio has not reported the socket as writable. Returns whether the socket
    /// accepted bytes, or true for an empty queue.
    ///
    /// Linux reports a socket as writable only when a third of its buffer is free, and a slow client may take long to
    /// read that much. The first calls of this function fill the rest of the buffer. From then on, a result of true
    /// means that the client has read more.
    pub(super) fn try_write_more(&mut self, link: &Link) -> bool {
        let Self {
            queue,
            writer,
            skips_readiness,
            ..
        } = self;
        let written = match queue.front() {
            Some(front) => {
                *skips_readiness = true;
                write_some(writer, skips_readiness, &[IoSlice::new(&front.bytes)])
            }
            None => return true,
        };
        match written {
            Ok(written @ 1..) => {
                self.advance(written, link);
                true
            }
            _ => false,
        }
    }
}

impl ByteCounter for Link {
    fn bytes_sent(&self) -> u64 {
        self.lane().bytes_sent()
    }
}

impl Link {
    /// Flushes the queue. Ready when the queue is empty. Only the connection's task calls this.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        let lane = self.lane();
        let is_driven = self.lane.lock_out().writer.is_driven();
        let flushed = match is_driven {
            true => self.poll_flush_driven(cx),
            false => self.lane.lock_out().poll_flush(lane, cx),
        };
        let waiters = self.lane.lock_out().take_ready_waiters(lane);
        waiters.wake();
        flushed
    }

    /// Flushes the queue into a transport other than a plain socket. Only the task drives such a transport. The
    /// transport's reader also writes, so this function locks `input`.
    fn poll_flush_driven(&self, cx: &mut Context<'_>) -> Poll<()> {
        let lane = self.lane();
        let mut input = self.lock_input();
        let mut out = self.lane.lock_out();
        while !out.queue.is_empty() {
            let written = {
                let mut slices = [IoSlice::new(&[]); VECTORED];
                let count = out.queue.gather(&mut slices);
                input
                    .reader
                    .poll_write_driven(cx, slices.get(..count).unwrap_or_default())
            };
            match written {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(written)) if written > 0 => out.advance(written, self),
                Poll::Ready(_) => out.lose(lane),
            }
        }
        let flushed = input.reader.poll_flush_driven(cx);
        out.set_unflushed(flushed.is_pending(), self.now());
        if ready!(flushed).is_err() {
            out.lose(lane);
        }
        #[cfg(feature = "http2")]
        if let Some(stream) = input.reader.http2() {
            stream.end_if_whole();
        }
        self.lane.end_backlog();
        Poll::Ready(())
    }
}

/// Writes as much as the socket accepts. If `skips_readiness` is true, calls the system without checking the readiness
/// that tokio has recorded. A write that fails sets `skips_readiness` to false.
#[inline(always)]
fn write_some(
    writer: &Writer,
    skips_readiness: &mut bool,
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    let written = match *skips_readiness {
        true => writer.write_skipping_readiness(slices),
        false => writer.try_write(slices),
    };
    *skips_readiness &= written.is_ok();
    written
}
