//! A channel for pages of another site. Such a page can connect, post, and read the answer if the server refuses a
//! request.
//!
//! ```text
//! cargo run --example cross_site [-- 127.0.0.1:8080 https://app.example]
//! page='origin: https://app.example'
//! curl -i -H "$page" -d hello http://127.0.0.1:8080/channel                 # 401, which the page can read
//! curl -i -H "$page" -X OPTIONS -H 'access-control-request-method: POST' http://127.0.0.1:8080/channel
//! curl -i -N -H "$page" -H 'accept: text/event-stream' http://127.0.0.1:8080/channel
//! ```
//!
//! The page opens `new EventSource(url, { withCredentials: true })` and posts by `fetch(url, { method: 'POST',
//! credentials: 'include', headers: { 'x-key': 'open sesame' }, body })`.
//!
//! Browsers accept cookies of other sites only over TLS. In this example, a proxy on the same machine ends TLS and
//! sends `X-Forwarded-Proto: https` to the server.

use hyperlane::{prelude::*, session::CookieSameSite, sse, ws_with};

/// Refuses POST requests without the key. The endpoint adds the CORS header fields to the refusal.
#[request_middleware]
struct NeedsKey;

impl ServerHook for NeedsKey {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        let request = ctx.get_request();
        let is_post = *request.get_method() == Method::Post;
        if !is_post || request.header("x-key") == Some("open sesame") {
            return Status::Continue;
        }
        ctx.get_mut_response()
            .set_status_code(401)
            .set_header("content-type", "application/json")
            .set_body(r#"{"error":"a key is missing"}"#);
        Status::Reject
    }
}

/// Sends a message to the event stream of the session. The client may open the event stream later.
#[get("/remind")]
async fn remind(ctx: &mut Context) -> Result<&'static str, Error> {
    ctx.sse().send("remember").await?;
    Ok("sent\n")
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let mut args = std::env::args().skip(1);
    let address = args.next();
    let pages = args.next();
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    let config = server.get_mut_server_config();
    config.allowed_origins = vec![pages.unwrap_or_else(|| "https://app.example".to_owned())];
    config.cookie_same_site = CookieSameSite::None;
    // Some browsers block third-party cookies. They accept a partitioned cookie, because each site gets its own copy.
    config.cookie_partitioned = true;
    // The address of the proxy that ends TLS.
    config.trusted_proxies = vec!["127.0.0.1".parse().map_err(std::io::Error::other)?];
    server
        .at("/channel")
        .get(ws_with(async |channel: WebSocket, _| {
            while let Ok(message) = channel.recv().await {
                if channel.send(format!("you said {message}")).await.is_err() {
                    return;
                }
            }
        }));
    server.at("/events").get(sse());
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
