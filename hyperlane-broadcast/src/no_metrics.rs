//! Replaces the module `metrics` if the feature `metrics` is off. All methods do nothing.

use crate::config::RoomsConfig;

/// Metrics of all rooms.
pub(crate) struct Metrics;

/// Metrics of one room.
#[derive(Default)]
pub(crate) struct RoomMetrics;

impl Metrics {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) const fn for_room(&self, _: &RoomsConfig, _: &str) -> RoomMetrics {
        RoomMetrics
    }

    pub(crate) const fn room_created(&self) {}

    pub(crate) const fn rooms_removed(&self, _: usize) {}

    pub(crate) const fn joined(&self, _: &RoomMetrics) {}

    pub(crate) const fn left(&self, _: &RoomMetrics, _: usize) {}
}

impl RoomMetrics {
    pub(crate) const fn delivered(&self, _: u64) {}

    pub(crate) const fn member_slow(&self) {}

    pub(crate) const fn missed(&self, _: u64) {}

    pub(crate) const fn slow_member_closed(&self) {}
}
