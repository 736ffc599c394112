//! Heartbeats through an hour of quiet, on a paused clock.

use std::time::Duration;

use hyperlane::prelude::*;
use test_support::{Noted, Notes, PING, PONG, TEXT, frame, handler, notes, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep, timeout},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

handler!(Listens, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    loop {
        match socket.recv().await {
            Ok(message) => {
                notes.note(format!("{:?}", socket.latency()));
                socket.send(message).await.unwrap();
            }
            Err(error) => {
                notes.note(format!("{:?}", error.kind()));
                break;
            }
        }
    }
});

handler!(Pours, |stream, ctx| {
    let notes = ctx.state::<Notes>();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    // The message is larger than the transport holds, so that the rest waits in the outbox.
    socket.send(vec![7; 100_000]).await.unwrap();
    while let Ok(message) = socket.recv().await {
        notes.note(message);
    }
    notes.note("over");
});

handler!(Events, |stream, ctx| {
    let events = ctx.event_stream(stream).await.unwrap();
    events.closed().await;
});

/// A connection in memory: a socket would not follow a paused clock.
struct Quiet {
    stream: DuplexStream,
    buffer: Vec<u8>,
    // Keeps the server alive.
    _control: ServerControlHook,
}

impl Quiet {
    async fn connect(path: &str, configure: impl FnOnce(&mut ServerConfig)) -> (Self, Noted) {
        let (says, noted) = notes();
        let control = start(|server| {
            server
                .state(says)
                .route::<Listens>("/")
                .route::<Pours>("/pours")
                .route::<Events>("/events");
            configure(server.get_mut_server_config());
        })
        .await;
        let (stream, served) = tokio::io::duplex(4096);
        control.serve(served, None).await;
        let mut quiet = Self {
            stream,
            buffer: Vec::new(),
            _control: control,
        };
        let upgrade = if path == "/events" {
            ""
        } else {
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        };
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{upgrade}\r\n");
        quiet.stream.write_all(head.as_bytes()).await.unwrap();
        while !quiet.buffer.ends_with(b"\r\n\r\n") {
            let byte = quiet.exactly(1).await.expect("a head")[0];
            quiet.buffer.insert(0, byte);
            quiet.buffer.rotate_left(1);
        }
        quiet.buffer.clear();
        (quiet, noted)
    }

    /// Reads without a time limit; `None` at the end.
    async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await.ok()?;
        Some(bytes)
    }

    /// Reads a frame of at most 125 bytes; `None` at the end.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.exactly(2).await?;
        assert!(head[1] < 126, "{head:?}");
        Some((head[0] & 0x0f, self.exactly(usize::from(head[1])).await?))
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let frame = frame(true, opcode, payload);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Asserts that the connection is alive; returns the latency that the server measured.
    async fn latency(&mut self, noted: &mut Noted) -> String {
        self.send(TEXT, b"alive").await;
        assert_eq!(self.frame().await, Some((TEXT, b"alive".to_vec())));
        noted.next().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_is_kept_through_an_hour_of_quiet() {
    let (mut quiet, mut noted) = Quiet::connect("/", |_| {}).await;
    assert_eq!(quiet.latency(&mut noted).await, "None");
    let start = Instant::now();
    let mut payloads = Vec::new();
    while start.elapsed() < HOUR {
        let (opcode, payload) = quiet.frame().await.expect("it is kept");
        assert_eq!(opcode, PING);
        sleep(Duration::from_millis(30)).await;
        quiet.send(PONG, &payload).await;
        payloads.push(payload);
    }
    // A ping comes every 25 s; the clock's ticks round that up.
    assert!((138..=144).contains(&payloads.len()), "{}", payloads.len());
    payloads.dedup();
    assert!(payloads.len() >= 138, "each ping has a payload of its own");
    // Nothing runs while the clock stands, so that the latency is the time that the client took.
    let latency = quiet.latency(&mut noted).await;
    assert!(
        latency == "Some(30ms)" || latency == "Some(31ms)",
        "{latency}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_answering_is_gone_after_ping_and_pong_time() {
    let (mut quiet, mut noted) = Quiet::connect("/", |_| {}).await;
    for _ in 0..3 {
        let (opcode, payload) = quiet.frame().await.unwrap();
        assert_eq!(opcode, PING);
        quiet.send(PONG, &payload).await;
    }
    let last = Instant::now();
    assert_eq!(quiet.frame().await.unwrap().0, PING);
    assert_eq!(quiet.frame().await, None);
    let gone = last.elapsed();
    assert!(
        (Duration::from_secs(45)..Duration::from_secs(46)).contains(&gone),
        "{gone:?}"
    );
    assert_eq!(noted.next().await, "ConnectionReset");
}

#[tokio::test(start_paused = true)]
async fn an_unsolicited_pong_shows_life_but_no_latency() {
    let (mut quiet, mut noted) = Quiet::connect("/", |_| {}).await;
    for _ in 0..10 {
        assert_eq!(quiet.frame().await.unwrap().0, PING);
        quiet.send(PONG, b"something else").await;
    }
    assert_eq!(quiet.latency(&mut noted).await, "None");
}

#[tokio::test(start_paused = true)]
async fn a_pong_may_take_longer_than_the_next_ping() {
    let (mut quiet, mut noted) = Quiet::connect("/", |config| {
        config.ping_interval = Some(Duration::from_secs(1));
        config.pong_timeout = Some(Duration::from_secs(10));
    })
    .await;
    for _ in 0..5 {
        let (opcode, payload) = quiet.frame().await.unwrap();
        assert_eq!(opcode, PING);
        // One ping waits for one pong: no second one comes meanwhile.
        sleep(Duration::from_secs(8)).await;
        quiet.send(PONG, &payload).await;
    }
    assert!(quiet.latency(&mut noted).await.starts_with("Some(8"));
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_on_the_pong_a_silent_client_is_pinged_and_kept() {
    let (mut quiet, mut noted) = Quiet::connect("/", |config| config.pong_timeout = None).await;
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < HOUR {
        assert_eq!(quiet.frame().await.expect("it is kept").0, PING);
        pings += 1;
    }
    assert!((138..=144).contains(&pings), "{pings}");
    assert_eq!(quiet.latency(&mut noted).await, "None");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_that_are_off_send_nothing_in_an_hour() {
    let (mut quiet, mut noted) = Quiet::connect("/", |config| config.ping_interval = None).await;
    timeout(HOUR, quiet.frame())
        .await
        .expect_err("nothing came");
    assert_eq!(quiet.latency(&mut noted).await, "None");

    let (mut quiet, _noted) = Quiet::connect("/events", |config| config.sse_heartbeat = None).await;
    timeout(HOUR, quiet.exactly(1))
        .await
        .expect_err("nothing came");
    let (mut quiet, _noted) = Quiet::connect("/events", |_| {}).await;
    timeout(HOUR, quiet.exactly(1))
        .await
        .expect("by default a comment comes");
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_ping_waits_behind_a_large_message_is_not_taken_for_dead() {
    let (mut quiet, mut noted) = Quiet::connect("/pours", |_| {}).await;
    // The client reads a kilobyte in ten seconds: slow, but never without progress, for a quarter of an hour.
    for _ in 0..90 {
        sleep(Duration::from_secs(10)).await;
        quiet.exactly(1_000).await.expect("it is kept");
    }
    // The rest of the message comes with its head of ten bytes, and then the ping.
    quiet.exactly(10_010).await.unwrap();
    let (opcode, payload) = quiet.frame().await.unwrap();
    assert_eq!(opcode, PING);
    quiet.send(PONG, &payload).await;
    quiet.send(TEXT, b"alive").await;
    assert_eq!(noted.next().await, "alive");
}
