//! The chunked transfer coding (RFC 9112 §7.1): an incremental decoder, and the parts of an encoder.

use super::{is_token_byte, is_value_byte};

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The end of a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends the last chunk with the fields after it (RFC 9112 §7.1.2).
pub(crate) fn encode_last_chunk<'a>(
    trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    out: &mut Vec<u8>,
) {
    out.extend(b"0\r\n");
    for (name, value) in trailers {
        out.extend([name, b": ", value, CHUNK_END].concat());
    }
    out.extend(CHUNK_END);
}

/// Maximum number of hexadecimal digits in a chunk size, including leading zeros. A `u64` has 16 hexadecimal digits.
const MAX_SIZE_DIGITS: u8 = 16;

/// Appends the line in front of a chunk's data: the length in hexadecimal and CRLF.
///
/// The caller appends the data and then [`CHUNK_END`]. The caller must not encode empty data, because a chunk of length
/// 0 ends the body.
///
/// ```
/// use hyperlane_core::proto::http::chunked::{CHUNK_END, LAST_CHUNK, encode_chunk_head};
///
/// let mut out = Vec::new();
/// encode_chunk_head(5, &mut out);
/// out.extend_from_slice(b"hello");
/// out.extend_from_slice(CHUNK_END);
/// out.extend_from_slice(LAST_CHUNK);
/// assert_eq!(out, b"5\r\nhello\r\n0\r\n\r\n");
/// ```
pub fn encode_chunk_head(len: usize, out: &mut Vec<u8>) {
    let bits = usize::BITS - len.leading_zeros();
    let digits = bits.div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| {
        let value = (len >> (digit * 4)) & 0xf;
        // A nibble always fits into a `u8`.
        let value = value as u8;
        if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        }
    }));
    out.extend_from_slice(b"\r\n");
}

/// Limits on the bytes of a chunked body that are not data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkedLimits {
    /// Maximum length of the extensions in one chunk, in bytes. Default: 256.
    pub extension_line: u32,
    /// Maximum length of the extensions in the whole body, in bytes. Default: 16 KiB.
    pub extension_total: u32,
    /// Maximum length of the trailer section with its line ends, in bytes. Default: 8 KiB.
    pub trailer_bytes: u32,
}

impl Default for ChunkedLimits {
    fn default() -> Self {
        Self {
            extension_line: 256,
            extension_total: 16 * 1024,
            trailer_bytes: 8 * 1024,
        }
    }
}

/// A violation of the chunked coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkedError {
    /// A chunk does not begin with a hexadecimal size, or an invalid byte follows the size (RFC 9112 §7.1).
    #[error("a chunk size has the byte {byte:#04x}, which is not a hexadecimal digit")]
    InvalidSize {
        /// The byte found.
        byte: u8,
    },
    /// A chunk size has more digits than 64 bits need.
    #[error("a chunk size has more than {MAX_SIZE_DIGITS} digits")]
    SizeTooLong,
    /// A carriage return without a line feed after it (RFC 9112 §2.2).
    #[error("bare carriage return in the chunked coding")]
    BareCr,
    /// A line feed without a carriage return before it (RFC 9112 §2.2).
    #[error("bare line feed in the chunked coding")]
    BareLf,
    /// A control byte in a chunk extension (RFC 9112 §7.1.1).
    #[error("a chunk extension has the byte {byte:#04x}")]
    InvalidExtension {
        /// The byte found.
        byte: u8,
    },
    /// The extensions exceed one of the two limits.
    #[error("the chunk extensions are too large")]
    ExtensionsTooLarge,
    /// The byte after the data of a chunk is not a carriage return (RFC 9112 §7.1).
    #[error("the data of a chunk is not followed by a line end")]
    MissingChunkEnd,
    /// A trailer line is not `name ":" value` (RFC 9112 §7.1.2).
    #[error("a trailer field is malformed at the byte {byte:#04x}")]
    InvalidTrailer {
        /// The byte found.
        byte: u8,
    },
    /// The trailer section exceeds the limit. The status is 431 (RFC 6585 §5).
    #[error("the trailer section is too large")]
    TrailersTooLarge,
}

impl ChunkedError {
    /// Returns the status code for the response. The connection closes after the response.
    pub const fn status(&self) -> u16 {
        match self {
            Self::TrailersTooLarge => 431,
            _ => 400,
        }
    }
}

/// The result of one call of [`ChunkedDecoder::decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'i> {
    /// The next piece of the body; empty if the consumed input contains no data of the body.
    pub data: &'i [u8],
    /// The next piece of the trailer section: its lines with their ends, and the empty line at the end (RFC 9112 §7.1.2).
    /// The decoder has checked each line.
    pub trailers: &'i [u8],
    /// The number of input bytes consumed. `data` is at the end of the consumed bytes.
    pub consumed: usize,
    /// True once the body has ended. The bytes after `consumed` belong to the next message.
    pub done: bool,
}

/// An incremental decoder of chunked bodies. The decoder does not copy the data.
///
/// The input may be split anywhere. The decoder checks trailer fields (RFC 9110 §6.5.1) and returns their lines. The
/// decoder does not limit the length of the body. The caller receives every piece and can limit the total length.
///
/// ```
/// use hyperlane_core::proto::http::chunked::ChunkedDecoder;
///
/// let mut input = &b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\nGET /next"[..];
/// let mut decoder = ChunkedDecoder::default();
/// let mut body = Vec::new();
/// loop {
///     let step = decoder.decode(input)?;
///     body.extend_from_slice(step.data);
///     input = &input[step.consumed..];
///     if step.done || input.is_empty() {
///         break;
///     }
/// }
/// assert_eq!(body, b"hello");
/// assert_eq!(input, b"GET /next");
/// # Ok::<(), hyperlane_core::proto::http::chunked::ChunkedError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    /// The number of data bytes left in the chunk. In the state [`State::Size`], this is the value of the digits so
    /// far.
    remaining: u64,
    state: State,
    digits: u8,
    line_limit: u32,
    line_left: u32,
    extension_left: u32,
    trailer_left: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// Blanks after the size. Only an extension may follow the blanks.
    BlankBeforeExtension,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new(&ChunkedLimits::default())
    }
}

impl ChunkedDecoder {
    /// Creates a decoder that expects the first chunk.
    pub const fn new(limits: &ChunkedLimits) -> Self {
        Self {
            remaining: 0,
            state: State::Size,
            digits: 0,
            line_limit: limits.extension_line,
            line_left: limits.extension_line,
            extension_left: limits.extension_total,
            trailer_left: limits.trailer_bytes,
        }
    }

    /// Returns whether the whole body has been decoded.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Decodes until a piece of data is found, the body ends or the input ends.
    ///
    /// Consumes nothing after the end of the body.
    ///
    /// # Errors
    ///
    /// Returns a [`ChunkedError`] if the body breaks a rule or a limit. The caller must not use the decoder after the
    /// error.
    pub fn decode<'i>(&mut self, input: &'i [u8]) -> Result<Step<'i>, ChunkedError> {
        let mut rest = input;
        let mut trailers = None;
        while self.state != State::Done {
            if trailers.is_none() && self.is_in_trailers() {
                trailers = Some(rest);
            }
            if self.state == State::Data {
                let available = usize::try_from(self.remaining)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                let (data, rest) = rest.split_at_checked(available).unwrap_or((rest, &[]));
                self.remaining -= data.len() as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Step {
                    data,
                    trailers: &[],
                    consumed: input.len() - rest.len(),
                    done: false,
                });
            }
            let Some((byte, tail)) = rest.split_first() else {
                break;
            };
            rest = tail;
            self.state = self.framing(*byte)?;
        }
        Ok(Step {
            data: &[],
            trailers: trailers.map_or(&[], |from: &[u8]| {
                from.get(..from.len() - rest.len()).unwrap_or_default()
            }),
            consumed: input.len() - rest.len(),
            done: self.is_done(),
        })
    }

    const fn is_in_trailers(&self) -> bool {
        matches!(
            self.state,
            State::TrailerStart
                | State::TrailerName
                | State::TrailerValue
                | State::TrailerLf
                | State::EndLf
        )
    }

    /// Handles one byte outside of the chunks' data. Returns the next state.
    fn framing(&mut self, byte: u8) -> Result<State, ChunkedError> {
        match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => Ok(State::SizeLf),
            (State::Size, b';') if self.digits > 0 => self.extension(),
            (State::Size, b' ' | b'\t') if self.digits > 0 => {
                self.extension()?;
                Ok(State::BlankBeforeExtension)
            }
            (State::Size, byte) => self.size_digit(byte),
            // After a size, blanks are valid only before an extension (RFC 9112 §7.1.1).
            (State::BlankBeforeExtension, b';') => self.extension(),
            (State::BlankBeforeExtension, b' ' | b'\t') => {
                self.extension()?;
                Ok(State::BlankBeforeExtension)
            }
            (State::BlankBeforeExtension, byte) => Err(ChunkedError::InvalidSize { byte }),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, byte) if is_value_byte(byte) => self.extension(),
            (State::Extension, b'\n') => Err(ChunkedError::BareLf),
            (State::Extension, byte) => Err(ChunkedError::InvalidExtension { byte }),
            (State::SizeLf, b'\n') => Ok(self.after_size()),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataCr, _) => Err(ChunkedError::MissingChunkEnd),
            (State::DataLf, b'\n') => Ok(self.next_chunk()),
            (State::TrailerLf, b'\n') => self.trailer(State::TrailerStart),
            (State::EndLf, b'\n') => self.trailer(State::Done),
            (State::SizeLf | State::DataLf | State::TrailerLf | State::EndLf, _) => {
                Err(ChunkedError::BareCr)
            }
            (State::TrailerStart, b'\r') => self.trailer(State::EndLf),
            (State::TrailerStart | State::TrailerName, byte) if is_token_byte(byte) => {
                self.trailer(State::TrailerName)
            }
            (State::TrailerName, b':') => self.trailer(State::TrailerValue),
            (State::TrailerValue, b'\r') => self.trailer(State::TrailerLf),
            (State::TrailerValue, byte) if is_value_byte(byte) => self.trailer(State::TrailerValue),
            (State::TrailerStart | State::TrailerName | State::TrailerValue, b'\n') => {
                Err(ChunkedError::BareLf)
            }
            (State::TrailerStart | State::TrailerName | State::TrailerValue, byte) => {
                Err(ChunkedError::InvalidTrailer { byte })
            }
            // `decode` never calls this function in these two states.
            (State::Data | State::Done, _) => Ok(self.state),
        }
    }

    fn size_digit(&mut self, byte: u8) -> Result<State, ChunkedError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\n' => return Err(ChunkedError::BareLf),
            _ => return Err(ChunkedError::InvalidSize { byte }),
        };
        if self.digits == MAX_SIZE_DIGITS {
            return Err(ChunkedError::SizeTooLong);
        }
        self.digits += 1;
        self.remaining = (self.remaining << 4) | u64::from(digit);
        Ok(State::Size)
    }

    /// Counts one byte of an extension against the limits.
    fn extension(&mut self) -> Result<State, ChunkedError> {
        let charge = |left: u32| left.checked_sub(1).ok_or(ChunkedError::ExtensionsTooLarge);
        self.line_left = charge(self.line_left)?;
        self.extension_left = charge(self.extension_left)?;
        Ok(State::Extension)
    }

    /// Counts one byte of the trailer section against the limit.
    fn trailer(&mut self, next: State) -> Result<State, ChunkedError> {
        self.trailer_left = self
            .trailer_left
            .checked_sub(1)
            .ok_or(ChunkedError::TrailersTooLarge)?;
        Ok(next)
    }

    const fn after_size(&self) -> State {
        match self.remaining {
            0 => State::TrailerStart,
            _ => State::Data,
        }
    }

    const fn next_chunk(&mut self) -> State {
        self.digits = 0;
        self.line_left = self.line_limit;
        State::Size
    }
}

#[cfg(test)]
mod tests;
