//! A body that is valid only in a read loop gives one error.

use hyperlane::*;

#[route("/")]
struct Hook;

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[try_get_websocket_request(message message)]
    #[send]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
    }
}

fn main() {}
