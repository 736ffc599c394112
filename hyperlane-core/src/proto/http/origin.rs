//! Origins as values (RFC 6454, WHATWG URL §4.7), and lists of origins that a server allows.
//!
//! Different texts can be the same origin: `HTTPS://App.Example:443` is `https://app.example`. As in browsers,
//! `app.example.` and `app.example` are different hosts.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::host::{ends_in_number, parse_v4, without_dot};

/// An origin: a scheme, a host and a port. An explicit default port of the scheme is the same as no port.
///
/// All schemes are valid: `capacitor://localhost`, `chrome-extension://id` or `file://`. The opaque origin `null` is
/// not a value of this type. Browsers send `null` for many unrelated pages, so equal `null` values do not mean the same
/// origin.
///
/// ```
/// use hyperlane_core::proto::http::origin::Origin;
///
/// let one: Origin = "https://App.Example:443".parse()?;
/// assert_eq!(one, "https://app.example".parse()?);
/// assert_eq!("http://[0::1]:3000".parse::<Origin>()?.to_string(), "http://[::1]:3000");
/// assert!("null".parse::<Origin>().is_err());
/// # Ok::<(), hyperlane_core::proto::http::origin::OriginError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The scheme, in lower case.
    scheme: String,
    host: Host,
    /// The port; `None` for the scheme's default port, or if the origin has no port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// A name in lower case; empty in `file://`.
    Name(String),
}

/// The reason why a text is not an [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The text is `null`, the origin that browsers send for sandboxed frames of any site.
    #[error(
        "`null` is the origin of any sandboxed frame: to allow all of them, use `dangerous_allow_null_origin`"
    )]
    Null,
    /// The text is not `scheme://host[:port]`.
    #[error(
        "{0:?} is not `scheme://host[:port]`, as browsers send it: without path and user, and with an ASCII host name (`xn--..`)"
    )]
    Form(String),
}

impl Origin {
    /// Returns the scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Returns the host: a name in lower case, or an address in its shortest form (IPv6 in brackets).
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    /// Returns the port. Without a port, returns the default port of the scheme, or `None` if the scheme has no default
    /// port.
    pub fn port(&self) -> Option<u16> {
        self.port.or_else(|| default_port(&self.scheme))
    }

    fn form(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let default_port = default_port(&scheme);
        let (host, port) = authority_of(authority, default_port.is_some())?;
        if host.is_empty() && (default_port.is_some() || port.is_some()) {
            return None;
        }
        Some(Self {
            scheme,
            host,
            port: port.filter(|_| port != default_port),
        })
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    /// Parses an origin in the form that browsers send. Also accepts the other spellings of the same origin, for
    /// example with upper case or an explicit default port.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let text = text.trim_ascii();
        if text.eq_ignore_ascii_case("null") {
            return Err(OriginError::Null);
        }
        Self::form(text).ok_or_else(|| OriginError::Form(text.to_owned()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Host {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Name(name) if name.is_empty())
    }

    /// Parses a host. `is_special` is true for schemes whose hosts are DNS names or addresses.
    fn parse(text: &str, is_special: bool) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[') {
            // The parser of `Ipv6Addr` refuses a zone (`%eth0`), as browsers do.
            return address.strip_suffix(']')?.parse().ok().map(Self::V6);
        }
        // Browsers never send wildcards or percent signs in a host. A host with such a character would match no page.
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/\\?#@:[]<>^|%*,;\"'`{}".contains(&byte));
        if !is_plain {
            return None;
        }
        match is_special && ends_in_number(without_dot(text)) {
            true => parse_v4(without_dot(text)).map(Self::V4),
            false => Some(Self::Name(text.to_ascii_lowercase())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(HTTP_PORT),
        "https" | "wss" => Some(HTTPS_PORT),
        "ftp" => Some(21),
        // The schemes of apps in web views and of browser extensions have no default port.
        _ => None,
    }
}

/// Splits `host[:port]`. Refuses userinfo, a path, a query and a fragment.
fn authority_of(text: &str, is_special: bool) -> Option<(Host, Option<u16>)> {
    // The search for the port starts after the brackets of an IPv6 address, because the address itself contains colons.
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
        "" => None,
        // `u16::from_str` would accept a sign.
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        _ => return None,
    };
    Some((Host::parse(host, is_special)?, port))
}

/// Returns whether a text stands for several origins of a scheme: `https://*.app.example`, `http://localhost:*`.
pub(crate) fn is_origin_pattern(text: &str) -> bool {
    Pattern::parse(text.trim_ascii()).is_some_and(|pattern| pattern.scheme.is_some())
}

/// The origins whose pages may use a server, in addition to the server's own origin.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowedOrigins {
    entries: Vec<Entry>,
    pub(crate) null: bool,
    pub(crate) any: bool,
    /// The error for the first invalid entry.
    refused: Option<OriginError>,
}

#[derive(Clone, Debug)]
enum Entry {
    Origin(Origin),
    /// The origins of a host with any scheme. Without a port, the origin must have the default port of its scheme.
    Host(Host, Option<u16>),
    Pattern(Pattern),
}

/// Several origins: `https://*.app.example`, `http://localhost:*`.
#[derive(Clone, Debug)]
struct Pattern {
    /// The scheme, in lower case. `None` for any scheme.
    scheme: Option<String>,
    host: Host,
    /// True if the pattern means the subdomains of the host, and not the host itself.
    subdomains: bool,
    port: PortPattern,
}

#[derive(Clone, Copy, Debug)]
enum PortPattern {
    Any,
    /// `None` for the default port of the scheme.
    One(Option<u16>),
}

impl Pattern {
    /// Parses a pattern. Returns `None` for a text that has no `*` at one of the two places.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme, authority)) => (Some(scheme), authority),
            None => (None, text),
        };
        let below = authority.strip_prefix("*.");
        let subdomains = below.is_some();
        let authority = below.unwrap_or(authority);
        let (authority, any_port) = match authority.strip_suffix(":*") {
            Some(authority) => (authority, true),
            None => (authority, false),
        };
        if !subdomains && !any_port {
            return None;
        }
        let (scheme, host, port) = match scheme {
            Some(scheme) => {
                let origin = Origin::form(&format!("{scheme}://{authority}"))?;
                (Some(origin.scheme), origin.host, origin.port)
            }
            None => {
                let (host, port) = authority_of(authority, true)?;
                (None, host, port)
            }
        };
        let is_name = matches!(host, Host::Name(_));
        if host.is_empty() || (subdomains && !is_name) || (any_port && port.is_some()) {
            return None;
        }
        let port = match any_port {
            true => PortPattern::Any,
            false => PortPattern::One(port),
        };
        Some(Self {
            scheme,
            host,
            subdomains,
            port,
        })
    }

    fn has(&self, origin: &Origin) -> bool {
        let is_scheme = self
            .scheme
            .as_ref()
            .is_none_or(|scheme| *scheme == origin.scheme);
        let is_host = match (&self.host, &origin.host) {
            (Host::Name(above), Host::Name(name)) if self.subdomains => name
                .strip_suffix(above.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
            (own, host) => own == host,
        };
        let is_port = match self.port {
            PortPattern::Any => true,
            PortPattern::One(port) => {
                port.or_else(|| default_port(&origin.scheme)) == origin.port()
            }
        };
        is_scheme && is_host && is_port
    }
}

impl AllowedOrigins {
    /// Adds an origin, `host[:port]` for any scheme, or a pattern with `*.` before the host or `*` as the port. Does
    /// not add an invalid text. [`refused`](Self::refused) returns the error for the first invalid text.
    pub(crate) fn add(&mut self, text: &str) {
        let text = text.trim_ascii();
        if let Some(pattern) = Pattern::parse(text) {
            self.entries.push(Entry::Pattern(pattern));
            return;
        }
        match text.parse() {
            Ok(origin) => self.entries.push(Entry::Origin(origin)),
            Err(error) => match (&error, authority_of(text, true)) {
                (OriginError::Form(_), Some((host, port))) if !host.is_empty() => {
                    self.entries.push(Entry::Host(host, port));
                }
                _ => {
                    self.refused.get_or_insert(error);
                }
            },
        }
    }

    pub(crate) fn of<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut allowed = Self::default();
        for text in texts {
            allowed.add(text.as_ref());
        }
        allowed
    }

    /// Returns the error for the first invalid entry.
    pub(crate) fn refused(&self) -> Option<&OriginError> {
        self.refused.as_ref()
    }

    /// Returns whether the list is empty. With an empty list, only the server's own pages may use the server.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.null && !self.any
    }

    /// Returns whether the list contains an origin, as the field `Origin` names it.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.has(&Page::parse(origin.trim_ascii()))
    }

    /// Returns whether the list contains the origin of a page.
    fn has(&self, page: &Page) -> bool {
        self.any
            || match page {
                Page::Origin(origin) => self.entries.iter().any(|entry| match entry {
                    Entry::Origin(known) => known == origin,
                    Entry::Pattern(pattern) => pattern.has(origin),
                    Entry::Host(host, port) => {
                        *host == origin.host
                            && port.or_else(|| default_port(&origin.scheme)) == origin.port()
                    }
                }),
                Page::Null => self.null,
                Page::Malformed => false,
            }
    }
}

/// The page that sent a request, as the `Origin` field of the request names it.
enum Page {
    Origin(Origin),
    Null,
    Malformed,
}

impl Page {
    fn parse(text: &str) -> Self {
        match text {
            "null" => Self::Null,
            text => text.parse().map_or(Self::Malformed, Self::Origin),
        }
    }

    /// Returns whether the page has the server's own origin. For a `host` without a port, assumes the default port of
    /// the page's scheme. `secure` is true if the server is known to be reached over TLS.
    fn is_of(&self, host: &str, secure: bool) -> bool {
        let Self::Origin(page) = self else {
            return false;
        };
        // Without TLS, the server accepts an https page of the same host, because a proxy in front of the server may
        // have terminated TLS. With TLS, the server refuses an http page, because an attacker on the network could have
        // forged the page.
        let scheme_fits = match page.scheme.as_str() {
            "https" => true,
            "http" => !secure,
            _ => false,
        };
        let own = authority_of(host, true);
        scheme_fits
            && own.is_some_and(|(host, port)| {
                host == page.host && port.or_else(|| default_port(&page.scheme)) == page.port()
            })
    }
}

/// Returns whether pages of `origin` may use the server at `host`. Allows the server's own origin and every origin in
/// one of the lists.
pub(crate) fn is_allowed(
    origin: &str,
    host: &str,
    secure: bool,
    lists: &[&AllowedOrigins],
) -> bool {
    if lists.iter().any(|list| list.any) {
        return true;
    }
    let page = Page::parse(origin.trim_ascii());
    page.is_of(host.trim_ascii(), secure) || lists.iter().any(|list| list.has(&page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_parse_to_one_origin_are_one() {
        for (one, other) in [
            ("https://app.example", "HTTPS://App.Example:443"),
            ("http://app.example", "http://app.example:"),
            ("http://app.example:8080", " http://app.example:08080 "),
            ("http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000"),
            ("https://[2001:db8::a]", "https://[2001:0DB8::000A]:443"),
            ("http://[::ffff:1.2.3.4]", "http://[::FFFF:102:304]"),
            ("http://127.0.0.1", "http://127.1"),
            ("http://127.0.0.1", "http://0x7f.1:80"),
            ("http://127.0.0.1:1", "http://2130706433:1"),
            ("http://127.0.0.1", "http://0177.0.0.1."),
            ("http://0.0.0.0", "http://0x"),
            ("http://127.0.0.1", "http://127.0x.1"),
            ("file://", "FILE://"),
            ("capacitor://localhost", "Capacitor://LOCALHOST"),
        ] {
            let [one, other] = [one, other].map(str::parse::<Origin>);
            assert_eq!(one, other);
            let one = one.unwrap();
            assert_eq!(one.to_string().parse(), Ok(one), "as it is written");
        }
    }

    #[test]
    fn what_is_another_origin_stays_one() {
        for (one, other) in [
            ("http://app.example", "https://app.example"),
            ("http://app.example", "http://app.example:8080"),
            ("http://app.example", "http://app.example."),
            ("http://app.example", "http://www.app.example"),
            ("http://app.example:443", "https://app.example"),
            ("http://[::1]", "http://127.0.0.1"),
            ("app://localhost", "capacitor://localhost"),
            ("app://1", "app://0.0.0.1"),
            ("app://a:80", "app://a"),
        ] {
            let [one, other] = [one, other].map(|text| text.parse::<Origin>().unwrap());
            assert_ne!(one, other);
        }
    }

    #[test]
    fn every_scheme_can_be_named() {
        for (text, port) in [
            ("file://", None),
            ("capacitor://localhost", None),
            ("tauri://localhost", None),
            ("ionic://localhost", None),
            ("app://.", None),
            ("qrc://", None),
            ("chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb", None),
            ("moz-extension://8c2b6b4e-6d3a-4b1e-9d0e-0f2d2a1c9b11", None),
            ("ms-appx-web://com.example.app_1", None),
            ("http://tauri.localhost", Some(80)),
            ("https://xn--bcher-kva.example", Some(443)),
            ("http://under_score.example:1", Some(1)),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!((origin.to_string().as_str(), origin.port()), (text, port));
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in ["null", " NULL "] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError::Null));
        }
        for text in [
            "",
            "*",
            "example.com",
            "://a",
            "1a://a",
            "a b://a",
            "https://",
            "https://:443",
            "file://:1",
            "http://a/",
            "http://a/path",
            "http://a?b",
            "http://a#b",
            "http://user@a",
            "http://a b",
            "http://a, http://b",
            "http://*.a",
            "http://b%C3%BCcher",
            "http://bücher",
            "http://a:+80",
            "http://a:99999",
            "http://a:b",
            "http://[::1",
            "http://::1",
            "http://[::1%eth0]",
            "http://[::1]a",
            "http://a[::1]",
            "http://1.2.3.4.5",
            "http://256.0.0.1",
            "http://1.2.3.09",
            "http://a.0x1g.1",
            "http://4294967296",
            "http://0x100000000",
            "http://0xfffffffffffffffffffff",
            "http://app.0x100000000",
        ] {
            assert!(
                matches!(text.parse::<Origin>(), Err(OriginError::Form(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn null_is_allowed_by_its_own_setting_alone() {
        let allows = |list: &AllowedOrigins| is_allowed("null", "null", false, &[list]);
        let mut list = AllowedOrigins::of(["null", "Null", "file://"]);
        assert_eq!(list.refused(), Some(&OriginError::Null));
        assert!(!allows(&list));
        list.null = true;
        assert!(allows(&list));
        assert!(!is_allowed("http://evil.example", "a", false, &[&list]));
    }

    #[test]
    fn a_list_takes_origins_and_hosts_and_keeps_what_it_cannot_take() {
        let list = AllowedOrigins::of([
            "https://a.example",
            "b.example:8443",
            "c.example",
            "[::1]:1",
        ]);
        let allows = |origin: &str| is_allowed(origin, "own.example", false, &[&list]);
        for origin in [
            "https://A.example:443",
            "http://b.example:8443",
            "app://b.example:8443",
            "http://c.example",
            "https://c.example",
            "http://[0::1]:1",
        ] {
            assert!(allows(origin), "{origin}");
        }
        for origin in [
            "http://a.example",
            "https://b.example",
            "http://c.example:81",
            "http://[::1]",
        ] {
            assert!(!allows(origin), "{origin}");
        }
        assert_eq!(list.refused(), None);
        for wrong in ["https://a/", "*", "", "a/b", "https://"] {
            let list = AllowedOrigins::of([wrong]);
            assert_eq!(list.refused(), Some(&OriginError::Form(wrong.to_owned())));
            assert!(list.is_empty());
        }
    }

    #[test]
    fn patterns_take_subdomains_and_ports() {
        let list = AllowedOrigins::of([
            "https://*.app.example",
            "http://localhost:*",
            "*.b.example:8443",
        ]);
        assert_eq!(list.refused(), None);
        for origin in [
            "https://a.app.example",
            "https://A.B.App.example:443",
            "http://localhost",
            "http://localhost:65535",
            "https://x.b.example:8443",
        ] {
            assert!(list.allows(origin), "{origin}");
        }
        for origin in [
            "https://app.example",
            "https://.app.example",
            "https://evilapp.example",
            "https://a.app.example:8443",
            "http://a.app.example",
            "https://a.app.example.evil.example",
            "https://localhost:1",
            "http://evil.localhost:1",
            "https://x.b.example",
            "null",
            "",
        ] {
            assert!(!list.allows(origin), "{origin}");
        }
        for wrong in [
            "https://*",
            "https://*.",
            "https://*.1.2.3.4",
            "https://a.*.b",
            "https://**.a",
            "http://a:1:*",
        ] {
            assert!(AllowedOrigins::of([wrong]).refused().is_some(), "{wrong}");
        }
    }

    #[test]
    fn a_page_that_could_be_made_on_the_way_is_not_the_own_one_of_a_secure_server() {
        let own = |origin: &str, host: &str, secure| is_allowed(origin, host, secure, &[]);
        assert!(own("https://a.example", "a.example", false));
        assert!(own("https://a.example:8443", "a.example:8443", true));
        assert!(!own("http://a.example:8443", "a.example:8443", true));
        assert!(!own("http://a.example:443", "a.example", true));
        assert!(!own("app://a.example:80", "a.example", false));
        assert!(!own("file://", "", false));
    }
}
