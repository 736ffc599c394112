//! Request heads: finding their end, and parsing them strictly (RFC 9112 §2-§6).
//!
//! [`HeadScanner`] finds the end of a head while bytes arrive; [`parse`] reads the complete head. Any ambiguity about
//! lines, host or body length is an error. If a proxy and the server could read the same bytes differently, an attacker
//! could smuggle a request past the proxy.

mod error;
mod lines;
mod scan;
mod storage;
mod target;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;

pub use error::HeadError;
#[cfg(feature = "http2")]
pub(crate) use scan::HTTP2_PREFACE_LENGTH;
pub use scan::HeadScanner;
pub use storage::HeadStorage;
pub use target::Target;

use super::{NumberError, decimal, has_token, is_token_byte, is_value_byte, list};
pub(crate) use lines::FieldRange;
use lines::Lines;
use storage::KnownHost;
use target::{Port, is_authority};
use text::{Text, text_to};

/// Limits on the size of a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Maximum length of the request line without its line end, in bytes. Default: 8 KiB.
    pub request_line: usize,
    /// Maximum length of the header section with all line ends and the empty line, in bytes. Default: 32 KiB.
    pub header_bytes: usize,
    /// Maximum number of header fields. Default: 100.
    pub header_count: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            header_bytes: 32 * 1024,
            header_count: 100,
        }
    }
}

/// An HTTP version that this parser supports (RFC 9112 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// The way to find the end of a request body (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body is chunked. [`ChunkedDecoder`](super::chunked::ChunkedDecoder) decodes the body.
    Chunked,
    /// The end of the stream ends the body (HTTP/2). A head of HTTP/1.1 never has this framing.
    UntilEnd,
}

/// One header field (RFC 9110 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'b> {
    /// The name, as sent.
    pub name: &'b str,
    /// The value without the blanks around it. The value may contain bytes over 0x7F.
    pub value: &'b [u8],
}

/// The header fields of a head, in the order sent.
#[derive(Clone, Copy)]
pub struct Fields<'s, 'b> {
    text: Text<'b>,
    ranges: &'s [FieldRange],
    block: Option<Block<'s, 'b>>,
}

/// The field lines of a head in which each line is `name: value` with one space and without blanks at its end.
#[derive(Clone, Copy)]
pub(crate) struct Block<'s, 'b> {
    /// The first line, with its name in lower case, if it is the line of a known host; or else empty.
    pub(crate) known_host: &'s str,
    /// The other lines, as sent.
    pub(crate) others: &'b str,
}

impl<'s, 'b> Fields<'s, 'b> {
    pub(crate) fn of(bytes: &'b [u8], ranges: &'s [FieldRange]) -> Self {
        Self {
            text: Text { bytes, utf8: None },
            ranges,
            block: None,
        }
    }

    /// Returns the bytes of the head and the positions of the fields, from which [`of`](Self::of) makes equal fields.
    pub(crate) fn parts(self) -> (&'b [u8], &'s [FieldRange]) {
        (self.text.bytes, self.ranges)
    }

    /// Returns an iterator over all fields.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Field<'b>> + use<'s, 'b> {
        let text = self.text;
        self.ranges.iter().map(move |range| Field {
            name: text.get(range.name()),
            value: text.bytes(range.value()),
        })
    }

    /// Returns the first value of a field. Ignores the case of the name.
    pub fn get(&self, name: &str) -> Option<&'b [u8]> {
        self.iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// Returns the number of fields.
    pub const fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Returns whether there are no fields.
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns all lines, with the lengths of each line's name and value. Returns `None` if a line is not
    /// `name: value\r\n`, or if the head is not UTF-8.
    pub(crate) fn block(
        &self,
    ) -> Option<(
        Block<'s, 'b>,
        impl ExactSizeIterator<Item = (usize, usize)> + use<'s, 'b>,
    )> {
        let lengths = |range: &FieldRange| (range.name().len(), range.value().len());
        Some((self.block?, self.ranges.iter().map(lengths)))
    }
}

impl fmt::Debug for Fields<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A valid request head.
#[derive(Clone, Copy, Debug)]
pub struct Head<'s, 'b> {
    /// The method, as sent: methods are case-sensitive (RFC 9110 §9.1).
    pub method: &'b str,
    pub(crate) is_get: bool,
    /// The request target.
    pub target: Target<'b>,
    /// False only if the target has no percent-encoded character.
    pub may_have_escapes: bool,
    /// The version.
    pub version: Version,
    /// All header fields, in order.
    pub fields: Fields<'s, 'b>,
    /// The framing of the body.
    pub framing: BodyFraming,
    /// True if the head has the same `Content-Length` value more than once. An intermediary must replace the
    /// repetitions by one value before it forwards the head (RFC 9110 §8.6).
    pub length_repeated: bool,
    /// True if the connection may serve another request after this one (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// True if `Connection` lists `upgrade` (RFC 9110 §7.8).
    pub upgrade: bool,
    /// True if the client waits for a 100 response before it sends the body. Always false for HTTP/1.0 (RFC 9110
    /// §10.1.1).
    pub expect_continue: bool,
    /// The host with its optional port, from the target or else from `Host`. The host is empty only if an HTTP/1.0
    /// request has neither.
    pub host: &'s str,
    /// The number of the host within the [`HeadStorage`]: equal numbers mean equal hosts. 0 if the storage does not
    /// hold the host.
    pub(crate) host_number: u64,
    /// The length of the head with the empty line at its end, in bytes.
    pub length: usize,
}

/// Returns whether text is a host with an optional port, without userinfo (RFC 3986 §3.2).
pub fn is_host(text: &str) -> bool {
    is_authority(text, Port::Optional)
}

/// Parses a complete head. [`HeadScanner::scan`] finds the end of the head.
///
/// Accepts one empty line before the head (RFC 9112 §2.2), and ignores bytes after the head.
///
/// # Errors
///
/// Returns a [`HeadError`] that names the first violation.
///
/// ```
/// use hyperlane_core::proto::http::head::{BodyFraming, HeadLimits, HeadStorage, Target, parse};
///
/// let mut storage = HeadStorage::new();
/// let head = parse(
///     b"POST /say?to=all HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\n",
///     &HeadLimits::default(),
///     &mut storage,
/// )?;
/// assert_eq!(head.target, Target::Origin { path: "/say", query: Some("to=all") });
/// assert_eq!(head.framing, BodyFraming::Length(5));
/// assert!(head.keep_alive);
/// # Ok::<(), hyperlane_core::proto::http::head::HeadError>(())
/// ```
pub fn parse<'s, 'b: 's>(
    head: &'b [u8],
    limits: &HeadLimits,
    storage: &'s mut HeadStorage,
) -> Result<Head<'s, 'b>, HeadError> {
    match parse_first(head, limits, storage)? {
        Some(head) => Ok(head),
        None => Err(refuse(head, limits)),
    }
}

/// Parses the head at the beginning of `bytes` in one pass, without a scanner.
///
/// Returns `None` if the head is incomplete, or if one of its lines is invalid or too long. The caller then uses
/// [`HeadScanner::scan`], which finds the end of the head when it has arrived, and [`parse`]. One of the two names the
/// violation.
///
/// # Errors
///
/// Returns a [`HeadError`] if all lines are valid, but the target or the meaning of a field is not.
///
/// ```
/// use hyperlane_core::proto::http::head::{HeadLimits, HeadStorage, parse_first};
///
/// let (limits, mut storage) = (HeadLimits::default(), HeadStorage::new());
/// let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next";
/// let head = parse_first(bytes, &limits, &mut storage)?.unwrap();
/// assert_eq!(head.length, bytes.len() - "GET /next".len());
/// assert!(parse_first(b"GET /next", &limits, &mut storage)?.is_none());
/// # Ok::<(), hyperlane_core::proto::http::head::HeadError>(())
/// ```
pub fn parse_first<'s, 'b: 's>(
    bytes: &'b [u8],
    limits: &HeadLimits,
    storage: &'s mut HeadStorage,
) -> Result<Option<Head<'s, 'b>>, HeadError> {
    parse_at(bytes, 0, limits, storage, |head| head)
}

/// Parses a head like [`parse_first`], and passes it to `read`. The head begins at the index `start` of `bytes`. Up to
/// seven ASCII bytes of the preceding head may stand before it, so that `bytes` begins at an aligned address.
// A head is large. The compiler splits it into its parts if this function and `read` are inlined.
#[inline(always)]
pub(crate) fn parse_at<'s, 'b: 's, R>(
    bytes: &'b [u8],
    start: usize,
    limits: &HeadLimits,
    storage: &'s mut HeadStorage,
    read: impl FnOnce(Head<'s, 'b>) -> R,
) -> Result<Option<R>, HeadError> {
    let HeadStorage { ranges, host } = storage;
    match lines::split(bytes, start, limits, &host.line, ranges) {
        Some(lines) => match interpret(bytes, &lines, ranges, host) {
            Ok(head) => Ok(Some(read(head))),
            Err(error) => Err(error),
        },
        None => Ok(None),
    }
}

/// Reads the meaning of a head whose lines are valid.
#[inline(always)]
fn interpret<'s, 'b: 's>(
    bytes: &'b [u8],
    lines: &Lines,
    ranges: &'s [FieldRange],
    known_host: &'s mut KnownHost,
) -> Result<Head<'s, 'b>, HeadError> {
    // The line of a known host is text already.
    let end = match lines.others.is_empty() {
        true => lines.target.end,
        false => lines.others.end,
    };
    let text = Text {
        bytes,
        utf8: text_to(bytes, end),
    };
    let version = match lines.is_1_0 {
        true => Version::Http10,
        false => Version::Http11,
    };
    let method = match lines.is_get {
        true => "GET",
        false => text.get(lines.method.clone()),
    };
    let target = Target::parse(
        method,
        text.get(lines.target.clone()),
        lines.is_target_plain,
    )?;
    let facts = FieldFacts::read(text, lines, ranges, known_host)?;
    let (host, host_number) = match (target.authority(), facts.host) {
        (Some(host), _) | (None, Host::Long(host)) => (host, 0),
        (None, Host::Known) => (&*known_host.value, known_host.number),
        (None, Host::None) => ("", 0),
    };
    let others = match (text.utf8, lines.others.is_empty()) {
        (_, true) => Some(""),
        (Some(text), false) if lines.is_plain => text.get(lines.others.clone()),
        _ => None,
    };
    let known_host = match lines.has_known_host {
        true => &*known_host.lower_line,
        false => "",
    };
    Ok(Head {
        method,
        is_get: lines.is_get,
        target,
        may_have_escapes: !lines.is_target_plain,
        version,
        fields: Fields {
            text,
            ranges,
            block: others.map(|others| Block { known_host, others }),
        },
        framing: facts.framing()?,
        length_repeated: facts.length_repeated,
        keep_alive: !facts.close && (version == Version::Http11 || facts.keep_alive),
        upgrade: facts.upgrade,
        expect_continue: facts.expect_continue && version == Version::Http11,
        host,
        host_number,
        length: lines.length,
    })
}

/// Compares the name of a field with a lower-case name of the same length, which has only letters and `-`.
///
/// Bit 5 turns a capital letter into a small one. Of the bytes of tokens, only the two forms of a letter become this
/// letter, and only `-` becomes `-`.
fn is_named(stored: &[u8], name: &str) -> bool {
    let differing = |(stored, wanted): (&u8, u8)| (stored | 0x20) ^ wanted;
    stored
        .iter()
        .zip(name.bytes())
        .map(differing)
        .fold(0, |all, bits| all | bits)
        == 0
}

/// The host of the field `Host`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Host<'b> {
    #[default]
    None,
    /// The host that the storage holds.
    Known,
    /// A host that is too long for the storage.
    Long(&'b str),
}

/// The values of the header fields that determine framing, host and reuse of the connection.
#[derive(Default)]
struct FieldFacts<'b> {
    host: Host<'b>,
    length: Option<u64>,
    /// The digits of `length` as sent. Repeated lengths must have equal digits: `5` and `05` are an error.
    digits: &'b [u8],
    length_repeated: bool,
    has_transfer_encoding: bool,
    unsupported_coding: bool,
    chunked: usize,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    expect_continue: bool,
}

impl<'b> FieldFacts<'b> {
    #[inline(always)]
    fn read(
        text: Text<'b>,
        lines: &Lines,
        ranges: &[FieldRange],
        known_host: &mut KnownHost,
    ) -> Result<Self, HeadError> {
        let mut facts = Self::default();
        let mut others = ranges;
        if lines.has_known_host {
            facts.host = Host::Known;
            others = ranges.get(1..).unwrap_or_default();
        }
        for range in others {
            let is = |name: &str| is_named(text.bytes(range.name()), name);
            let value = || text.bytes(range.value());
            // The length of the name alone rules out nearly all fields.
            match range.name().len() {
                4 if is("host") => facts.host(text, range, known_host)?,
                6 if is("expect") => facts.expect(value())?,
                10 if is("connection") => facts.connection(value()),
                14 if is("content-length") => facts.content_length(value())?,
                17 if is("transfer-encoding") => facts.transfer_encoding(value())?,
                _ => {}
            }
        }
        if facts.has_transfer_encoding && lines.is_1_0 {
            return Err(HeadError::TransferEncodingInHttp10);
        }
        if facts.host == Host::None && !lines.is_1_0 {
            return Err(HeadError::MissingHost);
        }
        Ok(facts)
    }

    /// Stores the host. A host that is not UTF-8 is empty here, and therefore invalid.
    fn host(
        &mut self,
        text: Text<'b>,
        range: &FieldRange,
        known: &mut KnownHost,
    ) -> Result<(), HeadError> {
        if self.host != Host::None {
            return Err(HeadError::DuplicateHost);
        }
        let host = text.get(range.value());
        if host.is_empty() || host != known.value {
            if !is_authority(host, Port::Optional) {
                return Err(HeadError::InvalidHost);
            }
            if host.len() > storage::LONGEST_KNOWN_HOST {
                self.host = Host::Long(host);
                return Ok(());
            }
            known.store(text.bytes(range.name()), host);
        }
        self.host = Host::Known;
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(HeadError::UnknownExpectation);
        }
        self.expect_continue = true;
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        self.close |= has_token(value, "close");
        self.keep_alive |= has_token(value, "keep-alive");
        self.upgrade |= has_token(value, "upgrade");
    }

    /// Parses one number, or a list that repeats the same digits. A proxy that merges two equal fields produces such a
    /// list. Refuses any other value, because a proxy and the server could choose different lengths for the body (RFC
    /// 9112 §6.3).
    fn content_length(&mut self, value: &'b [u8]) -> Result<(), HeadError> {
        for digits in list(value) {
            let length = decimal(digits).map_err(|error| match error {
                NumberError::NotDigits => HeadError::InvalidContentLength,
                NumberError::Overflow => HeadError::ContentLengthOverflow,
            })?;
            if self.length.replace(length).is_some() {
                if digits != self.digits {
                    return Err(HeadError::ContradictoryContentLength);
                }
                self.length_repeated = true;
            }
            self.digits = digits;
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        self.has_transfer_encoding = true;
        for coding in list(value) {
            if coding.is_empty() {
                return Err(HeadError::InvalidTransferEncoding);
            }
            match coding.eq_ignore_ascii_case(b"chunked") {
                true => self.chunked += 1,
                false => self.unsupported_coding = true,
            }
        }
        Ok(())
    }

    /// Returns the framing of the body. A length together with a transfer coding is an error. This error takes
    /// precedence over the error for an unsupported coding.
    fn framing(&self) -> Result<BodyFraming, HeadError> {
        match (self.has_transfer_encoding, self.length) {
            (false, None) => Ok(BodyFraming::None),
            (false, Some(length)) => Ok(BodyFraming::Length(length)),
            (true, Some(_)) => Err(HeadError::LengthAndTransferEncoding),
            (true, None) if self.unsupported_coding => Err(HeadError::UnsupportedTransferCoding),
            (true, None) if self.chunked > 1 => Err(HeadError::RepeatedChunked),
            (true, None) => Ok(BodyFraming::Chunked),
        }
    }
}

/// Finds the first violation, which [`lines::split`] does not name. Runs only for refused heads.
#[cold]
pub(crate) fn refuse(head: &[u8], limits: &HeadLimits) -> HeadError {
    match HeadScanner::default().scan(head, limits) {
        Ok(Some(_)) => {}
        Ok(None) => return HeadError::Incomplete,
        Err(error) => return error,
    }
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    if let Some(error) = diagnose_request_line(request_line) {
        return error;
    }
    (0..)
        .zip(lines)
        .take_while(|(_, content)| !content.is_empty())
        .find_map(|(index, content)| match index >= limits.header_count {
            true => Some(HeadError::TooManyHeaders {
                limit: limits.header_count,
            }),
            false => diagnose_field(index + 2, content),
        })
        .unwrap_or(HeadError::Incomplete)
}

fn diagnose_request_line(line: &[u8]) -> Option<HeadError> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Some(HeadError::MalformedRequestLine);
    };
    if method.is_empty() || !method.iter().all(|byte| is_token_byte(*byte)) {
        return Some(HeadError::InvalidMethod);
    }
    if target.is_empty() {
        return Some(HeadError::MalformedRequestLine);
    }
    if let Some(byte) = target.iter().find(|byte| !byte.is_ascii_graphic()) {
        return Some(HeadError::InvalidTargetByte { byte: *byte });
    }
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => None,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some(HeadError::VersionNotSupported)
        }
        _ => Some(HeadError::MalformedVersion),
    }
}

fn diagnose_field(line: usize, content: &[u8]) -> Option<HeadError> {
    if matches!(content, [b' ' | b'\t', ..]) {
        return Some(HeadError::FoldedLine { line });
    }
    let Some(colon) = memchr::memchr(b':', content) else {
        return Some(HeadError::MissingColon { line });
    };
    let (name, value) = content.split_at_checked(colon)?;
    if matches!(name, [.., b' ' | b'\t']) {
        return Some(HeadError::BlankBeforeColon { line });
    }
    if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
        return Some(HeadError::InvalidFieldName { line });
    }
    if !value.iter().all(|byte| is_value_byte(*byte)) {
        return Some(HeadError::InvalidFieldValue { line });
    }
    None
}
