//! Stream and context are lent.

use hyperlane::*;

#[send]
pub async fn one(stream: Stream, ctx: Context) {}

fn main() {}
