//! The settings of a server: addresses, limits of size and time, trust, sessions.
//!
//! All settings are public fields of one struct. A single macro call declares the fields.

mod access;
mod check;
mod error;
mod https;
mod json;
mod protocol;
mod request;
#[cfg(feature = "sessions")]
mod session;
#[cfg(feature = "__tls")]
mod tls;

use std::time::Duration;

#[cfg(feature = "__tls")]
pub(crate) use self::check::check_plan;
pub(crate) use self::check::{Form, PROXIED};
#[cfg(feature = "sessions")]
pub use self::session::{CookieSameSite, CookieSecure, SessionKey};
#[cfg(feature = "__tls")]
pub use self::tls::{ClientCertificates, TlsConfig};
#[cfg(feature = "__tls")]
pub(crate) use self::tls::{KeyPair, Pem};
pub use self::{
    access::AccessLog,
    error::ConfigError,
    https::{Hsts, HttpsRedirect},
    protocol::ServerProtocol,
    request::RequestConfig,
};

use crate::proto::http::{
    forwarded::{Cidr, ForwardedField},
    origin::AllowedOrigins,
};
#[cfg(feature = "deflate")]
use crate::proto::ws::deflate::DeflateConfig;

/// The maximum duration of a setting. A deadline this far ahead does not overflow.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Declares the fields of `ServerConfig`, one row per field: documentation, name, type, default. The macro expands to
/// the struct, its `Default` and a builder method per field. `as` sets another type for the argument of the builder
/// method; the method converts the argument to the field's type. `if` names the feature that enables the field.
macro_rules! server_config {
    (@argument $type:ty) => { $type };
    (@argument $type:ty, $argument:ty) => { $argument };
    ($($(#[$doc:meta])* $field:ident: $type:ty $(as $argument:ty)? = $default:expr $(, if $feature:literal)?;)*) => {
        /// The settings of a server: addresses, socket options, limits.
        ///
        /// By default, every limit is finite. Sizes are in bytes. Fields are public, and each has a builder method of
        /// the same name. The server calls [`validate`](Self::validate) before it binds.
        ///
        /// ```
        /// use hyperlane_core::ServerConfig;
        /// use std::time::Duration;
        ///
        /// let config = ServerConfig::default()
        ///     .max_body(64 * 1024)
        ///     .send_buffer(128 * 1024)
        ///     .ping_interval(Duration::from_secs(10))
        ///     .sse_heartbeat(None);
        /// assert!(config.validate().is_ok());
        /// assert!(config.max_body(0).validate().is_err());
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ServerConfig {
            $($(#[$doc])* $(#[cfg(feature = $feature)])? pub $field: $type,)*
        }

        impl Default for ServerConfig {
            fn default() -> Self {
                Self {
                    $($(#[cfg(feature = $feature)])? $field: $default,)*
                }
            }
        }

        impl ServerConfig {
            /// Sets the field with the name `key` to a value of JSON. Returns false if there is no such field.
            fn set_from_json(&mut self, key: &str, value: &serde_json::Value) -> Result<bool, ConfigError> {
                match key {
                    $(
                        $(#[cfg(feature = $feature)])?
                        stringify!($field) => self.$field = json::FromJson::from_json(value, key)?,
                    )*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }

        /// Builder methods, one for each field.
        impl ServerConfig {
            $(
                $(#[cfg(feature = $feature)])?
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                #[must_use]
                #[allow(clippy::useless_conversion, reason = "most arguments are of the type already")]
                pub fn $field(mut self, $field: server_config!(@argument $type $(, $argument)?)) -> Self {
                    self.$field = $field.into();
                    self
                }
            )*
        }
    };
}

server_config! {
    /// The addresses to listen on: `host:port`, `[ipv6]:port` or `unix:/path`. The prefix `proxy:` marks the address of
    /// a load balancer that begins each connection with a PROXY protocol header, version 2 (feature `proxy-protocol`).
    /// The prefix `tls:` marks a TCP address that speaks TLS (feature `tls`); it comes after `proxy:`. The prefix
    /// `redirect:` marks a TCP address that redirects to `https`.
    /// Default: `127.0.0.1:8080`, an address that only programs on this machine can reach. To open the server to the
    /// network, set another address.
    addresses: Vec<String> = vec!["127.0.0.1:8080".to_owned()];
    /// Sends small segments at once (`TCP_NODELAY`). Default: `None`, which means on. If off, Nagle's algorithm makes a
    /// real-time message wait for the acknowledgment of the previous segment.
    nodelay: Option<bool> = None;
    /// The IP time to live, 1 to 255 hops. Default: `None`, the default of the operating system.
    ttl: Option<u32> = None;
    /// The size of the system's send buffer of a connection, in bytes (`SO_SNDBUF`). Default: `None`; the system then
    /// chooses the size, and Linux lets it grow to some megabytes per connection.
    ///
    /// The server does not see what is in this buffer. A client that reads too slowly fills the buffer before the
    /// outbox, so a smaller buffer limits the memory of the system for slow clients, and the server notices them
    /// earlier: [`outbox_stall`](Self::outbox_stall) and the rules of rooms for slow members begin with the outbox. Too
    /// small a buffer makes long paths slow: a connection sends at most one buffer per round trip (64 KiB over 100 ms
    /// are 5 Mbit/s). Linux uses twice the number for its own data, and limits it to `net.core.wmem_max`.
    send_buffer: Option<u32> as impl Into<Option<u32>> = None;
    /// Maximum number of connections in the system's accept queue. Default: 4096, enough for 10 000 clients that
    /// reconnect at once. The system may have a lower limit (Linux: `net.core.somaxconn`).
    backlog: u32 = 4096;

    /// Maximum number of open connections. Default: `None`, 80 % of the process's limit of file descriptors. The other
    /// descriptors remain for the program.
    max_connections: Option<usize> = None;
    /// Maximum number of open connections per client address. The server counts an IPv6 /64 as one address, and does
    /// not limit loopback addresses and trusted proxies. Default: 256, more than a household or small office needs.
    max_connections_per_address: usize = 256;
    /// Maximum number of connections accepted per second over all addresses, with a burst of a tenth of this number.
    /// Further connections wait in the `backlog`. Default: 50 000, enough for many clients that reconnect at once. Set
    /// a lower number if each connection is costly.
    max_accepts_per_second: u32 = 50_000;

    /// The proxies in front of the server (`10.0.0.0/8`, `192.0.2.1`). These proxies report the client's address,
    /// protocol and host in header fields. If one of the three is missing or invalid, the server still takes the other
    /// two. Default: none; the server then ignores these header fields, because any client can send them. If the list
    /// has an entry, the server also trusts the peer of a Unix socket.
    ///
    /// Each of these header fields contains a list, and the server reads the list from the right. For a request that
    /// has passed N of these proxies, the server takes item N from the right as the client's address, protocol or host.
    /// If a list has fewer than N items, the server takes the leftmost item.
    trusted_proxies: Vec<Cidr> = Vec::new();
    /// The header field, or the group of header fields, in which the trusted proxies report the client. The server
    /// ignores all other forwarding fields, because a client could send them. Default: the group `X-Forwarded-For`,
    /// `X-Forwarded-Proto` and `X-Forwarded-Host`.
    forwarded_field: ForwardedField = ForwardedField::default();

    /// The hosts that the server answers to: `app.example` at any port, `app.example:8443` at that port,
    /// `*.app.example` for all subdomains, or addresses. For any other host, the server answers with 421 and logs the
    /// host once.
    ///
    /// Default: empty. The effect of the list depends on the addresses of the server:
    ///
    /// - A server that listens only on loopback TCP addresses answers to the names of this machine (`localhost` and its
    ///   subdomains, `127.0.0.0/8`, `[::1]`) and to listed hosts. This rule stops DNS rebinding: a web page whose name
    ///   resolves to 127.0.0.1 cannot use the server.
    /// - Any other server answers to all hosts if the list is empty, and only to listed hosts if the list has entries.
    ///
    /// The server does not check the host of a request from one of its
    /// [`trusted_proxies`](Self#structfield.trusted_proxies): a proxy decides itself which hosts it serves. If a proxy
    /// and a browser on the proxy's machine connect from the same address, the server takes the browser for the proxy.
    /// In this case, let the proxy connect from an address of its own (nginx: `proxy_bind 127.0.0.2`).
    ///
    /// The server also does not check the host of these requests:
    ///
    /// - requests at Unix sockets
    /// - requests on transports passed to [`ServerControlHook::serve`](crate::ServerControlHook::serve)
    /// - requests to a server inside another stack (`Server::into_service`)
    /// - requests of old clients (HTTP/1.0) that name no host
    ///
    /// At `proxy:` addresses, the server answers to any host if the list is empty, even if it listens only on loopback
    /// addresses.
    allowed_hosts: Vec<String> = Vec::new();

    /// The highest version of HTTP that the server speaks, on every address. With HTTP/2, a client begins with the preface
    /// of HTTP/2 or with a request of HTTP/1.1, and chooses by ALPN over TLS. Default: HTTP/2 with the feature `http2`, or
    /// else HTTP/1.1.
    protocol: ServerProtocol = ServerProtocol::highest();
    /// The certificates for addresses with TLS. If no address has the prefix `tls:`, all TCP addresses speak TLS,
    /// except those with the prefix `redirect:`. Otherwise those with the prefix do. [`Server::bind_tls`](crate::Server::bind_tls) adds an address
    /// with certificates of its own. Default: `None`.
    tls: Option<TlsConfig> as impl Into<Option<TlsConfig>> = None, if "__tls";
    /// Maximum time from the start of a connection to the end of its TLS handshake. Default: 10 s, the same as
    /// `header_timeout`.
    tls_handshake_timeout: Duration = Duration::from_secs(10), if "__tls";
    /// Maximum number of TLS handshakes at the same time. A further handshake ends the oldest one, which has probably
    /// been abandoned: a handshake takes two round trips to the client. Never more than half of `max_connections`.
    /// Default: 1024, with about 30 KiB each.
    max_tls_handshakes: usize = 1024, if "__tls";
    /// Maximum number of TLS handshakes per second over all addresses, with a burst of a tenth of this number. Further
    /// connections wait in the `backlog`. Default: 10 000, more than 4 cores compute.
    max_tls_handshakes_per_second: u32 = 10_000, if "__tls";
    /// The field `strict-transport-security` of responses over TLS. Default: `None`; the server does not send it.
    hsts: Option<Hsts> as impl Into<Option<Hsts>> = None;

    /// Maximum time from the first byte of a request to the end of its head. Default: 10 s. The limit keeps slow
    /// clients from occupying connections.
    header_timeout: Duration = Duration::from_secs(10);
    /// Maximum time for a handler (a route of the program) to answer a WebSocket handshake that the handler's guard
    /// `#[is_ws_upgrade_type]` has accepted. After this time the server sends the 101 itself and logs a warning.
    /// Default: 10 s, the same as `header_timeout`.
    handshake_timeout: Duration = Duration::from_secs(10);
    /// Maximum wait for the next request of a connection. Default: 75 s, longer than common proxies keep an idle
    /// connection.
    keep_alive_timeout: Duration = Duration::from_secs(75);
    /// Maximum wait for the next byte of a body. Default: 30 s.
    body_timeout: Duration = Duration::from_secs(30);
    /// Maximum time during which a client reads nothing of a response. Default: 60 s.
    write_timeout: Duration = Duration::from_secs(60);
    /// Maximum time for a handler to continue after its peer has disconnected. Default: 120 s. Within this time a
    /// handler can finish its work. After this time the server drops the handler.
    handler_linger: Duration = Duration::from_secs(120);

    /// Maximum number of streams that a client may open at the same time on one HTTP/2 connection. Default: 100. Each
    /// stream carries a request, an event stream or a WebSocket.
    http2_streams: u32 = 100, if "http2";
    /// Maximum number of bytes of a request body, or of WebSocket messages, that a client may send on one stream of
    /// HTTP/2 before the program has read them. Default: 256 KiB.
    http2_stream_window: u32 = 256 * KIB as u32, if "http2";
    /// Maximum number of bytes that a client may send on all streams of one HTTP/2 connection before the program has
    /// read them. Default: 1 MiB.
    http2_window: u32 = MIB as u32, if "http2";

    /// Gives each stream of HTTP/2 a task of its own. Default: false, so one task polls a connection and its streams, and
    /// only handlers with `#[spawned]` get their own. Set it if most handlers compute long without an await.
    http2_spawned: bool = false, if "http2";

    /// Maximum length of the request line, in bytes. Default: 8 KiB, as RFC 9112 §3 recommends. The server answers a
    /// longer line with 414.
    max_request_line: usize = 8 * KIB;
    /// Maximum length of all header fields of a request, in bytes. Default: 32 KiB. The server answers longer fields
    /// with 431.
    max_header_bytes: usize = 32 * KIB;
    /// Maximum number of header fields. Default: 100. The server answers more fields with 431.
    max_header_count: usize = 100;
    /// Maximum length of a request body that the server reads whole, in bytes. Default: 2 MiB. The server answers a
    /// longer body with 413. Streamed bodies may be longer.
    max_body: usize = 2 * MIB;

    /// Maximum payload of a WebSocket frame, in bytes. Default: 1 MiB. A longer frame closes the WebSocket with code
    /// 1009.
    max_frame: usize = MIB;
    /// Maximum length of a WebSocket message over all fragments, after decompression, in bytes. Default: 1 MiB. A
    /// longer message closes the WebSocket with code 1009.
    max_message: usize = MIB;
    /// Maximum number of fragments of a WebSocket message. Default: 131 072. More fragments close the WebSocket with
    /// code 1008.
    max_fragments: u32 = 128 * 1024;
    /// Maximum number of messages per second on a WebSocket, with a burst of the same number. Time in which the server
    /// pauses reading does not count. Default: 1 000 000, far above the rate of real clients. A lower limit is useful
    /// only if you know the rate of your clients, because the server slows down fast senders in any case: it pauses
    /// reading while [`inbox_bytes`](Self::inbox_bytes) or more wait for the handler. The server closes the WebSocket
    /// of a client that exceeds the limit with code 1008.
    max_messages_per_second: u32 = 1_000_000;
    /// Maximum number of pings and pongs per second on a WebSocket, with a burst of the same number. A pong that
    /// answers a ping of the server (heartbeat, channel or program) does not count. Default: 1000. A client needs only
    /// a few pings, and the server must answer each. The server closes the WebSocket of a client that exceeds the limit
    /// with code 1008.
    max_control_frames_per_second: u32 = 1000;
    /// The idle time after which the server pings a WebSocket client. With `None` the server does not ping idle
    /// clients. It then notices a vanished client only when it sends something to the client. Default: 25 s, below the
    /// idle limits of common proxies.
    ping_interval: Option<Duration> as impl Into<Option<Duration>> = Some(Duration::from_secs(25));
    /// Maximum wait for any bytes of the client after a ping. With `None` the server keeps a client that does not
    /// answer. This setting has no effect if `ping_interval` is `None`. Default: 20 s.
    pong_timeout: Option<Duration> as impl Into<Option<Duration>> = Some(Duration::from_secs(20));
    /// Maximum wait for the peer's Close frame after the server has sent its own. Also the maximum wait of a Close frame,
    /// or of the end of an event stream, for messages of rooms that were published before it. Default: 5 s.
    close_timeout: Duration = Duration::from_secs(5);
    /// Allows pages of any origin to open WebSockets, to use the endpoints of channels (`ws()`, `sse()`), and to read
    /// the responses of these endpoints. Default: false. If true, any page can use the server in its visitor's name.
    dangerous_allow_any_origin: bool = false;
    /// The origins (`https://example.com`, `capacitor://localhost`, `file://`) whose pages may open WebSockets and use
    /// the endpoints of channels. Pages of the server's own origin always may. The server compares origins without
    /// regard to case and to a default port. `https://*.example.com` stands for all subdomains and `http://localhost:*`
    /// for all ports. Such pages may also send unsafe requests with the session's cookie ([`Csrf`](crate::Csrf)); a
    /// [`Cors`](crate::Cors) policy lets pages read other responses. Default: none.
    allowed_origins: Vec<String> = Vec::new();
    /// Also allows pages of the origin `null`. Default: false. Every sandboxed frame has this origin. If true, any site
    /// can create such a frame and use the server in its visitor's name.
    dangerous_allow_null_origin: bool = false;
    /// The path under which a proxy publishes the server: `/app` for `https://example.com/app/`. The proxy removes it
    /// from the path of each request. The server puts it before paths that clients get: before a `location` that begins
    /// with one `/`, and before the `Path` of cookies. Cookies whose name begins with `__Host-` keep `Path=/`, because
    /// browsers require it. [`Context::base_path`](crate::Context::base_path) returns the path for links in pages.
    ///
    /// If one of the [`trusted_proxies`](Self#structfield.trusted_proxies) sends `X-Forwarded-Prefix`, its value
    /// applies instead, unless [`forwarded_field`](Self#structfield.forwarded_field) is `Forwarded`. Configure the
    /// proxy to set or remove this field. Otherwise a client could send it. Default: empty.
    base_path: String as impl Into<String> = String::new();
    /// The subprotocols of WebSockets, the preferred one first. An [`Upgrade`](crate::Upgrade) may override this list.
    /// Default: none; the server then negotiates no subprotocol.
    subprotocols: Vec<String> = Vec::new();

    /// The compression of WebSocket messages for clients that offer it (RFC 7692). Default: `None`, off. Compression
    /// costs CPU time and, with context takeover, memory.
    deflate: Option<DeflateConfig> as impl Into<Option<DeflateConfig>> = None, if "deflate";

    /// The idle time after which the server sends a comment on an event stream. With `None` the server sends no
    /// comments. Default: 15 s, as the HTML standard advises.
    sse_heartbeat: Option<Duration> as impl Into<Option<Duration>> = Some(Duration::from_secs(15));

    /// The keys that sign cookies and tokens of sessions. The first key signs, and all keys verify: to replace a key,
    /// insert the new one before it. Each key needs at least 32 bytes. Default: none. The server then generates a key,
    /// and all sessions end with the process.
    session_keys: Vec<SessionKey> = Vec::new(), if "sessions";
    /// Maximum idle time of a session. The session's cookie has the same lifetime. The server renews the cookie when
    /// half of this time has passed. Default: 7 days.
    session_ttl: Duration = Duration::from_secs(7 * 24 * 60 * 60), if "sessions";
    /// Maximum age of a session, even if it is in use. Default: 30 days.
    session_max_age: Duration = Duration::from_secs(30 * 24 * 60 * 60), if "sessions";
    /// Lifetime of a session's token, with which a client can open a connection without the cookie. Default: 60 s,
    /// enough to open a connection. A token that is found in a log has probably expired.
    session_token_ttl: Duration = Duration::from_secs(60), if "sessions";
    /// Maximum memory of all sessions in this process, in bytes. Default: 64 MiB. Beyond this limit, the server first
    /// evicts sessions without a user until they occupy a fifth of the memory, and then sessions with a user. Within
    /// each kind, the server evicts the least recently used sessions first.
    session_memory: usize = 64 * MIB, if "sessions";
    /// The rule that decides whether the session cookie is Secure. Browsers send a Secure cookie over TLS only.
    /// Default: `Auto`; the cookie is then Secure if the connection uses TLS, or if a trusted proxy reports that the client used TLS.
    cookie_secure: CookieSecure = CookieSecure::Auto, if "sessions";
    /// The cross-site requests with which browsers send the session cookie. Default: `Lax`; a cross-site request then
    /// carries the cookie only if a user has followed a link to the server. The value `None` is for pages of other
    /// sites in [`allowed_origins`](Self::allowed_origins). `None` needs a Secure cookie, so the server sends a `Lax`
    /// cookie over plain HTTP.
    cookie_same_site: CookieSameSite as impl Into<CookieSameSite> = CookieSameSite::Lax, if "sessions";
    /// Keeps a separate session cookie for each site whose pages use the server (`Partitioned`, CHIPS). Browsers that
    /// block third-party cookies require partitioned cookies. Needs `cookie_same_site` None. Default: false.
    cookie_partitioned: bool = false, if "sessions";

    /// The high-water mark of a connection's outbox, in bytes. The outbox contains the bytes that the socket has not
    /// accepted yet. While the outbox is above its mark, it refuses messages. Below the mark, the outbox accepts a
    /// message of any length. Default: 1 MiB.
    outbox_bytes: usize = MIB;
    /// Maximum time during which the client of a WebSocket or an event stream reads nothing, although bytes wait in the
    /// outbox. After this time, the server drops all messages of the outbox except the first, and closes the
    /// connection. A client that reads again within `close_timeout` still gets the first message, and a WebSocket then
    /// a Close frame with the code 1013. Also the maximum wait of a message for messages of rooms that were published
    /// before it. Default: 15 s.
    outbox_stall: Duration = Duration::from_secs(15);
    /// Maximum number of bytes that the server reads from a client ahead of a busy handler. Beyond this number, the
    /// server pauses reading. Default: 64 KiB.
    inbox_bytes: usize = 64 * KIB;

    /// Writes header names as `Content-Type` and `Sec-WebSocket-Accept` instead of lower case, in every head that the
    /// server writes. Some clients, mostly embedded ones, compare names byte by byte, although case does not matter
    /// (RFC 9110 §5.1). Raw bytes that a program sends stay unchanged. This setting has no effect on
    /// `Server::into_service`, because the outer server writes the heads. Default: false.
    title_case_headers: bool = false;
    /// Logs each request when it has ended, with the level INFO and the target `hyperlane::access` of `tracing`. The
    /// request of a WebSocket or event stream ends with its connection. Values of query parameters that are named
    /// `token` or end with `token` are masked. Default: `None`, no log.
    access_log: Option<AccessLog> = None;

    /// Maximum time for which a shutdown waits for running requests and closing handshakes. Default: 25 s.
    /// Orchestrators usually kill a process 30 s after they have asked it to end.
    shutdown_timeout: Duration = Duration::from_secs(25);
}

impl ServerConfig {
    /// Returns the origins, besides the server's own, whose pages may open WebSockets and use the endpoints of
    /// channels.
    pub(crate) fn origins(&self) -> AllowedOrigins {
        let mut allowed = AllowedOrigins::of(&self.allowed_origins);
        allowed.any = self.dangerous_allow_any_origin;
        allowed.null = self.dangerous_allow_null_origin;
        allowed
    }
}

/// Methods under the names that published Hyperlane programs call.
impl ServerConfig {
    /// Creates a configuration for one address, with defaults for all other settings.
    pub fn new(address: impl AsRef<str>, nodelay: Option<bool>, ttl: Option<u32>) -> Self {
        Self {
            addresses: vec![address.as_ref().to_owned()],
            nodelay,
            ttl,
            ..Self::default()
        }
    }

    /// Returns the first address. Returns an empty string if there is no address.
    pub fn get_address(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }

    /// Replaces all addresses by `address`.
    pub fn set_address(&mut self, address: impl AsRef<str>) -> &mut Self {
        self.addresses.clear();
        self.add_address(address)
    }

    /// Adds an address.
    pub fn add_address(&mut self, address: impl AsRef<str>) -> &mut Self {
        self.addresses.push(address.as_ref().to_owned());
        self
    }

    /// Returns the `nodelay` setting; `None` means on.
    pub fn get_nodelay(&self) -> Option<bool> {
        self.nodelay
    }

    /// Same as [`get_nodelay`](Self::get_nodelay).
    pub fn try_get_nodelay(&self) -> Option<bool> {
        self.nodelay
    }

    /// Sets `nodelay`; `None` means on.
    pub fn set_nodelay(&mut self, nodelay: Option<bool>) -> &mut Self {
        self.nodelay = nodelay;
        self
    }

    /// Returns the IP time to live, in hops. `None` means the default of the operating system.
    pub fn get_ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// Same as [`get_ttl`](Self::get_ttl).
    pub fn try_get_ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// Sets the IP time to live, in hops. `None` means the default of the operating system.
    pub fn set_ttl(&mut self, ttl: Option<u32>) -> &mut Self {
        self.ttl = ttl;
        self
    }

    /// Returns the highest version of HTTP that the server speaks.
    pub fn get_protocol(&self) -> ServerProtocol {
        self.protocol
    }

    /// Sets the highest version of HTTP that the server speaks.
    pub fn set_protocol(&mut self, protocol: ServerProtocol) -> &mut Self {
        self.protocol = protocol;
        self
    }

    /// Returns the certificates for addresses with TLS.
    #[cfg(feature = "__tls")]
    pub fn get_tls(&self) -> Option<&TlsConfig> {
        self.tls.as_ref()
    }

    /// Same as [`get_tls`](Self::get_tls).
    #[cfg(feature = "__tls")]
    pub fn try_get_tls(&self) -> Option<&TlsConfig> {
        self.tls.as_ref()
    }

    /// Sets the certificates for addresses with TLS.
    #[cfg(feature = "__tls")]
    pub fn set_tls(&mut self, tls: impl Into<Option<TlsConfig>>) -> &mut Self {
        self.tls = tls.into();
        self
    }
}

#[cfg(test)]
mod tests;
