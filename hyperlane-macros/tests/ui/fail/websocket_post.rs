//! A WebSocket begins with GET.

use hyperlane::*;

#[post("/")]
#[websocket(socket)]
async fn handler() { drop(socket) }

fn main() {}
