//! Finds where a request head ends, as its bytes arrive (RFC 9112 §2.2).

use crate::proto::http::is_token_byte;

use super::{HeadError, HeadLimits, diagnose_request_line};

/// What every TLS record of a handshake begins with (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// The first line of the HTTP/2 connection preface (RFC 9113 §3.4).
const HTTP2_PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0";

/// Tells whether a request line ends like those of HTTP/1.
fn has_version(line: &[u8]) -> bool {
    matches!(
        line,
        [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', _]
    )
}

/// Finds the end of a request head in a buffer that grows.
///
/// Every byte is looked at once, however the head is split; what breaks a limit or a rule about line ends is refused as
/// soon as it is seen.
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
    /// All bytes before this one have been looked at.
    checked: usize,
    /// Where the current line begins.
    line: usize,
    /// Where the header section begins; 0 while in the request line.
    fields: usize,
}

impl HeadScanner {
    /// Forgets the head it was looking at.
    pub const fn reset(&mut self) {
        *self = Self {
            checked: 0,
            line: 0,
            fields: 0,
        };
    }

    /// Looks at what arrived since the last call, and gives the length of the head once it is all there.
    ///
    /// `bytes` is always the whole unconsumed buffer, from the first byte of the request. The length includes the empty
    /// line at the end, and the one empty line that is tolerated in front (RFC 9112 §2.2).
    ///
    /// # Errors
    ///
    /// A [`HeadError`] about line ends, NUL, limits, or a first byte that begins no request. The outcome is the same
    /// however the bytes were split.
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
                // The line feed may be on its way.
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
                // An HTTP/0.9 client waits for its answer after this line; nothing more would come.
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

    /// Passes one empty line and judges the first byte; false while there is none.
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
        // The caller goes past this first byte now, so `checked` is never 0 again for this head.
        Ok(true)
    }

    /// Checks that what reaches to `end` is within the limits.
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
