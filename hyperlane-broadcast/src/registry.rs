//! State that all rooms of a server share: the map of rooms, the memberships, and the hubs that deliver messages.
//!
//! A shard is the part of a room that one hub serves, with a queue of messages, joins and leaves.
//!
//! A thread that needs several locks acquires them in this order: memberships, a room's state, a shard's queue. The map
//! of rooms has a lock too: a thread acquires it before the lock of a room's state. No code closes a connection while
//! it holds one of these locks.

use std::{
    collections::HashMap,
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use hyperlane_core::{Message, Outbox, hub::flush_current};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    config::RoomsConfig,
    core::RoomCore,
    error::RoomError,
    hub::Hub,
    member::{Join, Member, MemberId},
    metrics::Metrics,
    post::Audience,
    shard::Command,
};

/// Time between two sweeps. A sweep drops the expired messages of each room. It removes the room if the room then has
/// no members and no history, and the program has no handle to it.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Maximum number of hub tasks. More tasks would contend for the same network stack.
const MAX_HUBS: usize = 16;

/// The rooms that one connection has joined.
#[derive(Default)]
struct Membership {
    rooms: Joined,
    /// True if the connection has an end hook that removes the connection from its rooms.
    has_end_hook: bool,
}

/// The rooms of a connection. Most connections are in one room, which takes no allocation.
#[derive(Default)]
#[expect(
    clippy::box_collection,
    reason = "every connection in a room has a value of this type, and a `Vec` takes three words"
)]
enum Joined {
    #[default]
    None,
    One(Arc<RoomCore>),
    Many(Box<Vec<Arc<RoomCore>>>),
}

impl Joined {
    fn as_slice(&self) -> &[Arc<RoomCore>] {
        match self {
            Self::None => &[],
            Self::One(room) => std::slice::from_ref(room),
            Self::Many(rooms) => rooms,
        }
    }

    fn push(&mut self, room: Arc<RoomCore>) {
        match std::mem::take(self) {
            Self::None => *self = Self::One(room),
            Self::One(first) => *self = Self::Many(Box::new(vec![first, room])),
            Self::Many(mut rooms) => {
                rooms.push(room);
                *self = Self::Many(rooms);
            }
        }
    }

    /// Removes a room. Returns false if it was not there.
    fn remove(&mut self, room: &Arc<RoomCore>) -> bool {
        let is_there = self.as_slice().iter().any(|known| Arc::ptr_eq(known, room));
        match self {
            Self::Many(rooms) => rooms.retain(|known| !Arc::ptr_eq(known, room)),
            _ if is_there => *self = Self::None,
            _ => {}
        }
        is_there
    }
}

/// State shared by the handles [`Rooms`](crate::Rooms) and [`Room`](crate::Room).
pub(crate) struct RoomRegistry {
    config: RoomsConfig,
    rooms: Mutex<HashMap<Arc<str>, Arc<RoomCore>>>,
    memberships: Mutex<HashMap<MemberId, Membership>>,
    /// Hubs, created with the first room. Their tasks start when the first member joins.
    hubs: OnceLock<Vec<Arc<Hub>>>,
    /// The runtime of the hubs' tasks and of the sweeper; `None` while no runtime is known.
    runtime: Mutex<Option<Handle>>,
    /// True if the program has chosen the runtime by [`Rooms::on`](crate::Rooms::on).
    is_runtime_fixed: bool,
    /// True while a [`Sweeper`] runs.
    is_swept: AtomicBool,
    /// Metrics, created with the first room.
    metrics: OnceLock<Metrics>,
    hasher: RandomState,
}

impl RoomRegistry {
    pub(crate) fn new(config: RoomsConfig, runtime: Option<Handle>) -> Self {
        Self {
            config,
            rooms: Mutex::new(HashMap::new()),
            memberships: Mutex::new(HashMap::new()),
            hubs: OnceLock::new(),
            is_runtime_fixed: runtime.is_some(),
            runtime: Mutex::new(runtime),
            is_swept: AtomicBool::new(false),
            metrics: OnceLock::new(),
            hasher: RandomState::new(),
        }
    }

    /// Returns the room of this name. Creates the room if it does not exist.
    pub(crate) fn room(&self, name: &str) -> Result<Arc<RoomCore>, RoomError> {
        let limit = self.config.name_bytes;
        if name.is_empty() || name.len() > limit {
            return Err(RoomError::Name {
                length: name.len(),
                limit,
            });
        }
        let shards = self.hubs().len();
        let mut rooms = self.lock_rooms();
        if let Some(core) = rooms.get(name) {
            return Ok(core.clone());
        }
        let name: Arc<str> = name.into();
        let metrics = self.metrics();
        let room_metrics = metrics.for_room(&self.config, &name);
        let core = Arc::new(RoomCore::new(name.clone(), shards, room_metrics));
        metrics.room_created();
        rooms.insert(name, core.clone());
        Ok(core)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock_rooms().len()
    }

    /// Drops one reference to a room. Removes the room if only the map still refers to it, and if it has no members and
    /// no history.
    pub(crate) fn release(&self, core: Arc<RoomCore>) {
        let mut rooms = self.lock_rooms();
        let name = core.name.clone();
        // The reference is dropped under the lock of the map of rooms. Without the lock, two threads that drop the last
        // two references could each see the reference of the other thread. The room would then stay.
        drop(core);
        let is_last = |known: &Arc<RoomCore>| Arc::strong_count(known) == 1 && known.is_vacant();
        if rooms.get(&name).is_some_and(is_last) {
            rooms.remove(&name);
            self.metrics().rooms_removed(1);
            if rooms.capacity() > 64 && rooms.len() < rooms.capacity() / 8 {
                rooms.shrink_to_fit();
            }
        }
    }

    /// Publishes a message in a room and returns the number of members in its audience.
    pub(crate) fn publish(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        message: Message,
        audience: Audience,
    ) -> usize {
        // During a connection's poll, this call sends the bytes that the connection's handler has written so far.
        // The client receives these bytes before the published message.
        flush_current();
        self.start_sweeper();
        let limits = self.config.history_limits();
        core.publish(message, audience, &limits, |shard| {
            self.wake_shard(core, shard);
        })
    }

    /// Adds a connection to a room. If the connection is a member already, updates its user and its farewell (the
    /// message that is published when the member leaves).
    pub(crate) fn join(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        outbox: Outbox,
        join: Join,
    ) -> Result<Member, RoomError> {
        let id = MemberId::from(&outbox);
        if outbox.is_of_channel() {
            return Err(RoomError::Channel);
        }
        if !outbox.is_open() || !outbox.format().is_pushable() {
            return Err(RoomError::NotConnected);
        }
        flush_current();
        self.start_hubs(outbox.__runtime());
        let member = Member {
            id,
            user: join.user.unwrap_or_default(),
        };
        let needs_end_hook = {
            let mut memberships = self.lock_memberships();
            let mut state = core.lock();
            if let Some(record) = state.members.get_mut(&id) {
                record.user = member.user.clone();
                record.farewell = join.farewell.map(Box::new);
                return Ok(member);
            }
            let membership = memberships.entry(id).or_default();
            let limit = self.config.rooms_per_connection;
            if membership.rooms.as_slice().len() >= limit {
                return Err(RoomError::TooManyRooms { limit });
            }
            membership.rooms.push(core.clone());
            self.metrics().joined(&core.metrics);
            let shard = state.shard_for(self.home_shard(&core.name));
            state.add_member(&member, shard, join.farewell);
            let limits = self.config.history_limits();
            let replay = state.replay(join.history, id, &limits);
            core.enqueue(
                shard,
                Command::Join {
                    outbox: outbox.clone(),
                    replay,
                },
            );
            self.wake_shard(core, shard);
            // A connection gets one end hook, even if it leaves and joins several times.
            !std::mem::replace(&mut membership.has_end_hook, true)
        };
        if needs_end_hook {
            // If the connection has closed already, `on_end` runs the end hook at once. The hook takes the locks of
            // the block above. The hook is therefore added after the block has released these locks.
            let registry = Arc::downgrade(self);
            outbox.on_end(move || {
                if let Some(registry) = registry.upgrade() {
                    registry.connection_ended(id);
                }
            });
        }
        Ok(member)
    }

    /// Removes a connection from a room. Returns false if the connection was not a member.
    pub(crate) fn leave(self: &Arc<Self>, core: &Arc<RoomCore>, id: MemberId) -> bool {
        let was_in = self
            .lock_memberships()
            .get_mut(&id)
            .is_some_and(|membership| membership.rooms.remove(core));
        if was_in {
            self.remove_member(core, id);
        }
        was_in
    }

    /// Removes a connection from all its rooms.
    fn connection_ended(self: &Arc<Self>, id: MemberId) {
        let ended = self.lock_memberships().remove(&id);
        let rooms = ended
            .as_ref()
            .map_or(&[][..], |ended| ended.rooms.as_slice());
        for core in rooms {
            self.remove_member(core, id);
        }
        let rooms = rooms.to_vec();
        drop(ended);
        for core in rooms {
            self.release(core);
        }
    }

    /// Removes a member from a room's state. Publishes the member's farewell if it has one.
    fn remove_member(self: &Arc<Self>, core: &Arc<RoomCore>, id: MemberId) {
        let farewell = {
            let mut state = core.lock();
            let Some((shard, farewell)) = state.remove_member(id) else {
                return;
            };
            self.metrics().left(&core.metrics, 1);
            core.enqueue(shard, Command::Leave(id));
            self.wake_shard(core, shard);
            farewell
        };
        if let Some(farewell) = farewell {
            self.publish(core, farewell, Audience::Except(id));
        }
    }

    /// Wakes a shard's hub. Starts the hub's task if the task does not run.
    fn wake_shard(self: &Arc<Self>, core: &Arc<RoomCore>, shard: usize) {
        let Some(hub) = self.hubs().get(shard) else {
            return;
        };
        if hub.is_running() || self.start_hub(hub) {
            hub.wake(core);
        } else {
            // The hub's task cannot be started. Without the task, the shard's queue would grow without limit.
            core.clear_shard(shard);
        }
    }

    /// Returns the index of the shard that serves all members of a small room. The index depends on the room's name.
    fn home_shard(&self, name: &str) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.as_bytes());
        let hubs = self.hubs().len().max(1);
        usize::try_from(hasher.finish() % hubs as u64).unwrap_or(0)
    }

    fn hubs(&self) -> &[Arc<Hub>] {
        self.hubs.get_or_init(|| {
            let count = match &*self.lock_runtime() {
                Some(runtime) => runtime.metrics().num_workers(),
                None => thread::available_parallelism().map_or(1, usize::from),
            };
            let count = count.clamp(1, MAX_HUBS);
            (0..count).map(|index| Arc::new(Hub::new(index))).collect()
        })
    }

    /// Starts the tasks of all hubs. `server` is the runtime of a joining member's server. The tasks run on `server`,
    /// unless the program has chosen another runtime by [`Rooms::on`](crate::Rooms::on).
    fn start_hubs(self: &Arc<Self>, server: Option<Handle>) {
        if self.hubs().iter().all(|hub| hub.is_running()) {
            return;
        }
        if let Some(server) = server.filter(|_| !self.is_runtime_fixed) {
            *self.lock_runtime() = Some(server);
        }
        for hub in self.hubs() {
            self.start_hub(hub);
        }
        self.start_sweeper();
    }

    /// Starts a hub's task if it does not run. Returns false if the task cannot be started.
    fn start_hub(self: &Arc<Self>, hub: &Arc<Hub>) -> bool {
        let release = || {
            let registry = Arc::downgrade(self);
            move |core| {
                if let Some(registry) = registry.upgrade() {
                    registry.release(core);
                }
            }
        };
        let runtime = self.lock_runtime().clone();
        if let Some(runtime) = runtime
            && let Some(run) = hub.clone().run(release())
        {
            runtime.spawn(run);
        }
        // The hub does not run yet if no runtime is known, or if the runtime has shut down: such a runtime drops the
        // spawned task at once. In both cases, `Hub::run` now returns a future, and a new thread runs this future.
        match hub.clone().run(release()) {
            Some(run) => spawn_thread(run),
            None => true,
        }
    }

    /// Starts the sweeper if it does not run.
    fn start_sweeper(self: &Arc<Self>) {
        if self.is_swept.load(Ordering::Relaxed) {
            return;
        }
        let runtime = self.lock_runtime().clone();
        if let Some(runtime) = runtime
            && let Some(sweeper) = Sweeper::new(Arc::downgrade(self))
        {
            runtime.spawn(sweeper.run());
        }
        // No sweeper runs yet if no runtime is known, or if the runtime has shut down: such a runtime drops the spawned
        // sweeper at once. In both cases, a new thread runs the sweeper.
        if let Some(sweeper) = Sweeper::new(Arc::downgrade(self)) {
            spawn_thread(sweeper.run());
        }
    }

    fn metrics(&self) -> &Metrics {
        self.metrics.get_or_init(Metrics::new)
    }

    fn lock_rooms(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<RoomCore>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_memberships(&self) -> MutexGuard<'_, HashMap<MemberId, Membership>> {
        self.memberships
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_runtime(&self) -> MutexGuard<'_, Option<Handle>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RoomRegistry {
    fn drop(&mut self) {
        for hub in self.hubs.get().into_iter().flatten() {
            hub.stop();
        }
        // The end hooks of the members' connections cannot reach a dropped registry. The drop therefore updates
        // the gauges itself.
        let rooms = std::mem::take(self.rooms.get_mut().unwrap_or_else(PoisonError::into_inner));
        if let Some(metrics) = self.metrics.get() {
            metrics.rooms_removed(rooms.len());
            for core in rooms.into_values() {
                metrics.left(&core.metrics, core.member_count());
            }
        }
    }
}

/// Runs a hub or a sweeper on a new thread. The registry calls this function if it knows no runtime, or if the known
/// runtime has shut down. Returns false if the system cannot start the thread.
fn spawn_thread(work: impl Future<Output = ()> + Send + 'static) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let started = runtime.and_then(|runtime| {
        thread::Builder::new()
            .name("hyperlane-rooms".to_owned())
            .spawn(move || runtime.block_on(work))
    });
    started
        .inspect_err(
            |error| tracing::error!(%error, "cannot start a thread for rooms: messages discarded"),
        )
        .is_ok()
}

/// The task that drops expired history of rooms. At most one sweeper runs.
///
/// Dropping the sweeper allows another one to start. A runtime that shuts down drops the sweeper too.
struct Sweeper {
    registry: Weak<RoomRegistry>,
}

impl Sweeper {
    /// Returns `None` if a sweeper runs, or if the registry is dropped.
    fn new(registry: Weak<RoomRegistry>) -> Option<Self> {
        let was_swept = registry.upgrade()?.is_swept.swap(true, Ordering::AcqRel);
        (!was_swept).then(|| Self { registry })
    }

    /// Sweeps every [`SWEEP_INTERVAL`] until the registry is dropped.
    async fn run(self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let Some(registry) = self.registry.upgrade() else {
                return;
            };
            let limits = registry.config.history_limits();
            let cores: Vec<_> = registry.lock_rooms().values().cloned().collect();
            for core in cores {
                core.lock().history.expire(Instant::now(), &limits);
                registry.release(core);
                // A sweep of thousands of rooms yields to other tasks of the runtime.
                tokio::task::consume_budget().await;
            }
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.is_swept.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::MemberRecord, seat::Seat};

    /// Prints the parts of a membership: `cargo test -p hyperlane-broadcast parts_of -- --nocapture`. The first three
    /// are entries of tables, whose free places come on top.
    #[test]
    fn the_parts_of_a_membership_stay_small() {
        let parts = [
            (
                "member of the room",
                size_of::<(MemberId, MemberRecord)>(),
                40,
            ),
            (
                "rooms of the connection",
                size_of::<(MemberId, Membership)>(),
                32,
            ),
            ("seat in a shard", size_of::<Seat>(), 48),
        ];
        for (part, size, most) in parts {
            println!("{part:>30}: {size} bytes");
            assert!(size <= most, "{part}: {size} bytes");
        }
    }

    #[test]
    fn a_connection_lists_its_rooms_once() {
        let registry = Arc::new(RoomRegistry::new(RoomsConfig::default(), None));
        let rooms = ["a", "b", "c"].map(|name| registry.room(name).unwrap());
        let mut joined = Joined::default();
        assert!(joined.as_slice().is_empty() && !joined.remove(&rooms[0]));
        for (at, room) in rooms.iter().enumerate() {
            joined.push(room.clone());
            assert_eq!(joined.as_slice().len(), at + 1);
        }
        assert!(joined.remove(&rooms[1]) && !joined.remove(&rooms[1]));
        assert_eq!(joined.as_slice().len(), 2);
        let mut one = Joined::default();
        one.push(rooms[0].clone());
        assert!(!one.remove(&rooms[1]) && one.remove(&rooms[0]));
        assert!(one.as_slice().is_empty());
    }

    #[test]
    fn a_sweeper_runs_without_a_runtime() {
        let registry = Arc::new(RoomRegistry::new(RoomsConfig::default(), None));
        registry.start_sweeper();
        assert!(registry.is_swept.load(Ordering::Acquire));
    }
}
