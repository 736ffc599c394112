//! Members as their hub sees them, and what is delivered to them.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use hyperlane_core::{CloseCode, Outbox, PushError, WireFormat};

use crate::{
    member::MemberId,
    post::{Audience, Offset, Post},
};

/// Messages that are delivered together.
pub(crate) struct Batch {
    posts: Vec<Arc<Post>>,
    /// Some of them are not for everyone.
    selective: bool,
    /// All of them in one piece, and how many those are, for each format that has members.
    joined: Vec<(WireFormat, Bytes, u64)>,
}

impl Batch {
    pub(crate) fn new(posts: Vec<Arc<Post>>) -> Self {
        let selective = posts
            .iter()
            .any(|post| !matches!(post.audience, Audience::All));
        Self {
            posts,
            selective,
            joined: Vec::new(),
        }
    }

    pub(crate) fn first(&self) -> Offset {
        self.posts.first().map_or(Offset(0), |post| post.offset)
    }

    /// All messages in one piece, for `outbox` and all others of its format.
    fn joined(&mut self, outbox: &Outbox) -> (Bytes, u64) {
        let format = outbox.format();
        if let Some((_, bytes, count)) = self.joined.iter().find(|(known, ..)| *known == format) {
            return (bytes.clone(), *count);
        }
        let mut count = 1;
        let bytes = match self.posts.as_slice() {
            [one] => one.encoded(outbox).cloned().unwrap_or_default(),
            many => {
                let parts = || many.iter().filter_map(|post| post.encoded(outbox));
                let mut joined = BytesMut::with_capacity(parts().map(Bytes::len).sum());
                count = 0;
                for part in parts() {
                    joined.extend_from_slice(part);
                    count += 1;
                }
                joined.freeze()
            }
        };
        self.joined.push((format, bytes.clone(), count));
        (bytes, count)
    }
}

/// A member as its hub sees it.
pub(crate) struct Seat {
    pub(crate) id: MemberId,
    pub(crate) outbox: Outbox,
    /// It takes what was encoded for others.
    shares: bool,
    /// Its outbox was full: the first message that it has not got.
    pub(crate) behind: Option<Offset>,
    /// Messages before this one it has got from the history.
    pub(crate) from: Offset,
}

impl Seat {
    pub(crate) fn new(outbox: Outbox) -> Self {
        Self {
            id: MemberId::from(&outbox),
            shares: outbox.format().is_shared(),
            outbox,
            behind: None,
            from: Offset(0),
        }
    }

    /// Adds what it hands over to `delivered`.
    pub(crate) fn deliver(&mut self, batch: &mut Batch, delivered: &mut u64) {
        if batch.selective || !self.shares || batch.first() < self.from {
            for post in &batch.posts {
                if post.offset >= self.from && !self.deliver_one(post, delivered) {
                    return;
                }
            }
            return;
        }
        let (bytes, count) = batch.joined(&self.outbox);
        if bytes.is_empty() {
            return;
        }
        match self.outbox.push(&bytes) {
            Ok(()) => *delivered += count,
            Err(PushError::Full) => self.behind = Some(batch.first()),
            Err(PushError::Closed | PushError::Channel) => {}
        }
    }

    /// False when its outbox is full.
    fn deliver_one(&mut self, post: &Post, delivered: &mut u64) -> bool {
        if !post.audience.includes(self.id) {
            return true;
        }
        let (is_sent, is_full) = if self.shares {
            let Some(bytes) = post.encoded(&self.outbox) else {
                return true;
            };
            let sent = self.outbox.push(bytes);
            (sent.is_ok(), sent == Err(PushError::Full))
        } else {
            let sent = self.outbox.send(&post.message);
            let is_full = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
            (sent.is_ok(), sent.is_err_and(is_full))
        };
        *delivered += u64::from(is_sent);
        if is_full {
            self.behind = Some(post.offset);
            return false;
        }
        true
    }

    /// Delivers what it lacked, up to the first message that its outbox has no room for.
    pub(crate) fn deliver_missed(&mut self, missed: &[Arc<Post>], delivered: &mut u64) {
        self.behind = None;
        for post in missed {
            if !self.deliver_one(post, delivered) {
                return;
            }
            self.from = post.offset.next();
        }
    }

    /// Closes the connection of a member that reads too slowly.
    pub(crate) fn let_go(&mut self) {
        self.behind = None;
        self.outbox
            .close(CloseCode::TRY_AGAIN_LATER, "reads too slowly", true);
    }
}
