//! Settings of channels. A channel carries messages between the program and the clients of a session. Clients connect
//! to it at an endpoint, which is a route.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::log::Limits;
use crate::session::Attachment;

/// The direction of a session's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The channel of `ctx.ws()`, for messages in both directions.
    Both,
    /// The channel of `ctx.sse()`, for messages to the client.
    ToClient,
}

/// Settings of a channel. The endpoint of the channel sets them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Maximum time that a send waits for room.
    pub(crate) timeout: Duration,
    /// Maximum time that the channel waits for a client to come back.
    pub(crate) grace: Duration,
    /// Limits of the messages that wait for clients. The same limits apply separately to the history: the written
    /// messages that the channel keeps for clients that come back.
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

/// The settings of channels that the program opens before a client has connected at an endpoint. There is one value per
/// direction, and the first endpoint of this direction determines it. The table of sessions stores these settings as an
/// attachment: a value whose type the table does not know.
#[derive(Default)]
pub(crate) struct ChannelSettings([OnceLock<Arc<Settings>>; 2]);

impl Attachment for ChannelSettings {
    fn end(&self) {}
}

impl ChannelSettings {
    fn slot(&self, direction: Direction) -> &OnceLock<Arc<Settings>> {
        let [both, to_client] = &self.0;
        match direction {
            Direction::Both => both,
            Direction::ToClient => to_client,
        }
    }

    pub(crate) fn suggest(&self, direction: Direction, settings: &Arc<Settings>) {
        // The call has no effect if another endpoint was first.
        let _ = self.slot(direction).set(settings.clone());
    }

    pub(crate) fn of(&self, direction: Direction) -> &Arc<Settings> {
        self.slot(direction).get_or_init(Arc::default)
    }
}
