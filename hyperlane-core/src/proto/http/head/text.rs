//! The bytes of a head as text.

use std::ops::Range;

/// The bytes of a head, and the same bytes as text if they are UTF-8.
#[derive(Clone, Copy)]
pub(super) struct Text<'b> {
    pub(super) bytes: &'b [u8],
    /// The text up to the last part of the head that needs to be text.
    pub(super) utf8: Option<&'b str>,
}

impl<'b> Text<'b> {
    pub(super) fn bytes(self, range: Range<usize>) -> &'b [u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Returns a part as text. Returns an empty text if the part is not UTF-8.
    pub(super) fn get(self, range: Range<usize>) -> &'b str {
        match self.utf8.and_then(|text| text.get(range.clone())) {
            Some(text) => text,
            None => self.check(range),
        }
    }

    #[cold]
    pub(super) fn check(self, range: Range<usize>) -> &'b str {
        std::str::from_utf8(self.bytes(range)).unwrap_or_default()
    }
}

/// Returns the bytes up to `end` as text, or more if more of them is text. Returns `None` if they are not UTF-8.
///
/// The check of a text is fastest if the text is aligned, and is a multiple of two words long: a byte takes as long as
/// two words.
#[inline]
pub(super) fn text_to(bytes: &[u8], end: usize) -> Option<&str> {
    let rounded = bytes.get(..end.next_multiple_of(16));
    match rounded.map(std::str::from_utf8) {
        Some(Ok(text)) => Some(text),
        // The bytes after `end` are not text, or too few have arrived.
        _ => std::str::from_utf8(bytes.get(..end)?).ok(),
    }
}
