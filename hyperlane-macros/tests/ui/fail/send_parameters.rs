use hyperlane::*;

#[send]
pub async fn neither() {}

#[send]
#[flush]
pub async fn no_stream(_: &mut Context) {}

#[response_body("x")]
pub async fn shared(_: &Context) {}

#[send]
pub fn sync(_: &mut Stream, _: &mut Context) {}

fn main() {}
