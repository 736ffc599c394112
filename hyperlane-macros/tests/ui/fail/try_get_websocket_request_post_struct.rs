//! A WebSocket begins with GET, on `handle` and the struct's route.

use hyperlane::*;

#[post("/")]
struct Hook;

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[try_get_websocket_request(message)]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        let _ = message;
    }
}

fn main() {}
