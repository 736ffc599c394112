//! The encoder of events (WHATWG HTML §9.2.5).

use std::io;
use std::time::Duration;

use bytes::Bytes;
use memchr::memchr2;
use serde::Serialize;

/// The name of an event to which the program has given an id and no data. The id tells the client its position in the
/// stream.
pub(crate) const POSITION: &str = "position";

/// A builder of one event. The fields have the order of the calls that set them.
///
/// The setters do not report an invalid value, with the exception of [`json_data`](Self::json_data). Instead,
/// [`encode`](Self::encode), [`to_bytes`](Self::to_bytes) and [`into_bytes`](Self::into_bytes) return an error if a
/// setter has refused its value.
///
/// ```
/// use hyperlane_core::Event;
///
/// let event = Event::new().id("42").data("first\nsecond");
/// assert_eq!(event.into_bytes()?.as_ref(), b"id: 42\ndata: first\ndata: second\n\n");
///
/// assert!(Event::new().id("1\ndata: forged").into_bytes().is_err());
/// # Ok::<(), hyperlane_core::proto::sse::EventError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Event {
    /// The encoded fields without the empty line that ends the event.
    fields: Vec<u8>,
    error: Option<EventError>,
    has_id: bool,
    has_data: bool,
}

impl Event {
    /// Creates an event without fields.
    pub const fn new() -> Self {
        Self {
            fields: Vec::new(),
            error: None,
            has_id: false,
            has_data: false,
        }
    }

    /// Sets the id that the client sends back as `Last-Event-ID` when it reconnects. An empty id resets the client's
    /// last id.
    ///
    /// Refuses CR, LF and NUL. CR or LF would end the line. Clients ignore an id that contains NUL.
    ///
    /// An event with an id and no data is encoded under the name `position`, with the id as its data. Without data,
    /// Firefox and WebKit would ignore the id, although the standard accepts such an id. `EventSource.onmessage` does
    /// not receive this event, because the event has a name.
    ///
    /// ```
    /// use hyperlane_core::Event;
    ///
    /// let event = Event::new().id("42").into_bytes()?;
    /// assert_eq!(event.as_ref(), b"event: position\nid: 42\ndata: 42\n\n");
    /// # Ok::<(), hyperlane_core::proto::sse::EventError>(())
    /// ```
    pub fn id(mut self, id: impl AsRef<str>) -> Self {
        self.has_id = true;
        let id = id.as_ref().as_bytes();
        match id.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            true => self.refuse(EventError::Id),
            false => self.line(b"id: ", id),
        }
    }

    /// Sets the name under which the client dispatches the event. Default: `message`.
    ///
    /// Refuses CR and LF.
    pub fn event(self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref().as_bytes();
        match memchr2(b'\r', b'\n', name) {
            Some(_) => self.refuse(EventError::Name),
            None => self.line(b"event: ", name),
        }
    }

    /// Sets the time that the client waits before a reconnect. The event carries the time in whole milliseconds.
    pub fn retry(self, wait: Duration) -> Self {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.line(b"retry: ", itoa::Buffer::new().format(millis).as_bytes())
    }

    /// Adds a comment, which clients ignore. Each line of `text` becomes a separate comment.
    pub fn comment(self, text: impl AsRef<str>) -> Self {
        self.lines(b": ", text.as_ref().as_bytes())
    }

    /// Adds data. Each line of `text` becomes a `data` line. A line ends with CR LF, LF or CR.
    ///
    /// The client joins all `data` lines of the event with LF, including the lines from several calls.
    pub fn data(mut self, text: impl AsRef<str>) -> Self {
        self.has_data = true;
        self.lines(b"data: ", text.as_ref().as_bytes())
    }

    /// Adds data from bytes. The bytes must be UTF-8, because an event stream carries only text.
    pub fn data_bytes(self, bytes: impl AsRef<[u8]>) -> Self {
        match simdutf8::basic::from_utf8(bytes.as_ref()) {
            Ok(text) => self.data(text),
            Err(_) => self.refuse(EventError::NotUtf8),
        }
    }

    /// Adds data as JSON on one line.
    ///
    /// # Errors
    ///
    /// Returns the error of `serde_json` if `value` cannot be serialized.
    pub fn json_data(
        mut self,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Self, serde_json::Error> {
        self.has_data = true;
        // Compact JSON is a single line, because JSON escapes control characters.
        self.fields.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut self.fields, value)?;
        self.fields.push(b'\n');
        Ok(self)
    }

    /// Appends the encoded event to `out`. Appends nothing on error.
    ///
    /// # Errors
    ///
    /// Returns the first [`EventError`] of the fields.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EventError> {
        self.check()?;
        if self.has_id && !self.has_data {
            self.encode_position(out);
            return Ok(());
        }
        out.reserve(self.fields.len() + 1);
        out.extend_from_slice(&self.fields);
        out.push(b'\n');
        Ok(())
    }

    /// Encodes the event into bytes that many connections can share.
    ///
    /// # Errors
    ///
    /// Returns the first [`EventError`] of the fields.
    pub fn to_bytes(&self) -> Result<Bytes, EventError> {
        let mut out = Vec::with_capacity(self.fields.len() + 1);
        self.encode(&mut out)?;
        Ok(Bytes::from(out))
    }

    /// Encodes the event in place, without the copy that [`to_bytes`](Self::to_bytes) makes. Only an event with an id
    /// and no data is copied.
    ///
    /// # Errors
    ///
    /// Returns the first [`EventError`] of the fields.
    pub fn into_bytes(mut self) -> Result<Bytes, EventError> {
        if self.has_id && !self.has_data {
            return self.to_bytes();
        }
        self.check()?;
        self.fields.push(b'\n');
        Ok(Bytes::from(self.fields))
    }

    /// Appends an event that has an id and no data. Replaces its name by [`POSITION`]. The last id becomes the data.
    fn encode_position(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(POSITION.as_bytes());
        out.push(b'\n');
        // No value contains a line end, so each line begins with a field name, or with `:` in a comment.
        let lines = || self.fields.split_inclusive(|byte| *byte == b'\n');
        for line in lines().filter(|line| !line.starts_with(b"event: ")) {
            out.extend_from_slice(line);
        }
        let mut ids = lines().filter_map(|line| line.strip_prefix(b"id: "));
        if let Some(id) = ids.next_back() {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(id);
        }
        out.push(b'\n');
    }

    /// Returns the fields without ids and without the final empty line, for a stream that assigns its own ids. The
    /// second value is true if the event has data. If the event has no data, the function also removes the name,
    /// because clients do not dispatch an event without data.
    pub(crate) fn into_fields_without_id(self) -> Result<(Bytes, bool), EventError> {
        self.check()?;
        // No value contains a line end, so each line begins with a field name, or with `:` in a comment.
        let lines = || self.fields.split_inclusive(|byte| *byte == b'\n');
        let has_data = lines().any(|line| line.starts_with(b"data: "));
        let is_left_out =
            |line: &[u8]| line.starts_with(b"id: ") || (!has_data && line.starts_with(b"event: "));
        if !lines().any(is_left_out) {
            return Ok((Bytes::from(self.fields), has_data));
        }
        let fields = lines().filter(|line| !is_left_out(line)).flatten().copied();
        Ok((fields.collect(), has_data))
    }

    fn check(&self) -> Result<(), EventError> {
        self.error.map_or(Ok(()), Err)
    }

    fn refuse(mut self, error: EventError) -> Self {
        self.error.get_or_insert(error);
        self
    }

    fn line(mut self, field: &[u8], value: &[u8]) -> Self {
        self.fields.reserve(field.len() + value.len() + 2);
        self.push(field, value);
        self
    }

    fn lines(mut self, field: &[u8], mut text: &[u8]) -> Self {
        // The two extra bytes are the LF of this line and the LF that ends the event.
        self.fields.reserve(field.len() + text.len() + 2);
        while let Some((line, end)) =
            memchr2(b'\r', b'\n', text).and_then(|end| text.split_at_checked(end))
        {
            self.push(field, line);
            text = match end {
                [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.push(field, text);
        self
    }

    fn push(&mut self, field: &[u8], value: &[u8]) {
        // `field` always ends with a space. Clients strip one space before the value, so a value that begins with a
        // space stays complete.
        self.fields.extend_from_slice(field);
        self.fields.extend_from_slice(value);
        self.fields.push(b'\n');
    }
}

impl From<&str> for Event {
    fn from(data: &str) -> Self {
        Self::new().data(data)
    }
}

impl From<String> for Event {
    fn from(data: String) -> Self {
        Self::new().data(data)
    }
}

impl From<&String> for Event {
    fn from(data: &String) -> Self {
        Self::new().data(data)
    }
}

/// A value that an event stream cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The id contains CR, LF or NUL.
    #[error("an event id must not contain CR, LF or NUL")]
    Id,
    /// The event's name contains CR or LF.
    #[error("an event name must not contain CR or LF")]
    Name,
    /// The data is not UTF-8.
    #[error("event data must be UTF-8")]
    NotUtf8,
}

/// Makes an error of the kind `InvalidData`.
impl From<EventError> for io::Error {
    fn from(error: EventError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: impl Into<Event>, expected: &str) {
        let event = event.into();
        let mut out = b"kept".to_vec();
        event.encode(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("kept{expected}"));
        assert_eq!(event.to_bytes().unwrap(), expected);
        assert_eq!(event.into_bytes().unwrap(), expected);
    }

    fn refuse(event: Event, error: EventError) {
        let mut out = b"kept".to_vec();
        assert_eq!(event.encode(&mut out), Err(error));
        assert_eq!(out, b"kept");
        assert_eq!(event.to_bytes(), Err(error));
        assert_eq!(event.into_bytes(), Err(error));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn fields_leave_in_the_order_they_are_set() {
        check("x", "data: x\n\n");
        check(String::from(""), "data: \n\n");
        check(Event::new(), "\n");
        check(
            Event::new()
                .comment("why")
                .id("a-1")
                .event("update")
                .retry(Duration::from_millis(1500))
                .data(" x")
                .data_bytes("grüße"),
            ": why\nid: a-1\nevent: update\nretry: 1500\ndata:  x\ndata: grüße\n\n",
        );
        check(
            Event::new().retry(Duration::MAX),
            "retry: 18446744073709551615\n\n",
        );
    }

    #[test]
    fn no_id_goes_out_alone() {
        check(
            Event::new().id("a-1"),
            "event: position\nid: a-1\ndata: a-1\n\n",
        );
        check(
            Event::new()
                .id("a-1")
                .event("update")
                .id("a-2")
                .comment("why")
                .retry(Duration::from_secs(1)),
            "event: position\nid: a-1\nid: a-2\n: why\nretry: 1000\ndata: a-2\n\n",
        );
        check(Event::new().id("a-1").data(""), "id: a-1\ndata: \n\n");
        check(Event::new().event("update"), "event: update\n\n");
    }

    #[test]
    fn every_kind_of_line_end_starts_a_new_line() {
        check("a\nb\rc\r\nd", "data: a\ndata: b\ndata: c\ndata: d\n\n");
        check("\n", "data: \ndata: \n\n");
        check("a\n\rb\r\n", "data: a\ndata: \ndata: b\ndata: \n\n");
        check(
            Event::new().comment("a\r\nb\rdata: c"),
            ": a\n: b\n: data: c\n\n",
        );
    }

    #[test]
    fn json_is_one_line() {
        let event = Event::new().json_data(&["a\nb", "c"]).unwrap();
        check(event, "data: [\"a\\nb\",\"c\"]\n\n");
        let keys_are_no_strings = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(Event::new().json_data(&keys_are_no_strings).is_err());
    }

    #[test]
    fn fields_of_a_stream_with_ids_of_its_own_have_none() {
        let check = |event: Event, fields: &'static str, has_data| {
            let expected = Ok((Bytes::from(fields), has_data));
            assert_eq!(event.into_fields_without_id(), expected);
        };
        let event = Event::new;
        check(event().data("x").event("e"), "data: x\nevent: e\n", true);
        check(
            event().id("1").comment("c").data("id: 2\nid: 3").id("4"),
            ": c\ndata: id: 2\ndata: id: 3\n",
            true,
        );
        check(event().data(""), "data: \n", true);
        check(
            event().event("e").retry(Duration::from_secs(1)).id("1"),
            "retry: 1000\n",
            false,
        );
        check(event().comment("data: x"), ": data: x\n", false);
        check(event(), "", false);
        assert_eq!(
            event().id("\n").into_fields_without_id(),
            Err(EventError::Id)
        );
    }

    #[test]
    fn what_would_forge_a_field_is_refused() {
        for id in ["a\n", "\r", "a\0b"] {
            refuse(Event::new().id(id).data("x"), EventError::Id);
        }
        for name in ["a\nb", "\r"] {
            refuse(Event::new().data("x").event(name), EventError::Name);
        }
        refuse(
            Event::new().data_bytes(b"\xff").id("\n"),
            EventError::NotUtf8,
        );
    }
}
