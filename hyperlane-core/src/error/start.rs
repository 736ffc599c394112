//! Errors of a server's start.

use std::{borrow::Cow, fmt, io, panic::Location};

use crate::{config::ConfigError, proto::http::origin::OriginError, route::RouteError};

/// Why a server did not start. Its `Debug` form is its sentence too, as `main` prints what it returns in that form.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address could not be bound.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// The address as configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration contradicts itself.
    #[error("invalid configuration: {0}")]
    Config(#[from] ConfigError),
    /// A route cannot be served.
    #[error("{pattern:?} at {place}: {source}")]
    Route {
        /// The pattern as written.
        pattern: String,
        /// Where it was registered.
        place: Place,
        /// What is wrong with it.
        source: RouteError,
    },
    /// An endpoint allows something that is no origin, or `null`.
    #[error("the endpoint {pattern:?} at {place} allows an origin: {source}")]
    Origin {
        /// The pattern as written.
        pattern: String,
        /// Where it was registered.
        place: Place,
        /// What is wrong with the origin.
        source: OriginError,
    },
    /// Two handlers of one path can never be told apart.
    #[error(
        "the route {pattern:?} has two handlers that no guard tells apart: {first} and {second}; \
         remove one, or give them different methods"
    )]
    Ambiguous {
        /// The pattern of the second.
        pattern: String,
        /// Where the first was registered.
        first: Place,
        /// Where the second was registered.
        second: Place,
    },
    /// A handler could answer no request, as the server or the pattern lacks something that it takes. The log names all
    /// such handlers.
    #[error(
        "the handler `{handler}` of {pattern:?} at {place} could answer no request: {lack}{}",
        and_more(*more)
    )]
    Handler {
        /// The name of the handler.
        handler: &'static str,
        /// The pattern of its route.
        pattern: String,
        /// Where it was registered.
        place: Place,
        /// What is missing.
        lack: SetupError,
        /// How many handlers besides this one lack something.
        more: usize,
    },
    /// The server has no route, while attribute macros registered some which no server of the program takes.
    #[error(
        "the server has no route, while attribute macros registered {}, the first of them `{handler}` at {place}: put \
         `#[hyperlane(server: Server)]` on `main` and run the `server` that it declares",
        counted(*routes, "route")
    )]
    RoutesNotTaken {
        /// How many routes attribute macros registered.
        routes: usize,
        /// The name of the first handler.
        handler: &'static str,
        /// Where it stands.
        place: Place,
    },
    /// Something else of the system, as a program's own `?` in a function that returns this error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A server was started, or became a service, outside of a tokio runtime, which its clock needs.
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

fn and_more(handlers: usize) -> String {
    match handlers {
        0 => String::new(),
        more => format!(" ({more} more; the log names them all)"),
    }
}

/// `1 route`, `2 routes`.
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

/// What a handler lacks, so that it could answer no request; the end of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupError(Cow<'static, str>);

impl SetupError {
    /// Says what is missing and how to mend it, without a full stop.
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
