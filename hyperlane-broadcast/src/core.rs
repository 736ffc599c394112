//! State of one room: members, order of messages, history, shards.
//!
//! A room is a named group of connections, its members. A hub is a task that delivers messages to members. A shard is
//! the part of a room that one hub serves.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyperlane_core::Message;
use tokio::time::Instant;

use crate::{
    config::HistoryLimits,
    history::History,
    member::{Member, MemberId},
    metrics::RoomMetrics,
    post::{Audience, Offset, Post},
    shard::{Command, Shard},
};

/// The data of one member in the state of its room.
pub(crate) struct MemberRecord {
    pub(crate) user: Arc<str>,
    shard: u32,
    /// The message that the other members receive when this member leaves. Boxed, because few members have one.
    pub(crate) farewell: Option<Box<Message>>,
}

/// The part of a room's state that the room's lock protects.
pub(crate) struct RoomState {
    pub(crate) next_offset: Offset,
    pub(crate) history: History,
    pub(crate) members: HashMap<MemberId, MemberRecord>,
    /// Number of members in each shard.
    seats_per_shard: Vec<usize>,
}

/// A room. Its handles, the hubs and the registry (the map of all rooms) share it.
pub(crate) struct RoomCore {
    pub(crate) name: Arc<str>,
    state: Mutex<RoomState>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) metrics: RoomMetrics,
}

impl RoomCore {
    pub(crate) fn new(name: Arc<str>, shards: usize, metrics: RoomMetrics) -> Self {
        Self {
            name,
            state: Mutex::new(RoomState {
                next_offset: Offset::default(),
                history: History::default(),
                members: HashMap::new(),
                seats_per_shard: vec![0; shards],
            }),
            shards: (0..shards).map(|_| Shard::default()).collect(),
            metrics,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a message and returns the number of members in its audience. Calls `wake` with the index of
    /// each shard that has members.
    ///
    /// The call holds the room's lock until the message is in the queues of these shards. Concurrent calls therefore
    /// queue their messages in every shard in the same order: the order of the offsets.
    pub(crate) fn publish(
        &self,
        message: Message,
        audience: Audience,
        limits: &HistoryLimits,
        wake: impl Fn(usize),
    ) -> usize {
        let mut state = self.lock();
        let post = Arc::new(Post::new(state.next_offset, audience, message));
        state.next_offset = state.next_offset.next();
        state.history.push(post.clone(), Instant::now(), limits);
        let count = match &post.audience {
            Audience::All => state.members.len(),
            Audience::Except(member) => {
                state.members.len() - usize::from(state.members.contains_key(member))
            }
            Audience::Only(members) => members
                .iter()
                .filter(|member| state.members.contains_key(member))
                .count(),
        };
        for (index, (shard, seats)) in self.shards.iter().zip(&state.seats_per_shard).enumerate() {
            if *seats > 0 {
                shard.enqueue(Command::Post(post.clone()));
                wake(index);
            }
        }
        count
    }

    /// Appends a command to a shard's queue.
    pub(crate) fn enqueue(&self, shard: usize, command: Command) {
        if let Some(shard) = self.shards.get(shard) {
            shard.enqueue(command);
        }
    }

    /// Discards a shard's queue.
    pub(crate) fn clear_shard(&self, shard: usize) {
        if let Some(shard) = self.shards.get(shard) {
            shard.clear();
        }
    }

    /// Returns the messages from the offset `position` on. Returns `None` if the history has dropped some of these
    /// messages.
    pub(crate) fn messages_since(&self, position: Offset) -> Option<Vec<Arc<Post>>> {
        let state = self.lock();
        state.history.since(position, state.next_offset)
    }

    /// Returns the number of members.
    pub(crate) fn member_count(&self) -> usize {
        self.lock().members.len()
    }

    /// Returns true if the room has no members and no history. The registry then removes the room if no handle to it is
    /// left.
    pub(crate) fn is_vacant(&self) -> bool {
        let state = self.lock();
        state.members.is_empty() && state.history.is_empty()
    }
}

impl RoomState {
    /// Returns the index of the shard for a new member. A small room puts each new member into the shard `home`, so
    /// that a message to the room wakes a single hub. A large room puts each new member into the shard with the fewest
    /// members.
    pub(crate) fn shard_for(&self, home: usize) -> usize {
        /// Number of members from which a room uses all its shards.
        const SHARE_FROM: usize = 32;
        if self.members.len() < SHARE_FROM {
            return home;
        }
        self.seats_per_shard
            .iter()
            .enumerate()
            .min_by_key(|(_, seats)| **seats)
            .map_or(home, |(shard, _)| shard)
    }

    /// Adds a member whose seat is in the shard of index `shard`.
    pub(crate) fn add_member(&mut self, member: &Member, shard: usize, farewell: Option<Message>) {
        if let Some(seats) = self.seats_per_shard.get_mut(shard) {
            *seats += 1;
        }
        let record = MemberRecord {
            user: member.user.clone(),
            shard: u32::try_from(shard).unwrap_or(u32::MAX),
            farewell: farewell.map(Box::new),
        };
        self.members.insert(member.id, record);
    }

    /// Removes a member. Returns the index of its shard and its farewell. Returns `None` if the connection is not a
    /// member.
    pub(crate) fn remove_member(&mut self, id: MemberId) -> Option<(usize, Option<Message>)> {
        let record = self.members.remove(&id)?;
        let shard = record.shard as usize;
        if let Some(seats) = self.seats_per_shard.get_mut(shard) {
            *seats -= 1;
        }
        Some((shard, record.farewell.map(|farewell| *farewell)))
    }

    /// Returns the last `count` messages that the new member `id` may receive, oldest first.
    pub(crate) fn replay(
        &mut self,
        count: usize,
        id: MemberId,
        limits: &HistoryLimits,
    ) -> Vec<Arc<Post>> {
        if count == 0 {
            return Vec::new();
        }
        self.history.expire(Instant::now(), limits);
        self.history.last(count, id)
    }
}
