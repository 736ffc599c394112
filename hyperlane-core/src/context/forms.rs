//! Conversion of queries and forms to types of the program.

use serde::de::DeserializeOwned;

use super::typed::{deserialize, media_type};
use crate::{Context, RequestError};

const FORM: &str = "application/x-www-form-urlencoded";

fn read_pairs<T: DeserializeOwned>(pairs: &[u8]) -> Result<T, String> {
    deserialize(serde_html_form::Deserializer::from_bytes(pairs)).map_err(|text| {
        // The parser reports `unsupported value` if a name is repeated but the field takes only one value.
        match text.strip_suffix("unsupported value") {
            Some(name) => format!("{name}given more than once"),
            None => text,
        }
    })
}

impl Context {
    /// Deserializes the query of the request as a `T`. A field that is a list gets all values of a repeated name.
    ///
    /// The values of a query are text, and the parser converts them to the types of the fields. `#[serde(flatten)]`
    /// hides these types from the parser, so numbers in a flattened struct need `#[serde(deserialize_with = ..)]`. The
    /// same applies to forms.
    ///
    /// # Errors
    /// [`RequestError::Query`] with the name of the missing or invalid parameter (400).
    ///
    /// ```
    /// use hyperlane_core::{Context, RequestError};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     page: u32,
    ///     #[serde(default)]
    ///     tag: Vec<String>,
    /// }
    ///
    /// async fn list(ctx: &mut Context) -> Result<String, RequestError> {
    ///     let Page { page, tag } = ctx.query()?;
    ///     Ok(format!("page {page} of {tag:?}"))
    /// }
    /// ```
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, RequestError> {
        read_pairs(self.get_request().get_raw_query().as_bytes()).map_err(RequestError::Query)
    }

    /// Deserializes the body of an HTML form as a `T`. A field that is a list gets all values of a repeated name. To
    /// read forms with files, use [`multipart`](Self::multipart).
    ///
    /// # Errors
    /// [`RequestError::Form`] with the name of the missing or invalid field (400), [`RequestError::ContentType`] if the
    /// request has another content type (415). A request without a content type is accepted.
    pub fn form<T: DeserializeOwned>(&self) -> Result<T, RequestError> {
        let request = self.get_request();
        if media_type(request.get_headers()).is_some_and(|media_type| media_type != FORM) {
            return Err(RequestError::ContentType { expected: FORM });
        }
        read_pairs(request.get_body()).map_err(RequestError::Form)
    }
}
