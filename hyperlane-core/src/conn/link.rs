//! The link: the state of a connection that its task and all handles share. A handle is a value by which the program
//! uses the connection, such as a `WebSocket`.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use super::{
    driver::{Driver, signals},
    facts::Facts,
    input::Input,
    lane::{Lane, LaneRef},
    lifecycle::Until,
    transport::{Reader, Writer},
    wakers::Wakers,
};
use crate::{
    env::{
        Env,
        peer::{Peer, Via},
        timers::{Tick, TimerKey},
    },
    wire::WireFormat,
};

/// The shared state of a connection.
pub(crate) struct Link {
    pub(crate) env: Arc<Env>,
    pub(crate) facts: Facts,
    pub(crate) driver: Driver,
    pub(crate) slot: u32,
    /// The tick at which the timer fires next; `u32::MAX` if the timer is not armed.
    armed_at: AtomicU32,
    input: Mutex<Input>,
    /// The lane: the part of the state that all senders use. A connection of HTTP/1.1 has only one lane.
    pub(crate) lane: Lane,
}

impl Drop for Link {
    fn drop(&mut self) {
        // A runtime that ends may drop the task before the send queue is empty. The metric of queued bytes must not
        // count this queue any more.
        let queued = self.lane.lock_out().queued();
        self.env.metrics.outbox_changed(queued, 0);
    }
}

impl Link {
    pub(crate) fn new(
        key: TimerKey,
        (peer, via): (Peer, Via),
        (reader, writer): (Reader, Writer),
        env: Arc<Env>,
    ) -> Self {
        let now = env.timers.now();
        Self {
            facts: Facts::new(peer, via),
            driver: Driver::default(),
            slot: key.slot,
            armed_at: AtomicU32::new(u32::MAX),
            lane: Lane::new(key.id, writer, reader.is_stream(), now),
            input: Mutex::new(Input::new(reader, now)),
            env,
        }
    }

    /// Returns the connection's number within this process, from 1.
    pub(crate) fn id(&self) -> u64 {
        self.lane.id
    }

    /// Returns the lane with this link, for sending.
    #[inline]
    pub(crate) fn lane(&self) -> LaneRef<'_> {
        LaneRef {
            lane: &self.lane,
            link: self,
        }
    }

    pub(crate) fn lock_input(&self) -> MutexGuard<'_, Input> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_lock_input(&self) -> Option<MutexGuard<'_, Input>> {
        self.input.try_lock().ok()
    }

    pub(crate) fn now(&self) -> Tick {
        self.env.timers.now()
    }

    /// Returns the client that a load balancer named, or else the other end of the socket. Either may be an HTTP proxy.
    pub(crate) fn peer(&self) -> Peer {
        self.facts.peer()
    }

    /// Sets the client that a load balancer named. If the client's address has too many connections, sets nothing and
    /// returns false.
    #[cfg(feature = "proxy-protocol")]
    pub(crate) fn set_source(&self, source: Peer) -> bool {
        let is_admitted = self.env.admit(source);
        if is_admitted {
            self.facts.set_source(source);
            tracing::Span::current().record("source", tracing::field::display(source));
        } else {
            self.env.metrics.connection_refused("refused_source");
        }
        is_admitted
    }

    /// Returns the negotiated subprotocol.
    pub(crate) fn subprotocol(&self) -> Option<&str> {
        self.facts.subprotocol()?.name(&self.env.config)
    }

    /// Sets the format of the messages on this connection.
    pub(super) fn set_format(&self, format: WireFormat) {
        let before = self.lane.format();
        self.lane.set_format(format);
        self.env.metrics.format_changed(before, format);
    }

    /// Arms the timer for the tick `at`. If the timer is already armed for an earlier tick, the call has no effect.
    pub(crate) fn arm(&self, at: Tick) {
        if at.0 < self.armed_at.load(Ordering::Relaxed) {
            let key = TimerKey {
                slot: self.slot,
                id: self.id(),
            };
            let at = self.env.timers.arm(key, at);
            // Another thread may have armed the timer for an earlier tick.
            self.armed_at.fetch_min(at.0, Ordering::Relaxed);
        }
    }

    /// Signals to the task that its timer has fired. Has no effect if the timer is not armed, or armed only for a tick
    /// after `now`. An old entry of the timer wheel has fired then: `arm` adds an entry for an earlier tick, and does
    /// not remove the old entry.
    pub(crate) fn timer_fired(&self, now: Tick) {
        if self.armed_at.load(Ordering::Relaxed) <= now.0 {
            self.armed_at.store(u32::MAX, Ordering::Relaxed);
            self.driver.signal(signals::TIMER);
        }
    }

    /// Returns the maximum time that the peer may read nothing while the queue is not empty.
    pub(super) fn stall_time(&self) -> Duration {
        match self.lane.format() {
            WireFormat::Http => self.env.config.write_timeout,
            _ => self.env.config.outbox_stall,
        }
    }

    /// Returns whether the peer has ended its sending direction, or the server has begun to close the connection. For a
    /// WebSocket, also returns true if no more messages come.
    pub(crate) fn has_ended(&self) -> bool {
        let life = &self.lane.life;
        life.has_input_ended()
            || !life.is_open()
            || self
                .lock_input()
                .websocket()
                .is_some_and(|websocket| websocket.has_ended())
    }

    /// Waits until the connection has reached the state `until`.
    pub(crate) fn poll_until(&self, until: Until, cx: &mut Context<'_>) -> Poll<()> {
        let is_reached = || {
            self.lane
                .life
                .has_reached(until, self.env.is_shutting_down())
        };
        if is_reached() {
            return Poll::Ready(());
        }
        // The end of input wakes `readers`. The end of the connection wakes the waiters in `out`.
        if until != Until::Closed {
            self.lock_input().readers.add(cx.waker());
        }
        self.lane.lock_out().add_waiter(cx.waker());
        // The state may have been reached between the check and the registration.
        match is_reached() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Marks the peer as gone, runs the end hooks (functions to call at the end of the connection) and wakes the
    /// waiters in `out`.
    pub(crate) fn set_gone(&self) {
        let life = &self.lane.life;
        let Some(hooks) = self.lane.ends.take_last(life) else {
            return;
        };
        life.advance(super::lifecycle::Sending::Closing);
        self.lane().settle_closed();
        if !hooks.is_empty() {
            super::cork::run_end_hooks(&self.env, || hooks.run());
        }
        let waiters: Wakers = self.lane.lock_out().take_waiters();
        waiters.wake();
    }
}
