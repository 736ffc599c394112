//! The protection against cross-site request forgery, as a setting.

/// The pages whose unsafe requests the server accepts with the session's cookie: the protection against cross-site
/// request forgery.
///
/// The server checks requests with methods other than `GET`, `HEAD`, `OPTIONS`, `TRACE` and `QUERY` that carry the
/// session's cookie. It decides by `Sec-Fetch-Site`, or else by `Origin`. It refuses a request by 403 and logs a
/// warning. Requests with neither field pass, because they come from a program and not from a page. Pages of the
/// origins in [`ServerConfig::allowed_origins`](crate::ServerConfig) pass, and those of a [`Cors`](crate::Cors) policy
/// with credentials. The endpoints of channels check all requests by themselves.
///
/// [`Server::csrf`](crate::Server::csrf), [`ServerScope::csrf`](crate::ServerScope::csrf),
/// [`Scope::csrf`](crate::Scope::csrf), [`At::csrf`](crate::At::csrf) and
/// [`Server::csrf_exempt`](crate::Server::csrf_exempt) change the setting. The innermost one applies.
///
/// ```
/// use hyperlane_core::{Csrf, Server};
///
/// let mut server = Server::new();
/// // The login provider's page posts a form to this path.
/// server.at("/login/callback").csrf(Csrf::Off).post(async |form: String| form.len().to_string());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Csrf {
    /// Only pages of the server's own origin pass, and requests that the user caused without a page. The default.
    #[default]
    SameOrigin,
    /// Pages of the same site pass, too: of `app.example.com` for a server at `api.example.com`. Every host of the site
    /// must then be trustworthy.
    SameSite,
    /// All requests pass. For routes that check the request by other means, such as a signature or a token in the
    /// form.
    Off,
}
