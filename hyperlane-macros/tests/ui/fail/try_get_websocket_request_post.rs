//! A WebSocket begins with GET.

use hyperlane::*;

#[post("/")]
#[try_get_websocket_request(message)]
async fn handler() { drop(message) }

fn main() {}
