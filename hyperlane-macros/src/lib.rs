//! The attribute macros of hyperlane.
//!
//! Stacked attributes are order-free: the first one takes its siblings off the item and expands all of them in fixed
//! phases, and in source order within a phase:
//!
//! 1. variables of `hyperlane`, then guards (`host`, `methods`, `is_*`), which decline a request;
//! 2. reads (`try_get_websocket_request`, `try_get_http_request`), which run all that follows once per message;
//! 3. extractors, which bind what the request holds;
//! 4. conditions (`filter`, `reject`);
//! 5. `response_*`, `prologue_hooks` and `prologue_macros`;
//! 6. the body;
//! 7. `send`, `flush`, `epilogue_hooks`, `epilogue_macros` and last `closed`, also after an early `return` or `?`.
//!
//! The stream and the context are found by the names of their types, else by their order among the `&mut` parameters.
//! Every macro takes `crate = path`, the place of hyperlane where it is known under another name.

mod args;
mod emit;
mod expand;
mod function;
mod jumps;
mod krate;
mod nearest;
mod params;
mod pattern;
mod phases;
mod register;
mod table;
#[cfg(test)]
mod tests;

/// Declares the attribute of each row.
macro_rules! declare {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        $(
            $(#[doc = $doc])+
            #[proc_macro_attribute]
            pub fn $name(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
                expand::expand(stringify!($name), args.into(), item.into()).into()
            }
        )+

        /// The declared names, which a test compares with the table.
        #[cfg(test)]
        const DECLARED: &[&str] = &[$(stringify!($name)),+];
    };
}

declare! {
    /// Declares variables at the top of a function by their `Default`; a `Server` also takes in every hook that the macros registered: `#[hyperlane(server: Server)]`.
    ///
    /// ```
    /// use hyperlane::*;
    ///
    /// #[hyperlane(server: Server)]
    /// fn main() {
    ///     let _ = server;
    /// }
    /// ```
    hyperlane;
    /// Registers a hook struct or an async function at a path, for every method: `#[route("/users/{id}")]`.
    ///
    /// Patterns: `/users/:id`, `/users/{id}`, `/users/{id:\d+}` and `/files/{*path}`, checked while the program compiles.
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
    /// Registers a hook struct or an async function at a path, for every method: `#[any("/status")]`.
    any;
    /// Registers a hook struct or an async function at a path, for GET requests: `#[get("/path")]`.
    get;
    /// Registers a hook struct or an async function at a path, for POST requests: `#[post("/path")]`.
    post;
    /// Registers a hook struct or an async function at a path, for PUT requests: `#[put("/path")]`.
    put;
    /// Registers a hook struct or an async function at a path, for DELETE requests: `#[delete("/path")]`.
    delete;
    /// Registers a hook struct or an async function at a path, for PATCH requests: `#[patch("/path")]`.
    patch;
    /// Registers a hook struct or an async function at a path, for HEAD requests: `#[head("/path")]`.
    head;
    /// Registers a hook struct or an async function at a path, for OPTIONS requests: `#[options("/path")]`.
    options;
    /// Registers a hook struct to run before routes: `#[request_middleware]`, or `#[request_middleware(1)]` for its place in the order (any `isize` constant; unnumbered ones come first).
    request_middleware;
    /// Registers a hook struct to run after routes: `#[response_middleware]` or `#[response_middleware(1)]`.
    response_middleware;
    /// Registers a hook struct to run when a hook panicked: `#[task_panic]` or `#[task_panic(1)]`.
    task_panic;
    /// Registers a hook struct to run when a request was refused: `#[request_error]` or `#[request_error(1)]`.
    request_error;
    /// Declines requests whose method is not GET.
    is_get_method;
    /// Declines requests whose method is not POST.
    is_post_method;
    /// Declines requests whose method is not PUT.
    is_put_method;
    /// Declines requests whose method is not DELETE.
    is_delete_method;
    /// Declines requests whose method is not PATCH.
    is_patch_method;
    /// Declines requests whose method is not HEAD.
    is_head_method;
    /// Declines requests whose method is not OPTIONS.
    is_options_method;
    /// Declines requests whose method is not CONNECT.
    is_connect_method;
    /// Declines requests whose method is not TRACE.
    is_trace_method;
    /// Declines requests by any other method than those named: `#[methods(get, post)]`.
    methods;
    /// Declines requests that do not ask for a WebSocket. On a handler it also upgrades the connection.
    is_ws_upgrade_type;
    /// Declines requests that do not ask for HTTP/2 over plain text.
    is_h2c_upgrade_type;
    /// Declines requests that do not ask for TLS.
    is_tls_upgrade_type;
    /// Declines requests that are not HTTP/1.0.
    is_http1_0_version;
    /// Declines requests that are not HTTP/1.1.
    is_http1_1_version;
    /// Declines requests for any other host than those named: `#[host("a.example", "b.example")]`.
    host;
    /// Declines requests for one of the hosts named: `#[reject_host("old.example")]`.
    reject_host;
    /// Declines requests from any other page than those named: `#[referer("https://a.example/")]`.
    referer;
    /// Declines requests from one of the pages named: `#[reject_referer("https://spam.example/")]`.
    reject_referer;
    /// Runs the function once per WebSocket message, until the connection is over: `#[try_get_websocket_request]`, or `#[try_get_websocket_request(message)]` to bind it.
    ///
    /// The body may end in a `Status`, in `()` or not at all; `Status::Reject` ends the loop, and so do `break` and `return`.
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
    /// Runs the function once per further HTTP request of the connection: `#[try_get_http_request]` or `#[try_get_http_request(request)]`.
    try_get_http_request;
    /// Binds the request body: `#[request_body(body)]`.
    request_body;
    /// Takes the body of the route's requests as a stream and binds it: `#[body_stream(body)]`. Nothing of the body is read before the hook runs.
    ///
    /// On `handle` or a route function it decides how the body is read; elsewhere it binds what the route left to read.
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
    /// Bounds the body of the route's requests, in bytes: `#[max_body(64 * 1024)]`. Beyond: 413. Stands on `handle` or on a route function.
    max_body;
    /// Binds the request body, read as JSON: `#[request_body_json(user: User)]`. Malformed JSON refuses the request.
    request_body_json;
    /// Binds the outcome of reading the request body as JSON: `#[request_body_json_result(user: User)]`.
    request_body_json_result;
    /// Binds a parameter of the path: `#[route_param("id" => id)]`. A missing one refuses the request.
    route_param;
    /// Binds a parameter of the path as an `Option`: `#[try_get_route_param("id" => id)]`.
    try_get_route_param;
    /// Binds a value of the query: `#[request_query("page" => page)]`. A missing one refuses the request.
    request_query;
    /// Binds a value of the query as an `Option`: `#[try_get_request_query("page" => page)]`.
    try_get_request_query;
    /// Binds a request header: `#[request_header("accept" => accept)]`. A missing one refuses the request.
    request_header;
    /// Binds a request header as an `Option`: `#[try_get_request_header("accept" => accept)]`.
    try_get_request_header;
    /// Binds the value of a cookie: `#[request_cookie("theme" => theme)]`. A missing one refuses the request.
    request_cookie;
    /// Binds the value of a cookie as an `Option`: `#[try_get_request_cookie("theme" => theme)]`.
    try_get_request_cookie;
    /// Binds an attribute of the context: `#[attribute("user" => user: User)]`. A missing one refuses the request.
    attribute;
    /// Binds an attribute of the context as an `Option`: `#[try_get_attribute("user" => user: User)]`.
    try_get_attribute;
    /// Binds what is known of a panic: `#[task_panic_data(panic)]`. Where there was none, the request is refused.
    task_panic_data;
    /// Binds what is known of a panic as an `Option`: `#[try_get_task_panic_data(panic)]`.
    try_get_task_panic_data;
    /// Binds why a request was refused: `#[request_error_data(error)]`. Where it was not, it is now.
    request_error_data;
    /// Binds why a request was refused as an `Option`: `#[try_get_request_error_data(error)]`.
    try_get_request_error_data;
    /// Skips the body and what follows it unless the expression is true: `#[filter(allowed)]`.
    filter;
    /// Skips the body and what follows it if the expression is true: `#[reject(banned)]`.
    reject;
    /// Sets the response's status code: `#[response_status_code(201)]`.
    response_status_code;
    /// Sets the response's reason phrase: `#[response_reason_phrase("Created")]`.
    response_reason_phrase;
    /// Sets the response's protocol version: `#[response_version(HttpVersion::Http1_1)]`.
    response_version;
    /// Sets a response header, `#[response_header("server" => "mine")]`, or adds one more of its name, `#[response_header("vary", "origin")]`.
    response_header;
    /// Sets the response's body: `#[response_body("hello")]`.
    response_body;
    /// Removes every response header set so far.
    clear_response_headers;
    /// Sends the response after the body, or the bytes given, `#[try_send(bytes)]`; a failure is left to the next write.
    try_send;
    /// Sends the response after the body, or the bytes given, `#[send(bytes)]`; a failure is logged and closes the connection.
    send;
    /// Flushes the connection after the body; a failure is left to the next write.
    try_flush;
    /// Flushes the connection after the body; a failure is logged and closes the connection.
    flush;
    /// Closes the connection after everything else, once.
    closed;
    /// Calls hooks before the body: `#[prologue_hooks(Self::prepare, audit)]`. What they return is ignored.
    prologue_hooks;
    /// Calls hooks after the body, also when it returned early: `#[epilogue_hooks(audit)]`.
    epilogue_hooks;
    /// Runs macros before the body, in the order listed: `#[prologue_macros(response_body("hi"), try_flush)]`. Guards stay guards.
    prologue_macros;
    /// Runs macros after the body, in the order listed: `#[epilogue_macros(response_body("bye"), try_send, closed)]`.
    epilogue_macros;
}
