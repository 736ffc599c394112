//! The task of a connection.
//!
//! Each poll of the task has the same steps:
//!
//! 1. The task flushes the queue of unsent bytes.
//! 2. It polls the handler's side: the future that reads requests and runs hooks (the program's functions).
//! 3. It writes the cork: the bytes that the handler has sent in this poll.
//! 4. It reads ahead if the handler does not read.
//!
//! Thus the task drains the queue and notices a Close while the handler awaits something else, and a connection needs
//! no second task.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use super::{cork, driver::signals, end::Ending, lifecycle::Transport, link::Link};
use crate::observe::connection_span;

pin_project_lite::pin_project! {
    /// Drives one connection. `F` is the future of the handler's side.
    ///
    /// The allocation of a task has a multiple of 128 bytes. So a few bytes more may cost 128 bytes per connection.
    pub(crate) struct ConnectionTask<F> {
        #[pin]
        inner: F,
        guard: ConnectionGuard,
    }
}

/// A guard that releases the resources of a live connection on drop.
pub(crate) struct ConnectionGuard {
    connection: Arc<Link>,
    /// The tracing span of the connection; `None` without a subscriber.
    span: Option<Box<Span>>,
}

impl ConnectionGuard {
    pub(crate) fn new(connection: Arc<Link>, permit: Option<OwnedSemaphorePermit>) -> Self {
        if connection.lane.is_admitted() {
            connection.env.metrics.connection_began();
        }
        // The guard itself gives the permit back, and needs no reference to the semaphore for that.
        if let Some(permit) = permit {
            permit.forget();
        }
        Self {
            span: connection_span(connection.id(), connection.peer()),
            connection,
        }
    }
}

#[cfg(feature = "http2")]
impl ConnectionGuard {
    /// Creates the guard of a connection that takes the place of one that was handed over.
    pub(crate) fn resume(connection: Arc<Link>) -> Self {
        Self {
            span: connection_span(connection.id(), connection.peer()),
            connection,
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        // `drop` also runs when the runtime drops the task before its end. Without this call, the end hooks would then
        // not run, and rooms would keep a dead member.
        self.connection.set_gone();
        let Link { env, slot, .. } = &*self.connection;
        let is_admitted = self.connection.lane.is_admitted();
        env.forget(*slot, is_admitted.then(|| self.connection.peer()));
        if is_admitted {
            env.permits.add_permits(1);
        }
        env.metrics
            .connection_ended(self.connection.lane.format(), is_admitted);
    }
}

impl<F> ConnectionTask<F> {
    pub(crate) fn new(
        connection: Arc<Link>,
        permit: Option<OwnedSemaphorePermit>,
        inner: F,
    ) -> Self {
        Self {
            inner,
            guard: ConnectionGuard::new(connection, permit),
        }
    }
}

impl<F: Future<Output = Ending>> Future for ConnectionTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let connection = &this.guard.connection;
        let is_done = || connection.lane.is_handler_done.load(Ordering::Relaxed);
        let _entered = this.guard.span.as_deref().map(Span::enter);
        let signals = connection.driver.begin_poll(cx);
        let polling = cork::enter(connection);
        if signals & signals::TIMER != 0 && connection.lane.has_backlog() {
            // What a slow client has read in the meantime counts before its time limit is checked.
            let _ = connection.poll_flush(cx);
        }
        if signals != 0 {
            handle_signals(connection, signals);
        }
        if connection.lane.has_backlog() {
            let _ = connection.poll_flush(cx);
        }
        if !is_done()
            && let Poll::Ready(ending) = this.inner.poll(cx)
        {
            if ending == Ending::HandedOver {
                // Another task has the socket now.
                return Poll::Ready(());
            }
            end_handler(connection, ending, cx);
        }
        if signals & signals::SHUTDOWN != 0 {
            connection.end_events_on_shutdown();
        }
        connection.lane().flush();
        if !connection.lane.is_open() {
            // A hook that continues to send may have spent the budget of this poll. With a new budget, the transport
            // can close in spite of this hook.
            connection.driver.renew_budget();
        }
        let mut closed = false;
        // Usually the handler has read all bytes that have arrived, and `poll_transport` has nothing to do.
        let is_read_out = connection.driver.read_armed.load(Ordering::Relaxed);
        if !is_read_out || !connection.lane.life.is_transport_open() {
            closed = connection.poll_transport(cx).is_ready();
            // Reading ahead may have written replies, such as pongs.
            connection.lane().flush();
        }
        if connection.lane.has_backlog() {
            let _ = connection.poll_flush(cx);
        }
        drop(polling);
        if !closed {
            connection.settle_input();
            if connection.is_ending() {
                connection.set_gone();
            }
            return Poll::Pending;
        }
        connection.set_gone();
        if is_done() {
            return Poll::Ready(());
        }
        // The peer is gone. The handler has `handler_linger` to clean up.
        let now = connection.now();
        let abandon_at = connection.lock_input().abandon_at.get();
        let Some(abandon_at) = abandon_at else {
            let at = now.after(connection.env.config.handler_linger);
            connection.lock_input().abandon_at.set(at);
            connection.arm(at);
            // The handler may wait for the end of the connection, which has just been reached. One more poll lets it
            // notice.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let is_late = now >= abandon_at
            || connection.env.is_shutting_down() && connection.driver.is_end_ignored();
        if is_late {
            // The end of the task drops `inner`.
            tracing::debug!(peer = %connection.peer(), "handler dropped: its client had disconnected");
            return Poll::Ready(());
        }
        connection.arm(abandon_at);
        Poll::Pending
    }
}

/// Begins to close the connection after the end of the handler's side.
fn end_handler(connection: &Link, ending: Ending, cx: &mut Context<'_>) {
    let is_done = &connection.lane.is_handler_done;
    is_done.store(true, Ordering::Relaxed);
    connection.lane().flush();
    if connection.lane.has_backlog() {
        // A failure drops what is in the queue. What the socket takes has been sent before.
        let _ = connection.poll_flush(cx);
    }
    connection.finish(ending);
}

fn handle_signals(connection: &Link, signals: u8) {
    if signals & signals::ABORT != 0 {
        connection.lane.life.set_transport(Transport::Closed);
    }
    if signals & signals::SHUTDOWN != 0 {
        connection.on_shutdown();
    }
    if signals & signals::LOST != 0 {
        connection.lane.life.set_transport(Transport::Closed);
    }
    if signals & signals::TIMER != 0 {
        connection.on_timer();
    }
}
