//! All rooms of a server, their members and their hubs.

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
    lane::Command,
    member::{Join, Member, MemberId},
    metrics::Metrics,
    post::Audience,
};

/// How often rooms that nobody is in are looked at, to drop their expired history.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Hub tasks at most: beyond, they would wait for the same network stack.
const MOST_HUBS: usize = 16;

/// The rooms that a connection is in.
#[derive(Default)]
struct Peer {
    rooms: Vec<Arc<RoomCore>>,
    /// Its end will take it out of them.
    watched: bool,
}

/// All rooms of a server.
pub(crate) struct Registry {
    config: RoomsConfig,
    rooms: Mutex<HashMap<Arc<str>, Arc<RoomCore>>>,
    peers: Mutex<HashMap<MemberId, Peer>>,
    /// Made with the first room, and started by the first member.
    hubs: OnceLock<Vec<Arc<Hub>>>,
    /// Where the hubs run.
    home: Mutex<Option<Handle>>,
    /// The program has chosen it.
    is_home_chosen: bool,
    /// Something drops expired history now and then.
    sweeps: AtomicBool,
    /// Made with the first room.
    metrics: OnceLock<Metrics>,
    hasher: RandomState,
}

impl Registry {
    pub(crate) fn new(config: RoomsConfig, home: Option<Handle>) -> Self {
        Self {
            config,
            rooms: Mutex::new(HashMap::new()),
            peers: Mutex::new(HashMap::new()),
            hubs: OnceLock::new(),
            is_home_chosen: home.is_some(),
            home: Mutex::new(home),
            sweeps: AtomicBool::new(false),
            metrics: OnceLock::new(),
            hasher: RandomState::new(),
        }
    }

    fn metrics(&self) -> &Metrics {
        self.metrics.get_or_init(Metrics::new)
    }

    /// The room of that name; it exists as soon as somebody asks for it.
    ///
    /// # Errors
    /// [`RoomError::Name`] for a name that is empty or too long.
    pub(crate) fn room(&self, name: &str) -> Result<Arc<RoomCore>, RoomError> {
        let limit = self.config.name_bytes;
        if name.is_empty() || name.len() > limit {
            return Err(RoomError::Name {
                length: name.len(),
                limit,
            });
        }
        let lanes = self.hubs().len();
        let mut rooms = self.lock_rooms();
        if let Some(core) = rooms.get(name) {
            return Ok(core.clone());
        }
        let name: Arc<str> = name.into();
        let metrics = self.metrics();
        let measured = metrics.of_room(&self.config, &name);
        let core = Arc::new(RoomCore::new(name.clone(), lanes, measured));
        metrics.room_began();
        rooms.insert(name, core.clone());
        Ok(core)
    }

    /// How many rooms there are.
    pub(crate) fn len(&self) -> usize {
        self.lock_rooms().len()
    }

    fn lock_rooms(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<RoomCore>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_peers<R>(&self, work: impl FnOnce(&mut HashMap<MemberId, Peer>) -> R) -> R {
        work(&mut self.peers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives a handle back, and forgets the room if nobody would miss it.
    pub(crate) fn release(&self, core: Arc<RoomCore>) {
        let mut rooms = self.lock_rooms();
        let name = core.name.clone();
        // Given back under the lock: of two who let go at the same time, the later one is the last. New
        // handles are made under it, too.
        drop(core);
        let is_last = |known: &Arc<RoomCore>| Arc::strong_count(known) == 1 && known.is_vacant();
        if rooms.get(&name).is_some_and(is_last) {
            rooms.remove(&name);
            self.metrics().rooms_ended(1);
            if rooms.capacity() > 64 && rooms.len() < rooms.capacity() / 8 {
                rooms.shrink_to_fit();
            }
        }
    }

    fn home_lane(&self, name: &str) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.as_bytes());
        let hubs = self.hubs().len().max(1);
        usize::try_from(hasher.finish() % hubs as u64).unwrap_or(0)
    }

    fn hubs(&self) -> &[Arc<Hub>] {
        self.hubs.get_or_init(|| {
            let count = match &*self.lock_home() {
                Some(runtime) => runtime.metrics().num_workers(),
                None => thread::available_parallelism().map_or(1, usize::from),
            };
            let count = count.clamp(1, MOST_HUBS);
            (0..count).map(|lane| Arc::new(Hub::new(lane))).collect()
        })
    }

    fn lock_home(&self) -> MutexGuard<'_, Option<Handle>> {
        self.home.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member joins whose server runs there.
    fn settle(self: &Arc<Self>, server: Option<Handle>) {
        if self.hubs().iter().all(|hub| hub.is_running()) {
            return;
        }
        if let Some(server) = server.filter(|_| !self.is_home_chosen) {
            *self.lock_home() = Some(server);
        }
        for hub in self.hubs() {
            self.start(hub);
        }
        self.sweep_from_now_on();
    }

    /// Starts a hub, unless it runs; false where that is not possible.
    fn start(self: &Arc<Self>, hub: &Arc<Hub>) -> bool {
        let release = || {
            let registry = Arc::downgrade(self);
            move |core| {
                if let Some(registry) = registry.upgrade() {
                    registry.release(core);
                }
            }
        };
        let home = self.lock_home().clone();
        if let Some(runtime) = home
            && let Some(run) = hub.clone().run(release())
        {
            runtime.spawn(run);
        }
        // A runtime that has ended drops at once what it is given.
        match hub.clone().run(release()) {
            Some(run) => on_own_thread(run),
            None => true,
        }
    }

    /// Starts the sweeps that drop expired history, unless they run.
    fn sweep_from_now_on(self: &Arc<Self>) {
        if self.sweeps.load(Ordering::Relaxed) {
            return;
        }
        let Some(sweeps) = Sweeps::begin(Arc::downgrade(self)) else {
            return;
        };
        let home = self.lock_home().clone();
        if let Some(runtime) = home {
            runtime.spawn(sweep(sweeps));
        }
        if let Some(sweeps) = Sweeps::begin(Arc::downgrade(self)) {
            on_own_thread(sweep(sweeps));
        }
    }

    pub(crate) fn publish(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        message: Message,
        audience: Audience,
    ) -> usize {
        // What the publishing handler has answered its own client arrives there first.
        flush_current();
        self.sweep_from_now_on();
        let limits = self.config.history_limits();
        core.publish(message, audience, &limits, |lane| {
            self.wake_lane(core, lane)
        })
    }

    pub(crate) fn seat(
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
        self.settle(outbox.__runtime());
        let member = Member {
            id,
            user: join.user.unwrap_or_default(),
        };
        let first = self.with_peers(|peers| {
            let mut state = core.lock();
            if let Some(record) = state.members.get_mut(&id) {
                record.user = member.user.clone();
                record.farewell = join.farewell;
                return Ok(false);
            }
            let peer = peers.entry(id).or_default();
            let limit = self.config.rooms_per_connection;
            if peer.rooms.len() >= limit {
                return Err(RoomError::TooManyRooms { limit });
            }
            peer.rooms.push(core.clone());
            self.metrics().joined(&core.metrics);
            let lane = state.lane_for(self.home_lane(&core.name));
            state.seat(&member, lane, join.farewell);
            let limits = self.config.history_limits();
            let replay = state.replay(join.history, id, &limits);
            core.post(
                lane,
                Command::Join {
                    outbox: outbox.clone(),
                    replay,
                },
            );
            self.wake_lane(core, lane);
            // Once per connection, however often it leaves and joins.
            Ok(!std::mem::replace(&mut peer.watched, true))
        })?;
        if first {
            // Outside the locks: if the connection is over already, this runs at once.
            let rooms = Arc::downgrade(self);
            outbox.on_end(move || {
                if let Some(rooms) = rooms.upgrade() {
                    rooms.connection_ended(id);
                }
            });
        }
        Ok(member)
    }

    pub(crate) fn unseat(self: &Arc<Self>, core: &Arc<RoomCore>, id: MemberId) -> bool {
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

    /// Tells a lane's hub that something waits.
    fn wake_lane(self: &Arc<Self>, core: &Arc<RoomCore>, lane: usize) {
        let Some(hub) = self.hubs().get(lane) else {
            return;
        };
        if hub.is_running() || self.start(hub) {
            hub.wake(core);
        } else if let Some(queue) = core.lanes.get(lane) {
            // Nothing would ever take it off.
            queue.clear();
        }
    }

    /// Takes a connection out of all its rooms.
    fn connection_ended(self: &Arc<Self>, id: MemberId) {
        let peer = self.with_peers(|peers| peers.remove(&id));
        for core in peer.into_iter().flat_map(|peer| peer.rooms) {
            self.take_out(&core, id);
            self.release(core);
        }
    }

    fn take_out(self: &Arc<Self>, core: &Arc<RoomCore>, id: MemberId) {
        let farewell = {
            let mut state = core.lock();
            let Some((lane, farewell)) = state.unseat(id) else {
                return;
            };
            self.metrics().left(&core.metrics, 1);
            core.post(lane, Command::Leave(id));
            self.wake_lane(core, lane);
            farewell
        };
        if let Some(farewell) = farewell {
            self.publish(core, farewell, Audience::Except(id));
        }
    }
}

/// For what has no runtime: the rooms have no server, or outlive it.
fn on_own_thread(work: impl Future<Output = ()> + Send + 'static) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let started = runtime.and_then(|runtime| {
        thread::Builder::new()
            .name("hyperlane-rooms".to_owned())
            .spawn(move || runtime.block_on(work))
    });
    started
        .inspect_err(|error| tracing::error!(%error, "no thread for the rooms: messages are lost"))
        .is_ok()
}

/// Held by what sweeps, so that another begins when it ends with its runtime.
struct Sweeps(Weak<Registry>);

impl Sweeps {
    fn begin(rooms: Weak<Registry>) -> Option<Self> {
        let inner = rooms.upgrade()?;
        let is_first = !inner.sweeps.swap(true, Ordering::AcqRel);
        is_first.then(|| Self(rooms))
    }
}

impl Drop for Sweeps {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.sweeps.store(false, Ordering::Release);
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for hub in self.hubs.get().into_iter().flatten() {
            hub.stop();
        }
        // Nobody will take their members out any more.
        let rooms = std::mem::take(self.rooms.get_mut().unwrap_or_else(PoisonError::into_inner));
        if let Some(metrics) = self.metrics.get() {
            metrics.rooms_ended(rooms.len());
            for core in rooms.into_values() {
                metrics.left(&core.metrics, core.size());
            }
        }
    }
}

/// Drops expired history of rooms that nobody is in, for as long as the rooms live.
async fn sweep(sweeps: Sweeps) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(rooms) = sweeps.0.upgrade() else {
            return;
        };
        let limits = rooms.config.history_limits();
        let cores: Vec<_> = rooms.lock_rooms().values().cloned().collect();
        for core in cores {
            core.lock().history.expire(Instant::now(), &limits);
            rooms.release(core);
            // Thousands of rooms are not looked at in one go.
            tokio::task::consume_budget().await;
        }
    }
}
