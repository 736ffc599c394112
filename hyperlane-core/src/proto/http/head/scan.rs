//! The search for the end of a request head while its bytes arrive (RFC 9112 §2.2).

use crate::proto::http::is_token_byte;

use super::{HeadError, HeadLimits, diagnose_request_line};

/// The first byte of every TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Length of the HTTP/2 connection preface, in bytes (RFC 9113 §3.4).
#[cfg(feature = "http2")]
pub(crate) const HTTP2_PREFACE_LENGTH: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// The first line of the HTTP/2 connection preface (RFC 9113 §3.4).
const HTTP2_PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0";

/// Returns whether a request line ends with an HTTP/1 version.
fn has_version(line: &[u8]) -> bool {
    matches!(
        line,
        [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', _]
    )
}

/// Finds the end of a request head in a growing buffer.
///
/// When more bytes arrive, the scanner continues where it has stopped, and not at the first byte. The scanner reports a
/// line or a header section that is too long, and a wrong line end, as soon as the offending byte arrives.
///
/// ```
/// use hyperlane_core::proto::http::head::{HeadLimits, HeadScanner};
///
/// let limits = HeadLimits::default();
/// let mut scanner = HeadScanner::default();
/// assert_eq!(scanner.scan(b"GET / HTTP/1.0\r\n", &limits), Ok(None));
/// assert_eq!(scanner.scan(b"GET / HTTP/1.0\r\n\r\nnext", &limits), Ok(Some(18)));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// The number of bytes scanned so far.
    checked: usize,
    /// The start of the current line.
    line: usize,
    /// The start of the header section; 0 until the request line is complete.
    fields: usize,
}

impl HeadScanner {
    /// Resets the scanner for the next head.
    pub const fn reset(&mut self) {
        *self = Self {
            checked: 0,
            line: 0,
            fields: 0,
        };
    }

    /// Returns whether the scanner has scanned no bytes of the current head.
    pub const fn is_fresh(&self) -> bool {
        self.checked == 0
    }

    /// Scans the bytes that arrived since the last call. Returns the length of the head once the head is complete.
    ///
    /// `bytes` must always be the whole unconsumed buffer from the first byte of the request. The scanner tolerates one
    /// empty line before the request line (RFC 9112 §2.2). The length includes this line and the empty line at the end.
    ///
    /// # Errors
    ///
    /// Returns a [`HeadError`] for one of these reasons:
    ///
    /// - a wrong line end, or NUL;
    /// - a request line or a header section that is too long;
    /// - a first byte that cannot begin a request;
    /// - an HTTP/2 preface;
    /// - a malformed request line that does not end with an HTTP/1 version.
    ///
    /// The result is the same for every division of the head into pieces.
    #[inline]
    pub fn scan(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        if self.checked == 0 && !self.open(bytes)? {
            return Ok(None);
        }
        loop {
            let tail = bytes.get(self.checked..).unwrap_or_default();
            let Some(found) = memchr::memchr3(b'\r', b'\n', 0, tail) else {
                self.checked = bytes.len();
                self.bound(bytes.len(), limits)?;
                return Ok(None);
            };
            let at = self.checked + found;
            self.checked = at;
            self.bound(at, limits)?;
            match tail.get(found..).unwrap_or_default() {
                [b'\r', b'\n', ..] => {}
                // The line feed may arrive with the next bytes.
                [b'\r'] => return Ok(None),
                [b'\r', ..] => return Err(HeadError::BareCr { at }),
                [b'\n', ..] => return Err(HeadError::BareLf { at }),
                _ => return Err(HeadError::Nul { at }),
            }
            let end = at + 2;
            if self.fields == 0 {
                let line = bytes.get(self.line..at).unwrap_or_default();
                if line == HTTP2_PREFACE_LINE {
                    return Err(HeadError::Http2Preface);
                }
                // A line without a version may come from an HTTP/0.9 client. Such a client sends no header section, so
                // the scanner refuses the line at once, and does not wait for a header section.
                if !has_version(line)
                    && let Some(error) = diagnose_request_line(line)
                {
                    return Err(error);
                }
                self.fields = end;
            } else if at == self.line {
                self.bound(end, limits)?;
                return Ok(Some(end));
            }
            self.line = end;
            self.checked = end;
        }
    }

    /// Skips one empty line, and checks the first byte of the request line. Returns false until this byte has arrived.
    fn open(&mut self, bytes: &[u8]) -> Result<bool, HeadError> {
        let (start, first) = match bytes {
            [] | [b'\r'] | [b'\r', b'\n'] => return Ok(false),
            [b'\r', b'\n', first, ..] => (2, *first),
            [b'\r', ..] => return Err(HeadError::BareCr { at: 0 }),
            [first, ..] => (0, *first),
        };
        if !is_token_byte(first) {
            return Err(match first {
                TLS_HANDSHAKE => HeadError::TlsOnPlainPort,
                b'\n' => HeadError::BareLf { at: start },
                0 => HeadError::Nul { at: start },
                byte => HeadError::InvalidFirstByte { byte },
            });
        }
        self.line = start;
        self.checked = start;
        // The first byte is not a line end, so `scan` next sets `checked` to a position after this byte. `checked` is
        // then not 0 any more, and `scan` does not call `open` again for this head.
        Ok(true)
    }

    /// Checks the limits for the bytes up to `end`.
    fn bound(&self, end: usize, limits: &HeadLimits) -> Result<(), HeadError> {
        if self.fields == 0 {
            if end - self.line > limits.request_line {
                return Err(HeadError::RequestLineTooLong {
                    limit: limits.request_line,
                });
            }
        } else if end - self.fields > limits.header_bytes {
            return Err(HeadError::HeadersTooLarge {
                limit: limits.header_bytes,
            });
        }
        Ok(())
    }
}
