//! All rooms of a server.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use crate::{
    error::RoomError,
    history::HistoryLimits,
    hub::Hub,
    metrics::Metrics,
    room::{MemberId, Room, RoomCore},
};

/// How often rooms that nobody is in are looked at, to drop their expired history.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Hub tasks at most: beyond, they would wait for the same network stack.
const MOST_HUBS: usize = 16;

/// Limits of rooms.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoomsConfig {
    /// Length of a room's name, in bytes. Default: 255.
    pub name_bytes: usize,
    /// Rooms that one connection may be in. Default: 128.
    pub rooms_per_connection: usize,
    /// Messages in a room's history: what members that lag read on from, and what later members can
    /// ask for. Default: 100.
    pub history_messages: usize,
    /// Bytes in a room's history. Default: 1 MiB.
    pub history_bytes: usize,
    /// Age of the oldest message in a room's history. Default: 5 min.
    pub history_age: Duration,
    /// Rooms whose members are counted each on its own, in `hyperlane_room_size`. The server does not choose names for
    /// labels by itself: there may be any number of rooms. Default: none.
    #[cfg(feature = "metrics")]
    pub measured_rooms: Vec<String>,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            name_bytes: 255,
            rooms_per_connection: 128,
            history_messages: 100,
            history_bytes: 1024 * 1024,
            history_age: Duration::from_secs(5 * 60),
            #[cfg(feature = "metrics")]
            measured_rooms: Vec::new(),
        }
    }
}

impl RoomsConfig {
    /// Sets [`history_messages`](Self::history_messages).
    #[must_use]
    pub fn history_messages(mut self, messages: usize) -> Self {
        self.history_messages = messages;
        self
    }

    /// Sets [`history_bytes`](Self::history_bytes).
    #[must_use]
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.history_bytes = bytes;
        self
    }

    /// Sets [`history_age`](Self::history_age).
    #[must_use]
    pub fn history_age(mut self, age: Duration) -> Self {
        self.history_age = age;
        self
    }

    /// Sets [`rooms_per_connection`](Self::rooms_per_connection).
    #[must_use]
    pub fn rooms_per_connection(mut self, rooms: usize) -> Self {
        self.rooms_per_connection = rooms;
        self
    }

    /// Sets [`measured_rooms`](Self::measured_rooms).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn measured_rooms<R: Into<String>>(mut self, names: impl IntoIterator<Item = R>) -> Self {
        self.measured_rooms = names.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn history_limits(&self) -> HistoryLimits {
        HistoryLimits {
            messages: self.history_messages,
            bytes: self.history_bytes,
            age: self.history_age,
        }
    }
}

/// The rooms that a connection is in.
#[derive(Default)]
pub(crate) struct Peer {
    pub(crate) rooms: Vec<Arc<RoomCore>>,
    /// Its end will take it out of them.
    pub(crate) watched: bool,
}

/// All rooms of a server, as a cheap handle.
///
/// Hooks reach a server's own by [`RoomExt::room`](crate::RoomExt::room). A program that publishes from
/// elsewhere makes them itself and shares them. It may use them anywhere: in other runtimes, and on threads of its own.
/// Messages are delivered on the runtime of the server whose connection joins first, or on that of [`on`](Self::on); if
/// that ends before the rooms, on a thread of their own.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_broadcast::RoomError> {
/// use hyperlane_broadcast::Rooms;
/// use hyperlane_core::Server;
///
/// let rooms = Rooms::new();
/// let mut server = Server::default();
/// server.state(rooms.clone());
///
/// let reached = rooms.room("prices")?.broadcast("42").await;
/// assert_eq!(reached, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Rooms {
    inner: Arc<Inner>,
}

struct Inner {
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

/// A handle that does not keep the rooms alive.
#[derive(Clone)]
pub(crate) struct WeakRooms(Weak<Inner>);

impl WeakRooms {
    pub(crate) fn upgrade(&self) -> Option<Rooms> {
        self.0.upgrade().map(|inner| Rooms { inner })
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new()
    }
}

impl Rooms {
    /// Rooms with the default limits.
    pub fn new() -> Self {
        Self::with_config(RoomsConfig::default())
    }

    /// Rooms with limits of their own.
    pub fn with_config(config: RoomsConfig) -> Self {
        Self::make(config, None)
    }

    /// Rooms that deliver on this runtime, which needs its driver for time, with the default limits.
    ///
    /// Without it they deliver on the runtime of the first server whose connection joins.
    pub fn on(runtime: Handle) -> Self {
        Self::with_config_on(RoomsConfig::default(), runtime)
    }

    /// As [`on`](Self::on), with limits of their own.
    pub fn with_config_on(config: RoomsConfig, runtime: Handle) -> Self {
        Self::make(config, Some(runtime))
    }

    fn make(config: RoomsConfig, home: Option<Handle>) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                rooms: Mutex::new(HashMap::new()),
                peers: Mutex::new(HashMap::new()),
                hubs: OnceLock::new(),
                is_home_chosen: home.is_some(),
                home: Mutex::new(home),
                sweeps: AtomicBool::new(false),
                metrics: OnceLock::new(),
                hasher: RandomState::new(),
            }),
        }
    }

    pub(crate) fn config(&self) -> &RoomsConfig {
        &self.inner.config
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        self.inner.metrics.get_or_init(Metrics::new)
    }

    pub(crate) fn downgrade(&self) -> WeakRooms {
        WeakRooms(Arc::downgrade(&self.inner))
    }

    /// The room of that name; it exists as soon as somebody asks for it.
    ///
    /// # Errors
    /// [`RoomError::Name`] for a name that is empty or too long.
    pub fn room(&self, name: impl AsRef<str>) -> Result<Room, RoomError> {
        let name = name.as_ref();
        let limit = self.inner.config.name_bytes;
        if name.is_empty() || name.len() > limit {
            return Err(RoomError::Name {
                length: name.len(),
                limit,
            });
        }
        let lanes = self.hubs().len();
        let mut rooms = self.lock_rooms();
        let core = match rooms.get(name) {
            Some(core) => core.clone(),
            None => {
                let name: Arc<str> = name.into();
                let metrics = self.metrics();
                let measured = metrics.of_room(self.config(), &name);
                let core = Arc::new(RoomCore::new(name.clone(), lanes, measured));
                metrics.room_began();
                rooms.insert(name, core.clone());
                core
            }
        };
        Ok(Room::new(self.clone(), core))
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.lock_rooms().len()
    }

    /// Whether there is no room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock_rooms(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<RoomCore>>> {
        self.inner
            .rooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with_peers<R>(&self, work: impl FnOnce(&mut HashMap<MemberId, Peer>) -> R) -> R {
        work(
            &mut self
                .inner
                .peers
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
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

    pub(crate) fn home_lane(&self, name: &str) -> usize {
        let mut hasher = self.inner.hasher.build_hasher();
        hasher.write(name.as_bytes());
        let hubs = self.hubs().len().max(1);
        usize::try_from(hasher.finish() % hubs as u64).unwrap_or(0)
    }

    pub(crate) fn hubs(&self) -> &[Arc<Hub>] {
        self.inner.hubs.get_or_init(|| {
            let count = match &*self.lock_home() {
                Some(runtime) => runtime.metrics().num_workers(),
                None => thread::available_parallelism().map_or(1, usize::from),
            };
            let count = count.clamp(1, MOST_HUBS);
            (0..count).map(|lane| Arc::new(Hub::new(lane))).collect()
        })
    }

    fn lock_home(&self) -> MutexGuard<'_, Option<Handle>> {
        self.inner
            .home
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A member joins whose server runs there.
    pub(crate) fn settle(&self, server: Option<Handle>) {
        if self.hubs().iter().all(|hub| hub.is_running()) {
            return;
        }
        if let Some(server) = server.filter(|_| !self.inner.is_home_chosen) {
            *self.lock_home() = Some(server);
        }
        for hub in self.hubs() {
            self.start(hub);
        }
        self.sweep_from_now_on();
    }

    /// Starts a hub, unless it runs; false where that is not possible.
    pub(crate) fn start(&self, hub: &Arc<Hub>) -> bool {
        let home = self.lock_home().clone();
        if let Some(runtime) = home
            && let Some(run) = hub.clone().run(self.downgrade())
        {
            runtime.spawn(run);
        }
        // A runtime that has ended drops at once what it is given.
        match hub.clone().run(self.downgrade()) {
            Some(run) => on_own_thread(run),
            None => true,
        }
    }

    /// Starts the sweeps that drop expired history, unless they run.
    pub(crate) fn sweep_from_now_on(&self) {
        if self.inner.sweeps.load(Ordering::Relaxed) {
            return;
        }
        let Some(sweeps) = Sweeps::begin(self.downgrade()) else {
            return;
        };
        let home = self.lock_home().clone();
        if let Some(runtime) = home {
            runtime.spawn(sweep(sweeps));
        }
        if let Some(sweeps) = Sweeps::begin(self.downgrade()) {
            on_own_thread(sweep(sweeps));
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
struct Sweeps(WeakRooms);

impl Sweeps {
    fn begin(rooms: WeakRooms) -> Option<Self> {
        let inner = rooms.0.upgrade()?;
        let is_first = !inner.sweeps.swap(true, Ordering::AcqRel);
        is_first.then(|| Self(rooms))
    }
}

impl Drop for Sweeps {
    fn drop(&mut self) {
        if let Some(inner) = self.0.0.upgrade() {
            inner.sweeps.store(false, Ordering::Release);
        }
    }
}

impl Drop for Inner {
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
        let limits = rooms.config().history_limits();
        let cores: Vec<_> = rooms.lock_rooms().values().cloned().collect();
        for core in cores {
            core.lock().history.expire(Instant::now(), &limits);
            rooms.release(core);
            // Thousands of rooms are not looked at in one go.
            tokio::task::consume_budget().await;
        }
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("rooms", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    #[tokio::test]
    async fn of_handles_dropped_at_the_same_time_one_is_the_last() {
        let rooms = Rooms::new();
        let barrier = Barrier::new(8);
        for _ in 0..1000 {
            let handles = [(); 8].map(|()| rooms.room("room").unwrap());
            thread::scope(|scope| {
                for handle in handles {
                    scope.spawn(|| {
                        barrier.wait();
                        drop(handle);
                    });
                }
            });
            assert!(rooms.is_empty(), "nobody is left who would forget it");
        }
    }
}
