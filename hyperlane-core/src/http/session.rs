//! Sessions in the heads of messages: the form of the tokens in requests, and the header fields that a session adds to
//! responses.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Name of the session's cookie over TLS. Because of the prefix `__Host-`, clients accept the cookie only from the host
/// itself, over TLS, and with `Path=/` (RFC 6265bis §4.1.3.2).
const SECURE_NAME: &str = "__Host-session";
/// Name of the session's cookie without TLS.
const PLAIN_NAME: &str = "session";

/// The header fields that a request's session adds to the head of the response. The server adds them only when it
/// writes the head, so a hook that resets or replaces the response does not remove them.
#[derive(Debug)]
pub(crate) struct SessionFields {
    name: &'static str,
    /// The attribute `SameSite` of the cookie.
    same_site: &'static str,
    partitioned: bool,
    /// The path of a cookie without the prefix `__Host-`, if it is not `/`.
    path: Option<Box<str>>,
    /// The value of `Set-Cookie`.
    cookie: Mutex<Option<String>>,
    written: AtomicBool,
}

impl SessionFields {
    pub(crate) fn new(
        secure: bool,
        same_site: &'static str,
        partitioned: bool,
        base_path: &str,
    ) -> Arc<Self> {
        let has_path = !secure && !base_path.is_empty();
        Arc::new(Self {
            name: Self::name_of(secure),
            same_site,
            partitioned: partitioned && secure,
            path: has_path.then(|| base_path.into()),
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

    /// Sets the cookie. An empty value with an age of 0 seconds deletes the cookie at the client.
    pub(crate) fn set(&self, value: &str, max_age: u64) {
        let secure = if self.is_secure() { "; Secure" } else { "" };
        let partitioned = if self.partitioned {
            "; Partitioned"
        } else {
            ""
        };
        let path = self.path.as_deref().unwrap_or("/");
        let cookie = format!(
            "{}={value}; HttpOnly; SameSite={}{secure}{partitioned}; Path={path}; Max-Age={max_age}",
            self.name, self.same_site
        );
        *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = Some(cookie);
    }

    /// Undoes [`set`](Self::set): the head then sets no cookie.
    pub(crate) fn unset(&self) {
        *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns whether a head with these fields was written. After that, a change of the cookie does not reach the
    /// client.
    pub(crate) fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    /// Returns the cookie for a head that is being written, and records that a head was written.
    pub(crate) fn write(&self) -> Option<String> {
        self.written.store(true, Ordering::Release);
        self.cookie
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns whether a header field of the program sets the session's cookie. The head omits such a field, because a
    /// client that gets two cookies of one name could use either.
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

/// Returns whether a text has the form of a session's cookie or token: 22 characters of base64url, a time and 43
/// characters of base64url, separated by dots. A text of another form is none of the server's tokens, so it is left to
/// the program.
pub(crate) fn is_session_token(text: &str) -> bool {
    let is_base64 = |text: &str, length: usize| {
        let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        text.len() == length && text.bytes().all(is_of_it)
    };
    let mut parts = text.split('.');
    let (id, time, mac) = (parts.next(), parts.next(), parts.next());
    id.is_some_and(|id| is_base64(id, 22))
        && time.is_some_and(|time| {
            (1..=20).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit())
        })
        && mac.is_some_and(|mac| is_base64(mac, 43))
        && parts.next().is_none()
}

/// Returns the `Cache-Control` of a response that sets a session's cookie. `set` has the values of this field that the
/// program has set. For any values, the result forbids shared caches to store the response: a shared cache must never
/// send the cookie to another client (RFC 9111 §7.3).
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
