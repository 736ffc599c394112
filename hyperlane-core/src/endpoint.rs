//! Endpoints: the paths at which clients connect to the channels of their session.

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
        settings::{Direction, Settings},
    },
    context::states::States,
    proto::http::origin::AllowedOrigins,
    sse::ServerSentEvents,
    websocket::WebSocket,
};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// The program's function, called once per new channel.
type OnChannel = Box<dyn Fn(Arc<Channel>, States) -> Task + Send + Sync>;

/// Options that both kinds of endpoints have.
#[derive(Default)]
struct Options {
    settings: Settings,
    heartbeat: Option<Duration>,
    origins: AllowedOrigins,
    resume_ids: bool,
    retry: Option<Duration>,
    on_channel: Option<OnChannel>,
}

/// Serves the client's [`Context::ws`](crate::Context::ws), made by [`ws`] or [`ws_with`].
///
/// It serves WebSockets, event streams (GET with `Accept: text/event-stream`) with the same messages as events, and
/// POST, whose body becomes a message, for clients with an event stream. `hyperlane::docs::channels` describes what
/// clients see.
pub struct WebSocketEndpoint(Options);

/// Serves the client's [`Context::sse`](crate::Context::sse), made by [`sse`] or [`sse_with`].
pub struct ServerSentEventsEndpoint(Options);

/// Makes an endpoint for the WebSocket channels of sessions.
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

/// Makes an endpoint that calls `f` once per new channel, in a task of its own.
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

/// Makes an endpoint for the event-stream channels of sessions.
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

/// Makes an endpoint that calls `f` once per new channel, in a task of its own.
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

/// Builder methods that both kinds have.
macro_rules! builders {
    ($($name:ident)+) => {$(
        impl $name {
            /// Sets the time that a send waits while the buffer is full. Default: 5 s.
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

            /// Sets the time that a channel waits for its client to come back. Default: 120 s.
            #[must_use]
            pub fn grace(mut self, grace: Duration) -> Self {
                self.0.settings.grace = grace;
                self
            }

            /// Sets how many messages may wait for clients, and how many written ones are kept for clients that come
            /// back. Default: 256.
            #[must_use]
            pub fn buffer(mut self, messages: usize) -> Self {
                self.0.settings.limits.messages = messages;
                self
            }

            /// Sets the limit of those messages in bytes: each counts its length and about 60. Default: 100 kB.
            #[must_use]
            pub fn buffer_bytes(mut self, bytes: usize) -> Self {
                self.0.settings.limits.bytes = bytes;
                self
            }

            /// Sets the interval of pings or comments on a quiet connection. Default: the server's configuration.
            #[must_use]
            pub fn heartbeat(mut self, every: Duration) -> Self {
                self.0.heartbeat = Some(every);
                self
            }

            /// Allows pages of this origin (`https://app.example`) to connect, beside
            /// [`ServerConfig::allowed_origins`](crate::ServerConfig) and the server's own. They can read the answers,
            /// which carry CORS fields, and the server answers their preflights.
            ///
            /// Origins are compared by scheme, host and port: case and a default port do not matter. Any scheme is
            /// allowed (`capacitor://localhost`, `file://`). With `null`, or a text that is not an origin, the server
            /// does not start and reports [`ServerError::Origin`](crate::ServerError::Origin).
            #[must_use]
            pub fn origin(mut self, origin: impl Into<String>) -> Self {
                self.0.origins.add(&origin.into());
                self
            }

            /// Allows pages of any origin to connect. Browsers may send the visitor's cookies with them.
            #[must_use]
            pub fn dangerous_allow_any_origin(mut self) -> Self {
                self.0.origins.any = true;
                self
            }

            /// Allows pages of the origin `null` to connect: any site can make one, by a sandboxed frame. Browsers may
            /// send the visitor's cookies with them.
            #[must_use]
            pub fn dangerous_allow_null_origin(mut self) -> Self {
                self.0.origins.null = true;
                self
            }

            /// Sets the time that browsers wait before they come back to an event stream. Each gets a random value
            /// between this and twice as much, so that they do not all come back at once. Default: 1 s.
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
    /// Makes an endpoint, as [`ws`] does.
    pub fn new() -> Self {
        Self(Options::default())
    }

    /// Makes an endpoint, as [`ws_with`] does.
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

    /// Sends each client resume ids (exactly-once delivery).
    ///
    /// The first message of each connection is JSON: `{"id": "<epoch>-<offset>", "epoch", "offset", "tab", "reset"}`.
    /// The client adds one to the offset for each message after it, and comes back with
    /// `?last_event_id=<epoch>-<offset>&tab=<tab>`.
    #[must_use]
    pub fn resume_ids(mut self) -> Self {
        self.0.resume_ids = true;
        self
    }
}

impl ServerSentEventsEndpoint {
    /// Makes an endpoint, as [`sse`] does.
    pub fn new() -> Self {
        Self(Options::default())
    }

    /// Makes an endpoint, as [`sse_with`] does.
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
}

/// An endpoint for a path: [`WebSocketEndpoint`] or [`ServerSentEventsEndpoint`].
///
/// Functions are routes by an attribute such as `#[get("/path")]`. Hook types are registered by
/// [`Server::route`](crate::Server::route).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an endpoint: `ws()`, `ws_with(..)`, `sse()` and `sse_with(..)` make endpoints",
    label = "not an endpoint",
    note = "a function becomes a route by an attribute: `#[get(\"/path\")] async fn handler(..)`",
    note = "a closure cannot be a route; write it as a function",
    note = "a type that implements `ServerHook` is registered by `server.route::<Hook>(\"/path\")`"
)]
pub trait Endpoint: sealed::Endpoint {}

impl Endpoint for WebSocketEndpoint {}
impl Endpoint for ServerSentEventsEndpoint {}

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
