//! Listening sockets and the accept loop.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

#[cfg(unix)]
use tokio::net::UnixListener;

#[cfg(feature = "__tls")]
use super::handshake;
use super::{connections::Connections, task};
#[cfg(feature = "__tls")]
use crate::tls::LiveTls;
use crate::{
    config::{HttpsRedirect, PROXIED, ServerConfig},
    conn::{
        link::Link,
        transport::{self, Reader, Writer},
    },
    env::peer::{Peer, Via},
    error::ServerError,
    pipeline::app::App,
};

/// The number of connections that a listener accepts before it lets other tasks run.
const ACCEPTED_AT_ONCE: u32 = 4;

/// The pause after the first failure to accept a connection, for example for lack of memory. The pause doubles with
/// each further failure, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A listening socket.
pub(crate) struct Listener {
    socket: Socket,
    /// True if each connection begins with the PROXY protocol header of a load balancer.
    proxied: bool,
    role: Role,
    /// The size of the send buffer of accepted Unix sockets.
    #[cfg_attr(not(unix), expect(dead_code))]
    send_buffer: Option<u32>,
}

/// What the server does with the connections of an address.
pub(crate) enum Role {
    /// Serves them.
    Plain,
    /// Serves them after a TLS handshake.
    #[cfg(feature = "__tls")]
    Tls(Arc<LiveTls>),
    /// Redirects their requests to `https`.
    Redirect(Arc<HttpsRedirect>),
}

enum Socket {
    Tcp(TcpListener),
    /// The drop of the `UnixPath` removes the file. Fields drop in order, so this happens while the listener is still
    /// open. If the listener closed first, another server could put its own file at the path, even with the same inode,
    /// and the drop would remove that file.
    #[cfg(unix)]
    Unix(UnixPath, UnixListener),
}

/// An accepted connection.
pub(crate) struct Accepted {
    pub(crate) peer: Peer,
    pub(crate) halves: (Reader, Writer),
    /// The kind of the server's address at which the connection arrived. With [`Via::Balancer`], the connection begins
    /// with a PROXY protocol header.
    pub(crate) via: Via,
}

/// An address that a server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// A TCP address. If the configured port was 0, the port is the one that the operating system chose.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(std::path::PathBuf),
}

impl BoundAddress {
    /// Returns the IP address of a TCP listener.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }
}

/// Writes the address in the form that [`Server::bind`](crate::Server::bind) accepts.
impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The file of a Unix socket. The drop of this value removes the file, unless another file has replaced it.
#[cfg(unix)]
pub(crate) struct UnixPath {
    path: std::path::PathBuf,
    /// The id of the file that the server created. `None` if the file system returned no id. The drop then leaves the
    /// file in place.
    file: Option<FileId>,
}

/// The device and the inode of a file. They identify a file independently of its name.
#[cfg(unix)]
type FileId = (u64, u64);

#[cfg(unix)]
impl Drop for UnixPath {
    fn drop(&mut self) {
        if self.file.is_some() && self.file == socket_at(&self.path) {
            // If the file cannot be removed, the next server at this path finds that no process listens there, and
            // removes it.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Returns the id of the socket file at a path. Returns `None` if there is no socket.
#[cfg(unix)]
fn socket_at(path: &std::path::Path) -> Option<FileId> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let meta = std::fs::symlink_metadata(path).ok()?;
    meta.file_type()
        .is_socket()
        .then(|| (meta.dev(), meta.ino()))
}

impl Listener {
    /// Binds a configured address: `host:port`, or `unix:` and a path. The prefix `proxy:` marks an address at which a
    /// load balancer connects and speaks the PROXY protocol.
    pub(crate) async fn bind(
        address: &str,
        role: Role,
        config: &ServerConfig,
    ) -> Result<Self, ServerError> {
        let behind = address.strip_prefix(PROXIED);
        let bound = match behind.unwrap_or(address).strip_prefix("unix:") {
            #[cfg(unix)]
            Some(path) => bind_unix(path),
            #[cfg(not(unix))]
            Some(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this system does not support Unix sockets",
            )),
            None => bind_tcp(behind.unwrap_or(address), config).await,
        };
        match bound {
            Ok(socket) => Ok(Self {
                socket,
                proxied: behind.is_some(),
                role,
                send_buffer: config.send_buffer,
            }),
            Err(source) => Err(ServerError::Bind {
                address: address.to_owned(),
                source,
            }),
        }
    }

    /// Returns the address that the listener is bound to.
    pub(crate) fn address(&self) -> io::Result<BoundAddress> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(BoundAddress::Tcp),
            #[cfg(unix)]
            Socket::Unix(path, _) => Ok(BoundAddress::Unix(path.path.clone())),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Accepted {
                    // Behind a load balancer, `address` is the address of the load balancer. The PROXY protocol header
                    // names the client later. Until then, the peer is `Local`.
                    peer: match self.proxied {
                        true => Peer::Local,
                        false => Peer::Inet(address),
                    },
                    halves: transport::tcp(stream),
                    via: match self.proxied {
                        true => Via::Balancer,
                        false => Via::Tcp,
                    },
                })
            }
            #[cfg(unix)]
            Socket::Unix(_, listener) => {
                let (stream, _) = listener.accept().await?;
                // Unlike a TCP connection, a Unix connection does not inherit the size of the send buffer from its
                // listener.
                set_send_buffer(socket2::SockRef::from(&stream), self.send_buffer)?;
                Ok(Accepted {
                    peer: Peer::Local,
                    halves: transport::unix(stream),
                    via: match self.proxied {
                        true => Via::Balancer,
                        false => Via::Trusted,
                    },
                })
            }
        }
    }

    /// Starts the task of an accepted connection. At an address with TLS, starts the task of the handshake instead, and
    /// that task later starts the task of the connection.
    fn begin(
        &self,
        connections: &Arc<Connections>,
        app: &Arc<App>,
        accepted: Accepted,
        permit: OwnedSemaphorePermit,
        #[cfg_attr(not(feature = "__tls"), expect(unused))] stop: &watch::Receiver<bool>,
    ) {
        match &self.role {
            Role::Plain => {
                tokio::spawn(task::task(connections, app, accepted, permit));
            }
            #[cfg(feature = "__tls")]
            Role::Tls(tls) => {
                tokio::spawn(handshake::shake_hands(
                    connections.clone(),
                    app.clone(),
                    (accepted, tls.clone()),
                    permit,
                    stop.clone(),
                ));
            }
            Role::Redirect(redirect) => {
                let prepare = |link: &Link| link.facts.set_redirect(redirect.clone());
                tokio::spawn(task::task_of(connections, app, accepted, permit, prepare));
            }
        }
    }

    /// Counts an accepted connection for the rate limits. Returns the earliest moment at which the listener may accept
    /// the next one, or `None` if it need not wait. A connection that was not admitted has no handshake, so it does not
    /// count for the rate of handshakes.
    fn pause(
        &self,
        connections: &Connections,
        #[cfg_attr(not(feature = "__tls"), expect(unused))] is_admitted: bool,
    ) -> Option<Instant> {
        let next = connections.accepts.count();
        #[cfg(feature = "__tls")]
        if is_admitted && matches!(self.role, Role::Tls(_)) {
            return next.max(connections.handshakes.pace.count());
        }
        next
    }

    /// Accepts connections until the server shuts down. An error does not end the loop.
    pub(crate) async fn serve(
        self,
        connections: Arc<Connections>,
        app: Arc<App>,
        permits: Arc<Semaphore>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut pause = FIRST_PAUSE;
        let mut at_once = 0;
        loop {
            // In a burst of connections, other tasks run between small groups of accepted connections.
            if at_once == ACCEPTED_AT_ONCE {
                at_once = 0;
                tokio::task::yield_now().await;
            }
            at_once += 1;
            // The loop waits for a free permit before it accepts. (Each connection has a permit, and the server has
            // `max_connections` permits.) While no permit is free, connections wait in the backlog of the operating
            // system at no cost. The loop does not keep the permit until a connection arrives, because other listeners
            // may need the permit in the meantime.
            if permits.available_permits() == 0 {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => return,
                    place = permits.acquire() => drop(place),
                }
            }
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    pause = FIRST_PAUSE;
                    // The loop takes a permit for the connection. The loop waits here only if other listeners have
                    // taken all free permits in the meantime.
                    let permit = match permits.clone().try_acquire_owned() {
                        Ok(permit) => permit,
                        Err(_) => tokio::select! {
                            biased;
                            _ = stop.wait_for(|stop| *stop) => return,
                            // The semaphore is never closed.
                            Ok(permit) = permits.clone().acquire_owned() => permit,
                            else => return,
                        },
                    };
                    let is_admitted = connections.env.admit(accepted.peer);
                    if is_admitted {
                        self.begin(&connections, &app, accepted, permit, &stop);
                    } else {
                        connections
                            .env
                            .metrics
                            .connection_refused("refused_address");
                        tracing::debug!(peer = %accepted.peer, "too many connections from this address");
                    }
                    // If the rate is exceeded, the loop pauses. The server serves the accepted connection in the
                    // meantime, and further connections wait in the backlog.
                    if let Some(next) = self.pause(&connections, is_admitted) {
                        tokio::select! {
                            _ = stop.wait_for(|stop| *stop) => return,
                            () = tokio::time::sleep_until(next) => {}
                        }
                    }
                }
                Err(error) if is_of_the_connection(&error) => {
                    tracing::debug!(%error, "connection failed before it was accepted");
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept: waiting {pause:?}");
                    tokio::select! {
                        _ = stop.wait_for(|stop| *stop) => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Returns whether an error concerns only one incoming connection, and not the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
    )
}

async fn bind_tcp(address: &str, config: &ServerConfig) -> io::Result<Socket> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        match listen(address, config) {
            Ok(listener) => return Ok(Socket::Tcp(listener)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen(address: SocketAddr, config: &ServerConfig) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // With this option, a restarted server can bind its port again while old connections are in TIME_WAIT. On Windows
    // the option has another meaning.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit these options. This saves a system call per connection.
    socket.set_nodelay(config.nodelay.unwrap_or(true))?;
    set_send_buffer(socket2::SockRef::from(&socket), config.send_buffer)?;
    if let Some(ttl) = config.ttl {
        let options = socket2::SockRef::from(&socket);
        if address.is_ipv4() {
            options.set_ttl_v4(ttl)?;
        } else {
            options.set_unicast_hops_v6(ttl)?;
            // A dual-stack socket uses this TTL for IPv4 clients. Some systems do not support the option on such a
            // socket.
            drop(options.set_ttl_v4(ttl));
        }
    }
    socket.bind(address)?;
    socket.listen(config.backlog)
}

/// Sets the size of a socket's send buffer, in bytes. `None` leaves the size to the system.
fn set_send_buffer(socket: socket2::SockRef<'_>, size: Option<u32>) -> io::Result<()> {
    match size {
        Some(size) => {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            // The system takes the size as an `i32`.
            socket.set_send_buffer_size(size.min(i32::MAX as usize))
        }
        None => Ok(()),
    }
}

#[cfg(unix)]
fn bind_unix(path: &str) -> io::Result<Socket> {
    let path = std::path::PathBuf::from(path);
    match socket_at(&path) {
        Some(_) if is_answered(&path)? => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens there: stop it, or choose another path",
            ));
        }
        // No process listens at this file: a killed server has left it behind. The second `socket_at` detects another
        // server that has replaced the file in the meantime.
        Some(found) if socket_at(&path) == Some(found) => std::fs::remove_file(&path)?,
        Some(_) => {}
        None if std::fs::symlink_metadata(&path).is_ok() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is in the way: remove it, or choose another path",
            ));
        }
        None => {}
    }
    let listener = UnixListener::bind(&path)?;
    let file = socket_at(&path);
    Ok(Socket::Unix(UnixPath { path, file }, listener))
}

/// Returns whether a process listens at the file of a socket. Does not wait. A process that hangs and has a full
/// backlog counts as listening.
#[cfg(unix)]
fn is_answered(path: &std::path::Path) -> io::Result<bool> {
    let probe = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        // Another process has removed the file in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // A process listens, has a full backlog, or denies access. The file must stay.
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_time_to_live_is_set_for_either_version_of_ip() {
        let config = ServerConfig::default().ttl(Some(7));
        let v4 = listen("127.0.0.1:0".parse().unwrap(), &config).unwrap();
        assert_eq!(socket2::SockRef::from(&v4).ttl_v4().unwrap(), 7);
        // On a machine without IPv6 this part of the test is skipped.
        if let Ok(v6) = listen("[::1]:0".parse().unwrap(), &config) {
            assert_eq!(socket2::SockRef::from(&v6).unicast_hops_v6().unwrap(), 7);
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn accepted_sockets_have_the_send_buffer_of_the_configuration() {
        use crate::conn::transport::Reader;

        let path = std::env::temp_dir().join(format!("hyperlane-buffer-{}", std::process::id()));
        let accepted = async |address: &str, config: &ServerConfig| {
            let listener = Listener::bind(address, Role::Plain, config).await.unwrap();
            let accepting = listener.accept();
            match listener.address().unwrap() {
                BoundAddress::Tcp(address) => {
                    let _client = tokio::net::TcpStream::connect(address).await.unwrap();
                    match accepting.await.unwrap().halves.0 {
                        Reader::Tcp(half) => {
                            let socket = socket2::SockRef::from(half.as_ref());
                            socket.send_buffer_size().unwrap()
                        }
                        _ => 0,
                    }
                }
                BoundAddress::Unix(path) => {
                    let _client = tokio::net::UnixStream::connect(path).await.unwrap();
                    match accepting.await.unwrap().halves.0 {
                        Reader::Unix(half) => {
                            let socket = socket2::SockRef::from(half.as_ref());
                            socket.send_buffer_size().unwrap()
                        }
                        _ => 0,
                    }
                }
            }
        };
        for address in ["127.0.0.1:0", &format!("unix:{}", path.display())] {
            let config = ServerConfig::default();
            let default = accepted(address, &config).await;
            let small = accepted(address, &config.clone().send_buffer(20_000)).await;
            // Linux reports twice the size.
            assert!(small == 20_000 || small == 40_000, "{address}: {small}");
            assert!(default > small, "{address}: {default}");
        }
        let zero = ServerConfig::default().send_buffer(0);
        assert!(zero.validate().is_err());
    }
}
