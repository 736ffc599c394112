//! Return values of handlers.

use std::{
    borrow::Cow,
    convert::Infallible,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::Serialize;

use super::{Body, FileBody, HeaderError, HttpStatus, RequestBody, Response, describe};
use crate::proto::http::write::{FieldLine, field_line};

pub(super) static TEXT: FieldLine = field_line!("content-type", "text/plain; charset=utf-8");
static HTML: FieldLine = field_line!("content-type", "text/html; charset=utf-8");
static JSON: FieldLine = field_line!("content-type", "application/json");
static BYTES: FieldLine = field_line!("content-type", "application/octet-stream");

/// A value that a handler can return as the response or a part of it.
///
/// Most values change only their own part of the response: text keeps the status, and a status keeps the body. Text and
/// bytes set a content type only if the response has none; [`Json`] and [`Html`] always set their own. A [`Response`]
/// replaces the whole response, and `None` becomes a 404 with a text.
///
/// ```
/// use hyperlane_core::{HttpStatus, IntoResponse, Json, Response};
///
/// fn find(id: u32) -> Result<Json<[u32; 1]>, (HttpStatus, &'static str)> {
///     if id == 7 { Ok(Json([id])) } else { Err((HttpStatus::NotFound, "no such thing")) }
/// }
///
/// let mut response = Response::default();
/// find(8).into_response(&mut response);
/// assert_eq!((response.get_status_code(), response.body()), (404, &b"no such thing"[..]));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from a handler: return text, bytes, `Json`, `Html`, an `HttpStatus`, \
               `(HttpStatus, T)`, `(HttpStatus, [(name, value); N], T)`, or an `Option` or `Result` of these",
    note = "where `?` meets errors of other libraries, return `Result<T, hyperlane::Error>`, into which `?` converts \
            all that implement `std::error::Error`; for `anyhow::Error` and `Box<dyn Error + Send + Sync>` write `.map_err(Error::internal)?`"
)]
pub trait IntoResponse {
    /// Writes the value into `response`.
    fn into_response(self, response: &mut Response);
}

/// A value that is sent as JSON (`application/json`).
///
/// If the value cannot be serialized, the server answers with 500 and logs the error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// Text or bytes that are sent as HTML (`text/html; charset=utf-8`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Html<T>(pub T);

/// Changes nothing: the handler may have set the response by its context.
impl IntoResponse for () {
    fn into_response(self, _: &mut Response) {}
}

impl IntoResponse for Infallible {
    fn into_response(self, _: &mut Response) {
        match self {}
    }
}

/// Replaces the response.
impl IntoResponse for Response {
    fn into_response(self, response: &mut Response) {
        *response = self;
    }
}

/// Sets the status; `Unknown` becomes 500.
impl IntoResponse for HttpStatus {
    fn into_response(self, response: &mut Response) {
        let status = if self == Self::Unknown {
            Self::InternalServerError
        } else {
            self
        };
        response.set_status_code(status.code());
    }
}

/// Writes the second value, then sets the status. If the second value is JSON that cannot be serialized, the response
/// stays a 500.
impl<T: IntoResponse> IntoResponse for (HttpStatus, T) {
    fn into_response(self, response: &mut Response) {
        let (status, content) = self;
        // An error of an earlier value does not count.
        response.keep_status(false);
        content.into_response(response);
        if !response.keeps_status() {
            status.into_response(response);
        }
    }
}

/// Writes the second value, then sets the header fields. The first field of a name replaces the fields of this name that
/// were set before, and the array's further fields of the name are added. If a name or a value is invalid, the server
/// answers with 500 and logs the field. `content-length` and `transfer-encoding` are dropped, because only the server sets
/// them.
impl<K: AsRef<str>, V: AsRef<str>, T: IntoResponse, const N: usize> IntoResponse
    for ([(K, V); N], T)
{
    fn into_response(self, response: &mut Response) {
        let (fields, content) = self;
        content.into_response(response);
        set_fields(&fields, response);
    }
}

/// Writes the third value, then sets the header fields and the status.
impl<K: AsRef<str>, V: AsRef<str>, T: IntoResponse, const N: usize> IntoResponse
    for (HttpStatus, [(K, V); N], T)
{
    fn into_response(self, response: &mut Response) {
        let (status, fields, content) = self;
        (status, (fields, content)).into_response(response);
    }
}

/// Sets header fields. An invalid field makes the response a 500 without a body.
fn set_fields(fields: &[(impl AsRef<str>, impl AsRef<str>)], response: &mut Response) {
    for (at, (name, value)) in fields.iter().enumerate() {
        let name = name.as_ref();
        let mut before = fields.iter().take(at);
        let is_repeated = before.any(|(other, _)| other.as_ref().eq_ignore_ascii_case(name));
        let set = match is_repeated {
            true => response.try_add_header(name, value),
            false => response.try_set_header(name, value),
        };
        match set {
            Ok(()) | Err(HeaderError::Framing) => {}
            Err(error) => {
                response.forget_content();
                response
                    .set_status_code(HttpStatus::InternalServerError.code())
                    .set_body_bytes(Bytes::new())
                    .fail_because(format!("header field {name:?}: {error}"));
                response.keep_status(true);
                return;
            }
        }
    }
}

/// Answers with 404 for `None`, like the server for a path without a route.
impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self, response: &mut Response) {
        match self {
            Some(content) => content.into_response(response),
            None => describe(response, HttpStatus::NotFound.code()),
        }
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self, response: &mut Response) {
        match self {
            Ok(content) => content.into_response(response),
            Err(error) => {
                error.into_response(response);
                response.fail_as_shown();
            }
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self, response: &mut Response) {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                response.set_line(&JSON).set_body_bytes(body);
            }
            Err(error) => {
                // The cause goes only to the log, because clients must not see internals.
                response
                    .set_status_code(HttpStatus::InternalServerError.code())
                    .set_body_bytes(Bytes::new())
                    .fail_because(format!("the body is not serializable: {error}"));
                response.keep_status(true);
            }
        }
    }
}

impl<T: Into<Bytes>> IntoResponse for Html<T> {
    fn into_response(self, response: &mut Response) {
        response.set_line(&HTML).set_body_bytes(self.0);
    }
}

impl IntoResponse for &'static str {
    fn into_response(self, response: &mut Response) {
        set_content(response, &TEXT, self);
    }
}

impl IntoResponse for String {
    fn into_response(self, response: &mut Response) {
        set_content(response, &TEXT, self);
    }
}

impl IntoResponse for Cow<'static, str> {
    fn into_response(self, response: &mut Response) {
        match self {
            Cow::Borrowed(text) => text.into_response(response),
            Cow::Owned(text) => text.into_response(response),
        }
    }
}

impl IntoResponse for &'static [u8] {
    fn into_response(self, response: &mut Response) {
        set_content(response, &BYTES, self);
    }
}

impl<const N: usize> IntoResponse for &'static [u8; N] {
    fn into_response(self, response: &mut Response) {
        set_content(response, &BYTES, self.as_slice());
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self, response: &mut Response) {
        set_content(response, &BYTES, self);
    }
}

impl IntoResponse for Bytes {
    fn into_response(self, response: &mut Response) {
        set_content(response, &BYTES, self);
    }
}

/// Sends a request body back.
impl IntoResponse for RequestBody {
    fn into_response(self, response: &mut Response) {
        set_content(response, &BYTES, self);
    }
}

/// Sends a file. The name of the file determines the content type if the response has none.
impl IntoResponse for FileBody {
    fn into_response(self, response: &mut Response) {
        response.set_body(self);
    }
}

impl IntoResponse for PathBuf {
    fn into_response(self, response: &mut Response) {
        response.set_body(self);
    }
}

impl IntoResponse for &'static Path {
    fn into_response(self, response: &mut Response) {
        response.set_body(self);
    }
}

impl IntoResponse for Body {
    fn into_response(self, response: &mut Response) {
        response.set_body(self);
    }
}

fn set_content(response: &mut Response, content_type: &'static FieldLine, body: impl Into<Bytes>) {
    if !response.has_header("content-type") {
        response.set_line(content_type);
    }
    response.set_body_bytes(body);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn check(value: impl IntoResponse, status: usize, content_type: Option<&str>, body: &[u8]) {
        let mut response = Response::default();
        value.into_response(&mut response);
        assert_eq!(response.get_status_code(), status);
        assert_eq!(response.header("content-type"), content_type);
        assert_eq!(response.body(), body);
    }

    #[test]
    fn every_kind_makes_its_response() {
        check((), 200, None, b"");
        check("text", 200, Some(TEXT.value()), b"text");
        check("text".to_owned(), 200, Some(TEXT.value()), b"text");
        check(Cow::Borrowed("text"), 200, Some(TEXT.value()), b"text");
        check(
            Cow::<str>::Owned("text".to_owned()),
            200,
            Some(TEXT.value()),
            b"text",
        );
        check(b"bytes".as_slice(), 200, Some(BYTES.value()), b"bytes");
        check(b"bytes", 200, Some(BYTES.value()), b"bytes");
        check(vec![1, 2], 200, Some(BYTES.value()), &[1, 2]);
        check(
            Bytes::from_static(b"bytes"),
            200,
            Some(BYTES.value()),
            b"bytes",
        );
        check(RequestBody::from("echo"), 200, Some(BYTES.value()), b"echo");
        check(Html("<p>"), 200, Some(HTML.value()), b"<p>");
        check(Json([1, 2]), 200, Some(JSON.value()), b"[1,2]");
        check(HttpStatus::NoContent, 204, None, b"");
        check(HttpStatus::Unknown, 500, None, b"");
        check(
            (HttpStatus::Created, "made"),
            201,
            Some(TEXT.value()),
            b"made",
        );
        check(Some("there"), 200, Some(TEXT.value()), b"there");
        check(None::<&str>, 404, Some(TEXT.value()), b"404 Not Found\n");
        check(
            Ok::<_, HttpStatus>("fine"),
            200,
            Some(TEXT.value()),
            b"fine",
        );
        check(
            Err::<&str, _>((HttpStatus::Conflict, "no")),
            409,
            Some(TEXT.value()),
            b"no",
        );
    }

    #[test]
    fn unserializable_json_is_500_without_a_body() {
        let keyed_by_list = HashMap::from([(vec![1], 2)]);
        check((HttpStatus::Created, Json(&keyed_by_list)), 500, None, b"");
        check(Json(keyed_by_list), 500, None, b"");
    }

    #[test]
    fn a_status_replaces_that_of_an_error_and_of_an_earlier_value() {
        let status = |value: &mut dyn FnMut(&mut Response)| {
            let mut response = Response::default();
            value(&mut response);
            response.get_status_code()
        };
        let failed = || crate::Error::from(std::io::Error::other("no disk"));
        let unavailable = HttpStatus::ServiceUnavailable;
        assert_eq!(
            status(&mut |response| (unavailable, failed()).into_response(response)),
            503
        );
        let after_another = status(&mut |response| {
            Json(HashMap::from([(vec![1], 2)])).into_response(response);
            (unavailable, "maintenance").into_response(response);
        });
        assert_eq!(after_another, 503);
    }

    #[test]
    fn header_fields_of_a_tuple_replace_those_of_the_content() {
        let mut response = Response::default();
        response.set_header("x", "before").set_header("y", "before");
        let fields = [("X", "1"), ("x", "2"), ("Content-Type", "text/csv")];
        (HttpStatus::Created, fields, "a,b").into_response(&mut response);
        assert_eq!(response.get_status_code(), 201);
        assert_eq!(
            response.get_headers().get_all("x").collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert_eq!(
            (response.header("y"), response.header("content-type")),
            (Some("before"), Some("text/csv"))
        );
        assert_eq!(response.body(), b"a,b");
        ([("Content-Length", "7".to_owned())], Json(1)).into_response(&mut response);
        assert_eq!(
            (
                response.get_status_code(),
                response.header("content-length"),
                response.body()
            ),
            (201, None, &b"1"[..])
        );
        let none: [(&str, &str); 0] = [];
        check((none, "text"), 200, Some(TEXT.value()), b"text");
    }

    #[test]
    fn an_invalid_field_of_a_tuple_is_500() {
        for (name, value) in [
            ("a b", "c"),
            ("", "c"),
            ("a", "b\r\nset-cookie: c"),
            ("a", "\0"),
        ] {
            check(
                (HttpStatus::Created, [(name, value)], "secret"),
                500,
                None,
                b"",
            );
            check(
                ([("x", "1"), (name, value)], Json("secret")),
                500,
                None,
                b"",
            );
            let mut response = Response::default();
            ([(name, value)], "secret").into_response(&mut response);
            let failure = response.take_failure().and_then(|failure| failure.cause);
            assert!(failure.is_some_and(|cause| cause.starts_with("header field")));
        }
    }

    #[test]
    fn text_leaves_type_and_status_that_are_set_and_json_sets_its_own_type() {
        let mut response = Response::default();
        response
            .set_status_code(202)
            .set_header("content-type", "text/csv");
        "a,b".into_response(&mut response);
        assert_eq!(
            (response.get_status_code(), response.header("content-type")),
            (202, Some("text/csv"))
        );
        Json(1).into_response(&mut response);
        assert_eq!(
            (response.get_status_code(), response.header("content-type")),
            (202, Some(JSON.value()))
        );
    }

    #[test]
    fn a_whole_response_replaces_what_was_there() {
        let mut response = Response::default();
        response.set_header("a", "b");
        Response::default().into_response(&mut response);
        assert_eq!(response, Response::default());
    }
}
