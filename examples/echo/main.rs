//! A server that echoes every WebSocket message. Protocol test suites connect to it.
//!
//! ```text
//! cargo run --release --example echo [-- 127.0.0.1:9001]
//! ```
//!
//! The server prints its address. With port 0, the system chooses a free port.

use hyperlane::{prelude::*, server::DeflateConfig};

/// Size of the largest message in the test suites, in bytes.
const LONGEST: usize = 20 * 1024 * 1024;

#[get("/")]
#[is_ws_upgrade_type]
async fn echo(stream: &mut Stream, ctx: &mut Context) -> Result<(), RequestError> {
    let socket = ctx.upgrade(stream).await?;
    while let Ok(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let address = std::env::args().nth(1);
    let config = server.get_mut_server_config();
    config.max_frame = LONGEST;
    config.max_message = LONGEST;
    config.deflate = Some(
        DeflateConfig::default()
            .min_size(0)
            .server_context_takeover(true)
            .client_context_takeover(true),
    );
    // A test suite checks each frame that it receives. The server therefore sends no pings of its own.
    config.ping_interval = None;
    server.bind(address.as_deref().unwrap_or("127.0.0.1:9001"));
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
