//! Clients that are cut at any byte, in any state, and come back: they receive what was sent.
//!
//! `HYPERLANE_CUTS` says how many cuts (`cargo xtask cuts` makes 10 000); `HYPERLANE_SEED` replays a run.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hyperlane::{
    prelude::*,
    proto::sse::{EventReader, ReceivedEvent},
    session::{Channels, SessionChannels, SessionId},
    sse, ws,
};
use test_support::{PATIENCE, PING, PONG, TEXT, address, frame, hook, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Number of cuts in a run of `cargo test`.
const FEW: u64 = 400;

/// Number of tests that share the cuts.
const TESTS: u64 = 7;

/// Pseudo-random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

hook! {
    // Begins the session.
    Begin |_, ctx| {
        let id = ctx.session().id();
        ctx.state::<tokio::sync::mpsc::UnboundedSender<SessionId>>().send(id).unwrap();
    }
}

/// Way in which a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Events,
    Counting,
    /// Counts, and at times reads events.
    Switching,
    Plain,
    /// Plain, with the name of its tab.
    Named,
}

impl Reads {
    fn is_plain(self) -> bool {
        matches!(self, Self::Plain | Self::Named)
    }
}

/// A connection until its cut.
struct Wire {
    stream: TcpStream,
    /// Bytes until the cut, in each direction.
    down: u64,
    up: u64,
    buffer: Vec<u8>,
}

/// The connection is over.
struct Cut;

impl Wire {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        let taken = usize::try_from(self.up).map_or(bytes.len(), |up| up.min(bytes.len()));
        self.up -= taken as u64;
        let sent = self.stream.write_all(&bytes[..taken]).await;
        if sent.is_err() || taken < bytes.len() {
            return Err(Cut);
        }
        Ok(())
    }

    /// Reads more; bytes behind the cut are never seen.
    async fn fill(&mut self) -> Result<(), Cut> {
        if self.down == 0 {
            return Err(Cut);
        }
        let mut piece = [0; 512];
        let most = piece
            .len()
            .min(usize::try_from(self.down).unwrap_or(usize::MAX));
        let read = timeout(PATIENCE, self.stream.read(&mut piece[..most]));
        match read.await.expect("the server goes on") {
            Ok(count) if count > 0 => {
                self.down -= count as u64;
                self.buffer.extend(&piece[..count]);
                Ok(())
            }
            _ => Err(Cut),
        }
    }

    async fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, Cut> {
        loop {
            let found = self
                .buffer
                .windows(end.len())
                .position(|window| window == end);
            if let Some(at) = found {
                return Ok(self.buffer.drain(..at + end.len()).collect());
            }
            self.fill().await?;
        }
    }

    async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Cut> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    async fn frame(&mut self) -> Result<(u8, Vec<u8>), Cut> {
        let head = self.exactly(2).await?;
        assert!(head[1] < 126, "short messages");
        let payload = self.exactly(usize::from(head[1])).await?;
        Ok((head[0] & 0x0f, payload))
    }
}

/// A client and all that it has received.
struct Client {
    reads: Reads,
    /// The name of its channel.
    name: Option<&'static str>,
    address: SocketAddr,
    cookie: String,
    dice: Dice,
    tab: String,
    id: Option<(String, u64)>,
    /// The number that must come next; for a plain socket, the first that is missing.
    expected: u64,
    doubled: u64,
    resets: u64,
    cuts: u64,
}

impl Client {
    async fn connect(&mut self, is_last: bool) -> Result<(Wire, bool), Cut> {
        // Mostly something is read; at times not even the head.
        let down = match self.dice.below(4) {
            0 => self.dice.below(400),
            _ => 250 + self.dice.below(4000),
        };
        let up = match self.dice.below(8) {
            0 => self.dice.below(300),
            _ => 300 + self.dice.below(600),
        };
        let (down, up) = if is_last {
            (u64::MAX, u64::MAX)
        } else {
            (down, up)
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut wire = Wire {
            stream,
            down,
            up,
            buffer: Vec::new(),
        };
        let by_events = match self.reads {
            Reads::Events => true,
            Reads::Switching => self.dice.below(2) == 0,
            Reads::Counting | Reads::Plain | Reads::Named => false,
        };
        let path = match self.reads {
            Reads::Events => "/sse",
            Reads::Plain | Reads::Named => "/plain",
            Reads::Counting | Reads::Switching => "/ws",
        };
        let path = match self.name {
            Some(name) => format!("{path}/{name}"),
            None => path.to_owned(),
        };
        let query = match &self.id {
            Some((epoch, offset)) if !self.reads.is_plain() => {
                format!("?last_event_id={epoch}-{offset}&tab={}", self.tab)
            }
            _ if self.reads == Reads::Plain => String::new(),
            _ => format!("?tab={}", self.tab),
        };
        let fields = match by_events {
            true => "accept: text/event-stream\r\n",
            false => {
                "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
        };
        let head = format!(
            "GET {path}{query} HTTP/1.1\r\nhost: localhost\r\ncookie: {}\r\n{fields}\r\n",
            self.cookie
        );
        wire.send(head.as_bytes()).await?;
        let answer = wire.until(b"\r\n\r\n").await?;
        let answer = String::from_utf8(answer).unwrap();
        let status = if by_events { "200" } else { "101" };
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        Ok((wire, by_events))
    }

    /// Runs one connection: it ends by a cut, or when all was read.
    async fn session(&mut self, last: Option<u64>) -> Result<(), Cut> {
        let (mut wire, by_events) = self.connect(last.is_some()).await?;
        if by_events {
            self.read_events(&mut wire, last).await
        } else {
            self.read_socket(&mut wire, last).await
        }
    }

    fn is_done(&self, last: Option<u64>) -> bool {
        last.is_some_and(|last| self.expected > last)
    }

    async fn read_events(&mut self, wire: &mut Wire, last: Option<u64>) -> Result<(), Cut> {
        let mut reader = EventReader::new();
        let mut events = Vec::new();
        while !self.is_done(last) {
            let size = wire.until(b"\r\n").await?;
            let size =
                usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
            if size == 0 {
                return Err(Cut);
            }
            let chunk = wire.exactly(size + 2).await?;
            reader.push(&chunk[..size], &mut events).unwrap();
            // An id counts only with data, and so in an event, as in Firefox and WebKit.
            for event in events.drain(..) {
                self.event(&event);
            }
        }
        Ok(())
    }

    fn note_id(&mut self, id: &str) {
        if let Some((epoch, offset)) = id.split_once('-') {
            self.id = Some((epoch.to_owned(), offset.parse().unwrap()));
        }
    }

    fn event(&mut self, event: &ReceivedEvent) {
        match event.event.as_str() {
            "position" => return self.note_id(&event.id),
            "reset" => {
                self.note_id(&event.id);
                return self.reset();
            }
            _ => {}
        }
        self.message(&event.data);
        self.note_id(&event.id);
        let offset = self.id.as_ref().unwrap().1;
        assert_eq!(offset, self.expected - 1, "the id is the number");
    }

    /// The server tells the client that it missed messages, and its position.
    fn reset(&mut self) {
        self.resets += 1;
        self.expected = self.id.as_ref().unwrap().1 + 1;
    }

    fn message(&mut self, text: &str) {
        let number = match self.name {
            Some(name) => {
                let (channel, number) = text.split_once(':').unwrap();
                assert_eq!(channel, name, "a message of another channel");
                number
            }
            None => text,
        };
        self.number(number.parse().unwrap());
    }

    fn number(&mut self, number: u64) {
        if self.reads.is_plain() {
            assert!(
                number <= self.expected,
                "{} is missing before {number}",
                self.expected
            );
            self.doubled += u64::from(number < self.expected);
            self.expected = self.expected.max(number + 1);
        } else {
            assert_eq!(number, self.expected, "once and in order");
            self.expected += 1;
        }
    }

    async fn read_socket(&mut self, wire: &mut Wire, last: Option<u64>) -> Result<(), Cut> {
        let mut is_first = !self.reads.is_plain();
        while !self.is_done(last) {
            let (opcode, payload) = wire.frame().await?;
            match opcode {
                PING => {
                    wire.send(&frame(true, PONG, &payload)).await?;
                }
                TEXT if is_first => {
                    is_first = false;
                    let first: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                    self.note_id(first["id"].as_str().unwrap());
                    self.tab = first["tab"].as_str().unwrap().to_owned();
                    if first["reset"] == true {
                        self.reset();
                    }
                }
                TEXT => {
                    self.message(std::str::from_utf8(&payload).unwrap());
                    if let Some((_, offset)) = &mut self.id {
                        *offset += 1;
                    }
                }
                other => panic!("opcode {other}: {payload:?}"),
            }
        }
        Ok(())
    }
}

/// A server and a session at it.
struct Place {
    control: ServerControlHook,
    cookie: String,
    channels: SessionChannels,
}

/// The buffer of named channels has room for all that a client may miss, so that no client is reset.
const NAMED_BUFFER: usize = 1 << 24;

async fn begin() -> Place {
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let mut reach: Option<Channels> = None;
    let control = start(|server| {
        server.state(begun).route::<Begin>("/begin");
        let beat = Duration::from_millis(100);
        let socket = || ws().heartbeat(beat).timeout(PATIENCE);
        // Both are channels of the same kind; a client uses one of them.
        server.at("/ws").get(socket().resume_ids());
        server.at("/plain").get(socket());
        server.at("/sse").get(sse().timeout(PATIENCE));
        let large = || {
            let socket = socket().buffer(NAMED_BUFFER).buffer_bytes(NAMED_BUFFER);
            socket.named("socket-{name}")
        };
        server.at("/ws/{name}").get(large().resume_ids());
        server.at("/plain/{name}").get(large());
        server.at("/sse/{name}").get(
            sse()
                .timeout(PATIENCE)
                .buffer(NAMED_BUFFER)
                .buffer_bytes(NAMED_BUFFER)
                .named("{name}"),
        );
        reach = Some(server.channels());
    })
    .await;
    let mut begin = test_support::Client::connect(address(&control)).await;
    let reply = begin.get("/begin").await;
    let cookie = reply.all("set-cookie")[0]
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let id = begins.recv().await.unwrap();
    let channels = reach.unwrap().session(&id).unwrap();
    Place {
        control,
        cookie,
        channels,
    }
}

/// Sends a number on the channel of a client.
async fn send(channels: &SessionChannels, reads: Reads, name: Option<&str>, number: u64) {
    let sent = match (reads, name) {
        (Reads::Events, None) => channels.sse().send(number.to_string()).await,
        (_, None) => channels.ws().send(number.to_string()).await,
        (Reads::Events, Some(name)) => {
            let channel = channels.channel(name).sse().unwrap();
            channel.send(format!("{name}:{number}")).await
        }
        (_, Some(name)) => {
            let channel = channels.channel(format!("socket-{name}")).ws().unwrap();
            channel.send(format!("{name}:{number}")).await
        }
    };
    sent.unwrap();
}

async fn run(reads: Reads, cuts: u64, seed: u64) -> Client {
    let place = begin().await;
    let client = follow(&place, reads, None, cuts, seed).await;
    place.control.shutdown().await;
    client
}

/// Sends numbers on a channel, and cuts its client until the client has been cut often enough. Then lets the client
/// read the rest.
async fn follow(
    place: &Place,
    reads: Reads,
    name: Option<&'static str>,
    cuts: u64,
    seed: u64,
) -> Client {
    let mut client = Client {
        reads,
        name,
        address: address(&place.control),
        cookie: place.cookie.clone(),
        dice: Dice(seed),
        tab: "7".to_owned(),
        id: None,
        expected: 1,
        doubled: 0,
        resets: 0,
        cuts: 0,
    };
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let sending = tokio::spawn({
        let (stop, sent, mut dice) = (stop.clone(), sent.clone(), Dice(!seed));
        let channels = place.channels.clone();
        async move {
            while !stop.load(Ordering::Acquire) {
                let number = sent.load(Ordering::Acquire) + 1;
                send(&channels, reads, name, number).await;
                sent.store(number, Ordering::Release);
                if dice.below(8) == 0 {
                    tokio::time::sleep(Duration::from_millis(dice.below(3))).await;
                } else {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    while client.cuts < cuts {
        let _ = client.session(None).await;
        client.cuts += 1;
    }
    stop.store(true, Ordering::Release);
    // The sender may wait for the client to read.
    while !sending.is_finished() {
        let last = client.expected;
        let _ = timeout(Duration::from_millis(200), client.session(Some(last))).await;
    }
    sending.await.unwrap();
    let last = sent.load(Ordering::Acquire);
    while !client.is_done(Some(last)) {
        let _ = client.session(Some(last)).await;
    }
    assert_eq!(client.expected, last + 1);
    println!(
        "{reads:?} {}: {} cuts, {last} messages, {} doubled, {} resets",
        name.unwrap_or_default(),
        client.cuts,
        client.doubled,
        client.resets
    );
    client
}

fn settings() -> (u64, u64) {
    let read = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let cuts = read("HYPERLANE_CUTS").unwrap_or(FEW) / TESTS;
    let seed = read("HYPERLANE_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64
    });
    println!("HYPERLANE_SEED={seed}");
    (cuts, seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_gets_all_once_or_a_reset() {
    let (cuts, seed) = settings();
    run(Reads::Events, cuts, seed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counting_socket_gets_all_once() {
    let (cuts, seed) = settings();
    let client = run(Reads::Counting, cuts, seed).await;
    assert_eq!(client.resets, 0, "what is not acknowledged is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_changes_its_transport_gets_all_once_or_a_reset() {
    let (cuts, seed) = settings();
    run(Reads::Switching, cuts, seed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_socket_misses_nothing() {
    let (cuts, seed) = settings();
    let client = run(Reads::Plain, cuts, seed).await;
    assert_eq!(client.resets, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_socket_that_names_its_tab_misses_nothing() {
    let (cuts, seed) = settings();
    let client = run(Reads::Named, cuts, seed).await;
    assert_eq!(client.resets, 0);
}

/// Four channels of one session, each with a client of its own, at the same time.
async fn run_four(reads: [Reads; 4]) {
    let (cuts, seed) = settings();
    let place = Arc::new(begin().await);
    let names = ["run-1", "run-2", "run-3", "run-4"];
    let clients = names.into_iter().zip(reads).zip(0..);
    let running = clients.map(|((name, reads), number)| {
        let place = place.clone();
        let seed = seed.wrapping_add(number);
        tokio::spawn(async move { follow(&place, reads, Some(name), cuts / 4, seed).await })
    });
    for client in running.collect::<Vec<_>>() {
        let client = client.await.unwrap();
        assert_eq!(client.resets, 0, "{:?}", client.name);
    }
    place.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_named_event_streams_get_all_of_their_own_once() {
    run_four([Reads::Events; 4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_named_channels_by_all_transports_get_all_of_their_own() {
    run_four([
        Reads::Events,
        Reads::Counting,
        Reads::Switching,
        Reads::Named,
    ])
    .await;
}
