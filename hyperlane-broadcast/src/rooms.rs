//! The handle to all rooms of a server.

use std::{fmt, sync::Arc};

use futures_sink::Sink;
use hyperlane_core::Message;
use tokio::runtime::Handle;

use crate::{
    broker::{Broker, InProcess, Published},
    config::RoomsConfig,
    error::RoomError,
    follow::{Follow, Followed},
    member::Connected,
    outlet::Outlet,
    outlet::SinkQueue,
    publisher::{ManyPublisher, PublishManyError},
    registry::{RoomRegistry, handle::RoomHandle},
    room::Room,
    sink::{SinkMember, pump},
};

/// A handle to all rooms of a server. Clones are cheap and refer to the same rooms.
///
/// Hooks (the program's functions that handle requests) use the server's rooms through
/// [`RoomExt::room`](crate::RoomExt::room). A program that also publishes outside of hooks creates the `Rooms` and
/// passes a clone to [`Server::state`](hyperlane_core::Server::state). A handle works in any runtime and on any thread.
///
/// Hubs are the tasks that deliver messages to the members of rooms. They run on the runtime that the program passes to
/// [`on`](Self::on). If the program passes no runtime, hubs run on the
/// runtime of the server whose connection joins first. If the hubs' runtime shuts down before the rooms are dropped,
/// the hubs continue on threads of their own.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use hyperlane_broadcast::Rooms;
/// use hyperlane_core::Server;
///
/// let rooms = Rooms::new();
/// let mut server = Server::default();
/// server.state(rooms.clone());
///
/// let published = rooms.room("prices")?.broadcast("42").await?;
/// assert_eq!(published.members, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Rooms {
    registry: Arc<RoomRegistry>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new()
    }
}

impl Rooms {
    /// Creates rooms with the default limits, and returns a handle to them. No room exists at first.
    pub fn new() -> Self {
        Self::with_config(RoomsConfig::default())
    }

    /// Creates rooms with the limits of `config`, like [`new`](Self::new).
    pub fn with_config(config: RoomsConfig) -> Self {
        Self::builder().config(config).build()
    }

    /// Creates rooms with the default limits, like [`new`](Self::new). The hubs run on `runtime`, whose time driver
    /// must be enabled.
    pub fn on(runtime: Handle) -> Self {
        Self::builder().on(runtime).build()
    }

    /// Returns a builder of rooms with the default limits.
    pub fn builder() -> RoomsBuilder {
        RoomsBuilder {
            config: RoomsConfig::default(),
            runtime: None,
            broker: Box::new(InProcess),
        }
    }

    /// Returns the room of this name. Creates the room if it does not exist.
    ///
    /// # Errors
    /// Returns [`RoomError::Name`] if the name is empty, or longer than
    /// [`RoomsConfig::name_bytes`], and [`RoomError::TooManyRooms`] if there are
    /// [`RoomsConfig::rooms`] rooms and none of them is empty.
    pub fn room(&self, name: impl AsRef<str>) -> Result<Room, RoomError> {
        let core = self.registry.room(name.as_ref())?;
        Ok(Room::new(RoomHandle::new(&self.registry, core)))
    }

    /// Returns a publisher to several rooms. A connection that is in several of them receives the message once, in the
    /// first of them. A name that is given twice counts once. The rooms are created if they do not exist.
    ///
    /// If a room cannot be created, the publisher's methods return [`PublishError::Room`](crate::PublishError::Room) for
    /// it.
    pub fn to(&self, rooms: impl IntoIterator<Item = impl AsRef<str>>) -> ManyPublisher {
        ManyPublisher::to_rooms(&self.registry, rooms)
    }

    /// Returns a publisher to all connections that have joined a room with this user name: the devices of a user. Each
    /// receives the message once, in one of its rooms. The message is private, as that of
    /// [`Room::send_to`](crate::Room::send_to).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use hyperlane_broadcast::Rooms;
    ///
    /// let rooms = Rooms::new();
    /// let published = rooms.to_user("ada").broadcast_event("mail", &3).await?;
    /// assert!(published.is_empty(), "ada is in no room");
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_user(&self, user: impl AsRef<str>) -> ManyPublisher {
        ManyPublisher::to_user(&self.registry, user.as_ref())
    }

    /// Sends a message to all connections of a user, as [`to_user`](Self::to_user) says. Returns one
    /// [`Published`] for each room that took part; none if the user is in no room. The empty name stands for no user.
    ///
    /// # Errors
    /// Returns the errors of [`ManyPublisher::broadcast`].
    ///
    /// # Cancel safety
    /// As of [`ManyPublisher::broadcast`].
    pub async fn send_to_user(
        &self,
        user: impl AsRef<str>,
        message: impl Into<Message>,
    ) -> Result<Vec<Published>, PublishManyError> {
        self.to_user(user).broadcast(message).await
    }

    /// Makes an event stream a member of rooms, and resumes where [`Follow::last_event_id`] says.
    /// [`RoomExt::follow`](crate::RoomExt::follow) takes the id from the request.
    ///
    /// The stream follows all its rooms by one call, because the id of each event covers all of them. It may join other
    /// rooms too. The events of these have no id.
    ///
    /// # Errors
    /// - [`RoomError::NotEvents`] if `connection` is not an event stream.
    /// - [`RoomError::TooManyFollowed`] for more than [`Follow::MAX_ROOMS`] rooms.
    /// - [`RoomError::AlreadyMember`] if the stream follows rooms already, or is in one of them.
    /// - The errors of [`room`](Self::room) and of [`Room::join`].
    ///
    /// With an error, the stream is in none of the rooms.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn follow(
        &self,
        connection: &impl Connected,
        rooms: impl Into<Follow>,
    ) -> Result<Followed, RoomError> {
        self.follow_outlet(connection.outlet(), rooms.into()).await
    }

    pub(crate) async fn follow_outlet(
        &self,
        outlet: Outlet,
        follow: Follow,
    ) -> Result<Followed, RoomError> {
        for name in follow.names.iter().take(Follow::MAX_ROOMS) {
            // `follow` below returns the error of a room that cannot be made.
            if let Ok(room) = self.room(name) {
                room.admit_join().await?;
            }
        }
        self.registry.follow(&outlet, &follow)
    }

    /// Makes a member of a sink, without a connection of a hyperlane server: of the sending half of a WebSocket of
    /// another server, of a channel, of a file. The member can then join rooms ([`Room::join`]).
    ///
    /// `into_item` turns a message into what the sink takes. Messages for which it returns `None` are skipped. The last
    /// message may be a Close with a code and a reason: the room has closed a slow member, or the program the sink. A
    /// message of [`broadcast_event`](Room::broadcast_event) comes as the text that a WebSocket receives.
    ///
    /// The messages wait in a queue. A task moves them into the sink, on the runtime of [`on`](Self::on), otherwise on
    /// the current one, otherwise on that of the hubs or on a thread of its own. A sink that takes messages too slowly is
    /// a slow member ([`SlowPolicy`](crate::SlowPolicy)): its queue is full from
    /// [`RoomLimits::outbox_bytes`](crate::RoomLimits::outbox_bytes) on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::sink;
    /// use hyperlane_broadcast::Rooms;
    /// use hyperlane_core::Message;
    /// use tokio::runtime::Handle;
    ///
    /// let rooms = Rooms::on(Handle::current());
    /// let (prices, mut received) = tokio::sync::mpsc::channel(8);
    /// let sink = sink::unfold(prices, async |prices, price: String| {
    ///     prices.send(price).await.map(|()| prices)
    /// });
    /// let member = rooms.sink(sink, |message| match message {
    ///     Message::Text(text) => Some(text.to_string()),
    ///     _ => None,
    /// });
    /// let room = rooms.room("prices")?;
    /// room.join(&member).await?;
    /// room.broadcast("42").await?;
    /// assert_eq!(received.recv().await.as_deref(), Some("42"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn sink<S, T>(
        &self,
        sink: S,
        into_item: impl FnMut(Message) -> Option<T> + Send + 'static,
    ) -> SinkMember
    where
        S: Sink<T> + Send + 'static,
        S::Error: fmt::Display,
        T: 'static,
    {
        let config = &self.registry.config;
        let runtime = self.registry.runtime_of_members();
        let queue = SinkQueue::new(config.sink_bytes, runtime.clone());
        let pump = pump(queue.clone(), sink, into_item, config.sink_close_timeout);
        self.registry.spawn_pump(runtime, pump);
        SinkMember::new(queue)
    }

    /// Returns the number of rooms.
    pub fn len(&self) -> usize {
        self.registry.len()
    }

    /// Returns true if no room exists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The parts of which [`Rooms`] are made.
///
/// ```
/// use hyperlane_broadcast::{Rooms, RoomsConfig};
///
/// let rooms = Rooms::builder().config(RoomsConfig::default().rooms(1000)).build();
/// assert!(rooms.is_empty());
/// ```
#[must_use = "`build` makes the rooms"]
pub struct RoomsBuilder {
    config: RoomsConfig,
    runtime: Option<Handle>,
    broker: Box<dyn Broker>,
}

impl RoomsBuilder {
    /// Sets the limits.
    pub fn config(mut self, config: RoomsConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the runtime of the hubs, as [`Rooms::on`] does.
    pub fn on(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Sets the broker. The default is [`InProcess`].
    pub fn broker(mut self, broker: impl Broker) -> Self {
        self.broker = Box::new(broker);
        self
    }

    /// Makes the rooms.
    pub fn build(self) -> Rooms {
        Rooms {
            registry: RoomRegistry::new(self.config, self.broker, self.runtime),
        }
    }
}

impl fmt::Debug for RoomsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomsBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
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
    async fn the_last_of_handles_dropped_at_the_same_time_removes_the_room() {
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
            assert!(rooms.is_empty(), "no handle is left that would remove it");
        }
    }
}
