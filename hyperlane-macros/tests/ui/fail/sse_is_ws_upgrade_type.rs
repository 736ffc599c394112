//! An event stream is no answer to a handshake.

use hyperlane::*;

#[get("/")]
#[is_ws_upgrade_type]
#[sse(events)]
async fn handler() { drop(events) }

fn main() {}
