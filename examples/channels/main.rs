//! Channels of a client's session. Any request of the client can use them. The code follows the article *Tide
//! Channels*.
//!
//! ```text
//! cargo run --example channels [-- 127.0.0.1:8080]
//! curl -c jar http://127.0.0.1:8080/
//! curl -b jar -N http://127.0.0.1:8080/sse                                # "hello Chashu" was buffered
//! curl -b jar -d 'hello Nori' http://127.0.0.1:8080/sse/send
//! curl -b jar -N -H 'accept: text/event-stream' http://127.0.0.1:8080/ws  # a WebSocket's channel, as events
//! curl -b jar -d 'hello chashu' http://127.0.0.1:8080/ws/send
//! curl -b jar -d 'hello server' http://127.0.0.1:8080/ws                  # as a WebSocket would send it
//! curl -b jar http://127.0.0.1:8080/ws/next
//! ```
//!
//! A browser connects by `new EventSource('/sse')` or `new WebSocket('/ws')`. A client with resume ids connects by
//! `new WebSocket('/counted')`.

use std::time::Duration;

use hyperlane::{prelude::*, sse, ws};
use tokio::time::sleep;

/// Serves a page. The request for the page sends a message to the channel to which the page will connect.
#[get("/")]
async fn index(ctx: &mut Context) -> Result<Html<&'static str>, Error> {
    ctx.sse().send(b"hello Chashu").await?;
    Ok(Html(include_str!("page.html")))
}

/// Sends a message to the event stream, but only if a client has connected.
#[post("/sse/send")]
async fn send_event(ctx: &mut Context, text: String) -> Result<&'static str, Error> {
    let sse = ctx.sse();
    if !sse.is_open() {
        return Ok("no client has connected\n");
    }
    sse.send(text).await?;
    Ok("sent\n")
}

#[post("/ws/send")]
async fn send(ctx: &mut Context, text: String) -> Result<&'static str, Error> {
    let socket = ctx.ws();
    socket.send(text).await?;
    Ok("sent\n")
}

/// Waits for the next message that the client sends on its WebSocket.
#[get("/ws/next")]
async fn next(ctx: &mut Context) -> Result<String, Error> {
    let socket = ctx.ws();
    let msg = socket.recv().await?;
    Ok(format!("message received: {msg}\n"))
}

/// Starts a task that sends numbers on both channels. The task continues after this request has ended.
#[post("/count")]
async fn count(ctx: &mut Context, last: String) -> Result<HttpStatus, Error> {
    let (socket, sse) = (ctx.ws(), ctx.sse());
    let last: u32 = last
        .parse()
        .map_err(|_| RequestError::refused(400, "the body is not a number"))?;
    tokio::spawn(async move {
        for number in 1..=last {
            let number = number.to_string();
            // Without a connected client, the channel would only store the numbers in its buffer.
            let sent = (socket.is_open(), sse.is_open());
            if sent.0 && socket.send(number.as_str()).await.is_err()
                || sent.1 && sse.send(number.as_str()).await.is_err()
            {
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
    });
    Ok(HttpStatus::Accepted)
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let address = std::env::args().nth(1);
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    server
        .at("/sse")
        .get(sse().buffer(4096).buffer_bytes(1 << 20));
    server
        .at("/ws")
        .get(ws().buffer(4096).buffer_bytes(1 << 20));
    // Clients with resume ids connect here. They use the same channel as clients of `/ws`.
    server
        .at("/counted")
        .get(ws().buffer(4096).buffer_bytes(1 << 20).resume_ids());
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
