//! A record of logged events. The record stops a client from filling the log by repeating an event.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::timers::Tick;

/// Maximum number of different events that are logged within a [`PERIOD`].
const MOST: usize = 64;

/// The time after which the record is cleared. The server then logs repeated and new events again.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// The events logged in the current period. The server logs an event once per hour, and at most 64 different events per
/// hour.
#[derive(Default)]
pub(crate) struct Logged {
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The hashes of the events. The text of an event may come from a client and be long, so only the hash is kept.
    hashes: Vec<u64>,
    until: Tick,
}

impl Logged {
    /// Returns whether the event `thing` should be logged now. If so, records the event.
    pub(crate) fn is_due(&self, now: Tick, thing: impl Hash) -> bool {
        let hash = self.hasher.hash_one(thing);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= seen.until {
            seen.hashes.clear();
            seen.until = now.after(PERIOD);
        }
        let is_due = seen.hashes.len() < MOST && !seen.hashes.contains(&hash);
        if is_due {
            seen.hashes.push(hash);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_logged_once_in_a_while_and_only_so_many() {
        let logged = Logged::default();
        let start = Tick(7);
        assert!(logged.is_due(start, "a"));
        assert!(!logged.is_due(start, "a"));
        let more = (0..1000).filter(|number| logged.is_due(start, number));
        assert_eq!(more.count(), MOST - 1);
        let later = start.after(PERIOD);
        assert!(!logged.is_due(Tick(later.0 - 1), "b"));
        assert!(logged.is_due(later, "b"));
        assert!(logged.is_due(later, "a"), "it goes on");
    }
}
