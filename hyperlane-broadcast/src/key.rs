//! Keys of private and group channels.

use std::fmt::Write;

/// Parties of a message: two, or a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BroadcastType<T> {
    /// Two parties, in either order.
    PointToPoint(T, T),
    /// A group.
    PointToGroup(T),
    /// Not set.
    #[default]
    Unknown,
}

impl<T: ToString + PartialOrd> BroadcastType<T> {
    /// Returns a key that is the same for both orders of two parties, and unique otherwise.
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
                // The length keeps keys unique whatever the names contain.
                let mut key = String::with_capacity(first.len() + second.len() + 12);
                // Writing to a `String` does not fail.
                let _ = write!(key, "ptp:{}:{first}:{second}", first.len());
                key
            }
            Self::PointToGroup(group) => format!("ptg:{}", group.to_string()),
            Self::Unknown => String::new(),
        }
    }
}
