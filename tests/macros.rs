//! The attribute macros at work: what their code does with requests on real sockets.
//!
//! All hooks of this file are registered together, as in a program; every test starts a server of its own with them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::sync::atomic::{AtomicUsize, Ordering};

use hyperlane::*;
use test_support::{BINARY, BindLocal as _, Client, TEXT, address};

/// Every hook of this file, on a port the system chose.
#[hyperlane(server: Server)]
async fn start() -> ServerControlHook {
    server.bind_local();
    server.get_mut_server_config().allowed_hosts = test_support::hosts();
    server.run().await.expect("the server starts")
}

/// Notes a step that ran, in order.
fn note(ctx: &mut Context, what: &str) -> bool {
    let mut log: String = ctx.try_get_attribute("log").unwrap_or_default();
    log.push_str(what);
    log.push(' ');
    ctx.set_attribute("log", log);
    true
}

/// Answers with the steps that ran.
async fn answer_log(_: &mut Stream, ctx: &mut Context) -> Status {
    note(ctx, "after");
    let log: String = ctx.try_get_attribute("log").unwrap_or_default();
    ctx.get_mut_response().set_body(log);
    Status::Continue
}

async fn before(_: &mut Stream, ctx: &mut Context) -> Status {
    note(ctx, "before");
    Status::Continue
}

/// Makes a hook struct without state and its handler.
macro_rules! hook {
    ($(#[$registered:meta])* $name:ident: $(#[$attr:meta])* |$stream:ident, $ctx:ident| $body:block) => {
        $(#[$registered])*
        struct $name;

        impl ServerHook for $name {
            async fn new(_: &mut Stream, _: &mut Context) -> Self {
                Self
            }

            $(#[$attr])*
            #[allow(unused_variables)]
            async fn handle(self, $stream: &mut Stream, $ctx: &mut Context) -> Status $body
        }
    };
}

// ------------------------------------------------------------------------------------------------ phases

macro_rules! shuffled {
    ($($name:ident $path:literal |$ctx:ident| { $(#[$attr:meta])* })*) => {$(
        hook! {
            #[route($path)]
            $name: $(#[$attr])* |stream, $ctx| {
                note($ctx, "body");
                Status::Continue
            }
        }
    )*};
}

shuffled! {
    Shuffle0 "/shuffle/0" |ctx| {
        #[is_get_method]
        #[try_get_request_query("q" => q)]
        #[filter(note(ctx, "filter") && q.is_some())]
        #[prologue_hooks(before)]
        #[response_header("x-q" => q.clone().unwrap_or_default())]
        #[epilogue_hooks(answer_log)]
        #[closed]
    }
    Shuffle1 "/shuffle/1" |ctx| {
        #[closed]
        #[epilogue_hooks(answer_log)]
        #[response_header("x-q" => q.clone().unwrap_or_default())]
        #[prologue_hooks(before)]
        #[filter(note(ctx, "filter") && q.is_some())]
        #[try_get_request_query("q" => q)]
        #[is_get_method]
    }
    Shuffle2 "/shuffle/2" |ctx| {
        #[filter(note(ctx, "filter") && q.is_some())]
        #[closed]
        #[is_get_method]
        #[epilogue_hooks(answer_log)]
        #[try_get_request_query("q" => q)]
        #[prologue_hooks(before)]
        #[response_header("x-q" => q.clone().unwrap_or_default())]
    }
    Shuffle3 "/shuffle/3" |ctx| {
        #[response_header("x-q" => q.clone().unwrap_or_default())]
        #[try_get_request_query("q" => q)]
        #[closed]
        #[prologue_hooks(before)]
        #[is_get_method]
        #[filter(note(ctx, "filter") && q.is_some())]
        #[epilogue_hooks(answer_log)]
    }
    Shuffle4 "/shuffle/4" |ctx| {
        #[epilogue_macros(epilogue_hooks(answer_log), closed)]
        #[prologue_macros(
            is_get_method,
            try_get_request_query("q" => q),
            filter(note(ctx, "filter") && q.is_some()),
            prologue_hooks(before),
            response_header("x-q" => q.clone().unwrap_or_default())
        )]
    }
}

#[tokio::test]
async fn phases_do_not_depend_on_the_order_of_attributes() {
    let control = start().await;
    for path in 0..5 {
        let path = format!("/shuffle/{path}");
        let mut client = Client::connect(address(&control)).await;
        let reply = client.get(&format!("{path}?q=it")).await;
        assert_eq!(
            (reply.status, reply.text()),
            (200, "filter before body after "),
            "{path}"
        );
        assert_eq!(reply.header("x-q"), Some("it"), "{path}");
        assert_eq!(reply.header("connection"), Some("close"), "{path}");
        assert!(client.ends().await, "{path}");

        // A false filter skips the body and all that follows.
        let mut client = Client::connect(address(&control)).await;
        let reply = client.get(&path).await;
        assert_eq!(
            (reply.status, reply.text(), reply.header("x-q")),
            (200, "", None),
            "{path}"
        );

        let reply = Client::connect(address(&control))
            .await
            .post(&format!("{path}?q=it"), "")
            .await;
        assert_eq!((reply.status, reply.header("x-q")), (405, None), "{path}");
    }
}

hook! {
    #[route("/m1/above")]
    GuardAbove: #[host("never.example")] #[response_body("never?")] #[try_send] |stream, ctx| { Status::Continue }
}
hook! {
    #[route("/m1/below")]
    GuardBelow: #[try_send] #[response_body("never?")] #[host("never.example")] |stream, ctx| { Status::Continue }
}
hook! {
    #[route("/w11/above")]
    UpgradeAbove: #[is_ws_upgrade_type] #[try_get_websocket_request(body)] #[response_body(&body)] #[send]
    |stream, ctx| { Status::Continue }
}
hook! {
    #[route("/w11/below")]
    UpgradeBelow: #[send] #[response_body(&body)] #[try_get_websocket_request(body)] #[is_ws_upgrade_type]
    |stream, ctx| { Status::Continue }
}

#[tokio::test]
async fn guards_come_first_wherever_they_stand() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    for path in ["/m1/above", "/m1/below"] {
        let reply = client.get(path).await;
        assert_eq!(reply.status, 421, "{path}");
        assert!(!reply.text().contains("never?"), "{path}");
    }
    for path in ["/w11/above", "/w11/below"] {
        // The answer comes at once, and the next bytes are a request and no frames.
        assert_eq!(client.get(path).await.status, 426, "{path}");
        let mut socket = Client::websocket(address(&control), path).await;
        socket.say("hi").await;
        assert_eq!(socket.next_frame().await.text(), "hi");
        socket.close().await;
    }
}

// ------------------------------------------------------------------------------------------------ guards

#[get("/guard/method")]
async fn by_get() -> &'static str {
    "get"
}

hook! {
    #[post("/guard/method")]
    ByPost: #[response_body("post")] |stream, ctx| { Status::Continue }
}

hook! {
    #[route("/guard/method")]
    ByPutOrPatch: #[methods(put, patch)] #[response_body("put or patch")] |stream, ctx| { Status::Continue }
}

hook! {
    #[route("/guard/host")]
    ByHost: #[host("a.example", "B.example")] #[response_body("host")] |stream, ctx| { Status::Continue }
}

hook! {
    #[route("/guard/not-host")]
    ByOtherHost: #[reject_host("a.example", "b.example")] #[response_body("host")] |stream, ctx| { Status::Continue }
}

hook! {
    #[route("/guard/referer")]
    ByReferer: #[referer("https://a.example/", "https://b.example/")] #[response_body("referer")]
    |stream, ctx| { Status::Continue }
}

hook! {
    #[route("/guard/not-referer")]
    ByOtherReferer: #[reject_referer("https://a.example/")] #[response_body("referer")]
    |stream, ctx| { Status::Continue }
}

hook! {
    #[route("/guard/version")]
    ByVersion: #[is_http1_0_version] #[response_body("1.0")] |stream, ctx| { Status::Continue }
}

hook! {
    #[route("/guard/h2c")]
    ByH2c: #[is_h2c_upgrade_type] #[response_body("h2c")] |stream, ctx| { Status::Continue }
}

/// One handler checks the host, then one gets as far as the upgrade.
#[route("/guard/furthest")]
#[host("a.example")]
async fn furthest_host() -> &'static str {
    "host"
}

#[get("/guard/furthest")]
#[is_ws_upgrade_type]
async fn furthest_upgrade(stream: &mut Stream, ctx: &mut Context) -> Status {
    let _ = (stream, ctx);
    Status::Continue
}

struct ByField {
    wanted: String,
}

#[route("/guard/field")]
struct ByFieldRoute;

impl ServerHook for ByFieldRoute {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        ByField {
            wanted: "c.example".to_owned(),
        }
        .checked(stream, ctx)
        .await
    }
}

impl ByField {
    /// Skips the helper if its guard declines.
    #[host(self.wanted.as_str())]
    #[response_body("field")]
    async fn checked(&self, _: &mut Stream, ctx: &mut Context) -> Status {
        Status::Continue
    }
}

#[tokio::test]
async fn guards_that_decline_answer_by_their_kind() {
    let control = start().await;
    /// Method, path, fields; status and body.
    type Case = (&'static str, &'static str, &'static str, u16, &'static str);
    let cases: &[Case] = &[
        ("GET", "/guard/method", "", 200, "get"),
        ("POST", "/guard/method", "", 200, "post"),
        ("PUT", "/guard/method", "", 200, "put or patch"),
        ("PATCH", "/guard/method", "", 200, "put or patch"),
        ("DELETE", "/guard/method", "", 405, ""),
        ("BREW", "/guard/method", "", 405, ""),
        ("GET", "/guard/host", "host: a.example\r\n", 200, "host"),
        ("GET", "/guard/host", "host: b.EXAMPLE\r\n", 200, "host"),
        ("GET", "/guard/host", "host: c.example\r\n", 421, ""),
        ("GET", "/guard/not-host", "host: a.example\r\n", 421, ""),
        ("GET", "/guard/not-host", "host: b.example\r\n", 421, ""),
        ("GET", "/guard/not-host", "host: c.example\r\n", 200, "host"),
        (
            "GET",
            "/guard/referer",
            "host: h\r\nreferer: https://b.example/\r\n",
            200,
            "referer",
        ),
        (
            "GET",
            "/guard/referer",
            "host: h\r\nreferer: https://c.example/\r\n",
            403,
            "",
        ),
        ("GET", "/guard/referer", "", 403, ""),
        (
            "GET",
            "/guard/not-referer",
            "host: h\r\nreferer: https://a.example/\r\n",
            403,
            "",
        ),
        ("GET", "/guard/not-referer", "", 200, "referer"),
        ("GET", "/guard/version", "", 505, ""),
        ("GET", "/guard/h2c", "", 426, ""),
        (
            "GET",
            "/guard/h2c",
            "host: h\r\nconnection: upgrade\r\nupgrade: h2c\r\n",
            200,
            "h2c",
        ),
        ("GET", "/guard/furthest", "host: a.example\r\n", 200, "host"),
        ("GET", "/guard/furthest", "", 426, ""),
        ("POST", "/guard/furthest", "", 405, ""),
        ("GET", "/guard/field", "host: c.example\r\n", 200, "field"),
        ("GET", "/guard/field", "", 200, ""),
        ("GET", "/guard", "", 404, ""),
    ];
    for (method, path, fields, status, body) in cases {
        let mut client = Client::connect(address(&control)).await;
        let host = if fields.contains("host:") {
            ""
        } else {
            "host: localhost\r\n"
        };
        client
            .send(format!("{method} {path} HTTP/1.1\r\n{host}{fields}\r\n"))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, *status, "{method} {path} {fields:?}");
        if *status == 200 {
            assert_eq!(reply.text(), *body, "{method} {path} {fields:?}");
        } else {
            assert!(
                reply.text().starts_with(&status.to_string()),
                "{method} {path}: {}",
                reply.text()
            );
        }
    }
    let mut client = Client::connect(address(&control)).await;
    client.send("GET /guard/version HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.reply().await.text(), "1.0");
}

#[tokio::test]
async fn a_405_lists_the_methods_of_all_handlers_and_a_426_its_protocol() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    client.request("DELETE", "/guard/method", "").await;
    let reply = client.reply().await;
    let mut allowed: Vec<_> = reply.header("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "PATCH", "POST", "PUT"]);
    for (path, protocol) in [("/w11/above", "websocket"), ("/guard/h2c", "h2c")] {
        let reply = client.get(path).await;
        assert_eq!(
            (reply.status, reply.header("upgrade")),
            (426, Some(protocol))
        );
        assert_eq!(reply.header("connection"), Some("upgrade"));
    }
}

// ------------------------------------------------------------------------------------------------ functions

#[get("/answer/text")]
async fn text() -> impl IntoResponse {
    "text"
}

#[get("/answer/json")]
async fn json() -> Json<Vec<u32>> {
    Json(vec![1, 2])
}

#[get("/answer/html")]
async fn html(_: &mut Context) -> impl IntoResponse {
    Html("<p>")
}

#[get("/answer/option/{id}")]
#[route_param("id" => id)]
async fn option() -> Option<String> {
    (id != "none").then_some(id)
}

#[get("/answer/result/{id}")]
#[route_param("id" => id)]
async fn result() -> Result<Json<u32>, (HttpStatus, &'static str)> {
    let number: u32 = id
        .parse()
        .map_err(|_| (HttpStatus::UnprocessableEntity, "not a number"))?;
    Ok(Json(number))
}

#[get("/answer/tuple")]
async fn tuple() -> (HttpStatus, String) {
    (HttpStatus::Created, "made".to_owned())
}

#[get("/answer/status")]
async fn status() -> HttpStatus {
    HttpStatus::NoContent
}

#[get("/answer/bytes")]
async fn bytes() -> Vec<u8> {
    vec![b'b']
}

#[get("/answer/nothing")]
#[response_status_code(202)]
async fn nothing() {}

#[get("/answer/reject")]
async fn rejects() -> Status {
    Status::Reject
}

#[get("/answer/handshake")]
async fn handshake(stream: &mut Stream, ctx: &mut Context) -> Result<(), RequestError> {
    let socket = ctx.upgrade(stream).await?;
    let _ = socket.send("upgraded").await;
    Ok(())
}

#[get("/answer/sent")]
#[send]
async fn sent(_: &mut Stream, ctx: &mut Context) -> impl IntoResponse {
    ctx.get_mut_response().set_header("x-own", "1");
    "sent once"
}

#[get("/answer/header")]
#[response_header("content-type" => "text/csv")]
#[response_status_code(203)]
async fn header() -> &'static str {
    "a,b"
}

#[tokio::test]
async fn functions_answer_with_what_they_return() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    let plain = Some("text/plain; charset=utf-8");
    let cases = [
        ("text", 200, plain, "text"),
        ("json", 200, Some("application/json"), "[1,2]"),
        ("html", 200, Some("text/html; charset=utf-8"), "<p>"),
        ("option/some", 200, plain, "some"),
        (
            "option/none",
            404,
            Some("text/plain; charset=utf-8"),
            "404 Not Found\n",
        ),
        ("result/7", 200, Some("application/json"), "7"),
        ("result/x", 422, plain, "not a number"),
        ("tuple", 201, plain, "made"),
        ("status", 204, None, ""),
        ("bytes", 200, Some("application/octet-stream"), "b"),
        ("nothing", 202, None, ""),
        ("reject", 403, plain, "403 Forbidden\n"),
        ("sent", 200, plain, "sent once"),
        ("header", 203, Some("text/csv"), "a,b"),
    ];
    for (path, status, content_type, body) in cases {
        let reply = client.get(&format!("/answer/{path}")).await;
        assert_eq!((reply.status, reply.text()), (status, body), "{path}");
        if let Some(content_type) = content_type {
            assert_eq!(reply.header("content-type"), Some(content_type), "{path}");
        }
        // One connection serves all: none is answered twice.
        client.request("HEAD", &format!("/answer/{path}"), "").await;
        assert_eq!(client.reply_to(true).await.status, status, "HEAD {path}");
    }
    let reply = client.get("/answer/handshake").await;
    assert!((400..500).contains(&reply.status), "{}", reply.head);
    let mut client = Client::websocket(address(&control), "/answer/handshake").await;
    assert_eq!(client.next_message().await.text(), "upgraded");
    assert_eq!(client.next_message().await.code(), 1000);
}

macro_rules! verbs {
    ($($verb:ident $function:ident $structure:ident;)*) => {$(
        #[$verb("/verb/function")]
        async fn $function() -> &'static str {
            stringify!($verb)
        }

        hook! {
            #[$verb("/verb/struct")]
            $structure: #[response_body(stringify!($verb))] |stream, ctx| { Status::Continue }
        }
    )*};
}

verbs! {
    head fn_head StructHead;
    get fn_get StructGet;
    post fn_post StructPost;
    put fn_put StructPut;
    delete fn_delete StructDelete;
    patch fn_patch StructPatch;
    options fn_options StructOptions;
}

#[tokio::test]
async fn every_short_form_takes_its_method_on_functions_and_structs() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    for item in ["function", "struct"] {
        let path = format!("/verb/{item}");
        for verb in ["get", "post", "put", "delete", "patch", "options"] {
            client.request(&verb.to_uppercase(), &path, "").await;
            let reply = client.reply().await;
            assert_eq!((reply.status, reply.text()), (200, verb), "{path}");
        }
        client.request("HEAD", &path, "").await;
        let reply = client.reply_to(true).await;
        assert_eq!(
            (reply.status, reply.header("content-length")),
            (200, Some("4")),
            "{path}"
        );
        client.request("TRACE", &path, "").await;
        assert_eq!(client.reply().await.status, 405, "{path}");
    }
}

#[get("/pattern/:name/one")]
#[route_param("name" => name)]
async fn colon() -> String {
    format!("colon {name}")
}

#[get(r"/pattern/{id:\d+}")]
#[route_param("id" => id)]
async fn digits() -> String {
    format!("digits {id}")
}

#[get("/pattern/{name}")]
#[host("a.example")]
#[route_param("name" => name)]
async fn guarded_name() -> String {
    format!("name {name}")
}

#[get("/pattern/{*rest}")]
#[route_param("rest" => rest)]
async fn rest() -> String {
    format!("rest {rest}")
}

#[tokio::test]
async fn patterns_bind_their_parameters() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    for (path, body) in [
        ("/pattern/ada/one", "colon ada"),
        ("/pattern/:name/one", "colon :name"),
        ("/pattern/a%20b/one", "colon a b"),
        ("/pattern/42", "digits 42"),
        ("/pattern/a/b", "rest a/b"),
        // The most specific pattern has the word, even if its guards decline.
        ("/pattern/ada", "421 Misdirected Request\n"),
    ] {
        assert_eq!(client.get(path).await.text(), body, "{path}");
    }
}

// ------------------------------------------------------------------------------------------------ middleware

const LATE: isize = 7;

macro_rules! middleware {
    ($($(#[$attr:meta])* $name:ident $text:literal;)*) => {$(
        hook! {
            $(#[$attr])*
            $name: #[filter(ctx.get_request().get_path().starts_with("/order"))] |stream, ctx| {
                note(ctx, $text);
                Status::Continue
            }
        }
    )*};
}

middleware! {
    #[request_middleware(LATE + 1)] Request8 "8";
    #[request_middleware(LATE)] Request7 "7";
    #[request_middleware("2")] Request2 "2";
    #[request_middleware(-1)] RequestMinus1 "-1";
    #[request_middleware] RequestFirst "a";
    #[request_middleware(0)] Request0 "0";
    #[request_middleware] RequestSecond "b";
    #[response_middleware(10)] Response10 ">10";
    #[response_middleware(-10)] ResponseMinus10 ">-10";
    #[response_middleware] ResponseFirst ">a";
    #[response_middleware(1)] #[request_middleware(1)] Both "1";
}

hook! {
    #[request_middleware(100)]
    OnlyPost: #[is_post_method] |stream, ctx| {
        note(ctx, "post");
        Status::Continue
    }
}

hook! {
    #[response_middleware(100)]
    AnswerLog: #[filter(ctx.get_request().get_path().starts_with("/order"))] |stream, ctx| {
        answer_log(stream, ctx).await
    }
}

#[route("/order")]
async fn ordered(ctx: &mut Context) -> Status {
    note(ctx, "route");
    Status::Continue
}

#[tokio::test]
async fn middleware_runs_unnumbered_first_then_by_number() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/order").await;
    assert_eq!(reply.text(), "a b -1 0 1 2 7 8 route >a >-10 1 >10 after ");
    // Middleware whose guard declines is skipped, not an answer.
    let reply = client.post("/order", "").await;
    assert_eq!(
        reply.text(),
        "a b -1 0 1 2 7 8 post route >a >-10 1 >10 after "
    );
    // Middleware also runs where there is no route, and may answer there.
    let reply = client.get("/order/none").await;
    assert_eq!(
        (reply.status, reply.text()),
        (404, "a b -1 0 1 2 7 8 >a >-10 1 >10 after ")
    );
}

hook! {
    #[request_middleware(50)]
    Headers: #[filter(ctx.get_request().get_path().starts_with("/rejected"))]
    #[response_header("access-control-allow-origin" => "*")]
    |stream, ctx| { Status::Continue }
}

hook! {
    #[request_middleware(51)]
    Rejects: #[filter(ctx.get_request().get_path().starts_with("/rejected"))] |stream, ctx| {
        if ctx.get_request().get_path().ends_with("moved") {
            ctx.get_mut_response().set_status_code(302).set_header(LOCATION, "/");
        }
        if ctx.get_request().get_path().ends_with("body") {
            ctx.get_mut_response().set_body("a page");
        }
        Status::Reject
    }
}

hook! {
    #[route("/rejected/{how}")]
    Unreached: |stream, ctx| {
        ctx.get_mut_response().set_body("reached");
        Status::Continue
    }
}

#[tokio::test]
async fn a_reject_without_an_answer_is_403_even_if_headers_were_set() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    for (path, status, body) in [
        ("/rejected/plain", 403, "403 Forbidden\n"),
        ("/rejected/moved", 302, ""),
        ("/rejected/body", 200, "a page"),
    ] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.text()), (status, body), "{path}");
        assert_eq!(
            reply.header("access-control-allow-origin"),
            Some("*"),
            "{path}"
        );
    }
}

// ------------------------------------------------------------------------------------------------ extractors

#[derive(serde::Deserialize, Clone)]
struct User {
    name: String,
    age: u32,
}

hook! {
    #[request_middleware(60)]
    SetsUser: #[filter(ctx.get_request().get_path().starts_with("/extract"))] |stream, ctx| {
        ctx.set_attribute("user", User { name: "ada".to_owned(), age: 36 });
        Status::Continue
    }
}

/// A constant: a literal would not compile.
const NO: &str = "no";

#[post("/extract/all/{id}")]
#[response_body(format!(
    "{} {} {id} {missing_param:?} {page} {missing_query:?} {token} {missing_header:?} {} {} {}",
    String::from_utf8_lossy(&body), json.is_err(), user.name, user.age, nobody.is_none()
))]
#[request_body(body)]
#[request_body_json_result(json: User)]
#[route_param("id" => id)]
#[try_get_route_param(NO => missing_param)]
#[request_query("page" => page)]
#[try_get_request_query("no" => missing_query)]
#[request_header("x-token" => token)]
#[try_get_request_header("x-no" => missing_header)]
#[attribute("user" => user: User)]
#[try_get_attribute("user" => nobody: String)]
async fn extract_all() {}

#[post("/extract/json")]
#[request_body_json(user: User)]
async fn extract_json() -> String {
    format!("{} {}", user.name, user.age)
}

#[get("/extract/query")]
#[request_query("page" => page)]
#[send]
async fn extract_query() -> String {
    page
}

#[get("/extract/header")]
#[request_header("X-Token" => token)]
async fn extract_header() -> String {
    token
}

#[get("/extract/param")]
#[route_param(NO => id)]
async fn extract_param() -> String {
    id
}

#[get("/extract/attribute")]
#[attribute("nobody" => nobody: User)]
async fn extract_attribute() -> String {
    nobody.name
}

#[route("/extract/new")]
struct InNew {
    page: String,
}

impl ServerHook for InNew {
    #[request_query("page" => page)]
    async fn new(_: &mut Stream, ctx: &mut Context) -> Self {
        Self { page }
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ctx.get_mut_response().set_body(self.page);
        Status::Continue
    }
}

hook! {
    #[request_error]
    Refused: #[request_error_data(error)] #[response_header("x-refused" => error.to_string())]
    |stream, ctx| { Status::Continue }
}

#[tokio::test]
async fn extractors_bind_what_the_request_holds() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send(
            "POST /extract/all/a%2Fb?page=1%202&page=3 HTTP/1.1\r\nhost: h\r\nx-token: first\r\nX-Token: last\r\n\
             content-length: 4\r\n\r\nbody",
        )
        .await;
    let reply = client.reply().await;
    assert_eq!(
        reply.text(),
        "body true a/b None 1 2 None last None ada 36 true"
    );
    let reply = client
        .post("/extract/json", r#"{"name":"bob","age":5}"#)
        .await;
    assert_eq!(reply.text(), "bob 5");
    assert_eq!(client.get("/extract/query?page=x").await.text(), "x");
    assert_eq!(client.get("/extract/new?page=new").await.text(), "new");
}

#[tokio::test]
async fn a_missing_value_is_refused_by_name_and_seen_by_error_hooks() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    for (path, name) in [
        ("/extract/query", "page"),
        ("/extract/new", "page"),
        ("/extract/header", "X-Token"),
        ("/extract/param", NO),
    ] {
        let reply = client.get(path).await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(
            reply.text().contains(&format!("`{name}`")),
            "{path}: {}",
            reply.text()
        );
        assert!(reply.header("x-refused").unwrap().contains(name), "{path}");
    }
    for body in [
        "",
        "{",
        r#"{"name":"bob"}"#,
        r#"{"name":"bob","age":"old"}"#,
    ] {
        let reply = client.post("/extract/json", body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.header("x-refused").is_some(), "{body}");
    }
    // A value that the program forgot to set is the program's fault; the answer gives nothing away.
    let reply = client.get("/extract/attribute").await;
    assert_eq!(
        (reply.status, reply.text()),
        (500, "500 Internal Server Error\n")
    );
    // All use one connection, which is still in step.
    assert_eq!(client.get("/extract/query?page=x").await.text(), "x");
}

#[tokio::test]
async fn error_hooks_see_requests_that_cannot_be_read() {
    let control = start().await;
    for request in ["GET / HTTP/1.1\r\n\r\n", "NONSENSE\r\n\r\n"] {
        let mut client = Client::connect(address(&control)).await;
        client.send(request).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.header("x-refused").is_some()),
            (400, true),
            "{request}"
        );
        assert!(client.ends().await);
    }
}

#[tokio::test]
async fn a_bad_request_is_refused_whatever_was_answered_before() {
    let control = start().await;
    for before in ["GET /send/raw", "GET /answer/text", "HEAD /answer/text"] {
        let mut client = Client::connect(address(&control)).await;
        client
            .send(format!("{before} HTTP/1.1\r\nhost: h\r\n\r\n"))
            .await;
        assert_eq!(
            client.reply_to(before.starts_with("HEAD")).await.status,
            200,
            "{before}"
        );
        client.send("NONSENSE\r\n\r\n").await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 400, "{before}");
        assert!(!reply.body.is_empty(), "{before}");
        assert!(client.ends().await, "{before}");
    }
}

/// Refuses; a refusal whose wait was given up must not reach another request.
#[request_header("x-never" => never)]
async fn wants_header(ctx: &mut Context) -> usize {
    never.len()
}

#[get("/refuse/raced")]
async fn raced(ctx: &mut Context) -> &'static str {
    tokio::select! {
        biased;
        _ = wants_header(ctx) => "bound",
        () = std::future::ready(()) => "went on",
    }
}

#[get("/refuse/elsewhere")]
async fn elsewhere(ctx: &mut Context) -> &'static str {
    let mut own = ctx.clone();
    let task = tokio::spawn(async move { wants_header(&mut own).await });
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    task.abort();
    "went on"
}

#[get("/refuse/innocent")]
async fn innocent() -> &'static str {
    tokio::task::yield_now().await;
    "innocent"
}

#[tokio::test]
async fn a_refusal_stays_with_the_hook_that_waits_for_it() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    for path in ["/refuse/raced", "/refuse/elsewhere"] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.text()), (200, "went on"), "{path}");
        let reply = client.get("/refuse/innocent").await;
        assert_eq!((reply.status, reply.text()), (200, "innocent"), "{path}");
    }
}

// ------------------------------------------------------------------------------------------------ epilogues

hook! {
    #[route("/epilogue/return")]
    EarlyReturn: #[epilogue_hooks(answer_log)] |stream, ctx| {
        note(ctx, "body");
        if ctx.get_request().has_query("early") {
            return Status::Continue;
        }
        note(ctx, "late");
        Status::Continue
    }
}

#[get("/epilogue/question")]
#[try_get_request_query("n" => n)]
#[response_header("x-set" => "1")]
#[epilogue_macros(response_header("x-after" => "1"), send)]
async fn question(_: &mut Stream, ctx: &mut Context) -> Result<String, (HttpStatus, String)> {
    let n = n.ok_or((HttpStatus::BadRequest, "none".to_owned()))?;
    let n: u32 = n
        .parse()
        .map_err(|_| (HttpStatus::UnprocessableEntity, "no number".to_owned()))?;
    Ok(n.to_string())
}

hook! {
    #[route("/epilogue/reject")]
    RejectsLate: #[epilogue_hooks(answer_log)] |stream, ctx| { Status::Reject }
}

#[tokio::test]
async fn epilogues_run_after_every_way_out_of_the_body() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(
        client.get("/epilogue/return?early").await.text(),
        "body after "
    );
    assert_eq!(
        client.get("/epilogue/return").await.text(),
        "body late after "
    );
    assert_eq!(client.get("/epilogue/reject").await.text(), "after ");
    for (query, status, body) in [
        ("", 400, "none"),
        ("?n=x", 422, "no number"),
        ("?n=5", 200, "5"),
    ] {
        let reply = client.get(&format!("/epilogue/question{query}")).await;
        assert_eq!((reply.status, reply.text()), (status, body));
        assert_eq!(
            (reply.header("x-set"), reply.header("x-after")),
            (Some("1"), Some("1"))
        );
    }
}

#[get("/epilogue/variable")]
#[response_header("x-set" => "1")]
#[epilogue_macros(response_header("x-length" => length.to_string()), response_header("x-after" => "1"), send, closed)]
async fn variable(_: &mut Stream, ctx: &mut Context) -> Result<String, (HttpStatus, &'static str)> {
    let text = ctx.get_request().try_get_query("text");
    let text = text.ok_or((HttpStatus::BadRequest, "no text"))?;
    let length = text.len();
    Ok(text)
}

hook! {
    #[route("/epilogue/sent")]
    SendsVariable: #[epilogue_macros(response_body(&text), try_send)] |stream, ctx| {
        let text = format!("{}!", ctx.get_request().get_query("text"));
        if text == "!" {
            ctx.get_mut_response().set_body("left early");
            return Status::Continue;
        }
        Status::Continue
    }
}

/// The type of the value has no name, and a macro call is the tail.
#[get("/epilogue/unnamed/{id}")]
#[route_param("id" => id)]
#[epilogue_macros(response_header("x-id" => format!("{id:0>width$}")), send)]
async fn unnamed(_: &mut Stream, _: &mut Context) -> impl IntoResponse {
    let width = 3;
    let id = id.trim();
    format!("id {id}")
}

/// A guard before `send` ends the list although the rest of the list stands after the conversion.
#[get("/epilogue/ended")]
#[epilogue_macros(
    response_header("x-text" => &text),
    filter(text != "stop"),
    response_header("x-on" => "1"),
    send,
    closed
)]
async fn ended(_: &mut Stream, ctx: &mut Context) -> Option<String> {
    let text = ctx.get_request().try_get_query("text")?;
    Some(text.clone())
}

hook! {
    #[route("/epilogue/guarded")]
    SendsIfPosted: #[epilogue_macros(response_body("1"), is_post_method, response_body("2"), closed)]
    #[send] |stream, ctx| { Status::Continue }
}

#[tokio::test]
async fn epilogues_use_variables_of_the_body() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    for (query, body) in [("?text=a", "a!"), ("", "left early")] {
        let reply = client.get(&format!("/epilogue/sent{query}")).await;
        assert_eq!((reply.status, reply.text()), (200, body));
    }
    let reply = client.get("/epilogue/unnamed/7").await;
    assert_eq!((reply.header("x-id"), reply.text()), (Some("007"), "id 7"));
    for (query, status, body, length) in [
        ("?text=abc", 200, "abc", Some("3")),
        ("", 400, "no text", None),
    ] {
        let mut client = Client::connect(address(&control)).await;
        let reply = client.get(&format!("/epilogue/variable{query}")).await;
        assert_eq!((reply.status, reply.text()), (status, body));
        let fields = ["x-set", "x-after", "x-length"].map(|name| reply.header(name));
        assert_eq!(fields, [Some("1"), Some("1"), length]);
        assert!(client.ends().await, "the list closes");
    }
}

#[tokio::test]
async fn a_guard_of_an_epilogue_list_ends_the_list() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    for (query, status, text, on, closes) in [
        ("?text=stop", 200, Some("stop"), None, false),
        ("?text=go", 200, Some("go"), Some("1"), true),
        // The guard names a variable of the body, so it is left out.
        ("", 404, None, Some("1"), true),
    ] {
        let mut client = Client::connect(address(&control)).await;
        let reply = client.get(&format!("/epilogue/ended{query}")).await;
        assert_eq!(
            (reply.status, reply.header("x-text")),
            (status, text),
            "{query}"
        );
        assert_eq!(reply.header("x-on"), on, "{query}");
        if closes {
            assert!(client.ends().await, "{query}");
        } else {
            assert_eq!(client.get("/epilogue/return?early").await.status, 200);
        }
    }
    let reply = client.get("/epilogue/guarded").await;
    assert_eq!((reply.status, reply.text()), (200, "1"));
    let reply = client.post("/epilogue/guarded", "").await;
    assert_eq!((reply.status, reply.text()), (200, "2"));
    assert!(client.ends().await, "the list closes");
}

// ------------------------------------------------------------------------------------------------ panics

hook! {
    #[route("/panic/http")]
    Panics: |stream, ctx| { panic!("the secret of {}", ctx.get_request().get_path()) }
}

hook! {
    #[route("/panic/partial")]
    PanicsLate: |stream, ctx| {
        stream.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        panic!("in the middle")
    }
}

hook! {
    #[route("/panic/ws")]
    PanicsUpgraded: #[try_get_websocket_request(message)] |stream, ctx| {
        assert_ne!(message, "panic");
        stream.send_list(WebSocketFrame::create_frame_list(&message)).await;
    }
}

hook! {
    #[task_panic]
    Panicked: #[task_panic_data(data)]
    #[response_header("x-panic" => data.try_get_message().unwrap_or_default())]
    #[response_body("sorry")]
    |stream, ctx| { Status::Continue }
}

#[tokio::test]
async fn a_panic_is_answered_by_the_panic_hooks_and_hits_no_other_request() {
    let control = start().await;
    let mut other = Client::websocket(address(&control), "/panic/ws").await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/panic/http").await;
    assert_eq!((reply.status, reply.text()), (500, "sorry"));
    assert_eq!(reply.header("x-panic"), Some("the secret of /panic/http"));

    let mut client = Client::connect(address(&control)).await;
    client.request("GET", "/panic/partial", "").await;
    let all = String::from_utf8(client.rest().await).unwrap();
    assert!(
        all.ends_with("half"),
        "no second response in the first: {all}"
    );

    let mut client = Client::websocket(address(&control), "/panic/ws").await;
    client.say("panic").await;
    assert_eq!(client.next_message().await.code(), 1011);

    other.say("still here").await;
    assert_eq!(other.next_frame().await.text(), "still here");
    other.close().await;
}

// ------------------------------------------------------------------------------------------------ sending

const RAW: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nraw";

hook! { #[route("/send/raw")] SendRaw: #[send(RAW)] |stream, ctx| { Status::Continue } }
hook! { #[route("/send/try_raw")] TrySendRaw: #[try_send(RAW)] |stream, ctx| { Status::Continue } }
hook! { #[route("/send/bare")] SendBare: #[response_body("bare")] #[send] |stream, ctx| { Status::Continue } }
hook! { #[route("/send/try_bare")] TryBare: #[try_send] #[response_body("bare")] |stream, ctx| { Status::Continue } }
hook! {
    #[route("/send/flushed")]
    Flushed: #[response_body("bare")] #[send] #[flush] #[try_flush] |stream, ctx| { Status::Continue }
}
hook! {
    #[route("/send/listed")]
    Listed: #[epilogue_macros(response_body("bare"), try_send, try_flush, flush)]
    |stream, ctx| { Status::Continue }
}
hook! { #[route("/send/twice")] Twice: #[response_body("bare")] #[send] #[send] |stream, ctx| { Status::Continue } }
hook! { #[route("/send/nothing")] SendNothing: #[response_body("bare")] |stream, ctx| { Status::Continue } }
hook! {
    #[route("/send/closed")]
    SendClosed: #[closed] #[response_body("bare")] #[send] |stream, ctx| { Status::Continue }
}

#[tokio::test]
async fn every_form_of_sending_sends_one_response() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    for (path, body) in [
        ("raw", "raw"),
        ("try_raw", "raw"),
        ("bare", "bare"),
        ("try_bare", "bare"),
        ("flushed", "bare"),
        ("listed", "bare"),
        ("nothing", "bare"),
    ] {
        let reply = client.get(&format!("/send/{path}")).await;
        assert_eq!((reply.status, reply.text()), (200, body), "{path}");
    }
    assert_eq!(
        client.get("/send/bare").await.text(),
        "bare",
        "the connection is in step"
    );
    // The second is an error, which `send` answers by closing.
    for path in ["twice", "closed"] {
        let mut client = Client::connect(address(&control)).await;
        assert_eq!(
            client.get(&format!("/send/{path}")).await.text(),
            "bare",
            "{path}"
        );
        assert!(client.ends().await, "{path}");
    }
}

static CLOSED: AtomicUsize = AtomicUsize::new(0);

async fn count(_: &mut Stream, _: &mut Context) -> Status {
    CLOSED.fetch_add(1, Ordering::SeqCst);
    Status::Continue
}

hook! {
    #[route("/ws/send")]
    SendsMessages: #[try_get_websocket_request(body)] #[response_body(&body)] #[send] |stream, ctx| {}
}
hook! {
    #[route("/ws/try_send")]
    TrySendsMessages: #[try_send] #[response_body(&body)] #[try_get_websocket_request(body)] #[try_flush]
    |stream, ctx| { Status::Continue }
}
hook! {
    #[route("/ws/extract")]
    ExtractsMessages: #[try_get_websocket_request] #[request_body(body)] #[response_body(&body)] #[send] |stream, ctx| {}
}
hook! {
    #[route("/ws/json")]
    JsonMessages: #[try_get_websocket_request] #[request_body_json_result(user: User)]
    #[response_body(user.map_or_else(|_| "no user".to_owned(), |user| user.name))] #[send]
    |stream, ctx| {}
}
hook! {
    #[route("/ws/filter")]
    FiltersMessages: #[try_get_websocket_request(body)] #[reject(body == "skip")] #[response_body(&body)] #[send]
    |stream, ctx| {}
}
hook! {
    #[route("/ws/ways")]
    WaysOut: #[try_get_websocket_request(body)] #[response_body(&body)] #[send] #[epilogue_hooks(count)] #[closed]
    |stream, ctx| {
        if body == "continue" {
            continue;
        }
        if body == "break" {
            break;
        }
        if body == "return" {
            return Status::Continue;
        }
        if body == "reject" {
            return Status::Reject;
        }
        Status::Continue
    }
}
hook! {
    #[route("/ws/variable")]
    SendsVariables: #[try_get_websocket_request(body)] #[response_body("early")] #[closed]
    #[epilogue_macros(response_body(&answer), filter(*loud), send)]
    |stream, ctx| {
        let text = String::from_utf8_lossy(&body);
        let loud = &text.ends_with('!');
        if text == "continue" {
            continue;
        }
        if text == "break" {
            break;
        }
        let answer = text.to_uppercase();
    }
}
hook! {
    #[route("/ws/close")]
    ClosesAtOnce: #[is_ws_upgrade_type] #[response_body("bye")] #[send] #[closed] |stream, ctx| { Status::Continue }
}

#[tokio::test]
async fn a_bare_send_after_an_upgrade_sends_the_body_as_a_message() {
    let control = start().await;
    for path in ["/ws/send", "/ws/try_send", "/ws/extract", "/ws/filter"] {
        let mut client = Client::websocket(address(&control), path).await;
        for text in ["one", "", "zwei ö"] {
            client.say(text).await;
            let frame = client.next_frame().await;
            assert_eq!(
                (frame.opcode, frame.payload.as_slice()),
                (TEXT, text.as_bytes()),
                "{path}"
            );
        }
        client.frame(BINARY, [0xff, 0]).await;
        let frame = client.next_frame().await;
        assert_eq!(
            (frame.opcode, frame.payload.as_slice()),
            (BINARY, &[0xff, 0][..]),
            "{path}"
        );
        client.close().await;
    }
}

#[tokio::test]
async fn extractors_and_conditions_run_per_message() {
    let control = start().await;
    let mut client = Client::websocket(address(&control), "/ws/json").await;
    for (text, answer) in [
        (r#"{"name":"ada","age":1}"#, "ada"),
        ("{", "no user"),
        (r#"{"name":"bob","age":1}"#, "bob"),
    ] {
        client.say(text).await;
        assert_eq!(client.next_frame().await.text(), answer);
    }
    let mut client = Client::websocket(address(&control), "/ws/filter").await;
    for text in ["skip", "not this one"] {
        client.say(text).await;
    }
    assert_eq!(client.next_frame().await.text(), "not this one");
}

#[tokio::test]
async fn every_way_out_of_a_read_loop_runs_its_epilogues_and_closes_once() {
    let control = start().await;
    for (way, code) in [("break", 1000), ("return", 1000), ("reject", 1008)] {
        let before = CLOSED.load(Ordering::SeqCst);
        let mut client = Client::websocket(address(&control), "/ws/ways").await;
        for text in ["one", "continue", way] {
            client.say(text).await;
            assert_eq!(client.next_frame().await.text(), text, "{way}");
        }
        assert_eq!(client.next_frame().await.code(), code, "{way}");
        assert_eq!(CLOSED.load(Ordering::SeqCst) - before, 3, "{way}");
    }
    let mut client = Client::websocket(address(&control), "/ws/close").await;
    assert_eq!(client.next_frame().await.text(), "bye");
    assert_eq!(client.next_frame().await.code(), 1000);
}

#[tokio::test]
async fn epilogues_of_a_read_loop_use_variables_of_its_body() {
    let control = start().await;
    let mut client = Client::websocket(address(&control), "/ws/variable").await;
    // A message without the mark is not answered. After an early end, the guard and the body are left out.
    for (text, answer) in [
        ("a!", Some("A!")),
        ("b", None),
        ("continue", Some("early")),
        ("c!", Some("C!")),
        ("break", Some("early")),
    ] {
        client.say(text).await;
        if let Some(answer) = answer {
            assert_eq!(client.next_frame().await.text(), answer, "{text}");
        }
    }
    assert_eq!(client.next_frame().await.code(), 1000);
}

/// Answers the first request in `new`, the further ones in its loop.
#[route("/http/loop")]
struct FurtherRequests;

impl ServerHook for FurtherRequests {
    #[send]
    async fn new(_: &mut Stream, ctx: &mut Context) -> Self {
        ctx.get_mut_response().set_body("first");
        Self
    }

    #[try_get_http_request(request)]
    #[try_get_request_query("n" => n)]
    #[response_body(format!("{} {n:?}", request.get_path()))]
    #[send]
    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        assert_eq!(ctx.get_request().get_path(), request.get_path());
    }
}

#[tokio::test]
async fn a_loop_over_requests_answers_each_once() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/http/loop").await.text(), "first");
    assert_eq!(client.get("/other?n=1").await.text(), r#"/other Some("1")"#);
    assert_eq!(client.get("/more").await.text(), "/more None");
    client.finish().await;
    assert!(client.ends().await, "no request, no response");
}

#[tokio::test]
async fn a_loop_over_requests_takes_no_forged_request() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/http/loop").await.text(), "first");
    let fields = "cookie: session=1\r\nsec-fetch-site: cross-site\r\n";
    client.request("POST", "/other?n=1", fields).await;
    assert_eq!(client.reply().await.status, 403);
    assert!(client.ends().await);
}

// ------------------------------------------------------------------------------------------------ setters

#[get("/set/all")]
#[response_status_code(203)]
#[response_reason_phrase("Fine")]
#[response_version(HttpVersion::Http1_1)]
#[response_header("x-gone" => "1")]
#[clear_response_headers]
#[response_header("x-one" => "first")]
#[response_header("x-one" => "second")]
#[response_header("vary", "origin")]
#[response_header("vary", format!("x-{}", 1))]
#[response_header(CONTENT_TYPE => "text/x-own")]
#[response_body(vec![b'o', b'k'])]
async fn set_all(ctx: &mut Context) -> Status {
    assert_eq!(ctx.get_response().get_body(), b"ok");
    Status::Continue
}

#[get("/set/status/{code}")]
#[route_param("code" => code)]
#[response_status_code(code.parse::<i32>().unwrap_or(-1))]
async fn set_status() {}

/// A constant: a literal would not compile.
const SPLIT: &str = "a\r\nset-cookie: evil=1";

#[get("/set/split")]
#[response_header("x-split" => SPLIT)]
#[response_reason_phrase("a\r\nset-cookie: evil=1")]
async fn set_split() -> &'static str {
    "split"
}

#[tokio::test]
async fn setters_set_what_they_say() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/set/all").await;
    assert!(
        reply.head.starts_with("HTTP/1.1 203 Fine\r\n"),
        "{}",
        reply.head
    );
    assert_eq!(reply.header("x-gone"), None);
    assert_eq!(reply.header("x-one"), Some("second"));
    assert_eq!(reply.all("vary"), ["origin", "x-1"]);
    assert_eq!(reply.header("content-type"), Some("text/x-own"));
    assert_eq!(reply.text(), "ok");
    for (code, status) in [
        ("201", 201),
        ("418", 418),
        ("599", 599),
        ("-5", 500),
        ("7", 500),
        ("100000", 500),
    ] {
        assert_eq!(
            client.get(&format!("/set/status/{code}")).await.status,
            status,
            "{code}"
        );
    }
    let reply = client.get("/set/split").await;
    assert_eq!((reply.status, reply.text()), (200, "split"));
    assert_eq!(reply.header("set-cookie"), None, "{}", reply.head);
}
