//! The handle of a WebSocket.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    channel::Channel,
    conn::{
        handle::Handle,
        lifecycle::Until,
        link::Link,
        outbox::Outbox,
        send::{Limit, Order, Payload},
        wakers::UntilEnd,
        websocket::WsEnd,
    },
    error::{ClosedByClient, LeftWithoutClose, PushError},
    proto::ws::{CloseCode, Message},
};

/// A WebSocket, as a cheap clone that any task may hold.
///
/// Clones share the connection: each message that comes in is received by exactly one of them, and
/// any of them may send. Pings are answered, and sent, by the connection itself.
///
/// ```
/// use hyperlane_core::{Context, ServerHook, Status, Stream};
///
/// struct Echo;
///
/// impl ServerHook for Echo {
///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
///         Self
///     }
///
///     async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
///         let Ok(socket) = ctx.upgrade(stream).await else {
///             return Status::Reject;
///         };
///         while let Ok(message) = socket.recv().await {
///             if socket.send(message).await.is_err() {
///                 break;
///             }
///         }
///         Status::Continue
///     }
/// }
/// ```
///
/// [`Context::upgrade`](crate::Context::upgrade) gives the WebSocket of one connection,
/// [`Context::ws`](crate::Context::ws) the channel of a session, which outlives its connections and reaches all of its
/// tabs. Where the two differ, the methods say so.
#[derive(Clone)]
pub struct WebSocket {
    target: Target,
}

#[derive(Clone)]
enum Target {
    Connection(Handle),
    Channel(Arc<Channel>),
}

impl WebSocket {
    pub(crate) fn new(connection: Arc<Link>) -> Self {
        Self {
            target: Target::Connection(Handle::new(connection)),
        }
    }

    pub(crate) fn of_channel(channel: Arc<Channel>) -> Self {
        Self {
            target: Target::Channel(channel),
        }
    }

    /// The connection; of a channel the last one that came, if there is one.
    fn connection(&self) -> Option<Arc<Link>> {
        match &self.target {
            Target::Connection(connection) => Some(connection.shared().clone()),
            Target::Channel(channel) => channel.connection(),
        }
    }

    /// Whether messages can still be sent: no Close went in either direction.
    ///
    /// A channel is open from its first connection on, and while its client may still come back.
    pub fn is_open(&self) -> bool {
        match &self.target {
            Target::Connection(connection) => connection.lane.is_open(),
            Target::Channel(channel) => channel.is_open(),
        }
    }

    /// Identifies the connection within this process, from 1; never used again. 0 for a channel without one.
    pub fn connection_id(&self) -> u64 {
        self.outbox().id()
    }

    /// The subprotocol that the handshake agreed on (RFC 6455 §1.9). None for a channel.
    pub fn protocol(&self) -> Option<&str> {
        match &self.target {
            Target::Connection(connection) => connection.subprotocol(),
            Target::Channel(_) => None,
        }
    }

    /// The address of the peer at the other end of the socket; `None` for Unix sockets, and for a channel without a
    /// connection.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.connection()?.peer().address()
    }

    /// The handle for code that delivers to many connections. Of a channel it is that of the connection it has now, which it can
    /// tell of and close: nothing but the channel itself sends there.
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.connection())
    }

    /// Sends a message. Waits only while more than the outbox's high-water mark waits for the peer.
    ///
    /// On a channel the message goes to all tabs, and waits for those that are being connected anew. Only a full buffer
    /// has the sender wait, at most the channel's send timeout.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] when the WebSocket is closed, or the channel is over.
    /// [`io::ErrorKind::TimedOut`] when the buffer of a channel stayed full.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the message is either sent whole or not at all.
    // No `async fn`: it would hold the message twice, and a handler's future has room for it also while it receives.
    pub fn send(&self, message: impl Into<Message>) -> impl Future<Output = io::Result<()>> {
        let message = message.into();
        async move {
            if let Message::Close(frame) = &message {
                let (code, reason) = frame.as_ref().map_or((CloseCode::NORMAL, ""), |frame| {
                    (frame.code, &*frame.reason)
                });
                return self.close(code, reason);
            }
            match &self.target {
                Target::Connection(connection) => {
                    poll_fn(|cx| poll_send(connection, &message, cx)).await
                }
                // In a box, so that handlers which only have a connection hold no room for it while they wait.
                Target::Channel(channel) if message.is_data() => {
                    Box::pin(channel.send(message)).await
                }
                Target::Channel(channel) => {
                    channel.send_control(&message);
                    Ok(())
                }
            }
        }
    }

    /// Sends a value as JSON text.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the value has no JSON form; otherwise as [`send`](Self::send).
    pub async fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string(value)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.send(text).await
    }

    /// Waits for the next text or binary message.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionAborted`] after a Close of the client (the source tells code and
    /// reason), [`io::ErrorKind::InvalidData`] when it broke the protocol,
    /// [`io::ErrorKind::ConnectionReset`] when it left without a word. A channel waits on through the ends of
    /// connections, and says [`io::ErrorKind::BrokenPipe`] when it is over itself.
    ///
    /// # Cancel safety
    /// Cancel safe: no message is lost.
    pub async fn recv(&self) -> io::Result<Message> {
        match &self.target {
            Target::Connection(connection) => poll_fn(|cx| connection.poll_message(cx))
                .await
                .map_err(ended),
            Target::Channel(channel) => channel.recv().await,
        }
    }

    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Message>> {
        match &self.target {
            Target::Connection(connection) => connection.poll_message(cx).map_err(ended),
            Target::Channel(channel) => channel.poll_recv(cx, None),
        }
    }

    /// Waits for the next message and reads it as JSON.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it is not the JSON of a `T`: the message is used up and the
    /// WebSocket stays open; otherwise as [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn recv_json<T: DeserializeOwned>(&self) -> io::Result<T> {
        let message = self.recv().await?;
        serde_json::from_slice(message.as_bytes())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// Sends a Ping. The connection does so by itself after silence.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`io::ErrorKind::InvalidInput`] for more than 125 bytes (RFC 6455 §5.5).
    pub async fn ping(&self, payload: impl Into<Bytes>) -> io::Result<()> {
        let payload = payload.into();
        if payload.len() > 125 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a ping carries at most 125 bytes",
            ));
        }
        self.send(Message::Ping(payload)).await
    }

    /// What the last answered ping of the heartbeat took to come back; `None` before the first.
    ///
    /// The connection pings after [`ServerConfig::ping_interval`](crate::ServerConfig) of quiet. Pings
    /// of [`ping`](Self::ping) are not measured.
    pub fn latency(&self) -> Option<Duration> {
        self.connection()?.lock_input().websocket()?.latency()
    }

    /// Starts the closing handshake; of a channel with all tabs, and the channel is over. Messages that the client sent before its answer are still
    /// received; the connection ends at most
    /// [`ServerConfig::close_timeout`](crate::ServerConfig) later.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] when it is closed already, [`io::ErrorKind::InvalidInput`] for a
    /// code that must not be sent (RFC 6455 §7.4).
    pub fn close(&self, code: CloseCode, reason: &str) -> io::Result<()> {
        if !code.is_sendable() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("close code {code} must not be sent"),
            ));
        }
        match &self.target {
            Target::Connection(connection) => connection
                .close_websocket(code, reason, false)
                .map_err(closed),
            Target::Channel(channel) => channel.close(code, reason),
        }
    }

    /// Keeps the connection open when the handler returns: until it is closed, or the last handle is dropped, which
    /// closes it with 1000.
    ///
    /// Without it a connection belongs to its handler, whose return closes it. It counts all clones of this handle,
    /// whichever was asked, but no [`Outbox`] and no membership of a room. A connection that is kept counts as one of
    /// [`ServerConfig::max_connections`](crate::ServerConfig), its limits of time hold, and a shutdown closes it with 1001.
    /// Where the handler panics, fails, or returns [`Status::Reject`](crate::Status::Reject), it is closed at once. A
    /// channel outlives its connections anyway, so that nothing changes for it.
    ///
    /// ```
    /// use hyperlane_core::{Context, RequestError, Stream};
    ///
    /// // #[ws("/echo")]
    /// async fn echo(ctx: &mut Context, stream: &mut Stream) -> Result<(), RequestError> {
    ///     let socket = ctx.upgrade(stream).await?;
    ///     socket.keep_open();
    ///     tokio::spawn(async move {
    ///         while let Ok(message) = socket.recv().await {
    ///             if socket.send(message).await.is_err() {
    ///                 break;
    ///             }
    ///         }
    ///     });
    ///     Ok(())
    /// }
    /// ```
    pub fn keep_open(&self) {
        if let Target::Connection(connection) = &self.target {
            connection.lane.handles.set_kept_open(true);
        }
    }

    /// Waits until the connection is over, whoever ended it, or the server shuts down.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        match &self.target {
            Target::Connection(connection) => UntilEnd::new(&**connection, Until::Closed).await,
            Target::Channel(channel) => channel.over().await,
        }
    }
}

fn poll_send(connection: &Link, message: &Message, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    loop {
        ready!(connection.lane().poll_room(cx)).map_err(closed)?;
        match connection
            .lane()
            .send(Payload::Message(message), Order::Own, Limit::Mark)
        {
            // Another sender was faster.
            Err(PushError::Full) => {}
            sent => {
                if sent.is_ok() {
                    connection.env.metrics.message_sent();
                }
                return Poll::Ready(sent.map_err(closed));
            }
        }
    }
}

fn closed(error: PushError) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}

fn ended(end: WsEnd) -> io::Error {
    match end {
        WsEnd::Closed(frame) => {
            io::Error::new(io::ErrorKind::ConnectionAborted, ClosedByClient { frame })
        }
        WsEnd::Violation(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        WsEnd::Lost => io::Error::new(io::ErrorKind::ConnectionReset, LeftWithoutClose),
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("id", &self.connection_id())
            .field("peer", &self.peer_addr())
            .field("open", &self.is_open())
            .finish()
    }
}

/// The messages that come in; ends with the WebSocket.
impl futures_core::Stream for WebSocket {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_recv(cx).map(Result::ok)
    }
}

impl futures_sink::Sink<Message> for WebSocket {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.target {
            Target::Connection(connection) => connection.lane().poll_room(cx).map_err(closed),
            Target::Channel(channel) => channel.poll_room(cx),
        }
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> io::Result<()> {
        if let Message::Close(frame) = &message {
            let code = frame.as_ref().map_or(CloseCode::NORMAL, |frame| frame.code);
            let reason = frame.as_ref().map_or("", |frame| &*frame.reason);
            return self.close(code, reason);
        }
        match &self.target {
            Target::Connection(connection) => connection
                .lane()
                .send(Payload::Message(&message), Order::Own, Limit::None)
                .map_err(closed),
            Target::Channel(channel) => channel.send_promised(message),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.target {
            Target::Connection(connection) => {
                connection.lane().flush();
                connection.lane().poll_flushed(cx).map_err(closed)
            }
            // What a channel has taken, it delivers.
            Target::Channel(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A Close that went before is as good.
        let _ = self.close(CloseCode::NORMAL, "");
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_takes_little_room_in_a_handler() {
        fn size<F>(_: impl Fn(&'static WebSocket) -> F) -> usize {
            size_of::<F>()
        }
        // What every handler that sends holds while it waits for anything.
        let size = size(|socket| socket.send(Message::Close(None)));
        assert!(size <= 240, "{size} bytes");
    }
}
