//! WebSocket frames of a connection, in both directions.
//!
//! Control frames are handled where they are decoded, whoever waits for what: a Ping is answered, a
//! Pong noted, a Close echoed. Data messages go to the one who calls `recv`, or into the inbox.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, buf::Limit};
use tokio::time::Instant;

use super::{
    Conn,
    acks::Acks,
    cork,
    extensions::Extensions,
    handshake::Subprotocol,
    heartbeat::Heartbeat,
    inbox::Inbox,
    input::{Fill, Input, Mode, Transport},
    rates::Rates,
};
use crate::{
    env::timers::Tick,
    error::PushError,
    proto::ws::{
        CloseCode, CloseFrame, Compressed, Decoder, Incoming, Limits, Message, ProtocolError, Role,
        encode_close, encode_message, encode_to_bytes, frame_head,
    },
    wire::WireFormat,
};

/// The most that one read brings into a message of its own.
const DIRECT_READ: usize = 256 * 1024;

/// How a WebSocket ended.
#[derive(Clone, Debug)]
pub(crate) enum WsEnd {
    /// By a Close of the peer.
    Closed(Option<CloseFrame>),
    /// By our Close after a violation by the peer.
    Violation(ProtocolError),
    /// Without a Close: the transport ended, or a time limit passed.
    Lost,
}

/// The reading state of a WebSocket.
pub(crate) struct WsInput {
    decoder: Decoder,
    /// The last read went into the decoder's own buffer, and was not looked at yet.
    filled: bool,
    inbox: Inbox,
    /// Messages are dropped: nobody will ever read them.
    unread: bool,
    /// Our Close is out.
    pub(super) close_sent: bool,
    /// Boxed: a connection that lives has none.
    pub(super) end: Option<Box<WsEnd>>,
    /// The peer sent its Close before ours.
    closed_by_peer: bool,
    /// When a ping went out that nothing has answered yet.
    pub(super) ping_sent: Option<Tick>,
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
            unread: false,
            close_sent: false,
            end: None,
            closed_by_peer: false,
            ping_sent: None,
            heartbeat: Heartbeat::default(),
            rates: Rates::default(),
            #[cfg(feature = "deflate")]
            decompressor: None,
        }
    }

    /// When a channel has to ask how far the client is, though nothing more is sent.
    pub(super) fn ask_due(&self) -> Option<Tick> {
        self.heartbeat.ask_due()
    }

    /// The payload of a ping by which a channel asks.
    pub(super) fn ask(&self, now: Tick) -> Option<Bytes> {
        self.heartbeat.acks.as_ref()?.ask(now)
    }

    /// That ping did not go out.
    pub(super) fn was_not_asked(&self) {
        if let Some(acks) = &self.heartbeat.acks {
            acks.answered();
        }
    }

    /// The payload of the next ping of the heartbeat.
    pub(super) fn next_ping(&mut self) -> Bytes {
        self.heartbeat.ping(Instant::now())
    }

    /// Gives the decompressor's window back: handles may be kept long after the end.
    pub(super) fn drop_window(&mut self) {
        #[cfg(feature = "deflate")]
        {
            self.decompressor = None;
        }
    }

    /// What the last answered ping of the heartbeat took.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.heartbeat.latency
    }

    /// Where the rest of a large frame is read into; `None` where the thread's buffer does as well.
    pub(super) fn direct_target(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        if self.filled {
            return None;
        }
        self.decoder.direct_target(DIRECT_READ)
    }

    /// Something was read into [`direct_target`](Self::direct_target).
    pub(super) fn direct_filled(&mut self) {
        self.filled = true;
    }

    /// Inflates a message that came compressed.
    #[cfg(feature = "deflate")]
    fn inflate(&mut self, message: &Compressed, limit: usize) -> Result<Message, ProtocolError> {
        match &mut self.decompressor {
            Some(decompressor) => decompressor.decode(message, limit),
            None => Err(ProtocolError::ReservedBits),
        }
    }

    /// No extension can have been agreed on, so the decoder has refused such a message before.
    #[cfg(not(feature = "deflate"))]
    fn inflate(&mut self, _: &Compressed, _: usize) -> Result<Message, ProtocolError> {
        Err(ProtocolError::ReservedBits)
    }

    /// Whether no message comes any more, or a Close of ours is out.
    pub(super) fn has_ended(&self) -> bool {
        self.close_sent || self.end.is_some()
    }

    pub(super) fn ended_without_close(&mut self) {
        self.end.get_or_insert_with(|| Box::new(WsEnd::Lost));
    }

    /// Whether the inbox is full, so that reading pauses.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.inbox.bytes() >= limit
    }
}

/// What decoding the buffered bytes gave.
enum Next {
    Message(Message),
    /// The bytes are used up.
    More,
    /// No message will come any more.
    Ended,
}

impl Conn {
    /// Speaks WebSocket from here on.
    pub(crate) fn begin_websocket(&self, extensions: Extensions, subprotocol: Option<Subprotocol>) {
        if let Some(subprotocol) = subprotocol {
            self.set_subprotocol(subprotocol);
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
        // The answer to the handshake goes out before any other task can have the handle: its frames
        // must not overtake it.
        self.flush_cork();
        let mut input = self.lock_input();
        #[cfg_attr(not(feature = "deflate"), expect(unused_mut))]
        let mut websocket = WsInput::new(decoder);
        #[cfg(feature = "deflate")]
        {
            websocket.decompressor = extensions.decompressor(&self.env.config);
            self.lock_out().compressor = extensions.compressor(&self.env.config);
        }
        input.mode = Mode::WebSocket(Box::new(websocket));
        input.wait_for(super::input::Wait::Nothing, self.now());
        input.last_received = self.now();
        self.set_format(extensions.format());
        if let Some(every) = self.env.config.ping_interval {
            self.arm(self.now().after(every));
        }
        if self.env.is_shutting_down() {
            // It has heard of it as a request, if at all.
            self.signal(super::signals::SHUTDOWN);
        }
    }

    /// Has pings ask for a channel how far the client is.
    pub(crate) fn set_acks(&self, acks: Arc<Acks>) {
        if let Some(websocket) = self.lock_input().websocket() {
            websocket.heartbeat.acks = Some(acks);
        }
    }

    /// Whether the peer closed the WebSocket of its own accord.
    pub(crate) fn is_closed_by_peer(&self) -> bool {
        let mut input = self.lock_input();
        input
            .websocket()
            .is_some_and(|websocket| websocket.closed_by_peer)
    }

    /// The next data message.
    pub(crate) fn poll_message(&self, cx: &mut Context<'_>) -> Poll<Result<Message, WsEnd>> {
        let mut input = self.lock_input();
        let polled = cork::is_polling(self.id);
        loop {
            let limit = self.env.config.inbox_bytes;
            let Some(websocket) = input.websocket() else {
                return Poll::Ready(Err(WsEnd::Lost));
            };
            let was_full = websocket.is_full(limit);
            if let Some(message) = websocket.inbox.pop() {
                if was_full
                    && !websocket.is_full(limit)
                    && let Some(acks) = &websocket.heartbeat.acks
                {
                    acks.go_on();
                }
                if was_full && !polled {
                    // There is room again: the task reads on.
                    self.signal(super::signals::LOOK);
                }
                return Poll::Ready(Ok(message));
            }
            if let Some(end) = &websocket.end {
                return Poll::Ready(Err(WsEnd::clone(end)));
            }
            if !polled {
                break;
            }
            if self.budget_is_spent() {
                self.wake();
                break;
            }
            match self.decode(&mut input) {
                Next::Message(message) => {
                    self.env.metrics.message_received();
                    self.charge(64 + message.len());
                    return Poll::Ready(Ok(message));
                }
                Next::Ended => continue,
                Next::More => {}
            }
            match self.poll_fill(&mut input, super::buffer::READ_BUFFER) {
                Poll::Ready(Fill::Bytes) => {}
                Poll::Ready(_) => self.input_ended(&mut input),
                Poll::Pending => break,
            }
        }
        self.await_input(&mut input, cx);
        Poll::Pending
    }

    /// Takes what is in the buffer into the inbox; false when reading has to pause.
    pub(super) fn take_in(&self, input: &mut Input) -> bool {
        let limit = self.env.config.inbox_bytes;
        let mut arrived = false;
        let go_on = loop {
            let Some(websocket) = input.websocket() else {
                break false;
            };
            if websocket.is_full(limit) {
                websocket.rates.pause(self.now());
                if let Some(acks) = &websocket.heartbeat.acks
                    && acks.pause()
                {
                    // Those who wait to send on the channel need not wait for pongs now.
                    self.wake();
                }
                break false;
            }
            match self.decode(input) {
                Next::Message(message) => {
                    self.env.metrics.message_received();
                    self.charge(64);
                    if let Some(websocket) = input.websocket()
                        && !websocket.unread
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
            input.wake_readers();
        }
        go_on
    }

    /// Decodes up to the next data message, handling control frames on the way.
    fn decode(&self, input: &mut Input) -> Next {
        loop {
            let Input { mode, buffer, .. } = &mut *input;
            let Mode::WebSocket(websocket) = mode else {
                return Next::Ended;
            };
            if websocket.end.is_some() {
                // Whatever follows a Close is not looked at (RFC 6455 §1.4).
                buffer.discard();
                return Next::Ended;
            }
            if buffer.is_empty() && !std::mem::take(&mut websocket.filled) {
                return Next::More;
            }
            let decoded = match websocket.decoder.next(buffer.unread()) {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.violation(input, error);
                    return Next::Ended;
                }
            };
            buffer.consume(decoded.consumed);
            if let Some(event) = &decoded.event {
                let is_asked = matches!(event, Incoming::Pong(_)) && self.take_open_ping();
                let config = &self.env.config;
                if let Err(error) = websocket.rates.count(event, is_asked, self.now(), config) {
                    self.violation(input, error);
                    return Next::Ended;
                }
            }
            match decoded.event {
                None => return Next::More,
                Some(Incoming::Text(text)) => return Next::Message(Message::Text(text)),
                Some(Incoming::Binary(bytes)) => return Next::Message(Message::Binary(bytes)),
                Some(Incoming::Compressed(compressed)) => {
                    let limit = self.env.config.max_message;
                    match websocket.inflate(&compressed, limit) {
                        Ok(message) => return Next::Message(message),
                        Err(error) => {
                            self.violation(input, error);
                            return Next::Ended;
                        }
                    }
                }
                Some(Incoming::Ping(payload)) => {
                    self.charge(64);
                    self.answer_ping(&payload);
                }
                Some(Incoming::Pong(payload)) => {
                    self.charge(64);
                    websocket.ping_sent = None;
                    if websocket.heartbeat.pong(&payload, Instant::now) {
                        // The handler tells the channel, outside of this lock.
                        self.wake();
                    }
                    if let Some(due) = websocket.heartbeat.ask_due() {
                        self.arm(due);
                    }
                }
                Some(Incoming::Close(frame)) => {
                    self.closed_by_peer(input, frame);
                    return Next::Ended;
                }
            }
        }
    }

    fn answer_ping(&self, payload: &Bytes) {
        // A peer that pings and does not read gets no more answers than the outbox holds; only the
        // latest ping needs one (RFC 6455 §5.5.3).
        if self.has_backlog() && self.lock_out().queued() > self.env.config.outbox_bytes {
            return;
        }
        let message = Message::Pong(payload.clone());
        if cork::with(self.id, |cork| encode_message(&message, cork.bytes())).is_none() {
            let _ = self.push(&encode_to_bytes(&message));
        }
    }

    fn closed_by_peer(&self, input: &mut Input, frame: Option<CloseFrame>) {
        if let Some(websocket) = input.websocket() {
            if !websocket.close_sent {
                websocket.closed_by_peer = true;
                let mut bytes = Vec::new();
                match &frame {
                    Some(frame) => encode_close(frame.code, "", &mut bytes),
                    None => encode_message(&Message::Close(None), &mut bytes),
                }
                // What waits still goes out, within the close timeout.
                let _ = self.push_last(&bytes, false);
                websocket.close_sent = true;
            }
            websocket.end = Some(Box::new(WsEnd::Closed(frame)));
        }
        input.buffer.discard();
        input.transport = Transport::Flushing { linger: false };
        self.limit_close(input);
    }

    fn violation(&self, input: &mut Input, error: ProtocolError) {
        tracing::debug!(peer = %self.peer(), %error, "the client broke the WebSocket protocol");
        let code = error.close_code();
        let reason = error.to_string();
        if let Some(websocket) = input.websocket() {
            if !websocket.close_sent {
                let mut bytes = Vec::new();
                encode_close(code, &reason, &mut bytes);
                let _ = self.push_last(&bytes, false);
                websocket.close_sent = true;
            }
            websocket.end = Some(Box::new(WsEnd::Violation(error)));
        }
        input.buffer.discard();
        self.begin_linger(input);
        self.limit_close(input);
    }

    /// Bounds how long the end may take from here on, above all for a peer that does not read its Close.
    fn limit_close(&self, input: &mut Input) {
        let by = self.now().after(self.env.config.close_timeout);
        input.close_by.get_or_insert(by);
        self.arm(by);
    }

    /// Sends a Close. What the peer sent before its answer is still delivered.
    pub(crate) fn close_websocket(
        &self,
        code: CloseCode,
        reason: &str,
        drop_unsent: bool,
    ) -> Result<(), PushError> {
        let mut input = self.lock_input();
        let now = self.now();
        let Some(websocket) = input.websocket() else {
            return Err(PushError::Closed);
        };
        if websocket.close_sent {
            return Err(PushError::Closed);
        }
        websocket.close_sent = true;
        let mut bytes = Vec::new();
        encode_close(code, reason, &mut bytes);
        let sent = self.push_last(&bytes, drop_unsent);
        let by = now.after(self.env.config.close_timeout);
        input.close_by = Some(by);
        drop(input);
        self.arm(by);
        self.signal(super::signals::LOOK);
        sent
    }

    /// The handler has ended: what still comes in is dropped.
    pub(super) fn stop_reading_messages(&self) {
        if let Some(websocket) = self.lock_input().websocket() {
            websocket.unread = true;
            websocket.inbox.clear();
        }
    }

    /// Compresses a message for every connection of this one's format; `None` for another format.
    #[cfg(feature = "deflate")]
    pub(crate) fn encode_shared(&self, message: &Message) -> Option<Bytes> {
        let config = self.env.config.deflate.as_ref()?;
        let WireFormat::WebSocketDeflate { window_bits } = self.format() else {
            return None;
        };
        let mut frame = Vec::new();
        crate::proto::ws::deflate::Compressor::shared(window_bits, config)
            .encode(message, None, &mut frame);
        Some(frame.into())
    }

    /// Without the feature no format is compressed.
    #[cfg(not(feature = "deflate"))]
    pub(crate) fn encode_shared(&self, _: &Message) -> Option<Bytes> {
        None
    }

    /// Sends a message in the order of this connection's own sends, without waiting.
    pub(crate) fn send_message(&self, message: &Message) -> Result<(), PushError> {
        self.send_message_up_to(self.env.config.outbox_bytes, message)
    }

    /// As [`send_message`](Self::send_message), for who has waited for room: others may have taken it in the
    /// meantime, but what was promised holds.
    pub(crate) fn send_promised(&self, message: &Message) -> Result<(), PushError> {
        self.send_message_up_to(usize::MAX, message)
    }

    fn send_message_up_to(&self, mark: usize, message: &Message) -> Result<(), PushError> {
        if let Message::Ping(_) = message {
            return self.send_ping(|| self.send_encoded_up_to(mark, message));
        }
        self.send_encoded_up_to(mark, message)
    }

    fn send_encoded_up_to(&self, mark: usize, message: &Message) -> Result<(), PushError> {
        if !self.is_open() {
            self.note_sent_in_vain();
            return Err(PushError::Closed);
        }
        match self.format() {
            WireFormat::WebSocketTakeover => return self.push_own_up_to(mark, message),
            #[cfg(feature = "deflate")]
            WireFormat::WebSocketDeflate { .. } if message.is_data() => {
                return match self.encode_shared(message) {
                    Some(frame) => self.send_bytes_up_to(mark, &frame),
                    None => Err(PushError::Closed),
                };
            }
            _ => {}
        }
        let corked = cork::with(self.id, |cork| {
            self.charge(32 + message.len() / 4);
            match message {
                Message::Text(text) => {
                    let head = frame_head(message.opcode(), text.len());
                    cork.bytes().extend_from_slice(&head);
                    cork.push(text.as_shared());
                }
                Message::Binary(bytes) => {
                    let head = frame_head(message.opcode(), bytes.len());
                    cork.bytes().extend_from_slice(&head);
                    cork.push(bytes);
                }
                control => encode_message(control, cork.bytes()),
            }
            cork.is_full()
        });
        match corked {
            Some(true) => {
                self.flush_cork();
                Ok(())
            }
            Some(false) => Ok(()),
            None => self.push_up_to(mark, &encode_to_bytes(message)),
        }
    }
}
