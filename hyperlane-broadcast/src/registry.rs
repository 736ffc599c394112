//! State that all rooms of a server share: the tables of rooms and of memberships, and the hubs that deliver messages.

// Long: the table of rooms, the memberships and the hubs share one order of locks, which is visible only in one place.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use hyperlane_core::hub::{flush_current, queue_current};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    broker::{Broker, BrokerRoom, Publication, Published, Publishing, Refused},
    config::{RoomLimits, RoomsConfig},
    delivery::{
        core::RoomCore,
        hub::{Hub, Runner},
        membership::{Extra, Membership, RoomEntry, grow_by_an_eighth},
        shard::Command,
        users::Users,
    },
    error::{PublishError, RoomError},
    ledger::Totals,
    locks::{Locked, lock},
    member::{Join, Joined, Member, MemberId, Start},
    metrics::Metrics,
    outlet::Outlet,
    post::{Audience, Draft, Post, Unpublished},
};

mod clock;
mod follow;
pub(crate) mod handle;
pub(crate) mod keeper;
mod waiting;

/// Maximum number of hub tasks. More tasks would contend for the same network stack.
const MAX_HUBS: usize = 16;

/// State shared by the handles [`Rooms`](crate::Rooms) and [`Room`](crate::Room).
pub(crate) struct RoomRegistry {
    pub(crate) config: RoomsConfig,
    pub(crate) broker: Box<dyn Broker>,
    limits: Limits,
    table: Mutex<Table>,
    memberships: Mutex<HashMap<u64, Arc<Membership>>>,
    totals: Arc<Totals>,
    pub(crate) users: Arc<Users>,
    /// Hubs, created with the first room. Their tasks start when the first member joins.
    hubs: OnceLock<Vec<Arc<Hub>>>,
    /// The runtime of the hubs' tasks and of the keeper; `None` while no runtime is known.
    runtime: Mutex<Option<Handle>>,
    /// True if the program has chosen the runtime by [`Rooms::on`](crate::Rooms::on).
    is_runtime_fixed: bool,
    keeper: Arc<keeper::State>,
    waiting: waiting::State,
    clock: Arc<clock::Clock>,
    /// Metrics, created with the first room.
    metrics: OnceLock<Metrics>,
    hasher: RandomState,
    /// Number of rooms that were ever created.
    created: AtomicU64,
}

/// The limits of rooms, shared by the rooms to which they apply.
struct Limits {
    default: Arc<RoomLimits>,
    by_pattern: Vec<Arc<RoomLimits>>,
}

#[derive(Default)]
struct Table {
    rooms: HashMap<Arc<str>, Arc<RoomCore>>,
    /// The rooms without members and handles, which have only a history, by the time when they became so.
    idle: BTreeMap<u64, Arc<str>>,
    /// The last time of this table's clock, which counts.
    clock: u64,
}

impl Table {
    /// Notes that a room is in use again.
    fn set_used(&mut self, core: &RoomCore) {
        let idle_since = core.idle_since.swap(0, Ordering::AcqRel);
        if idle_since != 0 {
            self.idle.remove(&idle_since);
        }
    }

    /// Notes that a room has only a history.
    fn set_idle(&mut self, core: &RoomCore) {
        if core.idle_since.load(Ordering::Acquire) == 0 {
            self.clock += 1;
            core.idle_since.store(self.clock, Ordering::Release);
            self.idle.insert(self.clock, core.name.clone());
        }
    }

    fn remove(&mut self, name: &str) -> Option<Arc<RoomCore>> {
        let removed = self.rooms.remove(name)?;
        removed.is_listed.store(false, Ordering::Relaxed);
        self.set_used(&removed);
        if self.rooms.capacity() > 64 && self.rooms.len() < self.rooms.capacity() / 8 {
            self.rooms.shrink_to_fit();
        }
        Some(removed)
    }

    /// Removes the idle room that was used least recently. Returns `None` if no room is idle.
    fn remove_idle(&mut self) -> Option<Arc<RoomCore>> {
        while let Some((_, name)) = self.idle.pop_first() {
            let is_idle = |core: &Arc<RoomCore>| Arc::strong_count(core) == 1 && core.is_idle();
            match self.rooms.get(&name) {
                Some(core) if is_idle(core) => return self.remove(&name),
                Some(core) => core.idle_since.store(0, Ordering::Release),
                None => {}
            }
        }
        None
    }
}

/// The registry as the hubs see it.
struct HubRunner(Weak<RoomRegistry>);

impl Runner for HubRunner {
    fn start(&self, hub: &Arc<Hub>) -> bool {
        self.0
            .upgrade()
            .is_some_and(|registry| registry.start_hub(hub))
    }

    fn restart(&self, hub: &Arc<Hub>) {
        if self.0.strong_count() > 0
            && let Some(run) = hub.clone().run(true)
        {
            spawn_thread(run);
        }
    }

    fn watch(&self) {
        if let Some(registry) = self.0.upgrade() {
            registry.clock.rouse(&registry);
        }
    }

    fn release(&self, core: Arc<RoomCore>) {
        if let Some(registry) = self.0.upgrade() {
            registry.release(core);
        }
    }

    fn list_waiting(&self, core: &Arc<RoomCore>) {
        if let Some(registry) = self.0.upgrade() {
            registry.list_waiting(core);
        }
    }
}

impl RoomRegistry {
    pub(crate) fn new(
        config: RoomsConfig,
        broker: Box<dyn Broker>,
        runtime: Option<Handle>,
    ) -> Arc<Self> {
        let limits = Limits {
            default: Arc::new(config.limits.clone()),
            by_pattern: config
                .patterns
                .iter()
                .map(|(_, limits)| Arc::new(limits.clone()))
                .collect(),
        };
        Arc::new(Self {
            config,
            broker,
            limits,
            table: Mutex::default(),
            memberships: Mutex::default(),
            totals: Arc::default(),
            users: Arc::default(),
            hubs: OnceLock::new(),
            is_runtime_fixed: runtime.is_some(),
            runtime: Mutex::new(runtime),
            keeper: Arc::default(),
            waiting: waiting::State::default(),
            clock: Arc::default(),
            metrics: OnceLock::new(),
            hasher: RandomState::new(),
            created: AtomicU64::new(0),
        })
    }

    /// Returns the room of this name. Creates the room if it does not exist.
    pub(crate) fn room(self: &Arc<Self>, name: &str) -> Result<Arc<RoomCore>, RoomError> {
        let limit = self.config.name_bytes;
        if name.is_empty() || name.len() > limit {
            return Err(RoomError::Name {
                length: name.len(),
                limit,
            });
        }
        let hubs = self.hubs();
        let mut removed = None;
        let mut table = self.lock_table();
        if let Some(core) = table.rooms.get(name).cloned() {
            table.set_used(&core);
            return Ok(core);
        }
        if table.rooms.len() >= self.config.rooms {
            removed = table.remove_idle();
            if removed.is_none() {
                let limit = self.config.rooms;
                return Err(RoomError::TooManyRooms { limit });
            }
        }
        let name: Arc<str> = name.into();
        let metrics = self.metrics();
        let room_metrics = metrics.for_room(&self.config, &name);
        let limits = self.limits_of(&name);
        let epoch = self.next_epoch();
        let core = RoomCore::new(
            name.clone(),
            epoch,
            limits,
            hubs,
            &self.totals,
            &self.users,
            room_metrics,
        );
        metrics.room_created();
        core.is_listed.store(true, Ordering::Relaxed);
        table.rooms.insert(name, core.clone());
        drop(table);
        self.drop_rooms(removed);
        Ok(core)
    }

    fn limits_of(&self, name: &str) -> Arc<RoomLimits> {
        let mut patterns = self.config.patterns.iter().map(|(pattern, _)| pattern);
        let index = patterns.position(|pattern| pattern.matches(name));
        let limits = index.and_then(|index| self.limits.by_pattern.get(index));
        limits.unwrap_or(&self.limits.default).clone()
    }

    /// Returns a random number that no earlier room of this process has.
    fn next_epoch(&self) -> u64 {
        self.hasher
            .hash_one(self.created.fetch_add(1, Ordering::Relaxed))
    }

    /// Drops rooms that were removed from the table, without its lock: the program may have given the payloads of their
    /// histories a destructor.
    fn drop_rooms(&self, removed: impl IntoIterator<Item = Arc<RoomCore>>) {
        for core in removed {
            core.forget();
            self.metrics().rooms_removed(1);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock_table().rooms.len()
    }

    /// Drops one reference to a room. Removes the room if only the table still refers to it, and if it has no members
    /// and no history.
    pub(crate) fn release(&self, core: Arc<RoomCore>) {
        let mut table = self.lock_table();
        if !core.is_listed.load(Ordering::Relaxed) {
            drop(table);
            return drop(core);
        }
        let mut removed = None;
        // The table has the other reference.
        if Arc::strong_count(&core) == 2 {
            if core.is_vacant() {
                removed = table.remove(&core.name);
            } else if core.is_idle() {
                table.set_idle(&core);
            }
        }
        // The reference is dropped under the lock of the table. Without the lock, two threads that drop the last two
        // references could each see the reference of the other thread. The room would then stay. The table or `removed`
        // still has a reference.
        drop(core);
        drop(table);
        self.drop_rooms(removed);
    }

    /// Publishes a message in a room. Does not wait.
    pub(crate) fn publish(self: &Arc<Self>, core: &Arc<RoomCore>, post: Unpublished) -> Publishing {
        // During a connection's poll, this call sends the bytes that the connection's handler has written so far.
        // The client receives these bytes before the published message.
        flush_current();
        self.start_keeper();
        let publishing = self
            .broker
            .publish(&BrokerRoom { core }, Publication { post });
        self.bound_memory();
        publishing
    }

    /// Returns the time until which a publish that begins now may wait.
    pub(crate) fn publish_deadline(&self) -> Instant {
        Instant::now() + self.config.publish_timeout
    }

    /// Publishes a message. Waits while the room's queue is full, at most until `until`, or for the whole time that a
    /// publish may wait.
    pub(crate) async fn publish_or_wait(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        post: Unpublished,
        until: Option<Instant>,
    ) -> Result<Published, PublishError> {
        let refused = match self.publish(core, post) {
            Publishing::Done(Ok(published)) => return Ok(published),
            Publishing::Done(Err(refused)) => refused,
            Publishing::Later(publishing) => match publishing.await {
                Ok(published) => return Ok(published),
                Err(refused) => refused,
            },
        };
        if refused.error != PublishError::Full {
            return Err(refused.error);
        }
        let until = until.unwrap_or_else(|| self.publish_deadline());
        // Boxed, because the futures of the callers are moved as a whole, and rarely wait.
        Box::pin(self.publish_when_possible(core, refused, until)).await
    }

    async fn publish_when_possible(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        mut refused: Box<Refused>,
        until: Instant,
    ) -> Result<Published, PublishError> {
        let bytes = refused.publication.post.draft().weight() + Post::OVERHEAD;
        let mut place = core.wait_to_publish(bytes, until);
        while refused.error == PublishError::Full {
            if Instant::now() >= until {
                let after = self.config.publish_timeout;
                return Err(PublishError::Timeout { after });
            }
            // A wake-up counts from here on. The queue may have got room since the last try.
            place.enter();
            refused = match self.publish_once(core, refused.publication.post).await {
                Ok(published) => return Ok(published),
                Err(refused) => refused,
            };
            if refused.error == PublishError::Full {
                if !self.watch_waiters(core) {
                    return Err(PublishError::NoHub);
                }
                (&mut place).await;
            }
        }
        Err(refused.error)
    }

    async fn publish_once(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        post: Unpublished,
    ) -> Result<Published, Box<Refused>> {
        match self.publish(core, post) {
            Publishing::Done(result) => result,
            Publishing::Later(publishing) => publishing.await,
        }
    }

    /// Publishes the farewell of a member. If the room's queue is full, a task waits until the room takes it: without
    /// it, the other members would believe that this one is still there.
    fn publish_farewell(self: &Arc<Self>, core: &Arc<RoomCore>, id: u64, mut draft: Draft) {
        draft.audience = Audience::Except(MemberId::local(id));
        match self.publish(core, Unpublished::new(draft)) {
            Publishing::Done(Ok(_)) => {}
            Publishing::Done(Err(refused)) if refused.error == PublishError::Full => {
                let (registry, core) = (self.clone(), core.clone());
                let waiting = core.await_farewell();
                self.spawn(async move {
                    let _waiting = waiting;
                    let message = refused.publication.post;
                    let published = registry.publish_or_wait(&core, message, None).await;
                    registry.release(core);
                    published
                });
            }
            Publishing::Done(Err(refused)) => self.spawn(async move { Err(refused.error) }),
            Publishing::Later(publishing) => {
                self.spawn(async { publishing.await.map_err(|refused| refused.error) });
            }
        }
    }

    /// Runs the pump of a sink. Without a runtime it runs on a thread of its own. If none can be started, the pump is
    /// dropped.
    pub(crate) fn spawn_pump(
        &self,
        runtime: Option<Handle>,
        pump: impl Future<Output = ()> + Send + 'static,
    ) {
        match runtime {
            Some(runtime) => drop(runtime.spawn(pump)),
            None => drop(spawn_thread(pump)),
        }
    }

    /// Returns the runtime for tasks of the program's own members: the one that the program has chosen, else the
    /// current one, else the hubs' one.
    pub(crate) fn runtime_of_members(&self) -> Option<Handle> {
        let known = self.lock_runtime().clone();
        match Handle::try_current() {
            Ok(current) if !self.is_runtime_fixed => Some(current),
            _ => known,
        }
    }

    /// Runs a publish for whose result no caller waits.
    pub(crate) fn spawn(
        &self,
        publishing: impl Future<Output = Result<Published, PublishError>> + Send + 'static,
    ) {
        let ended = async move {
            if let Err(error) = publishing.await {
                tracing::warn!(%error, "message of a room lost");
            }
        };
        let runtime = self.lock_runtime().clone();
        match runtime {
            Some(runtime) => drop(runtime.spawn(ended)),
            None => drop(spawn_thread(ended)),
        }
    }

    /// Frees memory if the histories, or what waits for slow members, have grown beyond their limits.
    fn bound_memory(&self) {
        if self.totals.history() > self.config.histories_bytes {
            self.shrink_histories();
        }
        self.bound_waiting();
    }

    /// Shrinks the histories of all rooms together to seven eighths of their limit, so that the work is done once for
    /// many messages. The empty rooms that were used least recently go first. Then the longest histories lose their
    /// oldest messages.
    #[cold]
    fn shrink_histories(&self) {
        let goal = self.config.histories_bytes / 8 * 7;
        let mut removed = Vec::new();
        {
            let mut table = self.lock_table();
            let mut excess = self.totals.history().saturating_sub(goal);
            while excess > 0
                && let Some(core) = table.remove_idle()
            {
                excess = excess.saturating_sub(core.ledger.history());
                removed.push(core);
            }
        }
        self.drop_rooms(removed);
        if self.totals.history() <= goal {
            return;
        }
        let mut rooms: Vec<_> = self.all_rooms();
        rooms.sort_unstable_by_key(|core| core.ledger.history());
        // Halving the longest history first leaves short histories whole.
        let mut longest: std::collections::BinaryHeap<(usize, usize)> = rooms
            .iter()
            .enumerate()
            .map(|(at, core)| (core.ledger.history(), at))
            .collect();
        while self.totals.history() > goal
            && let Some((bytes, at)) = longest.pop()
            && bytes > 0
            && let Some(core) = rooms.get(at)
        {
            if core.give_up(bytes / 2 + 1) > 0 {
                longest.push((core.ledger.history(), at));
            }
        }
        for core in rooms {
            self.release(core);
        }
    }

    pub(crate) fn all_rooms(&self) -> Vec<Arc<RoomCore>> {
        self.lock_table().rooms.values().cloned().collect()
    }

    /// Adds a connection to a room. If the connection is a member already, updates its user and its farewell (the
    /// message that is published when the member leaves).
    pub(crate) fn join(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        outlet: &Outlet,
        join: Join,
    ) -> Result<Joined, RoomError> {
        let membership = self.admit(outlet)?;
        let joined = self.join_as(core, &membership, join, false);
        flush_current();
        joined
    }

    /// Returns the membership of a connection that may join rooms. The connection is about to join one.
    fn admit(self: &Arc<Self>, outlet: &Outlet) -> Result<Arc<Membership>, RoomError> {
        let outbox = outlet.connection();
        if outbox.is_some_and(|outbox| outbox.is_of_channel()) {
            return Err(RoomError::Channel);
        }
        if !outlet.is_open() || outbox.is_some_and(|outbox| !outbox.format().is_pushable()) {
            return Err(RoomError::NotConnected);
        }
        // What the handler has sent in this poll, such as the head of a WebSocket handshake, comes before the room's
        // messages. It leaves when the member is seated, so that a client that has received it is a member.
        queue_current();
        self.start_hubs(outlet.runtime());
        let (membership, is_new) = self.membership(outlet);
        if is_new {
            outlet.add_barrier(membership.clone());
            // If the connection has closed already, the hook runs at once. The connection then joins no room.
            let (registry, id) = (Arc::downgrade(self), membership.id);
            outlet.on_closed(move || {
                if let Some(registry) = registry.upgrade() {
                    registry.connection_closed(id);
                }
            });
        }
        Ok(membership)
    }

    /// Adds a connection to a room. `is_followed` tells whether the connection is an event stream that follows rooms,
    /// and this is one of them.
    fn join_as(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        membership: &Arc<Membership>,
        join: Join,
        is_followed: bool,
    ) -> Result<Joined, RoomError> {
        if join.start != Start::Next {
            // The new member does not receive messages that are too old.
            core.trim();
        }
        let member = Member {
            id: MemberId::local(membership.id),
            user: join.user.unwrap_or_default(),
        };
        let extra = (!member.user.is_empty() || join.farewell.is_some()).then(|| {
            Box::new(Extra {
                user: member.user.clone(),
                farewell: join.farewell.map(Draft::new),
            })
        });
        self.seat(core, membership, member, extra, join.start, is_followed)
    }

    /// Gives a connection a seat in a room.
    fn seat(
        self: &Arc<Self>,
        core: &Arc<RoomCore>,
        membership: &Arc<Membership>,
        member: Member,
        mut extra: Option<Box<Extra>>,
        start: Start,
        is_followed: bool,
    ) -> Result<Joined, RoomError> {
        let id = membership.id;
        let shard;
        let joined = {
            let mut list = membership.lock();
            if list.is_closed {
                return Err(RoomError::NotConnected);
            }
            let (stays, departing) = (list.len(), list.departing_from(core));
            let entries = &mut list.entries;
            let mut state = core.lock();
            if let Some(entry) = entries.iter_mut().find(|entry| entry.shard.is_of(core)) {
                if is_followed {
                    return Err(RoomError::AlreadyMember);
                }
                // The earlier farewell is dropped without the locks.
                std::mem::swap(&mut entry.extra, &mut extra);
                let before = extra.as_ref().map_or("", |extra| &extra.user);
                state.remove_user(core, id, before);
                state.add_user(core, id, &member.user);
                let after = core.offset(state.log.last());
                return Ok(Joined {
                    member,
                    after,
                    is_gap: false,
                });
            }
            let limit = self.config.rooms_per_connection;
            if stays >= limit {
                return Err(RoomError::TooManyMemberships { limit });
            }
            let home = self.home_shard(&core.name);
            let place = state.place(core, &member, home, departing, start);
            if is_followed {
                membership.followed().set_start(core, &place, start);
            }
            shard = core
                .shard(self.hubs(), place.shard)
                .ok_or(RoomError::NoHub)?;
            grow_by_an_eighth(entries);
            entries.push(RoomEntry {
                shard: shard.clone(),
                extra,
            });
            self.metrics().joined(&core.metrics);
            state.add_member(core, membership, place.shard, &member.user);
            shard.enqueue(Command::Join {
                membership: membership.clone(),
                from: place.from,
                last: state.log.last(),
            });
            Joined {
                member,
                after: core.offset(place.from.saturating_sub(1)),
                is_gap: place.is_gap,
            }
        };
        if !core.wake(shard) {
            self.leave(core, id);
            return Err(RoomError::NoHub);
        }
        Ok(joined)
    }

    /// Returns the membership of a connection, and whether it is new.
    fn membership(&self, outlet: &Outlet) -> (Arc<Membership>, bool) {
        let id = outlet.id();
        let mut memberships = self.lock_memberships();
        let mut is_new = false;
        let membership = memberships.entry(id).or_insert_with(|| {
            is_new = true;
            Membership::new(outlet.clone(), self.totals.clone())
        });
        (membership.clone(), is_new)
    }

    /// Removes a connection from a room. Returns false if the connection was not a member.
    pub(crate) fn leave(self: &Arc<Self>, core: &Arc<RoomCore>, id: u64) -> bool {
        let membership = self.lock_memberships().get(&id).cloned();
        let Some(membership) = membership else {
            return false;
        };
        // One lock for all steps: a join of the same connection on another thread comes before all of them, or after.
        let (entry, was_member, cleared) = {
            let mut list = membership.lock();
            let at = list
                .entries
                .iter()
                .position(|entry| entry.shard.is_of(core));
            let Some(at) = at else {
                return false;
            };
            let entry = list.entries.swap_remove(at);
            let was_member = Self::unseat(core, id, &entry);
            let cleared = list.note_leaving(entry.shard.clone());
            (entry, was_member, cleared)
        };
        drop(cleared);
        if was_member {
            self.end_membership(core, id, entry);
        }
        true
    }

    /// Removes a connection from all its rooms.
    fn connection_closed(self: &Arc<Self>, id: u64) {
        let closed = self.lock_memberships().remove(&id);
        let Some(membership) = closed else {
            return;
        };
        let entries = {
            let mut list = membership.lock();
            list.is_closed = true;
            std::mem::take(&mut list.entries)
        };
        for entry in entries {
            if let Some(core) = entry.shard.core() {
                if Self::unseat(&core, id, &entry) {
                    self.end_membership(&core, id, entry);
                }
                self.release(core);
            }
        }
    }

    /// Removes a member from a room's state, and tells its hub. Returns false if it was no member.
    fn unseat(core: &RoomCore, id: u64, entry: &RoomEntry) -> bool {
        let user = entry.extra.as_ref().map_or("", |extra| &extra.user);
        let mut state = core.lock();
        let was_member = state.remove_member(core, id, &entry.shard, user);
        if was_member {
            entry.shard.enqueue(Command::Leave(id));
            state.note_departed(core, id, &entry.shard);
        }
        was_member
    }

    /// Does what follows from a departure: wakes the hub, and publishes the member's farewell if it has one.
    fn end_membership(self: &Arc<Self>, core: &Arc<RoomCore>, id: u64, entry: RoomEntry) {
        let RoomEntry { shard, extra } = entry;
        let farewell = extra.and_then(|extra| extra.farewell);
        self.metrics().left(&core.metrics, 1);
        core.wake(&shard);
        if let Some(farewell) = farewell {
            self.publish_farewell(core, id, farewell);
        }
    }

    /// Returns the index of the shard that serves all members of a small room. The index depends on the room's name.
    fn home_shard(self: &Arc<Self>, name: &str) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.as_bytes());
        let hubs = self.hubs().len().max(1);
        usize::try_from(hasher.finish() % hubs as u64).unwrap_or(0)
    }

    fn hubs(self: &Arc<Self>) -> &[Arc<Hub>] {
        self.hubs.get_or_init(|| {
            let count = match &*self.lock_runtime() {
                Some(runtime) => runtime.metrics().num_workers(),
                None => thread::available_parallelism().map_or(1, usize::from),
            };
            let count = count.clamp(1, MAX_HUBS);
            let hub = |_| Arc::new(Hub::new(Box::new(HubRunner(Arc::downgrade(self)))));
            (0..count).map(hub).collect()
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
        self.start_keeper();
    }

    /// Starts a hub's task if it does not run. Returns false if the task cannot be started.
    fn start_hub(&self, hub: &Arc<Hub>) -> bool {
        let runtime = self.lock_runtime().clone();
        if let Some(runtime) = runtime
            && let Some(run) = hub.clone().run(false)
        {
            runtime.spawn(run);
        }
        // The hub does not run yet if no runtime is known, or if the runtime has shut down: such a runtime drops the
        // spawned task at once. In both cases, `Hub::run` now returns a future, and a new thread runs this future.
        match hub.clone().run(true) {
            Some(run) => spawn_thread(run),
            None => true,
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        self.metrics.get_or_init(Metrics::new)
    }

    fn lock_table(&self) -> Locked<'_, Table> {
        lock(&self.table)
    }

    fn lock_memberships(&self) -> Locked<'_, HashMap<u64, Arc<Membership>>> {
        lock(&self.memberships)
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
        self.keeper.stop();
        self.clock.stop();
        // The hooks of the members' connections cannot reach a dropped registry. The drop therefore updates the gauges
        // itself.
        let table = std::mem::take(self.table.get_mut().unwrap_or_else(PoisonError::into_inner));
        if let Some(metrics) = self.metrics.get() {
            metrics.rooms_removed(table.rooms.len());
            for core in table.rooms.into_values() {
                metrics.left(&core.metrics, core.member_count());
            }
        }
    }
}

/// Runs a hub or a keeper on a new thread. The registry calls this function if it knows no runtime, or if the known
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
        .inspect_err(|error| tracing::error!(%error, "cannot start a thread for rooms"))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::membership::MemberRef;

    /// Prints the parts of a membership: `cargo test -p hyperlane-broadcast parts_of -- --nocapture`. The first is an
    /// entry of a table, whose free places come on top.
    #[test]
    fn the_parts_of_a_membership_stay_small() {
        let parts = [
            ("member of the room", size_of::<MemberRef>(), 8),
            ("room of the connection", size_of::<RoomEntry>(), 16),
            ("seat in a shard", crate::delivery::SEAT_BYTES, 16),
        ];
        for (part, size, most) in parts {
            println!("{part:>30}: {size} bytes");
            assert!(size <= most, "{part}: {size} bytes");
        }
    }

    #[test]
    fn epochs_differ() {
        let registry = RoomRegistry::new(
            RoomsConfig::default(),
            Box::new(crate::broker::InProcess),
            None,
        );
        let epochs: std::collections::HashSet<_> =
            (0..1000).map(|_| registry.next_epoch()).collect();
        assert_eq!(epochs.len(), 1000);
        let rooms = ["a", "b"].map(|name| registry.room(name).unwrap().epoch);
        assert_ne!(rooms[0], rooms[1]);
    }
}
