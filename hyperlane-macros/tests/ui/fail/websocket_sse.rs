//! A connection is either a WebSocket or an event stream.

use hyperlane::*;

#[get("/")]
#[websocket(socket)]
#[sse(events)]
async fn handler() { drop((socket, events)) }

fn main() {}
