//! The description of a failed request, for the function that renders errors.

use std::{borrow::Cow, fmt};

use serde::Serialize;

use super::{PanicData, RequestError};
use crate::http::HttpStatus;

/// The description of a request that failed, for the function of [`Server::errors`](crate::Server::errors).
///
/// It serializes like the members of a problem document (RFC 9457): `title`, `status`, and `detail` if there is a text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ErrorInfo {
    /// The status of the response, from 400 to 599 unless the program has set another one.
    pub status: u16,
    /// The text that the client may read. It is empty if there is nothing to say beyond the status.
    pub text: Cow<'static, str>,
    /// The error of a refused request, such as a missing header or a body that is too large. `None` for a request
    /// without a route, for a panic, and for a status that a handler returned.
    pub request_error: Option<RequestError>,
    /// The panic of a hook.
    pub panic: Option<PanicData>,
}

impl ErrorInfo {
    /// Returns the registered phrase of the status, such as `Not Found`.
    pub fn title(&self) -> &'static str {
        HttpStatus::phrase(usize::from(self.status))
    }
}

/// Writes the status with its phrase, and the text.
impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.title())?;
        match self.text.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.text),
        }
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

impl Serialize for ErrorInfo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let problem = Problem {
            title: self.title(),
            status: self.status,
            detail: &self.text,
        };
        problem.serialize(serializer)
    }
}
