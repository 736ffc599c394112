//! A name that the pattern lacks, on `handle`.

use hyperlane::*;

#[route("/users/{id}")]
struct Hook;

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[route_param("id" => id, "name" => name)]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        drop((id, name));
        Status::Continue
    }
}

fn main() {}
