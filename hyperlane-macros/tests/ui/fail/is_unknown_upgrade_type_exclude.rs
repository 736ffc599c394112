//! A guard that requires an upgrade beside one that requires none.

use hyperlane::*;

#[route("/")]
struct Hook;

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[is_ws_upgrade_type]
    #[is_unknown_upgrade_type]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

fn main() {}
