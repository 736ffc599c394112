//! Route patterns: `/users/:id`, `/users/{id}`, `/users/{id:\d+}`, `/files/{*path}`.

use std::fmt;

use regex_lite::Regex;

/// The reason why a text is not a route pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The pattern is empty; the root is `/`.
    #[error("a route pattern cannot be empty; write `/` for the root")]
    EmptyPattern,
    /// The pattern does not begin with a slash.
    #[error("the route pattern `{pattern}` must begin with `/`")]
    NotAbsolute {
        /// The whole pattern.
        pattern: String,
    },
    /// The pattern has a `?` or `#` in literal text. Paths never contain these characters.
    #[error(
        "the route pattern `{pattern}` contains `{found}`, but query and fragment are not part of the path"
    )]
    QueryOrFragment {
        /// The whole pattern.
        pattern: String,
        /// The character found.
        found: char,
    },
    /// A regex is invalid.
    #[error("the route pattern `{pattern}` has an invalid regex `{regex}`: {reason}")]
    InvalidRegexPattern {
        /// The whole pattern.
        pattern: String,
        /// The regex.
        regex: String,
        /// The error of the regex parser.
        reason: String,
    },
    /// The text within braces, such as a regex, contains a slash. In a pattern, a slash always separates two segments.
    /// (A regex such as `.*` can still match the slashes of a path: see [`Segment::Constrained`].)
    #[error("the route pattern `{pattern}` contains a `/` inside the braces of `{segment}`")]
    SlashInBraces {
        /// The whole pattern.
        pattern: String,
        /// The segment up to the slash.
        segment: String,
    },
    /// Two parameters have the same name.
    #[error("the route pattern `{pattern}` has the parameter `{name}` twice")]
    DuplicateParameter {
        /// The whole pattern.
        pattern: String,
        /// The name.
        name: String,
    },
    /// A parameter has no name.
    #[error("the route pattern `{pattern}` has a parameter without a name")]
    EmptyParameter {
        /// The whole pattern.
        pattern: String,
    },
    /// A parameter's name contains a character other than letters, digits, `_` and `-`.
    #[error(
        "the route pattern `{pattern}` has the parameter name `{name}`; names are letters, digits, `_` and `-`"
    )]
    InvalidParameterName {
        /// The whole pattern.
        pattern: String,
        /// The name.
        name: String,
    },
    /// A segment follows a `{*rest}`.
    #[error(
        "the route pattern `{pattern}` continues after `{{*{name}}}`, which matches the whole rest"
    )]
    CatchAllNotLast {
        /// The whole pattern.
        pattern: String,
        /// The name.
        name: String,
    },
    /// A brace is not closed.
    #[error("the route pattern `{pattern}` does not close the brace in `{segment}`")]
    UnclosedBrace {
        /// The whole pattern.
        pattern: String,
        /// The segment.
        segment: String,
    },
    /// A segment mixes a parameter with text, or has a brace that does not belong to a parameter.
    #[error(
        "the route pattern `{pattern}` mixes text and braces in `{segment}`; a parameter must be a whole segment"
    )]
    PartialParameter {
        /// The whole pattern.
        pattern: String,
        /// The segment.
        segment: String,
    },
    /// A segment uses the parameter syntax of other libraries: `<id>`, `[id]`. Paths never contain these brackets (RFC
    /// 3986 §3.3).
    #[error(
        "the route pattern `{pattern}` has the segment `{segment}`; write `{{name}}` for a parameter"
    )]
    ForeignParameter {
        /// The whole pattern.
        pattern: String,
        /// The segment.
        segment: String,
    },
    /// A segment begins with `*`, the syntax of other routers for the rest of a path.
    #[error(
        "the route pattern `{pattern}` has the segment `{segment}`; write `{{*name}}` for the rest of the path"
    )]
    BareWildcard {
        /// The whole pattern.
        pattern: String,
        /// The segment.
        segment: String,
    },
}

/// A regex that must match the whole value of a parameter.
///
/// Two constraints are equal if the texts of their regexes are equal.
#[derive(Clone, Debug)]
pub struct Constraint {
    source: Box<str>,
    regex: Regex,
}

impl Constraint {
    fn new(source: &str) -> Result<Self, String> {
        if source.is_empty() {
            return Err("it is empty".to_owned());
        }
        // The regex is first compiled alone. Otherwise the added group would turn an invalid regex such as `a)|(b` into
        // a valid one.
        Regex::new(source).map_err(|error| error.to_string())?;
        let regex = Regex::new(&format!(r"\A(?:{source})\z")).map_err(|error| error.to_string())?;
        Ok(Self {
            source: source.into(),
            regex,
        })
    }

    /// Returns the regex as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Returns whether the regex matches the whole value.
    pub fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Constraint {}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Literal text. The segment of the path must equal the text byte by byte. The text may be empty.
    Literal(Box<str>),
    /// `:name` or `{name}`: matches any single segment that is not empty.
    Param(Box<str>),
    /// `{name:regex}`: matches a segment of a path if the regex matches the whole segment. As the last segment of a
    /// pattern, it also matches the whole rest of the path, including slashes, if the regex matches this rest. The text
    /// of the regex contains no slash.
    Constrained {
        /// The parameter's name.
        name: Box<str>,
        /// The constraint on the parameter's value.
        constraint: Constraint,
    },
    /// `{*name}`: matches the rest of the path. The rest must not be empty.
    CatchAll(Box<str>),
}

impl Segment {
    /// Returns the name of the parameter; `None` for a literal.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Param(name) | Self::Constrained { name, .. } | Self::CatchAll(name) => Some(name),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Param(name) => write!(f, "{{{name}}}"),
            Self::Constrained { name, constraint } => {
                write!(f, "{{{name}:{}}}", constraint.as_str())
            }
            Self::CatchAll(name) => write!(f, "{{*{name}}}"),
        }
    }
}

/// A route pattern.
///
/// ```
/// use hyperlane_core::route::Pattern;
///
/// let pattern = Pattern::parse(r"/users/:name/posts/{year:\d{4}}")?;
/// assert_eq!(pattern.params().collect::<Vec<_>>(), ["name", "year"]);
/// assert_eq!(pattern.to_string(), r"/users/{name}/posts/{year:\d{4}}");
/// # Ok::<(), hyperlane_core::RouteError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Box<[Segment]>,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// Returns a [`RouteError`] for the first fault that the parser finds.
    pub fn parse(pattern: &str) -> Result<Self, RouteError> {
        if pattern.is_empty() {
            return Err(RouteError::EmptyPattern);
        }
        let mut rest = pattern
            .strip_prefix('/')
            .ok_or_else(|| RouteError::NotAbsolute {
                pattern: pattern.to_owned(),
            })?;
        let mut segments = Vec::new();
        loop {
            let (text, after) = cut_segment(pattern, rest)?;
            segments.push(read_segment(pattern, text)?);
            match after {
                Some(after) => rest = after,
                None => break,
            }
        }
        check_params(pattern, &segments)?;
        Ok(Self {
            segments: segments.into(),
        })
    }

    /// Returns the segments. Every pattern has at least one segment: `/` is a single empty literal.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns an iterator over the names of the parameters, from left to right.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::param)
    }

    /// Returns whether the pattern has no parameters and thus matches a single path.
    pub fn is_static(&self) -> bool {
        self.params().next().is_none()
    }
}

/// Writes the pattern in its canonical form: `:id` becomes `{id}`.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments
            .iter()
            .try_for_each(|segment| write!(f, "/{segment}"))
    }
}

/// Splits off the first segment of `rest`. Returns the segment and the text after the next slash. The second value is
/// `None` at the end of the pattern.
fn cut_segment<'p>(pattern: &str, rest: &'p str) -> Result<(&'p str, Option<&'p str>), RouteError> {
    if !rest.starts_with('{') {
        return Ok(match rest.split_once('/') {
            Some((text, after)) => (text, Some(after)),
            None => (rest, None),
        });
    }
    let close = closing_brace(rest);
    // The errors show the text from the opening brace to the next slash, and not the whole rest of the pattern. The
    // fault is in this part.
    let segment = || rest.split('/').next().unwrap_or(rest).to_owned();
    let cut = close.ok().and_then(|at| rest.split_at_checked(at + 1));
    let Some((text, after)) = cut else {
        let segment = segment();
        // In `{id:[0-9}`, the closing brace belongs to the character class that `[` opens, so no brace closes the
        // parameter. The actual fault is the open class, and the error of the regex names it. `UnclosedBrace` would
        // not.
        let inner = segment
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'));
        let regex = inner.and_then(|inner| inner.split_once(':'));
        if close == Err(Unclosed::Class)
            && let Some((_, source)) = regex
            && let Err(reason) = Constraint::new(source)
        {
            return Err(RouteError::InvalidRegexPattern {
                pattern: pattern.to_owned(),
                regex: source.to_owned(),
                reason,
            });
        }
        return Err(RouteError::UnclosedBrace {
            pattern: pattern.to_owned(),
            segment,
        });
    };
    if text.contains('/') {
        return Err(RouteError::SlashInBraces {
            pattern: pattern.to_owned(),
            segment: segment(),
        });
    }
    match after.strip_prefix('/') {
        Some(after) => Ok((text, Some(after))),
        None if after.is_empty() => Ok((text, None)),
        None => Err(RouteError::PartialParameter {
            pattern: pattern.to_owned(),
            segment: segment(),
        }),
    }
}

/// Finds the brace that closes the first brace. Handles nested braces, escaped braces, and braces in a character class,
/// because a regex may contain them.
fn closing_brace(text: &str) -> Result<usize, Unclosed> {
    let mut depth = 0u32;
    // The position of the `[` of an open character class.
    let mut class = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'[' => class = class.or(Some(at)),
            // A `]` that is the first character of a class is literal, also after a `^`.
            b']' if class.is_some_and(|open| matches!(text.get(open..at), Some("[" | "[^"))) => {}
            b']' => class = None,
            b'{' if class.is_none() => depth += 1,
            b'}' if class.is_none() => {
                depth -= 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
            _ => {}
        }
    }
    Err(match class {
        Some(_) => Unclosed::Class,
        None => Unclosed::Brace,
    })
}

/// The construct in a segment that is not closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unclosed {
    Brace,
    Class,
}

fn read_segment(pattern: &str, text: &str) -> Result<Segment, RouteError> {
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    if let Some(inner) = inner {
        if let Some(name) = inner.strip_prefix('*') {
            return Ok(Segment::CatchAll(read_name(pattern, name)?));
        }
        return match inner.split_once(':') {
            None => Ok(Segment::Param(read_name(pattern, inner)?)),
            Some((name, source)) => {
                let name = read_name(pattern, name)?;
                let constraint =
                    Constraint::new(source).map_err(|reason| RouteError::InvalidRegexPattern {
                        pattern: pattern.to_owned(),
                        regex: source.to_owned(),
                        reason,
                    })?;
                Ok(Segment::Constrained { name, constraint })
            }
        };
    }
    if let Some(name) = text.strip_prefix(':') {
        return Ok(Segment::Param(read_name(pattern, name)?));
    }
    if text.starts_with('*') {
        return Err(RouteError::BareWildcard {
            pattern: pattern.to_owned(),
            segment: text.to_owned(),
        });
    }
    if text.contains(['<', '>']) || (text.starts_with('[') && text.ends_with(']')) {
        return Err(RouteError::ForeignParameter {
            pattern: pattern.to_owned(),
            segment: text.to_owned(),
        });
    }
    match text
        .find(['{', '}', '?', '#'])
        .and_then(|at| text.get(at..)?.chars().next())
    {
        None => Ok(Segment::Literal(text.into())),
        Some(found @ ('?' | '#')) => Err(RouteError::QueryOrFragment {
            pattern: pattern.to_owned(),
            found,
        }),
        Some(_) => Err(RouteError::PartialParameter {
            pattern: pattern.to_owned(),
            segment: text.to_owned(),
        }),
    }
}

fn read_name(pattern: &str, name: &str) -> Result<Box<str>, RouteError> {
    if name.is_empty() {
        return Err(RouteError::EmptyParameter {
            pattern: pattern.to_owned(),
        });
    }
    if !name
        .chars()
        .all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
    {
        return Err(RouteError::InvalidParameterName {
            pattern: pattern.to_owned(),
            name: name.to_owned(),
        });
    }
    Ok(name.into())
}

/// Checks the rules for the whole pattern: the names of parameters are unique, and a `{*rest}` is the last segment.
fn check_params(pattern: &str, segments: &[Segment]) -> Result<(), RouteError> {
    let mut seen = Vec::new();
    for name in segments.iter().filter_map(Segment::param) {
        if seen.contains(&name) {
            return Err(RouteError::DuplicateParameter {
                pattern: pattern.to_owned(),
                name: name.to_owned(),
            });
        }
        seen.push(name);
    }
    let before_last = segments.split_last().map_or(&[][..], |(_, before)| before);
    before_last.iter().try_for_each(|segment| match segment {
        Segment::CatchAll(name) => Err(RouteError::CatchAllNotLast {
            pattern: pattern.to_owned(),
            name: name.to_string(),
        }),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests;
