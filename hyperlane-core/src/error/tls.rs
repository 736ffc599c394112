//! Errors of certificates and keys.

use std::{fmt, net::SocketAddr, path::PathBuf};

use thiserror::Error;

/// The reason why the server cannot use its certificates and keys. `Debug` writes the same sentence as `Display`.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {file}: {reason}")]
    Read {
        /// The file.
        file: TlsSource,
        /// The error of the operating system.
        reason: String,
    },
    /// The server has no address with TLS there.
    #[error("no address with TLS at {address}: see `ServerControlHook::addresses`")]
    NoAddress {
        /// The address.
        address: SocketAddr,
    },
    /// The configuration has no certificate for clients that name no known host.
    #[error(
        "no certificate: begin with `TlsConfig::new(certificate, key)` or `TlsConfig::pem(..)`"
    )]
    NoDefault,
    /// The program has made a setting that has no effect with `TlsConfig::from_rustls`.
    #[error(
        "`{setting}` has no effect with `TlsConfig::from_rustls`: set it in the configuration of rustls"
    )]
    Ignored {
        /// The setting.
        setting: &'static str,
    },
    /// A file that should have certificates has none.
    #[error("{file} contains no certificate (`-----BEGIN CERTIFICATE-----`){hint}")]
    NoCertificate {
        /// The file.
        file: TlsSource,
        /// The contents of the file, with what to do. Empty if they are unknown.
        hint: &'static str,
    },
    /// A file that should have a private key has none.
    #[error("{file} contains no private key (`-----BEGIN PRIVATE KEY-----`){hint}")]
    NoKey {
        /// The file.
        file: TlsSource,
        /// The contents of the file, with what to do. Empty if they are unknown.
        hint: &'static str,
    },
    /// The private key is encrypted by a passphrase.
    #[error(
        "the private key in {file} is encrypted: decrypt it, as by `openssl pkey -in KEY -out PLAIN`"
    )]
    EncryptedKey {
        /// The file of the key.
        file: TlsSource,
    },
    /// The kind of the private key is unknown, or the key is damaged.
    #[error("the private key in {file} cannot be used: {reason}")]
    Key {
        /// The file of the key.
        file: TlsSource,
        /// The problem.
        reason: String,
    },
    /// A certificate is damaged, or has a form that rustls does not support.
    #[error("certificate {number} in {file} cannot be used: {reason}")]
    Certificate {
        /// The file of the certificate.
        file: TlsSource,
        /// The number of the certificate within its file, from 1.
        number: usize,
        /// The problem.
        reason: String,
    },
    /// The private key belongs to none of the certificates in the file.
    #[error("the private key in {key} does not belong to the first certificate in {certificate}")]
    Mismatch {
        /// The file of the certificate.
        certificate: TlsSource,
        /// The file of the key.
        key: TlsSource,
    },
    /// The private key belongs to a certificate that is not the first one of its file.
    #[error(
        "the certificates in {certificate} are in the wrong order: number {number} belongs to the private key in {key} \
         and must come first, before those that issued it"
    )]
    Order {
        /// The file of the certificates.
        certificate: TlsSource,
        /// The number of the certificate of the key within its file, from 1.
        number: usize,
        /// The file of the key.
        key: TlsSource,
    },
    /// A certificate is not valid for the host for which the program has added it.
    #[error("the certificate in {certificate} is not valid for the host {host:?}")]
    Host {
        /// The host, as the program names it.
        host: String,
        /// The file of the certificate.
        certificate: TlsSource,
    },
    /// The authorities for the certificates of clients cannot be used.
    #[error("the authorities of clients in {file} cannot be used: {reason}")]
    Authorities {
        /// The file of the authorities.
        file: TlsSource,
        /// The problem.
        reason: String,
    },
    /// rustls refuses the configuration.
    #[error("TLS cannot be used: {reason}")]
    Rustls {
        /// The problem.
        reason: String,
    },
}

/// The place of a certificate or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsSource {
    /// A file.
    File(PathBuf),
    /// PEM text in memory.
    Memory,
}

impl fmt::Display for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Memory => f.write_str("the PEM text in memory"),
        }
    }
}

impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
