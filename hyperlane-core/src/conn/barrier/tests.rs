use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, Weak},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    CloseCode, Context, Outbox, Server, ServerConfig, ServerControlHook, ServerHook,
    ServerSentEvents, Status, Stream, WebSocket, wire::WireFormat,
};

/// A path by which messages come to one connection: what a room is, but it delivers when the test says so.
struct Gate {
    outbox: Outbox,
    state: Mutex<GateState>,
}

#[derive(Default)]
struct GateState {
    is_on_its_way: bool,
    tickets: Vec<u64>,
}

impl Gate {
    fn new(outbox: &Outbox) -> Arc<Self> {
        let gate = Arc::new(Self {
            outbox: outbox.clone(),
            state: Mutex::default(),
        });
        outbox.__add_barrier(gate.clone());
        gate
    }

    fn publish(&self) {
        crate::hub::flush_current();
        self.state.lock().unwrap().is_on_its_way = true;
    }

    fn deliver(&self, text: &str) -> Result<(), PushError> {
        let message = Message::from(text);
        match self.outbox.format() {
            WireFormat::WebSocketTakeover => self.outbox.__deliver_message(&message, usize::MAX),
            format => self
                .outbox
                .__deliver(&format.encode(&message).unwrap(), usize::MAX),
        }
    }

    /// Nothing is on its way any more.
    fn settle(&self) -> Vec<u64> {
        let mut state = self.state.lock().unwrap();
        state.is_on_its_way = false;
        std::mem::take(&mut state.tickets)
    }

    fn arrive(&self, texts: &[&str]) {
        for text in texts {
            self.deliver(text).unwrap();
        }
        for ticket in self.settle() {
            self.outbox.__release(ticket);
        }
    }

    /// The number of tickets that the connection has asked for and not got back.
    fn held(&self) -> usize {
        self.state.lock().unwrap().tickets.len()
    }
}

impl Barrier for Gate {
    fn is_clear(&self) -> bool {
        !self.state.lock().unwrap().is_on_its_way
    }

    fn hold(&self, ticket: u64) {
        let mut state = self.state.lock().unwrap();
        if state.is_on_its_way {
            state.tickets.push(ticket);
        } else {
            drop(state);
            self.outbox.__release(ticket);
        }
    }
}

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

async fn sockets<F>(
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

async fn events<F>(
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
struct Client(TcpStream);

impl Client {
    async fn request(control: &ServerControlHook, fields: &str) -> Self {
        let stream = TcpStream::connect(control.local_addr().unwrap()).await;
        let mut client = Self(stream.unwrap());
        let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        client.0.write_all(head.as_bytes()).await.unwrap();
        client.until(b"\r\n\r\n").await;
        client
    }

    async fn websocket(control: &ServerControlHook) -> Self {
        Self::offering(control, "").await
    }

    async fn offering(control: &ServerControlHook, fields: &str) -> Self {
        let fields = format!(
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}"
        );
        Self::request(control, &fields).await
    }

    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            read.push(self.0.read_u8().await.unwrap());
        }
        read
    }

    /// Reads a frame of fewer than 64 KiB: its first byte and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.unwrap();
        let length = match self.0.read_u8().await.unwrap() {
            126 => usize::from(self.0.read_u16().await.unwrap()),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        (first, payload)
    }

    async fn text(&mut self) -> String {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x81);
        String::from_utf8(payload).unwrap()
    }

    async fn texts<const N: usize>(&mut self) -> [String; N] {
        let mut texts = [const { String::new() }; N];
        for text in &mut texts {
            *text = self.text().await;
        }
        texts
    }

    /// Reads a Close frame: its code and reason.
    async fn closed(&mut self) -> (u16, String) {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x88, "{payload:?}");
        let (code, reason) = payload.split_first_chunk().unwrap();
        let reason = String::from_utf8(reason.to_vec()).unwrap();
        (u16::from_be_bytes(*code), reason)
    }

    /// Sends a frame with an empty mask.
    async fn say(&mut self, first: u8, payload: &[u8]) {
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
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        String::from_utf8(rest).unwrap()
    }
}

/// Waits for a state that the server reaches by itself.
async fn until(mut is_reached: impl FnMut() -> bool) {
    let waiting = async {
        while !is_reached() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
    waited.expect("the state is reached");
}

#[tokio::test]
async fn sends_wait_for_what_is_on_its_way() {
    let control = sockets(ServerConfig::default(), async |socket| {
        let gate = Gate::new(&socket.outbox());
        socket.send("before").await.unwrap();
        gate.publish();
        socket.send("own").await.unwrap();
        tokio::task::yield_now().await;
        let outbox = socket.outbox();
        outbox.send(&Message::from("by another task")).unwrap();
        std::thread::spawn(move || {
            gate.deliver("room").unwrap();
            // Nothing is on its way any more, but sends still come after what is held.
            let tickets = gate.settle();
            assert_eq!(tickets.len(), 2);
            outbox.send(&Message::from("last")).unwrap();
            for ticket in tickets.into_iter().rev() {
                outbox.__release(ticket);
            }
        });
        let _ = socket.recv().await;
    })
    .await;
    let mut client = Client::websocket(&control).await;
    assert_eq!(
        client.texts().await,
        ["before", "room", "own", "by another task", "last"]
    );
}
