//! Compression of messages into frames.

use std::cell::RefCell;
use std::fmt;

use flate2::{Compress, Compression, FlushCompress};

use super::super::Message;
use super::super::encoder::{encode_frame, encode_with};
use super::{DeflateConfig, TAIL};

/// Length of the output buffer for one step of compression, in bytes.
const STEP: usize = 16 * 1024;

/// Minimum window that `flate2` supports, in bits. For a negotiated window of 8 bits, the compressor uses a window of 9
/// bits. The compressor of zlib refers back by at most its window size minus 262 bytes (zlib's `MIN_LOOKAHEAD`). With 9
/// bits, the largest distance is 512 - 262 = 250 bytes. A receiver with a window of 8 bits (256 bytes) can therefore
/// inflate the result.
const LIBRARY_MIN_BITS: u8 = 9;

/// Maximum number of compressors that a thread keeps, each for one window size and level.
const POOL_SIZE: usize = 4;

/// Compresses the messages that one side of a connection sends.
///
/// With context takeover, a `Compressor` creates its own `flate2` compressor for its first compressed message. It keeps
/// that compressor, and the window in it, for later messages. Without context takeover, a `Compressor` keeps no window.
/// For each message, it then borrows one of the `flate2` compressors of the current thread.
pub struct Compressor {
    kind: Kind,
    min_size: usize,
    takeover: bool,
    own: Option<Box<Compress>>,
}

/// The settings of a `flate2` compressor. Compressors with equal settings are interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    level: u8,
    window_bits: u8,
}

impl Kind {
    fn make(self) -> Compress {
        // `flate2` panics if the level or the window is out of range. `DeflateConfig::validate` refuses such settings,
        // but the caller may not have called `validate`.
        let level = Compression::new(u32::from(self.level.min(9)));
        let bits = self.window_bits.clamp(LIBRARY_MIN_BITS, 15);
        Compress::new_with_window_bits(level, false, bits)
    }
}

/// The `flate2` compressors and the buffers of a thread. Connections without context takeover share the compressors,
/// and all connections share the buffers.
struct Pool {
    compressors: Vec<(Kind, Compress)>,
    step: Vec<u8>,
    compressed: Vec<u8>,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool { compressors: Vec::new(), step: Vec::new(), compressed: Vec::new() })
    };
}

impl Compressor {
    pub(super) fn new(window_bits: u8, takeover: bool, config: &DeflateConfig) -> Self {
        Self {
            kind: Kind {
                level: config.level,
                window_bits,
            },
            // At least 1, so that empty messages are never compressed. Each message ends with a flush. Without input
            // since the last flush, `flate2` ignores the next one and produces nothing.
            min_size: config.min_size.max(1),
            takeover,
            own: None,
        }
    }

    /// Creates a compressor without context takeover for a window of 8 to 15 bits. Every connection with the same or a
    /// larger window can receive the compressed messages.
    pub fn shared(window_bits: u8, config: &DeflateConfig) -> Self {
        Self::new(window_bits, false, config)
    }

    /// Appends a message as one frame. A client must pass a `key`, which masks the frame.
    ///
    /// Compresses text and binary messages of at least the minimum length. If compression does not shorten a message,
    /// the result depends on context takeover. Without context takeover, the function appends the message uncompressed.
    /// With context takeover, the function appends the compressed message, because later messages may refer to this
    /// message.
    pub fn encode(&mut self, message: &Message, key: Option<[u8; 4]>, out: &mut Vec<u8>) {
        let payload = match message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            _ => return encode_with(message, key, out),
        };
        if payload.len() < self.min_size {
            return encode_with(message, key, out);
        }
        POOL.with_borrow_mut(|pool| match self.compress(payload, pool) {
            true => encode_frame(true, true, message.opcode(), &pool.compressed, key, out),
            false => encode_with(message, key, out),
        });
        POOL.with_borrow_mut(|pool| pool.compressed.shrink_to(4 * STEP));
    }

    /// Compresses a message into `pool.compressed`. Returns false if the caller should send the message uncompressed.
    fn compress(&mut self, payload: &[u8], pool: &mut Pool) -> bool {
        if pool.step.is_empty() {
            pool.step = vec![0; STEP];
        }
        pool.compressed.clear();
        if self.takeover {
            let own = self.own.get_or_insert_with(|| Box::new(self.kind.make()));
            if deflate(own, payload, &mut pool.step, &mut pool.compressed) {
                // The compressor's window now contains the message, and the receiver's window must contain the same
                // bytes. The caller therefore sends the compressed message even if it is longer than the payload.
                return true;
            }
            // No known input makes `flate2` fail here. After a failure, the compressor is dropped. The next message
            // then starts with an empty window, and refers to no earlier message.
            self.own = None;
            return false;
        }
        let at = pool
            .compressors
            .iter()
            .position(|(kind, _)| *kind == self.kind);
        let at = at.unwrap_or_else(|| {
            pool.compressors.truncate(POOL_SIZE - 1);
            pool.compressors.push((self.kind, self.kind.make()));
            pool.compressors.len() - 1
        });
        let Some((_, compressor)) = pool.compressors.get_mut(at) else {
            return false;
        };
        let done = deflate(compressor, payload, &mut pool.step, &mut pool.compressed);
        compressor.reset();
        done && pool.compressed.len() < payload.len()
    }
}

/// Compresses one message, and removes [`TAIL`] from the end of the output. Returns false if `flate2` fails, or if the
/// output does not end with [`TAIL`].
fn deflate(
    compressor: &mut Compress,
    mut payload: &[u8],
    step: &mut [u8],
    compressed: &mut Vec<u8>,
) -> bool {
    loop {
        let (before_in, before_out) = (compressor.total_in(), compressor.total_out());
        if compressor
            .compress(payload, step, FlushCompress::Sync)
            .is_err()
        {
            return false;
        }
        let taken = usize::try_from(compressor.total_in() - before_in).unwrap_or(usize::MAX);
        let given = usize::try_from(compressor.total_out() - before_out).unwrap_or(usize::MAX);
        payload = payload.get(taken..).unwrap_or_default();
        compressed.extend_from_slice(step.get(..given).unwrap_or_default());
        // If `flate2` has not filled `step`, the flush is complete.
        if payload.is_empty() && given < step.len() {
            break;
        }
    }
    let is_flushed = compressed.ends_with(&TAIL);
    compressed.truncate(compressed.len().saturating_sub(TAIL.len()));
    is_flushed
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("kind", &self.kind)
            .field("min_size", &self.min_size)
            .field("takeover", &self.takeover)
            .finish_non_exhaustive()
    }
}
