//! What has been logged, so that no client can fill the log by doing the same again.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::timers::Tick;

/// How many different things are logged within a [`PERIOD`].
const MOST: usize = 64;

/// After so long all is forgotten, so that what goes on is seen again, and what is new is seen at all.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// Things that were logged: each once in an hour, and 64 different ones at most.
#[derive(Default)]
pub(crate) struct Logged {
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Hashes: what clients say may be long.
    hashes: Vec<u64>,
    until: Tick,
}

impl Logged {
    /// Whether this is to be logged now.
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
