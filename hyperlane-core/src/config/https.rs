//! The settings of a server about `https`: redirects to it, and HSTS.

use std::{fmt::Write, time::Duration};

/// A plain port that redirects to `https`, for [`Server::redirect_to_https`](crate::Server::redirect_to_https). A text
/// converts to it: the address of the port.
///
/// The redirect is a 308. It keeps the host, the path and the query, and the method of the request. A host that the
/// server does not answer to ([`ServerConfig::allowed_hosts`](crate::ServerConfig)) gets a 421. Request middleware and
/// routes do not run.
///
/// ```
/// use hyperlane_core::{HttpsRedirect, Server};
///
/// let mut server = Server::new();
/// server.redirect_to_https(HttpsRedirect::at("0.0.0.0:80").except("/.well-known/acme-challenge/"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsRedirect {
    pub(crate) address: String,
    pub(crate) port: Option<u16>,
    excepted: Vec<String>,
}

impl HttpsRedirect {
    /// Listens on an address, in the form of [`Server::bind`](crate::Server::bind).
    pub fn at(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            port: None,
            excepted: Vec::new(),
        }
    }

    /// Sets the port in the targets of the redirects. Default: the port of the server's first address with TLS. Set it
    /// if clients reach that address at another port, such as the published port of a container.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Serves the paths with a prefix by the server's routes instead of a redirect. Authorities that issue certificates
    /// (ACME) read `/.well-known/acme-challenge/` without TLS.
    #[must_use]
    pub fn except(mut self, prefix: impl Into<String>) -> Self {
        self.excepted.push(prefix.into());
        self
    }

    /// Returns whether a request for the raw path is redirected.
    pub(crate) fn redirects(&self, path: &str) -> bool {
        // A path with a segment `..` could leave the excepted prefix.
        let is_plain = !path.contains("..") && !path.contains('%');
        let is_excepted = |prefix: &String| is_plain && path.starts_with(prefix.as_str());
        !self.excepted.iter().any(is_excepted)
    }

    /// Returns the target of a redirect. Returns `None` if the request names no host.
    pub(crate) fn location(&self, host: &str, target: &str) -> Option<String> {
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        if host.is_empty() {
            return None;
        }
        // A request may name its target as a whole URI (RFC 9112 §3.2.2).
        let path = match target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => rest
                .find('/')
                .map_or("/", |at| rest.get(at..).unwrap_or("/")),
            _ if target.starts_with('/') => target,
            _ => "/",
        };
        Some(match self.port {
            None | Some(443) => format!("https://{host}{path}"),
            Some(port) => format!("https://{host}:{port}{path}"),
        })
    }
}

impl<T: Into<String>> From<T> for HttpsRedirect {
    fn from(address: T) -> Self {
        Self::at(address)
    }
}

/// The field `strict-transport-security` (HSTS, RFC 6797): browsers then use only `https` for the host, for a time.
/// [`ServerConfig::hsts`](crate::ServerConfig) sets it.
///
/// The server adds the field to all responses over TLS, and to none over plain HTTP (RFC 6797 §7.2). A field that the
/// program has set stays.
///
/// ```
/// use std::time::Duration;
/// use hyperlane_core::{Hsts, ServerConfig};
///
/// let config = ServerConfig::default()
///     .hsts(Hsts::new(Duration::from_secs(365 * 24 * 3600)).include_subdomains());
/// # drop(config);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts {
    pub(crate) max_age: Duration,
    pub(crate) value: String,
}

impl Hsts {
    /// Makes browsers use only `https` for this time after each response. Whole seconds count. Zero makes browsers
    /// forget the rule.
    pub fn new(max_age: Duration) -> Self {
        Self {
            max_age,
            value: format!("max-age={}", max_age.as_secs()),
        }
    }

    /// Extends the rule to all subdomains of the host.
    #[must_use]
    pub fn include_subdomains(mut self) -> Self {
        let _ = write!(self.value, "; includeSubDomains");
        self
    }

    /// Allows that browsers ship the rule for the host, once it is submitted to their list. It cannot be undone soon.
    #[must_use]
    pub fn preload(mut self) -> Self {
        let _ = write!(self.value, "; preload");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_host_path_and_query() {
        let at = |port| HttpsRedirect {
            port,
            ..HttpsRedirect::at("0.0.0.0:80")
        };
        for (port, host, target, location) in [
            (None, "a.example", "/", "https://a.example/"),
            (
                Some(443),
                "a.example:80",
                "/a?b=c",
                "https://a.example/a?b=c",
            ),
            (
                Some(8443),
                "a.example:8080",
                "/a%2f",
                "https://a.example:8443/a%2f",
            ),
            (Some(8443), "[::1]:80", "//b", "https://[::1]:8443//b"),
            (None, "[::1]", "/", "https://[::1]/"),
            (
                None,
                "a.example",
                "http://a.example/x?y",
                "https://a.example/x?y",
            ),
            (None, "a.example", "http://a.example", "https://a.example/"),
            (None, "a.example", "*", "https://a.example/"),
            (
                None,
                "a.example",
                "/u?to=http://b/c",
                "https://a.example/u?to=http://b/c",
            ),
        ] {
            assert_eq!(at(port).location(host, target).as_deref(), Some(location));
        }
        assert_eq!(at(None).location("", "/"), None);
        assert_eq!(at(None).location(":80", "/"), None);
    }

    #[test]
    fn only_paths_below_an_excepted_prefix_are_served() {
        let acme = HttpsRedirect::at("0.0.0.0:80").except("/.well-known/acme-challenge/");
        assert!(!acme.redirects("/.well-known/acme-challenge/token"));
        for other in [
            "/",
            "/.well-known/acme-challenge",
            "/.well-known/acme-challenge/../../admin",
            "/.well-known/acme-challenge/%2e%2e/admin",
        ] {
            assert!(acme.redirects(other), "{other}");
        }
    }

    #[test]
    fn hsts_writes_its_directives() {
        let hsts = Hsts::new(Duration::from_secs(60))
            .include_subdomains()
            .preload();
        assert_eq!(hsts.value, "max-age=60; includeSubDomains; preload");
    }
}
