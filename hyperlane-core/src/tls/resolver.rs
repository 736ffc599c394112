//! The choice of the certificate by the host that a client names (SNI).

use std::{collections::HashMap, sync::Arc};

use rustls::{
    client::verify_server_name,
    pki_types::ServerName,
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::error::{TlsError, TlsSource};

/// The certificates of an address.
#[derive(Debug)]
pub(super) struct Resolver {
    default: Arc<CertifiedKey>,
    /// The certificates by host, in lower case. A host that begins with a dot stands for all names with one label
    /// before it.
    hosts: HashMap<String, Arc<CertifiedKey>>,
}

impl Resolver {
    pub(super) fn new(default: Arc<CertifiedKey>) -> Self {
        Self {
            default,
            hosts: HashMap::new(),
        }
    }

    /// Adds the certificate of a host. Returns an error if the certificate is not valid for the host.
    pub(super) fn add(
        &mut self,
        host: &str,
        key: Arc<CertifiedKey>,
        certificate: TlsSource,
    ) -> Result<(), TlsError> {
        // A wildcard is checked by an example: a name with some label in place of the `*`.
        let example = match host.strip_prefix('*') {
            Some(rest) => format!("label{rest}"),
            None => host.to_owned(),
        };
        let is_valid = ServerName::try_from(example).is_ok_and(|name| {
            key.end_entity_cert()
                .and_then(ParsedCertificate::try_from)
                .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
        });
        if !is_valid {
            return Err(TlsError::Host {
                host: host.to_owned(),
                certificate,
            });
        }
        let name = host.strip_prefix('*').unwrap_or(host);
        self.hosts.insert(name.to_owned(), key);
        Ok(())
    }

    fn find(&self, host: Option<&str>) -> &Arc<CertifiedKey> {
        let found = host.and_then(|host| {
            // rustls has checked the name and written it in lower case.
            let parent = host.find('.').and_then(|at| host.get(at..));
            self.hosts.get(host).or_else(|| self.hosts.get(parent?))
        });
        found.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()).clone())
    }
}
