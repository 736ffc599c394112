//! One number.

use hyperlane::*;

#[post("/")]
#[max_body]
async fn handler() {}

fn main() {}
