//! Publishing with options.

use std::{fmt, sync::Arc};

use hyperlane_core::{Event, Message};
use serde::Serialize;

use crate::{
    broker::{Published, Publishing},
    delivery::core::RoomCore,
    error::PublishError,
    member::MemberId,
    post::{Audience, Draft},
    registry::RoomRegistry,
};

/// A way to publish in a room with options. [`Room::publisher`](crate::Room::publisher) and the methods of
/// [`Room`](crate::Room) that are named after an option create one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use hyperlane_broadcast::Rooms;
///
/// let room = Rooms::new().room("board")?;
/// // A cursor that moves on: nobody needs its last place later.
/// let published = room.volatile().key("cursor of ada").broadcast("10,20").await?;
/// assert_eq!(published.members, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a publisher does nothing until one of its `broadcast` methods is called"]
pub struct Publisher {
    registry: Arc<RoomRegistry>,
    core: Arc<RoomCore>,
    audience: Audience,
    key: Option<Box<str>>,
    is_volatile: bool,
}

impl Publisher {
    pub(crate) fn new(registry: &Arc<RoomRegistry>, core: &Arc<RoomCore>) -> Self {
        Self {
            registry: registry.clone(),
            core: core.clone(),
            audience: Audience::All,
            key: None,
            is_volatile: false,
        }
    }

    pub(crate) fn audience(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// Makes the message volatile: it is not kept in the history, and a slow member does not receive it.
    pub fn volatile(mut self) -> Self {
        self.is_volatile = true;
        self
    }

    /// Sets the key of the message. In a room with [`SlowPolicy::Conflate`](crate::SlowPolicy::Conflate), a slow member
    /// receives only the newest of the messages with the same key that it has missed.
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        self.key = Some(key.as_ref().into());
        self
    }

    /// Sends to all members but this one.
    pub fn except(mut self, member: impl Into<MemberId>) -> Self {
        self.audience = Audience::Except(member.into());
        self
    }

    /// Sends a message. Waits while the room's queue is full.
    ///
    /// The call never waits for a member. In a room whose queue has room it takes microseconds, for any number of
    /// members. It works in any runtime, and in a plain thread by any executor.
    ///
    /// # Errors
    /// [`PublishError::Timeout`] if the queue was full for the whole
    /// [`RoomsConfig::publish_timeout`](crate::RoomsConfig::publish_timeout); other variants of [`PublishError`] if the
    /// room cannot take the message.
    ///
    /// # Cancel safety
    /// Cancel safe. A dropped future has published the message once or not at all.
    pub async fn broadcast(&self, message: impl Into<Message>) -> Result<Published, PublishError> {
        self.publish(self.draft(message.into(), None)).await
    }

    /// Sends a message. Does not wait.
    ///
    /// # Errors
    /// [`PublishError::Full`] if the room's queue is full; other variants of [`PublishError`] if the room cannot take the
    /// message. With a broker that takes time, the error is [`PublishError::Broker`], and the message is published all
    /// the same if the broker takes it.
    pub fn try_broadcast(&self, message: impl Into<Message>) -> Result<Published, PublishError> {
        self.try_publish(self.draft(message.into(), None))
    }

    /// Sends a value as JSON text, like [`broadcast`](Self::broadcast).
    ///
    /// # Errors
    /// [`PublishError::Json`] if the value cannot be written as JSON; the errors of [`broadcast`](Self::broadcast).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn broadcast_json(&self, value: &impl Serialize) -> Result<Published, PublishError> {
        let text = serde_json::to_string(value).map_err(|_| PublishError::Json)?;
        self.broadcast(text).await
    }

    /// Sends an event with a name, like [`broadcast`](Self::broadcast). A WebSocket receives the text
    /// `{"event":<name>,"data":<payload>}`, and an event stream an event of this name with the payload as JSON.
    ///
    /// # Errors
    /// [`PublishError::Json`] if the payload cannot be written as JSON; the errors of [`broadcast`](Self::broadcast).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn broadcast_event(
        &self,
        name: impl AsRef<str>,
        payload: &impl Serialize,
    ) -> Result<Published, PublishError> {
        let name = name.as_ref();
        let data = serde_json::to_string(payload).map_err(|_| PublishError::Json)?;
        let quoted = serde_json::to_string(name).map_err(|_| PublishError::Json)?;
        let text = format!("{{\"event\":{quoted},\"data\":{data}}}");
        let event = Event::default().event(name).data(data);
        self.publish(self.draft(text.into(), Some(Box::new(event))))
            .await
    }

    fn draft(&self, message: Message, event: Option<Box<Event>>) -> Draft {
        Draft {
            message,
            event,
            audience: self.audience.clone(),
            key: self.key.clone(),
            is_volatile: self.is_volatile,
        }
    }

    fn try_publish(&self, draft: Draft) -> Result<Published, PublishError> {
        match self.registry.publish(&self.core, draft) {
            Publishing::Done(result) => result.map_err(|refused| refused.error),
            Publishing::Later(publishing) => {
                self.registry
                    .spawn(async { publishing.await.map_err(|refused| refused.error) });
                Err(PublishError::Broker("the result comes later"))
            }
        }
    }

    async fn publish(&self, draft: Draft) -> Result<Published, PublishError> {
        self.registry.publish_or_wait(&self.core, draft).await
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("room", &self.core.name)
            .field("audience", &self.audience)
            .field("volatile", &self.is_volatile)
            .finish_non_exhaustive()
    }
}
