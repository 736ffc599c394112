//! Frame opcodes (RFC 6455 §5.2, §11.8).

/// The kind of a frame (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WebSocketOpcode {
    /// A continuation of a fragmented message (0x0).
    Continuation,
    /// The start of a text message (0x1).
    Text,
    /// The start of a binary message (0x2).
    Binary,
    /// The start of the closing handshake, or the answer to it (0x8).
    Close,
    /// A request for a pong (0x9).
    Ping,
    /// The answer to a ping, or an unsolicited sign of life (0xA).
    Pong,
    /// A reserved opcode (0x3-0x7, 0xB-0xF), which violates the protocol.
    Reserved(u8),
}

impl WebSocketOpcode {
    /// Converts a value from the wire. Values above 0xF, which no frame can carry, become `Reserved` as well.
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

    /// Returns the value on the wire.
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

    /// Returns whether this is a control opcode. Includes the reserved control opcodes (RFC 6455 §5.5).
    pub const fn is_control(self) -> bool {
        self.to_u8() & 0x8 != 0
    }

    /// Returns whether this is `Continuation`, `Text` or `Binary` (RFC 6455 §5.6). Does not include the reserved data
    /// opcodes (0x3-0x7).
    pub const fn is_data(self) -> bool {
        matches!(self, Self::Continuation | Self::Text | Self::Binary)
    }

    /// Returns whether this is `Continuation`.
    pub const fn is_continuation(self) -> bool {
        matches!(self, Self::Continuation)
    }

    /// Returns whether this is `Text`.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Text)
    }

    /// Returns whether this is `Binary`.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::Binary)
    }

    /// Returns whether this is `Close`.
    pub const fn is_close(self) -> bool {
        matches!(self, Self::Close)
    }

    /// Returns whether this is `Ping`.
    pub const fn is_ping(self) -> bool {
        matches!(self, Self::Ping)
    }

    /// Returns whether this is `Pong`.
    pub const fn is_pong(self) -> bool {
        matches!(self, Self::Pong)
    }

    /// Returns whether this is `Reserved`.
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
