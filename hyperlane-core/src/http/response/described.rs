//! Responses whose body is the server's text about a status.

use super::{HttpStatus, Response, ResponseStatusCode};
use crate::http::into_response::TEXT;

/// Whether the body of a response is the server's text about a status, so that the program's function for errors may
/// render the error in another way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Described {
    /// The program has set the body, or there is none.
    #[default]
    No,
    /// The body is the phrase of the status.
    Phrase,
    /// The body also has this text.
    Text(Box<str>),
}

/// Answers with a status and its reason phrase as text. Removes the same header fields as [`explain`].
pub(crate) fn describe(response: &mut Response, status: ResponseStatusCode) {
    explain(response, status, "");
}

/// Answers with a status and its reason phrase, followed by `said` if this is not empty. Removes the header fields that describe the replaced
/// body ([`Response::forget_content`]), and `location` unless the status is a 3xx.
pub(crate) fn explain(response: &mut Response, status: ResponseStatusCode, said: &str) {
    let phrase = HttpStatus::phrase(status);
    let (text, described) = match said {
        "" => (format!("{status} {phrase}\n"), Described::Phrase),
        said => (
            format!("{status} {phrase}: {said}\n"),
            Described::Text(said.into()),
        ),
    };
    response.forget_content();
    if !(300..400).contains(&status) {
        // `location` belonged to the response that the text replaces.
        response.remove_header("location");
    }
    response
        .set_status_code(status)
        .set_reason_phrase("")
        .set_line(&TEXT)
        .set_body_bytes(text);
    response.described = described;
}
