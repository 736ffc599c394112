//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! [`DeflateConfig`] holds this side's settings, [`negotiate`] matches them with a client's offers, and the
//! [`Agreement`] creates the [`Compressor`] and [`Decompressor`] of either side.
//!
//! Without context takeover (the default) a connection holds no window: a compressor of the thread compresses its
//! messages. The result is the same for every connection with the same window, so that one compressed message can serve
//! a whole room.
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
//! // What the server sends, the client reads.
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
// The root of the crate is its public path.
pub(crate) use config::DeflateConfig;

/// The end of every flush, which a message omits (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Maximum window, which needs no parameter (RFC 7692 §7.1.2).
const MAX_WINDOW_BITS: u8 = 15;

/// Minimum window of the format.
const MIN_WINDOW_BITS: u8 = 8;

#[cfg(test)]
mod tests;
