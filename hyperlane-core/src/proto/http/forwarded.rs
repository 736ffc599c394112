//! The client's address, scheme and host as proxies report them, in `Forwarded` (RFC 7239) or `X-Forwarded-*`.
//!
//! Every proxy appends the address of its own peer at the right end of the list. [`read`] therefore reads the list from
//! the right. The server's peer wrote the last item. If an item is the address of a trusted proxy, this proxy wrote the
//! next item to the left. The first item from the right that is not the address of a trusted proxy is the client's
//! address. The client may have forged all items further left.
//!
//! In `X-Forwarded-*`, address, scheme and host are in three lists. The trusted addresses in the list of addresses show
//! how many proxies the request has passed. The scheme and the host of the client have the same position in their lists
//! as the client's address, counted from the right. In `Forwarded`, one item has all three values.

pub(crate) mod cidr;
pub(crate) mod field;

use std::net::{IpAddr, Ipv6Addr};

// The crate root is the public path of these types.
pub(crate) use self::{cidr::Cidr, field::ForwardedField};

/// The facts about the client that trusted proxies report. One field may be `None` although the others have values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The address of the client; `None` if the proxies report no address, or a value that is not an IP address.
    pub client: Option<IpAddr>,
    /// True if the client used TLS; `None` if the proxies report no scheme or an unknown scheme.
    pub secure: Option<bool>,
    /// The `Host` that the client sent; `None` if the proxies report no host or an invalid host.
    pub host: Option<&'a str>,
}

/// Reads the client's address, scheme and host from the fields of trusted proxies.
///
/// `values` returns all values of a field in order. `peer` is the address of the server's peer, or `None` for a peer
/// without an address, for example on a Unix socket. The function trusts a peer with an address if `trusted` contains
/// the address. It trusts a peer without an address if `trusted` is not empty. Returns `None` if the peer is not
/// trusted, because the peer itself is then the client.
///
/// For `X-Forwarded-*`, N is the number of trusted proxies that the request has passed: one for the peer, and one for
/// each trusted address at the right end of `X-Forwarded-For`. The values of the client are item N of each list; item 1
/// is the rightmost item. If a list has fewer items, the leftmost item applies, because some proxies replace a field
/// instead of appending to it.
///
/// For `Forwarded`, each proxy appends an element. The function reads only the elements that trusted proxies wrote. If
/// several of these elements have the same parameter (`for`, `proto` or `host`), the leftmost value applies.
///
/// If one of address, scheme and host is malformed, the function returns `None` for this value, and still returns the
/// other two.
///
/// ```
/// use hyperlane_core::{ForwardedField, proto::http::forwarded::read};
///
/// let trusted = ["10.0.0.0/8".parse().unwrap()];
/// let values = |name: &str| match name {
///     "x-forwarded-for" => vec!["203.0.113.9, 198.51.100.7, 10.0.0.2"],
///     "x-forwarded-proto" => vec!["https, http"],
///     _ => vec![],
/// };
/// let read = read(ForwardedField::XForwardedFor, values, "10.0.0.1".parse().ok(), &trusted).unwrap();
/// // 203.0.113.9 may be anything: no proxy that we trust wrote it.
/// assert_eq!(read.client, "198.51.100.7".parse().ok());
/// assert_eq!(read.secure, Some(true));
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
    Some(match field {
        ForwardedField::XForwardedFor => {
            let nodes = items(values("x-forwarded-for"));
            let passed = nodes
                .iter()
                .take_while(|node| parse_node(node).is_some_and(is_trusted))
                .count();
            // `passed` is N - 1, because it does not include the peer. The lists are from right to left, with 0 as the
            // first index, so item N has the index `passed`. If a list has fewer items, its leftmost item applies.
            let at = |list: &[&'a str]| list.get(passed).or(list.last()).copied();
            Forwarded {
                client: at(&nodes).and_then(parse_node),
                secure: at(&items(values("x-forwarded-proto"))).and_then(is_secure),
                host: at(&items(values("x-forwarded-host"))).filter(|host| is_host(host)),
            }
        }
        ForwardedField::Forwarded => {
            let mut seen = Element::default();
            let lines: Vec<&str> = values("forwarded").into_iter().collect();
            let mut elements = lines
                .into_iter()
                .rev()
                .flat_map(|line| Pieces::of(line, b','))
                .filter(|element| !element.is_empty());
            for element in elements.by_ref().map(Element::parse) {
                seen.node = element.node.or(seen.node);
                seen.proto = element.proto.or(seen.proto);
                seen.host = element.host.or(seen.host);
                if !element.node.and_then(parse_node).is_some_and(is_trusted) {
                    break;
                }
            }
            Forwarded {
                client: seen.node.and_then(parse_node),
                secure: seen.proto.and_then(is_secure),
                host: seen.host.filter(|host| is_host(host)),
            }
        }
    })
}

/// The maximum length of a path in `X-Forwarded-Prefix`, in bytes.
const MAX_PREFIX: usize = 256;

/// Reads the path under which trusted proxies publish the server, from `X-Forwarded-Prefix`. Each proxy that removes a
/// part of the path appends this part to the list, or replaces the field. So the function joins the last N items for N
/// trusted proxies. Returns `None` if the peer is not trusted, without the field, or if a part is not a path.
pub(crate) fn read_prefix<'a, V: IntoIterator<Item = &'a str>>(
    values: impl Fn(&str) -> V,
    peer: Option<IpAddr>,
    trusted: &[Cidr],
) -> Option<String> {
    let is_trusted = |address| trusted.iter().any(|range| range.contains(address));
    if !peer.map_or(!trusted.is_empty(), is_trusted) {
        return None;
    }
    let prefixes = items(values("x-forwarded-prefix"));
    if prefixes.is_empty() {
        return None;
    }
    let nodes = items(values("x-forwarded-for"));
    let passed = nodes
        .iter()
        .take_while(|node| parse_node(node).is_some_and(is_trusted))
        .count();
    let mut joined = String::new();
    for part in prefixes.iter().take(passed.saturating_add(1)).rev() {
        let part = part.strip_suffix('/').unwrap_or(part);
        if !part.is_empty() && !is_base_path(part) {
            return None;
        }
        joined.push_str(part);
    }
    (joined.len() <= MAX_PREFIX).then_some(joined)
}

/// Returns whether a text is an absolute path without a slash at its end, which can stand before other paths. It is no
/// start of another host (`//`), and contains no character that ends the attribute of a cookie.
pub(crate) fn is_base_path(text: &str) -> bool {
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+=:@".contains(&byte))
    };
    let segments = text.strip_prefix('/').map(|rest| rest.split('/'));
    segments.is_some_and(|mut segments| segments.all(is_segment))
}

/// Returns the items of all lines of a list, from right to left. Keeps empty items, because an empty item also comes
/// from a proxy, and the positions of the items must match the proxies.
fn items<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lines: Vec<&str> = lines.into_iter().collect();
    lines
        .into_iter()
        .rev()
        .flat_map(|line| line.rsplit(','))
        .map(str::trim_ascii)
        .collect()
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

/// Returns whether a text is not empty and has only characters that a host with an optional port can have.
fn is_host(host: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte);
    !host.is_empty() && host.bytes().all(is_part)
}

/// Parses an address with an optional port (RFC 7239 §6). Returns `None` for `unknown`, names and every other text.
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
        None => node.parse().ok(),
        // X-Forwarded-For writes IPv6 addresses without brackets.
        Some((_, rest)) if rest.contains(':') => node.parse().ok(),
        Some((address, port)) => address
            .parse()
            .ok()
            .filter(|_| is_port(port))
            .map(IpAddr::V4),
    }
}

/// Returns whether text is a port number or an obfuscated port (RFC 7239 §6.3).
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(name) => {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !name.is_empty() && name.bytes().all(is_part)
        }
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// One element of `Forwarded`, written by one proxy (RFC 7239 §4).
///
/// `parse` stores an empty text for a malformed or repeated parameter. For an empty text, [`read`] reports no value.
#[derive(Default)]
struct Element<'a> {
    node: Option<&'a str>,
    proto: Option<&'a str>,
    host: Option<&'a str>,
}

impl<'a> Element<'a> {
    fn parse(text: &'a str) -> Self {
        let mut element = Self::default();
        for pair in Pieces::of(text, b';') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = name.trim_ascii();
            let slot = match () {
                () if name.eq_ignore_ascii_case("for") => &mut element.node,
                () if name.eq_ignore_ascii_case("proto") => &mut element.proto,
                () if name.eq_ignore_ascii_case("host") => &mut element.host,
                () => continue,
            };
            // A parameter must not occur more than once (RFC 7239 §4).
            *slot = match slot {
                Some(_) => Some(""),
                None => Some(unquote(value.trim_ascii())),
            };
        }
        element
    }
}

/// Returns the content of a quoted string. Returns an unquoted value unchanged, because many proxies omit the quotes.
/// Returns an empty text for a malformed string. Also returns an empty text for a string with an escape, because no
/// valid address, scheme or host contains an escape.
fn unquote(value: &str) -> &str {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    match inner.contains(['"', '\\']) {
        true => "",
        false => inner,
    }
}

/// An iterator over the pieces between separators, from right to left and trimmed. Separators within quoted strings do
/// not count.
///
/// A quoted string is the text between a pair of quotes. The iterator pairs the quotes from right to left, too. Proxies
/// append only complete pairs, at the right end of the text, so the quotes of the proxies pair with each other. If the
/// client has sent one quote too many, the quote without a partner is in the client's own text. If the iterator paired
/// the quotes from left to right, such a quote could turn the text of the proxies into a part of a quoted string.
struct Pieces<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str, separator: u8) -> Self {
        Self {
            rest: Some(text),
            separator,
        }
    }

    /// Returns the position of the last separator.
    fn last_separator(&self, text: &str) -> Option<usize> {
        let mut is_quoted = false;
        let mut quoted = None;
        for (at, byte) in text.bytes().enumerate().rev() {
            match byte {
                b'"' if !ends_with_escape(text.as_bytes().get(..at).unwrap_or_default()) => {
                    is_quoted = !is_quoted;
                    // A separator between two quotes that are partners never counts.
                    quoted = None;
                }
                _ if byte != self.separator => {}
                _ if is_quoted => quoted = quoted.or(Some(at)),
                _ => return Some(at),
            }
        }
        // Every separator has an odd number of quotes to its right. `quoted` is the rightmost separator to the left of
        // all quotes, if there is such a separator. The number of all quotes is then odd (`is_quoted`). The leftmost
        // quote has no partner and begins no quoted string, so the separators to its left are not within quotes.
        quoted.filter(|_| is_quoted)
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.take()?;
        let last = match self.last_separator(text) {
            Some(at) => {
                self.rest = text.get(..at);
                text.get(at + 1..).unwrap_or_default()
            }
            None => text,
        };
        Some(last.trim_ascii())
    }
}

fn ends_with_escape(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count()
        % 2
        == 1
}

#[cfg(test)]
mod tests;
