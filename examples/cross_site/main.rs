//! A channel and an API for pages of another site. Such a page can connect, post, and read the answer if the server
//! refuses a request. Pages of all other sites can read `/public` only, and their forms cannot act for the visitor.
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

use std::sync::atomic::{AtomicU32, Ordering};

use hyperlane::{prelude::*, session::CookieSameSite, sse, ws_with};

/// The number of orders.
static ORDERS: AtomicU32 = AtomicU32::new(0);

/// Refuses messages to the channel without the key. The endpoint adds the CORS header fields to the refusal.
#[request_middleware]
struct NeedsKey;

impl ServerHook for NeedsKey {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        let request = ctx.get_request();
        let is_post = *request.get_method() == Method::Post && request.get_path() == "/channel";
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

/// A page of the server's own, with a form.
#[get("/form")]
async fn form(ctx: &mut Context) -> Html<&'static str> {
    ctx.session();
    Html(
        "<!doctype html><title>orders</title><form method=post action=/api/orders><button>Order</button></form>",
    )
}

async fn orders(ctx: &mut Context) -> &'static str {
    let total = ORDERS.load(Ordering::Relaxed).to_string();
    let response = ctx.get_mut_response();
    response
        .set_header("x-total", &total)
        .set_header("x-hidden", total);
    "orders"
}

async fn order() -> &'static str {
    ORDERS.fetch_add(1, Ordering::Relaxed);
    "ordered"
}

async fn sold_out() -> Result<&'static str, Error> {
    Err(RequestError::refused(422, "sold out").into())
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let mut args = std::env::args().skip(1);
    let address = args.next();
    let pages = args.next();
    let pages = pages.unwrap_or_else(|| "https://app.example".to_owned());
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    let config = server.get_mut_server_config();
    config.allowed_origins = vec![pages.clone()];
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
    server.scope("/api", |api| {
        api.cors(
            Cors::new()
                .origin(pages)
                .credentials(true)
                .exposed_headers(&["x-total"]),
        );
        api.at("/orders").get(orders);
        api.at("/orders").post(order);
        api.at("/orders").put(order);
        api.at("/sold-out").get(sold_out);
        api.at("/moved").get(async || Redirect::to("/api/orders"));
        api.at("/events").get(sse());
    });
    server.scope("/public", |public| {
        public
            .cors(Cors::new().origins(&["*"]))
            .at("/news")
            .get(async || "news");
    });
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
