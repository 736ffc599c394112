//! The PROXY protocol, version 2: the header that a load balancer sends at the start of a connection.
//!
//! The header names the client. A server must expect the header only on a listener that serves load balancers alone. On
//! any other listener, a client could send the header itself and claim any address.

use std::net::{IpAddr, SocketAddr};

use ppp::v2::{Addresses, Command, Header};

/// The first bytes of every header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The first bytes of every header of version 1.
const VERSION_1: &[u8] = b"PROXY ";

/// Number of input bytes that an error shows.
const SHOWN: usize = 16;

/// Total length of the fixed fields in bytes: signature, version, command, family and length.
const FIXED: usize = 16;

/// Maximum length of a header, in bytes. A pair of IP addresses with ports needs up to 36 bytes. A load balancer may
/// append extensions.
pub const MAX_HEADER: usize = 4096;

/// The reason why a connection's header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The connection begins with a header of version 1, a line of text.
    #[error(
        "a PROXY protocol header of version 1: have the load balancer send version 2 (HAProxy: `send-proxy-v2`)"
    )]
    Version1,
    /// The connection begins with a request.
    #[error(
        "a request without a PROXY protocol header: have the load balancer send one, version 2, or listen without \
         `proxy:` before the address if clients connect themselves"
    )]
    Request,
    /// The connection begins with TLS.
    #[error(
        "a TLS ClientHello without a PROXY protocol header: have the load balancer end TLS and send the header, version 2"
    )]
    Tls,
    /// The connection begins with other bytes. The error shows the first of these bytes, escaped.
    #[error("`{0}` instead of a PROXY protocol header: have the load balancer send one, version 2")]
    Missing(String),
    /// The header is longer than [`MAX_HEADER`].
    #[error("a PROXY protocol header of {0} bytes")]
    TooLong(usize),
    /// The header breaks the protocol.
    #[error("a malformed PROXY protocol header: {0}")]
    Malformed(String),
}

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The length of the header in bytes. The bytes after the header come from the client.
    pub len: usize,
    /// The address of the client; `None` for connections that the load balancer opens for itself (health checks), and
    /// for sources without an IP address.
    pub source: Option<SocketAddr>,
}

/// Parses the header at the start of `input`. Returns `None` if more input is needed.
///
/// # Errors
///
/// Returns a [`ProxyError`] as soon as the input cannot become a valid header.
///
/// ```
/// use hyperlane_core::proto::proxy::parse;
///
/// let bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x0a\0\0\x01\x30\x39\0\x50GET /";
/// let header = parse(bytes).unwrap().unwrap();
/// assert_eq!(header.source, "203.0.113.9:12345".parse().ok());
/// assert_eq!(&bytes[header.len..], b"GET /");
/// assert!(parse(b"GET / HTTP/1.1").is_err());
/// ```
pub fn parse(input: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    if VERSION_1.starts_with(input) {
        return Ok(None);
    }
    if input
        .iter()
        .zip(SIGNATURE)
        .any(|(byte, wanted)| byte != wanted)
    {
        return Err(missing(input));
    }
    let Some(&[.., high, low]) = input.first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_HEADER {
        return Err(ProxyError::TooLong(len));
    }
    let Some(bytes) = input.get(..len) else {
        return Ok(None);
    };
    let header =
        Header::try_from(bytes).map_err(|error| ProxyError::Malformed(error.to_string()))?;
    let source = match (header.command, header.addresses) {
        (Command::Local, _) => None,
        (_, Addresses::IPv4(pair)) => Some((IpAddr::V4(pair.source_address), pair.source_port)),
        (_, Addresses::IPv6(pair)) => Some((IpAddr::V6(pair.source_address), pair.source_port)),
        _ => None,
    };
    Ok(Some(ProxyHeader {
        len,
        source: source.map(SocketAddr::from),
    }))
}

/// Returns the error for input that is not a header of version 2.
fn missing(input: &[u8]) -> ProxyError {
    let method = input
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    match input {
        _ if input.starts_with(VERSION_1) => ProxyError::Version1,
        [0x16] | [0x16, 3, ..] => ProxyError::Tls,
        _ if method > 0 && matches!(input.get(method), None | Some(b' ')) => ProxyError::Request,
        _ => {
            let start = input.get(..SHOWN.min(input.len())).unwrap_or_default();
            ProxyError::Missing(start.escape_ascii().to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, rest].concat()
    }

    const V4: [u8; 12] = [203, 0, 113, 9, 10, 0, 0, 1, 0x30, 0x39, 0, 80];

    #[test]
    fn the_source_is_read_whatever_follows() {
        let v6 = [
            &[0x20, 0x01][..],
            &[0; 13],
            &[7],
            &[0; 16],
            &[0x30, 0x39, 0, 80],
        ]
        .concat();
        // The load balancer appends an extension (type, length, value) to the addresses.
        let more = [&V4[..], &[0xe0, 0, 2, 1, 2]].concat();
        for (bytes, source) in [
            (header(0x21, 0x11, &V4), "203.0.113.9:12345".parse().ok()),
            (header(0x21, 0x11, &more), "203.0.113.9:12345".parse().ok()),
            (header(0x21, 0x21, &v6), "[2001::7]:12345".parse().ok()),
            (header(0x20, 0x11, &V4), None),
            (header(0x20, 0x00, &[]), None),
            (header(0x21, 0x00, &[]), None),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
            let len = bytes.len();
            let followed = [&bytes[..], b"GET / HTTP/1.1"].concat();
            assert_eq!(parse(&followed), Ok(Some(ProxyHeader { len, source })));
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
        for (bytes, expected) in [
            (&b"G"[..], ProxyError::Request),
            (b"POST / HTTP/1.1\r\n", ProxyError::Request),
            (b"PROXY TCP4 1.1.1.1 ", ProxyError::Version1),
            (b"PROXY UNKNOWN\r\n", ProxyError::Version1),
            (b"\x16\x03\x01", ProxyError::Tls),
            (
                b"\r\n\r\nG",
                ProxyError::Missing("\\r\\n\\r\\nG".to_owned()),
            ),
            (b"SSH-2.0-x", ProxyError::Missing("SSH-2.0-x".to_owned())),
            (&[0; 100], ProxyError::Missing("\\x00".repeat(16))),
        ] {
            assert_eq!(parse(bytes), Err(expected));
        }
        // This input may be the start of a header of version 1. Such a header has its own error, so `parse` asks for
        // more input.
        assert_eq!(parse(b"PROXY"), Ok(None));
        for wrong in [
            header(0x31, 0x11, &V4),
            header(0x2f, 0x11, &V4),
            header(0x21, 0x11, &V4[..8]),
        ] {
            assert!(
                matches!(parse(&wrong), Err(ProxyError::Malformed(_))),
                "{wrong:?}"
            );
        }
        let mut long = header(0x21, 0x11, &V4);
        long[14] = 0xff;
        assert_eq!(parse(&long), Err(ProxyError::TooLong(FIXED + 0xff0c)));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(rest in prop::collection::vec(any::<u8>(), 0..300), good in any::<bool>()) {
            let bytes = if good { [&SIGNATURE[..], &rest].concat() } else { rest };
            if let Ok(Some(header)) = parse(&bytes) {
                prop_assert!(header.len <= bytes.len());
            }
        }
    }
}
