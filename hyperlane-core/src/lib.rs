//! The server under `hyperlane`: connections, HTTP/1.1, WebSocket, Server-Sent Events, hooks.
//!
//! Programs use the facade crate `hyperlane`. Use this crate alone for the server without macros and rooms, or for the
//! codecs in [`proto`].
//!
//! Data flows one way: accept -> parse -> route -> hooks -> response or upgrade. A module uses only the modules below
//! it; [`proto`] is pure.

#![warn(unreachable_pub)]

#[doc(hidden)]
#[path = "private.rs"]
#[allow(missing_docs)]
pub mod __private;
// Generated code names this crate by its name when a program depends on it alone.
extern crate self as hyperlane_core;

pub(crate) mod channel;
mod config;
pub(crate) mod conn;
mod context;
mod endpoint;
mod env;
mod error;
mod exchange;
mod extract;
mod hook;
pub mod http;
mod multipart;
mod observe;
mod panic;
mod pipeline;
pub mod proto;
pub mod route;
mod server;
#[cfg(feature = "tower")]
pub mod service;
mod session;
mod sse;
mod stream;
mod upgrade;
mod websocket;
mod wire;

pub use cookie;
pub use inventory;
pub use serde_json;
pub use tokio;

/// Parts of a connection's poll that the rooms of `hyperlane-broadcast` need and programs do not.
#[doc(hidden)]
pub mod hub {
    pub use crate::conn::cork::{defer, flush_current, polled_connection};
}

pub use config::{
    ConfigError, CookieSameSite, CookieSecure, RequestConfig, ServerConfig, SessionKey,
};
pub use conn::outbox::Outbox;
pub use context::{Attributes, Context, params::RouteParams, states::States};
pub use endpoint::{
    Endpoint, ServerSentEventsEndpoint, WebSocketEndpoint,
    directory::{Channels, SessionChannels},
    sse, sse_with, ws, ws_with,
};
pub use error::{
    ClosedByClient, Error, PanicData, Place, PushError, RequestError, ResponseError, ServerError,
    SessionError, SetupError,
};
pub use exchange::body::{BodyMode, BodyStream};
pub use extract::{Form, FromContext, Path, Query, State};
pub use hook::{ServerHook, Status, setup::RouteSetup};
pub use multipart::{Field, Multipart};
// The vocabulary has one place; its names are the paved path, constants included.
pub use http::{constants::*, *};
#[cfg(feature = "deflate")]
pub use proto::ws::deflate::DeflateConfig;
pub use proto::{
    http::forwarded::{Cidr, CidrError, ForwardedField},
    sse::{Event, EventError},
    ws::{
        CloseCode, CloseFrame, Message, ProtocolError, Utf8Bytes, WebSocketFrame, WebSocketOpcode,
    },
};
pub use route::RouteError;
pub use server::{
    At, BoundAddress, HookInfo, RouteInfo, RouteMatcher, Server, ServerControlHandler,
    ServerControlHook,
};
pub use session::{Session, SessionData, SessionId, SessionStore};
pub use sse::ServerSentEvents;
pub use stream::{Stream, Transport};
pub use upgrade::Upgrade;
pub use websocket::WebSocket;
pub use wire::WireFormat;
