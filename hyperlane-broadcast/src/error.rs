//! Errors of rooms.

use std::time::Duration;

/// An error of creating or joining a room.
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
    /// The maximum number of rooms exists, and none of them is empty.
    #[error("there are {limit} rooms, the limit, and none is empty: raise `RoomsConfig::rooms`")]
    TooManyRooms {
        /// Maximum number of rooms: [`RoomsConfig::rooms`](crate::RoomsConfig::rooms).
        limit: usize,
    },
    /// The connection is in the maximum number of rooms already.
    #[error(
        "the connection is in {limit} rooms, the limit: leave one, or raise `RoomsConfig::rooms_per_connection`"
    )]
    TooManyMemberships {
        /// Maximum number of rooms for one connection:
        /// [`RoomsConfig::rooms_per_connection`](crate::RoomsConfig::rooms_per_connection).
        limit: usize,
    },
    /// The connection has closed, or is neither a WebSocket nor an event stream.
    #[error("only an open WebSocket or event stream can join a room")]
    NotConnected,
    /// Only an event stream can follow rooms. A WebSocket joins each room with [`Join::since`](crate::Join::since).
    #[error("only an event stream can follow rooms: a WebSocket joins each with `Join::since`")]
    NotEvents,
    /// The event stream should follow more rooms than fit into one id.
    #[error("an event stream can follow {limit} rooms: open another one for the rest")]
    TooManyFollowed {
        /// Maximum number of rooms: [`Follow::MAX_ROOMS`](crate::Follow::MAX_ROOMS).
        limit: usize,
    },
    /// The event stream follows rooms already, or has joined one of the rooms before. It has to follow all its rooms in
    /// one call, because the ids of its events cover all of them.
    #[error("the event stream is in rooms already: follow all of them in one call")]
    AlreadyMember,
    /// The queue of the room was full for the whole
    /// [`RoomsConfig::publish_timeout`](crate::RoomsConfig::publish_timeout): its hubs carry out joins and leaves more
    /// slowly than members come and go.
    #[error("the room's queue was full for {after:?}: join and leave more slowly")]
    Busy {
        /// The time for which the call has waited.
        after: Duration,
    },
    /// No task can deliver the room's messages: there is no runtime, and the system starts no thread.
    #[error("no task can deliver messages: the system cannot start a thread")]
    NoHub,
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

/// An error of publishing. The room has not taken the message, and no member receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The room's queue is full: its hubs deliver more slowly than messages are published. Only the methods that do not
    /// wait return this error, such as [`Room::try_broadcast`](crate::Room::try_broadcast).
    #[error("the room's queue is full: publish more slowly, or use a method that waits")]
    Full,
    /// The room's queue was full for the whole [`RoomsConfig::publish_timeout`](crate::RoomsConfig::publish_timeout).
    #[error("the room's queue was full for {after:?}: publish more slowly")]
    Timeout {
        /// The time for which the call has waited.
        after: Duration,
    },
    /// The message with its key is longer than a quarter of
    /// [`RoomLimits::history_bytes`](crate::RoomLimits::history_bytes). A longer message could displace the whole history.
    #[error(
        "a message of {length} bytes is too long for the room: the limit is {limit}, a quarter of `RoomLimits::history_bytes`"
    )]
    TooLong {
        /// Length of the message, in bytes.
        length: usize,
        /// Maximum length, in bytes.
        limit: usize,
    },
    /// The room's name is not valid. Only the methods that take names of rooms return this error, such as
    /// [`Rooms::to`](crate::Rooms::to).
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The value cannot be written as JSON: its `Serialize` failed, or a map has keys that are not strings.
    #[error("the value cannot be written as JSON")]
    Json,
    /// The message is a Close. A Close ends one connection; [`Outbox::close`](hyperlane_core::Outbox::close) sends it.
    #[error("a Close cannot be published: close the connections instead")]
    Close,
    /// No task can deliver the message: there is no runtime, and the system starts no thread.
    #[error("no task can deliver the message: the system cannot start a thread")]
    NoHub,
    /// The broker did not take the message.
    #[error("the broker did not take the message: {0}")]
    Broker(&'static str),
}
