#![doc = include_str!("docs/macros.md")]

// Long: one list, every macro with its reference documentation, most of it examples.

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

/// Declares the attribute of each row, by phase. `at` writes an example: the attribute on a route at that path.
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

        /// The names of the declared attributes. A test compares them with the table.
        #[cfg(test)]
        const DECLARED: &[&str] = &[$($(stringify!($name)),+),+];
    };
}

declare! {
    declarations "Runs first, before the guards." {
        /// Declares variables by their `Default`, and adds all registered hooks to a `Server`:
        /// `#[hyperlane(server: Server)]`.
        ///
        /// Takes any number of `name: Type`, on any function. The type of the server must have the name `Server`, not that
        /// of an alias. If macros registered routes that no server of the program takes, a server without routes does not
        /// start.
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
        /// Imports traits without their names: `#[import(std::fmt::Write)]`.
        ///
        /// On a function the import holds for its body, on a struct for the module.
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
        /// Registers a hook struct or an async function at a path, for every method: `#[route("/users/{id}")]`.
        ///
        /// The attribute can be repeated, once per path. A function must be free, not in an `impl` or `trait`. Routes of
        /// another crate are registered once the program names that crate, if only with `use handlers as _;`.
        ///
        /// Patterns are `/users/:id`, `/users/{id}`, `/users/{id:\d+}` and `/files/{*path}`, as a literal or a constant.
        /// The compiler checks a literal with its regexes, and the names that `route_param` asks for. A server checks at
        /// its start that typed arguments (`Path`, `State`) fit the pattern and the server.
        ///
        /// A function takes the stream, the context, both or neither, and typed arguments. It returns `Status` or any type
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
        /// Registers a hook struct or an async function at a path, for GET and HEAD requests: `#[get("/path")]`.
        ///
        /// Other requests go to the next handler of the path; without one, the answer is 405.
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
        /// Other requests go to the next handler of the path; without one, the answer is 405.
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
        /// Other requests go to the next handler of the path; without one, the answer is 405.
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
        /// Other requests go to the next handler of the path; without one, the answer is 405.
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
        /// Other requests go to the next handler of the path; without one, the answer is 405.
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
        /// Other requests go to the next handler of the path; without one, the answer is 405.
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
        /// Other requests go to the next handler of the path; without one, the answer is 405.
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
        /// Registers a hook struct that runs before routes: `#[request_middleware]`, or `#[request_middleware(1)]` with its
        /// order.
        ///
        /// The order is any `isize` constant, or a number in quotes. Hooks without an order run first.
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
        /// Registers a hook struct that runs after routes: `#[response_middleware]`, or `#[response_middleware(1)]` with
        /// its order.
        ///
        /// The order is any `isize` constant, or a number in quotes. Hooks without an order run first.
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
        /// Registers a hook struct that runs after a hook has panicked: `#[task_panic]`, or `#[task_panic(1)]` with its
        /// order.
        ///
        /// The order is any `isize` constant, or a number in quotes. Hooks without an order run first.
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
        /// Registers a hook struct that runs after a request was refused: `#[request_error]`, or `#[request_error(1)]` with
        /// its order.
        ///
        /// The order is any `isize` constant, or a number in quotes. Hooks without an order run first.
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
    guards "A guard runs before anything is read. On a route, a declined request goes to the next handler of the \
        path. On any other function the guard skips the body." {
        /// Declines requests whose method is neither GET nor HEAD; if all handlers of the path decline, the answer is 405.
        is_get_method at "/path";
        /// Declines requests whose method is not POST; if all handlers of the path decline, the answer is 405.
        is_post_method at "/path";
        /// Declines requests whose method is not PUT; if all handlers of the path decline, the answer is 405.
        is_put_method at "/path";
        /// Declines requests whose method is not DELETE; if all handlers of the path decline, the answer is 405.
        is_delete_method at "/path";
        /// Declines requests whose method is not PATCH; if all handlers of the path decline, the answer is 405.
        is_patch_method at "/path";
        /// Declines requests whose method is not HEAD; if all handlers of the path decline, the answer is 405.
        is_head_method at "/path";
        /// Declines requests whose method is not OPTIONS; if all handlers of the path decline, the answer is 405.
        is_options_method at "/path";
        /// Declines requests whose method is not CONNECT; if all handlers of the path decline, the answer is 405.
        is_connect_method at "/path";
        /// Declines requests whose method is not TRACE; if all handlers of the path decline, the answer is 405.
        is_trace_method at "/path";
        /// Declines requests with one of the nine methods that HTTP defines; if all handlers of the path decline, the
        /// answer is 405.
        is_unknown_method at "/path";
        /// Declines requests whose method is not in the list, `#[methods(get, post)]`; if all handlers of the path decline,
        /// the answer is 405.
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
        /// Declines requests that do not ask for a WebSocket; if all handlers of the path decline, the answer is 426.
        ///
        /// On `handle` and on routes it also accepts the handshake, right after the guards. A handshake that breaks a rule,
        /// or comes from a foreign page, is refused before the body runs.
        ///
        /// The 101 waits for the first read, the first send or `ctx.upgrade(stream)`. Until then the body may answer as to
        /// any request: with an error, with `Status::Reject`, with `#[send]` and a status of 400 or more, or with raw bytes
        /// that begin with `HTTP/1.`. If the body does none of this for `ServerConfig::handshake_timeout` (10 s), the 101
        /// is sent.
        ///
        /// Subprotocols and header fields can be set in `ctx.upgrade_with`; allowed origins cannot, as this guard has
        /// checked them.
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
        /// Declines requests that do not ask for HTTP/2 over plain text; if all handlers of the path decline, the answer is
        /// 426.
        is_h2c_upgrade_type at "/path";
        /// Declines requests that do not ask for TLS; if all handlers of the path decline, the answer is 426.
        is_tls_upgrade_type at "/path";
        /// Declines requests that ask for a WebSocket, HTTP/2 or TLS; if all handlers of the path decline, the answer is
        /// 400.
        is_unknown_upgrade_type at "/path";
        /// Declines requests that are not HTTP/0.9; if all handlers of the path decline, the answer is 505.
        is_http0_9_version at "/path";
        /// Declines requests that are not HTTP/1.0; if all handlers of the path decline, the answer is 505.
        is_http1_0_version at "/path";
        /// Declines requests that are not HTTP/1.1; if all handlers of the path decline, the answer is 505.
        is_http1_1_version at "/path";
        /// Declines requests that are not HTTP/2; if all handlers of the path decline, the answer is 505.
        is_http2_version at "/path";
        /// Declines requests that are not HTTP/3; if all handlers of the path decline, the answer is 505.
        is_http3_version at "/path";
        /// Declines requests older than HTTP/1.1; if all handlers of the path decline, the answer is 505.
        is_http1_1_or_higher_version at "/path";
        /// Declines requests of an unknown HTTP version; if all handlers of the path decline, the answer is 505.
        is_http_version at "/path";
        /// Declines requests of a known HTTP version; if all handlers of the path decline, the answer is 505.
        is_unknown_version at "/path";
        /// Declines requests for a host that is not in the list, `#[host("a.example", "b.example")]`; if all handlers of
        /// the path decline, the answer is 421.
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
        /// Declines requests for a host in the list, `#[reject_host("old.example")]`; if all handlers of the path decline,
        /// the answer is 421.
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
        /// Declines requests from a page that is not in the list, `#[referer("https://a.example/")]`; if all handlers of
        /// the path decline, the answer is 403.
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
        /// Declines requests from a page in the list, `#[reject_referer("https://spam.example/")]`; if all handlers of the
        /// path decline, the answer is 403.
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
        /// The variable is a `RequestBody`; without a name the message is only read. On `handle` and on routes the
        /// connection is upgraded first, and a request that cannot be upgraded is refused.
        ///
        /// The body may end in a `Status`, in `()` or not at all. `break` and `return` end the loop and close the
        /// connection with 1000, `Status::Reject` with 1008, an error with 1011.
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
        /// Runs the function once per further HTTP request of the connection: `#[try_get_http_request(request)]`.
        ///
        /// The variable is a `Request`; without a name the request is only read.
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
        /// `handle` and routes decline requests that do not ask for a WebSocket (426), so a page may have the same path. A
        /// broken handshake is refused.
        ///
        /// Extractors, conditions and response headers run first: their refusals are HTTP answers, and the headers are sent
        /// with the 101. With `try_get_websocket_request` the upgrade comes before the first message instead, and each
        /// message binds a handle. In middleware the macro takes the connection over.
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
        /// Starts an event stream as the response and binds its handle by value: `#[sse(events)]`.
        ///
        /// Extractors, conditions and response headers run first: their refusals are HTTP answers, and the headers are sent
        /// with the stream's head. If the request was answered before, the hook ends. The stream ends with the hook.
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
        /// Never refuses; a request without a body has an empty one.
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
        /// On `handle` or a route function it sets how the route takes the body: none of it is read before the hook runs.
        /// On other functions it binds the unread rest of a body that the route streams.
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
        /// A larger body is refused with 413. Stands on `handle` or on a route function.
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
        /// Malformed JSON refuses the request with 400 and the path of the field.
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
        /// Never refuses.
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
        /// Never refuses.
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
        /// Never refuses.
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
        /// Never refuses.
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
        /// Never refuses.
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
        /// Never refuses.
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
        /// Never refuses.
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
        /// Binds all attributes of the context, an `Attributes`: `#[attributes(attributes)]`.
        ///
        /// Never refuses.
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
        /// A missing parameter refuses the request with 400. If the route's pattern has no such parameter, the program does
        /// not compile.
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
        /// Never refuses.
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
        /// A missing value refuses the request with 400.
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
        /// Never refuses.
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
        /// A missing header refuses the request with 400. Of several with the name, the last is bound.
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
        /// Never refuses.
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
        /// A missing cookie refuses the request with 400.
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
        /// Never refuses.
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
        /// Binds an attribute of the context that an earlier hook set: `#[attribute("user" => user: User)]`.
        ///
        /// A missing attribute, or one of another type, refuses the request with 500.
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
        /// Binds an attribute of the context as an `Option`: `#[try_get_attribute("user" => user: User)]`.
        ///
        /// Never refuses.
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
        /// Binds the message and place of a panic: `#[task_panic_data(panic)]`.
        ///
        /// Without a panic the request is refused with 500.
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
        /// Binds the message and place of a panic as an `Option`: `#[try_get_task_panic_data(panic)]`.
        ///
        /// Never refuses.
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
        /// Binds the reason why the request was refused, a `RequestError`: `#[request_error_data(error)]`.
        ///
        /// A request that was not refused before is refused with 500.
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
        /// Binds the reason why the request was refused as an `Option`: `#[try_get_request_error_data(error)]`.
        ///
        /// Never refuses.
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
    conditions "A condition runs after the extractors. The function must return `Status` or nothing, and a route \
        then answers with the response as it is. A route that returns a value answers 403 instead. No other \
        handler of the path is tried, since the arguments were read already." {
        /// Skips the body and the later phases unless the expression is true: `#[filter(allowed)]`.
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
        /// Skips the body and the later phases if the expression is true: `#[reject(banned)]`.
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
    setters "Runs after extractors and conditions, before the body. After a failed guard or condition the \
        response stays as it is." {
        /// Sets the status code of the response, a number or an `HttpStatus`: `#[response_status_code(201)]`.
        ///
        /// The compiler checks a literal.
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
        /// The default is the phrase of the status code.
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
        /// Sets a response header, `#[response_header("server" => "mine")]`, or adds one more,
        /// `#[response_header("vary", "origin")]`.
        ///
        /// The compiler checks literals.
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
        /// Removes every response header set so far: `#[clear_response_headers]`.
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
        /// Sends the response after the body, `#[try_send]`, or bytes, `#[try_send(bytes)]`.
        ///
        /// Ignores a failure; the next write reports it.
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
        /// Sends the response after the body, `#[send]`, or bytes, `#[send(bytes)]`.
        ///
        /// A failure is logged and closes the connection. On a WebSocket the body of the response is sent as a message.
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
        /// Flushes the connection after the body: `#[try_flush]`.
        ///
        /// Ignores a failure; the next write reports it.
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
        /// Flushes the connection after the body: `#[flush]`.
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
        /// Closes the connection after everything else: `#[closed]`.
        ///
        /// Runs once, also after a read loop.
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
        /// Calls hooks before the body: `#[prologue_hooks(Self::prepare, audit)]`.
        ///
        /// A hook is an `async fn(&mut Stream, &mut Context)`. Its return value is ignored.
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
        /// Calls hooks after the body, also after an early `return`: `#[epilogue_hooks(audit)]`.
        ///
        /// A hook is an `async fn(&mut Stream, &mut Context)`. Its return value is ignored.
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
        /// Guards and reads run in their own phases.
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
        /// Guards, reads and conditions cannot be in the list, as they decide whether the body runs.
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
