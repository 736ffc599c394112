//! Methods of responses under the names of published Hyperlane programs.

use serde::de::DeserializeOwned;

use super::Response;
use crate::http::headers::header_spellings;

/// Spellings of published Hyperlane programs.
impl Response {
    header_spellings!();

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
