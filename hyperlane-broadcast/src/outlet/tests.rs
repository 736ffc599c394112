use std::{
    sync::atomic::{AtomicBool, AtomicUsize},
    task::Wake,
};

use super::*;

/// A barrier that a test opens, and that keeps the tickets.
#[derive(Default)]
struct Gate {
    is_shut: AtomicBool,
    tickets: Mutex<Vec<u64>>,
}

impl Barrier for Gate {
    fn is_clear(&self) -> bool {
        !self.is_shut.load(Ordering::Acquire)
    }

    fn hold(&self, ticket: u64) {
        self.tickets.lock().unwrap().push(ticket);
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn text(message: &Message) -> String {
    match message {
        Message::Close(Some(frame)) => format!("close {}", u16::from(frame.code)),
        text => text.to_str().unwrap().to_owned(),
    }
}

/// Takes all that is queued.
fn taken(queue: &SinkQueue) -> Vec<String> {
    let context = Context::from_waker(Waker::noop());
    std::iter::from_fn(|| match queue.next(&context) {
        Next::Send(message) => Some(text(&message)),
        _ => None,
    })
    .collect()
}

fn shut(queue: &SinkQueue) -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    gate.is_shut.store(true, Ordering::Release);
    queue.add_barrier(gate.clone());
    gate
}

#[test]
fn own_messages_and_the_close_wait_for_what_is_on_its_way() {
    let queue = SinkQueue::new(1024, None);
    let gate = shut(&queue);
    queue.send("own 1".into()).unwrap();
    queue
        .deliver(&"room 1".into(), 1024, PastHeld::Yes)
        .unwrap();
    queue.send("own 2".into()).unwrap();
    queue.close(CloseCode::NORMAL, "", false);
    assert_eq!(queue.send("late".into()), Err(PushError::Closed));
    assert!(!queue.is_open());
    queue
        .deliver(&"room 2".into(), 1024, PastHeld::Yes)
        .unwrap();
    assert_eq!(taken(&queue), ["room 1", "room 2"]);
    assert_eq!(*gate.tickets.lock().unwrap(), [1, 2, 3]);
    queue.release(1);
    assert_eq!(taken(&queue), ["own 1"]);
    queue
        .deliver(&"room 3".into(), 1024, PastHeld::Yes)
        .unwrap();
    queue.release(3);
    assert_eq!(taken(&queue), ["room 3", "own 2", "close 1000"]);
    let delivered = queue.deliver(&"late".into(), 1024, PastHeld::Yes);
    assert_eq!(delivered, Err(Undelivered::Closed));
    assert_eq!(Arc::strong_count(&gate), 1, "the queue has dropped it");
}

#[test]
fn a_queue_takes_messages_up_to_its_limits() {
    let queue = SinkQueue::new(100, None);
    let long = Message::from("x".repeat(1000));
    queue.deliver(&long, 0, PastHeld::Yes).unwrap();
    assert_eq!(
        queue.deliver(&"x".into(), 100, PastHeld::Yes),
        Err(Undelivered::Full)
    );
    assert_eq!(queue.send("x".into()), Err(PushError::Full));
    taken(&queue);
    let gate = shut(&queue);
    queue.send(long.clone()).unwrap();
    assert_eq!(
        queue.send("x".into()),
        Err(PushError::Full),
        "held ones count"
    );
    queue.deliver(&"x".into(), 0, PastHeld::Yes).unwrap();
    assert_eq!(
        queue.deliver(&"x".into(), 0, PastHeld::Yes),
        Err(Undelivered::Full)
    );
    queue.deliver(&"x".into(), 100, PastHeld::Yes).unwrap();
    drop(gate);
}

#[test]
fn messages_of_rooms_do_not_overtake_held_ones_unless_they_may() {
    let queue = SinkQueue::new(1024, None);
    let _gate = shut(&queue);
    let released = Arc::new(Count::default());
    let waker = Waker::from(released.clone());
    assert!(queue.poll_released(&waker));
    queue.send("own".into()).unwrap();
    let room = Message::from("room");
    assert_eq!(
        queue.deliver(&room, 1024, PastHeld::No),
        Err(Undelivered::Held)
    );
    assert!(!queue.poll_released(&waker));
    queue.release(1);
    assert_eq!(released.get(), 1);
    queue.deliver(&room, 1024, PastHeld::No).unwrap();
    assert_eq!(taken(&queue), ["own", "room"]);
    queue.send("own".into()).unwrap();
    assert!(!queue.poll_released(&waker));
    queue.close(CloseCode::NORMAL, "", true);
    assert_eq!(released.get(), 2);
}

#[test]
fn wakers_wake_when_the_queue_has_drained_or_closed() {
    let queue = SinkQueue::new(1024, None);
    let drained = Arc::new(Count::default());
    let waker = Waker::from(drained.clone());
    assert!(queue.poll_drained(0, &waker));
    queue.deliver(&"x".into(), 1024, PastHeld::Yes).unwrap();
    queue.deliver(&"y".into(), 1024, PastHeld::Yes).unwrap();
    assert!(!queue.poll_drained(weight(&"y".into()), &waker));
    let context = Context::from_waker(Waker::noop());
    assert!(matches!(queue.next(&context), Next::Send(_)));
    assert_eq!(drained.get(), 1);
    assert!(!queue.poll_drained(0, &waker));
    queue.close(CloseCode::NORMAL, "", false);
    assert_eq!(drained.get(), 2);
    assert!(queue.poll_drained(0, &waker));
}

#[test]
fn the_pump_is_woken_once_for_many_messages() {
    let queue = SinkQueue::new(1024, None);
    let pump = Arc::new(Count::default());
    let waker = Waker::from(pump.clone());
    let context = Context::from_waker(&waker);
    assert_eq!(queue.next(&context), Next::Flush);
    queue.deliver(&"x".into(), 1024, PastHeld::Yes).unwrap();
    queue.deliver(&"x".into(), 1024, PastHeld::Yes).unwrap();
    assert_eq!(pump.get(), 1);
    assert!(matches!(queue.next(&context), Next::Send(_)));
    // The pump waits for the sink.
    queue.deliver(&"x".into(), 1024, PastHeld::Yes).unwrap();
    assert_eq!(pump.get(), 1);
    queue.close(CloseCode::NORMAL, "", true);
    assert_eq!(pump.get(), 2);
    assert_eq!(taken(&queue), ["close 1000"]);
    assert_eq!(queue.next(&context), Next::Close);
}

#[test]
fn hooks_run_once_when_deliveries_end() {
    for drop_unsent in [false, true] {
        let queue = SinkQueue::new(1024, None);
        let gate = shut(&queue);
        let count = Arc::new(Count::default());
        let hook = |count: &Arc<Count>| {
            let count = count.clone();
            move || count.wake()
        };
        queue.on_closed(Box::new(hook(&count)));
        queue.close(CloseCode::NORMAL, "", false);
        assert_eq!(count.get(), 0, "messages of rooms still come");
        match drop_unsent {
            true => queue.close(CloseCode::TRY_AGAIN_LATER, "", true),
            false => queue.release(1),
        }
        assert_eq!(count.get(), 1);
        queue.on_closed(Box::new(hook(&count)));
        assert_eq!(count.get(), 2);
        queue.end();
        assert_eq!(count.get(), 2);
        drop(gate);
    }
}
