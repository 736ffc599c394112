//! Servers with a handler per test, and their clients over real sockets.

use std::{future::Future, pin::Pin};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Context, Server, ServerConfig, ServerControlHook, ServerHook, ServerSentEvents, Status, Stream,
    WebSocket,
};

type Script<T> = Box<dyn Fn(T) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The test's handler of a WebSocket.
struct OnSocket(Script<WebSocket>);

/// The test's handler of an event stream.
struct OnEvents(Script<ServerSentEvents>);

struct Socket;

impl ServerHook for Socket {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        let script = ctx.state::<OnSocket>();
        let socket = ctx.upgrade(stream).await.unwrap();
        (script.0)(socket).await;
        Status::Continue
    }
}

struct Events;

impl ServerHook for Events {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        let script = ctx.state::<OnEvents>();
        let events = ctx.event_stream(stream).await.unwrap();
        (script.0)(events).await;
        Status::Continue
    }
}

pub(super) async fn sockets<F>(
    config: ServerConfig,
    script: impl Fn(WebSocket) -> F + Send + Sync + 'static,
) -> ServerControlHook
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut server = Server::new();
    server.server_config(config).bind("127.0.0.1:0");
    server.state(OnSocket(Box::new(move |socket| Box::pin(script(socket)))));
    server.route::<Socket>("/").run().await.unwrap()
}

pub(super) async fn events<F>(
    config: ServerConfig,
    script: impl Fn(ServerSentEvents) -> F + Send + Sync + 'static,
) -> ServerControlHook
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut server = Server::new();
    server.server_config(config).bind("127.0.0.1:0");
    server.state(OnEvents(Box::new(move |events| Box::pin(script(events)))));
    server.route::<Events>("/").run().await.unwrap()
}

/// A client of a WebSocket or of an event stream.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    async fn request(control: &ServerControlHook, fields: &str) -> Self {
        Self::request_as(control, "1.1", fields).await
    }

    /// Sends a request of this version of HTTP, and reads the head of the answer.
    pub(super) async fn request_as(
        control: &ServerControlHook,
        version: &str,
        fields: &str,
    ) -> Self {
        let stream = TcpStream::connect(control.local_addr().unwrap()).await;
        let mut client = Self(stream.unwrap());
        let head = format!("GET / HTTP/{version}\r\nhost: localhost\r\n{fields}\r\n");
        client.0.write_all(head.as_bytes()).await.unwrap();
        client.until(b"\r\n\r\n").await;
        client
    }

    pub(super) async fn websocket(control: &ServerControlHook) -> Self {
        Self::offering(control, "").await
    }

    pub(super) async fn offering(control: &ServerControlHook, fields: &str) -> Self {
        let fields = format!(
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}"
        );
        Self::request(control, &fields).await
    }

    pub(super) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            read.push(self.0.read_u8().await.unwrap());
        }
        read
    }

    /// Reads a frame of fewer than 64 KiB: its first byte and its payload.
    pub(super) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.unwrap();
        let length = match self.0.read_u8().await.unwrap() {
            126 => usize::from(self.0.read_u16().await.unwrap()),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        (first, payload)
    }

    pub(super) async fn text(&mut self) -> String {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x81);
        String::from_utf8(payload).unwrap()
    }

    pub(super) async fn texts<const N: usize>(&mut self) -> [String; N] {
        let mut texts = [const { String::new() }; N];
        for text in &mut texts {
            *text = self.text().await;
        }
        texts
    }

    /// Reads a Close frame: its code and reason.
    pub(super) async fn closed(&mut self) -> (u16, String) {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x88, "{payload:?}");
        let (code, reason) = payload.split_first_chunk().unwrap();
        let reason = String::from_utf8(reason.to_vec()).unwrap();
        (u16::from_be_bytes(*code), reason)
    }

    /// Sends a frame with an empty mask.
    pub(super) async fn say(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![
            first,
            0x80 | u8::try_from(payload.len()).unwrap(),
            0,
            0,
            0,
            0,
        ];
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// Reads to the end of the connection.
    pub(super) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        String::from_utf8(rest).unwrap()
    }
}

/// Waits for a state that the server reaches by itself.
pub(super) async fn until(mut is_reached: impl FnMut() -> bool) {
    let waiting = async {
        while !is_reached() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
    waited.expect("the state is reached");
}
