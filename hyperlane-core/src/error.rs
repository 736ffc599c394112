//! Errors, separated by cause: the request, the response, the program.

mod channel;
mod handler;
mod info;
mod send;
mod session;
mod start;
mod tls;

use std::{any::Any, fmt, time::Duration};

pub use self::{
    channel::ChannelError,
    handler::Error,
    info::ErrorInfo,
    send::{ClosedByClient, PushError, ResponseError},
    session::SessionError,
    start::{Place, ServerError, SetupError},
    tls::{TlsError, TlsSource},
};
pub(crate) use self::{send::LeftWithoutClose, start::counted};

use crate::{
    http::{HeaderError, HttpStatus, IntoResponse, Response},
    proto::{
        http::{chunked::ChunkedError, head::HeadError, host::HostRefused, origin::OriginError},
        ws::{
            CloseFrame, ProtocolError,
            handshake::{HandshakeError, OriginRefused},
        },
    },
};

/// The reason why a request fails, or why the next message of a WebSocket is not available.
///
/// The `request_error` hooks (functions of the program for refused requests) find the error in the context. If none of
/// these hooks answers, the client receives the [`status`](Self::status) of the error. The client also receives the
/// text of the error, unless the status is 500 or higher and neither 501 nor 505.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The head violates HTTP (RFC 9112).
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The path is not percent-encoded UTF-8, or it contains a NUL.
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
    /// A part of a multipart form exceeds the limit that the program set.
    #[error("{} is larger than {limit} bytes", named(name.as_deref()))]
    FieldTooLarge {
        /// The name of the part; `None` for a part without a name.
        name: Option<String>,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The head did not arrive in time.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    /// The next bytes of the body did not arrive in time.
    #[error("the request body stopped arriving")]
    BodyTimeout,
    /// The program tried to read the body of a request that has ended. Or it tried to upgrade the connection while the
    /// body is unread.
    #[error("the request body can no longer be read")]
    BodyUnavailable,
    /// The client disconnected within a request.
    #[error("the client left in the middle of a request")]
    ClientDisconnected,
    /// The connection has ended between two requests, so there is no next request.
    #[error("the connection has ended")]
    ConnectionClosed,
    /// The WebSocket handshake is invalid (RFC 6455 §4.2.1).
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The page that sends the request has an origin that the server does not allow.
    #[error(transparent)]
    Origin(#[from] OriginRefused),
    /// The server does not answer to the host of the request (RFC 9110 §7.4). See
    /// [`allowed_hosts`](crate::ServerConfig#structfield.allowed_hosts).
    #[error(transparent)]
    Host(#[from] HostRefused),
    /// The program added an invalid origin, or `null`, to the allowed origins of this WebSocket.
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
    /// The client violated the WebSocket protocol. The server closed the connection with the matching code.
    #[error(transparent)]
    WebSocketProtocol(#[from] ProtocolError),
    /// The program tried to read a message from a connection that is not a WebSocket.
    #[error("this connection is not a WebSocket: upgrade it first")]
    NotUpgraded,
    /// The program tried to read a request from a connection that has been upgraded.
    #[error("this connection has been upgraded: it carries no further requests")]
    Upgraded,
    /// A value that the handler needs is missing: a part of the request, an attribute, a state of the server, or the
    /// data of a failure.
    #[error("{part} `{name}` is missing")]
    Missing {
        /// The kind of value: "query parameter", "header", ...
        part: &'static str,
        /// The name of the value.
        name: String,
    },
    /// A route parameter is not what the handler needs. The text names the parameter.
    #[error("invalid path: {0}")]
    Path(String),
    /// The query is not what the handler needs. The text names the parameter.
    #[error("invalid query: {0}")]
    Query(String),
    /// The form is not what the handler needs. The text names the field.
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
    /// The body is not JSON, or not the JSON that the handler needs. The text names the path of the field.
    #[error("invalid JSON body: {0}")]
    Json(String),
    /// The server is shutting down and does not wait for this request. Either the head of the request is incomplete, or
    /// the request is a WebSocket handshake that the program has not answered yet.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The session store failed. The log has the reason.
    #[error("the session store failed")]
    SessionStore,
    /// The session token of the request is not valid. The token has expired, it belongs to another path, or its session
    /// has ended.
    #[error("the session token is no longer valid: request a new one")]
    SessionToken,
    /// The session has no channel of the requested name, and cannot open one.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The client has sent more requests than a [`RateLimit`](crate::RateLimit) allows. The response has status 429 and
    /// the field `retry-after`.
    #[error("too many requests")]
    TooManyRequests {
        /// The time after which the client may repeat the request.
        wait: Duration,
    },
    /// The program refused the request. See [`refused`](Self::refused).
    #[error("{message}")]
    Refused {
        /// The status of the response.
        status: u16,
        /// The reason, as text for the client.
        message: String,
    },
}

impl RequestError {
    /// Creates the error for a missing value. `part` is the kind of the value, such as "header".
    pub fn missing(part: &'static str, name: impl Into<String>) -> Self {
        Self::Missing {
            part,
            name: name.into(),
        }
    }

    /// Creates the error for a request that the program refuses. The client gets the status and the text. If the status
    /// is 500 or higher, except 501 and 505, the text goes only to the log. A status outside 400 to 599 becomes 500.
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
            Self::TooManyRequests { .. } => 429,
            Self::Channel(error) => error.status(),
            Self::Origin(_) => 403,
            Self::Host(_) => 421,
            // The program and the server provide these values, so a missing one is not the client's fault.
            Self::Missing { part, .. } if [ATTRIBUTE, EXTENSION, FAILURE, STATE].contains(part) => {
                500
            }
            Self::Refused { status, .. } => *status,
            Self::SessionStore | Self::ShuttingDown => 503,
            Self::AllowedOrigin(_) | Self::Header(_) | Self::Subprotocol { .. } => 500,
            Self::NotUpgraded | Self::Upgraded | Self::BodyUnavailable => 500,
            _ => 400,
        }
    }

    /// Returns whether the error means that the client has disconnected. No response is then possible.
    pub fn is_disconnect(&self) -> bool {
        matches!(
            self,
            Self::ClientDisconnected | Self::ConnectionClosed | Self::WebSocketClosed(_)
        )
    }
}

/// The error of a request without an error, for `try_get_request_error_data().unwrap_or_default()`. Its status is 500.
impl Default for RequestError {
    fn default() -> Self {
        Self::missing(FAILURE, "request error")
    }
}

/// Methods under the names that published Hyperlane programs call.
impl RequestError {
    /// Same as [`status`](Self::status), as an [`HttpStatus`].
    pub fn get_http_status(&self) -> HttpStatus {
        HttpStatus::from(self.get_http_status_code())
    }

    /// Same as [`status`](Self::status), as a `usize`.
    pub fn get_http_status_code(&self) -> usize {
        usize::from(self.status())
    }
}

/// Returns the words with which an error text names a form field.
fn named(field: Option<&str>) -> String {
    match field {
        Some(name) => format!("the field `{name}`"),
        None => "a field without a name".to_owned(),
    }
}

/// Answers with the status of the error, and a body of plain text. The body contains the text of the error, unless the
/// status is 500 or higher and neither 501 nor 505.
impl IntoResponse for RequestError {
    fn into_response(self, response: &mut Response) {
        let is_token = self == Self::SessionToken;
        let wait = match &self {
            Self::TooManyRequests { wait } => Some(*wait),
            _ => None,
        };
        // The fields that are set below describe the handshake of a WebSocket. A refusal by the program may have the
        // same status for another reason, so it does not get these fields.
        let handshake_status = match &self {
            Self::Handshake(error) => Some(error.status()),
            _ => None,
        };
        handler::refuse(response, self);
        if is_token {
            // RFC 6750 §3.1.
            response.set_header("www-authenticate", "Bearer error=\"invalid_token\"");
        }
        if let Some(wait) = wait {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            response.set_header("retry-after", seconds.to_string());
        }
        match handshake_status {
            Some(405) => _ = response.set_header("allow", "GET"),
            Some(426) => {
                response
                    .set_header("sec-websocket-version", "13")
                    .set_header("upgrade", "websocket")
                    .set_header("connection", "upgrade");
            }
            _ => {}
        }
    }
}

/// The `part` of [`RequestError::Missing`] for a missing attribute of the request.
pub(crate) const ATTRIBUTE: &str = "attribute";
/// The `part` of [`RequestError::Missing`] for a missing state of the server.
pub(crate) const STATE: &str = "state";
pub(crate) const EXTENSION: &str = "extension";
/// The `part` of [`RequestError::Missing`] if the program asks for the data of a panic or error and there is none, for
/// example outside of an error hook.
pub(crate) const FAILURE: &str = "failure data";

/// The description of a panic in a hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicData {
    message: Option<String>,
    location: Option<String>,
    payload: Option<String>,
}

impl PanicData {
    /// Creates the description from its parts.
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

    /// Returns the panic's message. Returns `None` if the payload is not text.
    pub fn try_get_message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Returns the name of the hook that panicked.
    pub fn try_get_location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Returns the panic's payload. Returns `None` if the payload is not text.
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
