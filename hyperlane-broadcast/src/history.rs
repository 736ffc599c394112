//! Reading the history of a room.

use std::{fmt, sync::Arc, time::SystemTime};

use hyperlane_core::Message;
use tokio::time::Instant;

use crate::{
    error::RoomError, member::MemberId, offset::Offset, post::Post, registry::handle::RoomHandle,
};

/// A reader of a room's history. [`Room::history`](crate::Room::history) creates one.
///
/// Without options it reads the oldest 100 messages for all members. A message that was sent to some members alone
/// ([`Room::send_to`](crate::Room::send_to), [`Publisher::only`](crate::Publisher::only)) is not among them, unless
/// [`of_member`](Self::of_member) or [`of_user`](Self::of_user) asks for one that was to receive it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use hyperlane_broadcast::Rooms;
///
/// let room = Rooms::new().room("lobby")?;
/// for text in ["one", "two", "three"] {
///     room.broadcast(text).await?;
/// }
/// let mut page = room.history().limit(2).page().await?;
/// assert_eq!(page.messages[1].message.to_str()?, "two");
/// while let Some(next) = page.next {
///     page = room.history().since(next).limit(2).page().await?;
///     assert_eq!(page.messages[0].message.to_str()?, "three");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a reader does nothing until `page` is called"]
pub struct History {
    room: RoomHandle,
    from: From,
    until: Option<Offset>,
    limit: usize,
    member: Option<MemberId>,
    user: Option<Arc<str>>,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug)]
enum From {
    Oldest,
    After(Offset),
    Last(usize),
}

/// Messages of a room's history, in the order of the room.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The messages.
    pub messages: Vec<Stored>,
    /// True if the room does not have all messages of the range any more, or if an offset is of another epoch. The page
    /// then begins with the oldest message that the room has. It has no messages if
    /// [`until`](History::until) is of another epoch.
    pub is_gap: bool,
    /// The offset for [`History::since`] with which the next page begins. `None` at the end of the range.
    pub next: Option<Offset>,
}

/// A message in a room's history.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stored {
    /// The place of the message in its room.
    pub offset: Offset,
    /// The message. An event ([`Room::broadcast_event`](crate::Room::broadcast_event)) has the text that a WebSocket receives.
    pub message: Message,
    /// The name of the event, for a message of [`Room::broadcast_event`](crate::Room::broadcast_event).
    pub event: Option<Box<str>>,
    /// The time when the message was published, by the system's present clock.
    pub at: SystemTime,
}

impl History {
    pub(crate) fn new(room: RoomHandle) -> Self {
        Self {
            room,
            from: From::Oldest,
            until: None,
            limit: 100,
            member: None,
            user: None,
        }
    }

    /// Reads the messages after this offset. If the room does not have all of them any more, [`Page::is_gap`] is true.
    /// Replaces [`last`](Self::last).
    pub fn since(mut self, offset: Offset) -> Self {
        self.from = From::After(offset);
        self
    }

    /// Reads the last messages, at most this many, in the order of the room. Replaces [`since`](Self::since). The
    /// [`limit`](Self::limit) applies too.
    pub fn last(mut self, messages: usize) -> Self {
        self.from = From::Last(messages);
        self
    }

    /// Reads up to this offset, including its message. The default is the room's last message.
    pub fn until(mut self, offset: Offset) -> Self {
        self.until = Some(offset);
        self
    }

    /// Sets the maximum number of messages in a page, at least 1. The default is 100.
    pub fn limit(mut self, messages: usize) -> Self {
        self.limit = messages.max(1);
        self
    }

    /// Reads what this member may receive: also messages to it alone, but no messages to all others.
    pub fn of_member(mut self, member: impl Into<MemberId>) -> Self {
        self.member = Some(member.into());
        self
    }

    /// Reads also the messages that were sent to this user ([`Room::send_to`](crate::Room::send_to)).
    pub fn of_user(mut self, user: impl AsRef<str>) -> Self {
        self.user = Some(user.as_ref().into());
        self
    }

    fn is_wanted(&self, post: &Post) -> bool {
        let audience = post.audience();
        let is_for_member = match self.member {
            Some(member) => audience.includes(member),
            None => !audience.is_private(),
        };
        is_for_member
            || self
                .user
                .as_ref()
                .is_some_and(|user| audience.includes_user(user))
    }

    /// Reads a page. The room takes messages meanwhile: the call holds its lock for at most 64 messages at a time.
    ///
    /// # Errors
    /// None with the broker of a single process, [`InProcess`](crate::InProcess).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn page(&self) -> Result<Page, RoomError> {
        Ok(self.read())
    }

    fn read(&self) -> Page {
        let core = &self.room.core;
        // Messages that have become too old since the last publish are not part of the history.
        core.trim();
        let mut page = Page::default();
        let (mut from, until) = {
            let state = core.lock();
            let (first, last) = (state.log.history_first(), state.log.last());
            let from = match self.from {
                From::Oldest => first,
                From::Last(count) => state.log.start_of_last(count, |post| self.is_wanted(post)),
                From::After(offset) => {
                    let from = offset.number.saturating_add(1);
                    let has = (first..=last + 1).contains(&from) && offset.epoch == core.epoch;
                    page.is_gap = !has;
                    if has { from } else { first }
                }
            };
            (from, last)
        };
        let until = match self.until {
            Some(offset) if offset.epoch != core.epoch => {
                page.is_gap = true;
                return page;
            }
            Some(offset) => offset.number.min(until),
            None => until,
        };
        let (now, time) = (Instant::now(), SystemTime::now());
        while from <= until {
            let mut part = Vec::new();
            let next = core
                .lock()
                .log
                .scan(from, until, |post, at| part.push((post.clone(), at)));
            // `None`: the room has dropped the next messages meanwhile. The next page tells of the gap.
            let Some(next) = next.filter(|next| *next > from) else {
                page.next = Some(core.offset(from - 1));
                return page;
            };
            for (post, at) in part {
                if !self.is_wanted(&post) {
                    continue;
                }
                if page.messages.len() >= self.limit {
                    page.next = Some(core.offset(post.number - 1));
                    return page;
                }
                let age = now.saturating_duration_since(at);
                page.messages.push(Stored {
                    offset: core.offset(post.number),
                    message: post.draft.message.clone(),
                    event: post.draft.event.as_ref().map(|named| named.name.clone()),
                    at: time.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
                });
            }
            from = next;
        }
        page
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("room", &self.room.name())
            .field("from", &self.from)
            .field("until", &self.until)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
