//! The handle of an event stream.

use std::{
    fmt,
    future::poll_fn,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

use crate::{
    channel::Channel,
    conn::{
        handle::Handle,
        lifecycle::Until,
        link::Link,
        outbox::Outbox,
        send::{Limit, Order, Payload},
        wakers::UntilEnd,
    },
    error::PushError,
    proto::{
        sse::Event,
        ws::{CloseCode, Message},
    },
    wire::refuse_close,
};

/// A stream of Server-Sent Events; a cheap clone that any task may hold.
///
/// Comments keep it alive through proxies. The server notices at once when the client leaves.
///
/// [`Context::event_stream`](crate::Context::event_stream) returns the stream of one connection.
/// [`Context::sse`](crate::Context::sse) returns the channel of a session, which outlives its connections and reaches
/// all of its tabs. The methods name the differences.
#[derive(Clone)]
pub struct ServerSentEvents {
    target: Target,
}

#[derive(Clone)]
enum Target {
    Connection {
        connection: Handle,
        next_id: Arc<AtomicU64>,
    },
    Channel(Arc<Channel>),
}

impl ServerSentEvents {
    pub(crate) fn new(connection: Arc<Link>) -> Self {
        Self {
            target: Target::Connection {
                connection: Handle::new(connection),
                next_id: Arc::new(AtomicU64::new(0)),
            },
        }
    }

    pub(crate) fn of_channel(channel: Arc<Channel>) -> Self {
        Self {
            target: Target::Channel(channel),
        }
    }

    /// Returns the id of the next message: on a connection from 0; on a channel its offset, from 1.
    pub fn id(&self) -> u64 {
        match &self.target {
            Target::Connection { next_id, .. } => next_id.load(Ordering::Acquire),
            Target::Channel(channel) => channel.next_offset(),
        }
    }

    /// Returns whether events can still be sent.
    ///
    /// A channel is open from its first connection until it ends, also while its client is away.
    pub fn is_open(&self) -> bool {
        match &self.target {
            Target::Connection { connection, .. } => connection.lane.is_open(),
            Target::Channel(channel) => channel.is_open(),
        }
    }

    /// Returns the handle for code that delivers to many connections. For a channel it is the handle of its current
    /// connection, which it can describe and close; only the channel itself can send there.
    pub fn outbox(&self) -> Outbox {
        match &self.target {
            Target::Connection { connection, .. } => Outbox::new(connection.shared().clone()),
            Target::Channel(channel) => Outbox::new(channel.connection()),
        }
    }

    /// Sends a message as the data of an event with the next id. Waits only while the queue is above the outbox's
    /// high-water mark.
    ///
    /// On a channel the message goes to all tabs; the channel keeps it for tabs that are reconnecting. The sender waits
    /// only while the channel's buffer is full, at most the channel's send timeout.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for bytes that are not UTF-8, [`io::ErrorKind::BrokenPipe`] if the client has
    /// left or the channel has ended, [`io::ErrorKind::TimedOut`] if the channel's buffer stayed full.
    ///
    /// # Cancel safety
    /// If the future is dropped, the event is either sent whole or not at all.
    pub async fn send(&self, message: impl Into<Message>) -> io::Result<()> {
        let message = message.into();
        let text = message
            .to_str()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match &self.target {
            Target::Connection { next_id, .. } => {
                let id = next_id.fetch_add(1, Ordering::AcqRel);
                self.send_event(Event::new().id(id.to_string()).data(text))
                    .await
            }
            // Boxed, so that handlers of plain connections reserve no space for it.
            Target::Channel(channel) if message.is_data() => Box::pin(channel.send(message)).await,
            Target::Channel(_) => refuse_close(&message),
        }
    }

    /// Sends a value as JSON, with the next id.
    ///
    /// # Errors
    /// Returns the errors of [`send`](Self::send), and [`io::ErrorKind::InvalidData`] if the value has no JSON form.
    pub async fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string(value)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.send(text).await
    }

    /// Sends an event unchanged. A channel replaces its id by the offset.
    ///
    /// Clients do not dispatch an event without data. A channel sends it under the name `position`, with its other
    /// fields, such as `retry`. The names `position`, `reset` and `binary` are reserved for the channel.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for an event that the format cannot carry, [`io::ErrorKind::BrokenPipe`] if the
    /// client has left, and those of [`send`](Self::send) on channels.
    ///
    /// # Cancel safety
    /// If the future is dropped, the event is either sent whole or not at all.
    pub async fn send_event(&self, event: Event) -> io::Result<()> {
        match &self.target {
            Target::Connection { connection, .. } => send(connection, &event).await,
            Target::Channel(channel) => Box::pin(channel.send_event(event)).await,
        }
    }

    /// Closes the stream. A browser reconnects to the stream of a connection. A channel ends, and clients that
    /// reconnect are told to stop (204).
    pub fn close(&self) {
        match &self.target {
            Target::Connection { .. } => self.outbox().close(CloseCode::NORMAL, "", false),
            // An error means that it was closed before.
            Target::Channel(channel) => drop(channel.close(CloseCode::NORMAL, "")),
        }
    }

    /// Keeps the stream open after the handler returns, until the client leaves, the stream is closed, or the last
    /// handle is dropped.
    ///
    /// The rules are those of [`WebSocket::keep_open`](crate::WebSocket::keep_open).
    pub fn keep_open(&self) {
        if let Target::Connection { connection, .. } = &self.target {
            connection.lane.handles.set_kept_open(true);
        }
    }

    /// Waits until the client has left or the server shuts down; on a channel, until it has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        match &self.target {
            Target::Connection { connection, .. } => {
                UntilEnd::new(&**connection, Until::Closed).await
            }
            Target::Channel(channel) => channel.over().await,
        }
    }
}

async fn send(connection: &Link, event: &Event) -> io::Result<()> {
    let bytes = connection.lane.format().encode_event(event)?;
    loop {
        poll_fn(|cx| connection.lane().poll_room(cx))
            .await
            .map_err(closed)?;
        match connection
            .lane()
            .send(Payload::Shared(&bytes), Order::Own, Limit::Mark)
        {
            // Another sender has used up the room.
            Err(PushError::Full) => {}
            sent => {
                if sent.is_ok() {
                    connection.env.metrics.message_sent();
                }
                return sent.map_err(closed);
            }
        }
    }
}

fn closed(error: PushError) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}

impl fmt::Debug for ServerSentEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSentEvents")
            .field("connection", &self.outbox().id())
            .field("open", &self.is_open())
            .finish()
    }
}
