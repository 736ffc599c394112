//! Errors, separated by cause: the request, the response, the program.

mod handler;

use std::{
    any::Any,
    fmt, io,
    panic::{AssertUnwindSafe, Location, catch_unwind},
};

pub use self::handler::Error;

use crate::{
    HttpStatus, IntoResponse, Response,
    conn::out::PushError,
    extract::setup::SetupError,
    http::HeaderError,
    proto::{
        http::{chunked::ChunkedError, head::HeadError, host::HostRefused, origin::OriginError},
        ws::{
            CloseFrame, ProtocolError,
            handshake::{HandshakeError, OriginRefused},
        },
    },
    route::RouteError,
};

/// The reason why a request, or the next message of a WebSocket, is not available.
///
/// The `request_error` hooks find it in the context. Unless one of them answers, the client gets
/// [`status`](Self::status) and the text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The head violates HTTP (RFC 9112).
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The path is not percent-encoded UTF-8.
    #[error("the path is not valid percent-encoded UTF-8")]
    InvalidPath,
    /// The chunked body violates HTTP (RFC 9112 §7.1).
    #[error(transparent)]
    Chunked(#[from] ChunkedError),
    /// The body exceeds the limit.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A part of a multipart form exceeds the limit that the program gave.
    #[error("{} is larger than {limit} bytes", named(name.as_deref()))]
    FieldTooLarge {
        /// The name of the part, if it has one.
        name: Option<String>,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The head did not arrive in time.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    /// The body stopped arriving.
    #[error("the request body stopped arriving")]
    BodyTimeout,
    /// The body is no longer available: its request has ended, or it prevents an upgrade.
    #[error("the request body can no longer be read")]
    BodyUnavailable,
    /// The client disconnected within a request.
    #[error("the client left in the middle of a request")]
    ClientDisconnected,
    /// The idle connection has ended: there is no next request.
    #[error("the connection has ended")]
    ConnectionClosed,
    /// The WebSocket handshake is invalid (RFC 6455 §4.2.1).
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The page that opens the WebSocket has another origin.
    #[error(transparent)]
    Origin(#[from] OriginRefused),
    /// The server does not answer to the host of the request (RFC 9110 §7.4); see
    /// [`allowed_hosts`](crate::ServerConfig#structfield.allowed_hosts).
    #[error(transparent)]
    Host(#[from] HostRefused),
    /// The program allows an invalid origin, or `null`, for this WebSocket.
    #[error("invalid allowed origin: {0}")]
    AllowedOrigin(#[from] OriginError),
    /// The program added an invalid field to the response of a handshake.
    #[error("invalid header field in the handshake's response: {0}")]
    Header(#[from] HeaderError),
    /// The program chose a subprotocol that the client did not offer (RFC 6455 §4.2.2).
    #[error("subprotocol {name:?} was chosen but not offered")]
    Subprotocol {
        /// The chosen name.
        name: String,
    },
    /// The client closed the WebSocket.
    #[error("the WebSocket was closed by the client")]
    WebSocketClosed(Option<CloseFrame>),
    /// The client violated the WebSocket protocol. The connection was closed with the matching code.
    #[error(transparent)]
    WebSocketProtocol(#[from] ProtocolError),
    /// A message was requested on a connection that is not a WebSocket.
    #[error("this connection is not a WebSocket: upgrade it first")]
    NotUpgraded,
    /// A request was expected on a connection that has been upgraded.
    #[error("this connection has been upgraded: it carries no further requests")]
    Upgraded,
    /// The request lacks a value that the handler needs.
    #[error("{part} `{name}` is missing")]
    Missing {
        /// The kind of value: "query parameter", "header", ...
        part: &'static str,
        /// Its name.
        name: String,
    },
    /// A route parameter is invalid for the handler; the text names it.
    #[error("invalid path: {0}")]
    Path(String),
    /// The query is invalid for the handler; the text names the parameter.
    #[error("invalid query: {0}")]
    Query(String),
    /// The form is invalid for the handler; the text names the field.
    #[error("invalid form: {0}")]
    Form(String),
    /// The multipart form is malformed.
    #[error("invalid multipart form: {0}")]
    Multipart(String),
    /// The body has another media type than the handler needs.
    #[error("the body must be `{expected}`")]
    ContentType {
        /// The expected media type.
        expected: &'static str,
    },
    /// The body is not the JSON that the handler needs; the text names the path of the field.
    #[error("invalid JSON body: {0}")]
    Json(String),
    /// The server shuts down and does not wait for this request: an incomplete head, or a WebSocket handshake without
    /// an answer so far.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The session store failed; the log has the reason.
    #[error("the session store failed")]
    SessionStore,
    /// The session token of the request is no longer valid: it has expired, belongs to another path, or its session has
    /// ended.
    #[error("the session token is no longer valid: request a new one")]
    SessionToken,
    /// The program refused the request; see [`refused`](Self::refused).
    #[error("{message}")]
    Refused {
        /// The status of the response.
        status: u16,
        /// The reason, as text for the client.
        message: String,
    },
}

impl RequestError {
    /// Creates the error for a value that the request lacks.
    pub fn missing(part: &'static str, name: impl Into<String>) -> Self {
        Self::Missing {
            part,
            name: name.into(),
        }
    }

    /// Creates the error for a request that the program refuses, with a status and a text for the client. From 500 on,
    /// the text goes only to the log. A status other than 400 to 599 becomes 500.
    pub fn refused(status: impl Into<HttpStatus>, message: impl Into<String>) -> Self {
        let code = u16::try_from(status.into().code()).unwrap_or(0);
        Self::Refused {
            status: if (400..600).contains(&code) {
                code
            } else {
                500
            },
            message: message.into(),
        }
    }

    /// Returns the status of the response.
    pub fn status(&self) -> u16 {
        match self {
            Self::Head(error) => error.status(),
            Self::Chunked(error) => error.status(),
            Self::BodyTooLarge { .. } | Self::FieldTooLarge { .. } => 413,
            Self::ContentType { .. } => 415,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::Handshake(error) => error.status(),
            Self::SessionToken => 401,
            Self::Origin(_) => 403,
            Self::Host(_) => 421,
            // A value that only the program can set is not the client's fault.
            Self::Missing { part, .. } if [ATTRIBUTE, FAILURE, STATE].contains(part) => 500,
            Self::Refused { status, .. } => *status,
            Self::SessionStore | Self::ShuttingDown => 503,
            Self::AllowedOrigin(_) | Self::Header(_) | Self::Subprotocol { .. } => 500,
            Self::NotUpgraded | Self::Upgraded | Self::BodyUnavailable => 500,
            _ => 400,
        }
    }

    /// The status with which it is answered, by name.
    pub fn get_http_status(&self) -> HttpStatus {
        HttpStatus::from(self.get_http_status_code())
    }

    /// The status with which it is answered, under the name that Hyperlane programs use.
    pub fn get_http_status_code(&self) -> usize {
        usize::from(self.status())
    }

    /// Returns whether the client has disconnected, so that no response is possible.
    pub fn is_disconnect(&self) -> bool {
        matches!(
            self,
            Self::ClientDisconnected | Self::ConnectionClosed | Self::WebSocketClosed(_)
        )
    }
}

/// Returns the description of a form field.
fn named(field: Option<&str>) -> String {
    match field {
        Some(name) => format!("the field `{name}`"),
        None => "a field without a name".to_owned(),
    }
}

/// Answers with the status and, for an error of the client, the text.
impl IntoResponse for RequestError {
    fn into_response(self, response: &mut Response) {
        let status = self.status();
        let is_token = self == Self::SessionToken;
        handler::refuse(response, self);
        if is_token {
            // RFC 6750 §3.1.
            response.set_header("www-authenticate", "Bearer error=\"invalid_token\"");
        }
        if status == 405 {
            // Among all errors, only a handshake with another method has this status.
            response.set_header("allow", "GET");
        }
        if status == 426 {
            response
                .set_header("sec-websocket-version", "13")
                .set_header("upgrade", "websocket")
                .set_header("connection", "upgrade");
        }
    }
}

/// The kind of value for attributes, which middleware sets.
pub(crate) const ATTRIBUTE: &str = "attribute";
/// The kind of value for the server's values.
pub(crate) const STATE: &str = "state";
/// The kind of value for data that only error hooks have.
pub(crate) const FAILURE: &str = "failure data";

/// The reason why a value could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The connection has ended, or a Close was sent on it.
    #[error("the connection is closed")]
    ConnectionClosed,
    /// Bytes after a complete response were not sent: one request has one response.
    #[error("the response is already complete: nothing can be sent after it")]
    AlreadyComplete,
    /// Only messages can be sent on a WebSocket or an event stream, not a file or stream.
    #[error("cannot send a file or stream as a message")]
    NotAMessage,
    /// An event stream cannot begin with a status without content: 1xx, 204, 205 or 304.
    #[error("a response of this status has no content, so that no stream can begin with it")]
    NoContent,
    /// The peer reads too slowly and the sender must not wait.
    #[error("the outbox is above its high-water mark: the peer does not read fast enough")]
    Full,
    /// The connection belongs to a session's channel. Only the channel may send on it.
    #[error(
        "the connection belongs to a channel: send by `ctx.ws()` or `ctx.sse()` themselves, not by their outbox"
    )]
    Channel,
}

impl From<PushError> for ResponseError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full => Self::Full,
            PushError::Closed => Self::ConnectionClosed,
            PushError::Channel => Self::Channel,
        }
    }
}

impl From<ResponseError> for io::Error {
    fn from(error: ResponseError) -> Self {
        let kind = match error {
            ResponseError::ConnectionClosed => io::ErrorKind::BrokenPipe,
            ResponseError::AlreadyComplete
            | ResponseError::NotAMessage
            | ResponseError::NoContent
            | ResponseError::Channel => io::ErrorKind::InvalidInput,
            ResponseError::Full => io::ErrorKind::WouldBlock,
        };
        io::Error::new(kind, error)
    }
}

impl IntoResponse for ResponseError {
    fn into_response(self, response: &mut Response) {
        let is_end = self == Self::ConnectionClosed;
        handler::answer(response, 500, &self, is_end);
    }
}

/// The client's Close: the source of the last error of [`WebSocket::recv`](crate::WebSocket::recv).
#[derive(Clone, Debug, thiserror::Error)]
#[error("closed by the client{}", .frame.as_ref().map_or(String::new(), |frame| format!(": {} {}", frame.code, frame.reason)))]
pub struct ClosedByClient {
    /// The code and reason, if the client sent them.
    pub frame: Option<CloseFrame>,
}

/// The client disconnected without a Close.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client left without a Close")]
pub(crate) struct LeftWithoutClose;

/// Returns whether an error, or one of its sources, means that a connection has ended.
fn is_end(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<ClosedByClient>()
            || error.is::<LeftWithoutClose>()
            || error.is::<ProtocolError>()
            || error.downcast_ref() == Some(&PushError::Closed)
            || error.downcast_ref() == Some(&ResponseError::ConnectionClosed)
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<RequestError>() {
            return error.is_disconnect() || matches!(error, RequestError::WebSocketProtocol(_));
        }
        // The `source` of an `io::Error` skips the error that it wraps.
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    false
}

/// The data of a hook's panic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicData {
    message: Option<String>,
    location: Option<String>,
    payload: Option<String>,
}

impl PanicData {
    /// Creates the data from its parts.
    pub fn new(message: Option<String>, location: Option<String>, payload: Option<String>) -> Self {
        Self {
            message,
            location,
            payload,
        }
    }

    pub(crate) fn from_payload(payload: &(dyn Any + Send), hook: &str) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self {
            message: text.clone(),
            location: Some(hook.to_owned()),
            payload: text,
        }
    }

    /// Returns the panic's message, if it was text.
    pub fn try_get_message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Returns the hook that panicked.
    pub fn try_get_location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Returns the payload, if it was text.
    pub fn try_get_payload(&self) -> Option<&str> {
        self.payload.as_deref()
    }
}

/// Does work of the program whose panic would take more along than itself, a destructor's above all: a second panic while
/// one is on its way ends the process.
pub(crate) fn contain(what: &str, work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        tracing::error!("panic {what}");
        dispose(payload);
    }
}

/// Drops what a panic carried: a value of the program's, whose destructor may panic in turn.
pub(crate) fn dispose(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Its destructor may panic with a value of the same kind, and so on without an end.
        std::mem::forget(next);
    }
}

impl fmt::Display for PanicData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or("a panic without text"))?;
        if let Some(location) = &self.location {
            write!(f, " in {location}")?;
        }
        Ok(())
    }
}

/// The reason why a server did not start. `Debug` writes the sentence of `Display`, since `main` prints its error in
/// that form.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address could not be bound.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// The address as configured.
        address: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The configuration is invalid.
    #[error("invalid configuration: {0}")]
    Config(#[from] crate::ConfigError),
    /// A route is invalid.
    #[error("{pattern:?} at {place}: {source}")]
    Route {
        /// The pattern as written.
        pattern: String,
        /// The place of its registration.
        place: Place,
        /// The error of the pattern.
        source: RouteError,
    },
    /// An endpoint allows an invalid origin, or `null`.
    #[error("the endpoint {pattern:?} at {place} allows an invalid origin: {source}")]
    Origin {
        /// The pattern as written.
        pattern: String,
        /// The place of its registration.
        place: Place,
        /// The error of the origin.
        source: OriginError,
    },
    /// No guard distinguishes two handlers of the same path.
    #[error(
        "the route {pattern:?} has two handlers that no guard tells apart: {first} and {second}; \
         remove one, or give them different methods"
    )]
    Ambiguous {
        /// The pattern of the second.
        pattern: String,
        /// The place where the first was registered.
        first: Place,
        /// The place where the second was registered.
        second: Place,
    },
    /// A handler could answer no request, because the server or the pattern lacks a value. The log names all such
    /// handlers.
    #[error(
        "the handler `{handler}` of {pattern:?} at {place} cannot answer any request: {lack}{}",
        and_more(*more)
    )]
    Handler {
        /// The name of the handler.
        handler: &'static str,
        /// The pattern of its route.
        pattern: String,
        /// The place of its registration.
        place: Place,
        /// The missing value.
        lack: SetupError,
        /// The number of other handlers that lack something.
        more: usize,
    },
    /// The server has no route, but attribute macros registered some that no server took.
    #[error(
        "the server has no route, but attribute macros registered {}, the first of them `{handler}` at {place}: put \
         `#[hyperlane(server: Server)]` on `main` and run the `server` that it declares",
        counted(*routes, "route")
    )]
    RoutesNotTaken {
        /// The number of routes that attribute macros registered.
        routes: usize,
        /// The name of the first handler.
        handler: &'static str,
        /// The place of the first handler.
        place: Place,
    },
    /// Another system error, such as one from `?` in a function that returns this error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A server needs a tokio runtime for its clock. It was started, or became a service, outside of one.
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
