//! The live connections of a server: their admission, clock, and end at a shutdown.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, MissedTickBehavior},
};

use super::{pace::Pace, registry::Registry};
use crate::{
    config::ServerConfig,
    conn::driver::signals,
    env::{
        Env,
        hosts::Hosts,
        timers::{TICK, Tick},
    },
    wire::WireFormat,
};

/// The maximum number of parts of the timers that are due at one tick. The parts fire one after another, spread over
/// most of the tick. Other tasks can therefore run in between, and connections that arrived together do not always wake
/// together.
const PARTS: u32 = 80;
const PART: Duration = Duration::from_millis(1);

/// The number of connections whose timers fire before other tasks run.
const WOKEN_AT_ONCE: usize = 4;

/// The minimum number of connections that receive the shutdown signal before a pause. With [`SLICE_PAUSE`], the rate is
/// at least 1 000 connections per second.
const SLICE: usize = 100;
const SLICE_PAUSE: Duration = Duration::from_millis(100);

/// The connections of a running server, and their environment.
pub(crate) struct Connections {
    pub(crate) env: Arc<Env>,
    pub(crate) live: Arc<Registry>,
    /// The rate limit of new connections, for all listeners together.
    pub(crate) accepts: Pace,
    /// The TLS handshakes of all listeners together.
    #[cfg(feature = "__tls")]
    pub(crate) handshakes: super::handshake::Handshakes,
}

impl Connections {
    pub(crate) fn new(config: ServerConfig, hosts: Hosts) -> Arc<Self> {
        let accepts = Pace::new(config.max_accepts_per_second);
        #[cfg(feature = "__tls")]
        let handshakes = super::handshake::Handshakes::new(&config);
        let live = Arc::new(Registry::default());
        let registry = live.clone();
        let permits = permits(&config);
        Arc::new(Self {
            env: Arc::new(Env::new(
                config,
                hosts,
                permits,
                Box::new(move |slot| registry.remove(slot)),
            )),
            live,
            accepts,
            #[cfg(feature = "__tls")]
            handshakes,
        })
    }

    /// Sends the shutdown signal to every connection. HTTP connections receive the signal at once. WebSockets and event
    /// streams receive it in slices, so their clients do not all reconnect at once.
    pub(crate) async fn tell_of_shutdown(&self) {
        let (told, rest): (Vec<_>, Vec<_>) = self
            .live
            .all()
            .into_iter()
            .partition(|connection| connection.lane.format() == WireFormat::Http);
        for connection in told {
            connection.driver.signal(signals::SHUTDOWN);
        }
        let slice = shutdown_slice(rest.len(), self.env.config.shutdown_timeout / 2);
        let mut slices = rest.chunks(slice).peekable();
        while let Some(slice) = slices.next() {
            for connection in slice {
                connection.driver.signal(signals::SHUTDOWN);
            }
            if slices.peek().is_some() {
                tokio::time::sleep(SLICE_PAUSE).await;
            }
        }
        // Signals all connections again. In the meantime, connections may have arrived, or may have become WebSockets
        // or event streams.
        for connection in self.live.all() {
            connection.driver.signal(signals::SHUTDOWN);
        }
    }

    /// Aborts all remaining connections.
    pub(crate) fn abort_all(&self) {
        for connection in self.live.all() {
            connection.driver.signal(signals::ABORT);
        }
    }

    /// Advances the clock and wakes the connections whose timers are due. Runs as long as the server.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        let start = Instant::now();
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut due = Vec::new();
        loop {
            interval.tick().await;
            let passed = start.elapsed().as_millis() / TICK.as_millis();
            let now = Tick(u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1));
            self.env.timers.advance(now, &mut due);
            let begun = Instant::now();
            for (part, at) in due.chunks(part_of(due.len())).zip(0..) {
                tokio::time::sleep_until(begun + PART * at).await;
                for group in part.chunks(WOKEN_AT_ONCE) {
                    for key in group {
                        if let Some(connection) = self.live.get(*key) {
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

/// Creates the semaphore for connections, with one permit for each connection that may live at the same time.
fn permits(config: &ServerConfig) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most_connections(config)))
}

/// Returns the maximum number of connections that may live at the same time.
pub(super) fn most_connections(config: &ServerConfig) -> usize {
    let most = config.max_connections.unwrap_or_else(default_connections);
    most.clamp(1, Semaphore::MAX_PERMITS)
}

/// Returns the number of connections that receive the shutdown signal at once. With this number, all connections
/// receive the signal within the time `within`.
fn shutdown_slice(connections: usize, within: Duration) -> usize {
    let slices = within.as_millis() / SLICE_PAUSE.as_millis();
    let slices = usize::try_from(slices).unwrap_or(usize::MAX).max(1);
    connections.div_ceil(slices).max(SLICE)
}

/// Returns the number of connections in one part, if `due` connections are due in one tick.
fn part_of(due: usize) -> usize {
    due.div_ceil(PARTS as usize).max(1)
}

/// Returns 80 % of the process's limit of file descriptors. The program may use the other descriptors. On systems other
/// than Unix, the limit counts as 16 384.
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
}
