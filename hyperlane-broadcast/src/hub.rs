//! Hub tasks: they own the member lists and deliver.
//!
//! Every room has one lane per hub. Under the room's lock, joins, leaves and messages are posted to
//! the lanes in one order. A hub's pass over a lane takes all that waits, joins the frames of
//! consecutive messages once per wire format, and writes them to each member's outbox, some hundred
//! members at a time, rooms in turn.

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

/// How often members that lag are looked at.
const RETRY_EVERY: Duration = Duration::from_millis(50);

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
        if !lane.tell() {
            return;
        }
        self.inbox().push_back(core.clone());
        self.told.notify_one();
    }

    /// Tells the hub of a lane that something waits: at the end of the poll if a connection's handler
    /// posted it, so that all it posts in one poll is delivered together.
    pub(crate) fn wake(self: &Arc<Self>, core: &Arc<RoomCore>) {
        let Some(lane) = core.lanes.get(self.lane) else {
            return;
        };
        let Some(connection) = polled_connection() else {
            self.tell(core);
            return;
        };
        if lane.defer(connection) {
            let (hub, core) = (self.clone(), core.clone());
            defer(move || hub.tell(&core));
        }
    }

    /// Delivers until [`stop`](Self::stop), and gives rooms back by `release`; `None` if a task does already.
    pub(crate) fn run(
        self: Arc<Self>,
        release: impl Fn(Arc<RoomCore>) + Send + 'static,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let is_first = !self.running.swap(true, Ordering::AcqRel);
        is_first.then(|| {
            let running = Running(self);
            async move { running.0.deliver(release).await }
        })
    }

    async fn deliver(&self, release: impl Fn(Arc<RoomCore>)) {
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
    fn a_lane_is_in_the_inbox_once_whoever_tells() {
        let hub = Hub::new(0);
        let core = Arc::new(RoomCore::new("room".into(), 1, Default::default()));
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
