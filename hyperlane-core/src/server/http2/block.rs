//! The syntax of a field block (RFC 7541 §6), without its tables: which names and values it spells out.
//!
//! The crate `h2` decodes field blocks. This reader only answers what the crate does not tell.

/// Index of the last pseudo-field in the static table (RFC 7541, appendix A).
const LAST_PSEUDO: usize = 14;

/// A field as it stands in a block.
struct Field {
    /// The index of the field or of its name, or 0.
    index: usize,
    /// The name, if it is spelled out.
    name: Option<Text>,
    /// The value, if it is spelled out.
    value: Option<Text>,
}

/// A string; `None` if its Huffman code is not valid.
type Text = Option<Vec<u8>>;

/// Returns whether a block names a pseudo-field.
pub(super) fn has_pseudo_field(block: &[u8]) -> bool {
    Fields(block).any(|field| match field.name {
        Some(name) => name.is_some_and(|name| name.first() == Some(&b':')),
        None => (1..=LAST_PSEUDO).contains(&field.index),
    })
}

/// A fault of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockFault {
    /// The code is not valid.
    Code,
    /// A name or a value that no field may have (RFC 9113 §8.2.1, §8.3).
    Field,
}

/// Returns the first fault that can be found without the tables.
pub(super) fn fault(block: &[u8]) -> Option<BlockFault> {
    let mut fields = Fields(block);
    for field in &mut fields {
        let Field { index, name, value } = field;
        let is_method = match &name {
            Some(name) => name.as_deref() == Some(b":method"),
            None => matches!(index, 2 | 3),
        };
        for (text, is_valid) in [
            (name, is_name as fn(&[u8]) -> bool),
            (value, if is_method { is_token } else { is_value }),
        ] {
            match text {
                Some(Some(text)) if !is_valid(&text) => return Some(BlockFault::Field),
                Some(None) => return Some(BlockFault::Code),
                _ => {}
            }
        }
    }
    (!fields.0.is_empty()).then_some(BlockFault::Code)
}

fn is_name(name: &[u8]) -> bool {
    match name.strip_prefix(b":") {
        Some(name) => matches!(
            name,
            b"authority" | b"scheme" | b"path" | b"protocol" | b"method" | b"status"
        ),
        None => is_token(name) && !name.iter().any(u8::is_ascii_uppercase),
    }
}

fn is_token(text: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_token)
}

fn is_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| matches!(byte, b'\t' | 0x20..=0x7E | 0x80..))
}

/// The fields of a block, up to the first fault of syntax.
struct Fields<'a>(&'a [u8]);

impl Iterator for Fields<'_> {
    type Item = Field;

    fn next(&mut self) -> Option<Field> {
        let before = self.0;
        let field = self.take();
        if field.is_none() {
            self.0 = before;
        }
        field
    }
}

impl Fields<'_> {
    fn take(&mut self) -> Option<Field> {
        loop {
            let first = *self.0.first()?;
            // The representation, and the number of bits of its integer.
            let (bits, is_literal) = match first {
                0x80.. => (7, false),
                0x40.. => (6, true),
                // A change of the size of the table.
                0x20.. => {
                    self.integer(5)?;
                    continue;
                }
                _ => (4, true),
            };
            let index = self.integer(bits)?;
            let name = match is_literal && index == 0 {
                true => Some(self.text()?),
                false => None,
            };
            let value = match is_literal {
                true => Some(self.text()?),
                false => None,
            };
            return Some(Field { index, name, value });
        }
    }

    /// Takes an integer with a prefix of so many bits (RFC 7541 §5.1).
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let mask = (1 << bits) - 1;
        let mut number = usize::from(self.byte()?) & mask;
        if number < mask {
            return Some(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            number += (byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Takes a string (RFC 7541 §5.2).
    fn text(&mut self) -> Option<Text> {
        let is_huffman = self.0.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(match is_huffman {
            true => huffman(text),
            false => Some(text.to_vec()),
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

/// The number of bits of the code of each byte (RFC 7541, appendix B). Codes of one length are in the order of their bytes,
/// and follow the shorter ones.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Length of the longest code of a byte.
const LONGEST: usize = 30;

/// The number of codes of each length.
#[expect(clippy::indexing_slicing, reason = "runs at compile time")]
const COUNTS: [u32; LONGEST + 1] = {
    let mut counts = [0; LONGEST + 1];
    let mut byte = 0;
    while byte < LENGTHS.len() {
        counts[LENGTHS[byte] as usize] += 1;
        byte += 1;
    }
    counts
};

/// The bytes in the order of their codes.
#[expect(clippy::indexing_slicing, reason = "runs at compile time")]
const SYMBOLS: [u8; LENGTHS.len()] = {
    let mut symbols = [0; LENGTHS.len()];
    let (mut length, mut place) = (0, 0);
    while length <= LONGEST {
        let mut byte = 0;
        while byte < LENGTHS.len() {
            if LENGTHS[byte] as usize == length {
                symbols[place] = byte as u8;
                place += 1;
            }
            byte += 1;
        }
        length += 1;
    }
    symbols
};

/// Decodes a string in Huffman code.
fn huffman(text: &[u8]) -> Text {
    let mut decoded = Vec::new();
    let mut bits = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    loop {
        // The code so far, the first code of its length, and the place of that one.
        let (mut code, mut first, mut place) = (0_u32, 0_u32, 0_u32);
        let mut length = 0_u32;
        let symbol = loop {
            let Some(bit) = bits.next() else {
                // The rest is padding: fewer than eight ones.
                return (length < 8 && code == (1 << length) - 1).then_some(decoded);
            };
            code = code << 1 | u32::from(bit);
            length += 1;
            first <<= 1;
            let count = *COUNTS.get(usize::try_from(length).ok()?)?;
            if code < first + count {
                break place + (code - first);
            }
            first += count;
            place += count;
        };
        decoded.push(*SYMBOLS.get(usize::try_from(symbol).ok()?)?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_in_huffman_code_are_decoded() {
        // RFC 7541, appendix C.4 and C.6.
        let cases: [(&[u8], &str); 4] = [
            (b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (
                b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
        ];
        for (bytes, text) in cases {
            assert_eq!(huffman(bytes).as_deref(), Some(text.as_bytes()));
        }
        for bytes in [&b"\xff"[..], b"\x07\xff", b"\x18", b"\xff\xff\xff\xff"] {
            assert_eq!(huffman(bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn names_that_no_field_may_have_are_told_from_faults_of_the_code() {
        for block in [
            &b"\x82\x40\x01A\x01b"[..],
            b"\x00\x00\x01b",
            b"\x00\x02:x\x01b",
            b"\x00\x01a\x01\n",
            b"\x00\x81\x87\x01b",
            b"\x02\x03G T",
            b"\x00\x07:method\x00",
        ] {
            assert_eq!(fault(block), Some(BlockFault::Field), "{block:x?}");
        }
        for block in [
            &b"\xff\xff\xff\xff\xff\xff"[..],
            b"\x82\xff",
            b"\x00\x01a\x05b",
            b"\x00\x01a",
            b"\x00\x05",
            b"\x00\x01a\x81\x18\x40\x01A\x01b",
        ] {
            assert_eq!(fault(block), Some(BlockFault::Code), "{block:x?}");
        }
        for block in [&b""[..], b"\x82\x84", b"\x20\x82", b"\x00\x05:path\x01/"] {
            assert_eq!(fault(block), None, "{block:x?}");
        }
    }

    #[test]
    fn pseudo_fields_are_found_by_index_and_by_name() {
        for block in [
            &b"\x82"[..],
            b"\x44\x01a",
            b"\x00\x01a\x01b\x00\x05:path\x01/",
        ] {
            assert!(has_pseudo_field(block), "{block:x?}");
        }
        for block in [&b""[..], b"\x00\x01a\x01:", b"\x90", b"\x50\x01a"] {
            assert!(!has_pseudo_field(block), "{block:x?}");
        }
    }
}
