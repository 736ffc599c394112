//! The handle through which other tasks send to a connection.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;

use super::{
    end::run_end_hook,
    link::Link,
    send::{Limit, Order, Payload},
};
use crate::{
    error::{PushError, ResponseError},
    proto::{
        http::chunked::LAST_CHUNK,
        ws::{CloseCode, Message},
    },
    wire::{WireFormat, refuse_close},
};

/// What a Ping frame begins with (RFC 6455 §5.2).
const PING_FRAME: u8 = 0x89;

/// A cheap handle to a connection's sending side, for code that delivers to many connections.
///
/// It never waits: what the socket does not take at once is queued, up to the outbox's high-water
/// mark ([`ServerConfig::outbox_bytes`](crate::ServerConfig)). Bytes pushed here must be whole
/// messages in the connection's [`WireFormat`]; they are never split by others' messages.
#[derive(Clone)]
pub struct Outbox {
    /// None for a channel that has no connection now: as one that is over.
    connection: Option<Arc<Link>>,
}

impl Outbox {
    pub(crate) fn new(connection: impl Into<Option<Arc<Link>>>) -> Self {
        Self {
            connection: connection.into(),
        }
    }

    /// Identifies the connection within this process, from 1; never used again. 0 for that of a channel without one.
    pub fn id(&self) -> u64 {
        self.connection
            .as_ref()
            .map_or(0, |connection| connection.id())
    }

    /// How messages have to be encoded.
    pub fn format(&self) -> WireFormat {
        self.connection
            .as_ref()
            .map_or(WireFormat::Http, |connection| connection.lane.format())
    }

    /// Whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.lane.is_open())
    }

    /// Bytes that wait for the peer to read.
    pub fn queued(&self) -> usize {
        self.connection
            .as_ref()
            .map_or(0, |connection| connection.lane.queued())
    }

    /// The runtime of the connection's server, for what delivers to it.
    #[doc(hidden)]
    pub fn __runtime(&self) -> Option<tokio::runtime::Handle> {
        self.connection.as_ref()?.env.runtime.clone()
    }

    fn connection(&self) -> Result<&Arc<Link>, PushError> {
        // What goes out beside the channel has no offset: a client that counts would take the channel's next message for one
        // that it has.
        self.connection
            .as_ref()
            .filter(|connection| !connection.lane.is_of_channel())
            .ok_or(PushError::Channel)
    }

    /// Whether this is the outbox of a channel of a session ([`Context::ws`](crate::Context::ws),
    /// [`Context::sse`](crate::Context::sse)), connected or not. Nothing can be sent through it, and it cannot join a room.
    pub fn is_of_channel(&self) -> bool {
        self.connection
            .as_ref()
            .is_none_or(|connection| connection.lane.is_of_channel())
    }

    /// Sends whole encoded messages, shared and not copied.
    ///
    /// # Errors
    /// [`PushError::Full`] when more than the high-water mark is waiting already, so that a message of
    /// any size fits into an outbox below it; [`PushError::Closed`] when the connection is over;
    /// [`PushError::Channel`] for the outbox of a channel, which numbers its messages itself.
    pub fn push(&self, bytes: &Bytes) -> Result<(), PushError> {
        let connection = self.connection()?;
        // A ping to many, encoded once.
        let is_ping = bytes.first() == Some(&PING_FRAME) && self.format().is_websocket();
        if is_ping {
            connection.lane.open_ping();
        }
        let sent = connection.lane().push(bytes);
        if is_ping && sent.is_err() {
            connection.lane.take_open_ping();
        }
        sent
    }

    /// Encodes a message for connections of this one's format, to be pushed to any number of them:
    /// compressed as this server is configured, where the format says so.
    ///
    /// # Errors
    /// As [`WireFormat::encode`].
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

    /// Sends one message to this connection alone, encoded as it needs it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where [`push`](Self::push) says full, [`io::ErrorKind::BrokenPipe`] where it
    /// says closed, [`io::ErrorKind::InvalidInput`] where it says that a channel has the connection,
    /// [`io::ErrorKind::InvalidData`] where the format cannot carry the message.
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

    /// Ends the connection: a WebSocket with a Close frame, dropping what waits if `drop_unsent`;
    /// an event stream by its end, so that a browser comes back.
    pub fn close(&self, code: CloseCode, reason: &str, drop_unsent: bool) {
        let Some(connection) = &self.connection else {
            return;
        };
        match self.format() {
            // Closed before: nothing is left to say.
            format if format.is_websocket() => {
                let _ = connection.close_websocket(code, reason, drop_unsent);
            }
            WireFormat::EventStreamChunked if !drop_unsent => {
                let _ = connection.lane().send_last(LAST_CHUNK, false);
                connection.signal_close();
            }
            _ => connection.signal_close(),
        }
    }

    /// Runs `hook` once when the connection is over, at once if it is already.
    /// The key takes it back with [`cancel_end`](Self::cancel_end); no key is given twice within a process.
    ///
    /// Hooks run one after the other, on the connection's task. A panic in one is logged, and the others run.
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

    /// Takes back a hook. A key whose hook has run, or that belongs to another connection, has no effect.
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
