//! The memory of messages to clients that are away. A channel without a connected client charges its messages to the
//! session's memory.

use std::io;

use super::{Channel, Locked, end::End, slots::SessionSlots};

/// Size of a channel without messages, in bytes. It includes the task that waits for the channel's client.
const CHANNEL_OVERHEAD: usize = size_of::<Channel>() + size_of::<SessionSlots>() + 512;

impl Channel {
    /// Charges the session for a message if no client is connected, and returns the charged bytes. All channels of a
    /// session share the session's memory.
    pub(super) fn charge(&self, weight: usize) -> io::Result<usize> {
        let (is_charged, weight) = {
            let inner = self.lock();
            let itself = if inner.charged == 0 {
                CHANNEL_OVERHEAD
            } else {
                0
            };
            (inner.is_disconnected(), weight + itself)
        };
        match self.session.upgrade() {
            // The channel's lock is already released, because the charge may evict other sessions and so end their
            // channels.
            Some(session) if is_charged && !session.charge(weight) => Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "no room in `session_memory` for messages to clients that are not connected, or the session lasts for its request alone",
            )),
            Some(_) if is_charged => Ok(weight),
            _ => Ok(0),
        }
    }

    pub(super) fn discharge(&self, weight: usize) {
        if let Some(session) = self.session.upgrade().filter(|_| weight > 0) {
            session.discharge(weight);
        }
    }

    /// Charges the session for all messages of the channel, after the last client has left. The channel ends if there
    /// is no room, or if the session lasts only for its request, so that no client can come back.
    pub(super) fn charge_all(&self, inner: Locked<'_>) {
        let weight = CHANNEL_OVERHEAD + inner.state.log.weight() + inner.inbox.bytes();
        drop(inner);
        let Some(session) = self.session.upgrade() else {
            return;
        };
        let has_room = session.charge(weight);
        let mut inner = self.lock();
        match (inner.is_disconnected(), has_room) {
            (true, true) => inner.charged += weight,
            (true, false) => self.finish(inner, End::Memory),
            (false, _) => {
                drop(inner);
                self.discharge(if has_room { weight } else { 0 });
            }
        }
    }
}

/// The charge for a message that is being sent. When this value is dropped, the session gets the bytes back. If the
/// message waits for a client, the sender moves the bytes to the channel's own charge before the drop.
pub(super) struct Charge<'a> {
    pub(super) channel: &'a Channel,
    pub(super) charged: usize,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.channel.discharge(self.charged);
    }
}
