//! Request heads: finding their end, and parsing them strictly (RFC 9112 §2-§6).
//!
//! [`HeadScanner`] finds the end of a head while bytes arrive; [`parse`] reads the complete head. Any ambiguity about
//! lines, host or body length is an error. If a proxy and the server could read the same bytes differently, an attacker
//! could smuggle a request past the proxy.

mod error;
mod scan;
mod target;

#[cfg(test)]
mod tests;

use std::{fmt, mem::MaybeUninit};

pub use error::HeadError;
pub use scan::HeadScanner;
pub use target::Target;

use super::{NumberError, decimal, has_token, is_token_byte, is_value_byte, list};
use target::{Port, is_authority};

/// Maximum number of fields that the parser stores without an allocation.
const INLINE_FIELDS: usize = 100;

/// Limits on the size of a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Maximum length of the request line without its line end, in bytes. Default: 8 KiB.
    pub request_line: usize,
    /// Maximum length of the header section with all line ends and the empty line, in bytes. Default: 32 KiB.
    pub header_bytes: usize,
    /// Maximum number of header fields. Default: 100. With a higher limit, the parser allocates memory for a head of
    /// more than 100 lines.
    pub header_count: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            header_bytes: 32 * 1024,
            header_count: INLINE_FIELDS,
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
pub struct Fields<'s, 'b>(&'s [httparse::Header<'b>]);

impl<'s, 'b> Fields<'s, 'b> {
    /// Returns an iterator over all fields.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Field<'b>> + use<'s, 'b> {
        self.0.iter().map(|field| Field {
            name: field.name,
            value: field.value,
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
        self.0.len()
    }

    /// Returns whether there are no fields.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Fields<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Storage for the fields of one head. The storage has room for 100 fields inline, and does not initialize this memory.
/// More fields need an allocation.
pub struct HeadStorage<'b> {
    inline: [MaybeUninit<httparse::Header<'b>>; INLINE_FIELDS],
    spill: Vec<MaybeUninit<httparse::Header<'b>>>,
}

impl<'b> HeadStorage<'b> {
    /// Creates storage. Does not initialize the memory for the fields.
    pub const fn new() -> Self {
        Self {
            inline: [const { MaybeUninit::uninit() }; INLINE_FIELDS],
            spill: Vec::new(),
        }
    }

    fn slots(&mut self, count: usize) -> &mut [MaybeUninit<httparse::Header<'b>>] {
        match self.inline.get_mut(..count) {
            Some(slots) => slots,
            None => {
                self.spill.resize_with(count, MaybeUninit::uninit);
                &mut self.spill
            }
        }
    }
}

impl Default for HeadStorage<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HeadStorage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadStorage").finish_non_exhaustive()
    }
}

/// A valid request head.
#[derive(Clone, Copy, Debug)]
pub struct Head<'s, 'b> {
    /// The method, as sent: methods are case-sensitive (RFC 9110 §9.1).
    pub method: &'b str,
    /// The request target.
    pub target: Target<'b>,
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
    pub host: &'b str,
}

/// Parses a complete head. [`HeadScanner::scan`] finds the end of the head.
///
/// Checks all rules except the byte limits. The scanner enforces the byte limits. Of `limits`, `parse` uses only the
/// maximum number of fields.
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
pub fn parse<'s, 'b>(
    head: &'b [u8],
    limits: &HeadLimits,
    storage: &'s mut HeadStorage<'b>,
) -> Result<Head<'s, 'b>, HeadError> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    // `httparse` would accept any number of empty lines before the request line.
    match head.first() {
        Some(first) if is_token_byte(*first) => {}
        Some(byte) => return Err(HeadError::InvalidFirstByte { byte: *byte }),
        None => return Err(HeadError::Incomplete),
    }
    let mut request = httparse::Request::new(&mut []);
    let most = match limits.header_count {
        few @ ..=INLINE_FIELDS => few,
        // Every field ends with a line feed. The number of line feeds is therefore an upper bound for the number of
        // fields.
        many => many.min(memchr::memchr_iter(b'\n', head).count().max(INLINE_FIELDS)),
    };
    let length = match request.parse_with_uninit_headers(head, storage.slots(most)) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err(HeadError::Incomplete),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError::TooManyHeaders {
                limit: limits.header_count,
            });
        }
        Err(_) => return Err(diagnose(head)),
    };
    let httparse::Request {
        method: Some(method),
        path: Some(target),
        version: Some(version),
        headers,
    } = request
    else {
        return Err(HeadError::MalformedRequestLine);
    };
    let fields = Fields(headers);
    // `httparse` accepts a bare line feed as a line end. A head with a bare line feed has fewer carriage returns than
    // lines.
    let lines = fields.len() + 2;
    if memchr::memchr_iter(b'\r', head.get(..length).unwrap_or_default()).count() != lines {
        return Err(diagnose(head));
    }
    let version = match version {
        0 => Version::Http10,
        _ => Version::Http11,
    };
    let target = Target::parse(method, target)?;
    let facts = FieldFacts::read(fields, version)?;
    let host = target.authority().or(facts.host).unwrap_or_default();
    Ok(Head {
        method,
        target,
        version,
        fields,
        framing: facts.framing()?,
        length_repeated: facts.length_repeated,
        keep_alive: !facts.close && (version == Version::Http11 || facts.keep_alive),
        upgrade: facts.upgrade,
        expect_continue: facts.expect_continue && version == Version::Http11,
        host,
    })
}

/// The values of the header fields that determine framing, host and reuse of the connection.
#[derive(Default)]
struct FieldFacts<'b> {
    host: Option<&'b str>,
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
    fn read(fields: Fields<'_, 'b>, version: Version) -> Result<Self, HeadError> {
        let mut facts = Self::default();
        for field in fields.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            // The length of the name alone rules out nearly all fields.
            match field.name.len() {
                4 if is("host") => facts.host(field.value)?,
                6 if is("expect") => facts.expect(field.value)?,
                10 if is("connection") => facts.connection(field.value),
                14 if is("content-length") => facts.content_length(field.value)?,
                17 if is("transfer-encoding") => facts.transfer_encoding(field.value)?,
                _ => {}
            }
        }
        if facts.has_transfer_encoding && version == Version::Http10 {
            return Err(HeadError::TransferEncodingInHttp10);
        }
        if facts.host.is_none() && version == Version::Http11 {
            return Err(HeadError::MissingHost);
        }
        Ok(facts)
    }

    fn host(&mut self, value: &'b [u8]) -> Result<(), HeadError> {
        if self.host.is_some() {
            return Err(HeadError::DuplicateHost);
        }
        let host = std::str::from_utf8(value).map_err(|_| HeadError::InvalidHost)?;
        if !is_authority(host, Port::Optional) {
            return Err(HeadError::InvalidHost);
        }
        self.host = Some(host);
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

/// Finds the exact error and its position, because `httparse` does not report the position. Runs only for refused
/// heads.
#[cold]
fn diagnose(head: &[u8]) -> HeadError {
    if let Some(at) = bare_line_end(head) {
        return at;
    }
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    if let Some(error) = diagnose_request_line(request_line) {
        return error;
    }
    (2..)
        .zip(lines)
        .take_while(|(_, content)| !content.is_empty())
        .find_map(|(line, content)| diagnose_field(line, content))
        .unwrap_or(HeadError::Incomplete)
}

fn bare_line_end(head: &[u8]) -> Option<HeadError> {
    memchr::memchr3_iter(b'\r', b'\n', 0, head).find_map(|at| {
        let before = at.checked_sub(1).and_then(|before| head.get(before));
        match (head.get(at), head.get(at + 1)) {
            (Some(b'\r'), next) if next != Some(&b'\n') => Some(HeadError::BareCr { at }),
            (Some(b'\n'), _) if before != Some(&b'\r') => Some(HeadError::BareLf { at }),
            (Some(0), _) => Some(HeadError::Nul { at }),
            _ => None,
        }
    })
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
