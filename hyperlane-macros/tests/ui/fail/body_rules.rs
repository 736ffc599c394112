use hyperlane::*;

#[max_body(1)]
pub async fn helper_outside_dispatch(_: &mut Context) {}

#[post("/twice")]
#[max_body(1)]
#[max_body(2)]
pub async fn twice() {}

#[post("/after")]
#[epilogue_macros(body_stream(late))]
pub async fn after() {}

fn main() {}
