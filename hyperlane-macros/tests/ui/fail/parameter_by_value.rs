//! Stream and context are borrowed.

use hyperlane::*;

#[send]
pub async fn one(stream: Stream, ctx: Context) {}

fn main() {}
