//! Methods of requests under the names of published Hyperlane programs.

use serde::de::DeserializeOwned;

use super::Request;
use crate::http::{headers::header_spellings, upgrade::Asked};

/// Spellings of published Hyperlane programs.
impl Request {
    /// Same as [`query`](Self::query), copied.
    pub fn try_get_query(&self, name: impl AsRef<str>) -> Option<String> {
        self.query(name).map(str::to_owned)
    }

    /// Same as [`query`](Self::query), copied; empty if the parameter is absent.
    pub fn get_query(&self, name: impl AsRef<str>) -> String {
        self.try_get_query(name).unwrap_or_default()
    }

    /// Same as [`try_get_query`](Self::try_get_query).
    pub fn try_get_query_front(&self, name: impl AsRef<str>) -> Option<String> {
        self.try_get_query(name)
    }

    /// Same as [`get_query`](Self::get_query).
    pub fn get_query_front(&self, name: impl AsRef<str>) -> String {
        self.get_query(name)
    }

    /// Copies the last value of a query parameter; `None` if it is absent.
    pub fn try_get_query_back(&self, name: impl AsRef<str>) -> Option<String> {
        self.get_querys().get_last(name.as_ref()).map(str::to_owned)
    }

    /// Copies the last value of a query parameter; empty if it is absent.
    pub fn get_query_back(&self, name: impl AsRef<str>) -> String {
        self.try_get_query_back(name).unwrap_or_default()
    }

    /// Returns the number of values of a query parameter; `None` if it is absent.
    pub fn try_get_query_size(&self, name: impl AsRef<str>) -> Option<usize> {
        Some(self.get_query_size(name)).filter(|&size| size > 0)
    }

    /// Returns the number of values of a query parameter.
    pub fn get_query_size(&self, name: impl AsRef<str>) -> usize {
        self.get_querys().get_all(name.as_ref()).count()
    }

    /// Returns the number of query parameters.
    pub fn get_querys_size(&self) -> usize {
        self.get_querys().len()
    }

    header_spellings!();

    /// Same as [`RequestBody::to_string_lossy`](super::RequestBody::to_string_lossy), copied.
    pub fn get_body_string(&self) -> String {
        self.body.to_string_lossy().into_owned()
    }

    /// Same as [`RequestBody::json`](super::RequestBody::json).
    ///
    /// # Errors
    /// Returns the error of `serde_json` if the body is not JSON or does not fit `T`.
    pub fn try_get_body_json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.body.json()
    }

    /// Deserializes the body as JSON, or returns the default of `T` on an error.
    pub fn get_body_json<T: DeserializeOwned + Default>(&self) -> T {
        self.try_get_body_json().unwrap_or_default()
    }

    /// Returns whether the client asks for a WebSocket. The upgrade itself checks the handshake.
    pub fn is_ws_upgrade_type(&self) -> bool {
        self.asked_upgrade() == Asked::WebSocket
    }

    /// Returns whether the client asks for HTTP/2 without TLS.
    pub fn is_h2c_upgrade_type(&self) -> bool {
        self.asked_upgrade() == Asked::H2c
    }

    /// Returns whether the client asks for TLS.
    pub fn is_tls_upgrade_type(&self) -> bool {
        matches!(self.asked_upgrade(), Asked::Tls(_))
    }

    /// Returns whether the client asks for no upgrade, or for an unknown one.
    pub fn is_unknown_upgrade_type(&self) -> bool {
        matches!(self.asked_upgrade(), Asked::Other(_))
    }

    /// Returns the opposite of [`is_enable_keep_alive`](Self::is_enable_keep_alive).
    pub fn is_disable_keep_alive(&self) -> bool {
        !self.is_enable_keep_alive()
    }
}
