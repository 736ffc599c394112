//! A handshake has no body.

use hyperlane::*;

#[get("/")]
#[websocket(socket)]
#[body_stream(body)]
async fn handler() { drop((socket, body)) }

fn main() {}
