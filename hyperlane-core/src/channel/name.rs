//! Names of channels, and the patterns by which endpoints form these names from the parameters of a path.
//!
//! A channel carries messages between the program and the clients of a session. A session has one channel without a
//! name per direction, and any other channel has a name.

use std::{fmt, sync::Arc};

use crate::error::{ChannelError, SetupError};

/// Limit of a name, in bytes.
const MAX_BYTES: usize = 64;

/// The name of a channel: 1 to 64 visible ASCII characters. These are letters, digits and punctuation, but no spaces.
/// Two names are the same only if they look the same, which would not hold for all of Unicode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChannelName(Arc<str>);

impl ChannelName {
    pub(crate) fn new(text: &str) -> Result<Self, ChannelError> {
        let is_allowed = (1..=MAX_BYTES).contains(&text.len()) && is_visible(text);
        match is_allowed {
            true => Ok(Self(text.into())),
            false => Err(ChannelError::InvalidName),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A pattern of names: text, and parameters of the path in braces, as in `run-{id}`.
#[derive(Debug)]
pub(crate) struct NamePattern {
    text: Box<str>,
    parts: Vec<Part>,
    /// The fault of the text, if the text is not a pattern.
    fault: Option<&'static str>,
}

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Param(Box<str>),
}

impl NamePattern {
    /// Parses a pattern. [`check`](Self::check) reports a fault, when the server starts.
    pub(crate) fn new(text: &str) -> Self {
        let mut pattern = Self {
            text: text.into(),
            parts: Vec::new(),
            fault: None,
        };
        let mut rest = text;
        while !rest.is_empty() && pattern.fault.is_none() {
            let literal = rest.split(['{', '}']).next().unwrap_or_default();
            rest = rest.get(literal.len()..).unwrap_or_default();
            if !literal.is_empty() {
                pattern.parts.push(Part::Text(literal.into()));
                continue;
            }
            match rest.strip_prefix('{').and_then(|open| open.split_once('}')) {
                Some((param, after)) if !param.is_empty() && !param.contains('{') => {
                    pattern.parts.push(Part::Param(param.into()));
                    rest = after;
                }
                _ => pattern.fault = Some("a `{` or `}` does not belong to a parameter `{name}`"),
            }
        }
        let literals = pattern.parts.iter().filter_map(|part| match part {
            Part::Text(literal) => Some(&**literal),
            Part::Param(_) => None,
        });
        let params = pattern.parts.len() - literals.clone().count();
        let bytes: usize = literals.clone().map(str::len).sum();
        if !literals.clone().all(is_visible) {
            pattern.fault = Some("a name has visible ASCII characters, and no spaces");
        } else if !(1..=MAX_BYTES).contains(&(bytes + params)) {
            pattern.fault = Some("a name has 1 to 64 bytes");
        }
        pattern
    }

    /// Returns an error if the text is not a pattern, or if the route lacks one of its parameters.
    pub(crate) fn check(&self, params: &[&str]) -> Result<(), SetupError> {
        if let Some(fault) = self.fault {
            return Err(SetupError::new(format!(
                "`named({:?})` is not a pattern of names: {fault}",
                self.text
            )));
        }
        let lacking = self.parts.iter().find_map(|part| match part {
            Part::Param(param) if !params.contains(&&**param) => Some(param),
            _ => None,
        });
        match lacking {
            None => Ok(()),
            Some(param) => Err(SetupError::new(format!(
                "the pattern has no parameter `{param}`, which `named({:?})` needs; add `{{{param}}}` to the pattern",
                self.text
            ))),
        }
    }

    /// Forms the name for a request from the values of its parameters.
    pub(crate) fn fill<'a>(
        &self,
        value: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<ChannelName, ChannelError> {
        let mut name = String::new();
        for part in &self.parts {
            name.push_str(match part {
                Part::Text(literal) => literal,
                // The server checks at its start that the route has the parameter.
                Part::Param(param) => value(param).ok_or(ChannelError::InvalidName)?,
            });
        }
        ChannelName::new(&name)
    }

    /// Returns whether the pattern can form this name.
    pub(crate) fn fits(&self, name: &ChannelName) -> bool {
        fit(&self.parts, name.as_str())
    }
}

/// Returns whether `text` consists of `parts`, in which each parameter stands for at least one character.
fn fit(parts: &[Part], text: &str) -> bool {
    match parts.split_first() {
        None => text.is_empty(),
        Some((Part::Text(literal), rest)) => text
            .strip_prefix(&**literal)
            .is_some_and(|text| fit(rest, text)),
        // A name is ASCII, so every index is the start of a character.
        Some((Part::Param(_), rest)) => {
            (1..=text.len()).any(|at| text.get(at..).is_some_and(|text| fit(rest, text)))
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_visible_ascii_of_64_bytes() {
        let long = "x".repeat(64);
        for name in ["run-7", "ann@example.org", "a/b:c", "!", "~", &long] {
            assert_eq!(ChannelName::new(name).unwrap().as_str(), name);
        }
        let longer = "x".repeat(65);
        for name in ["", " ", "a b", "a\n", "a\0", "\u{7f}", "é", "日本", &longer] {
            assert_eq!(
                ChannelName::new(name),
                Err(ChannelError::InvalidName),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_pattern_forms_the_names_that_fit_it() {
        let values = |name: &str| match name {
            "id" => Some("7"),
            "part" => Some("a-b"),
            _ => None,
        };
        for (pattern, name) in [
            ("news", "news"),
            ("run-{id}", "run-7"),
            ("{id}", "7"),
            ("{part}-{id}", "a-b-7"),
            ("{id}{part}/x", "7a-b/x"),
        ] {
            let pattern = NamePattern::new(pattern);
            assert!(pattern.check(&["id", "part"]).is_ok(), "{pattern}");
            let formed = pattern.fill(values).unwrap();
            assert_eq!(formed.as_str(), name);
            assert!(pattern.fits(&formed), "{pattern}");
        }
        for (pattern, name) in [
            // A parameter has a value.
            ("run-{id}", "run-"),
            ("run-{id}", "walk-7"),
            ("news", "news7"),
            ("{id}-x", "7-y"),
            ("{part}-{id}", "ab"),
        ] {
            let other = ChannelName::new(name).unwrap();
            assert!(!NamePattern::new(pattern).fits(&other), "{pattern}: {name}");
        }
    }

    #[test]
    fn a_value_that_no_name_may_have_is_an_error() {
        let pattern = NamePattern::new("run-{id}");
        let long = "x".repeat(61);
        for value in ["a b", "é", "\n", &long] {
            assert_eq!(
                pattern.fill(|_| Some(value)),
                Err(ChannelError::InvalidName)
            );
        }
        assert!(pattern.fill(|_| Some(&long[..60])).is_ok());
    }

    #[test]
    fn faults_of_patterns_are_reported() {
        let long = "x".repeat(65);
        for text in [
            "", "a b", "run-{", "run-}", "run-{}", "{{id}}", "{a{b}", "é", &long,
        ] {
            let error = NamePattern::new(text)
                .check(&["id"])
                .unwrap_err()
                .to_string();
            assert!(error.contains("is not a pattern of names"), "{error}");
        }
        let error = NamePattern::new("run-{run}").check(&["id"]).unwrap_err();
        assert!(error.to_string().contains("no parameter `run`"), "{error}");
    }
}
