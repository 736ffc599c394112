//! The named channels of a session: their number, their memory, and the names that the program has closed.

use std::{num::NonZeroU64, sync::Arc};

use super::{SessionSlots, Slot, Slots, random};
use crate::{
    channel::{
        Channel,
        end::End,
        memory::CHANNEL_OVERHEAD,
        name::ChannelName,
        settings::{Direction, Settings},
        state::MAX_PAGES,
    },
    error::ChannelError,
    proto::ws::CloseCode,
    session::SessionEntry,
};

/// Limit of a session's named channels. The channels of both directions count.
const MAX_NAMED: usize = 16;

/// Limit of the names that a session remembers after the program has closed their channel. Beyond the limit, the
/// session forgets the name that was closed first.
const MAX_CLOSED: usize = 64;

/// Estimated size of a name without its characters, in bytes: its slot in a list that grows by doubling, the name's
/// allocation, and the index of the list.
const NAME_OVERHEAD: usize = 2 * size_of::<NamedSlot>() + 64;

/// Size of a named channel without messages, in addition to its name, in bytes. The channel has settings of its own,
/// because they contain the name.
const NAMED_OVERHEAD: usize = CHANNEL_OVERHEAD + size_of::<Settings>() + 32;

pub(super) struct NamedSlot {
    name: ChannelName,
    direction: Direction,
    pub(super) slot: Slot,
    /// Bytes that the slot has charged to the memory for sessions (`session_memory`).
    charged: u32,
    /// True if the program has closed the last channel of this name. The slot may also stay for the epoch of an earlier
    /// channel that the program has closed.
    is_closed: bool,
    /// The numbers of the last requests for pages for which the channel began to expect the page, newest first.
    pages: [u32; MAX_PAGES],
}

/// The state of a name in a session.
enum Known {
    Live(Arc<Channel>),
    /// The program has closed the channel of this name.
    Closed,
    /// There is no channel. The session may open one.
    Free,
}

impl Slots {
    pub(super) fn named_slot(
        &mut self,
        direction: Direction,
        name: &ChannelName,
    ) -> Option<&mut NamedSlot> {
        let slots = &mut self.named.as_mut()?.0;
        slots
            .iter_mut()
            .find(|slot| slot.direction == direction && slot.name == *name)
    }

    fn look_up(&mut self, direction: Direction, name: &ChannelName) -> Known {
        if let Some(known) = self.named_slot(direction, name) {
            if let Some(channel) = known.slot.live() {
                return Known::Live(channel.clone());
            }
            let last = known.slot.channel.as_ref();
            let was_closed = last.is_some_and(|channel| channel.closed_epoch().is_some());
            if was_closed || known.is_closed {
                return Known::Closed;
            }
        }
        Known::Free
    }

    /// Returns an error if the session has the maximum number of named channels.
    fn check_room(&self) -> Result<(), ChannelError> {
        let slots = self.named.iter().flat_map(|named| &named.0);
        match slots.filter(|slot| slot.slot.live().is_some()).count() {
            0..MAX_NAMED => Ok(()),
            _ => Err(ChannelError::TooMany { limit: MAX_NAMED }),
        }
    }

    /// Adds a channel. Returns the charged bytes and the channel of the name's former slot, if there was one.
    fn add(
        &mut self,
        direction: Direction,
        name: &ChannelName,
        channel: &Arc<Channel>,
        charged: usize,
    ) -> (usize, Option<Arc<Channel>>) {
        let slots = &mut self.named.get_or_insert_default().0;
        let mut slot = Slot::default();
        let mut former = (0, None);
        if let Some(at) = slots
            .iter()
            .position(|slot| slot.direction == direction && slot.name == *name)
        {
            let mut known = slots.remove(at);
            former = (known.charged as usize, known.slot.remove_ended());
            slot = known.slot;
        }
        slot.channel = Some(channel.clone());
        slots.push(NamedSlot {
            name: name.clone(),
            direction,
            slot,
            charged: u32::try_from(charged).unwrap_or(u32::MAX),
            is_closed: false,
            pages: [0; MAX_PAGES],
        });
        former
    }

    /// Frees the slot of a channel that has ended. With a `closed_epoch`, the session remembers that the program has
    /// closed the name. Returns the bytes that are no longer used, and slots to drop outside of the lock.
    fn free(&mut self, channel: &Channel, closed_epoch: Option<NonZeroU64>) -> (usize, Vec<Slot>) {
        let Some(named) = &mut self.named else {
            return (0, Vec::new());
        };
        let slots = &mut named.0;
        let is_meant = |slot: &NamedSlot| {
            let known = slot.slot.channel.as_ref();
            known.is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), channel))
        };
        let Some(at) = slots.iter().position(is_meant) else {
            return (0, Vec::new());
        };
        let mut ended = slots.remove(at);
        let mut freed = ended.charged as usize;
        let mut gone = vec![Slot {
            channel: ended.slot.channel.take(),
            closed_epoch: None,
        }];
        ended.is_closed = closed_epoch.is_some();
        ended.slot.closed_epoch = closed_epoch.or(ended.slot.closed_epoch);
        if ended.slot.closed_epoch.is_some() {
            let kept = freed.min(NAME_OVERHEAD + ended.name.as_str().len());
            freed -= kept;
            ended.charged = u32::try_from(kept).unwrap_or(u32::MAX);
            slots.push(ended);
        }
        let closed = |slot: &NamedSlot| slot.slot.channel.is_none();
        if slots.iter().filter(|slot| closed(slot)).count() > MAX_CLOSED
            && let Some(at) = slots.iter().position(closed)
        {
            let forgotten = slots.remove(at);
            freed += forgotten.charged as usize;
            gone.push(forgotten.slot);
        }
        if slots.is_empty() {
            self.named = None;
        }
        (freed, gone)
    }
}

/// Returns the session's channel of a name. Makes a new channel if there is none. If the session has ended, the
/// returned channel has ended too.
///
/// If the program has closed the channel of this name, returns `None`, or makes a new channel if `reopens` is true. The
/// program may open the name again, but its clients may not.
///
/// # Errors
/// - [`ChannelError::TooMany`] if the session has the maximum number of named channels.
/// - [`ChannelError::Memory`] if `session_memory` has no room.
pub(crate) fn open_named(
    session: &Arc<SessionEntry>,
    direction: Direction,
    name: &ChannelName,
    settings: impl FnOnce() -> Settings,
    reopens: bool,
) -> Result<Option<Arc<Channel>>, ChannelError> {
    let slots = session.attachment().of::<SessionSlots>();
    {
        let mut slots = slots.lock();
        match slots.look_up(direction, name) {
            Known::Live(channel) => return Ok(Some(channel)),
            Known::Closed if !reopens => return Ok(None),
            Known::Closed | Known::Free => slots.check_room()?,
        }
    }
    // The charge may evict other sessions, which ends their channels. So the lock is released before. A session outside
    // of the table lasts for its request, and takes no memory of the table.
    let weight = NAME_OVERHEAD + name.as_str().len() + NAMED_OVERHEAD;
    let charged = match session.is_in_table() {
        true if !session.charge(weight) => return Err(ChannelError::Memory),
        true => weight,
        false => 0,
    };
    let settings = Settings {
        name: Some(name.clone()),
        ..settings()
    };
    let channel = Channel::new(Arc::downgrade(session), Arc::new(settings), random());
    let mut locked = slots.lock();
    // Another task may have opened channels meanwhile.
    let unused = match locked.look_up(direction, name) {
        Known::Live(known) => Some(Ok(Some(known))),
        Known::Closed if !reopens => Some(Ok(None)),
        Known::Closed | Known::Free => locked.check_room().err().map(Err),
    };
    if let Some(outcome) = unused {
        drop(locked);
        session.discharge(charged);
        return outcome;
    }
    let (former, ended) = locked.add(direction, name, &channel, charged);
    drop(locked);
    drop(ended);
    if former > 0 {
        session.discharge(former);
    }
    if session.is_ended() {
        channel.end_with_session();
    } else {
        // Without a client, the channel would keep its slot until the end of the session.
        channel.await_client();
    }
    Ok(Some(channel))
}

/// Returns true if this is the first call with this number for the named channel. `page` is the number of a request for
/// a page.
pub(crate) fn expects_page(
    session: &SessionEntry,
    direction: Direction,
    name: &ChannelName,
    page: u32,
) -> bool {
    let slots = session.attachment().of::<SessionSlots>();
    let mut slots = slots.lock();
    let slot = slots.named_slot(direction, name);
    slot.is_some_and(|slot| {
        let is_new = !slot.pages.contains(&page);
        if is_new {
            slot.pages.rotate_right(1);
            slot.pages[0] = page;
        }
        is_new
    })
}

/// Ends the session's channels of a name, if there are any.
pub(crate) fn close_named(session: &SessionEntry, name: &ChannelName) {
    for direction in [Direction::Both, Direction::ToClient] {
        if let Some(channel) = super::find(session, direction, Some(name)) {
            // An error means that the channel has just ended.
            let _ = channel.close(CloseCode::NORMAL, "");
        }
    }
}

/// Frees the slot of a named channel that has ended for the reason `end`.
pub(in crate::channel) fn release(
    session: &Arc<SessionEntry>,
    channel: &Channel,
    end: &End,
    epoch: u64,
) {
    let closed_epoch = match end {
        End::Closed => NonZeroU64::new(epoch),
        End::Grace(_) | End::Memory | End::Session => None,
    };
    let slots = session.attachment().of::<SessionSlots>();
    let (freed, gone) = slots.lock().free(channel, closed_epoch);
    drop(gone);
    if freed > 0 {
        session.discharge(freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ServerConfig,
        session::{Planned, Session, Sessions},
    };

    const NAMES: usize = 40;

    fn name(number: usize) -> ChannelName {
        ChannelName::new(&format!("name-{:02}", number % NAMES)).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn tasks_that_open_and_close_names_keep_the_limit_and_free_all_memory() {
        let sessions = Sessions::new(&ServerConfig::default(), &Planned::default());
        let session = Session::begin(sessions.clone(), sessions.fields(false, ""), false);
        let entry = session.entry();
        let usage = || sessions.table.usage().1;
        let before = usage();
        let opening = (0..8).map(|task| {
            let entry = entry.clone();
            tokio::spawn(async move {
                let direction = Direction::ToClient;
                for round in 0..1000 {
                    let chosen = name(task * 7 + round);
                    let reopens = round % 4 != 0;
                    match open_named(&entry, direction, &chosen, Settings::default, reopens) {
                        Ok(Some(channel)) if round % 3 == 0 => {
                            // Another task may have closed it.
                            let _ = channel.close(CloseCode::NORMAL, "");
                        }
                        Ok(Some(channel)) => assert_eq!(channel.name(), Some(chosen.as_str())),
                        Ok(None) => assert!(!reopens),
                        Err(error) => {
                            assert_eq!(error, ChannelError::TooMany { limit: MAX_NAMED });
                            close_named(&entry, &name(round));
                        }
                    }
                    tokio::task::yield_now().await;
                    let live = (0..NAMES)
                        .filter(|number| {
                            super::super::find(&entry, direction, Some(&name(*number))).is_some()
                        })
                        .count();
                    // Another task may close a channel and open one while this one counts.
                    assert!(live <= MAX_NAMED + 8, "{live}");
                }
            })
        });
        for task in opening.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let slots = entry.attachment().of::<SessionSlots>();
        let count = |is_meant: fn(&NamedSlot) -> bool| {
            let slots = slots.lock();
            let named = slots.named.iter().flat_map(|named| &named.0);
            named.filter(|slot| is_meant(slot)).count()
        };
        let live = count(|slot| slot.slot.live().is_some());
        assert!((1..=MAX_NAMED).contains(&live), "{live}");
        for number in 0..NAMES {
            close_named(entry, &name(number));
        }
        // Only the names are left.
        let remembered = count(|slot| slot.slot.channel.is_none());
        assert_eq!(count(|_| true), remembered);
        let weight = NAME_OVERHEAD + name(0).as_str().len();
        assert_eq!(usage() - before, remembered * weight);
        // They have a limit of their own.
        for number in 0..2 * MAX_CLOSED {
            let name = ChannelName::new(&format!("more-{number:02}")).unwrap();
            open_named(entry, Direction::Both, &name, Settings::default, false).unwrap();
            close_named(entry, &name);
        }
        assert_eq!(count(|_| true), MAX_CLOSED);
        assert!(usage() - before <= MAX_CLOSED * (weight + 2));
        session.destroy();
        assert_eq!(count(|_| true), 0);
    }
}
