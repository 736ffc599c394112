//! A guard that declines all that its route takes.

use hyperlane::*;

#[get("/")]
#[is_post_method]
async fn handler(_: &mut Stream, _: &mut Context) -> Status { Status::Continue }

fn main() {}
