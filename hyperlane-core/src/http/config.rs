//! Every limit of the server, in one place.

use std::{fmt, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    headers::is_token,
    session::{CookieSameSite, CookieSecure, SessionKey},
};
use crate::proto::http::{
    forwarded::{Cidr, ForwardedField},
    host::{AllowedHost, AllowedHostError},
    origin::{AllowedOrigins, Origin, OriginError},
};
#[cfg(feature = "deflate")]
use crate::proto::ws::deflate::DeflateConfig;
use crate::server::listener::PROXIED;

/// What no duration may exceed, so that deadlines can always be computed.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// One row per field: documentation, name, type, default. Makes the struct, its `Default` and a builder method each.
/// `as` gives the builder method an argument of its own, from which the type is made.
macro_rules! server_config {
    (@argument $type:ty) => { $type };
    (@argument $type:ty, $argument:ty) => { $argument };
    ($($(#[$doc:meta])* $field:ident: $type:ty $(as $argument:ty)? = $default:expr;)*) => {
        /// Holds what a server is told before it starts: addresses, socket options, limits.
        ///
        /// Every limit is finite. Sizes are in bytes. Fields are public, and each has a builder method of its name;
        /// [`validate`](Self::validate) is called when the server binds.
        ///
        /// ```
        /// use hyperlane_core::http::ServerConfig;
        /// use std::time::Duration;
        ///
        /// let config = ServerConfig::default()
        ///     .max_body(64 * 1024)
        ///     .ping_interval(Duration::from_secs(10))
        ///     .sse_heartbeat(None);
        /// assert!(config.validate().is_ok());
        /// assert!(config.max_body(0).validate().is_err());
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ServerConfig {
            $($(#[$doc])* pub $field: $type,)*
            /// Compresses WebSocket messages with clients that offer it (RFC 7692). Default: `None`, off, since it
            /// costs processor time and, with context takeover, memory.
            #[cfg(feature = "deflate")]
            pub deflate: Option<DeflateConfig>,
        }

        impl Default for ServerConfig {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    #[cfg(feature = "deflate")]
                    deflate: None,
                }
            }
        }

        /// Builder methods, one for each field.
        impl ServerConfig {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                #[must_use]
                #[allow(clippy::useless_conversion, reason = "most arguments are of the type already")]
                pub fn $field(mut self, $field: server_config!(@argument $type $(, $argument)?)) -> Self {
                    self.$field = $field.into();
                    self
                }
            )*

            /// Sets [`deflate`](Self#structfield.deflate): a [`DeflateConfig`], or `None` to switch it off.
            #[cfg(feature = "deflate")]
            #[must_use]
            pub fn deflate(mut self, deflate: impl Into<Option<DeflateConfig>>) -> Self {
                self.deflate = deflate.into();
                self
            }
        }
    };
}

server_config! {
    /// Lists where to listen: `host:port`, `[ipv6]:port` or `unix:/path`; with `proxy:` before it, for a load
    /// balancer that begins each connection with a PROXY protocol header, version 2 (feature `proxy-protocol`). Default: `127.0.0.1:8080`, since a server
    /// that is open to the network should be so on purpose.
    addresses: Vec<String> = vec!["127.0.0.1:8080".to_owned()];
    /// Sends small segments at once (`TCP_NODELAY`). Default: `None`, which means on: a real-time message must not
    /// wait for the one before it.
    nodelay: Option<bool> = None;
    /// Sets the IP time to live, 1 to 255 hops. Default: `None`, the system's.
    ttl: Option<u32> = None;
    /// Bounds the connections the system queues before they are accepted. Default: 1024, as a crowd of clients
    /// reconnects at once.
    backlog: u32 = 1024;

    /// Bounds the open connections. Default: `None`, 80 % of the descriptor limit, which leaves the program some.
    max_connections: Option<usize> = None;
    /// Bounds the open connections of one client address (IPv6: one /64; loopback exempt). Default: 256, more than a
    /// household or small office needs.
    max_connections_per_address: usize = 256;
    /// Bounds the connections that are accepted in a second, over all addresses listened on: a tenth of them at once, and
    /// then at that rate. What comes faster is not refused but waits in the `backlog`. Default: 50 000, which leaves a
    /// crowd that reconnects alone; a server to which each connection is costly sets less.
    max_accepts_per_second: u32 = 50_000;

    /// Lists the proxies in front of the server (`10.0.0.0/8`, `192.0.2.1`), whose word counts for the client's
    /// address, protocol and host, each on its own. Default: nobody, since anyone can send such fields. At a Unix
    /// socket the peer is trusted as soon as anybody is.
    ///
    /// Lists are read from the right: a request that has passed so many of these proxies has its client's address,
    /// protocol and host at that place, or at the left end of a list that is shorter.
    trusted_proxies: Vec<Cidr> = Vec::new();
    /// Names the field in which they say it; the others are not looked at, as clients could send them through.
    /// Default: `X-Forwarded-For` with `X-Forwarded-Proto` and `X-Forwarded-Host`.
    forwarded_field: ForwardedField = ForwardedField::default();

    /// Lists the hosts that the server answers to: `app.example` at any port, `app.example:8443` at that port,
    /// `*.app.example` for all names below, addresses. Another host is answered with 421, and the log says so once.
    ///
    /// Default: none listed. Then a server whose TCP addresses are all of the loopback interface answers to names of
    /// this machine alone (`localhost` and all below it, `127.0.0.0/8`, `[::1]`), and to what is listed besides, since
    /// else a page of any name that is made to resolve to 127.0.0.1 could talk to it (DNS rebinding). A server that
    /// others reach answers to any host, or to nothing but what is listed.
    ///
    /// Requests of [`trusted_proxies`](Self#structfield.trusted_proxies) are not checked: a proxy decides itself which
    /// hosts it serves. A browser on the same machine is taken for the proxy if it comes from the same address; there,
    /// have the proxy connect from one of its own (nginx: `proxy_bind 127.0.0.2`).
    ///
    /// Not checked either are requests at Unix sockets, on transports given to
    /// [`ServerControlHook::serve`](crate::ServerControlHook::serve), inside another stack, and those of old clients
    /// (HTTP/1.0) that name no host. Behind `proxy:` addresses only the list counts.
    allowed_hosts: Vec<String> = Vec::new();

    /// Bounds the time from the first byte of a request to the end of its head. Default: 10 s, so that slow heads
    /// cannot hold connections.
    header_timeout: Duration = Duration::from_secs(10);
    /// Bounds how long a handler may leave a WebSocket handshake that its guard (`#[is_ws_upgrade_type]`) has accepted
    /// without an answer. Then the 101 goes out by itself, with a warning in the log. Default: 10 s, as long as a head
    /// may take.
    handshake_timeout: Duration = Duration::from_secs(10);
    /// Bounds the wait for the next request of a connection. Default: 75 s, longer than common proxies wait.
    keep_alive_timeout: Duration = Duration::from_secs(75);
    /// Bounds the wait for more of a body. Default: 30 s without a byte.
    body_timeout: Duration = Duration::from_secs(30);
    /// Bounds how long a client may take nothing of a response. Default: 60 s without a byte.
    write_timeout: Duration = Duration::from_secs(60);
    /// Bounds how long a handler may run on after its peer is gone. Default: 120 s, enough to finish its work, and
    /// an end to one that waits for something that never comes.
    handler_linger: Duration = Duration::from_secs(120);

    /// Bounds the request line. Default: 8 KiB, as RFC 9112 §3 recommends; beyond: 414.
    max_request_line: usize = 8 * KIB;
    /// Bounds all header fields of a request together. Default: 32 KiB; beyond: 431.
    max_header_bytes: usize = 32 * KIB;
    /// Bounds the number of header fields. Default: 100; beyond: 431.
    max_header_count: usize = 100;
    /// Bounds a request body that is read whole. Default: 2 MiB; beyond: 413. Streamed bodies may be longer.
    max_body: usize = 2 * MIB;

    /// Bounds the payload of one WebSocket frame. Default: 1 MiB; beyond: close code 1009.
    max_frame: usize = MIB;
    /// Bounds one WebSocket message, all fragments together, after inflating. Default: 1 MiB; beyond: close code
    /// 1009.
    max_message: usize = MIB;
    /// Bounds the fragments of one WebSocket message. Default: 131 072; beyond: close code 1008.
    max_fragments: u32 = 128 * 1024;
    /// Bounds the messages of one WebSocket in a second: as many at once, and then at that rate. Time for which
    /// reading pauses is given back. Default: 1 000 000, far above what clients have to say, since a full inbox
    /// slows those down that are only fast; a service that knows its clients sets less. Beyond: close code 1008.
    max_messages_per_second: u32 = 1_000_000;
    /// Bounds the pings and pongs of one WebSocket in a second, as above. Pongs that answer pings of ours are free: each
    /// ping that went out, of the heartbeat, a channel or the program, pays for one. Default: 1000: no client needs more
    /// than a few, and each ping costs an answer. Beyond: close code 1008.
    max_control_frames_per_second: u32 = 1000;
    /// Says after how much quiet a WebSocket client is pinged; `None`: never, so that a client which vanishes
    /// without a word is noticed only when something is sent to it. Default: 25 s, below the idle limits of common
    /// proxies.
    ping_interval: Option<Duration> as impl Into<Option<Duration>> = Some(Duration::from_secs(25));
    /// Bounds the wait for a sign of life after a ping; `None`: a client that does not answer is kept. Without
    /// effect while `ping_interval` is `None`. Default: 20 s.
    pong_timeout: Option<Duration> as impl Into<Option<Duration>> = Some(Duration::from_secs(20));
    /// Bounds the wait for the peer's half of the closing handshake. Default: 5 s.
    close_timeout: Duration = Duration::from_secs(5);
    /// Lets pages of any origin open WebSockets, use the endpoints of channels and read what those answer. Default:
    /// false: else any page a user visits could talk to the server in the user's name.
    dangerous_allow_any_origin: bool = false;
    /// Lists origins (`https://example.com`, `capacitor://localhost`, `file://`) whose pages may open WebSockets and use
    /// the endpoints of channels besides the server's own. They are compared as origins: case and a default port do not
    /// matter. Default: none.
    allowed_origins: Vec<String> = Vec::new();
    /// Lets pages of the origin `null` in as well. Default: false, since every sandboxed frame has it: any site can make
    /// one, and so speak to the server in its visitor's name.
    dangerous_allow_null_origin: bool = false;
    /// Lists the subprotocols that WebSockets can speak, the preferred one first; an
    /// [`Upgrade`](crate::Upgrade) may decide otherwise. Default: none, so that none is agreed on.
    subprotocols: Vec<String> = Vec::new();

    /// Says after how much quiet an event stream carries a comment; `None`: never. Default: 15 s, as the HTML
    /// standard advises.
    sse_heartbeat: Option<Duration> as impl Into<Option<Duration>> = Some(Duration::from_secs(15));

    /// Lists the keys that sign cookies and tokens of sessions: the first signs, all verify, so that a key is replaced by
    /// putting the new one before it. Each of at least 32 bytes. Default: none; then one is made, and sessions end
    /// with the process.
    session_keys: Vec<SessionKey> = Vec::new();
    /// Bounds how long a session lives unused. Its cookie lives as long from when it was last set, which is done again
    /// when half of this has passed. Default: 7 days.
    session_ttl: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// Bounds how long a session lives, used or not. Default: 30 days.
    session_max_age: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    /// Bounds how long a token of a session is valid. Default: 60 s, enough to open a connection with it, and too little
    /// to be worth much in a log.
    session_token_ttl: Duration = Duration::from_secs(60);
    /// Bounds what all sessions in this process's memory take together, in bytes. Default: 64 MiB. Beyond it sessions
    /// without a user end first, down to a fifth of it, and then those with one; of each kind the one that was used least
    /// recently.
    session_memory: usize = 64 * MIB;
    /// Says whether the cookie of a session is sent over TLS alone. Default: as the request came, which a trusted
    /// proxy tells.
    cookie_secure: CookieSecure = CookieSecure::Auto;
    /// Says on which requests across sites browsers send the cookie of a session. Default: Lax, on links that a user
    /// follows to the server and on nothing else. `None` is for pages of other sites that [`allowed_origins`](Self::allowed_origins)
    /// names; it needs a Secure cookie, so that a request over plain HTTP is given a Lax one.
    cookie_same_site: CookieSameSite as impl Into<CookieSameSite> = CookieSameSite::Lax;
    /// Keeps the cookie of a session apart for each site whose pages use the server (`Partitioned`, CHIPS), as browsers
    /// want it that block cookies of third parties. Needs `cookie_same_site` None. Default: false.
    cookie_partitioned: bool = false;

    /// Sets the mark above which a connection's outbox takes no more. Default: 1 MiB; a message that begins below
    /// the mark fits, whatever its size.
    outbox_bytes: usize = MIB;
    /// Bounds how long an outbox may stay above its mark without the client taking anything. Default: 15 s.
    outbox_stall: Duration = Duration::from_secs(15);
    /// Bounds what is read ahead while a handler is busy. Default: 64 KiB; beyond, reading pauses.
    inbox_bytes: usize = 64 * KIB;

    /// Writes the names of header fields as `Content-Type` and `Sec-WebSocket-Accept`, not in lower case, in every head
    /// that the server writes. For clients, embedded ones mostly, that look for a name byte by byte, although case does
    /// not matter (RFC 9110 §5.1). What a program sends as raw bytes stays as it is. Without effect on
    /// `Server::into_service`, where the server outside writes the heads. Default: false.
    title_case_headers: bool = false;

    /// Bounds how long a shutdown waits for requests and closing handshakes. Default: 25 s, below the 30 s after
    /// which orchestrators kill.
    shutdown_timeout: Duration = Duration::from_secs(25);
}

/// The names programs know.
impl ServerConfig {
    /// Creates a configuration for one address, the rest as by default.
    pub fn new(address: impl AsRef<str>, nodelay: Option<bool>, ttl: Option<u32>) -> Self {
        Self {
            addresses: vec![address.as_ref().to_owned()],
            nodelay,
            ttl,
            ..Self::default()
        }
    }

    /// Borrows the first address; empty if there is none.
    pub fn get_address(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }

    /// Replaces all addresses by this one.
    pub fn set_address(&mut self, address: impl AsRef<str>) -> &mut Self {
        self.addresses.clear();
        self.add_address(address)
    }

    /// Adds an address.
    pub fn add_address(&mut self, address: impl AsRef<str>) -> &mut Self {
        self.addresses.push(address.as_ref().to_owned());
        self
    }

    /// Gives the `nodelay` setting; `None` means on.
    pub fn get_nodelay(&self) -> Option<bool> {
        self.nodelay
    }

    /// Gives the `nodelay` setting; `None` means on.
    pub fn try_get_nodelay(&self) -> Option<bool> {
        self.nodelay
    }

    /// Sets `nodelay`; `None` means on.
    pub fn set_nodelay(&mut self, nodelay: Option<bool>) -> &mut Self {
        self.nodelay = nodelay;
        self
    }

    /// Gives the time to live, in hops; `None` is the system's.
    pub fn get_ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// Gives the time to live, in hops; `None` is the system's.
    pub fn try_get_ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// Sets the time to live, in hops; `None` is the system's.
    pub fn set_ttl(&mut self, ttl: Option<u32>) -> &mut Self {
        self.ttl = ttl;
        self
    }

    /// Checks that the settings make sense, alone and together.
    ///
    /// # Errors
    /// The [`ConfigError`] of the first setting that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.addresses.is_empty() {
            return Err(ConfigError::NoAddress);
        }
        if let Some(address) = self.addresses.iter().find(|address| !is_address(address)) {
            return Err(ConfigError::Address(address.clone()));
        }
        if let Some(ttl) = self.ttl.filter(|ttl| !(1..=255).contains(ttl)) {
            return Err(ConfigError::Ttl(ttl));
        }
        if let Some((name, _)) = self.sizes().into_iter().find(|&(_, size)| size == 0) {
            return Err(ConfigError::Zero(name));
        }
        for (name, duration) in self.durations() {
            if duration.is_zero() {
                return Err(ConfigError::Zero(name));
            }
            if duration > MAX_DURATION {
                return Err(ConfigError::TooLong(name));
            }
        }
        if let Some(name) = self.subprotocols.iter().find(|name| !is_token(name)) {
            return Err(ConfigError::Subprotocol(name.clone()));
        }
        let is_short = |key: &SessionKey| key.bytes().len() < SessionKey::MIN_BYTES;
        if self.session_keys.iter().any(is_short) {
            return Err(ConfigError::SessionKey);
        }
        if self.session_ttl < Duration::from_secs(2) || self.session_max_age < self.session_ttl {
            return Err(ConfigError::SessionTtl);
        }
        #[cfg(feature = "deflate")]
        if let Some(Err(problem)) = self.deflate.as_ref().map(DeflateConfig::validate) {
            return Err(ConfigError::Deflate(problem));
        }
        for host in &self.allowed_hosts {
            host.parse::<AllowedHost>().map_err(ConfigError::Host)?;
        }
        for origin in &self.allowed_origins {
            match origin.parse::<Origin>() {
                Ok(_) => {}
                Err(OriginError::Null) => return Err(ConfigError::NullOrigin),
                Err(_) => return Err(ConfigError::Origin(origin.clone())),
            }
        }
        if self.cookie_same_site == CookieSameSite::None
            && self.cookie_secure == CookieSecure::Never
        {
            return Err(ConfigError::CookieSameSite);
        }
        if self.cookie_partitioned && self.cookie_same_site != CookieSameSite::None {
            return Err(ConfigError::CookiePartitioned);
        }
        Ok(())
    }

    /// The pages that the whole server allows, beside its own.
    pub(crate) fn origins(&self) -> AllowedOrigins {
        let mut allowed = AllowedOrigins::of(&self.allowed_origins);
        allowed.any = self.dangerous_allow_any_origin;
        allowed.null = self.dangerous_allow_null_origin;
        allowed
    }

    fn sizes(&self) -> [(&'static str, usize); 16] {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        [
            ("backlog", size(self.backlog)),
            ("max_fragments", size(self.max_fragments)),
            (
                "max_messages_per_second",
                size(self.max_messages_per_second),
            ),
            (
                "max_control_frames_per_second",
                size(self.max_control_frames_per_second),
            ),
            (
                "max_connections",
                self.max_connections.unwrap_or(usize::MAX),
            ),
            (
                "max_connections_per_address",
                self.max_connections_per_address,
            ),
            ("max_accepts_per_second", size(self.max_accepts_per_second)),
            ("max_request_line", self.max_request_line),
            ("max_header_bytes", self.max_header_bytes),
            ("max_header_count", self.max_header_count),
            ("max_body", self.max_body),
            ("max_frame", self.max_frame),
            ("max_message", self.max_message),
            ("outbox_bytes", self.outbox_bytes),
            ("inbox_bytes", self.inbox_bytes),
            ("session_memory", self.session_memory),
        ]
    }

    /// All durations; of those that are off, one that is always fine.
    fn durations(&self) -> [(&'static str, Duration); 15] {
        let or_off = |duration: Option<Duration>| duration.unwrap_or(MAX_DURATION);
        [
            ("header_timeout", self.header_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("body_timeout", self.body_timeout),
            ("write_timeout", self.write_timeout),
            ("handler_linger", self.handler_linger),
            ("ping_interval", or_off(self.ping_interval)),
            ("pong_timeout", or_off(self.pong_timeout)),
            ("close_timeout", self.close_timeout),
            ("sse_heartbeat", or_off(self.sse_heartbeat)),
            ("outbox_stall", self.outbox_stall),
            ("shutdown_timeout", self.shutdown_timeout),
            ("session_ttl", self.session_ttl),
            ("session_max_age", self.session_max_age),
            ("session_token_ttl", self.session_token_ttl),
        ]
    }
}

/// Tells which setting of a [`ServerConfig`] makes no sense. Its `Debug` form is its sentence, as `main` prints what it
/// returns in that form.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no address to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// This address is neither `host:port` nor `unix:/path`, or it begins with `proxy:` without the feature
    /// `proxy-protocol`.
    #[error(
        "address {0:?} is neither `host:port` nor `unix:/path` (`proxy:` before it needs feature `proxy-protocol`)"
    )]
    Address(String),
    /// The time to live is not in 1 to 255.
    #[error("ttl {0} is not in 1 to 255")]
    Ttl(u32),
    /// This limit is zero, which would refuse everything.
    #[error("{0} is zero")]
    Zero(&'static str),
    /// This duration is longer than a year.
    #[error("{0} is longer than a year")]
    TooLong(&'static str),
    /// A setting of the compression is out of its range.
    #[error("{0}")]
    Deflate(&'static str),
    /// This is not an origin: scheme, host and port, without a path.
    #[error(
        "allowed origin {0:?} is not `scheme://host[:port]`, as browsers send it: no path, no wildcard, names of hosts in ASCII (`xn--..`)"
    )]
    Origin(String),
    /// This is not a host: a name, or an address, with an optional port.
    #[error("allowed host {0}")]
    Host(AllowedHostError),
    /// `null` is listed among the allowed origins.
    #[error(
        "allowed origin `null` is the origin of any sandboxed frame: to allow all of them, set `dangerous_allow_null_origin`"
    )]
    NullOrigin,
    /// The cookie of sessions is to be sent across sites, and never to be Secure: browsers refuse such a cookie.
    #[error(
        "`cookie_same_site` None needs a Secure cookie: set `cookie_secure` to Auto or Always, not Never"
    )]
    CookieSameSite,
    /// The cookie of sessions is to be partitioned, but not to be sent across sites, where there are partitions.
    #[error("`cookie_partitioned` needs `cookie_same_site` None")]
    CookiePartitioned,
    /// This is not the name of a subprotocol: a token (RFC 6455 §4.1).
    #[error("subprotocol {0:?} is not a token")]
    Subprotocol(String),
    /// A key of sessions is too short to keep a secret.
    #[error("a session key has less than 32 bytes")]
    SessionKey,
    /// The idle time of sessions is below 2 s, or above their greatest age.
    #[error("session_ttl is below 2 s or above session_max_age")]
    SessionTtl,
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one name-and-port, numeric address or Unix path; whether it exists is seen at bind.
fn is_address(address: &str) -> bool {
    let address = match address.strip_prefix(PROXIED) {
        Some(rest) if cfg!(feature = "proxy-protocol") => rest,
        _ => address,
    };
    if let Some(path) = address.strip_prefix("unix:") {
        return !path.is_empty() && !path.contains('\0');
    }
    let is_name = |host: &str| !host.is_empty() && !host.contains([':', '/', '[', ']', ' ']);
    address.parse::<SocketAddr>().is_ok()
        || address
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_name(host) && port.parse::<u16>().is_ok())
}

/// Holds the request limits that programs set in one go; [`apply`](Self::apply) puts them into a [`ServerConfig`].
///
/// Sizes in bytes, the timeout in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestConfig {
    /// Sets the size of a read. Default: 4096. Kept for programs that set it: reads use buffers that connections
    /// share, so it has no effect.
    pub buffer_size: usize,
    /// Bounds the request line. Default: 8192.
    pub max_path_size: usize,
    /// Bounds the number of header fields. Default: 100.
    pub max_header_count: usize,
    /// Bounds a header name. Default: 8192.
    pub max_header_key_size: usize,
    /// Bounds a header value. Default: 8192.
    pub max_header_value_size: usize,
    /// Bounds the body. Default: 2 MiB.
    pub max_body_size: usize,
    /// Bounds each wait for a request: for its beginning, for its head, for more of its body. Default: 6000.
    pub read_timeout_ms: u64,
}

impl RequestConfig {
    /// Creates a configuration from its seven values, in the order of the fields.
    pub fn new(
        buffer_size: usize,
        max_path_size: usize,
        max_header_count: usize,
        max_header_key_size: usize,
        max_header_value_size: usize,
        max_body_size: usize,
        read_timeout_ms: u64,
    ) -> Self {
        Self {
            buffer_size,
            max_path_size,
            max_header_count,
            max_header_key_size,
            max_header_value_size,
            max_body_size,
            read_timeout_ms,
        }
    }

    /// Reads a configuration from JSON; what is left out is as by default.
    ///
    /// # Errors
    /// The error of `serde_json` if the text is not JSON, or has other fields or types.
    pub fn from_json(json: impl AsRef<str>) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json.as_ref())
    }

    /// Gives tight limits, for servers open to anyone.
    pub fn high_security() -> Self {
        Self::new(4 * KIB, 4 * KIB, 50, 4 * KIB, 4 * KIB, MIB, 3_000)
    }

    /// Gives very large limits, for clients that are trusted. They are finite still: no limit at all would let one
    /// request take all memory.
    pub fn low_security() -> Self {
        Self::new(
            4 * KIB,
            MIB,
            10_000,
            64 * KIB,
            MIB,
            1024 * MIB,
            60 * 60 * 1_000,
        )
    }

    /// Gives the limits that a server's configuration has. A server bounds all header fields together, so names and
    /// values get equal parts of that; the size of a read is as by default.
    pub(crate) fn of(config: &ServerConfig) -> Self {
        let default = Self::default();
        let field = config.max_header_bytes / 4;
        let timeout = config.header_timeout.as_millis();
        Self {
            buffer_size: default.buffer_size,
            max_path_size: config.max_request_line,
            max_header_count: config.max_header_count,
            max_header_key_size: field,
            max_header_value_size: field,
            max_body_size: config.max_body,
            read_timeout_ms: u64::try_from(timeout).unwrap_or(u64::MAX),
        }
    }

    /// Puts these limits into a server's configuration.
    ///
    /// All header fields together may take twice what one may at most; a timeout of more than a year counts as one.
    pub fn apply(&self, config: &mut ServerConfig) {
        config.max_request_line = self.max_path_size;
        config.max_header_count = self.max_header_count;
        config.max_header_bytes = self
            .max_header_key_size
            .saturating_add(self.max_header_value_size)
            .saturating_mul(2);
        config.max_body = self.max_body_size;
        let timeout = Duration::from_millis(self.read_timeout_ms).min(MAX_DURATION);
        config.header_timeout = timeout;
        config.keep_alive_timeout = timeout;
        config.body_timeout = timeout;
    }
}

macro_rules! request_config_accessors {
    ($($get:ident $set:ident $field:ident: $type:ty;)*) => {
        /// The names programs know.
        impl RequestConfig {
            $(
                #[doc = concat!("Gives [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                pub fn $get(&self) -> $type {
                    self.$field
                }

                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                pub fn $set(&mut self, $field: $type) -> &mut Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

request_config_accessors! {
    get_buffer_size set_buffer_size buffer_size: usize;
    get_max_path_size set_max_path_size max_path_size: usize;
    get_max_header_count set_max_header_count max_header_count: usize;
    get_max_header_key_size set_max_header_key_size max_header_key_size: usize;
    get_max_header_value_size set_max_header_value_size max_header_value_size: usize;
    get_max_body_size set_max_body_size max_body_size: usize;
    get_read_timeout_ms set_read_timeout_ms read_timeout_ms: u64;
}

impl Default for RequestConfig {
    fn default() -> Self {
        Self::new(4 * KIB, 8 * KIB, 100, 8 * KIB, 8 * KIB, 2 * MIB, 6_000)
    }
}

impl From<RequestConfig> for ServerConfig {
    fn from(request: RequestConfig) -> Self {
        let mut config = Self::default();
        request.apply(&mut config);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(ServerConfig::default().validate(), Ok(()));
        for request in [
            RequestConfig::default(),
            RequestConfig::high_security(),
            RequestConfig::low_security(),
        ] {
            assert_eq!(ServerConfig::from(request).validate(), Ok(()));
        }
    }

    #[test]
    fn addresses_are_replaced_added_and_checked() {
        let mut config = ServerConfig::default();
        config
            .set_address("0.0.0.0:80")
            .add_address("unix:/run/app.sock")
            .add_address("localhost:0");
        config.add_address("[::1]:443");
        assert_eq!(
            (config.get_address(), config.addresses.len()),
            ("0.0.0.0:80", 4)
        );
        assert_eq!(config.validate(), Ok(()));
        for wrong in [
            "",
            "localhost",
            ":80",
            "host:99999",
            "host:x",
            "::1:80",
            "unix:",
            "http://a:80",
            "a b:1",
        ] {
            assert_eq!(
                config.set_address(wrong).validate(),
                Err(ConfigError::Address(wrong.to_owned()))
            );
        }
        assert_eq!(
            config.addresses(Vec::new()).validate(),
            Err(ConfigError::NoAddress)
        );
    }

    #[test]
    fn familiar_setters_and_getters_agree() {
        let mut config = ServerConfig::new("h:1", None, Some(3));
        assert_eq!(
            (config.get_nodelay(), config.get_ttl(), config.get_address()),
            (None, Some(3), "h:1")
        );
        config.set_nodelay(Some(false)).set_ttl(None);
        assert_eq!(
            (config.try_get_nodelay(), config.try_get_ttl()),
            (Some(false), None)
        );
        assert_eq!(
            config,
            ServerConfig::default()
                .addresses(vec!["h:1".to_owned()])
                .nodelay(Some(false))
        );
    }

    #[test]
    fn zero_means_nothing_would_ever_work() {
        type Edit = fn(ServerConfig) -> ServerConfig;
        let edits: [(&str, Edit); 8] = [
            ("backlog", |config| config.backlog(0)),
            ("max_connections", |config| config.max_connections(Some(0))),
            ("max_accepts_per_second", |config| {
                config.max_accepts_per_second(0)
            }),
            ("max_header_count", |config| config.max_header_count(0)),
            ("max_body", |config| config.max_body(0)),
            ("outbox_bytes", |config| config.outbox_bytes(0)),
            ("header_timeout", |config| {
                config.header_timeout(Duration::ZERO)
            }),
            ("sse_heartbeat", |config| {
                config.sse_heartbeat(Duration::ZERO)
            }),
        ];
        for (name, edit) in edits {
            assert_eq!(
                edit(ServerConfig::default()).validate(),
                Err(ConfigError::Zero(name))
            );
        }
    }

    #[test]
    fn settings_that_contradict_are_refused() {
        let config = ServerConfig::default;
        assert_eq!(
            config().handler_linger(Duration::MAX).validate(),
            Err(ConfigError::TooLong("handler_linger"))
        );
        assert_eq!(config().ttl(Some(0)).validate(), Err(ConfigError::Ttl(0)));
        assert_eq!(
            config().ttl(Some(256)).validate(),
            Err(ConfigError::Ttl(256))
        );
        for wrong in ["", "a b", "a,b", "a\r\nb"] {
            let names = vec!["v1.chat".to_owned(), wrong.to_owned()];
            assert_eq!(
                config().subprotocols(names).validate(),
                Err(ConfigError::Subprotocol(wrong.to_owned()))
            );
        }
        for keys in [vec!["x".repeat(31)], vec!["x".repeat(32), String::new()]] {
            let keys = keys.into_iter().map(SessionKey::new).collect::<Vec<_>>();
            assert_eq!(
                config().session_keys(keys).validate(),
                Err(ConfigError::SessionKey)
            );
        }
        let second = Duration::from_secs(1);
        for wrong in [
            config().session_ttl(second),
            config()
                .session_ttl(20 * second)
                .session_max_age(19 * second),
        ] {
            assert_eq!(wrong.validate(), Err(ConfigError::SessionTtl));
        }
        for fine in ["https://A:443", "file://", "capacitor://localhost"] {
            let origins = vec![fine.to_owned()];
            assert_eq!(config().allowed_origins(origins).validate(), Ok(()));
        }
        for null in ["null", " NULL"] {
            let error = config().allowed_origins(vec![null.to_owned()]).validate();
            assert_eq!(error, Err(ConfigError::NullOrigin));
            let text = error.unwrap_err().to_string();
            assert!(text.contains("dangerous_allow_null_origin"), "{text}");
        }
        let across = || config().cookie_same_site(CookieSameSite::None);
        assert_eq!(across().cookie_partitioned(true).validate(), Ok(()));
        assert_eq!(
            across().cookie_secure(CookieSecure::Never).validate(),
            Err(ConfigError::CookieSameSite)
        );
        assert_eq!(
            config().cookie_partitioned(true).validate(),
            Err(ConfigError::CookiePartitioned)
        );
        for wrong in ["*", "example.com", "https://", "https://a/", "https://*.a"] {
            let origins = vec!["https://fine:8443".to_owned(), wrong.to_owned()];
            assert_eq!(
                config().allowed_origins(origins).validate(),
                Err(ConfigError::Origin(wrong.to_owned()))
            );
        }
    }

    #[test]
    fn hosts_are_names_and_addresses_with_or_without_a_port() {
        let hosts = |list: &[&str]| {
            let list = list
                .iter()
                .map(|host| (*host).to_owned())
                .collect::<Vec<_>>();
            ServerConfig::default().allowed_hosts(list).validate()
        };
        let fine = [
            "app.example",
            "*.app.example:8443",
            "192.0.2.1:80",
            "[::1]",
            "::1",
        ];
        assert_eq!(hosts(&fine), Ok(()));
        for wrong in [
            "",
            "*",
            "https://app.example",
            "app.example/",
            "bücher.example",
        ] {
            let error = hosts(&["app.example", wrong]).unwrap_err();
            assert!(matches!(error, ConfigError::Host(_)));
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("allowed host `{wrong}` is not"))
            );
        }
    }

    #[test]
    fn heartbeats_may_be_off_and_a_pong_may_take_longer_than_the_next_ping() {
        let second = Duration::from_secs(1);
        let config = ServerConfig::default;
        for fine in [
            config()
                .ping_interval(None)
                .pong_timeout(None)
                .sse_heartbeat(None),
            config().ping_interval(None),
            config().pong_timeout(None),
            config().ping_interval(second).pong_timeout(2 * second),
            config().ping_interval(Some(second)),
        ] {
            assert_eq!(fine.validate(), Ok(()));
        }
        for (name, wrong) in [
            ("ping_interval", config().ping_interval(Duration::ZERO)),
            ("pong_timeout", config().pong_timeout(Duration::ZERO)),
        ] {
            assert_eq!(wrong.validate(), Err(ConfigError::Zero(name)));
        }
        assert_eq!(
            config().sse_heartbeat(Duration::MAX).validate(),
            Err(ConfigError::TooLong("sse_heartbeat"))
        );
    }

    #[test]
    fn request_limits_are_applied() {
        let mut config = ServerConfig::default();
        RequestConfig::high_security().apply(&mut config);
        assert_eq!(
            (
                config.max_request_line,
                config.max_header_count,
                config.max_body
            ),
            (4096, 50, MIB)
        );
        assert_eq!(
            (config.max_header_bytes, config.header_timeout),
            (16 * KIB, Duration::from_secs(3))
        );
        let endless = RequestConfig::new(
            1,
            usize::MAX,
            usize::MAX,
            usize::MAX,
            usize::MAX,
            usize::MAX,
            u64::MAX,
        );
        endless.apply(&mut config);
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.max_header_bytes, usize::MAX);
    }

    #[test]
    fn low_security_is_finite() {
        let low = RequestConfig::low_security();
        assert!(
            low.max_body_size < usize::MAX
                && low.max_path_size < usize::MAX
                && low.read_timeout_ms < u64::MAX
        );
        assert!(low.get_max_body_size() > RequestConfig::default().get_max_body_size());
    }

    #[test]
    fn json_fills_in_defaults_and_refuses_unknown_names() {
        let config = RequestConfig::from_json(r#"{"max_body_size": 7}"#).unwrap();
        assert_eq!(&config, RequestConfig::default().set_max_body_size(7));
        assert!(RequestConfig::from_json(r#"{"max_body": 7}"#).is_err());
        assert!(RequestConfig::from_json("{").is_err());
    }
}
