//! The rate limit for accepting connections.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The size of the allowed burst, as a time. A burst has as many connections as the full rate allows in this time. The
/// time is longer than the resolution of timers. After a timer that fires late, a burst therefore makes up for the lost
/// time, and the rate stays the same.
const BURST: Duration = Duration::from_millis(100);

/// Limits the rate of connections per second, with a burst of [`BURST`].
pub(crate) struct Pace {
    /// The time from one connection to the next at the full rate.
    each: Duration,
    /// The moment at which the next connection would be allowed if there were no burst. With the burst, the connection
    /// is allowed [`BURST`] earlier.
    until: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            each: Duration::from_secs(1) / per_second.max(1),
            until: Mutex::new(Instant::now()),
        }
    }

    /// Counts an accepted connection. Returns the earliest moment for the next one. Returns `None` if the next one may
    /// follow at once.
    pub(crate) fn count(&self) -> Option<Instant> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<Instant> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(now) + self.each;
        let next = until.checked_sub(BURST)?;
        (next > now).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_a_second_is_free_at_once_and_then_comes_the_rate() {
        let pace = Pace::new(100);
        let start = Instant::now();
        let mut now = start;
        let mut free = 0;
        while pace.count_at(now).is_none() {
            free += 1;
        }
        assert_eq!(free, 10);
        now = start + BURST / 10;
        for _ in 0..100 {
            now = pace.count_at(now).expect("no more at once");
        }
        assert_eq!((now - start).as_millis(), 1010);
        // Idle time does not increase the burst.
        now += Duration::from_secs(60);
        free = 0;
        while pace.count_at(now).is_none() {
            free += 1;
        }
        assert_eq!(free, 10);
    }

    #[test]
    fn every_rate_goes_on() {
        for per_second in [1, u32::MAX] {
            let pace = Pace::new(per_second);
            let mut now = Instant::now();
            for _ in 0..100 {
                now = pace.count_at(now).unwrap_or(now);
            }
        }
    }
}
