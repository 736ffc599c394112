//! What is no answer.

use hyperlane::*;

#[get("/")]
async fn handler() -> u32 { 1 }

fn main() {}
