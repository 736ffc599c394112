//! The environment of a server's connections: configuration, time, limits, metrics, the runtime.
//!
//! An [`Env`] does not know the connections. The server stores the connections, and gives the `Env` a function that
//! removes an ended connection.

pub(crate) mod admission;
pub(crate) mod date;
pub(crate) mod hosts;
pub(crate) mod ids;
mod logged;
pub(crate) mod peer;
pub(crate) mod runtime;
pub(crate) mod timers;

use std::{
    any::Any,
    fmt,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

pub(crate) use self::admission::network;
use self::{
    admission::Admission,
    hosts::Hosts,
    logged::Logged,
    peer::{Peer, Via},
    timers::Timers,
};
use crate::{
    config::ServerConfig,
    observe::metrics::Metrics,
    proto::http::{head::HeadLimits, host::HostRefused, origin::AllowedOrigins, write::DateLine},
};

/// A function that removes an ended connection from the registry of live connections. The argument is the connection's
/// slot: its index in the registry.
pub(crate) type Release = Box<dyn Fn(u32) + Send + Sync>;

/// The id of the next server in this process, from 1.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// The parts of a running server that its connections use.
pub(crate) struct Env {
    id: u32,
    pub(crate) config: ServerConfig,
    /// The runtime of the server; `None` in unit tests.
    pub(crate) runtime: Option<Handle>,
    pub(crate) head_limits: HeadLimits,
    /// The origins whose pages may use the server, in addition to the server's own origin.
    pub(crate) allowed_origins: AllowedOrigins,
    pub(crate) timers: Timers,
    pub(crate) metrics: Metrics,
    hosts: Hosts,
    /// The refused hosts that were logged.
    logged_hosts: Logged,
    /// The clients that spoke another protocol than the listener, and that were logged for it.
    logged_clients: Logged,
    admission: Admission,
    /// One permit for each connection that may live at the same time.
    pub(crate) permits: Arc<Semaphore>,
    shutting_down: AtomicBool,
    /// Notified when a connection ends during a shutdown.
    pub(crate) ended: Notify,
    release: Release,
    /// The `Program` that all contexts of the server share, for requests that a hook reads from its connection. The type
    /// is hidden by `Any`, because this module may not import from the higher module `context`. The reference is weak: a
    /// value of the program may hold connections, and these hold the `Env`.
    pub(crate) program: OnceLock<Weak<dyn Any + Send + Sync>>,
}

impl Env {
    pub(crate) fn new(
        config: ServerConfig,
        hosts: Hosts,
        permits: Arc<Semaphore>,
        release: Release,
    ) -> Self {
        let head_limits = HeadLimits {
            request_line: config.max_request_line,
            header_bytes: config.max_header_bytes,
            header_count: config.max_header_count,
        };
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            admission: Admission::new(&config),
            permits,
            allowed_origins: config.origins(),
            config,
            runtime: Handle::try_current().ok(),
            head_limits,
            timers: Timers::new(),
            metrics: Metrics::new(),
            hosts,
            logged_hosts: Logged::default(),
            logged_clients: Logged::default(),
            shutting_down: AtomicBool::new(false),
            ended: Notify::new(),
            release,
            program: OnceLock::new(),
        }
    }

    /// Spawns a task on the server's runtime, from any thread. Returns `None` without a runtime.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Option<JoinHandle<()>> {
        Some(self.runtime.as_ref()?.spawn(task))
    }

    /// Returns the buffer space for the longest permitted head, in bytes.
    pub(crate) fn head_space(&self) -> usize {
        let limits = &self.head_limits;
        limits
            .request_line
            .saturating_add(limits.header_bytes)
            .saturating_add(1024)
    }

    /// Returns the line of a `Date` header (RFC 9110 §6.6.1).
    #[inline]
    pub(crate) fn date(&self) -> DateLine {
        date::line(self.id, self.timers.now())
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Acquire)
    }

    /// Begins the shutdown. A running connection reads the flag at its next check. This function does not wake
    /// waiting connections. The server then signals the shutdown to them.
    pub(crate) fn begin_shutdown(&self) {
        self.shutting_down.store(true, Ordering::Release);
    }

    /// Adds a connection from `peer` to the count of its address. Returns false if the address has reached the limit.
    pub(crate) fn admit(&self, peer: Peer) -> bool {
        self.admission.enter(peer)
    }

    /// Removes a connection that has not begun from the count of its address.
    #[cfg(feature = "__tls")]
    pub(crate) fn leave(&self, peer: Peer) {
        self.admission.leave(peer);
    }

    /// Removes an ended connection from the registry, and from the count of its address if it was counted there.
    pub(crate) fn forget(&self, slot: u32, counted: Option<Peer>) {
        (self.release)(slot);
        if let Some(peer) = counted {
            self.admission.leave(peer);
        }
        if self.is_shutting_down() {
            self.ended.notify_waiters();
        }
    }

    /// Returns the number of the server within this process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Returns whether the server answers to a host for every peer at an address of this kind.
    pub(crate) fn allows_host(&self, via: Via, host: &str) -> bool {
        host.is_empty() || self.hosts.allow(via, host)
    }

    /// Returns an error if the server does not answer to the host of a request.
    ///
    /// The check protects against web pages that reach the server under a foreign host name (DNS rebinding). A request
    /// without a host (HTTP/1.0) is accepted: it does not come from a web page, because browsers always send a host.
    /// All requests of a trusted proxy are accepted too, because such a proxy checks hosts itself.
    pub(crate) fn check_host(&self, host: &str, via: Via, peer: Peer) -> Result<(), HostRefused> {
        if self.allows_host(via, host) {
            return Ok(());
        }
        let Some(peer) = peer.address() else {
            // The peer is a load balancer that speaks the PROXY protocol and has named no client: it connects on its
            // own behalf, for example to check the server's health. (A peer on a trusted transport has no address
            // either, but `hosts.allow` has accepted its request above.)
            return Ok(());
        };
        let proxies = &self.config.trusted_proxies;
        if proxies.iter().any(|range| range.contains(peer.ip())) {
            return Ok(());
        }
        let refused = HostRefused::new(host);
        if self.logged_hosts.is_due(self.timers.now(), host) {
            tracing::warn!(%peer, "421: {refused}");
        } else {
            tracing::debug!(%peer, "421: {refused}");
        }
        Err(refused)
    }

    /// Logs that a client spoke another protocol than the listener. For each pair of a client and a listener's
    /// protocol, the warning appears at most once an hour. Repetitions are logged at debug level. All IPv6 addresses of
    /// a /64 network count as one client.
    pub(crate) fn log_mix_up(
        &self,
        peer: Option<SocketAddr>,
        listener: &'static str,
        seen: &dyn fmt::Display,
    ) {
        let address = peer.map(|peer| network(peer.ip()));
        let is_due = self
            .logged_clients
            .is_due(self.timers.now(), (address, listener));
        let peer = peer.map_or(Peer::Local, Peer::Inet);
        if is_due {
            tracing::warn!(%peer, "{seen}: connection closed");
        } else {
            tracing::debug!(%peer, "{seen}: connection closed");
        }
    }
}
