//! A WebSocket carries no further requests.

use hyperlane::*;

#[get("/")]
#[websocket(socket)]
#[try_get_http_request(request)]
async fn handler() { drop((socket, request)) }

fn main() {}
