//! The handler of the article, which ends in `Status::Continue`, and the same without it.

use hyperlane::*;

#[route("/ws_upgrade_type")]
struct Websocket;

impl ServerHook for Websocket {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[is_ws_upgrade_type]
    #[try_get_websocket_request(body)]
    async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {
        stream.send(&body).await;
        Status::Continue
    }
}

#[route("/without_tail")]
struct WithoutTail;

impl ServerHook for WithoutTail {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[try_get_websocket_request]
    #[send]
    #[closed]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {}
}

fn main() {}
