//! The header with which a load balancer begins a connection: the PROXY protocol, version 2.
//!
//! It tells whom the balancer speaks for. Only for connections that must have one: to anybody else it would
//! be a way to claim any address.

use std::net::{IpAddr, SocketAddr};

use ppp::v2::{Addresses, Command, Header};

/// What every header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version, command, family and length.
const FIXED: usize = 16;

/// The longest header, in bytes; addresses take 36, the rest is what a balancer adds of its own.
pub const MAX_HEADER: usize = 4096;

/// Says why a connection has no header that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It begins with something else.
    #[error(
        "no PROXY protocol header (version 2): is this a client, or a balancer that speaks version 1?"
    )]
    Missing,
    /// The header is longer than [`MAX_HEADER`].
    #[error("a PROXY protocol header of {0} bytes")]
    TooLong(usize),
    /// The header breaks the protocol.
    #[error("a malformed PROXY protocol header: {0}")]
    Malformed(String),
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its length in bytes; what the client sent follows.
    pub len: usize,
    /// Whom the balancer speaks for; `None` if for itself (a health check), or not for an address.
    pub source: Option<SocketAddr>,
}

/// Reads the header at the start of `input`; `None` if more of it has to come.
///
/// # Errors
///
/// As soon as it is clear that no header can come of it.
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
    if input
        .iter()
        .zip(SIGNATURE)
        .any(|(byte, wanted)| byte != wanted)
    {
        return Err(ProxyError::Missing);
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
        // A type-length-value of the balancer's own behind the addresses.
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
        assert_eq!(parse(b"G"), Err(ProxyError::Missing));
        assert_eq!(parse(b"\r\n\r\nG"), Err(ProxyError::Missing));
        assert_eq!(parse(b"PROXY TCP4 1.1.1.1 "), Err(ProxyError::Missing));
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
