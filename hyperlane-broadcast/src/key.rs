//! Keys for the channels of a `BroadcastMap`: for a channel between two parties, or for the channel of a group.

use std::fmt::Write;

/// The parties of a channel: two parties, a group, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BroadcastType<T> {
    /// Two parties. Their order does not matter.
    PointToPoint(T, T),
    /// A group.
    PointToGroup(T),
    /// No parties.
    #[default]
    Unknown,
}

impl<T: ToString + PartialOrd> BroadcastType<T> {
    /// Returns the key of the channel for these parties, for use in a [`BroadcastMap`](crate::BroadcastMap), which
    /// stores channels by key. Both orders of two parties give the same key. Parties with different texts (`to_string`)
    /// give different keys. The key of [`Unknown`](Self::Unknown) is empty.
    ///
    /// ```
    /// use hyperlane_broadcast::BroadcastType;
    ///
    /// let key = |one, other| BroadcastType::PointToPoint(one, other).get_key();
    /// assert_eq!(key("ada", "bob"), key("bob", "ada"));
    /// assert_ne!(key("a-b", "c"), key("a", "b-c"));
    /// ```
    pub fn get_key(&self) -> String {
        match self {
            Self::PointToPoint(one, other) => {
                let (first, second) = if one <= other {
                    (one, other)
                } else {
                    (other, one)
                };
                let (first, second) = (first.to_string(), second.to_string());
                // The key contains the length of the first text, so that keys are unique even if a text contains a
                // colon.
                let mut key = String::with_capacity(first.len() + second.len() + 12);
                // Writing to a `String` cannot fail.
                let _ = write!(key, "ptp:{}:{first}:{second}", first.len());
                key
            }
            Self::PointToGroup(group) => format!("ptg:{}", group.to_string()),
            Self::Unknown => String::new(),
        }
    }
}
