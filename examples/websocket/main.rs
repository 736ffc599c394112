//! Two WebSockets. The first uses attribute macros and the raw stream, the second uses a handle.
//!
//! ```text
//! cargo run --example websocket [-- 127.0.0.1:8080]
//! curl -i http://127.0.0.1:8080/ws_upgrade_type      # 426: only for WebSockets
//! ```
//!
//! Run this code in a browser's console, on any page of `http://127.0.0.1:8080`, even a 404. The server refuses
//! WebSockets from pages of other origins.
//!
//! ```text
//! const ws = new WebSocket('ws://127.0.0.1:8080/ws_upgrade_type');
//! ws.onmessage = (event) => console.log('Received:', event.data);
//! ws.onopen = () => ws.send('Hello Server!');
//! ```

use hyperlane::prelude::*;

#[route("/ws_upgrade_type")]
struct Websocket;

impl ServerHook for Websocket {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[is_ws_upgrade_type]
    #[try_get_websocket_request(body)]
    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        let body_list: Vec<ResponseBody> = WebSocketFrame::create_frame_list(&body);
        stream.send_list(body_list).await;
        Status::Continue
    }
}

/// Counts the messages until the client disconnects. The handle can be cloned and sent to other tasks.
#[get("/count")]
#[is_ws_upgrade_type]
async fn count(stream: &mut Stream, ctx: &mut Context) -> Result<(), RequestError> {
    let socket = ctx.upgrade(stream).await?;
    let mut count = 0;
    while let Ok(message) = socket.recv().await {
        count += 1;
        if socket.send(format!("{count}: {message}")).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let address = std::env::args().nth(1);
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
