//! What can go wrong, apart by who is to blame: the request, the response, the program.

mod handler;
mod send;
mod session;
mod start;

use std::{any::Any, fmt};

pub use self::{
    handler::Error,
    send::{ClosedByClient, PushError, ResponseError},
    session::SessionError,
    start::{Place, ServerError, SetupError},
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
