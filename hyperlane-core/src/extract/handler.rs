//! Functions and closures as handlers that a program registers at run time.

use std::{any::type_name, future::Future, sync::Arc};

use super::{FromContext, argument};
use crate::{
    BodyMode, Context, Stream,
    error::SetupError,
    hook::{
        HandlerReturn, HookFuture, ServerHookHandler,
        setup::{RouteSetup, SetupCheck},
    },
};

/// A function or closure that [`At`](crate::At) registers as the handler of a route: what an attribute such as
/// `#[get(..)]` takes, without the attribute.
///
/// The arguments are types that implement [`FromContext`], up to 6 of them. Before them, a function may take `&mut
/// Context`, or `&mut Stream` and `&mut Context`. It is async, and its value is a [`Status`](crate::Status) or
/// implements [`IntoResponse`](crate::IntoResponse). A closure must not capture by reference: values that several
/// requests share are in [`State`](crate::State), or in an `Arc` that the closure clones.
///
/// ```
/// use hyperlane_core::{Context, Json, Path, Server};
///
/// async fn echo(ctx: &mut Context, body: String) -> String {
///     format!("{} {body}", ctx.get_request().get_path())
/// }
///
/// let mut server = Server::new();
/// server.at("/echo").post(echo);
/// server.at("/double/{number}").get(async |Path(number): Path<u32>| Json(2 * number));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler: write `async fn name(..) -> impl IntoResponse`",
    label = "not an async function of arguments that a handler can take",
    note = "a handler takes nothing, or `&mut Context`, or `&mut Stream` and `&mut Context`, and then up to 6 types that implement `FromContext`",
    note = "a handler returns `Status`, or something that implements `IntoResponse`; it is `async`, and its future is `Send`",
    note = "a type that implements `ServerHook` is registered by `server.route::<Hook>(\"/path\")`"
)]
pub trait Handler<M>: Sized + Send + Sync + 'static {
    /// Makes the function one of the stream and the context.
    #[doc(hidden)]
    fn plan(self) -> PlannedHandler;
}

/// A handler as the server calls it.
#[doc(hidden)]
pub struct PlannedHandler {
    pub(crate) name: &'static str,
    pub(crate) run: ServerHookHandler,
    pub(crate) check: SetupCheck,
    pub(crate) body: Option<BodyMode>,
}

/// A function of owned arguments.
#[doc(hidden)]
pub struct OfArguments<A, R>(std::marker::PhantomData<(A, R)>);

/// A function of the context and owned arguments.
#[doc(hidden)]
pub struct OfContext<A>(std::marker::PhantomData<A>);

/// A function of the stream, the context and owned arguments.
#[doc(hidden)]
pub struct OfStream<A>(std::marker::PhantomData<A>);

/// A function with the signature of a handler that borrows the context. The lifetime is that of one call.
#[doc(hidden)]
pub trait ContextFn<'a, A>: Send + Sync + 'static {
    type Future: Future<Output = Self::Answer> + Send + 'a;
    type Answer: HandlerReturn + 'static;

    fn call(&self, ctx: &'a mut Context, arguments: A) -> Self::Future;
}

/// A function with the signature of a handler that borrows the stream and the context.
#[doc(hidden)]
pub trait StreamFn<'a, A>: Send + Sync + 'static {
    type Future: Future<Output = Self::Answer> + Send + 'a;
    type Answer: HandlerReturn + 'static;

    fn call(&self, stream: &'a mut Stream, ctx: &'a mut Context, arguments: A) -> Self::Future;
}

/// A tuple of arguments.
#[doc(hidden)]
pub trait Arguments: Sized + Send + 'static {
    /// The way in which the arguments read the body.
    const BODY: Option<BodyMode>;

    fn check(setup: &RouteSetup<'_>) -> Result<(), SetupError>;

    fn make(ctx: &mut Context) -> impl Future<Output = Self> + Send;
}

/// Returns the way in which both of two arguments read the body. The function runs at compile time, so the panic is a
/// compile error.
#[allow(clippy::panic, reason = "a compile-time error, never met at run time")]
const fn joined(first: Option<BodyMode>, second: Option<BodyMode>) -> Option<BodyMode> {
    match (first, second) {
        (Some(BodyMode::Whole), Some(BodyMode::Stream))
        | (Some(BodyMode::Stream), Some(BodyMode::Whole)) => panic!(
            "one argument reads the body whole and another reads it as a stream: keep one of them"
        ),
        (Some(mode), _) | (None, Some(mode)) => Some(mode),
        (None, None) => None,
    }
}

fn planned<A: Arguments, F>(
    _: &Arc<F>,
    run: impl for<'a> Fn(&'a mut Stream, &'a mut Context) -> HookFuture<'a> + Send + Sync + 'static,
) -> PlannedHandler {
    PlannedHandler {
        name: crate::hook::wrap::short_name(type_name::<F>()),
        run: Arc::new(run),
        check: A::check,
        body: const { A::BODY },
    }
}

impl<F, A> Handler<OfContext<A>> for F
where
    F: for<'a> ContextFn<'a, A>,
    A: Arguments,
{
    fn plan(self) -> PlannedHandler {
        let function = Arc::new(self);
        planned::<A, F>(&function.clone(), move |_, ctx| {
            let function = function.clone();
            Box::pin(async move {
                let arguments = A::make(ctx).await;
                let answer = function.call(&mut *ctx, arguments).await;
                answer.apply(ctx)
            })
        })
    }
}

impl<F, A> Handler<OfStream<A>> for F
where
    F: for<'a> StreamFn<'a, A>,
    A: Arguments,
{
    fn plan(self) -> PlannedHandler {
        let function = Arc::new(self);
        planned::<A, F>(&function.clone(), move |stream, ctx| {
            let function = function.clone();
            Box::pin(async move {
                let arguments = A::make(ctx).await;
                let answer = function.call(stream, &mut *ctx, arguments).await;
                answer.apply(ctx)
            })
        })
    }
}

/// Implements the traits for one number of arguments.
macro_rules! arguments {
    ($($name:ident)*) => {
        impl<$($name: FromContext + Send + 'static),*> Arguments for ($($name,)*) {
            const BODY: Option<BodyMode> = {
                #[allow(unused_mut)]
                let mut body = None;
                $(body = joined(body, $name::BODY);)*
                body
            };

            #[allow(unused_variables)]
            fn check(setup: &RouteSetup<'_>) -> Result<(), SetupError> {
                $($name::check(setup)?;)*
                Ok(())
            }

            #[allow(unused_variables, clippy::unused_unit)]
            async fn make(ctx: &mut Context) -> Self {
                ($(argument::<$name>(ctx).await,)*)
            }
        }

        impl<Function, Fut, $($name),*> Handler<OfArguments<($($name,)*), Fut>> for Function
        where
            Function: Fn($($name),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: HandlerReturn + 'static> + Send + 'static,
            ($($name,)*): Arguments,
        {
            fn plan(self) -> PlannedHandler {
                let function = Arc::new(self);
                planned::<($($name,)*), Function>(&function.clone(), move |_, ctx| {
                    let function = function.clone();
                    Box::pin(async move {
                        #[allow(non_snake_case)]
                        let ($($name,)*) = <($($name,)*)>::make(ctx).await;
                        function($($name),*).await.apply(ctx)
                    })
                })
            }
        }

        impl<'a, Function, Fut, $($name),*> ContextFn<'a, ($($name,)*)> for Function
        where
            Function: Fn(&'a mut Context, $($name),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: HandlerReturn + 'static> + Send + 'a,
        {
            type Future = Fut;
            type Answer = Fut::Output;

            #[allow(non_snake_case)]
            fn call(&self, ctx: &'a mut Context, ($($name,)*): ($($name,)*)) -> Fut {
                self(ctx, $($name),*)
            }
        }

        impl<'a, Function, Fut, $($name),*> StreamFn<'a, ($($name,)*)> for Function
        where
            Function: Fn(&'a mut Stream, &'a mut Context, $($name),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: HandlerReturn + 'static> + Send + 'a,
        {
            type Future = Fut;
            type Answer = Fut::Output;

            #[allow(non_snake_case)]
            fn call(
                &self,
                stream: &'a mut Stream,
                ctx: &'a mut Context,
                ($($name,)*): ($($name,)*),
            ) -> Fut {
                self(stream, ctx, $($name),*)
            }
        }
    };
}

arguments!();
arguments!(A1);
arguments!(A1 A2);
arguments!(A1 A2 A3);
arguments!(A1 A2 A3 A4);
arguments!(A1 A2 A3 A4 A5);
arguments!(A1 A2 A3 A4 A5 A6);
