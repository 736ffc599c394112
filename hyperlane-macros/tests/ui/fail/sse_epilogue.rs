//! A handle opens before the body.

use hyperlane::*;

#[get("/")]
#[epilogue_macros(sse(events))]
async fn handler() {}

fn main() {}
