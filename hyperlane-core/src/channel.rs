//! Channels: the messages of a session, whoever is connected. See `docs/channels.md` for what clients see.

pub(crate) mod attach;
pub(crate) mod end;
pub(crate) mod line;
pub(crate) mod log;
mod memory;
mod receive;
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
    end::End,
    line::Line,
    log::Item,
    settings::Settings,
    state::State,
    timer::Timer,
    waiters::{Waiter, Wakers},
};
use crate::{
    conn::{Conn, inbox::Inbox},
    proto::ws::CloseCode,
    session::{Entry, KeptAlive},
};

/// Closes a plain WebSocket whose missed messages are gone: it has to load the state of things anew. The next connection
/// begins with what comes then.
pub(crate) const RESET: CloseCode = CloseCode::new(4010);
const MISSED: &str = "messages were missed: load anew";
/// Closes a connection whose tab has connected anew.
pub(crate) const SUPERSEDED: CloseCode = CloseCode::new(4009);

/// Sends and receives across connections.
pub(crate) struct Channel {
    home: Weak<Entry>,
    settings: Arc<Settings>,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State<Line, Timer>,
    /// What clients sent and nobody received yet.
    inbox: Inbox,
    end: Option<End>,
    was_connected: bool,
    /// The endpoint's function has run for it.
    is_greeted: bool,
    /// What was counted towards the session, as nobody is connected.
    charged: usize,
    /// Keeps the session, from the first connection on.
    kept: Option<KeptAlive>,
    /// Ends the channel when nobody has been there for long.
    timer: Option<Timer>,
    /// Those who wait for a message, and those who wait for room.
    receivers: Wakers,
    senders: Wakers,
    /// Those who are woken when the lock is gone.
    woken: Vec<Waker>,
}

/// The channel, locked. What is code of the program runs when the lock is gone: wakers of its executors, and the end of messages
/// whose bytes are a type of its own.
struct Locked<'a> {
    // The order matters: the lock goes first.
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
    /// Whether what is in it waits for clients of which none is connected.
    fn is_unattended(&self) -> bool {
        self.end.is_none() && self.state.links().next().is_none()
    }

    /// Wakes them when the lock is gone.
    fn wake_senders(&mut self) {
        self.woken.extend(self.senders.take());
    }

    /// As [`wake_senders`](Self::wake_senders).
    fn wake_receivers(&mut self) {
        self.woken.extend(self.receivers.take());
    }
}

impl Channel {
    pub(crate) fn new(home: Weak<Entry>, settings: Arc<Settings>, epoch: u64) -> Arc<Self> {
        Arc::new(Self {
            home,
            settings,
            inner: Mutex::new(Inner {
                state: State::new(epoch),
                inbox: Inbox::default(),
                end: None,
                was_connected: false,
                is_greeted: false,
                charged: 0,
                kept: None,
                timer: None,
                receivers: Wakers::default(),
                senders: Wakers::default(),
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

    /// Whether messages reach the client: it is connected, or may still come back.
    pub(crate) fn is_open(&self) -> bool {
        let inner = self.lock();
        inner.end.is_none() && inner.was_connected
    }

    pub(crate) fn is_over(&self) -> bool {
        self.lock().end.is_some()
    }

    /// The offset of the next message.
    pub(crate) fn next_offset(&self) -> u64 {
        self.lock().state.log.end()
    }

    /// A connection of this channel, if there is one.
    pub(crate) fn connection(&self) -> Option<Arc<Conn>> {
        self.lock()
            .state
            .links()
            .last()
            .map(|line| line.connection().clone())
    }

    /// Has its session stay for as long as the channel is not over.
    pub(crate) fn keep(&self, keep: impl FnOnce() -> KeptAlive) {
        let mut inner = self.lock();
        if inner.end.is_none() && inner.kept.is_none() {
            inner.kept = Some(keep());
        }
    }

    /// Whether this is the first who asks.
    pub(crate) fn greet(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_greeted, true)
    }

    /// The epoch, if the program has closed the channel.
    fn stopped(&self) -> Option<u64> {
        let inner = self.lock();
        matches!(inner.end, Some(End::Closed)).then_some(inner.state.log.epoch)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::{log::Limits, *};
    use crate::proto::ws::Message;

    /// Polls a future once as a task of its own would.
    async fn give_up<T>(waiting: impl Future<Output = T> + Send) {
        let mut waiting = std::pin::pin!(waiting);
        poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
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
                give_up(waiting.recv()).await;
                give_up(waiting.over()).await;
                give_up(waiting.send(Message::from("no room"))).await;
            })
            .await
            .unwrap();
        }
        let inner = channel.lock();
        assert_eq!((inner.receivers.0.len(), inner.senders.0.len()), (0, 0));
    }
}
