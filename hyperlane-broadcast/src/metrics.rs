//! The numbers of rooms, for whatever recorder the program installs.

use metrics::{Counter, Gauge, KeyName, SharedString, Unit, counter, gauge};

use crate::config::RoomsConfig;

/// The numbers of all rooms; without handles if no recorder was there when the first room was made.
pub(crate) struct Metrics(Option<Box<Handles>>);

struct Handles {
    rooms: Gauge,
    members: Gauge,
    deliveries: Counter,
    drops: Counter,
}

/// What a room counts.
#[derive(Default)]
pub(crate) struct RoomMetrics(Option<Box<RoomHandles>>);

struct RoomHandles {
    /// Its own, if the program listed it.
    size: Option<Gauge>,
    deliveries: Counter,
    drops: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // The recorder that stands for none has no state; any other has some.
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
        });
        Self(Some(Box::new(Handles {
            rooms: gauge!("hyperlane_rooms"),
            members: gauge!("hyperlane_room_members"),
            deliveries: counter!("hyperlane_deliveries_total"),
            drops: counter!("hyperlane_drops_total", "reason" => "slow_member"),
        })))
    }

    /// What a room of this name counts.
    pub(crate) fn of_room(&self, config: &RoomsConfig, name: &str) -> RoomMetrics {
        RoomMetrics(self.0.as_ref().map(|handles| {
            let is_listed = config.measured_rooms.iter().any(|listed| listed == name);
            let size = || gauge!("hyperlane_room_size", "room" => name.to_owned());
            Box::new(RoomHandles {
                size: is_listed.then(size),
                deliveries: handles.deliveries.clone(),
                drops: handles.drops.clone(),
            })
        }))
    }

    pub(crate) fn room_began(&self) {
        if let Some(handles) = &self.0 {
            handles.rooms.increment(1);
        }
    }

    pub(crate) fn rooms_ended(&self, count: usize) {
        if let Some(handles) = &self.0 {
            handles.rooms.decrement(count as f64);
        }
    }

    pub(crate) fn joined(&self, room: &RoomMetrics) {
        if let Some(handles) = &self.0 {
            handles.members.increment(1);
        }
        if let Some(gauge) = room.size() {
            gauge.increment(1);
        }
    }

    pub(crate) fn left(&self, room: &RoomMetrics, count: usize) {
        if let Some(handles) = &self.0 {
            handles.members.decrement(count as f64);
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
            && let Some(handles) = &self.0
        {
            handles.deliveries.increment(count);
        }
    }

    pub(crate) fn member_dropped(&self) {
        if let Some(handles) = &self.0 {
            handles.drops.increment(1);
        }
    }
}
