//! CORS policies of servers and scopes (Fetch standard, §3.3), and the protection against cross-site request forgery, as
//! tables of requests and answers.

use std::time::Duration;

use hyperlane::{
    Cors, Csrf, ServerError,
    parts::EntityTag,
    prelude::*,
    server::{CorsError, ServerScope},
    sse, ws,
};
use test_support::{Client, address, collect_log, start};

const APP: &str = "https://app.example";

async fn fails() -> Result<String, Error> {
    Err(RequestError::refused(422, "not that one").into())
}

async fn panics() -> String {
    panic!("on purpose")
}

async fn own(ctx: &mut Context) -> &'static str {
    ctx.get_mut_response()
        .set_header("access-control-allow-origin", "https://own.example")
        .set_header("vary", "accept");
    "own"
}

async fn stream(stream: &mut Stream, ctx: &mut Context) -> Status {
    match ctx.event_stream(stream).await {
        Ok(_) => Status::Continue,
        Err(_) => Status::Reject,
    }
}

async fn socket(stream: &mut Stream, ctx: &mut Context) -> Status {
    match ctx.upgrade(stream).await {
        Ok(_) => Status::Continue,
        Err(_) => Status::Reject,
    }
}

async fn unchanged(ctx: &mut Context) -> Status {
    ctx.respond_if_none_match(EntityTag::strong("1"));
    Status::Continue
}

/// Refuses requests without a key. Browsers send none in a preflight.
async fn auth(ctx: &mut Context, next: Next<'_>) -> Result<Status, (HttpStatus, &'static str)> {
    match ctx.get_request().header("authorization") {
        Some(_) => Ok(next.run(ctx).await),
        None => Err((HttpStatus::Unauthorized, "log in first")),
    }
}

/// Registers the routes that every policy is tried with.
fn routes(scope: &mut ServerScope<'_>) {
    scope.at("/ok").get(async || "ok");
    scope.at("/ok").post(async |body: String| body);
    scope.at("/put").put(async |body: String| body);
    scope.at("/fails").get(fails);
    scope.at("/panics").get(panics);
    scope.at("/own").get(own);
    scope
        .at("/moved")
        .get(async || Redirect::to("https://other.example/"));
    scope.at("/events").get(stream);
    scope.at("/socket").get(socket);
    scope.at("/unchanged").get(unchanged);
    scope.at("/all").any(async || "all methods");
    scope.at("/asked").options(async || "my own answer");
    scope.at("/channel").get(sse());
    scope.at("/chat").get(ws());
    scope.scope("/auth", |inner| {
        inner.with(auth).at("/ok").get(async || "ok");
    });
}

async fn server() -> ServerControlHook {
    start(|server| {
        server.scope("/list", |scope| {
            scope.cors(
                Cors::new()
                    .origins(&[APP, "https://*.sub.example", "http://localhost:*"])
                    .origin(String::from("https://late.example"))
                    .methods(&["GET", "PUT"])
                    .allowed_headers(&["x-a", "content-type"])
                    .exposed_headers(&["x-total", "etag"])
                    .max_age(Duration::from_secs(60)),
            );
            routes(scope);
        });
        server.scope("/cred", |scope| {
            scope.cors(Cors::new().origins(&[APP]).credentials(true));
            routes(scope);
        });
        server.scope("/any", |scope| {
            scope.cors(Cors::new().origins(&["*"]).exposed_headers(&["*"]));
            routes(scope);
            scope
                .at("/listed")
                .get(sse().origin("https://page.example"));
            scope.scope("/inner", |inner| {
                inner
                    .cors(Cors::new().origins(&[APP]))
                    .at("/ok")
                    .get(async || "ok");
            });
        });
        server.scope("/rule", |scope| {
            scope.cors(Cors::new().origin_if(|origin| {
                assert_ne!(origin, "https://panic.example", "on purpose");
                origin == "null" || origin.ends_with(".partner.example")
            }));
            routes(scope);
        });
        server.scope("/none", routes);
    })
    .await
}

/// Sends a request and returns the status and the CORS fields of the response, in short form.
async fn ask(control: &ServerControlHook, request: &str) -> String {
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut fields = String::new();
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let line = match name {
            "o" => format!("origin: {}", value.replace("APP", APP)),
            "m" => format!("access-control-request-method: {value}"),
            "h" => format!("access-control-request-headers: {value}"),
            "ws" => "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
                .to_owned(),
            name => format!("{name}: {value}"),
        };
        fields.push_str(&line);
        fields.push_str("\r\n");
    }
    let mut client = Client::connect(address(control)).await;
    client.request(method, path, &fields).await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    let mut got = head.split(' ').nth(1).unwrap().to_owned();
    for (name, short) in [
        ("access-control-allow-origin", "o"),
        ("access-control-allow-credentials", "c"),
        ("access-control-allow-methods", "m"),
        ("access-control-allow-headers", "h"),
        ("access-control-expose-headers", "e"),
        ("access-control-max-age", "a"),
        ("vary", "v"),
    ] {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        for (_, value) in lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)) {
            let value = value.replace(APP, "APP").replace(", ", ",");
            got.push_str(&format!(" {short}={value}"));
        }
    }
    got
}

async fn check(control: &ServerControlHook, table: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (request, expected) in table {
        let got = ask(control, request).await;
        if got != *expected {
            wrong.push(format!("{request}\n     got {got}\n  wanted {expected}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

// ---------------------------------------------------------------- the table of policies

#[tokio::test]
async fn simple_requests_of_allowed_pages_are_readable() {
    let table = [
        // Without a policy.
        ("GET /none/ok o=APP", "200"),
        ("GET /none/missing o=APP", "404 v=Accept"),
        ("OPTIONS /none/ok o=APP m=GET", "405 v=Accept"),
        ("GET /missing o=APP", "404 v=Accept"),
        // Lists of origins.
        ("GET /list/ok o=APP", "200 o=APP e=x-total,etag v=Origin"),
        ("HEAD /list/ok o=APP", "200 o=APP e=x-total,etag v=Origin"),
        ("POST /list/ok o=APP", "200 o=APP e=x-total,etag v=Origin"),
        ("GET /list/ok", "200 v=Origin"),
        ("GET /list/ok o=https://evil.example", "200 v=Origin"),
        ("GET /list/ok o=http://app.example", "200 v=Origin"),
        ("GET /list/ok o=https://app.example:8443", "200 v=Origin"),
        (
            "GET /list/ok o=https://app.example.evil.example",
            "200 v=Origin",
        ),
        ("GET /list/ok o=https://evilapp.example", "200 v=Origin"),
        ("GET /list/ok o=null", "200 v=Origin"),
        ("GET /list/ok o=", "200 v=Origin"),
        ("GET /list/ok o=APP o=https://evil.example", "200 v=Origin"),
        ("GET /list/ok o=APP,https://evil.example", "200 v=Origin"),
        (
            "GET /list/ok o=https://late.example",
            "200 o=https://late.example e=x-total,etag v=Origin",
        ),
        // Patterns of origins.
        (
            "GET /list/ok o=https://a.sub.example",
            "200 o=https://a.sub.example e=x-total,etag v=Origin",
        ),
        (
            "GET /list/ok o=https://a.b.sub.example",
            "200 o=https://a.b.sub.example e=x-total,etag v=Origin",
        ),
        ("GET /list/ok o=https://sub.example", "200 v=Origin"),
        ("GET /list/ok o=https://evilsub.example", "200 v=Origin"),
        ("GET /list/ok o=http://a.sub.example", "200 v=Origin"),
        (
            "GET /list/ok o=http://localhost:5173",
            "200 o=http://localhost:5173 e=x-total,etag v=Origin",
        ),
        ("GET /list/ok o=https://localhost:5173", "200 v=Origin"),
        // A function.
        (
            "GET /rule/ok o=https://x.partner.example",
            "200 o=https://x.partner.example v=Origin",
        ),
        ("GET /rule/ok o=null", "200 o=null v=Origin"),
        ("GET /rule/ok o=APP", "200 v=Origin"),
        ("GET /rule/ok o=https://panic.example", "200 v=Origin"),
        // Credentials.
        ("GET /cred/ok o=APP", "200 o=APP c=true v=Origin"),
        ("GET /cred/ok o=https://evil.example", "200 v=Origin"),
        ("GET /cred/ok", "200 v=Origin"),
        // All origins.
        ("GET /any/ok o=https://evil.example", "200 o=* e=*"),
        ("GET /any/ok o=null", "200 o=* e=*"),
        ("GET /any/ok", "200 o=*"),
        // The policy of an inner scope replaces that of the outer one.
        ("GET /any/inner/ok o=APP", "200 o=APP v=Origin"),
        ("GET /any/inner/ok o=https://evil.example", "200 v=Origin"),
        // The answer of an endpoint depends on the origin, also for pages that its list does not name.
        (
            "HEAD /any/listed o=https://page.example",
            "200 o=https://page.example c=true v=Origin",
        ),
        ("HEAD /any/listed", "200 v=Origin"),
        (
            "HEAD /any/listed o=https://x.example",
            "403 o=* e=* v=Accept,Origin",
        ),
        ("GET /any/inner/missing o=APP", "404 o=APP v=Accept,Origin"),
    ];
    check(&server().await, &table).await;
}

#[tokio::test]
async fn a_preflight_gets_what_the_policy_says() {
    let listed = "204 o=APP m=GET,PUT h=x-a,content-type a=60 v=Origin";
    let table = [
        ("OPTIONS /list/ok o=APP m=GET", listed),
        ("OPTIONS /list/put o=APP m=PUT h=x-a", listed),
        ("OPTIONS /list/put o=APP m=PUT h=x-b", listed),
        // The browser reads that the method is not in the list.
        ("OPTIONS /list/ok o=APP m=DELETE", listed),
        ("OPTIONS /list/ok o=APP m=put", listed),
        // The request that follows gets a 404 that the page can read.
        ("OPTIONS /list/missing o=APP m=GET", listed),
        (
            "OPTIONS /list/ok o=https://evil.example m=GET",
            "403 v=Accept,Origin",
        ),
        ("OPTIONS /list/ok o=null m=GET", "403 v=Accept,Origin"),
        (
            "OPTIONS /list/missing o=https://evil.example m=GET",
            "403 v=Accept,Origin",
        ),
        // No preflight: one of the two fields is missing.
        (
            "OPTIONS /list/ok o=APP",
            "405 o=APP e=x-total,etag v=Accept,Origin",
        ),
        ("OPTIONS /list/ok m=GET", "405 v=Accept,Origin"),
        (
            "GET /list/ok o=APP m=PUT",
            "200 o=APP e=x-total,etag v=Origin",
        ),
        // A handler of all methods does not run for a preflight; one for OPTIONS does.
        ("OPTIONS /list/all o=APP m=PUT", listed),
        (
            "OPTIONS /list/all o=https://evil.example m=PUT",
            "403 v=Accept,Origin",
        ),
        (
            "OPTIONS /list/all o=APP",
            "200 o=APP e=x-total,etag v=Origin",
        ),
        ("OPTIONS /none/all o=APP m=PUT", "200"),
        (
            "OPTIONS /list/asked o=APP m=PUT",
            "200 o=APP m=GET,PUT h=x-a,content-type a=60 v=Origin",
        ),
        // Middleware that wraps cannot refuse a preflight, but everything else.
        ("OPTIONS /list/auth/ok o=APP m=GET h=authorization", listed),
        (
            "GET /list/auth/ok o=APP",
            "401 o=APP e=x-total,etag v=Origin",
        ),
        (
            "GET /list/auth/ok o=APP authorization=x",
            "200 o=APP e=x-total,etag v=Origin",
        ),
        (
            "OPTIONS /list/auth/ok o=https://evil.example m=GET",
            "403 v=Accept,Origin",
        ),
        // Without a list of fields, the page gets the fields for which it asks.
        (
            "OPTIONS /cred/put o=APP m=PUT h=x-a,authorization",
            "204 o=APP c=true m=GET,HEAD,POST,PUT,PATCH,DELETE,QUERY h=x-a,authorization a=600 v=Origin",
        ),
        (
            "OPTIONS /cred/put o=APP m=PUT h=a@b,,x",
            "204 o=APP c=true m=GET,HEAD,POST,PUT,PATCH,DELETE,QUERY h=x a=600 v=Origin",
        ),
        (
            "OPTIONS /any/put o=https://x.example m=PUT h=authorization",
            "204 o=* m=GET,HEAD,POST,PUT,PATCH,DELETE,QUERY h=authorization a=600",
        ),
        (
            "OPTIONS /rule/ok o=null m=GET",
            "204 o=null m=GET,HEAD,POST,PUT,PATCH,DELETE,QUERY a=600 v=Origin",
        ),
    ];
    check(&server().await, &table).await;
}

#[tokio::test]
async fn errors_redirects_and_streams_are_readable_too() {
    let table = [
        (
            "GET /cred/missing o=APP",
            "404 o=APP c=true v=Accept,Origin",
        ),
        (
            "GET /cred/missing o=https://evil.example",
            "404 v=Accept,Origin",
        ),
        ("DELETE /cred/ok o=APP", "405 o=APP c=true v=Accept,Origin"),
        ("GET /cred/fails o=APP", "422 o=APP c=true v=Accept,Origin"),
        ("GET /cred/panics o=APP", "500 o=APP c=true v=Accept,Origin"),
        ("GET /any/panics o=APP", "500 o=* e=* v=Accept"),
        (
            "POST /cred/ok o=APP content-length=9999999",
            "413 o=APP c=true v=Accept,Origin",
        ),
        (
            "POST /cred/missing o=APP content-length=9999999",
            "404 o=APP c=true v=Accept,Origin",
        ),
        (
            "GET http://wrong.test/cred/ok o=APP",
            "421 o=APP c=true v=Accept,Origin",
        ),
        ("GET /cred/moved o=APP", "302 o=APP c=true v=Origin"),
        ("GET /any/moved o=APP", "302 o=* e=*"),
        (
            "GET /cred/unchanged o=APP if-none-match=\"1\"",
            "304 o=APP c=true v=Origin",
        ),
        // Fields of the program stay.
        (
            "GET /cred/own o=APP",
            "200 o=https://own.example c=true v=accept,Origin",
        ),
        ("GET /none/own o=APP", "200 o=https://own.example v=accept"),
        // Event streams and handshakes of handlers.
        ("GET /cred/events o=APP", "200 o=APP c=true v=Origin"),
        (
            "GET /list/events o=APP",
            "200 o=APP e=x-total,etag v=Origin",
        ),
        ("GET /cred/socket o=APP ws", "101 o=APP c=true v=Origin"),
        (
            "GET /cred/socket o=https://evil.example ws",
            "403 v=Accept,Origin",
        ),
        ("GET /none/socket o=APP ws", "403 v=Accept"),
        // A WebSocket carries cookies: a policy without credentials does not allow it, and `*` never does.
        (
            "GET /list/socket o=APP ws",
            "403 o=APP e=x-total,etag v=Accept,Origin",
        ),
        ("GET /any/socket o=APP ws", "403 o=* e=* v=Accept"),
        // Endpoints of channels.
        (
            "GET /cred/channel o=APP accept=text/event-stream",
            "200 o=APP c=true v=Origin",
        ),
        (
            "GET /cred/channel o=https://evil.example accept=text/event-stream",
            "403 v=Accept,Origin",
        ),
        (
            "GET /none/channel o=APP accept=text/event-stream",
            "403 v=Accept",
        ),
        (
            "OPTIONS /cred/channel o=APP m=POST h=content-type",
            "204 o=APP c=true m=GET,HEAD,POST,PUT,PATCH,DELETE,QUERY h=content-type a=600 v=Origin",
        ),
        ("GET /cred/chat o=APP ws", "101 o=APP c=true v=Origin"),
        ("GET /none/chat o=APP ws", "403 v=Accept"),
    ];
    check(&server().await, &table).await;
}

// ---------------------------------------------------------------- servers

#[tokio::test]
async fn the_policy_of_a_server_covers_what_has_no_scope() {
    let control = start(|server| {
        server.cors(Cors::new().origins(&[APP]));
        server.errors(|error: &ErrorInfo, _: &mut Context| Json([error.to_string()]));
        server.at("/ok").get(async || "ok");
        server.at("/sse").get(sse().origin("https://page.example"));
        server.scope("/inner", |scope| {
            scope.at("/ok").get(async || "ok");
        });
    })
    .await;
    let methods = "m=GET,HEAD,POST,PUT,PATCH,DELETE,QUERY a=600 v=Origin";
    let table = [
        ("GET /ok o=APP", "200 o=APP v=Origin"),
        ("GET /inner/ok o=APP", "200 o=APP v=Origin"),
        ("GET /missing o=APP", "404 o=APP v=Origin"),
        (
            "OPTIONS /inner/ok o=APP m=GET",
            &format!("204 o=APP {methods}"),
        ),
        ("OPTIONS * o=APP", "204 o=APP v=Origin"),
        // The endpoint's own policy has credentials; the one of the server decides about its other pages.
        (
            "GET /sse o=https://page.example accept=text/event-stream",
            "200 o=https://page.example c=true v=Origin",
        ),
        (
            "GET /sse o=APP accept=text/event-stream",
            "403 o=APP v=Origin",
        ),
    ];
    check(&control, &table).await;
}

#[tokio::test]
async fn a_policy_that_cannot_work_is_found_at_the_start() {
    let started = async |cors: Cors| {
        let mut server = Server::new();
        server.bind("127.0.0.1:0").scope("/api", |scope| {
            scope.cors(cors).at("/ok").get(async || "ok");
        });
        match server.run().await {
            Err(ServerError::Cors { scope, source }) => {
                assert_eq!(scope, "/api");
                Some(source)
            }
            Ok(_) => None,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(
        started(Cors::new().origins(&["*"]).credentials(true)).await,
        Some(CorsError::AnyWithCredentials)
    );
    assert_eq!(
        started(Cors::new().exposed_headers(&["*"]).credentials(true)).await,
        Some(CorsError::WildcardWithCredentials)
    );
    assert_eq!(
        started(Cors::new().methods(&["GET", "A B"])).await,
        Some(CorsError::Name("A B".to_owned()))
    );
    for origin in ["null", "https://a/", "https://*", ""] {
        let error = started(Cors::new().origin(origin)).await;
        assert!(matches!(error, Some(CorsError::Origin(_))), "{origin}");
    }
    assert_eq!(started(Cors::new().origins(&["*"])).await, None);
}

// ---------------------------------------------------------------- cross-site request forgery

/// The name of the session's cookie; its value does not matter to the check.
const COOKIE: &str = "cookie=theme=dark;session=value";

async fn protected() -> ServerControlHook {
    start(|server| {
        let config = server.get_mut_server_config();
        config.allowed_origins = vec!["https://listed.example".to_owned()];
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        server.csrf_exempt("/login/{provider}/callback");
        server.at("/do").get(async || "read");
        server.at("/do").any(async || "done");
        server
            .at("/login/{provider}/callback")
            .post(async || "done");
        server.at("/hook").csrf(Csrf::Off).post(async || "done");
        server
            .at("/channel")
            .get(sse().origin("https://page.example"));
        server.scope("/site", |scope| {
            scope.csrf(Csrf::SameSite).at("/do").post(async || "done");
            scope
                .at("/strict")
                .csrf(Csrf::SameOrigin)
                .post(async || "done");
        });
        server.scope("/off", |scope| {
            scope.csrf(Csrf::Off).at("/do").post(async || "done");
        });
        server.scope("/cred", |scope| {
            let cors = Cors::new().origins(&[APP]).credentials(true);
            scope.cors(cors).at("/do").post(async || "done");
        });
        server.scope("/public", |scope| {
            scope
                .cors(Cors::new().origins(&[APP]))
                .at("/do")
                .post(async || "done");
        });
    })
    .await
}

#[tokio::test]
async fn unsafe_requests_of_other_sites_with_the_sessions_cookie_are_refused() {
    let control = protected().await;
    let own = "http://localhost";
    let cross = "sec-fetch-site=cross-site";
    let same_site = "sec-fetch-site=same-site";
    let tls = "x-forwarded-for=192.0.2.1 x-forwarded-proto=https";
    let table = [
        // By `Sec-Fetch-Site`.
        (
            format!("POST /do {COOKIE} sec-fetch-site=same-origin o={own}"),
            200,
        ),
        (format!("POST /do {COOKIE} sec-fetch-site=same-origin"), 200),
        (format!("POST /do {COOKIE} sec-fetch-site=none"), 200),
        (format!("POST /do {COOKIE} {cross}"), 403),
        (
            format!("POST /do {COOKIE} {cross} o=https://evil.example"),
            403,
        ),
        (format!("POST /do {COOKIE} {cross} o={own}"), 403),
        (format!("POST /do {COOKIE} {cross} o=null"), 403),
        (
            format!("POST /do {COOKIE} {same_site} o=https://sibling.example"),
            403,
        ),
        (
            format!("POST /do {COOKIE} sec-fetch-site=same-origin {cross}"),
            403,
        ),
        (format!("POST /do {COOKIE} sec-fetch-site=new-kind"), 403),
        // By `Origin`.
        (format!("POST /do {COOKIE} o={own}"), 200),
        (format!("POST /do {COOKIE} o=https://evil.example"), 403),
        (format!("POST /do {COOKIE} o=null"), 403),
        (
            format!("POST /do {COOKIE} o={own} o=https://evil.example"),
            403,
        ),
        // Neither: a program.
        (format!("POST /do {COOKIE}"), 200),
        // Other methods.
        (format!("PUT /do {COOKIE} {cross}"), 403),
        (format!("PATCH /do {COOKIE} {cross}"), 403),
        (format!("DELETE /do {COOKIE} {cross}"), 403),
        (format!("PURGE /do {COOKIE} {cross}"), 403),
        (format!("GET /do {COOKIE} {cross}"), 200),
        (format!("HEAD /do {COOKIE} {cross}"), 200),
        (format!("OPTIONS /do {COOKIE} {cross}"), 200),
        // Without the session's cookie.
        (format!("POST /do {cross} o=https://evil.example"), 200),
        (
            format!("POST /do cookie=theme=dark;othersession=1 {cross}"),
            200,
        ),
        (format!("POST /do cookie=theme=dark {COOKIE} {cross}"), 403),
        // The name of the cookie over TLS.
        (
            format!("POST /do cookie=__Host-session=1 {cross} {tls}"),
            403,
        ),
        (
            format!("POST /do cookie=__Host-session=1 {tls} o=https://evil.example"),
            403,
        ),
        // Pages that the program trusts.
        (
            format!("POST /do {COOKIE} {cross} o=https://listed.example"),
            200,
        ),
        (format!("POST /do {COOKIE} o=https://listed.example"), 200),
        (
            format!("POST /do {COOKIE} {cross} o=https://listed.example o=https://evil.example"),
            403,
        ),
        (format!("POST /cred/do {COOKIE} {cross} o={APP}"), 200),
        (format!("POST /cred/do {COOKIE} o={APP}"), 200),
        (
            format!("POST /cred/do {COOKIE} {cross} o=https://evil.example"),
            403,
        ),
        (format!("POST /do {COOKIE} {cross} o={APP}"), 403),
        // A page without permission for credentials sends no cookie; a form on it does.
        (format!("POST /public/do {COOKIE} {cross} o={APP}"), 403),
        (format!("POST /public/do {cross} o={APP}"), 200),
        // Sites, and exempt paths, routes and scopes.
        (
            format!("POST /site/do {COOKIE} {same_site} o=https://sibling.example"),
            200,
        ),
        (
            format!("POST /site/do {COOKIE} {cross} o=https://evil.example"),
            403,
        ),
        (format!("POST /site/strict {COOKIE} {same_site}"), 403),
        (
            format!("POST /login/some/callback {COOKIE} {cross} o=https://login.example"),
            200,
        ),
        (format!("POST /hook {COOKIE} {cross}"), 200),
        (format!("POST /off/do {COOKIE} {cross}"), 200),
        // Requests without a route: middleware could answer them.
        (format!("POST /missing {COOKIE} {cross}"), 403),
        (format!("POST /missing {COOKIE}"), 404),
        // Endpoints check their requests by their own lists.
        (
            format!("POST /channel {COOKIE} {cross} o=https://evil.example"),
            403,
        ),
    ];
    let mut wrong = Vec::new();
    for (request, expected) in &table {
        let got = ask(&control, request).await;
        if !got.starts_with(&expected.to_string()) {
            wrong.push(format!("{request}: {got}, wanted {expected}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_refused_request_is_explained_and_its_connection_goes_on() {
    let (lines, _guard) = collect_log();
    let control = protected().await;
    let mut client = Client::connect(address(&control)).await;
    let fields = "cookie: session=1\r\nsec-fetch-site: cross-site\r\norigin: https://evil.example\r\n\
                  content-length: 4\r\n";
    client.request("POST", "/do", fields).await;
    client.send("body").await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 403);
    assert!(
        reply.text().contains("page of another site"),
        "{}",
        reply.text()
    );
    assert_eq!(client.get("/do").await.text(), "read");
    let logged = lines.with("cross-site request");
    assert_eq!(logged.len(), 1);
    for part in ["https://evil.example", "/do", "csrf_exempt", "WARN"] {
        assert!(logged[0].contains(part), "{}", logged[0]);
    }
}
