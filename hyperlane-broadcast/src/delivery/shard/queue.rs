//! The queue of a shard: what it has, and when its hub looks at it.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::Command;

#[derive(Default)]
pub(super) struct ShardQueue {
    pub(super) commands: VecDeque<Command>,
    pub(super) wake: WakeState,
    /// True if the shard counts as busy: the hub has been woken for it, or the queue is not empty.
    pub(super) is_busy: bool,
    /// Members that are behind and whose outbox has room again.
    pub(super) drained: Vec<u64>,
    /// What the joins that were not carried out ask for: the number of the first message of each, without those before
    /// which a later join asks for an older message. So the front is the oldest message that a join asks for.
    pub(super) joins_need: VecDeque<u64>,
    /// Until this time the hub delivers no messages from the queue, because some members are nearly as fast as the
    /// room and catch up.
    pub(super) paused_until: Option<Instant>,
    /// Until this time the hub does not pause again for a few members alone.
    pub(super) rest_until: Option<Instant>,
}

/// A pause of a flooded room, in which members that are behind catch up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) now: Instant,
    pub(crate) until: Instant,
    /// True if the pause helps only a small part of the members. Such pauses take at most half of the time, so that a
    /// few members cannot slow down the room for long.
    pub(crate) is_for_few: bool,
}

impl ShardQueue {
    /// Begins a pause. Returns false if the last one for a few members was too short a time ago.
    pub(super) fn pause(&mut self, pause: Pause) -> bool {
        if pause.is_for_few {
            if self.rest_until.is_some_and(|rest| pause.now < rest) {
                return false;
            }
            self.rest_until = Some(pause.until + (pause.until - pause.now));
        }
        self.paused_until = Some(pause.until);
        true
    }

    /// Notes the first message that the last join in the queue asks for.
    pub(super) fn push_need(&mut self, from: u64) {
        while self.joins_need.back().is_some_and(|need| *need > from) {
            self.joins_need.pop_back();
        }
        self.joins_need.push_back(from);
    }

    /// Notes that the first join, which asks for this message, was carried out.
    pub(super) fn pop_need(&mut self, from: u64) {
        if self.joins_need.front() == Some(&from) {
            self.joins_need.pop_front();
        }
        if self.joins_need.is_empty() {
            self.joins_need = VecDeque::new();
        }
    }
}

/// Tells whether the hub has been woken for the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WakeState {
    /// The shard is not in the hub's inbox.
    #[default]
    Idle,
    /// The shard is in the hub's inbox, or a pass runs over it.
    Woken,
}
