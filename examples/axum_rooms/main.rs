//! A chat in an axum application: rooms without a hyperlane server.
//!
//! ```text
//! cargo run --example axum_rooms [-- 127.0.0.1:8080]
//! ```
//!
//! Each WebSocket at `ws://127.0.0.1:8080/chat/<room>` is a member of a room. Its sending half is the sink that gets the
//! messages of the room.

use std::error::Error;

use axum::{
    Router,
    extract::{
        Path, State,
        ws::{self, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing,
};
use futures_util::StreamExt;
use hyperlane::{Message, broadcast::Join, broadcast::Rooms};
use tokio::{net::TcpListener, runtime::Handle};

/// Returns the application.
pub fn app(rooms: Rooms) -> Router {
    Router::new()
        .route("/chat/{room}", routing::get(chat))
        .with_state(rooms)
}

async fn chat(
    Path(room): Path<String>,
    State(rooms): State<Rooms>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(async move |socket| {
        if let Err(error) = talk(&rooms, &room, socket).await {
            tracing::warn!(%error, "chat ended");
        }
    })
}

async fn talk(rooms: &Rooms, room: &str, socket: WebSocket) -> Result<(), Box<dyn Error>> {
    let room = rooms.room(room)?;
    let (sender, mut receiver) = socket.split();
    let member = rooms.sink(sender, to_axum);
    let join = Join::new().history(20).farewell("a member has left");
    room.join_with(&member, join).await?;
    while let Some(Ok(message)) = receiver.next().await {
        if let ws::Message::Text(text) = message {
            room.broadcast(text.as_str()).await?;
        }
    }
    // The member leaves the room as it is dropped.
    Ok(())
}

/// Turns a message of a room into a message of axum.
fn to_axum(message: Message) -> Option<ws::Message> {
    match message {
        Message::Text(text) => Some(ws::Message::text(text.as_str())),
        Message::Binary(bytes) => Some(ws::Message::Binary(bytes)),
        // The last message. For a member that has read too slowly, the code is 1013.
        Message::Close(frame) => Some(ws::Message::Close(frame.map(|frame| ws::CloseFrame {
            code: frame.code.into(),
            reason: frame.reason.as_str().into(),
        }))),
        Message::Ping(_) | Message::Pong(_) => None,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_target(false).init();
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    let listener = TcpListener::bind(address).await?;
    println!("chat: ws://{}/chat/lobby", listener.local_addr()?);
    let rooms = Rooms::on(Handle::current());
    axum::serve(listener, app(rooms)).await?;
    Ok(())
}
