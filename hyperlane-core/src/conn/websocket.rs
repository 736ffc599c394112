//! WebSocket frames of a connection, in both directions.
//!
//! The connection handles control frames when it decodes them: it answers a Ping, records a Pong and echoes a Close.
//! Data messages go to the task that calls `recv`, or wait in the inbox.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, buf::Limit};

use super::{
    acks::Acks,
    barrier::{AfterLast, PastHeld},
    buffer::{READ_BUFFER, ReadBuffer},
    cork,
    driver::signals,
    extensions::Extensions,
    handshake::Subprotocol,
    heartbeat::Heartbeat,
    inbox::Inbox,
    input::{Fill, Input, Mode, Wait},
    lifecycle::Transport,
    link::Link,
    rates::Rates,
    send::LastOrder,
};
use crate::{
    env::timers::{MaybeTick, Tick},
    error::PushError,
    proto::ws::{
        CloseCode, CloseFrame, Compressed, Decoder, Incoming, Limits, Message, ProtocolError, Role,
        encode_close, encode_message, encode_to_bytes,
    },
};

/// Maximum size of a read straight into a large message, in bytes.
const DIRECT_READ: usize = 256 * 1024;

/// The end of a WebSocket.
#[derive(Clone, Debug)]
pub(crate) enum WsEnd {
    /// The peer sent a Close.
    Closed(Option<CloseFrame>),
    /// The peer violated the protocol. The server then sent a Close, unless it had sent one before.
    Violation(ProtocolError),
    /// There was no Close: the transport ended, or a time limit passed.
    Lost,
}

/// The reading state of a WebSocket.
pub(crate) struct WsInput {
    decoder: Decoder,
    /// True if the last read went straight into the decoder's buffer for a large message, and the decoder has not
    /// checked these bytes yet.
    filled: bool,
    inbox: Inbox,
    /// True after the handler has ended. Incoming messages are then dropped.
    drops_messages: bool,
    /// True if the server has sent its Close, or holds it behind a barrier.
    pub(super) close_sent: bool,
    /// The end of the WebSocket; `None` while messages can still come. It is in a box, so open connections stay small.
    pub(super) end: Option<Box<WsEnd>>,
    /// True if the peer sent its Close before the server did.
    closed_by_peer: bool,
    /// Tick at which the heartbeat sent its last ping; none if the connection does not wait for a pong.
    pub(super) ping_sent: MaybeTick,
    heartbeat: Heartbeat,
    rates: Rates,
    #[cfg(feature = "deflate")]
    decompressor: Option<Box<crate::proto::ws::deflate::Decompressor>>,
}

impl WsInput {
    pub(crate) fn new(decoder: Decoder) -> Self {
        Self {
            decoder,
            filled: false,
            inbox: Inbox::default(),
            drops_messages: false,
            close_sent: false,
            end: None,
            closed_by_peer: false,
            ping_sent: MaybeTick::NONE,
            heartbeat: Heartbeat::default(),
            rates: Rates::default(),
            #[cfg(feature = "deflate")]
            decompressor: None,
        }
    }

    /// Returns the tick at which the next ping for an acknowledgement is due. The connection may carry the messages of
    /// a session's channel. The client acknowledges these messages by its pong. Returns `None` if no such ping is
    /// needed.
    pub(super) fn ack_ping_due(&self) -> Option<Tick> {
        self.heartbeat.ack_ping_due()
    }

    /// Returns the payload of a ping that asks for an acknowledgement; `None` if no such ping is needed.
    pub(super) fn ack_ping(&self, now: Tick) -> Option<Bytes> {
        self.heartbeat.acks.as_ref()?.next_ping(now)
    }

    /// Records that the ping that asks for an acknowledgement was not sent.
    pub(super) fn clear_pending_ack_ping(&self) {
        if let Some(acks) = &self.heartbeat.acks {
            acks.clear_pending_ping();
        }
    }

    /// Returns the payload of the next ping of the heartbeat.
    pub(super) fn next_ping(&mut self, now: Duration) -> Bytes {
        self.heartbeat.ping(now)
    }

    /// Frees the decompressor. The program may keep handles long after the connection has ended, and each handle keeps
    /// this `WsInput` in memory.
    pub(super) fn drop_window(&mut self) {
        #[cfg(feature = "deflate")]
        {
            self.decompressor = None;
        }
    }

    /// Returns the round-trip time of the heartbeat's last answered ping.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.heartbeat.latency()
    }

    /// Returns the decoder's buffer for the rest of a large frame; `None` if the next read should use the thread's read
    /// buffer.
    pub(super) fn direct_target(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        if self.filled {
            return None;
        }
        self.decoder.direct_target(DIRECT_READ)
    }

    /// Records that bytes were read into [`direct_target`](Self::direct_target).
    pub(super) fn direct_filled(&mut self) {
        self.filled = true;
    }

    /// Decompresses a message.
    #[cfg(feature = "deflate")]
    fn inflate(&mut self, message: &Compressed, limit: usize) -> Result<Message, ProtocolError> {
        match &mut self.decompressor {
            Some(decompressor) => decompressor.decode(message, limit),
            None => Err(ProtocolError::ReservedBits),
        }
    }

    /// Never called: without the feature `deflate` no extension is negotiated, and the decoder refuses compressed
    /// messages.
    #[cfg(not(feature = "deflate"))]
    fn inflate(&mut self, _: &Compressed, _: usize) -> Result<Message, ProtocolError> {
        Err(ProtocolError::ReservedBits)
    }

    /// Returns whether the server has sent its Close or no more messages come.
    pub(super) fn has_ended(&self) -> bool {
        self.close_sent || self.end.is_some()
    }

    /// Drops the messages in the inbox and all later ones, after the handler has ended.
    pub(super) fn stop_receiving(&mut self) {
        self.drops_messages = true;
        self.inbox.clear();
    }

    /// Returns whether the peer sent its Close before the server did.
    pub(crate) fn is_closed_by_peer(&self) -> bool {
        self.closed_by_peer
    }

    /// Sets the acknowledgements of a channel. From now on, the pings of the server also ask the client to acknowledge
    /// messages.
    pub(crate) fn set_acks(&mut self, acks: Arc<Acks>) {
        self.heartbeat.acks = Some(acks);
    }

    pub(super) fn set_lost(&mut self) {
        self.end.get_or_insert_with(|| Box::new(WsEnd::Lost));
    }

    /// Takes a message from the buffer if it is whole, in one frame and not compressed. Returns `None` if
    /// [`Input::decode`] has to decode the bytes.
    #[inline(always)]
    fn whole_message(&mut self, buffer: &mut ReadBuffer, link: &Link) -> Option<Message> {
        let per_second = link.env.config.max_messages_per_second;
        let Self { decoder, rates, .. } = self;
        let (message, consumed) = decoder.whole_message(buffer.unread(), || {
            rates.count_message(link.now(), per_second)
        })?;
        buffer.consume(consumed);
        Some(message)
    }

    /// Takes a message from the inbox. Reading continues if the inbox was full.
    fn take_waiting(&mut self, link: &Link, polled: bool) -> Option<Message> {
        let limit = link.env.config.inbox_bytes;
        let was_full = self.is_full(limit);
        let message = self.inbox.pop()?;
        if was_full
            && !self.is_full(limit)
            && let Some(acks) = &self.heartbeat.acks
        {
            acks.resume();
        }
        if was_full && !polled {
            // The inbox has room again, so the task continues to read.
            link.driver.signal(signals::RECHECK);
        }
        Some(message)
    }

    /// Returns whether the inbox is full. Reading then pauses.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.inbox.bytes() >= limit
    }
}

/// The result of decoding the buffered bytes.
enum Next {
    Message(Message),
    /// All buffered bytes are decoded, and the next message is not complete.
    More,
    /// No more messages come.
    Ended,
}

impl Link {
    /// Makes the connection a WebSocket.
    pub(crate) fn begin_websocket(&self, extensions: Extensions, subprotocol: Option<Subprotocol>) {
        if let Some(subprotocol) = subprotocol {
            self.facts.set_subprotocol(subprotocol);
        }
        let config = &self.env.config;
        let decoder = Decoder::new(
            Role::Server,
            Limits::default()
                .frame(config.max_frame)
                .message(config.max_message)
                .fragments(config.max_fragments)
                .rsv1_allowed(extensions.allow_rsv1()),
        );
        // The 101 is in the queue before another task can get a handle. Otherwise a frame could overtake the 101. It
        // leaves when the handler joins a room, or first waits: a client that has received it is a member.
        self.lane().queue_cork();
        let mut input = self.lock_input();
        #[cfg_attr(not(feature = "deflate"), expect(unused_mut))]
        let mut websocket = WsInput::new(decoder);
        #[cfg(feature = "deflate")]
        {
            websocket.decompressor = extensions.decompressor(&self.env.config);
            self.lane.lock_out().compressor = extensions.compressor(&self.env.config);
        }
        input.mode = Mode::WebSocket(Box::new(websocket));
        input.wait_for(Wait::Nothing, self.now());
        input.last_received = self.now();
        self.set_format(extensions.format());
        if let Some(every) = self.env.config.ping_interval {
            self.arm(self.now().after(every));
        }
        if self.env.is_shutting_down() {
            // The shutdown began while the connection was not yet a WebSocket. So the task has to handle the shutdown
            // again, now for a WebSocket.
            self.driver.signal(signals::SHUTDOWN);
        }
    }

    /// Waits for the next data message.
    pub(crate) fn poll_message(&self, cx: &mut Context<'_>) -> Poll<Result<Message, Box<WsEnd>>> {
        let mut input = self.lock_input();
        let polled = cork::is_polling(self.id());
        loop {
            let Input { mode, buffer, .. } = &mut *input;
            let Mode::WebSocket(websocket) = mode else {
                return Poll::Ready(Err(Box::new(WsEnd::Lost)));
            };
            if !websocket.inbox.is_empty()
                && let Some(message) = websocket.take_waiting(self, polled)
            {
                return Poll::Ready(Ok(message));
            }
            if let Some(end) = &websocket.end {
                return Poll::Ready(Err(end.clone()));
            }
            if !polled {
                break;
            }
            if self.driver.is_budget_spent() {
                self.driver.wake();
                break;
            }
            if !buffer.is_empty() || websocket.filled {
                if let Some(message) = websocket.whole_message(buffer, self) {
                    count_received(self, message.len());
                    return Poll::Ready(Ok(message));
                }
                match input.decode(self) {
                    Next::Message(message) => {
                        count_received(self, message.len());
                        return Poll::Ready(Ok(message));
                    }
                    Next::Ended => continue,
                    Next::More => {}
                }
            }
            match input.poll_fill(self, READ_BUFFER) {
                Poll::Ready(Fill::Bytes) => {}
                Poll::Ready(_) => input.end(self),
                Poll::Pending => break,
            }
        }
        input.await_input(self, cx);
        Poll::Pending
    }

    /// Sends a Close, after the messages that are on their way to the peer. With `drop_unsent`, sends it at once.
    /// Messages that the peer sends before its own Close are still delivered.
    pub(crate) fn close_websocket(
        &self,
        code: CloseCode,
        reason: &str,
        drop_unsent: bool,
    ) -> Result<(), PushError> {
        let mut input = self.lock_input();
        let Some(websocket) = input.websocket() else {
            return Err(PushError::Closed);
        };
        if websocket.close_sent && !(drop_unsent && self.lane.life.is_held()) {
            return Err(PushError::Closed);
        }
        websocket.close_sent = true;
        let mut bytes = Vec::new();
        encode_close(code, reason, &mut bytes);
        let order = match drop_unsent {
            true => LastOrder::DropUnsent,
            false => LastOrder::Held,
        };
        let sent = self.lane().send_last(&bytes, AfterLast::AwaitClose, order);
        drop(input);
        match sent {
            Ok(Some(number)) => self.lane().ask(number),
            Ok(None) | Err(_) => self.lane().await_close(),
        }
        sent.map(drop)
    }
}

impl Input {
    /// Decodes the buffer into the inbox. Returns false if reading has to pause or has ended.
    pub(super) fn fill_inbox(&mut self, link: &Link) -> bool {
        let limit = link.env.config.inbox_bytes;
        let mut arrived = false;
        let go_on = loop {
            let Some(websocket) = self.websocket() else {
                break false;
            };
            if websocket.is_full(limit) {
                websocket.rates.pause(link.now());
                if let Some(acks) = &websocket.heartbeat.acks
                    && acks.pause()
                {
                    // During the pause the task reads no pongs. So this code wakes the handler, and the handler tells
                    // the channel of the pause. The senders of the channel then do not wait for pongs.
                    link.driver.wake();
                }
                break false;
            }
            match self.decode(link) {
                Next::Message(message) => {
                    link.env.metrics.message_received();
                    link.driver.charge(64);
                    if let Some(websocket) = self.websocket()
                        && !websocket.drops_messages
                    {
                        websocket.inbox.push(message);
                        arrived = true;
                    }
                }
                Next::More => break true,
                Next::Ended => {
                    arrived = true;
                    break false;
                }
            }
        };
        if arrived {
            self.wake_readers();
        }
        go_on
    }

    /// Decodes frames up to the next data message. Handles the control frames before it.
    fn decode(&mut self, link: &Link) -> Next {
        loop {
            let Self { mode, buffer, .. } = &mut *self;
            let Mode::WebSocket(websocket) = mode else {
                return Next::Ended;
            };
            if websocket.end.is_some() {
                // Bytes after the end are ignored. RFC 6455 §1.4 demands this for bytes after a Close.
                buffer.discard();
                return Next::Ended;
            }
            if buffer.is_empty() && !std::mem::take(&mut websocket.filled) {
                return Next::More;
            }
            let decoded = match websocket.decoder.next(buffer.unread()) {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.violation(link, error);
                    return Next::Ended;
                }
            };
            buffer.consume(decoded.consumed);
            if let Some(event) = &decoded.event {
                let is_solicited = matches!(event, Incoming::Pong(_)) && link.lane.take_open_ping();
                let config = &link.env.config;
                if let Err(error) = websocket
                    .rates
                    .count(event, is_solicited, link.now(), config)
                {
                    self.violation(link, error);
                    return Next::Ended;
                }
            }
            match decoded.event {
                None => return Next::More,
                Some(Incoming::Text(text)) => return Next::Message(Message::Text(text)),
                Some(Incoming::Binary(bytes)) => return Next::Message(Message::Binary(bytes)),
                Some(Incoming::Compressed(compressed)) => {
                    let limit = link.env.config.max_message;
                    match websocket.inflate(&compressed, limit) {
                        Ok(message) => return Next::Message(message),
                        Err(error) => {
                            self.violation(link, error);
                            return Next::Ended;
                        }
                    }
                }
                Some(Incoming::Ping(payload)) => {
                    link.driver.charge(64);
                    answer_ping(link, &payload);
                }
                Some(Incoming::Pong(payload)) => {
                    link.driver.charge(64);
                    websocket.ping_sent = MaybeTick::NONE;
                    if websocket
                        .heartbeat
                        .pong(&payload, || link.env.timers.elapsed())
                    {
                        // The handler reports the acknowledgement to the channel, outside this lock.
                        link.driver.wake();
                    }
                    if let Some(due) = websocket.heartbeat.ack_ping_due() {
                        link.arm(due);
                    }
                }
                Some(Incoming::Close(frame)) => {
                    self.closed_by_peer(link, frame);
                    return Next::Ended;
                }
            }
        }
    }

    fn closed_by_peer(&mut self, link: &Link, frame: Option<CloseFrame>) {
        if let Some(websocket) = self.websocket() {
            if !websocket.close_sent {
                websocket.closed_by_peer = true;
                let mut bytes = Vec::new();
                match &frame {
                    Some(frame) => encode_close(frame.code, "", &mut bytes),
                    None => encode_message(&Message::Close(None), &mut bytes),
                }
                // The task still sends the queue, within `close_timeout`.
                send_close_now(link, &bytes);
                websocket.close_sent = true;
            }
            // The server may hold a Close of its own. The peer reads no message after its own Close, so there is
            // nothing to wait for.
            link.lane().send_held();
            websocket.end = Some(Box::new(WsEnd::Closed(frame)));
        }
        self.buffer.discard();
        let transport = Transport::Flushing { linger: false };
        link.lane.life.set_transport(transport);
        self.limit_close(link);
    }

    fn violation(&mut self, link: &Link, error: ProtocolError) {
        tracing::debug!(peer = %link.peer(), %error, "WebSocket protocol violation");
        let code = error.close_code();
        let reason = error.to_string();
        if let Some(websocket) = self.websocket() {
            if !websocket.close_sent {
                let mut bytes = Vec::new();
                encode_close(code, &reason, &mut bytes);
                send_close_now(link, &bytes);
                websocket.close_sent = true;
            }
            link.lane().send_held();
            websocket.end = Some(Box::new(WsEnd::Violation(error)));
        }
        self.buffer.discard();
        link.begin_linger(self);
        self.limit_close(link);
    }

    /// Limits the time to close the connection. A peer that does not read the server's Close could otherwise keep the
    /// connection open.
    fn limit_close(&mut self, link: &Link) {
        let by = link.now().after(link.env.config.close_timeout);
        self.close_by.set_first(by);
        link.arm(by);
    }
}

/// Sends a Close without waiting for the messages that are on their way to the peer. An error means that the connection
/// is lost.
fn send_close_now(link: &Link, bytes: &[u8]) {
    let order = LastOrder::Now;
    let _ = link.lane().send_last(bytes, AfterLast::AwaitClose, order);
}

/// Counts a message that goes to the handler straight from the read buffer.
#[inline]
fn count_received(link: &Link, length: usize) {
    link.env.metrics.message_received();
    link.driver.charge(64 + length);
}

/// Answers a ping. Drops the ping if the outbox is full: the peer may be sending pings without reading the pongs, and
/// each pong would make the queue longer. Of several unanswered pings, only the latest needs an answer (RFC 6455
/// §5.5.3).
fn answer_ping(link: &Link, payload: &Bytes) {
    let message = Message::Pong(payload.clone());
    if !link.lane.has_barriers() {
        if link.lane.queued() > link.env.config.outbox_bytes {
            return;
        }
        if cork::with(link.id(), |cork| encode_message(&message, cork.bytes())).is_some() {
            return;
        }
    }
    // The cork may be held, but a pong does not wait for messages.
    let _ = link
        .lane()
        .deliver(&encode_to_bytes(&message), usize::MAX, PastHeld::Yes);
}
