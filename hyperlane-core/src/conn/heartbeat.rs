//! The pings that a connection sends by itself, and how long their answers take.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// What is known of the last ping.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    /// Pings so far; the payload of each is its number, so that a pong which nobody asked for, or one
    /// to a ping of the program, is not taken for its answer (RFC 6455 §5.5.3).
    count: u64,
    /// When the last one was sent, until it is answered.
    sent: Option<Instant>,
    pub(super) latency: Option<Duration>,
}

impl Heartbeat {
    /// Starts the next ping and gives its payload.
    pub(super) fn ping(&mut self, now: Instant) -> Bytes {
        self.count += 1;
        self.sent = Some(now);
        Bytes::copy_from_slice(&self.count.to_be_bytes())
    }

    /// Notes a pong; `now` is asked only if it answers the last ping.
    pub(super) fn pong(&mut self, payload: &[u8], now: impl FnOnce() -> Instant) {
        if payload == self.count.to_be_bytes()
            && let Some(sent) = self.sent.take()
        {
            self.latency = Some(now().duration_since(sent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_last_ping_is_measured() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut heartbeat = Heartbeat::default();
        heartbeat.pong(&0u64.to_be_bytes(), || at(1));
        assert_eq!(heartbeat.latency, None, "nothing was asked");
        let first = heartbeat.ping(at(10));
        heartbeat.pong(b"", || at(11));
        heartbeat.pong(b"12345678", || at(11));
        assert_eq!(heartbeat.latency, None, "not the payload of the ping");
        heartbeat.pong(&first, || at(17));
        assert_eq!(heartbeat.latency, Some(Duration::from_millis(7)));
        heartbeat.pong(&first, || at(90));
        assert_eq!(heartbeat.latency, Some(Duration::from_millis(7)), "twice");
        let second = heartbeat.ping(at(100));
        heartbeat.pong(&first, || at(101));
        assert_eq!(heartbeat.latency, Some(Duration::from_millis(7)), "late");
        heartbeat.pong(&second, || at(103));
        assert_eq!(heartbeat.latency, Some(Duration::from_millis(3)));
    }
}
