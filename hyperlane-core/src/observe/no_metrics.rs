//! Replaces the module `metrics` in builds without the feature `metrics`. The methods do nothing.

use std::time::Duration;

use crate::wire::WireFormat;

/// The metrics of a server.
pub(crate) struct Metrics;

/// The metrics of a route.
#[derive(Default)]
pub(crate) struct Series;

impl Metrics {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) const fn is_on(&self) -> bool {
        false
    }

    pub(crate) const fn connection_began(&self) {}

    pub(crate) const fn connection_refused(&self, _: &'static str) {}

    pub(crate) const fn connection_ended(&self, _: WireFormat, _: bool) {}

    pub(crate) const fn format_changed(&self, _: WireFormat, _: WireFormat) {}

    pub(crate) const fn client_dropped(&self, _: &'static str) {}

    pub(crate) const fn message_received(&self) {}

    pub(crate) const fn message_sent(&self) {}

    pub(crate) const fn outbox_changed(&self, _: usize, _: usize) {}
}

impl Series {
    pub(crate) const fn request_ended(&self, _: &str, _: &'static str, _: u16, _: Duration) {}
}
