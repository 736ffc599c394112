//! The CORS policy of a server or scope: which pages of other origins may read its responses.

use std::{fmt, sync::Arc, time::Duration};

use super::is_token;
use crate::{
    panic::contain,
    proto::http::{
        cors::{CorsPolicy, MAX_AGE},
        origin::{AllowedOrigins, OriginError},
    },
};

/// A function that decides about an origin.
type OriginRule = dyn Fn(&str) -> bool + Send + Sync;

/// The methods that a policy allows by default. If a path has no handler for the method, the page reads the 405.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "QUERY"];

/// The CORS policy of a server or scope: which pages of other origins may read its responses, and which requests they
/// may send (Fetch standard, §3.3).
///
/// [`Server::cors`](crate::Server::cors), [`ServerScope::cors`](crate::ServerScope::cors) and
/// [`Scope::cors`](crate::Scope::cors) take a policy. The server answers preflights itself, and adds the fields to every
/// response to a request of the scope: also to errors, panics, redirects, event streams and handshakes. A field that the
/// program has set keeps its value.
///
/// By default a policy allows no origin, no credentials, the common methods, and all header fields that a page asks for.
///
/// ```
/// use std::time::Duration;
///
/// use hyperlane_core::{Cors, Scope, Server};
///
/// static CORS: Cors = Cors::new()
///     .origins(&["https://app.example", "https://*.preview.example", "http://localhost:*"])
///     .credentials(true)
///     .exposed_headers(&["x-total"])
///     .max_age(Duration::from_secs(3600));
/// static API: Scope = Scope::new("/api").cors(&CORS);
///
/// let mut server = Server::new();
/// server.cors(Cors::new().origin_if(|origin| origin.ends_with(".partner.example")));
/// ```
#[derive(Clone)]
pub struct Cors {
    origins: &'static [&'static str],
    more_origins: Vec<String>,
    rule: Option<&'static OriginRule>,
    shared_rule: Option<Arc<OriginRule>>,
    credentials: bool,
    methods: &'static [&'static str],
    allowed_headers: Option<&'static [&'static str]>,
    exposed_headers: &'static [&'static str],
    max_age: Duration,
}

impl Cors {
    /// Creates a policy that allows no origin yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            origins: &[],
            more_origins: Vec::new(),
            rule: None,
            shared_rule: None,
            credentials: false,
            methods: METHODS,
            allowed_headers: None,
            exposed_headers: &[],
            max_age: MAX_AGE,
        }
    }

    /// Sets the list of allowed origins. An entry is one of these forms:
    ///
    /// - an origin: `https://app.example`, `http://localhost:3000`, `capacitor://localhost`
    /// - all subdomains of a host: `https://*.app.example`; the host itself is not among them
    /// - all ports of a host: `http://localhost:*`
    /// - a host with any scheme: `app.example`, `*.app.example:8443`
    /// - `*`: all origins. Such a policy must not allow credentials.
    ///
    /// The server compares origins without regard to case and to a default port. An invalid entry is an error when the
    /// server starts ([`ServerError::Cors`](crate::ServerError)).
    #[must_use]
    pub const fn origins(mut self, origins: &'static [&'static str]) -> Self {
        self.origins = origins;
        self
    }

    /// Adds an origin that the program computes, in the forms of [`origins`](Self::origins).
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.more_origins.push(origin.into());
        self
    }

    /// Also allows the origins for which `rule` returns true. The argument is the value of `Origin`, for example
    /// `https://app.example` or `null`. The server calls the function for each request from an origin that no list
    /// contains. If the function panics, the origin is not allowed.
    #[must_use]
    pub fn origin_if(mut self, rule: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.shared_rule = Some(Arc::new(rule));
        self
    }

    /// Like [`origin_if`](Self::origin_if), for a policy in a `static`.
    ///
    /// ```
    /// use hyperlane_core::Cors;
    ///
    /// fn is_ours(origin: &str) -> bool {
    ///     origin.strip_prefix("https://").is_some_and(|host| host.ends_with(".example"))
    /// }
    ///
    /// static CORS: Cors = Cors::new().origin_fn(&is_ours);
    /// ```
    #[must_use]
    pub const fn origin_fn(mut self, rule: &'static (dyn Fn(&str) -> bool + Send + Sync)) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Lets pages of the allowed origins send requests with cookies and read the responses. Such pages may also open
    /// WebSockets, use the endpoints of channels, and send unsafe requests with the session's cookie ([`Csrf`](crate::Csrf)).
    /// Default: false.
    #[must_use]
    pub const fn credentials(mut self, credentials: bool) -> Self {
        self.credentials = credentials;
        self
    }

    /// Sets the methods that pages may use. Method names are case-sensitive. Browsers need no permission for `GET`,
    /// `HEAD` and `POST` without special header fields. Default: `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` and
    /// `QUERY`.
    #[must_use]
    pub const fn methods(mut self, methods: &'static [&'static str]) -> Self {
        self.methods = methods;
        self
    }

    /// Sets the header fields that pages may send, in addition to those for which browsers need no permission. Default:
    /// all fields for which a preflight asks.
    #[must_use]
    pub const fn allowed_headers(mut self, names: &'static [&'static str]) -> Self {
        self.allowed_headers = Some(names);
        self
    }

    /// Sets the header fields of responses that pages may read, in addition to those that browsers always show. `*`
    /// stands for all fields, in a policy without credentials. Default: none.
    #[must_use]
    pub const fn exposed_headers(mut self, names: &'static [&'static str]) -> Self {
        self.exposed_headers = names;
        self
    }

    /// Sets the time for which browsers may store the answer to a preflight. Browsers limit this time themselves
    /// (Chromium: 2 hours). Default: 10 minutes. Zero means that browsers ask before every request.
    #[must_use]
    pub const fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Checks the policy and brings it into the form that the server uses.
    pub(crate) fn rules(&self) -> Result<CorsRules, CorsError> {
        let texts = self.origins.iter().copied();
        let texts = texts.chain(self.more_origins.iter().map(String::as_str));
        let (any, named): (Vec<_>, Vec<_>) = texts.partition(|text| text.trim_ascii() == "*");
        let any = !any.is_empty();
        let origins = AllowedOrigins::of(named);
        if let Some(error) = origins.refused() {
            return Err(error.clone().into());
        }
        if any && self.credentials {
            return Err(CorsError::AnyWithCredentials);
        }
        let allowed = self.allowed_headers.unwrap_or_default();
        let names = [self.methods, allowed, self.exposed_headers].concat();
        if let Some(name) = names.iter().find(|name| !is_token(name)) {
            return Err(CorsError::Name((*name).to_owned()));
        }
        // With credentials, browsers take `*` for the name of a field.
        if self.credentials && (names.contains(&"*")) {
            return Err(CorsError::WildcardWithCredentials);
        }
        Ok(CorsRules {
            origins,
            any,
            rule: self.rule,
            shared_rule: self.shared_rule.clone(),
            credentials: self.credentials,
            methods: self.methods,
            allowed_headers: self.allowed_headers.map(|names| names.join(", ")),
            exposed_headers: self.exposed_headers.join(", "),
            max_age: self.max_age,
        })
    }
}

impl Default for Cors {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cors")
            .field("origins", &self.origins)
            .field("more_origins", &self.more_origins)
            .field("credentials", &self.credentials)
            .field("methods", &self.methods)
            .field("allowed_headers", &self.allowed_headers)
            .field("exposed_headers", &self.exposed_headers)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

/// The fault of a [`Cors`] policy, found when the server starts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorsError {
    /// An entry of the origins is invalid.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The policy allows credentials to pages of all origins: any page could act in its visitor's name.
    #[error(
        "`*` as an origin excludes credentials: name the origins, or leave the credentials out"
    )]
    AnyWithCredentials,
    /// The policy has `*` in a list of names and allows credentials. Browsers do not take it for a wildcard then.
    #[error("`*` in a list of names excludes credentials: name the methods and header fields")]
    WildcardWithCredentials,
    /// A name of a method or header field is not a token (RFC 9110 §5.6.2).
    #[error("{0:?} is not a name of a method or header field")]
    Name(String),
}

/// A checked [`Cors`] policy.
#[derive(Clone)]
pub(crate) struct CorsRules {
    origins: AllowedOrigins,
    /// True if the policy allows all origins.
    any: bool,
    rule: Option<&'static OriginRule>,
    shared_rule: Option<Arc<OriginRule>>,
    credentials: bool,
    methods: &'static [&'static str],
    allowed_headers: Option<String>,
    exposed_headers: String,
    max_age: Duration,
}

impl CorsRules {
    /// Returns whether pages of `origin` may read responses.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.any || self.origins.allows(origin) || self.is_allowed_by_rule(origin)
    }

    /// Returns whether pages of `origin` may send requests in their visitor's name.
    pub(crate) fn trusts(&self, origin: &str) -> bool {
        self.credentials && self.allows(origin.trim_ascii())
    }

    fn is_allowed_by_rule(&self, origin: &str) -> bool {
        let mut is_allowed = false;
        let rules = self.rule.into_iter().chain(self.shared_rule.as_deref());
        for rule in rules {
            contain("in the function that decides about an origin", || {
                is_allowed |= rule(origin);
            });
        }
        is_allowed
    }

    pub(crate) fn policy(&self) -> CorsPolicy<'_> {
        CorsPolicy {
            any_origin: self.any,
            methods: self.methods,
            credentials: self.credentials,
            allowed_headers: self.allowed_headers.as_deref(),
            exposed_headers: &self.exposed_headers,
            max_age: self.max_age,
            answers_all: true,
        }
    }
}
