//! The handle to all rooms of a server.

use std::{fmt, sync::Arc};

use tokio::runtime::Handle;

use crate::{config::RoomsConfig, error::RoomError, registry::Registry, room::Room};

/// All rooms of a server, as a cheap handle.
///
/// Hooks reach a server's own by [`RoomExt::room`](crate::RoomExt::room). A program that publishes from
/// elsewhere makes them itself and shares them. It may use them anywhere: in other runtimes, and on threads of its own.
/// Messages are delivered on the runtime of the server whose connection joins first, or on that of [`on`](Self::on); if
/// that ends before the rooms, on a thread of their own.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_broadcast::RoomError> {
/// use hyperlane_broadcast::Rooms;
/// use hyperlane_core::Server;
///
/// let rooms = Rooms::new();
/// let mut server = Server::default();
/// server.state(rooms.clone());
///
/// let reached = rooms.room("prices")?.broadcast("42").await;
/// assert_eq!(reached, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Rooms {
    inner: Arc<Registry>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new()
    }
}

impl Rooms {
    /// Rooms with the default limits.
    pub fn new() -> Self {
        Self::with_config(RoomsConfig::default())
    }

    /// Rooms with limits of their own.
    pub fn with_config(config: RoomsConfig) -> Self {
        Self::make(config, None)
    }

    /// Rooms that deliver on this runtime, which needs its driver for time, with the default limits.
    ///
    /// Without it they deliver on the runtime of the first server whose connection joins.
    pub fn on(runtime: Handle) -> Self {
        Self::with_config_on(RoomsConfig::default(), runtime)
    }

    /// As [`on`](Self::on), with limits of their own.
    pub fn with_config_on(config: RoomsConfig, runtime: Handle) -> Self {
        Self::make(config, Some(runtime))
    }

    fn make(config: RoomsConfig, home: Option<Handle>) -> Self {
        Self {
            inner: Arc::new(Registry::new(config, home)),
        }
    }

    /// The room of that name; it exists as soon as somebody asks for it.
    ///
    /// # Errors
    /// [`RoomError::Name`] for a name that is empty or too long.
    pub fn room(&self, name: impl AsRef<str>) -> Result<Room, RoomError> {
        let core = self.inner.room(name.as_ref())?;
        Ok(Room::new(self.inner.clone(), core))
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether there is no room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("rooms", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    #[tokio::test]
    async fn of_handles_dropped_at_the_same_time_one_is_the_last() {
        let rooms = Rooms::new();
        let barrier = Barrier::new(8);
        for _ in 0..1000 {
            let handles = [(); 8].map(|()| rooms.room("room").unwrap());
            thread::scope(|scope| {
                for handle in handles {
                    scope.spawn(|| {
                        barrier.wait();
                        drop(handle);
                    });
                }
            });
            assert!(rooms.is_empty(), "nobody is left who would forget it");
        }
    }
}
