//! [`ServerConfig::from_json`]: the settings that JSON can express.

use std::time::Duration;

use serde_json::Value;

#[cfg(feature = "__tls")]
use super::TlsConfig;
use super::{AccessLog, ConfigError, Hsts, ServerConfig, ServerProtocol};
#[cfg(feature = "sessions")]
use super::{CookieSameSite, CookieSecure, SessionKey};
use crate::proto::http::forwarded::{Cidr, ForwardedField};
#[cfg(feature = "deflate")]
use crate::proto::ws::deflate::DeflateConfig;

impl ServerConfig {
    /// Reads a configuration from a JSON object. A key is the name of a field, and a missing key leaves the default. The
    /// key `address` sets the only address.
    ///
    /// Durations are texts with a unit: `"250ms"`, `"10s"`, `"5m"`, `"1h"`, `"7d"`. `null` stands for `None`. Addresses of
    /// proxies, session keys and the names of variants are texts: `"10.0.0.0/8"`, `"x_forwarded_for"`, `"lax"`. The
    /// method checks names and types; the server checks the values when it starts ([`validate`](Self::validate)).
    ///
    /// # Errors
    /// - [`ConfigError::Json`] if the text is not JSON
    /// - [`ConfigError::UnknownKey`] for a key that is not the name of a field. A field may need a feature
    /// - [`ConfigError::WrongType`] for a value of another type
    ///
    /// ```
    /// use hyperlane_core::{ConfigError, ServerConfig};
    /// use std::time::Duration;
    ///
    /// let config = ServerConfig::from_json(r#"{"address": "0.0.0.0:80", "max_body": 65536, "body_timeout": "5s"}"#)?;
    /// assert_eq!(config.get_address(), "0.0.0.0:80");
    /// assert_eq!((config.max_body, config.body_timeout), (65536, Duration::from_secs(5)));
    ///
    /// let error = ServerConfig::from_json(r#"{"max_boddy": 1}"#).unwrap_err();
    /// assert_eq!(error, ConfigError::UnknownKey { path: "max_boddy".to_owned() });
    /// # Ok::<(), ConfigError>(())
    /// ```
    pub fn from_json(json: impl AsRef<str>) -> Result<Self, ConfigError> {
        let value: Value =
            serde_json::from_str(json.as_ref()).map_err(|error| ConfigError::Json {
                line: error.line(),
                column: error.column(),
            })?;
        let mut config = Self::default();
        for (key, value) in object(&value, "")? {
            match key.as_str() {
                "address" => {
                    let address = String::from_json(value, key)?;
                    config.set_address(address);
                }
                _ if config.set_from_json(key, value)? => {}
                _ => return Err(ConfigError::UnknownKey { path: key.clone() }),
            }
        }
        Ok(config)
    }
}

/// A value that JSON can express. `path` is the place of the value, for the error.
pub(super) trait FromJson: Sized {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError>;
}

fn wrong_type(path: &str, expected: &'static str) -> ConfigError {
    ConfigError::WrongType {
        path: path.to_owned(),
        expected,
    }
}

fn object<'a>(
    value: &'a Value,
    path: &str,
) -> Result<&'a serde_json::Map<String, Value>, ConfigError> {
    value
        .as_object()
        .ok_or_else(|| wrong_type(path, "an object"))
}

fn text<'a>(value: &'a Value, path: &str, expected: &'static str) -> Result<&'a str, ConfigError> {
    value.as_str().ok_or_else(|| wrong_type(path, expected))
}

impl FromJson for bool {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        value
            .as_bool()
            .ok_or_else(|| wrong_type(path, "true or false"))
    }
}

impl FromJson for String {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        text(value, path, "a text").map(str::to_owned)
    }
}

/// Declares the conversion of an unsigned number.
macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl FromJson for $type {
            fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
                let number = value.as_u64().and_then(|number| number.try_into().ok());
                number.ok_or_else(|| wrong_type(path, "a whole number in the range of the setting"))
            }
        }
    )*};
}

numbers! { u8 u32 usize }

impl FromJson for Duration {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "a duration with a unit (ms, s, m, h or d), such as \"10s\"";
        let text = text(value, path, EXPECTED)?;
        let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let number = text
            .strip_suffix(unit)
            .and_then(|text| text.parse::<u64>().ok());
        let millis = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(60 * 60_000),
            "d" => Some(24 * 60 * 60_000),
            _ => None,
        };
        let millis = number
            .zip(millis)
            .and_then(|(number, unit)| number.checked_mul(unit));
        millis
            .map(Self::from_millis)
            .ok_or_else(|| wrong_type(path, EXPECTED))
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        match value {
            Value::Null => Ok(None),
            value => T::from_json(value, path).map(Some),
        }
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        let items = value.as_array().ok_or_else(|| wrong_type(path, "a list"))?;
        let items = items.iter().enumerate();
        items
            .map(|(at, item)| T::from_json(item, &format!("{path}[{at}]")))
            .collect()
    }
}

impl FromJson for Cidr {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "an address or a range, such as \"10.0.0.0/8\"";
        let parsed = text(value, path, EXPECTED)?.parse();
        parsed.map_err(|_| wrong_type(path, EXPECTED))
    }
}

impl FromJson for AccessLog {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "\"common\" or \"fields\"";
        match text(value, path, EXPECTED)? {
            "common" => Ok(Self::Common),
            "fields" => Ok(Self::Fields),
            _ => Err(wrong_type(path, EXPECTED)),
        }
    }
}

impl FromJson for ForwardedField {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "\"x_forwarded_for\" or \"forwarded\"";
        match text(value, path, EXPECTED)? {
            "x_forwarded_for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err(wrong_type(path, EXPECTED)),
        }
    }
}

impl FromJson for ServerProtocol {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "\"http1\", \"http2\" or \"http3\"";
        match text(value, path, EXPECTED)? {
            "http1" => Ok(Self::Http1),
            "http2" => Ok(Self::Http2),
            "http3" => Ok(Self::Http3),
            _ => Err(wrong_type(path, EXPECTED)),
        }
    }
}

impl FromJson for Hsts {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        Duration::from_json(value, path).map(Self::new)
    }
}

/// An object with the paths of two PEM files.
#[cfg(feature = "__tls")]
impl FromJson for TlsConfig {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        let (mut certificate, mut key) = (None, None);
        for (name, value) in object(value, path)? {
            let path = format!("{path}.{name}");
            match name.as_str() {
                "certificate_path" => certificate = Some(String::from_json(value, &path)?),
                "private_key_path" => key = Some(String::from_json(value, &path)?),
                _ => return Err(ConfigError::UnknownKey { path }),
            }
        }
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Self::new(certificate, key)),
            _ => Err(wrong_type(
                path,
                "an object with `certificate_path` and `private_key_path`",
            )),
        }
    }
}

#[cfg(feature = "sessions")]
impl FromJson for SessionKey {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        text(value, path, "a text").map(Self::new)
    }
}

#[cfg(feature = "sessions")]
impl FromJson for CookieSecure {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "\"auto\", \"always\" or \"never\"";
        match text(value, path, EXPECTED)? {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(wrong_type(path, EXPECTED)),
        }
    }
}

#[cfg(feature = "sessions")]
impl FromJson for CookieSameSite {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "\"lax\", \"strict\" or \"none\"";
        match text(value, path, EXPECTED)? {
            "lax" => Ok(Self::Lax),
            "strict" => Ok(Self::Strict),
            "none" => Ok(Self::None),
            _ => Err(wrong_type(path, EXPECTED)),
        }
    }
}

#[cfg(feature = "deflate")]
impl FromJson for DeflateConfig {
    fn from_json(value: &Value, path: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (key, value) in object(value, path)? {
            let path = format!("{path}.{key}");
            match key.as_str() {
                "level" => config.level = u8::from_json(value, &path)?,
                "min_size" => config.min_size = usize::from_json(value, &path)?,
                "server_max_window_bits" => {
                    config.server_max_window_bits = u8::from_json(value, &path)?;
                }
                "client_max_window_bits" => {
                    config.client_max_window_bits = u8::from_json(value, &path)?;
                }
                "server_context_takeover" => {
                    config.server_context_takeover = bool::from_json(value, &path)?;
                }
                "client_context_takeover" => {
                    config.client_context_takeover = bool::from_json(value, &path)?;
                }
                "max_ratio" => config.max_ratio = usize::from_json(value, &path)?,
                _ => return Err(ConfigError::UnknownKey { path }),
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_setting_has_a_form() {
        let json = r#"{
            "addresses": ["127.0.0.1:0", "unix:/a"], "nodelay": false, "ttl": 64, "max_connections": null,
            "max_connections_per_address": 7, "trusted_proxies": ["10.0.0.0/8", "::1"],
            "forwarded_field": "forwarded", "header_timeout": "250ms", "ping_interval": null,
            "pong_timeout": "1m", "title_case_headers": true, "shutdown_timeout": "1h"
        }"#;
        let proxies = ["10.0.0.0/8", "::1"].map(|range| range.parse::<Cidr>().unwrap());
        let expected = ServerConfig::default()
            .addresses(vec!["127.0.0.1:0".to_owned(), "unix:/a".to_owned()])
            .nodelay(Some(false))
            .ttl(Some(64))
            .max_connections_per_address(7_usize)
            .trusted_proxies(proxies.to_vec())
            .forwarded_field(ForwardedField::Forwarded)
            .header_timeout(Duration::from_millis(250))
            .ping_interval(None)
            .pong_timeout(Duration::from_secs(60))
            .title_case_headers(true)
            .shutdown_timeout(Duration::from_secs(60 * 60));
        assert_eq!(ServerConfig::from_json(json), Ok(expected));
        assert_eq!(ServerConfig::from_json("{}"), Ok(ServerConfig::default()));
    }

    #[cfg(all(feature = "sessions", feature = "deflate"))]
    #[test]
    fn settings_of_features_have_a_form() {
        let json = r#"{
            "session_ttl": "7d", "session_keys": ["0123456789abcdef0123456789abcdef"], "cookie_secure": "always",
            "cookie_same_site": "none", "deflate": {"level": 9, "server_context_takeover": true}
        }"#;
        let config = ServerConfig::from_json(json).unwrap();
        assert_eq!(
            config.session_keys,
            [SessionKey::new("0123456789abcdef0123456789abcdef")]
        );
        assert_eq!(config.cookie_secure, CookieSecure::Always);
        assert_eq!(config.cookie_same_site, CookieSameSite::None);
        let deflate = DeflateConfig::default()
            .level(9)
            .server_context_takeover(true);
        assert_eq!(config.deflate, Some(deflate));
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn errors_name_the_path() {
        for (json, error) in [
            ("{", "the configuration is not JSON (line 1, column 1)"),
            ("[]", "the configuration is not an object"),
            (r#"{"adress": "h:1"}"#, "unknown setting `adress`"),
            (r#"{"address": 1}"#, "`address` is not a text"),
            (r#"{"addresses": "h:1"}"#, "`addresses` is not a list"),
            (
                r#"{"addresses": ["h:1", 2]}"#,
                "`addresses[1]` is not a text",
            ),
            (r#"{"nodelay": "yes"}"#, "`nodelay` is not true or false"),
            (
                r#"{"max_body": null}"#,
                "`max_body` is not a whole number in the range of the setting",
            ),
            (
                r#"{"max_body": -1}"#,
                "`max_body` is not a whole number in the range of the setting",
            ),
            (
                r#"{"ttl": 4294967296}"#,
                "`ttl` is not a whole number in the range of the setting",
            ),
            (
                r#"{"trusted_proxies": ["10.0.0.0/99"]}"#,
                "`trusted_proxies[0]` is not an address or a range, such as \"10.0.0.0/8\"",
            ),
        ] {
            let found = ServerConfig::from_json(json).unwrap_err();
            assert_eq!(found.to_string(), error, "{json}");
        }
        for duration in [
            r#""10""#,
            r#""s""#,
            "10",
            r#""10 s""#,
            r#""1.5s""#,
            r#""-1s""#,
            r#""99999999999999999999d""#,
        ] {
            let found = ServerConfig::from_json(format!(r#"{{"body_timeout": {duration}}}"#));
            assert!(
                matches!(&found, Err(ConfigError::WrongType { path, .. }) if path == "body_timeout"),
                "{duration}: {found:?}"
            );
        }
    }
}
