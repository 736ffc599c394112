//! Patterns of room names.

/// A pattern of names, in which `*` stands for any number of any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Box<str>);

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Returns whether the whole name matches. The time is at most proportional to the length of the name times the
    /// number of parts between stars.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let Some(mut left) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = rest.split('*');
        let Some(last) = parts.next_back() else {
            return true;
        };
        // The leftmost place of each part leaves the most for the parts that follow.
        for part in parts {
            match left.split_once(part) {
                Some((_, after)) => left = after,
                None => return false,
            }
        }
        left.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_bytes() {
        for (pattern, name, matches) in [
            ("chat", "chat", true),
            ("chat", "chats", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("chat:*", "chat:", true),
            ("chat:*", "chat:7", true),
            ("chat:*", "chat", false),
            ("*:log", "a:log", true),
            ("*:log", "a:log:b", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("**", "x", true),
            ("*ab*ab", "ab", false),
            ("*ab*ab", "abab", true),
            ("ä*", "äö", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                matches,
                "{pattern} {name}"
            );
        }
    }
}
