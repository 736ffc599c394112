//! The methods of a request's context that give access to rooms.

use hyperlane_core::Context;

use crate::{error::RoomError, room::Room, rooms::Rooms};

/// Methods of [`Context`] that give access to the server's rooms.
pub trait RoomExt {
    /// Returns the server's rooms: the [`Rooms`] passed to [`Server::state`](hyperlane_core::Server::state). If the
    /// program has passed none, the server has rooms with the default limits.
    fn rooms(&self) -> Rooms;

    /// Returns the server's room of this name. Creates the room if it does not exist.
    ///
    /// # Errors
    /// Returns [`RoomError::Name`] if the name is empty, or longer than
    /// [`RoomsConfig::name_bytes`](crate::RoomsConfig::name_bytes).
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
