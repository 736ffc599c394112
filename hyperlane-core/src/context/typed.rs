//! Queries and bodies as the program's own types.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_path_to_error::Segment;

use crate::{context::Context, error::RequestError, http::Headers};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Names the part of the request that does not fit, for those who wrote it.
fn deserialize<'de, T, D>(deserializer: D) -> Result<T, String>
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

fn read_pairs<T: DeserializeOwned>(pairs: &[u8]) -> Result<T, String> {
    deserialize(serde_html_form::Deserializer::from_bytes(pairs)).map_err(|text| {
        // What the parser calls a list where one value is asked for.
        match text.strip_suffix("unsupported value") {
            Some(name) => format!("{name}it stands more than once"),
            None => text,
        }
    })
}

/// The media type without its parameters, in lower case; `None` if the request names none.
fn media_type(headers: &Headers) -> Option<String> {
    let value = headers.get("content-type")?;
    let media_type = value.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}

impl Context {
    /// Reads the query of the request as `T`; a name that comes several times makes a list.
    ///
    /// Everything in a query is text, and `#[serde(flatten)]` forgets what a field wants it to be: numbers in a flattened
    /// struct do not fit, unless they are read by `#[serde(deserialize_with = ..)]`. The same holds for forms.
    ///
    /// # Errors
    /// [`RequestError::Query`] with the name that is missing or does not fit; answered with 400.
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

    /// Reads the body of an HTML form as `T`; a name that comes several times makes a list. Forms with files come as
    /// [`multipart`](Self::multipart).
    ///
    /// # Errors
    /// [`RequestError::Form`] with the name that is missing or does not fit (400), [`RequestError::ContentType`] if
    /// the request says that its body is something else (415).
    pub fn form<T: DeserializeOwned>(&self) -> Result<T, RequestError> {
        let request = self.get_request();
        if media_type(request.get_headers()).is_some_and(|media_type| media_type != FORM) {
            return Err(RequestError::ContentType { expected: FORM });
        }
        read_pairs(request.get_body()).map_err(RequestError::Form)
    }

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
