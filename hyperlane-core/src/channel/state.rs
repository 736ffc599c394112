//! Who reads a channel, and how far: the rules of buffering, delivery and resumption, without clock and sockets.

use super::log::{Item, Limits, Log, ResumeId};
use crate::error::PushError;

/// One end that messages can be written to.
pub(crate) trait Connection {
    /// Writes a message without waiting.
    fn write(&self, id: ResumeId, item: &Item) -> Result<(), PushError>;

    /// The highest offset that the client is known to have; 0 for none, and where it never says.
    fn acknowledged(&self) -> u64;

    /// Whether nothing is read from the client for now, so that no acknowledgement can come.
    fn is_paused(&self) -> bool;

    /// Asks the client how far it is; once until it answers.
    fn ask(&self);

    /// As [`ask`](Self::ask), at once or a moment later: not more often than a client should be bothered.
    fn request_ack_soon(&self);

    /// Those whose request came later have higher numbers.
    fn number(&self) -> u64;
}

/// How a client tells how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By the id of the last event, when it comes back.
    Events,
    /// By pongs alone.
    Plain,
    /// By pongs, and by the id it has counted up to, when it comes back.
    Counted,
}

/// Which of a session's tabs a position is; told by the client itself.
pub(crate) type Tab = u64;

/// How far one tab is.
pub(crate) struct Position<C, T> {
    pub(crate) key: u64,
    kind: Kind,
    tab: Option<Tab>,
    /// The next message to write to it.
    next: u64,
    acknowledged: u64,
    /// The connection; none while it waits for one.
    connection: Option<C>,
    /// What ends the waiting.
    pub(crate) timer: Option<T>,
    /// Somebody writes on as the connection takes more.
    pub(crate) has_pump: bool,
}

impl<C: Connection, T> Position<C, T> {
    /// The first message that must stay for it. While nothing is read from it, so that it cannot say what has arrived,
    /// what was written counts as that: a program that does not receive may still send.
    fn floor(&self) -> u64 {
        match &self.connection {
            Some(connection) if connection.is_paused() => self.next,
            _ => self.got(),
        }
    }

    /// The first message that may not have arrived. An event stream says nothing: what was written counts, and what
    /// was written and lost is found in the history.
    fn got(&self) -> u64 {
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

/// What a new connection says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) kind: Kind,
    /// The place it wants to go on from; an error is an id that never was one.
    pub(crate) from: Option<Result<ResumeId, super::log::NotAnId>>,
    pub(crate) tab: Option<Tab>,
    /// The number of the request.
    pub(crate) number: u64,
}

/// Where a new connection begins.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) key: u64,
    /// It has all before this one, or must forget about it.
    pub(crate) next: u64,
    /// What it missed is not there any more.
    pub(crate) is_reset: bool,
}

/// A page that is being loaded: what its own request sends is for it, whoever else is there.
struct Page<T> {
    key: u64,
    /// It wants all from this message on.
    from: u64,
    /// What ends the waiting.
    _timer: Option<T>,
}

/// Pages that are loaded at the same time; for more, what comes after they connect.
const MAX_PAGES: usize = 8;

/// Places that wait for their clients: a client that connects and goes, again and again, takes no more than these.
const MAX_WAITING: usize = 64;

/// What is kept for plain ones that are away while another reads on, as a multiple of the buffer's bytes: they are reset for
/// what is gone, so that it is a good deal. It is not in messages, since small ones may come by the thousand.
const AWAY_FACTOR: usize = 32;

/// The channel's messages and positions. `C` is a connection, `T` a timer.
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

    /// How many messages no connection took.
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

    /// The first message that must stay for somebody. Those who wait for a connection count only while nobody has one, and
    /// as long as what they missed is there: else they are reset.
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

    /// A page is being loaded that will want all from here on. What it is given a key for ends the waiting.
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

    /// From where a connection without an id goes on: the page that was asked for first, if it is that.
    fn take_page(&mut self) -> Option<u64> {
        let Page { key, from, .. } = self.pages.first()?;
        let (key, from) = (*key, *from);
        self.forget_page(key);
        Some(from).filter(|from| self.log.has_from(*from))
    }

    /// Takes a message, if there is room, and writes it to all connections. Gives the message back where there is none.
    pub(crate) fn send(&mut self, item: Item, limits: Limits) -> Result<(), Item> {
        let floor = self.floor();
        if !self.log.has_room(floor, &item, limits) {
            self.connections().for_each(Connection::ask);
            return Err(item);
        }
        self.log.push(item);
        for at in 0..self.positions.len() {
            self.write_on(at);
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
                connection.ask();
            }
        }
        Ok(())
    }

    /// Whether a short message would be taken.
    pub(crate) fn has_room(&self, limits: Limits) -> bool {
        let short = Item::Event {
            fields: bytes::Bytes::new(),
            has_data: false,
        };
        self.log.has_room(self.floor(), &short, limits)
    }

    /// Drops what nobody comes back for: what pongs have acknowledged where there is nothing but pongs, and else what is
    /// beyond the limits of a history.
    pub(crate) fn trim_log(&mut self, limits: Limits) {
        let floor = self.floor();
        // Without pongs, the history is all that a plain one has as well.
        let all_plain = self.positions.iter().all(|position| {
            let is_paused = position.connection().is_some_and(Connection::is_paused);
            position.kind == Kind::Plain && !is_paused && self.log.has_from(position.floor())
        });
        match self.positions.iter().map(Position::floor).min() {
            Some(least) if all_plain && self.pages.is_empty() => {
                self.log.forget_before(least.min(floor));
                // One that is away while another reads on.
                let away = Limits {
                    messages: usize::MAX,
                    bytes: limits.bytes.saturating_mul(AWAY_FACTOR),
                };
                self.log.trim(floor, away);
            }
            _ => self.log.trim(floor, limits),
        }
    }

    /// Writes to one position what it has not got; false when its connection takes no more for now.
    pub(crate) fn write_on_key(&mut self, key: u64) -> bool {
        match self
            .positions
            .iter()
            .position(|position| position.key == key)
        {
            Some(at) => self.write_on(at),
            None => true,
        }
    }

    fn write_on(&mut self, at: usize) -> bool {
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
                // Its end is being told at this moment.
                Err(_) => return true,
            }
        }
        // What a plain client has got is known by pongs alone. Others count for themselves.
        if position.kind == Kind::Plain {
            connection.request_ack_soon();
        }
        has_all
    }

    /// Positions that are behind although they are connected, and that nobody writes on for.
    pub(crate) fn take_behind(&mut self) -> Option<u64> {
        let end = self.log.end();
        let position = self.positions.iter_mut().find(|position| {
            position.connection.is_some() && position.next < end && !position.has_pump
        })?;
        position.has_pump = true;
        Some(position.key)
    }

    /// Whether a later connection of the same tab is there already: the one that claims was overtaken on its way.
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

    /// Finds where a new connection begins, and crosses out whom it takes up. Nothing is written before
    /// [`write_on_key`](Self::write_on_key). What is given back is to be closed: the same tab's earlier connection.
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
            // A connection on whose account it was reset may be its own, cut without our knowledge. It would have every
            // later one reset as well; and if it lives, its client has to be told the same.
            let log = &self.log;
            let (holed, rest) = std::mem::take(&mut self.positions)
                .into_iter()
                .partition::<Vec<_>, _>(|position| {
                    let is_meant = position.kind == Kind::Plain && position.tab.is_none();
                    is_meant && position.connection.is_some() && !log.has_from(position.got())
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

    /// From where a client goes on that has no id, if it was here before. One that names its tab goes on there. A plain one
    /// without a name may be any: it goes on from the least that one of them has. Those that seem to be connected count as
    /// well, as the client may know of a cut before we do.
    fn resume_without_id(&self, claim: Claim) -> Option<u64> {
        let is_meant = |position: &&Position<C, T>| match claim.tab {
            Some(tab) => position.tab == Some(tab),
            None => {
                claim.kind == Kind::Plain && position.kind == Kind::Plain && position.tab.is_none()
            }
        };
        let meant = self.positions.iter().filter(is_meant);
        let got = meant.map(|position| match position.kind {
            // Who was to get an id with the first event and has none got nothing.
            Kind::Events => position.acknowledged + 1,
            _ => position.got(),
        });
        got.min()
    }

    fn waiting(&self, kind: Kind) -> impl Iterator<Item = (usize, &Position<C, T>)> {
        let positions = self.positions.iter().enumerate();
        positions.filter(move |(_, position)| {
            position.connection.is_none() && position.kind == kind && position.tab.is_none()
        })
    }

    /// Which position a connection takes the place of. Of those that wait it is the one that is furthest: whoever comes
    /// later still finds the one that is least far, so that nobody misses anything.
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
                .max_by_key(|(_, position)| position.got())
                .map(|(at, _)| at),
            // Without an id it is another tab, or a page that was loaded anew: nobody's place.
            (_, None) => None,
            // It was written up to its id at least, so it is one of those.
            (kind, Some(_)) => self
                .waiting(kind)
                .filter(|(_, position)| position.next >= next)
                .max_by_key(|(_, position)| position.next)
                .map(|(at, _)| at)
                .or_else(|| furthest(kind)),
        }
    }

    /// A connection is over; its position waits for the next one. False if somebody has taken its place.
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

    /// Gives up a place where too many wait. Those go first that their clients' ids make up for; of plain ones without a
    /// name the furthest, so that whoever comes back still finds the one that is least far.
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

    /// Nobody will come back to this place.
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

    /// Takes out those connections that hold the others up: who keeps the log full while another has got more.
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
