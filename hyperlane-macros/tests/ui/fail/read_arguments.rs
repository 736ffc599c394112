//! One name, or none.

use hyperlane::*;

#[try_get_websocket_request(1)]
pub async fn one(_: &mut Stream, _: &mut Context) {}

#[try_get_http_request(a, b)]
pub async fn two(_: &mut Stream, _: &mut Context) {}

fn main() {}
