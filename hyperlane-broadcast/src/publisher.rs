//! Publishing with options.

use std::{fmt, sync::Arc};

use hyperlane_core::{Event, Message};
use serde::Serialize;

use crate::{
    broker::Published,
    error::{PublishError, RoomError},
    member::MemberId,
    post::{Audience, Draft, NamedEvent, Recipients, Unpublished},
    registry::{RoomRegistry, handle::RoomHandle},
};

/// The options of a message.
#[derive(Clone, Debug, Default)]
struct Options {
    key: Option<Box<str>>,
    is_volatile: bool,
    is_local: bool,
}

impl Options {
    fn message(&self, message: Message, event: Option<NamedEvent>) -> Unpublished {
        let mut draft = Draft::new(message);
        draft.event = event.map(Box::new);
        draft.key.clone_from(&self.key);
        draft.is_volatile = self.is_volatile;
        draft.is_local = self.is_local;
        Unpublished::new(draft)
    }
}

fn json(value: &impl Serialize) -> Result<String, PublishError> {
    serde_json::to_string(value).map_err(|_| PublishError::Json)
}

fn named_event(
    name: &str,
    payload: &impl Serialize,
) -> Result<(Message, NamedEvent), PublishError> {
    let data = json(payload)?;
    let text = format!("{{\"event\":{},\"data\":{data}}}", json(&name)?);
    let event = Event::default().event(name).data(data);
    let name = name.into();
    Ok((text.into(), NamedEvent { name, event }))
}

/// Makes the methods that all publishers have. The publisher has the methods `publish`, `try_publish` and `refuse`.
macro_rules! publish_methods {
    ($published:ty, $error:ty) => {
        /// Makes the message volatile: it is not kept in the history, and a slow member does not receive it.
        pub fn volatile(mut self) -> Self {
            self.options.is_volatile = true;
            self
        }

        /// Sends to the members on this node alone. Without a broker between nodes there is no other node.
        pub fn local_only(mut self) -> Self {
            self.options.is_local = true;
            self
        }

        /// Sets the key of the message. In a room with [`SlowPolicy::Conflate`](crate::SlowPolicy::Conflate), a slow
        /// member receives only the newest of the messages with the same key that it has missed.
        pub fn key(mut self, key: impl AsRef<str>) -> Self {
            self.options.key = Some(key.as_ref().into());
            self
        }

        /// Sends a message. Waits while the queue of a room is full.
        ///
        /// The call never waits for a member. In a room whose queue has room it takes microseconds, for any number of
        /// members. It works in any runtime, and in a plain thread by any executor.
        ///
        /// # Errors
        /// [`PublishError::Timeout`] if a queue was full for the whole
        /// [`RoomsConfig::publish_timeout`](crate::RoomsConfig::publish_timeout); other variants of [`PublishError`] if
        /// a room cannot take the message.
        ///
        /// # Cancel safety
        /// Cancel safe. A dropped future has published the message once or not at all in each room.
        pub async fn broadcast(&self, message: impl Into<Message>) -> Result<$published, $error> {
            self.publish(self.options.message(message.into(), None))
                .await
        }

        /// Sends a message. Does not wait.
        ///
        /// # Errors
        /// [`PublishError::Full`] if the queue of a room is full; other variants of [`PublishError`] if a room cannot
        /// take the message. With a broker that takes time, the error is [`PublishError::Broker`], and the message is
        /// published all the same if the broker takes it.
        pub fn try_broadcast(&self, message: impl Into<Message>) -> Result<$published, $error> {
            self.try_publish(self.options.message(message.into(), None))
        }

        /// Sends a value as JSON text, like [`broadcast`](Self::broadcast).
        ///
        /// # Errors
        /// [`PublishError::Json`] if the value cannot be written as JSON; the errors of [`broadcast`](Self::broadcast).
        ///
        /// # Cancel safety
        /// As of [`broadcast`](Self::broadcast).
        pub async fn broadcast_json(&self, value: &impl Serialize) -> Result<$published, $error> {
            match json(value) {
                Ok(text) => self.broadcast(text).await,
                Err(error) => Err(self.refuse(error)),
            }
        }

        /// Sends an event with a name, like [`broadcast`](Self::broadcast). A WebSocket receives the text
        /// `{"event":<name>,"data":<payload>}`, and an event stream an event of this name with the payload as JSON.
        ///
        /// # Errors
        /// [`PublishError::Json`] if the payload cannot be written as JSON; the errors of
        /// [`broadcast`](Self::broadcast).
        ///
        /// # Cancel safety
        /// As of [`broadcast`](Self::broadcast).
        pub async fn broadcast_event(
            &self,
            name: impl AsRef<str>,
            payload: &impl Serialize,
        ) -> Result<$published, $error> {
            match named_event(name.as_ref(), payload) {
                Ok((text, event)) => self.publish(self.options.message(text, Some(event))).await,
                Err(error) => Err(self.refuse(error)),
            }
        }
    };
}

/// A way to publish in a room with options. [`Room::publisher`](crate::Room::publisher) and the methods of
/// [`Room`](crate::Room) that are named after an option create one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use hyperlane_broadcast::Rooms;
///
/// let room = Rooms::new().room("board")?;
/// // A cursor that moves on: no member needs its last place later.
/// let published = room.volatile().key("cursor of ada").broadcast("10,20").await?;
/// assert_eq!(published.members, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a publisher does nothing until one of its `broadcast` methods is called"]
pub struct Publisher {
    room: RoomHandle,
    audience: Audience,
    options: Options,
}

impl Publisher {
    pub(crate) fn new(room: RoomHandle) -> Self {
        Self {
            room,
            audience: Audience::All,
            options: Options::default(),
        }
    }

    publish_methods!(Published, PublishError);

    /// Sends to all members but this one.
    pub fn except(mut self, member: impl Into<MemberId>) -> Self {
        self.audience = Audience::Except(member.into());
        self
    }

    /// Sends to these members alone. An id that is not a member's is ignored. The message is private: no other member
    /// receives it from the history.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use hyperlane_broadcast::Rooms;
    ///
    /// let room = Rooms::new().room("board")?;
    /// let first = room.members().into_iter().take(1).map(|member| member.id);
    /// room.publisher().only(first).broadcast("it is your turn").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn only(mut self, members: impl IntoIterator<Item = impl Into<MemberId>>) -> Self {
        let mut members: Vec<MemberId> = members.into_iter().map(Into::into).collect();
        members.sort_unstable();
        members.dedup();
        self.audience = Audience::Only(members.into());
        self
    }

    /// Sends to the members that have joined with this user name.
    pub(crate) fn user(mut self, user: &str) -> Self {
        self.audience = Audience::User {
            name: user.into(),
            members: Box::default(),
        };
        self
    }

    fn with_audience(&self, mut message: Unpublished) -> Unpublished {
        message.draft_mut().audience = self.audience.clone();
        message
    }

    fn refuse(&self, error: PublishError) -> PublishError {
        error
    }

    fn try_publish(&self, message: Unpublished) -> Result<Published, PublishError> {
        self.room.try_publish(self.with_audience(message))
    }

    async fn publish(&self, message: Unpublished) -> Result<Published, PublishError> {
        self.room.publish(self.with_audience(message)).await
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("room", &self.room.name())
            .field("audience", &self.audience)
            .field("options", &self.options)
            .finish()
    }
}

/// A way to publish one message in several rooms. [`Rooms::to`](crate::Rooms::to) and
/// [`Rooms::to_user`](crate::Rooms::to_user) create one.
///
/// A connection that is in several of the rooms receives the message once: in the first of them, in the order of that
/// room. It does not receive it again from the others, also if it resumes in them. The rooms take the message one after
/// the other. The result has one [`Published`] for each room. Each counts only the members to which its room sends the
/// message, so the sum counts each connection once.
///
/// If a room refuses the message, the other rooms take it all the same. All rooms together wait at most
/// [`RoomsConfig::publish_timeout`](crate::RoomsConfig::publish_timeout).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use hyperlane_broadcast::Rooms;
///
/// let rooms = Rooms::new();
/// let published = rooms.to(["news", "sports"]).broadcast("goal!").await?;
/// assert_eq!(published.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a publisher does nothing until one of its `broadcast` methods is called"]
pub struct ManyPublisher {
    registry: Arc<RoomRegistry>,
    target: Target,
    except: Option<MemberId>,
    options: Options,
}

#[derive(Clone)]
enum Target {
    /// The rooms, and the names for which there is none.
    Rooms(Vec<RoomHandle>, Vec<(Arc<str>, RoomError)>),
    User(Arc<str>),
}

impl ManyPublisher {
    pub(crate) fn to_rooms(
        registry: &Arc<RoomRegistry>,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        let mut rooms: Vec<RoomHandle> = Vec::new();
        let mut refused = Vec::new();
        for name in names {
            let name = name.as_ref();
            if rooms.iter().any(|room| room.name() == name) {
                continue;
            }
            match registry.room(name) {
                Ok(core) => rooms.push(RoomHandle::new(registry, core)),
                Err(error) => refused.push((name.into(), error)),
            }
        }
        Self::new(registry, Target::Rooms(rooms, refused))
    }

    pub(crate) fn to_user(registry: &Arc<RoomRegistry>, user: &str) -> Self {
        Self::new(registry, Target::User(user.into()))
    }

    fn new(registry: &Arc<RoomRegistry>, target: Target) -> Self {
        Self {
            registry: registry.clone(),
            target,
            except: None,
            options: Options::default(),
        }
    }

    publish_methods!(Vec<Published>, PublishManyError);

    /// Sends to all members but this one: for example to the other devices of a user.
    pub fn except(mut self, member: impl Into<MemberId>) -> Self {
        self.except = Some(member.into());
        self
    }

    /// Begins a message: returns what the rooms have done with it so far, and the members that have it.
    fn begin(&self) -> (PublishManyError, Arc<Recipients>) {
        let mut result = PublishManyError {
            published: Vec::new(),
            refused: Vec::new(),
        };
        if let Target::Rooms(_, refused) = &self.target {
            let refused = refused.iter();
            result.refused = refused
                .map(|(name, error)| (name.clone(), PublishError::Room(*error)))
                .collect();
        }
        let recipients = Arc::<Recipients>::default();
        if let Some(member) = self.except.filter(|member| member.is_local()) {
            recipients.lock().members.insert(member.number());
        }
        (result, recipients)
    }

    fn rooms(&self) -> Vec<RoomHandle> {
        match &self.target {
            Target::Rooms(rooms, _) => rooms.clone(),
            Target::User(user) => {
                let cores = self.registry.users.rooms_of(user).into_iter();
                cores
                    .map(|core| RoomHandle::new(&self.registry, core))
                    .collect()
            }
        }
    }

    /// Returns the message for one of the rooms. Returns `None` if all devices of the user have it already.
    fn message_for(
        &self,
        room: &RoomHandle,
        draft: &Draft,
        recipients: &Arc<Recipients>,
    ) -> Option<Unpublished> {
        let audience = match &self.target {
            Target::Rooms(..) => Audience::All,
            Target::User(user) => {
                if !room.core.lock().has_new_member_of(user, recipients) {
                    return None;
                }
                Audience::User {
                    name: user.clone(),
                    members: Box::default(),
                }
            }
        };
        let mut draft = draft.clone();
        draft.audience = audience;
        draft.recipients = Some(recipients.clone());
        Some(Unpublished::new(draft))
    }

    fn refuse(&self, error: PublishError) -> PublishManyError {
        let (mut result, _) = self.begin();
        let rooms = self.rooms();
        let refused = rooms.iter().map(|room| (room.core.name.clone(), error));
        result.refused.extend(refused);
        result
    }

    fn try_publish(&self, message: Unpublished) -> Result<Vec<Published>, PublishManyError> {
        let (mut result, recipients) = self.begin();
        for room in self.rooms() {
            if let Some(message) = self.message_for(&room, message.draft(), &recipients) {
                let published = room.try_publish(message);
                result.add(&room, published);
            }
        }
        result.end()
    }

    async fn publish(&self, message: Unpublished) -> Result<Vec<Published>, PublishManyError> {
        let (mut result, recipients) = self.begin();
        let until = self.registry.publish_deadline();
        for room in self.rooms() {
            if let Some(message) = self.message_for(&room, message.draft(), &recipients) {
                let registry = &self.registry;
                let published = registry
                    .publish_or_wait(&room.core, message, Some(until))
                    .await;
                result.add(&room, published);
            }
        }
        result.end()
    }
}

/// The error of a message to several rooms: at least one of them has not taken it. The other rooms have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} of {} rooms have not taken the message: {}", refused.len(), refused.len() + published.len(), first(refused))]
#[non_exhaustive]
pub struct PublishManyError {
    /// What the other rooms have done with the message.
    pub published: Vec<Published>,
    /// The names of the rooms that have not taken the message, with the reasons.
    pub refused: Vec<(Arc<str>, PublishError)>,
}

fn first(refused: &[(Arc<str>, PublishError)]) -> String {
    let first = refused.first();
    first.map_or_else(String::new, |(name, error)| format!("`{name}`: {error}"))
}

impl PublishManyError {
    fn add(&mut self, room: &RoomHandle, result: Result<Published, PublishError>) {
        match result {
            Ok(published) => self.published.push(published),
            Err(error) => self.refused.push((room.core.name.clone(), error)),
        }
    }

    fn end(self) -> Result<Vec<Published>, Self> {
        match self.refused.is_empty() {
            true => Ok(self.published),
            false => Err(self),
        }
    }
}

impl fmt::Debug for ManyPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ManyPublisher");
        match &self.target {
            Target::Rooms(rooms, _) => debug.field("rooms", rooms),
            Target::User(user) => debug.field("user", user),
        };
        debug.field("options", &self.options).finish()
    }
}
