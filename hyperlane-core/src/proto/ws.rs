//! WebSocket frames and messages (RFC 6455).
//!
//! [`Decoder`] turns received bytes into messages, [`encode_message`] turns messages into bytes, and [`handshake`]
//! checks the opening request and computes the answer. The module does no I/O.
//!
//! ```
//! use hyperlane_core::{Message, proto::ws::{Decoder, Limits, Role, encode_message}};
//!
//! /// Answers every data message in `received` with itself.
//! fn echo(decoder: &mut Decoder, mut received: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//!     let mut reply = Vec::new();
//!     loop {
//!         let decoded = decoder.next(received)?;
//!         // Without an event, the decoder has consumed the whole input: read more.
//!         let Some(event) = decoded.event else { return Ok(reply) };
//!         let message = Message::try_from(event)?;
//!         if message.is_data() {
//!             encode_message(&message, &mut reply);
//!         }
//!         received = received.get(decoded.consumed..).unwrap_or_default();
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut decoder = Decoder::new(Role::Server, Limits::default());
//! // "Hello" as a browser sends it (RFC 6455 §5.7), cut in the middle of the payload.
//! let first = echo(&mut decoder, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f")?;
//! let second = echo(&mut decoder, b"\x4d\x51\x58")?;
//! assert!(first.is_empty());
//! assert_eq!(second, b"\x81\x05Hello");
//! # Ok(())
//! # }
//! ```

mod assembly;
pub(crate) mod close;
mod decoder;
#[cfg(feature = "deflate")]
pub mod deflate;
mod encoder;
mod error;
pub mod frame;
pub mod handshake;
mod incoming;
pub mod mask;
pub(crate) mod message;
pub(crate) mod opcode;
mod partial;
pub(crate) mod utf8;
pub(crate) mod websocket_frame;
mod whole;

pub use decoder::{Decoder, Limits, Role};
pub use encoder::{
    encode_close, encode_frame, encode_masked_message, encode_message, encode_to_bytes, frame_head,
};
pub use error::ProtocolError;
pub use incoming::{Compressed, Decoded, Incoming};
pub use message::MessageError;
pub use websocket_frame::FramePayload;
// The crate root is the public path of these types.
pub(crate) use close::{CloseCode, CloseFrame};
pub(crate) use message::Message;
pub(crate) use opcode::WebSocketOpcode;
pub(crate) use utf8::Utf8Bytes;
