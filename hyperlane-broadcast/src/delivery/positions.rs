//! Positions: what an event stream that follows rooms has received of each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use hyperlane_core::{Event, WireFormat};

use super::core::{Placement, RoomCore};
use crate::{
    follow::{RoomClaim, encode, tag_of},
    member::Start,
    offset::Offset,
    post::Post,
};

/// The positions of an event stream in the rooms that it follows.
///
/// The id of an event covers all that the stream has received before the event, in all rooms. Several hubs deliver to
/// the stream at the same time. The connection therefore calls [`encode`](Self::encode) under its own lock, in the order
/// in which the events are sent.
///
/// The value stays empty until the stream follows rooms, and is empty again if it could not join them.
#[derive(Default)]
pub(crate) struct Positions(Mutex<State>);

#[derive(Default)]
struct State {
    rooms: Vec<Position>,
    /// True until the client of a new stream has an id.
    needs_id: bool,
}

/// The position in one room.
struct Position {
    name: Arc<str>,
    tag: u32,
    epoch: u64,
    /// What ids say. Until the stream has joined the room, this is what the client has claimed.
    offset: Offset,
    /// `None` until the stream has joined the room.
    begin: Option<Begin>,
    /// True if the client has to learn of a gap.
    is_gap: bool,
}

/// Where the stream has begun in a room.
struct Begin {
    after: u64,
    /// True if the client had received all messages before.
    is_resumed: bool,
}

/// The ids that the messages of a room have for a connection.
pub(crate) enum Ids<'a> {
    None,
    /// The offset of each message.
    Offsets,
    /// The positions in several rooms; or the client has to receive a notice first.
    Of(&'a Positions),
}

impl Ids<'_> {
    pub(crate) fn are_offsets(&self) -> bool {
        matches!(self, Self::Offsets)
    }
}

impl Positions {
    /// Sets the positions that a client has claimed. Returns false if the stream follows rooms already.
    pub(crate) fn begin<'a>(
        &self,
        rooms: impl Iterator<Item = (&'a Arc<RoomCore>, RoomClaim)>,
        is_new: bool,
    ) -> bool {
        let position = |(core, claim): (&Arc<RoomCore>, RoomClaim)| Position {
            name: core.name.clone(),
            tag: tag_of(&core.name),
            epoch: core.epoch,
            offset: match claim {
                RoomClaim::New => core.last_offset(),
                RoomClaim::Lost => lost(core.epoch),
                RoomClaim::After(offset) => offset,
            },
            begin: None,
            is_gap: false,
        };
        let rooms: Vec<_> = rooms.map(position).collect();
        let mut state = self.lock();
        let is_free = state.rooms.is_empty();
        if is_free {
            *state = State {
                rooms,
                needs_id: is_new,
            };
        }
        is_free
    }

    /// Forgets the rooms, because the stream could not join all of them.
    pub(crate) fn abandon(&self) {
        let abandoned = std::mem::take(&mut *self.lock());
        drop(abandoned);
    }

    /// Notes that the client has to learn of a gap in a room, before the message `next`. The client then receives the
    /// notice before the next message, in any of its rooms.
    pub(crate) fn set_gap(&self, epoch: u64, next: u64) {
        let mut state = self.lock();
        let known = |room: &&Position| room.epoch == epoch;
        // A gap that the client does not know of yet begins earlier.
        if state
            .rooms
            .iter()
            .find(known)
            .is_none_or(|room| room.is_gap)
        {
            return;
        }
        // A stream of one room whose ids are the offsets of its messages does not move the position.
        state.advance(epoch, next.saturating_sub(1));
        if let Some(room) = state.rooms.iter_mut().find(|room| room.epoch == epoch) {
            room.is_gap = true;
        }
    }

    /// Locks the state. Takes no other lock under it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the ids for the messages of a room.
    pub(crate) fn ids_in(&self, epoch: u64) -> Ids<'_> {
        let state = self.lock();
        match state.rooms.as_slice() {
            [one] if one.epoch == epoch && !one.is_gap && !state.needs_id => Ids::Offsets,
            rooms if rooms.iter().any(|room| room.epoch == epoch) => Ids::Of(self),
            _ => Ids::None,
        }
    }

    /// Notes where the stream begins in a room. The caller holds the room's lock, so no message comes before.
    pub(crate) fn set_start(&self, core: &RoomCore, place: &Placement, start: Start) {
        let mut state = self.lock();
        let mut rooms = state.rooms.iter_mut();
        if let Some(room) = rooms.find(|room| room.epoch == core.epoch) {
            let after = place.from.saturating_sub(1);
            room.offset = core.offset(after);
            room.is_gap = place.is_gap;
            room.begin = Some(Begin {
                after,
                is_resumed: matches!(start, Start::After(_)) && !place.is_gap,
            });
        }
    }

    /// Encodes messages of a room, after the notices that the client has to receive first. Moves the position. Leaves out
    /// what the client receives, or has received, from an earlier room of the same message.
    pub(crate) fn encode(&self, epoch: u64, format: WireFormat, posts: &[&Post]) -> Bytes {
        let mut state = self.lock();
        let mut bytes = BytesMut::new();
        if let Some(notice) = state.take_notice()
            && let Ok(notice) = format.encode_event(&notice)
        {
            bytes.extend_from_slice(&notice);
        }
        for post in posts {
            let encoded = match post.is_volatile() {
                true => post.encode_event(format, None),
                false => {
                    state.advance(epoch, post.number);
                    if post.draft.earlier.iter().any(|earlier| state.has(*earlier)) {
                        continue;
                    }
                    post.encode_event(format, Some(&state.id()))
                }
            };
            bytes.extend_from_slice(&encoded.unwrap_or_default());
        }
        bytes.freeze()
    }
}

impl State {
    /// Returns the id of an event that is sent now.
    fn id(&self) -> String {
        match self.rooms.as_slice() {
            [one] => one.offset.to_string(),
            rooms => encode(rooms.iter().map(|room| (room.tag, room.offset))),
        }
    }

    /// Returns the event that tells the client of gaps, or gives a new client its first id.
    fn take_notice(&mut self) -> Option<Event> {
        let gaps: Vec<_> = self
            .rooms
            .iter_mut()
            .filter_map(|room| std::mem::take(&mut room.is_gap).then(|| room.name.clone()))
            .collect();
        let needs_id = std::mem::take(&mut self.needs_id);
        if gaps.is_empty() {
            // The encoder gives an event without data the name `position`, and the id as its data.
            return needs_id.then(|| Event::new().id(self.id()));
        }
        let names: Vec<&str> = gaps.iter().map(|name| &**name).collect();
        let data = serde_json::json!({ "rooms": names }).to_string();
        Some(Event::new().event("reset").id(self.id()).data(data))
    }

    fn advance(&mut self, epoch: u64, number: u64) {
        if let Some(room) = self.rooms.iter_mut().find(|room| room.epoch == epoch) {
            let before = match room.offset.epoch == epoch {
                true => room.offset.number,
                false => 0,
            };
            let number = number.max(before);
            room.offset = Offset { epoch, number };
        }
    }

    /// Returns whether the client receives, or has received, the message at this place in a room.
    fn has(&self, offset: Offset) -> bool {
        let mut rooms = self.rooms.iter();
        let room = rooms.find(|room| room.epoch == offset.epoch);
        let begin = room.and_then(|room| room.begin.as_ref());
        begin.is_some_and(|begin| begin.is_resumed || offset.number > begin.after)
    }
}

/// Returns an offset that is a gap in the room with this epoch.
pub(crate) fn lost(epoch: u64) -> Offset {
    Offset {
        epoch: !epoch,
        number: 0,
    }
}
