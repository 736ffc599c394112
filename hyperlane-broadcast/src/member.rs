//! Members of rooms: connections that join.

use std::{fmt, sync::Arc};

use hyperlane_core::{Message, Outbox, ServerSentEvents, WebSocket};

/// Id of a member's connection within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub(crate) u64);

impl MemberId {
    /// Returns the number, which no other connection of this process gets.
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

/// A connection in a room, as other members see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Id of its connection.
    pub id: MemberId,
    /// Name of its user, from [`Join::user`]; empty without one. One user may have several connections.
    pub user: Arc<str>,
}

/// Options of a join: user, history, farewell.
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
    /// Makes options without user, history and farewell.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the user, for [`Room::members`](crate::Room::members) and
    /// [`Room::send_to`](crate::Room::send_to).
    pub fn user(mut self, user: impl AsRef<str>) -> Self {
        self.user = Some(user.as_ref().into());
        self
    }

    /// Asks for the last `messages` of the room's history, which the member receives first. No message
    /// is missed or doubled between the history and later messages.
    pub fn history(mut self, messages: usize) -> Self {
        self.history = messages;
        self
    }

    /// Sets a message that the others receive when this member leaves or its connection ends.
    pub fn farewell(mut self, message: impl Into<Message>) -> Self {
        self.farewell = Some(message.into());
        self
    }
}

/// A connection that can join rooms: a handle from `ctx.upgrade(stream)` or `ctx.event_stream(stream)`, or
/// its outbox.
///
/// The channels of a session, `ctx.ws()` and `ctx.sse()`, have the same types, but cannot join:
/// [`RoomError::Channel`](crate::RoomError::Channel).
pub trait Connected {
    /// Returns the outbox that messages are delivered to.
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
