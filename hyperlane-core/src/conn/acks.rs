//! Acknowledgements: the pings and pongs of a WebSocket show which messages of a channel have arrived.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::env::timers::Tick;

/// Two offsets of a channel that belong to one WebSocket. The offset of a message is its number in the channel.
/// `written` is the offset of the last message that was written to the WebSocket. `acknowledged` is the offset of the
/// last message that the client has acknowledged.
///
/// A ping carries the offset of the last message written before the ping. The pong returns the payload of its ping (RFC
/// 6455 §5.5.3), and so acknowledges the messages up to this offset.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    written: AtomicU64,
    acknowledged: AtomicU64,
    /// True from the sending of a ping that asks for an acknowledgement until the next pong, or until the sending
    /// fails.
    ping_pending: AtomicBool,
    /// The tick of the last ping that was sent for an acknowledgement.
    last_ping: AtomicU32,
    /// True while the connection's task does not read because the inbox is full. The task cannot see pongs during this
    /// time.
    paused: AtomicBool,
    /// True if there was an acknowledgement or a pause that the channel has not yet handled.
    changed: AtomicBool,
}

/// Minimum number of ticks (of 100 ms) between two pings that ask for acknowledgements. Heartbeat pings do not count.
const PING_INTERVAL: u32 = 3;

impl Acks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Starts at the offset `from`: the messages up to `from` count as written and acknowledged.
    pub(crate) fn begin(&self, from: u64) {
        self.written.store(from, Ordering::Release);
        self.acknowledged.store(from, Ordering::Release);
    }

    /// Sets the offset of the last message written.
    pub(crate) fn set_written(&self, offset: u64) {
        self.written.store(offset, Ordering::Release);
    }

    /// Returns the stamp for a ping that is sent now. The stamp is the offset that the pong to this ping acknowledges.
    pub(crate) fn stamp(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Acknowledges the messages up to the stamp of a pong. Returns whether the acknowledged offset has grown. A stamp
    /// above the last written offset counts as that offset, because a client can forge a stamp.
    pub(crate) fn acknowledge(&self, stamp: u64) -> bool {
        let stamp = stamp.min(self.stamp());
        let before = self.acknowledged.fetch_max(stamp, Ordering::AcqRel);
        let is_new = before < stamp;
        if is_new {
            self.changed.store(true, Ordering::Release);
        }
        is_new
    }

    /// Records that no ping is pending, because a pong has arrived or the ping could not be sent. The next ping can
    /// then be sent.
    pub(crate) fn clear_pending_ping(&self) {
        self.ping_pending.store(false, Ordering::Release);
    }

    /// Returns the highest acknowledged offset.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Returns the earliest tick for the next ping that asks for an acknowledgement. Returns `None` if all messages are
    /// acknowledged or such a ping is pending.
    pub(crate) fn ping_due(&self) -> Option<Tick> {
        let is_due =
            self.stamp() > self.acknowledged() && !self.ping_pending.load(Ordering::Acquire);
        let last = self.last_ping.load(Ordering::Acquire);
        is_due.then(|| Tick(last.saturating_add(PING_INTERVAL)))
    }

    /// Begins a ping that asks for an acknowledgement, and returns its payload. Returns `None` if all messages are
    /// acknowledged or such a ping is pending.
    pub(crate) fn next_ping(&self, now: Tick) -> Option<Bytes> {
        if self.stamp() <= self.acknowledged() || self.ping_pending.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.last_ping.store(now.0, Ordering::Release);
        Some(ping(0, self))
    }

    /// Records that reading pauses. Returns whether reading was running before.
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

    /// Records that reading runs again.
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

/// Encodes the payload of a ping: the number of the ping and the stamp. The number is 0 for a ping that only asks for
/// an acknowledgement. Heartbeat pings count from 1.
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
