//! Requests of a connection that a handler reads itself: they have no state of an earlier request, and the rules of the
//! handler's route apply to them.

use std::time::Duration;

use hyperlane::{
    __private, Cors, Csrf, ErrorInfo, RateLimit, Timeout,
    prelude::*,
    server::{At, ServerScope},
    test::TestServer,
};
use test_support::{Client, Reply, address, hook, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A wait that the limit of the test always ends first.
const LONG: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct User(&'static str);

/// Lets the client of the first request in.
async fn login(ctx: &mut Context, next: Next<'_>) -> Status {
    ctx.insert(User("ann"));
    ctx.set_attribute("role", "admin");
    ctx.get_mut_response().set_header("x-user", "ann");
    next.run(ctx).await
}

async fn told(stream: &mut Stream, ctx: &mut Context, body: &str) {
    let user = ctx.get::<User>().map_or("nobody", |user| user.0);
    let role: Option<&str> = ctx.try_get_attribute("role");
    let path = ctx.get_request().get_path();
    let room = ctx.get_route_param("room");
    let text = format!("{path} {user} {role:?} room={room} {body}");
    ctx.get_mut_response().set_body(text);
    __private::send(stream, ctx).await;
}

/// Reads into the context, as the macro does.
async fn by_context(stream: &mut Stream, ctx: &mut Context) -> Status {
    told(stream, ctx, "first").await;
    while ctx.next_request(stream).await.is_ok() {
        if ctx.get_request().get_path() == "/wait" {
            tokio::time::sleep(LONG).await;
        }
        let body = ctx.get_request().get_body_string();
        told(stream, ctx, &body).await;
    }
    Status::Continue
}

fn answer(text: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Reads requests as values.
async fn by_value(stream: &mut Stream, ctx: &mut Context) -> Status {
    // The server never sends this response: the first request is answered by bytes, and the others too.
    ctx.get_mut_response().set_body("stale");
    stream.send(answer("first")).await;
    while let Ok(request) = stream.try_get_http_request().await {
        if request.get_path() == "/wait" {
            tokio::time::sleep(LONG).await;
        }
        stream.send(answer(&request.get_body_string())).await;
    }
    Status::Continue
}

/// Registers both handlers of further requests.
fn both<'s>(
    scope: &mut ServerScope<'s>,
    with: impl for<'a> Fn(At<'a, ServerScope<'s>>) -> At<'a, ServerScope<'s>>,
) {
    with(scope.at("/context")).any(by_context);
    with(scope.at("/value")).any(by_value);
}

const BOTH: [&str; 2] = ["/context", "/value"];

async fn further(client: &mut Client, method: &str, path: &str, fields: &str, body: &str) -> Reply {
    let fields = format!("{fields}content-length: {}\r\n", body.len());
    client.request(method, path, &fields).await;
    client.send(body).await;
    client.reply().await
}

#[tokio::test]
async fn nothing_of_an_earlier_request_remains() {
    let control = start(|server| {
        server.at("/rooms/{room}").with(login).get(by_context);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    let reply = client.get("/rooms/7").await;
    assert_eq!(reply.header("x-user"), Some("ann"));
    assert_eq!(reply.text(), r#"/rooms/7 ann Some("admin") room=7 first"#);
    let reply = client.get("/rooms/8").await;
    assert_eq!(reply.header("x-user"), None, "{}", reply.head);
    assert_eq!(reply.text(), "/rooms/8 nobody None room= ");
}

#[tokio::test]
async fn each_request_has_its_own_session() {
    async fn counts(stream: &mut Stream, ctx: &mut Context) -> Status {
        loop {
            let session = ctx.session();
            let count = session.get::<u32>("count").unwrap_or(0) + 1;
            session.insert("count", &count).unwrap();
            ctx.get_mut_response().set_body(count.to_string());
            __private::send(stream, ctx).await;
            if ctx.next_request(stream).await.is_err() {
                return Status::Continue;
            }
        }
    }
    let control = start(|server| {
        server.at("/count").get(counts);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    let first = client.get("/count").await;
    assert_eq!(first.text(), "1");
    let cookie = first.header("set-cookie").unwrap().split(';').next();
    let cookie = format!("cookie: {}\r\n", cookie.unwrap());
    let other = client.get("/").await;
    assert_eq!(other.text(), "1", "another client of a proxy");
    assert!(other.header("set-cookie").is_some());
    client.request("GET", "/", &cookie).await;
    let back = client.reply().await;
    assert_eq!((back.text(), back.header("set-cookie")), ("2", None));
}

const FORGED: &str =
    "cookie: session=1\r\nsec-fetch-site: cross-site\r\norigin: https://evil.example\r\n";

#[tokio::test]
async fn a_forged_request_is_refused_like_the_first() {
    let control = start(|server| {
        server.csrf_exempt("/exempt/value");
        server.errors(|error: &ErrorInfo, _: &mut Context| format!("rendered {}", error.status));
        server.scope("", |scope| both(scope, |at| at));
        server.scope("/cors", |scope| {
            let cors = Cors::new().origins(&["https://page.example"]);
            both(scope.cors(cors.credentials(true)), |at| at);
        });
        server.scope("/off", |scope| both(scope, |at| at.csrf(Csrf::Off)));
        server.scope("/exempt", |scope| both(scope, |at| at));
    })
    .await;
    for handler in BOTH {
        let mut client = Client::connect(address(&control)).await;
        assert!(client.get(handler).await.text().ends_with("first"));
        // A program, and a page of the server itself.
        let own = "cookie: session=1\r\nsec-fetch-site: same-origin\r\n";
        for fields in ["cookie: session=1\r\n", own] {
            let reply = further(&mut client, "POST", "/any", fields, "body").await;
            assert!(reply.text().ends_with("body"), "{}", reply.text());
        }
        let reply = further(&mut client, "POST", "/any", FORGED, "body").await;
        assert_eq!((reply.status, reply.text()), (403, "rendered 403"));
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(client.ends().await);

        // The policies of the scope apply, and the refusal is one that a page of the scope may read.
        let mut client = Client::connect(address(&control)).await;
        client.get(&format!("/cors{handler}")).await;
        let page =
            "cookie: session=1\r\nsec-fetch-site: cross-site\r\norigin: https://page.example\r\n";
        let reply = further(&mut client, "POST", "/any", page, "body").await;
        assert!(reply.text().ends_with("body"), "{}", reply.text());
        let reply = further(&mut client, "POST", "/any", FORGED, "").await;
        assert_eq!(reply.status, 403);
        assert_eq!(reply.header("vary"), Some("Origin"));

        let mut client = Client::connect(address(&control)).await;
        client.get(&format!("/off{handler}")).await;
        let reply = further(&mut client, "POST", "/any", FORGED, "body").await;
        assert!(reply.text().ends_with("body"), "{}", reply.text());
    }
    for (handler, status) in [("/exempt/context", 403), ("/exempt/value", 200)] {
        let mut client = Client::connect(address(&control)).await;
        client.get(handler).await;
        let reply = further(&mut client, "POST", "/any", FORGED, "body").await;
        assert_eq!(reply.status, status, "{handler}");
    }
}

#[tokio::test]
async fn the_limits_of_the_scope_hold() {
    let control = start(|server| {
        server.scope("/short", |scope| both(scope.max_body(4), |at| at));
        server.scope("/rare", |scope| {
            both(scope, |at| at.with(RateLimit::per_minute(2)));
        });
        server.scope("/quick", |scope| {
            scope.with(Timeout::new(Duration::from_millis(50)));
            both(scope, |at| at);
        });
    })
    .await;
    for handler in BOTH {
        let first = async |scope: &str| {
            let mut client = Client::connect(address(&control)).await;
            let reply = client.get(&format!("{scope}{handler}")).await;
            assert!(reply.text().ends_with("first"));
            client
        };
        let mut client = first("/short").await;
        let reply = further(&mut client, "POST", "/any", "", "body").await;
        assert!(reply.text().ends_with("body"), "{}", reply.text());
        let reply = further(&mut client, "POST", "/any", "", "longer").await;
        assert_eq!(reply.status, 413, "{}", reply.text());
        let mut client = first("/short").await;
        client
            .request("POST", "/any", "transfer-encoding: chunked\r\n")
            .await;
        client.send("3\r\nlon\r\n3\r\nger\r\n0\r\n\r\n").await;
        assert_eq!(client.reply().await.status, 413);

        let mut client = first("/rare").await;
        assert_eq!(client.get("/any").await.status, 200);
        let reply = client.get("/any").await;
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (429, Some("30"))
        );
        assert_eq!(reply.text(), "429 Too Many Requests: too many requests\n");

        let mut client = first("/quick").await;
        assert_eq!(client.get("/any").await.status, 200);
        assert_eq!(client.get("/wait").await.status, 503);
        // The connection of a handler that was dropped is the server's again.
        let reply = client.get(&format!("/quick{handler}")).await;
        assert!(reply.text().ends_with("first"), "{}", reply.text());
    }
}

/// Each request has the whole time, however long the connection lasts.
#[tokio::test(start_paused = true)]
async fn the_time_limit_begins_anew_with_each_request() {
    const LIMIT: Duration = Duration::from_secs(10);
    async fn slow(stream: &mut Stream, ctx: &mut Context) -> Status {
        loop {
            let time = match ctx.get_request().path() {
                "/forever" => LIMIT * 2,
                _ => LIMIT * 3 / 4,
            };
            tokio::time::sleep(time).await;
            stream.send(answer("done")).await;
            // With the next request in the buffer, this answer and that request fall into one poll.
            if ctx.next_request(stream).await.is_err() {
                return Status::Continue;
            }
        }
    }
    let mut server = Server::new();
    server.at("/slow").with(Timeout::new(LIMIT)).get(slow);
    let kit = TestServer::start(&server).unwrap();
    let (mut client, pipe) = tokio::io::duplex(4096);
    let control = kit.control().clone();
    control.serve(pipe, None).await;
    let requests = ["/slow", "/slow", "/slow", "/forever"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    client
        .write_all(requests.concat().as_bytes())
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    let statuses: Vec<&str> = all
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|reply| &reply[..3])
        .collect();
    assert_eq!(statuses, ["200", "200", "200", "503"], "{all}");
}

#[tokio::test]
async fn a_malformed_request_is_not_answered_by_an_earlier_response() {
    let control = start(|server| {
        server.scope("", |scope| both(scope, |at| at));
    })
    .await;
    for handler in BOTH {
        for (request, status) in [
            ("GET / HTTP/1.1\r\nhost: a\r\nbad field\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x\r\n\r\n",
                501,
            ),
            ("GET /%00 HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        ] {
            let mut client = Client::connect(address(&control)).await;
            client.get(handler).await;
            client.send(request).await;
            let reply = client.reply().await;
            assert_eq!(reply.status, status, "{handler} {request}");
            assert_ne!(reply.text(), "stale");
            assert!(client.ends().await);
        }
    }
}

hook! {
    Shouts |_, ctx| {
        ctx.get_mut_response().set_header("x-shouts", "yes");
    }
    OnError |_, ctx| {
        let error = ctx.get_request_error_data().unwrap();
        let path = ctx.get_request().get_path().to_owned();
        ctx.get_mut_response().set_body(format!("{path}: {}", error.status()));
    }
    // Answers a refused request itself.
    Answers |stream, _| {
        stream.send(answer("first")).await;
        let error = stream.try_get_http_request().await.unwrap_err();
        stream.send(answer(&format!("mine: {}", error.status()))).await;
    }
}

#[tokio::test]
async fn hooks_see_the_refused_request() {
    let control = start(|server| {
        server.scope("", |scope| {
            scope.response_middleware::<Shouts>();
            scope.request_error::<OnError>();
            both(scope, |at| at);
        });
    })
    .await;
    for handler in BOTH {
        let mut client = Client::connect(address(&control)).await;
        client.get(handler).await;
        let reply = further(&mut client, "POST", "/forged", FORGED, "").await;
        assert_eq!((reply.status, reply.text()), (403, "/forged: 403"));
        assert_eq!(reply.header("x-shouts"), Some("yes"));
    }
}

#[tokio::test]
async fn a_handler_may_answer_a_refused_request_itself() {
    let control = start(|server| {
        server.route::<Answers>("/");
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    assert_eq!(client.get("/").await.text(), "first");
    let reply = further(&mut client, "POST", "/forged", FORGED, "").await;
    assert_eq!(reply.text(), "mine: 403");
    assert!(client.ends().await);
}
