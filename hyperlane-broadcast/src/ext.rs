//! Rooms in a hook's context.

use hyperlane_core::Context;

use crate::{error::RoomError, room::Room, rooms::Rooms};

/// Access to rooms from a hook.
pub trait RoomExt {
    /// Returns the server's rooms: the [`Rooms`] given to [`Server::state`](hyperlane_core::Server::state),
    /// or else rooms with the default limits.
    fn rooms(&self) -> Rooms;

    /// Returns the room of this name.
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
