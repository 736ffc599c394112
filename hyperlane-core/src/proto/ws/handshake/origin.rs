//! The check of `Origin` (RFC 6455 §10.2). Without this check, any page could open a WebSocket to the server, and the
//! browser of the page's visitor would send the visitor's cookies for the server.

use crate::proto::http::origin::{AllowedOrigins, is_allowed};

/// The error for a page from another origin. The error text contains the origin and the host, and tells the operator
/// what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "origin `{origin}` does not match host `{host}`: add it to the allowed origins, or, behind a \
     proxy, pass the client's Host on or trust the proxy"
)]
pub struct OriginRefused {
    origin: String,
    host: String,
}

impl OriginRefused {
    pub(crate) fn new(origin: &str, host: &str) -> Self {
        Self {
            origin: origin.trim_ascii().into(),
            host: host.into(),
        }
    }

    /// Returns the refused `Origin` value.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the host, including its port, with which the check compared the origin.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Checks the `Origin` of a request for a WebSocket or an event stream.
///
/// The function allows a request in each of these cases:
///
/// - There is no `Origin`. Browsers send `Origin` with every WebSocket handshake, and with every `EventSource` request
///   to another origin. So the client is not a WebSocket or `EventSource` of a page from another origin.
/// - The origin has the same host and port as `host`, the server's own host. If a port is missing, the default port of
///   the page's scheme applies. If `secure` is true, the page must be an https page. Otherwise the page may be an http
///   or https page, because a proxy in front of the server may terminate TLS.
/// - The origin is an entry of `allowed`. An entry is an [origin](crate::proto::http::origin::Origin) such as
///   `https://app.example`, or a host such as `app.example:8443`.
/// - `any` is true.
///
/// Sandboxed pages and files have the origin `null`. Only `any` allows `null`. An entry `null` in `allowed` has no
/// effect.
///
/// # Errors
///
/// Returns [`OriginRefused`] for every other origin.
///
/// ```
/// use hyperlane_core::proto::ws::handshake::origin_allowed;
///
/// let check = |origin| origin_allowed(Some(origin), "chat.example", true, &[], false);
/// assert!(check("https://chat.example:443").is_ok());
/// assert!(check("https://evil.example").is_err());
/// ```
pub fn origin_allowed(
    origin: Option<&str>,
    host: &str,
    secure: bool,
    allowed: &[String],
    any: bool,
) -> Result<(), OriginRefused> {
    let mut allowed = AllowedOrigins::of(allowed);
    allowed.any = any;
    origin.map_or(Ok(()), |origin| {
        check_origin(origin, host, secure, &[&allowed])
    })
}

/// Checks one `Origin` like [`origin_allowed`], but against several lists of allowed origins.
pub(crate) fn check_origin(
    origin: &str,
    host: &str,
    secure: bool,
    lists: &[&AllowedOrigins],
) -> Result<(), OriginRefused> {
    match is_allowed(origin, host, secure, lists) {
        true => Ok(()),
        false => Err(OriginRefused::new(origin, host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: &str, host: &str, secure: bool) -> bool {
        origin_allowed(Some(origin), host, secure, &[], false).is_ok()
    }

    #[test]
    fn the_own_host_is_allowed_with_ports_filled_in() {
        for (origin, host, secure) in [
            ("http://example.com", "example.com", false),
            ("http://example.com:80", "example.com", false),
            ("http://example.com", "example.com:80", false),
            ("https://example.com", "example.com:443", true),
            ("https://EXAMPLE.com", "example.COM", true),
            ("http://localhost:3000", "localhost:3000", false),
            ("http://[::1]:3000", "[::1]:3000", false),
            ("https://[::1]", "[::1]", true),
            ("https://example.com", "example.com", false),
        ] {
            assert!(check(origin, host, secure), "{origin} at {host}");
        }
    }

    #[test]
    fn another_origin_is_refused() {
        for (origin, host, secure) in [
            ("null", "example.com", false),
            ("", "example.com", false),
            ("null", "null", false),
            ("http://evil.com", "example.com", false),
            ("http://example.com.evil.com", "example.com", false),
            ("http://evil.com/example.com", "example.com", false),
            ("http://example.com@evil.com", "example.com", false),
            ("http://example.com/", "example.com", false),
            ("http://example.com:8080", "example.com", false),
            ("http://example.com", "example.com", true),
            ("https://example.com", "example.com:80", false),
            ("https://example.com:8443", "example.com", false),
            ("http://example.com:+80", "example.com", false),
            ("http://example.com:99999", "example.com", false),
            ("http://", "", false),
            ("example.com", "example.com", false),
        ] {
            assert!(!check(origin, host, secure), "{origin} at {host}");
        }
    }

    #[test]
    fn no_origin_is_not_a_browser() {
        assert_eq!(
            origin_allowed(None, "example.com", true, &[], false),
            Ok(())
        );
    }

    #[test]
    fn listed_origins_and_any_are_allowed() {
        let allowed = [
            "https://app.example",
            "b.example:8443",
            "null",
            "app://local",
        ]
        .map(String::from);
        let check =
            |origin| origin_allowed(Some(origin), "own.example", true, &allowed, false).is_ok();
        assert!(check("https://app.example:443"));
        assert!(check("https://b.example:8443"));
        assert!(check("http://b.example:8443"));
        assert!(check("app://local"));
        assert!(!check("http://app.example"));
        assert!(!check("https://b.example"));
        assert!(!check("null"));
        assert_eq!(
            origin_allowed(Some("null"), "own.example", true, &[], true),
            Ok(())
        );
    }

    #[test]
    fn the_refusal_names_both_values_and_the_mend() {
        let refused = origin_allowed(Some("https://a.example"), "b.example", true, &[], false);
        let error = refused.unwrap_err();
        assert_eq!(
            (error.origin(), error.host()),
            ("https://a.example", "b.example")
        );
        for part in [
            "https://a.example",
            "b.example",
            "allowed origins",
            "pass the client's Host on",
        ] {
            assert!(error.to_string().contains(part));
        }
    }
}
