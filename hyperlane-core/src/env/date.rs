//! The value of the `Date` header of responses.

use std::{cell::Cell, time::SystemTime};

use super::timers::Tick;

/// Length of an IMF-fixdate (RFC 9110 §5.6.7).
pub(crate) const DATE_LENGTH: usize = 29;

thread_local! {
    /// The id of the server, the period and the text of the last `Date` that this thread formatted.
    static DATE: Cell<(u32, u32, [u8; DATE_LENGTH])> = const { Cell::new((0, 0, [0; DATE_LENGTH])) };
}

/// Returns the value of a `Date` header (RFC 9110 §6.6.1). Each thread caches the value, and formats it at most twice a
/// second. The cache key contains the id `server`, because ticks of different servers are not comparable.
pub(super) fn date(server: u32, now: Tick) -> [u8; DATE_LENGTH] {
    let (made_for, made, date) = DATE.get();
    // A period is 5 ticks, half a second. So the value is at most half a second old.
    let period = now.0 / 5;
    if (made_for, made) == (server, period) {
        return date;
    }
    let text = httpdate::fmt_http_date(SystemTime::now());
    let mut date = [b' '; DATE_LENGTH];
    for (slot, byte) in date.iter_mut().zip(text.bytes()) {
        *slot = byte;
    }
    DATE.set((server, period, date));
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_one_server_is_not_that_of_another() {
        let now = Tick(1);
        let first = date(1, now);
        assert!(httpdate::parse_http_date(std::str::from_utf8(&first).unwrap()).is_ok());
        let (id, period, _) = DATE.get();
        DATE.set((id, period, [b'x'; DATE_LENGTH]));
        assert_eq!(date(1, now), [b'x'; DATE_LENGTH], "made once a period");
        assert_ne!(date(2, now), [b'x'; DATE_LENGTH]);
    }
}
