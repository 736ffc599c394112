//! From the program to the clients.

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
    memory::Charge,
    timer::Timer,
    waiters::Waiter,
};
use crate::{
    env::runtime::within,
    proto::{sse::Event, ws::Message},
};

/// The time that a page has to connect after its request.
const PAGE_LOAD: Duration = Duration::from_secs(30);

impl Channel {
    /// Takes a message. Waits while the buffer is full, at most the send timeout.
    pub(crate) async fn send(self: &Arc<Self>, message: Message) -> io::Result<()> {
        self.send_item(message.into()).await
    }

    /// Takes an event of the program, as [`send`](Self::send) takes a message.
    pub(crate) async fn send_event(self: &Arc<Self>, event: Event) -> io::Result<()> {
        let (fields, has_data) = event
            .into_fields_without_id()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.send_item(Item::Event { fields, has_data }).await
    }

    async fn send_item(self: &Arc<Self>, item: Item) -> io::Result<()> {
        let charged = self.charge(log::weight(&item))?;
        let mut charge = Charge {
            channel: self,
            charged,
        };
        self.send_charged(item).await?;
        let is_waiting = {
            let mut inner = self.lock();
            let is_waiting = inner.is_disconnected();
            if is_waiting {
                inner.charged += charge.charged;
            }
            is_waiting
        };
        if is_waiting {
            charge.charged = 0;
        }
        Ok(())
    }

    async fn send_charged(self: &Arc<Self>, item: Item) -> io::Result<()> {
        let mut item = Some(item);
        // Usually there is room, and the send needs no timer.
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

    /// Sends after the timeout. If a slow tab holds up another, the channel closes it: the client comes back and gets
    /// a reset.
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

    /// Takes a message after [`poll_room`](Self::poll_room) was ready, even if other senders have used the room
    /// meanwhile.
    pub(crate) fn send_promised(self: &Arc<Self>, message: Message) -> io::Result<()> {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Err(end.clone().into());
        }
        let unlimited = Limits {
            messages: usize::MAX,
            bytes: usize::MAX,
        };
        // Without limits there is always room.
        let _ = inner.state.send(message.into(), unlimited);
        inner.state.trim_log(self.settings.limits);
        self.after_change(&mut inner);
        Ok(())
    }

    /// Keeps the messages from here on for a page that is being loaded, for a while.
    pub(crate) fn expect_page(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.end.is_none() {
            inner.state.expect_page(|key| {
                self.after(PAGE_LOAD, move |channel| {
                    let mut inner = channel.lock();
                    inner.state.forget_page(key);
                    inner.state.trim_log(channel.settings.limits);
                })
            });
        }
    }

    /// Sends a control frame to all connected clients.
    pub(crate) fn send_control(&self, message: &Message) {
        for connection in self.lock().state.connections() {
            // A client that is gone needs no ping.
            let _ = connection.write_control(message);
        }
    }

    /// Follows up on a change of the state: starts pumps for positions that are behind, wakes senders, and sets the
    /// timer.
    pub(super) fn after_change(self: &Arc<Self>, inner: &mut Inner) {
        // Flushes this task's corked bytes first: another task may write to its connection.
        for connection in inner.state.connections() {
            connection.connection().flush_cork();
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

    /// Writes to one position as its connection has room, until it has all messages.
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
                let room = poll_fn(|cx| connection.poll_room(cx)).await;
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

    /// Handles new acknowledgements: the buffer may have room.
    pub(crate) fn acknowledged(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.state.trim_log(self.settings.limits);
        inner.wake_senders();
    }
}
