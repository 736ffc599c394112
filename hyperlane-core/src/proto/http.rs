//! The wire format of HTTP/1.1 (RFC 9112), and the header fields that the server itself reads (RFC 9110, Fetch).
//!
//! [`head`] and [`chunked`] parse requests strictly. [`track`] tolerates errors: it reads the raw response bytes that
//! the program writes, only to find the end of the response.

pub(crate) mod accept;
pub mod chunked;
pub(crate) mod cors;
pub(crate) mod fetch;
pub mod forwarded;
pub mod head;
pub mod host;
pub(crate) mod marks;
pub mod origin;
pub(crate) mod status;
pub(crate) mod title_case;
pub mod track;
pub mod write;

/// Splits a comma-separated list into its elements and trims the blanks around them (RFC 9110 §5.6.1).
///
/// The iterator also returns empty elements. A strict caller can refuse a list that contains an empty element.
///
/// ```
/// let tokens: Vec<&[u8]> = hyperlane_core::proto::http::list(b"keep-alive , Upgrade").collect();
/// assert_eq!(tokens, [&b"keep-alive"[..], b"Upgrade"]);
/// ```
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Returns whether a comma-separated list (RFC 9110 §5.6.1) contains a token. The comparison ignores case.
///
/// ```
/// assert!(hyperlane_core::proto::http::has_token(b"Close, TE", "close"));
/// assert!(!hyperlane_core::proto::http::has_token(b"closed", "close"));
/// ```
pub fn has_token(value: &[u8], token: &str) -> bool {
    list(value).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// A set of bytes as a table. A lookup costs one load, however many bytes the set has.
pub(crate) struct ByteSet([bool; 256]);

impl ByteSet {
    /// Creates the set of all ASCII letters and digits, and of the bytes in `others`.
    #[expect(
        clippy::indexing_slicing,
        reason = "runs at compile time, and a byte is a valid index"
    )]
    pub(crate) const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut at = 0;
        while at < table.len() {
            table[at] = at < 128 && (at as u8).is_ascii_alphanumeric();
            at += 1;
        }
        let mut at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        Self(table)
    }

    #[inline]
    pub(crate) fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// Returns the number of bytes at the beginning of `bytes` that are in the set.
    #[inline]
    pub(crate) fn prefix_len(&self, bytes: &[u8]) -> usize {
        // One branch for four bytes costs half as much as four.
        let (fours, _) = bytes.as_chunks::<4>();
        let is_in = |[a, b, c, d]: &&[u8; 4]| {
            self.contains(*a) & self.contains(*b) & self.contains(*c) & self.contains(*d)
        };
        let checked = 4 * fours.iter().take_while(is_in).count();
        let rest = bytes.get(checked..).unwrap_or_default();
        let end = rest.iter().position(|byte| !self.contains(*byte));
        checked + end.unwrap_or(rest.len())
    }
}

/// The bytes of tokens, such as methods and field names (RFC 9110 §5.6.2).
pub(crate) static TOKEN: ByteSet = ByteSet::alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// Returns whether a byte may stand in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.contains(byte)
}

/// Returns whether a byte may stand in a field value. Tab is the only control character that is allowed (RFC 9110
/// §5.5).
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=0x7e | 0x80..)
}

/// The reason why a `Content-Length` value is not a valid `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// The value is empty or contains a byte that is not a digit.
    NotDigits,
    /// The number exceeds the maximum of `u64`.
    Overflow,
}

/// Parses one or more digits (`1*DIGIT`). Refuses signs, blanks and lists.
pub(crate) fn decimal(value: &[u8]) -> Result<u64, NumberError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(NumberError::NotDigits);
    }
    value
        .iter()
        .try_fold(0u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(NumberError::Overflow)
}
