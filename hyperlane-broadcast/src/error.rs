//! What can go wrong with rooms.

/// Why a room did not take a member or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The name is empty or longer than the limit, in bytes.
    #[error("a room's name has 1 to {limit} bytes, not {length}")]
    Name {
        /// Length of the name, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The connection is in as many rooms as it may be.
    #[error("a connection may be in {limit} rooms")]
    TooManyRooms {
        /// The limit.
        limit: usize,
    },
    /// The connection is over, or is neither a WebSocket nor an event stream.
    #[error("only an open WebSocket or event stream can join a room")]
    NotConnected,
    /// It is a channel of a session, or one of its connections: a room would have but the connection of this moment, and
    /// clients that count would count the room's messages as the channel's.
    #[error(
        "a channel (`ctx.ws()`, `ctx.sse()`, or a connection at an endpoint `ws()` or `sse()`) cannot join a room: join \
         what `ctx.upgrade(stream)` or `ctx.event_stream(stream)` gives, in a handler of its own route"
    )]
    Channel,
    /// Nobody of that name is in the room.
    #[error("no such member is in the room")]
    NoSuchMember,
}
