//! Frame headers (RFC 6455 §5.2). The module does not check the rules that depend on earlier frames of a connection.

use std::ops::Deref;

use super::{ProtocolError, WebSocketOpcode};

/// Maximum length of a frame header in bytes: two bytes, a 64-bit length, and a mask key.
pub const MAX_HEADER: usize = 14;

/// Maximum payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

pub(super) const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const OPCODE: u8 = 0x0F;
pub(super) const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
pub(super) const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// True for the last frame of a message.
    pub fin: bool,
    /// The reserved bit that permessage-deflate uses (RFC 7692 §6).
    pub rsv1: bool,
    /// The kind of frame. The parser refuses reserved opcodes.
    pub opcode: WebSocketOpcode,
    /// The key that masks the payload.
    pub mask: Option<[u8; 4]>,
    /// The length of the payload, in bytes.
    pub length: u64,
}

/// Parses a frame header. Returns the header and its length in bytes, or `None` if more input is needed.
///
/// Reports a violation as soon as the offending byte arrives. Only `NonMinimalLength` is reported later, when all bytes
/// of the length have arrived.
///
/// # Errors
///
/// Returns `ReservedBits` (for RSV2, RSV3, or RSV1 on a control frame), `ReservedOpcode`, `FragmentedControl`,
/// `OversizedControl`, `NonMinimalLength` or `LengthHighBit` (RFC 6455 §5.2, §5.5).
///
/// ```
/// use hyperlane_core::proto::ws::frame::parse;
///
/// let (header, header_len) = parse(b"\x82\x7e\x01\x00...").unwrap().unwrap();
/// assert_eq!((header.length, header_len), (256, 4));
/// assert!(parse(b"\x82\x7e\x01").unwrap().is_none());
/// ```
#[inline]
pub fn parse(input: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
    let Some((&first, rest)) = input.split_first() else {
        return Ok(None);
    };
    let opcode = WebSocketOpcode::from_u8(first & OPCODE);
    let fin = first & FIN != 0;
    let rsv1 = first & RSV1 != 0;
    if first & RSV2_RSV3 != 0 || (rsv1 && opcode.is_control()) {
        return Err(ProtocolError::ReservedBits);
    }
    if let WebSocketOpcode::Reserved(value) = opcode {
        return Err(ProtocolError::ReservedOpcode(value));
    }
    if opcode.is_control() && !fin {
        return Err(ProtocolError::FragmentedControl);
    }

    let Some((&second, rest)) = rest.split_first() else {
        return Ok(None);
    };
    let short = second & LENGTH;
    if opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
        return Err(ProtocolError::OversizedControl);
    }
    let (length, rest) = match short {
        LENGTH_16 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*bytes)), rest)
        }
        LENGTH_64 => {
            if rest.first().is_some_and(|byte| byte & 0x80 != 0) {
                return Err(ProtocolError::LengthHighBit);
            }
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*bytes), rest)
        }
        short => (u64::from(short), rest),
    };
    let minimum = match short {
        LENGTH_16 => u64::from(LENGTH_16),
        LENGTH_64 => u64::from(u16::MAX) + 1,
        _ => 0,
    };
    if length < minimum {
        return Err(ProtocolError::NonMinimalLength);
    }

    let (mask, rest) = match second & MASKED != 0 {
        true => {
            let Some((key, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (Some(*key), rest)
        }
        false => (None, rest),
    };
    let header = FrameHeader {
        fin,
        rsv1,
        opcode,
        mask,
        length,
    };
    Ok(Some((header, input.len() - rest.len())))
}

/// Appends the header of a server's unfragmented frame, with its length in the shortest form.
#[inline]
pub(crate) fn append_header(opcode: WebSocketOpcode, length: usize, out: &mut Vec<u8>) {
    let first = FIN | opcode.to_u8();
    match u16::try_from(length) {
        Ok(length @ ..126) => out.extend_from_slice(&[first, length as u8]),
        Ok(length) => {
            let [high, low] = length.to_be_bytes();
            out.extend_from_slice(&[first, LENGTH_16, high, low]);
        }
        Err(_) => out.extend_from_slice(&encode_header(true, false, opcode, length as u64, None)),
    }
}

/// Encodes a frame header with its length in the shortest form (RFC 6455 §5.2).
///
/// Does not check `opcode` against the other arguments. Tests can therefore encode invalid headers.
pub fn encode_header(
    fin: bool,
    rsv1: bool,
    opcode: WebSocketOpcode,
    length: u64,
    mask: Option<[u8; 4]>,
) -> EncodedHeader {
    let first = (opcode.to_u8() & OPCODE) | if fin { FIN } else { 0 } | if rsv1 { RSV1 } else { 0 };
    let masked = if mask.is_some() { MASKED } else { 0 };
    let mut header = EncodedHeader {
        bytes: [0; MAX_HEADER],
        len: 0,
    };
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..LENGTH_16), _) => header.push([first, short | masked]),
        (_, Ok(medium)) => {
            header.push([first, LENGTH_16 | masked]);
            header.push(medium.to_be_bytes());
        }
        _ => {
            header.push([first, LENGTH_64 | masked]);
            header.push(length.to_be_bytes());
        }
    }
    if let Some(key) = mask {
        header.push(key);
    }
    header
}

/// An encoded frame header of 2 to 14 bytes. The type dereferences to a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct EncodedHeader {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl EncodedHeader {
    fn push<const N: usize>(&mut self, part: [u8; N]) {
        let tail = self
            .bytes
            .get_mut(usize::from(self.len)..)
            .unwrap_or_default();
        // The slot always exists, because the parts of one header have at most 2 + 8 + 4 bytes in total.
        if let Some(slot) = tail.first_chunk_mut() {
            *slot = part;
            self.len += N as u8;
        }
    }
}

impl Deref for EncodedHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl AsRef<[u8]> for EncodedHeader {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_wire_and_need_every_byte() {
        for length in [
            0,
            1,
            125,
            126,
            127,
            0xFFFF,
            0x1_0000,
            1 << 40,
            (1 << 63) - 1,
        ] {
            for mask in [None, Some([1, 2, 3, 4])] {
                for (fin, rsv1) in [(true, true), (true, false), (false, true), (false, false)] {
                    let opcode = WebSocketOpcode::Binary;
                    let encoded = encode_header(fin, rsv1, opcode, length, mask);
                    let header = FrameHeader {
                        fin,
                        rsv1,
                        opcode,
                        mask,
                        length,
                    };
                    assert_eq!(parse(&encoded), Ok(Some((header, encoded.len()))));
                    for cut in 0..encoded.len() {
                        assert_eq!(parse(&encoded[..cut]), Ok(None));
                    }
                }
            }
        }
    }

    #[test]
    fn each_length_takes_its_shortest_form() {
        let len = |length| encode_header(true, false, WebSocketOpcode::Text, length, None).len();
        assert_eq!([0, 125, 126, 0xFFFF, 0x1_0000].map(len), [2, 2, 4, 4, 10]);
    }

    #[test]
    fn broken_headers_are_refused_at_the_first_byte_that_breaks_them() {
        use ProtocolError::*;
        for (bytes, error) in [
            (&b"\xA1"[..], ReservedBits),
            (b"\x91", ReservedBits),
            (b"\xC9", ReservedBits),
            (b"\x83", ReservedOpcode(3)),
            (b"\x8F", ReservedOpcode(15)),
            (b"\x09", FragmentedControl),
            (b"\x89\x7E", OversizedControl),
            (b"\x88\xFF", OversizedControl),
            (b"\x82\x7E\x00\x7D", NonMinimalLength),
            (
                b"\x82\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF",
                NonMinimalLength,
            ),
            (b"\x82\x7F\x80", LengthHighBit),
            (b"\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", LengthHighBit),
        ] {
            assert_eq!(parse(bytes), Err(error), "{bytes:x?}");
        }
    }
}
