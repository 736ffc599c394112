//! A server behind a proxy. The proxy ends TLS and forwards the requests under one path to the server. The file
//! `nginx.conf` in this directory is an example of the proxy's configuration.
//!
//! ```text
//! cargo run --example proxied [-- 127.0.0.1:8080 trust=127.0.0.1 host=app.example]
//! ```
//!
//! The argument `trust=` names a trusted proxy. The argument `host=` names a host that clients without a proxy may use.
//! Each argument may be repeated. `cargo xtask nginx` runs nginx together with this example.

use std::io;

use hyperlane::{prelude::*, sse, ws_with};

/// Shows the client's address, and sends a message to the event stream of the same session. The URLs in the page are
/// relative: they work under any path.
#[get("/")]
async fn index(ctx: &mut Context) -> Result<Html<String>, Error> {
    let visits = ctx.session().get::<u32>("visits").unwrap_or(0) + 1;
    ctx.session().insert("visits", &visits)?;
    ctx.sse().send(format!("visit {visits}")).await?;
    let client = ctx.client_addr().map(|client| client.to_string());
    let client = client.as_deref().unwrap_or("an unknown address");
    Ok(Html(format!(
        "<!doctype html><title>Proxied</title><p>visit {visits} from {client}</p><ul></ul><script>
        const say = text => document.querySelector('ul').append(text, document.createElement('br'));
        new EventSource('sse').onmessage = event => say(event.data);
        const socket = new WebSocket(new URL('echo', location.href.replace(/^http/, 'ws')));
        socket.onopen = () => socket.send('and an echo');
        socket.onmessage = event => say(event.data);
        </script>"
    )))
}

/// Sends the request's body to the event stream of the same session.
#[post("/say")]
async fn say(ctx: &mut Context, text: String) -> Result<HttpStatus, Error> {
    ctx.sse().send(text).await?;
    Ok(HttpStatus::NoContent)
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    let mut address = "127.0.0.1:8080".to_owned();
    for argument in std::env::args().skip(1) {
        let config = server.get_mut_server_config();
        match argument.split_once('=') {
            Some(("trust", proxy)) => {
                let proxy = proxy.parse().map_err(io::Error::other)?;
                config.trusted_proxies.push(proxy);
            }
            Some(("host", host)) => config.allowed_hosts.push(host.to_owned()),
            _ => address = argument,
        }
    }
    server.at("/sse").get(sse());
    server.at("/echo").get(ws_with(async |ws: WebSocket, _| {
        while let Ok(message) = ws.recv().await {
            if ws.send(message).await.is_err() {
                break;
            }
        }
    }));
    let control = server.bind(address).run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
