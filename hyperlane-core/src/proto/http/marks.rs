//! Marks of the header fields that decide which fields the server adds to a response.

/// A set of marks: one for each field, or pair of fields, that the server may add to the head of a response, and one
/// for the type of event streams.
///
/// [`Headers`](crate::Headers) keeps the marks of its fields up to date, so that writing a head searches for no field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u16);

impl Marks {
    pub(crate) const DATE: Self = Self(1);
    pub(crate) const CONNECTION: Self = Self(1 << 1);
    pub(crate) const CONTENT_TYPE: Self = Self(1 << 2);
    /// The content type is that of an event stream.
    pub(crate) const EVENT_STREAM: Self = Self(1 << 3);
    pub(crate) const CACHE_CONTROL: Self = Self(1 << 4);
    pub(crate) const ACCEL_BUFFERING: Self = Self(1 << 5);
    /// `content-length` or `transfer-encoding`.
    pub(crate) const FRAMING: Self = Self(1 << 6);
    /// The fields were added as a block, so their marks are not known.
    pub(crate) const UNREAD: Self = Self(1 << 7);
    pub(crate) const CONTENT_ENCODING: Self = Self(1 << 8);

    /// Returns the empty set.
    pub(crate) const fn none() -> Self {
        Self(0)
    }

    /// Returns the mark of a field by its lower-case name. Does not return [`EVENT_STREAM`](Self::EVENT_STREAM).
    pub(crate) const fn of_name(name: &[u8]) -> Self {
        match name {
            b"date" => Self::DATE,
            b"connection" => Self::CONNECTION,
            b"content-type" => Self::CONTENT_TYPE,
            b"cache-control" => Self::CACHE_CONTROL,
            b"content-encoding" => Self::CONTENT_ENCODING,
            b"x-accel-buffering" => Self::ACCEL_BUFFERING,
            b"content-length" | b"transfer-encoding" => Self::FRAMING,
            _ => Self::none(),
        }
    }

    /// Returns the marks of a field by its lower-case name and its value.
    pub(crate) fn of(name: &[u8], value: &[u8]) -> Self {
        let mut marks = Self::of_name(name);
        if marks == Self::CONTENT_TYPE && is_event_stream(value) {
            marks.add(Self::EVENT_STREAM);
        }
        marks
    }

    /// Adds the marks of another set.
    pub(crate) fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Returns a set with the marks of both sets.
    pub(crate) const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns whether the set has any of the marks of another set.
    pub(crate) const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }
}

/// Returns whether the media type is `text/event-stream`. Parameters and case do not matter (RFC 9110 §8.3.1).
pub(crate) fn is_event_stream(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"text/event-stream";
    content_type
        .trim_ascii_start()
        .split_at_checked(NAME.len())
        // This comparison of one letter, the last of the name, rules out nearly all other types.
        .filter(|(name, _)| name.last().is_some_and(|last| last | 0x20 == b'm'))
        .is_some_and(|(name, rest)| {
            name.eq_ignore_ascii_case(NAME)
                && matches!(rest.trim_ascii_start().first(), None | Some(b';'))
        })
}
