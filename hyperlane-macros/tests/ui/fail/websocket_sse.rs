//! A connection becomes one thing.

use hyperlane::*;

#[get("/")]
#[websocket(socket)]
#[sse(events)]
async fn handler() { drop((socket, events)) }

fn main() {}
