//! Collects the text of a response head that a handler writes in pieces.

use super::{MAX_HEAD, could_be_http};

const HEAD_END: &[u8] = b"\r\n\r\n";

/// The text of a head, up to its empty line.
#[derive(Debug, Default)]
pub(crate) struct TextHeadBuffer(Vec<u8>);

impl TextHeadBuffer {
    /// Takes the bytes of the head from `bytes`, up to its empty line. Returns their number.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let known = self.0.len();
        let room = (MAX_HEAD + 1).saturating_sub(known);
        self.0.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        // The empty line may have begun in the bytes of the previous call.
        let from = known.saturating_sub(HEAD_END.len() - 1);
        let fresh = self.0.get(from..).unwrap_or_default();
        if let Some(at) = memchr::memmem::find(fresh, HEAD_END) {
            self.0.truncate(from + at + HEAD_END.len());
        }
        self.0.len() - known
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.0.ends_with(HEAD_END)
    }

    /// Returns false for text that is too long, or that does not begin like a response.
    pub(crate) fn could_be_http(&self) -> bool {
        self.0.len() <= MAX_HEAD && could_be_http(&self.0)
    }

    /// Takes the text. The next head begins.
    pub(crate) fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_cut() {
        let text = b"HTTP/1.1 200 OK\r\na: b\r\n\r\nbody\r\n\r\n";
        let length = text.len() - 8;
        for cut in 0..=text.len() {
            let (mut buffer, mut taken) = (TextHeadBuffer::default(), 0);
            for piece in [&text[..cut], &text[cut..]] {
                if !buffer.is_complete() {
                    taken += buffer.take(piece);
                }
            }
            assert!(
                buffer.is_complete() && buffer.could_be_http(),
                "cut at {cut}"
            );
            assert_eq!(taken, length, "cut at {cut}");
            assert_eq!(buffer.take_text(), &text[..length]);
        }
        let mut buffer = TextHeadBuffer::default();
        assert_eq!(buffer.take(&vec![b'H'; 2 * MAX_HEAD]), MAX_HEAD + 1);
        assert!(!buffer.could_be_http());
    }
}
