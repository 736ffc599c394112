//! A guard that declines every request of its route.

use hyperlane::*;

#[get("/")]
#[is_post_method]
async fn handler(_: &mut Stream, _: &mut Context) -> Status { Status::Continue }

fn main() {}
