//! The `Date` header of responses.

use std::{cell::Cell, time::SystemTime};

use super::timers::Tick;
use crate::proto::http::write::{self, DATE_LINE};

thread_local! {
    /// The id of the server, the period and the line of the last `Date` that this thread formatted.
    static DATE: Cell<(u32, u32, [u8; DATE_LINE])> = const { Cell::new((0, 0, [0; DATE_LINE])) };
}

/// Returns the value of a `Date` header (RFC 9110 §6.6.1). Each thread caches the value, and formats it at most twice a
/// second. The cache key contains the id `server`, because ticks of different servers are not comparable.
pub(super) fn date_line(server: u32, now: Tick) -> [u8; DATE_LINE] {
    let (made_for, made, date) = DATE.get();
    // A period is 5 ticks, half a second. So the line is at most half a second old.
    let period = now.0 / 5;
    if (made_for, made) == (server, period) {
        return date;
    }
    let date = write::date_line(&httpdate::fmt_http_date(SystemTime::now()));
    DATE.set((server, period, date));
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_one_server_is_not_that_of_another() {
        let now = Tick(1);
        let first = date_line(1, now);
        let value = write::date_value(&first).unwrap();
        assert!(httpdate::parse_http_date(value).is_ok());
        let (id, period, _) = DATE.get();
        DATE.set((id, period, [b'x'; DATE_LINE]));
        assert_eq!(date_line(1, now), [b'x'; DATE_LINE], "made once a period");
        assert_ne!(date_line(2, now), [b'x'; DATE_LINE]);
    }
}
