//! The handle of a running server.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

#[cfg(feature = "__tls")]
use super::https::Secured;
use super::{
    connections::Connections,
    listener::{Accepted, BoundAddress},
    task,
};
use crate::{
    conn::{cork, transport},
    env::peer::{Peer, Via},
    pipeline::app::App,
};

/// A handle of a running server. Its name is *control hook*, but it handles no requests. The other hooks are functions
/// of the program that handle requests. Clones control the same server.
///
/// Dropping the handle does not stop the server.
#[derive(Clone, Default)]
pub struct ServerControlHook {
    running: Option<Arc<Running>>,
    /// The functions that `get_wait_hook` and `get_shutdown_hook` lend, made on first use. The functions have control
    /// hooks of their own, so they do not keep themselves alive.
    handlers: Arc<OnceLock<Handlers>>,
}

struct Handlers {
    wait: ServerControlHookHandler<()>,
    shutdown: ServerControlHookHandler<()>,
}

struct Running {
    connections: Arc<Connections>,
    app: Arc<App>,
    permits: Arc<Semaphore>,
    addresses: Vec<BoundAddress>,
    #[cfg(feature = "__tls")]
    tls: Vec<Secured>,
    stop: watch::Sender<bool>,
    /// Becomes true when the server has ended.
    done: watch::Receiver<bool>,
    draining: AtomicBool,
}

/// A shared function that returns a future of `T`. The functions of a control hook wait for the end of a server or shut
/// it down. They can be called several times.
pub type ServerControlHookHandler<T> =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = T> + Send>> + Send + Sync>;

impl ServerControlHook {
    pub(crate) fn new(
        (connections, app, permits): (Arc<Connections>, Arc<App>, Arc<Semaphore>),
        #[cfg(not(feature = "__tls"))] (addresses,): (Vec<BoundAddress>,),
        #[cfg(feature = "__tls")] (addresses, tls): (Vec<BoundAddress>, Vec<Secured>),
        stop: watch::Sender<bool>,
        listeners: Vec<JoinHandle<()>>,
        clock: AbortHandle,
    ) -> Self {
        let (done_sender, done) = watch::channel(false);
        // The listeners also stop when the last sender of the stop signal is dropped. The task holds a sender, so the
        // server continues to run if the program drops all control hooks.
        let (drained, stopping) = (connections.clone(), stop.clone());
        tokio::spawn(async move {
            drain(drained, stopping, listeners).await;
            clock.abort();
            // The send fails only if all control hooks have been dropped.
            let _ = done_sender.send(true);
        });
        Self {
            running: Some(Arc::new(Running {
                connections,
                app,
                permits,
                addresses,
                #[cfg(feature = "__tls")]
                tls,
                stop,
                done,
                draining: AtomicBool::new(false),
            })),
            handlers: Arc::default(),
        }
    }

    /// Waits until the server has ended after a [`shutdown`](Self::shutdown).
    ///
    /// Returns at once for a control hook without a server (the default value). Within a hook of the same server,
    /// returns when the shutdown begins. The server waits for the hook, so a longer wait would be a deadlock.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait(&self) {
        let Some(running) = &self.running else { return };
        let (mut done, mut stop) = (running.done.clone(), running.stop.subscribe());
        // `wait_for` returns an error only if the runtime has ended. The task that sends `done` has then ended, too.
        let mut done = pin!(done.wait_for(|done| *done));
        let mut stop = pin!(stop.wait_for(|stop| *stop));
        poll_fn(|cx| {
            let is_over = done.as_mut().poll(cx).is_ready()
                || cork::is_polling_for(&running.connections.env)
                    && stop.as_mut().poll(cx).is_ready();
            if is_over {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Returns whether the server accepts connections, for readiness probes. Returns false after a shutdown has begun,
    /// and for a control hook without a server.
    pub fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            // When the runtime ends, the sender of `done` is dropped, and `has_changed` returns an error.
            !running.connections.env.is_shutting_down() && running.done.has_changed().is_ok()
        })
    }

    /// Shuts the server down and waits until it has ended.
    ///
    /// The server stops accepting connections, finishes the requests in progress, closes WebSockets with code 1001 and
    /// ends event streams. It closes 100 WebSockets and event streams every tenth of a second, so the clients do not
    /// all reconnect at once. If this rate would take longer than half of
    /// [`ServerConfig::shutdown_timeout`](crate::ServerConfig), the server closes more of them every tenth of a second.
    /// After the whole timeout, the server cuts the remaining connections.
    ///
    /// If a hook has not yet answered a WebSocket handshake, the server answers 503 and drops the hook. If a request
    /// head is incomplete when the shutdown begins, the server waits at most one more second for its rest.
    ///
    /// Within a hook of the same server, or a function for [`Outbox::on_end`](crate::Outbox::on_end), this method
    /// begins the shutdown and returns at once, because the server waits for the hook. If a hook waits for another
    /// task, and the other task waits for the shutdown, the shutdown lasts until the server cuts the hook.
    ///
    /// # Cancel safety
    /// After the first poll, the shutdown continues even if the future is dropped.
    pub async fn shutdown(&self) {
        if let Some(running) = &self.running {
            if !running.draining.swap(true, Ordering::AcqRel) {
                running.connections.env.begin_shutdown();
                // The send fails only if the listeners have ended with the runtime.
                let _ = running.stop.send(true);
            }
            self.wait().await;
        }
    }

    /// Serves a connection that the program created: over TLS, a tunnel, or in memory.
    ///
    /// The connection counts against the limits, and the server closes it at a shutdown.
    /// [`Stream::peer_addr`](crate::Stream::peer_addr) returns `peer`. The method returns as soon as the server has
    /// taken the connection.
    ///
    /// The method drops the connection if the control hook has no server, if the server shuts down, or if `peer` has
    /// the maximum number of connections per address.
    ///
    /// # Cancel safety
    /// The future waits until the number of connections is below
    /// [`ServerConfig::max_connections`](crate::ServerConfig). Dropping the future during this wait drops the
    /// connection.
    pub async fn serve<T>(&self, transport: T, peer: Option<SocketAddr>)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(running) = &self.running else { return };
        let peer = peer.map_or(Peer::Local, Peer::Inet);
        let Ok(permit) = running.permits.clone().acquire_owned().await else {
            // Not reached: the semaphore is never closed.
            return;
        };
        if *running.stop.borrow() {
            return;
        }
        if !running.connections.env.admit(peer) {
            running
                .connections
                .env
                .metrics
                .connection_refused("refused_address");
            return;
        }
        let accepted = Accepted {
            peer,
            halves: transport::driven(transport),
            via: Via::Trusted,
        };
        let task = task::task(&running.connections, &running.app, accepted, permit);
        running.connections.env.spawn(task);
    }

    /// Returns the addresses that the server listens on, in the order of its configuration.
    pub fn addresses(&self) -> &[BoundAddress] {
        self.running
            .as_ref()
            .map_or(&[], |running| &running.addresses)
    }

    /// Returns the first TCP address that the server listens on, with the port that the operating system chose.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses().iter().find_map(|address| match address {
            BoundAddress::Tcp(address) => Some(*address),
            BoundAddress::Unix(_) => None,
        })
    }

    /// Returns the first address with TLS, with the port that the operating system chose.
    #[cfg(feature = "__tls")]
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        let running = self.running.as_ref()?;
        running.tls.iter().find_map(|secured| secured.bound)
    }

    /// Reads the certificates and keys of all addresses with TLS again, for new connections. Open connections continue.
    /// Returns at once for a control hook without a server.
    ///
    /// ```no_run
    /// use hyperlane_core::ServerControlHook;
    ///
    /// # #[cfg(unix)]
    /// async fn reload_on_hangup(control: ServerControlHook) -> std::io::Result<()> {
    ///     let mut hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    ///     while hangups.recv().await.is_some() {
    ///         // The server has logged an error, and keeps the old certificates.
    ///         let _ = control.reload_tls().await;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns the first [`TlsError`](crate::TlsError): it names the file and what is wrong with it. The address keeps
    /// its old certificates. Other addresses are reloaded all the same.
    ///
    /// # Cancel safety
    /// If the future is dropped, some addresses may have new certificates and others old ones.
    #[cfg(feature = "__tls")]
    pub async fn reload_tls(&self) -> Result<(), crate::TlsError> {
        self.change_tls(|_| true, None).await
    }

    /// Replaces the certificates and rules of all addresses with TLS, for new connections. Open connections continue.
    /// Use it for certificates that are not in files. [`TlsConfig::reload_every`](crate::TlsConfig) of the new value
    /// has no effect.
    ///
    /// # Errors
    /// As in [`reload_tls`](Self::reload_tls).
    ///
    /// # Cancel safety
    /// As in [`reload_tls`](Self::reload_tls).
    #[cfg(feature = "__tls")]
    pub async fn replace_tls(&self, tls: crate::TlsConfig) -> Result<(), crate::TlsError> {
        self.change_tls(|_| true, Some(tls)).await
    }

    /// Replaces the certificates and rules of one address, like [`replace_tls`](Self::replace_tls). `address` is one of
    /// [`addresses`](Self::addresses).
    ///
    /// # Errors
    /// [`TlsError::NoAddress`](crate::TlsError) if the server has no address with TLS there, and the errors of
    /// [`reload_tls`](Self::reload_tls).
    ///
    /// # Cancel safety
    /// As in [`reload_tls`](Self::reload_tls).
    ///
    /// ```no_run
    /// use hyperlane_core::{ServerControlHook, TlsConfig, TlsError};
    ///
    /// async fn renew(control: ServerControlHook, chain: &str, key: &str) -> Result<(), TlsError> {
    ///     match control.tls_addr() {
    ///         Some(public) => control.replace_tls_at(public, TlsConfig::pem(chain, key)).await,
    ///         None => Ok(()),
    ///     }
    /// }
    /// ```
    #[cfg(feature = "__tls")]
    pub async fn replace_tls_at(
        &self,
        address: SocketAddr,
        tls: crate::TlsConfig,
    ) -> Result<(), crate::TlsError> {
        let is_there = |secured: &Secured| secured.bound == Some(address);
        let running = self.running.as_ref();
        if !running.is_some_and(|running| running.tls.iter().any(is_there)) {
            return Err(crate::TlsError::NoAddress { address });
        }
        self.change_tls(is_there, Some(tls)).await
    }

    /// Reads the files of some addresses again, or replaces their certificates and rules.
    #[cfg(feature = "__tls")]
    async fn change_tls(
        &self,
        is_meant: impl Fn(&Secured) -> bool,
        tls: Option<crate::TlsConfig>,
    ) -> Result<(), crate::TlsError> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let mut result = Ok(());
        for secured in running.tls.iter().filter(|secured| is_meant(secured)) {
            let reloaded = super::https::reload(secured.clone(), tls.clone()).await;
            result = result.and(reloaded);
        }
        result
    }

    /// Returns the number of live connections.
    pub fn connections(&self) -> usize {
        self.running
            .as_ref()
            .map_or(0, |running| running.connections.live.len())
    }
}

/// Methods under the names that published Hyperlane programs call.
impl ServerControlHook {
    /// Lends [`wait`](Self::wait) as a function. A clone of the function does not borrow the control hook.
    pub fn get_wait_hook(&self) -> &ServerControlHookHandler<()> {
        &self.handlers().wait
    }

    /// Lends [`shutdown`](Self::shutdown) as a function. A clone of the function does not borrow the control hook.
    pub fn get_shutdown_hook(&self) -> &ServerControlHookHandler<()> {
        &self.handlers().shutdown
    }

    fn handlers(&self) -> &Handlers {
        self.handlers.get_or_init(|| {
            let control = || Self {
                running: self.running.clone(),
                handlers: Arc::default(),
            };
            let (waits, ends) = (control(), control());
            Handlers {
                wait: Arc::new(move || {
                    let control = waits.clone();
                    Box::pin(async move { control.wait().await })
                }),
                shutdown: Arc::new(move || {
                    let control = ends.clone();
                    Box::pin(async move { control.shutdown().await })
                }),
            }
        })
    }
}

async fn drain(
    connections: Arc<Connections>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
) {
    // The wait cannot fail, because this function holds a sender.
    let _ = stop.subscribe().wait_for(|stop| *stop).await;
    for listener in listeners {
        // A listener does not panic. An error would also mean that the listener has ended.
        let _ = listener.await;
    }
    // The listeners may have accepted further connections in the meantime. `end_connections` closes these, too.
    end_connections(&connections).await;
}

/// Ends every connection. Waits for the shutdown timeout of the configuration at most, then aborts the remaining
/// connections and gives them one more second to end.
pub(crate) async fn end_connections(connections: &Connections) {
    connections.env.begin_shutdown();
    let deadline = Instant::now() + connections.env.config.shutdown_timeout;
    connections.tell_of_shutdown().await;
    if tokio::time::timeout_at(deadline, emptied(connections))
        .await
        .is_err()
    {
        let left = connections.live.len();
        tracing::warn!(
            left,
            "shutdown: the drain time is over, cutting the remaining connections"
        );
        connections.abort_all();
        // A handler that never awaits cannot be aborted. It ends with the runtime.
        let _ = tokio::time::timeout(Duration::from_secs(1), emptied(connections)).await;
    }
}

async fn emptied(connections: &Connections) {
    loop {
        let ended = connections.env.ended.notified();
        tokio::pin!(ended);
        // The notification is registered before the check. So no end between the check and the wait is missed.
        ended.as_mut().enable();
        if connections.live.len() == 0 {
            return;
        }
        ended.await;
    }
}
