//! The context of a request: what hooks read, set and pass on.

#[cfg(feature = "cookies")]
mod cookies;
pub(crate) mod cors;
#[cfg(feature = "forms")]
mod forms;
pub(crate) mod params;
#[cfg_attr(not(feature = "sessions"), path = "context/no_sessions.rs")]
mod session;
pub(crate) mod states;
pub(crate) mod typed;

use std::{
    any::Any,
    borrow::Cow,
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
};

use bytes::Bytes;

use self::{params::RouteParams, states::States};
use crate::{
    EntityTag, Request, Response, Validators,
    conn::link::Link,
    error::{ATTRIBUTE, FAILURE, PanicData, RequestError},
    exchange::body::{BodyStream, Incoming},
    http::{Failure, Head, Precondition, describe},
    panic::contain,
    proto::http::forwarded::{self, Forwarded},
    session::Sessions,
};

/// Values that all contexts of a server share.
#[derive(Clone, Default)]
pub(crate) struct Program {
    pub(crate) states: States,
    /// `None` before a server runs.
    pub(crate) sessions: Option<Arc<Sessions>>,
    /// Runs response middleware before a head that cannot wait: a `stream::Middleware`, of which a context knows nothing.
    /// `None` where there is none.
    pub(crate) early_middleware: Option<Arc<dyn Any + Send + Sync>>,
}

/// Where the pipeline is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Middleware,
    Route,
}

/// Values that hooks of a request keep for each other, by name.
pub type Attributes = HashMap<String, Arc<dyn Any + Send + Sync>>;

/// What few requests need, kept out of the way of the others.
#[derive(Clone, Default)]
struct Extras {
    attributes: Attributes,
    // Boxed, since a connection may hold the rest for long.
    panic: Option<Box<PanicData>>,
    error: Option<Box<RequestError>>,
    /// The client behind trusted proxies, once the request's fields are gone.
    client: Option<IpAddr>,
    body: Option<Arc<Incoming>>,
    session: session::RequestSession,
    /// The response as request middleware left it, while the route works on it.
    saved_response: Option<Box<Response>>,
    /// What the client may read of the failure that ends its WebSocket.
    end_reason: Option<Box<Cow<'static, str>>>,
    /// What pages of other origins may read, where the route lets any come.
    cors: Option<Box<cors::RequestCors>>,
}

impl Drop for Extras {
    fn drop(&mut self) {
        // The program's, each apart: the connection goes on.
        for value in std::mem::take(&mut self.attributes).into_values() {
            contain("while an attribute was dropped", || drop(value));
        }
    }
}

/// A request, its response, and what hooks share while they work on them.
///
/// One context serves all requests of a connection in turn; between them everything is reset.
#[derive(Clone, Default)]
pub struct Context {
    request: Request,
    /// Made when something is set; an upgraded connection holds none.
    response: Option<Box<Response>>,
    route_params: RouteParams,
    extras: Option<Box<Extras>>,
    pub(crate) program: Arc<Program>,
    /// None for a context that a program made itself.
    pub(crate) connection: Option<Arc<Link>>,
    /// The next response middleware: each runs once per request.
    pub(crate) response_middleware_at: u16,
    pub(crate) stage: Stage,
    /// A refusal goes back to the response as request middleware left it.
    can_roll_back: bool,
    /// The connection has been upgraded or carries events: no field can be set any more.
    head_is_out: bool,
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
        Self {
            request: Request::default(),
            response: None,
            route_params: RouteParams::default(),
            extras: None,
            // A default would make a program for nothing, per connection.
            program,
            connection: Some(connection),
            response_middleware_at: 0,
            stage: Stage::default(),
            can_roll_back: false,
            head_is_out: false,
        }
    }

    /// Makes it ready for the next request; capacities stay.
    pub(crate) fn reset(&mut self) {
        if let Some(response) = &mut self.response {
            response.reset();
            response.set_session(None);
        }
        self.route_params.clear();
        self.extras = None;
        self.stage = Stage::Middleware;
        self.can_roll_back = false;
        self.response_middleware_at = 0;
        self.head_is_out = false;
    }

    /// Remembers what request middleware has set: a refusal of the route goes back to it.
    pub(crate) fn save_response(&mut self) {
        self.can_roll_back = true;
        if let Some(response) = &self.response
            && !response.get_headers().is_empty()
        {
            self.extras.get_or_insert_default().saved_response = Some(response.clone());
        }
    }

    /// What the route sets from here on stays beside a refusal: others have worked on it.
    pub(crate) fn discard_saved_response(&mut self) {
        self.can_roll_back = false;
        if let Some(extras) = &mut self.extras {
            extras.saved_response = None;
        }
    }

    /// Drops what the route has set, and any answer there is, but the fields that go with every answer.
    pub(crate) fn roll_back(&mut self) {
        if std::mem::take(&mut self.can_roll_back) {
            let kept = self.extras.as_mut();
            match kept.and_then(|extras| extras.saved_response.take()) {
                Some(response) => self.response = Some(response),
                None => {
                    self.get_mut_response().reset();
                }
            }
        }
        let response = self.get_mut_response();
        response.set_reason_phrase("");
        response.set_body_bytes(Bytes::new());
    }

    /// Makes an interim status, which is no answer (RFC 9110 §15.2), a failure: the client would take the answer to its next
    /// request for the answer to this one.
    pub(crate) fn refuse_interim(&mut self) {
        let status = self.get_response().get_status_code();
        if matches!(status, 100..=199) {
            let response = self.get_mut_response();
            describe(response, 500);
            // A 101 promises another protocol.
            response.remove_header("upgrade");
            if !response.get_headers().has_token("connection", "close") {
                response.remove_header("connection");
            }
            response.fail_because(format!(
                "{status} is an interim status and no answer (RFC 9110 15.2)"
            ));
        }
    }

    /// Takes out what went wrong where an error has become the response.
    pub(crate) fn take_failure(&mut self) -> Option<Box<Failure>> {
        self.response.as_mut()?.take_failure()
    }

    /// Gives back what a connection that has been upgraded does not need.
    pub(crate) fn shrink(&mut self) {
        // Read from fields that are about to go.
        if let Some(client) = self.forwarded().and_then(|forwarded| forwarded.client) {
            self.extras.get_or_insert_default().client = Some(client);
        }
        self.request.shrink();
        self.response = None;
        self.discard_saved_response();
        self.head_is_out = true;
        if let Some(extras) = &mut self.extras {
            extras.cors = None;
        }
        self.shrink_session();
    }

    /// The address at the other end of the socket: a proxy's, if one stands in front. `None` at a Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.connection.as_ref()?.peer().address()
    }

    /// The address of the client, as the proxies in [`ServerConfig::trusted_proxies`](crate::ServerConfig) say it;
    /// the peer's where nobody is trusted, no address was forwarded, or what was is none. An IPv4 address is given as
    /// such, though it came in its IPv6 form (`::ffff:192.0.2.1`).
    ///
    /// Good for limits and logs. It is no identity: many clients share one address.
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

    /// What trusted proxies say of the request.
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

    /// The request.
    pub fn get_request(&self) -> &Request {
        &self.request
    }

    /// The request, to change what later hooks see.
    pub fn get_mut_request(&mut self) -> &mut Request {
        &mut self.request
    }

    /// Replaces the request.
    pub fn set_request(&mut self, request: Request) -> &mut Self {
        self.request = request;
        self
    }

    /// The response.
    pub fn get_response(&self) -> &Response {
        static DEFAULT: LazyLock<Response> = LazyLock::new(Response::default);
        self.response.as_deref().unwrap_or(&DEFAULT)
    }

    /// The response, to be filled in. It is sent after the last hook unless a hook sent something.
    pub fn get_mut_response(&mut self) -> &mut Response {
        self.response.get_or_insert_default()
    }

    /// The response, to be sent now, with the fields of the session and those for pages of other origins: the only way to
    /// a head.
    pub(crate) fn head(&mut self) -> Head<'_> {
        self.attach_session();
        self.attach_cors();
        Head {
            response: self.get_response(),
        }
    }

    /// Both at once.
    pub(crate) fn request_and_response(&mut self) -> (&Request, &mut Response) {
        (&self.request, self.response.get_or_insert_default())
    }

    /// Answers a conditional request from the version of what would be sent (RFC 9110 §13): sets `etag`, and if the
    /// client has that version, 304 (or 412 where the method changes something). True if so: the hook is done then.
    ///
    /// ```
    /// use hyperlane_core::{Context, http::EntityTag};
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

    /// As [`respond_if_none_match`](Self::respond_if_none_match), with a time of change as well or instead.
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

    /// All parameters of the route.
    pub fn get_route_params(&self) -> &RouteParams {
        &self.route_params
    }

    /// The parameters of the route, to change what later hooks see.
    pub fn get_mut_route_params(&mut self) -> &mut RouteParams {
        &mut self.route_params
    }

    /// Replaces the parameters of the route.
    pub fn set_route_params(&mut self, params: RouteParams) -> &mut Self {
        self.route_params = params;
        self
    }

    /// The decoded value of a parameter of the route.
    pub fn try_get_route_param(&self, name: impl AsRef<str>) -> Option<String> {
        self.route_params.get(name.as_ref()).map(str::to_owned)
    }

    /// The decoded value of a parameter of the route, empty if there is none of that name.
    pub fn get_route_param(&self, name: impl AsRef<str>) -> String {
        self.try_get_route_param(name).unwrap_or_default()
    }

    /// All values that hooks keep for each other.
    pub fn get_attributes(&self) -> &Attributes {
        static NONE: LazyLock<Attributes> = LazyLock::new(Attributes::new);
        self.extras
            .as_ref()
            .map_or(&NONE, |extras| &extras.attributes)
    }

    /// All values that hooks keep for each other, to be changed.
    pub fn get_mut_attributes(&mut self) -> &mut Attributes {
        &mut self.extras.get_or_insert_default().attributes
    }

    /// Replaces all values that hooks keep for each other.
    pub fn set_attributes(&mut self, attributes: Attributes) -> &mut Self {
        *self.get_mut_attributes() = attributes;
        self
    }

    /// Keeps a value for later hooks of this request.
    pub fn set_attribute<V>(&mut self, key: impl AsRef<str>, value: V) -> &mut Self
    where
        V: Any + Send + Sync + Clone,
    {
        self.extras
            .get_or_insert_default()
            .attributes
            .insert(key.as_ref().to_owned(), Arc::new(value));
        self
    }

    /// A value that an earlier hook kept; `None` also when it has another type.
    pub fn try_get_attribute<V>(&self, key: impl AsRef<str>) -> Option<V>
    where
        V: Any + Send + Sync + Clone,
    {
        self.extras
            .as_ref()?
            .attributes
            .get(key.as_ref())?
            .downcast_ref::<V>()
            .cloned()
    }

    /// A value that an earlier hook kept.
    ///
    /// # Errors
    /// [`RequestError::Missing`] when no hook kept one of that name and type.
    pub fn get_attribute<V>(&self, key: impl AsRef<str>) -> Result<V, RequestError>
    where
        V: Any + Send + Sync + Clone,
    {
        let key = key.as_ref();
        self.try_get_attribute(key)
            .ok_or_else(|| RequestError::missing(ATTRIBUTE, key))
    }

    /// Forgets a value.
    pub fn remove_attribute(&mut self, key: impl AsRef<str>) -> &mut Self {
        if let Some(extras) = &mut self.extras {
            extras.attributes.remove(key.as_ref());
        }
        self
    }

    /// Forgets all values.
    pub fn clear_attribute(&mut self) -> &mut Self {
        if let Some(extras) = &mut self.extras {
            extras.attributes.clear();
        }
        self
    }

    /// What a hook of this request panicked with; for `task_panic` hooks.
    pub fn try_get_task_panic_data(&self) -> Option<PanicData> {
        self.extras.as_ref()?.panic.as_deref().cloned()
    }

    /// What a hook of this request panicked with; for `task_panic` hooks.
    ///
    /// # Errors
    /// [`RequestError::Missing`] when no hook has panicked.
    pub fn get_task_panic_data(&self) -> Result<PanicData, RequestError> {
        self.try_get_task_panic_data()
            .ok_or_else(|| RequestError::missing(FAILURE, "task panic"))
    }

    pub(crate) fn set_task_panic(&mut self, data: PanicData) {
        self.extras.get_or_insert_default().panic = Some(Box::new(data));
    }

    /// Why the request was refused; for `request_error` hooks.
    pub fn try_get_request_error_data(&self) -> Option<RequestError> {
        self.extras.as_ref()?.error.as_deref().cloned()
    }

    /// Why the request was refused; for `request_error` hooks.
    ///
    /// # Errors
    /// [`RequestError::Missing`] when nothing was refused.
    pub fn get_request_error_data(&self) -> Result<RequestError, RequestError> {
        self.try_get_request_error_data()
            .ok_or_else(|| RequestError::missing(FAILURE, "request error"))
    }

    pub(crate) fn set_end_reason(&mut self, reason: Cow<'static, str>) {
        self.extras.get_or_insert_default().end_reason = Some(Box::new(reason));
    }

    pub(crate) fn take_end_reason(&mut self) -> Cow<'static, str> {
        let kept = self.extras.as_mut();
        let reason = kept.and_then(|extras| extras.end_reason.take());
        reason.map_or(Cow::Borrowed(""), |reason| *reason)
    }

    pub(crate) fn set_request_error(&mut self, error: RequestError) {
        self.extras.get_or_insert_default().error = Some(Box::new(error));
    }

    pub(crate) fn set_incoming(&mut self, incoming: Arc<Incoming>) {
        self.extras.get_or_insert_default().body = Some(incoming);
    }

    pub(crate) fn clear_incoming(&mut self) {
        if let Some(extras) = &mut self.extras {
            extras.body = None;
        }
    }

    /// The body of the request, piece by piece.
    ///
    /// On a route that takes its body as a stream, it is read from the socket as pieces are asked for, and several
    /// streams of one request share one position: each piece is given once. Elsewhere it gives the body that is here.
    pub fn body_stream(&self) -> BodyStream {
        match self.extras.as_ref().and_then(|extras| extras.body.clone()) {
            Some(incoming) if !incoming.is_request_over() => BodyStream::of_incoming(incoming),
            // A hook may have read further requests, whole, since.
            _ => BodyStream::of_bytes(self.request.get_body().clone().into()),
        }
    }

    /// The state of type `T` that was given to [`Server::state`](crate::Server::state), if any.
    pub fn try_state<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.program.states.get()
    }

    /// The state of type `T` that was given to [`Server::state`](crate::Server::state).
    ///
    /// # Panics
    /// If the program never registered one: a mistake in the program that its first request shows,
    /// answered with 500. [`try_state`](Self::try_state) asks without that.
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

    /// All values of the server, for tasks that outlive the request.
    pub fn states(&self) -> States {
        self.program.states.clone()
    }

    /// The state of type `T`, made by its default for this server if none was registered.
    pub fn state_or_default<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        self.program.states.get_or_default()
    }
}
