//! Compressed WebSocket messages. The server enables compression by one setting. The browser needs no code.
//!
//! ```text
//! cargo run --example compression [-- 127.0.0.1:8080 [takeover]]
//! ```
//!
//! A program outside this repository enables the feature `deflate`: `cargo add hyperlane --features deflate`.
//!
//! With the argument `takeover`, both sides keep the compression window across the messages of a connection (context
//! takeover, RFC 7692 §7.1.1). Small, similar messages become smaller. Each connection needs memory for the window.

use hyperlane::{prelude::*, server::DeflateConfig};

#[get("/")]
async fn page() -> impl IntoResponse {
    Html(include_str!("page.html"))
}

#[get("/echo")]
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
    let mut args = std::env::args().skip(1);
    let address = args.next();
    let takeover = args.next().is_some_and(|word| word == "takeover");
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    server.get_mut_server_config().deflate = Some(
        DeflateConfig::default()
            .min_size(64)
            .server_context_takeover(takeover)
            .client_context_takeover(takeover),
    );
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
