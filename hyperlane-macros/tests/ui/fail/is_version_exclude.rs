//! Two versions on one function.

use hyperlane::*;

#[route("/")]
struct Hook;

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[is_http1_0_version]
    #[is_http1_1_or_higher_version]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

fn main() {}
