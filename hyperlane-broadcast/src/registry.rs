//! State that all rooms of a server share: rooms by name, memberships, and the hubs that deliver.
//!
//! Locks are taken in this order: memberships, a room's state, a shard's queue. The lock of the rooms'
//! names comes before a room's state. No connection is closed while one of them is held.

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

/// Time between two sweeps, which drop expired history of rooms without members.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Maximum number of hub tasks: more would contend for the same network stack.
const MAX_HUBS: usize = 16;

/// Rooms of one connection.
#[derive(Default)]
struct Membership {
    rooms: Vec<Arc<RoomCore>>,
    /// The connection has a hook that takes it out of its rooms when it ends.
    has_end_hook: bool,
}

/// State shared by the handles [`Rooms`](crate::Rooms) and [`Room`](crate::Room).
pub(crate) struct RoomRegistry {
    config: RoomsConfig,
    rooms: Mutex<HashMap<Arc<str>, Arc<RoomCore>>>,
    memberships: Mutex<HashMap<MemberId, Membership>>,
    /// Made with the first room; their tasks start with the first member.
    hubs: OnceLock<Vec<Arc<Hub>>>,
    /// The runtime of the hubs' tasks and of the sweeper.
    runtime: Mutex<Option<Handle>>,
    /// The program has chosen the runtime.
    is_runtime_fixed: bool,
    /// A sweeper runs.
    is_swept: AtomicBool,
    /// Made with the first room.
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

    /// Returns the room of this name, and makes it if there is none.
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

    /// Drops a handle, and removes the room if nothing is left of it.
    pub(crate) fn release(&self, core: Arc<RoomCore>) {
        let mut rooms = self.lock_rooms();
        let name = core.name.clone();
        // Dropped under the lock, under which new handles are made too: of two handles that are
        // dropped at the same time, the later one finds itself the last.
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

    /// Publishes in a room and returns the number of members that the message is for.
    pub(crate) fn publish(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        message: Message,
        audience: Audience,
    ) -> usize {
        // A handler's own client sees the handler's earlier answer before this message.
        flush_current();
        self.start_sweeper();
        let limits = self.config.history_limits();
        core.publish(message, audience, &limits, |shard| {
            self.wake_shard(core, shard);
        })
    }

    /// Puts a connection into a room; a member that joins again changes its user and its farewell.
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
                record.farewell = join.farewell;
                return Ok(member);
            }
            let membership = memberships.entry(id).or_default();
            let limit = self.config.rooms_per_connection;
            if membership.rooms.len() >= limit {
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
            // One hook per connection, however often it leaves and joins.
            !std::mem::replace(&mut membership.has_end_hook, true)
        };
        if needs_end_hook {
            // Added without the locks: on a closed connection the hook runs at once.
            let registry = Arc::downgrade(self);
            outbox.on_end(move || {
                if let Some(registry) = registry.upgrade() {
                    registry.connection_ended(id);
                }
            });
        }
        Ok(member)
    }

    /// Takes a connection out of a room; false if it was not in it.
    pub(crate) fn leave(self: &Arc<Self>, core: &Arc<RoomCore>, id: MemberId) -> bool {
        let was_in = self
            .lock_memberships()
            .get_mut(&id)
            .is_some_and(|membership| {
                let before = membership.rooms.len();
                membership.rooms.retain(|room| !Arc::ptr_eq(room, core));
                membership.rooms.len() < before
            });
        if was_in {
            self.remove_member(core, id);
        }
        was_in
    }

    /// Takes a connection out of all its rooms.
    fn connection_ended(self: &Arc<Self>, id: MemberId) {
        let ended = self.lock_memberships().remove(&id);
        for core in ended.into_iter().flat_map(|membership| membership.rooms) {
            self.remove_member(&core, id);
            self.release(core);
        }
    }

    /// Removes a member from a room's state and publishes its farewell.
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

    /// Wakes a shard's hub, and starts the hub's task if it does not run.
    fn wake_shard(self: &Arc<Self>, core: &Arc<RoomCore>, shard: usize) {
        let Some(hub) = self.hubs().get(shard) else {
            return;
        };
        if hub.is_running() || self.start_hub(hub) {
            hub.wake(core);
        } else {
            // Without a hub the queue would only grow.
            core.clear_shard(shard);
        }
    }

    /// The shard of a small room's members.
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

    /// Starts all hubs for a member of a server with this runtime, which they use unless the program
    /// has chosen one.
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

    /// Starts a hub's task unless it runs; false where that is not possible.
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
        // A runtime that has shut down drops the task at once, and the hub can be run again.
        match hub.clone().run(release()) {
            Some(run) => spawn_thread(run),
            None => true,
        }
    }

    /// Starts the sweeper unless it runs.
    fn start_sweeper(self: &Arc<Self>) {
        if self.is_swept.load(Ordering::Relaxed) {
            return;
        }
        let Some(sweeper) = Sweeper::new(Arc::downgrade(self)) else {
            return;
        };
        let runtime = self.lock_runtime().clone();
        if let Some(runtime) = runtime {
            runtime.spawn(sweeper.run());
        }
        // As above: a sweeper that was dropped is started on a thread.
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
        // The hooks of the members' connections find no registry any more: the gauges are set here.
        let rooms = std::mem::take(self.rooms.get_mut().unwrap_or_else(PoisonError::into_inner));
        if let Some(metrics) = self.metrics.get() {
            metrics.rooms_removed(rooms.len());
            for core in rooms.into_values() {
                metrics.left(&core.metrics, core.member_count());
            }
        }
    }
}

/// Runs a hub or a sweeper on a thread of its own, where no server's runtime is at hand.
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

/// Task that drops expired history of rooms without members. Its drop, also by the end of its runtime,
/// allows another one.
struct Sweeper {
    registry: Weak<RoomRegistry>,
}

impl Sweeper {
    /// Returns `None` if a sweeper runs, or if the rooms are gone.
    fn new(registry: Weak<RoomRegistry>) -> Option<Self> {
        let was_swept = registry.upgrade()?.is_swept.swap(true, Ordering::AcqRel);
        (!was_swept).then(|| Self { registry })
    }

    /// Sweeps for as long as the registry lives.
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
                // Thousands of rooms do not fit into one poll.
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
