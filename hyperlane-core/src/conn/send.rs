//! Sending on a [`Lane`](super::lane::Lane), the part of a connection that all senders use.
//!
//! Any task may send. A sender locks the lane for a moment, never across an await. If the queue is empty, the sender
//! writes to the socket at once and queues only the bytes that the socket does not accept. The connection's task
//! flushes the queue when the socket is writable again.
//!
//! The lane's own hook (the program's function that the connection's task runs) usually sends into the
//! [`cork`](super::cork) instead: the buffer that the task writes at the end of each poll.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{
    barrier::AfterLast,
    cork::{self, Cork, Piece, Written},
    lane::LaneRef,
    lifecycle::Sending,
    out::{BODY_MARK, Out},
};
use crate::{
    error::PushError,
    proto::ws::{Message, WebSocketOpcode, encode_message, encode_to_bytes},
    wire::WireFormat,
};

/// Bytes to send.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Whole messages in the lane's format. The bytes are shared, not copied.
    Shared(&'a Bytes),
    /// Bytes to copy.
    Copied(&'a [u8]),
    /// A message to encode in the lane's format.
    Message(&'a Message),
}

/// The order of a send relative to other sends on the same lane.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// After the earlier sends of the lane's own hook, but not always at once. While this thread polls the connection's
    /// task, the bytes go into the [`cork`](super::cork), the buffer for one poll.
    Own,
    /// At once. Earlier sends by the lane's own hook in this poll are written first.
    Now,
}

/// The maximum size of the queue at which a send succeeds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The outbox's high-water mark ([`ServerConfig::outbox_bytes`](crate::ServerConfig)).
    Mark,
    /// No limit. This is for senders that have waited for room, and for bytes that the connection sends by itself, such
    /// as a handshake response.
    None,
}

/// The order of a last word relative to what is held behind [barriers](super::barrier).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastOrder {
    /// After what is on its way, and after what is held.
    Held,
    /// After what is held, which is sent now.
    Now,
    /// Now. What is held is dropped, and so are all messages of the queue except the first. The first stays, because a
    /// part of it may be sent already.
    DropUnsent,
}

impl LaneRef<'_> {
    /// Sends without waiting.
    ///
    /// # Errors
    /// [`PushError::Full`] if the queue is above the limit, [`PushError::Closed`] if the lane accepts no more bytes.
    /// The limit does not apply to bytes that go into the cork.
    // Each call names the variants of payload, order and limit. So the compiler removes the other branches when it
    // inlines the call.
    #[inline(always)]
    pub(crate) fn send(
        self,
        payload: Payload<'_>,
        order: Order,
        limit: Limit,
    ) -> Result<(), PushError> {
        match (payload, order) {
            (Payload::Message(message @ Message::Ping(_)), _) => {
                self.send_ping(message, order, limit)
            }
            (Payload::Message(message), _) => self.send_message(message, order, limit),
            (Payload::Shared(bytes), Order::Own) => self
                .cork(32 + bytes.len() / 4, |cork| cork.push(bytes))
                .unwrap_or_else(|| self.send_now(Piece::Shared(bytes), limit)),
            // Bytes of the length `SPILL` or more bypass the cork. Otherwise they could be copied twice: into the cork,
            // and then into the queue.
            (Payload::Copied(bytes), Order::Own) if bytes.len() < cork::SPILL => self
                // The function that sends raw bytes has charged them to the budget of the poll already.
                .cork(0, |cork| cork.bytes().extend_from_slice(bytes))
                .unwrap_or_else(|| self.send_now(Piece::copied(bytes), limit)),
            (Payload::Shared(bytes), Order::Now) => self.send_now(Piece::Shared(bytes), limit),
            (Payload::Copied(bytes), _) => self.send_now(Piece::copied(bytes), limit),
        }
    }

    /// Calls `write` with the cork, and charges `work` to the budget of the poll (the work after which the task lets
    /// other tasks run). Returns `None` if the lane is open, but this thread does not poll its connection.
    #[inline]
    fn cork(self, work: usize, write: impl FnOnce(&mut Cork)) -> Option<Result<(), PushError>> {
        if !self.lane.is_open() {
            self.link.driver.count_failed_send(self.lane.id);
            return Some(Err(PushError::Closed));
        }
        let is_full = cork::with(self.lane.id, |cork| {
            self.link.driver.charge(work);
            write(cork);
            cork.is_full()
        })?;
        if is_full {
            self.flush();
        }
        Some(Ok(()))
    }

    /// Writes or queues bytes at once. Earlier sends by this lane's own hook in the same poll are written first.
    fn send_now(self, piece: Piece<'_>, limit: Limit) -> Result<(), PushError> {
        self.flush();
        let mut out = self.lane.lock_out();
        self.check_limit(&out, limit)?;
        if out.is_barred() {
            let number = out.hold_bytes(self, piece.keep_from(0));
            drop(out);
            self.ask(number);
            return Ok(());
        }
        out.write(self, piece);
        match self.lane.life.is_lost() {
            true => Err(PushError::Closed),
            false => Ok(()),
        }
    }

    #[inline]
    fn check_limit(self, out: &Out, limit: Limit) -> Result<(), PushError> {
        if !self.lane.is_open() {
            return Err(PushError::Closed);
        }
        if limit == Limit::Mark && out.queued() > self.link.env.config.outbox_bytes {
            return Err(PushError::Full);
        }
        Ok(())
    }

    /// Sends a data message into the cork, in the usual case: the lane's own hook sends, the lane is open, its queue is
    /// empty, its format has no compression, and the budget of the poll is not spent. Returns false in any other case,
    /// and does nothing then.
    #[inline]
    pub(crate) fn cork_message(self, message: &Message) -> bool {
        let (opcode, payload) = match message {
            Message::Text(text) => (WebSocketOpcode::Text, text.as_shared()),
            Message::Binary(bytes) => (WebSocketOpcode::Binary, bytes),
            _ => return false,
        };
        let driver = &self.link.driver;
        let is_usual = self.lane.sends_plain_frames()
            && self.lane.is_open()
            && !self.lane.has_unsent()
            && !driver.is_budget_spent();
        if !is_usual {
            return false;
        }
        let is_full = cork::with(self.lane.id, |cork| {
            cork.push_frame(opcode, payload);
            cork.is_full()
        });
        match is_full {
            None => return false,
            Some(true) => self.flush(),
            Some(false) => {}
        }
        driver.charge(32 + payload.len() / 4);
        true
    }

    /// Sends a ping. The limit on the peer's control frames does not count the pong that answers this ping.
    #[cold]
    fn send_ping(self, ping: &Message, order: Order, limit: Limit) -> Result<(), PushError> {
        self.lane.open_ping();
        let sent = self.send_message(ping, order, limit);
        if sent.is_err() {
            self.lane.take_open_ping();
        }
        sent
    }

    /// Encodes a message in the format of the lane and sends it.
    fn send_message(self, message: &Message, order: Order, limit: Limit) -> Result<(), PushError> {
        match self.lane.format() {
            WireFormat::WebSocketTakeover if order == Order::Now || self.lane.is_open() => {
                return self.send_compressed(message, limit);
            }
            #[cfg(feature = "deflate")]
            WireFormat::WebSocketDeflate { .. } if message.is_data() => {
                return match self.encode_shared(message) {
                    Some(frame) => self.send(Payload::Shared(&frame), order, limit),
                    None => Err(PushError::Closed),
                };
            }
            _ => {}
        }
        if order == Order::Own {
            let corked = self.cork(32 + message.len() / 4, |cork| match message {
                Message::Text(text) => cork.push_frame(message.opcode(), text.as_shared()),
                Message::Binary(bytes) => cork.push_frame(message.opcode(), bytes),
                control => encode_message(control, cork.bytes()),
            });
            if let Some(sent) = corked {
                return sent;
            }
        }
        self.send_now(Piece::Shared(&encode_to_bytes(message)), limit)
    }

    /// Sends a message compressed with context takeover. The compressor refers to all earlier messages, so it must see
    /// the messages in wire order. The lock `out` ensures this order.
    fn send_compressed(self, message: &Message, limit: Limit) -> Result<(), PushError> {
        self.flush();
        let mut out = self.lane.lock_out();
        self.check_limit(&out, limit)?;
        if out.is_barred() {
            let number = out.hold_message(self, message.clone());
            drop(out);
            self.ask(number);
            return Ok(());
        }
        let frame = Bytes::from(out.encode(message));
        if cork::is_polling(self.lane.id) {
            // The cork cannot keep wire order relative to other senders, so the frame goes into the queue. The task
            // writes the queue at the end of the poll.
            self.link.driver.charge(32 + message.len() / 4);
            out.enqueue(self, frame, false);
            self.set_backlog();
        } else {
            out.write(self, Piece::Shared(&frame));
        }
        match self.lane.life.is_lost() {
            true => Err(PushError::Closed),
            false => Ok(()),
        }
    }

    /// Sends whole messages that a sender has encoded for many lanes.
    #[inline]
    pub(crate) fn push(self, bytes: &Bytes) -> Result<(), PushError> {
        self.send(Payload::Shared(bytes), Order::Now, Limit::Mark)
    }

    /// Sends the pieces that `write` appends to the cork. They are sent with [`Order::Own`] and [`Limit::None`].
    #[inline]
    pub(crate) fn compose(self, write: impl FnOnce(&mut Cork)) -> Result<(), PushError> {
        match cork::with_any(self.lane.id, write) {
            Written::Corked { is_full: false } => Ok(()),
            Written::Corked { is_full: true } => {
                self.flush();
                Ok(())
            }
            Written::Apart(pieces) => self.send_pieces(&pieces),
        }
    }

    #[cold]
    fn send_pieces(self, pieces: &Cork) -> Result<(), PushError> {
        let mut out = self.lane.lock_out();
        if !self.lane.life.takes_own_bytes() {
            return Err(PushError::Closed);
        }
        if out.is_barred() {
            let number = out.hold_pieces(self, pieces.pieces());
            drop(out);
            self.ask(number);
            return Ok(());
        }
        out.write_pieces(self, pieces.pieces());
        Ok(())
    }

    /// Sends the last word of the lane: a Close frame, or the end of an event stream, which has no bytes if the stream
    /// is not chunked. The cork and the queue are sent before the last word. Returns a number if the last word is held.
    /// The caller then passes the number to [`ask`](Self::ask), after it has released the locks of the connection.
    ///
    /// With [`LastOrder::DropUnsent`], a Close frame that is held already replaces `bytes`.
    ///
    /// # Errors
    /// [`PushError::Closed`] if a last word was sent, or is held and `order` does not drop it.
    pub(super) fn send_last(
        self,
        bytes: &[u8],
        after: AfterLast,
        order: LastOrder,
    ) -> Result<Option<u64>, PushError> {
        if cork::has_bytes(self.lane.id) {
            // If the cork is held, the following code sends, drops or asks for it.
            let _ = self.write_cork();
        }
        let mut out = self.lane.lock_out();
        let is_refused = match order {
            LastOrder::Held | LastOrder::Now => !self.lane.life.takes_own_bytes(),
            LastOrder::DropUnsent => !self.lane.life.takes_bytes(),
        };
        if is_refused {
            return Err(PushError::Closed);
        }
        let mut promised = None;
        match order {
            LastOrder::Held if out.is_barred() => {
                return Ok(Some(out.hold_last(self, bytes, after)));
            }
            LastOrder::Held => {}
            LastOrder::Now => drop(out.send_held(self, u64::MAX)),
            LastOrder::DropUnsent => {
                promised = out.drop_held(self);
                out.drop_unsent(&self.link.env.metrics);
            }
        }
        let bytes = match (&promised, after) {
            (Some(close), AfterLast::AwaitClose) => close,
            _ => bytes,
        };
        if !bytes.is_empty() {
            out.write(self, Piece::copied(bytes));
        }
        self.lane.life.advance(Sending::LastWord);
        Ok(None)
    }

    /// Sends what is held, without waiting for the barriers. A held last word is sent as well.
    pub(super) fn send_held(self) {
        if self.lane.has_held() {
            self.lane.lock_out().send_held(self, u64::MAX);
        }
    }

    /// Writes the cork: the bytes that the lane's own hook has sent in the current poll. Not called under a lock of the
    /// connection.
    #[inline]
    pub(crate) fn flush(self) {
        if cork::has_bytes(self.lane.id)
            && let Some(number) = self.write_cork()
        {
            self.ask(number);
        }
    }

    /// Moves the cork into the queue, which the end of the poll writes. Not called under a lock of the connection.
    pub(crate) fn queue_cork(self) {
        if cork::has_bytes(self.lane.id)
            && let Some(number) = self.take_cork(|out| {
                cork::drain(self.lane.id, |pieces| out.queue_cork(self, pieces));
            })
        {
            self.ask(number);
        }
    }

    /// Writes the cork, or holds it and returns the number for [`ask`](Self::ask).
    #[inline(never)]
    fn write_cork(self) -> Option<u64> {
        self.take_cork(|out| {
            // Usually the socket accepts all bytes at once. They then stay where they are.
            let left = cork::drain_in_place(|bytes| out.try_write(self, bytes));
            match left {
                None => {}
                Some(0) => cork::drain(self.lane.id, |pieces| out.write_pieces(self, pieces)),
                Some(taken) => cork::drain(self.lane.id, |pieces| out.keep(self, pieces, taken)),
            }
        })
    }

    /// Passes the cork on by `pass_on`. If the lane takes no bytes, drops the cork. If barriers hold the lane's bytes,
    /// holds the cork and returns the number for [`ask`](Self::ask).
    #[inline]
    fn take_cork(self, pass_on: impl FnOnce(&mut Out)) -> Option<u64> {
        let mut out = self.lane.lock_out();
        if !self.lane.life.takes_own_bytes() {
            cork::drain(self.lane.id, |_| {});
            return None;
        }
        if out.is_barred() {
            let mut number = None;
            cork::drain(self.lane.id, |pieces| {
                number = Some(out.hold_pieces(self, pieces));
            });
            return number;
        }
        pass_on(&mut out);
        None
    }

    /// Returns the number of bytes that the socket has accepted, plus the bytes in the outbox and in the cork. If the
    /// connection is lost, counts only the bytes that the socket has accepted.
    pub(crate) fn bytes_sent(self) -> u64 {
        let corked = cork::corked_len(self.lane.id);
        let out = self.lane.lock_out();
        match self.lane.life.is_lost() {
            // The bytes in the queue and in the cork will never be sent.
            true => out.sent(),
            false => out.sent() + (out.unsent() + corked) as u64,
        }
    }

    /// Encodes a message once for all lanes that have this lane's format. Returns `None` if the format does not
    /// compress, or compresses with context takeover.
    #[cfg(feature = "deflate")]
    pub(crate) fn encode_shared(self, message: &Message) -> Option<Bytes> {
        let config = self.link.env.config.deflate.as_ref()?;
        let WireFormat::WebSocketDeflate { window_bits } = self.lane.format() else {
            return None;
        };
        let mut frame = Vec::new();
        crate::proto::ws::deflate::Compressor::shared(window_bits, config)
            .encode(message, None, &mut frame);
        Some(frame.into())
    }

    /// Without the feature `deflate` no format is compressed.
    #[cfg(not(feature = "deflate"))]
    pub(crate) fn encode_shared(self, _: &Message) -> Option<Bytes> {
        None
    }

    // ---------------------------------------------------------------- the queue

    /// Records that the queue is not empty, and starts the timer for a peer that does not read. Wakes the task to flush
    /// the queue, unless this thread is polling the task: each poll ends with a flush.
    pub(super) fn set_backlog(self) {
        if self.lane.begin_backlog() {
            self.link.arm(self.link.now().after(self.link.stall_time()));
            if !cork::is_polling(self.lane.id) {
                self.link.driver.wake();
            }
        }
    }

    /// Returns whether an open lane has room for sure: [`poll_room`](Self::poll_room) would not wait.
    #[inline]
    pub(crate) fn has_room(self) -> bool {
        !self.link.driver.is_budget_spent() && !self.lane.has_unsent()
    }

    /// Waits until the size of the queue is at most the high-water mark.
    ///
    /// # Errors
    /// [`PushError::Closed`] if nothing can be sent any more.
    pub(crate) fn poll_room(self, cx: &mut Context<'_>) -> Poll<Result<(), PushError>> {
        if self.link.driver.is_budget_spent() && cork::is_polling(self.lane.id) {
            // A handler that sends in a loop to a fast reader would never wait for room. The budget makes the handler
            // yield to other tasks.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.lane.life.is_lost() {
            self.link.driver.count_failed_send(self.lane.id);
            return Poll::Ready(Err(PushError::Closed));
        }
        // Usually the outbox is empty. This costs two atomic loads.
        if !self.lane.has_unsent() {
            return Poll::Ready(Ok(()));
        }
        let mut out = self.lane.lock_out();
        if self.lane.life.is_lost() {
            self.link.driver.count_failed_send(self.lane.id);
            return Poll::Ready(Err(PushError::Closed));
        }
        if out.queued() <= self.link.env.config.outbox_bytes {
            return Poll::Ready(Ok(()));
        }
        out.add_waiter(cx.waker());
        Poll::Pending
    }

    /// Waits like [`poll_room`](Self::poll_room), before a piece of a streamed body is fetched. If the connection's
    /// task itself waits, the lower mark [`BODY_MARK`] applies.
    pub(crate) fn poll_body_room(self, cx: &mut Context<'_>) -> Poll<Result<(), PushError>> {
        if cork::is_polling(self.lane.id) && self.link.driver.is_own_waker(cx) {
            let mut out = self.lane.lock_out();
            // The task does not join the waiters, because they are woken as soon as the queue is below the higher mark
            // of the outbox. The queue may be below that mark already, and the task would then be woken in a loop. The
            // queue of a lost lane is empty, so the task never waits here for a lost lane.
            if out.queued() > self.body_mark() {
                out.set_awaits_body_room();
                return Poll::Pending;
            }
        }
        self.poll_room(cx)
    }

    pub(super) fn body_mark(self) -> usize {
        BODY_MARK.min(self.link.env.config.outbox_bytes)
    }

    /// Waits until the operating system has accepted all bytes.
    pub(crate) fn poll_flushed(self, cx: &mut Context<'_>) -> Poll<Result<(), PushError>> {
        let mut out = self.lane.lock_out();
        if self.lane.life.is_lost() {
            return Poll::Ready(Err(PushError::Closed));
        }
        if out.queued() == 0 {
            return Poll::Ready(Ok(()));
        }
        out.add_waiter(cx.waker());
        Poll::Pending
    }
}
