//! TLS: certificates, the configuration of rustls that is in use, and the facts of a handshake.
//!
//! Only this module, `config/tls.rs` and `server/handshake.rs` use the crate rustls. The connection sees TLS as a
//! transport like any other.

mod certificates;
mod info;
mod provider;
mod resolver;

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use rustls::{ServerConfig, server::ProducesTickets, server::ServerSessionMemoryCache};

pub use self::info::TlsInfo;
use self::{
    certificates::{client_verifier, key_pair},
    resolver::Resolver,
};
use crate::{
    config::{ClientCertificates, Pem, ServerProtocol, TlsConfig},
    error::{TlsError, TlsSource},
};

/// The number of sessions that clients can resume without a ticket. A session takes about 1 KiB.
const STORED_SESSIONS: usize = 4096;

/// Returns the identifiers of the protocols that the server offers by ALPN, the preferred one first.
pub(crate) fn protocols(protocol: ServerProtocol) -> Vec<Vec<u8>> {
    let spoken = match protocol {
        ServerProtocol::Http2 if cfg!(feature = "http2") => {
            &[ServerProtocol::Http2, ServerProtocol::Http1][..]
        }
        _ => &[ServerProtocol::Http1],
    };
    let ids = spoken
        .iter()
        .map(|spoken| spoken.get_alpn_protocol().to_vec());
    ids.collect()
}

/// The TLS of an address: the configuration for new connections, and what a reload needs.
pub(crate) struct LiveTls {
    protocol: ServerProtocol,
    current: RwLock<Arc<ServerConfig>>,
    /// Locked during a whole reload, so that two reloads do not mix.
    loaded: Mutex<Loaded>,
}

/// The origin of the current configuration.
struct Loaded {
    plan: TlsConfig,
    files: Files,
    resumption: Resumption,
}

/// The PEM texts of a configuration, each with its source. The text of a file is as it was when the file was read.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Files(Vec<(Pem, Arc<[u8]>)>);

impl Files {
    /// Returns the PEM text of a source, and remembers it. Reads each file once. If a certificate and a key are in the
    /// same file, both thus come from the same version of the file.
    pub(super) fn read(&mut self, pem: &Pem) -> Result<Arc<[u8]>, TlsError> {
        if let Some((_, text)) = self.0.iter().find(|(known, _)| known == pem) {
            return Ok(text.clone());
        }
        let text: Arc<[u8]> = match pem {
            Pem::Memory(text) => text.clone(),
            Pem::File(path) => match std::fs::read(path) {
                Ok(text) => text.into(),
                Err(error) => {
                    return Err(TlsError::Read {
                        file: source(pem),
                        reason: error.to_string(),
                    });
                }
            },
        };
        self.0.push((pem.clone(), text.clone()));
        Ok(text)
    }
}

/// Returns the name of a source, for errors.
pub(super) fn source(pem: &Pem) -> TlsSource {
    match pem {
        Pem::File(path) => TlsSource::File(path.clone()),
        Pem::Memory(_) => TlsSource::Memory,
    }
}

/// What the server stores of the sessions that clients may resume. A reload keeps it, unless the rules for the
/// certificates of clients have changed. Otherwise a resumed session would evade the new rules, because its certificate
/// is not checked again.
#[derive(Clone)]
struct Resumption {
    tickets: Option<Arc<dyn ProducesTickets>>,
    sessions: Arc<ServerSessionMemoryCache>,
    /// The authorities that issue the certificates of clients, and whether clients need one. `None` if the server asks
    /// for no such certificate.
    clients: Option<(Arc<[u8]>, ClientCertificates)>,
}

impl Resumption {
    fn new(clients: Option<(Arc<[u8]>, ClientCertificates)>) -> Result<Self, TlsError> {
        Ok(Self {
            tickets: Some(provider::tickets()?),
            sessions: ServerSessionMemoryCache::new(STORED_SESSIONS),
            clients,
        })
    }
}

impl LiveTls {
    /// Reads the files of a plan and checks them.
    pub(crate) fn load(plan: TlsConfig, protocol: ServerProtocol) -> Result<Self, TlsError> {
        let (config, loaded) = load(plan, protocol, None)?;
        Ok(Self {
            protocol,
            current: RwLock::new(config),
            loaded: Mutex::new(loaded),
        })
    }

    /// Returns the configuration for a new connection.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the interval in which the server reads the files again. Returns `None` if it never does so by itself.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.plan.reload_every
    }

    /// Reads the files again. Returns true if the files have changed. After an error, the old configuration stays.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = loaded.plan.clone();
        self.apply(&mut loaded, plan)
    }

    /// Uses another plan for new connections. Returns true if the plan or a file differs from before. After an error,
    /// the old configuration stays.
    pub(crate) fn replace(&self, plan: TlsConfig) -> Result<bool, TlsError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        self.apply(&mut loaded, plan)
    }

    /// Uses a plan for new connections. The caller holds the lock, so that no other plan comes in between.
    fn apply(&self, loaded: &mut Loaded, plan: TlsConfig) -> Result<bool, TlsError> {
        let (config, new) = load(plan, self.protocol, Some(&loaded.resumption))?;
        let is_changed = new.plan != loaded.plan || new.files != loaded.files;
        if is_changed {
            *loaded = new;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        }
        Ok(is_changed)
    }
}

/// Builds the configuration of rustls for a plan.
fn load(
    plan: TlsConfig,
    protocol: ServerProtocol,
    before: Option<&Resumption>,
) -> Result<(Arc<ServerConfig>, Loaded), TlsError> {
    let mut files = Files::default();
    let protocols = protocols(protocol);
    if let Some(ready) = &plan.ready {
        if let Some(setting) = plan.ignored() {
            return Err(TlsError::Ignored { setting });
        }
        let mut config = ready.0.clone();
        if config.alpn_protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = protocols;
        }
        let resumption = Resumption {
            tickets: None,
            sessions: ServerSessionMemoryCache::new(1),
            clients: None,
        };
        let loaded = Loaded {
            plan,
            files,
            resumption,
        };
        return Ok((config, loaded));
    }
    let provider = provider::provider()?;
    let default = plan.default.as_ref().ok_or(TlsError::NoDefault)?;
    let mut resolver = Resolver::new(key_pair(default, &mut files, &provider)?);
    for (host, pair) in &plan.hosts {
        let key = key_pair(pair, &mut files, &provider)?;
        resolver.add(host, key, source(&pair.certificate))?;
    }
    let clients = match &plan.clients {
        Some((pem, need)) => Some((files.read(pem)?, *need)),
        None => None,
    };
    let resumption = match before {
        Some(before) if before.clients == clients && before.tickets.is_some() => before.clone(),
        _ => Resumption::new(clients)?,
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let builder = match &plan.clients {
        Some((pem, need)) => {
            builder.with_client_cert_verifier(client_verifier(pem, *need, &mut files, provider)?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = protocols;
    config.session_storage = resumption.sessions.clone();
    if let Some(tickets) = &resumption.tickets {
        config.ticketer = tickets.clone();
    }
    let loaded = Loaded {
        plan,
        files,
        resumption,
    };
    Ok((Arc::new(config), loaded))
}

fn refused(error: rustls::Error) -> TlsError {
    TlsError::Rustls {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
