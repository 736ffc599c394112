//! A WebSocket begins with GET.

use hyperlane::*;

#[post("/")]
#[is_ws_upgrade_type]
async fn handler() {}

fn main() {}
