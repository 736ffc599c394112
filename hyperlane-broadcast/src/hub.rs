//! Hubs: tasks that deliver the messages of all rooms.
//!
//! Each room has one shard per hub. A shard is the part of the room that its hub serves. It has a queue of messages,
//! joins and leaves. The inbox of a hub lists the rooms whose shard waits for a [`Pass`]. A pass delivers the messages
//! in the queue of one shard. After 256 deliveries the hub continues with the next room's pass. A slow member has
//! missed messages, because the queue of its connection was full. If a shard still has slow members at the end of a
//! pass, the hub runs another pass over the shard, at most 50 ms later.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyperlane_core::hub::{defer, polled_connection};
use tokio::{sync::Notify, time::Instant};

use crate::{core::RoomCore, pass::Pass};

/// Time after which a hub runs another pass over shards with slow members.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A hub. It serves one shard of each room: the shard with the index [`shard`](Self::shard).
pub(crate) struct Hub {
    shard: usize,
    /// Rooms whose shard waits for a pass. A room is in the inbox at most once.
    inbox: Mutex<VecDeque<Arc<RoomCore>>>,
    wakeup: Notify,
    stopped: AtomicBool,
    /// True while a task runs this hub.
    running: AtomicBool,
}

/// A guard that marks a hub as running. Dropping the guard allows another task to run the hub. A runtime that shuts
/// down drops the guard together with the task.
struct RunningGuard(Arc<Hub>);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

impl Hub {
    pub(crate) fn new(shard: usize) -> Self {
        Self {
            shard,
            inbox: Mutex::new(VecDeque::new()),
            wakeup: Notify::new(),
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

    fn inbox(&self) -> MutexGuard<'_, VecDeque<Arc<RoomCore>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a room to the inbox and wakes the hub's task. Does nothing if the room is in the inbox already, or if a
    /// pass runs over the room's shard: that pass also delivers the new messages.
    fn enqueue(&self, core: &Arc<RoomCore>) {
        let Some(shard) = core.shards.get(self.shard) else {
            return;
        };
        if !shard.mark_woken() {
            return;
        }
        self.inbox().push_back(core.clone());
        self.wakeup.notify_one();
    }

    /// Wakes the hub for a room's shard. If this thread polls a connection's task, the wakeup is deferred to the end of
    /// the poll. The hub then delivers all messages that were published during the poll together.
    pub(crate) fn wake(self: &Arc<Self>, core: &Arc<RoomCore>) {
        let Some(shard) = core.shards.get(self.shard) else {
            return;
        };
        let Some(connection) = polled_connection() else {
            self.enqueue(core);
            return;
        };
        if shard.mark_deferred(connection) {
            let (hub, core) = (self.clone(), core.clone());
            defer(move || hub.enqueue(&core));
        }
    }

    /// Returns the future that a task polls to run the hub. The future ends after [`stop`](Self::stop).
    /// Returns `None` if a task runs the hub already.
    ///
    /// The hub has a reference to each room for which it has work. When the future does not need such a reference any
    /// more, it passes the reference to `release`.
    pub(crate) fn run(
        self: Arc<Self>,
        release: impl Fn(Arc<RoomCore>) + Send + 'static,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let was_idle = !self.running.swap(true, Ordering::AcqRel);
        was_idle.then(|| {
            let running = RunningGuard(self);
            async move { running.0.deliver(release).await }
        })
    }

    async fn deliver(&self, release: impl Fn(Arc<RoomCore>)) {
        let mut passes: VecDeque<Pass> = VecDeque::new();
        let mut slow_rooms: Vec<Arc<RoomCore>> = Vec::new();
        let mut retry_at = Instant::now();
        loop {
            // The check runs once per turn, so a room with many messages does not delay the slow members of other
            // rooms.
            if !slow_rooms.is_empty() && Instant::now() >= retry_at {
                for core in slow_rooms.drain(..) {
                    self.enqueue(&core);
                }
            }
            passes.extend(
                self.inbox()
                    .drain(..)
                    .map(|core| Pass::new(core, self.shard)),
            );
            let Some(mut pass) = passes.pop_front() else {
                if self.stopped.load(Ordering::Acquire) {
                    return;
                }
                if slow_rooms.is_empty() {
                    self.wakeup.notified().await;
                } else {
                    // The result is not needed: the loop checks the inbox and the time itself.
                    let _ = tokio::time::timeout_at(retry_at, self.wakeup.notified()).await;
                }
                continue;
            };
            if pass.run_turn() {
                passes.push_back(pass);
                tokio::task::yield_now().await;
            } else {
                let core = pass.core.clone();
                let has_slow = pass.has_slow;
                drop(pass);
                if has_slow && !slow_rooms.iter().any(|known| Arc::ptr_eq(known, &core)) {
                    if slow_rooms.is_empty() {
                        retry_at = Instant::now() + RETRY_INTERVAL;
                    }
                    slow_rooms.push(core);
                } else {
                    release(core);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_in_the_inbox_once() {
        let hub = Hub::new(0);
        let core = Arc::new(RoomCore::new("room".into(), 1, Default::default()));
        // A publisher wakes the hub, and the hub retries the slow members at the same time.
        hub.enqueue(&core);
        hub.enqueue(&core);
        assert_eq!(hub.inbox().len(), 1);
        let core = hub.inbox().pop_front().unwrap();
        let mut pass = Pass::new(core.clone(), 0);
        hub.enqueue(&core);
        assert!(hub.inbox().is_empty(), "a running pass takes new messages");
        assert!(!pass.run_turn());
        hub.enqueue(&core);
        assert_eq!(hub.inbox().len(), 1);
    }
}
