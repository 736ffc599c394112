//! The error type that handler functions return.

use std::{any::Any, borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use super::{ChannelError, RequestError, ResponseError, SessionError, send::is_end};
use crate::http::{Failure, HttpStatus, IntoResponse, Response, explain};

/// The reason why a handler, or the extraction of one of its arguments, failed. `?` converts every error that
/// implements `std::error::Error` to this type.
///
/// A converted error becomes a response with status 500, and the error's text goes only to the log. Three kinds of
/// errors have their own status: a [`RequestError`], a [`ChannelError`], and a [`SessionError`] that the client caused.
/// [`new`](Self::new) creates an error with a status and text of your own. The client gets the text of these four if
/// the status is below 500, or is 501 or 505.
///
/// `Error` itself does not implement `std::error::Error`. If `Error` implemented this trait, Rust would not allow the
/// generic conversion by `?`. `anyhow::Error` and `Box<dyn Error + Send + Sync>` do not implement `std::error::Error`
/// either. Convert them by [`internal`](Self::internal): `.map_err(Error::internal)?`.
///
/// ```
/// use hyperlane_core::{Context, Error};
///
/// // #[get("/motd")]
/// async fn motd(ctx: &mut Context) -> Result<String, Error> {
///     if ctx.cookie("user").is_none() {
///         return Err(Error::new(401, "log in first"));
///     }
///     // If the file is missing, the client gets a plain 500 and the log has the reason.
///     Ok(tokio::fs::read_to_string("/etc/motd").await?)
/// }
/// ```
pub struct Error(Box<Reason>);

enum Reason {
    Request(RequestError),
    Response(ResponseError),
    Answer {
        status: HttpStatus,
        message: Cow<'static, str>,
    },
    Cause(Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// Creates an error with a status and a text for the client. If the status is 500 or higher, except 501 and 505,
    /// the text goes only to the log.
    pub fn new(status: impl Into<HttpStatus>, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Reason::Answer {
            status: status.into(),
            message: message.into(),
        }))
    }

    /// Creates an error with status 500 from a text, `anyhow::Error` or `Box<dyn Error + Send + Sync>`. The text of the
    /// cause goes only to the log.
    ///
    /// ```
    /// use hyperlane_core::Error;
    ///
    /// fn load() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    ///     Err("no such thing")?
    /// }
    ///
    /// async fn handler() -> Result<String, Error> {
    ///     Ok(load().map_err(Error::internal)?)
    /// }
    /// ```
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(Reason::Cause(cause.into())))
    }

    /// Converts the error to a [`RequestError`] for the `request_error` hooks, the program's functions that handle
    /// errors of requests.
    pub(crate) fn into_request_error(self) -> RequestError {
        let status = self.status();
        match *self.0 {
            Reason::Request(error) => error,
            Reason::Response(ResponseError::ConnectionClosed) => RequestError::ClientDisconnected,
            _ => RequestError::Refused {
                status,
                message: self.to_string(),
            },
        }
    }

    /// Returns the status of the response.
    pub fn status(&self) -> u16 {
        match &*self.0 {
            Reason::Request(error) => error.status(),
            Reason::Answer { status, .. } => match status {
                HttpStatus::Unknown => 500,
                known => u16::try_from(known.code()).unwrap_or(500),
            },
            Reason::Response(_) | Reason::Cause(_) => 500,
        }
    }
}

/// The errors that `?` converts to [`Error`]. This trait exists for its compiler message: the message explains how to
/// convert other errors.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not become a `hyperlane::Error` by `?`",
    label = "`?` makes a `hyperlane::Error` of what implements `std::error::Error + Send + Sync`; for `anyhow::Error` and \
             `Box<dyn Error + Send + Sync>` write `.map_err(Error::internal)?`"
)]
pub trait BecomesError: StdError + Send + Sync + 'static {}

// Without this attribute, the compiler would explain a failed `?` by the bounds of this implementation. With it, the
// compiler prints the message of `BecomesError`.
#[diagnostic::do_not_recommend]
impl<E: StdError + Send + Sync + 'static> BecomesError for E {}

impl<E: BecomesError> From<E> for Error {
    fn from(error: E) -> Self {
        // A `RequestError` and a `ResponseError` keep their types: a `RequestError` has its own status, and a
        // `ResponseError` may mean that the connection has ended. The `Option` lets the code move the error out of the
        // reference that the downcast returns.
        let mut error = Some(error);
        let any: &mut dyn Any = &mut error;
        if let Some(error) = any
            .downcast_mut::<Option<RequestError>>()
            .and_then(Option::take)
        {
            return Self(Box::new(Reason::Request(error)));
        }
        if let Some(error) = any
            .downcast_mut::<Option<ResponseError>>()
            .and_then(Option::take)
        {
            return Self(Box::new(Reason::Response(error)));
        }
        if let Some(error) = any.downcast_ref::<Option<ChannelError>>()
            && let Some(error) = *error
        {
            return Self(Box::new(Reason::Request(error.into())));
        }
        // A session error that the client's credential caused, for example a token instead of a cookie, has a status
        // for the client. The client gets the text of such an error. The text of all other errors goes to the log.
        if let Some(error) = any.downcast_ref::<Option<SessionError>>()
            && let Some(error) = error
            && let Some(status) = error.client_status()
        {
            return Self::new(status, error.to_string());
        }
        match error {
            Some(error) => Self::internal(error),
            None => Self::internal("an error that is gone"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Reason::Request(error) => error.fmt(f),
            Reason::Response(error) => error.fmt(f),
            Reason::Answer { message, .. } => f.write_str(message),
            Reason::Cause(cause) => {
                write!(f, "{cause}")?;
                let mut source = cause.source();
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // If `main` returns an error, Rust prints it by `Debug`. So `Debug` writes the sentence of `Display`. The
        // status precedes the sentence if the error has a status of its own.
        match &*self.0 {
            Reason::Cause(_) | Reason::Response(_) => fmt::Display::fmt(self, f),
            Reason::Request(_) | Reason::Answer { .. } => write!(f, "{}: {self}", self.status()),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self, response: &mut Response) {
        match *self.0 {
            Reason::Request(error) => error.into_response(response),
            Reason::Response(error) => error.into_response(response),
            Reason::Answer { .. } => answer(response, self.status(), &self, false),
            Reason::Cause(ref cause) => {
                let is_end = is_end(cause.as_ref());
                answer(response, self.status(), &self, is_end);
            }
        }
    }
}

/// Writes an error into the response as plain text. The text of an internal error goes only to the log. `is_end` is
/// true if the error means that the connection has ended.
pub(super) fn answer(response: &mut Response, status: u16, error: &dyn fmt::Display, is_end: bool) {
    let phrase = HttpStatus::phrase(usize::from(status));
    // A status below 500 describes an error of the client. So do 501 and 505: the client asked for something that the
    // server does not support. Such texts reveal nothing internal.
    let (said, public, cause) = if status < 500 || status == 501 || status == 505 {
        let said = error.to_string();
        (said.clone(), said.into(), None)
    } else {
        (
            String::new(),
            Cow::Borrowed(phrase),
            Some(error.to_string()),
        )
    };
    explain(response, usize::from(status), &said);
    response.fail(Failure {
        public,
        cause,
        is_end,
        refusal: None,
        keeps_status: false,
    });
}

/// Writes the error of a refused request into the response.
pub(super) fn refuse(response: &mut Response, error: RequestError) {
    let is_end = error.is_disconnect() || matches!(error, RequestError::WebSocketProtocol(_));
    answer(response, error.status(), &error, is_end);
    if let Some(mut failure) = response.take_failure() {
        failure.refusal = Some(Arc::new(error));
        response.fail(*failure);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::proto::ws::handshake::HandshakeError;

    fn answered(error: Error) -> (usize, String) {
        let mut response = Response::default();
        error.into_response(&mut response);
        (response.get_status_code(), response.get_body_string())
    }

    #[test]
    fn an_error_has_no_fields_of_the_answer_that_was_begun() {
        let mut response = Response::default();
        response
            .set_header("content-encoding", "gzip")
            .set_header("cache-control", "public, max-age=60")
            .set_header("vary", "origin");
        Error::new(404, "no such thing").into_response(&mut response);
        let names = response.get_headers().iter().map(|(name, _)| name);
        assert_eq!(names.collect::<Vec<_>>(), ["vary", "content-type"]);
    }

    #[test]
    fn only_errors_of_a_handshake_have_its_fields() {
        let fields = |error: RequestError| {
            let mut response = Response::default();
            error.into_response(&mut response);
            let headers = response.get_headers().iter();
            headers
                .filter(|(name, _)| *name != "content-type")
                .map(|(name, value)| format!("{name}: {value}"))
                .collect::<Vec<_>>()
        };
        for status in [405, 426] {
            assert!(fields(RequestError::refused(status, "")).is_empty());
        }
        assert_eq!(fields(HandshakeError::Method.into()), ["allow: GET"]);
        for error in [HandshakeError::Upgrade, HandshakeError::Version] {
            assert_eq!(
                fields(error.into()),
                [
                    "sec-websocket-version: 13",
                    "upgrade: websocket",
                    "connection: upgrade"
                ]
            );
        }
    }

    #[test]
    fn the_debug_form_is_the_sentence() {
        let told = |error: Error| format!("{error:?}");
        assert_eq!(told(io::Error::other("no disk").into()), "no disk");
        assert_eq!(told(Error::internal("text")), "text");
        assert_eq!(told(Error::new(404, "no such room")), "404: no such room");
    }

    #[test]
    fn every_error_becomes_its_answer() {
        let disk = || Err(io::Error::other("disk /dev/sda1 is on fire"));
        let ours: Result<(), Error> = disk().map_err(Error::from);
        let ours = ours.unwrap_err();
        assert_eq!(ours.to_string(), "disk /dev/sda1 is on fire");
        assert_eq!(
            answered(ours),
            (500, "500 Internal Server Error\n".to_owned())
        );
        let query = RequestError::missing("query parameter", "page");
        assert_eq!(
            answered(query.into()),
            (
                400,
                "400 Bad Request: query parameter `page` is missing\n".to_owned()
            )
        );
        assert_eq!(answered(ResponseError::Full.into()).0, 500);
        assert_eq!(answered(SessionError::ByToken.into()).0, 403);
        assert_eq!(answered(ChannelError::TooMany { limit: 16 }.into()).0, 429);
        assert_eq!(answered(ChannelError::InvalidName.into()).0, 400);
        assert_eq!(answered(ChannelError::Memory.into()).0, 503);
        assert_eq!(answered(SessionError::Former.into()).0, 409);
        assert_eq!(answered(SessionError::Random.into()).0, 500);
        assert_eq!(
            answered(Error::new(404, "no such room")),
            (404, "404 Not Found: no such room\n".to_owned())
        );
        assert_eq!(
            answered(Error::new(503, "the database is at 10.0.0.7")),
            (503, "503 Service Unavailable\n".to_owned())
        );
        assert_eq!(answered(Error::new(0, "no status")).0, 500);
        assert_eq!(answered(Error::internal("text")).0, 500);
        let refused = RequestError::refused(401, "log in first");
        assert_eq!(
            answered(refused.into()),
            (401, "401 Unauthorized: log in first\n".to_owned())
        );
        assert_eq!(RequestError::refused(200, "").status(), 500);
    }
}
