//! The text of HTTP/1.1 heads (RFC 9112 §2.1). Only this module writes the heads of requests, responses, interim
//! responses and handshakes. [`chunked`](super::chunked) writes chunks.

use super::{marks::Marks, status::status_line, title_case::title_case};

/// The separator between the name and the value of a field.
pub(crate) const SEPARATOR: &str = ": ";

/// The end of a line of a head.
pub(crate) const LINE_END: &str = "\r\n";

/// The interim response that tells a waiting client to send the body of the request (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The answer to a request without TLS at an address that speaks TLS.
#[cfg(feature = "__tls")]
pub(crate) const PLAIN_ON_TLS_PORT: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
content-type: text/plain; charset=utf-8\r\ncontent-length: 36\r\nconnection: close\r\n\r\n\
this port speaks TLS: use https://\r\n";

/// Length of the line of a `date` field, in bytes: its name, an IMF-fixdate (RFC 9110 §5.6.7) and the line end.
const DATE_LINE: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();

/// The status line of a 200.
const OK_LINE: &str = "HTTP/1.1 200 OK\r\n";

/// The line of a `date` field behind the status line of a 200: most responses begin with both.
#[derive(Clone, Copy)]
pub(crate) struct DateLine([u8; OK_LINE.len() + DATE_LINE]);

impl DateLine {
    /// Creates a line of blanks.
    pub(crate) const fn blank() -> Self {
        Self([b' '; OK_LINE.len() + DATE_LINE])
    }

    /// Encodes a line from the value of the field.
    pub(crate) fn of(value: &str) -> Self {
        let mut line = Self::blank();
        let text = [OK_LINE, "date", SEPARATOR, value, LINE_END];
        let bytes = text.iter().flat_map(|part| part.bytes());
        line.0
            .iter_mut()
            .zip(bytes)
            .for_each(|(slot, byte)| *slot = byte);
        line
    }

    /// Returns the line alone.
    fn line(&self) -> &[u8] {
        self.0.get(OK_LINE.len()..).unwrap_or_default()
    }

    /// Returns the value of the field.
    pub(crate) fn value(&self) -> Option<&str> {
        let line = std::str::from_utf8(self.line()).ok()?;
        line.strip_prefix("date: ")?.strip_suffix(LINE_END)
    }
}

/// A field line with a constant name and value, encoded at compile time by [`field_line!`]. It is not the type of an
/// event stream.
#[derive(Debug)]
pub(crate) struct FieldLine {
    name: &'static str,
    text: &'static str,
    marks: Marks,
}

impl FieldLine {
    /// Creates a line from its name and its whole text. Only [`field_line!`] calls this.
    pub(crate) const fn new(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            text,
            marks: Marks::of_name(name.as_bytes()),
        }
    }

    pub(crate) const fn marks(&self) -> Marks {
        self.marks
    }

    /// Returns the name, which is in lower case.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn value(&self) -> &'static str {
        let value = self.name.len() + SEPARATOR.len()..self.text.len() - LINE_END.len();
        self.text.get(value).unwrap_or_default()
    }

    /// Returns the whole line with its line end.
    pub(crate) const fn text(&self) -> &'static str {
        self.text
    }
}

/// Encodes a field line at compile time: `field_line!("name", "value")`. The name must be in lower case.
macro_rules! field_line {
    ($name:literal, $value:literal) => {
        $crate::proto::http::write::FieldLine::new($name, concat!($name, ": ", $value, "\r\n"))
    };
}
pub(crate) use field_line;

/// A writer of one head: first the start line, then fields, then the empty line.
///
/// The writer does not check names and values. The caller must refuse line ends in them: text after a line end would
/// become another field.
///
/// ```
/// use hyperlane_core::proto::http::write::HeadWriter;
///
/// let mut out = Vec::new();
/// let mut head = HeadWriter::response(&mut out, false, 204, "");
/// head.field("allow", b"GET");
/// head.end(false);
/// assert_eq!(out, b"HTTP/1.1 204 No Content\r\nallow: GET\r\n\r\n");
/// ```
#[derive(Debug)]
pub struct HeadWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> HeadWriter<'a> {
    /// Begins the head of a request with the version HTTP/1.1.
    pub fn request(out: &'a mut Vec<u8>, method: &str, target: &str) -> Self {
        let start = out.len();
        for part in [method, " ", target, " HTTP/1.1", LINE_END] {
            out.extend_from_slice(part.as_bytes());
        }
        Self { out, start }
    }

    /// Begins the head of a response with the version HTTP/1.0 or HTTP/1.1. If `reason` is empty, writes the phrase of
    /// the status: the registered phrase, or `Unknown`.
    #[inline]
    pub fn response(out: &'a mut Vec<u8>, is_1_0: bool, status: usize, reason: &str) -> Self {
        let start = out.len();
        match status_line(status) {
            Some(line) if reason.is_empty() && !is_1_0 => out.extend_from_slice(line),
            _ => write_status_line(out, is_1_0, status, reason),
        }
        Self { out, start }
    }

    /// Begins the head of a response with a status line and a date.
    #[inline(always)]
    pub(crate) fn dated(
        out: &'a mut Vec<u8>,
        is_1_0: bool,
        status: usize,
        reason: &str,
        date: &DateLine,
    ) -> Self {
        if status == 200 && reason.is_empty() && !is_1_0 {
            let start = out.len();
            out.extend_from_slice(&date.0);
            return Self { out, start };
        }
        let head = Self::response(out, is_1_0, status, reason);
        head.out.extend_from_slice(date.line());
        head
    }

    /// Writes a field.
    #[inline]
    pub fn field(&mut self, name: &str, value: &[u8]) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(SEPARATOR.as_bytes());
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(LINE_END.as_bytes());
    }

    /// Writes `content-length`.
    #[inline(always)]
    pub fn content_length(&mut self, length: u64) {
        self.lines("content-length: ");
        self.number(length);
        self.lines(LINE_END);
    }

    /// Writes a number. One with up to four digits needs no buffer.
    #[inline(always)]
    fn number(&mut self, number: u64) {
        let Some(number) = u16::try_from(number).ok().filter(|number| *number < 10_000) else {
            return self.lines(itoa::Buffer::new().format(number));
        };
        let digit = |divisor: u16| b'0' + (number / divisor % 10) as u8;
        if number >= 1000 {
            self.out.push(digit(1000));
        }
        if number >= 100 {
            self.out.push(digit(100));
        }
        if number >= 10 {
            self.out.push(digit(10));
        }
        self.out.push(digit(1));
    }

    /// Writes fields that the caller has already encoded as lines.
    #[inline(always)]
    pub fn lines(&mut self, lines: &str) {
        self.out.extend_from_slice(lines.as_bytes());
    }

    /// Ends the head with the empty line. If `in_title_case` is true, rewrites field names in title case, such as
    /// `Content-Type`. Some clients compare names byte by byte and need this spelling.
    #[inline(always)]
    pub fn end(self, in_title_case: bool) {
        self.out.extend_from_slice(LINE_END.as_bytes());
        if in_title_case && let Some(head) = self.out.get_mut(self.start..) {
            title_case(head);
        }
    }
}

#[cold]
fn write_status_line(out: &mut Vec<u8>, is_1_0: bool, status: usize, reason: &str) {
    let reason = match reason {
        "" => super::status::HttpStatus::phrase(status),
        reason => reason,
    };
    out.extend_from_slice(if is_1_0 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(LINE_END.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_behind_other_bytes_leaves_them_alone() {
        let mut out = b"etag: x\r\n".to_vec();
        let mut head = HeadWriter::response(&mut out, true, 599, "");
        head.content_length(7);
        head.lines("x-a: 1\r\n");
        head.end(true);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "etag: x\r\nHTTP/1.0 599 Unknown\r\nContent-Length: 7\r\nX-A: 1\r\n\r\n"
        );
    }

    #[test]
    fn a_length_has_all_its_digits() {
        for length in [0, 9, 10, 99, 100, 909, 1000, 9999, 10_000, 65_536, u64::MAX] {
            let mut out = Vec::new();
            let mut head = HeadWriter {
                out: &mut out,
                start: 0,
            };
            head.content_length(length);
            let expected = format!("content-length: {length}\r\n");
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn most_responses_begin_with_the_status_line_of_a_date() {
        assert_eq!(status_line(200), Some(OK_LINE.as_bytes()));
    }

    #[test]
    fn a_request_has_its_method_and_target_first() {
        let mut out = Vec::new();
        HeadWriter::request(&mut out, "GET", "/a?b").end(false);
        assert_eq!(out, b"GET /a?b HTTP/1.1\r\n\r\n");
    }
}
