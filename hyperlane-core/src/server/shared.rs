//! What all connections of a server share.

use std::{
    cell::Cell,
    collections::HashMap,
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

use super::{
    hosts::Hosts,
    logged::{Logged, network},
    pace::Pace,
};
use crate::{
    config::ServerConfig,
    conn::{
        Conn, Peer,
        buffer::READ_BUFFER,
        registry::Registry,
        signals,
        timers::{TICK, Tick, Timers},
    },
    observe::metrics::Metrics,
    proto::http::{head::HeadLimits, origin::AllowedOrigins},
    session::Sessions,
    wire::WireFormat,
};

/// What is due in a tick is spread over most of the tick in so many parts, so that others have their turn between, and a
/// crowd that once came together does not come together again.
const PARTS: u32 = 80;
const PART: Duration = Duration::from_millis(1);

/// Connections whose timers fire before the clock lets others run.
const WOKEN_AT_ONCE: usize = 4;

/// Connections that are told of a shutdown at once, at least, and the pause after them: 1 000 a second.
const SLICE: usize = 100;
const SLICE_PAUSE: Duration = Duration::from_millis(100);

/// Length of an IMF-fixdate (RFC 9110 §5.6.7).
const DATE_LENGTH: usize = 29;

/// Servers of a process, from 1: ticks of one mean nothing to another.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

thread_local! {
    /// The last `Date`, with the server and the period that it was made for.
    static DATE: Cell<(u32, u32, [u8; DATE_LENGTH])> = const { Cell::new((0, 0, [0; DATE_LENGTH])) };
}

/// Configuration, clock, and the live connections.
pub(crate) struct Shared {
    id: u32,
    pub(crate) config: ServerConfig,
    /// Where the server runs. None in tests of parts.
    pub(crate) runtime: Option<Handle>,
    pub(crate) head_limits: HeadLimits,
    /// Whose pages may come, beside the server's own.
    pub(crate) allowed_origins: AllowedOrigins,
    pub(crate) timers: Timers,
    pub(crate) registry: Registry,
    pub(crate) hosts: Hosts,
    /// Hosts that were refused.
    pub(crate) logged_hosts: Logged,
    /// Clients that spoke another protocol than their listener does.
    logged_clients: Logged,
    /// Of all listeners together.
    pub(crate) accepts: Pace,
    per_address: Mutex<HashMap<IpAddr, u32>>,
    shutting_down: AtomicBool,
    /// A connection ended while the server shuts down.
    pub(crate) ended: Notify,
    pub(crate) metrics: Metrics,
    pub(crate) sessions: Arc<Sessions>,
}

impl Shared {
    /// With sessions of its own.
    #[cfg(test)]
    pub(crate) fn new(config: ServerConfig) -> Arc<Self> {
        let sessions = Sessions::new(&config, &crate::session::Planned::default());
        Self::with_sessions(config, sessions, Hosts::default())
    }

    pub(crate) fn with_sessions(
        config: ServerConfig,
        sessions: Arc<Sessions>,
        hosts: Hosts,
    ) -> Arc<Self> {
        let head_limits = HeadLimits {
            request_line: config.max_request_line,
            header_bytes: config.max_header_bytes,
            header_count: config.max_header_count,
        };
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            accepts: Pace::new(config.max_accepts_per_second),
            allowed_origins: config.origins(),
            config,
            runtime: Handle::try_current().ok(),
            head_limits,
            timers: Timers::new(),
            registry: Registry::default(),
            hosts,
            logged_hosts: Logged::default(),
            logged_clients: Logged::default(),
            per_address: Mutex::new(HashMap::new()),
            shutting_down: AtomicBool::new(false),
            ended: Notify::new(),
            metrics: Metrics::new(),
            sessions,
        })
    }

    /// Runs a task on the server's runtime, wherever it is called.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Option<JoinHandle<()>> {
        Some(self.runtime.as_ref()?.spawn(task))
    }

    /// Bytes that a head of any permitted size fits into.
    pub(crate) fn head_space(&self) -> usize {
        let limits = &self.head_limits;
        limits
            .request_line
            .saturating_add(limits.header_bytes)
            .saturating_add(1024)
            .max(READ_BUFFER)
    }

    /// The value of a `Date` header (RFC 9110 §6.6.1), made once a second.
    pub(crate) fn date(&self) -> [u8; DATE_LENGTH] {
        let (server, made, date) = DATE.get();
        // Half a second keeps it right to the second that clients can see.
        let period = self.timers.now().0 / 5;
        if (server, made) == (self.id, period) {
            return date;
        }
        let text = httpdate::fmt_http_date(SystemTime::now());
        let mut date = [b' '; DATE_LENGTH];
        for (slot, byte) in date.iter_mut().zip(text.bytes()) {
            *slot = byte;
        }
        DATE.set((self.id, period, date));
        date
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Acquire)
    }

    /// The server shuts down from here on; connections are told by [`tell_of_shutdown`](Self::tell_of_shutdown).
    pub(crate) fn begin_shutdown(&self) {
        self.shutting_down.store(true, Ordering::Release);
    }

    /// Tells every connection that the server shuts down: those that wait for requests at once, WebSockets and event
    /// streams a slice at a time, since their clients all come back somewhere at once.
    pub(crate) async fn tell_of_shutdown(&self) {
        let (told, rest): (Vec<_>, Vec<_>) = self
            .registry
            .all()
            .into_iter()
            .partition(|connection| connection.format() == WireFormat::Http);
        for connection in told {
            connection.signal(signals::SHUTDOWN);
        }
        let slice = shutdown_slice(rest.len(), self.config.shutdown_timeout / 2);
        let mut slices = rest.chunks(slice).peekable();
        while let Some(slice) = slices.next() {
            for connection in slice {
                connection.signal(signals::SHUTDOWN);
            }
            if slices.peek().is_some() {
                tokio::time::sleep(SLICE_PAUSE).await;
            }
        }
        // Those that came, or became something else, in the meantime.
        for connection in self.registry.all() {
            connection.signal(signals::SHUTDOWN);
        }
    }

    /// Ends every connection that is left.
    pub(crate) fn abort_all(&self) {
        for connection in self.registry.all() {
            connection.signal(signals::ABORT);
        }
    }

    /// Counts a connection from `peer`; false when that address has as many as it may.
    pub(crate) fn admit(&self, peer: Peer) -> bool {
        let Some(address) = self.counted_address(peer) else {
            return true;
        };
        let mut counts = self
            .per_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count as usize >= self.config.max_connections_per_address {
            return false;
        }
        *count += 1;
        true
    }

    /// The address under which a peer is counted: an IPv6 client owns a whole /64. Loopback and trusted
    /// proxies are exempt, because they speak for everybody.
    fn counted_address(&self, peer: Peer) -> Option<IpAddr> {
        let address = peer.address()?.ip().to_canonical();
        let proxies = &self.config.trusted_proxies;
        match address {
            ip if ip.is_loopback() || proxies.iter().any(|range| range.contains(ip)) => None,
            ip => Some(network(ip)),
        }
    }

    /// A connection is over.
    pub(crate) fn forget(&self, connection: &Conn) {
        self.registry.remove(connection);
        if let Some(address) = self.counted_address(connection.peer()) {
            let mut counts = self
                .per_address
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = counts.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&address);
                }
            }
        }
        if self.is_shutting_down() {
            self.ended.notify_waiters();
        }
    }

    /// Logs that a client spoke another protocol than its listener does, which the operator should know: once per address
    /// and listener's protocol.
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

    /// Moves the clock and wakes connections whose time has come, for as long as the server lives.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        let start = Instant::now();
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut due = Vec::new();
        loop {
            interval.tick().await;
            let passed = start.elapsed().as_millis() / TICK.as_millis();
            let now = Tick(u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1));
            self.timers.advance(now, &mut due);
            let begun = Instant::now();
            for (part, at) in due.chunks(part_of(due.len())).zip(0..) {
                tokio::time::sleep_until(begun + PART * at).await;
                for group in part.chunks(WOKEN_AT_ONCE) {
                    for key in group {
                        if let Some(connection) = self.registry.get(*key) {
                            connection.timer_fired(now);
                        }
                    }
                    if group.len() == WOKEN_AT_ONCE {
                        tokio::task::yield_now().await;
                    }
                }
            }
            due.clear();
            due.shrink_to(1024);
        }
    }
}

/// Places for as many connections as may live at a time.
pub(crate) fn permits(config: &ServerConfig) -> Arc<Semaphore> {
    let most = config.max_connections.unwrap_or_else(default_connections);
    Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)))
}

/// How many connections are told of a shutdown at once, so that all are within this time.
fn shutdown_slice(connections: usize, within: Duration) -> usize {
    let slices = within.as_millis() / SLICE_PAUSE.as_millis();
    let slices = usize::try_from(slices).unwrap_or(usize::MAX).max(1);
    connections.div_ceil(slices).max(SLICE)
}

/// How many of so many connections that are due in one tick are woken together.
fn part_of(due: usize) -> usize {
    due.div_ceil(PARTS as usize).max(1)
}

/// 80 % of the descriptors that the process may have; the rest is the program's.
pub(crate) fn default_connections() -> usize {
    #[cfg(unix)]
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    #[cfg(not(unix))]
    let limit = 16 * 1024;
    usize::try_from(limit / 5 * 4).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Inet(address.parse().unwrap())
    }

    #[test]
    fn a_shutdown_spreads_the_closes_and_ends_in_time() {
        let within = Duration::from_secs(10);
        assert_eq!(shutdown_slice(0, within), SLICE);
        assert_eq!(shutdown_slice(5_000, within), SLICE);
        assert_eq!(shutdown_slice(50_000, within), 500);
        assert_eq!(shutdown_slice(50_001, within), 501);
        assert_eq!(shutdown_slice(7_000, Duration::ZERO), 7_000);
    }

    #[test]
    fn what_is_due_is_spread_within_its_tick() {
        assert!(PART * PARTS < TICK);
        for due in [0_usize, 1, 79, 80, 81, 5_000, 1_000_001] {
            let parts = due.div_ceil(part_of(due));
            assert!(parts <= PARTS as usize, "{due}");
        }
        assert_eq!(part_of(100), 2);
    }

    #[test]
    fn the_date_of_one_server_is_not_that_of_another() {
        let one = Shared::new(ServerConfig::default());
        let date = one.date();
        assert!(httpdate::parse_http_date(std::str::from_utf8(&date).unwrap()).is_ok());
        let (id, period, _) = DATE.get();
        DATE.set((id, period, [b'x'; DATE_LENGTH]));
        assert_eq!(one.date(), [b'x'; DATE_LENGTH], "made once a period");
        let other = Shared::new(ServerConfig::default());
        assert_ne!(other.date(), [b'x'; DATE_LENGTH]);
    }

    #[test]
    fn connections_are_counted_per_address_and_v6_network() {
        let shared = Shared::new(ServerConfig::default().max_connections_per_address(2));
        assert!(shared.admit(peer("192.0.2.1:1")));
        assert!(shared.admit(peer("192.0.2.1:2")));
        assert!(!shared.admit(peer("192.0.2.1:3")));
        assert!(shared.admit(peer("192.0.2.2:1")));
        assert!(shared.admit(peer("[2001:db8:1:2::1]:1")));
        assert!(shared.admit(peer("[2001:db8:1:2:ffff::9]:1")));
        assert!(!shared.admit(peer("[2001:db8:1:2::7]:1")));
        assert!(shared.admit(peer("[2001:db8:1:3::1]:1")));
        let trusting = ServerConfig::default()
            .max_connections_per_address(2)
            .trusted_proxies(vec!["192.0.2.0/30".parse().unwrap()]);
        let behind = Shared::new(trusting);
        for port in 1..100 {
            assert!(behind.admit(peer(&format!("192.0.2.1:{port}"))));
            assert!(shared.admit(peer(&format!("127.0.0.1:{port}"))));
            assert!(shared.admit(Peer::Local));
        }
    }
}
