//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! [`DeflateConfig`] has the settings. [`negotiate`] compares the offers of a client with the settings of the server.
//! The resulting [`Agreement`] creates the [`Compressor`] and the [`Decompressor`] of the server or of the client.
//!
//! The window is the part of the earlier data to which compressed data may refer. With context takeover, a connection
//! keeps its window from message to message. Context takeover is off by default. Without context takeover, the
//! connections of a thread share its compressors, and every message begins with an empty window. The same compressed
//! message then suits all connections with the same window size. A room (a group of connections) therefore compresses
//! each message only once per window size.
//!
//! ```
//! use hyperlane_core::{DeflateConfig, Message};
//! use hyperlane_core::proto::ws::{Decoder, Incoming, Limits, Role, deflate::negotiate};
//!
//! let config = DeflateConfig::default().min_size(16);
//! let agreement = negotiate(["permessage-deflate; client_max_window_bits"], &config).unwrap().unwrap();
//! assert_eq!(
//!     agreement.to_string(),
//!     "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
//! );
//!
//! // The client reads the frame that the server sends.
//! let message = Message::from("the same words again: ".repeat(20));
//! let mut frame = Vec::new();
//! agreement.compressor(Role::Server, &config).encode(&message, None, &mut frame);
//! assert!(frame.len() < 50);
//!
//! let limits = Limits::default().rsv1_allowed(true);
//! let mut decoder = Decoder::new(Role::Client, limits);
//! let Some(Incoming::Compressed(compressed)) = decoder.next(&frame).unwrap().event else { panic!() };
//! let mut decompressor = agreement.decompressor(Role::Client, &config);
//! assert_eq!(decompressor.decode(&compressed, limits.message).unwrap(), message);
//! ```

mod compress;
pub(crate) mod config;
mod decompress;
mod negotiate;

pub use compress::Compressor;
pub use decompress::Decompressor;
pub use negotiate::{Agreement, negotiate};
// The crate root is the public path of `DeflateConfig`.
pub(crate) use config::DeflateConfig;

/// The last four bytes of a compressor's output after every flush. The sender of a message removes these bytes, and the
/// receiver appends them again (RFC 7692 §7.2.1, §7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Maximum window, in bits. A side whose window is not negotiated uses this window (RFC 7692 §7.1.2).
const MAX_WINDOW_BITS: u8 = 15;

/// Minimum window that permessage-deflate allows, in bits.
const MIN_WINDOW_BITS: u8 = 8;

#[cfg(test)]
mod tests;
