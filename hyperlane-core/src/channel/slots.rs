//! The channels of a session. A channel holds the messages between the program and the clients of the session, and
//! keeps them across lost connections.

mod named;

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::named::NamedSlot;
pub(super) use self::named::release;
pub(crate) use self::named::{close_named, expects_page, open_named};
use super::{
    Channel,
    name::ChannelName,
    settings::{Direction, Settings},
};
use crate::session::{Attachment, SessionEntry};

/// The channels of a session: one without a name per direction, and those with a name.
#[derive(Default)]
struct Slots {
    both: Slot,
    to_client: Slot,
    /// The named channels, and the names whose channel the program has closed, in the order in which they were opened
    /// or closed. A box, because most sessions have none.
    named: Option<Box<NamedSlots>>,
}

#[derive(Default)]
struct NamedSlots(Vec<NamedSlot>);

#[derive(Default)]
struct Slot {
    channel: Option<Arc<Channel>>,
    /// The epoch (random number) of the last channel that the program closed.
    closed_epoch: Option<NonZeroU64>,
}

impl Slot {
    /// Returns the channel, if it has not ended.
    fn live(&self) -> Option<&Arc<Channel>> {
        self.channel.as_ref().filter(|channel| !channel.is_over())
    }

    /// Removes a channel that has ended, and notes its epoch if the program has closed it.
    fn remove_ended(&mut self) -> Option<Arc<Channel>> {
        let ended = self.channel.take_if(|channel| channel.is_over())?;
        let epoch = ended.closed_epoch().and_then(NonZeroU64::new);
        self.closed_epoch = epoch.or(self.closed_epoch);
        Some(ended)
    }

    /// Returns whether the program has closed the channel with this epoch.
    fn was_closed(&self, epoch: u64) -> bool {
        let last = self
            .channel
            .as_ref()
            .and_then(|channel| channel.closed_epoch());
        last == Some(epoch) || self.closed_epoch.map(NonZeroU64::get) == Some(epoch)
    }
}

impl Slots {
    fn slot(&mut self, direction: Direction) -> &mut Slot {
        match direction {
            Direction::Both => &mut self.both,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// Returns the slot for a direction and a name. A slot without a name always exists.
    fn known(&mut self, direction: Direction, name: Option<&ChannelName>) -> Option<&mut Slot> {
        match name {
            None => Some(self.slot(direction)),
            Some(name) => self
                .named_slot(direction, name)
                .map(|named| &mut named.slot),
        }
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
        let Slots {
            both,
            to_client,
            named,
        } = std::mem::take(&mut *self.lock());
        let named = named.into_iter().flat_map(|named| named.0);
        let slots = [both, to_client]
            .into_iter()
            .chain(named.map(|named| named.slot));
        // The channels end outside of all locks.
        for channel in slots.filter_map(|slot| slot.channel) {
            channel.end_with_session();
        }
    }
}

/// Returns the session's channel without a name for a direction. Makes a new channel if there is none, or if the last
/// channel has ended. If the session has ended, the returned channel has ended too.
pub(crate) fn of_session(
    session: &Arc<SessionEntry>,
    direction: Direction,
    settings: &Arc<Settings>,
) -> Arc<Channel> {
    let slots = session.attachment().of::<SessionSlots>();
    let mut slots = slots.lock();
    let slot = slots.slot(direction);
    if let Some(channel) = slot.live() {
        return channel.clone();
    }
    let ended = slot.remove_ended();
    let channel = Channel::new(Arc::downgrade(session), settings.clone(), random());
    slot.channel = Some(channel.clone());
    drop(slots);
    drop(ended);
    if session.is_ended() {
        channel.end_with_session();
    } else {
        channel.charge_itself();
    }
    channel
}

/// Returns the session's channel for a direction and a name, if there is one that has not ended.
pub(crate) fn find(
    session: &SessionEntry,
    direction: Direction,
    name: Option<&ChannelName>,
) -> Option<Arc<Channel>> {
    let slots = session.attachment().of::<SessionSlots>();
    let mut slots = slots.lock();
    slots.known(direction, name)?.live().cloned()
}

/// Returns whether the program has closed the channel with this epoch. The clients of a closed channel should not come
/// back.
pub(crate) fn was_closed(
    session: &SessionEntry,
    direction: Direction,
    name: Option<&ChannelName>,
    epoch: u64,
) -> bool {
    let slots = session.attachment().of::<SessionSlots>();
    let mut slots = slots.lock();
    let slot = slots.known(direction, name);
    slot.is_some_and(|slot| slot.was_closed(epoch))
}

/// Returns random bits that are hard to guess. The value is never 0.
pub(crate) fn random() -> u64 {
    // Without random bytes, the server cannot create sessions, and without sessions there are no channels. The fallback
    // 1 is therefore not used in practice.
    getrandom::u64().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cost_a_session_without_them_nothing() {
        // With the counts of its `Arc`, the value fits into an allocation of 64 bytes.
        assert!(size_of::<SessionSlots>() + 2 * size_of::<usize>() <= 64);
    }
}
