//! What a channel keeps for clients that are away, counted towards the memory of its session.

use std::io;

use super::{Channel, Locked, end::End, slots::SessionSlots};

/// What a channel takes beside its messages, with the task that waits for its client.
const CHANNEL_OVERHEAD: usize = size_of::<Channel>() + size_of::<SessionSlots>() + 512;

impl Channel {
    /// Counts what is about to wait for clients towards the session: they share its memory, whoever makes many of them.
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
            // Not while the channel is locked: others may have to go for it, with their channels.
            Some(session) if is_charged && !session.charge(weight) => Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "what waits for clients that are not connected has used up `session_memory`, or the session lasts for its request alone",
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

    /// The last client has gone. What the channel keeps is the session's from now on; where that has no room, or nobody can
    /// come back to it, it is over.
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

/// What was counted for a message, until it is where it is to wait.
pub(super) struct Charge<'a> {
    pub(super) channel: &'a Channel,
    pub(super) charged: usize,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.channel.discharge(self.charged);
    }
}
