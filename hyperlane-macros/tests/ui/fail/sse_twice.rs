//! One handle per function.

use hyperlane::*;

#[get("/")]
#[sse(events)]
#[sse(more)]
async fn handler() { drop((events, more)) }

fn main() {}
