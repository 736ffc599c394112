//! The path under which a proxy publishes the server, in the paths that clients get.

use std::borrow::Cow;

use super::Context;
use crate::{
    config::ServerConfig,
    proto::http::forwarded::{ForwardedField, read_prefix},
};

/// Returns whether responses of a server may need the path under which it is published.
pub(super) fn may_have_base_path(config: &ServerConfig) -> bool {
    !config.base_path.is_empty()
        || (!config.trusted_proxies.is_empty()
            && config.forwarded_field == ForwardedField::XForwardedFor)
}

impl Context {
    /// Returns the path under which a proxy publishes the server, without a slash at its end: the value of
    /// `X-Forwarded-Prefix` from a trusted proxy, or else [`ServerConfig::base_path`](crate::ServerConfig). It is empty
    /// for a server at the root of its host.
    ///
    /// Put it before the paths in pages. The server itself puts it before redirects and the paths of cookies.
    ///
    /// ```
    /// use hyperlane_core::{Context, Html};
    ///
    /// async fn page(ctx: &mut Context) -> Html<String> {
    ///     Html(format!("<a href=\"{}/orders\">Orders</a>", ctx.base_path()))
    /// }
    /// ```
    pub fn base_path(&self) -> Cow<'_, str> {
        let Some(connection) = &self.connection else {
            return Cow::Borrowed("");
        };
        let config = &connection.env.config;
        if !may_have_base_path(config) {
            return Cow::Borrowed("");
        }
        let headers = self.get_request().get_headers();
        let reported = match config.forwarded_field {
            ForwardedField::XForwardedFor => read_prefix(
                |name| headers.get_all(name).collect::<Vec<_>>(),
                connection.peer().address().map(|peer| peer.ip()),
                &config.trusted_proxies,
            ),
            ForwardedField::Forwarded => None,
        };
        reported.map_or(Cow::Borrowed(&*config.base_path), Cow::Owned)
    }

    /// Puts the base path before `location` and the paths of cookies, once per value.
    #[cold]
    pub(super) fn add_base_path(&mut self) {
        let headers = self.get_response().get_headers();
        if !headers.contains("location") && !headers.contains("set-cookie") {
            return;
        }
        let base = self.base_path().into_owned();
        if base.is_empty() {
            return;
        }
        let known = &mut self.extras.get_or_insert_default().with_base_path;
        let response = self.response.get_or_insert_default();
        let mut once = |value: &str, changed: String| {
            let is_known = known.iter().any(|known| known == value);
            if !is_known && changed != value {
                known.push(changed.clone());
            }
            if is_known { value.to_owned() } else { changed }
        };
        let location = response.get_headers().get("location");
        if let Some(location) = location.filter(|location| is_local(location)) {
            let location = once(location, format!("{base}{location}"));
            response.set_header("location", location);
        }
        let cookies = response.get_headers().get_all("set-cookie");
        let cookies: Vec<String> = cookies
            .map(|cookie| once(cookie, below(&base, cookie)))
            .collect();
        if !cookies.is_empty() {
            response.remove_header("set-cookie");
            for cookie in cookies {
                response.add_header("set-cookie", cookie);
            }
        }
    }
}

/// Returns whether a `location` is a path on the server itself. `//host/path` is not.
fn is_local(location: &str) -> bool {
    location.starts_with('/') && !location.starts_with("//") && !location.starts_with("/\\")
}

/// Puts the base path before the path of a cookie. The name prefix `__Host-` (RFC 6265bis §4.1.3.2), which browsers
/// compare without regard to case, requires `Path=/`.
fn below(base: &str, cookie: &str) -> String {
    let prefix = cookie.trim_ascii_start().get(..7);
    if prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case("__host-")) {
        return cookie.to_owned();
    }
    let parts = cookie.split(';').enumerate().map(|(at, part)| {
        let (name, path) = part.split_once('=').unwrap_or((part, ""));
        let is_path = at > 0 && name.trim_ascii().eq_ignore_ascii_case("path");
        match path.trim_ascii() {
            "/" if is_path => Cow::Owned(format!("{name}={base}")),
            path if is_path && path.starts_with('/') => Cow::Owned(format!("{name}={base}{path}")),
            _ => Cow::Borrowed(part),
        }
    });
    parts.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::{below, is_local};

    #[test]
    fn the_path_of_a_cookie_gets_the_base_path() {
        for (cookie, expected) in [
            ("a=1; Path=/", "a=1; Path=/app"),
            (
                "a=1; Secure; path=/x; HttpOnly",
                "a=1; Secure; path=/app/x; HttpOnly",
            ),
            ("a=1", "a=1"),
            ("a=1; Path=", "a=1; Path="),
            ("path=/; Secure", "path=/; Secure"),
            ("__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure"),
            ("__host-a=1; Path=/; Secure", "__host-a=1; Path=/; Secure"),
            (
                "__Secure-a=1; Path=/; Secure",
                "__Secure-a=1; Path=/app; Secure",
            ),
        ] {
            assert_eq!(below("/app", cookie), expected);
        }
    }

    #[test]
    fn only_paths_of_the_server_are_local() {
        assert!(is_local("/") && is_local("/x?y#z"));
        for other in ["https://a/", "//a", "/\\a", "x", "", "?x", "#x"] {
            assert!(!is_local(other), "{other}");
        }
    }
}
