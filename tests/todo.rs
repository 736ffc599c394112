//! The example `todo`: its routes, and what its scope, its errors and its token do. The server runs in memory.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../examples/todo/main.rs"]
#[allow(dead_code, reason = "its `main` is not ours")]
mod todo;

use hyperlane::{prelude::*, test::*};

/// Requests in their order, with token and body; status and begin of the body of each response.
const STEPS: &str = r#"GET /todos|||200|[]
POST /todos|secret|{"title": "milk"}|201|{"id":1,"title":"milk","done":false}
GET /todos/1|||200|{"id":1,"title":"milk","done":false}
PUT /todos/1|secret|{"title": "milk", "done": true}|200|{"id":1,"title":"milk","done":true}
GET /todos|||200|[{"id":1,"title":"milk","done":true}]
DELETE /todos/1|secret||204|
GET /todos|||200|[]
GET /todos/1|secret||404|{"error":"Not Found
GET /nowhere|secret||404|{"error":"Not Found
PATCH /todos|secret||405|{"error":"Method Not Allowed
DELETE /todos/1|secret||404|{"error":"Not Found
POST /todos|secret|{"title": " "}|422|{"error":"`title` is empty
POST /todos|secret|{"title": 1}|400|{"error":"invalid JSON body
POST /todos||{"title": "milk"}|401|{"error":"a token is missing
PUT /todos/1|no|{"title": "milk"}|401|{"error":"a token is missing
GET /todos/x|||400|{"error":"invalid path"#;

#[tokio::test]
#[hyperlane(server: Server)]
async fn todos_are_kept_and_errors_are_json() {
    todo::configure(&mut server, "secret".to_owned());
    let client = TestServer::start(&server).unwrap().client();
    for step in STEPS.lines() {
        let mut parts = step.split('|');
        let [line, token, body, status, text] = std::array::from_fn(|_| parts.next().unwrap());
        let (method, path) = line.split_once(' ').unwrap();
        let request = client
            .request(method, path)
            .header("authorization", &format!("Bearer {token}"))
            .header("content-type", "application/json");
        let response = request.body(body).await;
        assert_eq!(response.status().to_string(), status, "{step}");
        assert!(response.text().starts_with(text), "{step}: {response:?}");
        let has_status = response.text().contains(&format!("\"status\":{status}"));
        assert_eq!(has_status, text.contains("error"), "{step}");
    }
}
