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

/// Matches a text message that contains all parts.
fn has(message: &Message, parts: &[&str]) -> bool {
    message
        .to_str()
        .is_ok_and(|text| parts.iter().all(|part| text.contains(part)))
}

#[tokio::test(start_paused = true)]
async fn members_and_readers_of_a_room_see_each_other() {
    let client = start().await;
    assert!(client.get("/lobby").await.text().contains("<html"));
    let mut ada = client.socket("/api/rooms/lobby/socket?name=Ada").await;
    assert_push!(ada, welcome if has(welcome, &["welcome", "\"name\":\"Ada\""]));
    let mut bob = client.socket("/api/rooms/lobby/socket?name=Bob").await;
    let mut reader = client.events("/api/rooms/lobby/events").await;
    assert_push!(ada, joined if has(joined, &["joined", "Bob"]));
    bob.send(r#"{"type":"message","text":"hi"}"#).await;
    assert_push!(ada, said if has(said, &["message", "\"text\":\"hi\"", "Bob"]));
    assert_push!(reader, event if event.data.contains("\"text\":\"hi\""));
    bob.send(r#"{"type":"rename","name":"Rob"}"#).await;
    assert_push!(ada, renamed if has(renamed, &["renamed", "Rob"]));
    bob.close(1000, "").await.expect("a close frame");
    assert_push!(ada, left if has(left, &["left", "Rob"]));
    refute_push!(ada, error if has(error, &["error"]));
    ada.send("what?").await;
    assert_push!(ada, error if has(error, &["error", "expected"]));
}

#[tokio::test]
async fn a_member_needs_a_name() {
    let mut socket = start()
        .await
        .socket("/api/rooms/lobby/socket?name=%20")
        .await;
    assert_closed!(socket, CloseCode::POLICY_VIOLATION);
}
