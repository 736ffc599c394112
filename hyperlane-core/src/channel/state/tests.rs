//! Cuts connections between a channel and its clients at random, and compares the messages that clients get with the
//! messages that were sent.

use std::{cell::RefCell, rc::Rc};

use proptest::prelude::*;

use super::*;
use crate::proto::ws::Message;

/// The client's end of a connection.
#[derive(Default)]
struct Wire {
    /// Messages that the channel has written and the client has not read. A cut loses these messages.
    queued: Vec<(ResumeId, u64)>,
    room: usize,
    acknowledged: u64,
    asked: bool,
    paused: bool,
    number: u64,
}

type Shared = Rc<RefCell<Wire>>;

impl Connection for Shared {
    fn write(&self, id: ResumeId, item: &Item) -> Result<(), PushError> {
        let mut wire = self.borrow_mut();
        if wire.queued.len() >= wire.room {
            return Err(PushError::Full);
        }
        let Item::Message(message) = item else {
            unreachable!()
        };
        let number = message.to_str().unwrap().parse().unwrap();
        wire.queued.push((id, number));
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.borrow().acknowledged
    }

    fn is_paused(&self) -> bool {
        self.borrow().paused
    }

    fn request_ack(&self) {
        self.borrow_mut().asked = true;
    }

    fn request_ack_soon(&self) {
        self.request_ack();
    }

    fn number(&self) -> u64 {
        self.borrow().number
    }
}

type Channel = ChannelState<Shared, ()>;

const LIMITS: Limits = Limits {
    messages: 8,
    bytes: usize::MAX,
};

/// A browser's tab.
struct Client {
    kind: Kind,
    tab: Option<Tab>,
    wire: Option<(u64, Shared)>,
    /// Keys of connections that have vanished without the channel's knowledge.
    vanished: Vec<u64>,
    /// The last id that the client knows.
    last: Option<ResumeId>,
    got: Vec<u64>,
    resets: usize,
}

impl Client {
    fn new(kind: Kind, tab: Option<Tab>) -> Self {
        Self {
            kind,
            tab,
            wire: None,
            vanished: Vec::new(),
            last: None,
            got: Vec::new(),
            resets: 0,
        }
    }

    fn connect(&mut self, channel: &mut Channel, room: usize) {
        assert!(self.wire.is_none());
        let claim = Claim {
            kind: self.kind,
            from: self.last.filter(|_| self.kind != Kind::Plain).map(Ok),
            tab: self.tab,
            is_from_start: false,
            number: 0,
        };
        let wire = Rc::new(RefCell::new(Wire {
            room,
            ..Wire::default()
        }));
        let (start, _) = channel.attach(claim, |_| wire.clone());
        // On a connection with ids, the channel first sends the id before its next message.
        self.last = Some(channel.log.id_before(start.next));
        if start.is_reset {
            self.resets += 1;
            // The client reloads its state, and continues with the next message.
            self.got = (1..start.next).collect();
        }
        self.wire = Some((start.key, wire));
        channel.catch_up(start.key);
    }

    fn read(&mut self, channel: &mut Channel, most: usize) {
        let Some((key, wire)) = &self.wire else {
            return;
        };
        let read: Vec<_> = {
            let mut wire = wire.borrow_mut();
            let count = most.min(wire.queued.len());
            wire.queued.drain(..count).collect()
        };
        for (id, number) in read {
            self.got.push(number);
            self.last = Some(id);
        }
        channel.catch_up(*key);
    }

    fn answer(&mut self, channel: &mut Channel) {
        let (Some((_, wire)), Some(last)) = (&self.wire, self.last) else {
            return;
        };
        let mut wire = wire.borrow_mut();
        if wire.paused {
            // The client answers, but the server has paused reading from the client.
            return;
        }
        if wire.queued.is_empty() || wire.asked {
            wire.acknowledged = wire.acknowledged.max(last.offset);
            wire.asked = false;
        }
        drop(wire);
        channel.trim_log(LIMITS);
    }

    fn vanish(&mut self) {
        if let Some((key, _)) = self.wire.take() {
            self.vanished.push(key);
        }
    }

    fn notice(&mut self, channel: &mut Channel) {
        for key in self.vanished.drain(..) {
            channel.cut(key);
        }
    }

    fn cut(&mut self, channel: &mut Channel) {
        if let Some((key, _)) = self.wire.take() {
            channel.cut(key);
        }
    }

    /// Checks that the client got all sent messages in order. Only a plain client (a WebSocket without resume ids) may
    /// get a message more than once.
    fn check(&self, sent: u64) {
        let mut expected = 1;
        for number in &self.got {
            match self.kind {
                Kind::Plain => {
                    assert!(*number <= expected, "{expected} is missing: {:?}", self.got);
                    expected = expected.max(number + 1);
                }
                _ => {
                    assert_eq!(*number, expected, "{:?}", self.got);
                    expected += 1;
                }
            }
        }
        assert_eq!(expected, sent + 1, "the end is missing: {:?}", self.got);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send,
    Read(usize, usize),
    Answer(usize),
    Cut(usize),
    Vanish(usize),
    Notice(usize),
    Connect(usize, usize),
    Pause(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Send),
        3 => (0..3_usize, 1..6_usize).prop_map(|(who, most)| Step::Read(who, most)),
        2 => (0..3_usize).prop_map(Step::Answer),
        1 => (0..3_usize).prop_map(Step::Cut),
        1 => (0..3_usize).prop_map(Step::Vanish),
        2 => (0..3_usize).prop_map(Step::Notice),
        2 => (0..3_usize, 1..12_usize).prop_map(|(who, room)| Step::Connect(who, room)),
    ]
}

/// Generates the steps of [`step`], and steps that begin or end a pause of reading.
fn step_or_pause() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => step(),
        1 => (0..3_usize, any::<bool>()).prop_map(|(who, begins)| Step::Pause(who, begins)),
    ]
}

/// Runs the steps. Then all clients come back, read all messages, and are checked.
fn run(mut clients: Vec<Client>, steps: &[Step]) -> Vec<Client> {
    let mut channel = Channel::new(7);
    let mut sent = 0;
    // All clients connect before the first message. A tab that connects later does not get earlier messages.
    for client in &mut clients {
        client.connect(&mut channel, 4);
    }
    let count = clients.len();
    for step in steps {
        match *step {
            Step::Send => {
                if channel
                    .send(Message::from((sent + 1).to_string()).into(), LIMITS)
                    .is_ok()
                {
                    sent += 1;
                }
            }
            Step::Read(who, most) => clients[who % count].read(&mut channel, most),
            Step::Answer(who) => clients[who % count].answer(&mut channel),
            Step::Cut(who) => clients[who % count].cut(&mut channel),
            Step::Vanish(who) => clients[who % count].vanish(),
            Step::Pause(who, begins) => {
                if let Some((_, wire)) = &clients[who % count].wire {
                    wire.borrow_mut().paused = begins;
                }
            }
            Step::Notice(who) => clients[who % count].notice(&mut channel),
            Step::Connect(who, room) => {
                let client = &mut clients[who % count];
                if client.wire.is_none() {
                    client.connect(&mut channel, room);
                }
            }
        }
    }
    for client in &mut clients {
        if client.wire.is_none() {
            client.connect(&mut channel, 1000);
        }
    }
    for client in &mut clients {
        client.notice(&mut channel);
    }
    for client in &mut clients {
        for _ in 0..=sent {
            client.read(&mut channel, 1000);
        }
        client.check(sent);
    }
    clients
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn an_event_stream_gets_all_once_or_a_reset(steps in prop::collection::vec(step(), 0..200)) {
        run(vec![Client::new(Kind::Events, None)], &steps);
    }

    #[test]
    fn a_counting_socket_gets_all_once_or_a_reset(steps in prop::collection::vec(step(), 0..200)) {
        let clients = run(vec![Client::new(Kind::Counted, Some(1))], &steps);
        prop_assert_eq!(clients[0].resets, 0, "all that is not acknowledged is kept");
    }

    #[test]
    fn a_plain_socket_misses_nothing(steps in prop::collection::vec(step(), 0..200)) {
        let clients = run(vec![Client::new(Kind::Plain, None)], &steps);
        prop_assert_eq!(clients[0].resets, 0, "all that is not acknowledged is kept");
    }

    #[test]
    fn what_is_not_read_makes_no_hole(steps in prop::collection::vec(step_or_pause(), 0..300), kinds in prop::collection::vec(0..3_u8, 2..4)) {
        run(vec![Client::new(Kind::Plain, None)], &steps);
        run(vec![Client::new(Kind::Counted, Some(1))], &steps);
        let clients = kinds.iter().enumerate().map(|(at, kind)| match kind {
            0 => Client::new(Kind::Events, None),
            1 => Client::new(Kind::Counted, Some(at as Tab)),
            _ => Client::new(Kind::Plain, Some(at as Tab)),
        });
        run(clients.collect(), &steps);
    }

    #[test]
    fn tabs_are_apart(steps in prop::collection::vec(step(), 0..300), kinds in prop::collection::vec(0..3_u8, 2..4)) {
        let clients = kinds.iter().enumerate().map(|(at, kind)| match kind {
            0 => Client::new(Kind::Events, None),
            1 => Client::new(Kind::Counted, Some(at as Tab)),
            _ => Client::new(Kind::Plain, Some(at as Tab)),
        });
        run(clients.collect(), &steps);
    }

    #[test]
    fn plain_tabs_without_names_miss_nothing_where_cuts_are_noticed(steps in prop::collection::vec(step(), 0..300)) {
        let noticed = steps.into_iter().map(|step| match step {
            Step::Vanish(who) => Step::Cut(who),
            other => other,
        });
        let steps: Vec<_> = noticed.collect();
        run(vec![Client::new(Kind::Plain, None), Client::new(Kind::Plain, None)], &steps);
    }
}

#[test]
fn a_connection_that_was_overtaken_does_not_drive_out_the_later_one() {
    let mut channel = Channel::new(7);
    let claim = |tab, number| Claim {
        kind: Kind::Counted,
        from: None,
        tab,
        is_from_start: false,
        number,
    };
    let wire = |number| {
        Rc::new(RefCell::new(Wire {
            number,
            ..Wire::default()
        }))
    };
    assert!(!channel.is_superseded(claim(Some(1), 5)));
    channel.attach(claim(Some(1), 5), |_| wire(5));
    assert!(channel.is_superseded(claim(Some(1), 4)));
    assert!(!channel.is_superseded(claim(Some(1), 6)));
    assert!(!channel.is_superseded(claim(Some(2), 4)));
    assert!(!channel.is_superseded(claim(None, 4)));
    let (_, left) = channel.attach(claim(Some(1), 6), |_| wire(6));
    assert_eq!(left.len(), 1);
}

#[test]
fn one_that_is_not_read_has_room_and_is_reset_once() {
    let mut channel = Channel::new(7);
    let send = |channel: &mut Channel, number: u64| {
        let item = Message::from(number.to_string()).into();
        channel.send(item, LIMITS).unwrap();
    };
    let mut client = Client::new(Kind::Plain, None);
    client.connect(&mut channel, 1000);
    client.wire.as_ref().unwrap().1.borrow_mut().paused = true;
    for number in 1..=100 {
        send(&mut channel, number);
    }
    let held = (1..=100).filter(|offset| channel.log.get(*offset).is_some());
    assert!(held.count() <= LIMITS.messages);
    // The server has paused reading, so the server does not notice the end of the connection.
    client.vanish();
    client.connect(&mut channel, 1000);
    assert_eq!(client.resets, 1);
    client.cut(&mut channel);
    client.connect(&mut channel, 1000);
    send(&mut channel, 101);
    client.read(&mut channel, 1000);
    assert_eq!((client.resets, client.got.last()), (1, Some(&101)));
}

#[test]
fn connections_are_in_the_order_in_which_they_came() {
    let mut channel = Channel::new(7);
    let mut keys = Vec::new();
    for tab in 1..=4 {
        let mut client = Client::new(Kind::Plain, Some(tab));
        client.connect(&mut channel, 1000);
        let (key, wire) = client.wire.unwrap();
        wire.borrow_mut().number = key;
        keys.push(key);
    }
    channel.remove(keys.remove(1));
    let numbers = channel.connections().map(|wire| wire.borrow().number);
    assert_eq!(numbers.collect::<Vec<_>>(), keys);
}

#[test]
fn places_that_will_be_reset_keep_no_sender_waiting() {
    let mut channel = Channel::new(7);
    let mut client = Client::new(Kind::Plain, Some(1));
    client.connect(&mut channel, 1000);
    client.wire.as_ref().unwrap().1.borrow_mut().paused = true;
    for number in 1..=100_u64 {
        let item = Message::from(number.to_string()).into();
        channel.send(item, LIMITS).unwrap();
    }
    client.cut(&mut channel);
    for number in 1..=LIMITS.messages {
        let item = Message::from(number.to_string()).into();
        channel.send(item, LIMITS).unwrap();
    }
    let more = Message::from("more").into();
    assert!(
        channel.send(more, LIMITS).is_err(),
        "the client took nothing"
    );
    client.connect(&mut channel, 1000);
    assert_eq!(client.resets, 1);
}

/// Tests that a reloaded page gets message 3, because the program sends it during the request that loads the page. The
/// page before the reload is still connected at that time, and receives messages 1 to 3.
fn reload(kind: Kind) {
    let mut channel = Channel::new(7);
    let text = |number: u64| Message::from(number.to_string()).into();
    let new = || {
        let mut page = Client::new(kind, None);
        page.got.clear();
        page
    };
    let mut before = new();
    before.connect(&mut channel, 100);
    for sent in [1, 2] {
        channel.send(text(sent), LIMITS).unwrap();
    }
    channel.expect_page(|_| None);
    channel.send(text(3), LIMITS).unwrap();
    before.read(&mut channel, 100);
    before.answer(&mut channel);
    assert_eq!(before.got, [1, 2, 3]);
    before.cut(&mut channel);
    let mut page = new();
    page.connect(&mut channel, 100);
    channel.send(text(4), LIMITS).unwrap();
    page.read(&mut channel, 100);
    assert_eq!(page.got, [3, 4], "{kind:?}");
    page.answer(&mut channel);
    // Only one page gets message 3. Another tab begins with new messages.
    let mut other = new();
    other.connect(&mut channel, 100);
    channel.send(text(5), LIMITS).unwrap();
    other.read(&mut channel, 100);
    assert_eq!(other.got, [5], "{kind:?}");
}

#[test]
fn a_page_gets_what_its_own_request_sent() {
    for kind in [Kind::Events, Kind::Plain, Kind::Counted] {
        reload(kind);
    }
}

#[test]
fn pages_that_never_connect_keep_nothing_beyond_the_limits() {
    let mut channel = Channel::new(7);
    let mut tab = Client::new(Kind::Plain, None);
    tab.connect(&mut channel, 1000);
    for _ in 0..100 {
        channel.expect_page(|_| None);
    }
    assert_eq!(channel.pages.len(), MAX_PAGES);
    for number in 1..=100 {
        let item = Message::from(number.to_string()).into();
        channel.send(item, LIMITS).unwrap();
        tab.read(&mut channel, 1000);
        tab.answer(&mut channel);
    }
    let held = (1..=100).filter(|offset| channel.log.get(*offset).is_some());
    assert!(held.count() <= 2 * LIMITS.messages);
    let keys: Vec<_> = channel.pages.iter().map(|page| page.key).collect();
    for key in keys {
        channel.forget_page(key);
    }
    let (start, _) = channel.attach(
        Claim {
            kind: Kind::Events,
            from: None,
            tab: None,
            is_from_start: false,
            number: 0,
        },
        |_| Shared::default(),
    );
    assert_eq!(
        (start.next, start.is_reset),
        (101, false),
        "a page that came too late"
    );
}

#[test]
fn places_that_wait_are_bounded() {
    let mut channel = Channel::new(7);
    let text = |number: u64| Message::from(number.to_string()).into();
    let mut steady = Client::new(Kind::Plain, None);
    steady.connect(&mut channel, 100);
    channel.send(text(1), LIMITS).unwrap();
    steady.cut(&mut channel);
    for at in 0..1000 {
        let kind = match at % 3 {
            0 => Kind::Events,
            1 => Kind::Counted,
            _ => Kind::Plain,
        };
        let tab = (kind != Kind::Events).then_some(at);
        let mut passing = Client::new(kind, tab);
        passing.connect(&mut channel, 100);
        passing.cut(&mut channel);
        assert!(channel.positions.len() <= MAX_WAITING + 1);
    }
    steady.connect(&mut channel, 100);
    steady.read(&mut channel, 100);
    assert_eq!(steady.got, [1], "a place that nothing makes up for stays");
}

#[test]
fn what_is_kept_for_a_plain_tab_that_is_away_is_bounded() {
    let limits = Limits {
        messages: 8,
        bytes: 1000,
    };
    let mut channel = Channel::new(7);
    let mut away = Client::new(Kind::Plain, Some(1));
    let mut there = Client::new(Kind::Plain, Some(2));
    away.connect(&mut channel, 10);
    there.connect(&mut channel, usize::MAX);
    away.cut(&mut channel);
    let mut sent = 0;
    let mut send = |channel: &mut Channel, there: &mut Client, count: u64| {
        for _ in 0..count {
            sent += 1;
            let item = Message::from(sent.to_string()).into();
            channel.send(item, limits).unwrap();
            there.read(channel, 10);
            there.answer(channel);
            assert!(channel.log.weight() <= (AWAY_FACTOR + 1) * limits.bytes);
        }
    };
    // For the tab that is away, the channel keeps more messages than the limits of the buffer.
    send(&mut channel, &mut there, 100);
    away.connect(&mut channel, usize::MAX);
    away.read(&mut channel, usize::MAX);
    assert_eq!((away.resets, away.got.len()), (0, 100));
    away.answer(&mut channel);
    away.cut(&mut channel);
    // The messages for the tab that is away have a limit of their own: `AWAY_FACTOR` times `limits.bytes`. Now more
    // messages are sent than this limit allows.
    send(&mut channel, &mut there, 10_000);
    away.connect(&mut channel, usize::MAX);
    assert_eq!(away.resets, 1, "it is told");
    there.check(10_100);
}

#[test]
fn a_client_from_the_start_gets_all_messages_or_a_reset() {
    let mut channel = Channel::new(7);
    let claim = Claim {
        kind: Kind::Events,
        from: None,
        tab: None,
        is_from_start: true,
        number: 0,
    };
    let wire = || {
        Rc::new(RefCell::new(Wire {
            room: 100,
            ..Wire::default()
        }))
    };
    let numbers = |wire: &Shared| -> Vec<u64> {
        let wire = wire.borrow();
        wire.queued.iter().map(|(_, number)| *number).collect()
    };
    let mut sent = 0;
    let mut send = |channel: &mut Channel, count: u64| {
        for _ in 0..count {
            sent += 1;
            let item = Item::from(Message::from(sent.to_string()));
            channel.send(item, LIMITS).unwrap();
        }
    };
    for _ in 0..2 {
        // Each tab gets all, although the earlier ones have received the messages.
        let tab = wire();
        let (start, _) = channel.attach(claim, |_| tab.clone());
        assert!(!start.is_reset);
        channel.catch_up(start.key);
        send(&mut channel, 4);
        let all: Vec<_> = (1..=channel.log.end() - 1).collect();
        assert_eq!(numbers(&tab), all);
    }
    send(&mut channel, 4);
    let tab = wire();
    let (start, _) = channel.attach(claim, |_| tab.clone());
    assert!(start.is_reset, "the first messages have left the log");
    channel.catch_up(start.key);
    assert!(numbers(&tab).is_empty());
    send(&mut channel, 1);
    assert_eq!(numbers(&tab), [13]);
}
