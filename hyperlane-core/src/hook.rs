//! Hooks: the program's functions that handle requests, and their registration.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    convert::Infallible,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

mod answer;
mod check;
mod limits;
pub(crate) mod render;
pub(crate) mod scope;
pub(crate) mod setup;
pub(crate) mod wrap;

use self::setup::{RouteSetup, SetupCheck};
pub use self::{
    answer::HandlerReturn,
    limits::{RateLimit, Timeout},
    render::RenderError,
    scope::{Scope, ScopeRegistration},
    wrap::{Middleware, Next},
};
use crate::{
    Context, Stream,
    conn::link::Link,
    error::{Place, RequestError, SetupError},
    exchange::body::{BodyMode, BodyPlan},
};

/// The decision of a hook whether the next hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The next hook runs.
    Continue,
    /// The server skips following hooks. If a response middleware rejects, no further hook runs. If another hook
    /// rejects, the server skips all hooks before the response middleware. If no hook has answered, the server answers
    /// 403, or closes a WebSocket with code 1008.
    ///
    /// A request middleware cannot reject a CORS preflight of an allowed origin: the server continues with the route.
    Reject,
}

impl Status {
    /// Returns whether the next hook runs.
    pub fn is_continue(&self) -> bool {
        *self == Self::Continue
    }

    /// Returns whether the server skips following hooks. See [`Reject`](Self::Reject).
    pub fn is_reject(&self) -> bool {
        *self == Self::Reject
    }
}

/// A hook as a type: a route, middleware around routes, or a hook that handles errors or panics.
///
/// For each request, the server creates a value by [`new`](Self::new) and consumes it by [`handle`](Self::handle). The
/// attribute macros can decorate both methods.
///
/// # Cancel safety
/// When the client disconnects, the server does not drop the hook at once. The hook's sends and receives then fail
/// immediately, and the hook has the time of [`ServerConfig::handler_linger`](crate::ServerConfig) to end by itself.
/// After this time the server drops the hook at its current await.
///
/// ```
/// use hyperlane_core::{Context, ServerHook, Status, Stream};
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
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a hook; write `impl ServerHook for {Self}` with `new` and `handle`",
    label = "this is registered or decorated as a hook"
)]
pub trait ServerHook: Send + Sync + 'static {
    /// The conditions under which `handle` runs. The guard macros set them.
    #[doc(hidden)]
    const GUARDS: &'static [Guard] = &[];

    /// The names of the route parameters that `handle` needs. The macros set them, and the registration compares them
    /// with the route's pattern.
    #[doc(hidden)]
    const PARAMS: &'static [&'static str] = &[];

    /// The names of the route parameters that `new` needs.
    #[doc(hidden)]
    const NEW_PARAMS: &'static [&'static str] = &[];

    /// True if `handle` serves a WebSocket. The route must then take GET, because a WebSocket handshake is a GET
    /// request.
    #[doc(hidden)]
    const WEBSOCKET: bool = false;

    /// The way in which a route reads the body of its requests. Default: `Whole`. The server then reads the body before
    /// any hook runs. With `Stream`, the body stays unread until a hook calls [`Context::body_stream`], and the body in
    /// the [`Request`](crate::Request) is empty for all hooks. This constant has no effect on middleware.
    const BODY: BodyMode = BodyMode::Whole;

    /// Maximum length of the body of the route's requests, in bytes. The server answers a longer body with 413.
    /// Default: `None`, which means [`ServerConfig::max_body`](crate::ServerConfig) for whole bodies and no limit for
    /// streams.
    const MAX_BODY: Option<usize> = None;

    /// Creates the handler of one request.
    fn new(stream: &mut Stream, ctx: &mut Context) -> impl Future<Output = Self> + Send;

    /// Handles the request.
    fn handle(self, stream: &mut Stream, ctx: &mut Context) -> impl Future<Output = Status> + Send;
}

/// Returns the way in which a hook reads the body of its requests, and the maximum length of the body.
pub(crate) const fn body_plan<S: ServerHook>() -> BodyPlan {
    BodyPlan {
        mode: S::BODY,
        max: S::MAX_BODY,
    }
}

/// The future of a running hook.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = Status> + Send + 'a>>;

/// A hook without state.
pub type HookFn = for<'a> fn(&'a mut Stream, &'a mut Context) -> HookFuture<'a>;

/// A hook as a shared function. [`server_hook_factory`] creates it from a [`ServerHook`].
pub type ServerHookHandler = Arc<
    dyn for<'a> Fn(
            &'a mut Stream,
            &'a mut Context,
        ) -> Pin<Box<dyn Future<Output = Status> + Send + 'a>>
        + Send
        + Sync,
>;

#[derive(Clone)]
pub(crate) enum Run {
    Fn(HookFn),
    Shared(ServerHookHandler),
}

impl Run {
    /// Creates the future that runs the hook for a request.
    pub(crate) fn start<'a>(&self, stream: &'a mut Stream, ctx: &'a mut Context) -> HookFuture<'a> {
        match self {
            Self::Fn(run) => run(stream, ctx),
            Self::Shared(run) => run(stream, ctx),
        }
    }
}

/// Runs a [`ServerHook`].
pub(crate) fn run_hook<'a, S: ServerHook>(
    stream: &'a mut Stream,
    ctx: &'a mut Context,
) -> HookFuture<'a> {
    Box::pin(async move {
        let hook = S::new(stream, ctx).await;
        hook.handle(stream, ctx).await
    })
}

/// Returns a hook as a shared function, for programs that call a hook by themselves. Each call of the function creates
/// the hook and handles the request. The function does not check the guards of the hook.
///
/// ```
/// use hyperlane_core::{Context, ServerHook, ServerHookHandler, Status, Stream, server_hook_factory};
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
/// async fn twice(stream: &mut Stream, ctx: &mut Context) {
///     let hello: ServerHookHandler = server_hook_factory::<Hello>();
///     if hello(stream, ctx).await.is_continue() {
///         hello(stream, ctx).await;
///     }
/// }
/// ```
pub fn server_hook_factory<S: ServerHook>() -> ServerHookHandler {
    Arc::new(run_hook::<S>)
}

/// A condition for a handler to accept a request.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Guard {
    pub kind: GuardKind,
    pub check: fn(&Context) -> bool,
}

impl Guard {
    /// Creates a guard on the method. `check` always returns true, because the dispatch of requests itself compares the
    /// method with the names in `kind`.
    pub const fn method(names: &'static [&'static str]) -> Self {
        Self {
            kind: GuardKind::Method(names),
            check: |_| true,
        }
    }

    /// Creates a guard that requires an upgrade to `protocol`. `check` looks for the protocol in the request.
    pub const fn asks_for(protocol: &'static str, check: fn(&Context) -> bool) -> Self {
        Self {
            kind: GuardKind::Upgrade(protocol),
            check,
        }
    }
}

/// The kinds of guards, in the order in which the server checks them. The text of each kind names the status of the
/// response to a request that a guard of this kind declines. If all routes of a path decline a request, the declining
/// guard that is last in this order decides the status.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardKind {
    /// The host of the request; 421.
    Host,
    /// The `Referer` of the request; 403.
    Referer,
    /// The HTTP version; 505.
    Version,
    /// The method; 405 with `Allow`.
    Method(&'static [&'static str]),
    /// An upgrade to a protocol; 426 with `Upgrade`.
    Upgrade(&'static str),
    /// No upgrade; 400.
    NoUpgrade,
}

impl GuardKind {
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Host => 0,
            Self::Referer => 1,
            Self::Version => 2,
            Self::Method(_) => 3,
            Self::Upgrade(_) | Self::NoUpgrade => 4,
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// The kind of a hook. It decides at which step of a request the server runs the hook.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    Route(&'static str),
    RequestMiddleware(Option<isize>),
    ResponseMiddleware(Option<isize>),
    TaskPanic(Option<isize>),
    RequestError(Option<isize>),
    /// Middleware that wraps, in [`Registration::wrap`].
    Middleware(Option<isize>),
}

/// A hook that an attribute macro registered.
#[doc(hidden)]
pub struct Registration {
    pub(crate) kind: HookKind,
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) guards: &'static [Guard],
    pub(crate) methods: &'static [&'static str],
    pub(crate) body: BodyPlan,
    /// The way in which the handler's arguments read the body. `None` if no argument reads it.
    reads: Option<BodyMode>,
    /// A check before the server starts: whether the server has what the handler's arguments need.
    pub(crate) check: SetupCheck,
    pub(crate) run: HookFn,
    /// The module of the item, as `module_path!` gives it. It decides the scope if `scope` is `None`.
    pub(crate) module: &'static str,
    /// The scope that the attribute names.
    pub(crate) scope: Option<&'static Scope>,
    /// The middleware of `#[with(..)]` on a route, outermost first.
    pub(crate) with: &'static [&'static dyn Middleware],
    /// The function of a registration of the kind `Middleware`.
    pub(crate) wrap: Option<&'static dyn Middleware>,
}

impl Registration {
    /// Creates the registration of a hook. A route that cannot work is a compile error: see the module `check`.
    #[track_caller]
    pub const fn of_hook<S: ServerHook>(
        kind: HookKind,
        name: &'static str,
        place: Place,
        methods: &'static [&'static str],
    ) -> Self {
        if let HookKind::Route(_) = kind {
            check::methods(methods, S::GUARDS, S::WEBSOCKET);
        }
        Self {
            kind,
            name,
            place,
            guards: S::GUARDS,
            methods,
            body: body_plan::<S>(),
            reads: None,
            check: needs_nothing,
            run: run_hook::<S>,
            module: "",
            scope: None,
            with: &[],
            wrap: None,
        }
    }

    pub const fn of_function(
        kind: HookKind,
        name: &'static str,
        place: Place,
        guards: &'static [Guard],
        run: HookFn,
    ) -> Self {
        Self {
            kind,
            name,
            place,
            guards,
            methods: &[],
            body: BodyPlan {
                mode: BodyMode::Whole,
                max: None,
            },
            reads: None,
            check: needs_nothing,
            run,
            module: "",
            scope: None,
            with: &[],
            wrap: None,
        }
    }

    /// Creates the registration of middleware that wraps.
    pub const fn of_middleware(
        order: Option<isize>,
        name: &'static str,
        place: Place,
        middleware: &'static dyn Middleware,
    ) -> Self {
        let mut registration = Self::of_function(
            HookKind::Middleware(order),
            name,
            place,
            &[],
            // Never called: the server takes the function in `wrap`.
            |_, _| Box::pin(std::future::ready(Status::Continue)),
        );
        registration.wrap = Some(middleware);
        registration
    }

    /// Sets the module of the item.
    pub const fn module(mut self, path: &'static str) -> Self {
        self.module = path;
        self
    }

    /// Sets the scope that the attribute names.
    pub const fn scope(mut self, scope: &'static Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Sets the middleware of the route.
    pub const fn with(mut self, middleware: &'static [&'static dyn Middleware]) -> Self {
        self.with = middleware;
        self
    }

    /// Checks, at compile time, that the route has the parameters that the function needs: its pattern, or the prefix of
    /// the scope that the attribute names.
    #[track_caller]
    pub const fn params(self, names: &[&str]) -> Self {
        if let HookKind::Route(pattern) = self.kind {
            check::params(pattern, self.scope, names);
        }
        self
    }

    /// Checks, at compile time, that the route has the parameters that a hook type needs.
    #[track_caller]
    pub const fn hook_params<S: ServerHook>(self) -> Self {
        self.params(S::PARAMS).params(S::NEW_PARAMS)
    }

    /// Makes the route read the body as a stream.
    pub const fn body_stream(mut self) -> Self {
        self.body.mode = BodyMode::Stream;
        self.reads = Some(BodyMode::Stream);
        self
    }

    /// Adds an argument of the handler. `body` is the way in which the argument reads the body; `None` if it does not
    /// read the body. Panics if an earlier argument reads the body in the other way. The function runs at compile time,
    /// so the panic is a compile error.
    #[allow(clippy::panic, reason = "a compile-time error, never met at run time")]
    pub const fn argument(mut self, body: Option<BodyMode>) -> Self {
        let Some(mode) = body else { return self };
        match (self.reads, mode) {
            (Some(BodyMode::Whole), BodyMode::Stream)
            | (Some(BodyMode::Stream), BodyMode::Whole) => {
                panic!(
                    "one argument reads the body whole and another reads it as a stream: keep one of them"
                )
            }
            _ => {}
        }
        self.body.mode = mode;
        self.reads = Some(mode);
        self
    }

    /// Sets the function that checks, before a server starts, what the handler's arguments need.
    pub const fn needs(mut self, check: SetupCheck) -> Self {
        self.check = check;
        self
    }

    /// Sets the maximum length of the body, in bytes.
    pub const fn max_body(mut self, limit: usize) -> Self {
        self.body.max = Some(limit);
        self
    }
}

inventory::collect!(Registration);

/// A mark. It says that one server of the program takes all registered hooks. If the mark exists, another server of the
/// program that has no routes starts with a warning instead of an error.
#[doc(hidden)]
pub struct Taker {
    pub place: Place,
    /// The name of the server: its variable.
    pub name: &'static str,
}

inventory::collect!(Taker);

/// The check for hooks without requirements. Always returns `Ok`.
pub(crate) fn needs_nothing(_: &RouteSetup<'_>) -> Result<(), SetupError> {
    Ok(())
}

/// Checks the parameters of a hook whose pattern is known only at run time. No macro can check these parameters.
pub(crate) fn needs_params<S: ServerHook>(setup: &RouteSetup<'_>) -> Result<(), SetupError> {
    setup.need_params(S::PARAMS)?;
    setup.need_params(S::NEW_PARAMS)
}

thread_local! {
    /// The error with which the running hook refuses its request. [`Refusal`] stores the error, and [`Guarded`] takes
    /// it in the same poll of the hook.
    static REFUSAL: RefCell<Option<Box<RequestError>>> = const { RefCell::new(None) };
    /// True if `REFUSAL` may hold an error. This value has no destructor, so reading it costs one load.
    static HAS_REFUSAL: Cell<bool> = const { Cell::new(false) };
}

fn take_refusal() -> Option<Box<RequestError>> {
    match HAS_REFUSAL.replace(false) {
        true => REFUSAL.take(),
        false => None,
    }
}

/// Returns a future that ends the hook that awaits it. The server drops the hook and answers with `error`.
///
/// An extractor makes an argument of a handler from the request. By this future, it can refuse the request in functions
/// of any return type, including `new`.
#[doc(hidden)]
pub fn refuse(error: RequestError) -> Refusal {
    Refusal(Some(Box::new(error)))
}

/// A future that never completes. The error is boxed, because every handler with an extractor reserves space for this
/// future.
#[doc(hidden)]
#[derive(Debug)]
pub struct Refusal(Option<Box<RequestError>>);

impl Future for Refusal {
    type Output = Infallible;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Infallible> {
        if let Some(error) = self.0.take() {
            REFUSAL.set(Some(error));
            HAS_REFUSAL.set(true);
        }
        Poll::Pending
    }
}

/// The result of a hook.
pub(crate) enum Outcome {
    Done(Status),
    Refused(Box<RequestError>),
    /// The hook panicked with this payload.
    Panicked(Box<dyn Any + Send>),
}

/// A future that polls a hook, of the type `F`, and catches its panics and refusals.
pub(crate) struct Guarded<F> {
    future: F,
    /// The connection, if the request is a WebSocket handshake that this hook may still answer.
    handshake: Option<Arc<Link>>,
}

impl<F> Guarded<F> {
    #[inline]
    pub(crate) fn new(future: F, handshake: Option<Arc<Link>>) -> Self {
        Self { future, handshake }
    }

    /// Returns whether the server drops the hook because a shutdown has begun and the hook has not answered its
    /// handshake.
    fn is_given_up(&self) -> bool {
        self.handshake
            .as_ref()
            .is_some_and(|conn| conn.env.is_shutting_down() && conn.lane.is_handshake())
    }
}

impl<F: Future<Output = Status> + Unpin> Future for Guarded<F> {
    type Output = Outcome;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        // Unwind safety: after a panic, `Guarded` is dropped and never polled again. The code that runs the hooks of a
        // request (`pipeline`) resets the borrowed stream and context before their next use.
        //
        // Another task of this thread, or a dropped branch of `select!`, may have left an error in `REFUSAL`. Such an
        // error does not belong to this hook.
        drop(take_refusal());
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.future).poll(cx))) {
            Ok(Poll::Ready(status)) => Poll::Ready(Outcome::Done(status)),
            Ok(Poll::Pending) => match take_refusal() {
                Some(error) => Poll::Ready(Outcome::Refused(error)),
                None if self.is_given_up() => {
                    Poll::Ready(Outcome::Refused(Box::new(RequestError::ShuttingDown)))
                }
                None => Poll::Pending,
            },
            Err(payload) => Poll::Ready(Outcome::Panicked(payload)),
        }
    }
}
