//! Hub tasks: they own the member lists and deliver.
//!
//! Every room has one lane per hub. Under the room's lock, joins, leaves and messages are posted to
//! the lanes in one order. A hub's pass over a lane takes all that waits, joins the frames of
//! consecutive messages once per wire format, and writes them to each member's outbox, some hundred
//! members at a time, rooms in turn.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyperlane_core::{CloseCode, Outbox, PushError, WireFormat, defer, polled_connection};
use tokio::{sync::Notify, time::Instant};

use crate::{
    post::Post,
    room::{MemberId, Offset, RoomCore},
    rooms::{Rooms, WeakRooms},
};

/// Deliveries of one room before the next room has its turn.
const DELIVERIES: usize = 256;

/// Bytes of messages that are joined into one write.
const JOINED: usize = 64 * 1024;

/// How often members that lag are looked at.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// What is posted to a lane, in the room's order.
pub(crate) enum Command {
    Join {
        outbox: Outbox,
        replay: Vec<Arc<Post>>,
    },
    Leave(MemberId),
    Post(Arc<Post>),
}

/// A room's members that one hub serves.
#[derive(Default)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    /// The hub's own; the lock is never contended. Empty while a pass has them, so that there must
    /// never be two passes over a lane.
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    list: Vec<Seat>,
    /// Some of them lag.
    lag: bool,
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    wake: Wake,
}

/// Whether the hub knows that something waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wake {
    #[default]
    Idle,
    /// A connection will tell it at the end of its current poll.
    Deferred(u64),
    Told,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn post(&self, command: Command) {
        self.lock().commands.push_back(command);
    }

    fn clear(&self) {
        self.lock().commands.clear();
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A member as its hub sees it.
struct Seat {
    id: MemberId,
    outbox: Outbox,
    /// It takes what was encoded for others.
    shares: bool,
    /// Its outbox was full: the first message that it has not got.
    behind: Option<Offset>,
    /// Messages before this one it has got from the history.
    from: Offset,
}

/// Messages that are delivered together.
struct Batch {
    posts: Vec<Arc<Post>>,
    /// Some of them are not for everyone.
    selective: bool,
    /// All of them in one piece, and how many those are, for each format that has members.
    joined: Vec<(WireFormat, Bytes, u64)>,
}

impl Batch {
    fn new(posts: Vec<Arc<Post>>) -> Self {
        let selective = posts
            .iter()
            .any(|post| !matches!(post.audience, crate::post::Audience::All));
        Self {
            posts,
            selective,
            joined: Vec::new(),
        }
    }

    fn first(&self) -> Offset {
        self.posts.first().map_or(Offset(0), |post| post.offset)
    }

    /// All messages in one piece, for `outbox` and all others of its format.
    fn joined(&mut self, outbox: &Outbox) -> (Bytes, u64) {
        let format = outbox.format();
        if let Some((_, bytes, count)) = self.joined.iter().find(|(known, ..)| *known == format) {
            return (bytes.clone(), *count);
        }
        let mut count = 1;
        let bytes = match self.posts.as_slice() {
            [one] => one.encoded(outbox).cloned().unwrap_or_default(),
            many => {
                let parts = || many.iter().filter_map(|post| post.encoded(outbox));
                let mut joined = BytesMut::with_capacity(parts().map(Bytes::len).sum());
                count = 0;
                for part in parts() {
                    joined.extend_from_slice(part);
                    count += 1;
                }
                joined.freeze()
            }
        };
        self.joined.push((format, bytes.clone(), count));
        (bytes, count)
    }
}

/// A hub: an inbox of lanes that have something to do.
pub(crate) struct Hub {
    lane: usize,
    inbox: Mutex<VecDeque<Arc<RoomCore>>>,
    told: Notify,
    stopped: AtomicBool,
    running: AtomicBool,
}

/// Held by a hub's task, so that another begins when it ends with its runtime.
struct Running(Arc<Hub>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

impl Hub {
    pub(crate) fn new(lane: usize) -> Self {
        Self {
            lane,
            inbox: Mutex::new(VecDeque::new()),
            told: Notify::new(),
            stopped: AtomicBool::new(false),
            running: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.told.notify_one();
    }

    fn inbox(&self) -> MutexGuard<'_, VecDeque<Arc<RoomCore>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the hub of a lane, once.
    fn tell(&self, core: &Arc<RoomCore>) {
        let Some(lane) = core.lanes.get(self.lane) else {
            return;
        };
        {
            let mut queue = lane.lock();
            if queue.wake == Wake::Told {
                return;
            }
            queue.wake = Wake::Told;
        }
        self.inbox().push_back(core.clone());
        self.told.notify_one();
    }

    /// Delivers for as long as the rooms live; `None` if a task does already.
    pub(crate) fn run(
        self: Arc<Self>,
        rooms: WeakRooms,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let is_first = !self.running.swap(true, Ordering::AcqRel);
        is_first.then(|| {
            let running = Running(self);
            async move { running.0.deliver(rooms).await }
        })
    }

    async fn deliver(&self, rooms: WeakRooms) {
        let mut passes: VecDeque<Pass> = VecDeque::new();
        let mut lagging: Vec<Arc<RoomCore>> = Vec::new();
        let mut retry_at = Instant::now();
        loop {
            // Also while others keep the hub busy.
            if !lagging.is_empty() && Instant::now() >= retry_at {
                for core in lagging.drain(..) {
                    self.tell(&core);
                }
            }
            passes.extend(
                self.inbox()
                    .drain(..)
                    .map(|core| Pass::new(core, self.lane)),
            );
            let Some(mut pass) = passes.pop_front() else {
                if self.stopped.load(Ordering::Acquire) {
                    return;
                }
                if lagging.is_empty() {
                    self.told.notified().await;
                } else {
                    // Whichever comes first, the loop looks at both.
                    let _ = tokio::time::timeout_at(retry_at, self.told.notified()).await;
                }
                continue;
            };
            if pass.step() {
                passes.push_back(pass);
                tokio::task::yield_now().await;
            } else {
                let core = pass.core.clone();
                let lags = pass.lags;
                drop(pass);
                if lags && !lagging.iter().any(|known| Arc::ptr_eq(known, &core)) {
                    if lagging.is_empty() {
                        retry_at = Instant::now() + RETRY_EVERY;
                    }
                    lagging.push(core);
                } else if let Some(rooms) = rooms.upgrade() {
                    rooms.release(core);
                }
            }
        }
    }
}

/// A hub's way through one lane. Dropped on the way, with the runtime, it leaves the seats to the next one: who has not got
/// a message reads on from the history.
struct Pass {
    core: Arc<RoomCore>,
    lane: usize,
    seats: Vec<Seat>,
    batch: Option<Batch>,
    /// The next seat of the batch.
    at: usize,
    /// Some seats lag: they are looked at although nothing new waits.
    retry: bool,
    lags: bool,
    /// Messages that were handed to members and are not counted yet.
    delivered: u64,
    is_over: bool,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(lane) = self.core.lanes.get(self.lane).filter(|_| !self.is_over) else {
            return;
        };
        if let Some(batch) = self.batch.take() {
            for seat in self.seats.iter_mut().skip(self.at) {
                seat.behind.get_or_insert(batch.first().max(seat.from));
            }
        }
        let mut queue = lane.lock();
        queue.wake = Wake::Idle;
        *lane.seats() = Seats {
            list: std::mem::take(&mut self.seats),
            lag: true,
        };
    }
}

impl Pass {
    fn new(core: Arc<RoomCore>, lane: usize) -> Self {
        let seats = core
            .lanes
            .get(lane)
            .map(|lane| std::mem::take(&mut *lane.seats()))
            .unwrap_or_default();
        Self {
            core,
            lane,
            seats: seats.list,
            batch: None,
            at: 0,
            retry: seats.lag,
            lags: false,
            delivered: 0,
            is_over: false,
        }
    }

    /// Works for a turn; true if there is more to do.
    fn step(&mut self) -> bool {
        let goes_on = self.deliver();
        let metrics = &self.core.metrics;
        // Once a turn: hubs would contend for the number.
        metrics.delivered(std::mem::take(&mut self.delivered));
        goes_on
    }

    fn deliver(&mut self) -> bool {
        let mut left = DELIVERIES;
        if std::mem::take(&mut self.retry) && self.nothing_waits() {
            for seat in &mut self.seats {
                if seat.behind.is_some() {
                    seat.catch_up(&self.core, &mut self.delivered);
                }
            }
        }
        loop {
            if let Some(batch) = &mut self.batch {
                while let Some(seat) = self.seats.get_mut(self.at) {
                    if left == 0 {
                        return true;
                    }
                    left -= 1;
                    self.at += 1;
                    seat.deliver(batch, &self.core, &mut self.delivered);
                }
                self.batch = None;
            }
            if !self.next_commands() {
                return false;
            }
        }
    }

    fn nothing_waits(&self) -> bool {
        self.core
            .lanes
            .get(self.lane)
            .is_none_or(|lane| lane.lock().commands.is_empty())
    }

    /// Takes joins and leaves up to the next messages; false when the lane is empty.
    fn next_commands(&mut self) -> bool {
        let Some(lane) = self.core.lanes.get(self.lane) else {
            return false;
        };
        let mut posts = Vec::new();
        let mut weight = 0;
        let mut joined = Vec::new();
        {
            let mut queue = lane.lock();
            loop {
                match queue.commands.front() {
                    Some(Command::Post(_)) if weight < JOINED => {
                        if let Some(Command::Post(post)) = queue.commands.pop_front() {
                            weight += post.weight();
                            posts.push(post);
                        }
                    }
                    // Membership changes between two messages: those before first.
                    Some(_) if !posts.is_empty() => break,
                    Some(_) => match queue.commands.pop_front() {
                        Some(Command::Join { outbox, replay }) => {
                            let seat = Seat::new(outbox);
                            if replay.is_empty() {
                                self.seats.push(seat);
                            } else {
                                joined.push((self.seats.len(), replay));
                                self.seats.push(seat);
                                break;
                            }
                        }
                        Some(Command::Leave(id)) => {
                            if let Some(at) = self.seats.iter().position(|seat| seat.id == id) {
                                self.seats.swap_remove(at);
                            }
                        }
                        _ => break,
                    },
                    None => {
                        if posts.is_empty() && joined.is_empty() {
                            queue.wake = Wake::Idle;
                            queue.commands = VecDeque::new();
                            self.lags = self.seats.iter().any(|seat| seat.behind.is_some());
                            // Put back under the queue's lock: the next pass finds them.
                            *lane.seats() = Seats {
                                list: std::mem::take(&mut self.seats),
                                lag: self.lags,
                            };
                            self.is_over = true;
                            return false;
                        }
                        break;
                    }
                }
            }
        }
        for (at, replay) in joined {
            if let Some(seat) = self.seats.get_mut(at) {
                let mut replay = Batch::new(replay);
                seat.deliver(&mut replay, &self.core, &mut self.delivered);
            }
        }
        if !posts.is_empty() {
            self.batch = Some(Batch::new(posts));
            self.at = 0;
        }
        true
    }
}

impl Seat {
    fn new(outbox: Outbox) -> Self {
        Self {
            id: MemberId::from(&outbox),
            shares: outbox.format().is_shared(),
            outbox,
            behind: None,
            from: Offset(0),
        }
    }

    /// Adds what it hands over to `delivered`.
    fn deliver(&mut self, batch: &mut Batch, core: &RoomCore, delivered: &mut u64) {
        if self.behind.is_some() {
            // What it lacks stands in the history, this batch included.
            self.catch_up(core, delivered);
            return;
        }
        if batch.selective || !self.shares || batch.first() < self.from {
            for post in &batch.posts {
                if post.offset >= self.from && !self.deliver_one(post, delivered) {
                    return;
                }
            }
            return;
        }
        let (bytes, count) = batch.joined(&self.outbox);
        if bytes.is_empty() {
            return;
        }
        match self.outbox.push(&bytes) {
            Ok(()) => *delivered += count,
            Err(PushError::Full) => self.behind = Some(batch.first()),
            Err(PushError::Closed | PushError::Channel) => {}
        }
    }

    /// False when its outbox is full.
    fn deliver_one(&mut self, post: &Post, delivered: &mut u64) -> bool {
        if !post.audience.includes(self.id) {
            return true;
        }
        let (is_sent, is_full) = if self.shares {
            let Some(bytes) = post.encoded(&self.outbox) else {
                return true;
            };
            let sent = self.outbox.push(bytes);
            (sent.is_ok(), sent == Err(PushError::Full))
        } else {
            let sent = self.outbox.send(&post.message);
            let is_full = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
            (sent.is_ok(), sent.is_err_and(is_full))
        };
        *delivered += u64::from(is_sent);
        if is_full {
            self.behind = Some(post.offset);
            return false;
        }
        true
    }

    /// Reads on from the history; a member that the history has moved past is let go.
    fn catch_up(&mut self, core: &RoomCore, delivered: &mut u64) {
        let Some(behind) = self.behind else { return };
        if !self.outbox.is_open() {
            self.behind = None;
            return;
        }
        let Some(missed) = core.missed(behind) else {
            core.metrics.member_dropped();
            tracing::debug!(room = %core.name, member = %self.id, "reads too slowly: let go");
            self.behind = None;
            self.outbox
                .close(CloseCode::TRY_AGAIN_LATER, "reads too slowly", true);
            return;
        };
        self.behind = None;
        for post in &missed {
            if !self.deliver_one(post, delivered) {
                return;
            }
            self.from = post.offset.next();
        }
    }
}

impl Rooms {
    /// Tells a lane's hub that something waits: at the end of the poll if a connection's handler
    /// posted it, so that all it posts in one poll is delivered together.
    pub(crate) fn wake_lane(&self, core: &Arc<RoomCore>, lane: usize) {
        let (Some(queue), Some(hub)) = (core.lanes.get(lane), self.hubs().get(lane)) else {
            return;
        };
        if !hub.is_running() && !self.start(hub) {
            // Nothing would ever take it off.
            queue.clear();
            return;
        }
        let Some(connection) = polled_connection() else {
            hub.tell(core);
            return;
        };
        {
            let mut queue = queue.lock();
            if queue.wake == Wake::Told || queue.wake == Wake::Deferred(connection) {
                return;
            }
            queue.wake = Wake::Deferred(connection);
        }
        let (hub, core) = (hub.clone(), core.clone());
        defer(move || hub.tell(&core));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RoomMetrics;

    #[test]
    fn a_lane_is_in_the_inbox_once_whoever_tells() {
        let hub = Hub::new(0);
        let core = Arc::new(RoomCore::new("room".into(), 1, RoomMetrics::default()));
        // A publisher and the clock of those who lag, at the same time.
        hub.tell(&core);
        hub.tell(&core);
        assert_eq!(hub.inbox().len(), 1);
        let core = hub.inbox().pop_front().unwrap();
        let mut pass = Pass::new(core.clone(), 0);
        hub.tell(&core);
        assert!(hub.inbox().is_empty(), "a pass that runs takes what is new");
        assert!(!pass.step());
        hub.tell(&core);
        assert_eq!(hub.inbox().len(), 1);
    }
}
