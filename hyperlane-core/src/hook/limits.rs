//! Middleware that limits requests: their time, and their number per client.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::{Mutex, OnceLock, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{HookFuture, Middleware, Next};
use crate::{Context, Status, context::Caught, env::network, error::RequestError};

/// Middleware that limits the time until the answer to a request begins. After this time the server drops the handler
/// at its current await and answers 503.
///
/// An answer that has begun has no limit here: a WebSocket, an event stream or a streamed body may last as long as it
/// likes. The time includes the middleware inside, and not the reading of a whole body. If the handler itself reads
/// further requests ([`Context::next_request`]), the limit applies to each of them.
///
/// ```
/// use std::time::Duration;
///
/// use hyperlane_core::{Scope, Server, Timeout};
///
/// static SLOW: Timeout = Timeout::new(Duration::from_secs(5));
/// static REPORTS: Scope = Scope::new("/reports").with(&SLOW);
///
/// let mut server = Server::new();
/// server.at("/report").with(Timeout::new(Duration::from_secs(1))).get(async || "done");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(Duration);

impl Timeout {
    /// Creates a limit.
    pub const fn new(time: Duration) -> Self {
        Self(time)
    }
}

impl Middleware for Timeout {
    fn handle<'a>(&'a self, ctx: &'a mut Context, next: Next<'a>) -> HookFuture<'a> {
        Box::pin(async move {
            let link = next.connection();
            let ended = {
                let mut run = pin!(next.run(&mut *ctx));
                let mut end = pin!(sleep(self.0));
                let mut is_limited = true;
                let mut request = link.driver.further_requests();
                std::future::poll_fn(|cx| {
                    if let Poll::Ready(status) = run.as_mut().poll(cx) {
                        return Poll::Ready(Some(status));
                    }
                    let current = link.driver.further_requests();
                    if request != current {
                        // The handler has read a further request of the connection itself.
                        (request, is_limited) = (current, true);
                        end.as_mut().reset(Instant::now() + self.0);
                    }
                    is_limited = is_limited && link.lane.is_unanswered();
                    match is_limited && end.as_mut().poll(cx).is_ready() {
                        true => Poll::Ready(None),
                        false => Poll::Pending,
                    }
                })
                .await
            };
            if let Some(status) = ended {
                return status;
            }
            tracing::warn!(
                path = ctx.get_request().path(),
                "the handler was dropped after {:?}, the limit of its route",
                self.0
            );
            let error = RequestError::refused(503, "the answer took too long");
            refuse(ctx, error)
        })
    }

    fn name(&self) -> &'static str {
        "Timeout"
    }
}

/// Refuses the request of the chain, so that the error hooks run.
fn refuse(ctx: &mut Context, error: RequestError) -> Status {
    ctx.refuse_here(error);
    ctx.set_caught(Caught::Refusal);
    Status::Reject
}

/// The number of clients that a [`RateLimit`] counts apart by default.
const MOST_CLIENTS: usize = 100_000;

/// The shortest time between two searches for clients that need no count any more.
const SWEEP: Duration = Duration::from_secs(1);

/// Middleware that limits the number of requests per client. A request above the limit gets 429 with `Retry-After`.
///
/// A client may send `burst` requests at once, and then one per interval. By default, a client is a network address:
/// that of [`Context::client_addr`], with one count for all addresses of an IPv6 network (`/64`). All routes that share
/// one value share its counts. Requests of the same client to two servers count together if both use the value. Further
/// requests that a handler reads itself ([`Context::next_request`]) count, too: by the address of the client if the name
/// comes from a value that middleware has stored.
///
/// The value counts 100 000 clients apart. Further clients share one count. The table takes 29 to 58 bytes for each client,
/// because it doubles when it is full, and 3.3 MB for 100 000. It does not shrink.
///
/// ```
/// use hyperlane_core::{Context, RateLimit, Scope, Server};
///
/// static LOGINS: RateLimit = RateLimit::per_minute(10);
/// static ACCOUNT: Scope = Scope::new("/account").with(&LOGINS);
///
/// /// Middleware that runs outside of the limit has checked the client and has inserted this value.
/// struct User(String);
///
/// fn user(ctx: &Context) -> Option<&str> {
///     ctx.get::<User>().map(|user| user.0.as_str())
/// }
///
/// let mut server = Server::new();
/// server.at("/search").with(RateLimit::per_second(5).burst(20).by(user)).get(async || "found");
/// ```
pub struct RateLimit {
    interval: Duration,
    burst: u32,
    key: Option<KeyOf>,
    most: usize,
    counts: OnceLock<Counts>,
}

/// A function that returns the name of the client of a request.
type KeyOf = for<'a> fn(&'a Context) -> Option<&'a str>;

struct Counts {
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// For each client, the time at which all its requests are paid for. The key is a hash, because names may be long.
    paid: HashMap<u64, Instant>,
    /// The same time for all clients that are not in the table.
    others: Option<Instant>,
    swept: Option<Instant>,
}

impl RateLimit {
    /// Allows so many requests per second, and as many at once. 0 means 1.
    pub const fn per_second(requests: u32) -> Self {
        Self::new(Duration::from_secs(1), requests)
    }

    /// Allows so many requests per minute, and as many at once. 0 means 1.
    pub const fn per_minute(requests: u32) -> Self {
        Self::new(Duration::from_secs(60), requests)
    }

    const fn new(time: Duration, requests: u32) -> Self {
        let requests = if requests == 0 { 1 } else { requests };
        Self {
            interval: match time.checked_div(requests) {
                Some(interval) => interval,
                None => time,
            },
            burst: requests,
            key: None,
            most: MOST_CLIENTS,
            counts: OnceLock::new(),
        }
    }

    /// Sets the number of requests that a client may send at once. 0 means 1.
    #[must_use]
    pub const fn burst(mut self, requests: u32) -> Self {
        self.burst = if requests == 0 { 1 } else { requests };
        self
    }

    /// Names the client, for example by its user. If the function returns `None`, the address of the client counts.
    ///
    /// Return only names that the program has verified. With a text that a client may choose, such as a header field,
    /// the client can be a new one with each request.
    #[must_use]
    pub const fn by(mut self, key: KeyOf) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the number of clients that are counted apart. Default: 100 000, which take 3.3 MB.
    #[must_use]
    pub const fn most_clients(mut self, clients: usize) -> Self {
        self.most = clients;
        self
    }

    /// Counts a request.
    ///
    /// # Errors
    /// Returns the refusal of a request above the limit.
    fn count(&self, ctx: &Context) -> Result<(), RequestError> {
        let counts = self.counts.get_or_init(|| Counts {
            hasher: RandomState::new(),
            table: Mutex::default(),
        });
        let hasher = &counts.hasher;
        let client = match self.key.and_then(|key| key(ctx)) {
            Some(name) => hasher.hash_one(name),
            None => hasher.hash_one(ctx.client_addr().map(network)),
        };
        let now = Instant::now();
        let mut table = counts.table.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = table.paid.contains_key(&client);
        if !is_known && table.paid.len() >= self.most {
            table.sweep(now);
        }
        let is_apart = is_known || table.paid.len() < self.most;
        let before = match is_apart {
            true => table.paid.get(&client).copied(),
            false => table.others,
        };
        let paid = before.map_or(now, |paid| paid.max(now));
        // Requests that may come at once, beside this one.
        let ahead = self.interval.saturating_mul(self.burst - 1);
        let wait = paid.saturating_duration_since(now).saturating_sub(ahead);
        if !wait.is_zero() {
            return Err(RequestError::TooManyRequests { wait });
        }
        let paid = paid + self.interval;
        match is_apart {
            true => _ = table.paid.insert(client, paid),
            false => table.others = Some(paid),
        }
        Ok(())
    }
}

impl Table {
    /// Removes the clients all of whose requests are paid for.
    fn sweep(&mut self, now: Instant) {
        let is_due = self
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP);
        if is_due {
            self.swept = Some(now);
            self.paid.retain(|_, paid| *paid > now);
        }
    }
}

impl Middleware for RateLimit {
    fn handle<'a>(&'a self, ctx: &'a mut Context, next: Next<'a>) -> HookFuture<'a> {
        Box::pin(async move {
            match self.count(ctx) {
                Ok(()) => next.run(ctx).await,
                Err(refused) => refuse(ctx, refused),
            }
        })
    }

    fn admit(&self, ctx: &Context) -> Result<(), RequestError> {
        self.count(ctx)
    }

    fn name(&self) -> &'static str {
        "RateLimit"
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("interval", &self.interval)
            .field("burst", &self.burst)
            .finish_non_exhaustive()
    }
}
