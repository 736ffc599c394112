//! An incremental parser of event streams (WHATWG HTML §9.2.6), for clients and tests.

use std::time::Duration;

use memchr::memchr2;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// An event as a browser would dispatch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// The event's name. The default is `message`.
    pub event: String,
    /// The lines of the data, joined by LF.
    pub data: String,
    /// The last id that the stream has sent before the end of this event; empty if the stream has sent no id, or an
    /// empty one.
    pub id: String,
}

/// The error for a line, or for the data of one event, that exceeds the reader's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {limit} bytes")]
pub struct StreamTooLong {
    /// The limit in bytes.
    pub limit: usize,
}

/// An incremental parser of an event stream.
#[derive(Clone, Debug)]
pub struct EventReader {
    limit: usize,
    /// The bytes of the unfinished line.
    line: Vec<u8>,
    /// True if the last piece ended with CR. An LF at the start of the next piece belongs to the same line end.
    after_cr: bool,
    at_start: bool,
    event: String,
    data: String,
    id: String,
    /// The id of the unfinished event, if the event has an id so far.
    next_id: Option<String>,
    retry: Option<Duration>,
}

impl Default for EventReader {
    fn default() -> Self {
        Self::new()
    }
}

impl EventReader {
    /// Creates a reader. The limit for a line, and for the data of one event, is 16 MiB.
    pub const fn new() -> Self {
        Self {
            limit: 16 * 1024 * 1024,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            event: String::new(),
            data: String::new(),
            id: String::new(),
            next_id: None,
            retry: None,
        }
    }

    /// Sets the maximum length of a line, or of the data of one event, in bytes.
    pub const fn with_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Parses the next piece of the stream. Appends each event that this piece completes to `events`.
    ///
    /// # Errors
    ///
    /// Returns [`StreamTooLong`] if a line or an event exceeds the limit. The caller must not use the reader after the
    /// error.
    pub fn push(
        &mut self,
        mut piece: &[u8],
        events: &mut Vec<ReceivedEvent>,
    ) -> Result<(), StreamTooLong> {
        if piece.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.after_cr) {
            piece = piece.strip_prefix(b"\n").unwrap_or(piece);
        }
        while let Some((head, end)) =
            memchr2(b'\r', b'\n', piece).and_then(|end| piece.split_at_checked(end))
        {
            self.keep(head)?;
            let line = std::mem::take(&mut self.line);
            events.extend(self.take_line(&line)?);
            piece = match end {
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.keep(piece)
    }

    /// Returns the last id of the stream, for `Last-Event-ID` in the next request. The id is empty if the stream has
    /// sent no id, or an empty one.
    ///
    /// The reader stores the id of an event only when the event is complete. After a reconnect, the server therefore
    /// sends an interrupted event again. A block of lines without data is not an event, but the reader stores the id of
    /// such a block as well, as the standard requires. Firefox and WebKit ignore this id.
    pub fn last_event_id(&self) -> &str {
        &self.id
    }

    /// Returns the time to wait before a reconnect, or `None` if the stream has set no time.
    pub const fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), StreamTooLong> {
        self.check_len(self.line.len(), part.len())?;
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn check_len(&self, have: usize, more: usize) -> Result<(), StreamTooLong> {
        match have.saturating_add(more) > self.limit {
            true => Err(StreamTooLong { limit: self.limit }),
            false => Ok(()),
        }
    }

    fn take_line(&mut self, mut line: &[u8]) -> Result<Option<ReceivedEvent>, StreamTooLong> {
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = value.into(),
            "data" => {
                self.check_len(self.data.len(), value.len())?;
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.next_id = Some(value.into()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            // A line with an empty field name is a comment. The reader ignores comments and unknown fields.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<ReceivedEvent> {
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        if let Some(id) = self.next_id.take() {
            self.id = id;
        }
        // `take_line` appends an LF after every data field, even after an empty field. Empty `data` therefore means a
        // block without a data field, which is no event. Otherwise `pop` removes the last LF.
        data.pop()?;
        let event = if event.is_empty() {
            "message".into()
        } else {
            event
        };
        Some(ReceivedEvent {
            event,
            data,
            id: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Event, HEARTBEAT};
    use super::*;

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (EventReader, Vec<ReceivedEvent>) {
        let (mut reader, mut events) = (EventReader::new(), Vec::new());
        for piece in pieces {
            reader.push(piece, &mut events).unwrap();
        }
        (reader, events)
    }

    /// Asserts that a stream gives the expected events, each as `(event, data, id)`. Reads the stream as one piece,
    /// byte by byte, and in two pieces at every cut. Returns the reader of the one piece.
    fn check(stream: &str, expected: &[(&str, &str, &str)]) -> EventReader {
        let stream = stream.as_bytes();
        let (reader, whole) = read([stream]);
        let got: Vec<_> = whole
            .iter()
            .map(|it| (it.event.as_str(), it.data.as_str(), it.id.as_str()))
            .collect();
        assert_eq!(got, expected);
        assert_eq!(read(stream.chunks(1)).1, whole, "byte by byte");
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            assert_eq!(read([head, b"", tail]).1, whole, "cut at {cut}");
        }
        reader
    }

    #[test]
    fn streams_become_events() {
        check("data: a\n\n", &[("message", "a", "")]);
        check(
            "data:a\n\ndata:  b\n\n",
            &[("message", "a", ""), ("message", " b", "")],
        );
        check(
            "event: e\nid: 1\ndata: a\ndata: b\n\n",
            &[("e", "a\nb", "1")],
        );
        check(
            "id: 1\ndata: a\n\ndata: b\n\n",
            &[("message", "a", "1"), ("message", "b", "1")],
        );
        check(
            "id: 1\ndata\n\nid\ndata\n\n",
            &[("message", "", "1"), ("message", "", "")],
        );
        check("id: 1\nid: a\0b\ndata: x\n\n", &[("message", "x", "1")]);
        check(": comment\nother: x\ndata: a\n\n", &[("message", "a", "")]);
        check("event: lost\n\ndata: a\n\n", &[("message", "a", "")]);
        check(
            "data: a\r\rdata: b\r\n\r\n",
            &[("message", "a", ""), ("message", "b", "")],
        );
        check("\u{feff}data: a\n\n", &[("message", "a", "")]);
        check("data: never ended\n", &[]);
    }

    #[test]
    fn retry_and_the_last_id_are_kept() {
        let reader = check("retry: 250\nretry: x\nretry: -1\nid: 9\n\n", &[]);
        assert_eq!(reader.retry(), Some(Duration::from_millis(250)));
        assert_eq!(reader.last_event_id(), "9");
    }

    #[test]
    fn the_id_of_an_event_that_was_cut_does_not_count() {
        let mut reader = check(
            "id: 1\ndata: a\n\nid: 2\ndata: b\n",
            &[("message", "a", "1")],
        );
        assert_eq!(reader.last_event_id(), "1");
        let mut events = Vec::new();
        reader.push(b"\n", &mut events).unwrap();
        assert_eq!((events.len(), reader.last_event_id()), (1, "2"));
    }

    #[test]
    fn a_line_and_an_events_data_are_bounded() {
        let push = |stream: &[u8]| EventReader::new().with_limit(16).push(stream, &mut vec![]);
        assert_eq!(push(b"data: 0123456789\n\n"), Ok(()));
        assert_eq!(push(&[b'x'; 17]), Err(StreamTooLong { limit: 16 }));
        assert_eq!(
            push(&b"data: 12345678\n".repeat(2)),
            Err(StreamTooLong { limit: 16 })
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            events in prop::collection::vec(("[^\r\n\0]{1,9}", "[^\r\n]{1,9}", ".{0,9}([\r\n]{0,2}.{0,9}){0,4}"), 0..5),
            size in 1_usize..40,
        ) {
            let (mut wire, mut expected) = (Vec::new(), Vec::new());
            for (id, event, data) in events {
                Event::new().id(&id).event(&event).data(&data).encode(&mut wire).unwrap();
                wire.extend_from_slice(HEARTBEAT);
                let data = data.replace("\r\n", "\n").replace('\r', "\n");
                expected.push(ReceivedEvent { event, data, id });
            }
            prop_assert_eq!(read(wire.chunks(size)).1, expected);
        }
    }
}
