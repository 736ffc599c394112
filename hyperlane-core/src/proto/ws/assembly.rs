//! An incomplete message: its buffer, the buffer's growth, and the incremental check of UTF-8.

use bytes::Bytes;

use super::{Compressed, Incoming, ProtocolError, Utf8Bytes, WebSocketOpcode, mask};

/// Minimum growth of the buffer in bytes. Without this minimum, every tiny piece would cause a reallocation.
const MIN_ROOM: usize = 64;

/// A data message that is assembled from pieces of frames.
///
/// The buffer is never larger than twice the bytes received, or these bytes and 64 more if they are fewer than 64. This
/// holds even if a frame declares a larger length.
#[derive(Debug)]
pub(super) struct Assembly {
    opcode: WebSocketOpcode,
    compressed: bool,
    fragments: u32,
    /// The payload received so far. The bytes before `ready` are unmasked. The bytes from `ready` on may still be
    /// masked: the caller has read these bytes from the socket directly into the buffer.
    buf: Vec<u8>,
    ready: usize,
    /// The length of the text that has passed the check of UTF-8. At most three bytes of an unfinished character follow
    /// this text.
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

    /// Returns the length of the payload so far. Does not include bytes of a direct read that
    /// [`accept_direct`](Self::accept_direct) has not yet accepted.
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

    /// Appends payload bytes. `growth` is the maximum number of bytes by which the message can still grow, including
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

    /// Borrows the buffer for a direct read from the socket. Also returns the maximum length of the read. `remaining`
    /// is the number of missing bytes of the frame. `growth` means the same as in [`append`](Self::append).
    pub(super) fn direct_room(&mut self, remaining: usize, growth: usize) -> (&mut Vec<u8>, usize) {
        self.make_room(1, growth);
        // An earlier direct read may have left bytes in the buffer that `accept_direct` has not yet accepted. These
        // bytes belong to the frame, too.
        let missing = remaining.saturating_sub(self.buf.len().saturating_sub(self.ready));
        let room = (self.buf.capacity() - self.buf.len()).min(missing);
        (&mut self.buf, room)
    }

    /// Unmasks and checks the bytes of a direct read. Returns the number of these bytes.
    pub(super) fn accept_direct(
        &mut self,
        key: Option<[u8; 4]>,
        remaining: usize,
    ) -> Result<usize, ProtocolError> {
        // The caller may have appended more bytes than the frame has. The function drops the excess bytes.
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

    /// Converts the complete message into an event.
    pub(super) fn complete(mut self) -> Result<Incoming, ProtocolError> {
        let is_text = self.checks_text();
        if is_text && self.valid < self.buf.len() {
            return Err(ProtocolError::InvalidUtf8);
        }
        // A message of many fragments may have unused capacity, because the buffer has grown by doubling. The capacity
        // would stay allocated as long as the message exists. A message in one frame has no unused capacity.
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

    /// Reserves room for `chunk` bytes. The buffer grows by doubling, so the cost of all copies is linear in the length
    /// of the message. The buffer never grows by more than `growth` bytes.
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

    /// Checks the new text. Refuses the text as soon as no further bytes can make it valid UTF-8 (RFC 6455 §8.1).
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
