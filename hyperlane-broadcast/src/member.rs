//! Members of rooms: connections that join.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    process,
    sync::{Arc, LazyLock},
};

use hyperlane_core::{Message, Outbox, ServerSentEvents, WebSocket};

use crate::{offset::Offset, outlet::Outlet};

/// The id of a member's connection: the number of its node and a number within the node.
///
/// A node is a process that serves members. Each process draws a random number when it first needs one. The text form is
/// `<node>-<number>`: the node in 16 hexadecimal digits, and the number in decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    node: u64,
    number: u64,
}

/// Returns the random number of this process.
fn this_node() -> u64 {
    static NODE: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(process::id()));
    *NODE
}

impl MemberId {
    /// Returns the id of a connection of this process.
    pub(crate) fn local(number: u64) -> Self {
        Self {
            node: this_node(),
            number,
        }
    }

    /// Returns the number of the node: the process that serves the connection.
    pub fn node(self) -> u64 {
        self.node
    }

    /// Returns the number of the connection within its node. No other connection of the node gets the same number.
    pub fn number(self) -> u64 {
        self.number
    }

    /// Returns whether this process serves the connection.
    pub fn is_local(self) -> bool {
        self.node == this_node()
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.node, self.number)
    }
}

impl From<&Outbox> for MemberId {
    fn from(outbox: &Outbox) -> Self {
        Self::local(outbox.id())
    }
}

impl From<&WebSocket> for MemberId {
    fn from(socket: &WebSocket) -> Self {
        Self::local(socket.connection_id())
    }
}

impl From<&ServerSentEvents> for MemberId {
    fn from(events: &ServerSentEvents) -> Self {
        Self::local(events.outbox().id())
    }
}

impl From<&Joined> for MemberId {
    fn from(joined: &Joined) -> Self {
        joined.member.id
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
    pub(crate) start: Start,
    pub(crate) farewell: Option<Message>,
}

/// Where a new member begins to receive the room's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the next message.
    #[default]
    Next,
    /// With the last messages of the history, this many.
    Last(usize),
    /// With the message after this one.
    After(Offset),
}

/// A membership that has begun, as [`Room::join_with`](crate::Room::join_with) returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// The member.
    pub member: Member,
    /// The offset after which the member receives the room's messages. The messages up to the room's last one come from
    /// the history. Later messages follow without a gap and without duplicates.
    pub after: Offset,
    /// True if the member has asked for the messages since an offset ([`Join::since`]), and the room does not have all
    /// of them any more: the history has dropped some, or the offset is of another epoch. The member then receives only
    /// the messages that follow, and has to fetch the present state in another way.
    pub is_gap: bool,
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
    /// Later messages follow without a gap and without duplicates. Replaces [`since`](Self::since).
    pub fn history(mut self, messages: usize) -> Self {
        self.start = match messages {
            0 => Start::Next,
            messages => Start::Last(messages),
        };
        self
    }

    /// Asks for all messages after the one at `offset`, which the client has received before. If the room does not have
    /// all of them any more, [`Joined::is_gap`] is true, and the member receives only the messages that follow. Replaces
    /// [`history`](Self::history).
    pub fn since(mut self, offset: Offset) -> Self {
        self.start = Start::After(offset);
        self
    }

    /// Sets a message for the other members. The room sends the message when this member leaves or this
    /// member's connection ends.
    pub fn farewell(mut self, message: impl Into<Message>) -> Self {
        self.farewell = Some(message.into());
        self
    }
}

/// What can join rooms: a handle from `ctx.upgrade(stream)` or `ctx.event_stream(stream)`, the [`Outbox`] of a
/// connection (its handle for sending), or a sink of the program ([`SinkMember`](crate::SinkMember)).
///
/// The handles from `ctx.ws()` and `ctx.sse()` have the same types, but belong to channels. A channel carries the
/// messages of one session across connections. It cannot join a room: [`Room::join`](crate::Room::join) returns
/// [`RoomError::Channel`](crate::RoomError::Channel).
pub trait Connected {
    /// Returns the place to which the room sends its messages.
    fn outlet(&self) -> Outlet;
}

impl Connected for WebSocket {
    fn outlet(&self) -> Outlet {
        self.outbox().into()
    }
}

impl Connected for ServerSentEvents {
    fn outlet(&self) -> Outlet {
        self.outbox().into()
    }
}

impl Connected for Outbox {
    fn outlet(&self) -> Outlet {
        self.clone().into()
    }
}
