//! The response of a request, and its head on the wire.

use std::{any::Any, borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    Body, EntityTag, HttpStatus, HttpVersion, IntoBody, ResponseStatusCode, Validators,
    conditional::format_date,
    content::Content,
    headers::{HeaderError, Headers, header_accessors, header_spellings, is_field_text},
    session::{SessionFields, private_cache_control},
    status::status_line,
};

/// A response: status, header fields and body. Default: 200, HTTP/1.1, empty.
///
/// The server frames the message: it drops `content-length` and `transfer-encoding` set by a program, since two
/// opinions about the end of a message enable request smuggling (RFC 9112 §11.2). A `date` or `connection` set by a
/// program replaces the server's own, but `connection: close` is always added before the connection ends.
///
/// No method panics: if a value is absent, a `get_` method returns an empty value and its `try_get_` twin `None`.
///
/// ```
/// use hyperlane_core::http::Response;
///
/// let mut response = Response::default();
/// response.set_status_code(404).set_header("Cache-Control", "no-store").set_body("nothing here");
/// let bytes = response.build();
/// assert!(bytes.starts_with(b"HTTP/1.1 404 Not Found\r\n"));
/// assert!(bytes.ends_with(b"\r\n\r\nnothing here"));
/// ```
#[derive(Debug, Clone)]
pub struct Response {
    version: HttpVersion,
    status: ResponseStatusCode,
    /// The reason phrase; empty for the registered one.
    reason: String,
    headers: Headers,
    body: Bytes,
    /// A body that is not in memory; `body` is empty then.
    streamed: Option<Box<Body>>,
    /// The fields of the request's session. They survive a reset: the client must get its cookie in any response.
    session: Option<Arc<SessionFields>>,
    /// The error behind the response. The server takes it when the hook has ended.
    failure: Option<Box<Failure>>,
}

/// Compares what the client would receive.
impl PartialEq for Response {
    fn eq(&self, other: &Self) -> bool {
        let parts = |response: &Self| (response.status, response.session.clone());
        parts(self) == parts(other)
            && self.version == other.version
            && self.reason == other.reason
            && self.headers == other.headers
            && self.body == other.body
            && self.streamed == other.streamed
    }
}

impl Eq for Response {}

/// An error that became a response: the facts that the pipeline needs.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// The part of the error that the client may read.
    pub(crate) public: Cow<'static, str>,
    /// The cause for the log; `None` if the client gets all of it.
    pub(crate) cause: Option<String>,
    /// True if the error means that a connection has ended.
    pub(crate) is_end: bool,
    /// The refusal, for hooks that inspect refusals.
    pub(crate) refusal: Option<Arc<dyn Any + Send + Sync>>,
}

/// How the receiver finds the end of the body (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `content-length`.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// There is no body and no field about it.
    None,
    /// The end of the connection.
    UntilClose,
}

impl Response {
    /// Borrows the version.
    pub fn get_version(&self) -> &HttpVersion {
        &self.version
    }

    /// Borrows the version mutably.
    pub fn get_mut_version(&mut self) -> &mut HttpVersion {
        &mut self.version
    }

    /// Sets the version. Only `HTTP/1.0` changes the head: all others are written as HTTP/1.1, or as the connection's own
    /// version if that has no status line.
    pub fn set_version(&mut self, version: HttpVersion) -> &mut Self {
        self.version = version;
        self
    }

    /// Returns the status code.
    pub fn get_status_code(&self) -> ResponseStatusCode {
        self.status
    }

    /// Sets the status code. An invalid one (below 100, above 999) is logged and becomes 500.
    pub fn set_status_code(&mut self, code: ResponseStatusCode) -> &mut Self {
        self.status = if (100..=999).contains(&code) {
            code
        } else {
            tracing::warn!(code, "not a status code (RFC 9110 15), answering 500");
            HttpStatus::InternalServerError.code()
        };
        self
    }

    /// Borrows the reason phrase: the one set, or else the registered one.
    pub fn get_reason_phrase(&self) -> &str {
        if self.reason.is_empty() {
            HttpStatus::phrase(self.status)
        } else {
            &self.reason
        }
    }

    /// Sets the reason phrase; an empty one means the registered one. A phrase with control characters is logged and
    /// dropped (RFC 9112 §4).
    pub fn set_reason_phrase(&mut self, phrase: impl AsRef<str>) -> &mut Self {
        let phrase = phrase.as_ref();
        if is_field_text(phrase) {
            self.reason.clear();
            self.reason.push_str(phrase);
        } else {
            tracing::warn!("reason phrase contains a control character (RFC 9112 4), dropped");
        }
        self
    }

    header_accessors!();

    header_spellings!();

    /// Sets a header field and removes earlier ones of that name.
    ///
    /// An invalid field is dropped and logged with the rule that it breaks. The server's own fields, `content-length`
    /// and `transfer-encoding`, are dropped silently.
    pub fn set_header(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> &mut Self {
        let name = name.as_ref();
        log_refused(name, self.try_set_header(name, value));
        self
    }

    /// Adds a header field and keeps earlier ones of that name. A field that can have only one value (`content-type`,
    /// `date`, `etag`, `location` and the like) replaces them. Invalid fields are dropped as by
    /// [`set_header`](Self::set_header).
    pub fn add_header(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> &mut Self {
        let name = name.as_ref();
        log_refused(name, self.try_add_header(name, value));
        self
    }

    /// Sets a header field and removes earlier ones of that name.
    ///
    /// # Errors
    /// Returns [`HeaderError::Name`] or [`HeaderError::Value`] if the field would break the message, and
    /// [`HeaderError::Framing`] for the server's own fields. The response is unchanged then.
    pub fn try_set_header(
        &mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<(), HeaderError> {
        refuse_framing(name.as_ref())?;
        self.headers.try_set(name.as_ref(), value.as_ref())
    }

    /// Adds a header field like [`add_header`](Self::add_header).
    ///
    /// # Errors
    /// Returns the same errors as [`try_set_header`](Self::try_set_header).
    pub fn try_add_header(
        &mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<(), HeaderError> {
        let (name, value) = (name.as_ref(), value.as_ref());
        refuse_framing(name)?;
        if is_single(name) {
            self.headers.try_set(name, value)
        } else {
            self.headers.try_add(name, value)
        }
    }

    /// Removes all header fields of a name.
    pub fn remove_header(&mut self, name: impl AsRef<str>) -> &mut Self {
        self.headers.remove(name.as_ref());
        self
    }

    /// Removes the header fields of a name with exactly this value.
    pub fn remove_header_value(
        &mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> &mut Self {
        self.headers.remove_value(name.as_ref(), value.as_ref());
        self
    }

    /// Removes all header fields.
    pub fn clear_headers(&mut self) -> &mut Self {
        self.headers.clear();
        self
    }

    /// Borrows the body; empty for a file or a stream.
    pub fn get_body(&self) -> &[u8] {
        &self.body
    }

    /// Replaces the body by text or bytes, a [`Path`](std::path::Path), a [`FileBody`](super::FileBody) or a [`Body`].
    /// Owned values are not copied.
    pub fn set_body(&mut self, body: impl IntoBody) -> &mut Self {
        match body.into_body() {
            Body(Content::Bytes(bytes)) => self.set_body_bytes(bytes),
            streamed => {
                self.body = Bytes::new();
                self.streamed = Some(Box::new(streamed));
                self
            }
        }
    }

    /// Replaces the body without copying it.
    pub fn set_body_bytes(&mut self, body: impl Into<Bytes>) -> &mut Self {
        self.body = body.into();
        self.streamed = None;
        self
    }

    /// Returns whether the body is a file or a stream, which [`get_body`](Self::get_body) does not show.
    pub fn is_body_streamed(&self) -> bool {
        self.streamed.is_some()
    }

    /// Takes the body, from any source, and leaves an empty one.
    pub fn take_body(&mut self) -> Body {
        match self.streamed.take() {
            Some(streamed) => *streamed,
            None => Body(Content::Bytes(std::mem::take(&mut self.body))),
        }
    }

    /// Sets `etag` and `last-modified` unless they are set.
    pub(crate) fn set_validators(&mut self, validators: &Validators) {
        if let Some(etag) = &validators.etag
            && !self.has_header("etag")
        {
            self.set_header("etag", etag.to_string());
        }
        if let Some(date) = validators.last_modified.and_then(format_date)
            && !self.has_header("last-modified")
        {
            self.set_header("last-modified", date);
        }
    }

    /// Returns `etag` and `last-modified` as set.
    pub(crate) fn validators(&self) -> Validators {
        Validators {
            etag: self.header("etag").and_then(EntityTag::parse),
            last_modified: self
                .header("last-modified")
                .and_then(|date| httpdate::parse_http_date(date).ok()),
        }
    }

    /// Turns the response into a 304: keeps the fields that describe the version, and removes the body and its
    /// description (RFC 9110 §15.4.5).
    pub(crate) fn set_not_modified(&mut self) {
        self.set_status_code(HttpStatus::NotModified.code())
            .set_body_bytes(Bytes::new())
            .remove_header("content-type");
    }

    /// Removes the fields that describe a discarded body. They would be wrong for the text of an error, and caches
    /// would keep that text as long as the body. Fields that prevent caching stay.
    pub(crate) fn forget_content(&mut self) -> &mut Self {
        if self.headers.is_empty() {
            return self;
        }
        for name in CONTENT_FIELDS {
            self.remove_header(name);
        }
        let is_kept = |word| self.headers.has_token("cache-control", word);
        if !is_kept("no-store") && !is_kept("private") {
            self.remove_header("cache-control");
        }
        self
    }

    /// Records the error behind the response. A later error replaces an earlier one.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failure = Some(Box::new(failure));
    }

    /// Records that a handler returned an error, unless the error was recorded in more detail.
    pub(crate) fn fail_as_shown(&mut self) {
        if self.failure.is_some() {
            return;
        }
        let shown = std::str::from_utf8(&self.body).map(str::trim_end);
        let public = match shown {
            Ok(text) if self.status < 500 && !text.is_empty() => text.to_owned().into(),
            // An error without its own status.
            _ if self.status < 300 => HttpStatus::phrase(500).into(),
            _ => HttpStatus::phrase(self.status).into(),
        };
        self.fail(Failure {
            public,
            cause: None,
            is_end: false,
            refusal: None,
        });
    }

    /// Records for the log why the response is 500, or why it is cut.
    pub(crate) fn fail_because(&mut self, cause: impl Into<String>) {
        self.fail(Failure {
            public: HttpStatus::phrase(HttpStatus::InternalServerError.code()).into(),
            cause: Some(cause.into()),
            is_end: false,
            refusal: None,
        });
    }

    /// Takes the recorded error.
    pub(crate) fn take_failure(&mut self) -> Option<Box<Failure>> {
        self.failure.take()
    }

    /// Returns the body as text; invalid UTF-8 becomes U+FFFD.
    pub fn get_body_string(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Deserializes the body as JSON.
    ///
    /// # Errors
    /// Returns the error of `serde_json` if the body is not JSON or does not fit `T`.
    pub fn try_get_body_json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Deserializes the body as JSON, or returns the default of `T` on an error.
    pub fn get_body_json<T: DeserializeOwned + Default>(&self) -> T {
        self.try_get_body_json().unwrap_or_default()
    }

    /// Resets to an empty 200 and keeps the memory of the header fields.
    pub fn reset(&mut self) -> &mut Self {
        self.version = HttpVersion::default();
        self.status = HttpStatus::Ok.code();
        self.reason.clear();
        self.headers.clear();
        self.body = Bytes::new();
        self.streamed = None;
        self.failure = None;
        self
    }

    /// Encodes the response as HTTP/1.1: status line, header fields, body.
    ///
    /// Adds `content-length`, and `content-type: text/plain; charset=utf-8` for a body without a type. A body of
    /// `text/event-stream` begins a stream that ends with the connection: it gets no length, but `connection: close`
    /// and, unless set, `cache-control: no-cache` and `x-accel-buffering: no`. 1xx, 204 and 304 have neither length nor
    /// body (RFC 9112 §6.3), 205 an empty one. The server adds `date` only to responses that it sends itself. A file or
    /// a stream cannot be encoded here, which is logged: leave the response in the context, or `#[send]` it.
    pub fn build(&mut self) -> Vec<u8> {
        if self.is_body_streamed() {
            tracing::warn!("only the server can send a file or a stream: built without it");
        }
        let framing = self.framing();
        let body: &[u8] = match framing {
            Framing::None | Framing::Length(0) => &[],
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => &self.body,
        };
        let mut out = Vec::with_capacity(
            HEAD_ROOM + self.reason.len() + self.headers.wire_len() + body.len(),
        );
        self.write_head(&mut out, framing, &[], None);
        out.extend_from_slice(body);
        out
    }

    /// Sets the session's fields for the head; `None` removes them.
    pub(crate) fn set_session(&mut self, fields: Option<Arc<SessionFields>>) {
        self.session = fields;
    }

    /// Borrows the fields of the request's session.
    pub(crate) fn session(&self) -> Option<&Arc<SessionFields>> {
        self.session.as_ref()
    }

    /// Decides how the body in hand is framed.
    pub(crate) fn framing(&self) -> Framing {
        if !self.allows_body() {
            Framing::None
        } else if self.status == HttpStatus::ResetContent.code() {
            // RFC 9110 §15.3.6: no content, but the length is said.
            Framing::Length(0)
        } else if self
            .headers
            .get("content-type")
            .is_some_and(is_event_stream)
        {
            Framing::UntilClose
        } else {
            Framing::Length(self.body.len() as u64)
        }
    }

    /// Returns whether a response of this status can have a body (RFC 9112 §6.3).
    pub(crate) fn allows_body(&self) -> bool {
        !matches!(self.status, 100..=199 | 204 | 304)
    }

    /// Returns whether a response of this status has no content, whatever its body is (RFC 9110 §15.3.6 for 205).
    pub(crate) fn is_empty_by_status(&self) -> bool {
        !self.allows_body() || self.status == HttpStatus::ResetContent.code()
    }

    /// Shares the body.
    pub(crate) fn body_bytes(&self) -> &Bytes {
        &self.body
    }

    /// Writes status line and header fields, with the empty line that ends them. Allocates only if `out` must grow.
    ///
    /// `date` is the value of the field, empty for none; `connection` likewise. `framing` gives way to the status: no
    /// framing field where there can be no body. [`Framing::UntilClose`] says `connection: close` by itself. No
    /// automatic field appears beside one that is set, and framing fields that came in by way of
    /// [`get_mut_headers`](Self::get_mut_headers) are left out.
    pub(crate) fn write_head(
        &self,
        out: &mut Vec<u8>,
        framing: Framing,
        date: &[u8],
        connection: Option<&str>,
    ) {
        let set = SetFields::of(&self.headers);
        let framing = if self.allows_body() {
            framing
        } else {
            Framing::None
        };
        self.write_status_line(out);
        if !date.is_empty() && !set.date {
            write_field(out, b"date: ", date);
        }
        match framing {
            Framing::Length(length) => {
                write_field(
                    out,
                    b"content-length: ",
                    itoa::Buffer::new().format(length).as_bytes(),
                );
            }
            Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::None | Framing::UntilClose => {}
        }
        // Files and streams, which are not in hand, have their own default by now, if any.
        if !set.content_type
            && !self.body.is_empty()
            && !matches!(framing, Framing::None | Framing::Length(0))
        {
            out.extend_from_slice(b"content-type: text/plain; charset=utf-8\r\n");
        }
        let connection = if framing == Framing::UntilClose {
            Some("close")
        } else {
            connection
        };
        // The end of the connection is said whatever the program set.
        let ends = set.connection
            && connection == Some("close")
            && !self.headers.has_token("connection", "close");
        let contradicts = ends && self.headers.has_token("connection", "keep-alive");
        if let Some(connection) = connection
            && (ends || !set.connection)
        {
            write_field(out, b"connection: ", connection.as_bytes());
        }
        if set.event_stream {
            if !set.cache_control && !self.sets_session_cookie() {
                out.extend_from_slice(b"cache-control: no-cache\r\n");
            }
            if !set.accel_buffering {
                out.extend_from_slice(b"x-accel-buffering: no\r\n");
            }
        }
        let session = self.session.as_deref();
        let cookie = session.and_then(SessionFields::write);
        if let Some(cookie) = &cookie {
            write_field(out, b"set-cookie: ", cookie.as_bytes());
            let stream = (set.event_stream && !set.cache_control).then_some("no-cache");
            let said = self.headers.get_all("cache-control").chain(stream);
            let said = private_cache_control(said);
            write_field(out, b"cache-control: ", said.as_bytes());
        } else if session.is_some() && !set.cache_control && !set.event_stream {
            out.extend_from_slice(b"cache-control: private\r\n");
        }
        if let (Some(session), true) = (session, cookie.is_some()) {
            self.headers.write_where(out, |name, value| {
                !(is_framing(name)
                    || contradicts && name.eq_ignore_ascii_case("connection")
                    || name.eq_ignore_ascii_case("cache-control")
                    || session.is_own(name, value))
            });
        } else if set.framing || contradicts {
            self.headers.write_where(out, |name, _| {
                !(is_framing(name) || contradicts && name.eq_ignore_ascii_case("connection"))
            });
        } else {
            self.headers.write_to(out);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn sets_session_cookie(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.sets_cookie())
    }

    fn write_status_line(&self, out: &mut Vec<u8>) {
        let is_1_0 = self.version.is_http1_0();
        match status_line(self.status) {
            Some(line) if self.reason.is_empty() && !is_1_0 => out.extend_from_slice(line),
            _ => {
                // The text of an unknown version is never written: it was not checked.
                out.extend_from_slice(if is_1_0 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
                out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
                out.push(b' ');
                out.extend_from_slice(self.get_reason_phrase().as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

impl Default for Response {
    fn default() -> Self {
        Self {
            version: HttpVersion::default(),
            status: HttpStatus::Ok.code(),
            reason: String::new(),
            headers: Headers::new(),
            body: Bytes::new(),
            streamed: None,
            session: None,
            failure: None,
        }
    }
}

/// Answers with a status and its name; keeps the header fields.
pub(crate) fn describe(response: &mut Response, status: ResponseStatusCode) {
    let text = format!("{status} {}\n", HttpStatus::phrase(status));
    explain(response, status, text);
}

/// Answers with a status and a text in place of a discarded body.
pub(crate) fn explain(response: &mut Response, status: ResponseStatusCode, text: String) {
    response.forget_content();
    if !(300..400).contains(&status) {
        // The field referred to the discarded result.
        response.remove_header("location");
    }
    response
        .set_status_code(status)
        .set_reason_phrase("")
        .set_header("content-type", "text/plain; charset=utf-8")
        .set_body_bytes(text);
}

/// Fields that describe one body only (RFC 9110 §8, §14.4; RFC 9111 §5.3).
const CONTENT_FIELDS: [&str; 10] = [
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "etag",
    "expires",
    "last-modified",
];

/// Room for status line and all automatic fields.
const HEAD_ROOM: usize = 256;

/// Which fields the program set that the server would set otherwise.
#[derive(Debug, Default)]
struct SetFields {
    date: bool,
    connection: bool,
    content_type: bool,
    event_stream: bool,
    cache_control: bool,
    accel_buffering: bool,
    framing: bool,
}

impl SetFields {
    fn of(headers: &Headers) -> Self {
        let mut set = Self::default();
        for (name, value) in headers {
            match name {
                "date" => set.date = true,
                "connection" => set.connection = true,
                "content-type" => {
                    set.content_type = true;
                    set.event_stream |= is_event_stream(value);
                }
                "cache-control" => set.cache_control = true,
                "x-accel-buffering" => set.accel_buffering = true,
                "content-length" | "transfer-encoding" => set.framing = true,
                _ => {}
            }
        }
        set
    }
}

/// Compares the media type alone: parameters and case do not matter (RFC 9110 §8.3.1).
fn is_event_stream(content_type: &str) -> bool {
    const NAME: &[u8] = b"text/event-stream";
    content_type
        .as_bytes()
        .trim_ascii_start()
        .split_at_checked(NAME.len())
        .is_some_and(|(name, rest)| {
            name.eq_ignore_ascii_case(NAME)
                && matches!(rest.trim_ascii_start().first(), None | Some(b';'))
        })
}

fn is_framing(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
}

/// Returns whether a field has a single value, so that a second would contradict the first (RFC 9110 §5.3).
fn is_single(name: &str) -> bool {
    const SINGLE: [&str; 6] = [
        "date",
        "content-type",
        "content-range",
        "etag",
        "last-modified",
        "location",
    ];
    SINGLE
        .iter()
        .any(|single| name.eq_ignore_ascii_case(single))
}

fn refuse_framing(name: &str) -> Result<(), HeaderError> {
    if is_framing(name) {
        Err(HeaderError::Framing)
    } else {
        Ok(())
    }
}

fn log_refused(name: &str, result: Result<(), HeaderError>) {
    match result {
        Ok(()) => {}
        // Programs set these by habit, and the server's own are right: there is nothing to fix.
        Err(HeaderError::Framing) => {
            tracing::debug!(name, "the server frames the message: header dropped")
        }
        Err(error) => tracing::warn!(name, %error, "response header dropped"),
    }
}

#[inline]
fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(response: &mut Response) -> String {
        String::from_utf8(response.build()).unwrap()
    }

    fn head(response: &Response, framing: Framing, connection: Option<&str>) -> String {
        let mut out = Vec::new();
        response.write_head(
            &mut out,
            framing,
            b"Thu, 01 Jan 1970 00:00:00 GMT",
            connection,
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_empty_response_has_length_zero_and_no_type() {
        assert_eq!(
            built(&mut Response::default()),
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_body_has_length_and_a_type() {
        let mut response = Response::default();
        assert_eq!(
            built(response.set_body("hällo")),
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\ncontent-type: text/plain; charset=utf-8\r\n\r\nhällo"
        );
        assert_eq!(
            built(response.set_header("Content-Type", "a/b")),
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\ncontent-type: a/b\r\n\r\nhällo"
        );
    }

    #[test]
    fn framing_fields_of_the_program_never_reach_the_wire() {
        let mut response = Response::default();
        response
            .set_header("Content-Length", "99")
            .add_header("transfer-encoding", "chunked")
            .set_body("x");
        assert!(response.get_headers().is_empty());
        assert_eq!(
            response.try_set_header("CONTENT-LENGTH", "1"),
            Err(HeaderError::Framing)
        );
        response
            .get_mut_headers()
            .try_set("Content-Length", "99")
            .unwrap();
        response
            .get_mut_headers()
            .try_set("Transfer-Encoding", "chunked")
            .unwrap();
        response.get_mut_headers().try_set("x", "y").unwrap();
        let text = built(&mut response);
        assert_eq!(text.matches("content-length").count(), 1);
        assert!(text.contains("content-length: 1\r\n") && text.contains("x: y\r\n"));
        assert!(!text.contains("transfer-encoding"));
    }

    #[test]
    fn header_injection_is_dropped() {
        let mut response = Response::default();
        response
            .set_header("a", "b")
            .set_header("a", "c\r\nset-cookie: evil")
            .set_header("x y", "z");
        response.set_reason_phrase("Fine\r\nset-cookie: evil");
        assert_eq!(
            built(&mut response),
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\na: b\r\n\r\n"
        );
        assert_eq!(response.try_set_header("a", "\n"), Err(HeaderError::Value));
        assert_eq!(response.try_add_header("", "b"), Err(HeaderError::Name));
    }

    #[test]
    fn an_event_stream_ends_with_the_connection() {
        for content_type in ["text/event-stream", "Text/Event-Stream ; charset=utf-8"] {
            let mut response = Response::default();
            let text = built(
                response
                    .set_header("content-type", content_type)
                    .set_body(Vec::new()),
            );
            assert_eq!(
                text,
                format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n\
                     content-type: {content_type}\r\n\r\n"
                )
            );
        }
        let mut response = Response::default();
        response.set_header("content-type", "text/event-streams");
        assert!(built(&mut response).contains("content-length: 0\r\n"));
    }

    #[test]
    fn what_an_event_stream_sets_itself_is_not_doubled() {
        let mut response = Response::default();
        response
            .set_header("content-type", "text/event-stream")
            .set_header("Cache-Control", "no-store");
        response
            .set_header("Connection", "keep-alive")
            .set_header("X-Accel-Buffering", "yes")
            .set_body("data: 1\n\n");
        let text = built(&mut response);
        for line in [
            "cache-control: no-store",
            "connection: close",
            "x-accel-buffering: yes",
        ] {
            assert!(text.contains(line));
            assert_eq!(text.matches(line.split(':').next().unwrap()).count(), 1);
        }
        assert!(text.ends_with("\r\n\r\ndata: 1\n\n") && !text.contains("content-length"));
    }

    #[test]
    fn statuses_without_a_body_have_no_length_either() {
        for code in [100, 101, 199, 204, 304] {
            let mut response = Response::default();
            response
                .set_status_code(code)
                .set_body("never")
                .set_header("a", "b");
            let text = built(&mut response);
            assert!(text.ends_with("\r\na: b\r\n\r\n"), "{text}");
            assert!(!text.contains("content-"), "{text}");
            for framing in [Framing::Length(5), Framing::Chunked, Framing::UntilClose] {
                let head = head(&response, framing, None);
                assert!(
                    !head.contains("content-")
                        && !head.contains("transfer-")
                        && !head.contains("connection")
                );
            }
        }
        let mut response = Response::default();
        response.set_status_code(205).set_body("never");
        assert_eq!(
            built(&mut response),
            "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n"
        );
    }

    #[test]
    fn status_line_has_version_code_and_phrase() {
        let mut response = Response::default();
        let mut line = |edit: fn(&mut Response)| {
            edit(response.reset());
            built(&mut response)
                .split("\r\n")
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            line(|r| _ = r.set_status_code(503)),
            "HTTP/1.1 503 Service Unavailable"
        );
        assert_eq!(line(|r| _ = r.set_status_code(599)), "HTTP/1.1 599 Unknown");
        assert_eq!(line(|r| _ = r.set_reason_phrase("Gut")), "HTTP/1.1 200 Gut");
        assert_eq!(
            line(|r| _ = r.set_version(HttpVersion::Http1_0)),
            "HTTP/1.0 200 OK"
        );
        assert_eq!(
            line(|r| _ = r.set_version(HttpVersion::Http2)),
            "HTTP/1.1 200 OK"
        );
        assert_eq!(
            line(|r| _ = r.set_version(HttpVersion::Unknown("X\r\n".into()))),
            "HTTP/1.1 200 OK"
        );
        for wrong in [0, 99, 1000, usize::MAX] {
            assert_eq!(response.set_status_code(wrong).get_status_code(), 500);
        }
    }

    #[test]
    fn automatic_fields_give_way_to_set_ones() {
        let mut response = Response::default();
        response.set_body("x");
        assert_eq!(
            head(&response, Framing::Length(1), Some("keep-alive")),
            "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\ncontent-length: 1\r\n\
             content-type: text/plain; charset=utf-8\r\nconnection: keep-alive\r\n\r\n"
        );
        response
            .set_header("Date", "now")
            .set_header("Connection", "upgrade")
            .set_header("Content-Type", "a/b");
        assert_eq!(
            head(&response, Framing::Chunked, Some("close")),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\ndate: now\r\n\
             connection: upgrade\r\ncontent-type: a/b\r\n\r\n"
        );
    }

    #[test]
    fn a_body_until_close_says_so_and_none_says_nothing() {
        let response = Response::default();
        assert!(
            head(&response, Framing::UntilClose, Some("keep-alive"))
                .contains("connection: close\r\n")
        );
        let none = head(&response, Framing::None, None);
        assert_eq!(
            none,
            "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
        );
    }

    #[test]
    fn head_is_written_without_growing_a_large_enough_buffer() {
        let mut response = Response::default();
        response
            .set_header("server", "hyperlane")
            .set_body("Hello, World!");
        let mut out = Vec::with_capacity(512);
        let place = out.as_ptr();
        response.write_head(
            &mut out,
            response.framing(),
            b"Thu, 01 Jan 1970 00:00:00 GMT",
            Some("keep-alive"),
        );
        assert_eq!((out.as_ptr(), out.capacity()), (place, 512));
    }

    #[test]
    fn build_reserves_once() {
        let mut response = Response::default();
        response
            .set_header("content-type", "text/event-stream")
            .set_reason_phrase("x".repeat(300))
            .set_body("y");
        let bytes = response.build();
        assert!(bytes.capacity() - bytes.len() < HEAD_ROOM);
    }

    #[test]
    fn body_is_shared_or_copied_as_asked() {
        let bytes = Bytes::from(vec![1, 2, 3]);
        let mut response = Response::default();
        assert_eq!(
            response.set_body_bytes(bytes.clone()).get_body().as_ptr(),
            bytes.as_ptr()
        );
        assert_ne!(
            response.set_body(&bytes[..]).get_body().as_ptr(),
            bytes.as_ptr()
        );
        assert_eq!(response.set_body("[1]").get_body_json::<Vec<u8>>(), [1]);
        assert_eq!(
            (
                response.get_body_string().as_str(),
                response.get_body_json::<bool>()
            ),
            ("[1]", false)
        );
    }

    #[test]
    fn reset_leaves_nothing_behind() {
        let mut response = Response::default();
        response
            .set_status_code(404)
            .set_header("a", "b")
            .set_body("c")
            .set_reason_phrase("d");
        response.set_version(HttpVersion::Http1_0);
        assert_eq!(response.reset(), &Response::default());
    }

    #[test]
    fn headers_are_removed_by_name_and_by_value() {
        let mut response = Response::default();
        response
            .add_header("a", "1")
            .add_header("A", "2")
            .add_header("b", "3")
            .remove_header_value("a", "1");
        assert_eq!(response.get_header("a"), ["2"]);
        assert!(!response.remove_header("A").has_header("a"));
        assert!(response.clear_headers().get_headers().is_empty());
    }
}
