//! The provider of cryptography: the first one of the features `tls`, `tls-ring` and `tls-graviola`, unless the program
//! has installed another one.

use std::sync::Arc;

use rustls::{crypto::CryptoProvider, server::ProducesTickets};

use crate::error::TlsError;

#[cfg(feature = "tls")]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(all(feature = "tls-ring", not(feature = "tls")))]
use rustls::crypto::ring as chosen;
#[cfg(not(any(feature = "tls", feature = "tls-ring")))]
use rustls_graviola as chosen;

/// Returns the provider that the program has installed for its process, or that of the features.
pub(super) fn provider() -> Result<Arc<CryptoProvider>, TlsError> {
    Ok(match CryptoProvider::get_default() {
        Some(installed) => installed.clone(),
        None => Arc::new(chosen::default_provider()),
    })
}

/// Creates the keys of session tickets. They change every few hours. They come from the provider of the features, even
/// if the program has installed another one.
pub(super) fn tickets() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    chosen::Ticketer::new().map_err(super::refused)
}
