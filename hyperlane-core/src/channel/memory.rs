//! Counts the memory of a channel (the messages between the program and the clients of a session). While no client is
//! connected, the channel charges its messages to its session. The server limits the memory of all sessions by
//! `session_memory`.

use std::io;

use super::{Channel, Locked, end::End, slots::SessionSlots};

/// Estimated size of a channel without messages, in bytes. It includes the task that waits for the channel's client.
pub(super) const CHANNEL_OVERHEAD: usize = size_of::<Channel>() + size_of::<SessionSlots>() + 512;

impl Channel {
    /// Charges the session for a message if no client is connected, and returns the charged bytes. If the channel has
    /// no charge yet, the charge includes the channel itself. Returns 0 if a client is connected, if the channel has
    /// ended, or if the session is gone.
    pub(super) fn charge(&self, weight: usize) -> io::Result<usize> {
        let (is_charged, weight) = {
            let inner = self.lock();
            let itself = if inner.charged == 0 {
                self.overhead()
            } else {
                0
            };
            (inner.is_disconnected(), weight + itself)
        };
        match self.session.upgrade() {
            // The charge may evict other sessions. The eviction locks the channels of these sessions and ends them. The
            // lock of this channel is therefore released before.
            Some(session) if is_charged && !session.charge(weight) => Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "no room in `session_memory` for messages to clients that are not connected, or the session lasts for its request alone",
            )),
            Some(_) if is_charged => Ok(weight),
            _ => Ok(0),
        }
    }

    /// Returns the size of the channel without messages, in bytes. The slot of a named channel has already charged this
    /// size.
    fn overhead(&self) -> usize {
        match self.settings.name {
            Some(_) => 0,
            None => CHANNEL_OVERHEAD,
        }
    }

    pub(super) fn discharge(&self, weight: usize) {
        if let Some(session) = self.session.upgrade().filter(|_| weight > 0) {
            session.discharge(weight);
        }
    }

    /// Charges the session for the channel and all its messages, after the last client has left. If `session_memory`
    /// has no room, the channel ends. The channel also ends if the session lasts only for its request, because no
    /// client can come back to such a session. If a client has connected meanwhile, the charge is undone.
    pub(super) fn charge_all(&self, inner: Locked<'_>) {
        let weight = self.overhead() + inner.state.log.weight() + inner.inbox.bytes();
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

/// The charge for a message that is being sent. The drop of this value subtracts the bytes from the session's memory.
/// If the message waits for a client, the bytes must stay charged. Before the drop, the sender then adds them to the
/// channel's field `charged`, and sets `charged` in this value to 0.
pub(super) struct Charge<'a> {
    pub(super) channel: &'a Channel,
    pub(super) charged: usize,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.channel.discharge(self.charged);
    }
}
