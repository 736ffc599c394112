//! The state of a room.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyperlane_core::Message;
use tokio::time::Instant;

use crate::{
    config::HistoryLimits,
    history::History,
    lane::{Command, Lane},
    member::{Member, MemberId},
    metrics::RoomMetrics,
    post::{Audience, Offset, Post},
};

/// What a room knows of a member.
pub(crate) struct Record {
    pub(crate) user: Arc<str>,
    lane: usize,
    pub(crate) farewell: Option<Message>,
}

/// The state behind the room's lock.
pub(crate) struct State {
    pub(crate) next: Offset,
    pub(crate) history: History,
    pub(crate) members: HashMap<MemberId, Record>,
    /// Members in each lane.
    seated: Vec<usize>,
}

/// What all handles of a room share.
pub(crate) struct RoomCore {
    pub(crate) name: Arc<str>,
    state: Mutex<State>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) metrics: RoomMetrics,
}

impl RoomCore {
    pub(crate) fn new(name: Arc<str>, lanes: usize, metrics: RoomMetrics) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                next: Offset::default(),
                history: History::default(),
                members: HashMap::new(),
                seated: vec![0; lanes],
            }),
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            metrics,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes under the room's lock: the order of offsets is the order everywhere. Calls `wake` for
    /// each lane with members, and returns how many they are.
    pub(crate) fn publish(
        &self,
        message: Message,
        audience: Audience,
        limits: &HistoryLimits,
        wake: impl Fn(usize),
    ) -> usize {
        let mut state = self.lock();
        let post = Arc::new(Post::new(state.next, audience, message));
        state.next = state.next.next();
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
        for (lane, (queue, seated)) in self.lanes.iter().zip(&state.seated).enumerate() {
            if *seated > 0 {
                queue.post(Command::Post(post.clone()));
                wake(lane);
            }
        }
        count
    }

    /// Posts to a lane of this room.
    pub(crate) fn post(&self, lane: usize, command: Command) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.post(command);
        }
    }

    /// What a member that has got everything before `from` still lacks; `None` when some of it is gone.
    pub(crate) fn missed(&self, from: Offset) -> Option<Vec<Arc<Post>>> {
        let state = self.lock();
        state.history.since(from, state.next)
    }

    /// Members.
    pub(crate) fn size(&self) -> usize {
        self.lock().members.len()
    }

    /// Whether nobody would notice if the room were forgotten.
    pub(crate) fn is_vacant(&self) -> bool {
        let state = self.lock();
        state.members.is_empty() && state.history.is_empty()
    }
}

impl State {
    /// The lane of a new member: few members share one, so that a small room wakes one hub; many are
    /// dealt out evenly.
    pub(crate) fn lane_for(&self, home: usize) -> usize {
        /// Members that one hub serves before another is asked.
        const SHARE_FROM: usize = 32;
        if self.members.len() < SHARE_FROM {
            return home;
        }
        self.seated
            .iter()
            .enumerate()
            .min_by_key(|(_, seated)| **seated)
            .map_or(home, |(lane, _)| lane)
    }

    /// Adds a member, whose seat is in this lane.
    pub(crate) fn seat(&mut self, member: &Member, lane: usize, farewell: Option<Message>) {
        if let Some(seated) = self.seated.get_mut(lane) {
            *seated += 1;
        }
        let record = Record {
            user: member.user.clone(),
            lane,
            farewell,
        };
        self.members.insert(member.id, record);
    }

    /// Removes a member, and returns its lane and its farewell; `None` if it is not in the room.
    pub(crate) fn unseat(&mut self, id: MemberId) -> Option<(usize, Option<Message>)> {
        let record = self.members.remove(&id)?;
        if let Some(seated) = self.seated.get_mut(record.lane) {
            *seated -= 1;
        }
        Some((record.lane, record.farewell))
    }

    /// The last `count` messages for a new member.
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
