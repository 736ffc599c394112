//! A guard that declines GET.

use hyperlane::*;

#[route("/")]
struct Hook;

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[is_put_method]
    #[websocket(socket)]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        drop(socket);
        Status::Continue
    }
}

fn main() {}
