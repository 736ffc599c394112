//! WebSockets and event streams by their handles.
#![deny(warnings)]

use hyperlane::*;

#[get("/chat/{name}")]
#[route_param("name" => name)]
#[websocket(mut socket,)]
#[response_header("x-name" => &name)]
async fn chat() {
    socket = socket.clone();
    while let Ok(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

#[route("/ticks")]
#[sse(events)]
async fn ticks() -> Result<(), RequestError> {
    let _ = events.send("tick").await;
    Ok(())
}

#[post("/answers")]
#[request_body(question)]
#[prologue_macros(response_header("x-a" => "b"), sse(events))]
async fn answers(_: &mut Context) {
    let _ = events.send(String::from_utf8_lossy(&question).into_owned()).await;
}

#[request_middleware]
struct Takeover;

impl ServerHook for Takeover {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[closed]
    #[websocket(_socket)]
    #[is_ws_upgrade_type]
    #[host("ws.example")]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Reject
    }
}

#[websocket(socket)]
#[try_get_websocket_request(message)]
pub async fn helper(_: &mut Stream, _: &mut Context) {
    let _ = socket.send(message.to_vec()).await;
}

fn main() {}
