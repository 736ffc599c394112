//! A streamed body is not there as a whole.

use hyperlane::*;

#[post("/")]
#[body_stream(stream)]
#[request_body_json(user: u32)]
async fn handler() { drop((stream, user)) }

fn main() {}
