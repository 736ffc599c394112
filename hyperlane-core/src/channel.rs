//! Channels: the messages of a session, whoever is connected. See `docs/channels.md` for what clients see.

pub(crate) mod directory;
pub(crate) mod endpoint;
pub(crate) mod line;
pub(crate) mod log;
pub(crate) mod state;

use std::{
    fmt,
    future::poll_fn,
    io,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{runtime::Handle, task::AbortHandle};

use self::{
    line::Line,
    log::{Item, Limits, ResumeId},
    state::{Claim, Kind, Position, Start, State},
};
use crate::{
    conn::{Conn, inbox::Inbox},
    env::ids::next_id,
    env::runtime::within,
    proto::{
        sse::Event,
        ws::{CloseCode, Message},
    },
    session::{Entry, KeptAlive},
};

/// Closes a plain WebSocket whose missed messages are gone: it has to load the state of things anew. The next connection
/// begins with what comes then.
pub(crate) const RESET: CloseCode = CloseCode::new(4010);
const MISSED: &str = "messages were missed: load anew";
/// Closes a connection whose tab has connected anew.
pub(crate) const SUPERSEDED: CloseCode = CloseCode::new(4009);

/// What a session's channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `ctx.ws()`.
    Both,
    /// `ctx.sse()`.
    ToClient,
}

/// How a channel behaves; its endpoint says.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long a send waits for room.
    pub(crate) timeout: Duration,
    /// How long it waits for a client to come back.
    pub(crate) grace: Duration,
    /// What waits for clients, and as much again of what was written, for those who come back.
    pub(crate) limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            grace: Duration::from_secs(120),
            limits: Limits {
                messages: 256,
                bytes: 100_000,
            },
        }
    }
}

/// How channels behave that no client has connected to yet: as the first endpoint of their kind says. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct ChannelSettings(Arc<[OnceLock<Arc<Settings>>; 2]>);

impl ChannelSettings {
    fn slot(&self, direction: Direction) -> &OnceLock<Arc<Settings>> {
        let [both, to_client] = &*self.0;
        match direction {
            Direction::Both => both,
            Direction::ToClient => to_client,
        }
    }

    pub(crate) fn suggest(&self, direction: Direction, settings: &Arc<Settings>) {
        // Another endpoint may have said before.
        let _ = self.slot(direction).set(settings.clone());
    }

    pub(crate) fn of(&self, direction: Direction) -> &Arc<Settings> {
        self.slot(direction).get_or_init(Arc::default)
    }
}

/// Why a channel is over.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Nobody came back in time.
    Grace(Duration),
    /// Its clients have gone, and what it keeps for them finds no room.
    Memory,
    /// The program closed it.
    Closed,
    /// The session is over.
    Session,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grace(grace) => write!(
                f,
                "the channel is over: the client did not come back within {grace:?}"
            ),
            Self::Memory => f.write_str(
                "the channel is over: the client has gone, and there is no room in `session_memory` to wait for it",
            ),
            Self::Closed => f.write_str("the channel is over: it was closed"),
            Self::Session => f.write_str("the channel is over: its session is"),
        }
    }
}

impl std::error::Error for End {}

impl From<End> for io::Error {
    fn from(end: End) -> Self {
        Self::new(io::ErrorKind::BrokenPipe, end)
    }
}

/// A task that waits, and stops when this is dropped.
pub(crate) struct Timer(AbortHandle);

impl Timer {
    /// It has rung, or its runtime is gone.
    fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

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

/// A future that waits: what is dropped while it waits leaves nothing behind.
pub(crate) struct Waiter<'a> {
    channel: &'a Channel,
    /// 0 before it has to wait.
    number: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.number != 0 {
            let mut inner = self.channel.lock();
            let receiver = inner.receivers.remove(self.number);
            let sender = inner.senders.remove(self.number);
            drop(inner);
            drop((receiver, sender));
        }
    }
}

/// Those who wait: futures by their numbers, and tasks as 0.
#[derive(Default)]
struct Wakers(Vec<(u64, Waker)>);

impl Wakers {
    /// Has a waker woken later; the same one once.
    fn enlist(&mut self, cx: &Context<'_>, waiter: Option<&mut Waiter<'_>>) {
        let number = waiter.map_or(0, |waiter| {
            if waiter.number == 0 {
                waiter.number = next_id();
            }
            waiter.number
        });
        let known = self.0.iter_mut().find(|(known, waker)| {
            *known == number && (number != 0 || waker.will_wake(cx.waker()))
        });
        match known {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => self.0.push((number, cx.waker().clone())),
        }
    }

    /// Takes one out, to be dropped where nothing is locked.
    fn remove(&mut self, number: u64) -> Option<Waker> {
        let at = self.0.iter().position(|(known, _)| *known == number)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Gives all of them, to be woken where nothing is locked.
    fn take(&mut self) -> impl Iterator<Item = Waker> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|(_, waker)| waker)
    }
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

/// How long a page takes until it connects.
const PAGE_LOAD: Duration = Duration::from_secs(30);

/// What a channel takes beside its messages, with the task that waits for its client.
const ITSELF: usize = size_of::<Channel>() + 512;

/// Messages of clients that nobody received yet, in bytes.
const INBOX: usize = 64 * 1024;

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

    // ------------------------------------------------------------ to the client

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

    /// Counts what is about to wait for clients towards the session: they share its memory, whoever makes many of them.
    fn charge(&self, weight: usize) -> io::Result<usize> {
        let (is_charged, weight) = {
            let inner = self.lock();
            let itself = if inner.charged == 0 { ITSELF } else { 0 };
            (inner.is_unattended(), weight + itself)
        };
        match self.home.upgrade() {
            // Not while the channel is locked: others may have to go for it, with their channels.
            Some(home) if is_charged && !home.charge(weight) => Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "what waits for clients that are not connected has used up `session_memory`, or the session lasts for its request alone",
            )),
            Some(_) if is_charged => Ok(weight),
            _ => Ok(0),
        }
    }

    fn discharge(&self, weight: usize) {
        if let Some(home) = self.home.upgrade().filter(|_| weight > 0) {
            home.discharge(weight);
        }
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
    fn look_after(self: &Arc<Self>, inner: &mut Inner) {
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

    /// Where waits and tasks of the channel belong; never to a sender, who may stand anywhere.
    fn runtime(&self) -> Option<Handle> {
        match self.home.upgrade() {
            Some(home) => home.runtime(),
            None => Handle::try_current().ok(),
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
        let env = connection.env.clone();
        env.spawn(async move {
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

    // ------------------------------------------------------------ from the client

    /// The next message of a client.
    pub(crate) async fn recv(&self) -> io::Result<Message> {
        let mut waiter = self.waiter();
        poll_fn(|cx| self.poll_recv(cx, Some(&mut waiter))).await
    }

    /// As [`recv`](Self::recv).
    pub(crate) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        waiter: Option<&mut Waiter<'_>>,
    ) -> Poll<io::Result<Message>> {
        let mut inner = self.lock();
        if let Some(message) = inner.inbox.pop() {
            // Connections wait for room as senders do.
            inner.wake_senders();
            return Poll::Ready(Ok(message));
        }
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone().into()));
        }
        inner.receivers.enlist(cx, waiter);
        Poll::Pending
    }

    /// Takes in what a client sent; waits while the inbox is full.
    pub(crate) fn poll_deliver(
        &self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
        waiter: Option<&mut Waiter<'_>>,
    ) -> Poll<Result<(), End>> {
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone()));
        }
        if inner.inbox.bytes() >= INBOX {
            inner.senders.enlist(cx, waiter);
            return Poll::Pending;
        }
        if let Some(message) = message.take() {
            inner.inbox.push(message);
            inner.wake_receivers();
        }
        Poll::Ready(Ok(()))
    }

    // ------------------------------------------------------------ connections

    /// Gives the channel to a connection: from here on it gets what it missed and what comes. `None` for one that was
    /// reset and told to come again, or overtaken by its tab's next one.
    ///
    /// # Errors
    /// Why the channel is over.
    pub(crate) fn attach(
        self: &Arc<Self>,
        claim: Claim,
        connection: &Arc<Conn>,
        begin: impl FnOnce(&Start, ResumeId) -> Line,
    ) -> Result<Option<Attached>, End> {
        // Before anyone can find it by the channel's handles.
        connection.set_of_channel();
        let mut inner = self.lock();
        if let Some(end) = &inner.end {
            return Err(end.clone());
        }
        if inner.state.is_overtaken(claim) {
            drop(inner);
            Line::new(connection.clone(), None, claim.number)
                .close(SUPERSEDED, "this tab has connected anew");
            return Ok(None);
        }
        let epoch = inner.state.log.epoch;
        let (start, left) = inner.state.attach(claim, |start| {
            begin(
                start,
                ResumeId {
                    epoch,
                    offset: start.next.saturating_sub(1),
                },
            )
        });
        inner.was_connected = true;
        if start.is_reset && claim.kind == Kind::Plain {
            inner.state.remove(start.key);
            self.look_after(&mut inner);
            drop(inner);
            let _ = connection.close_websocket(RESET, MISSED, false);
            for position in &left {
                match claim.tab {
                    Some(_) => close(position, SUPERSEDED, "this tab has connected anew"),
                    None => close(position, RESET, MISSED),
                }
            }
            return Ok(None);
        }
        inner.state.write_on_key(start.key);
        self.look_after(&mut inner);
        let charged = std::mem::take(&mut inner.charged);
        drop(inner);
        self.discharge(charged);
        for position in &left {
            close(position, SUPERSEDED, "this tab has connected anew");
        }
        Ok(Some(Attached {
            channel: self.clone(),
            key: start.key,
            is_closed: false,
        }))
    }

    fn detach(self: &Arc<Self>, key: u64, is_closed: bool) {
        let mut inner = self.lock();
        let is_known = if is_closed {
            inner.state.remove(key).is_some()
        } else {
            inner.state.cut(key)
        };
        if is_known && !is_closed {
            let timer = self.after_grace(move |channel| channel.give_up(key));
            if let Some(position) = inner.state.position(key) {
                position.timer = timer;
            }
        }
        inner.state.tidy(self.settings.limits);
        self.look_after(&mut inner);
        if is_known && inner.is_unattended() {
            self.charge_all(inner);
        }
    }

    /// The last client has gone. What the channel keeps is the session's from now on; where that has no room, or nobody can
    /// come back to it, it is over.
    fn charge_all(&self, inner: Locked<'_>) {
        let weight = ITSELF + inner.state.log.weight() + inner.inbox.bytes();
        drop(inner);
        let Some(home) = self.home.upgrade() else {
            return;
        };
        let has_room = home.charge(weight);
        let mut inner = self.lock();
        match (inner.is_unattended(), has_room) {
            (true, true) => inner.charged += weight,
            (true, false) => self.finish(inner, End::Memory),
            (false, _) => {
                drop(inner);
                self.discharge(if has_room { weight } else { 0 });
            }
        }
    }

    /// A position has waited long enough.
    fn give_up(self: &Arc<Self>, key: u64) {
        let mut inner = self.lock();
        let is_last = match inner.state.position(key) {
            Some(position) if position.link().is_none() => {
                inner.state.remove(key);
                !inner.state.has_positions()
            }
            _ => return,
        };
        if is_last {
            self.finish(inner, End::Grace(self.settings.grace));
        } else {
            inner.state.tidy(self.settings.limits);
            self.look_after(&mut inner);
        }
    }

    /// Nobody has been there for long.
    fn expire(self: &Arc<Self>) {
        let inner = self.lock();
        if !inner.state.has_positions() {
            self.finish(inner, End::Grace(self.settings.grace));
        }
    }

    /// The program closes the channel, for good.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) -> io::Result<()> {
        if let Some(end) = &self.lock().end {
            return Err(end.clone().into());
        }
        self.end(End::Closed, code, reason);
        Ok(())
    }

    /// Waits until the channel is over.
    pub(crate) async fn over(&self) {
        let mut waiter = self.waiter();
        poll_fn(|cx| {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return Poll::Ready(());
            }
            inner.receivers.enlist(cx, Some(&mut waiter));
            Poll::Pending
        })
        .await;
    }

    /// Ends the channel, and its connections with these words.
    pub(crate) fn end(&self, end: End, code: CloseCode, reason: &str) {
        let positions = {
            let mut inner = self.lock();
            if inner.end.is_some() {
                return;
            }
            let positions = inner.state.remove_all();
            self.finish(inner, end);
            positions
        };
        for position in &positions {
            close(position, code, reason);
        }
    }

    fn finish(&self, mut inner: Locked<'_>, end: End) {
        if inner.end.is_some() {
            return;
        }
        let lost = inner.state.untaken();
        let reason = end.clone();
        let epoch = inner.state.log.epoch;
        inner.end = Some(end);
        let state = std::mem::replace(&mut inner.state, State::new(epoch));
        let inbox = std::mem::take(&mut inner.inbox);
        inner.wake_senders();
        inner.wake_receivers();
        let rest = (inner.timer.take(), inner.kept.take());
        let charged = std::mem::take(&mut inner.charged);
        drop(inner);
        drop((rest, state, inbox));
        // What listens to the log may ask this very channel.
        if lost > 0 {
            tracing::debug!(lost, %reason, "messages reach nobody any more");
        }
        self.discharge(charged);
    }

    /// Runs something when the grace has passed, unless the timer is dropped before.
    fn after_grace(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) + Send + 'static,
    ) -> Option<Timer> {
        self.after(self.settings.grace, work)
    }

    fn after(
        self: &Arc<Self>,
        wait: Duration,
        work: impl FnOnce(Arc<Self>) + Send + 'static,
    ) -> Option<Timer> {
        // Without a server there is no clock, and no client.
        let runtime = self.runtime()?;
        let channel = Arc::downgrade(self);
        let task = runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(channel) = channel.upgrade() {
                work(channel);
            }
        });
        Some(Timer(task.abort_handle()))
    }
}

fn close(position: &Position<Line, Timer>, code: CloseCode, reason: &str) {
    if let Some(line) = position.link() {
        line.close(code, reason);
    }
}

/// What was counted for a message, until it is where it is to wait.
struct Held<'a> {
    channel: &'a Channel,
    charged: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.channel.discharge(self.charged);
    }
}

/// A connection's hold on a channel: when it is dropped, the position waits for the client to come back.
pub(crate) struct Attached {
    channel: Arc<Channel>,
    key: u64,
    is_closed: bool,
}

impl Attached {
    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// The client has said that it will not come back to this place.
    pub(crate) fn closed(mut self) {
        self.is_closed = true;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.channel.detach(self.key, self.is_closed);
    }
}

/// The channels of one session.
#[derive(Default)]
pub(crate) struct Slots {
    both: Slot,
    to_client: Slot,
}

#[derive(Default)]
struct Slot {
    channel: Option<Arc<Channel>>,
    /// The epoch of the last one that the program closed.
    stopped: Option<u64>,
}

impl Slots {
    fn slot(&mut self, direction: Direction) -> &mut Slot {
        match direction {
            Direction::Both => &mut self.both,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// Takes out those that there are, to be ended where nothing is locked.
    pub(crate) fn take(&mut self) -> [Option<Arc<Channel>>; 2] {
        [self.both.channel.take(), self.to_client.channel.take()]
    }
}

impl Entry {
    fn lock_channels(&self) -> MutexGuard<'_, Slots> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session's channel; a new one after one that is over. That of a session that is over is over, too.
    pub(crate) fn channel(
        self: &Arc<Self>,
        direction: Direction,
        settings: &Arc<Settings>,
    ) -> Arc<Channel> {
        let mut channels = self.lock_channels();
        let slot = channels.slot(direction);
        if let Some(channel) = slot.channel.as_ref().filter(|channel| !channel.is_over()) {
            return channel.clone();
        }
        if let Some(epoch) = slot.channel.take().and_then(|channel| channel.stopped()) {
            slot.stopped = Some(epoch);
        }
        let channel = Channel::new(Arc::downgrade(self), settings.clone(), random());
        slot.channel = Some(channel.clone());
        if self.is_ended() {
            channel.end(
                End::Session,
                CloseCode::POLICY_VIOLATION,
                "the session is over",
            );
        }
        channel
    }

    /// Ends its channels: it is over. Not to be called with the table locked.
    pub(crate) fn end_channels(&self) {
        let taken = self.lock_channels().take();
        for channel in taken.into_iter().flatten() {
            channel.end(
                End::Session,
                CloseCode::POLICY_VIOLATION,
                "the session is over",
            );
        }
    }

    /// Whether the program has closed this channel, so that nobody need come back for it.
    pub(crate) fn is_stopped(&self, direction: Direction, epoch: u64) -> bool {
        let mut channels = self.lock_channels();
        let slot = channels.slot(direction);
        slot.stopped == Some(epoch)
            || slot.channel.as_ref().and_then(|channel| channel.stopped()) == Some(epoch)
    }
}

/// Random bits that nobody can guess, and never 0.
pub(crate) fn random() -> u64 {
    // A system without randomness has no sessions either.
    getrandom::u64().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
