//! Two event streams. The first sends raw bytes, the second uses a handle.
//!
//! ```text
//! cargo run --example sse [-- 127.0.0.1:8080]
//! curl -N http://127.0.0.1:8080/sse       # ten events, then the end
//! curl -N http://127.0.0.1:8080/clock     # an event a second, until you stop
//! ```
//!
//! In a browser's console:
//!
//! ```text
//! const events = new EventSource('http://127.0.0.1:8080/clock');
//! events.onmessage = (event) => console.log(event.lastEventId, event.data);
//! ```

use std::time::Duration;

use hyperlane::prelude::*;
use tokio::time::{Instant, interval};

#[route("/sse")]
struct Sse;

impl ServerHook for Sse {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        let data: Vec<u8> = ctx
            .get_mut_response()
            .set_header(CONTENT_TYPE, TEXT_EVENT_STREAM)
            .set_body(Vec::new())
            .build();
        if stream.try_send(data).await.is_err() {
            return Status::Reject;
        }
        for i in 0..10 {
            let body: String = format!("data:{i}{HTTP_DOUBLE_BR}");
            if stream.try_send(&body).await.is_err() {
                break;
            }
        }
        Status::Continue
    }
}

/// Sends an event per second through a handle. The handle writes event ids and line ends. The server sends comments
/// that keep the connection alive.
#[get("/clock")]
async fn clock(stream: &mut Stream, ctx: &mut Context) -> Status {
    let Ok(events) = ctx.event_stream(stream).await else {
        return Status::Reject;
    };
    let start = Instant::now();
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = seconds.tick() => {}
            // The client has disconnected, or the server shuts down.
            () = events.closed() => return Status::Continue,
        }
        let passed = start.elapsed().as_secs();
        if events.send(format!("{passed} s")).await.is_err() {
            return Status::Continue;
        }
    }
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
