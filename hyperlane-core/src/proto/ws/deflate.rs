//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! [`DeflateConfig`] holds this side's settings. [`negotiate`] matches the settings with a client's offers. The
//! resulting [`Agreement`] creates the [`Compressor`] and [`Decompressor`] of either side.
//!
//! Without context takeover (the default) a connection keeps no window: the thread's compressor compresses every
//! message from an empty window. All connections with the same window size can receive the result, so a room compresses
//! a message once.
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

/// The last bytes of every flush. The sender removes these bytes from the message (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Maximum window, and the window of a side without a parameter (RFC 7692 §7.1.2).
const MAX_WINDOW_BITS: u8 = 15;

/// Minimum window of the format.
const MIN_WINDOW_BITS: u8 = 8;

#[cfg(test)]
mod tests;
