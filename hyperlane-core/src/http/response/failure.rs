//! The error that caused a response, for the log and for the hooks that handle errors.

use std::{any::Any, borrow::Cow, sync::Arc};

use super::Response;
use crate::http::HttpStatus;

/// What the server needs to know about an error that became a response.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// The part of the error that the client may read.
    pub(crate) public: Cow<'static, str>,
    /// The cause for the log; `None` if the client receives the whole error.
    pub(crate) cause: Option<String>,
    /// True if the error says that a connection has ended. The connection of the request itself may still be open.
    pub(crate) is_end: bool,
    /// The `RequestError` of a refused request, for the `request_error` hooks.
    pub(crate) refusal: Option<Arc<dyn Any + Send + Sync>>,
    /// True if there is no content to which another status could belong.
    pub(crate) keeps_status: bool,
}

impl Response {
    /// Records the error that caused the response. A later error replaces an earlier one.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failure = Some(Box::new(failure));
    }

    /// Records that a handler returned an error. A failure that was recorded before stays, because it has more detail.
    pub(crate) fn fail_as_shown(&mut self) {
        if self.failure.is_some() {
            return;
        }
        let shown = std::str::from_utf8(&self.body).map(str::trim_end);
        let public = match shown {
            Ok(text) if self.status < 500 && !text.is_empty() => text.to_owned().into(),
            // The error did not set a status.
            _ if self.status < 300 => HttpStatus::phrase(500).into(),
            _ => HttpStatus::phrase(self.status).into(),
        };
        self.fail(Failure {
            public,
            cause: None,
            is_end: false,
            refusal: None,
            keeps_status: false,
        });
    }

    /// Records a reason for the log: why the response is a 500, or why it was cut.
    pub(crate) fn fail_because(&mut self, cause: impl Into<String>) {
        self.fail(Failure {
            public: HttpStatus::phrase(HttpStatus::InternalServerError.code()).into(),
            cause: Some(cause.into()),
            is_end: false,
            refusal: None,
            keeps_status: false,
        });
    }

    /// Sets whether the status of the recorded error stays if a handler returns another status with the same value.
    pub(crate) fn keep_status(&mut self, keeps: bool) {
        if let Some(failure) = &mut self.failure {
            failure.keeps_status = keeps;
        }
    }

    /// Returns the value of [`keep_status`](Self::keep_status).
    pub(crate) fn keeps_status(&self) -> bool {
        let failure = self.failure.as_ref();
        failure.is_some_and(|failure| failure.keeps_status)
    }

    /// Returns whether an error was recorded.
    pub(crate) fn has_failure(&self) -> bool {
        self.failure.is_some()
    }

    /// Takes the recorded error.
    pub(crate) fn take_failure(&mut self) -> Option<Box<Failure>> {
        self.failure.take()
    }
}
