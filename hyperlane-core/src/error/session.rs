//! Errors of sessions.

use std::io;

/// Why something could not be done with a session.
///
/// As the error of a handler, by `?`, it answers 403 or 409 where the client's credential does not allow it
/// ([`ByToken`](Self::ByToken), [`Former`](Self::Former), [`Passing`](Self::Passing)), and 500 elsewhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The value has no JSON form, or is of another type than is asked for.
    #[error("the value of a session: {0}")]
    Json(#[from] serde_json::Error),
    /// There is no room for it within [`session_memory`](crate::ServerConfig).
    #[error("no room in the memory of sessions")]
    Full,
    /// The head of the response is out, and with it the chance to set the cookie.
    #[error("the response has begun: the session's cookie can no longer be set")]
    TooLate,
    /// The session was destroyed.
    #[error("the session was destroyed")]
    Ended,
    /// The session has another id than the one that this request knows: another request has renewed it.
    #[error(
        "another request has renewed the session, and its answer has the cookie: repeat the request with that"
    )]
    Former,
    /// The request came by a token, which renews nothing: the cookie of the session's owner would be worthless.
    #[error("the request came by a token, and a token renews no session: renew it by its cookie")]
    ByToken,
    /// The session lasts for this request alone, so that no client can come back to it.
    #[error("the session lasts for this request alone: no client can come back to it")]
    Passing,
    /// The system has no random bytes.
    #[error("no random bytes for an id")]
    Random,
    /// The store has an error.
    #[error("the session store: {0}")]
    Store(#[source] io::Error),
}

impl SessionError {
    /// The status of the answer where the client's credential is to blame, and not the program.
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
