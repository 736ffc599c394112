//! Conditional requests and ranges (RFC 9110 §13, §14).

use std::{
    fmt::{self, Write},
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Headers, Method, list_items};

/// An `ETag`: the name of one version of a representation (RFC 9110 §8.8.3).
///
/// ```
/// use hyperlane_core::EntityTag;
///
/// assert_eq!(EntityTag::strong("v7").to_string(), "\"v7\"");
/// assert_eq!(EntityTag::weak("v7").to_string(), "W/\"v7\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag {
    weak: bool,
    tag: String,
}

impl EntityTag {
    /// Creates a strong tag: equal tags mean equal bytes. Each quote, space, ASCII control character and `%` is
    /// replaced by `%` and the two hexadecimal digits of its code.
    pub fn strong(tag: impl AsRef<str>) -> Self {
        Self::new(false, tag.as_ref())
    }

    /// Creates a weak tag: equal tags mean equivalent content. The same characters are replaced as by
    /// [`strong`](Self::strong).
    pub fn weak(tag: impl AsRef<str>) -> Self {
        Self::new(true, tag.as_ref())
    }

    fn new(weak: bool, text: &str) -> Self {
        let mut tag = String::with_capacity(text.len());
        for char in text.chars() {
            if char.is_ascii_control() || matches!(char, ' ' | '"' | '%') {
                // Writing to a `String` cannot fail.
                let _ = write!(tag, "%{:02X}", u32::from(char));
            } else {
                tag.push(char);
            }
        }
        Self { weak, tag }
    }

    /// Parses the first tag in the value of a header field.
    pub(crate) fn parse(field: &str) -> Option<Self> {
        tags(field).next().map(|(weak, tag)| Self {
            weak,
            tag: tag.to_owned(),
        })
    }

    /// Returns whether the tag is weak.
    pub fn is_weak(&self) -> bool {
        self.weak
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.weak { "W/\"" } else { "\"" })?;
        f.write_str(&self.tag)?;
        f.write_char('"')
    }
}

/// The tag and the date that identify one version of a response's content. The server compares them with those of the
/// version that the client has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The `ETag`.
    pub etag: Option<EntityTag>,
    /// The `Last-Modified`. A fraction of a second is ignored.
    pub last_modified: Option<SystemTime>,
}

impl From<EntityTag> for Validators {
    fn from(etag: EntityTag) -> Self {
        Self {
            etag: Some(etag),
            last_modified: None,
        }
    }
}

impl From<SystemTime> for Validators {
    fn from(last_modified: SystemTime) -> Self {
        Self {
            etag: None,
            last_modified: Some(last_modified),
        }
    }
}

/// The outcome of a request's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// The request has no condition that is false: answer as usual.
    Holds,
    /// 304: the condition of a GET, HEAD or QUERY for a newer version is false, because the client has the current version.
    NotModified,
    /// 412: another condition is false.
    Failed,
}

/// The part of a representation to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The whole representation: 200.
    Whole,
    /// A range: 206.
    Range(Range<u64>),
    /// A range beyond the end: 416.
    Unsatisfiable,
}

impl Validators {
    /// Evaluates the conditions in the order of RFC 9110 §13.2.2.
    pub(crate) fn check(&self, method: &Method, headers: &Headers) -> Precondition {
        let reads = method.is_get() || method.is_head() || method.is_query();
        if headers.contains("if-match") {
            if !self.is_among(headers, "if-match", true) {
                return Precondition::Failed;
            }
        } else if let (Some(modified), Some(date)) = (
            self.modified_seconds(),
            date_of(headers, "if-unmodified-since"),
        ) && modified > date
        {
            return Precondition::Failed;
        }
        if headers.contains("if-none-match") {
            if self.is_among(headers, "if-none-match", false) {
                return if reads {
                    Precondition::NotModified
                } else {
                    Precondition::Failed
                };
            }
        } else if reads
            && let (Some(modified), Some(date)) = (
                self.modified_seconds(),
                date_of(headers, "if-modified-since"),
            )
            && modified <= date
        {
            return Precondition::NotModified;
        }
        Precondition::Holds
    }

    /// Returns the part of a representation that a GET asks for (RFC 9110 §14.2). The representation has `length`
    /// bytes. For any other method, the part is the whole.
    ///
    /// Ignores a `Range` that is malformed, that is repeated, that has several ranges, or whose unit is not `bytes`.
    /// The RFC allows this. `now` returns the `Date` of the response, and is called only for an `If-Range` with a date.
    pub(crate) fn part(
        &self,
        method: &Method,
        headers: &Headers,
        length: u64,
        now: impl FnOnce() -> Option<SystemTime>,
    ) -> Part {
        let mut ranges = headers.get_all("range").filter(|_| method.is_get());
        let (Some(range), None) = (ranges.next(), ranges.next()) else {
            return Part::Whole;
        };
        if !self.is_same_for_range(headers, now) {
            return Part::Whole;
        }
        parse_range(range, length)
    }

    /// Returns true if the request has no `If-Range`, or if its `If-Range` surely names the current version. The client
    /// combines the part with parts that it already has, so all parts must belong to the same version (RFC 9110
    /// §13.1.5).
    fn is_same_for_range(
        &self,
        headers: &Headers,
        now: impl FnOnce() -> Option<SystemTime>,
    ) -> bool {
        let mut values = headers.get_all("if-range");
        let Some(value) = values.next() else {
            return true;
        };
        if values.next().is_some() {
            return false;
        }
        if value.starts_with('"') || value.starts_with("W/") {
            // The field has a single tag, not a list.
            let mut tags = tags(value);
            return tags.next().is_some_and(|tag| self.matches(tag, true)) && tags.next().is_none();
        }
        match (self.modified_seconds(), parse_date(value)) {
            // The date identifies a version only after its second is over. Within the second, another version could
            // follow (RFC 9110 §8.8.2.2).
            (Some(modified), Some(date)) if modified == date => {
                now().is_some_and(|now| modified < to_seconds(now))
            }
            _ => false,
        }
    }

    fn is_among(&self, headers: &Headers, name: &str, strongly: bool) -> bool {
        headers
            .get_all(name)
            .any(|value| value.trim() == "*" || tags(value).any(|tag| self.matches(tag, strongly)))
    }

    /// Compares a tag with the own tag. The strong comparison is false for a weak tag (RFC 9110 §8.8.3.2).
    fn matches(&self, (weak, tag): (bool, &str), strongly: bool) -> bool {
        self.etag
            .as_ref()
            .is_some_and(|own| own.tag == tag && !(strongly && (weak || own.weak)))
    }

    fn modified_seconds(&self) -> Option<u64> {
        self.last_modified.map(to_seconds)
    }
}

fn to_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

/// Returns the date of a field; `None` if the field is absent, repeated or invalid (RFC 9110 §13.1.3, §13.1.4).
fn date_of(headers: &Headers, name: &str) -> Option<u64> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    values.next().is_none().then(|| parse_date(value)).flatten()
}

/// Parses a date. Returns `None` for an invalid date.
fn parse_date(text: &str) -> Option<u64> {
    httpdate::parse_http_date(text).ok().map(to_seconds)
}

/// Formats a date for a header field. Returns `None` after 9999, because the year has only four digits. Also returns
/// `None` before 1970, because the formatter cannot write such a date.
pub(crate) fn format_date(time: SystemTime) -> Option<String> {
    // From this year on, the formatter panics.
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    (seconds < YEAR_10000)
        .then(|| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// Returns an iterator over a list of tags as (weak, text). The first malformed tag ends the iteration. A tag may
/// contain commas.
fn tags(list: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
        rest = after;
        Some((weak, tag))
    })
}

fn parse_range(value: &str, length: u64) -> Part {
    let Some((unit, set)) = value.split_once('=') else {
        return Part::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    let mut specs = list_items(set);
    let (Some(spec), None) = (specs.next(), specs.next()) else {
        return Part::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Part::Whole;
    };
    match (position(first), position(last)) {
        (Some(Some(first)), Some(last)) => {
            if last.is_some_and(|last| last < first) {
                return Part::Whole;
            }
            if first >= length {
                return Part::Unsatisfiable;
            }
            let end = last.map_or(length, |last| last.saturating_add(1).min(length));
            Part::Range(first..end)
        }
        (Some(None), Some(Some(0))) => Part::Unsatisfiable,
        (Some(None), Some(Some(_))) if length == 0 => Part::Whole,
        (Some(None), Some(Some(suffix))) => Part::Range(length.saturating_sub(suffix)..length),
        _ => Part::Whole,
    }
}

/// Parses the first or the last position of a range. Returns `Some(None)` if `digits` is empty, and `None` if it is not
/// a number. A number beyond `u64` becomes `u64::MAX`.
fn position(digits: &str) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| Some(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.try_add(name, value).unwrap();
        }
        headers
    }

    fn version(etag: EntityTag) -> Validators {
        Validators {
            etag: Some(etag),
            last_modified: Some(UNIX_EPOCH + Duration::from_millis(1_000_000_000_500)),
        }
    }

    const AT: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const BEFORE: &str = "Sun, 09 Sep 2001 01:46:39 GMT";
    const AFTER: &str = "Sun, 09 Sep 2001 01:46:41 GMT";

    #[test]
    fn conditions_are_evaluated_in_the_order_of_the_rfc() {
        use Precondition::{Failed, Holds, NotModified};
        let strong = version(EntityTag::strong("a,b"));
        let weak = version(EntityTag::weak("a,b"));
        for (fields, of_strong, of_weak) in [
            (&[][..], Holds, Holds),
            (&[("if-none-match", "\"a,b\"")], NotModified, NotModified),
            (&[("if-none-match", "W/\"a,b\"")], NotModified, NotModified),
            (
                &[("if-none-match", "\"x\" , ,\"a,b\"")],
                NotModified,
                NotModified,
            ),
            (
                &[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")],
                NotModified,
                NotModified,
            ),
            (&[("if-none-match", "*")], NotModified, NotModified),
            (&[("if-none-match", "\"x\"")], Holds, Holds),
            (&[("if-none-match", "a,b")], Holds, Holds),
            (&[("if-none-match", "")], Holds, Holds),
            // The tag takes precedence over the date.
            (
                &[("if-none-match", "\"x\""), ("if-modified-since", AFTER)],
                Holds,
                Holds,
            ),
            (&[("if-modified-since", AT)], NotModified, NotModified),
            (&[("if-modified-since", AFTER)], NotModified, NotModified),
            (&[("if-modified-since", BEFORE)], Holds, Holds),
            (&[("if-modified-since", "yesterday")], Holds, Holds),
            (
                &[("if-modified-since", AT), ("if-modified-since", AT)],
                Holds,
                Holds,
            ),
            (
                &[(
                    "if-modified-since",
                    "Sun, 09 Sep 2001 01:46:40 GMT, Sun, 09 Sep 2001 01:46:40 GMT",
                )],
                Holds,
                Holds,
            ),
            (&[("if-match", "\"a,b\"")], Holds, Failed),
            (&[("if-match", "W/\"a,b\"")], Failed, Failed),
            (&[("if-match", "*")], Holds, Holds),
            (&[("if-match", "\"x\"")], Failed, Failed),
            (
                &[("if-match", "\"a,b\""), ("if-unmodified-since", BEFORE)],
                Holds,
                Failed,
            ),
            (&[("if-unmodified-since", AT)], Holds, Holds),
            (&[("if-unmodified-since", BEFORE)], Failed, Failed),
            (&[("if-unmodified-since", "never")], Holds, Holds),
            (
                &[
                    ("if-unmodified-since", BEFORE),
                    ("if-unmodified-since", BEFORE),
                ],
                Holds,
                Holds,
            ),
            (
                &[("if-unmodified-since", "Sun, 09 Sep 2001 01:46:39 GMT,")],
                Holds,
                Holds,
            ),
            (
                &[("if-unmodified-since", AT), ("if-none-match", "*")],
                NotModified,
                NotModified,
            ),
        ] {
            let headers = headers(fields);
            for method in [Method::Get, Method::Query] {
                let found = strong.check(&method, &headers);
                assert_eq!(found, of_strong, "{method} {fields:?}");
            }
            assert_eq!(weak.check(&Method::Head, &headers), of_weak, "{fields:?}");
        }
        let put = headers(&[("if-none-match", "*"), ("if-modified-since", AFTER)]);
        assert_eq!(strong.check(&Method::Put, &put), Failed);
        let dated = headers(&[("if-modified-since", AFTER)]);
        assert_eq!(strong.check(&Method::Put, &dated), Holds);
        assert_eq!(Validators::default().check(&Method::Get, &dated), Holds);
    }

    #[test]
    fn one_range_is_a_part_and_anything_else_the_whole() {
        use Part::{Unsatisfiable, Whole};
        for (value, expected) in [
            ("bytes=0-0", Part::Range(0..1)),
            ("bytes=2-5", Part::Range(2..6)),
            ("BYTES=2-", Part::Range(2..10)),
            ("bytes=2-99999999999999999999999", Part::Range(2..10)),
            ("bytes=-3", Part::Range(7..10)),
            ("bytes=-30", Part::Range(0..10)),
            ("bytes= 1-2", Part::Range(1..3)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes", Whole),
            ("lines=0-1", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=0x1-2", Whole),
        ] {
            assert_eq!(parse_range(value, 10), expected, "{value}");
        }
        assert_eq!(parse_range("bytes=-1", 0), Whole);
        assert_eq!(parse_range("bytes=0-", 0), Unsatisfiable);
    }

    #[expect(clippy::unnecessary_wraps, reason = "as `part` asks for it")]
    fn later() -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_secs(1_000_000_100))
    }

    #[test]
    fn a_range_of_another_version_is_the_whole() {
        let strong = version(EntityTag::strong("v"));
        let weak = version(EntityTag::weak("v"));
        for (if_range, of_strong, of_weak) in [
            ("\"v\"", true, false),
            ("W/\"v\"", false, false),
            ("\"x\"", false, false),
            ("\"v\", \"x\"", false, false),
            (AT, true, true),
            (BEFORE, false, false),
            (AFTER, false, false),
            ("nonsense", false, false),
            ("*", false, false),
            ("", false, false),
            ("Sunday, 09-Sep-01 01:46:40 GMT", true, true),
            (
                "Sun, 09 Sep 2001 01:46:40 GMT, Sun, 09 Sep 2001 01:46:40 GMT",
                false,
                false,
            ),
        ] {
            let headers = headers(&[("range", "bytes=1-2"), ("if-range", if_range)]);
            let part = |is_same| {
                if is_same {
                    Part::Range(1..3)
                } else {
                    Part::Whole
                }
            };
            assert_eq!(
                strong.part(&Method::Get, &headers, 10, later),
                part(of_strong),
                "{if_range}"
            );
            assert_eq!(
                weak.part(&Method::Get, &headers, 10, later),
                part(of_weak),
                "{if_range}"
            );
        }
        let one = headers(&[("range", "bytes=1-2")]);
        assert_eq!(strong.part(&Method::Head, &one, 10, later), Part::Whole);
        let two = headers(&[("range", "bytes=1-2"), ("range", "bytes=3-4")]);
        assert_eq!(strong.part(&Method::Get, &two, 10, later), Part::Whole);
        let twice = headers(&[
            ("range", "bytes=1-2"),
            ("if-range", "\"v\""),
            ("if-range", "\"v\""),
        ]);
        assert_eq!(strong.part(&Method::Get, &twice, 10, later), Part::Whole);
    }

    #[test]
    fn a_date_is_strong_once_its_second_is_over() {
        let strong = version(EntityTag::strong("v"));
        let dated = headers(&[("range", "bytes=1-2"), ("if-range", AT)]);
        let tagged = headers(&[("range", "bytes=1-2"), ("if-range", "\"v\"")]);
        for (now, by_date) in [
            (Some(BEFORE), Part::Whole),
            (Some(AT), Part::Whole),
            (Some(AFTER), Part::Range(1..3)),
            (None, Part::Whole),
        ] {
            let now = || now.map(|now| httpdate::parse_http_date(now).unwrap());
            assert_eq!(strong.part(&Method::Get, &dated, 10, now), by_date);
            let by_tag = strong.part(&Method::Get, &tagged, 10, now);
            assert_eq!(by_tag, Part::Range(1..3));
        }
    }

    #[test]
    fn tags_are_quoted_and_hold_no_quotes() {
        assert_eq!(
            EntityTag::strong("a\"b c\r\n").to_string(),
            "\"a%22b%20c%0D%0A\""
        );
        assert!(EntityTag::weak("x").is_weak());
    }

    #[test]
    fn dates_without_a_form_are_none() {
        assert_eq!(
            format_date(UNIX_EPOCH).as_deref(),
            Some("Thu, 01 Jan 1970 00:00:00 GMT")
        );
        assert_eq!(format_date(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(
            format_date(UNIX_EPOCH + Duration::from_secs(253_402_300_800)),
            None
        );
    }
}
