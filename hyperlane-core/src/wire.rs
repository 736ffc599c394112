//! The formats in which connections send messages, and the encoding of a message in each format.

use std::io;

use bytes::Bytes;

use crate::proto::{
    http::chunked,
    sse::Event,
    ws::{Message, encode_to_bytes},
};

/// The format in which a connection sends messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireFormat {
    /// HTTP responses. No message can be pushed to such a connection.
    Http,
    /// WebSocket frames.
    WebSocket,
    /// WebSocket frames, compressed without context takeover (RFC 7692 §7.1). A frame that was encoded for one
    /// connection is valid for all connections with the same window.
    WebSocketDeflate {
        /// The base-2 logarithm of the server's window size in bytes, 8 to 15.
        window_bits: u8,
    },
    /// WebSocket frames, compressed with the earlier messages of the same connection as context. A frame is valid for
    /// one connection only, so [`Outbox::send`](crate::Outbox::send) encodes a message again for every connection.
    WebSocketTakeover,
    /// Server-Sent Events without chunked encoding. The end of the connection marks the end of the stream.
    EventStream,
    /// Server-Sent Events in HTTP/1.1 chunks.
    EventStreamChunked,
}

impl WireFormat {
    /// Returns whether messages can be pushed to connections of this format.
    pub fn is_pushable(self) -> bool {
        self != Self::Http
    }

    /// Returns whether messages are WebSocket frames.
    pub fn is_websocket(self) -> bool {
        matches!(
            self,
            Self::WebSocket | Self::WebSocketDeflate { .. } | Self::WebSocketTakeover
        )
    }

    /// Returns whether messages are events.
    pub(crate) fn is_events(self) -> bool {
        matches!(self, Self::EventStream | Self::EventStreamChunked)
    }

    /// Returns whether a message that was encoded for one connection of this format is valid for all of them.
    pub fn is_shared(self) -> bool {
        self != Self::WebSocketTakeover
    }

    pub(crate) const fn to_index(self) -> u8 {
        match self {
            Self::Http => 0,
            Self::WebSocket => 1,
            Self::EventStream => 2,
            Self::EventStreamChunked => 3,
            Self::WebSocketTakeover => 4,
            Self::WebSocketDeflate { window_bits } => window_bits,
        }
    }

    pub(crate) const fn from_index(index: u8) -> Self {
        match index {
            1 => Self::WebSocket,
            2 => Self::EventStream,
            3 => Self::EventStreamChunked,
            4 => Self::WebSocketTakeover,
            window_bits @ 8..=15 => Self::WebSocketDeflate { window_bits },
            _ => Self::Http,
        }
    }
}

impl WireFormat {
    /// Encodes `message` in this format, for any number of connections.
    ///
    /// In a WebSocket format, a message becomes a frame. The frame is not compressed, so it is valid for every
    /// WebSocket. For a frame that may be compressed, call [`Outbox::encode`](crate::Outbox::encode). In an event
    /// stream, a message becomes an event with the message's text as its data.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::InvalidData`] for a message that the format cannot carry: any message in HTTP
    /// responses, data that is not UTF-8 in an event stream, and a Close in any format. A Close is the last frame of
    /// one connection (RFC 6455 §5.5.1), so it is not encoded for many connections. To close a connection, call
    /// [`Outbox::close`](crate::Outbox::close).
    pub fn encode(self, message: &Message) -> io::Result<Bytes> {
        refuse_close(message)?;
        match self {
            Self::WebSocket | Self::WebSocketDeflate { .. } | Self::WebSocketTakeover => {
                Ok(encode_to_bytes(message))
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

    /// Encodes `event` in this format.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::InvalidData`] for an invalid event, or if the format is not an event stream.
    pub fn encode_event(self, event: &Event) -> io::Result<Bytes> {
        match self {
            Self::EventStream | Self::EventStreamChunked => {
                let mut bytes = Vec::with_capacity(64);
                event
                    .encode(&mut bytes)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Ok(self.frame(&bytes))
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "only an event stream carries events: send a message",
            )),
        }
    }

    /// Encloses encoded events in a chunk if this format is chunked. Otherwise returns the events unchanged.
    pub(crate) fn frame(self, events: &[u8]) -> Bytes {
        match self {
            Self::EventStreamChunked if !events.is_empty() => {
                let mut chunk = Vec::with_capacity(events.len() + 16);
                chunked::encode_chunk_head(events.len(), &mut chunk);
                chunk.extend_from_slice(events);
                chunk.extend_from_slice(chunked::CHUNK_END);
                chunk.into()
            }
            _ => Bytes::copy_from_slice(events),
        }
    }
}

/// Returns an error for a Close, because a Close is not a message: it ends the connection.
pub(crate) fn refuse_close(message: &Message) -> io::Result<()> {
    match message {
        Message::Close(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a Close is not a message: close the connection instead",
        )),
        _ => Ok(()),
    }
}
