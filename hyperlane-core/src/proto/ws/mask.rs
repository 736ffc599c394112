//! Payload masking (RFC 6455 §5.3): XOR with a four-byte key. The same operation masks and unmasks.
//!
//! [`apply`] handles chunks of a fixed size, because the compiler can vectorize and unroll a loop over such chunks.

const WORD: usize = size_of::<u64>();

/// Number of bytes that one step of the main loop of [`apply`] masks.
const LINE: usize = 128;

/// Number of bytes that [`copy`] appends, and then masks, at a time. A block of this size stays in the L1 cache between
/// the two steps. A single pass has fewer instructions, but was slower where payloads come from the socket.
const BLOCK: usize = 4 * 1024;

/// Masks or unmasks `buf` in place.
///
/// `phase` is the number of payload bytes before `buf`. Only `phase` modulo four matters.
///
/// ```
/// use hyperlane_core::proto::ws::mask;
///
/// let mut payload = *b"Hello";
/// mask::apply(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
/// ```
#[inline]
pub fn apply(buf: &mut [u8], key: [u8; 4], phase: usize) {
    apply_wide(buf, widen(rotate(key, phase)));
}

#[inline]
fn apply_wide(buf: &mut [u8], wide: u64) {
    let (lines, rest) = buf.as_chunks_mut::<LINE>();
    for line in lines {
        apply_words(line.as_chunks_mut().0, wide);
    }
    let (words, tail) = rest.as_chunks_mut();
    apply_words(words, wide);
    for (byte, key) in tail.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= key;
    }
}

#[inline]
fn apply_words(words: &mut [[u8; WORD]], wide: u64) {
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
}

/// Appends `src` to `dst`, masked or unmasked. `phase` is the number of payload bytes before `src`.
pub fn copy(src: &[u8], key: [u8; 4], phase: usize, dst: &mut Vec<u8>) {
    let wide = widen(rotate(key, phase));
    dst.reserve(src.len());
    // The length of each block, except the last, is a multiple of four. So every block starts at the same byte of the
    // key.
    let (blocks, rest) = src.as_chunks::<BLOCK>();
    for block in blocks {
        append(block, wide, dst);
    }
    append(rest, wide, dst);
}

fn append(src: &[u8], wide: u64, dst: &mut Vec<u8>) {
    let start = dst.len();
    dst.extend_from_slice(src);
    apply_wide(dst.get_mut(start..).unwrap_or_default(), wide);
}

/// Returns `src` masked or unmasked, in an allocation of exactly this size.
#[inline]
pub(super) fn copied(src: &[u8], key: [u8; 4]) -> Box<[u8]> {
    if src.len() <= BLOCK {
        let mut copied: Box<[u8]> = src.into();
        apply_wide(&mut copied, widen(key));
        return copied;
    }
    let mut copied = Vec::with_capacity(src.len());
    copy(src, key, 0, &mut copied);
    copied.into_boxed_slice()
}

/// Rotates `key` so that the first byte of the key belongs to the payload byte at `phase`.
#[inline]
pub(super) fn rotate(key: [u8; 4], phase: usize) -> [u8; 4] {
    let bits = 8 * (phase % 4) as u32;
    u32::from_le_bytes(key).rotate_right(bits).to_le_bytes()
}

/// Returns the key twice, in the byte order of memory.
#[inline]
fn widen(key: [u8; 4]) -> u64 {
    let key = u64::from(u32::from_ne_bytes(key));
    key << 32 | key
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// Masks byte by byte. RFC 6455 §5.3 defines masking in this form.
    fn oracle(src: &[u8], key: [u8; 4], phase: usize) -> Vec<u8> {
        src.iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key[(i + phase) % 4])
            .collect()
    }

    #[test]
    fn both_forms_agree_with_the_definition_at_every_length_and_phase() {
        for len in (0..200).chain([4095, 4096, 4097, 12_295]) {
            let src: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            for phase in 0..6 {
                let expected = oracle(&src, KEY, phase);
                let mut applied = src.clone();
                apply(&mut applied, KEY, phase);
                assert_eq!(applied, expected, "apply, {len} bytes at phase {phase}");
                let mut copied = b"before".to_vec();
                copy(&src, KEY, phase, &mut copied);
                assert_eq!(&copied[..6], b"before");
                assert_eq!(&copied[6..], expected, "copy, {len} bytes at phase {phase}");
            }
            assert_eq!(*super::copied(&src, KEY), oracle(&src, KEY, 0)[..]);
        }
    }

    #[test]
    fn a_payload_cut_anywhere_continues_at_its_phase() {
        let src: Vec<u8> = (0..50).collect();
        let expected = oracle(&src, KEY, 0);
        for cut in 0..=src.len() {
            let mut out = Vec::new();
            copy(&src[..cut], KEY, 0, &mut out);
            copy(&src[cut..], KEY, cut, &mut out);
            assert_eq!(out, expected);
        }
    }
}
