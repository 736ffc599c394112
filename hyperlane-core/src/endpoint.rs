//! Endpoints: the paths at which clients connect to the channels of their session. A channel carries the messages of
//! one session across connections.

pub(crate) mod directory;
mod events;
mod handler;
pub(crate) mod plan;
mod post;
mod socket;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use self::{
    handler::ChannelHandler,
    plan::{PlannedEndpoint, PlannedRoute},
};
use crate::{
    channel::{
        Channel,
        name::NamePattern,
        settings::{Direction, Settings},
    },
    context::states::States,
    proto::http::origin::AllowedOrigins,
    sse::ServerSentEvents,
    websocket::WebSocket,
};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// The program's function that an endpoint calls once per new channel.
type OnChannel = Box<dyn Fn(Arc<Channel>, States) -> Task + Send + Sync>;

/// The options that WebSocket endpoints and event-stream endpoints have in common.
#[derive(Default)]
struct Options {
    settings: Settings,
    heartbeat: Option<Duration>,
    origins: AllowedOrigins,
    resume_ids: bool,
    is_from_start: bool,
    /// The names of the channels. `None` for the channels without a name.
    names: Option<Arc<NamePattern>>,
    retry: Option<Duration>,
    on_channel: Option<OnChannel>,
}

/// An endpoint at which clients connect to the WebSocket channel of their session
/// ([`Context::ws`](crate::Context::ws)). [`ws`] and [`ws_with`] create such an endpoint.
///
/// Clients connect by a WebSocket. Clients can also connect by an event stream (GET with `Accept: text/event-stream`),
/// and receive the same messages as events. A client with an event stream sends a message as the body of a POST
/// request. `hyperlane::docs::channels` describes the protocol for clients.
pub struct WebSocketEndpoint(Options);

/// An endpoint at which clients connect to the event-stream channel of their session
/// ([`Context::sse`](crate::Context::sse)). [`sse`] and [`sse_with`] create such an endpoint.
pub struct ServerSentEventsEndpoint(Options);

/// Creates an endpoint for the WebSocket channels of sessions. A channel carries the messages of one session across
/// connections.
///
/// ```
/// use std::time::Duration;
///
/// use hyperlane_core::{Server, ws};
///
/// let mut server = Server::new();
/// server.at("/ws").get(ws().timeout(Duration::from_secs(5)));
/// ```
pub fn ws() -> WebSocketEndpoint {
    WebSocketEndpoint::new()
}

/// Creates an endpoint for WebSocket channels. The endpoint calls `f` once for each new channel, in a new task.
///
/// ```
/// use hyperlane_core::{Server, WebSocket, ws_with};
///
/// let mut server = Server::new();
/// server.at("/ws").get(ws_with(async |ws: WebSocket, _state| {
///     while let Ok(message) = ws.recv().await {
///         println!("{message}");
///     }
/// }));
/// ```
pub fn ws_with<F, Fut>(f: F) -> WebSocketEndpoint
where
    F: Fn(WebSocket, States) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    WebSocketEndpoint::with(f)
}

/// Creates an endpoint for the event-stream channels of sessions.
///
/// ```
/// use hyperlane_core::{Server, sse};
///
/// let mut server = Server::new();
/// server.at("/sse").get(sse());
/// ```
pub fn sse() -> ServerSentEventsEndpoint {
    ServerSentEventsEndpoint::new()
}

/// Creates an endpoint for event-stream channels. The endpoint calls `f` once for each new channel, in a new task.
///
/// ```
/// use hyperlane_core::{Server, ServerSentEvents, sse_with};
///
/// let mut server = Server::new();
/// server.at("/sse").get(sse_with(async |sse: ServerSentEvents, _state| {
///     let _ = sse.send("welcome").await;
/// }));
/// ```
pub fn sse_with<F, Fut>(f: F) -> ServerSentEventsEndpoint
where
    F: Fn(ServerSentEvents, States) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    ServerSentEventsEndpoint::with(f)
}

/// Builder methods that both types of endpoints have.
macro_rules! builders {
    ($($name:ident)+) => {$(
        impl $name {
            /// Sets the maximum time that a send waits while the buffer is full. Default: 5 s.
            #[must_use]
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.0.settings.timeout = timeout;
                self
            }

            /// Another name of [`timeout`](Self::timeout).
            #[must_use]
            pub fn set_timeout(self, timeout: Duration) -> Self {
                self.timeout(timeout)
            }

            /// Sets the time for which a channel without a connection waits for its client to reconnect. Then the
            /// channel ends. Default: 120 s.
            #[must_use]
            pub fn grace(mut self, grace: Duration) -> Self {
                self.0.settings.grace = grace;
                self
            }

            /// Sets the maximum number of messages in each of a channel's two buffers: the messages that wait to be
            /// sent, and the sent messages that a reconnecting client may have missed. Default: 256.
            #[must_use]
            pub fn buffer(mut self, messages: usize) -> Self {
                self.0.settings.limits.messages = messages;
                self
            }

            /// Sets the maximum size of each of the two buffers (see [`buffer`](Self::buffer)), in bytes. Each message
            /// counts with its length plus about 60 bytes. Default: 100 kB.
            ///
            /// While all clients are WebSockets without resume ids, the buffer of sent messages may take 32 times this
            /// size, and the number of its messages is not limited.
            #[must_use]
            pub fn buffer_bytes(mut self, bytes: usize) -> Self {
                self.0.settings.limits.bytes = bytes;
                self
            }

            /// Serves named channels ([`Context::channel`](crate::Context::channel)) instead of the channel without a
            /// name. `name` is text with parameters of the path in braces: `named("run-{id}")` at `/runs/{id}`.
            ///
            /// A client connects to the channel of its session that has the name of its path. If the session has no
            /// such channel, the client opens one, unless the program has closed the last one: then an event stream
            /// gets 204, and a WebSocket is closed with 1000. A client gets 429 if its session has 16 named channels,
            /// also for the handshake of a WebSocket. If a name is not 1 to 64 visible ASCII characters, its client gets
            /// 400.
            ///
            /// With a parameter that the path does not have, or with a text that is not a pattern of names, the server
            /// does not start and reports [`ServerError::Handler`](crate::ServerError::Handler).
            ///
            /// ```
            /// use hyperlane_core::{Server, sse, ws};
            ///
            /// let mut server = Server::new();
            /// server.at("/runs/{id}").get(sse().named("run-{id}"));
            /// server.at("/games/{game}/ws").get(ws().named("game-{game}"));
            /// ```
            #[must_use]
            pub fn named(mut self, name: impl AsRef<str>) -> Self {
                self.0.names = Some(Arc::new(NamePattern::new(name.as_ref())));
                self
            }

            /// Sets the interval of heartbeats on an idle connection: pings on WebSockets, comments on event streams.
            /// Default: the values of the server's configuration.
            #[must_use]
            pub fn heartbeat(mut self, every: Duration) -> Self {
                self.0.heartbeat = Some(every);
                self
            }

            /// Allows pages of this origin (`https://app.example`) to connect. Pages of the server's own origin and of
            /// [`ServerConfig::allowed_origins`](crate::ServerConfig) may always connect. The server adds CORS fields
            /// to its responses to pages of this origin, and answers their preflights.
            ///
            /// The server compares scheme, host and port without regard to case and to a default port. `origin` may
            /// have any scheme, for example `capacitor://localhost` or `file://`. `https://*.app.example` allows all
            /// subdomains, and `http://localhost:*` all ports. With `null`, or with a text that is
            /// not an origin, the server does not start and reports
            /// [`ServerError::Origin`](crate::ServerError::Origin).
            #[must_use]
            pub fn origin(mut self, origin: impl Into<String>) -> Self {
                self.0.origins.add(&origin.into());
                self
            }

            /// Allows pages of any origin to connect. Browsers may send the visitor's cookies with these connections.
            #[must_use]
            pub fn dangerous_allow_any_origin(mut self) -> Self {
                self.0.origins.any = true;
                self
            }

            /// Allows pages of the origin `null` to connect. Any site can create such a page by a sandboxed frame.
            /// Browsers may send the visitor's cookies with its connections.
            #[must_use]
            pub fn dangerous_allow_null_origin(mut self) -> Self {
                self.0.origins.null = true;
                self
            }

            /// Sets the minimum time that browsers wait before they reconnect to an event stream. Each browser gets a
            /// random time between `wait` and twice `wait`. The random part spreads the reconnections. Default: 1 s.
            #[must_use]
            pub fn retry(mut self, wait: Duration) -> Self {
                self.0.retry = Some(wait);
                self
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("settings", &self.0.settings)
                    .finish_non_exhaustive()
            }
        }
    )+};
}

builders!(WebSocketEndpoint ServerSentEventsEndpoint);

impl WebSocketEndpoint {
    /// Creates an endpoint, like [`ws`].
    pub fn new() -> Self {
        Self(Options::default())
    }

    /// Creates an endpoint with a function, like [`ws_with`].
    pub fn with<F, Fut>(f: F) -> Self
    where
        F: Fn(WebSocket, States) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Options {
            on_channel: Some(Box::new(move |channel, states| {
                Box::pin(f(WebSocket::of_channel(channel), states))
            })),
            ..Options::default()
        })
    }

    /// Sends each client the ids with which it can resume after a reconnection (exactly-once delivery).
    ///
    /// The first message of each connection is a JSON object with the fields `id` (`<epoch>-<offset>`), `epoch`,
    /// `offset`, `tab` (identifies the browser tab) and `reset` (true if messages were lost). The client adds one to
    /// the offset for each later message. To resume, the client reconnects with
    /// `?last_event_id=<epoch>-<offset>&tab=<tab>`.
    #[must_use]
    pub fn resume_ids(mut self) -> Self {
        self.0.resume_ids = true;
        self
    }
}

impl ServerSentEventsEndpoint {
    /// Creates an endpoint, like [`sse`].
    pub fn new() -> Self {
        Self(Options::default())
    }

    /// Creates an endpoint with a function, like [`sse_with`].
    pub fn with<F, Fut>(f: F) -> Self
    where
        F: Fn(ServerSentEvents, States) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Options {
            on_channel: Some(Box::new(move |channel, states| {
                Box::pin(f(ServerSentEvents::of_channel(channel), states))
            })),
            ..Options::default()
        })
    }

    /// Begins new clients at the first message of the channel. Without this option, they begin with the messages that
    /// no client has received, and else with new messages.
    ///
    /// A new client is one without an id: a new tab, or a page that was reloaded and kept no id. If the first messages
    /// have left the buffer of sent messages ([`buffer`](Self::buffer) and [`buffer_bytes`](Self::buffer_bytes)), the
    /// client gets a `reset` and new messages, like a client that has missed messages.
    ///
    /// ```
    /// use hyperlane_core::{Server, sse};
    ///
    /// let mut server = Server::new();
    /// // Every tab shows the whole answer, also after a reload.
    /// server.at("/runs/{id}").get(sse().named("run-{id}").from_start().buffer(4096));
    /// ```
    #[must_use]
    pub fn from_start(mut self) -> Self {
        self.0.is_from_start = true;
        self
    }
}

/// The trait of the two types of endpoints: [`WebSocketEndpoint`] and [`ServerSentEventsEndpoint`].
///
/// A handler of requests is not an endpoint. An attribute such as `#[get("/path")]` makes a function a route.
/// [`Server::route`](crate::Server::route) registers a type that implements [`ServerHook`](crate::ServerHook).
pub trait Endpoint: sealed::Endpoint {}

impl Endpoint for WebSocketEndpoint {}
impl Endpoint for ServerSentEventsEndpoint {}

/// Returns the routes of an endpoint.
pub(crate) fn plan(endpoint: impl Endpoint) -> PlannedEndpoint {
    endpoint.plan()
}

mod sealed {
    use super::plan::PlannedEndpoint;

    pub trait Endpoint {
        fn plan(self) -> PlannedEndpoint;
    }
}

impl sealed::Endpoint for WebSocketEndpoint {
    fn plan(self) -> PlannedEndpoint {
        let handler = ChannelHandler::new(self.0, Direction::Both, &["GET", "HEAD", "POST"]);
        let (connecting, posting) = (handler.clone(), handler.clone());
        let routes = vec![
            PlannedRoute::new("ws()", &["GET"], move |stream, ctx| {
                connecting.clone().connect(stream, ctx)
            }),
            PlannedRoute::new("ws()", &["POST"], move |_, ctx| posting.clone().post(ctx)),
        ];
        handler.planned(routes)
    }
}

impl sealed::Endpoint for ServerSentEventsEndpoint {
    fn plan(self) -> PlannedEndpoint {
        let handler = ChannelHandler::new(self.0, Direction::ToClient, &["GET", "HEAD"]);
        let following = handler.clone();
        let routes = vec![PlannedRoute::new("sse()", &["GET"], move |stream, ctx| {
            following.clone().follow(stream, ctx)
        })];
        handler.planned(routes)
    }
}
