//! The server for the benchmarks. It has endpoints for plain text, a WebSocket echo, a session's channel, a room over
//! WebSockets and event streams, and publishing to this room.
//!
//! ```text
//! cargo run --profile bench-server --example bench_server -- 8080
//! ```
//!
//! A second argument adds as many routes, `/resource-0/{id}` and so on.

use hyperlane::{prelude::*, ws};

const ROOM: &str = "room";

#[get("/plaintext")]
async fn plaintext() -> impl IntoResponse {
    "Hello, World!"
}

#[get("/kilobyte")]
async fn kilobyte() -> impl IntoResponse {
    static TEXT: [u8; 1024] = [b'x'; 1024];
    &TEXT[..]
}

#[get("/echo")]
#[is_ws_upgrade_type]
async fn echo(stream: &mut Stream, ctx: &mut Context) -> Status {
    // After `let .. else`, nothing of the `Result` takes space in the future of the handler.
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Continue;
    };
    while let Ok(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
    Status::Continue
}

#[get("/room")]
#[is_ws_upgrade_type]
async fn talk(stream: &mut Stream, ctx: &mut Context) -> Status {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Continue;
    };
    let Ok(room) = ctx.room(ROOM) else {
        return Status::Continue;
    };
    if room.join(&socket).await.is_ok() {
        while let Ok(message) = socket.recv().await {
            if room.broadcast(message).await.is_err() {
                break;
            }
        }
    }
    Status::Continue
}

#[get("/sse")]
async fn follow(stream: &mut Stream, ctx: &mut Context) -> Status {
    if let (Ok(events), Ok(room)) = (ctx.event_stream(stream).await, ctx.room(ROOM))
        && room.join(&events).await.is_ok()
    {
        events.closed().await;
    }
    Status::Continue
}

#[post("/publish")]
async fn publish(ctx: &mut Context) -> HttpStatus {
    if let Ok(room) = ctx.room(ROOM) {
        let published = room.broadcast(ctx.get_request().get_body_string()).await;
        if published.is_err() {
            return HttpStatus::ServiceUnavailable;
        }
    }
    HttpStatus::NoContent
}

/// The handler of the added routes.
struct Resource;

impl ServerHook for Resource {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ctx.get_mut_response().set_body("Hello, World!");
        Status::Continue
    }
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let mut args = std::env::args().skip(1);
    let port = args.next().unwrap_or_else(|| "8080".to_owned());
    let routes = args
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0_u32);
    for number in 0..routes {
        server.route::<Resource>(format!("/resource-{number}/{{id}}"));
    }
    // The client tests echo messages of up to 4 MiB.
    let config = server.get_mut_server_config();
    config.max_frame = 4 * 1024 * 1024;
    config.max_message = 4 * 1024 * 1024;
    // The benchmarks open as many connections as the limit of file descriptors allows.
    config.max_connections = Some(100_000);
    server.at("/channel").get(ws());
    let control = server.bind(format!("127.0.0.1:{port}")).run().await?;
    if let Some(address) = control.local_addr() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
