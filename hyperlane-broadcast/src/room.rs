//! The handle to a room.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use hyperlane_core::Message;

use crate::{
    core::RoomCore,
    error::RoomError,
    member::{Connected, Join, Member, MemberId},
    post::{Audience, Offset},
    registry::RoomRegistry,
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
///                 room.broadcast_except(&socket, message).await;
///             }
///         }
///         Status::Continue
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Room {
    registry: Arc<RoomRegistry>,
    core: Arc<RoomCore>,
}

impl Room {
    pub(crate) fn new(registry: Arc<RoomRegistry>, core: Arc<RoomCore>) -> Self {
        Self { registry, core }
    }

    /// Returns the room's name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Adds a WebSocket or an event stream to the room. The connection is a member until it leaves or closes.
    ///
    /// Handles from `ctx.upgrade(stream)` and `ctx.event_stream(stream)` can join. The channels of a session,
    /// `ctx.ws()` and `ctx.sse()`, cannot join.
    ///
    /// # Errors
    /// - [`RoomError::Channel`] if `connection` is a channel of a session, connected or not.
    /// - [`RoomError::NotConnected`] if the connection has closed, or is neither a WebSocket nor an event stream.
    /// - [`RoomError::TooManyRooms`] if the connection is in the maximum number of rooms already.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join(&self, connection: &impl Connected) -> Result<Member, RoomError> {
        self.registry
            .join(&self.core, connection.outbox(), Join::new())
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
    ) -> Result<Member, RoomError> {
        self.registry.join(&self.core, connection.outbox(), join)
    }

    /// Removes a connection from the room. If the member joined with a farewell ([`Join::farewell`]), the other members
    /// receive it. Returns false if the connection was not a member.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn leave(&self, member: impl Into<MemberId>) -> bool {
        self.registry.leave(&self.core, member.into())
    }

    /// Sends a message to all members and returns the number of members.
    ///
    /// The call never waits for a member, and takes microseconds for any number of members.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn broadcast(&self, message: impl Into<Message>) -> usize {
        self.publish(message.into(), Audience::All)
    }

    /// Sends a message to all members except `except`. Returns the number of members to which the message is sent.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn broadcast_except(
        &self,
        except: impl Into<MemberId>,
        message: impl Into<Message>,
    ) -> usize {
        self.publish(message.into(), Audience::Except(except.into()))
    }

    /// Sends a message to all members except its sender. Another name for
    /// [`broadcast_except`](Self::broadcast_except).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn broadcast_from(
        &self,
        sender: impl Into<MemberId>,
        message: impl Into<Message>,
    ) -> usize {
        self.broadcast_except(sender, message).await
    }

    /// Sends a message to all members that have joined with this user name ([`Join::user`]). Returns the number of
    /// these members.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn send_to(&self, user: impl AsRef<str>, message: impl Into<Message>) -> usize {
        let user = user.as_ref();
        let mut members: Vec<_> = self
            .core
            .lock()
            .members
            .iter()
            .filter(|(_, record)| &*record.user == user)
            .map(|(id, _)| *id)
            .collect();
        if members.is_empty() {
            return 0;
        }
        members.sort_unstable();
        self.publish(message.into(), Audience::Only(members))
    }

    /// Sends a message to all members, like [`broadcast`](Self::broadcast).
    #[cfg(feature = "compat")]
    pub(crate) fn publish_to_all(&self, message: Message) -> usize {
        self.publish(message, Audience::All)
    }

    fn publish(&self, message: Message, audience: Audience) -> usize {
        self.registry.publish(&self.core, message, audience)
    }

    /// Returns the members, sorted by the id of their connections.
    pub fn members(&self) -> Vec<Member> {
        let mut members: Vec<_> = self
            .core
            .lock()
            .members
            .iter()
            .map(|(id, record)| Member {
                id: *id,
                user: record.user.clone(),
            })
            .collect();
        members.sort_unstable_by_key(|member| member.id);
        members
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.core.lock().members.len()
    }

    /// Returns true if the room has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the offset of the next message.
    pub fn next_offset(&self) -> Offset {
        self.core.lock().next_offset
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        static NONE: LazyLock<Arc<RoomCore>> =
            LazyLock::new(|| Arc::new(RoomCore::new("".into(), 0, Default::default())));
        let core = std::mem::replace(&mut self.core, NONE.clone());
        self.registry.release(core);
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
