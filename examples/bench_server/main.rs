//! The endpoints that `bench/` loads, as a program of this library serves them.
//!
//! `cargo run --profile bench-server --example bench_server -- PORT`

use hyperlane::prelude::*;

struct Plaintext;

impl ServerHook for Plaintext {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ctx.get_mut_response()
            .set_header("content-type", "text/plain")
            .set_body("Hello, World!");
        Status::Continue
    }
}

struct Echo;

impl ServerHook for Echo {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        let Ok(socket) = ctx.upgrade(stream).await else {
            return Status::Reject;
        };
        while let Ok(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
        Status::Continue
    }
}

struct Chat;

impl ServerHook for Chat {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        let Ok(socket) = ctx.upgrade(stream).await else {
            return Status::Reject;
        };
        let Ok(room) = ctx.room("room") else {
            return Status::Reject;
        };
        if room.join(&socket).await.is_ok() {
            while let Ok(message) = socket.recv().await {
                room.broadcast(message).await;
            }
        }
        Status::Continue
    }
}

struct Follow;

impl ServerHook for Follow {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        let Ok(room) = ctx.room("room") else {
            return Status::Reject;
        };
        let Ok(events) = ctx.event_stream(stream).await else {
            return Status::Reject;
        };
        if room.join(&events).await.is_ok() {
            events.closed().await;
        }
        Status::Continue
    }
}

struct Publish;

impl ServerHook for Publish {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        let Ok(room) = ctx.room("room") else {
            return Status::Reject;
        };
        let text = ctx.get_request().get_body_string();
        room.broadcast(text).await;
        ctx.get_mut_response().set_status_code(204);
        Status::Continue
    }
}

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8080".to_owned());
    let mut server = Server::new();
    server
        .bind(format!("127.0.0.1:{port}"))
        .route::<Plaintext>("/plaintext")
        .route::<Echo>("/echo")
        .route::<Chat>("/room")
        .route::<Follow>("/sse")
        .route::<Publish>("/publish");
    match server.run().await {
        Ok(control) => control.wait().await,
        Err(error) => eprintln!("{error}"),
    }
}
