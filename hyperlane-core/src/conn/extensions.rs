//! What a handshake agreed on besides the protocol itself.

#[cfg(feature = "deflate")]
use crate::proto::ws::{
    Role,
    deflate::{Agreement, Compressor, Decompressor, negotiate},
};
use crate::{config::ServerConfig, proto::ws::handshake::HandshakeError, wire::WireFormat};

/// The extensions of a WebSocket: none, or compression.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extensions {
    #[cfg(feature = "deflate")]
    deflate: Option<Agreement>,
}

impl Extensions {
    /// Chooses from what a client offers; without the feature, nothing.
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

    /// The value of the answer's `Sec-WebSocket-Extensions`.
    pub(crate) fn answer(&self) -> Option<String> {
        #[cfg(feature = "deflate")]
        return self.deflate.map(|agreement| agreement.to_string());
        #[cfg(not(feature = "deflate"))]
        None
    }

    /// Whether messages may come compressed.
    pub(crate) fn allow_rsv1(&self) -> bool {
        #[cfg(feature = "deflate")]
        return self.deflate.is_some();
        #[cfg(not(feature = "deflate"))]
        false
    }

    /// How messages are sent.
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

    /// What inflates the messages that come.
    #[cfg(feature = "deflate")]
    pub(super) fn decompressor(&self, config: &ServerConfig) -> Option<Box<Decompressor>> {
        let (agreement, config) = self.deflate.as_ref().zip(config.deflate.as_ref())?;
        Some(Box::new(agreement.decompressor(Role::Server, config)))
    }

    /// What compresses the messages that go out, where its state belongs to the connection.
    #[cfg(feature = "deflate")]
    pub(super) fn compressor(&self, config: &ServerConfig) -> Option<Box<Compressor>> {
        let (agreement, config) = self.deflate.as_ref().zip(config.deflate.as_ref())?;
        agreement
            .server_context_takeover()
            .then(|| Box::new(agreement.compressor(Role::Server, config)))
    }
}
