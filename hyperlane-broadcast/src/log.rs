//! Logs: the last messages of a room, for slow members and for members that join later.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;

use crate::{
    config::RoomLimits,
    ledger::{Ledger, Place},
    post::{Dropped, Post},
};

/// Maximum number of messages that one call of [`Log::read`] returns. A call runs under the room's lock.
pub(crate) const READ_MESSAGES: usize = 64;

/// Maximum size of the messages that one call of [`Log::read`] returns, in bytes. The last message may exceed it.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// Maximum number of places at which one call of [`Log::read`] looks. Messages may have been removed from some of them.
const READ_PLACES: usize = 16 * READ_MESSAGES;

/// The last messages of a room, in the order of their numbers.
///
/// The newest messages are the *history*, within the limits of number, bytes and age. Older messages are kept before it
/// as long as a slow member needs them, or a hub has not delivered them yet.
#[derive(Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the last message; 0 if none was published.
    last: u64,
    /// Number of entries before the history.
    before_history: usize,
    /// Length of all messages that were ever published, in bytes.
    total: u64,
}

struct Entry {
    at: Instant,
    /// Length of all earlier messages, in bytes.
    before: u64,
    /// `None` if the message was removed.
    post: Option<Arc<Post>>,
}

/// A part of a log.
pub(crate) struct Part {
    pub(crate) posts: Vec<Arc<Post>>,
    /// The number from which to read on.
    pub(crate) next: u64,
}

impl Log {
    /// Returns the number of the last message; 0 if none was published.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Returns the number of the oldest message that the log keeps. If it keeps none, returns the number of the next
    /// message.
    pub(crate) fn first(&self) -> u64 {
        self.last + 1 - self.entries.len() as u64
    }

    /// Returns the number of the oldest message in the history, or of the next message if the history is empty.
    pub(crate) fn history_first(&self) -> u64 {
        self.first() + self.before_history as u64
    }

    pub(crate) fn has_history(&self) -> bool {
        self.before_history < self.entries.len()
    }

    /// Appends a message, whose number must be [`last`](Self::last) plus one.
    pub(crate) fn push(&mut self, post: Arc<Post>, now: Instant, ledger: &Ledger) {
        debug_assert_eq!(post.number, self.last + 1);
        post.kept.move_to(Place::History, ledger);
        self.last += 1;
        let before = self.total;
        self.total += post.draft.len() as u64;
        self.entries.push_back(Entry {
            at: now,
            before,
            post: Some(post),
        });
    }

    /// Ends the time in the history of the messages that are beyond its limits. Then drops the messages before the
    /// history that have a number below `needed`. Appends the dropped messages to `dropped`: the caller drops them after
    /// it has released the room's lock, because the program may have given a payload a destructor.
    pub(crate) fn trim(
        &mut self,
        now: Instant,
        limits: &RoomLimits,
        needed: u64,
        ledger: &Ledger,
        dropped: &mut Dropped,
    ) {
        while let Some(oldest) = self.entries.get(self.before_history) {
            let is_within = self.entries.len() - self.before_history <= limits.history_messages
                && ledger.history() <= limits.history_bytes
                && now.saturating_duration_since(oldest.at) <= limits.history_age;
            if is_within {
                break;
            }
            self.before_history += 1;
            // In most rooms no member needs the message any more.
            match self.before_history == 1 && self.first() < needed {
                true => self.drop_first(ledger, dropped),
                false => self.set_waiting(self.before_history - 1, ledger),
            }
        }
        self.drop_unneeded(needed, ledger, dropped);
    }

    /// Ends the time in the history of the oldest messages, until they have freed `bytes`. Returns the number of bytes
    /// that were freed.
    pub(crate) fn give_up(&mut self, bytes: usize, ledger: &Ledger) -> usize {
        let before = ledger.history();
        while before.saturating_sub(ledger.history()) < bytes && self.has_history() {
            self.set_waiting(self.before_history, ledger);
            self.before_history += 1;
        }
        before.saturating_sub(ledger.history())
    }

    /// Counts a message as one that waits for slow members.
    fn set_waiting(&self, at: usize, ledger: &Ledger) {
        if let Some(entry) = self.entries.get(at)
            && let Some(post) = &entry.post
        {
            post.kept.move_to(Place::Waiting, ledger);
        }
    }

    /// Drops the first message, which is before the history.
    fn drop_first(&mut self, ledger: &Ledger, dropped: &mut Dropped) {
        self.before_history -= 1;
        if let Some(post) = self.entries.pop_front().and_then(|entry| entry.post) {
            post.kept.move_to(Place::None, ledger);
            dropped.push(post);
        }
    }

    /// Drops the messages before the history that have a number below `needed`.
    pub(crate) fn drop_unneeded(&mut self, needed: u64, ledger: &Ledger, dropped: &mut Dropped) {
        while self.before_history > 0 && self.first() < needed {
            self.drop_first(ledger, dropped);
        }
        if self.entries.is_empty() && self.entries.capacity() > 16 {
            self.entries = VecDeque::new();
        }
    }

    /// Removes one message. Returns `None` if the log does not have it.
    pub(crate) fn remove(&mut self, number: u64, ledger: &Ledger) -> Option<Arc<Post>> {
        let at = self.index(number)?;
        let post = self.entries.get_mut(at)?.post.take()?;
        post.kept.move_to(Place::None, ledger);
        Some(post)
    }

    /// Removes all messages, and returns them. Later messages go on with the next number.
    pub(crate) fn clear(&mut self, ledger: &Ledger) -> Vec<Arc<Post>> {
        self.before_history = 0;
        let posts = std::mem::take(&mut self.entries).into_iter();
        let posts: Vec<_> = posts.filter_map(|entry| entry.post).collect();
        for post in &posts {
            post.kept.move_to(Place::None, ledger);
        }
        posts
    }

    fn index(&self, number: u64) -> Option<usize> {
        let at = number.checked_sub(self.first())?;
        usize::try_from(at)
            .ok()
            .filter(|at| *at < self.entries.len())
    }

    /// Returns messages with numbers from `from` to `until`, as many as one read may return. Returns `None` if the log
    /// does not have the message `from` any more.
    pub(crate) fn read(&self, from: u64, until: u64) -> Option<Part> {
        let mut posts = Vec::new();
        let next = self.scan(from, until, |post, _| posts.push(post.clone()))?;
        Some(Part { posts, next })
    }

    /// Calls `each` for the messages that [`read`](Self::read) returns, with the time when each was published. Returns
    /// the number from which to read on.
    pub(crate) fn scan(
        &self,
        from: u64,
        until: u64,
        mut each: impl FnMut(&Arc<Post>, Instant),
    ) -> Option<u64> {
        if from < self.first() {
            return None;
        }
        let start = self.index(from).unwrap_or(self.entries.len());
        let mut next = from;
        let (mut messages, mut bytes) = (0, 0);
        for entry in self.entries.iter().skip(start).take(READ_PLACES) {
            if next > until || messages >= READ_MESSAGES || bytes >= READ_BYTES {
                break;
            }
            if let Some(post) = &entry.post {
                messages += 1;
                bytes += post.draft.len();
                each(post, entry.at);
            }
            next += 1;
        }
        Some(next)
    }

    /// Returns the number from which the history has the last `count` messages for which `is_wanted` returns true.
    pub(crate) fn start_of_last(&self, count: usize, is_wanted: impl Fn(&Post) -> bool) -> u64 {
        let mut from = self.last + 1;
        let mut left = count;
        for entry in self.entries.iter().skip(self.before_history).rev() {
            if left == 0 {
                break;
            }
            from -= 1;
            left -= usize::from(entry.post.as_ref().is_some_and(|post| is_wanted(post)));
        }
        from
    }

    /// Returns the lowest number that a slow member may have reached without being beyond the limits.
    pub(crate) fn slow_limit(&self, limits: &RoomLimits) -> u64 {
        let behind = u64::try_from(limits.slow_messages).unwrap_or(u64::MAX);
        let by_count = (self.last + 1).saturating_sub(behind);
        let bytes = self.total.saturating_sub(limits.slow_bytes as u64);
        let by_bytes =
            self.first() + self.entries.partition_point(|entry| entry.before < bytes) as u64;
        by_count.max(by_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        member::MemberId,
        post::{Audience, Draft},
    };

    struct Fixture {
        log: Log,
        ledger: Ledger,
        limits: RoomLimits,
        now: Instant,
        dropped: Dropped,
    }

    impl Fixture {
        fn new(limits: RoomLimits) -> Self {
            Self {
                log: Log::default(),
                ledger: Ledger::new(Arc::default()),
                limits,
                now: Instant::now(),
                dropped: Dropped::default(),
            }
        }

        fn push(&mut self, length: usize) {
            let draft = Draft::new("x".repeat(length).into());
            let post = Arc::new(Post::new(self.log.last() + 1, draft));
            self.log.push(post, self.now, &self.ledger);
        }

        fn trim(&mut self, needed: u64) {
            self.log.trim(
                self.now,
                &self.limits,
                needed,
                &self.ledger,
                &mut self.dropped,
            );
        }

        fn numbers(&self, from: u64) -> Option<Vec<u64>> {
            let part = self.log.read(from, u64::MAX)?;
            Some(part.posts.iter().map(|post| post.number).collect())
        }
    }

    fn three() -> RoomLimits {
        RoomLimits::default().history_messages(3)
    }

    #[test]
    fn the_history_is_bounded_by_number_bytes_and_age() {
        let mut log = Fixture::new(three());
        for _ in 0..5 {
            log.push(1);
            log.trim(u64::MAX);
        }
        assert_eq!(log.numbers(3), Some(vec![3, 4, 5]));
        assert_eq!((log.numbers(2), log.numbers(6)), (None, Some(vec![])));
        assert_eq!(log.dropped.len(), 2);

        let mut log = Fixture::new(three().history_bytes(3000));
        for _ in 0..3 {
            log.push(1000);
            log.trim(u64::MAX);
        }
        assert_eq!(log.log.first(), 2, "each counts with its overhead");
        log.now += Duration::from_secs(301);
        log.trim(u64::MAX);
        assert!(!log.log.has_history());
        assert_eq!((log.log.first(), log.log.last()), (4, 3));
        assert_eq!((log.ledger.history(), log.ledger.waiting()), (0, 0));
    }

    #[test]
    fn needed_messages_stay_before_the_history() {
        let mut log = Fixture::new(three());
        for _ in 0..6 {
            log.push(10);
            log.trim(2);
        }
        assert_eq!(log.numbers(2), Some(vec![2, 3, 4, 5, 6]));
        assert_eq!((log.log.first(), log.log.history_first()), (2, 4));
        assert_eq!(log.ledger.waiting(), 2 * (10 + Post::OVERHEAD));
        log.trim(3);
        assert_eq!(log.log.first(), 3);
        log.trim(u64::MAX);
        assert_eq!((log.log.first(), log.ledger.waiting()), (4, 0));
        assert_eq!(log.log.give_up(1, &log.ledger), 10 + Post::OVERHEAD);
        assert_eq!(log.log.history_first(), 5);
    }

    #[test]
    fn a_removed_message_leaves_its_number() {
        let mut log = Fixture::new(three());
        (0..3).for_each(|_| log.push(1));
        assert!(log.log.remove(2, &log.ledger).is_some());
        assert!(log.log.remove(2, &log.ledger).is_none());
        assert!(log.log.remove(9, &log.ledger).is_none());
        assert_eq!(log.numbers(1), Some(vec![1, 3]));
        assert_eq!(log.log.read(2, 2).unwrap().next, 3);
        assert_eq!(log.log.clear(&log.ledger).len(), 2);
        assert_eq!((log.log.first(), log.ledger.history()), (4, 0));
        log.push(1);
        assert_eq!(log.numbers(4), Some(vec![4]));
    }

    #[test]
    fn a_read_returns_a_bounded_part() {
        let mut log = Fixture::new(RoomLimits::default());
        (0..80).for_each(|_| log.push(1));
        let part = log.log.read(1, u64::MAX).unwrap();
        assert_eq!((part.posts.len(), part.next), (READ_MESSAGES, 65));
        assert_eq!(log.log.read(65, 70).unwrap().next, 71);
        (0..3).for_each(|_| log.push(40_000));
        assert_eq!(log.log.read(81, u64::MAX).unwrap().posts.len(), 2);
    }

    #[test]
    fn the_last_messages_are_those_for_the_member() {
        let mut log = Fixture::new(RoomLimits::default());
        let member = MemberId::local(7);
        for number in 1..=6 {
            let mut draft = Draft::new("x".into());
            if number % 2 == 0 {
                draft.audience = Audience::Except(member);
            }
            let post = Arc::new(Post::new(number, draft));
            log.log.push(post, log.now, &log.ledger);
        }
        let from = |count| {
            log.log
                .start_of_last(count, |post| post.audience().includes(member))
        };
        assert_eq!([0, 1, 2, 3, 9].map(from), [7, 5, 3, 1, 1]);
    }

    #[test]
    fn the_limit_for_slow_members_is_the_nearer_of_two() {
        let mut log = Fixture::new(RoomLimits::default().slow_messages(5).slow_bytes(1000));
        (0..4).for_each(|_| log.push(10));
        assert_eq!(log.log.slow_limit(&log.limits), 1);
        (0..6).for_each(|_| log.push(10));
        assert_eq!(log.log.slow_limit(&log.limits), 6);
        (0..2).for_each(|_| log.push(600));
        assert_eq!(
            log.log.slow_limit(&log.limits),
            12,
            "two of them are more than 1000 bytes"
        );
    }
}
