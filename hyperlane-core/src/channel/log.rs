//! The log of a channel: the newest messages, stored by offset, within limits of number and size. The log uses no clock
//! and no sockets.
//!
//! A channel carries messages between the program and the clients of a session, across lost connections. The offset of
//! a message is its number in the channel.

use std::{collections::VecDeque, fmt, str::FromStr};

use bytes::Bytes;

use crate::proto::ws::Message;

/// The id of the last message that a client has received. After its connection was cut, the client sends the id to
/// receive the messages that follow. The text form is `<epoch>-<offset>`: the epoch in hexadecimal digits, and the
/// offset in decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResumeId {
    /// The random number of the channel. Each channel has its own epoch, so an id is useless in any other channel.
    pub(crate) epoch: u64,
    /// Offset of the last message that the client has received; 0 before the first message.
    pub(crate) offset: u64,
}

impl fmt::Display for ResumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.offset)
    }
}

/// The error for a text that is not written in the form `<epoch>-<offset>`. The parser does not compare the epoch with
/// any channel, so an id of another channel is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnId;

impl FromStr for ResumeId {
    type Err = NotAnId;

    /// Accepts only the form that [`Display`](fmt::Display) writes, so each id has exactly one text.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (epoch, offset) = text.split_once('-').ok_or(NotAnId)?;
        let id = Self {
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| NotAnId)?,
            offset: offset.parse().map_err(|_| NotAnId)?,
        };
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(NotAnId)
        }
    }
}

/// Words that scripts write for a missing value.
const MISSING_WORDS: [&str; 6] = ["null", "undefined", "nan", "none", "nil", "(null)"];

/// Returns whether a value is empty, or is a word that scripts write for a missing value.
fn is_missing(text: &str) -> bool {
    text.is_empty()
        || MISSING_WORDS
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
}

impl ResumeId {
    /// Parses the id that a client sent. Returns `None` if the text is empty or stands for a missing value, like
    /// `null`. A page that has no id yet may send such a text. An error would be wrong for such a page: the channel
    /// would tell the page that it has missed messages.
    pub(crate) fn of_client(text: &str) -> Option<Result<Self, NotAnId>> {
        let text = text.trim();
        let bare = text.trim_matches(['"', '\'']);
        // A script that formats `${epoch}-${offset}` without values writes, for example, `undefined-undefined`. If the
        // script counts from 0, it writes `undefined-0`.
        let has_no_parts = bare.split_once('-').is_some_and(|(epoch, offset)| {
            is_missing(epoch) && (is_missing(offset) || offset == "0")
        });
        if is_missing(bare) || has_no_parts {
            return None;
        }
        Some(text.parse())
    }
}

/// Limits of the messages that a log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Limits {
    fn are_passed(self, messages: usize, bytes: usize) -> bool {
        messages > self.messages || bytes > self.bytes
    }
}

/// A message or an event of a channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Message(Message),
    /// An event of the program. It is encoded without an id and without the empty line at its end, so the channel can
    /// append its own id.
    Event {
        fields: Bytes,
        has_data: bool,
    },
}

impl From<Message> for Item {
    fn from(message: Message) -> Self {
        Self::Message(message)
    }
}

struct LogEntry {
    item: Item,
    /// Total weight of all items that were pushed to the log before this item.
    before: u64,
}

/// The messages of a channel by offset. Offsets begin at 1. The log drops the oldest messages first.
pub(crate) struct Log {
    pub(crate) epoch: u64,
    /// Offset of the oldest entry. In an empty log, offset of the next message.
    first: u64,
    entries: VecDeque<LogEntry>,
    /// Total weight of all items that were ever pushed to the log.
    sent: u64,
    /// Items that the log no longer needs, but has not destroyed yet. The bytes of a message may belong to a value of
    /// the program, whose destructor may call the channel. That call takes the channel's lock. The items must therefore
    /// be destroyed outside of all locks.
    gone: Vec<Item>,
}

/// Returns the weight of an item, in bytes: the item's content and its entry in the log.
pub(crate) fn weight(item: &Item) -> usize {
    let bytes = match item {
        Item::Message(message) => message.len(),
        Item::Event { fields, .. } => fields.len(),
    };
    bytes + size_of::<LogEntry>()
}

impl Log {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            first: 1,
            entries: VecDeque::new(),
            sent: 0,
            gone: Vec::new(),
        }
    }

    /// Removes and returns the items that were dropped since the last call.
    pub(crate) fn take_gone(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.gone)
    }

    /// Returns the offset of the next message.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Returns the resume id for a client that has received all messages before the offset `next`.
    pub(crate) fn id_before(&self, next: u64) -> ResumeId {
        ResumeId {
            epoch: self.epoch,
            offset: next.saturating_sub(1),
        }
    }

    pub(crate) fn push(&mut self, item: Item) {
        let before = self.sent;
        self.sent += weight(&item) as u64;
        self.entries.push_back(LogEntry { item, before });
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&Item> {
        let at = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.entries.get(at).map(|entry| &entry.item)
    }

    /// Returns whether the log still has all messages from `offset` on. `offset` may be the offset of the next message,
    /// but not a higher one.
    pub(crate) fn has_from(&self, offset: u64) -> bool {
        (self.first..=self.end()).contains(&offset)
    }

    /// Returns the number and the weight of the messages from the offset `floor` on.
    pub(crate) fn since(&self, floor: u64) -> (usize, usize) {
        let at = usize::try_from(floor.saturating_sub(self.first)).unwrap_or(usize::MAX);
        match self.entries.get(at) {
            Some(entry) => (
                self.entries.len() - at,
                usize::try_from(self.sent - entry.before).unwrap_or(usize::MAX),
            ),
            None => (0, 0),
        }
    }

    /// Returns the weight of all messages in the log.
    pub(crate) fn weight(&self) -> usize {
        self.since(self.first).1
    }

    /// Returns whether the messages from the offset `floor` on, together with `item`, are within `limits`. An item
    /// always has room if there are no messages from `floor` on.
    pub(crate) fn has_room(&self, floor: u64, item: &Item, limits: Limits) -> bool {
        let (messages, bytes) = self.since(floor);
        messages == 0 || !limits.are_passed(messages + 1, bytes + weight(item))
    }

    /// Drops the oldest messages until the messages before the offset `floor` are within `limits`. Never drops messages
    /// from `floor` on.
    pub(crate) fn trim(&mut self, floor: u64, limits: Limits) {
        while self.first < floor.min(self.end()) {
            let (all, weight) = self.since(self.first);
            let (wanted, wanted_weight) = self.since(floor);
            if !limits.are_passed(all - wanted, weight - wanted_weight) {
                return;
            }
            let left = self.entries.pop_front();
            self.gone.extend(left.map(|entry| entry.item));
            self.first += 1;
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// Drops all messages before the offset `floor`.
    pub(crate) fn forget_before(&mut self, floor: u64) {
        self.trim(
            floor,
            Limits {
                messages: 0,
                bytes: 0,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        messages: 3,
        bytes: 1_000_000,
    };

    fn text(text: impl Into<Message>) -> Item {
        text.into().into()
    }

    fn filled(count: u64) -> Log {
        let mut log = Log::new(0xabc);
        for offset in 1..=count {
            log.push(text(offset.to_string()));
        }
        log
    }

    fn held(log: &Log) -> Vec<u64> {
        (0..=log.end())
            .filter(|offset| log.get(*offset).is_some())
            .collect()
    }

    #[test]
    fn one_place_has_one_name() {
        let id = ResumeId {
            epoch: 0x1f,
            offset: 7,
        };
        assert_eq!(id.to_string(), "000000000000001f-7");
        assert_eq!("000000000000001f-7".parse(), Ok(id));
        for other in [
            "",
            "-",
            "1f-7",
            "000000000000001F-7",
            "000000000000001f-07",
            "000000000000001f-+7",
            "000000000000001f--7",
            "000000000000001f-7 ",
            "+00000000000001f-7",
            "000000000000001f",
            "000000000000001f-18446744073709551616",
        ] {
            assert_eq!(other.parse::<ResumeId>(), Err(NotAnId), "{other}");
        }
    }

    #[test]
    fn what_says_nothing_is_no_id() {
        for nothing in [
            "",
            " ",
            "\"\"",
            "''",
            "null",
            "NULL",
            "\"null\"",
            "undefined",
            "NaN",
            "None",
            "nil",
            "(null)",
            "-",
            "undefined-undefined",
            "null-0",
            "undefined-NaN",
            "-0",
        ] {
            assert_eq!(ResumeId::of_client(nothing), None, "{nothing}");
        }
        for other in [
            "0",
            "x",
            "null-7",
            "-7",
            "000000000000001f-undefined",
            "000000000000001f-",
            "nullnull",
        ] {
            assert_eq!(ResumeId::of_client(other), Some(Err(NotAnId)), "{other}");
        }
        let id = ResumeId {
            epoch: 0x1f,
            offset: 7,
        };
        assert_eq!(ResumeId::of_client(" 000000000000001f-7 "), Some(Ok(id)));
    }

    #[test]
    fn offsets_stay_while_the_oldest_leave() {
        let mut log = filled(5);
        assert_eq!((log.end(), held(&log)), (6, vec![1, 2, 3, 4, 5]));
        log.trim(6, SMALL);
        assert_eq!(held(&log), [3, 4, 5]);
        assert_eq!(log.get(3), Some(&text("3")));
        assert!(log.has_from(3) && log.has_from(6) && !log.has_from(2) && !log.has_from(7));
        log.trim(4, SMALL);
        assert_eq!(
            held(&log),
            [3, 4, 5],
            "one before the floor is within the limits"
        );
        log.forget_before(5);
        assert_eq!(held(&log), [5]);
        log.forget_before(99);
        assert_eq!((held(&log), log.end()), (vec![], 6));
        log.push(text("six"));
        assert_eq!(held(&log), [6]);
    }

    #[test]
    fn room_is_counted_from_the_floor_on() {
        let log = filled(3);
        let more = text("more");
        assert!(!log.has_room(1, &more, SMALL));
        assert!(log.has_room(2, &more, SMALL));
        assert!(log.has_room(4, &more, SMALL));
        let (count, bytes) = log.since(2);
        assert_eq!((count, bytes), (2, 2 * weight(&text("2"))));
        let tight = Limits {
            messages: 100,
            bytes: bytes + weight(&more),
        };
        assert!(log.has_room(2, &more, tight) && !log.has_room(1, &more, tight));
        let large = text("x".repeat(10_000));
        assert!(!log.has_room(3, &large, tight));
        assert!(
            log.has_room(4, &large, tight),
            "the first fits whatever it weighs"
        );
    }
}
