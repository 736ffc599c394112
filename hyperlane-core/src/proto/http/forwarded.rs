//! Who a request comes from when proxies stand in between: `Forwarded` (RFC 7239), `X-Forwarded-For`,
//! and which of their lines can be believed.
//!
//! Every proxy adds the address of whoever spoke to it at the right end. Read from the right, a line is
//! as good as the proxy that wrote it: the last one was written by our peer, the one before by the proxy
//! that it names, and so on. The first address that is not a trusted proxy's is the client; what stands
//! further left anyone may have made up.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use super::is_token_byte;

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
///
/// An IPv4 address that comes in its IPv6 form (`::ffff:10.0.0.1`) counts as IPv4.
///
/// ```
/// use hyperlane_core::proto::http::forwarded::Cidr;
///
/// let inside: Cidr = "10.0.0.0/8".parse().unwrap();
/// assert!(inside.contains("10.1.2.3".parse().unwrap()));
/// assert!(!inside.contains("11.1.2.3".parse().unwrap()));
/// assert!("10.0.0.0/33".parse::<Cidr>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// As 128 bits, IPv4 at the low end.
    base: u128,
    /// The bits that count.
    mask: u128,
    prefix: u8,
    is_v4: bool,
}

/// Says that a text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address nor a range such as 10.0.0.0/8")]
pub struct CidrError(String);

impl Cidr {
    /// Tells whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_v4) = bits(address);
        is_v4 == self.is_v4 && bits & self.mask == self.base
    }
}

/// An address as a number, and whether it is IPv4.
fn bits(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

impl From<IpAddr> for Cidr {
    fn from(address: IpAddr) -> Self {
        let (base, is_v4) = bits(address);
        Self {
            base,
            mask: u128::MAX,
            prefix: if is_v4 { 32 } else { 128 },
            is_v4,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let whole = Self::from(address.parse::<IpAddr>().map_err(|_| wrong())?);
        let Some(prefix) = prefix else {
            return Ok(whole);
        };
        // `u8::from_str` would take a sign.
        let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|prefix| is_number && *prefix <= whole.prefix)
            .ok_or_else(wrong)?;
        let mask = u128::MAX
            .checked_shl(u32::from(whole.prefix - prefix))
            .unwrap_or(0);
        Ok(Self {
            base: whole.base & mask,
            mask,
            prefix,
            is_v4: whole.is_v4,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.base) {
            Ok(base) if self.is_v4 => write!(f, "{}", std::net::Ipv4Addr::from_bits(base))?,
            _ => write!(f, "{}", Ipv6Addr::from_bits(self.base))?,
        }
        write!(f, "/{}", self.prefix)
    }
}

/// The field in which the proxies in front say whom they speak for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedField {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` and `X-Forwarded-Host`: what most proxies send.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// What the trusted proxies say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The address of the client.
    pub client: IpAddr,
    /// Whether the client spoke TLS, if a proxy says so.
    pub secure: Option<bool>,
    /// The `Host` that the client asked for, if a proxy says so.
    pub host: Option<&'a str>,
}

/// Reads the fields that `field` names from right to left, for as long as the addresses are `trusted`.
///
/// `values` gives all values of a field in order. A peer without an address, at a Unix socket, is of this
/// machine, and trusted if anybody is. `None` if the peer is not trusted, if nothing was forwarded, or if
/// what would have to be believed is malformed: then the peer is the client.
///
/// ```
/// use hyperlane_core::proto::http::forwarded::{ForwardedField, read};
///
/// let trusted = ["10.0.0.0/8".parse().unwrap()];
/// let values = |name: &str| match name {
///     "x-forwarded-for" => vec!["203.0.113.9, 198.51.100.7, 10.0.0.2"],
///     _ => vec![],
/// };
/// let read = read(ForwardedField::XForwardedFor, values, "10.0.0.1".parse().ok(), &trusted);
/// // 203.0.113.9 may be anything: nobody whom we trust wrote it.
/// assert_eq!(read.unwrap().client.to_string(), "198.51.100.7");
/// ```
pub fn read<'a, V: IntoIterator<Item = &'a str>>(
    field: ForwardedField,
    values: impl Fn(&str) -> V,
    peer: Option<IpAddr>,
    trusted: &[Cidr],
) -> Option<Forwarded<'a>> {
    let is_trusted = |address| trusted.iter().any(|range| range.contains(address));
    if !peer.map_or(!trusted.is_empty(), is_trusted) {
        return None;
    }
    match field {
        ForwardedField::XForwardedFor => {
            let lists: Vec<&str> = values("x-forwarded-for").into_iter().collect();
            let nodes = lists.iter().rev().flat_map(|list| list.rsplit(','));
            let mut client = None;
            for node in nodes {
                let address = parse_node(node.trim_ascii())?;
                client = Some(address);
                if !is_trusted(address) {
                    break;
                }
            }
            // Of these the last value is the one that our peer has written.
            let last = |name| {
                let value = values(name).into_iter().last()?;
                value.rsplit(',').next().map(str::trim_ascii)
            };
            Some(Forwarded {
                client: client?,
                secure: last("x-forwarded-proto").and_then(is_secure),
                host: last("x-forwarded-host").filter(|host| is_host(host)),
            })
        }
        ForwardedField::Forwarded => {
            let lists: Vec<&str> = values("forwarded").into_iter().collect();
            let mut seen = None;
            // Line by line: what the client wrote above the line of the last proxy cannot spoil it.
            'lines: for list in lists.into_iter().rev() {
                let mut elements = Vec::new();
                parse_forwarded(list, &mut elements)?;
                for element in elements.into_iter().rev() {
                    let address = parse_node(element.node?)?;
                    seen = Some(Forwarded {
                        client: address,
                        secure: element.proto.and_then(is_secure),
                        host: element.host.filter(|host| is_host(host)),
                    });
                    if !is_trusted(address) {
                        break 'lines;
                    }
                }
            }
            seen
        }
    }
}

fn is_secure(proto: &str) -> Option<bool> {
    match () {
        () if proto.eq_ignore_ascii_case("https") || proto.eq_ignore_ascii_case("wss") => {
            Some(true)
        }
        () if proto.eq_ignore_ascii_case("http") || proto.eq_ignore_ascii_case("ws") => Some(false),
        () => None,
    }
}

/// A host with or without a port, as far as it matters for comparing.
fn is_host(host: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte);
    !host.is_empty() && host.bytes().all(is_part)
}

/// An address with or without a port (RFC 7239 §6); `None` for `unknown`, names and all else.
fn parse_node(node: &str) -> Option<IpAddr> {
    if let Some(rest) = node.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address
            .parse::<Ipv6Addr>()
            .ok()
            .filter(|_| is_port)
            .map(IpAddr::V6);
    }
    match node.split_once(':') {
        // X-Forwarded-For has IPv6 addresses without brackets.
        None => node.parse().ok(),
        Some((_, rest)) if rest.contains(':') => node.parse().ok(),
        Some((address, port)) => address
            .parse()
            .ok()
            .filter(|_| is_port(port))
            .map(IpAddr::V4),
    }
}

/// A number, or a name that hides one (RFC 7239 §6.3).
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(name) => {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !name.is_empty() && name.bytes().all(is_part)
        }
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// One element of `Forwarded`: what one proxy has written.
#[derive(Default)]
struct Element<'a> {
    node: Option<&'a str>,
    proto: Option<&'a str>,
    host: Option<&'a str>,
}

/// Appends the elements of one value of `Forwarded` (RFC 7239 §4); `None` if it breaks the grammar.
fn parse_forwarded<'a>(value: &'a str, elements: &mut Vec<Element<'a>>) -> Option<()> {
    let mut rest = value.trim_ascii();
    let mut element = Element::default();
    let mut is_empty = true;
    while !rest.is_empty() {
        match rest.as_bytes().first() {
            Some(b';') => rest = rest.get(1..)?.trim_ascii_start(),
            Some(b',') => {
                if !is_empty {
                    elements.push(std::mem::take(&mut element));
                    is_empty = true;
                }
                rest = rest.get(1..)?.trim_ascii_start();
            }
            _ => {
                let (name, after) = rest.split_once('=')?;
                let (value, after) = take_value(after)?;
                let slot = match () {
                    () if name.eq_ignore_ascii_case("for") => Some(&mut element.node),
                    () if name.eq_ignore_ascii_case("proto") => Some(&mut element.proto),
                    () if name.eq_ignore_ascii_case("host") => Some(&mut element.host),
                    () if is_token(name) => None,
                    () => return None,
                };
                // Each parameter at most once (RFC 7239 §4).
                if let Some(slot) = slot
                    && slot.replace(value).is_some()
                {
                    return None;
                }
                is_empty = false;
                rest = after.trim_ascii_start();
                if !rest.is_empty() && !rest.starts_with([';', ',']) {
                    return None;
                }
            }
        }
    }
    if !is_empty {
        elements.push(element);
    }
    Some(())
}

/// Takes a token or a quoted string off the front; no value that matters here has an escape in it.
fn take_value(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted
            .split_once('"')
            .filter(|(value, _)| !value.contains('\\'));
    }
    let end = text
        .bytes()
        .position(|byte| !is_token_byte(byte))
        .unwrap_or(text.len());
    text.split_at_checked(end)
        .filter(|(value, _)| !value.is_empty())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn read_one(
        field: ForwardedField,
        values: &[(&str, &str)],
    ) -> Option<(String, Option<bool>, Option<String>)> {
        let trusted: Vec<Cidr> = ["10.0.0.0/8", "fd00::/8", "192.0.2.1"]
            .iter()
            .map(|range| range.parse().unwrap())
            .collect();
        let of = |name: &str| -> Vec<&str> {
            values
                .iter()
                .filter(|(known, _)| *known == name)
                .map(|(_, value)| *value)
                .collect()
        };
        read(field, of, PEER.parse().ok(), &trusted).map(|seen| {
            (
                seen.client.to_string(),
                seen.secure,
                seen.host.map(str::to_owned),
            )
        })
    }

    fn client(field: ForwardedField, value: &str) -> Option<String> {
        let name = match field {
            ForwardedField::Forwarded => "forwarded",
            ForwardedField::XForwardedFor => "x-forwarded-for",
        };
        read_one(field, &[(name, value)]).map(|seen| seen.0)
    }

    #[test]
    fn ranges_hold_what_is_in_them() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "10.0.0.0", "9.255.255.255"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.0/31", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
        ] {
            let parsed: Cidr = range.parse().unwrap();
            assert!(
                parsed.contains(inside.parse().unwrap()),
                "{inside} in {range}"
            );
            assert!(
                !parsed.contains(outside.parse().unwrap()),
                "{outside} in {range}"
            );
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::/129",
            "a/8",
            "10.0.0.0/8/8",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_address_from_the_right_that_is_not_trusted_is_the_client() {
        for (value, expected) in [
            ("203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9, 10.0.0.2", Some("203.0.113.9")),
            (
                "1.1.1.1, 203.0.113.9, 10.0.0.2,192.0.2.1",
                Some("203.0.113.9"),
            ),
            ("10.0.0.3, 10.0.0.2", Some("10.0.0.3")),
            ("203.0.113.9:4711", Some("203.0.113.9")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("nonsense, 203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9, nonsense", None),
            ("203.0.113.9, unknown, 10.0.0.2", None),
            ("203.0.113.9,", None),
            ("", None),
        ] {
            let seen = client(ForwardedField::XForwardedFor, value);
            assert_eq!(seen.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn the_standards_field_is_read_with_its_quotes_and_parameters() {
        for (value, expected) in [
            ("for=203.0.113.9", Some("203.0.113.9")),
            (
                "for=\"203.0.113.9:80\";proto=https;by=10.0.0.2",
                Some("203.0.113.9"),
            ),
            ("For=\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
            (
                "for=1.1.1.1, for=203.0.113.9 , for=10.0.0.2",
                Some("203.0.113.9"),
            ),
            ("for=\"_gazonk\"", None),
            ("for=unknown", None),
            ("proto=https", None),
            ("for=203.0.113.9;for=1.1.1.1", None),
            ("for=\"203.0.113.9", None),
            ("for", None),
            ("=203.0.113.9", None),
            ("for=203.0.113.9 proto=https", None),
        ] {
            let seen = client(ForwardedField::Forwarded, value);
            assert_eq!(seen.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_line_of_the_client_spoils_none_of_a_proxy() {
        for noise in ["for=\"", "for", "for=1.1.1.1;for=2.2.2.2", "=", "\u{1}"] {
            for field in ["forwarded", "x-forwarded-for"] {
                let (kind, own) = match field {
                    "forwarded" => (ForwardedField::Forwarded, "for=203.0.113.9"),
                    _ => (ForwardedField::XForwardedFor, "203.0.113.9"),
                };
                let read = read_one(kind, &[(field, noise), (field, own)]);
                assert_eq!(
                    read.map(|read| read.0),
                    Some("203.0.113.9".into()),
                    "{noise}"
                );
            }
        }
    }

    #[test]
    fn protocol_and_host_come_from_the_proxy_that_saw_the_client() {
        let lines = [
            ("forwarded", "for=1.1.1.1;host=evil.example;proto=http"),
            (
                "forwarded",
                "for=203.0.113.9;host=\"app.example:8443\";proto=https, for=10.0.0.2;host=inner",
            ),
        ];
        assert_eq!(
            read_one(ForwardedField::Forwarded, &lines),
            Some((
                "203.0.113.9".into(),
                Some(true),
                Some("app.example:8443".into())
            ))
        );
        let lines = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "http, HTTPS"),
            ("x-forwarded-host", "evil.example, app.example"),
        ];
        assert_eq!(
            read_one(ForwardedField::XForwardedFor, &lines),
            Some(("203.0.113.9".into(), Some(true), Some("app.example".into())))
        );
        let lines = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-host", "a b/c"),
        ];
        assert_eq!(
            read_one(ForwardedField::XForwardedFor, &lines),
            Some(("203.0.113.9".into(), None, None))
        );
    }

    #[test]
    fn nobody_is_believed_whom_we_do_not_trust() {
        let values = |_: &str| ["203.0.113.9"];
        for peer in [PEER.parse().ok(), None] {
            assert_eq!(read(ForwardedField::XForwardedFor, values, peer, &[]), None);
        }
        let trusted = ["192.0.2.1".parse().unwrap()];
        let local = read(ForwardedField::XForwardedFor, values, None, &trusted);
        assert!(local.is_some(), "a proxy at a Unix socket");
        let peer = PEER.parse().ok();
        assert_eq!(
            read(ForwardedField::XForwardedFor, values, peer, &trusted),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_left_of_the_client_changes_nothing(noise in "[ -~]{0,60}") {
            let value = format!("{noise}, 203.0.113.9, 10.0.0.2");
            prop_assert_eq!(
                client(ForwardedField::XForwardedFor, &value),
                Some("203.0.113.9".to_owned())
            );
        }

        #[test]
        fn no_text_breaks_the_reader(value in "\\PC{0,80}") {
            for field in [ForwardedField::Forwarded, ForwardedField::XForwardedFor] {
                let _ = client(field, &value);
            }
        }
    }
}
