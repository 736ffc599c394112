//! The pings of a connection's heartbeat, and the time until their pongs.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::acks::{self, Acks};
use crate::env::timers::Tick;

/// State of a connection's heartbeat: its pings, and the latency that the last pong has shown.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    /// Number of heartbeat pings so far. The payload of a ping begins with its number. The pong returns the payload
    /// (RFC 6455 §5.5.3), so the number identifies the pong to a heartbeat ping. Other pongs are unsolicited, or answer
    /// other pings: those of the program, and those that only ask for an acknowledgement.
    count: u32,
    /// The latency in microseconds plus one; 0 for none. Saturates at 71 minutes.
    latency: u32,
    /// Time at which the last heartbeat ping was sent, in microseconds plus one; 0 before the first ping, and after the
    /// pong to the last.
    sent: u64,
    /// The acknowledgements of a session's [channel](crate::channel), if the connection belongs to a channel. A
    /// heartbeat ping then also carries a stamp: the offset of the last message that was written before the ping.
    pub(super) acks: Option<Arc<Acks>>,
}

/// Returns the microseconds plus one.
fn micros(time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    micros.saturating_add(1)
}

impl Heartbeat {
    /// Returns the latency that the last answered ping has shown.
    pub(super) fn latency(&self) -> Option<Duration> {
        let micros = self.latency.checked_sub(1)?;
        Some(Duration::from_micros(u64::from(micros)))
    }

    /// Begins the next ping and returns its payload. `now` is the time since the server started.
    pub(super) fn ping(&mut self, now: Duration) -> Bytes {
        self.count = self.count.wrapping_add(1);
        self.sent = micros(now);
        match &self.acks {
            Some(acks) => acks::ping(u64::from(self.count), acks),
            None => Bytes::copy_from_slice(&u64::from(self.count).to_be_bytes()),
        }
    }

    /// Returns the tick at which the next acknowledgement ping is due, a ping that asks the client to acknowledge
    /// messages. Returns `None` if the connection has no channel, if all messages are acknowledged, or if an
    /// acknowledgement ping is pending.
    pub(super) fn ack_ping_due(&self) -> Option<Tick> {
        self.acks.as_ref()?.ping_due()
    }

    /// Handles a pong. Returns whether the pong acknowledges further messages of a channel. Calls `now` only for the
    /// first pong to the last heartbeat ping.
    pub(super) fn pong(&mut self, payload: &[u8], now: impl FnOnce() -> Duration) -> bool {
        if let Some(acks) = &self.acks {
            // Any pong ends the wait for the answer to an acknowledgement ping, even if the pong answers another ping.
            // A client may answer only the latest of several pings (RFC 6455 §5.5.3), and the latest may be a heartbeat
            // ping.
            acks.clear_pending_ping();
        }
        let (number, is_new) = match &self.acks {
            Some(acks) => match acks::pong(payload) {
                Some((number, stamp)) if number <= u64::from(self.count) => {
                    (number, acks.acknowledge(stamp))
                }
                _ => return false,
            },
            None => match payload.try_into() {
                Ok(number) => (u64::from_be_bytes(number), false),
                Err(_) => return false,
            },
        };
        if number == u64::from(self.count) && self.sent != 0 {
            let taken = micros(now()).saturating_sub(std::mem::take(&mut self.sent));
            self.latency = u32::try_from(taken).unwrap_or(u32::MAX).saturating_add(1);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_last_ping_is_measured() {
        let at = Duration::from_millis;
        let mut heartbeat = Heartbeat::default();
        heartbeat.pong(&0u64.to_be_bytes(), || at(1));
        assert_eq!(heartbeat.latency(), None, "nothing was asked");
        let first = heartbeat.ping(at(10));
        heartbeat.pong(b"", || at(11));
        heartbeat.pong(b"12345678", || at(11));
        assert_eq!(heartbeat.latency(), None, "not the payload of the ping");
        heartbeat.pong(&first, || at(17));
        assert_eq!(heartbeat.latency(), Some(Duration::from_millis(7)));
        heartbeat.pong(&first, || at(90));
        assert_eq!(heartbeat.latency(), Some(Duration::from_millis(7)), "twice");
        let second = heartbeat.ping(at(100));
        heartbeat.pong(&first, || at(101));
        assert_eq!(heartbeat.latency(), Some(Duration::from_millis(7)), "late");
        heartbeat.pong(&second, || at(103));
        assert_eq!(heartbeat.latency(), Some(Duration::from_millis(3)));
    }

    #[test]
    fn a_pong_brings_the_stamp_of_its_ping_back() {
        let now = Duration::ZERO;
        let acks = Acks::new();
        acks.begin(7);
        let mut heartbeat = Heartbeat {
            acks: Some(acks.clone()),
            ..Heartbeat::default()
        };
        let ping = heartbeat.ping(now);
        assert_eq!(ping.len(), 16);
        assert!(!heartbeat.pong(&ping, || now), "nothing new");
        assert!(!heartbeat.pong(b"12345678", || now) && !heartbeat.pong(b"", || now));
        let mut forged = ping.to_vec();
        forged[15] = 99;
        assert!(!heartbeat.pong(&forged, || now), "never written");
        forged[0] = 1;
        assert!(!heartbeat.pong(&forged, || now), "never asked");
        assert_eq!(heartbeat.latency(), Some(Duration::ZERO));
        assert!(!acks.take_change());
    }
}
