//! Protocol versions (RFC 9110 §2.5).

use std::{convert::Infallible, fmt, str::FromStr};

/// The version of a request.
pub type RequestVersion = HttpVersion;
/// The version of a response.
pub type ResponseVersion = HttpVersion;

/// The HTTP version of a message. Default: HTTP/1.1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/0.9, which the server does not support.
    Http0_9,
    /// HTTP/1.0 (RFC 1945).
    Http1_0,
    /// HTTP/1.1 (RFC 9112).
    #[default]
    Http1_1,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// HTTP/3 (RFC 9114).
    Http3,
    /// Any other version, as written.
    Unknown(String),
}

impl HttpVersion {
    /// Borrows the version as text, for example `HTTP/1.1`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http0_9 => "HTTP/0.9",
            Self::Http1_0 => "HTTP/1.0",
            Self::Http1_1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
            Self::Unknown(text) => text,
        }
    }

    /// Returns whether this is HTTP/0.9.
    pub fn is_http0_9(&self) -> bool {
        matches!(self, Self::Http0_9)
    }

    /// Returns whether this is HTTP/1.0.
    pub fn is_http1_0(&self) -> bool {
        matches!(self, Self::Http1_0)
    }

    /// Returns whether this is HTTP/1.1.
    pub fn is_http1_1(&self) -> bool {
        matches!(self, Self::Http1_1)
    }

    /// Returns whether this is HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2)
    }

    /// Returns whether this is HTTP/3.
    pub fn is_http3(&self) -> bool {
        matches!(self, Self::Http3)
    }

    /// Returns whether this is HTTP/1.1, HTTP/2 or HTTP/3.
    pub fn is_http1_1_or_higher(&self) -> bool {
        matches!(self, Self::Http1_1 | Self::Http2 | Self::Http3)
    }

    /// Returns whether this is any version except [`Unknown`](Self::Unknown).
    pub fn is_http(&self) -> bool {
        !self.is_unknown()
    }

    /// Returns whether this is [`Unknown`](Self::Unknown): a version other than those that this type names.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// The versions that this module knows by name, in the order of [`KnownVersion`]. The first is the default.
static KNOWN: [HttpVersion; 5] = [
    HttpVersion::Http1_1,
    HttpVersion::Http1_0,
    HttpVersion::Http0_9,
    HttpVersion::Http2,
    HttpVersion::Http3,
];

/// A version in one byte: the position of a version with a name in `KNOWN`, or [`OTHER`](Self::OTHER).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KnownVersion(u8);

impl KnownVersion {
    /// The value of a version that is stored elsewhere.
    pub(super) const OTHER: Self = Self(u8::MAX);

    pub(super) fn of(version: &HttpVersion) -> Self {
        Self(match version {
            HttpVersion::Http1_1 => 0,
            HttpVersion::Http1_0 => 1,
            HttpVersion::Http0_9 => 2,
            HttpVersion::Http2 => 3,
            HttpVersion::Http3 => 4,
            HttpVersion::Unknown(_) => return Self::OTHER,
        })
    }

    /// Returns the version; `None` for [`OTHER`](Self::OTHER).
    pub(super) fn get(self) -> Option<&'static HttpVersion> {
        KNOWN.get(usize::from(self.0))
    }
}

impl From<&str> for HttpVersion {
    fn from(text: &str) -> Self {
        match text {
            "HTTP/0.9" => Self::Http0_9,
            "HTTP/1.0" => Self::Http1_0,
            "HTTP/1.1" => Self::Http1_1,
            "HTTP/2" | "HTTP/2.0" => Self::Http2,
            "HTTP/3" | "HTTP/3.0" => Self::Http3,
            _ => Self::Unknown(text.to_owned()),
        }
    }
}

impl FromStr for HttpVersion {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

impl fmt::Display for HttpVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_version_takes_a_byte() {
        for version in &KNOWN {
            assert_eq!(KnownVersion::of(version).get(), Some(version));
        }
        assert_eq!(KnownVersion::of(&HttpVersion::from("X")).get(), None);
        assert_eq!(KnownVersion::default().get(), Some(&HttpVersion::default()));
    }

    #[test]
    fn every_version_comes_back_from_its_text() {
        type Is = fn(&HttpVersion) -> bool;
        let known: [(HttpVersion, Is); 5] = [
            (HttpVersion::Http0_9, HttpVersion::is_http0_9),
            (HttpVersion::Http1_0, HttpVersion::is_http1_0),
            (HttpVersion::Http1_1, HttpVersion::is_http1_1),
            (HttpVersion::Http2, HttpVersion::is_http2),
            (HttpVersion::Http3, HttpVersion::is_http3),
        ];
        for (version, is) in &known {
            assert_eq!(HttpVersion::from(version.as_str()), *version);
            assert!(is(version) && version.is_http() && !version.is_unknown());
            assert_eq!(known.iter().filter(|(other, _)| is(other)).count(), 1);
        }
        assert_eq!(HttpVersion::default().to_string(), "HTTP/1.1");
    }

    #[test]
    fn only_1_1_and_later_are_1_1_or_higher() {
        let higher = |text: &str| HttpVersion::from(text).is_http1_1_or_higher();
        assert!(higher("HTTP/1.1") && higher("HTTP/2.0") && higher("HTTP/3"));
        assert!(!higher("HTTP/1.0") && !higher("HTTP/0.9") && !higher("HTTP/9"));
    }

    #[test]
    fn unknown_text_is_kept() {
        let version: HttpVersion = "http/1.1".parse().unwrap();
        assert!(version.is_unknown() && !version.is_http());
        assert_eq!(version.to_string(), "http/1.1");
    }
}
