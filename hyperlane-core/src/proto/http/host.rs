//! The hosts that a server answers to.
//!
//! The check of the host prevents DNS rebinding. In this attack, the attacker first serves a page to a browser, and
//! then lets the page's host name resolve to the server's address. The browser then sends the page's requests to the
//! server, and treats page and server as one origin.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Maximum length of a host in an error, in characters. DNS names are shorter.
const SHOWN: usize = 255;

/// A host that a server answers to: `app.example` at any port, `app.example:8443` at that port, `*.app.example` for all
/// subdomains, or an address such as `192.0.2.1`, `[::1]` or `::1`.
///
/// The comparison ignores case and a trailing dot. All notations of an address that browsers accept are equal. An
/// allowed host with port 80 or 443 also matches a host without a port.
///
/// ```
/// use hyperlane_core::proto::http::host::AllowedHost;
///
/// let below: AllowedHost = "*.app.example".parse().unwrap();
/// assert!(below.matches("a.b.App.Example:8080"));
/// assert!(!below.matches("app.example"));
/// assert!("https://app.example".parse::<AllowedHost>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    name: Allowed,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Address(IpAddr),
    Name(Box<str>),
    /// The suffix of all subdomains. The suffix begins with a dot.
    Below(Box<str>),
}

/// The error for a text that is not an [`AllowedHost`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not `name`, `name:port`, `*.name` or an address: omit scheme and path, and write a name that is not \
     ASCII as browsers send it (`xn--..`)"
)]
pub struct AllowedHostError(String);

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(text: &str) -> Result<Self, AllowedHostError> {
        let wrong = || AllowedHostError(text.to_owned());
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self {
                name: Allowed::Address(IpAddr::V6(address).to_canonical()),
                port: None,
            });
        }
        let (host, port) = split_port(text);
        let port = match port {
            Some(port) => Some(parse_port(port).ok_or_else(wrong)?),
            None => None,
        };
        let host = without_dot(host);
        let name = match (parse_address(host), host.strip_prefix('*')) {
            (Some(address), _) => Allowed::Address(address),
            (None, Some(below)) if below.strip_prefix('.').is_some_and(is_name) => {
                Allowed::Below(below.into())
            }
            (None, None) if is_name(host) => Allowed::Name(host.into()),
            _ => return Err(wrong()),
        };
        Ok(Self { name, port })
    }
}

impl AllowedHost {
    /// Returns whether a request's host, with or without a port, matches this allowed host.
    pub fn matches(&self, host: &str) -> bool {
        let (name, port) = split_port(host);
        let is_port = match (self.port, port) {
            (None, _) => true,
            // A host without a port means port 80, or port 443 with TLS. It matches an entry with either port, because
            // the function does not know whether a proxy in front of the server terminates TLS.
            (Some(80 | 443), None | Some("")) => true,
            (Some(wanted), port) => port.and_then(parse_port) == Some(wanted),
        };
        let name = without_dot(name);
        is_port
            && match &self.name {
                Allowed::Address(address) => parse_address(name) == Some(*address),
                Allowed::Name(wanted) => name.eq_ignore_ascii_case(wanted),
                Allowed::Below(suffix) => is_below(name, suffix),
            }
    }
}

/// Returns whether a host, with or without a port, names this machine: `localhost` and its subdomains (RFC 6761 §6.3),
/// `127.0.0.0/8` in any notation that browsers accept, or `[::1]`.
///
/// ```
/// use hyperlane_core::proto::http::host::is_loopback;
///
/// assert!(is_loopback("app.localhost:8080"));
/// assert!(is_loopback("[::1]"));
/// assert!(!is_loopback("localhost.example"));
/// ```
pub fn is_loopback(host: &str) -> bool {
    // This loop is a fast path for the two hosts of nearly all local requests.
    for usual in ["127.0.0.1", "localhost"] {
        if let Some(rest) = host.strip_prefix(usual)
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_number))
        {
            return true;
        }
    }
    let name = without_dot(split_port(host).0);
    name.eq_ignore_ascii_case("localhost")
        || is_below(name, ".localhost")
        || parse_address(name).is_some_and(|address| address.is_loopback())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The error for a request whose host the server does not answer to. The error text tells the operator what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this server does not answer to host `{host}`: add it to `allowed_hosts`, or, if a proxy in front passes it on, add \
     the proxy's address to `trusted_proxies`"
)]
pub struct HostRefused {
    host: String,
}

impl HostRefused {
    pub(crate) fn new(host: &str) -> Self {
        Self {
            host: host.chars().take(SHOWN).collect(),
        }
    }

    /// Returns the requested host with its port, at most 255 characters.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Splits `host[:port]`. Ignores colons within the brackets of an IPv6 address.
fn split_port(host: &str) -> (&str, Option<&str>) {
    let bracket = host.strip_prefix('[').and_then(|rest| rest.find(']'));
    let after_name = bracket.map_or(0, |bracket| bracket + 2);
    let colon = host.get(after_name..).and_then(|rest| rest.find(':'));
    match colon.and_then(|colon| host.split_at_checked(after_name + colon)) {
        Some((name, port)) => (name, port.get(1..)),
        None => (host, None),
    }
}

/// Parses digits. Refuses a sign, which `u16::from_str` would accept.
fn parse_port(port: &str) -> Option<u16> {
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|_| is_number)
}

/// Removes a trailing dot, which stands for the DNS root.
pub(super) fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    name.split('.')
        .all(|label| !label.is_empty() && label.bytes().all(is_part))
}

/// Returns whether a name is one or more labels followed by `suffix`. The suffix begins with a dot.
fn is_below(name: &str, suffix: &str) -> bool {
    let front = name
        .len()
        .checked_sub(suffix.len())
        .and_then(|front| name.split_at_checked(front));
    front.is_some_and(|(front, end)| {
        !front.is_empty() && !front.ends_with('.') && end.eq_ignore_ascii_case(suffix)
    })
}

/// Parses an address. An IPv6 address must be in brackets. Converts an IPv4-mapped IPv6 address to IPv4.
fn parse_address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
            Some(IpAddr::V6(address).to_canonical())
        }
        None => parse_v4(host).map(IpAddr::V4),
    }
}

/// Returns whether the last label of a host is a number. The host must not end with a dot. The last label of a domain
/// name is never a number, so such a host must be an IPv4 address (WHATWG URL §3.5).
pub(super) fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    // A label of digits alone is a number in this check, even if it is no valid octal number.
    is_number(last) || parse_number(last).is_some()
}

/// Parses an IPv4 address without a trailing dot as browsers do (WHATWG URL §3.5): up to four numbers between dots. A
/// number is octal after `0`, hexadecimal after `0x` and otherwise decimal. The last number fills the remaining bits.
pub(super) fn parse_v4(host: &str) -> Option<Ipv4Addr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let (front, last) = match host.rsplit_once('.') {
        Some((front, last)) => (Some(front), last),
        None => (None, host),
    };
    let mut bits = 0;
    let mut free = 32;
    for part in front.into_iter().flat_map(|front| front.split('.')) {
        free -= 8;
        if free == 0 {
            return None;
        }
        let number = parse_number(part).filter(|number| *number < 256)?;
        bits |= number << free;
    }
    let last = parse_number(last).filter(|number| *number < 1 << free)?;
    u32::try_from(bits | last).ok().map(Ipv4Addr::from_bits)
}

/// Parses a number of an IPv4 address. `0x` without digits is 0. A number that is too large becomes `u64::MAX`.
fn parse_number(text: &str) -> Option<u64> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match (hex, text.strip_prefix('0')) {
        _ if text.is_empty() => return None,
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    digits.chars().try_fold(0u64, |number, digit| {
        let digit = u64::from(digit.to_digit(radix)?);
        Some(
            number
                .saturating_mul(u64::from(radix))
                .saturating_add(digit),
        )
    })
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Allowed::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Allowed::Address(address) => address.fmt(f)?,
            Allowed::Name(name) => f.write_str(name)?,
            Allowed::Below(suffix) => write!(f, "*{suffix}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn loopback_names_are_known_in_every_form() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "localhost.:8080",
            "app.localhost",
            "a.b.LOCALHOST.:1",
            "127.0.0.1",
            "127.0.0.1.",
            "127.255.0.9:80",
            "127.1",
            "127.0.1:8080",
            "2130706433",
            "0x7f000001",
            "0x7F.0.0.1",
            "0177.0.0.01",
            "127.0x.0X.1",
            "127.0.0.0000000000000000000000000001",
            "[::1]",
            "[::1]:8080",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]:80",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            ".",
            ".localhost",
            "a..localhost",
            "localhost..",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "127.evil.example",
            "evil-localhost",
            "notlocalhost",
            "evil.example",
            "evil.example:127.0.0.1",
            "0.0.0.0",
            "128.0.0.1",
            "127.0.0.0.1",
            "127.0.0.256",
            "127.0.0.-1",
            "+127.1",
            "127.+1",
            "127..1",
            "0x",
            "0x.127.0.1",
            "127.0.0.08",
            "4294967296",
            "0x1000000007f000001",
            "10.0.0.1",
            "[::]",
            "[::2]",
            "[::127.0.0.1]",
            "[::1]evil.example",
            "::1",
            "%6cocalhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_host_is_allowed_with_its_port_or_with_any() {
        for (entry, allowed, refused) in [
            (
                "app.example",
                &["app.example", "APP.example.:8080", "app.example:80"][..],
                &["a.app.example", "app.example.evil", "xapp.example", ""][..],
            ),
            (
                "App.Example.:8443",
                &["app.example:8443", "app.example.:8443"],
                &["app.example", "app.example:443", "app.example:08443x"],
            ),
            (
                "app.example:443",
                &["app.example", "app.example:", "app.example:443"],
                &["app.example:80"],
            ),
            (
                "*.app.example",
                &["a.app.example", "A.B.app.EXAMPLE:1"],
                &[
                    "app.example",
                    ".app.example",
                    "aapp.example",
                    "a.app.example.b",
                ],
            ),
            (
                "*.app.example:8080",
                &["a.app.example:8080"],
                &["a.app.example", "a.app.example:80"],
            ),
            ("192.0.2.1", &["192.0.2.1", "192.0.2.1:80"], &["192.0.2.11"]),
            (
                "[2001:db8::1]:80",
                &["[2001:DB8:0::1]", "[2001:db8::1]:80"],
                &["[2001:db8::1]:81"],
            ),
            ("2001:db8::1", &["[2001:db8::1]:81"], &["2001:db8::1"]),
            (
                "0.0.0.0",
                &["0x", "0X.0x.0.00", "0"],
                &["", "x", "0xg", "0.."],
            ),
            ("::ffff:192.0.2.1", &["192.0.2.1"], &["[::192.0.2.1]"]),
        ] {
            let parsed: AllowedHost = entry.parse().unwrap();
            assert_eq!(parsed.to_string().parse(), Ok(parsed.clone()));
            for host in allowed {
                assert!(parsed.matches(host), "{host} by {entry}");
            }
            for host in refused {
                assert!(!parsed.matches(host), "{host} by {entry}");
            }
        }
        for wrong in [
            "",
            ".",
            "*",
            "*.",
            "**.a",
            "a.*",
            "*a.example",
            ".app.example",
            "a..b",
            "https://app.example",
            "app.example/",
            "u@app.example",
            "app.example:",
            "app.example:+80",
            "app.example:65536",
            "bücher.example",
            "a b",
            "[::1",
            "[::1]x",
            "[app.example]",
        ] {
            let error = wrong.parse::<AllowedHost>().unwrap_err();
            assert!(error.to_string().contains("xn--"), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_names_host_and_mends_and_is_short() {
        let text = HostRefused::new(&"x".repeat(10_000)).to_string();
        assert!(text.len() < 512);
        for part in ["xxx", "`allowed_hosts`", "`trusted_proxies`"] {
            assert!(text.contains(part), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_name_below_another_is_loopback(name in "[ -~]{0,40}") {
            let below = format!("{name}.evil.example");
            prop_assert!(!is_loopback(&below));
        }

        #[test]
        fn no_text_breaks_the_readers(text in "\\PC{0,40}") {
            let _ = is_loopback(&text);
            if let Ok(host) = text.parse::<AllowedHost>() {
                prop_assert_eq!(host.to_string().parse(), Ok(host));
            }
        }
    }
}
