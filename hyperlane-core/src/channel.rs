//! Channels: the messages between the program and the clients of a session, kept across lost connections. A client that
//! connects again receives the messages that it has missed. `docs/channels.md` describes how clients use a channel.
//!
//! Each message has an *offset*, its number in the channel. Each tab of the session has a *position*: the offset of the
//! next message for the tab. A *reset* tells a client that it has missed messages, and that the channel can no longer
//! send them.

pub(crate) mod attach;
pub(crate) mod connection;
pub(crate) mod end;
pub(crate) mod log;
mod memory;
pub(crate) mod name;
pub(crate) mod receive;
mod send;
pub(crate) mod settings;
pub(crate) mod slots;
pub(crate) mod state;
mod timer;
mod waiters;

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
};

use self::{
    connection::ChannelConnection,
    end::End,
    log::Item,
    settings::Settings,
    state::ChannelState,
    timer::Timer,
    waiters::{Waiter, Waiters},
};
use crate::{
    conn::{inbox::Inbox, link::Link},
    proto::ws::CloseCode,
    session::{KeptAlive, SessionEntry},
};

/// The close code of a reset for a plain WebSocket: one whose client does not count messages, and so sends no resume id
/// (the id of its last message) when it connects again. The client has to reload its state. Its next connection begins
/// with new messages.
pub(crate) const RESET: CloseCode = CloseCode::new(4010);
const MISSED: &str = "missed messages are gone: reload the state";
/// The close code for a connection whose tab has connected again.
pub(crate) const SUPERSEDED: CloseCode = CloseCode::new(4009);

/// A channel of a session. It sends and receives messages across the connections of the session's clients.
pub(crate) struct Channel {
    session: Weak<SessionEntry>,
    settings: Arc<Settings>,
    inner: Mutex<Inner>,
}

struct Inner {
    state: ChannelState<ChannelConnection, Timer>,
    /// Messages from clients that the program has not received yet.
    inbox: Inbox,
    end: Option<End>,
    was_connected: bool,
    /// True after the program's function for this channel was called. The endpoint (the path at which clients connect)
    /// calls it at the first connection.
    is_started: bool,
    /// Bytes that the channel has charged to the memory for sessions (`session_memory`). The value is 0 while a client
    /// is connected.
    charged: usize,
    /// Keeps the session from eviction. The first connection sets this guard.
    kept: Option<KeptAlive>,
    /// Ends the channel if no client connects within the grace time.
    timer: Option<Timer>,
    /// Futures and tasks that wait for a message or for the end of the channel.
    receivers: Waiters,
    /// Futures and tasks that wait for room in the buffer or in the inbox.
    senders: Waiters,
    /// Wakers to be woken after the lock is released.
    woken: Vec<Waker>,
}

/// A locked channel. When it is dropped, it first releases the lock. Only then does it run code that may belong to the
/// program: wakers of the program's executors, and destructors of messages whose bytes are a type of the program.
struct Locked<'a> {
    // Rust drops the fields in this order, so the lock is released first.
    inner: MutexGuard<'a, Inner>,
    later: Later,
}

#[derive(Default)]
struct Later {
    woken: Vec<Waker>,
    _gone: Vec<Item>,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.later = Later {
            woken: std::mem::take(&mut self.inner.woken),
            _gone: self.inner.state.log.take_gone(),
        };
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        for waker in self.woken.drain(..) {
            waker.wake();
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Inner {
    /// Returns true if the channel is still running and no client is connected.
    fn is_disconnected(&self) -> bool {
        self.end.is_none() && self.state.connections().next().is_none()
    }

    /// Moves the waiting senders to `woken`. [`Locked`] wakes them after it has released the lock.
    fn wake_senders(&mut self) {
        self.woken.extend(self.senders.take());
    }

    /// Moves the waiting receivers to `woken`. [`Locked`] wakes them after it has released the lock.
    fn wake_receivers(&mut self) {
        self.woken.extend(self.receivers.take());
    }
}

impl Channel {
    pub(crate) fn new(
        session: Weak<SessionEntry>,
        settings: Arc<Settings>,
        epoch: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            settings,
            inner: Mutex::new(Inner {
                state: ChannelState::new(epoch),
                inbox: Inbox::default(),
                end: None,
                was_connected: false,
                is_started: false,
                charged: 0,
                kept: None,
                timer: None,
                receivers: Waiters::default(),
                senders: Waiters::default(),
                woken: Vec::new(),
            }),
        })
    }

    fn lock(&self) -> Locked<'_> {
        Locked {
            inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner),
            later: Later::default(),
        }
    }

    pub(crate) fn waiter(&self) -> Waiter<'_> {
        Waiter {
            channel: self,
            number: 0,
        }
    }

    /// Returns whether a client has connected at least once and the channel has not ended.
    pub(crate) fn is_open(&self) -> bool {
        let inner = self.lock();
        inner.end.is_none() && inner.was_connected
    }

    pub(crate) fn is_over(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Returns the offset of the next message.
    pub(crate) fn next_offset(&self) -> u64 {
        self.lock().state.log.end()
    }

    /// Returns the newest connection of the channel. Returns `None` if no client is connected.
    pub(crate) fn connection(&self) -> Option<Arc<Link>> {
        self.lock()
            .state
            .connections()
            .last()
            .map(|connection| connection.connection().clone())
    }

    /// Returns the name of the channel. Returns `None` for the channels of `ctx.ws()` and `ctx.sse()`.
    pub(crate) fn name(&self) -> Option<&str> {
        Some(self.settings.name.as_ref()?.as_str())
    }

    /// Stores the guard that keeps the session from eviction until the channel ends. Does nothing if the channel has a
    /// guard or has ended.
    pub(crate) fn keep(&self, keep: impl FnOnce() -> KeptAlive) {
        let mut inner = self.lock();
        if inner.end.is_none() && inner.kept.is_none() {
            inner.kept = Some(keep());
        }
    }

    /// Marks the channel as started. Returns false if the channel was started before.
    pub(crate) fn start(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_started, true)
    }

    /// Returns the channel's epoch (its random number) if the program has closed the channel.
    fn closed_epoch(&self) -> Option<u64> {
        let inner = self.lock();
        matches!(inner.end, Some(End::Closed)).then_some(inner.state.log.epoch)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::{log::Limits, *};
    use crate::{conn::acks::Acks, proto::ws::Message};

    /// Polls a future once, and checks that the future is pending.
    async fn poll_once<T>(waiting: impl Future<Output = T> + Send) {
        let mut waiting = std::pin::pin!(waiting);
        poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_dropped_wait_leaves_nothing_behind() {
        let settings = Settings {
            limits: Limits {
                messages: 0,
                bytes: 0,
            },
            ..Settings::default()
        };
        let channel = Channel::new(Weak::new(), Arc::new(settings), 7);
        channel
            .send(Message::from("the first always fits"))
            .await
            .unwrap();
        for _ in 0..100 {
            let waiting = channel.clone();
            tokio::spawn(async move {
                let mut waiter = waiting.waiter();
                poll_once(poll_fn(|cx| waiting.poll_recv(cx, Some(&mut waiter)))).await;
                poll_once(waiting.over()).await;
                poll_once(waiting.send(Message::from("no room"))).await;
            })
            .await
            .unwrap();
        }
        let inner = channel.lock();
        assert_eq!((inner.receivers.0.len(), inner.senders.0.len()), (0, 0));
    }

    /// Prints the parts of a session with a channel: `cargo test -p hyperlane-core parts_of -- --nocapture`. The channel
    /// has a position for each client, and the position's connection has acknowledgements.
    #[test]
    fn the_parts_of_a_channel_stay_small() {
        let parts = [
            ("session", size_of::<SessionEntry>(), 208),
            ("channel", size_of::<Channel>(), 296),
            (
                "position of a client",
                size_of::<state::Position<ChannelConnection, Timer>>(),
                80,
            ),
            ("acknowledgements", size_of::<Acks>(), 24),
        ];
        for (part, size, most) in parts {
            println!("{part:>30}: {size} bytes");
            assert!(size <= most, "{part}: {size} bytes");
        }
    }
}
