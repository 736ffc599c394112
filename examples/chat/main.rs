//! A chat. Each URL path is a room. Members send and receive messages over WebSockets, and readers receive them over
//! event streams.
//!
//! ```text
//! cargo run --example chat
//! ```
//!
//! The environment variable `CHAT_ADDR` sets the address. Default: `127.0.0.1:8080`. With port 0, the system chooses a
//! free port.

mod protocol;
mod rooms;
#[cfg(test)]
mod tests;

use hyperlane::prelude::*;

use crate::{
    protocol::{FromClient, Name, ToClient},
    rooms::Chat,
};

#[get("/")]
async fn lobby() -> impl IntoResponse {
    page()
}

#[get("/{room}")]
async fn room_page() -> impl IntoResponse {
    page()
}

fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}

/// Serves a member over a WebSocket. The server sends each of the member's messages to the whole room.
#[get("/api/rooms/{room}/socket")]
#[is_ws_upgrade_type]
#[route_param("room" => room)]
#[request_query("name" => name)]
async fn talk(stream: &mut Stream, ctx: &mut Context) -> Status {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let Ok(name) = Name::new(&name) else {
        let _ = socket.close(CloseCode::POLICY_VIOLATION, "a name has 1 to 32 characters");
        return Status::Continue;
    };
    let Ok(room) = ctx.room(&room) else {
        let _ = socket.close(CloseCode::POLICY_VIOLATION, "a room cannot have this name");
        return Status::Continue;
    };
    let chat = ctx.state::<Chat>();
    let Ok(mut member) = chat.join(&room, &socket, name).await else {
        return Status::Continue;
    };
    while let Ok(message) = socket.recv().await {
        let answer = match FromClient::read(&message) {
            Ok(FromClient::Message { text }) => {
                chat.say(&room, &member, text).await;
                continue;
            }
            Ok(FromClient::Rename { name }) => {
                match chat.rename(&room, &socket, &mut member, name).await {
                    Ok(()) => continue,
                    Err(error) => ToClient::error(error),
                }
            }
            Err(error) => ToClient::error(error),
        };
        if socket.send_json(&answer).await.is_err() {
            break;
        }
    }
    // This call removes the member from the room. The room then sends the farewell to the other members.
    chat.forget_if_empty(&room, &socket).await;
    Status::Continue
}

/// Serves a reader: sends the room's messages as an event stream, for `EventSource` and `curl -N`.
#[get("/api/rooms/{room}/events")]
#[route_param("room" => room)]
async fn follow(stream: &mut Stream, ctx: &mut Context) -> Status {
    let Ok(room) = ctx.room(&room) else {
        return Status::Reject;
    };
    let chat = ctx.state::<Chat>();
    let Ok(events) = ctx.event_stream(stream).await else {
        return Status::Reject;
    };
    if chat.follow(&room, &events).await.is_ok() {
        events.closed().await;
    }
    chat.forget_if_empty(&room, &events).await;
    Status::Continue
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    if std::env::args().any(|argument| argument == "--routes") {
        return server.print_routes();
    }
    tracing_subscriber::fmt().with_target(false).init();
    let address = std::env::var("CHAT_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let control = server.bind(address).state(Chat::default()).run().await?;
    if let Some(address) = control.local_addr() {
        println!("chat: http://{address}/lobby");
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        control.shutdown().await;
    }
    Ok(())
}
