//! The response to a request. The submodule `head` writes its status line and header fields.

mod described;
mod failure;
pub(crate) mod head;
mod hints;
mod trailers;
mod with;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    Body, EntityTag, HttpStatus, HttpVersion, IntoBody, ResponseBody, ResponseStatusCode,
    Validators,
    conditional::format_date,
    content::Content,
    headers::{HeaderError, Headers, header_accessors, header_spellings, is_field_text},
};
use crate::{
    http::session::SessionFields,
    proto::http::{marks, write::FieldLine},
};
pub(crate) use described::{Described, describe, explain};
pub(crate) use failure::Failure;
use head::{Added, Framing, Head};
use hints::Pushes;
pub(crate) use hints::kind_of;
pub use trailers::Trailers;

/// A response: status, header fields and body. Default: 200, HTTP/1.1, empty.
///
/// The server itself sets the length of the message. It drops `content-length` and `transfer-encoding` fields that the
/// program sets: with two different lengths, a client and a proxy could disagree about the end of the message, which
/// attackers exploit (RFC 9112 §11.2). A `date` or `connection` field of the program replaces the server's own field.
/// If the connection closes after the response, the server adds `connection: close` in any case.
///
/// No method panics. If a value is absent, a `get_` method returns an empty value, and the `try_get_` method of the
/// same name returns `None` (or an error, for JSON).
///
/// ```
/// use hyperlane_core::Response;
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
    /// The reason phrase. If it is empty, the registered phrase of the status is used.
    reason: Box<str>,
    headers: Headers,
    body: Bytes,
    /// Another form of the body.
    form: OnceLock<Box<Form>>,
    /// Fields that the request's session adds. `reset` keeps these fields, so the client receives the session's cookie
    /// with any answer.
    session: Option<Arc<SessionFields>>,
    /// The error that caused the response. The server reads this error when the hook (the program's function that
    /// handles the request) has ended.
    failure: Option<Box<Failure>>,
    /// Other responses that the client gets before this one.
    pushes: Option<Box<Pushes>>,
    /// The fields after the body.
    trailers: Option<Trailers>,
    /// Whether the body is the server's text about a status.
    described: Described,
}

/// A form of the body other than shared bytes. Boxed, because few responses have one.
#[derive(Debug, Clone)]
enum Form {
    /// A file or a stream as the body; the bytes are then empty.
    Streamed(Body),
    /// A copy of the bytes, made on the first use of `get_body`.
    Copied(Vec<u8>),
}

/// Compares the parts that the client would receive.
impl PartialEq for Response {
    fn eq(&self, other: &Self) -> bool {
        self.status == other.status
            && self.session == other.session
            && self.version == other.version
            && self.reason == other.reason
            && self.headers == other.headers
            && self.body == other.body
            && self.streamed() == other.streamed()
    }
}

impl Eq for Response {}

impl Response {
    /// Borrows the version.
    pub fn get_version(&self) -> &HttpVersion {
        &self.version
    }

    /// Borrows the version mutably.
    pub fn get_mut_version(&mut self) -> &mut HttpVersion {
        &mut self.version
    }

    /// Sets the version. Only `HTTP/1.0` changes the head. The server writes any other version as HTTP/1.1; a
    /// connection of HTTP/2 or HTTP/3 writes no version.
    pub fn set_version(&mut self, version: HttpVersion) -> &mut Self {
        self.version = version;
        self
    }

    /// Returns the status code.
    pub fn get_status_code(&self) -> ResponseStatusCode {
        self.status
    }

    /// Sets the status code. An invalid code (below 100, above 999) is logged and becomes 500.
    ///
    /// If the body is the server's own text about an error, such as `404 Not Found`, the body changes with the status: to
    /// the text of the new error, or to an empty body for a status below 400.
    pub fn set_status_code(&mut self, code: ResponseStatusCode) -> &mut Self {
        if self.described != Described::No && code != self.status {
            self.describe_otherwise(code);
        }
        self.put_status(code);
        self
    }

    fn put_status(&mut self, code: ResponseStatusCode) {
        self.status = if (100..=999).contains(&code) {
            code
        } else {
            tracing::warn!(code, "not a status code (RFC 9110 15), answering 500");
            HttpStatus::InternalServerError.code()
        };
    }

    /// Replaces the text about the old status.
    #[cold]
    fn describe_otherwise(&mut self, code: ResponseStatusCode) {
        match std::mem::take(&mut self.described) {
            Described::Text(said) if code >= 400 => explain(self, code, &said),
            Described::Phrase if code >= 400 => describe(self, code),
            _ => {
                self.forget_content().set_body_bytes("");
            }
        }
    }

    /// Borrows the reason phrase: the phrase that the program set, or else the registered phrase of the status.
    pub fn get_reason_phrase(&self) -> &str {
        if self.reason.is_empty() {
            HttpStatus::phrase(self.status)
        } else {
            &self.reason
        }
    }

    /// Sets the reason phrase; an empty phrase selects the registered phrase of the status. A phrase with control
    /// characters is invalid (RFC 9112 §4): the earlier phrase stays, and the log has a warning.
    pub fn set_reason_phrase(&mut self, phrase: impl AsRef<str>) -> &mut Self {
        let phrase = phrase.as_ref();
        if is_field_text(phrase) {
            self.reason = phrase.into();
        } else {
            tracing::warn!("reason phrase contains a control character (RFC 9112 4), dropped");
        }
        self
    }

    header_accessors!();

    /// Sets a header field and removes earlier fields of the same name.
    ///
    /// An invalid field is dropped, and the log names the rule that the field breaks. `content-length` and
    /// `transfer-encoding` are dropped too, because only the server sets them. For these two fields, the log line has
    /// the level debug.
    pub fn set_header(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> &mut Self {
        let name = name.as_ref();
        log_refused(name, self.try_set_header(name, value));
        self
    }

    /// Sets a field of the server and removes earlier fields of its name.
    pub(crate) fn set_line(&mut self, line: &'static FieldLine) -> &mut Self {
        self.headers.set_line(line);
        self
    }

    /// Adds a header field and keeps earlier fields of the same name. A field that can have only one value
    /// (`content-range`, `content-type`, `date`, `etag`, `last-modified` or `location`) replaces the earlier field.
    /// Invalid fields are dropped as by [`set_header`](Self::set_header).
    pub fn add_header(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> &mut Self {
        let name = name.as_ref();
        log_refused(name, self.try_add_header(name, value));
        self
    }

    /// Sets a header field and removes earlier fields of the same name.
    ///
    /// # Errors
    /// - [`HeaderError::Name`] or [`HeaderError::Value`] if the field would break the message.
    /// - [`HeaderError::Framing`] for `content-length` and `transfer-encoding`.
    /// - [`HeaderError::TooLarge`] if the fields exceed 4 GiB.
    ///
    /// After an error the response is unchanged.
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

    /// Borrows the body. If the body is a file or a stream, returns an empty slice.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Replaces the body by text or bytes, a [`Path`](std::path::Path), a [`FileBody`](super::FileBody) or a [`Body`],
    /// without a copy of owned values.
    pub fn set_body(&mut self, body: impl IntoBody) -> &mut Self {
        match body.into_body() {
            Body(Content::Bytes(bytes)) => self.set_body_bytes(bytes),
            streamed => {
                self.set_body_bytes(Bytes::new());
                self.form = OnceLock::from(Box::new(Form::Streamed(streamed)));
                self
            }
        }
    }

    /// Replaces the body by bytes, without copying them.
    pub fn set_body_bytes(&mut self, body: impl Into<Bytes>) -> &mut Self {
        self.body = body.into();
        if self.form.get().is_some() {
            self.form.take();
        }
        self.forget_description();
        self
    }

    /// Records that the program has decided about the body.
    #[inline]
    pub(crate) fn forget_description(&mut self) {
        if self.described != Described::No {
            self.described = Described::No;
        }
    }

    /// Returns whether the body is the server's text about a status.
    pub(crate) fn described(&self) -> &Described {
        &self.described
    }

    /// Returns whether the body is a file or a stream, which [`body`](Self::body) does not show.
    pub fn is_body_streamed(&self) -> bool {
        self.streamed().is_some()
    }

    fn streamed(&self) -> Option<&Body> {
        match self.form.get().map(Box::as_ref) {
            Some(Form::Streamed(body)) => Some(body),
            Some(Form::Copied(_)) | None => None,
        }
    }

    /// Takes the body, which may be bytes, a file or a stream, and leaves an empty body.
    pub fn take_body(&mut self) -> Body {
        match self.form.take().map(|form| *form) {
            Some(Form::Streamed(streamed)) => streamed,
            Some(Form::Copied(_)) | None => Body(Content::Bytes(std::mem::take(&mut self.body))),
        }
    }

    /// Sets `etag` and `last-modified`. A field that the response already has stays.
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

    /// Returns the `etag` and `last-modified` of the response.
    pub(crate) fn validators(&self) -> Validators {
        Validators {
            etag: self.header("etag").and_then(EntityTag::parse),
            last_modified: self
                .header("last-modified")
                .and_then(|date| httpdate::parse_http_date(date).ok()),
        }
    }

    /// Turns the response into a 304 (RFC 9110 §15.4.5). Removes the body and `content-type`. The other fields stay,
    /// such as the `etag` of the current content.
    pub(crate) fn set_not_modified(&mut self) {
        self.set_status_code(HttpStatus::NotModified.code())
            .set_body_bytes(Bytes::new())
            .remove_header("content-type");
    }

    /// Removes the header fields that describe the body, before the text of an error replaces the body. The fields
    /// would be wrong for the new text: caches, for example, would keep an error for the time that is meant for the
    /// content. Also removes `cache-control`, unless it has `no-store` or `private`.
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

    /// Resets the response to an empty 200. The session's fields stay, and the allocation for the header fields is
    /// reused.
    pub fn reset(&mut self) -> &mut Self {
        self.version = HttpVersion::default();
        self.status = HttpStatus::Ok.code();
        self.reason = Box::default();
        self.headers.clear();
        self.set_body_bytes(Bytes::new());
        // The rare part is dropped out of line.
        if self.failure.is_some() {
            self.failure = None;
        }
        self.trailers = None;
        if self.pushes.is_some() {
            self.pushes = None;
        }
        self
    }

    /// Encodes the response as HTTP/1.1: status line, header fields, body.
    ///
    /// Adds `content-length`, and `content-type: text/plain; charset=utf-8` for a body without a type. A 1xx, 204 or
    /// 304 has neither length nor body (RFC 9112 §6.3), and a 205 has an empty body. `date` is absent: the server adds
    /// it only to responses that the server itself sends.
    ///
    /// A body of type `text/event-stream` begins a stream that ends with the connection. The head then has no length,
    /// but `connection: close`. `cache-control: no-cache` and `x-accel-buffering: no` are added if the program set no
    /// such field.
    ///
    /// This method cannot encode a file or a stream. It omits such a body and logs a warning. To send such a body,
    /// leave the response in the [`Context`](crate::Context), and the server sends it after the hooks. The attribute
    /// macro `#[send]` sends it at the end of a hook.
    pub fn build(&mut self) -> Vec<u8> {
        if self.is_body_streamed() {
            tracing::warn!("only the server can send a file or a stream: built without it");
        }
        let head = Head::new(self);
        let framing = head.framing();
        let body: &[u8] = match framing {
            Framing::None | Framing::Length(0) => &[],
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => &self.body,
        };
        let mut out = Vec::with_capacity(
            HEAD_ROOM + self.reason.len() + self.headers.wire_len() + body.len(),
        );
        let added = Added {
            framing,
            date: None,
            connection: None,
            title_case: false,
        };
        head.write_apart(&mut out, added);
        out.extend_from_slice(body);
        out
    }

    /// Sets the fields that the request's session adds to the head.
    pub(crate) fn set_session(&mut self, fields: Option<Arc<SessionFields>>) {
        self.session = fields;
    }

    /// Returns the fields that the request's session adds to the head.
    pub(crate) fn session(&self) -> Option<&Arc<SessionFields>> {
        self.session.as_ref()
    }

    /// Returns whether a response of this status can have a body (RFC 9112 §6.3). Also true for a 205: its head states
    /// a length, which is always 0.
    pub(crate) fn allows_body(&self) -> bool {
        self.status == 200 || !matches!(self.status, 100..=199 | 204 | 304)
    }

    /// Returns whether a response of this status has no content, whatever body is set (RFC 9110 §15.3.6 for 205).
    pub(crate) fn is_empty_by_status(&self) -> bool {
        !self.allows_body() || self.status == HttpStatus::ResetContent.code()
    }

    /// Returns whether the response is the head of an event stream: it has the type `text/event-stream` and no body.
    pub(crate) fn begins_events(&self) -> bool {
        self.body.is_empty()
            && !self.is_body_streamed()
            && !self.is_empty_by_status()
            && self
                .header("content-type")
                .is_some_and(|kind| marks::is_event_stream(kind.as_bytes()))
    }

    /// Borrows the body as shared bytes.
    pub(crate) fn body_bytes(&self) -> &Bytes {
        &self.body
    }
}

/// Methods under the names that published Hyperlane programs call.
impl Response {
    header_spellings!();

    /// Borrows the body as a vector: a copy, which the first call makes. [`body`](Self::body) returns the body without a
    /// copy. If the body is a file or a stream, returns an empty vector.
    pub fn get_body(&self) -> &ResponseBody {
        static EMPTY: Vec<u8> = Vec::new();
        let copied = || Box::new(Form::Copied(self.body.to_vec()));
        match self.form.get_or_init(copied).as_ref() {
            Form::Copied(copy) => copy,
            Form::Streamed(_) => &EMPTY,
        }
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
}

impl Default for Response {
    fn default() -> Self {
        Self {
            version: HttpVersion::default(),
            status: HttpStatus::Ok.code(),
            reason: Box::default(),
            headers: Headers::new(),
            body: Bytes::new(),
            form: OnceLock::new(),
            session: None,
            failure: None,
            pushes: None,
            trailers: None,
            described: Described::No,
        }
    }
}

/// Fields that describe the body and would be wrong for another body (RFC 9110 §8, §14.4; RFC 9111 §5.3).
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

/// Number of bytes to reserve for the status line and for the fields that the server adds.
const HEAD_ROOM: usize = 256;

fn is_framing(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
}

/// Returns whether a field can have only a single value: a second value would contradict the first (RFC 9110 §5.3).
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
        // Programs set `content-length` and `transfer-encoding` by habit, and the server sets them correctly. A debug
        // line is enough.
        Err(HeaderError::Framing) => {
            tracing::debug!(name, "the server frames the message: header dropped")
        }
        Err(error) => tracing::warn!(name, %error, "response header dropped"),
    }
}

#[cfg(test)]
mod tests;
