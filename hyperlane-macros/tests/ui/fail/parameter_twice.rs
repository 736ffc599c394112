//! One stream, one context.

use hyperlane::*;

#[get("/stream")]
#[send]
async fn stream(first: &mut Stream, second: &mut Stream) {}

struct Helper;

impl Helper {
    #[send]
    async fn context(&self, first: &mut Context, second: &mut hyperlane::Context) {}
}

fn main() {}
