use hyperlane::*;

#[try_get_websocket_request]
pub async fn count(_: &mut Stream, _: &mut Context) -> usize {
    1
}

#[try_get_websocket_request]
#[try_get_http_request]
pub async fn both(_: &mut Stream, _: &mut Context) {}

fn main() {}
