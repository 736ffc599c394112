//! The `Content-Disposition` of a part (RFC 7578 §4.2, RFC 6266 §4.1).
//!
//! Clients deviate from the grammar, so the parser is lenient. The parser does not check whether a file name is safe to
//! use.

use percent_encoding::percent_decode;

/// The parameters of the `Content-Disposition` of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    pub(super) name: Option<String>,
    pub(super) file_name: Option<String>,
}

impl Disposition {
    /// Parses the value of the header field. If a parameter is repeated, the first value applies.
    pub(super) fn parse(field: &[u8]) -> Self {
        let mut name = None;
        let mut file_name = None;
        let mut extended = None;
        // The first item is the type: `form-data`.
        let mut rest = skip_value(field).1;
        while let Some(parameters) = rest.strip_prefix(b";") {
            let end = parameters
                .iter()
                .position(|byte| matches!(byte, b'=' | b';'))
                .unwrap_or(parameters.len());
            let (key, after) = parameters.split_at_checked(end).unwrap_or_default();
            let value;
            (value, rest) = match after.strip_prefix(b"=") {
                Some(after) => skip_value(after),
                None => (Vec::new(), after),
            };
            let slot = match key.trim_ascii().to_ascii_lowercase().as_slice() {
                b"name" => &mut name,
                b"filename" => &mut file_name,
                b"filename*" => &mut extended,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        // Forms must not use `filename*` (RFC 7578 §4.2). So `filename*` applies only if `filename` is missing or
        // empty.
        let extended = extended.map(|value| decode_extended(&value));
        let file_name = match file_name.map(to_text) {
            Some(empty) if empty.is_empty() => extended.or(Some(empty)),
            Some(text) => Some(text),
            None => extended,
        };
        Self {
            name: name.map(to_text),
            file_name,
        }
    }
}

fn to_text(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Splits a value off the front. Returns the value without its quotes, and the remaining bytes from the next semicolon
/// on.
fn skip_value(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let bytes = bytes.trim_ascii_start();
    let Some(quoted) = bytes.strip_prefix(b"\"") else {
        let (value, rest) = until_semicolon(bytes);
        return (value.trim_ascii().to_vec(), rest);
    };
    let mut value = Vec::new();
    let mut rest = quoted;
    loop {
        rest = match rest {
            // Only `\"` and `\\` are escapes. Every other backslash is a part of the value, because Windows paths
            // contain backslashes.
            [b'\\', escaped @ (b'"' | b'\\'), after @ ..] => {
                value.push(*escaped);
                after
            }
            [b'"', after @ ..] => return (value, until_semicolon(after).1),
            [byte, after @ ..] => {
                value.push(*byte);
                after
            }
            // The closing quote is missing.
            [] => return (value, rest),
        };
    }
}

fn until_semicolon(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

/// Decodes `charset'language'percent-encoded` (RFC 8187 §3.2). Text in ISO-8859-1 is decoded as such. All other text is
/// decoded as UTF-8, also if it names another charset or none.
fn decode_extended(value: &[u8]) -> String {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (charset, encoded) = match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(encoded)) => (charset, encoded),
        _ => (&[][..], value),
    };
    let bytes: Vec<u8> = percent_decode(encoded).collect();
    if charset.eq_ignore_ascii_case(b"iso-8859-1") {
        return bytes.into_iter().map(char::from).collect();
    }
    to_text(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_clients_write_them() {
        for (field, name, file_name) in [
            (&b"form-data"[..], None, None),
            (b"", None, None),
            (b"form-data; name=\"a\"", Some("a"), None),
            (b"form-data;name=a;filename=b.txt", Some("a"), Some("b.txt")),
            (
                b"Form-Data ; NAME = \"a\" ; FileName=\"b.txt\"",
                Some("a"),
                Some("b.txt"),
            ),
            (b"form-data; filename=\"b.txt\"", None, Some("b.txt")),
            (
                b"form-data; filename=a b.txt; name=c",
                Some("c"),
                Some("a b.txt"),
            ),
            (b"form-data; name=\"a\"; filename=\"\"", Some("a"), Some("")),
            (b"form-data; name=\"a\"; filename", Some("a"), Some("")),
            (b"form-data; name=; filename=", Some(""), Some("")),
            // Quoted text is not a parameter.
            (
                b"form-data; name=\"x; filename=evil\"; filename=\"; name=y\"",
                Some("x; filename=evil"),
                Some("; name=y"),
            ),
            (b"form-data; x-filename=b; name=a", Some("a"), None),
            (
                b"form-data; filename=\"1\"; filename=\"2\"",
                None,
                Some("1"),
            ),
            (
                b"form-data; filename=\"a\\\"b\\\\c\\d.txt\\\\\"; name=x",
                Some("x"),
                Some("a\"b\\c\\d.txt\\"),
            ),
            (b"form-data; filename=\"open", None, Some("open")),
            (
                b"form-data; filename=\"a\"junk; name=b",
                Some("b"),
                Some("a"),
            ),
            (
                b"form-data; name=\"\xe4\"; filename=\"caf\xe9.txt\"",
                Some("\u{fffd}"),
                Some("caf\u{fffd}.txt"),
            ),
            (
                "form-data; filename=\"\u{e4}.txt\"".as_bytes(),
                None,
                Some("\u{e4}.txt"),
            ),
            (
                b"form-data; filename*=UTF-8''%e2%82%ac%20rates.txt",
                None,
                Some("\u{20ac} rates.txt"),
            ),
            (
                b"form-data; filename*=utf-8'en'%C3%A4; filename=\"plain\"",
                None,
                Some("plain"),
            ),
            (
                b"form-data; filename=\"\"; FILENAME*=\"utf-8''b.txt\"",
                None,
                Some("b.txt"),
            ),
            (
                b"form-data; filename*=iso-8859-1''caf%e9",
                None,
                Some("caf\u{e9}"),
            ),
            (
                b"form-data; filename*=utf-8''caf%e9%zz",
                None,
                Some("caf\u{fffd}%zz"),
            ),
            (b"form-data; filename*=koi8-r''a%20b", None, Some("a b")),
            (b"form-data; filename*=a%20b", None, Some("a b")),
            (b";;;=;\"", None, None),
        ] {
            let expected = Disposition {
                name: name.map(str::to_owned),
                file_name: file_name.map(str::to_owned),
            };
            let shown = String::from_utf8_lossy(field);
            assert_eq!(Disposition::parse(field), expected, "{shown}");
        }
    }
}
