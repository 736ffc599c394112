//! Every exit from a read loop, with and without epilogues.
#![deny(warnings)]

use hyperlane::*;

#[try_get_websocket_request(body)]
pub async fn plain(stream: &mut Stream, ctx: &mut Context) {
    let _ = (&stream, &ctx);
    match body.as_ref() {
        [] => continue,
        [1] => break,
        [2] => return,
        _ => {}
    }
    for byte in body.as_ref().iter() {
        if *byte == 0 {
            break;
        }
    }
}

#[try_get_websocket_request(body)]
#[try_send(&body)]
#[closed]
pub async fn with_epilogues(_: &mut Stream, _: &mut Context) -> Status {
    match body.as_ref() {
        [] => continue,
        [1] => break,
        [2] => return Status::Reject,
        _ => Status::Continue,
    }
}

#[try_get_http_request(request)]
#[flush]
pub async fn ends_at_once(_: &mut Stream, _: &mut Context) -> Status {
    drop(request);
    return Status::Continue;
}

#[try_get_http_request]
pub async fn never_ends(_: &mut Stream, _: &mut Context) -> Status {
    loop {
        return Status::Reject;
    }
}

#[try_get_websocket_request]
#[filter(true)]
#[send]
pub async fn moves(stream: &mut Stream, ctx: &mut Context) {
    let (mine, yours) = (stream, ctx);
    drop((mine, yours));
}

fn main() {}
