//! The channels of a session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Channel,
    settings::{Direction, Settings},
};
use crate::session::{Attachment, Entry};

/// The channels of one session.
#[derive(Default)]
struct Slots {
    both: Slot,
    to_client: Slot,
}

#[derive(Default)]
struct Slot {
    channel: Option<Arc<Channel>>,
    /// The epoch of the last one that the program closed.
    stopped: Option<u64>,
}

impl Slots {
    fn slot(&mut self, direction: Direction) -> &mut Slot {
        match direction {
            Direction::Both => &mut self.both,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// Takes out those that there are, to be ended where nothing is locked.
    fn take(&mut self) -> [Option<Arc<Channel>>; 2] {
        [self.both.channel.take(), self.to_client.channel.take()]
    }
}

/// The channels of one session, which end with it.
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

/// The session's channel; a new one after one that is over. That of a session that is over is over, too.
pub(crate) fn of_session(
    session: &Arc<Entry>,
    direction: Direction,
    settings: &Arc<Settings>,
) -> Arc<Channel> {
    let slots = session.attachment::<SessionSlots>();
    let mut slots = slots.lock();
    let slot = slots.slot(direction);
    if let Some(channel) = slot.channel.as_ref().filter(|channel| !channel.is_over()) {
        return channel.clone();
    }
    if let Some(epoch) = slot.channel.take().and_then(|channel| channel.stopped()) {
        slot.stopped = Some(epoch);
    }
    let channel = Channel::new(Arc::downgrade(session), settings.clone(), random());
    slot.channel = Some(channel.clone());
    if session.is_ended() {
        channel.end_with_session();
    }
    channel
}

/// Whether the program has closed this channel, so that nobody need come back for it.
pub(crate) fn is_stopped(session: &Entry, direction: Direction, epoch: u64) -> bool {
    let slots = session.attachment::<SessionSlots>();
    let mut slots = slots.lock();
    let slot = slots.slot(direction);
    slot.stopped == Some(epoch)
        || slot.channel.as_ref().and_then(|channel| channel.stopped()) == Some(epoch)
}

/// Random bits that nobody can guess, and never 0.
pub(crate) fn random() -> u64 {
    // A system without randomness has no sessions either.
    getrandom::u64().unwrap_or(1).max(1)
}
