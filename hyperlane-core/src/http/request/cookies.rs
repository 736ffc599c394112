//! The cookies of a request.

use cookie::{Cookie, CookieJar};

use super::Request;

impl Request {
    /// Copies the cookies into a jar. If a name is repeated, the jar gets the first cookie of that name: clients send
    /// the cookie with the longest path first (RFC 6265 §5.4).
    pub fn get_cookies(&self) -> CookieJar {
        let mut jar = CookieJar::new();
        for cookie in self.headers.get_all("cookie").flat_map(Cookie::split_parse) {
            // Skips invalid cookies, because browsers also send cookies that other servers of the domain have set.
            if let Ok(cookie) = cookie
                && jar.get(cookie.name()).is_none()
            {
                jar.add_original(cookie.into_owned());
            }
        }
        jar
    }

    /// Copies the value of a cookie; `None` if the cookie is absent.
    pub fn try_get_cookie(&self, name: impl AsRef<str>) -> Option<String> {
        self.headers
            .get_all("cookie")
            .flat_map(Cookie::split_parse)
            .flatten()
            .find(|cookie| cookie.name() == name.as_ref())
            .map(|cookie| cookie.value().to_owned())
    }

    /// Copies the value of a cookie; empty if the cookie is absent.
    pub fn get_cookie(&self, name: impl AsRef<str>) -> String {
        self.try_get_cookie(name).unwrap_or_default()
    }
}
