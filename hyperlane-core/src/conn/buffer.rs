//! The read buffer. A connection borrows a buffer from its thread while bytes come in. An idle connection without
//! unread bytes has no buffer.

use std::cell::RefCell;

/// Size of the buffers that threads lend to their connections, in bytes.
pub(crate) const READ_BUFFER: usize = 64 * 1024;

/// Maximum number of free buffers that a thread keeps.
const POOLED: usize = 4;

/// Minimum free space behind the unread bytes, in bytes. If less is free, [`space`](ReadBuffer::space) moves the unread
/// bytes to the front.
const LOW_SPACE: usize = 4 * 1024;

/// The size of a word, in bytes. Allocations as large as a buffer begin at a multiple of it.
const WORD: usize = 8;

/// The free buffers of a thread. They are boxed, so that a connection stores only a pointer.
type Pool = Vec<Box<Buffer>>;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Vec::new()) };
}

fn lend() -> Box<Buffer> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
        #[cfg(test)]
        MADE.set(MADE.get() + 1);
        Box::new(Buffer::of(vec![0; READ_BUFFER]))
    })
}

#[inline]
fn give_back(mut buffer: Box<Buffer>) {
    if buffer.data.len() == READ_BUFFER {
        buffer.discard();
        // A thread that ends may destroy its pool before its connections. The buffer is then freed.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < POOLED
            {
                pool.push(buffer);
            }
        });
    }
}

#[cfg(test)]
thread_local! {
    /// Number of buffers that this thread has allocated.
    pub(crate) static MADE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Bytes that were read and not yet parsed. An empty buffer needs no heap memory after [`settle`](Self::settle).
#[derive(Default)]
pub(crate) struct ReadBuffer(Option<Box<Buffer>>);

/// Returns the borrowed buffer to the thread, however the connection ends. Otherwise the next connection would have to
/// allocate and zero a new buffer. Zeroing costs more than all other work of a short connection.
impl Drop for ReadBuffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.0.take() {
            give_back(buffer);
        }
    }
}

struct Buffer {
    /// All bytes are initialised. The bytes `start..end` are unread.
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Creates a buffer without unread bytes.
    fn of(data: Vec<u8>) -> Self {
        Self {
            data,
            start: 0,
            end: 0,
        }
    }

    fn unread(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or_default()
    }

    fn unread_from_word(&self) -> (&[u8], usize) {
        let start = self.start & !(WORD - 1);
        let bytes = self.data.get(start..self.end).unwrap_or_default();
        (bytes, self.start - start)
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn discard(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Appends `bytes` if they fit.
    fn put(&mut self, bytes: &[u8]) {
        let room = self.data.get_mut(self.end..).unwrap_or_default();
        if let Some(room) = room.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }
}

impl ReadBuffer {
    pub(crate) fn unread(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |buffer| buffer.unread())
    }

    /// Returns the unread bytes, behind up to seven bytes that were read before them, and the number of the latter. The
    /// first byte has the alignment of a word, from which checks of text go on by whole words.
    pub(crate) fn unread_from_word(&self) -> (&[u8], usize) {
        self.0
            .as_ref()
            .map_or((&[], 0), |buffer| buffer.unread_from_word())
    }

    pub(crate) fn len(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |buffer| buffer.end - buffer.start)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.start = (buffer.start + count).min(buffer.end);
            if buffer.is_empty() {
                buffer.discard();
            }
        }
    }

    /// Returns the free space for the next read. The space is empty if `limit` or more bytes are unread.
    pub(crate) fn space(&mut self, limit: usize) -> &mut [u8] {
        if self.len() >= limit {
            return &mut [];
        }
        let buffer = self.0.get_or_insert_with(lend);
        if buffer.data.len() < READ_BUFFER {
            let kept = std::mem::replace(buffer, lend());
            buffer.put(kept.unread());
        } else if buffer.start > 0 && buffer.data.len() - buffer.end < LOW_SPACE {
            buffer.data.copy_within(buffer.start..buffer.end, 0);
            buffer.end -= buffer.start;
            buffer.start = 0;
        }
        if buffer.end == buffer.data.len() {
            let larger = (buffer.data.len() * 2).min(limit.max(READ_BUFFER));
            buffer.data.resize(larger, 0);
        }
        buffer.data.get_mut(buffer.end..).unwrap_or_default()
    }

    /// Adds the first `count` bytes of [`space`](Self::space) to the unread bytes, after a read has filled them.
    pub(crate) fn filled(&mut self, count: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.end = (buffer.end + count).min(buffer.data.len());
        }
    }

    /// Returns the borrowed buffer to the thread, or frees it if it has grown. Unread bytes move to an allocation of
    /// their exact size.
    pub(crate) fn settle(&mut self) {
        let Some(buffer) = self.0.take() else {
            return;
        };
        if buffer.is_empty() {
            give_back(buffer);
        } else if buffer.data.len() < READ_BUFFER {
            self.0 = Some(buffer);
        } else {
            let mut kept = Buffer::of(buffer.unread().to_vec());
            kept.end = kept.data.len();
            self.0 = Some(Box::new(kept));
            give_back(buffer);
        }
    }

    /// Returns whether the buffer has memory.
    #[cfg(test)]
    pub(crate) fn has_memory(&self) -> bool {
        self.0.is_some()
    }

    /// Drops all unread bytes.
    pub(crate) fn discard(&mut self) {
        if let Some(buffer) = &mut self.0 {
            buffer.discard();
        }
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
        assert_eq!(
            buffer.0.as_ref().map_or(0, |buffer| buffer.data.capacity()),
            0
        );
    }

    #[test]
    fn a_buffer_that_is_dropped_goes_back_to_the_thread() {
        let made = MADE.get();
        for _ in 0..100 {
            let mut buffer = ReadBuffer::default();
            buffer.space(READ_BUFFER);
            buffer.filled(10);
        }
        assert!(MADE.get() - made <= 1, "{}", MADE.get() - made);
    }

    #[test]
    fn unread_bytes_survive_settling_and_the_next_read() {
        let mut buffer = ReadBuffer::default();
        buffer.space(READ_BUFFER)[..6].copy_from_slice(b"abcdef");
        buffer.filled(6);
        buffer.consume(2);
        buffer.settle();
        assert_eq!(buffer.unread(), b"cdef");
        assert!(buffer.0.as_ref().map_or(0, |buffer| buffer.data.capacity()) < READ_BUFFER);
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
