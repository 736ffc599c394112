//! A path of a server or scope, at which a program registers handlers and endpoints.

use std::{fmt, sync::Arc};

use super::{Server, scopes::ServerScope};
#[cfg(feature = "sessions")]
use crate::endpoint::{Endpoint, plan::PlannedEndpoint};
use crate::{
    BodyMode,
    error::Place,
    exchange::body::BodyPlan,
    extract::handler::{Handler, PlannedHandler},
    hook::{Middleware, Run, wrap::Wrap},
    http::Csrf,
    pipeline::{
        app::Hook,
        chain::{PlannedKind, ScopeId},
    },
};

/// A place where routes are registered: a server or a scope.
#[doc(hidden)]
pub trait Registrar {
    /// Returns the server and the index of the scope.
    #[allow(private_interfaces)]
    fn target(&mut self) -> (&mut Server, ScopeId);
}

impl Registrar for Server {
    fn target(&mut self) -> (&mut Server, ScopeId) {
        (self, 0)
    }
}

impl Registrar for ServerScope<'_> {
    fn target(&mut self) -> (&mut Server, ScopeId) {
        (self.server, self.id)
    }
}

/// A path of a server or of a scope, returned by [`Server::at`]. Its methods add a handler or an endpoint.
///
/// ```
/// use hyperlane_core::{Path, Server, Status, ws};
///
/// let mut server = Server::new();
/// server.at("/hello/{name}").get(async |Path(name): Path<String>| format!("hello {name}"));
/// server.at("/upload").max_body(1 << 20).post(async |body: String| body.len().to_string());
/// ```
#[must_use = "a method such as `get` registers the handler"]
pub struct At<'a, P: Registrar = Server> {
    parent: &'a mut P,
    pattern: String,
    wraps: Vec<Wrap>,
    max_body: Option<usize>,
    csrf: Option<Csrf>,
}

impl<'a, P: Registrar> At<'a, P> {
    pub(super) fn new(parent: &'a mut P, pattern: &str) -> Self {
        Self {
            parent,
            pattern: pattern.to_owned(),
            wraps: Vec::new(),
            max_body: None,
            csrf: None,
        }
    }

    /// Wraps what is registered at this path in middleware. Middleware that is added later runs inside the earlier one.
    pub fn with(mut self, middleware: impl Middleware) -> Self {
        self.wraps.push(Wrap::Shared(Arc::new(middleware)));
        self
    }

    /// Sets the maximum length of request bodies, in bytes. Default: the limit of the scope.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = Some(bytes);
        self
    }

    /// Sets from which pages the handler accepts unsafe requests with the session's cookie. Has no effect on endpoints,
    /// which check all requests by themselves. Default: the setting of the scope.
    pub fn csrf(mut self, csrf: Csrf) -> Self {
        self.csrf = Some(csrf);
        self
    }

    /// Adds a handler for GET and HEAD, or an endpoint with all methods that it needs.
    #[track_caller]
    pub fn get<M>(self, handler: impl Routes<M>) -> &'a mut P {
        match handler.plan() {
            PlannedRoutes::Handler(handler) => self.handler(handler, &["GET"], Place::caller()),
            #[cfg(feature = "sessions")]
            PlannedRoutes::Endpoint(endpoint) => self.endpoint(endpoint, Place::caller()),
        }
    }

    /// Adds a handler for every method.
    #[track_caller]
    pub fn any<M>(self, handler: impl Handler<M>) -> &'a mut P {
        self.handler(handler.plan(), &[], Place::caller())
    }

    fn handler(
        self,
        handler: PlannedHandler,
        methods: &'static [&'static str],
        place: Place,
    ) -> &'a mut P {
        let PlannedHandler {
            name,
            run,
            check,
            body,
        } = handler;
        let body = BodyPlan {
            mode: body.unwrap_or(BodyMode::Whole),
            max: None,
        };
        let hook = Hook::new(Run::Shared(run), name, place, &[], methods, body).checked_by(check);
        self.add(hook)
    }

    /// Adds the routes of an endpoint.
    #[cfg(feature = "sessions")]
    fn endpoint(self, endpoint: PlannedEndpoint, place: Place) -> &'a mut P {
        let Self {
            parent,
            pattern,
            wraps,
            max_body,
            ..
        } = self;
        let (server, scope) = parent.target();
        for mut hook in server.endpoint_hooks(endpoint, place) {
            hook.wraps.clone_from(&wraps);
            hook.body.max = max_body;
            server.push_in(scope, PlannedKind::Route(pattern.clone()), hook);
        }
        parent
    }

    fn add(self, mut hook: Hook) -> &'a mut P {
        let (server, scope) = self.parent.target();
        hook.wraps = self.wraps;
        hook.body.max = self.max_body;
        hook.own_csrf = self.csrf;
        server.push_in(scope, PlannedKind::Route(self.pattern), hook);
        self.parent
    }
}

/// Methods that add a handler for one method of requests.
macro_rules! methods {
    ($($(#[$attribute:meta])* $name:ident $method:literal;)+) => {
        impl<'a, P: Registrar> At<'a, P> {$(
            #[doc = concat!("Adds a handler for ", $method, ".")]
            $(#[$attribute])*
            #[track_caller]
            pub fn $name<M>(self, handler: impl Handler<M>) -> &'a mut P {
                self.handler(handler.plan(), &[$method], Place::caller())
            }
        )+}
    };
}

methods! {
    post "POST";
    put "PUT";
    delete "DELETE";
    patch "PATCH";
    head "HEAD";
    options "OPTIONS";
}

impl<P: Registrar> fmt::Debug for At<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At")
            .field("pattern", &self.pattern)
            .field("with", &self.wraps)
            .field("max_body", &self.max_body)
            .field("csrf", &self.csrf)
            .finish_non_exhaustive()
    }
}

/// What [`At::get`] takes: a [`Handler`], or an endpoint for the channels of sessions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a handler nor an endpoint",
    label = "not an async function of arguments that a handler can take, and not an endpoint",
    note = "a handler takes nothing, or `&mut Context`, or `&mut Stream` and `&mut Context`, and then up to 6 types that implement `FromContext`",
    note = "a handler returns `Status`, or something that implements `IntoResponse`; it is `async`, and its future is `Send`",
    note = "`ws()`, `ws_with(..)`, `sse()` and `sse_with(..)` make endpoints",
    note = "a type that implements `ServerHook` is registered by `server.route::<Hook>(\"/path\")`"
)]
pub trait Routes<M> {
    #[doc(hidden)]
    fn plan(self) -> PlannedRoutes;
}

/// A handler or an endpoint before its registration.
#[doc(hidden)]
pub enum PlannedRoutes {
    Handler(PlannedHandler),
    #[cfg(feature = "sessions")]
    Endpoint(PlannedEndpoint),
}

/// The kind of [`Routes`] that is a handler.
#[doc(hidden)]
pub struct OfHandler<M>(std::marker::PhantomData<M>);

/// The kind of [`Routes`] that is an endpoint.
#[cfg(feature = "sessions")]
#[doc(hidden)]
pub struct OfEndpoint;

impl<M, H: Handler<M>> Routes<OfHandler<M>> for H {
    fn plan(self) -> PlannedRoutes {
        PlannedRoutes::Handler(Handler::plan(self))
    }
}

#[cfg(feature = "sessions")]
impl<E: Endpoint> Routes<OfEndpoint> for E {
    fn plan(self) -> PlannedRoutes {
        PlannedRoutes::Endpoint(crate::endpoint::plan(self))
    }
}
