//! The settings of TLS: certificates, keys, the certificates of clients.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The certificates of a server for TLS, and the rules for the certificates of clients.
///
/// A certificate or a key is a PEM file, or PEM text in memory. The server reads files when it starts, and again at a
/// reload. The certificate of the server comes first in its file or text, and the intermediate certificates follow.
///
/// ```no_run
/// use std::time::Duration;
/// use hyperlane_core::{Server, TlsConfig};
///
/// let tls = TlsConfig::new("/etc/tls/fullchain.pem", "/etc/tls/privkey.pem")
///     .sni("api.example", "/etc/tls/api.pem", "/etc/tls/api-key.pem")
///     .reload_every(Duration::from_secs(60));
/// let mut server = Server::new();
/// server.bind_tls("0.0.0.0:443", tls).redirect_to_https("0.0.0.0:80");
/// ```
///
/// The server speaks TLS 1.2 and TLS 1.3, with the cipher suites that rustls considers safe. Clients can resume
/// sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate for clients that name no host, or a host without a certificate of its own.
    pub(crate) default: Option<KeyPair>,
    /// Certificates for the hosts that clients name (SNI), in lower case.
    pub(crate) hosts: Vec<(String, KeyPair)>,
    pub(crate) clients: Option<(Pem, ClientCertificates)>,
    pub(crate) reload_every: Option<Duration>,
    pub(crate) ready: Option<Ready>,
}

/// The need of clients for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// A client may connect without a certificate. A certificate that it sends must be valid.
    Optional,
    /// A client without a valid certificate cannot connect.
    Required,
}

/// A certificate chain with its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPair {
    pub(crate) certificate: Pem,
    pub(crate) key: Pem,
}

/// PEM text, or the file that contains it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Pem {
    File(PathBuf),
    Memory(Arc<[u8]>),
}

impl Pem {
    fn file(path: impl AsRef<Path>) -> Self {
        Self::File(path.as_ref().to_owned())
    }

    fn memory(text: impl AsRef<[u8]>) -> Self {
        Self::Memory(text.as_ref().into())
    }

    fn path(&self) -> Option<&str> {
        match self {
            Self::File(path) => path.to_str(),
            Self::Memory(_) => None,
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Memory(_) => f.write_str("(in memory)"),
        }
    }
}

/// A configuration that the program has built by rustls.
#[derive(Clone)]
pub(crate) struct Ready(pub(crate) Arc<rustls::ServerConfig>);

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(built by rustls)")
    }
}

impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Ready {}

impl TlsConfig {
    fn of(default: Option<KeyPair>) -> Self {
        Self {
            default,
            hosts: Vec::new(),
            clients: None,
            reload_every: None,
            ready: None,
        }
    }

    /// Uses the certificate chain and the private key of two PEM files. The files may be the same.
    pub fn new(certificate_path: impl AsRef<Path>, private_key_path: impl AsRef<Path>) -> Self {
        Self::of(Some(KeyPair {
            certificate: Pem::file(certificate_path),
            key: Pem::file(private_key_path),
        }))
    }

    /// Uses a certificate chain and a private key that are PEM text in memory.
    ///
    /// ```
    /// use hyperlane_core::TlsConfig;
    ///
    /// fn from_secrets(chain: &str, key: &str) -> TlsConfig {
    ///     TlsConfig::pem(chain, key)
    /// }
    /// ```
    pub fn pem(certificate: impl AsRef<[u8]>, private_key: impl AsRef<[u8]>) -> Self {
        Self::of(Some(KeyPair {
            certificate: Pem::memory(certificate),
            key: Pem::memory(private_key),
        }))
    }

    /// Uses a configuration of rustls as it is, for settings that this type does not have. The server changes one
    /// thing: if the configuration has no ALPN protocols, the server adds its own. If the program also makes another
    /// setting of `TlsConfig`, the server does not start.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use hyperlane_core::TlsConfig;
    ///
    /// fn only_1_3(mut config: rustls::ServerConfig) -> TlsConfig {
    ///     config.send_tls13_tickets = 4;
    ///     TlsConfig::from_rustls(Arc::new(config))
    /// }
    /// ```
    pub fn from_rustls(config: Arc<rustls::ServerConfig>) -> Self {
        Self {
            ready: Some(Ready(config)),
            ..Self::of(None)
        }
    }

    /// Returns a setting of the program that has no effect beside a configuration of rustls.
    pub(crate) fn ignored(&self) -> Option<&'static str> {
        let settings = [
            ("certificate", self.default.is_some()),
            ("sni", !self.hosts.is_empty()),
            ("client_certificates", self.clients.is_some()),
            ("reload_every", self.reload_every.is_some()),
        ];
        settings
            .into_iter()
            .find_map(|(setting, is_set)| is_set.then_some(setting))
    }

    /// Adds a certificate for clients that name the host (SNI), from two PEM files. `*.app.example` stands for each
    /// name with one label before `app.example`. A client that names no host, or a host without a certificate of its
    /// own, gets the certificate of the constructor.
    #[must_use]
    pub fn sni(
        mut self,
        host: impl AsRef<str>,
        certificate_path: impl AsRef<Path>,
        private_key_path: impl AsRef<Path>,
    ) -> Self {
        let pair = KeyPair {
            certificate: Pem::file(certificate_path),
            key: Pem::file(private_key_path),
        };
        self.hosts.push((host.as_ref().to_ascii_lowercase(), pair));
        self
    }

    /// Same as [`sni`](Self::sni), from PEM text in memory.
    #[must_use]
    pub fn sni_pem(
        mut self,
        host: impl AsRef<str>,
        certificate: impl AsRef<[u8]>,
        private_key: impl AsRef<[u8]>,
    ) -> Self {
        let pair = KeyPair {
            certificate: Pem::memory(certificate),
            key: Pem::memory(private_key),
        };
        self.hosts.push((host.as_ref().to_ascii_lowercase(), pair));
        self
    }

    /// Accepts the certificate of a client if one of the authorities in a PEM file has issued it.
    /// [`TlsInfo::client_certificates`](crate::TlsInfo::client_certificates) returns the certificates. Default: the
    /// server asks clients for no certificate.
    #[must_use]
    pub fn client_certificates(
        mut self,
        authorities_path: impl AsRef<Path>,
        need: ClientCertificates,
    ) -> Self {
        self.clients = Some((Pem::file(authorities_path), need));
        self
    }

    /// Same as [`client_certificates`](Self::client_certificates), from PEM text in memory.
    #[must_use]
    pub fn client_certificates_pem(
        mut self,
        authorities: impl AsRef<[u8]>,
        need: ClientCertificates,
    ) -> Self {
        self.clients = Some((Pem::memory(authorities), need));
        self
    }

    /// Reads the files again in this interval, and uses them for new connections if they have changed. If the new files
    /// are invalid, the server logs a warning and keeps the old certificates. Open connections continue in any case.
    ///
    /// Default: never. [`ServerControlHook::reload_tls`](crate::ServerControlHook::reload_tls) reads the files again
    /// when the program calls it.
    #[must_use]
    pub fn reload_every(mut self, interval: Duration) -> Self {
        self.reload_every = Some(interval);
        self
    }
}

/// Methods under the names that published Hyperlane programs call.
impl TlsConfig {
    /// Returns the path of the certificate chain. Returns an empty string for PEM text in memory, for a path that is
    /// not UTF-8, and if there is no certificate.
    pub fn get_certificate_path(&self) -> &str {
        let pair = self.default.as_ref();
        pair.and_then(|pair| pair.certificate.path())
            .unwrap_or_default()
    }

    /// Returns the path of the private key. Returns an empty string for PEM text in memory, for a path that is not
    /// UTF-8, and if there is no key.
    pub fn get_private_key_path(&self) -> &str {
        let pair = self.default.as_ref();
        pair.and_then(|pair| pair.key.path()).unwrap_or_default()
    }

    /// Sets the path of the certificate chain.
    pub fn set_certificate_path(&mut self, path: impl AsRef<Path>) -> &mut Self {
        let key = self.default.take().map(|pair| pair.key);
        self.default = Some(KeyPair {
            certificate: Pem::file(path),
            key: key.unwrap_or_else(|| Pem::file("")),
        });
        self
    }

    /// Sets the path of the private key.
    pub fn set_private_key_path(&mut self, path: impl AsRef<Path>) -> &mut Self {
        let certificate = self.default.take().map(|pair| pair.certificate);
        self.default = Some(KeyPair {
            certificate: certificate.unwrap_or_else(|| Pem::file("")),
            key: Pem::file(path),
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_reach_a_log() {
        let tls = TlsConfig::pem("certificate", "secret").sni_pem("a.example", "b", "secret");
        let shown = format!("{tls:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("in memory"), "{shown}");
    }

    #[test]
    fn the_accessors_of_published_programs() {
        let mut tls = TlsConfig::new("a.pem", String::from("a.key"));
        assert_eq!(
            (tls.get_certificate_path(), tls.get_private_key_path()),
            ("a.pem", "a.key")
        );
        tls.set_certificate_path("b.pem")
            .set_private_key_path("b.key");
        assert_eq!(tls, TlsConfig::new("b.pem", "b.key"));
        assert_eq!(TlsConfig::pem("", "").get_certificate_path(), "");
    }
}
