//! Conversion of JSON bodies to types of the program, and the error texts for queries, forms and JSON.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_path_to_error::Segment;

use crate::{context::Context, error::RequestError, http::Headers};

const JSON: &str = "application/json";

/// Deserializes a value. The error names the path of the invalid field, if the path is known.
pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, String>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
    D::Error: std::fmt::Display,
{
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        // `serde_path_to_error` prints `.` for an error without a path, and `?` for a field whose name was not read.
        match error.path().iter().next() {
            None | Some(Segment::Unknown) => error.inner().to_string(),
            Some(_) => format!("`{}`: {}", error.path(), error.inner()),
        }
    })
}

/// Deserializes JSON without a check of the content type.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RequestError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = deserialize(&mut deserializer).map_err(RequestError::Json)?;
    deserializer
        .end()
        .map_err(|error| RequestError::Json(error.to_string()))?;
    Ok(value)
}

/// Returns the media type without its parameters, in lower case. Returns `None` if the request has no content type.
pub(super) fn media_type(headers: &Headers) -> Option<String> {
    let value = headers.get("content-type")?;
    let media_type = value.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}

impl Context {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// - [`RequestError::Json`] (400) if the body is not valid JSON or does not fit the type. The error names the
    ///   invalid field, if its path is known.
    /// - [`RequestError::ContentType`] (415) if the content type of the request is not JSON.
    ///
    /// The check of the content type stops pages of other sites: without permission by CORS, a page can send text or a
    /// body without a content type, but not JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, RequestError> {
        let request = self.get_request();
        if media_type(request.get_headers())
            .is_none_or(|media_type| media_type != JSON && !media_type.ends_with("+json"))
        {
            return Err(RequestError::ContentType { expected: JSON });
        }
        read_json(request.get_body())
    }
}
