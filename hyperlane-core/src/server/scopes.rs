//! Scopes and middleware of a server, and the scopes of registered hooks.

use std::{fmt, sync::Arc};

use super::{Server, at::At};
use crate::{
    ServerHook,
    hook::{
        Middleware, Registration, RenderError, Scope, ScopeRegistration, render::Renderer,
        scope::is_inside, wrap::Wrap,
    },
    http::{Cors, Csrf},
    pipeline::chain::{Planned, PlannedKind, PlannedScope, ScopeId},
};

impl Server {
    /// Names the server. Hooks of scopes with [`Scope::server`] belong to the server of that name. `#[hyperlane(admin:
    /// Server)]` names a server after its variable.
    pub fn name(&mut self, name: impl Into<String>) -> &mut Self {
        self.name = Some(name.into());
        self.matcher.take();
        self
    }

    /// Leaves out registered hooks whose scope does not name this server. Default: the server also takes registered
    /// hooks of scopes without a server.
    ///
    /// ```
    /// use hyperlane_core::Server;
    ///
    /// // `#[hyperlane(public: Server, admin: Server)]` declares both.
    /// let mut admin = Server::new();
    /// admin.name("admin").only_scoped();
    /// ```
    pub fn only_scoped(&mut self) -> &mut Self {
        self.only_scoped = true;
        self.matcher.take();
        self
    }

    /// Runs middleware around the routes of the whole server, and around its answers to requests without a route.
    /// Middleware that is added later runs inside the earlier one.
    ///
    /// [`Middleware`] has an example.
    pub fn middleware(&mut self, middleware: impl Middleware) -> &mut Self {
        self.scopes
            .get_mut(0)
            .wraps
            .push(Wrap::Shared(Arc::new(middleware)));
        self
    }

    /// Sets the function that renders errors: the body of every response with a status of 400 or higher that no hook has
    /// written. These are refused requests, requests without a route, errors that handlers return, panics, refused
    /// handshakes, and a status that a handler returns alone.
    ///
    /// The function gets a response with the status and its fields, such as `allow`. Its value becomes the body, and
    /// may set another status. If the function panics, the client gets a plain 500. Default: the body is text, or a
    /// problem document (RFC 9457) if the client prefers JSON by its `Accept` field; a status that a handler returns
    /// alone has no body.
    ///
    /// ```
    /// use hyperlane_core::{Context, ErrorInfo, Json, Server};
    ///
    /// let mut server = Server::new();
    /// server.errors(|error: &ErrorInfo, _: &mut Context| {
    ///     Json([("error", error.to_string())])
    /// });
    /// ```
    pub fn errors(&mut self, renderer: impl RenderError) -> &mut Self {
        self.scopes.get_mut(0).errors = Some(Renderer::Shared(Arc::new(renderer)));
        self
    }

    /// Sets the CORS policy of the server: which pages of other origins may read its responses. Scopes may have policies
    /// of their own. Default: none; pages of other origins can then read nothing, except at endpoints of channels that
    /// allow them.
    ///
    /// [`Cors`] has an example.
    pub fn cors(&mut self, cors: Cors) -> &mut Self {
        self.scopes.get_mut(0).cors = Some(cors);
        self
    }

    /// Sets from which pages the server accepts unsafe requests with the session's cookie. Default:
    /// [`Csrf::SameOrigin`].
    pub fn csrf(&mut self, csrf: Csrf) -> &mut Self {
        self.scopes.get_mut(0).csrf = Some(csrf);
        self
    }

    /// Accepts unsafe requests with the session's cookie from all pages, for the routes of one pattern: for example the
    /// path to which the page of a login provider posts a form. `pattern` is the whole pattern of the routes, with the
    /// prefixes of their scopes. A pattern without a route has no effect.
    ///
    /// ```
    /// use hyperlane_core::Server;
    ///
    /// Server::new().csrf_exempt("/login/{provider}/callback");
    /// ```
    pub fn csrf_exempt(&mut self, pattern: impl Into<String>) -> &mut Self {
        self.scopes.get_mut(0).csrf_exempt.push(pattern.into());
        self
    }

    /// Adds a scope: routes with a common prefix, middleware and limits. The closure registers the routes.
    ///
    /// ```
    /// use hyperlane_core::{Context, Next, Server, ServerHook, Status, Stream};
    ///
    /// struct Users;
    ///
    /// impl ServerHook for Users {
    ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
    ///         Self
    ///     }
    ///
    ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
    ///         ctx.get_mut_response().set_body("users");
    ///         Status::Continue
    ///     }
    /// }
    ///
    /// async fn log(ctx: &mut Context, next: Next<'_>) -> Status {
    ///     println!("{}", ctx.get_request().get_path());
    ///     next.run(ctx).await
    /// }
    ///
    /// let mut server = Server::new();
    /// server.scope("/api", |api| {
    ///     api.with(log).route::<Users>("/users");
    /// });
    /// assert_eq!(server.routes()?[0].pattern, "/api/users");
    /// # Ok::<(), hyperlane_core::ServerError>(())
    /// ```
    pub fn scope(
        &mut self,
        prefix: impl AsRef<str>,
        register: impl FnOnce(&mut ServerScope<'_>),
    ) -> &mut Self {
        self.scope_in(0, prefix.as_ref(), register);
        self
    }

    fn scope_in(
        &mut self,
        outer: ScopeId,
        prefix: &str,
        register: impl FnOnce(&mut ServerScope<'_>),
    ) {
        let id = self.scopes.add(outer, prefix);
        register(&mut ServerScope { server: self, id });
    }

    /// Returns the hooks of the server with their scopes, and all scopes. The hooks that attribute macros registered
    /// for other servers are left out.
    ///
    /// The scopes of registered hooks are found late, because the program may name the server until it starts.
    pub(super) fn planned(&self) -> (Vec<Planned>, Vec<PlannedScope>) {
        let mut scopes = self.scopes.clone();
        let hooks = self.hooks.iter().filter_map(|planned| {
            let scope = match planned.registration {
                Some(registration) => self.scope_of(registration, &mut scopes)?,
                None => planned.scope,
            };
            Some(Planned {
                scope,
                ..planned.clone()
            })
        });
        (hooks.collect(), scopes.0)
    }

    /// Returns the scope of a registered hook. Returns `None` if the hook belongs to another server.
    fn scope_of(&self, registration: &Registration, scopes: &mut Scopes) -> Option<ScopeId> {
        let scope = declared_scope(registration);
        let is_ours = match scope.and_then(server_of) {
            Some(server) => self.name.as_deref() == Some(server),
            None => !self.only_scoped,
        };
        is_ours.then(|| scope.map_or(0, |scope| scopes.declared(scope, 0)))
    }
}

/// The most scopes around a declared scope. With more, the server does not start.
const MOST_NESTED: u32 = 64;

/// The scopes of a server. The first one is the server itself.
#[derive(Clone, Debug)]
pub(super) struct Scopes(Vec<PlannedScope>);

impl Default for Scopes {
    fn default() -> Self {
        Self(vec![PlannedScope::default()])
    }
}

impl Scopes {
    /// Adds a scope and returns its index.
    fn add(&mut self, outer: ScopeId, prefix: &str) -> ScopeId {
        let around = self.get_mut(outer);
        let scope = PlannedScope {
            outer,
            prefix: format!("{}{prefix}", around.prefix),
            max_body: around.max_body,
            declared: None,
            ..PlannedScope::default()
        };
        self.0.push(scope);
        self.0.len() - 1
    }

    /// Returns a scope. `id` is a result of [`add`](Self::add), or 0.
    #[expect(clippy::indexing_slicing, reason = "scopes are only added")]
    fn get_mut(&mut self, id: ScopeId) -> &mut PlannedScope {
        &mut self.0[id]
    }

    /// Returns the index of a declared scope. Adds the scope, and those around it, if the server does not have it yet.
    fn declared(&mut self, scope: &'static Scope, depth: u32) -> ScopeId {
        let is_same = |planned: &PlannedScope| {
            planned
                .declared
                .is_some_and(|known| std::ptr::eq(known, scope))
        };
        if let Some(id) = self.0.iter().position(is_same) {
            return id;
        }
        // Scopes that name each other by `inside` have no end.
        let is_endless = depth == MOST_NESTED;
        let outer = match is_endless {
            true => 0,
            false => outer_of(scope).map_or(0, |outer| self.declared(outer, depth + 1)),
        };
        let id = self.add(outer, scope.prefix);
        let planned = self.get_mut(id);
        planned.declared = Some(scope);
        planned.is_endless = is_endless;
        planned.wraps = scope.wraps().map(Wrap::Static).collect();
        planned.max_body = scope.max_body.or(planned.max_body);
        planned.errors = scope.errors.map(Renderer::Static);
        planned.cors = scope.cors.cloned();
        planned.csrf = scope.csrf;
        id
    }
}

/// Returns the declared scope of a registered hook: the one that its attribute names, or else that of its module.
pub(super) fn declared_scope(registration: &Registration) -> Option<&'static Scope> {
    let of_module = || innermost(registration.module, None).map(|found| &found.scope);
    registration.scope.or_else(of_module)
}

/// Returns the scope around a declared scope: the one that it names, or else that of the modules around its module.
fn outer_of(scope: &'static Scope) -> Option<&'static Scope> {
    if scope.outer.is_some() {
        return scope.outer;
    }
    let own = inventory::iter::<ScopeRegistration>
        .into_iter()
        .find(|registration| std::ptr::eq(&registration.scope, scope))?;
    innermost(own.module, Some(own)).map(|found| &found.scope)
}

/// Returns the name of the server to which a scope belongs.
pub(super) fn server_of(scope: &'static Scope) -> Option<&'static str> {
    // A `static` cannot be inside itself through others without a cycle, so the number of steps has a limit.
    let mut at = Some(scope);
    for _ in 0..MOST_NESTED {
        let scope = at?;
        if scope.server.is_some() {
            return scope.server;
        }
        at = outer_of(scope);
    }
    None
}

/// Returns the declared scope of the innermost module that contains `module`, leaving out one declaration.
fn innermost(
    module: &str,
    except: Option<&ScopeRegistration>,
) -> Option<&'static ScopeRegistration> {
    inventory::iter::<ScopeRegistration>
        .into_iter()
        .filter(|found| is_inside(module, found.module))
        .filter(|found| except.is_none_or(|except| found.module != except.module))
        .max_by_key(|found| found.module.len())
}

/// A scope of a server, as the closure of [`Server::scope`] gets it.
pub struct ServerScope<'a> {
    pub(super) server: &'a mut Server,
    pub(super) id: ScopeId,
}

impl ServerScope<'_> {
    /// Adds middleware around the routes of the scope. Middleware that is added later runs inside the earlier one.
    pub fn with(&mut self, middleware: impl Middleware) -> &mut Self {
        let wraps = &mut self.server.scopes.get_mut(self.id).wraps;
        wraps.push(Wrap::Shared(Arc::new(middleware)));
        self
    }

    /// Sets the maximum length of request bodies, in bytes. A route with a limit of its own keeps it. Default: the
    /// limit of the scope around this one, or [`ServerConfig::max_body`](crate::ServerConfig). Scopes inside this one
    /// take the limit that it has when they are added.
    pub fn max_body(&mut self, bytes: usize) -> &mut Self {
        self.server.scopes.get_mut(self.id).max_body = Some(bytes);
        self
    }

    /// Sets the function that renders the errors of the scope, like [`Server::errors`].
    pub fn errors(&mut self, renderer: impl RenderError) -> &mut Self {
        let renderer = Renderer::Shared(Arc::new(renderer));
        self.server.scopes.get_mut(self.id).errors = Some(renderer);
        self
    }

    /// Sets the CORS policy of the scope, like [`Server::cors`]. It replaces the policy of the scope around this one.
    pub fn cors(&mut self, cors: Cors) -> &mut Self {
        self.server.scopes.get_mut(self.id).cors = Some(cors);
        self
    }

    /// Sets from which pages the scope accepts unsafe requests with the session's cookie, like [`Server::csrf`].
    pub fn csrf(&mut self, csrf: Csrf) -> &mut Self {
        self.server.scopes.get_mut(self.id).csrf = Some(csrf);
        self
    }

    /// Begins the registration of a handler or an endpoint at a path of the scope, like [`Server::at`].
    pub fn at(&mut self, pattern: impl AsRef<str>) -> At<'_, Self> {
        At::new(self, pattern.as_ref())
    }

    hook_methods! {
        /// Registers a handler, like [`Server::route`], with the prefix of the scope before its pattern. The pattern `/`
        /// stands for the prefix itself.
        route;
        /// Runs `S` before the routes of the scope, after the request middleware of the scopes around it.
        request_middleware;
        /// Runs `S` after the routes of the scope, before the response middleware of the scopes around it.
        response_middleware;
        /// Runs `S` when a hook has panicked, like [`Server::task_panic`], for requests of the scope.
        task_panic;
        /// Runs `S` for a failed request of the scope, like [`Server::request_error`].
        request_error;
    }

    /// Adds a scope inside this one. Its prefix follows that of this scope.
    pub fn scope(
        &mut self,
        prefix: impl AsRef<str>,
        register: impl FnOnce(&mut ServerScope<'_>),
    ) -> &mut Self {
        self.server.scope_in(self.id, prefix.as_ref(), register);
        self
    }

    #[track_caller]
    fn add<S: ServerHook>(&mut self, kind: PlannedKind) -> &mut Self {
        self.server.add_in::<S>(self.id, kind);
        self
    }
}

impl fmt::Debug for ServerScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerScope")
            .field("scope", &self.server.scopes.0.get(self.id))
            .finish_non_exhaustive()
    }
}
