//! The `Date` header of responses.

use std::{cell::RefCell, time::SystemTime};

use super::timers::Tick;
use crate::proto::http::write::DateLine;

thread_local! {
    /// The id of the server, the period and the line of the last `Date` that this thread formatted.
    static DATE: RefCell<(u32, u32, DateLine)> = const { RefCell::new((0, 0, DateLine::blank())) };
}

/// Returns the line of a `Date` header (RFC 9110 §6.6.1). Each thread caches the line, and formats it at most twice a
/// second. The cache key contains the id `server`, because ticks of different servers are not comparable.
#[inline]
pub(super) fn line(server: u32, now: Tick) -> DateLine {
    // A period is 5 ticks, half a second. So the line is at most half a second old.
    let period = now.0 / 5;
    DATE.with_borrow_mut(|(made_for, made, date)| {
        if (*made_for, *made) != (server, period) {
            (*made_for, *made, *date) = (server, period, format());
        }
        *date
    })
}

#[cold]
fn format() -> DateLine {
    DateLine::of(&httpdate::fmt_http_date(SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_date_of_one_server_is_not_that_of_another() {
        let date = |server| {
            let line = line(server, Tick(1));
            httpdate::parse_http_date(line.value().unwrap()).unwrap()
        };
        let first = date(1);
        let old = first - Duration::from_secs(60);
        DATE.with_borrow_mut(|kept| kept.2 = DateLine::of(&httpdate::fmt_http_date(old)));
        assert_eq!(date(1), old, "made once a period");
        assert!(date(2) >= first);
    }
}
