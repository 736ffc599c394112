//! Middleware that wraps: functions that run around the route of a request.

use std::{
    any::type_name,
    fmt,
    future::{Future, ready},
    sync::Arc,
};

use super::{Guarded, HandlerReturn, HookFuture, Outcome, Run};
use crate::{
    Context, Response, Status, Stream,
    conn::link::Link,
    context::Caught,
    error::{PanicData, Place, RequestError},
    exchange::answer::Progress,
    http::describe,
    panic::{Contained, drop_payload},
};

/// Middleware that wraps the route of a request: an async function of the context and [`Next`], or an async closure
/// that captures nothing.
///
/// The function decides when the rest of the chain runs, by [`Next::run`]. It may also answer the request itself and
/// never call `run`. It returns what a handler may return. The [`Status`] of `run` passes the outcome on. Another value
/// becomes the response, or a part of it.
///
/// `#[middleware]` registers a function for all routes of its scope, and `#[with(..)]` adds one to a single route.
/// [`Server::middleware`](crate::Server::middleware) and [`Scope::with`](crate::Scope::with) do the same without
/// macros.
///
/// ```
/// use std::time::Instant;
///
/// use hyperlane_core::{Context, Next, Server, Status};
///
/// async fn timing(ctx: &mut Context, next: Next<'_>) -> Status {
///     let start = Instant::now();
///     let status = next.run(ctx).await;
///     let took = format!("total;dur={}", start.elapsed().as_millis());
///     ctx.get_mut_response().set_header("server-timing", took);
///     status
/// }
///
/// Server::new().middleware(timing);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not middleware: write `async fn name(ctx: &mut Context, next: Next<'_>) -> Status`",
    label = "not a function of `&mut Context` and `Next<'_>` whose value a handler may return",
    note = "the returned value must not borrow from the context",
    note = "hooks as structs are registered by `#[request_middleware]` and `#[response_middleware]`"
)]
pub trait Middleware: Send + Sync + 'static {
    /// Runs the middleware. Implement this for a type of your own if the middleware needs a value:
    ///
    /// ```
    /// use hyperlane_core::{Context, HookFuture, Middleware, Next, Server};
    ///
    /// struct Header(String);
    ///
    /// impl Middleware for Header {
    ///     fn handle<'a>(&'a self, ctx: &'a mut Context, next: Next<'a>) -> HookFuture<'a> {
    ///         Box::pin(async move {
    ///             ctx.get_mut_response().set_header("x-version", &self.0);
    ///             next.run(ctx).await
    ///         })
    ///     }
    /// }
    ///
    /// Server::new().middleware(Header("7".to_owned()));
    /// ```
    fn handle<'a>(&'a self, ctx: &'a mut Context, next: Next<'a>) -> HookFuture<'a>;

    /// Checks a further request that the handler inside has read itself. Such a request does not pass through
    /// [`handle`](Self::handle).
    #[doc(hidden)]
    fn admit(&self, _: &Context) -> Result<(), RequestError> {
        Ok(())
    }

    /// Returns the name in lists of routes. Default: the name of the type or function.
    fn name(&self) -> &'static str {
        short_name(type_name::<Self>())
    }
}

/// A function with the signature of middleware. The lifetime is that of one call.
#[doc(hidden)]
pub trait MiddlewareFn<'a>: Send + Sync + 'static {
    type Future: Future<Output = Self::Answer> + Send + 'a;
    type Answer: HandlerReturn + 'static;

    fn call(&self, ctx: &'a mut Context, next: Next<'a>) -> Self::Future;
}

impl<'a, F, Fut> MiddlewareFn<'a> for F
where
    F: Fn(&'a mut Context, Next<'a>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerReturn + 'static> + Send + 'a,
{
    type Future = Fut;
    type Answer = Fut::Output;

    fn call(&self, ctx: &'a mut Context, next: Next<'a>) -> Fut {
        self(ctx, next)
    }
}

impl<F> Middleware for F
where
    F: for<'a> MiddlewareFn<'a>,
{
    fn handle<'a>(&'a self, ctx: &'a mut Context, next: Next<'a>) -> HookFuture<'a> {
        Box::pin(async move {
            let answer = self.call(&mut *ctx, next).await;
            answer.apply(ctx)
        })
    }
}

/// One middleware of a chain.
#[derive(Clone)]
pub(crate) enum Wrap {
    Static(&'static dyn Middleware),
    Shared(Arc<dyn Middleware>),
}

impl Wrap {
    pub(crate) fn get(&self) -> &dyn Middleware {
        match self {
            Self::Static(middleware) => *middleware,
            Self::Shared(middleware) => &**middleware,
        }
    }
}

impl fmt::Debug for Wrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get().name())
    }
}

/// The function of a hook, with its name and place.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) run: Run,
    pub(crate) name: &'static str,
    pub(crate) place: Place,
}

/// The part of a chain that has not run yet: middleware, outermost first, and the handler of the route. Computed when
/// the server starts.
#[derive(Clone, Default)]
pub(crate) enum Rest {
    Middleware(Wrap, Arc<Rest>),
    Handler(Function),
    /// No route accepts the request. The response then already has the status, for example 404.
    #[default]
    NoHandler,
}

impl Rest {
    pub(crate) fn new(wraps: &[Wrap], handler: Option<Function>) -> Self {
        let last = handler.map_or(Self::NoHandler, Self::Handler);
        let wraps = wraps.iter().rev().cloned();
        wraps.fold(last, |rest, wrap| Self::Middleware(wrap, Arc::new(rest)))
    }

    /// Creates the future that runs this part of the chain.
    #[inline]
    pub(crate) fn start<'a>(
        &'a self,
        stream: &'a mut Stream,
        ctx: &'a mut Context,
    ) -> HookFuture<'a> {
        match self {
            Self::Middleware(first, rest) => first.get().handle(ctx, Next { stream, rest }),
            Self::Handler(function) => function.run.start(stream, ctx),
            Self::NoHandler => Box::pin(ready(Status::Continue)),
        }
    }

    /// Returns the name of the function that runs next, and the place of a handler.
    fn next_name(&self) -> (&'static str, Option<Place>) {
        match self {
            Self::Middleware(first, _) => (first.get().name(), None),
            Self::Handler(function) => (function.name, Some(function.place)),
            Self::NoHandler => ("(none)", None),
        }
    }
}

/// The rest of a request's chain: the middleware that has not run yet, and the handler of the route.
///
/// A value of this type is an argument of middleware ([`Middleware`] has an example).
// Small, because the future of a middleware holds it more than once.
#[must_use = "without `run`, the handler of the route does not run"]
pub struct Next<'a> {
    stream: &'a mut Stream,
    rest: &'a Rest,
}

impl Next<'_> {
    /// Returns the connection of the request.
    pub(crate) fn connection(&self) -> Arc<Link> {
        self.stream.connection().clone()
    }

    /// Runs the rest of the chain and the handler of the route. Returns the decision of the handler. Afterwards, the
    /// response in the context is the one that the handler has prepared, if it has not sent an answer itself.
    ///
    /// If an extractor refuses the request, if the rest of the chain panics, or if the handler returns
    /// [`Status::Reject`] without an answer, the response has the status of this failure, and the result is `Reject`.
    /// Header fields that the rest of the chain has set are then gone, except those of middleware that has returned.
    /// After a refusal or a panic, the error hooks run when the whole chain has ended.
    /// [`Context::recover`] prevents this: the middleware has then answered in their place.
    ///
    /// # Cancel safety
    /// A dropped future drops the handler at its current await, and removes the header fields that the rest of the chain
    /// has set. The handler may have sent a part of its answer. The server then closes the connection when the chain has
    /// ended.
    #[expect(
        clippy::manual_async_fn,
        reason = "the future of an `async fn` would hold each argument twice"
    )]
    #[inline]
    pub fn run(self, ctx: &mut Context) -> impl Future<Output = Status> + Send {
        async move {
            let Next { stream, rest } = self;
            let handshake = stream.exchange.open_handshake();
            let mut inside = Inside::new(ctx);
            let future = Contained::new(rest.start(stream, &mut *inside.ctx));
            match Guarded::new(future, handshake).await {
                Outcome::Done(Status::Continue) => {
                    inside.is_done = true;
                    Status::Continue
                }
                outcome => fail(rest, stream, &mut inside, outcome),
            }
        }
    }
}

/// The context while the rest of a chain runs. If the rest does not return, because it is refused, panics or is dropped,
/// the response goes back to its state before the rest.
struct Inside<'a> {
    ctx: &'a mut Context,
    before: Option<Box<Response>>,
    is_done: bool,
}

impl<'a> Inside<'a> {
    fn new(ctx: &'a mut Context) -> Self {
        let before = ctx.response_so_far();
        Self {
            ctx,
            before,
            is_done: false,
        }
    }

    fn roll_back(&mut self) {
        if !std::mem::replace(&mut self.is_done, true) {
            // The fields of the first request are not those of a further one, which the handler has read itself.
            let before = self.before.take().filter(|_| !self.ctx.is_further());
            self.ctx.return_to(before);
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.roll_back();
    }
}

/// Sets the response after the rest of a chain has rejected the request or has failed.
#[cold]
fn fail(rest: &Rest, stream: &Stream, inside: &mut Inside<'_>, outcome: Outcome) -> Status {
    if let Outcome::Done(_) = outcome {
        inside.is_done = true;
    } else {
        stream.connection().lane.handles.set_kept_open(false);
        inside.roll_back();
    }
    let ctx = &mut *inside.ctx;
    match outcome {
        Outcome::Done(_) => {
            let is_open = stream.exchange.progress() == Progress::Unanswered;
            if is_open && ctx.is_response_unset() && ctx.try_get_request_error_data().is_none() {
                describe(ctx.get_mut_response(), 403);
            }
        }
        Outcome::Refused(error) => {
            ctx.refuse_here(*error);
            ctx.set_caught(Caught::Refusal);
        }
        Outcome::Panicked(payload) => {
            let (name, place) = rest.next_name();
            let data = PanicData::from_payload(&*payload, name);
            drop_payload(payload);
            match place {
                Some(place) => tracing::error!(hook = name, %place, "panic: {data}"),
                None => tracing::error!(hook = name, "panic: {data}"),
            }
            ctx.fail_here_by_panic(data);
            ctx.set_caught(Caught::Panic);
        }
    }
    Status::Reject
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.rest;
        let mut names = vec![rest.next_name().0];
        while let Rest::Middleware(_, inner) = rest {
            rest = inner;
            names.push(rest.next_name().0);
        }
        f.debug_tuple("Next").field(&names).finish()
    }
}

/// Returns the last segment of a path of a type, without its module: `auth` for `app::auth`.
pub(crate) fn short_name(path: &'static str) -> &'static str {
    let name = path.strip_suffix("::{{closure}}").unwrap_or(path);
    name.rsplit("::").next().unwrap_or(path)
}
