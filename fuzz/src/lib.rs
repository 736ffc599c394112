//! What the fuzz targets share: taking an input apart, and decoding a stream in pieces.

use bytes::BufMut;
use hyperlane_core::proto::ws::{Decoder, Incoming, Limits, ProtocolError, Role};

/// Takes an input apart from its front; past its end there are zeros and empty slices.
///
/// Plain bytes instead of a derived format, so that a seed can be written by hand.
pub struct Source<'a>(pub &'a [u8]);

impl<'a> Source<'a> {
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Takes `len` bytes, or what there is.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Takes a length byte and as many bytes.
    pub fn chunk(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.take(len.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a stream of frames amounts to.
pub type Outcome = (Vec<Incoming>, Option<ProtocolError>);

/// How a stream is cut into reads.
pub struct Reads<'a> {
    /// The sizes, repeated without end; zeros count as one.
    pub sizes: &'a [u8],
    /// What the sizes are multiplied by.
    pub scale: usize,
    /// Whether large frames are read straight into their message.
    pub direct: bool,
}

/// Decodes a stream that is read as `reads` says.
pub fn decode(role: Role, limits: Limits, mut stream: &[u8], reads: &Reads<'_>) -> Outcome {
    let mut decoder = Decoder::new(role, limits);
    let mut events = Vec::new();
    let sizes: Vec<usize> = match reads.sizes {
        [] => vec![1],
        sizes => sizes
            .iter()
            .map(|size| usize::from(*size).max(1) * reads.scale)
            .collect(),
    };
    let mut sizes = sizes.iter().cycle();
    while !stream.is_empty() {
        let size = sizes.next().map_or(1, |size| (*size).min(stream.len()));
        if reads.direct
            && let Some(mut target) = decoder.direct_target(size)
        {
            let (read, rest) = stream.split_at(target.remaining_mut());
            assert!(!read.is_empty(), "a lent buffer has room");
            target.put_slice(read);
            stream = rest;
            match decoder.direct_filled() {
                Ok(event) => events.extend(event),
                Err(error) => return (events, Some(error)),
            }
            continue;
        }
        let (mut read, rest) = stream.split_at(size);
        stream = rest;
        loop {
            match decoder.next(read) {
                Ok(decoded) => {
                    read = &read[decoded.consumed..];
                    match decoded.event {
                        Some(event) => events.push(event),
                        None => break,
                    }
                }
                Err(error) => {
                    assert!(decoder.is_idle(), "nothing is kept after an error");
                    return (events, Some(error));
                }
            }
        }
        assert!(read.is_empty(), "without an event everything was taken in");
    }
    (events, None)
}

/// Decodes a stream that is read whole.
pub fn decode_whole(role: Role, limits: Limits, stream: &[u8]) -> Outcome {
    let reads = Reads {
        sizes: &[1],
        scale: stream.len().max(1),
        direct: false,
    };
    decode(role, limits, stream, &reads)
}
