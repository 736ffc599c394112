//! A room's share at one hub.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyperlane_core::Outbox;

use crate::{member::MemberId, post::Post, seat::Seat};

/// Bytes of messages that are joined into one write.
const JOINED: usize = 64 * 1024;

/// What is posted to a lane, in the room's order.
pub(crate) enum Command {
    Join {
        outbox: Outbox,
        replay: Vec<Arc<Post>>,
    },
    Leave(MemberId),
    Post(Arc<Post>),
}

/// A room's members that one hub serves.
#[derive(Default)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    /// The hub's own; the lock is never contended. Empty while a pass has them, so that there must
    /// never be two passes over a lane.
    seats: Mutex<Seats>,
}

#[derive(Default)]
pub(crate) struct Seats {
    pub(crate) list: Vec<Seat>,
    /// Some of them lag.
    pub(crate) lag: bool,
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    wake: Wake,
}

/// Whether the hub knows that something waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wake {
    #[default]
    Idle,
    /// A connection will tell it at the end of its current poll.
    Deferred(u64),
    Told,
}

/// What a pass takes from a lane's queue at once.
pub(crate) enum Work {
    /// Messages for all seats.
    Posts(Vec<Arc<Post>>),
    /// Messages of the history for the seat that was added last.
    Replay(Vec<Arc<Post>>),
    /// Nothing waits. The lane has its seats back.
    Done {
        /// Some seats lag.
        lag: bool,
    },
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn post(&self, command: Command) {
        self.lock().commands.push_back(command);
    }

    pub(crate) fn clear(&self) {
        self.lock().commands.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().commands.is_empty()
    }

    /// False if the hub knows already, or will at the end of this connection's poll.
    pub(crate) fn defer(&self, connection: u64) -> bool {
        let mut queue = self.lock();
        if queue.wake == Wake::Told || queue.wake == Wake::Deferred(connection) {
            return false;
        }
        queue.wake = Wake::Deferred(connection);
        true
    }

    /// False if the hub knows already.
    pub(crate) fn tell(&self) -> bool {
        let mut queue = self.lock();
        if queue.wake == Wake::Told {
            return false;
        }
        queue.wake = Wake::Told;
        true
    }

    pub(crate) fn take_seats(&self) -> Seats {
        std::mem::take(&mut *self.seats())
    }

    /// Takes the seats of a pass that ends before its work.
    pub(crate) fn abandon(&self, list: Vec<Seat>) {
        let mut queue = self.lock();
        queue.wake = Wake::Idle;
        *self.seats() = Seats { list, lag: true };
    }

    /// Takes joins and leaves up to the next messages.
    pub(crate) fn take_work(&self, seats: &mut Vec<Seat>) -> Work {
        let mut posts = Vec::new();
        let mut weight = 0;
        let mut queue = self.lock();
        loop {
            match queue.commands.front() {
                Some(Command::Post(_)) if weight < JOINED => {
                    if let Some(Command::Post(post)) = queue.commands.pop_front() {
                        weight += post.weight();
                        posts.push(post);
                    }
                }
                // Membership changes between two messages: those before first.
                Some(_) if !posts.is_empty() => return Work::Posts(posts),
                Some(_) => match queue.commands.pop_front() {
                    Some(Command::Join { outbox, replay }) => {
                        seats.push(Seat::new(outbox));
                        if !replay.is_empty() {
                            return Work::Replay(replay);
                        }
                    }
                    Some(Command::Leave(id)) => {
                        if let Some(at) = seats.iter().position(|seat| seat.id == id) {
                            seats.swap_remove(at);
                        }
                    }
                    _ => return Work::Posts(posts),
                },
                None if !posts.is_empty() => return Work::Posts(posts),
                None => {
                    queue.wake = Wake::Idle;
                    queue.commands = VecDeque::new();
                    let lag = seats.iter().any(|seat| seat.behind.is_some());
                    // Put back under the queue's lock: the next pass finds them.
                    *self.seats() = Seats {
                        list: std::mem::take(seats),
                        lag,
                    };
                    return Work::Done { lag };
                }
            }
        }
    }
}
