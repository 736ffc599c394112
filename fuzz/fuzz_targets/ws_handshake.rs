//! The opening handshake: a method, a version, and header lines.
//!
//! Line by line: the method, the version's two digits, the server's subprotocols, then `name: value`.
//! Acceptance is held against the rules of RFC 6455 §4.2.1 written out once more, and the accept key
//! against tungstenite's.

#![no_main]

use hyperlane_core::proto::http::origin::Origin;
use hyperlane_core::proto::ws::handshake::{
    HandshakeError, HandshakeRequest, accept_key, choose_subprotocol, origin_allowed, validate,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let method = std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let version = match lines.next() {
        Some([major, minor, ..]) => (major.wrapping_sub(b'0'), minor.wrapping_sub(b'0')),
        _ => (1, 1),
    };
    let supported = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let supported: Vec<&str> = supported
        .split(' ')
        .filter(|name| !name.is_empty())
        .collect();
    let headers: Vec<(&[u8], &[u8])> = lines
        .map(|line| match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        })
        .collect();

    check_request(method, version, &headers);
    check_subprotocol(&supported, &texts(&headers, "sec-websocket-protocol"));
    let hosts = texts(&headers, "host");
    let host = hosts.first().copied().unwrap_or_default();
    for origin in texts(&headers, "origin") {
        check_origin(origin, host);
    }
});

fn check_request(method: &str, version: (u8, u8), headers: &[(&[u8], &[u8])]) {
    let request = HandshakeRequest {
        method,
        version,
        headers: headers.iter().copied(),
    };
    let keys = values(headers, "sec-websocket-key");
    let versions = values(headers, "sec-websocket-version");
    let is_good = method == "GET"
        && version >= (1, 1)
        && lists(headers, "upgrade", b"websocket")
        && lists(headers, "connection", b"upgrade")
        && matches!(versions[..], [version] if version.trim_ascii() == b"13")
        && matches!(keys[..], [key] if is_16_bytes(key.trim_ascii()))
        && values(headers, "sec-websocket-protocol")
            .into_iter()
            .all(is_token_list)
        && values(headers, "sec-websocket-extensions")
            .into_iter()
            .all(is_extension_list);
    match validate(request) {
        Ok(accepted) => {
            assert!(is_good);
            let key = keys[0].trim_ascii();
            let theirs = tungstenite::handshake::derive_accept_key(key);
            assert_eq!(accepted.accept_key, theirs.as_bytes());
            let text = std::str::from_utf8(key).expect("base64 is ASCII");
            assert_eq!(accept_key(text), accepted.accept_key);
        }
        Err(error) => {
            assert!(!is_good, "{error}");
            assert!((400..=505).contains(&error.status()));
            let names: Vec<&str> = error.headers().iter().map(|(name, _)| *name).collect();
            assert_eq!(error == HandshakeError::Method, names.contains(&"allow"));
            assert_eq!(error.status() == 426, names.contains(&"upgrade"));
        }
    }
}

fn check_subprotocol(supported: &[&str], offered: &[&str]) {
    let is_offered = |name: &str| {
        let mut names = offered.iter().flat_map(|list| list.split(','));
        names.any(|offer| offer.trim_ascii() == name)
    };
    let chosen = choose_subprotocol(supported, offered.iter().copied());
    assert_eq!(
        chosen,
        supported.iter().copied().find(|name| is_offered(name))
    );
}

fn check_origin(origin: &str, host: &str) {
    let own = |secure| origin_allowed(Some(origin), host, secure, &[], false);
    assert!(origin_allowed(None, host, true, &[], false).is_ok());
    assert!(origin_allowed(Some(origin), host, true, &[], true).is_ok());
    for secure in [false, true] {
        // A list only ever adds.
        let listed = [
            "https://app.example".to_owned(),
            "b.example:8443".to_owned(),
        ];
        let allowed = origin_allowed(Some(origin), host, secure, &listed, false);
        match own(secure) {
            Ok(()) => {
                assert!(allowed.is_ok());
                let page: Origin = origin.parse().expect("what is allowed is an origin");
                let server = format!("{}://{}", page.scheme(), host.trim_ascii());
                let server: Origin = server.parse().expect("the host of an own page is one");
                assert_eq!(page, server);
                assert!(!page.host().is_empty());
                assert!(page.scheme() == "https" || page.scheme() == "http" && !secure);
                // What is written parses to the same origin.
                assert_eq!(page.to_string().parse(), Ok(page));
            }
            Err(refused) => {
                assert_eq!(
                    (refused.origin(), refused.host()),
                    (origin.trim_ascii(), host)
                );
            }
        }
    }
    assert!(origin_allowed(Some("null"), host, true, &[], false).is_err());
    // What is listed word by word is allowed, if it is an origin at all.
    let itself = [origin.trim_ascii().to_owned()];
    if own(true).is_ok() {
        assert!(origin_allowed(Some(origin), "other.example", true, &itself, false).is_ok());
    }
}

fn values<'a>(headers: &[(&[u8], &'a [u8])], name: &str) -> Vec<&'a [u8]> {
    let named = headers
        .iter()
        .filter(|header| header.0.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|header| header.1).collect()
}

fn texts<'a>(headers: &[(&[u8], &'a [u8])], name: &str) -> Vec<&'a str> {
    let values = values(headers, name).into_iter();
    values
        .filter_map(|value| std::str::from_utf8(value).ok())
        .collect()
}

fn lists(headers: &[(&[u8], &[u8])], name: &str, token: &[u8]) -> bool {
    let mut parts = values(headers, name)
        .into_iter()
        .flat_map(|list| list.split(|b| *b == b','));
    parts.any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// Tells whether a key is 16 bytes in base64: digits of six bits, padded to a multiple of four
/// (RFC 4648 §4).
fn is_16_bytes(key: &[u8]) -> bool {
    let digits = key
        .iter()
        .take_while(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/'));
    let digits = digits.count();
    digits == (16_usize * 8).div_ceil(6) && key[digits..] == *b"=="
}

/// Tells whether a value is `#token` (RFC 6455 §4.3, RFC 9110 §5.6.1.2): an empty list offers nothing.
fn is_token_list(value: &[u8]) -> bool {
    let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.all(|name| name.is_empty() || is_token(name))
}

/// Stands for what was quoted. No token has such a byte, so that quotes are found wherever they must not be.
const QUOTED: u8 = 0x01;

/// Tells whether a value is `#extension` (RFC 6455 §9.1): what is quoted gives way to a token first,
/// so that the rest can be split at its marks.
fn is_extension_list(value: &[u8]) -> bool {
    let mut plain = Vec::new();
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == QUOTED {
            return false;
        }
        if byte != b'"' {
            plain.push(byte);
            continue;
        }
        let mut quoted = Vec::new();
        loop {
            match bytes.next() {
                Some(b'"') => break,
                Some(b'\\') => quoted.extend(bytes.next()),
                Some(byte) => quoted.push(byte),
                None => return false,
            }
        }
        plain.push(match is_token(&quoted) {
            true => QUOTED,
            false => return false,
        });
    }
    let mut extensions = plain.split(|byte| *byte == b',').map(trim_blanks);
    extensions.all(|extension| {
        let mut parts = extension.split(|byte| *byte == b';').map(trim_blanks);
        let name = parts.next().unwrap_or_default();
        let is_param = |param: &[u8]| match param.iter().position(|byte| *byte == b'=') {
            None => is_token(param),
            Some(at) => {
                let value = trim_blanks(&param[at + 1..]);
                is_token(trim_blanks(&param[..at])) && (value == [QUOTED] || is_token(value))
            }
        };
        extension.is_empty() || (is_token(name) && parts.all(is_param))
    })
}

fn is_token(text: &[u8]) -> bool {
    let is_mark = |byte| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty()
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
