//! The check of unsafe requests with the session's cookie: the protection against cross-site request forgery.

use super::Context;
use crate::{
    error::RequestError,
    http::Csrf,
    proto::http::{fetch::is_own_site, origin::AllowedOrigins},
};

/// The public text of a refusal.
const REFUSED: &str = "a page of another site has sent this request: the server takes no request with the session's \
    cookie from it";

impl Context {
    /// Checks a request whose method is not one of the common safe ones.
    ///
    /// # Errors
    /// Returns a 403 if a page of another origin, which the server does not trust, has sent the request with the
    /// session's cookie.
    #[cold]
    pub(crate) fn check_csrf(&self, policy: Csrf) -> Result<(), RequestError> {
        let request = self.get_request();
        let is_safe = request.get_method().as_str() == "QUERY";
        if policy == Csrf::Off || is_safe || !self.carries_session_cookie() {
            return Ok(());
        }
        let origins = || request.get_headers().get_all("origin");
        let site = self.fetch_metadata().site.map(str::trim_ascii);
        let passes = match site {
            Some(site) if is_own_site(site) => true,
            Some("same-site") if policy == Csrf::SameSite => true,
            // The browser says that the page is not of the server's own origin.
            Some(_) => {
                origins().next().is_some() && origins().all(|origin| self.trusts_origin(origin))
            }
            // The client is no browser, or a browser on plain HTTP. Such a browser still sends `Origin`.
            None => origins().all(|origin| self.judge(origin, &AllowedOrigins::default()).is_ok()),
        };
        if passes {
            return Ok(());
        }
        let peer = self.connection.as_ref().map(|connection| connection.peer());
        tracing::warn!(
            peer = peer.map(tracing::field::display),
            method = request.get_method().as_str(),
            path = request.get_path(),
            site,
            origin = origins().next(),
            "cross-site request with the session's cookie refused: allow the page by `allowed_origins` or `Cors`, or \
             exempt the path by `csrf_exempt`"
        );
        Err(RequestError::refused(403, REFUSED))
    }
}
