//! The negotiation of the parameters of permessage-deflate (RFC 7692 §5, §7.1).

use std::fmt;

use super::super::Role;
use super::super::handshake::{ExtensionOffer, HandshakeError, parse_extensions};
use super::{Compressor, Decompressor, DeflateConfig, MAX_WINDOW_BITS, MIN_WINDOW_BITS};

/// The negotiated parameters. `Display` writes the value of `Sec-WebSocket-Extensions` for the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: u8,
    client_max_window_bits: u8,
}

/// Chooses the first acceptable offer of a client, and returns the parameters for the response. Returns `None` if no
/// offer is acceptable.
///
/// `offered` has the values of all `Sec-WebSocket-Extensions` fields in order. Only offers of permessage-deflate are
/// acceptable. An offer with an unknown, repeated or out-of-range parameter is not acceptable (RFC 7692 §7.1).
///
/// # Errors
///
/// Returns [`HandshakeError::Extensions`] if a value breaks the grammar (RFC 6455 §9.1).
pub fn negotiate<'o>(
    offered: impl IntoIterator<Item = &'o str>,
    config: &DeflateConfig,
) -> Result<Option<Agreement>, HandshakeError> {
    let mut agreement = None;
    for value in offered {
        for offer in parse_extensions(value)? {
            agreement = agreement.or_else(|| Agreement::answer(&offer, config));
        }
    }
    Ok(agreement)
}

impl Agreement {
    /// Returns the answer to an offer, or `None` if the offer is not acceptable.
    fn answer(offer: &ExtensionOffer<'_>, config: &DeflateConfig) -> Option<Self> {
        if offer.name != "permessage-deflate" {
            return None;
        }
        let (mut server_plain, mut client_plain) = (None, None);
        let (mut server_bits, mut client_bits) = (None, None);
        for param in &offer.params {
            let value = param.value.as_deref();
            match param.name {
                "server_no_context_takeover" => once(&mut server_plain, flag(value)?)?,
                "client_no_context_takeover" => once(&mut client_plain, flag(value)?)?,
                "server_max_window_bits" => once(&mut server_bits, window_bits(value?)?)?,
                "client_max_window_bits" => once(
                    &mut client_bits,
                    value.map_or(Some(MAX_WINDOW_BITS), window_bits)?,
                )?,
                _ => return None,
            }
        }
        Some(Self {
            server_no_context_takeover: server_plain.is_some() || !config.server_context_takeover,
            client_no_context_takeover: client_plain.is_some() || !config.client_context_takeover,
            server_max_window_bits: server_bits
                .unwrap_or(MAX_WINDOW_BITS)
                .min(config.server_max_window_bits),
            // The answer may contain this parameter only if the offer contains the parameter (RFC 7692 §7.1.2.2).
            client_max_window_bits: client_bits.map_or(MAX_WINDOW_BITS, |bits| {
                bits.min(config.client_max_window_bits)
            }),
        })
    }

    /// Returns whether the server keeps its window from message to message.
    pub const fn server_context_takeover(&self) -> bool {
        !self.server_no_context_takeover
    }

    /// Returns whether the client keeps its window from message to message.
    pub const fn client_context_takeover(&self) -> bool {
        !self.client_no_context_takeover
    }

    /// Returns the size of the server's window, 8 to 15 bits.
    pub const fn server_window_bits(&self) -> u8 {
        self.server_max_window_bits
    }

    /// Returns the size of the client's window, 8 to 15 bits.
    pub const fn client_window_bits(&self) -> u8 {
        self.client_max_window_bits
    }

    /// Creates the compressor for messages that `role` sends.
    pub fn compressor(&self, role: Role, config: &DeflateConfig) -> Compressor {
        let (bits, takeover) = self.direction(role);
        Compressor::new(bits, takeover, config)
    }

    /// Creates the decompressor for messages that `role` receives.
    pub fn decompressor(&self, role: Role, config: &DeflateConfig) -> Decompressor {
        let sender = match role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        let (bits, takeover) = self.direction(sender);
        Decompressor::new(bits, takeover, config.max_ratio)
    }

    /// Returns the window in bits for messages from `sender`. The second value is true with context takeover.
    const fn direction(&self, sender: Role) -> (u8, bool) {
        match sender {
            Role::Server => (self.server_max_window_bits, self.server_context_takeover()),
            Role::Client => (self.client_max_window_bits, self.client_context_takeover()),
        }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate")?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if self.server_max_window_bits < MAX_WINDOW_BITS {
            write!(
                f,
                "; server_max_window_bits={}",
                self.server_max_window_bits
            )?;
        }
        if self.client_max_window_bits < MAX_WINDOW_BITS {
            write!(
                f,
                "; client_max_window_bits={}",
                self.client_max_window_bits
            )?;
        }
        Ok(())
    }
}

/// Stores a parameter. Returns `None` if the offer repeats the parameter.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// Accepts a parameter that has no value. Returns `None` if there is a value.
fn flag(value: Option<&str>) -> Option<()> {
    value.is_none().then_some(())
}

/// Parses a number from 8 to 15. Refuses leading zeros and a plus sign (RFC 7692 §7.1.2.1).
fn window_bits(value: &str) -> Option<u8> {
    let bits = value
        .parse()
        .ok()
        .filter(|_| !value.starts_with(['0', '+']))?;
    (MIN_WINDOW_BITS..=MAX_WINDOW_BITS)
        .contains(&bits)
        .then_some(bits)
}
