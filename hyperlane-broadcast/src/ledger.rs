//! Ledgers: the memory of messages, counted for each room and for all rooms together.

use std::sync::{
    Arc,
    atomic::{AtomicIsize, AtomicUsize, Ordering},
};

/// The counts of all rooms together.
#[derive(Default)]
pub(crate) struct Totals {
    /// Bytes of all histories.
    history: AtomicIsize,
    /// Bytes that wait for slow members: messages that are kept for them alone, and their outboxes.
    waiting: AtomicIsize,
    /// Number of shards for which a hub has work.
    busy: AtomicUsize,
}

/// The counts of one room.
pub(crate) struct Ledger {
    history: AtomicIsize,
    waiting: AtomicIsize,
    pub(crate) totals: Arc<Totals>,
}

/// Where a message is kept, and so which count it adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a queue, or nowhere any more.
    None = 0,
    /// In the history of its room.
    History = 1,
    /// Kept after its time in the history, because a slow member has not received it yet.
    Waiting = 2,
}

/// The size of a message and the place where it is kept, as one value: both change at the same time.
#[derive(Default)]
pub(crate) struct Kept(AtomicUsize);

impl Place {
    const fn of(value: usize) -> Self {
        match value & 3 {
            1 => Self::History,
            2 => Self::Waiting,
            _ => Self::None,
        }
    }
}

impl Kept {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes << 2))
    }

    /// Returns the size in bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed) >> 2
    }

    /// Adds to the size.
    pub(crate) fn grow(&self, bytes: usize, ledger: &Ledger) {
        let before = self.0.fetch_add(bytes << 2, Ordering::Relaxed);
        ledger.add(Place::of(before), signed(bytes));
    }

    /// Changes the place.
    pub(crate) fn move_to(&self, place: Place, ledger: &Ledger) {
        let update = |value: usize| Some((value & !3) | place as usize);
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .unwrap_or_else(|before| before);
        let bytes = signed(before >> 2);
        ledger.add(Place::of(before), -bytes);
        ledger.add(place, bytes);
    }
}

impl Ledger {
    pub(crate) fn new(totals: Arc<Totals>) -> Self {
        Self {
            history: AtomicIsize::new(0),
            waiting: AtomicIsize::new(0),
            totals,
        }
    }

    fn add(&self, place: Place, bytes: isize) {
        let (own, total) = match place {
            Place::None => return,
            Place::History => (&self.history, &self.totals.history),
            Place::Waiting => (&self.waiting, &self.totals.waiting),
        };
        own.fetch_add(bytes, Ordering::Relaxed);
        total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the size of the room's history, in bytes.
    pub(crate) fn history(&self) -> usize {
        unsigned(&self.history)
    }

    /// Returns the size of what waits for the room's slow members, in bytes.
    pub(crate) fn waiting(&self) -> usize {
        unsigned(&self.waiting)
    }

    /// Adds the outbox of a slow member to what waits.
    pub(crate) fn add_waiting(&self, bytes: usize) {
        self.add(Place::Waiting, signed(bytes));
    }

    /// Takes back what [`add_waiting`](Self::add_waiting) has added.
    pub(crate) fn sub_waiting(&self, bytes: usize) {
        self.add(Place::Waiting, -signed(bytes));
    }
}

impl Totals {
    /// Returns the size of all histories, in bytes.
    pub(crate) fn history(&self) -> usize {
        unsigned(&self.history)
    }

    /// Returns the size of what waits for slow members, in bytes.
    pub(crate) fn waiting(&self) -> usize {
        unsigned(&self.waiting)
    }

    /// Returns whether a hub has work.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) > 0
    }

    pub(crate) fn shard_began(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn shard_ended(&self) {
        self.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

/// Two threads that change a message at the same time may add to a count in another order than they have changed the
/// message. The count may then be negative for a moment.
fn unsigned(count: &AtomicIsize) -> usize {
    usize::try_from(count.load(Ordering::Relaxed)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_where_it_is_kept() {
        let ledger = Ledger::new(Arc::default());
        let kept = Kept::new(10);
        let counts = || (ledger.history(), ledger.waiting());
        assert_eq!(counts(), (0, 0));
        kept.grow(5, &ledger);
        assert_eq!((kept.bytes(), counts()), (15, (0, 0)));
        kept.move_to(Place::History, &ledger);
        kept.grow(5, &ledger);
        assert_eq!(counts(), (20, 0));
        kept.move_to(Place::Waiting, &ledger);
        kept.grow(1, &ledger);
        assert_eq!(counts(), (0, 21));
        assert_eq!((ledger.totals.history(), ledger.totals.waiting()), (0, 21));
        kept.move_to(Place::None, &ledger);
        assert_eq!((kept.bytes(), counts()), (21, (0, 0)));
    }

    #[test]
    fn counts_agree_after_changes_at_the_same_time() {
        let ledger = Ledger::new(Arc::default());
        let kept = Kept::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..1000).for_each(|_| kept.grow(1, &ledger)));
            scope.spawn(|| {
                for place in [Place::History, Place::Waiting, Place::None].repeat(300) {
                    kept.move_to(place, &ledger);
                }
            });
        });
        assert_eq!(kept.bytes(), 1001);
        assert_eq!((ledger.history(), ledger.waiting()), (0, 0));
    }
}
