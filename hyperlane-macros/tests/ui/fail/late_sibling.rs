use hyperlane::*;

use hyperlane::send as my_send;

#[response_body("x")]
#[my_send]
pub async fn late(_: &mut Stream, _: &mut Context) {}

fn main() {}
