//! Limits of rooms.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use hyperlane_core::Message;

use crate::pattern::Pattern;

/// Limits of all rooms of a server together. [`RoomLimits`] are the limits of one room.
///
/// ```
/// use std::time::Duration;
/// use hyperlane_broadcast::{RoomLimits, Rooms, RoomsConfig};
///
/// let config = RoomsConfig::default()
///     .history_messages(50)
///     .limits_for("log:*", RoomLimits::default().history_age(Duration::from_secs(3600)));
/// let rooms = Rooms::with_config(config);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoomsConfig {
    /// Maximum length of a room's name, in bytes. Default: 255.
    pub name_bytes: usize,
    /// Maximum number of rooms. Default: 100 000. At the limit, a new room displaces the empty room that was used least
    /// recently. If no room is empty, [`Rooms::room`](crate::Rooms::room) returns an error.
    pub rooms: usize,
    /// Maximum number of rooms that one connection may join. Default: 128.
    pub rooms_per_connection: usize,
    /// Maximum size of the histories of all rooms together, in bytes. Default: 64 MiB. Above the limit, the empty rooms
    /// that were used least recently lose their histories first. If no room is empty, the longest history loses its
    /// oldest messages.
    pub histories_bytes: usize,
    /// Maximum size of what waits for slow members in all rooms together, in bytes. Default: 256 MiB. Above the limit,
    /// the members that are farthest behind lose their place first, whatever the policy of their room.
    pub waiting_bytes: usize,
    /// Maximum time that [`Room::broadcast`](crate::Room::broadcast) waits while the room's queue is full. Default: 5 s.
    pub publish_timeout: Duration,
    /// Size of the queue of a sink ([`Rooms::sink`](crate::Rooms::sink)) from which it takes no more messages, in bytes.
    /// Default: 1 MiB. Each message counts with an overhead of about 40 bytes. A room stops earlier, at
    /// [`RoomLimits::outbox_bytes`].
    pub sink_bytes: usize,
    /// Maximum time that a closed sink ([`Rooms::sink`](crate::Rooms::sink)) has for what is still queued, and for its
    /// own end. Default: 5 s. Then it is dropped.
    pub sink_close_timeout: Duration,
    /// Limits of each room whose name matches no pattern of [`limits_for`](Self::limits_for).
    pub limits: RoomLimits,
    /// Limits of rooms by pattern. The first pattern that matches the name applies.
    pub(crate) patterns: Vec<(Pattern, RoomLimits)>,
    /// Names of the rooms for which the metric `hyperlane_room_size` is recorded. Default: none.
    ///
    /// Each name becomes a value of the metric's label `room`. The metric covers only the listed rooms, because the
    /// number of rooms is high, and a label should have few values.
    #[cfg(feature = "metrics")]
    pub measured_rooms: Vec<String>,
}

/// Limits of one room: its history, its queue and its slow members.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoomLimits {
    /// Maximum number of messages in the history. Default: 100.
    ///
    /// New members may ask for the last messages of the history ([`Join::history`](crate::Join::history)), and members
    /// that return for the messages since their last one ([`Join::since`](crate::Join::since)).
    pub history_messages: usize,
    /// Maximum size of the history, in bytes. Default: 4 MiB. A message counts with its encoded forms: each wire format
    /// in use among the members keeps its own. A message may be as long as a quarter of this limit.
    pub history_bytes: usize,
    /// Maximum age of a message in the history. Default: 5 min. A room without members keeps its history until then.
    pub history_age: Duration,
    /// Maximum number of messages that wait in the room's queue for the room's hubs, and the same number of joins and
    /// leaves beside them. Default: 4096.
    pub queue_messages: usize,
    /// Maximum size of the messages that wait in the room's queue, in bytes. Default: 1 MiB. Each message counts its
    /// length and an overhead of about 200 bytes. An empty queue takes one message of any size.
    pub queue_bytes: usize,
    /// What happens to a member that reads more slowly than the room publishes. Default: [`SlowPolicy::Disconnect`].
    pub slow: SlowPolicy,
    /// Maximum number of messages that a slow member may be behind. Default: 16 384. Applies to
    /// [`SlowPolicy::Disconnect`] and [`SlowPolicy::DropOldest`].
    pub slow_messages: usize,
    /// Maximum size of the messages that a slow member may be behind, in bytes. Default: 4 MiB. With
    /// [`SlowPolicy::Conflate`], the maximum size of the messages that the room keeps for its slow members, each with
    /// an overhead of about 200 bytes. With [`SlowPolicy::DropNewest`], the room keeps none.
    pub slow_bytes: usize,
    /// Maximum time for which a slow member may take nothing. Default: 15 s. Applies to [`SlowPolicy::Disconnect`] and
    /// [`SlowPolicy::DropOldest`]. With any policy, the server closes a connection that takes nothing for
    /// [`ServerConfig::outbox_stall`](hyperlane_core::ServerConfig).
    pub slow_stall: Duration,
    /// Maximum number of keys of which a room with [`SlowPolicy::Conflate`] keeps the newest message for slow members.
    /// Default: 1000. Beyond the limit, the key whose newest message is the oldest loses its place.
    pub conflated_keys: usize,
    /// Size of a member's outbox from which the room sends no more to it, in bytes. Default: 256 KiB. Then the member is
    /// slow: the messages wait in the room, where all members share them. A room with [`SlowPolicy::Conflate`] uses at
    /// most 4 KiB, because what is in the outbox can no longer be replaced by newer messages.
    ///
    /// The system has a buffer too, which comes before the outbox. Where a slow member must notice soon that it is
    /// behind, set [`ServerConfig::send_buffer`](hyperlane_core::ServerConfig) as well.
    pub outbox_bytes: usize,
    pub(crate) missed_notice: Option<MissedNotice>,
}

/// The function of [`RoomLimits::missed_notice`].
#[derive(Clone)]
pub(crate) struct MissedNotice(Arc<dyn Fn(u64) -> Message + Send + Sync>);

impl MissedNotice {
    /// Returns the notice for a number of missed messages. Returns `None` if the program's function panics.
    pub(crate) fn message(&self, missed: u64) -> Option<Message> {
        let made = catch_unwind(AssertUnwindSafe(|| (self.0)(missed)));
        made.inspect_err(|_| tracing::error!("the function of `missed_notice` panicked"))
            .ok()
    }
}

impl fmt::Debug for MissedNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MissedNotice")
    }
}

/// What happens to a slow member whose place the room no longer keeps.
///
/// A member is slow from the first message that its full outbox refuses, until it has received all that it has missed.
/// While it is slow, the room keeps the messages that it has not received yet, within the limits
/// [`slow_messages`](RoomLimits::slow_messages), [`slow_bytes`](RoomLimits::slow_bytes) and
/// [`slow_stall`](RoomLimits::slow_stall), and in any case as long as they are in the history.
///
/// No policy drops control frames: pings, pongs and Close frames of the connection go out whenever the client reads.
/// A slow member never receives a volatile message ([`Publisher::volatile`](crate::Publisher::volatile)), whatever the
/// policy. A new member first receives the part of the history that it has asked for, also if that fills its outbox.
/// If what waits in all rooms together exceeds [`RoomsConfig::waiting_bytes`], the members that are farthest behind lose
/// their place whatever the policy, and their connections are closed if that alone frees enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowPolicy {
    /// Within the limits the member receives every message. Beyond them its connection is closed: a WebSocket with
    /// code 1013 (try again later).
    #[default]
    Disconnect,
    /// Beyond the limits the member loses the oldest messages, and goes on with the oldest that the room still has.
    DropOldest,
    /// The member loses the messages that are published while it is slow. It goes on with the next message that is
    /// published after its outbox has emptied to the half.
    DropNewest,
    /// Of all messages with the same key ([`Publisher::key`](crate::Publisher::key)) that the member has not received,
    /// it receives the newest. A message without a key counts as a key of its own. The room keeps the messages for slow
    /// members within [`conflated_keys`](RoomLimits::conflated_keys) and [`slow_bytes`](RoomLimits::slow_bytes).
    Conflate,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            name_bytes: 255,
            rooms: 100_000,
            rooms_per_connection: 128,
            histories_bytes: 64 * 1024 * 1024,
            waiting_bytes: 256 * 1024 * 1024,
            publish_timeout: Duration::from_secs(5),
            sink_bytes: 1024 * 1024,
            sink_close_timeout: Duration::from_secs(5),
            limits: RoomLimits::default(),
            patterns: Vec::new(),
            #[cfg(feature = "metrics")]
            measured_rooms: Vec::new(),
        }
    }
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            history_messages: 100,
            history_bytes: 4 * 1024 * 1024,
            history_age: Duration::from_secs(5 * 60),
            queue_messages: 4096,
            queue_bytes: 1024 * 1024,
            slow: SlowPolicy::default(),
            slow_messages: 16 * 1024,
            slow_bytes: 4 * 1024 * 1024,
            slow_stall: Duration::from_secs(15),
            conflated_keys: 1000,
            outbox_bytes: 256 * 1024,
            missed_notice: None,
        }
    }
}

/// Makes a method that sets a field and returns the value.
macro_rules! setters {
    ($($field:ident: $type:ty),+ $(,)?) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
            #[must_use]
            pub fn $field(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )+
    };
}

impl RoomLimits {
    setters! {
        history_messages: usize,
        history_bytes: usize,
        history_age: Duration,
        queue_messages: usize,
        queue_bytes: usize,
        slow: SlowPolicy,
        slow_messages: usize,
        slow_bytes: usize,
        slow_stall: Duration,
        conflated_keys: usize,
        outbox_bytes: usize,
    }

    /// Sets a function that makes a notice for a slow member which has missed messages. The function gets their number.
    /// Default: no notice.
    ///
    /// The member receives the notice before its next message, or with [`SlowPolicy::Conflate`] after the newest
    /// messages of the keys. The number counts the messages of the room from the first that the member has missed to
    /// the last. It includes those that were for other members, but no volatile ones. With
    /// [`SlowPolicy::Disconnect`] a member misses nothing before its connection is closed. If the function panics, the
    /// panic is logged, and the member receives no notice.
    ///
    /// ```
    /// use hyperlane_broadcast::{RoomLimits, SlowPolicy};
    ///
    /// let limits = RoomLimits::default()
    ///     .slow(SlowPolicy::DropOldest)
    ///     .missed_notice(|missed| format!("{missed} messages missed"));
    /// ```
    #[must_use]
    pub fn missed_notice<M: Into<Message>>(
        mut self,
        notice: impl Fn(u64) -> M + Send + Sync + 'static,
    ) -> Self {
        let notice = move |missed| notice(missed).into();
        self.missed_notice = Some(MissedNotice(Arc::new(notice)));
        self
    }

    /// Returns the size of a member's outbox from which the room sends no more to it, in bytes.
    pub(crate) fn outbox_limit(&self) -> usize {
        /// Maximum size in a room that conflates. What is in an outbox can no longer be replaced by newer messages.
        const CONFLATED: usize = 4 * 1024;
        match self.slow {
            SlowPolicy::Conflate => self.outbox_bytes.min(CONFLATED),
            _ => self.outbox_bytes,
        }
    }

    /// Returns whether the log keeps for a slow member what it has not received.
    pub(crate) fn keeps_missed(&self) -> bool {
        matches!(self.slow, SlowPolicy::Disconnect | SlowPolicy::DropOldest)
    }

    /// Returns the maximum length of a message, in bytes.
    pub(crate) fn message_bytes(&self) -> usize {
        self.history_bytes / 4
    }
}

impl RoomsConfig {
    setters! {
        rooms: usize,
        rooms_per_connection: usize,
        histories_bytes: usize,
        waiting_bytes: usize,
        publish_timeout: Duration,
        sink_bytes: usize,
        sink_close_timeout: Duration,
        limits: RoomLimits,
    }

    /// Sets the limits of the rooms whose name matches `pattern`. In a pattern, `*` stands for any number of any bytes.
    /// If several patterns match, the one that was set first applies.
    #[must_use]
    pub fn limits_for(mut self, pattern: impl AsRef<str>, limits: RoomLimits) -> Self {
        self.patterns.push((Pattern::new(pattern.as_ref()), limits));
        self
    }

    /// Sets [`history_messages`](RoomLimits::history_messages) of [`limits`](Self::limits).
    #[must_use]
    pub fn history_messages(mut self, messages: usize) -> Self {
        self.limits.history_messages = messages;
        self
    }

    /// Sets [`history_bytes`](RoomLimits::history_bytes) of [`limits`](Self::limits).
    #[must_use]
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.limits.history_bytes = bytes;
        self
    }

    /// Sets [`history_age`](RoomLimits::history_age) of [`limits`](Self::limits).
    #[must_use]
    pub fn history_age(mut self, age: Duration) -> Self {
        self.limits.history_age = age;
        self
    }

    /// Sets [`slow`](RoomLimits::slow) of [`limits`](Self::limits).
    #[must_use]
    pub fn slow(mut self, policy: SlowPolicy) -> Self {
        self.limits.slow = policy;
        self
    }

    /// Sets [`measured_rooms`](Self::measured_rooms).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn measured_rooms<R: Into<String>>(mut self, names: impl IntoIterator<Item = R>) -> Self {
        self.measured_rooms = names.into_iter().map(Into::into).collect();
        self
    }
}
