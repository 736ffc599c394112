//! Positions of a channel's clients: the rules of buffering, delivery and resumption, without clock and sockets.

use super::log::{Item, Limits, Log, ResumeId};
use crate::error::PushError;

/// A connection that a channel writes messages to.
pub(crate) trait Connection {
    /// Writes a message without waiting.
    fn write(&self, id: ResumeId, item: &Item) -> Result<(), PushError>;

    /// The highest offset that the client has acknowledged; 0 for none, and for a client that never acknowledges.
    fn acknowledged(&self) -> u64;

    /// Tells whether reading from the client is paused, so that no acknowledgement can come.
    fn is_paused(&self) -> bool;

    /// Requests an acknowledgement; not again before the client answers.
    fn request_ack(&self);

    /// Requests an acknowledgement, as [`request_ack`](Self::request_ack) does, at once or a moment later: this limits the rate of
    /// requests.
    fn request_ack_soon(&self);

    /// The number of the request, higher for later requests.
    fn number(&self) -> u64;
}

/// How a client acknowledges messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By the id of its last event, when it comes back.
    Events,
    /// By pongs alone.
    Plain,
    /// By pongs, and by the id that it has counted up to, when it comes back.
    Counted,
}

/// Names one of a session's tabs; chosen by the client.
pub(crate) type Tab = u64;

/// The position of one tab in the channel.
pub(crate) struct Position<C, T> {
    pub(crate) key: u64,
    kind: Kind,
    tab: Option<Tab>,
    /// Offset of the next message to write.
    next: u64,
    acknowledged: u64,
    /// The connection; `None` while the position waits for one.
    connection: Option<C>,
    /// Ends the waiting.
    pub(crate) timer: Option<T>,
    /// A task writes to the connection as it has room.
    pub(crate) has_pump: bool,
}

impl<C: Connection, T> Position<C, T> {
    /// The first message that the channel must keep for this position. While reading is paused no acknowledgement can
    /// come, and written messages count as arrived: a program that does not receive may still send.
    fn floor(&self) -> u64 {
        match &self.connection {
            Some(connection) if connection.is_paused() => self.next,
            _ => self.first_unacknowledged(),
        }
    }

    /// The first message that may not have arrived. An event stream acknowledges nothing, so written messages count as
    /// arrived; the history has those that were lost.
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

/// Claim of a new connection to a position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) kind: Kind,
    /// The id to resume from; an error is a text that is not an id.
    pub(crate) from: Option<Result<ResumeId, super::log::NotAnId>>,
    pub(crate) tab: Option<Tab>,
    /// The number of the request.
    pub(crate) number: u64,
}

/// The start of a new connection.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) key: u64,
    /// The next message: the client has all before it, or is reset.
    pub(crate) next: u64,
    /// Missed messages are gone.
    pub(crate) is_reset: bool,
}

/// A page that is being loaded. It gets the messages of its own request, even if other pages are connected.
struct Page<T> {
    key: u64,
    /// Offset of its first message.
    from: u64,
    /// Ends the waiting.
    _timer: Option<T>,
}

/// Limit of pages that load at the same time. Further pages begin with messages after their connection.
const MAX_PAGES: usize = 8;

/// Limit of positions without a connection, so that a client that connects and leaves in a loop uses bounded memory.
const MAX_WAITING: usize = 64;

/// Messages that are kept for plain clients that are away while others read on, as a multiple of the buffer's bytes.
/// The factor is large because such a client is reset beyond it. Messages are not counted, since small ones may come
/// by the thousand.
const AWAY_FACTOR: usize = 32;

/// Messages and positions of a channel. `C` is a connection, `T` a timer.
pub(crate) struct ChannelState<C, T> {
    pub(crate) log: Log,
    /// The first message that no connection took.
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

    /// The number of messages that no connection took.
    pub(crate) fn undelivered(&self) -> u64 {
        self.log.end().saturating_sub(self.first_undelivered)
    }

    pub(crate) fn has_positions(&self) -> bool {
        !self.positions.is_empty()
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &C> {
        self.positions.iter().filter_map(Position::connection)
    }

    pub(crate) fn position(&mut self, key: u64) -> Option<&mut Position<C, T>> {
        self.positions
            .iter_mut()
            .find(|position| position.key == key)
    }

    /// The first message that the channel must keep. Positions without a connection count only if none has a
    /// connection, and only while their messages are kept: later they are reset.
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

    /// Expects a page that is being loaded and gets all messages from here on. `timer` gets a key and ends the
    /// waiting.
    pub(crate) fn expect_page(&mut self, timer: impl FnOnce(u64) -> Option<T>) {
        if self.pages.len() < MAX_PAGES {
            let key = self.next_key;
            self.next_key += 1;
            self.pages.push(Page {
                key,
                from: self.log.end(),
                _timer: timer(key),
            });
        }
    }

    pub(crate) fn forget_page(&mut self, key: u64) {
        self.pages.retain(|page| page.key != key);
        if self.pages.is_empty() {
            self.pages = Vec::new();
        }
    }

    /// Takes the page that was expected first, and returns the offset of its first message.
    fn take_page(&mut self) -> Option<u64> {
        let Page { key, from, .. } = self.pages.first()?;
        let (key, from) = (*key, *from);
        self.forget_page(key);
        Some(from).filter(|from| self.log.has_from(*from))
    }

    /// Takes a message if there is room, and writes it to all connections. Returns the message if there is no room.
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

    /// Tells whether there is room for a short message.
    pub(crate) fn has_room(&self, limits: Limits) -> bool {
        let short = Item::Event {
            fields: bytes::Bytes::new(),
            has_data: false,
        };
        self.log.has_room(self.floor(), &short, limits)
    }

    /// Drops messages that no client needs: acknowledged ones if all clients acknowledge by pongs alone, otherwise
    /// those beyond the limits of the history.
    pub(crate) fn trim_log(&mut self, limits: Limits) {
        let floor = self.floor();
        // While reading is paused, plain clients need the history as well.
        let all_plain = self.positions.iter().all(|position| {
            let is_paused = position.connection().is_some_and(Connection::is_paused);
            position.kind == Kind::Plain && !is_paused && self.log.has_from(position.floor())
        });
        match self.positions.iter().map(Position::floor).min() {
            Some(least) if all_plain && self.pages.is_empty() => {
                self.log.forget_before(least.min(floor));
                // Bounds the messages for clients that are away while another reads on.
                let away = Limits {
                    messages: usize::MAX,
                    bytes: limits.bytes.saturating_mul(AWAY_FACTOR),
                };
                self.log.trim(floor, away);
            }
            _ => self.log.trim(floor, limits),
        }
    }

    /// Writes the remaining messages to one position; false if its connection has no more room.
    pub(crate) fn catch_up(&mut self, key: u64) -> bool {
        match self
            .positions
            .iter()
            .position(|position| position.key == key)
        {
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
                // The connection is closing and detaches soon.
                Err(_) => return true,
            }
        }
        // Plain clients acknowledge by pongs alone. Others count for themselves.
        if position.kind == Kind::Plain {
            connection.request_ack_soon();
        }
        has_all
    }

    /// Takes a connected position that is behind and has no pump, and marks it as pumped.
    pub(crate) fn take_behind(&mut self) -> Option<u64> {
        let end = self.log.end();
        let position = self.positions.iter_mut().find(|position| {
            position.connection.is_some() && position.next < end && !position.has_pump
        })?;
        position.has_pump = true;
        Some(position.key)
    }

    /// Tells whether a later connection of the same tab is already attached.
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

    /// Attaches a new connection and finds its start. Nothing is written before [`catch_up`](Self::catch_up).
    /// The caller closes the returned positions: the same tab's earlier connection, and connections that are reset.
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
            left.push(self.positions.swap_remove(at));
        }
        if is_reset && claim.kind == Kind::Plain && claim.tab.is_none() {
            // The connection that caused the reset may be the client's own, cut without our knowledge. It would cause
            // a reset of every later one as well. If it lives, its client has to be reset too.
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
        // Most sessions have one tab.
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

    /// Finds the offset at which a client without an id resumes, if it was here before. A client that names its tab
    /// resumes at that tab's position. A plain client without a name may be any of those: it resumes at the lowest
    /// offset of them. Positions that seem connected count as well, since the client may know of a cut before we do.
    fn resume_without_id(&self, claim: Claim) -> Option<u64> {
        let is_meant = |position: &&Position<C, T>| match claim.tab {
            Some(tab) => position.tab == Some(tab),
            None => {
                claim.kind == Kind::Plain && position.kind == Kind::Plain && position.tab.is_none()
            }
        };
        let meant = self.positions.iter().filter(is_meant);
        let got = meant.map(|position| match position.kind {
            // The id comes with the first event: a client without an id has received nothing.
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

    /// Finds the position that a connection replaces. Of those that wait it is the furthest: later connections still
    /// find the one that is least far, so that no client misses a message.
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
            // Without an id it is another tab, or a page that was reloaded: it replaces no position.
            (_, None) => None,
            // The position was written at least up to the client's id.
            (kind, Some(_)) => self
                .waiting(kind)
                .filter(|(_, position)| position.next >= next)
                .max_by_key(|(_, position)| position.next)
                .map(|(at, _)| at)
                .or_else(|| furthest(kind)),
        }
    }

    /// Removes the connection of a position, which then waits for the next one. False if another connection has
    /// replaced the position.
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

    /// Removes a position if too many wait. Positions with ids go first, since the ids replace them. Of plain ones
    /// without a name the furthest goes, so that a client that comes back still finds the one that is least far.
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
            self.positions.swap_remove(at);
        }
    }

    /// Removes a position to which no client will come back.
    pub(crate) fn remove(&mut self, key: u64) -> Option<Position<C, T>> {
        let at = self
            .positions
            .iter()
            .position(|position| position.key == key)?;
        Some(self.positions.swap_remove(at))
    }

    pub(crate) fn remove_all(&mut self) -> Vec<Position<C, T>> {
        std::mem::take(&mut self.positions)
    }

    /// Removes slow connections: those that keep the log full while another connection is further.
    pub(crate) fn remove_slow(&mut self) -> Vec<Position<C, T>> {
        let connected = self
            .positions
            .iter()
            .filter(|position| position.connection.is_some());
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
