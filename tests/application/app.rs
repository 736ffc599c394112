//! An application that uses every macro in every form of its arguments. The table beside it sends the requests.

use hyperlane::*;
use serde::Deserialize;

pub(super) const PATTERN: &str = "/route/constant/{id}";
const ORDER: isize = 3;
const HOST_NAME: &str = "constant.example";
const KEY: &str = "key";
const HEADER: &str = "x-constant";
const LIMIT: usize = 4;
const RAW: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nraw";

#[derive(Clone, Deserialize)]
pub(super) struct User {
    name: String,
}

/// A hook that answers with its name, or does nothing.
macro_rules! hooks {
    ($($(#[$attribute:meta])+ $name:ident)*) => {$(
        $(#[$attribute])+
        struct $name;

        impl ServerHook for $name {
            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
                ctx.get_mut_response().set_body(stringify!($name));
                Status::Continue
            }
        }
    )*};
}

/// A hook of a kind and order, which adds a value to a header.
macro_rules! steps {
    ($($(#[$attribute:meta])+ $name:ident $header:literal $path:literal;)*) => {$(
        $(#[$attribute])+
        struct $name;

        impl ServerHook for $name {
            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            #[filter(ctx.get_request().get_path() == $path)]
            #[response_header($header, stringify!($name))]
            async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
                Status::Continue
            }
        }
    )*};
}

/// Values that are declared, and a server that knows every hook of this program.
#[rustfmt::skip]
#[hyperlane(server: Server)]
#[hyperlane(count: usize, text: String,)]
pub(super) async fn start() -> ServerControlHook {
    count += 1;
    text.push_str("127.0.0.1:0");
    assert_eq!(count, 1);
    server.bind(text);
    server.get_mut_server_config().allowed_hosts = test_support::hosts();
    server.run().await.expect("the server starts")
}

// ---------------------------------------------------------------- registration

hooks! {
    #[route("/route/struct")] OnStruct
    #[route("/route/one")] #[route("/route/other")] OnSeveral
    #[any("/any/struct")] AnyStruct
    #[get("/get/struct")] GetStruct
    #[post("/post/struct")] PostStruct
    #[put("/put/struct")] PutStruct
    #[delete("/delete/struct")] DeleteStruct
    #[patch("/patch/struct")] PatchStruct
    #[head("/head/struct")] HeadStruct
    #[options("/options/struct")] OptionsStruct
    #[query("/query/struct")] QueryStruct
}

#[route("/route/function")]
async fn on_function() -> &'static str {
    "function"
}

#[route(PATTERN)]
#[route_param("id" => id)]
async fn on_constant() -> String {
    id
}

#[route("/colon/:colon/x")]
#[route_param("colon" => colon)]
async fn on_colon() -> String {
    colon
}

#[route("/route/digits/{digits:\\d+}")]
#[route_param("digits" => digits)]
async fn on_digits() -> String {
    digits
}

#[route("/route/rest/{*rest}")]
#[route_param("rest" => rest)]
async fn on_rest() -> String {
    rest
}

#[any("/any/function")]
async fn any_function() -> &'static str {
    "any"
}

#[get("/get/function")]
async fn get_function() -> &'static str {
    "get"
}

#[post("/post/function")]
async fn post_function() -> &'static str {
    "post"
}

#[put("/put/function")]
async fn put_function() -> &'static str {
    "put"
}

#[delete("/delete/function")]
async fn delete_function() -> &'static str {
    "delete"
}

#[patch("/patch/function")]
async fn patch_function() -> &'static str {
    "patch"
}

#[head("/head/function")]
async fn head_function() {}

#[options("/options/function")]
async fn options_function() -> &'static str {
    "options"
}

#[query("/query/function")]
async fn query_function() -> &'static str {
    "query"
}

#[get("/several")]
#[post("/several")]
async fn several() -> &'static str {
    "several"
}

/// Middleware of an order, which adds a value to a header on its way in.
macro_rules! wraps {
    ($($(#[$attribute:meta])+ $name:ident $header:literal $path:literal $value:literal;)*) => {$(
        $(#[$attribute])*
        async fn $name(ctx: &mut Context, next: Next<'_>) -> Status {
            if ctx.get_request().get_path().starts_with($path) {
                ctx.get_mut_response().add_header($header, $value);
            }
            next.run(ctx).await
        }
    )*};
}

wraps! {
    #[middleware(ORDER)] wrap_by_constant "x-wrap" "/steps" "ByConstant";
    #[middleware(1)] wrap_by_number "x-wrap" "/steps" "One";
    #[middleware("2")] wrap_by_text "x-wrap" "/steps" "Two";
    #[middleware(-1)] wrap_below "x-wrap" "/steps" "Below";
    #[middleware] wrap_unnumbered "x-wrap" "/steps" "Unnumbered";
    #[doc = "For one route."] wrap_one "x-with" "/with" "one";
    #[doc = "For one route."] wrap_two "x-with" "/with" "two";
}

#[get("/with/function")]
#[with(wrap_one, wrap_two)]
async fn with_function() -> &'static str {
    "with"
}

hooks! {
    #[get("/with/struct")]
    #[with(wrap_one)]
    With
}

steps! {
    #[request_middleware(ORDER)] RequestByConstant "x-request" "/steps";
    #[request_middleware(1)] RequestByNumber "x-request" "/steps";
    #[request_middleware("2")] RequestByText "x-request" "/steps";
    #[request_middleware(-1)] RequestBelow "x-request" "/steps";
    #[request_middleware] RequestUnnumbered "x-request" "/steps";
    #[response_middleware(ORDER)] ResponseByConstant "x-response" "/steps";
    #[response_middleware(1)] ResponseByNumber "x-response" "/steps";
    #[response_middleware("2")] ResponseByText "x-response" "/steps";
    #[response_middleware(-1)] ResponseBelow "x-response" "/steps";
    #[response_middleware] ResponseUnnumbered "x-response" "/steps";
    #[task_panic(ORDER)] PanicByConstant "x-panic" "/panic";
    #[task_panic(1)] PanicByNumber "x-panic" "/panic";
    #[task_panic("2")] PanicByText "x-panic" "/panic";
    #[task_panic(-1)] PanicBelow "x-panic" "/panic";
    #[task_panic] PanicUnnumbered "x-panic" "/panic";
    #[request_error(ORDER)] ErrorByConstant "x-error" "/error";
    #[request_error(1)] ErrorByNumber "x-error" "/error";
    #[request_error("2")] ErrorByText "x-error" "/error";
    #[request_error(-1)] ErrorBelow "x-error" "/error";
    #[request_error] ErrorUnnumbered "x-error" "/error";
}

#[get("/steps")]
async fn steps() -> &'static str {
    "steps"
}

#[get("/panic")]
async fn panics() {
    panic!("on purpose")
}

#[get("/error")]
#[request_query("absent" => _absent)]
async fn fails() {}

// ---------------------------------------------------------------- guards

/// Guards that take no arguments, each on a route of its own.
macro_rules! guarded {
    ($($path:literal #[$guard:ident])*) => {$(
        mod $guard {
            use hyperlane::*;

            #[route($path)]
            #[$guard]
            async fn handler() -> &'static str {
                stringify!($guard)
            }
        }
    )*};
}

guarded! {
    "/is/get" #[is_get_method]
    "/is/post" #[is_post_method]
    "/is/put" #[is_put_method]
    "/is/delete" #[is_delete_method]
    "/is/patch" #[is_patch_method]
    "/is/head" #[is_head_method]
    "/is/options" #[is_options_method]
    "/is/connect" #[is_connect_method]
    "/is/trace" #[is_trace_method]
    "/is/query" #[is_query_method]
    "/is/unknown_method" #[is_unknown_method]
    "/is/0.9" #[is_http0_9_version]
    "/is/1.0" #[is_http1_0_version]
    "/is/1.1" #[is_http1_1_version]
    "/is/2" #[is_http2_version]
    "/is/3" #[is_http3_version]
    "/is/higher" #[is_http1_1_or_higher_version]
    "/is/http" #[is_http_version]
    "/is/unknown_version" #[is_unknown_version]
    "/is/h2c" #[is_h2c_upgrade_type]
    "/is/tls" #[is_tls_upgrade_type]
    "/is/no_upgrade" #[is_unknown_upgrade_type]
}

#[route("/is/websocket")]
#[is_ws_upgrade_type]
#[response_body("upgraded")]
#[send]
async fn is_websocket() {}

#[route("/methods/one")]
#[methods(get)]
async fn one_method() {}

#[route("/methods/all")]
#[methods(get, post, put, delete, patch, head, options, connect, trace, query)]
async fn all_methods() {}

#[route("/methods/comma")]
#[rustfmt::skip]
#[methods(put, post,)]
async fn methods_with_comma() {}

#[route("/host/one")]
#[host("one.example")]
async fn one_host() {}

#[route("/host/several")]
#[host("one.example", HOST_NAME)]
async fn several_hosts() {}

#[route("/host/not")]
#[reject_host("one.example")]
async fn not_one_host() {}

#[route("/host/none")]
#[reject_host("one.example", HOST_NAME)]
async fn none_of_several_hosts() {}

#[route("/referer/one")]
#[referer("https://one.example/")]
async fn one_referer() {}

#[route("/referer/several")]
#[referer("https://one.example/", format!("https://{HOST_NAME}/"))]
async fn several_referers() {}

#[route("/referer/not")]
#[reject_referer("https://one.example/")]
async fn not_one_referer() {}

#[route("/referer/none")]
#[reject_referer("https://one.example/", format!("https://{HOST_NAME}/"))]
async fn none_of_several_referers() {}

// ---------------------------------------------------------------- reads and handles

#[get("/messages/bare")]
#[try_get_websocket_request]
#[request_body(body)]
#[response_body(&body)]
#[send]
async fn bare_messages() {}

#[get("/messages/named")]
#[try_get_websocket_request(message)]
#[response_body(&message)]
#[send]
async fn named_messages() {}

#[get("/messages/changed")]
#[try_get_websocket_request(mut message)]
#[epilogue_macros(response_body(&message), send)]
async fn changed_messages() {
    message = RequestBody::from("changed");
}

/// Answers its first request in `new`, and further ones in the loop.
macro_rules! requests {
    ($($path:literal #[$read:meta] #[$body:meta] $name:ident)*) => {$(
        #[route($path)]
        struct $name;

        impl ServerHook for $name {
            #[response_body("first")]
            #[send]
            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            #[$read]
            #[$body]
            #[send]
            async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
                Status::Continue
            }
        }
    )*};
}

requests! {
    "/requests/bare" #[try_get_http_request] #[prologue_macros(request_path(path), response_body(path))] BareRequests
    "/requests/named" #[try_get_http_request(request)] #[response_body(request.get_path())] NamedRequests
}

#[get("/websocket")]
#[websocket(socket)]
async fn websocket_handle() {
    let _ = socket.send("from the handle").await;
}

#[get("/websocket/mut")]
#[websocket(mut socket)]
async fn websocket_handle_mut() {
    socket = socket.clone();
    let _ = socket.send("from the handle").await;
}

#[get("/sse")]
#[sse(events)]
async fn events_handle() {
    let _ = events.send("one").await;
}

#[get("/sse/mut")]
#[sse(mut events)]
async fn events_handle_mut() {
    events = events.clone();
    let _ = events.send("one").await;
}

// ---------------------------------------------------------------- extractors

#[post("/body/one")]
#[request_body(body)]
async fn one_body() -> RequestBody {
    body
}

#[post("/body/several")]
#[request_body(first, mut second)]
async fn several_bodies() -> String {
    second = RequestBody::from("second");
    format!("{} {}", first.len(), second.len())
}

#[post("/body/stream")]
#[body_stream(stream)]
async fn streamed_body() -> Result<Vec<u8>, RequestError> {
    let mut stream = stream;
    Ok(stream.read_to_end(LIMIT).await?.to_vec())
}

#[post("/body/stream/mut")]
#[body_stream(mut stream)]
async fn streamed_body_mut() -> Result<String, RequestError> {
    let mut text = String::new();
    while let Some(chunk) = stream.next_chunk().await? {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    Ok(text)
}

#[post("/body/max")]
#[max_body(4)]
#[request_body(body)]
async fn bounded_body() -> RequestBody {
    body
}

#[post("/body/max/constant")]
#[max_body(LIMIT * 2)]
#[request_body(body)]
async fn bounded_body_by_constant() -> RequestBody {
    body
}

#[post("/json/one")]
#[request_body_json(user: User)]
async fn one_json() -> String {
    user.name
}

#[post("/json/several")]
#[request_body_json(mut user: User, value: serde_json::Value)]
async fn several_jsons() -> String {
    user.name.push('!');
    format!("{} {value}", user.name)
}

#[post("/json/result")]
#[request_body_json_result(user: User)]
async fn json_result() -> String {
    user.map_or_else(|_| "no user".into(), |user| user.name)
}

#[post("/json/results")]
#[request_body_json_result(user: User, number: u8)]
async fn json_results() -> String {
    format!("{} {}", user.is_ok(), number.is_ok())
}

#[get("/whole/{id}")]
#[request_version(version)]
#[request_path(path)]
#[request_querys(querys)]
#[request_headers(headers)]
#[request_cookies(cookies)]
#[route_params(params)]
#[attributes(attributes)]
async fn whole_parts() -> String {
    format!(
        "{version} {path} {} {} {} {} {}",
        querys.len(),
        headers.get("x-a").is_some(),
        cookies.iter().count(),
        params.len(),
        attributes.len()
    )
}

#[get("/wholes/{id}")]
#[request_version(version, again)]
#[request_path(path, mut longer)]
#[request_querys(querys, more_querys)]
#[request_headers(headers, more_headers)]
#[request_cookies(cookies, more_cookies)]
#[route_params(params, more_params)]
#[attributes(attributes, more_attributes)]
async fn several_whole_parts() -> String {
    longer.push('!');
    assert_eq!((version == again, path.is_empty()), (true, false));
    assert_eq!(querys.len(), more_querys.len());
    assert_eq!(headers.len(), more_headers.len());
    assert_eq!(cookies.iter().count(), more_cookies.iter().count());
    assert_eq!(
        (params.len(), attributes.len()),
        (more_params.len(), more_attributes.len())
    );
    longer
}

/// Makes a macro's lookups: by one literal, by a constant too, under a name of its own.
macro_rules! looks_up {
    ($($path:literal #[$one:meta] $text:expr;)*) => {$(
        const _: () = {
            #[get($path)]
            #[$one]
            async fn handler() -> String {
                $text
            }
        };
    )*};
}

looks_up! {
    "/param/{id}" #[route_param("id" => one)] one;
    "/params/{id}/{key}" #[route_param("id" => mut one, KEY => two)] { one.push_str(&two); one };
    "/try_param/{id}" #[try_get_route_param("id" => one)] format!("{one:?}");
    "/try_params/{id}/{key}" #[try_get_route_param("id" => one, KEY => two)] format!("{one:?} {two:?}");
    "/query" #[request_query("id" => one)] one;
    "/queries" #[request_query("id" => one, KEY => two)] one + &two;
    "/try_query" #[try_get_request_query("id" => one)] format!("{one:?}");
    "/try_queries" #[try_get_request_query("id" => one, KEY => two)] format!("{one:?} {two:?}");
    "/header" #[request_header("x-one" => one)] one;
    "/headers" #[request_header("X-One" => one, HEADER => two)] one + &two;
    "/try_header" #[try_get_request_header("x-one" => one)] format!("{one:?}");
    "/try_headers" #[try_get_request_header("x-one" => one, HEADER => two)] format!("{one:?} {two:?}");
    "/cookie" #[request_cookie("one" => one)] one;
    "/cookies" #[request_cookie("one" => one, KEY => two)] one + &two;
    "/try_cookie" #[try_get_request_cookie("one" => one)] format!("{one:?}");
    "/try_cookies" #[try_get_request_cookie("one" => one, KEY => two)] format!("{one:?} {two:?}");
    "/attribute" #[attribute("user" => one: User)] one.name;
    "/attributes" #[attribute("user" => one: User, KEY => two: u8)] format!("{} {two}", one.name);
    "/try_attribute" #[try_get_attribute("user" => one: User)] one.map_or_else(String::new, |one| one.name);
    "/try_attributes" #[try_get_attribute("user" => one: String, KEY => two: u8)] format!("{one:?} {two:?}");
}

/// Sets the values that extractors of attributes find.
#[request_middleware]
struct Attributes;

impl ServerHook for Attributes {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[filter(ctx.get_request().get_path().contains("attribute"))]
    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        let name = "ada".to_owned();
        ctx.set_attribute("user", User { name })
            .set_attribute(KEY, 7_u8);
        Status::Continue
    }
}

/// Sets the values that hooks of failures read.
macro_rules! failures {
    ($(#[$kind:ident] $path:literal #[$data:meta] #[$body:meta] $name:ident)*) => {$(
        #[$kind]
        struct $name;

        impl ServerHook for $name {
            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            #[filter(ctx.get_request().get_path() == $path)]
            #[prologue_macros($data, $body)]
            async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
                Status::Continue
            }
        }
    )*};
}

failures! {
    #[task_panic] "/panic/data" #[task_panic_data(data)] #[response_body(data.to_string())] Panicked
    #[task_panic] "/panic/several" #[task_panic_data(data, more)] #[response_body(format!("{data} {more}"))] PanickedTwice
    #[task_panic] "/panic/try" #[try_get_task_panic_data(data)] #[response_body(format!("{}", data.is_some()))] TryPanicked
    #[task_panic] "/panic/tries" #[try_get_task_panic_data(data, more)]
        #[response_body(format!("{}", data.is_some() && more.is_some()))] TryPanickedTwice
    #[request_error] "/error/data" #[request_error_data(error)] #[response_body(error.to_string())] Failed
    #[request_error] "/error/several" #[request_error_data(error, more)]
        #[response_body(format!("{}", error.to_string() == more.to_string()))] FailedTwice
    #[request_error] "/error/try" #[try_get_request_error_data(error)]
        #[response_body(format!("{}", error.is_some()))] TryFailed
    #[request_error] "/error/tries" #[try_get_request_error_data(error, more)]
        #[response_body(format!("{}", error.is_some() && more.is_some()))] TryFailedTwice
}

#[get("/panic/{way}")]
async fn panics_with_data() {
    panic!("on purpose")
}

#[get("/error/{way}")]
#[request_query("absent" => _absent)]
async fn fails_with_data() {}

// ---------------------------------------------------------------- conditions and the response

#[get("/filter/{id}")]
#[route_param("id" => id)]
#[filter(id == "yes")]
async fn filtered() -> String {
    id
}

#[get("/reject/{id}")]
#[route_param("id" => id)]
#[reject(id == "no")]
async fn rejected() -> String {
    id
}

#[get("/status/number")]
#[response_status_code(201)]
async fn status_of_a_number() {}

#[get("/status/named")]
#[response_status_code(HttpStatus::Accepted)]
async fn status_by_name() {}

#[get("/reason")]
#[response_reason_phrase("Fine")]
async fn reason() {}

#[get("/version")]
#[response_version(HttpVersion::Http1_1)]
async fn version() {}

#[get("/response_header")]
#[response_header("x-set" => "first")]
#[response_header("x-set" => "second")]
#[response_header("x-added", "first")]
#[response_header("x-added", "second")]
#[response_header(HEADER => format!("{}", 1))]
async fn response_headers() {}

#[get("/clear")]
#[response_header("x-set" => "gone")]
#[clear_response_headers]
async fn cleared() {}

#[get("/response_body")]
#[response_body("text")]
async fn text_body() {}

#[get("/response_body/bytes")]
#[response_body(vec![b'o', b'k'])]
async fn bytes_body() {}

// ---------------------------------------------------------------- output

#[get("/send")]
#[response_body("bare")]
#[send]
async fn send_bare() {}

#[get("/send/value")]
#[send(RAW)]
async fn send_value() {}

#[get("/try_send")]
#[response_body("bare")]
#[try_send]
async fn try_send_bare() {}

#[get("/try_send/value")]
#[try_send(&RAW)]
async fn try_send_value() {}

#[get("/flush")]
#[response_body("flushed")]
#[send]
#[flush]
async fn flushes() {}

#[get("/spawned")]
#[spawned]
#[response_body("apart")]
async fn spawns() {}

#[get("/try_flush")]
#[response_body("flushed")]
#[send]
#[try_flush]
async fn tries_to_flush() {}

#[get("/closed")]
#[response_body("last")]
#[send]
#[closed]
async fn closes() {}

// ---------------------------------------------------------------- lists

async fn before(_: &mut Stream, ctx: &mut Context) -> Status {
    ctx.get_mut_response().add_header("x-hooks", "before");
    Status::Continue
}

struct Hooks;

impl Hooks {
    async fn after(_: &mut Stream, ctx: &mut Context) -> Status {
        ctx.get_mut_response().add_header("x-hooks", "after");
        Status::Continue
    }
}

#[get("/hooks/before")]
#[prologue_hooks(before)]
async fn one_hook_before() {}

#[rustfmt::skip]
#[get("/hooks/both")]
#[prologue_hooks(before, self::before)]
#[epilogue_hooks(Hooks::after, before,)]
async fn several_hooks() {}

#[get("/hooks/after")]
#[epilogue_hooks(Hooks::after)]
async fn one_hook_after() {}

#[route("/lists")]
#[prologue_macros(
    is_get_method,
    request_query("id" => id),
    reject(id == "no"),
    response_status_code(201),
    response_header("x-set" => &id),
    response_body("listed")
)]
#[epilogue_macros(send, flush, closed)]
async fn lists() {}

#[get("/list/one")]
#[prologue_macros(response_body("one"))]
#[epilogue_macros(try_send)]
async fn lists_of_one() {}

mod shout {
    pub(super) trait Shout {
        fn shout(&self) -> String;
    }

    impl Shout for str {
        fn shout(&self) -> String {
            self.to_uppercase()
        }
    }

    pub(super) trait Twice {
        fn twice(&self) -> String;
    }

    impl Twice for str {
        fn twice(&self) -> String {
            self.repeat(2)
        }
    }
}

#[get("/import")]
#[import(shout::Shout)]
async fn imports() -> String {
    "text".shout()
}

#[get("/imports")]
#[import(shout::Shout, self::shout::Twice)]
async fn several_imports() -> String {
    "text".shout().twice()
}

// ---------------------------------------------------------------- where macros stand

struct Helper {
    text: &'static str,
}

impl Helper {
    #[request_query("id" => id)]
    #[response_body(format!("{} {id}", self.text))]
    async fn on_a_method(&self, _: &mut Stream, ctx: &mut Context) -> Status {
        Status::Continue
    }
}

/// A function with more parameters than the two.
#[response_body(text)]
async fn with_more(text: String, _: &mut Stream, ctx: &mut Context) {}

type Connection = Stream;
type Exchange = Context;

#[get("/places/aliases")]
#[response_body("aliases")]
#[send]
async fn with_aliases(connection: &mut Connection, exchange: &mut Exchange) -> Status {
    Status::Continue
}

#[get("/places/method")]
async fn through_a_method(stream: &mut Stream, ctx: &mut Context) -> Status {
    Helper { text: "method" }.on_a_method(stream, ctx).await
}

#[get("/places/more")]
async fn through_more(stream: &mut Stream, ctx: &mut Context) -> Status {
    with_more("more".to_owned(), stream, ctx).await;
    Status::Continue
}

#[route("/places/new/{id}")]
struct InNew {
    id: String,
    query: Option<String>,
}

impl ServerHook for InNew {
    #[route_param("id" => id)]
    #[try_get_request_query("id" => query)]
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self { id, query }
    }

    #[response_body(format!("{} {:?}", self.id, self.query))]
    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        Status::Continue
    }
}
