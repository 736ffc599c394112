//! The addresses of a server with TLS, and those that redirect to `https`.

#[cfg(feature = "__tls")]
use std::net::SocketAddr;
use std::sync::Arc;

#[cfg(feature = "__tls")]
use tokio::sync::watch;

use super::{
    Server,
    listener::{BoundAddress, Listener, Role},
};
use crate::{
    config::{ConfigError, Form, HttpsRedirect, ServerConfig},
    error::ServerError,
};
#[cfg(feature = "__tls")]
use crate::{
    config::{TlsConfig, check_plan},
    error::TlsError,
    tls::LiveTls,
};

/// The port of `https` that URIs omit.
#[cfg(feature = "__tls")]
const HTTPS_PORT: u16 = 443;

/// The settings of single addresses, in the order of the calls.
#[derive(Default)]
pub(super) struct Planned {
    /// By address, without the prefix `tls:`.
    #[cfg(feature = "__tls")]
    tls: Vec<(String, TlsConfig)>,
    /// By address, without the prefix `redirect:`.
    redirects: Vec<(String, HttpsRedirect)>,
}

/// Returns the settings of one address of `addresses`. Several calls may name the same address, since the operating system
/// chooses another port for each address with port 0. The last calls belong to the addresses, in their order.
fn planned<'a, T>(
    plans: &'a [(String, T)],
    (form, address): (Form, &str),
    (at, addresses): (usize, &[String]),
) -> Option<&'a T> {
    let is_same = |other: &&String| Form::of(other) == (form, address.into());
    let earlier = addresses.iter().take(at).filter(is_same).count();
    let all = addresses.iter().filter(is_same).count();
    let plans = || plans.iter().filter(|(of, _)| of == address);
    let unused = plans().count().saturating_sub(all);
    let (_, plan) = plans().nth(unused + earlier).or_else(|| plans().last())?;
    Some(plan)
}

/// The listeners of a server that starts.
#[derive(Default)]
pub(super) struct Bound {
    pub(super) listeners: Vec<Listener>,
    pub(super) addresses: Vec<BoundAddress>,
    #[cfg(feature = "__tls")]
    pub(super) tls: Vec<Secured>,
    /// The port of the first address with TLS.
    port: Option<u16>,
}

/// An address with TLS.
#[cfg(feature = "__tls")]
#[derive(Clone)]
pub(crate) struct Secured {
    pub(crate) address: String,
    pub(crate) bound: Option<SocketAddr>,
    pub(crate) live: Arc<LiveTls>,
}

/// Methods for TLS.
impl Server {
    /// Sets an address to listen on with TLS: `host:port`, or `proxy:host:port` for a load balancer that speaks the
    /// PROXY protocol before TLS. Works like [`bind`](Self::bind). A server with TLS needs no other address.
    ///
    /// The server speaks HTTP/1.1 over TLS, and HTTP/2 if [`ServerConfig::protocol`] allows it. A client that sends a
    /// request without TLS gets a 400 that says so.
    #[cfg(feature = "__tls")]
    pub fn bind_tls(&mut self, address: impl AsRef<str>, tls: TlsConfig) -> &mut Self {
        let address = address.as_ref();
        self.https.tls.push((address.to_owned(), tls));
        self.bind(Form::Tls.mark(address))
    }

    /// Sets an address without TLS that redirects all requests to `https` at the same host. Works like
    /// [`bind`](Self::bind). The address, or [`HttpsRedirect::at`] with options.
    pub fn redirect_to_https(&mut self, redirect: impl Into<HttpsRedirect>) -> &mut Self {
        let redirect = redirect.into();
        let address = Form::Redirect.mark(&redirect.address);
        let plan = (redirect.address.clone(), redirect);
        self.https.redirects.push(plan);
        self.bind(address)
    }

    /// Returns an error for a protocol that the server does not speak.
    pub(super) fn check_protocol(&self) -> Result<(), ServerError> {
        #[cfg(feature = "__tls")]
        let has_tls = self.config.tls.is_some() || !self.https.tls.is_empty();
        #[cfg(not(feature = "__tls"))]
        let has_tls = false;
        match self.config.protocol.is_quic() && !has_tls {
            true => Err(ServerError::MissingTlsForHttp3),
            false => Ok(()),
        }
    }

    /// Binds all addresses of a valid configuration.
    pub(super) async fn bind_all(&self, config: &ServerConfig) -> Result<Bound, ServerError> {
        let marked = |address: &String| Form::of(address).0 == Form::Tls;
        let is_marked = config.addresses.iter().any(marked);
        let mut bound = Bound::default();
        // A redirect names the port of an address with TLS, so those are bound first.
        let mut found = Vec::new();
        for (at, address) in config.addresses.iter().enumerate() {
            let (form, rest) = Form::of(address);
            if form != Form::Redirect {
                let role = self.role((form, &rest), at, config, is_marked)?;
                found.push((at, bound.listen(address, &rest, role, config).await?));
            }
        }
        for (at, address) in config.addresses.iter().enumerate() {
            let (form, rest) = Form::of(address);
            if form == Form::Redirect {
                let of = (at, &*config.addresses);
                let redirect = planned(&self.https.redirects, (form, &rest), of).cloned();
                let mut redirect = redirect.unwrap_or_else(|| HttpsRedirect::at(&*rest));
                redirect.port = redirect.port.or(bound.port);
                if redirect.port.is_none() {
                    return Err(ConfigError::NoRedirectTarget(rest.into_owned()).into());
                }
                let role = Role::Redirect(Arc::new(redirect));
                found.push((at, bound.listen(address, &rest, role, config).await?));
            }
        }
        found.sort_by_key(|(at, _)| *at);
        bound.addresses = found.into_iter().map(|(_, address)| address).collect();
        Ok(bound)
    }

    /// Returns what the server does at an address that does not redirect.
    #[cfg(feature = "__tls")]
    fn role(
        &self,
        (form, address): (Form, &str),
        at: usize,
        config: &ServerConfig,
        is_marked: bool,
    ) -> Result<Role, ServerError> {
        let is_unix = address.contains("unix:");
        let of = (at, &*config.addresses);
        let plan = match (form, &config.tls) {
            (Form::Tls, general) => {
                planned(&self.https.tls, (form, address), of).or(general.as_ref())
            }
            (_, Some(general)) if !is_marked && !is_unix => Some(general),
            _ => return Ok(Role::Plain),
        };
        let Some(plan) = plan else {
            return Err(ConfigError::NoCertificate(address.to_owned()).into());
        };
        check_plan(plan)?;
        match LiveTls::load(plan.clone(), config.protocol) {
            Ok(live) => Ok(Role::Tls(Arc::new(live))),
            Err(source) => Err(ServerError::Tls {
                address: address.to_owned(),
                source,
            }),
        }
    }

    /// Without TLS, the server serves all addresses that do not redirect.
    #[cfg(not(feature = "__tls"))]
    fn role(
        &self,
        _: (Form, &str),
        _: usize,
        _: &ServerConfig,
        _: bool,
    ) -> Result<Role, ServerError> {
        Ok(Role::Plain)
    }
}

impl Bound {
    /// Binds an address. Returns the address with the port that the operating system chose.
    async fn listen(
        &mut self,
        configured: &str,
        address: &str,
        role: Role,
        config: &ServerConfig,
    ) -> Result<BoundAddress, ServerError> {
        #[cfg(feature = "__tls")]
        let live = match &role {
            Role::Tls(live) => Some(live.clone()),
            _ => None,
        };
        let listener = Listener::bind(address, role, config).await?;
        let bound = listener.address().map_err(|source| ServerError::Bind {
            address: configured.to_owned(),
            source,
        })?;
        self.listeners.push(listener);
        #[cfg(feature = "__tls")]
        if let Some(live) = live {
            let bound = match &bound {
                BoundAddress::Tcp(bound) => Some(*bound),
                BoundAddress::Unix(_) => None,
            };
            let port = bound.map_or(HTTPS_PORT, |bound| bound.port());
            self.port = self.port.or(Some(port));
            self.tls.push(Secured {
                address: address.to_owned(),
                bound,
                live,
            });
        }
        Ok(bound)
    }
}

/// Starts a task for each address whose files the server reads again in an interval.
#[cfg(feature = "__tls")]
pub(super) fn keep_fresh(secured: &[Secured], stopped: &watch::Receiver<bool>) {
    for secured in secured {
        let Some(interval) = secured.live.interval() else {
            continue;
        };
        let (secured, mut stopped) = (secured.clone(), stopped.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(interval) => {}
                }
                // `reload` has logged an error.
                let _ = reload(secured.clone(), None).await;
            }
        });
    }
}

/// Reads the files of an address again, or replaces its plan, on a thread that may wait for files.
#[cfg(feature = "__tls")]
pub(super) async fn reload(secured: Secured, plan: Option<TlsConfig>) -> Result<(), TlsError> {
    let Secured { address, live, .. } = secured;
    let read = move || match plan {
        Some(plan) => live.replace(plan),
        None => live.reload(),
    };
    let loaded = match tokio::task::spawn_blocking(read).await {
        Ok(loaded) => loaded,
        // The runtime ends.
        Err(_) => Ok(false),
    };
    match loaded {
        Ok(true) => {
            tracing::info!(address, "new TLS certificates are in use");
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(error) => {
            tracing::warn!(address, "the old TLS certificates stay in use: {error}");
            Err(error)
        }
    }
}
