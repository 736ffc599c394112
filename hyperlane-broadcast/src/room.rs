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
    registry::Registry,
};

/// A room: whoever joins it gets what is broadcast in it, in one total order.
///
/// A cheap handle; clones and handles of the same name are the same room. A room exists while
/// somebody is in it, a handle is held, or its history has not expired.
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
    rooms: Arc<Registry>,
    core: Arc<RoomCore>,
}

impl Room {
    pub(crate) fn new(rooms: Arc<Registry>, core: Arc<RoomCore>) -> Self {
        Self { rooms, core }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Puts a WebSocket or an event stream into the room; it leaves by itself when it ends.
    ///
    /// Connections join, as `ctx.upgrade(stream)` and `ctx.event_stream(stream)` give them. The channels of a session,
    /// `ctx.ws()` and `ctx.sse()`, do not.
    ///
    /// # Errors
    /// [`RoomError::Channel`] for a channel, connected or not. [`RoomError::NotConnected`] when the connection is over,
    /// [`RoomError::TooManyRooms`] when it is in as many rooms as it may be.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join(&self, connection: &impl Connected) -> Result<Member, RoomError> {
        self.rooms
            .seat(&self.core, connection.outbox(), Join::new())
    }

    /// Puts a connection into the room under a name, with history, or with a farewell.
    /// Joining again changes name and farewell.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn join_with(
        &self,
        connection: &impl Connected,
        join: Join,
    ) -> Result<Member, RoomError> {
        self.rooms.seat(&self.core, connection.outbox(), join)
    }

    /// Takes a connection out of the room; the others get its farewell. False if it was not in it.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn leave(&self, member: impl Into<MemberId>) -> bool {
        self.rooms.unseat(&self.core, member.into())
    }

    /// Sends a message to everyone in the room and returns how many they are.
    ///
    /// Never waits for a member: it costs its caller microseconds whatever their number.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn broadcast(&self, message: impl Into<Message>) -> usize {
        self.publish(message.into(), Audience::All)
    }

    /// Sends a message to everyone but one and returns how many they are.
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

    /// Sends a message to everyone but its sender: another name of
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

    /// Sends a message to every connection of one user in the room and returns how many they are.
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
        self.rooms.publish(&self.core, message, audience)
    }

    /// Who is in the room, in the order of their connections.
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

    /// How many connections are in the room.
    pub fn len(&self) -> usize {
        self.core.lock().members.len()
    }

    /// Whether nobody is in the room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The offset that the next message will get.
    pub fn next_offset(&self) -> Offset {
        self.core.lock().next
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        static NONE: LazyLock<Arc<RoomCore>> =
            LazyLock::new(|| Arc::new(RoomCore::new("".into(), 0, Default::default())));
        let core = std::mem::replace(&mut self.core, NONE.clone());
        self.rooms.release(core);
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
