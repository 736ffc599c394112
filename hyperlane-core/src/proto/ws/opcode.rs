//! Frame opcodes (RFC 6455 §5.2, §11.8).

/// Says what a frame carries (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WebSocketOpcode {
    /// Continues a fragmented message (0x0).
    Continuation,
    /// Starts a text message (0x1).
    Text,
    /// Starts a binary message (0x2).
    Binary,
    /// Starts or answers the closing handshake (0x8).
    Close,
    /// Asks for a pong (0x9).
    Ping,
    /// Answers a ping, or tells on its own that the peer lives (0xA).
    Pong,
    /// Has no meaning yet (0x3-0x7, 0xB-0xF); a peer that sends one breaks the protocol.
    Reserved(u8),
}

impl WebSocketOpcode {
    /// Reads an opcode; values above 0xF, which no frame can carry, are `Reserved` as well.
    pub const fn from_u8(value: u8) -> Self {
        match value {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            other => Self::Reserved(other),
        }
    }

    /// Gives the value on the wire.
    pub const fn to_u8(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
            Self::Reserved(value) => value,
        }
    }

    /// Tells whether this is a control opcode, reserved ones included (RFC 6455 §5.5).
    pub const fn is_control(self) -> bool {
        self.to_u8() & 0x8 != 0
    }

    /// Tells whether this is `Continuation`, `Text` or `Binary` (RFC 6455 §5.6).
    pub const fn is_data(self) -> bool {
        matches!(self, Self::Continuation | Self::Text | Self::Binary)
    }

    /// Tells whether this is `Continuation`.
    pub const fn is_continuation(self) -> bool {
        matches!(self, Self::Continuation)
    }

    /// Tells whether this is `Text`.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Text)
    }

    /// Tells whether this is `Binary`.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::Binary)
    }

    /// Tells whether this is `Close`.
    pub const fn is_close(self) -> bool {
        matches!(self, Self::Close)
    }

    /// Tells whether this is `Ping`.
    pub const fn is_ping(self) -> bool {
        matches!(self, Self::Ping)
    }

    /// Tells whether this is `Pong`.
    pub const fn is_pong(self) -> bool {
        matches!(self, Self::Pong)
    }

    /// Tells whether this is `Reserved`.
    pub const fn is_reserved(self) -> bool {
        matches!(self, Self::Reserved(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_survives_the_wire_and_has_one_class() {
        for value in 0..=0xF {
            let opcode = WebSocketOpcode::from_u8(value);
            assert_eq!(opcode.to_u8(), value);
            assert_eq!(opcode.is_control(), value >= 0x8);
            assert_eq!(opcode.is_data(), value <= 0x2);
            assert_eq!(opcode.is_reserved(), matches!(value, 0x3..=0x7 | 0xB..=0xF));
        }
    }
}
