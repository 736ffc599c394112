//! The outbox: the handle by which other tasks send to a connection.

use std::{fmt, io, sync::Arc, task::Waker};

use bytes::Bytes;

use super::{
    barrier::Barrier,
    barrier::{PastHeld, Undelivered},
    end::run_end_hook,
    link::Link,
    send::{Limit, Order, Payload},
};
use crate::{
    error::{PushError, ResponseError},
    proto::ws::{CloseCode, Message},
    wire::{WireFormat, refuse_close},
};

/// The first byte of a Ping frame (RFC 6455 §5.2).
const PING_FRAME: u8 = 0x89;

/// A handle to the sending side of a connection, for code that delivers to many connections. Clones are cheap.
///
/// Sending never waits. Bytes that the socket does not accept at once are queued, up to the outbox's high-water mark
/// ([`ServerConfig::outbox_bytes`](crate::ServerConfig)). Bytes passed to [`push`](Self::push) must be whole messages
/// in the connection's [`WireFormat`]. Messages of other senders never split these bytes.
#[derive(Clone)]
pub struct Outbox {
    /// `None` for a session's channel that has no connection now. Such an outbox is not open, and refuses messages with
    /// [`PushError::Channel`].
    connection: Option<Arc<Link>>,
}

impl Outbox {
    pub(crate) fn new(connection: impl Into<Option<Arc<Link>>>) -> Self {
        Self {
            connection: connection.into(),
        }
    }

    /// Returns the connection's number within this process; 0 for a channel without a connection. Numbers begin at 1
    /// and are never reused.
    pub fn id(&self) -> u64 {
        self.connection
            .as_ref()
            .map_or(0, |connection| connection.id())
    }

    /// Returns the format in which messages for this connection have to be encoded.
    pub fn format(&self) -> WireFormat {
        self.connection
            .as_ref()
            .map_or(WireFormat::Http, |connection| connection.lane.format())
    }

    /// Returns whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.lane.is_open())
    }

    /// Returns the number of bytes in the queue. Includes the bytes that wait until messages of rooms, which are on their
    /// way to the connection, have been delivered.
    pub fn queued(&self) -> usize {
        self.connection
            .as_ref()
            .map_or(0, |connection| connection.lane.queued())
    }

    /// Returns the runtime of the connection's server, for tasks that deliver to the connection.
    #[doc(hidden)]
    pub fn __runtime(&self) -> Option<tokio::runtime::Handle> {
        self.connection.as_ref()?.env.runtime.clone()
    }

    fn connection(&self) -> Result<&Arc<Link>, PushError> {
        // Only the channel may send on its connections, because clients may count the channel's messages. A message
        // from another sender would be counted as well. The client would then mistake the channel's next message for a
        // message that it already has.
        self.connection
            .as_ref()
            .filter(|connection| !connection.lane.is_of_channel())
            .ok_or(PushError::Channel)
    }

    /// Returns whether this is the outbox of a session's channel ([`Context::ws`](crate::Context::ws),
    /// [`Context::sse`](crate::Context::sse)), connected or not. Only the channel can send through such an outbox. A
    /// room of the crate `hyperlane-broadcast` refuses such an outbox.
    pub fn is_of_channel(&self) -> bool {
        self.connection
            .as_ref()
            .is_none_or(|connection| connection.lane.is_of_channel())
    }

    /// Sends whole encoded messages. The bytes are shared, not copied.
    ///
    /// # Errors
    /// [`PushError::Full`] if the queue is above the high-water mark; below the mark, a message of any size fits.
    /// [`PushError::Closed`] if the connection is closed. [`PushError::Channel`] for the outbox of a channel, because
    /// the channel numbers its messages.
    pub fn push(&self, bytes: &Bytes) -> Result<(), PushError> {
        let connection = self.connection()?;
        self.count_ping(connection, bytes, || connection.lane().push(bytes))
    }

    /// Sends bytes, which may be a ping that a sender has encoded once for many connections. The first byte identifies a
    /// ping.
    fn count_ping(
        &self,
        connection: &Link,
        bytes: &Bytes,
        send: impl FnOnce() -> Result<(), PushError>,
    ) -> Result<(), PushError> {
        let is_ping = bytes.first() == Some(&PING_FRAME) && self.format().is_websocket();
        if is_ping {
            connection.lane.open_ping();
        }
        let sent = send();
        if is_ping && sent.is_err() {
            connection.lane.take_open_ping();
        }
        sent
    }

    /// Encodes a message in this connection's format. The result can be pushed to any connection that has the same
    /// format. A compressed format uses the compression settings of the server.
    ///
    /// # Errors
    /// Returns the errors of [`WireFormat::encode`].
    pub fn encode(&self, message: &Message) -> io::Result<Bytes> {
        refuse_close(message)?;
        let shared = self
            .connection
            .as_ref()
            .and_then(|connection| connection.lane().encode_shared(message));
        match shared {
            Some(frame) => Ok(frame),
            None => self.format().encode(message),
        }
    }

    /// Encodes a message and sends it to this connection alone.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] for [`PushError::Full`], [`io::ErrorKind::BrokenPipe`] for
    /// [`PushError::Closed`], [`io::ErrorKind::InvalidInput`] for [`PushError::Channel`], and
    /// [`io::ErrorKind::InvalidData`] if the format cannot carry the message.
    pub fn send(&self, message: &Message) -> io::Result<()> {
        refuse_close(message)?;
        let failed = |error| io::Error::from(ResponseError::from(error));
        let connection = self.connection().map_err(failed)?;
        let sent = match self.format() {
            format if format.is_shared() => self.push(&self.encode(message)?),
            _ => connection
                .lane()
                .send(Payload::Message(message), Order::Now, Limit::Mark),
        };
        sent.map_err(failed)
    }

    /// Closes the connection. A WebSocket first gets the queued messages and then a Close frame with `code` and
    /// `reason`. An event stream ends without `code` and `reason`, and a browser then reconnects. Messages that a room
    /// has published before this call also come first, if the room delivers them within
    /// [`ServerConfig::close_timeout`](crate::ServerConfig). Meanwhile, other sends fail with [`PushError::Closed`].
    ///
    /// With `drop_unsent`, the connection closes at once, and all queued messages except the first are dropped. The
    /// first stays, because a part of it may be sent already. An event stream then ends without its last chunk, because
    /// events are missing. If the connection is closing already, but still waits for messages of a room, this wait
    /// ends, and a WebSocket gets the earlier code and reason.
    pub fn close(&self, code: CloseCode, reason: &str, drop_unsent: bool) {
        let Some(connection) = &self.connection else {
            return;
        };
        match self.format() {
            // An error means that the WebSocket was closed before.
            format if format.is_websocket() => {
                let _ = connection.close_websocket(code, reason, drop_unsent);
            }
            format if format.is_events() => connection.lane().end_events(drop_unsent),
            _ => connection.signal_close(),
        }
    }

    /// Adds a barrier: the connection's own sends and its end wait for the messages that are on their way, as the barrier
    /// says. Has no effect if the connection takes no more messages, or has this barrier already. A connection has at
    /// most 65 536 barriers; usually it has one.
    #[doc(hidden)]
    pub fn __add_barrier(&self, barrier: Arc<dyn Barrier>) {
        if let Some(connection) = &self.connection {
            connection.lane().add_barrier(barrier);
        }
    }

    /// Releases a ticket of [`Barrier::hold`]: sends what waited for it, unless it waits for another barrier as well.
    /// Any thread may call this.
    #[doc(hidden)]
    pub fn __release(&self, ticket: u64) {
        if let Some(connection) = &self.connection {
            connection.lane().release(ticket);
        }
    }

    /// Sends whole encoded messages like [`push`](Self::push), but past the barriers. Unlike `push`, also works while
    /// the connection is about to close and waits for messages that are on their way. `past` tells whether the messages
    /// may overtake the connection's own sends that are held.
    ///
    /// # Errors
    /// [`Undelivered::Full`] if the queue has more bytes than `limit`, or than
    /// [`ServerConfig::outbox_bytes`](crate::ServerConfig). What waits for a barrier does not count. Otherwise the other
    /// variants of [`Undelivered`].
    #[doc(hidden)]
    #[inline]
    pub fn __deliver(
        &self,
        bytes: &Bytes,
        limit: usize,
        past: PastHeld,
    ) -> Result<(), Undelivered> {
        let Ok(connection) = self.connection() else {
            return Err(Undelivered::Closed);
        };
        if bytes.first() == Some(&PING_FRAME) {
            return self.deliver_ping(connection, bytes, limit, past);
        }
        connection.lane().deliver(bytes, limit, past)
    }

    #[cold]
    fn deliver_ping(
        &self,
        connection: &Link,
        bytes: &Bytes,
        limit: usize,
        past: PastHeld,
    ) -> Result<(), Undelivered> {
        let is_ping = self.format().is_websocket();
        if is_ping {
            connection.lane.open_ping();
        }
        let sent = connection.lane().deliver(bytes, limit, past);
        if is_ping && sent.is_err() {
            connection.lane.take_open_ping();
        }
        sent
    }

    /// Encodes messages and sends them like [`__deliver`](Self::__deliver). The connection calls `encode` under a lock of
    /// its own, only if it takes the messages. So the encoded bytes may tell what was sent before. `encode` must not call
    /// the connection, and must not wait for a thread that does. Empty bytes send nothing.
    ///
    /// # Errors
    /// Returns the errors of [`__deliver`](Self::__deliver).
    #[doc(hidden)]
    pub fn __deliver_with(
        &self,
        limit: usize,
        past: PastHeld,
        encode: impl FnOnce() -> Bytes,
    ) -> Result<(), Undelivered> {
        match self.connection() {
            Ok(connection) => connection.lane().deliver_with(limit, past, encode),
            Err(_) => Err(Undelivered::Closed),
        }
    }

    /// Sends a message like [`__deliver`](Self::__deliver), encoded for this connection alone. This is for the format
    /// [`WireFormat::WebSocketTakeover`], which compresses messages in the order of sending. For any other format, call
    /// `__deliver`.
    ///
    /// # Errors
    /// Returns the errors of [`__deliver`](Self::__deliver), and [`Undelivered::Closed`] if the format cannot carry the
    /// message.
    #[doc(hidden)]
    pub fn __deliver_message(
        &self,
        message: &Message,
        limit: usize,
        past: PastHeld,
    ) -> Result<(), Undelivered> {
        if self.format().is_shared() || matches!(message, Message::Ping(_)) {
            let bytes = self.encode(message).map_err(|_| Undelivered::Closed)?;
            return self.__deliver(&bytes, limit, past);
        }
        let Ok(connection) = self.connection() else {
            return Err(Undelivered::Closed);
        };
        if refuse_close(message).is_err() {
            return Err(Undelivered::Closed);
        }
        connection.lane().deliver_message(message, limit, past)
    }

    /// Returns true if the queue has at most `limit` bytes (and at most
    /// [`ServerConfig::outbox_bytes`](crate::ServerConfig)), or if the connection takes no more messages. Otherwise
    /// wakes `waker` once, as soon as one of these is so. If a waker is registered with two limits, the higher one
    /// applies.
    #[doc(hidden)]
    pub fn __poll_drained(&self, limit: usize, waker: &Waker) -> bool {
        self.connection
            .as_ref()
            .is_none_or(|connection| connection.lane().poll_drained(limit, waker))
    }

    /// Returns true if nothing is held. Otherwise wakes `waker` once when something that was held is sent: the caller
    /// then tries again.
    #[doc(hidden)]
    pub fn __poll_released(&self, waker: &Waker) -> bool {
        self.connection
            .as_ref()
            .is_none_or(|connection| connection.lane().poll_released(waker))
    }

    /// Runs `hook` once, as soon as the connection takes no more messages: its Close frame or its last chunk is sent or
    /// queued, it has begun to close, the peer's Close has arrived, or the peer is gone. If that is so already, runs
    /// `hook` at once. The hook does not run under a lock of the connection.
    #[doc(hidden)]
    pub fn __on_closed(&self, hook: impl FnOnce() + Send + 'static) {
        match &self.connection {
            Some(connection) => connection.lane().on_closed(Box::new(hook)),
            None => run_end_hook(Box::new(hook)),
        }
    }

    /// Runs `hook` once after the connection has ended. Returns a key for [`cancel_end`](Self::cancel_end); the key is
    /// unique within the process. If the connection has ended already, runs `hook` at once and returns `None`.
    ///
    /// The hooks of a connection run one after the other, on the connection's task. If a hook panics, the panic is
    /// logged and the other hooks run.
    pub fn on_end(&self, hook: impl FnOnce() + Send + 'static) -> Option<u64> {
        match &self.connection {
            Some(connection) => {
                let lane = &connection.lane;
                lane.ends.add(&lane.life, Box::new(hook))
            }
            None => {
                run_end_hook(Box::new(hook));
                None
            }
        }
    }

    /// Cancels a hook of [`on_end`](Self::on_end). The call has no effect if the hook has already run, or if the key
    /// belongs to another connection.
    pub fn cancel_end(&self, key: u64) {
        if let Some(connection) = &self.connection {
            connection.lane.ends.cancel(key);
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("id", &self.id())
            .field("format", &self.format())
            .field("open", &self.is_open())
            .finish()
    }
}
