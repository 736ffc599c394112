//! Hubs: tasks that deliver the messages of all rooms.

use std::{
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use hyperlane_core::hub::{defer, polled_connection};
use tokio::{sync::Notify, time::Instant};

use super::{
    core::RoomCore,
    pass::{Pass, Turn},
    shard::Shard,
};
use crate::{locks::assert_unlocked, panics::panic_text};

/// Number of deliveries after which a hub lets other tasks of its thread run.
const DELIVERIES_PER_TURN: usize = 256;

/// What a hub needs from the registry of rooms.
pub(crate) trait Runner: Send + Sync {
    /// Starts a task for the hub. Returns false if none can be started.
    fn start(&self, hub: &Arc<Hub>) -> bool;

    /// Starts a thread for the hub, whose task has ended although the hub has work.
    fn restart(&self, hub: &Arc<Hub>);

    /// Makes sure that the hub's task is woken soon, even if the thread does not come to it.
    fn watch(&self);

    /// Notes that something waits for slow members in a room.
    fn list_waiting(&self, core: &Arc<RoomCore>);

    /// Takes back a reference to a room.
    fn release(&self, core: Arc<RoomCore>);
}

/// A hub. It serves one shard of each room.
pub(crate) struct Hub {
    runner: Box<dyn Runner>,
    /// Shards that wait for a pass. A shard is in the inbox at most once.
    inbox: Mutex<VecDeque<Arc<Shard>>>,
    wakeup: Notify,
    /// The connection that wakes the hub's task at the end of its current poll; 0 for none.
    deferred_by: AtomicU64,
    stopped: AtomicBool,
    /// True while a task runs this hub.
    running: AtomicBool,
}

/// A guard that marks a hub as running. Dropping the guard allows another task to run the hub. A runtime that shuts
/// down drops the guard together with the task, and so does a panic. If the hub has work then, a thread goes on with it:
/// perhaps no other wake-up comes.
struct RunningGuard {
    hub: Arc<Hub>,
    is_thread: bool,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        let hub = &self.hub;
        let is_panic = thread::panicking();
        if is_panic {
            tracing::error!("a hub panicked and is started again");
        }
        hub.running.store(false, Ordering::Release);
        if hub.stopped.load(Ordering::Acquire) {
            // The shards in the inbox own the hub.
            drop(std::mem::take(&mut *hub.inbox()));
        } else if (is_panic || !self.is_thread) && !hub.inbox().is_empty() {
            hub.runner.restart(hub);
        }
    }
}

impl Hub {
    pub(crate) fn new(runner: Box<dyn Runner>) -> Self {
        Self {
            runner,
            inbox: Mutex::new(VecDeque::new()),
            wakeup: Notify::new(),
            deferred_by: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            running: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Tells the hub's task to end once the inbox is empty and all passes are done.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wakeup.notify_one();
    }

    /// Wakes the hub's task if the inbox is not empty.
    pub(crate) fn nudge(self: &Arc<Self>) {
        if !self.inbox().is_empty() {
            self.wakeup.notify_one();
            self.keep_running();
        }
    }

    /// Starts a task for the hub if none runs it. Call it after the inbox has work: a task that ends looks at the inbox
    /// last. Returns false if no task can be started.
    fn keep_running(self: &Arc<Self>) -> bool {
        self.is_running()
            || self.stopped.load(Ordering::Acquire)
            || self.runner.start(self)
            || self.is_running()
    }

    fn inbox(&self) -> MutexGuard<'_, VecDeque<Arc<Shard>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_shard(&self) -> Option<Arc<Shard>> {
        self.inbox().pop_front()
    }

    /// Appends a shard to the inbox and wakes the hub's task. Does nothing if the shard is in the inbox already, or if a
    /// pass runs over it: that pass also delivers the new messages.
    pub(crate) fn enqueue(self: &Arc<Self>, shard: &Arc<Shard>) {
        if self.list(shard) {
            self.keep_running();
        }
    }

    /// Appends a shard to the inbox like [`enqueue`](Self::enqueue), but does not start a task. Returns true if the shard
    /// was not in the inbox.
    fn list(&self, shard: &Arc<Shard>) -> bool {
        assert_unlocked();
        let is_new = shard.mark_woken(Instant::now);
        if is_new {
            self.inbox().push_back(shard.clone());
            self.wakeup.notify_one();
        }
        is_new
    }

    /// Wakes the hub for a shard. If this thread polls a connection's task, the hub's task is woken at the end of the
    /// poll. The hub then delivers all messages that were published during the poll together. Returns false if no task
    /// can run the hub.
    pub(crate) fn wake(self: &Arc<Self>, shard: &Arc<Shard>) -> bool {
        assert_unlocked();
        if !self.is_running() && !self.runner.start(self) {
            return false;
        }
        let Some(connection) = polled_connection() else {
            self.enqueue(shard);
            return true;
        };
        if shard.mark_woken(Instant::now) {
            self.inbox().push_back(shard.clone());
            self.keep_running();
            if self.deferred_by.swap(connection, Ordering::AcqRel) != connection {
                let hub = self.clone();
                defer(move || {
                    hub.deferred_by.store(0, Ordering::Release);
                    hub.wakeup.notify_one();
                });
                self.runner.watch();
            }
        }
        true
    }

    /// Returns the future that a task polls to run the hub. The future ends after [`stop`](Self::stop).
    /// Returns `None` if a task runs the hub already. `is_thread` tells whether the task has a thread of its own.
    pub(crate) fn run(
        self: Arc<Self>,
        is_thread: bool,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let was_idle = !self.running.swap(true, Ordering::AcqRel);
        was_idle.then(|| {
            let hub = self;
            let running = RunningGuard { hub, is_thread };
            async move { running.hub.deliver().await }
        })
    }

    async fn deliver(&self) {
        let mut passes: VecDeque<Pass> = VecDeque::new();
        let mut timers = Timers {
            hub: self,
            list: Vec::new(),
        };
        let mut budget = DELIVERIES_PER_TURN;
        loop {
            while let Some(shard) = self.next_shard() {
                passes.extend(Pass::new(shard));
            }
            let Some(pass) = passes.front_mut() else {
                if self.stopped.load(Ordering::Acquire) {
                    return;
                }
                match timers.list.iter().map(|(at, _)| *at).min() {
                    None => self.wakeup.notified().await,
                    Some(at) => {
                        // The result is not needed: the loop checks the inbox and the time itself.
                        let _ = tokio::time::timeout_at(at, self.wakeup.notified()).await;
                        timers.fire();
                    }
                }
                budget = DELIVERIES_PER_TURN;
                continue;
            };
            let turn = run_turn(pass, &mut budget);
            if pass.core().ledger.waiting() > 0 {
                self.runner.list_waiting(pass.core());
            }
            match turn {
                Some(Turn::More) => passes.rotate_left(1),
                ended => {
                    let (core, shard) = (pass.core().clone(), pass.shard().clone());
                    drop(passes.pop_front());
                    match ended {
                        Some(Turn::Done(None) | Turn::More) => {}
                        Some(Turn::Done(Some(at))) => timers.set(at, &shard),
                        // What the pass has not delivered is delivered by the next one.
                        None => drop(self.list(&shard)),
                    }
                    self.runner.release(core);
                }
            }
            if budget == 0 {
                budget = DELIVERIES_PER_TURN;
                // A room with many messages does not delay the timers of other rooms.
                timers.fire();
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Shards to wake at a time: their slow members may have stalled, or their pause ends. A shard has at most one timer.
struct Timers<'a> {
    hub: &'a Hub,
    list: Vec<(Instant, Arc<Shard>)>,
}

impl Timers<'_> {
    /// Sets the timer of a shard. An earlier one of the same shard stays.
    fn set(&mut self, at: Instant, shard: &Arc<Shard>) {
        let mut timers = self.list.iter_mut();
        match timers.find(|(_, known)| Arc::ptr_eq(known, shard)) {
            Some((known, _)) => *known = at.min(*known),
            None => self.list.push((at, shard.clone())),
        }
    }

    /// Wakes the shards whose time has come.
    fn fire(&mut self) {
        if self.list.is_empty() {
            return;
        }
        let now = Instant::now();
        let due: Vec<_> = self.list.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, shard) in due {
            match shard.paused_until().filter(|until| *until > now) {
                // This time was that of an earlier pause, which has ended early. The shard pauses again.
                Some(until) => self.set(until, &shard),
                None => _ = self.hub.list(&shard),
            }
        }
    }
}

impl Drop for Timers<'_> {
    /// The task that runs the hub has ended. The next one looks after these shards at once.
    fn drop(&mut self) {
        for (_, shard) in self.list.drain(..) {
            shard.end_pause();
            self.hub.list(&shard);
        }
    }
}

/// Runs a turn of a pass. If it panics, the hub goes on: the text of a notice may panic, for example. If the panic concerns
/// one member, the pass closes the connection of this member and goes on too. Otherwise returns `None`. The caller then
/// drops the pass, which puts the seats back.
fn run_turn(pass: &mut Pass, budget: &mut usize) -> Option<Turn> {
    match catch_unwind(AssertUnwindSafe(|| pass.run_turn(budget))) {
        Ok(turn) => Some(turn),
        Err(panic) => {
            let (name, text) = (&pass.core().name, panic_text(&*panic));
            tracing::error!(room = %name, "a hub panicked and goes on: {text}");
            // Other tasks run before the next panic.
            *budget = 0;
            pass.recover().then_some(Turn::More)
        }
    }
}
