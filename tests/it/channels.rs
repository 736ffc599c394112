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

// ---------------------------------------------------------------- states

#[tokio::test]
async fn messages_sent_before_the_client_connects_wait() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-sse?t=a,b").await, "sent");
    assert_eq!(browser.send("/send-ws?t=c,d").await, "sent");
    assert_eq!(browser.send("/open").await, "false false");
    let mut events = browser.follow("/sse", "").await;
    assert_eq!(
        (events.text().await, events.text().await),
        ("a".into(), "b".into())
    );
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "c");
    assert_eq!(next_text(&mut socket).await, "d");
    assert_eq!(browser.send("/open").await, "true true");
    assert_eq!(browser.send("/send-sse?t=e").await, "sent");
    assert_eq!(events.text().await, "e");
}

#[tokio::test]
async fn a_full_buffer_makes_the_sender_wait_and_then_fail() {
    let control = server(
        ws().buffer(2).timeout(SHORT),
        sse().buffer(2).timeout(SHORT),
    )
    .await;
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-sse?t=a,b").await, "sent");
    let refused = browser.send("/send-sse?t=c").await;
    assert!(
        refused.starts_with("TimedOut the buffer of 2 messages"),
        "{refused}"
    );
    // A client comes while a sender waits.
    let mut other = Browser::new(&control);
    assert_eq!(other.send("/send-ws?t=a,b").await, "sent");
    let mut again = Browser {
        cookie: other.cookie.clone(),
        ..other
    };
    let waiting = tokio::spawn(async move { again.send("/send-ws?t=c").await });
    let mut socket = other.socket("/ws").await;
    for text in ["a", "b", "c"] {
        assert_eq!(next_text(&mut socket).await, text);
    }
    assert_eq!(waiting.await.unwrap(), "sent");
}

#[tokio::test]
async fn a_channel_waits_for_its_client_and_ends_after_the_grace() {
    let control = server(ws().grace(SHORT), sse().grace(SHORT)).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    assert_eq!(browser.send("/send-ws?t=a").await, "sent");
    assert_eq!(next_text(&mut socket).await, "a");
    drop(socket);
    let cut = Instant::now();
    assert_eq!(browser.send("/open").await, "true false");
    // A receiver that waits for a message learns of the end.
    let ended = browser.send("/recv-ws").await;
    assert_eq!(
        ended,
        "BrokenPipe the channel is over: the client did not come back within 200ms"
    );
    assert!(cut.elapsed() >= SHORT / 2);
    assert_eq!(browser.send("/open").await, "false false");
    // The next channel is a new one, without the messages of the old one.
    assert_eq!(browser.send("/send-ws?t=b").await, "sent");
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "b");
}

#[tokio::test]
async fn messages_of_clients_wait_for_a_receiver() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    socket.say("one").await;
    socket.say("two").await;
    assert_eq!(browser.send("/recv-ws").await, "one");
    drop(socket);
    assert_eq!(browser.send("/recv-ws").await, "two");
    let mut socket = browser.socket("/ws").await;
    socket.say("three").await;
    assert_eq!(browser.send("/recv-ws").await, "three");
}

#[tokio::test]
async fn a_function_meets_each_new_channel_once() {
    let (notes, mut noted) = notes();
    let greeting = notes.clone();
    let ws = ws_with(move |ws: WebSocket, state| {
        let notes = greeting.clone();
        async move {
            notes.note(format!("new {}", state.get::<u8>().is_some()));
            while let Ok(message) = ws.recv().await {
                ws.send(format!("echo {message}")).await.unwrap();
            }
            notes.note("over");
        }
    });
    let greeting = notes.clone();
    let sse = sse_with(move |sse: ServerSentEvents, _| {
        let notes = greeting.clone();
        async move {
            sse.send("welcome").await.unwrap();
            notes.note("welcomed");
        }
    });
    let control = start(|server| {
        server.state(7_u8);
        routes(server, ws.grace(SHORT), sse);
    })
    .await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    assert_eq!(noted.next().await, "new true");
    socket.say("a").await;
    assert_eq!(next_text(&mut socket).await, "echo a");
    drop(socket);
    let mut socket = browser.socket("/ws").await;
    socket.say("b").await;
    // No pong has confirmed the first one.
    assert_eq!(next_text(&mut socket).await, "echo a");
    assert_eq!(next_text(&mut socket).await, "echo b");
    let mut events = browser.follow("/sse", "").await;
    assert_eq!(events.text().await, "welcome");
    assert_eq!(noted.next().await, "welcomed");
    drop(browser.follow("/sse", "").await);
    assert!(noted.is_empty());
    drop(socket);
    assert_eq!(noted.next().await, "over");
    drop(browser.socket("/ws").await);
    assert_eq!(noted.next().await, "new true");
}

// ---------------------------------------------------------------- resumption

#[tokio::test]
async fn an_event_stream_goes_on_after_its_last_id() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/sse", "").await;
    browser.send("/send-sse?t=a,b,c").await;
    let first = events.next().await;
    assert_eq!((first.data.as_str(), first.id.ends_with("-1")), ("a", true));
    drop(events);
    browser.send("/send-sse?t=d").await;
    let mut events = browser
        .follow("/sse", &format!("last-event-id: {}\r\n", first.id))
        .await;
    for text in ["b", "c", "d"] {
        assert_eq!(events.text().await, text);
    }
    let id = events.id().await;
    drop(events);
    browser.send("/send-sse?t=e").await;
    let mut events = browser
        .follow(&format!("/sse?last_event_id={id}"), "")
        .await;
    assert_eq!(events.text().await, "e");
    let retry = events.reader.retry().unwrap();
    assert!((1000..2000).contains(&retry.as_millis()), "{retry:?}");
}

#[tokio::test]
async fn a_stream_that_is_cut_before_its_first_message_misses_nothing() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut one = browser.follow("/sse", "").await;
    let id = one.id().await;
    let mut other = browser.follow("/sse", "").await;
    drop(one);
    browser.send("/send-sse?t=a").await;
    assert_eq!(other.text().await, "a");
    let mut one = browser
        .follow("/sse", &format!("last-event-id: {id}\r\n"))
        .await;
    assert_eq!(one.text().await, "a");
}

#[tokio::test]
async fn no_block_has_an_id_without_data() {
    const BEAT: Duration = Duration::from_millis(50);
    let socket = ws().resume_ids().heartbeat(BEAT).retry(SHORT);
    let control = server(socket, sse().buffer(16).heartbeat(BEAT).retry(SHORT)).await;
    let mut browser = Browser::new(&control);
    /// Returns the first block, with the position that it gives the client.
    async fn first(events: &mut Events, name: &str) -> String {
        let block = events.block().await;
        let lines: Vec<_> = block.lines().collect();
        let id = lines[1].strip_prefix("id: ").unwrap().to_owned();
        let wait = lines[3].strip_prefix("retry: ").unwrap();
        assert!((200..400).contains(&wait.parse().unwrap()), "{block}");
        assert_eq!(lines[0], format!("event: {name}"));
        assert_eq!(lines[2], format!("data: {id}"));
        assert_eq!(lines.len(), 4, "{block}");
        id
    }

    // The stream sends on its first connection, as a heartbeat, and events of any kind.
    let mut events = browser.follow("/sse", "").await;
    let begin = first(&mut events, "position").await;
    let epoch = begin.strip_suffix("-0").unwrap();
    assert_eq!(events.client.chunk().await, b":\n", "a heartbeat");
    assert_eq!(browser.send("/send-sse?t=text,").await, "sent");
    assert_eq!(events.block().await, format!("id: {epoch}-1\ndata: text"));
    assert_eq!(events.block().await, format!("id: {epoch}-2\ndata: "));
    assert_eq!(browser.send("/send-events").await, "sent");
    let position =
        |offset| format!("event: position\nid: {epoch}-{offset}\ndata: {epoch}-{offset}");
    for expected in [
        format!("retry: 7000\n{}", position(3)),
        format!(": a note\n{}", position(4)),
        position(5),
        position(6),
        format!(": id: x\n{}", position(7)),
        position(8),
        format!("data: x\nid: {epoch}-9"),
        format!("event: named\ndata: \nid: {epoch}-10"),
    ] {
        assert_eq!(events.block().await, expected);
    }
    drop(events);

    // Resumption by field and by query, and ids that cannot be resumed.
    let at = format!("last-event-id: {epoch}-9\r\n");
    let mut events = browser.follow("/sse", &at).await;
    assert_eq!(first(&mut events, "position").await, format!("{epoch}-9"));
    assert_eq!(
        events.block().await,
        format!("event: named\ndata: \nid: {epoch}-10")
    );
    let mut events = browser
        .follow(&format!("/sse?last_event_id={epoch}-10"), "")
        .await;
    assert_eq!(first(&mut events, "position").await, format!("{epoch}-10"));
    let mut events = browser.follow("/sse", "last-event-id: x\r\n").await;
    assert_eq!(first(&mut events, "reset").await, format!("{epoch}-10"));

    // From a WebSocket to an event stream.
    let mut socket = browser.socket("/ws").await;
    let counts: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    let (id, tab) = (field(&counts, "id"), field(&counts, "tab"));
    assert_eq!(browser.send("/send-ws?t=a").await, "sent");
    drop(socket);
    let target = format!("/ws?last_event_id={id}&tab={tab}");
    let mut switched = browser.follow(&target, "").await;
    assert_eq!(first(&mut switched, "position").await, id);
    let a = switched.block().await;
    assert!(a.ends_with("-1\ndata: a"), "{a}");

    // Over HTTP/1.0 there are no chunks, but the same blocks.
    let mut old = Client::connect(browser.address).await;
    let head = format!("GET /sse HTTP/1.0\r\nhost: x\r\n{}\r\n", browser.fields());
    old.send(head).await;
    old.until(b"\r\n\r\n").await;
    let block = String::from_utf8(old.until(b"\n\n").await).unwrap();
    assert!(block.starts_with(&position(10)), "{block}");

    // The end of a channel, and of the server.
    browser.get("/close-sse").await;
    events.rest().await;
    let ending = tokio::spawn(async move { control.shutdown().await });
    switched.rest().await;
    ending.await.unwrap();
}

#[tokio::test]
async fn a_page_that_is_loaded_anew_gets_what_its_own_request_sent() {
    let control = plain().await;
    for (fields, is_page) in [
        ("sec-fetch-mode: navigate\r\n", true),
        ("accept: text/html,*/*;q=0.8\r\n", true),
        ("sec-fetch-mode: cors\r\naccept: text/html\r\n", false),
        ("accept: */*\r\n", false),
    ] {
        let mut browser = Browser::new(&control);
        browser.send("/send-sse?t=first").await;
        let mut before = browser.follow("/sse", "").await;
        assert_eq!(before.text().await, "first");
        // The page before stays until the answer has come.
        browser
            .request("GET", "/send-sse?t=welcome", fields, "")
            .await;
        assert_eq!(before.text().await, "welcome", "as any message");
        drop(before);
        let mut page = browser.follow("/sse", "").await;
        browser.send("/send-sse?t=next").await;
        if is_page {
            assert_eq!(page.text().await, "welcome", "{fields}");
        }
        assert_eq!(page.text().await, "next", "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn missed_messages_come_before_new_ones() {
    const LAST: usize = 8_000;
    let mut all = None;
    let control = start(|server| {
        routes(server, ws(), sse().buffer(2 * LAST).buffer_bytes(64 << 20));
        all = Some(server.channels());
    })
    .await;
    let mut browser = Browser::new(&control);
    let mut id = browser.follow("/sse", "").await.id().await;
    let channel = all.unwrap().all()[0].sse();
    let sending = tokio::spawn(async move {
        for number in 1..=LAST {
            channel.send(number.to_string()).await.unwrap();
            if number % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let mut got = 0;
    while got < LAST {
        let mut events = browser
            .follow("/sse", &format!("last-event-id: {id}\r\n"))
            .await;
        for _ in 0..40.min(LAST - got) {
            let event = events.next().await;
            got += 1;
            assert_eq!(event.data, got.to_string());
            id = event.id;
        }
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn a_client_that_cannot_resume_gets_a_reset_and_goes_on() {
    let control = server(ws(), sse().buffer(2)).await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/sse", "").await;
    let begin = events.id().await;
    browser.send("/send-sse?t=a,b,c,d,e,f").await;
    for text in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(events.text().await, text);
    }
    let now = events.id().await;
    let epoch = now.split('-').next().unwrap();
    let mut foreign = Browser::new(&control);
    let foreign = foreign.follow("/sse", "").await.id().await;
    // Too old, ahead, of another session, and no id at all.
    for id in [
        begin,
        format!("{epoch}-7"),
        format!("{epoch}-18446744073709551615"),
        foreign,
        "x".to_owned(),
        format!("{epoch}-06"),
    ] {
        let mut again = browser
            .follow("/sse", &format!("last-event-id: {id}\r\n"))
            .await;
        let reset = again.next().await;
        assert_eq!((reset.event.as_str(), &reset.id), ("reset", &now), "{id}");
    }
    let mut again = browser
        .follow("/sse", &format!("last-event-id: {now}\r\n"))
        .await;
    browser.send("/send-sse?t=g").await;
    assert_eq!(again.text().await, "g");
}

#[tokio::test]
async fn a_plain_socket_resumes_at_its_last_pong() {
    let control = server(ws().heartbeat(SHORT), sse()).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    browser.send("/send-ws?t=a,b").await;
    assert_eq!(next_text(&mut socket).await, "a");
    assert_eq!(next_text(&mut socket).await, "b");
    // The next ping shows that both have arrived.
    let ping = socket.next_frame().await;
    assert_eq!((ping.opcode, ping.payload.len()), (PING, 16));
    socket.frame(PONG, ping.payload).await;
    socket.say("after the pong").await;
    assert_eq!(browser.send("/recv-ws").await, "after the pong");
    // These are written; no pong confirms them.
    browser.send("/send-ws?t=c,d").await;
    assert_eq!(next_unanswered(&mut socket).await, "c");
    drop(socket);
    browser.send("/send-ws?t=e").await;
    let mut socket = browser.socket("/ws").await;
    for text in ["c", "d", "e"] {
        assert_eq!(next_text(&mut socket).await, text);
    }
}

#[tokio::test]
async fn a_plain_socket_whose_missed_messages_are_gone_is_closed_once() {
    let control = server(ws().buffer(2), sse()).await;
    let mut browser = Browser::new(&control);
    // One client is cut, and one reads on.
    let cut = browser.socket("/ws").await;
    let mut other = browser.follow("/ws", "").await;
    drop(cut);
    for text in ["a", "b", "c", "d", "e"] {
        browser.send(&format!("/send-ws?t={text}")).await;
        assert_eq!(other.text().await, text);
    }
    let mut socket = browser.socket("/ws").await;
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 4010));
    let mut socket = browser.socket("/ws").await;
    browser.send("/send-ws?t=f").await;
    assert_eq!(next_text(&mut socket).await, "f");
}

#[tokio::test]
async fn a_client_that_closes_does_not_come_back_to_its_place() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    browser.send("/send-ws?t=a").await;
    assert_eq!(next_unanswered(&mut socket).await, "a");
    socket.close().await;
    // A page that is loaded anew does the same: new messages wait, and those that were written do not come again.
    browser.send("/send-ws?t=b").await;
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "b");
}

#[tokio::test]
async fn a_counting_socket_gets_each_message_once() {
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    let first: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    assert_eq!(
        (first["offset"].as_u64(), first["reset"].as_bool()),
        (Some(0), Some(false))
    );
    let (epoch, tab) = (field(&first, "epoch"), field(&first, "tab"));
    assert_eq!(field(&first, "id"), format!("{epoch}-0"));
    browser.send("/send-ws?t=a,b,c").await;
    assert_eq!(next_unanswered(&mut socket).await, "a");
    drop(socket);
    browser.send("/send-ws?t=d").await;
    let target = format!("/ws?last_event_id={epoch}-1&tab={tab}");
    let mut socket = browser.socket(&target).await;
    let again: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    assert_eq!(
        (again["offset"].as_u64(), field(&again, "tab")),
        (Some(1), tab)
    );
    for text in ["b", "c", "d"] {
        assert_eq!(next_text(&mut socket).await, text);
    }
    // The same tab once more: the earlier connection has to go.
    let target = format!("/ws?last_event_id={epoch}-4&tab={tab}");
    let mut anew = browser.socket(&target).await;
    next_text(&mut anew).await;
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 4009));
    // The first message tells that messages were lost.
    let mut foreign = browser.socket("/ws?last_event_id=00000000000000aa-1").await;
    let reset: serde_json::Value = serde_json::from_str(&next_text(&mut foreign).await).unwrap();
    assert_eq!(
        (reset["reset"].as_bool(), reset["offset"].as_u64()),
        (Some(true), Some(4))
    );
    browser.send("/send-ws?t=e").await;
    assert_eq!(next_text(&mut anew).await, "e");
    assert_eq!(next_text(&mut foreign).await, "e");
}

#[tokio::test]
async fn ids_move_between_transports() {
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    let first: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
    let (epoch, tab) = (field(&first, "epoch"), field(&first, "tab"));
    browser.send("/send-ws?t=a,b").await;
    assert_eq!(next_text(&mut socket).await, "a");
    drop(socket);
    let mut events = browser
        .follow(
            &format!("/ws?tab={tab}"),
            &format!("last-event-id: {epoch}-1\r\n"),
        )
        .await;
    assert_eq!(events.text().await, "b");
    let posted = browser
        .request("POST", "/ws", "content-type: text/plain\r\n", "from a post")
        .await;
    assert_eq!(posted.status, 204);
    assert_eq!(browser.send("/recv-ws").await, "from a post");
    browser.send("/send-ws?t=c").await;
    let c = events.next().await;
    drop(events);
    browser.send("/send-ws?t=d").await;
    let mut socket = browser
        .socket(&format!("/ws?last_event_id={}&tab={tab}", c.id))
        .await;
    next_text(&mut socket).await;
    assert_eq!(next_text(&mut socket).await, "d");
}

#[tokio::test]
async fn bytes_that_are_no_text_are_binary_events() {
    let control = start(|server| {
        server.at("/ws").get(ws_with(async |ws: WebSocket, _| {
            let _ = ws.send(vec![0xff, 0, 1]).await;
        }));
    })
    .await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/ws", "").await;
    let event = events.next().await;
    assert_eq!(
        (event.event.as_str(), event.data.as_str()),
        ("binary", "/wAB")
    );
}

// ---------------------------------------------------------------- tabs, users, ends

#[tokio::test]
async fn all_tabs_of_a_session_get_a_message_and_no_other_session_does() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    let mut second = browser.socket("/ws").await;
    let mut other = Browser::new(&control);
    let mut foreign = other.socket("/ws").await;
    browser.send("/send-ws?t=mine").await;
    assert_eq!(next_text(&mut socket).await, "mine");
    assert_eq!(next_text(&mut second).await, "mine");
    other.send("/send-ws?t=theirs").await;
    assert_eq!(next_text(&mut foreign).await, "theirs");
}

#[tokio::test]
async fn channels_are_reached_from_outside_by_user_and_session() {
    static REACH: Mutex<Option<Channels>> = Mutex::new(None);
    let control = start(|server| {
        routes(server, ws(), sse());
        *REACH.lock().unwrap() = Some(server.channels());
    })
    .await;
    let channels = REACH.lock().unwrap().clone().unwrap();
    let mut ann = [Browser::new(&control), Browser::new(&control)];
    let mut streams = Vec::new();
    for browser in &mut ann {
        let before = browser.follow("/sse", "").await;
        browser.get("/login?name=ann").await;
        // The channel is the session's, whose id is another now.
        streams.push(before);
    }
    let mut bob = Browser::new(&control);
    bob.get("/login?name=bob").await;
    assert_eq!(channels.user("ann").len(), 2);
    assert_eq!(channels.all().len(), 3);
    for session in channels.user("ann") {
        assert_eq!(session.user().as_deref(), Some("ann"));
        session.sse().send("hello ann").await.unwrap();
        assert!(channels.session(&session.id()).is_some());
    }
    for stream in &mut streams {
        assert_eq!(stream.text().await, "hello ann");
    }
    ann[0].get("/logout").await;
    assert_eq!(channels.user("ann").len(), 1);
    // The session's channel is over, and its stream with it.
    assert!(streams[0].client.chunk().await.is_empty());
}

/// Passes time on the clock that servers see.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn connections_by_a_former_id_end_with_it_and_the_present_one_goes_on() {
    let control = start(|server| {
        let config = server.get_mut_server_config();
        (config.ping_interval, config.pong_timeout) = (None, None);
        config.sse_heartbeat = None;
        routes(server, ws(), sse());
    })
    .await;
    let mut browser = Browser::new(&control);
    browser.get("/login?name=ann").await;
    let mut former = Browser::new(&control);
    former.cookie = browser.cookie.clone();
    // The user is the same, so that the id before is good for another minute.
    browser.get("/login?name=ann").await;
    let mut socket = former.socket("/ws").await;
    let mut events = former.follow("/sse", "").await;
    let mut kept = browser.follow("/ws", "").await;
    browser.send("/send-sse?t=a").await;
    browser.send("/send-ws?t=a").await;
    assert_eq!(next_text(&mut socket).await, "a");
    assert_eq!(kept.text().await, "a");
    let id = events.id().await;
    let before = former.cookie.clone();
    assert_eq!(former.send("/send-sse?t=c").await, "sent");
    assert_eq!(former.cookie, before, "no answer has the present one");
    pass(61).await;
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 1012));
    while !events.client.chunk().await.is_empty() {}
    // Messages that the client misses wait for it; it comes back by the cookie of the renewal.
    browser.send("/send-sse?t=b").await;
    browser.send("/send-ws?t=b").await;
    assert_eq!(kept.text().await, "b");
    let fields = format!("last-event-id: {id}\r\n");
    let mut events = browser.follow("/sse", &fields).await;
    for text in ["a", "c", "b"] {
        assert_eq!(events.text().await, text);
    }
}

#[tokio::test]
async fn a_client_with_an_id_from_before_the_login_is_told_to_reconnect() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    browser.get("/open").await;
    let mut in_flight = Browser::new(&control);
    in_flight.cookie = browser.cookie.clone();
    browser.get("/login?name=ann").await;
    // A channel of its own would miss the messages to the user.
    let mut socket = in_flight.socket("/ws").await;
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 1012));
    for path in ["/ws", "/sse"] {
        let mut events = in_flight.follow(path, "").await;
        assert!(events.client.chunk().await.is_empty(), "{path}");
    }
    assert_ne!(in_flight.cookie, browser.cookie);
    in_flight.cookie = browser.cookie.clone();
    let mut events = in_flight.follow("/sse", "").await;
    browser.send("/send-sse?t=hello").await;
    assert_eq!(events.text().await, "hello");
}

#[tokio::test]
async fn a_channel_that_the_program_closes_stays_closed() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut events = browser.follow("/sse", "").await;
    let id = events.id().await;
    browser.get("/close-sse").await;
    assert!(events.client.chunk().await.is_empty());
    let reply = browser
        .request(
            "GET",
            "/sse",
            &format!("accept: text/event-stream\r\nlast-event-id: {id}\r\n"),
            "",
        )
        .await;
    assert_eq!(reply.status, 204);
    // A page that begins anew is let in.
    browser.follow("/sse", "").await.id().await;

    let mut socket = browser.socket("/ws").await;
    assert_eq!(browser.send("/close-ws").await, "sent");
    let close = socket.next_message().await;
    assert_eq!((close.opcode, close.code()), (CLOSE, 4444));
    assert_eq!(browser.send("/send-ws?t=a").await, "sent");
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "a");
}

// ---------------------------------------------------------------- access

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let control = server(ws().origin("https://friend.example"), sse()).await;
    let mut browser = Browser::new(&control);
    browser.socket("/ws").await;
    let evil = "origin: https://evil.example\r\n";
    for target in ["/sse", "/ws"] {
        let fields = format!("accept: text/event-stream\r\n{evil}");
        assert_eq!(
            browser.request("GET", target, &fields, "").await.status,
            403,
            "{target}"
        );
    }
    assert_eq!(browser.request("POST", "/ws", evil, "x").await.status, 403);
    let mut client = Client::connect(browser.address).await;
    assert_eq!(client.upgrade("/ws", evil).await.status, 403);
    let friend = "origin: https://friend.example\r\n";
    assert_eq!(
        browser.request("POST", "/ws", friend, "x").await.status,
        204
    );
    let mut client = Client::connect(browser.address).await;
    assert_eq!(client.upgrade("/ws", friend).await.status, 101);
}

#[tokio::test]
async fn a_post_needs_an_open_channel() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let reply = browser.request("POST", "/ws", "", "x").await;
    assert_eq!(reply.status, 409);
    assert!(
        reply.all("set-cookie").is_empty(),
        "nothing is begun for it"
    );
    browser.get("/open").await;
    assert_eq!(browser.request("POST", "/ws", "", "x").await.status, 409);
    browser.follow("/ws", "").await.id().await;
    assert_eq!(browser.request("POST", "/ws", "", "x").await.status, 204);
    let mut client = Client::connect(browser.address).await;
    client
        .request(
            "POST",
            "/ws",
            &format!("{}content-length: 1\r\n", browser.fields()),
        )
        .await;
    client.send(b"\xff").await;
    assert_eq!(client.reply().await.status, 400);
}

#[tokio::test]
async fn a_plain_get_of_a_websocket_endpoint_is_426() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let reply = browser.get("/ws").await;
    assert_eq!(
        (reply.status, reply.header("upgrade")),
        (426, Some("websocket"))
    );
    assert_eq!(browser.request("PUT", "/ws", "", "").await.status, 405);
}

#[tokio::test]
async fn connections_that_end_leave_nothing_behind() {
    let control = server(ws().grace(SHORT), sse().grace(SHORT)).await;
    let mut browser = Browser::new(&control);
    for _ in 0..20 {
        drop(browser.socket("/ws").await);
        drop(browser.follow("/sse", "").await);
    }
    eventually("all are gone", || control.connections() == 0).await;
    let ended = browser.send("/recv-ws").await;
    assert!(ended.contains("did not come back"), "{ended}");
}

#[tokio::test]
async fn waiting_messages_are_bounded_by_the_memory_of_sessions() {
    let control = start(|server| {
        server.get_mut_server_config().session_memory = 512 * 1024;
        routes(server, ws(), sse().timeout(SHORT));
    })
    .await;
    let mut live = Browser::new(&control);
    let mut socket = live.socket("/ws").await;
    for _ in 0..200 {
        let mut passing = Browser::new(&control);
        let sent = passing.send("/fill-sse?count=3&size=4000").await;
        assert_eq!(sent, "sent", "the ones before have to go");
    }
    // 12 kB each, so only so many are left, and the live one is among them.
    assert_eq!(live.send("/send-ws?t=still").await, "sent");
    assert_eq!(next_text(&mut socket).await, "still");
    // One client alone cannot have more than there is.
    let mut greedy = Browser::new(&control);
    let refused = greedy.send("/fill-sse?count=20&size=6000").await;
    assert!(refused.starts_with("TimedOut"), "{refused}");
    assert_eq!(live.send("/send-ws?t=and").await, "sent");
    assert_eq!(next_text(&mut socket).await, "and");
}

#[tokio::test]
async fn channels_of_clients_that_connect_and_go_are_bounded_by_the_memory_of_sessions() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    let control = start(|server| {
        server.get_mut_server_config().session_memory = 64 * 1024;
        let counted = async |sse: ServerSentEvents, _| {
            ALIVE.fetch_add(1, Ordering::SeqCst);
            sse.closed().await;
            ALIVE.fetch_sub(1, Ordering::SeqCst);
        };
        routes(server, ws(), sse_with(counted));
    })
    .await;
    let mut live = Browser::new(&control);
    let mut socket = live.socket("/ws").await;
    for _ in 0..200 {
        let mut passing = Browser::new(&control);
        drop(passing.follow("/sse", "").await);
    }
    eventually("all but one are gone", || control.connections() == 1).await;
    eventually("few are waited for", || ALIVE.load(Ordering::SeqCst) < 64).await;
    assert_eq!(live.send("/send-ws?t=still").await, "sent");
    assert_eq!(next_text(&mut socket).await, "still");
}

#[tokio::test]
async fn an_id_of_no_epoch_is_a_reset_and_no_end() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    let mut events = browser
        .follow("/sse?last_event_id=0000000000000000-0", "")
        .await;
    assert_eq!(events.next().await.event, "reset");
}

#[tokio::test]
async fn an_id_of_another_channel_gives_nothing() {
    let control = server(ws(), sse().buffer(4).timeout(SHORT)).await;
    let mut browser = Browser::new(&control);
    browser.send("/send-sse?t=secret").await;
    let mut events = browser.follow("/sse", "").await;
    let own = events.next().await.id;
    let mut stranger = Browser::new(&control);
    let mut theirs = stranger.follow("/sse", "").await;
    let at = theirs.id().await;
    let mut dice = 0x5eed_u64;
    for _ in 0..1000 {
        // The tries are ids of another channel, some with changed characters.
        let mut id = own.clone().into_bytes();
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if dice >> 63 == 1 {
            let place = (dice >> 8) as usize % id.len();
            id[place] = b"0123456789abcdef-"[(dice >> 32) as usize % 17];
        }
        let id = String::from_utf8(id).unwrap();
        let mut again = stranger
            .follow("/sse", &format!("last-event-id: {id}\r\n"))
            .await;
        let reset = again.next().await;
        assert_eq!((reset.event.as_str(), &reset.id), ("reset", &at), "{id}");
    }
}

#[tokio::test]
async fn a_sender_that_waits_fails_when_the_grace_ends() {
    let control = server(
        ws().buffer(1).grace(SHORT).timeout(PATIENCE),
        sse().buffer(1).grace(SHORT).timeout(PATIENCE),
    )
    .await;
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-sse?t=a").await, "sent");
    let ended = browser.send("/send-sse?t=b").await;
    assert_eq!(
        ended,
        "BrokenPipe the channel is over: the client did not come back within 200ms"
    );
    drop(browser.socket("/ws").await);
    assert_eq!(browser.send("/send-ws?t=a").await, "sent");
    let ended = browser.send("/send-ws?t=b").await;
    assert!(ended.starts_with("BrokenPipe"), "{ended}");
}

#[tokio::test]
async fn a_shutdown_tells_every_client_to_come_back_and_loses_nothing_of_its_channel() {
    const CLIENTS: usize = 250;
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        let mut socket = browser.socket("/ws").await;
        next_text(&mut socket).await;
        sockets.push(socket);
    }
    let ending = tokio::spawn({
        let control = control.clone();
        async move { control.shutdown().await }
    });
    for mut socket in sockets {
        let close = socket.next_message().await;
        assert_eq!((close.opcode, close.code()), (CLOSE, 1001));
        socket.frame(CLOSE, 1001_u16.to_be_bytes()).await;
    }
    ending.await.unwrap();
}

#[tokio::test]
async fn a_tab_that_comes_back_over_a_connection_kept_alive_wins() {
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    browser.get("/open").await;
    // A proxy does this, which keeps connections to reuse them.
    let mut kept = Client::connect(browser.address).await;
    let fields = format!("{}content-length: 0\r\n", browser.fields());
    kept.request("GET", "/open", &fields).await;
    assert_eq!(kept.reply().await.status, 200);
    let mut before = browser.socket("/ws?tab=7").await;
    let _ = next_text(&mut before).await;
    let reply = kept.upgrade("/ws?tab=7", &browser.fields()).await;
    assert_eq!(reply.status, 101, "{}", reply.head);
    let first = next_text(&mut kept).await;
    assert!(first.contains(r#""reset":false"#), "{first}");
    assert_eq!(browser.send("/send-ws?t=here").await, "sent");
    assert_eq!(next_text(&mut kept).await, "here");
}

#[tokio::test]
async fn a_head_request_opens_no_stream() {
    let control = plain().await;
    for path in ["/sse", "/ws"] {
        let mut client = Client::connect(address(&control)).await;
        client
            .request(
                "HEAD",
                path,
                "accept: text/event-stream\r\nconnection: close\r\n",
            )
            .await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(client.rest().await, b"", "{path}");
    }
    eventually("all are gone", || control.connections() == 0).await;
    // The refused request takes no waiting message, and the connection goes on.
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-sse?t=one").await, "sent");
    let mut client = Client::connect(browser.address).await;
    client.request("HEAD", "/sse", &browser.fields()).await;
    assert_eq!(client.reply_to(true).await.status, 200);
    client.request("HEAD", "/sse", &browser.fields()).await;
    assert_eq!(client.reply_to(true).await.status, 200);
    assert_eq!(browser.send("/open").await, "false false");
    assert_eq!(browser.follow("/sse", "").await.text().await, "one");
}

#[tokio::test]
async fn an_event_stream_over_http_1_0_is_the_channel() {
    let control = plain().await;
    let mut browser = Browser::new(&control);
    browser.get("/open").await;
    let mut client = Client::connect(browser.address).await;
    client
        .send(format!(
            "GET /sse HTTP/1.0\r\nhost: x\r\n{}\r\n",
            browser.fields()
        ))
        .await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(!head.contains("transfer-encoding"), "{head}");
    client.until(b"\n\n").await;
    assert_eq!(browser.send("/send-sse?t=one").await, "sent");
    let event = String::from_utf8(client.until(b"\n\n").await).unwrap();
    assert!(event.contains("data: one"), "{event}");
}

// ---------------------------------------------------------------- ids without meaning

#[tokio::test]
async fn an_empty_id_is_none_and_no_reset() {
    let control = server(ws().resume_ids(), sse()).await;
    let mut browser = Browser::new(&control);
    browser.get("/open").await;
    for nothing in [
        "",
        "null",
        "undefined",
        "NaN",
        "%6Eull",
        "%22%22",
        "undefined-undefined",
        "null-0",
    ] {
        for (target, fields) in [
            ("/sse".to_owned(), format!("last-event-id: {nothing}\r\n")),
            (format!("/sse?last_event_id={nothing}"), String::new()),
        ] {
            if !fields.is_empty() && nothing.contains('%') {
                continue;
            }
            let mut events = browser.follow(&target, &fields).await;
            browser.send("/send-sse?t=next").await;
            let event = loop {
                let event = events.next().await;
                if event.event != "position" {
                    break event;
                }
            };
            assert_eq!(
                (event.event.as_str(), event.data.as_str()),
                ("message", "next"),
                "{target} {fields}"
            );
        }
        let target = format!("/ws?last_event_id={nothing}&tab={nothing}");
        let mut tabs = Vec::new();
        for _ in 0..2 {
            let mut socket = browser.socket(&target).await;
            let first: serde_json::Value =
                serde_json::from_str(&next_text(&mut socket).await).unwrap();
            assert_eq!(first["reset"].as_bool(), Some(false), "{target}");
            tabs.push((socket, field(&first, "tab").to_owned()));
        }
        assert_ne!(tabs[0].1, tabs[1].1, "no tab has this name");
        browser.send("/send-ws?t=both").await;
        for (mut socket, _) in tabs {
            assert_eq!(next_text(&mut socket).await, "both", "{target}");
            socket.close().await;
        }
    }
    // An empty field does not hide what the query says.
    let mut events = browser.follow("/sse", "").await;
    let id = events.id().await;
    drop(events);
    browser.send("/send-sse?t=missed").await;
    let target = format!("/sse?last_event_id=&last_event_id={id}");
    let mut events = browser.follow(&target, "last-event-id:\r\n").await;
    assert_eq!(events.text().await, "missed");
}

// ---------------------------------------------------------------- pings

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

/// Reads up to a text and answers pings; returns the number of pings.
async fn count_pings(client: &mut Client, text: &str) -> usize {
    let mut pings = 0;
    loop {
        let frame = client.next_frame().await;
        match frame.opcode {
            PING => {
                pings += 1;
                client.frame(PONG, frame.payload).await;
            }
            _ => {
                assert_eq!(frame.text(), text);
                return pings;
            }
        }
    }
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

hook! {
    PingsAndEchoes |stream, ctx| {
        let socket = ctx.upgrade(stream).await.unwrap();
        while let Ok(message) = socket.recv().await {
            socket.ping("of the program").await.unwrap();
            socket.send(message).await.unwrap();
        }
    }
}

#[tokio::test]
async fn answers_to_the_servers_pings_are_free_and_pongs_unasked_for_are_not() {
    const LIMIT: u32 = 5;
    let echo = |pings: bool| {
        ws_with(move |ws: WebSocket, _| async move {
            while let Ok(message) = ws.recv().await {
                if pings {
                    ws.ping("of the program").await.unwrap();
                }
                ws.send(message).await.unwrap();
            }
        })
    };
    let control = start(|server| {
        server.get_mut_server_config().max_control_frames_per_second = LIMIT;
        // Half of the buffer is soon full, so that the channel asks often.
        server.at("/asks").get(echo(false).buffer(2));
        server.at("/pings").get(echo(true));
        server.route::<PingsAndEchoes>("/upgraded");
    })
    .await;
    for path in ["/asks", "/pings", "/upgraded"] {
        let mut socket = Browser::new(&control).socket(path).await;
        let mut pings = 0;
        for number in 0..100 {
            let text = number.to_string();
            socket.say(&text).await;
            pings += count_pings(&mut socket, &text).await;
        }
        assert!(pings > 20, "{path}: {pings}");
        for _ in 0..LIMIT + 100 {
            socket.frame(PONG, "unasked").await;
        }
        let close = socket.next_message().await;
        assert_eq!((close.opcode, close.code()), (CLOSE, 1008), "{path}");
    }
}

#[tokio::test]
async fn a_busy_channel_asks_seldom_and_once_more_when_it_is_quiet() {
    let (control, channels) = reachable(|_| (), ws()).await;
    let mut socket = Browser::new(&control).socket("/ws").await;
    let channel = only(&channels);
    let mut pings = 0;
    for number in 1..=500 {
        let text = number.to_string();
        channel.send(text.as_str()).await.unwrap();
        pings += count_pings(&mut socket, &text).await;
    }
    assert!(pings < 100, "{pings} pings for 500 messages");
    // The last of them asks for all, long before the heartbeat.
    answer_up_to(&mut socket, 500).await;
}

#[tokio::test]
async fn a_client_may_answer_the_latest_ping_alone() {
    let (control, channels) = reachable(|_| (), ws().buffer(4)).await;
    let mut socket = Browser::new(&control).socket("/ws").await;
    let channel = only(&channels);
    channel.send("first").await.unwrap();
    assert_eq!(next_unanswered(&mut socket).await, "first");
    while socket.next_frame().await.opcode != PING {}
    channel.ping("latest").await.unwrap();
    let latest = socket.next_frame().await;
    assert_eq!((latest.opcode, &latest.payload[..]), (PING, &b"latest"[..]));
    socket.frame(PONG, latest.payload).await;
    let sending = send_numbers(channel, 20);
    for number in 1..=20 {
        assert_eq!(next_text(&mut socket).await, number.to_string());
    }
    sending.await.unwrap();
}

// ---------------------------------------------------------------- hooks that do not receive

/// Sends more than fits while the hook does not receive: no later pong is read.
async fn say_unheard(socket: &mut Client) {
    for _ in 0..50 {
        socket.say(&"x".repeat(4096)).await;
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

/// Returns true if the client sees a reset.
async fn is_reset(browser: &mut Browser, target: &str, counts: bool) -> bool {
    let mut socket = browser.socket(target).await;
    if counts {
        let first: serde_json::Value = serde_json::from_str(&next_text(&mut socket).await).unwrap();
        return first["reset"] == true;
    }
    let next = socket.next_message().await;
    (next.opcode, next.code()) == (CLOSE, 4010)
}

#[tokio::test]
async fn a_client_whose_hook_does_not_receive_gets_all_and_a_reset_after_a_cut() {
    const COUNT: u64 = 600;
    for (query, counts) in [("", false), ("?tab=7", false), ("?tab=7", true)] {
        let endpoint = if counts { ws().resume_ids() } else { ws() };
        let (control, channels) = reachable(|_| (), endpoint).await;
        let mut browser = Browser::new(&control);
        let mut socket = browser.socket(&format!("/ws{query}")).await;
        let mut target = format!("/ws{query}");
        if counts {
            let first: serde_json::Value =
                serde_json::from_str(&next_text(&mut socket).await).unwrap();
            target = format!("/ws?tab=7&last_event_id={}-9", field(&first, "epoch"));
        }
        say_unheard(&mut socket).await;
        let channel = only(&channels);
        let sending = send_numbers(channel.clone(), COUNT);
        for number in 1..=COUNT {
            assert_eq!(next_text(&mut socket).await, number.to_string(), "{query}");
        }
        sending.await.unwrap();
        // Messages that left the history cannot come again; the server says so, once.
        drop(socket);
        assert!(is_reset(&mut browser, &target, counts).await, "{query}");
        let mut socket = browser.socket(&format!("/ws{query}")).await;
        if counts {
            next_text(&mut socket).await;
        }
        channel.send("what comes then").await.unwrap();
        assert_eq!(next_text(&mut socket).await, "what comes then", "{query}");
    }
}

#[tokio::test]
async fn a_client_whose_hook_paused_goes_on_as_any() {
    let (control, channels) = reachable(|_| (), ws()).await;
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    let channel = only(&channels);
    for _ in 0..3 {
        say_unheard(&mut socket).await;
        let sending = send_numbers(channel.clone(), 600);
        for number in 1..=600 {
            assert_eq!(next_text(&mut socket).await, number.to_string());
        }
        sending.await.unwrap();
        for _ in 0..50 {
            channel.recv().await.unwrap();
        }
    }
    answer_up_to(&mut socket, 1800).await;
    // So few are still in the history: they come again, as no pong has confirmed them.
    say_unheard(&mut socket).await;
    for text in ["a", "b", "c"] {
        channel.send(text).await.unwrap();
    }
    drop(socket);
    let mut socket = browser.socket("/ws").await;
    assert_eq!(next_text(&mut socket).await, "a");
    assert_eq!(next_text(&mut socket).await, "b");
    assert_eq!(next_text(&mut socket).await, "c");
}

#[tokio::test]
async fn a_tab_whose_hook_does_not_receive_takes_nothing_from_the_others() {
    const COUNT: u64 = 600;
    let (control, channels) = reachable(|_| (), ws()).await;
    let mut browser = Browser::new(&control);
    let mut paused = browser.socket("/ws?tab=1").await;
    let mut plain = browser.socket("/ws?tab=2").await;
    let mut events = browser.follow("/ws", "").await;
    say_unheard(&mut paused).await;
    let sending = send_numbers(only(&channels), COUNT);
    let one = async {
        for number in 1..=COUNT {
            assert_eq!(next_text(&mut paused).await, number.to_string());
        }
    };
    let other = async {
        for number in 1..=COUNT {
            assert_eq!(next_text(&mut plain).await, number.to_string());
        }
    };
    let third = async {
        let mut number = 1;
        while number <= COUNT {
            let event = events.next().await;
            if event.event != "position" {
                assert_eq!(event.data, number.to_string());
                number += 1;
            }
        }
    };
    tokio::join!(one, other, third);
    sending.await.unwrap();
    // The other socket stands at its last pong, at least.
    drop(plain);
    let mut plain = browser.socket("/ws?tab=2").await;
    only(&channels).send("next").await.unwrap();
    while next_text(&mut plain).await != "next" {}
}

#[tokio::test]
async fn program_code_may_ask_the_channel_that_runs_it() {
    let mut reach = None;
    let control = start(|server| {
        routes(server, ws(), sse());
        reach = Some(server.channels());
    })
    .await;
    let channels = reach.unwrap();
    let mut browser = Browser::new(&control);
    let mut socket = browser.socket("/ws").await;
    assert_eq!(browser.send("/send-owned?t=1,2,3").await, "sent");
    // The pongs release them.
    while GONE.load(Ordering::Acquire) < 3 {
        let frame = socket.next_frame().await;
        if frame.opcode == PING {
            socket.frame(PONG, frame.payload).await;
            socket.frame(TEXT, "there?").await;
            browser.get("/recv-ws").await;
        } else {
            assert_eq!(frame.payload, b"owned");
        }
    }
    // Wakers of executors that are not tokio's.
    let channel = only(&channels);
    let asks = std::sync::Arc::new(AsksWhenWoken(channel.clone(), tokio::sync::Notify::new()));
    let waker = std::task::Waker::from(asks.clone());
    {
        let mut receiving = std::pin::pin!(channel.recv());
        let first = receiving
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker));
        assert!(first.is_pending());
        socket.frame(TEXT, "awake").await;
        asks.1.notified().await;
        assert_eq!(receiving.await.unwrap().to_string(), "awake");
    }
    // These messages are dropped with the session.
    drop(socket);
    browser.send("/send-owned?t=4,5").await;
    browser.get("/logout").await;
    // Messages that were written to the connection are dropped when it notices the cut.
    eventually("they go", || GONE.load(Ordering::Acquire) == 5).await;
}

#[tokio::test]
async fn a_log_subscriber_may_ask_the_channel_of_a_line() {
    static ASKED: Mutex<Option<WebSocket>> = Mutex::new(None);
    let listener = || {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(|| {
                let asked = ASKED.lock().unwrap().clone();
                assert!(asked.is_none_or(|channel| !channel.is_open()));
                io::sink()
            })
            .finish()
    };
    // With a single subscriber, `tracing` asks only on the thread that reaches a log statement first if the line is wanted.
    let _another = tracing::Dispatch::new(listener());
    let _listening = tracing::subscriber::set_default(listener());
    let mut reach = None;
    let control = start(|server| {
        routes(server, ws(), sse());
        reach = Some(server.channels());
    })
    .await;
    let mut browser = Browser::new(&control);
    assert_eq!(browser.send("/send-ws?t=lost").await, "sent");
    *ASKED.lock().unwrap() = Some(only(&reach.unwrap()));
    assert_eq!(browser.get("/logout").await.status, 200);
}
