//! Settings of channels. A channel carries messages between the program and the clients of a session. Clients connect
//! to it at an endpoint, which is a route.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use super::{
    log::Limits,
    name::{ChannelName, NamePattern},
};
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
    /// The name of the channel. A named channel has settings of its own. The other channels of an endpoint share one
    /// value.
    pub(crate) name: Option<ChannelName>,
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
            name: None,
        }
    }
}

/// The settings of channels that the program opens before a client has connected at an endpoint. There is one value per
/// direction, and the first endpoint of this direction determines it. Named channels have the settings of the first
/// endpoint whose names fit.  The table of sessions stores these settings as an
/// attachment: a value whose type the table does not know.
#[derive(Default)]
pub(crate) struct ChannelSettings {
    unnamed: [OnceLock<Arc<Settings>>; 2],
    /// The endpoints of named channels, in the order of their registration.
    named: Mutex<Vec<NamedEndpoint>>,
}

struct NamedEndpoint {
    direction: Direction,
    pattern: Arc<NamePattern>,
    settings: Arc<Settings>,
}

impl Attachment for ChannelSettings {
    fn end(&self) {}
}

impl ChannelSettings {
    fn slot(&self, direction: Direction) -> &OnceLock<Arc<Settings>> {
        let [both, to_client] = &self.unnamed;
        match direction {
            Direction::Both => both,
            Direction::ToClient => to_client,
        }
    }

    pub(crate) fn suggest(&self, direction: Direction, settings: &Arc<Settings>) {
        // The call has no effect if another endpoint was first.
        let _ = self.slot(direction).set(settings.clone());
    }

    pub(crate) fn suggest_named(
        &self,
        direction: Direction,
        pattern: &Arc<NamePattern>,
        settings: &Arc<Settings>,
    ) {
        self.lock_named().push(NamedEndpoint {
            direction,
            pattern: pattern.clone(),
            settings: settings.clone(),
        });
    }

    fn lock_named(&self) -> MutexGuard<'_, Vec<NamedEndpoint>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the settings for a named channel: those of the first endpoint whose names fit, or else those of the
    /// direction.
    pub(crate) fn of_name(&self, direction: Direction, name: &ChannelName) -> Arc<Settings> {
        let named = self.lock_named();
        let mut fitting = named
            .iter()
            .filter(|known| known.direction == direction && known.pattern.fits(name));
        match fitting.next() {
            Some(known) => known.settings.clone(),
            None => self.of(direction).clone(),
        }
    }

    pub(crate) fn of(&self, direction: Direction) -> &Arc<Settings> {
        self.slot(direction).get_or_init(Arc::default)
    }
}
