//! Decompression of messages. The decompressor checks the limits while it inflates a message.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use super::super::{Compressed, Message, ProtocolError, Utf8Bytes};
use super::{MAX_WINDOW_BITS, TAIL};

/// Length of the output buffer for one step of inflation, in bytes.
const STEP: usize = 16 * 1024;

/// Inflated length of a message, in bytes, up to which the limit on the ratio does not apply. Harmless messages such as
/// an empty canvas or a line of dashes can have a high ratio. A message of this length is no danger to the server: by
/// default, a client may send as many bytes without compression.
const ALWAYS_ALLOWED: usize = 1024 * 1024;

/// Number of final blocks (DEFLATE blocks that are marked as the last one) that every message may contain. A final
/// block ends the DEFLATE stream, so the decompressor must restart after it. For each `BYTES_PER_FINAL_BLOCK`
/// compressed bytes, a message may contain one more final block. A restart takes about as much time as the inflation of
/// `BYTES_PER_FINAL_BLOCK` bytes.
const FINAL_BLOCKS: usize = 1024;
const BYTES_PER_FINAL_BLOCK: usize = 128;

/// Minimum window that `flate2` supports, in bits. The decompressor uses this window if a window of 8 bits is agreed.
/// This works, because a decompressor can inflate the output of a compressor with the same or a smaller window.
const LIBRARY_MIN_BITS: u8 = 9;

/// Inflates the messages that one side of a connection receives.
///
/// With context takeover, a `Decompressor` keeps its own window from the first message on. Without context takeover, a
/// `Decompressor` keeps no window, and borrows the decompressor of the current thread for each message.
pub struct Decompressor {
    window_bits: u8,
    takeover: bool,
    max_ratio: usize,
    own: Option<Box<Decompress>>,
}

/// The decompressor and buffer of a thread. Connections without context takeover share the decompressor, and all
/// connections share the buffer.
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

    /// Inflates a message to at most `limit` bytes. For any input, stops after at most 16 KiB (one step) of output
    /// beyond the limit.
    ///
    /// # Errors
    ///
    /// - [`ProtocolError::MessageTooBig`] or [`ProtocolError::Inflation`] if the message exceeds a limit.
    /// - [`ProtocolError::TooManyFinalBlocks`] if the message has more final blocks than its compressed length allows.
    ///   Each final block costs CPU time.
    /// - [`ProtocolError::InvalidDeflate`] or [`ProtocolError::InvalidUtf8`] if the message is invalid.
    ///
    /// The caller must close the connection after an error.
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
            // A decompressor with the largest window can inflate the output of every compressor.
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
    // The buffer has grown by doubling. Without this step, its unused capacity would stay allocated as long as the
    // message exists.
    if plain.capacity() - plain.len() > plain.len() / 4 {
        plain.shrink_to_fit();
    }
    Ok(plain)
}

/// Restarts the decompressor after a final block. Some senders end every flush with a final block (RFC 7692 §7.2.3.4).
/// The following blocks may refer to earlier bytes of the message, so the function restores these bytes as a
/// dictionary.
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
