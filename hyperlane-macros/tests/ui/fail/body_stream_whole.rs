//! A streamed body cannot be bound whole.

use hyperlane::*;

#[post("/")]
#[body_stream(stream)]
#[request_body_json(user: u32)]
async fn handler() { drop((stream, user)) }

fn main() {}
