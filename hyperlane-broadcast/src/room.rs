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

/// Handle to a room. All members of a room receive its messages in one order.
///
/// Cheap to clone; handles of the same name are handles to the same room. A room exists while it has
/// members, a handle, or messages in its history that have not expired.
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

    /// Puts a WebSocket or an event stream into the room, until it leaves or closes.
    ///
    /// Connections join: handles from `ctx.upgrade(stream)` and `ctx.event_stream(stream)`. The channels of a session,
    /// `ctx.ws()` and `ctx.sse()`, cannot.
    ///
    /// # Errors
    /// [`RoomError::Channel`] for a channel, connected or not. [`RoomError::NotConnected`] if the connection has closed.
    /// [`RoomError::TooManyRooms`] if the connection is in the maximum number of rooms.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join(&self, connection: &impl Connected) -> Result<Member, RoomError> {
        self.registry
            .join(&self.core, connection.outbox(), Join::new())
    }

    /// Puts a connection into the room, with options. A member that joins again changes its user and
    /// farewell.
    ///
    /// # Errors
    /// The errors of [`join`](Self::join).
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

    /// Takes a connection out of the room and sends its farewell to the others. False if it was not in the
    /// room.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn leave(&self, member: impl Into<MemberId>) -> bool {
        self.registry.leave(&self.core, member.into())
    }

    /// Sends a message to all members and returns their number.
    ///
    /// Never waits for a member: the call takes microseconds whatever the number of members.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn broadcast(&self, message: impl Into<Message>) -> usize {
        self.publish(message.into(), Audience::All)
    }

    /// Sends a message to all members but one and returns their number.
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

    /// Sends a message to all members but its sender: another name of
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

    /// Sends a message to all connections of one user in the room and returns their number.
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

    fn publish(&self, message: Message, audience: Audience) -> usize {
        self.registry.publish(&self.core, message, audience)
    }

    /// Returns the members, in the order of their connections.
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

    /// True if the room has no members.
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
