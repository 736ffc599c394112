//! Histories: the last messages of a room, for slow members and for members that join later.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;

use crate::{
    config::HistoryLimits,
    member::MemberId,
    post::{Offset, Post},
};

/// The last messages of a room, each with the time at which it was published. [`HistoryLimits`] bounds their number,
/// bytes and age.
#[derive(Default)]
pub(crate) struct History {
    posts: VecDeque<(Instant, Arc<Post>)>,
    bytes: usize,
}

impl History {
    pub(crate) fn push(&mut self, post: Arc<Post>, now: Instant, limits: &HistoryLimits) {
        self.bytes += post.history_bytes();
        self.posts.push_back((now, post));
        while let Some((at, oldest)) = self.posts.front() {
            let within = self.posts.len() <= limits.messages
                && self.bytes <= limits.bytes
                && now.saturating_duration_since(*at) <= limits.age;
            if within {
                break;
            }
            self.bytes -= oldest.history_bytes();
            self.posts.pop_front();
        }
    }

    /// Returns the messages from `offset` on. Returns `None` if the history has dropped some of these messages.
    ///
    /// `next` is the offset of the room's next message.
    pub(crate) fn since(&self, offset: Offset, next: Offset) -> Option<Vec<Arc<Post>>> {
        let oldest = self.posts.front().map_or(next, |(_, post)| post.offset);
        if offset < oldest {
            return None;
        }
        let skipped = usize::try_from(offset.0 - oldest.0).unwrap_or(usize::MAX);
        Some(
            self.posts
                .iter()
                .skip(skipped)
                .map(|(_, post)| post.clone())
                .collect(),
        )
    }

    /// Returns the last `count` messages that `member` may receive, oldest first.
    pub(crate) fn last(&self, count: usize, member: MemberId) -> Vec<Arc<Post>> {
        let mut last: Vec<_> = self
            .posts
            .iter()
            .rev()
            .map(|(_, post)| post)
            .filter(|post| post.audience.includes(member))
            .take(count)
            .cloned()
            .collect();
        last.reverse();
        last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.posts.is_empty()
    }

    /// Drops messages that are older than the age limit.
    pub(crate) fn expire(&mut self, now: Instant, limits: &HistoryLimits) {
        while let Some((at, oldest)) = self.posts.front() {
            if now.saturating_duration_since(*at) <= limits.age {
                break;
            }
            self.bytes -= oldest.history_bytes();
            self.posts.pop_front();
        }
        if self.posts.is_empty() {
            self.posts = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::post::Audience;

    fn post(offset: u64, text: &str) -> Arc<Post> {
        Arc::new(Post::new(Offset(offset), Audience::All, text.into()))
    }

    fn offsets(posts: &[Arc<Post>]) -> Vec<u64> {
        posts.iter().map(|post| post.offset.0).collect()
    }

    fn limits() -> HistoryLimits {
        HistoryLimits {
            messages: 3,
            bytes: 1 << 20,
            age: Duration::from_secs(60),
        }
    }

    #[test]
    fn keeps_the_last_messages_and_reports_dropped_ones() {
        let mut history = History::default();
        let now = Instant::now();
        for offset in 0..5 {
            history.push(post(offset, "x"), now, &limits());
        }
        assert_eq!(offsets(&history.last(2, MemberId(1))), [3, 4]);
        assert_eq!(
            offsets(&history.since(Offset(3), Offset(5)).unwrap()),
            [3, 4]
        );
        assert_eq!(
            offsets(&history.since(Offset(5), Offset(5)).unwrap()),
            [0; 0]
        );
        assert!(history.since(Offset(1), Offset(5)).is_none());
    }

    #[test]
    fn bytes_and_age_are_limited_too() {
        let mut history = History::default();
        let now = Instant::now();
        let tight = HistoryLimits {
            bytes: 1000,
            ..limits()
        };
        history.push(post(0, &"x".repeat(600)), now, &tight);
        history.push(post(1, &"x".repeat(600)), now, &tight);
        assert_eq!(offsets(&history.last(9, MemberId(1))), [1]);
        history.expire(now + Duration::from_secs(61), &tight);
        assert!(history.is_empty());
    }
}
