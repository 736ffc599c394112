//! Tests of the chat's handlers, in memory.

use hyperlane::test::{TestClient, TestServer, assert_closed, assert_push, refute_push};

use super::*;

#[hyperlane(server: Server)]
async fn start() -> TestClient {
    server.state(Chat::default());
    TestServer::start(&server)
        .expect("the server starts")
        .client()
}

/// Returns whether a message of the given type contains a text.
fn is(message: &Message, kind: &str, part: &str) -> bool {
    let text = message.to_str().unwrap_or_default();
    text.starts_with(&format!("{{\"type\":\"{kind}\"")) && text.contains(part)
}

#[tokio::test(start_paused = true)]
async fn members_and_readers_of_a_room_see_each_other() {
    let client = start().await;
    assert!(client.get("/lobby").await.text().contains("<html"));
    let mut ada = client.socket("/api/rooms/lobby/socket?name=Ada").await;
    assert_push!(ada, m if is(m, "welcome", "Ada"));
    let mut bob = client.socket("/api/rooms/lobby/socket?name=Bob").await;
    let mut reader = client.events("/api/rooms/lobby/events").await;
    assert_push!(ada, m if is(m, "joined", "Bob"));
    bob.send(r#"{"type":"message","text":"hi"}"#).await;
    assert_push!(ada, m if is(m, "message", "\"text\":\"hi\""));
    assert_push!(reader, event if event.data.contains("\"text\":\"hi\""));
    bob.send(r#"{"type":"rename","name":"Rob"}"#).await;
    assert_push!(ada, m if is(m, "renamed", "Rob"));
    bob.close(1000, "").await.expect("a close frame");
    assert_push!(ada, m if is(m, "left", "Rob"));
    refute_push!(ada, m if is(m, "error", ""));
    ada.send("what?").await;
    assert_push!(ada, m if is(m, "error", "expected"));
}

#[tokio::test]
async fn a_member_needs_a_name() {
    let mut socket = start()
        .await
        .socket("/api/rooms/lobby/socket?name=%20")
        .await;
    assert_closed!(socket, CloseCode::POLICY_VIOLATION);
}
