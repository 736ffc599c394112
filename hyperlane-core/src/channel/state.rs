//! The positions of a channel's clients, with the rules of buffering, delivery and resumption. This module uses no
//! clock and no sockets.
//!
//! Each client, for example a browser tab, has a [`Position`]. The position contains the offset (the number) of the
//! next message to write to the client's connection. After the connection ends, the position waits for the next
//! connection of the same client. The *floor* of a position is the offset of the first message that the channel must
//! keep for it. A client is *reset* if the channel cannot send it all messages that it has missed. Such a client has to
//! reload its state, and continues with new messages.

use super::log::{Item, Limits, Log, ResumeId};
use crate::error::PushError;

/// A connection that a channel writes messages to.
pub(crate) trait Connection {
    /// Writes a message to the connection without waiting.
    fn write(&self, id: ResumeId, item: &Item) -> Result<(), PushError>;

    /// Returns the highest offset that the client has acknowledged. Returns 0 before the first acknowledgement, and for
    /// clients that never acknowledge.
    fn acknowledged(&self) -> u64;

    /// Returns whether the server has paused reading from the client. No acknowledgement can arrive during the pause.
    fn is_paused(&self) -> bool;

    /// Requests an acknowledgement, if the client has answered the last request.
    fn request_ack(&self);

    /// Requests an acknowledgement like [`request_ack`](Self::request_ack), but at a limited rate: the request may be
    /// sent a moment later.
    fn request_ack_soon(&self);

    /// Returns the number of the HTTP request that opened the connection. Later requests have higher numbers.
    fn number(&self) -> u64;
}

/// The kinds of clients. They differ in how they acknowledge messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An event stream. The client acknowledges nothing while it is connected. When the client comes back, it sends the
    /// id of its last event.
    Events,
    /// A WebSocket without resume ids. The client acknowledges messages only by pongs.
    Plain,
    /// A WebSocket with resume ids. The client acknowledges messages by pongs. The client also counts messages, and
    /// when it comes back, it sends the id that it has counted up to.
    Counted,
}

/// A number that identifies one of a session's tabs. The client sends the number with its request. If a
/// [`Kind::Counted`] client sends no number, the endpoint (the route at which clients connect) chooses the number.
pub(crate) type Tab = u64;

/// The position of one client in the channel.
pub(crate) struct Position<C, T> {
    pub(crate) key: u64,
    kind: Kind,
    tab: Option<Tab>,
    /// Offset of the next message to write to the connection.
    next: u64,
    acknowledged: u64,
    /// The client's connection; `None` while the position waits for the next connection.
    connection: Option<C>,
    /// Removes the position if no connection comes in time.
    pub(crate) timer: Option<T>,
    /// True while a task (the *pump*) writes to the connection whenever the connection has room.
    pub(crate) has_pump: bool,
}

impl<C: Connection, T> Position<C, T> {
    /// Returns the offset of the first message that the channel must keep for this position.
    ///
    /// While the server has paused reading from the client, no acknowledgement can arrive. Written messages then count
    /// as arrived. A program that does not receive messages, and so causes the pause, can therefore still send.
    fn floor(&self) -> u64 {
        match &self.connection {
            Some(connection) if connection.is_paused() => self.next,
            _ => self.first_unacknowledged(),
        }
    }

    /// Returns the offset of the first message that the client may not have received.
    ///
    /// An event stream acknowledges nothing, so written messages count as arrived. After the connection is cut, the
    /// client may lack some of these messages. When it comes back, it gets them from the history: the part of the log
    /// before the floor.
    fn first_unacknowledged(&self) -> u64 {
        let acknowledged = self.connection.as_ref().map_or(0, Connection::acknowledged);
        match self.kind {
            Kind::Events => self.next,
            Kind::Plain | Kind::Counted => self.acknowledged.max(acknowledged) + 1,
        }
    }

    pub(crate) fn connection(&self) -> Option<&C> {
        self.connection.as_ref()
    }
}

/// The data with which a new connection asks for a position in the channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) kind: Kind,
    /// The id to resume from. `None` means that the client sent no id. `Err` means that the client sent a text that is
    /// not an id.
    pub(crate) from: Option<Result<ResumeId, super::log::NotAnId>>,
    pub(crate) tab: Option<Tab>,
    /// A client without an id begins at the first message of the channel.
    pub(crate) is_from_start: bool,
    /// The number of the HTTP request.
    pub(crate) number: u64,
}

/// The point in the channel from which a new connection reads.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) key: u64,
    /// Offset of the first message to write. The client has the earlier messages, or does not get them because it is
    /// new or reset.
    pub(crate) next: u64,
    /// True if the client is reset.
    pub(crate) is_reset: bool,
}

/// A page that a browser is loading. The program may send messages while it answers the page's request. When the page
/// connects, it gets these messages, even if other pages have received them.
struct Page<T> {
    key: u64,
    /// Offset of the first message for the page.
    from: u64,
    /// Ends the wait for the page if the page does not connect in time.
    _timer: Option<T>,
}

/// Limit of pages that load at the same time. A page beyond the limit may miss messages that the program has sent while
/// it answered the page's request.
pub(crate) const MAX_PAGES: usize = 8;

/// Limit of positions without a connection. It bounds the memory that a client can use by connecting and leaving in a
/// loop.
const MAX_WAITING: usize = 64;

/// The channel keeps messages for plain clients that are away while other clients read on. The size of these messages
/// is limited to this factor times [`Limits::bytes`]. The factor is large, because a client that has missed more than
/// these messages is reset. The number of these messages is not limited, because a program may send thousands of small
/// messages.
const AWAY_FACTOR: usize = 32;

/// The messages and positions of a channel. `C` is a connection, and `T` is a timer.
pub(crate) struct ChannelState<C, T> {
    pub(crate) log: Log,
    /// Offset of the first message that was not written to any connection.
    first_undelivered: u64,
    positions: Vec<Position<C, T>>,
    pages: Vec<Page<T>>,
    next_key: u64,
}

impl<C: Connection, T> ChannelState<C, T> {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            log: Log::new(epoch),
            first_undelivered: 1,
            positions: Vec::new(),
            pages: Vec::new(),
            next_key: 0,
        }
    }

    /// Returns the number of messages that were not written to any connection.
    pub(crate) fn undelivered(&self) -> u64 {
        self.log.end().saturating_sub(self.first_undelivered)
    }

    pub(crate) fn has_positions(&self) -> bool {
        !self.positions.is_empty()
    }

    /// Returns the number of records of clients and pages.
    pub(crate) fn records(&self) -> usize {
        self.positions.len() + self.pages.len()
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &C> {
        self.positions.iter().filter_map(Position::connection)
    }

    pub(crate) fn position(&mut self, key: u64) -> Option<&mut Position<C, T>> {
        self.positions
            .iter_mut()
            .find(|position| position.key == key)
    }

    /// Returns the offset of the first message that the channel must keep.
    ///
    /// If a client is connected, the result is the lowest floor of the positions with a connection. Otherwise it is the
    /// lowest floor of the waiting positions. A waiting position is ignored if the log no longer has its messages,
    /// because its client will be reset anyway. The result is never above the first message that was not written to any
    /// connection.
    fn floor(&self) -> u64 {
        let connected = self.positions.iter().filter(|at| at.connection.is_some());
        let connected = connected.map(Position::floor).min();
        connected
            .or_else(|| {
                let waiting = self.positions.iter().map(Position::floor);
                waiting.filter(|floor| self.log.has_from(*floor)).min()
            })
            .map_or(self.first_undelivered, |floor| {
                floor.min(self.first_undelivered)
            })
    }

    /// Registers a page that a browser is loading. The page gets all messages that are sent from now on. `timer`
    /// receives the key of the page, and returns the timer that ends the wait for the page. Returns false if too many
    /// pages are loading.
    pub(crate) fn expect_page(&mut self, timer: impl FnOnce(u64) -> Option<T>) -> bool {
        let is_expected = self.pages.len() < MAX_PAGES;
        if is_expected {
            let key = self.next_key;
            self.next_key += 1;
            self.pages.push(Page {
                key,
                from: self.log.end(),
                _timer: timer(key),
            });
        }
        is_expected
    }

    pub(crate) fn forget_page(&mut self, key: u64) {
        self.pages.retain(|page| page.key != key);
        if self.pages.is_empty() {
            self.pages = Vec::new();
        }
    }

    /// Removes the page that was registered first, and returns the offset of the page's first message. Returns `None`
    /// if no page is registered, or if the log no longer has the message.
    fn take_page(&mut self) -> Option<u64> {
        let Page { key, from, .. } = self.pages.first()?;
        let (key, from) = (*key, *from);
        self.forget_page(key);
        Some(from).filter(|from| self.log.has_from(*from))
    }

    /// Stores a message if there is room, and writes it to all connections. If there is no room, requests
    /// acknowledgements and returns the message.
    pub(crate) fn send(&mut self, item: Item, limits: Limits) -> Result<(), Item> {
        let floor = self.floor();
        if !self.log.has_room(floor, &item, limits) {
            self.connections().for_each(Connection::request_ack);
            return Err(item);
        }
        self.log.push(item);
        for at in 0..self.positions.len() {
            self.catch_up_at(at);
        }
        self.trim_log(limits);
        let half = Limits {
            messages: limits.messages / 2,
            bytes: limits.bytes / 2,
        };
        for position in &self.positions {
            let (messages, bytes) = self.log.since(position.floor());
            let is_due = messages > half.messages || bytes > half.bytes;
            if let Some(connection) = position.connection.as_ref().filter(|_| is_due) {
                connection.request_ack();
            }
        }
        Ok(())
    }

    /// Returns whether there is room for a short message.
    pub(crate) fn has_room(&self, limits: Limits) -> bool {
        let short = Item::Event {
            fields: bytes::Bytes::new(),
            has_data: false,
        };
        self.log.has_room(self.floor(), &short, limits)
    }

    /// Drops messages that no client needs.
    ///
    /// The messages before the floor are the history. Drops the oldest of them until the history is within `limits`.
    ///
    /// Plain clients never ask for acknowledged messages. So the messages that all clients have acknowledged are
    /// dropped at once, and the rest of the history has the larger limit of [`AWAY_FACTOR`], if:
    /// - there are positions, and all of them belong to plain clients,
    /// - no page is loading,
    /// - the server reads from all connected clients,
    /// - the log still has the messages of every position.
    pub(crate) fn trim_log(&mut self, limits: Limits) {
        let floor = self.floor();
        // While the server has paused reading from a plain client, the client's floor is above its unacknowledged
        // messages. These messages are then in the history, and the client may still need them.
        let all_plain = self.positions.iter().all(|position| {
            let is_paused = position.connection().is_some_and(Connection::is_paused);
            position.kind == Kind::Plain && !is_paused && self.log.has_from(position.floor())
        });
        match self.positions.iter().map(Position::floor).min() {
            Some(least) if all_plain && self.pages.is_empty() => {
                self.log.forget_before(least.min(floor));
                // This bounds the messages for clients that are away while another client reads on.
                let away = Limits {
                    messages: usize::MAX,
                    bytes: limits.bytes.saturating_mul(AWAY_FACTOR),
                };
                self.log.trim(floor, away);
            }
            _ => self.log.trim(floor, limits),
        }
    }

    /// Writes the unwritten messages to the connection of a position. Returns false if the connection has no room for
    /// all of them.
    pub(crate) fn catch_up(&mut self, key: u64) -> bool {
        let mut positions = self.positions.iter();
        match positions.position(|position| position.key == key) {
            Some(at) => self.catch_up_at(at),
            None => true,
        }
    }

    fn catch_up_at(&mut self, at: usize) -> bool {
        let Self {
            log,
            positions,
            first_undelivered,
            ..
        } = self;
        let Some(position) = positions.get_mut(at) else {
            return true;
        };
        let Some(connection) = &position.connection else {
            return true;
        };
        let mut has_all = true;
        while let Some(item) = log.get(position.next) {
            let id = log.id_before(position.next + 1);
            match connection.write(id, item) {
                Ok(()) => {
                    position.next += 1;
                    *first_undelivered = (*first_undelivered).max(position.next);
                }
                Err(PushError::Full) => {
                    has_all = false;
                    break;
                }
                // The connection is closing, and its handler will detach it soon.
                Err(_) => return true,
            }
        }
        // A plain client acknowledges by pongs alone, so the server must send a ping. A client of another kind sends
        // the id of its last message when it comes back.
        if position.kind == Kind::Plain {
            connection.request_ack_soon();
        }
        has_all
    }

    /// Finds a connected position with unwritten messages and without a pump. Sets the position's `has_pump`, and
    /// returns the position's key.
    pub(crate) fn take_behind(&mut self) -> Option<u64> {
        let end = self.log.end();
        let position = self.positions.iter_mut().find(|position| {
            position.connection.is_some() && position.next < end && !position.has_pump
        })?;
        position.has_pump = true;
        Some(position.key)
    }

    /// Returns whether the claim's tab already has a connection from a later request.
    pub(crate) fn is_superseded(&self, claim: Claim) -> bool {
        let mut others = self
            .positions
            .iter()
            .filter(|position| position.tab == claim.tab);
        claim.tab.is_some()
            && others.any(|position| {
                position
                    .connection
                    .as_ref()
                    .is_some_and(|connection| connection.number() > claim.number)
            })
    }

    /// Adds a position for a new connection, and determines the [`Start`] of the connection. The caller then calls
    /// [`catch_up`](Self::catch_up), which writes the messages.
    ///
    /// Also removes and returns old positions: the position that the new one replaces, and positions whose clients must
    /// be reset. The caller closes the connections of the returned positions.
    pub(crate) fn attach(
        &mut self,
        claim: Claim,
        connection: impl FnOnce(&Start) -> C,
    ) -> (Start, Vec<Position<C, T>>) {
        let mut left = Vec::new();
        let (next, is_reset) = match claim.from {
            Some(Ok(id))
                if id.epoch == self.log.epoch && self.log.has_from(id.offset.saturating_add(1)) =>
            {
                (id.offset + 1, false)
            }
            Some(_) => (self.log.end(), true),
            None if claim.is_from_start => {
                // The client gets all messages, and so those of its own page.
                self.take_page();
                match self.log.has_from(1) {
                    true => (1, false),
                    false => (self.log.end(), true),
                }
            }
            None => match self.resume_without_id(claim) {
                Some(floor) if !self.log.has_from(floor) => (self.log.end(), true),
                known => {
                    let floor = known.unwrap_or(self.first_undelivered);
                    let page = self.take_page();
                    (page.map_or(floor, |from| from.min(floor)), false)
                }
            },
        };
        if let Some(at) = self.replaced_position(claim, next) {
            left.push(self.positions.remove(at));
        }
        if is_reset && claim.kind == Kind::Plain && claim.tab.is_none() {
            // A position that still has a connection may have caused this reset, because the log no longer has the
            // messages that the position has not acknowledged. The connection may be an older one of the same client,
            // if the server has not noticed its end. Such a position would also reset every later connection, so it is
            // removed. If the older connection is still in use, its client has to be reset too: the caller closes the
            // connection.
            let log = &self.log;
            let (holed, rest) = std::mem::take(&mut self.positions)
                .into_iter()
                .partition::<Vec<_>, _>(|position| {
                    let is_meant = position.kind == Kind::Plain && position.tab.is_none();
                    is_meant
                        && position.connection.is_some()
                        && !log.has_from(position.first_unacknowledged())
                });
            self.positions = rest;
            left.extend(holed);
        }
        let start = Start {
            key: self.next_key,
            next,
            is_reset,
        };
        self.next_key += 1;
        let connection = connection(&start);
        // Most sessions have one tab, so the list grows by one position at a time.
        self.positions.reserve_exact(1);
        self.positions.push(Position {
            key: start.key,
            kind: claim.kind,
            tab: claim.tab,
            next,
            acknowledged: next.saturating_sub(1),
            connection: Some(connection),
            timer: None,
            has_pump: false,
        });
        (start, left)
    }

    /// Finds the offset at which a client without an id resumes. Returns `None` if the client has no position.
    ///
    /// A client with a tab resumes at the position of the tab. A plain client without a tab may own any position of
    /// plain clients without a tab, so the client resumes at the lowest offset of these positions. Positions with a
    /// connection are included, because a client may notice a cut before the server does. A client of another kind
    /// without an id and without a tab is new, and has no position.
    fn resume_without_id(&self, claim: Claim) -> Option<u64> {
        let is_meant = |position: &&Position<C, T>| match claim.tab {
            Some(tab) => position.tab == Some(tab),
            None => {
                claim.kind == Kind::Plain && position.kind == Kind::Plain && position.tab.is_none()
            }
        };
        let meant = self.positions.iter().filter(is_meant);
        let got = meant.map(|position| match position.kind {
            // Every event has an id. A client without an id has received no event since its position began.
            Kind::Events => position.acknowledged + 1,
            _ => position.first_unacknowledged(),
        });
        got.min()
    }

    fn waiting(&self, kind: Kind) -> impl Iterator<Item = (usize, &Position<C, T>)> {
        let positions = self.positions.iter().enumerate();
        positions.filter(move |(_, position)| {
            position.connection.is_none() && position.kind == kind && position.tab.is_none()
        })
    }

    /// Finds the position that a new connection replaces. `next` is the offset from which the connection reads.
    ///
    /// - A client with a tab replaces the position of the tab.
    /// - A plain client without a tab, or a client with an id, replaces the most advanced of the waiting positions of
    ///   its kind. The less advanced positions stay for later connections, so no client misses a message.
    /// - Any other client replaces no position.
    fn replaced_position(&self, claim: Claim, next: u64) -> Option<usize> {
        if claim.tab.is_some() {
            return self
                .positions
                .iter()
                .position(|position| position.tab == claim.tab);
        }
        let furthest = |kind| {
            self.waiting(kind)
                .max_by_key(|(_, position)| position.next)
                .map(|(at, _)| at)
        };
        match (claim.kind, claim.from) {
            (Kind::Plain, _) => self
                .waiting(Kind::Plain)
                .max_by_key(|(_, position)| position.first_unacknowledged())
                .map(|(at, _)| at),
            // An event stream without an id belongs to another tab or a reloaded page. It replaces no position.
            (_, None) => None,
            // The client got its id from the channel, so the channel has written all messages before `next` at the
            // client's position. A position that is less advanced belongs to another client.
            (kind, Some(_)) => self
                .waiting(kind)
                .filter(|(_, position)| position.next >= next)
                .max_by_key(|(_, position)| position.next)
                .map(|(at, _)| at)
                .or_else(|| furthest(kind)),
        }
    }

    /// Removes the connection of a position. The position then waits for the client's next connection. Returns false if
    /// the position does not exist any more, for example because another connection has replaced it.
    pub(crate) fn cut(&mut self, key: u64) -> bool {
        let Some(position) = self.position(key) else {
            return false;
        };
        if let Some(connection) = position.connection.take() {
            position.acknowledged = position.acknowledged.max(connection.acknowledged());
        }
        self.limit_waiting();
        true
    }

    /// Removes one waiting position if more than [`MAX_WAITING`] positions wait for a client. Chooses the first of
    /// these that exists:
    /// 1. the oldest position of an event stream or a counting client: such a client comes back with an id, and needs
    ///    no position,
    /// 2. the oldest position of a plain client with a tab,
    /// 3. the most advanced position of the plain clients without a tab: a client that comes back then still finds the
    ///    least advanced position.
    fn limit_waiting(&mut self) {
        let waiting = || {
            let positions = self.positions.iter().enumerate();
            positions.filter(|(_, position)| position.connection.is_none())
        };
        if waiting().count() <= MAX_WAITING {
            return;
        }
        let is_nameless = |position: &Position<C, T>| match position.kind {
            Kind::Plain => position.tab.is_none(),
            Kind::Events | Kind::Counted => false,
        };
        let least_needed = waiting()
            .filter(|(_, position)| !is_nameless(position))
            .min_by_key(|(_, position)| (position.kind == Kind::Plain, position.key))
            .or_else(|| waiting().max_by_key(|(_, position)| position.floor()))
            .map(|(at, _)| at);
        if let Some(at) = least_needed {
            self.positions.remove(at);
        }
    }

    /// Removes a position to which no client will come back.
    pub(crate) fn remove(&mut self, key: u64) -> Option<Position<C, T>> {
        let mut positions = self.positions.iter();
        let at = positions.position(|position| position.key == key)?;
        Some(self.positions.remove(at))
    }

    pub(crate) fn remove_all(&mut self) -> Vec<Position<C, T>> {
        std::mem::take(&mut self.positions)
    }

    /// Removes the positions of slow connections. A connection is slow if its floor is below the highest floor of all
    /// connections. A slow connection keeps the log full, although another client could read on.
    pub(crate) fn remove_slow(&mut self) -> Vec<Position<C, T>> {
        let positions = self.positions.iter();
        let connected = positions.filter(|position| position.connection.is_some());
        let Some(best) = connected.map(Position::floor).max() else {
            return Vec::new();
        };
        let (slow, rest) = std::mem::take(&mut self.positions)
            .into_iter()
            .partition(|position| position.connection.is_some() && position.floor() < best);
        self.positions = rest;
        slow
    }
}

#[cfg(test)]
mod tests;
