//! A client that floods: in a process of its own, whose resident memory it measures.
//!
//! `FLOOD_SECONDS=30 cargo test --release --test room_flood -- --nocapture --test-threads=1` runs it for longer, prints
//! what the memory does, and compares how long an outsider waits for an answer with and without the flood.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hyperlane::{
    broadcast::{RoomLimits, RoomsConfig},
    prelude::*,
};
use test_support::{Client, PATIENCE, TEXT, address, eventually, frame, handler, start};
use tokio::{io::AsyncReadExt, time::timeout};

/// Members that read.
const MEMBERS: usize = 200;

/// The most that the server's memory may grow by, in KiB.
const MOST: usize = 64 * 1024;

// Joins the room of its path, and publishes what its client says.
handler!(Chats, |stream, ctx| {
    let room = ctx.room("chat").unwrap();
    let accepted = ctx.state::<Accepted>();
    let socket = ctx.upgrade(stream).await.unwrap();
    room.join(&socket).await.unwrap();
    while let Ok(message) = socket.recv().await {
        room.broadcast(message).await.unwrap();
        accepted.0.fetch_add(1, Ordering::AcqRel);
    }
});

// Joins with the whole history, leaves and says so, once for each message of its client.
handler!(ComesAndGoes, |stream, ctx| {
    let room = ctx.room("chat").unwrap();
    let accepted = ctx.state::<Accepted>();
    let socket = ctx.upgrade(stream).await.unwrap();
    while socket.recv().await.is_ok() {
        let join = Join::new().user("flood").history(100);
        // The client has gone.
        let Ok(_) = room.join_with(&socket, join).await else {
            break;
        };
        room.leave(&socket).await;
        room.broadcast("gone").await.unwrap();
        accepted.0.fetch_add(1, Ordering::AcqRel);
    }
});

handler!(Echoes, |stream, ctx| {
    let socket = ctx.upgrade(stream).await.unwrap();
    while let Ok(message) = socket.recv().await {
        socket.send(message).await.unwrap();
    }
});

/// Number of messages that the rooms have accepted.
#[derive(Clone, Default)]
struct Accepted(Arc<AtomicU64>);

/// The resident memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

fn asked_seconds() -> Option<u64> {
    std::env::var("FLOOD_SECONDS").ok()?.parse().ok()
}

fn seconds() -> Duration {
    Duration::from_secs(asked_seconds().unwrap_or(3))
}

/// What an outsider and the memory have done for some time.
#[derive(Default)]
struct Samples {
    echoes: Vec<Duration>,
    /// Resident memory, in KiB.
    memory: Vec<usize>,
}

impl Samples {
    async fn take(echo: &mut Client, time: Duration) -> Self {
        let mut samples = Self::default();
        let begin = Instant::now();
        while begin.elapsed() < time {
            let sent = Instant::now();
            // It fails if the server does not answer in time.
            echo.frame(TEXT, "outside").await;
            assert_eq!(echo.next_message().await.text(), "outside");
            samples.echoes.push(sent.elapsed());
            samples.memory.push(resident());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        samples.echoes.sort_unstable();
        samples
    }

    fn echo(&self, percent: usize) -> Duration {
        self.echoes[self.echoes.len() * percent / 100]
    }
}

/// Sends these bytes again and again on a thread of its own, until the end. Reads what comes, and drops it. The thread
/// returns the connection.
fn flood(
    address: SocketAddr,
    target: &str,
    bytes: Vec<u8>,
    is_over: &Arc<AtomicBool>,
) -> thread::JoinHandle<TcpStream> {
    let (target, is_over) = (target.to_owned(), is_over.clone());
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = stream.try_clone().unwrap();
        let reading = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while reader.read(&mut buffer).is_ok_and(|read| read > 0) {}
        });
        // The server reads as slowly as its rooms take the messages, so a write may not end for long.
        stream
            .set_write_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let mut at = 0;
        while !is_over.load(Ordering::Acquire) {
            if let Ok(written) = stream.write(&bytes[at..]) {
                at = (at + written) % bytes.len();
            }
        }
        // Nothing is sent by this: it ends the other thread.
        stream.shutdown(Shutdown::Read).unwrap();
        reading.join().unwrap();
        stream
    })
}

/// Reads until the last bytes are `end`. Returns the number of bytes before them.
async fn read_until(mut client: Client, end: &[u8]) -> usize {
    let (mut total, mut buffer) = (client.buffer.len(), vec![0; 1 << 16]);
    let mut tail = client.buffer.clone();
    while !tail.ends_with(end) {
        let read = timeout(2 * PATIENCE + seconds(), client.stream.read(&mut buffer)).await;
        let read = read.expect("it gets everything in time").unwrap();
        let last = String::from_utf8_lossy(&tail);
        assert!(read > 0, "a member is disconnected: {last:?}");
        total += read;
        tail.extend_from_slice(&buffer[..read]);
        tail.drain(..tail.len().saturating_sub(end.len()));
    }
    total - end.len()
}

/// Measures the memory while a client floods, with members that read and an outsider that echoes. `length` is the length
/// of the frame that each message of the flood becomes for a member.
async fn measure(
    what: &str,
    target: &str,
    bytes: Vec<u8>,
    length: usize,
    prepare: impl AsyncFnOnce(&Room),
) {
    // A short queue keeps the test short: the members get what is in it after the flood.
    let limits = RoomLimits::default().queue_messages(512);
    let rooms = Rooms::with_config(RoomsConfig::default().limits(limits));
    let accepted = Accepted::default();
    let control = start(|server| {
        server
            .state(rooms.clone())
            .state(accepted.clone())
            .route::<Chats>("/chat")
            .route::<ComesAndGoes>("/comes")
            .route::<Echoes>("/echo");
        // The members answer no pings.
        server.get_mut_server_config().ping_interval = None;
    })
    .await;
    let room = rooms.room("chat").unwrap();
    prepare(&room).await;
    let mut readers = Vec::new();
    for _ in 0..MEMBERS {
        let client = Client::websocket(address(&control), "/chat").await;
        readers.push(tokio::spawn(read_until(client, b"\x81\x07the end")));
    }
    eventually("all have joined", || room.len() == MEMBERS).await;
    let mut echo = Client::websocket(address(&control), "/echo").await;
    let calm = Samples::take(&mut echo, seconds() / 3).await;
    let before = resident();
    let is_over = Arc::new(AtomicBool::new(false));
    let flooding = flood(address(&control), target, bytes, &is_over);
    let flooded = Samples::take(&mut echo, seconds()).await;
    is_over.store(true, Ordering::Release);
    let flooding = tokio::task::spawn_blocking(move || flooding.join().unwrap());
    let stream = flooding.await.unwrap();
    // A reset drops what the hook has not read yet.
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    stream.set_zero_linger().unwrap();
    drop(stream);
    eventually("the hook has returned", || {
        control.connections() == MEMBERS + 1
    })
    .await;
    let ended = accepted.0.load(Ordering::Acquire);
    room.broadcast("the end").await.unwrap();
    let mut lengths = Vec::new();
    for reader in readers {
        lengths.push(reader.await.unwrap());
    }
    let more = |memory: &[usize]| memory.iter().max().unwrap().saturating_sub(before);
    let (early, late) = flooded.memory.split_at(flooded.memory.len() / 2);
    let (early, highest) = (more(early), more(late).max(more(early)));
    println!(
        "{what}: {ended} accepted, {highest} KiB more at most ({early} in the first half); echo: median {:?}, p99 {:?}; \
         without the flood {:?}, {:?}",
        flooded.echo(50),
        flooded.echo(99),
        calm.echo(50),
        calm.echo(99),
    );
    assert!(ended > 1000, "the flood gets through: {ended}");
    let expected = usize::try_from(ended).unwrap() * length;
    assert_eq!(lengths, [expected; MEMBERS], "every member gets all of it");
    assert!(highest < MOST, "{what}: {highest} KiB more");
    control.shutdown().await;
}

/// One test at a time measures.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_flood_of_messages_slows_down_its_sender_and_not_the_members() {
    let _alone = ALONE.lock();
    run(async {
        let message = frame(true, TEXT, "x".repeat(32)).repeat(1000);
        let nothing = async |_: &Room| {};
        measure("messages", "/chat", message, 34, nothing).await;
    });
}

#[test]
fn a_flood_of_joins_with_history_slows_down_its_sender_and_not_the_members() {
    let _alone = ALONE.lock();
    run(async {
        let message = frame(true, TEXT, "again").repeat(1000);
        let history = async |room: &Room| {
            for _ in 0..100 {
                room.broadcast("h".repeat(9000)).await.unwrap();
            }
        };
        measure("joins", "/comes", message, 6, history).await;
    });
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(test);
}
