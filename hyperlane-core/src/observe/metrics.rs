//! The metrics of a server, for any recorder (of the crate `metrics`) that the program installs.
//!
//! [`Metrics::new`] creates the metric handles of the server. The first request with a new combination of route, method
//! and status creates the handles for this combination. Later requests use the same handles. Every label has few
//! values: route patterns, known methods, status codes, reasons.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, KeyName, SharedString, Unit, counter, gauge, histogram};

use crate::wire::WireFormat;

/// The metrics of a server. `None` if no recorder was installed when the server started.
pub(crate) struct Metrics(Option<Box<Handles>>);

struct Handles {
    connections: Gauge,
    accepted: Counter,
    websockets: Gauge,
    event_streams: Gauge,
    received: Counter,
    sent: Counter,
    outbox_bytes: Gauge,
}

/// The metrics of a route, by method and status.
#[derive(Default)]
pub(crate) struct Series(RwLock<Vec<Arc<Entry>>>);

struct Entry {
    method: &'static str,
    status: u16,
    requests: Counter,
    seconds: Histogram,
}

/// The kind of a metric.
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

const DESCRIPTIONS: [(Kind, &str, Unit, &str); 10] = [
    (
        Kind::Gauge,
        "hyperlane_connections",
        Unit::Count,
        "Live connections.",
    ),
    (
        Kind::Counter,
        "hyperlane_connections_total",
        Unit::Count,
        "Incoming connections, by outcome.",
    ),
    (
        Kind::Counter,
        "hyperlane_requests_total",
        Unit::Count,
        "Finished requests, by route, method and status.",
    ),
    (
        Kind::Histogram,
        "hyperlane_request_seconds",
        Unit::Seconds,
        "Time from the complete head of a request to its end, by route and method.",
    ),
    (
        Kind::Gauge,
        "hyperlane_websocket_connections",
        Unit::Count,
        "Live WebSockets.",
    ),
    (
        Kind::Gauge,
        "hyperlane_sse_connections",
        Unit::Count,
        "Live event streams.",
    ),
    (
        Kind::Counter,
        "hyperlane_messages_received_total",
        Unit::Count,
        "Data messages received on WebSockets.",
    ),
    (
        Kind::Counter,
        "hyperlane_messages_sent_total",
        Unit::Count,
        "Messages and events that handlers sent to a single client.",
    ),
    (
        Kind::Gauge,
        "hyperlane_outbox_bytes",
        Unit::Bytes,
        "Bytes queued until clients read them.",
    ),
    (
        Kind::Counter,
        "hyperlane_drops_total",
        Unit::Count,
        "Clients disconnected because they did not keep up, by reason.",
    ),
];

impl Metrics {
    pub(crate) fn new() -> Self {
        // If the program has installed no recorder, `metrics` passes its default recorder. This recorder is a type
        // without fields, so its size is 0. `metrics` has no other way to recognize it. If the program installs a
        // recorder type without fields, this check therefore does not recognize it either, as docs/observability.md
        // says.
        if metrics::with_recorder(|recorder| size_of_val(recorder)) == 0 {
            return Self(None);
        }
        metrics::with_recorder(|recorder| {
            for (kind, name, unit, text) in DESCRIPTIONS {
                let name = KeyName::from_const_str(name);
                let text = SharedString::const_str(text);
                match kind {
                    Kind::Counter => recorder.describe_counter(name, Some(unit), text),
                    Kind::Gauge => recorder.describe_gauge(name, Some(unit), text),
                    Kind::Histogram => recorder.describe_histogram(name, Some(unit), text),
                }
            }
        });
        Self(Some(Box::new(Handles {
            connections: gauge!("hyperlane_connections"),
            accepted: counter!("hyperlane_connections_total", "outcome" => "accepted"),
            websockets: gauge!("hyperlane_websocket_connections"),
            event_streams: gauge!("hyperlane_sse_connections"),
            received: counter!("hyperlane_messages_received_total"),
            sent: counter!("hyperlane_messages_sent_total"),
            outbox_bytes: gauge!("hyperlane_outbox_bytes"),
        })))
    }

    /// Returns whether a recorder is installed.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn connection_began(&self) {
        if let Some(handles) = &self.0 {
            handles.accepted.increment(1);
            handles.connections.increment(1);
        }
    }

    /// Counts a connection that the server refused because of a limit. `outcome` is `refused_address` for the limit of
    /// the peer's address, and `refused_source` for the limit of the client address that a load balancer reports.
    pub(crate) fn connection_refused(&self, outcome: &'static str) {
        if self.is_on() {
            counter!("hyperlane_connections_total", "outcome" => outcome).increment(1);
        }
    }

    /// Records the end of a connection. `format` is the wire format that the connection had at its end. `is_counted` is
    /// false for a stream of HTTP/2, which is no connection of its own.
    pub(crate) fn connection_ended(&self, format: WireFormat, is_counted: bool) {
        if let Some(handles) = &self.0 {
            if is_counted {
                handles.connections.decrement(1);
            }
            if let Some(gauge) = handles.of_format(format) {
                gauge.decrement(1);
            }
        }
    }

    pub(crate) fn format_changed(&self, from: WireFormat, to: WireFormat) {
        if let Some(handles) = &self.0 {
            if let Some(gauge) = handles.of_format(from) {
                gauge.decrement(1);
            }
            if let Some(gauge) = handles.of_format(to) {
                gauge.increment(1);
            }
        }
    }

    /// Counts a client that the server disconnected because the client did not keep up. `reason` is `stalled` or
    /// `no_pong`.
    pub(crate) fn client_dropped(&self, reason: &'static str) {
        if self.is_on() {
            counter!("hyperlane_drops_total", "reason" => reason).increment(1);
        }
    }

    pub(crate) fn message_received(&self) {
        if let Some(handles) = &self.0 {
            handles.received.increment(1);
        }
    }

    pub(crate) fn message_sent(&self) {
        if let Some(handles) = &self.0 {
            handles.sent.increment(1);
        }
    }

    pub(crate) fn outbox_changed(&self, from: usize, to: usize) {
        if from != to
            && let Some(handles) = &self.0
        {
            // The conversion to `f64` is exact up to 2^53.
            handles.outbox_bytes.increment(to as f64 - from as f64);
        }
    }
}

impl Series {
    /// Counts a finished request. `status` is 0 if there was no response.
    pub(crate) fn request_ended(
        &self,
        route: &str,
        method: &'static str,
        status: u16,
        time: Duration,
    ) {
        let count = |entry: &Entry| {
            entry.requests.increment(1);
            entry.seconds.record(time);
        };
        let fits = |entry: &&Arc<Entry>| entry.status == status && entry.method == method;
        // The lock is released before each call of the recorder, because the recorder is code of the program.
        let known = {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            known.iter().find(fits).cloned()
        };
        let entry = known.unwrap_or_else(|| {
            let entry = Arc::new(Entry::new(route, method, status));
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            // Another request may have added an entry for this combination in the meantime.
            if known.iter().find(fits).is_none() {
                known.push(entry.clone());
            }
            entry
        });
        count(&entry);
    }
}

impl Handles {
    fn of_format(&self, format: WireFormat) -> Option<&Gauge> {
        match format {
            WireFormat::Http => None,
            WireFormat::EventStream | WireFormat::EventStreamChunked => Some(&self.event_streams),
            _ => Some(&self.websockets),
        }
    }
}

impl Entry {
    fn new(route: &str, method: &'static str, status: u16) -> Self {
        let code = match status {
            0 => "none".to_owned(),
            status => status.to_string(),
        };
        let route = route.to_owned();
        Self {
            method,
            status,
            requests: counter!("hyperlane_requests_total", "route" => route.clone(), "method" => method, "status" => code),
            seconds: histogram!("hyperlane_request_seconds", "route" => route, "method" => method),
        }
    }
}
