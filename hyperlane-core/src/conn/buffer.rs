//! The read buffer: one per thread while bytes come in, none while a connection is idle.

use std::cell::RefCell;

/// Size of the buffers that threads lend to their connections.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

/// Buffers that a thread keeps for the next reads.
const POOLED: usize = 4;

/// Free space below which unread bytes are moved to the front.
const LOW_SPACE: usize = 4 * 1024;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn lend() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; READ_BUFFER])
}

fn give_back(buffer: Vec<u8>) {
    if buffer.len() == READ_BUFFER {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < POOLED {
                pool.push(buffer);
            }
        });
    }
}

/// Bytes read and not yet understood.
#[derive(Default)]
pub(crate) struct ReadBuffer {
    /// Initialised throughout; `start..end` are unread.
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    pub(crate) fn unread(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room for the next read; empty when `limit` unread bytes are here already.
    pub(crate) fn space(&mut self, limit: usize) -> &mut [u8] {
        if self.len() >= limit {
            return &mut [];
        }
        if self.data.len() < READ_BUFFER {
            let kept = std::mem::replace(&mut self.data, lend());
            let unread = kept.get(self.start..self.end).unwrap_or_default();
            if let Some(front) = self.data.get_mut(..unread.len()) {
                front.copy_from_slice(unread);
            }
            self.end -= self.start;
            self.start = 0;
        } else if self.start > 0 && self.data.len() - self.end < LOW_SPACE {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.data.len() {
            let larger = (self.data.len() * 2).min(limit.max(READ_BUFFER));
            self.data.resize(larger, 0);
        }
        self.data.get_mut(self.end..).unwrap_or_default()
    }

    /// Notes that `count` bytes were read into [`space`](Self::space).
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.data.len());
    }

    /// Gives the thread's buffer back and keeps only what is unread, at its exact size.
    pub(crate) fn settle(&mut self) {
        if self.data.capacity() == 0 || (self.data.len() < READ_BUFFER && !self.is_empty()) {
            return;
        }
        let unread = self.unread().to_vec();
        self.start = 0;
        self.end = unread.len();
        give_back(std::mem::replace(&mut self.data, unread));
    }

    /// Drops everything.
    pub(crate) fn discard(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settled_empty_buffer_holds_nothing() {
        let mut buffer = ReadBuffer::default();
        assert_eq!(buffer.space(READ_BUFFER).len(), READ_BUFFER);
        buffer.filled(10);
        buffer.consume(10);
        buffer.settle();
        assert_eq!(buffer.data.capacity(), 0);
    }

    #[test]
    fn unread_bytes_survive_settling_and_the_next_read() {
        let mut buffer = ReadBuffer::default();
        buffer.space(READ_BUFFER)[..6].copy_from_slice(b"abcdef");
        buffer.filled(6);
        buffer.consume(2);
        buffer.settle();
        assert_eq!(buffer.unread(), b"cdef");
        assert!(buffer.data.capacity() < READ_BUFFER);
        buffer.space(READ_BUFFER)[..2].copy_from_slice(b"gh");
        buffer.filled(2);
        assert_eq!(buffer.unread(), b"cdefgh");
    }

    #[test]
    fn a_full_buffer_has_no_space_until_something_is_consumed() {
        let mut buffer = ReadBuffer::default();
        let space = buffer.space(READ_BUFFER).len();
        buffer.filled(space);
        assert!(buffer.space(READ_BUFFER).is_empty());
        buffer.consume(READ_BUFFER - 10);
        assert!(buffer.space(READ_BUFFER).len() >= READ_BUFFER - 10);
        assert_eq!(buffer.len(), 10);
    }

    #[test]
    fn a_larger_limit_grows_the_buffer() {
        let mut buffer = ReadBuffer::default();
        for _ in 0..3 {
            let space = buffer.space(3 * READ_BUFFER).len();
            buffer.filled(space);
        }
        assert!(buffer.len() > READ_BUFFER && buffer.len() <= 3 * READ_BUFFER);
    }
}
