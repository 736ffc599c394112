//! A room: its members, its order, its history.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use hyperlane_core::{Message, Outbox, ServerSentEvents, WebSocket, flush_current};
use tokio::time::Instant;

use crate::{
    error::RoomError,
    ext::Connected,
    history::History,
    hub::{Command, Lane},
    metrics::RoomMetrics,
    post::{Audience, Post},
    rooms::Rooms,
};

/// The place of a message in its room, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Identifies a member: its connection, in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub(crate) u64);

impl MemberId {
    /// The number behind it; never used again in this process.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&Outbox> for MemberId {
    fn from(outbox: &Outbox) -> Self {
        Self(outbox.id())
    }
}

impl From<&WebSocket> for MemberId {
    fn from(socket: &WebSocket) -> Self {
        Self(socket.connection_id())
    }
}

impl From<&ServerSentEvents> for MemberId {
    fn from(events: &ServerSentEvents) -> Self {
        Self(events.outbox().id())
    }
}

impl From<&Member> for MemberId {
    fn from(member: &Member) -> Self {
        member.id
    }
}

/// A member as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its connection.
    pub id: MemberId,
    /// The name that it joined under; empty if it gave none. Connections of one user share it.
    pub user: Arc<str>,
}

/// How a connection joins.
///
/// ```
/// use hyperlane_broadcast::Join;
///
/// let join = Join::new().user("ada").history(20).farewell("ada has left");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Join {
    user: Option<Arc<str>>,
    history: usize,
    farewell: Option<Message>,
}

impl Join {
    /// Joins without a name and without history.
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins under a name; see [`Room::members`] and [`Room::send_to`].
    pub fn user(mut self, user: impl AsRef<str>) -> Self {
        self.user = Some(user.as_ref().into());
        self
    }

    /// First gets the last `messages` of the room, as many as its history holds. Nothing is missed or
    /// doubled between them and what follows.
    pub fn history(mut self, messages: usize) -> Self {
        self.history = messages;
        self
    }

    /// Leaves a message that the others get when this member leaves, in whatever way.
    pub fn farewell(mut self, message: impl Into<Message>) -> Self {
        self.farewell = Some(message.into());
        self
    }
}

/// What a room knows of a member.
struct Record {
    user: Arc<str>,
    lane: usize,
    farewell: Option<Message>,
}

/// The state behind the room's lock.
pub(crate) struct State {
    next: Offset,
    pub(crate) history: History,
    members: HashMap<MemberId, Record>,
    /// Members in each lane.
    seated: Vec<usize>,
}

/// What all handles of a room share.
pub(crate) struct RoomCore {
    pub(crate) name: Arc<str>,
    state: Mutex<State>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) metrics: RoomMetrics,
}

impl RoomCore {
    pub(crate) fn new(name: Arc<str>, lanes: usize, metrics: RoomMetrics) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                next: Offset::default(),
                history: History::default(),
                members: HashMap::new(),
                seated: vec![0; lanes],
            }),
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            metrics,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a member that has got everything before `from` still lacks; `None` when some of it is gone.
    pub(crate) fn missed(&self, from: Offset) -> Option<Vec<Arc<Post>>> {
        let state = self.lock();
        state.history.since(from, state.next)
    }

    /// Members.
    pub(crate) fn size(&self) -> usize {
        self.lock().members.len()
    }

    /// Whether nobody would notice if the room were forgotten.
    pub(crate) fn is_vacant(&self) -> bool {
        let state = self.lock();
        state.members.is_empty() && state.history.is_empty()
    }
}

impl State {
    /// The lane of a new member: few members share one, so that a small room wakes one hub; many are
    /// dealt out evenly.
    fn lane_for(&self, home: usize) -> usize {
        /// Members that one hub serves before another is asked.
        const SHARE_FROM: usize = 32;
        if self.members.len() < SHARE_FROM {
            return home;
        }
        self.seated
            .iter()
            .enumerate()
            .min_by_key(|(_, seated)| **seated)
            .map_or(home, |(lane, _)| lane)
    }
}

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
    rooms: Rooms,
    core: Arc<RoomCore>,
}

impl Room {
    pub(crate) fn new(rooms: Rooms, core: Arc<RoomCore>) -> Self {
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

impl Rooms {
    /// Publishes under the room's lock: the order of offsets is the order everywhere.
    pub(crate) fn publish(
        &self,
        core: &Arc<RoomCore>,
        message: Message,
        audience: Audience,
    ) -> usize {
        // What the publishing handler has answered its own client arrives there first.
        flush_current();
        self.sweep_from_now_on();
        let mut state = core.lock();
        let post = Arc::new(Post::new(state.next, audience, message));
        state.next = state.next.next();
        state.history.push(
            post.clone(),
            Instant::now(),
            &self.config().history_limits(),
        );
        let count = match &post.audience {
            Audience::All => state.members.len(),
            Audience::Except(member) => {
                state.members.len() - usize::from(state.members.contains_key(member))
            }
            Audience::Only(members) => members
                .iter()
                .filter(|member| state.members.contains_key(member))
                .count(),
        };
        for (lane, (queue, seated)) in core.lanes.iter().zip(&state.seated).enumerate() {
            if *seated > 0 {
                queue.post(Command::Post(post.clone()));
                self.wake_lane(core, lane);
            }
        }
        count
    }

    fn seat(&self, core: &Arc<RoomCore>, outbox: Outbox, join: Join) -> Result<Member, RoomError> {
        let id = MemberId::from(&outbox);
        if outbox.is_of_channel() {
            return Err(RoomError::Channel);
        }
        if !outbox.is_open() || !outbox.format().is_pushable() {
            return Err(RoomError::NotConnected);
        }
        flush_current();
        self.settle(outbox.__runtime());
        let user = join.user.unwrap_or_default();
        let member = Member {
            id,
            user: user.clone(),
        };
        let first = self.with_peers(|peers| {
            let mut state = core.lock();
            if let Some(record) = state.members.get_mut(&id) {
                record.user = user;
                record.farewell = join.farewell;
                return Ok(false);
            }
            let peer = peers.entry(id).or_default();
            let limit = self.config().rooms_per_connection;
            if peer.rooms.len() >= limit {
                return Err(RoomError::TooManyRooms { limit });
            }
            peer.rooms.push(core.clone());
            let lane = state.lane_for(self.home_lane(&core.name));
            if let Some(seated) = state.seated.get_mut(lane) {
                *seated += 1;
            }
            state.members.insert(
                id,
                Record {
                    user,
                    lane,
                    farewell: join.farewell,
                },
            );
            self.metrics().joined(&core.metrics);
            let limits = self.config().history_limits();
            let mut replay = Vec::new();
            if join.history > 0 {
                state.history.expire(Instant::now(), &limits);
                replay = state.history.last(join.history, id);
            }
            if let Some(queue) = core.lanes.get(lane) {
                queue.post(Command::Join {
                    outbox: outbox.clone(),
                    replay,
                });
            }
            self.wake_lane(core, lane);
            // Once per connection, however often it leaves and joins.
            Ok(!std::mem::replace(&mut peer.watched, true))
        })?;
        if first {
            // Outside the locks: if the connection is over already, this runs at once.
            let rooms = self.downgrade();
            outbox.on_end(move || {
                if let Some(rooms) = rooms.upgrade() {
                    rooms.connection_ended(id);
                }
            });
        }
        Ok(member)
    }

    fn unseat(&self, core: &Arc<RoomCore>, id: MemberId) -> bool {
        let was_in = self.with_peers(|peers| {
            let Some(peer) = peers.get_mut(&id) else {
                return false;
            };
            let before = peer.rooms.len();
            peer.rooms.retain(|room| !Arc::ptr_eq(room, core));
            peer.rooms.len() < before
        });
        if was_in {
            self.take_out(core, id);
        }
        was_in
    }

    /// Takes a connection out of all its rooms.
    fn connection_ended(&self, id: MemberId) {
        let peer = self.with_peers(|peers| peers.remove(&id));
        for core in peer.into_iter().flat_map(|peer| peer.rooms) {
            self.take_out(&core, id);
            self.release(core);
        }
    }

    fn take_out(&self, core: &Arc<RoomCore>, id: MemberId) {
        let farewell = {
            let mut state = core.lock();
            let Some(record) = state.members.remove(&id) else {
                return;
            };
            self.metrics().left(&core.metrics, 1);
            if let Some(seated) = state.seated.get_mut(record.lane) {
                *seated -= 1;
            }
            if let Some(queue) = core.lanes.get(record.lane) {
                queue.post(Command::Leave(id));
                self.wake_lane(core, record.lane);
            }
            record.farewell
        };
        if let Some(farewell) = farewell {
            self.publish(core, farewell, Audience::Except(id));
        }
    }
}
