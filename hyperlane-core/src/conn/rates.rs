//! Rate limits on the messages and control frames of a client.

use crate::{
    config::ServerConfig,
    env::timers::{MaybeTick, TICK, Tick},
    proto::ws::{Incoming, ProtocolError},
};

/// Number of ticks per second. Also the number of units that one token has in [`Bucket::taken`].
const TICKS: i64 = (1000 / TICK.as_millis()) as i64;

/// A token bucket. Each control frame or message takes a token. A full bucket holds the tokens of one second. The
/// bucket refills at the rate of the limit.
///
/// The bucket measures time in the ticks of the server's clock. Further frames within one tick need no refill.
///
/// The number of tokens is an `i64` in two halves, because an `i64` would take the space of the next four bytes as well.
#[derive(Debug, Default)]
struct Bucket {
    /// Number of tokens taken, times [`TICKS`]. Negative while the client has a credit for a pause.
    taken: [u32; 2],
    at: Tick,
}

impl Bucket {
    fn taken(&self) -> i64 {
        let [high, low] = self.taken;
        (u64::from(high) << 32 | u64::from(low)).cast_signed()
    }

    fn set_taken(&mut self, taken: i64) {
        let taken = taken.cast_unsigned();
        self.taken = [(taken >> 32) as u32, taken as u32];
    }

    /// Takes a token. Returns false if no token was left. `taken` then counts the missing token, too.
    #[inline]
    fn take(&mut self, now: Tick, per_second: u32) -> bool {
        if now > self.at {
            self.refill(now, per_second, 0);
        }
        let taken = self.taken() + TICKS;
        self.set_taken(taken);
        taken <= i64::from(per_second) * TICKS
    }

    /// Adds the tokens for the time since the last call: reduces `taken` by them, but not below `least`. A `taken` that
    /// is already below `least` stays as it is.
    fn refill(&mut self, now: Tick, per_second: u32, least: i64) {
        let ticks = i64::from(now.0.saturating_sub(self.at.0));
        let taken = self.taken();
        self.set_taken((taken - ticks * i64::from(per_second)).max(least.min(taken)));
        self.at = now;
    }
}

/// The rate limits of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct Rates {
    messages: Bucket,
    controls: Bucket,
    /// The tick since which reading is paused. Frames that the client sends during the pause arrive all at once when
    /// reading continues.
    paused: MaybeTick,
}

impl Rates {
    /// Records that reading pauses. The client gets a credit for the time of the pause.
    pub(super) fn pause(&mut self, now: Tick) {
        self.paused.set_first(now);
    }

    /// Counts a message that came in, unless reading was paused before. Returns false if the message was not counted, or
    /// is one too many. The caller then calls [`count`](Self::count), which finds the same.
    #[inline]
    pub(super) fn count_message(&mut self, now: Tick, per_second: u32) -> bool {
        self.paused.is_none() && self.messages.take(now, per_second)
    }

    /// Counts a control frame or message that came in. A solicited pong, which answers a ping of the server, does not
    /// count.
    pub(super) fn count(
        &mut self,
        event: &Incoming,
        is_solicited: bool,
        now: Tick,
        config: &ServerConfig,
    ) -> Result<(), ProtocolError> {
        let messages = config.max_messages_per_second;
        let controls = config.max_control_frames_per_second;
        if let Some(since) = self.paused.take() {
            for (bucket, rate) in [
                (&mut self.messages, messages),
                (&mut self.controls, controls),
            ] {
                // The time before the pause fills a bucket up to its capacity. The time of the pause adds tokens
                // without this limit.
                bucket.refill(since, rate, 0);
                bucket.refill(now, rate, i64::MIN);
            }
        }
        match event {
            // A Close is the last frame, so it needs no limit.
            Incoming::Close(_) => Ok(()),
            Incoming::Pong(_) if is_solicited => Ok(()),
            Incoming::Ping(_) | Incoming::Pong(_) if self.controls.take(now, controls) => Ok(()),
            Incoming::Ping(_) | Incoming::Pong(_) => {
                Err(ProtocolError::TooManyControlFrames { limit: controls })
            }
            _ if self.messages.take(now, messages) => Ok(()),
            _ => Err(ProtocolError::TooManyMessages { limit: messages }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all tokens; returns their number.
    fn taken(bucket: &mut Bucket, now: u32, per_second: u32) -> u32 {
        let mut count = 0;
        while bucket.take(Tick(now), per_second) {
            count += 1;
        }
        // The last call took a token that did not exist. This line puts the token back.
        bucket.set_taken(bucket.taken() - TICKS);
        count
    }

    #[test]
    fn a_second_is_free_at_once_and_then_comes_the_rate() {
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, 100, 50), 50);
        assert_eq!(taken(&mut bucket, 100, 50), 0);
        assert_eq!(taken(&mut bucket, 101, 50), 5);
        assert_eq!(taken(&mut bucket, 105, 50), 20);
        assert_eq!(taken(&mut bucket, 10_000, 50), 50, "no more after quiet");
    }

    #[test]
    fn rates_below_one_a_tick_are_exact() {
        let mut bucket = Bucket::default();
        let mut count = taken(&mut bucket, 1, 3);
        assert_eq!(count, 3);
        for now in 2..=1001 {
            count += taken(&mut bucket, now, 3);
        }
        assert_eq!(count, 3 + 300);
    }

    #[test]
    fn only_the_time_of_the_pause_is_given_back() {
        let config = ServerConfig::default().max_control_frames_per_second(10);
        let mut rates = Rates::default();
        let ping = Incoming::Ping(bytes::Bytes::new());
        // The server has run for long, and the client has sent nothing so far.
        rates.pause(Tick(100_000));
        rates.pause(Tick(100_010));
        let mut count = 0;
        while rates.count(&ping, false, Tick(100_020), &config).is_ok() {
            count += 1;
        }
        assert_eq!(count, 10 + 20, "a full bucket, and two seconds of pause");
    }

    #[test]
    fn time_that_we_did_not_read_is_given_back_once() {
        let config = ServerConfig::default().max_messages_per_second(10);
        let mut rates = Rates::default();
        let event = Incoming::Binary(bytes::Bytes::new());
        let count = |rates: &mut Rates, now| {
            let mut count = 0;
            while rates.count(&event, false, Tick(now), &config).is_ok() {
                count += 1;
            }
            rates.messages.set_taken(rates.messages.taken() - TICKS);
            count
        };
        assert_eq!(count(&mut rates, 1000), 10);
        rates.pause(Tick(1000));
        assert_eq!(count(&mut rates, 1300), 300, "thirty seconds of pause");
        assert_eq!(count(&mut rates, 1400), 10);
    }
}
