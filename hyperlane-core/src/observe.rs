//! Spans (`tracing`) and metrics for the operator of a server: one span per connection and one per request.
//!
//! An *observer* is a `tracing` subscriber or a metrics recorder. Without an observer, this module only makes the check
//! in `is_enabled` for each request. It then makes no allocation, reads no clock and formats no text.

mod access;
#[cfg_attr(not(feature = "metrics"), path = "observe/no_metrics.rs")]
pub(crate) mod metrics;

use std::{
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    task::{Context, Poll},
};

use tokio::time::Instant;
use tracing::{Span, field::Empty, level_filters::LevelFilter};

use self::{
    access::Access,
    metrics::{Metrics, Series},
};
use crate::{
    config::AccessLog,
    http::{Method, Request},
    panic::Contained,
};

/// Creates the span of a connection. Returns `None` if there is no subscriber for the span, as on most servers. The
/// span is in a box, so that a connection without a span takes only the space of a pointer for it.
pub(crate) fn connection_span(id: u64, peer: impl fmt::Display) -> Option<Box<Span>> {
    // The span has no parent: the work of a connection is not part of the accept loop that creates the connection.
    let span = tracing::debug_span!(target: "hyperlane::connection", parent: None, "connection", id, %peer, source = Empty);
    (!span.is_disabled()).then(|| Box::new(span))
}

/// Returns whether requests may have an observer. For spans, the check costs one load and one branch. For metrics, it
/// costs one more load and one more branch.
#[inline]
pub(crate) fn is_enabled(metrics: &Metrics) -> bool {
    LevelFilter::DEBUG <= LevelFilter::current() || metrics.is_on()
}

/// The name of a route in spans and metrics.
#[derive(Default)]
pub(crate) struct RouteLabel {
    /// The pattern as written; empty if no route matches.
    pub(crate) pattern: Box<str>,
    pub(crate) series: Series,
}

impl RouteLabel {
    pub(crate) fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.into(),
            ..Self::default()
        }
    }
}

/// A connection that counts its sent bytes. The record of a request ([`Observed`]) reads the count.
pub(crate) trait ByteCounter: Send + Sync {
    /// Returns the number of bytes written to the socket or queued for it.
    fn bytes_sent(&self) -> u64;
}

/// The record of a request: the facts that the observers get. The destructor reports them to the observers, so that
/// every request is reported, no matter how it ends.
pub(crate) struct Observed {
    span: Span,
    counter: Arc<dyn ByteCounter>,
    is_counted: bool,
    route: Arc<RouteLabel>,
    /// The name of a known method, or `OTHER` for an unknown method. The text is empty if the head was refused.
    method: &'static str,
    /// The status; 0 before a response begins.
    status: AtomicU16,
    begun: Instant,
    sent_before: u64,
    /// The line of the access log, if the server writes one.
    access: Option<Box<Access>>,
}

impl Observed {
    /// Begins a record. `request` is `None` if the head was refused. Returns `None` without an observer.
    pub(crate) fn begin<C: ByteCounter + 'static>(
        counter: &Arc<C>,
        metrics: &Metrics,
        route: &Arc<RouteLabel>,
        request: Option<&Request>,
        access: Option<(AccessLog, Option<IpAddr>)>,
    ) -> Option<Arc<Self>> {
        let (method, path) = match request {
            Some(request) => (request.get_method().as_str(), request.get_raw_path()),
            None => ("", ""),
        };
        let span = tracing::debug_span!(
            target: "hyperlane::request",
            "request",
            method,
            route = &*route.pattern,
            path,
            status = Empty,
            bytes = Empty,
            time_us = Empty,
        );
        let is_counted = metrics.is_on();
        if span.is_disabled() && !is_counted && access.is_none() {
            return None;
        }
        Some(Arc::new(Self {
            span,
            counter: counter.clone(),
            is_counted,
            route: route.clone(),
            method: request.map_or("", |request| known(request.get_method())),
            status: AtomicU16::new(0),
            begun: Instant::now(),
            sent_before: counter.bytes_sent(),
            access: access.map(|(form, client)| Box::new(Access::new(form, client, request))),
        }))
    }

    /// Stores the status of the response when the response begins.
    pub(crate) fn set_status(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    pub(crate) fn in_scope<R>(&self, work: impl FnOnce() -> R) -> R {
        self.span.in_scope(work)
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let status = self.status.load(Ordering::Relaxed);
        let time = self.begun.elapsed();
        if self.is_counted {
            let RouteLabel { pattern, series } = &*self.route;
            series.request_ended(pattern, self.method, status, time);
        }
        if self.span.is_disabled() && self.access.is_none() {
            return;
        }
        let bytes = self.counter.bytes_sent();
        if status != 0 {
            self.span.record("status", status);
        }
        // The count includes queued bytes. If the connection breaks, the queued bytes of an earlier request are lost,
        // and the count may fall below `sent_before`.
        let bytes = bytes.saturating_sub(self.sent_before);
        self.span.record("bytes", bytes);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.span.record("time_us", micros);
        if let Some(access) = &self.access {
            self.span.in_scope(|| access.write(status, bytes, micros));
        }
        self.span
            .in_scope(|| tracing::debug!(target: "hyperlane::request", "request ended"));
    }
}

/// The record of the current request. The inner value is `None` between requests, and without an observer.
#[derive(Default)]
pub(crate) struct Record(Option<Arc<Observed>>);

impl Record {
    /// Begins the record of a request. `request` is `None` if the head was refused. `access` has the form of the access
    /// log and the address of the client.
    #[cold]
    pub(crate) fn begin<C: ByteCounter + 'static>(
        &mut self,
        counter: &Arc<C>,
        metrics: &Metrics,
        route: &Arc<RouteLabel>,
        request: Option<&Request>,
        access: Option<(AccessLog, Option<IpAddr>)>,
    ) {
        self.0 = Observed::begin(counter, metrics, route, request, access);
    }

    /// Drops this reference to the record. The record reports the request when the last reference is dropped: now, or
    /// later if a future still shares the record.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }

    /// Returns a second reference to the record. [`Within`] takes it, and runs a future within the span of the request.
    pub(crate) fn shared(&self) -> Option<Arc<Observed>> {
        self.0.clone()
    }

    /// Runs `work` within the span of the request.
    pub(crate) fn in_scope<R>(&self, work: impl FnOnce() -> R) -> R {
        match &self.0 {
            Some(observed) => observed.in_scope(work),
            None => work(),
        }
    }

    /// Stores the status of the response that has begun.
    pub(crate) fn set_status(&self, status: usize) {
        if let Some(observed) = &self.0 {
            observed.set_status(u16::try_from(status).unwrap_or_default());
        }
    }
}

/// Returns the method as a metric label. Clients can invent methods, so all unknown methods share one label.
fn known(method: &Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Patch => "PATCH",
        Method::Head => "HEAD",
        Method::Options => "OPTIONS",
        Method::Connect => "CONNECT",
        Method::Trace => "TRACE",
        Method::Query => "QUERY",
        Method::Unknown(_) => "OTHER",
    }
}

/// A future that runs, and is dropped, within the span of a request.
pub(crate) struct Within<F> {
    observed: Option<Arc<Observed>>,
    future: Contained<F>,
}

impl<F> Within<F> {
    pub(crate) fn new(observed: Option<Arc<Observed>>, future: F) -> Self {
        Self {
            observed,
            future: Contained::new(future),
        }
    }
}

impl<F: Future + Unpin> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { observed, future } = self.get_mut();
        let _entered = observed.as_ref().map(|observed| observed.span.enter());
        Pin::new(future).poll(cx)
    }
}

impl<F> Drop for Within<F> {
    fn drop(&mut self) {
        let Self { observed, future } = self;
        // The destructors of the values that the future still owns run within the span.
        let _entered = observed.as_ref().map(|observed| observed.span.enter());
        future.end();
    }
}
