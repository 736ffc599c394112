//! Plain functions as handlers: their arguments, and what they return.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use hyperlane::{RouteParams, cookie::CookieJar, prelude::*};
use serde::Deserialize;
use test_support::{BindLocal as _, Client, Memory, address};

#[hyperlane(server: Server)]
async fn start() -> ServerControlHook {
    server.bind_local().state(AtomicU64::new(41));
    server.run().await.expect("the server starts")
}

#[hyperlane(server: Server)]
async fn client() -> Memory {
    server.state(AtomicU64::new(41));
    Memory::of(&server)
}

// ---------------------------------------------------------------- arguments

#[derive(Deserialize)]
struct Post {
    room: String,
    id: u64,
}

#[get("/path/one/{id}")]
async fn path_one(Path(id): Path<u64>) -> String {
    format!("{}", id + 1)
}

#[get("/path/two/{room}/{id}")]
async fn path_two(Path((room, id)): Path<(String, u64)>) -> String {
    format!("{room} {id}")
}

#[get("/path/struct/{room}/{id}")]
async fn path_struct(Path(Post { room, id }): Path<Post>) -> String {
    format!("{room} {id}")
}

#[get("/path/map/{room}/{id}")]
async fn path_map(Path(map): Path<BTreeMap<String, String>>) -> String {
    format!("{map:?}")
}

#[get("/query")]
async fn query(Query(Post { room, id }): Query<Post>) -> String {
    format!("{room} {id}")
}

#[post("/json")]
async fn json(Json(post): Json<Post>) -> String {
    format!("{} {}", post.room, post.id)
}

#[post("/form")]
async fn form(form: Form<Post>) -> String {
    format!("{} {}", form.room, form.id)
}

#[get("/state")]
async fn state(count: State<AtomicU64>) -> String {
    format!("{}", count.load(Ordering::Relaxed) + 1)
}

#[get("/no-state")]
async fn no_state(state: Result<State<Post>, RequestError>) -> String {
    match state {
        Ok(_) => "set".to_owned(),
        Err(error) => format!("{} {error}", error.status()),
    }
}

#[post("/parts/{a}")]
async fn parts(
    method: Method,
    headers: Headers,
    params: RouteParams,
    cookies: CookieJar,
    text: String,
    bytes: Bytes,
    body: RequestBody,
) -> String {
    assert_eq!((text.as_bytes(), &bytes), (&body[..], &bytes));
    format!(
        "{method} {:?} {:?} {:?} {text}",
        headers.get("x-a"),
        params.get("a"),
        cookies.get("c").map(|cookie| cookie.value())
    )
}

#[post("/stream")]
async fn streamed(
    mut body: BodyStream,
    Query(tag): Query<BTreeMap<String, String>>,
) -> Result<String, Error> {
    let mut length = 0;
    while let Some(piece) = body.next_chunk().await? {
        length += piece.len();
    }
    Ok(format!("{length} {tag:?}"))
}

#[post("/multipart")]
async fn multipart(mut form: Multipart) -> Result<String, Error> {
    let mut names = Vec::new();
    while let Some(field) = form.next_field().await? {
        names.push(field.name().unwrap_or_default().to_owned());
    }
    Ok(names.join(","))
}

#[get("/maybe")]
async fn maybe(query: Result<Query<Post>, RequestError>) -> String {
    match query {
        Ok(Query(post)) => format!("post {}", post.id),
        Err(error) => format!("{} {error}", error.status()),
    }
}

/// A user that a cookie names.
struct User(String);

impl FromContext for User {
    async fn from_context(ctx: &mut Context) -> Result<Self, Error> {
        // Arguments may wait.
        tokio::task::yield_now().await;
        match ctx.cookie("user") {
            Some(name) => Ok(Self(name)),
            None => Err(RequestError::refused(401, "log in first").into()),
        }
    }
}

#[get("/me")]
async fn me(_: &mut Stream, User(name): User, ctx: &mut Context) -> impl IntoResponse {
    ctx.get_mut_response().set_header("x-user", &name);
    format!("hello {name}")
}

/// Attributes and arguments together, in any order.
#[response_header("x-before" => "yes")]
#[request_query("b" => b)]
#[post("/mixed/{a}")]
#[filter(!body.is_empty())]
#[epilogue_hooks(mark)]
#[request_body(body)]
async fn mixed(Path(a): Path<u8>, method: Method) -> Result<String, Error> {
    let text = String::from_utf8(body.to_vec())?;
    Ok(format!("{method} {a} {b} {text}"))
}

async fn mark(_: &mut Stream, ctx: &mut Context) -> Status {
    ctx.get_mut_response().set_header("x-after", "yes");
    Status::Continue
}

/// Serves one room, and no other.
#[get("/rooms/{room}")]
#[is_ws_upgrade_type]
#[try_get_websocket_request(message)]
#[response_body(format!("{room} {}", String::from_utf8_lossy(&message)))]
#[send]
async fn room(Path(room): Path<String>, User(_): User) {}

#[tokio::test]
async fn arguments_are_made_of_the_request() {
    let mut client = client().await;
    for (target, body) in [
        ("/path/one/41", "42"),
        ("/path/two/a%20b/7", "a b 7"),
        ("/path/struct/a%2Fb/7", "a/b 7"),
        ("/path/map/x/7", r#"{"id": "7", "room": "x"}"#),
        ("/query?id=7&room=r", "r 7"),
        ("/state", "42"),
        ("/maybe?id=7&room=r", "post 7"),
        (
            "/maybe?id=x&room=r",
            "400 invalid query: `id`: invalid digit found in string",
        ),
    ] {
        let reply = client.get(target).await;
        assert_eq!((reply.status, reply.text()), (200, body), "{target}");
    }
    for (target, content_type, body, answer) in [
        ("/json", "application/json", r#"{"room":"r","id":7}"#, "r 7"),
        (
            "/form",
            "application/x-www-form-urlencoded",
            "room=r&id=7",
            "r 7",
        ),
        ("/stream?t=1", "application/x-y", "12345", r#"5 {"t": "1"}"#),
        (
            "/multipart",
            "multipart/form-data; boundary=X",
            "--X\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--X--\r\n",
            "a",
        ),
        (
            "/parts/v",
            "text/plain",
            "text",
            r#"POST Some("h") Some("v") Some("1") text"#,
        ),
    ] {
        let fields = format!(
            "content-type: {content_type}\r\ncontent-length: {}\r\nx-a: h\r\ncookie: c=1\r\n",
            body.len()
        );
        client.request("POST", target, &fields).await;
        client.send(body).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.text()), (200, answer), "{target}");
    }
}

#[tokio::test]
async fn an_argument_that_cannot_be_made_refuses_the_request_by_name() {
    let mut client = client().await;
    for (target, status, text) in [
        ("/path/one/x", 400, "`id`: \"x\" is no u64"),
        ("/path/struct/r/-1", 400, "`id`: \"-1\" is no u64"),
        ("/query?room=r", 400, "missing field `id`"),
        ("/me", 401, "401 Unauthorized: log in first\n"),
    ] {
        let reply = client.get(target).await;
        assert_eq!(reply.status, status, "{target}");
        assert!(reply.text().contains(text), "{target}: {}", reply.text());
    }
    // A handler that takes the refusal as a value starts without the state, and sees the error.
    let reply = client.get("/no-state").await;
    assert_eq!(reply.status, 200);
    assert!(reply.text().starts_with("500 state `"), "{}", reply.text());
    for (target, content_type, body, status, text) in [
        (
            "/json",
            "application/json",
            r#"{"room":"r","id":"x"}"#,
            400,
            "`id`",
        ),
        ("/json", "text/plain", "{}", 415, "application/json"),
        (
            "/form",
            "application/x-www-form-urlencoded",
            "room=r&id=x",
            400,
            "`id`",
        ),
        ("/multipart", "text/plain", "x", 415, "multipart/form-data"),
        ("/parts/v", "text/plain", "\u{e9}", 200, "\u{e9}"),
    ] {
        let fields = format!(
            "content-type: {content_type}\r\ncontent-length: {}\r\n",
            body.len()
        );
        client.request("POST", target, &fields).await;
        client.send(body).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{target}");
        assert!(reply.text().contains(text), "{target}: {}", reply.text());
    }
    // A page of another site may send a body without a type, and without a preflight.
    let reply = client.post("/json", r#"{"room":"r","id":7}"#).await;
    assert_eq!(reply.status, 415);
    client
        .request("POST", "/parts/v", "content-length: 1\r\n")
        .await;
    client.send(b"\xff").await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.text()),
        (400, "400 Bad Request: the body is not UTF-8 text\n")
    );
}

#[tokio::test]
async fn arguments_stand_beside_the_stream_the_context_and_attributes() {
    let mut client = client().await;
    client.request("GET", "/me", "cookie: user=ann\r\n").await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.text(), reply.header("x-user")),
        ("hello ann", Some("ann"))
    );
    let reply = client.post("/mixed/7?b=2", "text").await;
    assert_eq!(reply.text(), "POST 7 2 text");
    assert_eq!(
        (reply.header("x-before"), reply.header("x-after")),
        (Some("yes"), Some("yes"))
    );
    // The query comes before the filter, and an invalid number before both.
    assert_eq!(client.post("/mixed/7", "").await.status, 400);
    assert_eq!(client.post("/mixed/700?b=2", "text").await.status, 400);
}

/// A value whose construction fails with errors of other libraries, by `?`, as programs do.
struct Setting(String);

impl FromContext for Setting {
    async fn from_context(ctx: &mut Context) -> Result<Self, Error> {
        match ctx.get_request().get_query("how").as_str() {
            "io" => Err(io::Error::other("disk /dev/sda1 is on fire"))?,
            "number" => {
                "x".parse::<u8>()?;
            }
            "boxed" => {
                let failed: Result<(), Box<dyn std::error::Error + Send + Sync>> =
                    Err("10.0.0.7 is down".into());
                failed.map_err(Error::internal)?;
            }
            "own" => return Err(Error::new(409, "taken")),
            "request" => return Err(RequestError::refused(401, "log in first").into()),
            "query" => {
                let _: Post = ctx.query()?;
            }
            _ => {}
        }
        Ok(Self("set".to_owned()))
    }
}

#[get("/setting")]
async fn setting(Setting(text): Setting) -> String {
    text
}

#[get("/setting/maybe")]
async fn maybe_setting(
    first: Result<Setting, Error>,
    second: Result<Setting, RequestError>,
) -> String {
    match (first, second) {
        (Ok(first), Ok(second)) => first.0 + &second.0,
        (Err(first), Err(second)) => format!("{} {}", first.status(), second.status()),
        _ => "one of two".to_owned(),
    }
}

#[tokio::test]
async fn an_argument_fails_with_any_error_that_a_handler_may_fail_with() {
    let mut client = client().await;
    for (how, status, text) in [
        ("not", 200, "set"),
        ("io", 500, "500 Internal Server Error\n"),
        ("number", 500, "500 Internal Server Error\n"),
        ("boxed", 500, "500 Internal Server Error\n"),
        ("own", 409, "409 Conflict: taken\n"),
        ("request", 401, "401 Unauthorized: log in first\n"),
        (
            "query",
            400,
            "400 Bad Request: invalid query: missing field `room`\n",
        ),
    ] {
        let reply = client.get(&format!("/setting?how={how}")).await;
        assert_eq!((reply.status, reply.text()), (status, text), "{how}");
        let reply = client.get(&format!("/setting/maybe?how={how}")).await;
        let seen = match status {
            200 => "setset".to_owned(),
            status => format!("{status} {status}"),
        };
        assert_eq!((reply.status, reply.text()), (200, &*seen), "{how}");
    }
}

#[request_middleware]
struct Before;

impl ServerHook for Before {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ctx.get_mut_response().set_header("x-before-all", "yes");
        Status::Continue
    }
}

#[get("/open/{door}")]
#[route_param("door" => door)]
#[filter(door == "front")]
async fn open() -> String {
    door
}

#[get("/shut/{door}")]
#[route_param("door" => door)]
#[reject(door == "back")]
async fn shut() -> impl IntoResponse {
    Json(door)
}

/// Refuses by an async guard: it cannot run before the route is chosen, and answers the same status.
#[get("/slow/{guard}")]
#[host(the_host(stream).await)]
async fn slow(stream: &mut Stream) -> String {
    format!("{:?}", stream.peer_addr().is_some())
}

#[get("/slow-unit/{guard}")]
#[host(the_host(stream).await)]
async fn slow_unit(stream: &mut Stream) {
    let _ = stream;
}

async fn the_host(_: &mut Stream) -> &'static str {
    "only.example"
}

#[tokio::test]
async fn a_function_with_a_value_that_is_skipped_declines() {
    let mut client = client().await;
    for (target, status, text) in [
        ("/open/front", 200, "front"),
        ("/open/back", 403, "403 Forbidden\n"),
        ("/shut/front", 200, "\"front\""),
        ("/shut/back", 403, "403 Forbidden\n"),
        ("/slow/x", 421, "421 Misdirected Request\n"),
        ("/slow-unit/x", 421, "421 Misdirected Request\n"),
    ] {
        let reply = client.get(target).await;
        assert_eq!((reply.status, reply.text()), (status, text), "{target}");
        assert_eq!(reply.header("x-before-all"), Some("yes"), "{target}");
    }
    let reply = client.post("/mixed/7?b=2", "").await;
    assert_eq!(
        (reply.status, reply.header("x-before")),
        (403, None),
        "neither setters nor epilogues run"
    );
}

#[tokio::test]
async fn an_argument_refuses_a_websocket_before_it_is_one() {
    let control = start().await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.upgrade("/rooms/a", "").await.status, 401);
    assert_eq!(
        client
            .upgrade("/rooms/a", "cookie: user=ann\r\n")
            .await
            .status,
        101
    );
    client.say("hi").await;
    assert_eq!(client.next_message().await.text(), "a hi");
    client.close().await;
}

// ---------------------------------------------------------------- results

/// An error of the program's own that implements `std::error::Error`.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the pump at 10.0.0.7 is broken")
    }
}

impl std::error::Error for Broken {}

#[get("/fails/{how}")]
async fn fails(Path(how): Path<String>, ctx: &mut Context) -> Result<&'static str, Error> {
    match how.as_str() {
        "std" => Err(Broken)?,
        "io" => Err(io::Error::other("disk /dev/sda1 is on fire"))?,
        "request" => {
            let _: Post = ctx.query()?;
        }
        "own" => return Err(Error::new(409, "taken")),
        "quiet" => return Err(Error::new(503, "the pump at 10.0.0.7 is broken")),
        _ => {}
    }
    Ok("fine")
}

#[get("/status/{how}")]
async fn status(Path(how): Path<String>, ctx: &mut Context) -> Result<Status, Error> {
    ctx.get_mut_response().set_body("set by hand");
    match how.as_str() {
        "error" => Err(Error::new(418, "short and stout")),
        "reject" => Ok(Status::Reject),
        _ => Ok(Status::Continue),
    }
}

/// The same handler, with code around it.
#[get("/status-marked/{how}")]
#[epilogue_hooks(mark)]
async fn status_marked(Path(how): Path<String>) -> Result<Status, Error> {
    if how == "error" {
        Err(Broken)?;
    }
    Ok(Status::Continue)
}

#[get("/own-error")]
async fn own_error() -> Result<String, (HttpStatus, &'static str)> {
    Err((HttpStatus::ImATeapot, "tea"))
}

#[tokio::test]
async fn errors_become_answers_that_give_nothing_away() {
    let mut client = client().await;
    for (target, status, text) in [
        ("/fails/not", 200, "fine"),
        ("/fails/std", 500, "500 Internal Server Error\n"),
        ("/fails/io", 500, "500 Internal Server Error\n"),
        (
            "/fails/request",
            400,
            "400 Bad Request: invalid query: missing field `room`\n",
        ),
        ("/fails/own", 409, "409 Conflict: taken\n"),
        ("/fails/quiet", 503, "503 Service Unavailable\n"),
        ("/status/x", 200, "set by hand"),
        ("/status/reject", 200, "set by hand"),
        ("/status/error", 418, "418 I'm a teapot: short and stout\n"),
        ("/status-marked/x", 200, ""),
        ("/status-marked/error", 500, "500 Internal Server Error\n"),
        ("/own-error", 418, "tea"),
    ] {
        let reply = client.get(target).await;
        assert_eq!((reply.status, reply.text()), (status, text), "{target}");
        let marked = target.starts_with("/status-marked");
        assert_eq!(reply.header("x-after").is_some(), marked, "{target}");
    }
}

// ---------------------------------------------------------------- tuples and responses

#[get("/tuple/three/{name}")]
async fn tuple_of_three(
    Path(name): Path<String>,
) -> (HttpStatus, [(String, &'static str); 2], Json<u8>) {
    let fields = [("x-one".to_owned(), "1"), (name, "2")];
    (HttpStatus::Accepted, fields, Json(7))
}

#[get("/tuple/two")]
async fn tuple_of_two() -> ([(&'static str, String); 2], String) {
    let cookie = |number| format!("c{number}=1");
    (
        [("set-cookie", cookie(1)), ("set-cookie", cookie(2))],
        "two".to_owned(),
    )
}

#[get("/response")]
async fn whole_response()
-> Result<Response, (HttpStatus, [(&'static str, &'static str); 1], &'static str)> {
    if HttpStatus::Ok.code() == 500 {
        return Err((
            HttpStatus::ServiceUnavailable,
            [("retry-after", "1")],
            "later",
        ));
    }
    Ok(Response::new()
        .with_status(HttpStatus::Created)
        .with_header("location", "/things/7")
        .with_body("made"))
}

#[tokio::test]
async fn tuples_have_header_fields_and_a_response_is_one_expression() {
    let mut client = client().await;
    let reply = client.get("/tuple/three/x-two").await;
    assert_eq!((reply.status, reply.text()), (202, "7"));
    let fields = ["x-one", "x-two", "content-type"].map(|name| reply.header(name).unwrap());
    assert_eq!(fields, ["1", "2", "application/json"]);
    let reply = client.get("/tuple/three/a%20b").await;
    assert_eq!((reply.status, reply.header("a b")), (500, None));
    assert!(!reply.text().contains('7'), "{}", reply.text());
    let reply = client.get("/tuple/two").await;
    assert_eq!((reply.status, reply.text()), (200, "two"));
    assert_eq!(reply.all("set-cookie"), ["c1=1", "c2=1"]);
    let reply = client.get("/response").await;
    assert_eq!(
        (reply.status, reply.header("location"), reply.text()),
        (201, Some("/things/7"), "made")
    );
}

// ---------------------------------------------------------------- QUERY

#[hyperlane::query("/find")]
async fn find(Json(names): Json<Vec<String>>, ctx: &mut Context) -> String {
    assert!(ctx.get_request().get_method().is_query());
    names.join("+")
}

#[get("/find")]
async fn all() -> &'static str {
    "all"
}

#[route("/guarded-find")]
#[is_query_method]
async fn guarded_find(ctx: &mut Context) -> String {
    ctx.get_request().get_body_string()
}

#[route("/listed-find")]
#[methods(query, post)]
async fn listed_find() {}

#[route("/unknown")]
#[is_unknown_method]
async fn unknown() {}

#[tokio::test]
async fn a_query_is_a_method_with_a_body() {
    let mut client = client().await;
    let mut ask = async |method: &str, path: &str, body: &str| {
        let length = format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        client.request(method, path, &length).await;
        client.send(body).await;
        client.reply_to(method == "HEAD").await
    };
    for (method, path, body, status, text) in [
        ("QUERY", "/find", r#"["a","b"]"#, 200, "a+b"),
        ("GET", "/find", "", 200, "all"),
        ("HEAD", "/find", "", 200, ""),
        ("QUERY", "/guarded-find", "q", 200, "q"),
        ("QUERY", "/listed-find", "", 200, ""),
    ] {
        let reply = ask(method, path, body).await;
        assert_eq!(
            (reply.status, reply.text()),
            (status, text),
            "{method} {path}"
        );
    }
    for (method, path, allow) in [
        ("PUT", "/find", "GET, QUERY, HEAD"),
        ("GET", "/guarded-find", "QUERY"),
        ("HEAD", "/guarded-find", "QUERY"),
        ("query", "/guarded-find", "QUERY"),
        ("GET", "/listed-find", "POST, QUERY"),
        ("QUERY", "/unknown", ""),
    ] {
        let reply = ask(method, path, "").await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
    }
}
