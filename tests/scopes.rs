//! Scopes and middleware that wraps, as macros and builders declare them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use hyperlane::{HookFuture, Middleware, prelude::*};
use test_support::{BindLocal as _, Client, Memory, address, collect_log};

#[hyperlane(public: Server, admin: Server)]
async fn start() -> (ServerControlHook, ServerControlHook) {
    public.bind_local();
    admin.bind_local().only_scoped();
    let public = public.run().await.expect("the server starts");
    (public, admin.run().await.expect("the server starts"))
}

/// The same servers in memory.
#[hyperlane(public: Server, admin: Server)]
async fn clients() -> (Memory, Memory) {
    admin.only_scoped();
    (Memory::of(&public), Memory::of(&admin))
}

async fn client() -> Memory {
    clients().await.0
}

/// Adds a name to the field `trace` before and after the route.
async fn trace(ctx: &mut Context, next: Next<'_>, name: &str) -> Status {
    add(ctx, &format!("{name}("));
    let status = next.run(ctx).await;
    add(ctx, &format!("){name}"));
    status
}

fn add(ctx: &mut Context, text: &str) {
    let old = ctx
        .get_response()
        .get_headers()
        .get("trace")
        .unwrap_or("")
        .to_owned();
    ctx.get_mut_response()
        .set_header("trace", format!("{old}{text}"));
}

type Refused = (HttpStatus, &'static str);

async fn auth(ctx: &mut Context, next: Next<'_>) -> Result<Status, Refused> {
    match ctx.get_request().get_headers().get("authorization") {
        Some("Bearer secret") => Ok(next.run(ctx).await),
        _ => Err((HttpStatus::Unauthorized, "log in first")),
    }
}

#[middleware]
async fn everywhere(ctx: &mut Context, next: Next<'_>) -> Status {
    trace(ctx, next, "all").await
}

#[get("/plain")]
async fn plain() -> &'static str {
    "plain"
}

// ---------------------------------------------------------------- modules

#[scope("/api", with(outer))]
mod api {
    use super::*;

    pub(super) async fn outer(ctx: &mut Context, next: Next<'_>) -> Status {
        trace(ctx, next, "api").await
    }

    // Below the module that is inside: the order of items does not matter.
    mod users {
        use super::super::*;

        #[get("/{id}")]
        async fn user(Path((tenant, id)): Path<(String, u64)>) -> String {
            format!("{tenant} {id}")
        }

        #[get("/")]
        async fn list() -> &'static str {
            "users"
        }

        #[post("/")]
        async fn create(body: String) -> String {
            body
        }

        file_scope!("/{tenant}/users", with(auth), max_body = 8);

        #[middleware(2)]
        async fn second(ctx: &mut Context, next: Next<'_>) -> Status {
            trace(ctx, next, "second").await
        }

        #[middleware(1)]
        async fn first(ctx: &mut Context, next: Next<'_>) -> Status {
            trace(ctx, next, "first").await
        }
    }

    #[get("/open")]
    #[with(own, auth)]
    async fn open() -> &'static str {
        "open"
    }

    async fn own(ctx: &mut Context, next: Next<'_>) -> Status {
        trace(ctx, next, "own").await
    }

    #[request_middleware]
    struct Before;

    impl ServerHook for Before {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            add(ctx, "before-");
            Status::Continue
        }
    }

    #[response_middleware]
    struct After;

    impl ServerHook for After {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            add(ctx, " after");
            Status::Continue
        }
    }
}

#[tokio::test]
async fn hooks_of_a_scope_run_for_its_routes_only() {
    let mut client = client().await;
    let reply = client.get("/plain").await;
    assert_eq!(
        (reply.text(), reply.header("trace")),
        ("plain", Some("all()all"))
    );
    client
        .request("GET", "/api/open", "authorization: Bearer secret\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.text(), "open");
    assert_eq!(
        reply.header("trace"),
        Some("before-all(api(own()own)api)all after")
    );
}

#[tokio::test]
async fn scopes_nest_and_prefixes_have_parameters() {
    let mut client = client().await;
    client
        .request(
            "GET",
            "/api/acme/users/7",
            "authorization: Bearer secret\r\n",
        )
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.text(), "acme 7");
    assert_eq!(
        reply.header("trace"),
        Some("before-all(api(first(second()second)first)api)all after")
    );
    // The pattern `/` is the prefix itself.
    client
        .request("GET", "/api/acme/users", "authorization: Bearer secret\r\n")
        .await;
    assert_eq!(client.reply().await.text(), "users");
    let reply = client.get("/api/acme/users/7").await;
    assert_eq!((reply.status, reply.text()), (401, "log in first"));
    assert_eq!(reply.header("trace"), Some("before-all(api()api)all after"));
}

#[tokio::test]
async fn the_limit_of_a_scope_holds() {
    let mut client = client().await;
    assert_eq!(client.post("/api/acme/users", "12345678").await.status, 401);
    assert_eq!(
        client.post("/api/acme/users", "123456789").await.status,
        413
    );
}

#[tokio::test]
async fn an_unknown_path_belongs_to_the_deepest_scope() {
    let mut client = client().await;
    let reply = client.get("/api/nowhere").await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.header("trace"), Some("before-all(api()api)all after"));
    // The scope does not say which of its paths exist.
    assert_eq!(client.get("/api/acme/users/7/more").await.status, 401);
    client.request("DELETE", "/api/acme/users/7", "").await;
    assert_eq!(client.reply().await.status, 401);
    client
        .request(
            "DELETE",
            "/api/acme/users/7",
            "authorization: Bearer secret\r\n",
        )
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (405, Some("GET, HEAD"))
    );
    // With a slash, the prefix is inside as well.
    assert_eq!(
        client.get("/api/").await.header("trace"),
        Some("before-all(api()api)all after")
    );
    assert_eq!(client.get("/api/acme/users/").await.status, 401);
    let reply = client.get("/nowhere").await;
    assert_eq!(
        (reply.status, reply.header("trace")),
        (404, Some("all()all"))
    );
}

// ---------------------------------------------------------------- explicit scopes, servers

static INTERNAL: Scope = Scope::new("/internal").with(&auth).server("admin");
static DEEP: Scope = Scope::new("/deep/{id}").inside(&INTERNAL);

#[get("/status", scope = INTERNAL)]
async fn status() -> &'static str {
    "up"
}

#[get("/{part}", scope = DEEP)]
#[route_param("id" => id, "part" => part)]
async fn deep() -> String {
    format!("{id} {part}")
}

#[get("/hook/{part}", scope = DEEP)]
struct Hook(String);

impl ServerHook for Hook {
    #[route_param("id" => id)]
    async fn new(_: &mut Stream, ctx: &mut Context) -> Self {
        Self(id)
    }

    #[route_param("part" => part)]
    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ctx.get_mut_response()
            .set_body(format!("{} {part}", self.0));
        Status::Continue
    }
}

#[tokio::test]
async fn a_scope_may_belong_to_one_server() {
    let (mut public, mut admin) = clients().await;
    assert_eq!(public.get("/internal/status").await.status, 404);
    assert_eq!(public.get("/plain").await.status, 200);
    assert_eq!(admin.get("/plain").await.status, 404);
    assert_eq!(admin.get("/api/open").await.status, 404);
    assert_eq!(admin.get("/internal/status").await.status, 401);
    for (path, body) in [
        ("/internal/status", "up"),
        ("/internal/deep/7/x", "7 x"),
        ("/internal/deep/7/hook/x", "7 x"),
    ] {
        admin
            .request("GET", path, "authorization: Bearer secret\r\n")
            .await;
        let reply = admin.reply().await;
        assert_eq!((reply.status, reply.text()), (200, body), "{path}");
        // The middleware in no scope is not the admin server's.
        assert_eq!(reply.header("trace"), None);
    }
}

#[test]
fn the_list_of_routes_shows_scopes_and_middleware() {
    #[hyperlane(public: Server)]
    fn routes() -> Vec<String> {
        let routes = public.routes().unwrap();
        let lines = routes.iter().map(|route| {
            format!(
                "{} {} {}",
                route.pattern,
                route.scope,
                route.hooks.join(" ")
            )
        });
        lines.collect()
    }
    let routes = routes();
    for line in [
        "/plain  everywhere plain",
        "/api/open /api Before everywhere outer own auth open After",
        "/api/{tenant}/users /api/{tenant}/users Before everywhere outer auth first second list After",
    ] {
        assert!(
            routes.iter().any(|route| route == line),
            "{line}\n{routes:#?}"
        );
    }
}

static LOST: Scope = Scope::new("/lost").server("admn");

#[get("/", scope = LOST)]
async fn lost() -> &'static str {
    "lost"
}

#[tokio::test]
async fn a_scope_of_a_server_that_is_not_declared_is_reported() {
    let (log, _guard) = collect_log();
    let mut client = client().await;
    assert_eq!(client.get("/lost").await.status, 404);
    // Each of the two servers reports it once.
    let lines = log.with("the scope of `lost`");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines.iter().all(|line| line.contains("`admn`")),
        "{lines:?}"
    );
}

// Scopes inside of each other, and a scope inside of itself.
static HEN: Scope = Scope::new("/hen").inside(&EGG).server("endless");
static EGG: Scope = Scope::new("/egg").inside(&HEN);
static SELF: Scope = Scope::new("/self").inside(&SELF).server("own");

#[get("/chick", scope = HEN)]
async fn chick() {}

#[get("/own", scope = SELF)]
async fn own() {}

#[hyperlane(endless: Server, own: Server)]
async fn endless_servers() -> [Server; 2] {
    [endless, own]
}

#[tokio::test]
async fn scopes_inside_of_each_other_stop_the_start() {
    for (server, prefixes) in endless_servers()
        .await
        .iter_mut()
        .zip([&["/hen", "/egg"][..], &["/self"]])
    {
        let started = server.bind("127.0.0.1:0").run().await;
        let error = started.err().expect("the server does not start");
        assert!(
            matches!(error, ServerError::EndlessScope { prefix } if prefixes.contains(&prefix)),
            "{error}"
        );
        let listed = server.routes().unwrap_err().to_string();
        assert!(listed.contains("is inside itself"), "{listed}");
    }
}

// ---------------------------------------------------------------- failures inside the chain

#[scope("/failing")]
mod failing {
    use super::*;

    #[get("/refused/{id}")]
    #[with(note)]
    async fn refused(Path(id): Path<u64>) -> String {
        id.to_string()
    }

    #[get("/panic")]
    #[with(note)]
    async fn panics(ctx: &mut Context) -> Status {
        ctx.get_mut_response().set_header("lost", "yes");
        panic!("in the handler")
    }

    #[get("/middleware")]
    #[with(note, breaks)]
    async fn never() -> &'static str {
        "never"
    }

    #[get("/rejected")]
    #[with(note)]
    async fn rejected() -> Status {
        Status::Reject
    }

    #[get("/error")]
    #[with(note)]
    async fn error() -> Result<&'static str, Error> {
        Err(Error::new(409, "twice"))
    }

    #[get("/recovered")]
    #[with(recover)]
    async fn recovered() -> Status {
        panic!("in the handler")
    }

    #[get("/forgiven/{id}")]
    #[with(recover)]
    async fn forgiven(Path(id): Path<u64>) -> String {
        id.to_string()
    }

    #[get("/answered")]
    #[with(answer)]
    async fn answered() -> &'static str {
        "the handler"
    }

    async fn breaks(_: &mut Context, _: Next<'_>) -> Status {
        panic!("in the middleware")
    }

    async fn note(ctx: &mut Context, next: Next<'_>) -> Status {
        ctx.get_mut_response().set_header("kept", "yes");
        let status = next.run(ctx).await;
        let code = ctx.get_response().get_status_code();
        ctx.get_mut_response()
            .set_header("seen", format!("{code} {status:?}"));
        status
    }

    async fn recover(ctx: &mut Context, next: Next<'_>) -> (HttpStatus, &'static str) {
        next.run(ctx).await;
        assert!(ctx.recover());
        (HttpStatus::ServiceUnavailable, "again, please")
    }

    async fn answer(_: &mut Context, _: Next<'_>) -> &'static str {
        "the middleware"
    }

    /// Marks that the error hooks have run.
    #[request_error]
    struct Failed;

    impl ServerHook for Failed {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            ctx.get_mut_response().set_header("hook", "request_error");
            Status::Continue
        }
    }

    #[task_panic]
    struct Panicked;

    impl ServerHook for Panicked {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            let data = ctx.try_get_task_panic_data();
            let data = data.map(|data| data.to_string()).unwrap_or_default();
            ctx.get_mut_response().set_header("hook", data);
            Status::Continue
        }
    }
}

#[tokio::test]
async fn middleware_sees_every_failure_and_the_error_hooks_run() {
    let mut client = client().await;
    let cases = [
        (
            "/failing/refused/x",
            400,
            "400 Reject",
            Some("request_error"),
        ),
        ("/failing/panic", 500, "500 Reject", Some("in the handler")),
        (
            "/failing/middleware",
            500,
            "500 Reject",
            Some("in the middleware"),
        ),
        ("/failing/rejected", 403, "403 Reject", None),
        ("/failing/error", 409, "409 Continue", None),
        ("/failing/refused/7", 200, "200 Continue", None),
    ];
    for (path, status, seen, hook) in cases {
        let reply = client.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.header("seen"), Some(seen), "{path}");
        assert_eq!(reply.header("kept"), Some("yes"), "{path}");
        assert_eq!(reply.header("lost"), None, "{path}");
        match hook {
            Some(hook) => assert!(
                reply.header("hook").unwrap_or("").contains(hook),
                "{path} {reply:?}"
            ),
            None => assert_eq!(reply.header("hook"), None, "{path}"),
        }
    }
    let reply = client.get("/failing/recovered").await;
    assert_eq!((reply.status, reply.text()), (503, "again, please"));
    assert_eq!(reply.header("hook"), None);
    let reply = client.get("/failing/forgiven/x").await;
    assert_eq!((reply.status, reply.text()), (503, "again, please"));
    assert_eq!(reply.header("hook"), None);
    let reply = client.get("/failing/answered").await;
    assert_eq!((reply.status, reply.text()), (200, "the middleware"));
}

// ---------------------------------------------------------------- values

#[scope("/values")]
mod values {
    use super::*;

    #[derive(Clone)]
    struct User(&'static str);

    async fn login(ctx: &mut Context, next: Next<'_>) -> Status {
        ctx.insert(User("bob"));
        let old = ctx.insert(User("ann"));
        assert_eq!(old.map(|user| user.0), Some("bob"));
        next.run(ctx).await
    }

    #[get("/me")]
    #[with(login)]
    async fn me(Extension(User(name)): Extension<User>) -> &'static str {
        name
    }

    #[get("/other")]
    async fn other(Extension(User(name)): Extension<User>) -> &'static str {
        name
    }

    #[get("/context")]
    #[with(login)]
    async fn context(ctx: &mut Context) -> String {
        if let Some(user) = ctx.get_mut::<User>() {
            user.0 = "eve";
        }
        assert!(ctx.get::<u8>().is_none());
        let removed = ctx.remove::<User>();
        format!(
            "{:?} {}",
            removed.map(|user| user.0),
            ctx.get::<User>().is_some()
        )
    }
}

#[tokio::test]
async fn middleware_passes_typed_values_to_handlers() {
    let mut client = client().await;
    assert_eq!(client.get("/values/me").await.text(), "ann");
    // The values of one request are not those of the next one.
    let reply = client.get("/values/other").await;
    assert_eq!(
        (reply.status, reply.text()),
        (500, "500 Internal Server Error\n")
    );
    assert_eq!(
        client.get("/values/context").await.text(),
        "Some(\"eve\") false"
    );
}

// ---------------------------------------------------------------- streams

#[scope("/live", with(count))]
mod live {
    use super::*;

    async fn count(ctx: &mut Context, next: Next<'_>) -> Status {
        ctx.get_mut_response().set_header("around", "yes");
        next.run(ctx).await
    }

    #[response_middleware]
    struct After;

    impl ServerHook for After {
        async fn new(_: &mut Stream, _: &mut Context) -> Self {
            Self
        }

        async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
            ctx.get_mut_response().set_header("after", "yes");
            Status::Continue
        }
    }

    #[get("/events")]
    #[sse(events)]
    async fn events() {
        let _ = events.send("one").await;
    }

    #[get("/echo")]
    #[websocket(socket)]
    async fn echo() {
        while let Ok(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn streams_and_websockets_pass_the_chain() {
    let (public, _admin) = start().await;
    let mut client = Client::connect(address(&public)).await;
    client.request("GET", "/live/events", "").await;
    let head = client.until(b"\r\n\r\n").await;
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(
        head.contains("around: yes") && head.contains("after: yes"),
        "{head}"
    );
    let mut socket = Client::websocket(address(&public), "/live/echo").await;
    socket.say("hello").await;
    assert_eq!(socket.next_message().await.text(), "hello");
    socket.close().await;
}

// ---------------------------------------------------------------- builders

struct Text;

impl ServerHook for Text {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ctx.get_mut_response().set_body("text");
        Status::Continue
    }
}

async fn around(ctx: &mut Context, next: Next<'_>) -> Status {
    trace(ctx, next, "around").await
}

/// Middleware with a value of its own.
struct Stateful(String);

impl Middleware for Stateful {
    fn handle<'a>(&'a self, ctx: &'a mut Context, next: Next<'a>) -> HookFuture<'a> {
        Box::pin(async move {
            add(ctx, &self.0);
            next.run(ctx).await
        })
    }
}

#[tokio::test]
async fn builders_do_the_same() {
    let mut server = Server::new();
    server
        .middleware(around)
        .middleware(async |ctx: &mut Context, next: Next<'_>| {
            add(ctx, "closure-");
            next.run(ctx).await
        })
        .middleware(Stateful("state".to_owned()))
        .scope("/a", |a| {
            a.with(auth)
                .max_body(4)
                .route::<Text>("/one")
                .scope("/b", |b| {
                    b.with(around).route::<Text>("/two");
                });
        })
        .route::<Text>("/");
    let mut client = Memory::of(&server);
    let reply = client.get("/").await;
    assert_eq!(
        (reply.text(), reply.header("trace")),
        ("text", Some("around(closure-state)around"))
    );
    assert_eq!(client.get("/a/one").await.status, 401);
    client
        .request("GET", "/a/b/two", "authorization: Bearer secret\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.text(), "text");
    assert_eq!(
        reply.header("trace"),
        Some("around(closure-statearound()around)around")
    );
}

// ---------------------------------------------------------------- pages of other sites

static CORS: Cors = Cors::new()
    .origins(&["https://app.example"])
    .credentials(true);
static OPEN: Cors = Cors::new().origin_fn(&|origin| origin == "null");
static NAMED: Scope = Scope::new("/named-cors").cors(&OPEN).csrf(Csrf::Off);

#[scope("/cors", cors = CORS)]
mod shared {
    use super::*;

    #[get("/ok")]
    async fn ok() -> &'static str {
        "ok"
    }

    #[post("/do")]
    async fn done() -> &'static str {
        "done"
    }

    mod hooks {
        use super::super::*;

        file_scope!("/hooks", csrf = Csrf::Off);

        #[post("/do")]
        async fn done() -> &'static str {
            "done"
        }
    }
}

#[post("/do", scope = NAMED)]
async fn named() -> &'static str {
    "done"
}

#[tokio::test]
async fn a_declared_scope_has_policies_for_pages_of_other_sites() {
    let mut client = client().await;
    let page = "origin: https://app.example\r\n";
    let evil = "origin: https://evil.example\r\n";
    let null = "origin: null\r\n";
    let allow = "access-control-allow-origin";
    for (method, path, fields, status, allowed) in [
        ("GET", "/cors/ok", page, 200, Some("https://app.example")),
        (
            "GET",
            "/cors/missing",
            page,
            404,
            Some("https://app.example"),
        ),
        ("GET", "/cors/ok", evil, 200, None),
        ("POST", "/cors/do", page, 200, Some("https://app.example")),
        ("POST", "/cors/do", evil, 403, None),
        // The inner scope keeps the CORS policy of the outer one.
        (
            "POST",
            "/cors/hooks/do",
            page,
            200,
            Some("https://app.example"),
        ),
        ("POST", "/cors/hooks/do", evil, 200, None),
        ("POST", "/named-cors/do", null, 200, Some("null")),
        ("POST", "/named-cors/do", page, 200, None),
        ("GET", "/plain", page, 200, None),
    ] {
        let fields = format!("{fields}cookie: session=1\r\n");
        client.request(method, path, &fields).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.header(allow)),
            (status, allowed),
            "{method} {path} {fields}"
        );
    }
}
