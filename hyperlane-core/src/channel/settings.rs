//! How channels behave.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::log::Limits;

/// What a session's channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `ctx.ws()`.
    Both,
    /// `ctx.sse()`.
    ToClient,
}

/// How a channel behaves; its endpoint says.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long a send waits for room.
    pub(crate) timeout: Duration,
    /// How long it waits for a client to come back.
    pub(crate) grace: Duration,
    /// What waits for clients, and as much again of what was written, for those who come back.
    pub(crate) limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            grace: Duration::from_secs(120),
            limits: Limits {
                messages: 256,
                bytes: 100_000,
            },
        }
    }
}

/// How channels behave that no client has connected to yet: as the first endpoint of their kind says. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct ChannelSettings(Arc<[OnceLock<Arc<Settings>>; 2]>);

impl ChannelSettings {
    fn slot(&self, direction: Direction) -> &OnceLock<Arc<Settings>> {
        let [both, to_client] = &*self.0;
        match direction {
            Direction::Both => both,
            Direction::ToClient => to_client,
        }
    }

    pub(crate) fn suggest(&self, direction: Direction, settings: &Arc<Settings>) {
        // Another endpoint may have said before.
        let _ = self.slot(direction).set(settings.clone());
    }

    pub(crate) fn of(&self, direction: Direction) -> &Arc<Settings> {
        self.slot(direction).get_or_init(Arc::default)
    }
}
