//! The channels of a session. A channel holds the messages between the program and the clients of the session, and
//! keeps them across lost connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Channel,
    settings::{Direction, Settings},
};
use crate::session::{Attachment, SessionEntry};

/// The channels of a session, one per direction.
#[derive(Default)]
struct Slots {
    both: Slot,
    to_client: Slot,
}

#[derive(Default)]
struct Slot {
    channel: Option<Arc<Channel>>,
    /// The epoch (random number) of the last channel that the program closed.
    closed_epoch: Option<u64>,
}

impl Slots {
    fn slot(&mut self, direction: Direction) -> &mut Slot {
        match direction {
            Direction::Both => &mut self.both,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// Removes and returns both channels. The caller ends the channels outside of all locks.
    fn take(&mut self) -> [Option<Arc<Channel>>; 2] {
        [self.both.channel.take(), self.to_client.channel.take()]
    }
}

/// The channels of a session, in the form that the session stores ([`Attachment`]).
#[derive(Default)]
pub(super) struct SessionSlots(Mutex<Slots>);

impl SessionSlots {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attachment for SessionSlots {
    fn end(&self) {
        let taken = self.lock().take();
        for channel in taken.into_iter().flatten() {
            channel.end_with_session();
        }
    }
}

/// Returns the session's channel for a direction. Makes a new channel if there is none, or if the last channel has
/// ended. If the session has ended, the returned channel has ended too.
pub(crate) fn of_session(
    session: &Arc<SessionEntry>,
    direction: Direction,
    settings: &Arc<Settings>,
) -> Arc<Channel> {
    let slots = session.attachment().of::<SessionSlots>();
    let mut slots = slots.lock();
    let slot = slots.slot(direction);
    if let Some(channel) = slot.channel.as_ref().filter(|channel| !channel.is_over()) {
        return channel.clone();
    }
    if let Some(epoch) = slot
        .channel
        .take()
        .and_then(|channel| channel.closed_epoch())
    {
        slot.closed_epoch = Some(epoch);
    }
    let channel = Channel::new(Arc::downgrade(session), settings.clone(), random());
    slot.channel = Some(channel.clone());
    if session.is_ended() {
        channel.end_with_session();
    }
    channel
}

/// Returns whether the program has closed the channel with this epoch. The clients of a closed channel should not come
/// back.
pub(crate) fn was_closed(session: &SessionEntry, direction: Direction, epoch: u64) -> bool {
    let slots = session.attachment().of::<SessionSlots>();
    let mut slots = slots.lock();
    let slot = slots.slot(direction);
    slot.closed_epoch == Some(epoch)
        || slot
            .channel
            .as_ref()
            .and_then(|channel| channel.closed_epoch())
            == Some(epoch)
}

/// Returns random bits that are hard to guess. The value is never 0.
pub(crate) fn random() -> u64 {
    // Without random bytes, the server cannot create sessions, and without sessions there are no channels. The fallback
    // 1 is therefore not used in practice.
    getrandom::u64().unwrap_or(1).max(1)
}
