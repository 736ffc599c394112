//! Errors of sessions.

use std::io;

/// The reason why a session operation failed.
///
/// If a handler (a function that answers requests) returns the error by `?`, the server answers with this status:
/// - 403 for [`ByToken`](Self::ByToken), and 409 for [`Former`](Self::Former) and [`Passing`](Self::Passing): the
///   client's credential does not allow the operation.
/// - 500 for all other errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The value cannot be converted to JSON, or the stored JSON has another type than requested.
    #[error("invalid session value: {0}")]
    Json(#[from] serde_json::Error),
    /// The value does not fit into the free part of [`session_memory`](crate::ServerConfig).
    #[error("the session memory is full")]
    Full,
    /// The head of the response was already sent, so the cookie cannot be set.
    #[error("the response has begun: the session's cookie can no longer be set")]
    TooLate,
    /// The session was destroyed.
    #[error("the session was destroyed")]
    Ended,
    /// Another request has renewed the session since this request arrived, so the id of the session has changed.
    #[error(
        "another request has renewed the session, and its answer has the cookie: repeat the request with that"
    )]
    Former,
    /// The request carries a token instead of a cookie. A token cannot renew the session, because the renewal would
    /// make the owner's cookie invalid.
    #[error("the request came by a token, and a token renews no session: renew it by its cookie")]
    ByToken,
    /// The session lasts only for this request. No later request can name the session.
    #[error("the session lasts for this request alone: no client can come back to it")]
    Passing,
    /// The operating system returned no random bytes.
    #[error("no random bytes for an id")]
    Random,
    /// The store failed.
    #[error("the session store: {0}")]
    Store(#[source] io::Error),
}

impl SessionError {
    /// Returns the status of the response if the client's credential caused the error. Returns `None` for all other
    /// errors.
    pub(super) fn client_status(&self) -> Option<usize> {
        match self {
            Self::ByToken => Some(403),
            Self::Former | Self::Passing => Some(409),
            Self::Json(_)
            | Self::Full
            | Self::TooLate
            | Self::Ended
            | Self::Random
            | Self::Store(_) => None,
        }
    }
}
