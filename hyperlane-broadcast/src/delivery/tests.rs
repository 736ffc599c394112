//! Tests of passes and hubs on one thread. The members are queues that no pump empties, so each test sees what a hub has
//! delivered between two polls of another task.

use std::{
    cell::Cell,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use hyperlane_core::Message;
use tokio::task::yield_now;

use super::{
    core::RoomCore,
    hub::{Hub, Runner},
    membership::{Membership, RoomEntry},
    shard::{Command, Shard},
};
use crate::{
    broker::InProcess,
    config::{RoomLimits, RoomsConfig, SlowPolicy},
    ledger::Totals,
    member::{Join, Member, MemberId, Start},
    metrics::Metrics,
    outlet::{Next, Outlet, SinkQueue},
    post::Unpublished,
    registry::RoomRegistry,
};

thread_local! {
    /// The connection and the message at which the next delivery panics.
    static PANICS_AT: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// Panics if the test of this thread wants it at this delivery.
pub(super) fn panic_if_wanted(id: u64, number: u64) {
    if PANICS_AT.get() == Some((id, number)) {
        PANICS_AT.set(None);
        panic!("the test wants it");
    }
}

fn queue() -> Arc<SinkQueue> {
    SinkQueue::new(usize::MAX, None)
}

/// Takes all that is queued.
fn taken(queue: &SinkQueue) -> Vec<String> {
    let context = Context::from_waker(Waker::noop());
    let next = || match queue.next(&context) {
        Next::Send(Message::Close(frame)) => Some(format!("close {}", u16::from(frame?.code))),
        Next::Send(text) => text.to_str().ok().map(str::to_owned),
        _ => None,
    };
    std::iter::from_fn(next).collect()
}

/// Waits until the queue has taken `count` messages.
async fn receive(queue: &SinkQueue, count: usize) -> Vec<String> {
    let mut received = Vec::new();
    for _ in 0..100_000 {
        received.extend(taken(queue));
        if received.len() >= count {
            return received;
        }
        yield_now().await;
    }
    panic!("{count} messages: {received:?}");
}

fn texts(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

struct Stage {
    registry: Arc<RoomRegistry>,
    core: Arc<RoomCore>,
}

impl Stage {
    fn new(limits: RoomLimits) -> Self {
        let config = RoomsConfig::default().limits(limits);
        let runtime = tokio::runtime::Handle::current();
        let registry = RoomRegistry::new(config, Box::new(InProcess), Some(runtime));
        let core = registry.room("room").unwrap();
        Self { registry, core }
    }

    fn join(&self, queue: &Arc<SinkQueue>, join: Join) {
        let outlet = Outlet::from(queue.clone());
        self.registry.join(&self.core, &outlet, join).unwrap();
    }

    fn leave(&self, queue: &SinkQueue) {
        assert!(self.registry.leave(&self.core, queue.id()));
    }

    fn publish(&self, text: impl ToString) {
        publish(&self.registry, &self.core, &text.to_string());
    }

    /// Waits until the hub has carried out everything.
    async fn settle(&self) {
        for _ in 0..100_000 {
            if self.core.shards.iter().all(|shard| shard.is_clear()) {
                return;
            }
            yield_now().await;
        }
        panic!("the hub has not carried out everything");
    }
}

fn publish(registry: &Arc<RoomRegistry>, core: &Arc<RoomCore>, text: &str) {
    let publishing = registry.publish(core, Unpublished::text(text));
    let crate::broker::Publishing::Done(published) = publishing else {
        panic!("the broker does not wait");
    };
    assert!(published.is_ok());
}

// ---------------------------------------------------------------- panics

#[tokio::test]
async fn a_panic_in_a_batch_closes_one_member_and_the_others_receive_everything() {
    let stage = Stage::new(RoomLimits::default());
    let mut queues: Vec<_> = (0..5).map(|_| queue()).collect();
    // This one becomes slow in the same turn.
    queues[1] = SinkQueue::new(1, None);
    queues
        .iter()
        .for_each(|queue| stage.join(queue, Join::new()));
    stage.settle().await;
    (1..=3).for_each(|number| stage.publish(number));
    // These sends wait for the messages.
    for at in [0, 2, 3, 4] {
        queues[at].send("own".into()).unwrap();
    }
    stage.publish(4);
    PANICS_AT.set(Some((queues[2].id(), 2)));
    stage.settle().await;
    assert_eq!(PANICS_AT.get(), None);
    assert_eq!(receive(&queues[1], 4).await, ["1", "2", "3", "4"]);
    assert_eq!(taken(&queues[2]), ["close 1011"]);
    for at in [0, 3, 4] {
        assert_eq!(taken(&queues[at]), ["1", "2", "3", "own", "4"], "{at}");
    }
    assert_eq!(stage.core.member_count(), 4);
    stage.publish("next");
    queues[0].send("last".into()).unwrap();
    stage.settle().await;
    assert_eq!(taken(&queues[0]), ["next", "last"]);
    assert!(taken(&queues[2]).is_empty());
}

#[tokio::test]
async fn a_panic_while_a_member_catches_up_closes_this_member() {
    let stage = Stage::new(RoomLimits::default());
    (1..=3).for_each(|number| stage.publish(number));
    let queues = [queue(), queue(), queue()];
    for queue in &queues {
        stage.join(queue, Join::new().history(3));
        queue.send("own".into()).unwrap();
    }
    PANICS_AT.set(Some((queues[1].id(), 3)));
    stage.settle().await;
    stage.publish(4);
    stage.settle().await;
    assert_eq!(taken(&queues[0]), ["1", "2", "3", "own", "4"]);
    assert_eq!(taken(&queues[1]), ["close 1011"]);
    assert_eq!(taken(&queues[2]), ["1", "2", "3", "own", "4"]);
    assert_eq!(stage.core.member_count(), 2);
}

/// A registry for one hub, whose task a test may run itself. It panics when the hub gives a room back, if the test wants
/// it.
#[derive(Clone, Default)]
struct Lone {
    is_manual: bool,
    panics: Arc<AtomicBool>,
    restarts: Arc<AtomicUsize>,
}

impl Runner for Lone {
    fn start(&self, hub: &Arc<Hub>) -> bool {
        if !self.is_manual {
            hub.clone().run(false).map(tokio::spawn);
        }
        true
    }

    fn restart(&self, hub: &Arc<Hub>) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.start(hub);
    }

    fn watch(&self) {}

    fn list_waiting(&self, _core: &Arc<RoomCore>) {}

    fn release(&self, _core: Arc<RoomCore>) {
        assert!(
            !self.panics.swap(false, Ordering::Relaxed),
            "the test wants it"
        );
    }
}

/// A shard of no room.
pub(super) fn idle_shard(limits: &RoomLimits) -> Arc<Shard> {
    let hub = Arc::new(Hub::new(Box::new(Lone::default())));
    Arc::new(Shard::new(Weak::new(), hub, 0, Arc::default(), limits))
}

/// Makes a hub and rooms with one member.
fn lone_hub(runner: &Lone, rooms: u64, queue: &Arc<SinkQueue>) -> (Arc<Hub>, Vec<Arc<RoomCore>>) {
    let hub = Arc::new(Hub::new(Box::new(runner.clone())));
    let hubs = std::slice::from_ref(&hub);
    let totals = Arc::<Totals>::default();
    let limits = Arc::new(RoomLimits::default());
    let membership = Membership::new(queue.clone().into(), totals.clone());
    queue.add_barrier(membership.clone());
    let room = |epoch| {
        let users = Arc::default();
        let metrics = Metrics::new().for_room(&RoomsConfig::default(), "room");
        let name = "room".into();
        let core = RoomCore::new(name, epoch, limits.clone(), hubs, &totals, &users, metrics);
        let shard = core.shard(hubs, 0).unwrap();
        let member = Member {
            id: MemberId::local(queue.id()),
            user: Arc::default(),
        };
        let mut state = core.lock();
        let place = state.place(&core, &member, 0, None, Start::Next);
        state.add_member(&core, &membership, place.shard, &member.user);
        membership.lock().entries.push(RoomEntry {
            shard: shard.clone(),
            extra: None,
        });
        shard.enqueue(Command::Join {
            membership: membership.clone(),
            from: place.from,
            last: 0,
        });
        drop(state);
        core
    };
    let rooms = (1..=rooms).map(room).collect();
    (hub, rooms)
}

#[tokio::test]
async fn a_hub_that_panics_is_started_again_and_delivers_the_rest() {
    let (runner, queue) = (Lone::default(), queue());
    let (_hub, rooms) = lone_hub(&runner, 2, &queue);
    for core in &rooms {
        assert!(core.publish(Unpublished::text("1")).is_ok());
    }
    runner.panics.store(true, Ordering::Relaxed);
    // The hub panics after the first room. It goes on with the second one without another wake-up.
    assert_eq!(receive(&queue, 2).await, ["1", "1"]);
    assert!(!runner.panics.load(Ordering::Relaxed));
    assert_eq!(runner.restarts.load(Ordering::Relaxed), 1);
    assert!(rooms[0].publish(Unpublished::text("2")).is_ok());
    assert_eq!(receive(&queue, 1).await, ["2"]);
}

#[tokio::test]
async fn a_hub_that_ends_in_the_middle_of_a_member_goes_on_there() {
    const MESSAGES: usize = 1000;
    let runner = Lone {
        is_manual: true,
        ..Lone::default()
    };
    let queue = queue();
    let (hub, rooms) = lone_hub(&runner, 1, &queue);
    let mut expected = Vec::new();
    for number in 0..MESSAGES {
        let text = number.to_string();
        assert!(rooms[0].publish(Unpublished::text(text.as_str())).is_ok());
        expected.push(text);
        if number % 100 == 50 {
            queue.send("own".into()).unwrap();
            expected.push("own".to_owned());
        }
    }
    let mut received = Vec::new();
    let mut tasks = 0;
    while received.len() < expected.len() {
        let mut task = Box::pin(hub.clone().run(false).unwrap());
        let context = &mut Context::from_waker(Waker::noop());
        assert!(task.as_mut().poll(context).is_pending());
        drop(task);
        received.extend(taken(&queue));
        tasks += 1;
        assert!(tasks < 100, "{} messages", received.len());
    }
    assert_eq!(received, expected);
    assert!(tasks > 2, "{tasks} tasks");
}

// ---------------------------------------------------------------- turns

/// Polls a task together with the hub until `is_done`. Returns the largest number of messages that the queues took
/// between two polls.
async fn longest_turn(queues: &[Arc<SinkQueue>], total: usize) -> usize {
    let count = || queues.iter().map(|queue| queue.len()).sum::<usize>();
    let (mut before, mut longest) = (count(), 0);
    let mut turns = 0;
    while before < total {
        turns += 1;
        assert!(turns < 100_000, "{before} of {total} messages");
        yield_now().await;
        let now = count();
        longest = longest.max(now - before);
        before = now;
    }
    longest
}

/// Most messages that one turn delivers.
const MOST: usize = 300;

#[tokio::test]
async fn another_task_has_its_turn_while_many_rooms_are_flooded() {
    const ROOMS: usize = 100;
    const MEMBERS: usize = 200;
    const MESSAGES: usize = 5;
    let stage = Stage::new(RoomLimits::default());
    let queues: Vec<_> = (0..MEMBERS).map(|_| queue()).collect();
    let room = |at: usize| stage.registry.room(&format!("room {at}")).unwrap();
    let cores: Vec<_> = (0..ROOMS).map(room).collect();
    for core in &cores {
        for queue in &queues {
            let outlet = Outlet::from(queue.clone());
            stage.registry.join(core, &outlet, Join::new()).unwrap();
        }
    }
    for number in 0..MESSAGES {
        let text = number.to_string();
        cores
            .iter()
            .for_each(|core| publish(&stage.registry, core, &text));
    }
    let longest = longest_turn(&queues, ROOMS * MEMBERS * MESSAGES).await;
    assert!(longest <= MOST, "{longest} messages");
}

#[tokio::test]
async fn another_task_has_its_turn_while_few_members_receive_many_messages() {
    const MESSAGES: usize = 5000;
    let stage = Stage::new(
        RoomLimits::default()
            .queue_messages(2 * MESSAGES)
            .queue_bytes(64 << 20),
    );
    let queues: Vec<_> = (0..3).map(|_| queue()).collect();
    queues
        .iter()
        .for_each(|queue| stage.join(queue, Join::new()));
    (0..MESSAGES).for_each(|number| stage.publish(number));
    // A send that waits for a part of a batch.
    queues[1].send("own".into()).unwrap();
    stage.publish("last");
    let longest = longest_turn(&queues, 3 * (MESSAGES + 1) + 1).await;
    assert!(longest <= MOST, "{longest} messages");
    for (at, queue) in queues.iter().enumerate() {
        let mut expected = texts(0..=MESSAGES - 1);
        expected.extend((at == 1).then(|| "own".to_owned()));
        expected.push("last".to_owned());
        assert_eq!(taken(queue), expected, "{at}");
    }
}

#[tokio::test]
async fn another_task_has_its_turn_while_many_members_receive_the_history() {
    const MEMBERS: usize = 1000;
    const MESSAGES: usize = 225;
    let limits = RoomLimits::default()
        .history_messages(MESSAGES)
        .outbox_bytes(usize::MAX);
    let stage = Stage::new(limits);
    let text = "x".repeat(4000);
    (0..MESSAGES).for_each(|_| stage.publish(&text));
    let queues: Vec<_> = (0..MEMBERS).map(|_| queue()).collect();
    for queue in &queues {
        stage.join(queue, Join::new().history(MESSAGES));
    }
    let longest = longest_turn(&queues, MEMBERS * MESSAGES).await;
    assert!(longest <= MOST, "{longest} messages");
}

// ---------------------------------------------------------------- members that are behind

#[tokio::test]
async fn a_slow_member_with_many_own_sends_waits_once() {
    const SENDS: usize = 20_000;
    let stage = Stage::new(RoomLimits::default().outbox_bytes(100));
    let queue = queue();
    stage.join(&queue, Join::new());
    (1..=9).for_each(|number| stage.publish(number));
    stage.settle().await;
    let shard = stage.core.shards.iter().next().unwrap();
    for number in 0..SENDS {
        queue.send(format!("own {number}").into()).unwrap();
        if number % 1000 == 0 {
            stage.settle().await;
            assert!(queue.wakers() <= 2, "{} wakers", queue.wakers());
        }
    }
    stage.settle().await;
    assert!(shard.take_drained().len() <= 1);
    let received = receive(&queue, 9 + SENDS).await;
    let mut expected = texts(1..=9);
    expected.extend((0..SENDS).map(|number| format!("own {number}")));
    assert_eq!(received, expected);
}

#[tokio::test]
async fn stays_of_a_slow_member_are_merged_and_have_a_limit() {
    for policy in [SlowPolicy::Disconnect, SlowPolicy::DropOldest] {
        let stage = Stage::new(RoomLimits::default().outbox_bytes(100).slow(policy));
        let queue = queue();
        stage.join(&queue, Join::new());
        (1..=9).for_each(|number| stage.publish(number));
        stage.settle().await;
        let before = taken(&queue);
        assert!(before.len() < 9, "it is slow");
        // Nothing is published between these stays.
        for _ in 0..100 {
            stage.leave(&queue);
            stage.join(&queue, Join::new());
        }
        stage.publish(10);
        let mut received = before;
        received.extend(receive(&queue, 10 - received.len()).await);
        assert_eq!(received, texts(1..=10), "{policy:?}");
        // A message is published between these.
        (11..=19).for_each(|number| stage.publish(number));
        stage.settle().await;
        for _ in 0..100 {
            stage.leave(&queue);
            stage.publish("while it is away");
            stage.join(&queue, Join::new());
            stage.publish("while it is there");
        }
        stage.settle().await;
        stage.publish("end");
        let mut received = Vec::new();
        while !matches!(
            received.last().map(String::as_str),
            Some("end" | "close 1013")
        ) {
            received.extend(taken(&queue));
            yield_now().await;
        }
        assert!(!received.contains(&"while it is away".to_owned()));
        match policy {
            SlowPolicy::Disconnect => assert_eq!(received, ["close 1013"]),
            _ => assert!(received.len() < 60, "{}", received.len()),
        }
    }
}

/// A member that reads ends the pause of a flooded room early, and the room pauses again. If the member then stops, the
/// timer of the first pause must not be the last one.
#[tokio::test(start_paused = true)]
async fn a_pause_that_follows_another_one_ends() {
    let limits = RoomLimits::default()
        .outbox_bytes(200)
        .queue_messages(16)
        .slow_bytes(1 << 20);
    let stage = Stage::new(limits);
    let queue = queue();
    stage.join(&queue, Join::new());
    // The member becomes slow.
    let text = "x".repeat(100);
    (0..10).for_each(|_| stage.publish(&text));
    stage.settle().await;
    let shard = stage.core.shards.iter().next().unwrap();
    // The room is flooded, and pauses for the member.
    let mut rounds = 0;
    while rounds < 3 {
        while shard.has_room(1000, &stage.core.limits) {
            stage.publish(&text);
        }
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        if shard.paused_until().is_some() {
            rounds += 1;
        }
        // The member reads a little, which ends the pause.
        taken(&queue);
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    while shard.has_room(1000, &stage.core.limits) {
        stage.publish(&text);
    }
    // It reads no more.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(shard.is_queue_empty(), "the pause has ended");
}
