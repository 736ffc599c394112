//! Acknowledgements: the pings and pongs of a WebSocket show which messages of a channel have arrived.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::env::timers::Tick;

/// The offsets that a WebSocket's client has received. A ping carries the offset of the last message written before it,
/// and its pong returns that offset (RFC 6455 §5.5.3).
#[derive(Debug, Default)]
pub(crate) struct Acks {
    written: AtomicU64,
    acknowledged: AtomicU64,
    /// A ping of the channel has no answer yet.
    ping_pending: AtomicBool,
    /// The tick of the channel's last ping.
    last_ping: AtomicU32,
    /// Reading is paused because the inbox is full, so no pong is read.
    paused: AtomicBool,
    /// The channel has not yet handled a change.
    changed: AtomicBool,
}

/// Ticks between two pings that are sent for an acknowledgement alone.
const PING_INTERVAL: u32 = 3;

impl Acks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Begins with the offsets up to `from` written and acknowledged.
    pub(crate) fn begin(&self, from: u64) {
        self.written.store(from, Ordering::Release);
        self.acknowledged.store(from, Ordering::Release);
    }

    /// Sets the offset of the last message written.
    pub(crate) fn set_written(&self, offset: u64) {
        self.written.store(offset, Ordering::Release);
    }

    /// Returns the stamp of a ping sent now: the offset that its pong acknowledges.
    pub(crate) fn stamp(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Acknowledges the messages up to the stamp of a pong; returns whether the stamp is new. A stamp is capped at
    /// the last offset written, since a client can forge it.
    pub(crate) fn acknowledge(&self, stamp: u64) -> bool {
        let stamp = stamp.min(self.stamp());
        let before = self.acknowledged.fetch_max(stamp, Ordering::AcqRel);
        let is_new = before < stamp;
        if is_new {
            self.changed.store(true, Ordering::Release);
        }
        is_new
    }

    /// Allows the next ping: a pong has arrived, or the ping was not sent.
    pub(crate) fn clear_pending_ping(&self) {
        self.ping_pending.store(false, Ordering::Release);
    }

    /// Returns the highest acknowledged offset.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Returns the tick of the next ping; `None` if all is acknowledged or a ping is pending.
    pub(crate) fn ping_due(&self) -> Option<Tick> {
        let is_due =
            self.stamp() > self.acknowledged() && !self.ping_pending.load(Ordering::Acquire);
        let last = self.last_ping.load(Ordering::Acquire);
        is_due.then(|| Tick(last.saturating_add(PING_INTERVAL)))
    }

    /// Returns the payload of the channel's next ping; `None` if all is acknowledged or a ping is pending.
    pub(crate) fn next_ping(&self, now: Tick) -> Option<Bytes> {
        if self.stamp() <= self.acknowledged() || self.ping_pending.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.last_ping.store(now.0, Ordering::Release);
        Some(ping(0, self))
    }

    /// Notes that reading pauses; returns whether it was running.
    pub(crate) fn pause(&self) -> bool {
        let begins = !self.paused.swap(true, Ordering::AcqRel);
        if begins {
            self.changed.store(true, Ordering::Release);
        }
        begins
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Notes that reading runs again.
    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::Release);
    }

    pub(crate) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    pub(crate) fn take_change(&self) -> bool {
        self.has_changed() && self.changed.swap(false, Ordering::AcqRel)
    }
}

/// Encodes the payload of a ping: a number and the stamp.
pub(super) fn ping(number: u64, acks: &Acks) -> Bytes {
    let mut payload = [0; 16];
    let (left, right) = payload.split_at_mut(8);
    left.copy_from_slice(&number.to_be_bytes());
    right.copy_from_slice(&acks.stamp().to_be_bytes());
    Bytes::copy_from_slice(&payload)
}

/// Decodes the number and the stamp from a pong's payload.
pub(super) fn pong(payload: &[u8]) -> Option<(u64, u64)> {
    let (number, stamp) = payload.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*number),
        u64::from_be_bytes(stamp.try_into().ok()?),
    ))
}
