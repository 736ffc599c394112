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

/// A stream of Server-Sent Events, as a cheap clone that any task may hold.
///
/// Comments keep it alive through proxies; a client that leaves is noticed at once.
///
/// [`Context::event_stream`](crate::Context::event_stream) gives the stream of one connection,
/// [`Context::sse`](crate::Context::sse) the channel of a session, which outlives its connections and reaches all of its
/// tabs. Where the two differ, the methods say so.
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

    /// The id of the next message: from 0 on a connection, from 1 on a channel, where it is the offset.
    pub fn id(&self) -> u64 {
        match &self.target {
            Target::Connection { next_id, .. } => next_id.load(Ordering::Acquire),
            Target::Channel(channel) => channel.next_offset(),
        }
    }

    /// Whether events can still be sent.
    ///
    /// A channel is open from its first connection on, and while its client may still come back.
    pub fn is_open(&self) -> bool {
        match &self.target {
            Target::Connection { connection, .. } => connection.lane.is_open(),
            Target::Channel(channel) => channel.is_open(),
        }
    }

    /// The handle for code that delivers to many connections. Of a channel it is that of the connection it has now, which it can
    /// tell of and close: nothing but the channel itself sends there.
    pub fn outbox(&self) -> Outbox {
        match &self.target {
            Target::Connection { connection, .. } => Outbox::new(connection.shared().clone()),
            Target::Channel(channel) => Outbox::new(channel.connection()),
        }
    }

    /// Sends a message as an event's data, with the next id.
    /// Waits only while more than the outbox's high-water mark waits for the client.
    ///
    /// On a channel the message goes to all tabs, and waits for those that are being connected anew. Only a full buffer
    /// has the sender wait, at most the channel's send timeout.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for bytes that are not UTF-8, [`io::ErrorKind::BrokenPipe`] when the
    /// client is gone, or the channel is over. [`io::ErrorKind::TimedOut`] when the buffer of a channel stayed full.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the event is either sent whole or not at all.
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
            // In a box, so that handlers which only have a connection hold no room for it while they wait.
            Target::Channel(channel) if message.is_data() => Box::pin(channel.send(message)).await,
            Target::Channel(_) => refuse_close(&message),
        }
    }

    /// Sends a value as JSON, with the next id.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`io::ErrorKind::InvalidData`] when the value has no JSON form.
    pub async fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string(value)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.send(text).await
    }

    /// Sends an event as it is. A channel gives it its own id, whatever id it had.
    ///
    /// An event without data, which clients do not dispatch, leaves a channel as an event `position` with what else it says,
    /// such as `retry`. The names `position`, `reset` and `binary` are the channel's own: events of a program should have others.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for an event that the format cannot carry,
    /// [`io::ErrorKind::BrokenPipe`] when the client is gone, and what [`send`](Self::send) says of channels.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the event is either sent whole or not at all.
    pub async fn send_event(&self, event: Event) -> io::Result<()> {
        match &self.target {
            Target::Connection { connection, .. } => send(connection, &event).await,
            Target::Channel(channel) => Box::pin(channel.send_event(event)).await,
        }
    }

    /// Ends the stream. A browser comes back to the stream of a connection; a channel is over, and tells whoever comes
    /// back for it to stop (204).
    pub fn close(&self) {
        match &self.target {
            Target::Connection { .. } => self.outbox().close(CloseCode::NORMAL, "", false),
            // Closed before.
            Target::Channel(channel) => drop(channel.close(CloseCode::NORMAL, "")),
        }
    }

    /// Keeps the stream open when the handler returns: until the client has gone, the stream is closed, or the last handle is
    /// dropped, which ends it.
    ///
    /// As [`WebSocket::keep_open`](crate::WebSocket::keep_open), where the rules are.
    pub fn keep_open(&self) {
        if let Target::Connection { connection, .. } = &self.target {
            connection.lane.handles.set_kept_open(true);
        }
    }

    /// Waits until the client has gone or the server shuts down; on a channel, until it is over.
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
            // Another sender was faster.
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
