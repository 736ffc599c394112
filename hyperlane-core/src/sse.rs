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

use bytes::Bytes;
use serde::Serialize;

use crate::{
    conn::{Conn, WireFormat, out::PushError, outbox::Outbox},
    proto::{http::chunked, sse::Event, ws::Message},
};

/// Ends a chunked body (RFC 9112 §7.1).
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Encoded events as this connection's wire wants them.
pub(crate) fn frame(format: WireFormat, events: &[u8]) -> Bytes {
    match format {
        WireFormat::EventStreamChunked if !events.is_empty() => {
            let mut chunk = Vec::with_capacity(events.len() + 16);
            chunked::encode_chunk_head(events.len(), &mut chunk);
            chunk.extend_from_slice(events);
            chunk.extend_from_slice(b"\r\n");
            chunk.into()
        }
        _ => Bytes::copy_from_slice(events),
    }
}

/// A Close is no message among others.
pub(crate) fn refuse_close(message: &Message) -> io::Result<()> {
    match message {
        Message::Close(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a Close is sent by closing the connection",
        )),
        _ => Ok(()),
    }
}

impl WireFormat {
    /// The wire bytes of `message` in this format, to be pushed to any number of such connections.
    ///
    /// A text message becomes a frame, or an event with the text as its data. Frames are not compressed
    /// here, which every connection accepts: [`Outbox::encode`] does.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the format cannot carry it: binary that is not UTF-8 in an
    /// event stream, anything on a connection that is neither, and a Close, which ends one connection
    /// ([`Outbox::close`](crate::Outbox::close)) and after which nothing may follow (RFC 6455 §5.5.1).
    pub fn encode(self, message: &Message) -> io::Result<Bytes> {
        refuse_close(message)?;
        match self {
            Self::WebSocket | Self::WebSocketDeflate { .. } | Self::WebSocketTakeover => {
                Ok(crate::proto::ws::encode_to_bytes(message))
            }
            Self::EventStream | Self::EventStreamChunked => {
                let text = message
                    .to_str()
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                self.encode_event(&Event::from(text))
            }
            Self::Http => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the connection is neither a WebSocket nor an event stream",
            )),
        }
    }

    /// The wire bytes of `event` in this format.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for an event that is not well-formed, or another format.
    pub fn encode_event(self, event: &Event) -> io::Result<Bytes> {
        match self {
            Self::EventStream | Self::EventStreamChunked => {
                let mut bytes = Vec::with_capacity(64);
                event
                    .encode(&mut bytes)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Ok(frame(self, &bytes))
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "only an event stream carries events: send a message",
            )),
        }
    }
}

/// A stream of Server-Sent Events, as a cheap clone that any task may hold.
///
/// Comments keep it alive through proxies; a client that leaves is noticed at once.
#[derive(Clone)]
pub struct ServerSentEvents {
    connection: Arc<Conn>,
    next_id: Arc<AtomicU64>,
}

impl ServerSentEvents {
    pub(crate) fn new(connection: Arc<Conn>) -> Self {
        Self {
            connection,
            next_id: Arc::new(AtomicU64::new(0)),
        }
    }

    /// The id of the next message.
    pub fn id(&self) -> u64 {
        self.next_id.load(Ordering::Acquire)
    }

    /// Whether events can still be sent.
    pub fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// The handle for code that delivers to many connections.
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.connection.clone())
    }

    /// Sends a message as an event's data, with the next id.
    /// Waits only while more than the outbox's high-water mark waits for the client.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for bytes that are not UTF-8, [`io::ErrorKind::BrokenPipe`] when the
    /// client is gone.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the event is either sent whole or not at all.
    pub async fn send(&self, message: impl Into<Message>) -> io::Result<()> {
        let message = message.into();
        let text = message
            .to_str()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let id = self.next_id.fetch_add(1, Ordering::AcqRel);
        self.send_event(Event::new().id(id.to_string()).data(text))
            .await
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

    /// Sends an event as it is.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for an event that the format cannot carry,
    /// [`io::ErrorKind::BrokenPipe`] when the client is gone.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the event is either sent whole or not at all.
    pub async fn send_event(&self, event: Event) -> io::Result<()> {
        let bytes = self.connection.format().encode_event(&event)?;
        loop {
            poll_fn(|cx| self.connection.poll_room(cx))
                .await
                .map_err(closed)?;
            match self.connection.send_bytes(&bytes) {
                // Another sender was faster.
                Err(PushError::Full) => {}
                sent => {
                    if sent.is_ok() {
                        self.connection.server.metrics.message_sent();
                    }
                    return sent.map_err(closed);
                }
            }
        }
    }

    /// Waits until the client has gone or the server shuts down.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        poll_fn(|cx| self.connection.poll_closed(cx)).await;
    }
}

fn closed(error: PushError) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}

impl fmt::Debug for ServerSentEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSentEvents")
            .field("id", &self.connection.id)
            .field("peer", &self.connection.peer())
            .field("open", &self.is_open())
            .finish()
    }
}
