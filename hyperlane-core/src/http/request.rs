//! A request, as the server parsed it and as the program's functions read it: method, path, query, header fields, body.

#[cfg(feature = "cookies")]
mod cookies;

use std::{fmt, sync::OnceLock};

use serde::de::DeserializeOwned;

use super::{
    HttpVersion, Method, Querys, RequestBody, UpgradeType,
    headers::{Headers, header_accessors, header_spellings},
    method::KnownMethod,
    path::{DecodedPath, InvalidPath, encode_path},
    upgrade::Asked,
    version::KnownVersion,
};
use crate::proto::http::head::Target;

/// The host of a request.
pub type RequestHost = String;
/// The path of a request.
pub type RequestPath = String;

/// A request: head and body.
///
/// No method panics. If a value is absent, a `get_` method returns an empty value, and the `try_get_` method of the
/// same name returns `None`. Query parameters are parsed on first use. A connection fills the same `Request` for each
/// of its requests, and so reuses the memory.
///
/// ```
/// use hyperlane_core::{Method, Request};
///
/// let mut request = Request::default();
/// request.set_method(Method::Post).set_path("/users/Jörg").set_body("{}");
/// assert_eq!(request.get_raw_path(), "/users/J%C3%B6rg");
/// assert_eq!(request.get_body_string(), "{}");
/// assert_eq!(request.try_get_header_back("accept"), None);
/// assert!(request.is_enable_keep_alive());
/// ```
// Every idle WebSocket holds a request. So the parts that few requests have are in boxes.
#[derive(Clone, Default)]
pub struct Request {
    /// The raw path, followed by `?` and the query if there is one.
    target: String,
    /// The length of the raw path; `u32::MAX` if it is longer.
    path_len: u32,
    method: KnownMethod,
    version: KnownVersion,
    /// True if the path contains escapes and `rare` holds its decoded forms.
    escaped: bool,
    /// `reset` keeps the box for a later request.
    rare: OnceLock<Box<Rare>>,
    headers: Headers,
}

/// The parts of a request that few requests have.
#[derive(Clone, Default)]
struct Rare {
    /// The method of a request whose method is [`KnownMethod::OTHER`].
    method: Method,
    /// The version of a request whose version is [`KnownVersion::OTHER`].
    version: HttpVersion,
    /// The host that takes precedence over the `Host` field: the one in the request target, or the one of `set_host`.
    host: Option<Box<str>>,
    /// The decoded forms of a path with escapes.
    decoded: DecodedPath,
    /// The query parameters; empty until the first use.
    querys: OnceLock<Querys>,
    /// The path as a `String`, for a target with a query.
    path: OnceLock<String>,
    body: RequestBody,
    /// The fields after the body; `None` if there are none.
    trailers: Option<Box<Headers>>,
}

/// The trailers of a request without trailers.
static NO_TRAILERS: Headers = Headers::new();

/// The parameters of a request without a query.
static NO_QUERYS: Querys = Querys::new();

/// The body of a request without a body.
static NO_BODY: RequestBody = RequestBody::new();

impl Request {
    /// Borrows the method.
    pub fn get_method(&self) -> &Method {
        match self.method.get() {
            Some(known) => known,
            None => self.rare.get().map_or(&Method::Get, |rare| &rare.method),
        }
    }

    /// Borrows the method mutably.
    pub fn get_mut_method(&mut self) -> &mut Method {
        let method = self.get_method().clone();
        self.method = KnownMethod::OTHER;
        let rare = self.get_mut_rare();
        rare.method = method;
        &mut rare.method
    }

    /// Replaces the method.
    pub fn set_method(&mut self, method: Method) -> &mut Self {
        self.method = KnownMethod::of(&method);
        if self.method == KnownMethod::OTHER {
            self.get_mut_rare().method = method;
        }
        self
    }

    /// Borrows the host that the client named, with its port if there is one. The host is empty if there is none, for
    /// example in a request of an HTTP/1.0 client.
    ///
    /// A host in the target takes precedence over the `Host` field (RFC 9112 §3.2.2).
    pub fn get_host(&self) -> &str {
        match self.rare.get().and_then(|rare| rare.host.as_deref()) {
            Some(host) => host,
            None => self.headers.get("host").unwrap_or_default(),
        }
    }

    /// Replaces the host; the `Host` field stays.
    pub fn set_host(&mut self, host: impl Into<String>) -> &mut Self {
        self.get_mut_rare().host = Some(host.into().into_boxed_str());
        self
    }

    /// Borrows the version.
    pub fn get_version(&self) -> &HttpVersion {
        match self.version.get() {
            Some(known) => known,
            None => self
                .rare
                .get()
                .map_or(&HttpVersion::Http1_1, |rare| &rare.version),
        }
    }

    /// Borrows the version mutably.
    pub fn get_mut_version(&mut self) -> &mut HttpVersion {
        let version = self.get_version().clone();
        self.version = KnownVersion::OTHER;
        let rare = self.get_mut_rare();
        rare.version = version;
        &mut rare.version
    }

    /// Replaces the version.
    pub fn set_version(&mut self, version: HttpVersion) -> &mut Self {
        self.version = KnownVersion::of(&version);
        if self.version == KnownVersion::OTHER {
            self.get_mut_rare().version = version;
        }
        self
    }

    /// Borrows the percent-decoded path. A slash in this path may have been sent as `%2F`.
    /// [`get_raw_path`](Self::get_raw_path) returns the path in which the two differ.
    pub fn path(&self) -> &str {
        self.decoded_path()
            .map_or(self.get_raw_path(), |decoded| &decoded.path)
    }

    /// Borrows the path as sent; `/` if the client sent no path.
    pub fn get_raw_path(&self) -> &str {
        match self.target.get(..self.path_end()) {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// Borrows the query as sent, without the `?`; empty if there is no query.
    pub fn get_raw_query(&self) -> &str {
        let query = self.target.get(self.path_end()..).unwrap_or_default();
        query.get(1..).unwrap_or_default()
    }

    /// Borrows path and query as sent, except that a `?` without a query is removed.
    pub fn get_target(&self) -> &str {
        if self.target.is_empty() {
            "/"
        } else {
            &self.target
        }
    }

    /// Replaces the path; the query stays. `path` is not percent-encoded: the method encodes it for the raw path.
    pub fn set_path(&mut self, path: impl AsRef<str>) -> &mut Self {
        let path = path.as_ref();
        let query = self.get_raw_query().to_owned();
        if let Some(rare) = self.rare.get_mut() {
            rare.path.take();
        }
        self.target.clear();
        encode_path(path, &mut self.target);
        if path.is_empty() {
            self.target.push('/');
        }
        // The decoded forms come from `path` itself. `path` is already decoded, so a `%` in it is not an escape, and to
        // decode it again could fail.
        self.escaped = self.target.contains('%');
        if self.escaped {
            self.get_mut_rare().decoded.assign_decoded(path);
        }
        self.end_path(&query);
        self
    }

    /// Borrows the decoded query parameters; parses them on first use.
    pub fn get_querys(&self) -> &Querys {
        // A target without a query has no parameters, unless the program has set some.
        let are_set = || {
            self.rare
                .get()
                .is_some_and(|rare| rare.querys.get().is_some())
        };
        if self.get_raw_query().is_empty() && !are_set() {
            return &NO_QUERYS;
        }
        self.parsed_querys()
    }

    fn parsed_querys(&self) -> &Querys {
        let rare = self.rare.get_or_init(Box::default);
        rare.querys
            .get_or_init(|| Querys::parse(self.get_raw_query()))
    }

    /// Borrows the query parameters mutably. A change does not alter the raw query.
    pub fn get_mut_querys(&mut self) -> &mut Querys {
        self.parsed_querys();
        #[allow(
            clippy::expect_used,
            reason = "the line above fills the cell, and this borrow is exclusive"
        )]
        self.get_mut_rare().querys.get_mut().expect("filled above")
    }

    /// Replaces the query parameters; the raw query stays.
    pub fn set_querys(&mut self, querys: Querys) -> &mut Self {
        self.get_mut_rare().querys = OnceLock::from(querys);
        self
    }

    /// Borrows the first value of a query parameter.
    pub fn query(&self, name: impl AsRef<str>) -> Option<&str> {
        self.get_querys().get(name).map(String::as_str)
    }

    /// Returns whether a query parameter is present.
    pub fn has_query(&self, name: impl AsRef<str>) -> bool {
        self.query(name).is_some()
    }

    header_accessors!();

    /// Borrows the body.
    pub fn get_body(&self) -> &RequestBody {
        self.rare.get().map_or(&NO_BODY, |rare| &rare.body)
    }

    /// Borrows the body mutably.
    pub fn get_mut_body(&mut self) -> &mut RequestBody {
        &mut self.get_mut_rare().body
    }

    /// Replaces the body.
    pub fn set_body(&mut self, body: impl Into<RequestBody>) -> &mut Self {
        let body = body.into();
        if !body.is_unset() || self.rare.get().is_some() {
            *self.get_mut_body() = body;
        }
        self
    }

    /// Borrows the fields that the client has sent after the body (RFC 9110 §6.5). Empty if it has sent none. On a route that
    /// reads its body as a stream they are always empty: see [`BodyStream::trailers`](crate::BodyStream::trailers).
    pub fn trailers(&self) -> &Headers {
        let trailers = self.rare.get().and_then(|rare| rare.trailers.as_deref());
        trailers.unwrap_or(&NO_TRAILERS)
    }

    pub(crate) fn set_trailers(&mut self, trailers: Headers) {
        if !trailers.is_empty() {
            self.get_mut_rare().trailers = Some(Box::new(trailers));
        }
    }

    /// Returns the protocol that the `Upgrade` fields ask for.
    ///
    /// HTTP/1.0 requests cannot upgrade (RFC 9110 §7.8), so their `Upgrade` fields are ignored.
    /// Requests of HTTP/2 and later have no such field.
    pub fn get_upgrade_type(&self) -> UpgradeType {
        self.asked_upgrade().into()
    }

    /// Returns whether the client allows another request on the connection after this one (RFC 9112 §9.3).
    ///
    /// The result is false for `Connection: close`. Otherwise the result is true for HTTP/1.1 and later, and for
    /// HTTP/1.0 with `Connection: keep-alive`. For other versions, the result is false.
    pub fn is_enable_keep_alive(&self) -> bool {
        if self.headers.has_token("connection", "close") {
            return false;
        }
        match self.get_version() {
            HttpVersion::Http1_1 | HttpVersion::Http2 | HttpVersion::Http3 => true,
            HttpVersion::Http1_0 => self.headers.has_token("connection", "keep-alive"),
            HttpVersion::Http0_9 | HttpVersion::Unknown(_) => false,
        }
    }

    /// Clears the request and keeps its memory for the next request.
    pub(crate) fn reset(&mut self) {
        self.method = KnownMethod::default();
        self.version = KnownVersion::default();
        self.reset_rest();
    }

    /// Resets all but the method and the version.
    #[inline(always)]
    fn reset_rest(&mut self) {
        self.target.clear();
        self.path_len = 0;
        self.escaped = false;
        if let Some(rare) = self.rare.get_mut() {
            rare.reset();
        }
        self.headers.clear();
    }

    /// Releases the memory that the request does not need. A request may live as long as the WebSocket that it opened.
    pub(crate) fn shrink(&mut self) {
        self.target.shrink_to_fit();
        self.headers.shrink_to_fit();
        let is_used = |rare: &Rare| {
            rare.host.is_some()
                || !rare.body.is_unset()
                || rare.trailers.is_some()
                || rare.querys.get().is_some()
                || rare.path.get().is_some()
                || self.method == KnownMethod::OTHER
                || self.version == KnownVersion::OTHER
        };
        if self.escaped {
            self.get_mut_rare().decoded.shrink_to_fit();
        } else if !self.rare.get().is_some_and(|rare| is_used(rare)) {
            self.rare.take();
        }
    }

    /// Resets the request and stores the parts of the request line. The caller sets headers and body.
    ///
    /// Allocates only for an unknown method, for a target with a host, for the first path with escapes, and while
    /// buffers grow. After an error the caller must refuse the request.
    #[inline(always)]
    pub(crate) fn assign_head(
        &mut self,
        method: Method,
        target: &Target<'_>,
        may_have_escapes: bool,
        version: HttpVersion,
    ) -> Result<(), InvalidPath> {
        self.reset_rest();
        let target_path = target.path();
        self.set_method(method);
        self.set_version(version);
        if let Some(host) = target.authority() {
            self.get_mut_rare().host = Some(Box::from(host));
        }
        // A target in absolute form may have no path (RFC 9112 §3.2.2).
        self.target.push_str(if target_path.is_empty() {
            "/"
        } else {
            target_path
        });
        self.end_path(target.query().unwrap_or_default());
        if !may_have_escapes {
            return Ok(());
        }
        match memchr::memchr2(b'%', 0, target_path.as_bytes()) {
            None => Ok(()),
            Some(_) if target_path.contains('\0') => Err(InvalidPath::Nul),
            Some(_) => {
                self.get_mut_rare().decoded.assign(target_path)?;
                self.escaped = true;
                Ok(())
            }
        }
    }

    /// Borrows the path for routing: decoded, except `%2F` and `%25`. [`decode_param`](super::decode_param) decodes a
    /// segment of this path.
    pub(crate) fn routing_path(&self) -> &str {
        self.decoded_path()
            .map_or(self.get_raw_path(), |decoded| &decoded.routing)
    }

    fn decoded_path(&self) -> Option<&DecodedPath> {
        match self.escaped {
            true => self.rare.get().map(|rare| &rare.decoded),
            false => None,
        }
    }

    fn get_mut_rare(&mut self) -> &mut Rare {
        self.rare.get_or_init(Box::default);
        #[allow(
            clippy::expect_used,
            reason = "the line above fills the cell, and this borrow is exclusive"
        )]
        self.rare.get_mut().expect("filled above")
    }

    /// Returns the length of the raw path.
    fn path_end(&self) -> usize {
        match self.path_len {
            // A raw path contains no `?`.
            u32::MAX => self.target.find('?').unwrap_or(self.target.len()),
            len => len as usize,
        }
    }

    /// Records the end of the path and appends the query.
    fn end_path(&mut self, query: &str) {
        self.path_len = u32::try_from(self.target.len()).unwrap_or(u32::MAX);
        if !query.is_empty() {
            self.target.push('?');
            self.target.push_str(query);
        }
    }

    fn asked_upgrade(&self) -> Asked<'_> {
        if self.get_version().is_http1_1_or_higher() {
            Asked::of(self.headers.get_all("upgrade"))
        } else {
            Asked::Other("")
        }
    }
}

impl Rare {
    /// Clears what a later request must not see, and keeps the memory of the decoded path.
    fn reset(&mut self) {
        self.method = Method::default();
        self.version = HttpVersion::default();
        self.host = None;
        self.querys.take();
        self.path.take();
        self.body = RequestBody::new();
        self.trailers = None;
    }
}

/// Methods under the names that published Hyperlane programs call.
impl Request {
    /// Borrows the percent-decoded path, like [`path`](Self::path), as a `String`. Copies the path once if the request
    /// has a query.
    pub fn get_path(&self) -> &RequestPath {
        match self.decoded_path() {
            Some(decoded) => &decoded.path,
            None if !self.target.is_empty() && self.path_end() == self.target.len() => &self.target,
            None => {
                let path = &self.rare.get_or_init(Box::default).path;
                path.get_or_init(|| self.get_raw_path().to_owned())
            }
        }
    }

    /// Copies the first value of a query parameter; `None` if the parameter is absent.
    pub fn try_get_query(&self, name: impl AsRef<str>) -> Option<String> {
        self.query(name).map(str::to_owned)
    }

    /// Copies the first value of a query parameter; empty if the parameter is absent.
    pub fn get_query(&self, name: impl AsRef<str>) -> String {
        self.try_get_query(name).unwrap_or_default()
    }

    /// Same as [`try_get_query`](Self::try_get_query).
    pub fn try_get_query_front(&self, name: impl AsRef<str>) -> Option<String> {
        self.try_get_query(name)
    }

    /// Same as [`get_query`](Self::get_query).
    pub fn get_query_front(&self, name: impl AsRef<str>) -> String {
        self.get_query(name)
    }

    /// Copies the last value of a query parameter; `None` if the parameter is absent.
    pub fn try_get_query_back(&self, name: impl AsRef<str>) -> Option<String> {
        self.get_querys().get_last(name.as_ref()).map(str::to_owned)
    }

    /// Copies the last value of a query parameter; empty if the parameter is absent.
    pub fn get_query_back(&self, name: impl AsRef<str>) -> String {
        self.try_get_query_back(name).unwrap_or_default()
    }

    /// Returns the number of values of a query parameter; `None` if the parameter is absent.
    pub fn try_get_query_size(&self, name: impl AsRef<str>) -> Option<usize> {
        Some(self.get_query_size(name)).filter(|&size| size > 0)
    }

    /// Returns the number of values of a query parameter.
    pub fn get_query_size(&self, name: impl AsRef<str>) -> usize {
        self.get_querys().get_all(name.as_ref()).count()
    }

    /// Returns the number of query parameters.
    pub fn get_querys_size(&self) -> usize {
        self.get_querys().len()
    }

    header_spellings!();

    /// Copies the body as text; invalid UTF-8 becomes U+FFFD.
    pub fn get_body_string(&self) -> String {
        self.get_body().to_string_lossy().into_owned()
    }

    /// Same as [`RequestBody::json`](RequestBody::json).
    ///
    /// # Errors
    /// Returns the error of `serde_json` if the body is not JSON or does not fit `T`.
    pub fn try_get_body_json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.get_body().json()
    }

    /// Deserializes the body as JSON, or returns the default of `T` on an error.
    pub fn get_body_json<T: DeserializeOwned + Default>(&self) -> T {
        self.try_get_body_json().unwrap_or_default()
    }

    /// Returns whether the client asks for a WebSocket. This method does not check the handshake; the upgrade does.
    pub fn is_ws_upgrade_type(&self) -> bool {
        self.asked_upgrade() == Asked::WebSocket
    }

    /// Returns whether the client asks for HTTP/2 without TLS.
    pub fn is_h2c_upgrade_type(&self) -> bool {
        self.asked_upgrade() == Asked::H2c
    }

    /// Returns whether the client asks for TLS.
    pub fn is_tls_upgrade_type(&self) -> bool {
        matches!(self.asked_upgrade(), Asked::Tls(_))
    }

    /// Returns whether the client asks for no upgrade, or for an upgrade to an unknown protocol.
    pub fn is_unknown_upgrade_type(&self) -> bool {
        matches!(self.asked_upgrade(), Asked::Other(_))
    }

    /// Returns the negation of [`is_enable_keep_alive`](Self::is_enable_keep_alive).
    pub fn is_disable_keep_alive(&self) -> bool {
        !self.is_enable_keep_alive()
    }
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.get_method() == other.get_method()
            && self.get_version() == other.get_version()
            && self.get_host() == other.get_host()
            && self.get_target() == other.get_target()
            && self.get_querys() == other.get_querys()
            && self.headers == other.headers
            && self.get_body() == other.get_body()
            && self.trailers() == other.trailers()
    }
}

impl Eq for Request {}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", self.get_method())
            .field("version", self.get_version())
            .field("host", &self.get_host())
            .field("target", &self.get_target())
            .field("headers", &self.headers)
            .field("body", self.get_body())
            .finish()
    }
}

#[cfg(test)]
mod tests;
