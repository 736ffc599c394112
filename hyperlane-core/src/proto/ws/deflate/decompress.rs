//! Compressed messages to messages, within limits that are checked on the way.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use super::super::{Compressed, Message, ProtocolError, Utf8Bytes};
use super::{MAX_WINDOW_BITS, TAIL};

/// Bytes that one step of inflating gives out.
const STEP: usize = 16 * 1024;

/// What any message may become, whatever the ratio: an empty canvas or a line of dashes is no attack,
/// and a client may send this much uncompressed by default.
const ALWAYS_ALLOWED: usize = 1024 * 1024;

/// Final blocks that any message may have, and the bytes on the wire that allow one more: starting afresh
/// takes about as long as inflating them.
const FINAL_BLOCKS: usize = 1024;
const BYTES_PER_FINAL_BLOCK: usize = 128;

/// The least window that the library takes; a larger one reads everything that a smaller one does.
const LIBRARY_MIN_BITS: u8 = 9;

/// Inflates what one side of a connection receives.
///
/// With context takeover it holds its window from the first message on; without, it holds nothing and
/// borrows a decompressor of the thread.
pub struct Decompressor {
    window_bits: u8,
    takeover: bool,
    max_ratio: usize,
    own: Option<Box<Decompress>>,
}

/// What a thread keeps for messages that stand alone.
struct Shop {
    decompressor: Option<Decompress>,
    step: Vec<u8>,
}

thread_local! {
    static SHOP: RefCell<Shop> = const {
        RefCell::new(Shop { decompressor: None, step: Vec::new() })
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

    /// Inflates a message to at most `limit` bytes; the output never exceeds what is allowed by more
    /// than one step of 16 KiB, whatever the input wants.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::MessageTooBig`] and [`ProtocolError::Inflation`] at the limits,
    /// [`ProtocolError::TooManyFinalBlocks`] for what would keep us busy, [`ProtocolError::InvalidDeflate`]
    /// and [`ProtocolError::InvalidUtf8`] for what is no message.
    /// After an error the connection has to be closed.
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
        let plain = SHOP.with_borrow_mut(|shop| {
            if shop.step.is_empty() {
                shop.step = vec![0; STEP];
            }
            if self.takeover {
                let bits = self.window_bits.clamp(LIBRARY_MIN_BITS, MAX_WINDOW_BITS);
                let own = self
                    .own
                    .get_or_insert_with(|| Box::new(Decompress::new_with_window_bits(false, bits)));
                return inflate(own, packed, &mut shop.step, allowed, refusal);
            }
            // The largest window reads what was written with any.
            let decompressor = shop
                .decompressor
                .get_or_insert_with(|| Decompress::new_with_window_bits(false, MAX_WINDOW_BITS));
            let plain = inflate(decompressor, packed, &mut shop.step, allowed, refusal);
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

/// Inflates one message; `refusal` is for more than `allowed` bytes.
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
    // Growth by doubling may have left much room, which would live as long as the message.
    if plain.capacity() - plain.len() > plain.len() / 4 {
        plain.shrink_to_fit();
    }
    Ok(plain)
}

/// Goes on after a block that was marked as the last, as some senders flush that way (RFC 7692
/// §7.2.3.4); what follows may look back at what came before in this message.
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
