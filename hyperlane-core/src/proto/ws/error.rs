//! Violations of the protocol or of a limit by a peer, and the close code for each violation.

use super::CloseCode;

/// A violation of the protocol or of a limit by a peer. The receiver answers with a close frame that has the code
/// [`close_code`](Self::close_code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RSV2 or RSV3 is set, or RSV1 is set on a frame on which no negotiated extension allows it (RFC 6455 §5.2).
    #[error("a reserved bit is set without an extension that defines it")]
    ReservedBits,
    /// The opcode is reserved (RFC 6455 §5.2).
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A control frame without FIN (RFC 6455 §5.5).
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A control frame with more than 125 bytes (RFC 6455 §5.5).
    #[error("a control frame has more than 125 bytes")]
    OversizedControl,
    /// A length that a shorter form can express (RFC 6455 §5.2).
    #[error("a payload length is not in its shortest form")]
    NonMinimalLength,
    /// A 64-bit length whose first bit is set (RFC 6455 §5.2).
    #[error("a payload length has its highest bit set")]
    LengthHighBit,
    /// A client's frame without a mask (RFC 6455 §5.1).
    #[error("a frame from a client is not masked")]
    UnmaskedFrame,
    /// A server's frame with a mask (RFC 6455 §5.1).
    #[error("a frame from a server is masked")]
    MaskedFrame,
    /// A continuation frame although no message is in progress (RFC 6455 §5.4).
    #[error("a continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// A text or binary frame between the fragments of another message (RFC 6455 §5.4).
    #[error("a new message starts inside a fragmented one")]
    InterruptedMessage,
    /// A close payload of one byte, too short for a code (RFC 6455 §5.5.1).
    #[error("a close payload of one byte holds no code")]
    TruncatedCloseCode,
    /// A close code that a close frame must not contain (RFC 6455 §7.4).
    #[error("close code {0} must not be sent")]
    InvalidCloseCode(u16),
    /// A close reason that is not UTF-8 (RFC 6455 §5.5.1).
    #[error("a close reason is not UTF-8")]
    InvalidCloseReason,
    /// A text message that is not UTF-8 (RFC 6455 §8.1).
    #[error("a text message is not UTF-8")]
    InvalidUtf8,
    /// A frame over the receiver's limit (RFC 6455 §10.4).
    #[error("a frame is longer than {limit} bytes")]
    FrameTooBig {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message over the receiver's limit (RFC 6455 §10.4).
    #[error("a message is longer than {limit} bytes")]
    MessageTooBig {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A compressed message that is not DEFLATE data (RFC 7692 §7.2.2).
    #[error("a compressed message is not valid DEFLATE data")]
    InvalidDeflate,
    /// A compressed message whose inflated length is more than `ratio` times its compressed length.
    #[error("a compressed message inflates to more than {ratio} times its size")]
    Inflation {
        /// The maximum ratio.
        ratio: usize,
    },
    /// A compressed message with too many DEFLATE blocks that are marked as final. Each of them forces a costly restart
    /// of the decompressor.
    #[error("a compressed message has too many final blocks")]
    TooManyFinalBlocks,
    /// A message with more frames than the receiver allows.
    #[error("a message has more than {limit} fragments")]
    TooManyFragments {
        /// The limit.
        limit: u32,
    },
    /// More pings and pongs per second than the receiver's limit (RFC 6455 §10.4).
    #[error("more than {limit} control frames a second")]
    TooManyControlFrames {
        /// The limit.
        limit: u32,
    },
    /// More messages per second than the receiver's limit (RFC 6455 §10.4).
    #[error("more than {limit} messages a second")]
    TooManyMessages {
        /// The limit.
        limit: u32,
    },
}

impl ProtocolError {
    /// Returns the close code for the error (RFC 6455 §7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl
            | Self::OversizedControl
            | Self::NonMinimalLength
            | Self::LengthHighBit
            | Self::UnmaskedFrame
            | Self::MaskedFrame
            | Self::UnexpectedContinuation
            | Self::InterruptedMessage
            | Self::TruncatedCloseCode
            | Self::InvalidCloseCode(_) => CloseCode::PROTOCOL_ERROR,
            Self::InvalidCloseReason | Self::InvalidUtf8 | Self::InvalidDeflate => {
                CloseCode::INVALID_PAYLOAD
            }
            // Each single block, frame or message is valid, but there are too many of them.
            Self::TooManyFinalBlocks
            | Self::TooManyFragments { .. }
            | Self::TooManyControlFrames { .. }
            | Self::TooManyMessages { .. } => CloseCode::POLICY_VIOLATION,
            Self::FrameTooBig { .. } | Self::MessageTooBig { .. } | Self::Inflation { .. } => {
                CloseCode::MESSAGE_TOO_BIG
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_stays_small() {
        assert!(size_of::<ProtocolError>() <= 16);
    }
}
