//! What a publish costs its caller in a large room, and what a storm of joins receives: in a process of its own, which has
//! many connections.
//!
//! `ROOM_MEMBERS=9500 ROOM_JOINS=10000 cargo test --release --test room_publish -- --nocapture --test-threads=1` runs it
//! at full size, prints the times and holds them against their bars. A connection takes two descriptors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hyperlane::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use test_support::{Client, PATIENCE, TEXT, address, eventually, handler, start};
use tokio::{io::AsyncReadExt, time::timeout};

/// The most processor time that a publish may take from its caller, at the 99th percentile.
const MOST: Duration = Duration::from_micros(30);

/// The longest that a publish may wait for a lock.
const LONGEST_WAIT: Duration = Duration::from_micros(100);

/// Length of each text: a letter or digit for the room, and a number.
const LENGTH: usize = 8;

/// Number of earlier messages that a member of the storm asks for.
const HISTORY: usize = 50;

// Joins the room.
handler!(Listens, |stream, ctx| {
    let room = ctx.room("news").unwrap();
    let socket = ctx.upgrade(stream).await.unwrap();
    room.join(&socket).await.unwrap();
    while socket.recv().await.is_ok() {}
});

// Joins two rooms when its client says so. Tells after each join where the history begins.
handler!(JoinsTwo, |stream, ctx| {
    let rooms = ["storm0", "storm1"].map(|name| ctx.room(name).unwrap());
    let socket = ctx.upgrade(stream).await.unwrap();
    socket.recv().await.unwrap();
    for (room, mark) in rooms.iter().zip(["a", "b"]) {
        let join = Join::new().history(HISTORY);
        let joined = room.join_with(&socket, join).await.unwrap();
        let text = format!("{mark}{:07}", joined.after.number);
        socket.send(text).await.unwrap();
    }
    while socket.recv().await.is_ok() {}
});

fn setting(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// Reads texts, and calls `each` for each of them until it returns false.
async fn read_texts(mut client: Client, mut each: impl FnMut(&str) -> bool) {
    let mut buffer = vec![0; 4096];
    let mut have = client.buffer.len();
    buffer[..have].copy_from_slice(&client.buffer);
    loop {
        let mut at = 0;
        while have - at >= 2 + LENGTH {
            assert_eq!(buffer[at..at + 2], [0x80 | TEXT, LENGTH as u8]);
            let text = std::str::from_utf8(&buffer[at + 2..at + 2 + LENGTH]).unwrap();
            if !each(text) {
                return;
            }
            at += 2 + LENGTH;
        }
        buffer.copy_within(at..have, 0);
        have -= at;
        let read = timeout(2 * PATIENCE, client.stream.read(&mut buffer[have..])).await;
        let read = read.expect("it gets everything in time").unwrap();
        assert!(read > 0, "a member is disconnected");
        have += read;
    }
}

fn number(text: &str) -> u64 {
    text[1..].parse().unwrap()
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

/// How often this thread has given up its processor to wait for something.
fn waits() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or(0)
}

/// What publishes have cost.
#[derive(Default)]
struct Costs {
    processor: Vec<Duration>,
    /// The longest time of a publish in which the thread has waited.
    longest_wait: Duration,
}

impl Costs {
    fn publish(&mut self, room: &Room, number: u64) {
        let text = format!("n{number:07}");
        let (waits_before, begun) = (waits(), Instant::now());
        let before = processor_time();
        room.try_broadcast(text).unwrap();
        self.processor.push(processor_time() - before);
        let took = begun.elapsed();
        if waits() > waits_before {
            self.longest_wait = self.longest_wait.max(took);
        }
    }

    /// Prints the costs. Returns whether they are within the bars.
    fn print(mut self, what: &str) -> bool {
        self.processor.sort_unstable();
        let at = |percent: usize| self.processor[(self.processor.len() - 1) * percent / 100];
        println!(
            "{what}: {} publishes, processor time: median {:?}, p99 {:?}, most {:?}; longest with a wait {:?}",
            self.processor.len(),
            at(50),
            at(99),
            at(100),
            self.longest_wait,
        );
        at(99) <= MOST && self.longest_wait <= LONGEST_WAIT
    }
}

/// One test at a time measures.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_publish_costs_its_caller_little_however_many_members_there_are() {
    const ASLEEP: u64 = 200;
    const AWAKE: u64 = 1000;
    let _alone = ALONE.lock();
    let members = setting("ROOM_MEMBERS");
    let is_full_size = members.is_some();
    let members = members.unwrap_or(100);
    run(async {
        let rooms = Rooms::new();
        let control = start(|server| {
            server.state(rooms.clone()).route::<Listens>("/");
            server.get_mut_server_config().ping_interval = None;
        })
        .await;
        let room = rooms.room("news").unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let mut readers = Vec::new();
        for _ in 0..members {
            let client = Client::websocket(address(&control), "/").await;
            let received = received.clone();
            readers.push(tokio::spawn(async move {
                let mut last = 0;
                let each = |text: &str| {
                    last += 1;
                    assert_eq!(number(text), last, "in order, without gap or duplicate");
                    received.fetch_add(1, Ordering::Relaxed);
                    last < ASLEEP + AWAKE
                };
                read_texts(client, each).await;
            }));
        }
        eventually("all have joined", || room.len() == members).await;
        // A plain thread, because a task's thread also runs other tasks.
        let publishing = thread::spawn(move || {
            let (mut asleep, mut awake) = (Costs::default(), Costs::default());
            for number in 1..=ASLEEP {
                asleep.publish(&room, number);
                while received.load(Ordering::Relaxed) < number * members as u64 {
                    thread::sleep(Duration::from_millis(1));
                }
                // The hubs and the threads of the runtime go to sleep.
                thread::sleep(Duration::from_millis(5));
            }
            for number in ASLEEP + 1..=ASLEEP + AWAKE {
                awake.publish(&room, number);
                thread::sleep(Duration::from_micros(500));
            }
            (asleep, awake)
        });
        let (asleep, awake) = tokio::task::spawn_blocking(|| publishing.join().unwrap())
            .await
            .unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
        let asleep = asleep.print("hubs asleep");
        let awake = awake.print("hubs at work");
        if is_full_size {
            assert!(asleep && awake, "a publish costs too much");
        }
        control.shutdown().await;
    });
}

#[test]
fn a_storm_of_joins_receives_history_and_messages_without_gap_or_duplicate() {
    let _alone = ALONE.lock();
    let members = setting("ROOM_JOINS").unwrap_or(400) / 2;
    run(async {
        let rooms = Rooms::new();
        let control = start(|server| {
            server.state(rooms.clone()).route::<JoinsTwo>("/");
            server.get_mut_server_config().ping_interval = None;
        })
        .await;
        let names = ["storm0", "storm1"];
        let both = names.map(|name| rooms.room(name).unwrap());
        let is_over = Arc::new(AtomicBool::new(false));
        let publishers: Vec<_> = { both.iter().cloned().enumerate() }
            .map(|(index, room)| {
                let is_over = is_over.clone();
                tokio::spawn(async move {
                    let mut number = 0;
                    while !is_over.load(Ordering::Acquire) || number < 200 {
                        number += 1;
                        let text = format!("{index}{number:07}");
                        let published = room.broadcast(text).await.unwrap();
                        assert_eq!(published.offset.number, number);
                        if number > HISTORY as u64 {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                    room.broadcast(format!("{index}9999999")).await.unwrap();
                    number
                })
            })
            .collect();
        let mut clients = Vec::new();
        for _ in 0..members {
            clients.push(Client::websocket(address(&control), "/").await);
        }
        eventually("there is a history", || {
            both.iter()
                .all(|room| room.offset().number > HISTORY as u64)
        })
        .await;
        let begun = Instant::now();
        let members: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                tokio::spawn(async move {
                    client.frame(TEXT, "go").await;
                    let mut firsts = [None; 2];
                    let mut lasts = [0; 2];
                    let mut marks = 0;
                    let each = |text: &str| {
                        let number = number(text);
                        match text.as_bytes()[0] {
                            mark @ (b'a' | b'b') => {
                                let room = usize::from(mark - b'a');
                                // The mark comes after the history.
                                assert_eq!(firsts[room], Some(number + 1));
                                assert!(lasts[room] >= number + HISTORY as u64);
                                marks += 1;
                            }
                            room => {
                                let room = usize::from(room - b'0');
                                let first = *firsts[room].get_or_insert(number);
                                if number == 9_999_999 {
                                    assert!(first < number, "it has received a history");
                                } else if number > first {
                                    assert_eq!(number, lasts[room] + 1, "no gap, no duplicate");
                                }
                                lasts[room] = match number {
                                    9_999_999 => u64::MAX - lasts[room],
                                    number => number,
                                };
                            }
                        }
                        lasts.iter().any(|last| *last < u64::MAX / 2)
                    };
                    read_texts(client, each).await;
                    assert_eq!(marks, 2);
                    lasts.map(|last| u64::MAX - last)
                })
            })
            .collect();
        let count = members.len();
        eventually("all have joined", || {
            both.iter().all(|room| room.len() == count)
        })
        .await;
        let took = begun.elapsed();
        is_over.store(true, Ordering::Release);
        let mut ends = [0; 2];
        for (index, publisher) in publishers.into_iter().enumerate() {
            ends[index] = publisher.await.unwrap();
        }
        for member in members {
            assert_eq!(
                member.await.unwrap(),
                ends,
                "it has the last message of each room"
            );
        }
        println!(
            "{} joins in {took:.1?}, during {ends:?} messages",
            2 * count
        );
        control.shutdown().await;
    });
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(test);
}
