//! Listening sockets and the accept loop.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
};

#[cfg(unix)]
use tokio::net::UnixListener;

use super::{connections::Connections, task};
use crate::{
    config::{PROXIED, ServerConfig},
    conn::transport::{self, Reader, Writer},
    env::peer::{Peer, Via},
    error::ServerError,
    pipeline::app::App,
};

/// Number of connections accepted before other tasks run.
const ACCEPTED_AT_ONCE: u32 = 4;

/// First pause after running out of descriptors or memory. It doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A listening socket.
pub(crate) struct Listener {
    socket: Socket,
    /// True if each connection begins with the header of a load balancer.
    proxied: bool,
}

enum Socket {
    Tcp(TcpListener),
    /// The file is removed before the listener closes: after that, another server may have put its own file there, even
    /// with the same inode.
    #[cfg(unix)]
    Unix(UnixPath, UnixListener),
}

/// An accepted connection.
pub(crate) struct Accepted {
    pub(crate) peer: Peer,
    pub(crate) halves: (Reader, Writer),
    /// With [`Via::Balancer`], the connection begins with a load balancer's header.
    pub(crate) via: Via,
}

/// An address that a server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// A TCP address, with the port that the system chose if it was 0.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(std::path::PathBuf),
}

impl BoundAddress {
    /// The address of a TCP listener.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }
}

/// As [`Server::bind`](crate::Server::bind) takes it.
impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Removes the socket's file when the server ends, unless another file has replaced it.
#[cfg(unix)]
pub(crate) struct UnixPath {
    path: std::path::PathBuf,
    /// The bound file; `None` if the file system cannot tell.
    file: Option<FileId>,
}

/// The device and inode, which identify a file under any name.
#[cfg(unix)]
type FileId = (u64, u64);

#[cfg(unix)]
impl Drop for UnixPath {
    fn drop(&mut self) {
        if self.file.is_some() && self.file == socket_at(&self.path) {
            // If the file cannot be removed, the next start finds that no process answers there.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Returns the socket at a path, if there is one.
#[cfg(unix)]
fn socket_at(path: &std::path::Path) -> Option<FileId> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let meta = std::fs::symlink_metadata(path).ok()?;
    meta.file_type()
        .is_socket()
        .then(|| (meta.dev(), meta.ino()))
}

impl Listener {
    /// Binds a configured address: `host:port`, or `unix:` and a path. The prefix `proxy:` marks a load balancer's.
    pub(crate) async fn bind(address: &str, config: &ServerConfig) -> Result<Self, ServerError> {
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
            }),
            Err(source) => Err(ServerError::Bind {
                address: address.to_owned(),
                source,
            }),
        }
    }

    /// Returns the address that it listens on.
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
                    // The header of a load balancer names the client.
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

    /// Accepts connections until the server shuts down. Errors do not end the loop.
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
            // A burst of connections is accepted in small groups, so that other tasks run in between.
            if at_once == ACCEPTED_AT_ONCE {
                at_once = 0;
                tokio::task::yield_now().await;
            }
            at_once += 1;
            // A free place comes first: further connections wait in the system's backlog at no cost. The place is not
            // held meanwhile, because other listeners may need it.
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                place = permits.acquire() => drop(place),
            }
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    pause = FIRST_PAUSE;
                    // This waits only if another listener was faster.
                    let permit = tokio::select! {
                        biased;
                        _ = stop.wait_for(|stop| *stop) => return,
                        permit = permits.clone().acquire_owned() => permit.ok(),
                    };
                    if connections.env.admit(accepted.peer) {
                        tokio::spawn(task::task(&connections, &app, accepted, permit));
                    } else {
                        connections
                            .env
                            .metrics
                            .connection_refused("refused_address");
                        tracing::debug!(peer = %accepted.peer, "too many connections from this address");
                    }
                    // Connections above the rate wait in the system's backlog; this one is served.
                    if let Some(next) = connections.accepts.count() {
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

/// Returns whether an error concerns the connection about to be accepted, not the listener.
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
    // A restarted server can bind its port again while old connections are in TIME_WAIT. On Windows the option has
    // another meaning.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit the option, which saves a system call for each.
    socket.set_nodelay(config.nodelay.unwrap_or(true))?;
    if let Some(ttl) = config.ttl {
        let options = socket2::SockRef::from(&socket);
        if address.is_ipv4() {
            options.set_ttl_v4(ttl)?;
        } else {
            options.set_unicast_hops_v6(ttl)?;
            // The TTL for IPv4 clients of a dual-stack socket. Some systems do not support it there.
            drop(options.set_ttl_v4(ttl));
        }
    }
    socket.bind(address)?;
    socket.listen(config.backlog)
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
        // A killed server leaves its file behind. Another start may have replaced it already.
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

/// Returns whether a process listens at a socket's file. Does not wait: a hung process with a full backlog listens too.
#[cfg(unix)]
fn is_answered(path: &std::path::Path) -> io::Result<bool> {
    let probe = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        // The file was removed in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // A process answers, has a full backlog, or denies access: the file must stay.
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
        // A machine without IPv6 has no option to test.
        if let Ok(v6) = listen("[::1]:0".parse().unwrap(), &config) {
            assert_eq!(socket2::SockRef::from(&v6).unicast_hops_v6().unwrap(), 7);
        }
    }
}
