//! What can go wrong, apart by who is to blame: the request, the response, the program.

mod handler;

use std::{any::Any, fmt, io, panic::Location};

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

/// Why a request, or the next message of a WebSocket, could not be had.
///
/// The `request_error` hooks see it in the context; without one of their own answers, the client
/// gets [`status`](Self::status) and the text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The head broke a rule of HTTP (RFC 9112).
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The path is not percent-encoded UTF-8.
    #[error("the path is not valid percent-encoded UTF-8")]
    InvalidPath,
    /// The chunked body broke a rule of HTTP (RFC 9112 §7.1).
    #[error(transparent)]
    Chunked(#[from] ChunkedError),
    /// The body is larger than the limit, in bytes.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A part of a form with files is larger than the limit that the program gave it.
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
    /// The body can no longer be read as such: its request is over, or it stands in the way of an upgrade.
    #[error("the body of the request cannot be read any more")]
    BodyUnavailable,
    /// The client left in the middle of a request.
    #[error("the client left in the middle of a request")]
    ClientDisconnected,
    /// There is no next request: the connection was idle and is over.
    #[error("the connection is over")]
    ConnectionClosed,
    /// The WebSocket handshake broke a rule (RFC 6455 §4.2.1).
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The page that opens the WebSocket comes from elsewhere.
    #[error(transparent)]
    Origin(#[from] OriginRefused),
    /// The server does not answer to the host of the request (RFC 9110 §7.4); see
    /// [`allowed_hosts`](crate::ServerConfig#structfield.allowed_hosts).
    #[error(transparent)]
    Host(#[from] HostRefused),
    /// The program allows something for this WebSocket that is no origin, or `null`.
    #[error("an allowed origin: {0}")]
    AllowedOrigin(#[from] OriginError),
    /// A field that the program adds to the answer of a handshake may not be written.
    #[error("a header field of the handshake's answer: {0}")]
    Header(#[from] HeaderError),
    /// The program chose a subprotocol that the client did not offer (RFC 6455 §4.2.2).
    #[error("subprotocol {name:?} was chosen and not offered")]
    Subprotocol {
        /// The chosen name.
        name: String,
    },
    /// The client closed the WebSocket.
    #[error("the WebSocket was closed by the client")]
    WebSocketClosed(Option<CloseFrame>),
    /// The client broke the WebSocket protocol; it was closed with the fitting code.
    #[error(transparent)]
    WebSocketProtocol(#[from] ProtocolError),
    /// A message was asked for on a connection that is not a WebSocket.
    #[error("this connection is not a WebSocket: upgrade it first")]
    NotUpgraded,
    /// A request was asked for on a connection that has been upgraded.
    #[error("this connection has been upgraded: it carries no further requests")]
    Upgraded,
    /// Something that the handler asks for is missing from the request.
    #[error("{part} `{name}` is missing")]
    Missing {
        /// What kind of thing: "query parameter", "header", ...
        part: &'static str,
        /// Its name.
        name: String,
    },
    /// A parameter of the route is not what the handler asks for; the text names it.
    #[error("invalid path: {0}")]
    Path(String),
    /// The query is not what the handler asks for; the text names the parameter.
    #[error("invalid query: {0}")]
    Query(String),
    /// The form is not what the handler asks for; the text names the field.
    #[error("invalid form: {0}")]
    Form(String),
    /// The form with files is malformed.
    #[error("invalid multipart form: {0}")]
    Multipart(String),
    /// The body is of another type than the handler asks for.
    #[error("the body must be `{expected}`")]
    ContentType {
        /// The type asked for.
        expected: &'static str,
    },
    /// The body is not the JSON that the handler asks for; the text names the path of the field.
    #[error("invalid JSON body: {0}")]
    Json(String),
    /// The server shuts down, and what there is of the request is no reason to wait: the half of a head, or a WebSocket
    /// handshake that no hook has answered yet.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store of the sessions cannot be asked or told; the log says why.
    #[error("the session store has an error")]
    SessionStore,
    /// The session's token that the request came by is not valid: it has expired, was made for another path, or its session is
    /// over.
    #[error("the token of the session is not valid any more: ask for a fresh one")]
    SessionToken,
    /// The program refused the request for a reason of its own; see [`refused`](Self::refused).
    #[error("{message}")]
    Refused {
        /// The status of the answer.
        status: u16,
        /// Why, in words for the client.
        message: String,
    },
}

impl RequestError {
    /// Something the handler asks for is missing.
    pub fn missing(part: &'static str, name: impl Into<String>) -> Self {
        Self::Missing {
            part,
            name: name.into(),
        }
    }

    /// The program refuses the request: with this status, and with this text for the client. From 500 on the text is for
    /// the log only, and what is no status of an error (400 to 599) becomes 500.
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

    /// The status with which it is answered.
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
            // What only the program can have set and did not is not the client's fault.
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

    /// Whether there is nobody left to answer.
    pub fn is_disconnect(&self) -> bool {
        matches!(
            self,
            Self::ClientDisconnected | Self::ConnectionClosed | Self::WebSocketClosed(_)
        )
    }
}

/// How a part of a form is told.
fn named(field: Option<&str>) -> String {
    match field {
        Some(name) => format!("the field `{name}`"),
        None => "a field without a name".to_owned(),
    }
}

/// Answers with the status and, where the client is to blame, the rule it broke.
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
            // Of all errors only a handshake by another method has this status.
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

/// Name of the part for attributes that middleware sets.
pub(crate) const ATTRIBUTE: &str = "attribute";
/// Name of the part for values of the server.
pub(crate) const STATE: &str = "state";
/// Name of the part for what only error hooks have.
pub(crate) const FAILURE: &str = "failure data";

/// Why something could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The connection is over, or a Close was sent on it.
    #[error("the connection is closed")]
    ConnectionClosed,
    /// The bytes after a complete response were not sent: one request has one response.
    #[error("the response is complete already: nothing can be sent after it")]
    AlreadyComplete,
    /// A file or a stream was to be sent where only messages can be: on a WebSocket or an event stream.
    #[error("a file or a stream is no message")]
    NotAMessage,
    /// An event stream was to begin with a status that has no content: 1xx, 204, 205 or 304.
    #[error("a response of this status has no content, so that no stream can begin with it")]
    NoContent,
    /// The peer reads too slowly and the sender must not wait.
    #[error("the outbox is above its high-water mark: the peer does not read fast enough")]
    Full,
    /// The connection belongs to the channel of a session, which alone may send on it.
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

/// The Close of the client, as the source of the error that [`WebSocket::recv`](crate::WebSocket::recv) ends with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("closed by the client{}", .frame.as_ref().map_or(String::new(), |frame| format!(": {} {}", frame.code, frame.reason)))]
pub struct ClosedByClient {
    /// Code and reason, if the client gave any.
    pub frame: Option<CloseFrame>,
}

/// The client left without a Close.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client left without a Close")]
pub(crate) struct LeftWithoutClose;

/// Tells whether an error, or what it was made of, says that a connection has ended.
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
        // The source of such an error is the source of what it holds, not what it holds.
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

/// What a hook panicked with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicData {
    message: Option<String>,
    location: Option<String>,
    payload: Option<String>,
}

impl PanicData {
    /// Puts together what is known of a panic.
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

    /// The panic's message, if it was text.
    pub fn try_get_message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The hook that panicked.
    pub fn try_get_location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The payload, if it was text.
    pub fn try_get_payload(&self) -> Option<&str> {
        self.payload.as_deref()
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
    Config(#[from] crate::ConfigError),
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
