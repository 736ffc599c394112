//! Arguments of handler functions. The type of an argument, such as `Path<T>` or `Json<T>`, says what the server
//! extracts from the request.

mod declare;
#[cfg(feature = "forms")]
mod forms;
pub(crate) mod handler;
mod path;

use std::{fmt, future::Future, ops::Deref, sync::Arc};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use self::declare::{from_context, wrappers};
#[cfg(feature = "forms")]
pub use self::forms::{Form, Query};
use crate::{
    BodyMode, BodyStream, Context, Headers, Json, Method, RequestBody, RouteParams,
    error::{Error, RequestError, SetupError},
    hook::{refuse, setup::RouteSetup},
};

/// A type that a handler function can take as an argument, in addition to `&mut Stream` and `&mut Context`.
///
/// The server extracts the arguments one after the other, after the guards (the route's own checks) have accepted the
/// request and before the handler's code runs. If an extraction fails, the server does not run the handler and passes
/// the error to the `request_error` hooks (functions of the program for refused requests). If none of these hooks
/// answers, the client receives the error.
///
/// | argument | value |
/// |---|---|
/// | [`Path<T>`] | the route's parameters |
/// | [`Query<T>`] | the query |
/// | [`Json<T>`], [`Form<T>`] | the body, by its media type |
/// | `String`, [`Bytes`], [`RequestBody`] | the body |
/// | [`BodyStream`], [`Multipart`](crate::Multipart) | the body, piece by piece, as the handler asks for it |
/// | [`State<T>`] | a value of the server |
/// | [`Extension<T>`] | a value that middleware has stored for the request |
/// | [`Headers`], [`Method`], [`RouteParams`], `CookieJar` | parts of the request |
/// | [`Session`](crate::Session) | the client's session; created if there is none |
/// | `Result<A, RequestError>`, `Result<A, Error>` | another argument, or the error of its extraction |
///
/// Implement this trait to use a type of your own as an argument. `from_context` returns the same [`Error`] as a
/// handler, and `?` converts errors of other libraries:
///
/// ```
/// use hyperlane_core::{Context, Error, FromContext};
///
/// struct User(String);
///
/// impl FromContext for User {
///     async fn from_context(ctx: &mut Context) -> Result<Self, Error> {
///         let Some(name) = ctx.cookie("user") else {
///             return Err(Error::new(401, "log in first"));
///         };
///         // If the file is missing, the client gets a plain 500 and the log has the reason.
///         let known = tokio::fs::read_to_string("/etc/hyperlane-users").await?;
///         match known.lines().any(|line| line == name) {
///             true => Ok(Self(name)),
///             false => Err(Error::new(403, "no such user")),
///         }
///     }
/// }
///
/// // #[get("/me")]
/// async fn me(User(name): User) -> String {
///     name
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`: `FromContext` is not implemented for it",
    label = "not something a handler can take",
    note = "a handler takes `&mut Stream`, `&mut Context`, `Path<T>`, `Query<T>`, `Json<T>`, `Form<T>`, `State<T>`, \
            `Headers`, `String`, `Bytes`, `BodyStream`, or a type of yours that implements `FromContext`; the `T` of \
            `Path`, `Query`, `Json` and `Form` must implement `serde::Deserialize` and own its data",
    note = "`from_context` returns `Result<Self, hyperlane::Error>`: every error that implements `std::error::Error` becomes \
            one by `?`; `anyhow::Error` and `Box<dyn Error + Send + Sync>` do not, so write `.map_err(Error::internal)?`"
)]
pub trait FromContext: Sized {
    /// The way in which the argument reads the body. Default: `None`, the argument does not read the body.
    const BODY: Option<BodyMode> = None;

    /// Checks, before the server starts, that a route can provide the argument. The default implementation returns
    /// `Ok`.
    ///
    /// The server calls `check` once for each route whose handler has the argument. If `check` returns an error, the
    /// server does not start. If your type extracts other arguments, its `check` should call the `check` of their
    /// types:
    ///
    /// ```
    /// use hyperlane_core::{Context, Error, FromContext, RouteSetup, SetupError, State};
    ///
    /// struct Pool;
    /// struct Connection(State<Pool>);
    ///
    /// impl FromContext for Connection {
    ///     fn check(setup: &RouteSetup<'_>) -> Result<(), SetupError> {
    ///         State::<Pool>::check(setup)
    ///     }
    ///
    ///     async fn from_context(ctx: &mut Context) -> Result<Self, Error> {
    ///         Ok(Self(State::from_context(ctx).await?))
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the argument could not be extracted from any request to the route. The error names the
    /// missing part of the route or of the server.
    fn check(setup: &RouteSetup<'_>) -> Result<(), SetupError> {
        let _ = setup;
        Ok(())
    }

    /// Extracts the argument.
    ///
    /// # Errors
    /// Returns the reason why the request is refused. The client receives the status of a [`RequestError`] or of
    /// [`Error::new`], with its text if the status is below 500. For other errors, the client receives a plain 500. `?`
    /// does not convert `anyhow::Error` and `Box<dyn Error>`; use [`Error::internal`].
    fn from_context(ctx: &mut Context) -> impl Future<Output = Result<Self, Error>> + Send;
}

wrappers! {
    /// The route's parameters, deserialized as `T`: one value, a tuple in the pattern's order, or a struct whose fields
    /// are named like the parameters.
    ///
    /// The server answers an invalid value with 400 and names the parameter in the response. If `T` can never be
    /// deserialized from the parameters of the route, the server does not start, and its error names the reason. For
    /// this check, the server deserializes `T` from sample values before it listens.
    ///
    /// ```
    /// use hyperlane_core::Path;
    ///
    /// // #[get("/rooms/{room}/posts/{id}")]
    /// async fn post(Path((room, id)): Path<(String, u64)>) -> String {
    ///     format!("{room}: {id}")
    /// }
    /// ```
    Path;
}

/// A value of type `T` that middleware has stored for this request by [`Context::insert`].
///
/// If there is none, the client gets a plain 500, and the log names the type. For an optional value, use an argument of
/// type `Result<Extension<T>, RequestError>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extension<T>(pub T);

impl<T> Deref for Extension<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The server's value of type `T`. [`Server::state`](crate::Server::state) sets the value.
///
/// If the program has not set a value of this type, the server does not start, and its error names the handler and the
/// type. For an optional value, use an argument of type `Result<State<T>, RequestError>`.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use hyperlane_core::{Server, State};
///
/// // #[get("/count")]
/// async fn count(count: State<AtomicU64>) -> String {
///     count.fetch_add(1, Ordering::Relaxed).to_string()
/// }
///
/// let mut server = Server::new();
/// server.state(AtomicU64::new(0));
/// ```
pub struct State<T>(pub Arc<T>);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.0).finish()
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

from_context! {
    impl [T: DeserializeOwned] Path<T> => |ctx| path::read(ctx.get_route_params()).map(Self),
        |setup| path::fit::check::<T>(setup.params()).map_err(|lack| {
            SetupError::new(format!("it takes `Path<{}>`: {lack}", std::any::type_name::<T>()))
        });
    impl [T: DeserializeOwned] Json<T> where BodyMode::Whole => |ctx| ctx.json().map(Self);
    impl [T: Send + Sync + 'static] State<T> => |ctx| match ctx.try_state() {
        Some(value) => Ok(Self(value)),
        None => Err(RequestError::missing(crate::error::STATE, std::any::type_name::<T>())),
    }, |setup| setup.need_state::<T>();
    impl [T: Clone + Send + Sync + 'static] Extension<T> => |ctx| match ctx.get::<T>() {
        Some(value) => Ok(Self(value.clone())),
        None => Err(RequestError::missing(crate::error::EXTENSION, std::any::type_name::<T>())),
    };
    impl [] Headers => |ctx| Ok(ctx.get_request().get_headers().clone());
    impl [] Method => |ctx| Ok(ctx.get_request().get_method().clone());
    impl [] RouteParams => |ctx| Ok(ctx.get_route_params().clone());
    #[cfg(feature = "cookies")]
    impl [] cookie::CookieJar => |ctx| Ok(ctx.cookies());
    impl [] RequestBody where BodyMode::Whole => |ctx| Ok(ctx.get_request().get_body().clone());
    impl [] Bytes where BodyMode::Whole => |ctx| Ok(ctx.get_request().get_body().clone().into());
    impl [] String where BodyMode::Whole => |ctx| {
        let body = ctx.get_request().get_body().to_vec();
        Self::from_utf8(body).map_err(|_| RequestError::refused(400, "the body is not UTF-8 text"))
    };
    impl [] BodyStream where BodyMode::Stream => |ctx| Ok(ctx.body_stream());
    #[cfg(feature = "multipart")]
    impl [] crate::multipart::Multipart where BodyMode::Stream => |ctx| ctx.multipart();
    /// The session of the client. If the client has none, the server creates one.
    ///
    /// If the only credential of a request is an invalid token, the server refuses the request with 401.
    #[cfg(feature = "sessions")]
    impl [] crate::session::Session => |ctx| match ctx.is_session_token_refused() {
        true => Err(RequestError::SessionToken),
        false => Ok(ctx.session()),
    };
}

/// Extracts an argument of a handler. If the extraction fails, ends the hook with the error.
pub async fn argument<T: FromContext>(ctx: &mut Context) -> T {
    let made = T::from_context(ctx).await;
    match made.map_err(|error| refuse(error.into_request_error())) {
        Ok(argument) => argument,
        Err(refusal) => match refusal.await {},
    }
}

/// Never refuses the request. The handler receives the error of the extraction, converted to a [`RequestError`].
impl<T: FromContext> FromContext for Result<T, RequestError> {
    const BODY: Option<BodyMode> = T::BODY;

    async fn from_context(ctx: &mut Context) -> Result<Self, Error> {
        Ok(T::from_context(ctx)
            .await
            .map_err(Error::into_request_error))
    }
}

/// Never refuses the request. The handler receives the original error of the extraction.
impl<T: FromContext> FromContext for Result<T, Error> {
    const BODY: Option<BodyMode> = T::BODY;

    async fn from_context(ctx: &mut Context) -> Result<Self, Error> {
        Ok(T::from_context(ctx).await)
    }
}
