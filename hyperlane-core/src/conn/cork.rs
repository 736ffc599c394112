//! The cork: a thread-local buffer for the bytes that a connection sends during one poll. Usually one system call
//! writes them all to the socket.
//!
//! While a thread polls a connection's task, the sends of the connection's own handler go into the cork, without a
//! lock. When the poll returns, the connection writes the cork to the socket. Thus the responses to pipelined requests
//! leave together, and so do the replies to all frames of one read. When the handler awaits something that is not
//! ready, the poll ends. The bytes therefore leave at once, and not only when the handler continues.
//!
//! Work that should happen once per poll is deferred to the end of the poll as well ([`defer`]). For example, a handler
//! may publish several messages to a room in one poll. The hub, a task that delivers the room's messages, is then woken
//! once.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;

use super::link::Link;
use crate::{
    env::Env,
    panic::contain,
    proto::ws::{WebSocketOpcode, frame},
};

/// Size in bytes at which the cork is written at once. A smaller cork is written when the poll ends.
pub(crate) const SPILL: usize = 64 * 1024;

/// Minimum size of a payload that the cork references instead of copying, in bytes.
pub(super) const SHARE_FROM: usize = 8 * 1024;

/// Maximum capacity that the thread's buffer keeps between polls, in bytes.
const KEEP: usize = SPILL + SHARE_FROM;

thread_local! {
    static CORK: RefCell<Cork> = const { RefCell::new(Cork::new()) };
    /// The server of the connection whose end hooks ([`Outbox::on_end`](crate::Outbox::on_end)) this thread is running.
    static ENDING_FOR: RefCell<Option<Arc<Env>>> = const { RefCell::new(None) };
}

/// The bytes that the polled connection has sent in this poll.
pub(crate) struct Cork {
    /// The id of the connection that this thread polls; 0 for none.
    owner: u64,
    /// The connection with the id `owner`, for [`flush_current`] and [`is_polling_for`].
    connection: Option<Arc<Link>>,
    bytes: Vec<u8>,
    /// Large payloads. Each has a position in `bytes`: the bytes before this position are sent before the payload.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
    deferred: Vec<Box<dyn FnOnce() + Send>>,
}

impl Cork {
    pub(super) const fn new() -> Self {
        Self {
            owner: 0,
            connection: None,
            bytes: Vec::new(),
            shared: Vec::new(),
            shared_len: 0,
            deferred: Vec::new(),
        }
    }

    /// Returns the buffer for small pieces.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a payload. A large payload is shared, not copied.
    #[inline]
    pub(crate) fn push(&mut self, payload: &Bytes) {
        match payload.len() < SHARE_FROM {
            true => self.bytes.extend_from_slice(payload),
            false => self.share(payload),
        }
    }

    #[inline(never)]
    fn share(&mut self, payload: &Bytes) {
        self.shared_len += payload.len();
        self.shared.push((self.bytes.len(), payload.clone()));
    }

    /// Appends a WebSocket frame.
    #[inline]
    pub(crate) fn push_frame(&mut self, opcode: WebSocketOpcode, payload: &Bytes) {
        frame::append_header(opcode, payload.len(), &mut self.bytes);
        self.push(payload);
    }

    /// Returns whether the cork is so large that it should be written now.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() + self.shared_len >= SPILL
    }

    /// Returns the pieces in the order of sending.
    pub(super) fn pieces(&self) -> Pieces<'_> {
        Pieces {
            bytes: &self.bytes,
            shared: &self.shared,
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.is_empty()
    }
}

/// The pieces of a cork in the order of sending.
#[derive(Clone, Copy)]
pub(crate) struct Pieces<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) shared: &'a [(usize, Bytes)],
}

/// One piece of a cork.
pub(crate) enum Piece<'a> {
    Copied {
        bytes: &'a [u8],
        /// True if the next piece is shared. The bytes then end with the head of the frame of the next piece.
        is_continued: bool,
    },
    Shared(&'a Bytes),
}

impl<'a> Piece<'a> {
    /// Wraps bytes that do not belong to a next piece.
    pub(crate) fn copied(bytes: &'a [u8]) -> Self {
        Self::Copied {
            bytes,
            is_continued: false,
        }
    }

    pub(crate) fn is_continued(&self) -> bool {
        matches!(
            self,
            Self::Copied {
                is_continued: true,
                ..
            }
        )
    }

    pub(crate) fn as_slice(&self) -> &'a [u8] {
        match self {
            Self::Copied { bytes, .. } => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Returns the piece without its first `skip` bytes, for the connection's queue of unsent bytes.
    pub(crate) fn keep_from(&self, skip: usize) -> Bytes {
        match self {
            Self::Copied { bytes, .. } => {
                Bytes::copy_from_slice(bytes.get(skip..).unwrap_or_default())
            }
            Self::Shared(bytes) => bytes.slice(skip.min(bytes.len())..),
        }
    }
}

impl<'a> Pieces<'a> {
    /// Passes each piece that is not empty to `visit`. Shared payloads are never empty.
    #[inline]
    pub(crate) fn for_each(self, mut visit: impl FnMut(Piece<'a>)) {
        let mut before = 0;
        for (at, payload) in self.shared {
            let copied = self.bytes.get(before..*at).unwrap_or_default();
            before = *at;
            if !copied.is_empty() {
                visit(Piece::Copied {
                    bytes: copied,
                    is_continued: true,
                });
            }
            visit(Piece::Shared(payload));
        }
        let tail = self.bytes.get(before..).unwrap_or_default();
        if !tail.is_empty() {
            visit(Piece::copied(tail));
        }
    }
}

/// A guard that marks a connection as polled by this thread.
pub(crate) struct Polling {
    entered: bool,
}

/// Marks a connection as polled by this thread until the guard is dropped.
///
/// A poll within another poll has no cork. Its sends are written at once, like the sends of other tasks. Such a poll
/// occurs if a handler blocks on a runtime of its own.
pub(crate) fn enter(connection: &Arc<Link>) -> Polling {
    enter_as(connection.id(), Some(connection))
}

fn enter_as(id: u64, connection: Option<&Arc<Link>>) -> Polling {
    CORK.with_borrow_mut(|cork| {
        let entered = cork.owner == 0;
        if entered {
            cork.owner = id;
            cork.connection = connection.cloned();
        }
        Polling { entered }
    })
}

impl Drop for Polling {
    fn drop(&mut self) {
        if self.entered {
            let (connection, has_bytes, has_deferred) = CORK.with_borrow_mut(|cork| {
                cork.owner = 0;
                let has_bytes = !cork.is_empty();
                (cork.connection.take(), has_bytes, !cork.deferred.is_empty())
            });
            if has_bytes {
                drop_bytes();
            }
            // Dropped after the borrow has ended: the destructor of a connection may run code that sends, and sending
            // borrows the cork.
            drop(connection);
            // This destructor runs the deferred work, because a destructor also runs after a panic.
            if has_deferred {
                run_deferred();
            }
        }
    }
}

/// Drops the bytes of a poll that a panic has ended. The next connection must not send them.
#[cold]
fn drop_bytes() {
    let shared = CORK.with_borrow_mut(|cork| {
        cork.bytes.clear();
        cork.shared_len = 0;
        std::mem::take(&mut cork.shared)
    });
    // Dropped after the borrow has ended: the program may have given the payload a destructor.
    drop(shared);
}

/// Returns whether this thread polls the connection `id`.
#[inline]
pub(crate) fn is_polling(id: u64) -> bool {
    CORK.with_borrow(|cork| cork.owner == id)
}

/// Returns whether this thread runs a hook of this server: the thread polls one of the server's connections, or runs
/// the end hooks of one of them.
pub(crate) fn is_polling_for(env: &Arc<Env>) -> bool {
    let is_polled = CORK.with_borrow(|cork| {
        let connection = cork.connection.as_ref();
        connection.is_some_and(|connection| Arc::ptr_eq(&connection.env, env))
    });
    is_polled
        || ENDING_FOR.with_borrow(|ending| {
            let ending = ending.as_ref();
            ending.is_some_and(|ending| Arc::ptr_eq(ending, env))
        })
}

/// Runs the end hooks of a connection of this server. While they run, [`is_polling_for`] returns true on this thread.
/// An end hook that calls `shutdown().await` or `wait().await` thus does not wait for the end of the server, which
/// itself waits for the end hook.
pub(crate) fn run_end_hooks(env: &Arc<Env>, hooks: impl FnOnce()) {
    // If the thread is ending, the thread-local value may be destroyed already. The hooks then run without the mark: no
    // shutdown waits for them in this case.
    let set = |env| ENDING_FOR.try_with(|ending| ending.replace(env));
    let before = set(Some(env.clone())).unwrap_or_default();
    hooks();
    let _ = set(before);
}

/// Calls `write` with the cork of the connection `id`. Returns `None` if this thread does not poll the connection.
#[inline]
pub(crate) fn with<R>(id: u64, write: impl FnOnce(&mut Cork) -> R) -> Option<R> {
    CORK.with_borrow_mut(|cork| (cork.owner == id).then(|| write(cork)))
}

/// Where [`with_any`] has written.
pub(super) enum Written {
    /// Into the connection's cork.
    Corked { is_full: bool },
    /// Into a cork of its own, because this thread does not poll the connection.
    Apart(Box<Cork>),
}

/// Calls `write` with the cork of the connection `id`, or with a new cork if this thread does not poll the connection.
/// `write` must not use the thread's cork in another way.
// One call of `write`, so that the compiler inlines it.
#[inline]
pub(super) fn with_any(id: u64, write: impl FnOnce(&mut Cork)) -> Written {
    CORK.with_borrow_mut(|own| {
        let mut apart = None;
        let cork = match own.owner == id {
            true => own,
            false => &mut **apart.insert(Box::new(Cork::new())),
        };
        write(cork);
        let is_full = cork.is_full();
        match apart {
            None => Written::Corked { is_full },
            Some(apart) => Written::Apart(apart),
        }
    })
}

/// Returns the number of bytes in the cork of the connection `id`; 0 if this thread does not poll the connection.
pub(crate) fn corked_len(id: u64) -> usize {
    // A thread of a runtime may call this function while the thread ends and drops its tasks. The thread-local value
    // may then be destroyed already.
    let length = CORK.try_with(|cork| {
        cork.try_borrow()
            .ok()
            .filter(|cork| cork.owner == id)
            .map(|cork| cork.bytes.len() + cork.shared_len)
    });
    length.ok().flatten().unwrap_or_default()
}

/// Returns whether the cork of the connection `id` has bytes. Returns false if this thread does not poll the connection.
#[inline]
pub(crate) fn has_bytes(id: u64) -> bool {
    CORK.with_borrow(|cork| cork.owner == id && !cork.is_empty())
}

/// Passes the bytes in the cork of the polled connection to `write`, which must not use the cork. If `write` returns
/// their number, empties the cork. Returns the number of bytes that `write` has taken if it has not taken all bytes, so
/// that they are still in the cork. Does not call `write` if the cork has shared payloads, and returns `Some(0)`.
#[inline]
pub(crate) fn drain_in_place(write: impl FnOnce(&[u8]) -> usize) -> Option<usize> {
    CORK.with_borrow_mut(|cork| {
        if !cork.shared.is_empty() {
            return Some(0);
        }
        let taken = write(&cork.bytes);
        if taken < cork.bytes.len() {
            return Some(taken);
        }
        cork.bytes.clear();
        if cork.bytes.capacity() > KEEP {
            cork.bytes.shrink_to(KEEP);
        }
        None
    })
}

/// Empties the cork of the connection `id`, and passes the pieces to `write` in order. Does nothing if the cork is
/// empty or this thread does not poll the connection.
pub(crate) fn drain(id: u64, write: impl FnOnce(Pieces<'_>)) {
    // `write` runs after the borrow has ended, because `write` may use the cork.
    let taken = CORK.with_borrow_mut(|cork| {
        (cork.owner == id && !cork.is_empty()).then(|| {
            cork.shared_len = 0;
            (
                std::mem::take(&mut cork.bytes),
                std::mem::take(&mut cork.shared),
            )
        })
    });
    let Some((mut bytes, mut shared)) = taken else {
        return;
    };
    write(Pieces {
        bytes: &bytes,
        shared: &shared,
    });
    bytes.clear();
    bytes.shrink_to(KEEP);
    shared.clear();
    CORK.with_borrow_mut(|cork| {
        cork.bytes = bytes;
        cork.shared = shared;
    });
}

/// Writes the cork of the connection that this thread polls.
///
/// A handler may answer its own client and then publish to a room, whose messages other threads deliver. Publishing
/// calls this function first. The client thus gets the answer before the published message.
pub fn flush_current() {
    if let Some(connection) = corked_connection() {
        let lane = connection.lane();
        lane.flush();
        if connection.lane.has_backlog() {
            connection.lane.lock_out().write_fresh(lane);
        }
    }
}

/// Moves the cork of the connection that this thread polls into the connection's queue. The next [`flush_current`], or
/// the end of the poll, writes it.
///
/// A handler may send the head of a response, and then join a room, whose messages other threads deliver. Joining calls
/// this function first, and `flush_current` last. The messages thus come after the head, and a client that has received
/// the head is a member.
pub fn queue_current() {
    if let Some(connection) = corked_connection() {
        connection.lane().queue_cork();
    }
}

/// Returns the connection that this thread polls if its cork or its queue has bytes.
fn corked_connection() -> Option<Arc<Link>> {
    CORK.with_borrow(|cork| {
        let connection = cork.connection.as_ref()?;
        let has_bytes = !cork.is_empty() || connection.lane.has_backlog();
        has_bytes.then(|| connection.clone())
    })
}

/// Returns the id of the connection that this thread polls. The connection's [`Outbox`](crate::Outbox) has the same id.
///
/// A caller of [`defer`] can store this id until the deferred work runs. If this function returns the stored id again,
/// the work is deferred already.
pub fn polled_connection() -> Option<u64> {
    CORK.with_borrow(|cork| (cork.owner != 0).then_some(cork.owner))
}

/// Runs `work` at the end of the current connection's poll. Outside of a poll, runs `work` at once.
///
/// Use this for work that several sends of one poll would otherwise repeat, such as waking a task that delivers to many
/// connections. The work must not block.
pub fn defer(work: impl FnOnce() + Send + 'static) {
    let now = CORK.with_borrow_mut(|cork| {
        if cork.owner == 0 {
            return Some(work);
        }
        cork.deferred.push(Box::new(work));
        None
    });
    if let Some(work) = now {
        work();
    }
}

/// Runs the work that was deferred during the poll.
fn run_deferred() {
    // The list is taken out first, because the work may defer more work.
    let mut work = CORK.with_borrow_mut(|cork| std::mem::take(&mut cork.deferred));
    for work in work.drain(..) {
        contain("in work that was deferred", work);
    }
    // The emptied list keeps its memory for later polls.
    CORK.with_borrow_mut(|cork| {
        if cork.deferred.is_empty() {
            cork.deferred = work;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(pieces: Pieces<'_>) -> Vec<u8> {
        let mut all = Vec::new();
        pieces.for_each(|piece| all.extend_from_slice(piece.as_slice()));
        all
    }

    #[test]
    fn pieces_keep_the_order_of_copied_and_shared_payloads() {
        let large = Bytes::from(vec![b'L'; SHARE_FROM]);
        let _polling = enter_as(1, None);
        with(1, |cork| {
            cork.bytes().extend_from_slice(b"head ");
            cork.push(&large);
            cork.push(&Bytes::from_static(b" between "));
            cork.push(&large);
            cork.bytes().extend_from_slice(b" tail");
        });
        let mut expected = b"head ".to_vec();
        expected.extend_from_slice(&large);
        expected.extend_from_slice(b" between ");
        expected.extend_from_slice(&large);
        expected.extend_from_slice(b" tail");
        let mut seen = Vec::new();
        drain(1, |pieces| seen = collected(pieces));
        assert_eq!(seen, expected);
        let mut again = false;
        drain(1, |_| again = true);
        assert!(!again, "a drained cork is empty");
    }

    #[test]
    fn only_the_polled_connection_is_corked() {
        let outer = enter_as(1, None);
        assert!(with(2, |_| ()).is_none());
        {
            let _inner = enter_as(2, None);
            assert!(
                with(2, |_| ()).is_none(),
                "a poll inside a poll is not corked"
            );
        }
        assert!(is_polling(1));
        drop(outer);
        assert!(!is_polling(1));
    }

    #[test]
    fn bytes_left_by_a_panic_are_dropped() {
        let polling = enter_as(1, None);
        with(1, |cork| {
            cork.bytes().extend_from_slice(b"for one");
            cork.push(&Bytes::from(vec![b'L'; SHARE_FROM]));
        });
        // A panic drops the guard in the same way.
        drop(polling);
        let _polling = enter_as(2, None);
        let mut found = false;
        drain(2, |_| found = true);
        assert!(!found);
        assert_eq!(corked_len(2), 0);
    }

    #[test]
    fn deferred_work_runs_where_a_panic_ends_the_poll() {
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let seen = count.clone();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _polling = enter_as(1, None);
            // A second panic would abort the process if it were not caught.
            defer(|| panic!("of the work"));
            defer(move || {
                seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
            panic!("of the poll");
        }));
        assert!(ended.is_err());
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
        assert!(!is_polling(1));
    }

    #[test]
    fn deferred_work_runs_once_at_the_end_of_the_poll() {
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let polling = enter_as(1, None);
        let seen = count.clone();
        defer(move || {
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 0);
        drop(polling);
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
        drop(enter_as(1, None));
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
        let seen = count.clone();
        defer(move || {
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 2);
    }
}
