//! The one pass over a complete head: it splits the lines, and checks every byte (RFC 9112 §2.2, §3, §5).

use std::ops::Range;

use super::HeadLimits;
use crate::proto::http::{
    TOKEN, is_value_byte,
    write::{LINE_END, SEPARATOR},
};

/// The byte positions of one header field in the bytes of its head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldRange {
    start: usize,
    name_len: usize,
    value_start: usize,
    value_len: usize,
}

impl FieldRange {
    pub(super) fn name(&self) -> Range<usize> {
        self.start..self.start + self.name_len
    }

    pub(super) fn value(&self) -> Range<usize> {
        self.value_start..self.value_start + self.value_len
    }

    /// Returns the positions in a line `name: value` with its line end.
    fn of_line(start: usize, name_len: usize, line_len: usize) -> Self {
        let value_at = name_len + SEPARATOR.len();
        Self {
            start,
            name_len,
            value_start: start + value_at,
            value_len: line_len.saturating_sub(value_at + LINE_END.len()),
        }
    }
}

/// The length of the name `Host`.
const HOST_LEN: usize = "Host".len();

/// The byte positions of the parts of a valid head.
pub(super) struct Lines {
    pub(super) method: Range<usize>,
    pub(super) is_get: bool,
    pub(super) target: Range<usize>,
    /// True if the target has no `#`, `?` or `%`.
    pub(super) is_target_plain: bool,
    pub(super) is_1_0: bool,
    /// True if the first field line is the line of the known host.
    pub(super) has_known_host: bool,
    /// The field lines with their line ends, without the line of the known host.
    pub(super) others: Range<usize>,
    /// True if every field line is `name: value` with exactly one space before the value and no blank after it.
    pub(super) is_plain: bool,
    /// The number of bytes of the head. The empty line at its end counts, and so does an empty line before it.
    pub(super) length: usize,
}

/// Splits the head that begins at the index `begin`, and stores the positions of its fields. Returns `None` if the head is
/// incomplete, invalid, or beyond a limit. `known_host` is the valid line of an earlier host, or empty.
// Long: one pass. Parts of it would move the rest of the bytes and the positions between each other.
#[inline(always)]
pub(super) fn split(
    bytes: &[u8],
    begin: usize,
    limits: &HeadLimits,
    known_host: &[u8],
    fields: &mut Vec<FieldRange>,
) -> Option<Lines> {
    fields.clear();
    let start = match bytes.get(begin..)? {
        [b'\r', b'\n', ..] => begin + 2,
        _ => begin,
    };
    let rest = bytes.get(start..)?;
    let is_get = rest.starts_with(b"GET ");
    let method_len = match is_get {
        true => 3,
        false => TOKEN.prefix_len(rest),
    };
    let rest = rest.get(method_len..)?.strip_prefix(b" ")?;
    let plain_len = plain_len(rest);
    let is_target_plain = rest.get(plain_len) == Some(&b' ');
    let target_len = match is_target_plain {
        true => plain_len,
        false => visible_len(rest),
    };
    let rest = rest.get(target_len..)?.strip_prefix(b" HTTP/1.")?;
    let (is_1_0, rest) = match rest {
        [b'1', b'\r', b'\n', rest @ ..] => (false, rest),
        [b'0', b'\r', b'\n', rest @ ..] => (true, rest),
        _ => return None,
    };
    let target_start = start + method_len + 1;
    let line_len = method_len + 1 + target_len + " HTTP/1.1".len();
    if method_len == 0 || target_len == 0 || line_len > limits.request_line {
        return None;
    }
    let fields_start = bytes.len() - rest.len();
    let mut is_plain = true;
    let mut rest = rest;
    let has_known_host =
        !known_host.is_empty() && limits.header_count > 0 && rest.starts_with(known_host);
    if has_known_host {
        rest = rest.get(known_host.len()..)?;
        fields.push(FieldRange::of_line(
            fields_start,
            HOST_LEN,
            known_host.len(),
        ));
    }
    let others_start = bytes.len() - rest.len();
    let end = loop {
        let at = bytes.len() - rest.len();
        if let [b'\r', b'\n', ..] = rest {
            break at;
        }
        if fields.len() >= limits.header_count {
            return None;
        }
        let name_len = TOKEN.prefix_len(rest);
        let after = rest.get(name_len..)?.strip_prefix(b":")?;
        if name_len == 0 {
            return None;
        }
        let (value, is_spaced) = match after {
            [b' ', first, ..] if !is_blank(*first) => (after.get(1..)?, true),
            _ => (trim_start(after), false),
        };
        let value_start = bytes.len() - value.len();
        let text_len = text_len(value);
        rest = value.get(text_len..)?.strip_prefix(b"\r\n")?;
        let value_len = trimmed_len(value.get(..text_len)?);
        is_plain &= is_spaced & (value_len == text_len);
        fields.push(FieldRange {
            start: at,
            name_len,
            value_start,
            value_len,
        });
    };
    let length = end + 2 - begin;
    (end + 2 - fields_start <= limits.header_bytes).then_some(Lines {
        method: start..start + method_len,
        is_get,
        target: target_start..target_start + target_len,
        is_target_plain,
        is_1_0,
        has_known_host,
        others: others_start..end,
        is_plain,
        length,
    })
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|byte| is_blank(**byte)).count();
    bytes.get(blanks..).unwrap_or_default()
}

/// Returns the length of a value without the blanks at its end.
fn trimmed_len(mut value: &[u8]) -> usize {
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value.len()
}

/// Returns the length of the visible ASCII text without `#`, `?` and `%` at the beginning of `bytes`.
fn plain_len(bytes: &[u8]) -> usize {
    clean_len(
        bytes,
        |word| {
            let is_special = has(word, b'#') | has(word, b'?') | has(word, b'%');
            less_than(word, b'!') | has(word, DEL) | is_special | word
        },
        |byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'?' | b'%'),
    )
}

/// Returns the length of the visible ASCII text at the beginning of `bytes`.
fn visible_len(bytes: &[u8]) -> usize {
    clean_len(
        bytes,
        |word| less_than(word, b'!') | has(word, DEL) | word,
        |byte| byte.is_ascii_graphic(),
    )
}

/// Returns the length of the field text at the beginning of `bytes`.
fn text_len(bytes: &[u8]) -> usize {
    clean_len(
        bytes,
        |word| less_than(word, b' ') | has(word, DEL),
        is_value_byte,
    )
}

/// Returns the number of bytes before the first byte that is not clean.
///
/// `unclean` checks eight bytes at once, and sets the high bit of each byte that may be unclean. All bytes before the
/// first byte that it marks must be clean. Its marks on later bytes may be wrong: only the first mark is used.
#[inline]
fn clean_len(bytes: &[u8], unclean: impl Fn(u64) -> u64, is_clean: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let unclean = unclean(u64::from_le_bytes(*word)) & HIGH_BITS;
        if unclean == 0 {
            at += 8;
            continue;
        }
        at += unclean.trailing_zeros() as usize / 8;
        match bytes.get(at) {
            Some(byte) if is_clean(*byte) => at += 1,
            _ => return at,
        }
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|byte| !is_clean(*byte));
    at + end.unwrap_or(rest.len())
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;
const DEL: u8 = 0x7F;

/// Sets the high bit of each byte that is less than `limit`, which is at most 128. Only the lowest set bit is exact,
/// because the subtraction may borrow from the bytes above.
const fn less_than(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word
}

/// Sets the high bit of each byte that equals `byte`. Only the lowest set bit is exact, as in [`less_than`].
const fn has(word: u64, byte: u8) -> u64 {
    let zero_at_byte = word ^ (ONES * byte as u64);
    zero_at_byte.wrapping_sub(ONES) & !zero_at_byte
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::is_token_byte;

    #[test]
    fn every_byte_ends_a_run_at_any_place_or_none() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[place] = byte;
                let end = |is_clean: bool| if is_clean { 20 } else { place };
                assert_eq!(TOKEN.prefix_len(&bytes), end(is_token_byte(byte)), "{byte}");
                assert_eq!(text_len(&bytes), end(is_value_byte(byte)), "{byte}");
                assert_eq!(visible_len(&bytes), end(byte.is_ascii_graphic()), "{byte}");
                let is_plain = byte.is_ascii_graphic() && !b"#?%".contains(&byte);
                assert_eq!(plain_len(&bytes), end(is_plain), "{byte}");
            }
        }
    }
}
