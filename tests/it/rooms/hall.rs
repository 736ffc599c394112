//! A server that hands the handles of its connections to the test. The test joins, sends and closes from its own tasks.

use hyperlane::{broadcast::RoomsConfig, outbox::Outbox, prelude::*};
use test_support::{CLOSE, Client, PATIENCE, address, handler, start};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

/// The server's side of a connection.
#[derive(Clone)]
pub(super) enum Handle {
    Socket(WebSocket),
    Events(ServerSentEvents),
}

/// The client's side of a connection.
pub(super) struct Member {
    pub(super) client: Client,
    pub(super) handle: Handle,
    /// The text that the event stream has received and [`next`](Self::next) has not read yet.
    text: String,
}

/// State of the server: the channel by which handlers send their handles to the test.
#[derive(Clone)]
struct Hands(UnboundedSender<Handle>);

pub(super) struct Hall {
    pub(super) control: ServerControlHook,
    pub(super) rooms: Rooms,
    handles: UnboundedReceiver<Handle>,
}

handler!(OpensSocket, |stream, ctx| {
    let hands = ctx.state::<Hands>();
    let socket = ctx.upgrade(stream).await.unwrap();
    hands.0.send(Handle::Socket(socket.clone())).unwrap();
    while socket.recv().await.is_ok() {}
});

handler!(OpensEvents, |stream, ctx| {
    let hands = ctx.state::<Hands>();
    let events = ctx.event_stream(stream).await.unwrap();
    hands.0.send(Handle::Events(events.clone())).unwrap();
    events.closed().await;
});

impl Handle {
    pub(super) fn outbox(&self) -> Outbox {
        match self {
            Self::Socket(socket) => socket.outbox(),
            Self::Events(events) => events.outbox(),
        }
    }

    pub(super) async fn send(&self, text: &str) {
        match self {
            Self::Socket(socket) => socket.send(text).await.unwrap(),
            Self::Events(events) => events.send(text).await.unwrap(),
        }
    }

    pub(super) fn close(&self) {
        match self {
            Self::Socket(socket) => socket.close(CloseCode::NORMAL, "").unwrap(),
            Self::Events(events) => events.close(),
        }
    }
}

impl Member {
    /// Reads the next message. Returns `None` at the orderly end: a Close frame, or the last chunk.
    pub(super) async fn next(&mut self) -> Option<String> {
        match &self.handle {
            Handle::Socket(_) => {
                let frame = self.client.next_message().await;
                (frame.opcode != CLOSE).then(|| frame.text().to_owned())
            }
            Handle::Events(_) => loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let mut lines = event.lines();
                    let data = lines.find_map(|line| line.strip_prefix("data: "));
                    let data = data.map(str::to_owned);
                    // An event without data must be a comment.
                    assert!(data.is_some() || event.starts_with(':'), "{event:?}");
                    self.text = rest.to_owned();
                    match data {
                        Some(data) => return Some(data),
                        None => continue,
                    }
                }
                let chunk = self.client.chunk().await;
                if chunk.is_empty() {
                    assert_eq!(self.text, "");
                    return None;
                }
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            },
        }
    }

    /// Reads the next `count` messages.
    pub(super) async fn take(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(self.next().await.expect("not the end yet"));
        }
        texts
    }

    /// Reads all messages up to the orderly end.
    pub(super) async fn all(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(text) = self.next().await {
            texts.push(text);
        }
        texts
    }
}

impl Hall {
    pub(super) async fn new() -> Self {
        Self::with(RoomsConfig::default(), |_| {}).await
    }

    pub(super) async fn with(
        config: RoomsConfig,
        configure: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        Self::of(Rooms::with_config(config), configure).await
    }

    pub(super) async fn of(rooms: Rooms, configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let (hands, handles) = unbounded_channel();
        let control = start(|server| {
            server
                .state(Hands(hands))
                .route::<OpensSocket>("/socket")
                .route::<OpensEvents>("/events");
            configure(server.get_mut_server_config());
        })
        .await;
        Self {
            control,
            rooms,
            handles,
        }
    }

    async fn handle(&mut self) -> Handle {
        let handle = timeout(PATIENCE, self.handles.recv()).await;
        handle.expect("it connects").unwrap()
    }

    /// Connects a WebSocket, which joins no room yet.
    pub(super) async fn socket(&mut self) -> Member {
        let client = Client::websocket(address(&self.control), "/socket").await;
        Member {
            client,
            handle: self.handle().await,
            text: String::new(),
        }
    }

    /// Connects an event stream, which joins no room yet.
    pub(super) async fn events(&mut self) -> Member {
        let mut client = Client::connect(address(&self.control)).await;
        client.request("GET", "/events", "").await;
        client.until(b"\r\n\r\n").await;
        Member {
            client,
            handle: self.handle().await,
            text: String::new(),
        }
    }

    /// Connects WebSockets and event streams that join `room`.
    pub(super) async fn members(
        &mut self,
        room: &Room,
        sockets: usize,
        events: usize,
    ) -> Vec<Member> {
        let mut members = Vec::new();
        for _ in 0..sockets {
            members.push(self.socket().await);
        }
        for _ in 0..events {
            members.push(self.events().await);
        }
        for member in &members {
            room.join(&member.handle.outbox()).await.unwrap();
        }
        members
    }
}
