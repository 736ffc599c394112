//! The sending side of a connection: the outbox.
//!
//! Anyone may send. A sender takes a short lock, never held across an await, and if nothing is waiting
//! writes to the socket there and then; only what the socket does not take is queued. The
//! connection's task sends the queue on when the socket takes bytes again.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};

use super::{
    Conn,
    cork::{self, Piece, Pieces},
    signals,
    transport::Writer,
    wakers::Wakers,
};
use crate::{
    env::timers::Tick,
    error::PushError,
    observe::{ByteCounter, metrics::Metrics},
    proto::ws::{Message, encode_message},
};

/// Buffers handed to one system call.
const VECTORED: usize = 16;

/// Bytes that may wait for the client before more of a body is fetched: enough to keep a fast one busy, while many slow
/// ones cost little each.
const BODY_MARK: usize = 128 * 1024;

/// What may still be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Anything.
    Open,
    /// Only what is queued: a last word (a Close frame, a last chunk) stands at its end.
    Ending,
    /// Nothing; the transport is gone.
    Over,
}

/// What waits in the queue.
struct Entry {
    bytes: Bytes,
    /// Its last message goes on in the next entry: a large payload follows its head from where it is.
    goes_on: bool,
}

/// What waits, in the order of the wire. Takes one word while nothing does.
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

    /// Takes `written` bytes off the front.
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

    /// Drops all but the first message, which may be partly on the wire.
    fn keep_first(&mut self) {
        let Some(waiting) = &mut self.0 else {
            return;
        };
        let entries = &mut waiting.entries;
        let last = entries.iter().position(|entry| !entry.goes_on);
        entries.truncate(last.map_or(entries.len(), |at| at + 1));
        waiting.bytes = entries.iter().map(|entry| entry.bytes.len()).sum();
    }

    /// What goes into one write; gives how many slices it is.
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

/// The queue behind the lock.
pub(crate) struct Out {
    pub(crate) writer: Writer,
    queue: Queue,
    /// Bytes that the socket has taken.
    sent: u64,
    pub(crate) sending: Sending,
    /// Since when the socket takes nothing although something waits.
    stalled_since: Tick,
    pub(crate) last_sent: Tick,
    /// Tasks that wait for room or for the end of the connection.
    pub(super) waiters: Wakers,
    /// The task itself waits for the queue to fall below [`BODY_MARK`].
    body_waits: bool,
    /// Something left the queue since those who wait were told.
    moved: bool,
    /// The socket has taken something although nothing said that it would: it is asked itself until it takes no more.
    unasked: bool,
    /// Compresses with context takeover: in the order of the wire, so behind the same lock.
    #[cfg(feature = "deflate")]
    pub(super) compressor: Option<Box<crate::proto::ws::deflate::Compressor>>,
}

impl Out {
    pub(crate) fn new(writer: Writer, now: Tick) -> Self {
        Self {
            writer,
            queue: Queue::default(),
            sent: 0,
            sending: Sending::Open,
            stalled_since: now,
            last_sent: now,
            waiters: Wakers::default(),
            body_waits: false,
            moved: false,
            unasked: false,
            #[cfg(feature = "deflate")]
            compressor: None,
        }
    }

    /// Bytes waiting.
    pub(crate) fn queued(&self) -> usize {
        self.queue.bytes()
    }

    /// Since when the peer has taken nothing, if something waits for it.
    pub(crate) fn stalled_since(&self) -> Option<Tick> {
        (!self.queue.is_empty()).then_some(self.stalled_since)
    }

    pub(crate) fn take_waiters(&mut self) -> Wakers {
        std::mem::take(&mut self.waiters)
    }

    pub(crate) fn add_waiter(&mut self, waker: &Waker) {
        self.waiters.add(waker);
    }

    /// Every change of what waits comes here.
    fn change_queue(&mut self, metrics: &Metrics, change: impl FnOnce(&mut Queue)) {
        let before = self.queue.bytes();
        change(&mut self.queue);
        metrics.outbox_changed(before, self.queue.bytes());
    }

    fn enqueue(&mut self, bytes: Bytes, goes_on: bool, now: Tick, metrics: &Metrics) {
        if bytes.is_empty() {
            return;
        }
        if self.queue.is_empty() {
            self.stalled_since = now;
        }
        self.change_queue(metrics, |queue| queue.push(Entry { bytes, goes_on }));
    }

    /// Takes `written` bytes off the front.
    fn advance(&mut self, written: usize, now: Tick, metrics: &Metrics) {
        self.moved = true;
        self.sent += written as u64;
        self.stalled_since = now;
        self.change_queue(metrics, |queue| queue.advance(written));
    }

    fn encode(&mut self, message: &Message) -> Vec<u8> {
        let mut frame = Vec::new();
        #[cfg(feature = "deflate")]
        if let Some(compressor) = &mut self.compressor {
            compressor.encode(message, None, &mut frame);
            return frame;
        }
        encode_message(message, &mut frame);
        frame
    }

    /// Gives the compressor's window back: handles may be kept long after the end.
    pub(super) fn drop_window(&mut self) {
        #[cfg(feature = "deflate")]
        {
            self.compressor = None;
        }
    }

    fn clear(&mut self, metrics: &Metrics) {
        self.moved = true;
        self.change_queue(metrics, |queue| *queue = Queue::default());
    }

    /// Drops what waits, except what may be partly on the wire, to the end of its message.
    pub(crate) fn drop_unsent(&mut self, metrics: &Metrics) {
        self.moved = true;
        self.change_queue(metrics, Queue::keep_first);
    }
}

impl ByteCounter for Conn {
    /// What the current poll has sent is included.
    fn bytes_sent(&self) -> u64 {
        let corked = cork::waiting(self.id);
        let out = self.lock_out();
        match out.sending {
            // Nothing of it will go out any more.
            Sending::Over => out.sent,
            _ => out.sent + (out.queue.bytes() + corked) as u64,
        }
    }
}

impl Conn {
    pub(crate) fn lock_out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends whole messages from any task, without waiting.
    pub(crate) fn push(&self, bytes: &Bytes) -> Result<(), PushError> {
        self.push_up_to(self.env.config.outbox_bytes, bytes)
    }

    /// As [`push`](Self::push), unless more than `mark` bytes are waiting.
    pub(super) fn push_up_to(&self, mark: usize, bytes: &Bytes) -> Result<(), PushError> {
        // What this connection's own handler sent earlier in the same poll goes first.
        self.flush_cork();
        let mut out = self.lock_out();
        match out.sending {
            Sending::Open => {}
            _ => return Err(PushError::Closed),
        }
        if out.queue.bytes() > mark {
            return Err(PushError::Full);
        }
        self.write(&mut out, Piece::Shared(bytes));
        match out.sending {
            Sending::Open => Ok(()),
            _ => Err(PushError::Closed),
        }
    }

    /// Sends a message as this connection alone needs it, from any task, without waiting.
    pub(crate) fn push_own(&self, message: &Message) -> Result<(), PushError> {
        self.push_own_up_to(self.env.config.outbox_bytes, message)
    }

    /// As [`push_own`](Self::push_own), unless more than `mark` bytes are waiting.
    pub(super) fn push_own_up_to(&self, mark: usize, message: &Message) -> Result<(), PushError> {
        self.flush_cork();
        let mut out = self.lock_out();
        if out.sending != Sending::Open {
            return Err(PushError::Closed);
        }
        if out.queue.bytes() > mark {
            return Err(PushError::Full);
        }
        let frame = Bytes::from(out.encode(message));
        if cork::is_polling(self.id) {
            // The order of compression is the order of the wire, so that the cork cannot hold it; the queue
            // can, and leaves in one write at the end of the poll.
            self.charge(32 + message.len() / 4);
            out.enqueue(frame, false, self.now(), &self.env.metrics);
            self.backlog_started();
            return Ok(());
        }
        self.write(&mut out, Piece::Shared(&frame));
        match out.sending {
            Sending::Open => Ok(()),
            _ => Err(PushError::Closed),
        }
    }

    /// Sends copied bytes at once or queues them, whatever waits already.
    pub(crate) fn push_slice(&self, bytes: &[u8]) -> Result<(), PushError> {
        self.flush_cork();
        let mut out = self.lock_out();
        if out.sending != Sending::Open {
            return Err(PushError::Closed);
        }
        self.write(&mut out, Piece::Copied(bytes));
        Ok(())
    }

    /// Sends the last bytes that will ever be sent here. What was queued before still goes out,
    /// unless `drop_unsent`.
    pub(crate) fn push_last(&self, bytes: &[u8], drop_unsent: bool) -> Result<(), PushError> {
        self.flush_cork();
        let mut out = self.lock_out();
        if out.sending != Sending::Open {
            return Err(PushError::Closed);
        }
        if drop_unsent {
            out.drop_unsent(&self.env.metrics);
        }
        self.write(&mut out, Piece::Copied(bytes));
        if out.sending == Sending::Open {
            out.sending = Sending::Ending;
        }
        self.set_not_open();
        Ok(())
    }

    /// Sends whole messages in the order of this connection's own sends, without waiting.
    pub(crate) fn send_bytes(&self, bytes: &Bytes) -> Result<(), PushError> {
        self.send_bytes_up_to(self.env.config.outbox_bytes, bytes)
    }

    /// As [`send_bytes`](Self::send_bytes), unless more than `mark` bytes are waiting.
    pub(super) fn send_bytes_up_to(&self, mark: usize, bytes: &Bytes) -> Result<(), PushError> {
        if !self.is_open() {
            self.note_sent_in_vain();
            return Err(PushError::Closed);
        }
        match cork::with(self.id, |cork| {
            self.charge(32 + bytes.len() / 4);
            cork.push(bytes);
            cork.is_full()
        }) {
            Some(true) => self.flush_cork(),
            Some(false) => {}
            None => return self.push_up_to(mark, bytes),
        }
        Ok(())
    }

    /// Writes what this connection's handler has sent in the current poll.
    pub(crate) fn flush_cork(&self) {
        cork::drain(self.id, |pieces| {
            let mut out = self.lock_out();
            if out.sending == Sending::Open {
                self.write_pieces(&mut out, pieces);
            }
        });
    }

    fn write(&self, out: &mut Out, piece: Piece<'_>) {
        let bytes = piece.as_slice();
        let taken = self.write_now(out, &[IoSlice::new(bytes)]);
        if taken < bytes.len() && out.sending != Sending::Over {
            out.enqueue(piece.keep_from(taken), false, self.now(), &self.env.metrics);
            self.backlog_started();
        }
    }

    fn write_pieces(&self, out: &mut Out, pieces: Pieces<'_>) {
        if pieces.shared.is_empty() {
            return self.write(out, Piece::Copied(pieces.bytes));
        }
        let mut slices = [IoSlice::new(&[]); VECTORED];
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces.iter()) {
            *slot = IoSlice::new(piece.as_slice());
            count += 1;
        }
        let mut taken = self.write_now(out, slices.get(..count).unwrap_or_default());
        if out.sending == Sending::Over {
            return;
        }
        let now = self.now();
        let mut pieces = pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            let length = piece.as_slice().len();
            if taken < length {
                let next = pieces.peek();
                let goes_on = matches!((&piece, next), (Piece::Copied(_), Some(Piece::Shared(_))));
                out.enqueue(piece.keep_from(taken), goes_on, now, &self.env.metrics);
            }
            taken = taken.saturating_sub(length);
        }
        if !out.queue.is_empty() {
            self.backlog_started();
        }
    }

    /// Writes at once what the socket takes; nothing if something waits already.
    fn write_now(&self, out: &mut Out, slices: &[IoSlice<'_>]) -> usize {
        out.last_sent = self.now();
        if !out.queue.is_empty() {
            return 0;
        }
        loop {
            match write_some(&out.writer, &mut out.unasked, slices) {
                Ok(taken) => {
                    out.sent += taken as u64;
                    return taken;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return 0,
                    _ => {
                        self.lost(out);
                        return 0;
                    }
                },
            }
        }
    }

    /// The transport failed: nothing more can be sent. The task notices by its signal.
    pub(super) fn lost(&self, out: &mut Out) {
        out.sending = Sending::Over;
        out.clear(&self.env.metrics);
        self.set_not_open();
        self.signal(signals::LOST);
    }

    /// Something waits: the task has to send it on.
    fn backlog_started(&self) {
        if !self.backlog.swap(true, Ordering::AcqRel) {
            self.arm(self.now().after(self.stall_time()));
            if !cork::is_polling(self.id) {
                self.wake();
            }
        }
    }

    /// Sends the queue on. Ready when nothing waits any more. Only the task calls this.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        let driven = self.lock_out().writer.is_driven();
        let flushed = if driven {
            self.poll_flush_driven(cx)
        } else {
            self.poll_flush_socket(cx)
        };
        let waiters = {
            let mut out = self.lock_out();
            if out.body_waits && out.queue.bytes() <= self.body_mark() {
                out.body_waits = false;
                self.wake();
            }
            // Without a move nothing has changed for them; one that is a part of the task itself would have it run again
            // and again while the client takes nothing.
            if out.moved && out.queue.bytes() <= self.env.config.outbox_bytes {
                out.moved = false;
                out.take_waiters()
            } else {
                Wakers::default()
            }
        };
        waiters.wake();
        flushed
    }

    fn poll_flush_socket(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut out = self.lock_out();
        loop {
            if out.queue.is_empty() {
                self.backlog.store(false, Ordering::Release);
                return Poll::Ready(());
            }
            let written = {
                let Out {
                    queue,
                    writer,
                    unasked,
                    ..
                } = &mut *out;
                let mut slices = [IoSlice::new(&[]); VECTORED];
                let count = queue.gather(&mut slices);
                write_some(writer, unasked, slices.get(..count).unwrap_or_default())
            };
            match written {
                Ok(written) => out.advance(written, self.now(), &self.env.metrics),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => match out.writer.poll_writable(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => self.lost(&mut out),
                    },
                    _ => self.lost(&mut out),
                },
            }
        }
    }

    fn poll_flush_driven(&self, cx: &mut Context<'_>) -> Poll<()> {
        // The task alone drives such a transport, so this lock is free; it comes before `out`.
        let mut input = self.lock_input();
        let mut out = self.lock_out();
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
                Poll::Ready(Ok(written)) if written > 0 => {
                    out.advance(written, self.now(), &self.env.metrics)
                }
                Poll::Ready(_) => self.lost(&mut out),
            }
        }
        match input.reader.poll_flush_driven(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.lost(&mut out),
        }
        self.backlog.store(false, Ordering::Release);
        Poll::Ready(())
    }

    /// Whether the socket takes a part of what waits, although nothing says so: Linux calls a socket
    /// writable again only when a third of its buffer is free, which a slow client needs long for. What it takes now is
    /// all it has room for, so that the next look tells whether the client has made more.
    pub(super) fn takes_more(&self) -> bool {
        let mut out = self.lock_out();
        let Out {
            queue,
            writer,
            unasked,
            ..
        } = &mut *out;
        let written = match queue.front() {
            Some(front) => {
                *unasked = true;
                write_some(writer, unasked, &[IoSlice::new(&front.bytes)])
            }
            None => return true,
        };
        match written {
            Ok(written @ 1..) => {
                out.advance(written, self.now(), &self.env.metrics);
                true
            }
            _ => false,
        }
    }

    /// Waits until the outbox has room; an error when nothing can be sent any more.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), PushError>> {
        if self.budget_is_spent() && cork::is_polling(self.id) {
            // A handler that sends in a loop to a fast reader would never wait: others first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Without a backlog there is room: the usual case costs one load.
        if !self.backlog.load(Ordering::Acquire) {
            return Poll::Ready(if self.is_lost() {
                self.note_sent_in_vain();
                Err(PushError::Closed)
            } else {
                Ok(())
            });
        }
        let mut out = self.lock_out();
        if out.sending == Sending::Over {
            self.note_sent_in_vain();
            return Poll::Ready(Err(PushError::Closed));
        }
        if out.queue.bytes() <= self.env.config.outbox_bytes {
            return Poll::Ready(Ok(()));
        }
        out.add_waiter(cx.waker());
        Poll::Pending
    }
}

impl Conn {
    /// As [`poll_room`](Self::poll_room), below a mark of its own, for bodies that the task itself fetches as they are
    /// taken.
    pub(crate) fn poll_body_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), PushError>> {
        if cork::is_polling(self.id) && self.is_own_waker(cx) {
            let mut out = self.lock_out();
            // What is lost has no queue. The list of those who wait is about the outbox's own mark: from there, the task
            // would be woken at once, again and again.
            if out.queue.bytes() > self.body_mark() {
                out.body_waits = true;
                return Poll::Pending;
            }
        }
        self.poll_room(cx)
    }

    fn body_mark(&self) -> usize {
        BODY_MARK.min(self.env.config.outbox_bytes)
    }

    /// Waits until everything is with the operating system.
    pub(crate) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<Result<(), PushError>> {
        let mut out = self.lock_out();
        if out.sending == Sending::Over {
            return Poll::Ready(Err(PushError::Closed));
        }
        if out.queue.is_empty() {
            return Poll::Ready(Ok(()));
        }
        out.add_waiter(cx.waker());
        Poll::Pending
    }
}

/// Writes what the socket takes: as far as its readiness says, or as the system does while `unasked`.
fn write_some(writer: &Writer, unasked: &mut bool, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let written = match *unasked {
        true => writer.write_unasked(slices),
        false => writer.try_write(slices),
    };
    *unasked &= written.is_ok();
    written
}
