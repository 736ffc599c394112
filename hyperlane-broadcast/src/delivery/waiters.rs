//! Waiters: publishers and joins that wait for room in the queues of a room.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering, fence},
    },
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;

use super::core::RoomCore;
use crate::locks::assert_unlocked;

/// The publishers and the joins that wait for room in the queues of one room.
#[derive(Default)]
pub(crate) struct Waiters {
    posts: Line,
    joins: Line,
}

/// Those that wait for room of one kind. They are woken in the order in which they came, as many as there is room for:
/// the others would try in vain.
#[derive(Default)]
struct Line {
    state: Mutex<State>,
    /// Number of those that wait.
    count: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// The number of the last one that came.
    last: u64,
    waiting: BTreeMap<u64, Entry>,
    /// Those that wait, by the time until which they do.
    by_time: BTreeSet<(Instant, u64)>,
    /// Those that were woken and have not tried yet, with the bytes for which they need room.
    woken: HashMap<u64, usize>,
    load: Load,
}

struct Entry {
    bytes: usize,
    until: Instant,
    waker: Option<Waker>,
}

/// Room that is promised to those that were woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the line: at its end, or at its earlier place with the number that it had. Returns the number.
    fn enter(&self, number: Option<u64>, bytes: usize, until: Instant) -> u64 {
        let mut state = self.lock();
        let number = number.unwrap_or_else(|| {
            state.last += 1;
            state.last
        });
        state.end_wake(number);
        let entry = Entry {
            bytes,
            until,
            waker: None,
        };
        state.waiting.insert(number, entry);
        state.by_time.insert((until, number));
        self.set_count(&state);
        // The hub makes room before it looks at the count. It sees this entry, or the caller sees the room.
        fence(Ordering::SeqCst);
        number
    }

    /// Leaves the line. The caller then wakes those for which there is room: this one may not have used what it was
    /// promised.
    fn leave(&self, number: u64) {
        let mut state = self.lock();
        state.end_wake(number);
        let entry = state.take(number);
        self.set_count(&state);
        drop(state);
        drop(entry);
    }

    fn set_count(&self, state: &State) {
        self.count.store(state.waiting.len(), Ordering::Release);
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Returns ready after the entry was woken.
    fn poll(&self, number: u64, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let Some(entry) = state.waiting.get_mut(&number) else {
            return Poll::Ready(());
        };
        let before = match &entry.waker {
            Some(known) if known.will_wake(context.waker()) => None,
            _ => entry.waker.replace(context.waker().clone()),
        };
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// Wakes the first ones for as long as there is room for them, beside those that were woken before.
    fn wake(&self, mut fits: impl FnMut(Load, usize) -> bool) {
        let mut wakers = Vec::new();
        let mut state = self.lock();
        while let Some((number, entry)) = state.waiting.first_key_value()
            && let (number, bytes) = (*number, entry.bytes)
            && fits(state.load, bytes)
        {
            let entry = state.take(number);
            state.woken.insert(number, bytes);
            state.load.count += 1;
            state.load.bytes += bytes;
            wakers.extend(entry.and_then(|entry| entry.waker));
        }
        self.set_count(&state);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Wakes those whose time is over. Takes back what was promised: a task may have been woken and never run.
    fn tick(&self, now: Instant) {
        let mut wakers = Vec::new();
        let mut state = self.lock();
        state.woken = HashMap::new();
        state.load = Load::default();
        while let Some((until, number)) = state.by_time.first().copied()
            && until <= now
        {
            let entry = state.take(number);
            wakers.extend(entry.and_then(|entry| entry.waker));
        }
        self.set_count(&state);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn take(&mut self, number: u64) -> Option<Entry> {
        let entry = self.waiting.remove(&number)?;
        self.by_time.remove(&(entry.until, number));
        Some(entry)
    }

    /// Takes back what was promised to an entry.
    fn end_wake(&mut self, number: u64) {
        if let Some(bytes) = self.woken.remove(&number) {
            self.load.count -= 1;
            self.load.bytes -= bytes;
        }
    }
}

/// A place in a line. As a future, it is ready when there is room, or when the time is over. Then, and before the first
/// try, [`enter`](Self::enter) comes first: what is woken from there on counts.
///
/// Dropping it leaves the line.
pub(crate) struct Wait<'a> {
    core: &'a RoomCore,
    line: &'a Line,
    number: Option<u64>,
    bytes: usize,
    until: Instant,
}

impl Wait<'_> {
    pub(crate) fn enter(&mut self) {
        self.number = Some(self.line.enter(self.number, self.bytes, self.until));
    }
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.number {
            Some(number) => self.line.poll(number, context),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.line.leave(number);
            self.core.wake_waiters();
        }
    }
}

impl RoomCore {
    fn waiters(&self) -> &Waiters {
        self.waiters.get_or_init(Box::default)
    }

    /// Returns a place for a publisher of a message that takes `bytes` in a queue.
    pub(crate) fn wait_to_publish(&self, bytes: usize, until: Instant) -> Wait<'_> {
        Wait {
            core: self,
            line: &self.waiters().posts,
            number: None,
            bytes,
            until,
        }
    }

    /// Returns a place for a join.
    pub(crate) fn wait_to_join(&self, until: Instant) -> Wait<'_> {
        Wait {
            core: self,
            line: &self.waiters().joins,
            number: None,
            bytes: 0,
            until,
        }
    }

    /// Wakes the publishers and the joins for which the queues have room. Call it without a lock.
    pub(crate) fn wake_waiters(&self) {
        assert_unlocked();
        let Some(waiters) = self.waiters.get() else {
            return;
        };
        fence(Ordering::SeqCst);
        let limits = &self.limits;
        if !waiters.posts.is_empty() {
            waiters.posts.wake(|promised, bytes| {
                let mut shards = self.shards.iter();
                shards.all(|shard| shard.has_room_beside(promised, bytes, limits))
            });
        }
        if !waiters.joins.is_empty() {
            waiters
                .joins
                .wake(|promised, _| self.has_room_for_joins(promised.count));
        }
    }

    /// Wakes the publishers and the joins whose time is over, and those for which the queues have room.
    pub(crate) fn tick_waiters(&self, now: Instant) {
        if let Some(waiters) = self.waiters.get() {
            waiters.posts.tick(now);
            waiters.joins.tick(now);
            self.wake_waiters();
        }
    }

    pub(crate) fn has_waiters(&self) -> bool {
        let waiters = self.waiters.get();
        waiters.is_some_and(|waiters| !waiters.posts.is_empty() || !waiters.joins.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        task::Wake,
        time::Duration,
    };

    use std::{future::poll_fn, pin::pin};

    use futures_util::sink;
    use tokio::{runtime::Handle, sync::mpsc::unbounded_channel, task::JoinSet};

    use super::*;
    use crate::{
        config::{RoomLimits, RoomsConfig},
        rooms::Rooms,
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Fixture {
        line: Line,
        wakes: Vec<Arc<Count>>,
        begin: Instant,
    }

    impl Fixture {
        /// A line of as many, each of which needs room for ten bytes, and each with a second more of time.
        fn new(count: u64) -> Self {
            let (line, begin) = (Line::default(), Instant::now());
            let wakes: Vec<_> = (0..count).map(|_| Arc::new(Count::default())).collect();
            for (at, wake) in (1..).zip(&wakes) {
                let number = line.enter(None, 10, begin + Duration::from_secs(at));
                let waker = Waker::from(wake.clone());
                assert!(line.poll(number, &Context::from_waker(&waker)).is_pending());
            }
            Self { line, wakes, begin }
        }

        fn wake(&self, room: usize) {
            let fits = |load: Load, bytes| load.bytes + bytes <= room;
            self.line.wake(fits);
        }

        /// The numbers of those that were woken since the last call.
        fn woken(&self) -> Vec<usize> {
            let counts = self
                .wakes
                .iter()
                .map(|wake| wake.0.swap(0, Ordering::Relaxed));
            let woken = (1..).zip(counts).filter(|(_, count)| *count > 0);
            woken.map(|(number, _)| number).collect()
        }
    }

    #[test]
    fn as_many_are_woken_as_there_is_room_for() {
        let fixture = Fixture::new(1000);
        fixture.wake(35);
        assert_eq!(fixture.woken(), [1, 2, 3]);
        fixture.wake(39);
        assert_eq!(fixture.woken(), [0; 0], "the room is promised");
        // One of them gives up, and one takes its room.
        fixture.line.leave(2);
        fixture.wake(35);
        assert_eq!(fixture.woken(), [4]);
        // One tries in vain, and is the first again.
        fixture.line.enter(Some(1), 10, fixture.begin);
        fixture.wake(35);
        assert_eq!(fixture.line.lock().woken.len(), 3);
        assert!(fixture.line.lock().woken.contains_key(&1));
        assert_eq!(fixture.woken(), [0; 0], "it has not waited yet");
        for number in 1..=1000 {
            fixture.line.leave(number);
        }
        assert!(fixture.line.is_empty());
        let state = fixture.line.lock();
        assert!(state.by_time.is_empty() && state.woken.is_empty());
        assert_eq!(state.load, Load::default());
    }

    #[test]
    fn those_that_never_try_hold_room_until_the_next_tick() {
        let fixture = Fixture::new(5);
        fixture.wake(20);
        assert_eq!(fixture.woken(), [1, 2]);
        fixture.line.tick(fixture.begin + Duration::from_secs(3));
        assert_eq!(fixture.woken(), [3], "its time is over");
        fixture.wake(20);
        assert_eq!(fixture.woken(), [4, 5]);
        let context = Context::from_waker(Waker::noop());
        assert!((1..=5).all(|number| fixture.line.poll(number, &context).is_ready()));
    }

    #[tokio::test]
    async fn publishers_that_wait_try_about_twice_and_may_give_up() {
        const PUBLISHERS: usize = 2000;
        let limits = RoomLimits::default().queue_messages(4);
        let config = RoomsConfig::default().limits(limits);
        let rooms = Rooms::builder()
            .config(config)
            .on(Handle::current())
            .build();
        let (sender, mut received) = unbounded_channel();
        let sink = sink::unfold(sender, async |sender, item| {
            sender.send(item).map(|()| sender)
        });
        let member = rooms.sink(sink, Some);
        let room = rooms.room("room").unwrap();
        room.join(&member).await.unwrap();
        let polls = Arc::new(AtomicUsize::new(0));
        let mut publishers = JoinSet::new();
        let mut giving_up = Vec::new();
        for number in 0..PUBLISHERS {
            let (room, polls) = (room.clone(), polls.clone());
            let handle = publishers.spawn(async move {
                let mut publishing = pin!(room.broadcast(number.to_string()));
                poll_fn(|context| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    publishing.as_mut().poll(context)
                })
                .await
                .unwrap();
            });
            if number % 4 == 3 {
                giving_up.push(handle);
            }
        }
        // All have tried. Some give up, each as soon as another message has come.
        tokio::task::yield_now().await;
        for handle in &giving_up {
            received.recv().await.unwrap();
            handle.abort();
        }
        let mut published = 0;
        while let Some(ended) = publishers.join_next().await {
            published += usize::from(ended.is_ok());
        }
        assert!(published >= PUBLISHERS - giving_up.len(), "{published}");
        let polls = polls.load(Ordering::Relaxed);
        assert!(polls <= 3 * PUBLISHERS, "{polls} polls");
    }
}
