//! The connection of a request, from which the program's functions (hooks) read and to which they send.
//!
//! [`Stream`] wraps an [`Exchange`]. An exchange is one request and its answer.

mod content;
mod events;
mod further;
pub(crate) mod hints;
mod upgrade;

use std::{future::poll_fn, io, net::SocketAddr, pin::Pin, sync::Arc};

use tokio::{io::DuplexStream, net::TcpStream};

use crate::{
    conn::{
        end::Ending, lifecycle::Until, link::Link, outbox::Outbox, wakers::UntilEnd,
        websocket::WsEnd,
    },
    context::Context,
    error::{RequestError, ResponseError},
    exchange::{Exchange, answer::Progress},
    http::RequestBody,
    proto::ws::CloseCode,
};

/// A function that runs the rest of a request's response middleware: those hooks that have not run yet.
pub(crate) type Middleware = Arc<
    dyn for<'a> Fn(&'a mut Stream, &'a mut Context) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>
        + Send
        + Sync,
>;

/// The connection of a request, as a hook borrows it.
///
/// The server collects all bytes that a hook sends during one poll, and writes them in one system call when the poll
/// ends. A poll ends at each await that has to wait. The server therefore writes the bytes from before such an await at
/// once, while the hook waits. A send waits only while the connection's queue is above its high-water mark
/// ([`ServerConfig::outbox_bytes`](crate::ServerConfig)).
pub struct Stream {
    pub(crate) exchange: Exchange,
}

/// The addresses of a connection's transport: a TCP connection, a Unix socket, or a transport of the program.
///
/// [`Stream::get_stream`] lends the transport of a connection. The trait has no method to read or write, because bytes
/// beside the stream would break its framing. A transport of the program implements this trait beside `AsyncRead` and
/// `AsyncWrite`, for [`Stream::from_transport`].
pub trait Transport: Send + Sync {
    /// Returns the address of the peer.
    ///
    /// # Errors
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) for a peer without an address, such as a Unix socket.
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// Returns the address of this end.
    ///
    /// # Errors
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) for a transport without addresses, and after the transport
    /// was closed.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl Transport for Stream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.peer_addr().ok_or_else(no_address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let connection = self.connection();
        let detached = connection.facts.local_addr();
        let address = detached.or_else(|| connection.lock_input().reader.local_addr());
        address.ok_or_else(no_address)
    }
}

impl Transport for TcpStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

#[cfg(unix)]
impl Transport for tokio::net::UnixStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(no_address())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(no_address())
    }
}

/// A pipe in memory, without addresses.
impl Transport for DuplexStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(no_address())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(no_address())
    }
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        (**self).peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        (**self).local_addr()
    }
}

fn no_address() -> io::Error {
    io::ErrorKind::AddrNotAvailable.into()
}

/// Ends a connection without a server. Other connections end with their server's task.
impl Drop for Stream {
    fn drop(&mut self) {
        let Some(end) = self.connection().facts.take_end() else {
            return;
        };
        let ending = match self.exchange.progress() {
            Progress::Partial => Ending::Abort,
            Progress::Switched => Ending::WebSocket(CloseCode::NORMAL, "".into()),
            Progress::Unanswered | Progress::Open | Progress::Whole | Progress::Last => {
                Ending::Http
            }
        };
        // The send fails only if the connection has ended.
        let _ = end.send(ending);
    }
}

impl Stream {
    pub(crate) fn new(connection: Arc<Link>) -> Self {
        Self {
            exchange: Exchange::new(connection),
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Link> {
        self.exchange.connection()
    }

    /// Returns the address of the peer: the client that a load balancer named by the PROXY protocol, or else the other
    /// end of the socket. Returns `None` for a peer without an address, such as a Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.connection().peer().address()
    }

    /// Waits until the client has disconnected, nothing more can be sent on the connection, or the server shuts down.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        UntilEnd::new(&**self.connection(), Until::Either).await;
    }

    /// Returns a future that ends when the client has disconnected. A client has disconnected when it has ended its
    /// sending side, or when the connection is broken.
    ///
    /// The future borrows nothing, so the hook or another task can await it while the hook uses the stream or the
    /// context. A client that has only ended its sending side may still read. A send shows whether the client still
    /// reads. If the request has a streamed body that no hook reads, the server's buffer for received bytes (64 KiB)
    /// may become full. The server then does not notice the end of the connection.
    ///
    /// # Cancel safety
    /// Cancel safe. The function can be called again at any time.
    ///
    /// ```
    /// use hyperlane_core::{Context, ServerHook, Status, Stream};
    ///
    /// async fn expensive() -> String {
    ///     "result".to_owned()
    /// }
    ///
    /// struct Report;
    ///
    /// impl ServerHook for Report {
    ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
    ///         Self
    ///     }
    ///
    ///     async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
    ///         tokio::select! {
    ///             report = expensive() => {
    ///                 ctx.get_mut_response().set_body(report);
    ///             }
    ///             // The client no longer waits for the report.
    ///             _ = stream.disconnected() => {}
    ///         }
    ///         Status::Continue
    ///     }
    /// }
    /// ```
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        UntilEnd::new(self.connection().clone(), Until::PeerEnded)
    }

    /// Returns a handle by which other tasks send to this connection after it has become a WebSocket or an event
    /// stream. If the server has accepted a WebSocket handshake and has not sent the 101 yet, this function sends the
    /// 101.
    pub fn outbox(&self) -> Outbox {
        if self.exchange.answer().is_accepted() {
            self.connection().answer_handshake();
        }
        Outbox::new(self.connection().clone())
    }

    // ---------------------------------------------------------------- reading

    /// Waits for the next data message of the WebSocket.
    ///
    /// # Errors
    /// Returns [`RequestError::WebSocketClosed`] after the client has sent a Close frame, and
    /// [`RequestError::NotUpgraded`] if the connection is not a WebSocket. Otherwise returns the reason why no further
    /// message arrives.
    ///
    /// # Cancel safety
    /// Cancel safe: no message is lost.
    pub async fn try_get_websocket_request(&mut self) -> Result<RequestBody, RequestError> {
        self.exchange.answer_handshake();
        // The program may have answered the handshake by raw bytes.
        self.exchange.switch_raw();
        if self.exchange.progress() != Progress::Switched {
            return Err(RequestError::NotUpgraded);
        }
        poll_fn(|cx| self.connection().poll_message(cx))
            .await
            .map(RequestBody::from_message)
            .map_err(|end| match *end {
                WsEnd::Closed(frame) => RequestError::WebSocketClosed(frame),
                WsEnd::Violation(error) => RequestError::WebSocketProtocol(error),
                WsEnd::Lost => RequestError::ClientDisconnected,
            })
    }

    // ---------------------------------------------------------------- sending

    /// Sends raw bytes. Before an upgrade, these are parts of an HTTP response; after an upgrade, whole frames.
    ///
    /// The server parses the bytes of a response. The server detects when the response is complete, omits the body of a
    /// response to HEAD, and never sends a second response.
    ///
    /// # Errors
    /// [`ResponseError::ConnectionClosed`] if the client has disconnected, [`ResponseError::AlreadyComplete`] for bytes
    /// after a complete response.
    ///
    /// # Cancel safety
    /// The first poll queues all bytes. If the future is dropped later, only its wait for space in the queue ends.
    pub async fn try_send(&mut self, data: impl AsRef<[u8]>) -> Result<(), ResponseError> {
        let sent = self.exchange.send_raw(data.as_ref());
        self.room_after(sent).await
    }

    /// Sends like [`try_send`](Self::try_send). If the send fails, logs the error and closes the connection.
    pub async fn send(&mut self, data: impl AsRef<[u8]>) {
        let sent = self.try_send(data).await;
        self.close_on_failure(sent);
    }

    /// Sends several pieces as one. No other send comes between them.
    ///
    /// # Errors
    /// Returns the errors of [`try_send`](Self::try_send).
    pub async fn try_send_list<I>(&mut self, list: I) -> Result<(), ResponseError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.try_send(joined(list)).await
    }

    /// Sends like [`try_send_list`](Self::try_send_list). If the send fails, logs the error and closes the connection.
    pub async fn send_list<I>(&mut self, list: I)
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.send(joined(list)).await;
    }

    /// Waits until the operating system has accepted all bytes sent so far.
    ///
    /// # Errors
    /// [`ResponseError::ConnectionClosed`] if the client has disconnected before.
    pub async fn try_flush(&mut self) -> Result<(), ResponseError> {
        self.connection().lane().flush();
        poll_fn(|cx| self.connection().lane().poll_flushed(cx)).await?;
        Ok(())
    }

    /// Waits like [`try_flush`](Self::try_flush). If the wait fails, logs the error and closes the connection.
    pub async fn flush(&mut self) {
        let flushed = self.try_flush().await;
        self.close_on_failure(flushed);
    }

    pub(crate) fn close_on_failure(&mut self, result: Result<(), ResponseError>) {
        if let Err(error) = result {
            let peer = self.connection().peer();
            tracing::debug!(%peer, %error, "send failed: connection closed");
            self.exchange.wire.closes = true;
        }
    }

    async fn room(&self) -> Result<(), ResponseError> {
        poll_fn(|cx| self.connection().lane().poll_room(cx)).await?;
        Ok(())
    }

    /// Waits for space in the queue after a send. Also waits if the client has disconnected, because the wait makes a
    /// hook that sends in a loop yield to other tasks.
    async fn room_after(&self, sent: Result<(), ResponseError>) -> Result<(), ResponseError> {
        match sent {
            Ok(()) | Err(ResponseError::ConnectionClosed) => self.room().await.and(sent),
            refused => refused,
        }
    }
}

/// Methods under the names that published Hyperlane programs call.
impl Stream {
    /// Lends the transport, for its addresses.
    pub fn get_stream(&self) -> &dyn Transport {
        self
    }

    /// Returns the address of the peer, like [`peer_addr`](Self::peer_addr).
    ///
    /// # Errors
    /// Returns the error of [`Transport::peer_addr`].
    pub fn get_peer_addr(&self) -> io::Result<SocketAddr> {
        Transport::peer_addr(self)
    }

    /// Returns the server's address at which the connection arrived.
    ///
    /// # Errors
    /// Returns the error of [`Transport::local_addr`].
    pub fn get_local_addr(&self) -> io::Result<SocketAddr> {
        Transport::local_addr(self)
    }

    /// Returns whether the connection closes after this request.
    pub fn get_closed(&self) -> bool {
        self.exchange.wire.closes
    }

    /// Sets whether the connection closes after this request. A WebSocket is closed with a Close frame.
    pub fn set_closed(&mut self, closed: bool) -> &mut Self {
        self.exchange.wire.closes = closed;
        self
    }

    /// Returns whether another request may follow. `client_keeps_alive` says whether the client keeps the connection
    /// open.
    pub fn is_keep_alive(&self, client_keeps_alive: bool) -> bool {
        client_keeps_alive && !self.exchange.wire.closes && self.connection().lane.is_open()
    }
}

fn joined<I>(list: I) -> Vec<u8>
where
    I: IntoIterator,
    I::Item: AsRef<[u8]>,
{
    let mut whole = Vec::new();
    for piece in list {
        whole.extend_from_slice(piece.as_ref());
    }
    whole
}
