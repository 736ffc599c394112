//! What rooms add to connections and contexts.

use hyperlane_core::{Context, Outbox, ServerSentEvents, WebSocket};

use crate::{error::RoomError, room::Room, rooms::Rooms};

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

/// Rooms from within a hook.
pub trait RoomExt {
    /// The server's rooms: the [`Rooms`] given to [`Server::state`](hyperlane_core::Server::state), else
    /// rooms with the default limits.
    fn rooms(&self) -> Rooms;

    /// The room of that name.
    ///
    /// # Errors
    /// [`RoomError::Name`] for a name that is empty or too long.
    fn room(&self, name: impl AsRef<str>) -> Result<Room, RoomError>;
}

impl RoomExt for Context {
    fn rooms(&self) -> Rooms {
        Rooms::clone(&self.state_or_default::<Rooms>())
    }

    fn room(&self, name: impl AsRef<str>) -> Result<Room, RoomError> {
        self.rooms().room(name)
    }
}
