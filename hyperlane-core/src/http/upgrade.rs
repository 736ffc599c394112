//! Requests to upgrade the protocol (RFC 9110 §7.8).

use std::{convert::Infallible, fmt, str::FromStr};

use super::headers::list_items;

/// Fields that the WebSocket handshake itself sets in its response (RFC 6455 §4.2.2).
const HANDSHAKE_FIELDS: [&str; 5] = [
    "upgrade",
    "connection",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
];

/// Returns whether the WebSocket handshake itself sets this field in its response.
pub(crate) fn is_handshake_field(name: &str) -> bool {
    HANDSHAKE_FIELDS
        .iter()
        .any(|own| own.eq_ignore_ascii_case(name))
}

/// The protocol that the `Upgrade` field of a request asks for.
///
/// The field is a list in the client's order of preference. The server ignores this order for the protocols that it
/// knows: it prefers WebSocket to `h2c`, `h2c` to TLS, and TLS to any unknown protocol. Among unknown protocols, the
/// first one counts. The default is an empty `Unknown` and means no upgrade.
///
/// ```
/// use hyperlane_core::UpgradeType;
///
/// assert_eq!(UpgradeType::from("h2c, WebSocket"), UpgradeType::WebSocket);
/// assert!(UpgradeType::from("irc/6.9").is_unknown());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpgradeType {
    /// `websocket` (RFC 6455).
    WebSocket,
    /// `h2c`: HTTP/2 without TLS (obsolete since RFC 9113 §3.1).
    H2c,
    /// TLS (RFC 2817). The value is the protocol's name in lower case, such as `tls/1.0`.
    Tls(String),
    /// Another protocol. The value is its name in lower case; empty if the request asks for no upgrade.
    Unknown(String),
}

impl UpgradeType {
    /// Returns whether the protocol is WebSocket.
    pub fn is_ws(&self) -> bool {
        matches!(self, Self::WebSocket)
    }

    /// Returns whether the protocol is HTTP/2 without TLS.
    pub fn is_h2c(&self) -> bool {
        matches!(self, Self::H2c)
    }

    /// Returns whether the protocol is TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Returns whether the protocol is unknown, or the request asks for no upgrade.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// Borrows the protocol's name in lower case.
    pub fn as_str(&self) -> &str {
        match self {
            Self::WebSocket => "websocket",
            Self::H2c => "h2c",
            Self::Tls(name) | Self::Unknown(name) => name,
        }
    }
}

impl Default for UpgradeType {
    fn default() -> Self {
        Self::Unknown(String::new())
    }
}

impl From<&str> for UpgradeType {
    fn from(field: &str) -> Self {
        Self::from(Asked::of([field].into_iter()))
    }
}

impl FromStr for UpgradeType {
    type Err = Infallible;

    fn from_str(field: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(field))
    }
}

impl fmt::Display for UpgradeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The borrowed form of [`UpgradeType`]. Methods such as `Request::is_ws_upgrade_type` use it, because it needs no copy
/// of the protocol's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    WebSocket,
    H2c,
    Tls(&'a str),
    Other(&'a str),
}

impl<'a> Asked<'a> {
    /// Returns the protocol of the highest rank among all `Upgrade` fields of a request.
    pub(crate) fn of(fields: impl Iterator<Item = &'a str>) -> Self {
        let mut best = Self::Other("");
        for item in fields.flat_map(list_items) {
            let asked = Self::item(item);
            if asked.rank() > best.rank() {
                best = asked;
            }
        }
        best
    }

    fn item(item: &'a str) -> Self {
        let is_tls = item
            .split('/')
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("tls"));
        if item.eq_ignore_ascii_case("websocket") {
            Self::WebSocket
        } else if item.eq_ignore_ascii_case("h2c") {
            Self::H2c
        } else if is_tls {
            Self::Tls(item)
        } else {
            Self::Other(item)
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Other("") => 0,
            Self::Other(_) => 1,
            Self::Tls(_) => 2,
            Self::H2c => 3,
            Self::WebSocket => 4,
        }
    }
}

impl From<Asked<'_>> for UpgradeType {
    fn from(asked: Asked<'_>) -> Self {
        match asked {
            Asked::WebSocket => Self::WebSocket,
            Asked::H2c => Self::H2c,
            Asked::Tls(name) => Self::Tls(name.to_ascii_lowercase()),
            Asked::Other(name) => Self::Unknown(name.to_ascii_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_protocols_are_found_anywhere_in_the_list() {
        for (field, expected) in [
            ("websocket", UpgradeType::WebSocket),
            ("WebSocket", UpgradeType::WebSocket),
            ("h2c, websocket", UpgradeType::WebSocket),
            ("foo/1, H2C", UpgradeType::H2c),
            ("TLS/1.0", UpgradeType::Tls("tls/1.0".to_owned())),
            ("TLS/1.0, HTTP/1.1", UpgradeType::Tls("tls/1.0".to_owned())),
            (
                "IRC/6.9, RTA/x11",
                UpgradeType::Unknown("irc/6.9".to_owned()),
            ),
            ("websocket2", UpgradeType::Unknown("websocket2".to_owned())),
            ("", UpgradeType::default()),
            (" , ", UpgradeType::default()),
        ] {
            assert_eq!(UpgradeType::from(field), expected, "{field:?}");
        }
    }

    #[test]
    fn predicates_and_display_follow_the_variant() {
        let tls = UpgradeType::Tls("tls/1.2".to_owned());
        assert!(UpgradeType::WebSocket.is_ws() && UpgradeType::H2c.is_h2c() && tls.is_tls());
        assert!(UpgradeType::default().is_unknown() && !UpgradeType::default().is_ws());
        assert_eq!(tls.to_string(), "tls/1.2");
        assert_eq!("websocket".parse(), Ok(UpgradeType::WebSocket));
    }
}
