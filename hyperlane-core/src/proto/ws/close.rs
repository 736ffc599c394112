//! Close codes and the payload of a close frame (RFC 6455 §5.5.1, §7.4).

use std::fmt;

use bytes::Bytes;

use super::{ProtocolError, Utf8Bytes};

/// Maximum length of a close reason in bytes: 125 for the payload of a control frame, less two for the code.
const MAX_REASON: usize = 123;

/// The number that tells the peer why a WebSocket ends (RFC 6455 §7.4).
///
/// ```
/// use hyperlane_core::CloseCode;
///
/// assert!(CloseCode::NORMAL.is_sendable());
/// assert!(CloseCode::new(4000).is_sendable());
/// assert!(!CloseCode::ABNORMAL.is_sendable());
/// assert_eq!(CloseCode::TRY_AGAIN_LATER.to_string(), "1013 (try again later)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The connection has served its purpose (1000).
    pub const NORMAL: Self = Self(1000);
    /// The peer goes away: a server shuts down, or a browser leaves the page (1001).
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol (1002).
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The receiver does not accept this kind of data (1003).
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Reserved without a meaning; never on the wire (1004).
    pub const RESERVED: Self = Self(1004);
    /// A close frame without a code; never on the wire (1005).
    pub const NO_STATUS: Self = Self(1005);
    /// An end without a close frame; never on the wire (1006).
    pub const ABNORMAL: Self = Self(1006);
    /// The data of a message does not match the message's type, such as text that is not UTF-8 (1007).
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer broke a rule of the application (1008).
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// The message exceeds the receiver's limit (1009).
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The server's handshake lacks an extension that the client needs (1010).
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// The server met an unexpected condition (1011).
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts. The client should reconnect after a random delay (1012, IANA registry).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded, or the client is too slow (1013, IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway received an invalid response from upstream (1014, IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);
    /// A failed TLS handshake; never on the wire (1015).
    pub const TLS_HANDSHAKE: Self = Self(1015);

    /// Creates a code from any number. Accepts numbers that must not be sent, too.
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Returns whether a close frame may carry the code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 (for libraries and
    /// applications). The other registered codes must not be sent (RFC 6455 §7.4).
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NORMAL => "normal closure",
            Self::GOING_AWAY => "going away",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::UNSUPPORTED_DATA => "unsupported data",
            Self::NO_STATUS => "no status received",
            Self::ABNORMAL => "abnormal closure",
            Self::INVALID_PAYLOAD => "invalid payload",
            Self::POLICY_VIOLATION => "policy violation",
            Self::MESSAGE_TOO_BIG => "message too big",
            Self::MANDATORY_EXTENSION => "mandatory extension",
            Self::INTERNAL_ERROR => "internal error",
            Self::SERVICE_RESTART => "service restart",
            Self::TRY_AGAIN_LATER => "try again later",
            Self::BAD_GATEWAY => "bad gateway",
            Self::TLS_HANDSHAKE => "TLS handshake",
            _ => return None,
        })
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

/// The code and reason of a close frame (RFC 6455 §5.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// The reason as a number, for programs.
    pub code: CloseCode,
    /// The reason as a text, for people. The encoder shortens a text of more than 123 bytes.
    pub reason: Utf8Bytes,
}

impl CloseFrame {
    /// Creates a close frame.
    pub fn new(code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) -> Self {
        Self {
            code: code.into(),
            reason: reason.into(),
        }
    }

    /// Parses the payload of a received close frame. Returns `None` for an empty payload: the frame has no code.
    pub(super) fn parse(payload: Bytes) -> Result<Option<Self>, ProtocolError> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return match payload.is_empty() {
                true => Ok(None),
                false => Err(ProtocolError::TruncatedCloseCode),
            };
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.is_sendable() {
            return Err(ProtocolError::InvalidCloseCode(code.get()));
        }
        let reason = payload.slice_ref(reason);
        let reason = Utf8Bytes::try_from(reason).map_err(|_| ProtocolError::InvalidCloseReason)?;
        Ok(Some(Self { code, reason }))
    }
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.is_empty() {
            true => self.code.fmt(f),
            false => write!(f, "{}: {}", self.code, self.reason),
        }
    }
}

/// Shortens a reason to at most 123 bytes, without cutting a character.
pub(super) fn fit_reason(reason: &str) -> &str {
    (0..=reason.len().min(MAX_REASON))
        .rev()
        .find_map(|end| reason.get(..end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registered_and_application_codes_are_sendable() {
        for code in 0..=u16::MAX {
            let expected = match code {
                1004..=1006 | 1015 => false,
                1000..=1014 | 3000..=4999 => true,
                _ => false,
            };
            assert_eq!(CloseCode::new(code).is_sendable(), expected, "{code}");
        }
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(fit_reason("bye"), "bye");
        assert_eq!(fit_reason(&"x".repeat(200)).len(), 123);
        assert_eq!(fit_reason(&"é".repeat(100)).len(), 122);
    }

    #[test]
    fn display_names_code_and_reason() {
        assert_eq!(CloseFrame::new(4001, "").to_string(), "4001");
        assert_eq!(
            CloseFrame::new(1001, "bye").to_string(),
            "1001 (going away): bye"
        );
    }
}
