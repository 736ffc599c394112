//! The four forms of a request target (RFC 9112 §3.2), and authorities (RFC 3986 §3.2).

use std::net::Ipv6Addr;

use super::HeadError;
use crate::proto::http::ByteSet;

/// A request target (RFC 9112 §3.2), not percent-decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'b> {
    /// `/path?query`, the form of nearly all requests.
    Origin {
        /// The path with its leading slash.
        path: &'b str,
        /// The part after the first question mark, if there is one.
        query: Option<&'b str>,
    },
    /// `http://host/path?query`, as sent to proxies.
    Absolute {
        /// The scheme, as sent.
        scheme: &'b str,
        /// The host with its optional port; never empty.
        authority: &'b str,
        /// The path; `/` if the URI has none.
        path: &'b str,
        /// The part after the first question mark, if there is one.
        query: Option<&'b str>,
    },
    /// `host:port`, with CONNECT only.
    Authority(&'b str),
    /// `*`, with OPTIONS only: the server as a whole.
    Asterisk,
}

impl<'b> Target<'b> {
    /// Returns the path for routing. Returns `*` for [`Asterisk`](Self::Asterisk), and the authority for
    /// [`Authority`](Self::Authority).
    pub const fn path(&self) -> &'b str {
        match self {
            Self::Origin { path, .. } | Self::Absolute { path, .. } => path,
            Self::Authority(authority) => authority,
            Self::Asterisk => "*",
        }
    }

    /// Returns the query, without its question mark.
    pub const fn query(&self) -> Option<&'b str> {
        match self {
            Self::Origin { query, .. } | Self::Absolute { query, .. } => *query,
            Self::Authority(_) | Self::Asterisk => None,
        }
    }

    /// Returns the host with its optional port, if the target has a host. This host takes precedence over the `Host`
    /// field (RFC 9112 §3.2.2).
    pub const fn authority(&self) -> Option<&'b str> {
        match self {
            Self::Absolute { authority, .. } | Self::Authority(authority) => Some(authority),
            Self::Origin { .. } | Self::Asterisk => None,
        }
    }

    /// Parses a target in the form that the method allows. The target must be visible ASCII. `is_plain` may be true
    /// only if the target has no `#`, `?` or `%`.
    #[inline(always)]
    pub(super) fn parse(method: &str, target: &'b str, is_plain: bool) -> Result<Self, HeadError> {
        if is_plain && target.starts_with('/') && method != "CONNECT" {
            return Ok(Self::Origin {
                path: target,
                query: None,
            });
        }
        Self::parse_any(method, target)
    }

    /// Parses a target in any form.
    fn parse_any(method: &str, target: &'b str) -> Result<Self, HeadError> {
        if memchr::memchr(b'#', target.as_bytes()).is_some() {
            return Err(HeadError::FragmentInTarget);
        }
        if method == "CONNECT" {
            return match is_authority(target, Port::Required) {
                true => Ok(Self::Authority(target)),
                false => Err(HeadError::ConnectNeedsAuthority),
            };
        }
        if target.starts_with('/') {
            let (path, query) = split_query(target);
            return Ok(Self::Origin { path, query });
        }
        if target == "*" {
            return match method {
                "OPTIONS" => Ok(Self::Asterisk),
                _ => Err(HeadError::AsteriskNeedsOptions),
            };
        }
        let (scheme, rest) = target
            .split_once("://")
            .filter(|(scheme, _)| is_scheme(scheme))
            .ok_or(HeadError::InvalidTarget)?;
        let (authority, tail) = rest
            .find(['/', '?'])
            .and_then(|at| rest.split_at_checked(at))
            .unwrap_or((rest, ""));
        // The check also refuses userinfo (`user@host`), because attackers use it to disguise the host (RFC 9110
        // §4.2.4).
        if !is_authority(authority, Port::Optional) {
            return Err(HeadError::InvalidAuthority);
        }
        let (path, query) = split_query(tail);
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self::Absolute {
            scheme,
            authority,
            path,
            query,
        })
    }
}

/// The rule for the port of an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Optional,
    Required,
}

/// Returns whether text is `host [":" port]` with a non-empty host and no userinfo (RFC 3986 §3.2).
pub(super) fn is_authority(text: &str, port: Port) -> bool {
    let bytes = text.as_bytes();
    let (host_is_valid, rest) = match text.split_at_checked(NAME.prefix_len(bytes)) {
        // Nearly every host is a name without escapes, or an IPv4 address.
        Some((name, rest)) if rest.is_empty() || rest.starts_with(':') => (!name.is_empty(), rest),
        _ => match text.strip_prefix('[') {
            Some(bracketed) => match bracketed.split_once(']') {
                Some((address, rest)) => (address.parse::<Ipv6Addr>().is_ok(), rest),
                None => return false,
            },
            None => {
                let end = memchr::memchr(b':', bytes).unwrap_or(text.len());
                let (host, rest) = text.split_at_checked(end).unwrap_or((text, ""));
                (is_reg_name(host), rest)
            }
        },
    };
    let port_is_valid = match rest.strip_prefix(':') {
        // The grammar allows `host:`, which means the default port.
        Some("") => port == Port::Optional,
        Some(digits) => is_port(digits),
        None => rest.is_empty() && port == Port::Optional,
    };
    host_is_valid && port_is_valid
}

/// Returns whether a text that is not empty is a number up to 65535, without a sign. The grammar allows leading zeros.
fn is_port(digits: &str) -> bool {
    let value = digits.bytes().try_fold(0_u32, |value, byte| {
        let value = match byte {
            b'0'..=b'9' => value * 10 + u32::from(byte - b'0'),
            _ => return None,
        };
        (value <= u32::from(u16::MAX)).then_some(value)
    });
    value.is_some()
}

/// The bytes of host names, except those of an escape (RFC 3986 §3.2.2).
static NAME: ByteSet = ByteSet::alphanumeric_and(b"-._~!$&'()*+,;=");

/// Returns whether text is a non-empty `reg-name` (RFC 3986 §3.2.2). Every IPv4 address is a `reg-name` too.
fn is_reg_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_valid = match byte {
            b'%' => [bytes.next(), bytes.next()]
                .iter()
                .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit())),
            byte => NAME.contains(byte),
        };
        if !is_valid {
            return false;
        }
    }
    !text.is_empty()
}

/// Returns whether text is a scheme (RFC 3986 §3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'?', text.as_bytes()).and_then(|at| text.split_at_checked(at)) {
        Some((path, query)) => (path, query.get(1..)),
        None => (text, None),
    }
}
