//! The decoder from bytes to messages: the state machine of RFC 6455 §5.4 and §5.5 over a borrowed read buffer.
//!
//! If the input contains a whole message in one frame, the decoder checks, unmasks and copies the payload once, into an
//! allocation of exactly the payload's size. If a frame is incomplete, the decoder copies the bytes of the frame that
//! have arrived. It does not need the input after the call, so many connections can share one read buffer. The decoder
//! allocates the state of an incomplete message, and frees this state when the message is complete.

use bytes::buf::Limit;
use bytes::{BufMut, Bytes};

use super::frame::{self, FrameHeader};
use super::partial::{Partial, control_frame, unmask_into};
use super::{
    Compressed, Decoded, Incoming, Message, ProtocolError, Utf8Bytes, WebSocketOpcode, whole,
};

/// Minimum number of bytes for a direct read from the socket into the message: at least this many bytes of the frame
/// must be missing, and at least this many bytes of the message must have arrived. For fewer bytes, a read into the
/// shared read buffer and a copy cost less.
const DIRECT_MIN: usize = 4 * 1024;

/// The side of the connection that a decoder serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Decodes frames of clients, which must be masked (RFC 6455 §5.1).
    Server,
    /// Decodes frames of a server, which must not be masked (RFC 6455 §5.1).
    Client,
}

/// Limits on the memory that a peer can make a [`Decoder`] use (RFC 6455 §10.4), and whether the peer may use RSV1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum payload of a data frame, in bytes. Default: 1 MiB.
    pub frame: usize,
    /// Maximum length of a message with all its fragments, in bytes. Default: 1 MiB.
    pub message: usize,
    /// Maximum number of frames in one message. Default: 16384.
    pub fragments: u32,
    /// True if an extension that uses RSV1 was negotiated (RFC 7692 §6). Default: false.
    pub rsv1_allowed: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 1024 * 1024,
            message: 1024 * 1024,
            fragments: 16 * 1024,
            rsv1_allowed: false,
        }
    }
}

impl Limits {
    /// Sets the maximum payload of a data frame, in bytes.
    pub const fn frame(mut self, bytes: usize) -> Self {
        self.frame = bytes;
        self
    }

    /// Sets the maximum length of a message, in bytes.
    pub const fn message(mut self, bytes: usize) -> Self {
        self.message = bytes;
        self
    }

    /// Sets the maximum number of frames in one message.
    pub const fn fragments(mut self, count: u32) -> Self {
        self.fragments = count;
        self
    }

    /// Sets whether an extension that uses RSV1 was negotiated.
    pub const fn rsv1_allowed(mut self, allowed: bool) -> Self {
        self.rsv1_allowed = allowed;
        self
    }
}

/// Decodes the bytes of one connection into messages and control frames (RFC 6455).
///
/// Between messages, a decoder needs about 30 bytes and no allocation. After an error or a close frame, the decoder
/// discards all further input.
///
/// ```
/// use hyperlane_core::proto::ws::{Decoder, Incoming, Limits, Role};
///
/// let mut decoder = Decoder::new(Role::Client, Limits::default());
/// let decoded = decoder.next(b"\x01\x03Hel\x80\x02lo\x89\x00").unwrap();
/// assert_eq!(decoded.consumed, 9);
/// assert_eq!(decoded.event, Some(Incoming::Text("Hello".into())));
/// ```
#[derive(Debug)]
pub struct Decoder {
    // The fields of `Limits`, which together with the next fields take less space than a `Limits` beside them.
    frame: usize,
    message: usize,
    fragments: u32,
    rsv1_allowed: bool,
    role: Role,
    ended: bool,
    /// A frame whose payload is shorter than this is within all limits if it is a whole message. It is 0 if frames have
    /// no mask, and after the end.
    whole_below: u32,
    partial: Option<Box<Partial>>,
}

impl Decoder {
    /// Creates a decoder.
    pub const fn new(role: Role, limits: Limits) -> Self {
        Self {
            frame: limits.frame,
            message: limits.message,
            fragments: limits.fragments,
            rsv1_allowed: limits.rsv1_allowed,
            role,
            ended: false,
            whole_below: whole_below(role, &limits),
            partial: None,
        }
    }

    const fn limits(&self) -> Limits {
        Limits {
            frame: self.frame,
            message: self.message,
            fragments: self.fragments,
            rsv1_allowed: self.rsv1_allowed,
        }
    }

    /// Decodes up to the next event: a message or a control frame.
    ///
    /// After an event, call `next` again with the input beyond `consumed`. If there is no event, the decoder has
    /// consumed the whole input. Then read more bytes from the peer, and call `next` with these bytes.
    ///
    /// # Errors
    ///
    /// Returns a [`ProtocolError`] if the peer violates the protocol or a limit. The caller must answer with a close
    /// frame that has the error's [`close_code`](ProtocolError::close_code).
    pub fn next(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError> {
        if self.ended {
            return Ok(Decoded {
                consumed: input.len(),
                event: None,
            });
        }
        match self.partial {
            None => self.start(input),
            Some(_) => self.resume(input),
        }
    }

    /// Decodes the next message if it is whole, in one frame and not compressed, and if `admit` returns true. Returns the
    /// message and the length of its frame. Returns `None` for other input and for violations. Then
    /// [`next`](Self::next) decodes the input.
    #[inline(always)]
    pub(crate) fn whole_message(
        &self,
        input: &[u8],
        admit: impl FnOnce() -> bool,
    ) -> Option<(Message, usize)> {
        match self.partial {
            None => whole::decode(input, self.whole_below, admit),
            Some(_) => None,
        }
    }

    /// Borrows the buffer of an incomplete message. The caller can read the missing bytes of a large frame from the
    /// socket directly into this buffer, at most `max` bytes at once. The caller must call
    /// [`direct_filled`](Self::direct_filled) after the read.
    ///
    /// Returns `None` in these cases, because a direct read is not possible or would save nothing:
    ///
    /// - The decoder is not within a data frame.
    /// - Less than 4 KiB of the frame are missing.
    /// - Less than 4 KiB of the message have arrived. The buffer grows with the bytes received, so it is still small.
    pub fn direct_target(&mut self, max: usize) -> Option<Limit<&mut Vec<u8>>> {
        let (buf, room) = self.partial.as_mut()?.direct(DIRECT_MIN)?;
        Some(buf.limit(room.min(max)))
    }

    /// Decodes the bytes that the caller has read into the buffer of [`direct_target`](Self::direct_target). Returns
    /// the message if these bytes complete the message.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`next`](Self::next).
    pub fn direct_filled(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        // `next` first decodes the bytes that the caller has read into the buffer, and then its input.
        self.next(&[]).map(|decoded| decoded.event)
    }

    /// Returns whether the decoder has neither an incomplete frame nor an incomplete message.
    pub const fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Decodes input if the decoder has no incomplete frame or message. A whole frame needs no [`Partial`].
    fn start(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError> {
        let (header, header_len) = match self.parse_header(input) {
            Ok(Some(parsed)) => parsed,
            Ok(None) if input.is_empty() => {
                return Ok(Decoded {
                    consumed: 0,
                    event: None,
                });
            }
            Ok(None) => return self.resume(input),
            Err(error) => return Err(self.fail(error)),
        };
        let payload = input
            .get(header_len..)
            .zip(usize::try_from(header.length).ok())
            .and_then(|(rest, length)| rest.get(..length));
        let Some(wire) = payload.filter(|_| header.fin) else {
            return self.resume(input);
        };
        let payload = unmask(wire, header.mask);
        let event = match header.opcode {
            opcode @ (WebSocketOpcode::Text | WebSocketOpcode::Binary) if header.rsv1 => {
                Incoming::Compressed(Compressed { opcode, payload })
            }
            WebSocketOpcode::Text => match simdutf8::basic::from_utf8(&payload) {
                Ok(_) => Incoming::Text(Utf8Bytes::checked(payload)),
                Err(_) => return Err(self.fail(ProtocolError::InvalidUtf8)),
            },
            WebSocketOpcode::Binary => Incoming::Binary(payload),
            opcode => self.control(opcode, payload)?,
        };
        Ok(Decoded {
            consumed: header_len + wire.len(),
            event: Some(event),
        })
    }

    /// Parses and checks a header at the start of the input.
    #[inline]
    fn parse_header(&self, input: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        let parsed = frame::parse(input)?;
        if let Some((header, _)) = &parsed {
            header.check(self.role, &self.limits(), None)?;
        }
        Ok(parsed)
    }

    /// Finishes a control frame. After a close frame, valid or invalid, the decoder discards all further input.
    fn control(
        &mut self,
        opcode: WebSocketOpcode,
        payload: Bytes,
    ) -> Result<Incoming, ProtocolError> {
        if opcode.is_close() {
            self.end();
        }
        control_frame(opcode, payload)
    }

    /// The slow path: consumes input until an event is complete or the input is empty.
    #[cold]
    fn resume(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError> {
        let limits = self.limits();
        let partial = self.partial.get_or_insert_default();
        let mut rest = input;
        let event = match partial.advance(&mut rest, self.role, &limits) {
            Ok(event) => event,
            Err(error) => return Err(self.fail(error)),
        };
        if partial.is_empty() {
            self.partial = None;
        }
        if matches!(event, Some(Incoming::Close(_))) {
            self.end();
        }
        Ok(Decoded {
            consumed: input.len() - rest.len(),
            event,
        })
    }

    #[cold]
    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.end();
        error
    }

    fn end(&mut self) {
        self.ended = true;
        self.whole_below = 0;
        self.partial = None;
    }
}

/// Returns [`Decoder::whole_below`]. Longer frames than those with a length of 16 bits need no short way.
const fn whole_below(role: Role, limits: &Limits) -> u32 {
    let limit = match limits.frame < limits.message {
        true => limits.frame,
        false => limits.message,
    };
    match role {
        Role::Server if limits.fragments == 0 => 0,
        Role::Server if limit < u16::MAX as usize => limit as u32 + 1,
        Role::Server => u16::MAX as u32 + 1,
        Role::Client => 0,
    }
}

/// Copies a payload into an allocation of exactly the payload's size, and unmasks the copy.
fn unmask(payload: &[u8], key: Option<[u8; 4]>) -> Bytes {
    let mut plain = Vec::with_capacity(payload.len());
    unmask_into(payload, key, &mut plain);
    Bytes::from(plain)
}

#[cfg(test)]
mod tests;
