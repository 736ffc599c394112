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

/// Size of the largest window, in bytes.
const MAX_WINDOW: usize = 1 << MAX_WINDOW_BITS;

/// Inflates the messages that one side of a connection receives.
///
/// With context takeover, a `Decompressor` keeps its own window from the first message on. Without context takeover, a
/// `Decompressor` keeps no window, and borrows the decompressor of the current thread for each message.
pub struct Decompressor {
    window_bits: u8,
    takeover: bool,
    max_ratio: usize,
    own: Option<Box<Own>>,
}

/// The decompressor of a connection with context takeover.
struct Own {
    decompressor: Decompress,
    /// The last bytes of all earlier messages, at most one window. `None` until a message contains a final block,
    /// because only the restart after a final block needs these bytes.
    history: Option<Vec<u8>>,
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
    /// beyond a limit.
    ///
    /// # Errors
    ///
    /// - [`ProtocolError::MessageTooBig`] if the message exceeds `limit`, or [`ProtocolError::Inflation`] if it exceeds
    ///   the limit on the ratio. The smaller of the two limits applies.
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
                let own = self.own.get_or_insert_with(|| Box::new(Own::new(bits)));
                return own.inflate(packed, 1 << bits, &mut pool.step, allowed, refusal);
            }
            // A decompressor with the largest window can inflate the output of every compressor.
            let decompressor = pool
                .decompressor
                .get_or_insert_with(|| Decompress::new_with_window_bits(false, MAX_WINDOW_BITS));
            let inflated = inflate(decompressor, &[], packed, &mut pool.step, allowed, refusal);
            decompressor.reset(false);
            inflated.map(|inflated| inflated.plain)
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

impl Own {
    fn new(bits: u8) -> Self {
        Self {
            decompressor: Decompress::new_with_window_bits(false, bits),
            history: None,
        }
    }

    /// Inflates one message. `window` is the size of the sender's window, in bytes.
    fn inflate(
        &mut self,
        packed: &[u8],
        window: usize,
        step: &mut [u8],
        allowed: usize,
        refusal: ProtocolError,
    ) -> Result<Vec<u8>, ProtocolError> {
        // The first bit of a message tells whether its first block is final. The window is read before this block:
        // after the block, the decompressor has ended. If the first final block of a connection is not the first block
        // of its message, the window of the earlier messages is lost. This does no harm in practice: senders that use
        // final blocks use them from their first message on, and before that message there is no window.
        let begins_with_final_block = packed.first().is_some_and(|byte| byte & 1 == 1);
        if self.history.is_none() && begins_with_final_block {
            let earlier = self.read_window(window, step)?;
            restart(&mut self.decompressor, &earlier, &[])?;
            self.history = Some(earlier);
        }
        let history = self.history.as_deref().unwrap_or_default();
        let inflated = inflate(
            &mut self.decompressor,
            history,
            packed,
            step,
            allowed,
            refusal,
        )?;
        if inflated.has_final_block || self.history.is_some() {
            let history = self.history.get_or_insert_default();
            let recent = last(&inflated.plain, window);
            let gone = (history.len() + recent.len()).saturating_sub(window);
            history.drain(..gone.min(history.len()));
            history.reserve_exact(window.saturating_sub(history.len()));
            history.extend_from_slice(recent);
        }
        Ok(inflated.plain)
    }

    /// Returns the window of the decompressor: the last bytes of all messages so far. `flate2` has no function that
    /// returns the window, so the decompressor inflates a message that copies the window. The caller must restart the
    /// decompressor.
    fn read_window(&mut self, window: usize, step: &mut [u8]) -> Result<Vec<u8>, ProtocolError> {
        let length = usize::try_from(self.decompressor.total_out()).unwrap_or(usize::MAX);
        let length = length.min(window);
        let copy = copy_of_window(length);
        let refusal = ProtocolError::InvalidDeflate;
        let mut copied = inflate(
            &mut self.decompressor,
            &[],
            &copy,
            step,
            usize::MAX,
            refusal,
        )?;
        if copied.plain.len() < length {
            // The previous message ended within a block.
            return Err(ProtocolError::InvalidDeflate);
        }
        copied.plain.truncate(length);
        Ok(copied.plain)
    }
}

/// Returns a compressed message whose content begins with the last `length` bytes before it.
///
/// The message is one block with fixed Huffman codes (RFC 1951 §3.2.6). The block refers back by `length` bytes again
/// and again, and copies 258 bytes each time.
fn copy_of_window(length: usize) -> Vec<u8> {
    const COPIED: usize = 258;
    let Some(back) = length.checked_sub(1) else {
        return vec![0];
    };
    // RFC 1951 §3.2.5: above a distance of 4, a code stands for a range of distances. The lower bits of `back` (the
    // distance minus one) follow the code.
    let extra_bits = back.checked_ilog2().unwrap_or(0).saturating_sub(1);
    let code = 2 * extra_bits as usize + (back >> extra_bits);
    let mut bits = Bits::default();
    // The block is not final, and has the type 01.
    bits.push(0b010, 3);
    for _ in 0..length.div_ceil(COPIED) {
        // Huffman codes begin with their highest bit. The code of the length 258 is 11000101.
        bits.push(0b1010_0011, 8);
        bits.push(code.reverse_bits() >> (usize::BITS - 5), 5);
        bits.push(back & ((1 << extra_bits) - 1), extra_bits);
    }
    // The end of the block is 0000000. Then an empty stored block begins with 000. `inflate` appends the rest of this
    // block, `TAIL`.
    bits.push(0, 7 + 3);
    bits.finish()
}

/// Bits in the order of DEFLATE: the first bit is the lowest bit of the first byte.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// The bits that do not fill a byte yet.
    rest: usize,
    count: u32,
}

impl Bits {
    fn push(&mut self, bits: usize, count: u32) {
        self.rest |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.rest as u8);
            self.rest >>= 8;
            self.count -= 8;
        }
    }

    /// Fills the last byte with zeros, and returns all bytes.
    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.push(0, 8 - self.count);
        }
        self.bytes
    }
}

/// An inflated message.
struct Inflated {
    plain: Vec<u8>,
    has_final_block: bool,
}

/// Inflates one message. Returns `refusal` if the output exceeds `allowed` bytes. `history` has the last bytes of
/// earlier messages to which the blocks after a final block may refer.
fn inflate(
    decompressor: &mut Decompress,
    history: &[u8],
    packed: &[u8],
    step: &mut [u8],
    allowed: usize,
    refusal: ProtocolError,
) -> Result<Inflated, ProtocolError> {
    let mut plain = Vec::new();
    let mut has_final_block = false;
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
                has_final_block = true;
                restart(decompressor, history, &plain)?;
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
    Ok(Inflated {
        plain,
        has_final_block,
    })
}

/// Restarts the decompressor after a final block. Some senders end every flush with a final block (RFC 7692 §7.2.3.4).
/// The following blocks may refer to earlier bytes of the message, and with context takeover also to earlier messages.
/// The function therefore restores the last bytes as dictionaries: each dictionary extends the one before it.
fn restart(
    decompressor: &mut Decompress,
    history: &[u8],
    plain: &[u8],
) -> Result<(), ProtocolError> {
    decompressor.reset(false);
    let recent = last(plain, MAX_WINDOW);
    let earlier = last(history, MAX_WINDOW - recent.len());
    for dictionary in [earlier, recent] {
        if !dictionary.is_empty() {
            decompressor
                .set_dictionary(dictionary)
                .map_err(|_| ProtocolError::InvalidDeflate)?;
        }
    }
    Ok(())
}

/// Returns the last `count` bytes, or all bytes if there are fewer.
fn last(bytes: &[u8], count: usize) -> &[u8] {
    let from = bytes.len().saturating_sub(count);
    bytes.get(from..).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a message with one stored block (RFC 1951 §3.2.4).
    fn stored(plain: &[u8]) -> Vec<u8> {
        let length = u16::try_from(plain.len()).unwrap();
        let mut message = vec![0];
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(&(!length).to_le_bytes());
        message.extend_from_slice(plain);
        message.push(0);
        message
    }

    #[test]
    fn the_window_is_read_at_any_length() {
        let text: Vec<u8> = (0..40_000u32).flat_map(u32::to_le_bytes).collect();
        let mut step = vec![0; STEP];
        let refused = ProtocolError::InvalidDeflate;
        for bits in [9, MAX_WINDOW_BITS] {
            let window = 1 << bits;
            for length in (0..600).chain([4096, 4097, 32_767, 32_768, 32_769, 60_000]) {
                let mut own = Own::new(bits);
                let plain = &text[1000..1000 + length];
                let inflated = own.inflate(&stored(plain), window, &mut step, usize::MAX, refused);
                assert!(inflated.as_deref() == Ok(plain));
                assert!(own.history.is_none(), "no final block");
                let read = own.read_window(window, &mut step);
                assert!(read.as_deref() == Ok(last(plain, window)), "{length}");
            }
        }
    }
}
