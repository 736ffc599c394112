//! A `new` that uses the variable of a broken macro gives one error.

use hyperlane::*;

#[route("/")]
struct Hook {
    page: String,
}

impl ServerHook for Hook {
    #[request_query("page", page)]
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self { page }
    }

    async fn handle(self, _: &mut Stream, ctx: &mut Context) -> Status {
        ctx.get_mut_response().set_body(self.page);
        Status::Continue
    }
}

fn main() {}
