//! The state of incomplete input: an incomplete header, frame or fragmented message. The module also checks the header
//! of each frame against the limits and against the earlier frames.

use bytes::Bytes;

use super::assembly::Assembly;
use super::decoder::{Limits, Role};
use super::frame::{self, FrameHeader, MAX_HEADER};
use super::{CloseFrame, Incoming, ProtocolError, WebSocketOpcode, mask};

/// The incomplete parts of the input.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// The incomplete data message.
    message: Option<Assembly>,
    /// The payload of the control frame being read.
    control: Vec<u8>,
    /// The first bytes of an incomplete header.
    header: [u8; MAX_HEADER],
    header_len: usize,
}

/// A frame whose payload is being read.
#[derive(Debug)]
struct Frame {
    opcode: WebSocketOpcode,
    fin: bool,
    /// The mask key. `advance` rotates the key, so that its first byte always belongs to the next byte of payload.
    key: Option<[u8; 4]>,
    remaining: usize,
}

impl Frame {
    fn advance(&mut self, len: usize) {
        self.remaining = self.remaining.saturating_sub(len);
        self.key = self.key.map(|key| mask::rotate(key, len));
    }

    /// Returns the maximum number of bytes by which the message can still grow. In the last frame of a message, this is
    /// the number of missing bytes of the frame. In other frames, there is no maximum.
    fn growth(&self) -> usize {
        if self.fin { self.remaining } else { usize::MAX }
    }
}

impl Partial {
    pub(super) fn is_empty(&self) -> bool {
        self.frame.is_none() && self.message.is_none() && self.header_len == 0
    }

    pub(super) fn advance(
        &mut self,
        rest: &mut &[u8],
        role: Role,
        limits: &Limits,
    ) -> Result<Option<Incoming>, ProtocolError> {
        loop {
            if self.frame.is_none() {
                let Some(header) = self.take_header(rest)? else {
                    return Ok(None);
                };
                header.check(role, limits, self.message.as_ref())?;
                self.begin(&header);
            }
            if !self.take_payload(rest)? {
                return Ok(None);
            }
            if let Some(event) = self.finish()? {
                return Ok(Some(event));
            }
        }
    }

    /// Borrows the message's buffer for a direct read from the socket. Also returns the maximum length of the read: the
    /// number of missing bytes of the frame that fit into the buffer.
    ///
    /// Returns `None` if the decoder is not within a data frame. Also returns `None` if a direct read would not be
    /// worth its cost: if fewer than `min` bytes of the frame are missing, or fewer than `min` bytes of the message
    /// have arrived.
    pub(super) fn direct(&mut self, min: usize) -> Option<(&mut Vec<u8>, usize)> {
        let frame = self.frame.as_ref().filter(|frame| frame.opcode.is_data())?;
        let message = self.message.as_mut()?;
        let is_worth_it = frame.remaining >= min && message.len() >= min;
        is_worth_it.then(|| message.direct_room(frame.remaining, frame.growth()))
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.message.as_ref().map_or(0, Assembly::capacity)
    }

    /// Parses a header from the stored bytes and the bytes of `rest`. If the header is incomplete, stores the bytes of
    /// `rest` too.
    fn take_header(&mut self, rest: &mut &[u8]) -> Result<Option<FrameHeader>, ProtocolError> {
        let room = self.header.get_mut(self.header_len..).unwrap_or_default();
        let fresh = room.len().min(rest.len());
        for (slot, byte) in room.iter_mut().zip(rest.iter()) {
            *slot = *byte;
        }
        let known = self
            .header
            .get(..self.header_len + fresh)
            .unwrap_or_default();
        let parsed = frame::parse(known)?;
        let used = match parsed {
            Some((_, header_len)) => header_len.saturating_sub(self.header_len),
            None => fresh,
        };
        *rest = rest.get(used..).unwrap_or_default();
        self.header_len = if parsed.is_some() {
            0
        } else {
            self.header_len + fresh
        };
        Ok(parsed.map(|(header, _)| header))
    }

    fn begin(&mut self, header: &FrameHeader) {
        let FrameHeader {
            fin,
            rsv1,
            opcode,
            mask,
            ..
        } = *header;
        // The conversion cannot fail. `check` has compared the length of a data frame with a limit of type `usize`, and
        // the parser has refused control frames of more than 125 bytes.
        let remaining = usize::try_from(header.length).unwrap_or(usize::MAX);
        if opcode.is_control() {
            self.control = Vec::with_capacity(remaining);
        } else if let Some(message) = &mut self.message {
            message.add_fragment();
        } else {
            self.message = Some(Assembly::new(opcode, rsv1));
        }
        self.frame = Some(Frame {
            opcode,
            fin,
            key: mask,
            remaining,
        });
    }

    /// Consumes payload. Returns whether the frame is complete.
    fn take_payload(&mut self, rest: &mut &[u8]) -> Result<bool, ProtocolError> {
        let Some(frame) = &mut self.frame else {
            return Ok(false);
        };
        let mut message = self.message.as_mut().filter(|_| frame.opcode.is_data());
        if let Some(message) = &mut message {
            let accepted = message.accept_direct(frame.key, frame.remaining)?;
            frame.advance(accepted);
        }
        let (chunk, after) = rest
            .split_at_checked(frame.remaining)
            .unwrap_or((*rest, &[]));
        match message {
            Some(message) => message.append(chunk, frame.key, frame.growth())?,
            None => unmask_into(chunk, frame.key, &mut self.control),
        }
        frame.advance(chunk.len());
        *rest = after;
        Ok(frame.remaining == 0)
    }

    /// Finishes the frame. Also finishes the message if the frame is the last frame of the message.
    fn finish(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        let Some(frame) = self.frame.take() else {
            return Ok(None);
        };
        if frame.opcode.is_control() {
            let payload = Bytes::from(std::mem::take(&mut self.control));
            return control_frame(frame.opcode, payload).map(Some);
        }
        match frame.fin {
            true => self.message.take().map(Assembly::complete).transpose(),
            false => Ok(None),
        }
    }
}

impl FrameHeader {
    /// Checks the header against the role of the decoder, the limits and the incomplete message.
    pub(super) fn check(
        &self,
        role: Role,
        limits: &Limits,
        message: Option<&Assembly>,
    ) -> Result<(), ProtocolError> {
        match (role, self.mask) {
            (Role::Server, None) => return Err(ProtocolError::UnmaskedFrame),
            (Role::Client, Some(_)) => return Err(ProtocolError::MaskedFrame),
            _ => {}
        }
        if self.opcode.is_control() {
            return Ok(());
        }
        // RSV1 marks a compressed message. Only the first frame of a message may have RSV1 (RFC 7692 §6).
        if self.rsv1 && (!limits.rsv1_allowed || self.opcode.is_continuation()) {
            return Err(ProtocolError::ReservedBits);
        }
        let (so_far, fragments) = match (message, self.opcode.is_continuation()) {
            (None, true) => return Err(ProtocolError::UnexpectedContinuation),
            (Some(_), false) => return Err(ProtocolError::InterruptedMessage),
            (Some(message), true) => (message.len(), message.fragments()),
            (None, false) => (0, 0),
        };
        let is_compressed = self.rsv1 || message.is_some_and(Assembly::is_compressed);
        let (frame_limit, message_limit) = match is_compressed {
            true => (wire_limit(limits.frame), wire_limit(limits.message)),
            false => (limits.frame, limits.message),
        };
        if self.length > frame_limit as u64 {
            return Err(ProtocolError::FrameTooBig {
                limit: limits.frame,
            });
        }
        if self.length > message_limit.saturating_sub(so_far) as u64 {
            return Err(ProtocolError::MessageTooBig {
                limit: limits.message,
            });
        }
        if fragments >= limits.fragments {
            return Err(ProtocolError::TooManyFragments {
                limit: limits.fragments,
            });
        }
        Ok(())
    }
}

/// Returns the maximum compressed length of a message whose uncompressed length is `limit`. Compression makes some
/// messages longer, by at most one bit per byte plus the headers of the blocks.
const fn wire_limit(limit: usize) -> usize {
    limit.saturating_add(limit / 8).saturating_add(64)
}

/// Converts a complete control frame into an event (RFC 6455 §5.5).
pub(super) fn control_frame(
    opcode: WebSocketOpcode,
    payload: Bytes,
) -> Result<Incoming, ProtocolError> {
    match opcode {
        WebSocketOpcode::Close => CloseFrame::parse(payload).map(Incoming::Close),
        WebSocketOpcode::Ping => Ok(Incoming::Ping(payload)),
        WebSocketOpcode::Pong => Ok(Incoming::Pong(payload)),
        // The callers pass only control frames, and the parser of the header has already refused reserved opcodes.
        opcode => Err(ProtocolError::ReservedOpcode(opcode.to_u8())),
    }
}

/// Appends a payload. Unmasks the payload if there is a key.
pub(super) fn unmask_into(payload: &[u8], key: Option<[u8; 4]>, plain: &mut Vec<u8>) {
    match key {
        Some(key) => mask::copy(payload, key, 0, plain),
        None => plain.extend_from_slice(payload),
    }
}
