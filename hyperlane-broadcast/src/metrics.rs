//! Metrics of rooms, for the recorder that the program installs with the crate `metrics`.

use metrics::{Counter, Gauge, KeyName, SharedString, Unit, counter, gauge};

use crate::config::RoomsConfig;

/// Metrics of all rooms. Contains `None` if the program had installed no recorder when it made its first room.
pub(crate) struct Metrics(Option<Box<Instruments>>);

struct Instruments {
    rooms: Gauge,
    members: Gauge,
    deliveries: Counter,
    slow: Counter,
    missed: Counter,
    drops: Counter,
}

/// The metrics that one room records. Contains `None` if [`Metrics`] does.
#[derive(Default)]
pub(crate) struct RoomMetrics(Option<Box<RoomInstruments>>);

struct RoomInstruments {
    /// `Some` for rooms that [`RoomsConfig::measured_rooms`] lists.
    size: Option<Gauge>,
    // The counters count for all rooms together: they are clones of the counters in `Instruments`.
    deliveries: Counter,
    slow: Counter,
    missed: Counter,
    drops: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // If no recorder is installed, the crate `metrics` passes its no-op recorder, a type of size 0. Only the size
        // shows that it is the no-op recorder. If the program's own recorder has no fields, its size is also 0, so the
        // rooms record nothing (docs/observability.md).
        if metrics::with_recorder(|recorder| size_of_val(recorder)) == 0 {
            return Self(None);
        }
        metrics::with_recorder(|recorder| {
            for (name, text) in [
                ("hyperlane_rooms", "Rooms that exist."),
                (
                    "hyperlane_room_members",
                    "Members of all rooms; a connection counts once for each room.",
                ),
                (
                    "hyperlane_room_size",
                    "Members of one room, for rooms that the program lists.",
                ),
            ] {
                let name = KeyName::from_const_str(name);
                let text = SharedString::const_str(text);
                recorder.describe_gauge(name, Some(Unit::Count), text);
            }
            recorder.describe_counter(
                KeyName::from_const_str("hyperlane_deliveries_total"),
                Some(Unit::Count),
                SharedString::const_str("Messages of rooms handed to a member's outbox."),
            );
            recorder.describe_counter(
                KeyName::from_const_str("hyperlane_slow_members_total"),
                Some(Unit::Count),
                SharedString::const_str(
                    "Members of rooms that have become slow: their outbox was full.",
                ),
            );
            recorder.describe_counter(
                KeyName::from_const_str("hyperlane_missed_messages_total"),
                Some(Unit::Count),
                SharedString::const_str(
                    "Messages of rooms that slow members did not receive, once for each member.",
                ),
            );
        });
        Self(Some(Box::new(Instruments {
            rooms: gauge!("hyperlane_rooms"),
            members: gauge!("hyperlane_room_members"),
            deliveries: counter!("hyperlane_deliveries_total"),
            slow: counter!("hyperlane_slow_members_total"),
            missed: counter!("hyperlane_missed_messages_total"),
            drops: counter!("hyperlane_drops_total", "reason" => "slow_member"),
        })))
    }

    /// Returns the metrics of a room of this name.
    pub(crate) fn for_room(&self, config: &RoomsConfig, name: &str) -> RoomMetrics {
        RoomMetrics(self.0.as_ref().map(|instruments| {
            let is_listed = config.measured_rooms.iter().any(|listed| listed == name);
            let size = || gauge!("hyperlane_room_size", "room" => name.to_owned());
            Box::new(RoomInstruments {
                size: is_listed.then(size),
                deliveries: instruments.deliveries.clone(),
                slow: instruments.slow.clone(),
                missed: instruments.missed.clone(),
                drops: instruments.drops.clone(),
            })
        }))
    }

    pub(crate) fn room_created(&self) {
        if let Some(instruments) = &self.0 {
            instruments.rooms.increment(1);
        }
    }

    pub(crate) fn rooms_removed(&self, count: usize) {
        if let Some(instruments) = &self.0 {
            instruments.rooms.decrement(count as f64);
        }
    }

    pub(crate) fn joined(&self, room: &RoomMetrics) {
        if let Some(instruments) = &self.0 {
            instruments.members.increment(1);
        }
        if let Some(gauge) = room.size() {
            gauge.increment(1);
        }
    }

    pub(crate) fn left(&self, room: &RoomMetrics, count: usize) {
        if let Some(instruments) = &self.0 {
            instruments.members.decrement(count as f64);
        }
        if let Some(gauge) = room.size() {
            gauge.decrement(count as f64);
        }
    }
}

impl RoomMetrics {
    fn size(&self) -> Option<&Gauge> {
        self.0.as_ref()?.size.as_ref()
    }

    pub(crate) fn delivered(&self, count: u64) {
        if count > 0
            && let Some(instruments) = &self.0
        {
            instruments.deliveries.increment(count);
        }
    }

    /// Counts a member that has become slow.
    pub(crate) fn member_slow(&self) {
        if let Some(instruments) = &self.0 {
            instruments.slow.increment(1);
        }
    }

    /// Counts messages that a slow member does not receive.
    pub(crate) fn missed(&self, count: u64) {
        if let Some(instruments) = &self.0 {
            instruments.missed.increment(count);
        }
    }

    pub(crate) fn slow_member_closed(&self) {
        if let Some(instruments) = &self.0 {
            instruments.drops.increment(1);
        }
    }
}
