//! Members that stop reading: in a process of its own, whose memory and processor time it measures.
//!
//! `STALL_SECONDS=300 cargo test --release --test room_stall -- --nocapture --test-threads=1` runs it at full size, with
//! 1000 members, prints what memory and processor do, and holds them against their bars.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyperlane::{
    broadcast::{RoomLimits, RoomsConfig, SlowPolicy},
    prelude::*,
};
use test_support::{PATIENCE, TEXT, address, eventually, handler, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    time::timeout,
};

/// Length of each message: a number, and filling.
const LENGTH: usize = 2048;

/// Length of its frame.
const FRAME: usize = 4 + LENGTH;

/// Messages in a second.
const RATE: u32 = 50;

/// Name of the server's threads.
const SERVED: &str = "served";

const SLOW_BYTES: usize = 4 * 1024 * 1024;
const HISTORY_BYTES: usize = 1024 * 1024;
const OUTBOX_BYTES: usize = 64 * 1024;

handler!(Joins, |stream, ctx| {
    let room = ctx.room("room").unwrap();
    let socket = ctx.upgrade(stream).await.unwrap();
    room.join(&socket).await.unwrap();
    while socket.recv().await.is_ok() {}
});

fn seconds() -> Option<u64> {
    std::env::var("STALL_SECONDS").ok()?.parse().ok()
}

/// The resident memory of this process, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

/// The processor time of the server's threads.
fn served() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let nanos = tasks.flatten().filter_map(|task| {
        let read = |name| fs::read_to_string(task.path().join(name)).ok();
        let is_server = read("comm")?.trim() == SERVED;
        let time = read("schedstat")?.split(' ').next()?.parse::<u64>().ok()?;
        is_server.then_some(time)
    });
    Duration::from_nanos(nanos.sum())
}

/// Connects a member. The kernel takes little for it, so that the server soon notices a stalled one.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request =
        b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap();
        head.push(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

/// Reads the numbers of messages. Calls `each` for each, until it returns false. Returns false if the server has ended
/// the connection.
async fn read_numbers(mut stream: TcpStream, mut each: impl FnMut(u64) -> bool) -> bool {
    let mut frame = vec![0; FRAME];
    let patience = 2 * PATIENCE + Duration::from_secs(seconds().unwrap_or(0));
    loop {
        let head = timeout(patience, stream.read_exact(&mut frame[..4])).await;
        match head.expect("it gets a message in time") {
            Ok(_) if frame[0] == 0x80 | TEXT => {}
            _ => return false,
        }
        let rest = timeout(patience, stream.read_exact(&mut frame[4..])).await;
        if rest.expect("it gets the rest in time").is_err() {
            return false;
        }
        let number = std::str::from_utf8(&frame[4..12]).unwrap();
        if !each(number.parse().unwrap()) {
            return true;
        }
    }
}

struct Stage {
    room: Room,
    next: u64,
    /// Number of messages that the members that read have received.
    received: Arc<AtomicU64>,
    readers: u64,
}

/// What a part of the run has cost.
struct Cost {
    /// The server's processor time for each delivery.
    each: Duration,
    /// The highest memory in each tenth of the part.
    memory: Vec<usize>,
}

impl Stage {
    /// Publishes at the rate for this time.
    async fn publish(&mut self, time: Duration) -> Cost {
        let (begun, before) = (Instant::now(), served());
        let received = self.received.load(Ordering::Acquire);
        let count = RATE * u32::try_from(time.as_secs()).unwrap();
        let mut memory = vec![0; 10];
        for at in 0..count {
            self.publish_one().await;
            let part = &mut memory[usize::try_from(at * 10 / count).unwrap()];
            *part = resident().max(*part);
            tokio::time::sleep_until((begun + time * (at + 1) / count).into()).await;
            // On a busy machine the members that read may be late. Their outboxes would be measured too.
            self.have_received(self.next.saturating_sub(4)).await;
        }
        self.have_received(self.next).await;
        let deliveries = self.received.load(Ordering::Acquire) - received;
        assert_eq!(deliveries, u64::from(count) * self.readers);
        let each = (served() - before) / u32::try_from(deliveries).unwrap();
        Cost { each, memory }
    }

    async fn publish_one(&mut self) {
        let text = format!("{:08}{}", self.next, "x".repeat(LENGTH - 8));
        self.next += 1;
        self.room.broadcast(text).await.unwrap();
    }

    /// Waits until the readers have received this number of messages.
    async fn have_received(&self, messages: u64) {
        eventually("the readers receive everything", || {
            self.received.load(Ordering::Acquire) >= messages * self.readers
        })
        .await;
    }
}

fn runtime(name: &str) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name(name).enable_all();
    builder.build().unwrap()
}

/// Runs the members that read alone, then with others that have stalled. Then those read again, and `end` tells what each
/// has received and whether its connection still lives.
fn measure(policy: SlowPolicy, end: impl Fn(&[u64], bool, u64)) {
    let is_full_size = seconds().is_some();
    let time = Duration::from_secs(seconds().unwrap_or(3));
    let (readers, stalled) = if is_full_size { (900, 100) } else { (90, 10) };
    let limits = RoomLimits::default()
        .slow(policy)
        .slow_bytes(SLOW_BYTES)
        .slow_stall(2 * time + PATIENCE)
        .history_bytes(HISTORY_BYTES)
        .outbox_bytes(OUTBOX_BYTES);
    let rooms = Rooms::with_config(RoomsConfig::default().limits(limits));
    let (server, clients) = (runtime(SERVED), runtime("clients"));
    let control = server.block_on(async {
        // The server's tasks run on its threads alone.
        let rooms = rooms.clone();
        let start = start(move |server| {
            server.state(rooms).route::<Joins>("/");
            let config = server.get_mut_server_config();
            config.ping_interval = None;
            config.send_buffer = Some(16 * 1024);
            // The room decides about its slow members, not the connection.
            config.outbox_stall = 2 * time + PATIENCE;
        });
        start.await
    });
    clients.block_on(async {
        let mut stage = Stage {
            room: rooms.room("room").unwrap(),
            next: 0,
            received: Arc::default(),
            readers,
        };
        let mut tasks = Vec::new();
        for _ in 0..readers {
            let (stream, received) = (connect(address(&control)).await, stage.received.clone());
            tasks.push(tokio::spawn(read_numbers(stream, {
                let mut next = 0;
                move |number| {
                    assert_eq!(number, next, "in order, without gap or duplicate");
                    next += 1;
                    received.fetch_add(1, Ordering::AcqRel);
                    true
                }
            })));
        }
        eventually("the readers have joined", || stage.room.len() as u64 == readers).await;
        // Buffers and tables get their size.
        stage.publish(Duration::from_secs(2)).await;
        let alone = stage.publish(time.min(Duration::from_secs(60))).await;
        let mut sleepers = Vec::new();
        for _ in 0..stalled {
            sleepers.push(connect(address(&control)).await);
        }
        let joined = readers + stalled;
        eventually("all have joined", || stage.room.len() as u64 == joined).await;
        let before = resident();
        let first = stage.next;
        let beside = stage.publish(time).await;
        let sleepers: Vec<_> = { sleepers.into_iter() }
            .map(|stream| {
                let last = stage.next;
                tokio::spawn(async move {
                    let mut numbers = Vec::new();
                    let each = |number| {
                        numbers.push(number);
                        number < last
                    };
                    let is_alive = read_numbers(stream, each).await;
                    (numbers, is_alive)
                })
            })
            .collect();
        stage.publish_one().await;
        let last = stage.next - 1;
        for sleeper in sleepers {
            let (numbers, is_alive) = sleeper.await.unwrap();
            assert_eq!(numbers[0], first);
            assert!(numbers.is_sorted_by(|a, b| a < b), "in order, without duplicate");
            end(&numbers, is_alive, last);
        }
        stage.have_received(stage.next).await;
        let more: Vec<_> = { beside.memory.iter() }
            .map(|memory| memory.saturating_sub(before) / 1024)
            .collect();
        // A message is kept as it was published, and as the frame that all members share.
        let limit = 2 * (SLOW_BYTES + HISTORY_BYTES) + usize::try_from(stalled).unwrap() * OUTBOX_BYTES;
        println!(
            "{policy:?}: {:?} for each delivery alone, {:?} beside {stalled} stalled members; KiB more in tenths of \
             {time:?}: {more:?}, limit {}",
            alone.each,
            beside.each,
            limit / 1024,
        );
        let most = more.iter().max().unwrap() * 1024;
        assert!(most <= limit / 10 * 11, "{most} bytes more");
        if is_full_size {
            assert!(beside.each <= alone.each * 12 / 10, "the others pay for them");
        }
    });
    clients.block_on(async { control.shutdown().await });
}

/// One test at a time measures.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn members_that_stall_cost_the_others_nothing_and_get_the_newest_messages_later() {
    let _alone = ALONE.lock();
    measure(SlowPolicy::DropOldest, |numbers, is_alive, last| {
        assert!(is_alive);
        assert_eq!(numbers.last(), Some(&last));
    });
}

#[test]
fn members_that_stall_beyond_the_limits_cost_the_others_nothing_and_are_closed() {
    let _alone = ALONE.lock();
    measure(SlowPolicy::Disconnect, |numbers, is_alive, last| {
        let is_whole = numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        assert!(is_whole, "nothing is left out before the close");
        assert_eq!(is_alive, numbers.last() == Some(&last));
    });
}
