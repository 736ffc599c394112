//! The handle by which a program sends Server-Sent Events to a client.

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

/// A handle of a stream of Server-Sent Events. Clones are cheap, and any task may hold one.
///
/// The server sends comments to keep the stream alive through proxies. The server notices at once when the client
/// leaves.
///
/// [`Context::event_stream`](crate::Context::event_stream) returns the stream of one connection.
/// [`Context::sse`](crate::Context::sse) returns the stream of a channel. A channel belongs to a session. It carries
/// the program's messages to all browser tabs of the session, and outlives the connections of the tabs. The docs of
/// each method say where a channel differs from a connection.
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

    /// Returns the id of the next message. A connection counts ids from 0. On a channel, the id is the offset of the
    /// message in the channel, counted from 1.
    pub fn id(&self) -> u64 {
        match &self.target {
            Target::Connection { next_id, .. } => next_id.load(Ordering::Acquire),
            Target::Channel(channel) => channel.next_offset(),
        }
    }

    /// Returns the name of the channel, as in [`Context::channel`](crate::Context::channel). Returns `None` for a channel
    /// without a name, and for the stream of one connection.
    pub fn channel_name(&self) -> Option<&str> {
        match &self.target {
            Target::Connection { .. } => None,
            Target::Channel(channel) => channel.name(),
        }
    }

    /// Returns whether events can still be sent.
    ///
    /// A channel is open from its first connection until the channel ends, even while no client is connected.
    pub fn is_open(&self) -> bool {
        match &self.target {
            Target::Connection { connection, .. } => connection.lane.is_open(),
            Target::Channel(channel) => channel.is_open(),
        }
    }

    /// Returns the connection's [`Outbox`], a handle for code that delivers to many connections.
    ///
    /// For a channel, returns the outbox of the newest connection; without a connection, the outbox is closed. This
    /// outbox shows the state of the connection and can close it. Sends through this outbox fail, because only the
    /// channel may send to the connection.
    pub fn outbox(&self) -> Outbox {
        match &self.target {
            Target::Connection { connection, .. } => Outbox::new(connection.shared().clone()),
            Target::Channel(channel) => Outbox::new(channel.connection()),
        }
    }

    /// Sends a message as the data of an event. The event gets the next [`id`](Self::id). Waits only while the
    /// connection's queue is above its high-water mark ([`ServerConfig::outbox_bytes`](crate::ServerConfig)).
    ///
    /// A channel sends the message to all tabs of the session, and keeps the message for tabs that are reconnecting. On
    /// a channel, the call waits only while the channel's buffer is full, and at most for the channel's send timeout.
    ///
    /// # Errors
    /// - [`io::ErrorKind::InvalidData`] for bytes that are not UTF-8, and for a Close on a channel.
    /// - [`io::ErrorKind::BrokenPipe`] if the client has left or the channel has ended.
    /// - [`io::ErrorKind::TimedOut`] if the channel's buffer stayed full for the whole send timeout.
    /// - [`io::ErrorKind::OutOfMemory`] if no client of the channel is connected, and the memory for sessions
    ///   ([`ServerConfig::session_memory`](crate::ServerConfig)) has no room for the message.
    ///
    /// # Cancel safety
    /// If the future is dropped, the event is sent either whole or not at all.
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
            // This future is boxed. Unboxed, it would take space in the futures of all callers, also of those that send
            // on a plain connection.
            Target::Channel(channel) if message.is_data() => Box::pin(channel.send(message)).await,
            Target::Channel(_) => refuse_close(&message),
        }
    }

    /// Sends a value as JSON, as the data of an event. The event gets the next [`id`](Self::id).
    ///
    /// # Errors
    /// Returns the errors of [`send`](Self::send), and [`io::ErrorKind::InvalidData`] if the value has no JSON form.
    pub async fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string(value)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.send(text).await
    }

    /// Sends an event. A connection sends the event unchanged. A channel replaces the event's id by a text that
    /// contains the event's offset in the channel. With this id, a client that connects again resumes after the event.
    ///
    /// For an event without data, a browser calls no event listener, and some browsers also ignore its id. Without the
    /// id, the client could not resume after this event. A channel therefore sends such an event under the name
    /// `position`, with the event's id as its data. The event's other fields, such as `retry`, stay. The names
    /// `position`, `reset` and `binary` are reserved for events of the channel itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for an event that the format cannot carry, [`io::ErrorKind::BrokenPipe`] if the
    /// client has left. A channel also returns the errors of [`send`](Self::send).
    ///
    /// # Cancel safety
    /// If the future is dropped, the event is sent either whole or not at all.
    pub async fn send_event(&self, event: Event) -> io::Result<()> {
        match &self.target {
            Target::Connection { connection, .. } => send(connection, &event).await,
            Target::Channel(channel) => Box::pin(channel.send_event(event)).await,
        }
    }

    /// Closes the stream. If the stream belongs to a single connection, a browser then connects again by itself. On a
    /// channel, this call ends the channel: the server answers each client that connects again with 204, and a browser
    /// then stops.
    pub fn close(&self) {
        match &self.target {
            Target::Connection { .. } => self.outbox().close(CloseCode::NORMAL, "", false),
            // An error means that the channel has already ended.
            Target::Channel(channel) => drop(channel.close(CloseCode::NORMAL, "")),
        }
    }

    /// Keeps the stream open after the handler (the program's function for the route) returns. The stream then ends
    /// when the client leaves, the program closes the stream, or the last handle is dropped. Has no effect on a
    /// channel.
    ///
    /// [`WebSocket::keep_open`](crate::WebSocket::keep_open) has the full rules.
    pub fn keep_open(&self) {
        if let Target::Connection { connection, .. } = &self.target {
            connection.lane.handles.set_kept_open(true);
        }
    }

    /// Waits until the client has left or the server shuts down. On a channel, waits until the channel has ended.
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
            // Another sender has filled the queue since `poll_room` was ready.
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
