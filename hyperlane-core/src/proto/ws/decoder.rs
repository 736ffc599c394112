//! Bytes to messages: the state machine of RFC 6455 §5.4 and §5.5 over a borrowed read buffer.
//!
//! A frame that lies whole in the input is checked, unmasked and copied once, into an allocation of
//! exactly its size. Anything else is taken out of the input at once, so that many connections can
//! share one read buffer, and is kept in a box that lives only until the message is complete.

use bytes::buf::Limit;
use bytes::{BufMut, Bytes};

use super::assembly::Assembly;
use super::frame::{self, FrameHeader, MAX_HEADER};
use super::{CloseFrame, Message, ProtocolError, Utf8Bytes, WebSocketOpcode, mask};

/// Below this much, a read of its own for the rest of a frame costs more than a copy.
const DIRECT_MIN: usize = 4 * 1024;

/// Says on which side of the connection a decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads what clients send; their frames must be masked (RFC 6455 §5.1).
    Server,
    /// Reads what a server sends; its frames must not be masked (RFC 6455 §5.1).
    Client,
}

/// Bounds what a peer may make a [`Decoder`] hold (RFC 6455 §10.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest data frame, in bytes of payload. Default: 1 MiB.
    pub frame: usize,
    /// The longest message, in bytes, over all its fragments. Default: 1 MiB.
    pub message: usize,
    /// The most frames of one message. Default: 16384.
    pub fragments: u32,
    /// Whether an extension that uses RSV1 was negotiated (RFC 7692 §6). Default: no.
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
    /// Sets the longest data frame, in bytes of payload.
    pub const fn frame(mut self, bytes: usize) -> Self {
        self.frame = bytes;
        self
    }

    /// Sets the longest message, in bytes.
    pub const fn message(mut self, bytes: usize) -> Self {
        self.message = bytes;
        self
    }

    /// Sets the most frames of one message.
    pub const fn fragments(mut self, count: u32) -> Self {
        self.fragments = count;
        self
    }

    /// Says whether an extension that uses RSV1 was negotiated.
    pub const fn rsv1_allowed(mut self, allowed: bool) -> Self {
        self.rsv1_allowed = allowed;
        self
    }
}

/// Tells what one call to [`Decoder::next`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the input are done with; all of them when there is no event.
    pub consumed: usize,
    /// The message or control frame that became complete.
    pub event: Option<Incoming>,
}

/// Carries what a peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// A whole text message.
    Text(Utf8Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A whole message that an extension has to inflate.
    Compressed(Compressed),
    /// The closing handshake; nothing after it is read (RFC 6455 §5.5.1).
    Close(Option<CloseFrame>),
    /// A ping to answer with its payload (RFC 6455 §5.5.2).
    Ping(Bytes),
    /// A pong (RFC 6455 §5.5.3).
    Pong(Bytes),
}

/// Carries a message that came with RSV1, as it was on the wire (RFC 7692 §6).
///
/// The message limit was applied to these bytes; whoever inflates them bounds the result, and checks
/// that text is UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a compressed message of {} bytes was not inflated", payload.len())]
pub struct Compressed {
    /// `Text` or `Binary`.
    pub opcode: WebSocketOpcode,
    /// The compressed bytes.
    pub payload: Bytes,
}

impl TryFrom<Incoming> for Message {
    type Error = Compressed;

    fn try_from(event: Incoming) -> Result<Self, Compressed> {
        Ok(match event {
            Incoming::Text(text) => Self::Text(text),
            Incoming::Binary(bytes) => Self::Binary(bytes),
            Incoming::Ping(bytes) => Self::Ping(bytes),
            Incoming::Pong(bytes) => Self::Pong(bytes),
            Incoming::Close(frame) => Self::Close(frame),
            Incoming::Compressed(message) => return Err(message),
        })
    }
}

/// Turns the bytes of one connection into messages and control frames (RFC 6455).
///
/// While no message is half read it holds nothing but its limits, 40 bytes or so. After an error or
/// a Close it swallows whatever else comes.
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
    limits: Limits,
    role: Role,
    ended: bool,
    partial: Option<Box<Partial>>,
}

impl Decoder {
    /// Makes a decoder that has read nothing yet.
    pub const fn new(role: Role, limits: Limits) -> Self {
        Self {
            limits,
            role,
            ended: false,
            partial: None,
        }
    }

    /// Reads on to the next event.
    ///
    /// With an event, call again with the input beyond `consumed`. Without one, the whole input was
    /// taken in: read more.
    ///
    /// # Errors
    ///
    /// The rule that the peer broke; answer with its [`close_code`](ProtocolError::close_code).
    pub fn next(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError> {
        if self.ended {
            return Ok(Decoded {
                consumed: input.len(),
                event: None,
            });
        }
        let result = match self.partial {
            None => self.start(input),
            Some(_) => self.resume(input),
        };
        if matches!(
            result,
            Err(_)
                | Ok(Decoded {
                    event: Some(Incoming::Close(_)),
                    ..
                })
        ) {
            self.end();
        }
        result
    }

    /// Lends the buffer of a message in the middle of a large frame, to read the rest of that frame
    /// from the socket straight into it; `max` bounds the bytes of one read.
    ///
    /// `None` where the shared read buffer does as well: between frames, in a short rest, or before
    /// 4 KiB of the message came (its buffer never has room for more than came). Call
    /// [`direct_filled`](Self::direct_filled) after the read.
    pub fn direct_target(&mut self, max: usize) -> Option<Limit<&mut Vec<u8>>> {
        let partial = self.partial.as_deref_mut()?;
        let frame = partial
            .frame
            .as_ref()
            .filter(|frame| frame.opcode.is_data())?;
        let message = partial.message.as_mut()?;
        if frame.remaining < DIRECT_MIN || message.len() < DIRECT_MIN {
            return None;
        }
        let (buf, room) = message.room(frame.remaining);
        Some(buf.limit(room.min(max)))
    }

    /// Takes in what was read into the buffer that [`direct_target`](Self::direct_target) lent, and
    /// gives the message if that completed it.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn direct_filled(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        // Whatever was put there is found and taken in by every step.
        self.next(&[]).map(|decoded| decoded.event)
    }

    /// Tells whether no frame or message is half read.
    pub const fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// The fast path: nothing is half read, and in most cases a whole message is there.
    fn start(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError> {
        if let Some((header, header_len)) = frame::parse(input)? {
            header.check(self.role, &self.limits, None)?;
            let payload = input
                .get(header_len..)
                .zip(usize::try_from(header.length).ok())
                .and_then(|(rest, length)| rest.get(..length));
            if let Some(payload) = payload
                && header.fin
            {
                let event = whole_frame(&header, payload)?;
                return Ok(Decoded {
                    consumed: header_len + payload.len(),
                    event: Some(event),
                });
            }
        }
        match input.is_empty() {
            true => Ok(Decoded {
                consumed: 0,
                event: None,
            }),
            false => self.resume(input),
        }
    }

    /// The slow path: takes in pieces until something is complete or the input is used up.
    #[cold]
    fn resume(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError> {
        let partial = self.partial.get_or_insert_default();
        let mut rest = input;
        let event = partial.advance(&mut rest, self.role, &self.limits)?;
        if partial.is_empty() {
            self.partial = None;
        }
        Ok(Decoded {
            consumed: input.len() - rest.len(),
            event,
        })
    }

    #[cold]
    fn end(&mut self) {
        self.ended = true;
        self.partial = None;
    }
}

impl FrameHeader {
    /// Applies the rules that depend on the connection, the limits, and a message half read.
    fn check(
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
        // An extension marks a message by its first frame alone (RFC 7692 §6).
        if self.rsv1 && (!limits.rsv1_allowed || self.opcode.is_continuation()) {
            return Err(ProtocolError::ReservedBits);
        }
        let (so_far, fragments) = match (message, self.opcode.is_continuation()) {
            (None, true) => return Err(ProtocolError::UnexpectedContinuation),
            (Some(_), false) => return Err(ProtocolError::InterruptedMessage),
            (Some(message), true) => (message.len(), message.fragments()),
            (None, false) => (0, 0),
        };
        if self.length > limits.frame as u64 {
            return Err(ProtocolError::FrameTooBig {
                limit: limits.frame,
            });
        }
        if self.length > limits.message.saturating_sub(so_far) as u64 {
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

/// What is half read; at least one of its parts is in use.
#[derive(Debug, Default)]
struct Partial {
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// The data message being put together.
    message: Option<Assembly>,
    /// The payload of the control frame being read.
    control: Vec<u8>,
    /// The first bytes of a header that is not whole yet.
    header: [u8; MAX_HEADER],
    header_len: usize,
}

/// The frame whose payload is being read.
#[derive(Debug)]
struct Frame {
    opcode: WebSocketOpcode,
    fin: bool,
    /// Turned so that its first byte meets the next byte of payload.
    key: Option<[u8; 4]>,
    remaining: usize,
}

impl Frame {
    fn advance(&mut self, len: usize) {
        self.remaining = self.remaining.saturating_sub(len);
        self.key = self.key.map(|key| mask::rotate(key, len));
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.frame.is_none() && self.message.is_none() && self.header_len == 0
    }

    fn advance(
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

    /// Reads a header out of what was kept and what is new; keeps what there is if it is not whole.
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
        // The limits are in `usize`, and the length was held against them.
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

    /// Takes what there is of the payload and tells whether that was all of it.
    fn take_payload(&mut self, rest: &mut &[u8]) -> Result<bool, ProtocolError> {
        let Some(frame) = &mut self.frame else {
            return Ok(false);
        };
        let message = self.message.as_mut().filter(|_| frame.opcode.is_data());
        if let Some(message) = message {
            let settled = message.settle(frame.key, frame.remaining)?;
            frame.advance(settled);
            let (chunk, after) = rest
                .split_at_checked(frame.remaining)
                .unwrap_or((*rest, &[]));
            message.append(chunk, frame.key, frame.remaining)?;
            frame.advance(chunk.len());
            *rest = after;
        } else {
            let (chunk, after) = rest
                .split_at_checked(frame.remaining)
                .unwrap_or((*rest, &[]));
            unmask_into(chunk, frame.key, &mut self.control);
            frame.advance(chunk.len());
            *rest = after;
        }
        Ok(frame.remaining == 0)
    }

    /// Ends the frame, and with it perhaps the message.
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

fn whole_frame(header: &FrameHeader, payload: &[u8]) -> Result<Incoming, ProtocolError> {
    let payload = unmask(payload, header.mask);
    match header.opcode {
        opcode @ (WebSocketOpcode::Text | WebSocketOpcode::Binary) if header.rsv1 => {
            Ok(Incoming::Compressed(Compressed { opcode, payload }))
        }
        WebSocketOpcode::Text => match simdutf8::basic::from_utf8(&payload) {
            Ok(_) => Ok(Incoming::Text(Utf8Bytes::checked(payload))),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        },
        WebSocketOpcode::Binary => Ok(Incoming::Binary(payload)),
        opcode => control_frame(opcode, payload),
    }
}

fn control_frame(opcode: WebSocketOpcode, payload: Bytes) -> Result<Incoming, ProtocolError> {
    match opcode {
        WebSocketOpcode::Close => CloseFrame::parse(payload).map(Incoming::Close),
        WebSocketOpcode::Ping => Ok(Incoming::Ping(payload)),
        WebSocketOpcode::Pong => Ok(Incoming::Pong(payload)),
        // The header's checks let nothing else come here.
        opcode => Err(ProtocolError::ReservedOpcode(opcode.to_u8())),
    }
}

/// Copies a payload into an allocation of exactly its size.
fn unmask(payload: &[u8], key: Option<[u8; 4]>) -> Bytes {
    let mut plain = Vec::with_capacity(payload.len());
    unmask_into(payload, key, &mut plain);
    Bytes::from(plain)
}

fn unmask_into(payload: &[u8], key: Option<[u8; 4]>, plain: &mut Vec<u8>) {
    match key {
        Some(key) => mask::copy(payload, key, 0, plain),
        None => plain.extend_from_slice(payload),
    }
}

#[cfg(test)]
mod tests;
