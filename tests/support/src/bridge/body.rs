//! The body of a request, from the framing of HTTP/1.1 to DATA.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::io::AsyncRead;

use super::input::Input;

/// The framing of a body, and the part of it that has not been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes follow. 0 after the last.
    Length(u64),
    /// A chunk begins.
    Chunks,
    /// So many bytes of a chunk follow, and then its line end.
    Chunk(u64),
}

/// A part of a body.
#[derive(Debug)]
pub(super) enum Part {
    Data(Bytes),
    /// The body is complete.
    End(HeaderMap),
    /// The client has ended before the body, or the framing is wrong.
    Broken,
}

impl Framing {
    /// Returns the framing that the fields declare; `None` if they contradict each other.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        if headers.contains_key(header::TRANSFER_ENCODING) {
            let is_chunked = headers[header::TRANSFER_ENCODING].as_bytes();
            let is_chunked = is_chunked.eq_ignore_ascii_case(b"chunked");
            return (is_chunked && lengths.next().is_none()).then_some(Self::Chunks);
        }
        match (lengths.next(), lengths.next()) {
            (None, _) => Some(Self::Length(0)),
            (Some(length), None) => Some(Self::Length(length.to_str().ok()?.parse().ok()?)),
            (Some(_), Some(_)) => None,
        }
    }

    /// Returns whether the body is over, or empty.
    pub(super) fn is_over(self) -> bool {
        self == Self::Length(0)
    }

    /// Reads the next part. Cancel safe: the bytes of a part that has not been returned are still there.
    pub(super) async fn next<R: AsyncRead + Unpin>(&mut self, input: &mut Input<R>) -> Part {
        self.try_next(input).await.unwrap_or(Part::Broken)
    }

    async fn try_next<R: AsyncRead + Unpin>(&mut self, input: &mut Input<R>) -> Option<Part> {
        loop {
            match *self {
                Self::Length(0) => return Some(Part::End(HeaderMap::new())),
                Self::Length(left) => {
                    let piece = input.piece(usize::try_from(left).ok()?).await?;
                    *self = Self::Length(left - piece.len() as u64);
                    return Some(Part::Data(piece));
                }
                Self::Chunk(0) => {
                    input.line().await?;
                    *self = Self::Chunks;
                }
                Self::Chunk(left) => {
                    let piece = input.piece(usize::try_from(left).ok()?).await?;
                    *self = Self::Chunk(left - piece.len() as u64);
                    return Some(Part::Data(piece));
                }
                Self::Chunks => {
                    let line = input.line().await?;
                    let size = std::str::from_utf8(&line).ok()?;
                    let size = size.split(';').next()?.trim();
                    match u64::from_str_radix(size, 16).ok()? {
                        0 => {
                            let trailers = trailers(input).await?;
                            *self = Self::Length(0);
                            return Some(Part::End(trailers));
                        }
                        size => *self = Self::Chunk(size),
                    }
                }
            }
        }
    }
}

async fn trailers<R: AsyncRead + Unpin>(input: &mut Input<R>) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    loop {
        let line = input.line().await?;
        let line = line.trim_ascii();
        if line.is_empty() {
            return Some(trailers);
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        trailers.append(name, value);
    }
}
