//! Nothing can be sent before the handle is there.

use hyperlane::*;

#[get("/")]
#[epilogue_macros(sse(events))]
async fn handler() {}

fn main() {}
