//! Members of a room: connections.

use std::{fmt, sync::Arc};

use hyperlane_core::{Message, Outbox, ServerSentEvents, WebSocket};

/// Identifies a member: its connection, in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub(crate) u64);

impl MemberId {
    /// The number behind it; never used again in this process.
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

/// A member as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its connection.
    pub id: MemberId,
    /// The name that it joined under; empty if it gave none. Connections of one user share it.
    pub user: Arc<str>,
}

/// How a connection joins.
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
    /// Joins without a name and without history.
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins under a name; see [`Room::members`] and [`Room::send_to`].
    pub fn user(mut self, user: impl AsRef<str>) -> Self {
        self.user = Some(user.as_ref().into());
        self
    }

    /// First gets the last `messages` of the room, as many as its history holds. Nothing is missed or
    /// doubled between them and what follows.
    pub fn history(mut self, messages: usize) -> Self {
        self.history = messages;
        self
    }

    /// Leaves a message that the others get when this member leaves, in whatever way.
    pub fn farewell(mut self, message: impl Into<Message>) -> Self {
        self.farewell = Some(message.into());
        self
    }
}

/// A connection that can be in rooms: what `ctx.upgrade(stream)` or `ctx.event_stream(stream)` gives, and its outbox.
///
/// The channels of a session, `ctx.ws()` and `ctx.sse()`, have the same types. To join with one of them is
/// [`RoomError::Channel`].
pub trait Connected {
    /// The handle that messages are delivered through.
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
