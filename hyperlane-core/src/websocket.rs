//! The handle by which a program sends and receives the messages of a WebSocket.

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

/// A handle of a WebSocket. Clones are cheap, and any task may hold one.
///
/// All clones share one connection. Each incoming message goes to exactly one clone, and every clone may send. The
/// server sends pings by itself, and answers the client's pings.
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
/// [`Context::upgrade`](crate::Context::upgrade) returns the WebSocket of one connection.
/// [`Context::ws`](crate::Context::ws) returns the WebSocket of a channel. A channel belongs to a session. It carries
/// messages to and from all browser tabs of the session, and outlives the connections of the tabs. The docs of each
/// method say where a channel differs from a connection.
#[derive(Clone)]
pub struct WebSocket {
    target: Target,
}

#[derive(Clone)]
enum Target {
    Connection(Handle),
    Channel(Arc<Channel>),
}

/// The send of a message on a channel that has no room.
type Waiting<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

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

    /// Returns the connection of this handle. For a channel, returns a connected client's connection, usually the
    /// newest, or `None` if no client is connected.
    fn connection(&self) -> Option<Arc<Link>> {
        match &self.target {
            Target::Connection(connection) => Some(connection.shared().clone()),
            Target::Channel(channel) => channel.connection(),
        }
    }

    /// Returns the name of the channel, as in [`Context::channel`](crate::Context::channel). Returns `None` for a channel
    /// without a name, and for a single connection.
    pub fn channel_name(&self) -> Option<&str> {
        match &self.target {
            Target::Connection(_) => None,
            Target::Channel(channel) => channel.name(),
        }
    }

    /// Returns whether messages can still be sent. A connection is open until either side sends a Close or the
    /// connection breaks.
    ///
    /// A channel is open from its first connection until the channel ends, even while no client is connected.
    pub fn is_open(&self) -> bool {
        match &self.target {
            Target::Connection(connection) => connection.lane.is_open(),
            Target::Channel(channel) => channel.is_open(),
        }
    }

    /// Returns the connection's number within this process. Numbers begin at 1 and are never reused. Returns 0 for a
    /// channel without a connection.
    pub fn connection_id(&self) -> u64 {
        self.outbox().id()
    }

    /// Returns the negotiated subprotocol (RFC 6455 §1.9). Returns `None` if none was negotiated, and for a channel.
    pub fn protocol(&self) -> Option<&str> {
        match &self.target {
            Target::Connection(connection) => connection.subprotocol(),
            Target::Channel(_) => None,
        }
    }

    /// Returns the address of the connection's peer. Returns `None` for a peer without an address (for example, on a
    /// Unix socket), and for a channel without a connection.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.connection()?.peer().address()
    }

    /// Returns the connection's [`Outbox`], a handle for code that delivers to many connections.
    ///
    /// For a channel, returns the outbox of one of the current connections. This outbox shows the state of the
    /// connection and can close it. Sends through this outbox fail, because only the channel may send to the
    /// connection.
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.connection())
    }

    /// Sends a message. Waits only while the connection's queue is above its high-water mark
    /// ([`ServerConfig::outbox_bytes`](crate::ServerConfig)).
    ///
    /// A channel sends the message to all tabs of the session, and keeps the message for tabs that are reconnecting. On
    /// a channel, the call waits only while the channel's buffer is full, and at most for the channel's send timeout.
    ///
    /// To send a [`Message::Close`] is the same as to call [`close`](Self::close), with the same errors.
    ///
    /// # Errors
    /// - [`io::ErrorKind::BrokenPipe`] if the WebSocket is closed or the channel has ended.
    /// - [`io::ErrorKind::TimedOut`] if the channel's buffer stayed full for the whole send timeout.
    /// - [`io::ErrorKind::OutOfMemory`] if no client of the channel is connected, and the memory for sessions
    ///   ([`ServerConfig::session_memory`](crate::ServerConfig)) has no room for the message.
    ///
    /// # Cancel safety
    /// If the future is dropped, the message is sent either whole or not at all.
    // This is not an `async fn`, because the future of an `async fn` would store the message twice. The future of a
    // handler contains this future, and reserves space for it even while the handler receives.
    pub fn send(&self, message: impl Into<Message>) -> impl Future<Output = io::Result<()>> {
        let mut message = Some(message.into());
        // The wait of a channel. It is boxed, because it would take space in handlers of plain connections as well.
        let mut waiting = None;
        poll_fn(move |cx| {
            if let Target::Connection(connection) = &self.target
                && let Some(sent) = &message
                && connection.lane().cork_message(sent)
            {
                connection.env.metrics.message_sent();
                message = None;
                return Poll::Ready(Ok(()));
            }
            self.poll_send(&mut message, &mut waiting, cx)
        })
    }

    /// Sends a message in the cases that [`cork_message`](crate::conn::lane::LaneRef::cork_message) does not handle.
    /// Takes the message as soon as the send is done, or as soon as it is in `waiting`.
    fn poll_send<'a>(
        &'a self,
        message: &mut Option<Message>,
        waiting: &mut Option<Waiting<'a>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let sent = match (&self.target, &*message) {
            (_, Some(Message::Close(frame))) => {
                let (code, reason) = frame.as_ref().map_or((CloseCode::NORMAL, ""), |frame| {
                    (frame.code, &*frame.reason)
                });
                self.close(code, reason)
            }
            (Target::Connection(connection), Some(message)) => {
                ready!(poll_send(connection, message, cx))
            }
            (Target::Channel(channel), Some(control)) if control.is_control() => {
                channel.send_control(control);
                Ok(())
            }
            (Target::Channel(channel), _) => {
                if let Some(message) = message.take() {
                    *waiting = Some(Box::pin(channel.send(message)));
                }
                return waiting
                    .as_mut()
                    .map_or(Poll::Pending, |waiting| waiting.as_mut().poll(cx));
            }
            // The future was polled again after its end.
            (Target::Connection(_), None) => return Poll::Pending,
        };
        *message = None;
        Poll::Ready(sent)
    }

    /// Sends a value as JSON text.
    ///
    /// # Errors
    /// Returns the errors of [`send`](Self::send), and [`io::ErrorKind::InvalidData`] if the value has no JSON form.
    pub async fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string(value)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.send(text).await
    }

    /// Waits for the next text or binary message.
    ///
    /// # Errors
    /// A connection returns [`io::ErrorKind::ConnectionAborted`] after a Close of the client. The error's
    /// [`get_ref`](io::Error::get_ref) has the Close's code and reason. A connection returns
    /// [`io::ErrorKind::InvalidData`] if the client broke the protocol, and [`io::ErrorKind::ConnectionReset`] if the
    /// client left without a Close.
    ///
    /// A channel does not return these errors. When a connection ends, the call waits for messages of the next
    /// connection. When the channel itself ends, the call returns [`io::ErrorKind::BrokenPipe`].
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future loses no message.
    // This is not an `async fn`: the future has no state of its own while a connection receives.
    pub fn recv(&self) -> impl Future<Output = io::Result<Message>> {
        let mut waiter = None;
        poll_fn(move |cx| match &self.target {
            Target::Connection(connection) => {
                connection.poll_message(cx).map_err(|end| ended(*end))
            }
            Target::Channel(channel) => {
                let waiter = waiter.get_or_insert_with(|| channel.waiter());
                channel.poll_recv(cx, Some(waiter))
            }
        })
    }

    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Message>> {
        match &self.target {
            Target::Connection(connection) => {
                connection.poll_message(cx).map_err(|end| ended(*end))
            }
            Target::Channel(channel) => channel.poll_recv(cx, None),
        }
    }

    /// Waits for the next message and reads it as JSON.
    ///
    /// # Errors
    /// Returns the errors of [`recv`](Self::recv), and [`io::ErrorKind::InvalidInput`] if the message is not the JSON
    /// form of a `T`. The message is consumed in this case, and the WebSocket stays open.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn recv_json<T: DeserializeOwned>(&self) -> io::Result<T> {
        let message = self.recv().await?;
        serde_json::from_slice(message.as_bytes())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// Sends a Ping. The server also sends pings by itself after silence.
    ///
    /// # Errors
    /// Returns the errors of [`send`](Self::send), and [`io::ErrorKind::InvalidInput`] for a payload of more than 125
    /// bytes (RFC 6455 §5.5).
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

    /// Returns the round-trip time of the last heartbeat ping that the client answered. Returns `None` before the first
    /// answer.
    ///
    /// The server sends a heartbeat ping after [`ServerConfig::ping_interval`](crate::ServerConfig) of silence. Pings
    /// sent by [`ping`](Self::ping) are not measured.
    pub fn latency(&self) -> Option<Duration> {
        self.connection()?.lock_input().websocket()?.latency()
    }

    /// Starts the closing handshake. The program still receives the messages that the client sends before the client's
    /// Close. The connection ends at most [`ServerConfig::close_timeout`](crate::ServerConfig) later.
    ///
    /// On a channel, this closes the connections of all tabs and ends the channel.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] if the WebSocket is already closed or the channel has ended,
    /// [`io::ErrorKind::InvalidInput`] for a code that must not be sent (RFC 6455 §7.4).
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

    /// Keeps the connection open after the handler returns. The connection then closes with the code 1000 when the last
    /// handle is dropped.
    ///
    /// Without this call, the server closes the connection when the handler returns. Only clones of this handle keep
    /// the connection open; an [`Outbox`] or a membership of a room does not. The connection still counts towards
    /// [`ServerConfig::max_connections`](crate::ServerConfig), and its time limits still apply. A shutdown closes the
    /// connection with the code 1001. If the handler panics, fails, or returns
    /// [`Status::Reject`](crate::Status::Reject), the server closes the connection at once.
    ///
    /// The call has no effect on a channel, because a channel outlives its connections anyway.
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

    /// Waits until either side closes the connection, the connection breaks, or the server shuts down. On a channel,
    /// waits until the channel has ended.
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
            // Another sender has filled the queue since `poll_room` was ready.
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

#[cold]
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

/// Yields the incoming messages. The stream ends when [`recv`](WebSocket::recv) would return an error.
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
            Target::Channel(channel) if message.is_control() => {
                channel.send_control(&message);
                Ok(())
            }
            Target::Channel(channel) => channel.send_promised(message),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.target {
            Target::Connection(connection) => {
                connection.lane().flush();
                connection.lane().poll_flushed(cx).map_err(closed)
            }
            // A channel stores each message at once and delivers it by itself, without a flush.
            Target::Channel(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error means that the WebSocket was closed before.
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
        // The future of each handler that sends reserves this space, even while the handler waits for something else.
        let size = size(|socket| socket.send(Message::Close(None)));
        assert!(size <= 240, "{size} bytes");
    }
}
