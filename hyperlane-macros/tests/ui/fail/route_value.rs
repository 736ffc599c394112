//! A value that is no response.

use hyperlane::*;

#[get("/")]
async fn handler() -> u32 { 1 }

fn main() {}
