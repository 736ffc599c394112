//! The configuration of session cookies, and the session's part in a response head.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use subtle::ConstantTimeEq;

/// A secret key that signs cookies and tokens of sessions (HMAC-SHA256). It needs at least 32 bytes from a secure
/// random source.
///
/// The key is never printed, and it is compared in constant time.
///
/// ```
/// use hyperlane_core::{ServerConfig, SessionKey};
///
/// # fn secret(_: &str) -> String { "0123456789abcdef0123456789abcdef".to_owned() }
/// let config = ServerConfig::default().session_keys(vec![
///     // Signs; the one before it still verifies until its cookies are re-issued.
///     SessionKey::new(secret("SESSION_KEY")),
///     SessionKey::new(secret("SESSION_KEY_BEFORE")),
/// ]);
/// assert!(config.validate().is_ok());
/// assert!(config.session_keys(vec![SessionKey::new("short")]).validate().is_err());
/// ```
#[derive(Clone)]
pub struct SessionKey(Arc<[u8]>);

impl SessionKey {
    /// Minimum length of a key in bytes: that of its signature.
    pub const MIN_BYTES: usize = 32;

    /// Creates a key from these bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 32]> for SessionKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self::new(bytes)
    }
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SessionKey {}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// The rule for sending a session's cookie over TLS only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookieSecure {
    /// According to the request: `Secure` and named `__Host-session` if a trusted proxy reports that the client used
    /// TLS.
    #[default]
    Auto,
    /// Always, for servers behind TLS that no [`trusted_proxies`](crate::ServerConfig) report.
    Always,
    /// Never, for development only.
    Never,
}

/// The cross-site requests with which browsers send a session's cookie (RFC 6265bis §4.1.2.7).
///
/// Sites are wider than origins: `app.example.com` and `api.example.com` are one site. Requests between them always
/// carry the cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookieSameSite {
    /// Only with links to the server that a user follows.
    #[default]
    Lax,
    /// With none: a user who follows a link to the server arrives without a session.
    Strict,
    /// With all. Any page of any site can then send requests in its visitor's name, so every request that changes
    /// something must check `Origin`, as the endpoints of channels and WebSockets do. Browsers accept such a cookie
    /// only over TLS, and some not at all.
    None,
}

impl CookieSameSite {
    fn name(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

impl From<cookie::SameSite> for CookieSameSite {
    fn from(same_site: cookie::SameSite) -> Self {
        match same_site {
            cookie::SameSite::Strict => Self::Strict,
            cookie::SameSite::Lax => Self::Lax,
            cookie::SameSite::None => Self::None,
        }
    }
}

/// Name of the cookie over TLS. Clients accept it only from the host itself, over TLS and for all paths (RFC 6265bis
/// §4.1.3.2).
const SECURE_NAME: &str = "__Host-session";
/// Name of the cookie without TLS.
const PLAIN_NAME: &str = "session";

/// The session's fields in a response head. They are read when the head is written, so resets and replacements of the
/// response do not matter.
#[derive(Debug)]
pub(crate) struct SessionFields {
    name: &'static str,
    same_site: CookieSameSite,
    partitioned: bool,
    /// The value of `Set-Cookie`.
    cookie: Mutex<Option<String>>,
    written: AtomicBool,
}

impl SessionFields {
    /// Creates fields without a cookie. Over plain HTTP, browsers refuse `SameSite=None`, so it becomes `Lax`.
    pub(crate) fn new(secure: bool, same_site: CookieSameSite, partitioned: bool) -> Arc<Self> {
        Arc::new(Self {
            name: Self::name_of(secure),
            same_site: match same_site {
                CookieSameSite::None if !secure => CookieSameSite::Lax,
                same_site => same_site,
            },
            partitioned: partitioned && secure,
            cookie: Mutex::new(None),
            written: AtomicBool::new(false),
        })
    }

    /// Returns the name of the cookie.
    pub(crate) fn name_of(secure: bool) -> &'static str {
        if secure { SECURE_NAME } else { PLAIN_NAME }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.name == SECURE_NAME
    }

    /// Sets the cookie. An empty value with an age of 0 seconds deletes it at the client.
    pub(crate) fn set(&self, value: &str, max_age: u64) {
        let secure = if self.is_secure() { "; Secure" } else { "" };
        let partitioned = if self.partitioned {
            "; Partitioned"
        } else {
            ""
        };
        let cookie = format!(
            "{}={value}; HttpOnly; SameSite={}{secure}{partitioned}; Path=/; Max-Age={max_age}",
            self.name,
            self.same_site.name()
        );
        *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = Some(cookie);
    }

    /// Removes the cookie that was set.
    pub(crate) fn unset(&self) {
        *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns whether a head was written: later changes have no effect.
    pub(crate) fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    /// Returns whether a cookie is set.
    pub(crate) fn sets_cookie(&self) -> bool {
        let cookie = self.cookie.lock().unwrap_or_else(PoisonError::into_inner);
        cookie.is_some()
    }

    /// Returns the cookie for a head that is being written.
    pub(crate) fn write(&self) -> Option<String> {
        self.written.store(true, Ordering::Release);
        self.cookie
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns whether a field of the program is this cookie. A client could choose either of two.
    pub(crate) fn is_own(&self, name: &str, value: &str) -> bool {
        name.eq_ignore_ascii_case("set-cookie")
            && value
                .split_once('=')
                .is_some_and(|(name, _)| name.trim() == self.name)
    }
}

/// Fields of different requests are never equal.
impl PartialEq for SessionFields {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for SessionFields {}

/// Returns the `Cache-Control` of a response that sets a session's cookie: a shared cache must never give the cookie to
/// another client (RFC 9111 §7.3), regardless of the program's own value.
pub(crate) fn private_cache_control<'a>(set: impl Iterator<Item = &'a str>) -> String {
    let directives: Vec<&str> = set
        .flat_map(super::list_items)
        .filter(|directive| {
            let name = directive.split('=').next().unwrap_or_default().trim();
            !name.eq_ignore_ascii_case("public") && !name.eq_ignore_ascii_case("s-maxage")
        })
        .collect();
    let is_private = directives.iter().any(|directive| {
        directive.eq_ignore_ascii_case("private") || directive.eq_ignore_ascii_case("no-store")
    });
    match (is_private, directives.is_empty()) {
        (true, _) => directives.join(", "),
        (false, true) => "private".to_owned(),
        (false, false) => format!("private, {}", directives.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let key = SessionKey::new("0123456789abcdef0123456789abcdef");
        let config = crate::ServerConfig::default().session_keys(vec![key.clone()]);
        assert_eq!(format!("{key:?}"), "SessionKey(..)");
        assert!(!format!("{config:?}").contains("0123"));
        assert_eq!(key, SessionKey::new("0123456789abcdef0123456789abcdef"));
        assert_ne!(key, SessionKey::from([0; 32]));
    }

    #[test]
    fn no_shared_cache_may_keep_a_cookie() {
        for (said, becomes) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["Public", "S-MaxAge=9, no-cache"], "private, no-cache"),
            (&["no-store"], "no-store"),
            (&["max-age=1, Private"], "max-age=1, Private"),
            (&["private=\"x\""], "private, private=\"x\""),
        ] {
            assert_eq!(private_cache_control(said.iter().copied()), becomes);
        }
    }
}
