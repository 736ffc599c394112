//! The settings of a server: addresses, limits of size and time, trust, sessions.
//!
//! One table holds them all, as they are public fields of one struct.

mod check;
mod error;
mod legacy;
mod request;
mod session;

use std::time::Duration;

pub(crate) use self::check::PROXIED;
pub use self::{
    error::ConfigError,
    request::RequestConfig,
    session::{CookieSameSite, CookieSecure, SessionKey},
};

use crate::proto::http::{
    forwarded::{Cidr, ForwardedField},
    origin::AllowedOrigins,
};
#[cfg(feature = "deflate")]
use crate::proto::ws::deflate::DeflateConfig;

/// The longest duration of a setting, so that deadlines can always be computed.
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
        /// use hyperlane_core::ServerConfig;
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

impl ServerConfig {
    /// The origins whose pages the whole server allows, besides its own.
    pub(crate) fn origins(&self) -> AllowedOrigins {
        let mut allowed = AllowedOrigins::of(&self.allowed_origins);
        allowed.any = self.dangerous_allow_any_origin;
        allowed.null = self.dangerous_allow_null_origin;
        allowed
    }
}
