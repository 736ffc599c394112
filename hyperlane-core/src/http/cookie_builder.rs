//! A builder of the text of `Set-Cookie` header fields.

use super::is_token;

/// A builder of `Set-Cookie` values (RFC 6265 §4.1) for published Hyperlane programs. New programs pass a
/// [`cookie::Cookie`] to [`Context::set_cookie`](crate::Context::set_cookie).
///
/// ```
/// use hyperlane_core::CookieBuilder;
///
/// let cookie = CookieBuilder::new("theme", "dark").set_path("/").http_only().build();
/// assert_eq!(cookie, "theme=dark; Path=/; HttpOnly");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CookieBuilder {
    name: String,
    value: String,
    expires: Option<String>,
    max_age: Option<i64>,
    domain: Option<String>,
    path: Option<String>,
    same_site: Option<String>,
    secure: bool,
    http_only: bool,
}

impl CookieBuilder {
    /// Creates a cookie from a name and a value.
    pub fn new(name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        Self {
            name: name.as_ref().to_owned(),
            value: value.as_ref().to_owned(),
            ..Self::default()
        }
    }

    /// Sets the expiry of the cookie, as an HTTP date.
    pub fn set_expires(&mut self, date: impl AsRef<str>) -> &mut Self {
        self.expires = Some(date.as_ref().to_owned());
        self
    }

    /// Sets the lifetime of the cookie, in seconds.
    pub fn set_max_age(&mut self, seconds: i64) -> &mut Self {
        self.max_age = Some(seconds);
        self
    }

    /// Sets the domain whose hosts receive the cookie, subdomains included.
    pub fn set_domain(&mut self, domain: impl AsRef<str>) -> &mut Self {
        self.domain = Some(domain.as_ref().to_owned());
        self
    }

    /// Sets the path of the cookie. Clients send the cookie for this path and all paths below it.
    pub fn set_path(&mut self, path: impl AsRef<str>) -> &mut Self {
        self.path = Some(path.as_ref().to_owned());
        self
    }

    /// Sets the attribute `SameSite`: `Strict`, `Lax` or `None`. The attribute decides which cross-site requests carry
    /// the cookie.
    pub fn set_same_site(&mut self, same_site: impl AsRef<str>) -> &mut Self {
        self.same_site = Some(same_site.as_ref().to_owned());
        self
    }

    /// Restricts the cookie to TLS.
    pub fn secure(&mut self) -> &mut Self {
        self.secure = true;
        self
    }

    /// Hides the cookie from scripts.
    pub fn http_only(&mut self) -> &mut Self {
        self.http_only = true;
        self
    }

    /// Returns the value of `Set-Cookie`; empty if a part of the cookie is invalid.
    pub fn build(&self) -> String {
        // The value may contain only cookie-octets, and an attribute only av-octets (RFC 6265 §4.1.1).
        let is_value = self
            .value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte));
        if !is_token(&self.name) || !is_value {
            return String::new();
        }
        let mut text = format!("{}={}", self.name, self.value);
        let max_age = self.max_age.map(|seconds| seconds.to_string());
        let attributes = [
            ("Expires", &self.expires),
            ("Max-Age", &max_age),
            ("Domain", &self.domain),
            ("Path", &self.path),
            ("SameSite", &self.same_site),
        ];
        for (name, value) in attributes {
            let Some(value) = value else { continue };
            if !value
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
            {
                return String::new();
            }
            text.push_str(&format!("; {name}={value}"));
        }
        if self.secure {
            text.push_str("; Secure");
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_what_was_set_and_nothing_that_ends_it_early() {
        let mut cookie = CookieBuilder::new("a", "b");
        cookie
            .set_expires("Thu, 01 Jan 2026 00:00:00 GMT")
            .set_max_age(-1)
            .set_domain("example.com")
            .set_path("/")
            .set_same_site("Lax")
            .secure()
            .http_only();
        assert_eq!(
            cookie.build(),
            "a=b; Expires=Thu, 01 Jan 2026 00:00:00 GMT; Max-Age=-1; Domain=example.com; Path=/; SameSite=Lax; \
             Secure; HttpOnly"
        );
        for (name, value) in [
            ("", "b"),
            ("a b", "b"),
            ("a", "b;c"),
            ("a", "b\r\nc"),
            ("a", "ä"),
        ] {
            assert_eq!(
                CookieBuilder::new(name, value).build(),
                "",
                "{name:?} {value:?}"
            );
        }
        assert_eq!(CookieBuilder::new("a", "").set_path("/;x").build(), "");
        assert_eq!(CookieBuilder::new("a", "").build(), "a=");
    }
}
