//! A name that the pattern lacks, on `new`.

use hyperlane::*;

#[get("/users")]
struct Hook;

impl ServerHook for Hook {
    #[route_param("id" => _id)]
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

fn main() {}
