//! Channels of sessions over real sockets: waiting messages, resumption, refusals.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyperlane::{
    ServerSentEventsEndpoint, WebSocketEndpoint,
    prelude::*,
    proto::sse::{EventReader, ReceivedEvent},
    session::Channels,
    sse, sse_with, ws, ws_with,
};
use test_support::{
    CLOSE, Client, PATIENCE, PING, PONG, Reply, TEXT, address, eventually, hook, notes, start,
};

mod callbacks;
mod charged;
mod endpoints;
mod lifetime;
mod named;
mod pings;
mod resumption;
mod tabs;
mod unread;
mod waiting;

const SHORT: Duration = Duration::from_millis(200);

// ---------------------------------------------------------------- clients

/// A browser: a cookie jar of one cookie.
struct Browser {
    address: SocketAddr,
    cookie: String,
}

impl Browser {
    fn new(control: &ServerControlHook) -> Self {
        Self {
            address: address(control),
            cookie: String::new(),
        }
    }

    fn fields(&self) -> String {
        match self.cookie.is_empty() {
            true => String::new(),
            false => format!("cookie: {}\r\n", self.cookie),
        }
    }

    fn keep(&mut self, reply: &Reply) {
        for cookie in reply.all("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
    }

    async fn request(&mut self, method: &str, target: &str, fields: &str, body: &str) -> Reply {
        let mut client = Client::connect(self.address).await;
        let all = format!(
            "{}{fields}content-length: {}\r\n",
            self.fields(),
            body.len()
        );
        client.request(method, target, &all).await;
        client.send(body).await;
        let reply = client.reply().await;
        self.keep(&reply);
        reply
    }

    async fn get(&mut self, target: &str) -> Reply {
        self.request("GET", target, "", "").await
    }

    /// Sends on a channel from an unrelated request; the answer tells the outcome.
    async fn send(&mut self, target: &str) -> String {
        self.get(target).await.text().to_owned()
    }

    /// Connects to an event stream.
    async fn follow(&mut self, target: &str, fields: &str) -> Events {
        let mut client = Client::connect(self.address).await;
        let all = format!("{}accept: text/event-stream\r\n{fields}", self.fields());
        client.request("GET", target, &all).await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("text/event-stream"), "{head}");
        self.keep(&Reply {
            status: 200,
            head,
            body: Vec::new(),
        });
        Events {
            client,
            reader: EventReader::new(),
            queue: VecDeque::new(),
            raw: String::new(),
        }
    }

    /// Connects to a WebSocket.
    async fn socket(&mut self, target: &str) -> Client {
        let mut client = Client::connect(self.address).await;
        let reply = client.upgrade(target, &self.fields()).await;
        assert_eq!(reply.status, 101, "{}", reply.head);
        self.keep(&reply);
        client
    }
}

/// An event stream.
struct Events {
    client: Client,
    reader: EventReader,
    /// Events, without those that carry nothing but the position.
    queue: VecDeque<ReceivedEvent>,
    /// Bytes that [`block`](Self::block) has not returned yet.
    raw: String,
}

impl Events {
    /// The next block as it came, without the heartbeats before it.
    async fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.raw.split_once("\n\n") {
                let block = block.trim_start_matches(":\n").to_owned();
                self.raw = rest.to_owned();
                return block;
            }
            let chunk = self.client.chunk().await;
            assert!(!chunk.is_empty(), "the stream has ended");
            self.take(&chunk);
        }
    }

    /// Reads to the end of the stream.
    async fn rest(&mut self) {
        loop {
            let chunk = self.client.chunk().await;
            if chunk.is_empty() {
                return;
            }
            self.take(&chunk);
        }
    }

    async fn next(&mut self) -> ReceivedEvent {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return event;
            }
            let chunk = self.client.chunk().await;
            assert!(!chunk.is_empty(), "the stream has ended");
            self.take(&chunk);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap();
        // A chunk holds whole blocks.
        text.split("\n\n").for_each(refuse_lone_id);
        self.raw.push_str(text);
        let mut events = Vec::new();
        self.reader.push(bytes, &mut events).unwrap();
        events.retain(|event| event.event != "position");
        self.queue.extend(events);
    }

    async fn text(&mut self) -> String {
        self.next().await.data
    }

    /// Returns the client's position, once the first bytes are there.
    async fn id(&mut self) -> String {
        while self.reader.last_event_id().is_empty() {
            let chunk = self.client.chunk().await;
            self.take(&chunk);
        }
        self.reader.last_event_id().to_owned()
    }
}

/// Firefox and WebKit ignore an id in a block without data.
fn refuse_lone_id(block: &str) {
    let has = |name: &str| {
        block
            .lines()
            .any(|line| line.split(':').next() == Some(name))
    };
    assert!(!has("id") || has("data"), "an id without data: {block:?}");
}

/// Returns the next text on a socket; answers pings.
async fn next_text(client: &mut Client) -> String {
    loop {
        let frame = client.next_frame().await;
        match frame.opcode {
            PING => client.frame(PONG, frame.payload).await,
            _ => return frame.text().to_owned(),
        }
    }
}

/// Returns the next text, as [`next_text`] does, and answers no ping.
async fn next_unanswered(client: &mut Client) -> String {
    client.next_message().await.text().to_owned()
}

fn field<'a>(json: &'a serde_json::Value, name: &str) -> &'a str {
    json[name].as_str().unwrap()
}

// ---------------------------------------------------------------- servers

async fn report(sent: io::Result<()>, ctx: &mut Context) {
    let text = match sent {
        Ok(()) => "sent".to_owned(),
        Err(error) => format!("{:?} {error}", error.kind()),
    };
    ctx.get_mut_response().set_body(text);
}

fn texts(ctx: &Context) -> Vec<String> {
    let texts = ctx.get_request().try_get_query("t").unwrap_or_default();
    texts.split(',').map(str::to_owned).collect()
}

hook! {
    SendSse |_, ctx| {
        let sse = ctx.sse();
        let mut sent = Ok(());
        for text in texts(ctx) {
            sent = sse.send(text).await;
        }
        report(sent, ctx).await;
    }
    SendWs |_, ctx| {
        let ws = ctx.ws();
        let mut sent = Ok(());
        for text in texts(ctx) {
            sent = ws.send(text).await;
        }
        report(sent, ctx).await;
    }
    FillSse |_, ctx| {
        let number = |name| ctx.get_request().try_get_query(name).unwrap().parse::<usize>().unwrap();
        let (count, size) = (number("count"), number("size"));
        let sse = ctx.sse();
        let mut sent = Ok(());
        for _ in 0..count {
            sent = sse.send("x".repeat(size)).await;
        }
        report(sent, ctx).await;
    }
    RecvWs |_, ctx| {
        let text = match ctx.ws().recv().await {
            Ok(message) => message.to_string(),
            Err(error) => format!("{:?} {error}", error.kind()),
        };
        ctx.get_mut_response().set_body(text);
    }
    Open |_, ctx| {
        let text = format!("{} {}", ctx.ws().is_open(), ctx.sse().is_open());
        ctx.get_mut_response().set_body(text);
    }
    // Sends events with unusual fields.
    SendEvents |_, ctx| {
        let sse = ctx.sse();
        let mut sent = Ok(());
        for event in [
            Event::new().retry(Duration::from_millis(7000)),
            Event::new().comment("a note"),
            Event::new().event("named"),
            Event::new().id("own"),
            Event::new().id("").event("named").comment("id: x"),
            Event::new(),
            Event::new().id("own").data("x").id("other"),
            Event::new().event("named").data(""),
        ] {
            sent = sse.send_event(event).await;
        }
        report(sent, ctx).await;
    }
    // Sends messages whose bytes ask the channel when they are dropped.
    SendOwned |_, ctx| {
        let ws = ctx.ws();
        let mut sent = Ok(());
        for _ in texts(ctx) {
            let bytes = bytes::Bytes::from_owner(AsksAtItsEnd(ws.clone()));
            sent = ws.send(Message::Binary(bytes)).await;
        }
        report(sent, ctx).await;
    }
    CloseSse |_, ctx| {
        ctx.sse().close();
    }
    CloseWs |_, ctx| {
        let closed = ctx.ws().close(CloseCode::new(4444), "enough");
        report(closed, ctx).await;
    }
    Login |_, ctx| {
        let name = ctx.get_request().try_get_query("name").unwrap();
        let session = ctx.session();
        session.set_user(name).unwrap();
        session.renew().unwrap();
    }
    Logout |_, ctx| {
        ctx.session().destroy();
    }
}

static GONE: AtomicUsize = AtomicUsize::new(0);

struct AsksAtItsEnd(WebSocket);

impl AsRef<[u8]> for AsksAtItsEnd {
    fn as_ref(&self) -> &[u8] {
        b"owned"
    }
}

impl Drop for AsksAtItsEnd {
    fn drop(&mut self) {
        self.0.is_open();
        GONE.fetch_add(1, Ordering::AcqRel);
    }
}

/// A waker that asks the channel.
struct AsksWhenWoken(WebSocket, tokio::sync::Notify);

impl std::task::Wake for AsksWhenWoken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.is_open();
        self.1.notify_one();
    }
}

async fn server(ws: WebSocketEndpoint, sse: ServerSentEventsEndpoint) -> ServerControlHook {
    start(|server| routes(server, ws, sse)).await
}

fn routes(server: &mut Server, ws: WebSocketEndpoint, sse: ServerSentEventsEndpoint) {
    server.at("/ws").get(ws);
    server.at("/sse").get(sse);
    server
        .route::<SendSse>("/send-sse")
        .route::<SendWs>("/send-ws")
        .route::<SendOwned>("/send-owned")
        .route::<SendEvents>("/send-events")
        .route::<FillSse>("/fill-sse")
        .route::<RecvWs>("/recv-ws")
        .route::<CloseSse>("/close-sse")
        .route::<CloseWs>("/close-ws")
        .route::<Login>("/login")
        .route::<Logout>("/logout")
        .route::<Open>("/open");
}

async fn plain() -> ServerControlHook {
    server(ws(), sse()).await
}

/// The channel of the only session.
fn only(channels: &Channels) -> WebSocket {
    channels.all()[0].ws()
}

async fn reachable(
    configure: impl FnOnce(&mut ServerConfig),
    ws: WebSocketEndpoint,
) -> (ServerControlHook, Channels) {
    let mut all = None;
    let control = start(|server| {
        configure(server.get_mut_server_config());
        routes(server, ws, sse());
        all = Some(server.channels());
    })
    .await;
    (control, all.unwrap())
}

/// Answers pings up to the one that asks for all messages up to an offset.
async fn answer_up_to(client: &mut Client, offset: u64) {
    loop {
        let frame = client.next_frame().await;
        assert_eq!(frame.opcode, PING);
        client.frame(PONG, &frame.payload).await;
        if frame.payload.ends_with(&offset.to_be_bytes()) {
            return;
        }
    }
}

/// Sends numbers, and fails where one send fails.
fn send_numbers(channel: WebSocket, count: u64) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        for number in 1..=count {
            channel.send(number.to_string()).await.unwrap();
        }
    })
}
