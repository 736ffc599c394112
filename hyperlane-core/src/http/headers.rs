//! The header fields of a message in one buffer.
//!
//! All fields lie in one `String`, each as its line on the wire (`name: value\r\n`). A table has the positions of the
//! lines. Parsing a request head thus fills only the `String` and the table, and the connection reuses both. Writing a
//! response head is usually a single copy.

use std::{collections::VecDeque, fmt, ops::Range, slice, str};

use thiserror::Error;

mod accessors;

pub(crate) use self::accessors::{header_accessors, header_spellings};
use crate::proto::http::{
    head::{FieldRange, Fields},
    is_token_byte,
    marks::Marks,
    write::{FieldLine, HeadWriter, LINE_END, SEPARATOR},
};

/// The header fields of a request.
pub type RequestHeaders = Headers;
/// The header fields of a response.
pub type ResponseHeaders = Headers;
/// All values of a header field, in the order of their lines.
pub type RequestHeadersValue = VecDeque<String>;
/// One value of a header field.
pub type RequestHeadersValueItem = String;

/// The buffer is compacted only if removed fields take more than this many bytes. Compaction has to move the other
/// lines, and a smaller gain is not worth that time.
const COMPACT_ABOVE: usize = 1024;

/// The reason why a header field is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is empty or contains a character that a token cannot contain (RFC 9110 §5.6.2).
    #[error("header name is not a token (RFC 9110 5.6.2)")]
    Name,
    /// The value contains a control character other than tab (RFC 9110 §5.5).
    #[error("header value contains a control character (RFC 9110 5.5)")]
    Value,
    /// The field is `content-length` or `transfer-encoding`. The server itself sets these fields of a response (RFC
    /// 9112 §6).
    #[error("the server frames the message itself (RFC 9112 6)")]
    Framing,
    /// The WebSocket handshake itself sets this field of its response (RFC 6455 §4.2.2).
    #[error("the handshake writes this field itself (RFC 6455 4.2.2)")]
    Handshake,
    /// The field has no meaning after the body, so it cannot be a trailer (RFC 9110 §6.5.1).
    #[error("the field cannot follow the body (RFC 9110 6.5.1)")]
    Trailer,
    /// The fields of the message exceed 4 GiB.
    #[error("header fields exceed 4 GiB")]
    TooLarge,
}

/// Header fields in the order in which they were received or added, including repetitions.
///
/// Names are stored in lower case, and lookups ignore case. A lookup with a lower-case name is fastest. An empty map
/// needs no heap memory.
///
/// ```
/// use hyperlane_core::Headers;
///
/// let mut headers = Headers::new();
/// headers.try_set("Cache-Control", "no-store")?;
/// headers.try_add("vary", "origin")?;
/// headers.try_add("Vary", "accept")?;
/// assert_eq!(headers.get("cache-control"), Some("no-store"));
/// assert_eq!(headers.get_all("VARY").collect::<Vec<_>>(), ["origin", "accept"]);
/// assert!(headers.try_set("x-evil", "a\r\nset-cookie: b").is_err());
/// # Ok::<(), hyperlane_core::HeaderError>(())
/// ```
#[derive(Clone, Default)]
pub struct Headers {
    /// Complete lines with their line ends. Lines of removed fields stay until compaction.
    lines: String,
    /// The positions of the lines whose fields were not removed, in the order of `lines`.
    entries: Vec<Entry>,
    /// The number of bytes in `lines` that belong to removed fields.
    dead: u32,
    /// The marks of the fields.
    marks: Marks,
}

impl Headers {
    /// Creates an empty map without an allocation.
    pub const fn new() -> Self {
        Self {
            lines: String::new(),
            entries: Vec::new(),
            dead: 0,
            marks: Marks::none(),
        }
    }

    /// Returns the number of field lines; repetitions count.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the first value of `name`.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|entry| entry.is_named(&self.lines, name))
            .map(|entry| entry.value(&self.lines))
    }

    /// Returns the last value of `name`.
    #[inline]
    pub fn get_last(&self, name: &str) -> Option<&str> {
        self.entries
            .iter()
            .rfind(|entry| entry.is_named(&self.lines, name))
            .map(|entry| entry.value(&self.lines))
    }

    /// Returns an iterator over the values of `name`, in the order of their lines.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(move |entry| entry.is_named(&self.lines, name))
            .map(|entry| entry.value(&self.lines))
    }

    /// Returns whether a field of this name is present.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns whether any `name` field lists `token`. The value of the field is a comma-separated list, and case is
    /// ignored.
    ///
    /// Use this for fields such as `Connection` and `Upgrade` (RFC 9110 §5.6.1); quoted strings are not supported.
    ///
    /// ```
    /// # use hyperlane_core::Headers;
    /// let mut headers = Headers::new();
    /// headers.try_add("connection", "keep-alive, Upgrade")?;
    /// assert!(headers.has_token("connection", "upgrade"));
    /// # Ok::<(), hyperlane_core::HeaderError>(())
    /// ```
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let is_token = |item: &str| item.eq_ignore_ascii_case(token);
        // Most lists have one element. To split them would cost more than to compare them.
        self.get_all(name).any(|list| match list.contains(',') {
            false => {
                let item = trim_blanks(list);
                !item.is_empty() && is_token(item)
            }
            true => list_items(list).any(is_token),
        })
    }

    /// Sets `name` to a single value and removes earlier fields of the same name.
    ///
    /// Blanks around the value are removed.
    ///
    /// # Errors
    /// Returns [`HeaderError::Name`] or [`HeaderError::Value`] if the field would break the message, and
    /// [`HeaderError::TooLarge`] beyond 4 GiB. After an error the map is unchanged.
    pub fn try_set(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let value = check_field(name, value)?;
        // This check comes before the removal, because an error must leave the map unchanged. The removal does not make
        // the buffer longer, so the line still fits afterwards.
        self.next_entry(name, value)?;
        self.remove(name);
        self.push_line(name, value)
    }

    /// Adds a field and keeps earlier fields of the same name.
    ///
    /// # Errors
    /// Returns the same errors as [`try_set`](Self::try_set).
    pub fn try_add(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let value = check_field(name, value)?;
        self.push_line(name, value)
    }

    /// Sets a field that the server itself adds, and removes earlier fields of its name. A field beyond 4 GiB is
    /// dropped.
    pub(crate) fn set_line(&mut self, line: &'static FieldLine) {
        if !self.is_empty() {
            self.remove(line.name());
        }
        if let Some(entry) = Entry::new(self.lines.len(), line.name().len(), line.value().len()) {
            self.lines.push_str(line.text());
            self.entries.push(entry);
            self.marks.add(line.marks());
        }
    }

    /// Removes every field of this name. Returns whether a field was removed.
    pub fn remove(&mut self, name: &str) -> bool {
        self.remove_where(|entry, lines| entry.is_named(lines, name))
    }

    /// Removes the fields of this name with exactly this value. Returns whether a field was removed.
    pub fn remove_value(&mut self, name: &str, value: &str) -> bool {
        self.remove_where(|entry, lines| entry.is_named(lines, name) && entry.value(lines) == value)
    }

    /// Removes all fields and keeps the memory for the next message.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.entries.clear();
        self.dead = 0;
        self.marks = Marks::none();
    }

    /// Releases the memory that the current fields do not need.
    pub(crate) fn shrink_to_fit(&mut self) {
        if self.dead > 0 {
            self.compact();
        }
        self.lines.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// Returns an iterator over all fields as (lower-case name, value), in order.
    pub fn iter(&self) -> HeadersIter<'_> {
        HeadersIter {
            lines: &self.lines,
            entries: self.entries.iter(),
        }
    }

    /// Returns an iterator over all fields as bytes, in order. Slices of bytes cost less than slices of text, because
    /// Rust checks that a slice of text ends between characters.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let lines = self.lines.as_bytes();
        let get = |range: Range<usize>| lines.get(range).unwrap_or_default();
        self.entries
            .iter()
            .map(move |entry| (get(entry.name_range()), get(entry.value_range())))
    }

    /// Returns the marks of all fields.
    #[inline]
    pub(crate) fn marks(&self) -> Marks {
        match self.marks.has(Marks::UNREAD) {
            true => self.read_marks(),
            false => self.marks,
        }
    }

    #[cold]
    fn read_marks(&self) -> Marks {
        self.bytes()
            .map(|(name, value)| Marks::of(name, value))
            .fold(Marks::none(), Marks::with)
    }

    /// Adds a field whose name and value a parser has validated.
    ///
    /// A value that is not UTF-8 is decoded as Latin-1, in which every byte is valid. A field beyond 4 GiB is dropped,
    /// and the drop is logged.
    pub(crate) fn append_parsed(&mut self, name: &str, value: &[u8]) {
        let pushed = match str::from_utf8(value) {
            Ok(value) => self.push_line(name, value),
            // Only a value that is not UTF-8 needs a second string.
            Err(_) => self.push_line(name, &latin1(value)),
        };
        if let Err(error) = pushed {
            tracing::warn!(%error, "header field dropped");
        }
    }

    /// Adds the fields of a parsed head. Fields beyond 4 GiB are dropped, and the drop is logged.
    #[inline]
    pub(crate) fn append_head(&mut self, fields: Fields<'_, '_>) {
        let Some((block, lengths)) = fields.block() else {
            let (bytes, ranges) = fields.parts();
            return self.append_each(bytes, ranges);
        };
        let start = self.lines.len();
        if u32::try_from(start + block.known_host.len() + block.others.len()).is_err() {
            tracing::warn!(error = %HeaderError::TooLarge, "header fields dropped");
            return;
        }
        self.lines.push_str(block.known_host);
        self.lines.push_str(block.others);
        self.marks.add(Marks::UNREAD);
        // The check above makes all positions fit into 32 bits.
        let mut start = start as u32;
        let lower = start + block.known_host.len() as u32;
        let lines = &mut self.lines;
        self.entries.extend(lengths.map(|(name_len, value_len)| {
            let entry = Entry {
                start,
                name_len: name_len as u32,
                value_len: value_len as u32,
            };
            if start >= lower
                && let Some(name) = lines.get_mut(entry.name_range())
            {
                name.make_ascii_lowercase();
            }
            start += entry.name_len + entry.value_len + LINE_EXTRA as u32;
            entry
        }));
    }

    // The arguments are not a reference to `Fields`: the caller's parts of a head then need not be in memory.
    #[inline(never)]
    fn append_each(&mut self, bytes: &[u8], ranges: &[FieldRange]) {
        for field in Fields::of(bytes, ranges).iter() {
            self.append_parsed(field.name, field.value);
        }
    }

    /// Writes all fields into a head.
    #[inline(always)]
    pub(crate) fn write_lines(&self, head: &mut HeadWriter<'_>) {
        match self.dead {
            0 => head.lines(&self.lines),
            _ => self.write_living(head),
        }
    }

    #[cold]
    fn write_living(&self, head: &mut HeadWriter<'_>) {
        self.write_where(head, |_, _| true);
    }

    /// Writes into a head those fields for which `keep` returns true. `keep` receives the lower-case name and the
    /// value.
    pub(crate) fn write_where(&self, head: &mut HeadWriter<'_>, keep: impl Fn(&str, &str) -> bool) {
        for entry in &self.entries {
            if keep(entry.name(&self.lines), entry.value(&self.lines)) {
                head.lines(entry.line(&self.lines));
            }
        }
    }

    /// Returns the number of bytes that all fields take in a head.
    pub(crate) fn wire_len(&self) -> usize {
        self.lines.len() - self.dead as usize
    }

    /// Returns the number of distinct names.
    pub(crate) fn distinct_len(&self) -> usize {
        let first_of_name =
            |(at, name): (usize, &str)| !self.iter().take(at).any(|(earlier, _)| earlier == name);
        self.iter()
            .map(|(name, _)| name)
            .enumerate()
            .filter(|&item| first_of_name(item))
            .count()
    }

    /// Copies all values of `name`; `None` if the field is absent.
    pub(crate) fn owned_values(&self, name: &str) -> Option<RequestHeadersValue> {
        let values: RequestHeadersValue = self.get_all(name).map(str::to_owned).collect();
        (!values.is_empty()).then_some(values)
    }

    /// Returns the position that the next line will have, or an error if the line would end beyond 4 GiB. Changes
    /// nothing.
    fn next_entry(&self, name: &str, value: &str) -> Result<Entry, HeaderError> {
        Entry::new(self.lines.len(), name.len(), value.len()).ok_or(HeaderError::TooLarge)
    }

    fn push_line(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let entry = self.next_entry(name, value)?;
        self.lines.reserve(name.len() + value.len() + LINE_EXTRA);
        self.lines.push_str(name);
        if let Some(stored) = self.lines.get_mut(entry.name_range()) {
            stored.make_ascii_lowercase();
        }
        self.lines.push_str(SEPARATOR);
        self.lines.push_str(value);
        self.lines.push_str(LINE_END);
        self.entries.push(entry);
        let name = entry.name(&self.lines).as_bytes();
        self.marks.add(Marks::of(name, value.as_bytes()));
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
        // All bytes after the last line that stays belong to removed fields, so they can be dropped.
        let end = self
            .entries
            .last()
            .map_or(0, |entry| entry.line_range().end);
        // Both numbers are at most the length of the buffer, whose positions fit into 32 bits.
        self.dead += freed as u32;
        self.dead -= (self.lines.len() - end) as u32;
        self.lines.truncate(end);
        self.marks = self.read_marks();
        let dead = self.dead as usize;
        if dead > COMPACT_ABOVE && dead > self.wire_len() {
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

/// An iterator over the fields of a [`Headers`], created by [`Headers::iter`].
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

/// The position of one line. One start and two lengths suffice, because the value follows the name.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    name_len: u32,
    value_len: u32,
}

impl Entry {
    /// Creates an entry; `None` if the line would end beyond 4 GiB.
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
        // The position still fits, because compaction only moves lines towards the front.
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

    /// Compares names. The length decides nearly every comparison.
    #[inline]
    fn is_named(&self, lines: &str, name: &str) -> bool {
        self.name_len as usize == name.len() && {
            // Slices of bytes cost less than slices of text, because Rust checks that a slice of text ends between
            // characters.
            let stored = lines.as_bytes().get(self.name_range()).unwrap_or_default();
            stored == name.as_bytes() || stored.eq_ignore_ascii_case(name.as_bytes())
        }
    }
}

/// Splits a comma-separated list and skips empty elements (RFC 9110 §5.6.1.2).
pub(crate) fn list_items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(trim_blanks)
        .filter(|item| !item.is_empty())
}

/// Returns whether `name` is a token (RFC 9110 §5.6.2). Names of header fields and of subprotocols must be tokens.
pub(crate) fn is_token(name: &str) -> bool {
    // This pass has no branches, and is enough for nearly all names.
    let is_plain = name.bytes().fold(true, |plain, byte| {
        plain & (byte.is_ascii_alphanumeric() | (byte == b'-'))
    });
    !name.is_empty() && (is_plain || name.bytes().all(is_token_byte))
}

/// Returns whether text is valid in a line of a head: tab is the only permitted control character.
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

/// Trims spaces and tabs. The other characters that `trim_ascii` removes cannot occur in a field.
fn trim_blanks(text: &str) -> &str {
    text.trim_ascii()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests;
