//! Errors of rooms.

/// An error that a method of [`Rooms`](crate::Rooms) or [`Room`](crate::Room) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The room's name is empty or longer than the limit.
    #[error("a room's name must have 1 to {limit} bytes, not {length}")]
    Name {
        /// Length of the name, in bytes.
        length: usize,
        /// Maximum length of a name, in bytes: [`RoomsConfig::name_bytes`](crate::RoomsConfig::name_bytes).
        limit: usize,
    },
    /// The connection is in the maximum number of rooms already.
    #[error(
        "the connection is in {limit} rooms, the limit: leave one, or raise `RoomsConfig::rooms_per_connection`"
    )]
    TooManyRooms {
        /// Maximum number of rooms for one connection:
        /// [`RoomsConfig::rooms_per_connection`](crate::RoomsConfig::rooms_per_connection).
        limit: usize,
    },
    /// The connection has closed, or is neither a WebSocket nor an event stream.
    #[error("only an open WebSocket or event stream can join a room")]
    NotConnected,
    /// The handle that should join belongs to a channel of a session, and a channel cannot join a room. A channel keeps
    /// its messages across the connections of a client. One reason is that the room would send only to the channel's
    /// current connection, and not to later ones. The other reason is that some clients count the messages of their
    /// channel, and name the last one when they connect again. They would count the room's messages too.
    #[error(
        "a channel (`ctx.ws()`, `ctx.sse()`, or a connection at an endpoint `ws()` or `sse()`) cannot join a room: use \
         `ctx.upgrade(stream)` or `ctx.event_stream(stream)` in a handler of its own route"
    )]
    Channel,
}
