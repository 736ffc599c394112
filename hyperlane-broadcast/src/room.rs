//! The handle to a room.

use std::fmt;

use hyperlane_core::Message;
use serde::Serialize;

use crate::{
    broker::{BrokerRoom, Published, Removal, Removing},
    error::{PublishError, RoomError},
    history::History,
    member::{Connected, Join, Joined, Member, MemberId},
    offset::Offset,
    post::{Audience, Unpublished},
    publisher::Publisher,
    registry::handle::RoomHandle,
};

/// A handle to a room. All members of a room receive its messages in the same order.
///
/// Clones are cheap. Within one server, all handles with the same name refer to the same room. A room exists while it
/// has a member, a handle, or an unexpired message in its history.
///
/// ```
/// use hyperlane_broadcast::{RoomExt, RoomError};
/// use hyperlane_core::{Context, ServerHook, Status, Stream};
///
/// struct Chat;
///
/// impl ServerHook for Chat {
///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
///         Self
///     }
///
///     async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
///         let Ok(room) = ctx.room("lobby") else { return Status::Reject };
///         let Ok(socket) = ctx.upgrade(stream).await else { return Status::Reject };
///         if room.join(&socket).await.is_ok() {
///             while let Ok(message) = socket.recv().await {
///                 if room.broadcast_except(&socket, message).await.is_err() {
///                     break;
///                 }
///             }
///         }
///         Status::Continue
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Room {
    handle: RoomHandle,
}

impl Room {
    pub(crate) fn new(handle: RoomHandle) -> Self {
        Self { handle }
    }

    /// Returns the room's name.
    pub fn name(&self) -> &str {
        &self.handle.core.name
    }

    /// Adds a WebSocket or an event stream to the room. The connection is a member until it leaves or closes.
    ///
    /// Handles from `ctx.upgrade(stream)` and `ctx.event_stream(stream)` can join. The channels of a session,
    /// `ctx.ws()` and `ctx.sse()`, cannot join.
    ///
    /// # Errors
    /// - [`RoomError::Channel`] if `connection` is a channel of a session, connected or not.
    /// - [`RoomError::NotConnected`] if the connection has closed, or is neither a WebSocket nor an event stream.
    /// - [`RoomError::TooManyMemberships`] if the connection is in the maximum number of rooms already.
    /// - [`RoomError::Busy`] if the room's queue of joins and leaves was full for the whole
    ///   [`RoomsConfig::publish_timeout`](crate::RoomsConfig::publish_timeout). While it is full, the call waits.
    ///
    /// # Cancel safety
    /// Cancel safe. If the future is dropped, the connection has joined or has not.
    pub async fn join(&self, connection: &impl Connected) -> Result<Member, RoomError> {
        let joined = self.join_with(connection, Join::new()).await?;
        Ok(joined.member)
    }

    /// Waits while the queue of joins and leaves is full.
    pub(crate) async fn admit_join(&self) -> Result<(), RoomError> {
        self.handle.registry.admit_join(&self.handle.core).await
    }

    /// Adds a connection to the room, with the options of [`Join`]. If the connection is a member already,
    /// the call only replaces its user name and its farewell. The member then receives no history.
    ///
    /// # Errors
    /// Returns the same errors as [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join_with(
        &self,
        connection: &impl Connected,
        join: Join,
    ) -> Result<Joined, RoomError> {
        self.admit_join().await?;
        let outlet = connection.outlet();
        self.handle.registry.join(&self.handle.core, &outlet, join)
    }

    /// Removes a connection from the room. If the member joined with a farewell ([`Join::farewell`]), the other members
    /// receive it. Returns false if the connection was not a member.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn leave(&self, member: impl Into<MemberId>) -> bool {
        let member = member.into();
        member.is_local()
            && self
                .handle
                .registry
                .leave(&self.handle.core, member.number())
    }

    /// Returns a publisher without options.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.handle.clone())
    }

    /// Returns a publisher of volatile messages: they are not kept in the history, and slow members do not receive them.
    pub fn volatile(&self) -> Publisher {
        self.publisher().volatile()
    }

    /// Returns a publisher to the members on this node alone. Without a broker between nodes there is no other node.
    pub fn local_only(&self) -> Publisher {
        self.publisher().local_only()
    }

    /// Sends a message to all members. Waits while the room's queue is full. [`Publisher::broadcast`] describes errors
    /// and cancel safety.
    ///
    /// An empty room takes messages too: they are kept in its history.
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::broadcast`].
    pub async fn broadcast(&self, message: impl Into<Message>) -> Result<Published, PublishError> {
        let message = Unpublished::for_audience(message.into(), Audience::All);
        self.handle.publish(message).await
    }

    /// Sends a message to all members. Does not wait.
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::try_broadcast`]; [`PublishError::Full`] if the room's queue is full.
    pub fn try_broadcast(&self, message: impl Into<Message>) -> Result<Published, PublishError> {
        let message = Unpublished::for_audience(message.into(), Audience::All);
        self.handle.try_publish(message)
    }

    /// Sends a message to all members except `except`.
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::broadcast`].
    pub async fn broadcast_except(
        &self,
        except: impl Into<MemberId>,
        message: impl Into<Message>,
    ) -> Result<Published, PublishError> {
        let audience = Audience::Except(except.into());
        let message = Unpublished::for_audience(message.into(), audience);
        self.handle.publish(message).await
    }

    /// Sends a message to all members except its sender. Another name for
    /// [`broadcast_except`](Self::broadcast_except).
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::broadcast`].
    pub async fn broadcast_from(
        &self,
        sender: impl Into<MemberId>,
        message: impl Into<Message>,
    ) -> Result<Published, PublishError> {
        self.broadcast_except(sender, message).await
    }

    /// Sends a value as JSON text to all members.
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::broadcast_json`].
    pub async fn broadcast_json(&self, value: &impl Serialize) -> Result<Published, PublishError> {
        self.publisher().broadcast_json(value).await
    }

    /// Sends an event with a name to all members. [`Publisher::broadcast_event`] describes its forms.
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::broadcast_event`].
    pub async fn broadcast_event(
        &self,
        name: impl AsRef<str>,
        payload: &impl Serialize,
    ) -> Result<Published, PublishError> {
        self.publisher().broadcast_event(name, payload).await
    }

    /// Sends a message to all members that have joined with this user name. No member has the empty name. The message is
    /// private. A client that connects again with the same user name receives it from the history, if it asks for the
    /// messages that it has missed ([`Join::since`], [`Join::history`]).
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::broadcast`].
    pub async fn send_to(
        &self,
        user: impl AsRef<str>,
        message: impl Into<Message>,
    ) -> Result<Published, PublishError> {
        let publisher = self.publisher().user(user.as_ref());
        publisher.broadcast(message).await
    }

    /// Returns a reader of the room's history.
    pub fn history(&self) -> History {
        History::new(self.handle.clone())
    }

    /// Removes a message. The room forgets it: it leaves the history, and no member receives it that has not received it
    /// yet. What was handed to a connection before is on its way to the client. Returns false if the room does not have
    /// the message any more, or if the offset is of another epoch.
    ///
    /// The offsets of other messages stay. A client that resumes does not see the message, and this is no gap.
    ///
    /// # Errors
    /// [`PublishError::Broker`] if the broker did not take the removal; none with the broker of a single process.
    ///
    /// # Cancel safety
    /// Cancel safe. A dropped future has removed the message or not.
    pub async fn remove(&self, offset: Offset) -> Result<bool, PublishError> {
        Ok(self.remove_from(Removal::One(offset)).await? > 0)
    }

    /// Removes all messages that the room has, like [`remove`](Self::remove). Later messages go on with the next number.
    /// Returns the number of messages. A client that resumes from an earlier offset is told of a gap.
    ///
    /// # Errors
    /// Returns the errors of [`remove`](Self::remove).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn clear_history(&self) -> Result<usize, PublishError> {
        self.remove_from(Removal::All).await
    }

    async fn remove_from(&self, removal: Removal) -> Result<usize, PublishError> {
        let room = BrokerRoom {
            core: &self.handle.core,
        };
        match self.handle.registry.broker.remove(&room, removal) {
            Removing::Done(result) => result,
            Removing::Later(removing) => removing.await,
        }
    }

    /// Returns the members, sorted by the id of their connections.
    pub fn members(&self) -> Vec<Member> {
        // The names are looked up without the room's lock: it is taken after the lock of a membership elsewhere.
        let memberships: Vec<_> = {
            let state = self.handle.core.lock();
            state
                .members
                .iter()
                .map(|member| member.0.clone())
                .collect()
        };
        let mut members: Vec<_> = memberships
            .iter()
            .map(|membership| Member {
                id: MemberId::local(membership.id),
                user: membership.user_in(&self.handle.core),
            })
            .collect();
        members.sort_unstable_by_key(|member| member.id);
        members
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.handle.core.lock().members.len()
    }

    /// Returns true if the room has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the offset of the last message. The number is 0 if none was published.
    pub fn offset(&self) -> Offset {
        self.handle.core.last_offset()
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("name", &self.name())
            .field("members", &self.len())
            .finish()
    }
}
