//! No request follows on a WebSocket.

use hyperlane::*;

#[get("/")]
#[websocket(socket)]
#[try_get_http_request(request)]
async fn handler() { drop((socket, request)) }

fn main() {}
