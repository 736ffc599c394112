//! Decompression of messages, with limits that are checked on the way.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use super::super::{Compressed, Message, ProtocolError, Utf8Bytes};
use super::{MAX_WINDOW_BITS, TAIL};

/// Bytes of output per step of inflating.
const STEP: usize = 16 * 1024;

/// The length that any message may reach at any ratio. An empty canvas or a line of dashes inflates much but is no
/// attack, and the default limits accept this length uncompressed.
const ALWAYS_ALLOWED: usize = 1024 * 1024;

/// Number of final blocks that any message may contain, and the number of compressed bytes that allow one more. A
/// restart after a final block costs about as much time as inflating that many bytes.
const FINAL_BLOCKS: usize = 1024;
const BYTES_PER_FINAL_BLOCK: usize = 128;

/// Minimum window that the library supports. A decompressor with a larger window reads the output of every smaller one.
const LIBRARY_MIN_BITS: u8 = 9;

/// Inflates the messages that one side of a connection receives.
///
/// With context takeover, a `Decompressor` keeps a window of its own from the first message on. Without context
/// takeover, it keeps no window and borrows the thread's decompressor for each message.
pub struct Decompressor {
    window_bits: u8,
    takeover: bool,
    max_ratio: usize,
    own: Option<Box<Decompress>>,
}

/// The decompressor and buffer of a thread, for connections without context takeover.
struct Pool {
    decompressor: Option<Decompress>,
    step: Vec<u8>,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool { decompressor: None, step: Vec::new() })
    };
}

impl Decompressor {
    pub(super) fn new(window_bits: u8, takeover: bool, max_ratio: usize) -> Self {
        Self {
            window_bits,
            takeover,
            max_ratio,
            own: None,
        }
    }

    /// Inflates a message to at most `limit` bytes. For any input, inflating stops at most 16 KiB (one step) past the
    /// limit.
    ///
    /// # Errors
    ///
    /// Returns [`ProtocolError::MessageTooBig`] or [`ProtocolError::Inflation`] at the limits,
    /// [`ProtocolError::TooManyFinalBlocks`] for input that wastes CPU time, and [`ProtocolError::InvalidDeflate`] or
    /// [`ProtocolError::InvalidUtf8`] for invalid messages. The caller must close the connection after an error.
    pub fn decode(
        &mut self,
        compressed: &Compressed,
        limit: usize,
    ) -> Result<Message, ProtocolError> {
        let packed = compressed.payload.as_ref();
        let by_ratio = packed
            .len()
            .saturating_mul(self.max_ratio)
            .max(ALWAYS_ALLOWED);
        let refusal = match limit <= by_ratio {
            true => ProtocolError::MessageTooBig { limit },
            false => ProtocolError::Inflation {
                ratio: self.max_ratio,
            },
        };
        let allowed = limit.min(by_ratio);
        let plain = POOL.with_borrow_mut(|pool| {
            if pool.step.is_empty() {
                pool.step = vec![0; STEP];
            }
            if self.takeover {
                let bits = self.window_bits.clamp(LIBRARY_MIN_BITS, MAX_WINDOW_BITS);
                let own = self
                    .own
                    .get_or_insert_with(|| Box::new(Decompress::new_with_window_bits(false, bits)));
                return inflate(own, packed, &mut pool.step, allowed, refusal);
            }
            // A decompressor with the largest window reads the output of every smaller one.
            let decompressor = pool
                .decompressor
                .get_or_insert_with(|| Decompress::new_with_window_bits(false, MAX_WINDOW_BITS));
            let plain = inflate(decompressor, packed, &mut pool.step, allowed, refusal);
            decompressor.reset(false);
            plain
        })?;
        let plain = Bytes::from(plain);
        match compressed.opcode.is_text() {
            false => Ok(Message::Binary(plain)),
            true => Utf8Bytes::try_from(plain)
                .map(Message::Text)
                .map_err(|_| ProtocolError::InvalidUtf8),
        }
    }
}

/// Inflates one message. Returns `refusal` if the output exceeds `allowed` bytes.
fn inflate(
    decompressor: &mut Decompress,
    packed: &[u8],
    step: &mut [u8],
    allowed: usize,
    refusal: ProtocolError,
) -> Result<Vec<u8>, ProtocolError> {
    let mut plain = Vec::new();
    let mut restarts = FINAL_BLOCKS + packed.len() / BYTES_PER_FINAL_BLOCK;
    for mut input in [packed, &TAIL] {
        loop {
            let (before_in, before_out) = (decompressor.total_in(), decompressor.total_out());
            let status = decompressor
                .decompress(input, step, FlushDecompress::Sync)
                .map_err(|_| ProtocolError::InvalidDeflate)?;
            let taken = usize::try_from(decompressor.total_in() - before_in).unwrap_or(usize::MAX);
            let given =
                usize::try_from(decompressor.total_out() - before_out).unwrap_or(usize::MAX);
            input = input.get(taken..).unwrap_or_default();
            if given > allowed - plain.len().min(allowed) {
                return Err(refusal);
            }
            plain.extend_from_slice(step.get(..given).unwrap_or_default());
            if status == Status::StreamEnd {
                restarts = restarts
                    .checked_sub(1)
                    .ok_or(ProtocolError::TooManyFinalBlocks)?;
                restart(decompressor, &plain)?;
            }
            let made_progress = taken > 0 || given > 0;
            if !made_progress || (input.is_empty() && given < step.len()) {
                break;
            }
        }
        if !input.is_empty() {
            return Err(ProtocolError::InvalidDeflate);
        }
    }
    // The buffer grew by doubling. Unused capacity would stay allocated for the lifetime of the message.
    if plain.capacity() - plain.len() > plain.len() / 4 {
        plain.shrink_to_fit();
    }
    Ok(plain)
}

/// Restarts after a block marked as final. Some senders flush with such blocks (RFC 7692 §7.2.3.4), and the following
/// blocks may refer to earlier bytes of the message.
fn restart(decompressor: &mut Decompress, plain: &[u8]) -> Result<(), ProtocolError> {
    decompressor.reset(false);
    let window = plain.len().saturating_sub(1 << MAX_WINDOW_BITS);
    match plain.get(window..) {
        Some(recent) if !recent.is_empty() => decompressor
            .set_dictionary(recent)
            .map(drop)
            .map_err(|_| ProtocolError::InvalidDeflate),
        _ => Ok(()),
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("window_bits", &self.window_bits)
            .field("takeover", &self.takeover)
            .field("max_ratio", &self.max_ratio)
            .finish_non_exhaustive()
    }
}
