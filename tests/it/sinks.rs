//! Sinks as members of rooms, without a hyperlane server.

use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, Sink, sink};
use hyperlane::{
    CloseCode, Message,
    broadcast::{Join, RoomLimits, Rooms, RoomsConfig, SinkMember, SlowPolicy},
};
use test_support::{CLOSE, Client, eventually};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel, unbounded_channel},
};

#[path = "../../examples/axum_rooms/main.rs"]
#[allow(dead_code, reason = "its `main` is not ours")]
mod axum_rooms;

/// Returns the text of a message, or the code of a Close.
fn text(message: Message) -> Option<String> {
    Some(match message {
        Message::Close(frame) => format!("close {}", u16::from(frame?.code)),
        text => text.to_str().ok()?.to_owned(),
    })
}

/// A sink that is slow as long as a channel is full.
fn slow_sink(sender: Sender<String>) -> impl Sink<String, Error = impl fmt::Display> + Send {
    sink::unfold(sender, async |sender, item| {
        sender.send(item).await.map(|()| sender)
    })
}

/// A member whose messages the test receives.
fn member(rooms: &Rooms) -> (SinkMember, UnboundedReceiver<String>) {
    let (sender, receiver) = unbounded_channel();
    let sink = sink::unfold(sender, async |sender, item| {
        sender.send(item).map(|()| sender)
    });
    (rooms.sink(sink, text), receiver)
}

fn slow_member(rooms: &Rooms) -> (SinkMember, Receiver<String>) {
    let (sender, receiver) = channel(1);
    (rooms.sink(slow_sink(sender), text), receiver)
}

fn small(policy: SlowPolicy) -> RoomsConfig {
    let limits = RoomLimits::default()
        .history_messages(0)
        .outbox_bytes(200)
        .slow_messages(20)
        .slow(policy)
        .missed_notice(|missed| format!("missed {missed}"));
    RoomsConfig::default().limits(limits)
}

// ---------------------------------------------------------------- axum

async fn axum_chat(config: RoomsConfig) -> (SocketAddr, Rooms) {
    let rooms = Rooms::builder()
        .config(config)
        .on(tokio::runtime::Handle::current())
        .build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum_rooms::app(rooms.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, rooms)
}

#[tokio::test]
async fn websockets_of_axum_chat_in_a_room() {
    let (address, rooms) = axum_chat(RoomsConfig::default()).await;
    let room = rooms.room("lobby").unwrap();
    let mut ada = Client::websocket(address, "/chat/lobby").await;
    eventually("ada joins", || room.len() == 1).await;
    ada.say("hello").await;
    assert_eq!(ada.next_message().await.text(), "hello");
    let mut bob = Client::websocket(address, "/chat/lobby").await;
    assert_eq!(bob.next_message().await.text(), "hello");
    bob.say("hi").await;
    for client in [&mut ada, &mut bob] {
        assert_eq!(client.next_message().await.text(), "hi");
    }
    bob.frame(CLOSE, 1000u16.to_be_bytes()).await;
    assert_eq!(ada.next_message().await.text(), "a member has left");
    assert_eq!(room.len(), 1);
    ada.reset();
    eventually("ada leaves", || room.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_of_axum_that_reads_too_slowly_is_closed_with_1013() {
    let (address, rooms) = axum_chat(small(SlowPolicy::Disconnect)).await;
    let room = rooms.room("lobby").unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut slow = Client {
        stream: socket.connect(address).await.unwrap(),
        buffer: Vec::new(),
    };
    assert_eq!(slow.upgrade("/chat/lobby", "").await.status, 101);
    eventually("it joins", || room.len() == 1).await;
    let filler = "x".repeat(64 * 1024);
    let mut sent = 0;
    eventually("it is no member any more", || {
        sent += usize::from(room.try_broadcast(format!("{sent} {filler}")).is_ok());
        room.is_empty()
    })
    .await;
    for number in 0.. {
        let frame = slow.next_message().await;
        if frame.opcode == CLOSE {
            assert_eq!(frame.code(), 1013);
            break;
        }
        assert!(frame.text().starts_with(&format!("{number} ")));
    }
}

// ---------------------------------------------------------------- order and ends

#[tokio::test]
async fn messages_of_rooms_and_own_ones_come_in_the_order_of_sending() {
    let rooms = Rooms::new();
    let (member, mut received) = member(&rooms);
    let room = rooms.room("a").unwrap();
    room.join(&member).await.unwrap();
    assert_eq!(room.members()[0].id, member.id());
    let mut expected = Vec::new();
    for number in 0..300 {
        let text = number.to_string();
        match number % 3 {
            1 => member.send(&text).unwrap(),
            _ => _ = room.broadcast(&text).await.unwrap(),
        }
        expected.push(text);
    }
    let other = rooms.room("b").unwrap();
    other.join(&member).await.unwrap();
    room.broadcast_event("named", &1).await.unwrap();
    expected.push(r#"{"event":"named","data":1}"#.to_owned());
    room.broadcast_except(&member, "not for it").await.unwrap();
    room.broadcast("bye").await.unwrap();
    member.close(CloseCode::GOING_AWAY, "");
    assert!(!member.is_open() && member.send("late").is_err());
    member.closed().await;
    expected.extend(["bye".to_owned(), "close 1001".to_owned()]);
    for expected in expected {
        assert_eq!(received.recv().await, Some(expected));
    }
    assert_eq!(received.recv().await, None, "the sink is dropped");
    assert!(room.is_empty() && other.is_empty());
    assert!(room.join(&member).await.is_err());
}

#[tokio::test]
async fn a_member_leaves_when_it_is_dropped_or_its_sink_fails_or_panics() {
    let rooms = Rooms::new();
    let room = rooms.room("room").unwrap();
    let (watcher, mut received) = member(&rooms);
    room.join(&watcher).await.unwrap();
    for how in ["dropped", "failed", "panicked"] {
        let (sender, receiver) = unbounded_channel();
        let sink = sink::unfold(
            sender,
            async |sender: tokio::sync::mpsc::UnboundedSender<_>, item| {
                sender.send(item).map(|()| sender)
            },
        );
        let leaves = rooms.sink(sink, move |message| {
            assert_ne!(how, "panicked", "the test wants it");
            text(message)
        });
        let join = Join::new().farewell(format!("{how} and gone"));
        room.join_with(&leaves, join).await.unwrap();
        match how {
            "dropped" => drop(leaves),
            _ => {
                drop(receiver);
                room.broadcast("try").await.unwrap();
                assert_eq!(received.recv().await.unwrap(), "try");
                leaves.closed().await;
                assert!(!leaves.is_open());
            }
        }
        assert_eq!(received.recv().await.unwrap(), format!("{how} and gone"));
        assert_eq!(room.len(), 1);
    }
}

/// A sink that never takes anything.
struct Stuck(Arc<AtomicBool>);

impl Sink<String> for Stuck {
    type Error = std::convert::Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }

    fn start_send(self: Pin<&mut Self>, _: String) -> Result<(), Self::Error> {
        unreachable!()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[tokio::test]
async fn a_closed_sink_has_a_limited_time() {
    let config = RoomsConfig::default().sink_close_timeout(Duration::from_millis(50));
    let rooms = Rooms::with_config(config);
    let is_dropped = Arc::new(AtomicBool::new(false));
    let stuck = rooms.sink(Stuck(is_dropped.clone()), text);
    let room = rooms.room("room").unwrap();
    room.join(&stuck).await.unwrap();
    room.broadcast("never taken").await.unwrap();
    assert!(!is_dropped.load(Ordering::Acquire));
    drop(stuck);
    eventually("the sink is dropped", || is_dropped.load(Ordering::Acquire)).await;
    assert!(room.is_empty());
}

// ---------------------------------------------------------------- slow sinks

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_sink_follows_the_policy_of_the_room() {
    for policy in [
        SlowPolicy::Disconnect,
        SlowPolicy::DropOldest,
        SlowPolicy::DropNewest,
        SlowPolicy::Conflate,
    ] {
        let rooms = Rooms::with_config(small(policy));
        let room = rooms.room("room").unwrap();
        let (slow, mut received) = slow_member(&rooms);
        let (quick, mut all) = member(&rooms);
        room.join(&slow).await.unwrap();
        room.join(&quick).await.unwrap();
        let publisher = room.publisher().key("key");
        for number in 0..100 {
            publisher.broadcast(number.to_string()).await.unwrap();
            assert_eq!(all.recv().await.unwrap(), number.to_string());
        }
        let mut numbers = Vec::new();
        let mut other = loop {
            let text = received.recv().await.unwrap();
            match text.parse::<usize>() {
                Ok(number) => numbers.push(number),
                Err(_) => break text,
            }
        };
        match policy {
            SlowPolicy::Disconnect => {
                assert_eq!(other, "close 1013");
                eventually("it has left", || room.len() == 1).await;
                continue;
            }
            SlowPolicy::DropOldest => {
                assert_eq!(other, format!("missed {}", 80 - numbers.len()));
                for number in 80..100 {
                    assert_eq!(received.recv().await.unwrap(), number.to_string());
                }
            }
            SlowPolicy::DropNewest => {
                assert_eq!(other, format!("missed {}", 100 - numbers.len()));
            }
            _ => {
                assert_eq!(numbers.pop(), Some(99));
                assert_eq!(other, format!("missed {}", 99 - numbers.len()));
            }
        }
        assert!(numbers.len() < 50, "{policy:?}");
        assert!(numbers.iter().copied().eq(0..numbers.len()));
        room.broadcast("next").await.unwrap();
        other = received.recv().await.unwrap();
        assert_eq!(other, "next", "{policy:?}");
    }
}

// ---------------------------------------------------------------- runtimes

#[test]
fn sinks_work_without_any_runtime() {
    let rooms = Rooms::new();
    let (sender, received) = std::sync::mpsc::channel();
    let sink = sink::unfold(sender, async |sender: std::sync::mpsc::Sender<_>, item| {
        sender.send(item).map(|()| sender)
    });
    let member = rooms.sink(sink, text);
    let room = rooms.room("room").unwrap();
    room.join(&member).now_or_never().unwrap().unwrap();
    for number in 0..10 {
        room.try_broadcast(number.to_string()).unwrap();
        assert_eq!(received.recv().unwrap(), number.to_string());
    }
    drop(member);
    assert_eq!(received.recv().unwrap(), "close 1000");
    assert!(received.recv().is_err());
}

#[test]
fn sinks_end_with_their_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rooms = Rooms::on(runtime.handle().clone());
    let room = rooms.room("room").unwrap();
    let (member, _received) = member(&rooms);
    room.join(&member).now_or_never().unwrap().unwrap();
    assert_eq!(room.len(), 1);
    drop(runtime);
    assert!(room.is_empty() && !member.is_open());
    let (late, _received) = self::member(&rooms);
    assert!(!late.is_open());
}
