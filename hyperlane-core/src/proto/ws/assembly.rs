//! An incomplete message: its buffer, the buffer's growth, and the incremental check of UTF-8.

use bytes::Bytes;

use super::{Compressed, Incoming, ProtocolError, Utf8Bytes, WebSocketOpcode, mask};

/// Minimum growth of the buffer in bytes. Without this minimum, every tiny piece would cause a reallocation.
const MIN_ROOM: usize = 64;

/// Assembles a data message from pieces of frames.
///
/// The buffer never exceeds twice the bytes received (or 64 bytes), regardless of the length that a frame declares.
#[derive(Debug)]
pub(super) struct Assembly {
    opcode: WebSocketOpcode,
    compressed: bool,
    fragments: u32,
    /// The payload so far. The caller has read the bytes after `ready` into the buffer, and they are still masked.
    buf: Vec<u8>,
    ready: usize,
    /// The length of the text that is known to be UTF-8. At most three bytes of an unfinished character follow this
    /// text.
    valid: usize,
}

impl Assembly {
    pub(super) fn new(opcode: WebSocketOpcode, compressed: bool) -> Self {
        Self {
            opcode,
            compressed,
            fragments: 1,
            buf: Vec::new(),
            ready: 0,
            valid: 0,
        }
    }

    /// Returns the length so far, without the bytes that the caller has not announced yet.
    pub(super) fn len(&self) -> usize {
        self.ready
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.compressed
    }

    pub(super) fn fragments(&self) -> u32 {
        self.fragments
    }

    pub(super) fn add_fragment(&mut self) {
        self.fragments = self.fragments.saturating_add(1);
    }

    /// Appends payload bytes. `growth` is the maximum number of bytes that the message can still grow, including
    /// `chunk`.
    pub(super) fn append(
        &mut self,
        chunk: &[u8],
        key: Option<[u8; 4]>,
        growth: usize,
    ) -> Result<(), ProtocolError> {
        self.make_room(chunk.len(), growth);
        match key {
            Some(key) => mask::copy(chunk, key, 0, &mut self.buf),
            None => self.buf.extend_from_slice(chunk),
        }
        self.ready = self.buf.len();
        self.check_text()
    }

    /// Lends the buffer with room for at most the `remaining` bytes of the frame. `growth` means the same as in
    /// [`append`](Self::append).
    pub(super) fn direct_room(&mut self, remaining: usize, growth: usize) -> (&mut Vec<u8>, usize) {
        self.make_room(1, growth);
        // The bytes that the caller read into the buffer but has not announced belong to the frame too.
        let missing = remaining.saturating_sub(self.buf.len().saturating_sub(self.ready));
        let room = (self.buf.capacity() - self.buf.len()).min(missing);
        (&mut self.buf, room)
    }

    /// Accepts the bytes that the caller read into the lent buffer, and returns their number.
    pub(super) fn accept_direct(
        &mut self,
        key: Option<[u8; 4]>,
        remaining: usize,
    ) -> Result<usize, ProtocolError> {
        // If the caller read more bytes than the limit, the surplus bytes are dropped.
        self.buf.truncate(self.ready.saturating_add(remaining));
        let Some(fresh) = self.buf.get_mut(self.ready..) else {
            self.ready = self.buf.len();
            self.valid = self.valid.min(self.ready);
            return Ok(0);
        };
        let len = fresh.len();
        if let Some(key) = key {
            mask::apply(fresh, key, 0);
        }
        self.ready += len;
        self.check_text()?;
        Ok(len)
    }

    /// Finishes the message.
    pub(super) fn complete(mut self) -> Result<Incoming, ProtocolError> {
        let is_text = self.checks_text();
        if is_text && self.valid < self.buf.len() {
            return Err(ProtocolError::InvalidUtf8);
        }
        // Doubling over many fragments may have left unused capacity, which would stay allocated for the lifetime of
        // the message. A message in one frame has no unused capacity.
        if self.buf.capacity() - self.buf.len() > self.buf.len() / 4 {
            self.buf.shrink_to_fit();
        }
        let payload = Bytes::from(self.buf);
        Ok(match (self.compressed, is_text) {
            (true, _) => Incoming::Compressed(Compressed {
                opcode: self.opcode,
                payload,
            }),
            (false, true) => Incoming::Text(Utf8Bytes::checked(payload)),
            (false, false) => Incoming::Binary(payload),
        })
    }

    /// Doubles the buffer, so that fragments of any size cost linear time. Never grows the buffer by more than the
    /// bytes that can still arrive.
    fn make_room(&mut self, chunk: usize, growth: usize) {
        if self.buf.capacity() - self.buf.len() < chunk {
            let room = chunk.max(self.buf.len()).max(MIN_ROOM).min(growth);
            self.buf.reserve_exact(room);
        }
    }

    /// Returns whether the bytes are uncompressed text. The decompressor checks compressed text.
    fn checks_text(&self) -> bool {
        self.opcode.is_text() && !self.compressed
    }

    /// Checks the new text. Refuses text at once if it can no longer become UTF-8 (RFC 6455 §8.1).
    fn check_text(&mut self) -> Result<(), ProtocolError> {
        if !self.checks_text() {
            return Ok(());
        }
        let fresh = self.buf.get(self.valid..).unwrap_or_default();
        match simdutf8::compat::from_utf8(fresh) {
            Ok(text) => self.valid += text.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(ProtocolError::InvalidUtf8),
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buf.capacity()
    }
}
