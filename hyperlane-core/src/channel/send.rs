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
    memory::Held,
    timer::Timer,
    waiters::Waiter,
};
use crate::{
    proto::{sse::Event, ws::Message},
    runtime::within,
};

/// How long a page takes until it connects.
const PAGE_LOAD: Duration = Duration::from_secs(30);

impl Channel {
    /// Takes a message. Waits while the buffer is full, at most the send timeout.
    pub(crate) async fn send(self: &Arc<Self>, message: Message) -> io::Result<()> {
        self.send_item(message.into()).await
    }

    /// As [`send`](Self::send), for an event of the program's own making.
    pub(crate) async fn send_event(self: &Arc<Self>, event: Event) -> io::Result<()> {
        let (fields, has_data) = event
            .into_fields_without_id()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.send_item(Item::Event { fields, has_data }).await
    }

    async fn send_item(self: &Arc<Self>, item: Item) -> io::Result<()> {
        let charged = self.charge(log::weight(&item))?;
        let mut held = Held {
            channel: self,
            charged,
        };
        self.send_charged(item).await?;
        let is_waiting = {
            let mut inner = self.lock();
            let is_waiting = inner.is_unattended();
            if is_waiting {
                inner.charged += held.charged;
            }
            is_waiting
        };
        if is_waiting {
            held.charged = 0;
        }
        Ok(())
    }

    async fn send_charged(self: &Arc<Self>, item: Item) -> io::Result<()> {
        let mut item = Some(item);
        // Mostly there is room, and then there is no need of a timer.
        let first = poll_fn(|cx| Poll::Ready(self.poll_send(cx, &mut item, None))).await;
        if let Poll::Ready(sent) = first {
            return sent;
        }
        let mut waiter = self.waiter();
        let sending = poll_fn(|cx| self.poll_send(cx, &mut item, Some(&mut waiter)));
        match within(self.runtime(), self.settings.timeout, sending).await {
            Some(sent) => sent,
            None => self.send_past_laggards(item),
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
                self.look_after(&mut inner);
                Poll::Ready(Ok(()))
            }
            Err(back) => {
                *item = Some(back);
                if waiter.is_some() {
                    inner.senders.enlist(cx, waiter);
                }
                Poll::Pending
            }
        }
    }

    /// Nobody made room in time. If one tab holds up another, it has to go: it comes back and is told what it missed.
    fn send_past_laggards(self: &Arc<Self>, item: Option<Item>) -> io::Result<()> {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Err(end.clone().into());
        }
        let laggards = inner.state.remove_laggards();
        let Some(item) = item else {
            return Ok(());
        };
        let sent = inner.state.send(item, self.settings.limits);
        self.look_after(&mut inner);
        drop(inner);
        for position in &laggards {
            close(position, RESET, "reads too slowly");
        }
        sent.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "the buffer of {} messages stayed full for {:?}: the client is away, or takes nothing",
                    self.settings.limits.messages, self.settings.timeout
                ),
            )
        })
    }

    /// Waits until a short message would be taken at once.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone().into()));
        }
        if inner.state.has_room(self.settings.limits) {
            return Poll::Ready(Ok(()));
        }
        inner.senders.enlist(cx, None);
        Poll::Pending
    }

    /// Takes a message of one who has waited for room: others may have taken it meanwhile, but what was promised holds.
    pub(crate) fn send_promised(self: &Arc<Self>, message: Message) -> io::Result<()> {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Err(end.clone().into());
        }
        let unlimited = Limits {
            messages: usize::MAX,
            bytes: usize::MAX,
        };
        // There is always room.
        let _ = inner.state.send(message.into(), unlimited);
        inner.state.tidy(self.settings.limits);
        self.look_after(&mut inner);
        Ok(())
    }

    /// A page is being loaded, whose own request may send to it.
    pub(crate) fn expect_page(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.end.is_none() {
            inner.state.expect_page(|key| {
                self.after(PAGE_LOAD, move |channel| {
                    let mut inner = channel.lock();
                    inner.state.forget_page(key);
                    inner.state.tidy(channel.settings.limits);
                })
            });
        }
    }

    /// Sends a control frame to whoever is there.
    pub(crate) fn send_control(&self, message: &Message) {
        for line in self.lock().state.links() {
            // Who is not there needs no ping.
            let _ = line.write_control(message);
        }
    }

    /// After each change: has those written on for who are behind, wakes senders, and minds the time.
    pub(super) fn look_after(self: &Arc<Self>, inner: &mut Inner) {
        // What this task's own connection collects must be out before another task can write to it.
        for line in inner.state.links() {
            line.connection().flush_cork();
        }
        while let Some(key) = inner.state.take_behind() {
            self.pump(inner, key);
        }
        inner.wake_senders();
        if inner.state.has_positions() {
            inner.timer = None;
        } else if inner.timer.as_ref().is_none_or(Timer::has_ended) {
            inner.timer = self.after_grace(|channel| channel.expire());
        }
    }

    /// Writes on to one position whenever its connection takes more, until it has all.
    fn pump(self: &Arc<Self>, inner: &mut Inner, key: u64) {
        let Some(connection) = inner
            .state
            .position(key)
            .and_then(|position| position.link())
            .map(|line| line.connection().clone())
        else {
            return;
        };
        let channel = Arc::downgrade(self);
        let server = connection.server.clone();
        server.spawn(async move {
            loop {
                let room = poll_fn(|cx| connection.poll_room(cx)).await;
                let Some(channel) = channel.upgrade() else {
                    return;
                };
                let mut inner = channel.lock();
                let done = room.is_err() || inner.state.write_on_key(key);
                inner.wake_senders();
                if done {
                    if let Some(position) = inner.state.position(key) {
                        position.is_pumped = false;
                    }
                    return;
                }
            }
        });
    }

    /// Pongs have come.
    pub(crate) fn acknowledged(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.state.tidy(self.settings.limits);
        inner.wake_senders();
    }
}
