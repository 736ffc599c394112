//! The attribute macros of hyperlane.
//!
//! Stacked attributes are order-free: the first one takes its siblings off the item and expands all of them in fixed
//! phases, and in source order within a phase:
//!
//! 1. variables of `hyperlane`, then guards (`host`, `methods`, `is_*`), which decline a request;
//! 2. reads (`try_get_websocket_request`, `try_get_http_request`), which run all that follows once per message;
//! 3. extractors, which bind what the request holds;
//! 4. conditions (`filter`, `reject`);
//! 5. `response_*`, `prologue_hooks` and `prologue_macros`, then `websocket` and `sse`, which open a handle;
//! 6. the body;
//! 7. `send`, `flush`, `epilogue_hooks`, `epilogue_macros` and last `closed`, also after an early `return` or `?`.
//!
//! `is_ws_upgrade_type` accepts the handshake right after the guards; the 101 waits for the first read, send or `upgrade`, so
//! that a refusal before it is an HTTP answer. `try_get_websocket_request` reads, so that extractors run per message;
//! `websocket` and `sse` open last.
//!
//! Macros that cannot stand together, literals that no request could carry, and parameters that a route's pattern
//! lacks do not compile. A broken function keeps its signature and gives one error.
//!
//! The stream and the context are found by the names of their types, else by their order among the `&mut` parameters.
//! Every macro takes `crate = path`, the place of hyperlane where it is known under another name.

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
mod table;
#[cfg(test)]
mod tests;
mod tokens;

/// Declares the attribute of each row, by phase. `at` stands where the example is the attribute alone on a route.
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

        /// The declared names, which a test compares with the table.
        #[cfg(test)]
        const DECLARED: &[&str] = &[$($(stringify!($name)),+),+];
    };
}

declare! {
    declarations "Runs first, before the guards." {
        /// Declares variables at the top of a function by their `Default`; a `Server` also takes in every hook that the macros registered: `#[hyperlane(server: Server)]`.
        ///
        /// Any number of `name: Type`, on any function. A `Server` is known by that name, not by an alias. A server without a route does not start where macros registered routes that no server of the program takes.
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
        /// Brings traits into scope without their names: `#[import(std::fmt::Write)]`. On a function for its body, on a struct for its module.
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
        /// Registers a hook struct or an async function at a path, for every method: `#[route("/users/{id}")]`, any number of times.
        ///
        /// A function is a free one, in no `impl` or `trait`. Those of another crate are registered once the program names that crate, if only by `use handlers as _;`.
        ///
        /// Patterns: `/users/:id`, `/users/{id}`, `/users/{id:\d+}` and `/files/{*path}`, as a literal or a constant. A literal is checked while the program compiles, its regexes and the names that `route_param` asks for included. What typed arguments need of the pattern and the server (`Path`, `State`) is checked when the server starts.
        ///
        /// A function takes the stream, the context, both or neither, and returns `Status` or anything that implements `IntoResponse`.
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
        /// Registers a hook struct or an async function at a path, for every method, as `route` does: `#[any("/status")]`.
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
        /// Registers a hook struct or an async function at a path, for GET requests: `#[get("/path")]`. Answers HEAD as well. Others get the next handler of the path, or 405.
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
        /// Registers a hook struct or an async function at a path, for POST requests: `#[post("/path")]`. Others get the next handler of the path, or 405.
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
        /// Registers a hook struct or an async function at a path, for PUT requests: `#[put("/path")]`. Others get the next handler of the path, or 405.
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
        /// Registers a hook struct or an async function at a path, for DELETE requests: `#[delete("/path")]`. Others get the next handler of the path, or 405.
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
        /// Registers a hook struct or an async function at a path, for PATCH requests: `#[patch("/path")]`. Others get the next handler of the path, or 405.
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
        /// Registers a hook struct or an async function at a path, for HEAD requests: `#[head("/path")]`. Others get the next handler of the path, or 405.
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
        /// Registers a hook struct or an async function at a path, for OPTIONS requests: `#[options("/path")]`. Others get the next handler of the path, or 405.
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
    }
    hooks "" {
        /// Registers a hook struct to run before routes: `#[request_middleware]`, or `#[request_middleware(1)]` for its place in the order.
        ///
        /// The place is any `isize` constant, or a number in quotes; hooks without one come first.
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
        /// Registers a hook struct to run after routes: `#[response_middleware]`, or `#[response_middleware(1)]` for its place in the order.
        ///
        /// The place is any `isize` constant, or a number in quotes; hooks without one come first.
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
        /// Registers a hook struct to run when a hook panicked: `#[task_panic]`, or `#[task_panic(1)]` for its place in the order.
        ///
        /// The place is any `isize` constant, or a number in quotes; hooks without one come first.
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
        /// Registers a hook struct to run when a request was refused: `#[request_error]`, or `#[request_error(1)]` for its place in the order.
        ///
        /// The place is any `isize` constant, or a number in quotes; hooks without one come first.
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
    }
    guards "A guard: checked before anything is read. In a route it has the next handler of the path tried; elsewhere it skips the hook." {
        /// Declines requests whose method is not GET. Takes HEAD as well. Where all decline: 405.
        is_get_method at "/path";
        /// Declines requests whose method is not POST. Where all decline: 405.
        is_post_method at "/path";
        /// Declines requests whose method is not PUT. Where all decline: 405.
        is_put_method at "/path";
        /// Declines requests whose method is not DELETE. Where all decline: 405.
        is_delete_method at "/path";
        /// Declines requests whose method is not PATCH. Where all decline: 405.
        is_patch_method at "/path";
        /// Declines requests whose method is not HEAD. Where all decline: 405.
        is_head_method at "/path";
        /// Declines requests whose method is not OPTIONS. Where all decline: 405.
        is_options_method at "/path";
        /// Declines requests whose method is not CONNECT. Where all decline: 405.
        is_connect_method at "/path";
        /// Declines requests whose method is not TRACE. Where all decline: 405.
        is_trace_method at "/path";
        /// Declines requests whose method is one of the nine that HTTP defines. Where all decline: 405.
        is_unknown_method at "/path";
        /// Declines requests by any other method than those named: `#[methods(get, post)]`. Where all decline: 405.
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
        /// Declines requests that do not ask for a WebSocket. Where all decline: 426. On `handle` and on routes it also accepts the handshake, right after the guards: one that breaks a rule, or comes from a foreign page, is refused before the body runs. The 101 goes out with the first read, send or `ctx.upgrade(stream)`. Until then the body may answer as to any request: an error, `Status::Reject`, `#[send]` with a status of 400 or more, or raw bytes that begin with `HTTP/1.`. A body that does nothing for `ServerConfig::handshake_timeout` (10 s) finds the 101 sent. Origins of `ctx.upgrade_with` come too late behind this guard; subprotocols and fields do not.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[route("/path")]
        /// #[is_ws_upgrade_type]
        /// #[send("welcome")]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        is_ws_upgrade_type;
        /// Declines requests that do not ask for HTTP/2 over plain text. Where all decline: 426.
        is_h2c_upgrade_type at "/path";
        /// Declines requests that do not ask for TLS. Where all decline: 426.
        is_tls_upgrade_type at "/path";
        /// Declines requests that ask for a WebSocket, HTTP/2 or TLS. Where all decline: 400.
        is_unknown_upgrade_type at "/path";
        /// Declines requests that are not HTTP/0.9. Where all decline: 505.
        is_http0_9_version at "/path";
        /// Declines requests that are not HTTP/1.0. Where all decline: 505.
        is_http1_0_version at "/path";
        /// Declines requests that are not HTTP/1.1. Where all decline: 505.
        is_http1_1_version at "/path";
        /// Declines requests that are not HTTP/2. Where all decline: 505.
        is_http2_version at "/path";
        /// Declines requests that are not HTTP/3. Where all decline: 505.
        is_http3_version at "/path";
        /// Declines requests that are older than HTTP/1.1. Where all decline: 505.
        is_http1_1_or_higher_version at "/path";
        /// Declines requests of a version that HTTP does not have. Where all decline: 505.
        is_http_version at "/path";
        /// Declines requests of a version that HTTP has. Where all decline: 505.
        is_unknown_version at "/path";
        /// Declines requests for any other host than those named: `#[host("a.example", "b.example")]`. Where all decline: 421.
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
        /// Declines requests for one of the hosts named: `#[reject_host("old.example")]`. Where all decline: 421.
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
        /// Declines requests from any other page than those named: `#[referer("https://a.example/")]`. Where all decline: 403.
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
        /// Declines requests from one of the pages named: `#[reject_referer("https://spam.example/")]`. Where all decline: 403.
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
    reads "Runs after the guards; what follows it in the order of phases runs once per message." {
        /// Runs the function once per WebSocket message, until the connection is over: `#[try_get_websocket_request]`, or `#[try_get_websocket_request(message)]` to bind it, a `RequestBody`.
        ///
        /// The body may end in a `Status`, in `()` or not at all; `break` and `return` end the loop, and the connection with 1000; `Status::Reject` ends both with 1008, an error with 1011. On `handle` and on routes the connection is upgraded first; a request that cannot be is refused.
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
        /// Runs the function once per further HTTP request of the connection: `#[try_get_http_request]`, or `#[try_get_http_request(request)]` to bind it.
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
        /// Makes the connection a WebSocket and binds its handle by value: `#[websocket(socket)]`.
        ///
        /// Where the request asks for none, `handle` and routes decline (426), and a page may stand at the same path; a broken handshake is refused. Extractors, conditions and response headers come first: what they refuse gets an HTTP answer, and the headers go out with the 101. With `try_get_websocket_request` the upgrade comes before the first message instead, and each message binds a handle. Middleware that gets this far takes the connection over.
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
        /// Starts an event stream as the response and binds its handle by value: `#[sse(events)]`. It ends with the hook.
        ///
        /// Extractors, conditions and response headers come first: what they refuse gets an HTTP answer, and the headers go out with the stream's head. Where something was answered already, the hook ends.
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
    extractors "An extractor: runs after the guards and, in a read loop, once per message. A refusal goes to the `request_error` hooks." {
        /// Binds the request body, a `RequestBody`: `#[request_body(body)]`. Never refuses; a request without a body has an empty one.
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
        /// Binds the request body, read as JSON: `#[request_body_json(user: User)]`. Malformed JSON refuses the request with 400 and the field's path.
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
        /// Binds the outcome of reading the request body as JSON, a `Result`: `#[request_body_json_result(user: User)]`. Never refuses.
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
        /// Binds the version of the request, an `HttpVersion`: `#[request_version(version)]`. Never refuses.
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
        /// Binds the decoded path of the request, a `String`: `#[request_path(path)]`. Never refuses.
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
        /// Binds all values of the query: `#[request_querys(querys)]`. Never refuses.
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
        /// Binds all header fields of the request: `#[request_headers(headers)]`. Never refuses.
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
        /// Binds all cookies of the request, a `CookieJar`: `#[request_cookies(cookies)]`. Never refuses.
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
        /// Binds all parameters of the path, a `RouteParams`: `#[route_params(params)]`. Never refuses.
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
        /// Binds all attributes of the context: `#[attributes(attributes)]`. Never refuses.
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
        /// Binds a parameter of the path, a decoded `String`: `#[route_param("id" => id)]`. A missing one refuses the request with 400; where the pattern lacks it, the program does not compile.
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
        /// Binds a parameter of the path as an `Option`: `#[try_get_route_param("id" => id)]`. Never refuses.
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
        /// Binds a value of the query, a `String`: `#[request_query("page" => page)]`. A missing one refuses the request with 400.
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
        /// Binds a value of the query as an `Option`: `#[try_get_request_query("page" => page)]`. Never refuses.
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
        /// Binds a request header, a `String`; the last of its name: `#[request_header("accept" => accept)]`. A missing one refuses the request with 400.
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
        /// Binds a request header as an `Option`: `#[try_get_request_header("accept" => accept)]`. Never refuses.
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
        /// Binds the value of a cookie, a `String`: `#[request_cookie("theme" => theme)]`. A missing one refuses the request with 400.
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
        /// Binds the value of a cookie as an `Option`: `#[try_get_request_cookie("theme" => theme)]`. Never refuses.
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
        /// Binds an attribute of the context, which an earlier hook set: `#[attribute("user" => user: User)]`. A missing one, or one of another type, refuses the request with 500.
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
        /// Binds an attribute of the context as an `Option`: `#[try_get_attribute("user" => user: User)]`. Never refuses.
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
        /// Binds what is known of a panic: `#[task_panic_data(panic)]`. Where there was none, the request is refused with 500.
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
        /// Binds what is known of a panic as an `Option`: `#[try_get_task_panic_data(panic)]`. Never refuses.
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
        /// Binds why a request was refused, a `RequestError`: `#[request_error_data(error)]`. Where it was not, it is now, with 500.
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
        /// Binds why a request was refused as an `Option`: `#[try_get_request_error_data(error)]`. Never refuses.
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
    conditions "A condition: runs after the extractors. A function that it may skip returns `Status` or nothing, and a route then answers with what is in the response. A route that returns a value declines with 403; unlike after a guard, no other handler of the path is asked, as the arguments have been read." {
        /// Skips the body and what follows it unless the expression is true: `#[filter(allowed)]`. A route that returns a value then declines with 403.
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
        /// Skips the body and what follows it if the expression is true: `#[reject(banned)]`. A route that returns a value then declines with 403.
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
    setters "Runs after extractors and conditions, before the body; a failing guard or condition leaves the response as it is." {
        /// Sets the response's status code, a number or an `HttpStatus`: `#[response_status_code(201)]`. A literal is checked while the program compiles.
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
        /// Sets the response's reason phrase: `#[response_reason_phrase("Made")]`. Default: that of the status code.
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
        /// Sets the response's protocol version: `#[response_version(HttpVersion::Http1_1)]`.
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
        /// Sets a response header, `#[response_header("server" => "mine")]`, or adds one more of its name, `#[response_header("vary", "origin")]`. Literals are checked while the program compiles.
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
        /// Sets the response's body: `#[response_body("hello")]`.
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
        /// Removes every response header set so far.
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
    epilogues "Runs whenever the body ran, also after an early `return` or `?`." {
        /// Sends the response after the body, or the bytes given, `#[try_send(bytes)]`; a failure is left to the next write.
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
        /// Sends the response after the body, or the bytes given, `#[send(bytes)]`; a failure is logged and closes the connection. On a WebSocket the response's body goes out as a message.
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
        /// Flushes the connection after the body; a failure is left to the next write.
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
        /// Flushes the connection after the body; a failure is logged and closes the connection.
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
        /// Closes the connection after everything else, once.
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
        /// Calls hooks before the body: `#[prologue_hooks(Self::prepare, audit)]`. What they return is ignored.
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
        /// Calls hooks after the body, also when it returned early: `#[epilogue_hooks(audit)]`. What they return is ignored.
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
        /// Runs macros before the body, in the order listed: `#[prologue_macros(response_body("hi"), try_flush)]`. Guards and reads keep their places.
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
        /// Runs macros after the body, in the order listed: `#[epilogue_macros(response_body("bye"), try_send, closed)]`. What decides whether the body runs is refused there.
        ///
        /// ```
        /// use hyperlane::*;
        ///
        /// #[get("/")]
        /// #[epilogue_macros(response_body("bye"), try_send, closed)]
        /// async fn handler() {}
        /// # fn main() {}
        /// ```
        epilogue_macros;
    }
}
