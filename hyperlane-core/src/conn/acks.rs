//! Acknowledgements of messages by the pings and pongs of a WebSocket.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::env::timers::Tick;

/// The progress of a WebSocket's client: a ping carries the offset of the last message written before it, and its pong
/// brings the offset back (RFC 6455 §5.5.3).
#[derive(Debug, Default)]
pub(crate) struct Acks {
    written: AtomicU64,
    acknowledged: AtomicU64,
    /// A ping of the channel's own is out.
    ping_pending: AtomicBool,
    /// The tick of the last of those.
    last_ping: AtomicU32,
    /// Reading is paused, so that no pongs come in: the program has not received the messages before them.
    paused: AtomicBool,
    /// A change that the channel has not looked at.
    changed: AtomicBool,
}

/// Ticks between two pings that the passing of time alone asks for.
const PING_INTERVAL: u32 = 3;

impl Acks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The connection begins with all up to this offset.
    pub(crate) fn begin(&self, from: u64) {
        self.written.store(from, Ordering::Release);
        self.acknowledged.store(from, Ordering::Release);
    }

    /// Notes the offset of a message that was written.
    pub(crate) fn set_written(&self, offset: u64) {
        self.written.store(offset, Ordering::Release);
    }

    /// The stamp of a ping that is sent now: the offset that its pong proves.
    pub(crate) fn stamp(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// A pong has brought a stamp back. What was never written cannot have arrived, whatever a client says. True for
    /// something new.
    pub(crate) fn acknowledge(&self, stamp: u64) -> bool {
        let stamp = stamp.min(self.stamp());
        let before = self.acknowledged.fetch_max(stamp, Ordering::AcqRel);
        let is_new = before < stamp;
        if is_new {
            self.changed.store(true, Ordering::Release);
        }
        is_new
    }

    /// Some pong has come: the next ping may go out.
    pub(crate) fn clear_pending_ping(&self) {
        self.ping_pending.store(false, Ordering::Release);
    }

    /// The highest stamp that a pong has brought back.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// When the client has to be asked, if it is behind and no ping is out.
    pub(crate) fn ping_due(&self) -> Option<Tick> {
        let is_due =
            self.stamp() > self.acknowledged() && !self.ping_pending.load(Ordering::Acquire);
        let last = self.last_ping.load(Ordering::Acquire);
        is_due.then(|| Tick(last.saturating_add(PING_INTERVAL)))
    }

    /// The payload of a ping that asks how far the client is; `None` while one is out, and where nothing is to be learned.
    pub(crate) fn next_ping(&self, now: Tick) -> Option<Bytes> {
        if self.stamp() <= self.acknowledged() || self.ping_pending.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.last_ping.store(now.0, Ordering::Release);
        Some(ping(0, self))
    }

    /// Reading pauses. True if it did not before.
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

    /// Reading goes on.
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

/// The payload of a ping: a number, and the stamp.
pub(super) fn ping(number: u64, acks: &Acks) -> Bytes {
    let mut payload = [0; 16];
    let (left, right) = payload.split_at_mut(8);
    left.copy_from_slice(&number.to_be_bytes());
    right.copy_from_slice(&acks.stamp().to_be_bytes());
    Bytes::copy_from_slice(&payload)
}

/// The number and the stamp of a pong's payload.
pub(super) fn pong(payload: &[u8]) -> Option<(u64, u64)> {
    let (number, stamp) = payload.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*number),
        u64::from_be_bytes(stamp.try_into().ok()?),
    ))
}
