//! Errors of named channels.

use std::io;

/// The reason why a session has no channel of the requested name.
///
/// If a handler (a function that answers requests) returns the error by `?`, the server answers with
/// [`RequestError::Channel`](crate::RequestError::Channel) and its status. An endpoint (a path at which clients connect
/// to channels) answers with the same status, also to the handshake of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The session already has the maximum number of named channels. Status 429.
    #[error(
        "the session has {limit} named channels, and no more are allowed: end one of them first"
    )]
    TooMany {
        /// The limit of named channels per session.
        limit: usize,
    },
    /// The text cannot be the name of a channel. Status 400.
    #[error("the name of a channel has 1 to 64 visible ASCII characters, and no spaces")]
    InvalidName,
    /// [`session_memory`](crate::ServerConfig) has no room for another named channel, or for a message that a client
    /// sends by POST while none of the channel's clients is connected. Status 503.
    #[error(
        "no room in `session_memory` for another named channel, or for a message to a channel without a client"
    )]
    Memory,
}

impl ChannelError {
    /// Returns the status of the response.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::TooMany { .. } => 429,
            Self::InvalidName => 400,
            Self::Memory => 503,
        }
    }
}

impl From<ChannelError> for io::Error {
    fn from(error: ChannelError) -> Self {
        let kind = match error {
            ChannelError::TooMany { .. } => io::ErrorKind::QuotaExceeded,
            ChannelError::InvalidName => io::ErrorKind::InvalidInput,
            ChannelError::Memory => io::ErrorKind::OutOfMemory,
        };
        Self::new(kind, error)
    }
}
