//! Members of rooms: connections that join.

use std::{fmt, sync::Arc};

use hyperlane_core::{Message, Outbox, ServerSentEvents, WebSocket};

/// The id of a member's connection, unique within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub(crate) u64);

impl MemberId {
    /// Returns the id as a number. No other connection of this process gets the same number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&Outbox> for MemberId {
    fn from(outbox: &Outbox) -> Self {
        Self(outbox.id())
    }
}

impl From<&WebSocket> for MemberId {
    fn from(socket: &WebSocket) -> Self {
        Self(socket.connection_id())
    }
}

impl From<&ServerSentEvents> for MemberId {
    fn from(events: &ServerSentEvents) -> Self {
        Self(events.outbox().id())
    }
}

impl From<&Member> for MemberId {
    fn from(member: &Member) -> Self {
        member.id
    }
}

/// A connection in a room, as [`Room::members`](crate::Room::members) lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The id of the member's connection.
    pub id: MemberId,
    /// The user name given to [`Join::user`]. Empty if the connection joined without a user name. One user may have
    /// several connections.
    pub user: Arc<str>,
}

/// Options for joining a room: user name, history, farewell.
///
/// ```
/// use hyperlane_broadcast::Join;
///
/// let join = Join::new().user("ada").history(20).farewell("ada has left");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Join {
    pub(crate) user: Option<Arc<str>>,
    pub(crate) history: usize,
    pub(crate) farewell: Option<Message>,
}

impl Join {
    /// Creates options without a user name, history or farewell.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the user name of the member. [`Room::members`](crate::Room::members) returns this name, and
    /// [`Room::send_to`](crate::Room::send_to) finds members by it.
    pub fn user(mut self, user: impl AsRef<str>) -> Self {
        self.user = Some(user.as_ref().into());
        self
    }

    /// Sets the number of messages from the room's history that the member receives first. The default is 0.
    /// Later messages follow without a gap and without duplicates.
    pub fn history(mut self, messages: usize) -> Self {
        self.history = messages;
        self
    }

    /// Sets a message for the other members. The room sends the message when this member leaves or this
    /// member's connection ends.
    pub fn farewell(mut self, message: impl Into<Message>) -> Self {
        self.farewell = Some(message.into());
        self
    }
}

/// A connection that can join rooms: a handle from `ctx.upgrade(stream)` or `ctx.event_stream(stream)`, or the
/// [`Outbox`] of a connection (its handle for sending).
///
/// The handles from `ctx.ws()` and `ctx.sse()` have the same types, but belong to channels. A channel carries the
/// messages of one session across connections. It cannot join a room: [`Room::join`](crate::Room::join) returns
/// [`RoomError::Channel`](crate::RoomError::Channel).
pub trait Connected {
    /// Returns the outbox of the connection. The room's messages are pushed to this outbox.
    fn outbox(&self) -> Outbox;
}

impl Connected for WebSocket {
    fn outbox(&self) -> Outbox {
        WebSocket::outbox(self)
    }
}

impl Connected for ServerSentEvents {
    fn outbox(&self) -> Outbox {
        ServerSentEvents::outbox(self)
    }
}

impl Connected for Outbox {
    fn outbox(&self) -> Outbox {
        self.clone()
    }
}
