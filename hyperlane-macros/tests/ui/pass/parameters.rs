//! The stream and the context under other names, in other places, through aliases and unnamed.
#![deny(warnings)]

use hyperlane::*;

type Connection = Stream;
type State = Context;

#[send]
pub async fn by_position(connection: &mut Connection, state: &mut State) {
    let _ = (connection, state);
}

#[send]
pub async fn by_name(
    count: usize,
    ctx: &mut hyperlane::Context,
    list: &mut Vec<usize>,
    stream: &mut hyperlane::Stream,
) {
    let _ = (ctx, stream);
    list.push(count);
}

#[send]
pub async fn half_named(_: &mut Connection, _: &mut Context) {}

#[request_body(body)]
#[try_get_route_param("id" => id)]
pub async fn shared(ctx: &Context) -> bool {
    let _ = (ctx, body, id);
    true
}

#[flush]
pub async fn stream_only(_: &mut Stream) {}

pub struct Holder {
    pub count: usize,
}

impl Holder {
    #[response_status_code(200)]
    pub async fn by_reference(&mut self, ctx: &mut Context) -> usize {
        let _ = ctx;
        self.count += 1;
        self.count
    }
}

fn main() {}
