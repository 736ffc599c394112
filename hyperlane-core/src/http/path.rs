//! Percent-decoding of request paths (RFC 3986 §2.1).
//!
//! A path has three forms:
//! - *raw*: as sent.
//! - *decoded*: for people and file systems.
//! - *routing*: decoded except for `%2F` and `%25`. Routes match this form, so an encoded slash never separates
//!   segments.
//!
//! [`decode_param`] decodes a parameter that a route has taken from the routing form. This decodes no character twice:
//! the only escapes in the routing form are `%2F` and `%25`, and these were not decoded before.

use std::mem;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

/// The reason to refuse a request path with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum InvalidPath {
    #[error("`%` without two hexadecimal digits in the path (RFC 3986 2.1)")]
    Escape,
    #[error("NUL in the path")]
    Nul,
    #[error("the decoded path is not UTF-8")]
    Utf8,
}

/// The decoded form and the routing form of a path. A request keeps their memory for later paths.
#[derive(Debug, Clone, Default)]
pub(crate) struct DecodedPath {
    pub(crate) path: String,
    pub(crate) routing: String,
}

impl DecodedPath {
    /// Decodes a raw path into both forms. Both are empty after an error.
    pub(crate) fn assign(&mut self, raw: &str) -> Result<(), InvalidPath> {
        let mut path = emptied(&mut self.path);
        let mut routing = emptied(&mut self.routing);
        decode(raw.as_bytes(), &mut path, &mut routing)?;
        self.path = String::from_utf8(path).map_err(|_| InvalidPath::Utf8)?;
        self.routing = String::from_utf8(routing).map_err(|_| InvalidPath::Utf8)?;
        Ok(())
    }

    /// Stores a path that is already decoded.
    pub(crate) fn assign_decoded(&mut self, path: &str) {
        self.path.clear();
        self.path.push_str(path);
        self.routing.clear();
        for (at, part) in path.split('%').enumerate() {
            if at > 0 {
                self.routing.push_str("%25");
            }
            self.routing.push_str(part);
        }
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.path.shrink_to_fit();
        self.routing.shrink_to_fit();
    }
}

/// Decodes a segment of a routing path.
pub(crate) fn decode_param(part: &str) -> String {
    // No character is decoded twice here, because `part` has no escapes other than `%2F` and `%25`.
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// Encodes a decoded path for a request line.
pub(crate) fn encode_path(path: &str, out: &mut String) {
    const NOT_IN_PATH: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'%')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'[')
        .add(b'\\')
        .add(b']')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    out.extend(utf8_percent_encode(path, NOT_IN_PATH));
}

fn emptied(text: &mut String) -> Vec<u8> {
    let mut bytes = mem::take(text).into_bytes();
    bytes.clear();
    bytes
}

fn decode(raw: &[u8], path: &mut Vec<u8>, routing: &mut Vec<u8>) -> Result<(), InvalidPath> {
    let mut parts = raw.split(|&byte| byte == b'%');
    if let Some(plain) = parts.next() {
        path.extend_from_slice(plain);
        routing.extend_from_slice(plain);
    }
    for part in parts {
        let (&[high, low], plain) = part.split_first_chunk().ok_or(InvalidPath::Escape)?;
        let byte = hex_digit(high)? << 4 | hex_digit(low)?;
        path.push(byte);
        match byte {
            0 => return Err(InvalidPath::Nul),
            b'/' => routing.extend_from_slice(b"%2F"),
            b'%' => routing.extend_from_slice(b"%25"),
            _ => routing.push(byte),
        }
        path.extend_from_slice(plain);
        routing.extend_from_slice(plain);
    }
    Ok(())
}

fn hex_digit(byte: u8) -> Result<u8, InvalidPath> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(InvalidPath::Escape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_differ_only_in_slash_and_percent() {
        for (raw, path, routing) in [
            ("/a%20b", "/a b", "/a b"),
            ("/%c3%A4", "/ä", "/ä"),
            ("/a%2fb/c", "/a/b/c", "/a%2Fb/c"),
            ("/100%25", "/100%", "/100%25"),
            ("/%252F", "/%2F", "/%252F"),
            ("/%41%42", "/AB", "/AB"),
        ] {
            let mut decoded = DecodedPath::default();
            assert_eq!(decoded.assign(raw), Ok(()), "{raw}");
            assert_eq!(
                (decoded.path.as_str(), decoded.routing.as_str()),
                (path, routing),
                "{raw}"
            );
            assert_eq!(decode_param(&decoded.routing), path, "{raw}");
        }
    }

    #[test]
    fn malformed_escapes_nul_and_broken_utf8_are_refused() {
        for (raw, error) in [
            ("/%", InvalidPath::Escape),
            ("/%4", InvalidPath::Escape),
            ("/%4/x", InvalidPath::Escape),
            ("/%zz", InvalidPath::Escape),
            ("/%+1", InvalidPath::Escape),
            ("/a%00", InvalidPath::Nul),
            ("/%ff", InvalidPath::Utf8),
            ("/%C3/", InvalidPath::Utf8),
        ] {
            assert_eq!(DecodedPath::default().assign(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn memory_is_used_again() {
        let mut decoded = DecodedPath::default();
        decoded.assign("/a%20long%20first%20path").unwrap();
        let before = (decoded.path.as_ptr(), decoded.routing.as_ptr());
        decoded.assign("/short%20one").unwrap();
        assert_eq!((decoded.path.as_ptr(), decoded.routing.as_ptr()), before);
    }

    #[test]
    fn encoding_and_decoding_are_inverse() {
        let path = "/ä b/100%/?#[x]\\\u{7f}%2F";
        let mut raw = String::new();
        encode_path(path, &mut raw);
        assert_eq!(raw, "/%C3%A4%20b/100%25/%3F%23%5Bx%5D%5C%7F%252F");
        let (mut parsed, mut taken) = (DecodedPath::default(), DecodedPath::default());
        parsed.assign(&raw).unwrap();
        taken.assign_decoded(path);
        assert_eq!(
            (&parsed.path, &parsed.routing),
            (&taken.path, &taken.routing)
        );
        assert_eq!(parsed.path, path);
    }
}
