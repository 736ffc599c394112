//! An event stream is only written to.

use hyperlane::*;

#[get("/")]
#[sse(events)]
#[try_get_websocket_request(message)]
async fn handler() { drop((events, message)) }

fn main() {}
