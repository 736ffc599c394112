//! Shards: the part of a room that one hub serves. A hub is a task that delivers messages to members. One run of the
//! hub over a shard is a pass.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyperlane_core::Outbox;

use crate::{member::MemberId, post::Post, seat::Seat};

/// Maximum size of the messages that a pass merges into one write, in bytes. Each message counts with
/// [`Post::history_bytes`]. The last message of a batch may exceed the limit.
const BATCH_BYTES: usize = 64 * 1024;

/// An entry of a shard's queue.
pub(crate) enum Command {
    Join {
        outbox: Outbox,
        /// Messages of the history that the new member receives first.
        replay: Vec<Arc<Post>>,
    },
    Leave(MemberId),
    Post(Arc<Post>),
}

/// The part of a room that one hub serves: the seats of members, and a queue of messages, joins and leaves. The
/// messages are in the queue in the order of their offsets.
#[derive(Default)]
pub(crate) struct Shard {
    queue: Mutex<ShardQueue>,
    /// The seats of members. Only the shard's hub locks the seats, so the lock is never contended. While a pass runs,
    /// the pass holds the seats, and this field is empty. Two passes over one shard must therefore not run at the same
    /// time.
    seats: Mutex<Seats>,
}

/// The seats (members) of a shard.
#[derive(Default)]
pub(crate) struct Seats {
    pub(crate) list: Vec<Seat>,
    /// True if some members are slow: their full outboxes have refused messages. Also true after a dropped pass.
    pub(crate) has_slow: bool,
}

#[derive(Default)]
struct ShardQueue {
    commands: VecDeque<Command>,
    wake: WakeState,
}

/// Tells whether the hub has been woken for the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WakeState {
    /// The hub has not been woken. Either the queue is empty, or the code that has appended an entry has not called
    /// `Hub::wake` yet, or a pass was dropped before its end.
    #[default]
    Idle,
    /// The connection with this id wakes the hub at the end of its current poll.
    Deferred(u64),
    /// The room is in the hub's inbox, or a pass runs over this shard.
    Woken,
}

/// The work that a pass takes from a shard's queue in one call.
pub(crate) enum Work {
    /// Messages for all seats.
    Posts(Vec<Arc<Post>>),
    /// Messages of the history for a new member. The new member has the last seat.
    Replay(Vec<Arc<Post>>),
    /// No work: the queue is empty, and `take_work` has put the seats back into the shard.
    Done {
        /// True if some members are slow: their full outboxes have refused messages.
        has_slow: bool,
    },
}

impl Shard {
    fn lock_queue(&self) -> MutexGuard<'_, ShardQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enqueue(&self, command: Command) {
        self.lock_queue().commands.push_back(command);
    }

    pub(crate) fn clear(&self) {
        self.lock_queue().commands.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock_queue().commands.is_empty()
    }

    /// Marks the wakeup as deferred to the end of the current poll of `connection`. Returns false if the hub is
    /// woken already, or if `connection` has deferred the wakeup already.
    pub(crate) fn mark_deferred(&self, connection: u64) -> bool {
        let mut queue = self.lock_queue();
        if queue.wake == WakeState::Woken || queue.wake == WakeState::Deferred(connection) {
            return false;
        }
        queue.wake = WakeState::Deferred(connection);
        true
    }

    /// Marks the hub as woken for this shard. Returns false if the hub was woken already.
    pub(crate) fn mark_woken(&self) -> bool {
        let mut queue = self.lock_queue();
        if queue.wake == WakeState::Woken {
            return false;
        }
        queue.wake = WakeState::Woken;
        true
    }

    pub(crate) fn take_seats(&self) -> Seats {
        std::mem::take(&mut *self.lock_seats())
    }

    /// Puts back the seats of a pass that is dropped before its end. Sets `has_slow`, because some members may be slow.
    pub(crate) fn put_back(&self, list: Vec<Seat>) {
        let mut queue = self.lock_queue();
        queue.wake = WakeState::Idle;
        *self.lock_seats() = Seats {
            list,
            has_slow: true,
        };
    }

    /// Applies the joins and leaves at the front of the queue to `seats`. Returns the messages that follow, up to the
    /// next join or leave and up to [`BATCH_BYTES`]. After a join with messages of the history, returns these messages
    /// first.
    pub(crate) fn take_work(&self, seats: &mut Vec<Seat>) -> Work {
        let mut posts = Vec::new();
        let mut bytes = 0;
        let mut queue = self.lock_queue();
        loop {
            match queue.commands.front() {
                Some(Command::Post(_)) if bytes < BATCH_BYTES => {
                    if let Some(Command::Post(post)) = queue.commands.pop_front() {
                        bytes += post.history_bytes();
                        posts.push(post);
                    }
                }
                // The next command is a join or a leave, or the batch is full. The messages before this command are
                // delivered first.
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
                    queue.wake = WakeState::Idle;
                    queue.commands = VecDeque::new();
                    let has_slow = seats.iter().any(|seat| seat.position.is_some());
                    // The seats are put back under the queue's lock. The next pass can start only after the lock is
                    // released, and therefore finds the seats.
                    *self.lock_seats() = Seats {
                        list: std::mem::take(seats),
                        has_slow,
                    };
                    return Work::Done { has_slow };
                }
            }
        }
    }
}
