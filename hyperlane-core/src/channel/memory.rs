//! What a channel keeps for clients that are away, counted towards the memory of its session.

use std::io;

use super::{Channel, Locked, end::End, slots::SessionSlots};

/// What a channel takes beside its messages, with the task that waits for its client.
const ITSELF: usize = size_of::<Channel>() + size_of::<SessionSlots>() + 512;

impl Channel {
    /// Counts what is about to wait for clients towards the session: they share its memory, whoever makes many of them.
    pub(super) fn charge(&self, weight: usize) -> io::Result<usize> {
        let (is_charged, weight) = {
            let inner = self.lock();
            let itself = if inner.charged == 0 { ITSELF } else { 0 };
            (inner.is_unattended(), weight + itself)
        };
        match self.home.upgrade() {
            // Not while the channel is locked: others may have to go for it, with their channels.
            Some(home) if is_charged && !home.charge(weight) => Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "what waits for clients that are not connected has used up `session_memory`, or the session lasts for its request alone",
            )),
            Some(_) if is_charged => Ok(weight),
            _ => Ok(0),
        }
    }

    pub(super) fn discharge(&self, weight: usize) {
        if let Some(home) = self.home.upgrade().filter(|_| weight > 0) {
            home.discharge(weight);
        }
    }

    /// The last client has gone. What the channel keeps is the session's from now on; where that has no room, or nobody can
    /// come back to it, it is over.
    pub(super) fn charge_all(&self, inner: Locked<'_>) {
        let weight = ITSELF + inner.state.log.weight() + inner.inbox.bytes();
        drop(inner);
        let Some(home) = self.home.upgrade() else {
            return;
        };
        let has_room = home.charge(weight);
        let mut inner = self.lock();
        match (inner.is_unattended(), has_room) {
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
pub(super) struct Held<'a> {
    pub(super) channel: &'a Channel,
    pub(super) charged: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.channel.discharge(self.charged);
    }
}
