//! Every registration, repeated, with every form of order.
#![deny(warnings)]

use hyperlane::*;

const PATH: &str = "/constant";
const ORDER: isize = 3;

#[route("/")]
#[route(PATH)]
#[get("/get")]
#[head("/head")]
#[request_middleware]
#[request_middleware(1)]
#[response_middleware("2")]
#[task_panic(-1)]
#[request_error(ORDER + 1)]
struct Hook;

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

#[hyperlane(server: Server)]
#[hyperlane(list: Vec<u8>, text: String)]
fn main() {
    let _ = (&server, &list, &text);
}
