//! Limits of rooms.

use std::time::Duration;

/// Limits of rooms (groups of connections that receive the same messages).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoomsConfig {
    /// Maximum length of a room's name, in bytes. Default: 255.
    pub name_bytes: usize,
    /// Maximum number of rooms that one connection may join. Default: 128.
    pub rooms_per_connection: usize,
    /// Maximum number of messages in a room's history. Default: 100.
    ///
    /// Slow members receive missed messages from the history. New members may ask for the last messages
    /// of the history ([`Join::history`](crate::Join::history)).
    pub history_messages: usize,
    /// Maximum size of a room's history, in bytes. Default: 1 MiB. Each message adds its length and a small overhead.
    pub history_bytes: usize,
    /// Maximum age of a message in a room's history. Default: 5 min.
    pub history_age: Duration,
    /// Names of the rooms for which the metric `hyperlane_room_size` is recorded. Default: none.
    ///
    /// Each name becomes a value of the metric's label `room`. The metric covers only the listed rooms, because the
    /// number of rooms has no limit, and a label should have few values.
    #[cfg(feature = "metrics")]
    pub measured_rooms: Vec<String>,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            name_bytes: 255,
            rooms_per_connection: 128,
            history_messages: 100,
            history_bytes: 1024 * 1024,
            history_age: Duration::from_secs(5 * 60),
            #[cfg(feature = "metrics")]
            measured_rooms: Vec::new(),
        }
    }
}

impl RoomsConfig {
    /// Sets [`history_messages`](Self::history_messages).
    #[must_use]
    pub fn history_messages(mut self, messages: usize) -> Self {
        self.history_messages = messages;
        self
    }

    /// Sets [`history_bytes`](Self::history_bytes).
    #[must_use]
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.history_bytes = bytes;
        self
    }

    /// Sets [`history_age`](Self::history_age).
    #[must_use]
    pub fn history_age(mut self, age: Duration) -> Self {
        self.history_age = age;
        self
    }

    /// Sets [`rooms_per_connection`](Self::rooms_per_connection).
    #[must_use]
    pub fn rooms_per_connection(mut self, rooms: usize) -> Self {
        self.rooms_per_connection = rooms;
        self
    }

    /// Sets [`measured_rooms`](Self::measured_rooms).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn measured_rooms<R: Into<String>>(mut self, names: impl IntoIterator<Item = R>) -> Self {
        self.measured_rooms = names.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn history_limits(&self) -> HistoryLimits {
        HistoryLimits {
            messages: self.history_messages,
            bytes: self.history_bytes,
            age: self.history_age,
        }
    }
}

/// Limits of a [`History`](crate::history::History). When a message is added, the history drops its oldest messages
/// until it is within all limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}
