//! One call of a handler.

use std::{
    any::Any,
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
};

use super::{TestError, TestRequest, TestResponse, TestServer, request::or_panic};
use crate::{Handler, Server};

/// Runs a handler with one request. Await the [`Call`] for the response.
///
/// The handler is any function that [`Server::at`] takes: with typed arguments, with `&mut Context`, or with `&mut
/// Stream` and `&mut Context`. Functions with attributes are such functions, too: the attributes that bind values and
/// guard the function have their effect, and the path, the method and the scope of `#[get(..)]` have not. To run the
/// function with these, start a [`TestServer`] with the routes of the program.
///
/// The handler runs in a server of its own, which has no other hooks.
///
/// ```
/// use hyperlane_core::{Json, Path, State, test_kit::{TestRequest, call}};
///
/// struct Prices(Vec<u32>);
///
/// async fn price(Path(id): Path<usize>, State(prices): State<Prices>) -> Json<Option<u32>> {
///     Json(prices.0.get(id).copied())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let response = call(price, TestRequest::get("/prices/1"))
///     .route("/prices/{id}")
///     .state(Prices(vec![5, 7]))
///     .await;
/// assert_eq!(response.json::<u32>(), 7);
/// # }
/// ```
pub fn call<M: 'static>(handler: impl Handler<M>, request: TestRequest) -> Call {
    let route = match request.path() {
        "/" => "/",
        _ => "/{*path}",
    };
    Call {
        server: Server::new(),
        register: Box::new(move |server, route| {
            server.at(route).any(handler);
        }),
        route: route.to_owned(),
        request,
    }
}

type Register = Box<dyn FnOnce(&mut Server, &str) + Send>;

/// A call of a handler, which a test completes and awaits. Created by [`call`].
#[must_use = "await the call to run the handler"]
pub struct Call {
    server: Server,
    /// Registers the handler at a pattern.
    register: Register,
    route: String,
    request: TestRequest,
}

impl Call {
    /// Sets the pattern of the route, from which the handler gets its parameters. The path of the request must match
    /// it. Default: a pattern that matches every path.
    pub fn route(mut self, pattern: &str) -> Self {
        pattern.clone_into(&mut self.route);
        self
    }

    /// Shares a value with the handler, like [`Server::state`].
    pub fn state<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.server.state(value);
        self
    }

    /// Runs the handler and returns the response.
    ///
    /// # Errors
    /// Returns a [`TestError`] if no whole response arrives, or if the request is invalid; [`TestError::Server`] if the
    /// handler needs a state or a parameter that the call does not have, or if the pattern is invalid.
    pub async fn send(mut self) -> Result<TestResponse, TestError> {
        (self.register)(&mut self.server, &self.route);
        let server = TestServer::start(&self.server)?;
        let response = server.client().send(self.request).await;
        server.shutdown().await;
        response
    }
}

impl IntoFuture for Call {
    type Output = TestResponse;
    type IntoFuture = Pin<Box<dyn Future<Output = TestResponse> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let (place, what) = (self.request.place(), self.request.to_string());
        Box::pin(or_panic(place, what, self.send()))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("route", &self.route)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
