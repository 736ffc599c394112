//! Request heads: the first byte is the size of a read (0: all at once), the rest comes from the client.
//!
//! Acceptance and meaning are held against the rules of RFC 9112 written out once more, and every part
//! against `httparse`.

#![no_main]

use std::net::Ipv6Addr;

use hyperlane_core::proto::http::head::{
    BodyFraming, Head, HeadError, HeadLimits, HeadScanner, HeadStorage, Version, parse, parse_first,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let limits = HeadLimits::default();
    let whole = HeadScanner::default().scan(stream, &limits);
    if *size > 0 {
        assert_eq!(scan_in_pieces(stream, usize::from(*size), &limits), whole);
    }
    let wanted = reference(stream, &limits);
    let mut storage = HeadStorage::new();
    let first = match parse_first(stream, &limits, &mut storage) {
        Ok(head) => head.map(|head| meaning(&head)),
        Err(error) => {
            check_error(&error);
            assert!(matches!(whole, Ok(Some(_))), "{error}");
            None
        }
    };
    assert_eq!(first, wanted, "in one pass");
    let length = match whole {
        Ok(Some(length)) => length,
        Ok(None) => {
            assert_eq!(wanted, None, "it ends");
            return;
        }
        Err(error) => {
            check_error(&error);
            assert_eq!(wanted, None, "{error}");
            return;
        }
    };
    let bytes = &stream[..length];
    let mut storage = HeadStorage::new();
    match parse(bytes, &limits, &mut storage) {
        Ok(head) => {
            assert_eq!(head.length, length);
            assert_eq!(Some(meaning(&head)), wanted);
            check_against_httparse(bytes, &head);
        }
        Err(error) => {
            check_error(&error);
            assert_eq!(wanted, None, "{error}");
        }
    }
});

fn scan_in_pieces(
    stream: &[u8],
    size: usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, HeadError> {
    let mut scanner = HeadScanner::default();
    let mut end = 0;
    while end < stream.len() {
        end = (end + size).min(stream.len());
        if let Some(length) = scanner.scan(&stream[..end], limits)? {
            return Ok(Some(length));
        }
    }
    Ok(None)
}

fn check_error(error: &HeadError) {
    assert!(matches!(error.status(), 400 | 414 | 417 | 431 | 501 | 505));
    assert!(!error.to_string().is_empty());
}

fn check_against_httparse(bytes: &[u8], head: &Head<'_, '_>) {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let length = request.parse(bytes).expect("it accepts all that we do");
    assert_eq!(length, httparse::Status::Complete(bytes.len()));
    assert_eq!(request.method, Some(head.method));
    let minor = u8::from(head.version == Version::Http11);
    assert_eq!(request.version, Some(minor));
    let path = request.path.expect("a complete request has one");
    assert!(path.ends_with(head.target.query().unwrap_or_default()));
    let ours: Vec<_> = head
        .fields
        .iter()
        .map(|field| (field.name, field.value))
        .collect();
    let theirs: Vec<_> = request
        .headers
        .iter()
        .map(|field| (field.name, field.value))
        .collect();
    assert_eq!(ours, theirs);
}

/// What a head means, for comparison.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    length: usize,
    method: String,
    path: String,
    query: Option<String>,
    host: String,
    http10: bool,
    framing: BodyFraming,
    fields: usize,
    keep_alive: bool,
    upgrade: bool,
    expect_continue: bool,
}

fn meaning(head: &Head<'_, '_>) -> Meaning {
    Meaning {
        length: head.length,
        method: head.method.to_owned(),
        path: head.target.path().to_owned(),
        query: head.target.query().map(str::to_owned),
        host: head.host.to_owned(),
        http10: head.version == Version::Http10,
        framing: head.framing,
        fields: head.fields.len(),
        keep_alive: head.keep_alive,
        upgrade: head.upgrade,
        expect_continue: head.expect_continue,
    }
}

/// Reads a stream by the rules, line by line and without regard to speed; nothing if it begins with no correct head.
fn reference(stream: &[u8], limits: &HeadLimits) -> Option<Meaning> {
    let begin = if stream.starts_with(b"\r\n") { 2 } else { 0 };
    let stream = &stream[begin..];
    let end = stream.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = &stream[..end];
    // As text in which every byte is a character.
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let request_line = lines.next()?;
    let lines: Vec<&str> = lines.collect();
    if lines
        .iter()
        .chain([&request_line])
        .any(|line| line.contains(['\r', '\n', '\0']))
    {
        return None;
    }
    let line_bytes = request_line.chars().count();
    let field_bytes = end + 4 - line_bytes - 2;
    if line_bytes > limits.request_line
        || field_bytes > limits.header_bytes
        || lines.len() > limits.header_count
    {
        return None;
    }
    let [method, target, version] = request_line
        .split(' ')
        .collect::<Vec<_>>()
        .try_into()
        .ok()?;
    let http10 = match version {
        "HTTP/1.0" => true,
        "HTTP/1.1" => false,
        _ => return None,
    };
    if !is_token(method) {
        return None;
    }
    let (path, query, authority) = read_target(method, target)?;

    let mut fields = Vec::new();
    for line in &lines {
        let (name, value) = line.split_once(':')?;
        let is_text = |letter: char| letter == '\t' || (letter >= ' ' && letter != '\x7f');
        if !is_token(name) || !value.chars().all(is_text) {
            return None;
        }
        let value = value.trim_matches([' ', '\t']);
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let all = |wanted: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(name, _)| name == wanted);
        named.map(|(_, value)| value.as_str()).collect()
    };
    let host = match all("host")[..] {
        [] if http10 => "",
        [host] if is_authority(host, false) => host,
        _ => return None,
    };
    let elements = |name: &str| -> Vec<String> {
        let values = all(name).join(",");
        let blanks = [' ', '\t', '\x0c'];
        let parts = values.split(',');
        parts
            .map(|part| part.trim_matches(blanks).to_ascii_lowercase())
            .collect()
    };
    let framing = match (
        all("content-length").is_empty(),
        all("transfer-encoding").is_empty(),
    ) {
        (true, true) => BodyFraming::None,
        (true, false) => {
            if http10 || elements("transfer-encoding") != ["chunked"] {
                return None;
            }
            BodyFraming::Chunked
        }
        (false, true) => {
            let lengths = elements("content-length");
            let first = lengths.first()?;
            if lengths.iter().any(|length| length != first)
                || first.is_empty()
                || !first.chars().all(|letter| letter.is_ascii_digit())
            {
                return None;
            }
            BodyFraming::Length(first.parse().ok()?)
        }
        (false, false) => return None,
    };
    let expects = all("expect");
    if expects
        .iter()
        .any(|expect| !expect.eq_ignore_ascii_case("100-continue"))
    {
        return None;
    }
    let connection = elements("connection");
    let has = |option: &str| connection.iter().any(|own| own == option);
    Some(Meaning {
        length: begin + end + 4,
        method: method.to_owned(),
        path,
        query,
        host: authority.unwrap_or_else(|| host.to_owned()),
        http10,
        framing,
        fields: lines.len(),
        keep_alive: !has("close") && (!http10 || has("keep-alive")),
        upgrade: has("upgrade"),
        expect_continue: !expects.is_empty() && !http10,
    })
}

/// Gives path, query and authority (RFC 9112 §3.2).
fn read_target(method: &str, target: &str) -> Option<(String, Option<String>, Option<String>)> {
    let is_visible = |letter: char| ('!'..='~').contains(&letter) && letter != '#';
    if target.is_empty() || !target.chars().all(is_visible) {
        return None;
    }
    if method == "CONNECT" {
        let own = target.to_owned();
        return is_authority(target, true).then(|| (own.clone(), None, Some(own)));
    }
    if target == "*" {
        return (method == "OPTIONS").then(|| ("*".to_owned(), None, None));
    }
    let (before, query) = match target.split_once('?') {
        Some((before, query)) => (before, Some(query.to_owned())),
        None => (target, None),
    };
    if before.starts_with('/') {
        return Some((before.to_owned(), query, None));
    }
    let (scheme, rest) = before.split_once("://")?;
    let mut letters = scheme.chars();
    if !letters.next()?.is_ascii_alphabetic()
        || !letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
    {
        return None;
    }
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let own = authority.to_owned();
    is_authority(authority, false).then(|| (path.to_owned(), query, Some(own)))
}

/// `host [":" port]` (RFC 3986 §3.2), with a port of digits that are a number up to 65535.
fn is_authority(text: &str, needs_port: bool) -> bool {
    let bracket = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text[bracket..].split_once(':') {
        Some((between, port)) => (&text[..bracket + between.len()], Some(port)),
        None => (text, None),
    };
    let is_port = match port {
        None => !needs_port,
        Some("") => !needs_port,
        Some(port) => {
            let digits = port.trim_start_matches('0');
            port.chars().all(|letter| letter.is_ascii_digit())
                && digits.len() <= 5
                && digits.parse().unwrap_or(0) <= 65_535
        }
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => is_name(host),
    };
    is_port && is_host
}

fn is_name(host: &str) -> bool {
    let mut parts = host.split('%');
    let plain = |part: &str| {
        let is_one =
            |letter: char| letter.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(letter);
        part.chars().all(is_one)
    };
    let escaped = |part: &str| {
        part.len() >= 2
            && part.is_char_boundary(2)
            && part[..2].chars().all(|letter| letter.is_ascii_hexdigit())
            && plain(&part[2..])
    };
    !host.is_empty() && parts.next().is_some_and(plain) && parts.all(escaped)
}

fn is_token(text: &str) -> bool {
    let is_one =
        |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    !text.is_empty() && text.chars().all(is_one)
}
