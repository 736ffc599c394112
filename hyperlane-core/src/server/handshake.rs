//! TLS handshakes of accepted connections.
//!
//! A handshake has a task of its own, which ends with the handshake. The task of the connection then begins, as for a
//! plain connection. A storm of handshakes must not starve open connections, so three limits apply to all addresses
//! together:
//!
//! - Only some handshakes compute at the same time ([`Handshakes::steps`]). The others wait in the order of their
//!   arrival, outside of the queue of the runtime.
//! - Only `max_tls_handshakes` handshakes exist at the same time. A further one ends the oldest: it has waited longest
//!   for its client.
//! - The listener accepts at most `max_tls_handshakes_per_second`.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    connections::{Connections, most_connections},
    listener::Accepted,
    pace::Pace,
    task,
};
use crate::{
    config::ServerConfig,
    conn::{patient::Patient, transport},
    env::{
        Env,
        ids::next_id,
        peer::{Peer, Via},
    },
    pipeline::app::App,
    proto::http::write::PLAIN_ON_TLS_PORT,
    tls::{LiveTls, TlsInfo},
};

/// The first byte of a TLS connection: a record of a handshake (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The maximum wait for the end of a connection whose client does not speak TLS.
const LINGER: Duration = Duration::from_secs(1);

/// The permits of handshakes that compute.
#[derive(Clone)]
struct Steps {
    /// For the first step of a handshake, which costs most.
    first: Arc<Semaphore>,
    /// For its other steps. They are cheap, and do not wait behind the first steps of a storm. So the server completes what
    /// it has begun.
    later: Arc<Semaphore>,
}

impl Steps {
    fn new(permits: usize) -> Self {
        Self {
            first: Arc::new(Semaphore::new(permits)),
            later: Arc::new(Semaphore::new(permits)),
        }
    }
}

/// The handshakes of a server, and their limits.
pub(crate) struct Handshakes {
    /// A permit for each handshake that may compute at the same time.
    steps: Steps,
    /// The rate limit of handshakes.
    pub(super) pace: Pace,
    most: usize,
    /// The sender that ends each handshake, by its number. The oldest is first.
    open: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
}

impl Handshakes {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Self {
            // More handshakes than workers would only wait in the queue of the runtime.
            steps: Steps::new(cores.min(workers)),
            pace: Pace::new(config.max_tls_handshakes_per_second),
            // Silent clients leave places for connections.
            most: config
                .max_tls_handshakes
                .min(most_connections(config) / 2)
                .max(1),
            open: Mutex::default(),
        }
    }

    /// Adds a handshake. If there are too many, ends the oldest.
    fn begin(&self) -> (u64, oneshot::Receiver<()>) {
        let (id, (end, ended)) = (next_id(), oneshot::channel());
        let oldest = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let is_full = open.len() >= self.most;
            let oldest = is_full.then(|| open.pop_first()).flatten();
            open.insert(id, end);
            oldest
        };
        if oldest.is_some() {
            tracing::debug!("too many TLS handshakes at once: the oldest one is ended");
        }
        (id, ended)
    }

    fn end(&self, id: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&id);
    }
}

/// The place of a connection in the counts of the server, until its own task has begun. The drop gives it back.
struct Place {
    connections: Arc<Connections>,
    peer: Option<Peer>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.handshakes.end(self.id);
        if let Some(peer) = self.peer {
            self.connections.env.leave(peer);
        }
    }
}

/// The reason why a handshake has failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("a handshake: {0}")]
    Tls(io::Error),
    #[error("the client ended the connection")]
    Left,
    #[error("the client did not complete the handshake in time")]
    TimedOut,
    #[error("there are too many handshakes")]
    TooMany,
    #[error("the server shuts down")]
    Shutdown,
    #[error("a request without TLS")]
    Plain,
    #[cfg_attr(not(feature = "proxy-protocol"), expect(dead_code))]
    #[error("no header of the PROXY protocol, or too many connections of its client")]
    Proxy,
}

/// Runs the handshake of a connection that the server has admitted, and then starts the task of the connection.
pub(super) async fn shake_hands(
    connections: Arc<Connections>,
    app: Arc<App>,
    (accepted, tls): (Accepted, Arc<LiveTls>),
    permit: OwnedSemaphorePermit,
    mut stop: watch::Receiver<bool>,
) {
    let (id, ended) = connections.handshakes.begin();
    let mut place = Place {
        connections: connections.clone(),
        peer: Some(accepted.peer),
        id,
    };
    let (via, mut peer) = (accepted.via, accepted.peer);
    let shaken = {
        let limit = connections.env.config.tls_handshake_timeout;
        let handshake = run(&connections, accepted, tls, &mut place.peer);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Err(Failure::Shutdown),
            _ = ended => Err(Failure::TooMany),
            shaken = tokio::time::timeout(limit, handshake) => match shaken {
                Ok(shaken) => shaken,
                Err(_) => Err(Failure::TimedOut),
            },
        }
    };
    if let Some(source) = place.peer {
        peer = source;
    }
    let stream = match shaken {
        Ok(stream) if !connections.env.is_shutting_down() => stream,
        other => {
            let failure = other.err().unwrap_or(Failure::Shutdown);
            connections.env.metrics.connection_refused("failed_tls");
            tracing::debug!(%peer, "no TLS: {failure}");
            return;
        }
    };
    // The connection now has the place in the count of its address.
    place.peer = None;
    drop(place);
    serve(&connections, &app, (stream, peer, via), permit);
}

/// Starts the task of a connection after its handshake.
fn serve(
    connections: &Arc<Connections>,
    app: &Arc<App>,
    (stream, peer, via): (Box<TlsStream<Patient>>, Peer, Via),
    permit: OwnedSemaphorePermit,
) {
    let (socket, tls) = stream.get_ref();
    let info = Arc::new(TlsInfo::of(tls, socket.get_ref().local_addr().ok()));
    // A client without ALPN speaks HTTP/1.1, or begins with the preface of HTTP/2.
    #[cfg(feature = "http2")]
    if info.alpn() == Some("h2") {
        permit.forget();
        connections.env.metrics.connection_began();
        let socket = (stream as Box<dyn transport::Duplex>, bytes::Bytes::new());
        let task = super::http2::task(connections, app, socket, ((peer, via), None), |facts| {
            facts.set_tls(info.clone());
        });
        tokio::spawn(task);
        return;
    }
    let accepted = Accepted {
        peer,
        halves: transport::driven(stream),
        via,
    };
    tokio::spawn(task::task_of(connections, app, accepted, permit, |link| {
        link.facts.set_tls(info);
    }));
}

/// Reads what precedes the handshake, and runs the handshake. Sets `source` to the client that a load balancer names.
async fn run(
    connections: &Connections,
    accepted: Accepted,
    tls: Arc<LiveTls>,
    source: &mut Option<Peer>,
) -> Result<Box<TlsStream<Patient>>, Failure> {
    let mut stream = transport::rejoin(accepted.halves).ok_or(Failure::Left)?;
    if accepted.via == Via::Balancer {
        *source = Some(client_of(&mut stream, accepted.peer, &connections.env).await?);
    }
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1..) if first == [HANDSHAKE_RECORD] => {}
        Ok(1..) if first.iter().all(u8::is_ascii_uppercase) => {
            let address = stream.peer_addr().ok();
            connections.env.log_mix_up(
                address,
                "tls",
                &"a request without TLS at an address with TLS",
            );
            // The client may not read the answer.
            let _ = tokio::time::timeout(LINGER, answer_plain(&mut stream)).await;
            return Err(Failure::Plain);
        }
        // rustls says what is wrong with other bytes.
        Ok(1..) => {}
        _ => return Err(Failure::Left),
    }
    let accept = TlsAcceptor::from(tls.current()).accept(Patient::new(stream));
    // The handshake is on the heap, so the task is small while it waits for the first byte.
    Box::pin(in_turn(accept, connections.handshakes.steps.clone()))
        .await
        .map(Box::new)
        .map_err(Failure::Tls)
}

/// Runs a handshake. Each of its steps waits for its turn, so that other tasks run between the steps of many
/// handshakes. A wait for the client holds no turn.
async fn in_turn(
    accept: tokio_rustls::Accept<Patient>,
    steps: Steps,
) -> io::Result<TlsStream<Patient>> {
    let mut accept = pin!(accept);
    let mut permits = &steps.first;
    let mut turn: Option<Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>> = None;
    poll_fn(|cx| {
        loop {
            let Some(waits) = &mut turn else {
                if let Some(socket) = accept.get_ref() {
                    match socket.get_ref().poll_read_ready(cx) {
                        Poll::Ready(readable) => readable?,
                        // The step before may wait for room to write.
                        Poll::Pending => return accept.as_mut().poll(cx),
                    }
                }
                let permits = permits.clone();
                turn = Some(Box::pin(async move { permits.acquire_owned().await.ok() }));
                continue;
            };
            // The permit is held during the step. A step that is not the last one waits for the socket, even if bytes are
            // left: it may wait for room to write.
            let _permit = ready!(waits.as_mut().poll(cx));
            turn = None;
            permits = &steps.later;
            return accept.as_mut().poll(cx);
        }
    })
    .await
}

/// Tells a client that the address speaks TLS, and reads what the client sends until it ends the connection.
async fn answer_plain(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN_ON_TLS_PORT).await?;
    stream.shutdown().await?;
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Reads the header of the PROXY protocol, which precedes the handshake. Returns the client that it names.
#[cfg(feature = "proxy-protocol")]
async fn client_of(stream: &mut TcpStream, peer: Peer, env: &Env) -> Result<Peer, Failure> {
    use crate::proto::proxy;

    /// The length of the part of a header that states the length of the rest.
    const FIXED: usize = 16;

    let mut header = vec![0; FIXED];
    let mut read = 0;
    let parsed = loop {
        let part = header.get_mut(read..).unwrap_or_default();
        if stream.read_exact(part).await.is_err() {
            return Err(Failure::Left);
        }
        read = header.len();
        match proxy::parse(&header) {
            Ok(Some(parsed)) => break parsed,
            Ok(None) => {
                let rest = header.get(FIXED - 2..).and_then(|rest| rest.first_chunk());
                let rest = rest.map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
                header.resize(FIXED + rest, 0);
            }
            Err(error) => {
                env.log_mix_up(stream.peer_addr().ok(), "proxy", &error);
                return Err(Failure::Proxy);
            }
        }
    };
    match parsed.source.map(Peer::Inet) {
        Some(source) if env.admit(source) => Ok(source),
        Some(_) => {
            env.metrics.connection_refused("refused_source");
            Err(Failure::Proxy)
        }
        None => Ok(peer),
    }
}

/// Never called. Without the feature, the check of the configuration rejects `proxy:` addresses.
#[cfg(not(feature = "proxy-protocol"))]
async fn client_of(_: &mut TcpStream, peer: Peer, _: &Env) -> Result<Peer, Failure> {
    Ok(peer)
}

#[cfg(test)]
mod tests;
