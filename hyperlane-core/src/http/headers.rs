//! The header fields of one message, in one piece of memory.
//!
//! All fields live in one `String`, each as the line it has on the wire (`name: value\r\n`), with a table of where
//! they are. Reading a request head therefore fills two buffers that the connection reuses, and writing a response
//! head is one copy.

use std::{collections::VecDeque, fmt, ops::Range, slice, str};

use thiserror::Error;

use crate::proto::http::{
    is_token_byte,
    write::{HeadWriter, LINE_END, SEPARATOR},
};

/// Names the header fields of a request.
pub type RequestHeaders = Headers;
/// Names the header fields of a response.
pub type ResponseHeaders = Headers;
/// Names all values of one header field, in the order of their lines.
pub type RequestHeadersValue = VecDeque<String>;
/// Names one value of a header field.
pub type RequestHeadersValueItem = String;

/// Dead bytes up to here are left where they are: moving them would cost more than it frees.
const COMPACT_ABOVE: usize = 1024;

/// Tells which rule a header field breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is empty or holds a character that a token may not (RFC 9110 §5.6.2).
    #[error("header name is not a token (RFC 9110 5.6.2)")]
    Name,
    /// The value holds CR, LF, NUL or another control character except the tab (RFC 9110 §5.5).
    #[error("header value holds a control character (RFC 9110 5.5)")]
    Value,
    /// `content-length` and `transfer-encoding` of a response belong to the server (RFC 9112 §6).
    #[error("the server frames the message itself (RFC 9112 6)")]
    Framing,
    /// The handshake writes this field of its answer itself (RFC 6455 §4.2.2).
    #[error("the handshake writes this field itself (RFC 6455 4.2.2)")]
    Handshake,
    /// The fields of this message would exceed 4 GiB.
    #[error("header fields exceed 4 GiB")]
    TooLarge,
}

/// Holds header fields in the order they came, several of one name included.
///
/// Names are kept in lower case and looked up without regard to case; a name that is given in lower case is found
/// fastest. An empty map owns no memory.
///
/// ```
/// use hyperlane_core::http::Headers;
///
/// let mut headers = Headers::new();
/// headers.try_set("Cache-Control", "no-store")?;
/// headers.try_add("vary", "origin")?;
/// headers.try_add("Vary", "accept")?;
/// assert_eq!(headers.get("cache-control"), Some("no-store"));
/// assert_eq!(headers.get_all("VARY").collect::<Vec<_>>(), ["origin", "accept"]);
/// assert!(headers.try_set("x-evil", "a\r\nset-cookie: b").is_err());
/// # Ok::<(), hyperlane_core::http::HeaderError>(())
/// ```
#[derive(Clone, Default)]
pub struct Headers {
    /// Whole lines, each with its line end; those of removed fields stay until compaction.
    lines: String,
    /// In the order of `lines`.
    entries: Vec<Entry>,
    /// Bytes of `lines` that no entry points to.
    dead: usize,
}

impl Headers {
    /// Creates an empty map; allocates nothing.
    pub const fn new() -> Self {
        Self {
            lines: String::new(),
            entries: Vec::new(),
            dead: 0,
        }
    }

    /// Counts the field lines; a name that came twice counts twice.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Finds the first value of `name`.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|entry| entry.is_named(&self.lines, name))
            .map(|entry| entry.value(&self.lines))
    }

    /// Finds the last value of `name`.
    #[inline]
    pub fn get_last(&self, name: &str) -> Option<&str> {
        self.entries
            .iter()
            .rfind(|entry| entry.is_named(&self.lines, name))
            .map(|entry| entry.value(&self.lines))
    }

    /// Goes through the values of `name` in the order of their lines.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(move |entry| entry.is_named(&self.lines, name))
            .map(|entry| entry.value(&self.lines))
    }

    /// Tells whether a field of this name is present.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Tells whether the comma-separated lists of all `name` fields hold `token`, without regard to case.
    ///
    /// For fields such as `Connection` and `Upgrade` (RFC 9110 §5.6.1); quoted strings are not understood.
    ///
    /// ```
    /// # use hyperlane_core::http::Headers;
    /// let mut headers = Headers::new();
    /// headers.try_add("connection", "keep-alive, Upgrade")?;
    /// assert!(headers.has_token("connection", "upgrade"));
    /// # Ok::<(), hyperlane_core::http::HeaderError>(())
    /// ```
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.get_all(name)
            .flat_map(list_items)
            .any(|item| item.eq_ignore_ascii_case(token))
    }

    /// Sets `name` to one value; every earlier field of that name goes.
    ///
    /// Blanks around the value are not part of it and are dropped.
    ///
    /// # Errors
    /// [`HeaderError::Name`] and [`HeaderError::Value`] when the field could not be written safely; the map is
    /// unchanged then.
    pub fn try_set(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let value = check_field(name, value)?;
        self.remove(name);
        self.push_line(name, value)
    }

    /// Adds a field and keeps earlier ones of the same name.
    ///
    /// # Errors
    /// As for [`try_set`](Self::try_set).
    pub fn try_add(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let value = check_field(name, value)?;
        self.push_line(name, value)
    }

    /// Removes every field of this name; tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.remove_where(|entry, lines| entry.is_named(lines, name))
    }

    /// Removes the fields of this name that have exactly this value; tells whether there was one.
    pub fn remove_value(&mut self, name: &str, value: &str) -> bool {
        self.remove_where(|entry, lines| entry.is_named(lines, name) && entry.value(lines) == value)
    }

    /// Removes all fields and keeps the memory for the next message.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.entries.clear();
        self.dead = 0;
    }

    /// Gives back all memory that the present fields do not need.
    pub fn shrink_to_fit(&mut self) {
        if self.dead > 0 {
            self.compact();
        }
        self.lines.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// Goes through all fields as (lower-case name, value), in order.
    pub fn iter(&self) -> HeadersIter<'_> {
        HeadersIter {
            lines: &self.lines,
            entries: self.entries.iter(),
        }
    }

    /// Adds a field whose name and value a parser has found valid already.
    ///
    /// A value that is not UTF-8 is read as Latin-1, in which every byte means something. The caller bounds the
    /// size of the head; a field past 4 GiB is dropped.
    pub fn append_parsed(&mut self, name: &str, value: &[u8]) {
        let pushed = match str::from_utf8(value) {
            Ok(value) => self.push_line(name, value),
            // Rare and ugly: the detour over a string keeps the common path free of it.
            Err(_) => self.push_line(name, &latin1(value)),
        };
        if let Err(error) = pushed {
            tracing::warn!(%error, "header field dropped");
        }
    }

    /// Writes all fields as `name: value` lines with their line ends.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for entry in &self.entries {
            out.extend_from_slice(entry.line(&self.lines).as_bytes());
        }
    }

    /// Writes all fields into a head.
    pub(crate) fn write_lines(&self, head: &mut HeadWriter<'_>) {
        match self.dead {
            0 => head.lines(&self.lines),
            _ => self.write_where(head, |_, _| true),
        }
    }

    /// Writes those fields into a head whose lower-case name and value pass.
    pub(crate) fn write_where(&self, head: &mut HeadWriter<'_>, keep: impl Fn(&str, &str) -> bool) {
        for entry in &self.entries {
            if keep(entry.name(&self.lines), entry.value(&self.lines)) {
                head.lines(entry.line(&self.lines));
            }
        }
    }

    /// Counts the bytes that [`write_to`](Self::write_to) writes.
    pub(crate) fn wire_len(&self) -> usize {
        self.lines.len() - self.dead
    }

    /// Counts the different names.
    pub(crate) fn distinct_len(&self) -> usize {
        let first_of_name =
            |(at, name): (usize, &str)| !self.iter().take(at).any(|(earlier, _)| earlier == name);
        self.iter()
            .map(|(name, _)| name)
            .enumerate()
            .filter(|&item| first_of_name(item))
            .count()
    }

    /// Copies all values of `name`; `None` if there is none.
    pub(crate) fn owned_values(&self, name: &str) -> Option<RequestHeadersValue> {
        let values: RequestHeadersValue = self.get_all(name).map(str::to_owned).collect();
        (!values.is_empty()).then_some(values)
    }

    fn push_line(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let entry =
            Entry::new(self.lines.len(), name.len(), value.len()).ok_or(HeaderError::TooLarge)?;
        self.lines.reserve(name.len() + value.len() + LINE_EXTRA);
        self.lines.push_str(name);
        if let Some(stored) = self.lines.get_mut(entry.name_range()) {
            stored.make_ascii_lowercase();
        }
        self.lines.push_str(SEPARATOR);
        self.lines.push_str(value);
        self.lines.push_str(LINE_END);
        self.entries.push(entry);
        Ok(())
    }

    fn remove_where(&mut self, gone: impl Fn(&Entry, &str) -> bool) -> bool {
        let lines = &self.lines;
        let mut freed = 0;
        self.entries.retain(|entry| {
            let gone = gone(entry, lines);
            if gone {
                freed += entry.line_range().len();
            }
            !gone
        });
        if freed == 0 {
            return false;
        }
        // What lies behind the last live line is dead to the last byte, and free to drop.
        let end = self
            .entries
            .last()
            .map_or(0, |entry| entry.line_range().end);
        self.dead += freed;
        self.dead -= self.lines.len() - end;
        self.lines.truncate(end);
        if self.dead > COMPACT_ABOVE && self.dead > self.wire_len() {
            self.compact();
        }
        true
    }

    fn compact(&mut self) {
        let mut lines = String::with_capacity(self.wire_len());
        for entry in &mut self.entries {
            let start = lines.len();
            lines.push_str(entry.line(&self.lines));
            entry.move_to(start);
        }
        self.lines = lines;
        self.dead = 0;
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = (&'a str, &'a str);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// Goes through the fields of a [`Headers`]; made by [`Headers::iter`].
#[derive(Debug, Clone)]
pub struct HeadersIter<'a> {
    lines: &'a str,
    entries: slice::Iter<'a, Entry>,
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.entries
            .next()
            .map(|entry| (entry.name(self.lines), entry.value(self.lines)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl DoubleEndedIterator for HeadersIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.entries
            .next_back()
            .map(|entry| (entry.name(self.lines), entry.value(self.lines)))
    }
}

impl ExactSizeIterator for HeadersIter<'_> {}

const LINE_EXTRA: usize = SEPARATOR.len() + LINE_END.len();

/// Where one line lies. Its value follows the name, so one start and two lengths tell all.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    name_len: u32,
    value_len: u32,
}

impl Entry {
    /// `None` if the end of the line is past what the table can address.
    fn new(start: usize, name_len: usize, value_len: usize) -> Option<Self> {
        let end = start
            .checked_add(name_len)?
            .checked_add(value_len)?
            .checked_add(LINE_EXTRA)?;
        u32::try_from(end).ok()?;
        Some(Self {
            start: u32::try_from(start).ok()?,
            name_len: u32::try_from(name_len).ok()?,
            value_len: u32::try_from(value_len).ok()?,
        })
    }

    fn move_to(&mut self, start: usize) {
        // Compaction only moves lines to the front, so the position still fits.
        self.start = u32::try_from(start).unwrap_or(self.start);
    }

    fn name_range(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.name_len as usize
    }

    fn value_range(&self) -> Range<usize> {
        let start = self.name_range().end + SEPARATOR.len();
        start..start + self.value_len as usize
    }

    fn line_range(&self) -> Range<usize> {
        self.start as usize..self.value_range().end + LINE_END.len()
    }

    #[inline]
    fn name<'a>(&self, lines: &'a str) -> &'a str {
        lines.get(self.name_range()).unwrap_or_default()
    }

    #[inline]
    fn value<'a>(&self, lines: &'a str) -> &'a str {
        lines.get(self.value_range()).unwrap_or_default()
    }

    fn line<'a>(&self, lines: &'a str) -> &'a str {
        lines.get(self.line_range()).unwrap_or_default()
    }

    /// The length settles nearly every comparison.
    #[inline]
    fn is_named(&self, lines: &str, name: &str) -> bool {
        self.name_len as usize == name.len() && {
            let stored = self.name(lines);
            stored == name || stored.eq_ignore_ascii_case(name)
        }
    }
}

/// Splits a comma-separated list; empty items, which senders may leave, do not count (RFC 9110 §5.6.1.2).
pub(crate) fn list_items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(trim_blanks)
        .filter(|item| !item.is_empty())
}

/// Tells whether `name` is a token, as names of header fields and subprotocols are.
pub(crate) fn is_token(name: &str) -> bool {
    // Nearly all names are of these; one pass without branches.
    let is_plain = name.bytes().fold(true, |plain, byte| {
        plain & (byte.is_ascii_alphanumeric() | (byte == b'-'))
    });
    !name.is_empty() && (is_plain || name.bytes().all(is_token_byte))
}

/// Tells whether text may stand in a head line: no control character but the tab.
pub(crate) fn is_field_text(text: &str) -> bool {
    text.bytes().fold(true, |clean, byte| {
        clean & ((byte == b'\t') | ((byte >= b' ') & (byte != 0x7F)))
    })
}

fn check_field<'a>(name: &str, value: &'a str) -> Result<&'a str, HeaderError> {
    if !is_token(name) {
        return Err(HeaderError::Name);
    }
    if !is_field_text(value) {
        return Err(HeaderError::Value);
    }
    Ok(trim_blanks(value))
}

/// What else this trims but blanks and tabs, no field has.
fn trim_blanks(text: &str) -> &str {
    text.trim_ascii()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The reading half that requests and responses share, under the names programs know.
macro_rules! header_getters {
    () => {
        /// Borrows the header fields.
        pub fn get_headers(&self) -> &$crate::http::Headers {
            &self.headers
        }

        /// Borrows the header fields for change.
        pub fn get_mut_headers(&mut self) -> &mut $crate::http::Headers {
            &mut self.headers
        }

        /// Replaces all header fields.
        pub fn set_headers(&mut self, headers: $crate::http::Headers) -> &mut Self {
            self.headers = headers;
            self
        }

        /// Borrows the first value of a header field; the name's case does not matter.
        pub fn header(&self, name: impl AsRef<str>) -> Option<&str> {
            self.headers.get(name.as_ref())
        }

        /// Copies all values of a header field.
        pub fn try_get_header(
            &self,
            name: impl AsRef<str>,
        ) -> Option<$crate::http::RequestHeadersValue> {
            self.headers.owned_values(name.as_ref())
        }

        /// Copies all values of a header field; empty if it is absent.
        pub fn get_header(&self, name: impl AsRef<str>) -> $crate::http::RequestHeadersValue {
            self.try_get_header(name).unwrap_or_default()
        }

        /// Copies the first value of a header field.
        pub fn try_get_header_front(&self, name: impl AsRef<str>) -> Option<String> {
            self.headers.get(name.as_ref()).map(str::to_owned)
        }

        /// Copies the first value of a header field; empty if it is absent.
        pub fn get_header_front(&self, name: impl AsRef<str>) -> String {
            self.try_get_header_front(name).unwrap_or_default()
        }

        /// Copies the last value of a header field.
        pub fn try_get_header_back(&self, name: impl AsRef<str>) -> Option<String> {
            self.headers.get_last(name.as_ref()).map(str::to_owned)
        }

        /// Copies the last value of a header field; empty if it is absent.
        pub fn get_header_back(&self, name: impl AsRef<str>) -> String {
            self.try_get_header_back(name).unwrap_or_default()
        }

        /// Counts the values of a header field; `None` if it is absent.
        pub fn try_get_header_size(&self, name: impl AsRef<str>) -> Option<usize> {
            Some(self.get_header_size(name)).filter(|&size| size > 0)
        }

        /// Counts the values of a header field.
        pub fn get_header_size(&self, name: impl AsRef<str>) -> usize {
            self.headers.get_all(name.as_ref()).count()
        }

        /// Counts the different header names.
        pub fn get_headers_size(&self) -> usize {
            self.headers.distinct_len()
        }

        /// Counts the header values over all names.
        pub fn get_headers_values_size(&self) -> usize {
            self.headers.len()
        }

        /// Tells whether a header field is present.
        pub fn has_header(&self, name: impl AsRef<str>) -> bool {
            self.headers.contains(name.as_ref())
        }

        /// Tells whether a header field has exactly this value.
        pub fn has_header_value(&self, name: impl AsRef<str>, value: impl AsRef<str>) -> bool {
            self.headers
                .get_all(name.as_ref())
                .any(|held| held == value.as_ref())
        }
    };
}
pub(crate) use header_getters;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(headers: &Headers) -> String {
        let mut out = Vec::new();
        headers.write_to(&mut out);
        assert_eq!(out.len(), headers.wire_len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn empty_map_owns_no_memory() {
        let headers = Headers::new();
        assert_eq!(
            (headers.lines.capacity(), headers.entries.capacity()),
            (0, 0)
        );
        assert_eq!(headers.get("host"), None);
        assert_eq!(written(&headers), "");
    }

    #[test]
    fn names_match_in_any_case_and_values_keep_theirs() {
        let mut headers = Headers::new();
        headers.append_parsed("X-Mixed", b"VaLue");
        for name in ["x-mixed", "X-MIXED", "X-Mixed"] {
            assert_eq!(headers.get(name), Some("VaLue"));
        }
        assert_eq!(headers.get("x-mixe"), None);
        assert_eq!(headers.iter().next(), Some(("x-mixed", "VaLue")));
    }

    #[test]
    fn set_replaces_and_add_keeps() {
        let mut headers = Headers::new();
        headers.try_add("a", "1").unwrap();
        headers.try_add("b", "2").unwrap();
        headers.try_add("A", "3").unwrap();
        assert_eq!(
            (headers.get("a"), headers.get_last("a"), headers.len()),
            (Some("1"), Some("3"), 3)
        );
        assert_eq!(headers.distinct_len(), 2);
        headers.try_set("a", "4").unwrap();
        assert_eq!(headers.get_all("a").collect::<Vec<_>>(), ["4"]);
        assert_eq!(written(&headers), "b: 2\r\na: 4\r\n");
    }

    #[test]
    fn removal_leaves_the_others() {
        let mut headers = Headers::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
            headers.try_add(name, value).unwrap();
        }
        assert!(headers.remove_value("A", "1"));
        assert!(!headers.remove_value("a", "1"));
        assert_eq!(written(&headers), "b: 2\r\na: 3\r\nc: 4\r\n");
        assert!(headers.remove("C"));
        assert!(!headers.remove("c"));
        assert_eq!(
            headers.iter().rev().collect::<Vec<_>>(),
            [("a", "3"), ("b", "2")]
        );
    }

    #[test]
    fn invalid_names_and_values_are_refused_and_change_nothing() {
        let mut headers = Headers::new();
        headers.try_set("a", "1").unwrap();
        for name in ["", "a b", "a:", "a\r\n", "ä", "a\0"] {
            assert_eq!(
                headers.try_set(name, "x"),
                Err(HeaderError::Name),
                "{name:?}"
            );
        }
        for value in ["x\r\ny", "x\ny", "x\r", "\0", "\x7f", "\x1b[0m"] {
            assert_eq!(
                headers.try_set("a", value),
                Err(HeaderError::Value),
                "{value:?}"
            );
            assert_eq!(
                headers.try_add("a", value),
                Err(HeaderError::Value),
                "{value:?}"
            );
        }
        assert_eq!(written(&headers), "a: 1\r\n");
    }

    #[test]
    fn tabs_and_text_beyond_ascii_are_values_and_outer_blanks_are_not() {
        let mut headers = Headers::new();
        headers.try_set("a", " \tgr\tün ").unwrap();
        headers.try_add("empty", "  ").unwrap();
        assert_eq!(
            (headers.get("a"), headers.get("empty")),
            (Some("gr\tün"), Some(""))
        );
    }

    #[test]
    fn parsed_value_that_is_not_utf8_is_latin1() {
        let mut headers = Headers::new();
        headers.append_parsed("Name", b"caf\xe9");
        headers.append_parsed("utf8", "café".as_bytes());
        assert_eq!(
            (headers.get("name"), headers.get("utf8")),
            (Some("café"), Some("café"))
        );
    }

    #[test]
    fn tokens_are_found_over_all_lists() {
        let mut headers = Headers::new();
        headers.try_add("connection", "keep-alive, , TE").unwrap();
        headers.try_add("Connection", "\tUpgrade ,").unwrap();
        for token in ["keep-alive", "te", "UPGRADE"] {
            assert!(headers.has_token("connection", token), "{token}");
        }
        for token in ["keep", "alive", "", "close"] {
            assert!(!headers.has_token("connection", token), "{token}");
        }
    }

    #[test]
    fn clear_keeps_memory_and_shrink_gives_it_back() {
        let mut headers = Headers::new();
        headers.try_set("name", "x".repeat(500).as_str()).unwrap();
        headers.try_set("other", "y").unwrap();
        headers.remove("name");
        headers.shrink_to_fit();
        assert_eq!(headers.lines.capacity(), "other: y\r\n".len());
        assert_eq!(headers.get("other"), Some("y"));
        let capacity = headers.lines.capacity();
        headers.clear();
        assert!(headers.is_empty() && headers.get("other").is_none());
        assert_eq!(headers.lines.capacity(), capacity);
    }

    #[test]
    fn setting_one_name_for_ever_does_not_grow() {
        let mut headers = Headers::new();
        headers.try_set("first", "kept").unwrap();
        for round in 0..10_000 {
            headers.try_set("a", &format!("value {round}")).unwrap();
            headers.try_set("b", &format!("value {round}")).unwrap();
        }
        assert!(
            headers.lines.capacity() < 4 * COMPACT_ABOVE,
            "{}",
            headers.lines.capacity()
        );
        assert_eq!(
            written(&headers),
            "first: kept\r\na: value 9999\r\nb: value 9999\r\n"
        );
    }

    #[test]
    fn equality_is_about_fields_not_memory() {
        let (mut left, mut right) = (Headers::new(), Headers::new());
        left.try_set("gone", "x").unwrap();
        left.try_set("a", "1").unwrap();
        left.remove("gone");
        right.try_set("A", "1").unwrap();
        assert_eq!(left, right);
        assert_eq!(format!("{left:?}"), r#"{"a": "1"}"#);
    }

    #[test]
    fn lines_past_four_gib_are_not_addressable() {
        assert!(Entry::new(u32::MAX as usize - 10, 3, 3).is_some());
        assert!(Entry::new(u32::MAX as usize - 9, 3, 3).is_none());
        assert!(Entry::new(usize::MAX, 1, 1).is_none());
    }
}
