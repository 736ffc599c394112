//! Certificates and keys from PEM text, with errors that say what is wrong and what to do.

use std::sync::Arc;

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::{Files, source};
use crate::{
    config::{ClientCertificates, KeyPair, Pem},
    error::TlsError,
};

/// Reads a certificate chain with its key, and checks that they belong together.
pub(super) fn key_pair(
    pair: &KeyPair,
    files: &mut Files,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(&pair.certificate, files)?;
    let key = private_key(&pair.key, files)?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| TlsError::Key {
            file: source(&pair.key),
            reason: error.to_string(),
        })?;
    let belongs = |certificate: &CertificateDer<'static>| {
        let alone = CertifiedKey::new(vec![certificate.clone()], key.clone());
        // A key that does not tell its public part cannot be compared. It counts as belonging to the certificate.
        !matches!(
            alone.keys_match(),
            Err(rustls::Error::InconsistentKeys(
                rustls::InconsistentKeys::KeyMismatch
            ))
        )
    };
    let (certificate, key_file) = (source(&pair.certificate), source(&pair.key));
    match chain.iter().position(belongs) {
        Some(0) => Ok(Arc::new(CertifiedKey::new(chain, key))),
        Some(at) => Err(TlsError::Order {
            certificate,
            number: at + 1,
            key: key_file,
        }),
        None => Err(TlsError::Mismatch {
            certificate,
            key: key_file,
        }),
    }
}

/// Reads all certificates of a PEM text. Returns an error if there is none.
fn certificates(pem: &Pem, files: &mut Files) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (text, file) = (files.read(pem)?, source(pem));
    let mut chain = Vec::new();
    for item in CertificateDer::pem_slice_iter(&text) {
        let number = chain.len() + 1;
        let damaged = |reason: String| TlsError::Certificate {
            file: file.clone(),
            number,
            reason,
        };
        let certificate = item.map_err(|error| damaged(pem_error(&error)))?;
        if let Err(error) = ParsedCertificate::try_from(&certificate) {
            return Err(damaged(error.to_string()));
        }
        chain.push(certificate);
    }
    match chain.is_empty() {
        true => Err(TlsError::NoCertificate {
            hint: hint(
                &text,
                "PRIVATE KEY",
                ": it has a private key; are the two files swapped?",
            ),
            file,
        }),
        false => Ok(chain),
    }
}

fn private_key(pem: &Pem, files: &mut Files) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (text, file) = (files.read(pem)?, source(pem));
    if contains(&text, "ENCRYPTED PRIVATE KEY-----") || contains(&text, "Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::EncryptedKey { file });
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey {
            hint: hint(
                &text,
                "CERTIFICATE",
                ": it has a certificate; are the two files swapped?",
            ),
            file,
        }),
        Err(error) => Err(TlsError::Key {
            file,
            reason: pem_error(&error),
        }),
    }
}

/// Creates the check of the certificates of clients.
pub(super) fn client_verifier(
    pem: &Pem,
    need: ClientCertificates,
    files: &mut Files,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let file = source(pem);
    let unusable = |reason: String| TlsError::Authorities {
        file: file.clone(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem, files)? {
        roots
            .add(authority)
            .map_err(|error| unusable(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match need {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        ClientCertificates::Required => builder,
    };
    builder.build().map_err(|error| unusable(error.to_string()))
}

/// Returns the end of an error message: what a text contains instead of the item that was looked for, and what to do.
/// Returns an empty string if that is unknown.
fn hint(text: &[u8], other: &str, swapped: &'static str) -> &'static str {
    match text.first() {
        None => ": it is empty",
        // The first byte of every certificate and key in DER.
        Some(0x30) => {
            ": it is in DER form; convert it to PEM, as by `openssl x509 -inform der` or `openssl pkey -inform der`"
        }
        Some(_) if contains(text, other) => swapped,
        Some(_) => "",
    }
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len())
        .any(|window| window == part.as_bytes())
}

fn pem_error(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "the text ends before the line `-----END ..-----`".to_owned()
        }
        pem::Error::IllegalSectionStart { .. } => {
            "a line `-----BEGIN ..-----` is malformed".to_owned()
        }
        pem::Error::Base64Decode(reason) => format!("the text is not base64: {reason}"),
        other => format!("{other:?}"),
    }
}
