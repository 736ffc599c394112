//! The server: what a program configures and runs.

mod at;
pub(crate) mod connections;
pub(crate) mod control;
mod detached;
#[cfg(feature = "__tls")]
pub(crate) mod handshake;
#[macro_use]
mod hooks;
#[cfg(feature = "http2")]
pub(crate) mod http2;
mod https;
pub(crate) mod listener;
mod listing;
mod pace;
mod registry;
mod routes;
mod scopes;
#[cfg(feature = "sessions")]
mod sessions;
mod start;
pub(crate) mod task;

use std::{
    any::Any,
    fmt,
    io::Write,
    sync::{Arc, OnceLock},
};

use tokio::sync::watch;

use self::connections::Connections;
use self::scopes::Scopes;
pub use self::{
    at::{At, Registrar, Routes},
    control::{ServerControlHook, ServerControlHookHandler},
    listener::BoundAddress,
    listing::{HookInfo, RouteMatcher},
    routes::RouteInfo,
    scopes::ServerScope,
};
use crate::{
    ServerHook,
    config::{AccessLog, ConfigError, RequestConfig, ServerConfig},
    context::states::States,
    env::hosts::Hosts,
    error::{Place, ServerError},
    hook::{Registration, Run, body_plan, needs_params, run_hook},
    pipeline::{
        app::{App, Hook},
        chain::{Planned, PlannedKind, ScopeId},
    },
    session,
};

/// A server before it runs: its configuration, hooks and state. Hooks are the program's routes, middleware and error
/// hooks.
///
/// ```
/// use hyperlane_core::{Context, Server, ServerConfig, ServerHook, Status, Stream};
///
/// struct Hello;
///
/// impl ServerHook for Hello {
///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
///         Self
///     }
///
///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
///         ctx.get_mut_response().set_body("hello");
///         Status::Continue
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hyperlane_core::ServerError> {
/// let mut server = Server::default();
/// server.bind("127.0.0.1:0").route::<Hello>("/hello");
/// let control = server.run().await?;
/// println!("http://{}", control.local_addr().unwrap());
/// control.shutdown().await;
/// # Ok(())
/// # }
/// ```
///
/// The server reports to the operator by `tracing` spans and, with the feature `metrics`, by metrics.
/// `docs/observability.md` (in crate `hyperlane`: `hyperlane::docs::observability`) lists both.
#[derive(Default)]
pub struct Server {
    config: ServerConfig,
    hooks: Vec<Planned>,
    scopes: Scopes,
    name: Option<String>,
    /// True if the server takes only registered hooks whose scope names it.
    only_scoped: bool,
    states: States,
    /// True if the server uses the hooks that attribute macros registered.
    takes_registered: bool,
    /// True if `bind` has replaced the addresses of the configuration.
    bound: bool,
    /// The limits that `request_config` has set.
    limits: Option<RequestConfig>,
    https: https::Planned,
    /// The error of `config_from_json`. The start of the server returns it.
    refused: Option<ConfigError>,
    sessions: session::Planned,
    /// The value of `get_route_matcher`, computed on first use.
    matcher: OnceLock<RouteMatcher>,
}

impl Server {
    /// Creates a server with the default configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an address to listen on: `host:port`, or `unix:` and a path. With port 0, the operating system chooses the
    /// port. The first call of `bind`, [`bind_tls`](Self::bind_tls) or [`redirect_to_https`](Self::redirect_to_https)
    /// replaces the configured addresses, and each later call adds an address.
    pub fn bind(&mut self, address: impl AsRef<str>) -> &mut Self {
        if self.bound {
            self.config.add_address(address.as_ref());
        } else {
            self.config.set_address(address.as_ref());
            self.bound = true;
        }
        self
    }

    /// Replaces the configuration. If `config` has the default limits of requests, the limits of an earlier
    /// [`request_config`](Self::request_config) stay.
    pub fn server_config(&mut self, config: ServerConfig) -> &mut Self {
        self.config = config;
        self.bound = false;
        self.refused = None;
        if let Some(limits) = self.limits
            && RequestConfig::are_defaults_of(&self.config)
        {
            limits.apply(&mut self.config);
        }
        self
    }

    /// Sets the limits of requests.
    pub fn request_config(&mut self, config: RequestConfig) -> &mut Self {
        config.apply(&mut self.config);
        self.limits = Some(config);
        self
    }

    /// Logs each request in the Common Log Format, with the level INFO and the target `hyperlane::access` of `tracing`.
    /// [`ServerConfig::access_log`] describes the log, and has a second form, by fields.
    ///
    /// ```
    /// use hyperlane_core::Server;
    ///
    /// // 192.0.2.7 - - [30/Nov/2026:12:00:00 +0000] "GET /search?token=*** HTTP/1.1" 200 1532
    /// Server::new().access_log();
    /// ```
    pub fn access_log(&mut self) -> &mut Self {
        self.config.access_log = Some(AccessLog::Common);
        self
    }

    /// Shares a value with all hooks, one value per type. Hooks get the value by
    /// [`Context::state`](crate::Context::state).
    pub fn state<T: Any + Send + Sync>(&mut self, value: T) -> &mut Self {
        self.states.insert(value);
        self
    }

    /// Begins the registration of a handler or an endpoint at a path: `server.at("/ws").get(ws())`. The syntax of
    /// patterns is the same as in [`route`](Self::route). [`At`] has the methods.
    pub fn at(&mut self, pattern: impl AsRef<str>) -> At<'_> {
        At::new(self, pattern.as_ref())
    }

    hook_methods! {
        /// Registers `S` as the handler of requests for paths that match `pattern`. Examples of patterns: `/users/:id`,
        /// `/users/{id}`, `/users/{id:\d+}`, `/files/{*path}`. A pattern may have several handlers if their guards
        /// (conditions on the method, host, upgrade and so on) accept different requests.
        route;
        /// Runs `S` before the route of every request.
        request_middleware;
        /// Runs `S` after the route of every request.
        response_middleware;
        /// Runs `S` when a hook has panicked. The response is preset to a plain 500.
        task_panic;
        /// Runs `S` when a request cannot be read or handled. The response is preset to the status of the error.
        request_error;
    }

    #[track_caller]
    fn add<S: ServerHook>(&mut self, kind: PlannedKind) -> &mut Self {
        self.add_in::<S>(0, kind)
    }

    #[track_caller]
    fn add_in<S: ServerHook>(&mut self, scope: ScopeId, kind: PlannedKind) -> &mut Self {
        let hook = Hook::new(
            Run::Fn(run_hook::<S>),
            std::any::type_name::<S>(),
            Place::caller(),
            S::GUARDS,
            &[],
            body_plan::<S>(),
        )
        .checked_by(needs_params::<S>);
        self.push_in(scope, kind, hook);
        self
    }

    fn push_in(&mut self, scope: ScopeId, kind: PlannedKind, hook: Hook) {
        self.matcher.take();
        self.hooks.push(Planned {
            kind,
            hook,
            scope,
            registration: None,
        });
    }

    /// Adds a hook that reads the body as a stream.
    #[cfg(feature = "tower")]
    #[track_caller]
    pub(crate) fn add_streaming(
        &mut self,
        kind: PlannedKind,
        run: Run,
        name: &'static str,
    ) -> &mut Self {
        let plan = crate::exchange::body::BodyPlan {
            mode: crate::BodyMode::Stream,
            max: None,
        };
        let hook = Hook::new(run, name, Place::caller(), &[], &[], plan);
        self.push_in(0, kind, hook);
        self
    }

    /// Registers every hook that the attribute macros collected in this program.
    #[doc(hidden)]
    pub fn __register_all(&mut self) -> &mut Self {
        // The linker collects the hooks in an arbitrary order. After the sort by place, the hooks of a file have the
        // order of their lines.
        let mut found: Vec<&'static Registration> =
            inventory::iter::<Registration>.into_iter().collect();
        found.sort_by_key(|registration| registration.place);
        self.takes_registered = true;
        self.matcher.take();
        for registration in found {
            self.hooks.push(Planned {
                kind: registration.kind.into(),
                hook: Hook::from_registration(registration),
                scope: 0,
                registration: Some(registration),
            });
        }
        self
    }

    /// Starts the server and returns as soon as it listens.
    ///
    /// All tasks and timers of the server run in the tokio runtime of this call, even if the program uses handles of
    /// the server in another runtime. If the server has no route, or if attribute macros registered hooks that no
    /// server of the program uses, the server logs a warning. If both are true, and these hooks include routes, the
    /// call fails.
    ///
    /// # Errors
    /// Returns a [`ServerError`] in the following cases:
    /// - The configuration, a pattern, or an origin that an endpoint allows is invalid.
    /// - An address cannot be bound.
    /// - A path has two handlers, and no guard decides between them.
    /// - A handler needs a [`state`](Self::state) that the server does not have, or a parameter that the handler's
    ///   pattern does not have.
    /// - The server has no route, and attribute macros registered routes that no server of the program uses.
    /// - The call is outside of a tokio runtime ([`ServerError::NoRuntime`]).
    ///
    /// # Panics
    /// Panics in a runtime without the drivers for I/O and time (`tokio::runtime::Builder::enable_all`).
    pub async fn run(&self) -> Result<ServerControlHook, ServerError> {
        let config = self.config.clone();
        let app = self.check_start()?;
        tokio::runtime::Handle::try_current().map_err(|_| ServerError::NoRuntime)?;
        let bound = self.bind_all(&config).await?;
        Ok(Self::launch(config, app, bound))
    }

    /// Starts the server without listeners. Connections reach it only by [`ServerControlHook::serve`].
    #[cfg(feature = "test-util")]
    pub(crate) fn run_in_memory(&self) -> Result<ServerControlHook, ServerError> {
        let app = self.check_start()?;
        tokio::runtime::Handle::try_current().map_err(|_| ServerError::NoRuntime)?;
        Ok(Self::launch(
            self.config.clone(),
            app,
            https::Bound::default(),
        ))
    }

    /// Starts the tasks of a server: its clock and its listeners. Runs within a runtime.
    fn launch(config: ServerConfig, app: Arc<App>, bound: https::Bound) -> ServerControlHook {
        let https::Bound {
            listeners,
            addresses,
            #[cfg(feature = "__tls")]
            tls,
            ..
        } = bound;
        let bound = addresses.iter().filter_map(BoundAddress::ip);
        let hosts = Hosts::new(&config, bound);
        let connections = Connections::new(config, hosts);
        app.share_program(&connections.env);
        #[cfg(feature = "http2")]
        http2::enable(&connections, &app);
        let permits = connections.env.permits.clone();
        let clock = tokio::spawn(connections.clone().keep_time()).abort_handle();
        let (stop, stopped) = watch::channel(false);
        let tasks = listeners
            .into_iter()
            .map(|listener| {
                tokio::spawn(listener.serve(
                    connections.clone(),
                    app.clone(),
                    permits.clone(),
                    stopped.clone(),
                ))
            })
            .collect();
        #[cfg(feature = "__tls")]
        https::keep_fresh(&tls, &stopped);
        ServerControlHook::new(
            (connections, app, permits),
            (
                addresses,
                #[cfg(feature = "__tls")]
                tls,
            ),
            stop,
            tasks,
            clock,
        )
    }

    /// Checks the configuration and the hooks, and builds the [`App`] that runs the hooks.
    pub(crate) fn check(&self) -> Result<App, ServerError> {
        match &self.refused {
            Some(error) => return Err(error.clone().into()),
            None => self.check_protocol()?,
        }
        self.config.validate()?;
        let (planned, scopes) = self.planned();
        App::build(planned, &scopes, self.states.clone())
    }
}

/// Methods under the names that published Hyperlane programs call.
impl Server {
    /// Same as [`server_config`](Self::server_config).
    pub fn set_server_config(&mut self, config: ServerConfig) -> &mut Self {
        self.server_config(config)
    }

    /// Same as [`request_config`](Self::request_config).
    pub fn set_request_config(&mut self, config: RequestConfig) -> &mut Self {
        self.request_config(config)
    }

    /// Replaces the configuration by one in JSON, as [`ServerConfig::from_json`] reads it. After an error, the
    /// configuration stays, and the start of the server returns [`ServerError::Config`].
    pub fn config_from_json(&mut self, json: impl AsRef<str>) -> &mut Self {
        match ServerConfig::from_json(json) {
            Ok(config) => return self.server_config(config),
            Err(error) => self.refused = Some(error),
        }
        self
    }

    /// Returns the configuration.
    pub fn get_server_config(&self) -> &ServerConfig {
        &self.config
    }

    /// Returns the configuration for changes.
    pub fn get_mut_server_config(&mut self) -> &mut ServerConfig {
        &mut self.config
    }

    /// Returns the patterns of the routes registered so far.
    pub fn get_route_matcher(&self) -> &RouteMatcher {
        self.matcher.get_or_init(|| RouteMatcher::of(self))
    }

    /// Returns the hooks for panics, in the order of registration.
    pub fn get_task_panic(&self) -> Vec<HookInfo> {
        self.hooks_of(|kind| matches!(kind, PlannedKind::TaskPanic(_)))
    }

    /// Returns the hooks for requests that cannot be read or handled, in the order of registration.
    pub fn get_request_error(&self) -> Vec<HookInfo> {
        self.hooks_of(|kind| matches!(kind, PlannedKind::RequestError(_)))
    }

    /// Returns the hooks that run before the route, in the order of registration.
    pub fn get_request_middleware(&self) -> Vec<HookInfo> {
        self.hooks_of(|kind| matches!(kind, PlannedKind::RequestMiddleware(_)))
    }

    /// Returns the hooks that run after the route, in the order of registration.
    pub fn get_response_middleware(&self) -> Vec<HookInfo> {
        self.hooks_of(|kind| matches!(kind, PlannedKind::ResponseMiddleware(_)))
    }

    /// Returns the current limits of requests.
    pub fn get_request_config(&self) -> RequestConfig {
        RequestConfig::of(&self.config)
    }

    /// Returns `host:port`, the form that [`bind`](Self::bind) takes. Encloses an IPv6 address in brackets.
    pub fn format_bind_address(host: impl AsRef<str>, port: u16) -> String {
        let host = host.as_ref();
        if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// Flushes standard output.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    pub fn try_flush_stdout() -> std::io::Result<()> {
        std::io::stdout().flush()
    }

    /// Flushes standard error.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    pub fn try_flush_stderr() -> std::io::Result<()> {
        std::io::stderr().flush()
    }

    /// Flushes standard output, then standard error.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    pub fn try_flush_stdout_and_stderr() -> std::io::Result<()> {
        Self::try_flush_stdout()?;
        Self::try_flush_stderr()
    }

    /// Same as [`try_flush_stdout`](Self::try_flush_stdout), but ignores errors.
    pub fn flush_stdout() {
        let _ = Self::try_flush_stdout();
    }

    /// Same as [`try_flush_stderr`](Self::try_flush_stderr), but ignores errors.
    pub fn flush_stderr() {
        let _ = Self::try_flush_stderr();
    }

    /// Same as [`try_flush_stdout_and_stderr`](Self::try_flush_stdout_and_stderr), but ignores errors.
    pub fn flush_stdout_and_stderr() {
        let _ = Self::try_flush_stdout_and_stderr();
    }
}

impl From<ServerConfig> for Server {
    fn from(config: ServerConfig) -> Self {
        let mut server = Self::default();
        server.server_config(config);
        server
    }
}

impl From<RequestConfig> for Server {
    fn from(config: RequestConfig) -> Self {
        let mut server = Self::default();
        server.request_config(config);
        server
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .field("hooks", &self.hooks.len())
            .finish_non_exhaustive()
    }
}
