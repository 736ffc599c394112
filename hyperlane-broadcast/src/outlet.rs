//! Outlets: the places to which rooms send the messages for a member.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use hyperlane_core::{
    CloseCode, CloseFrame, Message, Outbox, PushError,
    hub::{Barrier, PastHeld, Undelivered},
};
use tokio::{runtime::Handle, sync::Notify};

use crate::panics::guarded;

/// Numbers of sinks begin here. Connections, which count from 1, never come so far.
const SINKS_FROM: u64 = 1 << 63;

/// The place to which a room sends the messages for a member: the outbox of a connection, or the queue of a sink.
///
/// A type that contains a connection can implement [`Connected`](crate::Connected) by the outlet of the connection.
#[derive(Clone)]
pub struct Outlet(Kind);

#[derive(Clone)]
enum Kind {
    Connection(Outbox),
    Sink(Arc<SinkQueue>),
}

impl From<Outbox> for Outlet {
    fn from(outbox: Outbox) -> Self {
        Self(Kind::Connection(outbox))
    }
}

impl From<Arc<SinkQueue>> for Outlet {
    fn from(queue: Arc<SinkQueue>) -> Self {
        Self(Kind::Sink(queue))
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet")
            .field("id", &self.id())
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

impl Outlet {
    /// Returns the outbox. Returns `None` for a sink.
    pub(crate) fn connection(&self) -> Option<&Outbox> {
        match &self.0 {
            Kind::Connection(outbox) => Some(outbox),
            Kind::Sink(_) => None,
        }
    }

    /// Returns the queue of a sink. Returns `None` for a connection.
    pub(crate) fn sink(&self) -> Option<&SinkQueue> {
        match &self.0 {
            Kind::Connection(_) => None,
            Kind::Sink(queue) => Some(queue),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        match &self.0 {
            Kind::Connection(outbox) => outbox.id(),
            Kind::Sink(queue) => queue.id,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        match &self.0 {
            Kind::Connection(outbox) => outbox.is_open(),
            Kind::Sink(queue) => queue.is_open(),
        }
    }

    pub(crate) fn queued(&self) -> usize {
        match &self.0 {
            Kind::Connection(outbox) => outbox.queued(),
            Kind::Sink(queue) => queue.lock().bytes,
        }
    }

    pub(crate) fn runtime(&self) -> Option<Handle> {
        match &self.0 {
            Kind::Connection(outbox) => outbox.__runtime(),
            Kind::Sink(queue) => queue.runtime.clone(),
        }
    }

    /// See [`Outbox::__poll_drained`].
    pub(crate) fn poll_drained(&self, limit: usize, waker: &Waker) -> bool {
        match &self.0 {
            Kind::Connection(outbox) => outbox.__poll_drained(limit, waker),
            Kind::Sink(queue) => queue.poll_drained(limit, waker),
        }
    }

    /// See [`Outbox::__poll_released`].
    pub(crate) fn poll_released(&self, waker: &Waker) -> bool {
        match &self.0 {
            Kind::Connection(outbox) => outbox.__poll_released(waker),
            Kind::Sink(queue) => queue.poll_released(waker),
        }
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str, drop_unsent: bool) {
        match &self.0 {
            Kind::Connection(outbox) => outbox.close(code, reason, drop_unsent),
            Kind::Sink(queue) => queue.close(code, reason, drop_unsent),
        }
    }

    pub(crate) fn release(&self, ticket: u64) {
        match &self.0 {
            Kind::Connection(outbox) => outbox.__release(ticket),
            Kind::Sink(queue) => queue.release(ticket),
        }
    }

    pub(crate) fn add_barrier(&self, barrier: Arc<dyn Barrier>) {
        match &self.0 {
            Kind::Connection(outbox) => outbox.__add_barrier(barrier),
            Kind::Sink(queue) => queue.add_barrier(barrier),
        }
    }

    pub(crate) fn on_closed(&self, hook: impl FnOnce() + Send + 'static) {
        match &self.0 {
            Kind::Connection(outbox) => outbox.__on_closed(hook),
            Kind::Sink(queue) => queue.on_closed(Box::new(hook)),
        }
    }
}

/// The queue of a sink: the messages that a task, the pump, moves into the sink.
///
/// It has the same rules as the outbox of a connection: it never waits, takes a message of any size while it is below a
/// limit, and holds the sink's own messages until what rooms have published before has been delivered.
pub(crate) struct SinkQueue {
    id: u64,
    /// Size of the queue from which it takes no more messages, in bytes.
    limit: usize,
    runtime: Option<Handle>,
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    items: VecDeque<Message>,
    /// Size of the queued items, in bytes, each with its overhead.
    bytes: usize,
    /// The sink's own messages that wait for messages of rooms, each with its ticket.
    held: VecDeque<(u64, Message)>,
    held_bytes: usize,
    last_ticket: u64,
    phase: Phase,
    barrier: Option<Arc<dyn Barrier>>,
    on_closed: Vec<Hook>,
    /// Wakers of tasks that wait until the queue has at most this number of bytes.
    draining: Vec<(usize, Waker)>,
    /// Wakers of tasks that wait until something that was held is queued.
    releasing: Vec<Waker>,
    pump: Option<Waker>,
    /// True if the pump waits for messages, and not only for the sink.
    is_pump_idle: bool,
}

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Open,
    /// The last message is held. Messages of rooms still pass.
    LastHeld,
    /// The last message is queued.
    Closing,
    Ended,
}

/// What the pump has to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Send(Message),
    /// The queue is empty.
    Flush,
    /// The queue is empty and closed.
    Close,
}

/// What has to be done and dropped without the queue's lock.
#[derive(Default)]
struct Aftermath {
    wakers: Vec<Waker>,
    hooks: Vec<Hook>,
    _dropped: (VecDeque<Message>, VecDeque<(u64, Message)>),
    _barrier: Option<Arc<dyn Barrier>>,
}

impl Aftermath {
    /// A waker belongs to the executor that the program has chosen for the sink. If it panics, the rest goes on.
    fn run(self) {
        for waker in self.wakers {
            guarded("the waker of a sink", || waker.wake());
        }
        for hook in self.hooks {
            guarded("the hook of a sink that has ended", hook);
        }
    }
}

fn weight(message: &Message) -> usize {
    message.len() + size_of::<Message>()
}

impl State {
    fn push(&mut self, message: Message) {
        self.bytes += weight(&message);
        self.items.push_back(message);
    }

    fn wake_pump(&mut self, aftermath: &mut Aftermath) {
        self.is_pump_idle = false;
        aftermath.wakers.extend(self.pump.take());
    }

    fn take_drained(&mut self, aftermath: &mut Aftermath) {
        let (bytes, takes) = (self.bytes, self.phase < Phase::Closing);
        let drained = self
            .draining
            .extract_if(.., |(limit, _)| bytes <= *limit || !takes);
        aftermath.wakers.extend(drained.map(|(_, waker)| waker));
    }

    /// Goes to a phase in which the queue takes no messages of rooms.
    fn end_deliveries(&mut self, phase: Phase, aftermath: &mut Aftermath) {
        self.phase = phase;
        aftermath.hooks.append(&mut self.on_closed);
        aftermath._barrier = self.barrier.take();
        aftermath.wakers.append(&mut self.releasing);
        self.take_drained(aftermath);
        self.wake_pump(aftermath);
    }
}

impl SinkQueue {
    pub(crate) fn new(limit: usize, runtime: Option<Handle>) -> Arc<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(SINKS_FROM);
        Arc::new(Self {
            id: COUNT.fetch_add(1, Ordering::Relaxed),
            limit,
            runtime,
            state: Mutex::default(),
            ended: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().phase == Phase::Open
    }

    /// Returns the number of queued messages.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Returns the number of registered wakers of hubs.
    #[cfg(test)]
    pub(crate) fn wakers(&self) -> usize {
        let state = self.lock();
        state.draining.len() + state.releasing.len()
    }

    /// Takes a message of a room. `past` tells whether it may overtake the sink's own messages that are held.
    ///
    /// # Errors
    /// [`Undelivered::Full`] if the queue has more bytes than `limit`; otherwise the other variants of [`Undelivered`].
    pub(crate) fn deliver(
        &self,
        message: &Message,
        limit: usize,
        past: PastHeld,
    ) -> Result<(), Undelivered> {
        let mut aftermath = Aftermath::default();
        {
            let mut state = self.lock();
            if state.phase >= Phase::Closing {
                return Err(Undelivered::Closed);
            }
            if !state.held.is_empty() && past == PastHeld::No {
                return Err(Undelivered::Held);
            }
            if state.bytes > limit.min(self.limit) {
                return Err(Undelivered::Full);
            }
            state.push(message.clone());
            if state.is_pump_idle {
                state.wake_pump(&mut aftermath);
            }
        }
        aftermath.run();
        Ok(())
    }

    /// Takes a message of the sink's own program.
    ///
    /// # Errors
    /// [`PushError::Full`] if the queue is full; [`PushError::Closed`] if it takes no more messages.
    pub(crate) fn send(&self, message: Message) -> Result<(), PushError> {
        let state = self.lock();
        if state.phase != Phase::Open {
            return Err(PushError::Closed);
        }
        if state.bytes + state.held_bytes > self.limit {
            return Err(PushError::Full);
        }
        self.write(state, message, Phase::Open);
        Ok(())
    }

    /// Queues or holds a message. `then` is the phase in which the queue is when the message is queued.
    fn write(&self, mut state: MutexGuard<'_, State>, message: Message, then: Phase) {
        let mut aftermath = Aftermath::default();
        let is_blocked = |barrier: &Arc<dyn Barrier>| !barrier.is_clear();
        if state.held.is_empty() && !state.barrier.as_ref().is_some_and(is_blocked) {
            state.push(message);
            match then {
                Phase::Open => state.wake_pump(&mut aftermath),
                phase => state.end_deliveries(phase, &mut aftermath),
            }
            drop(state);
            return aftermath.run();
        }
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        state.held_bytes += weight(&message);
        state.held.push_back((ticket, message));
        if then != Phase::Open {
            // The pump sees that the queue is about to close, and waits for a limited time.
            state.phase = Phase::LastHeld;
            state.wake_pump(&mut aftermath);
        }
        let barrier = state.barrier.clone();
        drop(state);
        aftermath.run();
        match barrier {
            Some(barrier) => barrier.hold(ticket),
            None => self.release(ticket),
        }
    }

    /// Queues what was held up to a ticket.
    fn release(&self, ticket: u64) {
        let mut aftermath = Aftermath::default();
        {
            let mut state = self.lock();
            if state.phase >= Phase::Closing {
                return;
            }
            while state.held.front().is_some_and(|(at, _)| *at <= ticket)
                && let Some((_, message)) = state.held.pop_front()
            {
                state.held_bytes -= weight(&message);
                state.push(message);
            }
            aftermath.wakers.append(&mut state.releasing);
            if state.phase == Phase::LastHeld && state.held.is_empty() {
                state.end_deliveries(Phase::Closing, &mut aftermath);
            }
            state.wake_pump(&mut aftermath);
        }
        aftermath.run();
    }

    /// Closes the sink: a Close is the last message. With `drop_unsent`, drops what is queued.
    pub(crate) fn close(&self, code: CloseCode, reason: &str, drop_unsent: bool) {
        let last = Message::Close(Some(CloseFrame::new(code, reason)));
        let mut state = self.lock();
        if !drop_unsent {
            if state.phase == Phase::Open {
                self.write(state, last, Phase::Closing);
            }
            return;
        }
        if state.phase >= Phase::Closing {
            return;
        }
        let mut aftermath = Aftermath {
            _dropped: (mem::take(&mut state.items), mem::take(&mut state.held)),
            ..Aftermath::default()
        };
        (state.bytes, state.held_bytes) = (0, 0);
        state.push(last);
        state.end_deliveries(Phase::Closing, &mut aftermath);
        drop(state);
        aftermath.run();
    }

    pub(crate) fn add_barrier(&self, barrier: Arc<dyn Barrier>) {
        let mut state = self.lock();
        if state.phase < Phase::Closing {
            state.barrier = Some(barrier);
        }
    }

    /// Runs `hook` as soon as the queue takes no more messages of rooms.
    fn on_closed(&self, hook: Hook) {
        let mut state = self.lock();
        if state.phase < Phase::Closing {
            state.on_closed.push(hook);
        } else {
            drop(state);
            hook();
        }
    }

    fn poll_drained(&self, limit: usize, waker: &Waker) -> bool {
        let limit = limit.min(self.limit);
        let mut state = self.lock();
        if state.phase >= Phase::Closing || state.bytes <= limit {
            return true;
        }
        state.draining.push((limit, waker.clone()));
        false
    }

    fn poll_released(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if state.phase >= Phase::Closing || state.held.is_empty() {
            return true;
        }
        state.releasing.push(waker.clone());
        false
    }

    /// Returns ready if the queue is closed or about to close.
    pub(crate) fn poll_closing(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Poll::Ready(());
        }
        state.pump = Some(context.waker().clone());
        Poll::Pending
    }

    /// Takes the next message for the sink, which is ready for it. The pump is woken when there is more.
    pub(crate) fn next(&self, context: &Context<'_>) -> Next {
        let mut aftermath = Aftermath::default();
        let next = {
            let mut state = self.lock();
            state.pump = Some(context.waker().clone());
            let next = state.items.pop_front();
            state.is_pump_idle = next.is_none();
            match next {
                Some(message) => {
                    state.bytes -= weight(&message);
                    state.take_drained(&mut aftermath);
                    Next::Send(message)
                }
                None if state.phase >= Phase::Closing => Next::Close,
                None => Next::Flush,
            }
        };
        aftermath.run();
        next
    }

    /// Ends the queue, because the sink has ended.
    pub(crate) fn end(&self) {
        let mut aftermath = Aftermath::default();
        {
            let mut state = self.lock();
            aftermath._dropped = (mem::take(&mut state.items), mem::take(&mut state.held));
            (state.bytes, state.held_bytes) = (0, 0);
            state.end_deliveries(Phase::Ended, &mut aftermath);
        }
        aftermath.run();
        self.ended.notify_waiters();
    }

    /// Waits until the sink has ended.
    pub(crate) async fn ended(&self) {
        loop {
            let mut notified = std::pin::pin!(self.ended.notified());
            notified.as_mut().enable();
            if self.lock().phase == Phase::Ended {
                return;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests;
