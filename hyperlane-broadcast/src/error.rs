//! Errors of rooms.

/// Error of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The name is empty or longer than the limit, in bytes.
    #[error("a room's name must have 1 to {limit} bytes, not {length}")]
    Name {
        /// Length of the name, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The connection is in the maximum number of rooms.
    #[error(
        "the connection is in {limit} rooms, the limit: leave one, or raise `RoomsConfig::rooms_per_connection`"
    )]
    TooManyRooms {
        /// The limit.
        limit: usize,
    },
    /// The connection has closed, or is neither a WebSocket nor an event stream.
    #[error("only an open WebSocket or event stream can join a room")]
    NotConnected,
    /// The handle belongs to a channel of a session. A room would keep only the channel's current
    /// connection, and clients with resume ids would count the room's messages as the channel's.
    #[error(
        "a channel (`ctx.ws()`, `ctx.sse()`, or a connection at an endpoint `ws()` or `sse()`) cannot join a room: use \
         `ctx.upgrade(stream)` or `ctx.event_stream(stream)` in a handler of its own route"
    )]
    Channel,
    /// The room has no member of this name.
    #[error("the room has no such member")]
    NoSuchMember,
}
