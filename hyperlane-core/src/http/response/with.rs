//! Responses in one expression.

use super::Response;
use crate::http::{HttpStatus, HttpVersion, IntoBody, ResponseStatusCode};

/// Setters by value, for a handler that builds and returns a response in one expression. Each does what the `set_` or
/// `add_` method of its name does.
///
/// ```
/// use hyperlane_core::{HttpStatus, Response};
///
/// async fn create() -> Response {
///     Response::new()
///         .with_status(HttpStatus::Created)
///         .with_header("location", "/things/7")
///         .with_body("made")
/// }
/// ```
impl Response {
    /// Creates an empty response with status 200.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the status. [`HttpStatus::Unknown`] becomes 500.
    #[must_use]
    pub fn with_status(self, status: HttpStatus) -> Self {
        match status {
            HttpStatus::Unknown => self.with_status_code(HttpStatus::InternalServerError.code()),
            status => self.with_status_code(status.code()),
        }
    }

    /// Sets the status code. An invalid code is logged and becomes 500.
    #[must_use]
    pub fn with_status_code(mut self, code: ResponseStatusCode) -> Self {
        self.set_status_code(code);
        self
    }

    /// Sets the reason phrase. An invalid phrase is logged and dropped.
    #[must_use]
    pub fn with_reason_phrase(mut self, phrase: impl AsRef<str>) -> Self {
        self.set_reason_phrase(phrase);
        self
    }

    /// Sets the version.
    #[must_use]
    pub fn with_version(mut self, version: HttpVersion) -> Self {
        self.set_version(version);
        self
    }

    /// Sets a header field and removes earlier fields of the same name. An invalid field is logged and dropped.
    #[must_use]
    pub fn with_header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.set_header(name, value);
        self
    }

    /// Adds a header field and keeps earlier fields of the same name. An invalid field is logged and dropped.
    #[must_use]
    pub fn with_added_header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.add_header(name, value);
        self
    }

    /// Replaces the body.
    #[must_use]
    pub fn with_body(mut self, body: impl IntoBody) -> Self {
        self.set_body(body);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setter_by_value_sets_its_part() {
        let response = Response::new()
            .with_status(HttpStatus::Created)
            .with_reason_phrase("Made")
            .with_version(HttpVersion::Http1_0)
            .with_header("x", "0")
            .with_header("x", "1")
            .with_added_header("x", "2")
            .with_header("a b", "dropped")
            .with_body("body");
        let mut expected = Response::default();
        expected
            .set_status_code(201)
            .set_reason_phrase("Made")
            .set_version(HttpVersion::Http1_0)
            .add_header("x", "1")
            .add_header("x", "2")
            .set_body("body");
        assert_eq!(response, expected);
        assert_eq!(Response::new().with_status_code(7).get_status_code(), 500);
        assert_eq!(
            Response::new()
                .with_status(HttpStatus::Unknown)
                .get_status_code(),
            500
        );
    }
}
