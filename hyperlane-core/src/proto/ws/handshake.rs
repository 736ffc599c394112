//! The server's side of the opening handshake (RFC 6455 §4.2), the check of `Origin`, and the choice of a subprotocol.

mod extensions;
mod grammar;
mod origin;

pub use extensions::{ExtensionOffer, ExtensionParam, parse_extensions};
pub(crate) use origin::check_origin;
pub use origin::{OriginRefused, origin_allowed};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The suffix that every server appends to the key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Computes the `Sec-WebSocket-Accept` value for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2). The value is ASCII. The
/// function does not allocate.
///
/// ```
/// use hyperlane_core::proto::ws::handshake::accept_key;
///
/// // The example of RFC 6455 §1.3.
/// assert_eq!(&accept_key("dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_key(key: &str) -> [u8; 28] {
    accept_key_bytes(key.as_bytes())
}

fn accept_key_bytes(key: &[u8]) -> [u8; 28] {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [b'='; 28];
    // The base64 of 20 bytes always has 28 bytes, so the encoding cannot fail.
    let _ = STANDARD.encode_slice(hash, &mut accept);
    accept
}

/// The parts of a request that [`validate`] checks.
#[derive(Clone, Debug)]
pub struct HandshakeRequest<'a, H> {
    /// The method, as sent.
    pub method: &'a str,
    /// The major and minor HTTP version; `(1, 1)` is HTTP/1.1.
    pub version: (u8, u8),
    /// All header fields as pairs of name and value. The case of names does not matter.
    pub headers: H,
}

/// The result of a valid handshake: the value for the 101 response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The `Sec-WebSocket-Accept` value, ASCII.
    pub accept_key: [u8; 28],
}

/// The reason why a request cannot become a WebSocket. [`status`](Self::status) and [`headers`](Self::headers) return
/// the status code and the header fields for the response that refuses the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The method is not GET (RFC 6455 §4.1).
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// The HTTP version is below 1.1 (RFC 6455 §4.1).
    #[error("a WebSocket handshake needs HTTP/1.1")]
    HttpVersion,
    /// `Upgrade` does not list `websocket` (RFC 6455 §4.2.1).
    #[error("the Upgrade header does not list websocket")]
    Upgrade,
    /// `Connection` does not list `upgrade` (RFC 6455 §4.2.1).
    #[error("the Connection header does not list upgrade")]
    Connection,
    /// `Sec-WebSocket-Version` is missing, repeated, or not 13 (RFC 6455 §4.4).
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// `Sec-WebSocket-Key` is missing (RFC 6455 §4.2.1).
    #[error("Sec-WebSocket-Key is missing")]
    MissingKey,
    /// `Sec-WebSocket-Key` is repeated (RFC 6455 §11.3.1).
    #[error("Sec-WebSocket-Key is repeated")]
    RepeatedKey,
    /// `Sec-WebSocket-Key` is not 16 bytes in base64 (RFC 6455 §4.2.1).
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    InvalidKey,
    /// `Sec-WebSocket-Protocol` is not a list of tokens (RFC 6455 §4.3).
    #[error("Sec-WebSocket-Protocol is not a list of tokens")]
    Subprotocols,
    /// `Sec-WebSocket-Extensions` is not a list of extensions (RFC 6455 §9.1).
    #[error("Sec-WebSocket-Extensions is not a list of extensions")]
    Extensions,
}

impl HandshakeError {
    /// Returns the status code for the response.
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::HttpVersion => 505,
            Self::Upgrade | Self::Version => 426,
            Self::Connection
            | Self::MissingKey
            | Self::RepeatedKey
            | Self::InvalidKey
            | Self::Subprotocols
            | Self::Extensions => 400,
        }
    }

    /// Returns the header fields that the response must have with this status (RFC 9110 §15.5.6, §15.5.22, RFC 6455
    /// §4.4).
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Method => &[("allow", "GET")],
            Self::Upgrade => &[("upgrade", "websocket")],
            Self::Version => &[("upgrade", "websocket"), ("sec-websocket-version", "13")],
            _ => &[],
        }
    }
}

/// Checks that a request is a WebSocket handshake (RFC 6455 §4.2.1). A handshake of HTTP/2 (RFC 8441 §5) is given as a GET
/// with `upgrade` and `connection`; it has no key, and the result has none.
///
/// Checks neither `Host` nor `Origin`. The HTTP parser checks `Host`, and [`origin_allowed`] checks `Origin`.
///
/// # Errors
///
/// Returns the first violation in the order of [`HandshakeError`]'s variants.
///
/// ```
/// use hyperlane_core::proto::ws::handshake::{HandshakeRequest, validate};
///
/// let headers = [
///     ("Upgrade", "websocket"),
///     ("Connection", "keep-alive, Upgrade"),
///     ("Sec-WebSocket-Version", "13"),
///     ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
/// ];
/// let accepted = validate(HandshakeRequest { method: "GET", version: (1, 1), headers }).unwrap();
/// assert_eq!(&accepted.accept_key, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn validate<N, V>(
    request: HandshakeRequest<'_, impl IntoIterator<Item = (N, V)>>,
) -> Result<Accepted, HandshakeError>
where
    N: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    if request.method != "GET" {
        return Err(HandshakeError::Method);
    }
    if request.version < (1, 1) {
        return Err(HandshakeError::HttpVersion);
    }
    let (mut upgrade, mut connection) = (false, false);
    let mut version = Field::Missing;
    let mut key = Field::Missing;
    let (mut subprotocols, mut extensions) = (true, true);
    for (name, value) in request.headers {
        let (name, text) = (name.as_ref(), value.as_ref());
        if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade |= has_token(text, b"websocket");
        } else if name.eq_ignore_ascii_case(b"connection") {
            connection |= has_token(text, b"upgrade");
        } else if name.eq_ignore_ascii_case(b"sec-websocket-version") {
            version.add(text.trim_ascii() == b"13");
        } else if name.eq_ignore_ascii_case(b"sec-websocket-key") {
            let text = text.trim_ascii();
            key.add(is_valid_key(text).then(|| accept_key_bytes(text)));
        } else if name.eq_ignore_ascii_case(b"sec-websocket-protocol") {
            subprotocols &= grammar::is_token_list(text);
        } else if name.eq_ignore_ascii_case(b"sec-websocket-extensions") {
            extensions &= grammar::is_extension_list(text);
        }
    }
    if !upgrade {
        return Err(HandshakeError::Upgrade);
    }
    if !connection {
        return Err(HandshakeError::Connection);
    }
    if !matches!(version, Field::Once(true)) {
        return Err(HandshakeError::Version);
    }
    if request.version >= (2, 0) {
        // A handshake of HTTP/2 has no key (RFC 8441 §5).
        key = Field::Once(Some([b'='; 28]));
    }
    match key {
        Field::Missing => Err(HandshakeError::MissingKey),
        Field::Repeated => Err(HandshakeError::RepeatedKey),
        Field::Once(None) => Err(HandshakeError::InvalidKey),
        Field::Once(Some(_)) if !subprotocols => Err(HandshakeError::Subprotocols),
        Field::Once(Some(_)) if !extensions => Err(HandshakeError::Extensions),
        Field::Once(Some(accept_key)) => Ok(Accepted { accept_key }),
    }
}

/// Returns the first subprotocol in `supported` that the client offers (RFC 6455 §4.2.2).
///
/// `offered` has the values of all `Sec-WebSocket-Protocol` fields. Each value is a list. The comparison is
/// case-sensitive. Returns `None` if there is no common subprotocol. The response must then have no
/// `Sec-WebSocket-Protocol`.
///
/// ```
/// use hyperlane_core::proto::ws::handshake::choose_subprotocol;
///
/// assert_eq!(choose_subprotocol(&["v2", "v1"], ["v0, v1", "v2"]), Some("v2"));
/// assert_eq!(choose_subprotocol(&["v3"], ["v0, v1"]), None);
/// ```
pub fn choose_subprotocol<'s, 'o, S: AsRef<str>>(
    supported: &'s [S],
    offered: impl IntoIterator<Item = &'o str, IntoIter: Clone>,
) -> Option<&'s str> {
    let offered = offered.into_iter();
    supported.iter().map(AsRef::as_ref).find(|wanted| {
        offered
            .clone()
            .flat_map(|list| list.split(','))
            .any(|offer| offer.trim_ascii() == *wanted)
    })
}

/// A header field that must occur exactly once.
enum Field<T> {
    Missing,
    Once(T),
    Repeated,
}

impl<T> Field<T> {
    fn add(&mut self, value: T) {
        *self = match self {
            Self::Missing => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }
}

/// Returns whether a comma-separated list contains `token`. The comparison ignores case (RFC 9110 §5.6.1).
fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// Returns whether `key` is 16 bytes in base64: 22 characters and two characters of padding.
///
/// The last of the 22 characters has four unused bits. The function ignores these bits, because some clients set them
/// at random.
pub(super) fn is_valid_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|digits| {
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        digits.len() == 22 && digits.iter().all(is_digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];

    fn shake(headers: &[(&str, &str)]) -> Result<Accepted, HandshakeError> {
        let headers = headers.iter().copied();
        validate(HandshakeRequest {
            method: "GET",
            version: (1, 1),
            headers,
        })
    }

    /// Validates the good request after its field `name` was replaced by fields with `values`. Empty `values` remove
    /// the field.
    fn with(name: &str, values: &[&str]) -> Result<Accepted, HandshakeError> {
        let mut headers: Vec<_> = GOOD.into_iter().filter(|header| header.0 != name).collect();
        headers.extend(values.iter().map(|value| (name, *value)));
        shake(&headers)
    }

    #[test]
    fn a_browsers_request_is_accepted() {
        let accepted = shake(&GOOD).unwrap();
        assert_eq!(&accepted.accept_key, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn names_and_tokens_match_in_any_case_and_place() {
        for (name, values) in [
            ("Upgrade", &["h2c, WebSocket"][..]),
            ("upgrade", &["h2c", "websocket"]),
            ("connection", &["keep-alive,UPGRADE"]),
            ("connection", &["keep-alive", " upgrade "]),
            ("SEC-WEBSOCKET-KEY", &[KEY]),
            ("sec-websocket-version", &[" 13 "]),
        ] {
            let mut headers: Vec<_> = GOOD
                .into_iter()
                .filter(|header| !header.0.eq_ignore_ascii_case(name))
                .collect();
            headers.extend(values.iter().map(|value| (name, *value)));
            assert!(shake(&headers).is_ok(), "{name}: {values:?}");
        }
    }

    #[test]
    fn every_broken_rule_has_its_status() {
        let request = |method, version| {
            validate(HandshakeRequest {
                method,
                version,
                headers: GOOD,
            })
        };
        // A handshake of HTTP/2 needs no key, and its result has none.
        let accepted = request("GET", (2, 0)).unwrap();
        assert_eq!(accepted.accept_key, [b'='; 28]);
        let without_key = GOOD.iter().filter(|(name, _)| *name != "sec-websocket-key");
        let accepted = validate(HandshakeRequest {
            method: "GET",
            version: (2, 0),
            headers: without_key.copied(),
        });
        assert!(accepted.is_ok());
        for (result, error, status) in [
            (request("POST", (1, 1)), HandshakeError::Method, 405),
            (request("get", (1, 1)), HandshakeError::Method, 405),
            (request("GET", (1, 0)), HandshakeError::HttpVersion, 505),
            (with("upgrade", &[]), HandshakeError::Upgrade, 426),
            (
                with("upgrade", &["websockets"]),
                HandshakeError::Upgrade,
                426,
            ),
            (with("connection", &[]), HandshakeError::Connection, 400),
            (
                with("connection", &["keep-alive"]),
                HandshakeError::Connection,
                400,
            ),
            (
                with("sec-websocket-version", &[]),
                HandshakeError::Version,
                426,
            ),
            (
                with("sec-websocket-version", &["8"]),
                HandshakeError::Version,
                426,
            ),
            (
                with("sec-websocket-version", &["13, 8"]),
                HandshakeError::Version,
                426,
            ),
            (
                with("sec-websocket-version", &["13", "13"]),
                HandshakeError::Version,
                426,
            ),
            (
                with("sec-websocket-key", &[]),
                HandshakeError::MissingKey,
                400,
            ),
            (
                with("sec-websocket-key", &[KEY, KEY]),
                HandshakeError::RepeatedKey,
                400,
            ),
            (
                with("sec-websocket-key", &[""]),
                HandshakeError::InvalidKey,
                400,
            ),
            (
                with("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ="]),
                HandshakeError::InvalidKey,
                400,
            ),
            (
                with("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZ==="]),
                HandshakeError::InvalidKey,
                400,
            ),
            (
                with("sec-websocket-key", &["dGhlIHNhbXBs ZSBub25jZ=="]),
                HandshakeError::InvalidKey,
                400,
            ),
            (
                with("sec-websocket-protocol", &["a", "b c"]),
                HandshakeError::Subprotocols,
                400,
            ),
            (
                with("sec-websocket-extensions", &["a; =b"]),
                HandshakeError::Extensions,
                400,
            ),
        ] {
            assert_eq!(result, Err(error));
            assert_eq!(error.status(), status);
        }
        assert!(
            HandshakeError::Version
                .headers()
                .contains(&("sec-websocket-version", "13"))
        );
        assert!(
            HandshakeError::Upgrade
                .headers()
                .contains(&("upgrade", "websocket"))
        );
        assert_eq!(HandshakeError::Method.headers(), [("allow", "GET")]);
    }

    #[test]
    fn the_servers_order_decides_the_subprotocol() {
        let none: [&str; 0] = [];
        assert_eq!(choose_subprotocol(&["b", "a"], ["a", "b"]), Some("b"));
        assert_eq!(choose_subprotocol(&["B"], ["b"]), None);
        assert_eq!(choose_subprotocol(&["a"], none), None);
        assert_eq!(choose_subprotocol(&none, ["a"]), None);
        assert_eq!(
            choose_subprotocol(&[String::from("mqtt")], ["x ,\tmqtt"]),
            Some("mqtt")
        );
    }
}
