//! Sending on a channel: messages from the program to the clients of a session.
//!
//! The log of the channel stores the messages by offset. Each tab of the session has a *position*: the offset of the
//! next message for the tab.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    Channel, Inner, RESET,
    attach::close,
    log::{self, Item, Limits},
    memory::POSITION_OVERHEAD,
    timer::Timer,
    waiters::Waiter,
};
use crate::{
    env::runtime::within,
    proto::{sse::Event, ws::Message},
};

/// The time within which a page that a browser is loading must connect to the channel. The time begins when the program
/// asks for the channel in the page's request.
const PAGE_LOAD: Duration = Duration::from_secs(30);

impl Channel {
    /// Sends a message to all clients. While the log has no room for the message, waits at most for the send timeout.
    pub(crate) async fn send(self: &Arc<Self>, message: Message) -> io::Result<()> {
        self.send_item(message.into()).await
    }

    /// Sends an event of the program, in the same way as [`send`](Self::send).
    pub(crate) async fn send_event(self: &Arc<Self>, event: Event) -> io::Result<()> {
        let (fields, has_data) = event
            .into_fields_without_id()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.send_item(Item::Event { fields, has_data }).await
    }

    async fn send_item(self: &Arc<Self>, item: Item) -> io::Result<()> {
        let mut charge = self.charge(log::weight(&item))?;
        self.send_charged(item).await?;
        charge.keep(&mut self.lock());
        Ok(())
    }

    async fn send_charged(self: &Arc<Self>, item: Item) -> io::Result<()> {
        let mut item = Some(item);
        // Usually the log has room. The first attempt then completes the send without a timer.
        let first = poll_fn(|cx| Poll::Ready(self.poll_send(cx, &mut item, None))).await;
        if let Poll::Ready(sent) = first {
            return sent;
        }
        let mut waiter = self.waiter();
        let sending = poll_fn(|cx| self.poll_send(cx, &mut item, Some(&mut waiter)));
        match within(self.runtime(), self.settings.timeout, sending).await {
            Some(sent) => sent,
            None => self.send_without_slow(item),
        }
    }

    fn poll_send(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        item: &mut Option<Item>,
        waiter: Option<&mut Waiter<'_>>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone().into()));
        }
        let Some(taken) = item.take() else {
            return Poll::Ready(Ok(()));
        };
        match inner.state.send(taken, self.settings.limits) {
            Ok(()) => {
                self.after_change(&mut inner);
                Poll::Ready(Ok(()))
            }
            Err(back) => {
                *item = Some(back);
                if waiter.is_some() {
                    inner.senders.add(cx, waiter);
                }
                Poll::Pending
            }
        }
    }

    /// Tries a last time to send a message for which the log had no room within the send timeout.
    ///
    /// A connected client is slow if another connected client is further ahead in the log. Before the attempt, the
    /// function removes the positions of slow clients, because this may make room. After the attempt, it closes the
    /// connections of these clients with the code of a reset: the client has missed messages.
    fn send_without_slow(self: &Arc<Self>, item: Option<Item>) -> io::Result<()> {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Err(end.clone().into());
        }
        let slow = inner.state.remove_slow();
        let Some(item) = item else {
            return Ok(());
        };
        let sent = inner.state.send(item, self.settings.limits);
        self.after_change(&mut inner);
        drop(inner);
        for position in &slow {
            close(position, RESET, "reads too slowly");
        }
        sent.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "the buffer of {} messages stayed full for {:?}: the client is away, or reads nothing",
                    self.settings.limits.messages, self.settings.timeout
                ),
            )
        })
    }

    /// Waits until the channel has room for a short message.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone().into()));
        }
        if inner.state.has_room(self.settings.limits) {
            return Poll::Ready(Ok(()));
        }
        inner.senders.add(cx, None);
        Poll::Pending
    }

    /// Sends a message after [`poll_room`](Self::poll_room) was ready. The send ignores the limits, because other
    /// senders may have used the room meanwhile. A message to clients that are not connected still needs room in
    /// `session_memory`.
    pub(crate) fn send_promised(self: &Arc<Self>, message: Message) -> io::Result<()> {
        let item = Item::from(message);
        let mut charge = self.charge(log::weight(&item))?;
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Err(end.clone().into());
        }
        let unlimited = Limits {
            messages: usize::MAX,
            bytes: usize::MAX,
        };
        // Without limits there is always room.
        let _ = inner.state.send(item, unlimited);
        inner.state.trim_log(self.settings.limits);
        charge.keep(&mut inner);
        self.after_change(&mut inner);
        Ok(())
    }

    /// Keeps all messages that are sent from now on, for a page that a browser is loading. The page must connect within
    /// [`PAGE_LOAD`]. Does nothing if `session_memory` has no room.
    pub(crate) fn expect_page(self: &Arc<Self>) {
        let Ok(mut charge) = self.charge(POSITION_OVERHEAD) else {
            return;
        };
        let mut inner = self.lock();
        if inner.end.is_some() {
            return;
        }
        let is_expected = inner.state.expect_page(|key| {
            self.after(PAGE_LOAD, move |channel| {
                let mut inner = channel.lock();
                inner.state.forget_page(key);
                inner.state.trim_log(channel.settings.limits);
                channel.discharge_unused(inner);
            })
        });
        if is_expected {
            charge.keep(&mut inner);
        }
    }

    /// Ends the channel after the grace time, unless a client connects.
    pub(super) fn await_client(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.end.is_none() {
            self.after_change(&mut inner);
        }
    }

    /// Sends a control frame to all connected clients.
    pub(crate) fn send_control(&self, message: &Message) {
        for connection in self.lock().state.connections() {
            // An error is ignored: a client that has left needs no control frame.
            let _ = connection.write_control(message);
        }
    }

    /// Completes a change of the state: starts a pump (a task that writes) for each connection that lacks messages, and
    /// wakes the senders that wait for room. If the channel has no positions, starts the timer that ends the channel.
    /// Otherwise, cancels this timer.
    pub(super) fn after_change(self: &Arc<Self>, inner: &mut Inner) {
        // The connection's cork (a buffer of this thread) may contain bytes that the connection's own hook has sent in
        // the current poll. These bytes must leave before another task writes to the connection, so the cork is flushed
        // here.
        for connection in inner.state.connections() {
            connection.connection().lane().flush();
        }
        while let Some(key) = inner.state.take_behind() {
            self.pump(inner, key);
        }
        inner.wake_senders();
        if inner.state.has_positions() {
            inner.timer = None;
        } else if inner.timer.as_ref().is_none_or(Timer::has_ended) {
            inner.timer = self.after_grace(|channel| channel.expire_unconnected());
        }
    }

    /// Starts a task that writes to the connection of a position whenever the connection has room. The task ends when
    /// the connection has all messages or is closed, or when the channel no longer exists.
    fn pump(self: &Arc<Self>, inner: &mut Inner, key: u64) {
        let Some(connection) = inner
            .state
            .position(key)
            .and_then(|position| position.connection())
            .map(|connection| connection.connection().clone())
        else {
            return;
        };
        let channel = Arc::downgrade(self);
        let server = connection.env.clone();
        server.spawn(async move {
            loop {
                let room = poll_fn(|cx| connection.lane().poll_room(cx)).await;
                let Some(channel) = channel.upgrade() else {
                    return;
                };
                let mut inner = channel.lock();
                let done = room.is_err() || inner.state.catch_up(key);
                inner.wake_senders();
                if done {
                    if let Some(position) = inner.state.position(key) {
                        position.has_pump = false;
                    }
                    return;
                }
            }
        });
    }

    /// Handles new acknowledgements: drops messages that no client needs any more, and wakes the senders that wait for
    /// room.
    pub(crate) fn acknowledged(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.state.trim_log(self.settings.limits);
        inner.wake_senders();
    }
}
