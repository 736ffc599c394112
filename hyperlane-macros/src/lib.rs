#![doc = include_str!("docs/macros.md")]

// Long: the file is one list of all macros. Most of its lines are reference documentation with examples.

mod args;
mod crate_path;
mod emit;
mod expand;
mod function;
mod jumps;
mod literals;
mod model;
mod nearest;
mod params;
mod pattern;
mod phases;
mod register;
mod scope;
mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod variables;

/// Declares one attribute macro per entry. The entries are grouped by phase (a step of the expanded function). The
/// string of a group becomes the last paragraph in the documentation of each macro of the group. If an entry ends with
/// `at "/path"`, the documentation of the macro gets an example: a route at this path with the macro.
macro_rules! declare {
    ($(
        $phase:ident $when:literal {
            $($(#[doc = $doc:literal])+ $name:ident $(at $path:literal)?;)+
        }
    )+) => {
        $($(
            $(#[doc = $doc])+
            $(#[doc = concat!(
                "\n```\nuse hyperlane::*;\n\n#[route(", stringify!($path), ")]\n#[", stringify!($name),
                "]\nasync fn handler() {}\n# fn main() {}\n```"
            )])?
            #[doc = ""]
            #[doc = $when]
            #[proc_macro_attribute]
            pub fn $name(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
                expand::expand(stringify!($name), args.into(), item.into()).into()
            }
        )+)+

        /// The names of the declared attributes. A test compares them with the rows of `table::ROWS`.
        #[cfg(test)]
        const DECLARED: &[&str] = &[$($(stringify!($name)),+),+];
    };
}

declare! {
    declarations "Runs first, before the guards." {
        /// Declares variables with the default values of their types, and adds all registered hooks (the program's
        /// functions and structs that handle requests) to a `Server`: `#[hyperlane(server: Server)]`.
        ///
        /// The macro takes any number of `name: Type` pairs and works on any function. The macro adds the hooks to each
        /// variable whose type is written as `Server`. The macro does not recognize an alias of `Server`.
        ///
        /// If a program registers routes by macros but declares no `Server` by this macro, no server serves these
        /// routes. In such a program, a server without any other routes returns an error when it starts.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[hyperlane(server: Server)]
        /// async fn start() -> Result<ServerControlHook, ServerError> {
        ///     server.bind("127.0.0.1:0");
        ///     server.run().await
        /// }
        /// # fn main() {}
        /// ```
        hyperlane;
        /// Brings traits into scope, as `use std::fmt::Write as _;` does: `#[import(std::fmt::Write)]`.
        ///
        /// On a function, the traits are in scope in the function's body. On a struct, the traits are in scope in the
        /// module that contains the struct.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[import(std::fmt::Write)]
        /// fn text(out: &mut String) {
        ///     let _ = write!(out, "hello");
        /// }
        /// # fn main() { text(&mut String::new()) }
        /// ```
        import;
    }
    routes "" {
        /// Registers a hook struct (a struct that implements `ServerHook`) or an async function at a path, for every
        /// method: `#[route("/users/{id}")]`.
        ///
        /// The attribute can be repeated, once per path. The function must be a free function: a function in an `impl`
        /// or a `trait` is refused. The routes of another crate are registered only if the program's code names that
        /// crate: `use handlers as _;` is enough for a crate `handlers`.
        ///
        /// The argument is the pattern of the path, as a string literal or as a constant. Examples of patterns are
        /// `/users/:id`, `/users/{id}`, `/users/{id:\d+}` and `/files/{*path}`. The compiler checks a literal pattern
        /// and its regexes. It also checks the names in `route_param`: the pattern must have these parameters. When a
        /// server starts, it checks the typed arguments of route functions: the pattern's parameters must fit the type
        /// in `Path`, and the server must have a value of the type in `State`.
        ///
        /// A function may take the stream, the context and typed arguments. A function returns `Status` or any type
        /// that implements `IntoResponse`.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/hello/{name}")]
        /// #[route_param("name" => name)]
        /// async fn hello() -> impl IntoResponse {
        ///     format!("hello {name}")
        /// }
        /// # fn main() {}
        /// ```
        route;
        /// Registers a hook struct or an async function at a path, for every method: `#[any("/status")]`. `any` is
        /// another name for `route`.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[any("/status")]
        /// async fn status() -> &'static str {
        ///     "up"
        /// }
        /// # fn main() {}
        /// ```
        any;
        /// Registers a hook struct or an async function at a path, for GET and HEAD requests: `#[get("/path")]`.
        ///
        /// The server passes a request with another method to the next handler of the path. If all handlers of the path
        /// decline because of the method, the server answers 405.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/path")]
        /// async fn handler() -> &'static str {
        ///     "hello"
        /// }
        /// # fn main() {}
        /// ```
        get;
        /// Registers a hook struct or an async function at a path, for POST requests: `#[post("/path")]`.
        ///
        /// The server passes a request with another method to the next handler of the path. If all handlers of the path
        /// decline because of the method, the server answers 405.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[post("/path")]
        /// async fn handler() -> HttpStatus {
        ///     HttpStatus::Ok
        /// }
        /// # fn main() {}
        /// ```
        post;
        /// Registers a hook struct or an async function at a path, for PUT requests: `#[put("/path")]`.
        ///
        /// The server passes a request with another method to the next handler of the path. If all handlers of the path
        /// decline because of the method, the server answers 405.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[put("/path")]
        /// async fn handler() -> HttpStatus {
        ///     HttpStatus::Ok
        /// }
        /// # fn main() {}
        /// ```
        put;
        /// Registers a hook struct or an async function at a path, for DELETE requests: `#[delete("/path")]`.
        ///
        /// The server passes a request with another method to the next handler of the path. If all handlers of the path
        /// decline because of the method, the server answers 405.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[delete("/path")]
        /// async fn handler() -> HttpStatus {
        ///     HttpStatus::Ok
        /// }
        /// # fn main() {}
        /// ```
        delete;
        /// Registers a hook struct or an async function at a path, for PATCH requests: `#[patch("/path")]`.
        ///
        /// The server passes a request with another method to the next handler of the path. If all handlers of the path
        /// decline because of the method, the server answers 405.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[patch("/path")]
        /// async fn handler() -> HttpStatus {
        ///     HttpStatus::Ok
        /// }
        /// # fn main() {}
        /// ```
        patch;
        /// Registers a hook struct or an async function at a path, for HEAD requests: `#[head("/path")]`.
        ///
        /// The server passes a request with another method to the next handler of the path. If all handlers of the path
        /// decline because of the method, the server answers 405.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[head("/path")]
        /// async fn handler() -> HttpStatus {
        ///     HttpStatus::Ok
        /// }
        /// # fn main() {}
        /// ```
        head;
        /// Registers a hook struct or an async function at a path, for OPTIONS requests: `#[options("/path")]`.
        ///
        /// The server passes a request with another method to the next handler of the path. If all handlers of the path
        /// decline because of the method, the server answers 405.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[options("/path")]
        /// async fn handler() -> HttpStatus {
        ///     HttpStatus::Ok
        /// }
        /// # fn main() {}
        /// ```
        options;
        /// Registers a hook struct or an async function at a path, for QUERY requests (RFC 10008): `#[query("/path")]`. A
        /// QUERY reads, like GET, and its query is the body of the request. `Content-Type` has the type of the query; the
        /// handler refuses types that it does not know.
        ///
        /// The server passes a request with another method to the next handler of the path. If all handlers of the path
        /// decline because of the method, the server answers 405.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[query("/things")]
        /// async fn find(Json(names): Json<Vec<String>>) -> String {
        ///     names.join(", ")
        /// }
        /// # fn main() {}
        /// ```
        query;
    }
    hooks "" {
        /// Registers a hook struct that runs before routes: `#[request_middleware]`, or `#[request_middleware(1)]` with
        /// an order.
        ///
        /// The order is any `isize` constant, or a number in quotes. Hooks with smaller orders run earlier. Hooks
        /// without an order run before all hooks with an order.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[request_middleware(1)]
        /// struct Hook;
        ///
        /// impl ServerHook for Hook {
        ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
        ///         Self
        ///     }
        ///
        ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ///         ctx.set_attribute("seen", true);
        ///         Status::Continue
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        request_middleware;
        /// Registers a hook struct that runs after routes: `#[response_middleware]`, or `#[response_middleware(1)]`
        /// with an order.
        ///
        /// The order is any `isize` constant, or a number in quotes. Hooks with smaller orders run earlier. Hooks
        /// without an order run before all hooks with an order.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[response_middleware(1)]
        /// struct Hook;
        ///
        /// impl ServerHook for Hook {
        ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
        ///         Self
        ///     }
        ///
        ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ///         ctx.get_mut_response().set_header(SERVER, "mine");
        ///         Status::Continue
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        response_middleware;
        /// Registers a hook struct that runs after a hook has panicked: `#[task_panic]`, or `#[task_panic(1)]` with an
        /// order.
        ///
        /// The order is any `isize` constant, or a number in quotes. Hooks with smaller orders run earlier. Hooks
        /// without an order run before all hooks with an order.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[task_panic(1)]
        /// struct Hook;
        ///
        /// impl ServerHook for Hook {
        ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
        ///         Self
        ///     }
        ///
        ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ///         ctx.get_mut_response().set_status_code(500).set_body("sorry");
        ///         Status::Continue
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        task_panic;
        /// Registers a hook struct that runs after the server or a hook has refused a request: `#[request_error]`, or
        /// `#[request_error(1)]` with an order.
        ///
        /// The order is any `isize` constant, or a number in quotes. Hooks with smaller orders run earlier. Hooks
        /// without an order run before all hooks with an order.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[request_error(1)]
        /// struct Hook;
        ///
        /// impl ServerHook for Hook {
        ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
        ///         Self
        ///     }
        ///
        ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ///         ctx.get_mut_response().set_body("not like this");
        ///         Status::Continue
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        request_error;
        /// Registers an async function that wraps routes: `#[middleware]`, or `#[middleware(1)]` with an order.
        ///
        /// The function takes the context and `Next`. The routes of the function's scope run inside it, or all routes of
        /// the server if the function is in no scope. `next.run(ctx)` runs the route, and the function may change or
        /// replace the response afterwards. A function without `run` answers in place of the route. Functions with
        /// smaller orders run outside of those with larger ones.
        ///
        /// Struct hooks such as `#[request_middleware]` run before and after the whole chain of these functions.
        ///
        /// ```
        /// use std::time::Instant;
        ///
        /// use hyperlane::*;
        ///
        /// #[middleware]
        /// async fn timing(ctx: &mut Context, next: Next<'_>) -> Status {
        ///     let start = Instant::now();
        ///     let status = next.run(ctx).await;
        ///     let took = format!("total;dur={}", start.elapsed().as_millis());
        ///     ctx.get_mut_response().set_header("server-timing", took);
        ///     status
        /// }
        /// # fn main() {}
        /// ```
        middleware;
        /// Wraps one route in middleware functions, outermost first: `#[with(auth)]`. The functions of the route's
        /// scope run outside of them.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// async fn auth(
        ///     ctx: &mut Context,
        ///     next: Next<'_>,
        /// ) -> Result<Status, (HttpStatus, &'static str)> {
        ///     match ctx.get_request().get_headers().get("authorization") {
        ///         Some("Bearer secret") => Ok(next.run(ctx).await),
        ///         _ => Err((HttpStatus::Unauthorized, "log in first")),
        ///     }
        /// }
        ///
        /// #[get("/reports")]
        /// #[with(auth)]
        /// async fn reports() -> &'static str {
        ///     "all good"
        /// }
        /// # fn main() {}
        /// ```
        with;
    }
    guards "A guard runs before anything is read. On a route, a declined request goes to the next handler of the \
        path. On any other function the guard skips the body." {
        /// Declines requests whose method is neither GET nor HEAD. If all handlers of the path decline because of the
        /// method, the answer is 405.
        is_get_method at "/path";
        /// Declines requests whose method is not POST. If all handlers of the path decline because of the method, the
        /// answer is 405.
        is_post_method at "/path";
        /// Declines requests whose method is not PUT. If all handlers of the path decline because of the method, the
        /// answer is 405.
        is_put_method at "/path";
        /// Declines requests whose method is not DELETE. If all handlers of the path decline because of the method, the
        /// answer is 405.
        is_delete_method at "/path";
        /// Declines requests whose method is not PATCH. If all handlers of the path decline because of the method, the
        /// answer is 405.
        is_patch_method at "/path";
        /// Declines requests whose method is not HEAD. If all handlers of the path decline because of the method, the
        /// answer is 405.
        is_head_method at "/path";
        /// Declines requests whose method is not OPTIONS. If all handlers of the path decline because of the method,
        /// the answer is 405.
        is_options_method at "/path";
        /// Declines requests whose method is not CONNECT. If all handlers of the path decline because of the method,
        /// the answer is 405.
        is_connect_method at "/path";
        /// Declines requests whose method is not TRACE. If all handlers of the path decline because of the method, the
        /// answer is 405.
        is_trace_method at "/path";
        /// Declines requests whose method is not QUERY (RFC 10008). If all handlers of the path decline because of the
        /// method, the answer is 405.
        is_query_method at "/path";
        /// Declines requests with one of the ten methods that [`methods`] can name. If all handlers of the path decline
        /// because of the method, the answer is 405.
        is_unknown_method at "/path";
        /// Declines requests whose method is not in the macro's list: `#[methods(get, post)]`. If all handlers of the
        /// path decline because of the method, the answer is 405.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[route("/path")]
        /// #[methods(get, post)]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        methods;
        /// Declines requests that do not ask for a WebSocket. If all handlers of the path decline because of the
        /// upgrade, the answer is 426.
        ///
        /// On a route, the macro also accepts the handshake, right after the guards. If the handshake is invalid, or
        /// comes from a web page of an origin that the server does not allow, the server refuses the request before the
        /// body runs. On a function with the macro `websocket` and without a read macro, `websocket` accepts the
        /// handshake later.
        ///
        /// The acceptance does not send the answer with status 101. The function's first read, its first send or its
        /// call of `ctx.upgrade(stream)` sends the 101. Before the 101, the function may give an HTTP answer instead:
        ///
        /// - an error
        /// - `Status::Reject`
        /// - `#[send]` without an argument, with a status of 400 or more
        /// - raw bytes that begin with `HTTP/1.`
        ///
        /// If the function does none of these things within `ServerConfig::handshake_timeout` (10 s), the server sends
        /// the 101.
        ///
        /// `ctx.upgrade_with` can set the subprotocols and header fields of the 101. It cannot set allowed origins,
        /// because this macro has checked the origin already.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[route("/path")]
        /// #[is_ws_upgrade_type]
        /// #[response_body("welcome")]
        /// #[send]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        is_ws_upgrade_type;
        /// Declines requests that do not ask for HTTP/2 over plain text. If all handlers of the path decline because of
        /// the upgrade, the answer is 426.
        is_h2c_upgrade_type at "/path";
        /// Declines requests that do not ask for TLS. If all handlers of the path decline because of the upgrade, the
        /// answer is 426.
        is_tls_upgrade_type at "/path";
        /// Declines requests that ask for a WebSocket, HTTP/2 or TLS. If all handlers of the path decline for this
        /// reason, the answer is 400. The macro accepts requests that ask for another protocol or for no upgrade.
        is_unknown_upgrade_type at "/path";
        /// Declines requests that are not HTTP/0.9. If all handlers of the path decline because of the version, the
        /// answer is 505.
        is_http0_9_version at "/path";
        /// Declines requests that are not HTTP/1.0. If all handlers of the path decline because of the version, the
        /// answer is 505.
        is_http1_0_version at "/path";
        /// Declines requests that are not HTTP/1.1. If all handlers of the path decline because of the version, the
        /// answer is 505.
        is_http1_1_version at "/path";
        /// Declines requests that are not HTTP/2. If all handlers of the path decline because of the version, the
        /// answer is 505.
        is_http2_version at "/path";
        /// Declines requests that are not HTTP/3. If all handlers of the path decline because of the version, the
        /// answer is 505.
        is_http3_version at "/path";
        /// Declines requests whose HTTP version is older than HTTP/1.1 or unknown. If all handlers of the path decline
        /// because of the version, the answer is 505.
        is_http1_1_or_higher_version at "/path";
        /// Declines requests of an unknown HTTP version. If all handlers of the path decline because of the version,
        /// the answer is 505.
        is_http_version at "/path";
        /// Declines requests of a known HTTP version. If all handlers of the path decline because of the version, the
        /// answer is 505.
        is_unknown_version at "/path";
        /// Declines requests for a host that is not in the macro's list: `#[host("a.example", "b.example")]`. If all
        /// handlers of the path decline because of the host, the answer is 421.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[route("/path")]
        /// #[host("a.example", "b.example")]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        host;
        /// Declines requests for a host in the macro's list: `#[reject_host("old.example")]`. If all handlers of the
        /// path decline because of the host, the answer is 421.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[route("/path")]
        /// #[reject_host("old.example")]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        reject_host;
        /// Declines requests whose `Referer` header is missing or is not in the macro's list:
        /// `#[referer("https://a.example/")]`. If all handlers of the path decline because of the `Referer`, the answer
        /// is 403.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[route("/path")]
        /// #[referer("https://a.example/")]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        referer;
        /// Declines requests whose `Referer` header is in the macro's list:
        /// `#[reject_referer("https://spam.example/")]`. If all handlers of the path decline because of the `Referer`,
        /// the answer is 403.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[route("/path")]
        /// #[reject_referer("https://spam.example/")]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        reject_referer;
    }
    reads "Runs after the guards. Extractors, conditions, setters, the body and the macros after it run once per \
        message; guards and `closed` run once." {
        /// Runs the function once per WebSocket message, until the connection closes:
        /// `#[try_get_websocket_request(message)]`.
        ///
        /// The variable in the argument holds the message as a `RequestBody`. Without an argument, the macro reads
        /// messages and binds no variable. If the connection is not a WebSocket yet, the macro first upgrades it. A
        /// request that cannot be upgraded is refused.
        ///
        /// In a function that returns `Status`, the body may also evaluate to `()`, or it may never return. The
        /// function can end the loop over the messages in three ways:
        ///
        /// - `break` or `return` closes the connection with code 1000.
        /// - `Status::Reject`, as the body's value or in a `return`, closes the connection with code 1008.
        /// - A panic, or an error that ends the function, closes the connection with code 1011.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[route("/echo")]
        /// struct Echo;
        ///
        /// impl ServerHook for Echo {
        ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
        ///         Self
        ///     }
        ///
        ///     #[try_get_websocket_request(message)]
        ///     #[response_body(&message)]
        ///     #[send]
        ///     async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {}
        /// }
        /// # fn main() {}
        /// ```
        try_get_websocket_request;
        /// Runs the function once for each HTTP request that follows the current request on the same connection:
        /// `#[try_get_http_request(request)]`.
        ///
        /// Each request begins with a context of its own: the response, the parameters of the route and the values that
        /// middleware has stored are not those of the request before. These requests pass no middleware. The route's
        /// limits and its check for forged requests of other sites apply to them: the server answers a refused request,
        /// and the function ends.
        ///
        /// The variable in the argument holds the request as a `Request`. Without an argument, the macro reads requests
        /// and binds no variable.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[try_get_http_request(request)]
        /// #[response_body(request.get_path())]
        /// #[send]
        /// async fn serve(_: &mut Stream, _: &mut Context) {}
        /// # fn main() {}
        /// ```
        try_get_http_request;
    }
    handles "Runs last before the body." {
        /// Makes the connection a WebSocket and binds an owned handle to it, a `WebSocket`: `#[websocket(socket)]`.
        ///
        /// On `ServerHook::handle` and on route functions, the macro also acts as the guard `is_ws_upgrade_type`. On a
        /// route, requests that do not ask for a WebSocket thus go to the next handler of the path. This handler may
        /// answer them with a web page, for example. If all handlers of the path decline because of the upgrade, the
        /// answer is 426. An invalid handshake is refused.
        ///
        /// Extractors, conditions and the macros that set response headers run before the upgrade. If an extractor or a
        /// condition refuses the request, the client gets an HTTP answer. The 101 contains the headers that were set.
        ///
        /// The order is different if `try_get_websocket_request` is on the same function: the upgrade comes before the
        /// first message, and so before extractors, conditions and headers. `websocket` then binds a new handle for
        /// each message.
        ///
        /// In request middleware, `websocket` makes the connection a WebSocket before a route runs.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/room/{name}")]
        /// #[route_param("name" => name)]
        /// #[websocket(socket)]
        /// async fn room() {
        ///     let _ = socket.send(format!("welcome to {name}")).await;
        ///     while let Ok(message) = socket.recv().await {
        ///         let _ = socket.send(message).await;
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        websocket;
        /// Starts an event stream as the response and binds an owned handle to it, a `ServerSentEvents`:
        /// `#[sse(events)]`.
        ///
        /// Extractors, conditions and the macros that set response headers run before the stream starts. If an
        /// extractor or a condition refuses the request, the client gets an HTTP answer. The head of the stream's
        /// response contains the headers that were set. If the request has an answer already, or the status of the
        /// response allows no content (such as 204), the macro ends the hook with an error. The stream ends when the
        /// hook ends.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/ticks")]
        /// #[request_query("count" => count)]
        /// #[sse(events)]
        /// async fn ticks() {
        ///     for tick in 0..count.parse().unwrap_or(3) {
        ///         let _ = events.send_json(&tick).await;
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        sse;
    }
    extractors "An extractor runs after the guards, in a read loop once per message. A refusal goes to the \
        `request_error` hooks." {
        /// Binds the request body, a `RequestBody`: `#[request_body(body)]`.
        ///
        /// This macro never refuses a request. The variable is empty if the request has no body.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[post("/length")]
        /// #[request_body(body)]
        /// async fn handler() -> String {
        ///     body.len().to_string()
        /// }
        /// # fn main() {}
        /// ```
        request_body;
        /// Binds the request body as a stream, a `BodyStream`: `#[body_stream(body)]`.
        ///
        /// On `ServerHook::handle` or a route function, the macro also makes the route stream its request bodies: the
        /// server does not read a body before the hook runs. On other functions, the macro does not change how the
        /// route reads bodies. If the route streams its request bodies, the variable gives the unread part of the body.
        /// Otherwise the variable gives the whole body, because the server has read it already.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[post("/count")]
        /// #[max_body(1 << 30)]
        /// #[body_stream(body)]
        /// async fn count() -> Result<String, RequestError> {
        ///     let (mut body, mut count) = (body, 0);
        ///     while let Some(piece) = body.next_chunk().await? {
        ///         count += piece.len();
        ///     }
        ///     Ok(format!("{count} bytes"))
        /// }
        /// # fn main() {}
        /// ```
        body_stream;
        /// Limits the request body of the route, in bytes: `#[max_body(64 * 1024)]`.
        ///
        /// The server refuses a larger body with 413. The macro works on `ServerHook::handle` and on route functions.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[post("/note")]
        /// #[max_body(64 * 1024)]
        /// #[request_body(note)]
        /// async fn handler() -> String {
        ///     String::from_utf8_lossy(&note).into_owned()
        /// }
        /// # fn main() {}
        /// ```
        max_body;
        /// Binds the request body, parsed as JSON: `#[request_body_json(user: User)]`.
        ///
        /// If the body is not valid JSON for the type, the request is refused with 400. If one field is missing or
        /// wrong, the answer names it by its path in the JSON.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[post("/sum")]
        /// #[request_body_json(numbers: Vec<u32>)]
        /// async fn handler() -> Json<u32> {
        ///     Json(numbers.iter().sum())
        /// }
        /// # fn main() {}
        /// ```
        request_body_json;
        /// Binds the `Result` of parsing the request body as JSON: `#[request_body_json_result(user: User)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[post("/sum")]
        /// #[request_body_json_result(numbers: Vec<u32>)]
        /// async fn handler() -> Json<u32> {
        ///     Json(numbers.unwrap_or_default().iter().sum())
        /// }
        /// # fn main() {}
        /// ```
        request_body_json_result;
        /// Binds the HTTP version of the request, an `HttpVersion`: `#[request_version(version)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[request_version(version)]
        /// async fn handler() -> String {
        ///     version.to_string()
        /// }
        /// # fn main() {}
        /// ```
        request_version;
        /// Binds the decoded path of the request, a `String`: `#[request_path(path)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/{*path}")]
        /// #[request_path(path)]
        /// async fn handler() -> String {
        ///     path
        /// }
        /// # fn main() {}
        /// ```
        request_path;
        /// Binds all values of the query, a `Querys`: `#[request_querys(querys)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[request_querys(querys)]
        /// async fn handler() -> String {
        ///     querys.iter().count().to_string()
        /// }
        /// # fn main() {}
        /// ```
        request_querys;
        /// Binds all header fields of the request, a `Headers`: `#[request_headers(headers)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[request_headers(headers)]
        /// async fn handler() -> String {
        ///     headers.len().to_string()
        /// }
        /// # fn main() {}
        /// ```
        request_headers;
        /// Binds all cookies of the request, a `CookieJar`: `#[request_cookies(cookies)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[request_cookies(cookies)]
        /// async fn handler() -> String {
        ///     cookies.iter().count().to_string()
        /// }
        /// # fn main() {}
        /// ```
        request_cookies;
        /// Binds all parameters of the path, a `RouteParams`: `#[route_params(params)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/{year}/{month}")]
        /// #[route_params(params)]
        /// async fn handler() -> String {
        ///     params.len().to_string()
        /// }
        /// # fn main() {}
        /// ```
        route_params;
        /// Binds all attributes (the values that hooks have stored in the context of the request), an `Attributes`:
        /// `#[attributes(attributes)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[attributes(attributes)]
        /// async fn handler() -> String {
        ///     attributes.len().to_string()
        /// }
        /// # fn main() {}
        /// ```
        attributes;
        /// Binds a decoded parameter of the path, a `String`: `#[route_param("id" => id)]`.
        ///
        /// A route with this macro does not compile if its pattern lacks the parameter. Other hooks, such as
        /// middleware, run for any pattern: there, a request without the parameter is refused with 400.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/{id}")]
        /// #[route_param("id" => id)]
        /// async fn handler() -> String {
        ///     id
        /// }
        /// # fn main() {}
        /// ```
        route_param;
        /// Binds a decoded parameter of the path as an `Option`: `#[try_get_route_param("id" => id)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/{id}")]
        /// #[try_get_route_param("id" => id)]
        /// async fn handler() -> String {
        ///     id.unwrap_or_default()
        /// }
        /// # fn main() {}
        /// ```
        try_get_route_param;
        /// Binds a value of the query, a `String`: `#[request_query("page" => page)]`.
        ///
        /// A request without the value is refused with 400.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[request_query("page" => page)]
        /// async fn handler() -> String {
        ///     page
        /// }
        /// # fn main() {}
        /// ```
        request_query;
        /// Binds a value of the query as an `Option`: `#[try_get_request_query("page" => page)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[try_get_request_query("page" => page)]
        /// async fn handler() -> String {
        ///     page.unwrap_or_default()
        /// }
        /// # fn main() {}
        /// ```
        try_get_request_query;
        /// Binds a header of the request, a `String`: `#[request_header("accept" => accept)]`.
        ///
        /// A request without the header is refused with 400. If the request has several headers of this name, the macro
        /// binds the last one.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[request_header("accept" => accept)]
        /// async fn handler() -> String {
        ///     accept
        /// }
        /// # fn main() {}
        /// ```
        request_header;
        /// Binds a header of the request as an `Option`: `#[try_get_request_header("accept" => accept)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[try_get_request_header("accept" => accept)]
        /// async fn handler() -> String {
        ///     accept.unwrap_or_default()
        /// }
        /// # fn main() {}
        /// ```
        try_get_request_header;
        /// Binds the value of a cookie, a `String`: `#[request_cookie("theme" => theme)]`.
        ///
        /// A request without the cookie is refused with 400.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[request_cookie("theme" => theme)]
        /// async fn handler() -> String {
        ///     theme
        /// }
        /// # fn main() {}
        /// ```
        request_cookie;
        /// Binds the value of a cookie as an `Option`: `#[try_get_request_cookie("theme" => theme)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[try_get_request_cookie("theme" => theme)]
        /// async fn handler() -> String {
        ///     theme.unwrap_or_default()
        /// }
        /// # fn main() {}
        /// ```
        try_get_request_cookie;
        /// Binds an attribute (a value that an earlier hook has stored in the context):
        /// `#[attribute("user" => user: User)]`.
        ///
        /// If the attribute is missing or has another type, the request is refused with 500.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[attribute("user" => user: String)]
        /// async fn handler() -> String {
        ///     user
        /// }
        /// # fn main() {}
        /// ```
        attribute;
        /// Binds an attribute of the context as an `Option`: `#[try_get_attribute("user" => user: User)]`. The variable
        /// is `None` if the attribute is missing or has another type.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[try_get_attribute("user" => user: String)]
        /// async fn handler() -> String {
        ///     user.unwrap_or_default()
        /// }
        /// # fn main() {}
        /// ```
        try_get_attribute;
        /// Binds the message and the source location of a hook's panic, as a `PanicData`: `#[task_panic_data(panic)]`.
        ///
        /// If no hook has panicked during the request, this macro refuses the request with 500.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[task_panic]
        /// struct Hook;
        ///
        /// impl ServerHook for Hook {
        ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
        ///         Self
        ///     }
        ///
        ///     #[task_panic_data(panic)]
        ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ///         eprintln!("{panic}");
        ///         ctx.get_mut_response().set_status_code(500);
        ///         Status::Continue
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        task_panic_data;
        /// Binds the message and the source location of a hook's panic, as an `Option<PanicData>`:
        /// `#[try_get_task_panic_data(panic)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[task_panic]
        /// struct Hook;
        ///
        /// impl ServerHook for Hook {
        ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
        ///         Self
        ///     }
        ///
        ///     #[try_get_task_panic_data(panic)]
        ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ///         if panic.is_some() {
        ///             ctx.get_mut_response().set_status_code(500);
        ///         }
        ///         Status::Continue
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        try_get_task_panic_data;
        /// Binds the reason why the request was refused, as a `RequestError`: `#[request_error_data(error)]`.
        ///
        /// If neither the server nor a hook has refused the request, this macro refuses the request with 500.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[request_error]
        /// struct Hook;
        ///
        /// impl ServerHook for Hook {
        ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
        ///         Self
        ///     }
        ///
        ///     #[request_error_data(error)]
        ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ///         ctx.get_mut_response().set_body(error.to_string());
        ///         Status::Continue
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        request_error_data;
        /// Binds the reason why the request was refused, as an `Option<RequestError>`:
        /// `#[try_get_request_error_data(error)]`.
        ///
        /// This macro never refuses a request.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[request_error]
        /// struct Hook;
        ///
        /// impl ServerHook for Hook {
        ///     async fn new(_: &mut Stream, _: &mut Context) -> Self {
        ///         Self
        ///     }
        ///
        ///     #[try_get_request_error_data(error)]
        ///     async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ///         if error.is_some() {
        ///             ctx.get_mut_response().set_body("not like this");
        ///         }
        ///         Status::Continue
        ///     }
        /// }
        /// # fn main() {}
        /// ```
        try_get_request_error_data;
    }
    conditions "A condition runs after the extractors. A function that is not a route must return `Status` or nothing. \
        If a condition fails, a route that returns `Status` or nothing answers with the response as it is, and a route \
        that returns a value answers 403. No other handler of the path is tried, since the arguments were read \
        already." {
        /// Skips the function's body, and all macros that run after this one, if the expression is false:
        /// `#[filter(allowed)]`. With a read macro such as `try_get_websocket_request`, the skip applies only to the
        /// current message.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[try_get_request_query("key" => key)]
        /// #[filter(key.as_deref() == Some("open"))]
        /// async fn handler(ctx: &mut Context) -> Status {
        ///     ctx.get_mut_response().set_body("sesame");
        ///     Status::Continue
        /// }
        /// # fn main() {}
        /// ```
        filter;
        /// Skips the function's body, and all macros that run after this one, if the expression is true:
        /// `#[reject(banned)]`. With a read macro such as `try_get_websocket_request`, the skip applies only to the
        /// current message.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[request_path(path)]
        /// #[reject(path.contains(".."))]
        /// async fn handler(ctx: &mut Context) -> Status {
        ///     ctx.get_mut_response().set_body(path);
        ///     Status::Continue
        /// }
        /// # fn main() {}
        /// ```
        reject;
    }
    setters "Runs after extractors and conditions, before the body. If a guard or a condition fails, the macro does \
        not run." {
        /// Sets the status code of the response: `#[response_status_code(201)]`. The argument is a number or an
        /// `HttpStatus`.
        ///
        /// The compiler refuses a literal that is not a valid status code.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[post("/")]
        /// #[response_status_code(201)]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        response_status_code;
        /// Sets the reason phrase of the response: `#[response_reason_phrase("Made")]`.
        ///
        /// The default is the standard phrase of the status code.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[post("/")]
        /// #[response_reason_phrase("Made")]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        response_reason_phrase;
        /// Sets the HTTP version of the response: `#[response_version(HttpVersion::Http1_1)]`.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[response_version(HttpVersion::Http1_1)]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        response_version;
        /// Sets a response header: `#[response_header("server" => "mine")]`. With a comma instead of `=>`, the macro
        /// adds a header and keeps other headers of the same name: `#[response_header("vary", "origin")]`.
        ///
        /// The compiler refuses a literal that is not a valid header name or value.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[response_header(SERVER => "mine")]
        /// #[response_header("vary", "origin")]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        response_header;
        /// Sets the body of the response: `#[response_body("hello")]`.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/{name}")]
        /// #[response_body(format!("hello {name}"))]
        /// #[route_param("name" => name)]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        response_body;
        /// Removes all headers of the response that were set before this macro runs: `#[clear_response_headers]`.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[clear_response_headers]
        /// #[response_header("server" => "mine")]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        clear_response_headers;
    }
    epilogues "The macro runs after the body whenever the body has run, also after an early `return` or `?`." {
        /// Sends the response after the function's body has run: `#[try_send]`. With an argument, the macro sends the
        /// bytes in the argument instead: `#[try_send(bytes)]`.
        ///
        /// The macro does not report a failure. The next read or send on the connection reports the failure.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[response_body("hello")]
        /// #[try_send]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        try_send;
        /// Sends the response after the function's body has run: `#[send]`. With an argument, the macro sends the bytes
        /// in the argument instead: `#[send(bytes)]`.
        ///
        /// A failure is logged and closes the connection. On a WebSocket, `#[send]` sends the body of the response as a
        /// message. `#[send(bytes)]` sends the bytes as they are, so on a WebSocket they must be whole frames.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[response_body("hello")]
        /// #[send]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        send;
        /// Gives the handler of an HTTP/2 stream a task of its own before the function's body runs: `#[spawned]`.
        ///
        /// One task polls the streams of an HTTP/2 connection. A handler that computes long without an await, or that calls
        /// `tokio::task::block_in_place`, then does not hold up the other streams of its client. Over HTTP/1.1 nothing changes.
        /// `Stream::spawned` says more.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[post("/render")]
        /// #[spawned]
        /// async fn render(ctx: &mut Context) -> String {
        ///     compute(ctx.get_request().get_body())
        /// }
        /// # fn compute(_: &[u8]) -> String { String::new() }
        /// # fn main() {}
        /// ```
        spawned;
        /// Flushes the connection after the function's body has run: `#[try_flush]`.
        ///
        /// The macro does not report a failure. The next read or send on the connection reports the failure.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[try_send]
        /// #[try_flush]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        try_flush;
        /// Flushes the connection after the function's body has run: `#[flush]`.
        ///
        /// A failure is logged and closes the connection.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[send]
        /// #[flush]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        flush;
        /// Closes the connection after all other macros have run: `#[closed]`.
        ///
        /// The macro runs once, even if a read macro runs the body once per message.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[response_body("bye")]
        /// #[send]
        /// #[closed]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        closed;
    }
    lists "" {
        /// Calls the functions in the list before the body of the function with this macro:
        /// `#[prologue_hooks(Self::prepare, audit)]`.
        ///
        /// Each function is an `async fn(&mut Stream, &mut Context)`. The macro ignores the return values.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// async fn audit(_: &mut Stream, ctx: &mut Context) -> Status {
        ///     println!("{}", ctx.get_request().get_path());
        ///     Status::Continue
        /// }
        ///
        /// #[get("/")]
        /// #[prologue_hooks(audit)]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        prologue_hooks;
        /// Calls the functions in the list after the body of the function with this macro, even after an early `return`
        /// or `?`: `#[epilogue_hooks(audit)]`.
        ///
        /// Each function is an `async fn(&mut Stream, &mut Context)`. The macro ignores the return values.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// async fn audit(_: &mut Stream, ctx: &mut Context) -> Status {
        ///     println!("{}", ctx.get_request().get_path());
        ///     Status::Continue
        /// }
        ///
        /// #[get("/")]
        /// #[epilogue_hooks(audit)]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        epilogue_hooks;
        /// Runs macros before the body, in the order of the list: `#[prologue_macros(response_body("hi"), try_flush)]`.
        ///
        /// Guards, reads, `body_stream` and `max_body` in the list run in their own phases, before the other entries.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[prologue_macros(response_body("hi"), send)]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        prologue_macros;
        /// Runs macros after the body, in the order of the list:
        /// `#[epilogue_macros(response_body("bye"), try_send, closed)]`.
        ///
        /// A guard or condition (`is_get_method`, `filter(..)`) that refuses ends the list: the entries after it do not
        /// run. It does not change the answer.
        ///
        /// The list cannot contain reads, because these macros decide whether the body runs. It also cannot contain
        /// `body_stream`, `max_body`, `websocket` and `sse`, because these macros act before the body runs.
        ///
        /// # Variables of the body
        ///
        /// An entry may name a variable that a `let` of the body's outermost block binds, also in a format string. If
        /// the variable has the name of a parameter, the entry uses the variable of the body. If an entry names such a
        /// variable, these rules apply:
        ///
        /// - All entries run in their order at the end of the body, after its last expression has been evaluated.
        /// - If a route returns a value, the entries from the first `send`, `try_send`, `flush` or `try_flush` without
        ///   arguments on run after the value has become the response. These entries cannot name a variable of the
        ///   body.
        /// - If the body is left by `return`, `?`, `break` or `continue`, the entries that name a variable of the body
        ///   do not run. The others run.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[epilogue_macros(response_body("bye"), try_send, closed)]
        /// async fn handler() {}
        ///
        /// #[get("/sum")]
        /// #[epilogue_macros(response_header("x-count" => count.to_string()), response_body(format!("{sum}")), send)]
        /// async fn sum() {
        ///     let numbers = [1, 2, 3];
        ///     let (count, sum) = (numbers.len(), numbers.iter().sum::<i32>());
        /// }
        /// # fn main() {}
        /// ```
        epilogue_macros;
    }
}

/// Declares a scope for the module of a file: `file_scope!("/api", with(auth), max_body = 64 * 1024)`.
///
/// Routes, middleware and error hooks that macros register in this module, and in the modules inside it, belong to the
/// scope. The order of the items does not matter. Scopes of modules inside each other nest: the prefixes are
/// concatenated, and the middleware of the outer scope runs outside of that of the inner one. A route with `scope =
/// NAME` belongs to the named scope instead.
///
/// The first argument is the prefix of all patterns. It may have parameters, and it may be left out. The pattern `/`
/// stands for the prefix itself. The options are those of `Scope`:
///
/// - `with(auth, log)`: middleware functions, outermost first
/// - `max_body = 1024`: the maximum length of request bodies, in bytes
/// - `server = "admin"`: the server to which the scope belongs, by the variable in `#[hyperlane(admin: Server)]`
/// - `errors = render`: the function that renders errors, `fn(&ErrorInfo, &mut Context) -> impl IntoResponse`
/// - `cors = CORS`: a `static` of the type `Cors`, which pages of other origins may read the responses
/// - `csrf = Csrf::Off`: from which pages unsafe requests with the session's cookie are accepted
/// - `inside = API`: a `static` scope around this one, instead of that of the module around
///
/// ```
/// use hyperlane::*;
///
/// file_scope!("/api", with(log));
///
/// async fn log(ctx: &mut Context, next: Next<'_>) -> Status {
///     println!("{}", ctx.get_request().get_path());
///     next.run(ctx).await
/// }
///
/// // Serves /api/users.
/// #[get("/users")]
/// async fn users() -> &'static str {
///     "users"
/// }
/// # fn main() {}
/// ```
#[proc_macro]
pub fn file_scope(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    scope::file(input.into()).into()
}

/// Declares a scope for a module that is written in place: `#[scope("/api")] mod api { .. }`. The arguments are those
/// of `file_scope!`. Their names are resolved inside the module: a function around it is `super::log`.
///
/// ```
/// use hyperlane::*;
///
/// #[scope("/api")]
/// mod api {
///     use hyperlane::*;
///
///     // Serves /api/users.
///     #[get("/users")]
///     async fn users() -> &'static str {
///         "users"
///     }
/// }
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn scope(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    scope::module(args.into(), item.into()).into()
}
