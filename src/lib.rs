#![doc = include_str!("docs/front.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod lists;

// The code that the macros generate begins its paths with `::hyperlane`. This line makes these paths valid in the crate
// itself.
extern crate self as hyperlane;

#[cfg(feature = "cookies")]
#[doc(no_inline)]
pub use hyperlane_core::cookie;
#[doc(hidden)]
pub use hyperlane_core::{__private, inventory};
#[doc(no_inline)]
pub use hyperlane_core::{serde_json, tokio};

lists::attribute_macros!();
lists::constant_names!();

pub use hyperlane_core::{constants, proto, route};

#[cfg(feature = "tower")]
pub use hyperlane_core::service;

// A server and its hooks.
pub use hyperlane_core::{
    BoundAddress, Context, HookFuture, Middleware, Next, PanicData, RateLimit, RequestConfig,
    RouteError, RouteMatcher, RouteParams, Scope, Server, ServerConfig, ServerControlHook,
    ServerError, ServerHook, Status, Stream, Timeout,
};

// TLS, and the redirect to it.
#[cfg(any(feature = "tls", feature = "tls-ring", feature = "tls-graviola"))]
pub use hyperlane_core::{ClientCertificates, TlsConfig, TlsInfo};
pub use hyperlane_core::{Hsts, HttpsRedirect, ServerProtocol};

// Requests and responses.
pub use hyperlane_core::{
    Body, BodyMode, BodyStream, ContentType, Cors, Csrf, Error, ErrorInfo, Extension, FileBody,
    FromContext, Headers, Html, HttpStatus, HttpVersion, IntoResponse, Json, Method, Path, Querys,
    Redirect, Request, RequestBody, RequestError, Response, ResponseError, State, Trailers,
    UpgradeType,
};

#[cfg(feature = "cookies")]
pub use hyperlane_core::CookieBuilder;

#[cfg(feature = "forms")]
pub use hyperlane_core::{Form, Query};

#[cfg(feature = "multipart")]
pub use hyperlane_core::Multipart;

// WebSocket and event streams.
pub use hyperlane_core::{
    CloseCode, CloseFrame, ClosedByClient, Event, Message, ServerSentEvents, Upgrade, Utf8Bytes,
    WebSocket, WebSocketFrame, WebSocketOpcode,
};

// Sessions and their channels.
#[cfg(feature = "sessions")]
pub use hyperlane_core::{
    ServerSentEventsEndpoint, Session, SessionKey, WebSocketEndpoint, sse, sse_with, ws, ws_with,
};

// Type names of published Hyperlane versions, for programs that were written for these versions.
// `docs::compatibility` lists the names.
#[doc(hidden)]
pub use hyperlane_core::{
    RequestHeaders, RequestHeadersValue, RequestHeadersValueItem, RequestHost, RequestMethod,
    RequestPath, RequestQuerys, RequestQuerysValue, RequestVersion, ResponseBody, ResponseHeaders,
    ResponseStatusCode, ResponseVersion, ServerControlHookHandler, ServerHookHandler, Transport,
    server_hook_factory,
};

/// Values of a server's configuration, and information about its routes and hooks.
pub mod server {
    #[cfg(feature = "deflate")]
    pub use hyperlane_core::DeflateConfig;
    pub use hyperlane_core::{
        AccessLog, At, Cidr, CidrError, ConfigError, CorsError, ForwardedField, Handler, HookInfo,
        Place, RenderError, RouteInfo, Routes, ServerControlHookHandler, ServerHookHandler,
        ServerScope, States, TlsError, TlsSource, Transport, server_hook_factory,
    };
}

/// Types of parts of requests and responses. Few programs need to name these types. A program that defines its own
/// types of handler arguments needs [`RouteSetup`](parts::RouteSetup).
pub mod parts {
    #[cfg(feature = "multipart")]
    pub use hyperlane_core::Field;
    pub use hyperlane_core::{
        Attributes, EntityTag, HeaderError, HeadersIter, IntoBody, QuerysIter, RouteSetup,
        SetupError, ToBody, Validators,
    };
}

/// Session stores, settings of session cookies, and access to the channels of all sessions of a server.
#[cfg(feature = "sessions")]
pub mod session {
    pub use hyperlane_core::{
        ChannelError, Channels, CookieSameSite, CookieSecure, Endpoint, NamedChannel,
        SessionChannels, SessionData, SessionError, SessionId, SessionStore,
    };
}

/// Rooms and broadcast channels. A room sends messages to many WebSockets and event streams. A broadcast channel sends
/// values between tasks.
pub mod broadcast {
    pub use hyperlane_broadcast::{
        Broadcast, BroadcastMap, BroadcastMapReceiver, BroadcastMapSendError, BroadcastMapSender,
        BroadcastReceiver, BroadcastSendError, BroadcastSendResult, BroadcastSender, BroadcastType,
        Broker, BrokerRoom, Capacity, Connected, DEFAULT_BROADCAST_SENDER_CAPACITY, Follow,
        Followed, History, InProcess, Join, Joined, MAX_BROADCAST_SENDER_CAPACITY, ManyPublisher,
        Member, MemberId, Offset, OffsetError, Outlet, Page, Publication, PublishError,
        PublishManyError, PublishScope, Published, Publisher, Publishing, ReceiverCount, Refused,
        Removal, Removing, Room, RoomError, RoomExt, RoomLimits, Rooms, RoomsBuilder, RoomsConfig,
        SinkMember, SlowPolicy, Stored,
    };
}

/// Types of plugins that were written for published Hyperlane versions (feature `compat`).
#[cfg(feature = "compat")]
pub mod compat {
    /// The types of `hyperlane-plugin-websocket`, over rooms. A program imports them by name, because
    /// [`hyperlane::WebSocket`](crate::WebSocket) is another type. [`BroadcastType`](crate::broadcast::BroadcastType)
    /// names their rooms.
    pub mod websocket {
        pub use hyperlane_broadcast::compat::{WebSocket, WebSocketConfig};
    }
}

/// The outbox of a connection: a handle that sends messages on the connection and never waits. Programs that deliver
/// messages to many connections without rooms can use it. Rooms also send their messages through outboxes.
pub mod outbox {
    pub use hyperlane_core::{Outbox, PushError, WireFormat};
}

/// The test kit: a server in memory, without ports; its clients; and virtual time (feature `test-util`).
///
/// [`docs::testing`] shows how tests use it.
#[cfg(feature = "test-util")]
pub mod test {
    pub use hyperlane_core::test_kit::{
        Call, TestClient, TestError, TestEvents, TestRequest, TestResponse, TestServer, TestSocket,
        advance, call,
    };
    pub use hyperlane_core::{assert_closed, assert_push, refute_push};
}

/// Longer texts about topics that concern several types and macros.
pub mod docs {
    #[doc = include_str!("../docs/programs.md")]
    pub mod programs {}
    #[doc = include_str!("../docs/errors.md")]
    pub mod errors {}
    #[doc = include_str!("../docs/cross-site.md")]
    pub mod cross_site {}
    #[doc = include_str!("../docs/observability.md")]
    pub mod observability {}
    #[doc = include_str!("../docs/performance.md")]
    pub mod performance {}
    #[cfg(feature = "http2")]
    #[doc = include_str!("../docs/http2.md")]
    pub mod http2 {}
    #[cfg(any(feature = "tls", feature = "tls-ring", feature = "tls-graviola"))]
    #[doc = include_str!("../docs/tls.md")]
    pub mod tls {}
    #[cfg(feature = "test-util")]
    #[doc = include_str!("../docs/testing.md")]
    pub mod testing {}
    #[doc = include_str!("../docs/rooms.md")]
    pub mod rooms {}
    #[cfg(feature = "sessions")]
    #[doc = include_str!("../docs/channels.md")]
    pub mod channels {}
    #[cfg(feature = "sessions")]
    #[doc = include_str!("../docs/sessions.md")]
    pub mod sessions {}
    #[doc = include_str!("../docs/compatibility.md")]
    pub mod compatibility {}
}

// The examples in the README run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// The names that most programs need, in one import.
///
/// The prelude also contains all attribute macros and all [`constants`].
///
/// ```
/// use hyperlane::prelude::*;
///
/// #[get("/hello/{name}")]
/// #[route_param("name" => name)]
/// async fn hello(ctx: &mut Context) -> impl IntoResponse {
///     format!("hello {name}")
/// }
/// ```
pub mod prelude {
    #[cfg(feature = "multipart")]
    #[doc(no_inline)]
    pub use crate::Multipart;
    #[doc(hidden)]
    pub use crate::ResponseBody;
    #[doc(no_inline)]
    pub use crate::{
        Body, BodyMode, BodyStream, BoundAddress, CloseCode, Context, Cors, Csrf, Error, ErrorInfo,
        Event, Extension, FileBody, FromContext, Headers, Html, HttpStatus, HttpVersion,
        IntoResponse, Json, Message, Method, Next, Path, Redirect, Request, RequestBody,
        RequestConfig, RequestError, Response, ResponseError, Scope, Server, ServerConfig,
        ServerControlHook, ServerError, ServerHook, ServerSentEvents, State, Status, Stream,
        Upgrade, WebSocket, WebSocketFrame,
        broadcast::{
            Connected, Join, Joined, Member, MemberId, Offset, PublishError, Published, Room,
            RoomError, RoomExt, RoomLimits, Rooms, RoomsConfig, SlowPolicy,
        },
    };
    #[cfg(feature = "forms")]
    #[doc(no_inline)]
    pub use crate::{Form, Query};
    #[cfg(feature = "sessions")]
    #[doc(no_inline)]
    pub use crate::{Session, SessionKey};

    crate::lists::attribute_macros!(#[doc(hidden)]);
    crate::lists::constant_names!();
}
/// Reborrows a context. `context!(ctx)` returns a `&Context`. `context!(ctx: &mut Context)` returns a `&mut Context`.
///
/// `ctx` can be used again after the last use of the returned reference.
///
/// ```
/// use hyperlane::*;
///
/// fn path(ctx: &Context) -> usize {
///     ctx.get_request().get_path().len()
/// }
///
/// async fn handle(ctx: &mut Context) {
///     let length = path(context!(ctx));
///     let changed: &mut Context = context!(ctx: &mut Context);
///     changed.get_mut_response().set_body(length.to_string());
/// }
/// ```
#[macro_export]
macro_rules! context {
    ($ctx:ident $(,)?) => {
        &*$ctx
    };
    ($ctx:ident: &mut $type:ty $(,)?) => {{
        let lent: &mut $type = &mut *$ctx;
        lent
    }};
    ($ctx:ident: & $type:ty $(,)?) => {{
        let lent: &$type = &*$ctx;
        lent
    }};
}
