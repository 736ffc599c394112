//! Cookies (RFC 6265): the cookies that the client sent, and the cookies that a response sets.

use cookie::{Cookie, CookieJar};

use crate::{Context, http::is_token};

/// Returns whether a cookie is well-formed. A `;` in a value would begin an attribute. Clients remove spaces at both
/// ends of a value (RFC 6265 §5.2), so such a value would change.
fn is_well_formed(cookie: &Cookie<'_>) -> bool {
    let parts = [Some(cookie.value()), cookie.path(), cookie.domain()];
    is_token(cookie.name())
        && parts.into_iter().flatten().all(|part| {
            part.trim() == part && !part.contains(|char: char| char == ';' || char.is_control())
        })
}

impl Context {
    /// Returns the cookies that the client sent. If several cookies have the same name, the first one applies, because
    /// it belongs to the longest path (RFC 6265 §5.4).
    ///
    /// The program may change the returned jar. [`set_cookies`](Self::set_cookies) sends these changes to the client.
    pub fn cookies(&self) -> CookieJar {
        self.get_request().get_cookies()
    }

    /// Returns the value of a cookie that the client sent.
    pub fn cookie(&self, name: impl AsRef<str>) -> Option<String> {
        self.get_request().try_get_cookie(name)
    }

    /// Sets a cookie. Replaces a cookie of the same name that this response has already set.
    ///
    /// The server logs a malformed cookie and does not send it. A cookie is malformed if its name is no token, or if
    /// its value, path or domain contains a `;` or a control character, or begins or ends with a space.
    ///
    /// ```
    /// use hyperlane_core::{Context, cookie::{Cookie, SameSite}};
    ///
    /// fn remember(ctx: &mut Context) {
    ///     ctx.set_cookie(
    ///         Cookie::build(("theme", "dark")).path("/").http_only(true).same_site(SameSite::Lax),
    ///     );
    /// }
    /// ```
    pub fn set_cookie<'c>(&mut self, cookie: impl Into<Cookie<'c>>) -> &mut Self {
        let cookie = cookie.into();
        if !is_well_formed(&cookie) {
            tracing::error!(name = cookie.name(), "malformed cookie dropped");
            return self;
        }
        let response = self.get_mut_response();
        let earlier: Vec<String> = response
            .get_headers()
            .get_all("set-cookie")
            .filter(|value| {
                value
                    .split_once('=')
                    .is_some_and(|(name, _)| name == cookie.name())
            })
            .map(str::to_owned)
            .collect();
        for value in earlier {
            response.remove_header_value("set-cookie", value);
        }
        response.add_header("set-cookie", cookie.to_string());
        self
    }

    /// Removes a cookie from the client. Path and domain must be the same as when the cookie was set.
    pub fn remove_cookie<'c>(&mut self, cookie: impl Into<Cookie<'c>>) -> &mut Self {
        let mut cookie = cookie.into();
        cookie.make_removal();
        self.set_cookie(cookie)
    }

    /// Sends the cookies that the program added to or removed from a jar of [`cookies`](Self::cookies).
    pub fn set_cookies(&mut self, jar: &CookieJar) -> &mut Self {
        for cookie in jar.delta() {
            self.set_cookie(cookie.clone());
        }
        self
    }
}

#[cfg(feature = "cookies-secure")]
impl Context {
    /// Returns the value of a cookie that [`set_signed_cookie`](Self::set_signed_cookie) has set with this key. Returns
    /// `None` if the client has changed the cookie.
    pub fn signed_cookie(&self, key: &cookie::Key, name: impl AsRef<str>) -> Option<String> {
        self.cookies()
            .signed(key)
            .get(name.as_ref())
            .map(|cookie| cookie.value().to_owned())
    }

    /// Sets a cookie that the client can read but not change. An HMAC over name and value protects it. A malformed
    /// cookie is not sent, as in [`set_cookie`](Self::set_cookie).
    pub fn set_signed_cookie(
        &mut self,
        key: &cookie::Key,
        cookie: impl Into<Cookie<'static>>,
    ) -> &mut Self {
        let mut jar = CookieJar::new();
        jar.signed_mut(key).add(cookie);
        self.set_cookies(&jar)
    }

    /// Returns the value of a cookie that [`set_private_cookie`](Self::set_private_cookie) has set with this key.
    /// Returns `None` if the client has changed the cookie.
    pub fn private_cookie(&self, key: &cookie::Key, name: impl AsRef<str>) -> Option<String> {
        self.cookies()
            .private(key)
            .get(name.as_ref())
            .map(|cookie| cookie.value().to_owned())
    }

    /// Sets a cookie that the client can neither read nor change. The cookie is encrypted with AES-256-GCM.
    pub fn set_private_cookie(
        &mut self,
        key: &cookie::Key,
        cookie: impl Into<Cookie<'static>>,
    ) -> &mut Self {
        let mut jar = CookieJar::new();
        jar.private_mut(key).add(cookie);
        self.set_cookies(&jar)
    }
}
