//! Streams over transports that the program created, without a server.

use std::sync::Mutex;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

use super::connections::Connections;
use crate::{
    Stream,
    config::{RequestConfig, ServerConfig},
    conn::{end::Ending, facts::Detached, link::Link, task::ConnectionTask, transport},
    env::{
        hosts::Hosts,
        peer::{Peer, Via},
    },
    stream::Transport,
};

impl Stream {
    /// Creates a stream over a transport of the program, without a server: no hook runs, and the program itself reads
    /// the requests and sends the answers. `request_config` has the limits of requests. All other limits have the
    /// defaults of [`ServerConfig`]. If `closed` is true, the stream reads no request.
    ///
    /// The connection ends when the program drops the stream, after all bytes were sent. The method spawns two tasks: one
    /// for the connection, and one for its time limits. A program with many such connections should pass them to
    /// [`ServerControlHook::serve`](crate::ServerControlHook::serve) instead. Outside of a tokio runtime, the stream is
    /// closed from the beginning.
    ///
    /// ```
    /// use hyperlane_core::{RequestConfig, Stream};
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut client, transport) = tokio::io::duplex(1024);
    /// let mut stream = Stream::from_transport(transport, RequestConfig::default(), false);
    /// client.write_all(b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    /// let request = stream.try_get_http_request().await?;
    /// stream.try_send(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", request.path())).await?;
    /// drop(stream);
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer).await?;
    /// assert!(answer.ends_with("/a"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_transport<T>(transport: T, request_config: RequestConfig, closed: bool) -> Self
    where
        T: Transport + AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connections = Connections::new(ServerConfig::from(request_config), Hosts::default());
        let env = connections.env.clone();
        let peer = transport.peer_addr().map_or(Peer::Local, Peer::Inet);
        // The address has no other connections in this environment.
        env.admit(peer);
        let (end, ended) = oneshot::channel();
        let detached = Detached {
            local: transport.local_addr().ok(),
            end: Mutex::new(Some(end)),
        };
        let halves = transport::driven(transport);
        let link = connections
            .live
            .insert(|key| Link::new(key, (peer, Via::Trusted), halves, env.clone()));
        link.facts.set_detached(detached);
        link.arm(link.now().after(env.config.header_timeout));
        // The sender is dropped without a value only together with the stream.
        let inner = async move { ended.await.unwrap_or(Ending::Abort) };
        // The semaphore is this connection's alone.
        let permit = env.permits.clone().try_acquire_owned().ok();
        let task = ConnectionTask::new(link.clone(), permit, inner);
        let clock = env.spawn(connections.keep_time());
        env.spawn(async move {
            task.await;
            if let Some(clock) = clock {
                clock.abort();
            }
        });
        let mut stream = Self::new(link);
        stream.exchange.wire.closes = closed;
        stream
    }
}
