//! [`RequestConfig`]: the request limits as one value, with the field and method names that published Hyperlane
//! programs use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KIB, MAX_DURATION, MIB, ServerConfig};

/// The request limits as one value; [`apply`](Self::apply) copies them into a [`ServerConfig`].
///
/// Sizes are in bytes, the timeout in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestConfig {
    /// The size of a read. Default: 4096. This field has no effect: all connections share read buffers, and the size of
    /// these buffers is fixed. The field remains for programs that set it.
    pub buffer_size: usize,
    /// Maximum length of the request line. Default: 8192.
    pub max_path_size: usize,
    /// Maximum number of header fields. Default: 100.
    pub max_header_count: usize,
    /// Maximum length of a header name. Default: 8192. A server limits only the total length of all header fields.
    /// [`apply`](Self::apply) computes this total from this field and from `max_header_value_size`.
    pub max_header_key_size: usize,
    /// Maximum length of a header value. Default: 8192. Like `max_header_key_size`, this field is only a part of the
    /// server's limit for all header fields.
    pub max_header_value_size: usize,
    /// Maximum length of the body. Default: 2 MiB.
    pub max_body_size: usize,
    /// Maximum wait for the beginning of a request, for its head, and for the next bytes of its body. Default: 6000.
    pub read_timeout_ms: u64,
}

impl RequestConfig {
    /// Creates a configuration from its seven values, in the order of the fields.
    pub fn new(
        buffer_size: usize,
        max_path_size: usize,
        max_header_count: usize,
        max_header_key_size: usize,
        max_header_value_size: usize,
        max_body_size: usize,
        read_timeout_ms: u64,
    ) -> Self {
        Self {
            buffer_size,
            max_path_size,
            max_header_count,
            max_header_key_size,
            max_header_value_size,
            max_body_size,
            read_timeout_ms,
        }
    }

    /// Deserializes a configuration from JSON; a missing field gets its default.
    ///
    /// # Errors
    /// Returns the error of `serde_json` if the text is not JSON, or has unknown fields or wrong types.
    pub fn from_json(json: impl AsRef<str>) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json.as_ref())
    }

    /// Returns tight limits, for servers that are open to the public.
    pub fn high_security() -> Self {
        Self::new(4 * KIB, 4 * KIB, 50, 4 * KIB, 4 * KIB, MIB, 3_000)
    }

    /// Returns very large limits, for trusted clients. The limits are still finite. Without a limit, a single request
    /// could fill the memory.
    pub fn low_security() -> Self {
        Self::new(
            4 * KIB,
            MIB,
            10_000,
            64 * KIB,
            MIB,
            1024 * MIB,
            60 * 60 * 1_000,
        )
    }

    /// Returns the request limits of a server's configuration. A server has no separate limits for a header name and
    /// for a header value: it limits only the total length of all header fields. In the result, the limit of a name and
    /// the limit of a value are therefore each a quarter of this total. The timeout is the server's `header_timeout`.
    /// `buffer_size` has its default.
    pub(crate) fn of(config: &ServerConfig) -> Self {
        let default = Self::default();
        let field = config.max_header_bytes / 4;
        let timeout = config.header_timeout.as_millis();
        Self {
            buffer_size: default.buffer_size,
            max_path_size: config.max_request_line,
            max_header_count: config.max_header_count,
            max_header_key_size: field,
            max_header_value_size: field,
            max_body_size: config.max_body,
            read_timeout_ms: u64::try_from(timeout).unwrap_or(u64::MAX),
        }
    }

    /// Returns whether a server's configuration has the default limits of requests.
    pub(crate) fn are_defaults_of(config: &ServerConfig) -> bool {
        let limits = |config: &ServerConfig| {
            let times = [
                config.header_timeout,
                config.keep_alive_timeout,
                config.body_timeout,
            ];
            (Self::of(config), config.max_header_bytes, times)
        };
        limits(config) == limits(&ServerConfig::default())
    }

    /// Copies these limits into a server's configuration.
    ///
    /// The server's limit for the total length of all header fields becomes twice the sum of the name limit and the
    /// value limit. A timeout over a year becomes a year.
    pub fn apply(&self, config: &mut ServerConfig) {
        config.max_request_line = self.max_path_size;
        config.max_header_count = self.max_header_count;
        config.max_header_bytes = self
            .max_header_key_size
            .saturating_add(self.max_header_value_size)
            .saturating_mul(2);
        config.max_body = self.max_body_size;
        let timeout = Duration::from_millis(self.read_timeout_ms).min(MAX_DURATION);
        config.header_timeout = timeout;
        config.keep_alive_timeout = timeout;
        config.body_timeout = timeout;
    }
}

macro_rules! request_config_accessors {
    ($($get:ident $set:ident $field:ident: $type:ty;)*) => {
        /// Methods under the names that published Hyperlane programs call.
        impl RequestConfig {
            $(
                #[doc = concat!("Gives [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                pub fn $get(&self) -> $type {
                    self.$field
                }

                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                pub fn $set(&mut self, $field: $type) -> &mut Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

request_config_accessors! {
    get_buffer_size set_buffer_size buffer_size: usize;
    get_max_path_size set_max_path_size max_path_size: usize;
    get_max_header_count set_max_header_count max_header_count: usize;
    get_max_header_key_size set_max_header_key_size max_header_key_size: usize;
    get_max_header_value_size set_max_header_value_size max_header_value_size: usize;
    get_max_body_size set_max_body_size max_body_size: usize;
    get_read_timeout_ms set_read_timeout_ms read_timeout_ms: u64;
}

impl Default for RequestConfig {
    fn default() -> Self {
        Self::new(4 * KIB, 8 * KIB, 100, 8 * KIB, 8 * KIB, 2 * MIB, 6_000)
    }
}

impl From<RequestConfig> for ServerConfig {
    fn from(request: RequestConfig) -> Self {
        let mut config = Self::default();
        request.apply(&mut config);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_limits_are_applied() {
        let mut config = ServerConfig::default();
        RequestConfig::high_security().apply(&mut config);
        assert_eq!(
            (
                config.max_request_line,
                config.max_header_count,
                config.max_body
            ),
            (4096, 50, MIB)
        );
        assert_eq!(
            (config.max_header_bytes, config.header_timeout),
            (16 * KIB, Duration::from_secs(3))
        );
        let endless = RequestConfig::new(
            1,
            usize::MAX,
            usize::MAX,
            usize::MAX,
            usize::MAX,
            usize::MAX,
            u64::MAX,
        );
        endless.apply(&mut config);
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.max_header_bytes, usize::MAX);
    }

    #[test]
    fn low_security_is_finite() {
        let low = RequestConfig::low_security();
        assert!(
            low.max_body_size < usize::MAX
                && low.max_path_size < usize::MAX
                && low.read_timeout_ms < u64::MAX
        );
        assert!(low.get_max_body_size() > RequestConfig::default().get_max_body_size());
    }

    #[test]
    fn json_fills_in_defaults_and_refuses_unknown_names() {
        let config = RequestConfig::from_json(r#"{"max_body_size": 7}"#).unwrap();
        assert_eq!(&config, RequestConfig::default().set_max_body_size(7));
        assert!(RequestConfig::from_json(r#"{"max_body": 7}"#).is_err());
        assert!(RequestConfig::from_json("{").is_err());
    }
}
