//! Counts the memory of a channel (the messages between the program and the clients of a session). While no client is
//! connected, the channel charges its messages to its session. The server limits the memory of all sessions by
//! `session_memory`.

use std::io;

use super::{
    Channel, Inner, Locked, connection::ChannelConnection, end::End, slots::SessionSlots,
    state::Position, timer::Timer,
};

/// Estimated size of a channel without messages, in bytes. It includes the task that waits for the channel's client.
pub(super) const CHANNEL_OVERHEAD: usize = size_of::<Channel>() + size_of::<SessionSlots>() + 512;

/// Estimated size of the record of an absent client, or of a page that a browser loads, with the task of its timer.
pub(super) const POSITION_OVERHEAD: usize = size_of::<Position<ChannelConnection, Timer>>() + 384;

/// The error for a message that `session_memory` has no room for.
#[derive(Debug, thiserror::Error)]
#[error(
    "no room in `session_memory` for messages to clients that are not connected, or the session lasts for its request alone"
)]
pub(crate) struct NoMemory;

impl From<NoMemory> for io::Error {
    fn from(error: NoMemory) -> Self {
        Self::new(io::ErrorKind::OutOfMemory, error)
    }
}

impl Channel {
    /// Charges the session for `weight` bytes if no client is connected. If the channel has no charge yet, the charge
    /// includes the channel itself. The charge is empty if a client is connected, if the channel has ended, or if the
    /// session is gone.
    ///
    /// The caller then stores the bytes, and calls [`keep`](Charge::keep) under the same lock.
    ///
    /// # Errors
    /// [`NoMemory`] if `session_memory` has no room.
    pub(super) fn charge(&self, weight: usize) -> Result<Charge<'_>, NoMemory> {
        let (is_charged, weight) = {
            let inner = self.lock();
            let itself = if inner.charged == 0 {
                self.overhead()
            } else {
                0
            };
            (inner.is_disconnected(), weight + itself)
        };
        let charged = match self.session.upgrade() {
            // The charge may evict other sessions. The eviction locks the channels of these sessions and ends them. The
            // lock of this channel is therefore released before.
            Some(session) if is_charged && !session.charge(weight) => return Err(NoMemory),
            Some(_) if is_charged => weight,
            _ => 0,
        };
        Ok(Charge {
            channel: self,
            charged,
        })
    }

    /// Charges the session for a new channel. A channel without this charge is charged with its first message.
    pub(super) fn charge_itself(&self) {
        if let Ok(mut charge) = self.charge(0) {
            charge.keep(&mut self.lock());
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

    /// Returns the bytes that a channel without a connected client has to charge.
    fn weight(&self, inner: &Inner) -> usize {
        let records = inner.state.records() * POSITION_OVERHEAD;
        self.overhead() + inner.state.log.weight() + inner.inbox.bytes() + records
    }

    /// Subtracts the bytes that the channel no longer uses from the charge.
    pub(super) fn discharge_unused(&self, mut inner: Locked<'_>) {
        if inner.charged == 0 {
            return;
        }
        let used = match inner.is_disconnected() {
            true => self.weight(&inner),
            false => 0,
        };
        let unused = inner.charged.saturating_sub(used);
        inner.charged -= unused;
        drop(inner);
        self.discharge(unused);
    }

    /// Charges the session for the channel and all its messages, after the last client has left. If `session_memory`
    /// has no room, the channel ends. The channel also ends if the session lasts only for its request, because no
    /// client can come back to such a session. If a client has connected meanwhile, the charge is undone.
    pub(super) fn charge_all(&self, inner: Locked<'_>) {
        let weight = self.weight(&inner).saturating_sub(inner.charged);
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

/// The charge for bytes that are about to be stored. The drop of this value subtracts them from the session's memory,
/// unless the channel keeps them.
pub(super) struct Charge<'a> {
    channel: &'a Channel,
    charged: usize,
}

impl Charge<'_> {
    /// Adds the charge to that of the channel, after the bytes were stored. Does nothing if a client is connected, or
    /// if the channel has ended.
    pub(super) fn keep(&mut self, inner: &mut Inner) {
        if inner.is_disconnected() {
            inner.charged += std::mem::take(&mut self.charged);
        }
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.channel.discharge(self.charged);
    }
}
