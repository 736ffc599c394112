//! The extensions that a WebSocket handshake negotiates (RFC 6455 §9).

#[cfg(feature = "deflate")]
use crate::proto::ws::{
    Role,
    deflate::{Agreement, Compressor, Decompressor, negotiate},
};
use crate::{config::ServerConfig, proto::ws::handshake::HandshakeError, wire::WireFormat};

/// The extensions of a WebSocket: none, or compression (RFC 7692).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extensions {
    #[cfg(feature = "deflate")]
    deflate: Option<Agreement>,
}

impl Extensions {
    /// Chooses extensions from the client's offers. Chooses no extension without the feature `deflate`, or if the
    /// configuration has compression off. An offer that breaks the grammar is an error only if compression is on.
    pub(crate) fn negotiate<'o>(
        offered: impl Iterator<Item = &'o str>,
        config: &ServerConfig,
    ) -> Result<Self, HandshakeError> {
        #[cfg(feature = "deflate")]
        if let Some(config) = &config.deflate {
            let deflate = negotiate(offered, config)?;
            return Ok(Self { deflate });
        }
        let _ = (offered, config);
        Ok(Self::default())
    }

    /// Returns the value of the answer's `Sec-WebSocket-Extensions`; `None` if no extension was chosen.
    pub(crate) fn answer(&self) -> Option<String> {
        #[cfg(feature = "deflate")]
        return self.deflate.map(|agreement| agreement.to_string());
        #[cfg(not(feature = "deflate"))]
        None
    }

    /// Returns whether the client may set RSV1, the bit of a frame that marks a compressed message.
    pub(crate) fn allow_rsv1(&self) -> bool {
        #[cfg(feature = "deflate")]
        return self.deflate.is_some();
        #[cfg(not(feature = "deflate"))]
        false
    }

    /// Returns the wire format of messages to the client.
    pub(super) fn format(&self) -> WireFormat {
        #[cfg(feature = "deflate")]
        if let Some(agreement) = &self.deflate {
            return match agreement.server_context_takeover() {
                true => WireFormat::WebSocketTakeover,
                false => WireFormat::WebSocketDeflate {
                    window_bits: agreement.server_window_bits(),
                },
            };
        }
        WireFormat::WebSocket
    }

    /// Creates the decompressor of incoming messages; `None` if the connection has no compression.
    #[cfg(feature = "deflate")]
    pub(super) fn decompressor(&self, config: &ServerConfig) -> Option<Box<Decompressor>> {
        let (agreement, config) = self.deflate.as_ref().zip(config.deflate.as_ref())?;
        Some(Box::new(agreement.decompressor(Role::Server, config)))
    }

    /// Creates the compressor that belongs to this connection. Returns `None` if the connection has no compression, or
    /// has compression without context takeover. In the latter case, messages do not depend on earlier messages, so
    /// the connection keeps no compressor.
    #[cfg(feature = "deflate")]
    pub(super) fn compressor(&self, config: &ServerConfig) -> Option<Box<Compressor>> {
        let (agreement, config) = self.deflate.as_ref().zip(config.deflate.as_ref())?;
        agreement
            .server_context_takeover()
            .then(|| Box::new(agreement.compressor(Role::Server, config)))
    }
}
