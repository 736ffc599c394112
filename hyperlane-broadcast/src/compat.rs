//! The types of `hyperlane-plugin-websocket`, over rooms (feature `compat`).
//!
//! A program that was written for the plugin changes its imports alone: `use hyperlane::compat::websocket::{WebSocket, WebSocketConfig}`. New
//! programs use [`Room`](crate::Room).

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hyperlane_core::{
    Context, Message, ServerHook, ServerHookHandler, Stream, server_hook_factory,
};

use crate::{
    broadcast::{BroadcastSendError, Capacity, DEFAULT_BROADCAST_SENDER_CAPACITY, ReceiverCount},
    key::BroadcastType,
    rooms::Rooms,
};

/// Rooms by [`BroadcastType`], with a loop that serves one client.
///
/// ```
/// use hyperlane_broadcast::{BroadcastType, compat::{WebSocket, WebSocketConfig}};
/// use hyperlane_core::{Context, ServerHook, Status, Stream};
/// use std::sync::OnceLock;
///
/// static ROOMS: OnceLock<WebSocket> = OnceLock::new();
///
/// /// Answers each message to all members.
/// struct Echo;
///
/// impl ServerHook for Echo {
///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
///         Self
///     }
///
///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
///         let message = ctx.get_request().get_body().clone();
///         ctx.get_mut_response().set_body_bytes(message);
///         Status::Continue
///     }
/// }
///
/// struct Chat;
///
/// impl ServerHook for Chat {
///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
///         Self
///     }
///
///     async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
///         let config: WebSocketConfig<String> = WebSocketConfig::new(stream, ctx)
///             .set_broadcast_type(BroadcastType::PointToGroup("lobby".to_owned()))
///             .set_request_hook::<Echo>();
///         ROOMS.get_or_init(WebSocket::new).run(config).await;
///         Status::Continue
///     }
/// }
/// ```
#[derive(Default)]
pub struct WebSocket {
    rooms: Rooms,
    /// The number of clients that [`run`](Self::run) serves, by key.
    served: Mutex<HashMap<String, ReceiverCount>>,
}

/// The connection, the room and the hooks of a [`WebSocket::run`].
pub struct WebSocketConfig<'a, T> {
    stream: &'a mut Stream,
    ctx: &'a mut Context,
    capacity: Capacity,
    broadcast_type: BroadcastType<T>,
    connected: Option<ServerHookHandler>,
    request: Option<ServerHookHandler>,
    sended: Option<ServerHookHandler>,
    closed: Option<ServerHookHandler>,
}

impl<'a, T> WebSocketConfig<'a, T> {
    /// Creates a configuration without a room and without hooks.
    pub fn new(stream: &'a mut Stream, ctx: &'a mut Context) -> Self {
        Self {
            stream,
            ctx,
            capacity: DEFAULT_BROADCAST_SENDER_CAPACITY,
            broadcast_type: BroadcastType::Unknown,
            connected: None,
            request: None,
            sended: None,
            closed: None,
        }
    }

    /// Stores a capacity. It has no effect: the limits of rooms are in bytes ([`RoomsConfig`](crate::RoomsConfig)).
    pub fn set_capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets the room.
    pub fn set_broadcast_type(mut self, broadcast_type: BroadcastType<T>) -> Self {
        self.broadcast_type = broadcast_type;
        self
    }

    /// Runs `S` when the client has joined the room.
    pub fn set_connected_hook<S: ServerHook>(mut self) -> Self {
        self.connected = Some(server_hook_factory::<S>());
        self
    }

    /// Runs `S` for each message of the client. The body of the request is the message, and the response has no body. The
    /// room then receives the body that the hook sets in the response.
    pub fn set_request_hook<S: ServerHook>(mut self) -> Self {
        self.request = Some(server_hook_factory::<S>());
        self
    }

    /// Runs `S` after each body that was passed to the room.
    pub fn set_sended_hook<S: ServerHook>(mut self) -> Self {
        self.sended = Some(server_hook_factory::<S>());
        self
    }

    /// Runs `S` when the client has left the room. The room then receives the body that the hook sets in the response.
    pub fn set_closed_hook<S: ServerHook>(mut self) -> Self {
        self.closed = Some(server_hook_factory::<S>());
        self
    }

    /// Returns the stored capacity.
    pub fn get_capacity(&self) -> Capacity {
        self.capacity
    }

    /// Borrows the room.
    pub fn get_broadcast_type(&self) -> &BroadcastType<T> {
        &self.broadcast_type
    }

    /// Borrows the context.
    pub fn get_context(&mut self) -> &mut Context {
        self.ctx
    }
}

impl WebSocket {
    /// Creates rooms with the default limits. No room exists at first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a client until its connection ends or a hook calls [`Stream::set_closed`]: joins the room, runs the hooks,
    /// and passes the bodies of responses to the room, whose members include the client. Text is sent as text messages,
    /// other bytes as binary messages, and an empty body not at all. Does not use the status that a hook returns.
    ///
    /// Without a room ([`BroadcastType::Unknown`]), and if the connection cannot become a WebSocket, the method logs the
    /// reason and returns at once.
    pub async fn run<T: ToString + PartialOrd>(&self, config: WebSocketConfig<'_, T>) {
        let (stream, ctx) = (config.stream, config.ctx);
        let key = config.broadcast_type.get_key();
        let room = match self.rooms.room(&key) {
            Ok(room) => room,
            Err(error) => return tracing::warn!(%error, "no room for a WebSocket"),
        };
        let socket = match ctx.upgrade(stream).await {
            Ok(socket) => socket,
            Err(error) => return tracing::warn!(%error, "no WebSocket to serve"),
        };
        if let Err(error) = room.join(&socket).await {
            return tracing::warn!(%error, "a WebSocket cannot join its room");
        }
        let served = Served::begin(self, key);
        call(config.connected.as_ref(), stream, ctx).await;
        while !stream.get_closed() {
            let message = stream.try_get_websocket_request().await;
            let has_ended = message.is_err();
            ctx.get_mut_response().set_body("");
            match message {
                Ok(message) => {
                    ctx.get_mut_request().set_body(message);
                    call(config.request.as_ref(), stream, ctx).await;
                }
                Err(_) => {
                    room.leave(&socket).await;
                    stream.set_closed(true);
                    call(config.closed.as_ref(), stream, ctx).await;
                }
            }
            let body = ctx.get_response().body();
            if !body.is_empty() {
                // A message that the room cannot take is lost, as in the plugin.
                let _ = room.broadcast(message_of(body.to_vec())).await;
                call(config.sended.as_ref(), stream, ctx).await;
            }
            if has_ended {
                break;
            }
        }
        drop(served);
        stream.set_closed(true);
    }

    /// Sends to a room. Returns the number of clients in the room, or `None` without clients.
    ///
    /// # Errors
    /// Never returns an error. The type is that of the plugin.
    pub fn try_send<T: ToString + PartialOrd>(
        &self,
        broadcast_type: BroadcastType<T>,
        data: impl Into<Vec<u8>>,
    ) -> Result<Option<ReceiverCount>, BroadcastSendError<Vec<u8>>> {
        Ok(self.send(broadcast_type, data))
    }

    /// Sends to a room. Returns the number of clients in the room, or `None` without clients.
    pub fn send<T: ToString + PartialOrd>(
        &self,
        broadcast_type: BroadcastType<T>,
        data: impl Into<Vec<u8>>,
    ) -> Option<ReceiverCount> {
        let room = self.rooms.room(broadcast_type.get_key()).ok()?;
        let published = room.try_broadcast(message_of(data.into())).ok()?;
        Some(published.members).filter(|&members| members > 0)
    }

    /// Returns the number of clients in a room.
    pub fn receiver_count<T: ToString + PartialOrd>(
        &self,
        broadcast_type: BroadcastType<T>,
    ) -> ReceiverCount {
        let served = self.lock();
        served.get(&broadcast_type.get_key()).copied().unwrap_or(0)
    }

    /// Returns the number of clients in a room after one more has joined.
    pub fn receiver_count_before_connected<T: ToString + PartialOrd>(
        &self,
        broadcast_type: BroadcastType<T>,
    ) -> ReceiverCount {
        self.receiver_count(broadcast_type) + 1
    }

    /// Returns the number of clients in a room after the client of the calling hook has left.
    pub fn receiver_count_after_closed<T: ToString + PartialOrd>(
        &self,
        broadcast_type: BroadcastType<T>,
    ) -> ReceiverCount {
        self.receiver_count(broadcast_type).saturating_sub(1)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, ReceiverCount>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocket").field(&self.rooms).finish()
    }
}

/// Counts a client until the value is dropped, also if the client's hook is dropped.
struct Served<'a>(&'a WebSocket, String);

impl<'a> Served<'a> {
    fn begin(websocket: &'a WebSocket, key: String) -> Self {
        *websocket.lock().entry(key.clone()).or_default() += 1;
        Self(websocket, key)
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let mut served = self.0.lock();
        if let Some(count) = served.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                served.remove(&self.1);
            }
        }
    }
}

async fn call(hook: Option<&ServerHookHandler>, stream: &mut Stream, ctx: &mut Context) {
    if let Some(hook) = hook {
        let _ = hook(stream, ctx).await;
    }
}

fn message_of(data: Vec<u8>) -> Message {
    match String::from_utf8(data) {
        Ok(text) => Message::from(text),
        Err(error) => Message::Binary(error.into_bytes().into()),
    }
}
