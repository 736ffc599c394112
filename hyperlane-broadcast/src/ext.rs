//! The methods of a request's context that give access to rooms.

use std::future::Future;

use hyperlane_core::Context;

use crate::{
    error::RoomError,
    follow::{Claim, Follow, Followed},
    member::Connected,
    room::Room,
    rooms::Rooms,
};

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

    /// Makes an event stream of this request a member of rooms, and resumes where its client was cut: at the
    /// `Last-Event-ID` of the request, or at the parameter `last_event_id` of its query. [`Follow`] has options.
    ///
    /// ```
    /// use hyperlane_broadcast::RoomExt;
    /// use hyperlane_core::{Context, ServerHook, Status, Stream};
    ///
    /// struct News;
    ///
    /// impl ServerHook for News {
    ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
    ///         Self
    ///     }
    ///
    ///     async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
    ///         let Ok(events) = ctx.event_stream(stream).await else { return Status::Reject };
    ///         if ctx.follow(&events, ["news", "prices"]).await.is_ok() {
    ///             events.closed().await;
    ///         }
    ///         Status::Continue
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`Rooms::follow`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    fn follow(
        &self,
        connection: &impl Connected,
        rooms: impl Into<Follow>,
    ) -> impl Future<Output = Result<Followed, RoomError>> + Send;
}

impl RoomExt for Context {
    fn rooms(&self) -> Rooms {
        Rooms::clone(&self.state_or_default::<Rooms>())
    }

    fn room(&self, name: impl AsRef<str>) -> Result<Room, RoomError> {
        self.rooms().room(name)
    }

    fn follow(
        &self,
        connection: &impl Connected,
        rooms: impl Into<Follow>,
    ) -> impl Future<Output = Result<Followed, RoomError>> + Send {
        let mut follow = rooms.into();
        if follow.last_event_id.is_none() {
            let request = self.get_request();
            let headers = request.get_headers().get_all("last-event-id");
            let ids = headers.chain(request.get_querys().get_all("last_event_id"));
            // A value that stands for a missing id does not hide the next one.
            let id = ids
                .into_iter()
                .find(|id| Claim::parse(Some(id)) != Claim::New);
            follow.last_event_id = id.map(str::to_owned);
        }
        let (rooms, outlet) = (self.rooms(), connection.outlet());
        async move { rooms.follow_outlet(outlet, follow).await }
    }
}
