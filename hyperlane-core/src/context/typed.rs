//! JSON bodies as the program's own types, and the errors of all typed values.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_path_to_error::Segment;

use crate::{context::Context, error::RequestError, http::Headers};

const JSON: &str = "application/json";

/// Names the part of the request that does not fit, for those who wrote it.
pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, String>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
    D::Error: std::fmt::Display,
{
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        // Without a path, serde names no field (`.`); where the name itself was not read, the field is unknown (`?`).
        match error.path().iter().next() {
            None | Some(Segment::Unknown) => error.inner().to_string(),
            Some(_) => format!("`{}`: {}", error.path(), error.inner()),
        }
    })
}

/// Reads JSON, whatever the request says it is.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RequestError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = deserialize(&mut deserializer).map_err(RequestError::Json)?;
    deserializer
        .end()
        .map_err(|error| RequestError::Json(error.to_string()))?;
    Ok(value)
}

/// The media type without its parameters, in lower case; `None` if the request names none.
pub(super) fn media_type(headers: &Headers) -> Option<String> {
    let value = headers.get("content-type")?;
    let media_type = value.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}

impl Context {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`RequestError::Json`] with the path of the field that is missing or does not fit (400),
    /// [`RequestError::ContentType`] if the request does not say that its body is JSON (415): a page of another site can
    /// send text to us, or a body that says nothing of itself, but no JSON that says so.
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
