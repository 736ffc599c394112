//! Ranges of IP addresses. A program lists its trusted proxies as such ranges.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// A range of IP addresses: `10.0.0.0/8`, `fd00::/8`, or a single address.
///
/// A range treats an IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) as the IPv4 address.
///
/// ```
/// use hyperlane_core::Cidr;
///
/// let inside: Cidr = "10.0.0.0/8".parse().unwrap();
/// assert!(inside.contains("10.1.2.3".parse().unwrap()));
/// assert!(!inside.contains("11.1.2.3".parse().unwrap()));
/// assert!("10.0.0.0/33".parse::<Cidr>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The lowest address of the range as a 128-bit number. An IPv4 address is in the low 32 bits.
    base: u128,
    /// The bits of an address that must equal `base`.
    mask: u128,
    prefix: u8,
    is_v4: bool,
}

/// The error for a text that is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address nor a range such as 10.0.0.0/8")]
pub struct CidrError(String);

impl Cidr {
    /// Returns whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_v4) = bits(address);
        is_v4 == self.is_v4 && bits & self.mask == self.base
    }
}

/// Returns an address as a number. The second value is true for IPv4.
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
        // `u8::from_str` would accept a sign.
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
