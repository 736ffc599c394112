//! Errors of a server's start.

use std::{borrow::Cow, fmt, io, panic::Location};

use super::TlsError;
use crate::{
    config::ConfigError, http::CorsError, proto::http::origin::OriginError, route::RouteError,
};

/// The reason why a server did not start. If `main` returns an error, Rust prints it by `Debug`. So `Debug` writes the
/// same sentence as `Display`.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address could not be bound.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// The address as configured.
        address: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The configuration is invalid.
    #[error("invalid configuration: {0}")]
    Config(#[from] ConfigError),
    /// The certificates or keys of an address with TLS cannot be used.
    #[error("TLS at `{address}`: {source}")]
    Tls {
        /// The address as configured.
        address: String,
        /// What is wrong, in which file, and what to do.
        source: TlsError,
    },
    /// The protocol is HTTP/3, which needs TLS, and the server has no certificate.
    #[error("HTTP/3 needs TLS, and is not supported: set `protocol` to Http2")]
    MissingTlsForHttp3,
    /// The pattern of a route is invalid.
    #[error("{pattern:?} at {place}: {source}")]
    Route {
        /// The pattern as written.
        pattern: String,
        /// The place in the program where the route is registered.
        place: Place,
        /// The fault of the pattern.
        source: RouteError,
    },
    /// An endpoint (a route for the clients of a channel) allows an invalid origin, or `null`.
    #[error("the endpoint {pattern:?} at {place} allows an invalid origin: {source}")]
    Origin {
        /// The pattern as written.
        pattern: String,
        /// The place in the program where the endpoint is registered.
        place: Place,
        /// The fault of the origin.
        source: OriginError,
    },
    /// The CORS policy of a scope is invalid.
    #[error("the CORS policy of {} is invalid: {source}", named_scope(scope))]
    Cors {
        /// The prefix of the scope; empty for the server itself.
        scope: String,
        /// The fault of the policy.
        source: CorsError,
    },
    /// A declared scope is inside itself, through the scopes that [`Scope::inside`](crate::Scope::inside) names, or more than
    /// 64 scopes are around it.
    #[error(
        "the scope {prefix:?} is inside itself, or more than 64 scopes are around it: \
         follow what its `inside` names"
    )]
    EndlessScope {
        /// The prefix of the scope, without those of the scopes around it.
        prefix: &'static str,
    },
    /// The server has more than 65 535 scopes and routes with middleware of their own.
    #[error("a server can have at most 65535 scopes and routes with `with`")]
    TooManyChains,
    /// A path has two handlers, and no guard decides between them.
    #[error(
        "the route {pattern:?} has two handlers that no guard tells apart: {first} and {second}; \
         remove one, or give them different methods"
    )]
    Ambiguous {
        /// The pattern of the second handler.
        pattern: String,
        /// The place where the first handler was registered.
        first: Place,
        /// The place where the second handler was registered.
        second: Place,
    },
    /// A handler cannot answer any request, because the server or the route pattern lacks a value that the handler
    /// needs. The log names all such handlers.
    #[error(
        "the handler `{handler}` of {pattern:?} at {place} cannot answer any request: {lack}{}",
        and_more(*more)
    )]
    Handler {
        /// The name of the handler.
        handler: &'static str,
        /// The pattern of its route.
        pattern: String,
        /// The place in the program where the handler is registered.
        place: Place,
        /// The missing value.
        lack: SetupError,
        /// The number of other handlers that lack a value.
        more: usize,
    },
    /// The server has no route. The program registered routes by attribute macros, but no server uses these routes.
    #[error(
        "the server has no route, but attribute macros registered {}, the first of them `{handler}` at {place}: put \
         `#[hyperlane(server: Server)]` on `main` and run the `server` that it declares",
        counted(*routes, "route")
    )]
    RoutesNotTaken {
        /// The number of routes that attribute macros registered.
        routes: usize,
        /// The name of the handler of the first of these routes.
        handler: &'static str,
        /// The place in the program where the first of these routes is registered.
        place: Place,
    },
    /// Another I/O error. `?` converts an [`io::Error`] to this variant in a function that returns `ServerError`.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The program started the server, or converted it to a service, outside of a tokio runtime. The server needs a
    /// runtime for its clock.
    #[error(
        "a server starts only inside a tokio runtime: call it under `#[tokio::main]`, or within `block_on`"
    )]
    NoRuntime,
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn named_scope(prefix: &str) -> String {
    match prefix {
        "" => "the server".to_owned(),
        prefix => format!("the scope {prefix:?}"),
    }
}

fn and_more(handlers: usize) -> String {
    match handlers {
        0 => String::new(),
        more => format!(" ({more} more; the log names them all)"),
    }
}

/// Returns a count with its noun: `1 route`, `2 routes`.
pub(crate) fn counted(count: usize, name: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {name}{end}")
}

/// A place in the source of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as the compiler names it.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl Place {
    #[track_caller]
    pub(crate) fn caller() -> Self {
        let place = Location::caller();
        Self {
            file: place.file(),
            line: place.line(),
            column: place.column(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The reason why a handler cannot answer any request. The text completes a sentence that begins with "the handler
/// cannot answer any request:".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupError(Cow<'static, str>);

impl SetupError {
    /// Creates an error from a text that says what is missing and how to fix it. The text ends without a full stop.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SetupError {}
