//! Functions and closures that a program registers at run time.

use std::sync::Arc;

use hyperlane::{prelude::*, ws};
use test_support::{BindLocal as _, Client, Memory, address, memory, start};

async fn nothing() -> &'static str {
    "nothing"
}

async fn path(Path((name, id)): Path<(String, u32)>) -> String {
    format!("{name} {id}")
}

async fn context(ctx: &mut Context) -> String {
    ctx.get_request().get_path().to_owned()
}

async fn context_and_body(ctx: &mut Context, body: String) -> Result<String, Error> {
    if body.is_empty() {
        return Err(Error::new(422, "say something"));
    }
    Ok(format!("{} {body}", ctx.get_request().get_method()))
}

async fn raw(stream: &mut Stream, ctx: &mut Context, Path(id): Path<u32>) -> Status {
    let text = format!("sent {id} to {}", stream.peer_addr().is_some());
    ctx.get_mut_response().set_body(text);
    Status::Continue
}

async fn raw_only(stream: &mut Stream, _: &mut Context) -> Status {
    let text = format!("{}", stream.peer_addr().is_some());
    stream
        .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
        .await;
    stream.send(text).await;
    Status::Continue
}

async fn wrap(ctx: &mut Context, next: Next<'_>) -> Status {
    ctx.get_mut_response().set_header("wrapped", "yes");
    next.run(ctx).await
}

async fn client(configure: impl FnOnce(&mut Server)) -> Memory {
    memory(configure)
}

#[tokio::test]
async fn functions_take_what_attributes_take() {
    let mut client = client(|server| {
        server.at("/nothing").get(nothing);
        server.at("/path/{name}/{id}").get(path);
        server.at("/context").get(context);
        server.at("/body").post(context_and_body);
        server.at("/raw/{id}").get(raw);
        server.at("/raw").get(raw_only);
    })
    .await;
    assert_eq!(client.get("/nothing").await.text(), "nothing");
    assert_eq!(client.get("/path/a/7").await.text(), "a 7");
    assert_eq!(client.get("/path/a/b").await.status, 400);
    assert_eq!(client.get("/context").await.text(), "/context");
    assert_eq!(client.post("/body", "hello").await.text(), "POST hello");
    let reply = client.post("/body", "").await;
    assert_eq!(
        (reply.status, reply.text()),
        (422, "422 Unprocessable Content: say something\n")
    );
    assert_eq!(client.get("/raw/3").await.text(), "sent 3 to true");
    assert_eq!(client.get("/raw").await.text(), "true");
}

#[tokio::test]
async fn closures_are_handlers_too() {
    let shared = Arc::new("shared".to_owned());
    let mut client = client(|server| {
        server.state(5_u32);
        server.at("/none").get(async || "none");
        server
            .at("/add/{a}/{b}")
            .get(async |Path((a, b)): Path<(u32, u32)>, State(c): State<u32>| Json(a + b + *c));
        server.at("/context").get(async |ctx: &mut Context| {
            ctx.get_mut_response().set_status_code(202);
            "context"
        });
        server.at("/shared").get(move || {
            let shared = shared.clone();
            async move { shared.to_string() }
        });
    })
    .await;
    assert_eq!(client.get("/none").await.text(), "none");
    assert_eq!(client.get("/add/1/2").await.text(), "8");
    let reply = client.get("/context").await;
    assert_eq!((reply.status, reply.text()), (202, "context"));
    assert_eq!(client.get("/shared").await.text(), "shared");
}

#[tokio::test]
async fn every_method_has_its_handler() {
    let mut client = client(|server| {
        server.at("/x").get(async || "get");
        server.at("/x").post(async || "post");
        server.at("/x").put(async || "put");
        server.at("/x").delete(async || "delete");
        server.at("/x").patch(async || "patch");
        server.at("/x").options(async || "options");
        server.at("/head").head(async || HttpStatus::NoContent);
        server
            .at("/any")
            .any(async |method: Method| method.to_string());
    })
    .await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        client.request(method, "/x", "content-length: 0\r\n").await;
        assert_eq!(client.reply().await.text(), method.to_lowercase());
        client
            .request(method, "/any", "content-length: 0\r\n")
            .await;
        assert_eq!(client.reply().await.text(), method);
    }
    client.request("HEAD", "/head", "").await;
    assert_eq!(client.reply_to(true).await.status, 204);
    let reply = client.get("/head").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("HEAD")));
}

#[tokio::test]
async fn paths_have_middleware_limits_and_scopes() {
    let control = start(|server| {
        server
            .at("/small")
            .with(wrap)
            .max_body(4)
            .post(async |body: String| body);
        server.scope("/api", |api| {
            api.max_body(2).at("/users").get(async || "users");
            api.at("/users").post(async |body: String| body);
            api.scope("/v2", |v2| {
                v2.with(wrap)
                    .at("/")
                    .get(async || "v2")
                    .at("/users")
                    .get(async || "users 2");
            });
        });
        server.at("/ws").with(wrap).get(ws());
    })
    .await;
    let connect = || Client::connect(address(&control));
    let mut client = connect().await;
    let reply = client.post("/small", "1234").await;
    assert_eq!(
        (reply.text(), reply.header("wrapped")),
        ("1234", Some("yes"))
    );
    // A refused body ends its connection.
    assert_eq!(connect().await.post("/small", "12345").await.status, 413);
    assert_eq!(client.get("/api/users").await.text(), "users");
    assert_eq!(connect().await.post("/api/users", "123").await.status, 413);
    assert_eq!(client.get("/api/v2").await.text(), "v2");
    let reply = client.get("/api/v2/users").await;
    assert_eq!(
        (reply.text(), reply.header("wrapped")),
        ("users 2", Some("yes"))
    );
    let reply = client.upgrade("/ws", "").await;
    assert_eq!((reply.status, reply.header("wrapped")), (101, Some("yes")));
}

#[tokio::test]
async fn a_handler_that_could_never_answer_stops_the_start() {
    let mut server = Server::new();
    server.bind_local();
    server.at("/{id}").get(async |_: Path<(u32, u32)>| "never");
    let error = server.run().await.map(drop).unwrap_err().to_string();
    assert!(error.contains("Path<(u32, u32)>"), "{error}");
    let mut server = Server::new();
    server.bind_local();
    server.at("/").get(async |_: State<u8>| "never");
    let error = server.run().await.map(drop).unwrap_err().to_string();
    assert!(error.contains("State<u8>"), "{error}");
}

#[test]
fn lists_show_names_of_functions() {
    let mut server = Server::new();
    server.at("/a").with(wrap).get(nothing);
    let routes = server.routes().unwrap();
    let hooks: Vec<_> = routes.iter().flat_map(|route| &route.hooks).collect();
    assert_eq!(hooks, [&"wrap", &"nothing"]);
}

/// Refuses every request.
struct Deny;

impl ServerHook for Deny {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Reject
    }
}

#[tokio::test]
async fn a_preflight_does_not_carry_a_request_past_middleware() {
    let mut client = client(|server| {
        server
            .cors(Cors::new().origins(&["https://app.example"]))
            .request_middleware::<Deny>();
        server.at("/own").options(async || "the handler");
        server.at("/plain").get(async || "the handler");
    })
    .await;
    let preflight = "origin: https://app.example\r\naccess-control-request-method: GET\r\n";
    client.request("OPTIONS", "/own", preflight).await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    // The server's own answer to a preflight runs no handler, so middleware cannot refuse it.
    client.request("OPTIONS", "/plain", preflight).await;
    assert_eq!(client.reply().await.status, 204);
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn a_fallback_is_in_the_scope_of_its_path() {
    let service = tower::service_fn(|_: http::Request<BodyStream>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new("the fallback".to_owned()))
    });
    let mut client = client(|server| {
        server.fallback_service(service).scope("/api", |api| {
            api.with(wrap);
        });
    })
    .await;
    for (path, wrapped) in [
        ("/api/x", Some("yes")),
        ("/api/", Some("yes")),
        ("/x", None),
    ] {
        let reply = client.get(path).await;
        assert_eq!(
            (reply.text(), reply.header("wrapped")),
            ("the fallback", wrapped),
            "{path}"
        );
    }
}
