//! The newest messages of each key, for slow members of rooms with
//! [`SlowPolicy::Conflate`](crate::SlowPolicy::Conflate).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    config::RoomLimits,
    ledger::{Ledger, Place},
    post::{Audience, Dropped, Post},
};

/// Of the messages that a member of the room has not received yet, the newest of each key. A message without a key
/// counts as a key of its own.
///
/// Two messages with the same key and different audiences do not replace each other: the newer one may not be for a
/// member that needs the older one.
#[derive(Default)]
pub(crate) struct Conflated {
    by_number: BTreeMap<u64, Arc<Post>>,
    by_key: HashMap<(Box<str>, Audience), u64>,
    /// Size of the messages, each with its overhead.
    bytes: usize,
}

impl Conflated {
    /// Adds the newest message of the room. Drops the messages that it replaces, those that no member needs (numbers
    /// below `claimed`), and the oldest beyond the limits. Appends what it drops to `dropped`, for the caller to drop
    /// without the room's lock. The log has the messages from the number `log_first` on.
    pub(crate) fn push(
        &mut self,
        post: &Arc<Post>,
        claimed: u64,
        log_first: u64,
        limits: &RoomLimits,
        ledger: &Ledger,
        dropped: &mut Dropped,
    ) {
        if claimed <= post.number {
            if let Some(key) = &post.draft.key {
                let key = (key.clone(), post.audience().clone());
                if let Some(replaced) = self.by_key.insert(key, post.number) {
                    self.take(replaced, log_first, ledger, dropped);
                }
            }
            self.bytes += post.queue_bytes();
            self.by_number.insert(post.number, post.clone());
        }
        self.trim(claimed, log_first, limits, ledger, dropped);
    }

    /// Drops the messages that no member needs, and the oldest beyond the limits.
    pub(crate) fn trim(
        &mut self,
        claimed: u64,
        log_first: u64,
        limits: &RoomLimits,
        ledger: &Ledger,
        dropped: &mut Dropped,
    ) {
        while let Some((&number, _)) = self.by_number.first_key_value() {
            let is_beyond = self.by_number.len() > limits.conflated_keys.max(1)
                || self.bytes > limits.slow_bytes && self.by_number.len() > 1;
            if number >= claimed && !is_beyond {
                break;
            }
            self.remove(number, log_first, ledger, dropped);
        }
        if self.by_number.is_empty() && self.by_key.capacity() > 16 {
            self.by_key = HashMap::new();
        }
    }

    /// Counts the messages that the log has dropped, and that are still kept here, as waiting for slow members.
    pub(crate) fn settle<'a>(&self, dropped: impl Iterator<Item = &'a Arc<Post>>, ledger: &Ledger) {
        for post in dropped {
            if self.by_number.contains_key(&post.number) {
                post.kept.move_to(Place::Waiting, ledger);
            }
        }
    }

    /// Drops the oldest quarter of the messages. Returns false if there is none.
    pub(crate) fn drop_farthest(
        &mut self,
        log_first: u64,
        ledger: &Ledger,
        dropped: &mut Dropped,
    ) -> bool {
        let count = self.by_number.len().div_ceil(4);
        let oldest: Vec<_> = self.by_number.keys().take(count).copied().collect();
        for number in &oldest {
            self.remove(*number, log_first, ledger, dropped);
        }
        !oldest.is_empty()
    }

    /// Removes one message.
    pub(crate) fn remove(
        &mut self,
        number: u64,
        log_first: u64,
        ledger: &Ledger,
        dropped: &mut Dropped,
    ) {
        let Some(post) = self.take(number, log_first, ledger, dropped) else {
            return;
        };
        if let Some(key) = &post.draft.key {
            self.by_key.remove(&(key.clone(), post.audience().clone()));
        }
    }

    /// Takes a message out of the order by number.
    fn take(
        &mut self,
        number: u64,
        log_first: u64,
        ledger: &Ledger,
        dropped: &mut Dropped,
    ) -> Option<Arc<Post>> {
        let post = self.by_number.remove(&number)?;
        self.bytes -= post.queue_bytes();
        if number < log_first {
            post.kept.move_to(Place::None, ledger);
        }
        dropped.push(post.clone());
        Some(post)
    }

    /// Removes all messages, and returns them. The log has none of them any more.
    pub(crate) fn clear(&mut self, ledger: &Ledger) -> Vec<Arc<Post>> {
        let posts: Vec<_> = std::mem::take(self).by_number.into_values().collect();
        for post in &posts {
            post.kept.move_to(Place::None, ledger);
        }
        posts
    }

    /// Returns at most `count` of the messages with numbers from `from` to `until`.
    pub(crate) fn read(&self, from: u64, until: u64, count: usize) -> Vec<Arc<Post>> {
        if from > until {
            return Vec::new();
        }
        let posts = self.by_number.range(from..=until);
        posts.take(count).map(|(_, post)| post.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{member::MemberId, post::Draft};

    struct Fixture {
        conflated: Conflated,
        ledger: Ledger,
        limits: RoomLimits,
        last: u64,
        dropped: Dropped,
    }

    impl Fixture {
        fn new(limits: RoomLimits) -> Self {
            Self {
                conflated: Conflated::default(),
                ledger: Ledger::new(Arc::default()),
                limits,
                last: 0,
                dropped: Dropped::default(),
            }
        }

        /// Adds a message that the log has dropped already.
        fn push(&mut self, key: &str, audience: Audience, claimed: u64) {
            let mut draft = Draft::new("x".into());
            draft.key = (!key.is_empty()).then(|| key.into());
            draft.audience = audience;
            self.last += 1;
            let post = Arc::new(Post::new(self.last, draft));
            self.conflated.push(
                &post,
                claimed,
                u64::MAX,
                &self.limits,
                &self.ledger,
                &mut self.dropped,
            );
            self.conflated.settle([&post].into_iter(), &self.ledger);
        }

        fn numbers(&self) -> Vec<u64> {
            let posts = self.conflated.read(0, u64::MAX, usize::MAX);
            let waiting: usize = posts.iter().map(|post| post.kept.bytes()).sum();
            assert_eq!(self.ledger.waiting(), waiting);
            posts.iter().map(|post| post.number).collect()
        }
    }

    #[test]
    fn the_newest_of_each_key_and_audience_stays() {
        let mut it = Fixture::new(RoomLimits::default());
        let except = Audience::Except(MemberId::local(7));
        for (key, audience) in [
            ("a", Audience::All),
            ("b", Audience::All),
            ("", Audience::All),
            ("a", except.clone()),
            ("", Audience::All),
            ("a", Audience::All),
            ("a", except),
        ] {
            it.push(key, audience, 1);
        }
        assert_eq!(it.numbers(), [2, 3, 5, 6, 7]);
        assert_eq!(it.dropped.len(), 2);
        it.push("c", Audience::All, 6);
        assert_eq!(it.numbers(), [6, 7, 8], "the rest was received");
        it.push("c", Audience::All, u64::MAX);
        assert_eq!(it.numbers(), [0; 0]);
        assert_eq!(it.conflated.by_key.len(), 0);
    }

    #[test]
    fn the_oldest_go_beyond_the_limits() {
        let mut it = Fixture::new(RoomLimits::default().conflated_keys(3));
        for key in ["a", "b", "c", "d", "a"] {
            it.push(key, Audience::All, 1);
        }
        assert_eq!(it.numbers(), [3, 4, 5]);
        assert_eq!(it.conflated.by_key.len(), 3);

        let mut it = Fixture::new(RoomLimits::default().slow_bytes(2 * Post::OVERHEAD + 9));
        for key in ["a", "b", "c"] {
            it.push(key, Audience::All, 1);
        }
        assert_eq!(it.numbers(), [2, 3]);
        it.limits.slow_bytes = 0;
        it.push("d", Audience::All, 1);
        assert_eq!(it.numbers(), [4], "a message of any size has a place");
    }

    #[test]
    fn messages_go_one_by_one_by_quarters_or_all() {
        let mut it = Fixture::new(RoomLimits::default());
        for key in ["a", "b", "c", "d", "e"] {
            it.push(key, Audience::All, 1);
        }
        let ledger = &it.ledger;
        it.conflated.remove(4, u64::MAX, ledger, &mut it.dropped);
        let (conflated, dropped) = (&mut it.conflated, &mut it.dropped);
        assert!(conflated.drop_farthest(u64::MAX, ledger, dropped));
        assert_eq!(it.numbers(), [2, 3, 5]);
        assert_eq!(it.conflated.clear(&it.ledger).len(), 3);
        assert_eq!(it.numbers(), [0; 0]);
        let (conflated, dropped) = (&mut it.conflated, &mut it.dropped);
        assert!(!conflated.drop_farthest(u64::MAX, &it.ledger, dropped));
    }
}
