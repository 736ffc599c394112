//! The raw connection as hooks see it.
//!
//! [`Stream`] is a facade over the [`Exchange`] of its request.

mod content;
mod events;
mod upgrade;

use std::{future::poll_fn, io, net::SocketAddr, pin::Pin, sync::Arc};

use crate::{
    conn::{lifecycle::Until, link::Link, outbox::Outbox, wakers::UntilEnd, websocket::WsEnd},
    context::Context,
    error::{RequestError, ResponseError},
    exchange::{Exchange, answer::Progress, body::BodyPlan},
    http::{Request, RequestBody},
};

/// Runs what is left of the response middleware.
pub(crate) type Middleware = Arc<
    dyn for<'a> Fn(&'a mut Stream, &'a mut Context) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>
        + Send
        + Sync,
>;

/// The connection, lent to a hook.
///
/// What is sent during one poll of the hook leaves in one system call when that poll ends; nothing
/// is held back behind an await. Sends wait only while more than the outbox's high-water mark
/// waits for the peer.
pub struct Stream {
    pub(crate) exchange: Exchange,
}

/// The socket of a connection, as far as it can be asked.
#[derive(Clone, Copy)]
pub struct Transport<'a>(&'a Stream);

impl Transport<'_> {
    /// Returns the address of the peer.
    ///
    /// # Errors
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) for a Unix socket.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = self.0.peer_addr();
        address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
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

    /// Returns the address of the peer at the other end of the socket; `None` for Unix sockets.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.connection().peer().address()
    }

    /// Waits until the client has gone or the server shuts down.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        UntilEnd::new(&**self.connection(), Until::Either).await;
    }

    /// Returns a future that ends when the client is gone: when it has ended its side or the connection broke.
    ///
    /// The future borrows nothing, so it can be waited for beside other work on the stream or the context, and in other tasks.
    /// A client that only ended its side may still read; sends tell. While a streamed body fills the inbox (64 KiB) and no
    /// hook reads it, the end behind it is not seen.
    ///
    /// # Cancel safety
    /// Cancel safe; it can be asked for again at any time.
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
    ///             // The client does not wait for it any more.
    ///             _ = stream.disconnected() => {}
    ///         }
    ///         Status::Continue
    ///     }
    /// }
    /// ```
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        UntilEnd::new(self.connection().clone(), Until::PeerEnded)
    }

    /// Returns a handle through which other tasks send to this connection once it is a WebSocket or an event stream. If a
    /// WebSocket handshake waits for the handler's answer, the 101 goes out now.
    pub fn outbox(&self) -> Outbox {
        if self.exchange.answer().is_accepted() {
            self.connection().answer_handshake();
        }
        Outbox::new(self.connection().clone())
    }

    // ---------------------------------------------------------------- reading

    /// Reads the next request of this connection, body included.
    ///
    /// If the current one is unanswered, it stays so: answer it first. The connection ends with the next answer then,
    /// which the client takes for the first that is missing.
    ///
    /// # Errors
    /// [`RequestError::ConnectionClosed`] when there is no further request, or none may follow since the client or the
    /// answer said so (RFC 9112 §9.6); otherwise the rule that it breaks, after which no request can be read any more.
    ///
    /// # Cancel safety
    /// Dropped before the head is here, nothing is lost. A request whose body was still to come is, and counts as
    /// unanswered.
    pub async fn try_get_http_request(&mut self) -> Result<Request, RequestError> {
        let mut request = Request::default();
        self.try_fill_http_request(&mut request).await?;
        Ok(request)
    }

    /// Reads the next request into `request`; see [`try_get_http_request`](Self::try_get_http_request).
    ///
    /// # Errors
    /// As there.
    pub async fn try_fill_http_request(
        &mut self,
        request: &mut Request,
    ) -> Result<(), RequestError> {
        let head = self.exchange.next_head(request).await?;
        if let Err(refused) = self.exchange.check_host(request) {
            self.exchange.closes = true;
            return Err(refused.into());
        }
        if !self
            .exchange
            .start_body(request, head, BodyPlan::default())?
        {
            request.set_body(Box::pin(self.exchange.read_rest()).await?);
        }
        Ok(())
    }

    /// Waits for the next data message of the WebSocket.
    ///
    /// # Errors
    /// [`RequestError::WebSocketClosed`] after a Close of the client, and the reason in every other case
    /// in which no message comes any more.
    ///
    /// # Cancel safety
    /// Cancel safe: no message is lost.
    pub async fn try_get_websocket_request(&mut self) -> Result<RequestBody, RequestError> {
        self.exchange.answer_handshake();
        // The program may have answered the handshake itself.
        self.exchange.switch_raw();
        if self.exchange.progress() != Progress::Switched {
            return Err(RequestError::NotUpgraded);
        }
        poll_fn(|cx| self.connection().poll_message(cx))
            .await
            .map(RequestBody::from_message)
            .map_err(|end| match end {
                WsEnd::Closed(frame) => RequestError::WebSocketClosed(frame),
                WsEnd::Violation(error) => RequestError::WebSocketProtocol(error),
                WsEnd::Lost => RequestError::ClientDisconnected,
            })
    }

    // ---------------------------------------------------------------- sending

    /// Sends raw bytes: (parts of) an HTTP response, or after an upgrade whole frames.
    ///
    /// The server follows what is sent: it knows when the response is complete, keeps the body of a
    /// response to HEAD back, and never sends a second response.
    ///
    /// # Errors
    /// [`ResponseError::ConnectionClosed`] when the client is gone, [`ResponseError::AlreadyComplete`] for
    /// bytes after a complete response.
    ///
    /// # Cancel safety
    /// The bytes are taken at the first poll; dropped later, only the wait for room is lost.
    pub async fn try_send(&mut self, data: impl AsRef<[u8]>) -> Result<(), ResponseError> {
        let sent = self.exchange.send_raw(data.as_ref());
        self.room_after(sent).await
    }

    /// Sends as [`try_send`](Self::try_send), but logs an error and closes the connection.
    pub async fn send(&mut self, data: impl AsRef<[u8]>) {
        let sent = self.try_send(data).await;
        self.close_on_failure(sent);
    }

    /// Sends several pieces as one: no other send comes between them.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub async fn try_send_list<I>(&mut self, list: I) -> Result<(), ResponseError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.try_send(joined(list)).await
    }

    /// Sends as [`try_send_list`](Self::try_send_list), but logs an error and closes the connection.
    pub async fn send_list<I>(&mut self, list: I)
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.send(joined(list)).await;
    }

    /// Waits until everything that was sent is with the operating system.
    ///
    /// # Errors
    /// [`ResponseError::ConnectionClosed`] when the client is gone before.
    pub async fn try_flush(&mut self) -> Result<(), ResponseError> {
        self.connection().lane().flush();
        poll_fn(|cx| self.connection().lane().poll_flushed(cx)).await?;
        Ok(())
    }

    /// Waits as [`try_flush`](Self::try_flush), but logs an error and closes the connection.
    pub async fn flush(&mut self) {
        let flushed = self.try_flush().await;
        self.close_on_failure(flushed);
    }

    pub(crate) fn close_on_failure(&mut self, result: Result<(), ResponseError>) {
        if let Err(error) = result {
            let peer = self.connection().peer();
            tracing::debug!(%peer, %error, "send failed: the connection is closed");
            self.exchange.closes = true;
        }
    }

    async fn room(&self) -> Result<(), ResponseError> {
        poll_fn(|cx| self.connection().lane().poll_room(cx)).await?;
        Ok(())
    }

    /// Waits as [`room`](Self::room), after a send: a hook that sends in a loop lets others run also when the client is gone.
    async fn room_after(&self, sent: Result<(), ResponseError>) -> Result<(), ResponseError> {
        match sent {
            Ok(()) | Err(ResponseError::ConnectionClosed) => self.room().await.and(sent),
            refused => refused,
        }
    }
}

// Spellings of published Hyperlane programs.
impl Stream {
    /// Returns what can be asked of the socket.
    pub fn get_stream(&self) -> Transport<'_> {
        Transport(self)
    }

    /// Whether the connection will be closed after this request.
    pub fn get_closed(&self) -> bool {
        self.exchange.closes
    }

    /// Closes the connection after this request; a WebSocket with a Close frame.
    pub fn set_closed(&mut self, closed: bool) -> &mut Self {
        self.exchange.closes = closed;
        self
    }

    /// Whether another request may follow, given what the client wants.
    pub fn is_keep_alive(&self, client_keeps_alive: bool) -> bool {
        client_keeps_alive && !self.exchange.closes && self.connection().lane.is_open()
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
