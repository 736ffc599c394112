//! Settings for the compression of WebSocket messages.

use super::{MAX_WINDOW_BITS, MIN_WINDOW_BITS};

/// Settings of permessage-deflate: how the server compresses messages, and what the server allows its clients.
///
/// Each direction of a connection has a window: the last `2^bits` bytes of the uncompressed data. Compressed data may
/// refer to these bytes. With context takeover, a connection keeps its windows from message to message. Context
/// takeover costs memory during the whole life of a connection: about 340 KiB for both directions with windows of 15
/// bits, and 210 KiB with 9 bits. Without context takeover, a connection keeps no such memory.
///
/// ```
/// use hyperlane_core::DeflateConfig;
///
/// let config = DeflateConfig::default().level(6).min_size(512).server_context_takeover(true);
/// assert_eq!(config.level, 6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeflateConfig {
    /// The compression level, 1 (fastest) to 9 (smallest). Default: 2. A higher level takes more time and usually makes
    /// messages smaller.
    pub level: u8,
    /// Minimum length of a message to compress, in bytes. Default: 256. For a shorter message, compression costs more
    /// than it saves.
    pub min_size: usize,
    /// Maximum window for messages from the server, 8 to 15 bits. Default: 15. A client may request a smaller window.
    pub server_max_window_bits: u8,
    /// Maximum window for messages from clients, 8 to 15 bits. Default: 15. The limit applies only to clients that
    /// offer `client_max_window_bits`. Other clients may use up to 15 bits.
    pub client_max_window_bits: u8,
    /// True if the server keeps its window from message to message (context takeover). Default: false. Context takeover
    /// compresses small, similar messages better, and costs memory per connection. A client may refuse context
    /// takeover.
    pub server_context_takeover: bool,
    /// True if clients may keep their window from message to message (context takeover). Default: false.
    pub client_context_takeover: bool,
    /// Maximum ratio of a message's length to its compressed length. Default: 100. The limit applies only to messages
    /// over 1 MiB. Ordinary messages of this size stay below 100, while DEFLATE allows ratios up to about 1000.
    pub max_ratio: usize,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self {
            level: 2,
            min_size: 256,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
            server_context_takeover: false,
            client_context_takeover: false,
            max_ratio: 100,
        }
    }
}

impl DeflateConfig {
    /// Sets the compression level, 1 to 9.
    pub const fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Sets the minimum length of a message to compress, in bytes.
    pub const fn min_size(mut self, bytes: usize) -> Self {
        self.min_size = bytes;
        self
    }

    /// Sets the maximum window for messages from the server, 8 to 15 bits.
    pub const fn server_max_window_bits(mut self, bits: u8) -> Self {
        self.server_max_window_bits = bits;
        self
    }

    /// Sets the maximum window for messages from clients, 8 to 15 bits.
    pub const fn client_max_window_bits(mut self, bits: u8) -> Self {
        self.client_max_window_bits = bits;
        self
    }

    /// Sets whether the server keeps its window from message to message.
    pub const fn server_context_takeover(mut self, takeover: bool) -> Self {
        self.server_context_takeover = takeover;
        self
    }

    /// Sets whether clients may keep their window from message to message.
    pub const fn client_context_takeover(mut self, takeover: bool) -> Self {
        self.client_context_takeover = takeover;
        self
    }

    /// Sets the maximum ratio of a message's length to its compressed length.
    pub const fn max_ratio(mut self, ratio: usize) -> Self {
        self.max_ratio = ratio;
        self
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    ///
    /// Returns a text that names the setting and its range.
    pub const fn validate(&self) -> Result<(), &'static str> {
        const fn is_window(bits: u8) -> bool {
            bits >= MIN_WINDOW_BITS && bits <= MAX_WINDOW_BITS
        }
        if self.level < 1 || self.level > 9 {
            return Err("the deflate level must be 1 to 9");
        }
        if !is_window(self.server_max_window_bits) || !is_window(self.client_max_window_bits) {
            return Err("a deflate window must be 8 to 15 bits");
        }
        if self.max_ratio == 0 {
            return Err("the deflate max_ratio must not be zero");
        }
        Ok(())
    }
}
