//! Rooms under a random load: publishers, members that read slowly, cut their connection, leave and join again. All that
//! the members have received is kept, and compared with the order of each room afterwards.
//!
//! `cargo xtask soak` runs it for long. `HYPERLANE_SEED` replays the plan of a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    collections::HashMap,
    env,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::{Buf, BytesMut};
use hyperlane::prelude::*;
use test_support::{CLOSE, Client, TEXT, address, frame, handler, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// The size of a run.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    publishers: usize,
    messages: usize,
    rooms: usize,
    members: usize,
    rooms_of_a_member: usize,
    /// True if members also leave rooms and join them again at once.
    rejoins: bool,
}

/// Random numbers (xorshift64*). A seed gives the same numbers on each machine.
struct Random(u64);

impl Random {
    fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self((seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        (0..8).for_each(|_| _ = random.next());
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit
    }
}

// Joins and leaves rooms as its client says: `join <room> <offset or ->`, `leave <room>`.
handler!(Follows, |stream, ctx| {
    let rooms = ctx.rooms();
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    while let Ok(message) = socket.recv().await {
        let text = message.to_str().unwrap();
        let mut words = text.split(' ');
        let (what, name) = (words.next().unwrap(), words.next().unwrap());
        let room = rooms.room(name).unwrap();
        let told = match what {
            "join" => {
                let join = match words.next().unwrap() {
                    "-" => Join::new(),
                    offset => Join::new().since(offset.parse().unwrap()),
                };
                if socket.send(format!("joining {name}")).await.is_err() {
                    break;
                }
                let Ok(joined) = room.join_with(&socket, join).await else {
                    break;
                };
                let is_gap = u8::from(joined.is_gap);
                socket
                    .send(format!("joined {name} {} {is_gap}", joined.after))
                    .await
            }
            _ => {
                room.leave(&socket).await;
                socket.send(format!("left {name}")).await
            }
        };
        if told.is_err() {
            break;
        }
    }
});

/// What a member has received in a room without an interruption.
#[derive(Debug, Default)]
struct Episode {
    /// The offset after which it begins, and whether the room has told of a gap. `None` if the connection was cut before
    /// the room has told it.
    after: Option<(Offset, bool)>,
    messages: Vec<u32>,
}

/// A client, and what it has received.
struct Member {
    address: SocketAddr,
    random: Random,
    rooms: Vec<usize>,
    stream: TcpStream,
    buffer: BytesMut,
    /// The episodes of each room, in order.
    episodes: HashMap<usize, Vec<Episode>>,
    rejoins: bool,
    cuts: usize,
    closes: usize,
}

impl Member {
    async fn connect(address: SocketAddr) -> (TcpStream, BytesMut) {
        let client = Client::websocket(address, "/").await;
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        buffer.extend_from_slice(&client.buffer);
        (client.stream, buffer)
    }

    /// Connects again, and asks for what it has missed. Half of the time it forgets what it had.
    async fn reconnect(&mut self) {
        (self.stream, self.buffer) = Self::connect(self.address).await;
        for room in self.rooms.clone() {
            let last = self
                .episodes
                .get(&room)
                .and_then(|episodes| episodes.last());
            let since = last
                .and_then(Episode::last)
                .filter(|_| self.random.below(2) == 0);
            self.say(&join(room, since)).await;
        }
    }

    async fn say(&mut self, text: &str) {
        // A server that has closed the connection may refuse the text. The reader notices the end.
        let _ = self.stream.write_all(&frame(true, TEXT, text)).await;
    }

    /// Takes what has arrived. Returns false if the connection has ended.
    fn take_frames(&mut self) -> bool {
        loop {
            let [first, second, rest @ ..] = &*self.buffer else {
                return true;
            };
            let (head, length) = match (second, rest) {
                (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
                (126 | 127, _) => return true,
                (length, _) => (2, usize::from(*length)),
            };
            if self.buffer.len() < head + length {
                return true;
            }
            let opcode = first & 15;
            self.buffer.advance(head);
            let payload = self.buffer.split_to(length);
            match opcode {
                TEXT => self.note(std::str::from_utf8(&payload).unwrap()),
                CLOSE => {
                    assert_eq!(
                        payload[..2],
                        1013u16.to_be_bytes(),
                        "the reason is slowness"
                    );
                    self.closes += 1;
                    return false;
                }
                _ => {}
            }
        }
    }

    fn note(&mut self, text: &str) {
        let mut words = text.split(' ');
        let (first, second) = (words.next().unwrap(), words.next().unwrap());
        let room = |name: &str| name.strip_prefix("room").unwrap().parse::<usize>().unwrap();
        match first {
            "joining" => self
                .episodes
                .entry(room(second))
                .or_default()
                .push(Episode::default()),
            "joined" => {
                let after = words.next().unwrap().parse().unwrap();
                let is_gap = words.next().unwrap() == "1";
                self.last(room(second)).after = Some((after, is_gap));
            }
            "left" => {}
            name => {
                let message = second.parse().unwrap();
                self.last(room(name)).messages.push(message);
            }
        }
    }

    fn last(&mut self, room: usize) -> &mut Episode {
        self.episodes.get_mut(&room).unwrap().last_mut().unwrap()
    }

    /// Reads what arrives within 20 ms. Returns false if the connection has ended.
    async fn read(&mut self) -> bool {
        match timeout(
            Duration::from_millis(20),
            self.stream.read_buf(&mut self.buffer),
        )
        .await
        {
            Ok(Ok(read @ 1..)) => {
                debug_assert!(read > 0);
                self.take_frames()
            }
            Ok(_) => false,
            Err(_) => true,
        }
    }

    /// Plays its part until the publishers are done, and then reads all that is left.
    async fn run(mut self, done: Arc<AtomicBool>) -> Self {
        self.reconnect().await;
        while !done.load(Ordering::Acquire) {
            if !self.read().await {
                self.reconnect().await;
            }
            match self.random.below(150) {
                0..4 => sleep(Duration::from_millis(self.random.below(300) as u64)).await,
                4 => {
                    self.cuts += 1;
                    self.reconnect().await;
                }
                5..8 if self.rejoins => {
                    let room = self.rooms[self.random.below(self.rooms.len())];
                    self.say(&format!("leave room{room}")).await;
                    self.say(&join(room, None)).await;
                }
                _ => {}
            }
        }
        self
    }

    /// Reads until each room's last message has arrived.
    async fn finish(&mut self, last: &HashMap<usize, u64>) {
        let until = Instant::now() + Duration::from_secs(60);
        let is_complete = |member: &Self| {
            member.rooms.iter().all(|room| {
                let episode = member
                    .episodes
                    .get(room)
                    .and_then(|episodes| episodes.last());
                let number = episode.and_then(Episode::last).map(|offset| offset.number);
                number == last.get(room).copied()
            })
        };
        while !is_complete(self) {
            assert!(
                Instant::now() < until,
                "a member waits for its last message: {:?}",
                self.rooms
            );
            if !self.read().await {
                self.reconnect().await;
            }
        }
    }
}

impl Episode {
    /// Returns the offset of the last message.
    fn last(&self) -> Option<Offset> {
        let (after, _) = self.after?;
        let number = after.number + self.messages.len() as u64;
        Some(Offset { number, ..after })
    }
}

fn join(room: usize, since: Option<Offset>) -> String {
    let since = since.map_or("-".to_owned(), |offset| offset.to_string());
    format!("join room{room} {since}")
}

/// Compares what a member has received with the order of the room. Returns the number of messages.
fn check(room: usize, episodes: &[Episode], truth: &HashMap<u64, u32>) -> usize {
    let mut reached = 0;
    for (at, episode) in episodes.iter().enumerate() {
        let Some((after, _)) = episode.after else {
            // The connection was cut before the room has told the place.
            continue;
        };
        assert!(
            after.number >= reached || episode.messages.is_empty() || at > 0,
            "room {room}: an episode begins before the last one"
        );
        for (number, message) in (after.number + 1..).zip(&episode.messages) {
            let place = |message: &u32| truth.iter().find(|(_, known)| *known == message);
            assert_eq!(
                truth.get(&number),
                Some(message),
                "room {room}, episode {at}, after {after}, message {number}: received {:?}, before {:?}",
                episode
                    .messages
                    .iter()
                    .take(5)
                    .map(place)
                    .collect::<Vec<_>>(),
                at.checked_sub(1)
                    .and_then(|at| episodes.get(at))
                    .map(|before| (
                        before.after,
                        before.messages.len(),
                        before.messages.last().and_then(place)
                    ))
            );
        }
        reached = after.number + episode.messages.len() as u64;
    }
    episodes.iter().map(|episode| episode.messages.len()).sum()
}

async fn run(plan: Plan) {
    println!("{plan:?}");
    let rooms = Rooms::new();
    let control = start(|server| {
        server.state(rooms.clone()).route::<Follows>("/");
    })
    .await;
    let address = address(&control);
    let done = Arc::new(AtomicBool::new(false));
    let mut members = Vec::new();
    for index in 0..plan.members {
        let mut random = Random::new(plan.seed, index as u64 + 1);
        let mut own = Vec::new();
        while own.len() < plan.rooms_of_a_member {
            let room = random.below(plan.rooms);
            if !own.contains(&room) {
                own.push(room);
            }
        }
        let (stream, buffer) = Member::connect(address).await;
        let member = Member {
            address,
            random,
            rooms: own,
            stream,
            buffer,
            episodes: HashMap::new(),
            rejoins: plan.rejoins,
            cuts: 0,
            closes: 0,
        };
        members.push(tokio::spawn(member.run(done.clone())));
    }
    let truth: Arc<Vec<Mutex<HashMap<u64, u32>>>> =
        Arc::new((0..plan.rooms).map(|_| Mutex::default()).collect());
    let begun = SystemTime::now();
    let reached = Arc::new(AtomicUsize::new(0));
    let publishers: Vec<_> = (0..plan.publishers)
        .map(|publisher| {
            let (rooms, truth, reached) = (rooms.clone(), truth.clone(), reached.clone());
            let mut random = Random::new(plan.seed, 1_000_000 + publisher as u64);
            tokio::spawn(async move {
                let handles: Vec<_> = (0..plan.rooms)
                    .map(|room| rooms.room(format!("room{room}")).unwrap())
                    .collect();
                for number in 0..plan.messages / plan.publishers {
                    let message = u32::try_from(publisher << 24 | number).unwrap();
                    let room = random.below(plan.rooms);
                    let text = format!("room{room} {message}");
                    let published = handles[room].broadcast(text).await.unwrap();
                    reached.fetch_add(published.members, Ordering::Relaxed);
                    truth[room]
                        .lock()
                        .unwrap()
                        .insert(published.offset.number, message);
                    if number % 20 == 0 {
                        sleep(Duration::from_millis(2)).await;
                    }
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let published_in = begun.elapsed().unwrap();
    done.store(true, Ordering::Release);
    let truth: Vec<HashMap<u64, u32>> = truth
        .iter()
        .map(|truth| std::mem::take(&mut *truth.lock().unwrap()))
        .collect();
    let last: HashMap<usize, u64> = truth
        .iter()
        .enumerate()
        .map(|(room, truth)| (room, truth.keys().max().copied().unwrap_or(0)))
        .collect();
    let (mut checked, mut cuts, mut closes, mut episodes) = (0, 0, 0, 0);
    let mut finishing = Vec::new();
    for member in members {
        let last = last.clone();
        finishing.push(tokio::spawn(async move {
            let mut member = member.await.unwrap();
            member.finish(&last).await;
            member
        }));
    }
    for member in finishing {
        let member = member.await.unwrap();
        for (room, parts) in &member.episodes {
            checked += check(*room, parts, &truth[*room]);
            episodes += parts.len();
        }
        cuts += member.cuts;
        closes += member.closes;
    }
    println!(
        "{} messages in {published_in:.1?}, {} deliveries asked for, {checked} received and in order; \
         {episodes} memberships, {cuts} cuts, {closes} closes for slowness; all done after {:.1?}",
        plan.messages,
        reached.load(Ordering::Relaxed),
        begun.elapsed().unwrap()
    );
    assert!(checked > 0);
}

fn read(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_members_sequence_is_the_rooms_order() {
    let seed = read("HYPERLANE_SEED").unwrap_or_else(|| {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("HYPERLANE_SEED={seed}");
    let small = Plan {
        seed,
        publishers: 4,
        messages: 20_000,
        rooms: 10,
        members: 40,
        rooms_of_a_member: 3,
        rejoins: true,
    };
    let large = Plan {
        seed,
        publishers: 8,
        messages: 500_000,
        rooms: 50,
        members: 500,
        rooms_of_a_member: 5,
        rejoins: true,
    };
    match read("HYPERLANE_SOAK_MINUTES") {
        None => run(small).await,
        Some(minutes) => {
            let until = Instant::now() + Duration::from_secs(60 * minutes);
            let mut round = 0;
            while round == 0 || Instant::now() < until {
                let seed = seed.wrapping_add(round);
                run(Plan { seed, ..large }).await;
                round += 1;
            }
        }
    }
}
