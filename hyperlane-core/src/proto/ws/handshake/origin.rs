//! Which pages may open a connection (RFC 6455 §10.2): without this check any page could use the
//! cookies of its visitor.

/// Says why a page of another origin was refused; the text names both sides and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "origin `{origin}` does not match host `{host}`: add it to the allowed origins, or, behind a \
     proxy, have it pass the client's Host on or trust it"
)]
pub struct OriginRefused {
    origin: String,
    host: String,
}

impl OriginRefused {
    /// Gives the refused `Origin` value.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Gives the host that it was held against, with its port.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Checks the `Origin` of a request for a WebSocket or an event stream.
///
/// Allowed are: no `Origin`, as every browser sends one; the server's own host and port, where a
/// missing port is that of the scheme (`secure` is the server's; an https page is taken for its own by a
/// plain server, too, as TLS may end in front of it); what `allowed` lists, either whole
/// origins such as `https://app.example` or hosts such as `app.example:8443`; and everything if
/// `any`. `null`, the origin of sandboxed pages and files, is nobody's and only allowed by `any`.
///
/// # Errors
///
/// [`OriginRefused`] for every other origin.
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
    let Some(origin) = origin.map(str::trim_ascii).filter(|_| !any) else {
        return Ok(());
    };
    let is_allowed = Origin::parse(origin).is_some_and(|page| {
        // A page that came by TLS from this very host shows that a proxy ends it in front of us. The other
        // way round, anyone on the way could have made the page.
        let own_port = match secure || page.default_port == HTTPS_PORT {
            true => HTTPS_PORT,
            false => HTTP_PORT,
        };
        let own = Authority::parse(host.trim_ascii(), own_port);
        own.is_some_and(|own| own.matches(&page.authority))
            || allowed
                .iter()
                .any(|entry| page.is_listed_as(entry.trim_ascii()))
    });
    match is_allowed {
        true => Ok(()),
        false => Err(OriginRefused {
            origin: origin.into(),
            host: host.into(),
        }),
    }
}

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// An origin in its parts (RFC 6454 §6.2).
struct Origin<'a> {
    scheme: &'a str,
    default_port: u16,
    authority: Authority<'a>,
}

impl<'a> Origin<'a> {
    /// `None` for what is no tuple origin, such as `null`.
    fn parse(origin: &'a str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let default_port = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => HTTP_PORT,
            _ if scheme.eq_ignore_ascii_case("https") => HTTPS_PORT,
            // Apps in web views have schemes of their own, without ports; they can be listed.
            _ => 0,
        };
        let authority = Authority::parse(authority, default_port)?;
        Some(Self {
            scheme,
            default_port,
            authority,
        })
    }

    fn is_listed_as(&self, entry: &str) -> bool {
        match Origin::parse(entry) {
            Some(entry) => {
                entry.scheme.eq_ignore_ascii_case(self.scheme)
                    && entry.authority.matches(&self.authority)
            }
            None => Authority::parse(entry, self.default_port)
                .is_some_and(|entry| entry.matches(&self.authority)),
        }
    }
}

struct Authority<'a> {
    host: &'a str,
    port: u16,
}

impl<'a> Authority<'a> {
    /// Splits `host[:port]`; refuses whatever else a URL can have there.
    fn parse(text: &'a str, default_port: u16) -> Option<Self> {
        // Colons within the brackets of an IPv6 address are not the port's.
        let after_host = text.rfind(']').map_or(0, |bracket| bracket + 1);
        let colon = text
            .get(after_host..)?
            .find(':')
            .map(|colon| after_host + colon);
        let (host, port) = match colon {
            Some(colon) => (text.get(..colon)?, text.get(colon + 1..)?),
            None => (text, ""),
        };
        let port = match port {
            "" => default_port,
            // `u16::from_str` would take a sign.
            port if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
            _ => return None,
        };
        let is_plain = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ', ',']);
        is_plain.then_some(Self { host, port })
    }

    fn matches(&self, other: &Authority<'_>) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(other.host)
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
