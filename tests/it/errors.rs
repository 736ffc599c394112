//! How errors are rendered: by default, and by a function of the program.

use std::sync::atomic::{AtomicUsize, Ordering};

use hyperlane::{
    prelude::*,
    serde_json::{self, Value},
};
use test_support::{Client, Memory, Reply, address, memory, start};

async fn client(configure: impl FnOnce(&mut Server)) -> Memory {
    memory(configure)
}

/// Requests with an error each, with the text that the client may read.
const ERRORS: [(&str, &str, u16, &str); 9] = [
    ("GET", "/nowhere", 404, ""),
    ("PUT", "/number/7", 405, ""),
    (
        "GET",
        "/number/x",
        400,
        "invalid path: `id`: \"x\" is no u32: invalid digit found in string",
    ),
    ("GET", "/error", 409, "twice"),
    ("GET", "/internal", 500, ""),
    ("GET", "/panic", 500, ""),
    ("GET", "/rejected", 403, ""),
    ("GET", "/none", 404, ""),
    (
        "GET",
        "/socket",
        426,
        "the Upgrade header does not list websocket",
    ),
];

fn failing(server: &mut Server) {
    server
        .at("/number/{id}")
        .get(async |Path(id): Path<u32>| id.to_string());
    server
        .at("/error")
        .get(async || Err::<(), _>(Error::new(409, "twice")));
    server
        .at("/internal")
        .get(async || Err::<(), _>(Error::internal("the secret cause")));
    server
        .at("/panic")
        .get(async |ctx: &mut Context| -> Status {
            assert!(ctx.get_request().get_path().is_empty(), "the secret cause");
            Status::Continue
        });
    server.at("/rejected").get(async || Status::Reject);
    server.at("/none").get(async || None::<&'static str>);
    server.at("/bare").get(async || HttpStatus::Gone);
    server
        .at("/own")
        .get(async || (HttpStatus::Gone, "my own text"));
    server.at("/socket").get(upgrading);
}

async fn upgrading(stream: &mut Stream, ctx: &mut Context) -> Result<Status, Error> {
    ctx.upgrade(stream).await?;
    Ok(Status::Continue)
}

async fn ask(client: &mut Memory, method: &str, path: &str, fields: &str) -> Reply {
    client
        .request(method, path, &format!("content-length: 0\r\n{fields}"))
        .await;
    client.reply().await
}

fn title(status: u16) -> String {
    HttpStatus::from(usize::from(status)).to_string()
}

#[tokio::test]
async fn the_default_is_text() {
    let mut client = client(failing).await;
    for (method, path, status, text) in ERRORS {
        let reply = ask(&mut client, method, path, "").await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(
            reply.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{path}"
        );
        assert!(reply.all("vary").contains(&"Accept"), "{path}");
        let body = reply.text();
        assert!(body.starts_with(&status.to_string()), "{path}: {body}");
        assert!(body.trim_end().ends_with(text), "{path}: {body}");
        assert!(!body.contains("secret"), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_client_that_prefers_json_gets_a_problem() {
    let mut client = client(failing).await;
    for (method, path, status, text) in ERRORS {
        let reply = ask(&mut client, method, path, "accept: application/json\r\n").await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json"),
            "{path}"
        );
        assert!(reply.all("vary").contains(&"Accept"), "{path}");
        let problem: Value = serde_json::from_str(reply.text()).unwrap();
        assert_eq!(problem["status"], status, "{path}");
        assert_eq!(problem["title"], title(status), "{path}");
        match text {
            "" => assert_eq!(problem.get("detail"), None, "{path}"),
            text => assert_eq!(problem["detail"], text, "{path}"),
        }
    }
    let reply = ask(
        &mut client,
        "PUT",
        "/number/7",
        "accept: application/json\r\n",
    )
    .await;
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn what_a_handler_has_written_stays() {
    let mut client = client(failing).await;
    for accept in ["", "accept: application/json\r\n"] {
        let reply = ask(&mut client, "GET", "/own", accept).await;
        assert_eq!((reply.status, reply.text()), (410, "my own text"));
        let reply = ask(&mut client, "GET", "/bare", accept).await;
        assert_eq!((reply.status, reply.text()), (410, ""));
    }
}

fn json(error: &ErrorInfo, ctx: &mut Context) -> Json<Value> {
    let path = ctx.get_request().get_path();
    let kind = match (&error.request_error, &error.panic) {
        (Some(_), _) => "request",
        (_, Some(_)) => "panic",
        _ => "status",
    };
    Json(serde_json::json!({"code": error.status, "text": error.text, "path": path, "kind": kind}))
}

#[tokio::test]
async fn a_function_renders_every_error_that_no_hook_has_written() {
    let mut client = client(|server| {
        server.errors(json);
        failing(server);
    })
    .await;
    for (method, path, status, text) in ERRORS {
        let reply = ask(&mut client, method, path, "").await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{path}"
        );
        let body: Value = serde_json::from_str(reply.text()).unwrap();
        assert_eq!(body["code"], status, "{path}");
        assert_eq!(body["text"], text, "{path}");
        assert_eq!(body["path"], path, "{path}");
        let kind = match path {
            "/panic" => "panic",
            "/number/x" | "/error" | "/internal" | "/socket" => "request",
            _ => "status",
        };
        let is_kind = body["kind"] == kind || (kind == "request" && body["kind"] == "status");
        assert!(is_kind, "{path}: {body}");
    }
    let reply = ask(&mut client, "GET", "/bare", "").await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (410, Some("application/json"))
    );
    let reply = ask(&mut client, "GET", "/own", "").await;
    assert_eq!((reply.status, reply.text()), (410, "my own text"));
}

#[tokio::test]
async fn a_function_renders_the_error_of_a_head_that_cannot_be_read() {
    let control = start(|server| {
        server.errors(json);
    })
    .await;
    let mut client = Client::connect(address(&control)).await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nbroken\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (400, Some("application/json"))
    );
}

#[tokio::test]
async fn scopes_render_their_own_errors() {
    let mut client = client(|server| {
        server.errors(json).scope("/pages", |pages| {
            pages.errors(|error: &ErrorInfo, _: &mut Context| Html(format!("<h1>{error}</h1>")));
            pages
                .at("/own")
                .get(async || (HttpStatus::Gone, "my own text"));
        });
        server.scope("/broken", |broken| {
            broken.errors(|error: &ErrorInfo, _: &mut Context| -> &'static str {
                panic!("{error} in the renderer")
            });
        });
        server.scope("/moved", |moved| {
            moved.errors(|_: &ErrorInfo, _: &mut Context| Redirect::to("/pages/own"));
        });
    })
    .await;
    let reply = ask(&mut client, "GET", "/pages/nowhere", "").await;
    assert_eq!(
        (reply.status, reply.text()),
        (404, "<h1>404 Not Found</h1>")
    );
    assert_eq!(
        reply.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let reply = ask(&mut client, "POST", "/pages/own", "").await;
    assert_eq!(
        (reply.status, reply.text()),
        (405, "<h1>405 Method Not Allowed</h1>")
    );
    let reply = ask(&mut client, "GET", "/nowhere", "").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let reply = ask(&mut client, "GET", "/broken/nowhere", "").await;
    assert_eq!(
        (reply.status, reply.text()),
        (500, "500 Internal Server Error\n")
    );
    let reply = ask(&mut client, "GET", "/moved/nowhere", "").await;
    assert_eq!(reply.header("location"), Some("/pages/own"));
}

#[tokio::test]
async fn an_error_is_rendered_once_even_if_the_renderer_returns_an_error() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);

    fn failing(error: &ErrorInfo, _: &mut Context) -> Result<(), Error> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(usize::from(error.status), "no page for this"))
    }

    let mut client = client(|server| {
        server.errors(failing);
    })
    .await;
    let reply = client.get("/nowhere").await;
    assert_eq!(reply.status, 404);
    assert!(
        reply.text().contains("no page for this"),
        "{}",
        reply.text()
    );
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
}
