//! The context of a request: the request, its response, and the values that the program's functions store for each
//! other.

mod base_path;
#[cfg(feature = "cookies")]
mod cookies;
pub(crate) mod cors;
mod csrf;
mod failure;
#[cfg(feature = "forms")]
mod forms;
pub(crate) mod further;
pub(crate) mod params;
#[cfg_attr(not(feature = "sessions"), path = "context/no_sessions.rs")]
mod session;
pub(crate) mod states;
pub(crate) mod typed;
mod values;

use std::{
    any::Any,
    borrow::Cow,
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
};

use self::{params::RouteParams, states::States};
use crate::{
    EntityTag, Request, Response, Validators,
    conn::link::Link,
    error::{PanicData, RequestError},
    exchange::body::{BodyStream, Incoming},
    http::constants::STRICT_TRANSPORT_SECURITY,
    http::{Failure, Head, Precondition, cors::CorsRules, describe},
    panic::contain,
    proto::http::forwarded::{self, Forwarded},
    session::Sessions,
};

/// Data that all contexts of a server share.
#[derive(Clone, Default)]
pub(crate) struct Program {
    pub(crate) states: States,
    /// The server's sessions. `None` before a server runs.
    pub(crate) sessions: Option<Arc<Sessions>>,
    /// The response middleware of each chain as one function, for a hook that sends the head before the pipeline
    /// reaches the middleware. The values are of the type `stream::Middleware`. The type is hidden by `Any`, because
    /// this module may not import from the higher module `stream`. `None` for a chain without response middleware.
    pub(crate) early_middleware: Vec<Option<Arc<dyn Any + Send + Sync>>>,
    /// The CORS policy of each chain.
    pub(crate) cors: Vec<Option<Arc<CorsRules>>>,
    /// The rules for requests that hooks read themselves: first those of each chain, then those of routes that differ
    /// from their chain.
    pub(crate) rules: Vec<further::Rules>,
}

/// The kind of hook that the pipeline runs now. Hooks are the program's functions that handle requests: routes,
/// middleware and error hooks. `Route` applies only while the hook of the route runs, and `Middleware` at all other
/// times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Middleware,
    Route,
}

/// A failure inside middleware that wraps. The pipeline runs the error hooks for it after the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caught {
    Refusal,
    Panic,
}

/// Values that hooks of a request store for later hooks, by name.
pub type Attributes = HashMap<String, Arc<dyn Any + Send + Sync>>;

/// The values that the hooks of a request store for each other.
#[derive(Default)]
struct Stored {
    attributes: Attributes,
    /// The values of [`Context::insert`], one per type.
    by_type: Vec<Box<dyn Any + Send + Sync>>,
}

/// A copy has the attributes only, because the types of the other values need not be `Clone`.
impl Clone for Stored {
    fn clone(&self) -> Self {
        Self {
            attributes: self.attributes.clone(),
            by_type: Vec::new(),
        }
    }
}

/// Data that few requests need, in a box of its own.
#[derive(Clone, Default)]
struct Extras {
    /// True for a further request, which a hook has read itself.
    is_further: bool,
    stored: Option<Box<Stored>>,
    // `panic` and `error` are boxed: the other fields may live long, and must not reserve space for rare errors.
    panic: Option<Box<PanicData>>,
    error: Option<Box<RequestError>>,
    caught: Option<Caught>,
    /// The address of the client, as trusted proxies report it. It is stored here before the request's header fields
    /// are dropped.
    client: Option<IpAddr>,
    body: Option<Arc<Incoming>>,
    session: session::RequestSession,
    /// The response as it was before the route.
    saved_response: Option<Box<Response>>,
    /// The public text of the error that ends a WebSocket. The Close frame has this text.
    end_reason: Option<Box<Cow<'static, str>>>,
    /// The CORS fields of the response, if the endpoint or the scope accepts other origins.
    cors: Option<Box<cors::RequestCors>>,
    /// The values of `location` and `set-cookie` that already have the base path. [`Context::head`] may run more than
    /// once for a response, for example if a handler answers a handshake that was accepted.
    with_base_path: Vec<String>,
}

impl Drop for Extras {
    fn drop(&mut self) {
        // If the destructor of a value panics, the panic is logged. The connection and the other destructors continue.
        let Some(stored) = self.stored.take() else {
            return;
        };
        for value in stored.attributes.into_values() {
            contain("while an attribute was dropped", || drop(value));
        }
        for value in stored.by_type {
            contain("while a value of a request was dropped", || drop(value));
        }
    }
}

/// A request, its response, and the values that hooks store for each other.
///
/// The requests of a connection use one context in turn. The server resets the context between requests.
#[derive(Clone, Default)]
pub struct Context {
    request: Request,
    /// The response; `None` until the first change. An upgraded connection has no response.
    response: Option<Box<Response>>,
    route_params: RouteParams,
    extras: Option<Box<Extras>>,
    pub(crate) program: Arc<Program>,
    /// The connection; `None` for a context that the program created itself.
    pub(crate) connection: Option<Arc<Link>>,
    /// The index of the next response middleware. Each response middleware runs once per request.
    pub(crate) response_middleware_at: u16,
    /// The index of the request's chain, the hooks of its scope.
    pub(crate) chain: u16,
    pub(crate) stage: Stage,
    /// True if the response can return to its state before the route.
    can_roll_back: bool,
    /// True if the head of an upgrade or event stream was sent. No header field can be set any more.
    head_is_out: bool,
    /// True if heads may get the path under which the server is published, or the field of HSTS. The value is the same
    /// for all requests of a connection.
    completes_heads: bool,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("request", &self.request)
            .field("response", self.get_response())
            .field("route_params", &self.route_params)
            .finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn new(program: Arc<Program>, connection: Arc<Link>) -> Self {
        let config = &connection.env.config;
        let completes_heads = base_path::may_have_base_path(config) || config.hsts.is_some();
        Self {
            request: Request::default(),
            response: None,
            route_params: RouteParams::default(),
            extras: None,
            // All fields are listed, because `..Self::default()` would allocate a `Program` per connection.
            program,
            connection: Some(connection),
            response_middleware_at: 0,
            chain: 0,
            stage: Stage::default(),
            can_roll_back: false,
            head_is_out: false,
            completes_heads,
        }
    }

    /// Resets the context for the next request. Allocated capacities remain.
    #[inline]
    pub(crate) fn reset(&mut self) {
        if let Some(response) = &mut self.response {
            response.reset();
            response.set_session(None);
        }
        self.route_params.clear();
        if self.extras.is_some() {
            self.extras = None;
        }
        self.stage = Stage::Middleware;
        self.can_roll_back = false;
        self.response_middleware_at = 0;
        self.chain = 0;
        self.head_is_out = false;
    }

    /// Returns whether an error stored a failure in the response.
    #[inline]
    pub(crate) fn has_failure(&self) -> bool {
        let response = self.response.as_ref();
        response.is_some_and(|response| response.has_failure())
    }

    /// Removes and returns the failure that an error stored in the response.
    pub(crate) fn take_failure(&mut self) -> Option<Box<Failure>> {
        self.response.as_mut()?.take_failure()
    }

    /// Frees the data that an upgraded connection does not need.
    pub(crate) fn shrink(&mut self) {
        // `Request::shrink` drops the header fields that name the client. So the client's address is saved first.
        if let Some(client) = self.forwarded().and_then(|forwarded| forwarded.client) {
            self.extras.get_or_insert_default().client = Some(client);
        }
        self.request.shrink();
        self.response = None;
        self.discard_saved_response();
        self.head_is_out = true;
        if let Some(extras) = &mut self.extras {
            extras.cors = None;
            extras.with_base_path = Vec::new();
        }
        self.shrink_session();
    }

    /// Returns the address of the peer: the other end of the socket, which may be a proxy. Returns `None` for a Unix
    /// socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.connection.as_ref()?.peer().address()
    }

    /// Returns the address of the client, as the proxies in [`ServerConfig::trusted_proxies`](crate::ServerConfig)
    /// report it. If the peer is not a trusted proxy, or if it reports no valid address, returns the address of the
    /// peer. An IPv4 address in IPv6 form (`::ffff:192.0.2.1`) is returned as IPv4.
    ///
    /// Use the address for limits and logs, not as an identity: many clients share one address.
    ///
    /// ```
    /// use hyperlane_core::{Context, Server};
    ///
    /// let mut server = Server::new();
    /// server.get_mut_server_config().trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    ///
    /// fn log(ctx: &Context) {
    ///     println!("{:?} by way of {:?}", ctx.client_addr(), ctx.peer_addr());
    /// }
    /// ```
    pub fn client_addr(&self) -> Option<IpAddr> {
        self.extras
            .as_ref()
            .and_then(|extras| extras.client)
            .or_else(|| self.forwarded()?.client)
            .or_else(|| self.peer_addr().map(|peer| peer.ip()))
            .map(|address| address.to_canonical())
    }

    /// Returns the scheme by which the client has sent the request: `https` over TLS, else `http`. If the peer is one of
    /// the [`trusted_proxies`](crate::ServerConfig), the scheme is the one that the proxy reports.
    ///
    /// ```
    /// use hyperlane_core::Context;
    ///
    /// fn absolute(ctx: &Context, path: &str) -> String {
    ///     format!("{}://{}{path}", ctx.scheme(), ctx.get_request().get_host())
    /// }
    /// ```
    pub fn scheme(&self) -> &'static str {
        match self.is_secure() {
            true => "https",
            false => "http",
        }
    }

    /// Returns the facts of the connection's TLS. Returns `None` for a connection without TLS, even if a proxy reports
    /// that its own client uses TLS.
    #[cfg(feature = "__tls")]
    pub fn tls(&self) -> Option<&crate::tls::TlsInfo> {
        self.connection.as_ref()?.facts.tls()
    }

    /// Returns whether the client uses TLS. The report of a trusted proxy counts more than the connection of the proxy.
    pub(crate) fn is_secure(&self) -> bool {
        let reported = self.forwarded().and_then(|forwarded| forwarded.secure);
        let connection = self.connection.as_ref();
        reported.unwrap_or_else(|| connection.is_some_and(|link| link.facts.is_tls()))
    }

    /// Returns the data that trusted proxies report about the request.
    pub(crate) fn forwarded(&self) -> Option<Forwarded<'_>> {
        let connection = self.connection.as_ref()?;
        let config = &connection.env.config;
        if config.trusted_proxies.is_empty() {
            return None;
        }
        let headers = self.request.get_headers();
        forwarded::read(
            config.forwarded_field,
            |name| headers.get_all(name).collect::<Vec<_>>(),
            connection.peer().address().map(|peer| peer.ip()),
            &config.trusted_proxies,
        )
    }

    /// Returns the request.
    pub fn get_request(&self) -> &Request {
        &self.request
    }

    /// Returns the request for changes. Later hooks see the changes.
    pub fn get_mut_request(&mut self) -> &mut Request {
        &mut self.request
    }

    /// Replaces the request.
    pub fn set_request(&mut self, request: Request) -> &mut Self {
        self.request = request;
        self
    }

    /// Returns the response.
    pub fn get_response(&self) -> &Response {
        static DEFAULT: LazyLock<Response> = LazyLock::new(Response::default);
        self.response.as_deref().unwrap_or(&DEFAULT)
    }

    /// Returns the response for changes. The server sends it after the last hook, if no hook has sent a response
    /// before.
    pub fn get_mut_response(&mut self) -> &mut Response {
        self.response.get_or_insert_default()
    }

    /// Returns the head of the response, with the fields of the session and of CORS. All heads of responses come from
    /// this function.
    #[inline]
    pub(crate) fn head(&mut self) -> Head<'_> {
        if self.extras.is_some() {
            self.attach_session();
            self.attach_cors();
        }
        if self.completes_heads {
            self.add_base_path();
            self.add_hsts();
        }
        Head::new(self.get_response())
    }

    /// Adds the field `strict-transport-security` to a response over TLS. A field of the program stays.
    #[cold]
    fn add_hsts(&mut self) {
        let link = self.connection.clone();
        let Some(hsts) = link.as_ref().and_then(|link| link.env.config.hsts.as_ref()) else {
            return;
        };
        if self.is_secure() {
            let response = self.get_mut_response();
            if !response.get_headers().contains(STRICT_TRANSPORT_SECURITY) {
                response.set_header(STRICT_TRANSPORT_SECURITY, &hsts.value);
            }
        }
    }

    /// Returns the request, and the response for changes.
    pub(crate) fn request_and_response(&mut self) -> (&Request, &mut Response) {
        (&self.request, self.response.get_or_insert_default())
    }

    /// Evaluates the conditions of the request (RFC 9110 §13) against the entity tag of the current content.
    ///
    /// Returns true if the response is complete: 304 if the client already has the current content, or 412 if the
    /// client's condition fails for a method that changes content. Returns false if the hook has to send the content.
    /// Sets the field `etag`, except if the response is a 412.
    ///
    /// ```
    /// use hyperlane_core::{Context, EntityTag};
    ///
    /// fn page(ctx: &mut Context, revision: u64) {
    ///     if ctx.respond_if_none_match(EntityTag::strong(revision.to_string())) {
    ///         return;
    ///     }
    ///     ctx.get_mut_response().set_body("rendered at some cost");
    /// }
    /// ```
    pub fn respond_if_none_match(&mut self, etag: EntityTag) -> bool {
        self.respond_if_unchanged(etag.into())
    }

    /// Answers like [`respond_if_none_match`](Self::respond_if_none_match), by an entity tag, a modification time, or
    /// both.
    pub fn respond_if_unchanged(&mut self, validators: Validators) -> bool {
        let (request, response) = self.request_and_response();
        match validators.check(request.get_method(), request.get_headers()) {
            Precondition::Holds => {
                response.set_validators(&validators);
                false
            }
            Precondition::NotModified => {
                response.set_validators(&validators);
                response.set_not_modified();
                true
            }
            Precondition::Failed => {
                describe(response, 412);
                true
            }
        }
    }

    /// Replaces the response.
    pub fn set_response(&mut self, response: Response) -> &mut Self {
        self.response = Some(Box::new(response));
        self
    }

    /// Returns all parameters of the route.
    pub fn get_route_params(&self) -> &RouteParams {
        &self.route_params
    }

    /// Returns the parameters of the route for changes. Later hooks see the changes.
    pub fn get_mut_route_params(&mut self) -> &mut RouteParams {
        &mut self.route_params
    }

    /// Replaces the parameters of the route.
    pub fn set_route_params(&mut self, params: RouteParams) -> &mut Self {
        self.route_params = params;
        self
    }

    /// Returns the decoded value of a parameter of the route.
    pub fn try_get_route_param(&self, name: impl AsRef<str>) -> Option<String> {
        self.route_params.get(name.as_ref()).map(str::to_owned)
    }

    /// Returns the decoded value of a parameter of the route. Returns an empty string if there is no parameter of this
    /// name.
    pub fn get_route_param(&self, name: impl AsRef<str>) -> String {
        self.try_get_route_param(name).unwrap_or_default()
    }

    pub(crate) fn set_end_reason(&mut self, reason: Cow<'static, str>) {
        self.extras.get_or_insert_default().end_reason = Some(Box::new(reason));
    }

    pub(crate) fn take_end_reason(&mut self) -> Cow<'static, str> {
        let kept = self.extras.as_mut();
        let reason = kept.and_then(|extras| extras.end_reason.take());
        reason.map_or(Cow::Borrowed(""), |reason| *reason)
    }

    pub(crate) fn set_incoming(&mut self, incoming: Arc<Incoming>) {
        self.extras.get_or_insert_default().body = Some(incoming);
    }

    pub(crate) fn clear_incoming(&mut self) {
        if let Some(extras) = &mut self.extras {
            extras.body = None;
        }
    }

    /// Returns the body of the request, piece by piece.
    ///
    /// On a route that reads its body as a stream, the socket is read only when a piece is requested. Several streams
    /// of one request share one position, so each piece is returned once. On other routes the server has already read
    /// the body, and the stream returns it.
    pub fn body_stream(&self) -> BodyStream {
        match self.extras.as_ref().and_then(|extras| extras.body.clone()) {
            Some(incoming) if !incoming.is_request_over() => BodyStream::of_incoming(incoming),
            // The server read the body whole, or a hook has read a further request in the meantime.
            _ => BodyStream::of_bytes(
                self.request.get_body().clone().into(),
                self.request.trailers().clone(),
            ),
        }
    }

    /// Returns the state of type `T` that [`Server::state`](crate::Server::state) has set. Returns `None` if there is
    /// none.
    pub fn try_state<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.program.states.get()
    }

    /// Returns the state of type `T` that [`Server::state`](crate::Server::state) has set.
    ///
    /// # Panics
    /// Panics if the program has not set a state of type `T`. The server then answers the request with 500.
    /// [`try_state`](Self::try_state) does not panic.
    #[allow(
        clippy::panic,
        reason = "no input can cause it, only a missing line in the program"
    )]
    pub fn state<T: Any + Send + Sync>(&self) -> Arc<T> {
        self.try_state().unwrap_or_else(|| {
            panic!(
                "no state of type `{0}`: call `server.state(..)` with one before `run`",
                std::any::type_name::<T>()
            )
        })
    }

    /// Returns all states of the server, for tasks that continue after the request.
    pub fn states(&self) -> States {
        self.program.states.clone()
    }

    /// Returns the state of type `T`. If the program has not set one, creates the state by [`Default`], once per
    /// server.
    pub fn state_or_default<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        self.program.states.get_or_default()
    }
}
