//! Cookies (RFC 6265): the cookies that the client sent, and the cookies that a response sets.

use cookie::{Cookie, CookieJar};

use crate::{Context, http::is_token};

/// Returns whether a cookie is well-formed; [`Context::set_cookie`] lists the conditions. A `;` in a value would begin
/// an attribute. Clients remove white space at both ends of a value (RFC 6265 §5.2), so a value with white space at an
/// end would change.
fn is_well_formed(cookie: &Cookie<'_>) -> bool {
    let parts = [Some(cookie.value()), cookie.path(), cookie.domain()];
    is_token(cookie.name())
        && parts.into_iter().flatten().all(|part| {
            part.trim() == part && !part.contains(|char: char| char == ';' || char.is_control())
        })
}

impl Context {
    /// Returns the cookies that the client sent. If several cookies have the same name, the first one applies. Clients
    /// send the cookie with the longest path first (RFC 6265 §5.4).
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
    /// The server logs a malformed cookie and does not send it. A cookie is malformed if its name is no token (RFC 9110
    /// §5.6.2). It is also malformed if its value, path or domain contains a `;` or a control character, or begins or
    /// ends with white space.
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

    /// Sets the cookies that the program added to a jar of [`cookies`](Self::cookies). From the client, removes the
    /// cookies that the program removed from the jar.
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
    /// `None` if the client has not sent the cookie, or has changed its value.
    pub fn signed_cookie(&self, key: &cookie::Key, name: impl AsRef<str>) -> Option<String> {
        self.cookies()
            .signed(key)
            .get(name.as_ref())
            .map(|cookie| cookie.value().to_owned())
    }

    /// Sets a cookie whose value the client can read but not change. An HMAC protects the value. The HMAC does not
    /// cover the name, so the client can send the value under the name of another signed cookie. A malformed cookie is
    /// not sent, as in [`set_cookie`](Self::set_cookie).
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
    /// Returns `None` if the client has not sent the cookie, or has changed it.
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
