//! Seats: the data that a hub keeps about each member, and the delivery of messages to the member.
//!
//! A hub is a task that delivers the messages of rooms. In one *pass*, it delivers the queue of one shard (its part of
//! a room).

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use hyperlane_core::{CloseCode, Outbox, PushError, WireFormat};

use crate::{
    member::MemberId,
    post::{Audience, Offset, Post},
};

/// Messages that a pass delivers together.
pub(crate) struct Batch {
    posts: Vec<Arc<Post>>,
    /// True if at least one message is not for all members.
    is_selective: bool,
    /// For each wire format in use: the encoded messages as one buffer, and the number of messages in the buffer.
    merged: Vec<(WireFormat, Bytes, u64)>,
}

impl Batch {
    pub(crate) fn new(posts: Vec<Arc<Post>>) -> Self {
        let is_selective = posts
            .iter()
            .any(|post| !matches!(post.audience, Audience::All));
        Self {
            posts,
            is_selective,
            merged: Vec::new(),
        }
    }

    /// Returns the offset of the first message.
    pub(crate) fn first(&self) -> Offset {
        self.posts.first().map_or(Offset(0), |post| post.offset)
    }

    /// Returns the encoded messages in the wire format of `outbox`, as one buffer, and the number of messages in
    /// the buffer. All outboxes of the same format share the buffer.
    fn merged(&mut self, outbox: &Outbox) -> (&Bytes, u64) {
        let format = outbox.format();
        let known = self.merged.iter().position(|(known, ..)| *known == format);
        let at = known.unwrap_or_else(|| {
            let (bytes, count) = self.merge(outbox);
            self.merged.push((format, bytes, count));
            self.merged.len() - 1
        });
        static NONE: Bytes = Bytes::new();
        match self.merged.get(at) {
            Some((_, bytes, count)) => (bytes, *count),
            None => (&NONE, 0),
        }
    }

    /// Encodes the messages in the wire format of `outbox`, as one buffer. Returns the buffer and the number of
    /// messages in it.
    fn merge(&self, outbox: &Outbox) -> (Bytes, u64) {
        let mut count = 1;
        let bytes = match self.posts.as_slice() {
            [one] => one.encoded(outbox).cloned().unwrap_or_default(),
            many => {
                let parts = || many.iter().filter_map(|post| post.encoded(outbox));
                let mut merged = BytesMut::with_capacity(parts().map(Bytes::len).sum());
                count = 0;
                for part in parts() {
                    merged.extend_from_slice(part);
                    count += 1;
                }
                merged.freeze()
            }
        };
        (bytes, count)
    }
}

/// A member in a shard: the outbox of its connection, and its position in the room's messages.
pub(crate) struct Seat {
    pub(crate) id: MemberId,
    pub(crate) outbox: Outbox,
    /// True if this member can receive messages that were encoded for other members with the same wire format. False
    /// for compression with context takeover, where each message depends on the earlier messages of the connection.
    takes_shared: bool,
    /// For a slow member: the offset of the first message that it may have missed, because its outbox was full or
    /// because a pass was dropped before its end. `None` for a member that is not slow.
    pub(crate) position: Option<Offset>,
    /// The offset after the last message that the hub has delivered to this member from the room's history; 0 if the
    /// hub has delivered none from there. A later batch may contain messages before this offset again. The hub then
    /// skips them.
    pub(crate) caught_up_to: Offset,
}

impl Seat {
    pub(crate) fn new(outbox: Outbox) -> Self {
        Self {
            id: MemberId::from(&outbox),
            takes_shared: outbox.format().is_shared(),
            outbox,
            position: None,
            caught_up_to: Offset(0),
        }
    }

    /// Delivers a batch. Adds the number of delivered messages to `delivered`.
    pub(crate) fn deliver(&mut self, batch: &mut Batch, delivered: &mut u64) {
        if batch.is_selective || !self.takes_shared || batch.first() < self.caught_up_to {
            for post in &batch.posts {
                if post.offset >= self.caught_up_to && !self.deliver_post(post, delivered) {
                    return;
                }
            }
            return;
        }
        let (bytes, count) = batch.merged(&self.outbox);
        if bytes.is_empty() {
            return;
        }
        match self.outbox.push(bytes) {
            Ok(()) => *delivered += count,
            Err(PushError::Full) => self.position = Some(batch.first()),
            Err(PushError::Closed | PushError::Channel) => {}
        }
    }

    /// Delivers one message if the member is in its audience. Returns false if the outbox is full.
    fn deliver_post(&mut self, post: &Post, delivered: &mut u64) -> bool {
        if !post.audience.includes(self.id) {
            return true;
        }
        let (is_sent, is_full) = if self.takes_shared {
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
            self.position = Some(post.offset);
            return false;
        }
        true
    }

    /// Delivers messages that a slow member has missed, until the outbox is full.
    pub(crate) fn deliver_missed(&mut self, missed: &[Arc<Post>], delivered: &mut u64) {
        self.position = None;
        for post in missed {
            if !self.deliver_post(post, delivered) {
                return;
            }
            self.caught_up_to = post.offset.next();
        }
    }

    /// Closes the connection of a slow member. A pass calls this method if the history has dropped the message at the
    /// member's position.
    pub(crate) fn close_slow(&mut self) {
        self.position = None;
        self.outbox
            .close(CloseCode::TRY_AGAIN_LATER, "reads too slowly", true);
    }
}
