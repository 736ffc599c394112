//! A list without the method that stands beside it.

use hyperlane::*;

#[route("/")]
struct Hook;

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[methods(get, put)]
    #[is_post_method]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

fn main() {}
