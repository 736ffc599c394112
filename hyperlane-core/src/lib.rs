//! The HTTP server that the crate `hyperlane` exports: connections, HTTP/1.1, WebSocket, Server-Sent Events, and hooks
//! (the program's functions that handle requests).
//!
//! Most programs use the crate `hyperlane`. It exports this crate together with the attribute macros and the broadcast
//! rooms. Use this crate directly for a server without macros and rooms, or for the codecs in [`proto`].
//!
//! Data flows one way: accept -> parse -> route -> hooks -> response or upgrade. Imports go one way as well: a module
//! imports only from modules below it in the list of ARCHITECTURE.md. [`proto`] does no I/O: it has no sockets, no
//! clock and no runtime.

#![warn(unreachable_pub)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Some modules contain code that only sessions use. Builds without sessions must not report this code as dead.
#![cfg_attr(not(feature = "sessions"), allow(dead_code))]

#[doc(hidden)]
#[path = "private.rs"]
#[allow(missing_docs)]
pub mod __private;
// If a program depends on this crate without the crate `hyperlane`, the code that the macros generate uses the path
// `hyperlane_core`. The next line makes this path valid inside this crate as well.
extern crate self as hyperlane_core;

#[cfg_attr(not(feature = "sessions"), path = "channel/no_sessions.rs")]
mod channel;
mod config;
pub(crate) mod conn;
mod context;
#[cfg(feature = "sessions")]
mod endpoint;
mod env;
mod error;
mod exchange;
mod extract;
mod hook;
mod http;
#[cfg(feature = "multipart")]
mod multipart;
mod observe;
mod panic;
mod pipeline;
pub mod proto;
pub mod route;
mod server;
#[cfg(feature = "tower")]
pub mod service;
#[cfg_attr(not(feature = "sessions"), path = "session/no_sessions.rs")]
mod session;
mod sse;
mod stream;
#[cfg(feature = "test-util")]
pub mod test_kit;
#[cfg(feature = "__tls")]
mod tls;
mod upgrade;
mod websocket;
mod wire;

#[cfg(feature = "cookies")]
pub use cookie;
pub use inventory;
pub use serde_json;
pub use tokio;

/// Functions that concern the connection whose task the current thread polls. The crate `hyperlane-broadcast` calls
/// these functions; programs do not.
#[doc(hidden)]
pub mod hub {
    pub use crate::conn::{
        barrier::{Barrier, PastHeld, Undelivered},
        cork::{defer, flush_current, polled_connection, queue_current},
    };
}

pub use config::{
    AccessLog, ConfigError, Hsts, HttpsRedirect, RequestConfig, ServerConfig, ServerProtocol,
};
#[cfg(feature = "__tls")]
pub use config::{ClientCertificates, TlsConfig};
#[cfg(feature = "sessions")]
pub use config::{CookieSameSite, CookieSecure, SessionKey};
pub use conn::outbox::Outbox;
pub use context::{Attributes, Context, params::RouteParams, states::States};
#[cfg(feature = "sessions")]
pub use endpoint::{
    Endpoint, ServerSentEventsEndpoint, WebSocketEndpoint,
    directory::{Channels, NamedChannel, SessionChannels},
    sse, sse_with, ws, ws_with,
};
pub use error::{
    ChannelError, ClosedByClient, Error, ErrorInfo, PanicData, Place, PushError, RequestError,
    ResponseError, ServerError, SessionError, SetupError, TlsError, TlsSource,
};
pub use exchange::body::{BodyMode, BodyStream};
pub use extract::{Extension, FromContext, Path, State, handler::Handler};
#[cfg(feature = "forms")]
pub use extract::{Form, Query};
pub use hook::{
    HookFuture, Middleware, Next, RateLimit, RenderError, Scope, ServerHook, ServerHookHandler,
    Status, Timeout, server_hook_factory, setup::RouteSetup,
};
#[cfg(feature = "cookies")]
pub use http::CookieBuilder;
pub use http::{
    Body, ContentType, Cors, CorsError, Csrf, EntityTag, FileBody, HeaderError, Headers,
    HeadersIter, Html, HttpStatus, HttpVersion, IntoBody, IntoResponse, Json, Method, Querys,
    QuerysIter, Redirect, Request, RequestBody, Response, ToBody, Trailers, UpgradeType,
    Validators, constants,
};
#[cfg(feature = "multipart")]
pub use multipart::{Field, Multipart};
// Type names that published Hyperlane programs use.
pub use http::{
    RequestHeaders, RequestHeadersValue, RequestHeadersValueItem, RequestHost, RequestMethod,
    RequestPath, RequestQuerys, RequestQuerysValue, RequestVersion, ResponseBody, ResponseHeaders,
    ResponseStatusCode, ResponseVersion,
};
#[cfg(feature = "deflate")]
pub use proto::ws::deflate::config::DeflateConfig;
pub use proto::{
    http::forwarded::{
        cidr::{Cidr, CidrError},
        field::ForwardedField,
    },
    sse::event::Event,
    ws::{
        close::{CloseCode, CloseFrame},
        message::Message,
        opcode::WebSocketOpcode,
        utf8::Utf8Bytes,
        websocket_frame::WebSocketFrame,
    },
};
pub use route::pattern::RouteError;
pub use server::{
    At, BoundAddress, HookInfo, Registrar, RouteInfo, RouteMatcher, Routes, Server,
    ServerControlHook, ServerControlHookHandler, ServerScope,
};
#[cfg(feature = "sessions")]
pub use session::{Session, SessionData, SessionId, SessionStore};
pub use sse::ServerSentEvents;
pub use stream::{Stream, Transport};
#[cfg(feature = "__tls")]
pub use tls::TlsInfo;
pub use upgrade::Upgrade;
pub use websocket::WebSocket;
pub use wire::WireFormat;
