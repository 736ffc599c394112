//! The example `todo`: its routes, and what its scope, its errors and its token do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

#[path = "../examples/todo/main.rs"]
#[allow(dead_code, reason = "its `main` is not ours")]
mod todo;

use hyperlane::serde_json::{self, Value, json};
use test_support::{Client, Reply, address, start};

const TOKEN: &str = "authorization: Bearer secret\r\n";

async fn client() -> Client {
    let control = start(|server| {
        server.__register_all();
        todo::configure(server, "secret".to_owned());
    })
    .await;
    Client::connect(address(&control)).await
}

async fn send(client: &mut Client, method: &str, path: &str, fields: &str, body: &Value) -> Reply {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(head).await;
    client.reply().await
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_str(reply.text()).expect("JSON")
}

#[tokio::test]
async fn todos_are_created_changed_and_removed() {
    let mut client = client().await;
    assert_eq!(json_of(&client.get("/todos").await), json!([]));
    let reply = send(
        &mut client,
        "POST",
        "/todos",
        TOKEN,
        &json!({"title": "milk"}),
    )
    .await;
    let milk = json!({"id": 1, "title": "milk", "done": false});
    assert_eq!((reply.status, json_of(&reply)), (201, milk.clone()));
    assert_eq!(json_of(&client.get("/todos/1").await), milk);
    let done = json!({"title": "milk", "done": true});
    let reply = send(&mut client, "PUT", "/todos/1", TOKEN, &done).await;
    assert_eq!(json_of(&reply)["done"], true);
    assert_eq!(json_of(&client.get("/todos").await)[0]["done"], true);
    let reply = send(&mut client, "DELETE", "/todos/1", TOKEN, &Value::Null).await;
    assert_eq!(reply.status, 204);
    assert_eq!(json_of(&client.get("/todos").await), json!([]));
}

#[tokio::test]
async fn every_error_is_json() {
    let mut client = client().await;
    let cases = [
        ("GET", "/todos/1", TOKEN, Value::Null, 404, "Not Found"),
        ("GET", "/nowhere", TOKEN, Value::Null, 404, "Not Found"),
        (
            "PATCH",
            "/todos",
            TOKEN,
            Value::Null,
            405,
            "Method Not Allowed",
        ),
        ("DELETE", "/todos/1", TOKEN, Value::Null, 404, "Not Found"),
        (
            "POST",
            "/todos",
            TOKEN,
            json!({"title": " "}),
            422,
            "`title` is empty",
        ),
        (
            "POST",
            "/todos",
            TOKEN,
            json!({"title": 1}),
            400,
            "invalid JSON body",
        ),
        (
            "POST",
            "/todos",
            "",
            json!({"title": "milk"}),
            401,
            "a token is missing",
        ),
        (
            "PUT",
            "/todos/1",
            "authorization: Bearer no\r\n",
            json!({"title": "milk"}),
            401,
            "a token is missing",
        ),
        ("GET", "/todos/x", "", Value::Null, 400, "invalid path"),
    ];
    for (method, path, fields, body, status, text) in cases {
        let reply = send(&mut client, method, path, fields, &body).await;
        let error = json_of(&reply);
        assert_eq!(reply.status, status, "{method} {path}");
        assert_eq!(error["status"], status, "{method} {path}");
        assert!(
            error["error"].as_str().unwrap().starts_with(text),
            "{method} {path}: {error}"
        );
    }
}
