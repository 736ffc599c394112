//! The same path twice.

use hyperlane::*;

#[get("/users")]
#[get("/users")]
async fn handler() {}

fn main() {}
