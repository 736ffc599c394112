//! Typed arguments of function handlers.

mod path;

use std::{fmt, future::Future, ops::Deref, sync::Arc};

use bytes::Bytes;
use cookie::CookieJar;
use serde::de::DeserializeOwned;

use crate::{
    BodyMode, BodyStream, Context, Headers, Json, Method, Multipart, RequestBody, RequestError,
    RouteParams,
};

/// What a function handler can take as an argument, besides the stream and the context.
///
/// Arguments are made one after the other, after the guards and before the body. The first that cannot be made refuses
/// the request: its error goes to the `request_error` hooks and, unless they answer, to the client.
///
/// | argument | what it is |
/// |---|---|
/// | [`Path<T>`] | the route's parameters |
/// | [`Query<T>`] | the query |
/// | [`Json<T>`], [`Form<T>`] | the body, by its media type |
/// | `String`, [`Bytes`], [`RequestBody`] | the body |
/// | [`BodyStream`], [`Multipart`] | the body, piece by piece: nothing is read before the handler asks |
/// | [`State<T>`] | a value of the server |
/// | [`Headers`], [`Method`], [`RouteParams`], `CookieJar` | parts of the request |
/// | [`Session`](crate::Session) | the client's session; begun if it has none |
/// | `Result<A, RequestError>` | what another argument would be, or why it is not |
///
/// A type of the program becomes an argument by implementing this trait:
///
/// ```
/// use hyperlane_core::{Context, FromContext, RequestError};
///
/// struct User(String);
///
/// impl FromContext for User {
///     async fn from_context(ctx: &mut Context) -> Result<Self, RequestError> {
///         match ctx.cookie("user") {
///             Some(name) => Ok(Self(name)),
///             None => Err(RequestError::refused(401, "log in first")),
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
            `Path`, `Query`, `Json` and `Form` must implement `serde::Deserialize` and own its data"
)]
pub trait FromContext: Sized {
    /// How the argument reads the body, if it does. Default: not at all.
    const BODY: Option<BodyMode> = None;

    /// Makes the argument.
    ///
    /// # Errors
    /// Why the request is refused; [`RequestError::refused`] for reasons of the program's own.
    fn from_context(ctx: &mut Context) -> impl Future<Output = Result<Self, RequestError>> + Send;
}

/// Declares tuple structs that give their value away.
macro_rules! wrappers {
    ($($(#[$attr:meta])+ $name:ident;)+) => {$(
        $(#[$attr])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<T>(pub T);

        impl<T> Deref for $name<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }
    )+};
}

wrappers! {
    /// The route's parameters as `T`: one value, a tuple in the pattern's order, or a struct with their names.
    ///
    /// What does not fit is answered with 400 and the name of the parameter. Where the route has other parameters than `T`,
    /// so that no request could fit, the answer is 500, and the log says what is missing.
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
    /// The query as `T`; a name that comes several times makes a list. What does not fit is answered with 400 and the
    /// name.
    ///
    /// ```
    /// use hyperlane_core::Query;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     page: u32,
    /// }
    ///
    /// // #[get("/posts")]
    /// async fn posts(Query(Page { page }): Query<Page>) -> String {
    ///     format!("page {page}")
    /// }
    /// ```
    Query;
    /// The body, an HTML form, as `T`. What does not fit is answered with 400 and the name, another media type with 415.
    ///
    /// ```
    /// use hyperlane_core::Form;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Login {
    ///     name: String,
    /// }
    ///
    /// // #[post("/login")]
    /// async fn login(Form(login): Form<Login>) -> String {
    ///     format!("hello {}", login.name)
    /// }
    /// ```
    Form;
}

/// The value of the server with type `T`, as [`Server::state`](crate::Server::state) set it.
///
/// Where it was never set the answer is 500, and the log names the type.
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

/// Implements the trait by an expression that gives a `Result`.
macro_rules! from_context {
    ($(impl [$($generics:tt)*] $ty:ty $(where $body:expr)? => |$ctx:ident| $value:expr;)+) => {$(
        impl<$($generics)*> FromContext for $ty {
            $(const BODY: Option<BodyMode> = Some($body);)?

            async fn from_context($ctx: &mut Context) -> Result<Self, RequestError> {
                $value
            }
        }
    )+};
}

from_context! {
    impl [T: DeserializeOwned] Path<T> => |ctx| path::read(ctx.get_route_params()).map(Self);
    impl [T: DeserializeOwned] Query<T> => |ctx| ctx.query().map(Self);
    impl [T: DeserializeOwned] Json<T> where BodyMode::Whole => |ctx| ctx.json().map(Self);
    impl [T: DeserializeOwned] Form<T> where BodyMode::Whole => |ctx| ctx.form().map(Self);
    impl [T: Send + Sync + 'static] State<T> => |ctx| match ctx.try_state() {
        Some(value) => Ok(Self(value)),
        None => Err(RequestError::missing(crate::error::STATE, std::any::type_name::<T>())),
    };
    impl [] Headers => |ctx| Ok(ctx.get_request().get_headers().clone());
    impl [] Method => |ctx| Ok(ctx.get_request().get_method().clone());
    impl [] RouteParams => |ctx| Ok(ctx.get_route_params().clone());
    impl [] CookieJar => |ctx| Ok(ctx.cookies());
    impl [] RequestBody where BodyMode::Whole => |ctx| Ok(ctx.get_request().get_body().clone());
    impl [] Bytes where BodyMode::Whole => |ctx| Ok(ctx.get_request().get_body().clone().into());
    impl [] String where BodyMode::Whole => |ctx| {
        let body = ctx.get_request().get_body().to_vec();
        Self::from_utf8(body).map_err(|_| RequestError::refused(400, "the body is not UTF-8 text"))
    };
    impl [] BodyStream where BodyMode::Stream => |ctx| Ok(ctx.body_stream());
    impl [] Multipart where BodyMode::Stream => |ctx| ctx.multipart();
}

/// Never refuses the request: the handler sees why it would have been.
impl<T: FromContext> FromContext for Result<T, RequestError> {
    const BODY: Option<BodyMode> = T::BODY;

    async fn from_context(ctx: &mut Context) -> Result<Self, RequestError> {
        Ok(T::from_context(ctx).await)
    }
}
