//! Following: event streams that resume in one or several rooms.

use std::{fmt::Write, sync::Arc};

use crate::{member::Joined, offset::Offset};

/// Maximum length of an id, in bytes.
const ID_BYTES: usize = 1024;

/// The beginning of an id for several rooms. An [`Offset`] has no such letter.
const SEVERAL: &str = "r1.";

/// The rooms that an event stream follows, with options: user name, history.
///
/// Each event of the stream has an id, which a browser sends back as `Last-Event-ID` when it connects again. With one
/// room, the id is the [`Offset`] of the message. With several rooms, it is an opaque text of at most 1 KiB that has the
/// position in each of them. The stream then receives every message since, once, or an event that says what is missing:
///
/// | event | data | meaning |
/// | --- | --- | --- |
/// | `position` | the id | not a message: the first id of a new client |
/// | `reset` | `{"rooms":["news"]}` | not a message: in these rooms, messages since the client's id are gone, or the stream was slow and has missed messages ([`SlowPolicy`](crate::SlowPolicy)); the client fetches their state anew |
///
/// ```
/// use hyperlane_broadcast::Follow;
///
/// let follow = Follow::new(["news", "prices"]).user("ada").history(20);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Follow {
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) history: usize,
    pub(crate) last_event_id: Option<String>,
}

impl Follow {
    /// Maximum number of rooms that one event stream can follow: 32.
    pub const MAX_ROOMS: usize = 32;

    /// Creates options for these rooms. A name that is given twice counts once.
    pub fn new(rooms: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut names: Vec<Arc<str>> = Vec::new();
        for name in rooms {
            let name = name.as_ref();
            if !names.iter().any(|known| **known == *name) {
                names.push(name.into());
            }
        }
        Self {
            names,
            ..Self::default()
        }
    }

    /// Sets the user name of the member in all rooms, like [`Join::user`](crate::Join::user). A client that connects
    /// again with the same name also receives the messages that were sent to this user while it was away.
    pub fn user(mut self, user: impl AsRef<str>) -> Self {
        self.user = Some(user.as_ref().into());
        self
    }

    /// Sets the number of messages that the stream receives first from the history of each room that is new to the
    /// client. The default is 0.
    pub fn history(mut self, messages: usize) -> Self {
        self.history = messages;
        self
    }

    /// Sets the id of the last event that the client has received. The default is the `Last-Event-ID` of the request
    /// with [`RoomExt::follow`](crate::RoomExt::follow), and none with [`Rooms::follow`](crate::Rooms::follow). The text
    /// may come from the client as it is: an id that this server did not make, or that is not valid, is a gap.
    pub fn last_event_id(mut self, id: impl AsRef<str>) -> Self {
        self.last_event_id = Some(id.as_ref().to_owned());
        self
    }
}

impl From<&str> for Follow {
    fn from(room: &str) -> Self {
        Self::new([room])
    }
}

impl From<String> for Follow {
    fn from(room: String) -> Self {
        Self::new([room])
    }
}

impl<S: AsRef<str>, const N: usize> From<[S; N]> for Follow {
    fn from(rooms: [S; N]) -> Self {
        Self::new(rooms)
    }
}

impl<S: AsRef<str>> From<Vec<S>> for Follow {
    fn from(rooms: Vec<S>) -> Self {
        Self::new(rooms)
    }
}

/// The memberships of an event stream that follows rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Followed {
    /// The membership in each room, in the order of [`Follow::new`].
    pub joined: Vec<Joined>,
}

impl Followed {
    /// Returns whether a room does not have all messages since the client's id any more. The client receives a `reset`
    /// then.
    pub fn is_gap(&self) -> bool {
        self.joined.iter().any(|joined| joined.is_gap)
    }
}

/// What a client says about its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The client is new.
    New,
    /// The id is not valid.
    Invalid,
    /// The position in one room.
    One(Offset),
    /// The positions in several rooms. The tag of a room's name comes first.
    Several(Vec<(u32, Offset)>),
}

/// What a client says about its position in one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomClaim {
    /// The room is new to the client.
    New,
    /// The client has received messages of the room, but not as the room is now.
    Lost,
    /// The client has received all messages up to this one.
    After(Offset),
}

impl Claim {
    /// Reads an id. Scripts write some words for an id that is missing.
    pub(crate) fn parse(id: Option<&str>) -> Self {
        let id = id.map(str::trim).unwrap_or_default();
        if matches!(id, "" | "null" | "undefined") {
            return Self::New;
        }
        if id.len() > ID_BYTES {
            return Self::Invalid;
        }
        match id.strip_prefix(SEVERAL) {
            Some(text) => decode(text).map_or(Self::Invalid, Self::Several),
            None => id.parse().map_or(Self::Invalid, Self::One),
        }
    }

    /// Returns what the claim says about a room.
    pub(crate) fn of_room(&self, name: &str, epoch: u64) -> RoomClaim {
        match self {
            Self::New => RoomClaim::New,
            Self::One(offset) if offset.epoch == epoch => RoomClaim::After(*offset),
            Self::One(_) | Self::Invalid => RoomClaim::Lost,
            Self::Several(entries) => {
                let tag = tag_of(name);
                let mut claim = RoomClaim::New;
                for (known, offset) in entries {
                    if *known == tag && offset.epoch == epoch {
                        return RoomClaim::After(*offset);
                    }
                    if *known == tag {
                        claim = RoomClaim::Lost;
                    }
                }
                claim
            }
        }
    }
}

/// Returns a number that stands for a room's name in ids: its FNV-1a hash. It is the same in all processes, so a client
/// that comes back after a restart has known the room. If the names of two rooms have the same hash, their epochs tell
/// them apart.
pub(crate) fn tag_of(name: &str) -> u32 {
    let step = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811c_9dc5, step)
}

/// Writes the positions in several rooms as an id.
pub(crate) fn encode(positions: impl Iterator<Item = (u32, Offset)>) -> String {
    let mut bytes = Vec::new();
    for (tag, offset) in positions {
        bytes.extend_from_slice(&tag.to_be_bytes());
        bytes.extend_from_slice(&offset.epoch.to_be_bytes());
        let mut number = offset.number;
        while number > 0x7f {
            // The low seven bits; the eighth says that more follow.
            bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        bytes.push(number.to_le_bytes()[0]);
    }
    let mut id = String::with_capacity(SEVERAL.len() + bytes.len() * 4 / 3 + 2);
    id.push_str(SEVERAL);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            // Writing to a string does not fail.
            let _ = id.write_char(digit(bits >> (18 - 6 * at) & 0x3f));
        }
    }
    id
}

/// Reads the text of [`encode`] without its beginning. Returns `None` if it has another form.
fn decode(text: &str) -> Option<Vec<(u32, Offset)>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.as_bytes().chunks(4) {
        if group.len() == 1 {
            return None;
        }
        let mut bits = 0;
        for character in group {
            bits = bits << 6 | value(*character)?;
        }
        let [_, octets @ ..] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        bytes.extend_from_slice(octets.get(..group.len().checked_sub(1)?)?);
    }
    let mut entries = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (tag, after) = rest.split_first_chunk()?;
        let (epoch, after) = after.split_first_chunk()?;
        let (number, after) = decode_number(after)?;
        rest = after;
        let epoch = u64::from_be_bytes(*epoch);
        entries.push((u32::from_be_bytes(*tag), Offset { epoch, number }));
    }
    (entries.len() <= Follow::MAX_ROOMS).then_some(entries)
}

fn decode_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        let shifted = part.checked_shl(7 * u32::try_from(at).ok()?)?;
        if shifted >> (7 * at) != part {
            return None;
        }
        number |= shifted;
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

/// Returns the character of base64url (RFC 4648 §5) for six bits.
fn digit(bits: u32) -> char {
    let bits = u8::try_from(bits).unwrap_or_default();
    char::from(match bits {
        0..26 => b'A' + bits,
        26..52 => b'a' + (bits - 26),
        52..62 => b'0' + (bits - 52),
        62 => b'-',
        _ => b'_',
    })
}

fn value(character: u8) -> Option<u32> {
    Some(u32::from(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(epoch: u64, number: u64) -> Offset {
        Offset { epoch, number }
    }

    #[test]
    fn an_id_of_several_rooms_survives_its_text_and_has_at_most_1024_bytes() {
        for count in 0..=Follow::MAX_ROOMS {
            for number in [0, 0x7f, 0x80, 1 << 32, u64::MAX] {
                let entries: Vec<_> = (0..count)
                    .map(|at| {
                        (
                            tag_of(&at.to_string()),
                            offset(u64::MAX - at as u64, number),
                        )
                    })
                    .collect();
                let id = encode(entries.iter().copied());
                assert!(id.len() <= ID_BYTES, "{count}: {}", id.len());
                assert_eq!(Claim::parse(Some(&id)), Claim::Several(entries));
            }
        }
    }

    #[test]
    fn a_claim_says_what_is_known_of_each_room() {
        let one = Claim::One(offset(1, 7));
        assert_eq!(one.of_room("a", 1), RoomClaim::After(offset(1, 7)));
        assert_eq!(one.of_room("a", 2), RoomClaim::Lost);
        let entries = [(tag_of("a"), offset(1, 7)), (tag_of("b"), offset(2, 8))];
        let several = Claim::parse(Some(&encode(entries.into_iter())));
        assert_eq!(several.of_room("a", 1), RoomClaim::After(offset(1, 7)));
        assert_eq!(several.of_room("b", 3), RoomClaim::Lost, "made again");
        assert_eq!(several.of_room("c", 2), RoomClaim::New, "another name");
        assert_eq!(Claim::New.of_room("a", 1), RoomClaim::New);
        assert_eq!(Claim::Invalid.of_room("a", 1), RoomClaim::Lost);
    }

    #[test]
    fn other_texts_are_invalid_and_missing_ones_are_new() {
        for id in [None, Some(""), Some(" "), Some("null"), Some("undefined")] {
            assert_eq!(Claim::parse(id), Claim::New, "{id:?}");
        }
        let good = encode([(1, offset(2, 3))].into_iter());
        let cuts = (4..good.len()).map(|at| good[..at].to_owned());
        let long = format!("r1.{}", "A".repeat(1022));
        let many = format!("r1.{}", "AAAAAAAAAAAAAAAAAA".repeat(40));
        // The number has eleven groups of seven bits, or more than 64 bits.
        let wide = [
            "r1.AAAAAQAAAAAAAAAC_____________w",
            "r1.AAAAAQAAAAAAAAAC____________fw",
        ];
        let others = ["r1.?", "r2.AAAA", "7", "1-", "\u{1f600}", "r1.A"];
        let others = others.into_iter().chain(wide).map(str::to_owned);
        for id in cuts.chain(others).chain([long, many]) {
            assert_eq!(Claim::parse(Some(&id)), Claim::Invalid, "{id}");
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut id = "r1.".to_owned();
            for _ in 0..seed % 60 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                id.push(digit(u32::try_from(seed >> 58).unwrap()));
            }
            seed = seed.wrapping_add(1);
            Claim::parse(Some(&id)).of_room("a", seed);
        }
    }
}
