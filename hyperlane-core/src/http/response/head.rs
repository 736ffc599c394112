//! The head of a response. This module decides which fields are sent, and which of them the server adds.

use std::sync::Arc;

use super::{HttpStatus, Response, is_framing};
use crate::{
    http::{
        Headers,
        into_response::TEXT,
        session::{SessionFields, private_cache_control},
        upgrade::is_handshake_field,
    },
    proto::http::{
        marks::Marks,
        write::{DateLine, HeadWriter},
    },
};

/// The way in which the receiver finds the end of the body (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `content-length`.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// No body, and neither `content-length` nor `transfer-encoding`.
    None,
    /// The end of the connection ends the body.
    UntilClose,
}

/// A response whose head is about to be written.
///
/// `Context::head` adds the fields of the request's session and of the route's CORS policy to the response, and then
/// creates this value. Every head that the server itself sends therefore has these fields. [`Response::build`] creates
/// this value without adding them, for programs that send the bytes themselves.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) response: &'a Response,
    /// The marks of the fields that the program has set.
    set: Marks,
}

/// Fields that the server adds to those of the program.
#[derive(Clone, Copy)]
pub(crate) struct Added<'a> {
    pub(crate) framing: Framing,
    /// The line of the field `date`; `None` to omit the field.
    pub(crate) date: Option<&'a DateLine>,
    pub(crate) connection: Option<&'static str>,
    pub(crate) title_case: bool,
}

impl<'a> Head<'a> {
    pub(crate) fn new(response: &'a Response) -> Self {
        Self {
            response,
            set: response.headers.marks(),
        }
    }

    /// Returns the framing that fits the response as it is now.
    pub(crate) fn framing(&self) -> Framing {
        let response = self.response;
        if !response.allows_body() {
            Framing::None
        } else if response.status == HttpStatus::ResetContent.code() {
            // RFC 9110 §15.3.6: a 205 has no content, but it states the length 0.
            Framing::Length(0)
        } else if self.set.has(Marks::EVENT_STREAM) {
            Framing::UntilClose
        } else {
            Framing::Length(response.body.len() as u64)
        }
    }

    /// Returns whether the program has set `connection: close`.
    pub(crate) fn closes(&self) -> bool {
        self.set.has(Marks::CONNECTION) && self.response.headers.has_token("connection", "close")
    }

    /// Writes the head. Allocates only if `out` must grow.
    ///
    /// If a response of this status cannot have a body, the framing is ignored, and the head has neither
    /// `content-length` nor `transfer-encoding`. [`Framing::UntilClose`] adds `connection: close`. If the program and
    /// the server would set the same field, the head has the program's field, with three exceptions:
    /// - The head omits a `content-length` or `transfer-encoding` of the program. The program can set these two fields
    ///   only by [`get_mut_headers`](Response::get_mut_headers).
    /// - If the connection closes, the head has `connection: close` in any case.
    /// - If the head sets a session's cookie, its `cache-control` is private.
    // Inlined for the one hot caller. The other callers use `write_apart`.
    #[inline(always)]
    pub(crate) fn write(self, out: &mut Vec<u8>, added: Added<'_>) {
        let Self { response, set } = self;
        let framing = match response.allows_body() {
            true => added.framing,
            false => Framing::None,
        };
        // An unknown version is written as HTTP/1.1, because its text was not validated.
        let is_1_0 = response.version.is_http1_0();
        let (status, reason) = (response.status, &*response.reason);
        let mut head = match added.date {
            Some(date) if !set.has(Marks::DATE) => {
                HeadWriter::dated(out, is_1_0, status, reason, date)
            }
            _ => HeadWriter::response(out, is_1_0, status, reason),
        };
        match framing {
            Framing::Length(length) => head.content_length(length),
            Framing::Chunked => head.field("transfer-encoding", b"chunked"),
            Framing::None | Framing::UntilClose => {}
        }
        // For a file or a stream, the server has already decided about a default content type. Only a body in memory
        // needs one here.
        if !set.has(Marks::CONTENT_TYPE)
            && !response.body.is_empty()
            && !matches!(framing, Framing::None | Framing::Length(0))
        {
            head.lines(TEXT.text());
        }
        let connection = match framing {
            Framing::UntilClose => Some("close"),
            _ => added.connection,
        };
        if connection.is_none()
            && response.session.is_none()
            && !set.has(
                Marks::EVENT_STREAM
                    .with(Marks::FRAMING)
                    .with(Marks::CONTENT_ENCODING),
            )
        {
            response.headers.write_lines(&mut head);
        } else {
            self.write_fields(&mut head, connection);
        }
        head.end(added.title_case);
    }

    /// Writes the head like [`write`](Self::write), for rare heads.
    #[inline(never)]
    pub(crate) fn write_apart(self, out: &mut Vec<u8>, added: Added<'_>) {
        self.write(out, added);
    }

    /// Writes the program's fields, and those that the server adds for the connection, the session and caches.
    #[inline(never)]
    fn write_fields(self, head: &mut HeadWriter<'_>, connection: Option<&'static str>) {
        let Self { response, set } = self;
        let (headers, session) = (&response.headers, response.session.as_ref());
        // If the connection closes after this answer, the head says so by `connection: close`, even if the program has
        // set `connection` to another value.
        let has_connection = set.has(Marks::CONNECTION);
        let ends = has_connection && connection == Some("close") && !self.closes();
        let contradicts = ends && headers.has_token("connection", "keep-alive");
        if let Some(connection) = connection
            && (ends || !has_connection)
        {
            head.field("connection", connection.as_bytes());
        }
        let cookie = session.and_then(|session| write_cookie(head, session));
        write_cache_fields(head, headers, set, session.is_some(), cookie.is_some());
        let miscoded = set.has(Marks::CONTENT_ENCODING) && is_miscoded(headers, &response.body);
        match cookie {
            Some(session) => headers.write_where(head, |name, value| {
                !(is_framing(name)
                    || contradicts && name == "connection"
                    || miscoded && name == "content-encoding"
                    || name == "cache-control"
                    || session.is_own(name, value))
            }),
            None if set.has(Marks::FRAMING) || contradicts || miscoded => {
                headers.write_where(head, |name, _| {
                    !(is_framing(name)
                        || contradicts && name == "connection"
                        || miscoded && name == "content-encoding")
                });
            }
            None => headers.write_lines(head),
        }
    }
}

/// Returns whether `content-encoding` names gzip or deflate, and the first bytes of the body are not so coded (RFC
/// 1952 §2.3.1). The server does not compress responses, and a client cannot decode such a body.
fn is_miscoded(headers: &Headers, body: &[u8]) -> bool {
    let mut codings = headers.get_all("content-encoding").map(str::trim);
    let (Some(coding), None) = (codings.next(), codings.next()) else {
        return false;
    };
    // A part of a body (206) may begin anywhere in the coded data.
    if body.is_empty() || headers.get("content-range").is_some() {
        return false;
    }
    let is_miscoded = match coding {
        coding if coding.eq_ignore_ascii_case("gzip") => !body.starts_with(&[0x1F, 0x8B]),
        // Some programs send deflate data without the header of zlib, and browsers read it. Only text is surely not coded.
        coding if coding.eq_ignore_ascii_case("deflate") => is_text(body),
        _ => false,
    };
    if is_miscoded {
        tracing::debug!(
            coding,
            "the body does not have this `content-encoding`: omitted"
        );
    }
    is_miscoded
}

/// Returns whether the first bytes are text: characters of ASCII without control characters.
fn is_text(body: &[u8]) -> bool {
    let begin = body.get(..64).unwrap_or(body);
    begin
        .iter()
        .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
}

/// Writes the response that accepts a WebSocket handshake (RFC 6455 §4.2.2). Its fields are `handshake`, the session's
/// cookie, and the program's own fields in `headers`. These fields of the program are omitted:
/// - fields that describe a body
/// - fields that a handshake itself sets
/// - fields that set the session's cookie, if the response sets it
pub(crate) fn write_switching<'a>(
    out: &mut Vec<u8>,
    handshake: impl Iterator<Item = (&'static str, &'a [u8])>,
    headers: [&Headers; 2],
    session: Option<&Arc<SessionFields>>,
    title_case: bool,
) {
    let status = HttpStatus::SwitchingProtocols.code();
    let mut head = HeadWriter::response(out, false, status, "");
    for (name, value) in handshake {
        head.field(name, value);
    }
    let cookie = session.and_then(|session| write_cookie(&mut head, session));
    for headers in headers {
        headers.write_where(&mut head, |name, value| {
            !(is_framing(name)
                || name == "content-type"
                || is_handshake_field(name)
                || cookie.is_some_and(|session| session.is_own(name, value)))
        });
    }
    head.end(title_case);
}

/// Writes the `set-cookie` field of a session into a head, if the session has a cookie for the client. No other
/// function writes the cookie of a session.
fn write_cookie<'a>(
    head: &mut HeadWriter<'_>,
    session: &'a Arc<SessionFields>,
) -> Option<&'a SessionFields> {
    let cookie = session.write()?;
    head.field("set-cookie", cookie.as_bytes());
    Some(session)
}

/// Writes the fields for caches and proxies:
/// - For an event stream, `cache-control` is `no-cache`, and `x-accel-buffering` is `no`.
/// - For any other response to a request with a session, `cache-control` is `private`.
///
/// A field that the program has set is not written. The exception: if the head sets a session's cookie, `cache-control`
/// is private in any case.
fn write_cache_fields(
    head: &mut HeadWriter<'_>,
    headers: &Headers,
    set: Marks,
    has_session: bool,
    sets_cookie: bool,
) {
    let is_events = set.has(Marks::EVENT_STREAM);
    let has_cache_control = set.has(Marks::CACHE_CONTROL);
    if is_events {
        if !has_cache_control && !sets_cookie {
            head.field("cache-control", b"no-cache");
        }
        if !set.has(Marks::ACCEL_BUFFERING) {
            // Buffering proxies would delay events.
            head.field("x-accel-buffering", b"no");
        }
    }
    if sets_cookie {
        let stream = (is_events && !has_cache_control).then_some("no-cache");
        let said = headers.get_all("cache-control").chain(stream);
        head.field("cache-control", private_cache_control(said).as_bytes());
    } else if has_session && !has_cache_control && !is_events {
        head.field("cache-control", b"private");
    }
}
